"""Redis' words for what all protocols share: channel <-> address, stream entry <-> record, id <-> position.

    channel or key   orders:eu:42         address   orders/eu/42            (``%3A`` for a colon inside a token)
    entry            a 1 b 2 data x       record    headers (a, 1) (b, 2), value x
    id               8-0                  position  7

An entry without a field ``data`` is a record with an empty value; a record with an empty value and headers is an entry
without ``data``. Of several fields ``data`` the last is the value and the others are headers.
"""

from __future__ import annotations

from collections.abc import Iterable

from substrate.address import RESP
from substrate.api import Address, Record

DATA = b"data"
Headers = tuple[tuple[bytes, bytes | None], ...]


def address_of(name: bytes) -> Address:
    """The address of a channel or of a stream's key."""
    return RESP.address(name)


def name_of(address: bytes) -> bytes:
    """The channel, or the key, of an address."""
    return RESP.text(address)


def record_of(fields: list[bytes]) -> tuple[bytes, Headers]:
    """Value and headers of an entry's alternating fields and values."""
    pairs = list(zip(fields[::2], fields[1::2], strict=True))
    value = b""
    for at in range(len(pairs) - 1, -1, -1):
        if pairs[at][0] == DATA:
            value = pairs.pop(at)[1]
            break
    return value, tuple(pairs)


def fields_of(record: Record) -> list[bytes]:
    """Alternating fields and values of a record, whoever wrote it."""
    fields: list[bytes] = []
    for name, content in record.headers:
        fields += (name, content if content is not None else b"")
    if record.value or not fields:
        fields += (DATA, record.value or b"")
    return fields


def id_of(position: int) -> tuple[int, int]:
    return position + 1, 0


def first_position(id: tuple[int, int]) -> int:
    """The first position whose id is at least this."""
    return max(id[0] - 1 + (id[1] > 0), 0)


def last_position(id: tuple[int, int]) -> int:
    """The last position whose id is at most this; -1: none."""
    return id[0] - 1


def words_of(records: Iterable[Record]) -> list[tuple[tuple[int, int], list[bytes]]]:
    return [(id_of(record.position), fields_of(record)) for record in records]
