"""``make bench``: Thalweg beside nats-server, redis-server and mosquitto, driven by the same generators, as ratios.

Both sides run at the same time on the loopback of this machine and are measured in turn (ours, theirs, ours, ...), three
times each; the table gives medians. The durability is the same on both sides of a row and named in it. The physical
limits are measured in the same run. docs/benchmarks.md says what each row means.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from bench import kafka, measures, peers
from bench.footprint import measure_footprint
from bench.measures import Measure, Run, RunFailed, Server
from bench.peers import Peer
from conformance.process import GatewayProcess

SERVE = (sys.executable, "-m", "thalweg", "serve")
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
KEPT = "kept"
"""A topic of ours: what MQTT clients publish beneath it is stored."""
OURS = {
    "disk": (None, {}),  # as installed: fsync before an acknowledgement, appendfsync everysec
    "os": (None, {"THALWEG_DURABILITY__DEFAULT": "os"}),  # acknowledged from the page cache
    "memory": (":memory:", {}),
}
"""Our processes by name: data (None: a directory) and configuration."""
PEERS: tuple[tuple[str, str, Callable[[Path], Peer | kafka.Peer | None]], ...] = (
    ("nats", "nats", partial(peers.nats, sync_always=False)),
    ("nats-sync", "nats", partial(peers.nats, sync_always=True)),
    ("redis", "resp", partial(peers.redis, appendfsync=None)),
    ("redis-aof", "resp", partial(peers.redis, appendfsync="everysec")),
    ("mosquitto", "mqtt", peers.mosquitto),
    ("kafka", "kafka", kafka.peer),
)
"""Theirs: name, protocol, what starts one in a folder."""
RAW_TITLE = "Kafka produce 256 KiB batches, page cache, to raw append"


@dataclass(frozen=True)
class Case:
    """One row: the same run against ours and theirs."""

    group: str
    title: str
    run: Run
    ours: str
    """Which of our processes, a key of ``OURS``."""
    peer: str
    """Which peer, a name in ``PEERS``."""
    goal: float = 0.0
    """Ratio of the rates, ours to theirs (of another figure: theirs to ours); 0: no goal set."""
    by: str = "rate"
    """The figure that the ratio is of."""


@dataclass
class Row:
    group: str
    title: str
    unit: str
    goal: float
    ours: list[Measure] = field(default_factory=list)
    peer: list[Measure] = field(default_factory=list)
    failed: str = ""
    peer_name: str = ""
    by: str = "rate"

    @property
    def ratio(self) -> float | None:
        if not self.ours or not self.peer:
            return None
        if self.by != "rate":
            return median(self.peer, self.by) / median(self.ours, self.by)
        return median(self.ours, "rate") / median(self.peer, "rate")

    @property
    def verdict(self) -> str:
        if self.failed:
            return self.failed.splitlines()[0][:60]
        if not self.goal:
            return ""
        if self.ratio is None:
            return f"goal {self.goal:g}x: not measured"
        return f"goal {self.goal:g}x: {'reached' if self.ratio >= self.goal else 'not reached'}"


def median(of: Sequence[Measure], name: str) -> float:
    return statistics.median(getattr(m, name) if name in ("rate", "cpu_us") else m.more.get(name, 0.0) for m in of)


def cases() -> Iterator[Case]:
    """Every row whose two sides are servers, in the order of the table."""
    for size in (16, 128):
        for subscribers, goal in ((1, 3.0), (10, 3.0), (0, 0.0)):
            title = f"NATS core {size} B to {subscribers} subscriber{'s' * (subscribers != 1)}"
            yield Case("nats", title, measures.nats_publish(size, subscribers), "disk", "nats", goal)
    yield Case("nats", "NATS core 16 B to 1, 1,000 subjects", measures.nats_publish(16, 1, 1000), "disk", "nats")
    yield Case("nats", "NATS round trip 16 B", measures.nats_round_trip, "disk", "nats")
    yield Case(
        "nats", "JetStream 128 B, fsync before ack", measures.jetstream_publish(128, 1024), "disk", "nats-sync", 3
    )
    yield Case("nats", "JetStream 128 B, page cache", measures.jetstream_publish(128, 1024), "os", "nats", 3)
    yield Case(
        "nats", "JetStream 128 B, page cache, own inboxes", measures.jetstream_publish(128, 1024, True), "os", "nats", 3
    )
    for pipeline, goal in ((1, 0.9), (16, 1.0), (64, 1.3)):
        for command in ("set", "get", "incr"):
            run = measures.resp_command(command, pipeline)
            title = f"Redis {command.upper()} pipeline {pipeline}"
            yield Case("resp", f"{title}, in memory", run, "memory", "redis", goal)
            yield Case("resp", f"{title}, everysec", run, "disk", "redis-aof", goal)
    for command in ("lpush", "hset", "zadd", "mset", "xadd stream:bench * field value"):
        run = measures.resp_command(command, 16)
        title = f"Redis {command.split()[0].upper()} pipeline 16"
        yield Case("resp", f"{title}, in memory", run, "memory", "redis", 1.0)
        yield Case("resp", f"{title}, everysec", run, "disk", "redis-aof", 1.0)
    yield Case("mqtt", "MQTT QoS 0 64 B 1:1", measures.mqtt_publish(0, 1, 20_000), "disk", "mosquitto", 5.0)
    yield Case("mqtt", "MQTT QoS 0 64 B 1:10", measures.mqtt_publish(0, 10, 20_000), "disk", "mosquitto", 10.0)
    one_to_one, kept = measures.mqtt_publish(1, 1, 100, 1), measures.mqtt_publish(1, 1, 100, 1, f"{KEPT}/a/b")
    yield Case("mqtt", "MQTT QoS 1 64 B 1:1, window 100", one_to_one, "disk", "mosquitto", 5.0)
    yield Case("mqtt", "the same, ours in a topic and fsynced before PUBACK", kept, "disk", "mosquitto", 5.0)
    eight = measures.mqtt_publish(1, 1, 100, 1, f"{KEPT}/a/b", 8)
    yield Case("mqtt", "the same from 8 publishers, each with a window of 100", eight, "disk", "mosquitto", 5.0)
    yield Case(
        "mqtt", "MQTT QoS 1 64 B 1:50, window 100", measures.mqtt_publish(1, 50, 100, 1), "disk", "mosquitto", 1.0
    )

    for title, run, ours, goal, by in kafka.CASES:
        yield Case("kafka", title, run, ours, "kafka", goal, by)


def run_ready(folder: Path, repetitions: int) -> Row:
    """Starts of ours and theirs, with data in their folders, in turn."""
    row = Row("kafka", "Kafka ready after a start", "starts/s", kafka.READY_GOAL, peer_name="kafka")
    gateway = GatewayProcess(SERVE, folder / "ready-ours", env=ENVIRONMENT)
    theirs = kafka.peer(folder / "ready-theirs")
    for _ in range(repetitions):
        row.ours.append(kafka.ready(gateway))
        if theirs is not None:
            row.peer.append(kafka.ready(theirs))
    return row


def start_servers(stack: ExitStack, folder: Path, groups: set[str]) -> tuple[dict[str, Server], dict[str, str]]:
    """The servers that the chosen groups need, by name, and everybody's version."""
    servers: dict[str, Server] = {}
    versions: dict[str, str] = {}
    for name, (data, settings) in OURS.items():
        gateway = GatewayProcess(SERVE, folder / f"ours-{name}", data, env={**ENVIRONMENT, **settings})
        stack.enter_context(gateway)
        ports = {protocol: gateway.port(protocol) for protocol in ("kafka", "nats", "mqtt", "resp")}
        servers[name] = Server("thalweg", gateway.pid, ports)
    for name, group, start in PEERS:
        if group in groups and (peer := start(folder / name)) is not None:
            stack.enter_context(peer)
            servers[name] = Server(peer.name, peer.pid, {group: peer.port})
            versions[peer.name] = peer.version
    if "mqtt" in groups:
        create_kafka_topic(servers["disk"], KEPT)
    return servers, versions


def run_case(case: Case, servers: dict[str, Server], repetitions: int, seconds: float) -> Row:
    """Ours and theirs in turn. A run that fails ends the row with what it said; the others go on."""
    row = Row(case.group, case.title, "op/s", case.goal, peer_name=case.peer, by=case.by)
    sides = [(servers[case.ours], row.ours)]
    if case.peer in servers:
        sides.append((servers[case.peer], row.peer))
    try:
        for server, _ in sides:
            case.run(server, min(seconds, 0.3))  # warm both: caches, memory, the peer's own growth
        for _ in range(repetitions):
            for server, into in sides:
                into.append(case.run(server, seconds))
    except RunFailed as failure:
        row.failed = f"failed: {failure}"
    return row


def run_kafka(server: Server, folder: Path, repetitions: int, megabytes: int) -> list[Row]:
    """Produce against the raw append, fetch against sendfile, of the same machine in the same minute."""
    produce = Row("kafka", RAW_TITLE, "MB/s", 0.7, peer_name="limits")
    fetch = Row("kafka", "Kafka fetch of the same, to sendfile", "MB/s", 0.0, peer_name="limits")
    try:
        for repetition in range(repetitions + 1):  # the first warms
            topic = f"bench-{repetition}"
            create_kafka_topic(server, topic)
            done = measures.kafka_produce(server, topic, megabytes)
            raw = measures.limits(folder, megabytes, "append_256k")["append_256k"]["bytes_per_s"]
            got = measures.kafka_fetch(server, topic, megabytes)
            sent = measures.limits(folder, megabytes, "sendfile_1m")["sendfile_1m"]["bytes_per_s"]
            if repetition:
                for row, measure, limit in ((produce, done, raw), (fetch, got, sent)):
                    row.ours.append(Measure(measure.rate / 1e6, measure.cpu_us))
                    row.peer.append(Measure(limit / 1e6, 0.0))
    except RunFailed as failure:
        produce.failed = f"failed: {failure}"
    return [produce, fetch]


def create_kafka_topic(server: Server, name: str) -> None:
    """A topic of one partition."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{server.ports['kafka']}", "log_level": 0})
    try:
        admin.create_topics([NewTopic(name, 1, 1)])[name].result(10)
    except Exception as error:  # noqa: BLE001 - the client raises its own type, and what it says is the figure's failure
        raise RunFailed(f"create topic: {error}") from None


# what is printed


def format_rate(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def print_rows(rows: Sequence[Row]) -> None:
    width = max((len(row.title) for row in rows), default=10)
    print(
        f"{'':{width}}  {'ours':>12} {'theirs':>12} {'ratio':>7}  {'CPU us/op':>17} {'less':>6}  {'p50 us':>13}  {'p99 us':>15}"
    )
    for row in rows:
        ours = format_rate(median(row.ours, "rate")) if row.ours else "-"
        peer = format_rate(median(row.peer, "rate")) if row.peer else "-"
        ratio = f"{row.ratio:.2f}x" if row.ratio is not None else "-"
        print(
            f"{row.title:{width}}  {ours:>12} {peer:>12} {ratio:>7}  {pair(row, 'cpu_us', '.3f'):>17} {saved(row):>6}  "
            f"{pair(row, 'p50_us', '.0f'):>13}  {pair(row, 'p99_us', '.0f'):>15}  {row.verdict}"
        )


def saved(row: Row) -> str:
    """How many times less CPU an operation costs our process than theirs."""
    ours, theirs = (median(side, "cpu_us") if side else 0.0 for side in (row.ours, row.peer))
    return f"{theirs / ours:.1f}x" if ours and theirs else ""


def pair(row: Row, name: str, spec: str) -> str:
    """``ours / theirs`` of one figure; empty where nobody has it."""
    values = [median(side, name) if side else 0.0 for side in (row.ours, row.peer)]
    return " / ".join(f"{value:{spec}}" if value else "-" for value in values) if any(values) else ""


def print_limits(limits: dict[str, dict[str, float]]) -> None:
    print("Physical limits of this machine, in this run:")
    for name, figure in limits.items():
        if "bytes_per_s" in figure:
            print(f"  {name:18} {figure['bytes_per_s'] / 1e9:.2f} GB/s")
        else:
            print(f"  {name:18} p50 {figure['p50_us']:.0f} us, p99 {figure['p99_us']:.0f} us")


def describe_machine() -> dict[str, object]:
    with open("/proc/cpuinfo") as info:
        models = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    spec = importlib.util.find_spec("protocols.outbox")
    compiled = bool(spec and spec.origin and not spec.origin.endswith(".py")) and os.environ.get("THALWEG_PURE") != "1"
    return {
        "processors": os.cpu_count(),
        "model": models[0] if models else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "kernels": "compiled" if compiled else "uncompiled",
        "load": round(os.getloadavg()[0], 2),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    groups = ("nats", "resp", "mqtt", "kafka", "footprint", "limits")
    parser.add_argument("--quick", action="store_true", help="one short run of each instead of three: under 3 minutes")
    parser.add_argument("--only", default=",".join(groups), help=f"of {','.join(groups)}")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    parser.add_argument("--match", default="", help="only rows whose title holds this text")
    options = parser.parse_args(arguments)
    chosen = set(options.only.split(","))
    if unknown := chosen - set(groups):
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    began = time.monotonic()
    subprocess.run(["make", "-s", "-C", str(Path(__file__).parent)], check=True)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    seconds, repetitions, megabytes = (0.6, 1, 256) if options.quick else (2.0, 3, 1024)

    folder = Path(tempfile.mkdtemp(prefix="thalweg-bench-"))
    rows: list[Row] = []
    figures: dict[str, dict[str, float]] = {}
    footprint: dict[str, float] = {}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        machine = describe_machine()
        print(", ".join(f"{key} {value}" for key, value in machine.items()))
        if "limits" in chosen:
            figures = measures.limits(folder, megabytes)
            print_limits(figures)
        if "footprint" in chosen:
            footprint = measure_footprint(SERVE, folder / "footprint", 500 if options.quick else 2000, ENVIRONMENT)
        servers: dict[str, Server] = {}
        versions: dict[str, str] = {}
        if chosen & {"nats", "resp", "mqtt", "kafka"}:
            servers, versions = start_servers(stack, folder, chosen)
            print("beside " + (", ".join(f"{name} {version}" for name, version in versions.items()) or "nobody"))
        for case in cases():
            if case.group in chosen and options.match in case.title:
                progress(f"{case.title} ...")
                rows.append(run_case(case, servers, repetitions, seconds))
        if "kafka" in chosen:
            progress("Kafka ...")
            if options.match in RAW_TITLE:
                rows += run_kafka(servers["os"], folder, repetitions, megabytes // 2)
            if options.match in "Kafka ready after a start":
                rows.append(run_ready(folder, repetitions))
        progress("")
    print_rows(rows)
    for name, value in footprint.items():
        print(f"{name:50} {value:,.1f}")
    print(
        f"{'quick: one short run each' if options.quick else 'three runs each, medians'}; {time.monotonic() - began:.0f} s in all"
    )
    if options.json:
        report = {
            "machine": machine,
            "versions": versions,
            "limits": figures,
            "footprint": footprint,
            "quick": options.quick,
            "rows": [{**asdict(row), "ratio": row.ratio, "verdict": row.verdict} for row in rows],
        }
        options.json.write_text(json.dumps(report, indent=1))
    return 1 if any(row.failed for row in rows) else 0


def progress(text: str) -> None:
    """A line that the next one overwrites; nothing where the output is not a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text:70}", end="" if text else "\r", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
