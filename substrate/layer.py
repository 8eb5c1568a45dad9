"""The stream layer: order, conditions, durability and reads of one shard, over any engine. Sans-IO.

One instance is the sequencer of its shard. A *turn* collects what was appended to any of its streams; ``commit`` hands it
to the engine as one frame. Positions are given at once (ordered); the engine says later what is durable.

Per stream the tail moves through three marks: ``next`` (ordered), ``written`` (readable at ORDERED: its frame was
written) and ``durable``. Conditions are judged against ``next`` before messages are grouped into batches, so that one
client's failed condition rejects only its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from substrate import batch as batches
from substrate.api import (
    BATCH_BYTES_MAX,
    Ack,
    Address,
    Appended,
    Batches,
    Commit,
    Conditions,
    Durability,
    Epoch,
    ErrorCode,
    Group,
    Level,
    Pattern,
    Position,
    Record,
    Rejected,
    Shard,
    StreamConfig,
    StreamError,
    StreamId,
    StreamKey,
    Tail,
    Watcher,
)
from substrate.batch import BatchBuilder, BatchError
from substrate.compaction import Compaction
from substrate.conditions import MessageIds, Producers
from substrate.engine import Batch, Engine, EngineError, Frame, Part, Segment
from substrate.indexes import Indexes
from substrate.limits import limits_of, record_bytes, size_of
from substrate.marks import strip
from substrate.queries import find_time, query
from substrate.removal import Removal
from substrate.streams import NEVER, NOTHING, Stream, Watch

TURN_BYTES_MAX = 16 * 1024 * 1024
"""Space asked for before anything of a turn is ordered; a turn that grows beyond it is committed early."""
DOUBTED_MAX = 10_000
"""Producers remembered of one stream."""
SCAN_BYTES = 1024 * 1024


class StreamLayer:
    """``on_durable(shard, commit)`` and ``on_failed(shard, above)`` are the host's: it releases barriers with them.

    ``touched`` is called at the first append of a turn: the host answers by calling ``commit`` at the end of the turn.
    """

    def __init__(
        self,
        engine: Engine,
        memory: Engine,
        touched: Callable[[], None],
        on_durable: Callable[[Shard, Commit], None],
        on_failed: Callable[[Shard, Commit], None],
    ) -> None:
        self.engine = engine
        self._memory = memory  # streams with Durability.MEMORY
        self._memory_commit = Commit(0)
        self.touched = touched
        self._on_durable = on_durable
        self._on_failed = on_failed
        self.streams: dict[StreamId, Stream] = {}
        self.shard = engine.shard
        self.epoch = Epoch(0)
        self.now_ms = 0
        """Stamped by the host at the beginning of a turn; never goes back."""
        self.commit_next = Commit(1)
        self.dirty: list[Stream] = []
        self._turn_bytes = 0
        self.durable_commit = Commit(0)
        self._after: deque[tuple[Commit, Callable[[], None]]] = deque()
        """What the engine is asked to do for good once a commit is durable: trims and deletions."""
        self._ready: list[Callable[[], None]] = []
        self._former: dict[StreamId, Stream] = {}
        """While executors are rebuilt: the streams there were before the failure."""
        self._in_flight: deque[tuple[Commit, list[tuple[Stream, int]]]] = deque()
        self._advanced: dict[int, Watch] = {}
        self.removal = Removal(self)
        self.compaction = Compaction(self)
        self.indexes = Indexes(self)
        self.broken = ""
        """Why nothing can be appended now; empty when all is well."""
        self.appended_records = 0
        self.doubted: dict[StreamId, set[int]] = {}
        """Producers of whom a batch was refused or lost: of a stream that they begin, they begin at 0."""

    # opening

    def open(self, now_ms: int) -> None:
        """Open the engines; streams are then made known by ``create`` in any order."""
        self._memory.open(_Ignore(), now_ms)
        self._opened = self.engine.open(self, now_ms)
        self.epoch = self._opened.epoch
        self.commit_next = Commit(self._opened.commit + 1)
        self.durable_commit = self._opened.commit
        self.now_ms = max(self.now_ms, now_ms)

    def create(self, stream: StreamId, key: StreamKey, config: StreamConfig) -> None:
        """Make a stream known; one that the engine holds goes on at its end. Repeating it is allowed."""
        if stream in self.streams:
            return
        name = f"{key.account}/{key.name.decode('latin-1')}-{key.partition}"
        in_memory = config.durability is Durability.MEMORY
        former = self._former.get(stream)
        if former is not None and former.key == key and in_memory == (former.config.durability is Durability.MEMORY):
            made = self._former.pop(stream)
            self.engine_of(config).create(stream, name, config)
            if made.config != config:
                self.engine_of(config).configure(stream, config)
                made.config = config
                made.limits = limits_of(config)
        else:
            made = Stream(stream, key, config)
            self.engine_of(config).create(stream, name, config)
        ends = None if in_memory else self._opened.streams.get(stream)
        if ends is not None:
            made.start = ends.start
            made.next = made.written = made.durable = ends.end
            marked = self.removal.marks.state.get(stream)
            if marked is not None:
                made.attach(marked)
        self.streams[stream] = made

    def held(self, stream: StreamId) -> bool:
        """Whether the engine held this stream when it was opened."""
        return stream in self._opened.streams

    def configure(self, stream: StreamId, config: StreamConfig) -> None:
        found = self.streams[stream]
        if (found.config.durability is Durability.MEMORY) != (config.durability is Durability.MEMORY):
            raise EngineError(ErrorCode.UNSUPPORTED, "a stream stays in memory or on disk")
        self.engine_of(config).configure(stream, config)
        found.config = config
        found.limits = limits_of(config)
        if found.limits is not None and not self.broken:
            found.limits.settle(self, found)

    def engine_of(self, config: StreamConfig) -> Engine:
        return self._memory if config.durability is Durability.MEMORY else self.engine

    # appending

    def append_group(
        self, stream: StreamId, group: Group, when: Conditions | None = None
    ) -> Appended | Rejected | StreamError:
        """Order the group's messages at the stream's end. Its values are copied before this returns."""
        refused = self.refuse(stream, group)
        if refused is not None:
            return refused
        found = self.streams[stream]
        if when is not None or found.limits is not None:
            against = self._against(found, group, when)
            if against is not None:
                return against
        return self.append_judged(found, group, when)

    def against(
        self, stream: StreamId, group: Group, when: Conditions | None
    ) -> Appended | Rejected | StreamError | None:
        """What is answered instead of appending the group; None: nothing speaks against it."""
        refused = self.refuse(stream, group)
        return refused if refused is not None else self._against(self.streams[stream], group, when)

    def _against(
        self, found: Stream, group: Group, when: Conditions | None
    ) -> Appended | Rejected | StreamError | None:
        if when is not None:
            judged = self.judge(found.id, when)
            if judged is not None:
                return judged
        if found.limits is None or not found.limits.active:
            return None
        try:
            return found.limits.refuse(self, found, [(group.address, group.count, _group_bytes(group))])
        except EngineError as error:
            return StreamError(error.code, error.detail)

    def refuse(self, stream: StreamId, group: Group) -> StreamError | None:
        """Why this group cannot be appended, whatever the conditions; None if it can."""
        found = self.streams.get(stream)
        if found is None:
            return StreamError(ErrorCode.NO_STREAM)
        limit = found.config.record_bytes_max
        if group.value_bytes > limit and max(group.spans[1::2]) > limit:
            return StreamError(ErrorCode.TOO_LARGE, f"{max(group.spans[1::2])} bytes, limit {limit}")
        return self._refuse(found, group.value_bytes, group.count)

    def append_judged(self, found: Stream, group: Group, when: Conditions | None) -> Appended:
        """Append what nothing was ``against``."""
        base = self.append_slices(
            found, group.buffer, group.spans, group.count, group.address, group.headers, group.value_bytes
        )
        last = Position(base + group.count - 1)
        answer = Appended(
            found.id, Position(base), last, self.now_ms, self.epoch, self.shard, self.commit_under_way(found)
        )
        group.base = base
        group.timestamp_ms = self.now_ms
        if when is not None and when.message_id is not None and found.ids is not None:
            found.ids.add(when.message_id, answer.base, self.now_ms)
        if found.limits is not None:
            found.limits.appended(self, found, base, [(group.address, group.count, _group_bytes(group))])
        return answer

    def append_slices(
        self,
        found: Stream,
        buffer: object,
        spans: Sequence[int],
        count: int,
        key: bytes,
        headers: list[object] | None,
        value_bytes: int,
    ) -> int:
        """The common way in for messages of ours: ``spans`` are (offset, length) pairs into ``buffer``. Not refused; while
        nothing can be made durable it is dropped: executors are rebuilt without it. Returns the first one's position."""
        if self.broken and found.config.durability is not Durability.MEMORY:
            return found.next
        if not self.dirty:
            self.touched()
        base = found.next
        if not found.pending and found.builder is None:
            found.pending_base = base
            self.dirty.append(found)
        first = 0
        overhead = 40 + len(key)
        if value_bytes + count * overhead + (found.builder.size() if found.builder else 0) > BATCH_BYTES_MAX:
            while first < count:
                first = self._fill(found, buffer, spans, first, count, key, headers, overhead)
        else:
            if found.builder is None:
                found.builder = BatchBuilder(1024 if count == 1 else value_bytes + count * overhead)
                found.builder_base = base
            found.builder.add_slices(buffer, spans, self.now_ms, key, 0, count, headers)
        found.next = base + count
        self._turn_bytes += value_bytes + count * overhead
        self.appended_records += count
        if found.index is not None:
            found.index.add(Address(key), base, count)
        if found.ids is not None:
            found.ids.last = None
        return base

    def commit_under_way(self, found: Stream) -> Commit:
        """What to wait for before what was just ordered is durable: 0 where nothing is, NEVER where it was dropped."""
        if found.config.durability is Durability.MEMORY:
            return Commit(0)
        return NEVER if self.broken else self.commit_next

    def _fill(
        self, found: Stream, buffer: object, spans: Sequence[int], first: int, count: int, key: bytes,
        headers: list[object] | None, overhead: int,
    ) -> int:  # fmt: skip
        """Put as many of the messages as one batch holds into the builder; return the first that is left."""
        done = found.next + first
        if found.builder is None:
            found.builder = BatchBuilder(BATCH_BYTES_MAX)
            found.builder_base = done
        room = BATCH_BYTES_MAX - found.builder.size()
        last = first
        while last < count and (room >= spans[2 * last + 1] + overhead or (found.builder.count == 0 and last == first)):
            room -= spans[2 * last + 1] + overhead
            last += 1
        if last > first:
            found.builder.add_slices(buffer, spans, self.now_ms, key, first, last, headers)
        if last < count:
            self._close_builder(found)
        return last

    def append_batch(self, stream: StreamId, batch: Batch) -> Appended | Rejected | StreamError:
        """Order one batch as a client made it; a ``bytearray`` is patched in place, anything else copied first."""
        found = self.streams.get(stream)
        if found is None:
            return StreamError(ErrorCode.NO_STREAM)
        try:
            header = batches.check(batch)
        except BatchError as error:
            return StreamError(ErrorCode.CORRUPT if error.reason == "crc" else ErrorCode.INVALID, str(error))
        if header.attributes & (batches.MARK | batches.CONTROL | batches.TRANSACTIONAL):
            return StreamError(ErrorCode.INVALID, "the batch carries a mark that only the server sets")
        refused = self._refuse(found, len(batch), header.count)
        if refused is not None:
            self._doubt(found, header.producer_id)
            return refused
        if len(batch) > found.config.record_bytes_max:
            self._doubt(found, header.producer_id)
            return StreamError(ErrorCode.TOO_LARGE, f"{len(batch)} bytes, limit {found.config.record_bytes_max}")
        by_address: list[tuple[bytes, int, int]] = []
        try:
            judged = self._producers(found).judge(header, found, self) if header.producer_id >= 0 else None
            if judged is None and found.limits is not None and found.limits.active:
                by_address = _by_address(batch, found)
                judged = found.limits.refuse(self, found, by_address)
        except EngineError as error:
            return StreamError(error.code, error.detail)
        if judged is not None:
            if isinstance(judged, Rejected):
                self._doubt(found, header.producer_id)
            return judged
        if not self.dirty:
            self.touched()
        base = found.next
        if not found.pending and found.builder is None:
            found.pending_base = base
            self.dirty.append(found)
        self._close_builder(found)
        owned = (
            batch
            if isinstance(batch, bytearray) or (isinstance(batch, memoryview) and not batch.readonly)
            else bytearray(batch)
        )
        timestamp_ms = header.max_timestamp
        if found.config.append_time:
            timestamp_ms = self.now_ms
            batches.stamp(owned, timestamp_ms)
        batches.patch(owned, base, self.epoch)
        found.pending.append(owned)
        found.pending_bytes += len(owned)
        found.max_timestamp_ms = max(found.max_timestamp_ms, timestamp_ms)
        found.next = base + header.count
        self._turn_bytes += len(owned)
        self.appended_records += header.count
        if header.producer_id >= 0:
            self._producers(found).add(header, base)
        if found.index is not None:
            self.indexes.add_batch(found, owned)
        if found.ids is not None:
            found.ids.last = None
        commit = Commit(0) if found.config.durability is Durability.MEMORY else self.commit_next
        if by_address and found.limits is not None:
            found.limits.appended(self, found, base, by_address)
        return Appended(
            stream,
            Position(base),
            Position(base + header.count - 1),
            timestamp_ms,
            self.epoch,
            self.shard,
            commit,
        )

    def _doubt(self, found: Stream, producer: int) -> None:
        """What this producer sends next may have lost what came before it."""
        if producer >= 0:
            known = self.doubted.setdefault(found.id, set())
            if len(known) < DOUBTED_MAX:
                known.add(producer)

    def _refuse(self, found: Stream, size: int, count: int) -> StreamError | None:
        if count == 0:
            return StreamError(ErrorCode.INVALID, "nothing to append")
        if found.config.durability is Durability.MEMORY:
            return None
        if self.broken:
            return StreamError(ErrorCode.UNAVAILABLE, self.broken)
        size += 64 * count
        if not self.dirty or self._turn_bytes + size > TURN_BYTES_MAX:
            if not self.engine.reserve(max(TURN_BYTES_MAX, self._turn_bytes + size)):
                return StreamError(ErrorCode.NO_SPACE)
        return None

    def relieve(self, size: int) -> None:
        """A turn that these bytes would make too large is committed first. Not within what must be one commit."""
        if self.dirty and self._turn_bytes + size > TURN_BYTES_MAX:
            self.commit()

    def room(self) -> bool:
        """Whether a turn finds its space: asked before an executor orders something."""
        return bool(self.dirty) or self.engine.reserve(TURN_BYTES_MAX)

    def _close_builder(self, found: Stream) -> None:
        builder = found.builder
        if builder is None or builder.count == 0:
            found.builder = None
            return
        found.max_timestamp_ms = max(found.max_timestamp_ms, builder.max_timestamp)
        made = builder.finish(found.builder_base, self.epoch)
        found.pending.append(made)
        found.pending_bytes += len(made)
        found.builder = None

    # conditions

    def judge(self, stream: StreamId, when: Conditions) -> Appended | Rejected | StreamError | None:
        """What is answered instead of appending; None if all holds."""
        try:
            return self._judge(self.streams[stream], when)
        except EngineError as error:
            return StreamError(error.code, error.detail)

    def _judge(self, found: Stream, when: Conditions) -> Appended | Rejected | None:
        """None: go on. Judged in nats-server's order (server/stream.go processJetStreamMsg, behaviour)."""
        if when.stream is not None and when.stream != found.key.name:
            return Rejected("stream", found.key.name)
        if when.message_id is not None:
            position = self._message_ids(found, when.window_ms).find(when.message_id, self.now_ms - when.window_ms)
            if position >= 0:
                return Appended(
                    found.id, Position(position), Position(position), self.now_ms, self.epoch, self.shard,
                    self.commit_of(found, position), duplicate=True,
                )  # fmt: skip
        if when.tail is not None and when.tail != found.next:
            return Rejected("tail", found.next)
        if when.last_message_id is not None:
            actual = self._message_ids(found).last_id(found, self)
            if actual != when.last_message_id:
                return Rejected("last_message_id", actual)
        if when.last is not None:
            address = when.last[0]
            last = self.indexes.ask(found, lambda index: index.last(address, found.start, found.next, found.gone))
            if last != when.last[1]:
                return Rejected("last", last)
        return None

    def commit_of(self, found: Stream, position: int) -> Commit:
        """The commit whose durability covers this position; 0: it is durable."""
        if found.config.durability is Durability.MEMORY or position < found.durable:
            return Commit(0)
        for number, parts in self._in_flight:
            if any(stream is found and end > position for stream, end in parts):
                return number
        return self.commit_next

    def _message_ids(self, found: Stream, window_ms: int = 120_000) -> MessageIds:
        if found.ids is None:
            found.ids = MessageIds()
            found.ids.rebuild(self.each(found, find_time(self, found, self.now_ms - window_ms, found.next)))
        return found.ids

    def _producers(self, found: Stream) -> Producers:
        if found.producers is None:
            made = Producers()
            for raw in self.headers(found, found.start):
                header = batches.header(raw)
                if header.producer_id >= 0:
                    made.add(header, header.base_offset)
            found.producers = made
        return found.producers

    def _pending(self, found: Stream) -> list[Batch]:
        """What this turn holds of the stream, as batches: ordered, not written yet."""
        self._close_builder(found)
        return found.pending

    def headers(self, found: Stream, start: int) -> Iterator[bytes]:
        """The headers of the batches from ``start`` to the ordered end."""
        if start < found.written:
            yield from self.engine_of(found.config).headers(found.id, Position(start))
        for batch in self._pending(found):
            raw = bytes(memoryview(batch)[: batches.HEADER_BYTES])
            header = batches.header(raw)
            if header.base_offset + header.last_offset_delta >= start:
                yield raw

    def each(self, found: Stream, start: int) -> Iterator[Record]:
        """Every record from ``start`` to the ordered end, also what is gone but not removed yet. For building what is built
        once.

        Raises:
            EngineError: CORRUPT.
        """
        at = start
        engine = self.engine_of(found.config)
        while at < found.next:
            data = engine.read(found.id, Position(at), SCAN_BYTES) if at < found.written else list(self._pending(found))
            for batch in data:
                header = batches.header(batch)
                try:
                    yield from batches.decode(batch, found.key.name, start)
                except BatchError:
                    pass
                at = max(at, header.base_offset + header.last_offset_delta + 1)

    # the end of a turn

    def commit(self) -> None:
        """Hand this turn to the engine as one frame: all of it becomes durable, or nothing."""
        if self._ready:
            self._finish()
        if self.removal.marking:
            self.removal.write()
        if not self.dirty:
            return
        parts: list[Part] = []
        memory: list[Part] = []
        ends: list[tuple[Stream, int]] = []
        for found in self.dirty:
            self._close_builder(found)
            part = Part(
                found.id, Position(found.pending_base), Position(found.next), found.pending, found.pending_bytes,
                found.max_timestamp_ms,
            )  # fmt: skip
            found.pending = []
            found.pending_bytes = 0
            if found.index is not None and found.index.pending:
                self.indexes.work(found, found.index, found.next - found.pending_base)
            if found.config.durability is Durability.MEMORY:
                memory.append(part)
            else:
                parts.append(part)
                ends.append((found, found.next))
        touched, self.dirty = self.dirty, []
        self._turn_bytes = 0
        if memory:
            self._memory_commit = Commit(self._memory_commit + 1)
            self._memory.append(Frame(self._memory_commit, memory))
            for found in touched:
                if found.config.durability is Durability.MEMORY:
                    found.written = found.durable = found.next
        if parts and not self.broken:  # what was ordered before the epoch ended within this turn is lost with it
            number = self.commit_next
            self.commit_next = Commit(number + 1)
            self._in_flight.append((number, ends))
            for found, end in ends:
                found.written = end
            try:
                self.engine.append(Frame(number, parts))
            except EngineError as error:
                self.failed(self.shard, self.durable_commit, str(error))
        for found in touched:
            for watch in found.watchers:
                if watch.level is Level.ORDERED or found.config.durability is Durability.MEMORY:
                    self._advanced[id(watch)] = watch
        if self._ready:
            self._finish()
        if self._advanced:
            self.touched()

    def _finish(self) -> None:
        """Do what waited for a commit that is durable now, before the answer that waits for it leaves."""
        ready, self._ready = self._ready, []
        for act in ready:
            try:
                act()
            except EngineError as error:
                self.failed(self.shard, self.durable_commit, str(error))

    def _once_durable(self, commit: Commit, act: Callable[[], None]) -> None:
        if commit <= self.durable_commit:
            self._ready.append(act)
        else:
            self._after.append((commit, act))
        self.touched()

    def advanced(self) -> list[Watch]:
        """Whose streams advanced since the last call: the host tells each that is not closed (they may append: commit again)."""
        if not self._advanced:
            return []
        advanced, self._advanced = self._advanced, {}
        return list(advanced.values())

    def notify(self) -> bool:
        """Tell watchers what advanced; returns whether there were any."""
        advanced = self.advanced()
        for watch in advanced:
            if not watch.closed:
                watch.watcher.advanced(watch.stream)
        return bool(advanced)

    # the engine's listener

    def durable(self, shard: Shard, commit: Commit) -> None:
        while self._in_flight and self._in_flight[0][0] <= commit:
            _, ends = self._in_flight.popleft()
            for found, end in ends:
                found.durable = max(found.durable, end)
                for watch in found.watchers:
                    if watch.level is not Level.ORDERED:
                        self._advanced[id(watch)] = watch
        self.durable_commit = max(self.durable_commit, commit)
        while self._after and self._after[0][0] <= commit:
            self._ready.append(self._after.popleft()[1])
        self._on_durable(shard, commit)
        if self._advanced or self._ready:
            self.touched()

    def failed(self, shard: Shard, above: Commit, reason: str) -> None:
        """The epoch ended: what is above is lost or unknown. Nothing is appended until ``recover`` succeeds."""
        if self.broken:
            return  # told by both the listener and the call that failed
        self.broken = reason or "the storage failed"
        self._in_flight.clear()
        self._after.clear()
        self.removal.drop()
        self._on_failed(shard, above)

    def recover(self, now_ms: int) -> bool:
        """Try to go on in a new epoch over the durable prefix.

        If it succeeds no stream is known until the host's executors, rebuilt, have created theirs again; then it calls
        ``recovered``. What was ordered above the durable end is gone, also whole streams: their numbers may be given again.
        """
        try:
            self._opened = self.engine.reopen(now_ms)
        except EngineError as error:
            self.broken = str(error)
            return False
        self.epoch = self._opened.epoch
        self.commit_next = Commit(self._opened.commit + 1)
        self.durable_commit = self._opened.commit
        self.dirty = [found for found in self.dirty if found.config.durability is Durability.MEMORY]
        self._turn_bytes = 0
        self._ready = []
        self.compaction.give_up()
        self.removal = Removal(self)
        self.compaction = Compaction(self)
        self.indexes = Indexes(self)
        for found in self.streams.values():
            if found.config.durability is not Durability.MEMORY:
                found.start = found.next = found.written = found.durable = 0
                found.pending, found.pending_bytes, found.builder = [], 0, None
                for producer in found.producers.ids() if found.producers is not None else ():
                    self._doubt(found, producer)
                found.index, found.ids, found.producers = None, None, None
                found.limits, found.marked, found.gone, found.open_from = limits_of(found.config), None, NOTHING, -1
        self._former, self.streams = self.streams, {}
        self.broken = ""
        return True

    def recovered(self) -> None:
        """Every executor is rebuilt: streams that nobody created again are gone; whoever watches is told to look."""
        for stream, found in self._former.items():
            if found.config.durability is Durability.MEMORY:
                self.dirty = [one for one in self.dirty if one is not found]
                self._memory.delete(stream)
        for found in [*self._former.values(), *self.streams.values()]:
            for watch in found.watchers:
                self._advanced[id(watch)] = watch
        self._former = {}
        self.touched()

    # reading

    def limit(self, found: Stream, level: Level) -> int:
        """The first position that a reader at this level does not see."""
        if level is Level.ORDERED:
            return max(found.start, found.written)
        end = self.stable(found) if level is Level.STABLE else found.durable
        return max(found.start, end)

    def stable(self, found: Stream) -> int:
        """The first position of the earliest open transaction, else what is committed."""
        return found.durable if found.open_from < 0 else min(found.durable, found.open_from)

    def read(
        self, stream: StreamId, start: Position, bytes_max: int, level: Level, pattern: Pattern | None = None
    ) -> Batches | StreamError:
        """See ``protocols.api.Port.read``."""
        found = self.streams.get(stream)
        if found is None:
            return StreamError(ErrorCode.NO_STREAM)
        limit = self.limit(found, level)
        if not found.start <= start <= limit:
            return StreamError(ErrorCode.OUT_OF_RANGE, f"{start} is not within {found.start} and {limit}")
        tail = self.tail(stream)
        assert isinstance(tail, Tail)
        if start >= limit:
            return Batches((), tail, (), start)
        gone = found.gone
        first = start
        if gone:  # what lies between is not read: the batch that holds the last one gone says how far it goes
            first = Position(gone.beyond(start))
            if first >= limit:
                first = Position(limit - 1)
        try:
            data = self.engine_of(found.config).read(stream, first, bytes_max)
        except EngineError as error:
            return StreamError(error.code, error.detail)
        end = start
        kept: list[Batch] = []
        for batch in data:
            header = batches.header(batch)
            if header.base_offset >= limit:
                break
            kept.append(strip(batch, gone) if gone else batch)
            end = Position(header.base_offset + header.last_offset_delta + 1)
        if pattern is None:
            return Batches(cast(tuple[bytes | memoryview, ...], tuple(kept)), tail, (), end)
        records: list[Record] = []
        for batch in kept:
            try:
                records += [
                    r for r in batches.decode(batch, found.key.name, start) if pattern.matches(Address(r.address))
                ]
            except BatchError:
                continue  # a client's, opaque to us: it must not hold up those who read records
        return Batches((), tail, tuple(records), end)

    def tail(self, stream: StreamId) -> Tail | StreamError:
        found = self.streams.get(stream)
        if found is None:
            return StreamError(ErrorCode.NO_STREAM)
        durable = Position(max(found.durable, found.start))
        stable = Position(max(self.stable(found), found.start))
        return Tail(Position(found.start), Position(found.next), durable, durable, stable, self.epoch)

    def records_at(self, found: Stream, position: int) -> list[Record]:
        """The records of the one batch that holds this position, from it on; [] if they cannot be decoded. What is gone is
        among them."""
        data: Sequence[Batch]
        if position < found.written:
            data = self.engine_of(found.config).read(found.id, Position(position), 1)
        else:
            data = [one for one in self._pending(found) if batches.header(one).base_offset <= position][-1:]
        try:
            return batches.decode(data[0], found.key.name, position) if data else []
        except BatchError:
            return []

    def batch_end(self, found: Stream, position: int) -> int:
        """Where the batch that holds this position ends."""
        header = batches.header(next(iter(self.headers(found, position))))
        return int(header.base_offset + header.last_offset_delta + 1)

    def record_at(self, found: Stream, position: int) -> Record | None:
        if not found.start <= position < found.next:
            return None
        records = self.records_at(found, position)
        return records[0] if records and records[0].position == position else None

    def near(self, found: Stream, position: int, bytes_max: int) -> Sequence[Batch]:
        """Some batches from the one that holds ``position`` on, as stored or as they will be."""
        if position < found.written:
            return self.engine_of(found.config).read(found.id, Position(position), bytes_max)
        return self._pending(found)

    def segments(self, found: Stream) -> Sequence[Segment]:
        return self.engine_of(found.config).segments(found.id)

    def query(
        self, kind: str, stream: StreamId, address: Address | None = None, time_ms: int = 0,
        pattern: Pattern | None = None, start: int = 0, end: int = -1, level: Level = Level.DURABLE,
    ) -> object:  # fmt: skip
        """See ``protocols.api.Port.query``."""
        found = self.streams.get(stream)
        if found is None:
            return StreamError(ErrorCode.NO_STREAM)
        try:
            if kind == "tail":
                return self.tail(stream)
            if kind == "epochs":
                return self.engine_of(found.config).ends(stream).epochs
            if kind == "stored":
                return sum(segment.bytes for segment in self.engine_of(found.config).segments(stream))
            if kind == "producers":
                return self._producers(found).listed()
            return query(self, found, kind, address, time_ms, pattern, start, end, level)
        except EngineError as error:
            return StreamError(error.code, error.detail)

    def watch(self, stream: StreamId, level: Level, watcher: Watcher) -> Watch:
        """Told at most once per turn that the stream advanced at this level.

        Raises:
            EngineError: NO_STREAM.
        """
        found = self.streams.get(stream)
        if found is None:
            raise EngineError(ErrorCode.NO_STREAM)
        watch = Watch(found, level, watcher)
        found.watchers.append(watch)
        return watch

    # what only owners do

    def trim(self, stream: StreamId, before: Position) -> Commit:
        """Records below ``before`` are gone for every reader; for good once the commit answered is durable.

        Raises:
            EngineError: the engine cannot.
        """
        found = self.streams[stream]
        before = Position(min(before, found.next))
        if before <= found.start:
            return Commit(0)
        if found.limits is not None:
            found.limits.trimmed(self, found, before)
        if found.marked is not None:
            self.removal.forward(found, before)
        if found.index is not None:
            found.index.trim(before)
        engine = self.engine_of(found.config)
        commit = self.commit_of(found, before - 1)
        if commit == 0 and before <= found.written:
            engine.trim(stream, before)
        elif found.config.durability is Durability.MEMORY:
            self._ready.append(lambda: engine.trim(stream, Position(min(before, found.written))))
        else:
            self._once_durable(commit, lambda: engine.trim(stream, before))
        found.start = before
        return commit

    def remove(self, stream: StreamId, ranges: Sequence[tuple[int, int]]) -> Commit:
        """See ``protocols.api.World.remove``."""
        return self.removal.remove(stream, ranges)

    def delete(self, stream: StreamId) -> None:
        """The stream is gone; its watchers are told. Its data goes once this turn, which says so, is durable."""
        found = self.streams.pop(stream, None)
        if found is None:
            return
        engine = self.engine_of(found.config)
        self.removal.deleted(stream)
        if found.config.durability is Durability.MEMORY:
            self.dirty = [one for one in self.dirty if one is not found]
            engine.delete(stream)
        else:
            self._once_durable(self.commit_next, lambda: engine.delete(stream))
        for watch in found.watchers:
            self._advanced[id(watch)] = watch
        if self._advanced:
            self.touched()

    def forget(self, stream: StreamId) -> None:
        """A stream that was deleted for good, but for the engine, when the process ended: finish it."""
        if self.held(stream) and stream not in self.streams:
            self.engine.delete(stream)

    def compact(self, now_ms: int) -> int:
        """A little of what compaction has to do; in how many ms to call again, -1: with the next ``retain``."""
        return -1 if self.broken else self.compaction.turn(now_ms)

    def close(self) -> None:
        self.commit()
        self.engine.close()


def _group_bytes(group: Group) -> int:
    size = group.value_bytes + group.count * record_bytes(len(group.address), 0)
    if group.headers is not None:
        size += sum(record_bytes(0, 0, headers) - 30 for headers in group.headers)
    return size


def _by_address(batch: Batch, found: Stream) -> list[tuple[bytes, int, int]]:
    """Address, records and bytes of each in a client's batch; one that cannot be decoded counts as its stream's."""
    made: dict[bytes, tuple[int, int]] = {}
    try:
        for record in batches.decode(batch, found.key.name):
            count, size = made.get(record.address, (0, 0))
            made[record.address] = (count + 1, size + size_of(record))
    except BatchError:
        made = {found.key.name: (batches.header(batch).count, len(batch))}
    return [(address, count, size) for address, (count, size) in made.items()]


def acked(answer: Appended | Rejected | StreamError, ack: Ack) -> Appended | Rejected | StreamError:
    """An ORDERED ack waits for nothing: it leaves with this turn's flush, after its write."""
    if ack <= Ack.ORDERED and isinstance(answer, Appended):
        answer.commit = Commit(0)
    return answer


class _Ignore:
    """The listener of streams in memory: they wait for nothing."""

    def durable(self, shard: Shard, commit: Commit) -> None:
        pass

    def failed(self, shard: Shard, above: Commit, reason: str) -> None:
        pass
