"""The engine that keeps everything in memory: the oracle of the conformance suite, and what tests and simulations run on.

Rules:

* ``delayed=False``: a frame is durable when ``append`` returns; ``listener.durable`` is called as the last act of ``append``.
* ``delayed=True``: a frame is durable when ``flush`` says so; ``fail`` and ``lose`` end the epoch as a broken disk or a
  power cut would, with everything above the durable end gone at the next ``open`` or ``reopen``.
* The object is the storage: ``open`` after ``close`` or ``lose`` finds what was durable and raises the epoch.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from substrate.api import Commit, Durability, Epoch, ErrorCode, Position, Shard, StreamConfig, StreamId
from substrate.engine import Batch, Ends, EngineError, Frame, Listener, Opened, Segment

HEADER_BYTES = 61
FIRST_SHARD = Shard(0)
_PLACE = struct.Struct(">qii7xi8xq")  # base offset, length, leader epoch, last offset delta, max timestamp


@dataclass(slots=True)
class _Segment:
    base: int
    first: int  # index of its first batch
    bytes: int = 0
    max_timestamp_ms: int = -1
    holes: int = 0
    """Positions without a record, since it was written anew."""


class MemoryRewrite:
    """A segment of a ``MemoryStream`` being written anew."""

    def __init__(self, stream: MemoryStream, base: int, end: int) -> None:
        self.done = False
        self.replaced = False
        self.alive: Callable[[], bool] = lambda: True
        self._stream = stream
        self._base = self._position = base
        self._end = end
        self._batches: list[bytes] = []

    def add(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            base, length, _epoch, delta, _max_timestamp_ms = _PLACE.unpack_from(batch)
            if base != self._position or length + 12 != len(batch) or base + delta >= self._end:
                raise EngineError(
                    ErrorCode.INVALID, f"batch at {base}, want {self._position}, the segment ends at {self._end}"
                )
            self._position = base + delta + 1
            self._batches.append(bytes(batch))

    def finish(self) -> None:
        if self._position != self._end:
            raise EngineError(ErrorCode.INVALID, f"the batches end at {self._position}, the segment at {self._end}")
        self.replaced = not self.done and self.alive() and self._stream.replace(self._base, self._batches)
        self.done = True

    def abandon(self) -> None:
        self.done = True


class MemoryStream:
    """One stream's batches, oldest first, cut into segments of ``config.segment_bytes`` so that retention has its unit."""

    def __init__(self, config: StreamConfig, base: int = 0) -> None:
        self.config = config
        self.start = base
        self.end = base
        self.epochs: list[tuple[int, int]] = []
        self._batches: list[bytes] = []
        self._bases: list[int] = []
        self._segments: list[_Segment] = [_Segment(base, 0)]

    def append(self, batches: Sequence[Batch]) -> None:
        """Whole batches, checked before by ``check_part``."""
        for batch in batches:
            base, length, epoch, delta, max_timestamp_ms = _PLACE.unpack_from(batch)
            segment = self._segments[-1]
            if segment.bytes and segment.bytes + length + 12 > self.config.segment_bytes:
                segment = _Segment(base, len(self._batches))
                self._segments.append(segment)
            self._batches.append(bytes(batch))
            self._bases.append(base)
            segment.bytes += length + 12
            segment.max_timestamp_ms = max(segment.max_timestamp_ms, max_timestamp_ms)
            self.end = base + delta + 1
            if not self.epochs or self.epochs[-1][0] != epoch:
                self.epochs.append((epoch, base))

    def read(self, start: int, bytes_max: int) -> list[Batch]:
        if not self.start <= start <= self.end:
            raise EngineError(ErrorCode.OUT_OF_RANGE, f"{start}, the stream has {self.start} to {self.end}")
        found: list[Batch] = []
        room = bytes_max
        if start < self.end:
            for batch in self._batches[bisect_right(self._bases, start) - 1 :]:
                room -= len(batch)
                if found and room < 0:
                    break
                found.append(batch)
        return found

    def headers(self, start: int) -> Iterator[bytes]:
        if not self.start <= start <= self.end:
            raise EngineError(ErrorCode.OUT_OF_RANGE, f"{start}, the stream has {self.start} to {self.end}")
        if start == self.end:
            return iter(())
        return iter([batch[:HEADER_BYTES] for batch in self._batches[bisect_right(self._bases, start) - 1 :]])

    def segments(self) -> list[Segment]:
        ends = [segment.base for segment in self._segments[1:]] + [self.end]
        return [
            Segment(
                Position(segment.base),
                Position(end),
                segment.bytes,
                segment.max_timestamp_ms,
                end - segment.base - segment.holes,
            )
            for segment, end in zip(self._segments, ends, strict=True)
            if segment.bytes
        ]

    def roll(self) -> None:
        if self._segments[-1].bytes:
            self._segments.append(_Segment(self.end, len(self._batches)))

    def settled(self) -> Position:
        return Position(self._segments[-1].base)

    def rewrite(self, base: int) -> MemoryRewrite:
        for index, segment in enumerate(self._segments[:-1]):
            if segment.base == base:
                return MemoryRewrite(self, base, self._segments[index + 1].base)
        raise EngineError(ErrorCode.INVALID, f"no settled segment begins at {base}")

    def replace(self, base: int, batches: list[bytes]) -> bool:
        """Whether the segment was still there."""
        for index, segment in enumerate(self._segments[:-1]):
            if segment.base == base:
                following = self._segments[index + 1]
                grown = len(batches) - (following.first - segment.first)
                self._batches[segment.first : following.first] = batches
                self._bases[segment.first : following.first] = [_PLACE.unpack_from(batch)[0] for batch in batches]
                for later in self._segments[index + 1 :]:
                    later.first += grown
                segment.bytes = sum(map(len, batches))
                segment.max_timestamp_ms = max(_PLACE.unpack_from(batch)[4] for batch in batches)
                segment.holes = following.base - base - sum(int.from_bytes(batch[57:61]) for batch in batches)
                return True
        return False

    def trim(self, before: int) -> None:
        if before > self.end:
            raise EngineError(ErrorCode.OUT_OF_RANGE, f"{before}, the stream ends at {self.end}")
        self.start = max(self.start, before)
        if self.start == self.end and self._segments[-1].bytes:
            self._segments.append(_Segment(self.end, len(self._batches)))
        keep = 0
        while keep + 1 < len(self._segments) and self._segments[keep + 1].base <= self.start:
            keep += 1
        first = self._segments[keep].first
        del self._segments[:keep], self._batches[:first], self._bases[:first]
        for segment in self._segments:
            segment.first -= first
        self.epochs = epochs_from(self.epochs, self.start)

    def cut(self, end: int) -> None:
        """Take back what lies at ``end`` and above: it never became durable."""
        while self._bases and self._bases[-1] >= end:
            batch = self._batches.pop()
            base = self._bases.pop()
            segment = self._segments[-1]
            segment.bytes -= len(batch)
            if segment.base == base and len(self._segments) > 1:
                self._segments.pop()
        self.end = max(end, self.start)
        self.epochs = [(epoch, base) for epoch, base in self.epochs if base < self.end]

    def ends(self) -> Ends:
        epochs = tuple((Epoch(epoch), Position(base)) for epoch, base in self.epochs)
        return Ends(Position(self.start), Position(self.end), epochs)


def epochs_from(epochs: list[tuple[int, int]], start: int) -> list[tuple[int, int]]:
    """What a stream that begins at ``start`` needs of the table: the epoch that holds ``start``, and those after."""
    keep = 0
    while keep + 1 < len(epochs) and epochs[keep + 1][1] <= start:
        keep += 1
    return epochs[keep:]


def check_batches(batches: Sequence[Batch], base: int, end: int) -> None:
    """Each one whole, contiguous from ``base`` to ``end``.

    Raises:
        EngineError: INVALID.
    """
    for batch in batches:
        if len(batch) < HEADER_BYTES:
            raise EngineError(ErrorCode.INVALID, f"batch of {len(batch)} bytes")
        found, length, _epoch, delta, _max_timestamp_ms = _PLACE.unpack_from(batch)
        if length + 12 != len(batch) or found != base or delta < 0 or batch[16] != 2:
            raise EngineError(ErrorCode.INVALID, f"batch at {found}, want {base}, {length + 12} bytes of {len(batch)}")
        base += delta + 1
    if base != end:
        raise EngineError(ErrorCode.INVALID, f"batches end at {base}, their part at {end}")


class MemoryEngine:
    """See the module's head."""

    def __init__(self, shard: Shard = FIRST_SHARD, delayed: bool = False) -> None:
        self.shard = shard
        self.delayed = delayed
        self.room: int | None = None
        """Bytes that may still be appended; None: no limit. Tests set it to run out of space."""
        self._streams: dict[int, MemoryStream] = {}
        self._epoch = 0
        self._written = 0
        self._durable = 0
        self._undo: list[tuple[int, dict[int, int]]] = []
        self._listener: Listener | None = None
        self._broken = "not open"

    def open(self, listener: Listener, now_ms: int) -> Opened:
        if not self._broken:
            raise EngineError(ErrorCode.UNAVAILABLE, "already open")
        self._listener = listener
        for stream, kept in list(self._streams.items()):
            if kept.config.durability is Durability.MEMORY:
                self._streams[stream] = MemoryStream(kept.config)
        return self._open()

    def reopen(self, now_ms: int) -> Opened:
        if self._broken == "closed" or self._listener is None:
            raise EngineError(ErrorCode.INVALID, "reopen is for after a failure")
        return self._open()

    def _open(self) -> Opened:
        for _number, before in reversed(self._undo):
            for number, end in before.items():
                if number in self._streams and self._streams[number].end > end:
                    self._streams[number].cut(end)
        self._undo.clear()
        self._written = self._durable
        self._epoch += 1
        self._broken = ""
        ends = {StreamId(stream): kept.ends() for stream, kept in self._streams.items()}
        return Opened(Epoch(self._epoch), Commit(self._written), ends)

    def create(self, stream: StreamId, label: str, config: StreamConfig) -> None:
        self._serving()
        if stream not in self._streams:
            self._streams[stream] = MemoryStream(config)

    def configure(self, stream: StreamId, config: StreamConfig) -> None:
        self._serving()
        self._stream(stream).config = config

    def reserve(self, size: int) -> bool:
        return not self._broken and (self.room is None or size <= self.room)

    def append(self, frame: Frame) -> None:
        self._serving()
        if frame.number != self._written + 1:
            raise EngineError(ErrorCode.INVALID, f"commit {frame.number} after {self._written}")
        ends: dict[int, int] = {}
        for part in frame.parts:
            end = ends.get(part.stream, self._stream(part.stream).end)
            if part.base != end:
                raise EngineError(
                    ErrorCode.INVALID, f"stream {part.stream} ends at {end}, the part begins at {part.base}"
                )
            check_batches(part.batches, part.base, part.end)
            ends[part.stream] = part.end
        size = sum(part.bytes for part in frame.parts)
        if self.room is not None:
            if size > self.room:
                raise EngineError(ErrorCode.NO_SPACE, f"{size} bytes, room for {self.room}")
            self.room -= size
        if self.delayed:
            self._undo.append((frame.number, {stream: self._streams[stream].end for stream in ends}))
        for part in frame.parts:
            self._streams[part.stream].append(part.batches)
        self._written = frame.number
        if not self.delayed:
            self._durable = frame.number
            assert self._listener is not None
            self._listener.durable(self.shard, frame.number)

    def flush(self, up_to: int | None = None) -> None:
        """Make the frames up to ``up_to`` (all, if None) durable and say so."""
        self._serving()
        target = self._written if up_to is None else min(up_to, self._written)
        if target <= self._durable:
            return
        self._undo = [(number, ends) for number, ends in self._undo if number > target]
        self._durable = target
        assert self._listener is not None
        self._listener.durable(self.shard, Commit(target))

    def fail(self, reason: str) -> None:
        """End the epoch as a failed write would."""
        self._serving()
        self._broken = reason
        assert self._listener is not None
        self._listener.failed(self.shard, Commit(self._durable), reason)

    def lose(self) -> None:
        """A power cut: nobody is told; the next ``open`` finds what was durable."""
        self._broken = "lost"

    def read(self, stream: StreamId, start: Position, bytes_max: int) -> list[Batch]:
        return self._stream(stream).read(start, bytes_max)

    def headers(self, stream: StreamId, start: Position) -> Iterator[bytes]:
        return self._stream(stream).headers(start)

    def segments(self, stream: StreamId) -> Sequence[Segment]:
        return self._stream(stream).segments()

    def ends(self, stream: StreamId) -> Ends:
        return self._stream(stream).ends()

    def trim(self, stream: StreamId, before: Position) -> None:
        self._serving()
        self._stream(stream).trim(before)

    def delete(self, stream: StreamId) -> None:
        self._serving()
        self._stream(stream)
        del self._streams[stream]

    def asides(self, stream: StreamId) -> None:
        return None

    def roll(self, stream: StreamId) -> None:
        self._serving()
        self._stream(stream).roll()

    def settled(self, stream: StreamId) -> Position:
        self._serving()
        return Position(
            min([self._stream(stream).settled(), *(ends[stream] for _, ends in self._undo if stream in ends)])
        )

    def rewrite(self, stream: StreamId, base: Position) -> MemoryRewrite:
        if base >= self.settled(stream):
            raise EngineError(ErrorCode.INVALID, f"no settled segment begins at {base}")
        found = self._stream(stream)
        made = found.rewrite(base)
        made.alive = lambda: self._streams.get(stream) is found
        return made

    def close(self) -> None:
        if not self._broken:
            self.flush()
            self._broken = "closed"

    def _stream(self, stream: int) -> MemoryStream:
        found = self._streams.get(stream)
        if found is None:
            raise EngineError(ErrorCode.NO_STREAM, f"stream {stream}")
        return found

    def _serving(self) -> None:
        if self._broken:
            raise EngineError(ErrorCode.UNAVAILABLE, self._broken)
