"""Peers of the simulated world: clients of all four protocols over bytes, each with a memory of what it was promised.

A peer lives longer than its connections. It speaks through ``say``, hears whatever part of the gateway's bytes arrives,
and writes what it learns into the world's ``Book``: what it sent, what was acknowledged, what it read. Where a protocol
lets a client try again (message ids, idempotent producers, MQTT packet ids) it does so after a loss.

Every value is unique: ``<peer>:<number>``.
"""

from __future__ import annotations

import json
import random
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from crc32c import crc32c

from protocols.kafka.codec import Codecs
from protocols.mqtt import packets as mqtt
from protocols.mqtt.wire import decode as mqtt_decode
from protocols.mqtt.wire import encode as mqtt_encode
from substrate import batch as batches


class Violation(AssertionError):
    """A promise was broken."""


def demand(holds: object, said: str) -> None:
    if not holds:
        raise Violation(said)


@dataclass
class Sent:
    """One value that some peer sent into the log."""

    peer: str
    number: int
    most: int
    """So often it may be in the log."""
    acknowledged: bool = False
    position: int = -1


@dataclass
class Book:
    """What the world was promised of its one log, and what it saw."""

    sent: dict[bytes, Sent] = field(default_factory=dict)
    seen: dict[int, bytes] = field(default_factory=dict)

    def send(self, value: bytes, peer: str, number: int) -> None:
        """``peer`` names whose values stand in the order of their numbers: one connection's, or those of a client that
        repeats in order. What a connection that is gone had sent may still take effect behind what its next one sends."""
        self.sent[value] = Sent(peer, number, 1)

    def again(self, value: bytes, more: int = 0) -> None:
        """It is sent once more, on another connection; it may be there ``more`` times more."""
        self.sent[value].most += more
        self.sent[value].peer = "" if not more else self.sent[value].peer

    def acknowledge(self, value: bytes, position: int = -1) -> None:
        """Durable, by the protocol's word; ``position`` -1: it does not say where."""
        entry = self.sent[value]
        entry.acknowledged = True
        if position >= 0:
            demand(entry.position in (-1, position), f"{value!r} acknowledged at {entry.position} and {position}")
            entry.position = position
            self.see(position, value)

    def see(self, position: int, value: bytes) -> None:
        """A reader was given this value at this position: it is so for ever."""
        known = self.seen.setdefault(position, value)
        demand(known == value, f"position {position} was {known!r}, now {value!r}")

    def check(self, log: list[tuple[int, bytes]]) -> None:
        """``log``: position and value of every record that is left, in order."""
        positions = [position for position, _ in log]
        demand(positions == list(range(len(log))), f"positions are not contiguous: {positions}")
        counts: dict[bytes, int] = {}
        last: dict[str, int] = {}
        for _, value in log:
            entry = self.sent.get(value)
            if entry is None:
                raise Violation(f"{value!r} is in the log, and nobody sent it")
            counts[value] = counts.get(value, 0) + 1
            if counts[value] == 1 and entry.peer:
                demand(
                    entry.number > last.get(entry.peer, -1),
                    f"{value!r} stands behind {entry.peer}:{last.get(entry.peer)}",
                )
                last[entry.peer] = entry.number
        for value, entry in self.sent.items():
            count = counts.get(value, 0)
            demand(count <= entry.most, f"{value!r} is there {count} times, sent to be there {entry.most}")
            demand(count or not entry.acknowledged, f"{value!r} was acknowledged (at {entry.position}) and is lost")
        for position, value in self.seen.items():
            there = log[position][1] if position < len(log) else None
            demand(there == value, f"position {position} was seen as {value!r}, holds {there!r}")


class Peer:
    """``say(data)`` sends; the world calls the rest."""

    protocol = ""

    def __init__(self, name: str, book: Book, chance: random.Random) -> None:
        self.name = name
        self.book = book
        self.chance = chance
        self.say: Callable[[bytes], None] = lambda data: None
        self.heard = bytearray()
        self.number = 0
        self.finishing = False
        """Nothing new is begun; what was begun is brought to its end."""
        self.drop = False
        """Set by a peer that wants a new connection."""
        self.life = 0
        """Counts its connections."""
        self.clock: Callable[[], int] = lambda: 0
        """The simulated time in ns, for peers that lose patience."""

    def value(self) -> bytes:
        self.number += 1
        padding = b"" if self.chance.random() < 0.9 else b"." * self.chance.choice((50, 400, 5000))
        return b"%s:%d%s" % (self.name.encode(), self.number, padding)

    def opened(self) -> None:
        """The connection stands."""
        self.life += 1

    def hear(self, data: bytes) -> None:
        self.heard += data
        self.take()

    def take(self) -> None:
        """Handle what is whole in ``heard``."""

    def act(self) -> None:
        """Do something new, if there is room."""

    def wake(self) -> None:
        """Time has passed."""

    def lost(self) -> None:
        """The connection is gone, with all that was on its way."""
        self.heard.clear()
        self.say = lambda data: None
        self.drop = False

    def owed(self) -> str:
        """What it waits for; empty: nothing."""
        return ""


# NATS


class NatsPeer(Peer):
    """A client of NATS: frames cut apart; what comes is a ``message``."""

    protocol = "nats"

    def tell(self, subject: bytes, payload: bytes, reply: bytes = b"", head: bytes = b"") -> None:
        if head:
            self.say(
                b"HPUB %s %s %d %d\r\n%s%s\r\n" % (subject, reply, len(head), len(head) + len(payload), head, payload)
            )
        else:
            self.say(b"PUB %s %s %d\r\n%s\r\n" % (subject, reply, len(payload), payload))

    def take(self) -> None:
        while (end := self.heard.find(b"\r\n")) >= 0:
            words = bytes(self.heard[:end]).split(b" ")
            if words[0] in (b"MSG", b"HMSG"):
                size = int(words[-1])
                if len(self.heard) < end + 2 + size + 2:
                    return
                whole = bytes(self.heard[end + 2 : end + 2 + size])
                del self.heard[: end + 2 + size + 2]
                head = int(words[-2]) if words[0] == b"HMSG" else 0
                reply = words[3] if len(words) == (6 if head else 5) else b""
                self.message(words[1], reply, whole[:head], whole[head:])
                continue
            del self.heard[: end + 2]
            if words[0] == b"PING":
                self.say(b"PONG\r\n")
            else:
                demand(words[0] in (b"INFO", b"PONG", b"+OK"), f"{self.name} was told {b' '.join(words)!r}")

    def message(self, subject: bytes, reply: bytes, head: bytes, payload: bytes) -> None:
        raise NotImplementedError


class NatsPublisher(NatsPeer):
    """JetStream publishes with an acknowledgement each; most with a message id, repeated after a loss."""

    def __init__(self, name: str, book: Book, chance: random.Random) -> None:
        super().__init__(name, book, chance)
        self.pending: dict[int, tuple[bytes, bool]] = {}
        self.chat = 0
        self.chat_seen: dict[bytes, int] = {}

    def opened(self) -> None:
        super().opened()
        self.chat_seen.clear()
        self.say(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
        self.say(b"SUB _INBOX.%s.> 1\r\nSUB chat.> 2\r\nPING\r\n" % self.name.encode())
        for number, (value, repeated) in self.pending.items():
            if repeated:
                self.book.again(value)
                self._publish(number, value, True)

    def act(self) -> None:
        if self.chance.random() < 0.4:
            self.chat += 1
            self.tell(b"chat." + self.name.encode(), b"%d.%d" % (self.life, self.chat))
        elif len(self.pending) < 5:
            value = self.value()
            repeated = self.chance.random() < 0.7
            self.pending[self.number] = (value, repeated)
            self.book.send(value, f"{self.name} life {self.life}", self.number)
            self._publish(self.number, value, repeated)

    def _publish(self, number: int, value: bytes, with_id: bool) -> None:
        who = self.name.encode()
        head = b"NATS/1.0\r\nNats-Msg-Id: %s-%d\r\n\r\n" % (who, number) if with_id else b""
        self.tell(b"ev.nats." + who, value, b"_INBOX.%s.%d" % (who, number), head)

    def message(self, subject: bytes, reply: bytes, head: bytes, payload: bytes) -> None:
        if subject.startswith(b"chat."):
            number = int(payload.split(b".")[-1])
            demand(
                number > self.chat_seen.get(subject, -1),
                f"{self.name} heard {number} after {self.chat_seen.get(subject)}",
            )
            self.chat_seen[subject] = number
            return
        number = int(subject.rsplit(b".", 1)[1])
        found = self.pending.get(number)
        if found is None:
            return
        if not payload:  # 503: nobody is there to answer
            demand(head, f"{self.name}: an empty acknowledgement")
            del self.pending[number]
            return
        answer = json.loads(payload)
        if "error" in answer:
            if not found[1]:
                del self.pending[number]
            else:
                self.drop = True  # try again on a new connection
            return
        del self.pending[number]
        self.book.acknowledge(found[0], answer["seq"] - 1)

    def lost(self) -> None:
        super().lost()
        self.pending = {number: entry for number, entry in self.pending.items() if entry[1]}

    def owed(self) -> str:
        return f"{len(self.pending)} PubAcks" if self.pending else ""


PATIENCE_NS = 3_000_000_000
"""Of a NATS client: what is not answered until then is asked again."""


class NatsConsumer(NatsPeer):
    """A durable pull consumer with explicit acknowledgement, confirmed: what was confirmed never comes again, everything
    else comes until it is."""

    def __init__(self, name: str, book: Book, chance: random.Random) -> None:
        super().__init__(name, book, chance)
        self.got: set[int] = set()
        self.asked: set[int] = set()
        """Positions whose acknowledgement was sent on this connection and is not confirmed yet."""
        self.perhaps: set[int] = set()
        """Sent on an earlier one: it may have arrived."""
        self.confirmed: set[int] = set()
        self.left = 0
        """Of the pull under way: it ends with its last message, with a status, or with this client's patience: a server
        that begins a new epoch forgets pulls and says nothing (nats-server after a leader change, behaviour)."""
        self.since_ns = 0

    def opened(self) -> None:
        super().opened()
        self.perhaps |= self.asked
        self.asked.clear()
        self.say(
            b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB _INBOX.%s.> 1\r\n'
            % self.name.encode()
        )
        self._create()

    def _create(self) -> None:
        self.since_ns = self.clock()
        self.left = 0
        who = self.name.encode()
        config = b'{"durable_name":"%s","ack_policy":"explicit","ack_wait":2000000000,"max_ack_pending":20}' % who
        request = b'{"stream_name":"ev","config":%s}' % config
        self.tell(b"$JS.API.CONSUMER.CREATE.ev." + who, request, b"_INBOX.%s.create" % who)

    def _pull(self) -> None:
        who = self.name.encode()
        self.since_ns = self.clock()
        self.left = self.chance.choice((1, 3, 10))
        request = b'{"batch":%d,"expires":%d}' % (self.left, self.chance.choice((100, 500)) * 1_000_000)
        self.tell(b"$JS.API.CONSUMER.MSG.NEXT.ev." + who, request, b"_INBOX.%s.pull" % who)

    def message(self, subject: bytes, reply: bytes, head: bytes, payload: bytes) -> None:
        inbox = b"_INBOX.%s." % self.name.encode()
        if reply.startswith(b"$JS.ACK."):
            position = int(reply.split(b".")[5]) - 1
            demand(position not in self.confirmed, f"{self.name}: position {position} comes again, though confirmed")
            self.book.see(position, payload)
            self.got.add(position)
            if self.chance.random() < 0.9 or self.finishing:
                self.asked.add(position)
                self.tell(reply, b"+ACK", inbox + b"ack.%d" % position)
            self.left -= 1
            if self.left == 0:
                self._pull()
        elif subject == inbox + b"create":
            if head or "error" in json.loads(payload):
                self.drop = True
            else:
                self._pull()
        elif subject == inbox + b"pull":
            demand(head, f"{self.name}: {payload!r} instead of a status")
            demand(head[9:12] in (b"404", b"408", b"409", b"503"), f"{self.name}: status {head!r}")
            self._pull()
        elif subject.startswith(inbox + b"ack."):
            position = int(subject.rsplit(b".", 1)[1])
            if head:
                return  # 503: nobody heard it
            demand(not payload, f"{self.name}: {payload!r} for an acknowledgement")
            self.asked.discard(position)
            self.confirmed.add(position)

    def wake(self) -> None:
        if self.clock() - self.since_ns > PATIENCE_NS:
            self.perhaps |= self.asked
            self.asked.clear()
            if self.left:
                self._pull()
            else:
                self._create()

    def owed(self) -> str:
        open_ = self.got - self.confirmed - self.perhaps
        return "" if not open_ else f"confirmations of {sorted(open_)}"

    def missing(self, durable: int) -> list[int]:
        """Positions below ``durable`` that never came."""
        return [position for position in range(durable) if position not in self.got]


class NatsOwner(NatsPeer):
    """Creates and deletes streams of its own, each name once, and publishes one message to each."""

    def __init__(self, name: str, book: Book, chance: random.Random) -> None:
        super().__init__(name, book, chance)
        self.streams: dict[bytes, set[str]] = {}
        """What each may be: ``there``, ``gone``."""
        self.waiting: dict[bytes, tuple[str, int]] = {}  # name -> what was asked, and when
        self.kept: dict[bytes, bool] = {}
        """Whether the one message of a stream was acknowledged."""

    def opened(self) -> None:
        super().opened()
        self.say(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
        self.say(b"SUB _INBOX.%s.> 1\r\n" % self.name.encode())

    def act(self) -> None:
        idle = [name for name, may in self.streams.items() if may == {"there"} and name not in self.waiting]
        if len(self.waiting) > 2:
            return
        if idle and self.chance.random() < 0.6:
            name = self.chance.choice(idle)
            if not self.kept[name] and self.chance.random() < 0.6:
                self._ask("message", name, name + b".x", b"one")
            else:
                self.streams[name] = {"there", "gone"}
                self._ask("delete", name, b"$JS.API.STREAM.DELETE." + name, b"")
        elif len(self.streams) < 12:
            self.number += 1
            name = b"%s-%d" % (self.name.encode(), self.number)
            self.streams[name] = {"there", "gone"}
            self.kept[name] = False
            config = b'{"name":"%s","subjects":["%s.>"],"storage":"file"}' % (name, name)
            self._ask("create", name, b"$JS.API.STREAM.CREATE." + name, config)

    def _ask(self, what: str, name: bytes, subject: bytes, payload: bytes) -> None:
        self.waiting[name] = (what, self.clock())
        self.tell(subject, payload, b"_INBOX.%s.%s.%s.%d" % (self.name.encode(), what.encode(), name, self.life))

    def message(self, subject: bytes, reply: bytes, head: bytes, payload: bytes) -> None:
        what, name = subject.split(b".")[2:4]
        asked = self.waiting.pop(name, None)
        if asked is None or asked[0] != what.decode() or head:
            return
        answer = json.loads(payload)
        if "error" in answer:
            code = answer["error"]["code"]
            demand(code in (500, 503), f"{self.name}: {what!r} of {name!r} gave {answer}")
        elif what == b"message":
            self.kept[name] = True
        else:
            self.streams[name] = {"there"} if what == b"create" else {"gone"}

    def wake(self) -> None:
        for name, (_, since_ns) in list(self.waiting.items()):
            if self.clock() - since_ns > PATIENCE_NS:
                del self.waiting[name]

    def lost(self) -> None:
        super().lost()
        self.waiting.clear()

    def owed(self) -> str:
        return f"answers of {sorted(self.waiting)}" if self.waiting else ""

    def check(self, found: dict[bytes, int]) -> None:
        """``found``: the streams that there are, and how many messages each has."""
        for name, may in self.streams.items():
            is_ = "there" if name in found else "gone"
            demand(is_ in may, f"stream {name!r} is {is_}, may be {sorted(may)}")
            if name in found:
                demand(found[name] >= self.kept[name], f"stream {name!r} lost its message")


# Redis


class Keys:
    """The keys of one connection, and what each may hold after all that was answered and was not."""

    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix
        self.counts = {"incr": (0, 0), "exec": (0, 0)}  # the least it must be, the most it can be
        self.pushed: list[tuple[bytes, bool]] = []  # value, whether it must be there
        self.streamed: list[tuple[bytes, bool]] = []
        self.set_to: list[bytes | None] = [None]  # what the key may hold: the last answered, and all sent since
        self.last_id = (0, 0)

    def check(self, ask: Callable[..., Any]) -> None:
        """``ask`` runs a command on a new connection after the last restart."""
        who = self.prefix.decode()
        for kind, keys in (("incr", [b":n"]), ("exec", [b":a", b":b"])):
            low, high = self.counts[kind]
            held = [int(ask(b"GET", self.prefix + key) or 0) for key in keys]
            demand(low <= held[0] <= high, f"{who}: {kind} is {held[0]}, answered {low}, sent {high}")
            demand(held[0] == held[-1], f"{who}: half of a transaction is there: {held}")
        there = ask(b"GET", self.prefix + b":s")
        demand(there in self.set_to, f"{who}: GET gives {there!r}, not one of {self.set_to!r}")
        for what, wanted, found in (
            ("list", self.pushed, ask(b"LRANGE", self.prefix + b":l", b"0", b"-1")),
            ("stream", self.streamed, [entry[1][1] for entry in ask(b"XRANGE", self.prefix + b":x", b"-", b"+")]),
        ):
            order = {value: index for index, (value, _) in enumerate(wanted)}
            demand(all(value in order for value in found), f"{who}: the {what} holds {found!r}")
            indices = [order[value] for value in found]
            demand(indices == sorted(set(indices)), f"{who}: the {what} is in disorder: {indices}")
            missing = [value for value, must in wanted if must and value not in found]
            demand(not missing, f"{who}: the {what} lost {missing!r}")


class Redis(Peer):
    """Commands, pipelined, on keys that each connection has of its own; on one counter shared by all; and to the log."""

    protocol = "resp"

    def __init__(self, name: str, book: Book, chance: random.Random) -> None:
        super().__init__(name, book, chance)
        self.pending: deque[tuple[str, Any]] = deque()
        self.keys = Keys(b"")
        self.all_keys: list[Keys] = []

    def opened(self) -> None:
        super().opened()
        self.keys = Keys(b"%s-%d" % (self.name.encode(), self.life))
        self.all_keys.append(self.keys)

    def act(self) -> None:
        if len(self.pending) >= 6:
            return
        keys = self.keys
        kind = self.chance.choice(("incr", "incr", "rpush", "set", "exec", "xadd", "log", "get", "total"))
        if kind in keys.counts:
            low, high = keys.counts[kind]
            keys.counts[kind] = (low, high + 1)
        if kind == "incr":
            self.ask(kind, None, b"INCR", keys.prefix + b":n")
        elif kind == "total":
            self.ask(kind, None, b"INCR", b"total")
        elif kind == "exec":
            for words in ((b"MULTI",), (b"INCR", keys.prefix + b":a"), (b"INCR", keys.prefix + b":b")):
                self.ask("queued", None, *words)
            self.ask(kind, None, b"EXEC")
        elif kind == "get":
            self.ask(kind, list(keys.set_to), b"GET", keys.prefix + b":s")
        else:
            value = self.value()
            if kind == "rpush":
                keys.pushed.append((value, False))
                self.ask(kind, len(keys.pushed) - 1, b"RPUSH", keys.prefix + b":l", value)
            elif kind == "xadd":
                keys.streamed.append((value, False))
                self.ask(kind, len(keys.streamed) - 1, b"XADD", keys.prefix + b":x", b"*", b"v", value)
            elif kind == "set":
                keys.set_to.append(value)
                self.ask(kind, value, b"SET", keys.prefix + b":s", value)
            else:
                self.book.send(value, f"{self.name} life {self.life}", self.number)
                self.ask(kind, value, b"XADD", b"ev", b"*", b"data", value)

    def ask(self, kind: str, about: Any, *words: bytes) -> None:
        self.pending.append((kind, about))
        self.say(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))

    def take(self) -> None:
        while self.heard:
            reply, end = _reply(self.heard, 0)
            if end < 0:
                return
            del self.heard[:end]
            demand(self.pending, f"{self.name} was answered {reply!r} unasked")
            self.answered(*self.pending.popleft(), reply)

    def answered(self, kind: str, about: Any, reply: Any) -> None:
        keys = self.keys
        if isinstance(reply, Exception):
            demand(str(reply).split(" ")[0] in REDIS_RETRIABLE, f"{self.name}: {kind} was answered {reply}")
        elif kind in ("incr", "exec"):
            if kind == "exec":
                demand(isinstance(reply, list) and reply[0] == reply[1], f"{self.name}: EXEC gave {reply!r}")
            number = reply[0] if kind == "exec" else reply
            low, high = keys.counts[kind]
            demand(low < number <= high, f"{self.name}: {kind} gave {number}, expected {low + 1} to {high}")
            keys.counts[kind] = (number, high)
        elif kind == "total":
            self.totals.append(reply)
        elif kind == "rpush":
            keys.pushed[about] = (keys.pushed[about][0], True)
        elif kind == "xadd":
            left, right = map(int, reply.split(b"-"))
            demand((left, right) > keys.last_id, f"{self.name}: XADD gave {reply!r} after {keys.last_id}")
            keys.last_id = (left, right)
            keys.streamed[about] = (keys.streamed[about][0], True)
        elif kind == "set":
            keys.set_to = keys.set_to[keys.set_to.index(about) :]
        elif kind == "get":
            demand(reply in about, f"{self.name}: GET gave {reply!r}, not one of {about}")
            if reply in keys.set_to:
                keys.set_to = keys.set_to[keys.set_to.index(reply) :]
        elif kind == "log":
            left, right = reply.split(b"-")
            demand(right == b"0", f"{self.name}: XADD into a topic gave {reply!r}")
            self.book.acknowledge(about, int(left) - 1)

    totals: list[int]
    """Of all Redis peers: what INCR of the one shared key answered."""

    def lost(self) -> None:
        super().lost()
        self.pending.clear()

    def owed(self) -> str:
        return f"{len(self.pending)} replies, of {self.pending[0][0]} first" if self.pending else ""

    def check(self, ask: Callable[..., Any]) -> None:
        for keys in self.all_keys:
            keys.check(ask)


REDIS_RETRIABLE = ("MISCONF", "LOADING", "TRYAGAIN", "READONLY", "EXECABORT", "NOREPLICAS", "CLUSTERDOWN")


class RedisError(Exception):
    """An error reply; compared by nobody."""


def _reply(data: bytearray, at: int) -> tuple[Any, int]:
    """One RESP2 reply and the offset behind it; -1: it is not whole."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return None, -1
    kind, line = data[at], bytes(data[at + 1 : end])
    at = end + 2
    if kind == 0x2B:
        return line, at
    if kind == 0x2D:
        return RedisError(line.decode()), at
    if kind == 0x3A:
        return int(line), at
    size = int(line)
    if kind == 0x24:
        if size < 0:
            return None, at
        return (bytes(data[at : at + size]), at + size + 2) if len(data) >= at + size + 2 else (None, -1)
    demand(kind == 0x2A, f"a reply of kind {chr(kind)!r}")
    found: list[Any] = []
    for _ in range(size):
        one, at = _reply(data, at)
        if at < 0:
            return None, -1
        found.append(one)
    return found if size >= 0 else None, at


# MQTT


class MqttPeer(Peer):
    """A client of 3.1.1 with a session that must survive everything."""

    protocol = "mqtt"

    def __init__(self, name: str, book: Book, chance: random.Random) -> None:
        super().__init__(name, book, chance)
        self.known = False
        self.connected = False

    def opened(self) -> None:
        super().opened()
        self.connected = False
        self.tell(mqtt.Connect(4, False, 0, self.name.encode()))

    def tell(self, packet: object) -> None:
        self.say(mqtt_encode(packet, 4))

    def take(self) -> None:
        at = 0
        while (one := mqtt_decode(self.heard, at, len(self.heard), 4, from_client=False)) is not None:
            packet, at = one
            if isinstance(packet, mqtt.Connack):
                demand(packet.code == 0 or packet.code == 3, f"{self.name} was refused: {packet}")
                if packet.code:
                    self.drop = True
                    continue
                demand(packet.session_present or not self.known, f"{self.name}: its session is gone")
                self.known = self.connected = True
                self.resume()
            else:
                self.got(packet)
        del self.heard[:at]

    def resume(self) -> None:
        """Connected: go on with what is unfinished."""

    def got(self, packet: Any) -> None:
        raise Violation(f"{self.name} got {packet}")

    def lost(self) -> None:
        super().lost()
        self.connected = False

    def owed(self) -> str:
        return "" if self.connected else "CONNACK"


class MqttPublisher(MqttPeer):
    """QoS 1 and 2, to the log and to those who subscribe; what is unfinished is repeated after a loss, in order."""

    ready: Callable[[], bool] = staticmethod(lambda: True)
    """Whether the subscribers are there: what they miss before is not owed."""

    def __init__(self, name: str, book: Book, chance: random.Random) -> None:
        super().__init__(name, book, chance)
        self.unfinished: dict[int, tuple[mqtt.Publish, bool]] = {}  # by packet id: and whether PUBREC came
        self.last_id = 0
        self.messages: dict[bytes, tuple[int, int, bool]] = {}
        """Payload -> number, QoS, finished: those that are not for the log."""

    def act(self) -> None:
        if not self.connected or len(self.unfinished) >= 4 or not self.ready():
            return
        value = self.value()
        qos = self.chance.choice((1, 2, 2))
        to_log = self.chance.random() < 0.4
        self.last_id = self.last_id % 40 + 1
        if self.last_id in self.unfinished:
            return
        topic = b"ev/mqtt/" if to_log else b"m/"
        packet = mqtt.Publish(topic + self.name.encode(), value, qos, packet_id=self.last_id)
        if to_log:
            self.book.send(value, self.name, self.number)
        else:
            self.messages[value] = (self.number, qos, False)
        self.unfinished[self.last_id] = (packet, False)
        self.tell(packet)

    def resume(self) -> None:
        for packet_id, (packet, received) in self.unfinished.items():
            if received:
                self.tell(mqtt.Acknowledge(mqtt.PUBREL, packet_id))
            else:
                if packet.qos == 1 and packet.payload in self.book.sent:
                    self.book.again(packet.payload, 1)
                self.tell(packet._replace(dup=True))

    def got(self, packet: Any) -> None:
        demand(isinstance(packet, mqtt.Acknowledge), f"{self.name} got {packet}")
        found = self.unfinished.get(packet.packet_id)
        demand(found is not None, f"{self.name}: an acknowledgement of {packet.packet_id}, which is not in flight")
        assert found is not None
        publish, received = found
        wanted = mqtt.PUBACK if publish.qos == 1 else mqtt.PUBCOMP if received else mqtt.PUBREC
        demand(packet.kind in (wanted, mqtt.PUBREC if received else wanted), f"{self.name}: {packet}, want {wanted}")
        if packet.kind in (mqtt.PUBACK, mqtt.PUBREC):
            if publish.payload in self.book.sent:
                self.book.acknowledge(publish.payload)
            else:
                number, qos, _ = self.messages[publish.payload]
                self.messages[publish.payload] = (number, qos, True)
        if packet.kind == mqtt.PUBREC:
            self.unfinished[packet.packet_id] = (publish, True)
            self.tell(mqtt.Acknowledge(mqtt.PUBREL, packet.packet_id))
        else:
            del self.unfinished[packet.packet_id]

    def owed(self) -> str:
        return super().owed() or (f"{len(self.unfinished)} acknowledgements" if self.unfinished else "")


class MqttSubscriber(MqttPeer):
    """A persistent subscription of QoS 2; messages by the receiver's rules of MQTT 3.1.1 section 4.3.3, method A."""

    def __init__(self, name: str, book: Book, chance: random.Random) -> None:
        super().__init__(name, book, chance)
        self.subscribed = False
        self.held: set[int] = set()
        self.received: list[tuple[bytes, int]] = []

    def resume(self) -> None:
        if not self.subscribed:
            self.tell(mqtt.Subscribe(7, ((b"m/#", 2),)))

    def got(self, packet: Any) -> None:
        if isinstance(packet, mqtt.Suback):
            demand(packet.codes == (2,), f"{self.name}: {packet}")
            self.subscribed = True
        elif isinstance(packet, mqtt.Publish):
            if packet.qos == 2:
                if packet.packet_id not in self.held:
                    self.held.add(packet.packet_id)
                    self.received.append((packet.payload, 2))
                self.tell(mqtt.Acknowledge(mqtt.PUBREC, packet.packet_id))
            else:
                demand(packet.qos == 1, f"{self.name}: QoS {packet.qos}")
                self.received.append((packet.payload, 1))
                self.tell(mqtt.Acknowledge(mqtt.PUBACK, packet.packet_id))
        elif isinstance(packet, mqtt.Acknowledge) and packet.kind == mqtt.PUBREL:
            self.held.discard(packet.packet_id)
            self.tell(mqtt.Acknowledge(mqtt.PUBCOMP, packet.packet_id))
        else:
            raise Violation(f"{self.name} got {packet}")

    def owed(self) -> str:
        return (
            super().owed() or ("" if self.subscribed else "SUBACK") or (f"PUBREL of {self.held}" if self.held else "")
        )

    def check(self, publishers: list[MqttPublisher]) -> None:
        counts: dict[bytes, int] = {}
        firsts: list[bytes] = []
        for payload, _ in self.received:
            if payload not in counts:
                firsts.append(payload)
            counts[payload] = counts.get(payload, 0) + 1
        for publisher in publishers:
            for value, (_, qos, finished) in publisher.messages.items():
                count = counts.get(value, 0)
                demand(count or not finished, f"{self.name} never got {value!r} of QoS {qos}, which was acknowledged")
                demand(count <= 1 or qos < 2, f"{self.name} got {value!r} of QoS 2 {count} times")
            for level in (1, 2):  # MQTT 3.1.1 section 4.6: in order for the same topic and QoS
                sent = [publisher.messages[value] for value in firsts if value in publisher.messages]
                numbers = [number for number, qos, _ in sent if qos == level]
                demand(
                    numbers == sorted(numbers), f"{self.name} got {publisher.name}'s QoS {level} in the order {numbers}"
                )
        everything = {value for publisher in publishers for value in publisher.messages}
        demand(set(counts) <= everything, f"{self.name} got what nobody sent: {set(counts) - everything}")


# Kafka


PRODUCE, FETCH, OFFSET_COMMIT, OFFSET_FETCH, INIT_PRODUCER_ID = 0, 1, 8, 9, 22
PRODUCE_VERSION, FETCH_VERSION, COMMIT_VERSION, COMMITTED_VERSION, INIT_VERSION = 8, 11, 3, 3, 1
KAFKA_RETRIABLE = frozenset({-1, 5, 6, 7, 13, 14, 15, 16, 19, 20, 51, 56})


class KafkaPeer(Peer):
    protocol = "kafka"
    codecs = Codecs()

    def __init__(self, name: str, book: Book, chance: random.Random) -> None:
        super().__init__(name, book, chance)
        self.asked: deque[tuple[int, int, int, Any]] = deque()  # correlation, key, version, about
        self.correlation = 0

    def ask(self, key: int, version: int, message: Any, about: Any = None) -> None:
        self.correlation += 1
        who = self.name.encode()
        body = b"".join(map(bytes, self.codecs.encode("request", key, version, message)))
        head = struct.pack(">hhih", key, version, self.correlation, len(who)) + who
        self.asked.append((self.correlation, key, version, about))
        self.say(struct.pack(">i", len(head) + len(body)) + head + body)

    def make(self, key: int, *path: str, **fields: Any) -> Any:
        made = self.codecs.structure("request", key, *path)()
        for name, value in fields.items():
            setattr(made, name, value)
        return made

    def take(self) -> None:
        while len(self.heard) >= 4:
            (size,) = struct.unpack_from(">i", self.heard)
            if len(self.heard) < 4 + size:
                return
            frame = memoryview(bytes(self.heard[4 : 4 + size]))
            del self.heard[: 4 + size]
            demand(self.asked, f"{self.name} was answered unasked")
            correlation, key, version, about = self.asked.popleft()
            (found,) = struct.unpack_from(">i", frame)
            demand(found == correlation, f"{self.name}: an answer to {found}, want {correlation}")
            message, end = self.codecs.decode("response", key, version, frame, 4)
            demand(end == len(frame), f"{self.name}: {len(frame) - end} bytes behind the answer")
            self.answered(key, message, about)

    def answered(self, key: int, message: Any, about: Any) -> None:
        raise NotImplementedError

    def lost(self) -> None:
        super().lost()
        self.asked.clear()


class KafkaProducer(KafkaPeer):
    """acks=all; ``idempotent``: a producer id of its own, and everything unanswered again, in order, after a loss."""

    def __init__(self, name: str, book: Book, chance: random.Random, idempotent: bool) -> None:
        super().__init__(name, book, chance)
        self.idempotent = idempotent
        self.producer = -1
        self.sequence = 0
        self.unfinished: list[tuple[bytes, list[bytes]]] = []

    def opened(self) -> None:
        super().opened()
        if self.idempotent and self.producer < 0:
            self.ask(
                INIT_PRODUCER_ID,
                INIT_VERSION,
                self.make(INIT_PRODUCER_ID, transactional_id=None, transaction_timeout_ms=60_000),
            )
        for batch, values in self.unfinished:
            self._produce(batch, values)

    def act(self) -> None:
        if len(self.unfinished) >= 3 or (self.idempotent and self.producer < 0) or self.drop:
            return
        values = [self.value() for _ in range(self.chance.choice((1, 1, 2, 5)))]
        for index, value in enumerate(values):
            who = self.name if self.idempotent else f"{self.name} life {self.life}"
            self.book.send(value, who, self.number - len(values) + 1 + index)
        batch = _batch(values, self.producer, self.sequence if self.idempotent else -1)
        self.sequence += len(values)
        self.unfinished.append((batch, values))
        self._produce(batch, values)

    def _produce(self, batch: bytes, values: list[bytes]) -> None:
        partition = self.make(PRODUCE, "topic_data", "partition_data", index=0, records=batch)
        topic = self.make(PRODUCE, "topic_data", name="ev", partition_data=[partition])
        self.ask(
            PRODUCE,
            PRODUCE_VERSION,
            self.make(PRODUCE, transactional_id=None, acks=-1, timeout_ms=5000, topic_data=[topic]),
            values,
        )

    def answered(self, key: int, message: Any, about: Any) -> None:
        if key == INIT_PRODUCER_ID:
            if message.error_code:
                demand(
                    message.error_code in KAFKA_RETRIABLE,
                    f"{self.name}: InitProducerId gave error {message.error_code}",
                )
                self.drop = True
            else:
                self.claim(message.producer_id)
            return
        found = message.responses[0].partition_responses[0]
        if found.error_code:
            demand(
                found.error_code in KAFKA_RETRIABLE or (self.drop and found.error_code == 45),
                f"{self.name}: Produce gave error {found.error_code}",
            )
            self.drop = True  # what follows would leave a gap: all of it goes again on a new connection
            if not self.idempotent:
                self.unfinished = [entry for entry in self.unfinished if entry[1] is not about]
            return
        self.unfinished = [entry for entry in self.unfinished if entry[1] is not about]
        for index, value in enumerate(about):
            self.book.acknowledge(value, found.base_offset + index)

    claimed: set[int]
    """Of all producers: ids that were given."""

    def claim(self, producer: int) -> None:
        demand(producer not in self.claimed, f"{self.name}: producer id {producer} was given before")
        self.claimed.add(producer)
        self.producer = producer

    def lost(self) -> None:
        super().lost()
        if not self.idempotent:
            self.unfinished.clear()

    def owed(self) -> str:
        return (
            f"{len(self.unfinished)} Produce" if self.unfinished else f"{len(self.asked)} answers" if self.asked else ""
        )


def _batch(values: list[bytes], producer: int, sequence: int) -> bytes:
    builder = batches.BatchBuilder()
    for value in values:
        builder.add(0, b"k", value)
    made = bytearray(builder.finish(0, -1, 0))
    struct.pack_into(">qhi", made, 43, producer, 0 if producer >= 0 else -1, sequence)
    struct.pack_into(">I", made, 17, crc32c(bytes(made[21:])))
    return bytes(made)


class KafkaConsumer(KafkaPeer):
    """Reads the log from its beginning by long polls, and goes on where it was after every loss; commits its offset to a
    group that each connection has of its own."""

    def __init__(self, name: str, book: Book, chance: random.Random) -> None:
        super().__init__(name, book, chance)
        self.offset = 0
        self.high = 0
        self.groups: dict[str, list[int]] = {}
        """What a group's offset may be: the last answered, and all sent since."""

    def opened(self) -> None:
        super().opened()
        self.groups[self.group()] = [-1]
        self._fetch()

    def group(self) -> str:
        return f"{self.name}-{self.life}"

    def act(self) -> None:
        if len(self.asked) > 3:
            return
        may_be = self.groups[self.group()]
        if self.chance.random() < 0.5:
            may_be.append(self.offset)
            partition = self.make(
                OFFSET_COMMIT,
                "topics",
                "partitions",
                partition_index=0,
                committed_offset=self.offset,
                committed_metadata="",
            )
            topic = self.make(OFFSET_COMMIT, "topics", name="ev", partitions=[partition])
            request = self.make(OFFSET_COMMIT, group_id=self.group(), member_id="", topics=[topic])
            self.ask(OFFSET_COMMIT, COMMIT_VERSION, request, len(may_be))
        else:
            self.ask_committed(self.group(), list(may_be))

    def ask_committed(self, group: str, about: Any) -> None:
        topic = self.make(OFFSET_FETCH, "topics", name="ev", partition_indexes=[0])
        self.ask(OFFSET_FETCH, COMMITTED_VERSION, self.make(OFFSET_FETCH, group_id=group, topics=[topic]), about)

    def _committed(self, key: int, message: Any, about: Any) -> None:
        found: Any = message.topics[0].partitions[0] if message.topics else None
        code = message.error_code if key == OFFSET_FETCH else 0
        code = code or found.error_code
        may_be = self.groups[self.group()]
        if code:
            demand(code in KAFKA_RETRIABLE, f"{self.name}: API {key} gave error {code}")
        elif key == OFFSET_COMMIT:
            about = max(about - self._settled, 1)
            del may_be[: about - 1]
            self._settled += about - 1
        else:
            demand(
                found.committed_offset in about or found.committed_offset in may_be,
                f"{self.name}: group {self.group()} is at {found.committed_offset}, not one of {about}",
            )

    _settled = 0
    """Entries of ``may_be`` that were dropped on this connection."""

    def _fetch(self) -> None:
        partition = self.make(
            FETCH,
            "topics",
            "partitions",
            partition=0,
            fetch_offset=self.offset,
            partition_max_bytes=self.chance.choice((1, 500, 1 << 20)),
        )
        topic = self.make(FETCH, "topics", topic="ev", partitions=[partition])
        self.ask(
            FETCH,
            FETCH_VERSION,
            self.make(
                FETCH, max_wait_ms=self.chance.choice((0, 100, 500)), min_bytes=1, max_bytes=1 << 20, topics=[topic]
            ),
        )

    def lost(self) -> None:
        super().lost()
        self._settled = 0

    def answered(self, key: int, message: Any, about: Any) -> None:
        if key != FETCH:
            self._committed(key, message, about)
            return
        found = message.responses[0].partitions[0] if message.responses else None
        if found is not None and found.error_code == 0:
            for position, value in read_records(found.records or b"", self.offset):
                demand(position == self.offset, f"{self.name}: offset {position}, want {self.offset}")
                demand(
                    position < found.high_watermark,
                    f"{self.name}: offset {position} at watermark {found.high_watermark}",
                )
                self.book.see(position, value)
                self.offset = position + 1
            demand(
                found.high_watermark >= self.high,
                f"{self.name}: the watermark fell from {self.high} to {found.high_watermark}",
            )
            self.high = found.high_watermark
        elif found is not None:
            demand(
                found.error_code in KAFKA_RETRIABLE,
                f"{self.name}: Fetch at {self.offset} gave error {found.error_code}",
            )
        self._fetch()

    def owed(self) -> str:
        return "" if self.offset >= self.high and self.asked else f"records from {self.offset} to {self.high}"


def read_records(data: bytes | memoryview, start: int) -> Iterator[tuple[int, bytes]]:
    """Position and value; of a message that Redis put there, the value of its one field."""
    for part in batches.split(data):
        batches.check(part)
        for record in batches.decode(part, b"ev", start):
            yield record.position, plain(record.value)


def plain(value: bytes | None) -> bytes:
    """The value that a peer put in, however its protocol stores it."""
    return value or b""
