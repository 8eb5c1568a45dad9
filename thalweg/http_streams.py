"""``/api/streams``: what there is, and a new one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from protocols.identity import Right
from substrate.api import Called, CreateTopic, DeleteTopic, StreamId, Topic
from thalweg.http_answers import Refusal, Reply, Steps, refused
from thalweg.http_text import address_of, address_text, pattern_from, pattern_text
from thalweg.http_view import Entry

if TYPE_CHECKING:
    from thalweg.http import Exchange

PAGE = 200
PAGE_MAX = 1000
PARTITIONS_MAX = 1024


def number(exchange: Exchange, name: str, default: int, least: int = 0, most: int = 2**63 - 1) -> int:
    """A number of the query.

    Raises:
        Refusal: it is none, or out of its bounds.
    """
    text = exchange.query.get(name, str(default))
    try:
        found = int(text)
    except ValueError:
        raise Refusal(400, f"{name}: {text[:40]!r} is no number") from None
    if not least <= found <= most:
        raise Refusal(400, f"{name}: {found} is not within {least} and {most}")
    return found


def listed(exchange: Exchange) -> object:
    """Streams that the user may read, by the bytes of their names, ``limit`` of them after ``after``."""
    limit = number(exchange, "limit", PAGE, 1, PAGE_MAX)
    after = address_of(exchange.query["after"]) if "after" in exchange.query else b""
    wanted = exchange.query.get("match")
    pattern = None if wanted is None else pattern_from(wanted)
    shown: list[dict[str, Any]] = []
    for entry in sorted(visible(exchange), key=lambda entry: entry.name):
        if entry.name <= after or (pattern is not None and not pattern.matches(entry.name)):
            continue
        if len(shown) == limit:
            return {"streams": shown, "next": shown[-1]["name"], "now_ms": exchange.now_ns // 1_000_000}
        shown.append(described(exchange, entry, address_text(entry.name)))
    return {"streams": shown, "next": None, "now_ms": exchange.now_ns // 1_000_000}


def visible(exchange: Exchange) -> list[Entry]:
    """What the user may read, in no order."""
    account = exchange.identity.account
    internal = exchange.query.get("internal", "0") == "1"
    found = exchange.view.entries(account, exchange.port.topics(account), internal)
    return found if exchange.identity.all else [entry for entry in found if exchange.may(Right.READ, entry.name)]


def described(exchange: Exchange, entry: Entry, name: str) -> dict[str, Any]:
    partitions = []
    for partition, stream in enumerate(entry.streams):
        start, end = exchange.view.marks(stream)
        partitions.append({"partition": partition, "start": start, "end": end, "bytes": exchange.view.size(stream)})
    config = entry.config
    return {
        "name": name,
        "records": sum(exchange.view.held(stream) for stream in entry.streams),
        "written": sum(one["end"] for one in partitions),
        "bytes": sum(max(one["bytes"], 0) for one in partitions),
        "partitions": partitions,
        "subjects": [pattern_text(subject) for subject in entry.subjects],
        "durability": config.durability.value,
        "retention_ms": config.retention_ms,
        "retention_bytes": config.retention_bytes,
        "retention_records": config.retention_records,
        "record_bytes_max": config.record_bytes_max,
        "created_ms": entry.created_ms,
    }


def entry_of(exchange: Exchange, field: str = "stream") -> Entry:
    """The stream that the query names, for a user who may read it.

    Raises:
        Refusal: there is none, or not for this user.
    """
    if field not in exchange.query:
        raise Refusal(400, f"{field}: which one?")
    name = address_of(exchange.query[field])
    exchange.must(Right.READ, name)
    topic = exchange.port.topic(exchange.identity.account, name)
    if topic is not None:
        return Entry(topic.name, topic.streams, topic.config, topic.subjects, topic.created_ms)
    for entry in exchange.view.entries(exchange.identity.account, (), True):
        if entry.name == name:
            return entry
    raise Refusal(404, f"there is no stream {address_text(name)}")


def stream_of(entry: Entry, partition: int) -> StreamId:
    """
    Raises:
        Refusal: there is no such partition.
    """
    if partition >= len(entry.streams):
        raise Refusal(404, f"{address_text(entry.name)} has {len(entry.streams)} partitions, from 0")
    return entry.streams[partition]


def object_of(body: bytes, known: set[str]) -> dict[str, Any]:
    """A JSON object with no other fields than these.

    Raises:
        Refusal: it is something else.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Refusal(400, "not a JSON object")
    if found.keys() - known:
        raise Refusal(400, f"no such field: {sorted(found.keys() - known)[0]}; there are {', '.join(sorted(known))}")
    return found


def created(exchange: Exchange) -> Steps:
    """``{"name": "orders", "partitions": 1, "retention_ms": -1, ...}``."""
    limits = ("retention_ms", "retention_bytes", "retention_records")
    given = object_of(exchange.body, {"name", "partitions", *limits})
    name = address_of(given.get("name"))
    exchange.must(Right.MANAGE, name)
    partitions = given.get("partitions", 1)
    if type(partitions) is not int or not 1 <= partitions <= PARTITIONS_MAX:
        raise Refusal(400, f"partitions: 1 to {PARTITIONS_MAX}")
    for limit in limits:
        if type(given.get(limit, -1)) is not int or not -1 <= given.get(limit, -1) < 2**63:
            raise Refusal(400, f"{limit}: a number, -1 for no limit")
    config = replace(exchange.view.new_streams, **{limit: given[limit] for limit in limits if limit in given})
    request = CreateTopic(exchange.identity.account, name, partitions, config=config)
    answer = yield exchange.call("topics", request)
    topic, commit, shard = unpacked(answer)
    assert isinstance(topic, Topic)
    entry = Entry(topic.name, topic.streams, topic.config, topic.subjects, topic.created_ms)
    return Reply(described(exchange, entry, address_text(name)), 201, [], shard, commit)


def deleted(exchange: Exchange) -> Steps:
    """``?name=orders``: the stream and all that it holds."""
    if "name" not in exchange.query:
        raise Refusal(400, "name: which one?")
    name = address_of(exchange.query["name"])
    exchange.must(Right.MANAGE, name)
    request = DeleteTopic(exchange.identity.account, name)
    answer = yield exchange.call("topics", request)
    _, commit, shard = unpacked(answer)
    return Reply({"deleted": address_text(name)}, 200, [], shard, commit)


def unpacked(answer: object) -> tuple[Any, int, int]:
    """What an executor answered, with what to wait for.

    Raises:
        Refusal: it said no.
    """
    inner = answer.answer if isinstance(answer, Called) else answer
    no = refused(inner)
    if no is not None:
        raise no
    assert isinstance(answer, Called), answer
    return inner, int(answer.commit), int(answer.shard)
