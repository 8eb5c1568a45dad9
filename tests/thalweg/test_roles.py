"""Several processes over one substrate: stock clients on every worker, processes killed and restarted, strangers refused."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import confluent_kafka
import nats
import paho.mqtt.client as paho
import pytest
import redis

from conformance.process import GatewayProcess
from substrate.remote import frames
from thalweg import supervisor
from thalweg.supervisor import Child, pause_s

WAIT_S = 30.0


def eventually(what: Callable[[], bool], wait_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + wait_s
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def processes(data: str) -> dict[str, int]:
    """Name -> pid, by ``thalweg ps``."""
    ended = subprocess.run(
        [sys.executable, "-m", "thalweg", "ps", "--data", data, "-o", "json"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 0, ended.stderr
    return {row["process"]: row["pid"] for row in map(json.loads, ended.stdout.splitlines())}


@pytest.fixture
def workers(start_gateway: Callable[..., GatewayProcess]) -> Iterator[GatewayProcess]:
    yield start_gateway(env={"THALWEG_WORKERS": "2"})


def gateways_of(connections: list[redis.Redis]) -> set[int]:
    """Which process answers each: the inode of the socket's other end says."""
    pids = set()
    for one in connections:
        port = one.connection._sock.getsockname()[1]
        found = subprocess.run(["ss", "-tnpH", f"dport = :{port}"], capture_output=True, text=True).stdout
        pids |= {int(word.split(",")[0]) for word in found.split("pid=")[1:]}
    return pids


def test_stock_clients_of_all_protocols_meet_over_workers(workers: GatewayProcess) -> None:
    host, port = workers.resp.split(":")
    several = [redis.Redis(host=host, port=int(port), single_connection_client=True) for _ in range(16)]
    for one in several:
        one.incr("n")
    assert several[0].get("n") == b"16", "one keyspace"
    if os.access("/usr/bin/ss", os.X_OK):
        assert len(gateways_of(several)) == 2, "the connections are shared out"

    async def streams() -> None:
        clients = [await nats.connect(f"nats://{workers.nats}") for _ in range(4)]
        subscriptions = [await client.subscribe("far.>") for client in clients]
        for client in clients:
            await client.flush()
        for index, client in enumerate(clients):
            await client.publish(f"far.{index}", b"%d" % index)
            await client.flush()
        for subscription in subscriptions:
            got = {(await subscription.next_msg(timeout=WAIT_S)).data for _ in clients}
            assert got == {b"0", b"1", b"2", b"3"}
        stream = clients[0].jetstream()
        await stream.add_stream(name="orders", subjects=["orders.>"])
        for index in range(20):
            await clients[index % 4].jetstream().publish(f"orders.{index}", b"x")
        consumer = await clients[1].jetstream().pull_subscribe("orders.>", "c")
        assert len(await consumer.fetch(20, timeout=WAIT_S)) == 20
        for client in clients:
            await client.close()

    asyncio.run(streams())
    producer = confluent_kafka.Producer({"bootstrap.servers": workers.kafka})
    for index in range(50):
        producer.produce("ev", b"%d" % index)
    assert producer.flush(WAIT_S) == 0
    consumers = [
        confluent_kafka.Consumer({"bootstrap.servers": workers.kafka, "group.id": "g", "auto.offset.reset": "earliest"})
        for _ in range(2)
    ]
    got: list[bytes] = []
    for one in consumers:
        one.subscribe(["ev"])

    def read() -> bool:
        for one in consumers:
            message = one.poll(0.05)
            if message is not None and message.error() is None:
                got.append(message.value())
        return len(got) >= 50

    eventually(read)
    assert sorted(got, key=int) == [b"%d" % index for index in range(50)]
    for one in consumers:
        one.close()


def test_an_mqtt_session_is_one_over_workers(workers: GatewayProcess) -> None:
    host, port = workers.mqtt.split(":")
    got: list[bytes] = []

    def client(name: str, clean: bool = False) -> paho.Client:
        made = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, clean_session=clean)
        made.on_message = lambda _, __, message: got.append(message.payload)
        made.connect(host, int(port))
        made.loop_start()
        eventually(made.is_connected)
        return made

    one = client("c")
    subscribed: list[int] = []
    one.on_subscribe = lambda *_: subscribed.append(1)
    one.subscribe("t/#", 2)
    eventually(lambda: bool(subscribed))
    senders = [client(f"s{index}", True) for index in range(4)]
    for index, sender in enumerate(senders):
        sender.publish(f"t/{index}", b"%d" % index, 2).wait_for_publish(WAIT_S)
    eventually(lambda: len(got) == 4)
    one.disconnect()
    one.loop_stop()
    for index, sender in enumerate(senders):
        sender.publish(f"t/{index}", b"later %d" % index, 2).wait_for_publish(WAIT_S)
    again = client("c")
    eventually(lambda: len(got) == 8)
    assert sorted(got) == sorted([b"%d" % n for n in range(4)] + [b"later %d" % n for n in range(4)]), "exactly once"
    for made in (again, *senders):
        made.disconnect()
        made.loop_stop()


def test_killed_processes_come_back_and_nothing_acknowledged_is_missing(workers: GatewayProcess) -> None:
    host, port = workers.resp.split(":")
    kafka = confluent_kafka.Producer({"bootstrap.servers": workers.kafka, "enable.idempotence": True})
    acknowledged: list[bytes] = []
    sent = 0

    def produce(count: int) -> None:
        nonlocal sent
        for _ in range(count):
            kafka.produce("ev", b"%d" % sent, on_delivery=lambda error, message: acknowledged.append(message.value()))
            sent += 1
        kafka.poll(0)

    produce(200)
    assert kafka.flush(WAIT_S) == 0
    before = processes(workers.data)
    for victim in ("gateway-1", "sequencer"):
        produce(100)
        os.kill(before[victim], signal.SIGKILL)
        produce(100)

        def back(victim: str = victim) -> bool:
            try:
                return processes(workers.data).get(victim) not in (None, before[victim])
            except AssertionError:
                return False

        eventually(back)
    assert kafka.flush(WAIT_S) == 0
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": workers.kafka, "group.id": "g", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["ev"])
    got: list[bytes] = []

    def read() -> bool:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            got.append(message.value())
        return len(got) >= sent

    eventually(read)
    consumer.close()
    assert got == [b"%d" % index for index in range(sent)], "each once, in order"
    assert set(acknowledged) == set(got)
    assert redis.Redis(host=host, port=int(port)).ping()


def test_strangers_at_the_substrate_cost_nothing(workers: GatewayProcess) -> None:
    path = pathlib.Path(workers.data, "run", "address").read_text().removeprefix("unix://")
    for said in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\x05hello",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\x01" + bytes((frames.Ping.KIND,)),
    ):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(WAIT_S)
            stranger.connect(path)
            stranger.sendall(said)
            while stranger.recv(4096):
                pass
    host, port = workers.resp.split(":")
    assert redis.Redis(host=host, port=int(port)).ping()


def test_a_gateway_with_another_key_says_so_and_ends(workers: GatewayProcess, tmp_path: pathlib.Path) -> None:
    key = tmp_path / "key"
    key.write_text("not the key of that fleet")
    key.chmod(0o600)
    command = [
        sys.executable,
        "-m",
        "thalweg",
        "role",
        "gateway",
        "--substrate",
        pathlib.Path(workers.data, "run", "address").read_text(),
    ]
    ended = subprocess.run(
        [*command, "--key", str(key), "--resp", "127.0.0.1:0"], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1 and "not the key of this fleet" in ended.stderr
    key.chmod(0o644)
    ended = subprocess.run([*command, "--key", str(key)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "others may read it" in ended.stderr


# the supervisor's discipline


@pytest.mark.parametrize(
    ("policy", "status", "restarts"),
    [("permanent", 0, True), ("permanent", 1, True), ("transient", 0, False), ("transient", -9, True),
     ("temporary", 0, False), ("temporary", 1, False)],
)  # fmt: skip
def test_a_child_is_restarted_as_its_policy_says(policy: str, status: int, restarts: bool) -> None:
    assert Child("c", [], policy).may_restart(status) is restarts  # type: ignore[arg-type]


def test_pauses_double_and_are_spread() -> None:
    assert [round(pause_s(n, 0.5), 3) for n in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert pause_s(50, 0.5) == supervisor.PAUSE_S_MAX
    assert pause_s(1, 0.0) == 0.5 * pause_s(1, 0.5) and pause_s(1, 1.0) == 1.5 * pause_s(1, 0.5)


def test_a_child_that_does_not_stay_up_ends_everything_with_a_failure(workers: GatewayProcess) -> None:
    restarts = 0
    last = 0
    while restarts <= supervisor.RESTARTS_MAX + 1 and workers.is_running():
        try:
            pid = processes(workers.data).get("gateway-1", 0)
        except AssertionError:
            continue
        if pid not in (0, last):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            last, restarts = pid, restarts + 1
        time.sleep(0.02)
    eventually(lambda: not workers.is_running())
    assert workers.stop() == 1 and "giving up" in workers.last_words()


def test_no_child_outlives_a_killed_supervisor(workers: GatewayProcess) -> None:
    pids = list(processes(workers.data).values())
    workers.kill()
    eventually(lambda: not any(alive(pid) for pid in pids))


def alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
