"""The frames of the substrate's protocol: this table is the protocol, its codec, and ``docs/substrate-protocol.md``.

A frame is one byte, its kind, and its fields (``substrate.remote.codec``). A request carries a token and is answered once;
with token 0 it is not answered.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any, ClassVar

from substrate.address import RESP
from substrate.api import (
    Account,
    Ack,
    Address,
    Appended,
    Batches,
    Commit,
    Conditions,
    Epoch,
    Found,
    Group,
    Level,
    Pattern,
    Position,
    Record,
    Rejected,
    Shard,
    StreamConfig,
    StreamError,
    StreamId,
    StreamKey,
    Tail,
    Topic,
    Unknown,
)
from substrate.interest import Glob, Tokens
from substrate.remote.codec import Codec, FrameError, Reader, _record, codec, fields_of

VERSION = 1
QUIET_NS = 1_000_000_000
GONE_NS = 5_000_000_000
"""A side that says nothing: asked after the first, given up after the second."""
NONCE_BYTES = 32
PROOF_BYTES = 32
Answered = (
    None
    | Appended
    | Rejected
    | StreamError
    | Unknown
    | Batches
    | Tail
    | Found
    | int
    | tuple[Appended, ...]
    | tuple[tuple[Epoch, Position], ...]
    | tuple[tuple[Address, int, int], ...]
)


@dataclass(slots=True)
class Greeting:
    """Server first: its version and a nonce. The client's version must be the same."""

    KIND: ClassVar[int] = 1
    version: int
    nonce: bytes


@dataclass(slots=True)
class Hello:
    """Client: its version and classes, a nonce, and HMAC-SHA256 of the fleet's key over ``client`` and both nonces."""

    KIND: ClassVar[int] = 2
    version: int
    classes: bytes
    nonce: bytes
    proof: bytes


@dataclass(slots=True)
class Welcome:
    """Server: it has the key as well (HMAC over ``server`` and both nonces); the shard, its epoch, what is durable."""

    KIND: ClassVar[int] = 3
    proof: bytes
    shard: Shard
    epoch: Epoch
    durable: Commit


@dataclass(slots=True)
class Refusal:
    """Either side, before it closes: what the other did wrong."""

    KIND: ClassVar[int] = 4
    reason: str


@dataclass(slots=True)
class Open:
    """Make a stream known, or change its configuration; answered with its Tail."""

    KIND: ClassVar[int] = 5
    token: int
    stream: StreamId
    key: StreamKey
    config: StreamConfig


@dataclass(slots=True)
class AppendGroup:
    """Messages to the end of a stream, in the epoch that the client knows; answered Appended, Rejected or StreamError."""

    KIND: ClassVar[int] = 6
    token: int
    epoch: Epoch
    stream: StreamId
    ack: Ack
    when: Conditions | None
    group: Group
    session: int


@dataclass(slots=True)
class AppendBatch:
    """One record batch as a client made it; likewise."""

    KIND: ClassVar[int] = 7
    token: int
    epoch: Epoch
    stream: StreamId
    ack: Ack
    batch: bytes
    session: int


@dataclass(slots=True)
class CommitGroups:
    """Several streams, all or nothing; answered with a list of Appended or the first that did not hold."""

    KIND: ClassVar[int] = 8
    token: int
    epoch: Epoch
    ack: Ack
    appends: tuple[tuple[StreamId, Group, Conditions | None], ...]
    session: int


@dataclass(slots=True)
class Read:
    """Answered Batches or StreamError. With a pattern: records that match."""

    KIND: ClassVar[int] = 9
    token: int
    stream: StreamId
    start: Position
    bytes_max: int
    level: Level
    pattern: Tokens | None


@dataclass(slots=True)
class Query:
    """Answered as ``Port.query`` says."""

    KIND: ClassVar[int] = 10
    token: int
    kind: str
    stream: StreamId
    address: Address | None
    time_ms: int
    pattern: Tokens | None
    start: int
    end: int
    level: Level


@dataclass(slots=True)
class Watch:
    """Tell, at most once a turn, that the stream advanced at this level, by ``Advanced`` with this token."""

    KIND: ClassVar[int] = 11
    token: int
    stream: StreamId
    level: Level


@dataclass(slots=True)
class Unwatch:
    KIND: ClassVar[int] = 12
    token: int


@dataclass(slots=True)
class Trim:
    """Records below ``before`` are gone; answered with the commit to wait for."""

    KIND: ClassVar[int] = 13
    token: int
    epoch: Epoch
    stream: StreamId
    before: Position


@dataclass(slots=True)
class Remove:
    """These positions, first and last of each range, are gone; answered with the commit to wait for."""

    KIND: ClassVar[int] = 14
    token: int
    epoch: Epoch
    stream: StreamId
    ranges: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Delete:
    """The stream is gone; answered with nothing."""

    KIND: ClassVar[int] = 15
    token: int
    epoch: Epoch
    stream: StreamId


@dataclass(slots=True)
class Cancel:
    """The answer is not wanted any more; it may still come."""

    KIND: ClassVar[int] = 16
    token: int


@dataclass(slots=True)
class Reply:
    """Server: the one answer to a request."""

    KIND: ClassVar[int] = 17
    token: int
    answer: Answered


@dataclass(slots=True)
class Advanced:
    """Server: a watched stream advanced, or is gone."""

    KIND: ClassVar[int] = 18
    token: int


@dataclass(slots=True)
class Durable:
    """Server: every commit up to this one is durable."""

    KIND: ClassVar[int] = 19
    commit: Commit


@dataclass(slots=True)
class Failed:
    """Server: nothing above this commit will become durable; appends go on in this epoch."""

    KIND: ClassVar[int] = 20
    above: Commit
    epoch: Epoch


@dataclass(slots=True)
class Ping:
    """Either side, where it has heard nothing for a while; answered Pong with the same number."""

    KIND: ClassVar[int] = 21
    number: int


@dataclass(slots=True)
class Pong:
    KIND: ClassVar[int] = 22
    number: int


@dataclass(slots=True)
class Publish:
    """Messages to wherever their address leads; answered like an append, unless the token is 0.
    Uncaptured ones have been given to the gateway's own subscribers already, but for queue groups (``queues``)."""

    KIND: ClassVar[int] = 23
    token: int
    epoch: Epoch
    account: Account
    ack: Ack
    when: Conditions | None
    group: Group
    session: int
    queues: bool


@dataclass(slots=True)
class Call:
    """A session asks an executor; ``request`` are objects (``substrate.remote.objects``). Answered by CallAnswer."""

    KIND: ClassVar[int] = 24
    token: int
    session: int
    executor: str
    request: bytes


@dataclass(slots=True)
class CallAnswer:
    """Server: ``failed`` is why it could not be asked, or empty; what to wait for; the answer's objects."""

    KIND: ClassVar[int] = 25
    token: int
    failed: str
    commit: Commit
    answer: bytes


@dataclass(slots=True)
class Gone:
    """A session ended: nothing is owed to it any more."""

    KIND: ClassVar[int] = 26
    session: int


@dataclass(slots=True)
class Interested:
    """Live messages that match are wanted: by a gateway's sessions of this protocol, and told to every other gateway.
    Of the subscribers of one queue group one gets each message. A glob is of the textual names of Redis."""

    KIND: ClassVar[int] = 27
    number: int
    account: Account
    protocol: str
    tokens: Tokens | None
    glob: bytes
    group: bytes | None

    @classmethod
    def of(cls, number: int, account: Account, protocol: str, pattern: Pattern, group: bytes | None) -> Interested:
        """
        Raises:
            TypeError: a pattern of another kind.
        """
        if isinstance(pattern, Tokens):
            return cls(number, account, protocol, pattern, b"", group)
        if isinstance(pattern, Glob):
            return cls(number, account, protocol, None, pattern.pattern, group)
        raise TypeError(f"{pattern!r} cannot travel")

    def pattern(self) -> Pattern:
        return self.tokens if self.tokens is not None else Glob(self.glob, RESP.text)


@dataclass(slots=True)
class Uninterested:
    KIND: ClassVar[int] = 28
    number: int


@dataclass(slots=True)
class Heard:
    """Server: every gateway linked when the interest of this number came knows of it."""

    KIND: ClassVar[int] = 29
    number: int


@dataclass(slots=True)
class Data:
    """Server: live messages for this gateway's subscribers; ``queue`` (protocol, name): for one member of that group.
    ``session``: the gateway's own that published them, or 0. ``records``: of a client's batch; then the group is empty."""

    KIND: ClassVar[int] = 30
    account: Account
    base: Position
    timestamp_ms: int
    group: Group
    records: tuple[Record, ...]
    queue: tuple[str, bytes] | None
    session: int


@dataclass(slots=True)
class TopicIs:
    """Server: a topic as it is now."""

    KIND: ClassVar[int] = 31
    topic: Topic


@dataclass(slots=True)
class TopicGone:
    KIND: ClassVar[int] = 32
    account: Account
    name: Address


FRAMES: tuple[Any, ...] = (
    Greeting, Hello, Welcome, Refusal, Open, AppendGroup, AppendBatch, CommitGroups, Read, Query, Watch, Unwatch, Trim,
    Remove, Delete, Cancel, Reply, Advanced, Durable, Failed, Ping, Pong, Publish, Call, CallAnswer, Gone, Interested,
    Uninterested, Heard, Data, TopicIs, TopicGone,
)  # fmt: skip
_CODECS: dict[int, Codec] = {
    frame.KIND: _record(frame, [(name, codec(kind)) for name, kind in fields_of(frame)], frame.__name__)
    for frame in FRAMES
}
assert len(_CODECS) == len(FRAMES), "each kind once"


def encode(frame: Any) -> bytearray:
    out = bytearray((frame.KIND,))
    _CODECS[frame.KIND].write(out, frame)
    return out


def decode(data: bytes | bytearray | memoryview) -> Any:
    """The frame; it keeps nothing of ``data``.

    Raises:
        FrameError: an unknown kind, or not what the kind says.
    """
    reader = Reader(data)
    kind = reader.take(1)[0]
    found = _CODECS.get(kind)
    if found is None:
        raise FrameError(f"unknown kind {kind}")
    frame = found.read(reader)
    reader.done()
    return frame


def proof(key: bytes, who: str, server_nonce: bytes, client_nonce: bytes) -> bytes:
    """What shows that one has the fleet's key."""
    return hmac.digest(key, who.encode() + b"\0" + server_nonce + client_nonce, "sha256")


def describe() -> str:
    """The table of frames, for the documentation."""
    lines = ["| kind | frame | fields | |", "|---|---|---|---|"]
    for frame in FRAMES:
        fields = ", ".join(f"`{name}` {codec(kind).words}" for name, kind in fields_of(frame))
        words = " ".join((frame.__doc__ or "").split()) if not (frame.__doc__ or "").startswith(frame.__name__) else ""
        lines.append(f"| {frame.KIND} | {frame.__name__} | {fields} | {words} |".replace("  ", " "))
    return "\n".join(lines) + "\n"


__all__ = [frame.__name__ for frame in FRAMES] + [
    "FRAMES", "NONCE_BYTES", "PROOF_BYTES", "VERSION", "Record", "decode", "describe", "encode", "proof",
]  # fmt: skip
