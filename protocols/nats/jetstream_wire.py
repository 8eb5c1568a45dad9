"""What JetStream's texts look like: JSON as Go writes and reads it, times, acknowledgements, and the requests that a
session hands to the executor.

Answers are JSON objects written as encoding/json does (``>`` becomes ``\\u003e``, fields in the order of the server's
structs). Requests are read strictly: an unknown field is an error (nats-server 2.12 and later, behaviour). Times are
RFC 3339 with up to nine digits; ours have milliseconds. Durations are nanoseconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from protocols.api import World
from protocols.nats import errors
from protocols.nats.errors import ApiError
from protocols.nats.mapping import Headers, subject_address
from protocols.nats.wire import valid_subject
from substrate.api import Account, Address, Conditions, Topic

HEADER_BYTES_MAX = 65535
WINDOW_NS = 120_000_000_000
OPTION = "jetstream"
"""The key of a topic's options under which its JetStream configuration is kept, as JSON."""
NAME_BYTES_MAX = 255
EMPTY = (b"", b"{}")
"""What asks for nothing."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One message to ``$JS.API.``; answered ``Called`` with the reply's payload (``b""``: silence), Message or NoResponders."""

    account: Account
    subject: bytes
    reply: bytes
    payload: bytes
    headers: Headers
    durability: str = "sync"  # of a stream that is created, where its own configuration does not say
    interval_ms: int = 1000


@dataclass(frozen=True, slots=True)
class AckRequest:
    """Messages to ``$JS.ACK.`` in order: (subject, reply, payload); answered ``Called`` with an AckAnswer."""

    account: Account
    acks: tuple[tuple[bytes, bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class AckAnswer:
    confirm: tuple[bytes, ...]
    """Reply subjects to confirm to."""
    nobody: tuple[tuple[bytes, bytes], ...]
    """(subject, reply) of acknowledgements that nobody waits for: no such consumer, or it wants none."""


class NoResponders:
    """Nobody is there under this API subject (a consumer that does not exist): nats-server has no subscription then."""


@dataclass(frozen=True, slots=True)
class Message:
    """An API answer that is a message with headers (DIRECT.GET), not JSON."""

    block: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What a publisher's session needs to know of the stream that captures its message."""

    name: str
    quoted: bytes
    acks: bool
    window_ms: int
    rollup: bool = False
    ttl: bool = False
    counter: bool = False
    atomic: bool = False
    looks: bool = False
    """Every message is looked at on its own: one without headers may be refused, too."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """What a message's headers ask for."""

    conditions: Conditions | None
    rollup: str = ""
    increment: int | None = None
    batch: str = ""
    batch_sequence: int = 0
    batch_commit: str = ""

    @property
    def decided(self) -> bool:
        """Whether the executor has to store it."""
        return bool(self.rollup) or self.increment is not None


def stream_name(topic: Topic) -> str | None:
    """Under which name JetStream shows this topic; None: it cannot."""
    if len(topic.streams) != 1:
        return None
    try:
        name = topic.name.decode()
    except UnicodeDecodeError:
        return None
    return name if valid_stream_name(name) and "%" not in name else None


def valid_stream_name(name: str) -> bool:
    return bool(name) and len(name) <= NAME_BYTES_MAX and re.search(r"[\s.*>/\\\x00-\x1f\x7f]", name) is None


def stream_facts(topic: Topic) -> StreamFacts | None:
    """None: the topic is no JetStream stream (it has several partitions, or a name that JetStream cannot write)."""
    name = stream_name(topic)
    if name is None:
        return None
    config = json.loads(topic.options.get(OPTION, "{}"))
    window_ms = int(config.get("duplicate_window", WINDOW_NS)) // 1_000_000
    counter = bool(config.get("allow_msg_counter"))
    return StreamFacts(
        name, quote(name), not config.get("no_ack", False), window_ms,
        rollup=bool(config.get("allow_rollup_hdrs")) and not config.get("deny_purge"), ttl=bool(config.get("allow_msg_ttl")),
        counter=counter, atomic=bool(config.get("allow_atomic")), looks=counter,
    )  # fmt: skip


def expectations_of(
    headers: Headers, block_bytes: int, payload_bytes: int, facts: StreamFacts, address: Address
) -> Expectations | ApiError:
    """What a message's headers ask of the stream (nats-server 2.15 server/stream.go processJetStreamMsg, behaviour)."""
    if block_bytes > HEADER_BYTES_MAX:
        return errors.HEADERS_TOO_LARGE
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name.startswith(b"Nats-") and name not in found:
            found[name] = value or b""
    if len(found) == 1 and found.get(b"Nats-Msg-Id") and not facts.counter:
        return Expectations(Conditions(message_id=found[b"Nats-Msg-Id"], window_ms=facts.window_ms))
    refused = _refuse_features(found, payload_bytes, facts)
    if refused is not None:
        return refused
    if found.get(b"Nats-Expected-Stream", facts.name.encode()) != facts.name.encode():
        return errors.EXPECTED_STREAM
    tail = _sequence(found, b"Nats-Expected-Last-Sequence")
    last = _sequence(found, b"Nats-Expected-Last-Subject-Sequence")
    where = found.get(b"Nats-Expected-Last-Subject-Sequence-Subject")
    if where is not None and last is None:
        return errors.EXPECTED_SUBJECT_ALONE
    if where is not None and not valid_subject(where):
        return errors.BAD_REQUEST
    message_id = found.get(b"Nats-Msg-Id") or None
    last_id = found.get(b"Nats-Expected-Last-Msg-Id")
    at = None if last is None else (address if where is None else subject_address(where), last - 1)
    conditions = None
    if not (tail is None and last is None and message_id is None and last_id is None):
        conditions = Conditions(
            tail=tail, last=at, last_message_id=last_id, message_id=message_id, window_ms=facts.window_ms
        )
    increment = found.get(b"Nats-Incr")
    return Expectations(
        conditions,
        found.get(b"Nats-Rollup", b"").decode().lower(),
        int(increment) if increment is not None else None,
        found.get(b"Nats-Batch-Id", b"").decode("utf-8", "replace"),
        _sequence(found, b"Nats-Batch-Sequence") or 0,
        found.get(b"Nats-Batch-Commit", b"").decode("utf-8", "replace"),
    )


def _refuse_features(found: dict[bytes, bytes], payload_bytes: int, facts: StreamFacts) -> ApiError | None:
    """What of a message's headers its stream does not do, or not so."""
    if b"Nats-Schedule" in found:
        return errors.SCHEDULES_DISABLED
    if b"Nats-Batch-Id" in found:
        refused = _refuse_batch(found, facts)
        if refused is not None:
            return refused
    ttl = found.get(b"Nats-TTL")
    if ttl is not None:
        if ttl_ns(ttl) is None:
            return errors.TTL_INVALID
        if not facts.ttl:
            return errors.TTL_DISABLED
    rollup = found.get(b"Nats-Rollup")
    if rollup is not None:
        if not facts.rollup:
            return errors.ROLLUP_FAILED.of(err="rollup not permitted")
        if rollup.lower() not in (b"sub", b"all"):
            return errors.ROLLUP_FAILED.of(
                err=f"rollup value invalid: {write(rollup.decode('utf-8', 'replace')).decode()}"
            )
    increment = found.get(b"Nats-Incr")
    if increment is not None and not facts.counter:
        return errors.INCREMENT_DISABLED
    if facts.counter:
        if increment is None:
            return errors.INCREMENT_MISSING
        if payload_bytes:
            return errors.INCREMENT_PAYLOAD
        if re.fullmatch(rb"[+-]?\d{1,1000}", increment) is None or any(name in found for name in _NOT_ON_COUNTERS):
            return errors.INCREMENT_INVALID
    return None


_NOT_ON_COUNTERS = (
    b"Nats-Rollup", b"Nats-Expected-Stream", b"Nats-Expected-Last-Msg-Id", b"Nats-Expected-Last-Sequence",
    b"Nats-Expected-Last-Subject-Sequence",
)  # fmt: skip
BATCH_ID_MAX = 64


def _refuse_batch(found: dict[bytes, bytes], facts: StreamFacts) -> ApiError | None:
    if not facts.atomic:
        return errors.ATOMIC_DISABLED
    if not 0 < len(found[b"Nats-Batch-Id"]) <= BATCH_ID_MAX:
        return errors.ATOMIC_ID
    if b"Nats-Batch-Sequence" not in found:
        return errors.ATOMIC_NO_SEQUENCE
    if found.get(b"Nats-Batch-Commit", b"1") not in (b"1", b"eob"):
        return errors.ATOMIC_COMMIT
    for name in (b"Nats-Expected-Last-Msg-Id", b"Nats-Msg-Id", b"Nats-Rollup", b"Nats-Incr"):
        if name in found:
            return errors.ATOMIC_HEADER.of(header=name.decode())
    return None


NEVER = (1 << 62) - 1
"""A sequence that no message has: what is no number (nats-server: the largest one)."""


def _sequence(found: dict[bytes, bytes], name: bytes) -> int | None:
    """None: not given; NEVER: not a number."""
    text = found.get(name)
    if text is None:
        return None
    return int(text) if text.isdigit() and len(text) < 19 else NEVER


MORE_REFUSED: dict[str, dict[str, Any]] = {
    "stream_info": {"total": 0, "offset": 0, "limit": 0},
    "stream_purge": {"purged": 0},
    "stream_names": {"total": 0, "offset": 0, "limit": 0, "streams": None},
    "stream_list": {"total": 0, "offset": 0, "limit": 0, "streams": None},
    "consumer_names": {"total": 0, "offset": 0, "limit": 0, "consumers": []},
    "consumer_list": {"total": 0, "offset": 0, "limit": 0, "consumers": []},
    "consumer_reset": {"reset_seq": 0},
    "consumer_pause": {"paused": False, "pause_until": "0001-01-01T00:00:00Z"},
}
"""What the answer of a kind still holds when it is an error."""


class Reply:
    """Where one API request's answer goes: exactly one of its methods is called, once."""

    def __init__(self, world: World, token: int, kind: str, refused: Callable[[], None]) -> None:
        self._world = world
        self._token = token
        self._kind = f"io.nats.jetstream.api.v1.{kind}_response"
        self._refused = refused
        self._more = MORE_REFUSED.get(kind, {})

    def answer(self, fields: dict[str, Any], commit: int = 0) -> None:
        """JSON of this kind, once ``commit`` is durable."""
        self._world.answer(self._token, write({"type": self._kind, **fields}), commit)

    def refuse(self, error: ApiError) -> None:
        self._refused()
        self._world.answer(self._token, write({"type": self._kind, "error": error.fields(), **self._more}))

    def message(self, message: Message) -> None:
        self._world.answer(self._token, message)

    def silence(self) -> None:
        self._world.answer(self._token, b"")

    def nobody(self) -> None:
        """As if nobody had subscribed to the request's subject."""
        self._world.answer(self._token, NoResponders())


def puback(facts: StreamFacts, sequence: int, **more: object) -> bytes:
    return write({"stream": facts.name, "seq": sequence, **more})


def puback_error(facts: StreamFacts, error: ApiError) -> bytes:
    return write({"error": error.fields(), "stream": facts.name, "seq": 0})


# JSON as Go has it


def write(value: object) -> bytes:
    """encoding/json's text: compact, with ``<``, ``>`` and ``&`` escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return text.encode()


def quote(text: str) -> bytes:
    return write(text)


class JsonError(Exception):
    """The text is not what is asked for; the message is Go's."""


def read(text: bytes, with_offset: bool = True) -> Any:
    """Any JSON value.

    Raises:
        JsonError: with encoding/json's words for what is wrong and where.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = error.pos
        while at < len(error.doc) and error.doc[at] in " \t\r\n":
            at += 1
        if at >= len(error.doc):
            raise JsonError("unexpected end of JSON input") from None
        words = f"invalid character {_go_character(error.doc[at])} {_EXPECTED.get(error.msg, 'looking for beginning of value')}"
        raise JsonError(f"{words} at offset {at + 1}" if with_offset else words) from None
    except (UnicodeDecodeError, RecursionError, ValueError):
        raise JsonError("invalid UTF-8 or too deep") from None


_EXPECTED = {
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after object key:value pair",
    "Extra data": "after top-level value",
    "Invalid control character at": "in string literal",
    "Illegal trailing comma before end of object": "looking for beginning of object key string",
}


def _go_character(character: str) -> str:
    return "'\\''" if character == "'" else f"'{character}'"


Fields = Mapping[str, tuple[type, ...]]
"""What a request's object may hold: name -> types. ``float`` is never a number of ours."""


class Uint64(int):
    """Of a field: a number that Go reads as uint64."""


class Int(int):
    """Of a field: a number that Go reads as int."""


def check_fields(found: object, fields: Fields, of: str) -> dict[str, Any]:
    """``found`` as an object of these fields, nulls left out.

    Raises:
        JsonError: it is none, a field is unknown or has another type.
    """
    if not isinstance(found, dict):
        raise JsonError(f"json: cannot unmarshal {_kind(found)} into Go value of type server.{of}")
    kept = {}
    for name, value in found.items():
        types = fields.get(name)
        if types is None:
            raise JsonError(f"json: unknown field {write(name).decode()}")
        if value is None:
            continue
        wanted = int if issubclass(types[0], int) and types[0] is not bool else types[0]
        fits = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
        if not fits or (wanted is int and not _fits_in_go(value, types[0])):
            kind = f"number {value}" if fits else _kind(value)
            raise JsonError(f"json: cannot unmarshal {kind} into Go struct field {of}.{name} of type {_go_type(types)}")
        kept[name] = value
    return kept


def _fits_in_go(value: int, wanted: type) -> bool:
    return 0 <= value < 1 << 64 if wanted is Uint64 else -(1 << 63) <= value < 1 << 63


def _kind(value: object) -> str:
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _go_type(types: tuple[type, ...]) -> str:
    return {
        bool: "bool",
        int: "int64",
        Int: "int",
        Uint64: "uint64",
        str: "string",
        list: "[]string",
        dict: "map[string]string",
    }[types[0]]


# times


def format_time(nanoseconds: int) -> str:
    """RFC 3339 in UTC, as Go's time.Time writes itself in JSON: the fraction without trailing zeros."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    days, rest = divmod(seconds, 86400)
    year, month, day = _civil(days)
    text = f"{year:04d}-{month:02d}-{day:02d}T{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


ZERO_TIME = "0001-01-01T00:00:00Z"
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)")


def parse_time(text: str) -> int:
    """Nanoseconds since 1970.

    Raises:
        ValueError: it is no RFC 3339 time.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(text)
    year, month, day, hour, minute, second = (int(found[index]) for index in range(1, 7))
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        raise ValueError(text)
    offset = 0
    if found[8] != "Z":
        offset = (int(found[8][1:3]) * 60 + int(found[8][4:6])) * (60 if found[8][0] == "+" else -60)
    seconds = _days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset
    return seconds * 1_000_000_000 + int((found[7] or "0").ljust(9, "0"))


def _civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of a number of days since 1970 (proleptic Gregorian; eras of 400 years from 1 March 0000)."""
    days += 719468
    era, day_of_era = divmod(days, 146097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year_of_era + era * 400 + (month <= 2), month, day_of_year - (153 * shifted + 2) // 5 + 1


def _days(year: int, month: int, day: int) -> int:
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468


_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")


def parse_duration(text: str) -> int:
    """A Go duration (``1m30s``) in nanoseconds.

    Raises:
        ValueError: it is none.
    """
    total = at = 0
    while at < len(text):
        found = _DURATION.match(text, at)
        if found is None:
            raise ValueError(text)
        whole, _, fraction = found[1].partition(".")
        unit = _UNITS[found[2]]
        total += int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
        at = found.end()
    if not text:
        raise ValueError(text)
    return total


def status(code: int, text: str, **headers: object) -> bytes:
    """A header block with a status line, as a puller is told how its request ended."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"NATS/1.0 {code} {text}\r\n{lines}\r\n".encode()


def go_duration(nanoseconds: int) -> str:
    """As Go prints a time.Duration."""
    if nanoseconds < 1_000_000_000:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000)):
            if nanoseconds >= size:
                return f"{nanoseconds / size:g}{unit}"
        return f"{nanoseconds}ns"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1_000_000_000:.9f}".rstrip("0").rstrip(".") + "s"
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text


def ttl_ns(text: bytes) -> int | None:
    """What ``Nats-TTL`` says: seconds, a Go duration of one at least, or ``never`` (-1); None: none of these (ADR-43)."""
    if text.lower() == b"never":
        return -1
    if text.isdigit() and len(text) < 10:
        return int(text) * 1_000_000_000 or None
    try:
        found = parse_duration(text.decode())
    except (ValueError, UnicodeDecodeError):
        return None
    return found if found >= 1_000_000_000 else None
