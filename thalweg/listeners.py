"""Who is accepted where, as data: one entry for each address that the process listens on.

An entry's ``name`` is its name in the ready file, in what ``serve`` prints and in ``Gateway.listeners``: the protocol, and
for another way to it what the key has before ``listen`` (``kafka.tls_listen`` is ``kafka_tls``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from thalweg.config import OFF, Config, parse_address

PROTOCOLS = ("kafka", "nats", "mqtt", "resp", "http")


class Tls(Enum):
    """When a connection of this listener becomes TLS."""

    NONE = "none"
    FIRST = "first"
    """With its first byte."""
    AFTER = "after"
    """When the session has said its first words in the clear (NATS: INFO)."""
    EITHER = "either"
    """With the first byte, if the peer begins within a moment; else after the session's first words."""


NATS_TLS = {"never": Tls.AFTER, "always": Tls.FIRST, "auto": Tls.EITHER}


@dataclass(frozen=True, slots=True)
class Listening:
    """One address. Port 0: any that is free."""

    name: str
    protocol: str
    host: str
    port: int
    tls: Tls = Tls.NONE
    websocket: bool = False


def listening(config: Config) -> Iterator[Listening]:
    """Every listener that is not off."""
    for protocol in PROTOCOLS:
        section = getattr(config, protocol)
        secure = NATS_TLS[config.nats.tls_first] if protocol == "nats" else Tls.FIRST
        for name, key, tls in ((protocol, "listen", Tls.NONE), (f"{protocol}_tls", "tls_listen", secure)):
            address = parse_address(getattr(section, key))
            if address is not None:
                yield Listening(name, protocol, *address, tls)
        for name, key, tls in (
            (f"{protocol}_websocket", "websocket_listen", Tls.NONE),
            (f"{protocol}_websocket_tls", "websocket_tls_listen", Tls.FIRST),
        ):
            address = parse_address(getattr(section, key, OFF))
            if address is not None:
                yield Listening(name, protocol, *address, tls, websocket=True)
