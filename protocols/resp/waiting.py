"""Clients that wait for a key: BLPOP and its kin, BZPOPMIN and its kin, XREAD BLOCK.

Who waits keeps its place at each of its keys. When a command is done that put something there, those who wait are tried
in order: the same handler runs again; if it still finds nothing, the client goes on waiting. What it takes is recorded
behind what was put, in the same turn's commit. A topic that is waited for is watched.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from protocols.api import Handle
from protocols.resp.call import Block, Call, Client, Later
from protocols.resp.state import Database
from protocols.resp.wire import error
from substrate.api import Account, Address, Level, StreamId

if TYPE_CHECKING:
    from protocols.resp.keyspace import Keyspace


class Waiter:
    """One blocked command."""

    __slots__ = ("account", "block", "client", "db", "handles", "order", "protocol", "token")

    def __init__(
        self, token: int, client: Client, account: Account, db: Database, protocol: int, block: Block, order: int
    ) -> None:
        self.token = token
        self.client = client
        self.account = account
        self.db = db
        self.protocol = protocol
        self.block = block
        self.order = order
        self.handles: list[Handle] = []

    def __lt__(self, other: Waiter) -> bool:
        return self.order < other.order


class TopicWatch:
    """Tells the keyspace that a topic which is waited for advanced."""

    def __init__(self, waiting: Waiting, db: Database, key: bytes) -> None:
        self.waiting = waiting
        self.db = db
        self.key = key

    def advanced(self, stream: StreamId) -> None:
        self.waiting.ready(self.db, self.key)
        self.waiting.serve()


class Waiting:
    def __init__(self, keyspace: Keyspace) -> None:
        self.keyspace = keyspace
        self._waiters: dict[int, Waiter] = {}
        self._deadlines: list[tuple[int, int]] = []
        self._ready: dict[tuple[str, bytes], tuple[Database, bytes]] = {}
        self._order = 0
        self._call = Call(keyspace)

    def __len__(self) -> int:
        return len(self._waiters)

    def park(self, token: int, client: Client, call: Call, block: Block) -> None:
        """The command of this token is answered later."""
        self._order += 1
        waiter = Waiter(token, client, call.account, call.db, call.protocol, block, self._order)
        self._waiters[token] = waiter
        client.waiter = waiter
        for key in dict.fromkeys(block.keys):
            call.db.blocked.setdefault(key, []).append(waiter)
        world = self.keyspace.world
        for (name, _), key in block.streams:
            topic = world.topic(call.account, Address(name))
            if topic is not None:
                watch = TopicWatch(self, call.db, key)
                waiter.handles += [world.watch(stream, Level.DURABLE, watch) for stream in topic.streams]
        if block.deadline_ms:
            heapq.heappush(self._deadlines, (block.deadline_ms, token))
            world.wake(block.deadline_ms * 1_000_000)

    def _leave(self, waiter: Waiter) -> None:
        del self._waiters[waiter.token]
        waiter.client.waiter = None
        for key in dict.fromkeys(waiter.block.keys):
            held = waiter.db.blocked.get(key)
            if held is not None and waiter in held:
                held.remove(waiter)
                if not held:
                    del waiter.db.blocked[key]
        for handle in waiter.handles:
            handle.close()

    def gone(self, client: Client) -> None:
        if client.waiter is not None:
            self._leave(client.waiter)

    def end(self, client: Client, error_text: str | None) -> None:
        """Answer its blocked command: as if its time were over (empty text), with an error, or (None) by closing it."""
        waiter: Waiter = client.waiter
        self._leave(waiter)
        reply: object = (b"", -1) if error_text is None else error(error_text) if error_text else waiter.block.reply
        self.keyspace.world.answer(waiter.token, reply)

    def ready(self, db: Database, key: bytes) -> None:
        if key in db.blocked:
            self._ready[(str(db.label), key)] = (db, key)

    def serve(self) -> None:
        """Try those who wait for what became ready, until nothing more does."""
        while self._ready:
            ready, self._ready = self._ready, {}
            for db, key in ready.values():
                for waiter in list(db.blocked.get(key, ())):
                    if waiter.token in self._waiters:
                        self._try(waiter)

    def _try(self, waiter: Waiter) -> None:
        keyspace = self.keyspace
        call = self._call
        call.databases = keyspace.databases(waiter.account)
        call.account = waiter.account
        call.db = waiter.db
        call.client = waiter.client
        call.protocol = waiter.protocol
        call.now_ms = keyspace.world.now_ns // 1_000_000
        reply = keyspace.perform(call, waiter.block.words)
        keyspace.record(call, waiter.db.label, waiter.block.words)
        if isinstance(reply, Block):
            return
        if (
            isinstance(reply, bytes)
            and reply.startswith(b"-WRONGTYPE")
            and waiter.block.words[0].upper() != b"XREADGROUP"
        ):
            return  # another kind of value: it waits for one of its own
        self._leave(waiter)
        if isinstance(reply, Later):
            reply.whole = Deferred(keyspace, waiter.token, reply)
            if reply.reply is not None:
                reply.whole.filled()
            return
        keyspace.world.answer(waiter.token, reply, keyspace.barrier(keyspace.last_commit if call.dirty else 0))

    def expire(self, now_ms: int) -> None:
        """Answer those whose time is over."""
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            _, token = heapq.heappop(self._deadlines)
            waiter = self._waiters.get(token)
            if waiter is not None:
                self._leave(waiter)
                self.keyspace.world.answer(token, waiter.block.reply)
        if self._deadlines:
            self.keyspace.world.wake(self._deadlines[0][0] * 1_000_000)


class Deferred:
    """Answers a waiter when its reply is there."""

    def __init__(self, keyspace: Keyspace, token: int, later: Later) -> None:
        self.keyspace = keyspace
        self.token = token
        self.later = later

    def filled(self) -> None:
        self.keyspace.world.answer(self.token, self.later.reply, self.later.commit)
