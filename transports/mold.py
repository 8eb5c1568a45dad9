"""MoldUDP64 packets (Nasdaq MoldUDP64 1.00; Wireshark dissects them), sans-IO.

    session  10 bytes         which numbering: a stream and its epoch
    sequence u64              of the first message; in a heartbeat, of the next one
    count    u16              messages; 0: heartbeat; 0xFFFF: the session ends
    count x (length u16, message)

A request for what was lost is a header alone: from ``sequence`` on, ``count`` messages. The first byte of each message of
ours tells whether the record is here (``WHOLE``) or too large for a packet and to be fetched over a link (``STUB`` + u32
length): a packet never exceeds ``PACKET_BYTES_MAX``, so that IP never fragments.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from transports.api import Frame

HEADER = struct.Struct(">10sQH")
HEARTBEAT = 0
END = 0xFFFF
PACKET_BYTES_MAX = 1400
MESSAGE_BYTES_MAX = PACKET_BYTES_MAX - HEADER.size - 3
SESSION_BYTES = 10
WHOLE = b"\0"
STUB = b"\1"
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")


class PacketError(Exception):
    """The packet's lengths do not fit; it is dropped and counted."""


class Packet:
    """A received packet; ``messages`` are slices of its data, each with its kind byte."""

    __slots__ = ("count", "messages", "sequence", "session")

    def __init__(self, session: bytes, sequence: int, count: int, messages: list[memoryview]) -> None:
        self.session = session
        self.sequence = sequence
        self.count = count
        self.messages = messages


def decode(data: bytes | memoryview) -> Packet:
    """Raises: PacketError."""
    view = memoryview(data)
    if len(view) < HEADER.size:
        raise PacketError(f"{len(view)} bytes")
    session, sequence, count = HEADER.unpack_from(view)
    messages: list[memoryview] = []
    if count not in (HEARTBEAT, END):
        at = HEADER.size
        for _ in range(count):
            if at + 2 > len(view):
                raise PacketError("cut short")
            end = at + 2 + _U16.unpack_from(view, at)[0]
            if end > len(view) or end == at + 2:
                raise PacketError("a message does not fit")
            messages.append(view[at + 2 : end])
            at = end
        if at != len(view):
            raise PacketError("bytes behind the last message")
    return Packet(session, sequence, count, messages)


def encode(session: bytes, sequence: int, messages: Sequence[Frame]) -> list[bytes]:
    """The packets for these messages, as few as they fit into."""
    packets: list[bytes] = []
    parts: list[bytes] = []
    size = HEADER.size
    first = sequence
    for index, message in enumerate(messages):
        coded = WHOLE + bytes(message) if len(message) <= MESSAGE_BYTES_MAX else STUB + _U32.pack(len(message))
        if size + 2 + len(coded) > PACKET_BYTES_MAX:
            packets.append(HEADER.pack(session, first, len(parts)) + b"".join(parts))
            parts, size, first = [], HEADER.size, sequence + index
        parts.append(_U16.pack(len(coded)) + coded)
        size += 2 + len(coded)
    if parts:
        packets.append(HEADER.pack(session, first, len(parts)) + b"".join(parts))
    return packets


def heartbeat(session: bytes, next_sequence: int) -> bytes:
    return HEADER.pack(session, next_sequence, HEARTBEAT)


def end(session: bytes, next_sequence: int) -> bytes:
    return HEADER.pack(session, next_sequence, END)


def request(session: bytes, start: int, count: int) -> bytes:
    return HEADER.pack(session, start, min(count, END - 1))
