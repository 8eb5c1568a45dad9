"""Commit frames: what a journal is made of.

Layout, big endian; a frame begins at a multiple of 64 bytes:

     0  magic "THWF"              16  directory u64      48  durable u64
     4  CRC32C u32 (from 8 on)    24  number u64         56  previous u32
     8  length i32 (whole frame)  32  commit u64         60  entries u32
    12  version u16               40  epoch u64          64  entries, then data
    14  kind u16

* ``directory`` is the engine directory's own number: a frame of another directory, or one that a customer put into a
  payload, is no frame here.
* ``number`` counts the journal's frames, ``commit`` the stream layer's: kinds other than COMMIT carry the last one.
* ``durable`` is the highest number known to be fsynced when this was written.
* ``previous`` is the predecessor's CRC. A frame that is not number + 1 with this and an epoch at least as high does not
  follow; it is what the space held before.

An entry of a COMMIT frame is one run of batches of one stream, segment and leader epoch, 80 bytes:

     0  stream u64    24  segment i64        40  bytes u32      52  leader epoch i32
     8  base i64      32  file offset i64    44  batches u32    56  max timestamp i64
    16  end i64                              48  flags u32      64  chain value after it, 16 bytes

Flags: 1 = by reference (the bytes are only in the segment; otherwise they follow, in the order of the entries),
2 = marked (not synced with its frame: durability ``os`` or ``interval``).
The data of the other kinds: CREATE and CONFIG a stream's settings (``substrate.disk.ends``), TRIM stream u64 and start i64,
DELETE stream u64, REPLACE as ``substrate.disk.rewrite.FRAME``; EPOCH and NOTE have none.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from crc32c import crc32c

MAGIC = b"THWF"
VERSION = 1
ALIGNMENT = 64
HEADER = struct.Struct(">4sIiHHQQQQQII")
HEADER_BYTES = 64
_COVERED = struct.Struct(">iHHQQQQQII")
_PREFIX = struct.Struct(">4sI")
ENTRY = struct.Struct(">QqqqqIIIiq16s")
ENTRY_BYTES = ENTRY.size
REFERENCE = 1
MARKED = 2


class Kind(IntEnum):
    COMMIT = 1
    EPOCH = 2
    NOTE = 3
    CREATE = 4
    CONFIG = 5
    TRIM = 6
    DELETE = 7
    REPLACE = 8


class Entry(NamedTuple):
    stream: int
    base: int
    end: int
    segment: int
    offset: int
    size: int
    batches: int
    flags: int
    epoch: int
    max_timestamp_ms: int
    chain: bytes


class FrameHead(NamedTuple):
    checksum: int
    length: int
    version: int
    kind: int
    directory: int
    number: int
    commit: int
    epoch: int
    durable: int
    previous: int
    entries: int


class UnknownVersion(Exception):
    """A sound frame of a format that this program does not know: nothing is cut, nothing is served."""


def encode(
    kind: Kind,
    directory: int,
    number: int,
    commit: int,
    epoch: int,
    durable: int,
    previous: int,
    entries: int,
    body: Sequence[bytes | bytearray | memoryview],
) -> tuple[bytes, int]:
    """The frame's bytes, and its CRC. ``body``: packed entries and data."""
    size = sum(map(len, body)) + HEADER_BYTES
    covered = _COVERED.pack(size, VERSION, kind, directory, number, commit, epoch, durable, previous, entries)
    rest = b"".join((covered, *body))
    checksum = crc32c(rest)
    return _PREFIX.pack(MAGIC, checksum) + rest, checksum


def decode(data: bytes | memoryview, offset: int, directory: int) -> FrameHead | None:
    """The head of the frame at ``offset``, if there is one of this directory and its CRC holds.

    Raises:
        UnknownVersion: there is one, of a version not known here.
    """
    if len(data) - offset < HEADER_BYTES:
        return None
    fields = HEADER.unpack_from(data, offset)
    length = fields[2]
    if fields[0] != MAGIC or fields[5] != directory or not HEADER_BYTES <= length <= len(data) - offset:
        return None
    if crc32c(memoryview(data)[offset + 8 : offset + length]) != fields[1]:
        return None
    head = FrameHead._make(fields[1:])
    if head.version != VERSION or head.kind not in _KINDS:
        raise UnknownVersion(
            f"journal frame {head.number} of version {head.version}, kind {head.kind}; known: {VERSION}"
        )
    if head.entries * ENTRY_BYTES > length - HEADER_BYTES:
        return None
    return head


_KINDS = frozenset(int(kind) for kind in Kind)


def entries_of(data: bytes | memoryview, offset: int, head: FrameHead) -> list[tuple[Entry, int]]:
    """Each entry with the place of its inline bytes in ``data`` (-1: by reference). Only of a frame that ``decode`` accepted."""
    found = []
    at = offset + HEADER_BYTES + head.entries * ENTRY_BYTES
    for index in range(head.entries):
        entry = Entry._make(ENTRY.unpack_from(data, offset + HEADER_BYTES + index * ENTRY_BYTES))
        if entry.flags & REFERENCE:
            found.append((entry, -1))
        else:
            found.append((entry, at))
            at += entry.size
    return found


def aligned(size: int) -> int:
    return (size + ALIGNMENT - 1) & -ALIGNMENT
