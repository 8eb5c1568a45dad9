"""One HTTP/1.1 connection of the operators' listener: a session over a port, like any protocol's. The framing is h11's.

One request at a time, answered before the next is looked at; what h11 does not take for HTTP/1.1 is refused and the
connection closed. Everything is bounded: the head, the body, the time for each, streams that stay open, the outbox.

Who may ask. Where users are configured, Basic credentials name one, on every path but ``/livez`` and ``/readyz``; rights
are asked for each address, as of any protocol. A page of another site must not speak for whoever looks at it: a Host that
nobody configured (DNS rebinding) and a foreign Origin (CSRF) are refused before anything is done.

A handler (``http_routes``) takes an ``Exchange`` and returns the body, or is a generator that yields what it asks of the
port (a function of a token) and is sent the answers: the same whether these come at once or later.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, unquote

import h11

from protocols.identity import EVERYBODY, Identity, Right
from protocols.outbox import Outbox
from substrate.api import Address, Answer, Level, Pattern, Position, StreamId
from thalweg.http_answers import Ask, Bytes, Refusal, Reply, Steps
from thalweg.http_routes import ROUTES

if TYPE_CHECKING:
    from protocols.api import Port
    from thalweg.http_view import View

HEAD_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 8 * 1024 * 1024
HEAD_WAIT_NS = 5_000_000_000
BODY_WAIT_NS = 30_000_000_000
IDLE_WAIT_NS = 60_000_000_000
AHEAD_BYTES_MAX = 64 * 1024
"""What a client may send while it is being streamed to."""
OUT_BYTES_MAX = 64 * 1024 * 1024
PRESSED_BYTES = 512 * 1024
"""Unsent; beyond it nothing more is made for this peer until it has read."""
PRESSED_NS, PRESSED_NS_MAX = 10_000_000, 1_000_000_000
"""When to look again whether it has: soon, and then less often."""
STUCK_NS = 60_000_000_000
"""Who has read nothing at all for so long is hung up on."""
QUERY_FIELDS_MAX = 32
SECURITY = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]


class Stream(Protocol):
    """An answer that goes on: chunks are written by ``HttpSession.write`` until ``HttpSession.finish``."""

    kind: str
    """Its content type."""

    def begin(self, session: HttpSession) -> None: ...

    def tick(self, now_ns: int) -> None:
        """What is due is done; ``session.deadline_ns`` is set to when to come again."""
        ...

    def close(self) -> None:
        """The peer is gone, or the answer is complete: give back what is held."""
        ...


@dataclass(slots=True)
class Exchange:
    """One request. ``path`` and ``query`` are decoded; ``headers`` by lower-case name."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    identity: Identity
    port: Port
    view: View
    now_ns: int
    body: bytes = b""

    def read(self, stream: StreamId, start: int, bytes_max: int, pattern: Pattern) -> Ask:
        return lambda token: self.port.read(stream, Position(start), bytes_max, Level.DURABLE, token, pattern)

    def look_up(self, kind: str, stream: StreamId, time_ms: int = 0) -> Ask:
        return lambda token: self.port.query(kind, stream, token, time_ms=time_ms)

    def call(self, executor: str, request: object) -> Ask:
        return lambda token: self.port.call(executor, request, token)

    def may(self, right: Right, address: Address) -> bool:
        return self.identity.may(right, address)

    def must(self, right: Right, address: Address) -> None:
        """
        Raises:
            Refusal: 403, the user may not.
        """
        if not self.identity.may(right, address):
            name = self.identity.name.decode(errors="replace")
            raise Refusal(403, f"user {name} may not {right.value} {address.decode(errors='replace')}")


class HttpSession:
    """See ``protocols.api.Session``."""

    def __init__(self, port: Port, view: View) -> None:
        self.port = port
        self.view = view
        self.outbox = Outbox(OUT_BYTES_MAX)
        self.deadline_ns = 0
        self.closing = False
        self.wants_bytes = 0
        self.now_ns = 0
        self.identity: Identity | None = None
        """Of the last request."""
        self.stream: Stream | None = None
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._exchange: Exchange | None = None
        self._body = bytearray()
        self._steps: Steps | None = None
        self._ahead = 0
        self._asked: dict[int, Callable[[Answer], None]] = {}
        self._next_token = 1
        self._given: list[Answer] = []
        self._stepping = False
        self._within = False
        self._pressed = False
        self._stuck = (0, 0, PRESSED_NS)
        """Bytes that waited at the last look, since when none was read, how long to wait next."""

    @property
    def blocked(self) -> bool:
        """An answer is to come, or to be read: the next request waits in the socket."""
        return self._pressed or (self._steps is not None and self.stream is None)

    # the driver's side

    def opened(self, peer: tuple[str, int], now_ns: int) -> None:
        self.now_ns = now_ns
        self.deadline_ns = now_ns + HEAD_WAIT_NS

    def receive(self, data: bytearray | memoryview, start: int, end: int, now_ns: int) -> int:
        self.now_ns = now_ns
        if self.blocked:
            return start
        if self.stream is not None:
            self._ahead += end - start
            if self._ahead > AHEAD_BYTES_MAX:
                self._hang_up()
                return end
        fresh = self._http.their_state is h11.IDLE and not self._http.trailing_data[0]
        self._http.receive_data(bytes(memoryview(data)[start:end]))
        if fresh and self.stream is None:
            self.deadline_ns = now_ns + HEAD_WAIT_NS
        self._events()
        return end

    def answered(self, token: int, answer: Answer) -> None:
        then = self._asked.pop(token, None)
        if then is not None:
            then(answer)

    def tick(self, now_ns: int) -> None:
        self.now_ns = now_ns
        if self._pressed:
            self._pressed = False
            self.deadline_ns = now_ns + IDLE_WAIT_NS
            self._events()
        elif self.stream is not None:
            self.stream.tick(now_ns)
        elif self._steps is not None:
            self.deadline_ns = 0
        elif self._http.their_state is h11.IDLE and not self._http.trailing_data[0]:
            self._hang_up()
        else:
            self._refuse(408, "the request did not come in time")

    def eof(self, now_ns: int) -> None:
        self._end_stream()
        self._asked.clear()
        self._steps = None

    def stop(self, now_ns: int) -> None:
        self.now_ns = now_ns
        if self.stream is not None:
            self.finish()
        self._hang_up()

    def pressed(self) -> bool:
        """Whether the peer has much to read."""
        if self.outbox.size() > PRESSED_BYTES:
            return True
        self._stuck = (0, 0, PRESSED_NS)
        return False

    def again_ns(self) -> int:
        """When to ask again; a peer that takes nothing is hung up on in the end."""
        size = self.outbox.size()
        before, since_ns, wait_ns = self._stuck
        if not since_ns or size < before:
            since_ns, wait_ns = self.now_ns, PRESSED_NS
        self._stuck = (size, since_ns, min(2 * wait_ns, PRESSED_NS_MAX))
        if self.now_ns - since_ns > STUCK_NS:
            self.port.note("http_slow_consumers")
            self._hang_up()
            return 0
        return self.now_ns + wait_ns

    def _hang_up(self) -> None:
        self.closing = True
        self.deadline_ns = 0
        self.outbox.mark()

    # requests

    def _events(self) -> None:
        """Go on as far as the bytes do, one request after the other."""
        if self._within:
            return
        self._within = True
        try:
            self._each_event()
        except h11.RemoteProtocolError as error:
            self._bad(error)
        finally:
            self._within = False

    def _each_event(self) -> None:
        while self.stream is None and self._steps is None and not self.closing:
            if self.pressed():  # it asks and does not read: the next request waits
                self._pressed = True
                self.deadline_ns = self.again_ns()
                return
            event = self._http.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                if self._http.they_are_waiting_for_100_continue:
                    self.outbox.put_bytes(self._sent(h11.InformationalResponse(status_code=100, headers=[])))
                return
            if isinstance(event, h11.Request):
                self._head(event)
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > BODY_BYTES_MAX:
                    self._refuse(413, f"a body of more than {BODY_BYTES_MAX} bytes")
            elif isinstance(event, h11.EndOfMessage):
                self._serve()
            elif isinstance(event, h11.ConnectionClosed):
                self._hang_up()

    def _head(self, request: h11.Request) -> None:
        """What can be refused is refused before its body is read."""
        self.deadline_ns = self.now_ns + BODY_WAIT_NS
        self._body.clear()
        self._exchange = None
        headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        try:
            if request.http_version not in (b"1.0", b"1.1"):
                raise Refusal(505, f"HTTP/{request.http_version.decode('latin-1')}: HTTP/1.1 only")
            if "transfer-encoding" in headers and "content-length" in headers:
                raise Refusal(400, "both Transfer-Encoding and Content-Length")
            if int(headers.get("content-length", 0)) > BODY_BYTES_MAX:
                raise Refusal(413, f"a body of {headers['content-length']} bytes, limit {BODY_BYTES_MAX}")
            path, _, query = request.target.decode("latin-1").partition("?")
            if not path.startswith("/"):
                raise Refusal(400, "the target is not a path")
            method = request.method.decode("latin-1")
            self._exchange = Exchange(
                method, unquote(path), fields_of(query), headers, EVERYBODY, self.port, self.view, self.now_ns
            )
            self._admit(self._exchange)
        except Refusal as refusal:
            self._refuse(refusal.status, str(refusal), refusal.headers)

    def _admit(self, exchange: Exchange) -> None:
        """
        Raises:
            Refusal: no such path or method, a foreign page, not let in.
        """
        found = ROUTES.get(exchange.path)
        if found is None:
            raise Refusal(404, f"there is no {exchange.path}")
        wanted = "GET" if exchange.method == "HEAD" else exchange.method
        route = found.get(wanted)
        if route is None:
            raise Refusal(405, f"{', '.join(sorted(found))} only", [("Allow", ", ".join(sorted(found)))])
        if route.public:
            return
        host = exchange.headers.get("host", "")
        if not route.any_name and not known_host(host, self.view.hosts):
            raise Refusal(421, f"this is not {host or 'named'}: names beyond localhost go into http.hosts")
        if wanted != "GET":
            check_origin(exchange.headers, host)
        identity = self.port.identify(*credentials(exchange.headers.get("authorization")))
        if identity is None:
            raise Refusal(401, "who are you?", [("WWW-Authenticate", 'Basic realm="thalweg", charset="UTF-8"')])
        exchange.identity = self.identity = identity

    def _serve(self) -> None:
        exchange = self._exchange
        assert exchange is not None
        exchange.body = bytes(self._body)
        self._body.clear()
        self.deadline_ns = 0
        found = ROUTES[exchange.path]["GET" if exchange.method == "HEAD" else exchange.method]
        try:
            made = found.handler(exchange)
            if isinstance(made, Generator):
                self._steps = made
                self._step(None)
            else:
                self._complete(made)
        except Refusal as refusal:
            self._answer(refusal.body(), refusal.status, refusal.headers)

    # a handler's steps

    def ask(self, call: Ask, then: Callable[[Answer], None]) -> None:
        """Ask the port; ``then`` gets the answer, at once or later."""
        token = self._next_token
        self._next_token += 1
        self._asked[token] = then
        call(token)

    def _step(self, answer: Answer) -> None:
        """Go on with what was asked for; answers that come at once do not nest."""
        self._given.append(answer)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._given and self._steps is not None:
                try:
                    call = self._steps.send(self._given.pop())
                except StopIteration as done:
                    self._steps = None
                    self._complete(done.value)
                except Refusal as refusal:
                    self._steps = None
                    self._answer(refusal.body(), refusal.status, refusal.headers)
                else:
                    self.ask(call, self._step)
        finally:
            self._stepping = False
            self._given.clear()

    # answers

    def _complete(self, made: object) -> None:
        if isinstance(made, Reply):
            self._answer(made.body, made.status, made.headers, made.shard, made.commit)
        elif hasattr(made, "begin"):
            self._stream(made)
        else:
            self._answer(made, 200)

    def _answer(
        self, body: object, status: int, headers: list[tuple[str, str]] | None = None, shard: int = 0, commit: int = 0
    ) -> None:
        """A whole answer, behind its commit; then the next request."""
        made = body if isinstance(body, Bytes) else Bytes(encode(body) + b"\n", "application/json")
        told = [("Content-Type", made.kind), ("Content-Length", str(len(made.data))), ("Cache-Control", "no-store")]
        head = h11.Response(status_code=status, headers=[*told, *SECURITY, *(headers or [])], reason=reason_of(status))
        out = self._sent(head)
        if self._exchange is None or self._exchange.method != "HEAD":
            out += self._sent(h11.Data(data=made.data))
        out += self._sent(h11.EndOfMessage())
        self.outbox.answer_at(out, shard, commit)
        self._next()

    def _stream(self, stream: Any) -> None:
        assert self._exchange is not None
        if self._exchange.method == "HEAD":
            stream.close()
            self._answer(Bytes(b"", stream.kind), 200)
            return
        told = [("Content-Type", stream.kind), ("Cache-Control", "no-store"), ("X-Accel-Buffering", "no")]
        head = h11.Response(status_code=200, headers=[*told, *SECURITY], reason=b"OK")
        self.outbox.answer(self._sent(head))
        self.stream = stream
        self._ahead = 0
        stream.begin(self)

    def write(self, data: bytes) -> None:
        """A part of a stream."""
        if data:
            self.outbox.put_bytes(self._sent(h11.Data(data=data)))

    def finish(self) -> None:
        """The stream's end; then the next request."""
        self._end_stream()
        self.outbox.put_bytes(self._sent(h11.EndOfMessage()))
        self._next()

    def _end_stream(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()

    def _next(self) -> None:
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self.deadline_ns = self.now_ns + IDLE_WAIT_NS
            self.outbox.mark()
            self._events()
        else:
            self._hang_up()

    def _bad(self, error: h11.RemoteProtocolError) -> None:
        """Not HTTP/1.1: told so where an answer may still be given, and closed."""
        self.port.note("http_wire_errors")
        self._refuse(error.error_status_hint or 400, str(error))

    def _refuse(self, status: int, words: str, headers: list[tuple[str, str]] | None = None) -> None:
        """An answer in the middle of a request: nothing behind it can be trusted to be the next one."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            refusal = Refusal(status, words, [*(headers or []), ("Connection", "close")])
            if self._http.our_state is h11.IDLE:
                self._exchange = None
            self._answer(refusal.body(), status, refusal.headers)
        self._end_stream()
        self._hang_up()

    def _sent(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""


def encode(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def fields_of(query: str) -> dict[str, str]:
    """
    Raises:
        Refusal: too many fields, or not UTF-8, or one twice.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX)
    except ValueError as error:
        raise Refusal(400, f"query: {error}") from None
    if len({name for name, _ in pairs}) < len(pairs):
        raise Refusal(400, "query: a field stands twice")
    return dict(pairs)


def credentials(header: str | None) -> tuple[bytes | None, bytes | None]:
    """User and password of a Basic header (RFC 7617); nobody's where there is none.

    Raises:
        Refusal: it is another scheme, or malformed.
    """
    if header is None:
        return None, None
    scheme, _, text = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise Refusal(401, f"{scheme}: Basic only", [("WWW-Authenticate", 'Basic realm="thalweg"')])
        user, colon, password = base64.b64decode(text.strip(), validate=True).partition(b":")
    except ValueError:
        raise Refusal(400, "Authorization is not Basic and base64") from None
    if not colon:
        raise Refusal(400, "Authorization has no colon between user and password")
    return user, password


def known_host(host: str, names: frozenset[str]) -> bool:
    """Whether a page under this name can only be ours: an address, a name without a dot, or one that was configured.

    Who rebinds a name to this machine needs one of a public domain.
    """
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
    name = name.lower().rstrip(".")
    if not name:
        return False
    if name in names or ("." not in name.removesuffix(".localhost") and not name.startswith("[")):
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def check_origin(headers: dict[str, str], host: str) -> None:
    """
    Raises:
        Refusal: a page of another site asks.
    """
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        raise Refusal(403, f"a page of {origin} may not do this")
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refusal(403, "a page of another site may not do this")


def reason_of(status: int) -> bytes:
    from http import HTTPStatus

    return HTTPStatus(status).phrase.encode()
