"""aiokafka, kafka-python and kcat against the real process."""

from __future__ import annotations

import subprocess

import kafka
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.admin import NewTopic as KafkaNewTopic

from conformance.process import GatewayProcess, find_command
from tests.kafka.clients import WAIT_S, create, fresh, produce

VALUES = [b"%d" % number * 20 for number in range(100)]


@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_aiokafka_writes_and_reads_every_compression(gateway: GatewayProcess, compression: str | None) -> None:
    topic = create(gateway.kafka, fresh())
    async with AIOKafkaProducer(
        bootstrap_servers=gateway.kafka, compression_type=compression, enable_idempotence=True, linger_ms=10
    ) as producer:
        sent = [await producer.send(topic, value, key=b"k", headers=[("h", b"v")]) for value in VALUES]
        assert [(await one).offset for one in sent] == list(range(100))
    async with AIOKafkaConsumer(topic, bootstrap_servers=gateway.kafka, auto_offset_reset="earliest") as consumer:
        found = [await consumer.getone() for _ in VALUES]
    assert [message.value for message in found] == VALUES
    assert {(message.key, message.headers) for message in found} == {(b"k", (("h", b"v"),))}


async def test_aiokafka_members_commit_and_go_on(gateway: GatewayProcess) -> None:
    topic, group = create(gateway.kafka, fresh()), fresh("g")
    produce(gateway.kafka, topic, list(VALUES))
    settings = {
        "bootstrap_servers": gateway.kafka, "group_id": group, "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }  # fmt: skip
    partition = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(topic, **settings) as consumer:
        assert [(await consumer.getone()).offset for _ in range(10)] == list(range(10))
        await consumer.commit({partition: (10, "ten")})
        assert await consumer.committed(partition) == 10
        assert await consumer.end_offsets([partition]) == {partition: 100}
    async with AIOKafkaConsumer(topic, **settings) as consumer:
        assert (await consumer.getone()).offset == 10


async def test_aiokafka_finds_offsets_by_time_and_administers(gateway: GatewayProcess) -> None:
    topic = fresh()
    admin = AIOKafkaAdminClient(bootstrap_servers=gateway.kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 2, 1)])
        assert topic in await admin.list_topics()
        async with AIOKafkaProducer(bootstrap_servers=gateway.kafka) as producer:
            for number in range(10):
                await producer.send_and_wait(topic, b"x", partition=1, timestamp_ms=1000 + number)
        async with AIOKafkaConsumer(bootstrap_servers=gateway.kafka) as consumer:
            partition = TopicPartition(topic, 1)
            found = await consumer.offsets_for_times({partition: 1005})
            assert (found[partition].offset, found[partition].timestamp) == (5, 1005)
        await admin.delete_topics([topic])
        assert topic not in await admin.list_topics()
    finally:
        await admin.close()


@pytest.mark.parametrize("compression", [None, "gzip"])  # it does the others only with libraries of their own
def test_kafka_python_writes_and_reads_every_compression(gateway: GatewayProcess, compression: str | None) -> None:
    topic = create(gateway.kafka, fresh())
    producer = kafka.KafkaProducer(bootstrap_servers=gateway.kafka, compression_type=compression, linger_ms=10)
    sent = [producer.send(topic, value, key=b"k", headers=[("h", b"v")]) for value in VALUES]
    assert [one.get(WAIT_S).offset for one in sent] == list(range(100))
    producer.close()
    consumer = kafka.KafkaConsumer(
        topic, bootstrap_servers=gateway.kafka, group_id=fresh("g"), auto_offset_reset="earliest",
        consumer_timeout_ms=WAIT_S * 1000,
    )  # fmt: skip
    found = [next(consumer) for _ in VALUES]
    consumer.close()
    assert [message.value for message in found] == VALUES
    assert {(message.key, tuple(message.headers)) for message in found} == {(b"k", (("h", b"v"),))}


def test_kafka_python_administers_topics_groups_and_configurations(gateway: GatewayProcess) -> None:
    topic, group = fresh(), fresh("g")
    admin = KafkaAdminClient(bootstrap_servers=gateway.kafka)
    admin.create_topics([KafkaNewTopic(topic, 1, 1, topic_configs={"retention.ms": "123456"})])
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    assert "123456" in str(found)
    produce(gateway.kafka, topic, list(VALUES))
    consumer = kafka.KafkaConsumer(
        topic, bootstrap_servers=gateway.kafka, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
        consumer_timeout_ms=WAIT_S * 1000,
    )  # fmt: skip
    partition = kafka.TopicPartition(topic, 0)
    assert next(consumer).value == VALUES[0]
    consumer.commit()
    assert consumer.committed(partition) == 1
    assert consumer.offsets_for_times({partition: 0})[partition].offset == 0
    assert consumer.end_offsets([partition])[partition] == 100
    consumer.close()
    assert group in str(admin.list_groups())
    assert admin.describe_cluster()["cluster_id"]
    admin.delete_topics([topic])
    admin.close()


def kcat(address: str, *arguments: str, data: bytes = b"") -> bytes:
    found = find_command("kcat")
    if found is None:
        pytest.skip("kcat is not installed")
    command = [found, "-b", address, "-m", "30", *arguments]
    return subprocess.run(command, input=data, capture_output=True, check=True, timeout=WAIT_S).stdout


def test_kcat_lists_produces_and_consumes(gateway: GatewayProcess) -> None:
    topic = create(gateway.kafka, fresh(), 2)
    kcat(gateway.kafka, "-P", "-t", topic, "-p", "1", "-K", ":", "-z", "lz4", data=b"a:1\nb:2\n")
    listed = kcat(gateway.kafka, "-L", "-t", topic).decode()
    assert f'topic "{topic}" with 2 partitions' in listed
    assert kcat(gateway.kafka, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-K", ":") == b"a:1\nb:2\n"
    assert kcat(gateway.kafka, "-Q", "-t", f"{topic}:1:-1").decode().split()[-1] == "2"
