"""Real clients of the four protocols behind one small interface: publish and be acknowledged, read in order.

For tests that care what crosses from one protocol to another and not how each client is called: confluent-kafka, nats-py,
paho-mqtt and redis-py, as their users run them. A message is an id or payload, its headers where the protocol has them,
and the name it came under in the protocol's own spelling.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import nats
import paho.mqtt.client as paho
import redis.asyncio as redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

ANSWER_S_MAX = 30.0
"""Deadline of anything asked of a gateway; not a goal."""
STREAM_FIELD = b"data"
"""The field of a Redis stream entry that holds the payload; the others are its headers."""
numbers = itertools.count(1)


@dataclass(frozen=True)
class Message:
    payload: bytes
    name: str
    """Topic (Kafka), subject (NATS), topic (MQTT), channel or key (Redis)."""
    headers: Mapping[str, str] = field(default_factory=dict)
    key: bytes | None = None
    """Kafka only."""
    position: int | None = None
    """From 0, where the protocol says it: Kafka's offset, JetStream's sequence - 1, a Redis stream id's left half - 1."""


class Publisher(Protocol):
    async def publish(self, name: str, payload: bytes, headers: Mapping[str, str] | None = None) -> int | None:
        """Returns when acknowledged; the position, where the protocol says it."""
        ...

    async def close(self) -> None: ...


class Reader(Protocol):
    async def read(self, count: int, timeout_s: float = ANSWER_S_MAX) -> list[Message]:
        """The next ``count`` messages, in the order received; fewer if the time is over."""
        ...

    async def close(self) -> None: ...


def split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


async def create_topic(kafka: str, name: str, partitions: int = 1) -> None:
    """A Kafka topic: a stream that captures its name and all beneath it."""
    admin = AdminClient({"bootstrap.servers": kafka})
    created = admin.create_topics([NewTopic(name, partitions, 1)])[name]
    await asyncio.to_thread(created.result, ANSWER_S_MAX)


class Queued:
    """A reader whose client calls back: messages wait here until they are read."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Message] = asyncio.Queue()

    async def read(self, count: int, timeout_s: float = ANSWER_S_MAX) -> list[Message]:
        messages: list[Message] = []
        try:
            async with asyncio.timeout(timeout_s):
                while len(messages) < count:
                    messages.append(await self.queue.get())
        except TimeoutError:
            pass
        return messages


# Kafka: confluent-kafka


class KafkaPublisher:
    def __init__(self, address: str, **settings: object) -> None:
        self.producer = Producer({"bootstrap.servers": address, "acks": "all", "linger.ms": 0, **settings})
        self.loop = asyncio.get_running_loop()
        self.ended = False
        self.polling = asyncio.create_task(asyncio.to_thread(self.poll))

    def poll(self) -> None:
        while not self.ended:
            self.producer.poll(0.05)

    async def publish(self, name: str, payload: bytes, headers: Mapping[str, str] | None = None) -> int | None:
        answer: asyncio.Future[int] = self.loop.create_future()

        def delivered(error: Any, message: Any) -> None:
            if not answer.done():
                if error is None:
                    answer.set_result(message.offset())
                else:
                    answer.set_exception(ConnectionError(str(error)))

        self.producer.produce(
            name,
            payload,
            headers=[(key, value.encode()) for key, value in (headers or {}).items()],
            on_delivery=lambda error, message: self.loop.call_soon_threadsafe(delivered, error, message),
        )
        return await asyncio.wait_for(answer, ANSWER_S_MAX)

    async def close(self) -> None:
        self.ended = True
        await self.polling


class KafkaReader:
    """Partition 0 from ``start`` on, without a group."""

    def __init__(self, address: str, topic: str, start: int = 0) -> None:
        self.consumer = Consumer(
            {
                "bootstrap.servers": address,
                "group.id": f"reader-{next(numbers)}",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
            }
        )
        self.consumer.assign([TopicPartition(topic, 0, start)])

    async def read(self, count: int, timeout_s: float = ANSWER_S_MAX) -> list[Message]:
        return await asyncio.to_thread(self.consume, count, timeout_s)

    def consume(self, count: int, timeout_s: float) -> list[Message]:
        found: list[Message] = []
        deadline = time.monotonic() + timeout_s
        while len(found) < count and time.monotonic() < deadline:
            for message in self.consumer.consume(min(count - len(found), 10_000), timeout=0.1):
                if message.error():
                    raise ConnectionError(str(message.error()))
                headers = {key: (value or b"").decode() for key, value in message.headers() or ()}
                found.append(Message(message.value(), message.topic(), headers, message.key(), message.offset()))
        return found

    async def close(self) -> None:
        await asyncio.to_thread(self.consumer.close)


# NATS: nats-py


class NatsPublisher:
    """``acknowledged``: by JetStream (the subject must be captured), else by a flush of the connection."""

    def __init__(self, connection: nats.NATS, acknowledged: bool) -> None:
        self.connection = connection
        self.stream = connection.jetstream(timeout=ANSWER_S_MAX) if acknowledged else None

    @classmethod
    async def connect(cls, address: str, acknowledged: bool = True) -> NatsPublisher:
        return cls(await nats.connect(f"nats://{address}", allow_reconnect=False), acknowledged)

    async def publish(self, name: str, payload: bytes, headers: Mapping[str, str] | None = None) -> int | None:
        if self.stream is not None:
            answer = await self.stream.publish(name, payload, headers=dict(headers or {}) or None)
            return int(answer.seq) - 1
        await self.connection.publish(name, payload, headers=dict(headers or {}) or None)
        await self.connection.flush()
        return None

    async def close(self) -> None:
        await self.connection.close()


class NatsReader(Queued):
    """A plain subscription: live messages; of ``>`` only what is not inboxes or the server's own."""

    connection: nats.NATS

    @classmethod
    async def connect(cls, address: str, subject: str) -> NatsReader:
        reader = cls()
        reader.connection = await nats.connect(f"nats://{address}", allow_reconnect=False)

        async def on_message(message: Any) -> None:
            if message.subject[0] not in "_$":
                reader.queue.put_nowait(Message(message.data, message.subject, dict(message.headers or {})))

        await reader.connection.subscribe(subject, cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1)
        await reader.connection.flush()
        return reader

    async def close(self) -> None:
        await self.connection.close()


class JetStreamReader:
    """A durable pull consumer with explicit acknowledgement, from the stream's first message on."""

    connection: nats.NATS
    subscription: Any

    @classmethod
    async def connect(cls, address: str, stream: str, subject: str = "") -> JetStreamReader:
        reader = cls()
        reader.connection = await nats.connect(f"nats://{address}", allow_reconnect=False)
        context = reader.connection.jetstream(timeout=ANSWER_S_MAX)
        reader.subscription = await context.pull_subscribe(subject, f"reader-{next(numbers)}", stream=stream)
        return reader

    async def read(self, count: int, timeout_s: float = ANSWER_S_MAX) -> list[Message]:
        found: list[Message] = []
        try:
            async with asyncio.timeout(timeout_s):
                while len(found) < count:
                    for message in await self.subscription.fetch(min(500, count - len(found)), timeout=timeout_s):
                        position = message.metadata.sequence.stream - 1
                        headers = dict(message.headers or {})
                        found.append(Message(message.data, message.subject, headers, position=position))
                        await message.ack()
        except TimeoutError:
            pass
        return found

    async def close(self) -> None:
        await self.connection.close()


# MQTT: paho-mqtt, MQTT 5


class MqttClient(Queued):
    """Publishes at ``qos``; receives what it subscribed to."""

    def __init__(
        self, address: str, client_id: str = "", qos: int = 1, clean_start: bool = True, expiry_s: int = 0
    ) -> None:
        super().__init__()
        self.qos = qos
        self.loop = asyncio.get_running_loop()
        self.waiting: dict[int, asyncio.Future[Any]] = {}
        self.connected: asyncio.Future[Any] = self.loop.create_future()
        self.address = address
        self.clean_start = clean_start
        self.expiry_s = expiry_s
        name = client_id or f"stock-{next(numbers)}"
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5)
        self.client.max_queued_messages_set(0)
        self.client.max_inflight_messages_set(1000)
        self.client.on_connect = lambda client, data, flags, reason, properties: self.told(self.connected, reason)
        self.client.on_publish = lambda client, data, mid, reason, properties: self.answered(mid, reason)
        self.client.on_subscribe = lambda client, data, mid, reasons, properties: self.answered(mid, reasons[0])
        self.client.on_message = lambda client, data, message: self.loop.call_soon_threadsafe(self.arrived, message)

    @classmethod
    async def connect(cls, address: str, client_id: str = "", **settings: Any) -> MqttClient:
        self = cls(address, client_id, **settings)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = self.expiry_s
        host, port = split(address)
        await asyncio.to_thread(
            self.client.connect, host, port, 60, clean_start=self.clean_start, properties=properties
        )
        self.client.loop_start()
        await asyncio.wait_for(self.connected, ANSWER_S_MAX)
        return self

    def told(self, future: asyncio.Future[Any], reason: Any) -> None:
        def tell() -> None:
            if not future.done():
                if reason.is_failure:
                    future.set_exception(ConnectionError(str(reason)))
                else:
                    future.set_result(reason)

        self.loop.call_soon_threadsafe(tell)

    def answered(self, number: int, reason: Any) -> None:
        self.loop.call_soon_threadsafe(lambda: self.told(self.answer(number), reason))

    def answer(self, number: int) -> asyncio.Future[Any]:
        """The future of a packet identifier; asked for by whoever comes first, sender or answer."""
        return self.waiting.setdefault(number, self.loop.create_future())

    def arrived(self, message: Any) -> None:
        headers = dict(getattr(message.properties, "UserProperty", ()))
        self.queue.put_nowait(Message(message.payload, message.topic, headers))

    async def subscribe(self, pattern: str, qos: int | None = None) -> None:
        options = SubscribeOptions(qos=self.qos if qos is None else qos)
        _, number = self.client.subscribe(pattern, options=options)
        await asyncio.wait_for(self.answer(number), ANSWER_S_MAX)
        del self.waiting[number]

    async def publish(self, name: str, payload: bytes, headers: Mapping[str, str] | None = None) -> int | None:
        properties = Properties(PacketTypes.PUBLISH)
        if headers:
            properties.UserProperty = list(headers.items())
        number = self.client.publish(name, payload, qos=self.qos, properties=properties).mid
        await asyncio.wait_for(self.answer(number), ANSWER_S_MAX)
        self.waiting.pop(number, None)
        return None

    async def close(self) -> None:
        await asyncio.to_thread(self.client.disconnect)
        await asyncio.to_thread(self.client.loop_stop)


# Redis: redis-py


class RespPublisher:
    """``PUBLISH`` to a channel."""

    def __init__(self, address: str) -> None:
        host, port = split(address)
        self.client = redis.Redis(host=host, port=port)

    async def publish(self, name: str, payload: bytes, headers: Mapping[str, str] | None = None) -> int | None:
        assert not headers, "pub/sub has no headers"
        await self.client.publish(name, payload)
        return None

    async def close(self) -> None:
        await self.client.aclose()


class StreamPublisher(RespPublisher):
    """``XADD`` to a stream."""

    async def publish(self, name: str, payload: bytes, headers: Mapping[str, str] | None = None) -> int | None:
        fields: dict[Any, Any] = {STREAM_FIELD: payload, **(headers or {})}
        id: bytes = await self.client.xadd(name, fields)
        return int(id.partition(b"-")[0]) - 1


class RespReader(Queued):
    """``PSUBSCRIBE``: live messages."""

    client: redis.Redis
    subscription: Any
    task: asyncio.Task[None]

    @classmethod
    async def connect(cls, address: str, *patterns: str) -> RespReader:
        reader = cls()
        host, port = split(address)
        reader.client = redis.Redis(host=host, port=port)
        reader.subscription = reader.client.pubsub()
        await reader.subscription.psubscribe(*patterns)
        for _ in patterns:
            await reader.subscription.get_message(timeout=ANSWER_S_MAX)
        reader.task = asyncio.create_task(reader.receive())
        return reader

    async def receive(self) -> None:
        async for message in self.subscription.listen():
            if message["type"] == "pmessage":
                self.queue.put_nowait(Message(message["data"], message["channel"].decode()))

    async def close(self) -> None:
        self.task.cancel()
        await self.subscription.aclose()
        await self.client.aclose()


class StreamReader:
    """``XREAD BLOCK`` from an id on."""

    def __init__(self, address: str, key: str, start: str = "0-0") -> None:
        host, port = split(address)
        self.client = redis.Redis(host=host, port=port)
        self.key = key
        self.last = start

    async def read(self, count: int, timeout_s: float = ANSWER_S_MAX) -> list[Message]:
        found: list[Message] = []
        try:
            async with asyncio.timeout(timeout_s):
                while len(found) < count:
                    answer = await self.client.xread({self.key: self.last}, count=count - len(found), block=500)
                    for entry in entries_of(answer):
                        found.append(entry)
                        self.last = f"{(entry.position or 0) + 1}-0"
        except TimeoutError:
            pass
        return found

    async def close(self) -> None:
        await self.client.aclose()


def entries_of(answer: Any) -> Sequence[Message]:
    """Of one key's XREAD."""
    found = []
    for name, entries in answer or ():
        for id, fields in entries:
            headers = {
                key.decode(): value.decode(errors="replace") for key, value in fields.items() if key != STREAM_FIELD
            }
            position = int(id.partition(b"-")[0]) - 1
            found.append(Message(fields.get(STREAM_FIELD, b""), name.decode(), headers, position=position))
    return found
