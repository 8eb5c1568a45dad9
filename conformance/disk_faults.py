"""A disk in memory that forgets, tears, flips and refuses, by seed.

What was written is kept apart from what was synced, and names apart from contents, as POSIX allows and no more:

* a write is in the cache until its file is synced; a power cut keeps any subset of the unsynced sectors (512 bytes), each
  whole or not at all, and any subset of the unsynced names (creations, renames, removals) of each folder;
* ``sync`` covers what was written before the call; it finishes when the owner waits for it or ``step`` says so;
* a failed fsync drops what it should have written, or some of it, and says so once: the cache still shows it, as Linux does;
* every operation that changes something is numbered; ``fault`` may answer any of them with an error, ``watch`` sees each.

The same seed and the same calls give the same bytes.
"""

from __future__ import annotations

import errno
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from substrate.files import Data, Done, Lane

SECTOR_BYTES = 512


@dataclass(slots=True)
class _Change:
    """One unsynced write (``data`` at ``offset``) or change of size (``data`` None)."""

    offset: int
    data: bytes | None
    at: int = 0
    """When: a sync covers the changes made before it was called."""


@dataclass(slots=True)
class _File:
    content: bytearray = field(default_factory=bytearray)
    synced: bytearray = field(default_factory=bytearray)
    changes: list[_Change] = field(default_factory=list)
    allocated: int = 0


@dataclass(slots=True)
class _Name:
    """One unsynced change of names: every path in ``put`` is set, every path in ``gone`` removed, together."""

    folder: str
    put: dict[str, _File | None]
    gone: tuple[str, ...]
    at: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    number: int
    kind: str
    path: str
    size: int = 0


@dataclass(slots=True)
class _Sync:
    """What one sync covers: changes up to ``at`` of these files, and of the names in these folders (None: of all)."""

    files: list[_File]
    folders: set[str] | None
    at: int
    described: str
    done: Done


class PowerCut(BaseException):
    """Raised by a ``watch`` to stop the owner where it stands."""


class SimulatedFiles:
    """``substrate.files.Files`` in memory. ``capacity`` bytes for all contents."""

    handles_max = 4096

    def __init__(self, seed: int = 0, capacity: int = 1 << 40) -> None:
        self.chance = random.Random(seed)
        self.capacity = capacity
        self.operations = 0
        self.fault: Callable[[Operation], int] | None = None
        """Answers the errno with which an operation fails, 0 for none."""
        self.watch: Callable[[Operation], None] | None = None
        """Sees each operation before it happens."""
        self.locked_by: object = None
        self._names: dict[str, _File | None] = {"": None}
        """Every path: a file, or None for a folder. _safe: as a power cut would leave it."""
        self._safe: dict[str, _File | None] = {"": None}
        self._unsafe: list[_Name] = []
        self._handles: dict[int, tuple[str, _File | None]] = {}
        self._next_handle = 3
        self._now = 0
        """Counts changes: the simulated disk's own time."""
        self._waiting: deque[_Sync] = deque()
        self._now_ms = 0
        self._alarms: list[tuple[int, Callable[[], None]]] = []
        self._posted: deque[Callable[[], None]] = deque()
        self._free: int | None = None

    # -- what a test does

    def step(self) -> bool:
        """Finish the oldest outstanding sync, or make the oldest posted call. False: there is nothing."""
        if self._posted:
            self._posted.popleft()()
            return True
        if not self._waiting:
            return False
        sync = self._waiting.popleft()
        code = self._operate("sync", sync.described, 0)
        self._finish(sync, code)
        sync.done(OSError(code, "injected") if code else None)
        return True

    def run(self) -> None:
        """Finish everything that is outstanding."""
        while self.step():
            pass

    def crashed(self, seed: int) -> SimulatedFiles:
        """The disk after a power cut here: a new one, everything on it synced. This one is left as it is."""
        chance = random.Random(seed)
        after = SimulatedFiles(seed, self.capacity)
        keep = chance.choice((0.0, 0.2, 0.5, 0.8, 1.0))
        names = dict(self._safe)
        keep_names = chance.choice((0.0, 0.5, 1.0))
        for change in self._unsafe:
            if chance.random() < keep_names:
                _apply(names, change)
        survivors: dict[int, _File] = {}
        for path, file in names.items():
            if not _reachable(names, path):
                continue
            if file is None:
                after._names[path] = after._safe[path] = None
                continue
            survivor = survivors.get(id(file))
            if survivor is None:
                content = _torn(file, chance, keep)
                survivor = survivors[id(file)] = _File(content, bytearray(content), [], len(content))
            after._names[path] = after._safe[path] = survivor
        return after

    def killed(self) -> SimulatedFiles:
        """The disk after the process alone died: everything written is there."""
        after = SimulatedFiles(0, self.capacity)
        after._now = self._now  # what was unsynced must count as made before the next sync
        copies: dict[int, _File] = {}

        def copied(file: _File | None) -> _File | None:
            if file is None:
                return None
            if id(file) not in copies:
                copies[id(file)] = _File(
                    bytearray(file.content), bytearray(file.synced), list(file.changes), file.allocated
                )
            return copies[id(file)]

        after._names = {path: copied(file) for path, file in self._names.items()}
        after._safe = {path: copied(file) for path, file in self._safe.items()}
        after._unsafe = [
            _Name(change.folder, {path: copied(file) for path, file in change.put.items()}, change.gone, change.at)
            for change in self._unsafe
        ]
        return after

    def flip(self, path: str, bit: int) -> None:
        """Rot: one bit of a file, in the cache and on the disk."""
        file = self._file(path)
        for content in (file.content, file.synced):
            if bit // 8 < len(content):
                content[bit // 8] ^= 1 << bit % 8

    def cut(self, path: str, size: int) -> None:
        """Rot: a file loses its end."""
        file = self._file(path)
        del file.content[size:], file.synced[size:]

    def content(self, path: str) -> bytes:
        return bytes(self._file(path).content)

    def put(self, path: str, content: bytes) -> None:
        """Put an old copy in a file's place."""
        file = self._file(path)
        file.content, file.synced, file.changes = bytearray(content), bytearray(content), []

    def paths(self) -> list[str]:
        return sorted(path for path, file in self._names.items() if file is not None)

    def digest(self) -> int:
        """A number that differs if anything on the disk does."""
        import zlib

        value = 0
        for path in sorted(self._names):
            file = self._names[path]
            value = zlib.crc32(path.encode() + (b"/" if file is None else bytes(file.content)), value)
        return value

    def elapse(self, wait_ms: int) -> None:
        """Time passes: what was asked for ``later`` is called when it is due."""
        until = self._now_ms + wait_ms
        while True:
            due = min((at for at, _call in self._alarms), default=until + 1)
            if due > until:
                break
            index = next(index for index, (at, _call) in enumerate(self._alarms) if at == due)
            self._now_ms, call = self._alarms.pop(index)
            call()
        self._now_ms = until

    # -- Files

    def later(self, wait_ms: int, call: Callable[[], None]) -> None:
        self._alarms.append((self._now_ms + wait_ms, call))

    def open(self, path: str, create: bool = False) -> int:
        file = self._names.get(path)
        if file is None:
            if path in self._names:
                raise IsADirectoryError(errno.EISDIR, path)
            if not create:
                raise FileNotFoundError(errno.ENOENT, path)
            self._need_folder(path)
            self._refuse("create", path)
            file = _File()
            self._change_names(_folder(path), {path: file}, ())
        return self._handle(path, file)

    def open_folder(self, path: str) -> int:
        if path not in self._names or self._names[path] is not None:
            raise FileNotFoundError(errno.ENOENT, path)
        return self._handle(path, None)

    def _handle(self, path: str, file: _File | None) -> int:
        self._next_handle += 1
        self._handles[self._next_handle] = (path, file)
        return self._next_handle

    def close(self, handle: int) -> None:
        del self._handles[handle]

    def size(self, handle: int) -> int:
        return len(self._of(handle).content)

    def data_end(self, handle: int) -> int:
        return len(self._of(handle).content.rstrip(b"\0"))

    def read(self, handle: int, offset: int, size: int) -> bytes:
        return bytes(self._of(handle).content[offset : offset + size])

    def write(self, handle: int, offset: int, parts: Sequence[Data]) -> None:
        path, file = self._handles[handle]
        assert file is not None
        data = b"".join(parts)
        code = self._operate("write", path, len(data))
        grows = max(0, offset + len(data) - max(len(file.content), file.allocated))
        if code == 0 and grows > self.free_bytes():
            code = errno.ENOSPC
        if code:
            self._store(file, offset, data[: self.chance.randrange(len(data) + 1)] if grows == 0 else b"")
            raise OSError(code, f"injected: {path}")
        self._store(file, offset, data)

    def _store(self, file: _File, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if not data:
            return
        before = max(len(file.content), file.allocated)
        if len(file.content) < offset:
            file.content.extend(bytes(offset - len(file.content)))
        file.content[offset:end] = data
        self._change(file, offset, data)
        self._count(max(len(file.content), file.allocated) - before)

    def truncate(self, handle: int, size: int) -> None:
        path, file = self._handles[handle]
        assert file is not None
        before = max(len(file.content), file.allocated)
        if len(file.content) == size and file.allocated <= size:
            return
        self._refuse("truncate", path)
        if len(file.content) > size:
            del file.content[size:]
        else:
            file.content.extend(bytes(size - len(file.content)))
        file.allocated = size
        self._change(file, size, None)
        self._count(size - before)

    def allocate(self, handle: int, offset: int, size: int, extend: bool) -> None:
        path, file = self._handles[handle]
        assert file is not None
        end = offset + size
        before = max(len(file.content), file.allocated)
        if end - before > self.free_bytes():
            raise OSError(errno.ENOSPC, path)
        self._refuse("allocate", path)
        file.allocated = max(file.allocated, end)
        if extend and len(file.content) < end:
            file.content.extend(bytes(end - len(file.content)))
            self._change(file, end, None)
        self._count(max(0, end - before))

    def sync(self, handles: Sequence[int], lane: Lane, done: Done) -> None:
        self._waiting.append(self._covered(handles, done))

    def sync_all(self, lane: Lane, done: Done) -> None:
        self._waiting.append(self._covered(None, done))

    def sync_now(self, handles: Sequence[int]) -> None:
        sync = self._covered(handles, lambda error: None)
        code = self._operate("sync", sync.described, 0)
        self._finish(sync, code)
        if code:
            raise OSError(code, f"injected: {sync.described}")

    def wait(self) -> bool:
        return self.step()

    def post(self, call: Callable[[], None]) -> None:
        self._posted.append(call)

    def rename(self, source: str, target: str) -> None:
        if source not in self._names:
            raise FileNotFoundError(errno.ENOENT, source)
        self._refuse("rename", target)
        self._change_names(_folder(target), {target: self._names[source]}, (source,))

    def unlink(self, path: str) -> None:
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, path)
        self._refuse("unlink", path)
        file = self._names[path]
        if file is not None:
            self._count(-max(len(file.content), file.allocated))
        self._change_names(_folder(path), {}, (path,))

    def make_folder(self, path: str) -> None:
        if path in self._names:
            return
        if path:
            self.make_folder(_folder(path))
        self._refuse("mkdir", path)
        self._change_names(_folder(path), {path: None}, ())

    def remove_folder(self, path: str) -> None:
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, path)
        if self.names(path):
            raise OSError(errno.ENOTEMPTY, path)
        self._refuse("rmdir", path)
        self._change_names(_folder(path), {}, (path,))

    def names(self, path: str) -> list[str]:
        prefix = f"{path}/" if path else ""
        return sorted(
            name[len(prefix) :]
            for name in self._names
            if name and name.startswith(prefix) and "/" not in name[len(prefix) :]
        )

    def lock(self, path: str) -> None:
        if self.locked_by is not None:
            raise BlockingIOError(errno.EWOULDBLOCK, path)
        self.locked_by = self

    def free_bytes(self) -> int:
        if self._free is None:
            seen = {id(file): file for file in self._names.values() if file is not None}
            self._free = -sum(max(len(file.content), file.allocated) for file in seen.values())
        return self.capacity + self._free

    def identity(self) -> int:
        return self.chance.getrandbits(63)

    def shut(self) -> None:
        self._handles.clear()
        self._waiting.clear()
        self._posted.clear()
        self._alarms.clear()
        self.locked_by = None

    # -- inside

    def _count(self, grown: int) -> None:
        if self._free is not None:
            self._free -= grown

    def _operate(self, kind: str, path: str, size: int) -> int:
        """Number an operation, show it, and ask for its fault."""
        self.operations += 1
        operation = Operation(self.operations, kind, path, size)
        if self.watch is not None:
            self.watch(operation)
        return self.fault(operation) if self.fault is not None else 0

    def _refuse(self, kind: str, path: str) -> None:
        code = self._operate(kind, path, 0)
        if code:
            raise OSError(code, f"injected: {path}")

    def _of(self, handle: int) -> _File:
        file = self._handles[handle][1]
        assert file is not None
        return file

    def _file(self, path: str) -> _File:
        file = self._names[path]
        assert file is not None
        return file

    def _need_folder(self, path: str) -> None:
        folder = _folder(path)
        if folder not in self._names or self._names[folder] is not None:
            raise FileNotFoundError(errno.ENOENT, folder)

    def _change_names(self, folder: str, put: dict[str, _File | None], gone: tuple[str, ...]) -> None:
        self._now += 1
        change = _Name(folder, put, gone, self._now)
        _apply(self._names, change)
        self._unsafe.append(change)

    def _change(self, file: _File, offset: int, data: bytes | None) -> None:
        self._now += 1
        file.changes.append(_Change(offset, data, self._now))

    def _covered(self, handles: Sequence[int] | None, done: Done) -> _Sync:
        if handles is None:
            files = list({id(file): file for file in self._names.values() if file is not None}.values())
            return _Sync(files, None, self._now, "*", done)
        found = [self._handles[handle] for handle in handles]
        return _Sync(
            [file for _path, file in found if file is not None],
            {path for path, file in found if file is None},
            self._now,
            " ".join(path or "." for path, _file in found),
            done,
        )

    def _finish(self, sync: _Sync, code: int) -> None:
        """A failed fsync leaves the pages clean, written or not: the cache shows what the disk may not have."""
        for file in sync.files:
            for change in file.changes:
                if change.at <= sync.at and (not code or self.chance.random() < 0.3):
                    _write(file.synced, change)
            file.changes = [change for change in file.changes if change.at > sync.at]
        if code:
            return
        kept = []
        for name in self._unsafe:
            if name.at <= sync.at and (sync.folders is None or name.folder in sync.folders):
                _apply(self._safe, name)
            else:
                kept.append(name)
        self._unsafe = kept


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _apply(names: dict[str, _File | None], change: _Name) -> None:
    for path in change.gone:
        names.pop(path, None)
    names.update(change.put)


def _reachable(names: dict[str, _File | None], path: str) -> bool:
    while path:
        path = _folder(path)
        if path not in names or names[path] is not None:
            return False
    return True


def _write(content: bytearray, change: _Change) -> None:
    if change.data is None:
        if len(content) > change.offset:
            del content[change.offset :]
        else:
            content.extend(bytes(change.offset - len(content)))
        return
    if len(content) < change.offset:
        content.extend(bytes(change.offset - len(content)))
    content[change.offset : change.offset + len(change.data)] = change.data


def _torn(file: _File, chance: random.Random, keep: float) -> bytearray:
    """What a power cut leaves: of each unsynced write, the sectors that chance keeps."""
    content = bytearray(file.synced)
    for change in file.changes:
        how = chance.random()
        if how < 0.25 or change.data is None:
            if chance.random() < keep:
                _write(content, change)
        elif how < 0.4:
            _write(content, _Change(change.offset, change.data[: len(change.data) // 2]))
        else:
            at = 0
            while at < len(change.data):
                size = min(SECTOR_BYTES - (change.offset + at) % SECTOR_BYTES, len(change.data) - at)
                if chance.random() < keep:
                    _write(content, _Change(change.offset + at, change.data[at : at + size]))
                at += size
    return content
