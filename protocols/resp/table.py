"""What a command is. The families' tuples of these are the whole list: of what is executed, of COMMAND's answers and of
the README's tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Handler = Callable[[Any, list[bytes]], Any]
"""``(call, words) -> encoded reply``, or a ``call.Later`` or ``call.Block``."""

WRITE = "write"
READ = "readonly"
FAST = "fast"
DENY_OOM = "denyoom"
ADMIN = "admin"
PUBSUB = "pubsub"
NO_SCRIPT = "noscript"
BLOCKING = "blocking"
LOADING = "loading"
STALE = "stale"
NO_AUTH = "no_auth"
NO_MULTI = "no_multi"
MOVABLE = "movablekeys"


@dataclass(frozen=True, slots=True)
class Command:
    """``arity`` counts the name; negative: at least so many. ``first``, ``last``, ``step`` say which words are keys.

    ``name`` has a ``|`` for a subcommand: ``config|get``. ``handler`` None: the session's own, never executed elsewhere.
    """

    name: str
    arity: int
    flags: tuple[str, ...]
    first: int
    last: int
    step: int
    handler: Handler | None
    summary: str
    group: str

    @property
    def writes(self) -> bool:
        return WRITE in self.flags

    def fits(self, count: int) -> bool:
        return count == self.arity if self.arity > 0 else count >= -self.arity


class Family:
    """Builds the commands of one group."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.commands: tuple[Command, ...] = ()

    def add(
        self, name: str, arity: int, flags: str, keys: tuple[int, int, int], handler: Handler | None, summary: str
    ) -> None:
        self.commands += (Command(name, arity, tuple(flags.split()), *keys, handler, summary, self.group),)


NO_KEYS = (0, 0, 0)
ONE_KEY = (1, 1, 1)
ALL_KEYS = (1, -1, 1)
