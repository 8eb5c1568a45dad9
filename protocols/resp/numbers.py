"""Numbers as Redis reads and writes them: integers of 64 bits, doubles, and INCRBYFLOAT's long doubles."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from protocols.resp.errors import NOT_FLOAT, NOT_INTEGER, CommandError

if TYPE_CHECKING:
    from fractions import Fraction  # slow to import, and only INCRBYFLOAT needs it

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**63 - 1
_INTEGER = re.compile(rb"(0|-?[1-9][0-9]{0,18})")
_FLOAT = re.compile(rb"[+-]?([0-9]+\.?[0-9]*([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?)")
_INFINITE = re.compile(rb"[+-]?inf(inity)?", re.IGNORECASE)
_HEX = re.compile(rb"[+-]?0[xX]([0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)([pP][+-]?[0-9]+)?")
MANTISSA_BITS = 64
LONG_DOUBLE_DIGITS_MAX = 5 * 1024


def find_integer(text: bytes) -> int | None:
    """A decimal of 64 bits without blanks, plus or leading zeros (util.c string2ll); None otherwise."""
    if _INTEGER.fullmatch(text) is None:
        return None
    value = int(text)
    return value if INTEGER_MIN <= value <= INTEGER_MAX else None


def integer_of(text: bytes, message: str = NOT_INTEGER) -> int:
    value = find_integer(text)
    if value is None:
        raise CommandError(message)
    return value


def find_float(text: bytes) -> float | None:
    """What strtod takes whole, but no NaN; None otherwise."""
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text)
    if _HEX.fullmatch(text):
        return float.fromhex(text.decode())
    return None


def float_of(text: bytes, message: str = NOT_FLOAT) -> float:
    value = find_float(text)
    if value is None:
        raise CommandError(message)
    return value


def float_text(value: float) -> bytes:
    """Shortest text that reads back as the same double, in the form of Redis 7.2 (util.c d2string, fpconv)."""
    if math.isinf(value):
        return b"inf" if value > 0 else b"-inf"
    if value == 0:
        return b"-0" if math.copysign(1.0, value) < 0 else b"0"
    if value == int(value) and abs(value) <= 2.0**62:
        return b"%d" % int(value)
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, part = mantissa.partition(".")
    if part == "0":
        part = ""
    digits = (whole + part).lstrip("0")
    scale = int(exponent or 0) - len(part)
    stripped = digits.rstrip("0")
    scale += len(digits) - len(stripped)
    digits = stripped
    size = abs(scale + len(digits) - 1)
    if scale >= 0 and size < len(digits) + 7:
        text = digits + "0" * scale
    elif scale < 0 and (scale > -7 or size < 4):
        point = len(digits) + scale
        text = f"0.{'0' * -point}{digits}" if point <= 0 else f"{digits[:point]}.{digits[point:]}"
    else:
        power = scale + len(digits) - 1
        text = digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + f"e{'-' if power < 0 else '+'}{abs(power)}"
    return (sign + text).encode()


def long_double_of(text: bytes, message: str = NOT_FLOAT) -> Fraction | float:
    """The x87 long double next to this decimal: exact arithmetic, rounded to 64 bits of mantissa; infinities as float."""
    from fractions import Fraction

    if _INFINITE.fullmatch(text):
        return float(text)
    if _FLOAT.fullmatch(text) is None or len(text) > LONG_DOUBLE_DIGITS_MAX:
        raise CommandError(message)
    mantissa, _, exponent = text.lower().partition(b"e")
    power = int(exponent or b"0")
    if abs(power) > 4932:
        if not any(digit in b"123456789" for digit in mantissa):
            return Fraction(0)
        if power > 0:
            return float("-inf") if text.startswith(b"-") else float("inf")
        return Fraction(0)
    value = Fraction(mantissa.decode().rstrip(".") if not mantissa.endswith(b".") else mantissa[:-1].decode() or "0")
    return round_long_double(value * Fraction(10) ** power)


def round_long_double(value: Fraction) -> Fraction:
    """To the nearest number with 64 bits of mantissa, ties to even."""
    from fractions import Fraction

    if value == 0:
        return value
    magnitude = abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length() - MANTISSA_BITS
    scaled = magnitude / Fraction(2) ** exponent
    if scaled >= 2**MANTISSA_BITS:
        exponent += 1
        scaled /= 2
    elif scaled < 2 ** (MANTISSA_BITS - 1):
        exponent -= 1
        scaled *= 2
    rounded = round(scaled) * Fraction(2) ** exponent
    return rounded if value > 0 else -rounded


def long_double_text(value: Fraction) -> bytes:
    """``%.17Lf`` without trailing zeros (util.c ld2string, for people)."""
    scaled = round(abs(value) * 10**17)
    whole, part = divmod(scaled, 10**17)
    text = f"{whole}.{part:017d}".rstrip("0").rstrip(".")
    if text == "0":
        return b"0"
    return (("-" if value < 0 else "") + text).encode()


def add_long_doubles(old: bytes | None, change: bytes, message: str, overflow: str) -> bytes:
    """The text of ``old + change`` as INCRBYFLOAT and HINCRBYFLOAT give it.

    Raises:
        CommandError: ``message`` where old is not a float, ``overflow`` where the result is infinite.
    """
    first = long_double_of(old if old is not None else b"0", message)
    second = long_double_of(change)
    if isinstance(first, float) or isinstance(second, float):
        raise CommandError(overflow)
    return long_double_text(round_long_double(first + second))
