"""What a hop costs, and what the transports carry: ``python -m bench.fleet [--json FILE]``.

Two processes over a Unix socket, with the event loop that ``serve`` uses; a client's GET through a gateway of its own
against the same GET in one process; multicast to one and to three followers in this process' own network namespace where
that may be made, else on the loopback; the gap tracker at 20 % loss against none.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conformance.engines import Told, Writer
from conformance.jetstream_stage import JetStreamStage
from conformance.links import Recorder
from conformance.nats_cluster import NatsCluster, NoServer
from conformance.process import GatewayProcess
from substrate.disk.options import Options
from transports import mold
from transports.api import Link, LinkError
from transports.gaps import GapTracker
from transports.multicast import MulticastFanout, MulticastSubscriber
from transports.stream import UnixTransport

ROOT = Path(__file__).resolve().parent.parent
SERVE = (sys.executable, "-m", "thalweg", "serve")
ENVIRONMENT = {"PYTHONPATH": str(ROOT)}
LIMIT_S = 60.0
SESSION = b"BENCH00001"
PACKETS = 60_000
ROUND_TRIPS = 5_000
FRAMES = 16_384
FRAME_BYTES = 65_536
LOG_WARM, LOG_MESSAGES = 2_000, 20_000
FRAMES_IN_FLIGHT = 1_000


class Echo(Recorder):
    """Small frames come back, large ones are counted; an empty one asks how many."""

    def __init__(self) -> None:
        super().__init__(keeps=False)

    def received(self, frame: memoryview) -> None:
        assert self.link is not None
        self.received_bytes += len(frame)
        self.link.grant(len(frame))
        if len(frame) < 1024:
            self.link.send(frame)


async def echo(address: str) -> None:
    """The other process: until its peer closes."""
    handler = Echo()
    listener = await UnixTransport().listen(address, lambda: handler)
    print("ready", flush=True)
    while not handler.reasons:
        await asyncio.sleep(0.01)
    await listener.close()


class Pong(Recorder):
    def __init__(self) -> None:
        super().__init__(keeps=False)
        self.arrived = asyncio.Event()

    def received(self, frame: memoryview) -> None:
        self.arrived.set()
        assert self.link is not None
        self.link.grant(len(frame))

    def granted(self) -> None:
        self.arrived.set()


async def put(link: Link, handler: Pong, frame: bytes) -> None:
    """Send it as soon as there is credit."""
    while True:
        handler.arrived.clear()
        try:
            link.send(frame)
            return
        except LinkError:
            await asyncio.wait_for(handler.arrived.wait(), LIMIT_S)


async def link_figures(address: str) -> dict[str, float]:
    """Microseconds for a small frame there and back, and bytes per second of 64 KiB frames."""
    handler = Pong()
    link = await UnixTransport().connect(address, handler)
    trips = []
    for _ in range(ROUND_TRIPS):
        handler.arrived.clear()
        began = time.perf_counter_ns()
        link.send(b"ping")
        await handler.arrived.wait()
        trips.append((time.perf_counter_ns() - began) / 1000)
    frame = bytes(FRAME_BYTES)
    began = time.perf_counter()
    for _ in range(FRAMES):
        await put(link, handler, frame)
    await put(link, handler, b"done")
    handler.arrived.clear()
    await asyncio.wait_for(handler.arrived.wait(), LIMIT_S)
    gigabytes = FRAMES * FRAME_BYTES / (time.perf_counter() - began) / 1e9
    link.close()
    trips.sort()
    return {"p50_us": trips[len(trips) // 2], "p99_us": trips[len(trips) * 99 // 100], "gb_per_s": gigabytes}


def hop() -> dict[str, float]:
    import uvloop

    with tempfile.TemporaryDirectory() as folder:
        address = f"unix://{folder}/s"
        command = [sys.executable, "-m", "bench.fleet", "--echo", address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as other:
            assert other.stdout is not None
            other.stdout.readline()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(link_figures(address))


def get_p50_us(port: int) -> float:
    """One client's GET, one at a time."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        trips = []
        for _ in range(ROUND_TRIPS):
            began = time.perf_counter_ns()
            client.sendall(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")
            client.recv(64)
            trips.append((time.perf_counter_ns() - began) / 1000)
    return statistics.median(trips)


def through_a_gateway() -> dict[str, float]:
    """GET in one process, and through a gateway process to the sequencer's."""
    found = {}
    flags = ["--kafka", "off", "--nats", "off", "--mqtt", "off", "--http", "off"]
    for name, workers in (("one_process_us", "0"), ("gateway_us", "1")):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**ENVIRONMENT, "THALWEG_WORKERS": workers}
            with GatewayProcess(SERVE, Path(folder), flags=flags, env=environment) as server:
                found[name] = get_p50_us(int(server.resp.split(":")[1]))
    return found | {"hop_us": found["gateway_us"] - found["one_process_us"]}


class Counting:
    def __init__(self) -> None:
        self.count = 0

    def messages(self, start: int, messages: Any) -> None:
        self.count += len(messages)

    def behind(self, next_wanted: int, next_sent: int) -> None: ...
    def ended(self) -> None: ...


async def multicast(followers: int) -> dict[str, float]:
    """Packets a second that the sender hands to the system, with so many followers on the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    handlers = [Counting() for _ in range(followers)]
    subscribers = [MulticastSubscriber("239.77.9.9", port, "127.0.0.1", SESSION, one) for one in handlers]
    fanout = MulticastFanout("239.77.9.9", port, "127.0.0.1", SESSION)
    packets = mold.encode(SESSION, 1, [bytes(mold.MESSAGE_BYTES_MAX)] * 1000)
    sending_s = 0.0
    for _ in range(PACKETS // 1000):
        began = time.perf_counter()
        fanout.send(packets)
        sending_s += time.perf_counter() - began
        await asyncio.sleep(0)
    fanout.close()
    for one in subscribers:
        one.close()
    return {"packets_per_s": PACKETS / sending_s}


def tracker(loss: float) -> float:
    """Messages a second through the gap tracker, with this share of packets lost and repaired; everything is delivered."""
    chance = random.Random(1)
    made = GapTracker(SESSION, 1, 1, chance)
    packets = [mold.encode(SESSION, at, [b"x" * 100] * 10)[0] for at in range(1, 10 * PACKETS // 4, 10)]
    total = len(packets) * 10
    delivered = 0
    now_ns = 0
    began = time.perf_counter()

    def take(packet: bytes, repair: bool) -> None:
        nonlocal delivered
        found = made.packet(packet, now_ns, repair)
        if found is not None:
            delivered += len(found[1])

    for packet in packets:
        now_ns += 10_000
        if chance.random() >= loss:
            take(packet, False)
        for _, request in made.due(now_ns):
            _, start, count = mold.HEADER.unpack(request)
            for at in range((start - 1) // 10, (start + count - 2) // 10 + 1):
                if at < len(packets) and chance.random() >= loss:
                    take(packets[at], True)
    take(mold.heartbeat(SESSION, total + 1), False)
    while delivered < total:
        now_ns += 1_000_000
        for _, request in made.due(now_ns):
            _, start, count = mold.HEADER.unpack(request)
            for at in range((start - 1) // 10, (start + count - 2) // 10 + 1):
                if chance.random() >= loss:
                    take(packets[at], True)
    return total / (time.perf_counter() - began)


def jetstream_engine() -> dict[str, float]:
    """Turns of one message of 4 KiB each to a cluster of three nodes, FRAMES_IN_FLIGHT at once, each reported durable."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            cluster = NatsCluster(Path(folder, "cluster"))
        except NoServer as why:
            print(f"jetstream engine: not measured: {why}")
            return {}
        with cluster:
            stage = JetStreamStage(cluster.url(), str(Path(folder, "data")), Options())
            told = Told()
            engine = stage.make()
            writer = Writer(engine, told, engine.open(told, 0))
            writer.create(1)
            began = 0.0
            for number in range(LOG_WARM + LOG_MESSAGES):
                if number == LOG_WARM:
                    began = time.perf_counter()
                writer.append(writer.part(1, 4096))
                while writer.commit - (told.durables[-1] if told.durables else 0) > FRAMES_IN_FLIGHT:
                    engine.pump(0.1)
                    stage.turns.run()
            stage.settle(engine)
            seconds = time.perf_counter() - began
            engine.close()
    return {"messages_per_s": LOG_MESSAGES / seconds, "mb_per_s": LOG_MESSAGES * 4096 / seconds / 1e6}


def figures() -> dict[str, dict[str, float]]:
    one, three = asyncio.run(multicast(1)), asyncio.run(multicast(3))
    clean, lossy = tracker(0.0), tracker(0.2)
    return {
        "unix link": hop(),
        "GET through a gateway": through_a_gateway(),
        "multicast, 3 followers": {**three, "cost_of_one": one["packets_per_s"] / three["packets_per_s"]},
        "gap tracker, 20 % lost": {"messages_per_s": lossy, "of_lossless": lossy / clean},
        "jetstream engine, 4 KiB": jetstream_engine(),
    }


GOALS: dict[str, tuple[str, Callable[[dict[str, float]], bool]]] = {
    "unix link": ("at most 30 us p50, at least 1 GB/s", lambda f: f["p50_us"] <= 30 and f["gb_per_s"] >= 1),
    "GET through a gateway": ("", lambda f: True),
    "multicast, 3 followers": (
        "at least 300,000 packets/s, at most 1.3 times the cost of one follower",
        lambda f: f["packets_per_s"] >= 300_000 and f["cost_of_one"] <= 1.3,
    ),
    "gap tracker, 20 % lost": ("at least a quarter of the lossless rate", lambda f: f["of_lossless"] >= 0.25),
    "jetstream engine, 4 KiB": ("at least 8,000 messages/s", lambda f: not f or f["messages_per_s"] >= 8_000),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--echo", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--json", metavar="FILE", type=Path)
    options = parser.parse_args()
    if options.echo:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(echo(options.echo))
        return 0
    found = figures()
    for name, values in found.items():
        goal, reached = GOALS[name]
        words = ", ".join(f"{key} {value:,.2f}" for key, value in values.items())
        print(f"{name}: {words}" + (f"  ({goal}: {'reached' if reached(values) else 'NOT reached'})" if goal else ""))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
