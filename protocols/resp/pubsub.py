"""Publish and subscribe: channels are addresses that all four protocols share.

A channel ``orders:eu:42`` is the address ``orders/eu/42``. SUBSCRIBE takes one address, PSUBSCRIBE a glob over the channel's
text. What is published goes to all live subscribers of all protocols, and into the stream that captures its address,
if there is one; PUBLISH is then answered when it is durable.
PUBLISH answers how many subscriptions got it: live ones of all protocols, a queue group as one; consumers that read
streams (Kafka, JetStream, MQTT sessions) cannot be known and do not count.
PUBSUB CHANNELS, NUMSUB, NUMPAT count Redis clients only, as their names are Redis'.
Shard channels (SSUBSCRIBE, SPUBLISH) are those beneath ``__shard``: ``SPUBLISH orders`` is heard at the address ``__shard/orders``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.identity import Right
from protocols.resp.call import CHANNEL, PATTERN, SHARD, Call, Later
from protocols.resp.mapping import name_of
from protocols.resp.notify import route_of
from protocols.resp.table import Handlers
from protocols.resp.topics import failure
from protocols.resp.wire import array_of, bulk, bulks, integer
from substrate.api import Ack, Address, Appended
from substrate.group import Group
from substrate.interest import glob_matches

if TYPE_CHECKING:
    from protocols.resp.session import RespSession


def shard_channel(name: bytes) -> bytes:
    """Shard channels are channels of their own: beneath ``__shard``."""
    return b"__shard:" + name


def publish(call: Call, words: list[bytes]) -> bytes | Later:
    keyspace = call.keyspace
    world = keyspace.world
    channel = words[1] if call.name == "publish" else shard_channel(words[1])
    route = route_of(keyspace, call.account, channel)
    reply = integer(len(route.sinks) + len(route.queues))
    group = Group.of(route.address, words[2], (), call.client.session)
    if not route.stream:
        later = Later()

        def passed(answer: object) -> None:
            later.fill(reply if isinstance(answer, Appended) else failure(answer))

        world.publish(route, group, "", Ack.NONE, keyspace.expect(passed))
        return later
    later = Later()

    def stored(answer: object) -> None:
        if isinstance(answer, Appended):
            later.fill(reply, answer.commit)
        else:
            later.fill(failure(answer))

    world.publish(route, group, "", Ack.DURABLE, keyspace.expect(stored))
    return later


def subscribed(call: Call, words: list[bytes]) -> bytes:
    """The session says what it subscribes to: ``_SUBSCRIBED channel|pattern +|- name``."""
    key = (words[1], words[3])
    held = call.keyspace.subscribers
    if words[2] == b"+":
        if key not in call.client.subscribed:
            call.client.subscribed.add(key)
            held[key] = held.get(key, 0) + 1
    elif key in call.client.subscribed:
        call.client.subscribed.discard(key)
        held[key] -= 1
        if not held[key]:
            del held[key]
    return b""


def channels(call: Call, words: list[bytes]) -> bytes:
    wanted = SHARD if call.name.startswith("pubsub|shard") else CHANNEL
    names = [name for kind, name in call.keyspace.subscribers if kind == wanted]
    return bulks([name for name in names if len(words) < 3 or glob_matches(words[2], name)])


def numsub(call: Call, words: list[bytes]) -> bytes:
    held = call.keyspace.subscribers
    kind = SHARD if call.name.startswith("pubsub|shard") else CHANNEL
    return array_of([part for name in words[2:] for part in (bulk(name), integer(held.get((kind, name), 0)))])


def numpat(call: Call, words: list[bytes]) -> bytes:
    return integer(sum(kind == PATTERN for kind, _ in call.keyspace.subscribers))


class Subscriber:
    """One subscription of one connection. Its messages wait behind its confirmation, never in front of it."""

    protocol = "resp"

    def __init__(self, session: RespSession, name: bytes, kind: bytes, filtered: bool = False) -> None:
        self.session = session
        self.name = name
        self.kind = kind
        self.filtered = filtered
        """Some of what matches may not be read by this user: each message is judged."""
        self.confirmed = False

    def deliver(self, group: Group) -> None:
        session = self.session
        if session.outbox.overflowed:
            return  # it reads too slowly: its connection is closed at the end of the turn
        if self.filtered and not session.identity.may(Right.READ, Address(group.address)):
            return
        sigil = b">" if session.protocol == 3 else b"*"
        if self.kind == PATTERN:
            channel = name_of(group.address)
            head = b"%b4\r\n$8\r\npmessage\r\n%b%b" % (sigil, bulk(self.name), bulk(channel))
        else:
            word = b"$8\r\nsmessage" if self.kind == SHARD else b"$7\r\nmessage"
            head = b"%b3\r\n%b\r\n%b" % (sigil, word, bulk(self.name))
        parts = []
        for record in group.records():
            value = record.value or b""
            parts.append(b"%b$%d\r\n%b\r\n" % (head, len(value), value))
        data = b"".join(parts)
        outbox = session.outbox
        if not self.confirmed and outbox.parked():
            outbox.answer(data)
        else:
            self.confirmed = True
            outbox.put_bytes(data)


HANDLERS: Handlers = {
    "publish": publish, "spublish": publish, "pubsub|shardchannels": channels, "pubsub|shardnumsub": numsub, "pubsub|channels": channels, "pubsub|numsub": numsub, "pubsub|numpat": numpat,
}  # fmt: skip
