"""MQTT names and properties <-> canonical addresses and record headers. Pure; round-trips.

| MQTT                        | substrate                                                            |
|-----------------------------|----------------------------------------------------------------------|
| topic `a/b%/c`              | address of the tokens `a`, `b%`, `c` (``substrate.address.MQTT``)     |
| filter `a/+/#`              | ``Tokens(a/%*/%#)``; a leading wildcard sees no `$...`, no `_thalweg` |
| user property               | record header, order and duplicates kept                             |
| content type                | header `thalweg-content-type`                                        |
| response topic              | header `thalweg-reply`: its canonical address                        |
| correlation data            | header `thalweg-correlation`                                         |
| message expiry interval     | header `thalweg-expires-ms`: when, not how long                      |
| payload format indicator 1  | header `thalweg-mqtt-text`: `1`                                      |
| RETAIN                      | header `thalweg-retain`: `1`                                         |
| QoS                         | header `thalweg-qos` (of QoS 0 only where the address is captured)   |

A user property whose name begins with `thalweg-` becomes a header whose name has `thalweg-x-` before it, and back: no
client can forge the headers above. Record headers that MQTT cannot write (name or value not UTF-8, or with a NUL, or
longer than 65,535 bytes) are left out of a delivery; a header without a value is a property with an empty one.
"""

from __future__ import annotations

from protocols.mqtt import packets as p
from protocols.mqtt.wire import encode_properties, properties_of
from substrate.address import MQTT
from substrate.api import CONTENT_TYPE, CORRELATION, EXPIRES_MS, QOS, REPLY, RETAIN, Address
from substrate.interest import ANY, ONE, Tokens

Headers = tuple[tuple[bytes, bytes | None], ...]

TEXT = b"thalweg-mqtt-text"
OURS = b"thalweg-"
THEIRS = b"thalweg-x-"
TOPIC_BYTES_MAX = 65535
LEVELS_MAX = 128
QOS_HEADERS: tuple[Headers, ...] = (((QOS, b"0"),), ((QOS, b"1"),), ((QOS, b"2"),))


def address_of(topic: bytes) -> Address:
    return MQTT.address(topic)


def topic_of(address: bytes) -> bytes | None:
    """How MQTT names the address; None: it cannot (an empty name, or one too long)."""
    topic = address if b"%" not in address and address.isascii() and _plain(address) else MQTT.text(address)
    return topic if 0 < len(topic) <= TOPIC_BYTES_MAX else None


def _plain(address: bytes) -> bool:
    return b"+" not in address and b"#" not in address and b"\0" not in address


def valid_filter(text: bytes) -> bool:
    """Whether `+` and `#` stand alone in their levels, `#` last, and the levels are not too many."""
    levels = text.split(b"/")
    if not text or len(levels) > LEVELS_MAX:
        return False
    if any((b"+" in level or b"#" in level) and len(level) > 1 for level in levels):
        return False
    return b"#" not in levels[:-1]


def share_of(text: bytes) -> tuple[bytes, bytes] | None:
    """Group and filter of `$share/<group>/<filter>`; the group is empty if the text is no good (MQTT 5.0 section 4.8.2).

    None: not a shared subscription.
    """
    if not text.startswith(b"$share/") and text != b"$share":
        return None
    group, slash, rest = text[7:].partition(b"/")
    if not slash or not rest or b"+" in group or b"#" in group:
        return b"", b""
    return group, rest


def pattern_of(text: bytes) -> Tokens:
    """The pattern of a valid filter (without `$share`)."""
    parts = []
    for level in text.split(b"/"):
        if level == b"+":
            parts.append(ONE)
        elif level == b"#":
            parts.append(ANY)
        else:
            parts.append(MQTT.decode(level).replace(b"%", b"%25").replace(b"/", b"%2F"))
    return Tokens(b"/".join(parts), hides_dollar=True)


def filter_of(pattern: Tokens) -> bytes:
    """The filter that ``pattern_of`` made the pattern of."""
    levels = []
    for part in pattern.parts:
        if part == ONE:
            levels.append(b"+")
        elif part == ANY:
            levels.append(b"#")
        else:
            levels.append(MQTT.encode(part.replace(b"%2F", b"/").replace(b"%25", b"%")))
    return b"/".join(levels)


def without_expiry(properties: bytes, now_ms: int) -> tuple[bytes, int]:
    """The properties that pass on unchanged, in order, and when the message expires (unix ms; 0: never).

    Left out are the message expiry (it shrinks while the message waits) and the topic alias (it is the connection's).
    """
    if not properties:
        return b"", 0
    found = properties_of(properties)
    expires_ms = 0
    passed = []
    for identifier, value in found:
        if identifier == p.MESSAGE_EXPIRY:
            expires_ms = now_ms + int(value) * 1000
        elif identifier != p.TOPIC_ALIAS:
            passed.append((identifier, value))
    return (properties if len(passed) == len(found) else encode_properties(passed)), expires_ms


def with_expiry(properties: bytes, expires_ms: int, now_ms: int) -> bytes:
    """The properties of a delivery: what is left of the message's life before them."""
    if not expires_ms:
        return properties
    left_s = max(1, (expires_ms - now_ms + 999) // 1000)
    return encode_properties([(p.MESSAGE_EXPIRY, min(left_s, 0xFFFFFFFF))]) + properties


def headers_of(properties: bytes, expires_ms: int = 0, retain: bool = False, qos: int | None = None) -> Headers:
    """Record headers of a message; ``properties`` as ``without_expiry`` gives them."""
    headers: list[tuple[bytes, bytes | None]] = []
    if qos is not None:
        headers.append((QOS, b"%d" % qos))
    if retain:
        headers.append((RETAIN, b"1"))
    if expires_ms:
        headers.append((EXPIRES_MS, b"%d" % expires_ms))
    for identifier, value in properties_of(properties):
        if identifier == p.USER_PROPERTY:
            name, text = value
            headers.append((THEIRS + name if name.startswith(OURS) else name, text))
        elif identifier == p.CONTENT_TYPE:
            headers.append((CONTENT_TYPE, value))
        elif identifier == p.RESPONSE_TOPIC:
            headers.append((REPLY, address_of(value)))
        elif identifier == p.CORRELATION_DATA:
            headers.append((CORRELATION, value))
        elif identifier == p.PAYLOAD_FORMAT and value:
            headers.append((TEXT, b"1"))
    return tuple(headers)


def properties_of_headers(headers: Headers) -> tuple[bytes, int, bool, int | None]:
    """Of a record from anywhere: properties to pass on, when it expires (unix ms; 0: never), RETAIN, and the QoS that an
    MQTT publisher gave it (None: another protocol's message)."""
    if not headers:
        return b"", 0, False, None
    found: p.Properties = []
    expires_ms = 0
    retain = False
    qos: int | None = None
    for name, content in headers:
        value = content or b""
        if not name.startswith(OURS):
            if _writable(name) and _writable(value):
                found.append((p.USER_PROPERTY, (name, value)))
        elif name.startswith(THEIRS):
            if _writable(name) and _writable(value):
                found.append((p.USER_PROPERTY, (name[len(THEIRS) :], value)))
        elif name == CONTENT_TYPE:
            if _writable(value):
                found.append((p.CONTENT_TYPE, value))
        elif name == REPLY:
            topic = topic_of(value)
            if topic is not None:
                found.append((p.RESPONSE_TOPIC, topic))
        elif name == CORRELATION:
            if len(value) <= TOPIC_BYTES_MAX:
                found.append((p.CORRELATION_DATA, value))
        elif name == TEXT:
            found.append((p.PAYLOAD_FORMAT, 1))
        elif name == EXPIRES_MS and value.isdigit() and len(value) < 19:
            expires_ms = int(value)
        elif name == RETAIN:
            retain = value == b"1"
        elif name == QOS and value in (b"0", b"1", b"2"):
            qos = int(value)
    return encode_properties(found), expires_ms, retain, qos


def _writable(text: bytes) -> bool:
    if len(text) > TOPIC_BYTES_MAX or b"\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
