"""What nats-server's monitoring endpoints say: ``/varz``, ``/connz``, ``/jsz``, ``/healthz``, ``/subsz``, ``/routez``.

Spoken: nats-server 2.15 (server/monitor.go, behaviour): field names, their order, query parameters ``subs``, ``sort``,
``limit``, ``offset``, ``cid`` of ``/connz`` and ``streams``, ``consumers``, ``config``, ``accounts`` of ``/jsz``. Pure: the
process gives what it knows. What it does not know is left out; README.md lists it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protocols.nats.jetstream_wire import format_time

if TYPE_CHECKING:
    from protocols.nats.session import NatsSession

LIMIT = 1024
SECOND_NS = 1_000_000_000
Fields = dict[str, Any]
SORTS: dict[str, Callable[[Fields], Any]] = {
    "cid": lambda one: one["cid"], "start": lambda one: one["start"], "subs": lambda one: -one["subscriptions"],
    "pending": lambda one: -one["pending_bytes"], "msgs_from": lambda one: -one["in_msgs"],
    "msgs_to": lambda one: -one["out_msgs"], "bytes_from": lambda one: -one["in_bytes"],
    "last": lambda one: one["last_activity"], "idle": lambda one: one["last_activity"], "uptime": lambda one: one["start"],
}  # fmt: skip


class BadQuery(Exception):
    """The query is none that is understood; the message is nats-server's."""


@dataclass(frozen=True, slots=True)
class Server:
    """What the process says of itself."""

    server_id: str
    server_name: str
    version: str
    host: str
    port: int
    started_ns: int
    auth_required: bool
    payload_bytes_max: int
    line_bytes_max: int
    pending_bytes_max: int
    ping_ns: int
    pings_max: int
    auth_timeout_ns: int


def varz(
    server: Server, sessions: Sequence[NatsSession], counts: Mapping[str, float], jetstream: Fields, now_ns: int
) -> Fields:
    """``counts``: ``total_connections``, ``slow_consumers``, ``stale_connections``, and ``mem``, ``cores`` where known."""
    found: Fields = {
        "server_id": server.server_id,
        "server_name": server.server_name,
        "version": server.version,
        "proto": 1,
        "git_commit": "thalweg",
        "go": "none",
        "host": server.host,
        "port": server.port,
    }
    if server.auth_required:
        found["auth_required"] = True
    found |= {
        "ping_interval": server.ping_ns,
        "ping_max": server.pings_max,
        "http_base_path": "",
        "auth_timeout": server.auth_timeout_ns // SECOND_NS,
        "max_control_line": server.line_bytes_max,
        "max_payload": server.payload_bytes_max,
        "max_pending": server.pending_bytes_max,
        "cluster": {},
        "gateway": {},
        "leaf": {},
        "mqtt": {},
        "websocket": {},
        "jetstream": {"stats": _stats(jetstream)},
        "start": format_time(server.started_ns),
        "now": format_time(now_ns),
        "uptime": uptime(now_ns - server.started_ns),
    }
    found |= {name: int(counts[name]) for name in ("mem", "cores") if name in counts}
    received = sum(one.delivery.messages for one in sessions), sum(one.delivery.message_bytes for one in sessions)
    found |= {
        "connections": len(sessions),
        "total_connections": int(counts.get("total_connections", len(sessions))),
        "routes": 0,
        "remotes": 0,
        "leafnodes": 0,
        "in_msgs": received[0],
        "in_bytes": received[1],
        "in_client_msgs": received[0],
        "in_client_bytes": received[1],
        "out_msgs": sum(one.delivered() for one in sessions),
        "slow_consumers": int(counts.get("slow_consumers", 0)),
        "stale_connections": int(counts.get("stale_connections", 0)),
        "subscriptions": sum(len(one.subscriptions()) for one in sessions),
    }
    return found


def _stats(jetstream: Fields) -> Fields:
    names = ("memory", "storage", "reserved_memory", "reserved_storage")
    return {
        **{name: jetstream.get(name, 0) for name in names},
        "accounts": 1,
        "ha_assets": 0,
        "api": jetstream.get("api", {}),
    }


def connz(server: Server, sessions: Sequence[NatsSession], query: Mapping[str, str], now_ns: int) -> Fields:
    """Who is connected.

    Raises:
        BadQuery: of its parameters.
    """
    sort = query.get("sort", "cid") or "cid"
    if sort not in SORTS:
        raise BadQuery(f"invalid sorting option: {sort}")
    state = query.get("state", "open").lower()
    if state not in ("open", "closed", "any", "all"):
        raise BadQuery(f"Error decoding state for {state}")
    offset, limit = number(query, "offset", 0), number(query, "limit", LIMIT) or LIMIT
    wanted = number(query, "cid", 0)
    found = [connection(one, query, now_ns) for one in sessions] if state != "closed" else []
    if wanted:
        found = [one for one in found if one["cid"] == wanted]
    found.sort(key=SORTS[sort])
    shown = found[offset : offset + limit]
    return {
        "server_id": server.server_id,
        "now": format_time(now_ns),
        "num_connections": len(shown),
        "total": len(found),
        "offset": offset,
        "limit": limit,
        "connections": shown,
    }


def connection(session: NatsSession, query: Mapping[str, str], now_ns: int) -> Fields:
    opened_ns, heard_ns, ip, port, cid = session.facts()
    options = session.options()
    found: Fields = {
        "cid": cid,
        "kind": "Client",
        "type": "nats",
        "ip": ip,
        "port": port,
        "start": format_time(opened_ns),
        "last_activity": format_time(heard_ns),
        "uptime": uptime(now_ns - opened_ns),
        "idle": uptime(now_ns - heard_ns),
        "pending_bytes": session.outbox.size(),
        "in_msgs": session.delivery.messages,
        "out_msgs": session.delivered(),
        "in_bytes": session.delivery.message_bytes,
        "subscriptions": len(session.subscriptions()),
    }
    for name in ("name", "lang", "version"):
        if options.get(name):
            found[name] = options[name]
    if truth(query, "auth"):
        found["authorized_user"] = session.identity.name.decode("utf-8", "replace")
        found["account"] = "$G"
    if query.get("subs") == "detail":
        found["subscriptions_list_detail"] = [
            {
                "subject": subject,
                **({"qgroup": queue} if queue else {}),
                "sid": sid,
                "msgs": count,
                **({"max": most} if most else {}),
                "cid": cid,
            }
            for subject, queue, sid, count, most in session.subscriptions()
        ]
    elif truth(query, "subs"):
        found["subscriptions_list"] = [subject for subject, *_ in session.subscriptions()]
    return found


def subsz(server: Server, sessions: Sequence[NatsSession], now_ns: int) -> Fields:
    return {
        "server_id": server.server_id,
        "now": format_time(now_ns),
        "num_subscriptions": sum(len(one.subscriptions()) for one in sessions),
        "total": 0,
        "offset": 0,
        "limit": LIMIT,
    }


def routez(server: Server, now_ns: int) -> Fields:
    names = {"server_id": server.server_id, "server_name": server.server_name}
    return {**names, "now": format_time(now_ns), "num_routes": 0, "routes": []}


def jsz(
    server: Server, account: Fields, streams: Sequence[Fields], consumers: Mapping[str, Sequence[Fields]],
    query: Mapping[str, str], now_ns: int,
) -> Fields:  # fmt: skip
    """``account``: the answer to ``$JS.API.INFO``; ``streams``: of STREAM.LIST; ``consumers``: of CONSUMER.LIST, by stream."""
    found = {
        **_stats(account),
        "server_id": server.server_id,
        "now": format_time(now_ns),
        "streams": account.get("streams", 0),
        "consumers": account.get("consumers", 0),
        "messages": sum(one["state"]["messages"] for one in streams),
        "bytes": sum(one["state"]["bytes"] for one in streams),
    }
    wants_consumers = truth(query, "consumers")
    wants_streams = wants_consumers or truth(query, "streams")
    if wants_streams or truth(query, "accounts"):
        names = ("memory", "storage", "reserved_memory", "reserved_storage")
        shown: Fields = {"name": "$G", "id": "$G", **{name: account.get(name, 0) for name in names}}
        shown |= {"accounts": 0, "ha_assets": 0, "api": {**account.get("api", {}), "level": 0}}
        if wants_streams:
            shown["stream_detail"] = [
                _stream(one, consumers.get(one["config"]["name"], ()), truth(query, "config"), wants_consumers)
                for one in streams
            ]
        found["account_details"] = [shown]
    found["total"] = 1
    return found


def _stream(stream: Fields, consumers: Sequence[Fields], config: bool, with_consumers: bool) -> Fields:
    found: Fields = {"name": stream["config"]["name"], "created": stream["created"]}
    if config:
        found["config"] = stream["config"]
    found["state"] = stream["state"]
    if with_consumers and consumers:
        found["consumer_detail"] = [
            one if config else {name: value for name, value in one.items() if name != "config"} for one in consumers
        ]
    return found


def healthz(ready: bool) -> tuple[int, Fields]:
    """Status and body."""
    if ready:
        return 200, {"status": "ok"}
    return 503, {"status": "unavailable", "status_code": 503, "error": "JetStream storage is not available"}


def number(query: Mapping[str, str], name: str, default: int) -> int:
    """
    Raises:
        BadQuery: it is no number.
    """
    text = query.get(name, "")
    if not text:
        return default
    if not text.removeprefix("-").isdigit() or len(text) > 18:
        raise BadQuery(f"Error decoding integer for '{name}': strconv.Atoi: parsing \"{text}\": invalid syntax")
    return max(int(text), 0)


def truth(query: Mapping[str, str], name: str) -> bool:
    """
    Raises:
        BadQuery: it is neither yes nor no.
    """
    text = query.get(name, "").lower()
    if text in ("", "0", "f", "false"):
        return False
    if text in ("1", "t", "true"):
        return True
    raise BadQuery(f"Error decoding boolean for '{name}': strconv.ParseBool: parsing \"{query[name]}\": invalid syntax")


def uptime(nanoseconds: int) -> str:
    """As nats-server writes it: ``1d2h3m4s``."""
    seconds = max(nanoseconds, 0) // SECOND_NS
    years, days, hours = seconds // 31_536_000, seconds // 86_400 % 365, seconds // 3600 % 24
    parts = ((years, "y"), (days, "d"), (hours, "h"), (seconds // 60 % 60, "m"))
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts))
    return "".join(f"{count}{unit}" for count, unit in parts[first:]) + f"{seconds % 60}s"
