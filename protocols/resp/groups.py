"""Consumer groups of streams: XGROUP XREADGROUP XACK XPENDING XCLAIM XAUTOCLAIM XINFO.

A group knows what it gave last, how many entries that were, and what is pending: given to a consumer and not acknowledged.
Effects, of this file's own making: ``_DELIVERED key group consumer ms last read noack id...`` for new entries,
``_CLAIMED key group consumer last id ms count ...`` for what changed owner or was given again, XGROUP CREATECONSUMER, XACK.
They hold the time of delivery, the count and the owner, so that a replay needs no clock.
When a consumer was last seen is not kept over a restart.
A stream that is a topic (``topics.py``) has no consumer groups here: XGROUP refuses.
Deviations: XINFO STREAM's radix-tree numbers are of a tree that we do not have. XINFO CONSUMERS has ``inactive`` (7.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sortedcontainers import SortedDict

from protocols.resp.call import Block, Call
from protocols.resp.errors import NO_KEY, SYNTAX, CommandError
from protocols.resp.ids import HIGHEST, LOWEST, Id, id_of, id_text, range_id
from protocols.resp.numbers import find_integer, integer_of
from protocols.resp.state import SHARED, STREAM
from protocols.resp.table import Handlers
from protocols.resp.topics import shared_of
from protocols.resp.wire import EMPTY, OK, ONE, ZERO, array_of, bulk, bulks, integer, map_of, null, null_array

if TYPE_CHECKING:
    from protocols.resp.state import Log

UNKNOWN = -1
"""Of ``read``: how many entries a group has been given cannot be told."""
IS_TOPIC = "ERR this stream is a topic: consumer groups are not supported"
NO_STREAM = (
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to "
    "create an empty stream automatically."
)
FULL_COUNT = 10


class Pending:
    """One entry that was given to a consumer."""

    __slots__ = ("consumer", "count", "time_ms")

    def __init__(self, consumer: Consumer, time_ms: int, count: int) -> None:
        self.consumer = consumer
        self.time_ms = time_ms
        self.count = count


class Consumer:
    __slots__ = ("active_ms", "name", "pending", "seen_ms")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.pending: Any = SortedDict()
        self.seen_ms = 0
        self.active_ms = 0


class Group:
    """Invariant: what is pending is pending of exactly one consumer, and of the group."""

    __slots__ = ("consumers", "last", "pending", "read")

    def __init__(self, last: Id, read: int) -> None:
        self.last = last
        self.read = read
        self.pending: Any = SortedDict()
        self.consumers: dict[bytes, Consumer] = {}

    def give(self, id: Id, consumer: Consumer, time_ms: int, count: int) -> None:
        """This entry is pending of this consumer, and of no other."""
        held = self.pending.get(id)
        if held is None:
            held = self.pending[id] = Pending(consumer, time_ms, count)
        elif held.consumer is not consumer:
            del held.consumer.pending[id]
            held.consumer = consumer
        held.time_ms, held.count = time_ms, count
        consumer.pending[id] = held

    def take(self, id: Id) -> bool:
        """It is pending no more; whether it was."""
        held = self.pending.pop(id, None)
        if held is None:
            return False
        del held.consumer.pending[id]
        return True

    def copied(self) -> Group:
        copy = Group(self.last, self.read)
        copy.consumers = {name: Consumer(name) for name in self.consumers}
        for id, held in self.pending.items():
            copy.give(id, copy.consumers[held.consumer.name], held.time_ms, held.count)
        return copy


def text_of(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def find_log(call: Call, key: bytes) -> Log | None:
    """
    Raises:
        CommandError: another kind, or a topic.
    """
    entry = call.find(key)
    if (entry.kind == SHARED) if entry is not None else (shared_of(call, key) is not None):
        raise CommandError(IS_TOPIC)
    log: Log | None = call.find_kind(key, STREAM)
    return log


def find_group(call: Call, key: bytes, name: bytes) -> tuple[Log, Group]:
    log = find_log(call, key)
    group = log.groups.get(name) if log is not None else None
    if log is None or group is None:
        raise CommandError(f"NOGROUP No such key '{text_of(key)}' or consumer group '{text_of(name)}'")
    return log, group


def consumer_of(call: Call, key: bytes, group_name: bytes, group: Group, name: bytes) -> Consumer:
    """This consumer, made where there is none."""
    found = group.consumers.get(name)
    if found is None:
        found = group.consumers[name] = Consumer(name)
        call.changed(key)
        call.effect(b"XGROUP", b"CREATECONSUMER", key, group_name, name)
        call.event(b"xgroup-createconsumer", key)
    found.seen_ms = call.now_ms
    return found


# what can be told of positions in a stream


def has_gap(log: Log, start: Id) -> bool:
    """Whether an entry from here on was deleted (t_stream.c streamRangeHasTombstones)."""
    return bool(len(log)) and log.max_deleted != LOWEST and start <= log.max_deleted


def entries_before(log: Log, id: Id) -> int:
    """How many entries were ever added up to this id; UNKNOWN where deleted ones forbid it (streamEstimateDistance...)."""
    if not log.added:
        return 0
    if not len(log) and id <= log.last:
        return log.added
    if id != LOWEST and id < log.max_deleted:
        return UNKNOWN
    if id == log.last:
        return log.added
    if id > log.last:
        return UNKNOWN
    first = log.ids[log.head] if len(log) else LOWEST
    if log.max_deleted == LOWEST or log.max_deleted < first:
        if id < first:
            return log.added - len(log)
        if id == first:
            return log.added - len(log) + 1
    return UNKNOWN


def lag_of(log: Log, group: Group) -> int | None:
    """How many entries the group has yet to be given; None: it cannot be told."""
    if not log.added:
        return 0
    read = group.read if group.read != UNKNOWN and not has_gap(log, group.last) else entries_before(log, group.last)
    return None if read == UNKNOWN else log.added - read


# XGROUP


def subcommand_syntax(words: list[bytes]) -> CommandError:
    return CommandError(
        f"ERR unknown subcommand or wrong number of arguments for '{text_of(words[1])}'. Try {text_of(words[0]).upper()} HELP."
    )


def group_options(words: list[bytes], creating: bool) -> tuple[bool, int]:
    """MKSTREAM and ENTRIESREAD."""
    make, read = False, UNKNOWN
    at = 5
    while at < len(words):
        option = words[at].upper()
        if creating and option == b"MKSTREAM":
            make = True
            at += 1
        elif option == b"ENTRIESREAD" and at + 1 < len(words):
            read = integer_of(words[at + 1])
            if read < 0 and read != UNKNOWN:
                raise CommandError("ERR value for ENTRIESREAD must be positive or -1")
            at += 2
        else:
            raise subcommand_syntax(words)
    return make, read


def existing_log(call: Call, key: bytes, make: bool = False) -> Log | None:
    log = find_log(call, key)
    if log is None and not make:
        raise CommandError(NO_STREAM)
    return log


def existing_group(log: Log | None, words: list[bytes]) -> Group:
    group: Group | None = log.groups.get(words[3]) if log is not None else None
    if group is None:
        key, name = text_of(words[2]), text_of(words[3])
        raise CommandError(f"NOGROUP No such consumer group '{name}' for key name '{key}'")
    return group


def create(call: Call, words: list[bytes]) -> bytes:
    make, read = group_options(words, True)
    log = existing_log(call, words[2], make)
    if words[4] == b"$":
        last = log.last if log is not None else LOWEST
    else:
        last = id_of(words[4])
    if log is not None and words[3] in log.groups:
        raise CommandError("BUSYGROUP Consumer Group name already exists")
    if log is None:
        log = call.keyspace.new_log()
        call.make(words[2], STREAM, log)
    log.groups[words[3]] = Group(last, read)
    call.changed(words[2])
    call.effect(b"XGROUP", b"CREATE", words[2], words[3], id_text(last), b"MKSTREAM", b"ENTRIESREAD", b"%d" % read)
    call.event(b"xgroup-create", words[2])
    return OK


def setid(call: Call, words: list[bytes]) -> bytes:
    _, read = group_options(words, False)
    log = existing_log(call, words[2])
    group = existing_group(log, words)
    assert log is not None
    group.last = log.last if words[4] == b"$" else {b"-": LOWEST, b"+": HIGHEST}.get(words[4]) or id_of(words[4])
    group.read = read
    call.changed(words[2])
    call.effect(b"XGROUP", b"SETID", words[2], words[3], id_text(group.last), b"ENTRIESREAD", b"%d" % read)
    call.event(b"xgroup-setid", words[2])
    return OK


def destroy(call: Call, words: list[bytes]) -> bytes:
    log = existing_log(call, words[2])
    assert log is not None
    if log.groups.pop(words[3], None) is None:
        return ZERO
    call.changed(words[2])
    call.event(b"xgroup-destroy", words[2])
    return ONE


def createconsumer(call: Call, words: list[bytes]) -> bytes:
    group = existing_group(existing_log(call, words[2]), words)
    if words[4] in group.consumers:
        return ZERO
    consumer_of(call, words[2], words[3], group, words[4])
    return ONE


def delconsumer(call: Call, words: list[bytes]) -> bytes:
    group = existing_group(existing_log(call, words[2]), words)
    consumer = group.consumers.pop(words[4], None)
    if consumer is None:
        return ZERO
    for id in consumer.pending:
        del group.pending[id]
    call.changed(words[2])
    call.event(b"xgroup-delconsumer", words[2])
    return integer(len(consumer.pending))


# XREADGROUP


class Reading:
    """The words of an XREADGROUP."""

    def __init__(self) -> None:
        self.count = -1
        self.blocks = self.no_ack = False
        self.deadline_ms = 0
        self.group = self.consumer = b""
        self.named = False
        self.keys: Sequence[bytes] = ()
        self.ids: Sequence[bytes] = ()

    def read(self, call: Call, words: list[bytes]) -> None:
        """
        Raises:
            CommandError: as Redis for each word it cannot read.
        """
        at = 1
        while at < len(words):
            option = words[at].upper()
            left = len(words) - at - 1
            if option == b"BLOCK" and left:
                wait = find_integer(words[at + 1])
                if wait is None:
                    raise CommandError("ERR timeout is not an integer or out of range")
                if wait < 0:
                    raise CommandError("ERR timeout is negative")
                self.blocks, self.deadline_ms = True, call.now_ms + wait if wait else 0
                at += 1
            elif option == b"COUNT" and left:
                self.count = max(integer_of(words[at + 1]), 0) or -1
                at += 1
            elif option == b"STREAMS" and left:
                if left % 2:
                    raise CommandError(
                        "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."
                    )
                self.keys, self.ids = words[at + 1 : at + 1 + left // 2], words[at + 1 + left // 2 :]
                break
            elif option == b"GROUP" and left >= 2:
                self.group, self.consumer, self.named = words[at + 1], words[at + 2], True
                at += 2
            elif option == b"NOACK":
                self.no_ack = True
            else:
                raise CommandError(SYNTAX)
            at += 1
        if not self.keys:
            raise CommandError(SYNTAX)
        if not self.named:
            raise CommandError("ERR Missing GROUP option for XREADGROUP")


MEANINGLESS = (
    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying "
    "a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set."
)


def xreadgroup(call: Call, words: list[bytes]) -> bytes | Block:
    reading = Reading()
    reading.read(call, words)
    wanted: list[tuple[bytes, Log, Group, Id | None]] = []
    for key, word in zip(reading.keys, reading.ids, strict=True):
        log = find_log(call, key)
        group = log.groups.get(reading.group) if log is not None else None
        if log is None or group is None:
            raise CommandError(
                f"NOGROUP No such key '{text_of(key)}' or consumer group '{text_of(reading.group)}' in XREADGROUP with GROUP option"
            )
        if word == b"$":
            raise CommandError(MEANINGLESS)
        wanted.append((key, log, group, None if word == b">" else id_of(word)))
    news: list[tuple[bytes, bytes]] = []
    for key, log, group, after in wanted:
        if after is None and (not len(log) or log.ids[-1] <= group.last):
            continue
        consumer = consumer_of(call, key, reading.group, group, reading.consumer)
        if after is None:
            news.append((key, deliver(call, key, log, group, consumer, reading)))
        else:
            news.append((key, again(call, key, log, group, consumer, after, reading)))
    if news:
        if call.protocol == 3:
            return b"%%%d\r\n" % len(news) + b"".join([bulk(key) + reply for key, reply in news])
        return array_of([b"*2\r\n" + bulk(key) + reply for key, reply in news])
    nothing = null_array(call.protocol)
    return Block(list(reading.keys), reading.deadline_ms, nothing, words) if reading.blocks else nothing


def entry_reply(id: Id, fields: bytes) -> bytes:
    return b"*2\r\n" + bulk(id_text(id)) + fields


def deliver(call: Call, key: bytes, log: Log, group: Group, consumer: Consumer, reading: Reading) -> bytes:
    """New entries, pending from here on unless NOACK."""
    low, high = log.span((group.last[0], group.last[1] + 1), HIGHEST)
    if reading.count > 0:
        high = min(high, low + reading.count)
    ids = log.ids[low:high]
    for id in ids:
        if group.read != UNKNOWN and not has_gap(log, id):
            group.read += 1
        elif log.added:
            group.read = entries_before(log, id)
        group.last = id
        if not reading.no_ack:
            group.give(id, consumer, call.now_ms, 1)
    consumer.active_ms = call.now_ms
    if ids:
        call.dirty += 1
        numbers = (b"%d" % call.now_ms, id_text(group.last), b"%d" % group.read, b"%d" % reading.no_ack)
        call.effect(
            b"_DELIVERED", key, reading.group, consumer.name, *numbers, *(() if reading.no_ack else map(id_text, ids))
        )
    return array_of([entry_reply(log.ids[at], log.fields[at]) for at in range(low, high)])


def again(call: Call, key: bytes, log: Log, group: Group, consumer: Consumer, after: Id, reading: Reading) -> bytes:
    """What is pending of this consumer behind an id; each counts as given once more."""
    start = (after[0], after[1] + 1) if after[1] < HIGHEST[1] else (after[0] + 1, 0)
    ids = list(consumer.pending.irange(start))
    if reading.count > 0:
        ids = ids[: reading.count]
    rows: list[bytes] = []
    changes: list[bytes] = []
    for id in ids:
        at = log.place(id)
        if at < 0:
            rows.append(b"*2\r\n" + bulk(id_text(id)) + null_array(call.protocol))
            continue
        held = consumer.pending[id]
        held.time_ms, held.count = call.now_ms, held.count + 1
        changes += (id_text(id), b"%d" % held.time_ms, b"%d" % held.count)
        rows.append(entry_reply(id, log.fields[at]))
    if changes:
        call.dirty += 1
        call.effect(b"_CLAIMED", key, reading.group, consumer.name, id_text(group.last), *changes)
    return array_of(rows)


def delivered(call: Call, words: list[bytes]) -> bytes:
    """The effect ``_DELIVERED``."""
    _, group = find_group(call, words[1], words[2])
    consumer = group.consumers.setdefault(words[3], Consumer(words[3]))
    time_ms, group.last, group.read = int(words[4]), id_of(words[5]), int(words[6])
    for word in words[8:]:
        group.give(id_of(word), consumer, time_ms, 1)
    return OK


def claimed(call: Call, words: list[bytes]) -> bytes:
    """The effect ``_CLAIMED``."""
    _, group = find_group(call, words[1], words[2])
    consumer = group.consumers.setdefault(words[3], Consumer(words[3]))
    group.last = id_of(words[4])
    for at in range(5, len(words), 3):
        group.give(id_of(words[at]), consumer, int(words[at + 1]), int(words[at + 2]))
    return OK


# what is pending


def xack(call: Call, words: list[bytes]) -> bytes:
    log = find_log(call, words[1])
    group = log.groups.get(words[2]) if log is not None else None
    if group is None:
        return ZERO
    ids = [id_of(word) for word in words[3:]]
    count = sum([group.take(id) for id in ids])
    call.dirty += count
    return integer(count)


def xpending(call: Call, words: list[bytes]) -> bytes:
    if len(words) == 3:
        return summary(call, find_group(call, words[1], words[2])[1])
    if not 6 <= len(words) <= 9:
        raise CommandError(SYNTAX)
    at, idle_ms = 3, 0
    if words[3].upper() == b"IDLE":
        idle_ms = integer_of(words[4])
        if len(words) < 8:
            raise CommandError(SYNTAX)
        at = 5
    count = max(integer_of(words[at + 2]), 0)
    start, end = range_id(words[at], True), range_id(words[at + 1], False)
    _, group = find_group(call, words[1], words[2])
    pending = group.pending
    if at + 3 < len(words):
        consumer = group.consumers.get(words[at + 3])
        if consumer is None:
            return EMPTY
        pending = consumer.pending
    rows: list[bytes] = []
    if start is not None and end is not None and start <= end:
        for id in pending.irange(start, end):
            held = pending[id]
            idle = max(call.now_ms - held.time_ms, 0)
            if len(rows) >= count:
                break
            if idle >= idle_ms:
                rows.append(array_of((bulk(id_text(id)), bulk(held.consumer.name), integer(idle), integer(held.count))))
    return array_of(rows)


def summary(call: Call, group: Group) -> bytes:
    if not group.pending:
        nothing = null(call.protocol)
        return array_of((ZERO, nothing, nothing, null_array(call.protocol)))
    ids = group.pending.keys()
    owners = [
        bulks((name, b"%d" % len(group.consumers[name].pending)))
        for name in sorted(group.consumers)
        if group.consumers[name].pending
    ]
    return array_of((integer(len(ids)), bulk(id_text(ids[0])), bulk(id_text(ids[-1])), array_of(owners)))


class Claiming:
    """The options of an XCLAIM."""

    def __init__(self) -> None:
        self.ids: list[Id] = []
        self.force = self.only_ids = False
        self.time_ms: int | None = None
        self.count: int | None = None
        self.last = LOWEST

    def read(self, call: Call, words: list[bytes]) -> None:
        at = 5
        while at < len(words):
            try:
                self.ids.append(id_of(words[at]))
            except CommandError:
                break
            at += 1
        while at < len(words):
            option = words[at].upper()
            left = len(words) - at - 1
            if option == b"FORCE":
                self.force = True
            elif option == b"JUSTID":
                self.only_ids = True
            elif option in (b"IDLE", b"TIME", b"RETRYCOUNT") and left:
                value = integer_of(words[at + 1], f"ERR Invalid {option.decode()} option argument for XCLAIM")
                if option == b"RETRYCOUNT":
                    self.count = value
                else:
                    self.time_ms = call.now_ms - value if option == b"IDLE" else value
                at += 1
            elif option == b"LASTID" and left:
                self.last = id_of(words[at + 1])
                at += 1
            else:
                raise CommandError(f"ERR Unrecognized XCLAIM option '{text_of(words[at])}'")
            at += 1


def idle_of(word: bytes, name: str) -> int:
    return max(integer_of(word, f"ERR Invalid min-idle-time argument for {name}"), 0)


class Transfer:
    """What a claim changes: gathered while it goes, recorded once."""

    def __init__(self, call: Call, words: list[bytes], log: Log, group: Group, only_ids: bool) -> None:
        self.call = call
        self.key, self.group_name, self.name = words[1], words[2], words[3]
        self.log = log
        self.group = group
        self.only_ids = only_ids
        self.rows: list[bytes] = []
        self.changes: list[bytes] = []
        self.gone: list[Id] = []
        self.last = group.last

    def forget(self, id: Id) -> None:
        """The entry is no longer in the stream: it cannot be pending."""
        if self.group.take(id):
            self.gone.append(id)

    def claim(self, id: Id, at: int, time_ms: int, count: int | None) -> None:
        consumer = consumer_of(self.call, self.key, self.group_name, self.group, self.name)
        consumer.active_ms = self.call.now_ms
        held = self.group.pending.get(id)
        old = held.count if held is not None else 1
        new = count if count is not None else old if self.only_ids else old + 1
        self.group.give(id, consumer, time_ms, new)
        self.changes += (id_text(id), b"%d" % time_ms, b"%d" % new)
        self.rows.append(bulk(id_text(id)) if self.only_ids else entry_reply(id, self.log.fields[at]))

    def record(self) -> None:
        call = self.call
        if self.gone:
            call.dirty += 1
            call.effect(b"XACK", self.key, self.group_name, *map(id_text, self.gone))
        if self.changes:
            call.dirty += 1
            call.effect(b"_CLAIMED", self.key, self.group_name, self.name, id_text(self.group.last), *self.changes)
        elif self.group.last != self.last:
            call.dirty += 1
            call.effect(
                b"XGROUP", b"SETID", self.key, self.group_name, id_text(self.group.last),
                b"ENTRIESREAD", b"%d" % self.group.read,
            )  # fmt: skip


def xclaim(call: Call, words: list[bytes]) -> bytes:
    log, group = find_group(call, words[1], words[2])
    idle_ms = idle_of(words[4], "XCLAIM")
    claiming = Claiming()
    claiming.read(call, words)
    time_ms = claiming.time_ms
    if time_ms is None or not 0 <= time_ms <= call.now_ms:
        time_ms = call.now_ms
    transfer = Transfer(call, words, log, group, claiming.only_ids)
    group.last = max(group.last, claiming.last)
    count = claiming.count if claiming.count is not None and claiming.count >= 0 else None
    for id in claiming.ids:
        at = log.place(id)
        held = group.pending.get(id)
        if at < 0:
            transfer.forget(id)
        elif held is None:
            if claiming.force:
                transfer.claim(id, at, time_ms, count)
        elif not idle_ms or call.now_ms - held.time_ms >= idle_ms:
            transfer.claim(id, at, time_ms, count)
    transfer.record()
    return array_of(transfer.rows)


def xautoclaim(call: Call, words: list[bytes]) -> bytes:
    idle_ms = idle_of(words[4], "XAUTOCLAIM")
    start = range_id(words[5], True)
    count, only_ids = 100, False
    at = 6
    while at < len(words):
        option = words[at].upper()
        if option == b"COUNT" and at + 1 < len(words):
            count = integer_of(words[at + 1], "ERR COUNT must be > 0")
            if not 0 < count < 2**60:
                raise CommandError("ERR COUNT must be > 0")
            at += 1
        elif option == b"JUSTID":
            only_ids = True
        else:
            raise CommandError(SYNTAX)
        at += 1
    log, group = find_group(call, words[1], words[2])
    transfer = Transfer(call, words, log, group, only_ids)
    attempts = count * 10
    cursor = LOWEST
    deleted: list[Id] = []
    for id in list(walk(group, start or LOWEST, attempts + 1)):
        if not attempts or not count:
            cursor = id
            break
        attempts -= 1
        place = log.place(id)
        held = group.pending[id]
        if place < 0:
            transfer.forget(id)
            deleted.append(id)
            count -= 1
        elif not idle_ms or call.now_ms - held.time_ms >= idle_ms:
            transfer.claim(id, place, call.now_ms, None)
            count -= 1
    transfer.record()
    return array_of((bulk(id_text(cursor)), array_of(transfer.rows), bulks([id_text(id) for id in deleted])))


def walk(group: Group, start: Id, count: int) -> Iterator[Id]:
    for number, id in enumerate(group.pending.irange(start)):
        if number >= count:
            return
        yield id


# XINFO


def existing_info(call: Call, key: bytes) -> Log:
    log = find_log(call, key)
    if log is None:
        raise CommandError(NO_KEY)
    return log


def pairs_reply(call: Call, pairs: list[tuple[bytes, bytes]]) -> bytes:
    return map_of([(bulk(name), value) for name, value in pairs], call.protocol)


def number_or_null(call: Call, value: int) -> bytes:
    return null(call.protocol) if value == UNKNOWN else integer(value)


def lag_reply(call: Call, log: Log, group: Group) -> bytes:
    lag = lag_of(log, group)
    return null(call.protocol) if lag is None else integer(lag)


def info_groups(call: Call, words: list[bytes]) -> bytes:
    log = existing_info(call, words[2])
    rows = []
    for name in sorted(log.groups):
        group = log.groups[name]
        rows.append(
            pairs_reply(
                call,
                [
                    (b"name", bulk(name)),
                    (b"consumers", integer(len(group.consumers))),
                    (b"pending", integer(len(group.pending))),
                    (b"last-delivered-id", bulk(id_text(group.last))),
                    (b"entries-read", number_or_null(call, group.read)),
                    (b"lag", lag_reply(call, log, group)),
                ],
            )
        )
    return array_of(rows)


def info_consumers(call: Call, words: list[bytes]) -> bytes:
    group = existing_group(existing_info(call, words[2]), words)
    rows = []
    for name in sorted(group.consumers):
        consumer = group.consumers[name]
        seen_ms = consumer.seen_ms or call.keyspace.started_ms
        rows.append(
            pairs_reply(
                call,
                [
                    (b"name", bulk(name)),
                    (b"pending", integer(len(consumer.pending))),
                    (b"idle", integer(max(call.now_ms - seen_ms, 0))),
                    (b"inactive", integer(max(call.now_ms - consumer.active_ms, 0) if consumer.active_ms else -1)),
                ],
            )
        )
    return array_of(rows)


def info_stream(call: Call, words: list[bytes]) -> bytes:
    log = existing_info(call, words[2])
    full = len(words) > 3
    count = FULL_COUNT
    if full:
        if (
            words[3].upper() != b"FULL"
            or len(words) not in (4, 6)
            or (len(words) == 6 and words[4].upper() != b"COUNT")
        ):
            raise subcommand_syntax(words)
        if len(words) == 6:
            count = integer_of(words[5])
            count = FULL_COUNT if count < 0 else count
    first = log.ids[log.head] if len(log) else LOWEST
    pairs = [
        (b"length", integer(len(log))),
        (b"radix-tree-keys", integer(1 if len(log) else 0)),
        (b"radix-tree-nodes", integer(2 if len(log) else 1)),
        (b"last-generated-id", bulk(id_text(log.last))),
        (b"max-deleted-entry-id", bulk(id_text(log.max_deleted))),
        (b"entries-added", integer(log.added)),
        (b"recorded-first-entry-id", bulk(id_text(first))),
    ]
    if not full:
        places = (log.head, len(log.ids) - 1)
        ends = [entry_reply(log.ids[at], log.fields[at]) if len(log) else null(call.protocol) for at in places]
        pairs += [(b"groups", integer(len(log.groups))), (b"first-entry", ends[0]), (b"last-entry", ends[1])]
        return pairs_reply(call, pairs)
    end = len(log.ids) if not count else min(len(log.ids), log.head + count)
    entries = [entry_reply(log.ids[at], log.fields[at]) for at in range(log.head, end)]
    pairs.append((b"entries", array_of(entries)))
    pairs.append((b"groups", array_of([full_group(call, log, name, count) for name in sorted(log.groups)])))
    return pairs_reply(call, pairs)


def full_group(call: Call, log: Log, name: bytes, count: int) -> bytes:
    group = log.groups[name]

    def shown(pending: Any, owner: bool) -> bytes:
        rows = []
        for id in list(pending.keys()[: count or None]):
            held = pending[id]
            row = [bulk(id_text(id)), integer(held.time_ms), integer(held.count)]
            rows.append(array_of([row[0], bulk(held.consumer.name), *row[1:]] if owner else row))
        return array_of(rows)

    consumers = []
    for consumer_name in sorted(group.consumers):
        consumer = group.consumers[consumer_name]
        consumers.append(
            pairs_reply(
                call,
                [
                    (b"name", bulk(consumer_name)),
                    (b"seen-time", integer(consumer.seen_ms or call.keyspace.started_ms)),
                    (b"active-time", integer(consumer.active_ms or -1)),
                    (b"pel-count", integer(len(consumer.pending))),
                    (b"pending", shown(consumer.pending, False)),
                ],
            )
        )
    return pairs_reply(
        call,
        [
            (b"name", bulk(name)),
            (b"last-delivered-id", bulk(id_text(group.last))),
            (b"entries-read", number_or_null(call, group.read)),
            (b"lag", lag_reply(call, log, group)),
            (b"pel-count", integer(len(group.pending))),
            (b"pending", shown(group.pending, True)),
            (b"consumers", array_of(consumers)),
        ],
    )


HANDLERS: Handlers = {
    "xgroup|create": create, "xgroup|setid": setid, "xgroup|destroy": destroy, "xgroup|createconsumer": createconsumer,
    "xgroup|delconsumer": delconsumer, "xreadgroup": xreadgroup, "xack": xack, "xpending": xpending, "xclaim": xclaim,
    "xautoclaim": xautoclaim, "xinfo|groups": info_groups, "xinfo|consumers": info_consumers, "xinfo|stream": info_stream,
}  # fmt: skip
