"""Open segment files: a bounded number of them, the least recently used closed first."""

from __future__ import annotations

from collections import OrderedDict

from substrate.files import Files

CLOSED = -1


class SegmentFile:
    """One segment's log. ``handle`` is CLOSED while it is not open."""

    __slots__ = ("allocated", "cut", "folder", "gone", "handle", "path", "pins")

    def __init__(self, path: str, folder: str, handle: int) -> None:
        self.path = path
        self.folder = folder
        self.handle = handle
        self.allocated = 0
        """Space was taken up to this offset."""
        self.cut = False
        """What lay beyond the stream's end was cut."""
        self.pins = 0
        """Syncs under way: it stays open."""
        self.gone = False
        """Removed: closed at the last unpin."""


class Handles:
    def __init__(self, files: Files, most: int) -> None:
        self.files = files
        self.most = most
        self._open: OrderedDict[str, SegmentFile] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def find(self, path: str) -> SegmentFile | None:
        """The open one of this path, made the most recently used."""
        file = self._open.get(path)
        if file is not None:
            self._open.move_to_end(path)
        return file

    def touch(self, file: SegmentFile) -> None:
        self._open.move_to_end(file.path)

    def add(self, file: SegmentFile) -> None:
        if len(self._open) >= self.most:
            self._evict()
        self._open[file.path] = file

    def _evict(self) -> None:
        for path, file in self._open.items():
            if file.pins == 0:
                del self._open[path]
                self._close(file)
                return

    def drop(self, path: str) -> None:
        """The file is removed: close it as soon as no sync needs it."""
        file = self._open.pop(path, None)
        if file is not None:
            file.gone = True
            if file.pins == 0:
                self._close(file)

    def unpin(self, file: SegmentFile) -> None:
        file.pins -= 1
        if file.pins == 0 and file.gone:
            self._close(file)

    def _close(self, file: SegmentFile) -> None:
        if file.handle != CLOSED:
            self.files.close(file.handle)
            file.handle = CLOSED

    def clear(self) -> None:
        for file in self._open.values():
            self._close(file)
        self._open.clear()
