"""``/api/records``: a page of a stream's records as JSON, or all from a position on as ndjson, followed if asked.

What is shown is durable, and of an address that the user may read.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from protocols.identity import Identity, Right
from substrate.api import Address, Batches, ErrorCode, Found, Level, StreamError, StreamId, Tail
from substrate.engine import EngineError
from substrate.group import Record
from substrate.interest import Tokens
from thalweg.http_answers import Refusal, Steps, refused
from thalweg.http_streams import entry_of, number, stream_of
from thalweg.http_text import pattern_from, record_shown
from thalweg.http_view import Place

if TYPE_CHECKING:
    from protocols.api import Handle
    from thalweg.http import Exchange, HttpSession

LIMIT = 100
LIMIT_MAX = 10_000
PAGE_BYTES = 1024 * 1024
PAGE_BYTES_MAX = 8 * 1024 * 1024
READ_BYTES = 128 * 1024
READS_MAX = 8
"""For one page: a pattern that matches little is looked for in a few pieces."""
LINES_MAX = 500
"""Of one turn: 3 ms. A long stream is written in many, and others are served between them."""
AGAIN_NS = 1_000_000
VIEW_NS = 200_000_000
"""Between two writes to a follower that only looks: with LINES_MAX, 2500 records a second."""
VIEW_KEPT = 200
"""Of what it is behind, it is shown the newest."""
BEAT_NS = 15_000_000_000
SECONDS = 3600
SECONDS_MAX = 366 * 86_400
JUDGED_MAX = 4096
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class Wanted:
    """A pattern of addresses, and whether this user may read them. ``pattern`` None: all."""

    def __init__(self, identity: Identity, pattern: Tokens | None = None) -> None:
        self._identity = identity
        self._pattern = pattern
        self._judged: dict[bytes, bool] = {}

    def matches(self, address: Address) -> bool:
        found = self._judged.get(address)
        if found is None:
            if len(self._judged) >= JUDGED_MAX:
                self._judged.clear()
            found = self._pattern is None or self._pattern.matches(address)
            found = found and self._identity.may(Right.READ, address)
            self._judged[address] = found
        return found


def wanted_of(exchange: Exchange) -> Wanted:
    text = exchange.query.get("match")
    return Wanted(exchange.identity, None if text is None else pattern_from(text))


def read(exchange: Exchange) -> object:
    """``format=json`` (default) or ``ndjson``."""
    form = exchange.query.get("format", "json")
    if form == "json":
        return page(exchange)
    if form == "ndjson":
        return followed(exchange)
    raise Refusal(400, f"format: {form[:40]!r} is neither json nor ndjson")


def page(exchange: Exchange) -> Steps:
    """``{"records": [...], "next": 17, "start": 0, "end": 4711}``; read on ``from=next`` until ``next`` is ``end``."""
    limit = number(exchange, "limit", LIMIT, 1, LIMIT_MAX)
    bytes_max = number(exchange, "bytes", PAGE_BYTES, 1, PAGE_BYTES_MAX)
    value_max = number(exchange, "value_max", 0)
    stream = stream_of(entry_of(exchange), number(exchange, "partition", 0))
    wanted = wanted_of(exchange)
    start, tail = yield from begin_of(exchange, stream)
    at, size, shown = start, 0, []
    for _ in range(READS_MAX):
        if at >= tail.durable:
            break
        answer = yield exchange.read(stream, at, min(READ_BYTES, bytes_max), wanted)
        no = refused(answer)
        if no is not None:
            raise no
        assert isinstance(answer, Batches)
        for record in answer.records:
            size += len(record.value or b"")
            shown.append(record_shown(record, -1, value_max))
            if len(shown) == limit or size >= bytes_max:
                return told(shown, record.position + 1, answer.tail)
        if answer.next <= at:
            break
        at = answer.next
    return told(shown, at, tail)


def told(shown: list[dict[str, Any]], at: int, tail: Tail) -> dict[str, Any]:
    return {"records": shown, "next": at, "start": tail.start, "end": tail.durable}


def begin_of(exchange: Exchange, stream: StreamId) -> Steps:
    """Where ``from`` points: a position, ``-n`` before the end, ``earliest``, ``latest``, ``time:<unix ms>``; and the tail.

    Raises:
        Refusal: it points nowhere.
    """
    tail = yield exchange.look_up("tail", stream)
    no = refused(tail)
    if no is not None:
        raise no
    text = exchange.query.get("from", "earliest")
    if text == "earliest":
        return tail.start, tail
    if text == "latest":
        return tail.durable, tail
    time = text.startswith("time:")
    try:
        value = int(text.removeprefix("time:"))
    except ValueError:
        raise Refusal(400, f"from: {text[:40]!r} is neither a position nor -n, earliest, latest, time:ms") from None
    if time:
        found = yield exchange.look_up("find_time", stream, value)
        if isinstance(found, Found):
            return (tail.durable if found.position < 0 else min(found.position, tail.durable)), tail
        raise refused(found) or Refusal(500, "no answer")
    if value < 0:
        return max(tail.start, tail.durable + value), tail
    if value > tail.durable:
        raise Refusal(416, f"{value} is beyond the end, {tail.durable}", start=tail.start, end=tail.durable)
    if value < tail.start and "strict" in exchange.query:
        raise Refusal(416, f"{value} is gone: the stream begins at {tail.start}", start=tail.start, end=tail.durable)
    return max(value, tail.start), tail


def followed(exchange: Exchange) -> Steps:
    """One record a line, of one partition or (none given) of all; with ``follow=1`` what comes later too."""
    entry = entry_of(exchange)
    if "partition" in exchange.query:
        numbers = [number(exchange, "partition", 0)]
    else:
        numbers = list(range(len(entry.streams)))
    cursors = []
    for partition in numbers:
        stream = stream_of(entry, partition)
        start, tail = yield from begin_of(exchange, stream)
        cursors.append(Cursor(partition if len(entry.streams) > 1 else -1, stream, start, tail.durable))
    return Follow(exchange, cursors)


class Cursor:
    """One partition. ``end``: up to where there is something to read."""

    __slots__ = ("at", "end", "handle", "partition", "stream")

    def __init__(self, partition: int, stream: StreamId, at: int, end: int) -> None:
        self.partition = partition
        self.stream = stream
        self.at = at
        self.end = end
        self.handle: Handle | None = None


class Follow:
    """See ``http.Stream``. An empty line every 15 s says that it lives."""

    kind = "application/x-ndjson"

    def __init__(self, exchange: Exchange, cursors: list[Cursor]) -> None:
        self._exchange = exchange
        self._cursors = cursors
        self._wanted = wanted_of(exchange)
        self._follow = exchange.query.get("follow", "0") == "1"
        self._left = number(exchange, "limit", 2**62, 1)
        self._value_max = number(exchange, "value_max", 0)
        self._until_ns = exchange.now_ns + number(exchange, "seconds", SECONDS, 1, SECONDS_MAX) * 1_000_000_000
        self._beat_ns = exchange.now_ns + BEAT_NS
        self._behind = number(exchange, "behind", 0, 0)
        """Of a follower that only looks: more than this is passed over; 0: it wants everything."""
        self._pause_ns = 0
        self._reading: Cursor | None = None
        self._unwritten: list[tuple[int, Record]] = []
        """With its partition; the next one last."""
        self._pumping = False
        self._session: HttpSession | None = None
        self._place = Place(exchange.view)

    def begin(self, session: HttpSession) -> None:
        self._session = session
        if self._follow:
            for cursor in self._cursors:
                cursor.end = max(cursor.end, cursor.at + 1)  # more may have come since its end was asked for
                try:
                    cursor.handle = self._exchange.port.watch(cursor.stream, Level.DURABLE, self)
                except EngineError:
                    cursor.end = cursor.at
        self._pump()

    def close(self) -> None:
        self._session = None
        self._place.close()
        for cursor in self._cursors:
            if cursor.handle is not None:
                cursor.handle.close()

    def advanced(self, stream: StreamId) -> None:
        for cursor in self._cursors:
            if cursor.stream == stream:
                cursor.end = max(cursor.end, cursor.at + 1)
        self._pump()

    def tick(self, now_ns: int) -> None:
        assert self._session is not None
        if now_ns >= self._until_ns:
            self._session.finish()
            return
        if now_ns >= self._beat_ns:
            self._beat_ns = now_ns + BEAT_NS
            self._session.write(b"\n")
        self._pump()

    def _pump(self) -> None:
        """Read and write as long as there is something, the peer takes it, and this turn is not too long."""
        if self._pumping:
            return
        if self._session is not None and self._session.now_ns < self._pause_ns:
            self._plan(self._pause_ns)
            return
        self._pumping = True
        due_ns = 0
        written = 0
        while self._session is not None and self._reading is None:
            session = self._session
            cursor = next((cursor for cursor in self._cursors if cursor.at < cursor.end), None)
            if cursor is None and not self._unwritten:
                break
            if session.pressed():
                due_ns = session.again_ns()
                break
            if written:
                due_ns = session.now_ns + (VIEW_NS if self._behind else AGAIN_NS)
                self._pause_ns = due_ns if self._behind else 0
                break
            if self._unwritten:
                written = self._write()
            elif cursor is not None:
                self._reading = cursor
                session.ask(self._exchange.read(cursor.stream, cursor.at, READ_BYTES, self._wanted), self._taken)
                written += self._reading is None and not self._unwritten  # it was read, and there was nothing to write
        self._pumping = False
        self._plan(due_ns)

    def _write(self) -> int:
        """Some of what was read; how many records."""
        session = self._session
        assert session is not None
        count = min(LINES_MAX, self._left, len(self._unwritten))
        self._left -= count
        lines = []
        for _ in range(count):
            partition, record = self._unwritten.pop()
            lines.append(line_of(record_shown(record, partition, self._value_max)))
        session.write(b"".join(lines))
        if not self._left:
            session.finish()
        return count

    def _plan(self, due_ns: int) -> None:
        session = self._session
        if session is None or session.closing:
            return
        done = not self._follow and self._reading is None and not self._unwritten
        if done and all(cursor.at >= cursor.end for cursor in self._cursors):
            session.finish()
            return
        session.deadline_ns = min(due_ns or self._beat_ns, self._beat_ns, self._until_ns)
        session.outbox.mark()

    def _taken(self, answer: object) -> None:
        cursor, self._reading = self._reading, None
        session = self._session
        if session is None or cursor is None:
            return
        if isinstance(answer, Batches) and self._behind and answer.tail.durable - cursor.at > self._behind:
            self._pass_over(cursor, answer.tail)
        elif isinstance(answer, Batches):
            last = cursor.end if not self._follow else answer.next
            self._unwritten = [(cursor.partition, record) for record in answer.records if record.position < last]
            self._unwritten.reverse()
            end = answer.tail.durable if self._follow else cursor.end
            cursor.end = end if answer.next > cursor.at else cursor.at
            cursor.at = max(cursor.at, answer.next)
        elif isinstance(answer, StreamError) and answer.code is ErrorCode.OUT_OF_RANGE:
            session.ask(self._exchange.look_up("tail", cursor.stream), lambda tail: self._jump(cursor, tail))
        else:
            no = refused(answer) or Refusal(500, "no answer")
            session.write(line_of(no.body()))
            session.finish()
            return
        if not self._pumping:
            self._pump()

    def _pass_over(self, cursor: Cursor, tail: Tail) -> None:
        """It looks at what is new; what it cannot look at it is told of."""
        assert self._session is not None
        start = max(tail.durable - min(VIEW_KEPT, self._behind), cursor.at)
        self._session.write(line_of({"passed_over": start - cursor.at, "partition": max(cursor.partition, 0)}))
        cursor.at, cursor.end = start, tail.durable

    def _jump(self, cursor: Cursor, tail: object) -> None:
        """Retention was faster than the reader: it is told, and goes on where the stream begins."""
        if self._session is None:
            return
        if isinstance(tail, Tail) and tail.start > cursor.at:
            self._session.write(line_of({"skipped": tail.start - cursor.at, "partition": max(cursor.partition, 0)}))
            cursor.at = tail.start
            cursor.end = max(tail.durable if self._follow else cursor.end, cursor.at)
        else:
            cursor.end = cursor.at
        if not self._pumping:
            self._pump()


def line_of(shown: dict[str, Any]) -> bytes:
    return ENCODER.encode(shown).encode("utf-8", "replace") + b"\n"
