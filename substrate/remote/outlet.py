"""Frames towards one link, when it has no credit for them: kept in order, bounded by the link's window."""

from __future__ import annotations

from collections import deque

from transports.api import WINDOW_BYTES, Link


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
        """Send what there is credit for."""
        link = self.link
        while self._waiting and link is not None and len(self._waiting[0]) <= link.credit:
            frame = self._waiting.popleft()
            self.waiting_bytes -= len(frame)
            link.send(frame)

    def shut(self) -> None:
        self.link = None
        self._waiting.clear()
        self.waiting_bytes = 0
