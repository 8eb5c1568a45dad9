"""``/api/groups``: who reads what and how far behind: Kafka's groups, JetStream's consumers, MQTT's sessions, groups of
Redis streams.
``/api/connections``: who is connected.

Each is asked for in the protocol's own words where it has some (ListGroups, CONSUMER.LIST), else looked at where it lives.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from protocols.identity import Right
from protocols.kafka import group_requests as kafka
from protocols.kafka.mapping import address_of as kafka_address
from protocols.nats.jetstream_wire import ApiRequest, stream_name
from protocols.resp.groups import lag_of
from protocols.resp.ids import id_text
from protocols.resp.mapping import address_of as redis_address
from protocols.resp.state import STREAM
from substrate.api import Address, Called, Tail, Topic
from thalweg.http_answers import Steps
from thalweg.http_streams import number
from thalweg.http_text import address_text, bytes_text

if TYPE_CHECKING:
    from thalweg.http import Exchange

GROUPS_MAX = 1000
"""Of each kind."""
ROWS_MAX = 200
"""Partitions shown of one group."""
KEYS_MAX = 20_000
"""Of a Redis database, looked at for streams with groups: 2 ms."""
MQTT = Address(b"_thalweg/mqtt")
CONNECTIONS = Address(b"_thalweg/connections")
CONNECTIONS_MAX = 1000


def groups(exchange: Exchange) -> Steps:
    """``lag``: records not yet acknowledged or committed; null: it has not begun."""
    found = yield from kafka_groups(exchange)
    found += yield from jetstream_consumers(exchange)
    found += mqtt_sessions(exchange)
    redis, all_of_them = redis_groups(exchange)
    return {"groups": found + redis, "complete": all_of_them, "now_ms": exchange.now_ns // 1_000_000}


def kafka_groups(exchange: Exchange) -> Steps:
    account = exchange.identity.account
    listed = yield exchange.call("groups", kafka.ListAll(account))
    if not isinstance(listed, Called):
        return []
    names = tuple(one.group_id for one in listed.answer[:GROUPS_MAX])
    described = yield exchange.call("groups", kafka.Describe(account, names))
    if not isinstance(described, Called):
        return []
    shown = []
    for group in described.answer:
        fetched = yield exchange.call("groups", kafka.FetchOffsets(account, group.group_id, None))
        offsets = fetched.answer if isinstance(fetched, Called) else {}
        rows = yield from lags(exchange, offsets)
        if offsets and not rows:
            continue  # nothing of it is this user's to read
        shown.append(
            {
                "kind": "kafka",
                "name": group.group_id,
                "state": group.state,
                "members": [
                    {"name": member.client_id, "host": member.client_host, "id": member.member_id}
                    for member in group.members[:ROWS_MAX]
                ],
                "lag": sum(row["lag"] for row in rows) if rows else None,
                "rows": rows,
            }
        )
    return shown


def lags(exchange: Exchange, offsets: dict[Any, Any]) -> Steps:
    """One row for each partition that a group committed for, of streams that the user may read."""
    rows: list[dict[str, Any]] = []
    for (name, partition), committed in list(offsets.items())[:ROWS_MAX]:
        address = kafka_address(name)
        if address is None or not exchange.may(Right.READ, address):
            continue
        topic = exchange.port.topic(exchange.identity.account, address)
        if topic is None or partition >= len(topic.streams):
            continue
        tail = yield exchange.look_up("tail", topic.streams[partition])
        if isinstance(tail, Tail):
            at = max(committed.offset, tail.start)
            rows.append(
                {
                    "stream": address_text(address),
                    "partition": partition,
                    "position": committed.offset,
                    "end": tail.durable,
                    "lag": max(tail.durable - at, 0),
                }
            )
    return rows


def jetstream_consumers(exchange: Exchange) -> Steps:
    if int((yield from jetstream(exchange, b"INFO")).get("consumers", 0)) == 0:
        return []
    shown: list[dict[str, Any]] = []
    for topic in exchange.port.topics(exchange.identity.account):
        name = stream_name(topic)
        if name is None or not exchange.may(Right.READ, topic.name):
            continue
        listed = yield from jetstream(exchange, b"CONSUMER.LIST." + name.encode())
        for consumer in listed.get("consumers") or ():
            if len(shown) >= GROUPS_MAX:
                return shown
            shown.append(consumer_shown(topic, consumer))
    return shown


def jetstream(exchange: Exchange, subject: bytes) -> Steps:
    """What ``$JS.API.<subject>`` answers; an empty object where it says no."""
    request = ApiRequest(exchange.identity.account, b"$JS.API." + subject, b"", b"", ())
    answer = yield exchange.call("jetstream", request)
    if not isinstance(answer, Called) or not isinstance(answer.answer, bytes) or not answer.answer:
        return {}
    found = json.loads(answer.answer)
    return found if "error" not in found else {}


def consumer_shown(topic: Topic, consumer: dict[str, Any]) -> dict[str, Any]:
    pending, unacked = int(consumer.get("num_pending", 0)), int(consumer.get("num_ack_pending", 0))
    position = int(consumer.get("delivered", {}).get("stream_seq", 0))
    return {
        "kind": "jetstream",
        "name": consumer["name"],
        "state": "push" if consumer.get("config", {}).get("deliver_subject") else "pull",
        "members": [],
        "waiting": consumer.get("num_waiting", 0),
        "unacknowledged": unacked,
        "redelivered": consumer.get("num_redelivered", 0),
        "lag": pending + unacked,
        "rows": [
            {
                "stream": address_text(topic.name),
                "partition": 0,
                "position": position,
                "end": None,
                "lag": pending + unacked,
            }
        ],
    }


def mqtt_sessions(exchange: Exchange) -> list[dict[str, Any]]:
    """``lag``: messages owed to the session, in flight or queued."""
    owner = exchange.view.executor("mqtt")
    if owner is None or not exchange.may(Right.READ, MQTT):
        return []
    shown = []
    for session in owner.state.sessions.values():
        if session.account != exchange.identity.account or not session.subscriptions:
            continue
        shown.append(
            {
                "kind": "mqtt",
                "name": bytes_text(session.client_id, 200),
                "state": "connected" if session.connection is not None else "away",
                "members": [],
                "subscriptions": [bytes_text(text, 200) for text in list(session.subscriptions)[:ROWS_MAX]],
                "lag": len(session.entries),
                "rows": [],
            }
        )
        if len(shown) >= GROUPS_MAX:
            break
    return shown


def redis_groups(exchange: Exchange) -> tuple[list[dict[str, Any]], bool]:
    """Of the first ``KEYS_MAX`` keys of each database, those that are streams with groups; whether those were all keys."""
    owner = exchange.view.executor("resp")
    shown: list[dict[str, Any]] = []
    if owner is None:
        return shown, True
    complete = True
    for database in owner.databases(exchange.identity.account):
        complete = complete and len(database.entries) <= KEYS_MAX
        for entry in itertools.islice(database.entries.values(), KEYS_MAX):
            if entry.kind == STREAM and entry.value.groups and exchange.may(Right.READ, redis_address(entry.key)):
                for name, group in entry.value.groups.items():
                    if len(shown) >= GROUPS_MAX:
                        return shown, False
                    shown.append(redis_shown(database.number, entry.key, entry.value, name, group))
    return shown, complete


def redis_shown(database: int, key: bytes, log: Any, name: bytes, group: Any) -> dict[str, Any]:
    left = lag_of(log, group)
    lag = None if left is None else left + len(group.pending)
    where = address_text(redis_address(key)) + (f" (db {database})" if database else "")
    return {
        "kind": "redis",
        "name": bytes_text(name, 200),
        "state": "active" if group.consumers else "empty",
        "members": [
            {"name": bytes_text(consumer.name, 200), "host": "", "id": ""}
            for consumer in list(group.consumers.values())[:ROWS_MAX]
        ],
        "unacknowledged": len(group.pending),
        "lag": lag,
        "rows": [{"stream": where, "partition": 0, "position": id_text(group.last).decode(), "end": None, "lag": lag}],
    }


def connections(exchange: Exchange) -> object:
    """The newest ``limit`` of them (``protocol=`` only those), and how many there are of each."""
    exchange.must(Right.READ, CONNECTIONS)
    limit = number(exchange, "limit", 200, 1, CONNECTIONS_MAX)
    wanted = exchange.query.get("protocol")
    all_of_them = exchange.view.connections()
    found = [(name, member) for name, member in all_of_them if wanted in (None, name)]
    found.sort(key=lambda one: getattr(one[1], "began_ns", 0), reverse=True)
    return {
        "count": {name: len(members) for name, members in exchange.view.hub.connections.items()},
        "connections": [connection_shown(name, member) for name, member in found[:limit]],
        "now_ms": exchange.now_ns // 1_000_000,
    }


def connection_shown(protocol: str, connection: Any) -> dict[str, Any]:
    session = connection.session
    identity = getattr(session, "identity", None) or getattr(session, "_identity", None)
    return {
        "protocol": protocol,
        "peer": connection.peername() if hasattr(connection, "peername") else "",
        "user": None if identity is None else bytes_text(identity.name, 200),
        "began_ms": getattr(connection, "began_ns", 0) // 1_000_000,
        "in_bytes": getattr(connection, "bytes_in", 0),
        "out_bytes": getattr(connection, "bytes_out", 0),
        "waiting_bytes": connection.outbox.size(),
    }
