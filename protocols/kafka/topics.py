"""CreateTopics 2-7, DeleteTopics 1-6, CreatePartitions 0-3, DeleteRecords 0-2.

* A topic's replication factor is 1 (asked for as -1 or 1; more: INVALID_REPLICATION_FACTOR, as of a Kafka of one broker).
  An assignment by hand must give every partition to this broker.
* A configuration is enforced or refused with INVALID_CONFIG (``topic_config``).
* Names: see ``mapping``; a reserved one is INVALID_TOPIC_EXCEPTION. A topic named twice in a request: INVALID_REQUEST.
* Answers leave when the change is durable; ``timeout_ms`` bounds nothing. A deleted topic's group offsets go with it.
* DeleteRecords moves the log's start; -1 means all that is durable; beyond that: OFFSET_OUT_OF_RANGE. Of a topic that is
  compacted and not deleted from: POLICY_VIOLATION.
* All of them need MANAGE on the topic's address.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from protocols.kafka.access import MANAGE, find, listed, may
from protocols.kafka.errors import Code, refusal
from protocols.kafka.exchange import Exchange
from protocols.kafka.group_requests import ForgetTopic
from protocols.kafka.mapping import address_of, is_reserved
from protocols.kafka.topic_config import (
    COMPACT,
    CONFIGS,
    DELETES,
    POLICY,
    ConfigError,
    changed,
    is_own,
    stream_config,
    values,
)
from substrate.api import (
    Address,
    AlterTopic,
    Answer,
    Called,
    CreateTopic,
    DeleteTopic,
    ErrorCode,
    Position,
    StreamError,
    Tail,
    Topic,
    TrimTopic,
)

DEFAULT_CONFIG = 5
DYNAMIC_TOPIC_CONFIG = 1


class Refusal(Exception):
    """Of one topic in a request."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class _Batch:
    """Answers of a request over many things, in its order; ``finish`` gets them with the commits to wait for."""

    def __init__(self, count: int, finish: Callable[[list[Any], dict[int, int]], None]) -> None:
        self._answers: list[Any] = [None] * count
        self._left = count + 1
        self._finish = finish
        self._commits: dict[int, int] = {}

    def put(self, at: int, answer: Any, called: Answer = None) -> None:
        if isinstance(called, Called):
            self._commits[called.shard] = max(self._commits.get(called.shard, 0), called.commit)
        self._answers[at] = answer
        self.done()

    def done(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._finish(self._answers, self._commits)


def creation(exchange: Exchange, address: Address, partitions: int | None = None) -> CreateTopic:
    """The request that creates a topic with the listener's defaults."""
    settings = exchange.settings
    return CreateTopic(exchange.account, address, partitions or settings.partitions, config=stream_config(settings))


def create_topics(exchange: Exchange, message: Any) -> None:
    times = Counter(topic.name for topic in message.topics)
    named = {topic.name: topic for topic in message.topics}.values()  # one answer for each name
    batch = _Batch(len(named), lambda made, commits: exchange.reply(exchange.make(topics=made), commits))
    left = exchange.settings.partitions_max
    for at, asked in enumerate(named):
        try:
            if times[asked.name] > 1:
                raise Refusal(Code.INVALID_REQUEST, "the topic is named twice in the request")
            request = _creation(exchange, asked, message.validate_only)
            if request.partitions > left:
                raise Refusal(
                    Code.INVALID_PARTITIONS, f"{exchange.settings.partitions_max} partitions a request at most"
                )
            left -= request.partitions
        except Refusal as refused:
            batch.put(at, _not_created(exchange, asked.name, refused.code, refused.text))
            continue
        exchange.call("topics", request, _created(exchange, asked.name, batch, at))
    batch.done()


def _creation(exchange: Exchange, asked: Any, validate_only: bool) -> CreateTopic:
    """Raises: Refusal."""
    address = address_of(asked.name)
    if address is None or is_reserved(address):
        raise Refusal(Code.INVALID_TOPIC_EXCEPTION, f"topic name {asked.name!r} is illegal")
    if not may(exchange, MANAGE, address):
        raise Refusal(Code.TOPIC_AUTHORIZATION_FAILED, "Authorization failed.")
    if exchange.port.topic(exchange.account, address) is not None:
        raise Refusal(Code.TOPIC_ALREADY_EXISTS, f"Topic '{asked.name}' already exists.")
    changes = [(one.name, one.value) for one in asked.configs]
    for name, value in changes:
        if value is None:
            raise Refusal(Code.INVALID_CONFIG, f"Null value not supported for topic configs: {name}")
    try:
        config, options = changed(stream_config(exchange.settings), {}, changes, exchange.settings)
    except ConfigError as error:
        raise Refusal(Code.INVALID_CONFIG, str(error)) from None
    return CreateTopic(exchange.account, address, _partitions(exchange, asked), (), config, options, validate_only)


def _partitions(exchange: Exchange, asked: Any) -> int:
    """How many are asked for. Raises: Refusal."""
    settings = exchange.settings
    if asked.assignments:
        if asked.num_partitions != -1 or asked.replication_factor != -1:
            raise Refusal(Code.INVALID_REQUEST, "both an assignment and a number of partitions or replicas")
        indexes = sorted(one.partition_index for one in asked.assignments)
        if indexes != list(range(len(indexes))):
            raise Refusal(Code.INVALID_REPLICA_ASSIGNMENT, "partitions are not numbered from 0 on")
        if any(list(one.broker_ids) != [settings.node_id] for one in asked.assignments):
            raise Refusal(Code.INVALID_REPLICA_ASSIGNMENT, f"there is one broker, {settings.node_id}")
        return len(indexes)
    if asked.replication_factor < -1 or asked.replication_factor == 0:
        raise Refusal(
            Code.INVALID_REPLICATION_FACTOR, "Replication factor must be larger than 0, or -1 to use the default value."
        )
    count = settings.partitions if asked.num_partitions == -1 else int(asked.num_partitions)
    if not 1 <= count <= settings.partitions_max:
        raise Refusal(Code.INVALID_PARTITIONS, f"{count} partitions, limit {settings.partitions_max}")
    if asked.replication_factor not in (-1, 1):
        raise Refusal(
            Code.INVALID_REPLICATION_FACTOR, f"replication factor {asked.replication_factor}: there is one broker"
        )
    return count


def _created(exchange: Exchange, name: str, batch: _Batch, at: int) -> Callable[[Answer], None]:
    def answered(answer: Answer) -> None:
        made = answer.answer if isinstance(answer, Called) else answer
        if isinstance(made, Topic):
            batch.put(at, _told(exchange, name, made), answer)
        else:
            code, text = refusal(made, Code.NOT_CONTROLLER)
            if isinstance(made, StreamError) and made.code is ErrorCode.INVALID:
                code = Code.INVALID_TOPIC_EXCEPTION
            batch.put(at, _not_created(exchange, name, code, text))

    return answered


def _told(exchange: Exchange, name: str, topic: Topic) -> Any:
    settings = exchange.settings
    held, defaults = values(topic.config, topic.options, settings), values(stream_config(settings), {}, settings)
    configs = []
    for config in CONFIGS.values():
        source = DYNAMIC_TOPIC_CONFIG if is_own(config, topic, held, defaults) else DEFAULT_CONFIG
        value = held[config.name]
        configs.append(exchange.make("topics", "configs", name=config.name, value=value, config_source=source))
    return exchange.make(
        "topics",
        name=name,
        topic_id=topic.topic_id,
        error_message=None,
        num_partitions=len(topic.streams),
        replication_factor=1,
        configs=configs,
    )


def _not_created(exchange: Exchange, name: str, code: Code, text: str) -> Any:
    return exchange.make("topics", name=name, error_code=code, error_message=text, configs=[])


def delete_topics(exchange: Exchange, message: Any) -> None:
    by_id = exchange.version >= 6
    wanted = message.topics if by_id else message.topic_names
    batch = _Batch(len(wanted), lambda made, commits: exchange.reply(exchange.make(responses=made), commits))
    ids = {topic.topic_id: name for topic, name in listed(exchange)} if by_id else {}
    for at, one in enumerate(wanted):
        name = one.name if by_id else one
        topic, missing = None, Code.UNKNOWN_TOPIC_ID
        if name is None:
            name = ids.get(one.topic_id)
        if name is not None:
            topic, missing = find(exchange, name, MANAGE)
        if topic is None or name is None:
            topic_id = one.topic_id if by_id else bytes(16)
            batch.put(at, exchange.make("responses", name=name, topic_id=topic_id, error_code=missing))
        else:
            _delete(exchange, topic, name, batch, at)
    batch.done()


def _delete(exchange: Exchange, topic: Topic, name: str, batch: _Batch, at: int) -> None:
    def answered(answer: Answer) -> None:
        made = answer.answer if isinstance(answer, Called) else answer
        if isinstance(made, StreamError) or not isinstance(answer, Called):
            code, text = refusal(made, Code.NOT_CONTROLLER)
            batch.put(
                at, exchange.make("responses", name=name, topic_id=topic.topic_id, error_code=code, error_message=text)
            )
            return
        batch.put(at, exchange.make("responses", name=name, topic_id=topic.topic_id), answer)
        exchange.call("groups", ForgetTopic(exchange.account, name), lambda forgotten: None)

    exchange.call("topics", DeleteTopic(topic.account, topic.name), answered)


def create_partitions(exchange: Exchange, message: Any) -> None:
    batch = _Batch(len(message.topics), lambda made, commits: exchange.reply(exchange.make(results=made), commits))
    for at, asked in enumerate(message.topics):
        try:
            topic = _grown(exchange, asked)
        except Refusal as refused:
            result = exchange.make("results", name=asked.name, error_code=refused.code, error_message=refused.text)
            batch.put(at, result)
            continue
        if message.validate_only:
            batch.put(at, exchange.make("results", name=asked.name))
            continue
        request = AlterTopic(topic.account, topic.name, partitions=asked.count)
        exchange.call("topics", request, _grew(exchange, asked.name, batch, at))
    batch.done()


def _grown(exchange: Exchange, asked: Any) -> Topic:
    """The topic that may have ``count`` partitions. Raises: Refusal."""
    topic, code = find(exchange, asked.name, MANAGE)
    if topic is None:
        raise Refusal(code, "This server does not host this topic-partition." if code == 3 else "Authorization failed.")
    now, most = len(topic.streams), exchange.settings.partitions_max
    if not now < asked.count <= most:
        raise Refusal(Code.INVALID_PARTITIONS, f"{asked.count} partitions; there are {now}, limit {most}")
    if asked.assignments is not None:
        if len(asked.assignments) != asked.count - now:
            raise Refusal(Code.INVALID_REPLICA_ASSIGNMENT, "not one assignment a new partition")
        if any(list(one.broker_ids) != [exchange.settings.node_id] for one in asked.assignments):
            raise Refusal(Code.INVALID_REPLICA_ASSIGNMENT, f"there is one broker, {exchange.settings.node_id}")
    return topic


def _grew(exchange: Exchange, name: str, batch: _Batch, at: int) -> Callable[[Answer], None]:
    def answered(answer: Answer) -> None:
        made = answer.answer if isinstance(answer, Called) else answer
        if isinstance(made, Topic):
            batch.put(at, exchange.make("results", name=name), answer)
        else:
            code, text = refusal(made, Code.NOT_CONTROLLER)
            code = Code.INVALID_PARTITIONS if code is Code.INVALID_REQUEST else code
            batch.put(at, exchange.make("results", name=name, error_code=code, error_message=text))

    return answered


def delete_records(exchange: Exchange, message: Any) -> None:
    wanted = [(topic, partition) for topic in message.topics for partition in topic.partitions]

    def finish(made: list[Any], commits: dict[int, int]) -> None:
        topics, at = [], 0
        for topic in message.topics:
            count = len(topic.partitions)
            topics.append(exchange.make("topics", name=topic.name, partitions=made[at : at + count]))
            at += count
        exchange.reply(exchange.make(topics=topics), commits)

    batch = _Batch(len(wanted), finish)
    for at, (topic, partition) in enumerate(wanted):
        _Trim(exchange, topic.name, partition, batch, at).run()
    batch.done()


class _Trim:
    """One partition of a DeleteRecords request: how far it reaches, then the trim."""

    def __init__(self, exchange: Exchange, name: str, asked: Any, batch: _Batch, at: int) -> None:
        self.exchange = exchange
        self.topic, self.code = find(exchange, name, MANAGE)
        self.asked = asked
        self.batch = batch
        self.at = at

    def run(self) -> None:
        if self.topic is None:
            self._put(self.code)
            return
        if not 0 <= self.asked.partition_index < len(self.topic.streams):
            self._put(Code.UNKNOWN_TOPIC_OR_PARTITION)
            return
        policy = values(self.topic.config, self.topic.options, self.exchange.settings)[POLICY]
        if COMPACT in policy and DELETES not in policy:
            self._put(Code.POLICY_VIOLATION)
            return
        stream = self.topic.streams[self.asked.partition_index]
        self.exchange.port.query("tail", stream, self.exchange.ask(self._tail))

    def _tail(self, answer: Answer) -> None:
        assert self.topic is not None
        if not isinstance(answer, Tail):
            self._put(refusal(answer)[0])
            return
        before = answer.committed if self.asked.offset == -1 else self.asked.offset
        if not 0 <= before <= answer.committed:
            self._put(Code.OFFSET_OUT_OF_RANGE)
            return
        request = TrimTopic(self.topic.account, self.topic.name, self.asked.partition_index, Position(before))
        self.exchange.call("topics", request, self._trimmed)

    def _trimmed(self, answer: Answer) -> None:
        made = answer.answer if isinstance(answer, Called) else answer
        if isinstance(made, Tail):
            self._put(Code.NONE, made.start, answer)
        else:
            self._put(refusal(made, Code.NOT_LEADER_OR_FOLLOWER)[0])

    def _put(self, code: Code, low: int = -1, called: Answer = None) -> None:
        made = self.exchange.make(
            "topics",
            "partitions",
            partition_index=self.asked.partition_index,
            low_watermark=low,
            error_code=code,
        )
        self.batch.put(self.at, made, called)
