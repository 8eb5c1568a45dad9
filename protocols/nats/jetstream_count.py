"""How many messages a consumer has yet to deliver: ``num_pending``, exact where messages were removed since, too.

What is counted is kept with the consumer and brought up to what is durable; the stream layer's address index counts. Of
``last_per_subject`` the last message of each subject at creation counts, while it is there, and all that came after.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import TYPE_CHECKING

from protocols.nats.jetstream_consumer import Consumer
from protocols.nats.jetstream_read import one_by_one
from protocols.nats.mapping import pattern_of
from substrate.api import Answer, Tail
from substrate.interest import Tokens

if TYPE_CHECKING:
    from protocols.nats.jetstream import JetStream


def count(owner: JetStream, consumer: Consumer, then: Callable[[], None]) -> None:
    """Know how many messages are left for this consumer, then go on."""
    consumer.counters.append(then)
    if len(consumer.counters) > 1:
        return  # it is being counted
    Count(owner, consumer).begin()


class Count:
    """Brings ``consumer.counted`` up to what is durable, also where messages were removed since the last time."""

    def __init__(self, owner: JetStream, consumer: Consumer) -> None:
        self._owner = owner
        self._consumer = consumer
        self._stream = consumer.stream_id
        self._patterns: list[Tokens | None] = [pattern_of(one.encode()) for one in consumer.filters()] or [None]

    def begin(self) -> None:
        self._owner.tail(self._stream, self._tail)

    def _over(self) -> None:
        ready, self._consumer.counters = self._consumer.counters, []
        for act in ready:
            act()

    def _tail(self, tail: Tail | None) -> None:
        consumer = self._consumer
        if tail is None:
            self._over()
            return
        if consumer.needs_lasts():
            find_lasts(self._owner, consumer, consumer.upto, self._found_lasts)
            return
        self._end = int(tail.durable)
        if consumer.cursor <= tail.start or (consumer.pending and next(iter(consumer.pending)) <= tail.start):
            self._owner.decide(consumer, ["trim", tail.start])  # what was before is gone
        if consumer.look <= tail.start or consumer.counted_to < consumer.look:
            consumer.look = max(consumer.look, consumer.cursor)
            consumer.counted, consumer.counted_to = 0, consumer.look
        self._owner.query("removed", self._stream, self._removed, start=consumer.look - 1, end=max(self._end, 0))

    def _found_lasts(self, lasts: list[int]) -> None:
        self._consumer.lasts = lasts
        self.begin()

    def _removed(self, removed: Answer) -> None:
        consumer = self._consumer
        if removed != consumer.removed:
            consumer.removed = removed if isinstance(removed, int) else 0
            if removed:
                consumer.counted, consumer.counted_to = 0, consumer.look
                if consumer.lasts is not None and consumer.look <= consumer.upto:
                    find_lasts(self._owner, consumer, consumer.upto, self._left_lasts)
                    return
        self._count()

    def _left_lasts(self, found: list[int]) -> None:
        """Those that were removed are not delivered, and what was there before them neither."""
        left = set(found)
        self._consumer.lasts = [one for one in self._consumer.lasts or () if one in left]
        self._count()

    def _count(self) -> None:
        consumer = self._consumer
        if consumer.counted_to > self._end:
            self._over()
            return
        start = consumer.counted_to - 1
        if consumer.lasts is not None and start < consumer.upto:
            self._of_lasts(start)
            start = consumer.upto
        self._start = start
        consumer.counted_to = self._end + 1
        if start >= self._end:
            self._over()
        else:
            one_by_one(self._patterns, self._more, self._over)

    def _of_lasts(self, start: int) -> None:
        lasts = self._consumer.lasts or []
        self._consumer.counted += len(lasts) - bisect.bisect_left(lasts, start + 1)

    def _more(self, pattern: Tokens | None, go_on: Callable[[], None]) -> None:
        def counted(number: Answer) -> None:
            self._consumer.counted += number if isinstance(number, int) else 0
            go_on()

        self._owner.query("count", self._stream, counted, pattern=pattern, start=self._start, end=self._end)


def find_lasts(owner: JetStream, consumer: Consumer, upto: int, then: Callable[[list[int]], None]) -> None:
    """The last sequence of each subject that the consumer wants, among those up to ``upto``; ascending."""
    lasts: set[int] = set()

    def of(pattern: Tokens, go_on: Callable[[], None]) -> None:
        def told(found: Answer) -> None:
            if isinstance(found, tuple):
                lasts.update(last + 1 for _, _, last in found)
            go_on()

        owner.query("addresses", consumer.stream_id, told, pattern=pattern, end=upto)

    patterns = [pattern_of(one.encode()) for one in consumer.filters()]
    one_by_one(patterns, of, lambda: then(sorted(lasts)))
