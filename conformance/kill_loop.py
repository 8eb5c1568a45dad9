"""kill -9 of the real gateway under load on four protocols, again and again: ``python -m conformance.kill_loop --rounds 20``.

Stock clients write without pause and reconnect by themselves: an idempotent Kafka producer, JetStream publishes with
message ids, MQTT at QoS 1 into a session that is kept, Redis INCR, SET and XADD under ``appendfsync always``. All but INCR
and SET write into one topic. A subscriber with a kept MQTT session reads along. At a moment that the seed chooses the
process is killed and started again on the same ports.

Held against it (``conformance.histories``): whatever was acknowledged is there, at the position that was told; no position
was told twice; what one reader saw once never changes; records stored more than once are at most what the client had in
flight and no protocol promises to recognise; the order agrees with real time; ready in time; every client goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import nats
import paho.mqtt.client as paho
import redis.asyncio as redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from redis.backoff import NoBackoff
from redis.retry import Retry

from conformance.histories import Append, Violation, check_counter, check_delivered, check_log, check_register
from conformance.process import GatewayProcess

TOPIC = "orders"
IN_FLIGHT = 64
SESSION_IN_FLIGHT = 1024
"""Deliveries to a kept MQTT session that one crash may repeat."""
READY_S_MAX = 2.0
PROGRESS_S_MAX = 30.0
"""Every client must have been acknowledged something within this after a start; else it is stuck."""
LOAD_S = (0.2, 0.8)
"""Between these lies the time from everybody's first acknowledgement to the kill."""


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


class NatsWriter(Writer):
    """nats-py, JetStream, each with a message id: sent again until acknowledged, stored once."""

    name = "nats"
    resends = False

    async def run(self, address: str, stop: asyncio.Event) -> None:
        connection = await nats.connect(
            f"nats://{address}", reconnect_time_wait=0.05, max_reconnect_attempts=-1, error_cb=ignore_error
        )
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


class Log:
    """The topic as a Kafka consumer reads it, grown after each kill; what was read before must still be there."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.ids: list[bytes] = []

    def read_on(self, back: int = 500) -> list[Violation]:
        """Read from ``back`` records below what is known to the end of the topic."""
        start = max(0, len(self.ids) - back)
        consumer = Consumer(
            {"bootstrap.servers": self.address, "group.id": "judge", "enable.auto.commit": False, "log_level": 0}
        )
        try:
            partition = TopicPartition(TOPIC, 0, start)
            _, end = consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=10)
            consumer.assign([partition])
            found: list[bytes] = []
            deadline = time.monotonic() + 30
            while start + len(found) < end:
                for message in consumer.consume(5000, 0.2):
                    if message.error():
                        return [Violation("lost", f"the topic cannot be read: {message.error()}")]
                    if message.offset() != start + len(found):
                        return [Violation("position", f"offset {message.offset()} follows {start + len(found) - 1}")]
                    found.append(message.value())
                if time.monotonic() > deadline:
                    return [Violation("lost", f"read {start + len(found)} of {end} records, then nothing for 30 s")]
        finally:
            consumer.close()
        known = self.ids[start:]
        if found[: len(known)] != known:
            return [Violation("swapped", f"what was read before from {start} on has changed or is gone")]
        self.ids[start:] = found
        return []


@dataclass
class Outcome:
    rounds: int = 0
    ready_s: list[float] = field(default_factory=list)
    acknowledged: dict[str, int] = field(default_factory=dict)
    stored: int = 0
    stored_twice: int = 0
    delivered: int = 0
    delivered_twice: int = 0
    violations: list[Violation] = field(default_factory=list)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {count:,}" for name, count in self.acknowledged.items())
        lines = [
            f"{self.rounds} kills; acknowledged: {parts}; {self.stored:,} records stored, {self.stored_twice} of them again",
            f"delivered to the kept session: {self.delivered:,}, {self.delivered_twice} of them again",
            f"ready after: {max(self.ready_s, default=0):.2f} s at most, {sum(self.ready_s) / max(1, len(self.ready_s)):.2f} s on average",
        ]
        return "\n".join([*lines, *(f"VIOLATION {violation}" for violation in self.violations)])


class KillLoop:
    """One run. ``serve``: the command that ends in ``serve``."""

    def __init__(
        self,
        serve: Sequence[str],
        folder: Path,
        seed: int,
        env: dict[str, str] | None = None,
        ready_s_max: float = READY_S_MAX,
    ) -> None:
        self.gateway = GatewayProcess(serve, folder, env={**(env or {}), "THALWEG_RESP__APPENDFSYNC": "always"})
        self.chance = random.Random(seed)
        self.ready_s_max = ready_s_max
        self.outcome = Outcome()

    async def run(self, rounds: int, report: Callable[[str], None] = lambda text: None) -> Outcome:
        with contextlib.closing(_Killer(self.gateway)):
            self.gateway.start()
            await asyncio.to_thread(self.create_topic)
            kafka, mqtt = KafkaWriter(self.gateway.kafka), MqttWriter(self.gateway.port("mqtt"))
            resp, nats_writer = RespWriter(), NatsWriter()
            writers: list[Writer] = [kafka, mqtt, nats_writer, resp]
            reader = MqttReader(self.gateway.port("mqtt"))
            log = Log(self.gateway.kafka)
            stop, stop_async, stop_reader = threading.Event(), asyncio.Event(), threading.Event()
            threads = [
                threading.Thread(target=run, args=[event], daemon=True)
                for run, event in ((reader.run, stop_reader), (kafka.run, stop), (mqtt.run, stop))
            ]
            threads[0].start()
            await asyncio.to_thread(reader.subscribed.wait, PROGRESS_S_MAX)
            for thread in threads[1:]:
                thread.start()
            tasks = [
                asyncio.create_task(nats_writer.run(self.gateway.nats, stop_async)),
                asyncio.create_task(resp.run(self.gateway.port("resp"), stop_async)),
            ]
            try:
                for number in range(1, rounds + 1):
                    if not await self.kill_once(writers, log):
                        break
                    report(f"round {number}: ready after {self.outcome.ready_s[-1]:.2f} s, {len(log.ids):,} records")
                await self.all_progress(writers)
            finally:
                stop.set()
                stop_async.set()
                await asyncio.wait(tasks, timeout=30)
                for thread in threads[1:]:
                    await asyncio.to_thread(thread.join, 30)
            await asyncio.to_thread(wait_for, lambda: mqtt.acknowledged <= len(set(reader.seen)), 20)
            stop_reader.set()
            reader.close()
            await self.judge(writers, resp, reader, log)
            for task in tasks:
                if task.done() and not task.cancelled() and task.exception() is not None:
                    raise task.exception() or AssertionError
            return self.outcome

    def create_topic(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.gateway.kafka})
        admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result(20)

    async def all_progress(self, writers: Sequence[Writer]) -> bool:
        """Wait until every writer was acknowledged something more."""
        before = [writer.acknowledged for writer in writers]
        deadline = time.monotonic() + PROGRESS_S_MAX
        while True:
            stuck = [w.name for w, was in zip(writers, before, strict=True) if w.acknowledged <= was]
            if not stuck:
                return True
            if time.monotonic() > deadline or not self.gateway.is_running():
                ended = "" if self.gateway.is_running() else f"; the process ended: {self.gateway.last_words()}"
                self.violation("stuck", f"{', '.join(stuck)} got no acknowledgement for {PROGRESS_S_MAX} s{ended}")
                return False
            await asyncio.sleep(0.005)

    async def kill_once(self, writers: Sequence[Writer], log: Log) -> bool:
        """Load, kill, start, read; whether another round makes sense."""
        if not await self.all_progress(writers):
            return False
        await asyncio.sleep(self.chance.uniform(*LOAD_S))
        self.gateway.kill()
        for writer in writers:
            writer.killed()
        await asyncio.to_thread(self.gateway.start)
        self.outcome.rounds += 1
        self.outcome.ready_s.append(self.gateway.ready_s)
        if self.gateway.ready_s > self.ready_s_max:
            self.violation("late", f"ready after {self.gateway.ready_s:.2f} s, limit {self.ready_s_max} s")
        found = await asyncio.to_thread(log.read_on)
        self.outcome.violations += found
        return not found

    async def judge(self, writers: Sequence[Writer], resp: RespWriter, reader: MqttReader, log: Log) -> None:
        """Everything at rest: one full read, and every history against it."""
        outcome = self.outcome
        outcome.violations += await asyncio.to_thread(log.read_on, 1 << 60)
        outcome.violations += check_log([append for writer in writers for append in writer.history()], log.ids)
        outcome.violations += await resp.check(self.gateway.port("resp"))
        mqtt = next(writer for writer in writers if writer.name == "mqtt")
        acknowledged = [id for id, entry in mqtt.sent.items() if entry.returned_ns is not None]
        stored_again = len(log.ids) - len(set(log.ids))
        copies_max = stored_again + outcome.rounds * SESSION_IN_FLIGHT
        outcome.violations += check_delivered(acknowledged, reader.seen, copies_max)
        for writer in writers:
            outcome.violations += [Violation("failed", failure) for failure in writer.failures[:3]]
            outcome.acknowledged[writer.name] = writer.acknowledged
        outcome.acknowledged["INCR"], outcome.acknowledged["SET"] = resp.incremented, resp.set_acknowledged
        outcome.stored, outcome.stored_twice = len(log.ids), stored_again
        outcome.delivered, outcome.delivered_twice = len(reader.seen), len(reader.seen) - len(set(reader.seen))

    def violation(self, kind: str, detail: str) -> None:
        self.outcome.violations.append(Violation(kind, detail))


class _Killer:
    """Ends the process whatever happens."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway

    def close(self) -> None:
        self.gateway.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.kill_loop", description="kill -9 under load.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="keep data and output in this folder")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="thalweg-kill-") as scratch:
        folder = options.keep or Path(scratch)
        loop = KillLoop([sys.executable, "-m", "thalweg", "serve"], folder, options.seed)
        outcome = asyncio.run(loop.run(options.rounds, lambda text: print(text, flush=True)))
    print(f"seed {options.seed}: {outcome}")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
