"""A link to a sequencer for whoever only asks executors: the supervisor, ``thalweg ps``."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from protocols.outbox import Outbox
from protocols.remote import FarSequencer
from substrate.api import Called, Commit, Failed, Shard
from thalweg.config import Config
from thalweg.travellers import objects

ANSWER_S = 10.0


class Asker:
    """``await connect()``, then ``await ask(executor, request)``. Also the host and the session of its link."""

    def __init__(self, address: str, key: bytes, config: Config | None = None) -> None:
        self.outbox = Outbox()
        self.lost_reason = ""
        self._address = address
        self._config = config or Config()
        self._far = FarSequencer(self, key, os.urandom(32), objects())
        self._port = self._far.port(lambda: None)
        self._port.session = self  # type: ignore[assignment]
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._token = 0
        self._link: Any = None

    async def connect(self) -> None:
        """
        Raises:
            OSError: nobody is there, or who is there refuses.
        """
        from thalweg.roles import link_to

        self._far.begin(time.time_ns())
        self._link = await link_to(self._far, self._address, self._config)

    async def ask(self, executor: str, request: object) -> Any:
        """The executor's answer.

        Raises:
            OSError: there is no link, or no answer within ANSWER_S.
        """
        self._token += 1
        future = self._answers[self._token] = asyncio.get_running_loop().create_future()
        self._far.begin(time.time_ns())
        self._port.call(executor, request, self._token)
        async with asyncio.timeout(ANSWER_S):
            answer = await future
        if not isinstance(answer, Called):
            raise OSError(answer.reason if isinstance(answer, Failed) else str(answer))
        return answer.answer

    def close(self) -> None:
        if self._link is not None:
            self._link.close()

    # the session

    def answered(self, token: int, answer: object) -> None:
        future = self._answers.pop(token, None)
        if future is not None and not future.done():
            future.set_result(answer)

    # the host

    def touched(self) -> None: ...
    def durable(self, shard: Shard, commit: Commit) -> None: ...
    def failed(self, shard: Shard, above: Commit) -> None: ...
    def note(self, event: str, detail: str) -> None: ...
    def refused(self, session: object) -> None: ...
    def hold(self, session: object) -> None: ...
    def release(self, session: object) -> None: ...
    def random(self) -> int:
        return 0

    def call(self, owner: object, act: Any, *arguments: object) -> None:
        act(*arguments)

    def lost(self, reason: str) -> None:
        self.lost_reason = reason
        for future in self._answers.values():
            if not future.done():
                future.set_exception(ConnectionError(reason))
        self._answers.clear()
