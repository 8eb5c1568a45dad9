"""Compaction: of each key the last record is kept; and what marks removed goes from the files too.

As Kafka's log cleaner (``cleanup.policy=compact``; KIP-58 lag, KIP-534 tombstones; behaviour of LogCleaner):

* Only settled segments are written anew, never the active one; positions, leader epochs and the last batch of each producer
  stay, so that offsets, epochs and sequences mean what they meant.
* A pass reads the keys of what is new since the last one (the *dirty* part), up to ``KEYS_MAX`` of them, and rewrites every
  segment up to there without records whose key came again. What is younger than ``compaction_lag_ms`` is left for later.
* It begins when the dirty part is ``compaction_percent`` of all that is settled.
* A record without a key goes. One without a value (a tombstone) goes ``tombstone_ms`` after the first pass over it.
* A batch with nothing left is kept as an empty one; a run of those becomes one.
* In any stream, a settled segment of whose records marks took half or more is written anew without them.

One pass at a time, ``step`` by ``step``: each reads ``STEP_BYTES`` at most. A pass that ends early has changed nothing that
matters: what it rewrote stays right, and the next one begins again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from substrate import batch as batches
from substrate.api import Durability, Position
from substrate.batch import BatchError, Header
from substrate.engine import Batch, EngineError, Rewrite, Segment

if TYPE_CHECKING:
    from substrate.layer import StreamLayer
    from substrate.streams import Stream

STEP_BYTES = 256 * 1024
STEP_MS = 2
SETTLE_MS = 250
KEYS_MAX = 250_000
"""Of one pass: about 40 MB."""
KEY_BYTES_MAX = 32
"""Longer keys are known by their hash."""
PRODUCER_MS = 7 * 86_400_000
"""After so long without a batch of it, a producer is forgotten (Kafka's producer.id.expiration.ms is a day)."""
HEADER_COUNT = 57

Gone = Callable[[list[tuple[int, bytes | None, bool]]], list[tuple[int, int]]]
"""Which of these (position, key, has a value) go: ranges, both ends included."""


class Compaction:
    """Of one shard. New in each epoch."""

    def __init__(self, layer: StreamLayer) -> None:
        self._layer = layer
        self._pass: Iterator[None] | None = None
        self._rewrite: Rewrite | None = None
        self._after = 0
        """The stream looked at last: every one has its turn."""
        self._unsettled = False
        """What is to be written anew waits until the engine has settled it."""
        self.rewritten = 0
        """Segments, since the start."""

    def turn(self, now_ms: int) -> int:
        """Do a little, or see whether there is something to do; in how many ms to come again, -1: at leisure."""
        if self._pass is not None:
            self.step()
        if self.look(now_ms):
            return STEP_MS
        return SETTLE_MS if self._unsettled else -1

    def look(self, now_ms: int) -> bool:
        """Whether there is something to ``step``: a pass under way, or one that begins now."""
        if self._pass is None:
            self._unsettled = False
            streams = sorted(self._layer.streams)
            for stream in [
                *[one for one in streams if one > self._after],
                *[one for one in streams if one <= self._after],
            ]:
                found = self._layer.streams[stream]
                if found.config.durability is Durability.MEMORY or not (found.config.compaction or found.gone):
                    continue
                try:
                    self._pass = self._begin(found, now_ms)
                except EngineError:
                    continue
                if self._pass is not None:
                    self._after = stream
                    break
        return self._pass is not None

    def step(self) -> bool:
        """Do a little; whether there is more."""
        if self._pass is None:
            return False
        try:
            next(self._pass)
        except (StopIteration, EngineError):
            self.give_up()
        return self._pass is not None

    def give_up(self) -> None:
        self._pass = None
        if self._rewrite is not None:
            self._rewrite.abandon()
            self._rewrite = None

    def _begin(self, found: Stream, now_ms: int) -> Iterator[None] | None:
        config = found.config
        engine = self._layer.engine
        segments = [
            one for one in engine.segments(found.id)[:-1] if one.base >= found.start and one.end <= found.durable
        ]
        if config.compaction:
            young = [one.base for one in segments if one.max_timestamp_ms > now_ms - config.compaction_lag_ms]
            old = [one for one in segments if not young or one.end <= young[0]]
            cleaned = cleaned_end(found)
            dirty = sum(one.bytes for one in old if one.end > cleaned)
            enough = dirty and dirty * 100 >= config.compaction_percent * sum(one.bytes for one in old)
            if enough or _tombstones_due(found, now_ms):
                settled = engine.settled(found.id)
                self._unsettled = self._unsettled or any(one.end > settled for one in old)
                old = [one for one in old if one.end <= settled]
                if any(one.end > cleaned for one in old) or _tombstones_due(found, now_ms):
                    return self._compact(found, old, now_ms)
                return None
        if not found.gone:
            return None
        marked = [one for one in segments if self._mostly_marked(found, one)]
        if not marked:
            return None
        settled = engine.settled(found.id)
        self._unsettled = self._unsettled or any(one.end > settled for one in marked)
        marked = [one for one in marked if one.end <= settled]
        return self._purge(found, marked, now_ms) if marked else None

    def _mostly_marked(self, found: Stream, segment: Segment) -> bool:
        left = segment.end - segment.base - found.gone.count(segment.base, segment.end)
        return segment.records > 0 and 2 * max(left, 0) <= segment.records

    # a pass

    def _compact(self, found: Stream, segments: Sequence[Segment], now_ms: int) -> Iterator[None]:
        cleaned = cleaned_end(found)
        latest: dict[bytes, int] = {}
        until = cleaned
        for segment in segments:
            if segment.end <= cleaned:
                continue
            for batch in self._batches(found, segment):
                if batch is None:
                    yield
                    continue
                for position, key, _ in _keys(batch):
                    if key is not None and position not in found.gone:
                        latest[_short(key)] = position
            until = segment.end
            if len(latest) > KEYS_MAX:
                break
        passes = [] if found.marked is None else list(found.marked.cleaned)
        horizon = max((end for end, at_ms in passes if at_ms + found.config.tombstone_ms <= now_ms), default=0)
        left = 0

        def gone(records: list[tuple[int, bytes | None, bool]]) -> list[tuple[int, int]]:
            nonlocal left
            made = []
            for position, key, value in records:
                if key is None or position in found.gone or latest.get(_short(key), -1) > position:
                    made.append((position, position))
                elif not value:
                    if position < horizon:
                        made.append((position, position))
                    else:
                        left += 1
            return made

        for segment in segments:
            if segment.end <= until:
                yield from self._write(found, segment, gone, now_ms)
        self._layer.removal.cleaned(found, until, now_ms, left > 0)

    def _purge(self, found: Stream, segments: Sequence[Segment], now_ms: int) -> Iterator[None]:
        def gone(records: list[tuple[int, bytes | None, bool]]) -> list[tuple[int, int]]:
            return [(position, position) for position, _, _ in records if position in found.gone]

        for segment in segments:
            yield from self._write(found, segment, gone, now_ms)

    def _batches(self, found: Stream, segment: Segment) -> Iterator[Batch | None]:
        """The segment's batches as stored; None now and then: so much was read.

        Raises:
            EngineError: CORRUPT, or the stream was trimmed or deleted meanwhile.
        """
        at = segment.base
        while at < segment.end:
            for batch in self._layer.engine.read(found.id, at, STEP_BYTES):
                header = batches.header(batch)
                if header.base_offset >= segment.end:
                    break
                yield batch
                at = Position(header.base_offset + header.last_offset_delta + 1)
            yield None

    def _write(self, found: Stream, segment: Segment, gone: Gone, now_ms: int) -> Iterator[None]:
        """Write the segment anew, if anything of it goes."""
        newest = self._newest(found, segment, now_ms)
        rewrite = self._rewrite = self._layer.engine.rewrite(found.id, segment.base)
        empty: bytes | None = None
        changed = False
        for batch in self._batches(found, segment):
            if batch is None:
                yield
                continue
            header = batches.header(batch)
            kept = _sift(batch, header, gone)
            changed = changed or kept is not batch
            left = int.from_bytes(kept[HEADER_COUNT : HEADER_COUNT + 4])
            if left or newest.get(header.producer_id) == header.base_offset:
                if empty is not None:
                    rewrite.add([empty])
                    empty = None
                rewrite.add([kept])
            elif empty is not None and _joins(empty, header):
                empty = batches.empty(empty, header.base_offset + header.last_offset_delta, False)
                changed = True
            else:
                if empty is not None:
                    rewrite.add([empty])
                empty = batches.empty(kept, header.base_offset + header.last_offset_delta, False)
        if empty is not None:
            rewrite.add([empty])
        if changed:
            if found.config.compaction:
                self._layer.indexes.drop(found)  # it counts what goes: made anew when it is asked
            rewrite.finish()
            while not rewrite.done:
                yield
            self.rewritten += rewrite.replaced
            if found.config.compaction:
                self._layer.indexes.drop(found)
        else:
            rewrite.abandon()
        self._rewrite = None

    def _newest(self, found: Stream, segment: Segment, now_ms: int) -> dict[int, int]:
        """The base of each producer's last batch in the segment: kept, so that its sequence goes on."""
        last: dict[int, int] = {}
        for raw in self._layer.engine.headers(found.id, segment.base):
            header = batches.header(raw)
            if header.base_offset >= segment.end:
                break
            if header.producer_id >= 0 and header.max_timestamp > now_ms - PRODUCER_MS:
                last[header.producer_id] = header.base_offset
        return last


def _tombstones_due(found: Stream, now_ms: int) -> bool:
    """Whether the time of some that a pass has left is over."""
    passes = found.marked.cleaned if found.marked is not None else ()
    return any(at_ms and at_ms + found.config.tombstone_ms <= now_ms for _, at_ms in passes)


def cleaned_end(found: Stream) -> int:
    """Up to where compaction came."""
    return found.marked.cleaned[-1][0] if found.marked is not None and found.marked.cleaned else 0


def _keys(batch: Batch) -> list[tuple[int, bytes | None, bool]]:
    try:
        return batches.keys(batch)
    except BatchError:
        return []  # opaque to us: kept as it is


def _short(key: bytes) -> bytes:
    return key if len(key) < KEY_BYTES_MAX else blake2b(key, digest_size=KEY_BYTES_MAX).digest()


def _sift(batch: Batch, header: Header, gone: Gone) -> Batch:
    """The batch without what goes: itself, if nothing does. Control batches and what cannot be decoded stay."""
    ranges = gone(_keys(batch))
    return batches.without(batch, ranges) if ranges else batch


def _joins(empty: bytes, following: Header) -> bool:
    """Whether the empty batch and the one that follows may become one."""
    before = batches.header(empty)
    delta = following.base_offset + following.last_offset_delta - before.base_offset
    return bool(before.epoch == following.epoch and delta < 1 << 31)


__all__ = ["Compaction", "cleaned_end"]
