"""What is taken out of streams: marks written with the turn they belong to, starts moved, files given back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from substrate.api import Commit, Durability, Position, StreamId
from substrate.engine import EngineError
from substrate.marks import RANGES_MAX, Marked, Marks
from substrate.streams import NEVER

if TYPE_CHECKING:
    from substrate.layer import StreamLayer
    from substrate.streams import Stream

PASSES_MAX = 16
"""Of compaction, remembered of a stream that has tombstones: those of the passes before stay longer than asked."""


class Removal:
    """Of one shard. New in each epoch."""

    def __init__(self, layer: StreamLayer) -> None:
        self._layer = layer
        self.marks = Marks()
        self._recorded = True
        self.marking: dict[StreamId, tuple[list[int], list[int]]] = {}
        """By stream, of this turn: a new start, if any; what was marked, as numbers start, end, start, end."""
        self.commit = Commit(0)
        """The last one that holds marks."""
        self.expires_ms = -1
        """When ``retain`` has something to take next, as of its last round; -1: not known of."""

    def drop(self) -> None:
        """The epoch has ended: what was to be written is lost."""
        self.marking.clear()

    def deleted(self, stream: StreamId) -> None:
        """The stream is gone, and its marks with it."""
        self.marking.pop(stream, None)
        if stream in self.marks.state:
            self.marks.decide(b"gone", stream)

    def attach(self, marks: Marks, recorded: bool = True) -> None:
        """These are the marks of before; streams that are known get theirs, others when they are created. Where nothing
        outlives the process they are not ``recorded``."""
        self.marks = marks
        self._recorded = recorded
        for stream, found in self._layer.streams.items():
            marked = marks.state.get(stream)
            if marked is not None and found.config.durability is not Durability.MEMORY:
                found.attach(marked)

    def settle(self) -> None:
        """Every stream there is was created: marks of others go, and those beyond an end that was lost with the machine."""
        for stream, marked in list(self.marks.state.items()):
            found = self._layer.streams.get(StreamId(stream))
            if found is None:
                self.marks.decide(b"gone", stream)
                continue
            if max(marked.gone.last_end(), marked.start) > found.next:
                self.marks.decide(b"cut", stream, found.next)
                found.start = max(min(found.start, found.next), marked.start)

    def remove(self, stream: StreamId, ranges: Sequence[tuple[int, int]]) -> Commit:
        """See ``protocols.api.World.remove``."""
        found = self._layer.streams.get(stream)
        if found is None:
            return Commit(0)
        wanted = [(max(first, found.start), min(last + 1, found.next)) for first, last in ranges]
        wanted = [(start, end) for start, end in wanted if start < end]
        if wanted and found.limits is not None:
            found.limits.removed(self._layer, found, wanted)
        return self.mark(found, wanted)

    def mark(self, found: Stream, ranges: Sequence[tuple[int, int]]) -> Commit:
        """These half-open ranges, within the stream, are gone. What is already is passed over."""
        if self._layer.broken and found.config.durability is not Durability.MEMORY:
            return NEVER
        if found.marked is None:
            found.attach(Marked() if found.config.durability is Durability.MEMORY else self.marks.of(found.id))
        new: list[int] = []
        for start, end in ranges:
            if found.gone.add(start, end):
                new += (start, end)
        if found.config.durability is Durability.MEMORY or not self._recorded:
            return Commit(0)
        if new:
            marking = self._marking_of(found)[1]
            if marking and marking[-1] == new[0]:
                marking[-1] = new[1]
                del new[:2]
            marking += new
            return self._layer.commit_next
        return self.commit if self.commit > self._layer.durable_commit else Commit(0)

    def forward(self, found: Stream, before: int) -> None:
        """The stream begins at ``before``: said by a mark in this turn's commit. Its files go when ``retain`` comes by."""
        if found.marked is None:
            found.attach(Marked() if found.config.durability is Durability.MEMORY else self.marks.of(found.id))
        assert found.marked is not None
        found.marked.forward(before)
        found.start = max(found.start, before)
        if found.index is not None:
            found.index.trim(before)
        if found.config.durability is not Durability.MEMORY and self._recorded and not self._layer.broken:
            self._marking_of(found)[0][:] = [before]

    def cleaned(self, found: Stream, end: int, now_ms: int, tombstones: bool) -> None:
        """Compaction came to ``end``; whether it left tombstones there that were not to go yet."""
        if self._layer.broken or self._layer.streams.get(found.id) is not found:
            return
        known = self.marks.of(found.id)
        waiting = [one for one in known.cleaned if one[1] and one[1] + found.config.tombstone_ms > now_ms]
        swept = max((one[0] for one in known.cleaned if one not in waiting), default=0)
        if end > max(swept, *(one[0] for one in waiting), 0):
            waiting.append((end, now_ms))
        passes = [(swept, 0), *waiting[-PASSES_MAX:]] if tombstones else [(end, 0)]
        self.marks.decide(b"settled", found.id, *passes[0])
        for one in passes[1:]:
            self.marks.decide(b"cleaned", found.id, *one)
        found.attach(known)

    def _marking_of(self, found: Stream) -> tuple[list[int], list[int]]:
        if not self._layer.dirty and not self.marking:
            self._layer.touched()
        self.commit = self._layer.commit_next
        return self.marking.setdefault(found.id, ([], []))

    def write(self) -> None:
        """One record a stream and turn (more, where it would be very large)."""
        marking, self.marking = self.marking, {}
        for stream, (start, ranges) in marking.items():
            for first in range(0, len(ranges), 2 * RANGES_MAX):
                self.marks.write(b"removed", stream, *ranges[first : first + 2 * RANGES_MAX])
            if start:
                self.marks.write(b"start", stream, *start)

    def retain(self, now_ms: int) -> int:
        """Apply every stream's retention: whole segments go, and exact limits move the start. Returns how many streams lost
        some."""
        trimmed = 0
        self.expires_ms = -1
        for found in list(self._layer.streams.values()):
            config = found.config
            limited = config.retention_ms >= 0 or config.retention_bytes >= 0 or config.retention_records >= 0
            if not (limited or found.marked is not None or config.segment_ms >= 0):
                continue
            try:
                start = found.start
                if found.limits is not None:
                    self._expires(found.limits.expire(self._layer, found, now_ms))
                before = self._retained_from(found, now_ms) if limited and not config.exact_limits else found.start
                if before > found.start:
                    self._layer.trim(found.id, Position(before))
                if found.marked is not None:
                    self._reclaim(found)
                if config.segment_ms >= 0:
                    self._roll(found, now_ms)
                trimmed += found.start > start
            except EngineError:
                continue  # corrupt, or the epoch ended: the next round tries again
        return trimmed

    def _expires(self, at_ms: int) -> None:
        if at_ms >= 0 and (self.expires_ms < 0 or at_ms < self.expires_ms):
            self.expires_ms = at_ms

    def _reclaim(self, found: Stream) -> None:
        """Segments of which nothing is left go for good, once the marks that say so are durable."""
        engine = self._layer.engine_of(found.config)
        before = Position(min(found.gone.beyond(found.start), found.next))
        segments = engine.segments(found.id)
        if (
            not segments
            or segments[0].end > before
            or before > found.durable
            or self.commit > self._layer.durable_commit
        ):
            return
        if before < found.next:
            before = Position(max(segment.end for segment in segments if segment.end <= before))
        if before > found.start:
            self._layer.trim(found.id, before)
        elif before > engine.ends(found.id).start:
            engine.trim(found.id, before)

    def _roll(self, found: Stream, now_ms: int) -> None:
        """Seal an active segment that was first seen ``segment_ms`` ago."""
        engine = self._layer.engine_of(found.config)
        segments = engine.segments(found.id)
        if not segments or segments[-1].end != found.next:
            return  # empty, or something of it is still to be written
        if found.segment_base != segments[-1].base:
            found.segment_base, found.segment_ms = segments[-1].base, now_ms
        if now_ms - found.segment_ms >= found.config.segment_ms:
            engine.roll(found.id)
        else:
            self._expires(found.segment_ms + found.config.segment_ms)

    def _retained_from(self, found: Stream, now_ms: int) -> int:
        config = found.config
        before = found.start
        segments = list(self._layer.engine_of(config).segments(found.id))
        total = sum(segment.bytes for segment in segments)
        for segment in segments[:-1]:
            old = config.retention_ms >= 0 and segment.max_timestamp_ms < now_ms - config.retention_ms
            large = config.retention_bytes >= 0 and total - segment.bytes >= config.retention_bytes
            if not (old or large):
                break
            before = max(before, segment.end)
            total -= segment.bytes
        if config.retention_records >= 0:
            before = max(before, found.durable - config.retention_records)
        return before
