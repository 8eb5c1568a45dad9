"""One consumer: what was delivered, what is acknowledged, who waits. A fold of its events, and its waiting requests.

State changes only by ``fold(event)``, live and on replay. Events are JSON arrays in the executor's state stream, their key
is ``<stream id>/<name>``; sequences stand as ranges ``[first, count]``:

    ["create", account, stream id, stream, name, config, now, first sequence, upto]   ["config", config]    ["delete"]
    ["deliver", now, ranges, next sequence]      ["ack", now, ranges]             ["retry", [[sequence, due], ...]]
    ["drop", sequence]     ["trim", last sequence that is gone]        ["reset", last sequence that is not delivered again]

``deliver`` counts each sequence's attempts; ``ack`` takes sequences out of ``pending`` (also TERM); ``drop`` one that had its
last attempt (it counts as redelivered, and not as acknowledged, until something behind it is);
``retry`` sets when a pending one is due again (NAK, in progress). Invariant: ``pending`` is in the order of first delivery,
which is that of sequences; every sequence below its first one is acknowledged.

What is not folded (who waits, what was read ahead) is made anew by ``begin``.
"""

from __future__ import annotations

import bisect
import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from protocols.nats.jetstream_config import Config, filters_of
from protocols.nats.jetstream_wire import parse_time
from protocols.nats.mapping import pattern_of
from substrate.api import Account, Address, Pattern, Record, StreamId
from substrate.interest import Tokens

Ranges = list[list[int]]
EVERYTHING = b"%#"
DUE_SLACK = 1024
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
FLOW_BYTES_MAX = 32 * 1024 * 1024
"""What a push consumer with flow control may have unconfirmed at most; it begins with a sixteenth (nats-server, behaviour)."""


@dataclass(slots=True)
class Owed:
    """One message delivered and not acknowledged."""

    consumer_seq: int  # of its last delivery
    due_ns: int  # when it is delivered again
    count: int  # deliveries so far
    first_consumer_seq: int


@dataclass(slots=True)
class Pull:
    """One waiting request for messages."""

    reply: bytes
    batch: int
    max_bytes: int  # 0: no bound
    expires_ns: int  # 0: never
    no_wait: bool
    heartbeat_ns: int  # 0: none
    heartbeat_due_ns: int
    session: object
    delivered: int = 0


@dataclass(slots=True)
class Push(Pull):
    """Where a push consumer delivers: a request that never ends, served while somebody subscribes to ``reply``.

    With flow control (nats-server consumer.go needFlowControl, processFlowControl, behaviour): ``window_bytes`` may be
    unconfirmed, half of it asks for a confirmation at ``flow_id``; each confirmation doubles the window up to its bound.
    """

    bound: bool = False
    flow: bool = False
    window_bytes: int = 0
    unconfirmed_bytes: int = 0
    flow_id: bytes = b""
    flow_bytes: int = 0  # what a confirmation of ``flow_id`` confirms
    rate_bytes: int = 0  # a second; 0: any
    rate_due_ns: int = 0

    def stalled(self) -> bool:
        return self.flow and self.unconfirmed_bytes > self.window_bytes

    def may_send(self, now_ns: int) -> bool:
        return not self.stalled() and self.rate_due_ns <= now_ns

    def sends(self, size: int, now_ns: int, consumer: Consumer, chance: Callable[[], int]) -> bytes:
        """Count a message that leaves. Answers the subject at which a confirmation is to be asked for behind it, if one is."""
        if self.rate_bytes:
            self.rate_due_ns = max(self.rate_due_ns, now_ns) + size * 1_000_000_000 // self.rate_bytes
        if not self.flow:
            return b""
        self.unconfirmed_bytes += size
        if self.flow_id:
            if self.unconfirmed_bytes - self.flow_bytes >= self.window_bytes:
                self.flow_bytes += size
            return b""
        if self.unconfirmed_bytes <= self.window_bytes // 2:
            return b""
        drawn = chance()
        mark = "".join(LETTERS[(drawn >> 6 * index) % len(LETTERS)] for index in range(8))
        self.flow_id = f"$JS.FC.{consumer.stream}.{consumer.name}.{mark}".encode()
        self.flow_bytes = self.unconfirmed_bytes
        return self.flow_id

    def confirm(self, subject: bytes) -> bool:
        """Whether this confirms what was asked for last."""
        if not self.flow_id or subject != self.flow_id:
            return False
        self.window_bytes = min(2 * self.window_bytes, FLOW_BYTES_MAX)
        self.unconfirmed_bytes = max(self.unconfirmed_bytes - self.flow_bytes, 0)
        self.flow_id, self.flow_bytes = b"", 0
        return True


class AnyOf:
    """A pattern that matches what one of several matches."""

    __slots__ = ("_patterns",)

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._patterns = tuple(patterns)

    def matches(self, address: Address) -> bool:
        return any(pattern.matches(address) for pattern in self._patterns)


def ranges_of(sequences: Iterable[int]) -> Ranges:
    """Sequences as ``[first, count]``, in order."""
    found: Ranges = []
    for sequence in sequences:
        if found and sequence == found[-1][0] + found[-1][1]:
            found[-1][1] += 1
        else:
            found.append([sequence, 1])
    return found


def sequences_of(ranges: Ranges) -> Iterable[int]:
    for first, count in ranges:
        yield from range(first, first + count)


@dataclass(slots=True)
class Consumer:
    account: Account
    stream_id: StreamId
    stream: str
    name: str
    config: Config
    created_ns: int
    cursor: int  # the next sequence to look at
    delivered_consumer: int = 0
    delivered_stream: int = 0
    floor_consumer: int = 0
    floor_stream: int = 0
    delivered_ns: int = 0
    acked_ns: int = 0
    pending: dict[int, Owed] = field(default_factory=dict)
    exhausted: list[int] = field(default_factory=list)  # had their last attempt, above the floor
    upto: int = 0
    """The stream's last sequence at creation, where that matters: last_per_subject, the original pace."""

    # not folded
    look: int = 0  # as ``cursor``, also past what does not match
    waiting: deque[Pull] = field(default_factory=deque)
    active_ns: int = 0
    due: list[tuple[int, int]] = field(default_factory=list)
    """A heap of (due, sequence); an entry that is not ``pending``'s own any more is skipped."""
    window: list[Record] = field(default_factory=list)  # read ahead: records that match, ascending
    window_at: int = 0
    window_end: int = 0  # the window holds all that matches below this sequence
    reading: bool = False
    serving: bool = False
    counted: int = 0  # messages that match, from the cursor to ``counted_to``
    counted_to: int = 0
    removed: int = 0  # positions that were removed in what was counted
    counters: list[Callable[[], None]] = field(default_factory=list)  # who waits for the count
    deleted: bool = False
    armed_ns: int = 0
    again_ns: int = 0  # when to try again: somebody reads too slowly, or the next message is not due; 0: nothing waits
    push: Push | None = None
    lasts: list[int] | None = None
    """Of ``last_per_subject``: what is delivered up to ``upto``, ascending; None: not found yet."""
    replayed: tuple[int, int] = (0, 0)  # of ``replay_policy: original``: when the last message left, and its time

    @property
    def key(self) -> bytes:
        return f"{self.stream_id}/{self.name}".encode()

    @property
    def acks(self) -> str:
        return str(self.config["ack_policy"])

    def filters(self) -> list[str]:
        return filters_of(self.config)

    def pattern(self) -> Pattern:
        """What it wants of its stream."""
        filters = self.filters()
        if not filters:
            return Tokens(EVERYTHING)
        patterns = [pattern_of(subject.encode()) for subject in filters]
        return patterns[0] if len(patterns) == 1 else AnyOf(patterns)

    def begin(self, now_ns: int) -> None:
        """After a replay, a creation or a change of filters: nobody waits, nothing is read ahead."""
        self.due = [(owed.due_ns, sequence) for sequence, owed in self.pending.items()]
        heapq.heapify(self.due)
        self.look = self.cursor
        self.forget_read()
        self.active_ns = now_ns
        self.push = self._push()

    def _push(self) -> Push | None:
        where = self.config.get("deliver_subject")
        if not where:
            return None
        heartbeat = self.config.get("idle_heartbeat", 0)
        return Push(
            where.encode(), 1 << 62, 0, 0, False, heartbeat, self.active_ns + heartbeat, None,
            flow=bool(self.config.get("flow_control")), window_bytes=FLOW_BYTES_MAX // 16,
            rate_bytes=self.config.get("rate_limit_bps", 0) // 8,
        )  # fmt: skip

    def forget_read(self) -> None:
        self.window, self.window_at, self.window_end = [], 0, 0
        self.counted, self.counted_to, self.removed = 0, self.look, 0

    # the fold

    def fold(self, event: list[Any]) -> None:
        """Apply one event of this consumer."""
        kind = event[0]
        if kind == "deliver":
            self._delivered(event[1], event[2], event[3])
        elif kind == "ack":
            for sequence in sequences_of(event[2]):
                self.pending.pop(sequence, None)
            self.acked_ns = event[1]
            self._raise_floor()
        elif kind == "retry":
            for sequence, due_ns in event[1]:
                owed = self.pending.get(sequence)
                if owed is not None:
                    self._due_at(sequence, owed, due_ns)
        elif kind == "trim":
            self._trimmed(event[1])
        elif kind == "config":
            self.config = event[1]
        elif kind == "drop":
            owed = self.pending.pop(event[1], None)
            if owed is not None and owed.count > 1:
                self.exhausted.append(event[1])
        elif kind == "reset":
            self._reset(event[1])

    def _delivered(self, now_ns: int, ranges: Ranges, cursor: int) -> None:
        for sequence in sequences_of(ranges):
            self.delivered_consumer += 1
            self.delivered_stream = max(self.delivered_stream, sequence)
            if self.acks == "none":
                continue
            owed = self.pending.get(sequence)
            if owed is None:
                owed = self.pending[sequence] = Owed(self.delivered_consumer, 0, 0, self.delivered_consumer)
            owed.consumer_seq = self.delivered_consumer
            owed.count += 1
            self._due_at(sequence, owed, now_ns + self.wait_ns(owed.count))
        self.cursor = cursor
        self.look = max(self.look, cursor)
        self.delivered_ns = now_ns
        if self.acks == "none":
            self.floor_consumer, self.floor_stream = self.delivered_consumer, self.delivered_stream

    def _due_at(self, sequence: int, owed: Owed, due_ns: int) -> None:
        owed.due_ns = due_ns
        if len(self.due) > 2 * len(self.pending) + DUE_SLACK:  # most of it is acknowledged by now
            self.due = [(other.due_ns, each) for each, other in self.pending.items()]
            heapq.heapify(self.due)
        else:
            heapq.heappush(self.due, (due_ns, sequence))

    def _trimmed(self, last: int) -> None:
        """Sequences up to ``last`` are no longer stored: nobody owes them."""
        for sequence in [sequence for sequence in self.pending if sequence <= last]:
            del self.pending[sequence]
        self.cursor = max(self.cursor, last + 1)
        self.delivered_stream = max(self.delivered_stream, last)
        self.floor_stream = max(self.floor_stream, last)
        self._raise_floor()

    def _reset(self, last: int) -> None:
        """As a new consumer that starts behind ``last``."""
        self.pending.clear()
        self.exhausted.clear()
        self.delivered_ns = self.acked_ns = 0
        self.cursor = last + 1
        self.delivered_consumer = self.floor_consumer = 0
        self.delivered_stream = self.floor_stream = last
        self.upto = 0

    def wait_ns(self, count: int) -> int:
        """How long the ``count``-th delivery may stay unacknowledged."""
        backoff = self.config.get("backoff")
        if backoff:
            return int(backoff[min(count, len(backoff)) - 1])
        return int(self.config.get("ack_wait", 0))

    def _raise_floor(self) -> None:
        if not self.pending:
            self.floor_consumer, self.floor_stream = self.delivered_consumer, self.delivered_stream
            self.exhausted.clear()
            return
        first = next(iter(self.pending))
        self.floor_stream = max(self.floor_stream, first - 1)
        self.floor_consumer = max(self.floor_consumer, self.pending[first].first_consumer_seq - 1)
        if self.exhausted:
            self.exhausted = [sequence for sequence in self.exhausted if sequence > self.floor_stream]

    def state(self) -> list[Any]:
        """For a checkpoint: what ``restore`` takes."""
        return [
            self.account, self.stream_id, self.stream, self.name, self.config, self.created_ns, self.cursor,
            self.delivered_consumer, self.delivered_stream, self.floor_consumer, self.floor_stream, self.delivered_ns,
            self.acked_ns, self.upto, self.exhausted,
            [[s, o.consumer_seq, o.due_ns, o.count, o.first_consumer_seq] for s, o in self.pending.items()],
        ]  # fmt: skip

    @staticmethod
    def restore(state: list[Any]) -> Consumer:
        found = Consumer(*state[:7])
        (found.delivered_consumer, found.delivered_stream, found.floor_consumer, found.floor_stream) = state[7:11]
        found.delivered_ns, found.acked_ns, found.upto, found.exhausted = state[11:15]
        found.pending = {row[0]: Owed(*row[1:]) for row in state[15]}
        return found

    # what is next

    def retry_due(self, now_ns: int) -> int:
        """The sequence that is due again, or 0; what is not pending any more is forgotten."""
        while self.due:
            due_ns, sequence = self.due[0]
            owed = self.pending.get(sequence)
            if owed is None or owed.due_ns != due_ns:
                heapq.heappop(self.due)
            elif due_ns <= now_ns:
                return sequence
            else:
                return 0
        return 0

    def deadline_ns(self, now_ns: int) -> int:
        """When something of this consumer falls due that time alone brings; 0: nothing."""
        found = []
        if self.waiting:
            found += [pull.expires_ns for pull in self.waiting if pull.expires_ns]
            found += [pull.heartbeat_due_ns for pull in self.waiting if pull.heartbeat_ns]
        push = self.push
        if push is not None and push.bound and push.heartbeat_ns:
            found.append(push.heartbeat_due_ns)
        if self.waiting or (push is not None and push.bound):
            if self.paused_ns(now_ns):
                found.append(self.pause_ns())
            else:
                if self.again_ns:
                    found.append(self.again_ns)
                self.retry_due(0)
                if self.due and (push is None or not push.stalled()):
                    found.append(self.due[0][0])
        threshold = self.config.get("inactive_threshold", 0)
        if threshold and not self.waiting:
            found.append(self.active_ns + threshold)
        return min(found, default=0)

    def pause_ns(self) -> int:
        """Until when nothing is delivered; 0: it was never paused."""
        until = self.config.get("pause_until")
        return parse_time(until) if until else 0

    def paused_ns(self, now_ns: int) -> int:
        """How long nothing is delivered yet."""
        return max(self.pause_ns() - now_ns, 0)

    def wants(self, sequence: int) -> bool:
        """Whether a message that matches is delivered at all: of what was there at creation ``last_per_subject`` takes few."""
        if sequence > self.upto or self.lasts is None:
            return True
        at = bisect.bisect_left(self.lasts, sequence)
        return at < len(self.lasts) and self.lasts[at] == sequence

    def needs_lasts(self) -> bool:
        """Whether the last message of each subject at creation is yet to be found."""
        return self.lasts is None and self.look <= self.upto and self.config["deliver_policy"] == "last_per_subject"

    def redelivered(self) -> int:
        return len(self.exhausted) + sum(1 for owed in self.pending.values() if owed.count > 1)
