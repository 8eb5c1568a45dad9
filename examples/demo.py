"""``make demo``: real data through all four protocols, and the process killed in the middle.

The data is what the machine has: Debian's package index (``apt-cache dumpavail``, one record a package), or else the
metadata of the installed Python packages. Every client is a stock one; the one process that they all talk to is
``thalweg serve``, started here with its data in a folder that is thrown away.

    MQTT client (QoS 1)  ---.                              .---> two members of a Kafka consumer group ---> Redis hashes
                             >--  packages-a-m, -n-z   ---<----> mosquitto_sub (a session that is kept, QoS 1)
    NATS client (JetStream) -'     (two streams)           '---> redis-cli PSUBSCRIBE

Every record goes to an address that names its section: the MQTT topic ``packages-a-m/games`` and the NATS subject
``packages-a-m.games`` are the same address, and it is the Kafka record's key.

When half of the records are acknowledged, the process is killed with SIGKILL and started again. Then, at the end:

- Both publishers have each record acknowledged. They sent again what was not: JetStream stores one ``Nats-Msg-Id`` once; MQTT's
  QoS 1 promises at least once, so each of its records carries an id (a user property, a header in Kafka).
- The Kafka group has read each position of both streams, without a gap, and each record once. What it is given again after
  the kill it knows by its offset, what was stored twice by its id.
- Redis has counted each record once: a batch's counts and its next offset are one transaction.
- mosquitto_sub has each record at least once (QoS 1).
- redis-cli has each record that was published while it was subscribed: pub/sub keeps nothing for those who are away.
  What it may lack was being published between a second before the kill and its new subscription.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import BinaryIO

import nats
import paho.mqtt.client as mqtt
import redis
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

ROOT = "packages"
HALVES = ("a-m", "n-z")
"""A stream each: the topics ``packages-a-m`` and ``packages-n-z``, by the first letter of the record."""
STALLED_S = 60.0
"""Nothing moved for so long: the demo gives up."""
REDIS_BATCH = 1000
MEMBERS = 2
IN_FLIGHT = 500
ID = "demo-id"
"""The user property, and Kafka header, that names a record that came by MQTT."""
LOST_WITH_THE_PROCESS_S = 1.0
"""What was acknowledged so shortly before the kill may have been in the dead process's hands, on its way to a subscriber."""


@dataclass(frozen=True)
class Package:
    """One record: its section, and its text."""

    section: str
    text: bytes

    @property
    def half(self) -> str:
        name = self.text.removeprefix(b"Package: ")[:1].lower()
        return HALVES[name > b"m"]

    @property
    def address(self) -> tuple[str, ...]:
        return (f"{ROOT}-{self.half}", *self.section.split("/"))


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


def tally_of(packages: Sequence[Package]) -> Tally:
    tally = Tally()
    for package in packages:
        tally.add(package.section, package.text)
    return tally


# the input


def read_input(file: Path | None, limit: int | None) -> tuple[str, list[Package]]:
    """What it is, in words, and its records."""
    if file is not None:
        packages = split_index(file.read_bytes())
        return f"the package index in {file.name}", packages[:limit]
    with contextlib.suppress(FileNotFoundError):
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


class Gateway:
    """``thalweg serve``, its data in ``folder``: on free ports at first, on the same ones when it is started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.addresses = dict.fromkeys(("kafka", "nats", "mqtt", "resp", "http"), "127.0.0.1:0")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "thalweg",
            "serve",
            "--data",
            str(self.folder / "data"),
            "--ready-file",
            str(ready),
        ]
        for protocol, address in self.addresses.items():
            command += [f"--{protocol}", address]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        while not ready.exists():
            if self.process.poll() is not None:
                raise SystemExit(f"the gateway ended: {(self.folder / 'log').read_text()}")
            time.sleep(0.01)
        listeners = json.loads(ready.read_text())["listeners"]
        self.addresses = {protocol: listeners[protocol] for protocol in self.addresses}

    def kill(self) -> None:
        """SIGKILL: it cannot say goodbye, nor write anything more."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)


def split_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


# the publishers


class Publishing:
    """What became of each record: when it was first sent, and when it was acknowledged."""

    def __init__(self, packages: Sequence[Package]) -> None:
        self.packages = packages
        self.began = [0.0] * len(packages)
        self.ended = [0.0] * len(packages)
        self.acknowledged = Tally()

    def begin(self, number: int) -> None:
        self.began[number] = time.monotonic()

    def end(self, number: int) -> None:
        assert not self.ended[number], f"record {number} was acknowledged twice"
        self.ended[number] = time.monotonic()
        package = self.packages[number]
        self.acknowledged.add(package.section, package.text)


def publish_by_mqtt(address: str, publishing: Publishing) -> None:
    """paho-mqtt, MQTT 5, QoS 1, with a session: after the kill it connects again and sends again what is not acknowledged."""
    answered: queue.SimpleQueue[int] = queue.SimpleQueue()
    in_flight: dict[int, int] = {}
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="demo-publisher", protocol=mqtt.MQTTv5)
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 3600
    client.on_publish = lambda client, userdata, number, reason, properties: answered.put(number)
    client.max_queued_messages_set(0)
    client.max_inflight_messages_set(100)
    client.reconnect_delay_set(1, 1)

    def count_one(wait_s: float) -> None:
        with contextlib.suppress(queue.Empty):
            publishing.end(in_flight.pop(answered.get(timeout=wait_s)))

    client.connect(*split_address(address), clean_start=False, properties=session)
    client.loop_start()
    for number, package in enumerate(publishing.packages):
        publishing.begin(number)
        identity = Properties(PacketTypes.PUBLISH)
        identity.UserProperty = (ID, str(number))
        in_flight[client.publish("/".join(package.address), package.text, qos=1, properties=identity).mid] = number
        while not answered.empty() or len(in_flight) >= IN_FLIGHT:
            count_one(0.1)
    while in_flight:
        count_one(0.1)
    client.disconnect()
    client.loop_stop()


async def publish_by_nats(address: str, publishing: Publishing) -> None:
    """nats-py, JetStream: what is not acknowledged in time is published again under the same ``Nats-Msg-Id``."""

    async def ignore(error: Exception) -> None:
        """The connection is gone for a while: what was not acknowledged is published again."""

    connection = await nats.connect(
        f"nats://{address}", max_reconnect_attempts=-1, reconnect_time_wait=0.2, error_cb=ignore
    )
    stream, room = connection.jetstream(timeout=5), asyncio.Semaphore(IN_FLIGHT)

    async def publish(number: int, package: Package) -> None:
        subject, headers = ".".join(package.address), {"Nats-Msg-Id": f"demo-{number}"}
        publishing.begin(number)
        while True:
            try:
                await stream.publish(subject, package.text, headers=headers)
            except (nats.errors.Error, OSError):
                await asyncio.sleep(0.1)
            else:
                break
        publishing.end(number)
        room.release()

    async with asyncio.TaskGroup() as waiting:
        for number, package in enumerate(publishing.packages):
            await room.acquire()
            waiting.create_task(publish(number, package))
    await connection.close()


# the consumer group


class Places:
    """How far the group has read and counted, for its members together; topic -> the next offset."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.next: dict[str, int] = dict.fromkeys((f"{ROOT}-{half}" for half in HALVES), 0)
        self.seen = Tally()
        self.ids: set[bytes] = set()
        self.again = 0
        """Records that were delivered again."""
        self.twice = 0
        """Records that are stored twice."""

    def take(self, message: Message) -> bool:
        """Whether it is new. One that was there before, by offset or by id, is dropped; one beyond the next offset is an error."""
        with self.lock:
            expected = self.next[message.topic()]
            if message.offset() < expected:
                self.again += 1
                return False
            assert message.offset() == expected, f"{message.topic()} has a gap: {expected} to {message.offset()}"
            self.next[message.topic()] = expected + 1
            if (name := dict(message.headers() or ()).get(ID)) is not None:
                if name in self.ids:
                    self.twice += 1
                    return False
                self.ids.add(name)
            self.seen.add(section_of(message.key()), message.value())
            return True


def section_of(key: bytes) -> str:
    """``packages-a-m/contrib/games`` is of ``contrib/games``."""
    return key.decode().split("/", 1)[1]


def consume_by_kafka(address: str, places: Places, resp: str, ended: threading.Event) -> None:
    """One member, confluent-kafka: counts in Redis, then commits."""
    settings = {
        "bootstrap.servers": address,
        "group.id": "demo",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    quick = {"session.timeout.ms": 6000, "reconnect.backoff.max.ms": 500, "log_level": 0}
    consumer = Consumer({**settings, **quick})
    consumer.subscribe(list(places.next))
    host, port = split_address(resp)
    with redis.Redis(host, port) as database:
        while not ended.is_set():
            messages = [message for message in consumer.consume(REDIS_BATCH, timeout=0.2) if not message.error()]
            for topic in {message.topic() for message in messages}:
                batch, end = Tally(), 0
                for message in messages:
                    if message.topic() == topic and places.take(message):
                        batch.add(section_of(message.key()), message.value())
                        end = message.offset() + 1
                if batch.records:
                    count_in_redis(database, topic, end, batch)
                    with contextlib.suppress(Exception):  # it will be committed with the next batch
                        consumer.commit(offsets=[TopicPartition(topic, 0, end)], asynchronous=True)
    consumer.close()


def count_in_redis(database: redis.Redis, topic: str, end: int, batch: Tally) -> None:
    """redis-py: one MULTI of a batch's HINCRBYs and of how far it reaches; not again if it has been carried out."""
    deadline = time.monotonic() + STALLED_S
    while True:
        try:
            if int(database.hget("packages:offsets", topic) or 0) >= end:
                return
            with database.pipeline(transaction=True) as pipeline:
                pipeline.hset("packages:offsets", topic, end)
                for section, count in batch.sections.items():
                    pipeline.hincrby("packages:sections", section, count)
                pipeline.hincrby("packages:total", "records", batch.records)
                pipeline.hincrby("packages:total", "size", batch.size)
                pipeline.hincrby("packages:total", "checksum", batch.checksum)
                pipeline.execute()
            return
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def tally_of_redis(database: redis.Redis) -> Tally:
    total = {name.decode(): int(value) for name, value in database.hgetall("packages:total").items()}
    sections = {name.decode(): int(value) for name, value in database.hgetall("packages:sections").items()}
    return Tally(total.get("records", 0), total.get("size", 0), total.get("checksum", 0), sections)


# the live followers


class Follower:
    """A command line tool that prints messages as they come; what it saw, by section and text."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: Counter[tuple[str, bytes]] = Counter()
        self.subscribed: list[float] = []
        """When it said so; again after the kill."""
        self.process: subprocess.Popen[bytes] | None = None
        self.ended = False

    def run(self) -> None:
        raise NotImplementedError

    def open(self, *command: str) -> BinaryIO:
        """Its output, line by line if the system can."""
        by_line = ["stdbuf", "-oL"] if shutil.which("stdbuf") else []
        self.process = subprocess.Popen([*by_line, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        return self.process.stdout  # type: ignore[return-value]

    def stop(self) -> None:
        self.ended = True
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class MosquittoSub(Follower):
    """mosquitto_sub with a session that is kept: it connects again by itself."""

    def __init__(self, address: str) -> None:
        super().__init__("mosquitto_sub")
        host, port = split_address(address)
        self.words = [
            "mosquitto_sub", "-h", host, "-p", str(port), "-i", "demo-follower", "-c", "-q", "1",
            *(word for half in HALVES for word in ("-t", f"{ROOT}-{half}/#")),
        ]  # fmt: skip

    def run(self) -> None:
        subprocess.run(
            [*self.words, "-E"], check=True, capture_output=True, timeout=STALLED_S
        )  # the session is there now
        output = self.open(*self.words, "-F", "%t %l\n%p")
        self.subscribed.append(time.monotonic())
        while (head := output.readline()).endswith(b"\n"):
            topic, _, size = head.rstrip(b"\n").rpartition(b" ")
            self.seen[section_of(topic), output.read(int(size))] += 1
            output.read(1)


class RedisCli(Follower):
    """redis-cli PSUBSCRIBE: it ends when its server does, and is started again."""

    def __init__(self, address: str) -> None:
        super().__init__("redis-cli")
        host, port = split_address(address)
        self.words = ["redis-cli", "-h", host, "-p", str(port), "--csv", "PSUBSCRIBE", f"{ROOT}-*"]

    def run(self) -> None:
        while not self.ended:
            for line in self.open(*self.words):
                if line.startswith(b'"psubscribe"'):
                    self.subscribed.append(time.monotonic())
                elif line.startswith(b'"pmessage"'):
                    _, _, channel, text = parse_csv(line)
                    self.seen[section_of(channel.replace(b":", b"/")), text] += 1
            time.sleep(0.05)


def parse_csv(line: bytes) -> list[bytes]:
    """The strings of a line of ``redis-cli --csv``: quoted, with C's escapes."""
    words = line.strip().decode("latin-1")[1:-1].split('","', 3)
    return [word.encode("latin-1").decode("unicode_escape").encode("latin-1") for word in words]


def tally_at_least_once(seen: Counter[tuple[str, bytes]], packages: Sequence[Package]) -> Tally:
    """What was seen of the input; what came again does not count, what was never published does."""
    wanted = Counter((package.section, package.text) for package in packages)
    tally = Tally()
    for (section, text), count in seen.items():
        for _ in range(min(count, wanted[section, text]) or count):
            tally.add(section, text)
    return tally


def missed_while_subscribed(
    seen: Counter[tuple[str, bytes]], publishings: Sequence[Publishing], killed: float, subscribed_again: float
) -> tuple[int, int]:
    """Of what was not seen: how many were published around the kill, and how many while it was subscribed (none)."""
    left, around, missed = seen.copy(), 0, 0
    for publishing in publishings:
        for number, package in enumerate(publishing.packages):
            if left[package.section, package.text] > 0:
                left[package.section, package.text] -= 1
            elif (
                publishing.ended[number] >= killed - LOST_WITH_THE_PROCESS_S
                and publishing.began[number] <= subscribed_again
            ):
                around += 1
            else:
                missed += 1
    return around, missed


# what is printed


class Progress:
    """One line that says how far everybody is: rewritten in place on a terminal, every two seconds elsewhere."""

    def __init__(self, expected: int, counts: dict[str, Callable[[], int]]) -> None:
        self.expected = expected
        self.counts = counts
        self.failures: list[BaseException] = []
        self.began = self.shown = self.moved = time.monotonic()
        self.last: list[int] = []

    def show(self, last: bool = False) -> None:
        now, counts = time.monotonic(), [count() for count in self.counts.values()]
        if counts != self.last:
            self.last, self.moved = counts, now
        terminal = sys.stdout.isatty()
        if not last and now - self.shown < (0.1 if terminal else 2.0):
            return
        self.shown = now
        parts = "  ".join(f"{name} {count:,}" for name, count in zip(self.counts, counts, strict=True))
        line = f"  {now - self.began:5.1f} s  {parts}  of {self.expected:,}"
        print(f"\r{line:110}" if terminal else line, end="" if terminal and not last else "\n", flush=True)

    def wait(self, holds: Callable[[], bool]) -> bool:
        """Until it holds; False when somebody failed, or nothing moved for long."""
        while not holds():
            self.show()
            if self.failures or time.monotonic() - self.moved > STALLED_S:
                return False
            time.sleep(0.01)
        return True

    def guard(self, task: Callable[[], object]) -> threading.Thread:
        """A thread whose failure is told by the main thread, which then ends."""

        def run() -> None:
            try:
                task()
            except BaseException as failure:  # noqa: BLE001
                self.failures.append(failure)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread


def summary(
    what: str, given: Tally, by_mqtt: Tally, by_nats: Tally, readers: dict[str, Tally], unseen: int | None = 0
) -> tuple[str, bool]:
    """The table a newcomer reads, and whether everything is equal. The same input gives the same text.

    ``unseen``: how many records redis-cli did not see although it was subscribed; None: there is no redis-cli.
    """
    published = Tally(
        by_mqtt.records + by_nats.records, by_mqtt.size + by_nats.size, by_mqtt.checksum + by_nats.checksum
    )
    for side in (by_mqtt, by_nats):
        for section, count in side.sections.items():
            published.sections[section] = published.sections.get(section, 0) + count
    rows = {"in the input": given, "acknowledged to the two publishers": published, **readers}
    equal = all(tally == given for tally in rows.values()) and not unseen
    lines = [f"Input: {what}", "", f"{'':42}{'records':>12}{'bytes':>16}{'sections':>10}  checksum"]
    for name, tally in rows.items():
        mark = "" if tally == given else "   <- DIFFERS"
        lines.append(
            f"{name:42}{tally.records:>12,}{tally.size:>16,}{len(tally.sections):>10}  {tally.checksum:016x}{mark}"
        )
    if unseen is not None:
        told = "nothing" if unseen == 0 else f"{unseen:,} records   <- DIFFERS"
        lines.append(f"{'missed by redis-cli while subscribed':42}{told:>12}")
    lines += [
        "",
        f"{by_mqtt.records:,} records came in by MQTT and {by_nats.records:,} by NATS, into two streams.",
        "In the middle the process was killed with SIGKILL and started again.",
        "A Kafka consumer group of two read all of them, and Redis hashes hold how many each section has:",
        "  "
        + ", ".join(
            f"{name} {count:,}" for name, count in sorted(given.sections.items(), key=lambda e: (-e[1], e[0]))[:6]
        ),
        "",
        "All sides hold the same records." if equal else "The sides do NOT hold the same records.",
    ]
    return "\n".join(lines), equal


@contextlib.contextmanager
def serving() -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory(prefix="thalweg-demo-") as folder:
        gateway = Gateway(Path(folder))
        try:
            gateway.start()
            yield gateway
        finally:
            gateway.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description="Real data through all four protocols.")
    parser.add_argument("--records", type=int, help="at most so many (all)")
    parser.add_argument("--input", type=Path, help="a package index in a file instead of this machine's")
    options = parser.parse_args(arguments)
    what, packages = read_input(options.input, options.records)
    given = tally_of(packages)
    print(f"{what}: {given.records:,} records, {given.size / 1e6:,.1f} MB")
    with serving() as gateway:
        return show(what, packages, given, gateway)


def show(what: str, packages: Sequence[Package], given: Tally, gateway: Gateway) -> int:
    addresses = gateway.addresses
    print("one process serves " + ", ".join(f"{name} on {address}" for name, address in addresses.items()))
    topics = [f"{ROOT}-{half}" for half in HALVES]
    admin = AdminClient({"bootstrap.servers": addresses["kafka"], "log_level": 0})
    for created in admin.create_topics([NewTopic(topic, 1, 1) for topic in topics]).values():
        created.result(10)
    print(
        f"a Kafka client created the topics {' and '.join(topics)}; MQTT and NATS clients publish to addresses beneath"
    )

    by_mqtt, by_nats, places = Publishing(packages[0::2]), Publishing(packages[1::2]), Places()
    followers = [
        made(addresses[protocol])
        for made, protocol, tool in ((MosquittoSub, "mqtt", "mosquitto_sub"), (RedisCli, "resp", "redis-cli"))
        if shutil.which(tool) or print(f"{tool} is not installed (make peers): it does not follow")
    ]
    counts: dict[str, Callable[[], int]] = {
        "in by MQTT": lambda: by_mqtt.acknowledged.records,
        "in by NATS": lambda: by_nats.acknowledged.records,
        "read by Kafka": lambda: places.seen.records,
    }
    for follower in followers:
        counts[f"by {follower.name}"] = follower.seen.total
    progress, ended = Progress(len(packages), counts), threading.Event()
    for follower in followers:
        progress.guard(follower.run)
    progress.wait(lambda: all(follower.subscribed for follower in followers))
    members = [
        progress.guard(lambda: consume_by_kafka(addresses["kafka"], places, addresses["resp"], ended))
        for _ in range(MEMBERS)
    ]
    publishers = [
        progress.guard(lambda: publish_by_mqtt(addresses["mqtt"], by_mqtt)),
        progress.guard(lambda: asyncio.run(publish_by_nats(addresses["nats"], by_nats))),
    ]
    acknowledged = lambda: by_mqtt.acknowledged.records + by_nats.acknowledged.records  # noqa: E731

    progress.wait(lambda: acknowledged() >= len(packages) // 2)
    killed = time.monotonic()
    gateway.kill()
    print(
        f"\nSIGKILL after {acknowledged():,} acknowledged records; the process is gone, and started again on the same data"
    )
    gateway.start()
    print(f"it serves again {time.monotonic() - killed:.1f} s after the kill")

    live = [follower for follower in followers if isinstance(follower, MosquittoSub)]
    progress.wait(
        lambda: (
            not any(thread.is_alive() for thread in publishers)
            and places.seen.records >= len(packages)
            and all(tally_is_full(follower, len(packages)) for follower in live)
        )
    )
    host, port = split_address(addresses["resp"])
    with redis.Redis(host, port) as database:
        progress.wait(lambda: tally_of_redis(database).records >= len(packages))
        around, unseen = settle(followers, (by_mqtt, by_nats), killed, progress)
        ended.set()
        for thread in members:
            thread.join(STALLED_S)
        counted = tally_of_redis(database)
    for follower in followers:
        follower.stop()
    progress.show(last=True)
    if progress.failures:
        print(f"a client failed: {progress.failures[0]!r}")
        return 1
    print(
        f"the Kafka group was given {places.again:,} records again, known by their offsets; {places.twice:,} are stored twice, known by their ids"
    )
    readers = {"read by the Kafka group": places.seen}
    for follower in live:
        readers["seen live by mosquitto_sub (at least once)"] = tally_at_least_once(follower.seen, packages)
        print(f"mosquitto_sub got {follower.seen.total() - len(follower.seen):,} records more than once")
    if unseen is not None:
        print(
            f"redis-cli was away around the kill: {around:,} records went by without it, and {unseen:,} while it was subscribed"
        )
    readers["counted in Redis hashes"] = counted
    text, equal = summary(what, given, by_mqtt.acknowledged, by_nats.acknowledged, readers, unseen)
    print(f"\n{text}")
    return 0 if equal else 1


def tally_is_full(follower: Follower, count: int) -> bool:
    return follower.seen.total() >= count


def settle(
    followers: Sequence[Follower], publishings: Sequence[Publishing], killed: float, progress: Progress
) -> tuple[int, int | None]:
    """What redis-cli lacks, once it has had the time to print what is on its way."""
    for follower in followers:
        if isinstance(follower, RedisCli):
            again = follower.subscribed[1] if len(follower.subscribed) > 1 else time.monotonic()
            lacks = lambda: missed_while_subscribed(follower.seen, publishings, killed, again)  # noqa: B023, E731
            deadline = time.monotonic() + 10
            while lacks()[1] and time.monotonic() < deadline:
                time.sleep(0.1)
            return lacks()
    return 0, None


if __name__ == "__main__":
    sys.exit(main())
