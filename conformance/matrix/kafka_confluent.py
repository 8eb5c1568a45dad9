"""confluent-kafka (librdkafka)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from conformance.matrix.cells import Cells, Place

cells = Cells("kafka", "confluent-kafka", "confluent-kafka")
WAIT_S = 35.0
READ_COMMITTED: Any = {"isolation.level": "read_committed"}
NEVER_RESET: Any = {"auto.offset.reset": "error"}
TELL_ENDS: Any = {"enable.partition.eof": True}


def admin(place: Place) -> AdminClient:
    return AdminClient({"bootstrap.servers": place.address, "log_level": 0})


def topic(place: Place, partitions: int = 1, config: dict[str, str] | None = None, label: str = "topic") -> str:
    name, client = place.name(label), admin(place)  # a client that is collected breaks off what it was asked
    client.create_topics([NewTopic(name, partitions, 1, config=config or {})])[name].result(WAIT_S)
    return name


def produce(place: Place, name: str, messages: Sequence[Any], **settings: Any) -> list[object]:
    """``(partition, offset)`` or the error's name of each, in the order given. A message: value, or keywords of produce."""
    producer = Producer({"bootstrap.servers": place.address, "linger.ms": 1, "log_level": 0, **settings})
    told: list[object] = [None] * len(messages)

    def keep(index: int) -> Callable[[Any, Message], None]:
        def delivered(error: Any, message: Message) -> None:
            told[index] = error.name() if error else (message.partition(), message.offset())

        return delivered

    for index, message in enumerate(messages):
        words = message if isinstance(message, dict) else {"value": message}
        producer.produce(name, **words, on_delivery=keep(index))
    left = producer.flush(WAIT_S)
    assert left == 0, f"{left} messages were not answered"
    return told


def consumer(place: Place, group: str = "", **settings: Any) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": place.address, "group.id": group or place.name("group"), "auto.offset.reset": "earliest",
            "enable.auto.commit": False, "log_level": 0, "session.timeout.ms": 6000, "heartbeat.interval.ms": 500,
            "fetch.wait.max.ms": 100, **settings,
        }
    )  # fmt: skip


def take(reader: Consumer, count: int, wait_s: float = WAIT_S) -> list[Message]:
    found: list[Message] = []
    deadline = time.monotonic() + wait_s
    while len(found) < count and time.monotonic() < deadline:
        for message in reader.consume(count - len(found), timeout=0.1):
            if message.error():
                raise KafkaException(message.error())
            found.append(message)
    return found


def read(place: Place, name: str, count: int, start: int = 0, partition: int = 0, **settings: Any) -> list[Message]:
    reader = consumer(place, **settings)
    reader.assign([TopicPartition(name, partition, start)])
    try:
        return take(reader, count)
    finally:
        reader.close()


def refused(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except KafkaException as error:
        return error.args[0].name()


def settled(*readers: Consumer, topic: str, each: Sequence[int]) -> list[list[int]]:
    """The partitions of each member once they are so many, sorted."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for reader in readers:
            reader.poll(0.02)
        mine = [sorted(part.partition for part in reader.assignment()) for reader in readers]
        if sorted(map(len, mine)) == sorted(each) and len({number for parts in mine for number in parts}) == sum(each):
            return sorted(mine)
    raise AssertionError(f"no assignment of {each}: {[reader.assignment() for reader in readers]}")


def listed_partitions(client: AdminClient, name: str, count: int) -> dict[int, Any]:
    """Those of a topic once they are so many: a broker hears of a change after the client that asked for it."""
    deadline = time.monotonic() + WAIT_S
    while True:
        found: dict[int, Any] = client.list_topics(name, WAIT_S).topics[name].partitions
        if len(found) == count or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


@cells.add("produce: acks all")
def acks_all(place: Place) -> object:
    name = topic(place)
    told = produce(place, name, [b"one", b"two"], acks="all")
    return [told, [message.value() for message in read(place, name, 2)]]


@cells.add("produce: acks 1")
def acks_one(place: Place) -> object:
    name = topic(place)
    return [produce(place, name, [b"one", b"two"], acks="1"), [message.value() for message in read(place, name, 2)]]


@cells.add("produce: acks 0")
def acks_none(place: Place) -> object:
    name = topic(place)
    produce(place, name, [b"one", b"two"], acks="0")
    return [message.value() for message in read(place, name, 2)]


@cells.add("produce: gzip")
def gzip(place: Place) -> object:
    return compressed(place, "gzip")


@cells.add("produce: snappy")
def snappy(place: Place) -> object:
    return compressed(place, "snappy")


@cells.add("produce: lz4")
def lz4(place: Place) -> object:
    return compressed(place, "lz4")


@cells.add("produce: zstd")
def zstd(place: Place) -> object:
    return compressed(place, "zstd")


def compressed(place: Place, codec: str) -> object:
    name = topic(place)
    told = produce(place, name, [b"x" * 1000 + b"%d" % number for number in range(50)], **{"compression.type": codec})
    return [told[-1], [message.value()[1000:] for message in read(place, name, 50)]]


@cells.add("produce: headers, null key and value, timestamp")
def headers(place: Place) -> object:
    name = topic(place, config={"retention.ms": "-1"})  # the timestamp is of long ago
    messages = [
        {
            "value": b"v",
            "key": b"k",
            "headers": [("a", b"1"), ("a", b"2"), ("n", None)],
            "timestamp": 1_700_000_000_123,
        },
        {"value": None, "key": b"tombstone"},
        {"value": b"", "key": None},
    ]
    produce(place, name, messages)
    found = read(place, name, 3)
    return [[(m.key(), m.value(), m.headers()) for m in found], found[0].timestamp()]


@cells.add("produce: a timestamp of the day after tomorrow")
def future(place: Place) -> object:
    return produce(place, topic(place), [{"value": b"v", "timestamp": int(time.time() * 1000) + 2 * 86_400_000}])


@cells.add("produce: keys choose partitions")
def keyed(place: Place) -> object:
    name = topic(place, partitions=4)
    return produce(
        place, name, [{"value": b"v", "key": b"key%d" % number} for number in range(12)], partitioner="murmur2_random"
    )


@cells.add("produce: idempotent")
def idempotent(place: Place) -> object:
    name = topic(place)
    told = produce(
        place, name, [b"%d" % number for number in range(500)], **{"enable.idempotence": True, "batch.num.messages": 20}
    )
    return [
        told[-1],
        [message.value() for message in read(place, name, 500)] == [b"%d" % number for number in range(500)],
    ]


@cells.add("produce: a message of 900 kB")
def large(place: Place) -> object:
    name = topic(place)
    produce(place, name, [b"x" * 900_000])
    return len(read(place, name, 1)[0].value())


@cells.add("produce: a message that is too large")
def too_large(place: Place) -> object:
    name = topic(place, config={"max.message.bytes": "1000"})
    return produce(place, name, [b"x" * 2000, b"small"], **{"batch.num.messages": 1})


@cells.add("produce: an unknown partition")
def unknown_partition(place: Place) -> object:
    return produce(place, topic(place), [{"value": b"x", "partition": 9}], **{"message.timeout.ms": 15_000})


@cells.add("produce: a topic that is made by producing")
def auto_create(place: Place) -> object:
    name = place.name("topic")
    return [produce(place, name, [b"x"]), [message.value() for message in read(place, name, 1)]]


@cells.add("transactions: commit and abort")
def transactions(place: Place) -> object:
    name = topic(place)
    producer = Producer({"bootstrap.servers": place.address, "transactional.id": place.name("id"), "log_level": 0})
    producer.init_transactions(WAIT_S)
    for value, ends in ((b"committed", producer.commit_transaction), (b"aborted", producer.abort_transaction)):
        producer.begin_transaction()
        producer.produce(name, value)
        producer.flush(WAIT_S)
        ends(WAIT_S)
    produce(place, name, [b"last"])
    return [message.value() for message in read(place, name, 2, **READ_COMMITTED)]


@cells.add("consume: from an offset")
def from_offset(place: Place) -> object:
    name = topic(place)
    produce(place, name, [b"%d" % number for number in range(20)])
    return [(message.offset(), message.value()) for message in read(place, name, 3, start=15)]


@cells.add("consume: offsets by time")
def by_time(place: Place) -> object:
    name = topic(place)
    start = int(time.time() * 1000) - 100_000
    produce(place, name, [{"value": b"v", "timestamp": start + number * 1000} for number in range(10)])
    reader = consumer(place)
    asked = [TopicPartition(name, 0, at) for at in (start + 4500,)] + [TopicPartition(name, 0, start + 90_000)]
    told = [reader.offsets_for_times([each], WAIT_S)[0].offset for each in asked]
    told += [reader.get_watermark_offsets(TopicPartition(name, 0), WAIT_S)]
    reader.close()
    return told


@cells.add("consume: seek, pause and resume")
def seek(place: Place) -> object:
    name = topic(place)
    produce(place, name, [b"%d" % number for number in range(10)])
    reader = consumer(place)
    part = TopicPartition(name, 0, 0)
    reader.assign([part])
    told = [message.value() for message in take(reader, 3)]
    reader.seek(TopicPartition(name, 0, 8))
    told += [message.value() for message in take(reader, 2)]
    reader.pause([part])
    told.append(len(take(reader, 1, 0.3)))
    reader.resume([part])
    produce(place, name, [b"after"])
    told += [message.value() for message in take(reader, 1)]
    reader.close()
    return told


@cells.add("consume: an offset out of range")
def out_of_range(place: Place) -> object:
    name = topic(place)
    produce(place, name, [b"only"])
    reset = [message.value() for message in read(place, name, 1, start=999)]
    return [reset, refused(lambda: read(place, name, 1, start=999, **NEVER_RESET))]


@cells.add("consume: the end of a partition")
def partition_end(place: Place) -> object:
    name = topic(place)
    produce(place, name, [b"only"])
    reader = consumer(place, **TELL_ENDS)
    reader.assign([TopicPartition(name, 0, 0)])
    told: list[object] = []
    deadline = time.monotonic() + WAIT_S
    while len(told) < 2 and time.monotonic() < deadline:
        if message := reader.poll(0.1):
            told.append(message.error().name() if message.error() else message.value())
    reader.close()
    return told


@cells.add("consume: small fetches")
def small_fetches(place: Place) -> object:
    name = topic(place)
    produce(place, name, [b"x" * 10_000 for _ in range(100)], **{"batch.num.messages": 1})
    return len(read(place, name, 100, **{"fetch.message.max.bytes": 1000, "max.partition.fetch.bytes": 1000}))


@cells.add("group: a member reads all and commits")
def group(place: Place) -> object:
    name, members = topic(place, partitions=3), place.name("group")
    produce(place, name, [{"value": b"%d" % number, "partition": number % 3} for number in range(30)])
    reader = consumer(place, members)
    reader.subscribe([name])
    found = take(reader, 30)
    committed = sorted((part.partition, part.offset) for part in reader.commit(asynchronous=False))
    reader.close()
    again = consumer(place, members)
    told = [
        (part.partition, part.offset)
        for part in again.committed([TopicPartition(name, each) for each in range(3)], WAIT_S)
    ]
    again.close()
    return [len(found), committed, told]


@cells.add("group: resumes after its commit")
def resume(place: Place) -> object:
    name, members = topic(place), place.name("group")
    produce(place, name, [b"%d" % number for number in range(10)])
    values = []
    for count in (4, 6):
        reader = consumer(place, members)
        reader.subscribe([name])
        found = take(reader, count)
        values.append([message.value() for message in found])
        reader.commit(message=found[-1], asynchronous=False)
        reader.close()
    return values


@cells.add("group: two members share, one leaves")
def rebalance(place: Place) -> object:
    name, members = topic(place, partitions=4), place.name("group")
    one, two = consumer(place, members), consumer(place, members)
    one.subscribe([name])
    told: list[object] = [settled(one, topic=name, each=[4])]
    two.subscribe([name])
    told.append(sorted(len(parts) for parts in settled(one, two, topic=name, each=[2, 2])))
    one.close()
    told.append(settled(two, topic=name, each=[4]))
    two.close()
    return told


@cells.add("group: cooperative rebalance")
def cooperative(place: Place) -> object:
    name, members = topic(place, partitions=4), place.name("group")
    settings = {"partition.assignment.strategy": "cooperative-sticky"}
    one, two = consumer(place, members, **settings), consumer(place, members, **settings)
    one.subscribe([name])
    told: list[object] = [settled(one, topic=name, each=[4])]
    two.subscribe([name])
    told.append(sorted(len(parts) for parts in settled(one, two, topic=name, each=[2, 2])))
    one.close()
    two.close()
    return told


@cells.add("group: static membership")
def static(place: Place) -> object:
    name, members = topic(place, partitions=2), place.name("group")
    settings = {"group.instance.id": "instance-1"}
    one = consumer(place, members, **settings)
    one.subscribe([name])
    told: list[object] = [settled(one, topic=name, each=[2])]
    one.close()
    again = consumer(place, members, **settings)
    again.subscribe([name])
    told.append(settled(again, topic=name, each=[2]))
    client = admin(place)
    described = client.describe_consumer_groups([members])[members].result(WAIT_S)
    told.append([member.group_instance_id for member in described.members])
    again.close()
    return told


@cells.add("group: the newer protocol (KIP-848)")
def newer_protocol(place: Place) -> object:
    name = topic(place, partitions=2)
    produce(place, name, [b"x"])
    reader = Consumer(
        {
            "bootstrap.servers": place.address, "group.id": place.name("group"), "group.protocol": "consumer",
            "auto.offset.reset": "earliest", "log_level": 0,
        }
    )  # fmt: skip
    reader.subscribe([name])
    found = take(reader, 1, 5)
    reader.close()
    assert found, "nothing came"
    return [message.value() for message in found]


@cells.add("group: auto commit")
def auto_commit(place: Place) -> object:
    name, members = topic(place), place.name("group")
    produce(place, name, [b"%d" % number for number in range(5)])
    reader = consumer(place, members, **{"enable.auto.commit": True, "auto.commit.interval.ms": 100})
    reader.subscribe([name])
    take(reader, 5)
    reader.close()
    again = consumer(place, members)
    told = again.committed([TopicPartition(name, 0)], WAIT_S)[0].offset
    again.close()
    return told


@cells.add("group: commit with metadata, by hand")
def commit_metadata(place: Place) -> object:
    name, members = topic(place), place.name("group")
    reader = consumer(place, members)
    reader.commit(offsets=[TopicPartition(name, 0, 7, metadata="some words")], asynchronous=False)
    found = reader.committed([TopicPartition(name, 0)], WAIT_S)[0]
    reader.close()
    return [found.offset, found.metadata]


@cells.add("admin: cluster")
def cluster(place: Place) -> object:
    client = admin(place)
    found = client.describe_cluster(request_timeout=WAIT_S).result(WAIT_S)
    listed = client.list_topics(timeout=WAIT_S)
    return [len(found.nodes), found.controller is not None, bool(found.cluster_id), len(listed.brokers)]


@cells.add("admin: create, list and delete topics")
def create_topics(place: Place) -> object:
    client, name = admin(place), place.name("topic")
    told: list[object] = [client.create_topics([NewTopic(name, 3, 1)])[name].result(WAIT_S)]
    told.append(refused(lambda: client.create_topics([NewTopic(name, 3, 1)])[name].result(WAIT_S)))
    parts = listed_partitions(client, name, 3)
    told.append({number: (part.leader >= 0, len(part.replicas)) for number, part in parts.items()})
    told.append(client.delete_topics([name])[name].result(WAIT_S))
    told.append(refused(lambda: client.delete_topics([name])[name].result(WAIT_S)))
    return told


@cells.add("admin: topics that are refused")
def refused_topics(place: Place) -> object:
    client = admin(place)

    def ask(name: str, partitions: int = 1, replicas: int = 1, **config: str) -> object:
        settings = {key.replace("_", "."): value for key, value in config.items()}
        return refused(
            lambda: client.create_topics([NewTopic(name, partitions, replicas, config=settings)])[name].result(WAIT_S)
        )

    return [
        ask("bad name!"), ask("x" * 250), ask("."), ask(place.name("t"), partitions=0), ask(place.name("t"), replicas=3),
        ask(place.name("t"), no_such_config="1"), ask(place.name("t"), retention_ms="words"), ask(place.name("t"), cleanup_policy="burn"),
    ]  # fmt: skip


@cells.add("admin: create topics, only validated")
def validate(place: Place) -> object:
    client, name = admin(place), place.name("topic")
    client.create_topics([NewTopic(name, 1, 1)], validate_only=True)[name].result(WAIT_S)
    return name in client.list_topics(timeout=WAIT_S).topics


@cells.add("admin: more partitions")
def partitions(place: Place) -> object:
    client, name = admin(place), topic(place)
    told: list[object] = [client.create_partitions([NewPartitions(name, 3)])[name].result(WAIT_S)]
    told.append(refused(lambda: client.create_partitions([NewPartitions(name, 2)])[name].result(WAIT_S)))
    return [*told, len(listed_partitions(client, name, 3))]


@cells.add("admin: describe and alter configs")
def configs(place: Place) -> object:
    client, name = admin(place), topic(place, config={"retention.ms": "86400000"})
    resource = ConfigResource(ResourceType.TOPIC, name)
    shown = ("retention.ms", "cleanup.policy", "max.message.bytes", "compression.type")

    def look(retention: str) -> object:
        deadline = time.monotonic() + WAIT_S
        while True:
            found = refused(lambda: client.describe_configs([resource])[resource].result(WAIT_S))
            heard = not isinstance(found, str) and found["retention.ms"].value == retention
            if heard or time.monotonic() > deadline:
                return {key: (found[key].value, found[key].is_default) for key in shown}

    def alter(*changes: tuple[str, str | None, AlterConfigOpType]) -> None:
        entries = [ConfigEntry(key, value, incremental_operation=operation) for key, value, operation in changes]
        change = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        client.incremental_alter_configs([change])[change].result(WAIT_S)

    told = [look("86400000")]
    alter(("retention.ms", "3600000", AlterConfigOpType.SET), ("max.message.bytes", "2000000", AlterConfigOpType.SET))
    told.append(look("3600000"))
    alter(("retention.ms", None, AlterConfigOpType.DELETE))
    return [*told, look("604800000")]


@cells.add("admin: the size of segments")
def segments(place: Place) -> object:
    client, name = admin(place), topic(place)
    resource = ConfigResource(ResourceType.TOPIC, name)
    listed_partitions(client, name, 1)
    return client.describe_configs([resource])[resource].result(WAIT_S)["segment.bytes"].value


@cells.add("admin: broker configs")
def broker_configs(place: Place) -> object:
    client = admin(place)
    number = next(iter(client.list_topics(timeout=WAIT_S).brokers))
    resource = ConfigResource(ResourceType.BROKER, str(number))
    found = client.describe_configs([resource])[resource].result(WAIT_S)
    wanted = (
        "auto.create.topics.enable",
        "num.partitions",
        "message.max.bytes",
        "log.retention.ms",
        "offsets.retention.minutes",
    )
    return {name: found[name].value for name in wanted if name in found}


@cells.add("admin: delete records")
def delete_records(place: Place) -> object:
    client, name = admin(place), topic(place)
    produce(place, name, [b"%d" % number for number in range(10)])
    client.delete_records([TopicPartition(name, 0, 6)])[TopicPartition(name, 0, 6)].result(WAIT_S)
    reader = consumer(place)
    marks = reader.get_watermark_offsets(TopicPartition(name, 0), WAIT_S)
    reader.close()
    left = [message.offset() for message in read(place, name, 4, start=0)]
    asked = TopicPartition(name, 0, 99)
    return [marks, left, refused(lambda: client.delete_records([asked])[asked].result(WAIT_S))]


@cells.add("admin: list offsets")
def list_offsets(place: Place) -> object:
    client, name = admin(place), topic(place)
    start = int(time.time() * 1000) - 1_000_000
    produce(
        place,
        name,
        [{"value": b"v", "timestamp": start - number * 1000} for number in range(5)],
        **{"batch.num.messages": 1},
    )
    part = TopicPartition(name, 0)
    told = []
    for spec in (
        OffsetSpec.earliest(),
        OffsetSpec.latest(),
        OffsetSpec.max_timestamp(),
        OffsetSpec.for_timestamp(start - 2500),
    ):
        told.append(client.list_offsets({part: spec})[part].result(WAIT_S).offset)
    return told


@cells.add("admin: consumer groups")
def groups(place: Place) -> object:
    client, name, members = admin(place), topic(place), place.name("group")
    reader = consumer(place, members)
    reader.subscribe([name])
    settled(reader, topic=name, each=[1])
    found = client.describe_consumer_groups([members])[members].result(WAIT_S)
    told: list[object] = [
        found.state.name,
        found.partition_assignor,
        len(found.members),
        found.is_simple_consumer_group,
    ]
    told.append(refused(lambda: client.delete_consumer_groups([members])[members].result(WAIT_S)))
    listed = client.list_consumer_groups().result(WAIT_S).valid
    told.append([(group.state.name, group.is_simple_consumer_group) for group in listed if group.group_id == members])
    reader.close()
    told.append(client.describe_consumer_groups([members])[members].result(WAIT_S).state.name)
    told.append(client.delete_consumer_groups([members])[members].result(WAIT_S))
    told.append(refused(lambda: client.delete_consumer_groups([members])[members].result(WAIT_S)))
    return told


@cells.add("admin: offsets of a group")
def group_offsets(place: Place) -> object:
    client, name, members = admin(place), topic(place), place.name("group")
    produce(place, name, [b"x"] * 5)
    asked = ConsumerGroupTopicPartitions(members, [TopicPartition(name, 0, 3)])
    told: list[object] = [
        [p.offset for p in client.alter_consumer_group_offsets([asked])[members].result(WAIT_S).topic_partitions]
    ]
    asked = ConsumerGroupTopicPartitions(members, [TopicPartition(name, 0)])
    told.append(
        [p.offset for p in client.list_consumer_group_offsets([asked])[members].result(WAIT_S).topic_partitions]
    )
    return told


@cells.add("admin: access control lists without an authorizer")
def acls(place: Place) -> object:
    from confluent_kafka.admin import AclBindingFilter, AclOperation, AclPermissionType, ResourcePatternType

    wanted = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    client = admin(place)
    return refused(lambda: client.describe_acls(wanted).result(WAIT_S))


@cells.add("topic: log append time")
def append_time(place: Place) -> object:
    name = topic(place, config={"message.timestamp.type": "LogAppendTime"})
    before = int(time.time() * 1000)
    produce(place, name, [{"value": b"v", "timestamp": 1}])
    kind, at = read(place, name, 1)[0].timestamp()
    return [kind, before - 10_000 < at < before + 60_000]


@cells.add("topic: compacted needs keys")
def compacted(place: Place) -> object:
    name = topic(place, config={"cleanup.policy": "compact"})
    return produce(place, name, [{"value": b"v", "key": b"k"}, {"value": b"no key"}], **{"batch.num.messages": 1})


@cells.add("topic: deleted and made again")
def deleted(place: Place) -> object:
    client, name = admin(place), topic(place)
    produce(place, name, [b"old"] * 3)
    client.delete_topics([name])[name].result(WAIT_S)
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if refused(lambda: client.create_topics([NewTopic(name, 1, 1)])[name].result(WAIT_S)) is None:
            break
    told = produce(place, name, [b"new"])
    return [told, [message.value() for message in read(place, name, 1)]]


@cells.add("security: SASL PLAIN")
def sasl_plain(place: Place) -> object:
    return sasl(place, "PLAIN")


@cells.add("security: SASL SCRAM-SHA-256")
def sasl_scram(place: Place) -> object:
    return sasl(place, "SCRAM-SHA-256")


def sasl(place: Place, mechanism: str) -> object:
    address = place.option("users", "the target was started without users")
    errors: list[str] = []

    def listed(password: str, wait_s: float) -> object:
        client = AdminClient(
            {
                "bootstrap.servers": address, "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": mechanism,
                "sasl.username": place.options["user"], "sasl.password": password, "log_level": 0,
                "error_cb": lambda error: errors.append(error.name()),
            }
        )  # fmt: skip
        return refused(lambda: len(client.list_topics(timeout=wait_s).brokers))

    return [listed(place.options["password"], WAIT_S), listed("wrong", 2), "_AUTHENTICATION" in errors]
