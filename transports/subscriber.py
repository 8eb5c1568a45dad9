"""The receiving end of a numbered session over any carrier: gaps found, repair asked for by unicast, messages handed up."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections.abc import Sequence

from transports.api import SubscriberHandler
from transports.gaps import Delivery, GapSettings, GapTracker

SOL_UDP, UDP_GRO = 17, 104
RECEIVE_BYTES = 8 * 1024 * 1024
PACKETS_PER_TURN = 256


class GapSubscriber:
    """Hands a session's messages up in order; a carrier gives ``tracker`` its packets and calls ``_after``.

    ``behind(wanted, sent)`` of the handler is called once when repair is not enough; answer it with ``supply``.
    """

    def __init__(
        self,
        interface: str,
        session: bytes,
        handler: SubscriberHandler,
        repairers: Sequence[tuple[str, int]],
        wanted: int,
        settings: GapSettings | None,
        seed: int,
    ) -> None:
        self.tracker = GapTracker(session, wanted, len(repairers), random.Random(seed), settings)
        self._handler = handler
        self._repairers = list(repairers)
        self._asked_behind: tuple[int, int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._ended = False
        self._repair = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._repair.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self._repair.bind((interface, 0))
        self._repair.setblocking(False)
        self._loop.add_reader(self._repair.fileno(), self._read, self._repair, True)

    def _read(self, source: socket.socket, repair: bool) -> None:
        now_ns = time.monotonic_ns()
        for _ in range(PACKETS_PER_TURN):
            try:
                data, ancillary, _, _ = source.recvmsg(65536, socket.CMSG_SPACE(4))
            except OSError:
                break
            for packet in _segments(data, ancillary):
                self._deliver(self.tracker.packet(packet, now_ns, repair))
        self._after(now_ns)

    def supply(self, start: int, messages: list[bytes]) -> None:
        """What a catch-up link brought."""
        self._asked_behind = None
        self._deliver(self.tracker.supply(start, messages))
        self._after(time.monotonic_ns())

    def _deliver(self, found: Delivery | None) -> None:
        if found is not None:
            self._handler.messages(found[0], [memoryview(message) for message in found[1]])

    def _after(self, now_ns: int) -> None:
        """Ask for what is missing, now or when it is due."""
        for which, packet in self.tracker.due(now_ns):
            with contextlib.suppress(OSError):
                self._repair.sendto(packet, self._repairers[which])
        behind = self.tracker.behind()
        if behind is not None and self._asked_behind is None:
            self._asked_behind = behind
            self._handler.behind(*behind)
        if self.tracker.ended and self.tracker.wanted >= self.tracker.sent and not self._ended:
            self._ended = True
            self._handler.ended()
        if self._timer is None and self.tracker.deadline_ns:
            wait_s = max(self.tracker.deadline_ns - now_ns, 500_000) / 1e9
            self._timer = self._loop.call_later(wait_s, self._timed)

    def _timed(self) -> None:
        self._timer = None
        self._after(time.monotonic_ns())

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._repair.fileno())
        self._repair.close()


def _segments(data: bytes, ancillary: Sequence[tuple[int, int, bytes]]) -> Sequence[bytes | memoryview]:
    """The packets that the kernel joined into one read."""
    for level, kind, value in ancillary:
        if level == SOL_UDP and kind == UDP_GRO:
            size = struct.unpack("=i", value[:4])[0] if len(value) >= 4 else struct.unpack("=H", value[:2])[0]
            if 0 < size < len(data):
                view = memoryview(data)
                return [view[at : at + size] for at in range(0, len(data), size)]
    return (data,)
