"""A gateway's end: the stream layer as it is far away. Every call is answered later, by its token, once. Sans-IO."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any, Protocol

from substrate.api import (
    Account,
    Ack,
    Address,
    Commit,
    Conditions,
    Epoch,
    ErrorCode,
    Group,
    Level,
    Pattern,
    Position,
    Shard,
    StreamConfig,
    StreamError,
    StreamId,
    StreamKey,
    Unknown,
)
from substrate.interest import Tokens
from substrate.remote import frames
from substrate.remote.codec import FrameError
from substrate.remote.outlet import Outlet
from transports.api import FRAME_BYTES_MAX, Link

REQUEST_NS = 30_000_000_000
"""A request without an answer ends in an error by then."""
NEVER_NS = 1 << 62


class Owner(Protocol):
    """The gateway around it."""

    def welcomed(self, shard: Shard, epoch: Epoch, durable: Commit) -> None: ...
    def answered(self, token: int, answer: object) -> None: ...
    def advanced(self, token: int) -> None:
        """What is watched by this token advanced, or is gone."""
        ...

    def durable(self, shard: Shard, commit: Commit) -> None: ...
    def failed(self, shard: Shard, above: Commit) -> None: ...
    def said(self, frame: Any) -> None:
        """A frame of the gateway's own: interest, live messages, topics.

        Raises:
            FrameError: a sequencer does not send that.
        """
        ...

    def lost(self, reason: str) -> None:
        """The link is closed; what was asked was answered: Unknown where it may have happened."""
        ...


class RemoteStreams:
    """``now_ns`` is the gateway's clock, moved by ``tick``. Tokens are the caller's, each used once; 0 wants no answer."""

    def __init__(self, owner: Owner, key: bytes, nonce: bytes, now_ns: int, classes: bytes = b"") -> None:
        self.owner = owner
        self.now_ns = now_ns
        self.shard = Shard(0)
        self.epoch = Epoch(0)
        self.ready = False
        self._classes = classes
        self._key = key
        self._nonce = nonce
        self._server_nonce = b""
        self._out = Outlet()
        self._asked: dict[int, tuple[int, bool]] = {}  # token -> deadline, and whether it changes something
        self._watched: set[int] = set()
        self._heard_ns = self._ticked_ns = now_ns
        self._pinged = False
        self._why = ""

    # the link

    def opened(self, link: Link) -> None:
        self._out.link = link

    def received(self, frame: memoryview) -> None:
        self._heard_ns, self._pinged = self.now_ns, False
        try:
            self._take(frames.decode(frame))
        except FrameError as error:
            self._break(f"the sequencer broke the protocol: {error}")
        if self._out.link is not None:
            self._out.link.grant(len(frame))

    def granted(self) -> None:
        self._out.drain()

    def closed(self, reason: str) -> None:
        """Whatever is owed is answered here."""
        self.ready = False
        self._out.shut()
        why = self._why or reason or "the link closed"
        for token in list(self._asked):
            self._fail(token, why)
        watched, self._watched = self._watched, set()
        for token in watched:
            self.owner.advanced(token)
        self.owner.lost(why)

    def _break(self, why: str) -> None:
        self._why = why
        if self._out.link is not None:
            self._out.link.close(why)

    def _fail(self, token: int, why: str) -> None:
        _, changes = self._asked.pop(token)
        self.owner.answered(token, Unknown(why) if changes else StreamError(ErrorCode.UNAVAILABLE, why))

    def tick(self, now_ns: int) -> None:
        """Deadlines, and whether the sequencer still lives. A process that stood still itself hears what waits first."""
        if now_ns - self._ticked_ns > frames.QUIET_NS * 2:
            self._heard_ns = max(self._heard_ns, now_ns - frames.QUIET_NS)
            self._pinged = False
        self.now_ns = self._ticked_ns = now_ns
        for token in [token for token, (deadline, _) in self._asked.items() if deadline <= now_ns]:
            _, changes = self._asked.pop(token)
            late = Unknown("no answer in time") if changes else StreamError(ErrorCode.TIMEOUT, "no answer in time")
            self.owner.answered(token, late)
        if self._out.link is not None and now_ns - self._heard_ns >= frames.GONE_NS:
            self._break("the sequencer does not answer")
        elif self.ready and not self._pinged and now_ns - self._heard_ns >= frames.QUIET_NS:
            self._pinged = True
            self._out.send(frames.encode(frames.Ping(now_ns)))

    # what the sequencer says

    def _take(self, frame: Any) -> None:
        if not self.ready:
            self._meet(frame)
        elif isinstance(frame, frames.Reply):
            if isinstance(frame.answer, StreamError):
                self._watched.discard(frame.token)
            self._answered(frame.token, frame.answer)
        elif isinstance(frame, frames.Advanced):
            if frame.token in self._watched:
                self.owner.advanced(frame.token)
        elif isinstance(frame, frames.Durable):
            self.owner.durable(self.shard, frame.commit)
        elif isinstance(frame, frames.Failed):
            self.epoch = frame.epoch
            self.owner.failed(self.shard, frame.above)
        elif isinstance(frame, frames.Ping):
            self._out.send(frames.encode(frames.Pong(frame.number)))
        elif isinstance(frame, frames.Refusal):
            self._why = frame.reason
        elif isinstance(frame, frames.CallAnswer):
            self._answered(frame.token, frame)
        elif not isinstance(frame, frames.Pong):
            self.owner.said(frame)

    def _answered(self, token: int, answer: object) -> None:
        """To who asked, if it still waits."""
        if self._asked.pop(token, None) is not None:
            self.owner.answered(token, answer)

    def _meet(self, frame: Any) -> None:
        if isinstance(frame, frames.Refusal):
            self._why = frame.reason
        elif isinstance(frame, frames.Greeting) and not self._server_nonce:
            if frame.version != frames.VERSION:
                return self._break(f"the sequencer speaks version {frame.version}, here is {frames.VERSION}")
            self._server_nonce = frame.nonce
            proof = frames.proof(self._key, "client", frame.nonce, self._nonce)
            self._out.send(frames.encode(frames.Hello(frames.VERSION, self._classes, self._nonce, proof)))
        elif isinstance(frame, frames.Welcome) and self._server_nonce:
            wanted = frames.proof(self._key, "server", self._server_nonce, self._nonce)
            if not hmac.compare_digest(wanted, frame.proof):
                return self._break("the sequencer has not the key of this fleet")
            self.shard, self.epoch, self.ready = frame.shard, frame.epoch, True
            self.owner.welcomed(frame.shard, frame.epoch, frame.durable)
        else:
            raise FrameError(f"{type(frame).__name__} before the welcome")
        return None

    # what the gateway asks

    def ask(self, token: int, frame: Any, changes: bool) -> None:
        if not self.ready:
            refused = StreamError(ErrorCode.UNAVAILABLE, "no link to the sequencer")
        elif self._out.full:
            refused = StreamError(ErrorCode.BACKPRESSURE, "too much in flight to the sequencer")
        else:
            encoded = frames.encode(frame)
            if len(encoded) <= FRAME_BYTES_MAX:
                waits = type(frame) is frames.Call  # what an executor parked comes when it comes
                if token:
                    self._asked[token] = (NEVER_NS if waits else self.now_ns + REQUEST_NS, changes)
                self._out.send(encoded)
                return
            refused = StreamError(ErrorCode.TOO_LARGE, f"frame of {len(encoded)} bytes, limit {FRAME_BYTES_MAX}")
        if token:
            self.owner.answered(token, refused)

    def open(self, stream: StreamId, key: StreamKey, config: StreamConfig, token: int) -> None:
        self.ask(token, frames.Open(token, stream, key, config), True)

    def append(
        self,
        stream: StreamId,
        batch: Group | bytes | bytearray | memoryview,
        ack: Ack,
        token: int,
        when: Conditions | None = None,
        session: int = 0,
    ) -> None:
        """As ``Port.append``; what is given is copied. ``session``: whose it is, for who does not want its own back."""
        if isinstance(batch, Group):
            self.ask(token, frames.AppendGroup(token, self.epoch, stream, ack, when, batch, session), True)
        else:
            self.ask(token, frames.AppendBatch(token, self.epoch, stream, ack, batch, session), True)  # type: ignore[arg-type]

    def commit(
        self, appends: Sequence[tuple[StreamId, Group, Conditions | None]], ack: Ack, token: int, session: int = 0
    ) -> None:
        self.ask(token, frames.CommitGroups(token, self.epoch, ack, tuple(appends), session), True)

    def publish(
        self, account: Account, group: Group, ack: Ack, token: int, when: Conditions | None, session: int, queues: bool
    ) -> None:
        """As ``Port.publish``: the sequencer finds out where the address leads."""
        self.ask(token, frames.Publish(token, self.epoch, account, ack, when, group, session, queues), True)

    def call(self, executor: str, request: bytes, token: int, session: int) -> None:
        """Ask an executor; answered with CallAnswer."""
        self.ask(token, frames.Call(token, session, executor, request), True)

    def say(self, frame: Any) -> None:
        """What is no request; nothing where there is no link."""
        if self.ready:
            self._out.send(frames.encode(frame))

    def read(
        self, stream: StreamId, start: Position, bytes_max: int, level: Level, token: int, filter: Pattern | None = None
    ) -> None:
        """As ``Port.read``; of patterns only Tokens travel."""
        if filter is not None and not isinstance(filter, Tokens):
            self.owner.answered(token, StreamError(ErrorCode.UNSUPPORTED, "a filter that is not of tokens"))
            return
        self.ask(token, frames.Read(token, stream, start, bytes_max, level, filter), False)

    def query(
        self, kind: str, stream: StreamId, token: int, address: Address | None = None, time_ms: int = 0,
        pattern: Tokens | None = None, start: int = 0, end: int = -1, level: Level = Level.DURABLE,
    ) -> None:  # fmt: skip
        self.ask(token, frames.Query(token, kind, stream, address, time_ms, pattern, start, end, level), False)

    def watch(self, stream: StreamId, level: Level, token: int) -> None:
        """Answered with the Tail; from then on ``advanced(token)`` until ``unwatch``."""
        self._watched.add(token)
        self.ask(token, frames.Watch(token, stream, level), False)

    def unwatch(self, token: int) -> None:
        self._watched.discard(token)
        if self.ready:
            self._out.send(frames.encode(frames.Unwatch(token)))

    def trim(self, stream: StreamId, before: Position, token: int) -> None:
        self.ask(token, frames.Trim(token, self.epoch, stream, before), True)

    def remove(self, stream: StreamId, ranges: Sequence[tuple[int, int]], token: int) -> None:
        self.ask(token, frames.Remove(token, self.epoch, stream, tuple(ranges)), True)

    def delete(self, stream: StreamId, token: int) -> None:
        self.ask(token, frames.Delete(token, self.epoch, stream), True)

    def cancel(self, token: int) -> None:
        """Its answer is dropped when it comes."""
        if self._asked.pop(token, None) is not None:
            self._out.send(frames.encode(frames.Cancel(token)))
