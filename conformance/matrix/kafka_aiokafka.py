"""aiokafka."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from conformance.matrix.cells import Cells, Place

cells = Cells("kafka", "aiokafka", "aiokafka")
WAIT_S = 35.0
logging.disable(logging.CRITICAL)


@asynccontextmanager
async def administrator(place: Place) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=place.address)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def topic(place: Place, partitions: int = 1, **configs: str) -> str:
    name = place.name("topic")
    settings = {key.replace("_", "."): value for key, value in configs.items()}
    async with administrator(place) as client:
        await client.create_topics([NewTopic(name, partitions, 1, topic_configs=settings)])
    return name


@asynccontextmanager
async def producing(place: Place, **settings: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=place.address, **settings)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def produce(place: Place, name: str, values: Sequence[bytes | None], **settings: Any) -> list[tuple[int, int]]:
    async with producing(place, **settings) as producer:
        answers = [await (await producer.send(name, value)) for value in values]
        return [(answer.partition, answer.offset) for answer in answers] if answers[0] else []


@asynccontextmanager
async def consuming(place: Place, *topics: str, **settings: Any) -> AsyncIterator[AIOKafkaConsumer]:
    given = {
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "fetch_max_wait_ms": 100,
        "heartbeat_interval_ms": 300,
    }
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=place.address, **{**given, **settings})
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def values(place: Place, name: str, count: int, **settings: Any) -> list[bytes | None]:
    async with consuming(place, name, **settings) as consumer:
        return [(await asyncio.wait_for(consumer.getone(), WAIT_S)).value for _ in range(count)]


async def refused(call: Awaitable[Any]) -> object:
    try:
        return await call
    except KafkaError as error:
        return type(error).__name__


@cells.add("produce: acks all")
async def acks_all(place: Place) -> object:
    name = await topic(place)
    return [await produce(place, name, [b"one", b"two"], acks="all"), await values(place, name, 2)]


@cells.add("produce: acks 1")
async def acks_one(place: Place) -> object:
    name = await topic(place)
    return [await produce(place, name, [b"one"], acks=1), await values(place, name, 1)]


@cells.add("produce: acks 0")
async def acks_none(place: Place) -> object:
    name = await topic(place)
    await produce(place, name, [b"one"], acks=0)
    return await values(place, name, 1)


@cells.add("produce: gzip")
async def gzip(place: Place) -> object:
    return await compressed(place, "gzip")


@cells.add("produce: snappy")
async def snappy(place: Place) -> object:
    return await compressed(place, "snappy")


@cells.add("produce: lz4")
async def lz4(place: Place) -> object:
    return await compressed(place, "lz4")


@cells.add("produce: zstd")
async def zstd(place: Place) -> object:
    return await compressed(place, "zstd")


async def compressed(place: Place, codec: str) -> object:
    name = await topic(place)
    return [
        await produce(place, name, [b"x" * 1000, b"y" * 1000], compression_type=codec),
        len((await values(place, name, 2))[1] or b""),
    ]


@cells.add("produce: headers, null key and value, timestamp")
async def headers(place: Place) -> object:
    name = await topic(place, retention_ms="-1")  # the timestamp is of long ago
    async with producing(place) as producer:
        await producer.send_and_wait(
            name, b"v", b"k", headers=[("a", b"1"), ("a", b"2")], timestamp_ms=1_700_000_000_123
        )
        await producer.send_and_wait(name, None, b"tombstone")
    async with consuming(place, name) as consumer:
        found = [await consumer.getone() for _ in range(2)]
    return [[(each.key, each.value, each.headers) for each in found], found[0].timestamp, found[0].timestamp_type]


@cells.add("produce: keys choose partitions")
async def keyed(place: Place) -> object:
    name = await topic(place, 4)
    async with producing(place) as producer:
        return [(await producer.send_and_wait(name, b"v", b"key%d" % number)).partition for number in range(10)]


@cells.add("produce: idempotent")
async def idempotent(place: Place) -> object:
    name = await topic(place)
    return (await produce(place, name, [b"%d" % number for number in range(100)], enable_idempotence=True))[-1]


@cells.add("produce: batches by hand")
async def batches(place: Place) -> object:
    name = await topic(place)
    async with producing(place) as producer:
        batch = producer.create_batch()
        for number in range(10):
            batch.append(key=None, value=b"%d" % number, timestamp=None)
        answer = await (await producer.send_batch(batch, name, partition=0))
    return [answer.offset, await values(place, name, 10)]


@cells.add("produce: a message that is too large")
async def too_large(place: Place) -> object:
    name = await topic(place, max_message_bytes="1000")
    async with producing(place) as producer:
        return await refused(producer.send_and_wait(name, b"x" * 5000))


@cells.add("transactions: commit")
async def transactions(place: Place) -> object:
    name = await topic(place)
    async with producing(place, transactional_id=place.name("id")) as producer, producer.transaction():
        await producer.send_and_wait(name, b"committed")
    return await values(place, name, 1, isolation_level="read_committed")


@cells.add("consume: seek and position")
async def seek(place: Place) -> object:
    name = await topic(place)
    await produce(place, name, [b"%d" % number for number in range(10)])
    part = TopicPartition(name, 0)
    async with consuming(place) as consumer:
        consumer.assign([part])
        consumer.seek(part, 7)
        told: list[object] = [(await consumer.getone()).value, await consumer.position(part)]
        await consumer.seek_to_beginning(part)
        told.append((await consumer.getone()).value)
        return [*told, await consumer.beginning_offsets([part]), await consumer.end_offsets([part])]


@cells.add("consume: offsets by time")
async def by_time(place: Place) -> object:
    name, start = await topic(place), int(time.time() * 1000) - 100_000
    async with producing(place) as producer:
        for number in range(5):
            await producer.send_and_wait(name, b"v", timestamp_ms=start + number * 1000)
    part = TopicPartition(name, 0)
    async with consuming(place) as consumer:
        async with asyncio.timeout(WAIT_S):  # a consumer without topics hears of the partition's leader in time
            while not (found := await consumer.offsets_for_times({part: start + 2500})).get(part):
                await asyncio.sleep(0.02)
        return [
            found[part].offset,
            found[part].timestamp - start,
            (await consumer.offsets_for_times({part: start + 90_000}))[part],
        ]


@cells.add("consume: many records")
async def many(place: Place) -> object:
    name = await topic(place)
    async with producing(place, linger_ms=5) as producer:
        for number in range(5000):
            await producer.send(name, b"%d" % number)
        await producer.flush()
    found: list[bytes] = []
    async with consuming(place, name) as consumer:
        while len(found) < 5000:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                found += [record.value for record in records]
    return found == [b"%d" % number for number in range(5000)]


@cells.add("group: resumes after its commit")
async def resume(place: Place) -> object:
    name, group = await topic(place), place.name("group")
    await produce(place, name, [b"%d" % number for number in range(6)])
    told: list[object] = []
    for count in (4, 2):
        async with consuming(place, name, group_id=group) as consumer:
            told.append([(await asyncio.wait_for(consumer.getone(), WAIT_S)).value for _ in range(count)])
            await consumer.commit()
            told.append(await consumer.committed(TopicPartition(name, 0)))
    return told


@cells.add("group: two members share, one leaves")
async def rebalance(place: Place) -> object:
    name, group = await topic(place, 4), place.name("group")

    async def until(*shares: tuple[AIOKafkaConsumer, int]) -> list[int]:
        async with asyncio.timeout(WAIT_S):
            while any(len(consumer.assignment()) != count for consumer, count in shares):
                await asyncio.sleep(0.02)
        return [count for _, count in shares]

    async with consuming(place, name, group_id=group) as one:
        told = [await until((one, 4))]
        async with consuming(place, name, group_id=group) as two:
            told.append(await until((one, 2), (two, 2)))
        return [*told, await until((one, 4))]


@cells.add("group: static membership")
async def static(place: Place) -> object:
    name, group = await topic(place), place.name("group")
    told = []
    for _ in range(2):
        async with consuming(place, name, group_id=group, group_instance_id="one") as consumer:
            async with asyncio.timeout(WAIT_S):
                while not consumer.assignment():
                    await asyncio.sleep(0.02)
            told.append(len(consumer.assignment()))
    return told


@cells.add("admin: create, list, describe and delete topics")
async def topics(place: Place) -> object:
    name = place.name("topic")
    async with administrator(place) as client:
        told: list[object] = []
        for _ in range(2):
            answer = await client.create_topics([NewTopic(name, 2, 1)])
            told.append([error[1] for error in answer.topic_errors])

        async def counts() -> list[int]:
            return [len(each["partitions"]) for each in await client.describe_topics([name])]

        async def listed() -> bool:
            return name in await client.list_topics()

        told.append(await until(counts, [2]))
        await client.create_partitions({name: NewPartitions(3)})
        told += [await until(counts, [3]), await until(listed, True)]
        await client.delete_topics([name])
        return [*told, await until(listed, False)]


async def until(look: Callable[[], Awaitable[Any]], wanted: Any) -> Any:
    """What is found, once it is what is wanted: a broker hears of a change after the client that asked for it."""
    deadline = time.monotonic() + WAIT_S
    while (found := await look()) != wanted and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return found


@cells.add("admin: describe configs")
async def configs(place: Place) -> object:
    name = await topic(place, retention_ms="86400000")
    asked = ConfigResource(ConfigResourceType.TOPIC, name, configs={"retention.ms": None, "cleanup.policy": None})

    async with administrator(place) as client:

        async def look() -> list[tuple[str, str]]:
            [answer] = await client.describe_configs([asked])
            return sorted((entry[0], entry[1]) for entry in answer.resources[0][4])

        return await until(look, [("cleanup.policy", "delete"), ("retention.ms", "86400000")])


@cells.add("admin: consumer groups")
async def groups(place: Place) -> object:
    name, group = await topic(place), place.name("group")
    await produce(place, name, [b"x"])
    async with consuming(place, name, group_id=group) as consumer, administrator(place) as client:
        await asyncio.wait_for(consumer.getone(), WAIT_S)
        await consumer.commit()
        [answer] = await client.describe_consumer_groups([group])
        offsets = await client.list_consumer_group_offsets(group)
        listed = group in [each[0] for each in await client.list_consumer_groups()]
        return [
            answer.groups[0][2],
            len(answer.groups[0][5]),
            [(part.partition, each.offset) for part, each in offsets.items()],
            listed,
        ]


@cells.add("admin: delete records")
async def delete_records(place: Place) -> object:
    from aiokafka.admin import RecordsToDelete

    name = await topic(place)
    await produce(place, name, [b"%d" % number for number in range(10)])
    part = TopicPartition(name, 0)
    async with administrator(place) as client:
        await client.delete_records({part: RecordsToDelete(before_offset=4)})
    async with consuming(place) as consumer:
        return await consumer.beginning_offsets([part])


@cells.add("security: SASL PLAIN")
async def sasl_plain(place: Place) -> object:
    return await sasl(place, "PLAIN")


@cells.add("security: SASL SCRAM-SHA-256")
async def sasl_scram(place: Place) -> object:
    return await sasl(place, "SCRAM-SHA-256")


async def sasl(place: Place, mechanism: str) -> object:
    address = place.option("users", "the target was started without users")
    told: list[object] = []
    for password in (place.options["password"], "wrong"):
        client = AIOKafkaAdminClient(
            bootstrap_servers=address, security_protocol="SASL_PLAINTEXT", sasl_mechanism=mechanism,
            sasl_plain_username=place.options["user"], sasl_plain_password=password,
        )  # fmt: skip
        told.append(await refused(client.start()))
        await client.close()
    return told
