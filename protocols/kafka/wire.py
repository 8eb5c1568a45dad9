"""Frames and headers: bytes to requests, answers to bytes.

A frame is a 4-byte big-endian length and that many bytes: a request header and a body (protocol.html, "Protocol Primitive
Types"). Request header v1 is ``api_key int16, api_version int16, correlation_id int32, client_id nullable string``; v2,
for flexible versions, adds tagged fields and keeps the client id's old form. Response header v0 is the correlation id, v1
adds tagged fields; ApiVersions answers with v0 always, so that a client can read it whatever it speaks (KIP-511).

Limits: a Produce frame has ``request_bytes_max`` at most (Kafka's socket.request.max.bytes), any other ``other_bytes_max``;
a longer or negative length closes the connection before anything of that size is read.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from protocols.api import WireError
from protocols.kafka.codec import Codecs, read_unsigned
from protocols.kafka.schema import APIS

PRODUCE = 0
API_VERSIONS = 18
HEADER_BYTES_MIN = 10

HEADER = struct.Struct(">hhih")
LENGTH = struct.Struct(">i")
LENGTH_AND_CORRELATION = struct.Struct(">ii")
KEY = struct.Struct(">h")


class Header(NamedTuple):
    """``body`` is the offset of the request's body in its frame (-1: the version is not one we speak)."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str
    body: int


def frame_bytes(
    data: bytearray | memoryview, start: int, end: int, request_bytes_max: int, other_bytes_max: int
) -> int:
    """How many bytes the frame at ``start`` takes, its length included; 0: not known yet.

    Raises:
        WireError: the length is negative, too small for a header, or above the limit of its API.
    """
    if end - start < 4:
        return 0
    (length,) = LENGTH.unpack_from(data, start)
    if length < HEADER_BYTES_MIN or length > request_bytes_max:
        raise WireError(f"frame of {length} bytes, limit {request_bytes_max}")
    if length > other_bytes_max:
        if end - start < 6:
            return 0
        if KEY.unpack_from(data, start + 4)[0] != PRODUCE:
            raise WireError(f"frame of {length} bytes, limit {other_bytes_max}")
    return 4 + int(length)


def read_header(frame: memoryview) -> Header:
    """The header of a frame (without its length).

    Raises:
        WireError: the frame ends within it, the API is unknown, or the client id is no UTF-8.
    """
    try:
        key, version, correlation_id, length = HEADER.unpack_from(frame)
        api = APIS.get(key)
        if api is None:
            raise WireError(f"unknown api key {key}")
        if not api.first <= version <= api.last:
            return Header(key, version, correlation_id, "", -1)
        offset = 10
        if length < -1 or length > len(frame) - offset:
            raise WireError(f"client id of {length} bytes")
        client_id = str(frame[offset : offset + length], "utf-8") if length > 0 else ""
        offset += max(length, 0)
        if api.flexible(version):
            offset = _skip_tags(frame, offset)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise WireError(f"request header: {error}") from error
    return Header(key, version, correlation_id, client_id, offset)


def _skip_tags(frame: memoryview, offset: int) -> int:
    count, offset = read_unsigned(frame, offset)
    for _ in range(count):
        _, offset = read_unsigned(frame, offset)
        length, offset = read_unsigned(frame, offset)
        offset += length
        if offset > len(frame):
            raise WireError("tagged field longer than its frame")
    return offset


def response(codecs: Codecs, key: int, version: int, correlation_id: int, message: Any) -> list[Any]:
    """One whole response frame, as parts to be joined or sent one after the other."""
    parts = codecs.encode("response", key, version, message)
    if key != API_VERSIONS and APIS[key].flexible(version):
        parts.insert(0, b"\0")
    parts.insert(0, LENGTH_AND_CORRELATION.pack(4 + sum(map(len, parts)), correlation_id))
    return parts
