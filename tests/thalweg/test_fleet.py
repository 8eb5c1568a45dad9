"""Gateways over a JetStream cluster: stock clients of four protocols, the holder of the lease killed, frozen, woken."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import confluent_kafka
import nats
import paho.mqtt.publish as paho
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from conformance.nats_cluster import NatsCluster, NoServer
from conformance.process import GatewayProcess, find_command

WAIT_S = 60.0
SERVE = [sys.executable, "-m", "thalweg", "serve"]
ALWAYS = {"THALWEG_RESP__APPENDFSYNC": "always"}

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def eventually(what: Callable[[], bool], wait_s: float = WAIT_S) -> float:
    """Seconds until it came."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() < began + wait_s, "it did not come"
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    try:
        made = NatsCluster(tmp_path_factory.mktemp("cluster"))
    except NoServer as why:
        pytest.skip(str(why))
    with made:
        yield made


def kafka_produce(address: str, topic: str, count: int) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": address, "acks": "all"})
    for number in range(count):
        producer.produce(topic, b"%d" % number)
    assert producer.flush(WAIT_S) == 0


def kafka_values(address: str, topic: str, count: int) -> list[bytes]:
    consumer = confluent_kafka.Consumer({"bootstrap.servers": address, "group.id": "reader"})
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
    found: list[bytes] = []

    def read() -> bool:
        found.extend(message.value() for message in consumer.consume(1000, 0.2) if message.error() is None)
        return len(found) >= count

    eventually(read)
    consumer.close()
    return found


async def nats_publish(address: str, count: int) -> list[int]:
    client = await nats.connect(f"nats://{address}")
    stream = client.jetstream()
    await stream.add_stream(name="ORDERS", subjects=["orders.*"])
    sequences = [(await stream.publish("orders.eu", b"%d" % number)).seq for number in range(count)]
    await client.close()
    return sequences


async def nats_values(address: str, count: int) -> list[bytes]:
    client = await nats.connect(f"nats://{address}")
    stream = client.jetstream()
    found = [(await stream.get_msg("ORDERS", sequence)).data for sequence in range(1, count + 1)]
    await client.close()
    return [bytes(one or b"") for one in found]


def port(gateway: GatewayProcess) -> int:
    return gateway.port("resp")


def test_four_protocols_over_a_cluster_a_kill_and_a_lost_directory(
    cluster: NatsCluster, tmp_path: pathlib.Path
) -> None:
    gateway = GatewayProcess(SERVE, tmp_path, flags=["--engine", cluster.url("alone")], env=ALWAYS)
    with gateway:
        kafka_produce(gateway.kafka, "fills", 50)
        assert asyncio.run(nats_publish(gateway.nats, 20)) == list(range(1, 21))
        keys = redis.Redis(port=port(gateway))
        keys.mset({f"k{number}": number for number in range(20)})
        host, mqtt_port = gateway.mqtt.split(":")
        paho.single("plant/1/state", b"on", qos=1, retain=True, hostname=host, port=int(mqtt_port))
        gateway.kill()
        for lost in (False, True):
            if lost:
                shutil.rmtree(gateway.data)
            gateway.start()
            assert kafka_values(gateway.kafka, "fills", 50) == [b"%d" % number for number in range(50)]
            assert asyncio.run(nats_values(gateway.nats, 20)) == [b"%d" % number for number in range(20)]
            assert keys.get("k19") == b"19"
            assert keys.incr("starts") == 1 + lost
            if not lost:
                assert gateway.stop() == 0


class Load:
    """Appends to a Redis stream and to a Kafka topic by whichever gateway answers, and remembers what was acknowledged."""

    def __init__(self, gateways: list[GatewayProcess]) -> None:
        self._gateways = gateways
        self.acknowledged: list[int] = []
        self.delivered: list[int] = []
        self.longest_s = 0.0
        """Between two acknowledgements."""
        self._stopping = False
        self._threads = [threading.Thread(target=self._keys), threading.Thread(target=self._kafka)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        eventually(lambda: len(self.acknowledged) > 20 and len(self.delivered) > 20)
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping = True
        for thread in self._threads:
            thread.join()

    def _keys(self) -> None:
        number = 0
        before_s = time.monotonic()
        once = Retry(NoBackoff(), 0)
        for gateway in itertools.cycle(self._gateways):
            if self._stopping:
                return
            try:
                with redis.Redis(port=port(gateway), socket_timeout=2, socket_connect_timeout=1, retry=once) as keys:
                    for _ in range(20):
                        number += 1
                        keys.rpush("log", number)
                        self.acknowledged.append(number)
                        self.longest_s = max(self.longest_s, time.monotonic() - before_s)
                        before_s = time.monotonic()
            except redis.RedisError:
                time.sleep(0.05)

    def _kafka(self) -> None:
        servers = ",".join(gateway.kafka for gateway in self._gateways)
        settings = {"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True, "log_level": 0}
        settings |= {"socket.timeout.ms": 3_000, "request.timeout.ms": 2_000}  # a frozen broker closes nothing
        producer = confluent_kafka.Producer({**settings, "reconnect.backoff.max.ms": 500})
        number = 0
        while not self._stopping:
            number += 1
            producer.produce("load", b"%d" % number, on_delivery=self._reported)
            producer.poll(0.005)
        producer.flush(WAIT_S)

    def _reported(self, error: object, message: confluent_kafka.Message) -> None:
        if error is None:
            self.delivered.append(int(message.value() or 0))


@pytest.fixture
def members(
    cluster: NatsCluster, tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> Iterator[list[GatewayProcess]]:
    """Two gateways of one fleet; the first holds the lease."""
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("k" * 32)
    flags = ["--engine", cluster.url(f"fleet{request.node.name[-12:]}".replace("_", "")), "--fleet-key", str(key)]
    with ExitStack() as stack:
        yield [
            stack.enter_context(GatewayProcess(SERVE, tmp_path / f"gateway-{number}", flags=flags, env=ALWAYS))
            for number in (1, 2)
        ]


def all_there(gateway: GatewayProcess, load: Load) -> None:
    """Nothing acknowledged is missing, nothing idempotent is there twice, positions are contiguous."""
    with redis.Redis(port=port(gateway)) as keys:
        found = [int(one) for one in keys.lrange("log", 0, -1)]
    assert set(load.acknowledged) <= set(found)
    values = kafka_values(gateway.kafka, "load", len(set(load.delivered)))
    stored = [int(one) for one in values]
    assert set(load.delivered) <= set(stored)
    assert len(stored) == len(set(stored))


def test_the_holder_is_killed_and_the_other_takes_over(members: list[GatewayProcess]) -> None:
    first, second = members
    with Load(members) as load:
        first.kill()
        before = len(load.acknowledged), len(load.delivered)
        eventually(lambda: len(load.acknowledged) > before[0] + 20 and len(load.delivered) > before[1] + 20)
        first.start()
        before = len(load.acknowledged), len(load.delivered)
        eventually(lambda: len(load.acknowledged) > before[0] + 60)
    print(f"longest pause {load.longest_s:.1f} s")
    for member in members:
        all_there(member, load)
    assert second.is_running()


def test_a_holder_that_slept_longer_than_its_lease_is_fenced_and_links_to_the_other(
    members: list[GatewayProcess],
) -> None:
    first, second = members
    with Load(members) as load:
        os.kill(first.pid, signal.SIGSTOP)
        try:
            eventually(lambda: "fleet the sequencer" in second.last_words(1 << 20))
            before = len(load.acknowledged)
            eventually(lambda: len(load.acknowledged) > before + 20)
        finally:
            os.kill(first.pid, signal.SIGCONT)
        eventually(lambda: "fleet a gateway of the sequencer" in first.last_words(1 << 20))
        before = len(load.delivered)
        eventually(lambda: len(load.delivered) > before + 20)
        with redis.Redis(port=port(first)) as keys:
            eventually(lambda: bool(keys.ping()))
    for member in members:
        all_there(member, load)


def test_a_trial_starts_everything_and_ends_everything(tmp_path: pathlib.Path) -> None:
    if find_command("nats-server") is None:
        pytest.skip("nats-server is not installed")
    ready = tmp_path / "ready.json"
    command = [*SERVE[:3], "fleet", "trial", "--nodes", "1", "--folder", str(tmp_path), "--ready-file", str(ready)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as trial:
        try:
            eventually(ready.exists)
            addresses = json.loads(ready.read_text())["listeners"]
            ports = [int(addresses[f"resp-{number}"].rpartition(":")[2]) for number in (1, 2)]
            assert redis.Redis(port=ports[0]).set("seen", "everywhere")
            assert redis.Redis(port=ports[1]).get("seen") == b"everywhere"
        finally:
            trial.send_signal(signal.SIGINT)
        printed, _ = trial.communicate(timeout=WAIT_S)
    assert trial.returncode == 0
    pids = [int(pid) for pid in re.findall(r"process (\d+)", printed)]
    assert len(pids) == 3
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
