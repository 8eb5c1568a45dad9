"""Strings: GET SET MGET MSET INCR and their kin.

Speaks Redis 7.2's commands of the group. Values are binary safe, at most 512 MB.
Effects: relative expiries as PXAT of the absolute time, INCRBYFLOAT as SET of the result with KEEPTTL, GETEX and GETDEL as
PEXPIREAT, PERSIST or DEL; everything else in the client's words.
Deviations: none known.
"""

from __future__ import annotations

from protocols.resp.call import Call
from protocols.resp.errors import (
    DECREMENT_OVERFLOW,
    NAN_OR_INFINITY,
    NOT_FLOAT,
    NOT_INTEGER,
    OFFSET_RANGE,
    OVERFLOW,
    STRING_TOO_LONG,
    SYNTAX,
    CommandError,
    invalid_expire,
    wrong_arity,
)
from protocols.resp.numbers import INTEGER_MAX, INTEGER_MIN, add_long_doubles, find_integer, integer_of
from protocols.resp.state import NUMBER, STRING
from protocols.resp.table import Handlers
from protocols.resp.wire import OK, ONE, ZERO, array_of, bulk, integer, map_of, null

STRING_BYTES_MAX = 512 * 1024 * 1024


def expire_time(call: Call, amount: bytes, unit: bytes) -> int:
    """The absolute unix ms of ``EX 5``, ``PX``, ``EXAT``, ``PXAT``.

    Raises:
        CommandError: not an integer, not positive, or beyond what 64 bits hold.
    """
    value = integer_of(amount)
    if value <= 0:
        raise CommandError(invalid_expire(call.name))
    if unit in (b"EX", b"EXAT"):
        value *= 1000
    if unit in (b"EX", b"PX"):
        value += call.now_ms
    if value > INTEGER_MAX:
        raise CommandError(invalid_expire(call.name))
    return value


def get(call: Call, words: list[bytes]) -> bytes:
    entry = call.find_string(words[1])
    if entry is None:
        return null(call.protocol)
    if entry.kind == STRING:
        reply: bytes = entry.value
        return reply
    return bulk(entry.text())


def set_(call: Call, words: list[bytes]) -> bytes:
    key, value = words[1], words[2]
    only_new = only_there = keep = give = False
    expire: tuple[bytes, bytes] | None = None
    at = 3
    while at < len(words):
        option = words[at].upper()
        if option == b"NX" and not only_there:
            only_new = True
        elif option == b"XX" and not only_new:
            only_there = True
        elif option == b"GET":
            give = True
        elif option == b"KEEPTTL" and expire is None:
            keep = True
        elif option in (b"EX", b"PX", b"EXAT", b"PXAT") and expire is None and not keep and at + 1 < len(words):
            at += 1
            expire = (option, words[at])
        else:
            raise CommandError(SYNTAX)
        at += 1
    until = expire_time(call, expire[1], expire[0]) if expire else 0
    reply = OK
    if give:
        old = call.find_string(key)
        reply = null(call.protocol) if old is None else bulk(old.text())
    there = call.find(key) is not None if only_new or only_there else False
    if (only_new and there) or (only_there and not there):
        return reply if give else null(call.protocol)
    if expire and until <= call.now_ms and not call.replaying:  # PXAT of the past: there, and gone at once
        if call.find(key) is not None:
            call.drop(key)
            call.changed(key)
            call.effect(b"DEL", key)
            call.event(b"del", key)
        return reply
    entry = call.put_text(key, value)
    if not keep:
        call.db.set_expire(entry, until)
    call.changed(key)
    call.event(b"set", key)
    if expire:
        call.event(b"expire", key)
        call.effect(b"SET", key, value, b"PXAT", b"%d" % until)
    elif give or only_new or only_there:
        call.effect(b"SET", key, value, *((b"KEEPTTL",) if keep else ()))
    return reply


def setnx(call: Call, words: list[bytes]) -> bytes:
    if call.find(words[1]) is not None:
        return ZERO
    call.put_text(words[1], words[2])
    call.changed(words[1])
    call.event(b"set", words[1])
    return ONE


def setex(call: Call, words: list[bytes]) -> bytes:
    until = expire_time(call, words[2], b"EX" if call.name == "setex" else b"PX")
    call.db.set_expire(call.put_text(words[1], words[3]), until)
    call.changed(words[1])
    call.effect(b"SET", words[1], words[3], b"PXAT", b"%d" % until)
    call.event(b"set", words[1])
    call.event(b"expire", words[1])
    return OK


def getset(call: Call, words: list[bytes]) -> bytes:
    old = call.find_text(words[1])
    call.db.set_expire(call.put_text(words[1], words[2]), 0)
    call.changed(words[1])
    call.effect(b"SET", words[1], words[2])
    call.event(b"set", words[1])
    return null(call.protocol) if old is None else bulk(old)


def getdel(call: Call, words: list[bytes]) -> bytes:
    old = call.find_text(words[1])
    if old is None:
        return null(call.protocol)
    call.drop(words[1])
    call.changed(words[1])
    call.effect(b"DEL", words[1])
    call.event(b"del", words[1])
    return bulk(old)


def getex(call: Call, words: list[bytes]) -> bytes:
    persist = False
    expire: tuple[bytes, bytes] | None = None
    at = 2
    while at < len(words):
        option = words[at].upper()
        if option == b"PERSIST" and expire is None:
            persist = True
        elif option in (b"EX", b"PX", b"EXAT", b"PXAT") and expire is None and not persist and at + 1 < len(words):
            at += 1
            expire = (option, words[at])
        else:
            raise CommandError(SYNTAX)
        at += 1
    entry = call.find_string(words[1])
    if entry is None:
        return null(call.protocol)
    text = entry.text()
    if expire:
        until = expire_time(call, expire[1], expire[0])
        if until <= call.now_ms:
            call.drop(words[1])
            call.effect(b"DEL", words[1])
            call.event(b"del", words[1])
        else:
            call.db.set_expire(entry, until)
            call.effect(b"PEXPIREAT", words[1], b"%d" % until)
            call.event(b"expire", words[1])
        call.changed(words[1])
    elif persist and entry.expire_ms:
        call.db.set_expire(entry, 0)
        call.effect(b"PERSIST", words[1])
        call.event(b"persist", words[1])
        call.changed(words[1])
    return bulk(text)


def mget(call: Call, words: list[bytes]) -> bytes:
    parts = []
    for key in words[1:]:
        entry = call.find(key)
        if entry is None or entry.kind > NUMBER:
            parts.append(null(call.protocol))
        else:
            parts.append(entry.value if entry.kind == STRING else bulk(entry.text()))
    return array_of(parts)


def mset(call: Call, words: list[bytes]) -> bytes:
    if len(words) % 2 == 0:
        raise CommandError(wrong_arity(call.name))
    if call.name == "msetnx" and any(call.find(key) is not None for key in words[1::2]):
        return ZERO
    for key, value in zip(words[1::2], words[2::2], strict=True):
        call.db.set_expire(call.put_text(key, value), 0)
        call.changed(key)
        call.event(b"set", key)
    return ONE if call.name == "msetnx" else OK


def add(call: Call, key: bytes, change: int) -> bytes:
    entry = call.find_string(key)
    number = 0
    if entry is not None:
        found = entry.number if entry.kind == NUMBER else find_integer(entry.text())
        if found is None:
            raise CommandError(NOT_INTEGER)
        number = found
    number += change
    if not INTEGER_MIN <= number <= INTEGER_MAX:
        raise CommandError(OVERFLOW)
    entry = call.put(key, NUMBER, None)
    entry.number = number
    call.changed(key)
    call.event(b"incrby", key)
    return integer(number)


def incr(call: Call, words: list[bytes]) -> bytes:
    return add(call, words[1], 1 if call.name == "incr" else -1)


def incrby(call: Call, words: list[bytes]) -> bytes:
    change = integer_of(words[2])
    if call.name == "decrby":
        if change == INTEGER_MIN:
            raise CommandError(DECREMENT_OVERFLOW)
        change = -change
    return add(call, words[1], change)


def incrbyfloat(call: Call, words: list[bytes]) -> bytes:
    old = call.find_text(words[1])
    text = add_long_doubles(old, words[2], NOT_FLOAT, NAN_OR_INFINITY)
    call.put_text(words[1], text)
    call.changed(words[1])
    call.effect(b"SET", words[1], text, b"KEEPTTL")
    call.event(b"incrbyfloat", words[1])
    return bulk(text)


def append(call: Call, words: list[bytes]) -> bytes:
    old = call.find_text(words[1]) or b""
    if len(old) + len(words[2]) > STRING_BYTES_MAX:
        raise CommandError(STRING_TOO_LONG)
    call.put_text(words[1], old + words[2])
    call.changed(words[1])
    call.event(b"append", words[1])
    return integer(len(old) + len(words[2]))


def strlen(call: Call, words: list[bytes]) -> bytes:
    return integer(len(call.find_text(words[1]) or b""))


def getrange(call: Call, words: list[bytes]) -> bytes:
    start, end = integer_of(words[2]), integer_of(words[3])
    text = call.find_text(words[1]) or b""
    if start < 0 and end < 0 and start > end:
        return bulk(b"")
    start = max(start + len(text), 0) if start < 0 else start
    end = max(end + len(text), 0) if end < 0 else end
    return bulk(text[start : end + 1])


def setrange(call: Call, words: list[bytes]) -> bytes:
    offset = integer_of(words[2])
    if offset < 0:
        raise CommandError(OFFSET_RANGE)
    text = call.find_text(words[1])
    value = words[3]
    if not value:
        return integer(len(text or b""))
    if offset + len(value) > STRING_BYTES_MAX:
        raise CommandError(STRING_TOO_LONG)
    changed = bytearray(text or b"")
    if len(changed) < offset:
        changed.extend(bytes(offset - len(changed)))
    changed[offset : offset + len(value)] = value
    call.put_text(words[1], bytes(changed))
    call.changed(words[1])
    call.event(b"setrange", words[1])
    return integer(len(changed))


LCS_CELLS_MAX = 16 * 1024 * 1024
"""Of its table: one command must not hold up all others."""


def lcs(call: Call, words: list[bytes]) -> bytes:
    texts = []
    for key in words[1:3]:
        entry = call.find(key)
        if entry is not None and entry.kind > NUMBER:
            raise CommandError("ERR The specified keys must contain string values")
        texts.append(entry.text() if entry is not None else b"")
    only_length = indices = lengths = False
    shortest = 0
    at = 3
    while at < len(words):
        option = words[at].upper()
        if option == b"IDX":
            indices = True
        elif option == b"LEN":
            only_length = True
        elif option == b"WITHMATCHLEN":
            lengths = True
        elif option == b"MINMATCHLEN" and at + 1 < len(words):
            at += 1
            shortest = max(integer_of(words[at]), 0)
        else:
            raise CommandError(SYNTAX)
        at += 1
    if only_length and indices:
        raise CommandError("ERR If you want both the length and indexes, please just use IDX.")
    first, second = texts
    if len(first) * len(second) > LCS_CELLS_MAX:
        raise CommandError("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
    table = lcs_table(first, second)
    length = table[-1][-1]
    if only_length:
        return integer(length)
    common, matches = lcs_matches(first, second, table)
    if not indices:
        return bulk(common)
    rows = []
    for low, low2, size in matches:
        if size >= shortest:
            row = [
                array_of((integer(low), integer(low + size - 1))),
                array_of((integer(low2), integer(low2 + size - 1))),
            ]
            rows.append(array_of(row + ([integer(size)] if lengths else [])))
    return map_of([(bulk(b"matches"), array_of(rows)), (bulk(b"len"), integer(length))], call.protocol)


def lcs_table(first: bytes, second: bytes) -> list[list[int]]:
    """``table[i][j]``: how long the longest common subsequence of the first i and j bytes is."""
    row = [0] * (len(second) + 1)
    table = [row]
    for byte in first:
        above, row = row, [0]
        left = 0
        for at, other in enumerate(second):
            left = above[at] + 1 if byte == other else max(above[at + 1], left)
            row.append(left)
        table.append(row)
    return table


def lcs_matches(first: bytes, second: bytes, table: list[list[int]]) -> tuple[bytes, list[tuple[int, int, int]]]:
    """The subsequence, and its ranges (place in each, length) from the end."""
    common = bytearray()
    matches: list[tuple[int, int, int]] = []
    at, other, size = len(first), len(second), 0
    while at and other:
        if first[at - 1] == second[other - 1]:
            common.append(first[at - 1])
            at, other, size = at - 1, other - 1, size + 1
            continue
        if size:
            matches.append((at, other, size))
            size = 0
        if table[at - 1][other] > table[at][other - 1]:
            at -= 1
        else:
            other -= 1
    if size:
        matches.append((at, other, size))
    return bytes(common[::-1]), matches


HANDLERS: Handlers = {
    "get": get, "set": set_, "setnx": setnx, "setex": setex, "psetex": setex, "getset": getset, "getdel": getdel,
    "getex": getex, "mget": mget, "mset": mset, "msetnx": mset, "incr": incr, "decr": incr, "incrby": incrby,
    "decrby": incrby, "incrbyfloat": incrbyfloat, "append": append, "strlen": strlen, "getrange": getrange,
    "substr": getrange, "lcs": lcs, "setrange": setrange,
}  # fmt: skip
