# cython: language_level=3
"""Values in records of the state stream: None, integers, bytes and tuples of these, one encoding for each value.

    value = 0x00                                    None
          | 0x01 | 8 bytes, signed, big-endian      integer
          | 0x02 | 4 bytes length | the bytes       bytes
          | 0x03 | 4 bytes count | the values       tuple
          | 0x10 + n (n < 0xE0)                     the integer n

Equal values have equal bytes, so that equal states dump equal bytes. A record that does not parse raises ValueError.
"""

from __future__ import annotations

import struct

import cython

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memcpy

_INTEGER = struct.Struct(">Bq")
_NUMBER = struct.Struct(">q")
SMALL = cython.declare(cython.longlong, 0xE0)
DEPTH_MAX = cython.declare(cython.int, 16)


def pack(value: object) -> bytes:
    writer = _Writer()
    writer.put(value)
    return writer.taken()


@cython.cclass
class _Writer:
    """One growing buffer: a record of a thousand messages costs no object for each of their fields."""

    out: bytearray
    view: cython.uchar[::1]
    fill: cython.Py_ssize_t

    def __init__(self) -> None:
        self.out = bytearray(256)
        self.view = self.out
        self.fill = 0

    @cython.cfunc
    @cython.exceptval(-1)
    def put(self, value: object) -> cython.int:
        number: cython.longlong
        if value is None:
            self.room(1)
            self.view[self.fill] = 0
            self.fill += 1
        elif isinstance(value, int):
            number = value
            if 0 <= number < SMALL:
                self.room(1)
                self.view[self.fill] = 0x10 + number
                self.fill += 1
            else:
                self.put_bytes(_INTEGER.pack(1, number))
        elif isinstance(value, bytes):
            self.head(2, len(value))
            self.put_bytes(value)
        elif isinstance(value, bytearray):
            self.head(2, len(value))
            self.put_bytes(bytes(value))
        elif isinstance(value, (tuple, list)):
            self.head(3, len(value))
            for one in value:
                self.put(one)
        else:
            raise TypeError(f"cannot be recorded: {value!r}")
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def head(self, tag: cython.int, length: cython.longlong) -> cython.int:
        """A tag and four bytes of length."""
        self.room(5)
        at: cython.Py_ssize_t = self.fill
        self.view[at] = tag
        self.view[at + 1] = length >> 24 & 255
        self.view[at + 2] = length >> 16 & 255
        self.view[at + 3] = length >> 8 & 255
        self.view[at + 4] = length & 255
        self.fill += 5
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def put_bytes(self, data: bytes) -> cython.int:
        length: cython.Py_ssize_t = len(data)
        self.room(length)
        if cython.compiled:
            if length:
                memcpy(cython.address(self.view[self.fill]), PyBytes_AS_STRING(data), length)
        else:
            self.out[self.fill : self.fill + length] = data
        self.fill += length
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def room(self, need: cython.Py_ssize_t) -> cython.int:
        capacity: cython.Py_ssize_t = len(self.out)
        if self.fill + need > capacity:
            while capacity < self.fill + need:
                capacity *= 2
            bigger = bytearray(capacity)
            bigger[: self.fill] = memoryview(self.out)[: self.fill]
            self.out = bigger
            self.view = bigger
        return 0

    @cython.cfunc
    def taken(self) -> bytes:
        return bytes(memoryview(self.out)[: self.fill])


def unpack(data: bytes) -> object:
    """The value of ``pack``.

    Raises:
        ValueError: these are not exactly one value's bytes.
    """
    reader = _Reader(data)
    value: object = reader.take(0)
    if reader.at != reader.end:
        raise ValueError(f"{reader.end - reader.at} bytes behind a value")
    return value


@cython.cclass
class _Reader:
    data: bytes
    view: cython.const[cython.uchar][::1]
    at: cython.Py_ssize_t
    end: cython.Py_ssize_t

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.view = data
        self.at = 0
        self.end = len(data)

    @cython.cfunc
    def take(self, depth: cython.int) -> object:
        if self.at >= self.end:
            raise ValueError("a value ends within itself")
        tag: cython.longlong = self.view[self.at]
        self.at += 1
        if tag >= 0x10:
            if tag >= 0x10 + SMALL:
                raise ValueError(f"tag {tag:#x}")
            return tag - 0x10
        if tag == 0:
            return None
        if tag == 1:
            self.need(8)
            self.at += 8
            return _NUMBER.unpack_from(self.data, self.at - 8)[0]
        if tag != 2 and tag != 3:
            raise ValueError(f"tag {tag:#x}")
        self.need(4)
        size: cython.longlong = 0
        index: cython.Py_ssize_t
        for index in range(self.at, self.at + 4):
            size = size * 256 + self.view[index]
        self.at += 4
        self.need(size)  # each value of a tuple has a byte at least
        if tag == 2:
            self.at += size
            return self.data[self.at - size : self.at]
        if depth == DEPTH_MAX:
            raise ValueError("tuples within tuples beyond measure")
        values: list = []
        for _ in range(size):
            values.append(self.take(depth + 1))
        return tuple(values)

    @cython.cfunc
    @cython.exceptval(-1)
    def need(self, size: cython.longlong) -> cython.int:
        if size > self.end - self.at:
            raise ValueError("a value ends within itself")
        return 0
