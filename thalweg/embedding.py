"""A gateway inside another program: on a loop in a thread of its own, or in a process of its own.

The thread serves those whose program is not asyncio's (``with thalweg.Gateway() as gateway``). The process serves those
whose program must not be touched by ours: the pytest plugin, and projects with a package ``protocols`` of their own. It is
told what to do by lines of JSON, and ends with the pipe that they come by.
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

if TYPE_CHECKING:
    from thalweg.gateway import Gateway

HOME = pathlib.Path(__file__).resolve().parent.parent
"""The folder of our packages."""
STOP_S = 10.0
T = TypeVar("T")

CHILD = """
import sys
at = next((at for at, path in enumerate(sys.path) if path.endswith(("site-packages", "dist-packages"))), len(sys.path))
sys.path.insert(at, {home!r})
from thalweg.embedding import serve_parent
serve_parent()
"""
"""Before what is installed and after the standard library: no folder of the caller's comes first."""


class HostPort(NamedTuple):
    """What MQTT clients want."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a gateway is reached, each in the form in which that protocol's clients want it."""

    listeners: dict[str, tuple[str, int]]
    """By name, as the ready file has them."""

    def _of(self, protocol: str) -> tuple[str, int]:
        found = self.listeners.get(protocol)
        if found is None:
            raise LookupError(f"this gateway has no {protocol} listener")
        return found

    @property
    def kafka(self) -> str:
        """``bootstrap.servers``: ``host:port``."""
        return _text(*self._of("kafka"))

    @property
    def nats(self) -> str:
        """``nats://host:port``."""
        return f"nats://{_text(*self._of('nats'))}"

    @property
    def mqtt(self) -> HostPort:
        """``(host, port)``."""
        return HostPort(*self._of("mqtt"))

    @property
    def redis(self) -> str:
        """``redis://host:port/0``."""
        return f"redis://{_text(*self._of('resp'))}/0"

    @property
    def http(self) -> str:
        """``http://host:port``."""
        return f"http://{_text(*self._of('http'))}"


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class LoopThread:
    """An event loop that runs in a thread of its own until ``close``."""

    def __init__(self) -> None:
        import uvloop

        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="thalweg", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What it returns or raises, from another thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class ChildError(Exception):
    """The process could not do what it was told; the message has its last words."""


class ChildProcess:
    """A process that holds any number of gateways. Ends when it is closed, or when this process does."""

    def __init__(self, folder: pathlib.Path) -> None:
        """``folder``: where its output goes."""
        self._output = folder / "thalweg.txt"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-E", "-c", CHILD.format(home=str(HOME))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, cwd=folder,
            )  # fmt: skip

    def start(self, data: str | os.PathLike[str] = ":memory:") -> Started:
        """A new gateway on ports of its own.

        Raises:
            ChildError: it does not start.
        """
        answer = self._ask({"start": os.fspath(data)})
        listeners = {name: (host, port) for name, (host, port) in answer["listeners"].items()}
        return Started(listeners, self, answer["number"])

    def _ask(self, words: dict[str, object]) -> Any:
        incoming, outgoing = self._process.stdin, self._process.stdout
        assert incoming is not None
        assert outgoing is not None
        try:
            incoming.write(json.dumps(words).encode() + b"\n")
            incoming.flush()
            line = outgoing.readline()
        except OSError:
            line = b""
        if not line:
            said = self._output.read_text(errors="replace")[-2000:]
            raise ChildError(f"the process ended with status {self._process.wait()}:\n{said}")
        answer = json.loads(line)
        if "error" in answer:
            raise ChildError(answer["error"])
        return answer

    def stop(self, number: int) -> None:
        self._ask({"stop": number})

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Started(Addresses):
    """One gateway of a process."""

    process: ChildProcess
    number: int

    def stop(self) -> None:
        self.process.stop(self.number)


# the process's side


def serve_parent() -> None:
    """Do what the lines on standard input say, until they end."""
    import uvloop

    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anybody prints is not an answer
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_parent(out))


async def _serve_parent(out: IO[bytes]) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    gateways: dict[int, Gateway] = {}
    number = 0
    while line := await reader.readline():
        told = json.loads(line)
        answer: dict[str, object] = {}
        if "start" in told:
            number += 1
            try:
                gateways[number] = await _start(told["start"])
                answer = {"listeners": gateways[number].listeners, "number": number}
            except OSError as error:
                answer = {"error": str(error)}
        else:
            await gateways.pop(told["stop"]).stop()
        out.write(json.dumps(answer).encode() + b"\n")
        out.flush()
    for gateway in gateways.values():
        await gateway.stop()


async def _start(data: str) -> Gateway:
    from thalweg.gateway import Gateway

    gateway = Gateway(data=data)
    await gateway.__aenter__()
    return gateway
