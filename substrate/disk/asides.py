"""Files beside a stream's own, in its folder, never synced: an address index's runs. See ``substrate.runs.Asides``."""

from __future__ import annotations

from substrate.disk.handles import SegmentFile
from substrate.disk.segments import Segments
from substrate.disk.stream import DiskStream


class DiskAsides:
    def __init__(self, store: Segments, stream: DiskStream) -> None:
        self._store = store
        self._folder = stream.folder

    def names(self) -> list[str]:
        return self._store.files.names(self._folder)

    def _file(self, name: str, create: bool) -> SegmentFile:
        path = f"{self._folder}/{name}"
        file = self._store.handles.find(path)
        if file is None:
            file = SegmentFile(path, self._folder, self._store.files.open(path, create))
            self._store.handles.add(file)
        return file

    def write(self, name: str, offset: int, data: bytes) -> None:
        self._store.files.write(self._file(name, True).handle, offset, [data])

    def read(self, name: str, offset: int, size: int) -> bytes:
        return self._store.files.read(self._file(name, False).handle, offset, size)

    def size(self, name: str) -> int:
        return self._store.files.size(self._file(name, False).handle)

    def remove(self, name: str) -> None:
        path = f"{self._folder}/{name}"
        self._store.handles.drop(path)
        try:
            self._store.files.unlink(path)
        except FileNotFoundError:
            pass
