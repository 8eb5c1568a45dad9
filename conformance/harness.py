"""A whole gateway in one thread: seeded chance, a clock that is moved by hand, connections of bytes in memory.

    harness = Harness(seed=7)
    client = harness.connect("nats")
    client.send(b"PING\\r\\n")           # runs the turn, and all that follows from it
    assert client.read().endswith(b"PONG\\r\\n")
    harness.advance(30_000)              # milliseconds; everything that falls due is done in order

The same seed and the same calls give the same bytes. With ``delayed=True`` every answer of the port comes later and in
another order between owners (but in order for one connection and executor): a session that relies on being answered
before a call returns fails there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import cast

from protocols.api import Executor, Port, Session, WireError
from protocols.hub import Hub
from protocols.identity import Identity, Right, Secret, Users, pattern
from protocols.local import LocalPort
from substrate.api import DEFAULT_ACCOUNT, Account, Durability
from substrate.checkpoints import Checkpoint
from substrate.engine import Engine
from substrate.memory import MemoryEngine

START_NS = 1_790_000_000_000_000_000
Factories = dict[str, Callable[[Port], Session]]


class Client:
    """The peer's end of a connection."""

    def __init__(self, harness: Harness, protocol: str) -> None:
        self._harness = harness
        self.protocol = protocol
        self.session = harness.session(protocol)
        self.outbox = self.session.outbox
        self.outbox.owner = self
        self.due_ns = 0
        self.closed = False
        """By the gateway, or by ``close``."""
        self.reads = True
        """False: the peer reads nothing, the outbox fills."""
        self.error: WireError | None = None
        self._unread = bytearray()
        self._received = bytearray()

    def send(self, data: bytes, run: bool = True) -> None:
        """Bytes from the peer. ``run=False`` leaves the turn open: other connections' bytes join it."""
        if self.closed:
            return
        self._harness.begin()
        self._unread += data
        self._take()
        self._harness.plan(self)
        if run:
            self._harness.run()

    def _take(self) -> None:
        if not self._unread or self.closed or self.session.closing:
            return
        used = 0
        try:
            used = self._harness.receive(self.session, self._unread)
            del self._unread[:used]
        except WireError as error:
            self.error = error
            self.session.closing = True
        if used or self.session.closing:  # half a frame waits for its rest: nothing to look at again
            self.outbox.mark()

    def received(self) -> int:
        """How many bytes ``read`` would give."""
        return len(self._received)

    def read(self) -> bytes:
        """What the gateway sent since the last call."""
        data = bytes(self._received)
        self._received.clear()
        return data

    def close(self) -> None:
        """The peer is gone."""
        if not self.closed:
            self._harness.begin()
            self._end()
            self._harness.run()

    def flush(self) -> None:
        if self.closed:
            return
        if self.reads:
            with self.outbox.peek() as view:
                self._received += view
                count = len(view)
            self.outbox.sent(count)
        if self.outbox.parked():
            self._harness.waits(self)
        if self._unread and not self.session.blocked and not self.session.closing:
            self._take()
        self._harness.plan(self)
        if self.session.closing and not self.outbox.ready() and not (self.outbox.parked() and self.error is None):
            self._end()

    def abort(self) -> None:
        if not self.closed:
            self._end()

    def _end(self) -> None:
        self.closed = True
        self.session.eof(self._harness.now_ns)
        self._harness.left(self.protocol, self)


class Harness(Hub):
    """``executors`` and ``factories`` default to all four protocols'."""

    def __init__(
        self,
        seed: int = 0,
        executors: Sequence[Callable[[], Executor]] | None = None,
        factories: Factories | None = None,
        engine: Engine | None = None,
        delayed: bool = False,
        durabilities: dict[str, Durability] | None = None,
        now_ns: int = START_NS,
        load: Callable[[str], list[Checkpoint]] = lambda name: [],
    ) -> None:
        self.now_ns = now_ns
        self.chance = random.Random(seed)
        self.delayed = delayed
        self.logged: list[tuple[str, str]] = []
        self._later: list[list[Callable[[], None]]] = []
        self._in_run = False
        self._again = False
        super().__init__(
            engine or MemoryEngine(),
            MemoryEngine(),
            default_executors() if executors is None else executors,
            default_factories() if factories is None else factories,
            durabilities,
            wrap=(lambda local: cast(Port, DelayedPort(local, self))) if delayed else None,
            load=load,
        )
        self.sequencer.open(self.now_ns)
        self.run()

    def connect(self, protocol: str, peer: tuple[str, int] = ("127.0.0.1", 40000)) -> Client:
        """A new connection; what the server says first is there to ``read``."""
        client = Client(self, protocol)
        self.joined(protocol, client)
        self.begin()
        client.session.opened(peer, self.now_ns)
        client.outbox.mark()
        self.run()
        return client

    def receive(self, session: Session, data: bytes | bytearray) -> int:
        """Lend the session a buffer, and spoil it afterwards: whoever kept a part of it is found out."""
        buffer = bytearray(data)
        try:
            return session.receive(memoryview(buffer), 0, len(buffer), self.now_ns)
        finally:
            buffer[:] = b"\xee" * len(buffer)

    def begin(self) -> None:
        self.now_ns += 1_000  # no two turns at the same time
        self.sequencer.begin(self.now_ns)

    def run(self) -> None:
        """End the turn, and go on until nobody has more to say."""
        if self._in_run:
            return
        self._in_run = True
        try:
            for _ in range(100_000):
                self._again = False
                self.flush()
                if self._later:
                    queue = self.chance.choice(self._later)
                    self.begin()
                    queue.pop(0)()
                    self._later = [queue for queue in self._later if queue]
                elif not self.dirty and not self._again and not self._poll() and not self._tick_due():
                    return
            raise AssertionError("the gateway does not come to rest")
        finally:
            self._in_run = False

    def _poll(self) -> bool:
        """For engines whose work is finished by somebody else (the simulated disk): do a step of it."""
        step = getattr(self.sequencer.layer.engine, "step", None)
        return bool(step is not None and step())

    def _tick_due(self) -> bool:
        """What is due by now is done in the same go."""
        at = self.next_ns()
        if not at or at > self.now_ns:
            return False
        self.tick(self.now_ns)
        return True

    def later(self, queue: list[Callable[[], None]], act: Callable[[], None]) -> None:
        queue.append(act)
        if all(queue is not known for known in self._later):
            self._later.append(queue)

    def advance(self, milliseconds: float) -> None:
        """Let time pass; what falls due is done at its time, in order."""
        until = self.now_ns + int(milliseconds * 1_000_000)
        while True:
            at = self.next_ns()
            if not at or at > until:
                break
            self.now_ns = max(self.now_ns, at)
            self.tick(self.now_ns)
            self.run()
        self.now_ns = until
        self.begin()
        self.run()

    def stop(self) -> None:
        """As SIGTERM does: every session says goodbye."""
        for connections in list(self.connections.values()):
            for connection in list(connections):
                connection.session.stop(self.now_ns)
                connection.outbox.mark()
        self.run()
        self.sequencer.close()

    def random(self) -> int:
        return self.chance.getrandbits(63)

    def touched(self) -> None:
        """``run`` ends one turn more: what was said while the last one's output was sent belongs to it."""
        self._again = True

    def log(self, event: str, detail: str) -> None:
        self.logged.append((event, detail))


class DelayedPort:
    """A port whose every answer comes later: in order for one (connection, owner), in any order between them."""

    def __init__(self, local: LocalPort, harness: Harness) -> None:
        self._local = local
        self._harness = harness
        self._queues: dict[str, list[Callable[[], None]]] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._local, name)

    def _later(self, owner: str, act: Callable[[], None]) -> None:
        self._harness.later(self._queues.setdefault(owner, []), act)

    def publish(self, route, group, served, ack, token, when=None):  # type: ignore[no-untyped-def]
        owned = group.own() if group._records is None else group
        self._later("append", lambda: self._local.publish(route, owned, served, ack, token, when))

    def append(self, stream, batch, ack, token, when=None):  # type: ignore[no-untyped-def]
        owned = batch.own() if hasattr(batch, "own") else bytearray(batch)
        self._later("append", lambda: self._local.append(stream, owned, ack, token, when))

    def commit(self, appends, ack, token):  # type: ignore[no-untyped-def]
        owned = [(stream, group.own(), when) for stream, group, when in appends]
        self._later("append", lambda: self._local.commit(owned, ack, token))

    def read(self, stream, start, bytes_max, level, token, filter=None):  # type: ignore[no-untyped-def]
        self._later("read", lambda: self._local.read(stream, start, bytes_max, level, token, filter))

    def query(self, kind, stream, token, *asked, **more):  # type: ignore[no-untyped-def]
        self._later("read", lambda: self._local.query(kind, stream, token, *asked, **more))

    def call(self, executor, request, token):  # type: ignore[no-untyped-def]
        own = getattr(request, "own", None)
        owned = own() if own is not None else request
        self._later(executor, lambda: self._local.call(executor, owned, token))


def default_executors() -> list[Callable[[], Executor]]:
    """All four protocols' executors."""
    from protocols.kafka.groups import Groups
    from protocols.mqtt.sessions import Sessions
    from protocols.nats.jetstream import JetStream
    from protocols.resp.keyspace import Keyspace
    from protocols.resp.session import Settings as RespSettings

    return [JetStream, Sessions, Groups, lambda: Keyspace(RespSettings())]


def default_factories() -> Factories:
    """All four protocols' sessions with default settings."""
    from protocols.kafka.session import KafkaSession
    from protocols.kafka.session import Settings as KafkaSettings
    from protocols.mqtt.session import MqttSession
    from protocols.mqtt.session import Settings as MqttSettings
    from protocols.nats.session import NatsSession
    from protocols.nats.session import Settings as NatsSettings
    from protocols.resp.session import RespSession
    from protocols.resp.session import Settings as RespSettings

    return {
        "kafka": lambda port: KafkaSession(port, KafkaSettings()),
        "nats": lambda port: NatsSession(port, NatsSettings()),
        "mqtt": lambda port: MqttSession(port, MqttSettings()),
        "resp": lambda port: RespSession(port, RespSettings()),
    }


def user(name: str, password: str | None, account: str = DEFAULT_ACCOUNT, **rules: Sequence[str]) -> Users:
    """One user as a user file would give it: ``read=["orders/#"]``, ``deny_write=["orders/x"]``; no rule at all: everything.

    Users of several are ``users(user(...), user(...))``.
    """
    allow = {right: [*map(pattern, rules.get(right.value, ()))] for right in Right}
    deny = {right: [*map(pattern, rules.get(f"deny_{right.value}", ()))] for right in Right}
    identity = Identity(name.encode(), Account(account), allow, deny, all=not rules)
    secret = None if password is None else Secret.of(password.encode(), b"salt", iterations=1)
    return Users({name.encode(): (identity, secret)}, bytes(32))


def users(*several: Users) -> Users:
    return Users({name: entry for one in several for name, entry in one.members.items()}, bytes(32))
