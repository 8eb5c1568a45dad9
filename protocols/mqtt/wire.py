# cython: language_level=3
"""Codec of every MQTT control packet, both directions, 3.1 (level 3), 3.1.1 (level 4) and 5.0 (level 5).

    packet = flags byte | remaining length: 1 to 4 bytes of 7 bits, low first | variable header | payload

``decode`` gives the first packet of a buffer, None while it is not complete, however the bytes are cut. Everything the
specifications forbid raises ``Malformed`` with the 5.0 reason code: 0x81 for what cannot be parsed, 0x82 for what must
not be sent, 0x90 for a topic name with wildcards, 0x94 for topic alias 0, 0x95 beyond the size allowed. Sources: MQTT 3.1
(IBM/Eurotech), OASIS MQTT 3.1.1 and 5.0. Tolerances: a 3.x remaining length need not be minimal; MQTT 3.1 may set DUP on
SUBSCRIBE, UNSUBSCRIBE and PUBREL, and leave out the user name that it announced.
"""

from __future__ import annotations

import cython

from protocols.api import WireError
from protocols.mqtt.packets import (
    Acknowledge,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Ping,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize

REMAINING_MAX = 268_435_455

MALFORMED = 0x81
PROTOCOL_ERROR = 0x82
UNSUPPORTED_VERSION = 0x84
TOPIC_NAME_INVALID = 0x90
TOPIC_ALIAS_INVALID = 0x94
PACKET_TOO_LARGE = 0x95

_BYTE, _U16, _U32, _VARINT, _BINARY, _TEXT, _PAIR = 1, 2, 3, 4, 5, 6, 7
_ACKS = (2, 4, 5, 6, 7, 9, 11, 14, 15)

_TABLE: dict = {
    # identifier: (type, the packets it may stand in; 0 is a will)
    0x01: (_BYTE, (3, 0)),
    0x02: (_U32, (3, 0)),
    0x03: (_TEXT, (3, 0)),
    0x08: (_TEXT, (3, 0)),
    0x09: (_BINARY, (3, 0)),
    0x0B: (_VARINT, (3, 8)),
    0x11: (_U32, (1, 2, 14)),
    0x12: (_TEXT, (2,)),
    0x13: (_U16, (2,)),
    0x15: (_TEXT, (1, 2, 15)),
    0x16: (_BINARY, (1, 2, 15)),
    0x17: (_BYTE, (1,)),
    0x18: (_U32, (0,)),
    0x19: (_BYTE, (1,)),
    0x1A: (_TEXT, (2,)),
    0x1C: (_TEXT, (2, 14)),
    0x1F: (_TEXT, _ACKS),
    0x21: (_U16, (1, 2)),
    0x22: (_U16, (1, 2)),
    0x23: (_U16, (3,)),
    0x24: (_BYTE, (2,)),
    0x25: (_BYTE, (2,)),
    0x26: (_PAIR, (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15)),
    0x27: (_U32, (1, 2)),
    0x28: (_BYTE, (2,)),
    0x29: (_BYTE, (2,)),
    0x2A: (_BYTE, (2,)),
}

_PUBLISH_CODES = (0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)
_RELEASE_CODES = (0, 0x92)


class Malformed(WireError):
    """The peer broke the grammar; ``code`` is the 5.0 reason code for its DISCONNECT or CONNACK."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@cython.cfunc
def _bytes(view: cython.const[cython.uchar][::1], start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> bytes:
    if start < 0 or end < start or end > len(view):
        raise Malformed(MALFORMED, "a field reaches beyond its packet")
    if start == end:
        return b""
    if cython.compiled:
        return PyBytes_FromStringAndSize(cython.cast(cython.p_char, cython.address(view[start])), end - start)
    return bytes(view[start:end])


@cython.cclass
class _Reader:
    """Reads fields of one packet; never beyond ``end``."""

    view: cython.const[cython.uchar][::1]
    at: cython.Py_ssize_t
    end: cython.Py_ssize_t
    level: cython.int

    def __init__(
        self,
        view: cython.const[cython.uchar][::1],
        at: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        level: cython.int,
    ) -> None:
        self.view = view
        self.at = at
        self.end = end
        self.level = level

    @cython.cfunc
    @cython.exceptval(-1)
    def u8(self) -> cython.longlong:
        if self.at >= self.end:
            raise Malformed(MALFORMED, "a packet ends within a field")
        value: cython.longlong = self.view[self.at]
        self.at += 1
        return value

    @cython.cfunc
    @cython.exceptval(-1)
    def u16(self) -> cython.longlong:
        if self.at + 2 > self.end:
            raise Malformed(MALFORMED, "a packet ends within a field")
        value: cython.longlong = self.view[self.at] * 256 + self.view[self.at + 1]
        self.at += 2
        return value

    @cython.cfunc
    @cython.exceptval(-1)
    def u32(self) -> cython.longlong:
        high: cython.longlong = self.u16()
        return high * 65536 + self.u16()

    @cython.cfunc
    @cython.exceptval(-1)
    def varint(self) -> cython.longlong:
        value: cython.longlong = 0
        scale: cython.longlong = 1
        count: cython.int = 0
        while True:
            byte: cython.longlong = self.u8()
            value += (byte & 127) * scale
            count += 1
            if byte < 128:
                if byte == 0 and count > 1:
                    raise Malformed(MALFORMED, "a variable byte integer is longer than it need be")
                return value
            if count == 4:
                raise Malformed(MALFORMED, "a variable byte integer of more than 4 bytes")
            scale *= 128

    @cython.cfunc
    def binary(self) -> bytes:
        length: cython.Py_ssize_t = self.u16()
        if self.at + length > self.end:
            raise Malformed(MALFORMED, "a packet ends within a field")
        self.at += length
        return _bytes(self.view, self.at - length, self.at)

    @cython.cfunc
    def text(self) -> bytes:
        value: bytes = self.binary()
        check_text(value)
        return value

    @cython.cfunc
    @cython.exceptval(-1)
    def packet_id(self) -> cython.longlong:
        value: cython.longlong = self.u16()
        if value == 0:
            raise Malformed(PROTOCOL_ERROR, "packet identifier 0")
        return value

    @cython.cfunc
    def properties(self, kind: cython.int, from_client: cython.bint) -> bytes:
        """The raw, validated property list; empty below 5.0."""
        if self.level < 5:
            return b""
        length: cython.Py_ssize_t = self.varint()
        if length == 0:
            return b""
        stop: cython.Py_ssize_t = self.at + length
        if stop > self.end:
            raise Malformed(MALFORMED, "properties reach beyond their packet")
        start: cython.Py_ssize_t = self.at
        whole: cython.Py_ssize_t = self.end
        self.end = stop
        seen: cython.ulonglong = 0
        while self.at < stop:
            identifier: cython.longlong = self.varint()
            rule = _TABLE.get(identifier)
            if rule is None or kind not in rule[1]:
                raise Malformed(MALFORMED, f"property {identifier:#x} does not belong in packet type {kind}")
            one: cython.ulonglong = 1
            bit: cython.ulonglong = one << identifier
            if seen & bit and identifier != 0x26 and not (identifier == 0x0B and kind == 3):
                raise Malformed(PROTOCOL_ERROR, f"property {identifier:#x} given twice")
            seen |= bit
            self._value(rule[0], identifier, kind, from_client)
        self.end = whole
        return _bytes(self.view, start, stop)

    @cython.cfunc
    @cython.exceptval(-1)
    def _value(
        self, shape: cython.int, identifier: cython.longlong, kind: cython.int, from_client: cython.bint
    ) -> cython.int:
        number: cython.longlong
        if shape == _PAIR:
            self.text()
            self.text()
        elif shape == _TEXT:
            text: bytes = self.text()
            if identifier == 0x08 and (b"+" in text or b"#" in text):
                raise Malformed(PROTOCOL_ERROR, "a response topic has no wildcards")
        elif shape == _BINARY:
            self.binary()
        elif shape == _BYTE:
            if self.u8() > 1:
                raise Malformed(PROTOCOL_ERROR, f"property {identifier:#x} is 0 or 1")
        elif shape == _VARINT:
            if kind == 3 and from_client:
                raise Malformed(PROTOCOL_ERROR, "a client's PUBLISH has no subscription identifier")
            if self.varint() == 0:
                raise Malformed(PROTOCOL_ERROR, "subscription identifier 0")
        elif shape == _U16:
            number = self.u16()
            if number == 0 and identifier == 0x21:
                raise Malformed(PROTOCOL_ERROR, "receive maximum 0")
            if number == 0 and identifier == 0x23:
                raise Malformed(TOPIC_ALIAS_INVALID, "topic alias 0")
        elif self.u32() == 0 and identifier == 0x27:
            raise Malformed(PROTOCOL_ERROR, "maximum packet size 0")
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def finish(self) -> cython.int:
        if self.at != self.end:
            raise Malformed(MALFORMED, f"{self.end - self.at} bytes behind the end of a packet's fields")
        return 0


def check_text(text: bytes) -> None:
    """UTF-8 without NUL and surrogates (MQTT 5.0 section 1.5.4).

    Raises:
        Malformed: 0x81.
    """
    if b"\0" in text:
        raise Malformed(MALFORMED, "a NUL in a text")
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise Malformed(MALFORMED, f"a text is not UTF-8: {error.reason}") from None


def check_topic(topic: bytes) -> None:
    """A topic name that may be published to: text, not empty, without wildcards.

    Raises:
        Malformed: 0x81, 0x90.
    """
    check_text(topic)
    if not topic:
        raise Malformed(TOPIC_NAME_INVALID, "an empty topic name")
    if b"+" in topic or b"#" in topic:
        raise Malformed(TOPIC_NAME_INVALID, "a topic name with wildcards")


def frame_bytes(
    data: object, start: cython.Py_ssize_t, end: cython.Py_ssize_t, level: cython.int, bytes_max: cython.Py_ssize_t
) -> int:
    """Size of the packet that begins at ``start``, its fixed header included; 0: not known yet.

    Raises:
        Malformed: 0x81 for a bad length, 0x95 for one beyond ``bytes_max``.
    """
    view: cython.const[cython.uchar][::1] = data
    length: cython.longlong = 0
    scale: cython.longlong = 1
    at: cython.Py_ssize_t = start + 1
    while True:
        if at - start > 4:
            raise Malformed(MALFORMED, "a remaining length of more than 4 bytes")
        if at >= end:
            return 0
        byte: cython.longlong = view[at]
        length += (byte & 127) * scale
        scale *= 128
        at += 1
        if byte < 128:
            if byte == 0 and at - start > 2 and level == 5:
                raise Malformed(MALFORMED, "a remaining length is longer than it need be")
            break
    if at - start + length > bytes_max:
        raise Malformed(PACKET_TOO_LARGE, f"a packet of {at - start + length} bytes, limit {bytes_max}")
    return at - start + length


def decode(
    data: object,
    start: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
    level: cython.int = 4,
    bytes_max: cython.Py_ssize_t = REMAINING_MAX + 5,
    from_client: cython.bint = True,
) -> tuple | None:
    """The packet at ``data[start:end]`` and the offset behind it; None: not complete.

    ``level`` is the connection's (a CONNECT names its own). ``from_client`` False reads what a server sends.

    Raises:
        Malformed: see the file's head; UNSUPPORTED_VERSION for a CONNECT of another level.
    """
    if end - start < 2:
        return None
    size: cython.Py_ssize_t = frame_bytes(data, start, end, level, bytes_max)
    view: cython.const[cython.uchar][::1] = data
    kind: cython.int = view[start] >> 4
    flags: cython.int = view[start] & 15
    _check_flags(kind, flags, level)
    if size == 0 or start + size > end:
        return None
    body: cython.Py_ssize_t = start + 1
    while view[body] >= 128:
        body += 1
    reader = _Reader(view, body + 1, start + size, level)
    if kind == 3:
        packet = _publish(reader, flags, from_client)
    elif 4 <= kind <= 7:
        packet = _acknowledge(reader, kind)
    elif from_client:
        packet = _from_client(reader, kind)
    else:
        packet = _from_server(reader, kind)
    return packet, start + size


@cython.cfunc
@cython.exceptval(-1)
def _check_flags(kind: cython.int, flags: cython.int, level: cython.int) -> cython.int:
    if kind == 3:
        if flags & 6 == 6:
            raise Malformed(MALFORMED, "QoS 3")
        if flags & 14 == 8:
            raise Malformed(MALFORMED, "DUP with QoS 0")
    elif kind in (6, 8, 10):
        if flags != 2 and not (level == 3 and flags & 7 == 2):
            raise Malformed(MALFORMED, f"flags {flags} of packet type {kind}, must be 2")
    elif flags:
        raise Malformed(MALFORMED, f"flags {flags} of packet type {kind}, must be 0")
    elif kind == 0:
        raise Malformed(MALFORMED, "packet type 0")
    return 0


@cython.cfunc
def _publish(reader: _Reader, flags: cython.int, from_client: cython.bint) -> object:
    topic: bytes = reader.text()
    qos: cython.int = (flags >> 1) & 3
    packet_id: cython.longlong = reader.packet_id() if qos else 0
    properties: bytes = reader.properties(3, from_client)
    if topic:
        check_topic(topic)
    elif reader.level < 5:
        raise Malformed(TOPIC_NAME_INVALID, "an empty topic name")
    elif not properties or topic_alias_of(properties) == 0:
        raise Malformed(PROTOCOL_ERROR, "an empty topic name without a topic alias")
    payload: bytes = _bytes(reader.view, reader.at, reader.end)
    return Publish(topic, payload, qos, bool(flags & 1), bool(flags & 8), packet_id, properties)


@cython.cfunc
def _acknowledge(reader: _Reader, kind: cython.int) -> object:
    packet_id: cython.longlong = reader.packet_id()
    code: cython.longlong = 0
    properties: bytes = b""
    if reader.level == 5 and reader.at < reader.end:
        code = reader.u8()
        if code not in (_PUBLISH_CODES if kind < 6 else _RELEASE_CODES):
            raise Malformed(PROTOCOL_ERROR, f"reason code {code:#x} of packet type {kind}")
        if reader.at < reader.end:
            properties = reader.properties(kind, True)
    reader.finish()
    return Acknowledge(kind, packet_id, code, properties)


@cython.cfunc
def _from_client(reader: _Reader, kind: cython.int) -> object:
    packet_id: cython.longlong
    properties: bytes
    filters: list = []
    text: bytes
    if kind == 1:
        return _connect(reader)
    if kind == 8:
        packet_id = reader.packet_id()
        properties = reader.properties(8, True)
        while reader.at < reader.end:
            text = reader.text()
            filters.append((text, _options(reader.u8(), reader.level)))
        if not filters:
            raise Malformed(PROTOCOL_ERROR, "SUBSCRIBE without a filter")
        return Subscribe(packet_id, tuple(filters), properties)
    if kind == 10:
        packet_id = reader.packet_id()
        properties = reader.properties(10, True)
        while reader.at < reader.end:
            filters.append(reader.text())
        if not filters:
            raise Malformed(PROTOCOL_ERROR, "UNSUBSCRIBE without a filter")
        return Unsubscribe(packet_id, tuple(filters), properties)
    if kind == 12:
        reader.finish()
        return Ping(12)
    return _both(reader, kind)


@cython.cfunc
def _options(options: cython.longlong, level: cython.int) -> cython.longlong:
    if options & 3 == 3 or options & (0xC0 if level == 5 else 0xFC):
        raise Malformed(MALFORMED, f"subscription options {options:#x}")
    if options & 0x30 == 0x30:
        raise Malformed(PROTOCOL_ERROR, "retain handling 3")
    return options


@cython.cfunc
def _both(reader: _Reader, kind: cython.int) -> object:
    code: cython.longlong = 0
    properties: bytes = b""
    if kind == 14 or (kind == 15 and reader.level == 5):
        if reader.level == 5 and reader.at < reader.end:
            code = reader.u8()
            if reader.at < reader.end or kind == 15:  # only DISCONNECT may leave the length out
                properties = reader.properties(kind, True)
        if kind == 15 and code not in (0, 0x18, 0x19):
            raise Malformed(PROTOCOL_ERROR, f"reason code {code:#x} of AUTH")
        if kind == 14 and 0 < code < 0x80 and code != 4:
            raise Malformed(PROTOCOL_ERROR, f"reason code {code:#x} of DISCONNECT")
        reader.finish()
        return Disconnect(code, properties) if kind == 14 else Auth(code, properties)
    raise Malformed(PROTOCOL_ERROR, f"packet type {kind} is not for this side")


@cython.cfunc
def _connect(reader: _Reader) -> object:
    name: bytes = reader.binary()
    level: cython.longlong = reader.u8()
    if name == b"MQTT":
        if level != 4 and level != 5:
            raise Malformed(UNSUPPORTED_VERSION, f"protocol level {level}")
    elif name == b"MQIsdp":
        if level != 3:
            raise Malformed(UNSUPPORTED_VERSION, f"protocol level {level}")
    else:
        raise Malformed(UNSUPPORTED_VERSION, "not an MQTT protocol name")
    reader.level = level
    flags: cython.longlong = reader.u8()
    if flags & 1 and level > 3:
        raise Malformed(MALFORMED, "the reserved CONNECT flag is set")
    if flags & 4 == 0 and flags & 0x38:
        raise Malformed(MALFORMED, "will QoS or retain without a will")
    if flags & 0x18 == 0x18:
        raise Malformed(MALFORMED, "will QoS 3")
    if flags & 0xC0 == 0x40 and level < 5:
        raise Malformed(MALFORMED, "a password without a user name")
    keep_alive_s: cython.longlong = reader.u16()
    properties: bytes = reader.properties(1, True)
    client_id: bytes = reader.text()
    will = None
    if flags & 4:
        will_properties: bytes = reader.properties(0, True)
        topic: bytes = reader.text()
        check_topic(topic)
        payload: bytes = reader.binary()
        will = Will(topic, payload, flags >> 3 & 3, bool(flags & 0x20), will_properties)
    user = None
    password = None
    left_out: cython.bint = level == 3 and reader.at == reader.end
    if flags & 0x80 and not left_out:
        user = reader.text()
    left_out = level == 3 and reader.at == reader.end
    if flags & 0x40 and not left_out:
        password = reader.binary()
    reader.finish()
    return Connect(level, bool(flags & 2), keep_alive_s, client_id, will, user, password, properties)


@cython.cfunc
def _from_server(reader: _Reader, kind: cython.int) -> object:
    packet_id: cython.longlong
    properties: bytes
    if kind == 2:
        present: cython.longlong = reader.u8()
        if present > 1:
            raise Malformed(MALFORMED, "CONNACK flags")
        code: cython.longlong = reader.u8()
        properties = reader.properties(2, False)
        reader.finish()
        return Connack(present == 1, code, properties)
    if kind == 9 or kind == 11:
        packet_id = reader.packet_id()
        properties = reader.properties(kind, False)
        codes: bytes = _bytes(reader.view, reader.at, reader.end)
        return (
            Suback(packet_id, tuple(codes), properties) if kind == 9 else Unsuback(packet_id, tuple(codes), properties)
        )
    if kind == 13:
        reader.finish()
        return Ping(13)
    return _both(reader, kind)


def topic_alias_of(properties: bytes) -> int:
    """The topic alias in a validated property list; 0: none."""
    for identifier, value in properties_of(properties):
        if identifier == 0x23:
            return value
    return 0


def properties_of(properties: bytes) -> list:
    """A validated property list as pairs (identifier, int | bytes | (name, value)), in its order."""
    found: list = []
    if not properties:
        return found
    reader = _Reader(properties, 0, len(properties), 5)
    shape: cython.int
    while reader.at < reader.end:
        identifier: cython.longlong = reader.varint()
        shape = _TABLE[identifier][0]
        if shape == _PAIR:
            name: bytes = reader.binary()
            found.append((identifier, (name, reader.binary())))
        elif shape in (_TEXT, _BINARY):
            found.append((identifier, reader.binary()))
        elif shape == _BYTE:
            found.append((identifier, reader.u8()))
        elif shape == _U16:
            found.append((identifier, reader.u16()))
        elif shape == _U32:
            found.append((identifier, reader.u32()))
        else:
            found.append((identifier, reader.varint()))
    return found


# encoding


def varint(number: cython.longlong) -> bytes:
    """A variable byte integer."""
    if number < 0 or number > REMAINING_MAX:
        raise ValueError(f"{number} is no variable byte integer")
    if number < 128:
        return bytes((number,))
    out = bytearray()
    while True:
        byte: cython.longlong = number & 127
        number >>= 7
        if number:
            out.append(byte | 128)
        else:
            out.append(byte)
            return bytes(out)


def _u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def _field(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


def encode_properties(properties: list) -> bytes:
    """A property list without its length, of pairs as ``properties_of`` gives them."""
    out: list = []
    for identifier, value in properties:
        shape = _TABLE[identifier][0]
        out.append(bytes((identifier,)))
        if shape == _PAIR:
            out.append(_field(value[0]))
            out.append(_field(value[1]))
        elif shape in (_TEXT, _BINARY):
            out.append(_field(value))
        elif shape == _BYTE:
            out.append(bytes((value,)))
        elif shape == _U16:
            out.append(_u16(value))
        elif shape == _U32:
            out.append(value.to_bytes(4, "big"))
        else:
            out.append(varint(value))
    return b"".join(out)


def _block(properties: bytes, level: int) -> bytes:
    return varint(len(properties)) + properties if level == 5 else b""


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + varint(len(body)) + body


def encode_publish(
    topic: bytes, payload: bytes, qos: int, retain: bool, dup: bool, packet_id: int, properties: bytes, level: int
) -> bytes:
    """A PUBLISH; what deliveries use without making a ``Publish``."""
    middle: bytes = _u16(packet_id) if qos else b""
    block: bytes = _block(properties, level)
    first: int = 0x30 | (qos << 1) | (1 if retain else 0) | (8 if dup else 0)
    size: int = 2 + len(topic) + len(middle) + len(block) + len(payload)
    return b"".join((bytes((first,)), varint(size), _u16(len(topic)), topic, middle, block, payload))


def encode_ack(kind: int, packet_id: int, code: int, properties: bytes, level: int) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP, as short as the level allows."""
    first: int = kind << 4 | (2 if kind == 6 else 0)
    if level < 5 or (code == 0 and not properties):
        return bytes((first, 2, packet_id >> 8, packet_id & 255))
    if not properties:
        return bytes((first, 3, packet_id >> 8, packet_id & 255, code))
    return _packet(first, _u16(packet_id) + bytes((code,)) + _block(properties, level))


def encode(packet: object, level: int = 4) -> bytes:
    """Any packet, both directions. A ``Connect`` is written for its own level."""
    if isinstance(packet, Publish):
        return encode_publish(
            packet.topic,
            packet.payload,
            packet.qos,
            packet.retain,
            packet.dup,
            packet.packet_id,
            packet.properties,
            level,
        )
    if isinstance(packet, Acknowledge):
        return encode_ack(packet.kind, packet.packet_id, packet.code, packet.properties, level)
    if isinstance(packet, Connect):
        return _encode_connect(packet)
    if isinstance(packet, Connack):
        return _packet(0x20, bytes((packet.session_present, packet.code)) + _block(packet.properties, level))
    if isinstance(packet, Subscribe):
        body = b"".join([_field(text) + bytes((options,)) for text, options in packet.filters])
        return _packet(0x82, _u16(packet.packet_id) + _block(packet.properties, level) + body)
    if isinstance(packet, Unsubscribe):
        body = b"".join([_field(text) for text in packet.filters])
        return _packet(0xA2, _u16(packet.packet_id) + _block(packet.properties, level) + body)
    if isinstance(packet, Suback):
        return _packet(0x90, _u16(packet.packet_id) + _block(packet.properties, level) + bytes(packet.codes))
    if isinstance(packet, Unsuback):
        return _packet(0xB0, _u16(packet.packet_id) + _block(packet.properties, level) + bytes(packet.codes))
    if isinstance(packet, Ping):
        return bytes((packet.kind << 4, 0))
    if isinstance(packet, (Disconnect, Auth)):
        first: int = 0xE0 if isinstance(packet, Disconnect) else 0xF0
        if level < 5 or (packet.code == 0 and not packet.properties):
            return bytes((first, 0))
        if not packet.properties and first == 0xE0:
            return bytes((first, 1, packet.code))
        return _packet(first, bytes((packet.code,)) + _block(packet.properties, level))
    raise TypeError(f"not a packet: {packet!r}")


def _encode_connect(packet: object) -> bytes:
    level: int = packet.level
    will = packet.will
    flags: int = 2 if packet.clean else 0
    payload: list = [_field(packet.client_id)]
    if will is not None:
        flags |= 4 | will.qos << 3 | (0x20 if will.retain else 0)
        payload += [_block(will.properties, level), _field(will.topic), _field(will.payload)]
    if packet.user is not None:
        flags |= 0x80
        payload.append(_field(packet.user))
    if packet.password is not None:
        flags |= 0x40
        payload.append(_field(packet.password))
    name: bytes = b"MQIsdp" if level == 3 else b"MQTT"
    head: bytes = _field(name) + bytes((level, flags)) + _u16(packet.keep_alive_s) + _block(packet.properties, level)
    return _packet(0x10, head + b"".join(payload))
