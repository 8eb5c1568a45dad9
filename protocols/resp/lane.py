# cython: language_level=3
"""The way of a connection's runs: chunk in, call on the keyspace, replies out in order. What every request passes.

``session.RespSession`` is this and what is looked at one by one: ``handle(words)`` for the requests at which a cut stops,
``inline(line)``, ``protocol_error(text)``, ``refusal`` for a call that failed.

Measured (one GET in a chunk, harness): 0.9 us compiled from chunk to outbox without the call, 3 us as Python.
"""

from __future__ import annotations

from typing import Any

import cython

from protocols.api import Called, WireError

if cython.compiled:
    from cython.cimports.protocols.outbox import Outbox
    from cython.cimports.protocols.resp.wire import Run
else:
    from protocols.outbox import Outbox
    from protocols.resp.wire import Run

UNREAD_BYTES_MAX = 1024 * 1024
"""Replies that may wait before nothing more is taken from a peer that does not read them."""
HELD_BYTES_MAX = 64 * 1024
SOON_NS = 1
"""A deadline that is over already: the driver ticks as soon as it can."""
COMPLETE = cython.declare(cython.int, 0)
SPECIAL = cython.declare(cython.int, 1)
INLINE = cython.declare(cython.int, 2)
BROKEN = cython.declare(cython.int, 3)


@cython.cclass
class Lane:
    """``silent``: replies are not wanted. ``waiting``: nothing is taken until a call under way is answered."""

    def __init__(self, port: Any, outbox: Outbox, run: Run) -> None:
        self.port = port
        self.outbox = outbox
        self.run = run
        self.deadline_ns = 0
        self.closing = False
        self.wants_bytes = 0
        self.protocol = 2
        self.db = 0
        self.silent = False
        self.waiting = False
        self._ask = port.call
        self._token = 0
        self._calling = 0
        self._count = 0
        self._pending = {}
        self._held = bytearray()

    @property
    def blocked(self) -> bool:
        """Nothing is taken while replies pile up, or much waits behind a blocking command; asked after each flush.

        Behind a blocking command a little is held here, so that the peer's leaving is noticed while it waits.
        """
        return self.outbox.size() > UNREAD_BYTES_MAX or (self.waiting and len(self._held) > HELD_BYTES_MAX)

    @blocked.setter
    def blocked(self, value: bool) -> None:
        self.waiting = value

    @cython.ccall
    @cython.exceptval(-1)
    def receive(
        self, data: object, start: cython.Py_ssize_t, end: cython.Py_ssize_t, now_ns: object
    ) -> cython.Py_ssize_t:
        """See ``protocols.api.Session``."""
        if self.waiting or self._held:
            self._held += memoryview(data)[start:end]
            self._take_held()
            return end
        position: cython.Py_ssize_t = self._take(data, start, end)
        if self.waiting and position < end:
            self._held += memoryview(data)[position:end]
            return end
        return position

    def _take_held(self) -> None:
        """Go on with what was held, if nothing is waited for any more."""
        held = self._held
        while held and not self.waiting and not self.closing and self.outbox.size() <= UNREAD_BYTES_MAX:
            used = self._take(held, 0, len(held))
            del held[:used]
            if not used:
                break

    def tick(self, now_ns: int) -> None:
        """Asked for when a wait is over and something was held behind it. Redis lets idle connections be."""
        self.deadline_ns = 0
        try:
            self._take_held()
        except WireError:
            pass  # answered, and closing: nobody above a tick waits for it

    @cython.cfunc
    @cython.exceptval(-1)
    def _take(self, data: object, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        run: Run = self.run
        position: cython.Py_ssize_t = start
        state: cython.int
        try:
            while not self.closing:
                state = run.cut(data, position, end)
                if run.count:
                    self.send(run, False)
                    if run.stopped >= 0:
                        position = run.rewind()
                        if self.outbox.size() > UNREAD_BYTES_MAX:
                            break
                        continue
                position = run.taken
                if state == COMPLETE:
                    break
                if state == SPECIAL:
                    self.handle(run.arguments(run.fill))
                elif state == INLINE:
                    self.inline(bytes(memoryview(data)[run.line_start : run.line_end]))
                elif state == BROKEN:
                    self.protocol_error(run.error)
                if self.waiting or self.outbox.size() > UNREAD_BYTES_MAX:
                    break
            self.wants_bytes = run.wants
        finally:
            run.release()
        return position

    @cython.ccall
    @cython.exceptval(-1)
    def send(self, run: Run, waits: cython.bint) -> cython.int:
        """Let the keyspace execute a run. Answered at once: no slot. Else the slot is the next thing among the answers."""
        run.db = self.db
        run.protocol = self.protocol
        self._token += 1
        token: cython.longlong = self._token
        self._calling = token
        self._count = 1 if run.transaction else run.count
        self._ask("resp", run, token)
        if self._calling == token:
            self._calling = 0
            self._pending[token] = (self.outbox.open(), self._count, self.silent)
            if waits:
                self.waiting = True
        return 0

    def answered(self, token: cython.longlong, answer: object) -> None:
        """See ``protocols.api.Session``."""
        slot: cython.longlong = 0
        count: cython.Py_ssize_t = self._count
        silent: cython.bint = self.silent
        commit: cython.longlong = 0
        shard: cython.longlong = 0
        data: bytes
        if token == self._calling:
            self._calling = 0
        else:
            pending = self._pending.pop(token, None)
            if pending is None:
                return
            slot, count, silent = pending
            self.waiting = False
            if self._held:
                self.deadline_ns = SOON_NS  # not here: the keyspace may be in the middle of another's call
        if type(answer) is Called:
            commit = answer.commit
            shard = answer.shard
            found = answer.answer
            if type(found) is tuple:
                if found[1] >= 0:
                    self.db = found[1]
                else:
                    self.closing = True
                found = found[0]
            data = found
        else:
            data = self.refusal(count)
        if silent:
            data = b""
        if slot:
            self.outbox.fill(slot, data, commit, shard)
        elif commit:
            self.outbox.answer_at(data, shard, commit)
        else:
            self.outbox.answer(data)

    # what a session adds

    def handle(self, words: list) -> None:
        raise NotImplementedError

    def inline(self, line: bytes) -> None:
        raise NotImplementedError

    def protocol_error(self, text: str) -> None:
        raise NotImplementedError

    def refusal(self, count: int) -> bytes:
        raise NotImplementedError
