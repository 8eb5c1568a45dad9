"""From the process's configuration to what each protocol's sessions are told."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from thalweg import __version__
from thalweg.config import MEMORY, Config, parse_address

if TYPE_CHECKING:
    from protocols.api import Port, Session
    from protocols.resp.session import Settings as RespSettings


def sessions(
    config: Config, listeners: Mapping[str, tuple[str, int]], identity: bytes
) -> tuple[dict[str, Callable[[Port], Session]], RespSettings]:
    """A session factory for each listener by name, and what the Redis keyspace is told. ``identity``: 16 bytes, the same for
    the same data as long as it lives."""
    from protocols.kafka.session import KafkaSession
    from protocols.kafka.session import Settings as KafkaSettings
    from protocols.mqtt.session import MqttSession
    from protocols.mqtt.session import Settings as MqttSettings
    from protocols.nats.session import NatsSession
    from protocols.nats.session import Settings as NatsSettings
    from protocols.resp.session import RespSession
    from protocols.resp.session import Settings as RespSettings

    host, port = advertised(config.kafka.advertise, listeners.get("kafka") or listeners.get("kafka_tls"))
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
    host, port = advertised(config.kafka.tls_advertise, listeners.get("kafka_tls"))
    kafka_tls = dataclasses.replace(kafka, host=host, port=port)
    nats_host, nats_port = listeners.get("nats_tls", (nats_host, nats_port))
    nats_tls = dataclasses.replace(
        nats, host=nats_host, port=nats_port, tls=True, tls_verify=bool(config.tls.client_ca)
    )
    mqtt = fill(MqttSettings, config.mqtt)
    resp_port = listeners.get("resp", ("127.0.0.1", 6379))[1]
    resp = fill(RespSettings, config.resp, port=resp_port, appendonly=config.data != MEMORY)
    made: dict[str, Callable[[Port], Session]] = {
        "kafka": lambda port: KafkaSession(port, kafka),
        "kafka_tls": lambda port: KafkaSession(port, kafka_tls),
        "nats": lambda port: NatsSession(port, nats),
        "nats_tls": lambda port: NatsSession(port, nats_tls),
        "mqtt": lambda port: MqttSession(port, mqtt),
        "resp": lambda port: RespSession(port, resp),
    }
    made |= {"mqtt_tls": made["mqtt"], "resp_tls": made["resp"]}
    for name in ("nats", "mqtt"):  # within TLS, too, what such a session says is plain
        made |= dict.fromkeys((f"{name}_websocket", f"{name}_websocket_tls"), made[name])
    return {name: made[name] for name in made if name in listeners}, resp


def advertised(told: str, listener: tuple[str, int] | None) -> tuple[str, int]:
    """Where Kafka clients are sent: where the configuration says, or where the listener is."""
    host, port = (parse_address(told) if told else listener) or ("127.0.0.1", 9092)
    return (socket.gethostname() if host in ("0.0.0.0", "::") else host), port  # those nobody can connect to


def mqtt_limits(config: Config) -> Any:
    """What the executor of MQTT's sessions is told."""
    from protocols.mqtt.sessions import Limits

    return fill(Limits, config.mqtt, version=f"thalweg version {__version__}")


def fill(settings: Any, section: object, **more: object) -> Any:
    """The protocol's settings from the keys of the same names, and what the process adds."""
    known = {entry.name for entry in dataclasses.fields(settings)}
    values = {entry.name: getattr(section, entry.name) for entry in dataclasses.fields(section)}  # type: ignore[arg-type]
    return settings(**{name: value for name, value in (values | more).items() if name in known})
