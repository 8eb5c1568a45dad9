"""JetStream's stream API: INFO, STREAM.CREATE, UPDATE, INFO, DELETE, NAMES, LIST.

Spoken: nats-server 2.15. A stream is a topic of one partition: the executor ``topics`` creates, changes and deletes it,
its configuration stands in the topic's options. A topic that Kafka created appears with the configuration that its
captures amount to. Limits are the stream layer's, exact to the message. Not built, and refused: SNAPSHOT, RESTORE.
Single messages are in jetstream_messages.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from protocols.nats import errors, jetstream_messages
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
from protocols.nats.jetstream_read import one_by_one
from protocols.nats.jetstream_wire import (
    EMPTY,
    OPTION,
    ZERO_TIME,
    ApiRequest,
    Fields,
    Int,
    JsonError,
    Reply,
    check_fields,
    format_time,
    read,
    stream_name,
    write,
)
from protocols.nats.mapping import pattern_of, subject_of_address, subject_of_pattern
from protocols.nats.wire import valid_subject
from substrate.address import join
from substrate.api import (
    Address,
    AlterTopic,
    Answer,
    Called,
    CreateTopic,
    DeleteTopic,
    Durability,
    Found,
    Position,
    Record,
    StreamError,
    Tail,
    Topic,
)
from substrate.interest import ONE, SOME

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
    for name, given in request.headers:
        value = given or b""
        if name == b"Nats-Required-Api-Level" and (not value.removeprefix(b"-").isdigit() or int(value) > API_LEVEL):
            reply.refuse(errors.API_LEVEL)
            return True
    return False


def page(request: ApiRequest, items: list[Item], most: int, reply: Reply) -> tuple[dict[str, Any], list[Item]] | None:
    """The part of a list that the request's ``offset`` asks for; None: it was refused."""
    try:
        fields: Fields = {"offset": (Int,), "subject": (str,)}
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

    used = {"memory": 0, "storage": 0}

    def add(topic: Topic, go_on: Callable[[], None]) -> None:
        def counted(size: Answer) -> None:
            used["memory" if owner.config_of(topic)["storage"] == "memory" else "storage"] += (
                size if isinstance(size, int) else 0
            )
            go_on()

        owner.query("bytes", topic.streams[0], counted)

    def done() -> None:
        reply.answer({
            **used, "reserved_memory": 0, "reserved_storage": 0, "streams": len(topics),
            "consumers": consumers, "limits": limits,
            "api": {"level": API_LEVEL, "total": owner.api_total - 1, "errors": owner.api_errors},
        })  # fmt: skip

    one_by_one(topics, add, done)


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
            owner.follow(topic)
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
            owner.follow(now)
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


class State:
    """What STREAM.INFO tells of a stream's messages, asked of the stream layer; ``then(fields)`` once all is known."""

    def __init__(self, owner: JetStream, topic: Topic, then: Callable[[dict[str, Any]], None]) -> None:
        self._owner = owner
        self._topic = topic
        self._stream = topic.streams[0]
        self._then = then
        self.fields: dict[str, Any] = {
            "messages": 0, "bytes": 0, "first_seq": 0, "first_ts": ZERO_TIME, "last_seq": 0, "last_ts": ZERO_TIME,
        }  # fmt: skip

    def begin(self) -> None:
        self._owner.tail(self._stream, self._tail)

    def _tail(self, tail: Tail | None) -> None:
        if tail is None or not tail.durable:
            self._done()
            return
        self._end = int(tail.durable)
        self.fields["last_seq"] = self._end
        self.fields["first_seq"] = self._end + 1
        self._owner.query("next", self._stream, self._first, end=self._end)

    def _first(self, answer: Answer) -> None:
        if isinstance(answer, Found) and answer.position >= 0:
            self.fields["first_seq"] = answer.position + 1
            jetstream_messages.record_at(self._owner, self._topic, int(answer.position), self._oldest)
        else:
            self._newest(None)

    def _oldest(self, record: Record | None) -> None:
        if record is not None:
            self.fields["first_ts"] = format_time(record.timestamp_ms * 1_000_000)
        self._owner.query("last", self._stream, self._last, end=self._end)

    def _last(self, answer: Answer) -> None:
        position = int(answer.position) if isinstance(answer, Found) else -1
        if position < 0:
            self._newest(None)
        else:
            jetstream_messages.record_at(self._owner, self._topic, position, self._newest)

    def _newest(self, record: Record | None) -> None:
        if record is not None:
            self._owner.last_ms[self._stream] = record.timestamp_ms
        if self._stream in self._owner.last_ms:
            self.fields["last_ts"] = format_time(self._owner.last_ms[self._stream] * 1_000_000)
        self._owner.query("count", self._stream, self._messages, end=self._end)

    def _messages(self, count: Answer) -> None:
        self.fields["messages"] = count if isinstance(count, int) else 0
        self._owner.query("bytes", self._stream, self._bytes)

    def _bytes(self, size: Answer) -> None:
        self.fields["bytes"] = size if isinstance(size, int) else 0
        self._owner.subjects_of(self._stream, self._end, self._subjects)

    def _subjects(self, count: int) -> None:
        if count:
            self.fields["num_subjects"] = count
        deleted = self.fields["last_seq"] - self.fields["first_seq"] + 1 - self.fields["messages"]
        if deleted > 0:
            self.fields["num_deleted"] = deleted
        self._done()

    def _done(self) -> None:
        self.fields["consumer_count"] = len(self._owner.consumers_of(self._topic))
        self._then(self.fields)


def describe(owner: JetStream, topic: Topic, versions: bool, then: Callable[[dict[str, Any]], None]) -> None:
    """What STREAM.INFO tells, once all that is durable is counted."""

    def known(state: dict[str, Any]) -> None:
        config = config_of(topic)
        then({
            "config": with_versions(config) if versions else config,
            "created": format_time(topic.created_ms * 1_000_000),
            "state": state,
            "ts": format_time(owner.world.now_ns),
        })  # fmt: skip

    apply_age(owner, topic, State(owner, topic, known).begin)


def apply_age(owner: JetStream, topic: Topic, then: Callable[[], None]) -> None:
    """Trim what is older than ``max_age`` now (the stream layer comes by every few seconds only)."""
    age_ns = owner.config_of(topic)["max_age"]
    stream = topic.streams[0]
    if age_ns <= 0 or owner.config_of(topic)["allow_msg_ttl"]:
        then()
        return

    def known(tail: Tail | None) -> None:
        if tail is None or tail.durable <= tail.start:
            then()
            return
        oldest_ms = (owner.world.now_ns - age_ns) // 1_000_000 + 1
        owner.query("find_time", stream, lambda found: trim(tail, found), time_ms=oldest_ms)

    def trim(tail: Tail, found: Answer) -> None:
        if isinstance(found, Found):
            before = found.position if found.position >= 0 else tail.durable
            owner.query("next", stream, lambda first: cut(before, first), start=tail.start)
            return
        then()

    def cut(before: int, first: Answer) -> None:
        if isinstance(first, Found) and 0 <= first.position < before:  # not where only what was removed lies below
            owner.touched(topic)
            owner.world.trim(stream, Position(before))
        then()

    owner.tail(stream, known)


def info(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """STREAM.INFO.<stream>, with ``subjects_filter`` and ``offset``."""
    topic = owner.topic_of(request.account, names[0])
    if topic is None:
        reply.refuse(errors.STREAM_NOT_FOUND)
        return
    try:
        fields: Fields = {"offset": (Int,), "deleted_details": (bool,), "subjects_filter": (str,)}
        body = check_fields(read(request.payload), fields, "JSApiStreamInfoRequest") if request.payload.strip() else {}
    except JsonError as error:
        reply.refuse(errors.INVALID_JSON.of(err=error))
        return
    wanted = body.get("subjects_filter", "")
    if wanted and not valid_subject(wanted.encode(), True):
        reply.refuse(errors.BAD_REQUEST)
        return

    stream = topic.streams[0]

    def known(fields: dict[str, Any]) -> None:
        if wanted:
            counted = lambda found: subjects(fields, found if isinstance(found, tuple) else ())  # noqa: E731
            owner.query(
                "addresses", stream, counted, pattern=pattern_of(wanted.encode()), end=fields["state"]["last_seq"]
            )
        else:
            details(fields, {"total": 0, "offset": 0, "limit": 0})

    def subjects(fields: dict[str, Any], found: tuple[tuple[Address, int, int], ...]) -> None:
        offset = min(max(body.get("offset", 0), 0), len(found))
        paged = {"total": 0, "offset": 0, "limit": 0}
        if found:
            page = found[offset : offset + SUBJECTS_PAGE]
            counts = {subject_of_address(address).decode("utf-8", "replace"): count for address, count, _ in page}
            _behind(fields["state"], "num_subjects", "subjects", dict(sorted(counts.items())))
            paged = {"total": len(found), "offset": offset, "limit": SUBJECTS_PAGE}
        details(fields, paged)

    def details(fields: dict[str, Any], paged: dict[str, int]) -> None:
        state = fields["state"]
        if not body.get("deleted_details") or "num_deleted" not in state:
            reply.answer({**paged, **fields})
            return

        def gaps(there: list[int]) -> None:
            found = set(there)
            missing = [one + 1 for one in range(state["first_seq"] - 1, state["last_seq"]) if one not in found]
            _behind(state, "num_deleted", "deleted", missing)
            reply.answer({**paged, **fields})

        jetstream_messages.positions_of(owner, topic, None, state["first_seq"] - 1, state["last_seq"], gaps)

    describe(owner, topic, True, known)


def _behind(state: dict[str, Any], before: str, name: str, value: object) -> None:
    """Put a field where nats-server has it."""
    items = list(state.items())
    state.clear()
    for key, kept in items:
        state[key] = kept
        if key == before:
            state[name] = value


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
    if request.payload.strip() not in EMPTY:
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
        owner.forget(topic.streams[0])
        advise(owner, topic, "delete", "DELETED")
        reply.answer({"success": True}, commit)

    owner.world.call("topics", DeleteTopic(request.account, topic.name), owner.ask(deleted))


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
    ("STREAM", "PURGE"): (jetstream_messages.purge, "stream_purge", 1, 1),
    ("STREAM", "NAMES"): (names_of, "stream_names", 0, 0),
    ("STREAM", "LIST"): (list_of, "stream_list", 0, 0),
    ("STREAM", "MSG", "GET"): (jetstream_messages.message_get, "stream_msg_get", 1, 1),
    ("STREAM", "MSG", "DELETE"): (jetstream_messages.message_delete, "stream_msg_delete", 1, 1),
    ("STREAM", "SNAPSHOT"): (unsupported, "stream_snapshot", 1, 1),
    ("STREAM", "RESTORE"): (unsupported, "stream_restore", 1, 1),
    ("DIRECT", "GET"): (jetstream_messages.direct_get, "direct_get", 1, 300),
}
"""Subject after ``$JS.API.`` -> handler, kind of its answer, fewest and most tokens that follow."""
