"""The ends file: where every stream of the directory ends and what it is, as of one frame of the journal.

It is what makes opening cheap and the journal's space usable again: one file, written whole, synced, renamed into place,
twice (``ends`` and ``ends.copy``; the newer sound one counts, so one rotten copy costs nothing).

Layout, big endian: magic "THWENDS1", CRC32C u32 (from 12 on), version u32, then

    directory u64, shard u32, number u64, commit u64, epoch u64, checksum u32 (of frame ``number``),
    slot u32, offset u64 (where frame ``number + 1`` begins), slots u32, slot bytes u64, generation u64, clean u32,
    streams u32, then for each stream: length u32 and a record

A record: settings (below), start i64, end i64, first segment i64, its chain value before 16 bytes, active segment i64,
bytes in it i64, chain value at the end 16 bytes, its max timestamp i64, generation of its manifest u32, epochs u32, then
(epoch i64, base i64) each. Settings: stream u64, durability u8, retention ms, bytes, records i64, segment bytes i64, record bytes i64,
interval ms i64, label length u16, label.

Validity: the CRC. Without a sound copy nothing is served: positions may not be guessed. A version not known is refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from crc32c import crc32c

from substrate.api import Durability, StreamConfig

MAGIC = b"THWENDS1"
VERSION = 1
CHAIN_BYTES = 16
NO_CHAIN = bytes(CHAIN_BYTES)
NAMES = ("ends", "ends.copy")
_HEAD = struct.Struct(">8sII")
_STATE = struct.Struct(">QIQQQIIQIQQII")
_SETTINGS = struct.Struct(">QBqqqqqqH")
_PLACES = struct.Struct(">qqq16sqq16sqII")
_EPOCH = struct.Struct(">qq")
_LENGTH = struct.Struct(">I")
_DURABILITIES = (Durability.SYNC, Durability.OS, Durability.INTERVAL, Durability.MEMORY)


class Unsound(Exception):
    """The bytes are not what was written. The text names what does not fit."""


class UnknownVersion(Exception):
    """Sound as far as can be told, of a format that this program does not know."""


@dataclass(slots=True)
class StreamRecord:
    stream: int
    label: str
    config: StreamConfig
    start: int = 0
    end: int = 0
    first: int = 0
    first_chain: bytes = NO_CHAIN
    active: int = 0
    active_bytes: int = 0
    chain: bytes = NO_CHAIN
    max_timestamp_ms: int = -1
    generation: int = 0
    epochs: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class EndsState:
    directory: int
    shard: int = 0
    number: int = 0
    commit: int = 0
    epoch: int = 0
    checksum: int = 0
    slot: int = 0
    offset: int = 0
    slots: int = 0
    slot_bytes: int = 0
    generation: int = 0
    clean: int = 0


def pack_settings(stream: int, label: str, config: StreamConfig) -> bytes:
    name = label.encode("utf-8", "surrogateescape")
    return (
        _SETTINGS.pack(
            stream,
            _DURABILITIES.index(config.durability),
            config.retention_ms,
            config.retention_bytes,
            config.retention_records,
            config.segment_bytes,
            config.record_bytes_max,
            config.interval_ms,
            len(name),
        )
        + name
    )


def unpack_settings(data: bytes | memoryview, offset: int) -> tuple[StreamRecord, int]:
    """An empty stream of these settings, and where they end.

    Raises:
        Unsound: cut short, or of a durability that is not known.
    """
    if len(data) - offset < _SETTINGS.size:
        raise Unsound("settings cut short")
    stream, durability, ms, size, records, segment, record, interval, length = _SETTINGS.unpack_from(data, offset)
    offset += _SETTINGS.size
    if len(data) - offset < length or durability >= len(_DURABILITIES):
        raise Unsound("settings cut short")
    label = bytes(data[offset : offset + length]).decode("utf-8", "surrogateescape")
    config = StreamConfig(_DURABILITIES[durability], ms, size, records, segment, record, interval)
    return StreamRecord(stream, label, config), offset + length


def pack_record(record: StreamRecord) -> bytes:
    """A stream's record with its length before it."""
    data = b"".join(
        (
            pack_settings(record.stream, record.label, record.config),
            _PLACES.pack(
                record.start,
                record.end,
                record.first,
                record.first_chain,
                record.active,
                record.active_bytes,
                record.chain,
                record.max_timestamp_ms,
                record.generation,
                len(record.epochs),
            ),
            *[_EPOCH.pack(epoch, base) for epoch, base in record.epochs],
        )
    )
    return _LENGTH.pack(len(data)) + data


def encode(state: EndsState, records: list[bytes]) -> bytes:
    """The file. ``records`` as ``pack_record`` made them."""
    body = b"".join(
        (
            _STATE.pack(
                state.directory,
                state.shard,
                state.number,
                state.commit,
                state.epoch,
                state.checksum,
                state.slot,
                state.offset,
                state.slots,
                state.slot_bytes,
                state.generation,
                state.clean,
                len(records),
            ),
            *records,
        )
    )
    rest = _LENGTH.pack(VERSION) + body
    return MAGIC + _LENGTH.pack(crc32c(rest)) + rest


def decode(data: bytes) -> tuple[EndsState, list[StreamRecord]]:
    """What the file says.

    Raises:
        Unsound: magic, CRC or a length is wrong.
        UnknownVersion: it is of another version.
    """
    if len(data) < _HEAD.size + _STATE.size:
        raise Unsound(f"{len(data)} bytes, too short")
    magic, checksum, version = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise Unsound("magic")
    if crc32c(memoryview(data)[12:]) != checksum:
        raise Unsound("CRC")
    if version != VERSION:
        raise UnknownVersion(f"ends file of version {version}; known: {VERSION}")
    *fields, streams = _STATE.unpack_from(data, _HEAD.size)
    state = EndsState(*fields)
    at = _HEAD.size + _STATE.size
    records = []
    for _ in range(streams):
        at += _LENGTH.size
        record, at = unpack_settings(data, at)
        (
            record.start,
            record.end,
            record.first,
            record.first_chain,
            record.active,
            record.active_bytes,
            record.chain,
            record.max_timestamp_ms,
            record.generation,
            epochs,
        ) = _PLACES.unpack_from(data, at)
        at += _PLACES.size
        for _ in range(epochs):
            record.epochs.append(_EPOCH.unpack_from(data, at))
            at += _EPOCH.size
        records.append(record)
    return state, records
