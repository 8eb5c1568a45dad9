"""One measurement of one server: what is run against it, and what comes out.

A ``Server`` is a pid and ports; nothing here knows whose it is. Each function is one case's run; all take the server and
how long (seconds) or how much, and give a ``Measure``.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from conformance.meters import cpu_s

BUILD = Path(__file__).with_name("build")
RUN_S_MAX = 90
AHEAD = 100_000
"""Messages published but not yet at the slowest subscriber: below what any of the servers calls a slow consumer."""


class RunFailed(Exception):
    """The generator or the server did not get through; the message is what it said."""


@dataclass(frozen=True)
class Server:
    """What is measured. ``ports`` by protocol."""

    name: str
    pid: int
    ports: dict[str, int]


@dataclass(frozen=True)
class Measure:
    """``rate`` in the case's unit per second; ``cpu_us`` of the server per operation; ``p50_us``, ``p99_us`` where timed."""

    rate: float
    cpu_us: float
    more: dict[str, float] = field(default_factory=dict)


Run = Callable[[Server, float], Measure]


def run_generator(program: str, *arguments: object) -> dict[str, float]:
    """The one JSON line that a generator of ours prints.

    Raises:
        RunFailed: it ended with an error, or not everything it sent arrived.
    """
    command = [str(BUILD / program), *(str(argument) for argument in arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=RUN_S_MAX)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{program} did not end within {RUN_S_MAX} s") from None
    if done.returncode:
        raise RunFailed(done.stderr.strip() or f"{program} ended with {done.returncode}")
    result: dict[str, float] = json.loads(done.stdout)
    if not result["complete"]:
        raise RunFailed(f"not complete: {done.stdout.strip()}")
    return result


def to_measure(result: dict[str, float]) -> Measure:
    return Measure(result["rate"], result["cpu_us"], {k: v for k, v in result.items() if k in ("p50_us", "p99_us")})


def nats_publish(size: int, subscribers: int, subjects: int = 1) -> Run:
    """Core NATS: one publisher as fast as it can, every message to every subscriber."""

    def run(server: Server, seconds: float) -> Measure:
        return to_measure(
            run_generator(
                "natsgen", "-p", server.ports["nats"], "-C", server.pid, "-m", "pub", "-s", size, "-t", seconds,
                "-S", subscribers, "-K", subjects, "-w", AHEAD,
            )
        )  # fmt: skip

    return run


def nats_round_trip(server: Server, seconds: float) -> Measure:
    """One message at a time from one connection to another."""
    return to_measure(
        run_generator("natsgen", "-p", server.ports["nats"], "-C", server.pid, "-m", "rtt", "-s", 16, "-t", seconds)
    )


def jetstream_publish(size: int, window: int, own_inboxes: bool = False) -> Run:
    """JetStream, file storage: publishes with at most ``window`` not yet acknowledged.

    ``own_inboxes``: each has a reply subject of its own, as clients that wait for each acknowledgement have.
    """

    def run(server: Server, seconds: float) -> Measure:
        config: dict[str, object] = {
            "name": "BENCH", "subjects": ["js.>"], "storage": "file", "retention": "limits", "max_consumers": -1,
            "max_msgs": -1, "max_bytes": -1, "num_replicas": 1, "discard": "old",
        }  # fmt: skip
        return to_measure(
            run_generator(
                "natsgen", "-p", server.ports["nats"], "-C", server.pid, "-m", "js", "-s", size, "-t", seconds,
                "-w", window, "-J", json.dumps(config), "-i", int(own_inboxes),
            )
        )  # fmt: skip

    return run


def resp_command(command: str, pipeline: int) -> Run:
    """redis-benchmark: 50 connections, values of 64 bytes, 10,000 keys. A command of several words is sent as it is."""
    per_second = {1: 80_000, 16: 600_000, 64: 1_000_000}[pipeline]
    if command in ("mset", "zadd") or " " in command:
        per_second //= 3
    words = command.split()

    def run(server: Server, seconds: float) -> Measure:
        count = int(per_second * seconds)
        arguments = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(server.ports["resp"]), "-c", "50"]
        arguments += ["-P", str(pipeline), "-d", "64", "-r", "10000", "-n", str(count), "--csv"]
        arguments += ["-t", command] if len(words) == 1 else words
        before = cpu_s(server.pid)
        try:
            done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=RUN_S_MAX)
        except subprocess.TimeoutExpired:
            raise RunFailed(f"redis-benchmark did not end within {RUN_S_MAX} s") from None
        used = cpu_s(server.pid) - before
        lines = [line for line in done.stdout.splitlines() if line.upper().startswith(f'"{words[0].upper()}')]
        if done.returncode or not lines:
            raise RunFailed((done.stderr or done.stdout).strip()[-300:])
        cells = lines[-1].replace('"', "").split(",")
        return Measure(
            float(cells[1]), used * 1e6 / count, {"p50_us": float(cells[4]) * 1e3, "p99_us": float(cells[6]) * 1e3}
        )

    return run


def mqtt_publish(
    qos: int, subscribers: int, window: int, subscribed_qos: int = 0, topic: str = "bench/a/b", publishers: int = 1
) -> Run:
    """MQTT 3.1.1, 64 bytes; at QoS 1 at most ``window`` of each publisher not yet acknowledged, at QoS 0 not yet delivered."""

    def run(server: Server, seconds: float) -> Measure:
        return to_measure(
            run_generator(
                "mqttgen", "-p", server.ports["mqtt"], "-C", server.pid, "-q", qos, "-Q", subscribed_qos, "-s", 64,
                "-t", seconds, "-S", subscribers, "-P", publishers, "-w", window, "-T", topic,
            )
        )  # fmt: skip

    return run


def kafka_produce(server: Server, topic: str, megabytes: int, batch_bytes: int = 262_144) -> Measure:
    """Produce of batches of 256 KiB (records of 100 bytes), four requests pipelined; rate in bytes."""
    result = run_generator(
        "kafkagen", "-p", server.ports["kafka"], "-C", server.pid, "-m", "produce", "-T", topic, "-b", batch_bytes,
        "-n", (megabytes << 20) // batch_bytes,
    )  # fmt: skip
    return Measure(result["bytes_per_s"], result["cpu_us"])


def kafka_fetch(server: Server, topic: str, megabytes: int) -> Measure:
    """Fetch from the first offset in answers of at most 1 MiB; rate in bytes."""
    result = run_generator(
        "kafkagen",
        "-p",
        server.ports["kafka"],
        "-C",
        server.pid,
        "-m",
        "fetch",
        "-T",
        topic,
        "-b",
        1 << 20,
        "-n",
        megabytes,
    )
    return Measure(result["bytes_per_s"], result["cpu_us"])


def limits(folder: Path, megabytes: int, *figures: str) -> dict[str, dict[str, float]]:
    """Physical limits of this machine by name (``bench/limits.c``)."""
    command = [str(BUILD / "limits"), str(folder), str(megabytes), *figures]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=RUN_S_MAX)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line.pop("figure"): line for line in lines}
