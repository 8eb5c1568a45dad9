"""Lists: all commands of Redis 7.2's group, blocking ones included.

A list is a deque: both ends cost the same, the middle costs its distance from the nearer end.
Effects: blocking pops and LMPOP as LPOP and RPOP, BLMOVE and BRPOPLPUSH as LMOVE; the rest in the client's words.
Who waits is served in the order in which they began to wait, when the command (or transaction) that pushed is done.
Deviations: none known.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from protocols.resp.call import Block, Call
from protocols.resp.errors import (
    MUST_BE_POSITIVE,
    NO_KEY,
    OUT_OF_RANGE,
    SYNTAX,
    TIMEOUT_NEGATIVE,
    TIMEOUT_NOT_FLOAT,
    CommandError,
)
from protocols.resp.numbers import find_float, find_integer, integer_of
from protocols.resp.state import LIST
from protocols.resp.table import Handlers
from protocols.resp.wire import OK, ZERO, array_of, bulk, bulks, integer, null, null_array


def push(call: Call, words: list[bytes]) -> bytes:
    items = call.find_list(words[1])
    if items is None:
        if call.name in ("lpushx", "rpushx"):
            return ZERO
        items = call.make(words[1], LIST, deque())
    if call.name in ("lpush", "lpushx"):
        items.extendleft(words[2:])
    else:
        items.extend(words[2:])
    call.changed(words[1], len(words) - 2)
    call.event(call.name[:5].encode(), words[1])
    return integer(len(items))


def take(call: Call, key: bytes, items: deque[bytes], left: bool, count: int) -> list[bytes]:
    """Pop at most ``count``; an empty list is gone."""
    count = min(count, len(items))
    taken = [items.popleft() if left else items.pop() for _ in range(count)]
    if not items:
        call.drop(key)
    call.changed(key, count)
    call.removed(key, b"lpop" if left else b"rpop", not items)
    return taken


def pop(call: Call, words: list[bytes]) -> bytes:
    left = call.name == "lpop"
    if len(words) > 3:
        raise CommandError(f"ERR wrong number of arguments for '{call.name}' command")
    if len(words) == 2:
        items = call.find_list(words[1])
        return null(call.protocol) if items is None else bulk(take(call, words[1], items, left, 1)[0])
    count = integer_of(words[2], MUST_BE_POSITIVE)
    if count < 0:
        raise CommandError(MUST_BE_POSITIVE)
    items = call.find_list(words[1])
    if items is None:
        return null_array(call.protocol)
    if count == 0:
        return b"*0\r\n"
    return bulks(take(call, words[1], items, left, count))


def llen(call: Call, words: list[bytes]) -> bytes:
    return integer(len(call.find_list(words[1]) or ()))


def bounds(start: int, end: int, length: int) -> tuple[int, int]:
    """Redis' inclusive indices, negative from the end, as a half-open range; empty: (0, 0)."""
    start = max(start + length, 0) if start < 0 else start
    end = end + length if end < 0 else min(end, length - 1)
    return (start, end + 1) if start <= end and start < length else (0, 0)


def lrange(call: Call, words: list[bytes]) -> bytes:
    first, last = integer_of(words[2]), integer_of(words[3])
    items = call.find_list(words[1])
    if items is None:
        return b"*0\r\n"
    start, end = bounds(first, last, len(items))
    if start <= len(items) - end:  # a deque is walked from its nearer end
        return bulks(islice(items, start, end))
    return bulks(list(islice(reversed(items), len(items) - end, len(items) - start))[::-1])


def lindex(call: Call, words: list[bytes]) -> bytes:
    items = call.find_list(words[1])
    if items is None:
        return null(call.protocol)
    at = integer_of(words[2])
    if not -len(items) <= at < len(items):
        return null(call.protocol)
    return bulk(items[at])


def lset(call: Call, words: list[bytes]) -> bytes:
    items = call.find_list(words[1])
    if items is None:
        raise CommandError(NO_KEY)
    at = integer_of(words[2])
    if not -len(items) <= at < len(items):
        raise CommandError(OUT_OF_RANGE)
    items[at] = words[3]
    call.changed(words[1])
    call.event(b"lset", words[1])
    return OK


def linsert(call: Call, words: list[bytes]) -> bytes:
    where = words[2].upper()
    if where not in (b"BEFORE", b"AFTER"):
        raise CommandError(SYNTAX)
    items = call.find_list(words[1])
    if items is None:
        return ZERO
    try:
        at = items.index(words[3])
    except ValueError:
        return integer(-1)
    items.insert(at + (where == b"AFTER"), words[4])
    call.changed(words[1])
    call.event(b"linsert", words[1])
    return integer(len(items))


def lrem(call: Call, words: list[bytes]) -> bytes:
    count = integer_of(words[2])
    items = call.find_list(words[1])
    if items is None:
        return ZERO
    limit = abs(count) or len(items)
    kept: deque[bytes] = deque()
    removed = 0
    for item in reversed(items) if count < 0 else items:
        if removed < limit and item == words[3]:
            removed += 1
        elif count < 0:
            kept.appendleft(item)
        else:
            kept.append(item)
    if removed:
        items.clear()
        items.extend(kept)
        if not items:
            call.drop(words[1])
        call.changed(words[1], removed)
        call.removed(words[1], b"lrem", not items)
    return integer(removed)


def ltrim(call: Call, words: list[bytes]) -> bytes:
    first, last = integer_of(words[2]), integer_of(words[3])
    items = call.find_list(words[1])
    if items is None:
        return OK
    start, end = bounds(first, last, len(items))
    removed = len(items) - (end - start)
    for _ in range(len(items) - end):
        items.pop()
    for _ in range(min(start, len(items))):
        items.popleft()
    if not items:
        call.drop(words[1])
    call.changed(words[1], removed)
    call.removed(words[1], b"ltrim", not items)
    return OK


def lpos(call: Call, words: list[bytes]) -> bytes:
    rank, limit, count = 1, 0, -1
    at = 3
    while at < len(words):
        option = words[at].upper()
        if at + 1 >= len(words):
            raise CommandError(SYNTAX)
        if option == b"RANK":
            rank = integer_of(words[at + 1])
            if rank == 0:
                raise CommandError(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
                    "or use negative to start from the end of the list"
                )
            if rank == -(2**63):
                raise CommandError(
                    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"
                )
        elif option == b"COUNT":
            count = integer_of(words[at + 1], "ERR COUNT can't be negative")
            if count < 0:
                raise CommandError("ERR COUNT can't be negative")
        elif option == b"MAXLEN":
            limit = integer_of(words[at + 1], "ERR MAXLEN can't be negative")
            if limit < 0:
                raise CommandError("ERR MAXLEN can't be negative")
        else:
            raise CommandError(SYNTAX)
        at += 2
    items = call.find_list(words[1])
    found = []
    if items is not None:
        skip = abs(rank) - 1
        order = enumerate(items) if rank > 0 else ((len(items) - 1 - i, item) for i, item in enumerate(reversed(items)))
        for seen, (place, item) in enumerate(order):
            if limit and seen >= limit:
                break
            if item != words[2]:
                continue
            if skip:
                skip -= 1
                continue
            found.append(place)
            if count == -1 or (count and len(found) >= count):
                break
    if count >= 0:
        return array_of([integer(place) for place in found])
    return integer(found[0]) if found else null(call.protocol)


def side(word: bytes) -> bool:
    """Whether LEFT.

    Raises:
        CommandError: neither LEFT nor RIGHT.
    """
    which = word.upper()
    if which not in (b"LEFT", b"RIGHT"):
        raise CommandError(SYNTAX)
    return which == b"LEFT"


def move(call: Call, source: bytes, target: bytes, from_left: bool, to_left: bool) -> bytes | None:
    items = call.find_list(source)
    if items is None:
        return None
    held = call.find_list(target)
    item = items.popleft() if from_left else items.pop()
    if held is None:
        held = call.make(target, LIST, deque())
    if to_left:
        held.appendleft(item)
    else:
        held.append(item)
    if not items:
        call.drop(source)
    call.changed(source)
    call.changed(target)
    call.event(b"lpush" if to_left else b"rpush", target)
    call.removed(source, b"lpop" if from_left else b"rpop", not items)
    call.effect(b"LMOVE", source, target, b"LEFT" if from_left else b"RIGHT", b"LEFT" if to_left else b"RIGHT")
    return bulk(item)


def lmove(call: Call, words: list[bytes]) -> bytes:
    from_left, to_left = side(words[3]), side(words[4])
    moved = move(call, words[1], words[2], from_left, to_left)
    return null(call.protocol) if moved is None else moved


def rpoplpush(call: Call, words: list[bytes]) -> bytes:
    moved = move(call, words[1], words[2], False, True)
    return null(call.protocol) if moved is None else moved


def timeout_of(call: Call, word: bytes) -> int:
    """Seconds of a blocking command as the unix ms at which it ends; 0: never.

    Raises:
        CommandError: not a number, negative, or beyond the clock.
    """
    seconds = find_float(word)
    if seconds is None or abs(seconds) > 2.0**53:
        raise CommandError(TIMEOUT_NOT_FLOAT)
    if seconds < 0:
        raise CommandError(TIMEOUT_NEGATIVE)
    return 0 if seconds == 0 else call.now_ms + max(int(seconds * 1000), 1)


def bpop(call: Call, words: list[bytes]) -> bytes | Block:
    deadline_ms = timeout_of(call, words[-1])
    left = call.name == "blpop"
    for key in words[1:-1]:
        items = call.find_list(key)
        if items is not None:
            item = take(call, key, items, left, 1)[0]
            call.effect(b"LPOP" if left else b"RPOP", key)
            return bulks((key, item))
    return Block(words[1:-1], deadline_ms, null_array(call.protocol), words)


def blmove(call: Call, words: list[bytes]) -> bytes | Block:
    if call.name == "blmove":
        from_left, to_left = side(words[3]), side(words[4])
    else:
        from_left, to_left = False, True
    deadline_ms = timeout_of(call, words[-1])
    moved = move(call, words[1], words[2], from_left, to_left)
    return Block([words[1]], deadline_ms, null(call.protocol), words) if moved is None else moved


def key_count(word: bytes) -> int:
    count = find_integer(word)
    if count is None or count <= 0:
        raise CommandError("ERR numkeys should be greater than 0")
    return count


def lmpop(call: Call, words: list[bytes]) -> bytes | Block:
    blocking = call.name == "blmpop"
    deadline_ms = timeout_of(call, words[1]) if blocking else 0
    at = 2 if blocking else 1
    number = key_count(words[at])
    keys = words[at + 1 : at + 1 + number]
    rest = words[at + 1 + number :]
    if not rest or len(keys) < number:
        raise CommandError(SYNTAX)
    left = side(rest[0])
    count = 1
    if len(rest) > 1:
        if len(rest) == 2 or rest[1].upper() != b"COUNT":
            raise CommandError(SYNTAX)
        count = integer_of(rest[2], "ERR count should be greater than 0")
        if count <= 0:
            raise CommandError("ERR count should be greater than 0")
        if len(rest) > 3:
            raise CommandError(SYNTAX)
    for key in keys:
        items = call.find_list(key)
        if items is not None:
            taken = take(call, key, items, left, count)
            call.effect(b"LPOP" if left else b"RPOP", key, b"%d" % len(taken))
            return array_of((bulk(key), bulks(taken)))
    nothing = null_array(call.protocol)
    return Block(keys, deadline_ms, nothing, words) if blocking else nothing


HANDLERS: Handlers = {
    "lpush": push, "lpushx": push, "rpush": push, "rpushx": push, "lpop": pop, "rpop": pop, "llen": llen,
    "lrange": lrange, "lindex": lindex, "lset": lset, "linsert": linsert, "lrem": lrem, "ltrim": ltrim, "lpos": lpos,
    "lmove": lmove, "rpoplpush": rpoplpush, "lmpop": lmpop, "blpop": bpop, "brpop": bpop, "blmove": blmove,
    "brpoplpush": blmove, "blmpop": lmpop,
}  # fmt: skip
