"""A sealed segment is written anew: compaction's part on the disk.

Positions, leader epochs and the batches' places stay; what is gone is gone. In this order, each step durable before the next:

1. ``<base>.<n>.new``, the new log, and ``<base>.<n>.rewritten``, what it is, are written beside the old one and synced;
2. a REPLACE frame in the journal says that it takes the old one's place;
3. both are renamed to ``<base>.log`` and ``<base>.rewritten``. A crash before that: recovery does it, from the frame.

The chain value at the segment's end stays the one of all batches ever written there, so that copies compare, and what
follows still chains to it; ``content`` is the chain over the batches that are there, from the same value before.

``.rewritten`` is two lines of text as the manifest: a JSON object and its CRC32C. It counts only beside a log whose chain is
its ``content``, and is asked only when the manifest is lost.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crc32c import crc32c

from substrate.api import ErrorCode
from substrate.disk.batches import HEADER_BYTES, Rotten, chain_of, head_at
from substrate.disk.ends import CHAIN_BYTES, Unsound
from substrate.disk.stream import DiskStream
from substrate.engine import Batch, EngineError
from substrate.files import Lane

if TYPE_CHECKING:
    from substrate.disk.segments import Segments

FRAME = struct.Struct(f">QqQqqq{CHAIN_BYTES}s")
"""Stream, base, n, bytes, records, max timestamp, content."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """What a REPLACE frame says."""

    stream: int
    base: int
    number: int
    size: int
    records: int
    max_timestamp_ms: int
    content: bytes

    def pack(self) -> bytes:
        return FRAME.pack(
            self.stream, self.base, self.number, self.size, self.records, self.max_timestamp_ms, self.content
        )

    @classmethod
    def unpack(cls, data: bytes) -> Replacement:
        return cls(*FRAME.unpack_from(data))


def new_path(stream: DiskStream, base: int, number: int) -> str:
    return f"{stream.folder}/{base:020d}.{number}.new"


def word_path(stream: DiskStream, base: int, number: int = -1) -> str:
    """Of the segment that is there; with a number, of one that is to be."""
    return f"{stream.folder}/{base:020d}.{f'{number}.' if number >= 0 else ''}rewritten"


@dataclass(frozen=True, slots=True)
class Word:
    """What a ``.rewritten`` file says."""

    stream: int
    base: int
    end: int
    records: int
    before: bytes
    content: bytes
    chain: bytes

    def encode(self) -> bytes:
        text = json.dumps(
            {
                "version": 1, "stream": self.stream, "base": self.base, "end": self.end, "records": self.records,
                "before": self.before.hex(), "content": self.content.hex(), "chain": self.chain.hex(),
            },
            separators=(",", ":"),
        ).encode()  # fmt: skip
        return text + b"\n%08x\n" % crc32c(text)

    @classmethod
    def decode(cls, data: bytes) -> Word:
        """Raises: Unsound."""
        lines = data.split(b"\n")
        if len(lines) != 3 or lines[2] or lines[1] != b"%08x" % crc32c(lines[0]):
            raise Unsound("it does not fit its CRC")
        found = json.loads(lines[0])
        if found["version"] != 1:
            raise Unsound(f"version {found['version']}")
        before, content, chain = (bytes.fromhex(found[name]) for name in ("before", "content", "chain"))
        return cls(found["stream"], found["base"], found["end"], found["records"], before, content, chain)


class DiskRewrite:
    """One segment being written anew. See ``substrate.engine.Rewrite``."""

    def __init__(
        self, store: Segments, stream: DiskStream, base: int, number: int,
        replace: Callable[[DiskStream, Replacement], None], alive: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.done = False
        self.replaced = False
        self._store = store
        self._stream = stream
        self._number = number
        self._replace = replace
        self._alive = alive
        sealed = store.load_sealed(stream)
        at = next(index for index, one in enumerate(sealed) if one.base == base)
        self._segment = sealed[at]
        self._before = sealed[at - 1].chain if at else stream.first_chain
        self._content = self._before
        self._position = base
        self._size = 0
        self._records = 0
        self._newest_ms = -1
        self._handles: list[int] = []
        self._path = new_path(stream, base, number)
        self._sweep()
        self._handle = self._open(self._path)

    def _sweep(self) -> None:
        """Remove what earlier attempts have left."""
        for name in self._store.files.names(self._stream.folder):
            stem, dot, rest = name.partition(".")
            number = rest.removesuffix(".new").removesuffix(".rewritten")
            if dot and len(stem) == 20 and number != rest and number.isdecimal():
                self._store.files.unlink(f"{self._stream.folder}/{name}")

    def _open(self, path: str) -> int:
        handle = self._store.files.open(path, create=True)
        self._handles.append(handle)
        self._store.files.truncate(handle, 0)
        return handle

    def add(self, batches: Sequence[Batch]) -> None:
        try:
            for batch in batches:
                view = memoryview(batch)
                head = head_at(view, 0, self._size, self._position, self._size + len(view))
                if head.size != len(view) or head.end > self._segment.end:
                    raise EngineError(ErrorCode.INVALID, f"batch at {self._position}: {head}, {len(view)} bytes")
                self._content = chain_of(self._content, bytes(view[:HEADER_BYTES]))
                self._store.files.write(self._handle, self._size, [batch])
                self._size += head.size
                self._position = head.end
                self._newest_ms = max(self._newest_ms, head.max_timestamp_ms)
                self._records += int.from_bytes(view[57:61])
        except Rotten as fault:
            raise EngineError(ErrorCode.INVALID, str(fault)) from None
        except OSError as error:
            self.abandon()
            raise EngineError(ErrorCode.UNAVAILABLE, str(error)) from error

    def finish(self) -> None:
        segment = self._segment
        if self._position != segment.end:
            raise EngineError(ErrorCode.INVALID, f"the batches end at {self._position}, the segment at {segment.end}")
        word = Word(
            self._stream.id, segment.base, segment.end, self._records, self._before, self._content, segment.chain
        )
        try:
            handle = self._open(word_path(self._stream, segment.base, self._number))
            self._store.files.write(handle, 0, [word.encode()])
            self._handles.append(self._store.files.open_folder(self._stream.folder))
            self._store.files.sync(tuple(self._handles), Lane.BACKGROUND, self._synced)
        except FileNotFoundError:  # the stream is gone
            self.abandon()
        except OSError as error:
            self.abandon()
            raise EngineError(ErrorCode.UNAVAILABLE, str(error)) from error

    def _synced(self, error: OSError | None) -> None:
        """The new files are whole; they take the old one's place if that still has one."""
        self._close()
        there = self._stream.sealed is not None and any(one is self._segment for one in self._stream.sealed)
        if self.done or error is not None or not self._alive() or not there:
            self.done = True
            return
        segment = self._segment
        try:
            self._replace(
                self._stream,
                Replacement(
                    self._stream.id,
                    segment.base,
                    self._number,
                    self._size,
                    self._records,
                    self._newest_ms,
                    self._content,
                ),
            )
            self.replaced = True
        except EngineError:  # the epoch has ended: recovery knows which of the two counts
            pass
        self.done = True

    def abandon(self) -> None:
        self.done = True
        self._close()

    def _close(self) -> None:
        for handle in self._handles:
            self._store.files.close(handle)
        self._handles.clear()
