"""What the substrate says no with, in Kafka's words: one total table, and Kafka's codes by name.

Codes: protocol.html, "Error Codes". Which of them a client retries decides each choice: an append that changed nothing
and may succeed later gets a retriable code; one that may have happened gets REQUEST_TIMED_OUT, which an idempotent
producer retries without making a duplicate.
"""

from __future__ import annotations

from enum import IntEnum

from substrate.api import Answer, ErrorCode, Failed, Rejected, StreamError, Unknown


class Code(IntEnum):
    """Kafka's error codes that this gateway sends."""

    UNKNOWN_SERVER_ERROR = -1
    NONE = 0
    OFFSET_OUT_OF_RANGE = 1
    CORRUPT_MESSAGE = 2
    UNKNOWN_TOPIC_OR_PARTITION = 3
    LEADER_NOT_AVAILABLE = 5
    NOT_LEADER_OR_FOLLOWER = 6
    REQUEST_TIMED_OUT = 7
    MESSAGE_TOO_LARGE = 10
    OFFSET_METADATA_TOO_LARGE = 12
    COORDINATOR_LOAD_IN_PROGRESS = 14
    COORDINATOR_NOT_AVAILABLE = 15
    NOT_COORDINATOR = 16
    INVALID_TOPIC_EXCEPTION = 17
    RECORD_LIST_TOO_LARGE = 18
    NOT_ENOUGH_REPLICAS = 19
    INVALID_REQUIRED_ACKS = 21
    ILLEGAL_GENERATION = 22
    INCONSISTENT_GROUP_PROTOCOL = 23
    INVALID_GROUP_ID = 24
    UNKNOWN_MEMBER_ID = 25
    INVALID_SESSION_TIMEOUT = 26
    REBALANCE_IN_PROGRESS = 27
    TOPIC_AUTHORIZATION_FAILED = 29
    GROUP_AUTHORIZATION_FAILED = 30
    CLUSTER_AUTHORIZATION_FAILED = 31
    INVALID_TIMESTAMP = 32
    UNSUPPORTED_SASL_MECHANISM = 33
    ILLEGAL_SASL_STATE = 34
    UNSUPPORTED_VERSION = 35
    TOPIC_ALREADY_EXISTS = 36
    INVALID_PARTITIONS = 37
    INVALID_REPLICATION_FACTOR = 38
    INVALID_REPLICA_ASSIGNMENT = 39
    INVALID_CONFIG = 40
    NOT_CONTROLLER = 41
    INVALID_REQUEST = 42
    POLICY_VIOLATION = 44
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45
    DUPLICATE_SEQUENCE_NUMBER = 46
    INVALID_PRODUCER_EPOCH = 47
    INVALID_TXN_STATE = 48
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53
    SECURITY_DISABLED = 54
    KAFKA_STORAGE_ERROR = 56
    SASL_AUTHENTICATION_FAILED = 58
    NON_EMPTY_GROUP = 68
    GROUP_ID_NOT_FOUND = 69
    FETCH_SESSION_ID_NOT_FOUND = 70
    FENCED_LEADER_EPOCH = 74
    UNKNOWN_LEADER_EPOCH = 75
    UNSUPPORTED_COMPRESSION_TYPE = 76
    MEMBER_ID_REQUIRED = 79
    GROUP_MAX_SIZE_REACHED = 81
    FENCED_INSTANCE_ID = 82
    GROUP_SUBSCRIBED_TO_TOPIC = 86
    INVALID_RECORD = 87
    UNKNOWN_TOPIC_ID = 100
    MISMATCHED_ENDPOINT_TYPE = 114


RETRIED_BY_CLIENTS = frozenset(
    {
        Code.CORRUPT_MESSAGE,
        Code.UNKNOWN_TOPIC_OR_PARTITION,
        Code.LEADER_NOT_AVAILABLE,
        Code.NOT_LEADER_OR_FOLLOWER,
        Code.REQUEST_TIMED_OUT,
        Code.COORDINATOR_LOAD_IN_PROGRESS,
        Code.COORDINATOR_NOT_AVAILABLE,
        Code.NOT_COORDINATOR,
        Code.NOT_ENOUGH_REPLICAS,
        Code.NOT_CONTROLLER,
        Code.KAFKA_STORAGE_ERROR,
        Code.FETCH_SESSION_ID_NOT_FOUND,
        Code.FENCED_LEADER_EPOCH,
        Code.UNKNOWN_LEADER_EPOCH,
        Code.UNKNOWN_TOPIC_ID,
    }
)
"""Of those above, the codes that stock clients retry by themselves."""

_CODES: tuple[tuple[ErrorCode, Code], ...] = (
    (ErrorCode.NO_STREAM, Code.UNKNOWN_TOPIC_OR_PARTITION),
    (ErrorCode.EXISTS, Code.TOPIC_ALREADY_EXISTS),
    (ErrorCode.OUT_OF_RANGE, Code.OFFSET_OUT_OF_RANGE),
    (ErrorCode.TOO_LARGE, Code.MESSAGE_TOO_LARGE),
    (ErrorCode.CORRUPT, Code.CORRUPT_MESSAGE),
    (ErrorCode.INVALID, Code.INVALID_REQUEST),
    (ErrorCode.UNSUPPORTED, Code.INVALID_REQUEST),
    (ErrorCode.FENCED, Code.NOT_LEADER_OR_FOLLOWER),
    (ErrorCode.NO_SPACE, Code.KAFKA_STORAGE_ERROR),
    (ErrorCode.UNAVAILABLE, Code.KAFKA_STORAGE_ERROR),
    (ErrorCode.BACKPRESSURE, Code.NOT_ENOUGH_REPLICAS),
    (ErrorCode.SEALED, Code.NOT_LEADER_OR_FOLLOWER),
    (ErrorCode.DENIED, Code.TOPIC_AUTHORIZATION_FAILED),
    (ErrorCode.TIMEOUT, Code.REQUEST_TIMED_OUT),
    (ErrorCode.DUPLICATE_SEQUENCE, Code.DUPLICATE_SEQUENCE_NUMBER),
)


FULL = ("records", "bytes", "address_records")
"""Of a stream that discards what is new (JetStream), as conditions of a Rejected."""


def code_of(error: ErrorCode) -> Code:
    """Kafka's code for each of the substrate's."""
    return next(code for listed, code in _CODES if listed is error)


def refusal(answer: Answer, failed: Code = Code.NOT_COORDINATOR) -> tuple[Code, str]:
    """What to tell a client whose request got this answer instead of the one hoped for.

    ``failed`` is what has it try again where the executor could not be asked: each kind of request has its own word.
    """
    if isinstance(answer, StreamError):
        return code_of(answer.code), f"{answer.code.value}: {answer.detail}" if answer.detail else answer.code.value
    if isinstance(answer, Rejected):
        if answer.condition == "epoch":
            return Code.INVALID_PRODUCER_EPOCH, f"the producer's epoch is {answer.actual!r} by now"
        if answer.condition == "sequence":
            return Code.OUT_OF_ORDER_SEQUENCE_NUMBER, f"expected sequence {answer.actual!r}"
        if answer.condition in FULL:
            return (
                Code.POLICY_VIOLATION,
                f"the stream takes no more: its limit of {answer.condition} is {answer.actual!r}",
            )
        return Code.INVALID_REQUEST, f"{answer.condition} is {answer.actual!r}"
    if isinstance(answer, Unknown):
        return Code.REQUEST_TIMED_OUT, answer.reason or "it is not known whether it happened"
    if isinstance(answer, Failed):
        return failed, answer.reason or "its owner could not be asked"
    return Code.UNKNOWN_SERVER_ERROR, f"unexpected answer {type(answer).__name__}"
