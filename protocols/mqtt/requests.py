"""What a session asks of the executor ``mqtt`` and what it is answered: plain data; only a ``Batch`` borrows.

    Connect -> Connected or a reason code    Pull -> Deliveries (parked until there are some) | TakenOver
    Batch   -> Responses        Subscribe -> SubscribeCodes    Unsubscribe -> UnsubscribeCodes    Leave -> None

The executor knows the connection by the session object that the port names; a request of a connection that is not (or no
longer) its client's is answered ``None``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from protocols.identity import Identity
from protocols.mqtt.packets import Acknowledge
from protocols.mqtt.runs import Run
from protocols.mqtt.state import Delivery, WillMessage
from substrate.api import Address


class Connect(NamedTuple):
    identity: Identity
    client_id: bytes
    clean: bool
    expiry_s: int
    level: int
    window: int  # QoS 1 and 2 packets that may be unacknowledged
    packet_bytes_max: int  # the client's
    will: WillMessage | None
    takes_frames: bool = True  # PUBLISHes may come encoded: it has no topic aliases


class Connected(NamedTuple):
    present: bool
    expiry_s: int  # granted
    subscriptions: tuple[tuple[bytes, int, int], ...]  # (filter, options, subscription identifier)


class Pull(NamedTuple):
    """Give this connection what it is owed, as soon as there is something."""


class Deliveries(NamedTuple):
    packets: tuple[Delivery, ...]
    now_ms: int
    frames: bytes = b""  # encoded, to be sent before the packets


class TakenOver(NamedTuple):
    """Another connection has this client identifier now."""


class Incoming(NamedTuple):
    """A PUBLISH that the executor must see: QoS 1 or 2, or RETAIN."""

    address: Address
    topic: bytes
    payload: bytes
    qos: int
    retain: bool
    packet_id: int
    properties: bytes  # that pass on: without topic alias and expiry
    expires_ms: int
    refused: int = 0  # a reason code: acknowledge with it, and nothing else


class Acknowledged(NamedTuple):
    """PUBACKs: an array of packet identifiers."""

    identifiers: Any


Step = Incoming | Acknowledge | Run | Acknowledged


class Batch(NamedTuple):
    """Of one read event, in the order received. Its runs borrow the read buffer."""

    steps: list[Step]

    def own(self) -> Batch:
        """The same, borrowing nothing."""
        return Batch([step.own() if isinstance(step, Run) else step for step in self.steps])


class Responses(NamedTuple):
    """Packets to send in this order: (kind, packet identifier or an array of them, reason code)."""

    packets: list[tuple[int, Any, int]]


class Subscribe(NamedTuple):
    filters: tuple[tuple[bytes, int], ...]  # valid ones: (filter, options)
    identifier: int  # 0: none


class SubscribeCodes(NamedTuple):
    codes: tuple[int, ...]


class Unsubscribe(NamedTuple):
    filters: tuple[bytes, ...]


class UnsubscribeCodes(NamedTuple):
    codes: tuple[int, ...]


class Leave(NamedTuple):
    """The connection ends. ``will``: as if it broke. ``expiry_s`` -1: as it was."""

    will: bool
    expiry_s: int = -1
