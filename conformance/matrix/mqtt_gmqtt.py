"""gmqtt: MQTT 5."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import gmqtt
from gmqtt.mqtt.constants import MQTTv50

from conformance.matrix.cells import Cells, Place

cells = Cells("mqtt", "gmqtt", "gmqtt", variants=("5",))
WAIT_S = 15
logging.disable(logging.CRITICAL)


class Peer:
    def __init__(self, name: str, clean: bool, will: gmqtt.Message | None, **properties: Any) -> None:
        self.client = gmqtt.Client(name, clean_session=clean, will_message=will, **properties)
        self.client.set_config({"reconnect_retries": 0, "reconnect_delay": 0})
        self.messages: asyncio.Queue[list[Any]] = asyncio.Queue()
        self.subscribed: asyncio.Queue[Any] = asyncio.Queue()
        self.connected: asyncio.Queue[Any] = asyncio.Queue()
        self.client.on_message = self.on_message
        self.flags: Any = None
        self.client.on_subscribe = lambda client, mid, qos, properties: self.subscribed.put_nowait(list(qos))
        self.client.on_connect = lambda client, flags, reason, properties: self.connected.put_nowait((flags, reason))

    async def on_message(self, client: Any, topic: str, payload: bytes, qos: int, properties: Any) -> int:
        self.messages.put_nowait([topic, payload, qos, properties])
        return 0

    async def subscribe(self, pattern: str, qos: int = 1, **options: Any) -> Any:
        self.client.subscribe(gmqtt.Subscription(pattern, qos=qos, **options))
        return await asyncio.wait_for(self.subscribed.get(), WAIT_S)

    async def take(self, count: int = 1) -> list[Any]:
        return [(await asyncio.wait_for(self.messages.get(), WAIT_S))[:3] for _ in range(count)]


@asynccontextmanager
async def peer(
    place: Place, name: str = "", clean: bool = True, will: gmqtt.Message | None = None, **properties: Any
) -> AsyncIterator[Peer]:
    made = Peer(name or place.name("c"), clean, will, **properties)
    await made.client.connect(place.host, place.port, version=MQTTv50)
    made.flags = await asyncio.wait_for(made.connected.get(), WAIT_S)
    try:
        yield made
    finally:
        await made.client.disconnect()


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
        granted = await reader.subscribe(f"{topic}/#", 2)
        for number in range(3):
            writer.client.publish(f"{topic}/{number}", str(number), qos=qos)
        return [granted, await reader.take(3)]


@cells.add("publish: structures and large payloads")
async def payloads(place: Place) -> object:
    topic = place.name("topic")
    async with peer(place) as reader:
        await reader.subscribe(topic)
        reader.client.publish(topic, {"a": [1, 2]}, qos=1)
        reader.client.publish(topic, b"x" * 300_000, qos=1)
        found = await reader.take(2)
        return [found[0], len(found[1][1])]


@cells.add("subscribe: wildcards")
async def wildcards(place: Place) -> object:
    root = place.name("root")
    async with peer(place) as reader:
        await reader.subscribe(f"{root}/+/b")
        for topic in ("a/b", "a/c", "x/b"):
            reader.client.publish(f"{root}/{topic}", topic, qos=1)
        return await reader.take(2)


@cells.add("retained: kept, and how it is handled")
async def retained(place: Place) -> object:
    topic = place.name("topic")
    async with peer(place) as writer, peer(place) as reader:
        await writer.subscribe(topic)
        writer.client.publish(topic, "kept", qos=1, retain=True)
        await writer.take()
        await reader.subscribe(topic, retain_handling_options=0)
        return await reader.take()


@cells.add("options: no local, subscription identifiers")
async def options(place: Place) -> object:
    topic = place.name("topic")
    async with peer(place) as reader, peer(place) as writer:
        await reader.subscribe(topic, no_local=True, subscription_identifier=42)
        reader.client.publish(topic, "mine", qos=1)
        writer.client.publish(topic, "theirs", qos=1)
        found = await asyncio.wait_for(reader.messages.get(), WAIT_S)
        return [found[1], found[3].get("subscription_identifier")]


@cells.add("properties: pass through unchanged")
async def properties(place: Place) -> object:
    topic = place.name("topic")
    async with peer(place) as reader:
        await reader.subscribe(topic)
        reader.client.publish(
            topic, "x", qos=1, user_property=[("a", "1"), ("a", "2")], content_type="text/plain", response_topic="r"
        )
        found = (await asyncio.wait_for(reader.messages.get(), WAIT_S))[3]
        return {name: found.get(name) for name in ("user_property", "content_type", "response_topic", "retain", "dup")}


@cells.add("session: resumed with what was missed")
async def resume(place: Place) -> object:
    topic, name = place.name("topic"), place.name("c")
    async with peer(place, name, clean=False, session_expiry_interval=100) as reader:
        await reader.subscribe(topic)
    async with peer(place) as writer:
        await writer.subscribe(topic)
        writer.client.publish(topic, "missed", qos=1)
        await writer.take()
    async with peer(place, name, clean=False, session_expiry_interval=100) as reader:
        return [reader.flags[0], await reader.take()]


@cells.add("will: sent when the connection vanishes")
async def will(place: Place) -> object:
    topic = place.name("topic")
    async with peer(place) as reader:
        await reader.subscribe(topic)
        dying = Peer(place.name("c"), True, gmqtt.Message(topic, "gone", qos=1))
        await dying.client.connect(place.host, place.port, version=MQTTv50)
        dying.client._connection._transport.abort()
        return await reader.take()


@cells.add("shared: subscriptions share the work")
async def shared(place: Place) -> object:
    topic = place.name("topic")
    async with peer(place) as one, peer(place) as two, peer(place) as writer:
        await one.subscribe(f"$share/group/{topic}")
        await two.subscribe(f"$share/group/{topic}")
        for number in range(16):
            writer.client.publish(topic, str(number), qos=1)
        async with asyncio.timeout(WAIT_S):
            while one.messages.qsize() + two.messages.qsize() < 16:
                await asyncio.sleep(0.01)
        return [one.messages.qsize() + two.messages.qsize(), min(one.messages.qsize(), two.messages.qsize()) > 2]
