"""The executor ``jetstream``: every consumer of every account, and the API under ``$JS.API.``.

Spoken: the JetStream API of nats-server 2.15 at level 5 as far as README.md lists it: streams with publish and dedupe,
pull consumers. One JetStream stream is one topic of one partition (executor ``topics``); sequence = position + 1. What a
client cannot ask for here is refused with JetStream's own error.

Rules of the machine:

* A consumer's state is a fold of events in ``_thalweg/jetstream`` (see jetstream_consumer.py). Events join this turn's
  commit. Deliveries do not wait for theirs: after a crash a message may be delivered again, never lost. Confirmed
  acknowledgements do wait.
* Records are read at DURABLE: nothing is delivered whose position could be taken back.
* Nothing here waits in place: a read or a call answers ``answered``, whether at once or later; long walks go on in the
  next turn (``defer``).
"""

from __future__ import annotations

import bisect
import heapq
import json
from collections.abc import Callable, Iterable
from typing import Any

from protocols.api import World
from protocols.nats import (
    jetstream_consumers,
    jetstream_messages,
    jetstream_pull,
    jetstream_push,
    jetstream_store,
    jetstream_streams,
)
from protocols.nats.delivery import NatsSink
from protocols.nats.jetstream_config import Config
from protocols.nats.jetstream_consumer import LETTERS, Consumer, ranges_of
from protocols.nats.jetstream_keep import Follower, followed
from protocols.nats.jetstream_store import StageRequest, Staging, StoreRequest
from protocols.nats.jetstream_wire import (
    AckRequest,
    ApiRequest,
    Reply,
    format_time,
    stream_name,
    write,
)
from protocols.nats.mapping import OWN, SHARED, SUBJECT, header_tuple, subject_address, subject_of_address
from protocols.nats.wire import valid_subject
from substrate.address import join
from substrate.api import (
    DEFAULT_ACCOUNT,
    REPLY,
    Account,
    Ack,
    Answer,
    Called,
    Group,
    Level,
    Pattern,
    Position,
    Record,
    Route,
    StreamError,
    StreamId,
    Tail,
    Topic,
)

NAME = "jetstream"
API = b"$JS.API."
UNLEVELLED = ("direct_get", "consumer_next")
"""Kinds of answers that are messages: the header that asks for an API level is not looked at (README.md)."""
LIMITS_NS = 1_000_000_000
"""How often ``max_age`` is applied, and streams are looked for that another protocol deleted."""
AGED_A_TURN = 100
SUBJECTS_KEPT = 4096


class StreamWatch:
    """Told when a stream advanced, while somebody waits for its messages."""

    def __init__(self, owner: JetStream, stream: StreamId) -> None:
        self._owner = owner
        self._handle = owner.world.watch(stream, Level.DURABLE, self)

    def advanced(self, stream: StreamId) -> None:
        self._owner.advanced(stream)

    def close(self) -> None:
        self._handle.close()


class JetStream:
    """See ``protocols.api.Executor``."""

    name = NAME
    version = 2

    def __init__(self) -> None:
        self.world: World
        self.consumers: dict[StreamId, dict[str, Consumer]] = {}
        self.last_ms: dict[StreamId, int] = {}
        """Of streams, when their last message was stored, also if that is gone."""
        self._followers: dict[StreamId, Follower] = {}
        self._configs: dict[StreamId, tuple[Topic, Config]] = {}
        self._counts: dict[StreamId, tuple[int, int, int]] = {}
        self.accounts: set[Account] = {DEFAULT_ACCOUNT}
        self.api_total = 0
        self.api_errors = 0
        self._watches: dict[StreamId, StreamWatch] = {}
        self._then: dict[int, Callable[[Answer], None]] = {}
        self._next_token = 1
        self._deferred: list[Callable[[], None]] = []
        self._timers: list[tuple[int, int, Consumer]] = []
        self._timer_count = 0
        self._aged: list[Topic] = []
        self._staging = Staging()
        self._unbound: dict[bytes, Consumer] = {}
        self._unbound_ns = 0
        self._unbound_generation = -1
        self._limits_ns = 0
        self._subjects: dict[bytes, bytes] = {}

    # the fold

    def apply(self, record: Record) -> None:
        """See ``protocols.api.Executor``."""
        self._fold(record.key or b"", json.loads(record.value or b"null"))

    def _fold(self, key: bytes, event: list[Any]) -> None:
        text, _, name = key.decode().partition("/")
        stream = StreamId(int(text))
        of_stream = self.consumers.setdefault(stream, {})
        if event[0] == "create":
            of_stream[name] = _created(event)
        elif event[0] == "delete":
            of_stream.pop(name, None)
        elif name in of_stream:
            of_stream[name].fold(event)
        if not of_stream:
            del self.consumers[stream]

    def decide(self, consumer: Consumer, event: list[Any]) -> int:
        """Record an event and fold it, as replay would. Returns the commit to wait for."""
        commit = self.world.record(json.dumps(event, separators=(",", ":")).encode(), consumer.key)
        self._fold(consumer.key, event)
        return commit

    def dump(self) -> bytes:
        """See ``protocols.api.Executor``."""
        states = [self.consumers[s][n].state() for s in sorted(self.consumers) for n in sorted(self.consumers[s])]
        return json.dumps(states, separators=(",", ":")).encode()

    def load(self, data: bytes) -> None:
        """See ``protocols.api.Executor``."""
        self.consumers = {}
        for state in json.loads(data):
            made = Consumer.restore(state)
            self.consumers.setdefault(made.stream_id, {})[made.name] = made

    # the world

    def start(self, world: World) -> None:
        """See ``protocols.api.Executor``."""
        self.world = world
        for of_stream in self.consumers.values():
            for consumer in of_stream.values():
                consumer.begin(world.now_ns)
                self.accounts.add(consumer.account)
                self.arm(consumer)
                if consumer.push is not None:
                    self.unbound(consumer)
        for account in self.accounts:
            for _, topic in self.topics_of(account):
                self.follow(topic)
        self.world.wake(world.now_ns + LIMITS_NS)

    def execute(self, request: object, token: int, session: object) -> Called | None:
        """See ``protocols.api.Executor``."""
        if isinstance(request, ApiRequest):
            self.accounts.add(request.account)
            self._api(request, token, session)
            return None
        if isinstance(request, AckRequest):
            self.accounts.add(request.account)
            answer, commit = jetstream_pull.acknowledge(self, request, session)
            return Called(answer, commit)
        if isinstance(request, StoreRequest):
            jetstream_store.store(self, request, token)
            return None
        if isinstance(request, StageRequest):
            return Called(self._staging.stage(request, self.world.now_ns))
        return Called(b"")

    def gone(self, session: object) -> None:
        """See ``protocols.api.Executor``."""
        for of_stream in self.consumers.values():
            for consumer in of_stream.values():
                if any(pull.session is session for pull in consumer.waiting):
                    kept = [pull for pull in consumer.waiting if pull.session is not session]
                    consumer.waiting.clear()
                    consumer.waiting.extend(kept)
                    self.arm(consumer)

    def answered(self, token: int, answer: Answer) -> None:
        """See ``protocols.api.Executor``."""
        then = self._then.pop(token, None)
        if then is not None:
            then(answer)

    def ask(self, then: Callable[[Answer], None]) -> int:
        """A token whose answer goes to ``then``."""
        token = self._next_token
        self._next_token += 1
        self._then[token] = then
        return token

    def read(
        self, stream: StreamId, start: int, bytes_max: int, pattern: Pattern, then: Callable[[Answer], None]
    ) -> None:
        """Records that match and are durable, from a position on."""
        self.world.read(stream, Position(start), bytes_max, Level.DURABLE, self.ask(then), pattern)

    @property
    def halted(self) -> bool:
        """Nothing can be recorded now: this executor is about to be made anew."""
        return self.world.broken

    def unreadable(self, consumer: Consumer, answer: Answer) -> None:
        """A stream's records could not be read: said, and tried again when something comes or falls due."""
        detail = answer.detail or answer.code.value if isinstance(answer, StreamError) else type(answer).__name__
        self.world.note("nats_unreadable_streams", f"{consumer.stream} > {consumer.name}: {detail}")

    def defer(self, act: Callable[[], None]) -> None:
        """Go on with this in a turn to come."""
        self._deferred.append(act)
        self.world.wake(self.world.now_ns + 1)

    def tick(self, now_ns: int) -> None:
        """See ``protocols.api.Executor``."""
        if self.halted:
            self.world.wake(now_ns + LIMITS_NS)
            return
        deferred, self._deferred = self._deferred, []
        for act in deferred:
            act()
        while self._timers and self._timers[0][0] <= now_ns:
            at, _, consumer = heapq.heappop(self._timers)
            if consumer.deleted or consumer.armed_ns != at:
                continue
            consumer.armed_ns = 0
            jetstream_pull.timed(self, consumer)
            self.arm(consumer)
        if self._unbound and now_ns >= self._unbound_ns:
            self._bind()
        for follower in list(self._followers.values()):
            if follower.due_ns and follower.due_ns <= now_ns:
                follower.expire(now_ns)
        if now_ns >= self._limits_ns:
            self._limits_ns = now_ns + LIMITS_NS
            self._forget_all_but(
                {s for account in self.accounts for t in self.world.topics(account) for s in t.streams}
            )
            self._aged = [
                t for account in self.accounts for _, t in self.topics_of(account) if self.config_of(t)["max_age"] > 0
            ]
            self._apply_ages()
            self.world.wake(self._limits_ns)
        if self._timers:
            self.world.wake(self._timers[0][0])

    def unbound(self, consumer: Consumer) -> None:
        """See when somebody subscribes to where this one delivers."""
        if not self._unbound:
            self._unbound_ns = self.world.now_ns + jetstream_push.POLL_NS
            self.world.wake(self._unbound_ns)
        if consumer.key not in self._unbound:
            self._unbound[consumer.key] = consumer
            self._unbound_generation = -1

    def _bind(self) -> None:
        if self.world.generation != self._unbound_generation:
            waiting, self._unbound = self._unbound, {}
            for consumer in waiting.values():
                if not consumer.deleted and consumer.push is not None:
                    jetstream_pull.serve(self, consumer)
            self._unbound_generation = self.world.generation
        if self._unbound:
            self._unbound_ns = self.world.now_ns + jetstream_push.POLL_NS
            self.world.wake(self._unbound_ns)

    def _apply_ages(self) -> None:
        """To some streams in this turn, to others in the next."""
        some, self._aged = self._aged[:AGED_A_TURN], self._aged[AGED_A_TURN:]
        for topic in some:
            jetstream_streams.apply_age(self, topic, lambda: None)
        if self._aged:
            self.defer(self._apply_ages)

    def _forget_all_but(self, there: set[StreamId]) -> None:
        """Streams that another protocol deleted take their consumers with them."""
        for stream in [stream for stream in self.consumers if stream not in there]:
            for consumer in list(self.consumers[stream].values()):
                self.drop(consumer)
        for stream in [stream for stream in {**self._configs, **self._followers} if stream not in there]:
            self.forget(stream)

    def arm(self, consumer: Consumer) -> None:
        """See that ``tick`` comes when something of this consumer is due."""
        at = consumer.deadline_ns(self.world.now_ns)
        if at and not consumer.deleted and (not consumer.armed_ns or at < consumer.armed_ns):
            consumer.armed_ns = at
            self._timer_count += 1
            heapq.heappush(self._timers, (at, self._timer_count, consumer))
            self.world.wake(at)

    # streams and consumers

    def topic_of(self, account: Account, name: str) -> Topic | None:
        """The topic that JetStream shows under this name."""
        topic = self.world.topic(account, join([name.encode()])) if name else None
        return topic if topic is not None and stream_name(topic) is not None else None

    def topics_of(self, account: Account) -> list[tuple[str, Topic]]:
        """Every stream of an account, by name."""
        named = ((stream_name(topic), topic) for topic in self.world.topics(account))
        return sorted((name, topic) for name, topic in named if name is not None)

    def consumers_of(self, topic: Topic) -> dict[str, Consumer]:
        return self.consumers.get(topic.streams[0], {})

    def find(self, account: Account, stream: str, name: str) -> Consumer | None:
        """A consumer of a stream that is there."""
        topic = self.topic_of(account, stream)
        return None if topic is None else self.consumers_of(topic).get(name)

    def config_of(self, topic: Topic) -> Config:
        """The stream's configuration (remembered; not to be changed)."""
        kept = self._configs.get(topic.streams[0])
        if kept is None or kept[0] is not topic:
            kept = self._configs[topic.streams[0]] = (topic, jetstream_streams.config_of(topic))
        return kept[1]

    def follow(self, topic: Topic) -> None:
        """Read a stream along if its configuration asks for it; it is new, or changed."""
        stream = topic.streams[0]
        config = self.config_of(topic)
        follower = self._followers.get(stream)
        if not followed(config):
            self._followers.pop(stream, None)
        elif follower is None:
            self._followers[stream] = follower = Follower(self, topic, config)
            self.watch(stream)
            follower.advanced()
        else:
            follower.anew(topic, config)

    def forget(self, stream: StreamId) -> None:
        """A stream is gone."""
        for kept in (self._followers, self._configs, self._counts, self.last_ms):
            kept.pop(stream, None)

    def expires(self, follower: Follower) -> None:
        """See that ``tick`` comes when a message of this stream expires."""
        if follower.due_ns:
            self.world.wake(follower.due_ns)

    def remove(self, topic: Topic, ranges: list[tuple[int, int]]) -> int:
        """Messages at these positions are gone. Returns the commit to wait for."""
        if not ranges:
            return 0
        self.touched(topic)
        return max(self.world.remove(topic.streams[0], ranges), self.released(topic, ranges))

    def released(self, topic: Topic, ranges: list[tuple[int, int]]) -> int:
        """Messages at these positions are gone: nobody owes them any more. Returns the commit to wait for."""
        commit = 0
        for consumer in list(self.consumers_of(topic).values()):
            gone = [sequence for sequence in consumer.pending if _within(ranges, sequence - 1)]
            if gone:
                commit = max(commit, self.decide(consumer, ["ack", self.world.now_ns, ranges_of(gone)]))
        return commit

    def touched(self, topic: Topic) -> None:
        """What is known of its messages is to be counted anew."""
        self._counts.pop(topic.streams[0], None)

    def query(self, kind: str, stream: StreamId, then: Callable[[Answer], None], **more: Any) -> None:
        """See ``protocols.api.Port.query``."""
        self.world.query(kind, stream, self.ask(then), **more)

    def record_at(self, topic: Topic, position: int, then: Callable[[Record | None], None]) -> None:
        """The durable record at a position, if it is there."""
        jetstream_messages.record_at(self, topic, position, then)

    def subjects_of(self, stream: StreamId, end: int, then: Callable[[int], None]) -> None:
        """How many subjects have messages below a position (remembered while nothing changes)."""

        def removed(count: Answer) -> None:
            number = count if isinstance(count, int) else 0
            kept = self._counts.get(stream)
            if kept is not None and kept[:2] == (end, number):
                then(kept[2])
                return

            def found(addresses: Answer) -> None:
                subjects = len(addresses) if isinstance(addresses, tuple) else 0
                self._counts[stream] = (end, number, subjects)
                then(subjects)

            self.query("addresses", stream, found, end=end)

        self.query("removed", stream, removed, end=end)

    def tail(self, stream: StreamId, then: Callable[[Tail | None], None]) -> None:
        """The stream's marks; None: it is gone."""
        self.world.query("tail", stream, self.ask(lambda answer: then(answer if isinstance(answer, Tail) else None)))

    def watch(self, stream: StreamId) -> None:
        """Be told when the stream advances."""
        if stream not in self._watches:
            self._watches[stream] = StreamWatch(self, stream)

    def advanced(self, stream: StreamId) -> None:
        """New messages are durable, or the stream is gone."""
        waits = False
        for consumer in list(self.consumers.get(stream, {}).values()):
            if consumer.waiting or (consumer.push is not None and consumer.push.bound):
                waits = True
                jetstream_pull.serve(self, consumer)
        follower = self._followers.get(stream)
        if follower is not None:
            follower.advanced()
        elif not waits:
            watch = self._watches.pop(stream, None)
            if watch is not None:
                watch.close()

    def drop(self, consumer: Consumer) -> int:
        """Delete a consumer; whoever waits is told."""
        for pull in consumer.waiting:
            jetstream_pull.status(self, consumer, pull, jetstream_pull.DELETED)
        if consumer.push is not None and consumer.push.bound:
            jetstream_pull.status(self, consumer, consumer.push, jetstream_pull.DELETED)
        consumer.waiting.clear()
        consumer.deleted = True
        names = {"stream": consumer.stream, "consumer": consumer.name, "action": "delete"}
        follower = self._followers.get(consumer.stream_id)
        if follower is not None:
            self.defer(follower.again)
        self.advise(consumer.account, f"CONSUMER.DELETED.{consumer.stream}.{consumer.name}", "consumer_action", names)
        return self.decide(consumer, ["delete"])

    # sending

    def sinks(self, account: Account, subject: bytes) -> tuple[Route | None, list[Any]]:
        """Who gets one message to this subject."""
        if not valid_subject(subject):
            return None, []
        route = self.world.resolve(account, subject_address(subject))
        return route, self.draw(route)

    def draw(self, route: Route) -> list[Any]:
        """Who gets the next message of this route."""
        found: list[Any] = [sink for sink in route.sinks if not getattr(sink, "closed", False)]
        for members in route.queues:
            open_members = [sink for sink in members if not getattr(sink, "closed", False)]
            if open_members:
                found.append(open_members[self.world.random() % len(open_members)])
        return found

    def send(
        self, route: Route, sinks: Iterable[Any], subject: bytes, reply: bytes, block: bytes, payload: bytes
    ) -> None:
        """One message to an inbox. ``subject`` is what it shows: of a delivery not the inbox's own."""
        head = reply + b" " if reply else b""
        for sink in sinks:
            if not isinstance(sink, NatsSink):
                headers = header_tuple(block) if block else ()
                kept = tuple((n, v) for n, v in headers if not n.startswith(OWN) or n in SHARED)
                extra = ((SUBJECT, subject), *(((REPLY, bytes(subject_address(reply))),) if reply else ()))
                sink.deliver(Group.of(route.address, payload, (*kept, *extra)))
            elif block and sink.headers:
                sink.send(
                    subject,
                    b"%b%d %d\r\n%b%b\r\n" % (head, len(block), len(block) + len(payload), block, payload),
                    True,
                )
            else:
                sink.send(subject, b"%b%d\r\n%b\r\n" % (head, len(payload), payload), False)

    def advise(self, account: Account, event: str, kind: str, fields: dict[str, Any]) -> None:
        """Tell who listens at ``$JS.EVENT.ADVISORY.<event>`` (also a stream that captures it)."""
        subject = f"$JS.EVENT.ADVISORY.{event}".encode()
        route = self.world.resolve(account, subject_address(subject))
        if route.stream or route.sinks or route.queues:
            drawn = self.world.random() << 64 | self.world.random()
            told = {
                "type": f"io.nats.jetstream.advisory.v1.{kind}",
                "id": "".join(LETTERS[(drawn >> 5 * index) % len(LETTERS)] for index in range(22)),
                "timestamp": format_time(self.world.now_ns), **fields,
            }  # fmt: skip
            self.world.publish(route, Group.of(route.address, write(told)), "", Ack.ORDERED, 0)

    def subject(self, address: bytes) -> bytes:
        """How NATS writes this address (remembered)."""
        found = self._subjects.get(address)
        if found is None:
            if len(self._subjects) >= SUBJECTS_KEPT:
                self._subjects.clear()
            found = self._subjects[address] = subject_of_address(address)
        return found

    # the API

    def _refused(self) -> None:
        self.api_errors += 1

    def _api(self, request: ApiRequest, token: int, session: object) -> None:
        names = request.subject[len(API) :].decode("utf-8", "replace").split(".")
        self.api_total += 1
        for family in (jetstream_streams.ROUTES, jetstream_consumers.ROUTES):
            for depth in (3, 2, 1):
                found = family.get(tuple(names[:depth])) if len(names) >= depth else None
                if found is not None:
                    handler, kind, least, most = found
                    rest = names[depth:]
                    reply = Reply(self.world, token, kind, self._refused)
                    if kind not in UNLEVELLED and jetstream_streams.required_level(request, reply):
                        return
                    if least <= len(rest) <= most:
                        handler(self, request, rest, reply, session)
                    else:
                        reply.silence()
                    return
        self.world.answer(token, b"")


def _within(ranges: list[tuple[int, int]], position: int) -> bool:
    """Whether one of these ascending ranges holds a position."""
    at = bisect.bisect_right(ranges, (position, 1 << 62)) - 1
    return at >= 0 and ranges[at][0] <= position <= ranges[at][1]


def _created(event: list[Any]) -> Consumer:
    _, account, stream_id, stream, name, config, now_ns, first, upto = event
    return Consumer(Account(account), StreamId(stream_id), stream, name, config, now_ns, first,
                    delivered_stream=first - 1, floor_stream=first - 1, upto=upto)  # fmt: skip
