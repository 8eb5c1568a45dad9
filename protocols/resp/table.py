"""What a command is, as ``commands.py`` declares it, and which of a request's words are keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from protocols.resp.numbers import find_integer

Handler = Callable[[Any, list[bytes]], Any]
"""``(call, words) -> encoded reply``, or a ``call.Later`` or ``call.Block``."""
Handlers = Mapping[str, Handler]
"""A family's: name -> what runs it."""

CATEGORIES_OF_FLAGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "write": ("@write",), "readonly": ("@read",), "admin": ("@admin", "@dangerous"), "pubsub": ("@pubsub",),
        "fast": ("@fast",), "blocking": ("@blocking",),
    }
)  # fmt: skip
ACCESS = ("access",)
CHANGES = ("insert", "update", "delete")


@dataclass(frozen=True, slots=True)
class Keys:
    """Where keys stand and what is done to them (the key specifications of Redis 7).

    ``begin`` is an index; with ``keyword``, where the search for that word begins. ``last`` counts from the first key, or,
    negative, from the end; ``limit`` 2: the first half only. ``counted``: the word at ``begin`` says how many follow.
    """

    flags: tuple[str, ...]
    begin: int
    keyword: str = ""
    last: int = 0
    step: int = 1
    limit: int = 0
    counted: bool = False

    @classmethod
    def parse(cls, text: str) -> Keys:
        where, _, flags = text.rpartition(":")
        words = tuple(flags.split(","))
        if where == "?":
            return cls(words, 0)
        keyword, _, where = where.rpartition("@")
        if where.endswith("#"):
            return cls(words, int(where[:-1]), keyword, counted=True)
        reach, *steps = where.split("/")
        begin, _, last = reach.partition("..")
        step, limit = (int(steps[0]) if steps else 1), (int(steps[1]) if len(steps) > 1 else 0)
        return cls(words, int(begin), keyword, int(last or 0), step, limit)

    @property
    def known(self) -> bool:
        return self.begin > 0

    def places(self, words: Sequence[bytes]) -> range:
        """Indices of the keys; none where the words are not what they should be."""
        first = self.begin
        if self.keyword:
            wanted = self.keyword.encode()
            first = next((at + 1 for at in range(first, len(words)) if words[at].upper() == wanted), 0)
        if not first or first >= len(words):
            return range(0)
        if self.counted:
            count = find_integer(words[first]) or 0
            if count < 1 or first + count >= len(words):
                return range(0)
            return range(first + 1, first + 1 + count)
        if self.last >= 0:
            return range(first, min(first + self.last, len(words) - 1) + 1, self.step)
        if self.limit:
            return range(first, first + (len(words) - first) // self.limit, self.step)
        return range(first, len(words) + self.last + 1, self.step)


@dataclass(frozen=True, slots=True)
class Command:
    """One line of the table. ``handler`` None: the session's own, never executed elsewhere."""

    name: str
    arity: int
    flags: tuple[str, ...]
    more_categories: tuple[str, ...]
    keys: tuple[Keys, ...]
    tips: tuple[str, ...]
    group: str
    since: str
    summary: str
    handler: Handler | None
    writes: bool

    def fits(self, count: int) -> bool:
        return count == self.arity if self.arity > 0 else count >= -self.arity

    @property
    def categories(self) -> list[str]:
        found = set(self.more_categories)
        for flag in self.flags:
            if flag == "readonly" and "@scripting" in found:
                continue
            found.update(CATEGORIES_OF_FLAGS.get(flag, ()))
        if "@fast" not in found:
            found.add("@slow")
        return sorted(found)

    @property
    def span(self) -> tuple[int, int, int]:
        """First key, last key, step as COMMAND gives them: what a range of indices can say."""
        ranges = [keys for keys in self.keys if keys.known and not keys.keyword and not keys.counted]
        if not ranges:
            return 0, 0, 0
        first, last, step = ranges[0].begin, ranges[0].begin - 1, ranges[0].step
        for keys in ranges:
            if keys.begin != last + 1:
                break
            last = keys.begin + keys.last if keys.last >= 0 else keys.last
            if last < 0:
                break
        return first, last, step

    def keys_of(self, words: Sequence[bytes]) -> list[tuple[bytes, tuple[str, ...]]]:
        """The keys among these words, and what is done to each."""
        found = []
        for keys in self.keys:
            if keys.known:
                flags = self._variable(words) if "variable_flags" in keys.flags else keys.flags
                found += [(words[at], flags) for at in keys.places(words)]
        if self.name in ("sort", "georadius", "georadiusbymember"):
            found = found[:1] + stored(self, words)
        return found

    def _variable(self, words: Sequence[bytes]) -> tuple[str, ...]:
        """What SET and BITFIELD do to their key depends on their options."""
        given = {word.upper() for word in words[2:]}
        if self.name == "set":
            return ("RW", "access", "update") if b"GET" in given else ("OW", "update")
        writes = given & {b"SET", b"INCRBY"}
        return ("RW", "access", "update") if writes else ("RO", "access")


def stored(command: Command, words: Sequence[bytes]) -> list[tuple[bytes, tuple[str, ...]]]:
    """The last STORE (or STOREDIST) key of SORT and GEORADIUS."""
    options = {b"STORE"} if command.name == "sort" else {b"STORE", b"STOREDIST"}
    start = 2 if command.name == "sort" else -command.arity
    found: list[tuple[bytes, tuple[str, ...]]] = []
    at = start
    while at + 1 < len(words):
        if words[at].upper() in options:
            found = [(words[at + 1], ("OW", "update"))]
            at += 1
        elif command.name == "sort" and words[at].upper() == b"LIMIT":
            at += 2
        elif command.name == "sort" and words[at].upper() in (b"GET", b"BY"):
            at += 1
        at += 1
    return found


def read_table(text: str, handlers: Mapping[str, Handler]) -> list[Command]:
    """The commands of a table as ``commands.py`` describes it."""
    found = []
    group = ""
    for line in text.splitlines():
        if line.startswith("== "):
            group = line[3:]
            continue
        name, arity, flags, categories, keys, tips, since, summary = (part.strip() for part in line.split(" | "))
        found.append(
            Command(
                name,
                int(arity),
                tuple(flags.split()),
                tuple(categories.split()),
                tuple(Keys.parse(part) for part in keys.split()),
                tuple(tips.split()),
                group,
                since,
                summary,
                handlers.get(name),
                "write" in flags.split(),
            )
        )
    return found


def internal(name: str, handler: Handler) -> Command:
    """What is never on the wire: an effect, or what a session tells the executor."""
    return Command(name, -1, (), (), (), (), "internal", "", "", handler, False)
