# cython: language_level=3
"""How a session's ``port.call`` reaches an executor in the sequencer's process: nothing but two look-ups on the way.

A call that the executor does not answer at once is *parked*: token of ours -> (session, its token, executor).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cython

from substrate.api import Failed


@cython.cclass
class Calls:
    """All calls of one sequencer. ``check`` says why nothing can be decided now (None: it can); asked once a turn."""

    def __init__(self, check: Callable[[], Failed | None]) -> None:
        self.executors: dict[str, Callable[[object, int, object], Any]] = {}
        """``execute`` of each, by name."""
        self.parked: dict[int, tuple[object, int, str]] = {}
        self.checked = False
        self.failed: Any = None
        self._check = check
        self._next_token = 0

    @cython.ccall
    def call(self, executor: str, request: object, session: object, token: cython.longlong) -> object:
        """The executor's answer, ``Failed``, or None: parked."""
        if not self.checked:
            self.failed = self._check()
            self.checked = self.failed is None
        if self.failed is not None:
            return self.failed
        execute = self.executors.get(executor)
        if execute is None:
            return Failed(f"no executor {executor}")
        self._next_token += 1
        mine: cython.longlong = self._next_token
        self.parked[mine] = (session, token, executor)
        answer = execute(request, mine, session)
        if answer is not None:
            self.parked.pop(mine, None)
        return answer


@cython.cclass
class Caller:
    """One session's way to call. ``session`` is set when it is made."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.session: Any = None

    @cython.ccall
    def call(self, executor: str, request: object, token: cython.longlong):
        """See ``protocols.api.Port.call``."""
        answer = self._calls.call(executor, request, self.session, token)
        if answer is not None and token and self.session is not None:
            self.session.answered(token, answer)
