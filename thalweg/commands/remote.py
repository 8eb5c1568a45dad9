"""A running server, asked over HTTP: what the commands for people share."""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import select
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

SERVER = "http://127.0.0.1:9480"
WAIT_S = 60.0
"""Longer than the silence between two beats of a stream."""
READ_BYTES = 256 * 1024


class CannotAsk(Exception):
    """The server was not reached, or refused; the message is for whoever asked."""


def add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server",
        metavar="URL",
        default=os.environ.get("THALWEG_SERVER") or SERVER,
        help=f"http[s]://[user:password@]host:port of the console (or the variable THALWEG_SERVER; {SERVER})",
    )


class Server:
    """One connection, kept over requests."""

    def __init__(self, url: str) -> None:
        found = urlsplit(url if "://" in url else f"http://{url}")
        if found.scheme not in ("http", "https") or not found.hostname:
            raise CannotAsk(f"{url}: not a URL such as {SERVER}")
        self.name = f"{found.scheme}://{found.netloc.rpartition('@')[2]}"
        self._headers = {}
        if found.username is not None:
            secret = f"{unquote(found.username)}:{unquote(found.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(secret).decode()}"
        kind = http.client.HTTPSConnection if found.scheme == "https" else http.client.HTTPConnection
        try:
            self._connection = kind(
                found.hostname, found.port or (443 if found.scheme == "https" else 80), timeout=WAIT_S
            )
        except (ValueError, http.client.InvalidURL) as error:
            raise CannotAsk(f"{url}: {error}") from None

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/json", **query: Any
    ) -> http.client.HTTPResponse:
        """The answer's head; its body is still to be read.

        Raises:
            CannotAsk: it was not reached, or it refused.
        """
        given = {name: str(value) for name, value in query.items() if value is not None}
        target = path + ("?" + urlencode(given, quote_via=quote) if given else "")
        headers = self._headers | ({"Content-Type": kind} if method == "POST" else {})
        sock = self._connection.sock
        if (
            sock is not None and select.select([sock], [], [], 0)[0]
        ):  # closed while nothing was asked: a new one is safe
            self._connection.close()
        try:
            self._connection.request(method, target, body or None, headers)
            answer = self._connection.getresponse()
            if answer.status >= 300:
                raise CannotAsk(f"{self.name}: {refusal(answer.status, answer.read(65536))}")
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise CannotAsk(f"{self.name}: {reason(error)}") from error
        return answer

    def json(self, method: str, path: str, body: object = None, **query: Any) -> Any:
        """A whole JSON answer."""
        data = b"" if body is None else json.dumps(body).encode()
        answer = self.ask(method, path, data, **query)
        try:
            return json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            raise CannotAsk(f"{self.name}: {reason(error)}") from error

    def lines(self, path: str, **query: Any) -> Iterator[list[bytes]]:
        """The lines of an answer that goes on, as many at a time as have come.

        Raises:
            CannotAsk: it broke off.
        """
        answer = self.ask("GET", path, **query)
        rest = b""
        try:
            while data := answer.read1(READ_BYTES):
                *whole, rest = (rest + data).split(b"\n")
                yield [line for line in whole if line]
        except (OSError, http.client.HTTPException) as error:
            raise CannotAsk(f"{self.name}: {reason(error)}") from error
        finally:
            self._connection.close()


def refusal(status: int, body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {status}, which is no Thalweg's answer"


def reason(error: Exception) -> str:
    """What happened, and what to do about it where that is known."""
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there (start `thalweg serve`, or name another with --server)"
    if isinstance(error, http.client.IncompleteRead | ConnectionResetError | http.client.RemoteDisconnected):
        return "the server went away"
    return str(error) or type(error).__name__


def bytes_of(shown: Any) -> bytes:
    """Bytes as the API shows them: a string, ``{"base64": ...}``, or null for none."""
    if shown is None:
        return b""
    return shown.encode("utf-8", "surrogatepass") if isinstance(shown, str) else base64.b64decode(shown["base64"])
