"""Byte credit of one end of a link, sans-IO: what it may send, and what it owes its peer. The same for every carrier."""

from __future__ import annotations

from transports.api import FRAME_BYTES_MAX, WINDOW_BYTES, LinkError

QUANTUM_BYTES = WINDOW_BYTES // 4
"""Credit is told in pieces of this, so that small frames do not cost a control message each. What is not told yet never
keeps a whole frame from being sent: FRAME_BYTES_MAX + QUANTUM_BYTES <= WINDOW_BYTES."""


class Window:
    """``credit`` bytes may be sent. ``starved``: somebody was refused, or nothing is left, since credit last came."""

    def __init__(self) -> None:
        self.credit = WINDOW_BYTES
        self.starved = False
        self._consumed = 0

    def spend(self, size: int) -> None:
        """A frame of this size is sent.

        Raises:
            LinkError: it is larger than a frame may be, or than the credit.
        """
        if size > FRAME_BYTES_MAX:
            raise LinkError(f"frame of {size} bytes, limit {FRAME_BYTES_MAX}")
        if size > self.credit:
            self.starved = True
            raise LinkError(f"frame of {size} bytes, credit for {self.credit}")
        self.credit -= size
        self.starved = self.starved or self.credit == 0

    def granted(self, size: int) -> bool:
        """The peer consumed this much; whether who was refused should be told.

        Raises:
            ValueError: that is more than was ever sent.
        """
        if self.credit + size > WINDOW_BYTES:
            raise ValueError(f"credit beyond the window of {WINDOW_BYTES} bytes")
        self.credit += size
        told, self.starved = self.starved, False
        return told

    def consume(self, size: int) -> int:
        """Received bytes were consumed; the credit to tell the peer now, or 0."""
        self._consumed += size
        if self._consumed < QUANTUM_BYTES:
            return 0
        owed, self._consumed = self._consumed, 0
        return owed
