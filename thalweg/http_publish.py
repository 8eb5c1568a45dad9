"""``POST /api/publish``: one message, or many in the order of their lines; answered when they are durable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocols.identity import Right
from substrate.api import Ack, Address, Appended, Route
from substrate.group import Group
from thalweg.http_answers import Ask, Refusal, Reply, Steps, refused
from thalweg.http_streams import object_of
from thalweg.http_text import address_of, address_text, bytes_of

if TYPE_CHECKING:
    from thalweg.http import Exchange

FIELDS = {"address", "value", "headers"}
LINES_MAX = 2000
"""Of one request: 10 ms of the loop."""
GROUP_MAX = 1000
Message = tuple[Address, bytes, tuple[tuple[bytes, bytes | None], ...]]


def publish(exchange: Exchange) -> Steps:
    """``application/json``: ``{"address", "value", "headers"}``. ``application/x-ndjson``: one of them a line. Any other
    type: the body is the value, ``?address=`` says where."""
    kind = exchange.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/x-ndjson":
        messages = [message_of(line, exchange) for line in lines_of(exchange.body)]
        count, stored, last, commit, shard = yield from sent(exchange, messages)
        return Reply({"published": count, "stored": stored, **last}, 200, [], shard, commit)
    if kind == "application/json":
        message = message_of(exchange.body, exchange)
    else:
        message = address_of(exchange.query.get("address")), exchange.body, ()
    _, _, last, commit, shard = yield from sent(exchange, [message])
    return Reply(last, 200, [], shard, commit)


def lines_of(body: bytes) -> list[bytes]:
    """
    Raises:
        Refusal: too many, or none.
    """
    lines = [line for line in body.split(b"\n") if line.strip()]
    if not 1 <= len(lines) <= LINES_MAX:
        raise Refusal(413 if lines else 400, f"{len(lines)} lines, 1 to {LINES_MAX} in one request")
    return lines


def message_of(body: bytes, exchange: Exchange) -> Message:
    """
    Raises:
        Refusal: it is no message.
    """
    given = object_of(body, FIELDS)
    address = address_of(given.get("address", exchange.query.get("address")))
    headers = given.get("headers", [])
    if not isinstance(headers, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in headers):
        raise Refusal(400, 'headers: [["name", "value"], ...]')
    pairs = tuple(
        (bytes_of(name, "a header's name"), None if value is None else bytes_of(value, "a header's value"))
        for name, value in headers
    )
    return address, bytes_of(given.get("value"), "value"), pairs


def sent(exchange: Exchange, messages: list[Message]) -> Steps:
    """How many were published and stored, where the last went, and what to wait for.

    Raises:
        Refusal: the first that was not, with how many were published before it.
    """
    for address in {address for address, _, _ in messages}:
        exchange.must(Right.WRITE, address)
    count = stored = commit = shard = 0
    last: dict[str, Any] = {}
    at = 0
    while at < len(messages):
        group = group_of(messages, at)
        route = exchange.port.resolve(exchange.identity.account, Address(group.address))
        answer = yield published(exchange, route, group)
        no = refused(answer)
        if no is not None:
            no.more["published"] = count
            raise no
        assert isinstance(answer, Appended)
        at += group.count
        count += group.count
        if answer.base >= 0:
            stored += group.count
            commit, shard = max(commit, answer.commit), answer.shard
        last = placed(route, group, answer)
    return count, stored, last, commit, shard


def published(exchange: Exchange, route: Route, group: Group) -> Ask:
    return lambda token: exchange.port.publish(route, group, "", Ack.DURABLE, token)


def group_of(messages: list[Message], at: int) -> Group:
    """The messages from here on that go to one address."""
    address = messages[at][0]
    end = at
    while end < len(messages) and end - at < GROUP_MAX and messages[end][0] == address:
        end += 1
    group = Group(address, b"".join(value for _, value, _ in messages[at:end]))
    offset = 0
    for _, value, headers in messages[at:end]:
        group.add_with_headers(offset, len(value), headers) if headers else group.add(offset, len(value))
        offset += len(value)
    return group


def placed(route: Route, group: Group, answer: Appended) -> dict[str, Any]:
    """Where a message went; ``stream`` null: nothing keeps this address."""
    shown: dict[str, Any] = {"address": address_text(group.address), "stream": None}
    if answer.base >= 0 and route.topic is not None:
        shown["stream"] = address_text(route.topic.name)
        if len(route.topic.streams) > 1 and answer.stream in route.topic.streams:
            shown["partition"] = route.topic.streams.index(answer.stream)
        shown["position"] = answer.last
        shown["time_ms"] = answer.timestamp_ms
    return shown
