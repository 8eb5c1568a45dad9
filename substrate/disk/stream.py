"""One stream on disk: its segments, its place in the chain, its newest batches in memory.

A stream is one flat folder ``streams/<label, escaped and capped>.<stream id>``:

* ``<base, 20 digits>.log``: whole v2 record batches, nothing else; Kafka's tools read it;
* ``.index`` (relative position u32, file offset u32, sparse) and ``.timeindex`` (timestamp i64, relative position u32) in Kafka's
  own format: hints, rebuilt from the log, never trusted over it;
* ``leader-epoch-checkpoint`` in Kafka's format;
* ``manifest``: settings, start and the sealed segments with their chain values (``substrate.disk.manifest``).

The last segment is *active*; its length is known from the ends file and the journal, never from its size.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from dataclasses import dataclass

from substrate.api import Durability, StreamConfig
from substrate.disk.ends import NO_CHAIN, StreamRecord, pack_record
from substrate.disk.handles import SegmentFile
from substrate.memory import MemoryStream

FOLDER = "streams"
LABEL_CHARACTERS_MAX = 160
INDEX_INTERVAL_BYTES = 16 * 1024
_INDEX = struct.Struct(">II")
_TIME_INDEX = struct.Struct(">qI")
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


@dataclass(slots=True)
class Sealed:
    base: int
    end: int
    size: int
    max_timestamp_ms: int
    chain: bytes
    """After its last batch; NO_CHAIN: not known (the manifest was lost and its segment is rotten)."""
    content: bytes = NO_CHAIN
    """Of a segment that was written anew: the chain over what is there now, from the same value before."""
    records: int = -1
    """In it, where that is not one for each position."""


class Index:
    """Where some of a segment's batches begin: positions and file offsets, ascending."""

    __slots__ = ("offsets", "positions", "times")

    def __init__(self) -> None:
        self.positions = array("q")
        self.offsets = array("q")
        self.times = array("q")

    def add(self, position: int, offset: int, timestamp_ms: int) -> None:
        self.positions.append(position)
        self.offsets.append(offset)
        self.times.append(timestamp_ms)

    def floor(self, position: int, base: int) -> tuple[int, int]:
        """The last indexed (position, offset) not above ``position``; the segment's beginning if there is none."""
        found = bisect_right(self.positions, position) - 1
        return (base, 0) if found < 0 else (self.positions[found], self.offsets[found])

    def pack(self, base: int) -> tuple[bytes, bytes]:
        """The .index and the .timeindex file."""
        index = b"".join(
            _INDEX.pack(position - base, offset)
            for position, offset in zip(self.positions, self.offsets, strict=True)
            if position - base < 1 << 32 and offset < 1 << 32
        )
        newest = -1
        times = []
        for position, timestamp_ms in zip(self.positions, self.times, strict=True):
            if timestamp_ms > newest and position - base < 1 << 32:
                newest = timestamp_ms
                times.append(_TIME_INDEX.pack(timestamp_ms, position - base))
        return index, b"".join(times)

    @classmethod
    def unpack(cls, data: bytes, base: int, limit: int) -> Index:
        """What an .index file says, as far as it is ascending and inside the segment."""
        found = cls()
        position, offset = base, -1
        for relative, place in _INDEX.iter_unpack(data[: len(data) // _INDEX.size * _INDEX.size]):
            if place <= offset or place >= limit or base + relative < position:
                break
            position, offset = base + relative, place
            found.add(position, offset, -1)
        return found


class DiskStream:
    """State only; ``substrate.disk.engine`` moves it."""

    __slots__ = (
        "active",
        "active_bytes",
        "chain",
        "config",
        "end",
        "epoch",
        "epochs",
        "file",
        "first",
        "first_chain",
        "folder",
        "generation",
        "id",
        "index",
        "indexed",
        "label",
        "max_timestamp_ms",
        "memory",
        "packed",
        "recorded",
        "sealed",
        "start",
        "sync",
        "tail_bases",
        "tail_batches",
        "tail_first",
        "written",
    )

    def __init__(self, record: StreamRecord) -> None:
        self.id = record.stream
        self.label = record.label
        self.folder = folder_of(record.label, record.stream)
        self.start = record.start
        self.end = record.end
        self.first = record.first
        """Base of the oldest segment that is there, and the chain value before it."""
        self.first_chain = record.first_chain
        self.active = record.active
        self.active_bytes = record.active_bytes
        self.chain = record.chain
        self.max_timestamp_ms = record.max_timestamp_ms
        """Of the active segment."""
        self.written = record.generation
        """Generation of the manifest on the disk: another one is not the newest. 0: there is none, which is all right while
        there is no sealed segment."""
        self.generation = max(record.generation, 1)
        """Of what the manifest should say."""
        self.epochs = record.epochs
        self.epoch = record.epochs[-1][0] if record.epochs else -1
        self.sealed: list[Sealed] | None = [] if record.first == record.active else None
        """None: not read yet."""
        self.file: SegmentFile | None = None
        self.index: Index | None = None
        """Of the active segment."""
        self.indexed = 0
        """Below this offset of the active segment, the index need not be complete."""
        self.recorded = record.active
        """The active segment as the ends file on the disk has it: no replay touches those before it."""
        self.packed: bytes | None = None
        """The record for the ends file; None: changed since it was packed."""
        self.tail_bases: list[int] = []
        self.tail_batches: list[bytes | bytearray | memoryview] = []
        self.tail_first = 0
        """Entries before this one were given up."""
        self.memory: MemoryStream | None = None
        self.set_config(record.config)

    def set_config(self, config: StreamConfig) -> None:
        self.config = config
        self.sync = config.durability is Durability.SYNC
        self.packed = None
        if config.durability is Durability.MEMORY and self.memory is None:
            self.memory = MemoryStream(config)
        if self.memory is not None:
            self.memory.config = config

    def reconfigure(self, config: StreamConfig) -> None:
        """Another configuration, and so another manifest."""
        self.generation += 1
        self.set_config(config)

    def record(self) -> StreamRecord:
        return StreamRecord(
            self.id,
            self.label,
            self.config,
            self.start,
            self.end,
            self.first,
            self.first_chain,
            self.active,
            self.active_bytes,
            self.chain,
            self.max_timestamp_ms,
            self.written,
            self.epochs,
        )

    def pack(self) -> bytes:
        if self.packed is None:
            self.packed = pack_record(self.record())
        return self.packed

    def log_path(self, base: int) -> str:
        return f"{self.folder}/{base:020d}.log"

    def epoch_at(self, position: int) -> int | None:
        """The leader epoch that wrote ``position``; None: from before the table begins."""
        found = bisect_right(self.epochs, position, key=lambda entry: entry[1]) - 1
        return self.epochs[found][0] if found >= 0 else None

    def extend(self, epoch: int, base: int, end: int, size: int, chain: bytes, max_timestamp_ms: int) -> None:
        """A run was added to the active segment."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.epochs.append((epoch, base))
        self.end = end
        self.active_bytes += size
        self.chain = chain
        if max_timestamp_ms > self.max_timestamp_ms:
            self.max_timestamp_ms = max_timestamp_ms
        self.packed = None

    def seal(self, base: int) -> Sealed:
        """Close the active segment; the next one begins at ``base``, the stream's end. ``sealed`` must have been read."""
        assert self.sealed is not None
        sealed = Sealed(self.active, self.end, self.active_bytes, self.max_timestamp_ms, self.chain)
        if self.active_bytes:
            self.sealed.append(sealed)
        elif not self.sealed:
            self.first = base
        self.active = base
        self.active_bytes = 0
        self.max_timestamp_ms = -1
        self.index = None
        self.indexed = 0
        self.file = None
        self.generation += 1
        self.packed = None
        return sealed

    def forget(self, segments: int) -> None:
        """The first ``segments`` sealed ones are gone."""
        assert self.sealed is not None
        if segments:
            self.first_chain = self.sealed[segments - 1].chain
            del self.sealed[:segments]
            self.first = self.sealed[0].base if self.sealed else self.active
        self.generation += 1
        self.packed = None

    def drop_tail(self) -> None:
        self.tail_bases = []
        self.tail_batches = []
        self.tail_first = 0


def folder_of(label: str, stream: int) -> str:
    """Percent-escaped, so that any label is a name on any file system; capped, so that the id always fits."""
    escaped = ""
    for byte in label.encode("utf-8", "surrogateescape"):
        piece = chr(byte) if byte in _PLAIN else f"%{byte:02X}"
        if len(escaped) + len(piece) > LABEL_CHARACTERS_MAX:
            break
        escaped += piece
    return f"{FOLDER}/{escaped}.{stream}"


__all__ = ["FOLDER", "INDEX_INTERVAL_BYTES", "NO_CHAIN", "DiskStream", "Index", "Sealed", "folder_of"]
