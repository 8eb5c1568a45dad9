"""Ids of stream entries: two numbers of 64 bits, ``ms-sequence``."""

from __future__ import annotations

from protocols.resp.errors import CommandError

Id = tuple[int, int]
HIGHEST: Id = (2**64 - 1, 2**64 - 1)
LOWEST: Id = (0, 0)
INVALID_ID = "ERR Invalid stream ID specified as stream command argument"


def id_text(id: Id) -> bytes:
    return b"%d-%d" % id


def number_of(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20 or int(text) >= 2**64:
        raise CommandError(INVALID_ID)
    return int(text)


def id_of(text: bytes, missing: int = 0) -> Id:
    """``5-1``, or ``5`` with ``missing`` for the right half.

    Raises:
        CommandError: anything else.
    """
    left, dash, right = text.partition(b"-")
    return number_of(left), number_of(right) if dash else missing


def range_id(text: bytes, is_start: bool) -> Id | None:
    """The limit of a range, exclusive ones moved by one; None: nothing can be in it.

    Raises:
        CommandError: not an id; the limit's neighbour does not exist.
    """
    exclusive = text.startswith(b"(")
    word = text[1:] if exclusive else text
    if word in (b"-", b"+"):
        if exclusive:
            raise CommandError(INVALID_ID)
        return LOWEST if word == b"-" else HIGHEST
    id = id_of(word, 0 if is_start else HIGHEST[1])
    if not exclusive:
        return id
    if is_start:
        if id == HIGHEST:
            raise CommandError("ERR invalid start ID for the interval")
        return (id[0], id[1] + 1) if id[1] < HIGHEST[1] else (id[0] + 1, 0)
    if id == LOWEST:
        raise CommandError("ERR invalid end ID for the interval")
    return (id[0], id[1] - 1) if id[1] else (id[0] - 1, HIGHEST[1])
