"""The stream layer's suite over a link: every check of ``conformance.stream_layer`` with the layer at a distance.

    bench = functools.partial(RemoteBench, carrier=simulated)   # in the place of the suite's Bench

The checks call and look at what comes back; ``Distant`` makes each call a request, lets the carrier work until it is
answered, and lets the host's own acts (the end of a turn, recovery, retention) happen where the layer is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from conformance.stream_layer import Bench, Storage
from substrate.api import (
    Ack,
    Address,
    Appended,
    Commit,
    Conditions,
    Epoch,
    Group,
    Level,
    Pattern,
    Position,
    Shard,
    StreamConfig,
    StreamError,
    StreamId,
    StreamKey,
    Tail,
)
from substrate.engine import EngineError
from substrate.interest import Tokens
from substrate.layer import StreamLayer
from substrate.remote.client import RemoteStreams
from substrate.remote.codec import FrameError
from substrate.remote.server import StreamServer
from transports.api import Transport
from transports.simulated import SimulatedNetwork

KEY = b"the fleet's key"
LIMIT_S = 30.0


class Carrier:
    """A transport and how it is let work: ``settle(until)`` returns when the condition holds."""

    def __init__(self, transport: Callable[[], Transport], address: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._address = address
        self._transport = transport
        self._listener: Any = None

    def join(self, accept: Callable[[], Any], handler: Any) -> None:
        async def both() -> None:
            transport = self._transport()
            self._listener = await transport.listen(self._address, accept)
            await transport.connect(self._listener.address, handler)

        self.loop.run_until_complete(both())

    def settle(self, until: Callable[[], bool]) -> None:
        async def wait() -> None:
            async with asyncio.timeout(LIMIT_S):
                while not until():
                    await asyncio.sleep(0)

        if not until():
            self.loop.run_until_complete(wait())

    def close(self) -> None:
        if self._listener is not None:
            self.loop.run_until_complete(self._listener.close())
        self.loop.close()


class SimulatedCarrier(Carrier):
    """The network of the simulator, with jitter."""

    def __init__(self, seed: int = 0) -> None:
        self._network = SimulatedNetwork(seed)
        self._network.weather.jitter_ns = 5_000_000
        super().__init__(lambda: self._network.at("there"), "sim://there/substrate")

    def join(self, accept: Callable[[], Any], handler: Any) -> None:
        async def both() -> None:
            await self._network.at("there").listen(self._address, accept)
            await self._network.at("here").connect(self._address, handler)

        self.loop.run_until_complete(both())

    def settle(self, until: Callable[[], bool]) -> None:
        self._network.settle()
        assert until(), "the network is at rest and it did not come"

    def close(self) -> None:
        self.loop.close()


class RemoteBench(Bench):
    """The suite's bench, whose ``layer`` is a link away from the layer."""

    def __init__(self, storage: Storage, carrier: Callable[[], Carrier] = SimulatedCarrier) -> None:
        self._carrier = carrier
        super().__init__(Resting(storage, self))

    def _open(self) -> None:
        former = getattr(self, "layer", None)
        super()._open()
        if isinstance(former, Distant):
            former.carrier.close()
        self.layer = Distant(self, self.layer, self._carrier())  # type: ignore[assignment]


class Resting:
    """The storage; what it told the layer has crossed the link when it returns."""

    def __init__(self, storage: Storage, bench: RemoteBench) -> None:
        self._storage = storage
        self._bench = bench
        self.can = storage.can
        self.engine = storage.engine
        self.lose = storage.lose

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def settle(self) -> None:
        self._storage.settle()
        cast(Distant, self._bench.layer).rest()

    def fail(self) -> None:
        self._storage.fail()
        cast(Distant, self._bench.layer).rest()


class Heard:
    """The client's owner: what the sequencer said."""

    def __init__(self, bench: RemoteBench) -> None:
        self._bench = bench
        self.answers: dict[int, object] = {}
        self.watchers: dict[int, tuple[StreamId, Any]] = {}
        self.told: list[int] = []
        self.quiet = False

    def welcomed(self, shard: Shard, epoch: Epoch, durable: Commit) -> None: ...

    def answered(self, token: int, answer: object) -> None:
        assert token not in self.answers, "each token once"
        self.answers[token] = answer

    def advanced(self, token: int) -> None:
        self.told.append(token)

    def durable(self, shard: Shard, commit: Commit) -> None:
        self._bench.durable.append(commit)

    def failed(self, shard: Shard, above: Commit) -> None:
        if not self.quiet:
            self._bench.failed.append(above)

    def said(self, frame: Any) -> None:
        raise FrameError(f"{frame} is not the stream layer's")

    def lost(self, reason: str) -> None:
        raise AssertionError(f"the link broke: {reason}")


class Distant:
    """What the checks take for the layer. What it does not know is asked of the layer itself: acts of the host."""

    def __init__(self, bench: RemoteBench, layer: StreamLayer, carrier: Carrier) -> None:
        self._bench = bench
        self._layer = layer
        self.carrier = carrier
        self._heard = Heard(bench)
        self._token = 0
        self.server = StreamServer(layer, KEY, lambda size: bytes(size), lambda: 0)
        layer._on_durable = self.server.durable
        layer._on_failed = self.server.failed
        self.client = RemoteStreams(self._heard, KEY, bytes(range(32)), 0)
        carrier.join(self.server.accept, self.client)
        carrier.settle(lambda: self.client.ready)
        assert (self.client.shard, self.client.epoch) == (layer.shard, layer.epoch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    @property
    def now_ms(self) -> int:
        return self._layer.now_ms

    @now_ms.setter
    def now_ms(self, now_ms: int) -> None:
        self._layer.now_ms = now_ms

    # what is asked

    def _ask(self, act: Callable[..., None], *arguments: Any) -> Any:
        """The answer; ``act`` is called with the arguments and a token where ``TOKEN`` stands."""
        self._token += 1
        token = self._token
        act(*[token if argument is TOKEN else argument for argument in arguments])
        self.carrier.settle(lambda: token in self._heard.answers)
        return self._heard.answers.pop(token)

    def rest(self) -> None:
        """What the server said before is here."""
        self._ask(self.client.query, "tail", StreamId(0), TOKEN)

    def create(self, stream: StreamId, key: StreamKey, config: StreamConfig) -> None:
        answer = self._ask(self.client.open, stream, key, config, TOKEN)
        assert isinstance(answer, Tail), answer

    def configure(self, stream: StreamId, config: StreamConfig) -> None:
        answer = self._ask(self.client.open, stream, self._layer.streams[stream].key, config, TOKEN)
        if isinstance(answer, StreamError):
            raise EngineError(answer.code, answer.detail)

    def append_group(self, stream: StreamId, group: Group, when: Conditions | None = None) -> Any:
        return self._appended(self._ask(self.client.append, stream, group, Ack.DURABLE, TOKEN, when))

    def append_batch(self, stream: StreamId, batch: bytes | bytearray | memoryview) -> Any:
        return self._appended(self._ask(self.client.append, stream, batch, Ack.DURABLE, TOKEN))

    def _appended(self, answer: object) -> object:
        if isinstance(answer, Appended):
            assert answer.epoch == self.client.epoch or answer.duplicate
        return answer

    def read(
        self, stream: StreamId, start: Position, bytes_max: int, level: Level, pattern: Pattern | None = None
    ) -> Any:
        return self._ask(self.client.read, stream, start, bytes_max, level, TOKEN, pattern)

    def tail(self, stream: StreamId) -> Any:
        return self._ask(self.client.query, "tail", stream, TOKEN)

    def query(
        self, kind: str, stream: StreamId, address: Address | None = None, time_ms: int = 0,
        pattern: Tokens | None = None, start: int = 0, end: int = -1, level: Level = Level.DURABLE,
    ) -> Any:  # fmt: skip
        return self._ask(self.client.query, kind, stream, TOKEN, address, time_ms, pattern, start, end, level)

    def watch(self, stream: StreamId, level: Level, watcher: Any) -> Any:
        token = self._token + 1
        self._heard.watchers[token] = (stream, watcher)
        answer = self._ask(self.client.watch, stream, level, TOKEN)
        if isinstance(answer, StreamError):
            raise EngineError(answer.code, answer.detail)
        return Closing(self, token)

    def trim(self, stream: StreamId, before: Position) -> Any:
        answer = self._ask(self.client.trim, stream, min(before, self._layer.streams[stream].next), TOKEN)
        if isinstance(answer, StreamError):
            raise EngineError(answer.code, answer.detail)
        return answer

    def remove(self, stream: StreamId, ranges: Sequence[tuple[int, int]]) -> Any:
        answer = self._ask(self.client.remove, stream, ranges, TOKEN)
        return 0 if isinstance(answer, StreamError) else answer

    def delete(self, stream: StreamId) -> None:
        self._ask(self.client.delete, stream, TOKEN)

    # what the host does where the layer is

    def commit(self) -> None:
        self._layer.commit()
        self.rest()

    def notify(self) -> bool:
        notified = self._layer.notify()
        self.rest()
        told, self._heard.told = self._heard.told, []
        for token in told:  # here, not within the carrier's loop: a watcher asks on
            if token in self._heard.watchers:
                stream, watcher = self._heard.watchers[token]
                watcher.advanced(stream)
        return notified

    def recover(self, now_ms: int) -> bool:
        """As the sequencer does: whoever is linked is told the new epoch."""
        recovered = self._layer.recover(now_ms)
        if recovered:
            self._heard.quiet = True
            self.server.failed(self._layer.shard, Commit(self._layer.commit_next - 1))
            self.rest()
            self._heard.quiet = False
        return recovered


class Closing:
    """A watch's handle."""

    def __init__(self, distant: Distant, token: int) -> None:
        self._distant = distant
        self._token = token

    def close(self) -> None:
        self._distant.client.unwatch(self._token)
        self._distant._heard.watchers.pop(self._token, None)


TOKEN = object()
