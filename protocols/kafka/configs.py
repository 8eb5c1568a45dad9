"""DescribeConfigs 1-4, IncrementalAlterConfigs 0-1.

Topics and this broker can be described; only topics can be changed, by SET and DELETE (APPEND and SUBTRACT have no list to
change: INVALID_CONFIG). What is told is what holds (``topic_config``); broker configurations are read-only.
Other kinds of resources (loggers, client metrics, groups): INVALID_REQUEST.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocols.kafka.errors import Code, refusal
from protocols.kafka.exchange import Exchange
from protocols.kafka.mapping import address_of, is_reserved
from protocols.kafka.topic_config import (
    BOOLEAN,
    CONFIGS,
    INT,
    LONG,
    OPTION,
    Config,
    ConfigError,
    changed,
    stream_config,
    value_of,
)
from substrate.api import AlterTopic, Answer, Called, StreamError, Topic

TOPIC, BROKER = 2, 4
SET, DELETE = 0, 1
OF_TOPIC, OF_BROKER, DEFAULT = 1, 4, 5
"""Sources: dynamic topic config, static broker config, default config."""


def describe_configs(exchange: Exchange, message: Any) -> None:
    results = [_described(exchange, message, resource) for resource in message.resources]
    exchange.reply(exchange.make(results=results))


def _described(exchange: Exchange, message: Any, resource: Any) -> Any:
    code, text = Code.NONE, None
    configs: list[Any] = []
    if resource.resource_type == TOPIC:
        topic = topic_of(exchange, resource.resource_name)
        if topic is None:
            code = Code.UNKNOWN_TOPIC_OR_PARTITION
        else:
            configs = _of_topic(exchange, message, topic)
    elif resource.resource_type == BROKER:
        if resource.resource_name in ("", str(exchange.settings.node_id)):
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
    defaults = stream_config(exchange.settings)
    found = []
    for config in CONFIGS.values():
        value, default = value_of(config, topic.config), value_of(config, defaults)
        own = OPTION + config.name in topic.options or value != default
        made = _config(exchange, message, config, value, OF_TOPIC if own else DEFAULT)
        if message.include_synonyms:
            synonym = _synonym(exchange)
            made.synonyms = [synonym(config.name, value, OF_TOPIC)] if own else []
            made.synonyms.append(synonym(config.name, default, DEFAULT))
        found.append(made)
    return found


def _synonym(exchange: Exchange) -> Callable[[str, str, int], Any]:
    return lambda name, value, source: exchange.make(
        "results", "configs", "synonyms", name=name, value=value, source=source
    )


def _config(exchange: Exchange, message: Any, config: Config, value: str, source: int) -> Any:
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
    settings = exchange.settings
    told = (
        ("auto.create.topics.enable", BOOLEAN, str(settings.auto_create_topics).lower()),
        ("broker.id", INT, str(settings.node_id)),
        ("connections.max.idle.ms", LONG, str(settings.idle_ms)),
        ("default.replication.factor", INT, "1"),
        ("fetch.max.bytes", INT, str(settings.fetch_bytes_max)),
        ("log.retention.ms", LONG, str(settings.topic_retention_ms)),
        ("message.max.bytes", INT, str(settings.max_message_bytes)),
        ("num.partitions", INT, str(settings.partitions)),
        ("socket.request.max.bytes", INT, str(settings.request_bytes_max)),
    )
    return [_config(exchange, message, Config(name, kind, ""), value, OF_BROKER) for name, kind, value in told]


def topic_of(exchange: Exchange, name: str) -> Topic | None:
    """The topic of this name, if there is one and it is a customer's."""
    address = address_of(name)
    if address is None or is_reserved(address):
        return None
    return exchange.port.topic(exchange.account, address)


class _Alter:
    """One IncrementalAlterConfigs request; each resource is changed whole or not at all."""

    def __init__(self, exchange: Exchange, message: Any) -> None:
        self.exchange = exchange
        self.message = message
        self.results: list[Any] = [None] * len(message.resources)
        self.left = 1 + len(message.resources)
        self.commits: dict[int, int] = {}

    def run(self) -> None:
        for at, resource in enumerate(self.message.resources):
            topic = topic_of(self.exchange, resource.resource_name) if resource.resource_type == TOPIC else None
            if resource.resource_type != TOPIC:
                self._put(at, Code.INVALID_REQUEST, "only topics can be configured")
            elif topic is None:
                self._put(at, Code.UNKNOWN_TOPIC_OR_PARTITION, None)
            else:
                self._alter(at, topic, resource.configs)
        self._one_done()

    def _alter(self, at: int, topic: Topic, asked: list[Any]) -> None:
        config, options = topic.config, dict(topic.options)
        try:
            for one in asked:
                if one.config_operation not in (SET, DELETE) or (one.config_operation == SET and one.value is None):
                    raise ConfigError(f"{one.name}: only SET with a value and DELETE are supported")
                value = one.value if one.config_operation == SET else None
                config = changed(config, one.name, value, self.exchange.settings)
                if value is None:
                    options.pop(OPTION + one.name, None)
                else:
                    options[OPTION + one.name] = value
        except ConfigError as error:
            self._put(at, Code.INVALID_CONFIG, str(error))
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


def incremental_alter_configs(exchange: Exchange, message: Any) -> None:
    _Alter(exchange, message).run()
