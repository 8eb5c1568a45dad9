"""nats-server's monitoring paths on the operators' listener: what ``protocols.nats.monitoring`` makes of this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from protocols.identity import Right
from protocols.nats import monitoring
from protocols.nats.jetstream_wire import ApiRequest
from protocols.nats.monitoring import BadQuery, Server
from protocols.nats.session import NatsSession, Settings
from substrate.api import Called
from thalweg.http_answers import Refusal, Reply, Steps
from thalweg.http_live import METRICS

if TYPE_CHECKING:
    from thalweg.http import Exchange

PAGES_MAX = 64
"""Of streams, or of one stream's consumers."""


def varz(exchange: Exchange) -> Steps:
    exchange.must(Right.READ, METRICS)
    account = yield from _asked(exchange, "INFO")
    return monitoring.varz(_server(exchange), _sessions(exchange), _counts(exchange), account, exchange.now_ns)


def connz(exchange: Exchange) -> object:
    exchange.must(Right.READ, METRICS)
    try:
        return monitoring.connz(_server(exchange), _sessions(exchange), exchange.query, exchange.now_ns)
    except BadQuery as error:
        raise Refusal(400, str(error)) from None


def jsz(exchange: Exchange) -> Steps:
    exchange.must(Right.READ, METRICS)
    try:
        wants = monitoring.truth(exchange.query, "consumers")
        account = yield from _asked(exchange, "INFO")
        streams = yield from _pages(exchange, "STREAM.LIST", "streams")
        consumers = {}
        for stream in streams if wants else ():
            name = stream["config"]["name"]
            consumers[name] = yield from _pages(exchange, f"CONSUMER.LIST.{name}", "consumers")
        return monitoring.jsz(_server(exchange), account, streams, consumers, exchange.query, exchange.now_ns)
    except BadQuery as error:
        raise Refusal(400, str(error)) from None


def subsz(exchange: Exchange) -> object:
    exchange.must(Right.READ, METRICS)
    return monitoring.subsz(_server(exchange), _sessions(exchange), exchange.now_ns)


def routez(exchange: Exchange) -> object:
    exchange.must(Right.READ, METRICS)
    return monitoring.routez(_server(exchange), exchange.now_ns)


def healthz(exchange: Exchange) -> object:
    status, body = monitoring.healthz(exchange.view.ready())
    return Reply(body, status)


def _sessions(exchange: Exchange) -> list[NatsSession]:
    members = (member.session for _, member in exchange.view.connections())
    return [session for session in members if isinstance(session, NatsSession)]


def _server(exchange: Exchange) -> Server:
    make = exchange.view.hub.factories.get("nats")
    settings = getattr(make(exchange.port), "settings", None) if make is not None else None
    if not isinstance(settings, Settings):
        raise Refusal(404, "NATS is off")
    return Server(
        settings.server_id, settings.server_name, settings.version, settings.host, settings.port,
        exchange.view.started_ns, exchange.port.users, settings.payload_bytes_max, settings.line_bytes_max,
        settings.pending_bytes_max, settings.ping_ns, settings.pings_max, settings.auth_timeout_ns,
    )  # fmt: skip


def _counts(exchange: Exchange) -> dict[str, float]:
    metrics = exchange.view.metrics()
    names = {
        "slow_consumers": "nats_slow_consumers_total", "stale_connections": "nats_stale_connections_total",
        "total_connections": 'connections_total{protocol="nats"}',
    }  # fmt: skip
    return {name: metrics[key] for name, key in names.items() if key in metrics}


def _asked(exchange: Exchange, what: str, body: dict[str, Any] | None = None) -> Steps:
    payload = json.dumps(body).encode() if body is not None else b""
    request = ApiRequest(exchange.identity.account, f"$JS.API.{what}".encode(), b"", payload, ())
    answer = yield exchange.call("jetstream", request)
    text = answer.answer if isinstance(answer, Called) else b""
    return json.loads(text) if isinstance(text, bytes) and text else {}


def _pages(exchange: Exchange, what: str, name: str) -> Steps:
    found: list[dict[str, Any]] = []
    for _ in range(PAGES_MAX):
        page = yield from _asked(exchange, what, {"offset": len(found)})
        found += page.get(name) or []
        if len(found) >= page.get("total", 0):
            break
    return found
