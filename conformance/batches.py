"""Record batches for who tests an engine: right in header, length and CRC, with a payload that nobody decodes."""

from __future__ import annotations

import struct

from crc32c import crc32c

_AFTER_CRC = struct.Struct(">hiqqqhii")
_HEADER = struct.Struct(">qiibI")


def make_batch(base: int, count: int, epoch: int, payload: bytes, timestamp_ms: int) -> bytes:
    """One v2 batch of ``count`` records at ``base``; its records are ``payload``."""
    rest = _AFTER_CRC.pack(0, count - 1, timestamp_ms, timestamp_ms, -1, -1, -1, count) + payload
    return _HEADER.pack(base, len(rest) + 9, epoch, 2, crc32c(rest)) + rest
