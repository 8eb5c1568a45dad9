"""A Kafka client for scripts: whole requests in, decoded responses out, over a gateway in memory."""

from __future__ import annotations

from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from conformance.harness import Client, Harness
from protocols.kafka.codec import Codecs
from protocols.kafka.groups import Groups
from protocols.kafka.schema import APIS
from protocols.kafka.session import KafkaSession, Settings

KEYS = {api.name: api.key for api in APIS.values()}
CODECS = Codecs()


def harness(delayed: bool = False, seed: int = 1, groups: Any = Groups, **settings: Any) -> Harness:
    """A gateway of Kafka alone."""
    made = Settings(**settings)
    return Harness(
        seed, executors=[groups], factories={"kafka": lambda port: KafkaSession(port, made)}, delayed=delayed
    )


def fill(api: str, kind: str, values: dict[str, Any], path: tuple[str, ...] = ()) -> Any:
    """A message from plain dicts and lists."""
    key = KEYS[api]
    made = CODECS.structure(kind, key, *path)()
    for name, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = [fill(api, kind, one, (*path, name)) for one in value]
        elif isinstance(value, dict):
            value = fill(api, kind, value, (*path, name))
        assert name in made.__slots__, name
        setattr(made, name, value)
    return made


def frame(api: str, version: int, correlation_id: int = 1, client_id: str = "script", **fields: Any) -> bytes:
    """One request as a client sends it."""
    definition = APIS[KEYS[api]]
    body = b"".join(CODECS.encode("request", definition.key, version, fill(api, "request", fields)))
    head = definition.key.to_bytes(2, "big") + version.to_bytes(2, "big") + correlation_id.to_bytes(4, "big")
    head += len(client_id).to_bytes(2, "big") + client_id.encode()
    if definition.flexible(version):
        head += b"\0"
    return (len(head) + len(body)).to_bytes(4, "big") + head + body


class Script:
    """One connection. ``send`` leaves what comes back for ``take``; ``ask`` does both for one request."""

    def __init__(self, gateway: Harness) -> None:
        self.gateway = gateway
        self.client: Client = gateway.connect("kafka")
        self._unread = b""
        self._sent: list[tuple[int, str, int]] = []
        self._next = 1

    def encode(self, api: str, version: int, **fields: Any) -> bytes:
        """The bytes of a request whose answer will be awaited."""
        self._sent.append((self._next, api, version))
        self._next += 1
        return frame(api, version, self._next - 1, **fields)

    def send(self, api: str, version: int, **fields: Any) -> None:
        self.client.send(self.encode(api, version, **fields))

    def silent(self, api: str, version: int, **fields: Any) -> None:
        """A request that gets no answer."""
        self.client.send(frame(api, version, 0, **fields))

    def take(self) -> Any:
        """The next answer, which must be the one to the oldest request; None: there is none yet."""
        self._unread += self.client.read()
        if len(self._unread) < 4:
            return None
        size = 4 + int.from_bytes(self._unread[:4], "big")
        assert len(self._unread) >= size, "half an answer"
        answer, self._unread = self._unread[4:size], self._unread[size:]
        correlation_id, api, version = self._sent.pop(0)
        assert int.from_bytes(answer[:4], "big") == correlation_id, "an answer out of order"
        key = KEYS[api]
        offset = 5 if key != 18 and APIS[key].flexible(version) else 4
        message, end = CODECS.decode("response", key, version, memoryview(answer), offset)
        assert end == len(answer)
        return message

    def ask(self, api: str, version: int, **fields: Any) -> Any:
        self.send(api, version, **fields)
        answer = self.take()
        assert answer is not None, f"{api} was not answered"
        return answer

    # shorthands

    def create(self, name: str, partitions: int = 1, **config: str) -> None:
        configs = [{"name": key.replace("_", "."), "value": value} for key, value in config.items()]
        topic = {"name": name, "num_partitions": partitions, "replication_factor": 1, "configs": configs}
        answer = self.ask("CreateTopics", 4, topics=[topic])
        assert answer.topics[0].error_code == 0, answer

    def produce(self, topic: str, data: bytes, version: int = 9, acks: int = -1, partition: int = 0) -> Any:
        """The partition's answer."""
        partitions = [{"index": partition, "records": data}]
        answer = self.ask("Produce", version, acks=acks, topic_data=[{"name": topic, "partition_data": partitions}])
        return answer.responses[0].partition_responses[0]

    def fetching(self, topic: str, offset: int = 0, **fields: Any) -> dict[str, Any]:
        """The fields of a Fetch of partition 0; ``wait``, ``least``, ``most``, ``partition_most``."""
        partition = {
            "partition": 0,
            "fetch_offset": offset,
            "partition_max_bytes": fields.get("partition_most", 1 << 20),
            "current_leader_epoch": fields.get("epoch", -1),
        }
        return {
            "max_wait_ms": fields.get("wait", 0),
            "min_bytes": fields.get("least", 1),
            "max_bytes": fields.get("most", 1 << 20),
            "isolation_level": fields.get("isolation", 0),
            "topics": [{"topic": topic, "partitions": [partition]}],
        }

    def fetch(self, topic: str, offset: int = 0, version: int = 11, **fields: Any) -> Any:
        """The partition's answer."""
        return self.ask("Fetch", version, **self.fetching(topic, offset, **fields)).responses[0].partitions[0]


def batch(
    *values: bytes | None,
    timestamp: int = 1000,
    producer: tuple[int, int, int] = (-1, -1, -1),
    compression: int = 0,
    transactional: bool = False,
) -> bytes:
    """One v2 batch as a client makes it; ``producer`` is (id, epoch, first sequence)."""
    builder = DefaultRecordBatchBuilder(2, compression, transactional, *producer, 1 << 30)
    for number, value in enumerate(values):
        assert builder.append(number, timestamp + number, None, value, []) is not None
    return bytes(builder.build())
