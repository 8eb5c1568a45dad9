"""The sequencer's end: links from gateways, each with what it may do to the stream layer. Sans-IO.

A gateway says who it is before anything else is looked at. What breaks the protocol costs its link. Replies that the peer
does not read stop its requests: they are held, and not granted back, while much is owed to it.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from substrate.api import Commit, ErrorCode, Shard, StreamError, StreamId
from substrate.engine import EngineError
from substrate.layer import StreamLayer, acked
from substrate.layer import Watch as LayerWatch
from substrate.remote import frames
from substrate.remote.codec import FrameError
from substrate.remote.outlet import Outlet
from transports.api import Link

HELLO_NS = 5_000_000_000
READ_BYTES_MAX = 8 * 1024 * 1024
WATCHES_MAX = 100_000


class StreamServer:
    """Serves one shard. ``enter`` is called before a frame is acted on: it begins or joins a turn."""

    def __init__(
        self,
        layer: StreamLayer,
        key: bytes,
        chance: Callable[[int], bytes],
        enter: Callable[[], int],
        classes: bytes = b"",
    ) -> None:
        self.layer = layer
        self.key = key
        self.classes = classes
        """What tells the classes of objects that may travel: the same on both sides."""
        self.chance = chance
        self.enter = enter
        self.guests: set[Guest] = set()
        self.counters = {"strangers": 0, "broken": 0}

    def accept(self) -> Guest:
        """The handler of one more link."""
        return Guest(self)

    def joined(self, guest: Guest) -> None:
        self.guests.add(guest)

    def left(self, guest: Guest) -> None:
        self.guests.discard(guest)

    def durable(self, shard: Shard, commit: Commit) -> None:
        for guest in self.guests:
            guest.say(frames.Durable(commit))

    def failed(self, shard: Shard, above: Commit) -> None:
        for guest in self.guests:
            guest.say(frames.Failed(above, self.layer.epoch))

    def tick(self, now_ns: int) -> None:
        """Who never said who it is goes, and who does not answer."""
        for guest in list(self.guests):
            quiet_ns = now_ns - guest.heard_ns
            if not guest.known:
                if quiet_ns > HELLO_NS:
                    guest.refuse("no hello in time")
            elif quiet_ns >= frames.GONE_NS:
                guest.refuse("the gateway does not answer")
            elif quiet_ns >= frames.QUIET_NS:
                guest.say(frames.Ping(0))


class Guest:
    """One gateway's link."""

    def __init__(self, server: StreamServer) -> None:
        self.server = server
        self._out = Outlet()
        self._nonce = b""
        self.watches: dict[int, LayerWatch] = {}
        self._held: deque[bytes] = deque()
        self.known = False
        self.heard_ns = 0

    # the link

    def opened(self, link: Link) -> None:
        self._out.link = link
        self.heard_ns = self.server.enter()
        self._nonce = self.server.chance(frames.NONCE_BYTES)
        self.server.joined(self)
        self.say(frames.Greeting(frames.VERSION, self._nonce), known=False)

    def received(self, frame: memoryview) -> None:
        self.heard_ns = self.server.enter()
        if self._held or self._out.full:  # it does not read its answers: its requests wait, within its own credit
            self._held.append(bytes(frame))
            return
        self._take(frame)

    def _take(self, frame: memoryview | bytes) -> None:
        try:
            self._act(frames.decode(frame))
        except FrameError as error:
            self.server.counters["broken"] += 1
            self.refuse(f"broken frame: {error}")
        if self._out.link is not None:
            self._out.link.grant(len(frame))

    def granted(self) -> None:
        self._out.drain()
        if self._held and not self._out.full:
            self.server.enter()
            while self._held and not self._out.full:
                self._take(self._held.popleft())

    def closed(self, reason: str) -> None:
        self.server.enter()
        self._out.shut()
        self._held.clear()
        self.server.left(self)
        for watch in self.watches.values():
            watch.close()
        self.watches.clear()

    def say(self, frame: Any, known: bool = True) -> None:
        if self.known or not known:
            self._out.send(frames.encode(frame))

    def refuse(self, reason: str) -> None:
        """Say why, and close."""
        link = self._out.link
        if link is not None:
            self.say(frames.Refusal(reason), known=False)
            self._out.shut()
            link.close(reason)

    # what it asks

    def _act(self, frame: Any) -> None:
        if not self.known:
            self._hello(frame)
            return
        act = self.ACTS.get(type(frame))
        if act is None:
            raise FrameError(f"a gateway does not send {type(frame).__name__}")
        answer = self._fenced(frame) or act(self, frame)
        if answer is not NOTHING and frame.token:
            self.say(frames.Reply(frame.token, answer))  # type: ignore[arg-type]

    def _hello(self, frame: Any) -> None:
        server = self.server
        if not isinstance(frame, frames.Hello):
            server.counters["strangers"] += 1
            return self.refuse("say hello first")
        if frame.version != frames.VERSION:
            return self.refuse(f"version {frame.version}, here is {frames.VERSION}")
        if frame.classes != server.classes:
            return self.refuse("another build: its classes of objects are not those of here")
        wanted = frames.proof(server.key, "client", self._nonce, frame.nonce)
        if not hmac.compare_digest(wanted, frame.proof) or len(frame.nonce) != frames.NONCE_BYTES:
            server.counters["strangers"] += 1
            return self.refuse("not the key of this fleet")
        self.known = True
        layer = server.layer
        proof = frames.proof(server.key, "server", self._nonce, frame.nonce)
        self.say(frames.Welcome(proof, layer.shard, layer.epoch, layer.durable_commit))
        self.welcomed()
        return None

    def welcomed(self) -> None:
        """It has shown the key."""

    def _fenced(self, frame: Any) -> StreamError | None:
        """Whatever names an epoch names the one there is."""
        now = self.server.layer.epoch
        known = getattr(frame, "epoch", now)
        return None if known == now else StreamError(ErrorCode.FENCED, f"epoch {known}, it is {now}")

    def _open(self, frame: frames.Open) -> object:
        layer = self.server.layer
        try:
            found = layer.streams.get(frame.stream)
            if found is None:
                layer.create(frame.stream, frame.key, frame.config)
            elif found.key != frame.key:
                return StreamError(ErrorCode.EXISTS, f"stream {frame.stream} has another name")
            elif found.config != frame.config:
                layer.configure(frame.stream, frame.config)
        except EngineError as error:
            return StreamError(error.code, error.detail)
        return layer.tail(frame.stream)

    def _append_group(self, frame: frames.AppendGroup) -> object:
        layer = self.server.layer
        layer.relieve(frame.group.value_bytes)
        return acked(layer.append_group(frame.stream, frame.group, frame.when), frame.ack)

    def _append_batch(self, frame: frames.AppendBatch) -> object:
        layer = self.server.layer
        layer.relieve(len(frame.batch))
        return acked(layer.append_batch(frame.stream, frame.batch), frame.ack)

    def _commit(self, frame: frames.CommitGroups) -> object:
        layer = self.server.layer
        layer.relieve(sum(group.value_bytes for _, group, _ in frame.appends))
        for stream, group, when in frame.appends:
            refused = layer.refuse(stream, group)
            judged = layer.judge(stream, when) if refused is None and when is not None else refused
            if judged is not None:
                return judged
        return tuple(
            [
                acked(layer.append_judged(layer.streams[stream], group, when), frame.ack)
                for stream, group, when in frame.appends
            ]
        )

    def _read(self, frame: frames.Read) -> object:
        size = min(max(frame.bytes_max, 1), READ_BYTES_MAX)
        return self.server.layer.read(frame.stream, frame.start, size, frame.level, frame.pattern)

    def _query(self, frame: frames.Query) -> object:
        return self.server.layer.query(
            frame.kind, frame.stream, frame.address, frame.time_ms, frame.pattern, frame.start, frame.end, frame.level
        )

    def _watch(self, frame: frames.Watch) -> object:
        if frame.token in self.watches or len(self.watches) >= WATCHES_MAX:
            raise FrameError(f"watch {frame.token} is not new, or beyond {WATCHES_MAX}")
        try:
            watch = self.server.layer.watch(frame.stream, frame.level, Watcher(self, frame.token))
        except EngineError as error:
            return StreamError(error.code, error.detail)
        self.watches[frame.token] = watch
        return self.server.layer.tail(frame.stream)

    def _unwatch(self, frame: frames.Unwatch) -> object:
        watch = self.watches.pop(frame.token, None)
        if watch is not None:
            watch.close()
        return NOTHING

    def _missing(self, stream: StreamId) -> StreamError | None:
        return None if stream in self.server.layer.streams else StreamError(ErrorCode.NO_STREAM)

    def _trim(self, frame: frames.Trim) -> object:
        refused = self._missing(frame.stream)
        if refused is not None:
            return refused
        layer = self.server.layer
        if frame.before > layer.streams[frame.stream].next:
            return StreamError(ErrorCode.OUT_OF_RANGE, f"{frame.before} is beyond the end")
        try:
            return int(layer.trim(frame.stream, frame.before))
        except EngineError as error:
            return StreamError(error.code, error.detail)

    def _remove(self, frame: frames.Remove) -> object:
        return self._missing(frame.stream) or int(self.server.layer.remove(frame.stream, frame.ranges))

    def _delete(self, frame: frames.Delete) -> object:
        refused = self._missing(frame.stream)
        if refused is None:
            self.server.layer.delete(frame.stream)
        return refused

    def _cancel(self, frame: frames.Cancel) -> object:
        return NOTHING  # every answer here leaves at once

    def _ping(self, frame: frames.Ping) -> object:
        self.say(frames.Pong(frame.number))
        return NOTHING

    def _pong(self, frame: frames.Pong) -> object:
        return NOTHING

    ACTS: ClassVar[dict[type, Callable[[Any, Any], object]]]


NOTHING = object()
"""No answer, or none now."""
Guest.ACTS = {
    frames.Open: Guest._open,
    frames.AppendGroup: Guest._append_group,
    frames.AppendBatch: Guest._append_batch,
    frames.CommitGroups: Guest._commit,
    frames.Read: Guest._read,
    frames.Query: Guest._query,
    frames.Watch: Guest._watch,
    frames.Unwatch: Guest._unwatch,
    frames.Trim: Guest._trim,
    frames.Remove: Guest._remove,
    frames.Delete: Guest._delete,
    frames.Cancel: Guest._cancel,
    frames.Ping: Guest._ping,
    frames.Pong: Guest._pong,
}


class Watcher:
    """Tells a gateway what it watches."""

    def __init__(self, guest: Guest, token: int) -> None:
        self._guest = guest
        self._token = token

    def advanced(self, stream: StreamId) -> None:
        self._guest.say(frames.Advanced(self._token))
