"""Streams: XADD XLEN XRANGE XREVRANGE XREAD XDEL XTRIM XSETID. Consumer groups are in ``groups.py``.

A key of database 0 that names a topic is that topic: see ``topics.py``.
Effects: XADD with its explicit id and exact trimming.
Deviations: ``~`` trims exactly.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from protocols.resp.call import Block, Call, Later
from protocols.resp.errors import SYNTAX, WRONG_TYPE, CommandError, wrong_arity
from protocols.resp.ids import HIGHEST, LOWEST, Id, id_of, id_text, number_of, range_id
from protocols.resp.numbers import find_integer, integer_of
from protocols.resp.state import SHARED, STREAM, Log
from protocols.resp.table import Handlers
from protocols.resp.topics import Shared, shared_of
from protocols.resp.wire import EMPTY, OK, array_of, bulk, bulks, integer, null, null_array

TOO_SMALL = "ERR The ID specified in XADD is equal or smaller than the target stream top item"
EXHAUSTED = "ERR The stream has exhausted the last possible ID, unable to add more items."


def find_log(call: Call, key: bytes) -> Log | None:
    log: Log | None = call.find_kind(key, STREAM)
    return log


def find_either(call: Call, key: bytes) -> Log | Shared | None:
    """The key's stream: its own, or the topic that it is bound to or names."""
    entry = call.find(key)
    if entry is None:
        return shared_of(call, key)
    if entry.kind not in (STREAM, SHARED):
        raise CommandError(WRONG_TYPE)
    found: Log | Shared = entry.value
    return found


def entry_reply(id: Id, fields: bytes) -> bytes:
    return b"*2\r\n" + bulk(id_text(id)) + fields


def entries_reply(entries: list[tuple[Id, bytes]]) -> bytes:
    return array_of([entry_reply(id, fields) for id, fields in entries])


class Trim:
    """MAXLEN or MINID of XADD and XTRIM."""

    __slots__ = ("limit", "minimum", "size")

    def __init__(self) -> None:
        self.size: int | None = None
        self.minimum: Id | None = None
        self.limit = 0

    def read(self, words: list[bytes], at: int) -> int:
        """Read ``MAXLEN [=|~] n [LIMIT m]`` or ``MINID ...`` at this index; the index behind it.

        Raises:
            CommandError: as Redis for each word it cannot read.
        """
        by_length = words[at].upper() == b"MAXLEN"
        if self.size is not None or self.minimum is not None:
            raise CommandError("ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
        at += 1
        about = at + 1 < len(words) and words[at] == b"~"
        if at + 1 < len(words) and words[at] in (b"~", b"="):
            at += 1
        if at >= len(words):
            raise CommandError(SYNTAX)
        if by_length:
            size = integer_of(words[at])
            if size < 0:
                raise CommandError("ERR The MAXLEN argument must be >= 0.")
            self.size = size
        else:
            self.minimum = id_of(words[at])
        at += 1
        if at + 1 < len(words) and words[at].upper() == b"LIMIT":
            if not about:
                raise CommandError("ERR syntax error, LIMIT cannot be used without the special ~ option")
            limit = integer_of(words[at + 1])
            if limit < 0:
                raise CommandError("ERR The LIMIT argument must be >= 0.")
            self.limit = limit
            at += 2
        return at

    def count(self, log: Log) -> int:
        """How many of the oldest it removes."""
        if self.size is not None:
            count = max(len(log) - self.size, 0)
        elif self.minimum is not None:
            count = bisect_left(log.ids, self.minimum, log.head) - log.head
        else:
            count = 0
        return min(count, self.limit) if self.limit else count


def next_id(call: Call, log: Log, word: bytes) -> Id:
    """The id that XADD gives.

    Raises:
        CommandError: not an id, or not above the last one.
    """
    if word == b"*":
        if log.last[0] < call.now_ms:
            return call.now_ms, 0
        if log.last == HIGHEST:
            raise CommandError(EXHAUSTED)
        return (log.last[0], log.last[1] + 1) if log.last[1] < HIGHEST[1] else (log.last[0] + 1, 0)
    if word.endswith(b"-*"):
        left = number_of(word[:-2])
        if left < log.last[0]:
            raise CommandError(TOO_SMALL)
        if left > log.last[0]:
            return left, 0
        if log.last[1] == HIGHEST[1]:
            raise CommandError(TOO_SMALL)
        return left, log.last[1] + 1
    id = id_of(word)
    if id == LOWEST:
        raise CommandError("ERR The ID specified in XADD must be greater than 0-0")
    if id <= log.last:
        raise CommandError(TOO_SMALL)
    return id


def xadd(call: Call, words: list[bytes]) -> bytes | Later:
    trim = Trim()
    make = True
    at = 2
    while at < len(words):
        option = words[at].upper()
        if option == b"NOMKSTREAM":
            make = False
            at += 1
        elif option in (b"MAXLEN", b"MINID"):
            at = trim.read(words, at)
        else:
            break
    if len(words) - at < 3 or (len(words) - at) % 2 == 0:
        raise CommandError(wrong_arity("xadd"))
    word, fields = words[at], words[at + 1 :]
    if word != b"*" and not word.endswith(b"-*") and id_of(word) == LOWEST:
        raise CommandError("ERR The ID specified in XADD must be greater than 0-0")
    entry = call.find(words[1])
    if entry is None and not make:
        return null(call.protocol)
    shared = (
        entry.value
        if entry is not None and entry.kind == SHARED
        else shared_of(call, words[1])
        if entry is None
        else None
    )
    if shared is not None:
        if word != b"*":
            raise CommandError("ERR this stream is a topic, which gives the ids: only * is allowed")
        if trim.size is not None or trim.minimum is not None:
            raise CommandError("ERR this stream is a topic: its own retention trims it")
        shared.bind(call, words[1], entry)
        return shared.append(call, fields)
    log = find_log(call, words[1])
    id = next_id(call, log if log is not None else Log(), word)
    if log is None:
        log = call.make(words[1], STREAM, Log())
    log.append(id, bulks(fields))
    call.changed(words[1])
    if call.replaying:
        trimmed = trim.count(log)
    else:
        trimmed = trim.count(log)
        kept = (b"MAXLEN", b"=", b"%d" % (len(log) - trimmed)) if trimmed else ()
        call.effect(b"XADD", words[1], *kept, id_text(id), *fields)
    call.event(b"xadd", words[1])
    if trimmed:
        log.behead(trimmed)
        call.event(b"xtrim", words[1])
    return bulk(id_text(id))


def xlen(call: Call, words: list[bytes]) -> bytes | Later:
    found = find_either(call, words[1])
    if isinstance(found, Shared):
        return found.length(call)
    return integer(len(found) if found is not None else 0)


def xrange(call: Call, words: list[bytes]) -> bytes | Later:
    reverse = call.name == "xrevrange"
    first, last = (words[3], words[2]) if reverse else (words[2], words[3])
    if reverse:
        end, start = range_id(last, False), range_id(first, True)
    else:
        start, end = range_id(first, True), range_id(last, False)
    count = -1
    if len(words) > 4:
        for at in range(4, len(words), 2):
            if words[at].upper() != b"COUNT" or at + 1 == len(words):
                raise CommandError(SYNTAX)
            count = max(integer_of(words[at + 1]), 0)
    found = find_either(call, words[1])
    if found is None:
        return EMPTY
    if count == 0:
        return null_array(call.protocol)
    if start is None or end is None or start > end:
        return EMPTY
    if isinstance(found, Shared):
        return found.range(call, start, end, count, reverse, entries_reply)
    low, high = found.span(start, end)
    places = range(low, high) if count < 0 else range(low, min(high, low + count))
    if reverse:
        places = range(high - 1, low - 1 if count < 0 else max(low - 1, high - 1 - count), -1)
    return entries_reply([(found.ids[at], found.fields[at]) for at in places])


class Gather:
    """The parts of an XREAD: some are there, some still to come; streams without news are left out."""

    def __init__(self, call: Call, keys: list[bytes], parts: list[bytes | Later]) -> None:
        self.protocol = call.protocol
        self.keys = keys
        self.parts = parts
        self.later = Later()
        for part in parts:
            if isinstance(part, Later):
                part.whole = self

    def result(self) -> bytes | None:
        """The reply once all parts are there, None before; ``b""``: no news."""
        replies = [part.reply if isinstance(part, Later) else part for part in self.parts]
        if any(reply is None for reply in replies):
            return None
        news = [(key, reply) for key, reply in zip(self.keys, replies, strict=True) if reply and reply != EMPTY]
        if not news:
            return b""
        for _, reply in news:
            if reply.startswith(b"-"):
                return reply
        if self.protocol == 3:
            return b"%%%d\r\n" % len(news) + b"".join([bulk(key) + reply for key, reply in news])
        return array_of([b"*2\r\n" + bulk(key) + reply for key, reply in news])

    def filled(self) -> None:
        reply = self.result()
        if reply is not None:
            self.later.fill(reply or null_array(self.protocol))


def xread(call: Call, words: list[bytes]) -> bytes | Later | Block:
    count, deadline_ms, blocks = -1, 0, False
    at = 1
    while at < len(words):
        option = words[at].upper()
        if option == b"STREAMS":
            break
        if option == b"GROUP" and at + 2 < len(words):
            raise CommandError("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.")
        if option == b"NOACK":
            raise CommandError("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.")
        if at + 1 >= len(words):
            raise CommandError(SYNTAX)
        if option == b"COUNT":
            count = max(integer_of(words[at + 1]), 0) or -1
        elif option == b"BLOCK":
            wait = find_integer(words[at + 1])
            if wait is None:
                raise CommandError("ERR timeout is not an integer or out of range")
            if wait < 0:
                raise CommandError("ERR timeout is negative")
            blocks = True
            deadline_ms = call.now_ms + wait if wait else 0
        else:
            raise CommandError(SYNTAX)
        at += 2
    rest = words[at + 1 :]
    if at >= len(words):
        raise CommandError(SYNTAX)
    if not rest or len(rest) % 2:
        raise CommandError("ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.")
    keys, ids = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    after: list[Id] = []
    for key, word in zip(keys, ids, strict=True):
        found = find_either(call, key)
        if word == b"$":
            after.append(LOWEST if found is None else found.last_id(call) if isinstance(found, Shared) else found.last)
        elif word == b">":
            raise CommandError(
                "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
            )
        else:
            after.append(id_of(word))
    parts: list[bytes | Later] = []
    watched: list[Any] = []
    for key, id in zip(keys, after, strict=True):
        found = find_either(call, key)
        if isinstance(found, Shared):
            watched.append((found.stream, key))
            parts.append(found.range(call, (id[0] + 1, 0), HIGHEST, count, False, entries_reply))
        elif found is None or found.last <= id:
            parts.append(EMPTY)
        else:
            low, high = found.span((id[0], id[1] + 1), HIGHEST)
            high = high if count < 0 else min(high, low + count)
            parts.append(entries_reply([(found.ids[place], found.fields[place]) for place in range(low, high)]))
    gather = Gather(call, keys, parts)
    reply = gather.result()
    if reply is None:
        return gather.later
    if reply:
        return reply
    if not blocks:
        return null_array(call.protocol)
    resolved = words[: at + 1] + keys + [id_text(id) for id in after]
    block = Block(keys, deadline_ms, null_array(call.protocol), resolved)
    block.streams = watched
    return block


def xdel(call: Call, words: list[bytes]) -> bytes:
    entry = call.find(words[1])
    if entry is not None and entry.kind == SHARED:
        raise CommandError("ERR this stream is a topic: XDEL is not supported")
    log = find_log(call, words[1])
    if log is None:
        return integer(0)
    ids = [id_of(word) for word in words[2:]]
    count = sum([log.delete(id) for id in ids])
    if count:
        call.changed(words[1], count)
        call.event(b"xdel", words[1])
    return integer(count)


def xtrim(call: Call, words: list[bytes]) -> bytes:
    if words[2].upper() not in (b"MAXLEN", b"MINID"):
        raise CommandError(SYNTAX)
    trim = Trim()
    if trim.read(words, 2) != len(words):
        raise CommandError(SYNTAX)
    entry = call.find(words[1])
    if entry is not None and entry.kind == SHARED:
        raise CommandError("ERR this stream is a topic: its own retention trims it")
    log = find_log(call, words[1])
    count = trim.count(log) if log is not None else 0
    if log is not None and count:
        call.effect(b"XTRIM", words[1], b"MAXLEN", b"=", b"%d" % (len(log) - count))
        log.behead(count)
        call.changed(words[1], count)
        call.event(b"xtrim", words[1])
    return integer(count)


def xsetid(call: Call, words: list[bytes]) -> bytes:
    added: int | None = None
    deleted: Id | None = None
    id = id_of(words[2])
    at = 3
    while at < len(words):
        option = words[at].upper()
        if option == b"ENTRIESADDED" and at + 1 < len(words):
            added = integer_of(words[at + 1])
            if added < 0:
                raise CommandError("ERR entries_added must be positive")
        elif option == b"MAXDELETEDID" and at + 1 < len(words):
            deleted = id_of(words[at + 1])
            if id < deleted:
                raise CommandError("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
        else:
            raise CommandError(SYNTAX)
        at += 2
    entry = call.find(words[1])
    if entry is not None and entry.kind == SHARED:
        raise CommandError("ERR this stream is a topic, which gives the ids: XSETID is not supported")
    log = find_log(call, words[1])
    if log is None:
        raise CommandError("ERR no such key")
    if len(log) and id < log.ids[len(log.ids) - 1]:
        raise CommandError("ERR The ID specified in XSETID is smaller than the target stream top item")
    if added is not None and added < len(log):
        raise CommandError("ERR The entries_added specified in XSETID is smaller than the target stream length")
    log.last = id
    if added is not None:
        log.added = added
    if deleted is not None:
        log.max_deleted = deleted
    call.changed(words[1])
    call.event(b"xsetid", words[1])
    return OK


HANDLERS: Handlers = {
    "xadd": xadd, "xlen": xlen, "xrange": xrange, "xrevrange": xrange, "xread": xread, "xdel": xdel, "xtrim": xtrim,
    "xsetid": xsetid,
}  # fmt: skip
