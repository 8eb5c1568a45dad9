"""The clients of the matrix, one column for each variant, and the cell of each that ``make test`` runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """``program``: a module, or a JavaScript program of ``conformance/node``. ``smoke``: one feature of it."""

    protocol: str
    client: str
    program: str
    smoke: str
    variant: str = ""
    package: str = ""
    """Of JavaScript clients: the npm package whose version is told."""

    @property
    def name(self) -> str:
        return f"{self.client} {self.variant}".strip()

    @property
    def is_javascript(self) -> bool:
        return self.program.startswith("matrix_")


def of(protocol: str, client: str, program: str, smoke: str, *variants: str, package: str = "") -> list[Column]:
    return [Column(protocol, client, program, smoke, variant, package) for variant in variants or ("",)]


COLUMNS = (
    *of("kafka", "confluent-kafka", "conformance.matrix.kafka_confluent", "produce: acks all"),
    *of("kafka", "aiokafka", "conformance.matrix.kafka_aiokafka", "produce: acks all"),
    *of("kafka", "kafka-python", "conformance.matrix.kafka_python", "produce: acks all"),
    *of("kafka", "kcat", "conformance.matrix.kafka_kcat", "produce: and consume"),
    *of("kafka", "KafkaJS", "matrix_kafkajs", "produce: acks all", package="kafkajs"),
    *of("nats", "nats-py", "conformance.matrix.nats_py", "core: publish and subscribe"),
    *of("nats", "nats.js", "matrix_nats2", "core: publish and subscribe", "2", package="nats"),
    *of("nats", "nats.js", "matrix_nats3", "core: publish and subscribe", "3", package="@nats-io/transport-node"),
    *of("mqtt", "paho-mqtt", "conformance.matrix.mqtt_paho", "publish: QoS 1", "3.1", "3.1.1", "5"),
    *of("mqtt", "aiomqtt", "conformance.matrix.mqtt_aiomqtt", "publish: QoS 1", "3.1.1", "5"),
    *of("mqtt", "gmqtt", "conformance.matrix.mqtt_gmqtt", "publish: QoS 1", "5"),
    *of("mqtt", "amqtt", "conformance.matrix.mqtt_amqtt", "publish: QoS 1", "3.1.1"),
    *of("mqtt", "mosquitto tools", "conformance.matrix.mqtt_mosquitto", "publish: QoS 1", "3.1.1", "5"),
    *of("mqtt", "MQTT.js", "matrix_mqttjs", "publish: QoS 1", "3.1.1", "5", package="mqtt"),
    *of("resp", "redis-py", "conformance.matrix.redis_py", "strings: set and get", "RESP2", "RESP3"),
    *of("resp", "redis-py asyncio", "conformance.matrix.redis_asyncio", "strings: set and get", "RESP2", "RESP3"),
    *of("resp", "redis-cli", "conformance.matrix.redis_cli", "strings: set and get"),
    *of("resp", "ioredis", "matrix_ioredis", "strings: set and get", package="ioredis"),
    *of("resp", "node-redis", "matrix_noderedis", "strings: set and get", "RESP2", "RESP3", package="redis"),
    *of("resp", "RQ", "conformance.matrix.redis_rq", "queue: a job and its result"),
    *of("resp", "Celery", "conformance.matrix.redis_celery", "tasks: a task and its result"),
    *of("resp", "Django cache", "conformance.matrix.redis_django", "cache: set and get"),
)
PROTOCOLS = ("kafka", "nats", "mqtt", "resp")
