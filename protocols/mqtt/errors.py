"""Substrate errors as MQTT 5.0 reason codes (section 2.4), and what 3.x says instead.

3.x has no negative acknowledgement: a QoS 1 or 2 publish that failed is answered by closing the connection, so that the
client sends it again; a SUBSCRIBE is answered 0x80; a CONNECT has return codes of its own.
"""

from __future__ import annotations

from substrate.api import ErrorCode, Failed, Rejected, StreamError, Unknown

SUCCESS = 0x00
NO_MATCHING_SUBSCRIBERS = 0x10
NO_SUBSCRIPTION_EXISTED = 0x11
UNSPECIFIED = 0x80
MALFORMED = 0x81
PROTOCOL_ERROR = 0x82
IMPLEMENTATION_SPECIFIC = 0x83
UNSUPPORTED_VERSION = 0x84
CLIENT_ID_INVALID = 0x85
BAD_USER_OR_PASSWORD = 0x86
NOT_AUTHORIZED = 0x87
SERVER_UNAVAILABLE = 0x88
SERVER_BUSY = 0x89
SHUTTING_DOWN = 0x8B
BAD_AUTHENTICATION_METHOD = 0x8C
KEEP_ALIVE_TIMEOUT = 0x8D
SESSION_TAKEN_OVER = 0x8E
FILTER_INVALID = 0x8F
TOPIC_INVALID = 0x90
PACKET_ID_IN_USE = 0x91
PACKET_ID_NOT_FOUND = 0x92
RECEIVE_MAXIMUM_EXCEEDED = 0x93
TOPIC_ALIAS_INVALID = 0x94
PACKET_TOO_LARGE = 0x95
QUOTA_EXCEEDED = 0x97
PAYLOAD_FORMAT_INVALID = 0x99

REASONS: dict[ErrorCode, int] = {
    ErrorCode.NO_STREAM: UNSPECIFIED,
    ErrorCode.EXISTS: IMPLEMENTATION_SPECIFIC,
    ErrorCode.OUT_OF_RANGE: IMPLEMENTATION_SPECIFIC,
    ErrorCode.TOO_LARGE: QUOTA_EXCEEDED,
    ErrorCode.CORRUPT: IMPLEMENTATION_SPECIFIC,
    ErrorCode.INVALID: IMPLEMENTATION_SPECIFIC,
    ErrorCode.UNSUPPORTED: IMPLEMENTATION_SPECIFIC,
    ErrorCode.FENCED: UNSPECIFIED,
    ErrorCode.NO_SPACE: QUOTA_EXCEEDED,
    ErrorCode.UNAVAILABLE: UNSPECIFIED,
    ErrorCode.BACKPRESSURE: QUOTA_EXCEEDED,
    ErrorCode.SEALED: NOT_AUTHORIZED,
    ErrorCode.DENIED: NOT_AUTHORIZED,
    ErrorCode.TIMEOUT: UNSPECIFIED,
    ErrorCode.DUPLICATE_SEQUENCE: IMPLEMENTATION_SPECIFIC,
}

RETURN_CODES: dict[int, int] = {
    # 5.0 reason code of a CONNACK -> return code of 3.x; whatever is not here is 3, server unavailable
    SUCCESS: 0,
    UNSUPPORTED_VERSION: 1,
    CLIENT_ID_INVALID: 2,
    BAD_USER_OR_PASSWORD: 4,
    NOT_AUTHORIZED: 5,
}


def reason(answer: object) -> int:
    """The reason code for an answer of the substrate that is not the one hoped for."""
    if isinstance(answer, StreamError):
        return REASONS[answer.code]
    if isinstance(answer, (Rejected, Unknown, Failed)):
        return UNSPECIFIED
    return SUCCESS


def return_code(code: int) -> int:
    """The CONNACK return code of 3.x for a 5.0 reason code."""
    return RETURN_CODES.get(code, 3)
