"""DescribeLogDirs 1-4, DescribeProducers 0, ListPartitionReassignments 0: what administrators look at.

* There is one log directory, told as ``/`` + the cluster's id: paths of this machine are nobody's business. Its size and
  room are not told (-1). It needs MANAGE on ``_thalweg``.
* DescribeProducers tells the idempotent producers whose batches a partition still holds.
* Partitions are never reassigned: the list is empty.
"""

from __future__ import annotations

from typing import Any

from protocols.kafka.access import READ, find, listed, may_manage_cluster
from protocols.kafka.errors import Code, refusal
from protocols.kafka.exchange import Exchange
from protocols.kafka.offsets import Partitions, stream_of
from substrate.api import Answer, StreamId


class _LogDirs:
    """One request: the size of each partition asked for."""

    def __init__(self, exchange: Exchange, message: Any) -> None:
        self.exchange = exchange
        self.left = 1
        self.made: list[Any] = []
        if message.topics is None:
            self.wanted = [(name, dict(enumerate(topic.streams))) for topic, name in listed(exchange)]
        else:
            self.wanted = [(asked.topic, self._streams(asked)) for asked in message.topics]

    def _streams(self, asked: Any) -> dict[int, StreamId]:
        topic, _ = find(self.exchange, asked.topic, None)
        streams = () if topic is None else topic.streams
        return {index: streams[index] for index in asked.partitions if 0 <= index < len(streams)}

    def run(self) -> None:
        for name, streams in self.wanted:
            if not streams:
                continue  # what is not here is in no log directory
            partitions: list[Any] = []
            self.made.append(self.exchange.make("results", "topics", name=name, partitions=partitions))
            for index, stream in streams.items():
                made = self.exchange.make("results", "topics", "partitions", partition_index=index)
                partitions.append(made)
                self.left += 1
                self.exchange.port.query("stored", stream, self.exchange.ask(self._measured(made)))
        self._one_done()

    def _measured(self, made: Any) -> Any:
        def answered(answer: Answer) -> None:
            made.partition_size = answer if isinstance(answer, int) else -1
            self._one_done()

        return answered

    def _one_done(self) -> None:
        self.left -= 1
        if self.left == 0:
            exchange = self.exchange
            path = f"/{exchange.settings.cluster_id}"
            exchange.reply(exchange.make(results=[exchange.make("results", log_dir=path, topics=self.made)]))


def describe_log_dirs(exchange: Exchange, message: Any) -> None:
    if not may_manage_cluster(exchange):
        exchange.reply(exchange.make(error_code=Code.CLUSTER_AUTHORIZATION_FAILED))
        return
    _LogDirs(exchange, message).run()


def describe_producers(exchange: Exchange, message: Any) -> None:
    answers = Partitions(exchange, message, "name", "partition_indexes")
    for at_topic, topic in enumerate(message.topics):
        for at, index in enumerate(topic.partition_indexes):
            stream, code = stream_of(exchange, topic.name, index, READ)
            answer = _Producers(exchange, index, answers, at_topic, at)
            if stream:
                exchange.port.query("producers", stream, exchange.ask(answer.take))
            else:
                answer.put(code)
    answers.done()


class _Producers:
    """One partition of a DescribeProducers request."""

    def __init__(self, exchange: Exchange, index: int, answers: Partitions, at_topic: int, at: int) -> None:
        self.exchange = exchange
        self.index = index
        self.answers = answers
        self.at_topic = at_topic
        self.at = at

    def take(self, answer: Answer) -> None:
        """``answer``: (producer id, epoch, last sequence, last timestamp) of each."""
        if not isinstance(answer, tuple):
            self.put(refusal(answer)[0])
            return
        path = ("topics", "partitions", "active_producers")
        names = ("producer_id", "producer_epoch", "last_sequence", "last_timestamp")
        found = [
            self.exchange.make(*path, coordinator_epoch=-1, **dict(zip(names, one, strict=True))) for one in answer
        ]
        self.put(Code.NONE, found)

    def put(self, code: Code, found: list[Any] | None = None) -> None:
        made = self.exchange.make(
            "topics", "partitions", partition_index=self.index, error_code=code, active_producers=found or []
        )
        self.answers.put(self.at_topic, self.at, made)


def list_partition_reassignments(exchange: Exchange, message: Any) -> None:
    exchange.reply(exchange.make())
