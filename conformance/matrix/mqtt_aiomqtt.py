"""aiomqtt: MQTT 3.1.1 and 5."""

from __future__ import annotations

import asyncio
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from conformance.matrix.cells import Cells, Place, said_by

cells = Cells("mqtt", "aiomqtt", "aiomqtt", variants=("3.1.1", "5"))
FIVE = ("5",)


def client(place: Place, **settings: Any) -> aiomqtt.Client:
    version = aiomqtt.ProtocolVersion.V5 if place.variant == "5" else aiomqtt.ProtocolVersion.V311
    given = {
        "hostname": place.host,
        "port": place.port,
        "protocol": version,
        "identifier": place.name("c"),
        "timeout": 15,
    }
    return aiomqtt.Client(**{**given, **settings})


async def take(reader: aiomqtt.Client, count: int) -> list[list[Any]]:
    found: list[list[Any]] = []
    async with asyncio.timeout(15):
        async for message in reader.messages:
            found.append([str(message.topic), message.payload, message.qos, message.retain])
            if len(found) >= count:
                break
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
    async with client(place) as reader, client(place) as writer:
        await reader.subscribe(f"{topic}/#", qos=2)
        for number in range(3):
            await writer.publish(f"{topic}/{number}", str(number), qos=qos)
        return await take(reader, 3)


@cells.add("publish: many at once")
async def many(place: Place) -> object:
    topic = place.name("topic")
    async with (
        client(place, max_queued_incoming_messages=0) as reader,
        client(place, max_concurrent_outgoing_calls=500) as writer,
    ):
        await reader.subscribe(topic, qos=1)
        await asyncio.gather(*(writer.publish(topic, str(number), qos=1) for number in range(300)))
        return len({each[1] for each in await take(reader, 300)})


@cells.add("subscribe: wildcards")
async def wildcards(place: Place) -> object:
    root = place.name("root")
    async with client(place) as reader:
        await reader.subscribe(f"{root}/+/b", qos=1)
        for topic in ("a/b", "a/c", "x/b", "a/b/c"):
            await reader.publish(f"{root}/{topic}", topic, qos=1)
        return await take(reader, 2)


@cells.add("unsubscribe: and nothing more")
async def unsubscribe(place: Place) -> object:
    root = place.name("root")
    async with client(place) as reader:
        await reader.subscribe([(f"{root}/a", 1), (f"{root}/b", 1)])
        await reader.unsubscribe(f"{root}/a")
        await reader.publish(f"{root}/a", "unseen", qos=1)
        await reader.publish(f"{root}/b", "seen", qos=1)
        return await take(reader, 1)


@cells.add("retained: kept")
async def retained(place: Place) -> object:
    topic = place.name("topic")
    async with client(place) as writer, client(place) as reader:
        await writer.publish(topic, "kept", qos=1, retain=True)
        await reader.subscribe(topic, qos=1)
        return await take(reader, 1)


@cells.add("will: sent when the connection vanishes")
async def will(place: Place) -> object:
    topic = place.name("topic")
    async with client(place) as reader:
        await reader.subscribe(topic, qos=1)
        dying = client(place, will=aiomqtt.Will(topic, "gone", qos=1))
        await dying.__aenter__()
        dying._client.socket().close()
        return await take(reader, 1)


@cells.add("session: resumed with what was missed")
async def resume(place: Place) -> object:
    topic, name = place.name("topic"), place.name("c")
    settings: dict[str, Any] = {"identifier": name}
    if place.variant == "5":
        settings["properties"] = Properties(PacketTypes.CONNECT)
        settings["properties"].SessionExpiryInterval = 100
        settings["clean_start"] = False
    else:
        settings["clean_session"] = False
    async with client(place, **settings) as reader:
        await reader.subscribe(topic, qos=1)
    async with client(place) as writer:
        await writer.publish(topic, "missed", qos=1)
    async with client(place, **settings) as reader:
        return await take(reader, 1)


@cells.add("properties: pass through unchanged", FIVE)
async def properties(place: Place) -> object:
    topic, given = place.name("topic"), Properties(PacketTypes.PUBLISH)
    given.UserProperty = [("a", "1"), ("a", "2")]
    given.ContentType = "text/plain"
    async with client(place) as reader:
        await reader.subscribe(topic, qos=1)
        await reader.publish(topic, "x", qos=1, properties=given)
        async with asyncio.timeout(15):
            async for message in reader.messages:
                return message.properties.json() if message.properties else None
    return None


@cells.add("transport: WebSocket")
async def websocket(place: Place) -> object:
    host, _, port = place.option("websocket", "the target has no WebSocket listener").rpartition(":")
    topic = place.name("topic")
    async with client(place, hostname=host, port=int(port), transport="websockets") as peer:
        await peer.subscribe(topic, qos=2)
        await peer.publish(topic, "x", qos=2)
        return await take(peer, 1)


@cells.add("security: user and password")
async def users(place: Place) -> object:
    host, _, port = place.option("users", "the target was started without users").rpartition(":")
    told: list[object] = []
    for password in (place.options["password"], "wrong"):
        try:
            async with client(place, hostname=host, port=int(port), username=place.options["user"], password=password):
                told.append("connected")
        except aiomqtt.MqttError as error:
            told.append(said_by(error))
    return told
