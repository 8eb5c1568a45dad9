"""Each of the four publishes, each of the four receives, by real clients: sixteen pairs, and a few more ways in and out."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable

import pytest

from conformance.process import GatewayProcess
from conformance.stock_clients import (
    JetStreamReader,
    KafkaPublisher,
    KafkaReader,
    MqttClient,
    NatsPublisher,
    NatsReader,
    Publisher,
    Reader,
    RespPublisher,
    RespReader,
    StreamPublisher,
    StreamReader,
    create_topic,
)

PAYLOAD = bytes(range(256)) + b"\r\n\x00$5\r\nhello\r\n" + "naïve 河床".encode()
HEADERS = {"trace": "4bf92f3577b34da6", "Content-Kind": "näme"}
TAKE_HEADERS = {"kafka", "nats", "jetstream", "mqtt"}
numbers = itertools.count(1)


async def kafka_publisher(gateway: GatewayProcess) -> Publisher:
    return KafkaPublisher(gateway.kafka)


async def nats_publisher(gateway: GatewayProcess) -> Publisher:
    return await NatsPublisher.connect(gateway.nats, acknowledged=False)


async def jetstream_publisher(gateway: GatewayProcess) -> Publisher:
    return await NatsPublisher.connect(gateway.nats)


async def mqtt_publisher(gateway: GatewayProcess) -> Publisher:
    return await MqttClient.connect(gateway.mqtt)


async def resp_publisher(gateway: GatewayProcess) -> Publisher:
    return RespPublisher(gateway.resp)


async def xadd_publisher(gateway: GatewayProcess) -> Publisher:
    return StreamPublisher(gateway.resp)


async def kafka_reader(gateway: GatewayProcess, topic: str) -> Reader:
    return KafkaReader(gateway.kafka, topic)


async def nats_reader(gateway: GatewayProcess, topic: str) -> Reader:
    return await NatsReader.connect(gateway.nats, ">")


async def jetstream_reader(gateway: GatewayProcess, topic: str) -> Reader:
    return await JetStreamReader.connect(gateway.nats, topic)


async def mqtt_reader(gateway: GatewayProcess, topic: str) -> Reader:
    client = await MqttClient.connect(gateway.mqtt)
    await client.subscribe(f"{topic}/#")
    return client


async def mqtt_live_reader(gateway: GatewayProcess, topic: str) -> Reader:
    client = await MqttClient.connect(gateway.mqtt, qos=0)
    await client.subscribe(f"{topic}/#")
    return client


async def resp_reader(gateway: GatewayProcess, topic: str) -> Reader:
    return await RespReader.connect(gateway.resp, f"{topic}*")


async def xread_reader(gateway: GatewayProcess, topic: str) -> Reader:
    return StreamReader(gateway.resp, topic)


PUBLISHERS: dict[str, Callable[[GatewayProcess], Awaitable[Publisher]]] = {
    "kafka": kafka_publisher,
    "nats": nats_publisher,
    "jetstream": jetstream_publisher,
    "mqtt": mqtt_publisher,
    "resp": resp_publisher,
    "xadd": xadd_publisher,
}
READERS: dict[str, Callable[[GatewayProcess, str], Awaitable[Reader]]] = {
    "kafka": kafka_reader,
    "nats": nats_reader,
    "jetstream": jetstream_reader,
    "mqtt": mqtt_reader,
    "mqtt0": mqtt_live_reader,
    "resp": resp_reader,
    "xread": xread_reader,
}
NAMES = {
    "nats": "{}.eu.42",
    "jetstream": "{}.eu.42",
    "mqtt": "{}/eu/42",
    "mqtt0": "{}/eu/42",
    "resp": "{}:eu:42",
}
"""How a protocol spells the address ``<topic>/eu/42``; the others know only the topic itself."""


def name_at(reader: str, publisher: str, topic: str) -> str:
    """The name under which the message comes out: its address, or its topic where nobody said more."""
    return NAMES.get(reader, "{}").format(topic) if publisher in NAMES else topic


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("publisher", PUBLISHERS)
async def test_what_one_publishes_another_receives(gateway: GatewayProcess, publisher: str, reader: str) -> None:
    topic = f"pair{next(numbers)}"
    await create_topic(gateway.kafka, topic)
    received_by = await READERS[reader](gateway, topic)
    published_by = await PUBLISHERS[publisher](gateway)
    headers = HEADERS if publisher in TAKE_HEADERS else None
    try:
        await published_by.publish(NAMES.get(publisher, "{}").format(topic), PAYLOAD, headers)
        [message] = await received_by.read(1)
    finally:
        await published_by.close()
        await received_by.close()
    assert message.payload == PAYLOAD
    assert message.name == name_at(reader, publisher, topic)
    if headers and reader in TAKE_HEADERS:
        assert {key: message.headers.get(key) for key in headers} == headers
    if reader == "kafka" and publisher in NAMES:
        assert message.key == f"{topic}/eu/42".encode()


async def test_a_kafka_record_comes_out_under_the_address_its_header_gives(gateway: GatewayProcess) -> None:
    topic = f"pair{next(numbers)}"
    await create_topic(gateway.kafka, topic)
    reader = await NatsReader.connect(gateway.nats, f"{topic}.>")
    publisher = KafkaPublisher(gateway.kafka)
    try:
        await publisher.publish(topic, b"x", {"thalweg-address": f"{topic}/eu/7"})
        [message] = await reader.read(1)
    finally:
        await publisher.close()
        await reader.close()
    assert (message.name, message.payload) == (f"{topic}.eu.7", b"x")


async def test_an_empty_payload_crosses(gateway: GatewayProcess) -> None:
    topic = f"pair{next(numbers)}"
    await create_topic(gateway.kafka, topic)
    readers = {name: await make(gateway, topic) for name, make in READERS.items()}
    publisher = await NatsPublisher.connect(gateway.nats)
    try:
        await publisher.publish(f"{topic}.eu.42", b"")
        assert {name: [m.payload for m in await reader.read(1)] for name, reader in readers.items()} == {
            name: [b""] for name in readers
        }
    finally:
        for client in (publisher, *readers.values()):
            await client.close()


@pytest.mark.parametrize("size", [4096, 900_000])
async def test_a_large_payload_crosses(gateway: GatewayProcess, size: int) -> None:
    topic = f"pair{next(numbers)}"
    await create_topic(gateway.kafka, topic)
    payload = bytes(index * 7 % 251 for index in range(size))
    readers = {name: await make(gateway, topic) for name, make in READERS.items()}
    publisher = await MqttClient.connect(gateway.mqtt)
    try:
        await publisher.publish(f"{topic}/eu/42", payload)
        for name, reader in readers.items():
            assert [m.payload == payload for m in await reader.read(1)] == [True], name
    finally:
        for client in (publisher, *readers.values()):
            await client.close()
