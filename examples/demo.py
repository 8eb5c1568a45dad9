"""``make demo``: real data, published by MQTT and NATS clients, read by a Kafka consumer, counted in Redis.

The data is what the machine has: Debian's package index (``apt-cache dumpavail``, one record a package), or else the
metadata of the installed Python packages. Every client is a stock one; the one process that they all talk to is
``thalweg serve``, started here with its data in a folder that is thrown away.

    MQTT client (QoS 1)  ---.                           .---> Kafka consumer ---> Redis hashes
                             >---  topic  packages  ---<
    NATS client (JetStream) -'      (one stream)        '---  live NATS subscriber

Every record goes to an address beneath the topic that names its section: the MQTT topic ``packages/games`` and the NATS
subject ``packages.games`` are the same address, and it is the Kafka record's key.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import nats
import paho.mqtt.client as mqtt
import redis
from confluent_kafka import Consumer, Message
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC = "packages"
STALLED_S = 60.0
"""Nothing moved for so long: the demo gives up."""
REDIS_BATCH = 1000


@dataclass(frozen=True)
class Package:
    """One record: its address beneath the topic, and its text."""

    section: str
    text: bytes


@dataclass
class Tally:
    """Count, bytes and checksum of records, whatever the order they came in; by section."""

    records: int = 0
    size: int = 0
    checksum: int = 0
    sections: dict[str, int] = field(default_factory=dict)

    def add(self, section: str, text: bytes) -> None:
        self.records += 1
        self.size += len(text)
        self.checksum += checksum(text)
        self.sections[section] = self.sections.get(section, 0) + 1


def checksum(text: bytes) -> int:
    """The first 40 bits of SHA-256: sums of them stay below what a Redis hash can count."""
    return int.from_bytes(hashlib.sha256(text).digest()[:5], "big")


# the input


def read_input(file: Path | None, limit: int | None) -> tuple[str, list[Package]]:
    """What it is, in words, and its records."""
    if file is not None:
        packages = split_index(file.read_bytes())
        return f"the package index in {file.name}", packages[:limit]
    with suppress(FileNotFoundError):
        index = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=False, timeout=60).stdout
        if packages := split_index(index):
            return "Debian's package index (apt-cache dumpavail)", packages[:limit]
    packages = [
        Package(section=f"python/{(found.name or '?')[0].lower()}", text=text.encode())
        for found in metadata.distributions()
        if (text := found.read_text("METADATA") or found.read_text("PKG-INFO"))
    ]
    return "the metadata of the installed Python packages", packages[:limit]


def split_index(index: bytes) -> list[Package]:
    """Stanzas, parted by empty lines, each with a line ``Section: games`` or ``Section: contrib/games``."""
    packages = []
    for stanza in index.split(b"\n\n"):
        if text := stanza.strip(b"\n"):
            lines = (line for line in text.split(b"\n") if line.startswith(b"Section: "))
            packages.append(Package(next(lines, b"Section: none")[9:].decode(), text))
    return packages


# the gateway


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """``thalweg serve`` on free ports; gives its addresses by protocol, and stops it in the end."""
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "thalweg", "serve", "--data", str(folder / "data"), "--ready-file", str(ready)]
    for protocol in ("kafka", "nats", "mqtt", "resp", "http"):
        command += [f"--{protocol}", "127.0.0.1:0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        while not ready.exists():
            if process.poll() is not None:
                raise SystemExit(f"the gateway ended: {(folder / 'log').read_text()}")
            time.sleep(0.01)
        yield dict(json.loads(ready.read_text())["listeners"])
    finally:
        process.terminate()
        process.wait(10)


def split_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


# the four clients; each keeps a tally of its own


def publish_by_mqtt(address: str, packages: Sequence[Package], acknowledged: Tally) -> None:
    """paho-mqtt, QoS 1: a record counts when its PUBACK is here."""
    answered: queue.SimpleQueue[int] = queue.SimpleQueue()
    in_flight: dict[int, Package] = {}
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="demo-publisher")
    client.on_publish = lambda client, userdata, number, reason, properties: answered.put(number)
    client.max_queued_messages_set(0)
    client.max_inflight_messages_set(1000)

    def count_one(wait_s: float) -> None:
        with suppress(queue.Empty):
            package = in_flight.pop(answered.get(timeout=wait_s))
            acknowledged.add(package.section, package.text)

    client.connect(*split_address(address))
    client.loop_start()
    for package in packages:
        in_flight[client.publish(f"{TOPIC}/{package.section}", package.text, qos=1).mid] = package
        while not answered.empty() or len(in_flight) > 2000:
            count_one(0.1)
    while in_flight:
        count_one(0.1)
    client.disconnect()
    client.loop_stop()


async def publish_by_nats(address: str, packages: Sequence[Package], acknowledged: Tally) -> None:
    """nats-py, JetStream: a record counts when its publish acknowledgement is here."""
    connection = await nats.connect(f"nats://{address}")
    stream = connection.jetstream(publish_async_max_pending=2000)

    async def count(package: Package, answer: asyncio.Future[object]) -> None:
        await answer
        acknowledged.add(package.section, package.text)

    async with asyncio.TaskGroup() as waiting:
        for package in packages:
            subject = f"{TOPIC}.{package.section.replace('/', '.')}"
            answer = await stream.publish_async(subject, package.text, wait_stall=STALLED_S)
            waiting.create_task(count(package, answer))
    await connection.close()


async def watch_by_nats(address: str, seen: Tally, subscribed: threading.Event, ended: threading.Event) -> None:
    """nats-py, plain subscription: what goes by, live, by whomever it was published."""
    connection = await nats.connect(f"nats://{address}")

    async def on_message(message: nats.aio.msg.Msg) -> None:
        seen.add(message.subject.removeprefix(f"{TOPIC}.").replace(".", "/"), message.data)

    await connection.subscribe(f"{TOPIC}.>", cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await connection.flush()
    subscribed.set()
    while not ended.is_set():
        await asyncio.sleep(0.05)
    await connection.close()


def consume_by_kafka(address: str, expected: int, seen: Tally, database: redis.Redis, progress: Progress) -> None:
    """confluent-kafka, from the beginning: section from the key, counted in Redis by pipelines of HINCRBY."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "demo",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    consumer.subscribe([TOPIC])
    moved = time.monotonic()
    while seen.records < expected:
        messages: list[Message] = consumer.consume(REDIS_BATCH, timeout=0.2)
        batch = Tally()
        for message in messages:
            if message.error():
                raise SystemExit(f"the Kafka consumer was told: {message.error()}")
            section = message.key().decode().removeprefix(f"{TOPIC}/")
            seen.add(section, message.value())
            batch.add(section, message.value())
        if messages:
            moved = time.monotonic()
            count_in_redis(database, batch)
        progress.show()
        if progress.failures or time.monotonic() - moved > STALLED_S:
            break
    consumer.commit()
    consumer.close()


def count_in_redis(database: redis.Redis, batch: Tally) -> None:
    """redis-py: one MULTI of HINCRBYs a batch."""
    with database.pipeline(transaction=True) as pipeline:
        for section, count in batch.sections.items():
            pipeline.hincrby("packages:sections", section, count)
        pipeline.hincrby("packages:total", "records", batch.records)
        pipeline.hincrby("packages:total", "size", batch.size)
        pipeline.hincrby("packages:total", "checksum", batch.checksum)
        pipeline.execute()


def tally_of_redis(database: redis.Redis) -> Tally:
    total = {name.decode(): int(value) for name, value in database.hgetall("packages:total").items()}
    sections = {name.decode(): int(value) for name, value in database.hgetall("packages:sections").items()}
    return Tally(total.get("records", 0), total.get("size", 0), total.get("checksum", 0), sections)


# what is printed


class Progress:
    """One line that says how far everybody is: rewritten in place on a terminal, every two seconds elsewhere."""

    def __init__(self, expected: int, tallies: dict[str, Tally]) -> None:
        self.expected = expected
        self.tallies = tallies
        self.failures: list[BaseException] = []
        self.began = self.shown = time.monotonic()

    def show(self, last: bool = False) -> None:
        now = time.monotonic()
        terminal = sys.stdout.isatty()
        if not last and now - self.shown < (0.1 if terminal else 2.0):
            return
        self.shown = now
        parts = "  ".join(f"{name} {tally.records:,}" for name, tally in self.tallies.items())
        line = f"  {now - self.began:5.1f} s  {parts}  of {self.expected:,}"
        print(f"\r{line:110}" if terminal else line, end="" if terminal and not last else "\n", flush=True)


def summary(what: str, given: Tally, by_mqtt: Tally, by_nats: Tally, readers: dict[str, Tally]) -> tuple[str, bool]:
    """The table a newcomer reads, and whether everything is equal. The same input gives the same text."""
    published = Tally(
        by_mqtt.records + by_nats.records, by_mqtt.size + by_nats.size, by_mqtt.checksum + by_nats.checksum
    )
    for side in (by_mqtt, by_nats):
        for section, count in side.sections.items():
            published.sections[section] = published.sections.get(section, 0) + count
    rows = {"in the input": given, "acknowledged to the two publishers": published, **readers}
    equal = all(tally == given for tally in rows.values())
    lines = [f"Input: {what}", "", f"{'':42}{'records':>12}{'bytes':>16}{'sections':>10}  checksum"]
    for name, tally in rows.items():
        mark = "" if tally == given else "   <- DIFFERS"
        lines.append(
            f"{name:42}{tally.records:>12,}{tally.size:>16,}{len(tally.sections):>10}  {tally.checksum:016x}{mark}"
        )
    lines += [
        "",
        f"{by_mqtt.records:,} records came in by MQTT and {by_nats.records:,} by NATS, into one stream, stored once.",
        "A Kafka consumer read all of them from that stream, and Redis hashes hold how many each section has:",
        "  "
        + ", ".join(
            f"{name} {count:,}" for name, count in sorted(given.sections.items(), key=lambda e: (-e[1], e[0]))[:6]
        ),
        "",
        "All sides hold the same records." if equal else "The sides do NOT hold the same records.",
    ]
    return "\n".join(lines), equal


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description="Real data through all four protocols.")
    parser.add_argument("--records", type=int, help="at most so many (all)")
    parser.add_argument("--input", type=Path, help="a package index in a file instead of this machine's")
    options = parser.parse_args(arguments)
    what, packages = read_input(options.input, options.records)
    given, by_mqtt, by_nats, by_kafka, live = (Tally() for _ in range(5))
    for package in packages:
        given.add(package.section, package.text)
    print(f"{what}: {given.records:,} records, {given.size / 1e6:,.1f} MB")

    with tempfile.TemporaryDirectory(prefix="thalweg-demo-") as folder, serving(Path(folder)) as addresses:
        print("one process serves " + ", ".join(f"{name} on {address}" for name, address in addresses.items()))
        admin = AdminClient({"bootstrap.servers": addresses["kafka"], "log_level": 0})
        admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result(10)
        print(f"a Kafka client created the topic {TOPIC}; MQTT and NATS clients publish to addresses beneath it")
        host, port = split_address(addresses["resp"])
        progress = Progress(
            len(packages),
            {"in by MQTT": by_mqtt, "in by NATS": by_nats, "read by Kafka": by_kafka, "seen live": live},
        )
        subscribed, ended = threading.Event(), threading.Event()

        def guarded(task: object) -> None:
            try:
                asyncio.run(task) if asyncio.iscoroutine(task) else task()  # type: ignore[operator]
            except BaseException as failure:  # noqa: BLE001 - told by the main thread, which then ends
                progress.failures.append(failure)
                subscribed.set()

        watcher = threading.Thread(target=guarded, args=[watch_by_nats(addresses["nats"], live, subscribed, ended)])
        watcher.start()
        subscribed.wait(STALLED_S)
        publishers = [
            threading.Thread(
                target=guarded, args=[lambda: publish_by_mqtt(addresses["mqtt"], packages[0::2], by_mqtt)], daemon=True
            ),
            threading.Thread(
                target=guarded, args=[publish_by_nats(addresses["nats"], packages[1::2], by_nats)], daemon=True
            ),
        ]
        for thread in publishers:
            thread.start()
        with redis.Redis(host, port) as database:
            consume_by_kafka(addresses["kafka"], len(packages), by_kafka, database, progress)
            counted = tally_of_redis(database)
        deadline = time.monotonic() + STALLED_S
        while not progress.failures and time.monotonic() < deadline:
            if live.records >= len(packages) and not any(thread.is_alive() for thread in publishers):
                break
            time.sleep(0.02)
        ended.set()
        watcher.join(STALLED_S)
        progress.show(last=True)
    if progress.failures:
        print(f"a client failed: {progress.failures[0]!r}")
        return 1
    readers = {
        "read by the Kafka consumer": by_kafka,
        "seen live by a NATS subscriber": live,
        "counted in Redis hashes": counted,
    }
    text, equal = summary(what, given, by_mqtt, by_nats, readers)
    print(f"\n{text}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
