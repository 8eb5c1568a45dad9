"""What stores commit frames. An engine reads no payload: it knows streams by number and batches by their header.

Guarantees (held by ``conformance/engines.py`` on every engine):

* ``append`` returns after the write: what it took is readable. ``listener.durable`` comes in the order of the commits.
* A frame is durable whole or not at all. After a crash, the frames kept are a prefix of those appended and hold at least
  every frame that was reported durable.
* Every ``open`` raises the epoch and returns the true ends.
* A failed write or fsync ends the epoch: ``listener.failed(shard, above)``, nothing above is ever reported durable, and
  every later ``append`` raises ``EngineError`` until ``reopen`` made a new epoch's frame durable.
* What was stored is checked when read: a batch that does not fit its CRC or its place raises ``EngineError(CORRUPT)``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from substrate.api import Commit, Epoch, ErrorCode, Position, Shard, StreamConfig, StreamId
from substrate.runs import Asides

Batch = bytes | bytearray | memoryview


class EngineError(Exception):
    """The engine says no; ``code`` is one of the closed set."""

    def __init__(self, code: ErrorCode, detail: str = "") -> None:
        super().__init__(f"{code.value}: {detail}" if detail else code.value)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Part:
    """What one frame adds to one stream: whole v2 record batches, base offset and epoch already in place, contiguous
    from the stream's end."""

    stream: StreamId
    base: Position
    end: Position
    batches: Sequence[Batch]
    bytes: int
    max_timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Frame:
    number: Commit  # one more than the last frame's
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Segment:
    base: Position
    end: Position
    bytes: int
    max_timestamp_ms: int
    records: int
    """Less than its positions where it was written anew without some."""


@dataclass(frozen=True, slots=True)
class Ends:
    start: Position
    end: Position
    epochs: tuple[tuple[Epoch, Position], ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    epoch: Epoch
    commit: Commit  # the last frame kept: the next one's number is one more
    streams: dict[StreamId, Ends]


class Listener(Protocol):
    """Called on the owner's thread, between turns."""

    def durable(self, shard: Shard, commit: Commit) -> None: ...

    def failed(self, shard: Shard, above: Commit, reason: str) -> None: ...


class Rewrite(Protocol):
    """A segment that is being written anew. Reads give the old batches until ``finish`` is ``done``."""

    done: bool
    replaced: bool
    """It has taken the old one's place: durable."""

    def add(self, batches: Sequence[Batch]) -> None:
        """The next ones: contiguous, over the same positions, of the same leader epochs; some may hold fewer records, or none.

        Raises:
            EngineError: INVALID; or the storage cannot: then nothing has changed.
        """
        ...

    def finish(self) -> None:
        """All are there: see to it that they are durable and take the old ones' place; ``done`` says when, perhaps later.

        Raises:
            EngineError: as ``add``.
        """
        ...

    def abandon(self) -> None:
        """Leave all as it is."""
        ...


class Engine(Protocol):
    shard: Shard

    def open(self, listener: Listener, now_ms: int) -> Opened:
        """Recover, raise the epoch, and serve.

        Raises:
            EngineError: CORRUPT below the durable end in what every stream needs (the journal's own chain);
                UNAVAILABLE if another process holds it.
        """
        ...

    def reopen(self, now_ms: int) -> Opened:
        """After ``failed``, or of the owner's own accord: a new epoch over the durable prefix, once the storage works."""
        ...

    def create(self, stream: StreamId, label: str, config: StreamConfig) -> None:
        """Make the stream known. ``label`` (account, name and partition) names its folder. Repeating it is allowed."""
        ...

    def configure(self, stream: StreamId, config: StreamConfig) -> None:
        """A stream whose durability is raised is synced before this returns."""
        ...

    def reserve(self, size: int) -> bool:
        """Whether a turn of this many bytes would find its space: asked before anything is ordered."""
        ...

    def append(self, frame: Frame) -> None:
        """Write one turn.

        Raises:
            EngineError: NO_SPACE, UNAVAILABLE; nothing of the frame was or will be visible.
        """
        ...

    def read(self, stream: StreamId, start: Position, bytes_max: int) -> list[Batch]:
        """Whole batches from the one that holds ``start`` on, at least one, not beyond ``bytes_max`` otherwise; [] at the end.

        Raises:
            EngineError: NO_STREAM, OUT_OF_RANGE (below start or above end), CORRUPT.
        """
        ...

    def headers(self, stream: StreamId, start: Position) -> Iterator[bytes]:
        """The 61-byte headers of the batches from ``start`` on, without reading records."""
        ...

    def segments(self, stream: StreamId) -> Sequence[Segment]: ...

    def ends(self, stream: StreamId) -> Ends: ...

    def trim(self, stream: StreamId, before: Position) -> None:
        """Records below ``before`` are gone: durable when this returns; files go when whole segments are below."""
        ...

    def delete(self, stream: StreamId) -> None: ...

    def asides(self, stream: StreamId) -> Asides | None:
        """Files beside the stream's own; None: it has none."""
        ...

    def roll(self, stream: StreamId) -> None:
        """What is appended next begins another segment."""
        ...

    def settled(self, stream: StreamId) -> Position:
        """Segments below this may be written anew. It moves in time, after it was asked for too."""
        ...

    def rewrite(self, stream: StreamId, base: Position) -> Rewrite:
        """Write a settled segment anew; one at a time of each stream.

        Raises:
            EngineError: INVALID: none begins at ``base``; UNAVAILABLE, NO_SPACE.
        """
        ...

    def close(self) -> None:
        """Everything appended is durable and named so; another open finds nothing to repair."""
        ...
