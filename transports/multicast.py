"""Fan-out by UDP multicast: ``MulticastFanout`` sends, ``MulticastSubscriber`` receives, ``RepairServer`` answers for losses.

An explicit interface, TTL 1, never IP fragmentation. Many packets leave in one system call where the kernel takes it
(UDP_SEGMENT) and arrive in one (UDP_GRO). The rate is capped so that a burst does not drown the switch.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Sequence

from transports import mold
from transports.api import Frame, Repairer, SubscriberHandler
from transports.gaps import GapSettings
from transports.subscriber import PACKETS_PER_TURN, RECEIVE_BYTES, SOL_UDP, UDP_GRO, GapSubscriber

UDP_SEGMENT = 103
SEGMENTS_MAX = 44
"""Of one send: 64 KiB of packets of 1,400 bytes, and the kernel's limit of 64."""
HEARTBEAT_S = 0.02
REPAIR_PACKETS_MAX = 64
"""For one request; the subscriber asks again for the rest."""


class MulticastFanout:
    """The sender of one session to ``group``:``port`` through the interface that has ``interface`` as its address.

    Raises:
        OSError: there is no such interface.
    """

    def __init__(
        self,
        group: str,
        port: int,
        interface: str,
        session: bytes,
        start: int = 1,
        bytes_per_second: float = 0.0,
        segments: bool = True,
    ) -> None:
        if len(session) != mold.SESSION_BYTES:
            raise ValueError(f"a session has {mold.SESSION_BYTES} bytes: {session!r}")
        self.session = session
        self._next = start
        self._to = (group, port)
        self._rate = bytes_per_second
        self._free_s = 0.0
        self._segments = segments  # many packets in one call; a capture then shows them as one
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 1024 * 1024)
        self._socket.bind((interface, 0))

    @property
    def next(self) -> int:
        return self._next

    def publish(self, messages: Sequence[Frame]) -> int:
        """Send now; returns the first one's sequence. A message beyond a packet goes as a stub."""
        first = self._next
        self.send(mold.encode(self.session, first, messages))
        self._next += len(messages)
        return first

    def send(self, packets: Sequence[bytes]) -> None:
        """Packets of equal size (but the last of a run) leave together."""
        at = 0
        while at < len(packets):
            size = len(packets[at])
            end = at + 1
            while end < len(packets) and end - at < SEGMENTS_MAX and len(packets[end]) <= size:
                end += 1
                if len(packets[end - 1]) < size:
                    break
            self._pace(sum(map(len, packets[at:end])))
            self._send_run(packets[at:end], size)
            at = end

    def _send_run(self, run: Sequence[bytes], size: int) -> None:
        if len(run) > 1 and self._segments:
            try:
                self._socket.sendmsg(run, [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))], 0, self._to)
                return
            except OSError:
                self._segments = False  # an interface or kernel that does not take it
        for packet in run:
            with contextlib.suppress(BlockingIOError):
                self._socket.sendto(packet, self._to)

    def _pace(self, size: int) -> None:
        if self._rate:
            now = time.monotonic()
            self._free_s = max(self._free_s, now - 0.005) + size / self._rate
            if self._free_s > now:
                time.sleep(self._free_s - now)

    def heartbeat(self) -> None:
        self._socket.sendto(mold.heartbeat(self.session, self._next), self._to)

    def close(self) -> None:
        for _ in range(3):
            self._socket.sendto(mold.end(self.session, self._next), self._to)
        self._socket.close()


class RepairServer:
    """Answers requests for lost messages by unicast, from a Repairer (the publisher's log)."""

    def __init__(self, repairer: Repairer, interface: str, port: int = 0) -> None:
        self._repairer = repairer
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 1024 * 1024)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)
        self._socket.bind((interface, port))
        self._socket.setblocking(False)
        self.address: tuple[str, int] = self._socket.getsockname()
        self.requests = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._read)

    def _read(self) -> None:
        for _ in range(PACKETS_PER_TURN):
            try:
                data, source = self._socket.recvfrom(2048)
            except OSError:
                return
            if len(data) != mold.HEADER.size:
                continue
            session, start, count = mold.HEADER.unpack(data)
            if not 0 < count < mold.END:
                continue
            self.requests += 1
            found = self._repairer.fetch(session, start, count)
            for packet in mold.encode(session, start, found)[:REPAIR_PACKETS_MAX]:
                with contextlib.suppress(OSError):
                    self._socket.sendto(packet, source)

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()


class MulticastSubscriber(GapSubscriber):
    """Receives a session from ``group``:``port`` on the interface that has ``interface`` as its address."""

    def __init__(
        self,
        group: str,
        port: int,
        interface: str,
        session: bytes,
        handler: SubscriberHandler,
        repairers: Sequence[tuple[str, int]] = (),
        wanted: int = 1,
        settings: GapSettings | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(interface, session, handler, repairers, wanted, settings, seed)
        self._live = self._open(group, port, interface)
        self._loop.add_reader(self._live.fileno(), self._read, self._live, False)

    def _open(self, group: str, port: int, interface: str) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        with contextlib.suppress(OSError):
            made.setsockopt(SOL_UDP, UDP_GRO, 1)
        made.bind((group, port))
        membership = socket.inet_aton(group) + socket.inet_aton(interface)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        made.setblocking(False)
        return made

    def close(self) -> None:
        self._loop.remove_reader(self._live.fileno())
        self._live.close()
        super().close()
