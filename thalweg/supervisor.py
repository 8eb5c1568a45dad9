"""Several processes as one: a sequencer and N gateways that share the addresses, started, watched, restarted, stopped.

A child is *permanent* (restarted whenever it ends), *transient* (only after a failure) or *temporary* (never). Restarts wait
longer each time, with jitter. Each child reads a pipe of the supervisor and stops when that ends: none outlives it. More than RESTARTS_MAX of one child within WITHIN_S and the supervisor gives up: it stops
everything and ends with a failure, for whoever supervises it. A stop is SIGTERM, gateways first; who is left after STOP_S is
killed. Each transition is a record in ``_thalweg/proc``, as soon as a sequencer takes it; ``thalweg ps`` shows them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from thalweg.asking import Asker
from thalweg.config import MEMORY, Config, format_address
from thalweg.listeners import listening
from thalweg.processes import Transition
from thalweg.serve import CannotServe, Interrupts, announce, raise_file_limit, write_ready_file

RESTARTS_MAX = 5
WITHIN_S = 30.0
PAUSE_S, PAUSE_S_MAX = 0.1, 5.0
READY_S = 30.0
STOP_S = 5.0
SOCKET_NAME_MAX = 100
TAKE_OVER_S = 6.0
LOOK_S = 0.02
NEWS_MAX = 1000
"""Transitions kept until a sequencer takes them."""


@dataclass
class Child:
    name: str
    arguments: list[str]
    policy: Literal["permanent", "transient", "temporary"] = "permanent"
    core: int = -1
    process: asyncio.subprocess.Process | None = None
    ready_file: pathlib.Path = pathlib.Path()
    ends: deque[float] = field(default_factory=deque)

    def may_restart(self, status: int) -> bool:
        return self.policy == "permanent" or (self.policy == "transient" and status != 0)


def pause_s(restarts: int, chance: float) -> float:
    """How long to wait before the n-th restart in a row; ``chance`` from 0 to 1 spreads those of several children."""
    return min(PAUSE_S * 2.0 ** max(restarts - 1, 0), PAUSE_S_MAX) * (0.5 + chance)


class GaveUp(Exception):
    """A child does not stay up: the supervisor's own supervisor is asked."""


class Supervisor:
    """Of one configuration and ``workers`` gateways. ``run`` returns the exit status."""

    def __init__(self, config: Config, workers: int, ready_file: pathlib.Path | None, pinned: bool = False) -> None:
        self.config = config
        self.workers = workers
        self.children: list[Child] = []
        self._ready_file = ready_file
        self._pinned = pinned
        self._places: list[socket.socket] = []
        self._news: deque[Transition] = deque(maxlen=NEWS_MAX)
        self._told = asyncio.Event()
        self._stop = asyncio.Event()
        self._failed: str = ""
        self.addresses: dict[str, str] = {}

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        raise_file_limit()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGINT, Interrupts(self._stop))
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        scribe: asyncio.Task[None] | None = None
        tasks: list[asyncio.Task[None]] = []
        try:
            self._plan()
            sequencer, *gateways = self.children
            await self._first(sequencer)
            scribe = loop.create_task(self._tell())
            for child in gateways:
                await self._start(child)
            for child in gateways:
                await self._until_ready(child)
            tasks = [loop.create_task(self._keep(child)) for child in self.children]
            if self._ready_file is not None:
                write_ready_file(self._ready_file, self.addresses)
            announce(self.config, self.addresses)
            await self._stop.wait()
        except OSError as error:
            raise CannotServe(str(error)) from error
        finally:
            if self._ready_file is not None:
                self._ready_file.unlink(missing_ok=True)
            for task in tasks:
                task.cancel()
            await self._stop_all()
            if scribe is not None:
                scribe.cancel()
        if self._failed:
            print(f"thalweg: {self._failed}", file=sys.stderr, flush=True)
            return 1
        return 0

    # what there is to run

    def _plan(self) -> None:
        """Reserve the addresses, write the key, and say how each child is started."""
        home = self._home()
        key = home / "key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_text(secrets.token_hex(32))
        self.substrate = f"unix://{self._socket(home)}"
        (home / "address").write_text(self.substrate)
        self.key = str(key)
        common = ["--key", self.key, *(["--users", self.config.users] if self.config.users else [])]
        if os.environ.get("THALWEG_CONFIG"):
            common += ["--config", os.environ["THALWEG_CONFIG"]]
        http = self.config.http.listen
        self.children = [
            Child(
                "sequencer",
                ["role", "sequencer", "--listen", self.substrate, "--data", self.config.data, "--http", http, *common],
            )
        ]
        addresses = self._reserve()
        for number in range(1, self.workers + 1):
            arguments = ["role", "gateway", "--substrate", self.substrate, *common]
            for name, address in addresses.items():
                arguments += [f"--{name}", address]
            self.children.append(Child(f"gateway-{number}", arguments))
        cores = sorted(os.sched_getaffinity(0))
        for index, child in enumerate(self.children):
            child.ready_file = home / f"{child.name}.json"
            if self._pinned:
                child.core = cores[index % len(cores)]

    def _home(self) -> pathlib.Path:
        """The folder of the key, the address and the ready files: with the data."""
        if self.config.data == MEMORY:
            return self._scratch()
        home = pathlib.Path(self.config.data).absolute() / "run"
        home.mkdir(parents=True, exist_ok=True)
        return home

    def _socket(self, home: pathlib.Path) -> pathlib.Path:
        """There, too, if its name is short enough for a socket's."""
        path = home / "substrate"
        return path if len(os.fsencode(path)) <= SOCKET_NAME_MAX else self._scratch() / "substrate"

    def _scratch(self) -> pathlib.Path:
        self._temporary = tempfile.TemporaryDirectory(prefix="thalweg-")
        return pathlib.Path(self._temporary.name)

    def _reserve(self) -> dict[str, str]:
        """Each client listener's address, with a port of its own where any was asked for; it stays ours while we live."""
        found: dict[str, str] = {}
        for one in listening(self.config):
            if one.protocol == "http" or one.name != one.protocol:
                continue
            place = socket.socket(socket.AF_INET6 if ":" in one.host else socket.AF_INET)
            place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                place.bind((one.host, one.port))
            except OSError as error:
                raise CannotServe(f"{one.name}: {one.host}:{one.port}: {error.strerror}") from error
            self._places.append(place)
            found[one.name] = format_address(*place.getsockname()[:2])
        return found

    # one child's life

    async def _start(self, child: Child) -> None:
        child.ready_file.unlink(missing_ok=True)
        child.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "thalweg", *child.arguments, "--ready-file", str(child.ready_file),
            "--supervised", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        if child.core >= 0:
            os.sched_setaffinity(child.process.pid, {child.core})
        self._note(child, "started", "" if child.core < 0 else f"core {child.core}")

    async def _first(self, child: Child) -> None:
        """What a killed predecessor left may still be ending: it has our data and our addresses for a moment."""
        deadline = time.monotonic() + TAKE_OVER_S
        while True:
            await self._start(child)
            try:
                await self._until_ready(child)
                return
            except CannotServe:
                if time.monotonic() > deadline or self._stop.is_set():
                    raise
            await asyncio.sleep(PAUSE_S)

    async def _until_ready(self, child: Child) -> None:
        """
        Raises:
            CannotServe: it ended, or was not ready within READY_S.
        """
        deadline = time.monotonic() + READY_S
        assert child.process is not None
        while not child.ready_file.exists():
            if child.process.returncode is not None or self._stop.is_set():
                raise CannotServe(f"{child.name} ended with {child.process.returncode} before it was ready")
            if time.monotonic() > deadline:
                raise CannotServe(f"{child.name} was not ready within {READY_S} s")
            await asyncio.sleep(LOOK_S)
        self.addresses |= json.loads(child.ready_file.read_text())["listeners"]
        self._note(child, "ready")

    async def _keep(self, child: Child) -> None:
        """Restart it as its policy says."""
        while True:
            assert child.process is not None
            status = await child.process.wait()
            self._note(child, "ended", f"status {status}")
            if not child.may_restart(status):
                return
            now = time.monotonic()
            child.ends.append(now)
            while child.ends[0] < now - WITHIN_S:
                child.ends.popleft()
            if len(child.ends) > RESTARTS_MAX:
                self._failed = f"{child.name} ended {len(child.ends)} times within {WITHIN_S:.0f} s: giving up"
                self._note(child, "gave up", self._failed)
                self._stop.set()
                return
            await asyncio.sleep(pause_s(len(child.ends), random.random()))
            self._note(child, "restarts")
            await self._start(child)
            with contextlib.suppress(CannotServe):
                await self._until_ready(child)

    def _reload(self) -> None:
        for child in self.children:
            if child.process is not None and child.process.returncode is None:
                child.process.send_signal(signal.SIGHUP)

    async def _stop_all(self) -> None:
        """Gateways say their goodbyes while the sequencer still answers; then it ends, too."""
        for group in (self.children[1:], self.children[:1]):
            alive = [child for child in group if child.process is not None and child.process.returncode is None]
            for child in alive:
                with contextlib.suppress(ProcessLookupError):
                    child.process.terminate()  # type: ignore[union-attr]
            waits = [asyncio.ensure_future(child.process.wait()) for child in alive]  # type: ignore[union-attr]
            if waits:
                await asyncio.wait(waits, timeout=STOP_S)
            for child in alive:
                if child.process is not None and child.process.returncode is None:
                    print(f"thalweg: {child.name} does not stop: killed", file=sys.stderr, flush=True)
                    child.process.kill()
                    await child.process.wait()
                self._note(child, "stopped")
        for place in self._places:
            place.close()

    # the history

    def _note(self, child: Child, event: str, detail: str = "") -> None:
        pid = child.process.pid if child.process is not None else 0
        self._news.append(Transition(child.name, event, pid, detail))
        self._told.set()

    async def _tell(self) -> None:
        """To whichever sequencer takes it; what it did not confirm is told again."""
        asker: Asker | None = None
        while True:
            await self._told.wait()
            try:
                if asker is None:
                    asker = Asker(self.substrate, pathlib.Path(self.key).read_bytes().strip())
                    await asker.connect()
                while self._news:
                    await asker.ask("proc", self._news[0])
                    self._news.popleft()
                self._told.clear()
            except OSError:
                asker = None
                await asyncio.sleep(PAUSE_S)


def supervise(config: Config, workers: int, ready_file: pathlib.Path | None, pinned: bool) -> int:
    """``serve`` of more than one process.

    Raises:
        CannotServe: a child could not be started, an address is taken.
    """
    return asyncio.run(Supervisor(dataclasses.replace(config), workers, ready_file, pinned).run())
