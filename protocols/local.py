"""The sequencer's process: the stream layer, the executors beside it, and the port that sessions in it are given.

Sans-IO: the host (driver or simulator) stamps the clock, seeds the chance, ends the turns and flushes the outboxes.

A turn, from the host's side: ``begin(now_ns)``; any number of session calls; then ``end()``, which commits until nobody
has more to say; then the dirty outboxes are sent. The engine reports durability between turns, which makes a turn of its
own.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, cast

from protocols.api import Executor, Handle, Session
from protocols.calls import Caller, Calls
from protocols.identity import Identified, Users
from substrate import batch as batches
from substrate import checkpoints
from substrate.api import (
    DEFAULT_ACCOUNT,
    RESERVED,
    Account,
    Ack,
    Address,
    Appended,
    Called,
    Commit,
    Conditions,
    Durability,
    Epoch,
    ErrorCode,
    Failed,
    Group,
    Level,
    Pattern,
    Position,
    Record,
    Rejected,
    Route,
    Shard,
    Sink,
    StreamConfig,
    StreamError,
    StreamId,
    StreamKey,
    Topic,
    Watcher,
)
from substrate.batch import BatchError
from substrate.control import CONTROL, Topics, stream_keys
from substrate.engine import Engine, EngineError
from substrate.interest import Interest
from substrate.layer import StreamLayer, acked
from substrate.marks import Marks

RETRY_NS = 1_000_000_000
RETAIN_NS = 5_000_000_000
EXPIRE_NS = 100_000_000
"""Between two rounds of retention where a limit of age is exact."""
NOT_CAPTURED = StreamId(0)


class Host:
    """What the sequencer needs of whoever drives it."""

    def touched(self) -> None:
        """Something happened in this turn: call ``end`` when it is over."""

    def durable(self, shard: Shard, commit: Commit) -> None:
        """Release barriers up to this commit."""

    def failed(self, shard: Shard, above: Commit) -> None:
        """Drop what waits for commits above this one, and close those connections."""

    def random(self) -> int:
        raise NotImplementedError

    def call(self, owner: object, act: Callable[..., None], *arguments: object) -> None:
        """Call something of ``owner`` (a session or an executor) in the middle of somebody else's work: the host sees to
        it that what it raises costs its owner and not them."""
        act(*arguments)

    def note(self, event: str, detail: str) -> None:
        """Count, and log where there is a detail."""

    def refused(self, session: object) -> None:
        """This session's peer gave wrong credentials, which cost a password hash to find out."""


class Deliverer(Protocol):
    """The part of a host that a delivery needs."""

    def random(self) -> int: ...
    def call(self, owner: object, act: Callable[..., None], *arguments: object) -> None: ...


class Sequencer:
    """One shard: order, state and captures. ``executors`` are factories: after a failure they are made anew."""

    def __init__(
        self,
        engine: Engine,
        memory: Engine,
        executors: Sequence[Callable[[], Executor]],
        host: Host,
        durabilities: dict[str, Durability] | None = None,
        load: Callable[[str], list[checkpoints.Checkpoint]] = lambda name: [],
        volatile: bool = False,
    ) -> None:
        self.host = host
        self._checkpoints = load
        self.volatile = volatile
        """Nothing outlives this process: executors' effects are not recorded."""
        self.interest = Interest()
        self.layer = StreamLayer(engine, memory, host.touched, host.durable, self._failed)
        self.now_ns = 0
        self.deadline_ns = 0
        """When ``tick`` is due; the host reads it after every turn."""
        self._factories = executors
        self._durabilities = durabilities or {}
        self._worlds: dict[str, LocalWorld] = {}
        self.calls = Calls(self._refusal)
        self._wakes: list[tuple[int, int, LocalWorld]] = []
        self._at_end: list[tuple[LocalWorld, Callable[[], None]]] = []
        self._wake_count = 0
        self._retry_ns = 0
        self._retain_ns = 0
        self._compact_ns = 0
        self._routes: dict[StreamId, Route] = {}
        self._replaying = False
        self._serving = False
        """Replay is over: what the engine refuses now ends the epoch, it does not stop the start."""
        self._deleted: list[StreamId] = []
        """Found deleted while the control stream was replayed."""
        self.on_topic: Callable[[Topic, bool], None] = lambda topic, there: None
        """Told of each topic as it is opened or changed, and when it is gone."""
        self.uncaptured = 0
        """Messages that no stream captured: the position of the one ephemeral stream."""
        self.topics = self._new_topics()

    # opening

    def open(self, now_ns: int) -> None:
        """Recover the engine, read the control stream, replay every executor.

        Raises:
            EngineError: the engine does not open.
        """
        self.now_ns = now_ns
        self.layer.open(now_ns // 1_000_000)
        self._replay_all()
        self._serving = True
        self.end()

    def _new_topics(self) -> Topics:
        return Topics(self._topic_set, self._topic_deleted)

    def _replay_all(self) -> None:
        control = StreamKey(DEFAULT_ACCOUNT, Address(RESERVED + b"/control"))
        self.layer.create(CONTROL, control, StreamConfig(record_bytes_max=16 * 1024 * 1024))
        self._worlds = {}
        self.calls.executors.clear()
        self._wakes = []
        self._deleted = []
        self.calls.executors.clear()
        world = LocalWorld(self, cast(Executor, self.topics), CONTROL)
        self._replaying = True
        try:
            self._replay(world)
        finally:
            self._replaying = False
        for topic in self.topics.topics.values():
            self._topic_set(topic)
        for stream in self._deleted:
            self.layer.forget(stream)
        marks = Marks()
        self._begin_executor(marks)
        self.layer.removal.attach(marks, recorded=not self.volatile)
        for factory in self._factories:
            self._begin_executor(factory())
        self.layer.removal.settle()

    def _begin_executor(self, executor: Executor) -> None:
        stream = self.topics.system_stream(executor.name)
        key = StreamKey(DEFAULT_ACCOUNT, Address(RESERVED + b"/" + executor.name.encode()))
        durability = self._durabilities.get(executor.name, Durability.SYNC)
        self.layer.create(stream, key, StreamConfig(durability, record_bytes_max=1 << 30))
        self._replay(LocalWorld(self, executor, stream))

    def _replay(self, world: LocalWorld) -> None:
        """Load the newest checkpoint that belongs to the stream, fold what is behind it, and let the executor begin: one
        that could not be rebuilt is not there for anybody.

        Raises:
            EngineError: CORRUPT: the stream's beginning is gone and no checkpoint stands in for it.
        """
        found = self.layer.streams[world.stream]
        executor = world.executor
        engine = self.layer.engine
        at = found.start
        fold = checkpoints.Fold()
        for checkpoint in self._checkpoints(executor.name):
            if checkpoint.version == executor.version and self.belongs(world.stream, checkpoint):
                executor.load(checkpoint.state)
                fold = checkpoints.Fold(checkpoint)
                at = checkpoint.position
                break
        else:
            if at > 0:
                raise EngineError(ErrorCode.CORRUPT, f"{executor.name}: begins at {at} and no checkpoint is valid")
        world.folded = at
        while at < found.durable:
            for batch in engine.read(world.stream, Position(at), 4 * 1024 * 1024):
                if batches.header(batch).base_offset >= found.durable:
                    break
                for record in fold.take(batch, found.key.name):
                    executor.apply(record)
                world.unfolded_bytes += len(batch)
            at = fold.position
        self._worlds[executor.name] = world
        self.calls.executors[executor.name] = executor.execute
        executor.start(world)

    def belongs(self, stream: StreamId, checkpoint: checkpoints.Checkpoint) -> bool:
        """Whether the checkpoint is of this very stream, and not of a future that was lost."""
        found = self.layer.streams[stream]
        if not found.start <= checkpoint.position <= found.durable:
            return False
        if checkpoint.last_base < 0:
            return checkpoints.belongs(checkpoint, None)
        try:
            header = next(
                iter(self.layer.engine.headers(stream, Position(max(checkpoint.last_base, found.start)))), None
            )
        except EngineError:
            return False
        return checkpoints.belongs(checkpoint, header)

    def worlds(self) -> list[LocalWorld]:
        """Every executor's, for whoever writes checkpoints."""
        return list(self._worlds.values())

    def _topic_set(self, topic: Topic) -> None:
        if self._replaying:
            return  # only what is left at the end is opened
        try:
            self._open_topic(topic)
        except EngineError as error:
            if not self._serving:
                raise
            self.layer.failed(self.layer.shard, self.layer.durable_commit, str(error))

    def _open_topic(self, topic: Topic) -> None:
        for stream, key in stream_keys(topic):
            if stream in self.layer.streams:
                if self.layer.streams[stream].config != topic.config:
                    self.layer.configure(stream, topic.config)
            else:
                self.layer.create(stream, key, topic.config)
        self.interest.capture(topic)
        self.on_topic(topic, True)

    def _topic_deleted(self, topic: Topic) -> None:
        if self._replaying:
            self._deleted += topic.streams
            return
        self.interest.release(topic.account, topic.name)
        for stream in topic.streams:
            self.layer.delete(stream)
            self._routes.pop(stream, None)
        self.on_topic(topic, False)

    # turns

    def begin(self, now_ns: int) -> None:
        """The clock of this turn; it never goes back."""
        self.calls.checked = False
        if now_ns > self.now_ns:
            self.now_ns = now_ns
            self.layer.now_ms = now_ns // 1_000_000

    def end(self) -> None:
        """Commit, and let those who watch go on, until all is said."""
        for _ in range(64):  # two sinks that feed one another must not hold the loop
            while self._at_end:
                acts, self._at_end = self._at_end, []
                for world, act in acts:
                    if self._worlds.get(world.executor.name) is world:
                        self.host.call(world.executor, act)
            self.layer.commit()
            advanced = self.layer.advanced()
            if not advanced:
                break
            for watch in advanced:
                if not watch.closed:
                    owner = getattr(watch.watcher, "session", watch.watcher)
                    self.host.call(owner, watch.watcher.advanced, watch.stream)
        else:
            self.host.touched()
        if self.layer.broken and not self._retry_ns:
            self._retry_ns = self.now_ns + RETRY_NS
        self._plan()

    def tick(self, now_ns: int) -> None:
        """What is due: executors' wakes, retention, an attempt to recover."""
        self.begin(now_ns)
        while self._wakes and self._wakes[0][0] <= now_ns:
            at_ns, _, world = heapq.heappop(self._wakes)
            world.wakes.discard(at_ns)
            if self._worlds.get(world.executor.name) is world:
                self.host.call(world.executor, world.executor.tick, now_ns)
        if self._retry_ns and now_ns >= self._retry_ns:
            self._retry_ns = 0
            self._recover()
        if now_ns >= self._retain_ns:
            self._retain_ns = now_ns + RETAIN_NS
            if not self.layer.broken:
                self.layer.removal.retain(now_ns // 1_000_000)
                if self.layer.removal.expires_ms >= 0:
                    soon = max(self.layer.removal.expires_ms * 1_000_000, now_ns + EXPIRE_NS)
                    self._retain_ns = min(self._retain_ns, soon)
                self._compact_ns = now_ns
        if self._compact_ns and now_ns >= self._compact_ns:
            wait_ms = self.layer.compact(now_ns // 1_000_000)
            self._compact_ns = now_ns + wait_ms * 1_000_000 if wait_ms >= 0 else 0
        self.host.touched()
        self._plan()

    def _plan(self) -> None:
        due = [at for at in (self._retry_ns, self._retain_ns, self._compact_ns) if at]
        if self._wakes:
            due.append(self._wakes[0][0])
        self.deadline_ns = min(due, default=0)

    def wake(self, at_ns: int, world: LocalWorld) -> None:
        """Each time asked for comes once: an executor that names its next time in every tick multiplies nothing."""
        if at_ns in world.wakes:
            return
        world.wakes.add(at_ns)
        self._wake_count += 1
        heapq.heappush(self._wakes, (at_ns, self._wake_count, world))
        if not self.deadline_ns or at_ns < self.deadline_ns:
            self.deadline_ns = at_ns
            self.host.touched()

    # failure

    def _failed(self, shard: Shard, above: Commit) -> None:
        self.calls.checked = False
        self.host.note("storage_failures", f"nothing above commit {above} is durable: {self.layer.broken}")
        self.host.failed(shard, above)
        self._retry_ns = self.now_ns + RETRY_NS // 10

    def _recover(self) -> None:
        """A new epoch over the durable prefix: every executor is made anew, and sees nothing of the former's."""
        if not self.layer.recover(self.now_ns // 1_000_000):
            self._retry_ns = self.now_ns + RETRY_NS
            return
        self.host.failed(self.layer.shard, Commit(self.layer.commit_next - 1))
        parked, self.calls.parked = self.calls.parked, {}
        for world in self._worlds.values():
            world.shut()
        for key in list(self.topics.topics):
            self.interest.release(*key)
        self.topics = self._new_topics()
        self._routes.clear()
        self._serving = False
        try:
            self._replay_all()
        except EngineError as error:
            self.layer.failed(self.layer.shard, Commit(self.layer.commit_next - 1), str(error))
        self._serving = True
        self.layer.recovered()
        for session, token, _ in parked.values():
            if not any(world.executor is session for world in self._worlds.values()):
                self.host.call(session, cast(Session, session).answered, token, Failed("the owner begins anew"))
        if not self.layer.broken:
            self.host.note("storage_recoveries", f"epoch {self.layer.epoch}")

    # what ports and worlds share

    def publish(
        self, route: Route, group: Group, served: str, when: Conditions | None
    ) -> Appended | Rejected | StreamError:
        if route.generation != self.interest.generation:
            route = self.interest.resolve(route.account, route.address)
        if route.stream:
            answer = self.layer.append_group(route.stream, group, when)
            if not isinstance(answer, Appended) or answer.duplicate:
                return answer
        else:
            if route.address.split(b"/", 1)[0] == RESERVED:
                return StreamError(ErrorCode.DENIED, "reserved")
            self.uncaptured += group.count
            group.timestamp_ms = self.layer.now_ms
            answer = Appended(NOT_CAPTURED, Position(-1), Position(-1), self.layer.now_ms, Epoch(0))
        self.deliver(route, group, served)
        return answer

    def deliver(self, route: Route, group: Group, served: str) -> None:
        deliver(self.host, route, group, served)

    def append(
        self, stream: StreamId, batch: Group | bytes | bytearray | memoryview, when: Conditions | None
    ) -> Appended | Rejected | StreamError:
        if isinstance(batch, Group):
            against = self.layer.against(stream, batch, when)
            return against if against is not None else self.append_judged(stream, batch, when)
        answer = self.layer.append_batch(stream, batch)
        if isinstance(answer, Appended) and not answer.duplicate:
            self._feed(stream, batch, answer)
        return answer

    def append_judged(self, stream: StreamId, group: Group, when: Conditions | None) -> Appended:
        """Append what the layer had nothing against, and give it to live sinks."""
        found = self.layer.streams[stream]
        answer = self.layer.append_judged(found, group, when)
        self.deliver(self.interest.resolve(found.key.account, Address(group.address)), group, "")
        return answer

    def _feed(self, stream: StreamId, batch: bytes | bytearray | memoryview, answer: Appended) -> None:
        """Give a client's batch to live sinks; it is decoded only if there are any."""
        key = self.layer.streams[stream].key
        route = self._routes.get(stream)
        if route is None or route.generation != self.interest.generation:
            route = self._routes[stream] = self.interest.resolve(key.account, key.name)
        beneath = self.interest.beneath(key.account, key.name)
        if not route.sinks and not route.queues and not beneath:
            return
        try:
            records: list[Record] = batches.decode(batch, key.name)
        except BatchError:
            self.host.note("undecodable_batches", "")
            return
        shift = answer.base - batches.header(batch).base_offset  # bytes given were copied, not patched
        for record in records:
            record.position += shift
        at = 0
        while at < len(records):
            end = at + 1
            while end < len(records) and records[end].address == records[at].address:
                end += 1
            where = route if records[at].address == key.name else self._beneath(key, records[at].address)
            if where is not None:
                self.deliver(where, Group.of_records(records[at].address, records[at:end]), "")
            at = end

    def _beneath(self, key: StreamKey, address: bytes) -> Route | None:
        """The route of an address that a producer named itself, if its topic captures it."""
        route = self.interest.resolve(key.account, Address(address))
        return route if route.topic is not None and route.topic.name == key.name else None

    def call(self, executor: str, request: object, session: object, token: int) -> Called | Failed | None:
        """Ask an executor in a session's name; None: parked."""
        return cast("Called | Failed | None", self.calls.call(executor, request, session, token))

    def _refusal(self) -> Failed | None:
        """Why no executor can decide anything in this turn."""
        if self.layer.broken:
            return Failed(f"nothing is durable now: {self.layer.broken}")
        return None if self.layer.room() else Failed("no space")

    def answer_parked(self, token: int, answer: object, commit: int) -> None:
        parked = self.calls.parked.pop(token, None)
        if parked is not None:
            self.host.touched()
            session = cast(Session, parked[0])
            self.host.call(session, session.answered, parked[1], Called(answer, commit, self.layer.shard))

    def at_end(self, world: LocalWorld, act: Callable[[], None]) -> None:
        """Call this once, before the turn is committed."""
        self._at_end.append((world, act))
        self.host.touched()

    def gone(self, session: object) -> None:
        """A connection ended: nothing is owed to it any more."""
        parked = self.calls.parked
        for token in [token for token, (who, _, _) in parked.items() if who is session]:
            del parked[token]
        for world in list(self._worlds.values()):
            world.executor.gone(session)

    def port(self, users: Callable[[], Users | None]) -> LocalPort:
        """For one more session."""
        return LocalPort(self, users)

    def set_durability(self, executor: str, durability: Durability) -> None:
        """Also after executors are made anew."""
        self._durabilities[executor] = durability

    def close(self) -> None:
        self.layer.close()


class LocalPort(Identified):
    """A session's port in the sequencer's process: every call is answered before it returns."""

    def __init__(self, sequencer: Sequencer, users: Callable[[], Users | None]) -> None:
        super().__init__(users, lambda: sequencer.host.refused(self.session))
        self._sequencer = sequencer
        self._caller = Caller(sequencer.calls)
        self.call: Callable[[str, object, int], None] = self._caller.call

    @property
    def session(self) -> Session | None:
        """Set by the host when the session is made."""
        return cast("Session | None", self._caller.session)

    @session.setter
    def session(self, session: Session | None) -> None:
        self._caller.session = session

    @property
    def generation(self) -> int:
        return self._sequencer.interest.generation

    def _tell(self, token: int, answer: object) -> None:
        if token and self.session is not None:
            self.session.answered(token, answer)

    def resolve(self, account: Account, address: Address) -> Route:
        return self._sequencer.interest.resolve(account, address)

    def resolve_beneath(self, account: Account, prefix: Address, deep: bool = False) -> Route | None:
        return self._sequencer.interest.resolve_beneath(account, prefix, deep)

    def topic(self, account: Account, name: Address) -> Topic | None:
        return self._sequencer.topics.topics.get((account, name))

    def topics(self, account: Account) -> Sequence[Topic]:
        return [topic for (owner, _), topic in self._sequencer.topics.topics.items() if owner == account]

    def own_topic(self, name: Address) -> Topic | None:
        first, _, rest = name.partition(b"/")
        stream = self._sequencer.topics.own_streams().get(rest.decode("latin-1")) if first == RESERVED else None
        if stream is None:
            return None
        return Topic(DEFAULT_ACCOUNT, name, bytes(16), (stream,), (), StreamConfig(Durability.SYNC))

    def publish(
        self, route: Route, group: Group, served: str, ack: Ack, token: int, when: Conditions | None = None
    ) -> None:
        self._relieve(group.value_bytes)
        self._tell(token, acked(self._sequencer.publish(route, group, served, when), ack))

    def append(
        self, stream: StreamId, batch: Group | bytes | bytearray | memoryview, ack: Ack, token: int,
        when: Conditions | None = None,
    ) -> None:  # fmt: skip
        self._relieve(batch.value_bytes if isinstance(batch, Group) else len(batch))
        self._tell(token, acked(self._sequencer.append(stream, batch, when), ack))

    def _relieve(self, size: int) -> None:
        self._sequencer.layer.relieve(size)

    def commit(self, appends: Sequence[tuple[StreamId, Group, Conditions | None]], ack: Ack, token: int) -> None:
        """All are judged before the first is appended; a turn is one frame, so together they are all or nothing."""
        layer = self._sequencer.layer
        self._relieve(sum(group.value_bytes for _, group, _ in appends))
        for stream, group, when in appends:
            against = layer.against(stream, group, when)
            if against is not None:
                return self._tell(token, against)
        answers = [acked(self._sequencer.append_judged(stream, group, when), ack) for stream, group, when in appends]
        return self._tell(token, tuple(answers))

    def read(
        self, stream: StreamId, start: Position, bytes_max: int, level: Level, token: int, filter: Pattern | None = None
    ) -> None:
        self._tell(token, self._sequencer.layer.read(stream, start, bytes_max, level, filter))

    def watch(self, stream: StreamId, level: Level, watcher: Watcher) -> Handle:
        return self._sequencer.layer.watch(stream, level, watcher)

    def subscribe(self, account: Account, pattern: Pattern, sink: Sink, group: bytes | None = None) -> Handle:
        return self._sequencer.interest.subscribe(account, pattern, sink, group)

    def query(
        self, kind: str, stream: StreamId, token: int, address: Address | None = None, time_ms: int = 0,
        pattern: Pattern | None = None, start: int = 0, end: int = -1, level: Level = Level.DURABLE,
    ) -> None:  # fmt: skip
        self._tell(token, self._sequencer.layer.query(kind, stream, address, time_ms, pattern, start, end, level))

    def cancel(self, token: int) -> None:
        """In this process only parked calls can be cancelled; their answers are dropped by the session."""

    def random(self) -> int:
        return self._sequencer.host.random()

    def note(self, event: str, detail: str = "") -> None:
        self._sequencer.host.note(event, detail)


def deliver(host: Deliverer, route: Route, group: Group, served: str) -> None:
    """To every live sink but those of the protocol that was ``served``."""
    for sink in route.sinks:
        if sink.protocol != served:
            host.call(sink.session, sink.deliver, group)
    for members in route.queues:
        if members[0].protocol != served:
            for sink, part in spread(group, members, host.random):
                host.call(sink.session, sink.deliver, part)


def spread(group: Group, members: Sequence[Sink], random: Callable[[], int]) -> list[tuple[Sink, Group]]:
    """Each message to one member of a queue group; those of one member stay together, in order."""
    if len(members) == 1 or group.count == 1:
        return [(members[random() % len(members)], group)]
    chosen: dict[int, list[int]] = {}
    for index in range(group.count):
        chosen.setdefault(random() % len(members), []).append(index)
    return [(members[number], group.part(indices)) for number, indices in chosen.items()]


class LocalWorld(LocalPort):
    """An executor's port, and what only executors may do."""

    def __init__(self, sequencer: Sequencer, executor: Executor, stream: StreamId) -> None:
        super().__init__(sequencer, lambda: None)
        self.executor = executor
        self.stream = stream
        self.folded = 0
        """The position of the checkpoint that the state began from."""
        self.unfolded_bytes = 0
        """Of the state stream, since then."""
        self.session = cast(Session, executor)  # its ``answered`` gets the tokens
        self._handles: set[_Held] = set()
        self.wakes: set[int] = set()
        """The times asked for that are to come."""

    def _relieve(self, size: int) -> None:
        """What an executor records and publishes in one step is one commit."""

    def watch(self, stream: StreamId, level: Level, watcher: Watcher) -> Handle:
        return _Held(self._handles, super().watch(stream, level, watcher))

    def subscribe(self, account: Account, pattern: Pattern, sink: Sink, group: bytes | None = None) -> Handle:
        return _Held(self._handles, super().subscribe(account, pattern, sink, group))

    def shut(self) -> None:
        """The executor is replaced: it sees and says nothing more."""
        for handle in list(self._handles):
            handle.close()
        self.session = None

    @property
    def now_ns(self) -> int:
        return self._sequencer.now_ns

    @property
    def broken(self) -> bool:
        return bool(self._sequencer.layer.broken)

    def record(self, value: bytes, key: bytes = b"", headers: tuple[tuple[bytes, bytes | None], ...] = ()) -> int:
        if self._sequencer.volatile:
            return 0
        return self._record(value, _span(len(value)), 1, key, [headers] if headers else None, len(value))

    def record_slices(self, buffer: object, spans: Sequence[int], count: int, key: bytes = b"") -> int:
        if self._sequencer.volatile:
            return 0
        size = spans[1] if count == 1 else sum(spans[1 : 2 * count : 2])
        return self._record(buffer, spans, count, key, None, size)

    def _record(
        self, buffer: object, spans: Sequence[int], count: int, key: bytes, headers: list[object] | None, size: int
    ) -> int:
        layer = self._sequencer.layer
        found = layer.streams[self.stream]
        self.unfolded_bytes += size + 40 * count
        layer.append_slices(found, buffer, spans, count, key, headers, size)
        return layer.commit_under_way(found)

    @property
    def volatile(self) -> bool:
        return self._sequencer.volatile

    def at_end(self, act: Callable[[], None]) -> None:
        self._sequencer.at_end(self, act)

    def remove(self, stream: StreamId, ranges: Sequence[tuple[int, int]]) -> int:
        return self._sequencer.layer.remove(stream, ranges)

    def trim(self, stream: StreamId, before: Position) -> object:
        """Answers the new Tail, or StreamError."""
        layer = self._sequencer.layer
        if stream not in layer.streams:
            return StreamError(ErrorCode.NO_STREAM)
        found = layer.streams[stream]
        if before > found.next:
            return StreamError(ErrorCode.OUT_OF_RANGE, f"{before} is beyond {found.next}")
        try:
            layer.trim(stream, before)
        except EngineError as error:
            return StreamError(error.code, error.detail)
        return layer.tail(stream)

    def ordered_commit(self, stream: StreamId) -> int:
        """What to wait for before all that the stream holds now is durable; 0: it is."""
        found = self._sequencer.layer.streams.get(stream)
        return self._sequencer.layer.commit_of(found, found.next - 1) if found is not None else 0

    def durability(self, durability: Durability) -> None:
        layer = self._sequencer.layer
        config = layer.streams[self.stream].config
        if config.durability is not durability:
            self._sequencer.set_durability(self.executor.name, durability)
            layer.configure(self.stream, replace(config, durability=durability))

    def wake(self, at_ns: int) -> None:
        self._sequencer.wake(at_ns, self)

    def answer(self, token: int, answer: object, commit: int = 0) -> None:
        self._sequencer.answer_parked(token, answer, commit)


class _Held:
    """A watch or subscription of an executor, closed with it."""

    def __init__(self, held: set[_Held], handle: Handle) -> None:
        self._held = held
        self._handle = handle
        held.add(self)

    def close(self) -> None:
        self._held.discard(self)
        self._handle.close()


def _span(length: int) -> Sequence[int]:
    return array("q", (0, length))
