"""JetStream's CONSUMER API: CREATE, DURABLE.CREATE, INFO, DELETE, NAMES, LIST (MSG.NEXT is in jetstream_pull.py).

Spoken: nats-server 2.15, pull consumers. CONSUMER.CREATE with ``action`` ``create``, ``update`` or neither; a consumer
without a durable name ends after ``inactive_threshold`` (5 s by default) in which nobody asked it. PAUSE, RESET and UNPIN
are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from protocols.nats import errors, jetstream_pull
from protocols.nats.errors import ApiError
from protocols.nats.jetstream_config import (
    CONSUMER_FIELDS,
    Config,
    consumer_config,
    refuse_consumer_update,
    with_versions,
)
from protocols.nats.jetstream_consumer import Consumer
from protocols.nats.jetstream_read import Scan, one_by_one
from protocols.nats.jetstream_streams import config_of, page, required_level
from protocols.nats.jetstream_wire import ApiRequest, JsonError, Reply, check_fields, format_time, parse_time, read
from substrate.api import Answer, Found, Topic

if TYPE_CHECKING:
    from protocols.nats.jetstream import JetStream

NAMES_PAGE = 1024
LIST_PAGE = 256
NAME_MAX = 255
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


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
            owner, topic, config, lambda first: _make(owner, topic, stream, name, config, first, request, reply)
        )


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
        return errors.INVALID_JSON.of(err=f"unknown consumer action: {body['action']!r}")
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


def _find_start(owner: JetStream, topic: Topic, config: Config, then: Callable[[int], None]) -> None:
    """The first sequence that a new consumer looks at."""
    stream = topic.streams[0]
    policy = config["deliver_policy"]
    if policy == "by_start_sequence":
        then(int(config["opt_start_seq"]))
    elif policy == "by_start_time":

        def found(answer: Answer) -> None:
            if isinstance(answer, Found) and answer.position >= 0:
                then(answer.position + 1)
            else:
                owner.tail(stream, lambda tail: then(tail.durable + 1 if tail is not None else 1))

        time_ms = -(-parse_time(config["opt_start_time"]) // 1_000_000)
        owner.world.query("find_time", stream, owner.ask(found), time_ms=time_ms)
    elif policy == "new":
        owner.tail(stream, lambda tail: then(tail.ordered + 1 if tail is not None else 1))
    elif policy == "last":
        _find_last(owner, topic, config, then)
    else:
        owner.tail(stream, lambda tail: then(tail.start + 1 if tail is not None else 1))


def _find_last(owner: JetStream, topic: Topic, config: Config, then: Callable[[int], None]) -> None:
    probe = Consumer(topic.account, topic.streams[0], "", "", config, 0, 1)
    last: list[int] = []

    def each(records: Any, end: int) -> bool:
        last[:] = [records[-1].position + 1] if records else last
        return True

    def begin(tail: Any) -> None:
        if tail is None:
            then(1)
        elif not probe.filters():
            then(max(tail.durable, tail.start + 1))
        else:
            Scan(owner, topic.streams[0], tail.start, probe.pattern(), each,
                 lambda: then(last[0] if last else tail.start + 1)).run()  # fmt: skip

    owner.tail(topic.streams[0], begin)


def _make(
    owner: JetStream,
    topic: Topic,
    stream: str,
    name: str,
    config: Config,
    first: int,
    request: ApiRequest,
    reply: Reply,
) -> None:
    if name in owner.consumers_of(topic):  # another request was quicker
        _change(owner, topic, owner.consumers_of(topic)[name], config, "", reply)
        return
    now_ns = owner.world.now_ns
    probe = Consumer(topic.account, topic.streams[0], stream, name, config, now_ns, first)
    commit = owner.decide(probe, ["create", topic.account, topic.streams[0], stream, name, config, now_ns, first])
    made = owner.consumers_of(topic)[name]
    made.begin(now_ns)
    owner.arm(made)
    describe(owner, made, True, lambda fields: reply.answer(fields, commit))


def _change(owner: JetStream, topic: Topic, there: Consumer, config: Config, action: str, reply: Reply) -> None:
    commit = 0
    there.active_ns = owner.world.now_ns
    if there.config != config:
        if action == "create":
            reply.refuse(errors.CONSUMER_EXISTS)
            return
        refused = refuse_consumer_update(there.config, config)
        if refused is not None:
            reply.refuse(refused)
            return
        commit = owner.decide(there, ["config", config])
        there.forget_read()
        jetstream_pull.serve(owner, there)
    describe(owner, there, True, lambda fields: reply.answer(fields, commit))


def info(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """CONSUMER.INFO.<stream>.<consumer>."""
    topic = owner.topic_of(request.account, names[0])
    if topic is None:
        reply.refuse(errors.STREAM_NOT_FOUND)
        return
    consumer = owner.consumers_of(topic).get(names[1])
    if consumer is None:
        reply.refuse(errors.CONSUMER_NOT_FOUND)
        return
    describe(owner, consumer, True, reply.answer)


def describe(owner: JetStream, consumer: Consumer, versions: bool, then: Callable[[dict[str, Any]], None]) -> None:
    """What CONSUMER.INFO tells, once what is left is counted."""

    def counted() -> None:
        then(_fields(owner, consumer, versions))

    jetstream_pull.count(owner, consumer, counted)


def _fields(owner: JetStream, consumer: Consumer, versions: bool) -> dict[str, Any]:
    delivered: dict[str, Any] = {"consumer_seq": consumer.delivered_consumer, "stream_seq": consumer.delivered_stream}
    floor: dict[str, Any] = {"consumer_seq": consumer.floor_consumer, "stream_seq": consumer.floor_stream}
    if consumer.delivered_ns:
        delivered["last_active"] = format_time(consumer.delivered_ns)
    if consumer.acked_ns:
        floor["last_active"] = format_time(consumer.acked_ns)
    return {
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
        "ts": format_time(owner.world.now_ns),
    }


def delete(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """CONSUMER.DELETE.<stream>.<consumer>."""
    topic = owner.topic_of(request.account, names[0])
    if request.payload.strip():
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


def unsupported(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """What is not built is refused in words."""
    operation = request.subject.split(b".")[3].decode("utf-8", "replace")
    reply.refuse(errors.CONSUMER_CREATE.of(err=f"{operation.lower()} is not supported"))


ROUTES: dict[tuple[str, ...], tuple[Any, str, int, int]] = {
    ("CONSUMER", "CREATE"): (create, "consumer_create", 1, 300),
    ("CONSUMER", "DURABLE", "CREATE"): (create_durable, "consumer_create", 2, 2),
    ("CONSUMER", "INFO"): (info, "consumer_info", 2, 2),
    ("CONSUMER", "DELETE"): (delete, "consumer_delete", 2, 2),
    ("CONSUMER", "NAMES"): (names_of, "consumer_names", 1, 1),
    ("CONSUMER", "LIST"): (list_of, "consumer_list", 1, 1),
    ("CONSUMER", "MSG", "NEXT"): (jetstream_pull.next_message, "consumer_next", 2, 2),
    ("CONSUMER", "PAUSE"): (unsupported, "consumer_pause", 2, 2),
    ("CONSUMER", "RESET"): (unsupported, "consumer_reset", 2, 2),
    ("CONSUMER", "UNPIN"): (unsupported, "consumer_unpin", 2, 2),
}
"""Subject after ``$JS.API.`` -> handler, kind of its answer, fewest and most tokens that follow."""
