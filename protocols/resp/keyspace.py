"""The keyspace: the executor ``resp``, one owner of all databases of all accounts.

A request is a ``wire.Run``: requests of one connection, run one after another with nothing in between. What they changed
is recorded in ``_thalweg/resp`` as *effects*, requests that make the same change whenever they are run: with absolute
times, chosen members, explicit ids. A record's key names its database: its number, for another account than the default
one with ``@account`` behind it. ``apply`` runs effects by the very handlers that made them, without a clock.

What expires is masked by the clock for readers; it goes when a command that writes meets it, or when it is due: each time
by a DEL that is recorded. Nothing else depends on the clock.

``appendfsync``: ``always``: a reply waits until what it depends on is durable, reads included. ``everysec`` and ``no``:
replies wait for nothing, the state stream is synced each second or left to the system.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from protocols.api import Called, World
from protocols.resp.call import DATABASES, Block, Call, Client, Later
from protocols.resp.catalogue import CATALOGUE
from protocols.resp.dispatch import Dispatcher
from protocols.resp.errors import CommandError, wrong_arity
from protocols.resp.notify import KEYEVENT, KEYSPACE, Notifier, flags_of
from protocols.resp.scripting import Machine
from protocols.resp.server import DURABILITIES
from protocols.resp.snapshot import dump, make, requests_of
from protocols.resp.state import Database, Log
from protocols.resp.transactions import forget
from protocols.resp.waiting import Waiting
from protocols.resp.wire import COMPLETE, Run, error, request, words_of
from substrate.api import DEFAULT_ACCOUNT, Account, Answer, Record, Route, Tail

if TYPE_CHECKING:
    from protocols.resp.session import Settings

CLOSE = -1
"""In the place of a database's number: the session closes."""
EXPIRED_PER_TICK = 2000
EXPIRE_AGAIN_NS = 2_000_000


class Keyspace:
    """See ``protocols.api.Executor``. Invariant: without waiting clients, the state is what a replay of the effects makes."""

    name = "resp"
    version = 1
    world: World

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.appendfsync = settings.appendfsync
        self.remembered: dict[str, tuple[str, str]] = {}
        self.catalogue = CATALOGUE
        self.spaces: dict[Account, list[Database]] = {}
        self.clients: dict[object, Client] = {}
        self.clients_total = 0
        self.subscribers: dict[tuple[bytes, bytes], int] = {}
        self.paused_until_ms = 0
        self.paused_all = False
        self.held: list[tuple[Run, int, object]] = []
        """Runs that wait for the end of CLIENT PAUSE, in their order."""
        self.active_expire = True
        self.described: dict[tuple[bytes, int], bytes] = {}
        """COMMAND's large replies, by protocol: see ``describing.py``."""
        self.known_commands: dict[bytes, Any] = {}
        self.routes: dict[tuple[Account, bytes], Route] = {}
        self.started_ms = 0
        self.run_id = "0" * 40
        self.expired_keys = 0
        self.error_replies = 0
        self.always = settings.appendfsync == "always"
        self.notifier = Notifier(self)
        self.events = 0
        """Classes of events that are asked for; 0: nothing is told."""
        self.last_commit = 0
        self.call = Call(self)
        self._labels: dict[bytes, Database] = {}
        self.dispatcher = Dispatcher(self)
        self.dispatcher.always = self.always
        self.set_events(flags_of(settings.notify_keyspace_events) or 0)
        self.execute: Callable[[object, int, object], Called | None] = self.dispatcher.execute
        self.waiting = Waiting(self)
        self._machine: Machine | None = None
        self._replayed = Run()
        self._expected: dict[int, Callable[[object], None]] = {}
        self._next_token = 1

    # the executor's side

    def start(self, world: World) -> None:
        self.world = world
        self.started_ms = world.now_ns // 1_000_000
        self.run_id = "".join(f"{world.random() & 0xFFFFFFFF:08x}" for _ in range(5))
        self.dispatcher.begin(world)
        if self.appendfsync != self.settings.appendfsync:  # by CONFIG SET, before this start
            world.durability(DURABILITIES[self.appendfsync])
        self.plan_expiry()

    def apply(self, record: Record) -> None:
        db = self.database(record.key or b"0")
        value = record.value or b""
        run = self._replayed
        if run.cut(value, 0, len(value)) == COMPLETE and run.count == 1 and self.dispatcher.replay(run, db):
            run.release()
            return
        run.release()
        call = self.call
        call.databases = self.databases(self.account_of(db.label))
        call.db = db
        call.replaying = True
        call.now_ms = 0
        try:
            reply = self.perform(call, words_of(value))
            assert not isinstance(reply, bytes) or not reply.startswith(b"-"), f"{record.position}: {reply!r}"
        finally:
            call.replaying = False
            call.before.clear()

    def meet(self, session: object, run: Run) -> Client:
        self.clients_total += 1
        client = Client(self.clients_total, session, self.world.now_ns // 1_000_000)
        client.address = run.peer
        client.user, client.all = run.user, run.all
        self.clients[session] = client
        return client

    # what is out of the ordinary: CLIENT KILL, CLIENT PAUSE

    def kill(self, clients: list[Client]) -> None:
        """Their next requests close them; those that wait are closed now."""
        for client in clients:
            client.killed = True
            self.dispatcher.unusual = True
            if client.waiter is not None:
                self.waiting.end(client, None)

    def pause(self, until_ms: int, everything: bool) -> None:
        """Hold commands back (those that write, or all) until then."""
        self.paused_until_ms, self.paused_all = until_ms, everything
        self.dispatcher.unusual = True
        self.world.wake(max(until_ms * 1_000_000, self.world.now_ns + 1))

    def hold(self, run: Run, token: int, session: object, client: Client) -> object:
        """What to answer instead of executing: a closing, or nothing yet; the dispatcher itself: go on."""
        if client.killed:
            return Called((b"", CLOSE), 0)
        now_ms = self.world.now_ns // 1_000_000
        if any(session is one for _, _, one in self.held) or (now_ms < self.paused_until_ms and self._pausable(run)):
            self.held.append((run.copied(), token, session))
            return None
        if now_ms >= self.paused_until_ms and not self.held:
            self.dispatcher.unusual = any(client.killed for client in self.clients.values())
        return self.dispatcher

    def _pausable(self, run: Run) -> bool:
        if run.internal:
            return False
        if self.paused_all:
            return True
        at = 0
        for _ in range(run.count):
            words = run.arguments(at)
            found = self.catalogue.find(words)
            if not isinstance(found, str) and (found.writes or found.name in ("publish", "spublish")):
                return True
            at += 4 + 2 * len(words)
        return False

    def let_go(self) -> None:
        """Execute what was held back."""
        held, self.held = self.held, []
        self.paused_until_ms = 0
        for run, token, session in held:
            if session in self.clients:
                answer = self.dispatcher.execute(run, token, session)
                if answer is not None:
                    self.world.answer(token, answer.answer, answer.commit)

    def reload(self) -> None:
        """The state from its own dump (DEBUG RELOAD)."""
        self.load(self.dump())
        self.plan_expiry()

    def gone(self, session: object) -> None:
        client = self.clients.pop(session, None)
        if client is None:
            return
        forget(client)
        self.waiting.gone(client)
        if self.held:
            self.held = [one for one in self.held if one[2] is not session]
        for key in client.subscribed:
            self.subscribers[key] -= 1
            if not self.subscribers[key]:
                del self.subscribers[key]

    def answered(self, token: int, answer: Answer) -> None:
        then = self._expected.pop(token, None)
        if then is not None:
            then(answer)

    def expect(self, then: Callable[[object], None]) -> int:
        """A token for the world whose answer goes to ``then``, exactly once."""
        token = self._next_token
        self._next_token += 1
        self._expected[token] = then
        return token

    def tick(self, now_ns: int) -> None:
        if self.held and now_ns // 1_000_000 >= self.paused_until_ms:
            self.let_go()
        self.expire(now_ns // 1_000_000)
        self.waiting.expire(now_ns // 1_000_000)

    def dump(self) -> bytes:
        databases = [db for account in sorted(self.spaces) for db in self.spaces[account]]
        return dump(databases, self.remembered)

    def load(self, data: bytes) -> None:
        for databases in self.spaces.values():
            for held in databases:
                held.clear()
        db: Database | None = None
        for words in requests_of(data):
            if words[0] == b"_DB":
                db = self.database(words[1])
            elif words[0] == b"_CONFIG":
                self.remember(words[1].decode(), words[2].decode(), words[3].decode())
            else:
                assert db is not None, "a dump names a database before its first key"
                make(db, words)

    def machine(self) -> Machine:
        """What runs scripts."""
        if self._machine is None:
            self._machine = Machine(self)
        return self._machine

    def new_log(self) -> Log:
        return Log()

    # databases

    def databases(self, account: Account) -> list[Database]:
        """The sixteen databases of an account."""
        found = self.spaces.get(account)
        if found is None:
            suffix = b"" if account == DEFAULT_ACCOUNT else b"@" + account.encode()
            found = [Database(number, b"%d%b" % (number, suffix)) for number in range(DATABASES)]
            self.spaces[account] = found
            for db in found:
                self._labels[db.label] = db
        return found

    def database(self, label: bytes) -> Database:
        """By the key of a record."""
        found = self._labels.get(label)
        if found is None:
            self.databases(self.account_of(label))
            found = self._labels[label]
        return found

    def account_of(self, label: bytes) -> Account:
        _, at, name = label.partition(b"@")
        return Account(name.decode()) if at else DEFAULT_ACCOUNT

    # commands

    def perform(self, call: Call, words: list[bytes]) -> bytes | Later | Block:
        """Run one command: find it, check it, call its handler. Errors are replies."""
        found = self.catalogue.commands.get(words[0].upper())
        if found is None or found.name in ("command",):
            internal = self.catalogue.internal.get(words[0]) if call.internal or call.replaying else None
            looked_up = internal if internal is not None else self.catalogue.find(words)
            if isinstance(looked_up, str):
                call.dirty = 0
                return self.failed(looked_up)
            found = looked_up
        if not found.fits(len(words)):
            call.dirty = 0
            return self.failed(wrong_arity(found.name))
        call.begin(found.writes, found.name)
        call.client.last = found.name
        assert found.handler is not None, f"{found.name} is the session's own"
        try:
            reply: bytes | Later | Block = found.handler(call, words)
        except CommandError as refused:
            call.dirty = 0
            return self.failed(str(refused))
        return reply

    def failed(self, text: str) -> bytes:
        self.error_replies += 1
        return error(text)

    def record(self, call: Call, label: bytes, words: list[bytes]) -> None:
        """Record what a command did, in the order in which it happened."""
        add = self.dispatcher.add
        for where, effect in call.before:
            add(where, effect)
        call.before.clear()
        if call.dirty:
            for effect in call.effects if call.effects is not None else (request(*words),):
                add(label, effect)
        if self.always:
            self.dispatcher.flush_effects()
        if call.db.earlier:
            self.plan_expiry()

    def barrier(self, commit: int) -> int:
        """The commit that a reply of this turn has to wait for, given that of its own effects."""
        if not self.always:
            return 0
        if commit:
            return commit
        if not self.last_commit:
            return 0
        stream = getattr(self.world, "stream", None)
        if stream is None:
            return self.last_commit
        tails: list[object] = []
        self.world.query("tail", stream, self.expect(tails.append))
        if tails and isinstance(tails[0], Tail) and tails[0].durable >= tails[0].ordered:
            self.last_commit = 0
        return self.last_commit

    def ready(self, db: Database, key: bytes) -> None:
        """A key that clients wait for may have something."""
        self.waiting.ready(db, key)

    def configured(self, name: str) -> str:
        """What the configuration says of a parameter that CONFIG SET can change."""
        return str(getattr(self.settings, name.replace("-", "_")))

    def set_parameter(self, name: str, value: str) -> None:
        """From here on; the caller records it."""
        self.remember(name, value, self.configured(name))
        if name == "appendfsync":
            self.world.durability(DURABILITIES[value])

    def remember(self, name: str, value: str, configured: str) -> None:
        """Keep what was set; it counts while the configuration says what it said then."""
        self.remembered[name] = (value, configured)
        if configured != self.configured(name):
            value = self.configured(name)
        if name == "appendfsync":
            self.appendfsync = value
            self.always = self.dispatcher.always = value == "always"
        else:
            self.set_events(flags_of(value) or 0)

    def set_events(self, flags: int) -> None:
        """Which classes of notifications are told."""
        if not flags & (KEYSPACE | KEYEVENT):
            self.events = 0
        else:
            self.events = flags
        self.notifier.flags = flags
        self.dispatcher.observed = self.events != 0

    def random(self) -> int:
        return self.world.random()

    def count_expired(self) -> None:
        self.expired_keys += 1

    def reset_statistics(self) -> None:
        self.expired_keys = 0
        self.error_replies = 0
        self.clients_total = max([client.id for client in self.clients.values()], default=0)
        self.dispatcher.reset_statistics()

    # expiry

    def plan_expiry(self) -> None:
        """Be woken when the next key is due."""
        due = [at for databases in self.spaces.values() for db in databases if db.heap and (at := db.next_due())]
        if due:
            self.wake_at(min(due))

    _planned_ms = 0

    def wake_at(self, at_ms: int) -> None:
        now_ms = self.world.now_ns // 1_000_000
        if not self._planned_ms or at_ms < self._planned_ms or self._planned_ms <= now_ms:
            self._planned_ms = at_ms
            self.world.wake(max(at_ms * 1_000_000, self.world.now_ns + 1))

    def expire(self, now_ms: int) -> None:
        """Remove what is due, by recorded DELs; a bounded number at a time."""
        if self._planned_ms <= now_ms:
            self._planned_ms = 0
        if not self.active_expire:
            return
        left = EXPIRED_PER_TICK
        for account, databases in self.spaces.items():
            for db in databases:
                if not db.expiring or not left:
                    continue
                keys = db.due(now_ms, left)
                left -= len(keys)
                for key in keys:
                    db.remove(key)
                    db.touch(key)
                    self.count_expired()
                    self.dispatcher.add(db.label, request(b"DEL", key))
                    if self.events:
                        self.notifier.tell(account, db.number, b"expired", key)
        if left:
            self.plan_expiry()
        else:
            self.world.wake(self.world.now_ns + EXPIRE_AGAIN_NS)
