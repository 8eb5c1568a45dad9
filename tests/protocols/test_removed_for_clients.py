"""What JetStream removed, as stock Kafka clients see it: whole batches, parts of them, the newest records."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Callable

import confluent_kafka
import nats
import pytest

from conformance.process import GatewayProcess

TOPIC = "removed"
COUNT = 60
GONE = {0, 1, 2, *range(20, 31), 40, 42, 44, COUNT - 2, COUNT - 1}
WAIT_S = 30


@pytest.fixture(scope="module")
def gateway(start_gateway: Callable[..., GatewayProcess]) -> GatewayProcess:
    server = start_gateway()
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "batch.num.messages": 5, "linger.ms": 5})
    for number in range(COUNT):
        producer.produce(TOPIC, b"v%d" % number, b"k%d" % number, partition=0)
        if number % 5 == 4:
            assert producer.flush(WAIT_S) == 0
    asyncio.run(_remove(server))
    return server


async def _remove(server: GatewayProcess) -> None:
    client = await nats.connect(server.nats)
    jetstream = client.jetstream()
    for number in sorted(GONE):
        assert await jetstream.delete_msg(TOPIC, number + 1)
    await client.close()


WANT = [(number, b"v%d" % number) for number in range(COUNT) if number not in GONE]


def test_confluent_kafka_reads_what_is_left_and_ends_at_the_end(gateway: GatewayProcess) -> None:
    reader = confluent_kafka.Consumer(
        {"bootstrap.servers": gateway.kafka, "group.id": "c", "enable.partition.eof": True, "check.crcs": True}
    )
    reader.assign([confluent_kafka.TopicPartition(TOPIC, 0, 0)])
    found = []
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        message = reader.poll(WAIT_S)
        assert message is not None
        if message.error():
            assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
            assert message.offset() == COUNT
            break
        found.append((message.offset(), message.value()))
    reader.close()
    assert found == WANT


def test_kafka_python_reads_what_is_left(gateway: GatewayProcess) -> None:
    kafka = pytest.importorskip("kafka")
    reader = kafka.KafkaConsumer(bootstrap_servers=gateway.kafka, consumer_timeout_ms=WAIT_S * 1000, check_crcs=True)
    partition = kafka.TopicPartition(TOPIC, 0)
    reader.assign([partition])
    reader.seek(partition, 0)
    found = []
    deadline = time.monotonic() + WAIT_S
    while len(found) < len(WANT) and time.monotonic() < deadline:
        found += [(one.offset, one.value) for some in reader.poll(1000).values() for one in some]
    deadline = time.monotonic() + WAIT_S
    while reader.position(partition) < COUNT and time.monotonic() < deadline:
        reader.poll(200)
    assert reader.position(partition) == COUNT
    reader.close()
    assert found == WANT


def test_aiokafka_reads_what_is_left(gateway: GatewayProcess) -> None:
    aiokafka = pytest.importorskip("aiokafka")

    async def read() -> list[tuple[int, bytes]]:
        reader = aiokafka.AIOKafkaConsumer(bootstrap_servers=gateway.kafka, check_crcs=True)
        await reader.start()
        try:
            partition = aiokafka.TopicPartition(TOPIC, 0)
            reader.assign([partition])
            reader.seek(partition, 0)
            return [
                (one.offset, one.value)
                for one in [await asyncio.wait_for(reader.getone(), WAIT_S) for _ in range(len(WANT))]
            ]
        finally:
            await reader.stop()

    assert asyncio.run(read()) == WANT


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
def test_kcat_reads_what_is_left_and_ends(gateway: GatewayProcess) -> None:
    done = subprocess.run(
        ["kcat", "-b", gateway.kafka, "-C", "-t", TOPIC, "-o", "beginning", "-e", "-q", "-f", "%o %s\n"],
        capture_output=True, timeout=WAIT_S, check=True,
    )  # fmt: skip
    assert done.stdout.decode().split("\n")[:-1] == [f"{offset} {value.decode()}" for offset, value in WANT]
