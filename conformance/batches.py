"""Record batches for who tests an engine: right in header, length and CRC, with a payload that nobody decodes."""

from __future__ import annotations

import struct

from crc32c import crc32c

from substrate.engine import Batch

_AFTER_CRC = struct.Struct(">hiqqqhii")
_HEADER = struct.Struct(">qiibI")


def make_batch(base: int, count: int, epoch: int, payload: bytes, timestamp_ms: int) -> bytes:
    """One v2 batch of ``count`` records at ``base``; its records are ``payload``."""
    rest = _AFTER_CRC.pack(0, count - 1, timestamp_ms, timestamp_ms, -1, -1, -1, count) + payload
    return _HEADER.pack(base, len(rest) + 9, epoch, 2, crc32c(rest)) + rest


def fewer(batch: Batch, records: int) -> bytes:
    """The same with so many records, and as much less of the payload; the same if that is all of them."""
    count = int.from_bytes(batch[57:61])
    if records >= count:
        return bytes(batch)
    payload = batch[61 : 61 + (len(batch) - 61) * records // count]
    made = bytearray(batch[:61])
    made[8:12] = (49 + len(payload)).to_bytes(4)
    made[57:61] = records.to_bytes(4)
    made += payload
    made[17:21] = crc32c(bytes(made[21:])).to_bytes(4)
    return bytes(made)
