"""What Kafka calls a topic's configuration, over ``StreamConfig``: enforced, or refused.

A configuration that is enforced is a ``Config`` with a place in ``StreamConfig``. One that only has the value that this
gateway really has (``cleanup.policy=delete``) takes that value and no other. An unknown name is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from protocols.kafka.exchange import Settings
from substrate.api import RECORD_BYTES_MAX, Durability, StreamConfig

BOOLEAN, STRING, INT, LONG, DOUBLE, LIST = 1, 2, 3, 5, 6, 7
"""Types as DescribeConfigs 3 tells them (ConfigDef.Type, behaviour)."""
LONG_MAX = (1 << 63) - 1
SEGMENT_BYTES_MIN = 1024 * 1024
OPTION = "kafka."
"""What a client set by itself is kept as text in ``Topic.options`` under this prefix."""


class ConfigError(Exception):
    """The value or the name is refused; the text goes to the client."""


@dataclass(frozen=True, slots=True)
class Config:
    """One name. ``fixed`` is its only value; else ``get`` and ``set`` are its place in StreamConfig."""

    name: str
    kind: int
    documentation: str
    fixed: str | None = None
    get: Callable[[StreamConfig], str] = lambda config: ""
    set: Callable[[StreamConfig, str], StreamConfig] = lambda config, text: config


def _number(
    field: str, least: int, most: int
) -> tuple[Callable[[StreamConfig], str], Callable[[StreamConfig, str], StreamConfig]]:
    def put(config: StreamConfig, text: str) -> StreamConfig:
        try:
            number = int(text)
        except ValueError:
            raise ConfigError(f"{text!r} is not a number") from None
        if not least <= number <= most:
            raise ConfigError(f"{number} is not within {least} and {most}")
        changes: dict[str, Any] = {field: number}
        return replace(config, **changes)

    return (lambda config: str(getattr(config, field))), put


def _put_durability(config: StreamConfig, text: str) -> StreamConfig:
    if text not in ("sync", "os", "interval"):
        raise ConfigError(f"{text!r} is none of sync, os, interval")
    return replace(config, durability=Durability(text))


def _configs() -> Iterable[Config]:
    yield Config("cleanup.policy", LIST, "Old segments are deleted; compaction is not spoken yet.", "delete")
    yield Config("compression.type", STRING, "Batches stay as their producer compressed them.", "producer")
    yield Config("delete.retention.ms", LONG, "Of compacted topics only.", "86400000")
    yield Config("file.delete.delay.ms", LONG, "Files are removed when nothing reads them.", "60000")
    yield Config("flush.messages", LONG, "See thalweg.durability.", str(LONG_MAX))
    yield Config("flush.ms", LONG, "See thalweg.durability.", str(LONG_MAX))
    yield Config("follower.replication.throttled.replicas", LIST, "There are no followers.", "")
    yield Config("index.interval.bytes", INT, "Indexes are the engine's own.", "4096")
    yield Config("leader.replication.throttled.replicas", LIST, "There are no followers.", "")
    yield Config("max.compaction.lag.ms", LONG, "Of compacted topics only.", str(LONG_MAX))
    yield Config(
        "max.message.bytes", INT, "Largest batch taken, as compressed.", None,
        *_number("record_bytes_max", 0, RECORD_BYTES_MAX),
    )  # fmt: skip
    yield Config("message.timestamp.after.max.ms", LONG, "Timestamps are not judged.", str(LONG_MAX))
    yield Config("message.timestamp.before.max.ms", LONG, "Timestamps are not judged.", str(LONG_MAX))
    yield Config("message.timestamp.type", STRING, "Timestamps are the producer's.", "CreateTime")
    yield Config("min.cleanable.dirty.ratio", DOUBLE, "Of compacted topics only.", "0.5")
    yield Config("min.compaction.lag.ms", LONG, "Of compacted topics only.", "0")
    yield Config("min.insync.replicas", INT, "One broker.", "1")
    yield Config("preallocate", BOOLEAN, "The engine's own.", "false")
    yield Config(
        "retention.bytes", LONG, "Of a partition; whole segments go. -1: no limit.", None,
        *_number("retention_bytes", -1, LONG_MAX),
    )  # fmt: skip
    yield Config(
        "retention.ms", LONG, "Whole segments go when their last record is older. -1: no limit.", None,
        *_number("retention_ms", -1, LONG_MAX),
    )  # fmt: skip
    yield Config(
        "segment.bytes", INT, "Size at which a segment is closed.", None,
        *_number("segment_bytes", SEGMENT_BYTES_MIN, (1 << 31) - 1),
    )  # fmt: skip
    yield Config("segment.index.bytes", INT, "Indexes are the engine's own.", "10485760")
    yield Config("segment.jitter.ms", LONG, "Segments are not closed by time.", "0")
    yield Config("segment.ms", LONG, "Segments are not closed by time.", "604800000")
    yield Config(
        "thalweg.durability", STRING, "sync: acks=all waits for fsync; os: for the page cache; interval: fsync by the clock.",
        None, lambda config: config.durability.value, _put_durability,
    )  # fmt: skip
    yield Config("unclean.leader.election.enable", BOOLEAN, "There is nobody to elect.", "false")


CONFIGS: MappingProxyType[str, Config] = MappingProxyType({config.name: config for config in _configs()})


def stream_config(settings: Settings) -> StreamConfig:
    """Of a topic created without any configuration."""
    return StreamConfig(
        durability=Durability(settings.durability),
        retention_ms=settings.topic_retention_ms,
        record_bytes_max=settings.max_message_bytes,
        interval_ms=settings.interval_ms,
    )


def changed(config: StreamConfig, name: str, value: str | None, settings: Settings) -> StreamConfig:
    """``config`` with this one set; None: back to its default.

    Raises:
        ConfigError: the name is unknown, or the value cannot be had.
    """
    known = CONFIGS.get(name)
    if known is None:
        raise ConfigError(f"unknown topic config name: {name}")
    if known.fixed is not None:
        if value is not None and value.strip() != known.fixed:
            raise ConfigError(f"{name}={value} is not supported, only {known.fixed!r}: {known.documentation}")
        return config
    try:
        return known.set(config, known.get(stream_config(settings)) if value is None else value.strip())
    except ConfigError as error:
        raise ConfigError(f"invalid value {value} for configuration {name}: {error}") from None


def value_of(config: Config, of: StreamConfig) -> str:
    return config.get(of) if config.fixed is None else config.fixed
