"""JetStream's push side: where a consumer with ``deliver_subject`` delivers, flow control, heartbeats, rate.

As nats-server 2.15 does it (server/consumer.go, behaviour): messages leave while somebody subscribes to the subject (any
protocol's client; of a queue group one member each); a message that nobody could get waits. Flow control asks for a
confirmation at ``$JS.FC.`` when half the window is unconfirmed, and stops at the whole of it; a heartbeat names the
confirmation that is missing (``Nats-Consumer-Stalled``). Who subscribes is looked at before each delivery, and while nobody
does, ``POLL_NS`` after anybody's interest changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocols.nats import jetstream_pull
from protocols.nats.jetstream_consumer import Consumer, Push
from protocols.nats.jetstream_wire import status
from substrate.api import Route

if TYPE_CHECKING:
    from protocols.nats.jetstream import JetStream

POLL_NS = 50_000_000
FLOW_REQUEST = status(100, "FlowControl Request")
FLOW = b"$JS.FC."


def bind(owner: JetStream, consumer: Consumer, push: Push) -> bool:
    """Whether somebody gets its deliveries now; if nobody, it is looked at again when interest changes."""
    bound = bool(owner.sinks(consumer.account, push.reply)[1])
    _bound(owner, consumer, push, bound)
    return bound


def _bound(owner: JetStream, consumer: Consumer, push: Push, bound: bool) -> None:
    now_ns = owner.world.now_ns
    if bound and not push.bound:
        push.heartbeat_due_ns = now_ns + push.heartbeat_ns
        owner.watch(consumer.stream_id)
    elif push.bound and not bound:
        push.unconfirmed_bytes, push.flow_bytes, push.flow_id = 0, 0, b""
        consumer.active_ns = now_ns
    push.bound = bound
    if not bound:
        owner.unbound(consumer)


def ready(owner: JetStream, consumer: Consumer, push: Push) -> tuple[Push, Route, list[Any]] | None:
    """Who gets the next message; None: nobody can take one now."""
    route, sinks = owner.sinks(consumer.account, push.reply)
    _bound(owner, consumer, push, bool(sinks))
    if route is None or not sinks or push.stalled():
        return None
    if jetstream_pull.pressed(sinks):
        consumer.again_ns = owner.world.now_ns + jetstream_pull.PRESSED_NS
        return None
    return push, route, sinks


def ask_confirmation(owner: JetStream, route: Route, sinks: list[Any], subject: bytes, reply: bytes) -> None:
    owner.send(route, sinks, subject, reply, FLOW_REQUEST, b"")


def confirmed(owner: JetStream, consumer: Consumer, subject: bytes) -> None:
    """A client took what it was sent: the window opens, twice as wide."""
    push = consumer.push
    if push is not None and push.confirm(subject):
        jetstream_pull.serve(owner, consumer)


def timed(owner: JetStream, consumer: Consumer, push: Push) -> None:
    """A heartbeat may be due."""
    now_ns = owner.world.now_ns
    if push.heartbeat_ns and push.bound and now_ns >= push.heartbeat_due_ns:
        push.heartbeat_due_ns = now_ns + push.heartbeat_ns
        stalled = {"Nats_Consumer_Stalled": push.flow_id.decode()} if push.flow_id else {}
        route, sinks = owner.sinks(consumer.account, push.reply)
        _bound(owner, consumer, push, bool(sinks))
        if route is not None and sinks:
            owner.send(route, sinks, push.reply, b"", jetstream_pull.heartbeat(consumer, **stalled), b"")
