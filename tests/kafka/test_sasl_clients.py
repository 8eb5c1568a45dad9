"""Stock clients that authenticate, against the real process; what they are told when they may not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import kafka
import kafka.errors
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from conformance.process import GatewayProcess, find_command
from protocols.identity import Secret
from tests.kafka.clients import WAIT_S, consumer, fresh, produce, producer, read, read_all

MECHANISMS = ["PLAIN", "SCRAM-SHA-256"]


@pytest.fixture(scope="module")
def secure(start_gateway: Callable[..., GatewayProcess], tmp_path_factory: pytest.TempPathFactory) -> GatewayProcess:
    users = tmp_path_factory.mktemp("users") / "users.toml"
    users.write_text(
        f'[users.ann]\nsecret = "{Secret.of(b"secret", b"some salt")}"\nall = true\n\n'
        f'[users.bob]\nsecret = "{Secret.of(b"tea, =milk", b"more salt")}"\nread = ["open/#"]\n'
    )
    users.chmod(0o600)
    return start_gateway(flags=["--users", str(users)])


def librdkafka(mechanism: str, user: str = "ann", password: str = "secret") -> dict[str, Any]:
    return {
        "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": mechanism, "sasl_username": user, "sasl_password": password,
    }  # fmt: skip


def admin(address: str, **config: Any) -> AdminClient:
    return AdminClient(
        {"bootstrap.servers": address, **{key.replace("_", "."): value for key, value in config.items()}}
    )


def created(address: str, name: str) -> str:
    client = admin(address, **librdkafka("PLAIN"))
    client.create_topics([NewTopic(name, 1, 1)])[name].result(WAIT_S)
    return name


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_confluent_kafka_authenticates(secure: GatewayProcess, mechanism: str) -> None:
    topic = created(secure.kafka, fresh("open."))
    produce(secure.kafka, topic, [b"a", b"b"], **librdkafka(mechanism), enable_idempotence=True)
    reader = consumer(secure.kafka, **librdkafka(mechanism, "bob", "tea, =milk"))
    reader.subscribe([topic])
    assert [message.value() for message in read(reader, 2)] == [b"a", b"b"]
    reader.commit(asynchronous=False)
    reader.close()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_confluent_kafka_is_told_what_it_may_not(secure: GatewayProcess, mechanism: str) -> None:
    topic, hidden = created(secure.kafka, fresh("open.")), created(secure.kafka, fresh("closed."))
    bob = librdkafka(mechanism, "bob", "tea, =milk")
    errors = []
    for name in (topic, hidden):
        made = producer(secure.kafka, **bob)
        made.produce(name, b"x", on_delivery=lambda error, message: errors.append(error.name()))
        assert made.flush(WAIT_S) == 0
    assert errors == ["TOPIC_AUTHORIZATION_FAILED"] * 2
    client = admin(secure.kafka, **bob)
    listed = client.list_topics(timeout=WAIT_S).topics
    assert topic in listed and hidden not in listed
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        client.create_topics([NewTopic("closed.new", 1, 1)])["closed.new"].result(WAIT_S)
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        client.delete_topics([topic])[topic].result(WAIT_S)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize(("user", "password"), [("ann", "wrong"), ("nobody", "secret")])
def test_a_wrong_password_is_said_to_be_wrong(secure: GatewayProcess, mechanism: str, user: str, password: str) -> None:
    told: list[str] = []
    client = AdminClient({
        "bootstrap.servers": secure.kafka, "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": mechanism,
        "sasl.username": user, "sasl.password": password, "error_cb": lambda error: told.append(error.name()), "log_level": 0,
    })  # fmt: skip
    while "_AUTHENTICATION" not in told:
        client.poll(0.1)


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_aiokafka_reads_and_writes_what_its_user_may(secure: GatewayProcess, mechanism: str) -> None:
    topic = created(secure.kafka, fresh("open."))
    common = {"bootstrap_servers": secure.kafka, "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": mechanism}
    ann = common | {"sasl_plain_username": "ann", "sasl_plain_password": "secret"}
    bob = common | {"sasl_plain_username": "bob", "sasl_plain_password": "tea, =milk"}
    async with AIOKafkaProducer(**ann) as made:
        assert (await made.send_and_wait(topic, b"x")).offset == 0
    async with AIOKafkaConsumer(topic, **bob, group_id=fresh("g"), auto_offset_reset="earliest") as reader:
        assert (await reader.getone()).value == b"x"
    async with AIOKafkaProducer(**bob) as made:
        with pytest.raises(TopicAuthorizationFailedError):
            await made.send_and_wait(topic, b"x")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_kafka_python_writes_what_its_user_may(secure: GatewayProcess, mechanism: str) -> None:
    topic = created(secure.kafka, fresh("open."))
    common = {"bootstrap_servers": secure.kafka, "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": mechanism}
    made = kafka.KafkaProducer(**common, sasl_plain_username="ann", sasl_plain_password="secret")
    assert made.send(topic, b"x").get(WAIT_S).offset == 0
    made.close()
    refused = kafka.KafkaProducer(**common, sasl_plain_username="bob", sasl_plain_password="tea, =milk")
    with pytest.raises(kafka.errors.TopicAuthorizationFailedError):
        refused.send(topic, b"x").get(WAIT_S)
    refused.close()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_kcat_works_with_either_mechanism(secure: GatewayProcess, mechanism: str) -> None:
    found = find_command("kcat")
    if found is None:
        pytest.skip("kcat is not installed")
    topic = created(secure.kafka, fresh("open."))
    settings = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "sasl.username": "ann",
        "sasl.password": "secret",
    }
    options = [word for name, value in settings.items() for word in ("-X", f"{name}={value}")]
    command = [found, "-b", secure.kafka, *options, "-t", topic]
    subprocess.run([*command, "-P"], input=b"x\n", check=True, timeout=WAIT_S, capture_output=True)
    read = subprocess.run(
        [*command, "-C", "-o", "beginning", "-e", "-q"], check=True, timeout=WAIT_S, capture_output=True
    )
    assert read.stdout == b"x\n"


def test_who_gives_no_password_gets_nothing(secure: GatewayProcess) -> None:
    client = AdminClient({"bootstrap.servers": secure.kafka, "log_level": 0})
    with pytest.raises(KafkaException):
        client.list_topics(timeout=2)


def test_offsets_and_records_of_users_survive(secure: GatewayProcess) -> None:
    topic = created(secure.kafka, fresh("open."))
    produce(secure.kafka, topic, [b"a"], **librdkafka("PLAIN"))
    secure.restart(kill=True)
    assert [one.value() for one in read_all(secure.kafka, topic, 1, **librdkafka("SCRAM-SHA-256"))] == [b"a"]
