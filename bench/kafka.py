"""Kafka beside Apache Kafka: librdkafka driven from C, and Apache Kafka's own perf tools, against both.

Apache Kafka runs as its own scripts start it, and never fsyncs; rows in page cache compare like with like, rows "fsync before
ack" are ours as installed. Latency goals are of the 99th percentile, theirs divided by ours.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import time
from pathlib import Path

from bench import measures
from bench.measures import Measure, Run, RunFailed, Server
from conformance import apache_kafka
from conformance.apache_kafka import ApacheKafka, NoKafka
from conformance.meters import cpu_s
from conformance.process import GatewayProcess

PRODUCE_GOAL = CONSUME_GOAL = 1.5
LATENCY_GOAL = 1 / 0.7
READY_GOAL = 5.0
CONSUMED_PER_S = {100: 1_000_000, 1000: 200_000}
"""Messages that are read for each second of a run, by their size."""
PRODUCED_PER_S = {100: 400_000, 1000: 100_000}
"""Records that the Java producer is given for each second of a run."""
ROUND_TRIPS_PER_S = 400

_names = itertools.count()


class Peer(ApacheKafka):
    name = "Apache Kafka"
    version = apache_kafka.VERSION


def peer(folder: Path) -> Peer | None:
    """Apache Kafka in KRaft mode, if its jars can be had."""
    try:
        apache_kafka.jars(download=True)
        return Peer(folder)
    except NoKafka as reason:
        print(f"{reason}: Kafka's rows stand alone", file=sys.stderr)
        return None


def address(server: Server) -> str:
    return f"127.0.0.1:{server.ports['kafka']}"


def new_topic(server: Server) -> str:
    """A topic of one partition that takes batches of 1 MiB and can be written to."""
    from confluent_kafka import KafkaException, Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    name = f"bench-{time.time_ns():x}-{next(_names)}"
    settings = {"bootstrap.servers": address(server), "log_level": 0}
    try:
        admin = AdminClient(settings)
        admin.create_topics([NewTopic(name, 1, 1)])[name].result(10)
        made = Producer({**settings, "linger.ms": 0, "message.timeout.ms": 10_000})
        made.produce(name, b"first")
        if made.flush(10):
            raise RunFailed(f"nothing can be written to the new topic {name}")
    except KafkaException as error:
        raise RunFailed(f"create topic: {error}") from None
    return name


def librdkafka() -> str:
    """The library inside confluent-kafka's wheel, or the system's."""
    import confluent_kafka

    found = sorted(Path(confluent_kafka.__file__).parent.parent.glob("confluent_kafka.libs/librdkafka*.so*"))
    return str(found[0]) if found else "librdkafka.so.1"


def _generate(server: Server, *arguments: object) -> Measure:
    result = measures.run_generator(
        "rdkafkagen", "-l", librdkafka(), "-p", server.ports["kafka"], "-C", server.pid, *arguments
    )
    return measures.to_measure(result)


def produce(size: int) -> Run:
    """librdkafka, acks=all, its own batching: messages acknowledged in a second."""

    def run(server: Server, seconds: float) -> Measure:
        return _generate(server, "-m", "produce", "-T", new_topic(server), "-s", size, "-t", seconds)

    return run


class Consume:
    """librdkafka reads a topic from its beginning; a server's topic is filled when more is read than it holds."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._filled: dict[int, tuple[str, int]] = {}

    def filled(self, server: Server, seconds: float) -> tuple[str, int]:
        """A topic, and how many of its messages to read."""
        count = int(CONSUMED_PER_S[self._size] * seconds)
        topic, held = self._filled.get(server.pid, ("", 0))
        if held < count:
            topic = new_topic(server)
            self._filled[server.pid] = topic, count
            measures.run_generator(
                "kafkagen", "-p", server.ports["kafka"], "-m", "produce", "-T", topic, "-b", 65_536, "-r", self._size,
                "-n", 1 + count * (self._size + 12) // 60_000,
            )  # fmt: skip
        return topic, count

    def __call__(self, server: Server, seconds: float) -> Measure:
        topic, count = self.filled(server, seconds)
        return _generate(server, "-m", "consume", "-T", topic, "-n", count)


def latency(server: Server, seconds: float) -> Measure:
    """One message of 100 bytes at a time through librdkafka: from produce (acks=all) to the consumer."""
    return _generate(server, "-m", "latency", "-T", new_topic(server), "-s", 100, "-t", seconds)


def _tool(server: Server, name: str, *arguments: object) -> tuple[str, float]:
    """What a tool of Apache Kafka's prints, and the CPU seconds that the server spent meanwhile."""
    before = cpu_s(server.pid)
    try:
        text = apache_kafka.run_tool(name, *arguments, timeout_s=measures.RUN_S_MAX)
    except (NoKafka, subprocess.SubprocessError) as error:
        raise RunFailed(str(error)) from None
    return text, cpu_s(server.pid) - before


def java_produce(size: int) -> Run:
    """kafka-producer-perf-test: idempotent, acks=all, batches of 16 KiB."""

    def run(server: Server, seconds: float) -> Measure:
        topic, count = new_topic(server), int(PRODUCED_PER_S[size] * seconds)
        text, used = _tool(
            server, "ProducerPerformance", "--bootstrap-server", address(server), "--topic", topic, "--num-records", count,
            "--record-size", size, "--throughput", -1,
        )  # fmt: skip
        found = re.search(r"records sent, ([\d.]+) records/sec.*?(\d+) ms 50th.*?(\d+) ms 99th", text)
        if found is None:
            raise RunFailed(text[-300:])
        rate, p50, p99 = (float(number) for number in found.groups())
        return Measure(rate, used * 1e6 / count, {"p50_us": p50 * 1000, "p99_us": p99 * 1000})

    return run


class JavaConsume:
    """kafka-consumer-perf-test, a group of one: records a second of the time that it fetched."""

    def __init__(self, size: int) -> None:
        self._consume = Consume(size)

    def __call__(self, server: Server, seconds: float) -> Measure:
        topic, count = self._consume.filled(server, seconds)
        text, used = _tool(
            server, "ConsumerPerformance", "--bootstrap-server", address(server), "--topic", topic, "--num-records", count,
            "--hide-header",
        )  # fmt: skip
        cells = [cell.strip() for cell in text.strip().splitlines()[-1].split(",")]
        if len(cells) != 10:
            raise RunFailed(text[-300:])
        return Measure(float(cells[9]), used * 1e6 / count)


def java_latency(server: Server, seconds: float) -> Measure:
    """kafka.tools.EndToEndLatency: one record of 100 bytes at a time, acks=all; its percentiles are whole milliseconds."""
    count = max(200, int(ROUND_TRIPS_PER_S * seconds))
    text, used = _tool(server, "EndToEndLatency", address(server), new_topic(server), count, "all", 100)
    mean = re.search(r"Avg latency: ([\d.]+) ms", text)
    rest = re.search(r"50th = (\d+), 99th = (\d+)", text)
    if mean is None or rest is None:
        raise RunFailed(text[-300:])
    p50, p99 = (float(number) * 1000 for number in rest.groups())
    return Measure(1000 / float(mean[1]), used * 1e6 / count, {"p50_us": p50, "p99_us": max(p99, 1000.0)})


def ready(server: GatewayProcess | ApacheKafka) -> Measure:
    """From exec until it takes requests, on data that is there from the time before; ``rate``: such starts in a second."""
    with server:
        server.stop()
        server.start()
        return Measure(1 / server.ready_s, 0.0, {"p50_us": server.ready_s * 1e6})


CASES: tuple[tuple[str, Run, str, float, str], ...] = (
    ("Kafka produce 100 B, librdkafka, page cache", produce(100), "os", PRODUCE_GOAL, "rate"),
    ("Kafka produce 100 B, librdkafka, ours fsync before ack", produce(100), "disk", 0.0, "rate"),
    ("Kafka produce 1 KB, librdkafka, page cache", produce(1000), "os", PRODUCE_GOAL, "rate"),
    ("Kafka produce 1 KB, librdkafka, ours fsync before ack", produce(1000), "disk", 0.0, "rate"),
    ("Kafka consume 100 B, librdkafka", Consume(100), "os", CONSUME_GOAL, "rate"),
    ("Kafka consume 1 KB, librdkafka", Consume(1000), "os", CONSUME_GOAL, "rate"),
    ("Kafka end to end 100 B, librdkafka, page cache", latency, "os", LATENCY_GOAL, "p99_us"),
    ("Kafka end to end 100 B, librdkafka, ours fsync before ack", latency, "disk", 0.0, "p99_us"),
    ("Kafka produce 100 B, Kafka's perf tool, page cache", java_produce(100), "os", PRODUCE_GOAL, "rate"),
    ("Kafka produce 1 KB, Kafka's perf tool, page cache", java_produce(1000), "os", PRODUCE_GOAL, "rate"),
    ("Kafka consume 100 B, Kafka's perf tool", JavaConsume(100), "os", CONSUME_GOAL, "rate"),
    ("Kafka consume 1 KB, Kafka's perf tool", JavaConsume(1000), "os", CONSUME_GOAL, "rate"),
    ("Kafka end to end 100 B, Kafka's perf tool, page cache", java_latency, "os", LATENCY_GOAL, "p99_us"),
)
"""Title, run, which of ours (``bench.run.OURS``), goal, and the figure that the goal is of."""
