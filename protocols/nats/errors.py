"""What goes wrong, in NATS' words. ``-ERR`` texts are matched by clients (lower-cased): never changed.

JetStream's errors are (code, err_code, description) as in nats-server's server/errors.json; ``STREAM_ERRORS`` is total
over the substrate's ``ErrorCode``.
"""

from __future__ import annotations

from dataclasses import dataclass

from substrate.api import ErrorCode

UNKNOWN_OPERATION = b"Unknown Protocol Operation"
LINE_TOO_LONG = b"maximum control line exceeded"
PAYLOAD_TOO_LARGE = b"Maximum Payload Violation"
INVALID_SUBJECT = b"Invalid Subject"
INVALID_PUBLISH_SUBJECT = b"Invalid Publish Subject"
INVALID_PROTOCOL = b"invalid client protocol"
NO_RESPONDERS_NEEDS_HEADERS = b"no responders requires headers support"
STALE = b"Stale Connection"
AUTHORIZATION = b"Authorization Violation"
AUTHENTICATION_TIMEOUT = b"Authentication Timeout"
SUBSCRIPTIONS_EXCEEDED = b"maximum subscriptions exceeded"
PUBLISH_DENIED = b'Permissions Violation for Publish to "%b"'
SUBSCRIPTION_DENIED = b'Permissions Violation for Subscription to "%b"'
SUBSCRIPTION_QUEUE_DENIED = b'Permissions Violation for Subscription to "%b" using queue "%b"'


def err(text: bytes) -> bytes:
    """The line that tells a client."""
    return b"-ERR '%b'\r\n" % text


@dataclass(frozen=True, slots=True)
class ApiError:
    """One of JetStream's errors, filled in."""

    code: int
    err_code: int
    description: str

    def of(self, **values: object) -> ApiError:
        """With the description's placeholders filled."""
        return ApiError(self.code, self.err_code, self.description.format(**values))

    def fields(self) -> dict[str, object]:
        """As it stands in an answer's JSON."""
        return {"code": self.code, "err_code": self.err_code, "description": self.description}


BAD_REQUEST = ApiError(400, 10003, "bad request")
CONSUMER_CREATE = ApiError(500, 10012, "{err}")
CONSUMER_NAME_EXISTS = ApiError(400, 10013, "consumer name already in use")
CONSUMER_NOT_FOUND = ApiError(404, 10014, "consumer not found")
DURABLE_NOT_IN_SUBJECT = ApiError(400, 10016, "consumer expected to be durable but no durable name set in subject")
DURABLE_NOT_MATCHING = ApiError(400, 10017, "consumer name in subject does not match durable name in request")
DURABLE_NOT_SET = ApiError(400, 10018, "consumer expected to be durable but a durable name was not set")
INSUFFICIENT = ApiError(503, 10023, "insufficient resources")
INVALID_JSON = ApiError(400, 10025, "invalid JSON: {err}")
CONSUMERS_MAX = ApiError(400, 10026, "maximum consumers limit reached")
NOT_AVAILABLE = ApiError(503, 10008, "JetStream system temporarily unavailable")
NO_MESSAGE = ApiError(404, 10037, "no message found")
STREAM_CREATE = ApiError(500, 10049, "{err}")
STREAM_DELETE = ApiError(500, 10050, "{err}")
STREAM_GENERAL = ApiError(500, 10051, "{err}")
STREAM_CONFIG = ApiError(500, 10052, "{err}")
MESSAGE_TOO_LARGE = ApiError(400, 10054, "message size exceeds maximum allowed")
STREAM_MISMATCH = ApiError(400, 10056, "stream name in subject does not match request")
STREAM_NAME_EXISTS = ApiError(400, 10058, "stream name already in use with a different configuration")
STREAM_NOT_FOUND = ApiError(404, 10059, "stream not found")
EXPECTED_SUBJECT_ALONE = ApiError(400, 10193, "missing sequence for expected last sequence per subject")
EXPECTED_STREAM = ApiError(400, 10060, "expected stream does not match")
SUBJECT_OVERLAP = ApiError(400, 10065, "subjects overlap with an existing stream")
STREAM_UPDATE = ApiError(500, 10069, "{err}")
WRONG_LAST_ID = ApiError(400, 10070, "wrong last msg ID: {id}")
WRONG_LAST_SEQUENCE = ApiError(400, 10071, "wrong last sequence: {seq}")
REPLICAS = ApiError(500, 10074, "replicas > 1 not supported in non-clustered mode")
STORE_FAILED = ApiError(503, 10077, "{err}")
CONSUMER_CONFIG_REQUIRED = ApiError(400, 10078, "consumer config required")
HEARTBEAT_NEEDS_PUSH = ApiError(400, 10088, "consumer idle heartbeat requires a push based consumer")
FLOW_NEEDS_PUSH = ApiError(400, 10089, "consumer flow control requires a push based consumer")
DIRECT_NEEDS_PUSH = ApiError(400, 10090, "consumer direct requires a push based consumer")
RATE_ON_PULL = ApiError(400, 10086, "consumer in pull mode can not have rate limit set")
PENDING_NEEDS_ACKS = ApiError(400, 10082, "consumer requires ack policy for max ack pending")
FILTER_NOT_SUBSET = ApiError(400, 10093, "consumer filter subject is not a valid subset of the interest subjects")
CONSUMER_SAMPLING = ApiError(400, 10095, "failed to parse consumer sampling configuration: {err}")
GROUP_WITHOUT_PRIORITY = ApiError(400, 10196, "consumer can not have priority groups when policy is none")
CONSUMER_POLICY = ApiError(400, 10094, "{err}")
DELIVER_WILDCARDS = ApiError(400, 10079, "consumer deliver subject has wildcards")
PUSH_WAITING = ApiError(400, 10080, "consumer in push mode can not set max waiting")
DELIVER_CYCLE = ApiError(400, 10081, "consumer deliver subject forms a cycle")
HEARTBEAT_SMALL = ApiError(400, 10083, "consumer idle heartbeat needs to be >= 100ms")
DIRECT_NEEDS_EPHEMERAL = ApiError(400, 10091, "consumer direct requires an ephemeral consumer")
FLOW_NEEDS_HEARTBEATS = ApiError(400, 10108, "consumer with flow control also needs heartbeats")
DELIVER_INVALID = ApiError(400, 10112, "invalid push consumer deliver subject")
PULL_ON_WORKQUEUE = ApiError(400, 10084, "consumer in pull mode requires explicit ack policy on workqueue stream")
WORKQUEUE_ACKS = ApiError(400, 10098, "workqueue stream requires explicit ack")
WORKQUEUE_UNFILTERED = ApiError(400, 10099, "multiple non-filtered consumers not allowed on workqueue stream")
WORKQUEUE_NOT_UNIQUE = ApiError(400, 10100, "filtered consumer not unique on workqueue stream")
WORKQUEUE_NOT_ALL = ApiError(400, 10101, "consumer must be deliver all on workqueue stream")
SEQUENCE_NOT_FOUND = ApiError(400, 10043, "sequence {seq} not found")
MESSAGE_DELETE = ApiError(500, 10057, "{err}")
INVALID_RESET = ApiError(400, 10204, "invalid reset: {err}")
NO_GROUP = ApiError(400, 10160, "Provided priority group does not exist for this consumer")
TTL_INVALID = ApiError(400, 10165, "invalid per-message TTL")
SEALED = ApiError(400, 10109, "invalid operation on sealed stream")
HEADERS_TOO_LARGE = ApiError(400, 10097, "header size exceeds maximum allowed of 64k")
CONSUMER_NAME_LONG = ApiError(400, 10102, "consumer name is too long, maximum allowed is {max}")
DURABLE_NAME_BAD = ApiError(400, 10103, "durable name can not contain '.', '*', '>'")
CONSUMER_DESCRIPTION_LONG = ApiError(400, 10107, "consumer description is too long, maximum allowed is {max}")
ROLLUP_FAILED = ApiError(500, 10111, "{err}")
EXPIRES_SMALL = ApiError(400, 10115, "consumer max request expires needs to be >= 1ms")
PURGE_FAILED = ApiError(500, 10110, "{err}")
BACKOFF_DELIVER = ApiError(400, 10116, "max deliver is required to be > length of backoff values")
CONSUMER_NAME_PATH = ApiError(400, 10127, "Consumer name can not contain path separators")
STREAM_NAME_PATH = ApiError(400, 10128, "Stream name can not contain path separators")
FILTER_NOT_MATCHING_SUBJECT = ApiError(
    400, 10131, "Consumer create request did not match filtered subject from create subject"
)
DURABLE_AND_NAME = ApiError(400, 10132, "Consumer Durable and Name have to be equal if both are provided")
REPLICAS_NEGATIVE = ApiError(400, 10133, "replicas count cannot be negative")
CONSUMER_METADATA = ApiError(400, 10135, "consumer metadata exceeds maximum size of 128KB")
FILTERS_DUPLICATE = ApiError(400, 10136, "consumer cannot have both FilterSubject and FilterSubjects specified")
FILTERS_IN_SUBJECT = ApiError(400, 10137, "consumer with multiple subject filters cannot use subject based API")
FILTERS_OVERLAP = ApiError(400, 10138, "consumer subject filters cannot overlap")
FILTER_EMPTY = ApiError(400, 10139, "consumer filter in FilterSubjects cannot be empty")
CONSUMER_EXISTS = ApiError(400, 10148, "consumer already exists")
CONSUMER_MISSING = ApiError(400, 10149, "consumer does not exist")
TTL_DISABLED = ApiError(400, 10166, "per-message TTL is disabled")
INCREMENT_DISABLED = ApiError(400, 10168, "message counters is disabled")
ATOMIC_DISABLED = ApiError(400, 10174, "atomic publish is disabled")
INCREMENT_MISSING = ApiError(400, 10169, "message counter increment is missing")
INCREMENT_PAYLOAD = ApiError(400, 10170, "message counter has payload")
INCREMENT_INVALID = ApiError(400, 10171, "message counter increment is invalid")
COUNTER_BROKEN = ApiError(400, 10172, "message counter is broken")
ATOMIC_NO_SEQUENCE = ApiError(400, 10175, "atomic publish sequence is missing")
ATOMIC_INCOMPLETE = ApiError(400, 10176, "atomic publish batch is incomplete")
ATOMIC_HEADER = ApiError(400, 10177, "atomic publish unsupported header used: {header}")
ATOMIC_ID = ApiError(400, 10179, "atomic publish batch ID is invalid")
ATOMIC_LARGE = ApiError(400, 10199, "atomic publish batch is too large: {size}")
ATOMIC_COMMIT = ApiError(400, 10200, "atomic publish batch commit is invalid")
ATOMIC_INFLIGHT = ApiError(429, 10210, "atomic publish too many inflight")
ACK_WAIT_NEGATIVE = ApiError(400, 10183, "consumer ack wait needs to be positive")
BACKOFF_NEGATIVE = ApiError(400, 10184, "consumer backoff needs to be positive")
API_LEVEL = ApiError(412, 10185, "JetStream minimum api level required")
SCHEDULES_DISABLED = ApiError(400, 10188, "message schedules is disabled")
PRIORITY_WITHOUT_GROUP = ApiError(400, 10159, "Setting PriorityPolicy requires at least one PriorityGroup to be set")
NOT_EMPTY = ApiError(400, 10038, "expected an empty request payload")

STREAM_ERRORS: dict[ErrorCode, ApiError] = {
    ErrorCode.NO_STREAM: STREAM_NOT_FOUND,
    ErrorCode.EXISTS: STREAM_NAME_EXISTS,
    ErrorCode.OUT_OF_RANGE: NO_MESSAGE,
    ErrorCode.TOO_LARGE: MESSAGE_TOO_LARGE,
    ErrorCode.CORRUPT: STORE_FAILED.of(err="stored data is corrupt"),
    ErrorCode.INVALID: BAD_REQUEST,
    ErrorCode.UNSUPPORTED: BAD_REQUEST,
    ErrorCode.FENCED: NOT_AVAILABLE,
    ErrorCode.NO_SPACE: INSUFFICIENT,
    ErrorCode.UNAVAILABLE: NOT_AVAILABLE,
    ErrorCode.BACKPRESSURE: NOT_AVAILABLE,
    ErrorCode.SEALED: ApiError(400, 10109, "invalid operation on sealed stream"),
    ErrorCode.DENIED: BAD_REQUEST,
    ErrorCode.TIMEOUT: NOT_AVAILABLE,
    ErrorCode.DUPLICATE_SEQUENCE: BAD_REQUEST,
}
