"""Checkpoints: the segments are synced and every stream's end is recorded, so that the journal's space may be used again.

In this order, each step durable before the next:

1. the logs written since the last checkpoint, the journal, the new manifests and the new ends files (under other names);
2. the manifests, by rename;
3. ``ends.copy`` and ``ends``, by rename.

The ends file says what was true when step 1 began. What is appended meanwhile belongs to the next checkpoint. A step that
fails ends the epoch: the owner is told and decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from substrate.disk import ends, manifest
from substrate.disk.handles import CLOSED, SegmentFile
from substrate.disk.segments import Segments
from substrate.disk.stream import FOLDER, DiskStream
from substrate.files import Files, Lane

HANDLES_MAX = 64
"""Above this many files, one sync of the file system costs less than one each."""


class Checkpoint:
    """One checkpoint under way. ``covered`` is the journal frame up to which it covers, once ``finished`` was called."""

    def __init__(
        self,
        files: Files,
        segments: Segments,
        journal_handles: Iterable[int],
        state: ends.EndsState,
        streams: Iterable[DiskStream],
        fresh_max: int,
        finished: Callable[[Checkpoint, OSError | None], None],
    ) -> None:
        self.files = files
        self.segments = segments
        self.covered = state.number
        self.abandoned = False
        """The epoch has ended meanwhile: nothing is renamed any more."""
        self._finished = finished
        self._pinned: list[SegmentFile] = []
        self._handles: list[int] = list(journal_handles)
        self._shared = len(self._handles)
        """The first handles belong to the journal: they are not closed here."""
        self._manifests: list[DiskStream] = []
        self._state = state
        self._streams = streams
        self._fresh_max = fresh_max

    def begin(self) -> None:
        """Raises: OSError."""
        dirty, unnamed = self.segments.dirty, self.segments.unnamed
        self._dirty, self._unnamed = dict(dirty), set(unnamed)
        fresh = self.segments.fresh
        self._manifests = list(self.segments.manifests.values())
        self._manifests += [fresh.popitem()[1] for _ in range(min(self._fresh_max, len(fresh)))]
        dirty.clear()
        self.segments.manifests.clear()
        for stream in self._manifests:
            self._write_manifest(stream)
        blob = ends.encode(self._state, [stream.pack() for stream in self._streams])
        for name in ends.NAMES:
            self._write(f"{name}.new", blob)
        self._whole = len(self._dirty) + len(self._manifests) + self._shared > HANDLES_MAX
        if self._whole:
            self.files.sync_all(Lane.BACKGROUND, self._written)
        else:
            self._add_logs()
            self.files.sync(self._handles, Lane.BACKGROUND, self._written)

    def _add_logs(self) -> None:
        handles = self.segments.handles
        for path, folder in self._dirty.items():
            file = handles.find(path)
            if file is None or file.handle == CLOSED:
                try:
                    file = self.segments.log(path, folder)
                except FileNotFoundError:  # trimmed meanwhile
                    continue
            file.pins += 1
            self._pinned.append(file)
            self._handles.append(file.handle)
        folders = {self._dirty.get(path, path.rpartition("/")[0]) for path in self._unnamed}
        if folders:
            folders.add(FOLDER)
        self._add_folders(folders)

    def _add_folders(self, folders: Iterable[str]) -> None:
        for folder in folders:
            try:
                self._handles.append(self.files.open_folder(folder))
            except FileNotFoundError:  # deleted meanwhile
                continue

    def _write(self, path: str, data: bytes) -> None:
        handle = self.files.open(path, create=True)
        self.files.truncate(handle, 0)
        self.files.write(handle, 0, [data])
        self._handles.append(handle)
        if len(self._handles) > HANDLES_MAX + self._shared:
            self.files.close(self._handles.pop())

    def _write_manifest(self, stream: DiskStream) -> None:
        self.segments.load_sealed(stream)
        stream.written = stream.generation
        stream.packed = None
        self.files.make_folder(stream.folder)
        self._write(f"{stream.folder}/{manifest.NAME}.new", manifest.encode(stream))
        self._write(f"{stream.folder}/{manifest.EPOCHS}.new", manifest.encode_epochs(stream))

    def abandon(self) -> None:
        """It could not be begun: let its files go."""
        self.abandoned = True
        self._release()

    def _release(self) -> None:
        handles = self._handles[self._shared :]
        for file in self._pinned:
            handles.remove(file.handle)
            self.segments.handles.unpin(file)
        for handle in handles:
            self.files.close(handle)
        self._pinned.clear()
        self._handles.clear()
        self._shared = 0

    def _written(self, error: OSError | None) -> None:
        """Step 1 is done."""
        self._release()
        if error is not None or self.abandoned:
            self._finished(self, error)
            return
        self.segments.unnamed -= self._unnamed
        try:
            folders = set()
            for stream in self._manifests:
                try:
                    for name in (manifest.EPOCHS, manifest.NAME):
                        self.files.rename(f"{stream.folder}/{name}.new", f"{stream.folder}/{name}")
                    folders.add(stream.folder)
                except FileNotFoundError:  # deleted meanwhile
                    continue
            if not folders:
                self._named(None)
            elif self._whole:
                self.files.sync_all(Lane.BACKGROUND, self._named)
            else:
                self._add_folders([*sorted(folders), FOLDER])
                self.files.sync(self._handles, Lane.BACKGROUND, self._named)
        except OSError as caught:
            self._finished(self, caught)

    def _named(self, error: OSError | None) -> None:
        """Step 2 is done."""
        self._release()
        if error is not None or self.abandoned:
            self._finished(self, error)
            return
        try:
            for name in reversed(ends.NAMES):
                self.files.rename(f"{name}.new", name)
            self._add_folders([""])
            self.files.sync(self._handles, Lane.BACKGROUND, self._recorded)
        except OSError as caught:
            self._finished(self, caught)

    def _recorded(self, error: OSError | None) -> None:
        """Step 3 is done."""
        self._release()
        self._finished(self, error)
