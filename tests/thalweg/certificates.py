"""Certificates for tests, made anew: an authority, the server's own, clients' good and expired."""

from __future__ import annotations

import datetime
import pathlib
import ssl
from dataclasses import dataclass

import trustme


@dataclass(frozen=True)
class Certificates:
    """PEM files in one folder."""

    folder: pathlib.Path
    authority: trustme.CA

    @classmethod
    def make(cls, folder: pathlib.Path) -> Certificates:
        folder.mkdir(exist_ok=True)
        made = cls(folder, trustme.CA())
        made.authority.cert_pem.write_to_path(folder / "ca.pem")
        made.issue("server")
        return made

    def issue(self, name: str, days: int = 2) -> None:
        """``name.pem`` and ``name.key``; expired where ``days`` is negative."""
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        since = until - datetime.timedelta(days=30)
        cert = self.authority.issue_cert("localhost", "127.0.0.1", common_name=name, not_before=since, not_after=until)
        (self.folder / f"{name}.pem").write_bytes(b"".join(pem.bytes() for pem in cert.cert_chain_pems))
        cert.private_key_pem.write_to_path(self.folder / f"{name}.key")
        (self.folder / f"{name}.key").chmod(0o600)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    @property
    def ca(self) -> str:
        return self.path("ca.pem")

    def keys(self, client_ca: bool = False) -> dict[str, str]:
        """What ``[tls]`` says."""
        told = {"certificate": self.path("server.pem"), "key": self.path("server.key")}
        return told | ({"client_ca": self.ca} if client_ca else {})

    def client(self, name: str | None = None) -> ssl.SSLContext:
        """What a client trusts and, with a name, shows."""
        made = ssl.create_default_context(cafile=self.ca)
        if name is not None:
            made.load_cert_chain(self.path(f"{name}.pem"), self.path(f"{name}.key"))
        return made
