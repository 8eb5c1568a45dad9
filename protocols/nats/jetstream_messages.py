"""JetStream's single messages: STREAM.MSG.GET, MSG.DELETE, PURGE, and DIRECT.GET of one, of a batch, of many subjects.

Spoken: nats-server 2.15 (ADR-31). What is deleted or purged is marked: no reader of any protocol gets it from then on, and
its bytes go with its segment, or when that is rewritten. ``no_erase`` makes no difference: nothing is overwritten in place.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from protocols.nats import errors
from protocols.nats.jetstream_consumer import ranges_of
from protocols.nats.jetstream_read import Scan, one_by_one
from protocols.nats.jetstream_wire import (
    EMPTY,
    ApiRequest,
    Fields,
    JsonError,
    Message,
    Reply,
    Uint64,
    check_fields,
    format_time,
    parse_time,
    read,
    status,
    stream_name,
)
from protocols.nats.mapping import header_block, pattern_of, subject_of_address
from protocols.nats.wire import valid_subject
from substrate.api import Answer, Batches, Found, Pattern, Position, Record, Tail, Topic
from substrate.interest import Tokens

if TYPE_CHECKING:
    from protocols.nats.jetstream import JetStream

EVERYTHING = Tokens(b"%#")
SUBJECTS_MAX = 1024
BATCH_BYTES_MAX = 64 * 1024 * 1024
"""Of one DIRECT.GET: what a client may have unsent before it counts as slow."""


# deleting


def message_delete(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """STREAM.MSG.DELETE.<stream>: the message ``seq``."""
    body = _body(request, {"seq": (Uint64,), "no_erase": (bool,)}, "JSApiMsgDeleteRequest", reply)
    if body is None:
        return
    topic = owner.topic_of(request.account, names[0])
    if topic is None:
        reply.refuse(errors.STREAM_NOT_FOUND)
        return
    if owner.config_of(topic).get("deny_delete"):
        reply.refuse(errors.MESSAGE_DELETE.of(err="message delete not permitted"))
        return
    stream, sequence = topic.streams[0], body.get("seq", 0)

    def known(tail: Tail | None) -> None:
        if tail is None:
            reply.refuse(errors.STREAM_NOT_FOUND)
        elif not sequence:
            reply.refuse(errors.MESSAGE_DELETE.of(err="no message found"))
        elif sequence > tail.ordered:
            reply.refuse(errors.MESSAGE_DELETE.of(err="stream store EOF"))
        else:
            owner.query("next", stream, first)

    def first(found: Answer) -> None:
        position = int(found.position) if isinstance(found, Found) else -1
        if position < 0 or sequence <= position:
            reply.refuse(errors.MESSAGE_DELETE.of(err="no message found"))
        else:
            owner.query("count", stream, there, start=sequence - 1, end=sequence)

    def there(count: Answer) -> None:
        if count == 0:
            reply.refuse(errors.SEQUENCE_NOT_FOUND.of(seq=sequence))
        else:
            reply.answer({"success": True}, owner.remove(topic, [(sequence - 1, sequence - 1)]))

    owner.tail(stream, known)


def purge(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """STREAM.PURGE.<stream>: everything, of a ``filter``; below ``seq``, or but the last ``keep``."""
    body = _body(
        request, {"filter": (str,), "seq": (Uint64,), "keep": (Uint64,)}, "JSApiStreamPurgeRequest", reply, True
    )
    if body is None:
        return
    topic = owner.topic_of(request.account, names[0])
    if topic is None:
        reply.refuse(errors.STREAM_NOT_FOUND)
        return
    if body.get("seq") and body.get("keep"):
        reply.refuse(errors.BAD_REQUEST)
        return
    if owner.config_of(topic).get("deny_purge"):
        reply.refuse(errors.PURGE_FAILED.of(err="stream purge not permitted"))
        return
    wanted = body.get("filter", "")
    if wanted and not valid_subject(wanted.encode(), True):
        reply.answer({"success": True, "purged": 0})
        return
    pattern = pattern_of(wanted.encode()) if wanted and wanted != ">" else None
    stream = topic.streams[0]

    def known(tail: Tail | None) -> None:
        if tail is None:
            reply.refuse(errors.STREAM_NOT_FOUND)
            return
        end = min(tail.ordered, max(body["seq"] - 1, 0)) if body.get("seq") else int(tail.ordered)
        positions_of(owner, topic, pattern, tail.start, end, lambda found: take(tail, found, end))

    def take(tail: Tail, found: list[int], end: int) -> None:
        keep = body.get("keep", 0)
        gone = found[: len(found) - keep] if keep else found
        commit = 0
        if pattern is None and gone:
            owner.touched(topic)
            owner.world.trim(stream, Position(end if not keep else gone[-1] + 1))
            commit = owner.released(topic, [(gone[0], gone[-1])])
        elif gone:
            commit = owner.remove(topic, [(first, first + count - 1) for first, count in ranges_of(gone)])
        reply.answer({"success": True, "purged": len(gone)}, commit)

    owner.tail(stream, known)


def positions_of(
    owner: JetStream, topic: Topic, pattern: Pattern | None, start: int, end: int, then: Callable[[list[int]], None]
) -> None:
    """Where the messages in [start, end) are that match (None: all); what is not durable yet is waited for by nobody."""
    found: list[int] = []

    def each(records: tuple[Record, ...], at: int) -> bool:
        found.extend(record.position for record in records if record.position < end)
        return at < end

    if start >= end:
        then(found)
    else:
        Scan(owner, topic.streams[0], start, pattern or EVERYTHING, each, lambda: then(found)).run()


# reading


def message_get(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """STREAM.MSG.GET.<stream>: by ``seq``, ``last_by_subj``, or ``next_by_subj`` from ``seq`` on."""

    def found(record: Record | None) -> None:
        if record is None:
            reply.refuse(errors.NO_MESSAGE)
            return
        block = header_block(record.headers)
        message: dict[str, Any] = {
            "subject": subject_of_address(record.address).decode("utf-8", "replace"),
            "seq": record.position + 1,
        }
        if block:
            message["hdrs"] = base64.b64encode(block).decode()
        if record.value:
            message["data"] = base64.b64encode(record.value).decode()
        message["time"] = format_time(record.timestamp_ms * 1_000_000)
        reply.answer({"message": message})

    body = _body(request, GET_FIELDS, "JSApiMsgGetRequest", reply)
    if body is None:
        return
    topic = owner.topic_of(request.account, names[0])
    if topic is None:
        reply.refuse(errors.STREAM_NOT_FOUND)
    elif body.get("batch") or body.get("max_bytes") or body.get("multi_last") or not get(owner, topic, body, found):
        reply.refuse(errors.BAD_REQUEST)


GET_FIELDS: Fields = {
    "seq": (Uint64,), "last_by_subj": (str,), "next_by_subj": (str,), "batch": (int,), "max_bytes": (int,),
    "start_time": (str,), "multi_last": (list,), "up_to_seq": (Uint64,), "up_to_time": (str,), "no_hdr": (bool,),
}  # fmt: skip


def _body(request: ApiRequest, fields: Fields, of: str, reply: Reply, optional: bool = False) -> dict[str, Any] | None:
    """The request's object; None: it was refused."""
    if request.payload.strip() in EMPTY:
        if not optional:
            reply.refuse(errors.BAD_REQUEST)
        return {} if optional else None
    try:
        return check_fields(read(request.payload), fields, of)
    except JsonError as error:
        reply.refuse(errors.INVALID_JSON.of(err=error))
        return None


def get(owner: JetStream, topic: Topic, body: dict[str, Any], then: Callable[[Record | None], None]) -> bool:
    """Find the one message that is asked for; False: the question makes no sense."""
    sequence, last, following = body.get("seq", 0), body.get("last_by_subj"), body.get("next_by_subj")
    time = body.get("start_time")
    if (last and (sequence or following or time)) or sequence < 0 or (sequence and time):
        return False
    if not last and not following and sequence <= 0 and not time:
        return False
    subject = (last or following or "").encode()
    if subject and not valid_subject(subject, True):
        return False
    stream = topic.streams[0]
    pattern = pattern_of(subject) if subject else None

    def at(answer: Answer) -> None:
        if isinstance(answer, Found) and answer.position >= 0:
            record_at(owner, topic, int(answer.position), then)
        else:
            then(None)

    if last:
        owner.query("last", stream, at, pattern=pattern)
    elif time:
        try:
            time_ms = -(-parse_time(time) // 1_000_000)
        except ValueError:
            return False

        def timed(answer: Answer) -> None:
            if isinstance(answer, Found) and answer.position >= 0 and following:
                owner.query("next", stream, at, pattern=pattern, start=int(answer.position))
            else:
                at(answer)

        owner.query("find_time", stream, timed, time_ms=time_ms)
    elif following:
        owner.query("next", stream, at, pattern=pattern, start=max(sequence - 1, 0))
    else:
        record_at(owner, topic, sequence - 1, then)
    return True


def record_at(owner: JetStream, topic: Topic, position: int, then: Callable[[Record | None], None]) -> None:
    """The durable record at a position, if it is there."""

    def got(answer: Answer) -> None:
        records = answer.records if isinstance(answer, Batches) else ()
        then(records[0] if records and records[0].position == position else None)

    owner.read(topic.streams[0], position, 1, EVERYTHING, got)


# DIRECT.GET


def direct_get(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """DIRECT.GET.<stream>[.<subject>]: messages as messages with headers."""
    topic = owner.topic_of(request.account, names[0])
    if topic is None or not owner.config_of(topic)["allow_direct"]:
        reply.nobody()
        return
    if len(names) > 1 and request.payload.strip():
        reply.message(Message(status(408, "Malformed Request"), b""))
        return
    try:
        found = read(request.payload) if request.payload.strip() else {}
        known = (
            {name: value for name, value in found.items() if name in GET_FIELDS} if isinstance(found, dict) else found
        )
        body = check_fields(known, GET_FIELDS, "JSApiMsgGetRequest")
    except JsonError:
        reply.message(Message(status(408, "Malformed Request"), b""))
        return
    if len(names) > 1:
        body = {"last_by_subj": ".".join(names[1:])}
    if not any(body.get(name) for name in ("seq", "last_by_subj", "next_by_subj", "multi_last", "start_time")):
        reply.message(Message(status(408, "Empty Request"), b""))
        return
    if body.get("multi_last"):
        MultiLast(owner, request, topic, body, reply).begin()
    elif body.get("batch", 0) > 0:
        Batch(owner, request, topic, body, reply).begin()
    else:
        _direct_one(owner, topic, body, reply)


def _direct_one(owner: JetStream, topic: Topic, body: dict[str, Any], reply: Reply) -> None:
    def found(record: Record | None) -> None:
        if record is None:
            reply.message(Message(status(404, "Message Not Found"), b""))
        elif body.get("no_hdr"):
            reply.message(Message(b"", record.value or b""))
        else:
            reply.message(Message(shown(topic, record), record.value or b""))

    if not get(owner, topic, body, found):
        reply.message(Message(status(408, "Bad Request"), b""))


def shown(topic: Topic, record: Record, **more: int) -> bytes:
    """The header block of a message that is got directly."""
    block = header_block(record.headers) or b"NATS/1.0\r\n\r\n"
    lines = (
        f"Nats-Stream: {stream_name(topic)}\r\nNats-Subject: {subject_of_address(record.address).decode('utf-8', 'replace')}\r\n"
        f"Nats-Sequence: {record.position + 1}\r\nNats-Time-Stamp: {format_time(record.timestamp_ms * 1_000_000)}\r\n"
    )
    counts = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in more.items())
    return block[:-2] + lines.encode() + counts.encode() + b"\r\n"


class _Several:
    """A DIRECT.GET of several messages: each goes to the reply subject, and behind the last one ``204 EOB``."""

    def __init__(self, owner: JetStream, request: ApiRequest, topic: Topic, body: dict[str, Any], reply: Reply) -> None:
        self.owner = owner
        self.request = request
        self.topic = topic
        self.body = body
        self.reply = reply
        self.bytes_left = body.get("max_bytes", 0) or BATCH_BYTES_MAX
        self.last = 0
        self.pending = 0

    def refuse(self, code: int, text: str) -> None:
        self.reply.message(Message(status(code, text), b""))

    def send(self, record: Record) -> bool:
        """Whether there is room for more behind it."""
        block = b""
        if not self.body.get("no_hdr"):
            block = shown(self.topic, record, Nats_Num_Pending=self.pending, Nats_Last_Sequence=self.last)
        self.last = record.position + 1
        route, sinks = self.owner.sinks(self.request.account, self.request.reply)
        if route is None or not sinks:
            return False
        value = record.value or b""
        self.owner.send(route, sinks, self.request.reply, b"", block, value)
        self.bytes_left -= len(record.address) + len(header_block(record.headers)) + len(value)
        return self.bytes_left > 0

    def end(self, **more: int) -> None:
        self.reply.message(
            Message(status(204, "EOB", Nats_Num_Pending=self.pending, Nats_Last_Sequence=self.last, **more), b"")
        )


class Batch(_Several):
    """``batch`` messages from ``seq`` or ``start_time`` on, that match ``next_by_subj`` if it is given."""

    def begin(self) -> None:
        body = self.body
        subject = body.get("next_by_subj", "")
        start = body.get("seq", 0)
        if body.get("last_by_subj") or (start and body.get("start_time")) or start < 0:
            self.refuse(408, "Bad Request")
            return
        if subject and not valid_subject(subject.encode(), True):
            self.refuse(408, "Bad Request")
            return
        self.pattern = pattern_of(subject.encode()) if subject else EVERYTHING
        self.left = body["batch"]
        if body.get("start_time"):
            try:
                time_ms = -(-parse_time(body["start_time"]) // 1_000_000)
            except ValueError:
                self.refuse(408, "Bad Request")
                return
            self.owner.query("find_time", self.topic.streams[0], self._timed, time_ms=time_ms)
        else:
            self._from(max(start - 1, 0))

    def _timed(self, answer: Answer) -> None:
        if isinstance(answer, Found) and answer.position >= 0:
            self._from(int(answer.position))
        else:
            self.refuse(404, "Message Not Found")

    def _from(self, start: int) -> None:
        self.start = start
        pattern = self.pattern if self.pattern is not EVERYTHING else None
        self.owner.query("count", self.topic.streams[0], self._counted, pattern=pattern, start=start)

    def _counted(self, count: Answer) -> None:
        self.pending = count if isinstance(count, int) else 0
        if not self.pending:
            self.refuse(404, "Message Not Found")
            return
        Scan(self.owner, self.topic.streams[0], self.start, self.pattern, self._each, self.end).run()

    def _each(self, records: tuple[Record, ...], end: int) -> bool:
        for record in records:
            if record.position < self.start:
                continue
            self.pending -= 1
            self.left -= 1
            if not self.send(record) or self.left == 0:
                return False
        return True


class MultiLast(_Several):
    """The last message of each subject that matches one of ``multi_last``, as of ``up_to_seq`` or ``up_to_time``."""

    def begin(self) -> None:
        body = self.body
        subjects = body["multi_last"]
        odd = any(not isinstance(one, str) for one in subjects) or len(subjects) > SUBJECTS_MAX
        if odd or body.get("last_by_subj") or body.get("next_by_subj"):
            self.refuse(408, "Bad Request")
            return
        if body.get("up_to_seq") and body.get("up_to_time"):
            self.refuse(408, "Bad Request")
            return
        self.patterns = [pattern_of(one.encode()) for one in subjects if valid_subject(one.encode(), True)]
        self.upto = body.get("up_to_seq", 0)
        self.lasts: set[int] = set()
        self.owner.tail(self.topic.streams[0], self._tail)

    def _tail(self, tail: Tail | None) -> None:
        if tail is None:
            self.refuse(404, "No Results")
            return
        self.end_sequence = min(self.upto, int(tail.durable)) if self.upto else int(tail.durable)
        if self.body.get("up_to_time"):
            try:
                time_ms = -(-parse_time(self.body["up_to_time"]) // 1_000_000)
            except ValueError:
                self.refuse(408, "Bad Request")
                return
            self.owner.query("find_time", self.topic.streams[0], self._timed, time_ms=time_ms)
        else:
            self._ask()

    def _timed(self, answer: Answer) -> None:
        if isinstance(answer, Found) and answer.position >= 0:
            self.end_sequence = min(self.end_sequence, int(answer.position))
        self._ask()

    def _ask(self) -> None:
        one_by_one(self.patterns, self._of, self._found)

    def _of(self, pattern: Tokens, go_on: Callable[[], None]) -> None:
        def told(answer: Answer) -> None:
            if isinstance(answer, tuple):
                self.lasts.update(last for _, _, last in answer if last + 1 >= self.body.get("seq", 0))
            go_on()

        self.owner.query("addresses", self.topic.streams[0], told, pattern=pattern, end=self.end_sequence)

    def _found(self) -> None:
        if not self.lasts:
            self.refuse(404, "No Results")
            return
        if len(self.lasts) > SUBJECTS_MAX:
            self.refuse(413, "Too Many Results")
            return
        self.pending = len(self.lasts)
        most = self.body.get("batch", 0) or self.pending
        self.over = False
        one_by_one(sorted(self.lasts)[:most], self._one, lambda: self.end(Nats_UpTo_Sequence=self.end_sequence))

    def _one(self, position: int, go_on: Callable[[], None]) -> None:
        def found(record: Record | None) -> None:
            if record is not None and not self.over:
                self.pending -= 1
                self.over = not self.send(record)
            go_on()

        record_at(self.owner, self.topic, position, found)
