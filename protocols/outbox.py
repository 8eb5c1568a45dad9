# cython: language_level=3
"""What one connection still has to say, in two lanes over one buffer.

* *Deliveries* (``put*``) never wait: they go straight into the out buffer.
* *Answers* leave in the order of their requests. An answer that is ready goes straight out while nothing waits before
  it; otherwise it queues in ``_parked`` behind an open slot (an answer that is still to come) or behind a *barrier*: a
  commit of a shard that is not durable yet.

Parked entries are lists ``[slot, data or None, shard, commit]``. Invariant: the first parked entry is never releasable.
The out buffer is ``_out[_head:_fill]``; the driver sends a prefix of it and says how much (``sent``).

Pressure: a delivery that finds more than ``PRESSURE_BYTES`` unsent puts the outbox on ``pressure``, the hub's list: whoever
delivered is then read more slowly for a moment (as nats-server stalls fast producers).

Bounds: when unsent plus parked bytes pass ``bytes_max`` (0: no bound), ``overflowed`` is set; the session's policy
decides what happens to a peer that reads too slowly.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import cython

if cython.compiled:
    from cython.cimports.libc.string import memcpy, memmove

FIRST_BYTES = 512
KEEP_BYTES = 4 * 1024
PRESSURE_BYTES = 1024 * 1024
NOTHING = ()
"""Parked, until something is: an empty deque weighs 700 bytes, and most connections are idle."""


@cython.cclass
class Outbox:
    """One per connection. ``dirty`` is the driver's list of outboxes to flush this turn; ``owner`` its connection."""

    def __init__(self, bytes_max: cython.Py_ssize_t = 64 * 1024 * 1024) -> None:
        self._out = bytearray(FIRST_BYTES)
        self._view = self._out
        self._head = 0
        self._fill = 0
        self._parked = NOTHING
        self._slots = {}
        self._next_slot = 1
        self._parked_bytes = 0
        self.owner: Any = None
        self.dirty: list[Outbox] = []
        self._limit = FIRST_BYTES
        self.pressure: list[Outbox] = []
        self.pressed = False
        self.marked = False
        self.used = False
        self.bytes_max = bytes_max
        self.overflowed = False

    # deliveries

    @cython.ccall
    def put(self, source: cython.const[cython.uchar][::1], start: cython.Py_ssize_t, end: cython.Py_ssize_t):
        """A delivery: ``source[start:end]``, copied now."""
        length: cython.Py_ssize_t = end - start
        if length <= 0:
            return
        if start < 0 or end > len(source):
            raise IndexError("slice outside its buffer")
        if not self.marked:
            self._mark()
        if self._fill + length > self._limit:
            self._grow(length)
        if cython.compiled:
            memcpy(cython.address(self._view[self._fill]), cython.address(source[start]), length)
        else:
            self._out[self._fill : self._fill + length] = source[start:end]
        self._fill += length

    @cython.ccall
    def put_bytes(self, data: bytes):
        """A delivery."""
        length: cython.Py_ssize_t = len(data)
        if length == 0:
            return
        if not self.marked:
            self._mark()
        if self._fill + length > self._limit:
            self._grow(length)
        if cython.compiled:
            memcpy(cython.address(self._view[self._fill]), cython.cast(cython.p_char, data), length)
        else:
            self._out[self._fill : self._fill + length] = data
        self._fill += length

    @cython.ccall
    def put_number(self, number: cython.longlong):
        """A delivery: the number in decimal."""
        self.put_bytes(b"%d" % number)

    # answers

    @cython.ccall
    def answer(self, data: bytes):
        """An answer that is ready: out at once unless an earlier one is not."""
        if self._parked:
            self._park([0, data, 0, 0])
            self._parked_bytes += len(data)
            self._bound()
        else:
            self.put_bytes(data)

    @cython.ccall
    def answer_at(self, data: bytes, shard: cython.longlong, commit: cython.longlong):
        """An answer that may leave when ``commit`` of ``shard`` is durable (commit 0: now)."""
        if commit == 0:
            self.answer(data)
            return
        self._park([0, data, shard, commit])
        self._parked_bytes += len(data)
        self._bound()
        if not self.marked:
            self._mark()  # the hub must learn that something waits here

    @cython.cfunc
    def _park(self, entry: list):
        if self._parked is NOTHING:
            self._parked = deque()
        self._parked.append(entry)

    def open(self) -> int:
        """Keep a place among the answers for one that is to come; ``fill`` it exactly once."""
        slot = self._next_slot
        self._next_slot += 1
        entry = [slot, None, 0, 0]
        self._park(entry)
        self._slots[slot] = entry
        if not self.marked:
            self._mark()
        return slot

    def fill(self, slot: int, data: bytes, commit: int = 0, shard: int = 0) -> None:
        """The answer for a slot; empty data gives the place up."""
        entry = self._slots.pop(slot, None)
        if entry is None:
            return  # dropped by ``failed`` or ``clear``
        entry[1] = data
        entry[2] = shard
        entry[3] = commit
        self._parked_bytes += len(data)
        if not self.marked:
            self._mark()  # its commit may be durable already: nobody else would say so
        self._advance()

    @cython.ccall
    def parked(self) -> cython.bint:
        """Whether any answer waits."""
        return len(self._parked) > 0

    def promised(self) -> bool:
        """Whether every answer is there and waits at most for its commit: none is still to be found."""
        return not self._slots

    def _advance(self) -> None:
        while self._parked and self._parked[0][1] is not None and self._parked[0][3] == 0:
            entry = self._parked.popleft()
            self._parked_bytes -= len(entry[1])
            self.put_bytes(entry[1])
        self._bound()

    # the driver's side

    def durable(self, shard: int, commit: int) -> bool:
        """Everything up to ``commit`` is durable. Returns whether anything still waits for a later commit."""
        waits = False
        for entry in self._parked:
            if entry[3] and entry[2] == shard:
                if entry[3] <= commit:
                    entry[3] = 0
                else:
                    waits = True
                    break
        self._advance()
        return waits

    def failed(self, shard: int, above: int) -> bool:
        """Commits of ``shard`` above this one will never be durable: their answers are dropped.

        Returns whether there were any (the connection is then closed: it cannot tell what happened).
        """
        lost = any(entry[3] > above and entry[2] == shard for entry in self._parked)
        if lost:
            self._parked = NOTHING
            self._slots.clear()
            self._parked_bytes = 0
        return lost

    def mark(self) -> None:
        """Have the driver look at this connection at the end of the turn, whether or not there are bytes."""
        if not self.marked:
            self._mark()

    def peek(self) -> memoryview:
        """What may be sent now."""
        return memoryview(self._out)[self._head : self._fill]

    @cython.ccall
    def sent(self, count: cython.Py_ssize_t):
        """This many bytes of ``peek()`` are the kernel's; the view must have been released."""
        self._head += count
        if self._head >= self._fill:
            self._head = 0
            self._fill = 0
        self._bound()

    def shrink(self) -> bool:
        """Give a large buffer back if it was not needed since the last call; whether there is still one to give back."""
        if self._fill or self.used:
            self.used = False
            return True
        if len(self._out) > FIRST_BYTES:
            self._out = bytearray(FIRST_BYTES)
            self._view = self._out
            self._limit = FIRST_BYTES
        return False

    @cython.ccall
    def large(self) -> cython.bint:
        """Whether ``shrink`` would give something back."""
        return len(self._out) > KEEP_BYTES

    @cython.ccall
    def size(self) -> cython.Py_ssize_t:
        """Bytes unsent, ready or not."""
        return self._fill - self._head + self._parked_bytes

    @cython.ccall
    def ready(self) -> cython.Py_ssize_t:
        """Bytes that may be sent now."""
        return self._fill - self._head

    def clear(self) -> None:
        """Drop everything (the connection is gone)."""
        self._head = 0
        self._fill = 0
        self._parked = NOTHING
        self._slots.clear()
        self._parked_bytes = 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _bound(self) -> cython.int:
        self.overflowed = self.bytes_max > 0 and self._fill - self._head + self._parked_bytes > self.bytes_max
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _mark(self) -> cython.int:
        self.marked = True
        self.used = True
        self.dirty.append(self)
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _grow(self, need: cython.Py_ssize_t) -> cython.int:
        """Make room for ``need`` bytes, and notice pressure."""
        used: cython.Py_ssize_t = self._fill - self._head
        capacity: cython.Py_ssize_t = len(self._out)
        if used + need > PRESSURE_BYTES and not self.pressed:
            self.pressed = True
            self.pressure.append(self)
        if self._fill + need <= capacity:
            return 0
        if used + need <= capacity and self._head >= capacity // 2:
            if cython.compiled:
                memmove(cython.address(self._view[0]), cython.address(self._view[self._head]), used)
            else:
                self._out[:used] = self._out[self._head : self._fill]
        else:
            while capacity < used + need:
                capacity *= 2
            bigger = bytearray(capacity)
            bigger[:used] = memoryview(self._out)[self._head : self._fill]
            self._out = bigger
            self._view = bigger
            self._limit = min(capacity, PRESSURE_BYTES)
        self._head = 0
        self._fill = used
        self._bound()
        return 0
