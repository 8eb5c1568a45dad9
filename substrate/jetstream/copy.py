"""The copy of the log on this machine: a disk engine that holds what the cluster has acknowledged, and nothing else.

It can be thrown away: what is behind its last frame is read from the cluster again, all of it if the directory is empty.
``place.json`` beside it says up to where the log was read at some time: a later reader begins there, and passes over what the
copy holds already. An entry is applied if it is behind the last frame that the copy held when it was opened; streams made,
trimmed and deleted behind that frame may be made, trimmed and deleted once more, in the same order, to the same end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Callable

from substrate.api import Commit, Durability, ErrorCode, Position, Shard, StreamConfig, StreamId
from substrate.disk.ends import Unsound, unpack_settings
from substrate.disk.engine import DiskEngine
from substrate.disk.options import Options
from substrate.engine import EngineError, Frame, Opened
from substrate.files import RealFiles
from substrate.jetstream.log import Entry, Joiner, Kind, LogError, unpack_frames, unpack_numbers

FOLDER = "copy"
PLACE = "place.json"
PLACE_EVERY = 2_000


class Copy:
    """Under ``root``. ``failed(reason)`` is called between turns when the disk does not take what it must."""

    def __init__(
        self,
        root: str,
        shard: Shard,
        options: Options,
        post: Callable[[Callable[[], None]], object] | None,
        failed: Callable[[str], None],
    ) -> None:
        self.root = root
        self._shard = shard
        self._options = options
        self._post = post
        self._failed = failed
        self.files: RealFiles
        self.disk: DiskEngine
        self.broken = False
        self.commit = 0
        """The last frame applied."""
        self._held = 0
        """The last one it held when it was opened."""
        self.identity = ""
        self._noted = 0
        self.faults: list[str] = []
        self._make()

    def _make(self) -> None:
        self.files = RealFiles(os.path.join(self.root, FOLDER), self._post)
        self.disk = DiskEngine(self.files, self._shard, self._options)

    # what the disk engine says

    def durable(self, shard: Shard, commit: Commit) -> None:
        """Nobody waits for it."""

    def failed(self, shard: Shard, above: Commit, reason: str) -> None:
        self.broken = True
        self._failed(reason)

    # opening

    def open(self, now_ms: int) -> None:
        """A copy that cannot be read is put aside, and begins anew.

        Raises:
            EngineError: UNAVAILABLE, NO_SPACE.
        """
        os.makedirs(self.root, exist_ok=True)
        try:
            opened = self.disk.open(self, now_ms)
        except EngineError as error:
            if error.code is not ErrorCode.CORRUPT:
                raise
            self.faults.append(f"the copy was put aside: {error}")
            aside = os.path.join(self.root, f"{FOLDER}.corrupt")
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(os.path.join(self.root, FOLDER), aside)
            self._make()
            opened = self.disk.open(self, now_ms)
        self._opened(opened)

    def reopen(self, now_ms: int) -> None:
        """After it broke.

        Raises:
            EngineError: the disk does not work yet.
        """
        self._opened(self.disk.reopen(now_ms))

    def again(self) -> None:
        """What was applied is held: the log is read once more from somewhere below."""
        self._held = self.commit

    def _opened(self, opened: Opened) -> None:
        self.commit = self._held = opened.commit
        self.broken = False

    def joiner(self, identity: str) -> Joiner:
        """One that begins where the log may be read on; ``identity`` tells the stream from any other.

        Raises:
            EngineError: CORRUPT: the copy is of another one.
        """
        self.identity = identity
        self._noted = 0
        try:
            with open(os.path.join(self.root, PLACE), encoding="utf-8") as file:
                found = json.load(file)
            theirs = found["stream"]
            joiner = Joiner(int(found["epoch"]), int(found["sequence"]), int(found["commit"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Joiner()
        if theirs != identity and self.commit:
            raise EngineError(
                ErrorCode.CORRUPT,
                f"{self.root} holds a copy of stream {theirs}, the cluster has {identity}: the stream was made anew, or this is"
                " another substrate's directory; with an empty directory the cluster's is taken",
            )
        if theirs != identity or joiner.commit > self.commit:
            return Joiner()
        self._noted = joiner.sequence
        return joiner

    def caught_up(self, joiner: Joiner) -> None:
        """
        Raises:
            EngineError: CORRUPT: it holds what the cluster does not.
        """
        if joiner.commit < self._held:
            raise EngineError(
                ErrorCode.CORRUPT,
                f"the copy in {self.root} holds commit {self._held}, the cluster only {joiner.commit}: it lost what it acknowledged",
            )
        self.note_place(joiner)

    def note_place(self, joiner: Joiner) -> None:
        """Without a sync: an old place, or none, only costs reading."""
        if joiner.between:
            self._write_place(joiner.sequence, joiner.epoch)

    def advanced(self, sequence: int, epoch: int) -> None:
        """An entry of ours that ends there was applied."""
        if sequence - self._noted >= PLACE_EVERY:
            self._write_place(sequence, epoch)

    def _write_place(self, sequence: int, epoch: int) -> None:
        self._noted = sequence
        place = {"stream": self.identity, "sequence": sequence, "epoch": epoch, "commit": self.commit}
        path = os.path.join(self.root, PLACE)
        with contextlib.suppress(OSError):
            with open(f"{path}.new", "w", encoding="utf-8") as file:
                json.dump(place, file)
            os.replace(f"{path}.new", path)

    # applying

    def apply(self, entry: Entry) -> None:
        """One entry that was read from the cluster.

        Raises:
            LogError: it does not follow what was applied before.
            EngineError: the disk cannot.
        """
        if entry.kind is Kind.EPOCH or entry.commit < self._held:
            return
        if entry.kind is Kind.COMMIT:
            for frame in unpack_frames(entry.body):
                if frame.number > self.commit:
                    self.append(frame)
                elif frame.number == self._held and not self._fits(frame):
                    raise LogError(f"commit {frame.number} in {self.root} is not the cluster's")
            return
        try:
            self._apply(entry)
        except Unsound as error:
            raise LogError(f"message {entry.sequence}: {error}") from None

    def _apply(self, entry: Entry) -> None:
        if entry.kind in (Kind.CREATE, Kind.CONFIG):
            record, _ = unpack_settings(entry.body, 0)
            if entry.kind is Kind.CREATE:
                self.create(StreamId(record.stream), record.label, record.config)
            else:
                self.configure(StreamId(record.stream), record.config)
        elif entry.kind is Kind.TRIM:
            stream, before = unpack_numbers(entry.body, 2)
            if self.has(stream):
                self.disk.trim(StreamId(stream), Position(min(before, self.disk.ends(StreamId(stream)).end)))
        elif entry.kind is Kind.DELETE:
            (stream,) = unpack_numbers(entry.body, 1)
            if self.has(stream):
                self.disk.delete(StreamId(stream))

    def _fits(self, frame: Frame) -> bool:
        """Whether what the copy holds of its last frame was written in the same epoch, over the same positions."""
        for part in frame.parts:
            if not self.has(part.stream):
                continue  # deleted since
            ends = self.disk.ends(part.stream)
            if ends.end < part.end:
                return False
            if part.base >= ends.start and ends.epochs:
                wrote = [one for one, base in ends.epochs if base <= part.base]
                if not wrote or wrote[-1] != int.from_bytes(part.batches[0][12:16]):
                    return False
        return True

    def append(self, frame: Frame) -> None:
        """
        Raises:
            EngineError: as the disk engine's.
        """
        try:
            self.disk.append(frame)
        except EngineError:
            self.broken = True
            raise
        self.commit = frame.number

    def has(self, stream: int) -> bool:
        try:
            self.disk.ends(StreamId(stream))
        except EngineError:
            return False
        return True

    def create(self, stream: StreamId, label: str, config: StreamConfig) -> None:
        self.disk.create(stream, label, _kept(config))

    def configure(self, stream: StreamId, config: StreamConfig) -> None:
        if self.has(stream):
            self.disk.configure(stream, _kept(config))

    def close(self) -> None:
        """
        Raises:
            EngineError: it broke meanwhile.
        """
        self.disk.close()


def _kept(config: StreamConfig) -> StreamConfig:
    """After a power cut the copy must hold a prefix of the log: every stream of it is synced, whatever its own promise."""
    return config if config.durability is Durability.MEMORY else dataclasses.replace(config, durability=Durability.SYNC)
