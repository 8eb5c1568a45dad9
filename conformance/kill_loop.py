"""kill -9 of the real gateway under load on four protocols, again and again: ``python -m conformance.kill_loop --rounds 20``.

Stock clients write without pause and reconnect by themselves: an idempotent Kafka producer, JetStream publishes with
message ids, MQTT at QoS 1 into a session that is kept, Redis INCR, SET and XADD under ``appendfsync always``. All but INCR
and SET write into one topic. A subscriber with a kept MQTT session and a JetStream consumer read along, a Kafka group
commits offsets, a retained message changes. At a moment that the seed chooses the
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from conformance.histories import Violation, check_delivered, check_log
from conformance.load import (
    TOPIC,
    JetStreamReader,
    KafkaWriter,
    MqttReader,
    MqttWriter,
    NatsWriter,
    OffsetCommitter,
    RespWriter,
    RetainedWriter,
    Writer,
    wait_for,
)
from conformance.process import GatewayProcess

SESSION_IN_FLIGHT = 1024
"""Deliveries to a kept MQTT session that one crash may repeat."""
READY_S_MAX = 2.0
PROGRESS_S_MAX = 30.0
"""Every client must have been acknowledged something within this after a start; else it is stuck."""
LOAD_S = (0.2, 0.8)
"""Between these lies the time from everybody's first acknowledgement to the kill."""


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
            reader, jetstream = MqttReader(self.gateway.port("mqtt")), JetStreamReader()
            retained, committer = RetainedWriter(self.gateway.port("mqtt")), OffsetCommitter(self.gateway.kafka)
            log = Log(self.gateway.kafka)
            stop, stop_async, stop_reader = threading.Event(), asyncio.Event(), threading.Event()
            threads = [
                threading.Thread(target=run, args=[event], daemon=True)
                for run, event in (
                    (reader.run, stop_reader),
                    *((each.run, stop) for each in (kafka, mqtt, retained, committer)),
                )
            ]
            threads[0].start()
            await asyncio.to_thread(reader.subscribed.wait, PROGRESS_S_MAX)
            for thread in threads[1:]:
                thread.start()
            tasks = [
                asyncio.create_task(nats_writer.run(self.gateway.nats, stop_async)),
                asyncio.create_task(resp.run(self.gateway.port("resp"), stop_async)),
                asyncio.create_task(jetstream.run(self.gateway.nats, stop_async)),
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
            port = self.gateway.port("mqtt")
            self.outcome.violations += await asyncio.to_thread(retained.check, port)
            self.outcome.violations += await asyncio.to_thread(committer.check)
            self.outcome.violations += [Violation("redelivered", failure) for failure in jetstream.failures[:3]]
            self.outcome.acknowledged |= {
                "retained": retained.acknowledged,
                "offsets": committer.acknowledged,
                "JetStream acks": len(jetstream.confirmed),
            }
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
