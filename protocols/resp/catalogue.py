"""All commands in one table, put together from the families. Everything that knows commands asks here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from protocols.resp import (
    admin,
    bits,
    connection,
    describing,
    dumps,
    geo,
    groups,
    hashes,
    hyperloglog,
    keys,
    lists,
    pubsub,
    scripting,
    server,
    sets,
    sorting,
    streams,
    strings,
    topics,
    transactions,
    zsets,
    zsets_algebra,
)
from protocols.resp.commands import TABLE
from protocols.resp.errors import unknown_command, unknown_subcommand, wrong_arity
from protocols.resp.table import Command, Handler, internal, read_table

FAMILIES = (
    strings, keys, hashes, lists, sets, zsets, zsets_algebra, streams, transactions, pubsub, connection, server,
    describing, bits, hyperloglog, geo, sorting, groups, admin, scripting, dumps,
)  # fmt: skip
OWN = frozenset(
    [
        "auth",
        "quit",
        "reset",
        "client|reply",
        "multi",
        "exec",
        "subscribe",
        "unsubscribe",
        "psubscribe",
        "punsubscribe",
        "ssubscribe",
        "sunsubscribe",
    ]
)
"""What the session does itself."""
INTERNAL = (
    internal("_bind", topics.bind), internal("_config", server.configured), internal("_subscribed", pubsub.subscribed),
    internal("_delivered", groups.delivered), internal("_claimed", groups.claimed),
)  # fmt: skip
"""Never from the wire: effects, and what sessions tell the executor. Their names begin with an underscore."""


class Catalogue:
    """Commands by name in upper case; a subcommand's is ``CONFIG|GET``."""

    def __init__(self) -> None:
        handlers: dict[str, Handler] = {}
        for family in FAMILIES:
            handlers.update(family.HANDLERS)
        table = [c for c in read_table(TABLE, handlers) if c.handler or c.name in OWN]
        found = {command.name.upper().encode(): command for command in table}
        self.commands: Mapping[bytes, Command] = MappingProxyType(found)
        self.internal: Mapping[bytes, Command] = MappingProxyType({c.name.upper().encode(): c for c in INTERNAL})
        self.parents = frozenset(name.split(b"|")[0] for name in found if b"|" in name)

    def find(self, words: list[bytes]) -> Command | str:
        """The command of these words, or the error's text. Its arity is not checked."""
        name = words[0].upper()
        if name in self.parents and (len(words) > 1 or name not in self.commands):
            if len(words) == 1:
                return wrong_arity(name.decode().lower())
            command = self.commands.get(name + b"|" + words[1].upper())
            return command or unknown_subcommand(name.decode(), words[1])
        return self.commands.get(name) or unknown_command(words)

    def check(self, words: list[bytes]) -> Command | str:
        """As ``find``, with the arity checked."""
        found = self.find(words)
        if isinstance(found, Command) and not found.fits(len(words)):
            return wrong_arity(found.name)
        return found

    def names(self) -> list[str]:
        """Every command without its subcommands, in lower case."""
        return sorted({name.split(b"|")[0].decode().lower() for name in self.commands})

    def subcommands(self, name: str) -> list[Command]:
        if name.upper().encode() not in self.parents:
            return []
        return [command for command in self.commands.values() if command.name.startswith(name + "|")]

    def parent(self, name: str) -> Command:
        """What stands for a command that has subcommands."""
        own = self.commands.get(name.upper().encode())
        subs = self.subcommands(name)
        if own is not None:
            return own
        since = min(sub.since for sub in subs)
        return Command(name, -2, (), (), (), (), subs[0].group, since, f"Subcommands of {name.upper()}", None, False)


CATALOGUE = Catalogue()
"""Made once; nothing changes it."""
