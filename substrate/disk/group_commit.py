"""Group commit: one fsync at a time, for all that was written before it began.

While an fsync is under way turns go on being written; the next one is for all of them. A turn is reported when the fsync that
covers its frame has returned, a turn that asks for none as soon as those before it were reported. One object per epoch: when the
epoch ends, ``ended`` is set and what still comes back is ignored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from substrate.disk.handles import SegmentFile
from substrate.disk.journal import Journal
from substrate.disk.segments import Segments
from substrate.disk.stream import FOLDER
from substrate.files import Files, Lane


class Owner(Protocol):
    def turns_durable(self, number: int, commit: int) -> None:
        """The turns up to ``commit``, in frames up to ``number``."""
        ...

    def sync_failed(self, reason: str) -> None: ...

    def caught_up(self) -> None:
        """Everything that wanted an fsync has had it."""
        ...


class GroupCommit:
    def __init__(self, files: Files, store: Segments, journal: Journal, owner: Owner) -> None:
        self.files = files
        self.store = store
        self.journal = journal
        self.owner = owner
        self.ended = False
        self.synced = journal.number
        """Frames up to this one are fsynced, with what they refer to."""
        self.wanted = journal.number
        """Frames up to this one are to be."""
        self.holding = False
        """Within a call that waits for the disk: reports are put off, so that nobody is called in the middle of it."""
        self._syncing = False
        self._in_flight: list[SegmentFile] = []
        self._marked_wanted = False
        self._pending: deque[tuple[int, int, bool]] = deque()
        """Turns not reported yet: frame, commit, whether it waits for an fsync."""

    def turn(self, number: int, commit: int, waits: bool) -> bool:
        """A turn was written, in frame ``number``. Whether it is to be reported at once.

        Raises:
            OSError: the fsync that it needs could not be begun.
        """
        if waits:
            self.wanted = number
            self._pending.append((number, commit, True))
            if not self._syncing:
                self._begin()
            return False
        if self._pending:
            self._pending.append((number, commit, False))
            return False
        return True

    def want(self, marked: bool = False) -> None:
        """Sync all that was written, with ``marked`` also what ``interval`` streams refer to.

        Raises:
            OSError.
        """
        self.wanted = self.journal.number
        self._marked_wanted = self._marked_wanted or marked
        if not self._syncing:
            self._begin()

    def _begin(self) -> None:
        store, journal = self.store, self.journal
        paths = list(store.references)
        store.references.clear()
        if self._marked_wanted:
            self._marked_wanted = False
            paths.extend(store.marked)
            store.marked.clear()
        pinned, folders = self._pinned(paths)
        handles = [file.handle for file in pinned]
        handles.extend(sorted(journal.unsynced))
        journal.unsynced.clear()
        self._syncing = True
        self._in_flight = pinned
        target = journal.number

        def done(error: OSError | None) -> None:
            self._unpin(pinned, folders)
            if not self.ended:
                self._synced_to(target, error)

        self.files.sync([*handles, *folders], Lane.TURN, done)

    def _pinned(self, paths: Sequence[str]) -> tuple[list[SegmentFile], list[int]]:
        """These logs, open and kept so, and handles of the folders in which their names are not durable yet."""
        pinned = []
        names: set[str] = set()
        for path in dict.fromkeys(paths):
            folder = path.rpartition("/")[0]
            file = self.store.log(path, folder)
            file.pins += 1
            pinned.append(file)
            if path in self.store.unnamed:
                names.update((folder, FOLDER))
        return pinned, [self.files.open_folder(name) for name in sorted(names)]

    def _unpin(self, pinned: Sequence[SegmentFile], folders: Sequence[int]) -> None:
        for file in pinned:
            self.store.handles.unpin(file)
        for folder in folders:
            self.files.close(folder)

    def _synced_to(self, target: int, error: OSError | None) -> None:
        self._syncing = False
        self._in_flight = []
        if error is not None:
            self.owner.sync_failed(f"fsync: {error}")
            return
        self.synced = target
        if self.wanted > target or self._marked_wanted:
            try:
                self._begin()
            except OSError as caught:
                self.owner.sync_failed(str(caught))
                return
        else:
            self.owner.caught_up()
        if self.holding:
            self.files.post(self.report)
        else:
            self.report()

    def report(self) -> None:
        """Tell the owner of the turns that are durable by now."""
        if self.ended:
            return
        number = commit = 0
        pending = self._pending
        while pending and (not pending[0][2] or pending[0][0] <= self.synced):
            number, commit, _waits = pending.popleft()
        if commit:
            self.owner.turns_durable(number, commit)

    def sync_now(self, paths: Sequence[str], slots: Sequence[int]) -> None:
        """These journal slots, all that frames refer to, and these logs: durable when this returns. Reports nothing.

        Raises:
            OSError.
        """
        in_flight = [file.path for file in self._in_flight if not file.gone]
        pinned, folders = self._pinned([*in_flight, *self.store.references, *paths])
        self.files.sync_now([*(file.handle for file in pinned), *folders, *slots])
        self._unpin(pinned, folders)
