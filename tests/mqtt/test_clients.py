"""paho-mqtt, aiomqtt, mosquitto_pub and mosquitto_sub against the real process."""

from __future__ import annotations

import asyncio
import os
import queue
import subprocess
import threading
from collections import Counter
from collections.abc import Callable

import aiomqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from conformance.process import GatewayProcess
from tests.mqtt.clients import WAIT_S, Paho, command, run

CLIENTS = int(os.environ.get("THALWEG_MQTT_CLIENTS", "20"))
MESSAGES = int(os.environ.get("THALWEG_MQTT_MESSAGES", "100"))


@pytest.fixture
def port(gateway: GatewayProcess) -> int:
    return gateway.port("mqtt")


@pytest.mark.parametrize("version", ["3.1", "3.1.1", "5.0"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_publishes_and_subscribes_at_every_qos(port: int, version: str, qos: int) -> None:
    sub, pub = Paho(port, f"sub{version}{qos}", version), Paho(port, f"pub{version}{qos}", version)
    sub.subscribe(f"every/{version}/{qos}/#", qos=qos)
    for number in range(50):
        pub.publish(f"every/{version}/{qos}/{number % 3}", b"%d" % number, qos)
    assert sub.take(50) == [(f"every/{version}/{qos}/{number % 3}", b"%d" % number, qos) for number in range(50)]
    sub.nothing_more()
    sub.close()
    pub.close()


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_many_clients_get_exactly_what_was_published(port: int, qos: int) -> None:
    clients = [Paho(port, f"many{qos}-{number}", "5.0" if number % 2 else "3.1.1") for number in range(CLIENTS)]
    for client in clients:
        client.subscribe(f"many/{qos}/#", qos=qos)

    def publish(number: int) -> None:
        told = [
            clients[number].client.publish(f"many/{qos}/{number}", b"%d-%d" % (number, count), qos)
            for count in range(MESSAGES)
        ]
        for one in told:
            one.wait_for_publish(60)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = Counter(b"%d-%d" % (number, count) for number in range(CLIENTS) for count in range(MESSAGES))
    for client in clients:
        got = client.take(CLIENTS * MESSAGES)
        assert Counter(payload for _, payload, _ in got) == expected
        by_sender: dict[str, list[int]] = {}
        for topic, payload, _ in got:
            by_sender.setdefault(topic, []).append(int(payload.split(b"-")[1]))
        assert all(numbers == list(range(MESSAGES)) for numbers in by_sender.values()), "in the order of each sender"
        assert client.messages.empty()
        client.close()


def test_mosquitto_s_tools_publish_and_subscribe(port: int) -> None:
    with subprocess.Popen(
        command("mosquitto_sub", port, "-t", "tools/#", "-q", "2", "-C", "4", "-v", "-W", "20"),
        stdout=subprocess.PIPE, text=True,
    ) as sub:  # fmt: skip
        run("mosquitto_pub", port, "-t", "tools/ready", "-m", "1", "-r", "-q", "1")
        assert sub.stdout is not None and sub.stdout.readline() == "tools/ready 1\n"  # it is subscribed
        for qos in ("0", "1", "2"):
            run("mosquitto_pub", port, "-t", f"tools/{qos}", "-m", f"hello {qos}", "-q", qos, "-V", "mqttv5")
        output = sub.communicate(timeout=WAIT_S)[0]
    assert output == "tools/0 hello 0\ntools/1 hello 1\ntools/2 hello 2\n"
    run("mosquitto_pub", port, "-t", "tools/ready", "-n", "-r", "-q", "1")


def test_retained_messages_are_kept_replaced_and_deleted(port: int) -> None:
    run("mosquitto_pub", port, "-t", "kept/a", "-m", "old", "-r", "-q", "1")
    run("mosquitto_pub", port, "-t", "kept/a", "-m", "new", "-r", "-q", "1")
    run("mosquitto_pub", port, "-t", "kept/b", "-m", "b", "-r", "-q", "0")
    run("mosquitto_pub", port, "-t", "kept/b", "-q", "1", "-m", "not kept")
    assert run("mosquitto_sub", port, "-t", "kept/#", "-C", "2", "-v", "-W", "10") == "kept/a new\nkept/b b\n"
    run("mosquitto_pub", port, "-t", "kept/a", "-n", "-r", "-q", "1")
    assert run("mosquitto_sub", port, "-t", "kept/#", "-C", "1", "-v", "-W", "10") == "kept/b b\n"
    sub = Paho(port, "kept-sub", "5.0")
    sub.subscribe("kept/#", options=SubscribeOptions(qos=1, retainHandling=2))
    sub.nothing_more()
    sub.subscribe("kept/#", options=SubscribeOptions(qos=1, retainHandling=0))
    message = sub.get()
    assert message.retain and message.payload == b"b"
    sub.close()


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_a_will_comes_when_a_client_breaks_off(port: int, version: str) -> None:
    watcher = Paho(port, f"watch{version}", "5.0")
    watcher.subscribe(f"will/{version}", qos=2)
    dying = Paho(port, f"die{version}", version, before=lambda client: client.will_set(f"will/{version}", b"dead", 2))
    dying.drop()
    assert watcher.take(1) == [(f"will/{version}", b"dead", 2)]
    leaving = Paho(port, f"go{version}", version, before=lambda client: client.will_set(f"will/{version}", b"no", 1))
    leaving.close()
    watcher.nothing_more()
    watcher.close()


def test_a_will_waits_for_its_delay(port: int) -> None:
    properties = Properties(PacketTypes.WILLMESSAGE)
    properties.WillDelayInterval = 1
    properties.UserProperty = ("why", "test")
    watcher = Paho(port, "watch-delay", "5.0")
    watcher.subscribe("delayed/will", qos=1)
    dying = Paho(
        port, "die-delay", "5.0", 60, lambda client: client.will_set("delayed/will", b"late", 1, properties=properties)
    )
    dying.drop()
    message = watcher.get()
    assert message.payload == b"late" and message.properties.UserProperty == [("why", "test")]
    watcher.close()


def test_wildcards_match_as_they_should(port: int) -> None:
    cases = {
        "wild/+/x": {"wild/a/x", "wild//x"},
        "wild/#": {"wild", "wild/a", "wild/a/x", "wild//x", "wild/a/b/c"},
        "wild/+": {"wild/a"},
        "+/a": {"wild/a"},
        "wild/a/#": {"wild/a", "wild/a/x", "wild/a/b/c"},
    }
    topics = ["wild", "wild/a", "wild/a/x", "wild//x", "wild/a/b/c"]
    pub = Paho(port, "wild-pub")
    for number, (text, expected) in enumerate(cases.items()):
        sub = Paho(port, f"wild-{number}")
        sub.subscribe(text, qos=1)
        for topic in topics:
            pub.publish(topic, b"x", 1)
        assert {topic for topic, _, _ in sub.take(len(expected))} == expected, text
        sub.nothing_more()
        sub.close()
    pub.close()


def test_a_shared_subscription_spreads_messages_over_its_members(port: int) -> None:
    members = [Paho(port, f"member{number}", "5.0" if number else "3.1.1") for number in range(3)]
    took: queue.Queue[paho.MQTTMessage] = queue.Queue()
    for member in members:
        member.messages = took
        member.subscribe("$share/workers/jobs/#", qos=1)
    pub = Paho(port, "boss")
    for number in range(60):
        pub.publish(f"jobs/{number % 4}", b"%d" % number, number % 3)
    got = [took.get(timeout=WAIT_S).payload for _ in range(60)]
    assert sorted(got, key=int) == [b"%d" % number for number in range(60)]
    for member in members:
        member.close()
    pub.close()


def test_version_5_properties_pass_through(port: int) -> None:
    sub, pub = Paho(port, "props-sub", "5.0"), Paho(port, "props-pub", "5.0")
    sub.subscribe("props", options=SubscribeOptions(qos=2))
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("b", "1"), ("a", "2"), ("b", "3")]
    properties.ContentType = "text/plain"
    properties.ResponseTopic = "answers/here"
    properties.CorrelationData = b"\0\1\xff"
    properties.PayloadFormatIndicator = 1
    properties.MessageExpiryInterval = 1000
    for qos in (0, 1, 2):
        pub.publish("props", b"x", qos, properties=properties)
        got = sub.get().properties
        assert got.UserProperty == [("b", "1"), ("a", "2"), ("b", "3")]
        assert (got.ContentType, got.ResponseTopic, got.CorrelationData) == ("text/plain", "answers/here", b"\0\1\xff")
        assert got.PayloadFormatIndicator == 1 and 900 < got.MessageExpiryInterval <= 1000
    sub.close()
    pub.close()


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_a_session_waits_for_its_client(port: int, version: str) -> None:
    sub = Paho(port, f"away{version}", version, 600)
    sub.subscribe(f"away/{version}", qos=2)
    sub.close()
    pub = Paho(port, f"away-pub{version}")
    for number in range(200):
        pub.publish(f"away/{version}", b"%d" % number, 1 + number % 2)
    pub.close()
    sub = Paho(port, f"away{version}", version, 600)
    assert sub.present
    got = sub.take(200)  # paho hands a QoS 2 message out at its PUBREL: each QoS has its own order
    assert [int(payload) for _, payload, qos in got if qos == 1] == list(range(0, 200, 2))
    assert [int(payload) for _, payload, qos in got if qos == 2] == list(range(1, 200, 2))
    sub.nothing_more()
    sub.close()


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(start_gateway: Callable[..., GatewayProcess]) -> None:
    server = start_gateway()
    port = server.port("mqtt")
    sub = Paho(port, "durable", "5.0", 600)
    sub.subscribe("killed/#", qos=2)
    sub.close()
    pub = Paho(port, "writer", "3.1.1", 600)
    for number in range(100):
        pub.publish("killed/x", b"%d" % number, 1 + number % 2)
    pub.publish("killed/retained", b"kept", 1, True)
    pub.client.loop_stop()
    server.restart(kill=True)
    sub = Paho(port, "durable", "5.0", 600)
    assert sub.present
    got = sub.take(101)
    assert [payload for _, payload, qos in got if qos == 1] == [
        *[b"%d" % number for number in range(0, 100, 2)],
        b"kept",
    ]
    assert [payload for _, payload, qos in got if qos == 2] == [b"%d" % number for number in range(1, 100, 2)]
    sub.nothing_more()
    sub.close()
    late = Paho(port, "late")
    late.subscribe("killed/#", qos=1)
    assert late.get().payload == b"kept"
    late.close()
    server.restart(kill=True)
    sub = Paho(port, "durable", "5.0", 600)
    assert sub.present
    sub.nothing_more()
    sub.close()


def test_a_clean_stop_says_goodbye_and_keeps_everything(start_gateway: Callable[..., GatewayProcess]) -> None:
    server = start_gateway()
    port = server.port("mqtt")
    sub = Paho(port, "stopped", "5.0", 600)
    sub.subscribe("stopped/#", qos=1)
    pub = Paho(port, "writer", "5.0", 600, lambda client: client.will_set("stopped/will", b"bye", 1))
    sub.client.reconnect_delay_set(1, 1)
    sub.drop()
    pub.publish("stopped/x", b"1", 1)
    server.restart()
    assert pub.wait("closed").value == 0x8B
    pub.client.loop_stop()
    sub = Paho(port, "stopped", "5.0", 600)
    assert sub.present
    assert [payload for _, payload, _ in sub.take(2)] == [b"1", b"bye"]
    sub.close()


def test_paho_goes_on_by_itself_after_the_process_was_killed(start_gateway: Callable[..., GatewayProcess]) -> None:
    """QoS 2 over a crash in the middle: what paho sends again is taken once, what we send again paho takes once."""
    server = start_gateway()
    port = server.port("mqtt")
    sub = Paho(port, "exact-sub", "3.1.1", 600, lambda client: client.reconnect_delay_set(1, 1))
    sub.subscribe("exact", qos=2)
    pub = Paho(port, "exact-pub", "3.1.1", 600, again=False)
    told = [pub.client.publish("exact", b"%d" % number, 2) for number in range(300)]
    server.restart(kill=True)
    pub.reconnect()
    told += [pub.client.publish("exact", b"%d" % number, 2) for number in range(300, 400)]
    for one in told:
        one.wait_for_publish(60)
    got = [payload for _, payload, _ in sub.take(400)]
    assert sorted(got, key=int) == [b"%d" % number for number in range(400)]
    sub.nothing_more()
    sub.close()
    pub.close()


def test_aiomqtt_publishes_and_subscribes_at_every_qos(port: int) -> None:
    async def main() -> None:
        async with (
            aiomqtt.Client("127.0.0.1", port, identifier="aio-sub", protocol=aiomqtt.ProtocolVersion.V5) as sub,
            aiomqtt.Client("127.0.0.1", port, identifier="aio-pub") as pub,
        ):
            await sub.subscribe("aio/#", qos=2)
            for number in range(30):
                await pub.publish(f"aio/{number}", b"%d" % number, qos=number % 3)
            got = []
            async for message in sub.messages:
                got.append((str(message.topic), message.payload))
                if len(got) == 30:
                    break
            assert sorted(got) == sorted((f"aio/{number}", b"%d" % number) for number in range(30))

    asyncio.run(asyncio.wait_for(main(), WAIT_S))


def test_a_take_over_ends_the_older_connection(port: int) -> None:
    old = Paho(port, "twin", "5.0")
    new = Paho(port, "twin", "5.0")
    assert old.wait("closed").value == 0x8E
    old.client.loop_stop()
    new.subscribe("twin", qos=1)
    new.publish("twin", b"still here", 1)
    assert new.take(1) == [("twin", b"still here", 1)]
    new.close()
