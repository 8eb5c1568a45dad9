"""JetStream's CONSUMER API: CREATE, DURABLE.CREATE, INFO, DELETE, PAUSE, RESET, NAMES, LIST (MSG.NEXT: jetstream_pull.py).

Spoken: nats-server 2.15. CONSUMER.CREATE with ``action`` ``create``, ``update`` or neither; a consumer
without a durable name ends after ``inactive_threshold`` (5 s by default) in which nobody asked it.
UNPIN finds no group: there are none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protocols.nats import errors, jetstream_count, jetstream_pull, jetstream_push
from protocols.nats.errors import ApiError
from protocols.nats.jetstream_config import (
    CONSUMER_FIELDS,
    Config,
    collide,
    consumer_config,
    filters_of,
    refuse_consumer_update,
    with_versions,
)
from protocols.nats.jetstream_consumer import LETTERS, Consumer
from protocols.nats.jetstream_read import one_by_one
from protocols.nats.jetstream_streams import config_of, page, required_level
from protocols.nats.jetstream_wire import (
    EMPTY,
    ZERO_TIME,
    ApiRequest,
    JsonError,
    Reply,
    Uint64,
    check_fields,
    format_time,
    parse_time,
    read,
)
from protocols.nats.mapping import pattern_of
from substrate.api import Answer, Found, Tail, Topic
from substrate.interest import Tokens

if TYPE_CHECKING:
    from protocols.nats.jetstream import JetStream

NAMES_PAGE = 1024
LIST_PAGE = 256
NAME_MAX = 255


def create(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """CONSUMER.CREATE.<stream>[.<name>[.<filter>]]."""
    _create(owner, request, names[0], names[1] if len(names) > 1 else "", ".".join(names[2:]), False, reply)


def create_durable(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """CONSUMER.DURABLE.CREATE.<stream>.<name>."""
    _create(owner, request, names[0], names[1], "", True, reply)


def _create(
    owner: JetStream, request: ApiRequest, stream: str, name: str, filtered: str, durable: bool, reply: Reply
) -> None:
    if required_level(request, reply):
        return
    try:
        body = check_fields(
            read(request.payload),
            {"stream_name": (str,), "config": (dict,), "action": (str,), "pedantic": (bool,)},
            "CreateConsumerRequest",
        )
        given = check_fields(body.get("config", {}), CONSUMER_FIELDS, "ConsumerConfig")
    except JsonError as error:
        reply.refuse(errors.INVALID_JSON.of(err=error))
        return
    topic = owner.topic_of(request.account, stream)
    refused = _refuse_names(body, given, stream, name, filtered, durable)
    if refused is None and topic is None:
        refused = errors.STREAM_NOT_FOUND
    if refused is not None or topic is None:
        reply.refuse(refused or errors.STREAM_NOT_FOUND)
        return
    shown = config_of(topic)
    config = consumer_config(given)
    if isinstance(config, ApiError):
        reply.refuse(config)
        return
    refused = refuse_on_queue(shown, config, list(owner.consumers_of(topic).values()), name)
    if refused is not None:
        reply.refuse(refused)
        return
    deliver = config.get("deliver_subject", "")
    if deliver and any(collide(deliver, subject) for subject in shown["subjects"]):
        reply.refuse(errors.DELIVER_CYCLE)
        return
    name = name or config.get("durable_name", "") or config.get("name", "") or _new_name(owner)
    config = _named(config, name)
    there = owner.consumers_of(topic).get(name)
    action = body.get("action", "")
    if there is not None:
        _change(owner, topic, there, config, action, reply)
    elif action == "update":
        reply.refuse(errors.CONSUMER_MISSING)
    elif 0 < shown["max_consumers"] <= len(owner.consumers_of(topic)):
        reply.refuse(errors.CONSUMERS_MAX)
    else:
        _find_start(
            owner, topic, config, lambda start: _make(owner, topic, stream, name, config, start, request, reply)
        )


def refuse_on_queue(stream: Config, config: Config, others: list[Consumer], name: str) -> ApiError | None:
    """What a work queue's consumers cannot be (nats-server consumer.go, behaviour)."""
    if stream["retention"] != "workqueue":
        return None
    if config["ack_policy"] != "explicit":
        return (
            errors.WORKQUEUE_ACKS
            if "deliver_subject" in config or config["ack_policy"] == "all"
            else errors.PULL_ON_WORKQUEUE
        )
    if config["deliver_policy"] != "all":
        return errors.WORKQUEUE_NOT_ALL
    name = name or config.get("durable_name", "") or config.get("name", "")
    mine = filters_of(config)
    for other in others:
        if other.name == name:
            continue
        if not mine:
            return errors.WORKQUEUE_UNFILTERED
        if not other.filters() or any(collide(one, theirs) for one in mine for theirs in other.filters()):
            return errors.WORKQUEUE_NOT_UNIQUE
    return None


def _named(config: Config, name: str) -> Config:
    """With its name in its place: behind the durable one."""
    named: Config = {}
    if config.get("durable_name"):
        named["durable_name"] = config["durable_name"]
    named["name"] = name
    return named | {key: value for key, value in config.items() if key not in ("durable_name", "name")}


def _refuse_names(
    body: dict[str, Any], given: Config, stream: str, name: str, filtered: str, durable: bool
) -> ApiError | None:
    if body.get("stream_name", "") != stream:
        return errors.STREAM_MISMATCH
    if "config" not in body:
        return errors.CONSUMER_CONFIG_REQUIRED
    if body.get("action", "") not in ("", "create", "update"):
        return errors.INVALID_JSON.of(err=f"unknown consumer action: {json.dumps(body['action'])}")
    durable_name, short_name = given.get("durable_name", ""), given.get("name", "")
    if durable_name and short_name and durable_name != short_name:
        return errors.DURABLE_AND_NAME
    if durable and not durable_name:
        return errors.DURABLE_NOT_SET
    if name and (durable_name or short_name) and (durable_name or short_name) != name:
        return (
            errors.DURABLE_NOT_MATCHING
            if durable_name
            else errors.CONSUMER_CREATE.of(err="consumer name in subject does not match name in request")
        )
    wanted = name or durable_name or short_name
    if "/" in wanted or "\\" in wanted:
        return errors.CONSUMER_NAME_PATH
    if wanted and re.search(r"[\s.*>\x00-\x1f]", wanted):
        return errors.DURABLE_NAME_BAD
    if len(wanted) > NAME_MAX:
        return errors.CONSUMER_NAME_LONG.of(max=NAME_MAX)
    if filtered:
        if given.get("filter_subjects"):
            return errors.FILTERS_IN_SUBJECT
        if given.get("filter_subject", filtered) != filtered:
            return errors.FILTER_NOT_MATCHING_SUBJECT
        given["filter_subject"] = filtered
    return None


def _new_name(owner: JetStream) -> str:
    chance = owner.world.random()
    return "".join(LETTERS[(chance >> 6 * index) % len(LETTERS)] for index in range(8))


@dataclass(frozen=True, slots=True)
class Start:
    """Where a new consumer begins: the first sequence it looks at; the stream's last one, where that matters (``upto``);
    of ``last_per_subject`` what it delivers up to there."""

    first: int
    upto: int = 0
    lasts: list[int] | None = None


def _find_start(owner: JetStream, topic: Topic, config: Config, then: Callable[[Start], None]) -> None:
    """Where a new consumer begins."""

    def known(tail: Tail | None) -> None:
        if tail is None:
            then(Start(1))
            return
        upto = tail.durable if config["replay_policy"] == "original" else 0
        _find_first(owner, topic, config, tail, lambda first: then(Start(first, upto)))

    def lasts(tail: Tail | None) -> None:
        if tail is None:
            then(Start(1))
            return
        upto = int(tail.durable)
        probe = Consumer(topic.account, topic.streams[0], "", "", config, 0, 1)

        def found(lasts: list[int]) -> None:
            if lasts:
                then(Start(lasts[0], upto, lasts))
            else:
                _find_end(owner, topic, tail, lambda first: then(Start(first, upto, lasts)))

        jetstream_count.find_lasts(owner, probe, upto, found)

    owner.tail(topic.streams[0], lasts if config["deliver_policy"] == "last_per_subject" else known)


def _find_first(owner: JetStream, topic: Topic, config: Config, tail: Tail, then: Callable[[int], None]) -> None:
    """The first sequence that a new consumer looks at."""
    stream = topic.streams[0]
    policy = config["deliver_policy"]
    if policy == "by_start_sequence":
        then(int(config["opt_start_seq"]))
    elif policy == "by_start_time":

        def found(answer: Answer) -> None:
            then(answer.position + 1 if isinstance(answer, Found) and answer.position >= 0 else tail.durable + 1)

        time_ms = -(-parse_time(config["opt_start_time"]) // 1_000_000)
        owner.world.query("find_time", stream, owner.ask(found), time_ms=time_ms)
    elif policy == "new":
        then(tail.ordered + 1)
    elif policy == "last":
        _find_last(owner, topic, config, tail, then)
    else:
        owner.query(
            "next",
            stream,
            lambda found: then(
                found.position + 1 if isinstance(found, Found) and found.position >= 0 else tail.durable + 1
            ),
            end=int(tail.durable),
        )


def _find_last(owner: JetStream, topic: Topic, config: Config, tail: Tail, then: Callable[[int], None]) -> None:
    filters = Consumer(topic.account, topic.streams[0], "", "", config, 0, 1).filters()
    patterns: list[Tokens | None] = [pattern_of(one.encode()) for one in filters] or [None]
    last = [-1]

    def of(pattern: Tokens | None, go_on: Callable[[], None]) -> None:
        def told(found: Answer) -> None:
            last[0] = max(last[0], found.position if isinstance(found, Found) else -1)
            go_on()

        owner.query("last", topic.streams[0], told, pattern=pattern, end=int(tail.durable))

    def over() -> None:
        if last[0] >= 0:
            then(last[0] + 1)
        else:
            _find_end(owner, topic, tail, then)

    one_by_one(patterns, of, over)


def _find_end(owner: JetStream, topic: Topic, tail: Tail, then: Callable[[int], None]) -> None:
    """Where a consumer of last messages begins if there are none: at the last sequence, or behind it in an empty stream."""

    def found(answer: Answer) -> None:
        first = answer.position + 1 if isinstance(answer, Found) and answer.position >= 0 else tail.durable + 1
        then(max(int(tail.durable), first))

    owner.query("next", topic.streams[0], found, end=int(tail.durable))


def _make(
    owner: JetStream,
    topic: Topic,
    stream: str,
    name: str,
    config: Config,
    start: Start,
    request: ApiRequest,
    reply: Reply,
) -> None:
    if name in owner.consumers_of(topic):  # another request was quicker
        _change(owner, topic, owner.consumers_of(topic)[name], config, "", reply)
        return
    now_ns = owner.world.now_ns
    probe = Consumer(topic.account, topic.streams[0], stream, name, config, now_ns, start.first)
    event = ["create", topic.account, topic.streams[0], stream, name, config, now_ns, start.first, start.upto]
    commit = owner.decide(probe, event)
    made = owner.consumers_of(topic)[name]
    names = {"stream": stream, "consumer": name, "action": "create"}
    owner.advise(topic.account, f"CONSUMER.CREATED.{stream}.{name}", "consumer_action", names)
    made.begin(now_ns)
    made.lasts = start.lasts
    if made.push is not None:
        jetstream_push.bind(owner, made, made.push)
    owner.arm(made)

    def described(fields: dict[str, Any]) -> None:
        reply.answer(fields, commit)
        jetstream_pull.serve(owner, made)

    describe(owner, made, True, described)


def _change(owner: JetStream, topic: Topic, there: Consumer, config: Config, action: str, reply: Reply) -> None:
    commit = 0
    there.active_ns = owner.world.now_ns
    if there.config != config:
        if action == "create":
            reply.refuse(errors.CONSUMER_EXISTS)
            return
        refused = refuse_consumer_update(
            there.config, config, there.push is not None and jetstream_push.bind(owner, there, there.push)
        )
        if refused is not None:
            reply.refuse(refused)
            return
        moved = there.config.get("deliver_subject") != config.get("deliver_subject")
        commit = owner.decide(there, ["config", config])
        if moved:
            there.begin(owner.world.now_ns)
        there.forget_read()
        jetstream_pull.serve(owner, there)
    describe(owner, there, True, lambda fields: reply.answer(fields, commit))


def info(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """CONSUMER.INFO.<stream>.<consumer>."""
    if request.payload.strip() not in EMPTY:
        reply.refuse(errors.NOT_EMPTY)
        return
    consumer = _find(owner, request, names, reply)
    if consumer is not None:
        describe(owner, consumer, True, reply.answer)


def describe(owner: JetStream, consumer: Consumer, versions: bool, then: Callable[[dict[str, Any]], None]) -> None:
    """What CONSUMER.INFO tells, once what is left is counted."""

    def counted() -> None:
        then(_fields(owner, consumer, versions))

    jetstream_count.count(owner, consumer, counted)


def _fields(owner: JetStream, consumer: Consumer, versions: bool) -> dict[str, Any]:
    delivered: dict[str, Any] = {"consumer_seq": consumer.delivered_consumer, "stream_seq": consumer.delivered_stream}
    floor: dict[str, Any] = {"consumer_seq": consumer.floor_consumer, "stream_seq": consumer.floor_stream}
    if consumer.delivered_ns:
        delivered["last_active"] = format_time(consumer.delivered_ns)
    if consumer.acked_ns:
        floor["last_active"] = format_time(consumer.acked_ns)
    fields = {
        "stream_name": consumer.stream,
        "name": consumer.name,
        "created": format_time(consumer.created_ns),
        "config": with_versions(consumer.config) if versions else consumer.config,
        "delivered": delivered,
        "ack_floor": floor,
        "num_ack_pending": len(consumer.pending),
        "num_redelivered": consumer.redelivered(),
        "num_waiting": len(consumer.waiting),
        "num_pending": max(consumer.counted, 0),
    }
    if consumer.push is not None and consumer.push.bound:
        fields["push_bound"] = True
    paused_ns = consumer.paused_ns(owner.world.now_ns)
    if paused_ns:
        fields |= {"paused": True, "pause_remaining": paused_ns}
    fields["ts"] = format_time(owner.world.now_ns)
    return fields


def delete(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """CONSUMER.DELETE.<stream>.<consumer>."""
    topic = owner.topic_of(request.account, names[0])
    if request.payload.strip() not in EMPTY:
        reply.refuse(errors.NOT_EMPTY)
    elif topic is None:
        reply.refuse(errors.STREAM_NOT_FOUND)
    elif names[1] not in owner.consumers_of(topic):
        reply.refuse(errors.CONSUMER_NOT_FOUND)
    else:
        reply.answer({"success": True}, owner.drop(owner.consumers_of(topic)[names[1]]))


def names_of(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """CONSUMER.NAMES.<stream>."""
    topic = owner.topic_of(request.account, names[0])
    if topic is None:
        reply.refuse(errors.STREAM_NOT_FOUND)
        return
    found = page(request, sorted(owner.consumers_of(topic)), NAMES_PAGE, reply)
    if found is not None:
        fields, shown = found
        reply.answer({**fields, "consumers": shown})


def list_of(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """CONSUMER.LIST.<stream>."""
    topic = owner.topic_of(request.account, names[0])
    if topic is None:
        reply.refuse(errors.STREAM_NOT_FOUND)
        return
    found = page(request, sorted(owner.consumers_of(topic)), LIST_PAGE, reply)
    if found is None:
        return
    fields, shown = found
    described: list[dict[str, Any]] = []

    def add(name: str, go_on: Callable[[], None]) -> None:
        def told(fields: dict[str, Any]) -> None:
            described.append(fields)
            go_on()

        consumer = owner.consumers_of(topic).get(name)
        if consumer is None:
            go_on()
        else:
            describe(owner, consumer, False, told)

    one_by_one(shown, add, lambda: reply.answer({**fields, "consumers": described}))


def pause(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """CONSUMER.PAUSE.<stream>.<consumer>: until ``pause_until``; without one, or with one that is past, it goes on."""
    try:
        body = (
            check_fields(read(request.payload), {"pause_until": (str,)}, "JSApiConsumerPauseRequest")
            if request.payload.strip()
            else {}
        )
        until = body.get("pause_until", "")
        until_ns = max(parse_time(until), 0) if until else 0
    except JsonError as error:
        reply.refuse(errors.INVALID_JSON.of(err=error))
        return
    except ValueError:
        reply.refuse(errors.INVALID_JSON.of(err=f"parsing time {body['pause_until']!r}"))
        return
    consumer = _find(owner, request, names, reply)
    if consumer is None:
        return
    config = {name: value for name, value in consumer.config.items() if name != "pause_until"}
    config["metadata"] = {**config["metadata"], "_nats.req.level": "1" if until_ns else "0"}
    if until_ns:
        config["pause_until"] = until
    commit = owner.decide(consumer, ["config", config]) if config != consumer.config else 0
    consumer.active_ns = owner.world.now_ns
    remaining = consumer.paused_ns(owner.world.now_ns)
    fields: dict[str, Any] = {"paused": bool(remaining), "pause_until": until if until_ns else ZERO_TIME}
    if remaining:
        fields["pause_remaining"] = remaining
    reply.answer(fields, commit)
    jetstream_pull.serve(owner, consumer)


def reset(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """CONSUMER.RESET.<stream>.<consumer>: everything above the acknowledged floor, or from ``seq`` on, is delivered anew."""
    try:
        body = (
            check_fields(read(request.payload), {"seq": (Uint64,)}, "JSApiConsumerResetRequest")
            if request.payload.strip()
            else {}
        )
    except JsonError as error:
        reply.refuse(errors.INVALID_JSON.of(err=error))
        return
    consumer = _find(owner, request, names, reply)
    if consumer is None:
        return
    wanted, policy = body.get("seq", 0), consumer.config["deliver_policy"]
    if wanted and policy not in ("all", "by_start_sequence"):
        reply.refuse(errors.INVALID_RESET.of(err="not allowed"))
        return
    if wanted and wanted < consumer.config.get("opt_start_seq", 1):
        reply.refuse(errors.INVALID_RESET.of(err="below start seq"))
        return
    first = wanted or consumer.floor_stream + 1
    commit = owner.decide(consumer, ["reset", first - 1])
    consumer.begin(owner.world.now_ns)
    if consumer.push is not None:
        jetstream_push.bind(owner, consumer, consumer.push)

    def described(fields: dict[str, Any]) -> None:
        reply.answer({**fields, "reset_seq": first}, commit)
        jetstream_pull.serve(owner, consumer)

    describe(owner, consumer, True, described)


def unpin(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """CONSUMER.UNPIN.<stream>.<consumer>: no consumer has priority groups here."""
    try:
        check_fields(read(request.payload), {"group": (str,)}, "JSApiConsumerUnpinRequest")
    except JsonError as error:
        reply.refuse(errors.INVALID_JSON.of(err=error))
        return
    if _find(owner, request, names, reply) is not None:
        reply.refuse(errors.NO_GROUP)


def _find(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply) -> Consumer | None:
    """The consumer; None: it was refused."""
    topic = owner.topic_of(request.account, names[0])
    if topic is None:
        reply.refuse(errors.STREAM_NOT_FOUND)
        return None
    found = owner.consumers_of(topic).get(names[1])
    if found is None:
        reply.refuse(errors.CONSUMER_NOT_FOUND)
    return found


ROUTES: dict[tuple[str, ...], tuple[Any, str, int, int]] = {
    ("CONSUMER", "CREATE"): (create, "consumer_create", 1, 300),
    ("CONSUMER", "DURABLE", "CREATE"): (create_durable, "consumer_create", 2, 2),
    ("CONSUMER", "INFO"): (info, "consumer_info", 2, 2),
    ("CONSUMER", "DELETE"): (delete, "consumer_delete", 2, 2),
    ("CONSUMER", "NAMES"): (names_of, "consumer_names", 1, 1),
    ("CONSUMER", "LIST"): (list_of, "consumer_list", 1, 1),
    ("CONSUMER", "MSG", "NEXT"): (jetstream_pull.next_message, "consumer_next", 2, 2),
    ("CONSUMER", "PAUSE"): (pause, "consumer_pause", 2, 2),
    ("CONSUMER", "RESET"): (reset, "consumer_reset", 2, 2),
    ("CONSUMER", "UNPIN"): (unpin, "consumer_unpin", 2, 2),
}
"""Subject after ``$JS.API.`` -> handler, kind of its answer, fewest and most tokens that follow."""
