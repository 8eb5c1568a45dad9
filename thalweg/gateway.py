"""One process of all four protocols over one sequencer: engine, executors, listeners, turns on the event loop.

    async with Gateway() as gateway:
        client = await nats.connect(gateway.nats)

A turn is one pass of the loop: what the sockets had to say is received, then one ``call_soon`` ends it (DESIGN section 2).
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import sys
import time
import traceback
from collections.abc import Callable, Container
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from protocols.api import Executor, Port, Session
from protocols.hub import Hub
from protocols.identity import Users
from protocols.outbox import PRESSURE_BYTES, Outbox
from substrate import checkpoints
from substrate.api import Commit, Durability, Shard
from substrate.engine import Engine, EngineError
from substrate.files import RealFiles
from substrate.memory import MemoryEngine
from thalweg import ops
from thalweg.checkpointer import Checkpointer
from thalweg.config import DISK, MEMORY, OFF, Config, Http, Kafka, Mqtt, Nats, Resp
from thalweg.connection import Connection, Turn, flush
from thalweg.embedding import Addresses, HostPort, LoopThread
from thalweg.listeners import Listening, Tls, listening

if TYPE_CHECKING:
    from thalweg.tls import Secure
    from thalweg.users import Loaded

BUFFER_BYTES = 256 * 1024
CIPHER_BYTES = 64 * 1024
SHARE_BYTES = 64 * 1024
"""A part of a frame up to this waits in bytes of its own size and joins the shared buffer at the next read."""
STOP_S = 2.0
SHRINK_S = 2.0
STALL_S = 0.005
REFUSED_S = 0.1
"""Whose credentials were wrong is not read for so long (Kafka: connection.failed.authentication.delay.ms)."""
REFUSALS_A_S = 100
"""Wrong credentials that are looked at in a second, a tenth of the loop's time, and at once if there were none before."""
TIMER_NS_MIN = 1_000_000


class Driver(Hub):
    """The hub on an event loop."""

    handshake_s = 10.0
    """Who has not finished its TLS handshake by then is closed."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, engine: Engine, config: Config, *args: Any, **more: Any
    ) -> None:
        self._loop = loop
        self._config = config
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._stalled: list[tuple[Connection, list[Outbox]]] = []
        self._refusals_s = 0.0
        """When the wrong credentials so far would all be paid for at REFUSALS_A_S; monotonic."""
        self.buffer = bytearray(BUFFER_BYTES)
        self.view = memoryview(self.buffer)
        self.share_bytes = SHARE_BYTES
        self.cipher = memoryview(bytearray(CIPHER_BYTES))
        """What TLS connections read into; what they decrypt goes where others read."""
        self.strangers: dict[str, set[Connection]] = {}
        """Connections without a session: their TLS handshake is under way."""
        self.handshakes: dict[Connection, float] = {}
        """Until when each may take for its handshake, the first first; by the loop's time."""
        self._handshake_timer: asyncio.TimerHandle | None = None
        self.limits: dict[str, int] = {}
        self._random = int.from_bytes(os.urandom(8), "big") | 1
        self.turn = Turn(lambda now_ns: self.sequencer.begin(now_ns), loop.call_soon, self.end_turn)
        super().__init__(engine, MemoryEngine(), *args, **more)
        self.strangers = {name: set() for name in self.connections}
        if self.users is not None:
            self.users.exhausted = self.exhausted
        loop.call_later(SHRINK_S, self._shrink)

    # turns

    def enter(self) -> int:
        """Something happens: a turn is under way from here. Returns its time."""
        now_ns: int = self.turn.enter()
        return now_ns

    def touched(self) -> None:
        self.turn.enter()
        self.turn.commits = True

    def end_turn(self) -> None:
        self.turn.over()
        self.flush()
        if self._stalled:
            self._unstall(False)
        self.arm()

    def send(self) -> None:
        flush(self.dirty, self)

    def stalls(self, connection: Connection, behind: list[Outbox]) -> None:
        """This one is not read until those caught up, or STALL_S at most: a peer that reads nothing holds up nobody."""
        self._stalled.append((connection, behind))
        if len(self._stalled) == 1:
            self._loop.call_later(STALL_S, self._unstall, True)

    def _unstall(self, all_of_them: bool) -> None:
        still = []
        for connection, behind in self._stalled:
            if all_of_them or all(outbox.ready() < PRESSURE_BYTES // 2 for outbox in behind):
                connection.unstall()
            else:
                still.append((connection, behind))
        self._stalled = still

    # wrong credentials

    def refused(self, session: object) -> None:
        """Its peer is not read for a moment, so that guessing costs those who guess."""
        self.count("logins_refused")
        now_s = time.monotonic()
        self._refusals_s = min(max(self._refusals_s, now_s) + 1 / REFUSALS_A_S, now_s + 2.0)
        outbox = getattr(session, "outbox", None)
        if outbox is not None and outbox.owner is not None:
            outbox.owner.hold(REFUSED_S)

    def change_users(self, users: Users, changed: Container[bytes], now_ns: int) -> int:
        users.exhausted = self.exhausted
        return super().change_users(users, changed, now_ns)

    def exhausted(self) -> bool:
        """Whether so many gave wrong credentials that none is looked at but those that were right before."""
        return self._refusals_s > time.monotonic() + 1.0

    def arm(self) -> None:
        """Set the one timer to what is due next."""
        at_ns = self.next_ns()
        if at_ns and (not self._timer_ns or at_ns < self._timer_ns):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_ns = at_ns
            wait_ns = max(at_ns - time.time_ns(), TIMER_NS_MIN)
            self._timer = self._loop.call_later(wait_ns / 1e9, self.timed)

    def timed(self) -> None:
        self._timer = None
        self._timer_ns = 0
        try:
            self.tick(self.enter())
        finally:
            self.arm()

    def _shrink(self) -> None:
        self.shrink()
        self._loop.call_later(SHRINK_S, self._shrink)

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        self._loop.call_later(seconds, act)

    def shakes_hands(self, connection: Connection) -> None:
        """Close it unless its handshake is done in time: it takes itself out of ``handshakes``."""
        self.handshakes[connection] = self._loop.time() + self.handshake_s
        if self._handshake_timer is None:
            self._handshake_timer = self._loop.call_later(self.handshake_s, self._late_handshakes)

    def _late_handshakes(self) -> None:
        self._handshake_timer = None
        while self.handshakes:
            connection, due_s = next(iter(self.handshakes.items()))
            if due_s > self._loop.time():
                self._handshake_timer = self._loop.call_at(due_s, self._late_handshakes)
                return
            del self.handshakes[connection]
            connection.handshake_late()

    # the sequencer's host

    def durable(self, shard: Shard, commit: Commit) -> None:
        super().durable(shard, commit)
        self.touched()

    def random(self) -> int:
        """xorshift64*: for choices among equals, never for secrets."""
        x = self._random
        x ^= x >> 12
        x ^= (x << 25) & 0xFFFFFFFFFFFFFFFF
        x ^= x >> 27
        self._random = x
        return (x * 0x2545F4914F6CDD1D & 0xFFFFFFFFFFFFFFFF) >> 1

    def log(self, event: str, detail: str) -> None:
        print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {event} {detail}", file=sys.stderr, flush=True)

    def debug(self, protocol: str, detail: str) -> None:
        if os.environ.get("THALWEG_DEBUG"):
            self.log(f"{protocol}_closed", detail)

    def call(self, owner: object, act: Callable[..., None], *arguments: object) -> None:
        """What it raises ends its owner's connection, not that of whoever happened to be at work."""
        try:
            act(*arguments)
        except Exception as error:
            outbox = getattr(owner, "outbox", None)
            if outbox is not None and outbox.owner is not None:
                outbox.owner.crashed(error)
            else:
                self.crash(type(owner).__name__.lower(), error)

    def crash(self, protocol: str, error: BaseException) -> None:
        self.count("session_crashes")
        self.log(f"{protocol}_session_crashed", "".join(traceback.format_exception(error)))

    # connections

    def admit(self, protocol: str) -> bool:
        if len(self.connections[protocol]) + len(self.strangers[protocol]) < self.limits.get(protocol, 1 << 30):
            return True
        self.count(f"{protocol}_connections_refused")
        return False


class Plain(asyncio.BufferedProtocol):
    """A connection for asyncio's own loop, which asks for this base class by name; a kernel cannot have it."""

    def __init__(self, connection: Connection) -> None:
        for name in (
            "connection_made", "get_buffer", "buffer_updated", "eof_received", "connection_lost", "pause_writing",
            "resume_writing",
        ):  # fmt: skip
            setattr(self, name, getattr(connection, name))


def accept(
    loop: asyncio.AbstractEventLoop,
    driver: Driver,
    protocol: str,
    factory: Callable[[Port], Session] | None = None,
    secure: Secure | None = None,
) -> Any:
    """What the loop talks to of one more connection. ``factory``: where a listener's sessions are not its protocol's."""
    connection = Connection(driver, protocol, factory, secure)
    return connection if type(loop).__module__.startswith("uvloop") else Plain(connection)


def embedded(data: str) -> Config:
    """One free loopback port for each protocol, none for operators."""
    free = "127.0.0.1:0"
    return Config(
        data=data,
        kafka=Kafka(listen=free),
        nats=Nats(listen=free),
        mqtt=Mqtt(listen=free),
        resp=Resp(listen=free),
        http=Http(listen=OFF),
    )


class CannotStart(OSError):
    """The user file or the certificates cannot be used; the message says why, a line for each mistake."""


class Gateway:
    """The embedding API (docs/embedding.md): ``async with`` on the running loop, ``with`` on one in a thread of its own.

    As a ``Config`` says, or without one: nothing is kept unless ``data`` names a directory, and each protocol listens on a free
    port of the loopback. ``start`` raises OSError where an address is taken or a file cannot be used.
    """

    driver_class = Driver
    shares_ports = False
    """Whether other processes accept on the same addresses (SO_REUSEPORT)."""

    def __init__(self, config: Config | None = None, *, data: str | os.PathLike[str] = MEMORY) -> None:
        if config is not None and data != MEMORY:
            raise ValueError("data is said by the configuration, or beside it, not both")
        self.config = embedded(os.fspath(data)) if config is None else config
        self.listeners: dict[str, tuple[str, int]] = {}
        self._thread: LoopThread | None = None
        self._factories: dict[str, Callable[[Port], Session]] = {}
        self._secures: dict[Tls, Secure] = {}
        self._loaded: Loaded | None = None
        self._servers: list[asyncio.AbstractServer] = []
        self._driver: Driver | None = None
        self._files: RealFiles | None = None
        self._checkpointer: Checkpointer | None = None

    async def __aenter__(self) -> Gateway:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __enter__(self) -> Gateway:
        self._thread = LoopThread()
        try:
            return self._thread.run(self.__aenter__())
        except BaseException:
            self._thread.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._thread is not None
        try:
            self._thread.run(self.stop())
        finally:
            self._thread.close()

    @property
    def kafka(self) -> str:
        """``bootstrap.servers``: ``host:port``."""
        return Addresses(self.listeners).kafka

    @property
    def nats(self) -> str:
        """``nats://host:port``."""
        return Addresses(self.listeners).nats

    @property
    def mqtt(self) -> HostPort:
        """``(host, port)``."""
        return Addresses(self.listeners).mqtt

    @property
    def redis(self) -> str:
        """``redis://host:port/0``."""
        return Addresses(self.listeners).redis

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        engine = self._engine(loop)
        try:
            self._secure(self.config)
            self._loaded = self._load_users() if self.config.users else None
            for one in listening(self.config):
                await self._listen(loop, one)
            self._factories, executors = self._protocols()
            factories = {one.protocol: self._factories[one.name] for one in listening(self.config)}
            driver = self._make_driver(loop, engine, factories, executors)
            driver.limits = {name: getattr(self.config, name).connections_max for name in factories}
            self._driver = driver
            await self._begin(driver)
        except EngineError as error:
            raise OSError(str(error)) from error
        driver.touched()
        for server in self._servers:
            await server.start_serving()

    def _make_driver(
        self,
        loop: asyncio.AbstractEventLoop,
        engine: Engine,
        factories: dict[str, Callable[[Port], Session]],
        executors: list[Callable[[], Executor]],
    ) -> Driver:
        files = self._files
        return self.driver_class(
            loop,
            engine,
            self.config,
            executors,
            factories,
            durabilities={"resp": keyspace_durability(self.config)},
            volatile=self.config.data == MEMORY,
            load=(lambda name: checkpoints.load(files, name)) if files is not None else (lambda name: []),
            users=self._loaded.users if self._loaded is not None else None,
        )

    async def _begin(self, driver: Driver) -> None:
        """Have the sequencer ready to be asked.

        Raises:
            EngineError, OSError.
        """
        driver.sequencer.open(time.time_ns())
        if self._files is not None:
            trims = self.config.engine == DISK  # another gateway has no checkpoint of ours to begin from
            self._checkpointer = Checkpointer(driver, self._files, self.config.checkpoint_bytes, trims)

    def _secure(self, config: Config) -> None:
        """Read certificates and keys, if any are named."""
        if config.tls.certificate:
            from thalweg.tls import Secure, TlsError, make_context, warnings

            try:
                context = make_context(config)
            except TlsError as error:
                raise CannotStart(str(error)) from error
            for line in warnings(config):
                print(f"thalweg: {line}", file=sys.stderr, flush=True)
            for wanted in Tls:
                if wanted is not Tls.NONE:
                    self._secures[wanted] = Secure(context, wanted is Tls.AFTER, wanted is Tls.EITHER)

    def reload(self) -> list[str]:
        """Read certificates, keys and users again; what was done, a line each. What is wrong is said and changes nothing."""
        said = []
        if self._secures:
            from thalweg.tls import TlsError, make_context

            try:
                context = make_context(self.config)
            except TlsError as error:
                said.append(f"{error}; the certificates that were stay")
            else:
                for secure in self._secures.values():
                    secure.context = context
                said.append("certificates were read again")
        driver = self._driver
        if self._loaded is not None and driver is not None:
            try:
                loaded = self._load_users()
            except CannotStart as error:
                said.append(f"{error}; the users that were stay")
            else:
                closed = driver.change_users(loaded.users, self._loaded.changed(loaded), driver.enter())
                self._loaded = loaded
                said.append(f"users were read again; connections closed: {closed}")
        return said

    def _load_users(self) -> Loaded:
        from thalweg.users import UsersError, load

        try:
            loaded = load(self.config.users)
        except UsersError as error:
            raise CannotStart(str(error)) from error
        for line in loaded.warnings:
            print(f"thalweg: {line}", file=sys.stderr, flush=True)
        return loaded

    async def _listen(self, loop: asyncio.AbstractEventLoop, one: Listening) -> None:
        secure = self._secures.get(one.tls)
        if one.websocket:
            from thalweg.websocket import SUBPROTOCOLS, WebSocket

            origins = getattr(self.config, one.protocol).websocket_origins.split(",")
            secure = cast("Secure", WebSocket(SUBPROTOCOLS[one.protocol], origins, secure))
        server = await loop.create_server(
            lambda: accept(loop, cast(Driver, self._driver), one.protocol, self._factories[one.name], secure),
            one.host,
            one.port,
            start_serving=False,
            backlog=1024,
            reuse_address=True,
            reuse_port=self.shares_ports or None,
        )
        address = server.sockets[0].getsockname()
        self.listeners[one.name] = (address[0], address[1])
        self._servers.append(server)

    def _engine(self, loop: asyncio.AbstractEventLoop) -> Engine:
        if self.config.data == MEMORY:
            return MemoryEngine()
        pathlib.Path(self.config.data).mkdir(parents=True, exist_ok=True)
        self._files = RealFiles(self.config.data, loop.call_soon_threadsafe)
        if self.config.engine != DISK:
            from thalweg.fleet import make_engine

            return make_engine(self.config, loop)
        from substrate.disk import DiskEngine

        return DiskEngine(self._files)

    def _protocols(self) -> tuple[dict[str, Callable[[Port], Session]], list[Callable[[], Executor]]]:
        """Session factories of those that listen; executors of all, so that state does not depend on who listens."""
        from thalweg.executors import executors
        from thalweg.settings import mqtt_limits, sessions

        factories, resp = sessions(self.config, self.listeners, self._identity())
        factories |= ops.sessions(self.config, self.listeners, lambda: self._driver, self.ready, self.metrics)
        made = executors(resp, mqtt_limits(self.config))
        return factories, [made[name] for name in made if name != "topics"]

    def _identity(self) -> bytes:
        """What tells this data from any other's: made with it, kept with it."""
        if self.config.data == MEMORY:
            return os.urandom(16)
        path = pathlib.Path(self.config.data, "identity")
        if not path.exists() or len(path.read_bytes()) != 16:
            scratch = path.with_suffix(".new")
            scratch.write_bytes(os.urandom(16))
            os.replace(scratch, path)
        return path.read_bytes()

    def ready(self) -> bool:
        """All accept, and what is appended can be made durable."""
        return self._driver is not None and not self._driver.sequencer.layer.broken

    def metrics(self) -> dict[str, int | float]:
        if self._driver is None:
            return {}
        layer = self._driver.sequencer.layer
        found: dict[str, int | float] = {
            f"{name.removesuffix('_total')}_total": count for name, count in self._driver.counters.items()
        }
        found |= {f"{name}_connections": len(members) for name, members in self._driver.connections.items()}
        found["streams"] = len(layer.streams)
        found["records_appended_total"] = layer.appended_records
        found["commits_total"] = layer.commit_next - 1
        found["messages_uncaptured_total"] = self._driver.sequencer.uncaptured
        found["epoch"] = layer.epoch
        return found

    async def stop(self) -> None:
        """Goodbyes, answers in flight, a last durable commit."""
        for server in self._servers:
            server.close()
        if self._checkpointer is not None:
            await self._checkpointer.stop()
        driver, self._driver = self._driver, None
        if driver is not None:
            now_ns = driver.enter()
            for members in list(driver.connections.values()):
                for connection in list(members):
                    try:
                        connection.session.stop(now_ns)
                    except Exception as error:
                        driver.crash("stop", error)
                    connection.outbox.mark()
            driver.touched()
            deadline = time.monotonic() + STOP_S
            while any(driver.connections.values()) and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            everybody: list[set[Any]] = [*driver.connections.values(), *driver.strangers.values()]
            for left in everybody:
                for one in list(left):
                    one.abort()
            driver.flush()
            try:
                driver.sequencer.close()
            except EngineError as error:
                driver.note("storage_failures", f"at stop: {error}")
        if self._files is not None:
            self._files.shut()
            self._files = None


def keyspace_durability(config: Config) -> Durability:
    """The Redis keyspace follows ``appendfsync``: its commits are synced where that asks for it."""
    if config.data == MEMORY:
        return Durability.OS
    return {"always": Durability.SYNC, "everysec": Durability.INTERVAL, "no": Durability.OS}[config.resp.appendfsync]
