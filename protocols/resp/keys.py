"""Keys of any kind: DEL EXISTS TYPE RENAME COPY SCAN, expiry, databases.

Speaks Redis 7.2's generic group but SORT, DUMP, RESTORE, MIGRATE, OBJECT FREQ, IDLETIME and REFCOUNT.
Effects: every expiry as PEXPIREAT of the absolute time, one of the past as DEL; the rest in the client's words.
Deviations: a SCAN cursor is a place in the order of the database, not a hash bucket (the promise is the same: what is there
from the first call to the last is given at least once); COUNT is exact; MATCH by hash slot is not optimised.
FLUSHALL, FLUSHDB, UNLINK take ASYNC and SYNC and do the same for both.
"""

from __future__ import annotations

import copy as copying
from collections import deque
from typing import Any

from protocols.resp.call import Call
from protocols.resp.errors import (
    DB_RANGE,
    INVALID_CURSOR,
    NO_KEY,
    SAME_OBJECT,
    SYNTAX,
    CommandError,
    invalid_expire,
)
from protocols.resp.numbers import INTEGER_MAX, INTEGER_MIN, find_integer, integer_of
from protocols.resp.state import HASH, LIST, NUMBER, SET, SHARED, STREAM, STRING, ZSET, Entry, Members
from protocols.resp.table import Handlers
from protocols.resp.wire import OK, ONE, ZERO, array_of, bulk, bulks, integer, null, simple
from substrate.interest import glob_matches

TYPES = {
    STRING: b"string",
    NUMBER: b"string",
    LIST: b"list",
    SET: b"set",
    HASH: b"hash",
    ZSET: b"zset",
    STREAM: b"stream",
    SHARED: b"stream",
}


def delete(call: Call, words: list[bytes]) -> bytes:
    count = 0
    for key in words[1:]:
        if call.find(key) is not None:
            call.drop(key)
            call.changed(key)
            call.event(b"del", key)
            count += 1
    return integer(count)


def exists(call: Call, words: list[bytes]) -> bytes:
    return integer(sum(call.find(key) is not None for key in words[1:]))


def type_(call: Call, words: list[bytes]) -> bytes:
    entry = call.find(words[1])
    return simple(b"none" if entry is None else TYPES[entry.kind])


def keys(call: Call, words: list[bytes]) -> bytes:
    pattern = words[1]
    live = [entry.key for entry in call.db.order if not entry.expire_ms or entry.expire_ms > call.now_ms]
    return bulks(live if pattern == b"*" else [key for key in live if glob_matches(pattern, key)])


def scan_options(words: list[bytes], at: int, types: bool = False) -> tuple[bytes | None, int, bytes | None]:
    """MATCH, COUNT and TYPE of a SCAN.

    Raises:
        CommandError: as Redis says for each.
    """
    pattern: bytes | None = None
    kind: bytes | None = None
    count = 10
    while at < len(words):
        option = words[at].upper()
        if at + 1 >= len(words):
            raise CommandError(SYNTAX)
        if option == b"COUNT":
            count = integer_of(words[at + 1])
            if count < 1:
                raise CommandError(SYNTAX)
        elif option == b"MATCH":
            pattern = None if words[at + 1] == b"*" else words[at + 1]
        elif option == b"TYPE" and types:
            kind = words[at + 1].lower()
        else:
            raise CommandError(SYNTAX)
        at += 2
    return pattern, count, kind


NOTHING_SCANNED = b"*2\r\n$1\r\n0\r\n*0\r\n"


def cursor_of(word: bytes) -> int:
    value = find_integer(word)
    if value is None or value < 0:
        if not word.isdigit() or int(word) >= 2**64:
            raise CommandError(INVALID_CURSOR)
        value = int(word)
    return value


def walk(order: list[Any], cursor: int, count: int) -> tuple[int, list[Any]]:
    """At most ``count`` of what stands below the cursor, downwards (0: from the end); and the next cursor."""
    upper = min(cursor, len(order)) if cursor else len(order)
    lower = max(upper - count, 0)
    return lower, order[lower:upper][::-1]


def scan(call: Call, words: list[bytes]) -> bytes:
    cursor = cursor_of(words[1])
    pattern, count, kind = scan_options(words, 2, types=True)
    following, found = walk(call.db.order, cursor, count)
    names = [
        entry.key
        for entry in found
        if (not entry.expire_ms or entry.expire_ms > call.now_ms)
        and (kind is None or TYPES[entry.kind] == kind)
        and (pattern is None or glob_matches(pattern, entry.key))
    ]
    return array_of((bulk(b"%d" % following), bulks(names)))


def ttl(call: Call, words: list[bytes]) -> bytes:
    entry = call.find(words[1])
    if entry is None:
        return integer(-2)
    if not entry.expire_ms:
        return integer(-1)
    if call.name == "expiretime":
        return integer((entry.expire_ms + 500) // 1000)
    if call.name == "pexpiretime":
        return integer(entry.expire_ms)
    left = max(entry.expire_ms - call.now_ms, 0)
    return integer((left + 500) // 1000 if call.name == "ttl" else left)


def expire(call: Call, words: list[bytes]) -> bytes:
    flags = {word.upper() for word in words[3:]}
    for word in words[3:]:
        if word.upper() not in (b"NX", b"XX", b"GT", b"LT"):
            raise CommandError(f"ERR Unsupported option {word.decode('utf-8', 'surrogateescape')}")
    if b"NX" in flags and len(flags) > 1:
        raise CommandError("ERR NX and XX, GT or LT options at the same time are not compatible")
    if b"GT" in flags and b"LT" in flags:
        raise CommandError("ERR GT and LT options at the same time are not compatible")
    amount = integer_of(words[2])
    if call.name in ("expire", "expireat"):
        if not INTEGER_MIN // 1000 < amount < INTEGER_MAX // 1000:
            raise CommandError(invalid_expire(call.name))
        amount *= 1000
    if call.name in ("expire", "pexpire"):
        amount += call.now_ms
        if amount > INTEGER_MAX:
            raise CommandError(invalid_expire(call.name))
    entry = call.find(words[1])
    if entry is None:
        return ZERO
    old = entry.expire_ms or None
    if (
        (b"NX" in flags and old is not None)
        or (b"XX" in flags and old is None)
        or (b"GT" in flags and (old is None or amount <= old))
        or (b"LT" in flags and old is not None and amount >= old)
    ):
        return ZERO
    if amount <= call.now_ms and not call.replaying:
        call.drop(words[1])
        call.effect(b"DEL", words[1])
        call.event(b"del", words[1])
    else:
        call.db.set_expire(entry, amount)
        call.effect(b"PEXPIREAT", words[1], b"%d" % amount)
        call.event(b"expire", words[1])
    call.changed(words[1])
    return ONE


def persist(call: Call, words: list[bytes]) -> bytes:
    entry = call.find(words[1])
    if entry is None or not entry.expire_ms:
        return ZERO
    call.db.set_expire(entry, 0)
    call.changed(words[1])
    call.event(b"persist", words[1])
    return ONE


def move_entry(call: Call, entry: Entry, key: bytes, source: Any, target: Any) -> None:
    """The value and its expiry stand under another key; what stood there is gone."""
    target.remove(key)
    moved = target.put(key, entry.kind, entry.value)
    moved.number = entry.number
    until = entry.expire_ms
    source.remove(entry.key)
    target.set_expire(moved, until)
    call.elsewhere = True


def rename(call: Call, words: list[bytes]) -> bytes:
    entry = call.find(words[1])
    if entry is None:
        raise CommandError(NO_KEY)
    only_new = call.name == "renamenx"
    if words[1] == words[2]:
        return ZERO if only_new else OK
    if only_new and call.find(words[2]) is not None:
        return ZERO
    call.find(words[2])
    move_entry(call, entry, words[2], call.db, call.db)
    call.changed(words[1])
    call.changed(words[2])
    call.event(b"rename_from", words[1])
    call.event(b"rename_to", words[2])
    return ONE if only_new else OK


def randomkey(call: Call, words: list[bytes]) -> bytes:
    order = call.db.order
    for _ in range(100):
        if not order:
            break
        entry = order[call.pick(len(order))]
        if not entry.expire_ms or entry.expire_ms > call.now_ms:
            return bulk(entry.key)
    live = [entry.key for entry in order if not entry.expire_ms or entry.expire_ms > call.now_ms]
    return bulk(live[call.pick(len(live))]) if live else null(call.protocol)


def copy_value(entry: Entry) -> Any:
    if entry.kind == SET:
        return Members(entry.value)
    if entry.kind == LIST:
        return deque(entry.value)
    if entry.kind == HASH:
        return dict(entry.value)
    if entry.kind in (ZSET, STREAM):
        return entry.value.copied()
    return copying.copy(entry.value)


def copy(call: Call, words: list[bytes]) -> bytes:
    target = call.db
    replace = False
    at = 3
    while at < len(words):
        option = words[at].upper()
        if option == b"REPLACE":
            replace = True
        elif option == b"DB" and at + 1 < len(words):
            at += 1
            target = call.database(integer_of(words[at]))
        else:
            raise CommandError(SYNTAX)
        at += 1
    if target is call.db and words[1] == words[2]:
        raise CommandError(SAME_OBJECT)
    entry = call.find(words[1])
    if entry is None:
        return ZERO
    if entry.kind == SHARED:
        raise CommandError("ERR this stream is a topic: COPY is not supported")
    if call.find_in(target, words[2]) is not None and not replace:
        return ZERO
    target.remove(words[2])
    made = target.put(words[2], entry.kind, copy_value(entry))
    made.number = entry.number
    target.set_expire(made, entry.expire_ms)
    call.elsewhere = True
    call.changed(words[2], db=target)
    call.event(b"copy_to", words[2], target)
    return ONE


def move(call: Call, words: list[bytes]) -> bytes:
    number = find_integer(words[2])
    if number is None:
        raise CommandError("ERR value is not an integer or out of range")
    target = call.database(number)
    if target is call.db:
        raise CommandError(SAME_OBJECT)
    entry = call.find(words[1])
    if entry is None or call.find_in(target, words[1]) is not None:
        return ZERO
    if entry.kind == SHARED:
        raise CommandError("ERR this stream is a topic: MOVE is not supported")
    move_entry(call, entry, words[1], call.db, target)
    call.changed(words[1])
    call.changed(words[1], db=target)
    call.event(b"move_from", words[1])
    call.event(b"move_to", words[1], target)
    return ONE


def dbsize(call: Call, words: list[bytes]) -> bytes:
    return integer(len(call.db.order))


def flush(call: Call, words: list[bytes]) -> bytes:
    if len(words) > 2 or (len(words) == 2 and words[1].upper() not in (b"ASYNC", b"SYNC")):
        raise CommandError(SYNTAX)
    for db in [call.db] if call.name == "flushdb" else call.databases:
        db.clear()
    call.dirty += 1
    return OK


def swapdb(call: Call, words: list[bytes]) -> bytes:
    numbers = []
    for word, which in ((words[1], "first"), (words[2], "second")):
        number = find_integer(word)
        if number is None:
            raise CommandError(f"ERR invalid {which} DB index")
        numbers.append(number)
    if any(not 0 <= number < len(call.databases) for number in numbers):
        raise CommandError(DB_RANGE)
    first, second = (call.databases[number] for number in numbers)
    if first is not second:
        first.swap(second)
        call.elsewhere = True
        for db in (first, second):
            for key in list(db.blocked):
                call.keyspace.ready(db, key)
    call.dirty += 1
    return OK


LISTPACK_ENTRIES_MAX = 128
LISTPACK_BYTES_MAX = 64
INTSET_ENTRIES_MAX = 512
LIST_BYTES_MAX = 8192


def encoding_of(entry: Entry) -> bytes:
    """What Redis 7.2 would call its representation; ours is another one."""
    value = entry.value
    if entry.kind == NUMBER:
        return b"int"
    if entry.kind == STRING:
        text = entry.text()
        if find_integer(text) is not None:
            return b"int"
        return b"embstr" if len(text) <= 44 else b"raw"
    if entry.kind == LIST:
        return b"listpack" if sum(map(len, value)) + 11 * len(value) <= LIST_BYTES_MAX else b"quicklist"
    if entry.kind == HASH:
        small = len(value) <= LISTPACK_ENTRIES_MAX
        return (
            b"listpack"
            if small and all(max(len(f), len(v)) <= LISTPACK_BYTES_MAX for f, v in value.items())
            else b"hashtable"
        )
    if entry.kind == SET:
        if len(value) <= INTSET_ENTRIES_MAX and all(find_integer(member) is not None for member in value):
            return b"intset"
        small = len(value) <= LISTPACK_ENTRIES_MAX
        return b"listpack" if small and all(len(member) <= LISTPACK_BYTES_MAX for member in value) else b"hashtable"
    if entry.kind == ZSET:
        small = len(value.scores) <= LISTPACK_ENTRIES_MAX
        return (
            b"listpack" if small and all(len(member) <= LISTPACK_BYTES_MAX for member in value.scores) else b"skiplist"
        )
    return b"stream"


def size_of(entry: Entry) -> int:
    """An estimate: objects and their bytes."""
    value = entry.value
    size = 160 + len(entry.key)
    if entry.kind in (LIST, SET):
        return size + 64 + sum([len(item) + 64 for item in value])
    if entry.kind == HASH:
        return size + 64 + sum([len(field) + len(item) + 150 for field, item in value.items()])
    if entry.kind == ZSET:
        return size + 64 + sum([len(member) + 260 for member in value.scores])
    if isinstance(value, bytes):
        return size + 33 + len(value)
    if hasattr(value, "fields"):
        return size + sum([150 + len(fields) for fields in value.fields])
    return size


def object_other(call: Call, words: list[bytes]) -> bytes:
    """REFCOUNT, IDLETIME and FREQ: of what is not kept."""
    entry = call.find(words[2])
    if entry is None:
        return null(call.protocol)
    if call.name == "object|freq":
        raise CommandError(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching "
            "between policies at runtime LRU and LFU data will take some time to adjust."
        )
    return integer(1 if call.name == "object|refcount" else 0)


def object_encoding(call: Call, words: list[bytes]) -> bytes:
    entry = call.find(words[2])
    return null(call.protocol) if entry is None else bulk(encoding_of(entry))


HANDLERS: Handlers = {
    "del": delete, "unlink": delete, "exists": exists, "touch": exists, "type": type_, "keys": keys, "scan": scan,
    "ttl": ttl, "pttl": ttl, "expiretime": ttl, "pexpiretime": ttl, "expire": expire, "pexpire": expire,
    "expireat": expire, "pexpireat": expire, "persist": persist, "rename": rename, "renamenx": rename,
    "randomkey": randomkey, "copy": copy, "move": move, "dbsize": dbsize, "flushdb": flush, "flushall": flush,
    "swapdb": swapdb, "object|encoding": object_encoding, "object|refcount": object_other,
    "object|idletime": object_other, "object|freq": object_other,
}  # fmt: skip
