"""Every executor by name: the sequencer makes them at start, the checkpointer folds for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from protocols.api import Executor
    from protocols.mqtt.sessions import Limits
    from protocols.resp.session import Settings


def executors(resp: Settings | None = None, mqtt: Limits | None = None) -> dict[str, Callable[[], Executor]]:
    """Factories in the order in which they are replayed; ``topics`` is the sequencer's own."""
    from protocols.kafka.groups import Groups
    from protocols.mqtt.sessions import Limits, Sessions
    from protocols.nats.jetstream import JetStream
    from protocols.resp.keyspace import Keyspace
    from protocols.resp.session import Settings as RespSettings
    from substrate.control import Topics
    from thalweg.processes import Processes

    settings = resp or RespSettings()
    limits = mqtt or Limits()
    return {
        "topics": lambda: cast("Executor", Topics(lambda topic: None, lambda topic: None)),
        "jetstream": JetStream,
        "mqtt": lambda: Sessions(limits),
        "groups": Groups,
        "resp": lambda: Keyspace(settings),
        "proc": Processes,
    }
