"""Hashes: all sixteen commands of Redis 7.0 and HRANDFIELD, HSCAN.

Effects: HINCRBYFLOAT as HSET of the result; the rest in the client's words.
Deviations: fields are given in the order in which they were first set (Redis: so while the hash is small); no field expiry.
"""

from __future__ import annotations

from typing import Any

from protocols.resp.call import Call
from protocols.resp.errors import OVERFLOW, SYNTAX, CommandError, wrong_arity
from protocols.resp.keys import NOTHING_SCANNED, cursor_of, scan_options, walk
from protocols.resp.numbers import INTEGER_MAX, INTEGER_MIN, add_long_doubles, find_integer, integer_of, long_double_of
from protocols.resp.state import HASH
from protocols.resp.table import Handlers
from protocols.resp.wire import OK, ONE, ZERO, array_of, bulk, bulks, integer, map_of, null
from substrate.interest import glob_matches

COUNT_MAX = 2**62
SCAN_WHOLE_MAX = 512
"""A hash, set or sorted set of at most so many elements is scanned in one call."""


def hset(call: Call, words: list[bytes]) -> bytes:
    if len(words) % 2:
        raise CommandError(wrong_arity(call.name))
    fields = call.find_hash(words[1])
    if fields is None:
        fields = call.make(words[1], HASH, {})
    added = 0
    for field, value in zip(words[2::2], words[3::2], strict=True):
        added += field not in fields
        fields[field] = value
    call.changed(words[1], len(words) // 2 - 1)
    call.event(b"hset", words[1])
    return OK if call.name == "hmset" else integer(added)


def hsetnx(call: Call, words: list[bytes]) -> bytes:
    fields = call.find_hash(words[1])
    if fields is not None and words[2] in fields:
        return ZERO
    if fields is None:
        fields = call.make(words[1], HASH, {})
    fields[words[2]] = words[3]
    call.changed(words[1])
    call.event(b"hset", words[1])
    return ONE


def hget(call: Call, words: list[bytes]) -> bytes:
    fields = call.find_hash(words[1])
    value = fields.get(words[2]) if fields else None
    return null(call.protocol) if value is None else bulk(value)


def hmget(call: Call, words: list[bytes]) -> bytes:
    fields = call.find_hash(words[1]) or {}
    nothing = null(call.protocol)
    values = [fields.get(field) for field in words[2:]]
    return array_of([nothing if value is None else bulk(value) for value in values])


def hgetall(call: Call, words: list[bytes]) -> bytes:
    fields = call.find_hash(words[1]) or {}
    return map_of([(bulk(field), bulk(value)) for field, value in fields.items()], call.protocol)


def hdel(call: Call, words: list[bytes]) -> bytes:
    fields = call.find_hash(words[1])
    if fields is None:
        return ZERO
    count = 0
    for field in words[2:]:
        if fields.pop(field, None) is not None:
            count += 1
    if count:
        if not fields:
            call.drop(words[1])
        call.changed(words[1], count)
        call.removed(words[1], b"hdel", not fields)
    return integer(count)


def hexists(call: Call, words: list[bytes]) -> bytes:
    return integer(words[2] in (call.find_hash(words[1]) or {}))


def hlen(call: Call, words: list[bytes]) -> bytes:
    return integer(len(call.find_hash(words[1]) or {}))


def hstrlen(call: Call, words: list[bytes]) -> bytes:
    return integer(len((call.find_hash(words[1]) or {}).get(words[2], b"")))


def hkeys(call: Call, words: list[bytes]) -> bytes:
    return bulks(call.find_hash(words[1]) or {})


def hvals(call: Call, words: list[bytes]) -> bytes:
    return bulks((call.find_hash(words[1]) or {}).values())


def hincrby(call: Call, words: list[bytes]) -> bytes:
    change = integer_of(words[3])
    fields = call.find_hash(words[1])
    old = 0
    if fields is not None and words[2] in fields:
        found = find_integer(fields[words[2]])
        if found is None:
            raise CommandError("ERR hash value is not an integer")
        old = found
    if not INTEGER_MIN <= old + change <= INTEGER_MAX:
        raise CommandError(OVERFLOW)
    if fields is None:
        fields = call.make(words[1], HASH, {})
    fields[words[2]] = b"%d" % (old + change)
    call.changed(words[1])
    call.event(b"hincrby", words[1])
    return integer(old + change)


def hincrbyfloat(call: Call, words: list[bytes]) -> bytes:
    long_double_of(words[3])
    fields = call.find_hash(words[1])
    old = fields.get(words[2]) if fields else None
    text = add_long_doubles(
        old, words[3], "ERR hash value is not a float", "ERR increment would produce NaN or Infinity"
    )
    if fields is None:
        fields = call.make(words[1], HASH, {})
    fields[words[2]] = text
    call.changed(words[1])
    call.effect(b"HSET", words[1], words[2], text)
    call.event(b"hincrbyfloat", words[1])
    return bulk(text)


def hrandfield(call: Call, words: list[bytes]) -> bytes:
    if len(words) == 2:
        fields = list(call.find_hash(words[1]) or ())
        return bulk(fields[call.pick(len(fields))]) if fields else null(call.protocol)
    count = integer_of(words[2])
    with_values = len(words) == 4 and words[3].upper() == b"WITHVALUES"
    if len(words) > 4 or (len(words) == 4 and not with_values):
        raise CommandError(SYNTAX)
    if not -COUNT_MAX < count < COUNT_MAX:
        raise CommandError("ERR value is out of range")
    held = call.find_hash(words[1]) or {}
    chosen = choose(call, list(held), count)
    if not with_values:
        return bulks(chosen)
    if call.protocol == 3:
        return array_of([bulks((field, held[field])) for field in chosen])
    return bulks([word for field in chosen for word in (field, held[field])])


RANDOM_MAX = 100_000
"""Of repeated random elements in one reply."""


def choose(call: Call, items: list[bytes], count: int) -> list[bytes]:
    """``count`` different ones; negative: so many, maybe the same again.

    Raises:
        CommandError: more repetitions than one answer may hold.
    """
    if not items or count == 0:
        return []
    if count < 0:
        if -count > RANDOM_MAX:
            raise CommandError("ERR value is out of range")
        return [items[call.pick(len(items))] for _ in range(-count)]
    if count >= len(items):
        return list(items)
    left = list(items)
    chosen = []
    for _ in range(count):
        at = call.pick(len(left))
        chosen.append(left[at])
        last = left.pop()
        if at < len(left):
            left[at] = last
    return chosen


def walk_dict(held: dict[bytes, Any], cursor: int, count: int) -> tuple[int, list[bytes]]:
    """As ``walk``. Small ones come at once; a walk over a large one takes at most 64 calls, as each looks at all of it."""
    names = list(held)
    return (0, names) if len(names) <= SCAN_WHOLE_MAX else walk(names, cursor, max(count, len(names) // 64))


def hscan(call: Call, words: list[bytes]) -> bytes:
    cursor = cursor_of(words[2])
    if call.find_hash(words[1]) is None:
        return NOTHING_SCANNED
    pattern, count, _ = scan_options(words, 3)
    held = call.find_hash(words[1]) or {}
    following, found = walk_dict(held, cursor, count)
    chosen = [field for field in found if pattern is None or glob_matches(pattern, field)]
    return array_of((bulk(b"%d" % following), bulks([word for field in chosen for word in (field, held[field])])))


HANDLERS: Handlers = {
    "hset": hset, "hmset": hset, "hsetnx": hsetnx, "hget": hget, "hmget": hmget, "hgetall": hgetall, "hdel": hdel,
    "hexists": hexists, "hlen": hlen, "hstrlen": hstrlen, "hkeys": hkeys, "hvals": hvals, "hincrby": hincrby,
    "hincrbyfloat": hincrbyfloat, "hrandfield": hrandfield, "hscan": hscan,
}  # fmt: skip
