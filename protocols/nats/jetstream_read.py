"""Reading streams for the JetStream executor, a piece a turn, so that a long stream stalls nobody.

``Scan`` walks a stream's records up to its durable end; it goes on when the world answers, at once or later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from substrate.api import Batches, Pattern, Record, StreamId

if TYPE_CHECKING:
    from protocols.nats.jetstream import JetStream

Item = TypeVar("Item")
READ_BYTES = 256 * 1024
PIECES_A_TURN = 2
"""Of one walk: a turn must not hold the others for long."""


class Scan:
    """Calls ``each(records, next position)`` until it answers False or the end is reached; then ``done()``."""

    def __init__(
        self,
        owner: JetStream,
        stream: StreamId,
        start: int,
        pattern: Pattern,
        each: Callable[[tuple[Record, ...], int], bool],
        done: Callable[[], None],
    ) -> None:
        self._owner = owner
        self._stream = stream
        self._at = start
        self._pattern = pattern
        self._each = each
        self._done = done
        self._running = False
        self._waits = False
        self._over = False

    def run(self) -> None:
        """Go on; a piece of work at a time."""
        self._running = True
        pieces = 0
        while not self._over:
            if pieces == PIECES_A_TURN:
                self._running = False
                self._owner.defer(self.run)
                return
            pieces += 1
            self._waits = True
            self._owner.read(self._stream, self._at, READ_BYTES, self._pattern, self._got)
            if self._waits:
                self._running = False
                return
        self._running = False
        self._done()

    def _got(self, answer: object) -> None:
        self._waits = False
        if isinstance(answer, Batches):
            stuck = answer.next <= self._at
            self._at = answer.next
            self._over = not self._each(answer.records, answer.next) or stuck or self._at >= answer.tail.durable
        else:
            self._over = True
        if not self._running:
            self.run()


def one_by_one(
    items: Sequence[Item], act: Callable[[Item, Callable[[], None]], None], done: Callable[[], None]
) -> None:
    """Call ``act(item, go_on)`` for each item once the one before went on, at once or later; then ``done()``.

    A loop where answers come at once: as many items as there are cost no stack.
    """
    at = 0
    looping = went_on = False

    def go_on() -> None:
        nonlocal went_on
        went_on = True
        if not looping:
            run()

    def run() -> None:
        nonlocal at, looping, went_on
        looping = True
        while at < len(items):
            at += 1
            went_on = False
            act(items[at - 1], go_on)
            if not went_on:
                looping = False
                return
        looping = False
        done()

    run()
