"""What the JetStream stream holds: *entries* of the shard's log, each cut into messages of at most PIECE_BYTES.

A message's payload, big endian:

    0   magic "TWJS"   4  u8 format = 1   5  u8 kind   6  u16 0
    8   u64 sequence (its own in the JetStream stream)
    16  u64 epoch      24 u64 commit: the last frame's number; of other kinds that of the last frame before
    32  u32 index      36 u32 count of the entry's messages
    40  u32 CRC32C of the 40 bytes before and of the piece
    44  the piece

An entry's body: EPOCH (16 bytes of chance: its writer's name), COMMIT (below), CREATE and CONFIG (the stream's settings as the disk
engine packs them), TRIM (u64 stream, u64 before), DELETE (u64 stream).

    COMMIT: one frame or more, in order, for each u64 number, u32 length, then
            u32 parts, for each: u64 stream, u64 base, u64 end, i64 max timestamp, u32 batches, u32 bytes of each;
            then all batches, one after another

Validity, the same for every reader: an EPOCH message with a greater epoch than any before it begins that epoch; a message of
a lesser one behind it is void: a writer that was fenced wrote it in the moment in which its chain happened to fit. An entry
whose messages are not all there when the next epoch begins is void too: nobody was told that it is durable.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from crc32c import crc32c

from substrate.api import Commit, Position, StreamId
from substrate.engine import Batch, Frame, Part

PIECE_BYTES = 512 * 1024 - 512
_HEAD = struct.Struct(">4sBBHQQQII")
_CRC = struct.Struct(">I")
HEAD_BYTES = _HEAD.size + _CRC.size
_PART = struct.Struct(">QQQqI")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_FRAME = struct.Struct(">QI")
FRAME_BYTES = _FRAME.size
MAGIC = b"TWJS"


class LogError(Exception):
    """What the stream holds is not what was written."""


class Kind(IntEnum):
    EPOCH = 1
    COMMIT = 2
    CREATE = 3
    CONFIG = 4
    TRIM = 5
    DELETE = 6


@dataclass(frozen=True, slots=True)
class Piece:
    """One message."""

    kind: Kind
    sequence: int
    epoch: int
    commit: int
    index: int
    count: int
    data: bytes

    def pack(self) -> bytes:
        head = _HEAD.pack(
            MAGIC, 1, self.kind, 0, self.sequence, self.epoch, self.commit, self.index, self.count
        )  # fmt: skip
        return head + _CRC.pack(crc32c(self.data, crc32c(head))) + self.data


def unpack(payload: bytes, sequence: int) -> Piece:
    """The message at this sequence of the JetStream stream.

    Raises:
        LogError: it is not ours, was changed, or lies where it was not written.
    """
    if len(payload) < HEAD_BYTES:
        raise LogError(f"message {sequence}: {len(payload)} bytes")
    magic, version, kind, _, own, epoch, commit, index, count = _HEAD.unpack_from(payload)
    if magic != MAGIC or version != 1:
        raise LogError(f"message {sequence}: {magic!r} of format {version}")
    data = payload[HEAD_BYTES:]
    if crc32c(data, crc32c(payload[: _HEAD.size])) != _CRC.unpack_from(payload, _HEAD.size)[0]:
        raise LogError(f"message {sequence}: wrong checksum")
    if own != sequence or index >= count or kind not in tuple(Kind):
        raise LogError(f"message {sequence}: says {own}, part {index} of {count}, kind {kind}")
    return Piece(Kind(kind), sequence, epoch, commit, index, count, data)


def cut(body: Sequence[Batch]) -> list[bytes]:
    """An entry's body in pieces: at least one."""
    if sum(map(len, body)) <= PIECE_BYTES:
        return [b"".join(body)]
    whole = memoryview(b"".join(body))
    return [bytes(whole[at : at + PIECE_BYTES]) for at in range(0, len(whole), PIECE_BYTES)]


def pack_frame(number: int, parts: Sequence[Part]) -> list[Batch]:
    head = [_U32.pack(len(parts))]
    for part in parts:
        head.append(_PART.pack(part.stream, part.base, part.end, part.max_timestamp_ms, len(part.batches)))
        head += [_U32.pack(len(batch)) for batch in part.batches]
    made: list[Batch] = [b"", b"".join(head)]
    for part in parts:
        made += part.batches
    made[0] = _FRAME.pack(number, sum(map(len, made)))
    return made


def unpack_frames(body: bytes) -> list[Frame]:
    """
    Raises:
        LogError: cut short, or longer than it says.
    """
    found = []
    at = 0
    while at < len(body):
        if len(body) - at < FRAME_BYTES:
            raise LogError(f"{len(body) - at} bytes behind the last frame")
        number, length = _FRAME.unpack_from(body, at)
        at += FRAME_BYTES
        found.append(_unpack_frame(number, body[at : at + length]))
        at += length
    return found


def _unpack_frame(number: int, body: bytes) -> Frame:
    """
    Raises:
        LogError: cut short, or longer than it says.
    """
    try:
        (count,) = _U32.unpack_from(body)
        at = 4
        heads = []
        for _ in range(count):
            stream, base, end, newest_ms, batches = _PART.unpack_from(body, at)
            at += _PART.size
            sizes = struct.unpack_from(f">{batches}I", body, at)
            at += 4 * batches
            heads.append((stream, base, end, newest_ms, sizes))
    except struct.error as error:
        raise LogError(f"commit {number}: {error}") from None
    parts = []
    for stream, base, end, newest_ms, sizes in heads:
        batches_of: list[Batch] = []
        for size in sizes:
            batches_of.append(body[at : at + size])
            at += size
        parts.append(Part(StreamId(stream), Position(base), Position(end), batches_of, sum(sizes), newest_ms))
    if at != len(body):
        raise LogError(f"commit {number}: {len(body)} bytes, says {at}")
    return Frame(Commit(number), parts)


def pack_numbers(*numbers: int) -> bytes:
    return b"".join(map(_U64.pack, numbers))


def unpack_numbers(body: bytes, count: int) -> tuple[int, ...]:
    """
    Raises:
        LogError: not so many.
    """
    if len(body) != 8 * count:
        raise LogError(f"{len(body)} bytes, want {8 * count}")
    return struct.unpack(f">{count}Q", body)


@dataclass(frozen=True, slots=True)
class Entry:
    kind: Kind
    epoch: int
    commit: int
    body: bytes
    sequence: int
    """Of its last message."""


class Joiner:
    """Messages in order in, valid entries out. ``epoch`` is the newest begun, ``sequence`` the last message taken, ``commit``
    the last frame."""

    def __init__(self, epoch: int = 0, sequence: int = 0, commit: int = 0) -> None:
        self.epoch = epoch
        self.sequence = sequence
        self.commit = commit
        self._parts: list[Piece] = []

    @property
    def between(self) -> bool:
        """No entry is half read: another joiner may go on from here."""
        return not self._parts

    def take(self, piece: Piece) -> Iterator[Entry]:
        """
        Raises:
            LogError: an entry has a hole, or an epoch begins without saying so.
        """
        self.sequence = piece.sequence
        if piece.kind is Kind.EPOCH and piece.epoch > self.epoch:
            self.epoch = piece.epoch
            self._parts.clear()
            yield Entry(piece.kind, piece.epoch, piece.commit, piece.data, piece.sequence)
            return
        if piece.epoch < self.epoch:
            return
        parts = self._parts
        if piece.epoch > self.epoch or piece.kind is Kind.EPOCH or piece.index != len(parts):
            raise LogError(
                f"message {piece.sequence}: part {piece.index}, want {len(parts)}, epoch {piece.epoch} in {self.epoch}"
            )
        if parts and (parts[0].kind, parts[0].commit, parts[0].count) != (piece.kind, piece.commit, piece.count):
            raise LogError(f"message {piece.sequence}: part of another entry")
        parts.append(piece)
        if len(parts) == piece.count:
            body = b"".join([part.data for part in parts])
            parts.clear()
            self.commit = piece.commit
            yield Entry(piece.kind, piece.epoch, piece.commit, body, piece.sequence)
