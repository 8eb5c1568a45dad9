"""What is not JSON: health, metrics and the console's static files."""

from __future__ import annotations

import importlib.resources
from typing import TYPE_CHECKING

from protocols.identity import Right
from thalweg.http_answers import Bytes, Reply
from thalweg.http_live import METRICS
from thalweg.ops import exposition

if TYPE_CHECKING:
    from thalweg.http import Exchange

PLAIN = "text/plain; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/console.css": ("console.css", "text/css; charset=utf-8"),
    "/console.js": ("console.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing of another host, no inline script or style, no frame around it (CSP level 3)."""


def livez(exchange: Exchange) -> object:
    return Bytes(b"ok\n", PLAIN)


def readyz(exchange: Exchange) -> object:
    ready = exchange.view.ready()
    return Reply(Bytes(b"ok\n" if ready else b"not ready\n", PLAIN), 200 if ready else 503)


def metrics(exchange: Exchange) -> object:
    exchange.must(Right.READ, METRICS)
    return Bytes(exposition(exchange.view.metrics()).encode(), PROMETHEUS)


def page(exchange: Exchange) -> object:
    file, kind = PAGES[exchange.path]
    data = importlib.resources.files("thalweg.console").joinpath(file).read_bytes()
    return Reply(Bytes(data, kind), 200, [("Content-Security-Policy", POLICY)])
