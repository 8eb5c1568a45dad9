"""The jetstream engine as a stage of ``conformance.engines``: over a real cluster, without a loop."""

from __future__ import annotations

import queue
import shutil
from collections.abc import Callable

from conformance.engines import SMALL
from substrate.disk.options import Options
from substrate.engine import Engine
from substrate.jetstream import Cluster, JetStreamEngine


class Turns:
    """The engine's host where nobody has a loop: ``run`` calls what was posted; sockets are watched by ``pump``."""

    def __init__(self) -> None:
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def post(self, call: Callable[[], None]) -> None:
        self._posted.put(call)

    def run(self) -> None:
        while True:
            try:
                call = self._posted.get_nowait()
            except queue.Empty:
                return
            call()

    def later(self, seconds: float, call: Callable[[], None]) -> None: ...
    def watch(self, handle: int, readable: Callable[[], None]) -> None: ...
    def watch_writing(self, handle: int, writable: Callable[[], None] | None) -> None: ...
    def unwatch(self, handle: int) -> None: ...


class JetStreamStage:
    """A crash here is the process's: the cluster and the system keep what was written."""

    crashes = False

    def __init__(self, url: str, root: str, options: Options = SMALL, forgets: bool = False) -> None:
        self.forgets = forgets
        """Every engine begins with an empty directory: all it knows is the cluster's."""
        self.cluster = Cluster.parse(url)
        self.root = root
        self.options = options
        self.turns = Turns()
        self.engines: list[JetStreamEngine] = []

    def make(self) -> JetStreamEngine:
        if self.forgets:
            shutil.rmtree(self.root, ignore_errors=True)
        self.turns = Turns()
        self.engines.append(JetStreamEngine(self.cluster, self.root, self.turns, options=self.options, posts=False))
        return self.engines[-1]

    def settle(self, engine: Engine) -> None:
        mine = self.engines[-1]
        while mine.in_flight:
            mine.pump(0.05)
            self.turns.run()
        while mine.settle_copy():
            pass
        self.turns.run()

    def crash(self) -> None:
        self.engines[-1].abandon()
