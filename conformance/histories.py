"""What clients saw, judged: nothing acknowledged is lost, no position is given twice, everybody sees one order.

A history is what clients did (``Append``, ``Read``: when called, when answered, what was answered) beside one final full
read of the log. Every id is unique, so that the log itself says which append is where; one sweep in the order of the log
then decides in near-linear time what a general search could not decide at all for long histories with unknown outcomes.

The sweep: an append takes effect at one moment between its call and its answer, in the order of the positions. Going up
the log, the latest call seen so far is a moment that this position cannot precede; if its answer came before that moment,
no order of effects explains the history. Sources: Herlihy and Wing 1990 (linearizability); Jepsen's list-append and
total-queue checkers (behaviour).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

NEVER_NS = 1 << 63
VIOLATIONS_MAX = 20
"""Listed of one check; a broken log breaks everything after it too."""


@dataclass(frozen=True, slots=True)
class Append:
    """One id sent to the log. ``returned_ns`` None: no answer came, it may be there or not."""

    id: Hashable
    called_ns: int
    returned_ns: int | None
    position: int | None = None
    """As acknowledged; None: the protocol does not say (or no answer came)."""
    sends: int = 1
    """How often the client sent it before it was acknowledged: each may have landed."""


@dataclass(frozen=True, slots=True)
class Read:
    """Everything below ``end`` was seen, and nothing at or above it."""

    called_ns: int
    returned_ns: int
    end: int


@dataclass(frozen=True, slots=True)
class Violation:
    """``kind``: lost, position, duplicate, unexpected, order, stale read, future read, missing, swapped, counter, register."""

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


def check_log(
    appends: Iterable[Append], log: Sequence[Hashable], reads: Iterable[Read] = (), *, strangers: bool = False
) -> list[Violation]:
    """What is wrong between the appends (and reads) that clients made and the ids found in the log, in its order.

    ``strangers``: the log may hold ids that no append names. An empty list: an order of effects exists that explains
    every answer.
    """
    found: list[Violation] = []
    first: dict[Hashable, int] = {}
    copies: Counter[Hashable] = Counter(log)
    for position, id in enumerate(log):
        first.setdefault(id, position)
    by_id = {append.id: append for append in appends}

    for append in by_id.values():
        if append.position is not None:
            there = log[append.position] if 0 <= append.position < len(log) else None
            if there != append.id:
                found.append(
                    Violation("position", f"{append.id!r} acknowledged at {append.position}, there is {there!r}")
                )
            else:
                first[append.id] = append.position
        if append.returned_ns is not None and append.id not in copies:
            found.append(Violation("lost", f"{append.id!r} was acknowledged and is not in the log"))
        if copies[append.id] > append.sends:
            found.append(
                Violation("duplicate", f"{append.id!r} sent {append.sends} times, {copies[append.id]} in the log")
            )
    if not strangers:
        found += [Violation("unexpected", f"{id!r} was never sent") for id in copies if id not in by_id]
    return (found + list(check_order(by_id, log, first, reads)))[:VIOLATIONS_MAX]


def check_order(
    by_id: Mapping[Hashable, Append], log: Sequence[Hashable], at: Mapping[Hashable, int], reads: Iterable[Read]
) -> Iterable[Violation]:
    """The real-time sweep: up the log, with the reads that ended at each position in between."""
    reads_by_end: dict[int, list[Read]] = {}
    for read in reads:
        reads_by_end.setdefault(read.end, []).append(read)
    earliest_ns = -NEVER_NS
    """No position from here on can have taken effect before this moment."""
    for position in range(-1, len(log)):
        if position >= 0:
            append = by_id.get(log[position])
            if append is not None:
                earliest_ns = max(earliest_ns, append.called_ns)
                if at[append.id] == position and append.returned_ns is not None and earliest_ns > append.returned_ns:
                    yield Violation(
                        "order", f"{append.id!r} at {position} was acknowledged before a record below it was even sent"
                    )
        latest_call_ns = earliest_ns
        for read in reads_by_end.get(position + 1, ()):
            if earliest_ns > read.returned_ns:
                yield Violation("future read", f"a read that returned before {position} was sent saw it")
            latest_call_ns = max(latest_call_ns, read.called_ns)
        earliest_ns = latest_call_ns
    for end, group in reads_by_end.items():
        if end > len(log):
            yield Violation("lost", f"{len(group)} reads saw {end} records, the log has {len(log)}")


def check_same_order(
    log: Sequence[Hashable], readers: Mapping[str, Sequence[Hashable]], *, whole: bool = True
) -> list[Violation]:
    """What keeps readers from all having seen the log's order: each saw everything (``whole``) once, and in its order."""
    found: list[Violation] = []
    at = {id: position for position, id in enumerate(log)}
    for name, seen in readers.items():
        if len(set(seen)) != len(seen):
            twice = [id for id, times in Counter(seen).items() if times > 1]
            found.append(Violation("duplicate", f"{name} saw {len(twice)} ids more than once, first {twice[0]!r}"))
        if whole and (missing := at.keys() - set(seen)):
            first = min(missing, key=at.__getitem__)
            found.append(Violation("missing", f"{name} did not see {len(missing)} ids, first {first!r} at {at[first]}"))
        previous = -1
        for id in seen:
            position = at.get(id)
            if position is None:
                found.append(Violation("unexpected", f"{name} saw {id!r}, which is not in the log"))
            elif position < previous:
                found.append(
                    Violation("swapped", f"{name} saw {id!r} (at {position}) after {log[previous]!r} (at {previous})")
                )
            else:
                previous = position
    return found[:VIOLATIONS_MAX]


def check_delivered(acknowledged: Iterable[Hashable], seen: Sequence[Hashable], copies_max: int) -> list[Violation]:
    """At least once: every acknowledged id was seen, and at most ``copies_max`` deliveries were repetitions."""
    times = Counter(seen)
    found = [
        Violation("lost", f"{id!r} was acknowledged and never delivered") for id in acknowledged if id not in times
    ]
    repeated = len(seen) - len(times)
    if repeated > copies_max:
        found.append(
            Violation("duplicate", f"{repeated} deliveries were repetitions, at most {copies_max} were in flight")
        )
    return found[:VIOLATIONS_MAX]


def check_counter(name: str, acknowledged: int, unknown: int, value: int) -> list[Violation]:
    """Increments by one: what was acknowledged is in, what had no answer may be."""
    if acknowledged <= value <= acknowledged + unknown:
        return []
    return [Violation("counter", f"{name} is {value}; {acknowledged} were acknowledged, {unknown} had no answer")]


def check_register(name: str, acknowledged: int, sent: int, value: int) -> list[Violation]:
    """One writer set 1, 2, 3, ... up to ``sent``; what stands is the last acknowledged or one sent after it."""
    if acknowledged <= value <= sent:
        return []
    return [Violation("register", f"{name} is {value}; {acknowledged} was acknowledged, {sent} the last sent")]
