"""NATS names and messages <-> canonical addresses and records. Pure.

Subjects: ``substrate.address.NATS`` spells tokens (``/`` an empty one, ``//`` a dot, ``/*`` and ``/>`` literal stars, ``/s``
a blank, ...). Patterns: ``*`` is one token, ``>`` one or more at the end.

Header block <-> record headers, order and duplicates kept::

    NATS/1.0[ status]\\r\\n Name: value\\r\\n ... \\r\\n

A status line becomes the record header ``thalweg-nats-status``. A block that these rules would not give back byte by byte
(``A:b`` without a blank, no headers at all, not UTF-8, a name of our own) also leaves itself whole in
``thalweg-nats-headers``; NATS readers then get that. Which of our own headers other protocols' records carry, and what a
NATS reader sees of them, is the table in README.md.
"""

from __future__ import annotations

from typing import cast

from protocols.nats.wire import plain_address, read_block, write_block
from substrate.address import NATS, join
from substrate.api import ADDRESS, CONTENT_TYPE, CORRELATION, EXPIRES_MS, QOS, REPLY, RESERVED, RETAIN, Address, Record
from substrate.interest import ONE, SOME, Tokens

Headers = tuple[tuple[bytes, bytes | None], ...]

STATUS = b"thalweg-nats-status"
BLOCK = b"thalweg-nats-headers"
SUBJECT = b"thalweg-nats-subject"  # what a JetStream delivery shows; its address is the inbox it goes to
OWN = b"thalweg-"
SHARED = frozenset((CORRELATION, CONTENT_TYPE, EXPIRES_MS))
"""Headers of ours that a NATS client may set and sees under these very names."""
HIDDEN = frozenset((REPLY, RETAIN, ADDRESS, STATUS, BLOCK, SUBJECT, QOS))
MQTT_QOS = b"Nmqtt-Pub"  # what nats-server shows of a message from MQTT
FIRST_LINE = b"NATS/1.0"
_WILD = {b"*": ONE, b">": SOME}


def subject_address(subject: bytes) -> Address:
    """The canonical address of a valid literal subject."""
    plain = cast("bytes | None", plain_address(subject))
    return NATS.address(subject) if plain is None else Address(plain)


def subject_of_address(address: bytes) -> bytes:
    """How NATS writes an address; ``subject_address`` of it is the address again."""
    return NATS.text(address)


def pattern_of(subject: bytes) -> Tokens:
    """What a valid subject with wildcards matches."""
    parts = subject.split(b".")
    if b"/" not in subject and b"%" not in subject:
        return Tokens(b"/".join([_WILD.get(part, part) for part in parts]))
    text = [ONE if part == b"*" else SOME if part == b">" else bytes(join([NATS.decode(part)])) for part in parts]
    return Tokens(b"/".join(text))


def subject_of_pattern(text: bytes) -> bytes | None:
    """How NATS writes a pattern; None if it cannot (``%#`` also matches none)."""
    parts = []
    for part in text.split(b"/"):
        if part == ONE:
            parts.append(b"*")
        elif part == SOME:
            parts.append(b">")
        elif part == b"%#":
            return None
        else:
            parts.append(NATS.text(part))
    return b".".join(parts)


def reserved(subject: bytes) -> bool:
    """Whether this names what is not customers' data."""
    return subject == RESERVED or subject.startswith(RESERVED + b".")


def header_tuple(block: bytes) -> Headers:
    """The record headers of a header block."""
    plain = cast("Headers | None", read_block(block))
    if plain is not None:
        return plain
    found: list[tuple[bytes, bytes | None]] = []
    whole = True
    if block.startswith(FIRST_LINE) and block.endswith(b"\r\n\r\n"):
        first, _, rest = block[len(FIRST_LINE) : -2].partition(b"\r\n")
        if first:
            found.append((STATUS, first.strip(b" ")))
        for line in rest[:-2].split(b"\r\n") if rest else ():
            name, colon, value = line.partition(b":")
            if not colon or not _expressible(name, value) or (name.startswith(OWN) and name not in SHARED):
                whole = False
            else:
                found.append((name, value.strip(b" ")))
    headers = tuple(found)
    return headers if whole and _write(headers) == block else (*headers, (BLOCK, block))


def header_block(headers: Headers) -> bytes:
    """The header block of record headers; nothing if there is nothing to show."""
    if not headers:
        return b""
    plain = cast("bytes | None", write_block(headers))
    if plain is not None:
        return plain
    for name, value in headers:
        if name == BLOCK and value:
            return value
    return _write(headers)


def _write(headers: Headers) -> bytes:
    status = b""
    lines = []
    for name, value in headers:
        if name == STATUS:
            status = b" " + (value or b"")
        elif name == QOS:
            lines.append(b"%b: %b\r\n" % (MQTT_QOS, value or b"0"))
        elif name not in HIDDEN and _expressible(name, value or b""):
            lines.append(b"%b: %b\r\n" % (name, value or b""))
    if not lines and not status:
        return b""
    return b"%b%b\r\n%b\r\n" % (FIRST_LINE, status, b"".join(lines))


def _expressible(name: bytes, value: bytes) -> bool:
    """Whether NATS can carry this header: a line that would break the block is not passed on."""
    if not name or b":" in name or b" " in name or b"\r" in name or b"\n" in name or b"\r" in value or b"\n" in value:
        return False
    try:
        name.decode()
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def delivery_of(record: Record) -> tuple[bytes, bytes, bytes, bytes]:
    """What a NATS subscriber sees of a record: subject, reply (or nothing), header block (or nothing), payload."""
    subject = reply = b""
    for name, value in record.headers:
        if name == REPLY and value:
            reply = subject_of_address(value)
        elif name == SUBJECT and value:
            subject = value
    if not subject:
        subject = subject_of_address(record.address)
    return subject, reply, header_block(record.headers) if record.headers else b"", record.value or b""
