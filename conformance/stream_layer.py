"""What it means to be the stream layer, on any engine: every promise of ``substrate/api.py`` as a check.

    for check in CHECKS:
        check(lambda: MemoryStorage(delayed=True))

A *storage* is what survives the process: it gives engines over the same contents, finishes what is outstanding, and may
be told to fail or to lose its power. Each check begins with a storage of its own. A check raises AssertionError; one that a
storage cannot play (``can``) is left out by ``checks_for``.
"""

from __future__ import annotations

import errno
import gzip
import struct
from array import array
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from crc32c import crc32c

from conformance.disk_faults import SimulatedFiles
from protocols.api import Handle
from substrate import batch as batches
from substrate.api import (
    BATCH_BYTES_MAX,
    DEFAULT_ACCOUNT,
    RESERVED,
    Address,
    Appended,
    Batches,
    Commit,
    Conditions,
    Durability,
    ErrorCode,
    Found,
    Group,
    Level,
    Position,
    Record,
    Rejected,
    Shard,
    StreamConfig,
    StreamError,
    StreamId,
    StreamKey,
    Tail,
)
from substrate.disk import DiskEngine
from substrate.disk.options import Options
from substrate.engine import Engine
from substrate.files import RealFiles
from substrate.interest import Tokens
from substrate.layer import StreamLayer
from substrate.limits import record_bytes
from substrate.marks import Marks
from substrate.memory import MemoryEngine

START_MS = 1_790_000_000_000
MARKS = StreamId(2)
ORDERS = StreamId(1024)
OTHER = StreamId(1025)
SMALL = Options(journal_slots=3, journal_slot_bytes=1 << 18, reference_bytes=1 << 14, free_bytes_min=1 << 16)
"""A disk engine whose limits are met within a short check."""


class Storage(Protocol):
    can: frozenset[str]
    """``delay``: durable only when ``settle`` is called; ``fail``; ``lose``."""

    def engine(self) -> Engine:
        """A closed engine over what the storage holds."""
        ...

    def settle(self) -> None:
        """Finish every outstanding sync."""
        ...

    def fail(self) -> None:
        """What was written and is not durable yet never will be: the engine says so."""
        ...

    def lose(self) -> None:
        """The process and the power are gone; what was not durable is lost. The next ``engine`` opens what is left."""
        ...


class MemoryStorage:
    """The memory engine is its own storage."""

    def __init__(self, delayed: bool = False) -> None:
        self._engine = MemoryEngine(delayed=delayed)
        self.can = frozenset({"delay", "fail", "lose"} if delayed else ())

    def engine(self) -> Engine:
        return self._engine

    def settle(self) -> None:
        if self._engine.delayed and not self._engine._broken:
            self._engine.flush()

    def fail(self) -> None:
        self._engine.fail("told to")

    def lose(self) -> None:
        self._engine.lose()


class SimulatedDiskStorage:
    """The disk engine over a disk in memory; a power cut keeps any part of what was not synced."""

    can = frozenset({"delay", "fail", "lose"})

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self.files = SimulatedFiles(seed)

    def engine(self) -> Engine:
        return DiskEngine(self.files, options=SMALL)

    def settle(self) -> None:
        self.files.run()

    def fail(self) -> None:
        self.files.fault = lambda operation: errno.EIO if operation.kind == "sync" else 0
        self.files.run()
        self.files.fault = None

    def lose(self) -> None:
        self._seed += 1
        self.files = self.files.crashed(self._seed)


class DiskStorage:
    """The disk engine over a folder of this machine."""

    can: frozenset[str] = frozenset()

    def __init__(self, root: str) -> None:
        self._root = root
        self._files: RealFiles | None = None

    def engine(self) -> Engine:
        self._files = RealFiles(self._root)
        return DiskEngine(self._files, options=SMALL)

    def settle(self) -> None:
        while self._files is not None and self._files.wait():
            pass

    def fail(self) -> None:
        raise NotImplementedError("a healthy disk does not fail on demand")

    def lose(self) -> None:
        raise NotImplementedError("nobody cuts this machine's power")


class Bench:
    """A stream layer driven by hand, and what it said."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.now_ms = START_MS
        self.durable: list[Commit] = []
        self.failed: list[Commit] = []
        self._open()

    def _open(self) -> None:
        self.layer = StreamLayer(
            self.storage.engine(),
            MemoryEngine(),
            lambda: None,
            lambda _, commit: self.durable.append(commit),
            self._failed,
        )
        self.layer.open(self.now_ms)
        self.attach()

    def attach(self) -> None:
        """The marks' own stream, and what it says."""
        self.layer.create(MARKS, StreamKey(DEFAULT_ACCOUNT, Address(RESERVED + b"/marks")), StreamConfig())
        marks = Marks()
        found = self.layer.streams[MARKS]
        for record in self.layer.each(found, found.start):
            marks.apply(record)
        assert marks.dump() == Marks.loaded(marks.dump()).dump()
        marks.start(self)
        self.layer.removal.attach(marks)

    def record(self, value: bytes, key: bytes) -> int:
        """The marks' world."""
        found = self.layer.streams[MARKS]
        self.layer.append_slices(found, value, array("q", (0, len(value))), 1, key, None, len(value))
        return self.layer.commit_under_way(found)

    def _failed(self, shard: Shard, above: Commit) -> None:
        self.failed.append(above)

    def create(self, stream: StreamId = ORDERS, name: bytes = b"orders", **config: object) -> None:
        key = StreamKey(DEFAULT_ACCOUNT, Address(name))
        self.layer.create(stream, key, StreamConfig(**{"record_bytes_max": 1 << 25, **config}))  # type: ignore[arg-type]

    def restart(self, *streams: tuple[StreamId, bytes], clean: bool = True, **config: object) -> None:
        """The process ends (in good order, or by losing its power) and begins again; the streams are made known."""
        if clean:
            self.layer.close()
        else:
            self.storage.lose()
        self._open()
        for stream, name in streams or ((ORDERS, b"orders"),):
            self.create(stream, name, **config)
        self.layer.removal.settle()

    def put(self, *values: bytes, stream: StreamId = ORDERS, address: bytes = b"orders", when: Conditions | None = None,
            headers: tuple[tuple[bytes, bytes | None], ...] = ()) -> object:  # fmt: skip
        """Append one group."""
        self.layer.now_ms = self.now_ms
        group = Group(address, b"".join(values))
        at = 0
        for value in values:
            if headers:
                group.add_with_headers(at, len(value), headers)
            else:
                group.add(at, len(value))
            at += len(value)
        return self.layer.append_group(stream, group, when)

    def ordered(self, *values: bytes, **more: object) -> Appended:
        answer = self.put(*values, **more)  # type: ignore[arg-type]
        assert isinstance(answer, Appended), answer
        return answer

    def turn(self, settle: bool = True) -> None:
        """The end of a turn: commit, tell watchers, and (``settle``) let the storage finish."""
        for _ in range(10):
            self.layer.commit()
            if not self.layer.notify():
                break
        if settle:
            self.storage.settle()
            self.layer.commit()
            self.layer.notify()

    def tail(self, stream: StreamId = ORDERS) -> Tail:
        tail = self.layer.tail(stream)
        assert isinstance(tail, Tail), tail
        assert tail.start <= tail.stable <= tail.committed <= tail.durable <= tail.ordered, tail
        return tail

    def records(
        self, stream: StreamId = ORDERS, level: Level = Level.DURABLE, start: int | None = None, step: int = 1
    ) -> list[Record]:
        """All that may be seen, read in steps of ``step`` bytes; positions checked."""
        found: list[Record] = []
        at = self.tail(stream).start if start is None else Position(start)
        while True:
            answer = self.layer.read(stream, at, step, level)
            assert isinstance(answer, Batches), answer
            if not answer.data:
                assert answer.next == at
                break
            assert answer.next > at
            for data in answer.data:
                batches.check(data)
                found += batches.decode(data, b"orders", at)
            at = answer.next
        assert (
            [r.position for r in found] == list(range(found[0].position, found[0].position + len(found)))
            if found
            else True
        )
        return found

    def values(self, stream: StreamId = ORDERS, level: Level = Level.DURABLE) -> list[bytes | None]:
        return [record.value for record in self.records(stream, level)]


def client_batch(
    count: int = 1, producer: int = -1, epoch: int = -1, sequence: int = -1, value: bytes = b"v", at_ms: int = START_MS
) -> bytearray:
    """A record batch as a Kafka client makes it."""
    builder = batches.BatchBuilder()
    for _ in range(count):
        builder.add(at_ms, b"key", value)
    made = bytearray(builder.finish(0, -1, 0))
    struct.pack_into(">qhi", made, 43, producer, epoch, sequence)
    struct.pack_into(">I", made, 17, crc32c(bytes(made[21:])))
    return made


class Told:
    """A watcher that counts."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.times = 0
        self._then = then

    def advanced(self, stream: StreamId) -> None:
        self.times += 1
        self._then()


Make = Callable[[], Storage]
Check = Callable[[Make], None]
_NEEDS: dict[Check, frozenset[str]] = {}


def needs(*what: str) -> Callable[[Check], Check]:
    def mark(check: Check) -> Check:
        _NEEDS[check] = frozenset(what)
        return check

    return mark


def bench(make: Make, **config: object) -> Bench:
    made = Bench(make())
    made.create(ORDERS, b"orders", **config)
    made.create(OTHER, b"other", **config)
    return made


# order


def check_positions_are_contiguous_from_zero(make: Make) -> None:
    b = bench(make)
    expected = 0
    for size in (1, 3, 1, 200):
        answer = b.ordered(*[b"%d" % (expected + index) for index in range(size)])
        assert (answer.base, answer.last) == (expected, expected + size - 1)
        expected += size
        if size != 3:
            b.turn()
    assert b.values() == [b"%d" % index for index in range(expected)]
    assert [r.position for r in b.records()] == list(range(expected))


def check_what_one_turn_appends_by_many_is_kept_in_order(make: Make) -> None:
    b = bench(make)
    b.ordered(b"a", b"b", address=b"orders/1")
    batch = b.layer.append_batch(ORDERS, client_batch(3))
    assert isinstance(batch, Appended) and (batch.base, batch.last) == (2, 4)
    b.ordered(b"c", address=b"orders/2")
    b.turn()
    assert [(r.position, r.address, r.value) for r in b.records()] == [
        (0, b"orders/1", b"a"), (1, b"orders/1", b"b"), (2, b"orders", b"v"), (3, b"orders", b"v"), (4, b"orders", b"v"),
        (5, b"orders/2", b"c"),
    ]  # fmt: skip


def check_headers_and_null_values_come_back(make: Make) -> None:
    b = bench(make)
    headers = ((b"a", b"1"), (b"a", None), (b"", b""))
    b.ordered(b"x", headers=headers)
    b.turn()
    assert b.records()[0].headers == headers


def check_a_turn_larger_than_a_batch_is_cut_into_batches(make: Make) -> None:
    b = bench(make)
    values = [bytes([index]) * 10_000 for index in range(100)]
    b.ordered(*values)
    b.turn()
    read = b.layer.read(ORDERS, Position(0), 1 << 30, Level.DURABLE)
    assert isinstance(read, Batches)
    assert len(read.data) > 1 and all(len(data) <= BATCH_BYTES_MAX for data in read.data)
    assert b.values() == values


def check_a_record_of_eight_mebibytes_passes(make: Make) -> None:
    b = bench(make)
    value = bytes(range(256)) * (8 * 4096)
    b.ordered(b"before")
    b.ordered(value)
    b.ordered(b"after")
    b.turn()
    assert b.values() == [b"before", value, b"after"]
    answer = b.layer.append_batch(ORDERS, client_batch(1, value=value))
    assert isinstance(answer, Appended) and answer.base == 3
    b.turn()
    b.restart()
    assert b.values() == [b"before", value, b"after", value]


def check_a_record_above_the_limit_is_refused_and_changes_nothing(make: Make) -> None:
    b = bench(make, record_bytes_max=100)
    assert isinstance(b.put(b"x" * 100), Appended)
    for refused in (b.put(b"y", b"x" * 101), b.layer.append_batch(ORDERS, client_batch(1, value=b"x" * 101))):
        assert isinstance(refused, StreamError) and refused.code is ErrorCode.TOO_LARGE and "100" in refused.detail
    b.turn()
    assert b.values() == [b"x" * 100]


def check_a_stream_that_is_not_there_is_said_to_be_missing(make: Make) -> None:
    b = bench(make)
    missing = StreamId(9999)
    for answer in (
        b.put(b"x", stream=missing), b.layer.append_batch(missing, client_batch()), b.layer.tail(missing),
        b.layer.read(missing, Position(0), 1, Level.DURABLE), b.layer.query("count", missing),
    ):  # fmt: skip
        assert isinstance(answer, StreamError) and answer.code is ErrorCode.NO_STREAM


def check_a_batch_that_is_not_a_clients_is_refused(make: Make) -> None:
    b = bench(make)
    bad_crc = client_batch()
    bad_crc[-1] ^= 1
    marked = client_batch()
    struct.pack_into(">h", marked, 21, batches.MARK)
    struct.pack_into(">I", marked, 17, crc32c(bytes(marked[21:])))
    for data, code in (
        (bad_crc, ErrorCode.CORRUPT), (marked, ErrorCode.INVALID), (client_batch()[:-1], ErrorCode.INVALID),
        (client_batch() + b"x", ErrorCode.INVALID), (bytearray(), ErrorCode.INVALID),
    ):  # fmt: skip
        answer = b.layer.append_batch(ORDERS, data)
        assert isinstance(answer, StreamError) and answer.code is code, (answer, code)
    assert b.tail().ordered == 0


# durability


@needs("delay")
def check_nothing_is_read_at_durable_before_it_is(make: Make) -> None:
    b = bench(make)
    answer = b.ordered(b"a")
    assert b.values(level=Level.ORDERED) == [] and answer.commit > 0
    b.turn(settle=False)
    assert b.values(level=Level.ORDERED) == [b"a"] and b.values() == []
    assert (b.tail().ordered, b.tail().durable) == (1, 0) and not b.durable
    b.turn()
    assert b.values() == [b"a"] and max(b.durable) >= answer.commit


def check_commits_become_durable_in_their_order(make: Make) -> None:
    b = bench(make)
    commits = []
    for index in range(5):
        commits.append(b.ordered(b"%d" % index).commit)
        b.turn(settle=index % 2 == 0)
    b.turn()
    assert commits == sorted(set(commits))
    assert b.durable == sorted(b.durable) and b.durable[-1] >= commits[-1]


def check_one_commit_spans_streams(make: Make) -> None:
    b = bench(make)
    first = b.ordered(b"a")
    second = b.ordered(b"b", stream=OTHER)
    assert first.commit == second.commit
    b.turn()
    assert b.values() == [b"a"] and b.values(OTHER) == [b"b"]


@needs("delay", "lose")
def check_one_commit_is_lost_whole_or_kept_whole(make: Make) -> None:
    b = bench(make)
    b.ordered(b"kept")
    b.ordered(b"kept", stream=OTHER)
    b.turn()
    b.ordered(b"perhaps")
    b.ordered(b"perhaps", stream=OTHER)
    b.turn(settle=False)
    b.restart((ORDERS, b"orders"), (OTHER, b"other"), clean=False)
    assert b.values() == b.values(OTHER)
    assert b.values()[0] == b"kept"


@needs("delay", "lose")
def check_what_was_durable_survives_and_positions_go_on(make: Make) -> None:
    b = bench(make)
    for round_number in range(4):
        acknowledged = b.values()
        b.ordered(b"durable %d" % round_number)
        b.turn()
        acknowledged.append(b"durable %d" % round_number)
        b.ordered(b"lost %d" % round_number)
        b.turn(settle=False)
        epoch = b.tail().epoch
        b.restart(clean=False)
        assert b.values()[: len(acknowledged)] == acknowledged
        assert b.tail().epoch > epoch
        assert b.ordered(b"next").base == b.tail().durable
        b.turn()


def check_a_restart_in_good_order_keeps_everything(make: Make) -> None:
    b = bench(make)
    for index in range(10):
        b.ordered(b"%d" % index)
        b.turn(settle=False)
    before = b.tail().epoch
    b.restart()
    assert b.values() == [b"%d" % index for index in range(10)]
    assert b.tail().epoch > before
    assert b.ordered(b"10").base == 10
    b.turn()
    assert len(b.values()) == 11


@needs("delay", "fail")
def check_a_failure_drops_what_was_not_durable_and_says_which(make: Make) -> None:
    b = bench(make)
    kept = b.ordered(b"kept")
    b.turn()
    lost = b.ordered(b"lost")
    b.turn(settle=False)
    b.storage.fail()
    assert b.failed and kept.commit <= b.failed[0] < lost.commit
    assert b.layer.broken
    refused = b.put(b"now")
    assert isinstance(refused, StreamError) and refused.code is ErrorCode.UNAVAILABLE
    assert b.values() == [b"kept"], "reads go on"


@needs("delay", "fail")
def check_a_new_epoch_begins_over_the_durable_prefix(make: Make) -> None:
    b = bench(make)
    told = Told()
    b.layer.watch(ORDERS, Level.DURABLE, told)
    b.ordered(b"kept", when=Conditions(message_id=b"1"), headers=((b"Nats-Msg-Id", b"1"),))
    b.turn()
    b.ordered(b"lost", when=Conditions(message_id=b"2"), headers=((b"Nats-Msg-Id", b"2"),))
    b.turn(settle=False)
    epoch = b.tail().epoch
    b.storage.fail()
    times = told.times
    assert b.layer.recover(b.now_ms)
    b.create()
    b.layer.recovered()
    b.turn()
    assert told.times > times, "who watches is told to look"
    assert not b.layer.broken and b.tail().epoch > epoch
    assert b.values() == [b"kept"]
    again = b.ordered(b"again", when=Conditions(message_id=b"2"), headers=((b"Nats-Msg-Id", b"2"),))
    assert again.base == 1 and not again.duplicate, "what was lost is no duplicate"
    same = b.put(b"kept", when=Conditions(message_id=b"1"))
    assert isinstance(same, Appended) and same.duplicate and same.base == 0
    assert isinstance(b.layer.tail(OTHER), StreamError), "a stream that nobody created again is gone"
    b.turn()
    assert b.values() == [b"kept", b"again"]
    b.restart()
    assert b.values() == [b"kept", b"again"]


def check_a_new_epoch_may_begin_without_a_failure_of_the_engine(make: Make) -> None:
    """What an executor could not be rebuilt from may be a read that failed: the engine itself is well."""
    b = bench(make)
    b.ordered(b"kept")
    b.turn()
    epoch = b.tail().epoch
    b.layer.failed(b.layer.shard, b.layer.commit_next, "an executor could not be rebuilt")
    assert b.layer.recover(b.now_ms)
    b.create()
    b.layer.recovered()
    b.ordered(b"next")
    b.turn()
    assert b.values() == [b"kept", b"next"] and b.tail().epoch > epoch
    b.restart()
    assert b.values() == [b"kept", b"next"]


@needs("delay", "fail")
def check_a_stream_whose_creation_was_lost_lends_nothing_to_the_next_of_its_number(make: Make) -> None:
    b = Bench(make())
    b.create(ORDERS, b"first")
    told = Told()
    b.layer.watch(ORDERS, Level.DURABLE, told)
    b.ordered(b"lost")
    b.turn(settle=False)
    b.storage.fail()
    assert b.layer.recover(b.now_ms)
    b.create(ORDERS, b"second")
    b.layer.recovered()
    b.turn()
    assert b.layer.streams[ORDERS].key.name == b"second" and b.tail().ordered == 0
    assert told.times == 1
    b.ordered(b"new")
    b.turn()
    assert told.times == 1, "it watched the stream that is gone"
    assert b.values() == [b"new"]


# conditions


def check_the_tail_condition_rejects_only_its_own(make: Make) -> None:
    b = bench(make)
    assert isinstance(b.put(b"a", when=Conditions(tail=0)), Appended)
    assert b.put(b"b", when=Conditions(tail=0)) == Rejected("tail", 1)
    assert isinstance(b.put(b"c", when=Conditions(tail=1)), Appended)
    b.turn()
    assert b.values() == [b"a", b"c"]


def check_the_last_position_of_an_address_is_compared_within_the_turn(make: Make) -> None:
    b = bench(make)
    one, two = Address(b"orders/1"), Address(b"orders/2")
    assert isinstance(b.put(b"a", address=one, when=Conditions(last=(one, -1))), Appended)
    assert b.put(b"b", address=one, when=Conditions(last=(one, -1))) == Rejected("last", 0)
    assert isinstance(b.put(b"c", address=two, when=Conditions(last=(two, -1))), Appended)
    b.turn()
    assert isinstance(b.put(b"d", address=one, when=Conditions(last=(one, 0))), Appended)
    b.turn()
    b.restart()
    assert b.put(b"e", address=one, when=Conditions(last=(one, 0))) == Rejected("last", 2)
    assert isinstance(b.put(b"f", address=one, when=Conditions(last=(two, 1))), Appended)


def check_a_message_id_is_answered_with_its_first_position_within_the_window(make: Make) -> None:
    b = bench(make)

    def put(value: bytes, message_id: bytes) -> Appended:
        return b.ordered(
            value, when=Conditions(message_id=message_id, window_ms=1000), headers=((b"Nats-Msg-Id", message_id),)
        )

    b.ordered(b"first")
    original = put(b"a", b"id")
    same_turn = put(b"b", b"id")
    assert (same_turn.duplicate, same_turn.base, same_turn.commit) == (True, 1, original.commit)
    b.turn()
    later = put(b"c", b"id")
    assert (later.duplicate, later.base, later.commit) == (True, 1, 0)
    b.restart()
    b.now_ms += 900
    assert put(b"d", b"id").duplicate, "ids survive a restart"
    b.now_ms += 200
    expired = put(b"e", b"id")
    assert (expired.duplicate, expired.base) == (False, 2)
    b.turn()
    assert b.values() == [b"first", b"a", b"e"]


def check_the_last_message_id_is_compared(make: Make) -> None:
    b = bench(make)
    assert isinstance(b.put(b"a", when=Conditions(last_message_id=b"")), Appended)
    header = ((b"Nats-Msg-Id", b"1"),)
    assert isinstance(b.put(b"b", when=Conditions(message_id=b"1"), headers=header), Appended)
    assert b.put(b"c", when=Conditions(last_message_id=b"0")) == Rejected("last_message_id", b"1")
    assert isinstance(b.put(b"d", when=Conditions(last_message_id=b"1")), Appended)
    b.turn()
    assert b.put(b"e", when=Conditions(last_message_id=b"1")) == Rejected("last_message_id", b"")


def check_the_stream_name_is_compared(make: Make) -> None:
    b = bench(make)
    assert isinstance(b.put(b"a", when=Conditions(stream=Address(b"orders"))), Appended)
    assert isinstance(b.put(b"a", when=Conditions(stream=Address(b"other"))), Rejected)


def check_a_duplicate_in_memory_waits_for_nothing(make: Make) -> None:
    b = bench(make, durability=Durability.MEMORY)
    when = Conditions(message_id=b"1")
    header = ((b"Nats-Msg-Id", b"1"),)
    assert b.ordered(b"a", when=when, headers=header).commit == 0
    again = b.ordered(b"a", when=when, headers=header)
    assert again.duplicate and again.commit == 0


def check_the_first_question_does_not_end_the_turn(make: Make) -> None:
    """An index is built from what is written and from what this turn holds: what is one commit stays one."""
    b = bench(make)
    first = b.ordered(b"a", address=b"orders/1", headers=((b"Nats-Msg-Id", b"1"),))
    assert b.put(b"b", when=Conditions(last=(Address(b"orders/1"), 5))) == Rejected("last", 0)
    assert b.put(b"b", when=Conditions(last_message_id=b"2")) == Rejected("last_message_id", b"1")
    duplicate = b.ordered(b"b", when=Conditions(message_id=b"1"))
    assert duplicate.duplicate
    for kind in ("find_time", "max_time", "count"):
        b.layer.query(kind, ORDERS, None, START_MS)
    assert isinstance(b.layer.append_batch(ORDERS, client_batch(1, 1, 0, 0)), Appended)
    again = b.layer.append_batch(ORDERS, client_batch(1, 1, 0, 0))
    assert isinstance(again, Appended) and again.duplicate
    last = b.ordered(b"c", stream=OTHER)
    assert first.commit == last.commit == duplicate.commit == again.commit
    b.turn()
    assert len(b.values()) == 2


# producers


def check_a_producers_batches_follow_one_another(make: Make) -> None:
    b = bench(make)

    def put(sequence: int, count: int = 1, epoch: int = 0, producer: int = 7) -> object:
        return b.layer.append_batch(ORDERS, client_batch(count, producer, epoch, sequence))

    bases = []
    for index in range(7):
        answer = put(3 * index, 3)
        assert isinstance(answer, Appended) and not answer.duplicate
        bases.append(answer.base)
        if index % 2:
            b.turn()
    for index in range(2, 7):
        again = put(3 * index, 3)
        assert isinstance(again, Appended) and again.duplicate and again.base == bases[index], (index, again)
    assert isinstance(put(3, 3), Rejected), "the sixth last is not remembered"
    assert put(24) == Rejected("sequence", 21)
    assert isinstance(put(0, 1, producer=8), Appended), "another producer"
    assert put(0, 1, epoch=-1) == Rejected("epoch", 0)
    assert isinstance(put(5, 1, epoch=1), Rejected), "a new epoch begins at 0"
    assert isinstance(put(0, 1, epoch=1), Appended)
    assert put(21, 1, epoch=0) == Rejected("epoch", 1)
    b.turn()
    b.restart()
    again = put(0, 1, epoch=1)
    assert isinstance(again, Appended) and again.duplicate, "producers survive a restart"
    assert isinstance(put(1, 1, epoch=1), Appended)
    assert put(1, 1, epoch=0) == Rejected("epoch", 1)


def check_a_producer_whose_batch_was_refused_begins_at_the_beginning(make: Make) -> None:
    b = bench(make, record_bytes_max=1000)
    large = client_batch(1, 7, 0, 0, value=bytes(2000))
    assert isinstance(b.layer.append_batch(ORDERS, large), StreamError)
    assert b.layer.append_batch(ORDERS, client_batch(1, 7, 0, 1)) == Rejected("sequence", 0), "it would leave a gap"
    assert isinstance(b.layer.append_batch(ORDERS, client_batch(1, 8, 0, 1)), Appended), "another producer"
    assert isinstance(b.layer.append_batch(ORDERS, client_batch(1, 7, 0, 0)), Appended)
    assert isinstance(b.layer.append_batch(ORDERS, client_batch(1, 7, 0, 1)), Appended)


def check_a_producers_sequence_wraps_behind_the_largest_number(make: Make) -> None:
    b = bench(make)
    last = (1 << 31) - 1

    def put(sequence: int, count: int) -> object:
        return b.layer.append_batch(ORDERS, client_batch(count, 7, 0, sequence))

    assert isinstance(put(last - 4, 4), Appended), "a producer that nothing is known of may go on anywhere"
    wrapping = put(last, 3)
    assert isinstance(wrapping, Appended)
    again = put(last, 3)
    assert isinstance(again, Appended) and again.duplicate and again.base == wrapping.base
    assert put(1, 1) == Rejected("sequence", 2)
    assert isinstance(put(2, 1), Appended)


# reading


def check_reading_begins_with_the_batch_that_holds_the_position(make: Make) -> None:
    b = bench(make)
    for _ in range(4):
        b.ordered(*[b"v"] * 5)
        b.turn()
    for at in range(20):
        answer = b.layer.read(ORDERS, Position(at), 1, Level.DURABLE)
        assert isinstance(answer, Batches) and len(answer.data) == 1
        assert batches.header(answer.data[0]).base_offset == at // 5 * 5
        assert answer.next == at // 5 * 5 + 5
    end = b.layer.read(ORDERS, Position(20), 1, Level.DURABLE)
    assert isinstance(end, Batches) and not end.data and end.next == 20
    beyond = b.layer.read(ORDERS, Position(21), 1, Level.DURABLE)
    assert isinstance(beyond, StreamError) and beyond.code is ErrorCode.OUT_OF_RANGE


def check_a_filtered_read_gives_what_matches_and_where_to_go_on(make: Make) -> None:
    b = bench(make)
    for index in range(30):
        b.ordered(b"%d" % index, address=b"orders/%d" % (index % 3))
        if index % 4 == 0:
            b.turn()
    b.layer.append_batch(ORDERS, client_batch(2))
    b.turn()
    at, found = Position(0), []
    while at < b.tail().durable:
        answer = b.layer.read(ORDERS, at, 200, Level.DURABLE, Tokens(b"orders/1"))
        assert isinstance(answer, Batches) and not answer.data and answer.next > at
        found += [record.value for record in answer.records]
        at = answer.next
    assert found == [b"%d" % index for index in range(30) if index % 3 == 1]


def check_a_batch_that_nobody_can_decode_does_not_stop_a_filtered_read(make: Make) -> None:
    b = bench(make)
    poison = client_batch(1, value=b"abc")
    poison[batches.HEADER_BYTES] ^= 0x7E
    struct.pack_into(">I", poison, 17, crc32c(bytes(poison[21:])))
    assert isinstance(b.layer.append_batch(ORDERS, poison), Appended)
    b.ordered(b"after")
    b.turn()
    answer = b.layer.read(ORDERS, Position(0), 1 << 20, Level.DURABLE, Tokens(b"%#"))
    assert isinstance(answer, Batches) and [r.value for r in answer.records] == [b"after"]
    assert b.layer.query("last", ORDERS, Address(b"orders")) == Found(Position(1))


def check_questions_about_addresses_are_answered(make: Make) -> None:
    b = bench(make)
    for index in range(10):
        b.ordered(b"%d" % index, address=b"orders/%d" % (index % 3))
        if index % 4 == 3:
            b.turn()
    query = b.layer.query
    for _ in range(2):
        assert query("last", ORDERS, Address(b"orders/0")) == Found(Position(9))
        assert query("last", ORDERS, Address(b"orders/9")) == Found(Position(-1))
        assert query("count", ORDERS, Address(b"orders/1")) == 3
        assert query("count", ORDERS) == 10
        b.turn()
        b.restart()
        query = b.layer.query
    b.layer.trim(ORDERS, Position(5))
    assert query("count", ORDERS, Address(b"orders/1")) == 1
    assert query("count", ORDERS) == 5
    assert isinstance(query("nonsense", ORDERS), StreamError)


def check_times_are_found(make: Make) -> None:
    b = bench(make, segment_bytes=300)
    for index in range(20):
        b.now_ms = START_MS + 10 * index
        b.ordered(b"%d" % index)
        if index % 3 == 2:
            b.turn()
    expected = {-5: 0, 0: 0, 1: 1, 10: 1, 95: 10, 190: 19, 191: -1}
    for _ in range(2):
        for delta, position in expected.items():
            found = b.layer.query("find_time", ORDERS, None, START_MS + delta, level=Level.ORDERED)
            assert isinstance(found, Found) and found.position == position, (delta, found)
            if position >= 0:
                assert found.timestamp_ms == START_MS + 10 * position
        assert b.layer.query("max_time", ORDERS, level=Level.ORDERED) == Found(Position(19), START_MS + 190)
        b.turn()
        b.restart(segment_bytes=300)
    b.layer.trim(ORDERS, Position(8))
    found = b.layer.query("find_time", ORDERS, None, START_MS)
    assert isinstance(found, Found) and found.position == 8


@needs("delay")
def check_no_time_names_what_is_not_durable(make: Make) -> None:
    b = bench(make)
    b.ordered(b"a")
    b.turn()
    b.now_ms += 10
    b.ordered(b"b")
    for _ in range(2):
        assert b.layer.query("find_time", ORDERS, None, START_MS + 1) == Found(Position(-1))
        assert b.layer.query("max_time", ORDERS) == Found(Position(0), START_MS)
        later = b.layer.query("find_time", ORDERS, None, START_MS + 1, level=Level.ORDERED)
        assert later == Found(Position(1), START_MS + 10)
        b.turn(settle=False)
    b.turn()
    assert b.layer.query("find_time", ORDERS, None, START_MS + 1) == Found(Position(1), START_MS + 10)


# marks


def kept(b: Bench, level: Level = Level.DURABLE, start: int | None = None, step: int = 1) -> list[int]:
    """Positions that a reader gets from ``start`` on, who follows the batches' last offsets as Kafka's do."""
    tail = b.tail()
    at = tail.start if start is None else Position(start)
    found: list[int] = []
    while at < b.layer.limit(b.layer.streams[ORDERS], level):
        answer = b.layer.read(ORDERS, at, step, level)
        assert isinstance(answer, Batches) and answer.data, answer
        for data in answer.data:
            header = batches.header(data)
            assert crc32c(bytes(data)[21:]) == header.crc
            there = batches.decode(data, b"orders", at)
            assert len(batches.decode(data, b"orders")) == header.count
            assert all(
                header.base_offset <= one.position <= header.base_offset + header.last_offset_delta for one in there
            )
            found += [one.position for one in there]
            assert header.base_offset + header.last_offset_delta + 1 > at
            at = Position(header.base_offset + header.last_offset_delta + 1)
        assert answer.next == at
    matching = b.layer.read(ORDERS, tail.start, 1 << 30, level, Tokens(b"%#"))
    if start is None and isinstance(matching, Batches) and matching.next == at:
        assert [one.position for one in matching.records] == found
    return found


def check_what_is_removed_is_never_read_again(make: Make) -> None:
    b = bench(make)
    for index in range(12):
        b.ordered(b"%d" % index, address=b"orders/%d" % (index % 3))
        if index % 4 == 3:
            b.turn()
    b.layer.append_batch(ORDERS, client_batch(4))
    b.turn()
    assert kept(b) == list(range(16))
    b.layer.remove(ORDERS, [(1, 2), (13, 13)])
    assert kept(b) == [0, *range(3, 13), 14, 15]
    b.layer.remove(ORDERS, [(2, 5), (8, 11), (40, 50), (9, 7)])
    b.turn()
    want = [0, 6, 7, 12, 14, 15]
    for _ in range(2):
        assert kept(b) == want
        assert kept(b, step=1 << 20) == want
        assert b.layer.query("count", ORDERS) == 6
        assert b.layer.query("removed", ORDERS, start=0, end=14) == 10
        assert b.layer.query("next", ORDERS, start=1) == Found(Position(6))
        assert b.layer.query("next", ORDERS, start=16) == Found(Position(-1))
        assert b.layer.query("last", ORDERS, end=12) == Found(Position(7))
        assert b.layer.query("last", ORDERS, Address(b"orders/2")) == Found(Position(-1))
        assert b.layer.query("last", ORDERS, Address(b"orders/1")) == Found(Position(7))
        assert b.layer.query("addresses", ORDERS) == (
            (Address(b"orders"), 3, 15), (Address(b"orders/0"), 2, 6), (Address(b"orders/1"), 1, 7),
        )  # fmt: skip
        assert kept(b, start=3) == [6, 7, 12, 14, 15]
        b.restart()
    assert b.ordered(b"more").base == 16


def check_a_removal_is_in_its_turns_commit(make: Make) -> None:
    b = bench(make)
    b.ordered(*[b"v"] * 6)
    b.turn()
    first = b.layer.remove(ORDERS, [(1, 1)])
    assert b.layer.remove(ORDERS, [(3, 4)]) == first == b.ordered(b"w").commit
    b.layer.commit()
    marks = b.layer.streams[MARKS]
    assert [one.key for one in b.layer.each(marks, 0)] == [b"removed"]
    b.turn()
    assert b.durable[-1] >= first
    assert b.layer.remove(ORDERS, [(3, 3)]) == 0
    assert b.layer.remove(StreamId(99), [(3, 3)]) == 0


@needs("delay", "lose")
def check_what_was_removed_and_lost_is_there_again(make: Make) -> None:
    b = bench(make)
    b.ordered(*[b"v"] * 6)
    b.turn()
    b.layer.remove(ORDERS, [(1, 2)])
    b.turn()
    b.layer.remove(ORDERS, [(4, 4)])
    assert b.layer.remove(ORDERS, [(4, 4)]) > 0  # whoever asks again waits for the same
    assert kept(b) == [0, 3, 5]
    b.restart(clean=False)
    assert kept(b) == [0, 3, 4, 5]


@needs("fail")
def check_a_failed_removal_is_undone(make: Make) -> None:
    b = bench(make)
    b.ordered(*[b"v"] * 6)
    b.turn()
    b.layer.remove(ORDERS, [(1, 1)])
    b.turn()
    b.layer.remove(ORDERS, [(3, 4)])
    b.turn(settle=False)
    b.storage.fail()
    b.layer.remove(ORDERS, [(5, 5)])
    assert b.layer.recover(b.now_ms)
    b.attach()
    b.create()
    b.layer.removal.settle()
    b.layer.recovered()
    assert kept(b) == [0, 2, 3, 4, 5]


def check_marks_go_with_what_they_mark(make: Make) -> None:
    b = bench(make)
    b.ordered(*[b"v"] * 20)
    b.turn()
    b.layer.remove(ORDERS, [(at, at) for at in range(0, 20, 2)])
    b.layer.remove(OTHER, [(0, 5)])
    b.turn()
    assert len(b.layer.removal.marks.state[ORDERS].gone) == 10
    b.layer.trim(ORDERS, Position(15))
    b.turn()
    for _ in range(2):
        assert list(b.layer.removal.marks.state[ORDERS].gone) == [(16, 17), (18, 19)]
        assert kept(b) == [15, 17, 19]
        b.restart()
    b.layer.delete(ORDERS)
    b.turn()
    assert ORDERS not in b.layer.removal.marks.state
    b.restart((OTHER, b"other"))
    assert ORDERS not in b.layer.removal.marks.state


def check_marks_of_a_stream_that_nobody_made_again_go(make: Make) -> None:
    b = bench(make)
    b.ordered(*[b"v"] * 5)
    b.turn()
    b.layer.remove(ORDERS, [(1, 3)])
    b.turn()
    b.restart((OTHER, b"other"))
    assert not b.layer.removal.marks.state
    b.turn()
    b.restart()
    assert kept(b) == [0, 1, 2, 3, 4]


def check_marks_beyond_an_end_that_was_lost_are_taken_back(make: Make) -> None:
    b = bench(make)
    b.ordered(*[b"v"] * 5)
    b.turn()
    b.layer.removal.marks.decide(b"removed", ORDERS, 3, 9)
    b.turn()
    b.restart()
    assert kept(b) == [0, 1, 2]
    b.ordered(b"new", b"newer")
    b.turn()
    for _ in range(2):
        assert kept(b) == [0, 1, 2, 5, 6]
        b.restart()


def check_files_go_when_nothing_in_them_is_left(make: Make) -> None:
    b = bench(make, segment_bytes=400)
    for index in range(30):
        b.ordered(b"%d" % index * 20)
        b.turn()
    engine = b.layer.engine
    before = len(engine.segments(ORDERS))
    assert before > 5
    b.layer.remove(ORDERS, [(0, 14)])
    b.layer.removal.retain(START_MS)
    assert len(engine.segments(ORDERS)) == before  # the marks are not durable yet
    b.turn()
    b.layer.removal.retain(START_MS)
    b.turn()
    assert len(engine.segments(ORDERS)) < before
    assert 0 < b.tail().start <= 15
    b.layer.remove(ORDERS, [(0, 29)])
    b.turn()
    b.layer.removal.retain(START_MS)
    b.turn()
    for _ in range(2):
        assert (b.tail().start, b.tail().ordered) == (30, 30)
        assert kept(b) == []
        b.restart(segment_bytes=400)
    assert b.ordered(b"x").base == 30


def check_a_stream_in_memory_is_marked_in_memory(make: Make) -> None:
    b = Bench(make())
    b.create(durability=Durability.MEMORY)
    b.ordered(*[b"v"] * 5)
    b.turn()
    assert b.layer.remove(ORDERS, [(0, 1), (3, 3)]) == 0
    assert kept(b) == [2, 4]
    b.layer.trim(ORDERS, Position(3))
    assert kept(b) == [4]
    assert not b.layer.removal.marks.state


# limits


def check_a_streams_limits_are_exact_to_the_record(make: Make) -> None:
    config: dict[str, Any] = {"retention_records": 5, "exact_limits": True, "segment_bytes": 300}
    b = bench(make, **config)
    for index in range(23):
        b.ordered(b"%d" % index)
        assert b.tail().start == max(0, index - 4)
        if index % 4 == 0:
            b.turn()
    b.turn()
    b.layer.removal.retain(START_MS)
    b.turn()
    for _ in range(2):
        assert kept(b) == [18, 19, 20, 21, 22]
        b.restart(**config)
    b.layer.remove(ORDERS, [(20, 20), (22, 22)])
    b.ordered(b"a", b"b")
    assert kept(b, Level.ORDERED) == [18, 19, 21]
    b.turn()
    assert kept(b) == [18, 19, 21, 23, 24]
    b.ordered(b"c")
    assert b.tail().start == 19
    batch = b.layer.append_batch(ORDERS, client_batch(4))
    assert isinstance(batch, Appended)
    b.turn()
    assert kept(b) == [25, 26, 27, 28, 29]
    assert len(b.layer.engine.segments(ORDERS)) < 10


def check_bytes_are_limited_to_the_record(make: Make) -> None:
    size = record_bytes(len(b"orders"), 10)
    config: dict[str, Any] = {"retention_bytes": 4 * size, "exact_limits": True}
    b = bench(make, **config)
    for index in range(9):
        b.ordered(b"%010d" % index)
    b.turn()
    assert kept(b) == [5, 6, 7, 8]
    assert b.layer.query("bytes", ORDERS) == 4 * size
    b.restart(**config)
    b.ordered(b"x" * 10)
    assert b.tail().start == 6
    b.turn()
    b.layer.remove(ORDERS, [(7, 7)])
    assert b.layer.query("bytes", ORDERS) == 3 * size
    b.ordered(b"x" * 10)
    assert b.tail().start == 6
    b.ordered(b"x" * 10)
    b.turn()
    assert kept(b) == [8, 9, 10, 11]
    assert b.layer.query("bytes", ORDERS) == 4 * size
    b.layer.trim(ORDERS, Position(10))
    assert b.layer.query("bytes", ORDERS) == 2 * size
    b.ordered(b"y" * 10, headers=((b"a", b"12"),))
    assert b.layer.query("bytes", ORDERS) == 3 * size + 16 + 7


def check_bytes_are_told_of_any_stream(make: Make) -> None:
    b = bench(make)
    size = record_bytes(len(b"orders"), 10)
    b.ordered(*[b"0123456789"] * 5)
    assert b.layer.query("bytes", ORDERS) == 5 * size
    b.ordered(b"0123456789")
    b.layer.append_batch(ORDERS, client_batch(3, value=b"0123456789"))
    b.ordered(b"0123456789")
    b.layer.remove(ORDERS, [(1, 2), (8, 8)])
    assert b.layer.query("bytes", ORDERS) == 7 * size
    b.layer.remove(ORDERS, [(3, 3)])
    b.layer.trim(ORDERS, Position(5))
    b.turn()
    for _ in range(2):
        assert b.layer.query("bytes", ORDERS) == 4 * size
        b.restart()


def check_a_batch_of_several_addresses_is_one_append(make: Make) -> None:
    b = bench(make, retention_records=5, discard_new=True, exact_limits=True, address_records_max=2)
    builder = batches.BatchBuilder()
    for number in range(6):
        builder.add(START_MS, b"k", b"v", ((b"thalweg-address", b"orders/%d" % (number % 3)),))
    assert b.layer.append_batch(ORDERS, bytearray(builder.finish(0, -1, 0))) == Rejected("records", 5)


def check_what_is_new_is_rejected_where_the_limit_says_so(make: Make) -> None:
    config: dict[str, Any] = {
        "retention_records": 3,
        "retention_bytes": 1000,
        "discard_new": True,
        "exact_limits": True,
    }
    b = bench(make, **config)
    assert b.put(b"a", b"b", b"c", b"d") == Rejected("records", 3)
    b.ordered(b"a", b"b")
    assert b.put(b"c", b"d") == Rejected("records", 3)
    assert b.put(b"x" * 1000) == Rejected("bytes", 1000)
    b.ordered(b"c", when=Conditions(message_id=b"1"), headers=((b"Nats-Msg-Id", b"1"),))
    again = b.ordered(b"c", when=Conditions(message_id=b"1"))
    assert again.duplicate and again.base == 2
    assert b.layer.append_batch(ORDERS, client_batch()) == Rejected("records", 3)
    b.turn()
    b.restart(**config)
    assert b.put(b"d") == Rejected("records", 3)
    b.layer.remove(ORDERS, [(1, 1)])
    assert b.ordered(b"d").base == 3
    b.turn()
    assert kept(b) == [0, 2, 3]


def check_an_addresss_limit_takes_its_oldest(make: Make) -> None:
    config: dict[str, Any] = {"address_records_max": 2}
    b = bench(make, **config)
    for index in range(12):
        b.ordered(b"%d" % index, address=b"orders/%d" % (index % 3 if index < 9 else 0))
        if index % 5 == 4:
            b.turn()
    b.turn()
    want = [4, 5, 7, 8, 10, 11]
    for _ in range(2):
        assert kept(b) == want
        assert b.layer.query("addresses", ORDERS) == (
            (Address(b"orders/0"), 2, 11), (Address(b"orders/1"), 2, 7), (Address(b"orders/2"), 2, 8),
        )  # fmt: skip
        b.restart(**config)
    b.layer.remove(ORDERS, [(11, 11)])
    b.ordered(b"x", address=b"orders/0")
    b.turn()
    assert kept(b) == [4, 5, 7, 8, 10, 12]
    b.ordered(b"x", b"y", b"z", address=b"orders/1")
    b.turn()
    assert kept(b) == [5, 8, 10, 12, 14, 15]
    b.layer.configure(ORDERS, StreamConfig(address_records_max=1))
    b.turn()
    assert kept(b) == [8, 12, 15]


def check_an_addresss_limit_may_reject(make: Make) -> None:
    config: dict[str, Any] = {"address_records_max": 1, "address_discard_new": True}
    b = bench(make, **config)
    b.ordered(b"a", address=b"orders/1")
    assert b.put(b"b", address=b"orders/1") == Rejected("address_records", 1)
    b.ordered(b"b", address=b"orders/2")
    b.turn()
    b.restart(**config)
    assert b.put(b"c", address=b"orders/2") == Rejected("address_records", 1)
    b.layer.remove(ORDERS, [(1, 1)])
    b.ordered(b"c", address=b"orders/2")
    b.turn()
    assert kept(b) == [0, 2]


def check_age_is_exact_where_asked_for(make: Make) -> None:
    config: dict[str, Any] = {"retention_ms": 100, "exact_limits": True}
    b = bench(make, **config)
    for index in range(10):
        b.now_ms = START_MS + 10 * index
        b.ordered(b"%d" % index)
        b.turn()
    for now_ms, start, due in ((99, 0, 100), (100, 1, 110), (135, 4, 140), (200, 10, -1)):
        b.layer.removal.retain(START_MS + now_ms)
        b.turn()
        assert b.tail().start == start
        assert b.layer.removal.expires_ms == (START_MS + due if due >= 0 else -1)
    b.restart(**config)
    assert b.tail().start == 10


# compaction


def keyed(*pairs: tuple[bytes | None, bytes | None], codec: int = 0, at_ms: int = START_MS, producer: int = -1,
          sequence: int = 0) -> bytearray:  # fmt: skip
    """A client's batch of these keys and values."""
    builder = batches.BatchBuilder()
    for key, value in pairs:
        builder.add(at_ms, key, value)
    made = bytearray(builder.finish(0, -1, 0))
    if codec:
        packed = bytes(gzip.compress(bytes(made[61:]))) if codec == 1 else bytes(made[61:])
        made[61:] = packed
        struct.pack_into(">i", made, 8, len(made) - 12)
        struct.pack_into(">h", made, 21, codec)
    if producer >= 0:
        struct.pack_into(">qhi", made, 43, producer, 0, sequence)
    struct.pack_into(">I", made, 17, crc32c(bytes(made[21:])))
    return made


def compacted(b: Bench, rounds: int = 400) -> None:
    """Let compaction do all that it has to do."""
    for _ in range(rounds):
        b.turn()
        if b.layer.compact(b.now_ms) < 0:
            return
    raise AssertionError("compaction does not come to an end")


def latest(b: Bench) -> dict[bytes | None, bytes | None]:
    return {one.key: one.value for one in b.layer.each(b.layer.streams[ORDERS], b.tail().start)}


def check_the_last_of_each_key_is_kept(make: Make) -> None:
    config: dict[str, Any] = {"compaction": True, "segment_bytes": 700}
    b = bench(make, **config)
    for index in range(60):
        batch = keyed((b"k%d" % (index % 7), b"v%d" % index), (b"other", b"%d" % index), codec=index % 2)
        assert isinstance(b.layer.append_batch(ORDERS, batch), Appended)
        if index % 3 == 0:
            b.turn()
    b.turn()
    want = latest(b)
    whole = b.layer.engine.segments(ORDERS)
    compacted(b)
    for _ in range(2):
        tail = b.tail()
        assert (tail.start, tail.ordered) == (0, 120)
        assert latest(b) == want
        active = b.layer.engine.segments(ORDERS)[-1].base
        there = kept(b)
        assert len([at for at in there if at < active]) <= 8
        assert [at for at in there if at >= active] == list(range(active, 120))
        assert b.layer.query("count", ORDERS) == len(there)
        assert b.layer.query("count", ORDERS, start=100, end=118) == len([at for at in there if 100 <= at < 118])
        found = b.layer.query("find_time", ORDERS, None, START_MS)
        assert isinstance(found, Found) and found.position == there[0]
        b.restart(**config)
    assert [(one.base, one.end) for one in b.layer.engine.segments(ORDERS)[: len(whole) - 1]] == [
        (one.base, one.end) for one in whole[:-1]
    ]
    before = b.layer.compaction.rewritten
    compacted(b)
    assert b.layer.compaction.rewritten == before  # nothing new
    for index in range(40):
        b.layer.append_batch(ORDERS, keyed((b"k%d" % (index % 3), b"w%d" % index)))
        b.turn()
    want = latest(b)
    compacted(b)
    assert latest(b) == want and b.layer.compaction.rewritten > 0
    b.restart(**config)
    assert latest(b) == want


def check_tombstones_stay_for_their_time(make: Make) -> None:
    config: dict[str, Any] = {"compaction": True, "segment_bytes": 300, "tombstone_ms": 1000, "compaction_percent": 1}
    b = bench(make, **config)

    def fill(count: int) -> None:
        for index in range(count):
            b.layer.append_batch(ORDERS, keyed((b"filler", b"%d" % index * 30)))
            b.turn()

    b.layer.append_batch(ORDERS, keyed((b"gone", b"soon"), (b"stays", b"here")))
    b.layer.append_batch(ORDERS, keyed((b"gone", None)))
    fill(6)
    compacted(b)
    assert kept(b)[:2] == [1, 2]
    for wait_ms, there in ((900, True), (200, False)):
        b.now_ms += wait_ms
        fill(6)
        b.restart(**config)
        compacted(b)
        assert (b"gone" in latest(b)) is there
        assert latest(b)[b"stays"] == b"here"
    assert b.layer.query("next", ORDERS, start=0) == Found(Position(kept(b)[0]))


def check_what_is_young_is_left_alone(make: Make) -> None:
    b = bench(make, compaction=True, segment_bytes=300, compaction_lag_ms=1000, compaction_percent=1)
    for index in range(20):
        b.layer.append_batch(ORDERS, keyed((b"k", b"%d" % index * 30), at_ms=START_MS + 100 * index))
        b.turn()
    b.now_ms = START_MS + 2000
    compacted(b)
    there = kept(b)
    assert there[0] >= 5 and 9 <= len(there) <= 15
    b.now_ms = START_MS + 4000
    compacted(b)
    assert len(kept(b)) <= 3


def check_producers_go_on_after_compaction(make: Make) -> None:
    config: dict[str, Any] = {"compaction": True, "segment_bytes": 300, "compaction_percent": 1}
    b = bench(make, **config)
    for index in range(12):
        for producer in (7, 8):
            batch = keyed((b"k", b"%d" % index * 10), producer=producer, sequence=index)
            assert isinstance(b.layer.append_batch(ORDERS, batch), Appended)
        b.turn()
    b.layer.append_batch(ORDERS, keyed((b"k", b"x" * 300)))
    b.turn()
    b.layer.append_batch(ORDERS, keyed((b"k", b"x" * 300)))
    compacted(b)
    assert len(kept(b)) < 5
    b.restart(**config)
    again = b.layer.append_batch(ORDERS, keyed((b"k", b"%d" % 11 * 10), producer=7, sequence=11))
    assert isinstance(again, Appended) and again.duplicate
    assert b.layer.append_batch(ORDERS, keyed((b"k", b"y"), producer=7, sequence=14)) == Rejected("sequence", 12)
    assert isinstance(b.layer.append_batch(ORDERS, keyed((b"k", b"y"), producer=8, sequence=12)), Appended)


@needs("fail")
def check_compaction_begins_anew_in_a_new_epoch(make: Make) -> None:
    config: dict[str, Any] = {"compaction": True, "segment_bytes": 300, "compaction_percent": 1}
    b = bench(make, **config)
    for index in range(20):
        b.layer.append_batch(ORDERS, keyed((b"k%d" % (index % 2), b"%d" % index * 30)))
        b.turn()
    want = latest(b)
    for _ in range(40):  # somewhere in the middle of a pass
        if b.layer.compact(b.now_ms) >= 0 and b.layer.compaction.rewritten:
            break
        b.turn()
    b.layer.compact(b.now_ms)
    b.ordered(b"lost", stream=OTHER)
    b.turn(settle=False)
    b.storage.fail()
    assert b.layer.recover(b.now_ms)
    b.attach()
    b.create(**config)
    b.create(OTHER, b"other")
    b.layer.removal.settle()
    b.layer.recovered()
    assert latest(b) == want
    compacted(b)
    assert latest(b) == want and len(kept(b)) < 8


def check_what_marks_took_goes_from_the_files(make: Make) -> None:
    b = bench(make, segment_bytes=2000)
    for index in range(40):
        b.ordered(b"%d" % index * 100)
        b.turn()
    size = sum(one.bytes for one in b.layer.engine.segments(ORDERS))
    there = [at for at in range(40) if at % 4 == 0]
    b.layer.remove(ORDERS, [(at, at) for at in range(40) if at % 4])
    compacted(b)
    for _ in range(2):
        assert kept(b) == there
        assert b.layer.query("count", ORDERS) == 10 and b.layer.query("removed", ORDERS) == 30
        assert sum(one.bytes for one in b.layer.engine.segments(ORDERS)) < size / 2
        b.restart(segment_bytes=2000)
    before = b.layer.compaction.rewritten
    compacted(b)
    assert b.layer.compaction.rewritten == before


def check_segments_are_sealed_in_time(make: Make) -> None:
    b = bench(make, segment_ms=1000)
    for _ in range(3):
        b.ordered(b"v")
        b.turn()
        b.layer.removal.retain(b.now_ms)
        assert b.layer.removal.expires_ms == b.now_ms + 1000
        b.now_ms += 1000
        b.layer.removal.retain(b.now_ms)
    b.ordered(b"v")
    b.turn()
    assert [(one.base, one.end) for one in b.layer.engine.segments(ORDERS)] == [(0, 1), (1, 2), (2, 3), (3, 4)]


# what else a stream may ask for


def check_patterns_find_count_and_list(make: Make) -> None:
    b = bench(make)
    for index in range(10):
        b.ordered(b"%d" % index, address=b"orders/%d/%s" % (index % 2, b"ab"[index % 3 == 0 :][:1]))
    for _ in range(2):

        def ask(kind: str, pattern: bytes, **more: Any) -> object:
            return b.layer.query(kind, ORDERS, pattern=Tokens(pattern), **more)

        assert ask("next", b"orders/1/%*") == Found(Position(1))
        assert ask("next", b"orders/%*/b", start=1) == Found(Position(3))
        assert ask("next", b"orders/%*/b", start=4, end=6) == Found(Position(-1))
        assert ask("next", b"nothing/%>") == Found(Position(-1))
        assert ask("last", b"orders/0/%>") == Found(Position(8))
        assert ask("last", b"orders/%*/b", end=9) == Found(Position(6))
        assert ask("count", b"orders/%*/b") == 4
        assert ask("count", b"orders/1/%>", start=2, end=8) == 3
        assert ask("addresses", b"orders/1/%*") == ((Address(b"orders/1/a"), 3, 7), (Address(b"orders/1/b"), 2, 9))
        assert ask("addresses", b"orders/1/b") == ((Address(b"orders/1/b"), 2, 9),)
        b.turn()
        b.restart()


def check_the_log_stamps_what_it_is_asked_to(make: Make) -> None:
    b = bench(make, append_time=True)
    b.now_ms = START_MS + 7
    b.layer.now_ms = b.now_ms
    answer = b.layer.append_batch(ORDERS, client_batch(2, at_ms=5))
    assert isinstance(answer, Appended) and answer.timestamp_ms == START_MS + 7
    b.turn()
    assert [one.timestamp_ms for one in b.records()] == [START_MS + 7] * 2


def check_stable_is_below_the_earliest_open_transaction(make: Make) -> None:
    b = bench(make)
    b.ordered(*[b"v"] * 4)
    b.ordered(*[b"w"] * 4, address=b"orders/x")
    b.turn()
    assert b.tail().stable == 8
    b.layer.streams[ORDERS].open_from = 5
    assert (b.tail().stable, b.tail().committed) == (5, 8)
    assert isinstance(b.layer.read(ORDERS, Position(6), 1, Level.STABLE), StreamError)
    assert isinstance(b.layer.read(ORDERS, Position(6), 1, Level.COMMITTED), Batches)


def check_the_epochs_of_a_stream_are_told(make: Make) -> None:
    b = bench(make)
    expected = []
    for index in range(3):
        expected.append((b.ordered(b"x").epoch, 2 * index))
        b.ordered(b"y")
        b.turn()
        b.restart()
    assert b.layer.query("epochs", ORDERS) == tuple(expected)


# watching


def check_a_watcher_is_told_at_most_once_a_turn(make: Make) -> None:
    b = bench(make)
    told = Told()
    watch = b.layer.watch(ORDERS, Level.DURABLE, told)
    for expected in (1, 2):
        for _ in range(3):
            b.ordered(b"x")
        b.turn()
        assert told.times == expected
    b.ordered(b"x", stream=OTHER)
    b.turn()
    assert told.times == 2
    watch.close()
    watch.close()
    b.ordered(b"x")
    b.turn()
    assert told.times == 2


def check_a_watch_closed_by_another_is_told_nothing_more(make: Make) -> None:
    b = bench(make)
    handles: list[Handle] = []

    def close_all() -> None:
        for handle in handles:
            handle.close()

    watchers = [Told(close_all), Told(close_all)]
    handles += [b.layer.watch(ORDERS, Level.ORDERED, watcher) for watcher in watchers]
    b.ordered(b"x")
    b.turn()
    assert sum(watcher.times for watcher in watchers) == 1


def check_a_watcher_finds_what_it_was_told_of(make: Make) -> None:
    for level in (Level.ORDERED, Level.DURABLE):
        b = bench(make)
        seen: list[int] = []
        b.layer.watch(ORDERS, level, Told(lambda b=b, level=level, seen=seen: seen.append(len(b.values(level=level)))))  # type: ignore[misc]
        b.ordered(b"x")
        b.turn()
        b.ordered(b"y")
        b.turn()
        assert seen == [1, 2], (level, seen)


def check_deleting_a_stream_tells_its_watchers_and_ends_it(make: Make) -> None:
    b = bench(make)
    told = Told()
    b.layer.watch(ORDERS, Level.DURABLE, told)
    b.ordered(b"x")
    b.turn()
    b.ordered(b"y", stream=OTHER)
    b.layer.delete(ORDERS)
    assert isinstance(b.put(b"z"), StreamError)
    b.turn()
    assert told.times == 2 and isinstance(b.layer.tail(ORDERS), StreamError)
    b.restart((OTHER, b"other"))
    assert not b.layer.held(ORDERS) and b.values(OTHER) == [b"y"]


@needs("delay", "lose")
def check_a_deletion_that_was_not_durable_leaves_the_stream(make: Make) -> None:
    b = bench(make)
    b.ordered(b"x")
    b.turn()
    b.ordered(b"the command that deletes it", stream=OTHER)
    b.layer.delete(ORDERS)
    b.turn(settle=False)
    b.restart((ORDERS, b"orders"), (OTHER, b"other"), clean=False)
    if not b.values(OTHER):
        assert b.values() == [b"x"]
    else:
        b.layer.delete(ORDERS)


# trimming and retention


def check_start_only_moves_forward_and_is_exact(make: Make) -> None:
    b = bench(make)
    b.ordered(*[b"%d" % index for index in range(10)])
    b.turn()
    for before, start in ((3, 3), (1, 3), (7, 7)):
        b.layer.trim(ORDERS, Position(before))
        assert b.tail().start == start
        assert b.values() == [b"%d" % index for index in range(start, 10)]
        below = b.layer.read(ORDERS, Position(start - 1), 1, Level.DURABLE)
        assert isinstance(below, StreamError) and below.code is ErrorCode.OUT_OF_RANGE
    b.turn()
    b.restart()
    assert b.tail().start == 7 and b.values() == [b"7", b"8", b"9"]
    b.layer.trim(ORDERS, Position(10))
    b.turn()
    assert b.values() == [] and (b.tail().start, b.tail().ordered) == (10, 10)
    assert b.ordered(b"10").base == 10
    b.turn()
    b.restart()
    assert b.values() == [b"10"]


def check_what_is_not_durable_yet_can_be_trimmed(make: Make) -> None:
    b = bench(make)
    b.ordered(*[b"%d" % index for index in range(4)])
    commit = b.layer.trim(ORDERS, Position(3))
    assert b.tail().start == 3 and commit > 0
    b.turn()
    assert b.values() == [b"3"]
    b.restart()
    assert b.values() == [b"3"]


def check_retention_by_count_is_exact(make: Make) -> None:
    b = bench(make, retention_records=3)
    for index in range(10):
        b.ordered(b"%d" % index)
    b.turn()
    assert b.layer.removal.retain(b.now_ms) == 1
    assert b.values() == [b"7", b"8", b"9"]
    assert b.layer.removal.retain(b.now_ms) == 0


def check_retention_by_size_removes_whole_old_segments(make: Make) -> None:
    b = bench(make, segment_bytes=1000, retention_bytes=3000)
    for index in range(40):
        b.ordered(b"%02d" % index * 100)
        b.turn()
    b.layer.removal.retain(b.now_ms)
    kept = sum(len(r.value or b"") for r in b.records())
    assert 2000 <= kept <= 6000 and b.values()[-1] == b"39" * 100
    assert b.tail().start > 0


def check_retention_by_age_removes_whole_old_segments(make: Make) -> None:
    b = bench(make, segment_bytes=1000, retention_ms=500)
    for index in range(40):
        b.now_ms = START_MS + 100 * index
        b.ordered(b"%02d" % index * 100)
        b.turn()
    b.layer.removal.retain(b.now_ms)
    positions = [r.position for r in b.records()]
    assert positions[0] > 20 and positions[-1] == 39 and 34 in positions, "nothing young is removed"


# streams in memory


def check_streams_in_memory_order_and_wait_for_nothing(make: Make) -> None:
    b = bench(make, durability=Durability.MEMORY)
    told = Told()
    b.layer.watch(ORDERS, Level.DURABLE, told)
    answer = b.ordered(b"a", b"b")
    assert (answer.base, answer.last, answer.commit) == (0, 1, 0)
    b.turn(settle=False)
    assert b.values() == [b"a", b"b"] and told.times == 1
    b.layer.trim(ORDERS, Position(1))
    assert b.values() == [b"b"]
    b.restart(durability=Durability.MEMORY)
    assert b.values() == [] and b.ordered(b"c").base == 0


@needs("delay", "fail")
def check_streams_in_memory_outlive_a_failure_of_the_disk(make: Make) -> None:
    b = bench(make)
    b.create(StreamId(2000), b"memory", durability=Durability.MEMORY)
    b.ordered(b"a", stream=StreamId(2000))
    b.ordered(b"lost")
    b.turn(settle=False)
    b.storage.fail()
    assert isinstance(b.put(b"b", stream=StreamId(2000)), Appended)
    assert b.layer.recover(b.now_ms)
    b.create()
    b.create(StreamId(2000), b"memory", durability=Durability.MEMORY)
    b.layer.recovered()
    b.turn()
    assert b.values(StreamId(2000)) == [b"a", b"b"] and b.values() == []


def check_slices_are_copied_before_append_returns(make: Make) -> None:
    b = bench(make)
    buffer = bytearray(b"hello world")
    group = Group(b"orders", buffer)
    group.add(0, 5)
    group.add(6, 5)
    b.layer.append_group(ORDERS, group)
    found = b.layer.streams[ORDERS]
    b.layer.append_slices(found, buffer, array("q", (0, 5)), 1, b"orders", None, 5)
    buffer[:] = b"XXXXXXXXXXX"
    b.turn()
    assert b.values() == [b"hello", b"world", b"hello"]


def check_a_turn_does_not_end_in_the_middle_of_what_is_one_commit(make: Make) -> None:
    b = bench(make)
    commits = {b.ordered(bytes(3_000_000), stream=stream).commit for stream in (ORDERS, OTHER) * 4}
    assert len(commits) == 1
    b.layer.relieve(1)
    b.turn()
    assert len(b.values()) == 4


CHECKS: list[Check] = [check for name, check in sorted(globals().items()) if name.startswith("check_")]


def checks_for(can: Iterable[str]) -> list[Check]:
    """Those that a storage with these abilities can be asked."""
    return [check for check in CHECKS if _NEEDS.get(check, frozenset()) <= set(can)]
