"""Runs: an address index's files. Which positions each address has between two positions of a stream, sorted by address.

A run is written once, from beginning to end, and is a hint: what does not fit is not there, and is made anew from the log.

Layout, big endian: magic "TWRUN01" and a zero, then blocks, the top, the foot.

A block (``BLOCK_BYTES`` or one large entry): CRC32C u32 of what follows, entries u32, where each begins u32 (from the first
on), then the entries: address length u32, positions u32, address, positions less the run's base u32 each, ascending. An
address with very many positions has several entries.
The top: of each block its offset u64, bytes u32, length u32 of its first address, that address.
The foot, ``FOOT.size`` bytes at the file's end: stream, base, end, leader epoch of ``end - 1``, addresses, level, offset and
bytes of the top i64 each, CRC32C of the top u32, CRC32C of the foot so far u32.

Validity: the CRCs; and the epoch: whatever was once cut and written anew carries a higher one (ADR 14).
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Protocol

from crc32c import crc32c

from substrate.api import Address

MAGIC = b"TWRUN01\0"
BLOCK_BYTES = 16 * 1024
POSITIONS_MAX = 4096
"""Of one entry."""
FOOT = struct.Struct(">8qII")
_CRC = struct.Struct(">I")
_HEAD = struct.Struct(">II")
_TOP = struct.Struct(">QII")
SUFFIX = ".addresses"
Entry = tuple[Address, "array[int]"]


class Asides(Protocol):
    """Files beside a stream's own that may be lost at any time: an engine that has none keeps its index in memory."""

    def names(self) -> list[str]: ...

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Made if it is not there. Raises: OSError."""
        ...

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Raises: OSError."""
        ...

    def size(self, name: str) -> int:
        """Raises: OSError."""
        ...

    def remove(self, name: str) -> None:
        """What is not there is gone already. Raises: OSError."""
        ...


class BlockCache:
    """Blocks of all runs of a shard, the least recently used given up first."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._blocks: OrderedDict[tuple[Run, int], Block] = OrderedDict()
        self._bytes = 0

    def find(self, run: Run, number: int) -> Block:
        key = (run, number)
        found = self._blocks.get(key)
        if found is not None:
            self._blocks.move_to_end(key)
            return found
        found = self._blocks[key] = run.load(number)
        self._bytes += len(found.data)
        while self._bytes > self.bytes_max and len(self._blocks) > 1:
            self._bytes -= len(self._blocks.popitem(last=False)[1].data)
        return found

    def forget(self, run: Run) -> None:
        for key in [key for key in self._blocks if key[0] is run]:
            self._bytes -= len(self._blocks.pop(key).data)


class Unsound(Exception):
    """A run is not what was written."""


class Block:
    """One block's bytes, searched where they are."""

    __slots__ = ("base", "count", "data")

    def __init__(self, data: bytes, base: int) -> None:
        if len(data) < 8 or crc32c(memoryview(data)[4:]) != _CRC.unpack_from(data)[0]:
            raise Unsound("block")
        self.data = data
        self.count: int = _CRC.unpack_from(data, 4)[0]
        self.base = base

    def address(self, index: int) -> bytes:
        at = self._at(index)
        return self.data[at + 8 : at + 8 + _CRC.unpack_from(self.data, at)[0]]

    def _at(self, index: int) -> int:
        return int(8 + 4 * self.count + _CRC.unpack_from(self.data, 8 + 4 * index)[0])

    def positions(self, index: int) -> array[int]:
        at = self._at(index)
        length, count = _HEAD.unpack_from(self.data, at)
        at += 8 + length
        return _absolute(self.data[at : at + 4 * count], self.base)

    def floor(self, address: bytes) -> int:
        """The first entry that is not below ``address``."""
        return bisect_left(range(self.count), address, key=self.address)


def _absolute(data: bytes, base: int) -> array[int]:
    relative = array("I", data)
    if sys.byteorder == "little":
        relative.byteswap()
    return array("q", [base + one for one in relative])


class Run:
    """One run, open. Reading raises Unsound or OSError where the file is not what was written."""

    def __init__(self, asides: Asides, name: str) -> None:
        """Raises: Unsound, OSError."""
        self._asides = asides
        self.name = name
        size = asides.size(name)
        foot = asides.read(name, size - FOOT.size, FOOT.size) if size >= FOOT.size + len(MAGIC) else b""
        if len(foot) != FOOT.size or crc32c(foot[:-4]) != _CRC.unpack(foot[-4:])[0] or asides.read(name, 0, 8) != MAGIC:
            raise Unsound("foot")
        self.stream, self.base, self.end, self.epoch, self.count, self.level, at, length, checksum, _ = FOOT.unpack(
            foot
        )
        top = asides.read(name, at, length)
        if crc32c(top) != checksum:
            raise Unsound("top")
        self._offsets = array("q")
        self._sizes = array("q")
        self._firsts: list[bytes] = []
        at = 0
        while at < len(top):
            offset, block, length = _TOP.unpack_from(top, at)
            at += _TOP.size
            self._offsets.append(offset)
            self._sizes.append(block)
            self._firsts.append(top[at : at + length])
            at += length

    def load(self, number: int) -> Block:
        return Block(self._asides.read(self.name, self._offsets[number], self._sizes[number]), self.base)

    def _from(self, address: bytes) -> int:
        """The first block that may hold an entry not below ``address``."""
        return max(bisect_left(self._firsts, address) - 1, 0)

    def find(self, address: bytes, cache: BlockCache) -> list[array[int]]:
        """Its positions, ascending."""
        if not self._firsts or address < self._firsts[0]:
            return []
        found = []
        last = bisect_right(self._firsts, address)
        for number in range(self._from(address), last):
            block = cache.find(self, number)
            index = block.floor(address)
            while index < block.count and block.address(index) == address:
                found.append(block.positions(index))
                index += 1
        return found

    def entries(self, prefix: bytes = b"") -> Iterator[Entry]:
        """Those whose address begins with ``prefix``, in order."""
        for number in range(self._from(prefix), len(self._firsts)):
            block = self.load(number)
            for index in range(block.floor(prefix), block.count):
                address = block.address(index)
                if not address.startswith(prefix):
                    return
                yield Address(address), block.positions(index)

    def remove(self) -> None:
        self._asides.remove(self.name)


def name_of(base: int, end: int) -> str:
    return f"{base:020d}-{end}{SUFFIX}"


class Writer:
    """Writes a run, an entry at a time, in order."""

    def __init__(self, asides: Asides, stream: int, base: int, end: int, epoch: int, level: int) -> None:
        self.name = name_of(base, end)
        self._asides = asides
        self._foot = (stream, base, end, epoch)
        self._base = base
        self._level = level
        self._count = 0
        self._last: bytes | None = None
        self._top: list[bytes] = []
        self._offset = len(MAGIC)
        self._starts = array("I")
        self._body = bytearray()
        self._first = b""
        asides.remove(self.name)
        asides.write(self.name, 0, MAGIC)

    def add(self, address: bytes, positions: Sequence[int]) -> None:
        base = self._base
        if address != self._last:
            self._count += 1
            self._last = address
        if len(positions) == 1:
            body = self._body
            if not body:
                self._first = address
            self._starts.append(len(body))
            body += _HEAD.pack(len(address), 1) + address + _CRC.pack(positions[0] - base)
            if len(body) >= BLOCK_BYTES:
                self._close()
            return
        relative = array("I", [one - base for one in positions])
        for at in range(0, len(relative), POSITIONS_MAX):
            some = relative[at : at + POSITIONS_MAX]
            if sys.byteorder == "little":
                some.byteswap()
            if not self._body:
                self._first = address
            self._starts.append(len(self._body))
            self._body += _HEAD.pack(len(address), len(some)) + address + some.tobytes()
            if len(self._body) >= BLOCK_BYTES:
                self._close()

    def _close(self) -> None:
        if not self._body:
            return
        starts = self._starts
        if sys.byteorder == "little":
            starts.byteswap()
        data = _CRC.pack(len(starts)) + starts.tobytes() + self._body
        data = _CRC.pack(crc32c(data)) + data
        self._asides.write(self.name, self._offset, data)
        self._top.append(_TOP.pack(self._offset, len(data), len(self._first)) + self._first)
        self._offset += len(data)
        self._starts = array("I")
        self._body = bytearray()

    def finish(self) -> Run:
        self._close()
        top = b"".join(self._top)
        foot = FOOT.pack(*self._foot, self._count, self._level, self._offset, len(top), crc32c(top), 0)[:-4]
        self._asides.write(self.name, self._offset, top + foot + _CRC.pack(crc32c(foot)))
        return Run(self._asides, self.name)
