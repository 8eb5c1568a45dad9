"""Who wants which address: patterns, the trie that finds those that match, and the routes made of them.

Two kinds of pattern (DESIGN section 4): ``Tokens`` (NATS, MQTT; kept in a trie) and ``Glob`` (Redis; kept in a list).
In the text of a ``Tokens`` pattern a literal token is written as in an address, and

    %*  exactly one token      %>  one or more tokens, only last      %#  none or more tokens, only last

Neither can be a literal: a literal ``%`` is ``%25``. A leading wildcard never matches ``_thalweg``; with ``hides_dollar``
(MQTT 5.0 section 4.7.2) nor a first token that begins with ``$``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from substrate.api import RESERVED, Account, Address, Pattern, Route, Sink, StreamId, Topic

ONE, SOME, ANY = b"%*", b"%>", b"%#"
Entry = TypeVar("Entry")


class Tokens:
    """A pattern over tokens. ``text`` is its canonical text.

    Raises:
        ValueError: ``%>`` or ``%#`` stands elsewhere than last.
    """

    __slots__ = ("hides_dollar", "parts", "text")

    def __init__(self, text: bytes, hides_dollar: bool = False) -> None:
        self.text = text
        self.parts = text.split(b"/")
        self.hides_dollar = hides_dollar
        if SOME in self.parts[:-1] or ANY in self.parts[:-1]:
            raise ValueError(f"a wildcard for the rest stands last: {text!r}")

    def matches(self, address: Address) -> bool:
        parts = address.split(b"/")
        if self.parts[0] in (ONE, SOME, ANY) and self.hides(parts[0]):
            return False
        for index, want in enumerate(self.parts):
            if want == ANY:
                return True
            if index >= len(parts):
                return False
            if want == SOME:
                return True
            if want not in (ONE, parts[index]):
                return False
        return len(parts) == len(self.parts)

    def hides(self, first: bytes) -> bool:
        """Whether a leading wildcard must not match an address that begins with this token."""
        return first == RESERVED or (self.hides_dollar and first[:1] == b"$")

    def literal(self) -> Address | None:
        """The one address it matches, if it has no wildcard."""
        return None if any(part in (ONE, SOME, ANY) for part in self.parts) else Address(self.text)

    def specificity(self) -> tuple[int, ...]:
        """Greater is more specific: token by token, the end before a literal before ``%*`` before ``%>`` before ``%#``."""
        return tuple({ONE: 2, SOME: 1, ANY: 0}.get(part, 3) for part in self.parts) + (4,)

    def __repr__(self) -> str:
        return f"Tokens({self.text!r})"


def covers(rule: Tokens, wanted: Tokens) -> bool:
    """Whether ``rule`` matches every address that ``wanted`` matches."""
    first = wanted.parts[0]
    if rule.parts[0] in (ONE, SOME, ANY) and first not in (ONE, SOME, ANY) and rule.hides(first):
        return False
    return _covers(rule.parts, [SOME] if wanted.parts == [ANY] else wanted.parts)  # an address has at least one token


def _covers(rule: list[bytes], wanted: list[bytes]) -> bool:
    if not rule or rule[0] == ANY:
        return bool(rule) or not wanted
    if not wanted or wanted[0] == ANY:
        return False
    if rule[0] == SOME:
        return True
    if wanted[0] == SOME:
        wanted = [ONE, ANY]
    return rule[0] in (ONE, wanted[0]) and _covers(rule[1:], wanted[1:])


def overlaps(one: Tokens, other: Tokens) -> bool:
    """Whether some address is matched by both."""
    for pattern, literal in ((one, other.parts[0]), (other, one.parts[0])):
        if pattern.parts[0] in (ONE, SOME, ANY) and literal not in (ONE, SOME, ANY) and pattern.hides(literal):
            return False
    return _overlaps(one.parts, other.parts)


def _overlaps(one: list[bytes], other: list[bytes]) -> bool:
    if one[:1] == [ANY] or other[:1] == [ANY]:
        return True
    if not one or not other:
        return not one and not other
    if SOME in (one[0], other[0]):
        return True
    return (one[0] == ONE or other[0] == ONE or one[0] == other[0]) and _overlaps(one[1:], other[1:])


class Glob:
    """A Redis pattern over the textual name (``text(address)``): ``*``, ``?``, ``[a-c]``, ``[^a]``, ``\\x``."""

    __slots__ = ("pattern", "text")

    def __init__(self, pattern: bytes, text: Callable[[bytes], bytes]) -> None:
        self.pattern = pattern
        self.text = text

    def matches(self, address: Address) -> bool:
        if address.split(b"/", 1)[0] == RESERVED and not self.pattern.startswith(RESERVED):
            return False
        return glob_matches(self.pattern, self.text(address))


def glob_matches(pattern: bytes, name: bytes) -> bool:
    """Redis' glob (behaviour of util.c stringmatchlen), iterative: linear in the name for each ``*``."""
    p = n = 0
    star = mark = -1
    while n < len(name):
        step = _glob_one(pattern, p, name[n]) if p < len(pattern) and pattern[p] != 0x2A else 0
        if p < len(pattern) and pattern[p] == 0x2A:
            star, mark, p = p, n, p + 1
        elif step:
            p, n = step, n + 1
        elif star >= 0:
            mark += 1
            p, n = star + 1, mark
        else:
            return False
    while p < len(pattern) and pattern[p] == 0x2A:
        p += 1
    return p == len(pattern)


def _glob_one(pattern: bytes, p: int, byte: int) -> int:
    """Match one byte against the element at ``p``: the offset behind the element, or 0."""
    want = pattern[p]
    if want == 0x3F:  # ?
        return p + 1
    if want == 0x5B:  # [
        p += 1
        negated = p < len(pattern) and pattern[p] == 0x5E
        p += negated
        found = False
        while p < len(pattern) and pattern[p] != 0x5D:
            if pattern[p] == 0x5C and p + 1 < len(pattern):
                p += 1
                found |= pattern[p] == byte
            elif p + 2 < len(pattern) and pattern[p + 1] == 0x2D:
                low, high = sorted((pattern[p], pattern[p + 2]))
                found |= low <= byte <= high
                p += 2
            else:
                found |= pattern[p] == byte
            p += 1
        return min(p + 1, len(pattern)) if found != negated else 0
    if want == 0x5C and p + 1 < len(pattern):  # backslash
        p += 1
        want = pattern[p]
    return p + 1 if want == byte else 0


Slot = dict[tuple[int, int], tuple["Tokens", Entry]]
"""By the identities of pattern and entry, in the order added: a client may have very many of one pattern."""


NOTHING: dict[Any, Any] = {}
"""What a node has of most kinds: a dictionary of its own each would be most of what a subscription weighs."""


class _Node(Generic[Entry]):
    __slots__ = ("any", "children", "here", "one", "some")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node[Entry]] = NOTHING
        self.one: _Node[Entry] | None = None
        self.here: Slot[Entry] = NOTHING
        self.some: Slot[Entry] = NOTHING
        self.any: Slot[Entry] = NOTHING

    def below(self, part: bytes) -> _Node[Entry]:
        """The node of this token, made if it is not there."""
        found = self.children.get(part)
        if found is None:
            if self.children is NOTHING:
                self.children = {}
            found = self.children[part] = _Node()
        return found

    def slot(self, last: bytes) -> Slot[Entry]:
        """Where a pattern that ends so is kept: one to add to."""
        name = "some" if last == SOME else "any" if last == ANY else "here"
        if getattr(self, name) is NOTHING:
            setattr(self, name, {})
        found: Slot[Entry] = getattr(self, name)
        return found

    def empty(self) -> bool:
        return not (self.children or self.one or self.here or self.some or self.any)


class Trie(Generic[Entry]):
    """Patterns and what belongs to them. Iterative: a pattern or address of thousands of tokens costs no stack."""

    def __init__(self) -> None:
        self._root: _Node[Entry] = _Node()
        self.count = 0

    def _slot(self, node: _Node[Entry], last: bytes) -> Slot[Entry]:
        return node.some if last == SOME else node.any if last == ANY else node.here

    def add(self, pattern: Tokens, entry: Entry) -> None:
        node = self._root
        for part in pattern.parts:
            if part in (SOME, ANY):
                break
            if part == ONE:
                node.one = node.one or _Node()
                node = node.one
            else:
                node = node.below(part)
        slot = node.slot(pattern.parts[-1])
        self.count -= len(slot)
        slot[id(pattern), id(entry)] = (pattern, entry)
        self.count += len(slot)

    def remove(self, pattern: Tokens, entry: Entry) -> None:
        """Take out what ``add`` of the same pattern object put in; nothing if it is not there."""
        node = self._root
        path: list[tuple[_Node[Entry], bytes]] = []
        for part in pattern.parts:
            if part in (SOME, ANY):
                break
            path.append((node, part))
            below = node.one if part == ONE else node.children.get(part)
            if below is None:
                return
            node = below
        slot = self._slot(node, pattern.parts[-1])
        if slot.pop((id(pattern), id(entry)), None) is not None:
            self.count -= 1
        while path and node.empty():
            node, part = path.pop()
            if part == ONE:
                node.one = None
            else:
                node.children.pop(part, None)

    def match(self, address: bytes) -> list[tuple[Tokens, Entry]]:
        parts = address.split(b"/")
        found: list[tuple[Tokens, Entry]] = []
        frontier = [self._root]
        for part in parts:
            below: list[_Node[Entry]] = []
            for node in frontier:
                if node.some:
                    found += node.some.values()
                if node.any:
                    found += node.any.values()
                child = node.children.get(part)
                if child is not None:
                    below.append(child)
                if node.one is not None:
                    below.append(node.one)
            frontier = below
            if not frontier:
                break
        for node in frontier:
            found += node.here.values()
            found += node.any.values()
        first = parts[0]
        if first == RESERVED or first[:1] == b"$":
            wild = (ONE, SOME, ANY)
            found = [(p, e) for p, e in found if not (p.parts[0] in wild and p.hides(first))]
        return found

    def beneath(self, address: bytes) -> bool:
        """Whether any pattern may match an address that begins with all these tokens and has more."""
        frontier = [self._root]
        for part in address.split(b"/"):
            below: list[_Node[Entry]] = []
            for node in frontier:
                if node.some or node.any:
                    return True
                child = node.children.get(part)
                if child is not None:
                    below.append(child)
                if node.one is not None:
                    below.append(node.one)
            frontier = below
        return any(node.children or node.one or node.some or node.any for node in frontier)

    def alike(self, prefix: bytes, deep: bool) -> bool:
        """Whether all addresses made of these tokens and one more (``deep``: one or more) match the same patterns."""
        frontier = [self._root]
        for part in prefix.split(b"/"):
            below: list[_Node[Entry]] = []
            for node in frontier:
                child = node.children.get(part)
                if child is not None:
                    below.append(child)
                if node.one is not None:
                    below.append(node.one)
            frontier = below
        return not any(node.children or (deep and node.one) for node in frontier)


class Subscription:
    """One sink's interest; also its handle."""

    __slots__ = ("_interest", "account", "group", "pattern", "sink")

    def __init__(self, interest: Interest, account: Account, pattern: Pattern, sink: Sink, group: bytes | None) -> None:
        self._interest: Interest | None = interest
        self.account = account
        self.pattern = pattern
        self.sink = sink
        self.group = group

    def close(self) -> None:
        if self._interest is not None:
            self._interest.remove(self)
            self._interest = None


class Interest:
    """Live subscriptions and captures of one process, by account."""

    def __init__(self) -> None:
        self.generation = 1
        self.listener: Callable[[Subscription, bool], None] = lambda subscription, there: None
        """Told of each subscription that comes and goes."""
        self._tries: dict[Account, Trie[Subscription]] = {}
        self._globs: dict[Account, list[Subscription]] = {}
        self._captures: dict[Account, Trie[Topic]] = {}
        self._capture_patterns: dict[tuple[Account, Address], list[tuple[Tokens, Topic]]] = {}

    def subscribe(self, account: Account, pattern: Pattern, sink: Sink, group: bytes | None = None) -> Subscription:
        subscription = Subscription(self, account, pattern, sink, group)
        if isinstance(pattern, Tokens):
            self._tries.setdefault(account, Trie()).add(pattern, subscription)
        else:
            self._globs.setdefault(account, []).append(subscription)
        self.generation += 1
        self.listener(subscription, True)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        if isinstance(subscription.pattern, Tokens):
            self._tries[subscription.account].remove(subscription.pattern, subscription)
        else:
            self._globs[subscription.account].remove(subscription)
        self.generation += 1
        self.listener(subscription, False)

    def capture(self, topic: Topic) -> None:
        """From here on the topic's subjects are captured (replaces what it captured before)."""
        self.release(topic.account, topic.name)
        trie = self._captures.setdefault(topic.account, Trie())
        subjects: Iterable[bytes] = topic.subjects or (topic.name + b"/" + ANY,)
        entries = [(Tokens(subject), topic) for subject in subjects]
        for pattern, _ in entries:
            trie.add(pattern, topic)
        self._capture_patterns[topic.account, topic.name] = entries
        self.generation += 1

    def release(self, account: Account, name: Address) -> None:
        for pattern, topic in self._capture_patterns.pop((account, name), []):
            self._captures[account].remove(pattern, topic)
        self.generation += 1

    def captured_by(self, account: Account, address: Address) -> Topic | None:
        """The topic whose most specific pattern matches; of equal ones the topic made first."""
        trie = self._captures.get(account)
        if trie is None or not trie.count:
            return None
        found = trie.match(address)
        if not found:
            return None
        return max(found, key=lambda entry: (entry[0].specificity(), -entry[1].streams[0]))[1]

    def beneath(self, account: Account, name: Address) -> bool:
        """Whether anybody may want addresses beneath this one."""
        trie = self._tries.get(account)
        return (trie is not None and trie.beneath(name)) or bool(self._globs.get(account))

    def resolve(self, account: Account, address: Address) -> Route:
        topic = self.captured_by(account, address)
        stream = StreamId(0)
        if topic is not None:
            stream = topic.streams[partition_of(address, len(topic.streams))]
        sinks: list[Sink] = []
        queues: dict[tuple[str, bytes], list[Sink]] = {}  # equal names of two protocols are two groups
        for subscription in self._matched(account, address):
            if subscription.group is None:
                sinks.append(subscription.sink)
            else:
                queues.setdefault((subscription.sink.protocol, subscription.group), []).append(subscription.sink)
        return Route(account, address, self.generation, stream, topic, tuple(sinks), tuple(map(tuple, queues.values())))

    def _matched(self, account: Account, address: Address) -> list[Subscription]:
        trie = self._tries.get(account)
        matched = [entry for _, entry in trie.match(address)] if trie is not None and trie.count else []
        return matched + [entry for entry in self._globs.get(account, ()) if entry.pattern.matches(address)]

    def members(self, account: Account, address: Address, protocol: str, group: bytes) -> list[Sink]:
        """Of one queue group, who wants this address."""
        return [
            entry.sink
            for entry in self._matched(account, address)
            if entry.group == group and entry.sink.protocol == protocol
        ]

    def resolve_beneath(self, account: Account, prefix: Address, deep: bool = False) -> Route | None:
        """Where every address goes that is ``prefix`` and one token more (``deep``: one or more); None: it depends on which.

        Its ``address`` is one of them, and so is its stream's partition.
        """
        trie, captures = self._tries.get(account), self._captures.get(account)
        if self._globs.get(account) or not (trie is None or trie.alike(prefix, deep)):
            return None
        if not (captures is None or captures.alike(prefix, deep)):
            return None
        return self.resolve(account, Address(prefix + b"/."))


def partition_of(address: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives this key (murmur2, positive, modulo)."""
    return (murmur2(address) & 0x7FFFFFFF) % partitions if partitions > 1 else 0


def murmur2(data: bytes) -> int:
    """Murmur2 with Kafka's seed (clients Utils.murmur2, behaviour)."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15
