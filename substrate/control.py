"""The control plane's first executor, ``topics``: which topics and streams there are. Boots by reading its own stream.

Every change is one command record in ``_thalweg/control`` (stream 1), validated, ordered, replayable. The commands are
the models below: their JSON is the record's value, their kind its key. A command that changed nothing is not recorded.

pydantic validates a command before it is recorded, and describes all of them (``schema``). A replay reads what was
validated when it was written; importing pydantic for it would cost a third of the start-up.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from substrate.api import (
    RESERVED,
    Account,
    Address,
    AlterTopic,
    Called,
    CreateTopic,
    DeleteTopic,
    Durability,
    ErrorCode,
    NewProducerId,
    Record,
    StreamConfig,
    StreamError,
    StreamId,
    StreamKey,
    Topic,
    TrimTopic,
)
from substrate.interest import Tokens

CONTROL = StreamId(1)
FIRST_STREAM = 1024
"""Stream ids below are the substrate's and the executors' own."""
PARTITIONS_MAX = 10_000
PRODUCER_IDS = 100
"""Taken from the stream at once: an id is never given twice, whatever is lost."""


@dataclass(frozen=True, slots=True)
class Command:
    """One record of the control stream."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "strict": True, "revalidate_instances": "always"}
    kind: ClassVar[bytes]

    def encode(self) -> bytes:
        """Its JSON.

        Raises:
            pydantic.ValidationError: a field is not what it is said to be.
        """
        from pydantic import TypeAdapter

        TypeAdapter(type(self)).validate_python(self)
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True).encode()


@dataclass(frozen=True, slots=True)
class TopicSet(Command):
    """Create a topic, or change it as a whole. Names are canonical text in latin-1, ``topic_id`` is base64."""

    kind: ClassVar[bytes] = b"topic_set"
    account: str
    name: str
    topic_id: str
    streams: list[int]
    subjects: list[str]
    config: dict[str, Any]
    options: dict[str, str]
    created_ms: int


@dataclass(frozen=True, slots=True)
class TopicDeleted(Command):
    kind: ClassVar[bytes] = b"topic_deleted"
    account: str
    name: str


@dataclass(frozen=True, slots=True)
class SystemStream(Command):
    """An executor's state stream gets its number."""

    kind: ClassVar[bytes] = b"system_stream"
    name: str
    stream: int


@dataclass(frozen=True, slots=True)
class ProducerIds(Command):
    """Producer ids below ``end`` are taken."""

    kind: ClassVar[bytes] = b"producer_ids"
    end: int


@dataclass(frozen=True, slots=True)
class StreamIds(Command):
    """Stream ids below ``end`` were given, also to streams that are gone. Written in checkpoints only."""

    kind: ClassVar[bytes] = b"stream_ids"
    end: int


_COMMANDS: dict[bytes, type[Command]] = {
    model.kind: model for model in (TopicSet, TopicDeleted, SystemStream, ProducerIds, StreamIds)
}


def decode(kind: bytes, data: bytes) -> Command:
    """The command of a record.

    Raises:
        ValueError: its kind or a field is unknown, or a field is missing.
    """
    try:
        return _COMMANDS[kind](**json.loads(data))
    except (KeyError, TypeError) as error:
        raise ValueError(f"no command of this version: {kind!r} {error}") from None


def schema() -> dict[str, Any]:
    """JSON Schema of every command, by kind: the spec from which the docs are made."""
    from pydantic import TypeAdapter

    return {kind.decode(): TypeAdapter(model).json_schema() for kind, model in _COMMANDS.items()}


def _topic(command: TopicSet) -> Topic:
    config = dict(command.config)
    config["durability"] = Durability(config["durability"])
    return Topic(
        account=Account(command.account),
        name=Address(command.name.encode("latin-1")),
        topic_id=base64.b64decode(command.topic_id),
        streams=tuple(StreamId(stream) for stream in command.streams),
        subjects=tuple(subject.encode("latin-1") for subject in command.subjects),
        config=StreamConfig(**config),
        options=command.options,
        created_ms=command.created_ms,
    )


def _command(topic: Topic) -> TopicSet:
    config = {name: getattr(topic.config, name) for name in StreamConfig.__slots__}
    config["durability"] = topic.config.durability.value
    return TopicSet(
        account=topic.account,
        name=topic.name.decode("latin-1"),
        topic_id=base64.b64encode(topic.topic_id).decode(),
        streams=list(topic.streams),
        subjects=[subject.decode("latin-1") for subject in topic.subjects],
        config=config,
        options=topic.options,
        created_ms=topic.created_ms,
    )


class Topics:
    """The executor. ``on_set(topic)`` and ``on_deleted(topic)`` tell the sequencer to open and close streams."""

    name = "topics"
    version = 1

    def __init__(self, on_set: Callable[[Topic], None], on_deleted: Callable[[Topic], None]) -> None:
        self.topics: dict[tuple[Account, Address], Topic] = {}
        self.system: dict[str, StreamId] = {}
        self._next_stream = FIRST_STREAM
        self._next_system = int(CONTROL) + 1
        self._producer_end = 1
        self._producer_next = 1
        self._producer_commit = 0
        """That made the ids below ``_producer_end`` ours: none of them may be known before it is durable."""
        self._on_set = on_set
        self._on_deleted = on_deleted
        self._world: Any = None

    def start(self, world: Any) -> None:
        self._world = world
        self._producer_next = self._producer_end

    def apply(self, record: Record) -> None:
        self._fold(decode(record.key or b"", record.value or b""))

    def _fold(self, command: Command) -> None:
        if isinstance(command, TopicSet):
            topic = _topic(command)
            self.topics[topic.account, topic.name] = topic
            self._next_stream = max(self._next_stream, *(stream + 1 for stream in topic.streams))
            self._on_set(topic)
        elif isinstance(command, TopicDeleted):
            gone = self.topics.pop((Account(command.account), Address(command.name.encode("latin-1"))))
            self._on_deleted(gone)
        elif isinstance(command, SystemStream):
            self.system[command.name] = StreamId(command.stream)
            self._next_system = max(self._next_system, command.stream + 1)
        elif isinstance(command, ProducerIds):
            self._producer_end = max(self._producer_end, command.end)
        elif isinstance(command, StreamIds):
            self._next_stream = max(self._next_stream, command.end)

    def _decide(self, command: Command) -> int:
        """Record the command and fold it: the same fold as on replay."""
        commit: int = self._world.record(command.encode(), command.kind)
        self._fold(command)
        return commit

    def own_streams(self) -> dict[str, StreamId]:
        """The server's own, by what stands behind ``_thalweg/``."""
        return {**self.system, "control": CONTROL}

    def system_stream(self, name: str) -> StreamId:
        """The number of an executor's state stream, given on first use."""
        if name not in self.system:
            self._decide(SystemStream(name=name, stream=self._next_system))
        return self.system[name]

    def execute(self, request: object, token: int, session: object) -> Called:
        """Answers ``Called`` with a Topic, Tail, int or StreamError."""
        if isinstance(request, CreateTopic):
            return self._create(request)
        if isinstance(request, AlterTopic):
            return self._alter(request)
        if isinstance(request, DeleteTopic):
            topic = self.topics.get((request.account, request.name))
            if topic is None:
                return Called(StreamError(ErrorCode.NO_STREAM))
            return Called(topic, self._decide(TopicDeleted(account=topic.account, name=topic.name.decode("latin-1"))))
        if isinstance(request, TrimTopic):
            topic = self.topics.get((request.account, request.name))
            if topic is None or not 0 <= request.partition < len(topic.streams):
                return Called(StreamError(ErrorCode.NO_STREAM))
            stream = topic.streams[request.partition]
            return Called(self._world.trim(stream, request.before), self._world.ordered_commit(stream))
        if isinstance(request, NewProducerId):
            if self._producer_next >= self._producer_end:
                self._producer_commit = self._decide(ProducerIds(end=self._producer_next + PRODUCER_IDS))
            self._producer_next += 1
            return Called(self._producer_next - 1, self._producer_commit)
        return Called(StreamError(ErrorCode.UNSUPPORTED, type(request).__name__))

    def _create(self, request: CreateTopic) -> Called:
        if (request.account, request.name) in self.topics:
            return Called(StreamError(ErrorCode.EXISTS, request.name.decode("latin-1")))
        refused = _refuse(request.name, request.partitions, request.subjects)
        if refused is not None:
            return Called(refused)
        topic = Topic(
            account=request.account,
            name=request.name,
            topic_id=b"".join(self._world.random().to_bytes(8, "big") for _ in range(2)),
            streams=tuple(StreamId(self._next_stream + index) for index in range(request.partitions)),
            subjects=request.subjects,
            config=request.config,
            options=dict(request.options),
            created_ms=self._world.now_ns // 1_000_000,
        )
        if request.validate_only:
            return Called(topic)
        commit = self._decide(_command(topic))
        return Called(self.topics[topic.account, topic.name], commit)

    def _alter(self, request: AlterTopic) -> Called:
        topic = self.topics.get((request.account, request.name))
        if topic is None:
            return Called(StreamError(ErrorCode.NO_STREAM))
        streams = topic.streams
        if request.partitions is not None:
            if not len(streams) <= request.partitions <= PARTITIONS_MAX:
                return Called(
                    StreamError(ErrorCode.INVALID, f"{len(streams)} partitions cannot become {request.partitions}")
                )
            more = request.partitions - len(streams)
            streams += tuple(StreamId(self._next_stream + index) for index in range(more))
        if request.subjects is not None:
            refused = _refuse(topic.name, len(streams), request.subjects)
            if refused is not None:
                return Called(refused)
        changed = replace(
            topic,
            streams=streams,
            subjects=topic.subjects if request.subjects is None else request.subjects,
            config=topic.config if request.config is None else request.config,
            options=topic.options if request.options is None else dict(request.options),
        )
        if changed == topic:
            return Called(topic)
        if (changed.config.durability is Durability.MEMORY) != (topic.config.durability is Durability.MEMORY):
            return Called(StreamError(ErrorCode.UNSUPPORTED, "a stream stays in memory or on disk"))
        return Called(changed, self._decide(_command(changed)))

    def answered(self, token: int, answer: object) -> None:
        """Nothing is asked of anybody."""

    def gone(self, session: object) -> None:
        """Nothing is parked."""

    def tick(self, now_ns: int) -> None:
        """Nothing is timed."""

    def dump(self) -> bytes:
        """The whole state as commands, in a fixed order."""
        commands: list[Command] = [
            SystemStream(name=name, stream=stream) for name, stream in sorted(self.system.items())
        ]
        commands += [_command(self.topics[key]) for key in sorted(self.topics)]
        commands += [ProducerIds(end=self._producer_end), StreamIds(end=self._next_stream)]
        return b"\n".join(command.kind + b" " + command.encode() for command in commands)

    def load(self, data: bytes) -> None:
        for line in data.split(b"\n"):
            kind, _, command = line.partition(b" ")
            self._fold(decode(kind, command))


def _refuse(name: Address, partitions: int, subjects: tuple[bytes, ...]) -> StreamError | None:
    if not name or name.split(b"/", 1)[0] == RESERVED:
        return StreamError(ErrorCode.INVALID, f"the name {name!r} is not a customer's")
    if not 1 <= partitions <= PARTITIONS_MAX:
        return StreamError(ErrorCode.INVALID, f"{partitions} partitions, limit {PARTITIONS_MAX}")
    for subject in subjects:
        try:
            Tokens(subject)
        except ValueError as error:
            return StreamError(ErrorCode.INVALID, str(error))
        if subject.split(b"/", 1)[0] == RESERVED:
            return StreamError(ErrorCode.DENIED, f"{subject!r} is reserved")
    return None


def stream_keys(topic: Topic) -> list[tuple[StreamId, StreamKey]]:
    """The topic's streams and their names, by partition."""
    return [(stream, StreamKey(topic.account, topic.name, index)) for index, stream in enumerate(topic.streams)]
