"""The only place where the substrate touches an operating system's files.

Everything an engine does to a disk is a method of ``Files``: ``RealFiles`` does it under a folder of this machine,
``conformance.disk_faults.SimulatedFiles`` in memory, with what was written kept apart from what was synced.

Rules:

* Paths are relative to the root, with ``/``. A handle is an int, good until ``close``.
* Calls return when the call to the system has; errors are ``OSError`` with its errno. ``write`` writes everything or raises.
* ``sync`` is the one call that finishes later: a thread that owns nothing does the fsync, and ``done`` is called on the
  owner's thread, through ``post``, in the order of the calls of its lane. Handles given must stay open until then.
* The two lanes do not wait for one another: a turn's fsync does not queue behind a checkpoint's.
"""

from __future__ import annotations

import errno
import fcntl
import os
import queue
import resource
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

Data = bytes | bytearray | memoryview
Done = Callable[[OSError | None], None]
VECTORS_MAX = 512
"""Buffers handed to one pwritev (Linux takes 1,024)."""


class Lane(IntEnum):
    TURN = 0
    BACKGROUND = 1


class Files(Protocol):
    handles_max: int
    """How many handles an engine may keep open."""

    def open(self, path: str, create: bool = False) -> int:
        """A handle for reading and writing. Raises: FileNotFoundError unless ``create``."""
        ...

    def open_folder(self, path: str) -> int:
        """A handle whose ``sync`` makes the names in this folder durable."""
        ...

    def close(self, handle: int) -> None: ...

    def size(self, handle: int) -> int: ...

    def data_end(self, handle: int) -> int:
        """Where what was ever written ends: beyond it the file holds zeros. May say its size."""
        ...

    def read(self, handle: int, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes: fewer only at the file's end."""
        ...

    def write(self, handle: int, offset: int, parts: Sequence[Data]) -> None:
        """All parts, one after another, from ``offset`` on."""
        ...

    def truncate(self, handle: int, size: int) -> None:
        """Cut, and give back what was allocated beyond."""
        ...

    def allocate(self, handle: int, offset: int, size: int, extend: bool) -> None:
        """Take the space now; with ``extend`` the file's size grows to hold it, else it stays. Raises: ENOSPC."""
        ...

    def sync(self, handles: Sequence[int], lane: Lane, done: Done) -> None:
        """Make what was written to these before the call durable."""
        ...

    def sync_all(self, lane: Lane, done: Done) -> None:
        """The same for every file and folder under the root: cheaper than hundreds of handles."""
        ...

    def sync_now(self, handles: Sequence[int]) -> None:
        """The same, finished when this returns."""
        ...

    def wait(self) -> bool:
        """Block until one outstanding ``sync`` has finished and its ``done`` was called. False: there is none."""
        ...

    def post(self, call: Callable[[], None]) -> None:
        """Call this on the owner's thread, after the current turn."""
        ...

    def later(self, wait_ms: int, call: Callable[[], None]) -> None:
        """Call this on the owner's thread in about so long, unless ``shut`` comes first."""
        ...

    def rename(self, source: str, target: str) -> None: ...

    def unlink(self, path: str) -> None: ...

    def make_folder(self, path: str) -> None:
        """With its parents; one that is there is left alone."""
        ...

    def remove_folder(self, path: str) -> None:
        """An empty one."""
        ...

    def names(self, path: str) -> list[str]:
        """Names in a folder, sorted; [] if it is not there."""
        ...

    def lock(self, path: str) -> None:
        """Hold this file until ``shut``. Raises: BlockingIOError if another process does."""
        ...

    def free_bytes(self) -> int: ...

    def identity(self) -> int:
        """A number that no other directory has: 63 bits of chance."""
        ...

    def shut(self) -> None:
        """Close every handle, let the lock go, stop the threads. Nothing is synced."""
        ...


@dataclass(slots=True)
class _Job:
    """What a thread is asked: sync these (None: everything) and say so to ``done``; or, without it, ``call`` when due."""

    handles: Sequence[int] | None
    done: Done | None
    due_s: float = 0.0
    call: Callable[[], None] | None = None


class RealFiles:
    """Files under ``root``. ``post`` is the owner's loop (``loop.call_soon_threadsafe``); without one, only ``wait``
    delivers what has finished."""

    def __init__(self, root: str, post: Callable[[Callable[[], None]], object] | None = None) -> None:
        self.root = root
        self.handles_max = max(64, min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))
        self._post = post
        self._posted: list[Callable[[], None]] = []
        self._handles: set[int] = set()
        self._lock: int | None = None
        self._lanes: dict[Lane, queue.SimpleQueue[_Job | None]] = {}
        self._threads: list[threading.Thread] = []
        self._finished: queue.SimpleQueue[tuple[Done, OSError | None]] = queue.SimpleQueue()
        self._outstanding = 0

    def path(self, path: str) -> str:
        return os.path.join(self.root, path)

    def open(self, path: str, create: bool = False) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        handle = os.open(self.path(path), flags, 0o640)
        self._handles.add(handle)
        return handle

    def open_folder(self, path: str) -> int:
        handle = os.open(self.path(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._handles.add(handle)
        return handle

    def close(self, handle: int) -> None:
        self._handles.discard(handle)
        os.close(handle)

    def size(self, handle: int) -> int:
        return os.fstat(handle).st_size

    def data_end(self, handle: int) -> int:
        end = 0
        size = os.fstat(handle).st_size
        try:
            while end < size:
                end = os.lseek(handle, os.lseek(handle, end, os.SEEK_DATA), os.SEEK_HOLE)
        except OSError as error:
            return end if error.errno == errno.ENXIO else size
        return end

    def read(self, handle: int, offset: int, size: int) -> bytes:
        data = os.pread(handle, size, offset)
        if len(data) == size or not data:
            return data
        parts = [data]
        have = len(data)
        while have < size:
            data = os.pread(handle, size - have, offset + have)
            if not data:
                break
            parts.append(data)
            have += len(data)
        return b"".join(parts)

    def write(self, handle: int, offset: int, parts: Sequence[Data]) -> None:
        if len(parts) == 1:
            part = parts[0]
            written = os.pwrite(handle, part, offset)
            if written != len(part):
                self._write_rest(handle, offset + written, memoryview(part)[written:])
            return
        for first in range(0, len(parts), VECTORS_MAX):
            some = parts[first : first + VECTORS_MAX]
            size = sum(map(len, some))
            written = os.pwritev(handle, some, offset)
            if written != size:
                self._write_rest(handle, offset + written, memoryview(b"".join(some))[written:])
            offset += size

    def _write_rest(self, handle: int, offset: int, rest: memoryview) -> None:
        """A short write is the disk's way to say that it is full or interrupted: the next call tells which."""
        while rest:
            written = os.pwrite(handle, rest, offset)
            if written == 0:
                raise OSError(errno.ENOSPC, "wrote nothing")
            offset += written
            rest = rest[written:]

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def allocate(self, handle: int, offset: int, size: int, extend: bool) -> None:
        if extend:
            os.posix_fallocate(handle, offset, size)
        else:
            _reserve(handle, offset, size)

    def sync(self, handles: Sequence[int], lane: Lane, done: Done) -> None:
        self._outstanding += 1
        self._submit(lane, _Job(tuple(handles), done))

    def sync_all(self, lane: Lane, done: Done) -> None:
        self._outstanding += 1
        self._submit(lane, _Job(None, done))

    def later(self, wait_ms: int, call: Callable[[], None]) -> None:
        self._submit(Lane.TURN, _Job((), None, time.monotonic() + wait_ms / 1000, call))

    def _submit(self, lane: Lane, job: _Job) -> None:
        jobs = self._lanes.get(lane)
        if jobs is None:
            jobs = self._lanes[lane] = queue.SimpleQueue()
            thread = threading.Thread(target=self._work, args=(jobs,), name=f"fsync-{lane.name.lower()}", daemon=True)
            self._threads.append(thread)
            thread.start()
        jobs.put(job)

    def _work(self, jobs: queue.SimpleQueue[_Job | None]) -> None:
        """The thread: it owns nothing, it waits for the disk and the time in the owner's place."""
        alarms: list[_Job] = []
        while True:
            try:
                job = jobs.get(timeout=max(0.0, alarms[0].due_s - time.monotonic()) if alarms else None)
            except queue.Empty:
                alarm = alarms.pop(0)
                if alarm.call is not None:
                    self._tell(alarm.call)
                continue
            if job is None:
                return
            if job.done is None:
                alarms.append(job)
                alarms.sort(key=lambda alarm: alarm.due_s)
                continue
            self._finished.put((job.done, self._sync(job.handles)))
            self._tell(self._deliver)

    def _sync(self, handles: Sequence[int] | None) -> OSError | None:
        try:
            if handles is None:
                _sync_file_system(self.root)
            else:
                for handle in handles:
                    os.fdatasync(handle)
        except OSError as error:
            return error
        return None

    def _tell(self, call: Callable[[], None]) -> None:
        if self._post is None:
            return
        try:
            self._post(call)
        except RuntimeError:  # the loop is closed: whoever still wants to know calls wait
            pass

    def _deliver(self) -> None:
        while True:
            try:
                done, error = self._finished.get_nowait()
            except queue.Empty:
                return
            self._outstanding -= 1
            done(error)

    def wait(self) -> bool:
        if self._outstanding == 0:
            posted, self._posted = self._posted, []
            for call in posted:
                call()
            return bool(posted)
        done, error = self._finished.get()
        self._outstanding -= 1
        done(error)
        return True

    def post(self, call: Callable[[], None]) -> None:
        if self._post is None:
            self._posted.append(call)
        else:
            self._tell(call)

    def sync_now(self, handles: Sequence[int]) -> None:
        for handle in handles:
            os.fdatasync(handle)

    def rename(self, source: str, target: str) -> None:
        os.rename(self.path(source), self.path(target))

    def unlink(self, path: str) -> None:
        os.unlink(self.path(path))

    def make_folder(self, path: str) -> None:
        try:
            os.mkdir(self.path(path), 0o750)
        except FileExistsError:
            return
        except FileNotFoundError:
            os.makedirs(self.path(path), 0o750, exist_ok=True)

    def remove_folder(self, path: str) -> None:
        os.rmdir(self.path(path))

    def names(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(self.path(path)))
        except FileNotFoundError:
            return []

    def lock(self, path: str) -> None:
        handle = os.open(self.path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise
        self._lock = handle

    def free_bytes(self) -> int:
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize

    def identity(self) -> int:
        return int.from_bytes(os.urandom(8)) >> 1

    def shut(self) -> None:
        for jobs in self._lanes.values():
            jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._lanes.clear()
        self._threads.clear()
        for handle in self._handles:
            os.close(handle)
        self._handles.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _reserve(handle: int, offset: int, size: int) -> None:
    """fallocate that leaves the size alone (FALLOC_FL_KEEP_SIZE, which ``os`` does not have). A file system without it
    goes without."""
    import ctypes

    kept_size = 1
    if (
        ctypes.CDLL(None, use_errno=True).fallocate(
            handle, kept_size, ctypes.c_longlong(offset), ctypes.c_longlong(size)
        )
        != 0
    ):
        code = ctypes.get_errno()
        if code not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise OSError(code, os.strerror(code))


def _sync_file_system(root: str) -> None:
    """syncfs: every file of the file system that holds ``root``."""
    import ctypes

    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if library.syncfs(handle) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(handle)
