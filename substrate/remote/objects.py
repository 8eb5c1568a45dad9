"""Bytes of plain data whose type is not declared: what executors are asked, and answer.

A value is a tag and what it says. Of classes only those that are registered, by their number; both ends register the same
(``digest`` tells). Nothing else can come out of bytes, whoever wrote them.
"""

from __future__ import annotations

import array
import dataclasses
import enum
import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from substrate.remote.codec import FrameError, Reader

_INT = struct.Struct(">q")
_FLOAT = struct.Struct(">d")
_U32 = struct.Struct(">I")
_U16 = struct.Struct(">H")
DEPTH_MAX = 32
NONE, FALSE, TRUE, INT, FLOAT, BYTES, TEXT, TUPLE, LIST, DICT, SET, ARRAY, OBJECT, MEMBER, LONG = range(15)
TYPECODES = b"bBhHiIlLqQ"


class Objects:
    """``custom``: for a class that is neither a dataclass nor a named tuple, its parts and what makes it of them."""

    def __init__(
        self,
        classes: Iterable[type],
        custom: dict[type, tuple[Callable[[Any], Sequence[Any]], Callable[..., Any]]] | None = None,
    ) -> None:
        custom = custom or {}
        known = sorted({*classes, *custom}, key=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
        self._numbers = {kind: number for number, kind in enumerate(known)}
        self._parts = [custom[kind][0] if kind in custom else parts_of(kind) for kind in known]
        self._makes: list[Callable[..., Any]] = [custom[kind][1] if kind in custom else kind for kind in known]
        self._members = [list(kind) if issubclass(kind, enum.Enum) else [] for kind in known]
        words = ";".join(f"{kind.__qualname__}({','.join(names_of(kind))})" for kind in known)
        self.digest = hashlib.sha256(words.encode()).digest()[:8]

    def encode(self, value: object) -> bytes:
        """
        Raises:
            TypeError: something in it is not of a registered class.
        """
        out = bytearray()
        self._write(out, value)
        return bytes(out)

    def decode(self, data: bytes | memoryview) -> Any:
        """
        Raises:
            FrameError: it is not what ``encode`` writes.
        """
        reader = Reader(data)
        found = self._read(reader, 0)
        reader.done()
        return found

    def _write(self, out: bytearray, value: Any) -> None:
        kind = type(value)
        if value is None or kind is bool:
            out.append(NONE if value is None else TRUE if value else FALSE)
        elif kind is int:
            _write_int(out, value)
        elif kind is bytes or kind is bytearray or kind is memoryview:
            out.append(BYTES)
            out += _U32.pack(len(value))
            out += value
        elif kind is str:
            text = value.encode()
            out.append(TEXT)
            out += _U32.pack(len(text))
            out += text
        elif kind in _SEQUENCES:
            out.append(_SEQUENCES[kind])
            out += _U32.pack(len(value))
            for item in value:
                self._write(out, item)
        elif kind is dict:
            out.append(DICT)
            out += _U32.pack(len(value))
            for item in value.items():
                self._write(out, item[0])
                self._write(out, item[1])
        elif kind is array.array:
            data = value.tobytes()
            out.append(ARRAY)
            out.append(ord(value.typecode))
            out += _U32.pack(len(data))
            out += data
        elif kind is float:
            out.append(FLOAT)
            out += _FLOAT.pack(value)
        else:
            self._write_object(out, value, kind)

    def _write_object(self, out: bytearray, value: Any, kind: type) -> None:
        number = self._numbers.get(kind)
        if number is None:
            raise TypeError(f"{kind.__module__}.{kind.__qualname__} is not registered")
        if self._members[number]:
            out.append(MEMBER)
            out += _U16.pack(number)
            out.append(self._members[number].index(value))
            return
        out.append(OBJECT)
        out += _U16.pack(number)
        parts = self._parts[number](value)
        out.append(len(parts))
        for part in parts:
            self._write(out, part)

    def _read(self, reader: Reader, depth: int) -> Any:
        if depth > DEPTH_MAX:
            raise FrameError(f"nested deeper than {DEPTH_MAX}")
        tag = reader.take(1)[0]
        if tag <= TRUE:
            return None if tag == NONE else tag == TRUE
        if tag == INT:
            return _INT.unpack(reader.take(8))[0]
        if tag == BYTES:
            return bytes(reader.take(reader.count(1)))
        if tag == TEXT:
            try:
                return str(reader.take(reader.count(1)), "utf-8")
            except UnicodeDecodeError:
                raise FrameError("text that is not UTF-8") from None
        if tag in (TUPLE, LIST, SET):
            items = [self._read(reader, depth + 1) for _ in range(reader.count(1))]
            return tuple(items) if tag == TUPLE else items if tag == LIST else frozenset(_hashed(items))
        if tag == DICT:
            pairs = [(self._read(reader, depth + 1), self._read(reader, depth + 1)) for _ in range(reader.count(2))]
            _hashed([key for key, _ in pairs])
            return dict(pairs)
        if tag == ARRAY:
            return _array(reader)
        if tag == FLOAT:
            return _FLOAT.unpack(reader.take(8))[0]
        if tag == LONG:
            return int.from_bytes(reader.take(reader.count(1)), "big", signed=True)
        return self._read_object(reader, tag, depth)

    def _read_object(self, reader: Reader, tag: int, depth: int) -> Any:
        if tag not in (OBJECT, MEMBER):
            raise FrameError(f"unknown tag {tag}")
        number = _U16.unpack(reader.take(2))[0]
        if number >= len(self._makes) or (tag == MEMBER) != bool(self._members[number]):
            raise FrameError(f"unknown class {number}")
        if tag == MEMBER:
            members, index = self._members[number], reader.take(1)[0]
            if index >= len(members):
                raise FrameError(f"member {index} of class {number}")
            return members[index]
        parts = [self._read(reader, depth + 1) for _ in range(reader.take(1)[0])]
        try:
            return self._makes[number](*parts)
        except (TypeError, ValueError) as error:
            raise FrameError(f"class {number}: {error}") from None


def _write_int(out: bytearray, value: int) -> None:
    if -(1 << 63) <= value < 1 << 63:
        out.append(INT)
        out += _INT.pack(value)
    else:
        data = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
        out.append(LONG)
        out += _U32.pack(len(data))
        out += data


def _array(reader: Reader) -> array.array[Any]:
    typecode = reader.take(1)[0]
    data = bytes(reader.take(reader.count(1)))
    if typecode not in TYPECODES:
        raise FrameError(f"typecode {typecode}")
    found: array.array[Any] = array.array(chr(typecode))
    try:
        found.frombytes(data)
    except ValueError as error:
        raise FrameError(str(error)) from None
    return found


def _hashed(items: list[Any]) -> list[Any]:
    try:
        for item in items:
            hash(item)
    except TypeError as error:
        raise FrameError(str(error)) from None
    return items


_SEQUENCES: dict[type, int] = {tuple: TUPLE, list: LIST, set: SET, frozenset: SET}


def names_of(kind: type) -> list[str]:
    if issubclass(kind, enum.Enum):
        return [member.name for member in kind]
    if dataclasses.is_dataclass(kind):
        return [entry.name for entry in dataclasses.fields(kind)]
    return list(getattr(kind, "_fields", ()))


def parts_of(kind: type) -> Callable[[Any], Sequence[Any]]:
    """What an object of this class is made of again."""
    if issubclass(kind, tuple):
        return tuple
    names = names_of(kind)
    return lambda value: [getattr(value, name) for name in names]


def classes_of(*modules: Any) -> list[type]:
    """The dataclasses, named tuples, enumerations and empty classes that these modules define."""
    return [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__module__ == module.__name__ and _is_plain(kind)
    ]


def _is_plain(kind: type) -> bool:
    if dataclasses.is_dataclass(kind) or issubclass(kind, enum.Enum):
        return True
    if issubclass(kind, tuple):
        return hasattr(kind, "_fields")
    return kind.__init__ is object.__init__ and not getattr(kind, "_is_protocol", False)
