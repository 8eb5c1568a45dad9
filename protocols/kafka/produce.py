"""Produce 3-11 (advertised from 0: see ``session.advertised``).

A batch is opaque: its 61-byte header is looked at, its CRC is checked where it is appended, its records are never
decompressed. The bytes are copied once, out of the connection's buffer.

* acks=-1 is answered when the batch is durable as its topic promises, acks=1 when it is ordered and written to the
  operating system, acks=0 never (an error closes the connection). ``timeout_ms`` has nothing to bound: durability does not
  wait for others.
* Refused, each partition for itself (UnifiedLog.scala, LogValidator.java, ProduceRequest.validateRecords, behaviour): not
  exactly one batch, magic other than 2, a base offset, wrong counts, control batches, unknown attribute bits, a sequence
  missing behind a producer id -> INVALID_RECORD; CRC or length wrong -> CORRUPT_MESSAGE; larger than max.message.bytes ->
  MESSAGE_TOO_LARGE; the log append time bit -> INVALID_TIMESTAMP; zstd below version 7 -> UNSUPPORTED_COMPRESSION_TYPE.
* Idempotent producers (KIP-98): the stream layer keeps each one's last five batches; a duplicate answers its first offset,
  a gap OUT_OF_ORDER_SEQUENCE_NUMBER, an old epoch INVALID_PRODUCER_EPOCH.
* Deviations: ``log_start_offset`` is told as -1 (not known); transactions are refused
  (TRANSACTIONAL_ID_AUTHORIZATION_FAILED; a transactional batch without an id: INVALID_TXN_STATE).
"""

from __future__ import annotations

from typing import Any

from protocols.kafka.errors import Code, refusal
from protocols.kafka.exchange import Exchange
from protocols.kafka.mapping import address_of, is_reserved
from substrate.api import Ack, Answer, Appended, ErrorCode, StreamError, StreamId, Topic
from substrate.batch import COMPRESSION, CONTROL, HEADER_BYTES, LOG_APPEND_TIME, TRANSACTIONAL, Header, header

ACKS = {-1: Ack.DURABLE, 0: Ack.ORDERED, 1: Ack.ORDERED}
KNOWN_ATTRIBUTES = COMPRESSION | LOG_APPEND_TIME | TRANSACTIONAL | CONTROL
ZSTD = 4

Refusal = tuple[Code, str]


class _Produce:
    """One request: an answer per partition, in the request's order."""

    __slots__ = ("acks", "answers", "commits", "exchange", "left", "message", "refused")

    def __init__(self, exchange: Exchange, message: Any) -> None:
        self.exchange = exchange
        self.message = message
        self.acks = message.acks
        self.answers: list[Any] = []
        """(partition, what was answered), in the request's order."""
        self.commits: dict[int, int] = {}
        self.left = 0
        self.refused = False

    def run(self) -> None:
        exchange, message = self.exchange, self.message
        whole = self._refuse_whole()
        partitions = [(topic, partition) for topic in message.topic_data for partition in topic.partition_data]
        self.left = exchange.places = max(1, len(partitions))
        self.answers = [None] * len(partitions)
        name, found = "", None
        for at, (topic, partition) in enumerate(partitions):
            if topic.name != name:
                name = topic.name
                found = _topic(exchange, name)
            records, partition.records = partition.records, None
            self._append(at, found, partition.index, records, whole)
        if not partitions:
            self._finish()

    def _refuse_whole(self) -> Refusal | None:
        if self.acks not in ACKS:
            return Code.INVALID_REQUIRED_ACKS, f"acks is {self.acks}"
        if self.message.transactional_id is not None:
            return Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactions are not supported"
        return None

    def _append(
        self, at: int, topic: Topic | None, index: int, records: memoryview | None, whole: Refusal | None
    ) -> None:
        def answered(answer: Answer) -> None:
            self.answers[at] = index, answer
            if type(answer) is Appended and self.acks == -1:
                self.commits[answer.shard] = max(self.commits.get(answer.shard, 0), answer.commit)
            self.left -= 1
            if self.left == 0:
                self._finish()

        refused = whole
        if refused is None and (topic is None or not 0 <= index < len(topic.streams)):
            refused = Code.UNKNOWN_TOPIC_OR_PARTITION, ""
        if refused is None:
            assert topic is not None
            refused = refuse_batch(records, self.exchange.version, topic.config.record_bytes_max)
        if refused is not None:
            answered(refused)
            return
        assert topic is not None and records is not None
        stream: StreamId = topic.streams[index]
        port = self.exchange.port
        batch = records if self.exchange.session.keeps_data else bytearray(records)  # else the bytes are only borrowed
        port.append(stream, batch, ACKS[self.acks], self.exchange.ask(answered))

    def _finish(self) -> None:
        exchange = self.exchange
        made = [self._partition(index, answer) for index, answer in self.answers]
        if self.acks == 0:
            exchange.silent()
            if self.refused:
                exchange.fail("a batch sent with acks=0 was refused")
            return
        responses, at = [], 0
        for topic in self.message.topic_data:
            count = len(topic.partition_data)
            responses.append(exchange.make("responses", name=topic.name, partition_responses=made[at : at + count]))
            at += count
        exchange.reply(exchange.make(responses=responses), self.commits)

    def _partition(self, index: int, answer: Answer | Refusal) -> Any:
        path = ("responses", "partition_responses")
        if type(answer) is Appended:
            return self.exchange.make(*path, index=index, base_offset=answer.base)
        self.refused = True
        if isinstance(answer, StreamError) and answer.code is ErrorCode.INVALID:
            code, text = Code.INVALID_RECORD, answer.detail
        elif isinstance(answer, tuple):
            code, text = answer
        else:
            code, text = refusal(answer)
        return self.exchange.make(*path, index=index, error_code=code, base_offset=-1, error_message=text or None)


def produce(exchange: Exchange, message: Any) -> None:
    _Produce(exchange, message).run()


def _topic(exchange: Exchange, name: str) -> Topic | None:
    address = address_of(name)
    if address is None or is_reserved(address):
        return None
    return exchange.port.topic(exchange.account, address)


def refuse_batch(records: memoryview | None, version: int, batch_bytes_max: int) -> Refusal | None:
    """Why this is not one batch that a producer may send; None: it may be appended (its CRC is judged there)."""
    if records is None or len(records) == 0:
        return Code.INVALID_RECORD, "no record batch"
    if len(records) < HEADER_BYTES:
        return Code.CORRUPT_MESSAGE, f"a batch of {len(records)} bytes, its header has {HEADER_BYTES}"
    head: Header = header(records)
    if head.magic != 2:
        return Code.INVALID_RECORD, f"magic {head.magic}, only 2 is spoken"
    size = head.length + 12
    if size < HEADER_BYTES or size > len(records):
        return Code.CORRUPT_MESSAGE, f"the batch says {size} bytes, {len(records)} came"
    if size < len(records):
        return Code.INVALID_RECORD, "more than one record batch"
    if size > batch_bytes_max:
        return Code.MESSAGE_TOO_LARGE, f"batch of {size} bytes, limit {batch_bytes_max}"
    if head.base_offset != 0:
        return Code.INVALID_RECORD, f"base offset {head.base_offset}"
    if head.count <= 0 or head.last_offset_delta != head.count - 1:
        return Code.INVALID_RECORD, f"{head.count} records with last offset delta {head.last_offset_delta}"
    return _refuse_attributes(head, version)


def _refuse_attributes(head: Header, version: int) -> Refusal | None:
    attributes = head.attributes
    if attributes & ~KNOWN_ATTRIBUTES or attributes & COMPRESSION > ZSTD:
        return Code.INVALID_RECORD, f"attributes {attributes:#x}"
    if attributes & CONTROL:
        return Code.INVALID_RECORD, "a control batch from a client"
    if attributes & TRANSACTIONAL:
        return Code.INVALID_TXN_STATE, "a transactional batch outside of a transaction"
    if attributes & LOG_APPEND_TIME:
        return Code.INVALID_TIMESTAMP, "log append time is the broker's to set"
    if attributes & COMPRESSION == ZSTD and version < 7:
        return Code.UNSUPPORTED_COMPRESSION_TYPE, "zstd needs Produce version 7"
    if head.producer_id >= 0 and (head.base_sequence < 0 or head.producer_epoch < 0):
        return Code.INVALID_RECORD, "a producer id without epoch or sequence"
    return None
