"""Keyspace notifications: what happens to keys, told on channels ``__keyspace@0__:key`` and ``__keyevent@0__:event``.

Speaks all classes of Redis 7 (``K E g $ l s h z x e t m n d A``). Nothing is ever evicted (``e``) and there are no modules
(``d``): these can be asked for and never come. Keys that expire are told at their time, not when somebody looks.
The channels are addresses as any other: subscribers of all protocols hear them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from protocols.resp.mapping import address_of
from substrate.api import Account, Ack, Route
from substrate.group import Group

if TYPE_CHECKING:
    from protocols.resp.keyspace import Keyspace

KEYSPACE, KEYEVENT, GENERIC, TEXT, LISTS, SETS, HASHES, ZSETS, EXPIRED, EVICTED, STREAMS, MISSED, MODULE, NEW = (
    1 << bit for bit in range(14)
)
LETTERS = (
    ("g", GENERIC), ("$", TEXT), ("l", LISTS), ("s", SETS), ("h", HASHES), ("z", ZSETS), ("x", EXPIRED), ("e", EVICTED),
    ("t", STREAMS), ("d", MODULE), ("n", NEW), ("K", KEYSPACE), ("E", KEYEVENT), ("m", MISSED),
)  # fmt: skip
ALL = GENERIC | TEXT | LISTS | SETS | HASHES | ZSETS | EXPIRED | EVICTED | STREAMS | MODULE
INVALID_CLASS = "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."
ROUTES_MAX = 4096

_EVENTS = (
    (GENERIC, "del expire persist rename_from rename_to move_from move_to copy_to restore"),
    (TEXT, "set incrby incrbyfloat append setrange setbit pfadd"),
    (LISTS, "lpush rpush lpop rpop lset linsert lrem ltrim sortstore"),
    (SETS, "sadd srem spop sinterstore sunionstore sdiffstore"),
    (HASHES, "hset hdel hincrby hincrbyfloat"),
    (ZSETS, "zadd zincr zrem zremrangebyrank zremrangebyscore zremrangebylex zpopmin zpopmax"),
    (ZSETS, "zunionstore zinterstore zdiffstore zrangestore georadiusstore geosearchstore"),
    (STREAMS, "xadd xtrim xdel xsetid xgroup-create xgroup-setid xgroup-destroy xgroup-createconsumer xgroup-delconsumer"),
    (EXPIRED, "expired"),
    (MISSED, "keymiss"),
    (NEW, "new"),
)  # fmt: skip
CLASS_OF: Mapping[bytes, int] = MappingProxyType(
    {name.encode(): kind for kind, names in _EVENTS for name in names.split()}
)


def flags_of(text: str) -> int | None:
    """The classes that these letters name; None: a letter that is none."""
    letters = dict(LETTERS) | {"A": ALL}
    flags = 0
    for letter in text:
        if letter not in letters:
            return None
        flags |= letters[letter]
    return flags


def text_of(flags: int) -> str:
    """As CONFIG GET shows them."""
    if flags & ALL == ALL:
        return "A" + "".join(letter for letter, kind in LETTERS if kind & ~ALL & flags and letter != "n")
    return "".join(letter for letter, kind in LETTERS if kind & flags)


class Notifier:
    """Tells what happened to a key, on the channels that ``flags`` ask for."""

    def __init__(self, keyspace: Keyspace) -> None:
        self.keyspace = keyspace
        self.flags = 0

    def tell(self, account: Account, number: int, event: bytes, key: bytes) -> None:
        flags = self.flags
        if not flags & CLASS_OF[event]:
            return
        if flags & KEYSPACE:
            self._publish(account, b"__keyspace@%d__:%b" % (number, key), event)
        if flags & KEYEVENT:
            self._publish(account, b"__keyevent@%d__:%b" % (number, event), key)

    def _publish(self, account: Account, channel: bytes, message: bytes) -> None:
        route = route_of(self.keyspace, account, channel)
        if route.sinks or route.queues or route.stream:
            self.keyspace.world.publish(route, Group.of(route.address, message, (), None), "", Ack.NONE, 0)


def route_of(keyspace: Keyspace, account: Account, channel: bytes) -> Route:
    """Where a channel goes now; known ones are kept."""
    world = keyspace.world
    route = keyspace.routes.get((account, channel))
    if route is None or route.generation != world.generation:
        if len(keyspace.routes) >= ROUTES_MAX:
            keyspace.routes.clear()
        route = world.resolve(account, address_of(channel))
        keyspace.routes[(account, channel)] = route
    return route
