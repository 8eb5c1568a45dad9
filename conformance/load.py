"""Stock clients that write without pause, live through the death of what they write to, and remember what was acknowledged.

For ``conformance.kill_loop``: each reconnects by itself, as its users would let it. ``Writer`` keeps a history of ids sent
into one topic; the others keep a number that may only be at or after the last acknowledged one, or what must not come again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import nats
import paho.mqtt.client as paho
import redis.asyncio as redis
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from redis.backoff import NoBackoff
from redis.retry import Retry

from conformance.histories import Append, Violation, check_counter, check_register

TOPIC = "orders"
IN_FLIGHT = 64


@dataclass
class Sent:
    called_ns: int
    returned_ns: int | None = None
    position: int | None = None
    sends: int = 1


class Writer:
    """What one client wrote, and what of it was acknowledged. Ids are ``<name>-<number>``."""

    name = ""
    resends = True
    """Whether what was in flight at a kill is sent again without the server being able to recognise it."""

    def __init__(self) -> None:
        self.sent: dict[bytes, Sent] = {}
        self.in_flight: set[bytes] = set()
        self.acknowledged = 0
        self.failures: list[str] = []

    def begin(self) -> bytes:
        id = f"{self.name}-{len(self.sent)}".encode()
        self.sent[id] = Sent(time.monotonic_ns())
        self.in_flight.add(id)
        return id

    def end(self, id: bytes, position: int | None = None) -> None:
        """Acknowledged."""
        entry = self.sent[id]
        if entry.returned_ns is None:
            entry.returned_ns, entry.position = time.monotonic_ns(), position
            self.acknowledged += 1
        self.in_flight.discard(id)

    def give_up(self, id: bytes) -> None:
        """No answer will come: it may be there or not."""
        self.in_flight.discard(id)

    def killed(self) -> None:
        """The server died: what is in flight may be sent once more."""
        if self.resends:
            for id in tuple(self.in_flight):
                self.sent[id].sends += 1

    def history(self) -> Iterator[Append]:
        for id, entry in self.sent.items():
            yield Append(id, entry.called_ns, entry.returned_ns, entry.position, entry.sends)


class KafkaWriter(Writer):
    """confluent-kafka, acks=all, idempotent: what it sends again the gateway must recognise, also after a crash."""

    name = "kafka"
    resends = False

    def __init__(self, address: str) -> None:
        super().__init__()
        self.producer = Producer(
            {
                "bootstrap.servers": address,
                "enable.idempotence": True,
                "linger.ms": 1,
                "message.timeout.ms": 60_000,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 200,
                "error_cb": lambda error: None,
                "log_level": 0,
            }
        )

    def delivered(self, id: bytes, error: Any, message: Any) -> None:
        if error is None:
            self.end(id, message.offset())
        else:
            self.failures.append(f"kafka: {error}")
            self.give_up(id)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            while len(self.in_flight) < IN_FLIGHT:
                id = self.begin()
                self.producer.produce(TOPIC, id, on_delivery=partial(self.delivered, id))
            self.producer.poll(0.01)
        self.producer.flush(20)


class MqttWriter(Writer):
    """paho-mqtt, QoS 1, session kept: what has no PUBACK is sent again with DUP, which nobody recognises."""

    name = "mqtt"

    def __init__(self, port: int) -> None:
        super().__init__()
        self.numbers: dict[int, bytes] = {}
        self.answered: deque[int] = deque()
        self.client = connect_kept(port, "writer")
        # paho holds its own lock here, and takes it in `publish`: only note the number
        self.client.on_publish = lambda client, data, number, reason, properties: self.answered.append(number)

    def take_answers(self) -> None:
        while self.answered:
            self.end(self.numbers.pop(self.answered.popleft()))

    def run(self, stop: threading.Event) -> None:
        self.client.loop_start()
        while not stop.is_set():
            self.take_answers()
            if len(self.in_flight) >= IN_FLIGHT:
                time.sleep(0.002)
                continue
            id = self.begin()
            self.numbers[self.client.publish(f"{TOPIC}/mqtt", id, qos=1).mid] = id
        deadline = time.monotonic() + 20
        while self.in_flight and time.monotonic() < deadline:
            self.take_answers()
            time.sleep(0.002)
        self.client.disconnect()
        self.client.loop_stop()


class MqttReader:
    """A kept session subscribed at QoS 1 to all that the MQTT writer writes."""

    def __init__(self, port: int) -> None:
        self.seen: list[bytes] = []
        self.subscribed = threading.Event()
        self.client = connect_kept(port, "reader")
        self.client.on_connect = lambda client, *rest: client.subscribe(f"{TOPIC}/mqtt", 1)
        self.client.on_subscribe = lambda *rest: self.subscribed.set()
        self.client.on_message = lambda client, data, message: self.seen.append(message.payload)

    def run(self, stop: threading.Event) -> None:
        self.client.loop_start()
        stop.wait()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def connect_kept(port: int, client_id: str) -> paho.Client:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, clean_session=False)
    client.reconnect_delay_set(0.05, 0.2)
    client.max_inflight_messages_set(IN_FLIGHT)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", port, 30)
    return client


class RetainedWriter:
    """paho-mqtt, QoS 1, retained: 1, 2, 3, ... to one topic, the next when the last is acknowledged."""

    topic = "state/number"

    def __init__(self, port: int) -> None:
        self.sent = self.acknowledged = 0
        self.answered = threading.Semaphore(0)
        self.client = connect_kept(port, "retained")
        self.client.on_publish = lambda *rest: self.answered.release()

    def run(self, stop: threading.Event) -> None:
        self.client.loop_start()
        while not stop.is_set():
            self.sent += 1
            self.client.publish(self.topic, b"%d" % self.sent, qos=1, retain=True)
            while not self.answered.acquire(timeout=0.1):
                if stop.is_set():
                    break
            else:
                self.acknowledged = self.sent
                time.sleep(0.01)
        self.client.disconnect()
        self.client.loop_stop()

    def check(self, port: int) -> list[Violation]:
        """What a new subscriber is given."""
        found: list[bytes] = []
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, "judge")
        client.on_message = lambda client, data, message: found.append(message.payload)
        client.connect("127.0.0.1", port)
        client.subscribe(self.topic, 1)
        client.loop_start()
        wait_for(lambda: bool(found), 10)
        client.disconnect()
        client.loop_stop()
        return check_register("retained message", self.acknowledged, self.sent, int(found[0]) if found else 0)


class OffsetCommitter:
    """confluent-kafka: a group that commits 1, 2, 3, ..., the next when the last is acknowledged."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sent = self.acknowledged = 0

    def connect(self) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": "committer",
                "enable.auto.commit": False,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 200,
                "log_level": 0,
            }
        )

    def run(self, stop: threading.Event) -> None:
        consumer = self.connect()
        while not stop.is_set():
            self.sent += 1
            try:
                consumer.commit(offsets=[TopicPartition(TOPIC, 0, self.sent)], asynchronous=False)
                self.acknowledged = self.sent
            except KafkaException:
                pass  # it may stand or not
            time.sleep(0.01)
        consumer.close()

    def check(self) -> list[Violation]:
        consumer = self.connect()
        try:
            [found] = consumer.committed([TopicPartition(TOPIC, 0)], timeout=10)
        finally:
            consumer.close()
        return check_register("committed offset", self.acknowledged, self.sent, max(0, found.offset))


class NatsWriter(Writer):
    """nats-py, JetStream, each with a message id: sent again until acknowledged, stored once."""

    name = "nats"
    resends = False

    async def run(self, address: str, stop: asyncio.Event) -> None:
        connection = await connect_nats(address)
        stream = connection.jetstream(timeout=2)

        async def publish_forever() -> None:
            while not stop.is_set():
                id = self.begin()
                while id in self.in_flight:
                    try:
                        answer = await stream.publish(f"{TOPIC}.nats", id, headers={"Nats-Msg-Id": id.decode()})
                        self.end(id, answer.seq - 1)
                    except (nats.errors.Error, OSError):
                        if stop.is_set():
                            self.give_up(id)
                        await asyncio.sleep(0.02)

        await asyncio.gather(*(publish_forever() for _ in range(16)))
        await connection.close()


class JetStreamReader:
    """nats-py, a durable pull consumer with explicit acknowledgements, each confirmed: what was confirmed never comes again."""

    def __init__(self) -> None:
        self.confirmed: set[int] = set()
        self.failures: list[str] = []

    async def run(self, address: str, stop: asyncio.Event) -> None:
        connection = await connect_nats(address)
        subscription = await connection.jetstream(timeout=5).pull_subscribe("", "kept", stream=TOPIC)
        while not stop.is_set():
            try:
                for message in await subscription.fetch(16, timeout=1):
                    sequence = message.metadata.sequence.stream
                    if sequence in self.confirmed:
                        self.failures.append(
                            f"jetstream: {sequence} came again after its acknowledgement was confirmed"
                        )
                    await message.ack_sync(timeout=2)
                    self.confirmed.add(sequence)
            except (nats.errors.Error, OSError):
                await asyncio.sleep(0.02)
        await connection.close()


async def connect_nats(address: str) -> nats.NATS:
    return await nats.connect(
        f"nats://{address}", reconnect_time_wait=0.05, max_reconnect_attempts=-1, error_cb=ignore_error
    )


async def ignore_error(error: Exception) -> None:
    """nats-py tells of every lost connection: they are what is being tested."""


class RespWriter(Writer):
    """redis-py: XADD into the topic, INCR and SET. An error leaves the outcome open; nothing is sent twice."""

    name = "resp"
    resends = False

    def __init__(self) -> None:
        super().__init__()
        self.incremented = self.increments_unknown = 0
        self.set_acknowledged = self.set_sent = 0
        self.numbers: set[int] = set()

    async def run(self, port: int, stop: asyncio.Event) -> None:
        async with redis.Redis(port=port, retry=Retry(NoBackoff(), 0), socket_timeout=10) as client:
            await asyncio.gather(
                self.until(stop, lambda: self.add(client)),
                self.until(stop, lambda: self.increment(client)),
                self.until(stop, lambda: self.set(client)),
            )

    async def until(self, stop: asyncio.Event, act: Callable[[], Any]) -> None:
        while not stop.is_set():
            try:
                await act()
            except (redis.ConnectionError, redis.TimeoutError, OSError):
                await asyncio.sleep(0.02)
            except redis.ResponseError as refused:
                self.failures.append(f"resp: {refused}")
                await asyncio.sleep(0.02)

    async def add(self, client: redis.Redis) -> None:
        id = self.begin()
        try:
            told = await client.xadd(TOPIC, {"data": id})
            self.end(id, int(told.partition(b"-")[0]) - 1)
        finally:
            self.give_up(id)

    async def increment(self, client: redis.Redis) -> None:
        self.increments_unknown += 1
        number = await client.incr("counter")
        if number in self.numbers:
            self.failures.append(f"resp: INCR answered {number} twice")
        self.numbers.add(number)
        self.increments_unknown -= 1
        self.incremented += 1

    async def set(self, client: redis.Redis) -> None:
        self.set_sent += 1
        sent = self.set_sent
        await client.set("register", sent)
        self.set_acknowledged = sent

    async def check(self, port: int) -> list[Violation]:
        """What stands now, with nobody writing."""
        async with redis.Redis(port=port) as client:
            counter, register = int(await client.get("counter") or 0), int(await client.get("register") or 0)
        return [
            *check_counter("counter", self.incremented, self.increments_unknown, counter),
            *check_register("register", self.set_acknowledged, self.set_sent, register),
        ]


def wait_for(ready: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
