"""What the engine reads of a batch: its header. Records stay closed.

The chain value of a stream is a hash over the 61-byte headers of its batches, each of which holds its payload's CRC:
``chain = BLAKE2b-128(chain before + header)``, from sixteen zero bytes on.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import NamedTuple

from crc32c import crc32c

HEADER_BYTES = 61
PLACE = struct.Struct(">qiiBI2xi8xq")
"""Base offset, length (of what follows it), leader epoch, magic, CRC, last offset delta, max timestamp."""
CHUNK_BYTES = 64 * 1024


class Rotten(Exception):
    """What is stored at ``position`` is not what was written there."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"position {position}: {reason}")
        self.position = position
        self.reason = reason


class Head(NamedTuple):
    base: int
    end: int
    offset: int
    size: int
    epoch: int
    checksum: int
    max_timestamp_ms: int


def chain_of(before: bytes, header: bytes | memoryview) -> bytes:
    """The chain value after a batch with these 61 bytes."""
    return blake2b(before + header, digest_size=16).digest()


def head_at(data: bytes | memoryview, at: int, offset: int, position: int, limit: int) -> Head:
    """The header at ``data[at]``, which lies at ``offset`` of its segment and must begin at ``position``; the segment
    ends at ``limit``.

    Raises:
        Rotten: it does not fit.
    """
    base, length, epoch, magic, checksum, delta, max_timestamp_ms = PLACE.unpack_from(data, at)
    if magic != 2 or base != position:
        raise Rotten(position, f"offset {offset} holds magic {magic}, base {base}")
    if length + 12 < HEADER_BYTES or offset + length + 12 > limit or delta < 0:
        raise Rotten(position, f"length {length + 12} at offset {offset}, the segment has {limit} bytes")
    return Head(base, base + delta + 1, offset, length + 12, epoch, checksum, max_timestamp_ms)


def check(data: memoryview, head: Head) -> None:
    """``data`` is the whole batch.

    Raises:
        Rotten: its CRC does not fit.
    """
    if crc32c(data[21:]) != head.checksum:
        raise Rotten(head.base, f"CRC at offset {head.offset}")


def walk(read: Callable[[int, int], bytes], offset: int, position: int, limit: int) -> Iterator[tuple[Head, bytes]]:
    """Hop from header to header, from ``offset`` to ``limit``, reading little else. ``read(offset, size)``.

    Raises:
        Rotten: a header does not fit, or the file ends early.
    """
    chunk = b""
    begin = offset
    while offset < limit:
        at = offset - begin
        if at + HEADER_BYTES > len(chunk):
            chunk = read(offset, min(CHUNK_BYTES, limit - offset))
            begin, at = offset, 0
            if len(chunk) < HEADER_BYTES:
                raise Rotten(position, f"the file ends at {offset + len(chunk)}, the segment at {limit}")
        head = head_at(chunk, at, offset, position, limit)
        yield head, chunk[at : at + HEADER_BYTES]
        offset += head.size
        position = head.end
