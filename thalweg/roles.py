"""One process of several over one substrate: a sequencer that gateways link to, or a gateway that links to one.

The link's two ends are ``protocols.guests`` and ``protocols.remote``; here they meet transports, the loop and the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pathlib
import ssl
import stat
import time
from collections.abc import Callable
from typing import Any, cast

from protocols.api import Executor, Port, Session
from protocols.guests import SequencerServer
from protocols.remote import FarSequencer
from substrate.api import Commit, Shard
from substrate.engine import Engine
from thalweg.config import Config
from thalweg.connection import Connection
from thalweg.gateway import Driver, Gateway
from thalweg.travellers import objects
from transports.api import Link, Listener, Transport

KEY_BYTES_MIN = 16
TICK_S = 0.5
LINK_S = 15.0
"""A gateway that finds no sequencer for so long after its start says so and ends."""
AGAIN_S, AGAIN_S_MAX = 0.05, 2.0


class RoleError(OSError):
    """The key or the address of the substrate cannot be used; the message says why."""


def read_key(path: str) -> bytes:
    """The fleet's key: the file's bytes, at least KEY_BYTES_MIN.

    Raises:
        RoleError: no such file, too short, or others may read it.
    """
    try:
        data = pathlib.Path(path).read_bytes().strip()
        mode = os.stat(path).st_mode
    except OSError as error:
        raise RoleError(f"key {path}: {error.strerror}") from error
    if len(data) < KEY_BYTES_MIN:
        raise RoleError(f"key {path}: {len(data)} bytes, at least {KEY_BYTES_MIN} are needed")
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        raise RoleError(f"key {path}: others may read it (chmod 600)")
    return data


def transport_of(address: str, config: Config) -> Transport:
    """By the address' scheme.

    Raises:
        RoleError: there is no such transport, or not here.
    """
    from transports.stream import TcpTransport, UnixTransport

    scheme = address.partition("://")[0]
    if scheme == "unix":
        return UnixTransport()
    if scheme == "tcp":
        return TcpTransport()
    if scheme == "tls":
        return TcpTransport(*tls_contexts(config))
    if scheme == "rdma":
        from transports.rdma import RdmaTransport
        from transports.verbs import NoRdma, find

        try:
            return RdmaTransport(find())
        except NoRdma as why:
            raise RoleError(f"{address}: {why}; tcp:// is there") from None
    raise RoleError(f"{address!r}: a substrate is unix:///path, tcp://host:port, tls://host:port or rdma://host:port")


def tls_contexts(config: Config) -> tuple[ssl.SSLContext | None, ssl.SSLContext]:
    """For a link's two ends: our certificate if we listen, and whom we trust (``tls.client_ca``, else the system's)."""
    from thalweg.tls import TlsError, make_context

    try:
        server = make_context(config) if config.tls.certificate else None
        return server, ssl.create_default_context(cafile=config.tls.client_ca or None)
    except (TlsError, OSError) as error:
        raise RoleError(str(error)) from error


def fleet_identity(key: bytes) -> bytes:
    """What tells a fleet's data from any other's (``Gateway._identity``): the same in every process of it."""
    return hashlib.sha256(b"identity\0" + key).digest()[:16]


async def link_to(far: FarSequencer, address: str, config: Config) -> Link:
    """Return when the sequencer there has welcomed us.

    Raises:
        OSError: nobody is there, who is there refuses, or does not answer within LINK_S.
    """
    linked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    far.on_ready = lambda: None if linked.done() else linked.set_result(None)
    far.on_refused = lambda why: None if linked.done() else linked.set_exception(RoleError(why))
    link = await transport_of(address, config).connect(address, far.streams)
    async with asyncio.timeout(LINK_S):
        await linked
    return link


class SequencerDriver(Driver):
    """The sequencer's process: whoever is linked is told what is durable."""

    server: SequencerServer | None = None

    def durable(self, shard: Shard, commit: Commit) -> None:
        super().durable(shard, commit)
        if self.server is not None:
            self.server.durable(shard, commit)

    def failed(self, shard: Shard, above: Commit) -> None:
        super().failed(shard, above)
        if self.server is not None:
            self.server.failed(shard, above)


class SequencerRole(Gateway):
    """Engine, executors and operators' HTTP here; gateways link to ``listen``."""

    driver_class = SequencerDriver

    def __init__(self, config: Config, listen: str, key: bytes) -> None:
        super().__init__(config)
        self._address = listen
        self._key = key
        self._listener: Listener | None = None
        self._ticks: asyncio.Task[None] | None = None

    async def _begin(self, driver: Driver) -> None:
        assert isinstance(driver, SequencerDriver)
        await super()._begin(driver)

        def enter() -> int:
            driver.touched()
            return driver.enter()

        driver.server = SequencerServer(driver.sequencer, self._key, os.urandom, enter, objects())
        self._listener = await transport_of(self._address, self.config).listen(self._address, driver.server.accept)
        self.substrate = self._listener.address
        self._ticks = asyncio.get_running_loop().create_task(self._tick(driver.server))

    async def _tick(self, server: SequencerServer) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            server.tick(server.enter())

    async def stop(self) -> None:
        if self._ticks is not None:
            self._ticks.cancel()
        if self._listener is not None:
            listener, self._listener = self._listener, None
            await listener.close()
        await super().stop()


class GatewayDriver(Driver):
    """A gateway's process."""

    on_lost: Callable[[str], None] = staticmethod(lambda reason: None)
    stopping = False

    def __init__(self, loop: asyncio.AbstractEventLoop, key: bytes, config: Config, factories: Any, users: Any) -> None:
        self._key = key
        self._objects = objects()
        super().__init__(
            loop, cast(Engine, None), config, [], factories, users=users, sequencer=cast(Any, self.far_sequencer())
        )

    def far_sequencer(self) -> FarSequencer:
        """Knows nothing yet: a link tells it."""
        return FarSequencer(self, self._key, os.urandom(32), self._objects)

    @property
    def far(self) -> FarSequencer:
        return cast(FarSequencer, self.sequencer)

    def admit(self, protocol: str) -> bool:
        return self.far.streams.ready and super().admit(protocol)

    def lost(self, reason: str) -> None:
        """See ``protocols.remote.FarHost``."""
        self.note("substrate_links_lost", "" if self.stopping else reason)
        for members in list(self.connections.values()):
            for connection in list(members):
                connection.abort()
        self.on_lost(reason)


class GatewayRole(Gateway):
    """Clients' listeners here, the sequencer at ``substrate``. A lost link is made again; clients come back by themselves."""

    shares_ports = True

    def __init__(self, config: Config, substrate: str, key: bytes) -> None:
        super().__init__(config)
        self._substrate = substrate
        self._key = key
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def _engine(self, loop: asyncio.AbstractEventLoop) -> Engine:
        return cast(Engine, None)

    def _identity(self) -> bytes:
        return fleet_identity(self._key)

    def _make_driver(
        self,
        loop: asyncio.AbstractEventLoop,
        engine: Engine,
        factories: dict[str, Callable[[Port], Session]],
        executors: list[Callable[[], Executor]],
    ) -> Driver:
        return GatewayDriver(
            loop, self._key, self.config, factories, self._loaded.users if self._loaded is not None else None
        )

    async def _begin(self, driver: Driver) -> None:
        assert isinstance(driver, GatewayDriver)
        driver.on_lost = self._lost
        deadline = time.monotonic() + LINK_S
        pause_s = AGAIN_S
        while True:
            try:
                await self._connect(driver)
                return
            except OSError as error:
                if isinstance(error, RoleError) or time.monotonic() > deadline:
                    raise RoleError(f"substrate {self._substrate}: {error}") from error
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, AGAIN_S_MAX)

    async def _connect(self, driver: GatewayDriver) -> None:
        """
        Raises:
            OSError: nobody is there, or who is there refuses.
        """
        far = driver.far_sequencer()
        driver.enter()
        driver.sequencer = cast(Any, far)
        far.begin(time.time_ns())
        self._link = await link_to(far, self._substrate, self.config)

    def _lost(self, reason: str) -> None:
        if not self._stopping and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._again())

    async def _again(self) -> None:
        """Until a sequencer is there."""
        pause_s = AGAIN_S
        driver = self._driver
        while isinstance(driver, GatewayDriver) and not self._stopping:
            await asyncio.sleep(pause_s)
            try:
                await self._connect(driver)
                driver.note("substrate_links_remade", self._substrate)
                return
            except OSError as error:
                driver.note("substrate_links_refused", str(error) if isinstance(error, RoleError) else "")
            pause_s = min(2 * pause_s, AGAIN_S_MAX)

    def ready(self) -> bool:
        return isinstance(self._driver, GatewayDriver) and self._driver.far.streams.ready

    def metrics(self) -> dict[str, int | float]:
        driver = self._driver
        if driver is None:
            return {}
        found: dict[str, int | float] = {
            f"{name.removesuffix('_total')}_total": count for name, count in driver.counters.items()
        }
        found |= {f"{name}_connections": len(members) for name, members in driver.connections.items()}
        found["messages_uncaptured_total"] = driver.sequencer.uncaptured
        return found

    async def stop(self) -> None:
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        driver = self._driver
        await super().stop()
        if isinstance(driver, GatewayDriver):
            driver.stopping = True
        if self._link is not None:
            self._link.close("the gateway stops")


__all__ = ["Connection", "GatewayRole", "RoleError", "SequencerRole", "read_key", "transport_of"]
