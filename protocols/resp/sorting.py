"""SORT and SORT_RO: the elements of a list, set or sorted set by number or by bytes, by themselves or by other keys.

Effects: SORT STORE in the client's words (what it reads is the keyspace itself).
Deviations: ALPHA compares bytes, whatever the locale.
"""

from __future__ import annotations

from collections import deque

from protocols.resp.call import Call
from protocols.resp.errors import SYNTAX, WRONG_TYPE, CommandError
from protocols.resp.numbers import find_float, integer_of
from protocols.resp.state import HASH, LIST, NUMBER, SET, ZSET
from protocols.resp.table import Handlers
from protocols.resp.wire import ZERO, array_of, bulk, integer, null


class Sorting:
    """The options of one SORT."""

    def __init__(self) -> None:
        self.by: bytes | None = None
        self.start, self.count = 0, -1
        self.gets: list[bytes] = []
        self.descending = self.alpha = False
        self.target: bytes | None = None

    def read(self, words: list[bytes], may_store: bool) -> None:
        """
        Raises:
            CommandError: a word that is none of its own, a LIMIT that is not numbers.
        """
        at = 2
        while at < len(words):
            option = words[at].upper()
            left = len(words) - at - 1
            if option in (b"ASC", b"DESC"):
                self.descending = option == b"DESC"
            elif option == b"ALPHA":
                self.alpha = True
            elif option == b"LIMIT" and left >= 2:
                self.start, self.count = integer_of(words[at + 1]), integer_of(words[at + 2])
                at += 2
            elif option == b"STORE" and left >= 1 and may_store:
                self.target = words[at + 1]
                at += 1
            elif option == b"BY" and left >= 1:
                self.by = words[at + 1]
                at += 1
            elif option == b"GET" and left >= 1:
                self.gets.append(words[at + 1])
                at += 1
            else:
                raise CommandError(SYNTAX)
            at += 1

    @property
    def unsorted(self) -> bool:
        return self.by is not None and b"*" not in self.by


def looked_up(call: Call, pattern: bytes, element: bytes) -> bytes | None:
    """What a pattern of BY or GET names for an element: ``#`` itself, ``w_*`` a string, ``w_*->f`` a field of a hash."""
    if pattern == b"#":
        return element
    head, star, tail = pattern.partition(b"*")
    if not star:
        return None
    field: bytes | None = None
    if b"->" in tail and not tail.endswith(b"->"):
        before, _, field = tail.partition(b"->")
        tail = before
    entry = call.find(head + element + tail)
    if entry is None:
        return None
    if field is not None:
        found: bytes | None = entry.value.get(field) if entry.kind == HASH else None
        return found
    return entry.text() if entry.kind <= NUMBER else None


def elements_of(call: Call, key: bytes, sorting: Sorting) -> list[bytes]:
    """What there is to sort, in the order in which it stands.

    Raises:
        CommandError: neither list, set nor sorted set.
    """
    entry = call.find(key)
    if entry is None:
        return []
    if entry.kind == SET:
        return list(entry.value.items)
    if entry.kind not in (LIST, ZSET):
        raise CommandError(WRONG_TYPE)
    members = list(entry.value) if entry.kind == LIST else [member for _, member in entry.value.order]
    return members[::-1] if sorting.unsorted and sorting.descending else members


def sort(call: Call, words: list[bytes]) -> bytes:
    sorting = Sorting()
    sorting.read(words, call.name == "sort")
    elements = elements_of(call, words[1], sorting)
    entry = call.find(words[1])
    by = sorting.by
    if sorting.unsorted and entry is not None and entry.kind == SET and sorting.target is not None:
        by, sorting.alpha = None, True  # a stored result must not depend on a set's order
    if by is None or b"*" in by:
        elements = arranged(call, elements, by, sorting)
    start = max(sorting.start, 0)
    end = len(elements) if sorting.count < 0 else start + sorting.count
    elements = elements[start:end]
    values: list[bytes | None] = list(elements)
    if sorting.gets:
        values = [looked_up(call, pattern, element) for element in elements for pattern in sorting.gets]
    if sorting.target is None:
        return array_of([null(call.protocol) if value is None else bulk(value) for value in values])
    return stored(call, sorting.target, [value or b"" for value in values])


def arranged(call: Call, elements: list[bytes], by: bytes | None, sorting: Sorting) -> list[bytes]:
    weights = [element if by is None else looked_up(call, by, element) for element in elements]
    if sorting.alpha:
        keyed = [
            ((weight is not None, weight or b""), element) for weight, element in zip(weights, elements, strict=True)
        ]
        keyed.sort(key=lambda pair: pair[0], reverse=sorting.descending)
        return [element for _, element in keyed]
    numbers = []
    for weight, element in zip(weights, elements, strict=True):
        number = 0.0 if not weight else find_float(weight)
        if number is None:
            raise CommandError("ERR One or more scores can't be converted into double")
        numbers.append((number, element))
    numbers.sort(reverse=sorting.descending)
    return [element for _, element in numbers]


def stored(call: Call, key: bytes, values: list[bytes]) -> bytes:
    if values:
        call.replace(key, LIST, deque(values))
        call.changed(key, len(values))
        call.event(b"sortstore", key)
    elif call.find(key) is not None:
        call.drop(key)
        call.changed(key)
        call.event(b"del", key)
    else:
        return ZERO
    return integer(len(values))


HANDLERS: Handlers = {"sort": sort, "sort_ro": sort}
