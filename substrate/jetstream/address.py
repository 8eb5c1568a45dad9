"""Where a JetStream cluster is, and which of its streams is meant:

    jetstream://[user:password@]host:port[,host:port...][/name][?replicas=N]

``name`` (letters, digits, ``-`` and ``_``; default ``thalweg``) tells several substrates on one cluster apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

SCHEME = "jetstream://"
NAME = "thalweg"
REPLICAS = 3
_ADDRESS = re.compile(
    r"jetstream://(?:(?P<user>[^:@/]*):(?P<password>[^@/]*)@)?(?P<servers>[^/?@]+)"
    r"(?:/(?P<name>[A-Za-z0-9_-]+))?(?:\?replicas=(?P<replicas>[1-5]))?"
)


@dataclass(frozen=True, slots=True)
class Cluster:
    servers: tuple[tuple[str, int], ...]
    name: str = NAME
    replicas: int = REPLICAS
    user: str = ""
    password: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Raises:
            ValueError: it is no such address.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not jetstream://host:port[,host:port...][/name][?replicas=1 to 5]")
        servers = []
        for one in found["servers"].split(","):
            host, colon, port = one.rpartition(":")
            if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"{one!r} in {text!r} is not host:port")
            servers.append((host.removeprefix("[").removesuffix("]"), int(port)))
        return cls(
            tuple(servers), found["name"] or NAME, int(found["replicas"] or REPLICAS), found["user"] or "",
            found["password"] or "",
        )  # fmt: skip
