"""The seam: what a session is, and all that it may do to the world.

Rules of the seam:

* A *session* is one connection, sans-IO. Bytes, ``now_ns`` (unix time) and randomness come in as arguments; effects are
  calls on its port and bytes in its outbox. No loop, socket, thread, clock, chance, environment or log.
* Every call on the port returns at once. Each token is answered exactly once by ``session.answered(token, answer)``:
  in the sequencer's process before the call returns, elsewhere later and in any order. Code that works only for one of
  the two is wrong (a test delays and reorders every answer).
* Answers leave in request order: ``slot = outbox.open()`` before the call, ``outbox.fill(slot, bytes, commit)`` in
  ``answered``. What must not leave before it is durable is filled with the answer's ``commit``.
* A group, and the ``data`` given to ``receive``, are borrowed: use them or copy them before returning.
* A session holds no reference to shared state. What connections share is an *executor*, reached by ``port.call``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from protocols.identity import Identity, Right, Secret
from protocols.outbox import Outbox
from substrate.api import (
    Account,
    Ack,
    Address,
    Answer,
    Called,
    Conditions,
    Durability,
    Group,
    Level,
    Pattern,
    Position,
    Record,
    Route,
    Sink,
    StreamId,
    StreamKey,
    Topic,
    Watcher,
)


class WireError(Exception):
    """The peer broke the grammar: its connection is closed (after the protocol's own goodbye, where it has one)."""


class Refused(Exception):
    """The peer asked for what we do not allow: answered with the protocol's code. ``code`` is the protocol's own."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Handle(Protocol):
    def close(self) -> None:
        """Nothing more comes once this returns. Closing twice is allowed."""
        ...


class Port(Protocol):
    """All that a session may do to the world."""

    @property
    def generation(self) -> int:
        """Rises whenever a route may have changed (interest, captures). Cached routes of another generation are stale.
        It cannot change within one ``receive`` but by the session's own calls."""
        ...

    def resolve(self, account: Account, address: Address) -> Route:
        """Where this address goes now. Costs a walk of the interest trie: keep a bounded cache in front."""
        ...

    def resolve_beneath(self, account: Account, prefix: Address, deep: bool = False) -> Route | None:
        """Where every address goes that is ``prefix`` and one token more (``deep``: one or more); None: it depends on which.

        For addresses that are used once (inboxes): one look-up serves all that share all tokens but the last. The
        route's own address is one of them; make another Route of it before publishing.
        """
        ...

    def topic(self, account: Account, name: Address) -> Topic | None:
        """The topic of this name."""
        ...

    def topics(self, account: Account) -> Sequence[Topic]: ...

    def own_topic(self, name: Address) -> Topic | None:
        """One of the server's own streams (``_thalweg/...``) as a topic of one partition, to read for a user whose rule names
        it; never among ``topics``, nor found by ``topic``. None: there is no such stream, or not in this process."""
        ...

    def publish(
        self, route: Route, group: Group, served: str, ack: Ack, token: int, when: Conditions | None = None
    ) -> None:
        """Append the group to its route's stream (if captured) and give it to live sinks, but those whose ``protocol``
        is ``served``: the caller's kernel wrote to them itself. Token 0: no answer wanted.

        Answers ``Appended`` (base -1 and commit 0 when captured by nothing), ``Rejected`` (sinks got nothing),
        ``StreamError`` or ``Unknown``.
        """
        ...

    def append(
        self,
        stream: StreamId,
        batch: Group | bytes | bytearray | memoryview,
        ack: Ack,
        token: int,
        when: Conditions | None = None,
    ) -> None:
        """Append a group, or one v2 record batch as a client sent it (checked here: length, CRC, count, producer state).

        The batch is taken over: a ``bytearray`` given is patched in place (base offset, epoch). Live sinks get it too.
        """
        ...

    def commit(self, appends: Sequence[tuple[StreamId, Group, Conditions | None]], ack: Ack, token: int) -> None:
        """Several streams of one shard, all or nothing. Answers a tuple of Appended, or the first Rejected / StreamError."""
        ...

    def read(
        self, stream: StreamId, start: Position, bytes_max: int, level: Level, token: int, filter: Pattern | None = None
    ) -> None:
        """Answers ``Batches`` (none if start is the tail: watch it) or ``StreamError(OUT_OF_RANGE)``."""
        ...

    def watch(self, stream: StreamId, level: Level, watcher: Watcher) -> Handle: ...

    def subscribe(self, account: Account, pattern: Pattern, sink: Sink, group: bytes | None = None) -> Handle:
        """Live messages whose address matches. Of the sinks of one ``group``, one gets each message."""
        ...

    def query(
        self, kind: str, stream: StreamId, token: int, address: Address | None = None, time_ms: int = 0,
        pattern: Pattern | None = None, start: int = 0, end: int = -1, level: Level = Level.DURABLE,
    ) -> None:  # fmt: skip
        """``tail`` -> Tail; ``epochs`` -> tuple of (Epoch, Position); ``stored`` -> int, bytes of its batches as they lie;
        ``producers`` -> tuple of (producer id, epoch, last sequence, last timestamp), of those that are remembered;
        ``find_time`` -> Found (first record at or after ``time_ms``), ``max_time`` -> Found: below what ``level`` shows;
        of positions in [``start``, ``end``) (-1: the ordered end: what is not durable yet counts), by ``address``, else by
        ``pattern``, else of all: ``last`` -> Found; ``next`` -> Found (the first); ``count`` -> int;
        ``addresses`` -> tuple of (Address, count, last position), by address;
        ``removed`` -> int, positions that ``World.remove`` or a limit took; ``bytes`` -> int, of all records, each as a
        JetStream file store counts it (``substrate.limits.record_bytes``; by the files' size where that would mean to read
        very many).
        What was removed is never counted nor found."""
        ...

    def call(self, executor: str, request: object, token: int) -> None:
        """Ask the one owner of a piece of state. ``request`` is plain data, or borrows the read buffer and has ``own()``.

        Answers what the executor answers, with ``commit`` to wait for where it changed something, or ``Failed``.
        """
        ...

    def cancel(self, token: int) -> None:
        """The answer is not wanted any more; it may still come."""
        ...

    def random(self) -> int:
        """64 random bits (seeded in the simulator)."""
        ...

    def identify(self, user: bytes | None, secret: bytes | None) -> Identity | None:
        """Who this is and what it may do; None: not let in. Without configured users everybody is ``EVERYBODY``, whatever
        is given. A session asks its identity's rights before it uses the port: the port asks nothing."""
        ...

    def secret_of(self, user: bytes) -> tuple[Identity, Secret] | None:
        """What a SASL SCRAM-SHA-256 exchange is judged by; None: no such user (or none has a secret)."""
        ...

    @property
    def users(self) -> bool:
        """Whether users are configured."""
        ...

    def note(self, event: str, detail: str = "") -> None:
        """Count ``event`` (a metric name, ``nats_slow_consumers``) and, with a detail, log it."""
        ...


class Session(Protocol):
    """One connection's state machine. The driver owns the socket and calls these, one at a time, never re-entrantly
    but for ``answered`` (from within a call on the port) and ``Sink.deliver`` (from within anybody's publish)."""

    outbox: Outbox
    deadline_ns: int
    """When ``tick`` is due next; 0: never. Read by the driver after every call; may move either way."""
    closing: bool
    """The driver closes the connection once the outbox is empty (or 1 s later)."""

    @property
    def blocked(self) -> bool:
        """``receive`` took less than it was given because of back-pressure; it is called again when ``unblock`` says so."""
        ...

    wants_bytes: int
    """A hint: the frame being received needs this many bytes in all; 0: unknown. The driver reads it into one buffer."""

    def opened(self, peer: tuple[str, int], now_ns: int) -> None:
        """The connection stands; a protocol whose server speaks first speaks now."""
        ...

    def receive(self, data: bytearray | memoryview, start: int, end: int, now_ns: int) -> int:
        """Take complete frames of ``data[start:end]``; return the offset up to which it took.

        A ``memoryview`` is borrowed; a ``bytearray`` is the session's to keep: a large frame in a buffer of its own.
        What it did not take is given again, with more behind it. May raise WireError: then the outbox is sent and the
        connection closed.
        """
        ...

    def answered(self, token: int, answer: Answer) -> None: ...

    def tick(self, now_ns: int) -> None: ...

    def eof(self, now_ns: int) -> None:
        """The peer closed, or the connection broke. Everything the session held is given back here."""
        ...

    def stop(self, now_ns: int) -> None:
        """The server goes down: say the protocol's goodbye and set ``closing``."""
        ...


class World(Protocol):
    """What an executor may do. It runs beside the stream layer, in the process that holds its shard's epoch.

    ``record`` puts one record of the executor's own state stream into this turn's commit and gives the commit's number;
    the others are the port's, with the executor in the session's place (its ``answered`` gets the tokens).
    """

    @property
    def stream(self) -> StreamId:
        """The executor's own state stream."""
        ...

    @property
    def broken(self) -> bool:
        """Whether nothing can be made durable now: what is recorded is dropped, and the executor is soon made anew."""
        ...

    @property
    def now_ns(self) -> int:
        """Time of this turn, stamped once; a state machine reads no other clock."""
        ...

    @property
    def generation(self) -> int: ...

    def record(self, value: bytes, key: bytes = b"", headers: tuple[tuple[bytes, bytes | None], ...] = ()) -> int: ...

    def record_slices(self, buffer: object, spans: Sequence[int], count: int, key: bytes = b"") -> int:
        """Many records at once: ``spans`` as in a Group."""
        ...

    @property
    def volatile(self) -> bool:
        """Whether what is recorded is kept nowhere: it need not be recorded."""
        ...

    def at_end(self, act: Callable[[], None]) -> None:
        """Call this once, when all of this turn is done and before it is committed: what it records is part of the turn."""
        ...

    def random(self) -> int: ...
    def resolve(self, account: Account, address: Address) -> Route: ...
    def topic(self, account: Account, name: Address) -> Topic | None: ...
    def topics(self, account: Account) -> Sequence[Topic]: ...
    def publish(
        self, route: Route, group: Group, served: str, ack: Ack, token: int, when: Conditions | None = None
    ) -> None: ...
    def append(
        self,
        stream: StreamId,
        batch: Group | bytes | bytearray | memoryview,
        ack: Ack,
        token: int,
        when: Conditions | None = None,
    ) -> None: ...
    def read(
        self, stream: StreamId, start: Position, bytes_max: int, level: Level, token: int, filter: Pattern | None = None
    ) -> None: ...
    def watch(self, stream: StreamId, level: Level, watcher: Watcher) -> Handle: ...
    def subscribe(self, account: Account, pattern: Pattern, sink: Sink, group: bytes | None = None) -> Handle: ...
    def query(
        self, kind: str, stream: StreamId, token: int, address: Address | None = None, time_ms: int = 0,
        pattern: Pattern | None = None, start: int = 0, end: int = -1, level: Level = Level.DURABLE,
    ) -> None: ...  # fmt: skip
    def call(self, executor: str, request: object, token: int) -> None: ...
    def remove(self, stream: StreamId, ranges: Sequence[tuple[int, int]]) -> int:
        """Records at these positions (first to last, both included) are gone for every reader from now on; recorded in this
        turn's commit, whose number is answered (0: nothing to wait for). What is not there is passed over."""
        ...

    def trim(self, stream: StreamId, before: Position) -> object:
        """Answers the new Tail, or StreamError."""
        ...

    def durability(self, durability: Durability) -> None:
        """From here on the executor's own state stream is this durable (Redis' ``appendfsync``)."""
        ...

    def wake(self, at_ns: int) -> None:
        """Call ``tick`` at this time. Every time asked for comes, each once."""
        ...

    def answer(self, token: int, answer: object, commit: int = 0) -> None:
        """Answer a call that was parked (``execute`` returned None). Exactly once."""
        ...

    def note(self, event: str, detail: str = "") -> None: ...


class Executor(Protocol):
    """The one owner of a piece of state. State changes only by ``apply`` (or the very functions that it calls), live and
    on replay: a replay of its stream lands in the identical state. Its stream is ``_thalweg/<name>``."""

    name: str
    version: int
    """Of the checkpoint's format; another version's checkpoint is not loaded."""

    def start(self, world: World) -> None:
        """Replay is done; from here on ``execute`` may come."""
        ...

    def apply(self, record: Record) -> None:
        """Fold one record of the state stream. No effects, no clock, no chance."""
        ...

    def execute(self, request: object, token: int, session: object) -> Called | None:
        """Decide on the newest state. None: parked, answered later by ``world.answer(token, ...)``.

        ``token`` here is the world's own and unique; ``session`` identifies the caller's connection (compare only).
        """
        ...

    def gone(self, session: object) -> None:
        """A connection that called is gone: forget what was parked for it."""
        ...

    def answered(self, token: int, answer: Answer) -> None: ...

    def tick(self, now_ns: int) -> None: ...

    def dump(self) -> bytes:
        """The state, for a checkpoint: ``load(dump())`` gives an equal state, and equal states dump equal bytes."""
        ...

    def load(self, data: bytes) -> None: ...


__all__ = [
    "Account",
    "Called",
    "Executor",
    "Handle",
    "Identity",
    "Port",
    "Refused",
    "Right",
    "Secret",
    "Session",
    "StreamKey",
    "WireError",
    "World",
]
