# cython: language_level=3
"""A group: many messages of one turn to one address, kept as a buffer and an array of spans.

Layout of ``spans``: for message i, ``spans[2 * i]`` is the offset of its value in ``buffer``, ``spans[2 * i + 1]`` its length.
A group borrows ``buffer`` (the connection's read buffer): whoever is given one consumes it before returning, or ``own()``s it.
"""

from __future__ import annotations

import array
from typing import Any

import cython

if cython.compiled:
    from cython.cimports.cpython.array import array as Longs
    from cython.cimports.cpython.array import resize_smart

Headers = tuple[tuple[bytes, bytes | None], ...]


@cython.cclass
class Record:
    """One decoded record. ``address`` is canonical, without its account; ``key`` is what Kafka shows as the key."""

    def __init__(
        self,
        position: cython.longlong,
        timestamp_ms: cython.longlong,
        address: bytes,
        key: bytes | None,
        value: bytes | None,
        headers: tuple,
    ) -> None:
        self.position = position
        self.timestamp_ms = timestamp_ms
        self.address = address
        self.key = key
        self.value = value
        self.headers = headers

    def header(self, name: bytes) -> bytes | None:
        """The first header of this name, or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def __repr__(self) -> str:
        return f"Record({self.position}, {self.address!r}, {self.value!r}, {self.headers!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return (self.position, self.timestamp_ms, self.address, self.key, self.value, self.headers) == (
            other.position,
            other.timestamp_ms,
            other.address,
            other.key,
            other.value,
            other.headers,
        )

    __hash__ = None


@cython.cclass
class Group:
    """Messages of one source to one address, in order. ``base`` and ``timestamp_ms`` are set when they are ordered.

    ``headers`` is None while no message has any, else a list with one tuple per message.
    """

    def __init__(self, address: bytes, buffer: object, source: object = None) -> None:
        self.address = address
        self.buffer = buffer
        self.source = source
        self.spans = array.array("q")
        self.count = 0
        self.value_bytes = 0
        self.headers = None
        self.base = -1
        self.timestamp_ms = 0
        self._records = None

    @cython.ccall
    def add(self, offset: cython.Py_ssize_t, length: cython.Py_ssize_t) -> None:
        """One message more, without headers: a slice of the buffer."""
        if cython.compiled:
            spans: Longs = self.spans
            at: cython.Py_ssize_t = len(spans)
            resize_smart(spans, at + 2)
            spans.data.as_longlongs[at] = offset
            spans.data.as_longlongs[at + 1] = length
        else:
            self.spans.append(offset)
            self.spans.append(length)
        self.count += 1
        self.value_bytes += length
        if self.headers is not None:
            self.headers.append(())

    @cython.ccall
    def add_with_headers(self, offset: cython.Py_ssize_t, length: cython.Py_ssize_t, headers: tuple) -> None:
        """One message more with headers: pairs (name, value or None), in order."""
        if self.headers is None:
            self.headers = [()] * self.count
        self.spans.append(offset)
        self.spans.append(length)
        self.count += 1
        self.value_bytes += length
        self.headers.append(headers)

    @cython.ccall
    def value(self, index: cython.Py_ssize_t) -> bytes:
        offset: cython.Py_ssize_t = self.spans[2 * index]
        return bytes(memoryview(self.buffer)[offset : offset + self.spans[2 * index + 1]])

    @cython.ccall
    def records(self) -> list:
        """Every message decoded, as ``Record``; made once, however many sinks ask."""
        if self._records is None:
            index: cython.Py_ssize_t
            found: list = []
            view = memoryview(self.buffer)
            for index in range(self.count):
                offset: cython.Py_ssize_t = self.spans[2 * index]
                found.append(
                    Record(
                        self.base + index if self.base >= 0 else -1,
                        self.timestamp_ms,
                        self.address,
                        self.address,
                        bytes(view[offset : offset + self.spans[2 * index + 1]]),
                        () if self.headers is None else self.headers[index],
                    )
                )
            self._records = found
        return self._records

    def part(self, indices: Any) -> Group:
        """Some of the messages, in this order, over the same buffer. Positions are known where they follow one another."""
        if self._records is not None and len(self.spans) == 0:
            decoded = Group.of_records(self.address, [self._records[index] for index in indices])
            decoded.source = self.source
            return decoded
        part = Group(self.address, self.buffer, self.source)
        index: cython.Py_ssize_t
        for index in indices:
            if self.headers is None:
                part.add(self.spans[2 * index], self.spans[2 * index + 1])
            else:
                part.add_with_headers(self.spans[2 * index], self.spans[2 * index + 1], self.headers[index])
        part.timestamp_ms = self.timestamp_ms
        if self._records is not None:
            part._records = [self._records[index] for index in indices]
        if self.base >= 0 and len(indices) and indices[len(indices) - 1] - indices[0] == len(indices) - 1:
            part.base = self.base + indices[0]
        return part

    def own(self) -> Group:
        """The same messages over a buffer of their own."""
        view = memoryview(self.buffer)
        copy = Group(self.address, b"", self.source)
        parts = []
        at = 0
        for index in range(self.count):
            offset, length = self.spans[2 * index], self.spans[2 * index + 1]
            parts.append(bytes(view[offset : offset + length]))
            if self.headers is None:
                copy.add(at, length)
            else:
                copy.add_with_headers(at, length, self.headers[index])
            at += length
        copy.buffer = b"".join(parts)
        copy.base = self.base
        copy.timestamp_ms = self.timestamp_ms
        return copy

    @staticmethod
    def of(address: bytes, value: bytes, headers: tuple = (), source: object = None) -> Group:
        """A group of one message."""
        group = Group(address, value, source)
        if headers:
            group.add_with_headers(0, len(value), headers)
        else:
            group.add(0, len(value))
        return group

    @staticmethod
    def of_records(address: bytes, records: list) -> Group:
        """A group that was decoded already (from a client's own batch): only ``records()`` may be asked of it."""
        group = Group(address, b"")
        group._records = records
        group.count = len(records)
        if records:
            group.base = records[0].position
            group.timestamp_ms = records[0].timestamp_ms
        return group


@cython.cclass
class Called:
    """What an executor answers: ``answer`` is opaque to the port; ``commit`` is what to wait for. Made for every call."""

    def __init__(self, answer: object, commit: cython.longlong = 0, shard: cython.longlong = 0) -> None:
        self.answer: Any = answer
        self.commit = commit
        self.shard = shard
