"""A network in one thread: seeded latency, loss, duplication, reordering, partition and bandwidth. Time is moved by hand.

Links are reliable over it (as TCP is): a partition delays their frames, and closes them when it lasts longer than
``patience_ns``. Packets (fan-out) are lost, doubled and reordered.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from transports.api import WINDOW_BYTES, Accept, Frame, Link, LinkError, LinkHandler
from transports.window import Window

RETRY_NS = 100_000_000


@dataclass
class Weather:
    """What the network does to what crosses it; may be changed at any time."""

    latency_ns: int = 50_000
    jitter_ns: int = 50_000
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    bytes_per_second: float = 0.0
    """0: as fast as may be."""
    patience_ns: int = 10_000_000_000


class SimulatedNetwork:
    """Hosts are names; ``sim://host/service`` is an address. The transport of ``here`` is ``at(here)``."""

    def __init__(self, seed: int = 0) -> None:
        self.chance = random.Random(seed)
        self.weather = Weather()
        self.now_ns = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._services: dict[str, tuple[str, Accept]] = {}
        self._cuts: set[frozenset[str]] = set()
        self._groups: dict[str, list[tuple[str, Callable[[bytes, str], None]]]] = {}

    # time

    @property
    def events(self) -> int:
        """How much there was to do so far."""
        return self._count

    def at_ns(self, when_ns: int, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when_ns, self._count, act))

    def advance(self, span_ns: int) -> None:
        """Let time pass; what arrives by then arrives."""
        until = self.now_ns + span_ns
        while self._events and self._events[0][0] <= until:
            self.now_ns, _, act = heapq.heappop(self._events)
            act()
        self.now_ns = until

    def settle(self, limit_ns: int = 60_000_000_000) -> None:
        """Until nothing is under way, or ``limit_ns`` passed."""
        until = self.now_ns + limit_ns
        while self._events and self._events[0][0] <= until:
            self.now_ns, _, act = heapq.heappop(self._events)
            act()

    # weather

    def partition(self, one: str, other: str) -> None:
        self._cuts.add(frozenset((one, other)))

    def heal(self) -> None:
        self._cuts.clear()

    def is_cut(self, one: str, other: str) -> bool:
        return frozenset((one, other)) in self._cuts

    def delay_ns(self, size: int) -> int:
        weather = self.weather
        wire = int(size / weather.bytes_per_second * 1e9) if weather.bytes_per_second else 0
        return weather.latency_ns + self.chance.randrange(weather.jitter_ns + 1) + wire

    # links

    def at(self, here: str) -> SimulatedTransport:
        return SimulatedTransport(self, here)

    def offer(self, address: str, here: str, accept: Accept) -> None:
        if address in self._services:
            raise OSError(98, f"{address} is taken")
        self._services[address] = (here, accept)

    def withdraw(self, address: str) -> None:
        self._services.pop(address, None)

    def dial(self, address: str, here: str, handler: LinkHandler) -> SimulatedLink:
        there = self._services.get(address)
        if there is None or self.is_cut(here, there[0]):
            raise ConnectionRefusedError(111, f"nobody answers at {address}")
        near, far = SimulatedLink(self, here, there[0], handler), SimulatedLink(self, there[0], here, there[1]())
        near.other, far.other = far, near
        self.at_ns(self.now_ns, far.begin)
        self.at_ns(self.now_ns, near.begin)
        return near

    # packets

    def join(self, group: str, here: str, receive: Callable[[bytes, str], None]) -> None:
        self._groups.setdefault(group, []).append((here, receive))

    def packet(self, here: str, group: str, data: bytes) -> None:
        """One packet to everybody in the group, each with its own luck."""
        for there, receive in self._groups.get(group, ()):
            if there == here or self.is_cut(here, there):
                continue
            copies = 1 + (self.chance.random() < self.weather.duplication)
            for _ in range(copies):
                if self.chance.random() < self.weather.loss:
                    continue
                delay_ns = self.delay_ns(len(data))
                if self.chance.random() < self.weather.reordering:
                    delay_ns += 4 * (self.weather.latency_ns + self.weather.jitter_ns)
                self.at_ns(self.now_ns + delay_ns, lambda receive=receive: receive(data, here))  # type: ignore[misc]


class SimulatedLink:
    """One end. Frames keep their order whatever the delays."""

    def __init__(self, network: SimulatedNetwork, here: str, there: str, handler: LinkHandler) -> None:
        self.peer = f"sim://{there}"
        self.other: SimulatedLink | None = None
        self._network = network
        self._here = here
        self._there = there
        self._handler = handler
        self._window = Window()
        self._allowed = WINDOW_BYTES
        self._closed = False
        self._queue: deque[Callable[[SimulatedLink], None]] = deque()
        self._last_ns = 0
        self._cut_since_ns = -1

    def begin(self) -> None:
        if not self._closed:
            self._handler.opened(self)

    @property
    def credit(self) -> int:
        return 0 if self._closed else self._window.credit

    def send(self, frame: Frame) -> None:
        """See ``transports.api.Link``."""
        if self._closed:
            raise LinkError("closed")
        self._window.spend(len(frame))
        data = bytes(frame)
        self._carry(len(data), lambda far: far.arrive(data))

    def grant(self, size: int) -> None:
        """See ``transports.api.Link``."""
        owed = self._window.consume(size)
        if owed and not self._closed:
            self._allowed += owed
            self._carry(12, lambda far: far.more(owed))

    def close(self, reason: str = "") -> None:
        """See ``transports.api.Link``."""
        if not self._closed:
            self._carry(6, lambda far: far.end(reason))
            self.end(reason)

    def _carry(self, size: int, act: Callable[[SimulatedLink], None]) -> None:
        network = self._network
        self._queue.append(act)
        self._last_ns = max(self._last_ns + 1, network.now_ns + network.delay_ns(size))
        network.at_ns(self._last_ns, self._pump)

    def _pump(self) -> None:
        """Deliver the oldest frame; across a cut it waits, and all behind it, as TCP would."""
        network, far = self._network, self.other
        assert far is not None
        if not network.is_cut(self._here, self._there):
            self._cut_since_ns = -1
            self._queue.popleft()(far)
            return
        if self._cut_since_ns < 0:
            self._cut_since_ns = network.now_ns
        if network.now_ns - self._cut_since_ns > network.weather.patience_ns:
            self.end("the peer does not answer")
            far.end("the peer does not answer")
            return
        network.at_ns(network.now_ns + RETRY_NS, self._pump)

    def arrive(self, data: bytes) -> None:
        if self._closed:
            return
        self._allowed -= len(data)
        assert self._allowed >= 0, "the sender keeps to its credit"
        with memoryview(data) as view:
            self._handler.received(view)

    def more(self, size: int) -> None:
        if self._window.granted(size) and not self._closed:
            self._handler.granted()

    def end(self, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._handler.closed(reason)


class SimulatedListener:
    def __init__(self, network: SimulatedNetwork, address: str) -> None:
        self.address = address
        self._network = network

    async def close(self) -> None:
        self._network.withdraw(self.address)


class SimulatedTransport:
    """One host's end of the network."""

    scheme = "sim"

    def __init__(self, network: SimulatedNetwork, here: str) -> None:
        self._network = network
        self._here = here

    async def listen(self, address: str, accept: Accept) -> SimulatedListener:
        self._network.offer(address, self._here, accept)
        return SimulatedListener(self._network, address)

    async def connect(self, address: str, handler: LinkHandler) -> Link:
        return self._network.dial(address, self._here, handler)
