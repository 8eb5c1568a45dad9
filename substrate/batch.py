# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True, initializedcheck=False
"""Kafka v2 record batches: the unit on disk, between processes and to Kafka clients, byte for byte.

Layout, big endian (Kafka's DefaultRecordBatch):

    0  base offset i64        23  last offset delta i32      53  base sequence i32
    8  length i32 (from 12)   27  base timestamp i64         57  record count i32
    12 leader epoch i32       35  max timestamp i64          61  records:
    16 magic i8 = 2           43  producer id i64                length, attributes i8, timestamp delta, offset delta,
    17 CRC32C u32 (from 21)   51  producer epoch i16             key, value, headers; every number a zigzag varint
    21 attributes i16

Attributes: 0-2 compression, 3 log append time, 4 transactional, 5 control. Bit 8 is ours (``MARK``): the batch was made
here and every key is a canonical address. Stock clients ignore the bit; a client's batch that carries it is refused.

Base offset and leader epoch lie outside the CRC and are patched when the batch is ordered.
"""

from __future__ import annotations

import struct
from collections import namedtuple

import cython
from crc32c import crc32c

if cython.compiled:
    from cython.cimports.libc.string import memcpy
    from cython.cimports.substrate.group import Group, Record
else:
    from substrate.group import Group, Record

HEADER_BYTES = 61
MARK = 0x0100
COMPRESSION = 0x07
LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20
INFLATED_BYTES_MAX = 64 * 1024 * 1024
"""Of the records of one compressed batch."""
_HEADER = struct.Struct(">qiibIhiqqqhii")
_BASE = struct.Struct(">q")
_EPOCH = struct.Struct(">i")
_TIMES = struct.Struct(">qq")
_U32 = struct.Struct(">I")
_I16 = struct.Struct(">h")

Header = namedtuple(
    "Header",
    "base_offset length epoch magic crc attributes last_offset_delta base_timestamp max_timestamp"
    " producer_id producer_epoch base_sequence count",
)
"""The 61 bytes. The whole batch is ``length + 12`` bytes."""


class BatchError(Exception):
    """The bytes are not a batch that may be stored. ``reason``: length, magic, crc, count, control, mark, records."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def header(batch: object, offset: int = 0) -> Header:
    """The header of the batch that begins at ``offset``.

    Raises:
        BatchError: fewer than 61 bytes are there.
    """
    if len(batch) - offset < HEADER_BYTES:
        raise BatchError("length", f"{len(batch) - offset} bytes, a header has 61")
    return Header._make(_HEADER.unpack_from(batch, offset))


def check(batch: object) -> Header:
    """Validate one whole batch by its header and CRC alone; no record is looked at.

    Raises:
        BatchError: it is not exactly one v2 batch, or its CRC or counts are wrong.
    """
    found = header(batch)
    if found.magic != 2:
        raise BatchError("magic", f"{found.magic}, want 2")
    if found.length + 12 != len(batch):
        raise BatchError("length", f"says {found.length + 12} bytes, has {len(batch)}")
    if crc32c(memoryview(batch)[21:]) != found.crc:
        raise BatchError("crc")
    if found.count <= 0 or found.last_offset_delta != found.count - 1:
        raise BatchError("count", f"{found.count} records, last offset delta {found.last_offset_delta}")
    return found


def split(data: object) -> list:
    """Cut concatenated batches apart, as memoryviews.

    Raises:
        BatchError: the last one is incomplete.
    """
    view = memoryview(data)
    found = []
    at = 0
    while at < len(view):
        end = at + header(view, at).length + 12
        if end > len(view) or end < at + HEADER_BYTES:
            raise BatchError("length", "cut short")
        found.append(view[at:end])
        at = end
    return found


def patch(batch: bytearray | memoryview, base_offset: int, epoch: int) -> None:
    """Give the batch its place; the CRC does not cover these."""
    _BASE.pack_into(batch, 0, base_offset)
    _EPOCH.pack_into(batch, 12, epoch)


def stamp(batch: bytearray | memoryview, timestamp_ms: int) -> None:
    """Set log append time: attribute, max timestamp and a new CRC."""
    attributes = _I16.unpack_from(batch, 21)[0] | LOG_APPEND_TIME
    _I16.pack_into(batch, 21, attributes)
    _BASE.pack_into(batch, 35, timestamp_ms)
    _U32.pack_into(batch, 17, crc32c(memoryview(batch)[21:]))


@cython.cclass
class BatchBuilder:
    """Collects one batch. Not reused: ``finish`` gives its buffer away."""

    def __init__(self, size_hint: cython.Py_ssize_t = 1024) -> None:
        self._out = bytearray(max(size_hint, 256))
        self._view = self._out
        self._fill = HEADER_BYTES
        self.count = 0
        self.base_timestamp = 0
        self.max_timestamp = 0

    def size(self) -> int:
        """Bytes so far, header included."""
        return self._fill

    @cython.cfunc
    @cython.exceptval(-1)
    def _room(self, need: cython.Py_ssize_t) -> cython.int:
        capacity: cython.Py_ssize_t = len(self._out)
        if self._fill + need > capacity:
            while self._fill + need > capacity:
                capacity *= 2
            bigger = bytearray(capacity)
            bigger[: self._fill] = memoryview(self._out)[: self._fill]
            self._out = bigger
            self._view = bigger
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _varint(self, value: cython.longlong) -> cython.int:
        zigzag: cython.ulonglong
        if cython.compiled:
            zigzag = cython.cast(cython.ulonglong, value << 1) ^ cython.cast(cython.ulonglong, value >> 63)
        else:
            zigzag = (value << 1) ^ (value >> 63)
        at: cython.Py_ssize_t = self._fill
        while zigzag > 127:
            self._view[at] = (zigzag & 127) | 128
            at += 1
            zigzag >>= 7
        self._view[at] = zigzag
        self._fill = at + 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _bytes(self, data: bytes) -> cython.int:
        length: cython.Py_ssize_t = len(data)
        self._varint(length)
        if length:
            if cython.compiled:
                memcpy(cython.address(self._view[self._fill]), cython.cast(cython.p_char, data), length)
            else:
                self._out[self._fill : self._fill + length] = data
            self._fill += length
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _record(
        self,
        timestamp_ms: cython.longlong,
        key: bytes,
        source: cython.const[cython.uchar][::1],
        start: cython.Py_ssize_t,
        length: cython.Py_ssize_t,
        headers: tuple,
    ) -> cython.int:
        """``length`` -1: a null value."""
        value_bytes: cython.Py_ssize_t = length if length > 0 else 0
        key_bytes: cython.Py_ssize_t = 0 if key is None else len(key)
        header_bytes: cython.Py_ssize_t = 0
        delta: cython.longlong
        if length > 0 and (start < 0 or start + length > len(source)):
            raise IndexError("value outside its buffer")
        if self.count == 0:
            self.base_timestamp = timestamp_ms
            self.max_timestamp = timestamp_ms
        elif timestamp_ms > self.max_timestamp:
            self.max_timestamp = timestamp_ms
        delta = timestamp_ms - self.base_timestamp
        header_count: cython.Py_ssize_t = 0
        if headers is not None:
            header_count = len(headers)
            for name, value in headers:
                header_bytes += _sized(len(name)) + (1 if value is None else _sized(len(value)))
        body: cython.Py_ssize_t = (
            1
            + _varint_size(delta)
            + _varint_size(self.count)
            + (1 if key is None else _sized(key_bytes))
            + (1 if length < 0 else _sized(value_bytes))
            + _varint_size(header_count)
            + header_bytes
        )
        self._room(body + 10)
        self._varint(body)
        self._view[self._fill] = 0
        self._fill += 1
        self._varint(delta)
        self._varint(self.count)
        if key is None:
            self._varint(-1)
        else:
            self._bytes(key)
        self._varint(length)
        if value_bytes:
            if cython.compiled:
                memcpy(cython.address(self._view[self._fill]), cython.address(source[start]), value_bytes)
            else:
                self._out[self._fill : self._fill + value_bytes] = source[start : start + value_bytes]
            self._fill += value_bytes
        self._varint(header_count)
        if header_count:
            for name, value in headers:
                self._bytes(name)
                if value is None:
                    self._varint(-1)
                else:
                    self._bytes(value)
        self.count += 1
        return 0

    def add(self, timestamp_ms: cython.longlong, key: bytes | None, value: bytes | None, headers: tuple = ()) -> None:
        """One record."""
        self._record(
            timestamp_ms, key, b"" if value is None else value, 0, -1 if value is None else len(value), headers
        )

    def add_group(
        self, group: Group, timestamp_ms: cython.longlong, first: cython.Py_ssize_t, last: cython.Py_ssize_t
    ) -> None:
        """Messages ``first`` to ``last`` (not included) of a group; their values are copied from its buffer."""
        self.add_slices(group.buffer, group.spans, timestamp_ms, group.address, first, last, group.headers)

    @cython.ccall
    def add_slices(
        self,
        buffer: object,
        spans: object,
        timestamp_ms: cython.longlong,
        key: bytes,
        first: cython.Py_ssize_t,
        last: cython.Py_ssize_t,
        headers: list = None,
    ):
        """Records whose values are slices of ``buffer``; ``spans`` holds (offset, length) pairs of 64-bit integers."""
        source: cython.const[cython.uchar][::1] = buffer
        pairs: cython.const[cython.longlong][::1] = spans
        index: cython.Py_ssize_t
        for index in range(first, last):
            self._record(
                timestamp_ms,
                key,
                source,
                cython.cast(cython.Py_ssize_t, pairs[2 * index]),
                cython.cast(cython.Py_ssize_t, pairs[2 * index + 1]),
                None if headers is None else headers[index],
            )

    def finish(self, base_offset: int, epoch: int, attributes: int = MARK) -> memoryview:
        """The batch, whole and checksummed. The builder is spent."""
        end: cython.Py_ssize_t = self._fill
        _HEADER.pack_into(
            self._out,
            0,
            base_offset,
            end - 12,
            epoch,
            2,
            0,
            attributes,
            self.count - 1,
            self.base_timestamp,
            self.max_timestamp,
            -1,
            -1,
            -1,
            self.count,
        )
        done = memoryview(self._out)[:end]
        _U32.pack_into(self._out, 17, crc32c(done[21:]))
        return done


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _varint_size(value: cython.longlong) -> cython.Py_ssize_t:
    zigzag: cython.ulonglong
    if cython.compiled:
        zigzag = cython.cast(cython.ulonglong, value << 1) ^ cython.cast(cython.ulonglong, value >> 63)
    else:
        zigzag = (value << 1) ^ (value >> 63)
    size: cython.Py_ssize_t = 1
    while zigzag > 127:
        zigzag >>= 7
        size += 1
    return size


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _sized(length: cython.Py_ssize_t) -> cython.Py_ssize_t:
    return _varint_size(length) + length


@cython.cclass
class _Reader:
    """A bounds-checked cursor over the records of one batch."""

    def __init__(self, data: object) -> None:
        self.data = data
        self.view = data
        self.at = 0
        self.end = len(data)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def varint(self) -> cython.longlong:
        shift: cython.int = 0
        found: cython.ulonglong = 0
        byte: cython.int = 128
        while byte & 128:
            if self.at >= self.end or shift > 63:
                raise BatchError("records", "a number is cut short or too long")
            byte = self.view[self.at]
            self.at += 1
            if shift == 63 and byte > 1:
                raise BatchError("records", "a number has more than 64 bits")
            if cython.compiled:
                found |= cython.cast(cython.ulonglong, byte & 127) << shift
            else:
                found |= (byte & 127) << shift
            shift += 7
        if cython.compiled:
            return cython.cast(cython.longlong, found >> 1) ^ -cython.cast(cython.longlong, found & 1)
        return (found >> 1) ^ -(found & 1)

    @cython.cfunc
    def take(self) -> object:
        """Length-prefixed bytes; None for length -1."""
        length: cython.longlong = self.varint()
        if length == -1:
            return None
        if length < 0 or length > self.end - self.at:
            raise BatchError("records", f"{length} bytes do not fit")
        start: cython.Py_ssize_t = self.at
        self.at += length
        return bytes(self.data[start : self.at])


def decode(batch: object, address: bytes, start: int = 0) -> list:
    """The records from position ``start`` on, as ``Record``. Control batches have none.

    ``address`` is the stream's: records of a batch made here are under the address in their key, a client's under the
    stream's, unless their header ``thalweg-address`` names another.

    Raises:
        BatchError: the records do not fit the header, or the compression is unknown or broken.
    """
    found = header(batch)
    if found.attributes & CONTROL:
        return []
    data = memoryview(batch)[HEADER_BYTES : found.length + 12]
    if found.attributes & COMPRESSION:
        data = memoryview(_decompress(data, found.attributes & COMPRESSION))
    marked: cython.bint = bool(found.attributes & MARK)
    append_time: cython.bint = bool(found.attributes & LOG_APPEND_TIME)
    reader: _Reader = _Reader(data)
    records: list = []
    base: cython.longlong = found.base_offset
    base_timestamp: cython.longlong = found.base_timestamp
    previous: cython.longlong = -1
    last_delta: cython.longlong = found.last_offset_delta
    for _ in range(found.count):
        length: cython.longlong = reader.varint()
        if length < 6 or length > reader.end - reader.at:
            raise BatchError("records", f"a record of {length} bytes does not fit")
        end: cython.longlong = reader.at + length
        reader.at += 1
        timestamp: cython.longlong = _plus(base_timestamp, reader.varint())
        delta: cython.longlong = reader.varint()
        if not previous < delta <= last_delta:
            raise BatchError("records", f"offset delta {delta} after {previous}, the last is {last_delta}")
        previous = delta
        position: cython.longlong = _plus(base, delta)
        if position < start:
            reader.at = end
            continue
        key = reader.take()
        value = reader.take()
        header_count: cython.longlong = reader.varint()
        if header_count < 0 or header_count > reader.end:
            raise BatchError("records", f"{header_count} headers")
        where = key if marked and key is not None else address
        headers: tuple = ()
        if header_count:
            pairs: list = []
            for _header in range(header_count):
                name = reader.take()
                if name is None:
                    raise BatchError("records", "a header without a name")
                content = reader.take()
                if not marked and name == b"thalweg-address" and content is not None:
                    where = content
                pairs.append((name, content))
            headers = tuple(pairs)
        if reader.at != end:
            raise BatchError("records", "a record's length is wrong")
        records.append(Record(position, found.max_timestamp if append_time else timestamp, where, key, value, headers))
    return records


def without(batch: object, gone: list) -> bytes:
    """The batch without the records at these positions: pairs (first, last), both included, ascending.

    What is left keeps its position and its bytes; base offset, last offset delta, producer and times stay. A compressed one
    comes out uncompressed. One with nothing left has no records and its last offset still, as Kafka's cleaner leaves it.

    Raises:
        BatchError: the records do not fit the header, or the compression is unknown or broken.
    """
    found = header(batch)
    data = memoryview(batch)[HEADER_BYTES : found.length + 12]
    if found.attributes & COMPRESSION:
        data = memoryview(_decompress(data, found.attributes & COMPRESSION))
    reader: _Reader = _Reader(data)
    base: cython.longlong = found.base_offset
    parts: list = [b""]
    kept: cython.Py_ssize_t = 0
    at: cython.Py_ssize_t = 0
    ranges: cython.Py_ssize_t = len(gone)
    first: cython.longlong = gone[0][0] if ranges else 0x7FFFFFFFFFFFFFFF
    last: cython.longlong = gone[0][1] if ranges else 0x7FFFFFFFFFFFFFFF
    run: cython.Py_ssize_t = -1
    for _ in range(found.count):
        begin: cython.Py_ssize_t = reader.at
        length: cython.longlong = reader.varint()
        if length < 6 or length > reader.end - reader.at:
            raise BatchError("records", f"a record of {length} bytes does not fit")
        end: cython.longlong = reader.at + length
        reader.at += 1
        reader.varint()
        position: cython.longlong = _plus(base, reader.varint())
        reader.at = end
        while position > last and at + 1 < ranges:
            at += 1
            first, last = gone[at]
        if first <= position <= last:
            if run >= 0:
                parts.append(data[run:begin])
                run = -1
            continue
        kept += 1
        if run < 0:
            run = begin
    if run >= 0:
        parts.append(data[run : reader.at])
    body = b"".join(parts)
    out = bytearray(HEADER_BYTES)
    out[:] = memoryview(batch)[:HEADER_BYTES]
    _U32.pack_into(out, 8, len(body) + HEADER_BYTES - 12)
    _I16.pack_into(out, 21, found.attributes & ~COMPRESSION)
    _U32.pack_into(out, 57, kept)
    out += body
    _U32.pack_into(out, 17, crc32c(memoryview(out)[21:]))
    return bytes(out)


def empty(first: object, last_offset: int, producer: bool = True) -> bytes:
    """A batch of no records from the base of the batch ``first`` to ``last_offset``, of its epoch and times, and of its
    ``producer`` or of none."""
    out = bytearray(memoryview(first)[:HEADER_BYTES])
    _U32.pack_into(out, 8, HEADER_BYTES - 12)
    _I16.pack_into(out, 21, _I16.unpack_from(out, 21)[0] & ~COMPRESSION)
    _U32.pack_into(out, 23, last_offset - _BASE.unpack_from(out, 0)[0])
    if not producer:
        out[43:57] = b"\xff" * 14
    _U32.pack_into(out, 57, 0)
    _U32.pack_into(out, 17, crc32c(memoryview(out)[21:]))
    return bytes(out)


def keys(batch: object) -> list:
    """Of each record (position, key or None, whether it has a value): what compaction goes by. Control batches have none.

    Raises:
        BatchError: as ``decode``.
    """
    found = header(batch)
    if found.attributes & CONTROL:
        return []
    data = memoryview(batch)[HEADER_BYTES : found.length + 12]
    if found.attributes & COMPRESSION:
        data = memoryview(_decompress(data, found.attributes & COMPRESSION))
    reader: _Reader = _Reader(data)
    base: cython.longlong = found.base_offset
    made: list = []
    for _ in range(found.count):
        length: cython.longlong = reader.varint()
        if length < 6 or length > reader.end - reader.at:
            raise BatchError("records", f"a record of {length} bytes does not fit")
        end: cython.longlong = reader.at + length
        reader.at += 1
        reader.varint()
        position: cython.longlong = _plus(base, reader.varint())
        key = reader.take()
        made.append((position, key, reader.varint() >= 0))
        reader.at = end
    return made


@cython.cfunc
@cython.exceptval(-1, check=True)
def _plus(base: cython.longlong, delta: cython.longlong) -> cython.longlong:
    """Raises: BatchError where the sum leaves 64 bits."""
    if (delta > 0 and base > 0x7FFFFFFFFFFFFFFF - delta) or (delta < 0 and base < -0x7FFFFFFFFFFFFFFF - 1 - delta):
        raise BatchError("records", f"{base} and {delta} pass 64 bits")
    return base + delta


def _decompress(data: object, codec: int) -> object:
    """Raises: BatchError: broken, unknown, or more than ``INFLATED_BYTES_MAX`` (a bomb costs no more memory than that)."""
    import cramjam  # only for foreign batches that somebody here wants decoded

    if codec not in (1, 2, 3, 4):
        raise BatchError("records", f"compression {codec} is unknown")
    try:
        if codec == 2:
            return _unsnappy(bytes(data))
        into = {1: cramjam.gzip, 3: cramjam.lz4, 4: cramjam.zstd}[codec].decompress_into
        size = min(max(64 * 1024, 8 * len(data)), INFLATED_BYTES_MAX)
        while True:
            out = bytearray(size)
            try:
                return memoryview(out)[: into(data, out)]
            except cramjam.DecompressionError as error:
                if "whole buffer" not in str(error):
                    raise
                if size == INFLATED_BYTES_MAX:
                    raise BatchError("records", f"inflates beyond {INFLATED_BYTES_MAX} bytes") from None
            size = min(8 * size, INFLATED_BYTES_MAX)
    except cramjam.DecompressionError as error:
        raise BatchError("records", f"compression {codec}: {error}") from None


def _unsnappy(data: bytes) -> bytes:
    """Snappy as Kafka clients write it: xerial's blocks, or raw."""
    if data[:8] != b"\x82SNAPPY\x00":
        return _unsnappy_block(data, INFLATED_BYTES_MAX)
    at = 16
    room = INFLATED_BYTES_MAX
    parts = []
    while at < len(data):
        size = _U32.unpack_from(data, at)[0] if at + 4 <= len(data) else len(data)
        if at + 4 + size > len(data):
            raise BatchError("records", "a snappy block is cut short")
        parts.append(_unsnappy_block(data[at + 4 : at + 4 + size], room))
        room -= len(parts[-1])
        at += 4 + size
    return b"".join(parts)


def _unsnappy_block(data: bytes, room: int) -> bytes:
    import cramjam

    size = cramjam.snappy.decompress_raw_len(data)
    if size > room:
        raise BatchError("records", f"inflates beyond {INFLATED_BYTES_MAX} bytes")
    return bytes(cramjam.snappy.decompress_raw(data))


def compiled() -> bool:
    return bool(cython.compiled)
