"""Keeps the state stream short: now and then the whole state is written into it, and what is before goes.

A snapshot is a run of records (SNAPSHOT, index, count, changes...) in one commit, each of about ``PART_BYTES``. When the
commit is durable the stream is trimmed up to the first of them. A replay that meets a whole run begins anew from it. One
is due when more has been written since the last than ``EVERY_BYTES`` and twice the last one's size, so that the stream
holds at most about three times the state (or ``EVERY_BYTES``), and writing costs at most half as much again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from protocols.api import Handle, World
from protocols.mqtt.records import pack
from protocols.mqtt.state import SNAPSHOT, Change, State
from substrate.api import Level, Position, StreamId, Tail

if TYPE_CHECKING:
    from protocols.mqtt.sessions import Sessions

EVERY_BYTES = 8 * 1024 * 1024
PART_BYTES = 512 * 1024


class OwnWorld(World):
    """A world that says which stream is the executor's."""

    stream: StreamId


class Snapshots:
    def __init__(self, owner: Sessions) -> None:
        self._owner = owner
        self._written = 0
        self._last = 0
        self._restoring: State | None = None
        self._handle: Handle | None = None
        self._start = 0
        self._end = 0
        self.every_bytes = EVERY_BYTES

    # replay

    def is_part(self, change: Change) -> bool:
        return bool(change[0] == SNAPSHOT)

    def replay(self, change: Change) -> State | None:
        """Take a part; the state when it is whole."""
        self._written += 64
        if change[0] != SNAPSHOT:
            return None
        index, count, changes = change[1:]
        if index == 0:
            self._restoring = State()
        if self._restoring is None:
            return None  # its beginning was trimmed: a later one is whole
        for one in changes:
            self._restoring.change(one)
        if index + 1 < count:
            return None
        restored, self._restoring = self._restoring, None
        self._written = 0
        return restored

    # live

    def stream(self) -> StreamId:
        return cast(OwnWorld, self._owner.world).stream

    def tail(self) -> Tail | None:
        """Of the state stream."""
        found: list[object] = []
        self._owner.ask(lambda token: self._owner.world.query("tail", self.stream(), token), found.append)
        return found[0] if found and isinstance(found[0], Tail) else None

    def wrote(self, size: int) -> None:
        self._written += size + 64

    def consider(self) -> None:
        """Write one if it is due. Called at the end of a request, when the state is whole."""
        if self._written < max(self.every_bytes, 2 * self._last) or self._handle is not None:
            return
        tail = self.tail()
        if tail is None:
            return
        parts: list[list[Change]] = [[]]
        size = 0
        self._last = 0
        for change in self._owner.state.changes():
            bytes_of = len(pack(change))
            if size + bytes_of > PART_BYTES and parts[-1]:
                parts.append([])
                size = 0
            parts[-1].append(change)
            size += bytes_of
            self._last += bytes_of
        for index, part in enumerate(parts):
            self._owner.world.record(pack((SNAPSHOT, index, len(parts), tuple(part))))
        self._written = 0
        self._start = int(tail.ordered)
        self._end = self._start + len(parts)
        self._handle = self._owner.world.watch(self.stream(), Level.DURABLE, self)

    def advanced(self, stream: StreamId) -> None:
        """Once the snapshot is durable nothing before it is needed."""
        tail = self.tail()
        if self._handle is not None and tail is not None and tail.durable >= self._end:
            self._handle.close()
            self._handle = None
            self._owner.world.trim(self.stream(), Position(self._start))
