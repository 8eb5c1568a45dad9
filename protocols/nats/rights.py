"""What a user may ask of JetStream: MANAGE to change a stream, READ for the rest, both of its name.

The subjects under ``$JS.`` need no rule of their own. Who makes a stream capture subjects must be allowed to read or to
manage all that they match: a stream must not show what its maker may not see.
"""

from __future__ import annotations

import json
from typing import Any

from protocols.api import Identity, Right
from protocols.nats.mapping import pattern_of, subject_address
from protocols.nats.wire import valid_subject
from substrate.address import join

API = b"$JS.API."
NAMELESS = ([b"INFO"], [b"STREAM", b"NAMES"], [b"STREAM", b"LIST"])
"""Requests under ``$JS.API.`` that name no stream."""
LONGER = ([b"STREAM", b"MSG"], [b"CONSUMER", b"MSG"], [b"CONSUMER", b"DURABLE"])
"""Requests that have one word more before the stream's name (``CONSUMER.MSG.NEXT.<stream>``) than others."""
MANAGING = ([b"CREATE"], [b"UPDATE"], [b"DELETE"], [b"PURGE"], [b"RESTORE"])


def may_ask(identity: Identity, subject: bytes, payload: bytes) -> bool:
    """Whether a request under ``$JS.API.``, an acknowledgement or a flow control reply is this user's to make."""
    tokens = subject.split(b".")
    if not subject.startswith(API):
        return identity.may(Right.READ, join([_acknowledged(tokens)]))
    words = tokens[2:]
    manages = words[:1] == [b"STREAM"] and (words[1:2] in MANAGING or words[1:3] == [b"MSG", b"DELETE"])
    at = 3 if words[:2] in LONGER else 2
    if words in NAMELESS or len(words) <= at:
        return words in NAMELESS
    if manages and words[1] in (b"CREATE", b"UPDATE") and not _may_capture(identity, payload):
        return False
    if words[0] == b"CONSUMER" and not _may_deliver(identity, payload):
        return False
    return identity.may(Right.MANAGE if manages else Right.READ, join([words[at]]))


def _acknowledged(tokens: list[bytes]) -> bytes:
    """The stream that an acknowledgement, in either of its forms, or a flow control reply names."""
    at = 4 if len(tokens) in (11, 12) else 2
    return tokens[at] if len(tokens) > at else b""


def _may_deliver(identity: Identity, payload: bytes) -> bool:
    """A push consumer publishes in its maker's name: to where that one may listen, or write."""
    config = _read(payload).get("config")
    subject = config.get("deliver_subject") if isinstance(config, dict) else None
    if not isinstance(subject, str) or not valid_subject(subject.encode()):
        return True
    address = subject_address(subject.encode())
    return identity.may(Right.READ, address) or identity.may(Right.WRITE, address)


def _may_capture(identity: Identity, payload: bytes) -> bool:
    subjects = _read(payload).get("subjects")
    known = [one.encode() for one in subjects if isinstance(one, str)] if isinstance(subjects, list) else []
    patterns = [pattern_of(one) for one in known if valid_subject(one, wildcards=True)]
    return all(identity.may_all(Right.READ, one) or identity.may_all(Right.MANAGE, one) for one in patterns)


def _read(payload: bytes) -> dict[str, Any]:
    """What is no object asks for nothing: it is refused for that."""
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def readable(identity: Identity, text: bytes) -> bytes:
    """An answer that lists streams, without those that this user may not read."""
    found = json.loads(text)
    streams = found.get("streams")
    if isinstance(streams, list):
        kept = [one for one in streams if identity.may(Right.READ, join([_name_of(one).encode()]))]
        found["total"] -= len(streams) - len(kept)
        found["streams"] = kept or None
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode()


def _name_of(stream: Any) -> str:
    return str(stream if isinstance(stream, str) else stream["config"]["name"])
