"""Fetch 4-12.

Batches leave as they are stored: a fetch that begins within a batch gets the whole batch (the client skips), and the
first batch of a response comes however large it is (KIP-74). ``max_bytes``, ``partition_max_bytes`` and
``fetch_bytes_max`` bound the rest; partitions are read in the request's order.

A fetch that finds less than ``min_bytes`` waits, up to ``max_wait_ms``, for all its partitions at once; an error on any
partition answers at once. read_uncommitted reads below the high watermark (all that is durable), read_committed below the
last stable offset.

Deviations: fetch sessions (KIP-227) are declined (session id 0), a request that names one gets
FETCH_SESSION_ID_NOT_FOUND; requests by topic id (13 and later) are not spoken; ``max_wait_ms`` above
``fetch_wait_ms_max`` is cut to it.
"""

from __future__ import annotations

from typing import Any

from protocols.api import Handle
from protocols.kafka.access import READ, find, holds_throughout
from protocols.kafka.errors import Code, refusal
from protocols.kafka.exchange import Exchange
from substrate.api import Answer, Batches, ErrorCode, Level, Position, StreamError, StreamId, Tail

READ_COMMITTED = 1


class _Part:
    """One partition of the request and what was found of it."""

    __slots__ = ("chunks", "code", "epoch", "index", "max_bytes", "next", "size", "stream", "tail", "topic")

    def __init__(self, topic: str, asked: Any, stream: StreamId, code: Code) -> None:
        self.topic = topic
        self.index: int = asked.partition
        self.stream = stream
        self.next: int = asked.fetch_offset
        self.max_bytes: int = max(asked.partition_max_bytes, 0)
        self.epoch: int = asked.current_leader_epoch
        self.code = code
        self.chunks: list[bytes | memoryview] = []
        self.size = 0
        self.tail: Tail | None = None


class _Fetch:
    """One request. It reads partition after partition (``_walk``), then answers or waits.

    While it waits, ``_advanced`` collects partitions with something new; each is read on from where it was left.
    """

    __slots__ = (
        "_advanced", "_alarm", "_at", "_handles", "_queue", "_reading", "_room", "_walking", "bytes_max", "exchange", "level",
        "message", "min_bytes", "parts", "size",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, message: Any) -> None:
        self.exchange = exchange
        self.message = message
        self.level = Level.STABLE if message.isolation_level == READ_COMMITTED else Level.COMMITTED
        self.bytes_max = min(max(message.max_bytes, 0), exchange.settings.fetch_bytes_max)
        self.min_bytes = min(message.min_bytes, self.bytes_max)
        self.size = 0
        self.parts = [_Part(topic.topic, *found) for topic in message.topics for found in _streams(exchange, topic)]
        self._queue: list[_Part] = []
        self._at = 0
        self._walking = False
        self._room = 0
        self._reading: _Part | None = None
        self._advanced: dict[int, _Part] = {}
        self._handles: list[Handle] = []
        self._alarm = 0

    def run(self) -> None:
        self._start([part for part in self.parts if part.code is Code.NONE])

    # reading

    def _start(self, parts: list[_Part]) -> None:
        self._queue, self._at = parts, 0
        self._walk()

    def _walk(self) -> None:
        """Read the queue's partitions one after the other; answers may come within the call or later."""
        if self._walking:
            return
        self._walking = True
        while self._reading is None and self._at < len(self._queue):
            part = self._queue[self._at]
            self._at += 1
            room = min(self.bytes_max - self.size, part.max_bytes - part.size)
            if self.size and room <= 0:
                if part.tail is None:
                    self._ask_tail(part)
                continue
            self._reading, self._room = part, room
            port, token = self.exchange.port, self.exchange.ask(self._read)
            port.read(part.stream, Position(part.next), max(room, 0), self.level, token)
        self._walking = False
        if self._reading is None and not self.exchange.done:
            self._judge()

    def _read(self, answer: Answer) -> None:
        part, self._reading = self._reading, None
        assert part is not None
        if isinstance(answer, Batches):
            self._take(part, answer)
        elif isinstance(answer, StreamError) and answer.code is ErrorCode.OUT_OF_RANGE:
            part.code = Code.OFFSET_OUT_OF_RANGE
            self._ask_tail(part)
        else:
            part.code = refusal(answer)[0]
        if not self.exchange.done:
            self._walk()

    def _take(self, part: _Part, found: Batches) -> None:
        part.tail = found.tail
        if part.epoch >= 0 and part.epoch != found.tail.epoch:
            old = part.epoch < found.tail.epoch
            part.code = Code.FENCED_LEADER_EPOCH if old else Code.UNKNOWN_LEADER_EPOCH
            return
        size = sum(map(len, found.data))
        if size == 0 or (self.size and size > self._room):
            return  # at least one batch is always read: one that is too large waits for a response of its own
        part.chunks.extend(found.data)
        part.next = found.next
        part.size += size
        self.size += size

    def _ask_tail(self, part: _Part) -> None:
        """Its marks are told also where nothing is read."""
        self._reading = part
        self.exchange.port.query("tail", part.stream, self.exchange.ask(self._tail))

    def _tail(self, answer: Answer) -> None:
        part, self._reading = self._reading, None
        assert part is not None
        if isinstance(answer, Tail):
            part.tail = answer
            # not durable, or not stable, yet: there, but not to be seen
            part.code = Code.NONE if answer.start <= part.next <= answer.ordered else Code.OFFSET_OUT_OF_RANGE
        else:
            part.code = refusal(answer)[0]
        if not self.exchange.done:
            self._walk()

    # waiting

    def _judge(self) -> None:
        """All was read: answer, or wait for more."""
        message = self.message
        failed = any(part.code is not Code.NONE for part in self.parts)
        wait_ms = min(message.max_wait_ms, self.exchange.settings.fetch_wait_ms_max)
        if self.size >= self.min_bytes or failed or wait_ms <= 0:
            self.finish()
        elif not self._alarm:
            self.exchange.session.owed_bytes += self.bytes_max
            self._alarm = self.exchange.session.alarm(self.exchange.now_ns + wait_ms * 1_000_000, self.finish)
            port = self.exchange.port
            for stream in {part.stream for part in self.parts}:
                self._handles.append(port.watch(stream, self.level, self))
            self._start(self.parts)  # what became visible before the watches stood
        elif self._advanced:
            parts = list(self._advanced.values())
            self._advanced.clear()
            self._start(parts)

    def advanced(self, stream: StreamId) -> None:
        """See ``substrate.api.Watcher``."""
        if self.exchange.done:
            return
        for part in self.parts:
            if part.stream == stream:
                self._advanced[id(part)] = part
        if self._reading is None and not self._walking:
            self._judge()

    def finish(self) -> None:
        """Answer with what was found so far."""
        if self.exchange.done:
            return
        for handle in self._handles:
            handle.close()
        self._handles.clear()
        if self._alarm:
            self.exchange.session.disarm(self._alarm)
            self.exchange.session.owed_bytes -= self.bytes_max
        exchange = self.exchange
        responses: list[Any] = []
        for part in self.parts:
            if not responses or responses[-1].topic != part.topic:
                responses.append(exchange.make("responses", topic=part.topic, partitions=[]))
            responses[-1].partitions.append(self._partition(part))
        exchange.reply(exchange.make(responses=responses))

    def _partition(self, part: _Part) -> Any:
        tail = part.tail
        return self.exchange.make(
            "responses",
            "partitions",
            partition_index=part.index,
            error_code=part.code,
            high_watermark=-1 if tail is None else tail.committed,
            last_stable_offset=-1 if tail is None else tail.stable,
            log_start_offset=-1 if tail is None else tail.start,
            aborted_transactions=[] if self.level is Level.STABLE else None,
            records=tuple(part.chunks) if part.code is Code.NONE else b"",
        )


def fetch(exchange: Exchange, message: Any) -> None:
    if message.session_id != 0:
        exchange.reply(exchange.make(error_code=Code.FETCH_SESSION_ID_NOT_FOUND))
        return
    _Fetch(exchange, message).run()


def _streams(exchange: Exchange, topic: Any) -> list[tuple[Any, StreamId, Code]]:
    """Each partition asked for with its stream, or 0 and why not."""
    found, code = find(exchange, topic.topic, READ)
    if found is not None and not holds_throughout(exchange, READ, found):
        found, code = None, Code.TOPIC_AUTHORIZATION_FAILED
    if found is None:
        return [(asked, StreamId(0), code) for asked in topic.partitions]
    streams = found.streams
    return [
        (asked, streams[asked.partition], Code.NONE)
        if 0 <= asked.partition < len(streams)
        else (asked, StreamId(0), Code.UNKNOWN_TOPIC_OR_PARTITION)
        for asked in topic.partitions
    ]
