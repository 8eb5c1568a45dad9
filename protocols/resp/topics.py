"""Stream keys that are topics: what XADD XLEN XRANGE XREAD do to a stream that all four protocols write and read.

A key of database 0 that does not exist and names a topic (Kafka topic, JetStream stream) shows that topic's records.
The first XADD binds the key to it (by its topic id, recorded as an effect); it never becomes another's. A key that is there
already stays what it is. Ids are ``<position + 1>-0`` whoever wrote the record. What is read is durable, and the answer
of XADD waits until its record is.

Of a topic with several partitions, the key is the partition that its own name goes to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from protocols.resp.call import Call, Later
from protocols.resp.errors import REJECTED, STREAM_ERRORS, UNKNOWN_OUTCOME, CommandError
from protocols.resp.mapping import address_of, first_position, id_of, last_position, record_of, words_of
from protocols.resp.state import SHARED, Entry
from protocols.resp.wire import EMPTY, bulk, bulks, error, integer
from substrate import batch as batches
from substrate.api import (
    Ack,
    Address,
    Appended,
    Batches,
    ErrorCode,
    Level,
    Position,
    Record,
    Rejected,
    StreamError,
    StreamId,
    Tail,
    Topic,
)
from substrate.batch import BatchError
from substrate.group import Group

if TYPE_CHECKING:
    from protocols.resp.keyspace import Keyspace

Id = tuple[int, int]
READ_BYTES = 1024 * 1024
REPLY_BYTES_MAX = 256 * 1024 * 1024
"""Of the records that one range may gather."""
Encode = Callable[[list[tuple[Id, bytes]]], bytes]


def failure(answer: object) -> bytes:
    """The error reply for whatever the substrate said instead."""
    if isinstance(answer, StreamError):
        text = STREAM_ERRORS[answer.code]
        return error(f"{text}: {answer.detail}" if answer.detail else text)
    if isinstance(answer, Rejected):
        return error(REJECTED)
    return error(UNKNOWN_OUTCOME)


def find_topic(call: Call, key: bytes) -> Topic | None:
    if call.db.number != 0 or call.replaying:
        return None
    return call.keyspace.world.topic(call.account, address_of(key))


def shared_of(call: Call, key: bytes) -> Shared | None:
    """The topic that a key which is not there names."""
    topic = find_topic(call, key)
    return None if topic is None else Shared(topic.name, topic.topic_id)


def bind(call: Call, words: list[bytes]) -> bytes:
    """The effect of a first XADD: ``_BIND key name topic_id``; only on replay."""
    call.make(words[1], SHARED, Shared(Address(words[2]), words[3]))
    return b"+OK\r\n"


class Shared:
    """A topic as a stream."""

    __slots__ = ("name", "topic_id")

    def __init__(self, name: Address, topic_id: bytes) -> None:
        self.name = name
        self.topic_id = topic_id

    def bind(self, call: Call, key: bytes, entry: Entry | None) -> None:
        """The key is this topic's from here on."""
        if entry is None:
            call.make(key, SHARED, self)
            call.changed(key)
            call.effect(b"_BIND", key, self.name, self.topic_id)

    def stream_of(self, call: Call) -> StreamId:
        """The partition that the key is.

        Raises:
            CommandError: the topic was deleted; one of the same name is another one.
        """
        world = call.keyspace.world
        topic = world.topic(call.account, self.name)
        if topic is None or topic.topic_id != self.topic_id:
            raise CommandError(STREAM_ERRORS[ErrorCode.NO_STREAM])
        if len(topic.streams) > 1:
            route = world.resolve(call.account, self.name)
            if route.stream in topic.streams:
                return route.stream
        return topic.streams[0]

    def append(self, call: Call, fields: list[bytes]) -> bytes | Later:
        """Append an entry; the reply, its id, waits until it is durable."""
        stream = self.stream_of(call)
        value, headers = record_of(fields)
        group = Group.of(self.name, value, headers, call.client.session)
        later = Later()

        def appended(answer: object) -> None:
            if isinstance(answer, Appended):
                later.fill(bulk(b"%d-0" % (answer.base + 1)), answer.commit)
            else:
                later.fill(failure(answer))

        keyspace = call.keyspace
        keyspace.world.append(stream, group, Ack.DURABLE, keyspace.expect(appended))
        return later

    def tail(self, call: Call, then: Callable[[object], None]) -> None:
        keyspace = call.keyspace
        keyspace.world.query("tail", self.stream_of(call), keyspace.expect(then))

    def length(self, call: Call) -> Later:
        later = Later()

        def told(answer: object) -> None:
            later.fill(integer(answer.durable - answer.start) if isinstance(answer, Tail) else failure(answer))

        self.tail(call, told)
        return later

    def last_id(self, call: Call) -> Id:
        """The id of the newest durable record; (0, 0) where the tail is not known at once (then XREAD $ reads all)."""
        found: list[Id] = []

        def told(answer: object) -> None:
            if isinstance(answer, Tail):
                found.append(id_of(answer.durable - 1))

        self.tail(call, told)
        return found[0] if found else (0, 0)

    def range(self, call: Call, start: Id, end: Id, count: int, reverse: bool, encode: Encode) -> bytes | Later:
        """Entries between two ids, both included; at most ``count`` (negative: all)."""
        first, last = first_position(start), last_position(end)
        if last < first:
            return EMPTY
        reading = Reading(call.keyspace, self.stream_of(call), self.name, first, last, count, reverse, encode)
        reading.begin()
        return reading.later if reading.later.reply is None else reading.later.reply

    @property
    def stream(self) -> tuple[Address, bytes]:
        return self.name, self.topic_id


class Reading:
    """One range over a topic's stream: its tail, then batch after batch until it has what was asked for."""

    def __init__(
        self,
        keyspace: Keyspace,
        stream: StreamId,
        name: Address,
        first: int,
        last: int,
        count: int,
        reverse: bool,
        encode: Encode,
    ) -> None:
        self.keyspace = keyspace
        self.stream = stream
        self.name = name
        self.first = first
        self.last = last
        self.count = count
        self.reverse = reverse
        self.encode = encode
        self.later = Later()
        self.found: list[Record] = []
        self.bytes = 0
        self.at = first
        self.window_first = first
        self.window_last = last

    def begin(self) -> None:
        self.keyspace.world.query("tail", self.stream, self.keyspace.expect(self.told))

    def told(self, answer: object) -> None:
        if not isinstance(answer, Tail):
            self.later.fill(failure(answer))
            return
        self.first = max(self.first, answer.start)
        self.last = min(self.last, answer.stable - 1)
        self.window_last = self.last
        if self.reverse and self.count > 0:
            self.window_first = max(self.first, self.last - 2 * self.count + 1)
        else:
            self.window_first = self.first
        self.at = self.window_first
        self.go_on()

    def go_on(self) -> None:
        if self.at > self.window_last:
            if self.reverse and len(self.found) < self.count and self.window_first > self.first:
                size = max(2 * (self.window_last - self.window_first + 1), 64)  # gaps: look further down
                self.found = []
                self.window_first = max(self.first, self.last - size + 1)
                self.at = self.window_first
            else:
                self.finish()
                return
        self.keyspace.world.read(
            self.stream, Position(self.at), READ_BYTES, Level.STABLE, self.keyspace.expect(self.took)
        )

    def took(self, answer: object) -> None:
        if not isinstance(answer, Batches):
            self.later.fill(failure(answer))
            return
        if not answer.data and answer.next <= self.at:
            self.finish()
            return
        try:
            for data in answer.data:
                for record in batches.decode(data, self.name, self.at):
                    if record.position <= self.window_last:
                        self.found.append(record)
                        self.bytes += len(record.value or b"")
        except BatchError as broken:
            self.later.fill(failure(StreamError(ErrorCode.INVALID, str(broken))))
            return
        if self.bytes > REPLY_BYTES_MAX:
            self.later.fill(error("ERR the range is larger than one reply may be: use COUNT"))
            return
        self.at = max(answer.next, self.at + 1)
        if not self.reverse and 0 <= self.count <= len(self.found):
            self.finish()
        else:
            self.go_on()

    def finish(self) -> None:
        found = self.found[::-1] if self.reverse else self.found
        if self.count >= 0:
            found = found[: self.count]
        self.later.fill(self.encode([(id, bulks(fields)) for id, fields in words_of(found)]))
