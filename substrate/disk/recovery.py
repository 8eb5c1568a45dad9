"""From what is on the disk to what the streams are: the ends file, then the journal's frames after it.

1. The ends file (either copy) says where every stream ended as of one frame. None, with other files there: refused.
2. The journal's chain after that frame is followed. Sound frames that name a durable end above the chain's: corruption.
3. Above the durable end, a frame by reference counts only if what it refers to is there: else it and all after it is a torn
   tail and cut. A marked reference that is not there cuts its stream only.
4. What the kept frames hold is written into the segments, whatever is there. Trimmed and deleted streams are skipped.

Nothing is made durable here; the engine's checkpoint does that before it serves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from substrate.api import ErrorCode
from substrate.disk import ends, frames, journal
from substrate.disk.batches import HEADER_BYTES, Rotten, chain_of, check, head_at
from substrate.disk.frames import MARKED, REFERENCE, Entry, Kind
from substrate.disk.journal import Kept
from substrate.disk.rewrite import Replacement
from substrate.disk.segments import Segments
from substrate.disk.stream import FOLDER, DiskStream
from substrate.engine import EngineError
from substrate.files import Files


@dataclass(slots=True)
class Recovered:
    state: ends.EndsState
    streams: dict[int, DiskStream]
    number: int
    commit: int
    checksum: int
    epoch: int
    """The highest that was ever used."""
    clean: bool
    """Nothing had to be done: the journal goes on where it ended."""
    faults: list[str] = field(default_factory=list)


def read_ends(files: Files) -> tuple[ends.EndsState, list[ends.StreamRecord], list[str]] | None:
    """The newest sound copy, and what is wrong with the other; None in an empty directory.

    Raises:
        EngineError: CORRUPT if no copy is sound, or both are gone; UNSUPPORTED for another version.
    """
    found = []
    faults = []
    for name in ends.NAMES:
        try:
            handle = files.open(name)
        except FileNotFoundError:
            faults.append(f"{name}: missing")
            continue
        try:
            data = files.read(handle, 0, files.size(handle))
        finally:
            files.close(handle)
        try:
            found.append(ends.decode(data))
        except ends.Unsound as fault:
            faults.append(f"{name}: {fault}")
        except ends.UnknownVersion as fault:
            raise EngineError(ErrorCode.UNSUPPORTED, str(fault)) from None
    if not found:
        if len(faults) == sum(fault.endswith(": missing") for fault in faults):
            if not files.names(journal.FOLDER) and not files.names(FOLDER):
                return None
        raise EngineError(ErrorCode.CORRUPT, "; ".join(faults))
    state, records = max(found, key=lambda one: (one[0].generation, one[0].number))
    if state.clean and any(one[0].generation != state.generation for one in found):
        faults.append(f"{ends.NAMES[0]} and {ends.NAMES[1]}: one is an old copy, after a stop in order")
    return state, records, faults


def recover(
    files: Files,
    segments: Segments,
    log: journal.Journal,
    state: ends.EndsState,
    records: list[ends.StreamRecord],
    limit: int | None,
    distrust: bool,
) -> Recovered:
    """Bring the streams to where the journal ends; with ``limit``, to where frame ``limit`` ends at most.

    With ``distrust`` a write or fsync has failed: what the cache shows may not be on the disk.

    Raises:
        EngineError: CORRUPT, UNSUPPORTED.
        OSError: the disk does.
    """
    streams = {record.stream: DiskStream(record) for record in records}
    slots = [files.read(slot.handle, 0, min(files.data_end(slot.handle), log.slot_bytes)) for slot in log.slots]
    try:
        found = journal.scan(
            slots, log.slot_bytes, state.directory, state.number, state.checksum, state.epoch, state.slot, state.offset
        )
    except frames.UnknownVersion as fault:
        raise EngineError(ErrorCode.UNSUPPORTED, str(fault)) from None
    if found.faults:
        raise EngineError(ErrorCode.CORRUPT, "; ".join(found.faults))
    kept = found.kept
    if limit is not None:
        kept = [frame for frame in kept if frame.head.number <= limit]
    replay = _Replay(files, segments, streams, max(found.durable, limit or 0), distrust)
    kept = replay.cut(kept)
    replay.apply(kept)
    last = kept[-1].head if kept else None
    return Recovered(
        state,
        streams,
        number=last.number if last else state.number,
        commit=last.commit if last else state.commit,
        checksum=last.checksum if last else state.checksum,
        epoch=max(found.epoch, state.epoch),
        clean=bool(state.clean) and not kept and limit is None and found.epoch == state.epoch,
        faults=replay.faults,
    )


class _Replay:
    def __init__(
        self, files: Files, segments: Segments, streams: dict[int, DiskStream], durable: int, distrust: bool
    ) -> None:
        self.files = files
        self.segments = segments
        self.streams = streams
        self.durable = durable
        self.distrust = distrust
        self.faults: list[str] = []
        self._starts: dict[int, int] = {}
        self._deleted: set[int] = set()
        self._segment_ends: dict[tuple[int, int], int] = {}
        self._cut: set[int] = set()

    def cut(self, kept: list[Kept]) -> list[Kept]:
        """The frames up to the first one above the durable end whose references are not there."""
        self._look_ahead(kept)
        chains: dict[int, bytes] = {}
        for index, frame in enumerate(kept):
            if frame.head.kind != Kind.COMMIT:
                continue
            for entry, _at in frames.entries_of(frame.data, frame.offset, frame.head):
                before = chains.get(entry.stream)
                if before is None:
                    stream = self.streams.get(entry.stream)
                    before = stream.chain if stream is not None else ends.NO_CHAIN
                chains[entry.stream] = entry.chain
                if entry.flags & REFERENCE and not entry.flags & MARKED and frame.head.number > self.durable:
                    if not self._removed(entry) and not self._is_there(entry, before, kept):
                        return kept[:index]
        return kept

    def _is_there(self, entry: Entry, before: bytes, kept: list[Kept]) -> bool:
        """Whether the segment holds what the entry says, by CRC and chain."""
        stream = self.streams.get(entry.stream) or self._made(entry.stream, kept)
        if stream is None:
            return False
        try:
            handle = self.files.open(stream.log_path(entry.segment))
        except FileNotFoundError:
            return False
        try:
            data = memoryview(self.files.read(handle, entry.offset, entry.size))
        finally:
            self.files.close(handle)
        if len(data) != entry.size:
            return False
        at, position = 0, entry.base
        try:
            while at < entry.size:
                if entry.size - at < HEADER_BYTES:
                    return False
                head = head_at(data, at, at, position, entry.size)
                check(data[at : at + head.size], head)
                before = chain_of(before, data[at : at + HEADER_BYTES])
                if head.epoch != entry.epoch:
                    return False
                at += head.size
                position = head.end
        except Rotten:
            return False
        return before == entry.chain and position == entry.end

    def _made(self, stream: int, kept: list[Kept]) -> DiskStream | None:
        """A stream that a kept frame makes."""
        for frame in kept:
            if frame.head.kind == Kind.CREATE:
                record, _end = ends.unpack_settings(frame.data, frame.offset + frames.HEADER_BYTES)
                if record.stream == stream:
                    return DiskStream(record)
        return None

    def apply(self, kept: list[Kept]) -> None:
        self._look_ahead(kept)
        for frame in kept:
            head = frame.head
            if head.kind == Kind.COMMIT:
                for entry, at in frames.entries_of(frame.data, frame.offset, head):
                    self._add(entry, memoryview(frame.data)[at : at + entry.size] if at >= 0 else None, head.number)
                continue
            data = frame.data[frame.offset + frames.HEADER_BYTES : frame.offset + head.length]
            if head.kind == Kind.CREATE:
                record, _end = ends.unpack_settings(data, 0)
                if record.stream not in self.streams:
                    stream = self.streams[record.stream] = DiskStream(record)
                    self.segments.changed(stream)
            elif head.kind == Kind.CONFIG:
                record, _end = ends.unpack_settings(data, 0)
                stream = self._stream(record.stream)
                stream.reconfigure(record.config)
                self.segments.changed(stream)
            elif head.kind == Kind.TRIM:
                self._trim(int.from_bytes(data[:8]), int.from_bytes(data[8:16]))
            elif head.kind == Kind.REPLACE:
                what = Replacement.unpack(data)
                if what.stream not in self._deleted:
                    self.segments.replaced(self._stream(what.stream), what)
            elif head.kind == Kind.DELETE:
                stream = self._stream(int.from_bytes(data[:8]))
                self.segments.remove_folder(stream)
                del self.streams[stream.id]

    def _removed(self, entry: Entry) -> bool:
        """A kept frame deletes its stream or trims its whole segment: its file may be gone."""
        if entry.stream in self._deleted:
            return True
        return self._segment_ends[(entry.stream, entry.segment)] <= self._starts.get(entry.stream, 0)

    def _look_ahead(self, kept: list[Kept]) -> None:
        self._starts.clear()
        self._deleted.clear()
        self._segment_ends.clear()
        for frame in kept:
            at = frame.offset + frames.HEADER_BYTES
            if frame.head.kind == Kind.TRIM:
                stream = int.from_bytes(frame.data[at : at + 8])
                start = int.from_bytes(frame.data[at + 8 : at + 16])
                self._starts[stream] = max(start, self._starts.get(stream, 0))
            elif frame.head.kind == Kind.DELETE:
                self._deleted.add(int.from_bytes(frame.data[at : at + 8]))
            elif frame.head.kind == Kind.COMMIT:
                for entry, _at in frames.entries_of(frame.data, frame.offset, frame.head):
                    key = (entry.stream, entry.segment)
                    self._segment_ends[key] = max(entry.end, self._segment_ends.get(key, 0))

    def _stream(self, number: int) -> DiskStream:
        stream = self.streams.get(number)
        if stream is None:
            raise EngineError(ErrorCode.CORRUPT, f"the journal names stream {number}, which nothing made")
        return stream

    def _add(self, entry: Entry, data: memoryview | None, number: int) -> None:
        if entry.stream in self._deleted or entry.stream in self._cut:
            return
        stream = self._stream(entry.stream)
        if entry.base != stream.end:
            raise EngineError(
                ErrorCode.CORRUPT,
                f"journal frame {number} adds {entry.base} to stream {stream.id}, which ends at {stream.end}",
            )
        removed = self._removed(entry)
        if data is None and entry.flags & MARKED and not removed and not self._is_there(entry, stream.chain, []):
            self._cut.add(stream.id)
            self.faults.append(f"stream {stream.id}: cut at {entry.base}, what was beyond had not been synced")
            return
        if entry.segment != stream.active:
            self.segments.roll(stream, entry.segment)
        if entry.offset != stream.active_bytes:
            raise EngineError(ErrorCode.CORRUPT, f"journal frame {number}: stream {stream.id}, offset {entry.offset}")
        if not removed:
            if data is not None:
                self.segments.write(stream, entry.offset, [data], entry.size)
            else:
                self._keep(stream, entry, number)
        stream.extend(entry.epoch, entry.base, entry.end, entry.size, entry.chain, entry.max_timestamp_ms)

    def _keep(self, stream: DiskStream, entry: Entry, number: int) -> None:
        """What the entry refers to is in the segment: the next checkpoint syncs it.

        After a failed fsync the cache may show what the disk does not have, and call it clean: there it is written again,
        so that the next fsync means something. Of ``os`` and ``interval`` streams only where a failure is known of.
        """
        path = stream.log_path(stream.active)
        self.segments.dirty[path] = stream.folder
        self.segments.unnamed.add(path)
        if self.distrust or (number > self.durable and not entry.flags & MARKED):
            file = self.segments.active_file(stream)
            data = self.files.read(file.handle, entry.offset, entry.size)
            self.segments.write(stream, entry.offset, [data], len(data))

    def _trim(self, number: int, before: int) -> None:
        if number in self._deleted:
            return
        self.segments.remove(self.segments.trim(self._stream(number), before))
