"""Sets: all seventeen commands.

Effects: SPOP as SREM of the members chosen; the rest in the client's words.
Deviations: members are given in the order of their history, not sorted as Redis' small sets of integers are.
"""

from __future__ import annotations

from protocols.resp.call import Call
from protocols.resp.errors import MUST_BE_POSITIVE, SYNTAX, CommandError
from protocols.resp.hashes import COUNT_MAX, SCAN_WHOLE_MAX, choose
from protocols.resp.keys import NOTHING_SCANNED, cursor_of, scan_options, walk
from protocols.resp.lists import key_count
from protocols.resp.numbers import integer_of
from protocols.resp.state import SET, Members
from protocols.resp.table import Handlers
from protocols.resp.wire import ONE, ZERO, array_of, bulk, bulks, integer, null, set_of
from substrate.interest import glob_matches


def sadd(call: Call, words: list[bytes]) -> bytes:
    held = call.find_set(words[1])
    if held is None:
        held = call.make(words[1], SET, Members())
    added = sum([held.add(member) for member in words[2:]])
    if added:
        call.changed(words[1], added)
        call.event(b"sadd", words[1])
    return integer(added)


def srem(call: Call, words: list[bytes]) -> bytes:
    held = call.find_set(words[1])
    if held is None:
        return ZERO
    removed = sum([held.discard(member) for member in words[2:]])
    if removed:
        if not len(held):
            call.drop(words[1])
        call.changed(words[1], removed)
        call.removed(words[1], b"srem", not len(held))
    return integer(removed)


def sismember(call: Call, words: list[bytes]) -> bytes:
    return integer(words[2] in (call.find_set(words[1]) or ()))


def smismember(call: Call, words: list[bytes]) -> bytes:
    held = call.find_set(words[1]) or ()
    return array_of([integer(member in held) for member in words[2:]])


def scard(call: Call, words: list[bytes]) -> bytes:
    return integer(len(call.find_set(words[1]) or ()))


def smembers(call: Call, words: list[bytes]) -> bytes:
    return set_of(call.find_set(words[1]) or (), call.protocol)


def smove(call: Call, words: list[bytes]) -> bytes:
    source = call.find_set(words[1])
    if source is None:
        return ZERO
    target = call.find_set(words[2])
    if words[3] not in source:
        return ZERO
    if words[1] == words[2]:
        return ONE
    source.discard(words[3])
    if not len(source):
        call.drop(words[1])
    if target is None:
        target = call.make(words[2], SET, Members())
    added = target.add(words[3])
    call.changed(words[1])
    call.changed(words[2])
    call.removed(words[1], b"srem", not len(source))
    if added:
        call.event(b"sadd", words[2])
    return ONE


def spop(call: Call, words: list[bytes]) -> bytes:
    if len(words) > 3:
        raise CommandError(SYNTAX)
    if len(words) == 2:
        held = call.find_set(words[1])
        if held is None:
            return null(call.protocol)
        member = held.items[call.pick(len(held))]
        remove_chosen(call, words[1], held, [member])
        return bulk(member)
    count = integer_of(words[2], MUST_BE_POSITIVE)
    if count < 0:
        raise CommandError(MUST_BE_POSITIVE)
    held = call.find_set(words[1])
    if held is None or count == 0:
        return set_of((), call.protocol)
    chosen = choose(call, held.items, count)
    remove_chosen(call, words[1], held, chosen)
    return set_of(chosen, call.protocol)


def remove_chosen(call: Call, key: bytes, held: Members, chosen: list[bytes]) -> None:
    whole = len(chosen) == len(held)
    if whole:
        call.drop(key)
        call.effect(b"DEL", key)
    else:
        for member in chosen:
            held.discard(member)
        call.effect(b"SREM", key, *chosen)
    call.changed(key, len(chosen))
    call.removed(key, b"spop", whole)


def srandmember(call: Call, words: list[bytes]) -> bytes:
    if len(words) > 3:
        raise CommandError(SYNTAX)
    if len(words) == 2:
        held = call.find_set(words[1])
        return null(call.protocol) if held is None else bulk(held.items[call.pick(len(held))])
    count = integer_of(words[2])
    if not -COUNT_MAX < count < COUNT_MAX:
        raise CommandError("ERR value is out of range")
    held = call.find_set(words[1])
    return bulks(choose(call, held.items, count) if held is not None else [])


def combine(call: Call, keys: list[bytes], how: str, limit: int = 0) -> list[bytes]:
    """The union, intersection or difference, in an order that only history decides.

    Raises:
        CommandError: one of them is not a set.
    """
    sets = [call.find_set(key) for key in keys]
    if how == "union":
        return list(dict.fromkeys([member for held in sets if held is not None for member in held.items]))
    if how == "diff":
        if sets[0] is None:
            return []
        others = [held.places for held in sets[1:] if held is not None]
        return [member for member in sets[0].items if not any(member in places for places in others)]
    if any(held is None for held in sets):
        return []
    found: list[bytes] = []
    ordered = sorted((held for held in sets if held is not None), key=len)
    rest = [held.places for held in ordered[1:]]
    for member in ordered[0].items:
        if all(member in places for places in rest):
            found.append(member)
            if limit and len(found) >= limit:
                break
    return found


def algebra(call: Call, words: list[bytes]) -> bytes:
    return set_of(combine(call, words[1:], call.name[1:]), call.protocol)


def algebra_store(call: Call, words: list[bytes]) -> bytes:
    members = combine(call, words[2:], call.name[1:].removesuffix("store"))
    there = call.find(words[1]) is not None
    if members:
        call.drop(words[1])
        call.make(words[1], SET, Members(members))
        call.changed(words[1])
        call.event(call.name.encode(), words[1])
    elif there:
        call.drop(words[1])
        call.changed(words[1])
        call.event(b"del", words[1])
    return integer(len(members))


def sintercard(call: Call, words: list[bytes]) -> bytes:
    number = key_count(words[1])
    if number > len(words) - 2:
        raise CommandError("ERR Number of keys can't be greater than number of args")
    keys, rest = words[2 : 2 + number], words[2 + number :]
    return integer(len(combine(call, keys, "inter", limit_of(rest))))


def limit_of(rest: list[bytes]) -> int:
    """The number of an optional ``LIMIT n``.

    Raises:
        CommandError: negative, or other words.
    """
    if not rest:
        return 0
    if len(rest) != 2 or rest[0].upper() != b"LIMIT":
        raise CommandError(SYNTAX)
    limit = integer_of(rest[1], "ERR LIMIT can't be negative")
    if limit < 0:
        raise CommandError("ERR LIMIT can't be negative")
    return limit


def sscan(call: Call, words: list[bytes]) -> bytes:
    cursor = cursor_of(words[2])
    if call.find_set(words[1]) is None:
        return NOTHING_SCANNED
    pattern, count, _ = scan_options(words, 3)
    held = call.find_set(words[1])
    items = held.items if held is not None else []
    following, found = (0, items) if len(items) <= SCAN_WHOLE_MAX else walk(items, cursor, count)
    return array_of(
        (bulk(b"%d" % following), bulks([item for item in found if pattern is None or glob_matches(pattern, item)]))
    )


HANDLERS: Handlers = {
    "sadd": sadd, "srem": srem, "sismember": sismember, "smismember": smismember, "scard": scard,
    "smembers": smembers, "smove": smove, "spop": spop, "srandmember": srandmember, "sunion": algebra,
    "sinter": algebra, "sdiff": algebra, "sintercard": sintercard, "sunionstore": algebra_store,
    "sinterstore": algebra_store, "sdiffstore": algebra_store, "sscan": sscan,
}  # fmt: skip
