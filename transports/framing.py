"""Frames and credit over a byte stream, sans-IO. Used by every link whose carrier is a stream (tcp, unix).

Layout: u32 big endian, whose top bit tells the kind, then

    0 | length       length bytes: one frame
    1 | 0            u64: credit granted, in bytes
    1 | 1            close in good order; u16 length and the reason as UTF-8

A peer that sends more than it was granted, or a frame beyond FRAME_BYTES_MAX, broke the rules: FramingError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from transports.api import FRAME_BYTES_MAX, WINDOW_BYTES

_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_U16 = struct.Struct(">H")
CONTROL = 0x8000_0000
CREDIT = CONTROL
CLOSE = CONTROL | 1


class FramingError(Exception):
    """The peer broke the rules of the carrier."""


class Granted:
    """The peer may be sent this much more."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size


class Closing:
    """The peer closes in good order."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


def frame_head(size: int) -> bytes:
    return _U32.pack(size)


def credit(size: int) -> bytes:
    return _U32.pack(CREDIT) + _U64.pack(size)


def close(reason: str) -> bytes:
    text = reason.encode()[:1000]
    return _U32.pack(CLOSE) + _U16.pack(len(text)) + text


class Receiver:
    """Cuts a byte stream into frames and control messages, however it was cut on the way.

    ``allowed`` is what the peer may still send; ``grant`` raises it.
    """

    def __init__(self, window_bytes: int = WINDOW_BYTES) -> None:
        self.allowed = window_bytes
        self._buffer = bytearray()
        self._start = 0

    def grant(self, size: int) -> None:
        self.allowed += size

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[memoryview | Granted | Closing]:
        """What these bytes complete. A frame's memory is valid until the next step.

        Raises:
            FramingError: a frame is too large, more was sent than granted, or a control message is unknown.
        """
        self._buffer += data
        at = self._start
        while len(self._buffer) - at >= 4:
            (head,) = _U32.unpack_from(self._buffer, at)
            if head & CONTROL:
                step = self._control(head, at)
                if step is None:
                    break
                at, message = step
                yield message
                continue
            self._judge(head)
            end = at + 4 + head
            if len(self._buffer) < end:
                break
            self.allowed -= head
            with memoryview(self._buffer) as view, view[at + 4 : end] as frame:
                yield frame
            at = end
        self._start = at
        if at == len(self._buffer) or at > 1 << 16:
            del self._buffer[:at]
            self._start = 0

    def _judge(self, size: int) -> None:
        if size > FRAME_BYTES_MAX:
            raise FramingError(f"frame of {size} bytes, limit {FRAME_BYTES_MAX}")
        if size > self.allowed:
            raise FramingError(f"frame of {size} bytes, credit for {self.allowed}")

    def _control(self, head: int, at: int) -> tuple[int, Granted | Closing] | None:
        if head == CREDIT:
            if len(self._buffer) - at < 12:
                return None
            return at + 12, Granted(_U64.unpack_from(self._buffer, at + 4)[0])
        if head == CLOSE:
            if len(self._buffer) - at < 6:
                return None
            end = at + 6 + _U16.unpack_from(self._buffer, at + 4)[0]
            if len(self._buffer) < end:
                return None
            return end, Closing(self._buffer[at + 6 : end].decode("utf-8", "replace"))
        raise FramingError(f"unknown control message {head:#x}")
