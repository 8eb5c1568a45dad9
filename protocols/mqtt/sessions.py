"""Executor "mqtt": sessions that outlive connections, what they are owed, retained messages, wills. MQTT 3.1, 3.1.1, 5.0.

Behaviour: MQTT 5.0 sections 3.1.2.11.2 (session expiry), 3.1.3.2.2 (will delay), 3.3.1.3 (RETAIN), 4.1 (session state), 4.3
(QoS), 4.4 (redelivery), 4.6 (order), 4.8.2 (shared subscriptions).

Rules:

* State changes only by ``State.change``. ``write`` records a change and applies it; what belongs only to sessions that end
  with their connection is applied and not recorded.
* One execute is one turn's part of one commit: a QoS 2 packet identifier, the message (here, or in the stream that
  captures it), the references to it and the packet identifiers given out are durable together or not at all.
* An answer names the commit it waits for, so that PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, CONNACK and every QoS 1 or 2
  PUBLISH leave when what they tell is durable.
* Deliveries go down as answers to the connection's parked ``Pull``.

Deviations: QoS 1 packet identifiers live in memory (after a crash the message goes out again under a new one); retained
messages on their way to a new subscription are not owed again after a crash; records refer to captured messages, so that a
topic's retention applies to what a session has not taken yet.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocols.api import Called, World
from protocols.mqtt import errors, mapping, requests
from protocols.mqtt.captured import Captured, Wanted
from protocols.mqtt.matching import Matching, identifiers_of
from protocols.mqtt.publishing import Publishing
from protocols.mqtt.records import pack, unpack
from protocols.mqtt.sending import Sending
from protocols.mqtt.state import (
    END,
    LEFT,
    MESSAGE,
    MESSAGES,
    RETAINED,
    SUBSCRIBED,
    UNSUBSCRIBED,
    WILLED,
    Change,
    Message,
    Session,
    State,
    Subscription,
    opened,
)
from protocols.mqtt.system import System
from substrate.api import (
    Account,
    Group,
    Record,
    Tail,
)

if TYPE_CHECKING:
    from protocols.mqtt.state import WillMessage

SUBSCRIPTIONS_MAX = 10_000
SESSIONS_MAX = 100_000
PULL_PACKETS_MAX = 1000
PULL_BYTES_MAX = 256 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    session_expiry_max_s: int = 7 * 24 * 3600
    """A session that its client leaves for longer is over; 5.0 clients are told."""
    queue_messages_max: int = 100_000
    queue_bytes_max: int = 64 * 1024 * 1024
    """Owed to one session: more is dropped for that session, and counted."""
    sys_interval_s: int = 10
    """How often changed values of `$SYS` are sent; 0: there are none."""
    version: str = "thalweg"


class Sessions:
    """See ``protocols.api.Executor``. ``requests.py`` says what it is asked."""

    name = "mqtt"
    version = 1

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits
        self.state = State()
        self.matching = Matching(self, limits.queue_messages_max, limits.queue_bytes_max)
        self.captured = Captured(self)
        self.publishing = Publishing(self)
        self.sending = Sending(self)
        self.system = System(self, limits.sys_interval_s, limits.version)
        self.world: World
        self.commit = 0
        """Of what this call recorded; 0: nothing yet."""
        self._depth = 0
        self._connections: dict[int, Session] = {}
        self._asked: dict[int, Callable[[object], None]] = {}
        self._next_token = 1
        self.wanted: dict[tuple[Account, bytes], Wanted] = {}
        """Filters with QoS 1 or 2, and shared ones, by account and pattern."""
        self._timers: list[tuple[int, int]] = []
        self._filters: dict[int, list[tuple[Account, bytes]]] = {}

    # what the world calls

    def apply(self, record: Record) -> None:
        change = unpack(record.value or b"")
        assert isinstance(change, tuple)
        self.state.change(change)

    def start(self, world: World) -> None:
        self.world = world
        self.commit = 0
        for session in list(self.state.sessions.values()):
            if not session.left_ms:
                self._leave(session, True, session.expiry_s)
            else:
                self._time(session)
        for session in self.state.sessions.values():
            for subscription in session.subscriptions.values():
                self._want(session, subscription)
        self.captured.start()
        self.system.start()

    def execute(self, request: object, token: int, session: object) -> Called | None:
        outer = self._enter()
        try:
            return self._execute(request, token, session)
        finally:
            self._exit(outer)

    def _enter(self) -> int:
        """Calls nest: an answer given may bring the next request at once."""
        outer, self.commit = self.commit if self._depth else 0, 0
        self._depth += 1
        return outer

    def _exit(self, outer: int) -> None:
        self._depth -= 1
        self.commit = max(self.commit, outer)

    def _execute(self, request: object, token: int, session: object) -> Called | None:
        answer: object = None
        if isinstance(request, requests.Connect):
            answer = self._connect(request, session)
        else:
            known = self._connections.get(id(session))
            if known is None or known.connection is not session:
                answer = None
            elif isinstance(request, requests.Pull):
                known.pull = token
                self.sending.wake(known)
                self.sending.all()
                return None
            elif isinstance(request, requests.Batch):
                answer = self.publishing.batch(known, request, session)
            elif isinstance(request, requests.Subscribe):
                answer = self._subscribe(known, request)
            elif isinstance(request, requests.Unsubscribe):
                answer = self._unsubscribe(known, request)
            elif isinstance(request, requests.Leave):
                self._disconnect(known)
                self._leave(known, request.will, known.expiry_s if request.expiry_s < 0 else request.expiry_s)
        called = Called(answer, self.commit)
        self.sending.all()
        return called

    def gone(self, session: object) -> None:
        known = self._connections.get(id(session))
        if known is not None and known.connection is session:
            outer = self._enter()
            self._disconnect(known)
            self._leave(known, True, known.expiry_s)
            self.sending.all()
            self._exit(outer)

    def answered(self, token: int, answer: object) -> None:
        then = self._asked.pop(token, None)
        if then is not None:
            then(answer)

    def tick(self, now_ns: int) -> None:
        outer = self._enter()
        now_ms = now_ns // 1_000_000
        while self._timers and self._timers[0][0] <= now_ms:
            at_ms, number = heapq.heappop(self._timers)
            session = self.state.sessions.get(number)
            if session is not None and session.timed_ms == at_ms:
                session.timed_ms = 0
            if session is not None and session.left_ms:
                if session.will_at_ms and session.will_at_ms <= now_ms:
                    self._publish_will(session)
                if self._ends_ms(session) <= now_ms:
                    self.system.expired += 1
                    self._end(session)
                else:
                    self._time(session)
        if self._timers:
            self.world.wake(self._timers[0][0] * 1_000_000)
        self.captured.go_on()
        self.system.tick(now_ns)
        self.sending.all()
        self._exit(outer)

    def dump(self) -> bytes:
        return pack(tuple(self.state.changes()))

    def load(self, data: bytes) -> None:
        self.state = State()
        changes = unpack(data)
        assert isinstance(changes, tuple)
        for change in changes:
            assert isinstance(change, tuple)
            self.state.change(change)

    # effects

    def record(self, change: Change) -> int:
        """Write a change down; it was, or will be, applied. The commit that it is part of."""
        self.commit = self.world.record(pack(change))
        return self.commit

    def waits_for(self, commit: int) -> None:
        """The answer to this request waits for this commit, too."""
        self.commit = max(self.commit, commit)

    def write(self, change: Change, recorded: bool = True) -> None:
        """Apply a change, and write it down if it is to survive."""
        if recorded:
            self.record(change)
        self.state.change(change)

    def record_message(self, message: Message, kept: tuple[Change, ...]) -> None:
        """Write down a message and who is owed it; it is queued already."""
        message.recorded = self.end_of_records()
        self.record((MESSAGE, message.fields(), kept))
        message.commit = self.commit

    def record_messages(self, owed: list[tuple[Message, tuple[Change, ...]]]) -> None:
        """The same for many at once."""
        if not owed:
            return
        recorded = self.end_of_records()
        self.record((MESSAGES, *[(message.fields(), kept) for message, kept in owed]))
        for message, _ in owed:
            message.recorded, message.commit = recorded, self.commit

    def ask(self, call: Callable[[int], None], then: Callable[[object], None]) -> None:
        """Make a call of the world; ``then`` gets its answer."""
        token = self._next_token
        self._next_token += 1
        self._asked[token] = then
        call(token)

    def own_tail(self) -> Tail | None:
        """Of the state stream."""
        found: list[object] = []
        stream = self.world.stream
        self.ask(lambda token: self.world.query("tail", stream, token), found.append)
        return found[0] if found and isinstance(found[0], Tail) else None

    def end_of_records(self) -> int:
        """The position of what is recorded next."""
        tail = self.own_tail()
        return int(tail.ordered) if tail is not None else 0

    def live(self, account: Account, group: Group) -> None:
        self.publishing.live(account, group)

    def note(self, event: str, detail: str) -> None:
        self.world.note(event, detail)

    def connected(self) -> int:
        return len(self._connections)

    def now_ms(self) -> int:
        return self.world.now_ns // 1_000_000

    # connections

    def _connect(self, request: requests.Connect, connection: object) -> requests.Connected | int:
        account = request.identity.account
        old = self.state.names.get((account, request.client_id))
        if old is not None and old.connection is not None:
            self._take_over(old, request.clean)
            old = self.state.names.get((account, request.client_id))
        if old is not None and (request.clean or not old.keeps):
            self._end(old)
            old = None
        if old is None and len(self.state.sessions) >= SESSIONS_MAX:
            self.note("mqtt_sessions_refused", "")
            return errors.QUOTA_EXCEEDED
        expiry_s = min(request.expiry_s, self.limits.session_expiry_max_s)
        session = old or Session(self.state.next_number, account, request.client_id)
        was_recorded = old is not None and old.on_record
        session.expiry_s = expiry_s
        session.will = request.will
        self.write(opened(session), session.recorded or was_recorded)
        on_record = session.recorded or was_recorded
        session = self.state.sessions[session.number]
        session.on_record = on_record
        session.connection = connection
        session.identity = request.identity
        session.judged = {}
        session.takes_frames = request.takes_frames
        session.level = request.level
        session.window = request.window
        session.packet_bytes_max = request.packet_bytes_max
        session.pull = 0
        session.resend = sorted(session.inflight.values(), key=lambda entry: -entry.sequence)
        self._connections[id(connection)] = session
        self.system.maximum = max(self.system.maximum, len(self._connections))
        for subscription in session.subscriptions.values():
            self.system.wanted(session.account, subscription.pattern)
        subscriptions = tuple((one.text, one.options, one.identifier) for one in session.subscriptions.values())
        return requests.Connected(old is not None, expiry_s, subscriptions)

    def _take_over(self, session: Session, clean: bool) -> None:
        """Another connection comes with this client identifier (MQTT 5.0 section 3.1.4)."""
        token, session.pull = session.pull, 0
        self._disconnect(session)
        if session.will is not None and session.will.delay_s and session.keeps and not clean:
            session.will = None  # opened again within its delay
        self._leave(session, True, session.expiry_s)
        if token:
            self.world.answer(token, requests.TakenOver())

    def _disconnect(self, session: Session) -> None:
        self._connections.pop(id(session.connection), None)
        session.connection = None
        session.pull = 0
        session.resend = []
        self.state.leave_lane(session)
        self.sending.pass_on(session)

    def _leave(self, session: Session, will: bool, expiry_s: int) -> None:
        """The connection is gone: its will is due, now or later, and the session begins to expire."""
        if not session.keeps:
            expiry_s = 0
        expiry_s = min(expiry_s, self.limits.session_expiry_max_s)
        now_ms = self.now_ms()
        due_ms = 0
        if will and session.will is not None:
            due_ms = now_ms + min(session.will.delay_s, expiry_s) * 1000
        self.write((LEFT, session.number, now_ms, expiry_s, due_ms), session.on_record)
        if due_ms and due_ms <= now_ms:
            self._publish_will(session)
        if expiry_s == 0 and not session.will_at_ms:
            self._end(session)
        else:
            self._time(session)

    def _ends_ms(self, session: Session) -> int:
        return session.left_ms + session.expiry_s * 1000

    def _time(self, session: Session) -> None:
        at_ms = self._ends_ms(session)
        if session.will_at_ms:
            at_ms = min(at_ms, session.will_at_ms)
        if 0 < session.timed_ms <= at_ms:
            return  # it will be looked at before
        session.timed_ms = at_ms
        heapq.heappush(self._timers, (at_ms, session.number))
        self.world.wake(at_ms * 1_000_000)

    def _end(self, session: Session) -> None:
        if session.will is not None and session.left_ms and session.will_at_ms:
            self._publish_will(session)
        for subscription in list(session.subscriptions.values()):
            self._unwant(session, subscription)
        self.write((END, session.number), session.on_record)
        self.sending.forget(session)

    def _publish_will(self, session: Session) -> None:
        will: WillMessage | None = session.will
        if will is not None:
            expires_ms = self.now_ms() + will.expiry_s * 1000 if will.expiry_s else 0
            address = mapping.address_of(will.topic)
            item = requests.Incoming(
                address, will.topic, will.payload, will.qos, will.retain, 0, will.properties, expires_ms
            )
            self.publishing.publish(session, [item], session.connection)
        self.write((WILLED, session.number), session.on_record)

    # subscriptions

    def _subscribe(self, session: Session, request: requests.Subscribe) -> requests.SubscribeCodes:
        codes = []
        for text, options in request.filters:
            known = text in session.subscriptions
            if not known and len(session.subscriptions) >= SUBSCRIPTIONS_MAX:
                codes.append(errors.QUOTA_EXCEEDED)
                continue
            if known:
                self._unwant(session, session.subscriptions[text])
            if session.keeps:
                self.captured.cursors()
            self.write((SUBSCRIBED, session.number, text, options, request.identifier), session.keeps)
            subscription = session.subscriptions[text]
            if self._want(session, subscription):
                self.captured.cover(session.account, subscription.pattern)
            self.system.wanted(session.account, subscription.pattern)
            handling = options >> 4 & 3
            if not subscription.group and (handling == 0 or (handling == 1 and not known)):
                self._owe_retained(session, subscription)
            codes.append(options & 3)
        return requests.SubscribeCodes(tuple(codes))

    def _owe_retained(self, session: Session, subscription: Subscription) -> None:
        """Retained messages never count against the queue's limits: they are shared, and leave with back-pressure."""
        retained = self.state.retained.get(session.account)
        found = retained.match(subscription.pattern) if retained is not None else []
        found += self.system.retained(session.account, subscription.pattern)
        if found:
            found.reverse()
            session.retained.append((found, subscription.qos, identifiers_of([subscription])))
            self.sending.wake(session)

    def forget_retained(self, account: Account, topic: bytes) -> None:
        """A retained message expired."""
        self.write((RETAINED, account.encode(), mapping.address_of(topic), None))

    def _unsubscribe(self, session: Session, request: requests.Unsubscribe) -> requests.UnsubscribeCodes:
        codes = []
        for text in request.filters:
            subscription = session.subscriptions.get(text)
            codes.append(errors.SUCCESS if subscription is not None else errors.NO_SUBSCRIPTION_EXISTED)
            if subscription is not None:
                self._unwant(session, subscription)
                self.write((UNSUBSCRIBED, session.number, text), session.keeps)
        return requests.UnsubscribeCodes(tuple(codes))

    def _want(self, session: Session, subscription: Subscription) -> bool:
        """Hear of live messages where the executor must: see ``Wanted``. Whether the pattern is new."""
        if not (subscription.qos or subscription.group):
            return False
        key = (session.account, subscription.pattern.text)
        wanted = self.wanted.get(key)
        if wanted is None:
            wanted = self.wanted[key] = Wanted(self, session.account, subscription.pattern)
            wanted.handle = self.world.subscribe(session.account, subscription.pattern, wanted)
        wanted.count += 1
        return wanted.count == 1

    def _unwant(self, session: Session, subscription: Subscription) -> None:
        wanted = self.wanted.get((session.account, subscription.pattern.text))
        if wanted is None or not (subscription.qos or subscription.group):
            return
        wanted.count -= 1
        if wanted.count == 0:
            if wanted.handle is not None:
                wanted.handle.close()
            del self.wanted[session.account, subscription.pattern.text]
