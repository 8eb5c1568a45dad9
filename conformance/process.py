"""A real server process: started, waited for, killed, started again. Ours and the ones we compare with.

What is handed in is a command; nothing here knows whose server it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Self

READY_S = 30.0
"""Deadline, not a goal."""
STOP_S = 10.0
LISTENERS = ("kafka", "nats", "mqtt", "resp", "http")


class NotReady(Exception):
    """The process ended or stayed silent; the message carries the last of what it printed."""


def free_port() -> int:
    """A port nobody listened on a moment ago; only for servers that cannot be told to choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_command(name: str) -> str | None:
    """The path of a server or tool: beside this interpreter, on the path, or where Debian keeps servers."""
    beside = pathlib.Path(sys.executable).with_name(name)
    if beside.exists():
        return str(beside)
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


class ServerProcess:
    """A child process with its output in a file. Leaving the ``with`` block ends it, by force if it must."""

    def __init__(self, command: Sequence[str], folder: pathlib.Path, env: Mapping[str, str] | None = None) -> None:
        self.command = list(command)
        self.folder = folder
        self.output = folder / "output.txt"
        self.env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self.env
            )

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def last_words(self, bytes_max: int = 4000) -> str:
        """The end of what it printed."""
        return self.output.read_bytes()[-bytes_max:].decode(errors="replace") if self.output.exists() else ""

    def wait_until_accepting(self, port: int, timeout_s: float = READY_S) -> None:
        """Return when somebody accepts on this loopback port.

        Raises:
            NotReady: the process ended, or nobody accepted in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            self._must_run_until(deadline, f"accepting on port {port}")

    def _must_run_until(self, deadline: float, what: str) -> None:
        if not self.is_running():
            status = self._process.returncode if self._process is not None else None
            raise NotReady(f"{self.command[0]} ended with status {status} before {what}:\n{self.last_words()}")
        if time.monotonic() > deadline:
            raise NotReady(f"{self.command[0]} was not {what} in time:\n{self.last_words()}")
        time.sleep(0.005)

    def wait_until_said(self, words: str, timeout_s: float = READY_S) -> None:
        """Return when it has printed these words.

        Raises:
            NotReady: the process ended, or did not print them in time.
        """
        deadline = time.monotonic() + timeout_s
        while words not in self.last_words(1 << 20):
            self._must_run_until(deadline, f"saying {words!r}")

    def stop(self, timeout_s: float = STOP_S) -> int:
        """Ask with SIGTERM; its exit status. SIGKILL after ``timeout_s``, answered as -9."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone: its ports are free when this returns."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


class GatewayProcess(ServerProcess):
    """A gateway as its users run it, started by ``command`` (which ends in ``serve``), addressed by its ready file.

    ``kafka``, ``nats``, ``mqtt``, ``resp`` and ``http`` are ``"host:port"``; the empty string where that listener is off.
    A restart takes the same ports and data.
    """

    kafka: str
    nats: str
    mqtt: str
    resp: str
    http: str

    def __init__(
        self,
        command: Sequence[str],
        folder: pathlib.Path,
        data: str | None = None,
        flags: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(command, folder, env)
        self.data = data if data is not None else str(folder / "data")
        self.ready_file = folder / "ready.json"
        self.listeners: dict[str, str] = {}
        """Every listener of the last start by its name in the ready file, TLS and WebSocket too."""
        self.ready_s = 0.0
        """Seconds from exec to the ready file at the last start."""
        self._base = list(command)
        self._flags = list(flags)
        for name in LISTENERS:
            setattr(self, name, "127.0.0.1:0")

    def start(self) -> None:
        """Return when all its listeners accept.

        Raises:
            NotReady: it ended, or its ready file did not come in time.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ready_file.unlink(missing_ok=True)
        self.command = [*self._base, "--data", self.data, "--ready-file", str(self.ready_file)]
        for name in LISTENERS:
            if f"--{name}" not in self._flags:
                self.command += [f"--{name}", getattr(self, name) or "off"]
        self.command += self._flags
        began = time.monotonic()
        super().start()
        while not self.ready_file.exists():
            self._must_run_until(began + READY_S, "ready")
        self.ready_s = time.monotonic() - began
        self.listeners = json.loads(self.ready_file.read_text())["listeners"]
        for name in LISTENERS:
            setattr(self, name, self.listeners.get(name, ""))

    def restart(self, kill: bool = False) -> None:
        """The same data and ports again; after SIGKILL, or after a clean stop that must succeed."""
        if kill:
            self.kill()
        else:
            status = self.stop()
            assert status == 0, f"stopped with status {status}:\n{self.last_words()}"
        self.start()

    def address(self, protocol: str) -> str:
        return str(getattr(self, protocol))

    def port(self, protocol: str) -> int:
        return int(self.address(protocol).rpartition(":")[2])


def peer_command(name: str, port: int, folder: pathlib.Path) -> list[str] | None:
    """How to start a real server for comparison on this port, its data in this folder; None: it is not installed."""
    found = find_command(name)
    if found is None:
        return None
    if name == "redis-server":
        return [found, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    if name == "nats-server":
        return [found, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "jetstream")]
    if name == "mosquitto":
        settings = folder / "mosquitto.conf"
        settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        return [found, "-c", str(settings)]
    raise ValueError(f"no recipe for the server {name!r}")
