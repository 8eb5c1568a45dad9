"""TLS between a socket's bytes and a session's, without a socket: what comes in, what goes out, who is let in.

Certificates and keys are PEM files. They are read at start and on SIGHUP: connections that stand keep what they have,
new ones get the new ones; files that are wrong are refused whole, and the old ones stay.
"""

from __future__ import annotations

import os
import ssl
import stat

from thalweg.config import Config

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class TlsError(Exception):
    """A certificate, key or client CA cannot be used; the message names the file."""


def make_context(config: Config) -> ssl.SSLContext:
    """What new connections are made of.

    Raises:
        TlsError: a file is missing, is not PEM, is encrypted, or key and certificate do not belong together.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = VERSIONS[config.tls.version_min]
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    load_certificate(made, config)
    if config.tls.client_ca:
        try:
            made.load_verify_locations(config.tls.client_ca)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(f"tls.client_ca: {config.tls.client_ca}: {_reason(error)}") from error
        optional = config.tls.client_certificates == "optional"
        made.verify_mode = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
    return made


def load_certificate(context: ssl.SSLContext, config: Config) -> None:
    """Into a context, also one that serves already: connections that stand keep theirs.

    Raises:
        TlsError: the context may hold half of what is new.
    """
    for key, file in (("certificate", config.tls.certificate), ("key", config.tls.key)):
        try:
            with open(file, "rb"):
                pass
        except OSError as error:
            raise TlsError(f"tls.{key}: {file}: {error.strerror}") from error
    try:
        context.load_cert_chain(config.tls.certificate, config.tls.key, password=_refuse_encrypted)
    except (ssl.SSLError, OSError) as error:
        raise TlsError(f"tls: {config.tls.certificate} with {config.tls.key}: {_reason(error)}") from error


def warnings(config: Config) -> list[str]:
    """What is allowed and unwise."""
    if stat.S_IMODE(os.stat(config.tls.key).st_mode) & 0o007:
        return [f"tls.key: {config.tls.key} is open to every user of this machine"]
    return []


def _refuse_encrypted() -> str:
    raise TlsError("tls.key: the key is encrypted; it must be readable without a password")


def _reason(error: Exception) -> str:
    """OpenSSL's words without its file and line."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ") or "not PEM"
    return str(getattr(error, "strerror", None) or error)


class Channel:
    """One connection's TLS. Bytes of the socket go in by ``feed`` and come out by ``take``; the session's by ``read`` and
    ``write``. Any of them but ``take`` may raise ``ssl.SSLError``: then what ``take`` gives is the alert to send, and the
    connection is over."""

    __slots__ = ("_incoming", "_object", "_outgoing", "ready")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.ready = False
        """The handshake is done."""

    def feed(self, data: memoryview) -> None:
        self._incoming.write(data)

    def handshake(self) -> bool:
        """Go on with the handshake; whether it is done."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.ready = True
        return True

    def read(self, into: memoryview) -> int:
        """Plain bytes, at most one record's; 0: it needs more of the socket's; -1: the peer says no more."""
        if not self._incoming.pending and not self._object.pending():
            return 0  # found out without an exception, which costs as much as a small record
        try:
            return int(self._object.read(len(into), into)) or -1
        except ssl.SSLWantReadError:
            return 0

    def write(self, data: memoryview) -> int:
        """Plain bytes that were taken: all."""
        return self._object.write(data)

    def take(self) -> bytes:
        """What is to be sent to the socket."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def pending(self) -> int:
        """Bytes that ``take`` would give."""
        return self._outgoing.pending

    def close(self) -> None:
        """Say close_notify; the peer's is not waited for."""
        try:
            self._object.unwrap()
        except (ssl.SSLError, ValueError):
            pass


class Secure:
    """What a listener's new connections become. ``context`` is replaced when the files were read again."""

    __slots__ = ("after", "context", "either")

    def __init__(self, context: ssl.SSLContext, after: bool = False, either: bool = False) -> None:
        self.context = context
        self.after = after
        """The session speaks first, in the clear."""
        self.either = either
        """That is left to the peer."""

    def channel(self) -> Channel:
        return Channel(self.context)
