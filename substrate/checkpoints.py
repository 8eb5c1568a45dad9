"""Checkpoints of views: two generations of (view, code version, position, state), verified on load.

A view folds its state stream; a checkpoint lets it begin behind ``position`` instead of at the stream's start. It holds
what proves that it belongs to this stream: the base offset and CRC of the last batch folded, and the chain value over
the headers of all batches folded since position 0.

File ``checkpoints/<name>.<0 or 1>``, big endian, replaced atomically; the older or bad one of the two is overwritten:

    0   magic "TWCK", u16 format = 1, u16 name length     8   i64 version of the view's code
    16  i64 position          24  i64 base of the last batch, or -1      32  u32 its CRC
    36  32 bytes chain value (SHA-256)      68  32 bytes SHA-256 of the state      100  i64 state length
    108 name, then u32 CRC32C of all so far, then the state

A file that does not fit is not there: the other generation serves. A state stream is trimmed only below the older one.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from crc32c import crc32c

from substrate import batch as batches
from substrate.api import Record
from substrate.engine import Batch
from substrate.files import Files

FOLDER = "checkpoints"
_HEAD = struct.Struct(">4sHHqqqI32s32sq")
_CRC = struct.Struct(">I")
NO_CHAIN = bytes(32)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    name: str
    version: int
    position: int  # the first record that is not in the state
    last_base: int  # of the last batch folded; -1: none
    last_crc: int
    chain: bytes
    state: bytes


def encode(checkpoint: Checkpoint) -> bytes:
    name = checkpoint.name.encode()
    head = _HEAD.pack(
        b"TWCK", 1, len(name), checkpoint.version, checkpoint.position, checkpoint.last_base, checkpoint.last_crc,
        checkpoint.chain, hashlib.sha256(checkpoint.state).digest(), len(checkpoint.state),
    )  # fmt: skip
    return head + name + _CRC.pack(crc32c(head + name)) + checkpoint.state


def decode(data: bytes) -> Checkpoint | None:
    """None: it is not whole, or was changed."""
    if len(data) < _HEAD.size:
        return None
    magic, layout, name_bytes, version, position, base, crc, chain, digest, size = _HEAD.unpack_from(data)
    end = _HEAD.size + name_bytes
    if (
        magic != b"TWCK"
        or layout != 1
        or len(data) != end + 4 + size
        or _CRC.unpack_from(data, end)[0] != crc32c(data[:end])
    ):
        return None
    state = data[end + 4 :]
    if hashlib.sha256(state).digest() != digest:
        return None
    return Checkpoint(data[_HEAD.size : end].decode(), version, position, base, crc, chain, state)


def load(files: Files, name: str) -> list[Checkpoint]:
    """The valid generations, newest first."""
    found = [made for slot in (0, 1) if (made := _read(files, _path(name, slot))) is not None and made.name == name]
    return sorted(found, key=lambda checkpoint: checkpoint.position, reverse=True)


def save(files: Files, checkpoint: Checkpoint) -> None:
    """Durable when this returns; the newer valid generation is left alone."""
    files.make_folder(FOLDER)
    positions = [made.position if (made := _read(files, _path(checkpoint.name, slot))) else -1 for slot in (0, 1)]
    path = _path(checkpoint.name, positions.index(min(positions)))
    handle = files.open(path + ".new", create=True)
    try:
        files.truncate(handle, 0)
        files.write(handle, 0, [encode(checkpoint)])
        files.sync_now([handle])
    finally:
        files.close(handle)
    files.rename(path + ".new", path)
    for name in (FOLDER, ""):  # the folder's own name too: a power cut may take it, and everything in it
        folder = files.open_folder(name)
        try:
            files.sync_now([folder])
        finally:
            files.close(folder)


def _path(name: str, slot: int) -> str:
    return f"{FOLDER}/{name}.{slot}"


def _read(files: Files, path: str) -> Checkpoint | None:
    try:
        handle = files.open(path)
    except OSError:
        return None
    try:
        return decode(files.read(handle, 0, files.size(handle)))
    except OSError:
        return None
    finally:
        files.close(handle)


class Fold:
    """Follows a stream batch by batch: what the next checkpoint will say of it."""

    def __init__(self, start: Checkpoint | None = None) -> None:
        self.position = start.position if start else 0
        self.last_base = start.last_base if start else -1
        self.last_crc = start.last_crc if start else 0
        self.chain = start.chain if start else NO_CHAIN

    def take(self, batch: Batch, address: bytes) -> Iterable[Record]:
        """The batch's records from ``position`` on; the fold moves behind it.

        Raises:
            BatchError: it cannot be decoded.
        """
        header = batches.header(batch)
        records = batches.decode(batch, address, self.position)
        self.chain = hashlib.sha256(self.chain + bytes(memoryview(batch)[: batches.HEADER_BYTES])).digest()
        self.position = header.base_offset + header.last_offset_delta + 1
        self.last_base, self.last_crc = header.base_offset, header.crc
        return records

    def checkpoint(self, name: str, version: int, state: bytes) -> Checkpoint:
        return Checkpoint(name, version, self.position, self.last_base, self.last_crc, self.chain, state)


def belongs(checkpoint: Checkpoint, last: bytes | None) -> bool:
    """Whether the batch header found at ``last_base`` is the one that the checkpoint folded last."""
    if checkpoint.last_base < 0:
        return checkpoint.position == 0
    if last is None:
        return False
    header = batches.header(last)
    return (header.base_offset, header.crc) == (checkpoint.last_base, checkpoint.last_crc)
