"""What idle connections weigh, and that they live: ``python -m conformance.idle --pid PID kafka=HOST:PORT ...``.

Each does what a client of its protocol does first: Kafka asks for versions, NATS and MQTT connect and subscribe, Redis says
its name. Then nobody says anything. The weight is the growth of the server's resident memory (what the kernel keeps for a
socket is not in it), after some that warm it up.
"""

from __future__ import annotations

import argparse
import socket
import ssl
from collections.abc import Mapping
from typing import Self

from conformance.meters import resident_bytes

WARM = 100
ANSWER_S = 60.0
TURN = 50
"""Connections opened before the next protocol has its turn, so that all grow side by side."""


def greeting(protocol: str, number: int) -> tuple[bytes, bytes]:
    """What a client says first, and what the answer ends with."""
    name = b"idle-%05d" % number
    if protocol == "kafka":
        body = b"\x00\x12\x00\x00\x00\x00\x00\x01" + len(name).to_bytes(2, "big") + name  # ApiVersions v0
        return len(body).to_bytes(4, "big") + body, b""
    if protocol == "nats":
        return b'CONNECT {"verbose":false,"name":"%b"}\r\nSUB %b 1\r\nPING\r\n' % (name, name), b"PONG\r\n"
    if protocol == "mqtt":
        connect = b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2, "big") + name
        subscribe = b"\x00\x01" + len(name).to_bytes(2, "big") + name + b"\x00"
        return b"\x10%c%b\x82%c%b" % (len(connect), connect, len(subscribe), subscribe), b"\x90\x03\x00\x01\x00"
    return b"CLIENT SETNAME %b\r\n" % name, b"+OK\r\n"


def ping(protocol: str) -> tuple[bytes, bytes]:
    """A question that any connection is asked, and the end of its answer."""
    return {
        "kafka": greeting("kafka", 0),
        "nats": (b"PING\r\n", b"PONG\r\n"),
        "mqtt": (b"\xc0\x00", b"\xd0\x00"),
        "resp": (b"PING\r\n", b"+PONG\r\n"),
    }[protocol]


class Idle:
    """Connections that stand until the ``with`` block ends. ``tls``: what they trust, where listeners speak TLS."""

    def __init__(self, addresses: Mapping[str, tuple[str, int]], tls: ssl.SSLContext | None = None) -> None:
        self._addresses = addresses
        self._tls = tls
        self._open: list[tuple[str, socket.socket]] = []

    def add(self, each: int) -> int:
        """So many more of each protocol; how many there are now.

        Raises:
            OSError: one was refused, or had no answer in time.
        """
        for begin in range(0, each, TURN):
            for protocol, address in self._addresses.items():
                for _ in range(min(TURN, each - begin)):
                    self._open.append((protocol, self._connected(protocol, address)))
        return len(self._open)

    def _connected(self, protocol: str, address: tuple[str, int]) -> socket.socket:
        peer = socket.create_connection(address, timeout=ANSWER_S)
        if protocol == "nats":
            read_until(peer, b"\r\n")
        if self._tls is not None:
            peer = self._tls.wrap_socket(peer, server_hostname="localhost")
        words, end = greeting(protocol, len(self._open))
        peer.sendall(words)
        read_until(peer, end)
        return peer

    def ask_all(self) -> None:
        """Every one still has an answer."""
        for protocol, peer in self._open:
            words, end = ping(protocol)
            peer.sendall(words)
            read_until(peer, end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for _, peer in self._open:
            peer.close()
        self._open.clear()


def read_until(peer: socket.socket, end: bytes) -> None:
    said = b""
    while not said or not said.endswith(end):
        more = peer.recv(65536)
        if not more:
            raise ConnectionError(f"closed after {said!r}")
        said += more


def weigh(pid: int, idle: Idle, each: int) -> float:
    """Open so many of each protocol; bytes of the process for each of them."""
    warm = idle.add(WARM)
    before = resident_bytes(pid)
    count = idle.add(each) - warm
    return (resident_bytes(pid) - before) / count


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("listeners", nargs="+", metavar="PROTOCOL=HOST:PORT", help="kafka, nats, mqtt or resp")
    options.add_argument("--pid", type=int, required=True, help="of the server")
    options.add_argument("--connections", type=int, default=10_000, help="in all")
    options.add_argument("--ca", help="PEM file, where the listeners speak TLS")
    given = options.parse_args()
    addresses = {}
    for listener in given.listeners:
        protocol, _, address = listener.partition("=")
        host, _, port = address.rpartition(":")
        addresses[protocol] = (host, int(port))
    tls = ssl.create_default_context(cafile=given.ca) if given.ca else None
    with Idle(addresses, tls) as idle:
        each = weigh(given.pid, idle, given.connections // len(addresses))
        idle.ask_all()
    print(f"{given.connections} idle connections of {' '.join(addresses)}: {each:.0f} bytes each, all answer")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
