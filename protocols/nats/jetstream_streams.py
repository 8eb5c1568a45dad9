"""JetStream's stream API: INFO, STREAM.CREATE, UPDATE, INFO, DELETE, PURGE, NAMES, LIST, MSG.GET, and DIRECT.GET.

Spoken: nats-server 2.15. A stream is a topic of one partition: the executor ``topics`` creates, changes and deletes it,
its configuration stands in the topic's options. A topic that Kafka created appears with the configuration that its
captures amount to. Limits by age and by number of messages hold to the record (checked each second and on INFO); by bytes
to the segment. Not built, and refused: MSG.DELETE, SNAPSHOT, RESTORE, PURGE with a filter, DIRECT.GET of batches.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from protocols.nats import errors
from protocols.nats.errors import ApiError
from protocols.nats.jetstream_config import (
    STREAM_FIELDS,
    Config,
    collide_canonical,
    patterns_of,
    refuse_update,
    storage_of,
    stream_config,
    with_versions,
)
from protocols.nats.jetstream_read import Scan, one_by_one
from protocols.nats.jetstream_wire import (
    OPTION,
    ZERO_TIME,
    ApiRequest,
    JsonError,
    Message,
    Reply,
    check_fields,
    format_time,
    read,
    status,
    stream_name,
    write,
)
from protocols.nats.mapping import header_block, pattern_of, subject_address, subject_of_address, subject_of_pattern
from protocols.nats.wire import valid_subject
from substrate.address import join
from substrate.api import (
    AlterTopic,
    Answer,
    Batches,
    Called,
    CreateTopic,
    DeleteTopic,
    Durability,
    Found,
    Pattern,
    Position,
    Record,
    StreamError,
    Tail,
    Topic,
)
from substrate.interest import ONE, SOME, Tokens

if TYPE_CHECKING:
    from protocols.nats.jetstream import JetStream

NAMES_PAGE = 1024
LIST_PAGE = 256
SUBJECTS_PAGE = 100_000
API_LEVEL = 5
Item = TypeVar("Item")


def config_of(topic: Topic) -> Config:
    """The stream's configuration; of a topic that another protocol created, what it amounts to."""
    kept = topic.options.get(OPTION)
    if kept is not None:
        return dict(json.loads(kept))
    name = stream_name(topic) or ""
    subjects = [subject_of_pattern(pattern) for pattern in topic.subjects]
    given: Config = {"name": name, "subjects": [s.decode() for s in subjects if s] or [name, f"{name}.>"]}
    config = stream_config(given)
    assert not isinstance(config, ApiError)
    config["max_msgs"] = topic.config.retention_records
    config["max_bytes"] = topic.config.retention_bytes
    config["max_age"] = max(topic.config.retention_ms, 0) * 1_000_000
    config["max_msg_size"] = topic.config.record_bytes_max
    if topic.config.durability is Durability.MEMORY:
        config["storage"] = "memory"
    return config


def required_level(request: ApiRequest, reply: Reply) -> bool:
    """Whether the client needs a newer API than this: then it was told so."""
    for name, value in request.headers:
        if name == b"Nats-Required-Api-Level" and (not value or not value.isdigit() or int(value) > API_LEVEL):
            reply.refuse(errors.API_LEVEL)
            return True
    return False


def page(request: ApiRequest, items: list[Item], most: int, reply: Reply) -> tuple[dict[str, Any], list[Item]] | None:
    """The part of a list that the request's ``offset`` asks for; None: it was refused."""
    try:
        fields = {"offset": (int,), "subject": (str,)}
        body = check_fields(read(request.payload), fields, "ApiPagedRequest") if request.payload.strip() else {}
    except JsonError as error:
        reply.refuse(errors.INVALID_JSON.of(err=error))
        return None
    offset = min(max(body.get("offset", 0), 0), len(items))
    return {"total": len(items), "offset": offset, "limit": most}, items[offset : offset + most]


# the account


def account_info(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """INFO: what this account uses."""
    topics = [topic for _, topic in owner.topics_of(request.account)]
    consumers = sum(len(owner.consumers_of(topic)) for topic in topics)
    limits = {
        "max_memory": -1, "max_storage": -1, "max_streams": -1, "max_consumers": -1, "max_ack_pending": -1,
        "memory_max_stream_bytes": -1, "storage_max_stream_bytes": -1, "max_bytes_required": False,
    }  # fmt: skip

    storage = [0]

    def add(topic: Topic, go_on: Callable[[], None]) -> None:
        def counted(tail: Tail | None, size: int) -> None:
            storage[0] += size
            go_on()

        totals(owner, topic, counted)

    def done() -> None:
        reply.answer({
            "memory": 0, "storage": storage[0], "reserved_memory": 0, "reserved_storage": 0, "streams": len(topics),
            "consumers": consumers, "limits": limits,
            "api": {"level": API_LEVEL, "total": owner.api_total - 1, "errors": owner.api_errors},
        })  # fmt: skip

    one_by_one(topics, add, done)


def totals(owner: JetStream, topic: Topic, then: Callable[[Tail | None, int], None]) -> None:
    """The stream's marks and its bytes, once counted."""
    stream = topic.streams[0]
    counted = owner.totals_of(stream)

    def known(tail: Tail | None) -> None:
        if tail is None:
            then(None, 0)
        else:
            counted.bring_up(tail, lambda: then(tail, counted.bytes))

    owner.tail(stream, known)


# creating and changing


def create(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """STREAM.CREATE.<stream>."""
    config = _read_config(request, names[0], reply)
    if config is None:
        return
    there = owner.world.topic(request.account, join([names[0].encode()]))
    if there is not None:
        if config_of(there) == config and stream_name(there) is not None:
            describe(owner, there, True, lambda fields: reply.answer({**fields, "did_create": True}))
        else:
            reply.refuse(errors.STREAM_NAME_EXISTS)
        return
    if _overlaps(owner, request, names[0], config):
        reply.refuse(errors.SUBJECT_OVERLAP)
        return

    def made(answer: Answer) -> None:
        topic = _topic_or_refuse(answer, errors.STREAM_CREATE, reply)
        if topic is not None:
            commit = answer.commit if isinstance(answer, Called) else 0
            advise(owner, topic, "create", "CREATED")
            describe(owner, topic, True, lambda fields: reply.answer({**fields, "did_create": True}, commit))

    wanted = CreateTopic(
        request.account, join([names[0].encode()]), 1, patterns_of(config), storage_of(config, request.durability, request.interval_ms),
        {OPTION: write(config).decode()},
    )  # fmt: skip
    owner.world.call("topics", wanted, owner.ask(made))


def advise(owner: JetStream, topic: Topic, action: str, event: str) -> None:
    name = stream_name(topic)
    owner.advise(topic.account, f"STREAM.{event}.{name}", "stream_action", {"stream": name, "action": action})


def update(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """STREAM.UPDATE.<stream>."""
    config = _read_config(request, names[0], reply)
    if config is None:
        return
    topic = owner.topic_of(request.account, names[0])
    if topic is None:
        reply.refuse(errors.STREAM_NOT_FOUND)
        return
    refused = refuse_update(config_of(topic), config)
    if refused is None and _overlaps(owner, request, names[0], config):
        refused = errors.SUBJECT_OVERLAP
    if refused is not None:
        reply.refuse(refused)
        return

    def changed(answer: Answer) -> None:
        now = _topic_or_refuse(answer, errors.STREAM_UPDATE, reply)
        if now is not None:
            commit = answer.commit if isinstance(answer, Called) else 0
            advise(owner, topic, "modify", "UPDATED")
            describe(owner, now, True, lambda fields: reply.answer(fields, commit))

    wanted = AlterTopic(
        request.account, topic.name, None, patterns_of(config), storage_of(config, request.durability, request.interval_ms),
        {**topic.options, OPTION: write(config).decode()},
    )  # fmt: skip
    owner.world.call("topics", wanted, owner.ask(changed))


def _read_config(request: ApiRequest, name: str, reply: Reply) -> Config | None:
    if required_level(request, reply):
        return None
    try:
        given = check_fields(read(request.payload), {**STREAM_FIELDS, "pedantic": (bool,)}, "StreamConfig")
    except JsonError as error:
        reply.refuse(errors.INVALID_JSON.of(err=error))
        return None
    if given.get("name", "") != name:
        reply.refuse(errors.STREAM_MISMATCH)
        return None
    config = stream_config(given)
    if isinstance(config, ApiError):
        reply.refuse(config)
        return None
    return config


def _overlaps(owner: JetStream, request: ApiRequest, name: str, config: Config) -> bool:
    mine: dict[bytes, list[bytes]] = {}
    for pattern in patterns_of(config):
        mine.setdefault(pattern.split(b"/", 1)[0], []).append(pattern)
    wild = [pattern for first in (ONE, SOME) for pattern in mine.get(first, ())]
    for other, topic in owner.topics_of(request.account):
        if other == name:
            continue
        for theirs in topic.subjects or (bytes(topic.name) + b"/%#",):
            first = theirs.split(b"/", 1)[0]
            near = (
                [one for each in mine.values() for one in each] if first in (ONE, SOME) else mine.get(first, []) + wild
            )
            if any(collide_canonical(one, theirs) for one in near):
                return True
    return False


def _topic_or_refuse(answer: Answer, other: ApiError, reply: Reply) -> Topic | None:
    found = answer.answer if isinstance(answer, Called) else answer
    if isinstance(found, Topic):
        return found
    if isinstance(found, StreamError):
        known = errors.STREAM_ERRORS[found.code]
        reply.refuse(other.of(err=found.detail or found.code.value) if known is errors.BAD_REQUEST else known)
    else:
        reply.refuse(errors.NOT_AVAILABLE)
    return None


# telling


def describe(owner: JetStream, topic: Topic, versions: bool, then: Callable[[dict[str, Any]], None]) -> None:
    """What STREAM.INFO tells, once all that is durable is counted."""
    apply_limits(owner, topic)

    def known(tail: Tail | None, size: int) -> None:
        counted = owner.totals_of(topic.streams[0])
        config = config_of(topic)
        first = last = messages = 0
        if tail is not None:
            messages = tail.durable - tail.start
            last = tail.durable
            first = tail.start + 1 if messages or last else 0
        state: dict[str, Any] = {
            "messages": messages,
            "bytes": size,
            "first_seq": first,
            "first_ts": format_time(counted.first_ms * 1_000_000) if messages else ZERO_TIME,
            "last_seq": last,
            "last_ts": format_time(counted.last_ms * 1_000_000) if last and counted.last_ms else ZERO_TIME,
        }
        if counted.subjects and messages:
            state["num_subjects"] = len(counted.subjects)
        state["consumer_count"] = len(owner.consumers_of(topic))
        then({
            "config": with_versions(config) if versions else config,
            "created": format_time(topic.created_ms * 1_000_000),
            "state": state,
            "ts": format_time(owner.world.now_ns),
        })  # fmt: skip

    totals(owner, topic, known)


def info(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """STREAM.INFO.<stream>, with ``subjects_filter`` and ``offset``."""
    topic = owner.topic_of(request.account, names[0])
    if topic is None:
        reply.refuse(errors.STREAM_NOT_FOUND)
        return
    try:
        fields = {"offset": (int,), "deleted_details": (bool,), "subjects_filter": (str,)}
        body = check_fields(read(request.payload), fields, "JSApiStreamInfoRequest") if request.payload.strip() else {}
    except JsonError as error:
        reply.refuse(errors.INVALID_JSON.of(err=error))
        return
    wanted = body.get("subjects_filter", "")
    if wanted and not valid_subject(wanted.encode(), True):
        reply.refuse(errors.BAD_REQUEST)
        return

    def known(fields: dict[str, Any]) -> None:
        paged = {"total": 0, "offset": 0, "limit": 0}
        if wanted:
            pattern = pattern_of(wanted.encode())
            counted = owner.totals_of(topic.streams[0]).subjects
            found = sorted((subject_of_address(a), n) for a, n in counted.items() if pattern.matches(a))  # type: ignore[arg-type]
            offset = min(max(body.get("offset", 0), 0), len(found))
            shown = found[offset : offset + SUBJECTS_PAGE]
            if found:
                consumers = fields["state"].pop("consumer_count")  # stands behind them
                fields["state"]["subjects"] = {subject.decode("utf-8", "replace"): count for subject, count in shown}
                fields["state"]["consumer_count"] = consumers
                paged = {"total": len(found), "offset": offset, "limit": SUBJECTS_PAGE}
        reply.answer({**paged, **fields})

    describe(owner, topic, True, known)


def names_of(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """STREAM.NAMES, with ``subject``: those that capture it."""
    found = page(request, _matching(owner, request), NAMES_PAGE, reply)
    if found is not None:
        fields, shown = found
        reply.answer({**fields, "streams": [name for name, _ in shown] or None})


def list_of(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """STREAM.LIST, with ``subject``."""
    found = page(request, _matching(owner, request), LIST_PAGE, reply)
    if found is None:
        return
    fields, shown = found
    described: list[dict[str, Any]] = []

    def add(item: tuple[str, Topic], go_on: Callable[[], None]) -> None:
        def told(fields: dict[str, Any]) -> None:
            described.append(fields)
            go_on()

        describe(owner, item[1], False, told)

    one_by_one(shown, add, lambda: reply.answer({**fields, "streams": described}))


def _matching(owner: JetStream, request: ApiRequest) -> list[tuple[str, Topic]]:
    topics = owner.topics_of(request.account)
    try:
        body = read(request.payload) if request.payload.strip() else {}
        subject = body.get("subject", "") if isinstance(body, dict) else ""
    except JsonError:
        return topics  # ``page`` says what is wrong
    if not subject or not isinstance(subject, str):
        return topics
    if not valid_subject(subject.encode(), True):
        return []
    wanted = pattern_of(subject.encode()).text
    return [
        (name, topic)
        for name, topic in topics
        if any(collide_canonical(wanted, pattern) for pattern in topic.subjects or (bytes(topic.name) + b"/%#",))
    ]


# deleting


def delete(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """STREAM.DELETE.<stream>: its consumers go with it."""
    topic = owner.topic_of(request.account, names[0])
    if request.payload.strip():
        reply.refuse(errors.NOT_EMPTY)
        return
    if topic is None:
        reply.refuse(errors.STREAM_NOT_FOUND)
        return

    def deleted(answer: Answer) -> None:
        if _topic_or_refuse(answer, errors.STREAM_DELETE, reply) is None:
            return
        commit = answer.commit if isinstance(answer, Called) else 0
        for consumer in list(owner.consumers_of(topic).values()):
            commit = max(commit, owner.drop(consumer))
        owner.totals.pop(topic.streams[0], None)
        advise(owner, topic, "delete", "DELETED")
        reply.answer({"success": True}, commit)

    owner.world.call("topics", DeleteTopic(request.account, topic.name), owner.ask(deleted))


def purge(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """STREAM.PURGE.<stream>: everything, below ``seq``, or but the last ``keep``."""
    topic = owner.topic_of(request.account, names[0])
    try:
        fields = {"filter": (str,), "seq": (int,), "keep": (int,)}
        body = check_fields(read(request.payload), fields, "JSApiStreamPurgeRequest") if request.payload.strip() else {}
    except JsonError as error:
        reply.refuse(errors.INVALID_JSON.of(err=error))
        return
    if topic is None:
        reply.refuse(errors.STREAM_NOT_FOUND)
    elif body.get("seq") and body.get("keep"):
        reply.refuse(errors.BAD_REQUEST)
    elif config_of(topic).get("deny_purge"):
        reply.refuse(errors.STREAM_GENERAL.of(err="stream purge not permitted"))
    elif body.get("filter") and body["filter"] != ">":
        reply.refuse(errors.STREAM_GENERAL.of(err="purge with a filter is not supported"))
    else:

        def known(tail: Tail | None) -> None:
            if tail is None:
                reply.refuse(errors.STREAM_NOT_FOUND)
                return
            before = tail.durable
            if body.get("seq"):
                before = Position(min(before, max(body["seq"] - 1, 0)))
            elif body.get("keep"):
                before = Position(max(before - body["keep"], 0))
            if before > tail.start:
                owner.world.trim(topic.streams[0], before)
            reply.answer({"success": True, "purged": max(before - tail.start, 0)})

        owner.tail(topic.streams[0], known)


def limited(topic: Topic) -> bool:
    """Whether a stream of JetStream's has limits that are exact to the message. Asked of every topic each second."""
    kept = topic.options.get(OPTION)
    return kept is not None and not ('"max_msgs":-1,' in kept and '"max_age":0,' in kept)


def apply_limits(owner: JetStream, topic: Topic) -> None:
    """Trim what the stream's limits by age and number do not keep any more."""
    if not limited(topic):
        return
    config = config_of(topic)
    stream = topic.streams[0]

    def found(answer: Answer, tail: Tail) -> None:
        before = tail.durable - config["max_msgs"] if config["max_msgs"] > 0 else 0
        if isinstance(answer, Found):
            before = max(before, answer.position if answer.position >= 0 else tail.durable)
        if before > tail.start:
            owner.world.trim(stream, Position(before))

    def known(tail: Tail | None) -> None:
        if tail is None or tail.durable <= tail.start:
            return
        if config["max_age"] <= 0:
            found(None, tail)
            return
        oldest_ms = (owner.world.now_ns - config["max_age"]) // 1_000_000
        owner.world.query("find_time", stream, owner.ask(lambda answer: found(answer, tail)), time_ms=oldest_ms)

    owner.tail(stream, known)


# single messages


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

    topic = owner.topic_of(request.account, names[0])
    try:
        body = _read_get(request.payload)
    except JsonError as error:
        reply.refuse(errors.INVALID_JSON.of(err=error))
        return
    if topic is None:
        reply.refuse(errors.STREAM_NOT_FOUND)
    elif not _get(owner, topic, body, found):
        reply.refuse(errors.BAD_REQUEST)


def direct_get(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """DIRECT.GET.<stream>[.<subject>]: one message, as a message with headers."""
    topic = owner.topic_of(request.account, names[0])
    if topic is None or not config_of(topic)["allow_direct"]:
        reply.nobody()
        return
    name = names[0]

    def found(record: Record | None) -> None:
        if record is None:
            reply.message(Message(status(404, "Message Not Found"), b""))
            return
        block = header_block(record.headers) or b"NATS/1.0\r\n\r\n"
        more = (
            f"Nats-Stream: {name}\r\nNats-Subject: {subject_of_address(record.address).decode('utf-8', 'replace')}\r\n"
            f"Nats-Sequence: {record.position + 1}\r\nNats-Time-Stamp: {format_time(record.timestamp_ms * 1_000_000)}\r\n\r\n"
        )
        reply.message(Message(block[:-2] + more.encode(), record.value or b""))

    try:
        body = _read_get(request.payload) if request.payload.strip() else {}
    except JsonError:
        body = {}
    if len(names) > 1:
        body = {"last_by_subj": ".".join(names[1:])} if not request.payload.strip() else {}
    if not body or not _get(owner, topic, body, found):
        reply.message(Message(status(408, "Bad Request" if request.payload.strip() else "Empty Request"), b""))


def _read_get(payload: bytes) -> dict[str, Any]:
    fields = {"seq": (int,), "last_by_subj": (str,), "next_by_subj": (str,)}
    return check_fields(read(payload), fields, "JSApiMsgGetRequest")


def _get(owner: JetStream, topic: Topic, body: dict[str, Any], then: Callable[[Record | None], None]) -> bool:
    """Find the message that is asked for; False: the question makes no sense."""
    sequence, last, following = body.get("seq", 0), body.get("last_by_subj"), body.get("next_by_subj")
    if (last and (sequence or following)) or (not last and not following and sequence <= 0) or sequence < 0:
        return False
    subject = (last or following or "").encode()
    if subject and not valid_subject(subject, True):
        return False
    stream = topic.streams[0]

    def at(position: int, pattern: Pattern, exact: bool) -> None:
        def got(answer: Answer) -> None:
            records = answer.records if isinstance(answer, Batches) else ()
            then(records[0] if records and (not exact or records[0].position == position) else None)

        owner.read(stream, position, 1, pattern, got)

    if last and valid_subject(subject):

        def known(answer: Answer) -> None:
            if isinstance(answer, Found) and answer.position >= 0:
                at(answer.position, Tokens(b"%#"), True)
            else:
                then(None)

        owner.world.query("last", stream, owner.ask(known), address=subject_address(subject))
    elif last or following:
        _walk(owner, topic, max(sequence - 1, 0), pattern_of(subject), bool(following), then)
    else:
        at(sequence - 1, Tokens(b"%#"), True)
    return True


def _walk(
    owner: JetStream, topic: Topic, start: int, pattern: Pattern, first: bool, then: Callable[[Record | None], None]
) -> None:
    """The first or the last message that matches, at or above a position."""
    kept: list[Record] = []

    def each(records: tuple[Record, ...], end: int) -> bool:
        if records:
            kept[:] = [records[0] if first else records[-1]]
        return not (first and kept)

    def begin(tail: Tail | None) -> None:
        if tail is None:
            then(None)
        else:
            over = lambda: then(kept[0] if kept else None)  # noqa: E731
            Scan(owner, topic.streams[0], max(start, tail.start), pattern, each, over).run()

    owner.tail(topic.streams[0], begin)


def unsupported(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """What is not built is refused in words."""
    operation = b".".join(request.subject.split(b".")[3 : 5 if b".MSG." in request.subject else 4]).decode(
        "utf-8", "replace"
    )
    reply.refuse(errors.STREAM_GENERAL.of(err=f"{operation.lower()} is not supported"))


ROUTES: dict[tuple[str, ...], tuple[Any, str, int, int]] = {
    ("INFO",): (account_info, "account_info", 0, 0),
    ("STREAM", "CREATE"): (create, "stream_create", 1, 1),
    ("STREAM", "UPDATE"): (update, "stream_update", 1, 1),
    ("STREAM", "INFO"): (info, "stream_info", 1, 1),
    ("STREAM", "DELETE"): (delete, "stream_delete", 1, 1),
    ("STREAM", "PURGE"): (purge, "stream_purge", 1, 1),
    ("STREAM", "NAMES"): (names_of, "stream_names", 0, 0),
    ("STREAM", "LIST"): (list_of, "stream_list", 0, 0),
    ("STREAM", "MSG", "GET"): (message_get, "stream_msg_get", 1, 1),
    ("STREAM", "MSG", "DELETE"): (unsupported, "stream_msg_delete", 1, 1),
    ("STREAM", "SNAPSHOT"): (unsupported, "stream_snapshot", 1, 1),
    ("STREAM", "RESTORE"): (unsupported, "stream_restore", 1, 1),
    ("DIRECT", "GET"): (direct_get, "direct_get", 1, 300),
}
"""Subject after ``$JS.API.`` -> handler, kind of its answer, fewest and most tokens that follow."""
