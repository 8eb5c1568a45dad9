"""Fan-out by RDMA: each packet is put into one registered buffer and written to every follower's ring from there.

Packets and numbering are those of the multicast session (MoldUDP64). A follower that has given no credit is passed over:
what it missed is a gap, which it has repaired like any other. One that falls behind by the whole buffer is let go; it comes
back by itself and goes on at what it wants.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence

from transports import mold
from transports.api import Frame, SubscriberHandler
from transports.gaps import GapSettings
from transports.rdma import CREDIT, host_port, meet
from transports.subscriber import GapSubscriber
from transports.verbs import NoRdma, QueuePair, Region, Verbs, VerbsError

SLOTS = 1024
SLOT_BYTES = 2048
CREDIT_SLOTS = SLOTS // 4
CONTROLS = 8
AGAIN_S, AGAIN_S_MAX = 0.05, 1.0
"""How long a follower waits before it comes back; doubled each time."""


class RdmaFanout:
    """The sender of one session to whoever connects to ``address`` (``rdma://host:port``). ``await listen()`` first."""

    def __init__(self, verbs: Verbs, address: str, session: bytes, start: int = 1) -> None:
        if len(session) != mold.SESSION_BYTES:
            raise ValueError(f"a session has {mold.SESSION_BYTES} bytes: {session!r}")
        self.session = session
        self.address = address
        self.followers: set[Follower] = set()
        self._verbs = verbs
        self._next = start
        self._packets = 0
        self._region: Region | None = None
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        """
        Raises:
            OSError, NoRdma.
        """
        host, port = host_port(self.address)
        self._region = self._verbs.region(host, SLOTS * SLOT_BYTES)
        self._server = await asyncio.start_server(self._accept, host, port)
        name = self._server.sockets[0].getsockname()
        self.address = f"rdma://{name[0]}:{name[1]}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._region is not None
        with contextlib.suppress(OSError, NoRdma):
            # The follower sends nothing but credit: its writes need no room here.
            pair = await meet(self._verbs, self._region, SLOT_BYTES, SLOTS + CONTROLS, reader, writer)
            follower = Follower(self, pair, writer)
            self.followers.add(follower)
            await reader.read(1)
            follower.close()
        writer.close()

    @property
    def next(self) -> int:
        return self._next

    def publish(self, messages: Sequence[Frame]) -> int:
        """Send now; returns the first one's sequence. A message beyond a packet goes as a stub."""
        first = self._next
        self._next += len(messages)
        self._send(mold.encode(self.session, first, messages))
        return first

    def heartbeat(self) -> None:
        self._send([mold.heartbeat(self.session, self._next)])

    def _send(self, packets: Sequence[bytes]) -> None:
        assert self._region is not None
        for packet in packets:
            for follower in list(self.followers):
                follower.keep_from(self._packets - SLOTS)
            at = self._packets % SLOTS * SLOT_BYTES
            self._region.fill(at, packet)
            for follower in list(self.followers):
                follower.write(self._packets, at, len(packet))
            self._packets += 1

    def close(self) -> None:
        """Say that the session ends; followers that read still get it."""
        if self._server is not None:
            self._server.close()
            self._send([mold.end(self.session, self._next)])
            asyncio.get_running_loop().call_later(AGAIN_S, self._let_go)

    def _let_go(self) -> None:
        for follower in list(self.followers):
            follower.close()
        if self._region is not None:
            self._region.close()


class Follower:
    """One queue pair of the fan-out."""

    def __init__(self, fanout: RdmaFanout, pair: QueuePair, wire: asyncio.StreamWriter) -> None:
        self._fanout = fanout
        self._pair = pair
        self._wire = wire
        self._sent = self._credit = 0
        self._posted: deque[int] = deque()  # packets whose write is on the way
        self._closed = False
        asyncio.get_running_loop().add_reader(pair.fileno(), self._event)
        self._event()

    def keep_from(self, packet: int) -> None:
        """The buffer's place of this packet and of older ones is needed again."""
        if self._posted and self._posted[0] <= packet:
            self._event()
            if self._posted and self._posted[0] <= packet:
                self.close()

    def write(self, packet: int, at: int, size: int) -> None:
        if self._closed or self._sent - self._credit >= SLOTS:
            return
        try:
            self._pair.write(at, size, self._sent % SLOTS * SLOT_BYTES, size)
        except VerbsError:
            self.close()
            return
        self._posted.append(packet)
        self._sent += 1

    def _event(self) -> None:
        while not self._closed:
            completions = self._pair.poll()
            if not completions:
                return
            for completion in completions:
                if completion.kind == "written":
                    self._posted.popleft()
                elif completion.kind == "arrived" and completion.value & CREDIT:
                    self._credit += completion.value & ~CREDIT
                    self._pair.post_receive(1)
                else:
                    self.close()
                    return

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            asyncio.get_running_loop().remove_reader(self._pair.fileno())
            self._fanout.followers.discard(self)
            self._pair.close()
            self._wire.close()


class RdmaSubscriber(GapSubscriber):
    """Follows ``address``; comes back when the connection is lost. Repair is asked of ``repairers`` by unicast."""

    def __init__(
        self,
        verbs: Verbs,
        address: str,
        interface: str,
        session: bytes,
        handler: SubscriberHandler,
        repairers: Sequence[tuple[str, int]] = (),
        wanted: int = 1,
        settings: GapSettings | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(interface, session, handler, repairers, wanted, settings, seed)
        self._verbs = verbs
        self._address = address
        self._interface = interface
        self._pair: QueuePair | None = None
        self._read_slots = self._told = 0
        self._task = self._loop.create_task(self._follow())

    async def _follow(self) -> None:
        pause_s = AGAIN_S
        while not self.tracker.ended:
            with contextlib.suppress(OSError, NoRdma):
                reader, writer = await asyncio.open_connection(*host_port(self._address))
                try:
                    await self._attend(reader, writer)
                    pause_s = AGAIN_S
                finally:
                    writer.close()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, AGAIN_S_MAX)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        region = self._verbs.region(self._interface, SLOT_BYTES)
        try:
            pair = await meet(self._verbs, region, SLOTS * SLOT_BYTES, SLOTS + CONTROLS, reader, writer)
            self._pair, self._read_slots, self._told = pair, 0, 0
            self._loop.add_reader(pair.fileno(), self._event)
            try:
                self._event()
                await reader.read(1)
                self._event()
            finally:
                self._loop.remove_reader(pair.fileno())
                self._pair = None
                pair.close()
        finally:
            region.close()

    def _event(self) -> None:
        now_ns = time.monotonic_ns()
        while self._pair is not None:
            completions = self._pair.poll()
            if not completions:
                break
            try:
                for completion in completions:
                    if completion.kind == "arrived":
                        self._arrived(self._pair, completion.value, now_ns)
            except VerbsError:
                break  # the connection's end follows
        self._after(now_ns)

    def _arrived(self, pair: QueuePair, size: int, now_ns: int) -> None:
        packet = pair.take(self._read_slots % SLOTS * SLOT_BYTES, min(size, SLOT_BYTES))
        self._read_slots += 1
        pair.post_receive(1)
        self._deliver(self.tracker.packet(packet, now_ns))
        if self._read_slots - self._told >= CREDIT_SLOTS:
            pair.write(0, 0, 0, CREDIT | (self._read_slots - self._told))
            self._told = self._read_slots

    def close(self) -> None:
        self._task.cancel()
        super().close()
