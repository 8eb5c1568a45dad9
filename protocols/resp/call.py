"""One command being executed: what its handler may see and do.

A handler is a function ``(call, words) -> bytes``: the encoded reply. It finds keys by ``call.find`` and its kin, changes
what it found, and says so by ``call.changed(key)``. What it recorded nothing about did not happen: the words themselves
are the effect, unless the handler says another one by ``call.effect`` (absolute times, chosen members, explicit ids).

Live and on replay the same handlers run, so that the same state comes out. On replay there is no clock: a key whose time
has come is there until the DEL that the live run recorded before it touched it.

Errors are raised (``CommandError``) before anything is changed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from protocols.resp.errors import DB_RANGE, WRONG_TYPE, CommandError
from protocols.resp.state import HASH, LIST, NUMBER, SET, STRING, ZSET, Database, Entry, Members
from protocols.resp.wire import request

if TYPE_CHECKING:
    from protocols.resp.keyspace import Keyspace
    from protocols.resp.state import Ranking

DATABASES = 16
CHANNEL, PATTERN, SHARD = b"channel", b"pattern", b"shard"
"""What a connection may be subscribed to."""


class Later:
    """A reply that is still to come: it keeps its place among those of its run. Filled exactly once."""

    __slots__ = ("commit", "reply", "whole")

    def __init__(self) -> None:
        self.reply: bytes | None = None
        self.commit = 0
        self.whole: Any = None

    def fill(self, reply: bytes, commit: int = 0) -> None:
        self.reply = reply
        self.commit = commit
        if self.whole is not None:
            self.whole.filled()


class Block:
    """Answered by a handler that would have to wait: for these keys, at most until ``deadline_ms`` (0: for ever)."""

    __slots__ = ("deadline_ms", "keys", "reply", "streams", "words")

    def __init__(self, keys: list[bytes], deadline_ms: int, reply: bytes, words: list[bytes]) -> None:
        self.keys = keys
        self.deadline_ms = deadline_ms
        self.reply = reply
        self.words = words
        self.streams: list[tuple[Any, bytes]] = []  # topics among the keys: (name, topic id), key


class Client:
    """What the executor knows of one connection that called."""

    __slots__ = (
        "address",
        "all",
        "created_ms",
        "db",
        "dirty",
        "id",
        "killed",
        "last",
        "library",
        "library_version",
        "name",
        "protocol",
        "session",
        "subscribed",
        "user",
        "waiter",
        "watches",
    )

    def __init__(self, id: int, session: object, created_ms: int) -> None:
        self.id = id
        self.session = session
        self.created_ms = created_ms
        self.name = b""
        self.library = b""
        self.library_version = b""
        self.address = b"?:0"
        self.db = 0
        self.protocol = 2
        self.last = "NULL"
        self.user = b"default"
        self.all = True
        self.killed = False  # its next request closes it
        self.dirty = False  # a watched key was changed
        self.waiter: Any = None  # its blocked command
        self.watches: dict[tuple[bytes, bytes], tuple[Database, bool]] = {}  # by label and key; whether it was there
        self.subscribed: set[tuple[bytes, bytes]] = set()


class Call:
    """The context of one command. Reused: ``begin`` makes it new."""

    def __init__(self, keyspace: Keyspace) -> None:
        self.keyspace = keyspace
        self.databases: list[Database] = []
        self.db: Database = Database(0, b"0")
        self.client: Client = Client(0, None, 0)
        self.account: Any = None
        self.now_ms = 0
        self.protocol = 2
        self.replaying = False
        self.may_block = False
        self.in_transaction = False
        self.elsewhere = False  # another database than this one may have got an expiry
        self.internal = False  # a session's own words, not its peer's
        self.writing = False
        self.dirty = 0
        self.before: list[tuple[bytes, bytes]] = []  # DELs of what had expired: (label of the database, effect)
        self.effects: list[bytes] | None = None
        self.commit = 0  # what the reply must wait for, whatever appendfsync says
        self.name = ""

    def begin(self, writing: bool, name: str) -> None:
        self.writing = writing
        self.name = name
        self.dirty = 0
        self.effects = None

    # finding

    def find(self, key: bytes) -> Entry | None:
        """The entry of a key, unless its time has come."""
        return self.find_in(self.db, key)

    def find_in(self, db: Database, key: bytes) -> Entry | None:
        entry: Entry | None = db.entries.get(key)
        if entry is None:
            if not self.writing and self.keyspace.events:
                self.event(b"keymiss", key, db)
            return None
        return self._unexpired(entry, db) if entry.expire_ms else entry

    def _unexpired(self, entry: Entry, db: Database) -> Entry | None:
        if self.replaying or entry.expire_ms > self.now_ms:
            return entry
        if self.writing:
            self.before.append((db.label, request(b"DEL", entry.key)))
            self.keyspace.count_expired()
            db.remove(entry.key)
            db.touch(entry.key)
            self.event(b"expired", entry.key, db)
        return None

    def find_text(self, key: bytes) -> bytes | None:
        """A string's bytes; None where there is no key."""
        entry = self.find(key)
        if entry is None:
            return None
        if entry.kind > NUMBER:
            raise CommandError(WRONG_TYPE)
        return entry.text()

    def find_string(self, key: bytes) -> Entry | None:
        entry = self.find(key)
        if entry is not None and entry.kind > NUMBER:
            raise CommandError(WRONG_TYPE)
        return entry

    def find_kind(self, key: bytes, kind: int) -> Any:
        """The value of a key of this kind; None where there is no key."""
        entry = self.find(key)
        if entry is None:
            return None
        if entry.kind != kind:
            raise CommandError(WRONG_TYPE)
        return entry.value

    def find_hash(self, key: bytes) -> dict[bytes, bytes] | None:
        found: dict[bytes, bytes] | None = self.find_kind(key, HASH)
        return found

    def find_list(self, key: bytes) -> deque[bytes] | None:
        found: deque[bytes] | None = self.find_kind(key, LIST)
        return found

    def find_set(self, key: bytes) -> Members | None:
        found: Members | None = self.find_kind(key, SET)
        return found

    def find_zset(self, key: bytes) -> Ranking | None:
        found: Ranking | None = self.find_kind(key, ZSET)
        return found

    def make(self, key: bytes, kind: int, value: Any) -> Any:
        """Put a new value under a key that is not there."""
        self.put(key, kind, value)
        return value

    def put(self, key: bytes, kind: int, value: Any) -> Entry:
        """As ``Database.put``; a key that is new is told."""
        if self.keyspace.events and key not in self.db.entries:
            self.event(b"new", key)
        entry: Entry = self.db.put(key, kind, value)
        return entry

    # changing

    def changed(self, key: bytes, count: int = 1, db: Database | None = None) -> None:
        """This key is not what it was: ``count`` of its elements changed."""
        self.dirty += count
        db = db or self.db
        if db.watched:
            db.touch(key)
        if db.blocked and key in db.blocked:
            self.keyspace.ready(db, key)

    def put_text(self, key: bytes, text: bytes) -> Entry:
        """Set a string; an expiry stays as it is."""
        return self.put(key, STRING, b"$%d\r\n%b\r\n" % (len(text), text))

    def replace(self, key: bytes, kind: int, value: Any) -> Entry:
        """Put a value whatever was there, without an expiry."""
        entry = self.put(key, kind, value)
        self.db.set_expire(entry, 0)
        return entry

    def drop(self, key: bytes) -> None:
        """Remove a key (its last element is gone, or it is deleted)."""
        self.db.remove(key)

    def event(self, event: bytes, key: bytes, db: Database | None = None) -> None:
        """Tell this of a key to whoever asked for such notifications."""
        if self.keyspace.events and not self.replaying:
            self.keyspace.notifier.tell(self.account, (db or self.db).number, event, key)

    def removed(self, key: bytes, event: bytes, empty: bool) -> None:
        """Tell that elements were taken out of a collection, and that it is gone where it is empty now."""
        if self.keyspace.events:
            self.event(event, key)
            if empty:
                self.event(b"del", key)

    def effect(self, *words: bytes) -> None:
        """What is recorded in place of the client's words; may be said several times. Only counts if something changed."""
        if self.replaying:
            return
        if self.effects is None:
            self.effects = []
        self.effects.append(request(*words))

    def database(self, number: int) -> Database:
        if not 0 <= number < DATABASES:
            raise CommandError(DB_RANGE)
        return self.databases[number]

    # others

    def random(self) -> int:
        """64 random bits. Whatever depends on them must be recorded as chosen."""
        return self.keyspace.random()

    def pick(self, below: int) -> int:
        return self.random() % below
