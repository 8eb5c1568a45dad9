"""Two ends of a multicast session as processes, for network namespaces where packets are lost on the way.

    python -m conformance.multicast_trial send    --interface A --group G --port P --count N --size S --subscribers K
    python -m conformance.multicast_trial receive --interface A --group G --port P --count N --size S --repair HOST:PORT

The sender waits until K subscribers said hello, sends N numbered messages, answers repairs until each subscriber said
done, and prints one JSON line. A receiver checks every message and prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import time
from collections.abc import Sequence

from transports import mold
from transports.api import Frame
from transports.gaps import GapSettings
from transports.multicast import MulticastFanout, MulticastSubscriber, RepairServer

SESSION = b"TRIAL00001"
LIMIT_S = 60.0
PER_TURN = 64


def message(index: int, size: int) -> bytes:
    return index.to_bytes(8, "big") + bytes((index % 251,)) * (size - 8)


class Log:
    def __init__(self, count: int, size: int) -> None:
        self._count = count
        self._size = size

    def fetch(self, session: bytes, start: int, count: int) -> Sequence[Frame]:
        last = min(start + count, self._count + 1)
        return [message(index, self._size) for index in range(start, last)] if session == SESSION else []


class Receiver:
    def __init__(self, size: int) -> None:
        self.next = 1
        self.wrong = 0
        self._size = size
        self.first_s = 0.0
        self.last_s = 0.0

    def messages(self, start: int, messages: Sequence[memoryview]) -> None:
        self.wrong += start != self.next
        for found in messages:
            self.wrong += found != message(self.next, self._size)
            self.next += 1
        self.last_s = time.perf_counter()
        self.first_s = self.first_s or self.last_s

    def behind(self, next_wanted: int, next_sent: int) -> None:
        print(f"behind {next_wanted} {next_sent}", file=sys.stderr)

    def ended(self) -> None:
        pass


async def send(options: argparse.Namespace) -> None:
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    control.bind((options.interface, options.port + 1))
    control.setblocking(False)
    said: dict[str, set[str]] = {"hello": set(), "done": set()}

    def hear() -> None:
        try:
            data, source = control.recvfrom(64)
        except OSError:
            return
        said.setdefault(data.decode("ascii", "replace"), set()).add(source[0])

    asyncio.get_running_loop().add_reader(control.fileno(), hear)
    repair = RepairServer(Log(options.count, options.size), options.interface, options.port + 2)
    fanout = MulticastFanout(
        options.group, options.port, options.interface, SESSION, 1, options.rate, options.segments == 1
    )
    async with asyncio.timeout(LIMIT_S):
        while len(said["hello"]) < options.subscribers:
            await asyncio.sleep(0.01)
        began = time.perf_counter()
        cpu = time.process_time()
        per_turn = PER_TURN * max(1, mold.MESSAGE_BYTES_MAX // (options.size + 3))
        for start in range(1, options.count + 1, per_turn):
            end = min(start + per_turn, options.count + 1)
            fanout.publish([message(index, options.size) for index in range(start, end)])
            await asyncio.sleep(0)
        sent_s = time.perf_counter() - began
        cpu = time.process_time() - cpu
        while len(said["done"]) < options.subscribers:
            fanout.heartbeat()
            await asyncio.sleep(0.01)
    print(json.dumps({"sent": options.count, "seconds": sent_s, "cpu_s": cpu, "repair_requests": repair.requests}))


async def receive(options: argparse.Namespace) -> None:
    host, port = options.repair.rsplit(":", 1)
    handler = Receiver(options.size)
    subscriber = MulticastSubscriber(
        options.group, options.port, options.interface, SESSION, handler, [(host, int(port))],
        settings=GapSettings(tries_max=100), seed=options.seed,
    )  # fmt: skip
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    async with asyncio.timeout(LIMIT_S):
        while handler.next <= options.count:
            if handler.next == 1:
                control.sendto(b"hello", (host, int(port) - 1))
            await asyncio.sleep(0.01)
    for _ in range(20):  # it may be lost too
        control.sendto(b"done", (host, int(port) - 1))
        await asyncio.sleep(0.01)
    seconds = handler.last_s - handler.first_s
    print(
        json.dumps(
            {"delivered": handler.next - 1, "wrong": handler.wrong, "seconds": seconds, **subscriber.tracker.counters}
        )
    )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="one end of a multicast session")
    parser.add_argument("role", choices=("send", "receive"))
    parser.add_argument("--interface", required=True)
    parser.add_argument("--group", default="239.77.7.7")
    parser.add_argument("--port", type=int, default=19700)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--subscribers", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0, help="bytes a second, 0: no cap")
    parser.add_argument("--segments", type=int, default=1, help="0: one system call for each packet")
    parser.add_argument("--repair", default="")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    asyncio.run(send(options) if options.role == "send" else receive(options))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
