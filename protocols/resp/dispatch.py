# cython: language_level=3
"""Runs a run: the hot commands here, without an argument list or an object per command, all others by their handlers.

A hot command does to the state exactly what its handler does (a test runs both), and its effect is its own bytes. It steps
aside (``_hot`` answers 0) wherever something is not plain: a watched or awaited key in the database, an expired entry, another
kind, a number that is not one, RESP3 where the reply differs. Replies go into one buffer and leave as one ``bytes``.

Measured (64 of a kind in a chunk, chunk to outbox): GET 0.10 us, SET 0.22 us with its effect, by handler 1 us and more.

Effects are gathered over the turn and recorded together at its end, before it is committed: a record for each, in one call.
"""

from __future__ import annotations

import array
from collections import deque
from typing import Any

import cython

from protocols.api import Called

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
    from cython.cimports.libc.string import memcpy
    from cython.cimports.protocols.resp.state import Database, Entry, Log, Members, Ranking
    from cython.cimports.protocols.resp.wire import Run
else:
    from protocols.resp.state import Database, Entry, Log, Members, Ranking
    from protocols.resp.wire import Run

from protocols.resp.call import Block, Later
from protocols.resp.transactions import forget, may_happen
from substrate.api import DEFAULT_ACCOUNT

FIRST_BYTES = 16 * 1024
KEEP_BYTES = 256 * 1024
POOL_BYTES_MAX = cython.declare(cython.Py_ssize_t, 1024 * 1024)
"""Effects that are gathered before they are recorded, whatever the turn does."""
REPLY_BYTES_MAX = cython.declare(cython.Py_ssize_t, 1024 * 1024)
"""A run that may stop does when its replies are larger: the session looks whether they are read before it goes on."""
STRING = cython.declare(cython.int, 1)
NUMBER = cython.declare(cython.int, 2)
LIST = cython.declare(cython.int, 3)
SET = cython.declare(cython.int, 4)
HASH = cython.declare(cython.int, 5)
ZSET = cython.declare(cython.int, 6)
STREAM = cython.declare(cython.int, 7)
SCORE_DIGITS_MAX = cython.declare(cython.int, 15)
"""So many decimal digits are exact in a double, and so is a power of ten up to 22: their quotient is rounded once."""
INTEGER_MAX = cython.declare(cython.longlong, 9223372036854775807)
INTEGER_MIN = cython.declare(cython.longlong, -9223372036854775807 - 1)


def _pack(name: bytes) -> int:
    return int.from_bytes(name, "little")


P_GET = cython.declare(cython.longlong, _pack(b"get"))
P_SET = cython.declare(cython.longlong, _pack(b"set"))
P_INCR = cython.declare(cython.longlong, _pack(b"incr"))
P_DECR = cython.declare(cython.longlong, _pack(b"decr"))
P_PING = cython.declare(cython.longlong, _pack(b"ping"))
P_MGET = cython.declare(cython.longlong, _pack(b"mget"))
P_MSET = cython.declare(cython.longlong, _pack(b"mset"))
P_DEL = cython.declare(cython.longlong, _pack(b"del"))
P_EXISTS = cython.declare(cython.longlong, _pack(b"exists"))
P_LPUSH = cython.declare(cython.longlong, _pack(b"lpush"))
P_RPUSH = cython.declare(cython.longlong, _pack(b"rpush"))
P_LPOP = cython.declare(cython.longlong, _pack(b"lpop"))
P_RPOP = cython.declare(cython.longlong, _pack(b"rpop"))
P_LRANGE = cython.declare(cython.longlong, _pack(b"lrange"))
P_ZADD = cython.declare(cython.longlong, _pack(b"zadd"))
P_XADD = cython.declare(cython.longlong, _pack(b"xadd"))
P_SADD = cython.declare(cython.longlong, _pack(b"sadd"))
P_HSET = cython.declare(cython.longlong, _pack(b"hset"))
P_HGET = cython.declare(cython.longlong, _pack(b"hget"))


class Whole:
    """The replies of a run of which some are still to come."""

    def __init__(self, dispatcher: Dispatcher, token: int, parts: list, commit: int, db: object) -> None:
        self.world = dispatcher.world
        self.token = token
        self.parts = parts
        self.commit = commit
        self.db = db
        self.done = False
        for part in parts:
            if isinstance(part, Later):
                part.whole = self

    def answer(self) -> object:
        """The whole reply once it is there; None before."""
        data: list = []
        for part in self.parts:
            if isinstance(part, Later):
                if part.reply is None:
                    return None
                self.commit = max(self.commit, part.commit)
                data.append(part.reply)
            else:
                data.append(part)
        self.done = True
        joined = b"".join(data)
        return joined if self.db is None else (joined, self.db)

    def filled(self) -> None:
        if not self.done:
            answer = self.answer()
            if answer is not None:
                self.world.answer(self.token, answer, self.commit)


@cython.cclass
class Dispatcher:
    """One per keyspace."""

    def __init__(self, keyspace: Any) -> None:
        self.keyspace = keyspace
        self.world = getattr(keyspace, "world", None)  # set when the executor starts
        self._out = bytearray(FIRST_BYTES)
        self._out_view = self._out
        self._fill = 0
        self._spans = array.array("q", bytes(8 * 512))
        self._span_view = self._spans
        self._span_count = 0
        self._parts = None
        self._pool = bytearray(FIRST_BYTES)
        self._pool_view = self._pool
        self._pool_fill = 0
        self._pool_label = b""
        self._planned = False
        self._volatile = False
        self._data = b""
        self._numbers = self._spans
        self._commit = 0
        self._reply_commit = 0
        self._now_ms = 0
        self._plain = True
        self._prepared = False
        self._woken = False
        self.always = False
        self.observed = False
        self.unusual = False
        self._account = DEFAULT_ACCOUNT
        self._default = keyspace.databases(DEFAULT_ACCOUNT)
        self._clients = keyspace.clients
        self.reset_statistics()

    def begin(self, world: Any) -> None:
        """The executor starts: what is done from here on is recorded, unless nothing is."""
        self.world = world
        self._volatile = world.volatile

    def reset_statistics(self) -> None:
        self.commands = 0
        self.hits = 0
        self.misses = 0

    @cython.ccall
    def execute(self, request: object, token: cython.longlong, session: object) -> object:
        """Run the requests of a ``Run``, one after another. ``Called``: bytes, or (bytes, number of the database that SELECT
        left); None where it is answered later. Stands for the executor's ``execute``."""
        run: Run = request
        client = self._clients.get(session)
        if client is None:
            client = self.keyspace.meet(session, run)
        if self.unusual:
            held = self.keyspace.hold(run, token, session, client)
            if held is not self:
                return held
        databases: list = self._default if run.account is self._account else self.keyspace.databases(run.account)
        db: Database = databases[run.db]
        at: cython.Py_ssize_t = 0
        self._data = run._view if cython.compiled else run.buffer
        self._numbers = run._numbers if cython.compiled else run.numbers
        self._fill = 0
        self._commit = 0
        self._reply_commit = 0
        self._now_ms = 0
        self._parts = None
        self._prepared = False
        self._plain = not db.watched and not db.blocked and not self.observed
        if run.transaction and not self._may_happen(run, databases, db, client):
            self._put(b"_\r\n" if run.protocol == 3 else b"*-1\r\n")
        else:
            while at < run.fill:
                if self.observed or not self._hot(run, db, at):
                    if not self._prepared:
                        self._prepare(run, databases, db, client)
                    db = self._slow(run, db, at, token, client)
                    if db is None:
                        return None
                self.commands += 1
                at += 4 + 2 * self._numbers[at + 1]
                if self._fill > REPLY_BYTES_MAX and run.may_stop and at < run.fill:
                    run.stopped = at
                    break
        if self._woken:
            self._woken = False
            self.keyspace.waiting.serve()
        commit: cython.longlong = self._reply_commit
        if self.always:
            self.flush_effects()
            commit = max(commit, self.keyspace.barrier(self._commit))
        if self._parts is None and db.number == run.db:
            data = self._taken()
            self._finish()
            return Called(data, commit)
        return self._answer(token, commit, db.number if db.number != run.db else None)

    def replay(self, run: Run, db: Database) -> bool:
        """Apply an effect that is a hot command, without a clock; False: its handler has to."""
        self._data = run._view if cython.compiled else run.buffer
        self._numbers = run._numbers if cython.compiled else run.numbers
        self._fill = 0
        self._now_ms = 1  # nothing has expired
        self._plain = True
        self._volatile = True  # what is replayed is recorded already
        done: cython.bint = self._hot(run, db, 0)
        self._finish()
        return done

    def _prepare(self, run: Run, databases: list, db: Database, client: object) -> None:
        """What handlers see."""
        call = self.keyspace.call
        call.databases = databases
        call.db = db
        call.account = run.account
        call.client = client
        call.now_ms = self._now()
        call.protocol = run.protocol
        call.in_transaction = run.transaction
        call.internal = run.internal
        client.db = run.db
        client.protocol = run.protocol
        client.user = run.user
        client.all = run.all
        self._prepared = True

    @cython.cfunc
    @cython.exceptval(-1)
    def _now(self) -> cython.longlong:
        """The turn's clock in ms; asked for only where something expires."""
        if self._now_ms == 0:
            self._now_ms = self.world.now_ns // 1_000_000
        return self._now_ms

    def _may_happen(self, run: Run, databases: list, db: Database, client: object) -> bool:
        """Judge a transaction; where it may happen, begin its reply."""
        self._prepare(run, databases, db, client)
        happens = may_happen(self.keyspace.call, client)
        forget(client)
        self._plain = not db.watched and not db.blocked and not self.observed
        if happens:
            self._put(b"*%d\r\n" % run.count)
        return happens

    def _slow(self, run: Run, db: Database, at: cython.Py_ssize_t, token: int, client: object) -> object:
        """One command by its handler. The database that the next one uses; None: it is parked."""
        keyspace = self.keyspace
        call = keyspace.call
        words = run.arguments(at)
        try:
            reply = keyspace.perform(call, words)
        except BaseException:  # we are wrong: the session dies; what was done before must be recorded nevertheless
            call.dirty = 0
            self._record(run, call, db, at)
            self._finish()
            raise
        if call.before or call.dirty:
            self._record(run, call, db, at)
        if type(reply) is bytes:
            self._put(reply)
        elif isinstance(reply, Block):
            if run.blocks and not run.transaction:
                keyspace.waiting.park(token, client, call, reply)
                self._finish()
                return None
            self._put(reply.reply)
        elif reply.reply is not None:
            self._put(reply.reply)
            self._reply_commit = max(self._reply_commit, reply.commit)
        else:
            self._hole(reply)
        if call.db is not db:
            db = call.db
        if db.earlier or call.elsewhere:
            call.elsewhere = False
            keyspace.plan_expiry()
        if db.blocked and not run.transaction:  # who waits is served before the next command
            keyspace.waiting.serve()
        self._woken = True
        self._plain = not db.watched and not db.blocked and not self.observed
        return db

    @cython.cfunc
    def _taken(self) -> bytes:
        """The replies so far."""
        if not cython.compiled:
            return bytes(memoryview(self._out)[: self._fill])
        return PyBytes_FromStringAndSize(
            cython.cast(cython.p_char, cython.cast(cython.p_void, cython.address(self._out_view[0]))), self._fill
        )

    def _answer(self, token: int, commit: int, moved: object) -> object:
        data = self._taken()
        parts = self._parts
        self._finish()
        if parts is None:
            return Called((data, moved), commit)
        parts.append(data)
        whole = Whole(self, token, parts, commit, moved)
        answer = whole.answer()
        return None if answer is None else Called(answer, whole.commit)

    @cython.cfunc
    @cython.exceptval(-1)
    def _finish(self) -> cython.int:
        self._data = None
        self._parts = None
        if len(self._out) > KEEP_BYTES:
            self._out = bytearray(FIRST_BYTES)
            self._out_view = self._out
        return 0

    def _hole(self, later: object) -> None:
        if self._parts is None:
            self._parts = []
        self._parts.append(self._taken())
        self._parts.append(later)
        self._fill = 0

    # effects: gathered over a turn, recorded together at its end (at once where replies wait for them)

    def _record(self, run: Run, call: object, db: Database, at: cython.Py_ssize_t) -> None:
        """What a handler did: what expired before it, then its effects or its own words."""
        if call.before:
            for label, effect in call.before:
                self.add(label, effect)
            call.before.clear()
        if call.dirty:
            if call.effects is None:
                self._effect(run, db, at)
            else:
                for effect in call.effects:
                    self.add(db.label, effect)

    @cython.ccall
    @cython.exceptval(-1)
    def add(self, label: bytes, effect: bytes) -> cython.int:
        """An effect in words of ours."""
        if self._volatile:
            return 0
        length: cython.Py_ssize_t = len(effect)
        self._place(label, length)
        if cython.compiled:
            memcpy(cython.address(self._pool_view[self._pool_fill]), cython.cast(cython.p_char, effect), length)
        else:
            self._pool[self._pool_fill : self._pool_fill + length] = effect
        self._pool_fill += length
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _effect(self, run: Run, db: Database, at: cython.Py_ssize_t) -> cython.int:
        """The request's own bytes are its effect."""
        if self._volatile:
            return 0
        start: cython.Py_ssize_t = run.origin + self._numbers[at + 2]
        length: cython.Py_ssize_t = self._numbers[at + 3] - self._numbers[at + 2]
        if start < 0 or length < 1 or start + length > len(self._data):
            raise IndexError("slice outside its buffer")
        self._place(db.label, length)
        if cython.compiled:
            memcpy(cython.address(self._pool_view[self._pool_fill]), cython.address(self._data[start]), length)
        else:
            self._pool[self._pool_fill : self._pool_fill + length] = self._data[start : start + length]
        self._pool_fill += length
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _place(self, label: bytes, length: cython.Py_ssize_t) -> cython.int:
        """Room for an effect of this length behind the others; it is counted already."""
        if self._span_count and (label is not self._pool_label or self._pool_fill + length > POOL_BYTES_MAX):
            if label != self._pool_label or self._pool_fill + length > POOL_BYTES_MAX:
                self.flush_effects()
        if self._pool_fill + length > len(self._pool):
            bigger = bytearray(max(2 * len(self._pool), self._pool_fill + length))
            bigger[: self._pool_fill] = memoryview(self._pool)[: self._pool_fill]
            self._pool = bigger
            self._pool_view = bigger
        slot: cython.Py_ssize_t = 2 * self._span_count
        if slot + 2 > len(self._spans):
            more = array.array("q", self._spans)
            more.frombytes(bytes(8 * len(more)))
            self._spans = more
            self._span_view = more
        self._pool_label = label
        self._span_view[slot] = self._pool_fill
        self._span_view[slot + 1] = length
        self._span_count += 1
        if not self._planned:
            self._planned = True
            self.world.at_end(self.end_turn)
        return 0

    def end_turn(self) -> None:
        """Called by the world before this turn is committed."""
        self._planned = False
        self.flush_effects()

    @cython.ccall
    @cython.exceptval(-1)
    def flush_effects(self) -> cython.longlong:
        """Record what was gathered. The commit to wait for; 0: nothing was."""
        count: cython.Py_ssize_t = self._span_count
        if count == 0:
            return 0
        self._span_count = 0
        self._pool_fill = 0
        pool = self._pool
        if len(pool) > KEEP_BYTES:
            self._pool = bytearray(FIRST_BYTES)
            self._pool_view = self._pool
        commit: cython.longlong = self.world.record_slices(pool, self._spans, count, self._pool_label)
        self._commit = commit
        self.keyspace.last_commit = commit
        return commit

    # output

    @cython.cfunc
    @cython.exceptval(-1)
    def _room(self, need: cython.Py_ssize_t) -> cython.int:
        size: cython.Py_ssize_t = len(self._out)
        if self._fill + need > size:
            while self._fill + need > size:
                size *= 2
            bigger = bytearray(size)
            bigger[: self._fill] = memoryview(self._out)[: self._fill]
            self._out = bigger
            self._out_view = bigger
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _put(self, data: bytes) -> cython.int:
        length: cython.Py_ssize_t = len(data)
        if length == 0:
            return 0
        if self._fill + length > len(self._out):
            self._room(length)
        if cython.compiled:
            memcpy(cython.address(self._out_view[self._fill]), cython.cast(cython.p_char, data), length)
        else:
            self._out[self._fill : self._fill + length] = data
        self._fill += length
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _put_bulk(self, data: bytes) -> cython.int:
        self._put_number(36, len(data))
        self._put(data)
        return self._put(b"\r\n")

    @cython.cfunc
    @cython.exceptval(-1)
    def _put_number(self, sigil: cython.int, value: cython.longlong) -> cython.int:
        """``:5\\r\\n``, or with another sign in front."""
        if not cython.compiled:
            return self._put(b"%c%d\r\n" % (sigil, value))
        digits: cython.uchar[24]
        count: cython.Py_ssize_t = 0
        rest: cython.ulonglong = value
        if self._fill + 26 > len(self._out):
            self._room(26)
        self._out_view[self._fill] = sigil
        self._fill += 1
        if value < 0:
            rest = 0 - rest
            self._out_view[self._fill] = 45
            self._fill += 1
        while True:
            digits[count] = 48 + rest % 10  # noqa: F821
            rest //= 10
            count += 1
            if rest == 0:
                break
        while count:
            count -= 1
            self._out_view[self._fill] = digits[count]  # noqa: F821
            self._fill += 1
        self._out_view[self._fill] = 13
        self._out_view[self._fill + 1] = 10
        self._fill += 2
        return 0

    @cython.cfunc
    def _copy(self, start: cython.Py_ssize_t, length: cython.Py_ssize_t) -> bytes:
        """A piece of the run's buffer as bytes; the one place that reads it raw."""
        if not cython.compiled:
            return bytes(memoryview(self._data)[start : start + length])
        if start < 0 or length < 0 or start + length > len(self._data):
            raise IndexError("slice outside its buffer")
        if length == 0:
            return b""
        return PyBytes_FromStringAndSize(
            cython.cast(cython.p_char, cython.cast(cython.p_void, cython.address(self._data[start]))), length
        )

    # hot commands

    @cython.cfunc
    @cython.exceptval(-1)
    def _hot(self, run: Run, db: Database, at: cython.Py_ssize_t) -> cython.int:
        """1: done. 0: the handler has to."""
        packed: cython.longlong = self._numbers[at]
        argc: cython.Py_ssize_t = self._numbers[at + 1]
        start: cython.Py_ssize_t = run.origin + self._numbers[at + 2]
        entry: Entry
        key: bytes
        done: cython.int = 0
        if packed == P_GET:
            if argc != 2:
                return 0
            key = self._copy(start + self._numbers[at + 6], self._numbers[at + 7])
            entry = db.entries.get(key)
            if entry is None or (entry.expire_ms and entry.expire_ms <= self._now()):
                self.misses += 1
                self._put(b"_\r\n" if run.protocol == 3 else b"$-1\r\n")
                return 1
            if entry.kind == STRING:
                self._put(entry.value)
            elif entry.kind == NUMBER:
                self._put_bulk(b"%d" % entry.number)
            else:
                return 0
            self.hits += 1
            return 1
        if packed == P_PING:
            if argc != 1:
                return 0
            self._put(b"+PONG\r\n")
            return 1
        if packed == P_MGET:
            return self._mget(db, at, start) if run.protocol == 2 else 0
        if packed == P_EXISTS:
            if argc != 2:
                return 0
            entry = db.entries.get(self._copy(start + self._numbers[at + 6], self._numbers[at + 7]))
            done = entry is not None and (entry.expire_ms == 0 or entry.expire_ms > self._now())
            self._put(b":1\r\n" if done else b":0\r\n")
            return 1
        if packed == P_LRANGE:
            return self._lrange(db, at, start) if argc == 4 else 0
        if packed == P_HGET:
            if argc != 3:
                return 0
            entry = db.entries.get(self._copy(start + self._numbers[at + 6], self._numbers[at + 7]))
            if entry is None or entry.kind != HASH or entry.expire_ms:
                return 0
            value = entry.value.get(self._copy(start + self._numbers[at + 8], self._numbers[at + 9]))
            if value is None:
                return 0
            self._put_bulk(value)
            return 1
        if not self._plain:
            return 0
        if packed == P_SET:
            if argc == 3:
                done = self._set(db, at, start)
        elif packed == P_INCR:
            if argc == 2:
                done = self._add(db, at, start, 1)
        elif packed == P_DECR:
            if argc == 2:
                done = self._add(db, at, start, -1)
        elif packed == P_LPUSH:
            if argc > 2:
                done = self._push(db, at, start, True)
        elif packed == P_RPUSH:
            if argc > 2:
                done = self._push(db, at, start, False)
        elif packed == P_LPOP:
            if argc == 2:
                done = self._pop(db, at, start, True)
        elif packed == P_RPOP:
            if argc == 2:
                done = self._pop(db, at, start, False)
        elif packed == P_SADD:
            if argc > 2:
                return self._sadd_or_not(run, db, at, start)
        elif packed == P_ZADD:
            return self._zadd(run, db, at, start) if argc == 4 else 0
        elif packed == P_XADD:
            return self._xadd(run, db, at, start) if argc > 4 and argc % 2 == 1 else 0
        elif packed == P_HSET:
            if argc > 3 and argc % 2 == 0:
                done = self._hset(db, at, start)
        elif packed == P_MSET:
            if argc > 2 and argc % 2 == 1:
                done = self._mset(db, at, start)
        elif packed == P_DEL:
            if argc == 2:
                key = self._copy(start + self._numbers[at + 6], self._numbers[at + 7])
                entry = db.entries.get(key)
                if entry is None:
                    self._put(b":0\r\n")
                    return 1
                if entry.expire_ms and entry.expire_ms <= self._now():
                    return 0
                db.remove(key)
                self._put(b":1\r\n")
                done = 1
        if done:
            self._effect(run, db, at)
        return done

    @cython.cfunc
    @cython.exceptval(-1)
    def _set(self, db: Database, at: cython.Py_ssize_t, start: cython.Py_ssize_t) -> cython.int:
        key: bytes = self._copy(start + self._numbers[at + 6], self._numbers[at + 7])
        # The value as it goes out begins where its length line begins: behind the key and its CR LF.
        head: cython.Py_ssize_t = start + self._numbers[at + 6] + self._numbers[at + 7] + 2
        end: cython.Py_ssize_t = start + self._numbers[at + 8] + self._numbers[at + 9] + 2
        value: bytes = self._copy(head, end - head)
        entry: Entry = db.entries.get(key)
        if entry is None:
            db.put(key, STRING, value)
        else:
            if entry.expire_ms:
                if entry.expire_ms <= self._now():
                    return 0
                db.set_expire(entry, 0)
            entry.kind = STRING
            entry.value = value
        self._put(b"+OK\r\n")
        return 1

    @cython.cfunc
    @cython.exceptval(-1)
    def _mset(self, db: Database, at: cython.Py_ssize_t, start: cython.Py_ssize_t) -> cython.int:
        """All or nothing: where a key of the database has an expiry, the handler has to."""
        slot: cython.Py_ssize_t
        stop: cython.Py_ssize_t = at + 4 + 2 * self._numbers[at + 1]
        entry: Entry
        key: bytes
        if db.expiring:
            return 0
        for slot in range(at + 6, stop, 4):
            key = self._copy(start + self._numbers[slot], self._numbers[slot + 1])
            head: cython.Py_ssize_t = start + self._numbers[slot] + self._numbers[slot + 1] + 2
            end: cython.Py_ssize_t = start + self._numbers[slot + 2] + self._numbers[slot + 3] + 2
            entry = db.entries.get(key)
            if entry is None:
                db.put(key, STRING, self._copy(head, end - head))
            else:
                entry.kind = STRING
                entry.value = self._copy(head, end - head)
        self._put(b"+OK\r\n")
        return 1

    @cython.cfunc
    @cython.exceptval(-1)
    def _add(
        self, db: Database, at: cython.Py_ssize_t, start: cython.Py_ssize_t, change: cython.longlong
    ) -> cython.int:
        key: bytes = self._copy(start + self._numbers[at + 6], self._numbers[at + 7])
        entry: Entry = db.entries.get(key)
        if entry is None:
            entry = db.put(key, NUMBER, None)
            entry.number = 0
        elif entry.kind != NUMBER or entry.expire_ms:
            return 0
        if (change > 0 and entry.number == INTEGER_MAX) or (change < 0 and entry.number == INTEGER_MIN):
            return 0
        entry.number += change
        self._put_number(58, entry.number)
        return 1

    @cython.cfunc
    @cython.exceptval(-1)
    def _push(self, db: Database, at: cython.Py_ssize_t, start: cython.Py_ssize_t, left: cython.bint) -> cython.int:
        key: bytes = self._copy(start + self._numbers[at + 6], self._numbers[at + 7])
        entry: Entry = db.entries.get(key)
        slot: cython.Py_ssize_t
        if entry is None:
            entry = db.put(key, LIST, deque())
        elif entry.kind != LIST or entry.expire_ms:
            return 0
        items = entry.value
        for slot in range(at + 8, at + 4 + 2 * self._numbers[at + 1], 2):
            if left:
                items.appendleft(self._copy(start + self._numbers[slot], self._numbers[slot + 1]))
            else:
                items.append(self._copy(start + self._numbers[slot], self._numbers[slot + 1]))
        self._put_number(58, len(items))
        return 1

    @cython.cfunc
    @cython.exceptval(-1)
    def _pop(self, db: Database, at: cython.Py_ssize_t, start: cython.Py_ssize_t, left: cython.bint) -> cython.int:
        key: bytes = self._copy(start + self._numbers[at + 6], self._numbers[at + 7])
        entry: Entry = db.entries.get(key)
        if entry is None or entry.kind != LIST or entry.expire_ms:
            return 0
        items = entry.value
        self._put_bulk(items.popleft() if left else items.pop())
        if not items:
            db.remove(key)
        return 1

    def _sadd_or_not(self, run: Run, db: Database, at: cython.Py_ssize_t, start: cython.Py_ssize_t) -> int:
        """SADD that adds nothing has no effect to record."""
        added: cython.int = self._sadd(db, at, start)
        if added < 0:
            return 0
        if added > 0:
            self._effect(run, db, at)
        self._put_number(58, added)
        return 1

    @cython.cfunc
    @cython.exceptval(-2)
    def _sadd(self, db: Database, at: cython.Py_ssize_t, start: cython.Py_ssize_t) -> cython.int:
        """How many were new; -1: the handler has to."""
        key: bytes = self._copy(start + self._numbers[at + 6], self._numbers[at + 7])
        entry: Entry = db.entries.get(key)
        slot: cython.Py_ssize_t
        added: cython.int = 0
        if entry is None:
            entry = db.put(key, SET, Members())
        elif entry.kind != SET or entry.expire_ms:
            return -1
        members: Members = entry.value
        for slot in range(at + 8, at + 4 + 2 * self._numbers[at + 1], 2):
            added += members.add(self._copy(start + self._numbers[slot], self._numbers[slot + 1]))
        return added

    @cython.cfunc
    @cython.exceptval(-1)
    def _zadd(self, run: Run, db: Database, at: cython.Py_ssize_t, start: cython.Py_ssize_t) -> cython.int:
        """One member with a score of at most 15 digits, without exponent."""
        here: cython.Py_ssize_t = start + self._numbers[at + 8]
        end: cython.Py_ssize_t = here + self._numbers[at + 9]
        mantissa: cython.longlong = 0
        digits: cython.int = 0
        scale: cython.double = 1.0
        pointed: cython.bint = False
        byte: cython.int
        negative: cython.bint = here < end and self._data[here] == 45
        score: cython.double
        if negative:
            here += 1
        if end - here > SCORE_DIGITS_MAX + 1:
            return 0
        while here < end:
            byte = self._data[here]
            here += 1
            if 48 <= byte <= 57:
                mantissa = mantissa * 10 + (byte - 48)
                digits += 1
                if pointed:
                    scale *= 10.0
            elif byte == 46 and not pointed and digits:
                pointed = True
            else:
                return 0
        if digits == 0 or digits > SCORE_DIGITS_MAX:
            return 0
        score = mantissa / scale
        if negative:
            score = -score
        entry: Entry = db.entries.get(self._copy(start + self._numbers[at + 6], self._numbers[at + 7]))
        if entry is None or entry.kind != ZSET or entry.expire_ms:
            return 0
        ranking: Ranking = entry.value
        change: cython.int = ranking.put(self._copy(start + self._numbers[at + 10], self._numbers[at + 11]), score)
        if change:
            self._effect(run, db, at)
        self._put(b":1\r\n" if change == 2 else b":0\r\n")
        return 1

    @cython.cfunc
    @cython.exceptval(-1)
    def _xadd(self, run: Run, db: Database, at: cython.Py_ssize_t, start: cython.Py_ssize_t) -> cython.int:
        """``XADD key * field value ...`` into a stream that is there."""
        word: cython.Py_ssize_t = start + self._numbers[at + 8]
        if self._numbers[at + 9] != 1 or self._data[word] != 42:
            return 0
        entry: Entry = db.entries.get(self._copy(start + self._numbers[at + 6], self._numbers[at + 7]))
        if entry is None or entry.kind != STREAM or entry.expire_ms:
            return 0
        log: Log = entry.value
        last: tuple = log.last
        if last[0] >= INTEGER_MAX or last[1] >= INTEGER_MAX:
            return 0
        milliseconds: cython.longlong = last[0]
        sequence: cython.longlong = last[1]
        if milliseconds < self._now():
            milliseconds = self._now()
            sequence = 0
        else:
            sequence += 1
        id = (milliseconds, sequence)
        end: cython.Py_ssize_t = run.origin + self._numbers[at + 3]
        rest: bytes = self._copy(word + 3, end - word - 3)
        if self._numbers[at + 1] == 5:
            log.append(id, b"*2\r\n" + rest)
        else:
            log.append(id, b"*%d\r\n%b" % (self._numbers[at + 1] - 3, rest))
        text: bytes = self._id_text(milliseconds, sequence)
        if not self._volatile:
            head: cython.Py_ssize_t = start + self._numbers[at + 4] + self._numbers[at + 5] + 2
            key_bulk: bytes = self._copy(head, start + self._numbers[at + 6] + self._numbers[at + 7] + 2 - head)
            self.add(
                db.label,
                b"*%d\r\n$4\r\nXADD\r\n%b$%d\r\n%b\r\n%b" % (self._numbers[at + 1], key_bulk, len(text), text, rest),
            )
        self._put_bulk(text)
        return 1

    @cython.cfunc
    def _id_text(self, milliseconds: cython.longlong, sequence: cython.longlong) -> bytes:
        """``5-1``; both are not negative."""
        if not cython.compiled:
            return b"%d-%d" % (milliseconds, sequence)
        digits: cython.uchar[48]
        at: cython.Py_ssize_t = 48
        while True:
            at -= 1
            digits[at] = 48 + sequence % 10  # noqa: F821
            sequence //= 10
            if sequence == 0:
                break
        at -= 1
        digits[at] = 45  # noqa: F821
        while True:
            at -= 1
            digits[at] = 48 + milliseconds % 10  # noqa: F821
            milliseconds //= 10
            if milliseconds == 0:
                break
        return PyBytes_FromStringAndSize(
            cython.cast(cython.p_char, cython.cast(cython.p_void, cython.address(digits[at]))),  # noqa: F821
            48 - at,
        )

    @cython.cfunc
    @cython.exceptval(-1)
    def _hset(self, db: Database, at: cython.Py_ssize_t, start: cython.Py_ssize_t) -> cython.int:
        key: bytes = self._copy(start + self._numbers[at + 6], self._numbers[at + 7])
        entry: Entry = db.entries.get(key)
        slot: cython.Py_ssize_t
        if entry is None:
            entry = db.put(key, HASH, {})
        elif entry.kind != HASH or entry.expire_ms:
            return 0
        fields: dict = entry.value
        before: cython.Py_ssize_t = len(fields)
        for slot in range(at + 8, at + 4 + 2 * self._numbers[at + 1], 4):
            field: bytes = self._copy(start + self._numbers[slot], self._numbers[slot + 1])
            fields[field] = self._copy(start + self._numbers[slot + 2], self._numbers[slot + 3])
        self._put_number(58, len(fields) - before)
        return 1

    @cython.cfunc
    @cython.exceptval(-1)
    def _mget(self, db: Database, at: cython.Py_ssize_t, start: cython.Py_ssize_t) -> cython.int:
        argc: cython.Py_ssize_t = self._numbers[at + 1]
        entry: Entry
        slot: cython.Py_ssize_t
        if argc < 2:
            return 0
        self._put_number(42, argc - 1)
        for slot in range(at + 6, at + 4 + 2 * argc, 2):
            entry = db.entries.get(self._copy(start + self._numbers[slot], self._numbers[slot + 1]))
            if entry is None or entry.kind > NUMBER or (entry.expire_ms and entry.expire_ms <= self._now()):
                self._put(b"$-1\r\n")
            elif entry.kind == STRING:
                self._put(entry.value)
            else:
                self._put_bulk(b"%d" % entry.number)
        return 1

    @cython.cfunc
    @cython.exceptval(-1)
    def _lrange(self, db: Database, at: cython.Py_ssize_t, start: cython.Py_ssize_t) -> cython.int:
        """From the head only: ``LRANGE key 0 n``, where n has at most six digits."""
        entry: Entry = db.entries.get(self._copy(start + self._numbers[at + 6], self._numbers[at + 7]))
        if entry is None or entry.kind != LIST or entry.expire_ms:
            return 0
        first: bytes = self._copy(start + self._numbers[at + 8], self._numbers[at + 9])
        last: bytes = self._copy(start + self._numbers[at + 10], self._numbers[at + 11])
        if first != b"0" or len(last) > 6 or not last.isdigit() or (len(last) > 1 and last.startswith(b"0")):
            return 0
        left: cython.Py_ssize_t = min(int(last) + 1, len(entry.value))
        self._put_number(42, left)
        for item in entry.value:
            if left == 0:
                break
            self._put_bulk(item)
            left -= 1
        return 1
