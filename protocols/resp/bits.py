"""Bits of strings: SETBIT GETBIT BITCOUNT BITPOS BITOP BITFIELD BITFIELD_RO.

Bits are counted from the highest of the first byte, as Redis does. Effects: in the client's words.
Deviations: none known.
"""

from __future__ import annotations

from protocols.resp.call import Call
from protocols.resp.errors import NOT_INTEGER, SYNTAX, CommandError
from protocols.resp.numbers import find_integer, integer_of
from protocols.resp.table import Handlers
from protocols.resp.wire import ZERO, array_of, integer, null

BIT_OFFSET = "ERR bit offset is not an integer or out of range"
BITS_MAX = 512 * 1024 * 1024 * 8
FIELD_TYPE = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
Field = tuple[bytes, bool, int, int, int, bytes]
"""GET, SET or INCRBY; signed; bits; offset; value; overflow."""


def offset_of(word: bytes, bits: int = 0) -> int:
    """A bit's place; with ``bits``, ``#3`` counts integers of that width.

    Raises:
        CommandError: not a number, negative, or beyond 512 MB.
    """
    times = 1
    if bits and word.startswith(b"#"):
        word, times = word[1:], bits
    value = find_integer(word)
    if value is None or value < 0 or value * times >= BITS_MAX:
        raise CommandError(BIT_OFFSET)
    return value * times


def setbit(call: Call, words: list[bytes]) -> bytes:
    at = offset_of(words[2])
    if words[3] not in (b"0", b"1"):
        raise CommandError("ERR bit is not an integer or out of range")
    text = bytearray(call.find_text(words[1]) or b"")
    grown = len(text) <= at >> 3
    if grown:
        text.extend(bytes((at >> 3) + 1 - len(text)))
    mask = 0x80 >> (at & 7)
    old = bool(text[at >> 3] & mask)
    if old == (words[3] == b"1") and not grown:
        return integer(old)
    text[at >> 3] = text[at >> 3] | mask if words[3] == b"1" else text[at >> 3] & ~mask
    call.put_text(words[1], bytes(text))
    call.changed(words[1])
    call.event(b"setbit", words[1])
    return integer(old)


def getbit(call: Call, words: list[bytes]) -> bytes:
    at = offset_of(words[2])
    text = call.find_text(words[1]) or b""
    return integer(at >> 3 < len(text) and text[at >> 3] >> (7 - (at & 7)) & 1)


def unit_of(words: list[bytes], at: int) -> bool:
    """Whether a range counts bits.

    Raises:
        CommandError: neither BYTE nor BIT.
    """
    if len(words) <= at:
        return False
    if words[at].upper() not in (b"BYTE", b"BIT"):
        raise CommandError(SYNTAX)
    return words[at].upper() == b"BIT"


def clamp(start: int, end: int, length: int) -> tuple[int, int]:
    """Inclusive indices, negative ones from the end, within ``length``."""
    start = max(start + length, 0) if start < 0 else start
    end = max(end + length, 0) if end < 0 else end
    return start, min(end, length - 1)


def bits_of(text: bytes, first: int, last: int) -> int:
    """The bits from ``first`` to ``last``, both included, as a number."""
    part = int.from_bytes(text[first >> 3 : (last >> 3) + 1], "big")
    part >>= 7 - (last & 7)
    return part & ((1 << (last - first + 1)) - 1)


def bitcount(call: Call, words: list[bytes]) -> bytes:
    text = call.find_text(words[1])
    if text is None:  # whatever else is said (bitops.c bitcountCommand)
        return ZERO
    if len(words) == 2:
        return integer(int.from_bytes(text, "big").bit_count())
    if len(words) == 3 or len(words) > 5:
        raise CommandError(SYNTAX)
    start, end = integer_of(words[2]), integer_of(words[3])
    by_bit = unit_of(words, 4)
    if start < 0 and end < 0 and start > end:
        return ZERO
    start, end = clamp(start, end, len(text) * (8 if by_bit else 1))
    if start > end:
        return ZERO
    if not by_bit:
        start, end = start * 8, end * 8 + 7
    return integer(bits_of(text, start, end).bit_count())


def bitpos(call: Call, words: list[bytes]) -> bytes:
    wanted = integer_of(words[2])
    if wanted not in (0, 1):
        raise CommandError("ERR The bit argument must be 1 or 0.")
    text = call.find_text(words[1])
    if text is None:
        return integer(-1 if wanted else 0)
    if len(words) > 6:
        raise CommandError(SYNTAX)
    start, end = 0, -1
    end_given = len(words) > 4
    by_bit = False
    if len(words) > 3:
        start = integer_of(words[3])
        by_bit = unit_of(words, 5)
        if end_given:
            end = integer_of(words[4])
    start, end = clamp(start, end, len(text) * (8 if by_bit else 1))
    if start > end:
        return integer(-1)
    if not by_bit:
        start, end = start * 8, end * 8 + 7
    length = end - start + 1
    found = bits_of(text, start, end)
    if not wanted:
        found = ~found & ((1 << length) - 1)
    if found:
        return integer(start + length - found.bit_length())
    if not wanted and not end_given:
        return integer(len(text) * 8)
    return integer(-1)


def bitop(call: Call, words: list[bytes]) -> bytes:
    how = words[1].upper()
    if how not in (b"AND", b"OR", b"XOR", b"NOT"):
        raise CommandError(SYNTAX)
    if how == b"NOT" and len(words) != 4:
        raise CommandError("ERR BITOP NOT must be called with a single source key.")
    texts = [call.find_text(key) or b"" for key in words[3:]]
    length = max(map(len, texts))
    numbers = [int.from_bytes(text.ljust(length, b"\0"), "big") for text in texts]
    result = numbers[0]
    for number in numbers[1:]:
        result = result & number if how == b"AND" else result | number if how == b"OR" else result ^ number
    if how == b"NOT":
        result ^= (1 << (8 * length)) - 1
    there = call.find(words[2]) is not None
    if length:
        call.db.set_expire(call.put_text(words[2], result.to_bytes(length, "big")), 0)
        call.changed(words[2])
        call.event(b"set", words[2])
    elif there:
        call.drop(words[2])
        call.changed(words[2])
        call.event(b"del", words[2])
    return integer(length)


def fields_of(call: Call, words: list[bytes]) -> list[Field]:
    """The operations of BITFIELD.

    Raises:
        CommandError: as Redis for each word it cannot read.
    """
    found: list[Field] = []
    overflow = b"WRAP"
    at = 2
    while at < len(words):
        option = words[at].upper()
        left = len(words) - at - 1
        if option == b"OVERFLOW" and left >= 1:
            overflow = words[at + 1].upper()
            if overflow not in (b"WRAP", b"SAT", b"FAIL"):
                raise CommandError("ERR Invalid OVERFLOW type specified")
            at += 2
            continue
        if not (option == b"GET" and left >= 2) and not (option in (b"SET", b"INCRBY") and left >= 3):
            raise CommandError(SYNTAX)
        kind = words[at + 1]
        bits = find_integer(kind[1:])
        if kind[:1] not in (b"i", b"u") or bits is None or not 1 <= bits <= (64 if kind[:1] == b"i" else 63):
            raise CommandError(FIELD_TYPE)
        place = offset_of(words[at + 2], bits)
        value = 0
        if option != b"GET":
            value = integer_of(words[at + 3], NOT_INTEGER)
        found.append((option, kind[:1] == b"i", bits, place, value, overflow))
        at += 3 if option == b"GET" else 4
    if call.name == "bitfield_ro" and any(field[0] != b"GET" for field in found):
        raise CommandError("ERR BITFIELD_RO only supports the GET subcommand")
    return found


def fit(value: int, signed: bool, bits: int, overflow: bytes) -> int | None:
    """``value`` in a field of this width; None where it must not overflow and does."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if low <= value <= high:
        return value
    if overflow == b"FAIL":
        return None
    if overflow == b"SAT":
        return high if value > high else low
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def bitfield(call: Call, words: list[bytes]) -> bytes:
    fields = fields_of(call, words)
    writes = [field for field in fields if field[0] != b"GET"]
    text = bytearray(call.find_text(words[1]) or b"")
    if writes:
        length = max(field[3] + field[2] for field in writes) + 7 >> 3
        text.extend(bytes(max(length - len(text), 0)))
    replies = []
    changes = 0
    for option, signed, bits, place, value, overflow in fields:
        last = place + bits - 1
        padded = bytes(text[place >> 3 : (last >> 3) + 1]).ljust((last >> 3) - (place >> 3) + 1, b"\0")
        old = bits_of(padded, place & 7, (place & 7) + bits - 1)
        if signed and old >> (bits - 1):
            old -= 1 << bits
        if option == b"GET":
            replies.append(integer(old))
            continue
        if option == b"SET" and not signed:
            value &= (1 << 64) - 1
        new = fit(value if option == b"SET" else old + value, signed, bits, overflow)
        if new is None:
            replies.append(null(call.protocol))
            continue
        shift = 7 - (last & 7)
        number = int.from_bytes(padded, "big")
        number &= ~(((1 << bits) - 1) << shift)
        number |= (new & ((1 << bits) - 1)) << shift
        text[place >> 3 : (last >> 3) + 1] = number.to_bytes(len(padded), "big")
        replies.append(integer(old if option == b"SET" else new))
        changes += 1
    if writes:  # the string grew even where every change failed
        call.put_text(words[1], bytes(text))
        call.changed(words[1])
    if changes:
        call.event(b"setbit", words[1])
    return array_of(replies)


HANDLERS: Handlers = {
    "setbit": setbit, "getbit": getbit, "bitcount": bitcount, "bitpos": bitpos, "bitop": bitop, "bitfield": bitfield,
    "bitfield_ro": bitfield,
}  # fmt: skip
