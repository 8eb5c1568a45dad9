"""Values in records of the state stream: None, integers, bytes and tuples of these, one encoding for each value.

    value = 0x00                                    None
          | 0x01 | 8 bytes, signed, big-endian      integer
          | 0x02 | 4 bytes length | the bytes       bytes
          | 0x03 | 4 bytes count | the values       tuple
          | 0x10 + n (n < 0xF0 - 0x10)              the integer n

Equal values have equal bytes, so that equal states dump equal bytes. A record that does not parse raises ValueError.
"""

from __future__ import annotations

import struct

Value = None | int | bytes | tuple["Value", ...]

_INTEGER = struct.Struct(">Bq")
_LENGTH = struct.Struct(">BI")
_SMALL = 0xE0
DEPTH_MAX = 16


def pack(value: Value) -> bytes:
    out: list[bytes] = []
    _put(out, value)
    return b"".join(out)


def _put(out: list[bytes], value: Value) -> None:
    if value is None:
        out.append(b"\0")
    elif isinstance(value, int):
        number = int(value)
        out.append(bytes((0x10 + number,)) if 0 <= number < _SMALL else _INTEGER.pack(1, number))
    elif isinstance(value, (bytes, bytearray)):
        out.append(_LENGTH.pack(2, len(value)))
        out.append(bytes(value))
    elif isinstance(value, (tuple, list)):
        out.append(_LENGTH.pack(3, len(value)))
        for one in value:
            _put(out, one)
    else:
        raise TypeError(f"cannot be recorded: {value!r}")


def unpack(data: bytes) -> Value:
    """The value of ``pack``.

    Raises:
        ValueError: these are not exactly one value's bytes.
    """
    try:
        value, at = _take(data, 0, 0)
    except (IndexError, struct.error) as error:
        raise ValueError(f"a value ends within itself: {error}") from None
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes behind a value")
    return value


def _take(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    tag = data[at]
    if tag >= 0x10:
        if tag >= 0x10 + _SMALL:
            raise ValueError(f"tag {tag:#x}")
        return tag - 0x10, at + 1
    if tag == 0:
        return None, at + 1
    if tag == 1:
        return _INTEGER.unpack_from(data, at)[1], at + 9
    if tag not in (2, 3):
        raise ValueError(f"tag {tag:#x}")
    size: int = _LENGTH.unpack_from(data, at)[1]
    at += 5
    if tag == 2:
        if at + size > len(data):
            raise IndexError("bytes")
        return data[at : at + size], at + size
    if depth == DEPTH_MAX or size > len(data) - at:
        raise ValueError("a tuple of more than there is")
    values = []
    for _ in range(size):
        value, at = _take(data, at, depth + 1)
        values.append(value)
    return tuple(values), at
