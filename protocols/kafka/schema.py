"""The definitions of ``definitions`` as objects: what an API's messages hold in which version."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from protocols.kafka.definitions import DEFINITIONS

VERSION_MAX = 32767


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a structure. ``kind`` is a primitive's name or ``struct``; ``array`` says whether there are many."""

    name: str
    kind: str
    array: bool
    first: int
    last: int
    nullable_from: int  # VERSION_MAX + 1: never
    tag: int  # -1: not tagged
    default: object
    fields: tuple[Field, ...]

    def spoken(self, version: int) -> bool:
        return self.first <= version <= self.last

    def nullable(self, version: int) -> bool:
        return version >= self.nullable_from


@dataclass(frozen=True, slots=True)
class Api:
    """One API: its key, the versions spoken, the first flexible one, and its two messages."""

    name: str
    key: int
    first: int
    last: int
    flexible_from: int  # VERSION_MAX + 1: never
    request: tuple[Field, ...]
    response: tuple[Field, ...]

    def flexible(self, version: int) -> bool:
        return version >= self.flexible_from


def parse(definitions: str) -> dict[int, Api]:
    """Every API of a text by its key."""
    lines = [(len(line) - len(line.lstrip()), line.split()) for line in definitions.splitlines() if line.strip()]
    found: dict[int, Api] = {}
    at = 0
    while at < len(lines):
        name, key, versions, *rest = lines[at][1]
        first, last = (int(number) for number in versions.split("-"))
        request, at = _fields(lines, at + 2, 4)
        response, at = _fields(lines, at + 1, 4)
        flexible_from = int(rest[1]) if rest else VERSION_MAX + 1
        found[int(key)] = Api(name, int(key), first, last, flexible_from, request, response)
    return found


def _fields(lines: list[tuple[int, list[str]]], at: int, indent: int) -> tuple[tuple[Field, ...], int]:
    found: list[Field] = []
    while at < len(lines) and lines[at][0] == indent:
        words = lines[at][1]
        nested, at = _fields(lines, at + 1, indent + 2)
        found.append(_field(words, nested))
    return tuple(found), at


def _field(words: list[str], nested: tuple[Field, ...]) -> Field:
    name, kind, *rest = words
    first, last, tag, written = 0, VERSION_MAX, -1, ""
    for word in rest:
        if word[0] == "#":
            tag = int(word[1:])
        elif word[0] == "=":
            written = word[1:]
        elif word[-1] == "+":
            first = int(word[:-1])
        else:
            first, last = (int(number) for number in word.split("-"))
    kind, mark, null = kind.partition("?")
    nullable_from = VERSION_MAX + 1 if not mark else int(null[:-1]) if null else 0
    array = kind.startswith("[]")
    kind = kind[2:] if array else kind
    kind = "struct" if kind in ("", "{}") else kind
    return Field(name, kind, array, first, last, nullable_from, tag, _default(kind, array, written), nested)


def _default(kind: str, array: bool, written: str) -> object:
    if array:
        return None if written == "null" else ()
    if kind in ("int8", "int16", "int32", "int64"):
        return int(written or "0", 0)
    if kind == "bool":
        return written == "true"
    if kind == "string":
        return None if written == "null" else written
    return {"bytes": b"", "uuid": bytes(16), "records": None, "struct": None}[kind]


APIS: MappingProxyType[int, Api] = MappingProxyType(parse(DEFINITIONS))
"""Every API that is spoken, by its key."""
