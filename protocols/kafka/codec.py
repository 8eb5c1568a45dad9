"""Encoders and decoders, generated from ``schema`` for each (API, version) at its first use.

A message is an object with one attribute per field of its definition; fields that a version does not have keep their
defaults. Nested structures have a class of their own (``structure``). What a decoder gives back borrows nothing but
``records`` (a memoryview of the frame). An unknown tagged field is skipped (KIP-482).

Every length is checked against the frame before anything of that size is made, and all arrays of one message together
have at most ``ELEMENTS_MAX`` elements: a frame of a few bytes cannot ask for gigabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from protocols.api import WireError
from protocols.kafka.schema import APIS, Field

ELEMENTS_MAX = 50_000

Decoder = Callable[[memoryview, int], tuple[Any, int]]
Encoder = Callable[[Any, Callable[[Any], None]], None]

PACKED = {"int8": "b", "int16": "h", "int32": "i", "int64": "q", "bool": "?"}
SIZES = {"int8": 1, "int16": 2, "int32": 4, "int64": 8, "bool": 1}
ONE_BYTE = tuple(bytes((number,)) for number in range(128))


def read_unsigned(data: memoryview, offset: int) -> tuple[int, int]:
    """An unsigned varint of at most 5 bytes, and the offset behind it.

    Raises:
        WireError: it is longer.
        IndexError: the data ends within it.
    """
    value = shift = 0
    while True:
        byte = data[offset]
        offset += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, offset
        shift += 7
        if shift > 28:
            raise WireError("varint longer than 5 bytes")


def write_unsigned(number: int) -> bytes:
    """An unsigned varint."""
    if number < 128:
        return ONE_BYTE[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


class Codecs:
    """Makes each codec and each class once. One instance serves all sessions of a listener."""

    def __init__(self) -> None:
        self._structures: dict[tuple[str, ...], Any] = {}
        self._decoders: dict[tuple[str, int, int], Decoder] = {}
        self._encoders: dict[tuple[str, int, int], Encoder] = {}

    def decode(self, kind: str, key: int, version: int, data: memoryview, offset: int) -> tuple[Any, int]:
        """The message of ``data[offset:]`` and the offset behind it. ``kind`` is ``request`` or ``response``.

        Raises:
            WireError: the bytes are no such message.
        """
        found = self._decoders.get((kind, key, version))
        if found is None:
            found = self._decoders[kind, key, version] = _decoder(self, kind, key, version)
        try:
            message, end = found(data, offset)
        except (IndexError, struct.error, UnicodeDecodeError) as error:
            raise WireError(f"{APIS[key].name} {kind} v{version}: {error}") from error
        if end > len(data):
            raise WireError(f"{APIS[key].name} {kind} v{version}: {end - len(data)} bytes missing")
        return message, end

    def encode(self, kind: str, key: int, version: int, message: Any) -> list[Any]:
        """The message as parts to be joined (``records`` are given through, not copied)."""
        found = self._encoders.get((kind, key, version))
        if found is None:
            found = self._encoders[kind, key, version] = _encoder(self, kind, key, version)
        parts: list[Any] = []
        found(message, parts.append)
        return parts

    def structure(self, kind: str, key: int, *path: str) -> Any:
        """The class of a message (``structure("response", 3)``) or of a structure in it (``..., "topics", "partitions"``)."""
        name = (kind, str(key), *path)
        found = self._structures.get(name)
        if found is None:
            found = self._structures[name] = _structure(kind, key, path)
        return found


def _structure(kind: str, key: int, path: tuple[str, ...]) -> Any:
    fields = _fields(kind, key, path)
    words = (APIS[key].name, kind, *path)
    title = "".join(word[0].upper() + word[1:] for word in "_".join(words).split("_"))
    names = tuple(field.name for field in fields)
    scope: dict[str, Any] = {f"d_{field.name}": field.default for field in fields}
    source = [f"class {title}(Structure):", f" __slots__ = {names!r}"]
    source.append(f" def __init__(self{''.join(f', {name}=d_{name}' for name in names)}):")
    source.extend(f"  self.{name} = {name}" for name in names)
    source.append("  pass")
    scope["Structure"] = Structure
    exec("\n".join(source), scope)
    return scope[title]


class Structure:
    """What every message and every structure in one is: fields by name."""

    __slots__: tuple[str, ...] = ()
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


def _fields(kind: str, key: int, path: tuple[str, ...]) -> tuple[Field, ...]:
    fields: tuple[Field, ...] = getattr(APIS[key], kind)
    for word in path:
        fields = next(field.fields for field in fields if field.name == word)
    return fields


class Source:
    """The text of one generated function, with what it refers to."""

    def __init__(self, codecs: Codecs, kind: str, key: int, version: int) -> None:
        self.codecs = codecs
        self.kind = kind
        self.key = key
        self.version = version
        self.flexible = APIS[key].flexible(version)
        self.lines: list[str] = []
        self.scope: dict[str, Any] = {}
        self.variables = 0

    def variable(self) -> str:
        self.variables += 1
        return f"x{self.variables}"

    def refer(self, value: object) -> str:
        name = f"g{len(self.scope)}"
        self.scope[name] = value
        return name

    def line(self, depth: int, text: str) -> None:
        self.lines.append(" " * depth + text)

    def compiled(self, head: str) -> Any:
        name = f"<{APIS[self.key].name} {self.kind} v{self.version}>"
        exec(compile("\n".join([head, *self.lines]), name, "exec"), self.scope)
        return self.scope["generated"]


def _decoder(codecs: Codecs, kind: str, key: int, version: int) -> Decoder:
    """``decode(data, offset) -> message, end``; see ``Codecs.decode`` for what it may raise."""
    source = Source(codecs, kind, key, version)
    source.scope.update(read_unsigned=read_unsigned, WireError=WireError, unpack_from=struct.unpack_from)
    source.scope["i2"] = struct.Struct(">h").unpack_from
    source.scope["i4"] = struct.Struct(">i").unpack_from
    source.line(1, f"budget = {ELEMENTS_MAX}")
    result = _decode_structure(source, (), 1)
    source.line(1, f"return {result}, p")
    generated: Decoder = source.compiled("def generated(b, p):")
    return generated


def _decode_structure(source: Source, path: tuple[str, ...], depth: int) -> str:
    """Lines that read one structure at ``p``; the expression that makes it."""
    arguments: list[str] = []
    run: list[tuple[Field, str]] = []
    tagged: list[tuple[Field, str]] = []

    def flush() -> None:
        if run:
            packed = struct.Struct(">" + "".join(PACKED[field.kind] for field, _ in run))
            targets = ", ".join(name for _, name in run)
            source.line(depth, f"{targets}, = {source.refer(packed.unpack_from)}(b, p); p += {packed.size}")
            run.clear()

    for field in _fields(source.kind, source.key, path):
        if not field.spoken(source.version):
            continue
        name = source.variable()
        arguments.append(f"{field.name}={name}")
        if field.tag >= 0:
            tagged.append((field, name))
        elif field.kind in PACKED and not field.array:
            run.append((field, name))
        else:
            flush()
            _decode_field(source, field, field.array, name, (*path, field.name), depth)
    flush()
    if source.flexible:
        _decode_tags(source, tagged, path, depth)
    return f"{source.refer(source.codecs.structure(source.kind, source.key, *path))}({', '.join(arguments)})"


def _decode_tags(source: Source, tagged: list[tuple[Field, str]], path: tuple[str, ...], depth: int) -> None:
    for field, name in tagged:
        source.line(depth, f"{name} = {source.refer(field.default)}")
    count, tag, end = source.variable(), source.variable(), source.variable()
    source.line(depth, f"{count}, p = read_unsigned(b, p)")
    source.line(depth, f"for _ in range({count}):")
    source.line(depth + 1, f"{tag}, p = read_unsigned(b, p); {end}, p = read_unsigned(b, p); {end} += p")
    source.line(depth + 1, f"if {end} > len(b): raise WireError('tagged field longer than its frame')")
    for field, name in tagged:
        source.line(depth + 1, f"if {tag} == {field.tag}:")
        _decode_field(source, field, field.array, name, (*path, field.name), depth + 2)
    source.line(depth + 1, f"p = {end}")


def _decode_length(source: Source, field: Field, kind: str, name: str, depth: int) -> None:
    """``name`` becomes a length; -1 only where null is allowed."""
    if source.flexible:
        source.line(depth, f"{name} = b[p]; p += 1")
        source.line(depth, f"if {name} > 127: {name}, p = read_unsigned(b, p - 1)")
        source.line(depth, f"{name} -= 1")
    elif kind == "string":
        source.line(depth, f"{name}, = i2(b, p); p += 2")
    else:
        source.line(depth, f"{name}, = i4(b, p); p += 4")
    least = -1 if field.nullable(source.version) else 0
    source.line(
        depth, f"if {name} < {least} or {name} > len(b) - p: raise WireError(f'{field.name} of {{{name}}} bytes')"
    )


def _decode_field(source: Source, field: Field, array: bool, name: str, path: tuple[str, ...], depth: int) -> None:
    """Lines that read one value into ``name``. ``array`` False reads an element of an array."""
    nullable = field.nullable(source.version) and (array or not field.array)
    if array:
        count, element = source.variable(), source.variable()
        _decode_length(source, field, "array", count, depth)
        source.line(depth, f"budget -= {count}")
        source.line(depth, "if budget < 0: raise WireError('too many elements')")
        if nullable:
            source.line(depth, f"if {count} < 0: {name} = None")
            source.line(depth, "else:")
            depth += 1
        if field.kind in PACKED:
            size = SIZES[field.kind]
            source.line(
                depth, f"{name} = list(unpack_from(f'>{{{count}}}{PACKED[field.kind]}', b, p)); p += {size} * {count}"
            )
            return
        source.line(depth, f"{name} = []")
        source.line(depth, f"for _ in range({count}):")
        _decode_field(source, field, False, element, path, depth + 1)
        source.line(depth + 1, f"{name}.append({element})")
    elif field.kind in PACKED:
        source.line(depth, f"{name}, = unpack_from('>{PACKED[field.kind]}', b, p); p += {SIZES[field.kind]}")
    elif field.kind == "uuid":
        source.line(depth, f"{name} = bytes(b[p:p + 16]); p += 16")
    elif field.kind == "struct":
        source.line(depth, f"{name} = {_decode_structure(source, path, depth)}")
    else:
        length = source.variable()
        _decode_length(source, field, field.kind, length, depth)
        if nullable:
            source.line(depth, f"if {length} < 0: {name} = None")
            source.line(depth, "else:")
            depth += 1
        made = {"string": "str({}, 'utf-8')", "bytes": "bytes({})", "records": "{}"}[field.kind]
        source.line(depth, f"{name} = {made.format(f'b[p:p + {length}]')}; p += {length}")


def _encoder(codecs: Codecs, kind: str, key: int, version: int) -> Encoder:
    """``encode(message, append)``: ``append`` is called with each part in order."""
    source = Source(codecs, kind, key, version)
    source.scope.update(write_unsigned=write_unsigned, pack=struct.pack, total=total)
    source.scope["i2"] = struct.Struct(">h").pack
    source.scope["i4"] = struct.Struct(">i").pack
    _encode_structure(source, "m", (), "a", 1)
    source.line(1, "return")
    generated: Encoder = source.compiled("def generated(m, a):")
    return generated


def total(records: Any) -> int:
    """Bytes of ``records``: one buffer, or a tuple of buffers."""
    return sum(len(part) for part in records) if isinstance(records, tuple) else len(records)


def _encode_structure(source: Source, value: str, path: tuple[str, ...], append: str, depth: int) -> None:
    run: list[Field] = []
    tagged: list[Field] = []

    def flush() -> None:
        if run:
            packed = struct.Struct(">" + "".join(PACKED[field.kind] for field in run))
            source.line(
                depth, f"{append}({source.refer(packed.pack)}({', '.join(f'{value}.{field.name}' for field in run)}))"
            )
            run.clear()

    for field in _fields(source.kind, source.key, path):
        if not field.spoken(source.version):
            continue
        if field.tag >= 0:
            tagged.append(field)
        elif field.kind in PACKED and not field.array:
            run.append(field)
        else:
            flush()
            name = source.variable()
            source.line(depth, f"{name} = {value}.{field.name}")
            _encode_field(source, field, field.array, name, (*path, field.name), append, depth)
    flush()
    if not source.flexible:
        return
    if not tagged:
        source.line(depth, f"{append}({ONE_BYTE[0]!r})")
        return
    fields = source.variable()
    source.line(depth, f"{fields} = []")
    for field in sorted(tagged, key=lambda field: field.tag):
        name, parts = source.variable(), source.variable()
        source.line(depth, f"{name} = {value}.{field.name}")
        source.line(
            depth,
            f"if {name} != {source.refer(field.default)}{f' and {name}' if field.array and not field.nullable(source.version) else ''}:",
        )
        source.line(depth + 1, f"{parts} = []; {parts}_a = {parts}.append")
        _encode_field(source, field, field.array, name, (*path, field.name), f"{parts}_a", depth + 1)
        source.line(depth + 1, f"{parts} = b''.join({parts})")
        source.line(
            depth + 1, f"{fields}.append({write_unsigned(field.tag)!r} + write_unsigned(len({parts})) + {parts})"
        )
    source.line(depth, f"{append}(write_unsigned(len({fields})))")
    source.line(depth, f"for part in {fields}: {append}(part)")


def _encode_field(
    source: Source, field: Field, array: bool, name: str, path: tuple[str, ...], append: str, depth: int
) -> None:
    nullable = field.nullable(source.version) and (array or not field.array)
    compact = source.flexible

    def length(of: str) -> str:
        if compact:
            return f"{append}(write_unsigned({of} + 1))"
        return f"{append}({'i2' if field.kind == 'string' and not array else 'i4'}({of}))"

    if field.kind == "struct" and not array:
        _encode_structure(source, name, path, append, depth)
        return
    if field.kind == "uuid" and not array:
        source.line(depth, f"{append}({name})")
        return
    if field.kind in PACKED and not array:
        source.line(depth, f"{append}(pack('>{PACKED[field.kind]}', {name}))")
        return
    if nullable:
        null = b"\0" if compact else b"\xff\xff" if field.kind == "string" and not array else b"\xff\xff\xff\xff"
        source.line(depth, f"if {name} is None: {append}({null!r})")
        source.line(depth, "else:")
        depth += 1
    if array:
        source.line(depth, length(f"len({name})"))
        if field.kind in PACKED:
            source.line(depth, f"{append}(pack(f'>{{len({name})}}{PACKED[field.kind]}', *{name}))")
            return
        element = source.variable()
        source.line(depth, f"for {element} in {name}:")
        _encode_field(source, field, False, element, path, append, depth + 1)
    elif field.kind == "string":
        source.line(depth, f"{name} = {name}.encode()")
        source.line(depth, length(f"len({name})"))
        source.line(depth, f"{append}({name})")
    elif field.kind == "records":
        source.line(depth, length(f"total({name})"))
        source.line(depth, f"if type({name}) is tuple:")
        source.line(depth + 1, f"for part in {name}: {append}(part)")
        source.line(depth, f"else: {append}({name})")
    else:
        source.line(depth, length(f"len({name})"))
        source.line(depth, f"{append}({name})")
