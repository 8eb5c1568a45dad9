"""kafka-python."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic
from kafka.errors import KafkaError

from conformance.matrix.cells import Cells, Place

cells = Cells("kafka", "kafka-python", "kafka-python")
WAIT_S = 35.0
logging.disable(logging.CRITICAL)


@contextmanager
def administrator(place: Place) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=place.address)
    try:
        yield client
    finally:
        client.close()


def topic(place: Place, partitions: int = 1, **configs: str) -> str:
    name = place.name("topic")
    with administrator(place) as client:
        settings = {key.replace("_", "."): value for key, value in configs.items()}
        client.create_topics([NewTopic(name, partitions, 1, topic_configs=settings)])
    return name


@contextmanager
def producing(place: Place, **settings: Any) -> Iterator[KafkaProducer]:
    producer = KafkaProducer(bootstrap_servers=place.address, **settings)
    try:
        yield producer
    finally:
        producer.close(WAIT_S)


@contextmanager
def consuming(place: Place, *topics: str, **settings: Any) -> Iterator[KafkaConsumer]:
    given = {
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "fetch_max_wait_ms": 100,
        "consumer_timeout_ms": int(WAIT_S * 1000),
    }
    consumer = KafkaConsumer(*topics, bootstrap_servers=place.address, **{**given, **settings})
    try:
        yield consumer
    finally:
        consumer.close()


def produce(place: Place, name: str, values: list[bytes], **settings: Any) -> list[tuple[int, int]]:
    with producing(place, **settings) as producer:
        sent = [producer.send(name, value) for value in values]
        found = [each.get(WAIT_S) for each in sent]
        return [(each.partition, each.offset) for each in found]


def values(place: Place, name: str, count: int, **settings: Any) -> list[bytes]:
    with consuming(place, name, **settings) as consumer:
        return [next(consumer).value for _ in range(count)]


def refused(call: Callable[[], Any]) -> object:
    try:
        return call()
    except KafkaError as error:
        return type(error).__name__


@cells.add("produce: acks all")
def acks_all(place: Place) -> object:
    name = topic(place)
    return [produce(place, name, [b"one", b"two"], acks="all"), values(place, name, 2)]


@cells.add("produce: acks 1 and 0")
def other_acks(place: Place) -> object:
    name = topic(place)
    told = [produce(place, name, [b"one"], acks=1), len(produce(place, name, [b"two"], acks=0))]
    return [told, values(place, name, 2)]


@cells.add("produce: gzip")
def gzip(place: Place) -> object:
    name = topic(place)
    return [produce(place, name, [b"x" * 1000], compression_type="gzip"), len(values(place, name, 1)[0])]


@cells.add("produce: headers, null key and value, timestamp")
def headers(place: Place) -> object:
    name = topic(place, retention_ms="-1")  # the timestamp is of long ago
    with producing(place) as producer:
        producer.send(name, b"v", b"k", headers=[("a", b"1"), ("a", b"2")], timestamp_ms=1_700_000_000_123).get(WAIT_S)
        producer.send(name, None, b"tombstone").get(WAIT_S)
    with consuming(place, name) as consumer:
        found = [next(consumer) for _ in range(2)]
    return [[(each.key, each.value, [list(header) for header in each.headers]) for each in found], found[0].timestamp]


@cells.add("produce: keys choose partitions")
def keyed(place: Place) -> object:
    name = topic(place, 4)
    with producing(place) as producer:
        return [producer.send(name, b"v", b"key%d" % number).get(WAIT_S).partition for number in range(10)]


@cells.add("produce: idempotent")
def idempotent(place: Place) -> object:
    name = topic(place)
    told = produce(place, name, [b"%d" % number for number in range(200)], enable_idempotence=True)
    return [told[-1], values(place, name, 200)[-1]]


@cells.add("produce: a message that is too large")
def too_large(place: Place) -> object:
    name = topic(place, max_message_bytes="1000")
    return refused(lambda: produce(place, name, [b"x" * 5000]))


@cells.add("transactions: commit")
def transactions(place: Place) -> object:
    name = topic(place)
    with producing(place, transactional_id=place.name("id")) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(name, b"committed").get(WAIT_S)
        producer.commit_transaction()
    return values(place, name, 1, isolation_level="read_committed")


@cells.add("consume: seek and position")
def seek(place: Place) -> object:
    name, part = topic(place), None
    produce(place, name, [b"%d" % number for number in range(10)])
    part = TopicPartition(name, 0)
    with consuming(place) as consumer:
        consumer.assign([part])
        consumer.seek(part, 7)
        told: list[object] = [next(consumer).value, consumer.position(part)]
        consumer.seek_to_beginning(part)
        told.append(next(consumer).value)
        return [*told, list(consumer.beginning_offsets([part]).values()), list(consumer.end_offsets([part]).values())]


@cells.add("consume: offsets by time")
def by_time(place: Place) -> object:
    name, start = topic(place), int(time.time() * 1000) - 100_000
    with producing(place) as producer:
        for number in range(5):
            producer.send(name, b"v", timestamp_ms=start + number * 1000).get(WAIT_S)
    part = TopicPartition(name, 0)
    with consuming(place) as consumer:
        found = consumer.offsets_for_times({part: start + 2500})
        return [
            found[part].offset,
            found[part].timestamp - start,
            consumer.offsets_for_times({part: start + 90_000})[part],
        ]


@cells.add("group: resumes after its commit")
def resume(place: Place) -> object:
    name, group = topic(place), place.name("group")
    produce(place, name, [b"%d" % number for number in range(6)])
    told: list[object] = []
    for count in (4, 2):
        with consuming(place, name, group_id=group) as consumer:
            told.append([next(consumer).value for _ in range(count)])
            consumer.commit()
            told.append(consumer.committed(TopicPartition(name, 0)))
    return told


@cells.add("group: two members share, one leaves")
def rebalance(place: Place) -> object:
    name, group = topic(place, 4), place.name("group")

    def until(*shares: tuple[KafkaConsumer, int]) -> list[int]:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            for consumer, _ in shares:
                consumer.poll(timeout_ms=500)  # kafka-python gives up a join that takes longer
            found = [len(consumer.assignment()) for consumer, _ in shares]
            if found == [count for _, count in shares]:
                return found
        raise AssertionError(f"assignments of {found}")

    settings = {"group_id": group, "heartbeat_interval_ms": 300, "session_timeout_ms": 10_000}
    with consuming(place, name, **settings) as one:
        told = [until((one, 4))]
        with consuming(place, name, **settings) as two:
            told.append(until((one, 2), (two, 2)))
        return [*told, until((one, 4))]


@cells.add("admin: create, describe and delete topics")
def topics(place: Place) -> object:
    name = place.name("topic")
    with administrator(place) as client:
        client.create_topics([NewTopic(name, 2, 1)])
        told: list[object] = [refused(lambda: client.create_topics([NewTopic(name, 2, 1)]))]
        client.create_partitions({name: NewPartitions(3)})
        told.append(until(lambda: [len(each["partitions"]) for each in client.describe_topics([name])] == [3]))
        told.append(until(lambda: name in client.list_topics()))
        client.delete_topics([name])
        return [*told, until(lambda: name not in client.list_topics())]


def until(holds: Callable[[], bool]) -> bool:
    """A broker of a cluster hears of a change after the client that asked for it."""
    deadline = time.monotonic() + WAIT_S
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


@cells.add("admin: configs")
def configs(place: Place) -> object:
    name = topic(place, retention_ms="86400000")
    with administrator(place) as client:
        found = client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        return found["topic"][name]["retention.ms"]["value"]


@cells.add("admin: cluster")
def cluster(place: Place) -> object:
    with administrator(place) as client:
        found = client.describe_cluster()
        return [len(found["brokers"]), bool(found["cluster_id"])]


@cells.add("admin: consumer groups")
def groups(place: Place) -> object:
    name, group = topic(place), place.name("group")
    produce(place, name, [b"x"])
    with administrator(place) as client:
        with consuming(place, name, group_id=group) as consumer:
            next(consumer)
            consumer.commit()
            told: list[object] = [str(client.describe_groups([group])[group].get("group_state"))]
        told.append([each.offset for each in client.list_group_offsets([group])[group].values()])
        return [
            *told,
            group in str(client.list_groups()),
            refused(lambda: "error" in str(client.delete_groups([group])).lower()),
        ]


@cells.add("security: SASL PLAIN")
def sasl_plain(place: Place) -> object:
    return sasl(place, "PLAIN")


@cells.add("security: SASL SCRAM-SHA-256")
def sasl_scram(place: Place) -> object:
    return sasl(place, "SCRAM-SHA-256")


def sasl(place: Place, mechanism: str) -> object:
    address = place.option("users", "the target was started without users")

    def listed(password: str) -> object:
        client = KafkaAdminClient(
            bootstrap_servers=address, security_protocol="SASL_PLAINTEXT", sasl_mechanism=mechanism,
            sasl_plain_username=place.options["user"], sasl_plain_password=password, bootstrap_timeout_ms=3000,
        )  # fmt: skip
        try:
            return len(client.describe_cluster()["brokers"])
        finally:
            client.close()

    return [listed(place.options["password"]), refused(lambda: listed("wrong"))]
