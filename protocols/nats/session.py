"""One NATS client connection: the core protocol of nats-server 2.15, whole (see README.md for deviations).

Rules of the machine:

* The server speaks first (INFO). Until CONNECT says otherwise a client is verbose and pedantic, and has no headers.
* ``delivery`` (kernel) takes the chunk apart and writes to subscribers; everything else comes here: ``command`` for other
  operations, ``special`` for ``$JS.`` requests, ``publish`` for runs that the port must see.
* PONG, +OK, -ERR and MSG go out in the order in which they arise (the deliveries lane). Only what must not leave before
  it is durable waits (the answers lane): PubAcks, confirmed acks and API answers that changed something.
* A publisher whose receiver is close to its bound is read more slowly, never stopped: a slow consumer is cut off, closed
  without another byte. A broken frame costs this one connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from protocols.api import Called, Identity, Port, Right
from protocols.identity import EVERYBODY, NATS_TOKEN
from protocols.nats import errors, wire
from protocols.nats.delivery import PROTOCOL, Delivery, NatsSink, Plan, acknowledge
from protocols.nats.jetstream_store import BatchMessage, StageRequest, Stored, StoreRequest
from protocols.nats.jetstream_wire import (
    AckAnswer,
    AckRequest,
    ApiRequest,
    Expectations,
    Message,
    NoResponders,
    StreamFacts,
    expectations_of,
    format_time,
    puback,
    puback_error,
    stream_facts,
    write,
)
from protocols.nats.mapping import Headers, header_tuple, pattern_of, reserved, subject_address
from protocols.nats.rights import may_ask, readable
from protocols.outbox import Outbox
from substrate.address import join
from substrate.api import (
    DEFAULT_ACCOUNT,
    Account,
    Ack,
    Address,
    Answer,
    Appended,
    Failed,
    Group,
    Rejected,
    Route,
    StreamError,
    StreamId,
    Topic,
    Unknown,
)
from substrate.interest import ONE, Tokens

SECOND_NS = 1_000_000_000
STALL_NS = 2_000_000
"""How long a publisher waits, each time it sends, while a receiver owes three quarters of what cuts it off."""
API_LEVEL = 5
FACTS_MAX = 64
BUDGET_A_CHUNK = 512
API_COST = 16
"""A chunk that is full of SUBs (1 each) or API requests is taken in parts: others have their turn in between."""
API = b"$JS.API."
ACK = b"$JS.ACK."
FLOW = b"$JS.FC."
USER_INFO = b"$SYS.REQ.USER.INFO"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the process says about this listener. Defaults are nats-server's."""

    host: str = "127.0.0.1"
    port: int = 4222
    server_id: str = "NTHALWEG"
    server_name: str = "thalweg"
    version: str = "2.15.1"
    """The nats-server whose behaviour this is: clients switch features on by it."""
    payload_bytes_max: int = 1024 * 1024
    line_bytes_max: int = 4096
    pending_bytes_max: int = 64 * 1024 * 1024
    subscriptions_max: int = 100_000
    first_ping_ns: int = 2 * SECOND_NS
    ping_ns: int = 120 * SECOND_NS
    pings_max: int = 2
    auth_timeout_ns: int = 2 * SECOND_NS
    tls: bool = False
    """Whether this listener's connections become TLS; told in INFO, and begun by the host after it."""
    tls_verify: bool = False
    """Whether they ask for a client certificate."""
    durability: str = "sync"
    """Of streams that JetStream creates here: ``sync``, ``os`` or ``interval``."""
    interval_ms: int = 1000


class NatsSession:
    """See ``protocols.api.Session``."""

    def __init__(self, port: Port, settings: Settings) -> None:
        self.port = port
        self.settings = settings
        self.outbox = Outbox(settings.pending_bytes_max)
        self.deadline_ns = 0
        self.closing = False
        self.blocked = False
        self.wants_bytes = 0
        self.identity: Identity = EVERYBODY
        self.account: Account = DEFAULT_ACCOUNT
        self.echo = True
        self.delivery = Delivery(self, self.outbox, settings.line_bytes_max, settings.payload_bytes_max, port.random())
        self.delivery.pressed_bytes = settings.pending_bytes_max * 3 // 4
        self._options: dict[str, Any] = {}
        self._connected = False
        self._informed = False  # the second INFO was sent
        self._must_authenticate = False
        self._client_id = 0
        self._client_ip = ""
        self._client_port = 0
        self._delivered = 0
        self._now_ns = 0
        self._heard_ns = 0
        self._opened_ns = 0
        self._ping_ns = 0
        self._pings_out = 0
        self._pinged = False
        self._subscriptions: dict[bytes, NatsSink] = {}
        self._gone = False
        self._next_token = 1
        self._pending: dict[int, Callable[[Answer], None]] = {}
        self._acks: list[tuple[bytes, bytes, bytes]] = []
        self._budget = BUDGET_A_CHUNK
        self._facts: dict[StreamId, tuple[Topic, StreamFacts | None]] = {}

    # the driver's side

    def opened(self, peer: tuple[str, int], now_ns: int) -> None:
        """Say INFO."""
        self._now_ns = self._heard_ns = self._opened_ns = now_ns
        self._client_ip, self._client_port = peer[0], peer[1]
        self._client_id = (self.port.random() & 0x7FFFFFFF) or 1
        anonymous = self.port.identify(None, None)
        self._must_authenticate = anonymous is None
        if anonymous is not None:
            self.identity, self.account = anonymous, anonymous.account
        self.outbox.put_bytes(self._info())
        self._ping_ns = now_ns + min(self.settings.first_ping_ns, self.settings.ping_ns)
        self.deadline_ns = self._ping_ns
        if self._must_authenticate:
            self.deadline_ns = min(self.deadline_ns, now_ns + self.settings.auth_timeout_ns)

    def receive(self, data: bytearray | memoryview, start: int, end: int, now_ns: int) -> int:
        """See ``protocols.api.Session``."""
        if self.closing:
            return end
        self._now_ns = self._heard_ns = now_ns
        if self._must_authenticate and not self._connected:
            start = self._receive_stranger(data, start, end)
            if not self._connected:
                return start
        self._budget = BUDGET_A_CHUNK
        self.delivery.waits = False
        start = self.delivery.receive(data, start, end)
        self.flush_acks()
        if self.delivery.pressed and not self.closing:
            self.blocked = True
            self.deadline_ns = now_ns + STALL_NS
        need = self.delivery.frame.need if start < end else 0
        self.wants_bytes = need if 2 * (end - start) >= need else 0  # no buffer for what is only announced
        return end if self.closing else start

    def _receive_stranger(self, data: bytearray | memoryview, start: int, end: int) -> int:
        """Before a client said who it is, CONNECT is all that is listened to."""
        frame = self.delivery.frame
        kind = frame.parse(data, start, end)
        if kind == wire.MORE:
            return start
        if kind == wire.CONNECT:
            self.command(kind, bytes(data[frame.argument_start : frame.argument_end]))
            return int(frame.next)
        self._fatal(errors.AUTHORIZATION)
        return end

    def answered(self, token: int, answer: Answer) -> None:
        """See ``protocols.api.Session``."""
        then = self._pending.pop(token, None)
        if then is not None and not self._gone:
            then(answer)

    def tick(self, now_ns: int) -> None:
        """Keep the connection alive, or give it up."""
        if self.closing:
            self.deadline_ns = 0
            return
        self._now_ns = now_ns
        self.blocked = False
        if self._must_authenticate and not self._connected:
            if now_ns >= self._opened_ns + self.settings.auth_timeout_ns:
                self._fatal(errors.AUTHENTICATION_TIMEOUT)
            return
        if now_ns >= self._ping_ns:
            self._ping_ns = now_ns + self.settings.ping_ns
            if self._pinged and now_ns - self._heard_ns < self.settings.ping_ns:
                self._pings_out = (
                    0  # heard of lately: no need to ask (nats-server client.go processPingTimer, behaviour)
                )
            elif self._pings_out + 1 > self.settings.pings_max:
                self.port.note("nats_stale_connections")
                self._fatal(errors.STALE)
                return
            else:
                self._pings_out += 1
                self._pinged = True
                self.outbox.put_bytes(b"PING\r\n")
        self.deadline_ns = self._ping_ns

    def eof(self, now_ns: int) -> None:
        """Give back every subscription."""
        self._gone = True
        self._close_subscriptions()
        self._pending.clear()
        self._acks.clear()
        self.deadline_ns = 0

    def stop(self, now_ns: int) -> None:
        """Lame duck: clients that know INFO look for another server at once."""
        if not self.closing:
            if self._protocol() >= 1:
                self.outbox.put_bytes(self._info(ldm=True))
            self.closing = True

    def revoked(self, now_ns: int) -> None:
        """Its user is gone, or may do something else (nats-server's words when its configuration is read again)."""
        self._now_ns = now_ns
        if not self.closing:
            self._fatal(errors.AUTHORIZATION)

    # what monitoring asks

    def facts(self) -> tuple[int, int, str, int, int]:
        """When it was opened and heard last (unix ns), its peer's address and port, its number."""
        return self._opened_ns, self._heard_ns, self._client_ip, self._client_port, self._client_id

    def options(self) -> dict[str, Any]:
        """What CONNECT said."""
        return self._options

    def subscriptions(self) -> list[tuple[str, str, str, int, int]]:
        """Subject, queue group or nothing, sid, messages delivered, and the number after which it ends (0: none)."""
        return [
            (one.subject.decode("utf-8", "replace"), (one.queue or b"").decode("utf-8", "replace"),
             sid.decode("utf-8", "replace"), one.delivered, one.delivered_max)
            for sid, one in self._subscriptions.items()
        ]  # fmt: skip

    def delivered(self) -> int:
        """Messages that its subscriptions got, those that are over included."""
        return self._delivered + sum(one.delivered for one in self._subscriptions.values())

    # what the kernel tells

    def command(self, kind: int, argument: bytes) -> None:
        """An operation that is no publication."""
        self.flush_acks()
        if kind in (wire.SUB, wire.UNSUB, wire.CONNECT):
            self._spend(1)
        if kind == wire.PING:
            self._ping()
        elif kind == wire.PONG:
            self._pings_out = 0
        elif kind == wire.SUB:
            self._subscribe(argument)
        elif kind == wire.UNSUB:
            self._unsubscribe(argument)
        elif kind == wire.CONNECT:
            self._connect(argument)
        elif kind == wire.INFO:
            if _json_object(argument) is None:
                self._close()
        elif kind == wire.ERR:
            self._close()
        self.delivery.waits = self.delivery.waits or self.closing

    def _spend(self, cost: int) -> None:
        self._budget -= cost
        if self._budget <= 0 and not self.closing:
            self.delivery.waits = self.blocked = True
            self.deadline_ns = self._now_ns + 1

    def broken(self, kind: int) -> None:
        """The frame cannot be read on."""
        texts = {
            wire.UNKNOWN: errors.UNKNOWN_OPERATION,
            wire.LINE_TOO_LONG: errors.LINE_TOO_LONG,
            wire.PAYLOAD_TOO_LARGE: errors.PAYLOAD_TOO_LARGE,
        }
        self.flush_acks()
        self.port.note("nats_protocol_violations")
        if kind in texts:
            self.outbox.put_bytes(errors.err(texts[kind]))
        self._close()

    def make_plan(self, subject: bytes) -> Plan:
        """Who gets what is published to this subject now."""
        generation = self.port.generation
        asks = subject.startswith(API)  # a consumer's filter, wildcards and all, stands in the subject that creates it
        if not wire.valid_subject(subject, wildcards=asks) or reserved(subject):
            return Plan(subject, None, generation, self)
        special = asks or subject.startswith((ACK, FLOW)) or subject == USER_INFO
        if not special and not self._may_publish(subject):
            return Plan(subject, None, generation, self)
        route = self.port.resolve(self.account, join(subject.split(b".")) if asks else subject_address(subject))
        plan = Plan(subject, route, generation, self)
        plan.special = special
        self._captured(plan, route)
        return plan

    def plan_beneath(self, prefix: bytes) -> Plan:
        """Who gets what is published to any subject of this prefix (dot included) and one token more; no route: it depends.

        Under ``$JS.ACK.`` the subjects are longer by several tokens.
        """
        generation = self.port.generation
        route = None
        if not reserved(prefix[:-1]) and not prefix.startswith((API, USER_INFO[:-4])):
            route = self._route_beneath(prefix)
        plan = Plan(prefix, route, generation, self)
        plan.special = prefix == ACK or prefix.startswith(FLOW)
        if route is not None:
            self._captured(plan, route)
        return plan

    def _route_beneath(self, prefix: bytes) -> Route | None:
        """Where all beneath a prefix goes; None: it depends, also on what this user may do or a subscriber may hear."""
        address = subject_address(prefix[:-1])
        if not self.identity.all and not prefix.startswith((ACK, FLOW)):
            beneath = Tokens(address + b"/" + ONE)
            if not self.identity.may_all(Right.WRITE, beneath) or self.identity.filtered(Right.WRITE, beneath):
                return None
        route = self.port.resolve_beneath(self.account, address, prefix == ACK)
        if route is not None:
            members = [sink for queue in route.queues for sink in queue]
            if any(isinstance(sink, NatsSink) and sink.filtered for sink in (*route.sinks, *members)):
                return None
        return route

    def _may_publish(self, subject: bytes) -> bool:
        return self.identity.all or self.identity.may(Right.WRITE, subject_address(subject))

    def hears(self, address: bytes) -> bool:
        """Whether this user may have messages of this address: asked where some of a subscription's are denied."""
        return self.identity.may(Right.READ, Address(address))

    def _captured(self, plan: Plan, route: Route) -> None:
        """Note in the plan what its stream, if any, asks of a publisher."""
        if route.stream and route.topic is not None:
            plan.stream = self._facts_of(route.topic)  # type: ignore[assignment]
            plan.bytes_max = route.topic.config.record_bytes_max
            facts = cast("StreamFacts | None", plan.stream)
            plan.looks = facts is not None and facts.looks

    def _facts_of(self, topic: Topic) -> StreamFacts | None:
        kept = self._facts.get(topic.streams[0])
        if kept is None or kept[0] is not topic:
            if len(self._facts) >= FACTS_MAX:
                self._facts.clear()
            kept = self._facts[topic.streams[0]] = (topic, stream_facts(topic))
        return kept[1]

    def unpublishable(self, subject: bytes) -> None:
        """A message to a subject that takes none: a wildcard, an empty token, what is reserved."""
        if reserved(subject) or (wire.valid_subject(subject) and not self._may_publish(subject)):
            self.outbox.put_bytes(errors.err(errors.PUBLISH_DENIED % subject))
        elif self.delivery.pedantic:
            self.outbox.put_bytes(errors.err(errors.INVALID_PUBLISH_SUBJECT))

    def nobody(self, subject: bytes, reply: bytes) -> None:
        """Tell a requester that there are no responders, on the subscription of its own that waits for the reply."""
        parts = reply.split(b".")
        if b"" in parts:
            return
        address = subject_address(reply) if wire.valid_subject(reply) else join(parts)
        for sink in self.port.resolve(self.account, address).sinks:
            if isinstance(sink, NatsSink) and sink.session is self and not sink.closed:
                block = b"NATS/1.0 503\r\nNats-Subject: %b\r\n\r\n" % subject
                sink.send(reply, b"%d %d\r\n%b\r\n" % (len(block), len(block), block), True)
                return

    def publish(self, plan: Plan, group: Group, replies: list[bytes]) -> None:
        """A run for the port: a stream captures it, or others than this protocol's subscribers listen."""
        served = PROTOCOL if plan.kernel else ""
        facts = cast("StreamFacts | None", plan.stream)
        route = cast(Route, plan.route)
        if facts is None or not replies or not facts.acks:
            self.port.publish(route, group, served, Ack.ORDERED, 0)
            return

        def then(answer: Answer) -> None:
            self._acknowledge(plan, replies, answer)

        self.port.publish(route, group, served, Ack.DURABLE, self._token(then))

    def too_large(self, plan: Plan, reply: bytes) -> None:
        """A message that its stream does not take."""
        facts = cast("StreamFacts | None", plan.stream)
        if facts is not None and facts.acks and reply:
            self._respond(reply, puback_error(facts, errors.MESSAGE_TOO_LARGE))

    def has_conditions(self, block: bytes) -> bool:
        """Whether JetStream's headers may ask something of this message."""
        return b"Nats-" in block or len(block) > 65535

    def publish_alone(self, plan: Plan, data: Any, start: int, length: int, block: bytes, reply: bytes) -> None:
        """A captured message whose headers ask for something."""
        facts = cast(StreamFacts, plan.stream)
        route = cast(Route, plan.route)
        headers = header_tuple(block)
        wanted = expectations_of(headers, len(block), length, facts, route.address)
        if not isinstance(wanted, Expectations):
            self._respond(reply, puback_error(facts, wanted))
            return
        served = PROTOCOL if plan.kernel else ""
        if wanted.batch:
            self._stage(plan, bytes(data[start : start + length]), headers, wanted, reply)
            return
        if wanted.decided:
            request = StoreRequest(
                self.account, route.address, bytes(data[start : start + length]), headers, wanted.conditions, served,
                wanted.rollup, wanted.increment,
            )  # fmt: skip
            self.port.call("jetstream", request, self._token(lambda answer: self._stored(plan, reply, answer)))
            return
        group = Group(route.address, data, self)
        group.add_with_headers(start, length, headers)
        replies = [reply]

        def then(answer: Answer) -> None:
            self._acknowledge(plan, replies, answer)

        token = self._token(then) if reply and facts.acks else 0
        self.port.publish(route, group, served, Ack.DURABLE, token, wanted.conditions)

    def _stored(self, plan: Plan, reply: bytes, answer: Answer) -> None:
        """The executor stored a message, or not."""
        facts = cast(StreamFacts, plan.stream)
        if not isinstance(answer, Called) or not isinstance(answer.answer, Stored) or not reply or not facts.acks:
            return
        stored = answer.answer
        if isinstance(stored.answer, errors.ApiError):
            self._respond(reply, puback_error(facts, stored.answer))
        elif stored.value is not None and isinstance(stored.answer, Appended):
            text = puback(facts, stored.answer.base + 1, val=stored.value)
            self._respond(reply, text, stored.answer.commit, stored.answer.shard)
        else:
            self._acknowledge(plan, [reply], stored.answer)

    def _stage(self, plan: Plan, payload: bytes, headers: Headers, wanted: Expectations, reply: bytes) -> None:
        """A message of an atomic batch: kept by the executor until the last one commits them all."""
        route = cast(Route, plan.route)
        facts = cast(StreamFacts, plan.stream)
        message = BatchMessage(route.address, payload, headers, wanted.conditions)
        request = StageRequest(route.stream, wanted.batch, wanted.batch_sequence, wanted.batch_commit, message)

        def staged(answer: Answer) -> None:
            told = answer.answer if isinstance(answer, Called) else errors.NOT_AVAILABLE
            if told is None:
                if reply:
                    self._respond(reply, b"")
            elif isinstance(told, errors.ApiError):
                self._respond(reply, puback_error(facts, told))
            else:
                self._commit(plan, cast("tuple[BatchMessage, ...]", told), wanted.batch, reply)

        self.port.call("jetstream", request, self._token(staged))

    def _commit(self, plan: Plan, messages: tuple[BatchMessage, ...], batch: str, reply: bytes) -> None:
        facts = cast(StreamFacts, plan.stream)
        stream = cast(Route, plan.route).stream
        if not messages:
            self._respond(reply, puback_error(facts, errors.ATOMIC_INCOMPLETE))
            return

        def committed(answer: Answer) -> None:
            if isinstance(answer, tuple):
                last = answer[-1]
                text = puback(facts, last.last + 1, batch=batch, count=len(messages))
                self._respond(reply, text, last.commit, last.shard)
            elif not isinstance(answer, Unknown):
                self._respond(reply, puback_error(facts, _append_error(answer)))

        appends = [(stream, Group.of(one.address, one.payload, one.headers, self), one.conditions) for one in messages]
        self.port.commit(appends, Ack.DURABLE, self._token(committed))

    def special(self, plan: Plan, data: Any, heard: bool) -> None:
        """A message to ``$JS.API.`` or ``$JS.ACK.``: ``delivery.frame`` says where its parts are."""
        frame = self.delivery.frame
        reply = bytes(data[frame.reply_start : frame.reply_end])
        body = frame.payload_start + frame.header_bytes
        payload = bytes(data[body : frame.payload_start + frame.total_bytes])
        if plan.subject == USER_INFO:
            if reply:
                self._respond(reply, self._user_info())
            return
        if not self.identity.all and not may_ask(self.identity, plan.subject, payload):
            self.outbox.put_bytes(errors.err(errors.PUBLISH_DENIED % plan.subject))
            return
        if plan.subject.startswith((ACK, FLOW)):
            self._acks.append((plan.subject, reply, payload))
            return
        self.flush_acks()
        self._spend(API_COST)
        block = bytes(data[frame.payload_start : body])
        request = ApiRequest(self.account, plan.subject, reply, payload, header_tuple(block) if block else (),
                             self.settings.durability, self.settings.interval_ms)  # fmt: skip

        def then(answer: Answer) -> None:
            self._api_answered(request, heard, answer)

        self.port.call("jetstream", request, self._token(then))

    def _user_info(self) -> bytes:
        """Who this connection is (nats-server server/accounts.go UserInfo, behaviour); rights are not told."""
        name = self.identity.name.decode("utf-8", "replace") if self._must_authenticate else ""
        settings = self.settings
        server = {
            "name": settings.server_name, "host": settings.host, "id": settings.server_id, "ver": settings.version,
            "jetstream": True, "seq": 0, "time": format_time(self._now_ns),
        }  # fmt: skip
        return write({"server": server, "data": {"user": name, "account": "$G", "account_name": "$G"}})

    def flush_acks(self) -> None:
        """Give collected acknowledgements of JetStream messages to their owner, many in one call."""
        if self._acks:
            acks, self._acks = self._acks, []
            self.port.call("jetstream", AckRequest(self.account, tuple(acks)), self._token(self._acks_answered))

    def too_slow(self) -> None:
        """What waits for this client passed its bound: it is cut off."""
        if not self.closing:
            self.port.note("nats_slow_consumers", f"client {self._client_id} at {self._client_ip}")
            self.outbox.clear()
            self.outbox.overflowed = False
            self._close()
            self._close_subscriptions()
            self.outbox.mark()

    def expired(self, sink: NatsSink) -> None:
        """The subscription had as many messages as it asked for."""
        sink.closed = True
        if self._subscriptions.get(sink.sid) is sink:
            self._delivered += sink.delivered
            del self._subscriptions[sink.sid]
        if sink.handle is not None:
            sink.handle.close()

    # operations

    def _ping(self) -> None:
        self.outbox.put_bytes(b"PONG\r\n")
        if self._connected and not self._informed and self._protocol() >= 1:
            self._informed = True
            self.outbox.put_bytes(self._info(connected=True))

    def _subscribe(self, argument: bytes) -> None:
        parts = argument.split()
        if len(parts) not in (2, 3):
            self._close()
            return
        subject, sid = parts[0], parts[-1]
        queue = parts[1] if len(parts) == 3 else None
        if sid in self._subscriptions:
            self._ok()  # the first one stays; this one is not even looked at
            return
        if not wire.valid_subject(subject, wildcards=True):
            self.outbox.put_bytes(errors.err(errors.INVALID_SUBJECT))
            return
        pattern = pattern_of(subject)
        if reserved(subject) or not self.identity.may_all(Right.READ, pattern):
            text = (
                errors.SUBSCRIPTION_DENIED % subject
                if queue is None
                else errors.SUBSCRIPTION_QUEUE_DENIED % (subject, queue)
            )
            self.outbox.put_bytes(errors.err(text))
            return
        if len(self._subscriptions) >= self.settings.subscriptions_max:
            self.outbox.put_bytes(errors.err(errors.SUBSCRIPTIONS_EXCEEDED))
            return
        sink = NatsSink(self, self.outbox, subject, queue, sid, self.delivery.accepts_headers)
        self._subscriptions[sid] = sink
        sink.filtered = self.identity.filtered(Right.READ, pattern)
        handle = self.port.subscribe(self.account, pattern, sink, queue)
        sink.handle = handle  # type: ignore[assignment]
        self._ok()

    def _unsubscribe(self, argument: bytes) -> None:
        parts = argument.split()
        if len(parts) not in (1, 2):
            self._close()
            return
        sink = self._subscriptions.get(parts[0])
        if sink is not None:
            most = int(parts[1]) if len(parts) == 2 and parts[1].isdigit() and len(parts[1]) < 10 else 0
            sink.delivered_max = most
            if most <= sink.delivered:
                self.expired(sink)
        self._ok()

    def _connect(self, argument: bytes) -> None:
        options = _json_object(argument)
        if options is None or any(
            not isinstance(options[name], kind) for name, kind in _OPTIONS.items() if name in options
        ):
            self._close()
            return
        self._options.update(options)
        known = self._options
        self.delivery.verbose = bool(known.get("verbose", True))
        self.delivery.pedantic = bool(known.get("pedantic", True))
        self.echo = bool(known.get("echo", True))
        headers = bool(known.get("headers", False))
        self.delivery.accepts_headers = headers
        for sink in self._subscriptions.values():
            sink.headers = headers
        self.delivery.no_responders = bool(known.get("no_responders", False)) and headers
        user, secret, token = (_encoded(known.get(name)) for name in ("user", "pass", "auth_token"))
        identity = self.port.identify(NATS_TOKEN, token) if token and user is None else self.port.identify(user, secret)
        if identity is None or (self.port.users and (known.get("jwt") or known.get("nkey"))):
            self._fatal(errors.AUTHORIZATION)
            return
        if not self._connected:
            if identity is not self.identity:
                self.delivery.forget()
            self.identity = identity
            self.account = identity.account
        if self._protocol() not in (0, 1):
            self._fatal(errors.INVALID_PROTOCOL)
            return
        if known.get("no_responders") and not headers:
            self._fatal(errors.NO_RESPONDERS_NEEDS_HEADERS)
            return
        self._connected = True
        self._ok()

    def _ok(self) -> None:
        if self.delivery.verbose:
            self.outbox.put_bytes(b"+OK\r\n")

    def _protocol(self) -> int:
        return int(self._options.get("protocol", 0))

    def _info(self, connected: bool = False, ldm: bool = False) -> bytes:
        settings = self.settings
        fields: dict[str, object] = {
            "server_id": settings.server_id,
            "server_name": settings.server_name,
            "version": settings.version,
            "proto": 1,
            "git_commit": "thalweg",
            "go": "none",
            "host": settings.host,
            "port": settings.port,
            "headers": True,
            "max_payload": settings.payload_bytes_max,
            "jetstream": True,
            "client_id": self._client_id,
            "client_ip": self._client_ip,
        }
        if self._must_authenticate:
            fields["auth_required"] = True
        if settings.tls:
            fields["tls_required"] = True
            fields |= {"tls_verify": True} if settings.tls_verify else {}
        if connected:
            fields["connect_info"] = True
            fields["remote_account"] = "$G"
        if ldm:
            fields["ldm"] = True
        fields["api_lvl"] = API_LEVEL
        return b"INFO %b \r\n" % json.dumps(fields, separators=(",", ":")).encode()

    # answers

    def _token(self, then: Callable[[Answer], None]) -> int:
        token = self._next_token
        self._next_token += 1
        self._pending[token] = then
        return token

    def _sinks(self, reply: bytes) -> list[NatsSink]:
        """Who of this protocol gets one message to this subject."""
        known: list[NatsSink] | None = self.delivery.reply_sinks(reply)
        if known is not None:
            return known
        if not wire.valid_subject(reply) or reserved(reply):
            return []
        route = self.port.resolve(self.account, subject_address(reply))
        sinks = [sink for sink in route.sinks if isinstance(sink, NatsSink)]
        for members in route.queues:
            mine = [sink for sink in members if isinstance(sink, NatsSink) and not sink.closed]
            if mine:
                sinks.append(mine[self.port.random() % len(mine)])
        return sinks

    def _respond(self, reply: bytes, text: bytes, commit: int = 0, shard: int = 0) -> None:
        """Send a JSON answer to a reply subject once ``commit`` is durable."""
        for sink in self._sinks(reply):
            if sink.closed:
                continue
            sink.delivered += 1
            line = b"MSG %b %b %d\r\n%b\r\n" % (reply, sink.sid, len(text), text)
            if commit:
                sink.outbox.answer_at(line, shard, commit)
            else:
                sink.outbox.put_bytes(line)
            if sink.delivered_max and sink.delivered >= sink.delivered_max:
                cast(NatsSession, sink.session).expired(sink)

    def _acknowledge(self, plan: Plan, replies: list[bytes], answer: Answer) -> None:
        """The run is ordered, or not: say so to who asked."""
        if isinstance(answer, Appended):
            acknowledge(
                plan, replies, answer.base, answer.commit, answer.shard, answer.duplicate, self._sinks, self.delivery
            )
            return
        if isinstance(answer, Unknown):
            return  # neither stored nor not: silence makes the publisher ask again, as a lost PubAck does
        error = _append_error(answer)
        text = puback_error(cast(StreamFacts, plan.stream), error)
        for reply in replies:
            if reply:
                self._respond(reply, text)

    def _api_answered(self, request: ApiRequest, heard: bool, answer: Answer) -> None:
        if isinstance(answer, Failed):
            return  # silence: the client's request times out and is repeated
        assert isinstance(answer, Called)
        if isinstance(answer.answer, NoResponders):
            if request.reply and not heard and self.delivery.no_responders:
                self.nobody(request.subject, request.reply)
        elif isinstance(answer.answer, Message) and request.reply:
            message = answer.answer
            for sink in self._sinks(request.reply):
                if not message.block:
                    sink.send(request.reply, b"%d\r\n%b\r\n" % (len(message.payload), message.payload), False)
                    continue
                sizes = (len(message.block), len(message.block) + len(message.payload))
                sink.send(request.reply, b"%d %d\r\n%b%b\r\n" % (*sizes, message.block, message.payload), True)
        elif answer.answer and request.reply:
            assert isinstance(answer.answer, bytes)
            text = answer.answer
            if not self.identity.all and request.subject in (b"$JS.API.STREAM.NAMES", b"$JS.API.STREAM.LIST"):
                text = readable(self.identity, text)
            self._respond(request.reply, text, answer.commit, answer.shard)

    def _acks_answered(self, answer: Answer) -> None:
        """Confirm those acknowledgements that asked for it."""
        if isinstance(answer, Called) and isinstance(answer.answer, AckAnswer):
            for reply in answer.answer.confirm:
                self._respond(reply, b"", answer.commit, answer.shard)
            for subject, reply in answer.answer.nobody if self.delivery.no_responders else ():
                self.nobody(subject, reply)

    # endings

    def _fatal(self, text: bytes) -> None:
        self.outbox.put_bytes(errors.err(text))
        self._close()

    def _close(self) -> None:
        self.closing = True
        self.deadline_ns = 0
        self.delivery.waits = True

    def _close_subscriptions(self) -> None:
        for sink in self._subscriptions.values():
            sink.closed = True
            if sink.handle is not None:
                sink.handle.close()
        self._subscriptions.clear()


_OPTIONS: dict[str, type | tuple[type, ...]] = {
    "verbose": bool, "pedantic": bool, "echo": bool, "headers": bool, "no_responders": bool, "tls_required": bool,
    "protocol": int, "user": str, "pass": str, "auth_token": str, "jwt": str, "nkey": str, "sig": str, "name": str,
    "lang": str, "version": str,
}  # fmt: skip


def _encoded(text: str | None) -> bytes | None:
    return text.encode() if text else None


def _json_object(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return {name: value for name, value in found.items() if value is not None} if isinstance(found, dict) else None


LIMITS = {
    "records": "maximum messages exceeded",
    "bytes": "maximum bytes exceeded",
    "address_records": "maximum messages per subject exceeded",
}
"""What nats-server says where a stream discards what is new."""


def _append_error(answer: Answer) -> errors.ApiError:
    if isinstance(answer, Rejected):
        actual = answer.actual
        if answer.condition == "last_message_id":
            return errors.WRONG_LAST_ID.of(id=actual.decode("utf-8", "replace") if isinstance(actual, bytes) else "")
        if answer.condition == "last":
            return errors.WRONG_LAST_SEQUENCE.of(seq=int(actual or 0) + 1 if actual is not None else 0)
        if answer.condition in LIMITS:
            return errors.STORE_FAILED.of(err=LIMITS[answer.condition])
        if answer.condition == "tail":
            return errors.WRONG_LAST_SEQUENCE.of(seq=actual)
        return errors.EXPECTED_STREAM
    if isinstance(answer, StreamError):
        return errors.STREAM_ERRORS[answer.code]
    return errors.NOT_AVAILABLE
