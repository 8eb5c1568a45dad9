"""ListOffsets 1-11, OffsetForLeaderEpoch 2-4: where in a partition to read.

* Timestamps that mean something: -1 latest (read_committed: the last stable offset), -2 earliest, -3 the record with the
  largest timestamp (version 7), -4 earliest local (version 8; all is local), -5 latest tiered and -6 earliest to be tiered
  (versions 9 and 11; nothing is). Any other: the first record that is not older, found at record granularity; none: timestamp
  -1 and offset -1. What is not durable yet is not found.
* Leader epochs are those under which the sequencer wrote (raised at each opening). OffsetForLeaderEpoch answers the
  largest epoch at or below the one asked for and where it ends.
"""

from __future__ import annotations

from typing import Any

from protocols.kafka.access import Right, find
from protocols.kafka.errors import Code, refusal
from protocols.kafka.exchange import Exchange
from substrate.api import Answer, Found, Level, StreamId, Tail

READ_COMMITTED = 1
LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED, EARLIEST_PENDING = -1, -2, -3, -4, -5, -6
FIRST_VERSION = {MAX_TIMESTAMP: 7, EARLIEST_LOCAL: 8, LATEST_TIERED: 9, EARLIEST_PENDING: 11}


class Partitions:
    """Answers of a request over partitions, in its order; the reply goes out when the last is there.

    ``name`` is the field of a topic's name; ``partitions`` that of the request's partitions.
    """

    __slots__ = ("_exchange", "_field", "_left", "_topics")

    def __init__(self, exchange: Exchange, message: Any, name: str, partitions: str = "partitions") -> None:
        self._exchange = exchange
        self._field = name
        self._topics = [(getattr(topic, name), [None] * len(getattr(topic, partitions))) for topic in message.topics]
        self._left = 1 + sum(len(found) for _, found in self._topics)

    def put(self, topic: int, at: int, found: Any) -> None:
        self._topics[topic][1][at] = found
        self.done()

    def done(self) -> None:
        self._left -= 1
        if self._left == 0:
            make = self._exchange.make
            topics = [make("topics", **{self._field: name}, partitions=found) for name, found in self._topics]
            self._exchange.reply(make(topics=topics))


def stream_of(exchange: Exchange, name: str, partition: int, right: Right | None) -> tuple[StreamId, Code]:
    """The stream of a partition if this user has this right on it (None: any); 0, and why not."""
    topic, code = find(exchange, name, right)
    if topic is None:
        return StreamId(0), code
    if not 0 <= partition < len(topic.streams):
        return StreamId(0), Code.UNKNOWN_TOPIC_OR_PARTITION
    return topic.streams[partition], Code.NONE


def epoch_refusal(asked: int, actual: int) -> Code:
    """KIP-320: what a request's ``current_leader_epoch`` says of the client's metadata."""
    if asked < 0 or asked == actual:
        return Code.NONE
    return Code.FENCED_LEADER_EPOCH if asked < actual else Code.UNKNOWN_LEADER_EPOCH


def list_offsets(exchange: Exchange, message: Any) -> None:
    answers = Partitions(exchange, message, "name")
    for at_topic, topic in enumerate(message.topics):
        for at, asked in enumerate(topic.partitions):
            stream, code = stream_of(exchange, topic.name, asked.partition_index, None)
            _ListOffset(exchange, message.isolation_level, asked, stream, answers, at_topic, at).run(code)
    answers.done()


class _ListOffset:
    """One partition of a ListOffsets request: its tail, then what was asked for."""

    __slots__ = ("answers", "asked", "at", "at_topic", "exchange", "isolation", "stream", "tail")

    def __init__(
        self,
        exchange: Exchange,
        isolation: int,
        asked: Any,
        stream: StreamId,
        answers: Partitions,
        at_topic: int,
        at: int,
    ) -> None:
        self.exchange = exchange
        self.isolation = isolation
        self.asked = asked
        self.stream = stream
        self.answers = answers
        self.at_topic = at_topic
        self.at = at

    def run(self, code: Code) -> None:
        time_ms = self.asked.timestamp
        unknown = time_ms < EARLIEST_PENDING or self.exchange.version < FIRST_VERSION.get(time_ms, 0)
        if unknown and code is not Code.TOPIC_AUTHORIZATION_FAILED:
            self._put(Code.UNSUPPORTED_VERSION)
        elif not self.stream:
            self._put(code)
        else:
            self.exchange.port.query("tail", self.stream, self.exchange.ask(self._tail))

    def _tail(self, answer: Answer) -> None:
        if not isinstance(answer, Tail):
            self._put(refusal(answer)[0])
            return
        self.tail = answer
        code = epoch_refusal(self.asked.current_leader_epoch, answer.epoch)
        time_ms = self.asked.timestamp
        if code is not Code.NONE:
            self._put(code)
        elif time_ms == LATEST:
            self._put(Code.NONE, answer.stable if self.isolation == READ_COMMITTED else answer.committed)
        elif time_ms in (LATEST_TIERED, EARLIEST_PENDING):
            self._put(Code.NONE)
        elif time_ms in (EARLIEST, EARLIEST_LOCAL):
            self._put(Code.NONE, answer.start)
        else:
            kind = "max_time" if time_ms == MAX_TIMESTAMP else "find_time"
            token = self.exchange.ask(self._found)
            level = Level.STABLE if self.isolation == READ_COMMITTED else Level.COMMITTED
            self.exchange.port.query(kind, self.stream, token, time_ms=max(time_ms, 0), level=level)

    def _found(self, answer: Answer) -> None:
        if not isinstance(answer, Found):
            self._put(refusal(answer)[0])
            return
        visible = self.tail.stable if self.isolation == READ_COMMITTED else self.tail.committed
        if 0 <= answer.position < visible:
            self._put(Code.NONE, answer.position, answer.timestamp_ms)
        else:
            self._put(Code.NONE)

    def _put(self, code: Code, offset: int = -1, time_ms: int = -1) -> None:
        made = self.exchange.make(
            "topics",
            "partitions",
            partition_index=self.asked.partition_index,
            error_code=code,
            timestamp=time_ms,
            offset=offset,
        )
        self.answers.put(self.at_topic, self.at, made)


def offset_for_leader_epoch(exchange: Exchange, message: Any) -> None:
    answers = Partitions(exchange, message, "topic")
    for at_topic, topic in enumerate(message.topics):
        for at, asked in enumerate(topic.partitions):
            stream, code = stream_of(exchange, topic.topic, asked.partition, None)
            _EndOfEpoch(exchange, asked, stream, answers, at_topic, at).run(code)
    answers.done()


class _EndOfEpoch:
    """One partition of an OffsetForLeaderEpoch request."""

    __slots__ = ("answers", "asked", "at", "at_topic", "exchange", "stream", "tail")

    def __init__(
        self, exchange: Exchange, asked: Any, stream: StreamId, answers: Partitions, at_topic: int, at: int
    ) -> None:
        self.exchange = exchange
        self.asked = asked
        self.stream = stream
        self.answers = answers
        self.at_topic = at_topic
        self.at = at

    def run(self, code: Code) -> None:
        if self.stream:
            self.exchange.port.query("tail", self.stream, self.exchange.ask(self._tail))
        else:
            self._put(code)

    def _tail(self, answer: Answer) -> None:
        if not isinstance(answer, Tail):
            self._put(refusal(answer)[0])
            return
        self.tail = answer
        code = epoch_refusal(self.asked.current_leader_epoch, answer.epoch)
        if code is not Code.NONE:
            self._put(code)
        elif self.asked.leader_epoch == answer.epoch:
            self._put(Code.NONE, answer.epoch, answer.committed)
        else:
            self.exchange.port.query("epochs", self.stream, self.exchange.ask(self._epochs))

    def _epochs(self, answer: Answer) -> None:
        if not isinstance(answer, tuple):
            self._put(refusal(answer)[0])
            return
        epoch, end = end_of_epoch(answer, self.asked.leader_epoch, self.tail)
        self._put(Code.NONE, epoch, end)

    def _put(self, code: Code, epoch: int = -1, end: int = -1) -> None:
        made = self.exchange.make(
            "topics", "partitions", partition=self.asked.partition, error_code=code, leader_epoch=epoch, end_offset=end
        )
        self.answers.put(self.at_topic, self.at, made)


def end_of_epoch(epochs: tuple[tuple[int, int], ...], asked: int, tail: Tail) -> tuple[int, int]:
    """The largest epoch at or below ``asked`` and the first position not of it; (-1, -1): none is known.

    ``epochs`` are (epoch, first position), ascending.
    """
    found, end = -1, -1
    for epoch, first in epochs:
        if epoch > asked:
            return (found, first) if found >= 0 else (-1, -1)
        found, end = epoch, tail.committed
    return (found, end) if asked <= tail.epoch else (-1, -1)
