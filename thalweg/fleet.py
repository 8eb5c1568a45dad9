"""Gateways that share a substrate in a JetStream cluster: one is its sequencer by lease, the others link to it.

A *member* is one process that plays either role and changes it by itself: when the lease is free it takes it, opens the log
(which fences whoever wrote before) and accepts the others; when another has it, it links to that one. Its clients' listeners
keep their addresses through a change, and their connections do not: clients come back by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from substrate.jetstream import Cluster, JetStreamEngine
from substrate.jetstream.lease import Holder, Keeper
from substrate.memory import FIRST_SHARD
from thalweg.gateway import CannotStart, Gateway
from thalweg.roles import GatewayRole, SequencerRole, fleet_identity

if TYPE_CHECKING:
    from thalweg.config import Config
    from thalweg.listeners import Listening

START_S = 40.0
AGAIN_S = 1.0
LOOK_S = 1.0
FENCED_LOOKS = 3
"""Seen fenced so often while the lease is ours: somebody wrote who does not have it."""
PAUSE_PERIODS = 3


class LoopHost:
    """An engine's host on an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def post(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know
            self._loop.call_soon_threadsafe(call)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self._loop.call_later(seconds, call)

    def watch(self, handle: int, readable: Callable[[], None]) -> None:
        self._loop.add_reader(handle, readable)

    def watch_writing(self, handle: int, writable: Callable[[], None] | None) -> None:
        if writable is None:
            self._loop.remove_writer(handle)
        else:
            self._loop.add_writer(handle, writable)

    def unwatch(self, handle: int) -> None:
        self._loop.remove_reader(handle)
        self._loop.remove_writer(handle)


def make_engine(config: Config, loop: asyncio.AbstractEventLoop) -> JetStreamEngine:
    """The engine that ``config.engine`` names, its copy in ``config.data``."""
    return JetStreamEngine(Cluster.parse(config.engine), config.data, LoopHost(loop))


class _Bound(Gateway):
    """Listeners take the ports that the member had in its former role."""

    bound: dict[str, tuple[str, int]]

    def place(self, one: Listening) -> Listening:
        known = self.bound.get(one.name)
        return one if known is None else dataclasses.replace(one, port=known[1])

    async def _listen(self, loop: asyncio.AbstractEventLoop, one: Listening) -> None:
        await super()._listen(loop, self.place(one))


class MemberSequencer(_Bound, SequencerRole):
    def __init__(self, config: Config, listen: str, key: bytes, bound: dict[str, tuple[str, int]]) -> None:
        super().__init__(config, listen, key)
        self.bound = bound
        self._fleet_key = key

    def _identity(self) -> bytes:
        return fleet_identity(self._fleet_key)

    @property
    def fenced(self) -> str:
        engine = self._driver.sequencer.layer.engine if self._driver is not None else None
        return engine.fenced if isinstance(engine, JetStreamEngine) else ""


class MemberGateway(_Bound, GatewayRole):
    shares_ports = False

    def __init__(self, config: Config, substrate: str, key: bytes, bound: dict[str, tuple[str, int]]) -> None:
        super().__init__(config, substrate, key)
        self.bound = bound


class Member(Gateway):
    """``thalweg serve`` with an engine in a cluster and a fleet's key."""

    def __init__(self, config: Config, key: bytes) -> None:
        super().__init__(config)
        self._key = key
        self._name = os.urandom(8).hex()
        self._keeper: Keeper | None = None
        self._role: Gateway | None = None
        self._holder = Holder()
        self._changed = asyncio.Event()
        self._begun: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._becoming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when it serves in one of the two roles."""
        loop = asyncio.get_running_loop()
        self._begun = loop.create_future()
        cluster = Cluster.parse(self.config.engine)
        self._keeper = Keeper(cluster, FIRST_SHARD, self._name, self._told, LoopHost(loop).post)
        self._keeper.start()
        self._task = self._watched(self._play())
        try:
            await asyncio.wait_for(self._begun, START_S)
        except TimeoutError:
            raise OSError(f"{self.config.engine}: no answer by the cluster in {START_S:.0f} s") from None

    def _told(self, holder: Holder) -> None:
        self._holder = holder
        self._changed.set()

    async def _play(self) -> None:
        """One role after another, as the lease says: ``self`` or where its holder is; empty while nobody knows."""
        playing = ""
        fenced = 0
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_S)
            self._changed.clear()
            wanted = "self" if self._holder.name == self._name else self._holder.address
            fenced = fenced + 1 if isinstance(self._role, MemberSequencer) and self._role.fenced else 0
            if wanted == playing and not (wanted == "self" and fenced > FENCED_LOOKS):
                continue
            if not wanted and not playing:
                continue
            fenced = 0
            playing = wanted
            await self._end_role()
            if wanted:
                self._becoming = self._watched(self._become(wanted))

    def _watched(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """What nobody expected ends the process: whoever supervises it begins anew."""
        task = asyncio.get_running_loop().create_task(work)

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                self._say("".join(traceback.format_exception(task.exception())))
                signal.raise_signal(signal.SIGTERM)

        task.add_done_callback(ended)
        return task

    async def _end_role(self) -> None:
        becoming, self._becoming = self._becoming, None
        if becoming is not None:
            becoming.cancel()
            await asyncio.gather(becoming, return_exceptions=True)
        role, self._role = self._role, None
        if self._keeper is not None:
            self._keeper.address = ""
        if role is not None:
            await role.stop()

    async def _become(self, wanted: str) -> None:
        """Begin the role, again and again until it serves."""
        assert self._keeper is not None
        assert self._begun is not None
        while True:
            role = self._make_role(wanted)
            try:
                await role.start()
            except asyncio.CancelledError:
                await role.stop()
                raise
            except OSError as error:
                await role.stop()
                if not self._begun.done() and (error.errno or isinstance(error, CannotStart)):
                    self._begun.set_exception(error)
                    return
                self._say(f"not {'the sequencer' if wanted == 'self' else f'linked to {wanted}'}: {error}")
                if wanted == "self":
                    self._keeper.pause_periods = PAUSE_PERIODS
                await asyncio.sleep(AGAIN_S)
                continue
            self._role = role
            self._serves(role)
            return

    def _make_role(self, wanted: str) -> Gateway:
        if wanted == "self":
            return MemberSequencer(self.config, self.config.fleet_listen, self._key, self.listeners)
        return MemberGateway(self.config, wanted, self._key, self.listeners)

    def _serves(self, role: Gateway) -> None:
        self.listeners.update(role.listeners)
        if isinstance(role, MemberSequencer):
            assert self._keeper is not None
            self._keeper.address = role.substrate
            self._keeper.wake()
            self._say(f"the sequencer, for gateways at {role.substrate}")
        else:
            self._say(f"a gateway of the sequencer at {self._holder.address}")
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(None)

    def _say(self, what: str) -> None:
        print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} fleet {what}", file=sys.stderr, flush=True)

    def reload(self) -> list[str]:
        return self._role.reload() if self._role is not None else ["between two roles: nothing was read"]

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._end_role()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await asyncio.get_running_loop().run_in_executor(None, keeper.stop)
