"""Who a connection is and what it may do: one set of users and rules on addresses, the same for all four protocols.

A secret is kept as RFC 5803 and PostgreSQL write it, ``SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>``: it
checks a plain password (PBKDF2, RFC 7677: 2 ms) and serves SASL SCRAM-SHA-256, and the password cannot be read from it.

A rule is a pattern over addresses, tokens joined by ``/``: ``*`` one token, ``>`` one or more, ``#`` none or more; a token
that is one of these is written ``%2A``, ``%3E``, ``%23``. What no rule allows is denied; a ``deny`` rule outweighs every other.
Nothing but a rule that names it reaches beneath ``_thalweg``.

Users with a name of their own meaning: ``anonymous`` is who gave no credentials (without it nobody comes in so),
``default`` who gave Redis a password alone, ``token`` who gave NATS a token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from substrate.address import join
from substrate.api import DEFAULT_ACCOUNT, Account, Address
from substrate.interest import Tokens, covers, overlaps

ANONYMOUS, REDIS_DEFAULT, NATS_TOKEN = b"anonymous", b"default", b"token"
MECHANISM = "SCRAM-SHA-256"
ITERATIONS = 4096
ITERATIONS_MAX = 1_000_000
VERIFIED_MAX = 1024
REFUSALS_MAX = 16
"""Of one connection: what it gives after so many wrong credentials is not looked at."""
WILDCARDS = {b"*": b"%*", b">": b"%>", b"#": b"%#"}


class Right(Enum):
    READ = "read"
    """Subscribe, fetch, consume, read keys and groups' offsets."""
    WRITE = "write"
    """Publish, produce, append, change keys."""
    MANAGE = "manage"
    """Create, change, trim and delete topics and streams of this name; on ``_thalweg``: the server's own settings."""


def pattern(text: str) -> Tokens:
    """A rule's pattern.

    Raises:
        ValueError: ``>`` or ``#`` stands elsewhere than last.
    """
    tokens = text.encode().split(b"/")
    return Tokens(b"/".join(WILDCARDS.get(token) or join([_unescaped(token)]) for token in tokens))


def _unescaped(token: bytes) -> bytes:
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), token)


class Identity:
    """One user's rights. Immutable; compare with ``is``: a user file read again makes new ones."""

    __slots__ = ("_allow", "_deny", "account", "all", "name")

    def __init__(
        self,
        name: bytes,
        account: Account,
        allow: Mapping[Right, Sequence[Tokens]],
        deny: Mapping[Right, Sequence[Tokens]],
        all: bool = False,
    ) -> None:
        self.name = name
        self.account = account
        self.all = all
        """Everything is allowed, as where no users are configured: nothing needs to be asked."""
        self._allow = allow
        self._deny = deny

    def may(self, right: Right, address: Address) -> bool:
        """Costs a walk over the rules: ask once for an address, not once for a message."""
        if self.all:
            return True
        return any(rule.matches(address) for rule in self._allow.get(right, ())) and not any(
            rule.matches(address) for rule in self._deny.get(right, ())
        )

    def may_all(self, right: Right, wanted: Tokens) -> bool:
        """Whether some one rule allows every address that ``wanted`` matches, and none of them is denied whole.

        Of what is allowed, ``filtered`` says whether single messages must yet be judged by ``may``.
        """
        if self.all:
            return True
        return any(covers(rule, wanted) for rule in self._allow.get(right, ())) and not any(
            covers(rule, wanted) for rule in self._deny.get(right, ())
        )

    def filtered(self, right: Right, wanted: Tokens) -> bool:
        """Whether a deny rule matches some of the addresses that ``wanted`` matches."""
        return not self.all and any(overlaps(rule, wanted) for rule in self._deny.get(right, ()))


EVERYBODY = Identity(ANONYMOUS, DEFAULT_ACCOUNT, {}, {}, all=True)
"""Who connects where no users are configured."""


@dataclass(frozen=True, slots=True)
class Secret:
    """What is kept of a password (RFC 5802 section 3). ``of`` makes it, ``parse`` reads it, ``str`` writes it."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    @classmethod
    def of(cls, password: bytes, salt: bytes, iterations: int = ITERATIONS) -> Secret:
        salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        return cls(iterations, salt, hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256"))

    @classmethod
    def parse(cls, text: str) -> Secret:
        """
        Raises:
            ValueError: it is not of this form.
        """
        try:
            mechanism, head, keys = text.split("$")
            iterations, salt = head.split(":")
            stored, server = (base64.b64decode(key, validate=True) for key in keys.split(":"))
            made = cls(int(iterations), base64.b64decode(salt, validate=True), stored, server)
        except (ValueError, binascii.Error):
            raise ValueError(f"not a secret of the form {MECHANISM}$iterations:salt$key:key") from None
        if (
            mechanism != MECHANISM
            or not 1 <= made.iterations <= ITERATIONS_MAX
            or len(stored) != 32
            or len(server) != 32
        ):
            raise ValueError(f"not a {MECHANISM} secret of 1 to {ITERATIONS_MAX} iterations")
        return made

    def __str__(self) -> str:
        salt, stored, server = (
            base64.b64encode(part).decode() for part in (self.salt, self.stored_key, self.server_key)
        )
        return f"{MECHANISM}${self.iterations}:{salt}${stored}:{server}"

    def matches(self, password: bytes) -> bool:
        return hmac.compare_digest(self.of(password, self.salt, self.iterations).stored_key, self.stored_key)


class Users:
    """Every user. ``key``: 32 random bytes of this process, under which passwords already checked are remembered, so that
    who connects often pays for PBKDF2 once."""

    def __init__(self, users: Mapping[bytes, tuple[Identity, Secret | None]], key: bytes) -> None:
        self.members = users
        self._key = key
        self._verified: dict[bytes, None] = {}
        self.exhausted: Callable[[], bool] = lambda: False
        """Set by the host: too many gave wrong passwords lately, and only those that are remembered are let in."""

    def identify(self, name: bytes | None, password: bytes | None) -> Identity | None:
        """Who this is; None: not let in. No name and no password: ``anonymous``, if there is one.

        An unknown name costs what a wrong password costs.
        """
        if name is None and password is None:
            found = self.members.get(ANONYMOUS)
            return found[0] if found is not None else None
        identity, secret = self.members.get(name or b"", (None, None))
        given = hmac.digest(self._key, (name or b"") + b"\0" + (password or b"") + str(secret).encode(), "sha256")
        if given in self._verified:
            return identity
        if self.exhausted():
            return None
        if not (secret or UNKNOWN).matches(password or b"") or secret is None or identity is None:
            return None
        if len(self._verified) >= VERIFIED_MAX:
            self._verified.clear()
        self._verified[given] = None
        return identity

    def secret(self, name: bytes) -> tuple[Identity, Secret] | None:
        """For SASL SCRAM: the exchange itself proves the password."""
        identity, secret = self.members.get(name, (None, None))
        return (identity, secret) if identity is not None and secret is not None else None


UNKNOWN = Secret.of(b"", b"nobody", ITERATIONS)


class Identified:
    """How a port finds out who its session is. ``refused`` is told of each wrong credential."""

    def __init__(self, users: Callable[[], Users | None], refused: Callable[[], None]) -> None:
        self._users = users
        self._refused = refused
        self._refusals = 0
        self.identity: Identity | None = None
        """Who the session is, or by SCRAM wants to be: the last that was found for it."""

    def identify(self, user: bytes | None, secret: bytes | None) -> Identity | None:
        users = self._users()
        if users is None:
            return EVERYBODY
        if self._refusals >= REFUSALS_MAX and (user is not None or secret is not None):
            return None
        found = users.identify(user, secret)
        if found is not None:
            self.identity = found
        elif user is not None or secret is not None:
            self._refusals += 1
            self._refused()
        return found

    def secret_of(self, user: bytes) -> tuple[Identity, Secret] | None:
        users = self._users()
        found = None if users is None else users.secret(user)
        if found is not None:
            self.identity = found[0]
        return found

    @property
    def users(self) -> bool:
        return self._users() is not None
