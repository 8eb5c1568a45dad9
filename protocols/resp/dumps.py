"""DUMP and RESTORE: a value as Redis' RDB writes it (version 10), with its CRC-64.

    payload = type(1) value version(2, little endian) CRC-64(8, little endian, of all before)

Written in the plain encodings (string, list, set, hash, sorted set with binary scores), which every Redis since 4.0 reads.
Read: those, and the packed ones of Redis 4 to 7.2 (ziplist, listpack, quicklist, intset, LZF-compressed strings).
Deviations: streams are neither dumped nor restored.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator

from protocols.resp.call import Call
from protocols.resp.errors import SYNTAX, CommandError
from protocols.resp.numbers import find_integer, integer_of
from protocols.resp.state import HASH, LIST, NUMBER, SET, STRING, ZSET, Entry, Members, Ranking
from protocols.resp.table import Handlers
from protocols.resp.wire import OK, bulk, null

VERSION = 10
VERSION_MAX = 11
WRONG = "ERR DUMP payload version or checksum are wrong"
BAD = "ERR Bad data format"
STRING_BYTES_MAX = 512 * 1024 * 1024
POLYNOMIAL = 0x95AC9329AC4BC9B5  # Jones' 0xad93d23594c935a9, reflected


def _table() -> tuple[int, ...]:
    found = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ POLYNOMIAL if value & 1 else value >> 1
        found.append(value)
    return tuple(found)


CRC_TABLE = _table()


def crc64(data: bytes) -> int:
    value = 0
    for byte in data:
        value = CRC_TABLE[(value ^ byte) & 255] ^ value >> 8
    return value


# writing


def length_bytes(length: int) -> bytes:
    if length < 64:
        return bytes((length,))
    if length < 16384:
        return struct.pack(">H", 0x4000 | length)
    if length < 2**32:
        return b"\x80" + struct.pack(">I", length)
    return b"\x81" + struct.pack(">Q", length)


def text_bytes(text: bytes) -> bytes:
    """A string; a short decimal of 32 bits as a number."""
    number = find_integer(text) if len(text) <= 11 else None
    if number is not None and -(2**31) <= number < 2**31:
        size = 1 if -128 <= number < 128 else 2 if -32768 <= number < 32768 else 4
        return bytes((0xC0 | size >> 1,)) + number.to_bytes(size, "little", signed=True)
    return length_bytes(len(text)) + text


def value_bytes(entry: Entry) -> bytes:
    """Type and value.

    Raises:
        CommandError: a stream.
    """
    value = entry.value
    if entry.kind <= NUMBER:
        return b"\x00" + text_bytes(entry.text())
    if entry.kind in (LIST, SET):
        items = list(value)
        head = b"\x01" if entry.kind == LIST else b"\x02"
        return head + length_bytes(len(items)) + b"".join([text_bytes(item) for item in items])
    if entry.kind == HASH:
        pairs = [text_bytes(field) + text_bytes(content) for field, content in value.items()]
        return b"\x04" + length_bytes(len(pairs)) + b"".join(pairs)
    if entry.kind == ZSET:
        rows = [text_bytes(member) + struct.pack("<d", score) for member, score in value.scores.items()]
        return b"\x05" + length_bytes(len(rows)) + b"".join(rows)
    raise CommandError("ERR DUMP of a stream is not supported by this server")


def payload_of(entry: Entry) -> bytes:
    data = value_bytes(entry) + struct.pack("<H", VERSION)
    return data + struct.pack("<Q", crc64(data))


# reading


class Reader:
    """Raises ValueError, IndexError or struct.error where the data is not what it says."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise ValueError("it ends too soon")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def length(self) -> tuple[int, bool]:
        """A length, or the number of a special encoding."""
        first = self.byte()
        kind = first >> 6
        if kind == 0:
            return first & 63, False
        if kind == 1:
            return (first & 63) << 8 | self.byte(), False
        if kind == 3:
            return first & 63, True
        size = {0x80: 4, 0x81: 8}[first]
        return int.from_bytes(self.take(size), "big"), False

    def count(self) -> int:
        count, special = self.length()
        if special or count > len(self.data):
            raise ValueError("no number of elements")
        return count

    def text(self) -> bytes:
        length, special = self.length()
        if not special:
            return self.take(length)
        if length < 3:
            return b"%d" % int.from_bytes(self.take(1 << length), "little", signed=True)
        if length != 3:
            raise ValueError("an encoding that there is not")
        packed, whole = self.count(), self.length()[0]
        if whole > STRING_BYTES_MAX:
            raise ValueError("too long")
        return unpacked(self.take(packed), whole)

    def score(self) -> float:
        """The older text form."""
        size = self.byte()
        if size > 252:
            return {253: float("nan"), 254: float("inf"), 255: float("-inf")}[size]
        return float(self.take(size))


def unpacked(data: bytes, whole: int) -> bytes:
    """LZF."""
    found = bytearray()
    at = 0
    while at < len(data):
        control = data[at]
        at += 1
        if control < 32:
            found += data[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += data[at]
            at += 1
        place = len(found) - ((control & 31) << 8) - data[at] - 1
        at += 1
        if place < 0 or len(found) > whole:
            raise ValueError("a reference to before the start")
        for _ in range(length + 2):
            found.append(found[place])
            place += 1
    if len(found) != whole:
        raise ValueError("another length than it says")
    return bytes(found)


def signed(data: bytes) -> bytes:
    return b"%d" % int.from_bytes(data, "little", signed=True)


def listpack(data: bytes) -> Iterator[bytes]:
    reader = Reader(data)
    reader.take(6)
    while (first := reader.byte()) != 0xFF:
        start = reader.at - 1
        if first < 0x80:
            item = b"%d" % first
        elif first < 0xC0:
            item = reader.take(first & 63)
        elif first < 0xE0:
            number = (first & 31) << 8 | reader.byte()
            item = b"%d" % (number - 8192 if number >= 4096 else number)
        elif first < 0xF0:
            item = reader.take((first & 15) << 8 | reader.byte())
        elif first == 0xF0:
            item = reader.take(int.from_bytes(reader.take(4), "little"))
        else:
            item = signed(reader.take({0xF1: 2, 0xF2: 3, 0xF3: 4, 0xF4: 8}[first]))
        size = reader.at - start
        reader.take(1 if size < 128 else 2 if size < 16384 else 3 if size < 2**21 else 4 if size < 2**28 else 5)
        yield item


def ziplist(data: bytes) -> Iterator[bytes]:
    reader = Reader(data)
    reader.take(10)
    while (before := reader.byte()) != 0xFF:
        if before == 0xFE:
            reader.take(4)
        first = reader.byte()
        if first < 0x40:
            yield reader.take(first)
        elif first < 0x80:
            yield reader.take((first & 63) << 8 | reader.byte())
        elif first < 0xC0:
            yield reader.take(int.from_bytes(reader.take(4), "big"))
        elif 0xF1 <= first <= 0xFD:
            yield b"%d" % ((first & 15) - 1)
        else:
            yield signed(reader.take({0xC0: 2, 0xD0: 4, 0xE0: 8, 0xF0: 3, 0xFE: 1}[first]))


def intset(data: bytes) -> Iterator[bytes]:
    width, count = struct.unpack_from("<II", data)
    if width not in (2, 4, 8) or 8 + width * count != len(data):
        raise ValueError("no set of integers")
    for at in range(8, len(data), width):
        yield signed(data[at : at + width])


def quicklist(reader: Reader, packs: bool) -> Iterator[bytes]:
    for _ in range(reader.count()):
        plain = packs and reader.count() == 1
        node = reader.text()
        if plain:
            yield node
        else:
            yield from listpack(node) if packs else ziplist(node)


def paired(items: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(items[::2], items[1::2], strict=True))


def value_of(data: bytes) -> tuple[int, object]:
    """Kind and value.

    Raises:
        CommandError: it is not what it says.
    """
    reader = Reader(data)
    try:
        kind, value = read_value(reader)
        if reader.at != len(data) or (kind not in (STRING,) and not len(value)):  # type: ignore[arg-type]
            raise ValueError("more than a value, or an empty one")
    except (ValueError, IndexError, KeyError, struct.error):
        raise CommandError(BAD) from None
    return kind, value


def read_value(reader: Reader) -> tuple[int, object]:
    form = reader.byte()
    if form == 0:
        text = reader.text()
        return STRING, b"$%d\r\n%b\r\n" % (len(text), text)
    if form in (1, 10, 14, 18):
        if form == 1:
            return LIST, deque([reader.text() for _ in range(reader.count())])
        return LIST, deque(ziplist(reader.text()) if form == 10 else quicklist(reader, form == 18))
    if form in (2, 11, 20):
        if form == 2:
            return SET, Members([reader.text() for _ in range(reader.count())])
        return SET, Members(list((intset if form == 11 else listpack)(reader.text())))
    if form in (4, 13, 16):
        if form == 4:
            return HASH, {reader.text(): reader.text() for _ in range(reader.count())}
        return HASH, dict(paired(list((ziplist if form == 13 else listpack)(reader.text()))))
    if form in (3, 5, 12, 17):
        if form in (12, 17):
            rows = [
                (float(score), member)
                for member, score in paired(list((ziplist if form == 12 else listpack)(reader.text())))
            ]
        else:
            rows = []
            for _ in range(reader.count()):
                member = reader.text()
                rows.append((reader.score() if form == 3 else struct.unpack("<d", reader.take(8))[0], member))
        if any(score != score for score, _ in rows):
            raise ValueError("a score that is no number")
        return ZSET, Ranking(rows)
    raise ValueError("a type that is not known here")


# commands


def dump(call: Call, words: list[bytes]) -> bytes:
    entry = call.find(words[1])
    return null(call.protocol) if entry is None else bulk(payload_of(entry))


def restore(call: Call, words: list[bytes]) -> bytes:
    replace = absolute = False
    at = 4
    while at < len(words):
        option = words[at].upper()
        if option == b"REPLACE":
            replace = True
        elif option == b"ABSTTL":
            absolute = True
        elif option in (b"IDLETIME", b"FREQ") and at + 1 < len(words):
            value = integer_of(words[at + 1])
            if option == b"IDLETIME" and value < 0:
                raise CommandError("ERR Invalid IDLETIME value, must be >= 0")
            if option == b"FREQ" and not 0 <= value <= 255:
                raise CommandError("ERR Invalid FREQ value, must be >= 0 and <= 255")
            at += 1
        else:
            raise CommandError(SYNTAX)
        at += 1
    key, payload = words[1], words[3]
    if call.find(key) is not None and not replace:
        raise CommandError("BUSYKEY Target key name already exists.")
    until = integer_of(words[2])
    if until < 0:
        raise CommandError("ERR Invalid TTL value, must be >= 0")
    if until and not absolute:
        until += call.now_ms
    if len(payload) < 11:
        raise CommandError(WRONG)
    version, check = struct.unpack_from("<HQ", payload, len(payload) - 10)
    if version > VERSION_MAX or (check and check != crc64(payload[:-8])):
        raise CommandError(WRONG)
    kind, made = value_of(payload[:-10])
    if until and until <= call.now_ms and not call.replaying:
        if call.find(key) is not None:
            call.drop(key)
            call.changed(key)
            call.effect(b"DEL", key)
            call.event(b"del", key)
        return OK
    entry = call.replace(key, kind, made)
    call.db.set_expire(entry, until)
    call.changed(key)
    call.effect(b"RESTORE", key, b"%d" % until, payload, b"REPLACE", b"ABSTTL")
    call.event(b"restore", key)
    return OK


HANDLERS: Handlers = {"dump": dump, "restore": restore, "restore-asking": restore}
