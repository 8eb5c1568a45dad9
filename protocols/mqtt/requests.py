"""What a session asks of the executor ``mqtt`` and what it is answered: plain data, nothing borrowed.

    Connect -> Connected or a reason code    Pull -> Deliveries (parked until there are some) | TakenOver
    Batch   -> Responses        Subscribe -> SubscribeCodes    Unsubscribe -> UnsubscribeCodes    Leave -> None

The executor knows the connection by the session object that the port names; a request of a connection that is not (or no
longer) its client's is answered ``None``.
"""

from __future__ import annotations

from typing import NamedTuple

from protocols.identity import Identity
from protocols.mqtt.packets import Acknowledge
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


class Connected(NamedTuple):
    present: bool
    expiry_s: int  # granted
    subscriptions: tuple[tuple[bytes, int, int], ...]  # (filter, options, subscription identifier)


class Pull(NamedTuple):
    """Give this connection what it is owed, as soon as there is something."""


class Deliveries(NamedTuple):
    packets: tuple[Delivery, ...]
    now_ms: int


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


class Batch(NamedTuple):
    """Of one read event, in the order received."""

    steps: list[Incoming | Acknowledge]


class Responses(NamedTuple):
    """Packets to send in this order: (kind, packet id, reason code)."""

    packets: list[tuple[int, int, int]]


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
