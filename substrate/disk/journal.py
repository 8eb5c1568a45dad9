"""The journal: a ring of files of one size, written frame by frame, used again once their frames are in the segments.

A file ``journal/<slot, 4 digits>`` begins with 64 bytes: magic "THWJRNL1", CRC32C u32 (from 12 on), version u32,
directory u64, shard u32, slot u32, slot bytes u64; zeros. Frames follow from byte 64 on. The header is written once, when the
file is made; using the file again overwrites frames only. A frame that does not fit into the rest of its slot begins the
next one.

Reading: from the place that the ends file names, each frame must follow its predecessor (``substrate.disk.frames``), at
its place or at the beginning of the next slot. Where none follows, the chain ends. Sound frames beyond that are looked for
in every slot, because they may name a durable end above it: then it is not a torn tail but corruption.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from crc32c import crc32c

from substrate.disk import frames
from substrate.disk.ends import UnknownVersion
from substrate.disk.frames import FrameHead, Kind
from substrate.files import Files

MAGIC = b"THWJRNL1"
VERSION = 1
FOLDER = "journal"
FIRST_OFFSET = 64
_HEAD = struct.Struct(">8sIIQIIQ24x")


@dataclass(slots=True)
class Slot:
    handle: int
    last_number: int = 0
    """The highest frame in it: the slot may be used again once the ends file covers that."""


@dataclass(slots=True)
class Kept:
    """One frame found by ``scan``: ``data`` is its slot's bytes, ``offset`` its place there."""

    head: FrameHead
    slot: int
    offset: int
    data: bytes


@dataclass(slots=True)
class Scan:
    kept: list[Kept]
    durable: int
    """The highest durable number that any sound frame names."""
    epoch: int
    """The highest epoch of any sound frame."""
    faults: list[str]


class JournalBroken(Exception):
    """A slot is missing, or its header is not what was written."""


def slot_path(slot: int) -> str:
    return f"{FOLDER}/{slot:04d}"


class Journal:
    """The slots, and the place where the next frame goes. One writer; it syncs nothing itself."""

    def __init__(self, files: Files, directory: int, shard: int, slot_bytes: int) -> None:
        self.files = files
        self.directory = directory
        self.shard = shard
        self.slot_bytes = slot_bytes
        self.slots: list[Slot] = []
        self.slot = 0
        self.offset = FIRST_OFFSET
        self.number = 0
        self.checksum = 0
        self.unsynced: set[int] = set()
        """Handles of slots written since they were last handed to a sync."""

    def open(self, slots: int) -> None:
        """Open the ``slots`` that the ends file knows of.

        Raises:
            JournalBroken: one of them is missing or is not this directory's.
            UnknownVersion: one is of another version.
        """
        for number in range(slots):
            try:
                handle = self.files.open(slot_path(number))
            except FileNotFoundError:
                raise JournalBroken(f"{slot_path(number)} is missing") from None
            self.slots.append(Slot(handle))
            self._check_header(number, self.files.read(handle, 0, FIRST_OFFSET))

    def _check_header(self, slot: int, data: bytes) -> None:
        fault = header_fault(data, self.directory, slot, self.slot_bytes)
        if fault:
            raise JournalBroken(f"{slot_path(slot)}: {fault}")

    def make(self, slots: int) -> None:
        """Make the files of a new directory and take their space, durably."""
        self.files.make_folder(FOLDER)
        for number in range(slots):
            handle = self.files.open(slot_path(number), create=True)
            self.files.truncate(handle, 0)
            self.files.allocate(handle, 0, self.slot_bytes, extend=True)
            self.files.write(handle, 0, [pack_header(self.directory, self.shard, number, self.slot_bytes)])
            self.slots.append(Slot(handle))
        folders = [self.files.open_folder(FOLDER), self.files.open_folder("")]
        self.files.sync_now([*(slot.handle for slot in self.slots), *folders])
        for folder in folders:
            self.files.close(folder)

    def fits(self, size: int) -> bool:
        """Whether the slot in use has room for a frame of this size."""
        return self.offset + size <= self.slot_bytes

    def next_is_free(self, covered: int) -> bool:
        """Whether the next slot may be overwritten, the ends file covering the frames up to ``covered``."""
        return self.slots[(self.slot + 1) % len(self.slots)].last_number <= covered

    def advance(self) -> None:
        """Go on in the next slot."""
        self.slot = (self.slot + 1) % len(self.slots)
        self.offset = FIRST_OFFSET

    @property
    def frame_bytes_max(self) -> int:
        return self.slot_bytes - FIRST_OFFSET

    def write(
        self,
        kind: Kind,
        commit: int,
        epoch: int,
        durable: int,
        entries: int,
        body: Sequence[bytes | bytearray | memoryview],
    ) -> int:
        """Write one frame where it fits; its number. The caller has made sure of the room."""
        data, checksum = frames.encode(
            kind, self.directory, self.number + 1, commit, epoch, durable, self.checksum, entries, body
        )
        assert self.fits(len(data))
        slot = self.slots[self.slot]
        self.files.write(slot.handle, self.offset, [data])
        self.unsynced.add(slot.handle)
        self.number += 1
        self.checksum = checksum
        slot.last_number = self.number
        self.offset = frames.aligned(self.offset + len(data))
        return self.number


def pack_header(directory: int, shard: int, slot: int, slot_bytes: int) -> bytes:
    data = _HEAD.pack(MAGIC, 0, VERSION, directory, shard, slot, slot_bytes)
    return data[:8] + crc32c(data[12:]).to_bytes(4) + data[12:]


def header_fault(data: bytes, directory: int, slot: int, slot_bytes: int) -> str:
    """What is wrong with a slot's 64 bytes; "" if nothing.

    Raises:
        UnknownVersion: they are sound, of another version.
    """
    if len(data) < FIRST_OFFSET:
        return "cut short"
    magic, checksum, version, found, _shard, number, size = _HEAD.unpack_from(data)
    if magic != MAGIC or crc32c(data[12:FIRST_OFFSET]) != checksum:
        return "header does not fit its CRC"
    if version != VERSION:
        raise UnknownVersion(f"journal file of version {version}; known: {VERSION}")
    if (found, number, size) != (directory, slot, slot_bytes):
        return "header of another directory or slot"
    return ""


def scan(
    slots: list[bytes], slot_bytes: int, directory: int, number: int, checksum: int, epoch: int, slot: int, offset: int
) -> Scan:
    """Follow the chain after frame ``number`` from its place on, and look beyond it for what it should have held.

    ``slots`` hold what was ever written of each slot; up to ``slot_bytes`` the rest is zeros.

    Raises:
        frames.UnknownVersion: a sound frame of another version is there.
    """
    kept: list[Kept] = []
    while True:
        found = None
        for at_slot, at in ((slot, offset), ((slot + 1) % len(slots), FIRST_OFFSET)):
            head = _decode(slots, slot_bytes, at_slot, at, directory)
            if head is not None and head.number == number + 1 and head.previous == checksum and head.epoch >= epoch:
                found = Kept(head, at_slot, at, slots[at_slot])
                break
        if found is None:
            break
        kept.append(found)
        number, checksum, epoch = found.head.number, found.head.checksum, found.head.epoch
        slot, offset = found.slot, frames.aligned(found.offset + found.head.length)
    durable = max((frame.head.durable for frame in kept), default=0)
    faults = []
    for head in _beyond(slots, slot_bytes, directory, number):
        epoch = max(epoch, head.epoch)
        durable = max(durable, head.durable)
    if durable > number:
        faults.append(f"journal: frame {number + 1} is missing or rotten, frames up to {durable} were durable")
    return Scan(kept, durable, epoch, faults)


def _decode(slots: list[bytes], slot_bytes: int, slot: int, at: int, directory: int) -> FrameHead | None:
    data = slots[slot]
    if not data.startswith(frames.MAGIC, at) or at + frames.HEADER_BYTES > slot_bytes:
        return None
    length = int.from_bytes(data[at + 8 : at + 12].ljust(4, b"\0"))
    if len(data) < at + length <= slot_bytes:  # it ends in zeros, which a file system may keep as a hole
        data = slots[slot] = data.ljust(at + max(length, frames.HEADER_BYTES), b"\0")
    return frames.decode(data, at, directory)


def _beyond(slots: list[bytes], slot_bytes: int, directory: int, number: int) -> list[FrameHead]:
    """Sound frames numbered above ``number``, wherever they are."""
    found = []
    for slot, data in enumerate(list(slots)):
        firsts = data[:: frames.ALIGNMENT]  # the first byte of every place where a frame may begin
        index = firsts.find(frames.MAGIC[0], 1)
        while index >= 0:
            at = index * frames.ALIGNMENT
            if data.startswith(frames.MAGIC, at) and int.from_bytes(data[at + 24 : at + 32]) > number:
                head = _decode(slots, slot_bytes, slot, at, directory)
                if head is not None:
                    found.append(head)
            index = firsts.find(frames.MAGIC[0], index + 1)
    return found


__all__ = ["FIRST_OFFSET", "Journal", "JournalBroken", "Kept", "Scan", "UnknownVersion", "scan", "slot_path"]
