"""Bytes of typed values, from their annotations: what is decoded has the type that was declared, or is refused.

| type | bytes |
|---|---|
| bool | 1: 0 or 1 |
| int | 8, big endian, signed |
| bytes, str | u32 length, then they (str as UTF-8) |
| an Enum | 1: which of its members, in their order |
| X or None, a union | 1: which of the alternatives, in the order written; then it |
| tuple[X, ...] | u32 count, then each |
| tuple[A, B] | each |
| dict[X, Y] | u32 count, then each key and value |
| a dataclass, Record | its fields in order |
| Group | address, u32 count, u32 of each length, 1: whether headers follow, then each message's; u32 length, the values |
| Tokens | its text, 1: whether it hides ``$`` |
"""

from __future__ import annotations

import array
import dataclasses
import enum
import struct
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

from substrate.group import Group, Record
from substrate.interest import Tokens

_INT = struct.Struct(">q")
_U32 = struct.Struct(">I")
Write = Callable[[bytearray, Any], None]


class FrameError(Exception):
    """The bytes are not what the type says: the peer broke the protocol."""


class Reader:
    """A cursor over one frame."""

    __slots__ = ("_view", "at", "end")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(data)
        self.at = 0
        self.end = len(self._view)

    def take(self, size: int) -> memoryview:
        """
        Raises:
            FrameError: there is less.
        """
        at = self.at
        if size > self.end - at:
            raise FrameError(f"{size} bytes wanted, {self.end - at} left")
        self.at = at + size
        return self._view[at : at + size]

    def count(self, least: int) -> int:
        """A u32 of things that take at least so many bytes each: a lie costs no memory."""
        found: int = _U32.unpack(self.take(4))[0]
        if found * least > self.end - self.at:
            raise FrameError(f"{found} things in {self.end - self.at} bytes")
        return found

    def done(self) -> None:
        if self.at != self.end:
            raise FrameError(f"{self.end - self.at} bytes behind the end")


@dataclasses.dataclass(frozen=True, slots=True)
class Codec:
    write: Write
    read: Callable[[Reader], Any]
    fits: Callable[[object], bool]
    """Whether a value is of this type: picks the alternative of a union."""
    size: int
    """Bytes at least."""
    words: str
    """For the documentation."""


def codec(kind: Any) -> Codec:
    """Of an annotation.

    Raises:
        TypeError: it has none.
    """
    while hasattr(kind, "__supertype__"):
        kind = kind.__supertype__
    simple = _SIMPLE.get(kind)
    if simple is not None:
        return simple
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _union(typing.get_args(kind))
    if origin is tuple:
        return _tuple(typing.get_args(kind))
    if origin is dict:
        return _dict(*typing.get_args(kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _enum(kind)
    if dataclasses.is_dataclass(kind):
        return _record(kind, [(name, codec(of)) for name, of in fields_of(kind)], kind.__name__)  # type: ignore[arg-type,union-attr]
    raise TypeError(f"no codec for {kind!r}")


def fields_of(kind: Any) -> list[tuple[str, Any]]:
    hints = typing.get_type_hints(kind, vars(sys.modules[kind.__module__]))
    return [(entry.name, hints[entry.name]) for entry in dataclasses.fields(kind)]


def _record(make: Callable[..., Any], parts: list[tuple[str, Codec]], name: str) -> Codec:
    kind = make

    def write(out: bytearray, value: Any) -> None:
        for part, of in parts:
            of.write(out, getattr(value, part))

    def read(reader: Reader) -> Any:
        return make(*[of.read(reader) for _, of in parts])

    return Codec(write, read, lambda value: type(value) is kind, sum(of.size for _, of in parts), name)


def _union(kinds: tuple[Any, ...]) -> Codec:
    several = [codec(kind) for kind in kinds]

    def write(out: bytearray, value: Any) -> None:
        for index, one in enumerate(several):
            if one.fits(value):
                out.append(index)
                one.write(out, value)
                return
        raise TypeError(f"{value!r} is none of {kinds}")

    def read(reader: Reader) -> Any:
        index = reader.take(1)[0]
        if index >= len(several):
            raise FrameError(f"alternative {index} of {len(several)}")
        return several[index].read(reader)

    words = " or ".join(one.words for one in several)
    return Codec(write, read, lambda value: any(one.fits(value) for one in several), 1, words)


def _tuple(kinds: tuple[Any, ...]) -> Codec:
    if len(kinds) != 2 or kinds[1] is not Ellipsis:
        several = [codec(kind) for kind in kinds]

        def write_each(out: bytearray, value: Any) -> None:
            for one, item in zip(several, value, strict=True):
                one.write(out, item)

        return Codec(
            write_each,
            lambda reader: tuple([one.read(reader) for one in several]),
            lambda value: (
                type(value) is tuple
                and len(value) == len(several)
                and all(one.fits(item) for one, item in zip(several, value, strict=True))
            ),
            sum(one.size for one in several),
            f"({', '.join(one.words for one in several)})",
        )
    item = codec(kinds[0])

    def write(out: bytearray, value: Any) -> None:
        out += _U32.pack(len(value))
        for one in value:
            item.write(out, one)

    def read(reader: Reader) -> Any:
        return tuple([item.read(reader) for _ in range(reader.count(item.size))])

    def fits(value: object) -> bool:
        return type(value) is tuple and (not value or item.fits(value[0]))

    return Codec(write, read, fits, 4, f"list of {item.words}")


def _dict(key: Any, of: Any) -> Codec:
    pair = _tuple((key, of))

    def write(out: bytearray, value: Any) -> None:
        out += _U32.pack(len(value))
        for item in value.items():
            pair.write(out, item)

    def read(reader: Reader) -> Any:
        return dict([pair.read(reader) for _ in range(reader.count(pair.size))])

    return Codec(write, read, lambda value: isinstance(value, dict), 4, f"map of {pair.words}")


def _enum(kind: type[enum.Enum]) -> Codec:
    members = list(kind)

    def read(reader: Reader) -> Any:
        index = reader.take(1)[0]
        if index >= len(members):
            raise FrameError(f"member {index} of {kind.__name__}")
        return members[index]

    def write(out: bytearray, value: Any) -> None:
        out.append(members.index(value))

    return Codec(write, read, lambda value: isinstance(value, kind), 1, kind.__name__)


def _write_int(out: bytearray, value: int) -> None:
    out += _INT.pack(value)


def _write_bytes(out: bytearray, value: bytes | bytearray | memoryview) -> None:
    out += _U32.pack(len(value))
    out += value


def _read_bytes(reader: Reader) -> bytes:
    return bytes(reader.take(reader.count(1)))


def _write_text(out: bytearray, value: str) -> None:
    _write_bytes(out, value.encode())


def _read_text(reader: Reader) -> str:
    try:
        return str(reader.take(reader.count(1)), "utf-8")
    except UnicodeDecodeError:
        raise FrameError("text that is not UTF-8") from None


def _read_bool(reader: Reader) -> bool:
    found = reader.take(1)[0]
    if found > 1:
        raise FrameError(f"{found} is neither 0 nor 1")
    return found == 1


def _read_none(reader: Reader) -> None:
    return None


def _write_group(out: bytearray, group: Group) -> None:
    _write_bytes(out, group.address)
    count = group.count
    out += _U32.pack(count)
    lengths = array.array("I", group.spans[1::2])
    lengths.byteswap()
    out += lengths.tobytes()
    out.append(group.headers is not None)
    several: list[Any] = group.headers or []
    for headers in several:
        _HEADERS.write(out, headers)
    out += _U32.pack(group.value_bytes)
    view = memoryview(group.buffer)  # type: ignore[arg-type]
    for offset, length in zip(group.spans[::2], group.spans[1::2], strict=True):
        out += view[offset : offset + length]


def _read_group(reader: Reader) -> Group:
    address = _read_bytes(reader)
    count = reader.count(4)
    lengths = array.array("I", bytes(reader.take(4 * count)))
    lengths.byteswap()
    headers = [_HEADERS.read(reader) for _ in range(count)] if _read_bool(reader) else None
    values = _read_bytes(reader)
    if sum(lengths) != len(values):
        raise FrameError("lengths that are not those of the values")
    group = Group(address, values)
    at = 0
    for index, length in enumerate(lengths):
        if headers is None:
            group.add(at, length)
        else:
            group.add_with_headers(at, length, headers[index])
        at += length
    return group


def _read_tokens(reader: Reader) -> Tokens:
    try:
        return Tokens(_read_bytes(reader), _read_bool(reader))
    except ValueError as error:
        raise FrameError(str(error)) from None


def _write_tokens(out: bytearray, value: Tokens) -> None:
    _write_bytes(out, value.text)
    out.append(value.hides_dollar)


def _is_bytes(value: object) -> bool:
    return isinstance(value, (bytes, bytearray, memoryview))


_BYTES = Codec(_write_bytes, _read_bytes, _is_bytes, 4, "bytes")
_SIMPLE: dict[Any, Codec] = {
    bool: Codec(lambda out, value: out.append(value), _read_bool, lambda value: type(value) is bool, 1, "bool"),
    int: Codec(
        _write_int,
        lambda reader: _INT.unpack(reader.take(8))[0],
        lambda value: isinstance(value, int) and not isinstance(value, (bool, enum.Enum)),
        8,
        "int",
    ),
    bytes: _BYTES,
    bytes | memoryview: _BYTES,
    str: Codec(_write_text, _read_text, lambda value: isinstance(value, str), 4, "text"),
    type(None): Codec(lambda out, value: None, _read_none, lambda value: value is None, 0, "nothing"),
    Group: Codec(_write_group, _read_group, lambda value: type(value) is Group, 13, "Group"),
    Tokens: Codec(_write_tokens, _read_tokens, lambda value: type(value) is Tokens, 5, "Tokens"),
}
_HEADERS = codec(tuple[tuple[bytes, bytes | None], ...])
_RECORD_PARTS: list[tuple[str, Any]] = [
    ("position", int), ("timestamp_ms", int), ("address", bytes), ("key", bytes | None), ("value", bytes | None),
    ("headers", tuple[tuple[bytes, bytes | None], ...]),
]  # fmt: skip
_SIMPLE[Record] = _record(Record, [(name, codec(kind)) for name, kind in _RECORD_PARTS], "Record")
