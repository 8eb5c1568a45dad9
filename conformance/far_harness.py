"""The whole gateway as two processes: sessions here, the sequencer behind a simulated network, everything in one thread.

A ``FarHarness`` is used like a ``Harness``; ``beside`` gives another gateway of the same sequencer.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, cast

from conformance.harness import Client, Factories, Harness, default_factories
from protocols.api import Executor
from protocols.guests import SequencerServer
from protocols.hub import Hub
from protocols.remote import FarSequencer
from substrate.api import Commit, Shard
from substrate.remote.objects import Objects
from transports.simulated import SimulatedNetwork

KEY = b"the fleet's key"


class Centre(Harness):
    """The sequencer's process: no connection of its own."""

    def __init__(self, network: SimulatedNetwork, travelling: Objects, **more: Any) -> None:
        self.server: SequencerServer | None = None
        super().__init__(**more)
        self.server = SequencerServer(
            self.sequencer, KEY, lambda size: self.chance.randbytes(size), self._enter, travelling
        )
        asyncio.run(network.at("centre").listen("sim://centre/s", self.server.accept))

    def _enter(self) -> int:
        self.begin()
        self._again = True
        return self.now_ns

    def durable(self, shard: Shard, commit: Commit) -> None:
        super().durable(shard, commit)
        if self.server is not None:
            self.server.durable(shard, commit)

    def failed(self, shard: Shard, above: Commit) -> None:
        super().failed(shard, above)
        if self.server is not None:
            self.server.failed(shard, above)


class FarHarness(Harness):
    """A gateway of its own; ``beside`` another one's, which shares network and sequencer."""

    def __init__(
        self,
        travelling: Objects,
        seed: int = 0,
        executors: Sequence[Callable[[], Executor]] | None = None,
        factories: Factories | None = None,
        beside: FarHarness | None = None,
        **more: Any,
    ) -> None:
        self.network: SimulatedNetwork = beside.network if beside is not None else SimulatedNetwork(seed)
        self.centre: Centre = (
            beside.centre
            if beside is not None
            else Centre(self.network, travelling, seed=seed, executors=executors, **more)
        )
        self.all: list[FarHarness] = beside.all if beside is not None else []
        self.name = f"gateway{len(self.all)}"
        self.all.append(self)
        self.now_ns = self.centre.now_ns
        self.chance = random.Random(seed)
        self.delayed = True
        self.logged: list[tuple[str, str]] = []
        self._later: list[list[Callable[[], None]]] = []
        self._in_run = False
        self._again = False
        self.reasons: list[str] = []
        far = FarSequencer(self, KEY, self.chance.randbytes(32), travelling)
        Hub.__init__(
            self, cast(Any, None), cast(Any, None), [], default_factories() if factories is None else factories,
            sequencer=cast(Any, far),
        )  # fmt: skip
        asyncio.run(self.network.at(self.name).connect("sim://centre/s", far.streams))
        self.run()
        assert far.streams.ready

    def begin(self) -> None:
        latest = max(self.centre.now_ns, *[gateway.now_ns for gateway in self.all])
        self.now_ns = latest + 1_000
        self.sequencer.begin(self.now_ns)

    def _poll(self) -> bool:
        """Let the network, the sequencer and the other gateways do what there is to do."""
        before = self.network.events
        self.network.settle()
        self.centre.now_ns = max(self.centre.now_ns, self.now_ns)
        self.centre.run()
        self.network.settle()
        for gateway in self.all:
            if gateway is not self and not gateway._in_run:
                gateway.now_ns = max(gateway.now_ns, self.now_ns)
                gateway._in_run = True
                gateway.flush()
                gateway._in_run = False
        return self.network.events != before or bool(self.dirty)

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)
        for members in self.connections.values():
            for connection in list(members):
                connection.abort()


__all__ = ["Client", "FarHarness"]
