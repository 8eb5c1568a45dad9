"""The disk engine: a journal that makes turns durable, segments that keep them, one thread that decides.

A turn: its batches go to the segments (no fsync), its commit frame to the journal, then one fsync of the journal is started
unless one is under way; what was written meanwhile shares the next. A batch of 64 KiB or more is not in the frame: the
frame refers to the segment, which is synced with it.

States: closed -> ``open`` -> serving -> (a write or fsync failed) broken -> ``reopen`` -> serving. Broken: reads go on,
everything else raises. Every way into serving goes through recovery and raises the epoch.

Calls out: ``listener.durable`` for a turn that needs no fsync is the last act of ``append``; after an fsync it comes from
``files`` between turns, once for all that it made durable (the highest commit: all below it are durable too).
``listener.failed`` always comes between turns.

The batches given to ``append`` belong to the engine from then on: nobody may change them.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from substrate.api import Commit, Durability, Epoch, ErrorCode, Position, Shard, StreamConfig, StreamId
from substrate.disk import ends, recovery
from substrate.disk.asides import DiskAsides
from substrate.disk.batches import Rotten
from substrate.disk.checkpoint import Checkpoint
from substrate.disk.frames import ENTRY_BYTES, Kind
from substrate.disk.frames import HEADER_BYTES as FRAME_HEADER_BYTES
from substrate.disk.group_commit import GroupCommit
from substrate.disk.handles import CLOSED
from substrate.disk.journal import Journal, JournalBroken
from substrate.disk.options import Options
from substrate.disk.rewrite import DiskRewrite, Replacement
from substrate.disk.segments import Segments
from substrate.disk.stream import FOLDER, DiskStream
from substrate.disk.tail import TailCache
from substrate.disk.turns import Place, Turns
from substrate.engine import Batch, Ends, EngineError, Frame, Listener, Opened, Rewrite, Segment
from substrate.files import Files
from substrate.memory import FIRST_SHARD

LOCK = "lock"
FAILED = "failed"
"""There after a failure until a recovery is done, and never synced: it lives as long as the cache that may be lying."""
IDLE_MS = 250
"""A journal to which nothing was added for so long is idle."""
DEFAULT_OPTIONS = Options()


class DiskEngine:
    """See the module's head. ``files`` is the directory; nobody else may hold it open."""

    def __init__(self, files: Files, shard: Shard = FIRST_SHARD, options: Options = DEFAULT_OPTIONS) -> None:
        self.files = files
        self.shard = shard
        self.options = options
        self.store = Segments(files, options.open_files_max)
        self.tail = TailCache(options.tail_cache_bytes)
        self.turns = Turns(self.store, self.tail, options.reference_bytes)
        self._listener: Listener | None = None
        self._locked = False
        self._broken = "not open"
        self._told = True
        """The listener knows that it is broken."""
        self._generation = 0
        """Of this epoch in this process: completions that belong to an earlier one are ignored."""
        self._streams: dict[int, DiskStream] = {}
        self._journal: Journal | None = None
        self._group: GroupCommit | None = None
        self._reset()

    def _reset(self) -> None:
        self._state = ends.EndsState(0)
        self._epoch = 0
        self._commit = 0
        """The last one appended; _durable_commit: the last one reported."""
        self._durable_commit = 0
        self._floor = 0
        """Frames up to this one survive a reopen: they were reported, or synced before a call returned."""
        self._noted = False
        """The newest frame is a NOTE: there is nothing more to say while nothing is appended."""
        self._interval_expected = False
        self._idle_expected = False
        self._checkpoint: Checkpoint | None = None
        self._checkpoint_fault: OSError | None = None
        """Why the last one failed."""
        self._covered = 0
        self._space = 0
        """Free on the file system, less what was written since it was asked."""
        self._frame_bytes_max = 0

    # -- opening

    @property
    def faults(self) -> list[str]:
        """What recovery and lazy opening found wrong and could repair or put aside, in words."""
        return self.store.faults

    @property
    def is_open(self) -> bool:
        """It holds the directory, serving or broken."""
        return self._locked

    def open(self, listener: Listener, now_ms: int) -> Opened:
        if self._locked:
            raise EngineError(ErrorCode.UNAVAILABLE, "already open")
        self._listener = listener
        try:
            self.files.make_folder("")
            self.files.lock(LOCK)
        except BlockingIOError:
            raise EngineError(ErrorCode.UNAVAILABLE, "another process holds the directory") from None
        except OSError as error:
            raise _engine_error(error) from error
        self._locked = True
        try:
            return self._recover(None)
        except EngineError:
            self._release()
            raise

    def reopen(self, now_ms: int) -> Opened:
        if not self._locked:
            raise EngineError(ErrorCode.INVALID, "reopen is for after a failure")
        if not self._broken:
            self._fail("its owner begins anew")
        limit = self._floor
        self._generation += 1
        while self.files.wait():
            pass
        return self._recover(limit)

    def _recover(self, limit: int | None) -> Opened:
        self._generation += 1
        reached = self._floor
        self._close_files()
        try:
            self._begin(limit)
        except (JournalBroken, ends.Unsound) as fault:
            self._keep_broken(str(fault), reached)
            raise EngineError(ErrorCode.CORRUPT, str(fault)) from None
        except ends.UnknownVersion as fault:
            self._keep_broken(str(fault), reached)
            raise EngineError(ErrorCode.UNSUPPORTED, str(fault)) from None
        except EngineError as error:
            self._keep_broken(str(error), reached)
            raise
        except OSError as error:
            self._keep_broken(str(error), reached)
            self._leave_word()
            raise _engine_error(error) from error
        self._broken = ""
        return Opened(Epoch(self._epoch), Commit(self._commit), self.streams())

    def _keep_broken(self, reason: str, reached: int) -> None:
        self._broken = reason
        self._generation += 1
        if self._checkpoint is not None:
            self._checkpoint.abandoned = True
            self._checkpoint = None
        self._floor = reached

    def _begin(self, limit: int | None) -> None:
        found = recovery.read_ends(self.files)
        made = found is None
        if found is None:
            found = self._make_directory()
        state, records, faults = found
        self.faults.extend(faults)
        journal = self._journal = Journal(self.files, state.directory, state.shard, state.slot_bytes)
        if state.shard != self.shard:
            raise EngineError(ErrorCode.INVALID, f"the directory is of shard {state.shard}, not {self.shard}")
        if state.slots == 0:
            journal.make(self.options.journal_slots)
            state.slots = self.options.journal_slots
            made = True
        else:
            journal.open(state.slots)
        failed = FAILED in self.files.names("")
        distrust = failed or limit is not None
        back = recovery.recover(self.files, self.store, journal, state, records, limit, distrust)
        self.faults.extend(back.faults)
        self._reset()
        self._state = state
        self._streams = back.streams
        self._epoch = back.epoch + 1
        self._commit = self._durable_commit = back.commit
        journal.number, journal.checksum = back.number, back.checksum
        journal.slot, journal.offset = state.slot, state.offset
        if not (made or back.clean):
            journal.advance()
        self._covered = self._floor = back.number
        self._group = GroupCommit(self.files, self.store, journal, self)
        self._frame_bytes_max = min(self.options.frame_bytes_max, journal.slot_bytes * 3 // 4)
        for stream in self._streams.values():
            stream.file = None
        self.store.serve()
        self._finish_checkpoint()
        if failed:
            self.files.unlink(FAILED)
        if not journal.fits(FRAME_HEADER_BYTES):
            journal.advance()
        self._write_frame(Kind.EPOCH, [])
        self.files.sync_now(sorted(journal.unsynced))
        journal.unsynced.clear()
        self._group.synced = self._group.wanted = self._floor = journal.number

    def _make_directory(self) -> tuple[ends.EndsState, list[ends.StreamRecord], list[str]]:
        """The ends file comes first: a directory without one that holds anything is never taken for a new one."""
        state = ends.EndsState(
            self.files.identity(), self.shard, slot_bytes=self.options.journal_slot_bytes, offset=64, generation=1
        )
        data = ends.encode(state, [])
        for name in ends.NAMES:
            handle = self.files.open(f"{name}.new", create=True)
            self.files.truncate(handle, 0)
            self.files.write(handle, 0, [data])
            self.files.sync_now([handle])
            self.files.close(handle)
            self.files.rename(f"{name}.new", name)
        self._sync_folder("")
        self.files.make_folder(FOLDER)
        self._sync_folder("")
        return state, [], []

    def _sync_folder(self, path: str) -> None:
        folder = self.files.open_folder(path)
        try:
            self.files.sync_now([folder])
        finally:
            self.files.close(folder)

    def _close_files(self) -> None:
        self.store.clear()
        self.tail.clear()
        if self._journal is not None:
            for slot in self._journal.slots:
                self.files.close(slot.handle)
            self._journal = None
        if self._group is not None:
            self._group.ended = True
            self._group = None

    def _release(self) -> None:
        self._close_files()
        self.files.shut()
        self._locked = False

    # -- streams

    def create(self, stream: StreamId, label: str, config: StreamConfig) -> None:
        self._serving()
        if stream in self._streams:
            return
        made = DiskStream(ends.StreamRecord(stream, label, config))
        self._record(Kind.CREATE, ends.pack_settings(stream, label, config))
        self._streams[stream] = made
        self.store.changed(made)

    def configure(self, stream: StreamId, config: StreamConfig) -> None:
        self._serving()
        found = self._stream(stream)
        if (found.config.durability is Durability.MEMORY) is not (config.durability is Durability.MEMORY):
            raise EngineError(ErrorCode.UNSUPPORTED, "a stream in memory stays there, one on disk too")
        raised = _RANK[config.durability] > _RANK[found.config.durability]
        self._record(Kind.CONFIG, ends.pack_settings(stream, found.label, config))
        found.reconfigure(config)
        self.store.changed(found)
        if raised:
            try:
                if self._checkpoint is not None:  # it has taken logs that it has not synced yet
                    self._finish_checkpoint()
            except OSError as error:
                self._fail_with(error)
            self._sync_now([path for path, folder in self.store.dirty.items() if folder == found.folder])

    def trim(self, stream: StreamId, before: Position) -> None:
        self._serving()
        found = self._stream(stream)
        if found.memory is not None:
            found.memory.trim(before)
            return
        if before > found.end:
            raise EngineError(ErrorCode.OUT_OF_RANGE, f"{before}, the stream ends at {found.end}")
        if before <= found.start:
            return
        self._record(Kind.TRIM, int(stream).to_bytes(8) + int(before).to_bytes(8))
        try:
            paths = self.store.trim(found, before)
            self._sync_now([])
            self.store.remove(paths)
        except OSError as error:
            self._fail_with(error)

    def delete(self, stream: StreamId) -> None:
        self._serving()
        found = self._stream(stream)
        self._record(Kind.DELETE, int(stream).to_bytes(8))
        try:
            self._sync_now([])
            self.tail.drop(found)
            del self._streams[stream]
            self.store.remove_folder(found)
        except OSError as error:
            self._fail_with(error)

    def _record(self, kind: Kind, data: bytes) -> None:
        try:
            self._make_room(FRAME_HEADER_BYTES + len(data))
            self._write_frame(kind, [data])
        except OSError as error:
            self._fail_with(error)

    def ends(self, stream: StreamId) -> Ends:
        return self._ends(self._stream(stream))

    def streams(self) -> dict[StreamId, Ends]:
        return {StreamId(stream.id): self._ends(stream) for stream in self._streams.values()}

    def config(self, stream: StreamId) -> StreamConfig:
        return self._stream(stream).config

    def _ends(self, stream: DiskStream) -> Ends:
        if stream.memory is not None:
            return stream.memory.ends()
        epochs = tuple((Epoch(epoch), Position(base)) for epoch, base in stream.epochs)
        return Ends(Position(stream.start), Position(stream.end), epochs)

    def segments(self, stream: StreamId) -> list[Segment]:
        found = self._stream(stream)
        if found.memory is not None:
            return found.memory.segments()
        try:
            known = self.store.load_sealed(found)
        except OSError as error:
            raise _engine_error(error) from error
        sealed = [
            Segment(
                Position(one.base), Position(one.end), one.size, one.max_timestamp_ms,
                one.records if one.records >= 0 else one.end - one.base,
            )
            for one in known
        ]  # fmt: skip
        if found.active_bytes:
            base, end = Position(found.active), Position(found.end)
            sealed.append(Segment(base, end, found.active_bytes, found.max_timestamp_ms, end - base))
        return sealed

    def asides(self, stream: StreamId) -> DiskAsides | None:
        found = self._stream(stream)
        return DiskAsides(self.store, found) if found.memory is None else None

    def roll(self, stream: StreamId) -> None:
        self._serving()
        found = self._stream(stream)
        if found.memory is not None:
            found.memory.roll()
        elif found.active_bytes:
            try:
                self.store.roll(found, found.end)
            except OSError as error:
                self._fail_with(error)

    def settled(self, stream: StreamId) -> Position:
        self._serving()
        found = self._stream(stream)
        if found.memory is not None:
            return found.memory.settled()
        if found.recorded < found.active and self._checkpoint is None:
            try:
                self._start_checkpoint()
            except OSError as error:
                self._fail_with(error)
        return Position(found.recorded)

    def rewrite(self, stream: StreamId, base: Position) -> Rewrite:
        self._serving()
        found = self._stream(stream)
        if found.memory is not None:
            return found.memory.rewrite(base)
        if not any(one.base == base for one in self.store.load_sealed(found)) or base >= found.recorded:
            raise EngineError(ErrorCode.INVALID, f"stream {stream}: no settled segment begins at {base}")
        generation = self._generation
        try:
            return DiskRewrite(
                self.store, found, base, self._parts()[0].number, self._replace,
                lambda: generation == self._generation and not self._broken,
            )  # fmt: skip
        except OSError as error:
            raise _engine_error(error) from error

    def _replace(self, stream: DiskStream, what: Replacement) -> None:
        if self._streams.get(stream.id) is not stream:
            raise EngineError(ErrorCode.NO_STREAM, f"stream {stream.id}")
        self._record(Kind.REPLACE, what.pack())
        try:
            self._sync_now([])
            self.tail.drop(stream)
            self.store.replaced(stream, what)
        except OSError as error:
            self._fail_with(error)

    # -- reading

    def read(self, stream: StreamId, start: Position, bytes_max: int) -> list[Batch]:
        found = self._stream(stream)
        if found.memory is not None:
            return found.memory.read(start, bytes_max)
        self._check_range(found, start)
        if start == found.end:
            return []
        batches = self.tail.read(found, start, bytes_max)
        if batches is not None:
            return batches
        try:
            return self.store.read(found, start, bytes_max)
        except Rotten as fault:
            raise EngineError(ErrorCode.CORRUPT, f"stream {stream}, {fault}") from None
        except OSError as error:
            raise _engine_error(error) from error

    def headers(self, stream: StreamId, start: Position) -> Iterator[bytes]:
        found = self._stream(stream)
        if found.memory is not None:
            return found.memory.headers(start)
        self._check_range(found, start)
        return self._headers(found, start)

    def _headers(self, stream: DiskStream, start: int) -> Iterator[bytes]:
        try:
            yield from self.store.headers(stream, start)
        except Rotten as fault:
            raise EngineError(ErrorCode.CORRUPT, f"stream {stream.id}, {fault}") from None
        except OSError as error:
            raise _engine_error(error) from error

    def _check_range(self, stream: DiskStream, start: int) -> None:
        if not stream.start <= start <= stream.end:
            raise EngineError(ErrorCode.OUT_OF_RANGE, f"{start}, the stream has {stream.start} to {stream.end}")

    def _stream(self, stream: int) -> DiskStream:
        found = self._streams.get(stream)
        if found is None:
            raise EngineError(ErrorCode.NO_STREAM, f"stream {stream}")
        return found

    # -- appending

    def reserve(self, size: int) -> bool:
        if self._broken:
            return False
        least = self.turns.written_bytes + size + self.options.free_bytes_min
        if self._space < least:
            self.turns.written_bytes = 0
            self._space = self.files.free_bytes()
            least = size + self.options.free_bytes_min
        return self._space >= least

    def append(self, frame: Frame) -> None:
        if self._broken:
            raise EngineError(ErrorCode.UNAVAILABLE, self._broken)
        if frame.number != self._commit + 1:
            raise EngineError(ErrorCode.INVALID, f"commit {frame.number} after {self._commit}")
        places, inline = self.turns.check(self._streams, frame.parts)
        try:
            self._append(frame, places, inline)
        except OSError as error:
            self._fail_with(error)
        except EngineError as error:
            if error.code is not ErrorCode.TOO_LARGE:  # which is found before anything is written
                self._fail(str(error))
            raise

    def _append(self, frame: Frame, places: list[list[Place]], inline: int) -> None:
        journal, group = self._parts()
        reference_from = self.turns.reference_bytes
        room = FRAME_HEADER_BYTES + sum(map(len, places)) * ENTRY_BYTES + inline
        if room > self._frame_bytes_max:  # then everything goes by reference
            reference_from = 0
            room -= inline
        if not journal.fits(room):
            self._make_room(room)
        entries: list[bytes] = []
        data: list[Batch] = []
        waits = False
        for part, part_places in zip(frame.parts, places, strict=True):
            stream = self._streams[part.stream]
            if stream.memory is not None:
                stream.memory.append(part.batches)
                continue
            if stream.sync:
                waits = True
            elif stream.config.durability is Durability.INTERVAL:
                self._expect_interval(stream.config.interval_ms)
            self.turns.write(stream, part.batches, part_places, reference_from, entries, data)
        self._commit = frame.number
        if entries:
            number = self._write_frame(Kind.COMMIT, [b"".join(entries), *data], len(entries))
        else:
            number = journal.number
        at_once = group.turn(number, frame.number, waits)
        if (
            self.turns.referenced_bytes > self.options.checkpoint_bytes
            or len(self.store.manifests) > self.options.checkpoint_manifests
        ):
            self._start_checkpoint()
        if at_once:
            self.turns_durable(number, frame.number)

    # -- the journal

    def _write_frame(self, kind: Kind, body: Sequence[Batch], entries: int = 0) -> int:
        journal, group = self._parts()
        self._noted = kind is Kind.NOTE
        return journal.write(kind, self._commit, self._epoch, group.synced, entries, body)

    def _parts(self) -> tuple[Journal, GroupCommit]:
        """What an open engine has."""
        assert self._journal is not None
        assert self._group is not None
        return self._journal, self._group

    def _make_room(self, size: int) -> None:
        """See to it that a frame of ``size`` fits where the journal stands.

        Raises:
            EngineError: TOO_LARGE for any slot.
            OSError: a checkpoint that had to be waited for failed.
        """
        journal, _group = self._parts()
        if size > journal.frame_bytes_max:
            raise EngineError(ErrorCode.TOO_LARGE, f"frame of {size} bytes, limit {journal.frame_bytes_max}")
        if journal.fits(size):
            return
        while not journal.next_is_free(self._covered):
            self._finish_checkpoint()
        journal.advance()
        self._start_checkpoint()

    def _sync_now(self, paths: Sequence[str]) -> None:
        """The journal, all that its frames refer to, and these logs: durable when this returns.

        Raises:
            EngineError: the epoch has ended.
        """
        journal, group = self._parts()
        slots = [slot.handle for slot in journal.slots if slot.last_number > self._covered]
        try:
            group.sync_now(paths, slots)
        except OSError as error:
            self._fail_with(error)
        self._floor = journal.number

    def turns_durable(self, number: int, commit: int) -> None:
        """The group commit's word: passed on to the listener."""
        if number > self._floor:
            self._floor = number
        self._durable_commit = commit
        assert self._listener is not None
        self._listener.durable(self.shard, Commit(commit))

    def sync_failed(self, reason: str) -> None:
        self._fail(reason)

    def caught_up(self) -> None:
        if not self._noted:
            self._expect_idle()

    # -- checkpoints and alarms

    def _start_checkpoint(self, clean: bool = False) -> None:
        """Begin one, unless one is under way."""
        if self._checkpoint is not None:
            return
        journal, _group = self._parts()
        state = self._state
        state.number, state.checksum = journal.number, journal.checksum
        state.slot, state.offset = journal.slot, journal.offset
        state.commit, state.epoch = self._commit, self._epoch
        state.generation += 1
        state.clean = int(clean)
        self.turns.referenced_bytes = 0
        generation = self._generation
        recorded = [(one, one.active) for one in self._streams.values() if one.active != one.recorded]

        def finished(checkpoint: Checkpoint, error: OSError | None) -> None:
            if generation != self._generation:
                return
            self._checkpoint = None
            self._checkpoint_fault = error
            if error is not None:
                self._fail(f"checkpoint: {error}")
            else:
                self._covered = checkpoint.covered
                for stream, active in recorded:
                    stream.recorded = active

        handles = [slot.handle for slot in journal.slots if slot.last_number > self._covered]
        fresh_max = self.options.checkpoint_manifests if clean else self.options.checkpoint_manifests // 8
        self._checkpoint = Checkpoint(
            self.files, self.store, handles, state, list(self._streams.values()), fresh_max, finished
        )
        try:
            self._checkpoint.begin()
        except OSError:
            self._checkpoint.abandon()
            self._checkpoint = None
            raise

    def _finish_checkpoint(self, clean: bool = False) -> None:
        """Wait for the one under way, or make one.

        Raises:
            OSError: it failed; the epoch has ended.
        """
        if self._checkpoint is None:
            self._start_checkpoint(clean)
        generation = self._generation
        self._checkpoint_fault = None
        group = self._parts()[1]
        group.holding = True
        try:
            while self._checkpoint is not None:
                if not self.files.wait():
                    raise AssertionError("a checkpoint that nobody will finish")
                if generation != self._generation:
                    raise OSError(errno.EIO, self._broken or "the epoch has ended")
        finally:
            group.holding = False
        fault = self._checkpoint_fault
        if fault is not None:  # within ``reopen`` the epoch has ended already: no other word of it comes
            raise fault

    def _expect_interval(self, wait_ms: int) -> None:
        """An ``interval`` stream was appended to: its fsync is due in so long."""
        if not self._interval_expected:
            self._interval_expected = True
            self._later(max(1, wait_ms), self._interval_due)

    def _interval_due(self) -> None:
        self._interval_expected = False
        self._parts()[1].want(marked=True)

    def _expect_idle(self) -> None:
        """The journal may be idle from here on: look again in a while."""
        if not self._idle_expected:
            self._idle_expected = True
            seen = self._parts()[0].number
            self._later(IDLE_MS, lambda: self._idle_due(seen))

    def _idle_due(self, seen: int) -> None:
        """Name the durable end of an idle journal, so that rot in its last frames is never taken for a torn tail."""
        self._idle_expected = False
        journal, group = self._parts()
        if self._noted:
            return
        if journal.number != seen:
            self._expect_idle()
        elif group.synced == seen:
            self._make_room(FRAME_HEADER_BYTES)
            self._write_frame(Kind.NOTE, [])
            group.want()

    def _later(self, wait_ms: int, call: Callable[[], None]) -> None:
        generation = self._generation

        def due() -> None:
            if generation == self._generation and not self._broken:
                try:
                    call()
                except OSError as error:
                    self._fail(str(error))

        self.files.later(wait_ms, due)

    # -- failing and closing

    def _serving(self) -> None:
        if self._broken:
            raise EngineError(ErrorCode.UNAVAILABLE, self._broken)

    def _fail(self, reason: str) -> None:
        """A write or an fsync failed: nothing above the durable end is ever reported, nothing more is written."""
        if self._broken:
            return
        self._broken = reason
        self._told = False
        self._generation += 1
        if self._checkpoint is not None:
            self._checkpoint.abandoned = True
            self._checkpoint = None
        if self._group is not None:
            self._group.ended = True
        generation, above = self._generation, Commit(self._durable_commit)

        def tell() -> None:
            if generation == self._generation and self._listener is not None:
                self._told = True
                self._listener.failed(self.shard, above, reason)

        self.files.post(tell)
        self._leave_word()

    def _leave_word(self) -> None:
        """Tell whoever opens the directory next, should nobody reopen it here, that the cache may show what the disk lacks."""
        try:
            self.files.close(self.files.open(FAILED, create=True))
        except OSError:  # the disk takes nothing any more: ``close`` tries again
            pass

    def _fail_with(self, error: OSError) -> NoReturn:
        self._fail(str(error))
        raise _engine_error(error) from error

    def close(self) -> None:
        """As the interface says. A broken engine, whose listener was told so, is only let go.

        Raises:
            EngineError: it broke meanwhile: what was not reported durable may not be.
        """
        if not self._locked:
            return
        try:
            if not (self._broken and self._told):
                self._close_cleanly()
        except OSError as error:
            raise _engine_error(error) from error
        finally:
            if self._broken:
                self._leave_word()
            self._generation += 1
            self._broken = "closed"
            self._release()

    def _close_cleanly(self) -> None:
        while self.files.wait():
            pass
        if self._broken:
            raise OSError(errno.EIO, self._broken)
        for stream in self._streams.values():
            if stream.memory is None:
                self.store.write_index(stream)
                if stream.file is not None and stream.file.handle != CLOSED:
                    if stream.file.allocated > stream.active_bytes:
                        self.files.truncate(stream.file.handle, stream.active_bytes)
        self._finish_checkpoint(clean=True)
        journal, group = self._parts()
        group.synced = journal.number  # by the checkpoint
        group.report()


_RANK = {Durability.MEMORY: 0, Durability.OS: 1, Durability.INTERVAL: 2, Durability.SYNC: 3}


def _engine_error(error: OSError) -> EngineError:
    code = ErrorCode.NO_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else ErrorCode.UNAVAILABLE
    return EngineError(code, str(error))
