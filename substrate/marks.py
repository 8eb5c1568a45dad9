"""What is gone of streams that still hold it: marks. A view over ``_thalweg/marks``, written by the stream layer alone.

A data stream holds customers' records only. What a protocol deletes, purges or removes after acknowledgements, and what a
limit takes, is one record of ranges per turn and stream in this companion, in the same commit.

Rules:

* A position that is marked is never read, found or counted again, from the call that marks it on.
* ``start``: a stream's first position, where a limit moved it; nothing below it is kept here. Files go later, by trims.
* A stream of durability ``os`` or ``interval`` may have lost its end with the machine: what is marked there is taken back
  when the stream is opened, before those positions are given again.
* The state is a fold: its size is that of the ranges, joined; what is below a start and of streams that are gone goes.

Records: key = kind, value = big-endian i64s, the stream first:

    removed  stream, (start, end) ...      cut      stream, end: what is marked from ``end`` on is taken back
    start    stream, before                cleaned  stream, end, unix ms: compaction came to ``end`` then
    gone     stream                        settled  stream, end, unix ms or 0: likewise, and all before it is forgotten
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from substrate import batch as batches
from substrate.api import Called, ErrorCode, Record, StreamError
from substrate.batch import BatchError
from substrate.engine import Batch
from substrate.intervals import Intervals

NAME = "marks"
RANGES_MAX = 4096
"""In one record."""


@dataclass(slots=True)
class Marked:
    """What is known of one stream."""

    start: int = 0
    gone: Intervals = field(default_factory=Intervals)
    cleaned: list[tuple[int, int]] = field(default_factory=list)
    """Passes of compaction: (end, unix ms), ascending; 0 ms: no tombstone below is still to go."""

    def forward(self, before: int) -> None:
        """The stream begins at ``before`` at least."""
        if before > self.start:
            self.start = before
            self.gone.cut_below(before)

    def cut(self, end: int) -> None:
        """Nothing at ``end`` and above was ever marked."""
        self.start = min(self.start, end)
        self.gone.cut_from(end)
        self.cleaned = [one for one in self.cleaned if one[0] <= end]


class Marks:
    """The view, an executor like any other; nobody asks it anything. ``state`` by stream."""

    name = NAME
    version = 1

    def __init__(self) -> None:
        self.state: dict[int, Marked] = {}
        self._world: Any = None

    @classmethod
    def loaded(cls, data: bytes) -> Marks:
        """As of a checkpoint."""
        made = cls()
        made.load(data)
        return made

    def start(self, world: Any) -> None:
        self._world = world

    def of(self, stream: int) -> Marked:
        found = self.state.get(stream)
        if found is None:
            found = self.state[stream] = Marked()
        return found

    def apply(self, record: Record) -> None:
        value = record.value or b""
        self._fold(record.key or b"", struct.unpack(f">{len(value) // 8}q", value))

    def _fold(self, kind: bytes, numbers: Sequence[int]) -> None:
        stream = numbers[0]
        if kind == b"removed":
            gone = self.of(stream).gone
            for at in range(1, len(numbers), 2):
                gone.add(numbers[at], numbers[at + 1])
        elif kind == b"start":
            self.of(stream).forward(numbers[1])
        elif kind == b"gone":
            self.state.pop(stream, None)
        elif kind == b"cut":
            self.of(stream).cut(numbers[1])
        elif kind == b"cleaned":
            self.of(stream).cleaned.append((numbers[1], numbers[2]))
        elif kind == b"settled":
            self.of(stream).cleaned = [(numbers[1], numbers[2])]
        else:
            raise ValueError(f"no mark of this version: {kind!r}")

    def write(self, kind: bytes, *numbers: int) -> int:
        """Record what was done to the state already; the commit to wait for."""
        if self._world is None:
            return 0
        return int(self._world.record(struct.pack(f">{len(numbers)}q", *numbers), kind))

    def decide(self, kind: bytes, *numbers: int) -> int:
        """Record it and fold it."""
        commit = self.write(kind, *numbers)
        self._fold(kind, numbers)
        return commit

    def execute(self, request: object, token: int, session: object) -> Called:
        return Called(StreamError(ErrorCode.UNSUPPORTED, type(request).__name__))

    def answered(self, token: int, answer: object) -> None:
        """Nothing is asked of anybody."""

    def gone(self, session: object) -> None:
        """Nothing is parked."""

    def tick(self, now_ns: int) -> None:
        """Nothing is timed."""

    def dump(self) -> bytes:
        """Of each stream, ascending: stream, start, passes, ranges, then the passes and the ranges; i64s."""
        numbers: list[int] = []
        for stream in sorted(self.state):
            found = self.state[stream]
            numbers += (stream, found.start, len(found.cleaned), len(found.gone))
            for pair in (*found.cleaned, *found.gone):
                numbers += pair
        return struct.pack(f">{len(numbers)}q", *numbers)

    def load(self, data: bytes) -> None:
        numbers = struct.unpack(f">{len(data) // 8}q", data)
        at = 0
        while at < len(numbers):
            stream, start, passes, ranges = numbers[at : at + 4]
            at += 4
            pairs = list(zip(numbers[at : at + 2 * (passes + ranges) : 2], numbers[at + 1 : at + 2 * (passes + ranges) : 2], strict=True))  # fmt: skip
            at += 2 * (passes + ranges)
            made = self.state[stream] = Marked(start, cleaned=pairs[:passes])
            made.gone.extend(pairs[passes:])


def strip(batch: Batch, gone: Intervals) -> Batch:
    """The batch as readers may see it: itself, or made anew without what is marked."""
    header = batches.header(batch)
    end = header.base_offset + header.last_offset_delta + 1
    if not gone.meets(header.base_offset, end):
        return batch
    ranges = gone.within(header.base_offset, end)
    if ranges == [(header.base_offset, end)]:
        return batches.empty(batch, end - 1)
    try:
        return batches.without(batch, [(first, last - 1) for first, last in ranges])
    except BatchError:
        return batch  # a client's, opaque to us
