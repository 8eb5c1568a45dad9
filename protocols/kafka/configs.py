"""DescribeConfigs 1-4, AlterConfigs 0-2, IncrementalAlterConfigs 0-1.

Topics and this broker can be described; only topics can be changed. AlterConfigs replaces all that a topic says by itself;
IncrementalAlterConfigs knows SET, DELETE and, for lists, APPEND and SUBTRACT. What is told is what holds (``topic_config``); broker
configurations are read-only. Other kinds of resources (loggers, client metrics, groups): INVALID_REQUEST.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from protocols.kafka.access import MANAGE, find, may_manage_cluster
from protocols.kafka.commits import METADATA_UNITS_MAX
from protocols.kafka.errors import Code, refusal
from protocols.kafka.exchange import Exchange
from protocols.kafka.mapping import address_of
from protocols.kafka.membership import GroupSettings
from protocols.kafka.topic_config import (
    BOOLEAN,
    CONFIGS,
    INT,
    LIST,
    LONG,
    OPTION,
    STRING,
    Change,
    Config,
    ConfigError,
    changed,
    is_own,
    stream_config,
    values,
)
from substrate.api import Address, AlterTopic, Answer, Called, StreamError, Topic

TOPIC, BROKER = 2, 4
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3
NOWHERE = Address(b"")
"""Of a topic that there is not; what it would become is judged before that is said."""
OF_TOPIC, OF_BROKER, DEFAULT = 1, 4, 5
"""Sources: dynamic topic config, static broker config, default config."""


def describe_configs(exchange: Exchange, message: Any) -> None:
    results = [_described(exchange, message, resource) for resource in message.resources]
    exchange.reply(exchange.make(results=results))


def _described(exchange: Exchange, message: Any, resource: Any) -> Any:
    code, text = Code.NONE, None
    configs: list[Any] = []
    if resource.resource_type == TOPIC:
        topic, code = find(exchange, resource.resource_name, None)
        if address_of(resource.resource_name) is None:
            code = Code.INVALID_TOPIC_EXCEPTION
        if topic is not None:
            configs = _of_topic(exchange, message, topic)
    elif resource.resource_type == BROKER:
        if not may_manage_cluster(exchange):
            code = Code.CLUSTER_AUTHORIZATION_FAILED
        elif resource.resource_name in ("", str(exchange.settings.node_id)):
            configs = _of_broker(exchange, message)
        else:
            code, text = Code.INVALID_REQUEST, f"there is one broker, {exchange.settings.node_id}"
    else:
        code, text = Code.INVALID_REQUEST, f"resource type {resource.resource_type} is not supported"
    wanted = resource.configuration_keys
    if wanted is not None:
        configs = [config for config in configs if config.name in wanted]
    return exchange.make(
        "results",
        error_code=code,
        error_message=text,
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
        configs=configs,
    )


def _of_topic(exchange: Exchange, message: Any, topic: Topic) -> list[Any]:
    settings = exchange.settings
    held, defaults = values(topic.config, topic.options, settings), values(stream_config(settings), {}, settings)
    found = []
    for config in CONFIGS.values():
        value = held[config.name]
        own = is_own(config, topic, held, defaults)
        made = _config(exchange, message, config, value, OF_TOPIC if own else DEFAULT)
        if message.include_synonyms:
            synonym = _synonym(exchange)
            made.synonyms = [synonym(config.name, value, OF_TOPIC)] if own else []
            made.synonyms.append(synonym(config.name, defaults[config.name], DEFAULT))
        found.append(made)
    return found


def _synonym(exchange: Exchange) -> Callable[[str, str, int], Any]:
    return lambda name, value, source: exchange.make(
        "results", "configs", "synonyms", name=name, value=value, source=source
    )


def _config(exchange: Exchange, message: Any, config: Config, value: str | None, source: int) -> Any:
    return exchange.make(
        "results",
        "configs",
        name=config.name,
        value=value,
        read_only=source == OF_BROKER,
        config_source=source,
        config_type=config.kind,
        documentation=config.documentation if message.include_documentation else None,
    )


def _of_broker(exchange: Exchange, message: Any) -> list[Any]:
    settings, groups = exchange.settings, GroupSettings()
    held = values(stream_config(settings), {}, settings)
    hours, rest = divmod(settings.topic_retention_ms, HOUR_MS)
    told: tuple[tuple[str, int, object], ...] = (
        ("auto.create.topics.enable", BOOLEAN, str(settings.auto_create_topics).lower()),
        ("broker.id", INT, settings.node_id),
        ("compression.type", STRING, held["compression.type"]),
        ("connections.max.idle.ms", LONG, settings.idle_ms),
        ("default.replication.factor", INT, 1),
        ("delete.topic.enable", BOOLEAN, "true"),
        ("fetch.max.bytes", INT, settings.fetch_bytes_max),
        ("group.initial.rebalance.delay.ms", INT, settings.group_initial_rebalance_ms),
        ("group.max.session.timeout.ms", INT, groups.session_timeout_ms_max),
        ("group.max.size", INT, groups.members_max),
        ("group.min.session.timeout.ms", INT, groups.session_timeout_ms_min),
        ("log.cleanup.policy", LIST, held["cleanup.policy"]),
        ("log.message.timestamp.type", STRING, held["message.timestamp.type"]),
        ("log.retention.bytes", LONG, held["retention.bytes"]),
        ("log.retention.hours", INT, None if rest else hours),
        ("log.retention.ms", LONG, settings.topic_retention_ms if rest else None),
        ("log.segment.bytes", INT, held["segment.bytes"]),
        ("message.max.bytes", INT, settings.max_message_bytes),
        ("min.insync.replicas", INT, held["min.insync.replicas"]),
        ("node.id", INT, settings.node_id),
        ("num.partitions", INT, settings.partitions),
        ("offset.metadata.max.bytes", INT, METADATA_UNITS_MAX),
        ("offsets.retention.minutes", INT, groups.offset_retention_ms // MINUTE_MS),
        ("socket.request.max.bytes", INT, settings.request_bytes_max),
    )
    return [
        _config(exchange, message, Config(name, kind, ""), None if value is None else str(value), OF_BROKER)
        for name, kind, value in told
    ]


class _Alter:
    """One request that changes configurations; each resource is changed whole or not at all.

    ``changes`` of a resource's entries and its topic gives what to change. Raises: ConfigError.
    """

    def __init__(
        self, exchange: Exchange, message: Any, changes: Callable[[Exchange, list[Any], Topic], Iterable[Change]]
    ) -> None:
        self.exchange = exchange
        self.message = message
        self.changes = changes
        self.results: list[Any] = [None] * len(message.resources)
        self.left = 1 + len(message.resources)
        self.commits: dict[int, int] = {}

    def run(self) -> None:
        named = Counter((resource.resource_type, resource.resource_name) for resource in self.message.resources)
        for at, resource in enumerate(self.message.resources):
            if named[resource.resource_type, resource.resource_name] > 1:
                self._put(at, Code.INVALID_REQUEST, "the resource is named twice in the request")
            elif resource.resource_type == BROKER and not may_manage_cluster(self.exchange):
                self._put(at, Code.CLUSTER_AUTHORIZATION_FAILED, None)
            elif resource.resource_type != TOPIC:
                self._put(at, Code.INVALID_REQUEST, "only topics can be configured")
            else:
                self._alter(at, resource.resource_name, resource.configs)
        self._one_done()

    def _alter(self, at: int, name: str, asked: list[Any]) -> None:
        exchange, address = self.exchange, address_of(name)
        topic, code = find(exchange, name, MANAGE)
        if topic is None and code is Code.TOPIC_AUTHORIZATION_FAILED:
            self._put(at, code, None)
            return
        held = topic or Topic(exchange.account, address or NOWHERE, b"", (), (), stream_config(exchange.settings))
        try:
            changes = self.changes(exchange, asked, held)
            if address is None:
                self._put(at, Code.INVALID_TOPIC_EXCEPTION, f"topic name {name!r} is illegal")
                return
            config, options = changed(held.config, held.options, changes, exchange.settings)
        except ConfigError as error:
            self._put(at, Code.INVALID_CONFIG, str(error))
            return
        if topic is None:
            self._put(at, code, None)
            return
        if self.message.validate_only:
            self._put(at, Code.NONE, None)
            return

        def answered(answer: Answer) -> None:
            made = answer.answer if isinstance(answer, Called) else answer
            if isinstance(made, Topic) and isinstance(answer, Called):
                self.commits[answer.shard] = max(self.commits.get(answer.shard, 0), answer.commit)
                self._put(at, Code.NONE, None)
            else:
                code, text = refusal(made, Code.NOT_CONTROLLER)
                self._put(
                    at,
                    Code.INVALID_CONFIG if isinstance(made, StreamError) and code is Code.INVALID_REQUEST else code,
                    text,
                )

        self.exchange.call("topics", AlterTopic(topic.account, topic.name, config=config, options=options), answered)

    def _put(self, at: int, code: Code, text: str | None) -> None:
        resource = self.message.resources[at]
        self.results[at] = self.exchange.make(
            "responses",
            error_code=code,
            error_message=text,
            resource_type=resource.resource_type,
            resource_name=resource.resource_name,
        )
        self._one_done()

    def _one_done(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.exchange.reply(self.exchange.make(responses=self.results), self.commits)


def _all(exchange: Exchange, asked: list[Any], topic: Topic) -> list[Change]:
    """What is not named goes back to its default."""
    changes: dict[str, str | None] = {name: None for name, config in CONFIGS.items() if OPTION + name in topic.options}
    for one in asked:
        if one.value is None:
            raise ConfigError(f"Null value not supported for topic configs: {one.name}")
        changes[one.name] = one.value
    return list(changes.items())


def _some(exchange: Exchange, asked: list[Any], topic: Topic) -> list[Change]:
    held = values(topic.config, topic.options, exchange.settings)
    changes: dict[str, str | None] = {}
    for one in asked:
        if one.name in changes:
            raise ConfigError(f"{one.name} is named twice")
        changes[one.name] = _operated(one, held)
    return list(changes.items())


def _operated(one: Any, held: dict[str, str]) -> str | None:
    """The value that one entry of IncrementalAlterConfigs makes. Raises: ConfigError."""
    operation = one.config_operation
    if operation == DELETE:
        return None
    if operation not in (SET, APPEND, SUBTRACT):
        raise ConfigError(f"{one.name}: there is no operation {operation}")
    if one.value is None:
        raise ConfigError(f"Null value not supported for: {one.name}")
    if operation == SET:
        return str(one.value)
    config = CONFIGS.get(one.name)
    if config is None or config.kind != LIST:
        raise ConfigError(f"{one.name} is no list to append to or subtract from")
    words = [word for word in held.get(one.name, "").split(",") if word]
    given = [word.strip() for word in one.value.split(",")]
    if operation == APPEND:
        return ",".join([*words, *(word for word in given if word not in words)])
    return ",".join(word for word in words if word not in given)


def alter_configs(exchange: Exchange, message: Any) -> None:
    _Alter(exchange, message, _all).run()


def incremental_alter_configs(exchange: Exchange, message: Any) -> None:
    _Alter(exchange, message, _some).run()
