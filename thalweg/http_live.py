"""``/api/live``: messages as they are published, whoever publishes and whether or not a stream keeps them.
``/api/events``: what changes in the process, once a second, for a page that shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocols.identity import Right
from substrate.api import Address
from substrate.group import Group
from thalweg.http_answers import Refusal
from thalweg.http_records import BEAT_NS, SECONDS, Wanted, line_of
from thalweg.http_streams import number, visible
from thalweg.http_text import address_text, bytes_text, pattern_from, record_shown
from thalweg.http_view import Place

if TYPE_CHECKING:
    from protocols.api import Handle
    from thalweg.http import Exchange, HttpSession

LIVE_BYTES_MAX = 1024 * 1024
"""What may wait for a reader that does not read; more is dropped, counted, and it is told."""
EVERY_MS = 1000
CHANGED_MAX = 1000
METRICS = Address(b"_thalweg/metrics")


def live(exchange: Exchange) -> Live:
    """``?match=orders/%23``: ndjson, as ``/api/records`` writes it; ``position`` -1 where no stream captures it."""
    if "match" not in exchange.query:
        raise Refusal(400, "match: which addresses? (orders/#)")
    pattern = pattern_from(exchange.query["match"])
    if not exchange.identity.may_all(Right.READ, pattern):
        raise Refusal(403, f"user {exchange.identity.name.decode(errors='replace')} may not read all of that")
    return Live(exchange)


class Live:
    """See ``http.Stream``; the sink of its own subscription."""

    kind = "application/x-ndjson"
    protocol = "http"

    def __init__(self, exchange: Exchange) -> None:
        self._port = exchange.port
        self._account = exchange.identity.account
        self._pattern = pattern_from(exchange.query["match"])
        self._wanted = Wanted(exchange.identity, self._pattern)
        self._left = number(exchange, "limit", 2**62, 1)
        self._value_max = number(exchange, "value_max", 0)
        self._until_ns = exchange.now_ns + number(exchange, "seconds", SECONDS, 1, 86_400) * 1_000_000_000
        self._beat_ns = exchange.now_ns + BEAT_NS
        self._dropped = 0
        self._handle: Handle | None = None
        self._place = Place(exchange.view)
        self._http: HttpSession | None = None
        self.session: object = None

    def begin(self, session: HttpSession) -> None:
        self._http = self.session = session
        self._handle = self._port.subscribe(self._account, self._pattern, self)
        session.deadline_ns = min(self._beat_ns, self._until_ns)
        session.write(b"\n")  # whoever reads it knows that the subscription stands

    def close(self) -> None:
        self._place.close()
        self._http = None
        if self._handle is not None:
            self._handle.close()

    def deliver(self, group: Group) -> None:
        session = self._http
        if session is None:
            return
        if session.outbox.size() > LIVE_BYTES_MAX:
            self._dropped += group.count
            self._port.note("http_live_drops")
            return
        lines = [line_of({"dropped": self._dropped})] if self._dropped else []
        self._dropped = 0
        for record in group.records():
            if self._left and self._wanted.matches(Address(record.address)):
                self._left -= 1
                lines.append(line_of(record_shown(record, -1, self._value_max)))
        session.write(b"".join(lines))
        if not self._left:
            session.finish()

    def tick(self, now_ns: int) -> None:
        session = self._http
        assert session is not None
        if now_ns >= self._until_ns:
            session.finish()
            return
        if now_ns >= self._beat_ns:
            self._beat_ns = now_ns + BEAT_NS
            session.write(line_of({"dropped": self._dropped}) if self._dropped else b"\n")
            self._dropped = 0
        session.deadline_ns = min(self._beat_ns, self._until_ns)


def events(exchange: Exchange) -> Events:
    """Server-sent events: each is what changed since the one before."""
    return Events(exchange)


class Events:
    """See ``http.Stream``. Rates are differences, computed here and only while somebody looks."""

    kind = "text/event-stream"

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._every_ns = number(exchange, "every_ms", EVERY_MS, 250, 60_000) * 1_000_000
        self._until_ns = exchange.now_ns + SECONDS * 1_000_000_000
        self._counts = exchange.may(Right.READ, METRICS)
        self._ends: dict[bytes, tuple[int, int]] = {}
        self._bytes: dict[bytes, int] = {}
        self._at_ns = exchange.now_ns
        self._place = Place(exchange.view)
        self._session: HttpSession | None = None

    def begin(self, session: HttpSession) -> None:
        self._session = session
        for entry in visible(self._exchange):
            self._ends[entry.name] = self._marks(entry.streams)
        user = bytes_text(self._exchange.identity.name)
        self._tell({"now_ms": self._at_ns // 1_000_000, "user": user, **self._totals()})
        session.deadline_ns = self._at_ns + self._every_ns

    def close(self) -> None:
        self._place.close()
        self._session = None

    def tick(self, now_ns: int) -> None:
        session = self._session
        assert session is not None
        if now_ns >= self._until_ns:
            session.finish()
            return
        if session.outbox.size() < LIVE_BYTES_MAX:
            passed_s = max(now_ns - self._at_ns, 1) / 1e9
            self._at_ns = now_ns
            changed, gone = self._changes(passed_s)
            self._tell({"now_ms": now_ns // 1_000_000, "streams": changed, "gone": gone, **self._totals()})
        session.deadline_ns = now_ns + self._every_ns

    def _tell(self, shown: dict[str, Any]) -> None:
        assert self._session is not None
        self._session.write(b"data: " + line_of(shown) + b"\n")

    def _marks(self, streams: tuple[Any, ...]) -> tuple[int, int]:
        marks = [self._exchange.view.marks(stream) for stream in streams]
        return sum(start for start, _ in marks), sum(end for _, end in marks)

    def _changes(self, passed_s: float) -> tuple[list[dict[str, Any]], list[str]]:
        view = self._exchange.view
        changed: list[dict[str, Any]] = []
        there = set()
        for entry in visible(self._exchange):
            there.add(entry.name)
            marks = self._marks(entry.streams)
            before = self._ends.get(entry.name)
            self._ends[entry.name] = marks
            if marks == before or len(changed) >= CHANGED_MAX:
                continue
            size = sum(max(view.size(stream), 0) for stream in entry.streams)
            grown = size - self._bytes.get(entry.name, size)
            self._bytes[entry.name] = size
            changed.append(
                {
                    "name": address_text(entry.name),
                    "records": sum(view.held(stream) for stream in entry.streams),
                    "written": marks[1],
                    "bytes": size,
                    "rate": round((marks[1] - (before[1] if before else 0)) / passed_s, 1),
                    "bytes_rate": round(max(grown, 0) / passed_s),
                    "new": before is None,
                }
            )
        gone = [name for name in self._ends if name not in there]
        for name in gone:
            del self._ends[name]
            self._bytes.pop(name, None)
        return changed, [address_text(name) for name in gone]

    def _totals(self) -> dict[str, Any]:
        if not self._counts:
            return {}
        view = self._exchange.view
        metrics = view.metrics()
        return {
            "ready": view.ready(),
            "connections": {name: len(members) for name, members in view.hub.connections.items()},
            "appended": metrics.get("records_appended_total", 0),
            "commits": metrics.get("commits_total", 0),
            "uncaptured": metrics.get("messages_uncaptured_total", 0),
        }
