"""Canonical addresses, and the one reversible way each protocol spells their tokens.

An address is a non-empty sequence of tokens; a token is any bytes, also none. Canonical text joins them with ``/`` and
writes ``%`` and ``/`` inside a token as ``%25`` and ``%2F``: ``orders/eu/42`` is three tokens.

A protocol cannot write every token (NATS has no blanks, MQTT no ``+``). Its ``Escape`` is a bijection between all tokens
and the texts it can write: a token that can be written as it is, is, unless it looks like an escaped one; every other is
escaped. So ``decode(encode(token)) == token`` and ``encode(decode(text)) == text``, for every token and every legal text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from substrate.api import Address


def join(tokens: Sequence[bytes]) -> Address:
    """The canonical text of these tokens (at least one)."""
    if not tokens:
        raise ValueError("an address has at least one token")
    return Address(b"/".join([token.replace(b"%", b"%25").replace(b"/", b"%2F") for token in tokens]))


def split(address: bytes) -> list[bytes]:
    """The tokens of a canonical text."""
    tokens = address.split(b"/")
    if b"%" in address:
        return [token.replace(b"%2F", b"/").replace(b"%25", b"%") for token in tokens]
    return tokens


class Escape:
    """How one protocol writes tokens between its separators.

    ``table``: byte that a token's text may not hold -> how it is written; every entry begins with ``lead``, and ``lead``
    itself has an entry (used only where escaping is needed at all). ``whole``: whole tokens that may not stand alone.
    ``utf8``: bytes that are not UTF-8 are written as ``lead`` + two hex digits.
    """

    def __init__(
        self,
        separator: bytes,
        lead: bytes,
        table: Mapping[bytes, bytes],
        whole: Mapping[bytes, bytes],
        utf8: bool = False,
    ) -> None:
        self.separator = separator
        self._lead = lead
        self._table = dict(table)
        self._whole = dict(whole)
        self._whole_back = {text: token for token, text in whole.items()}
        self._back = {text: token for token, text in table.items()}
        self._utf8 = utf8
        self._tail = table[lead][len(lead) :]
        self._leads = re.compile(re.escape(lead) + b"((?:" + re.escape(self._tail) + b")*)")
        forbidden = b"".join(re.escape(byte) for byte in table if byte != lead)
        self._forbidden = re.compile(b"[" + forbidden + b"]")
        self._escaped = re.compile(b"[" + forbidden + re.escape(lead) + b"]")
        sequences = sorted(self._back, key=len, reverse=True)
        self._sequence = re.compile(
            b"|".join([re.escape(s) for s in sequences] + [re.escape(lead) + b"([89A-F][0-9A-F])"] * utf8)
        )
        plain = forbidden + re.escape(lead) + b"%/"
        self._plain = re.compile(b"[^" + plain.replace(re.escape(separator), b"") + b"]*")

    def address(self, text: bytes) -> Address:
        """The canonical address of a text of this protocol."""
        if not self._whole and self._plain.fullmatch(text) and self._good_utf8(text):
            return Address(text.replace(self.separator, b"/"))
        return join([self.decode(part) for part in text.split(self.separator)])

    def text(self, address: bytes) -> bytes:
        """How this protocol writes a canonical address."""
        return self.separator.join([self.encode(token) for token in split(address)])

    def encode(self, token: bytes) -> bytes:
        return self._escape(token) if self._needs_escape(token) else token

    def decode(self, text: bytes) -> bytes:
        token = self._unescape(text)
        return token if token is not None and self._needs_escape(token) else text

    def _good_utf8(self, token: bytes) -> bool:
        if not self._utf8 or token.isascii():
            return True
        try:
            token.decode()
        except UnicodeDecodeError:
            return False
        return True

    def _needs_escape(self, token: bytes) -> bool:
        while True:
            if token in self._whole or self._forbidden.search(token) or not self._good_utf8(token):
                return True
            token = self._shallow(token)
            inner = self._unescape(token)  # it looks like an escaped token: then it must not stand for itself
            if inner is None:
                return False
            token = inner  # shorter each time

    def _shallow(self, token: bytes) -> bytes:
        """``%252525`` is escaped three times over, and so on for 64 KiB: all levels but one are taken off at once, or the
        look at each would cost a quadratic time."""
        depth = min((len(found.group(1)) for found in self._leads.finditer(token)), default=0) // len(self._tail)
        if depth < 2:
            return token
        cut = len(self._lead) + (depth - 1) * len(self._tail)
        return self._leads.sub(lambda found: self._lead + found.group()[cut:], token)

    def _escape(self, token: bytes) -> bytes:
        if token in self._whole:
            return self._whole[token]
        text = self._escaped.sub(lambda found: self._table[found.group()], token)
        if self._good_utf8(text):
            return text
        return b"".join([bytes((byte,)) if byte < 128 else self._lead + b"%02X" % byte for byte in text])

    def _unescape(self, text: bytes) -> bytes | None:
        """The token whose escaped form is exactly this text, or None."""
        if text in self._whole_back:
            return self._whole_back[text]
        if self._lead not in text:
            return None
        token = self._sequence.sub(self._one, text)
        return token if self._escape(token) == text else None

    def _one(self, found: re.Match[bytes]) -> bytes:
        sequence = found.group()
        plain = self._back.get(sequence)
        return plain if plain is not None else bytes.fromhex(sequence[1:].decode())


NATS = Escape(
    b".",
    b"/",
    {b".": b"//", b" ": b"/s", b"\t": b"/t", b"\r": b"/r", b"\n": b"/n", b"\f": b"/f", b"\0": b"/0", b"/": b"/|"},
    {b"": b"/", b"*": b"/*", b">": b"/>"},
)
"""``/`` for an empty token and ``//`` for a dot, as nats-server maps MQTT topics (server/mqtt.go, behaviour); the rest is
what makes it lossless."""

MQTT = Escape(b"/", b"%", {b"/": b"%2F", b"+": b"%2B", b"#": b"%23", b"\0": b"%00", b"%": b"%25"}, {}, utf8=True)

RESP = Escape(b":", b"%", {b":": b"%3A", b"%": b"%25"}, {})
