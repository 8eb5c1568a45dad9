"""`$SYS/broker/...`: what the executor knows of the whole broker, under mosquitto's names, for dashboards that read them.

A value is sent to whoever subscribes, and then when it has changed, every ``sys_interval_s``. Values are retained: a new
subscription is given all that it matches. Nothing is recorded, and nothing is counted while nobody is subscribed. They are
seen in the default account only.

Not here: what only connections know (messages and bytes received and sent, `load/...`) and the heap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.mqtt import mapping
from protocols.mqtt.state import Message
from substrate.api import DEFAULT_ACCOUNT, Account, Ack, Group
from substrate.interest import Tokens

if TYPE_CHECKING:
    from protocols.mqtt.sessions import Sessions

ROOT = b"$SYS"
NAMES = (
    b"version", b"uptime", b"clients/total", b"clients/connected", b"clients/active", b"clients/disconnected",
    b"clients/inactive", b"clients/maximum", b"clients/expired", b"subscriptions/count", b"shared_subscriptions/count",
    b"retained messages/count", b"messages/stored", b"store/messages/count", b"store/messages/bytes",
    b"publish/messages/dropped",
)  # fmt: skip


class System:
    def __init__(self, owner: Sessions, interval_s: int, version: str) -> None:
        self._owner = owner
        self._interval_ns = interval_s * 1_000_000_000
        self._version = version.encode()
        self._began_ms = 0
        self._due_ns = 0  # 0: nobody is subscribed
        self._told: dict[bytes, bytes] = {}
        self.maximum = 0
        """Most connections at once."""
        self.expired = 0
        """Sessions that ended while their client was away."""
        self.dropped = 0
        """Messages that a full queue did not take."""

    def start(self) -> None:
        self._began_ms = self._owner.now_ms()

    def wanted(self, account: Account, pattern: Tokens) -> None:
        """A subscription is there: if it is one of ours, values are sent from now on."""
        if pattern.parts[0] == ROOT and account == DEFAULT_ACCOUNT and self._interval_ns and not self._due_ns:
            self._told = self._values()
            self._due_ns = self._owner.world.now_ns + self._interval_ns
            self._owner.world.wake(self._due_ns)

    def retained(self, account: Account, pattern: Tokens) -> list[Message]:
        """The values that a new subscription is given."""
        if pattern.parts[0] != ROOT or account != DEFAULT_ACCOUNT or not self._interval_ns:
            return []
        found = []
        for name, value in self._values().items():
            topic = ROOT + b"/broker/" + name
            if pattern.matches(mapping.address_of(topic)):
                found.append(Message(topic, value, 2, True, b"", 0))
        return found

    def tick(self, now_ns: int) -> None:
        if not self._due_ns or now_ns < self._due_ns:
            return
        world = self._owner.world
        values = self._values()
        heard = False
        for name, value in values.items():
            route = world.resolve(DEFAULT_ACCOUNT, mapping.address_of(ROOT + b"/broker/" + name))
            if (route.sinks or route.queues) and not route.stream:
                heard = True
                if self._told.get(name) != value:
                    world.publish(route, Group.of(route.address, value), "", Ack.NONE, 0)
        self._told = values
        self._due_ns = now_ns + self._interval_ns if heard else 0
        if heard:
            world.wake(self._due_ns)

    def _values(self) -> dict[bytes, bytes]:
        state = self._owner.state
        total, connected = len(state.sessions), self._owner.connected()
        away = total - connected
        stored = sum(len(session.entries) + session.lane_count() for session in state.sessions.values())
        numbers = (
            total, connected, connected, away, away, self.maximum, self.expired,
            sum(len(session.subscriptions) for session in state.sessions.values()), len(state.shares),
            sum(retained.count for retained in state.retained.values()), stored, stored, state.owed_bytes, self.dropped,
        )  # fmt: skip
        uptime = b"%d seconds" % ((self._owner.now_ms() - self._began_ms) // 1000)
        return dict(zip(NAMES, (self._version, uptime, *(b"%d" % number for number in numbers)), strict=True))
