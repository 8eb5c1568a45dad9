"""What goes wrong, in Redis' words (they are API: clients branch on them), and the substrate's errors in them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from substrate.api import ErrorCode

SYNTAX = "ERR syntax error"
NOT_INTEGER = "ERR value is not an integer or out of range"
NOT_FLOAT = "ERR value is not a valid float"
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
NO_KEY = "ERR no such key"
OUT_OF_RANGE = "ERR index out of range"
DB_RANGE = "ERR DB index is out of range"
DB_INVALID = "ERR invalid DB index"
OVERFLOW = "ERR increment or decrement would overflow"
DECREMENT_OVERFLOW = "ERR decrement would overflow"
NAN_OR_INFINITY = "ERR increment would produce NaN or Infinity"
STRING_TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
OFFSET_RANGE = "ERR offset is out of range"
SAME_OBJECT = "ERR source and destination objects are the same"
MUST_BE_POSITIVE = "ERR value is out of range, must be positive"
TIMEOUT_NEGATIVE = "ERR timeout is negative"
TIMEOUT_NOT_FLOAT = "ERR timeout is not a float or out of range"
EXEC_ABORT = "EXECABORT Transaction discarded because of previous errors."
NO_AUTH = "NOAUTH Authentication required."
WRONG_PASS = "WRONGPASS invalid username-password pair or user is disabled."
NO_PROTO = "NOPROTO unsupported protocol version"
INVALID_CURSOR = "ERR invalid cursor"
NOT_READY = "LOADING the keyspace is not ready, try again"


class CommandError(Exception):
    """The command is answered with this text and changed nothing. Begins with its code (``ERR``, ``WRONGTYPE``)."""


def wrong_arity(name: str) -> str:
    return f"ERR wrong number of arguments for '{name}' command"


def invalid_expire(name: str) -> str:
    return f"ERR invalid expire time in '{name}' command"


def unknown_command(words: list[bytes]) -> str:
    """As Redis 7.0 server.c: the name cut to 128 bytes, arguments until about 128 bytes are shown."""
    shown = ""
    for word in words[1:]:
        if len(shown) >= 128:
            break
        shown += f"'{word[: 128 - len(shown)].decode('utf-8', 'surrogateescape')}' "
    name = words[0][:128].decode("utf-8", "surrogateescape")
    return f"ERR unknown command '{name}', with args beginning with: {shown}"


def unknown_subcommand(parent: str, sub: bytes) -> str:
    return f"ERR unknown subcommand '{sub[:128].decode('utf-8', 'surrogateescape')}'. Try {parent.upper()} HELP."


STREAM_ERRORS: Mapping[ErrorCode, str] = MappingProxyType(
    {
        ErrorCode.NO_STREAM: "ERR the topic of this stream is gone",
        ErrorCode.EXISTS: "ERR it exists already",
        ErrorCode.OUT_OF_RANGE: "ERR position out of range",
        ErrorCode.TOO_LARGE: "ERR entry is larger than the topic's record_bytes_max",
        ErrorCode.CORRUPT: "MISCONF stored data is corrupt",
        ErrorCode.INVALID: "ERR invalid request",
        ErrorCode.UNSUPPORTED: "ERR not supported",
        ErrorCode.FENCED: "READONLY this process lost its stream to another one",
        ErrorCode.NO_SPACE: "MISCONF no space left to store the write; reads go on",
        ErrorCode.UNAVAILABLE: "CLUSTERDOWN the stream is not available",
        ErrorCode.BACKPRESSURE: "BUSY too many writes in flight",
        ErrorCode.SEALED: "READONLY the stream is sealed",
        ErrorCode.DENIED: "NOPERM this user may not access this address",
        ErrorCode.TIMEOUT: "UNKNOWN the write timed out; it may have happened",
        ErrorCode.DUPLICATE_SEQUENCE: "ERR duplicate sequence",
    }
)
"""Every substrate error -> the error reply that a Redis client sees. Total: a test holds it to ErrorCode."""

UNKNOWN_OUTCOME = "UNKNOWN the write may or may not have happened"
REJECTED = "ERR the condition of the write did not hold"
