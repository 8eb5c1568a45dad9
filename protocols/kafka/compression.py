"""A batch compressed anew: what ``compression.type`` other than ``producer`` asks for.

The records stay as they are, header fields too but for codec, length and CRC. Snappy comes in xerial's framing and LZ4 in frames of
independent 64 KiB blocks, because Kafka's Java clients read no other (KafkaLZ4BlockInputStream, SnappyInputStream, behaviour).
"""

from __future__ import annotations

import struct

import cramjam
from crc32c import crc32c

from substrate.batch import COMPRESSION, HEADER_BYTES, _decompress, header

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
ZSTD_LEVEL = 3
XERIAL = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)
SNAPPY_BLOCK = 32 * 1024
LZ4_FRAME = bytes.fromhex("04224d18604082")
"""Magic, version 1 with independent blocks, blocks of 64 KiB, and the checksum of these two."""
LZ4_BLOCK = 64 * 1024
LZ4_STORED = 1 << 31
_LENGTH, _ATTRIBUTES, _CRC = struct.Struct(">I"), struct.Struct(">h"), struct.Struct(">I")


def recompressed(batch: bytes | bytearray | memoryview, codec: int) -> bytearray:
    """The batch in this codec (0: not compressed).

    Raises:
        BatchError: its own compression is unknown or broken.
    """
    attributes = header(batch).attributes
    body = _compressed(_records(batch, attributes & COMPRESSION), codec)
    out = bytearray(memoryview(batch)[:HEADER_BYTES])
    _LENGTH.pack_into(out, 8, HEADER_BYTES - 12 + len(body))
    _ATTRIBUTES.pack_into(out, 21, attributes & ~COMPRESSION | codec)
    out += body
    _CRC.pack_into(out, 17, crc32c(memoryview(out)[21:]))
    return out


def _compressed(data: bytes, codec: int) -> bytes:
    if codec == GZIP:
        return bytes(cramjam.gzip.compress(data))
    if codec == SNAPPY:
        blocks = [bytes(cramjam.snappy.compress_raw(data[at : at + SNAPPY_BLOCK])) for at in range(0, len(data), SNAPPY_BLOCK)]  # fmt: skip
        return XERIAL + b"".join(_LENGTH.pack(len(block)) + block for block in blocks)
    if codec == LZ4:
        return LZ4_FRAME + b"".join(_lz4_block(data[at : at + LZ4_BLOCK]) for at in range(0, len(data), LZ4_BLOCK)) + bytes(4)  # fmt: skip
    if codec == ZSTD:
        return bytes(cramjam.zstd.compress(data, ZSTD_LEVEL))
    return data


def _lz4_block(data: bytes) -> bytes:
    block = bytes(cramjam.lz4.compress_block(data, store_size=False))
    if len(block) >= len(data):
        return (len(data) | LZ4_STORED).to_bytes(4, "little") + data
    return len(block).to_bytes(4, "little") + block


def _records(batch: bytes | bytearray | memoryview, codec: int) -> bytes:
    data = memoryview(batch)[HEADER_BYTES:]
    return bytes(memoryview(_decompress(data, codec)) if codec else data)  # type: ignore[arg-type]
