"""Addresses and bytes in JSON.

An address is written as MQTT writes it (``orders/eu/42``; what is not UTF-8, ``+``, ``#`` and NUL as ``%XX``), a pattern as
an MQTT filter (``orders/#``, ``orders/+/42``). Bytes are a string where they are UTF-8, else ``{"base64": "..."}``.
"""

from __future__ import annotations

import base64
import binascii
import functools
from typing import Any

from protocols.mqtt.mapping import filter_of, pattern_of, valid_filter
from substrate.address import MQTT
from substrate.api import Address
from substrate.group import Record
from substrate.interest import Tokens
from thalweg.http_answers import Refusal

ADDRESS_BYTES_MAX = 4096


@functools.lru_cache(4096)
def address_text(address: bytes) -> str:
    return MQTT.text(address).decode("utf-8", "replace")


def address_of(text: object) -> Address:
    """
    Raises:
        Refusal: it is not an address.
    """
    if not isinstance(text, str) or not text:
        raise Refusal(400, "an address is text that is not empty")
    if len(text) > ADDRESS_BYTES_MAX or any(sign in text for sign in "+#\0"):
        raise Refusal(400, f"not an address: {text[:200]}")
    return _address_of(text)


@functools.lru_cache(4096)
def _address_of(text: str) -> Address:
    try:
        return MQTT.address(text.encode())
    except UnicodeEncodeError:
        raise Refusal(400, "an address is text in UTF-8") from None


def pattern_from(text: str) -> Tokens:
    """
    Raises:
        Refusal: it is no MQTT filter.
    """
    if len(text) > ADDRESS_BYTES_MAX or not valid_filter(text.encode()):
        raise Refusal(400, f"not a pattern (orders/#, orders/+/eu): {text[:200]}")
    return pattern_of(text.encode())


def pattern_text(subject: bytes) -> str:
    return filter_of(Tokens(subject)).decode("utf-8", "replace")


def bytes_text(data: bytes, bytes_max: int = 0) -> Any:
    """A string, or ``{"base64": ...}``; of more than ``bytes_max`` (0: no limit) the beginning."""
    part = data[:bytes_max] if bytes_max else data
    try:
        return part.decode()
    except UnicodeDecodeError as error:
        if len(part) < len(data) and error.start > 0 and error.start >= len(part) - 3:  # a letter was cut
            return part[: error.start].decode()
        return {"base64": base64.b64encode(part).decode()}


def bytes_of(shown: object, what: str) -> bytes:
    """What ``bytes_text`` shows.

    Raises:
        Refusal: it is neither text nor base64.
    """
    if isinstance(shown, str):
        return shown.encode("utf-8", "surrogatepass")
    if isinstance(shown, dict) and shown.keys() == {"base64"} and isinstance(shown["base64"], str):
        try:
            return base64.b64decode(shown["base64"], validate=True)
        except (binascii.Error, ValueError):
            pass
    raise Refusal(400, f'{what} is neither a string nor {{"base64": "..."}}')


def record_shown(record: Record, partition: int = -1, bytes_max: int = 0) -> dict[str, Any]:
    """One record in JSON. ``key`` only where it is not the address, ``headers`` only where there are some,
    ``bytes`` only where the value was cut."""
    shown: dict[str, Any] = {} if partition < 0 else {"partition": partition}
    shown |= {
        "position": record.position,
        "time_ms": record.timestamp_ms,
        "address": address_text(record.address),
    }
    if record.key != record.address:
        shown["key"] = None if record.key is None else bytes_text(record.key, bytes_max)
    shown["value"] = None if record.value is None else bytes_text(record.value, bytes_max)
    if record.value is not None and bytes_max and len(record.value) > bytes_max:
        shown["bytes"] = len(record.value)
    if record.headers:
        shown["headers"] = [
            [bytes_text(name, bytes_max), None if value is None else bytes_text(value, bytes_max)]
            for name, value in record.headers
        ]
    return shown
