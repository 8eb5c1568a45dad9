"""Publications that JetStream decides on: roll-ups, counters, atomic batches.

Spoken: nats-server 2.15 (ADR-43 roll-up, ADR-49 counters, ADR-50 atomic batches). A plain publication never comes here: its
session appends it. A batch is kept in memory until its last message commits it; then its session appends all of it in one
commit. A batch that nobody goes on with for 10 s is forgotten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from protocols.nats import errors
from protocols.nats.errors import ApiError
from protocols.nats.jetstream_consumer import ranges_of
from protocols.nats.jetstream_wire import JsonError, read, write
from protocols.nats.mapping import Headers
from substrate.api import (
    Account,
    Ack,
    Address,
    Answer,
    Appended,
    Batches,
    Conditions,
    Found,
    Group,
    Level,
    Position,
    Record,
    Route,
    StreamId,
)
from substrate.interest import Tokens

if TYPE_CHECKING:
    from protocols.nats.jetstream import JetStream

BATCH_MESSAGES_MAX = 1000
BATCHES_MAX = 50
"""Of one stream, at a time."""
ABANDONED_NS = 10_000_000_000
INCREMENT = re.compile(rb"[+-]?\d{1,1000}")
EVERYTHING = Tokens(b"%#")


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """Append one message, and what belongs to it; answered ``Called(Stored)``."""

    account: Account
    address: Address
    payload: bytes
    headers: Headers
    conditions: Conditions | None
    served: str
    rollup: str = ""  # "sub" or "all"
    increment: int | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    answer: Answer
    """As of an append; an ApiError where JetStream says no."""
    value: str | None = None
    """Of a counter."""


@dataclass(frozen=True, slots=True)
class BatchMessage:
    address: Address
    payload: bytes
    headers: Headers
    conditions: Conditions | None


@dataclass(frozen=True, slots=True)
class StageRequest:
    """One message of an atomic batch; answered ``Called`` with None (kept), an ApiError, or the whole batch to append."""

    stream: StreamId
    batch: str
    sequence: int
    commit: str  # "", "1", or "eob": the batch ends before this message
    message: BatchMessage


@dataclass(slots=True)
class _Open:
    messages: list[BatchMessage] = field(default_factory=list)
    touched_ns: int = 0


class Staging:
    """Atomic batches under way, by stream and name."""

    def __init__(self) -> None:
        self._open: dict[StreamId, dict[str, _Open]] = {}

    def stage(self, request: StageRequest, now_ns: int) -> tuple[BatchMessage, ...] | ApiError | None:
        of_stream = self._open.setdefault(request.stream, {})
        for name in [name for name, one in of_stream.items() if now_ns - one.touched_ns > ABANDONED_NS]:
            del of_stream[name]
        batch = of_stream.get(request.batch)
        if batch is None and request.sequence != 1:
            return errors.ATOMIC_INCOMPLETE
        if batch is None or request.sequence == 1:
            if len(of_stream) >= BATCHES_MAX and request.batch not in of_stream:
                return errors.ATOMIC_INFLIGHT
            batch = of_stream[request.batch] = _Open()
        if request.sequence != len(batch.messages) + 1:
            del of_stream[request.batch]
            return errors.ATOMIC_INCOMPLETE
        if request.sequence > BATCH_MESSAGES_MAX:
            del of_stream[request.batch]
            return errors.ATOMIC_LARGE.of(size=BATCH_MESSAGES_MAX)
        batch.touched_ns = now_ns
        if request.commit != "eob":
            batch.messages.append(request.message)
        elif batch.messages:
            last = batch.messages[-1]
            batch.messages[-1] = replace(last, headers=(*last.headers, (b"Nats-Batch-Commit", b"1")))
        if not request.commit:
            return None
        del of_stream[request.batch]
        return tuple(batch.messages)


def store(owner: JetStream, request: StoreRequest, token: int) -> None:
    """Append one message with its roll-up, or as an increment of its subject's counter."""
    if request.increment is None:
        _append(owner, request, request.payload, token, None)
    else:
        _Increment(owner, request, token).begin()


def _append(owner: JetStream, request: StoreRequest, payload: bytes, token: int, value: str | None) -> None:
    route = owner.world.resolve(request.account, request.address)

    def appended(answer: Answer) -> None:
        commit = 0
        if isinstance(answer, Appended):
            commit = answer.commit
            if request.rollup and not answer.duplicate:
                _roll_up(owner, request, route, answer)
        owner.world.answer(token, Stored(answer, value), commit)

    group = Group.of(request.address, payload, request.headers)
    owner.world.publish(route, group, request.served, Ack.DURABLE, owner.ask(appended), request.conditions)


def _roll_up(owner: JetStream, request: StoreRequest, route: Route, answer: Appended) -> None:
    """What was there before goes: of this subject, or all."""
    if route.topic is None:
        return
    topic, stream = route.topic, answer.stream
    if request.rollup == "all":
        owner.touched(topic)
        owner.world.trim(stream, answer.base)
        return
    found: list[int] = []

    def next_one(one: Answer) -> None:
        position = int(one.position) if isinstance(one, Found) else -1
        if position >= 0:
            found.append(position)
            owner.query("next", stream, next_one, address=request.address, start=position + 1, end=int(answer.base))
        else:
            owner.remove(topic, [(first, first + count - 1) for first, count in ranges_of(found)])

    owner.query("next", stream, next_one, address=request.address, end=int(answer.base))


class _Increment:
    """Reads a counter's last value, and stores the next one."""

    def __init__(self, owner: JetStream, request: StoreRequest, token: int) -> None:
        self._owner = owner
        self._request = request
        self._token = token

    def begin(self) -> None:
        route = self._owner.world.resolve(self._request.account, self._request.address)
        self._stream = route.stream
        self._owner.query("last", self._stream, self._last, address=self._request.address)

    def _last(self, answer: Answer) -> None:
        if isinstance(answer, Found) and answer.position >= 0:
            position = Position(answer.position)
            self._owner.world.read(self._stream, position, 1, Level.ORDERED, self._owner.ask(self._read), EVERYTHING)
        else:
            self._add(None)

    def _read(self, answer: Answer) -> None:
        records = answer.records if isinstance(answer, Batches) else ()
        self._add(records[0] if records else None)

    def _add(self, last: Record | None) -> None:
        before = 0
        if last is not None:
            found = value_of(last.value or b"")
            if found is None:
                self._owner.world.answer(self._token, Stored(errors.COUNTER_BROKEN))
                return
            before = found
        value = str(before + (self._request.increment or 0))
        _append(self._owner, self._request, write({"val": value}), self._token, value)


def value_of(payload: bytes) -> int | None:
    """What a counter's message holds."""
    try:
        found: Any = read(payload)
    except JsonError:
        return None
    text = found.get("val") if isinstance(found, dict) else None
    return int(text) if isinstance(text, str) and INCREMENT.fullmatch(text.encode()) else None
