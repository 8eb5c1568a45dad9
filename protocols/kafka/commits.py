"""OffsetCommit 2-9, OffsetFetch 1-9, OffsetDelete 0: where a group is.

* A commit is answered when it is durable. Metadata comes back as it was given; longer than 4096 (UTF-16
  units): OFFSET_METADATA_TOO_LARGE; a partition that does not exist: UNKNOWN_TOPIC_OR_PARTITION. ``retention_time_ms`` (2-4) is
  the offset's own retention, from its commit on.
* OffsetFetch of what nobody committed answers offset -1 without an error. There are no transactions, so every offset is
  stable (``require_stable``).
"""

from __future__ import annotations

from typing import Any

from protocols.kafka.access import READ, may
from protocols.kafka.errors import Code, refusal
from protocols.kafka.exchange import Exchange
from protocols.kafka.group_requests import CommitOffsets, Committed, DeleteOffsets, FetchOffsets, Partition
from protocols.kafka.mapping import address_of
from protocols.kafka.offsets import stream_of
from substrate.api import Answer, Called

METADATA_UNITS_MAX = 4096
"""Of UTF-16, in which Java counts."""
NOTHING = Committed(-1, -1, "")


def offset_commit(exchange: Exchange, message: Any) -> None:
    refused: dict[Partition, Code] = {}
    large: set[Partition] = set()
    offsets: list[tuple[Partition, Committed]] = []
    for topic in message.topics:
        for one in topic.partitions:
            partition = topic.name, one.partition_index
            metadata = one.committed_metadata or ""
            if (missing := stream_of(exchange, *partition, READ)[1]) is not Code.NONE:
                refused[partition] = missing
            elif len(metadata.encode("utf-16-le")) > 2 * METADATA_UNITS_MAX:
                large.add(partition)
            else:
                offsets.append((partition, Committed(one.committed_offset, one.committed_leader_epoch, metadata)))

    def told(partition: Partition, code: Code) -> Code:
        if partition in large and code is Code.NONE:  # who it is comes first
            return Code.OFFSET_METADATA_TOO_LARGE
        return refused.get(partition, code)

    def answered(answer: Answer) -> None:
        code = answer.answer if isinstance(answer, Called) else None
        if not isinstance(code, Code):
            code = refusal(answer.answer if isinstance(answer, Called) else answer)[0]
        topics = [
            exchange.make(
                "topics",
                name=topic.name,
                partitions=[
                    exchange.make(
                        "topics",
                        "partitions",
                        partition_index=one.partition_index,
                        error_code=told((topic.name, one.partition_index), code),
                    )
                    for one in topic.partitions
                ],
            )
            for topic in message.topics
        ]
        commits = {answer.shard: answer.commit} if isinstance(answer, Called) else None
        exchange.reply(exchange.make(topics=topics), commits)

    request = CommitOffsets(
        exchange.account,
        message.group_id,
        message.member_id,
        message.group_instance_id,
        message.generation_id_or_member_epoch,
        tuple(offsets),
        Code.GROUP_ID_NOT_FOUND if exchange.version >= 9 else Code.ILLEGAL_GENERATION,
        message.retention_time_ms,
    )
    exchange.call("groups", request, answered)


def may_read(exchange: Exchange, name: str) -> bool:
    """Whether this user may know and change where groups are in a topic, be it there or not."""
    address = address_of(name)
    return address is None or may(exchange, READ, address)


class _OffsetFetch:
    """One request for one group (1-7) or several (8 and later)."""

    def __init__(self, exchange: Exchange, message: Any) -> None:
        self.exchange = exchange
        self.single = exchange.version < 8
        self.asked = [message] if self.single else message.groups
        self.made: list[Any] = [None] * len(self.asked)
        self.left = 1 + len(self.asked)
        self.path = ("topics",) if self.single else ("groups", "topics")

    def run(self) -> None:
        for at, group in enumerate(self.asked):
            partitions = None
            if group.topics is not None:
                partitions = tuple((topic.name, index) for topic in group.topics for index in topic.partition_indexes)
            request = FetchOffsets(self.exchange.account, group.group_id, partitions)
            self.exchange.call("groups", request, self._answered(at, group))
        self._one_done()

    def _answered(self, at: int, group: Any) -> Any:
        def answered(answer: Answer) -> None:
            found = answer.answer if isinstance(answer, Called) else None
            code = Code.NONE
            if not isinstance(found, dict):
                code = refusal(answer.answer if isinstance(answer, Called) else answer)[0]
                found = {}
            topics = self._topics(group, found, code)
            if self.single:
                self.made[at] = self.exchange.make(topics=topics, error_code=code)
            else:
                self.made[at] = self.exchange.make("groups", group_id=group.group_id, topics=topics, error_code=code)
            self._one_done()

        return answered

    def _topics(self, group: Any, found: dict[Partition, Committed], code: Code) -> list[Any]:
        wanted: dict[str, list[int]] = {}
        if group.topics is None:
            for name, index in found:
                if self._may_read(name):
                    wanted.setdefault(name, []).append(index)
        else:
            for topic in group.topics:
                wanted.setdefault(topic.name, []).extend(topic.partition_indexes)
        make = self.exchange.make
        return [
            make(
                *self.path,
                name=name,
                partitions=[
                    self._partition(
                        index, found.get((name, index), NOTHING), code if self.exchange.version < 2 else Code.NONE
                    )
                    if self._may_read(name)
                    else self._partition(index, NOTHING, Code.TOPIC_AUTHORIZATION_FAILED)
                    for index in indexes
                ],
            )
            for name, indexes in wanted.items()
        ]

    def _may_read(self, name: str) -> bool:
        return may_read(self.exchange, name)

    def _partition(self, index: int, committed: Committed, code: Code) -> Any:
        return self.exchange.make(
            *self.path,
            "partitions",
            partition_index=index,
            committed_offset=committed.offset,
            committed_leader_epoch=committed.leader_epoch,
            metadata=committed.metadata,
            error_code=code,
        )

    def _one_done(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.exchange.reply(self.made[0] if self.single else self.exchange.make(groups=self.made))


def offset_fetch(exchange: Exchange, message: Any) -> None:
    _OffsetFetch(exchange, message).run()


def offset_delete(exchange: Exchange, message: Any) -> None:
    partitions = tuple((topic.name, one.partition_index) for topic in message.topics for one in topic.partitions)
    refused = {partition: stream_of(exchange, *partition, READ)[1] for partition in partitions}
    asked = tuple(partition for partition in partitions if refused[partition] is Code.NONE)

    def answered(answer: Answer) -> None:
        found = answer.answer if isinstance(answer, Called) else None
        if isinstance(found, Code):
            exchange.reply(exchange.make(error_code=found))
            return
        if not isinstance(found, tuple):
            exchange.reply(
                exchange.make(error_code=refusal(answer.answer if isinstance(answer, Called) else answer)[0])
            )
            return
        codes = refused | dict(zip(asked, found, strict=True))
        topics = [
            exchange.make(
                "topics",
                name=topic.name,
                partitions=[
                    exchange.make(
                        "topics",
                        "partitions",
                        partition_index=one.partition_index,
                        error_code=codes[topic.name, one.partition_index],
                    )
                    for one in topic.partitions
                ],
            )
            for topic in message.topics
        ]
        commits = {answer.shard: answer.commit} if isinstance(answer, Called) else None
        exchange.reply(exchange.make(topics=topics), commits)

    exchange.call("groups", DeleteOffsets(exchange.account, message.group_id, asked), answered)
