"""``/api/live``: messages as they are published, whoever publishes and whether or not a stream keeps them.
``/api/events``: what changes in the process, once a second, for a page that shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocols.identity import Right
from substrate.api import Address, StreamId
from substrate.group import Group
from thalweg.http_answers import Refusal
from thalweg.http_records import BEAT_NS, SECONDS, SECONDS_MAX, VIEW_NS, Wanted, line_of
from thalweg.http_streams import number
from thalweg.http_text import address_text, bytes_text, pattern_from, record_shown
from thalweg.http_view import Place

if TYPE_CHECKING:
    from protocols.api import Handle
    from thalweg.http import Exchange, HttpSession

LIVE_BYTES_MAX = 4 * 1024 * 1024
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
        self._until_ns = exchange.now_ns + number(exchange, "seconds", SECONDS, 1, SECONDS_MAX) * 1_000_000_000
        self._beat_ns = exchange.now_ns + BEAT_NS
        self._dropped = 0
        self._view = exchange.view
        self._most = number(exchange, "most", 0, 0, 1_000_000)
        """Messages a second for who only looks; what is beyond is not even decoded. 0: all."""
        self._budget = self._share = max(self._most // 5, 1)
        self._refill_ns = 0
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
        if session.outbox.size() > LIVE_BYTES_MAX or (self._most and self._budget <= 0):
            self._dropped += group.count
            self._port.note("http_live_drops")
            self._plan(session)
            return
        lines = [line_of({"dropped": self._dropped})] if self._dropped else []
        self._dropped = 0
        for record in group.records():
            if self._most:
                self._budget -= 1
                if self._budget < 0:
                    self._dropped += 1
                    continue
            if self._left and self._wanted.matches(Address(record.address)):
                self._left -= 1
                lines.append(line_of(record_shown(record, -1, self._value_max)))
        session.write(b"".join(lines))
        if not self._left:
            session.finish()
        elif self._most:
            self._plan(session)

    def _plan(self, session: HttpSession) -> None:
        """What was taken of this moment's share is given back in the next."""
        if self._most and not self._refill_ns:
            self._refill_ns = self._view.now_ns + VIEW_NS
            session.deadline_ns = min(session.deadline_ns, self._refill_ns)
            session.outbox.mark()

    def tick(self, now_ns: int) -> None:
        session = self._http
        assert session is not None
        if now_ns >= self._until_ns:
            session.finish()
            return
        if self._refill_ns and now_ns >= self._refill_ns:
            self._refill_ns = 0
            self._budget = self._share
        if now_ns >= self._beat_ns:
            self._beat_ns = now_ns + BEAT_NS
            if session.pressed() and not session.again_ns():
                return  # it reads nothing at all
            session.write(line_of({"dropped": self._dropped}) if self._dropped else b"\n")
            self._dropped = 0
        session.deadline_ns = min(self._beat_ns, self._until_ns, self._refill_ns or self._beat_ns)


def events(exchange: Exchange) -> Events:
    """Server-sent events: each is what changed since the one before."""
    return Events(exchange)


class Events:
    """See ``http.Stream``. Rates are differences, computed here and only while somebody looks."""

    kind = "text/event-stream"

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._every_ns = number(exchange, "every_ms", EVERY_MS, 250, 60_000) * 1_000_000
        self._internal = exchange.query.get("internal", "0") == "1"
        self._until_ns = exchange.now_ns + SECONDS_MAX * 1_000_000_000
        self._counts = exchange.may(Right.READ, METRICS)
        self._seen: dict[bytes, int] = {}
        self._known: dict[bytes, tuple[int, int]] = {}
        """Of those that changed once: where they ended, and their bytes."""
        self._at_ns = exchange.now_ns
        self._place = Place(exchange.view)
        self._session: HttpSession | None = None

    def begin(self, session: HttpSession) -> None:
        self._session = session
        there = self._there()
        self._exchange.view.moved(there.items(), self._seen)
        for name, streams in there.items():
            self._known[name] = self._end(streams), -1
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
        if session.pressed():
            if not session.again_ns():
                return
        else:
            passed_s = max(now_ns - self._at_ns, 1) / 1e9
            self._at_ns = now_ns
            changed, gone = self._changes(passed_s)
            self._tell({"now_ms": now_ns // 1_000_000, "streams": changed, "gone": gone, **self._totals()})
        session.deadline_ns = now_ns + self._every_ns

    def _tell(self, shown: dict[str, Any]) -> None:
        assert self._session is not None
        self._session.write(b"data: " + line_of(shown) + b"\n")

    def _there(self) -> dict[Address, tuple[StreamId, ...]]:
        exchange = self._exchange
        topics = exchange.port.topics(exchange.identity.account)
        if not self._internal:
            return {topic.name: topic.streams for topic in topics}
        entries = exchange.view.entries(exchange.identity.account, topics, True)
        return {entry.name: entry.streams for entry in entries}

    def _end(self, streams: tuple[StreamId, ...]) -> int:
        return sum(self._exchange.view.marks(stream)[1] for stream in streams)

    def _changes(self, passed_s: float) -> tuple[list[dict[str, Any]], list[str]]:
        """What the user may read of what changed; a stream that is there anew counts as changed."""
        there = self._there()
        changed = [
            self._changed(Address(name), there[Address(name)], passed_s)
            for name in self._exchange.view.moved(there.items(), self._seen)
            if self._exchange.may(Right.READ, Address(name))
        ]
        gone = [Address(name) for name in self._seen if name not in there] if len(self._seen) > len(there) else []
        for name in gone:
            del self._seen[name]
            self._known.pop(name, None)
        told = [address_text(name) for name in gone if self._exchange.may(Right.READ, name)]
        return sorted(changed, key=lambda one: -float(one["rate"]))[:CHANGED_MAX], told

    def _changed(self, name: Address, streams: tuple[StreamId, ...], passed_s: float) -> dict[str, Any]:
        view = self._exchange.view
        before, before_bytes = self._known.get(name, (0, 0))
        end = self._end(streams)
        size = sum(max(view.size(stream), 0) for stream in streams)
        new = name not in self._known
        self._known[name] = end, size
        return {
            "name": address_text(name),
            "records": sum(view.held(stream) for stream in streams),
            "written": end,
            "bytes": size,
            "rate": round(max(end - before, 0) / passed_s, 1),
            "bytes_rate": round(max(size - before_bytes, 0) / passed_s) if before_bytes >= 0 else 0,
            "new": new,
        }

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
