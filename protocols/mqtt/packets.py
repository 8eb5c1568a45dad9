"""MQTT control packets as values, for 3.1, 3.1.1 and 5.0 alike.

Texts are UTF-8 bytes (checked by ``wire``: no NUL, no surrogates). ``properties`` are the raw bytes of a 5.0 property list
without its length, already validated, in the order sent; ``wire.properties_of`` reads them. Below 5.0 they are empty.
"""

from __future__ import annotations

from typing import NamedTuple

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 8, 9, 10, 11, 12, 13, 14, 15
WILL = 0
"""Not a packet: where the properties of a will are looked up."""

# Property identifiers, MQTT 5.0 section 2.2.2.2
PAYLOAD_FORMAT, MESSAGE_EXPIRY, CONTENT_TYPE = 0x01, 0x02, 0x03
RESPONSE_TOPIC, CORRELATION_DATA, SUBSCRIPTION_ID = 0x08, 0x09, 0x0B
SESSION_EXPIRY, ASSIGNED_CLIENT_ID, SERVER_KEEP_ALIVE = 0x11, 0x12, 0x13
AUTH_METHOD, AUTH_DATA, REQUEST_PROBLEM, WILL_DELAY = 0x15, 0x16, 0x17, 0x18
REQUEST_RESPONSE, RESPONSE_INFO, SERVER_REFERENCE, REASON_STRING = 0x19, 0x1A, 0x1C, 0x1F
RECEIVE_MAXIMUM, TOPIC_ALIAS_MAXIMUM, TOPIC_ALIAS, MAXIMUM_QOS = 0x21, 0x22, 0x23, 0x24
RETAIN_AVAILABLE, USER_PROPERTY, MAXIMUM_PACKET = 0x25, 0x26, 0x27
WILDCARD_AVAILABLE, SUBSCRIPTION_ID_AVAILABLE, SHARED_AVAILABLE = 0x28, 0x29, 0x2A

Value = int | bytes | tuple[bytes, bytes]
Properties = list[tuple[int, Value]]


class Will(NamedTuple):
    topic: bytes
    payload: bytes
    qos: int
    retain: bool
    properties: bytes = b""


class Connect(NamedTuple):
    level: int  # 3: MQTT 3.1, 4: 3.1.1, 5: 5.0
    clean: bool
    keep_alive_s: int
    client_id: bytes
    will: Will | None = None
    user: bytes | None = None
    password: bytes | None = None
    properties: bytes = b""


class Connack(NamedTuple):
    session_present: bool
    code: int
    properties: bytes = b""


class Publish(NamedTuple):
    topic: bytes
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0  # 0 for QoS 0
    properties: bytes = b""


class Acknowledge(NamedTuple):
    """PUBACK, PUBREC, PUBREL or PUBCOMP."""

    kind: int
    packet_id: int
    code: int = 0
    properties: bytes = b""


class Subscribe(NamedTuple):
    packet_id: int
    filters: tuple[tuple[bytes, int], ...]  # (filter, options byte of 5.0; below: the QoS)
    properties: bytes = b""


class Suback(NamedTuple):
    packet_id: int
    codes: tuple[int, ...]
    properties: bytes = b""


class Unsubscribe(NamedTuple):
    packet_id: int
    filters: tuple[bytes, ...]
    properties: bytes = b""


class Unsuback(NamedTuple):
    packet_id: int
    codes: tuple[int, ...]  # below 5.0: empty
    properties: bytes = b""


class Ping(NamedTuple):
    kind: int  # PINGREQ or PINGRESP


class Disconnect(NamedTuple):
    code: int = 0
    properties: bytes = b""


class Auth(NamedTuple):
    code: int = 0
    properties: bytes = b""


Packet = (
    Connect | Connack | Publish | Acknowledge | Subscribe | Suback | Unsubscribe | Unsuback | Ping | Disconnect | Auth
)
