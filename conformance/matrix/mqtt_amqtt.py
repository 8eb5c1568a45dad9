"""amqtt's client: MQTT 3.1.1."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from amqtt.client import MQTTClient
from amqtt.errors import ConnectError

from conformance.matrix.cells import Cells, Place

cells = Cells("mqtt", "amqtt", "amqtt", variants=("3.1.1",))
WAIT_S = 15
logging.disable(logging.CRITICAL)


@asynccontextmanager
async def peer(
    place: Place, name: str = "", clean: bool = True, url: str = "", **config: Any
) -> AsyncIterator[MQTTClient]:
    client = MQTTClient(client_id=name or place.name("c"), config={"auto_reconnect": False, **config})
    await client.connect(url or f"mqtt://{place.address}/", cleansession=clean)
    try:
        yield client
    finally:
        await client.disconnect()


async def take(reader: MQTTClient, count: int) -> list[Any]:
    found = []
    for _ in range(count):
        message = await reader.deliver_message(timeout_duration=WAIT_S)
        found.append([message.topic, bytes(message.data), message.qos])
    return found


@cells.add("publish: QoS 0")
async def qos_0(place: Place) -> object:
    return await at_qos(place, 0)


@cells.add("publish: QoS 1")
async def qos_1(place: Place) -> object:
    return await at_qos(place, 1)


@cells.add("publish: QoS 2")
async def qos_2(place: Place) -> object:
    return await at_qos(place, 2)


async def at_qos(place: Place, qos: int) -> object:
    topic = place.name("topic")
    async with peer(place) as reader, peer(place) as writer:
        granted = await reader.subscribe([(f"{topic}/#", 2)])
        for number in range(3):
            await writer.publish(f"{topic}/{number}", b"%d" % number, qos=qos)
        return [granted, await take(reader, 3)]


@cells.add("subscribe: wildcards, unsubscribe")
async def wildcards(place: Place) -> object:
    root = place.name("root")
    async with peer(place) as reader:
        granted = await reader.subscribe([(f"{root}/+/b", 1), (f"{root}/x", 1)])
        await reader.unsubscribe([f"{root}/x"])
        for topic in ("x", "a/b", "a/c"):
            await reader.publish(f"{root}/{topic}", topic.encode(), qos=1)
        return [granted, await take(reader, 1)]


@cells.add("retained: kept")
async def retained(place: Place) -> object:
    topic = place.name("topic")
    async with peer(place) as writer, peer(place) as reader:
        await writer.publish(topic, b"kept", qos=1, retain=True)
        await reader.subscribe([(topic, 1)])
        return await take(reader, 1)


@cells.add("session: resumed with what was missed")
async def resume(place: Place) -> object:
    topic, name = place.name("topic"), place.name("c")
    async with peer(place, name, clean=False) as reader:
        await reader.subscribe([(topic, 1)])
    async with peer(place) as writer:
        await writer.publish(topic, b"missed", qos=1)
    async with peer(place, name, clean=False) as reader:
        return await take(reader, 1)


@cells.add("will: sent when the connection vanishes")
async def will(place: Place) -> object:
    topic = place.name("topic")
    async with peer(place) as reader:
        await reader.subscribe([(topic, 1)])
        dying = MQTTClient(
            client_id=place.name("c"), config={"auto_reconnect": False, "will": {"topic": topic, "message": "gone", "qos": 1, "retain": False}}
        )  # fmt: skip
        await dying.connect(f"mqtt://{place.address}/", cleansession=True)
        dying._handler.writer._writer.transport.abort()
        return await take(reader, 1)


@cells.add("publish: several at once")
async def many(place: Place) -> object:
    topic = place.name("topic")
    async with peer(place) as reader, peer(place) as writer:
        await reader.subscribe([(topic, 2)])
        await asyncio.gather(*(writer.publish(topic, b"%d" % number, qos=2) for number in range(15)))
        return len({each[1] for each in await take(reader, 15)})


@cells.add("transport: WebSocket")
async def websocket(place: Place) -> object:
    address = place.option("websocket", "the target has no WebSocket listener")
    topic = place.name("topic")
    async with peer(place, url=f"ws://{address}/mqtt") as reader:
        await reader.subscribe([(topic, 1)])
        await reader.publish(topic, b"x", qos=1)
        return await take(reader, 1)


@cells.add("security: user and password")
async def users(place: Place) -> object:
    address = place.option("users", "the target was started without users")
    told: list[object] = []
    for password in (place.options["password"], "wrong"):
        try:
            async with peer(place, url=f"mqtt://{place.options['user']}:{password}@{address}/"):
                told.append("connected")
        except ConnectError as error:
            told.append(type(error).__name__)
    return told
