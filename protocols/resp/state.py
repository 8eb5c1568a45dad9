# cython: language_level=3
"""The keyspace's state: what a database holds. No command, no clock, no effect.

An ``Entry`` is one key. Its ``kind`` says what ``value`` is:

    STRING   the bulk as it goes out (``$3\\r\\nabc\\r\\n``), so that GET is one copy
    NUMBER   nothing: the string is ``number`` in decimal (INCR makes no object)
    LIST     deque of bytes
    SET      Members
    HASH     dict of bytes to bytes
    ZSET     Ranking
    STREAM   Log
    SHARED   topics.Shared: the stream is a topic's

``Database.order`` holds every entry at its ``place``; a removed one is replaced by the last. A walk from the end
downwards therefore sees every entry that is there all the time, whatever is added and removed meanwhile: SCAN's promise.
``Members`` keeps sets the same way, so that a random member costs no search and no order depends on a hash seed.

``heap`` holds (expire_ms, key) for every time that was set; an entry of it counts while the key still has that time.
``next_ms`` is when the keyspace looks again; ``earlier`` says that something is due before what it knew.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from typing import Any

import cython
from sortedcontainers import SortedList

COMPACT_ENTRIES = 512
STRING = 1
NUMBER = 2
LIST = 3
SET = 4
HASH = 5
ZSET = 6
STREAM = 7
SHARED = 8


@cython.no_gc
@cython.cclass
class Entry:
    """One key. It never refers back to what holds it, so the collector need not look at a million of them."""

    def __init__(self, key: bytes, kind: cython.int, value: Any) -> None:
        self.key = key
        self.kind = kind
        self.value = value
        self.number = 0
        self.expire_ms = 0
        self.place = 0

    def text(self) -> bytes:
        """The string's bytes; only for STRING and NUMBER."""
        if self.kind == NUMBER:
            return b"%d" % self.number
        data: bytes = self.value
        at: cython.Py_ssize_t = data.index(b"\n") + 1
        return data[at : len(data) - 2]

    def set_text(self, text: bytes) -> None:
        self.kind = STRING
        self.value = b"$%d\r\n%b\r\n" % (len(text), text)


@cython.cclass
class Database:
    """One of the numbered databases. ``label`` is its name in the records of the state stream."""

    def __init__(self, number: cython.int, label: bytes) -> None:
        self.number = number
        self.label = label
        self.entries = {}
        self.order = []
        self.heap = []
        self.expiring = 0
        self.next_ms = 0
        self.earlier = False
        self.watched = {}
        self.blocked = {}

    @cython.ccall
    def put(self, key: bytes, kind: cython.int, value: Any) -> Entry:
        """The entry of this key, made where there is none, now of this kind and value. Its expiry stays as it is."""
        entry: Entry = self.entries.get(key)
        if entry is None:
            entry = Entry(key, kind, value)
            entry.place = len(self.order)
            self.order.append(entry)
            self.entries[key] = entry
        else:
            entry.kind = kind
            entry.value = value
        return entry

    @cython.ccall
    def remove(self, key: bytes) -> cython.bint:
        """Whether it was there."""
        entry: Entry = self.entries.pop(key, None)
        if entry is None:
            return False
        if entry.expire_ms:
            self.expiring -= 1
        last: Entry = self.order.pop()
        if last is not entry:
            last.place = entry.place
            self.order[entry.place] = last
        return True

    @cython.ccall
    def touch(self, key: bytes):
        """The key was changed: transactions that watch it will not happen."""
        if self.watched:
            for client in self.watched.get(key, ()):
                client.dirty = True

    @cython.ccall
    def set_expire(self, entry: Entry, expire_ms: cython.longlong):
        """``expire_ms`` 0: it stays for ever."""
        if entry.expire_ms == expire_ms:
            return
        if entry.expire_ms == 0:
            self.expiring += 1
        elif expire_ms == 0:
            self.expiring -= 1
        entry.expire_ms = expire_ms
        if expire_ms:
            heapq.heappush(self.heap, (expire_ms, entry.key))
            if self.next_ms == 0 or expire_ms < self.next_ms:
                self.next_ms = expire_ms
                self.earlier = True
            if len(self.heap) > 64 + 2 * self.expiring:
                self._rebuild_heap()

    def _rebuild_heap(self) -> None:
        """Only what still counts, each once: the cost is that of the heap, not of the database."""
        entry: Entry
        kept: set = set()
        for expire_ms, key in self.heap:
            entry = self.entries.get(key)
            if entry is not None and entry.expire_ms == expire_ms:
                kept.add((expire_ms, key))
        self.heap = list(kept)
        heapq.heapify(self.heap)

    def due(self, now_ms: cython.longlong, count: int) -> list:
        """At most ``count`` keys whose time has come; they stay in the heap until they are gone or have another time."""
        found: list = []
        entry: Entry
        while self.heap and len(found) < count:
            expire_ms, key = self.heap[0]
            if expire_ms > now_ms:
                break
            heapq.heappop(self.heap)
            entry = self.entries.get(key)
            if entry is not None and entry.expire_ms == expire_ms:
                found.append(key)
        return found

    def next_due(self) -> int:
        """When something may be due, in unix ms; 0: never. It is known from here on."""
        self.earlier = False
        self.next_ms = 0
        entry: Entry
        while self.heap:
            expire_ms, key = self.heap[0]
            entry = self.entries.get(key)
            if entry is not None and entry.expire_ms == expire_ms:
                self.next_ms = expire_ms
                break
            heapq.heappop(self.heap)
        return self.next_ms

    def clear(self) -> None:
        for key in list(self.watched):
            if key in self.entries:
                self.touch(key)
        self.entries = {}
        self.order = []
        self.heap = []
        self.expiring = 0

    def swap(self, other: Database) -> None:
        """Exchange what two databases hold; watchers of a key that is in either are told."""
        for key in set(self.watched) | set(other.watched):
            if key in self.entries or key in other.entries:
                self.touch(key)
                other.touch(key)
        self.entries, other.entries = other.entries, self.entries
        self.order, other.order = other.order, self.order
        self.heap, other.heap = other.heap, self.heap
        self.expiring, other.expiring = other.expiring, self.expiring
        self.next_ms = other.next_ms = 0
        self.earlier = other.earlier = True


@cython.cclass
class Members:
    """A set of bytes with an order that depends on its history alone, and O(1) access by index."""

    def __init__(self, members: object = ()) -> None:
        self.places = {}
        self.items = []
        for member in members:
            self.add(member)

    @cython.ccall
    def add(self, member: bytes) -> cython.bint:
        """Whether it is new."""
        if member in self.places:
            return False
        self.places[member] = len(self.items)
        self.items.append(member)
        return True

    @cython.ccall
    def discard(self, member: bytes) -> cython.bint:
        """Whether it was there."""
        place = self.places.pop(member, None)
        if place is None:
            return False
        last = self.items.pop()
        if last is not member and last != member:
            self.items[place] = last
            self.places[last] = place
        return True

    def __contains__(self, member: object) -> bool:
        return member in self.places

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> object:
        return iter(self.items)


@cython.cclass
class Ranking:
    """Members by score, then by bytes. ``scores`` keeps the order of its history for random choice and scans.

    The order by score is made when it is asked for: until then ``_changed`` holds the members that changed since, with the
    score under which the order still has them (None: it has not).
    """

    def __init__(self, pairs: object = ()) -> None:
        self.scores = {}
        self._changed = {}
        for score, member in pairs:
            self.scores[member] = score
        self._order = SortedList([(score, member) for member, score in self.scores.items()])

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def order(self) -> Any:
        """Sorted (score, member). Valid until the next change."""
        if self._changed:
            self._arrange()
        return self._order

    def _arrange(self) -> None:
        changed: dict = self._changed
        self._changed = {}
        if len(changed) > 64 and len(changed) * 8 > len(self.scores):
            self._order = SortedList([(score, member) for member, score in self.scores.items()])
            return
        for member, old in changed.items():
            new = self.scores.get(member)
            if new == old:
                continue
            if old is not None:
                self._order.remove((old, member))
            if new is not None:
                self._order.add((new, member))

    @cython.ccall
    @cython.exceptval(-1)
    def put(self, member: bytes, score: cython.double) -> cython.int:
        """2: it is new; 1: it has another score than before; 0: nothing changed."""
        old = self.scores.get(member)
        if old is None:
            self._changed.setdefault(member, None)
            self.scores[member] = score
            return 2
        if cython.cast(cython.double, old) == score:
            return 0
        self._changed.setdefault(member, old)
        self.scores[member] = score
        return 1

    def discard(self, member: bytes) -> bool:
        score = self.scores.pop(member, None)
        if score is None:
            return False
        self._changed.setdefault(member, score)
        return True

    def copied(self) -> Ranking:
        copy = Ranking()
        copy.scores = dict(self.scores)
        copy._order = SortedList(self.order)
        return copy


@cython.cclass
class Log:
    """Entries of a stream by id; the fields and values of each as the array that replies give. Trimmed ones stay as a gap at the head until they are half of it."""

    def __init__(self) -> None:
        self.ids = []
        self.fields = []
        self.head = 0
        self.last = (0, 0)
        self.added = 0
        self.max_deleted = (0, 0)
        self.groups = {}

    def __len__(self) -> int:
        return len(self.ids) - self.head

    @cython.ccall
    def append(self, id: tuple, fields: bytes):
        self.ids.append(id)
        self.fields.append(fields)
        self.last = id
        self.added += 1

    def span(self, start: tuple, end: tuple) -> tuple:
        """Indices of the entries from ``start`` to ``end``, both included."""
        return bisect_left(self.ids, start, self.head), bisect_right(self.ids, end, self.head)

    def behead(self, count: int) -> None:
        """Remove the oldest."""
        for at in range(self.head, self.head + count):
            self.fields[at] = b""
        self.head += count
        if self.head > COMPACT_ENTRIES and self.head * 2 > len(self.ids):
            del self.ids[: self.head]
            del self.fields[: self.head]
            self.head = 0

    def place(self, id: tuple) -> int:
        """The index of an entry; -1: it is not there."""
        at: cython.Py_ssize_t = bisect_left(self.ids, id, self.head)
        return at if at < len(self.ids) and self.ids[at] == id else -1

    def delete(self, id: tuple) -> bool:
        at: cython.Py_ssize_t = self.place(id)
        if at < 0:
            return False
        if at == self.head:
            self.behead(1)
        else:
            del self.ids[at]
            del self.fields[at]
        self.max_deleted = max(self.max_deleted, id)
        return True

    def copied(self) -> Log:
        copy = Log()
        copy.ids, copy.fields = self.ids[self.head :], self.fields[self.head :]
        copy.last, copy.added, copy.max_deleted = self.last, self.added, self.max_deleted
        copy.groups = {name: group.copied() for name, group in self.groups.items()}
        return copy
