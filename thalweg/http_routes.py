"""Every path of the operators' listener, and what answers it. A handler's rules are in ``http``.

A path that others answer (another server's monitoring, say) is one more line here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from thalweg import http_groups, http_live, http_nats, http_pages, http_publish, http_records, http_streams


class Route(NamedTuple):
    handler: Callable[[Any], object]
    public: bool = False
    """Whoever reaches the listener is answered, under whatever name."""
    any_name: bool = False
    """Answered under whatever name, to those who may: scrapers use names that nobody configured here."""


ROUTES: dict[str, dict[str, Route]] = {
    "/livez": {"GET": Route(http_pages.livez, public=True)},
    "/readyz": {"GET": Route(http_pages.readyz, public=True)},
    "/metrics": {"GET": Route(http_pages.metrics, any_name=True)},
    **{path: {"GET": Route(http_pages.page)} for path in http_pages.PAGES},
    "/api": {"GET": Route(lambda exchange: described())},
    "/api/streams": {
        "GET": Route(http_streams.listed),
        "POST": Route(http_streams.created),
        "DELETE": Route(http_streams.deleted),
    },
    "/api/records": {"GET": Route(http_records.read)},
    "/api/publish": {"POST": Route(http_publish.publish)},
    "/api/live": {"GET": Route(http_live.live)},
    "/api/events": {"GET": Route(http_live.events)},
    "/api/groups": {"GET": Route(http_groups.groups)},
    "/api/connections": {"GET": Route(http_groups.connections)},
    "/varz": {"GET": Route(http_nats.varz)},
    "/connz": {"GET": Route(http_nats.connz)},
    "/jsz": {"GET": Route(http_nats.jsz)},
    "/subsz": {"GET": Route(http_nats.subsz)},
    "/routez": {"GET": Route(http_nats.routez)},
    "/healthz": {"GET": Route(http_nats.healthz, public=True)},
}


def described() -> dict[str, list[str]]:
    """Paths with their methods."""
    return {path: sorted(methods) for path, methods in ROUTES.items()}
