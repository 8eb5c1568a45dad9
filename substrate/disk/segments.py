"""The segment files of all streams of a directory: written at the end, read anywhere, rolled, removed.

What was changed since the last checkpoint is kept in ``dirty`` (files to sync), ``named`` (paths whose name is not durable)
and ``manifests`` (streams whose manifest is older than they are); ``substrate.disk.checkpoint`` takes and clears them.
"""

from __future__ import annotations

import errno
import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

from substrate.api import ErrorCode
from substrate.disk import manifest
from substrate.disk.batches import HEADER_BYTES, Head, Rotten, chain_of, check, head_at, walk
from substrate.disk.ends import NO_CHAIN, UnknownVersion, Unsound
from substrate.disk.handles import CLOSED, Handles, SegmentFile
from substrate.disk.rewrite import Replacement, Word, new_path, word_path
from substrate.disk.stream import FOLDER, INDEX_INTERVAL_BYTES, DiskStream, Index, Sealed
from substrate.engine import Batch, EngineError
from substrate.files import Data, Files
from substrate.memory import epochs_from

ALLOCATE_FROM_BYTES = 256 * 1024
"""A segment smaller than this takes its space as it is written: 10,000 small streams stay small."""
ALLOCATE_AHEAD_BYTES = 16 * 1024 * 1024
READ_AHEAD_BYTES = 4096
SEALED_INDEXES_MAX = 64


class Segments:
    def __init__(self, files: Files, open_files_max: int) -> None:
        self.files = files
        self.handles = Handles(files, min(open_files_max, files.handles_max))
        self.dirty: dict[str, str] = {}
        """Logs (path: folder) written since the last checkpoint took them."""
        self.unnamed: set[str] = set()
        """Logs made since then: their folder must be synced before their name is durable."""
        self.references: dict[str, None] = {}
        """Logs to sync with the next group of turns; marked: those of ``interval`` streams, synced when they are due."""
        self.marked: dict[str, None] = {}
        self.manifests: dict[int, DiskStream] = {}
        """Those that the next checkpoint must write; fresh: streams that can do without one for now."""
        self.fresh: dict[int, DiskStream] = {}
        self.serving = False
        """Until recovery is done, nothing is cut: a kept frame may refer to what lies further on."""
        self.faults: list[str] = []
        """What was found wrong and repaired or put aside, in words."""
        self._folders: set[str] = set()
        self._indexes: dict[str, Index] = {}

    def active_file(self, stream: DiskStream) -> SegmentFile:
        """The log of the active segment, open; what lies beyond the stream's end is cut: no kept frame wrote it."""
        path = stream.log_path(stream.active)
        file = self.handles.find(path)
        if file is None:
            file = self._open(path, stream.folder, create=True)
            self.handles.add(file)
        if not file.cut and self.serving:
            size = self.files.size(file.handle)
            if size > stream.active_bytes:
                self.files.truncate(file.handle, stream.active_bytes)
                size = stream.active_bytes
            file.allocated = size
            file.cut = True
            if not stream.active_bytes:  # what an epoch that failed has made may be there without a durable name
                self.unnamed.add(path)
        stream.file = file
        return file

    def _open(self, path: str, folder: str, create: bool) -> SegmentFile:
        if create and folder not in self._folders:
            self.files.make_folder(folder)
            self._folders.add(folder)
        try:
            handle = self.files.open(path)
        except FileNotFoundError:
            if not create:
                raise
            handle = self.files.open(path, create=True)
            self.unnamed.add(path)
        if not self.serving:  # it may be there only because the system has not crashed
            self.unnamed.add(path)
        return SegmentFile(path, folder, handle)

    def write(self, stream: DiskStream, offset: int, parts: Sequence[Data], size: int) -> SegmentFile:
        """Put bytes into the active segment; nothing else of the stream changes."""
        file = stream.file
        if file is None or file.handle == CLOSED:
            file = self.active_file(stream)
        else:
            self.handles.touch(file)
        end = offset + size
        if end > file.allocated:
            self._allocate(stream, file, offset, end)
        self.files.write(file.handle, offset, parts)
        if file.path not in self.dirty:
            self.dirty[file.path] = file.folder
        return file

    def _allocate(self, stream: DiskStream, file: SegmentFile, offset: int, end: int) -> None:
        """Take space ahead of what is written: fewer, longer extents. Where there is none, the write itself will say so."""
        file.allocated = end
        if end >= ALLOCATE_FROM_BYTES:
            ahead = min(ALLOCATE_AHEAD_BYTES, max(stream.config.segment_bytes - end, 0))
            try:
                self.files.allocate(file.handle, offset, end - offset + ahead, extend=False)
                file.allocated = end + ahead
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def roll(self, stream: DiskStream, base: int) -> None:
        """Seal the active segment and go on at ``base``, the stream's end."""
        self.load_sealed(stream)
        if stream.active_bytes:
            path = stream.log_path(stream.active)
            file = stream.file or self.handles.find(path)
            if file is not None and file.handle != CLOSED and file.allocated > stream.active_bytes:
                self.files.truncate(file.handle, stream.active_bytes)
                file.allocated = stream.active_bytes
            self.write_index(stream)
        stream.seal(base)
        self.changed(stream)

    def changed(self, stream: DiskStream) -> None:
        """Its manifest, if it has or needs one, is out of date."""
        if stream.written or stream.first != stream.active:
            self.manifests[stream.id] = stream
            self.fresh.pop(stream.id, None)
        else:
            self.fresh[stream.id] = stream

    def write_index(self, stream: DiskStream) -> None:
        """The hints beside the active log, for later openings and for Kafka's tools."""
        if stream.index is None or stream.active_bytes < INDEX_INTERVAL_BYTES:
            return  # there is nothing to skip in a log of a few pages
        index = self._index(stream, stream.active, stream.active_bytes)
        stem = stream.log_path(stream.active)[: -len(".log")]
        for suffix, data in zip((".index", ".timeindex"), index.pack(stream.active), strict=True):
            handle = self.files.open(stem + suffix, create=True)
            self.files.truncate(handle, 0)
            self.files.write(handle, 0, [data])
            self.files.close(handle)

    def note_index(self, stream: DiskStream, position: int, offset: int, timestamp_ms: int) -> None:
        """A batch begins here: index it if the last indexed one is far enough behind."""
        index = stream.index
        if index is None:
            index = stream.index = Index()
            stream.indexed = offset
        if not index.offsets or offset - index.offsets[-1] >= INDEX_INTERVAL_BYTES:
            index.add(position, offset, timestamp_ms)

    # -- sealed segments

    def load_sealed(self, stream: DiskStream) -> list[Sealed]:
        """The sealed segments, oldest first: from the manifest, or rebuilt if that is not the newest sound one.

        Raises:
            EngineError: UNSUPPORTED, a manifest of another version.
        """
        if stream.sealed is not None:
            return stream.sealed
        try:
            data = self._whole(f"{stream.folder}/{manifest.NAME}")
            number, generation, first_chain, sealed = manifest.decode(data)
            if number != stream.id or generation < stream.written:
                raise Unsound(f"manifest of stream {number}, generation {generation}, want {stream.written}")
            sealed = _as_of(stream, generation, first_chain, sealed)
        except UnknownVersion as fault:
            raise EngineError(ErrorCode.UNSUPPORTED, str(fault)) from None
        except (Unsound, FileNotFoundError) as fault:
            self.faults.append(f"stream {stream.id}: {fault}; rebuilt from the segments")
            sealed = self._rebuild(stream)
            stream.generation += 1
            self.changed(stream)
        stream.sealed = sealed
        return sealed

    def _rebuild(self, stream: DiskStream) -> list[Sealed]:
        bases = [
            int(name[:-4])
            for name in self.files.names(stream.folder)
            if name.endswith(".log") and len(name) == 24 and name[:20].isdecimal()
        ]
        bases = sorted({stream.first, stream.active, *[base for base in bases if stream.first < base < stream.active]})
        chain = stream.first_chain
        sealed = []
        for base, end in itertools.pairwise(bases):
            path = stream.log_path(base)
            size, newest = 0, -1
            before = chain
            try:
                file = self.log(path, stream.folder)
                size = self.files.size(file.handle)
                position = base
                for head, header in walk(self._reader(file), 0, base, size):
                    newest = max(newest, head.max_timestamp_ms)
                    position = head.end
                    if chain != NO_CHAIN or base == 0:
                        chain = chain_of(chain, header)
                if position != end:
                    raise Rotten(position, f"the segment ends there, the next begins at {end}")
            except (Rotten, FileNotFoundError) as fault:
                self.faults.append(f"stream {stream.id}, {path}: {fault}")
                chain = NO_CHAIN
            made = Sealed(base, end, size, newest, chain)
            word = self._word(stream, base)
            if word is not None and (word.end, word.before, word.content) == (end, before, chain):
                made.chain, made.content, made.records = word.chain, word.content, word.records
                chain = word.chain
            sealed.append(made)
        return sealed

    def _word(self, stream: DiskStream, base: int) -> Word | None:
        try:
            word = Word.decode(self._whole(word_path(stream, base)))
        except (FileNotFoundError, Unsound):
            return None
        return word if (word.stream, word.base) == (stream.id, base) else None

    def _reader(self, file: SegmentFile) -> Callable[[int, int], bytes]:
        return lambda offset, size: self.files.read(file.handle, offset, size)

    def _whole(self, path: str) -> bytes:
        handle = self.files.open(path)
        try:
            return self.files.read(handle, 0, self.files.size(handle))
        finally:
            self.files.close(handle)

    def log(self, path: str, folder: str) -> SegmentFile:
        """A sealed segment's log, open. Raises: FileNotFoundError."""
        file = self.handles.find(path)
        if file is None:
            file = self._open(path, folder, create=False)
            self.handles.add(file)
        return file

    # -- reading

    def locate(self, stream: DiskStream, position: int) -> tuple[int, int, int]:
        """Base, end and bytes of the segment that holds ``position``."""
        if position >= stream.active:
            return stream.active, stream.end, stream.active_bytes
        sealed = self._sealed_at(stream, position)
        return sealed.base, sealed.end, sealed.size

    def _sealed_at(self, stream: DiskStream, position: int) -> Sealed:
        sealed = self.load_sealed(stream)
        found = bisect_right(sealed, position, key=lambda one: one.base) - 1
        if found < 0 or sealed[found].end <= position:
            raise Rotten(position, "no segment holds it")
        return sealed[found]

    def _file_for_reading(self, stream: DiskStream, base: int, position: int) -> SegmentFile:
        try:
            if base == stream.active:
                return self.active_file(stream)
            file = self.log(stream.log_path(base), stream.folder)
        except FileNotFoundError:
            raise Rotten(position, f"{stream.log_path(base)} is missing") from None
        if not file.cut:
            sealed = self._sealed_at(stream, base)
            size = self.files.size(file.handle)
            if sealed.content != NO_CHAIN and size != sealed.size:
                raise Rotten(position, f"{size} bytes, the segment that was written anew has {sealed.size}")
            file.cut = True
        return file

    def _place(self, stream: DiskStream, base: int, limit: int, file: SegmentFile, position: int) -> tuple[int, int]:
        """A (position, offset) at or before ``position`` from which to hop; the index is filled in where it has a gap."""
        index = self._index(stream, base, limit)
        found, offset = index.floor(position, base)
        gap_end = index.offsets[0] if index.offsets else limit
        if offset == 0 and gap_end > 2 * INDEX_INTERVAL_BYTES:
            filled = Index()
            try:
                for head, _header in walk(self._reader(file), 0, base, limit):
                    if head.offset >= gap_end:
                        break
                    if not filled.offsets or head.offset - filled.offsets[-1] >= INDEX_INTERVAL_BYTES:
                        filled.add(head.base, head.offset, head.max_timestamp_ms)
            except Rotten:  # what lies before the rot, and what is indexed behind it, can still be read
                pass
            for known, at, time in zip(index.positions, index.offsets, index.times, strict=True):
                if not filled.offsets or at > filled.offsets[-1]:
                    filled.add(known, at, time)
            self._keep_index(stream, base, filled)
            found, offset = filled.floor(position, base)
        return found, offset

    def _index(self, stream: DiskStream, base: int, limit: int) -> Index:
        if base == stream.active and stream.index is not None and stream.indexed == 0:
            return stream.index
        path = stream.log_path(base)
        index = self._indexes.get(path)
        if index is None:
            try:
                index = Index.unpack(self._whole(path[:-4] + ".index"), base, limit)
            except FileNotFoundError:
                index = Index()
            if base == stream.active and stream.index is not None:
                newest = index.offsets[-1] if index.offsets else -1
                for position, offset, time in zip(
                    stream.index.positions, stream.index.offsets, stream.index.times, strict=True
                ):
                    if offset > newest:
                        index.add(position, offset, time)
            self._keep_index(stream, base, index)
        return index

    def _keep_index(self, stream: DiskStream, base: int, index: Index) -> None:
        if base == stream.active:
            stream.index = index
            stream.indexed = 0
            return
        if len(self._indexes) >= SEALED_INDEXES_MAX:
            del self._indexes[next(iter(self._indexes))]
        self._indexes[stream.log_path(base)] = index

    def read(self, stream: DiskStream, start: int, bytes_max: int) -> list[Batch]:
        """Whole batches of one segment from the one that holds ``start`` on, checked against CRC, place and epoch.

        Raises:
            Rotten: the first of them is not what was written.
        """
        base, _end, limit = self.locate(stream, start)
        file = self._file_for_reading(stream, base, start)
        position, offset = self._place(stream, base, limit, file, start)
        try:
            return self._read_from(stream, file, position, offset, limit, start, bytes_max)
        except Rotten:
            if offset == 0:
                raise
        # The index is a hint: hop from the segment's beginning before the log is blamed.
        position, offset = base, 0
        for head, _header in walk(self._reader(file), 0, base, limit):
            position, offset = head.base, head.offset
            if head.end > start:
                break
        return self._read_from(stream, file, position, offset, limit, start, bytes_max)

    def _read_from(
        self, stream: DiskStream, file: SegmentFile, position: int, offset: int, limit: int, start: int, bytes_max: int
    ) -> list[Batch]:
        found: list[Batch] = []
        room = bytes_max
        chunk = memoryview(b"")
        begin = offset
        while offset < limit:
            at = offset - begin
            if at + HEADER_BYTES > len(chunk):
                if found:
                    break
                begin, at = offset, 0
                chunk = self._chunk(file, offset, min(limit - offset, bytes_max + INDEX_INTERVAL_BYTES), position)
            try:
                head = head_at(chunk, at, offset, position, limit)
                if head.end > start:
                    room -= head.size
                    if found and (room < 0 or at + head.size > len(chunk)):
                        break
                    if at + head.size > len(chunk):
                        begin, at = offset, 0
                        chunk = self._chunk(file, offset, head.size, position)
                        if len(chunk) < head.size:
                            raise Rotten(position, f"the file ends inside the batch at offset {offset}")
                    batch = chunk[at : at + head.size]
                    check(batch, head)
                    if stream.epoch_at(head.base) not in (None, head.epoch):
                        raise Rotten(position, f"leader epoch {head.epoch}, want {stream.epoch_at(head.base)}")
                    found.append(batch)
            except Rotten:
                if found:
                    break
                raise
            offset += head.size
            position = head.end
        if not found:
            raise Rotten(start, f"the segment ends at {position}")
        return found

    def _chunk(self, file: SegmentFile, offset: int, size: int, position: int) -> memoryview:
        data = self.files.read(file.handle, offset, max(size, READ_AHEAD_BYTES))
        if len(data) < HEADER_BYTES:
            raise Rotten(position, f"the file ends at {offset + len(data)}")
        return memoryview(data)

    def headers(self, stream: DiskStream, start: int) -> Iterator[bytes]:
        """Raises: Rotten."""
        position = start
        while position < stream.end:
            base, end, limit = self.locate(stream, position)
            file = self._file_for_reading(stream, base, position)
            at, offset = self._place(stream, base, limit, file, position)
            path = file.path
            if offset and not self._begins(file, at, offset, limit):
                at, offset = base, 0  # the index is a hint

            def read(where: int, most: int, path: str = path, folder: str = stream.folder) -> bytes:
                return self.files.read(self.log(path, folder).handle, where, most)

            for head, header in walk(read, offset, at, limit):
                at = head.end
                if head.end > start:
                    if stream.epoch_at(head.base) not in (None, head.epoch):
                        raise Rotten(head.base, f"leader epoch {head.epoch}")
                    yield header
            if at != end and base != stream.active:
                raise Rotten(at, f"the segment ends there, the next begins at {end}")
            position = max(at, position + 1)

    def _begins(self, file: SegmentFile, position: int, offset: int, limit: int) -> bool:
        """Whether a batch of this position begins there."""
        data = self.files.read(file.handle, offset, HEADER_BYTES)
        try:
            return len(data) == HEADER_BYTES and head_at(data, 0, offset, position, limit).base == position
        except Rotten:
            return False

    # -- rewriting

    def replaced(self, stream: DiskStream, what: Replacement) -> None:
        """What was written anew takes its segment's place: its frame is durable. Also of a recovery that finds it half done."""
        path = stream.log_path(what.base)
        sealed = self.load_sealed(stream)
        self._rename(new_path(stream, what.base, what.number), path)
        self._forget(path)
        for segment in sealed:
            if segment.base == what.base:
                segment.size, segment.max_timestamp_ms = what.size, what.max_timestamp_ms
                segment.content, segment.records = what.content, what.records
                self.dirty[path] = stream.folder
                self.unnamed.add(path)
        stream.generation += 1
        stream.packed = None
        self.changed(stream)
        self._rename(word_path(stream, what.base, what.number), word_path(stream, what.base))
        for suffix in (".index", ".timeindex"):
            try:
                self.files.unlink(path[:-4] + suffix)
            except FileNotFoundError:
                pass

    def _rename(self, source: str, target: str) -> None:
        try:
            self.files.rename(source, target)
        except FileNotFoundError:  # done before, or trimmed since
            pass

    # -- removing

    def trim(self, stream: DiskStream, before: int) -> list[str]:
        """Move the start; paths of the segments that are wholly below it. ``remove`` them when the trim is durable."""
        self.load_sealed(stream)
        assert stream.sealed is not None
        stream.start = max(stream.start, before)
        if stream.start > stream.end:
            stream.end = stream.start
        if stream.start == stream.end and (stream.active_bytes or stream.active != stream.end):
            self.roll(stream, stream.end)
        gone = 0
        while gone < len(stream.sealed) and stream.sealed[gone].end <= stream.start:
            gone += 1
        paths = [stream.log_path(sealed.base) for sealed in stream.sealed[:gone]]
        stream.forget(gone)
        stream.epochs = epochs_from(stream.epochs, stream.start)
        self.changed(stream)
        return paths

    def remove(self, paths: Sequence[str]) -> None:
        """Delete logs and their indexes; what is not there is gone already."""
        for path in paths:
            self._forget(path)
            for name in (path, *(path[:-4] + suffix for suffix in (".index", ".timeindex", ".rewritten"))):
                try:
                    self.files.unlink(name)
                except FileNotFoundError:
                    pass

    def _forget(self, path: str) -> None:
        self.handles.drop(path)
        self.dirty.pop(path, None)
        self.unnamed.discard(path)
        self.references.pop(path, None)
        self.marked.pop(path, None)
        self._indexes.pop(path, None)

    def remove_folder(self, stream: DiskStream) -> None:
        """Delete everything of a stream."""
        self.manifests.pop(stream.id, None)
        self.fresh.pop(stream.id, None)
        self._folders.discard(stream.folder)
        names = self.files.names(stream.folder)
        for name in names:
            path = f"{stream.folder}/{name}"
            self._forget(path)
            self.files.unlink(path)
        try:
            self.files.remove_folder(stream.folder)
        except FileNotFoundError:
            pass

    def serve(self) -> None:
        """Recovery is done: what lies beyond a stream's end is cut when its log is opened again."""
        self.handles.clear()
        self.serving = True

    def clear(self) -> None:
        self.serving = False
        self.handles.clear()
        self.dirty.clear()
        self.unnamed.clear()
        self.references.clear()
        self.marked.clear()
        self.manifests.clear()
        self.fresh.clear()
        self._folders.clear()
        self._indexes.clear()


def _as_of(stream: DiskStream, generation: int, first_chain: bytes, sealed: list[Sealed]) -> list[Sealed]:
    """The sealed segments as the ends file knows them. A newer manifest is one whose checkpoint did not get as far as the
    ends file; the journal then holds what it knows more, and is being replayed: segments that it has trimmed already are
    named here so that the replay can trim them.

    Raises:
        Unsound: they do not connect.
    """
    sealed = [segment for segment in sealed if segment.base < stream.active]
    if generation > stream.written:
        found = sealed[0].base if sealed else stream.active
        if found > stream.first:
            sealed.insert(0, Sealed(stream.first, found, 0, -1, first_chain))
    position = stream.first
    for segment in sealed:
        if segment.base != position:
            break
        position = segment.end
    if position != stream.active:
        raise Unsound(f"manifest whose segments end at {position}, the active one begins at {stream.active}")
    return sealed


__all__ = ["FOLDER", "Head", "Segments", "UnknownVersion"]
