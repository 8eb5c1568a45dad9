"""SaslHandshake 0-1, SaslAuthenticate 0-2: who a connection is.

Where users are configured, a connection may ask ApiVersions and SaslHandshake, and nothing else, until it is authenticated
(unless there is a user ``anonymous``: it is that one until then). Anything else closes it, as in Kafka
(SaslServerAuthenticator.java, behaviour).

* Mechanisms: PLAIN (RFC 4616) and SCRAM-SHA-256 (RFC 5802, 7677). Another: UNSUPPORTED_SASL_MECHANISM with these two.
* After SaslHandshake 1 tokens come in SaslAuthenticate; after version 0 as bare frames of a length and a token.
* A refusal is SASL_AUTHENTICATION_FAILED with its reason, told after ``FAILED_WAIT_MS``; then the connection is closed. With bare
  frames it is closed without a word.
* Once authenticated, or where nobody need be: ILLEGAL_SASL_STATE. Sessions do not expire (``session_lifetime_ms`` 0, KIP-368).
* An authorization id other than the user itself is refused, as are channel binding and delegation tokens.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, Any, Protocol

from protocols.api import Identity, Port, Secret
from protocols.kafka.errors import Code
from protocols.kafka.exchange import Exchange
from protocols.kafka.wire import LENGTH

if TYPE_CHECKING:
    from protocols.kafka.session import KafkaSession

PLAIN, SCRAM = "PLAIN", "SCRAM-SHA-256"
MECHANISMS = (PLAIN, SCRAM)
TOKEN_BYTES_MAX = 512 * 1024
"""Kafka's sasl.server.max.receive.size: of any frame before its sender is known."""
FAILED_WAIT_MS = 100
"""Kafka's connection.failed.authentication.delay.ms."""
INVALID = "Authentication failed: Invalid username or password"
INVALID_SCRAM = f"Authentication failed during authentication due to invalid credentials with SASL mechanism {SCRAM}"
OTHER_ID = "Authentication failed: Client requested an authorization id that is different from username"


class AuthenticationFailed(Exception):
    """The text goes to the client: it tells nothing about who there is."""


class Exchanged(Protocol):
    """One authentication under way. ``identity`` is there once it succeeded."""

    identity: Identity | None

    def step(self, port: Port, token: bytes) -> bytes:
        """What to answer a client's token. Raises: AuthenticationFailed."""
        ...


class PlainExchange:
    """``[authorization id] NUL user NUL password``, once."""

    def __init__(self) -> None:
        self.identity: Identity | None = None

    def step(self, port: Port, token: bytes) -> bytes:
        parts = token.split(b"\0")
        if len(parts) != 3:
            raise AuthenticationFailed(f"Invalid SASL/PLAIN response: expected 3 tokens, got {len(parts)}")
        authorized, user, password = parts
        if not user or not password:
            raise AuthenticationFailed(f"Authentication failed: {'password' if user else 'username'} not specified")
        if authorized and authorized != user:
            raise AuthenticationFailed(OTHER_ID)
        self.identity = port.identify(user, password)
        if self.identity is None:
            raise AuthenticationFailed(INVALID)
        return b""


class ScramExchange:
    """Client first, server first, client final, server final."""

    def __init__(self) -> None:
        self.identity: Identity | None = None
        self._found: tuple[Identity, Secret] | None = None
        self._nonce = b""
        self._said = b""

    def step(self, port: Port, token: bytes) -> bytes:
        return self._final(token) if self._nonce else self._first(port, token)

    def _first(self, port: Port, token: bytes) -> bytes:
        binding, _, rest = token.partition(b",")
        authorized, _, bare = rest.partition(b",")
        said = _attributes(bare)
        if binding != b"n" or list(said)[:2] != [b"n", b"r"] or not said[b"r"]:
            raise AuthenticationFailed("Invalid SCRAM client first message")
        if b"tokenauth=true" in bare.split(b",")[2:]:  # the only extension that means something (KIP-48)
            raise AuthenticationFailed("Delegation tokens are not supported")
        user = _unescaped(said[b"n"])
        if authorized and (authorized[:2] != b"a=" or _unescaped(authorized[2:]) != user):
            raise AuthenticationFailed(OTHER_ID)
        self._found = port.secret_of(user)
        if self._found is None:
            raise AuthenticationFailed(INVALID_SCRAM)
        secret = self._found[1]
        self._nonce = said[b"r"] + b"%016x%016x" % (port.random(), port.random())
        answer = b"r=%s,s=%s,i=%d" % (self._nonce, base64.b64encode(secret.salt), secret.iterations)
        self._said = bare + b"," + answer
        return answer

    def _final(self, token: bytes) -> bytes:
        assert self._found is not None
        identity, secret = self._found
        without_proof, _, proof = token.rpartition(b",p=")
        said = _attributes(without_proof)
        if said.get(b"c") not in (b"biws", base64.b64encode(b"n,a=" + _escaped(identity.name) + b",")):
            raise AuthenticationFailed("Invalid SCRAM client final message: channel binding")
        # librdkafka before 2.6.1 puts its own part before the whole nonce once more; Kafka takes that too
        if not said.get(b"r", b"").endswith(self._nonce):
            raise AuthenticationFailed("Invalid SCRAM client final message: nonce")
        signed = self._said + b"," + without_proof
        try:
            given = base64.b64decode(proof, validate=True)
        except binascii.Error:
            given = b""
        signature = hmac.digest(secret.stored_key, signed, "sha256")
        key = bytes(one ^ other for one, other in zip(given, signature, strict=False))
        if len(given) != len(signature) or not hmac.compare_digest(hashlib.sha256(key).digest(), secret.stored_key):
            raise AuthenticationFailed(INVALID_SCRAM)
        self.identity = identity
        return b"v=" + base64.b64encode(hmac.digest(secret.server_key, signed, "sha256"))


def _attributes(message: bytes) -> dict[bytes, bytes]:
    return {part[:1]: part[2:] for part in message.split(b",") if part[1:2] == b"="}


def _unescaped(name: bytes) -> bytes:
    return name.replace(b"=2C", b",").replace(b"=3D", b"=")


def _escaped(name: bytes) -> bytes:
    return name.replace(b"=", b"=3D").replace(b",", b"=2C")


def begin(mechanism: str) -> Exchanged:
    return PlainExchange() if mechanism == PLAIN else ScramExchange()


def sasl_handshake(exchange: Exchange, message: Any) -> None:
    session = exchange.session
    if not session.may_authenticate:
        exchange.reply(exchange.make(error_code=Code.ILLEGAL_SASL_STATE))
    elif message.mechanism not in MECHANISMS:
        exchange.reply(exchange.make(error_code=Code.UNSUPPORTED_SASL_MECHANISM, mechanisms=MECHANISMS))
        session.abandon(f"mechanism {message.mechanism[:40]!r}")
    else:
        session.authenticating = begin(message.mechanism)
        session.bare_tokens = exchange.version == 0
        exchange.reply(exchange.make(mechanisms=MECHANISMS))


def sasl_authenticate(exchange: Exchange, message: Any) -> None:
    session = exchange.session
    under_way = session.authenticating
    if under_way is None:
        text = "SaslAuthenticate request received after successful authentication"
        exchange.reply(exchange.make(error_code=Code.ILLEGAL_SASL_STATE, error_message=text))
        return
    try:
        answer = under_way.step(session.port, bytes(message.auth_bytes))
    except AuthenticationFailed as failed:
        made = exchange.make(error_code=Code.SASL_AUTHENTICATION_FAILED, error_message=str(failed))
        session.refuse(lambda: exchange.reply(made))
        return
    session.authenticated(under_way.identity)
    exchange.reply(exchange.make(auth_bytes=answer))


def bare_token(session: KafkaSession, under_way: Exchanged, token: bytes) -> None:
    """A token that came without SaslAuthenticate is answered in kind."""
    try:
        answer = under_way.step(session.port, token)
    except AuthenticationFailed:
        session.refuse(lambda: None)
        return
    session.authenticated(under_way.identity)
    session.outbox.answer_at(LENGTH.pack(len(answer)) + answer, 0, 0)
