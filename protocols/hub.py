"""One process's connections around its sequencer, without a socket: turns, barriers, deadlines.

The driver (real sockets) and the simulator (bytes in memory) are both hubs: they differ in how a connection sends, what
time it is, and when a turn ends.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container, Sequence
from typing import Protocol

from protocols.api import Executor, Port, Session
from protocols.identity import Users
from protocols.local import Host, LocalPort, Sequencer
from protocols.outbox import Outbox
from substrate.api import Commit, Durability, Shard
from substrate.checkpoints import Checkpoint
from substrate.engine import Engine


class Connection(Protocol):
    """What a hub does to a connection. ``outbox.owner`` is the connection."""

    session: Session
    outbox: Outbox
    closed: bool
    due_ns: int
    """The deadline that the hub's heap holds for it; 0: none."""

    def flush(self) -> None:
        """Send what may be sent; close if the session is closing and nothing is left; resume if it is unblocked."""
        ...

    def abort(self) -> None:
        """Close without another byte."""
        ...


class Hub(Host):
    """``factories``: protocol -> session factory. ``wrap`` puts another port before the sessions (tests delay answers)."""

    def __init__(
        self,
        engine: Engine,
        memory: Engine,
        executors: Sequence[Callable[[], Executor]],
        factories: dict[str, Callable[[Port], Session]],
        durabilities: dict[str, Durability] | None = None,
        wrap: Callable[[LocalPort], Port] | None = None,
        load: Callable[[str], list[Checkpoint]] = lambda name: [],
        volatile: bool = False,
        users: Users | None = None,
        sequencer: Sequencer | None = None,
    ) -> None:
        """``sequencer``: one made before, also that of another process (``protocols.remote``); else one over ``engine``."""
        self.sequencer = sequencer or Sequencer(engine, memory, executors, self, durabilities, load, volatile)
        self.factories = factories
        self.users = users
        """None: whoever connects may do everything. May be replaced while serving; sessions keep who they were."""
        self.dirty: list[Outbox] = []
        self.pressure: list[Outbox] = []
        """Outboxes that the ``receive`` under way delivered to though much is unsent."""
        self.connections: dict[str, set[Connection]] = {name: set() for name in factories}
        self.counters: dict[str, int] = {}
        self._ports: dict[int, LocalPort] = {}
        self._wrap = wrap
        self._waiting: dict[int, Connection] = {}
        self._durable: dict[Shard, Commit] = {}
        self._deadlines: list[tuple[int, int, Connection]] = []
        self._deadline_count = 0
        self._ending = False
        self._large: dict[int, Outbox] = {}
        self.held: dict[int, int] = {}
        """Outboxes (by id) of which nothing leaves yet, and for how many reasons: what their connection relies on is not
        known everywhere."""

    # connections

    def session(self, protocol: str, factory: Callable[[Port], Session] | None = None) -> Session:
        """A new session with a port of its own; its outbox reports to this hub. ``factory``: another than its protocol's."""
        local = self.sequencer.port(lambda: self.users)
        session = (factory or self.factories[protocol])(self._wrap(local) if self._wrap is not None else local)
        local.session = session
        self._ports[id(session)] = local
        session.outbox.dirty = self.dirty
        session.outbox.pressure = self.pressure
        return session

    def joined(self, protocol: str, connection: Connection) -> None:
        self.connections[protocol].add(connection)
        self.count(f"{protocol}_connections_total")

    def left(self, protocol: str, connection: Connection) -> None:
        """The connection is closed; its session was told by ``eof``."""
        self.connections[protocol].discard(connection)
        self._waiting.pop(id(connection), None)
        self._ports.pop(id(connection.session), None)
        connection.due_ns = 0
        self.held.pop(id(connection.outbox), None)
        connection.outbox.clear()
        self.sequencer.gone(connection.session)

    def change_users(self, users: Users, changed: Container[bytes], now_ns: int) -> int:
        """Other users from here on. Who is one of ``changed`` is cut off, told so where the protocol has words for it
        (``session.revoked``). The number of connections."""
        self.users = users
        count = 0
        for members in self.connections.values():
            for connection in list(members):
                port = self._ports.get(id(connection.session))
                if port is None or port.identity is None or port.identity.name not in changed or connection.closed:
                    continue
                count += 1
                revoked = getattr(connection.session, "revoked", None)
                if revoked is not None:
                    self.call(connection.session, revoked, now_ns)
                    connection.outbox.mark()
                else:
                    connection.abort()
        return count

    def plan(self, connection: Connection) -> None:
        """The session's deadline may have changed."""
        at = connection.session.deadline_ns
        if at and (not connection.due_ns or at < connection.due_ns):
            connection.due_ns = at
            self._deadline_count += 1
            heapq.heappush(self._deadlines, (at, self._deadline_count, connection))

    # turns

    def flush(self) -> None:
        """The end of a turn: commit, then send what may leave."""
        self._ending = True
        self.sequencer.end()
        self._ending = False
        while self.pressure:
            self.pressure.pop().pressed = False
        self.send()

    def send(self) -> None:
        """Have every dirty connection send, until none is."""
        while self.dirty:
            dirty = self.dirty[:]
            del self.dirty[:]
            for outbox in dirty:
                connection = outbox.owner
                if connection is not None and outbox.parked():
                    self.waits(connection)
                outbox.marked = False
                if self.held and id(outbox) in self.held:
                    continue
                if connection is None:
                    continue
                connection.flush()
                if outbox.large():
                    self.grew(outbox)

    def grew(self, outbox: Outbox) -> None:
        """Its buffer is large: give it back when it is not needed any more."""
        self._large[id(outbox)] = outbox

    def hold(self, session: Session) -> None:
        """Nothing leaves for its peer until ``release`` was called as often."""
        self.held[id(session.outbox)] = self.held.get(id(session.outbox), 0) + 1

    def release(self, session: Session) -> None:
        reasons = self.held.pop(id(session.outbox), 0) - 1
        if reasons > 0:
            self.held[id(session.outbox)] = reasons
        elif reasons == 0:
            session.outbox.mark()
            self.touched()

    def shrink(self) -> None:
        """Give back the buffers that are not needed any more; called now and then."""
        for key, outbox in list(self._large.items()):
            if not outbox.shrink():
                del self._large[key]

    def waits(self, connection: Connection) -> None:
        """Its outbox holds answers that are not ready; those that are by now, are released."""
        for shard, commit in self._durable.items():
            connection.outbox.durable(shard, commit)
        if connection.outbox.parked():
            self._waiting[id(connection)] = connection

    def next_ns(self) -> int:
        """When ``tick`` is due next; 0: never."""
        mine = self._deadlines[0][0] if self._deadlines else 0
        theirs = self.sequencer.deadline_ns
        return min(mine, theirs) if mine and theirs else mine or theirs

    def tick(self, now_ns: int) -> None:
        """Do what is due. The host ends the turn afterwards."""
        self.sequencer.begin(now_ns)
        due: list[Connection] = []  # taken out first: a deadline that does not move must not hold the loop
        while self._deadlines and self._deadlines[0][0] <= now_ns:
            at, _, connection = heapq.heappop(self._deadlines)
            if connection.due_ns == at:
                connection.due_ns = 0
                due.append(connection)
        for connection in due:
            if connection.closed:
                continue
            if connection.session.deadline_ns and connection.session.deadline_ns <= now_ns:
                self.call(connection.session, connection.session.tick, now_ns)
                connection.outbox.mark()
            if not connection.closed:
                self.plan(connection)
        if self.sequencer.deadline_ns and self.sequencer.deadline_ns <= now_ns:
            self.sequencer.tick(now_ns)

    # the sequencer's host

    def durable(self, shard: Shard, commit: Commit) -> None:
        self._durable[shard] = commit
        for key, connection in list(self._waiting.items()):
            connection.outbox.durable(shard, commit)
            if not connection.outbox.parked():
                self._waiting.pop(key, None)

    def failed(self, shard: Shard, above: Commit) -> None:
        lost = [connection for connection in self._waiting.values() if connection.outbox.failed(shard, above)]
        if self._ending:  # the write itself failed: nothing that this turn answered may leave
            lost += [outbox.owner for outbox in self.dirty if outbox.owner is not None]
        for connection in lost:
            connection.abort()

    def count(self, event: str, more: int = 1) -> None:
        self.counters[event] = self.counters.get(event, 0) + more

    def note(self, event: str, detail: str) -> None:
        self.count(event)
        if detail:
            self.log(event, detail)

    def log(self, event: str, detail: str) -> None:
        """The host writes it where people look."""
