"""gmqtt, amqtt's client, mosquitto_rr, and mosquitto's tools with names and passwords, against the real process."""

from __future__ import annotations

import asyncio
import pathlib
import subprocess
from collections.abc import Callable

import gmqtt
import pytest
from amqtt.client import MQTTClient
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

from conformance.process import GatewayProcess
from protocols.identity import Secret
from tests.mqtt.clients import WAIT_S, command, run


@pytest.fixture
def port(gateway: GatewayProcess) -> int:
    return gateway.port("mqtt")


class Gmqtt:
    """A client whose messages are a queue."""

    def __init__(self, name: str, **more: object) -> None:
        self.client = gmqtt.Client(name, **more)
        self.messages: asyncio.Queue[tuple[str, bytes, int, dict[str, object]]] = asyncio.Queue()
        self.subscribed: asyncio.Queue[tuple[int, ...]] = asyncio.Queue()
        self.client.on_message = self._message
        self.client.on_subscribe = lambda client, mid, qos, properties: self.subscribed.put_nowait(tuple(qos))

    def _message(self, client: object, topic: str, payload: bytes, qos: int, properties: dict[str, object]) -> int:
        self.messages.put_nowait((topic, payload, qos, properties))
        return 0

    async def subscribe(self, topic: str, qos: int) -> tuple[int, ...]:
        self.client.subscribe(topic, qos)
        return await self.subscribed.get()


@pytest.mark.parametrize("version", [MQTTv311, MQTTv50], ids=["3.1.1", "5.0"])
def test_gmqtt_publishes_and_subscribes_at_every_qos(port: int, version: int) -> None:
    async def main() -> None:
        sub, pub = Gmqtt(f"gm-sub{version}"), Gmqtt(f"gm-pub{version}")
        for one in (sub, pub):
            await one.client.connect("127.0.0.1", port, version=version)
        assert await sub.subscribe(f"gm/{version}/#", 2) == (2,)
        told = {"user_property": [("a", "1"), ("a", "2")], "content_type": "x"} if version == MQTTv50 else {}
        for qos in (0, 1, 2):
            for number in range(50):
                pub.client.publish(f"gm/{version}/{qos}", b"%d" % number, qos=qos, **told)
            for number in range(50):
                topic, payload, got_qos, properties = await sub.messages.get()
                assert (topic, payload, got_qos) == (f"gm/{version}/{qos}", b"%d" % number, qos)
                if told:
                    assert properties["user_property"] == [("a", "1"), ("a", "2")]
                    assert properties["content_type"] == ["x"]
        await sub.client.disconnect()
        await pub.client.disconnect()

    asyncio.run(asyncio.wait_for(main(), WAIT_S))


def test_gmqtt_gets_its_session_and_wills_and_retained_messages(port: int) -> None:
    async def main() -> None:
        first = Gmqtt("gm-away", clean_session=False, session_expiry_interval=600)
        await first.client.connect("127.0.0.1", port)
        await first.subscribe("gm/away/#", 1)
        await first.client.disconnect()
        will = gmqtt.Message("gm/away/will", b"gone", qos=1, will_delay_interval=0)
        dying = Gmqtt("gm-die", will_message=will)
        await dying.client.connect("127.0.0.1", port)
        dying.client.publish("gm/away/kept", b"kept", qos=1, retain=True)
        await dying.client.disconnect(reason_code=4)
        again = Gmqtt("gm-away", clean_session=False, session_expiry_interval=600)
        await again.client.connect("127.0.0.1", port)
        got = {(await again.messages.get())[1] for _ in range(2)}
        assert got == {b"kept", b"gone"}
        await again.client.disconnect(session_expiry_interval=0)
        late = Gmqtt("gm-late")
        await late.client.connect("127.0.0.1", port)
        late.client.subscribe("gm/away/kept", 1)
        assert (await late.messages.get())[1] == b"kept"
        late.client.publish("gm/away/kept", b"", qos=1, retain=True)
        await late.client.disconnect()

    asyncio.run(asyncio.wait_for(main(), WAIT_S))


def test_amqtt_s_client_publishes_and_subscribes_at_every_qos(port: int) -> None:
    async def main() -> None:
        settings = {"auto_reconnect": False, "keep_alive": 30}
        sub, pub = MQTTClient("amqtt-sub", dict(settings)), MQTTClient("amqtt-pub", dict(settings))
        for one in (sub, pub):
            await one.connect(f"mqtt://127.0.0.1:{port}/")
        assert await sub.subscribe([("amqtt/#", 2)]) == [2]
        for qos in (0, 1, 2):
            for number in range(20):
                await pub.publish(f"amqtt/{qos}", b"%d" % number, qos=qos)
            for number in range(20):
                message = await sub.deliver_message(timeout_duration=WAIT_S)
                assert message is not None
                assert (message.topic, bytes(message.data), message.qos) == (f"amqtt/{qos}", b"%d" % number, qos)
        await sub.unsubscribe(["amqtt/#"])
        await sub.disconnect()
        await pub.disconnect()

    asyncio.run(asyncio.wait_for(main(), WAIT_S))


@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_mosquitto_rr_gets_its_answer(port: int, qos: str) -> None:
    ask, answer, ready = f"rr/ask/{qos}", f"rr/answer/{qos}", f"rr/ready/{qos}"
    five = ("-q", qos, "-W", "20", "-V", "mqttv5")
    run("mosquitto_pub", port, "-t", ready, "-m", "ready", "-r", "-q", "1")
    with subprocess.Popen(
        command("mosquitto_sub", port, "-t", ask, "-t", ready, "-C", "2", "-F", "%R %p", *five),
        stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stdout is not None and server.stdout.readline() == " ready\n"  # it is subscribed
        asking = subprocess.Popen(
            command("mosquitto_rr", port, "-t", ask, "-e", answer, "-m", "question", *five),
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert server.stdout.readline() == f"{answer} question\n"
        run("mosquitto_pub", port, "-t", answer, "-m", "answered", "-q", qos)
        assert asking.communicate(timeout=WAIT_S)[0] == "answered\n"


USERS = """
[users.writer]
secret = "{writer}"
write = ["orders/#"]
[users.reader]
secret = "{reader}"
read = ["orders/#"]
deny_read = ["orders/secret/#"]
[users.anonymous]
read = ["public/#"]
"""


def test_mosquitto_s_tools_are_who_the_user_file_says(start_gateway: Callable[..., GatewayProcess], tmp_path: pathlib.Path) -> None:  # fmt: skip
    file = tmp_path / "users.toml"
    file.write_text(USERS.format(writer=Secret.of(b"w", b"salt" * 4), reader=Secret.of(b"r", b"salt" * 4)))
    file.chmod(0o600)
    flags = ["--kafka", "off", "--nats", "off", "--resp", "off", "--http", "off"]
    port = start_gateway(":memory:", flags, {"THALWEG_USERS": str(file)}).port("mqtt")

    def told(tool: str, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(command(tool, port, *arguments), capture_output=True, text=True, timeout=WAIT_S)
        return done.returncode, done.stdout + done.stderr

    writer, reader = ("-u", "writer", "-P", "w"), ("-u", "reader", "-P", "r")
    for topic in ("orders/secret/1", "orders/1"):
        assert told("mosquitto_pub", *writer, "-t", topic, "-m", "kept", "-r", "-q", "1")[0] == 0
    assert told("mosquitto_sub", *reader, "-t", "orders/#", "-v", "-C", "1", "-q", "1") == (0, "orders/1 kept\n")
    status, words = told("mosquitto_pub", "-u", "writer", "-P", "no", "-t", "orders/1", "-m", "x")
    assert status != 0 and "not authori" in words.lower()
    _, words = told("mosquitto_pub", *reader, "-V", "mqttv5", "-q", "1", "-t", "orders/1", "-m", "x")
    assert "not authori" in words.lower()
    assert "denied" in told("mosquitto_sub", *writer, "-t", "orders/#", "-E")[1].lower()
    assert "denied" not in told("mosquitto_sub", "-t", "public/#", "-E")[1].lower()
