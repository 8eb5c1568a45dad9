"""Produce 3-11 (advertised from 0: see ``session.advertised``).

A batch is opaque: its 61-byte header is looked at, its CRC is checked where it is appended, its records are not
decompressed. The bytes are copied once, out of the connection's buffer. Only a topic that asks for it (``topic_config.Rules``:
compaction, another compression, bounds of time that the header cannot answer) has its records looked at.

* acks=-1 is answered when the batch is durable as its topic promises, acks=1 when it is ordered and written to the
  operating system, acks=0 never (an error closes the connection). ``timeout_ms`` has nothing to bound: durability does not
  wait for others.
* Refused, each partition for itself (UnifiedLog.scala, LogValidator.java, ProduceRequest.validateRecords, behaviour): not
  exactly one whole batch, magic other than 2, a base offset, wrong counts, control batches, unknown attribute bits, a sequence
  missing behind a producer id, in a compacted topic a record without a key -> INVALID_RECORD; CRC wrong -> CORRUPT_MESSAGE;
  larger than max.message.bytes -> MESSAGE_TOO_LARGE; the log append time bit, a timestamp out of the topic's bounds ->
  INVALID_TIMESTAMP; zstd below version 7 -> UNSUPPORTED_COMPRESSION_TYPE. The records at fault are listed (KIP-467), the
  first ``RECORD_ERRORS_MAX`` of them.
* Idempotent producers (KIP-98): the stream layer keeps each one's last five batches; a duplicate answers its first offset,
  a gap OUT_OF_ORDER_SEQUENCE_NUMBER, an old epoch INVALID_PRODUCER_EPOCH.
* Deviations: ``log_start_offset`` is told as -1 (not known); transactions are refused
  (TRANSACTIONAL_ID_AUTHORIZATION_FAILED). ``after`` bounds are judged by the batch's largest timestamp as its header says.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from protocols.kafka.access import WRITE, find, holds_throughout, may
from protocols.kafka.compression import recompressed
from protocols.kafka.errors import Code, refusal
from protocols.kafka.exchange import Exchange
from protocols.kafka.topic_config import LONG_MAX, Rules, rules
from protocols.kafka.wire import LENGTH_AND_CORRELATION, response
from substrate.api import Ack, Address, Answer, Appended, ErrorCode, StreamError, Topic
from substrate.batch import (
    COMPRESSION,
    CONTROL,
    HEADER_BYTES,
    LOG_APPEND_TIME,
    TRANSACTIONAL,
    BatchError,
    Header,
    check,
    decode,
    header,
    keys,
)

ACKS = {-1: Ack.DURABLE, 0: Ack.ORDERED, 1: Ack.ORDERED}
KNOWN_ATTRIBUTES = COMPRESSION | LOG_APPEND_TIME | TRANSACTIONAL | CONTROL
ZSTD = 4

RECORD_ERRORS_MAX = 100
NO_TIMESTAMP = -1
TEMPLATES_MAX = 100
"""Answers' templates that a connection keeps."""
STORED = struct.Struct(">ihqq")
"""Index, error code, base offset and log append time, as they follow one another in every version."""
Refusal = tuple[Code, str]


@dataclass(frozen=True, slots=True)
class Faults:
    """Records that may not be stored: (index in the batch, why)."""

    code: Code
    text: str
    records: tuple[tuple[int, str], ...]


class _Produce:
    """One request: an answer per partition, in the request's order."""

    __slots__ = ("acks", "answers", "commits", "exchange", "left", "message", "refused", "stamped")

    def __init__(self, exchange: Exchange, message: Any) -> None:
        self.exchange = exchange
        self.message = message
        self.acks = message.acks
        self.answers: list[Any] = []
        """(partition, what was answered), in the request's order."""
        self.commits: dict[int, int] = {}
        self.left = 0
        self.refused = False
        self.stamped: set[int] = set()
        """Places of ``answers`` whose topic has LogAppendTime."""

    def run(self) -> None:
        exchange, message = self.exchange, self.message
        whole = self._refuse_whole()
        partitions = [(topic, partition) for topic in message.topic_data for partition in topic.partition_data]
        self.left = exchange.places = max(1, len(partitions))
        self.answers = [None] * len(partitions)
        name, found, code = "", None, Code.NONE
        for at, (topic, partition) in enumerate(partitions):
            if topic.name != name:
                name = topic.name
                found, code = find(exchange, name, WRITE)
            records, partition.records = partition.records, None
            self._append(at, name, found, partition.index, records, (code, "") if found is None else None, whole)
        if not partitions:
            self._finish()

    def _refuse_whole(self) -> Refusal | None:
        if self.acks not in ACKS:
            return Code.INVALID_REQUIRED_ACKS, f"acks is {self.acks}"
        if self.message.transactional_id is not None:
            return Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactions are not supported"
        return None

    def _append(
        self,
        at: int,
        name: str,
        topic: Topic | None,
        index: int,
        records: memoryview | None,
        refused: Refusal | None,
        whole: Refusal | None,
    ) -> None:
        def answered(answer: Answer) -> None:
            if type(answer) is Appended and self.acks == -1:
                self.commits[answer.shard] = max(self.commits.get(answer.shard, 0), answer.commit)
            if topic is not None and topic.config.append_time:
                self.stamped.add(at)
            self.answers[at] = index, answer
            self.left -= 1
            if self.left == 0:
                self._finish()

        if refused is None and (topic is None or not 0 <= index < len(topic.streams)):
            refused = Code.UNKNOWN_TOPIC_OR_PARTITION, ""
        judged: Header | Refusal = refused or (Code.NONE, "")
        if refused is None:
            assert topic is not None
            judged = judge_batch(records, self.exchange.version, topic.config.record_bytes_max, whole)
        if not isinstance(judged, Header):
            answered(judged)
            return
        assert topic is not None and records is not None
        head, stream = judged, topic.streams[index]
        # what is not the session's to keep is only borrowed
        batch: memoryview | bytearray = records if self.exchange.session.keeps_data else bytearray(records)
        held_to, now_ms = rules(topic), self.exchange.now_ns // 1_000_000
        if not holds_throughout(self.exchange, WRITE, topic):
            faults = self._addressed_wrongly(batch, topic)
            if faults is not None:
                answered(faults)
                return
        if must_look(head, held_to, topic, now_ms):
            found = looked_at(batch, head, held_to, f"{name}-{index}", topic, now_ms)
            if not isinstance(found, memoryview | bytearray):
                answered(found)
                return
            batch = found
        self.exchange.port.append(stream, batch, ACKS[self.acks], self.exchange.ask(answered))

    def _addressed_wrongly(self, batch: memoryview | bytearray, topic: Topic) -> Refusal | Faults | None:
        """Records that are to be published under addresses which this user may not write to."""
        try:
            check(batch)
            addresses = [(record.position, record.address) for record in decode(batch, topic.name)]
        except BatchError as error:
            return Code.CORRUPT_MESSAGE if error.reason == "crc" else Code.INVALID_RECORD, str(error)
        faults = tuple(
            (position, "Not authorized to write to the record's address")
            for position, address in addresses
            if address != topic.name and not may(self.exchange, WRITE, Address(address))
        )
        return Faults(Code.TOPIC_AUTHORIZATION_FAILED, "Authorization failed.", faults) if faults else None

    def _finish(self) -> None:
        exchange = self.exchange
        if self.acks and len(self.answers) == 1 and type(self.answers[0][1]) is Appended:
            index, answer = self.answers[0]
            time_ms = answer.timestamp_ms if self.stamped else NO_TIMESTAMP
            exchange.reply_encoded(self._one_stored(index, answer.base, time_ms), self.commits)
            return
        made = [self._partition(at, index, answer) for at, (index, answer) in enumerate(self.answers)]
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

    def _one_stored(self, index: int, base: int, time_ms: int) -> bytes:
        """The whole answer to a request of one partition that was stored: nearly all of them are."""
        exchange, name = self.exchange, self.message.topic_data[0].name
        known = exchange.session.stored_answers
        template = known.get((exchange.version, name))
        if template is None:
            if len(known) >= TEMPLATES_MAX:
                known.clear()
            template = known[exchange.version, name] = answer_template(exchange, name)
        size, before, behind = template
        head = LENGTH_AND_CORRELATION.pack(size, exchange.correlation_id)
        return b"".join((head, before, STORED.pack(index, 0, base, time_ms), behind))

    def _partition(self, at: int, index: int, answer: Answer | Refusal | Faults) -> Any:
        make, path = self.exchange.make, ("responses", "partition_responses")
        if type(answer) is Appended:
            time_ms = answer.timestamp_ms if at in self.stamped else NO_TIMESTAMP
            return make(*path, index=index, base_offset=answer.base, log_append_time_ms=time_ms)
        self.refused = True
        errors: list[Any] = []
        if isinstance(answer, Faults):
            code, text = answer.code, answer.text
            errors = [
                make(*path, "record_errors", batch_index=number, batch_index_error_message=why)
                for number, why in answer.records[:RECORD_ERRORS_MAX]
            ]
        elif isinstance(answer, StreamError) and answer.code is ErrorCode.INVALID:
            code, text = Code.INVALID_RECORD, answer.detail
        elif isinstance(answer, tuple):
            code, text = answer
        else:
            code, text = refusal(answer)
        return make(
            *path, index=index, error_code=code, base_offset=-1, error_message=text or None, record_errors=errors
        )


def answer_template(exchange: Exchange, name: str) -> tuple[int, bytes, bytes]:
    """What an answer for one partition of this topic is made of, from the codec: the length that it tells, and the bytes
    before and behind the partition's ``STORED`` fields."""
    marks = (0x7A5B3C1D, 0x1F2E, 0x0123456789ABCDEF, 0x76543210FEDCBA98)
    fields = dict(zip(("index", "error_code", "base_offset", "log_append_time_ms"), marks, strict=True))
    partition = exchange.make("responses", "partition_responses", **fields)
    message = exchange.make(responses=[exchange.make("responses", name=name, partition_responses=[partition])])
    whole = b"".join(response(exchange.settings.codecs, exchange.api_key, exchange.version, 0, message))
    before, found, behind = whole.partition(STORED.pack(*marks))
    assert found, "the fields of a stored partition do not follow one another"
    return len(whole) - 4, before[LENGTH_AND_CORRELATION.size :], behind


def produce(exchange: Exchange, message: Any) -> None:
    _Produce(exchange, message).run()


def judge_batch(
    records: memoryview | None, version: int, batch_bytes_max: int, whole: Refusal | None = None
) -> Header | Refusal:
    """The header of one batch that may be appended (its CRC is judged there), else why it may not.

    ``whole`` is why nothing of the request may be: told of what has the form of a batch.
    """
    if records is None or len(records) == 0:
        return Code.INVALID_RECORD, "no record batch"
    if len(records) < HEADER_BYTES:
        return Code.INVALID_RECORD, f"a batch of {len(records)} bytes, its header has {HEADER_BYTES}"
    head: Header = header(records)
    if head.magic != 2:
        return Code.INVALID_RECORD, f"magic {head.magic}, only 2 is spoken"
    size = head.length + 12
    if size < HEADER_BYTES or size > len(records):
        return Code.INVALID_RECORD, f"the batch says {size} bytes, {len(records)} came"
    if size < len(records):
        return Code.INVALID_RECORD, "more than one record batch"
    if whole is not None:
        return whole
    if size > batch_bytes_max:
        return Code.MESSAGE_TOO_LARGE, f"batch of {size} bytes, limit {batch_bytes_max}"
    if head.base_offset != 0:
        return Code.INVALID_RECORD, f"base offset {head.base_offset}"
    if head.count <= 0 or head.last_offset_delta != head.count - 1:
        return Code.INVALID_RECORD, f"{head.count} records with last offset delta {head.last_offset_delta}"
    return _refuse_attributes(head, version) or head


def _refuse_attributes(head: Header, version: int) -> Refusal | None:
    attributes = head.attributes
    if attributes & ~KNOWN_ATTRIBUTES or attributes & COMPRESSION > ZSTD:
        return Code.INVALID_RECORD, f"attributes {attributes:#x}"
    if attributes & CONTROL:
        return Code.INVALID_RECORD, "a control batch from a client"
    if attributes & TRANSACTIONAL:
        return Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "a transactional batch outside of a transaction"
    if attributes & LOG_APPEND_TIME:
        return Code.INVALID_TIMESTAMP, "log append time is the broker's to set"
    if attributes & COMPRESSION == ZSTD and version < 7:
        return Code.UNSUPPORTED_COMPRESSION_TYPE, "zstd needs Produce version 7"
    if head.producer_id >= 0 and (head.base_sequence < 0 or head.producer_epoch < 0):
        return Code.INVALID_RECORD, "a producer id without epoch or sequence"
    return None


def must_look(head: Header, held_to: Rules, topic: Topic, now_ms: int) -> bool:
    """Whether a batch's records must be looked at before it is stored, or changed."""
    if held_to.keyed or (held_to.codec >= 0 and held_to.codec != head.attributes & COMPRESSION):
        return True
    if topic.config.append_time:
        return False
    return held_to.before_ms < LONG_MAX or max(head.base_timestamp, head.max_timestamp) > now_ms + held_to.after_ms


def looked_at(
    batch: memoryview | bytearray, head: Header, held_to: Rules, where: str, topic: Topic, now_ms: int
) -> memoryview | bytearray | Refusal | Faults:
    """The batch as it may be stored, or why it may not be."""
    try:
        check(batch)
        if held_to.keyed:
            text = f"Compacted topic cannot accept message without key in topic partition {where}"
            faults = tuple((position, text) for position, key, _ in keys(batch) if key is None)
            if faults:
                return Faults(Code.INVALID_RECORD, f"{len(faults)} records have no key", faults)
        if not topic.config.append_time:
            late = _untimely(batch, held_to, now_ms)
            if late:
                return Faults(
                    Code.INVALID_TIMESTAMP, "One or more records have been rejected due to invalid timestamp", late
                )
        if held_to.codec in (-1, head.attributes & COMPRESSION):
            return batch
        made = recompressed(batch, held_to.codec)
    except BatchError as error:
        return Code.CORRUPT_MESSAGE if error.reason == "crc" else Code.INVALID_RECORD, str(error)
    if len(made) > topic.config.record_bytes_max:
        return Code.MESSAGE_TOO_LARGE, f"batch of {len(made)} bytes, limit {topic.config.record_bytes_max}"
    return made


def _untimely(batch: memoryview | bytearray, held_to: Rules, now_ms: int) -> tuple[tuple[int, str], ...]:
    least, most = now_ms - held_to.before_ms, now_ms + held_to.after_ms
    within = f"The timestamp should be within [{least}, {most}]"
    return tuple(
        (
            record.position,
            f"Timestamp {record.timestamp_ms} of message with offset {record.position} is out of range. " + within,
        )
        for record in decode(batch, b"")
        if record.timestamp_ms != NO_TIMESTAMP and not least <= record.timestamp_ms <= most
    )
