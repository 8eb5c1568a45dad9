"""From the process's configuration to what each protocol's sessions are told."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from thalweg.config import MEMORY, Config, parse_address

if TYPE_CHECKING:
    from protocols.api import Port, Session
    from protocols.resp.session import Settings as RespSettings


def sessions(
    config: Config, listeners: Mapping[str, tuple[str, int]], identity: bytes
) -> tuple[dict[str, Callable[[Port], Session]], RespSettings]:
    """A session factory for each listener, and what the Redis keyspace is told. ``identity``: 16 bytes, the same for
    the same data as long as it lives."""
    from protocols.kafka.session import KafkaSession
    from protocols.kafka.session import Settings as KafkaSettings
    from protocols.mqtt.session import MqttSession
    from protocols.mqtt.session import Settings as MqttSettings
    from protocols.nats.session import NatsSession
    from protocols.nats.session import Settings as NatsSettings
    from protocols.resp.session import RespSession
    from protocols.resp.session import Settings as RespSettings

    advertised = parse_address(config.kafka.advertise) if config.kafka.advertise else listeners.get("kafka")
    host, port = advertised or ("127.0.0.1", 9092)
    if host in ("0.0.0.0", "::"):  # nothing that a client could connect to
        host = socket.gethostname()
    kafka = fill(
        KafkaSettings,
        config.kafka,
        host=host,
        port=port,
        cluster_id=base64.urlsafe_b64encode(identity).decode().rstrip("="),
        durability=config.durability.default,
        interval_ms=config.durability.interval_ms,
    )
    nats_host, nats_port = listeners.get("nats", ("127.0.0.1", 4222))
    name = config.nats.server_name
    nats = fill(
        NatsSettings,
        config.nats,
        host=nats_host,
        port=nats_port,
        server_id="N" + base64.b32encode(hashlib.sha256(identity + name.encode()).digest()).decode().rstrip("=")[:55],
        durability=config.durability.default,
        interval_ms=config.durability.interval_ms,
    )
    mqtt = fill(MqttSettings, config.mqtt)
    resp_port = listeners.get("resp", ("127.0.0.1", 6379))[1]
    resp = fill(RespSettings, config.resp, port=resp_port, appendonly=config.data != MEMORY)
    made: dict[str, Callable[[Port], Session]] = {
        "kafka": lambda port: KafkaSession(port, kafka),
        "nats": lambda port: NatsSession(port, nats),
        "mqtt": lambda port: MqttSession(port, mqtt),
        "resp": lambda port: RespSession(port, resp),
    }
    return {name: made[name] for name in made if name in listeners}, resp


def mqtt_limits(config: Config) -> Any:
    """What the executor of MQTT's sessions is told."""
    from protocols.mqtt.sessions import Limits

    return fill(Limits, config.mqtt)


def fill(settings: Any, section: object, **more: object) -> Any:
    """The protocol's settings from the keys of the same names, and what the process adds."""
    known = {entry.name for entry in dataclasses.fields(settings)}
    values = {entry.name: getattr(section, entry.name) for entry in dataclasses.fields(section)}  # type: ignore[arg-type]
    return settings(**{name: value for name, value in (values | more).items() if name in known})
