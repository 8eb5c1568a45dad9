"""What Kafka calls a topic's configuration: enforced, or refused.

A configuration is enforced by the stream layer (it has a place in ``StreamConfig``), or by Produce (``Rules``: what is kept
as text in ``Topic.options`` alone), or it is *fixed*: it takes the value that this gateway really has and no other.
An unknown name is refused.

``retention.ms`` and ``retention.bytes`` hold while ``cleanup.policy`` has ``delete``; without it they are kept as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from protocols.kafka.exchange import DAY_MS, Settings
from substrate.api import RECORD_BYTES_MAX, Durability, StreamConfig, Topic

BOOLEAN, STRING, INT, LONG, DOUBLE, LIST = 1, 2, 3, 5, 6, 7
"""Types as DescribeConfigs 3 tells them (ConfigDef.Type, behaviour)."""
INT_MAX, LONG_MAX = (1 << 31) - 1, (1 << 63) - 1
SEGMENT_BYTES_MIN = 1024 * 1024
SEGMENT_MS_MIN = 1000
AFTER_MAX_MS = 3_600_000
"""message.timestamp.after.max.ms of a topic that does not say (KIP-1030)."""
OPTION = "kafka."
"""What a client set by itself is kept as text in ``Topic.options`` under this prefix."""
POLICY, COMPACT, DELETES = "cleanup.policy", "compact", "delete"
RETENTION = ("retention.ms", "retention.bytes")
CODECS = {"uncompressed": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
"""Values of compression.type that have a codec; ``producer`` has none."""


class ConfigError(Exception):
    """The value or the name is refused; the text goes to the client."""


@dataclass(frozen=True, slots=True)
class Config:
    """One name. ``fixed``: its only value. ``check`` gives a value's text or refuses it. ``get`` and ``put`` are its place in
    StreamConfig, where it has one; else ``default`` holds until a client sets it."""

    name: str
    kind: int
    documentation: str
    fixed: str | None = None
    default: str = ""
    check: Callable[[str], str] = str
    get: Callable[[StreamConfig], str] | None = None
    put: Callable[[StreamConfig, str], StreamConfig] | None = None


def _fixed(name: str, kind: int, value: str, documentation: str) -> Config:
    return Config(name, kind, documentation, fixed=value)


def _whole(least: int, most: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        try:
            number = int(text)
        except ValueError:
            raise ConfigError(f"{text!r} is not a number") from None
        if not least <= number <= most:
            raise ConfigError(f"{number} is not within {least} and {most}")
        return str(number)

    return check


def _one_of(*words: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in words:
            raise ConfigError(f"String must be one of: {', '.join(words)}")
        return text

    return check


def _number(name: str, kind: int, field: str, least: int, most: int, documentation: str) -> Config:
    """A number with a place of its own in StreamConfig."""

    def put(config: StreamConfig, text: str) -> StreamConfig:
        changes: dict[str, Any] = {field: int(text)}
        return replace(config, **changes)

    return Config(
        name, kind, documentation, check=_whole(least, most), get=lambda config: str(getattr(config, field)), put=put
    )


def _check_policy(text: str) -> str:
    words = [word.strip() for word in text.split(",")] if text else []
    if not set(words) <= {COMPACT, DELETES}:
        raise ConfigError(f"String must be one of: {COMPACT}, {DELETES}")
    return ",".join(dict.fromkeys(words))


def _check_ratio(text: str) -> str:
    try:
        ratio = float(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a number") from None
    if not 0 <= ratio <= 1 or round(ratio * 100) != ratio * 100:
        raise ConfigError(f"{text} is not within 0 and 1 in steps of 0.01")
    return str(ratio)


def _configs() -> Iterable[Config]:
    yield Config(
        POLICY, LIST, "delete: by age and size. compact: of each key the last record is kept. Both, or neither.",
        default=DELETES, check=_check_policy,
    )  # fmt: skip
    yield _fixed("compression.gzip.level", INT, "-1", "See compression.type.")
    yield _fixed("compression.lz4.level", INT, "9", "See compression.type.")
    yield Config(
        "compression.type", STRING, "producer: batches stay as they came; else they are compressed anew by this.",
        default="producer", check=_one_of("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
    )  # fmt: skip
    yield _fixed("compression.zstd.level", INT, "3", "See compression.type.")
    yield _number(
        "delete.retention.ms", LONG, "tombstone_ms", 0, LONG_MAX, "How long a compacted topic keeps tombstones."
    )
    yield _fixed("file.delete.delay.ms", LONG, "60000", "Files are removed when nothing reads them.")
    yield _fixed("flush.messages", LONG, str(LONG_MAX), "See thalweg.durability.")
    yield _fixed("flush.ms", LONG, str(LONG_MAX), "See thalweg.durability.")
    yield _fixed("follower.replication.throttled.replicas", LIST, "", "There are no followers.")
    yield _fixed("index.interval.bytes", INT, "4096", "Indexes are the engine's own.")
    yield _fixed("leader.replication.throttled.replicas", LIST, "", "There are no followers.")
    yield _fixed("local.retention.bytes", LONG, "-2", "There is no remote storage.")
    yield _fixed("local.retention.ms", LONG, "-2", "There is no remote storage.")
    yield _fixed("max.compaction.lag.ms", LONG, str(LONG_MAX), "Compaction is not hurried.")
    yield _number(
        "max.message.bytes", INT, "record_bytes_max", 0, RECORD_BYTES_MAX, "Largest batch taken, as compressed."
    )
    yield Config(
        "message.timestamp.after.max.ms", LONG, "How far ahead of the clock a producer's timestamps may be.",
        default=str(AFTER_MAX_MS), check=_whole(0, LONG_MAX),
    )  # fmt: skip
    yield Config(
        "message.timestamp.before.max.ms", LONG, "How far behind the clock a producer's timestamps may be.",
        default=str(LONG_MAX), check=_whole(0, LONG_MAX),
    )  # fmt: skip
    yield Config(
        "message.timestamp.type", STRING, "CreateTime: timestamps are the producer's. LogAppendTime: of the append.",
        check=_one_of("CreateTime", "LogAppendTime"),
        get=lambda config: "LogAppendTime" if config.append_time else "CreateTime",
        put=lambda config, text: replace(config, append_time=text == "LogAppendTime"),
    )  # fmt: skip
    yield Config(
        "min.cleanable.dirty.ratio", DOUBLE, "How much of a log must be new before it is compacted again.",
        check=_check_ratio, get=lambda config: str(config.compaction_percent / 100),
        put=lambda config, text: replace(config, compaction_percent=round(float(text) * 100)),
    )  # fmt: skip
    yield _number(
        "min.compaction.lag.ms", LONG, "compaction_lag_ms", 0, LONG_MAX, "How long a record is safe from compaction."
    )
    yield Config(
        "min.insync.replicas", INT, "Of the replicas there are: always the one.",
        default="1", check=_whole(1, INT_MAX),
    )  # fmt: skip
    yield _fixed("preallocate", BOOLEAN, "false", "The engine's own.")
    yield _fixed("remote.log.copy.disable", BOOLEAN, "false", "There is no remote storage.")
    yield _fixed("remote.log.delete.on.disable", BOOLEAN, "false", "There is no remote storage.")
    yield _fixed("remote.storage.enable", BOOLEAN, "false", "There is no remote storage.")
    yield _number(
        "retention.bytes", LONG, "retention_bytes", -1, LONG_MAX, "Of a partition; whole segments go. -1: no limit."
    )
    yield _number(
        "retention.ms", LONG, "retention_ms", -1, LONG_MAX,
        "Whole segments go when their last record is older. -1: no limit.",
    )  # fmt: skip
    yield _number(
        "segment.bytes", INT, "segment_bytes", SEGMENT_BYTES_MIN, INT_MAX, "Size at which a segment is closed."
    )
    yield _fixed("segment.index.bytes", INT, "10485760", "Indexes are the engine's own.")
    yield _fixed("segment.jitter.ms", LONG, "0", "Segments are closed without jitter.")
    yield _number(
        "segment.ms", LONG, "segment_ms", SEGMENT_MS_MIN, LONG_MAX,
        "A segment whose first record is older is closed: it can then be deleted or compacted.",
    )  # fmt: skip
    yield Config(
        "thalweg.durability", STRING, "sync: acks=all waits for fsync; os: for the page cache; interval: fsync by the clock.",
        check=_one_of("sync", "os", "interval"), get=lambda config: config.durability.value,
        put=lambda config, text: replace(config, durability=Durability(text)),
    )  # fmt: skip
    yield _fixed("unclean.leader.election.enable", BOOLEAN, "false", "There is nobody to elect.")


CONFIGS: MappingProxyType[str, Config] = MappingProxyType({config.name: config for config in _configs()})


def stream_config(settings: Settings) -> StreamConfig:
    """Of a topic created without any configuration."""
    return StreamConfig(
        durability=Durability(settings.durability),
        retention_ms=settings.topic_retention_ms,
        record_bytes_max=settings.max_message_bytes,
        interval_ms=settings.interval_ms,
        segment_ms=7 * DAY_MS,
    )


def values(of: StreamConfig, options: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Every configuration by name, as it holds."""
    found: dict[str, str] = {}
    defaults = stream_config(settings)
    for config in CONFIGS.values():
        if config.fixed is not None:
            found[config.name] = config.fixed
        elif config.get is None:
            found[config.name] = options.get(OPTION + config.name, config.default)
        elif config.name in RETENTION and DELETES not in found[POLICY]:
            found[config.name] = options.get(OPTION + config.name, config.get(defaults))
        else:
            found[config.name] = config.get(of)
    return found


Change = tuple[str, str | None]
"""A name and its new value; None: back to the default."""


def changed(
    of: StreamConfig, options: Mapping[str, str], changes: Iterable[Change], settings: Settings
) -> tuple[StreamConfig, dict[str, str]]:
    """What a topic's stream configuration and options become.

    Raises:
        ConfigError: a name is unknown, or a value cannot be had.
    """
    held, kept = values(of, options, settings), dict(options)
    defaults = values(stream_config(settings), {}, settings)
    for name, value in changes:
        config = CONFIGS.get(name)
        if config is None and value is None:
            continue  # Kafka takes that too: there is nothing to forget
        if config is None:
            raise ConfigError(f"Unknown topic config name: {name}")
        if value is None:
            held[name] = defaults[name]
            kept.pop(OPTION + name, None)
        else:
            held[name] = kept[OPTION + name] = _checked(config, value.strip())
    made = of
    for config in CONFIGS.values():
        if config.put is not None:
            made = config.put(made, held[config.name])
    policy = held[POLICY].split(",")
    if DELETES not in policy:
        made = replace(made, retention_ms=-1, retention_bytes=-1)
    return replace(made, compaction=COMPACT in policy), kept


def _checked(config: Config, value: str) -> str:
    """Raises: ConfigError."""
    if config.fixed is not None:
        if value != config.fixed:
            raise ConfigError(f"{config.name}={value} is not supported, only {config.fixed!r}: {config.documentation}")
        return value
    try:
        return config.check(value)
    except ConfigError as error:
        raise ConfigError(f"Invalid value {value} for configuration {config.name}: {error}") from None


def is_own(config: Config, topic: Topic, held: Mapping[str, str], defaults: Mapping[str, str]) -> bool:
    """Whether the topic itself says so (or whoever made it): not a default."""
    return OPTION + config.name in topic.options or held[config.name] != defaults[config.name]


class Rules(NamedTuple):
    """What Produce holds a batch to. ``codec`` -1: as it came."""

    codec: int
    before_ms: int
    after_ms: int
    keyed: bool


DEFAULT_RULES = Rules(-1, LONG_MAX, AFTER_MAX_MS, False)


def rules(topic: Topic) -> Rules:
    options = topic.options
    if not options:
        return DEFAULT_RULES
    return Rules(
        CODECS.get(options.get(OPTION + "compression.type", ""), -1),
        int(options.get(OPTION + "message.timestamp.before.max.ms", LONG_MAX)),
        int(options.get(OPTION + "message.timestamp.after.max.ms", AFTER_MAX_MS)),
        topic.config.compaction,
    )
