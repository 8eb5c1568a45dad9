"""confluent-kafka (librdkafka) against the real process."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, ResourceType

from conformance.process import GatewayProcess
from tests.kafka.clients import WAIT_S, admin, consumer, create, fresh, produce, producer, read, read_all

COMPRESSIONS = ("none", "gzip", "snappy", "lz4", "zstd")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_compression_passes_through(gateway: GatewayProcess, compression: str) -> None:
    topic = create(gateway.kafka, fresh())
    values = [b"%d " % number * 100 for number in range(200)]
    delivered = produce(gateway.kafka, topic, values, compression_type=compression, linger_ms=20)
    assert [message.offset() for message in delivered] == list(range(200))
    assert [message.value() for message in read_all(gateway.kafka, topic, 200)] == values


def test_an_idempotent_producer_writes_each_message_once_in_order(gateway: GatewayProcess) -> None:
    topic = create(gateway.kafka, fresh())
    values = [b"%d" % number for number in range(500)]
    produce(gateway.kafka, topic, values, enable_idempotence=True, batch_num_messages=7)
    assert [message.value() for message in read_all(gateway.kafka, topic, 500)] == values


def test_keys_headers_and_null_values_come_back_as_given(gateway: GatewayProcess) -> None:
    topic = create(gateway.kafka, fresh())
    made = producer(gateway.kafka)
    made.produce(topic, key=b"k", value=None, headers=[("a", b"1"), ("a", None), ("b", b"")], timestamp=1234567)
    made.produce(topic, key=None, value=b"")
    assert made.flush(WAIT_S) == 0
    first, second = read_all(gateway.kafka, topic, 2)
    assert (first.key(), first.value(), first.headers()) == (b"k", None, [("a", b"1"), ("a", None), ("b", b"")])
    assert first.timestamp() == (1, 1234567)
    assert (second.key(), second.value(), second.headers()) == (None, b"", None)


def test_a_topic_is_created_by_whoever_produces_to_it_first(gateway: GatewayProcess) -> None:
    topic = fresh()
    produce(gateway.kafka, topic, [b"x"])
    assert [message.value() for message in read_all(gateway.kafka, topic, 1)] == [b"x"]


def test_a_reader_that_does_not_allow_it_creates_no_topic(gateway: GatewayProcess) -> None:
    topic = fresh()
    reader = consumer(gateway.kafka, allow_auto_create_topics=False)
    reader.subscribe([topic])
    message = reader.poll(5)
    assert message is not None and message.error().name() == "UNKNOWN_TOPIC_OR_PART"
    reader.close()
    assert topic not in admin(gateway.kafka).list_topics(timeout=WAIT_S).topics


def test_offsets_are_found_by_time_at_the_granularity_of_records(gateway: GatewayProcess) -> None:
    topic = create(gateway.kafka, fresh())
    made = producer(gateway.kafka, linger_ms=50, compression_type="zstd")
    for number in range(100):
        made.produce(topic, b"%d" % number, timestamp=1_000_000 + number * 10)
    assert made.flush(WAIT_S) == 0
    reader = consumer(gateway.kafka)
    for time_ms, offset in ((0, 0), (1_000_000, 0), (1_000_001, 1), (1_000_500, 50), (1_000_990, 99)):
        (found,) = reader.offsets_for_times([TopicPartition(topic, 0, time_ms)], timeout=WAIT_S)
        assert found.offset == offset, time_ms
    (found,) = reader.offsets_for_times([TopicPartition(topic, 0, 1_000_991)], timeout=WAIT_S)
    assert found.offset == -1
    assert reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=WAIT_S) == (0, 100)
    reader.close()


def test_a_batch_larger_than_the_topic_takes_is_refused(gateway: GatewayProcess) -> None:
    topic = create(gateway.kafka, fresh(), max_message_bytes="1000")
    errors = []
    made = producer(gateway.kafka, message_max_bytes=10_000_000)
    made.produce(topic, b"x" * 2000, on_delivery=lambda error, message: errors.append(error))
    assert made.flush(WAIT_S) == 0
    assert errors[0].name() == "MSG_SIZE_TOO_LARGE"
    produce(gateway.kafka, topic, [b"x" * 500])


def test_a_message_of_five_megabytes_crosses_whole(gateway: GatewayProcess) -> None:
    topic = create(gateway.kafka, fresh(), max_message_bytes="8000000")
    value = bytes(range(256)) * 20_000
    produce(gateway.kafka, topic, [value, b"small"], message_max_bytes=10_000_000)
    assert [message.value() for message in read_all(gateway.kafka, topic, 2)] == [value, b"small"]


def test_messages_sent_without_acknowledgement_arrive(gateway: GatewayProcess) -> None:
    topic = create(gateway.kafka, fresh())
    produce(gateway.kafka, topic, [b"a", b"b"], acks=0)
    assert [message.value() for message in read_all(gateway.kafka, topic, 2)] == [b"a", b"b"]


def test_a_waiting_fetch_is_answered_when_the_message_comes(gateway: GatewayProcess) -> None:
    topic = create(gateway.kafka, fresh())
    reader = consumer(gateway.kafka, fetch_wait_max_ms=20_000)
    reader.assign([TopicPartition(topic, 0, 0)])
    assert reader.poll(0.5) is None
    began = time.monotonic()
    produce(gateway.kafka, topic, [b"now"])
    assert [message.value() for message in read(reader, 1)] == [b"now"]
    assert time.monotonic() - began < 10  # of the 20 s that the fetch may wait
    reader.close()


def test_an_admin_creates_describes_changes_and_deletes_topics(gateway: GatewayProcess) -> None:
    topic, client = fresh("orders.eu"), admin(gateway.kafka)
    created = client.create_topics([NewTopic(topic, 3, 1, config={"retention.ms": "1000000"})])
    assert created[topic].result(WAIT_S) is None
    assert len(client.list_topics(topic, timeout=WAIT_S).topics[topic].partitions) == 3
    with pytest.raises(KafkaException, match="already exists"):
        client.create_topics([NewTopic(topic, 3, 1)])[topic].result(WAIT_S)

    resource = ConfigResource(ResourceType.TOPIC, topic)
    found = next(iter(client.describe_configs([resource]).values())).result(WAIT_S)
    assert (found["retention.ms"].value, found["cleanup.policy"].value) == ("1000000", "delete")
    assert found["retention.ms"].source == 1 and found["max.message.bytes"].value == "1048588"

    change = ConfigEntry("retention.ms", "2000000", incremental_operation=AlterConfigOpType.SET)
    wanted = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
    assert next(iter(client.incremental_alter_configs([wanted]).values())).result(WAIT_S) is None
    found = next(iter(client.describe_configs([resource]).values())).result(WAIT_S)
    assert found["retention.ms"].value == "2000000"

    assert client.create_partitions([NewPartitions(topic, 5)])[topic].result(WAIT_S) is None
    assert len(client.list_topics(topic, timeout=WAIT_S).topics[topic].partitions) == 5
    assert client.delete_topics([topic])[topic].result(WAIT_S) is None
    assert topic not in client.list_topics(timeout=WAIT_S).topics


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"cleanup.policy": "compress"}, "must be one of"),
        ({"min.insync.replicas": "0"}, "not within"),
        ({"compression.type": "none"}, "must be one of"),
        ({"flush.messages": "1"}, "not supported"),
        ({"max.compaction.lag.ms": "1000"}, "not supported"),
        ({"message.timestamp.type": "Never"}, "must be one of"),
        ({"retention.ms": "soon"}, "not a number"),
        ({"no.such.config": "1"}, "Unknown topic config"),
    ],
)
def test_a_configuration_that_cannot_be_enforced_is_refused(
    gateway: GatewayProcess, config: dict[str, str], why: str
) -> None:
    topic, client = fresh(), admin(gateway.kafka)
    with pytest.raises(KafkaException, match=why) as raised:
        client.create_topics([NewTopic(topic, 1, 1, config=config)])[topic].result(WAIT_S)
    assert raised.value.args[0].name() == "INVALID_CONFIG"


def test_replicas_that_cannot_be_had_are_refused(gateway: GatewayProcess) -> None:
    topic, client = fresh(), admin(gateway.kafka)
    with pytest.raises(KafkaException) as raised:
        client.create_topics([NewTopic(topic, 1, 3)])[topic].result(WAIT_S)
    assert raised.value.args[0].name() == "INVALID_REPLICATION_FACTOR"


def test_records_below_an_offset_are_deleted(gateway: GatewayProcess) -> None:
    topic = create(gateway.kafka, fresh())
    produce(gateway.kafka, topic, [b"%d" % number for number in range(10)])
    client = admin(gateway.kafka)
    asked = client.delete_records([TopicPartition(topic, 0, 7)])
    assert next(iter(asked.values())).result(WAIT_S).low_watermark == 7
    assert [message.value() for message in read_all(gateway.kafka, topic, 3)] == [b"7", b"8", b"9"]


def test_a_group_is_listed_described_and_deleted(gateway: GatewayProcess) -> None:
    topic, group, client = create(gateway.kafka, fresh()), fresh("g"), admin(gateway.kafka)
    produce(gateway.kafka, topic, [b"x"])
    reader = consumer(gateway.kafka, group)
    reader.subscribe([topic])
    read(reader, 1)
    reader.commit(asynchronous=False)
    described = client.describe_consumer_groups([group])[group].result(WAIT_S)
    assert described.state.name == "STABLE" and len(described.members) == 1
    assert described.members[0].assignment.topic_partitions[0].topic == topic
    with pytest.raises(KafkaException) as raised:
        client.delete_consumer_groups([group])[group].result(WAIT_S)
    assert raised.value.args[0].name() == "NON_EMPTY_GROUP"
    reader.close()
    listed = client.list_consumer_groups().result(WAIT_S)
    assert group in {one.group_id for one in listed.valid}
    offsets = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(WAIT_S)
    assert [(one.topic, one.offset) for one in offsets.topic_partitions] == [(topic, 1)]
    assert client.delete_consumer_groups([group])[group].result(WAIT_S) is None


def test_an_idempotent_producer_goes_on_in_a_topic_that_was_made_anew(gateway: GatewayProcess) -> None:
    topic, client = create(gateway.kafka, fresh()), admin(gateway.kafka)
    made, told = producer(gateway.kafka, enable_idempotence=True), []
    for _ in range(2):
        for _ in range(3):
            made.produce(topic, b"x", on_delivery=lambda error, message: told.append(error or message.offset()))
            assert made.flush(WAIT_S) == 0
        client.delete_topics([topic])[topic].result(WAIT_S)
        create(gateway.kafka, topic)
    assert told == [0, 1, 2, 0, 1, 2]


def test_a_transactional_producer_is_told_that_there_are_no_transactions(gateway: GatewayProcess) -> None:
    made = producer(gateway.kafka, transactional_id="t")
    with pytest.raises(KafkaException) as raised:
        made.init_transactions(WAIT_S)
    assert raised.value.args[0].name() == "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"
