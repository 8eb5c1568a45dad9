"""HyperLogLog: PFADD PFCOUNT PFMERGE, in the very bytes of Redis, so that GET, SET, DUMP carry them either way.

    "HYLL" encoding(1) 0 0 0 cached cardinality(8, little endian, highest bit: not valid) registers

    dense (0)    16384 registers of 6 bits, least significant first, 12288 bytes
    sparse (1)   runs: 00xxxxxx xxxxxx+1 zeros; 01xxxxxx yyyyyyyy that many + 1 zeros; 1vvvvvxx xx+1 registers of value vvvvv+1

Reads both, writes dense and sparse as they are: a new one is sparse while it has at most 3000 bytes (hll-sparse-max-bytes)
and no register above 32. Hash: MurmurHash64A with seed 0xadc83b19. Estimator: Ertl 2017, as hyperloglog.c.
Effects: in the client's words (the hash does not depend on chance).
Deviations: the sparse form is written in its shortest runs (Redis': as its history left it); the cached cardinality of
PFCOUNT is not written back. PFDEBUG and PFSELFTEST are not there.
"""

from __future__ import annotations

import math
import re

from protocols.resp.call import Call
from protocols.resp.errors import CommandError
from protocols.resp.table import Handlers
from protocols.resp.wire import OK, integer

PRECISION = 14
REGISTERS = 1 << PRECISION
DENSE_BYTES = 16 + REGISTERS * 6 // 8
SPARSE_BYTES_MAX = 3000
SPARSE_VALUE_MAX = 32
HASH_BITS = 64 - PRECISION
NOT_ONE = "WRONGTYPE Key is not a valid HyperLogLog string value."
CORRUPT = "INVALIDOBJ Corrupted HLL object detected"
ALPHA_INFINITE = 0.721347520444481703680
MASK = (1 << 64) - 1
RUNS = re.compile(rb"(.)\1*", re.DOTALL)


def murmur(data: bytes) -> int:
    """MurmurHash64A, little endian, seed 0xadc83b19."""
    multiplier, rotation = 0xC6A4A7935BD1E995, 47
    hashed = 0xADC83B19 ^ (len(data) * multiplier & MASK)
    whole = len(data) & ~7
    for at in range(0, whole, 8):
        word = int.from_bytes(data[at : at + 8], "little") * multiplier & MASK
        word = (word ^ word >> rotation) * multiplier & MASK
        hashed = (hashed ^ word) * multiplier & MASK
    if whole < len(data):
        hashed = (hashed ^ int.from_bytes(data[whole:], "little")) * multiplier & MASK
    hashed = (hashed ^ hashed >> rotation) * multiplier & MASK
    return hashed ^ hashed >> rotation


def register_of(element: bytes) -> tuple[int, int]:
    """Which register an element counts in, and the length of its run of zeros + 1."""
    hashed = murmur(element)
    index = hashed & (REGISTERS - 1)
    rest = hashed >> PRECISION | 1 << HASH_BITS
    return index, (rest & -rest).bit_length()


def read(text: bytes) -> bytearray:
    """One byte a register.

    Raises:
        CommandError: not a HyperLogLog, or a broken one.
    """
    if len(text) < 16 or text[:4] != b"HYLL" or text[4] > 1 or (text[4] == 0 and len(text) != DENSE_BYTES):
        raise CommandError(NOT_ONE)
    found = bytearray(REGISTERS)
    if text[4] == 0:
        for group in range(REGISTERS // 4):
            packed = int.from_bytes(text[16 + group * 3 : 19 + group * 3], "little")
            at = group * 4
            found[at], found[at + 1], found[at + 2], found[at + 3] = (
                packed & 63, packed >> 6 & 63, packed >> 12 & 63, packed >> 18,
            )  # fmt: skip
        return found
    place, at = 16, 0
    while place < len(text):
        byte = text[place]
        place += 1
        if byte & 0x80:
            run = (byte & 3) + 1
            if at + run > REGISTERS:
                raise CommandError(CORRUPT)
            found[at : at + run] = bytes([(byte >> 2 & 31) + 1]) * run
        elif byte & 0x40:
            if place >= len(text):
                raise CommandError(CORRUPT)
            run = ((byte & 63) << 8 | text[place]) + 1
            place += 1
        else:
            run = (byte & 63) + 1
        at += run
    if at != REGISTERS:
        raise CommandError(CORRUPT)
    return found


def sparse_of(registers: bytearray) -> bytes | None:
    """The sparse form; None where it does not fit."""
    if max(registers) > SPARSE_VALUE_MAX:
        return None
    parts = bytearray()
    for found in RUNS.finditer(registers):
        value, run = found.group()[0], found.end() - found.start()
        while run:
            if value:
                part = min(run, 4)
                parts.append(0x80 | value - 1 << 2 | part - 1)
            elif run > 64:
                part = min(run, 16384)
                parts += (0x4000 | part - 1).to_bytes(2, "big")
            else:
                part = run
                parts.append(part - 1)
            run -= part
        if len(parts) + 16 > SPARSE_BYTES_MAX:
            return None
    return bytes(parts)


def write(registers: bytearray, dense: bool) -> bytes:
    """The string, its cached cardinality not valid."""
    sparse = None if dense else sparse_of(registers)
    if sparse is not None:
        return b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80" + sparse
    packed = bytearray()
    for at in range(0, REGISTERS, 4):
        first, second, third, fourth = registers[at : at + 4]
        packed += (first | second << 6 | third << 12 | fourth << 18).to_bytes(3, "little")
    return b"HYLL\0\0\0\0\0\0\0\0\0\0\0\x80" + bytes(packed)


def tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z = 1.0, 1 - x
    while True:
        x, before = math.sqrt(x), z
        y *= 0.5
        z -= (1 - x) ** 2 * y
        if z == before:
            return z / 3


def sigma(x: float) -> float:
    if x == 1.0:
        return math.inf
    y, z = 1.0, x
    while True:
        x, before = x * x, z
        z += x * y
        y += y
        if z == before:
            return z


def count(registers: bytearray) -> int:
    """About how many different elements made these registers."""
    histogram = [registers.count(value) for value in range(HASH_BITS + 2)]
    z = REGISTERS * tau((REGISTERS - histogram[HASH_BITS + 1]) / REGISTERS)
    for value in range(HASH_BITS, 0, -1):
        z = (z + histogram[value]) * 0.5
    z += REGISTERS * sigma(histogram[0] / REGISTERS)
    return 0 if math.isinf(z) else math.floor(ALPHA_INFINITE * REGISTERS * REGISTERS / z + 0.5)


def united(texts: list[bytes]) -> tuple[bytearray, bool]:
    """The registers of several, and whether one of them is dense."""
    found, dense = bytearray(REGISTERS), False
    for text in texts:
        registers = read(text)
        found = bytearray(map(max, found, registers))
        dense = dense or text[4] == 0
    return found, dense


def raised(text: bytes, elements: list[bytes]) -> bytes | None:
    """A dense one with these elements; None: they change nothing."""
    changed = bytearray(text)
    updated = False
    for element in elements:
        index, run = register_of(element)
        at, shift = 16 + index * 6 // 8, index * 6 % 8
        pair = int.from_bytes(changed[at : at + 2], "little")
        if pair >> shift & 63 < run:
            pair = pair & ~(63 << shift) | run << shift
            changed[at : at + 2] = pair.to_bytes(2, "little")[: len(changed) - at]
            updated = True
    changed[15] |= 0x80
    return bytes(changed) if updated else None


def pfadd(call: Call, words: list[bytes]) -> bytes:
    text = call.find_text(words[1])
    if text is not None and len(text) == DENSE_BYTES and text.startswith(b"HYLL\0"):
        dense = raised(text, words[2:])
        if dense is not None:
            call.put_text(words[1], dense)
            call.changed(words[1])
            call.event(b"pfadd", words[1])
        return integer(dense is not None)
    registers = read(text) if text is not None else bytearray(REGISTERS)
    updated = text is None
    for element in words[2:]:
        index, run = register_of(element)
        if registers[index] < run:
            registers[index] = run
            updated = True
    if updated:
        call.put_text(words[1], write(registers, dense=False))
        call.changed(words[1])
        call.event(b"pfadd", words[1])
    return integer(updated)


def pfcount(call: Call, words: list[bytes]) -> bytes:
    texts = [text for key in words[1:] if (text := call.find_text(key)) is not None]
    return integer(count(united(texts)[0])) if texts else integer(0)


def pfmerge(call: Call, words: list[bytes]) -> bytes:
    texts = [text for key in words[1:] if (text := call.find_text(key)) is not None]
    registers, dense = united(texts)
    call.put_text(words[1], write(registers, dense))
    call.changed(words[1])
    call.event(b"pfadd", words[1])
    return OK


HANDLERS: Handlers = {"pfadd": pfadd, "pfcount": pfcount, "pfmerge": pfmerge}
