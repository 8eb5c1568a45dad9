"""What other protocols publish to a captured address, as Kafka clients see it; and the other way round."""

from __future__ import annotations

import asyncio

import nats
from confluent_kafka import TopicPartition

from conformance.process import GatewayProcess
from tests.kafka.clients import consumer, create, fresh, produce, producer, read, read_all


async def test_a_nats_message_is_a_record_with_its_address_as_key_and_its_headers(gateway: GatewayProcess) -> None:
    topic = create(gateway.kafka, fresh("orders"))
    client = await nats.connect(f"nats://{gateway.nats}")
    await client.publish(f"{topic}.eu.42", b"first", headers={"Trace": "t1"})
    await client.publish(topic, b"second")
    await client.flush()
    await client.close()
    first, second = await asyncio.to_thread(read_all, gateway.kafka, topic, 2)
    assert (first.key(), first.value(), first.headers()) == (f"{topic}/eu/42".encode(), b"first", [("Trace", b"t1")])
    assert (second.key(), second.value()) == (topic.encode(), b"second")
    assert (first.offset(), second.offset()) == (0, 1)


async def test_an_address_keeps_its_order_in_one_partition(gateway: GatewayProcess) -> None:
    topic = create(gateway.kafka, fresh("orders"), 4)
    client = await nats.connect(f"nats://{gateway.nats}")
    for number in range(60):
        await client.publish(f"{topic}.{number % 6}", b"%d" % number)
    await client.flush()
    await client.close()
    found = await asyncio.to_thread(read_all, gateway.kafka, topic, 60)
    partitions: dict[bytes, set[int]] = {}
    values: dict[bytes, list[int]] = {}
    for message in found:
        partitions.setdefault(message.key(), set()).add(message.partition())
        values.setdefault(message.key(), []).append(int(message.value()))
    assert all(len(where) == 1 for where in partitions.values())
    assert all(numbers == sorted(numbers) for numbers in values.values())
    assert len(set.union(*partitions.values())) > 1


async def test_a_kafka_record_reaches_a_nats_subscriber_under_its_topic(gateway: GatewayProcess) -> None:
    topic = create(gateway.kafka, fresh("orders.eu"))
    client = await nats.connect(f"nats://{gateway.nats}")
    inbox = await client.subscribe(topic)
    await client.flush()
    await asyncio.to_thread(produce, gateway.kafka, topic, [b"plain"])
    await asyncio.to_thread(produce, gateway.kafka, topic, [b"packed"] * 3, compression_type="zstd", linger_ms=20)
    found = [await inbox.next_msg(timeout=20) for _ in range(4)]
    assert [message.data for message in found] == [b"plain"] + [b"packed"] * 3
    assert {message.subject for message in found} == {topic}
    made = producer(gateway.kafka)
    made.produce(topic, b"with headers", headers=[("Trace", b"t2")])
    made.flush(20)
    assert (await inbox.next_msg(timeout=20)).headers == {"Trace": "t2"}
    await client.close()


async def test_a_waiting_fetch_is_answered_by_a_nats_publish(gateway: GatewayProcess) -> None:
    topic = create(gateway.kafka, fresh("orders"))
    reader = consumer(gateway.kafka, fetch_wait_max_ms=20_000)
    reader.assign([TopicPartition(topic, 0, 0)])
    assert await asyncio.to_thread(reader.poll, 0.5) is None
    client = await nats.connect(f"nats://{gateway.nats}")
    await client.publish(f"{topic}.now", b"now")
    await client.flush()
    (found,) = await asyncio.to_thread(read, reader, 1)
    assert found.value() == b"now"
    await client.close()
    await asyncio.to_thread(reader.close)
