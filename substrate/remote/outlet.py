"""Frames towards one link, when it has no credit for them: kept in order, bounded by the link's window."""

from __future__ import annotations

from collections import deque

from transports.api import WINDOW_BYTES, Link, LinkError


class Outlet:
    """``waiting_bytes`` are owed; whoever adds to them looks at ``full`` first."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.waiting_bytes = 0
        self._waiting: deque[bytearray] = deque()

    @property
    def full(self) -> bool:
        return self.waiting_bytes >= WINDOW_BYTES

    def send(self, frame: bytearray) -> None:
        self._waiting.append(frame)
        self.waiting_bytes += len(frame)
        self.drain()

    def drain(self) -> None:
        """Send what there is credit for; the link tells when there is more."""
        while self._waiting and self.link is not None:
            try:
                self.link.send(self._waiting[0])
            except LinkError:
                return
            self.waiting_bytes -= len(self._waiting.popleft())

    def shut(self) -> None:
        self.link = None
        self._waiting.clear()
        self.waiting_bytes = 0
