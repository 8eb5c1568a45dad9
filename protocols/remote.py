"""A gateway's process: sessions here, the sequencer at the other end of a link. Sans-IO.

``FarSequencer`` stands where ``protocols.local.Sequencer`` stands in the sequencer's own process, ``RemotePort`` where
``LocalPort`` does. What a session may ask at once it is answered from copies that the sequencer keeps up to date: who
subscribes (its own process, and whether anybody elsewhere), and the topics. Everything else is a request.

* An uncaptured message goes to this process' subscribers at once and, if anybody elsewhere is interested, to the
  sequencer, which passes it on. A queue group with members elsewhere is decided there.
* A captured message reaches every subscriber, also those here, after the sequencer ordered it.
* What a connection says after it subscribed waits until every gateway knows of that: who is told ``+OK`` or SUBACK may
  rely on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from protocols.api import Handle, Session
from protocols.identity import Identified, Users
from protocols.local import deliver, spread
from substrate.api import (
    RESERVED,
    Account,
    Ack,
    Address,
    Appended,
    Called,
    Commit,
    Conditions,
    Epoch,
    ErrorCode,
    Failed,
    Group,
    Level,
    Pattern,
    Position,
    Route,
    Shard,
    Sink,
    StreamError,
    StreamId,
    Topic,
    Watcher,
)
from substrate.interest import Interest, Tokens
from substrate.remote import frames
from substrate.remote.client import RemoteStreams
from substrate.remote.codec import FrameError
from substrate.remote.objects import Objects

FAR = "far"
"""The protocol of sinks that stand for other processes."""
TICK_NS = 500_000_000


class FarHost(Protocol):
    """What the far sequencer needs of whoever drives it: ``protocols.local.Host``, and more."""

    def touched(self) -> None: ...
    def durable(self, shard: Shard, commit: Commit) -> None: ...
    def failed(self, shard: Shard, above: Commit) -> None: ...
    def random(self) -> int: ...
    def call(self, owner: object, act: Callable[..., None], *arguments: object) -> None: ...
    def note(self, event: str, detail: str) -> None: ...
    def refused(self, session: object) -> None: ...

    def hold(self, session: Session) -> None:
        """Nothing leaves for its peer until ``release`` was called as often."""
        ...

    def release(self, session: Session) -> None: ...

    def lost(self, reason: str) -> None:
        """The sequencer is gone: nobody's state is known any more; every connection is closed."""
        ...


class FarSink:
    """Somebody elsewhere wants this: whoever publishes sends it to the sequencer. ``protocol`` FAR: each message; else one
    of a queue group of that protocol."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.session: object = self

    def deliver(self, group: Group) -> None:
        """The port does it, once for a group."""


class FarSequencer:
    """One gateway's link, and its copies of what sessions ask at once."""

    def __init__(self, host: FarHost, key: bytes, nonce: bytes, objects: Objects) -> None:
        self.host = host
        self.objects = objects
        self.interest = Interest()
        self.topics: dict[tuple[Account, Address], Topic] = {}
        self.now_ns = 0
        self.deadline_ns = 0
        self.far = FarSink(FAR)
        self.sessions: dict[int, Any] = {}
        self.uncaptured = 0
        self.streams = RemoteStreams(self, key, nonce, 0, objects.digest)
        self._numbers: dict[int, int] = {}  # id of a session -> its number
        self._next_number = 1
        self._next_token = 1
        self._asked: dict[int, tuple[Any, int]] = {}
        self._watches: dict[int, tuple[StreamId, Watcher, Any]] = {}
        self._others: dict[int, Handle] = {}
        self.on_ready: Callable[[], object] = lambda: None
        self.on_refused: Callable[[str], object] = lambda why: None
        """The link stands, or does not."""
        self._announced: dict[int, Any] = {}  # numbers of interest that not everybody knows yet -> the session

    # the host's side, as of the sequencer in its own process

    def port(self, users: Callable[[], Users | None]) -> RemotePort:
        return RemotePort(self, users)

    def begin(self, now_ns: int) -> None:
        self.now_ns = max(self.now_ns, now_ns)
        self.streams.now_ns = self.now_ns
        if not self.deadline_ns:
            self.deadline_ns = self.now_ns + TICK_NS

    def end(self) -> None:
        """Nothing is committed here."""

    def tick(self, now_ns: int) -> None:
        self.begin(now_ns)
        self.deadline_ns = now_ns + TICK_NS
        self.streams.tick(now_ns)
        self.host.touched()

    def gone(self, session: object) -> None:
        """A connection ended: nothing is owed to it any more."""
        number = self._numbers.pop(id(session), 0)
        if number:
            del self.sessions[number]
            self.streams.say(frames.Gone(number))
        for token in [token for token, (who, _) in self._asked.items() if who is session]:
            del self._asked[token]
        for token in [token for token, watch in self._watches.items() if watch[2] is session]:
            self.unwatch(token)

    def close(self) -> None:
        """The link is the host's to close."""

    # who asks

    def number_of(self, session: Any) -> int:
        number = self._numbers.get(id(session), 0)
        if not number and session is not None:
            number = self._numbers[id(session)] = self._next_number
            self._next_number += 1
            self.sessions[number] = session
        return number

    def token(self, session: Any, token: int) -> int:
        """The link's token for one of a session's; 0 stays 0."""
        if not token:
            return 0
        mine = self._next_token
        self._next_token += 1
        self._asked[mine] = (session, token)
        return mine

    def watch(self, stream: StreamId, level: Level, watcher: Watcher, session: Any) -> int:
        token = self._next_token
        self._next_token += 1
        self._watches[token] = (stream, watcher, session)
        self.streams.watch(stream, level, token)
        return token

    def unwatch(self, token: int) -> None:
        if self._watches.pop(token, None) is not None:
            self.streams.unwatch(token)

    def subscribe(self, account: Account, pattern: Pattern, sink: Sink, group: bytes | None, session: Any) -> Handle:
        handle = self.interest.subscribe(account, pattern, sink, group)
        number = self._next_number
        self._next_number += 1
        self.streams.say(frames.Interested.of(number, account, sink.protocol, pattern, group))
        if session is not None:
            self._announced[number] = session
            self.host.hold(session)
        return Announced(self, handle, number)

    def unsubscribe(self, number: int) -> None:
        self._heard(number)
        self.streams.say(frames.Uninterested(number))

    def _heard(self, number: int) -> None:
        session = self._announced.pop(number, None)
        if session is not None:
            self.host.release(session)

    # what the sequencer says

    def welcomed(self, shard: Shard, epoch: Epoch, durable: Commit) -> None:
        self.host.durable(shard, durable)
        self.host.touched()
        self.on_ready()

    def answered(self, token: int, answer: object) -> None:
        """To the session that asked."""
        if token in self._watches:
            return  # the tail, when the watch began
        session, theirs = self._asked.pop(token, (None, 0))
        if session is None:
            return
        self.host.touched()
        if isinstance(answer, frames.CallAnswer):
            answer = self._called(answer)
        elif isinstance(answer, StreamError) and theirs < 0:
            answer = Failed(answer.detail)
        self.host.call(session, session.answered, abs(theirs), answer)

    def _called(self, answer: frames.CallAnswer) -> Called | Failed:
        if answer.failed:
            return Failed(answer.failed)
        return Called(self.objects.decode(answer.answer), answer.commit, self.streams.shard)

    def advanced(self, token: int) -> None:
        watch = self._watches.get(token)
        if watch is not None:
            self.host.touched()
            stream, watcher, session = watch
            self.host.call(session, watcher.advanced, stream)

    def durable(self, shard: Shard, commit: Commit) -> None:
        self.host.durable(shard, commit)
        self.host.touched()

    def failed(self, shard: Shard, above: Commit) -> None:
        self.host.failed(shard, above)
        self.host.touched()

    def said(self, frame: Any) -> None:
        """See ``substrate.remote.client.Owner``."""
        self.host.touched()
        if isinstance(frame, frames.Data):
            self._deliver(frame)
        elif isinstance(frame, frames.Heard):
            self._heard(frame.number)
        elif isinstance(frame, frames.Interested):
            sink = self.far if frame.group is None else FarSink(frame.protocol)
            self._others[frame.number] = self.interest.subscribe(frame.account, frame.pattern(), sink, frame.group)
        elif isinstance(frame, frames.Uninterested):
            other = self._others.pop(frame.number, None)
            if other is not None:
                other.close()
        elif isinstance(frame, frames.TopicIs):
            self.topics[frame.topic.account, frame.topic.name] = frame.topic
            self.interest.capture(frame.topic)
        elif isinstance(frame, frames.TopicGone):
            self.topics.pop((frame.account, frame.name), None)
            self.interest.release(frame.account, frame.name)
        else:
            raise FrameError(f"a sequencer does not send {type(frame).__name__}")

    def _deliver(self, frame: frames.Data) -> None:
        group = Group.of_records(frame.group.address, list(frame.records)) if frame.records else frame.group
        group.base, group.timestamp_ms = frame.base, frame.timestamp_ms
        group.source = self.sessions.get(frame.session)
        route = self.interest.resolve(frame.account, Address(group.address))
        if frame.queue is None:
            for sink in route.sinks:
                if sink is not self.far:
                    self.host.call(sink.session, sink.deliver, group)
            return
        members = self.interest.members(frame.account, Address(group.address), *frame.queue)
        here = [member for member in members if type(member) is not FarSink]
        if here:
            for sink, part in spread(group, here, self.host.random):
                self.host.call(sink.session, sink.deliver, part)

    def lost(self, reason: str) -> None:
        """Nothing is known any more."""
        self._asked.clear()
        self._watches.clear()
        self._announced.clear()
        self.on_refused(reason)
        self.host.lost(reason)

    # publishing

    def publish(
        self, route: Route, group: Group, served: str, ack: Ack, token: int, when: Conditions | None, session: Any
    ) -> None:
        """See ``protocols.api.Port.publish``."""
        if route.generation != self.interest.generation:
            route = self.resolve(route.account, route.address)
        number = self.number_of(session) if group.source is session else 0
        if route.stream:
            mine = self.token(session, token)
            self.streams.publish(route.account, group, ack, mine, when, number, True)
            return
        if route.address.split(b"/", 1)[0] == RESERVED:
            return self._at_once(session, token, StreamError(ErrorCode.DENIED, "reserved"))
        self.uncaptured += group.count
        group.timestamp_ms = self.now_ns // 1_000_000
        answer = Appended(StreamId(0), Position(-1), Position(-1), group.timestamp_ms, Epoch(0))
        deliver(self.host, route, group, served)
        if self.far in route.sinks:
            self.streams.publish(route.account, group, Ack.NONE, 0, None, number, self.decided_there(route))
        return self._at_once(session, token, answer)

    def _at_once(self, session: Any, token: int, answer: object) -> None:
        if token:
            session.answered(token, answer)

    def resolve(self, account: Account, address: Address) -> Route:
        """As ``Interest.resolve``: without sinks where a stream captures, with the one for elsewhere if anybody is there."""
        return self._seen(self.interest.resolve(account, address))

    def resolve_beneath(self, account: Account, prefix: Address, deep: bool) -> Route | None:
        found = self.interest.resolve_beneath(account, prefix, deep)
        return None if found is None else self._seen(found)

    def _seen(self, route: Route) -> Route:
        if route.stream:
            return Route(route.account, route.address, route.generation, route.stream, route.topic, (), ())
        sinks = tuple([sink for sink in route.sinks if sink is not self.far])
        queues = tuple([members for members in route.queues if not self._elsewhere(members)])
        if len(sinks) == len(route.sinks) and len(queues) == len(route.queues):
            return route
        return Route(
            route.account, route.address, route.generation, route.stream, route.topic, (*sinks, self.far), queues
        )

    def _elsewhere(self, members: tuple[Sink, ...]) -> bool:
        return any(type(member) is FarSink for member in members)

    def _far_queue(self, route: Route) -> bool:
        return any(map(self._elsewhere, route.queues))

    def decided_there(self, route: Route) -> bool:
        """Whether the sequencer chooses the members of queue groups too: there are some elsewhere."""
        return self._far_queue(self.interest.resolve(route.account, route.address))


class Announced:
    """A subscription here, and its announcement."""

    def __init__(self, far: FarSequencer, handle: Handle, number: int) -> None:
        self._far = far
        self._handle = handle
        self._number = number

    def close(self) -> None:
        if self._number:
            self._handle.close()
            self._far.unsubscribe(self._number)
            self._number = 0


class Watched:
    def __init__(self, far: FarSequencer, token: int) -> None:
        self._far = far
        self._token = token

    def close(self) -> None:
        self._far.unwatch(self._token)


class RemotePort(Identified):
    """A session's port in a gateway's process: what is asked is answered later."""

    def __init__(self, far: FarSequencer, users: Callable[[], Users | None]) -> None:
        super().__init__(users, lambda: far.host.refused(self.session))
        self._far = far
        self.session: Session | None = None

    @property
    def generation(self) -> int:
        return self._far.interest.generation

    def resolve(self, account: Account, address: Address) -> Route:
        return self._far.resolve(account, address)

    def resolve_beneath(self, account: Account, prefix: Address, deep: bool = False) -> Route | None:
        return self._far.resolve_beneath(account, prefix, deep)

    def topic(self, account: Account, name: Address) -> Topic | None:
        return self._far.topics.get((account, name))

    def topics(self, account: Account) -> Sequence[Topic]:
        return [topic for (owner, _), topic in self._far.topics.items() if owner == account]

    def own_topic(self, name: Address) -> Topic | None:
        return None

    def publish(
        self, route: Route, group: Group, served: str, ack: Ack, token: int, when: Conditions | None = None
    ) -> None:
        self._far.publish(route, group, served, ack, token, when, self.session)

    def append(
        self, stream: StreamId, batch: Group | bytes | bytearray | memoryview, ack: Ack, token: int,
        when: Conditions | None = None,
    ) -> None:  # fmt: skip
        far = self._far
        far.streams.append(stream, batch, ack, far.token(self.session, token), when, far.number_of(self.session))

    def commit(self, appends: Sequence[tuple[StreamId, Group, Conditions | None]], ack: Ack, token: int) -> None:
        far = self._far
        far.streams.commit(appends, ack, far.token(self.session, token), far.number_of(self.session))

    def read(
        self, stream: StreamId, start: Position, bytes_max: int, level: Level, token: int, filter: Pattern | None = None
    ) -> None:
        self._far.streams.read(stream, start, bytes_max, level, self._far.token(self.session, token), filter)

    def watch(self, stream: StreamId, level: Level, watcher: Watcher) -> Handle:
        return Watched(self._far, self._far.watch(stream, level, watcher, self.session))

    def subscribe(self, account: Account, pattern: Pattern, sink: Sink, group: bytes | None = None) -> Handle:
        return self._far.subscribe(account, pattern, sink, group, self.session)

    def query(
        self, kind: str, stream: StreamId, token: int, address: Address | None = None, time_ms: int = 0,
        pattern: Pattern | None = None, start: int = 0, end: int = -1, level: Level = Level.DURABLE,
    ) -> None:  # fmt: skip
        if pattern is not None and not isinstance(pattern, Tokens):
            raise TypeError(f"{pattern!r} cannot travel")
        far = self._far
        far.streams.query(kind, stream, far.token(self.session, token), address, time_ms, pattern, start, end, level)

    def call(self, executor: str, request: object, token: int) -> None:
        far = self._far
        mine = far.token(self.session, -token if token else 0)  # an error is told as of a call
        far.streams.call(executor, far.objects.encode(request), mine, far.number_of(self.session))

    def cancel(self, token: int) -> None:
        """Its answer is dropped by the session."""

    def random(self) -> int:
        found: int = self._far.host.random()
        return found

    def note(self, event: str, detail: str = "") -> None:
        self._far.host.note(event, detail)
