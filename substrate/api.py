"""What a protocol may know of the substrate: names, numbers, records, conditions, answers, errors.

One primitive: a *stream* is an append-only log with two operations, append and read.

Rules that every implementation keeps (the suites in ``conformance/`` hold them to it):

* A record has its position before anybody sees it; positions are contiguous from 0.
* One commit (all that one turn appended to a shard) becomes durable whole or not at all, in the order made.
* A reader's prefix never changes at DURABLE and above.
* An append that may have happened answers ``Unknown``, never a failure.
* A failed condition changes nothing and says what is.
* ``start`` only moves forward.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import NewType, Protocol

from substrate.group import Called as Called
from substrate.group import Group, Record

Account = NewType("Account", str)
Address = NewType("Address", bytes)
"""Tokens in canonical text: joined by ``/``; ``%`` and ``/`` inside a token are ``%25`` and ``%2F`` (substrate.address)."""
Epoch = NewType("Epoch", int)
Position = NewType("Position", int)
"""Of a record in its stream, from 0. Kafka's offset; JetStream's sequence - 1; a Redis stream id's left half - 1."""
StreamId = NewType("StreamId", int)
"""Never used twice, survives restarts. 0 is no stream."""
Commit = NewType("Commit", int)
"""Number of a commit frame in its shard; frames become durable in this order. 0: nothing to wait for."""
Shard = NewType("Shard", int)

DEFAULT_ACCOUNT = Account("default")
RESERVED = b"_thalweg"
"""First token of what is not customers' data; no wildcard matches it that does not name it."""
RECORD_BYTES_MAX = 8 * 1024 * 1024
BATCH_BYTES_MAX = 256 * 1024
"""Messages of one turn are grouped into batches of at most this; a larger record is a batch of its own."""

# Record headers that carry what protocols share. Anything else is the customer's and passes unchanged.
REPLY = b"thalweg-reply"  # canonical address to answer to: NATS reply subject, MQTT response topic
CORRELATION = b"thalweg-correlation"  # MQTT correlation data
CONTENT_TYPE = b"thalweg-content-type"  # MQTT content type
EXPIRES_MS = b"thalweg-expires-ms"  # unix ms in decimal after which nobody wants it: MQTT message expiry
QOS = b"thalweg-qos"  # b"0", b"1", b"2" as published by MQTT
RETAIN = b"thalweg-retain"  # b"1": published with RETAIN by MQTT (a live copy still carries it; mapping decides)
ADDRESS = b"thalweg-address"  # set by a Kafka producer to publish under an address beneath its topic


class Ack(IntEnum):
    """When an append is answered."""

    NONE = 0
    ORDERED = 1
    """It has its position and was handed to the disk's cache; an OS crash may lose it."""
    DURABLE = 2
    """As durable as the stream promises: fsynced, unless the stream's durability is ``os`` or ``interval``."""
    COMMITTED = 3
    """Durable on every replica that counts; on one machine the same as DURABLE."""


class Level(IntEnum):
    """What a reader may see."""

    ORDERED = 1
    DURABLE = 2
    COMMITTED = 3
    STABLE = 4
    """Also below every open transaction."""


class Durability(Enum):
    SYNC = "sync"
    OS = "os"
    INTERVAL = "interval"
    MEMORY = "memory"
    """Kept in a bounded ring in memory; positions since boot."""


@dataclass(frozen=True, slots=True)
class StreamKey:
    """The name of one partition: two accounts may each have a topic ``orders``."""

    account: Account
    name: Address
    partition: int = 0


@dataclass(frozen=True, slots=True)
class StreamConfig:
    durability: Durability = Durability.SYNC
    retention_ms: int = -1  # -1: no limit, here and below
    retention_bytes: int = -1
    retention_records: int = -1
    segment_bytes: int = 64 * 1024 * 1024
    record_bytes_max: int = 1024 * 1024
    interval_ms: int = 1000  # fsync interval where durability is INTERVAL
    exact_limits: bool = False
    """Retention is exact to the message (JetStream), not by whole segments (Kafka)."""
    address_records_max: int = -1
    """Messages of one address: the oldest of them goes, by a mark."""
    discard_new: bool = False
    """What would exceed ``retention_records`` or ``retention_bytes`` is rejected; else the oldest goes."""
    address_discard_new: bool = False
    """What would exceed ``address_records_max`` is rejected."""
    append_time: bool = False
    """Client batches are stamped with the time of their append (Kafka's LogAppendTime); our own always are."""
    compaction: bool = False
    """Of each key the last record is kept (Kafka's cleanup.policy=compact); records without a key go."""
    compaction_lag_ms: int = 0  # younger records are not compacted (KIP-58)
    compaction_percent: int = 50  # of a stream's sealed bytes that must be new before it is compacted again
    tombstone_ms: int = 86_400_000  # how long a record without a value is kept once it was compacted
    segment_ms: int = -1  # a segment whose first record is older is sealed


@dataclass(frozen=True, slots=True)
class Topic:
    """A named set of partitions and what it captures. One Kafka topic, one JetStream stream (of one partition)."""

    account: Account
    name: Address
    topic_id: bytes  # 16 bytes, new on each creation
    streams: tuple[StreamId, ...]  # by partition
    subjects: tuple[bytes, ...]  # patterns over canonical addresses; empty: its name and all beneath it
    config: StreamConfig
    options: dict[str, str] = field(default_factory=dict)
    """What protocols keep with it (``kafka.cleanup.policy``, ``jetstream`` = its JSON); opaque here."""
    created_ms: int = 0


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must hold for an append to happen; each record's are judged against the ordered tail before it."""

    tail: int | None = None
    """The stream's next position must be this (JetStream Nats-Expected-Last-Sequence = n: tail n)."""
    last: tuple[Address, int] | None = None
    """The last position of this address must be this; -1: it has none."""
    last_message_id: bytes | None = None
    message_id: bytes | None = None
    """Seen within ``window_ms``: answered ``Appended(duplicate=True)`` with the first one's position."""
    window_ms: int = 120_000
    stream: Address | None = None


@dataclass(slots=True)  # not frozen: that would cost a microsecond for each append
class Appended:
    """Ordered. ``commit`` is what to wait for before it counts as durable (0: nothing)."""

    stream: StreamId
    base: Position
    last: Position
    timestamp_ms: int
    epoch: Epoch
    shard: Shard = Shard(0)
    commit: Commit = Commit(0)
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """A condition did not hold; nothing changed. ``actual`` is what is there (a position, or a message id), or the limit."""

    condition: str
    """The field of Conditions; "sequence", "epoch" of a producer; or a limit of a stream that discards what is new:
    "records", "bytes", "address_records"."""
    actual: int | bytes | None


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have happened, or not, or may yet. Never answered as a failure."""

    reason: str = ""


class ErrorCode(Enum):
    """The closed set; each protocol's ``errors.py`` maps every one."""

    NO_STREAM = "no such stream"
    EXISTS = "exists"
    OUT_OF_RANGE = "position out of range"
    TOO_LARGE = "record too large"
    CORRUPT = "corrupt"
    INVALID = "invalid"
    UNSUPPORTED = "unsupported"
    FENCED = "fenced by a higher epoch"
    NO_SPACE = "no space"
    UNAVAILABLE = "unavailable"
    BACKPRESSURE = "too much in flight"
    SEALED = "sealed"
    DENIED = "denied"
    TIMEOUT = "timed out"
    DUPLICATE_SEQUENCE = "duplicate sequence"


@dataclass(frozen=True, slots=True)
class StreamError:
    """An answer, not an exception: the substrate says no."""

    code: ErrorCode
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Tail:
    """``start`` <= ``stable`` <= ``committed`` <= ``durable`` <= ``ordered``; each is the first position not covered."""

    start: Position
    ordered: Position
    durable: Position
    committed: Position
    stable: Position
    epoch: Epoch
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class Batches:
    """Whole record batches as stored; the first may begin below the position asked for, never above the next record.

    ``data`` are Kafka v2 record batches, contiguous, unless a filter was given: then ``records`` are those that match.
    """

    data: tuple[bytes | memoryview, ...]
    tail: Tail
    records: tuple[Record, ...] = ()
    next: Position = Position(0)
    """Where to read on (after a filtered read this may be beyond the last record given)."""


@dataclass(frozen=True, slots=True)
class Found:
    """``position`` -1: none."""

    position: Position
    timestamp_ms: int = -1


@dataclass(frozen=True, slots=True)
class Failed:
    """An executor could not be asked (its owner moved, it is not ready): retriable."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class CreateTopic:
    """Asked of the executor ``topics``; answered ``Called(Topic)`` or ``Called(StreamError(EXISTS | INVALID))``."""

    account: Account
    name: Address
    partitions: int = 1
    subjects: tuple[bytes, ...] = ()
    config: StreamConfig = StreamConfig()
    options: dict[str, str] = field(default_factory=dict)
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class AlterTopic:
    """What is not None is changed; options are replaced as a whole; partitions can only grow."""

    account: Account
    name: Address
    partitions: int | None = None
    subjects: tuple[bytes, ...] | None = None
    config: StreamConfig | None = None
    options: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class DeleteTopic:
    account: Account
    name: Address


@dataclass(frozen=True, slots=True)
class TrimTopic:
    """DeleteRecords and purge: records below ``before`` are gone; answered ``Called(Tail)``."""

    account: Account
    name: Address
    partition: int
    before: Position


@dataclass(frozen=True, slots=True)
class NewProducerId:
    """Answered ``Called(int)``: never given before."""


Answer = object
"""One of the classes above, or what an executor answers."""


class Pattern(Protocol):
    """Which addresses a subscriber wants. ``substrate.interest`` has the two kinds: Tokens and Glob."""

    def matches(self, address: Address) -> bool: ...


class Sink(Protocol):
    """Who gets live messages. Owned by a session; called within a turn, in stream order."""

    protocol: str
    """``nats``, ``mqtt``, ``resp``, ``kafka``, or an executor's name."""
    session: object
    """The connection it belongs to: publisher and sink are compared for NATS echo, MQTT no-local."""

    def deliver(self, group: Group) -> None:
        """Take these now: the group's buffer is gone when this returns. ``group.records()`` decodes, once for all sinks."""
        ...


class Route:
    """Where an address goes: valid while ``generation`` is the port's. Immutable."""

    __slots__ = ("account", "address", "generation", "queues", "sinks", "stream", "topic")

    def __init__(
        self,
        account: Account,
        address: Address,
        generation: int,
        stream: StreamId,
        topic: Topic | None,
        sinks: tuple[Sink, ...],
        queues: tuple[tuple[Sink, ...], ...],
    ) -> None:
        self.account = account
        self.address = address
        self.generation = generation
        self.stream = stream  # 0: captured by nothing (ephemeral)
        self.topic = topic
        self.sinks = sinks  # each gets every message
        self.queues = queues  # of each group, one member gets each message


class Watcher(Protocol):
    def advanced(self, stream: StreamId) -> None:
        """Something became visible at the level watched, or the stream is gone. At most once per turn."""
        ...


__all__ = [
    name for name in dir() if name[0].isupper() and name not in {"Enum", "IntEnum", "NewType", "Protocol", "Sequence"}
]
