"""What a user may do, judged before a command runs: keys and channels are addresses, their rules are the user's.

READ: keys of which something is told, channels that are listened to. WRITE: keys that are changed, channels that are
published to. MANAGE on ``_thalweg``: commands of administration, and what empties whole databases. Commands that show all
keys (KEYS SCAN RANDOMKEY DBSIZE, SORT BY and GET) want READ of everything.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.identity import Identity, Right
from protocols.resp.mapping import address_of
from protocols.resp.table import CHANGES, Command
from substrate.address import RESP, join
from substrate.api import Address
from substrate.interest import Tokens

SERVER = Address(b"_thalweg")
EVERYTHING = Tokens(b"%#")
NO_KEY = "NOPERM this user has no permissions to access one of the keys used as arguments"
NO_CHANNEL = "NOPERM this user has no permissions to access one of the channels used as arguments"
FREE = frozenset(
    {"client|list", "lastsave", "role", "client|unblock", "acl|users", "acl|list", "acl|getuser", "slowlog|len"}
)
"""Flagged ``admin`` by Redis; they show or touch nothing that is another's but names."""
SCRIPTS = frozenset({"eval", "evalsha", "eval_ro", "evalsha_ro"})
WHOLE = frozenset({"keys", "scan", "randomkey", "dbsize"})
EMPTYING = frozenset({"flushall", "flushdb", "swapdb"})
GLOB_SIGNS = b"*?[\\"


def no_command(command: Command) -> str:
    return f"NOPERM this user has no permissions to run the '{command.name}' command"


def covering(glob: bytes) -> Tokens:
    """The narrowest token pattern that matches all that a glob over a channel's text does."""
    plain = next((at for at, byte in enumerate(glob) if byte in GLOB_SIGNS), len(glob))
    if plain == len(glob):
        return Tokens(address_of(glob))
    tokens = [RESP.decode(part) for part in glob[:plain].split(b":")[:-1]]
    return Tokens(join(tokens) + b"/%#") if tokens else EVERYTHING


def denied(identity: Identity, command: Command, words: Sequence[bytes]) -> str | None:
    """Why this user may not do that; None: it may."""
    name = command.name
    if name in EMPTYING or ("admin" in command.flags and name not in FREE):
        if not identity.may(Right.MANAGE, SERVER):
            return no_command(command)
    elif name in SCRIPTS:
        return no_command(command)  # what a script touches is not known before it runs
    elif name in WHOLE and not identity.may_all(Right.READ, EVERYTHING):
        return no_command(command)
    if command.group == "pubsub":
        return denied_channels(identity, name, words)
    for key, flags in command.keys_of(words):
        address = address_of(key)
        changes = any(flag in CHANGES for flag in flags)
        if changes and not identity.may(Right.WRITE, address):
            return NO_KEY
        if ("access" in flags or not changes) and not identity.may(Right.READ, address):
            return NO_KEY
    if name in ("sort", "sort_ro") and not identity.may_all(Right.READ, EVERYTHING):
        for option in (b"BY", b"GET"):
            if any(word.upper() == option for word in words[2:]):
                return f"ERR {option.decode()} option of SORT denied due to insufficient ACL permissions"
    return None


def denied_channels(identity: Identity, name: str, words: Sequence[bytes]) -> str | None:
    if name in ("publish", "spublish"):
        return None if identity.may(Right.WRITE, address_of(words[1])) else NO_CHANNEL
    if name in ("subscribe", "ssubscribe"):
        if not all(identity.may(Right.READ, address_of(channel)) for channel in words[1:]):
            return NO_CHANNEL
    if name == "psubscribe":
        if not all(identity.may_all(Right.READ, covering(glob)) for glob in words[1:]):
            return NO_CHANNEL
    return None
