"""Stock clients over TLS against the real process: the same certificate on every listener, read again on SIGHUP."""

from __future__ import annotations

import os
import pathlib
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import Callable
from typing import Any

import nats
import paho.mqtt.client as paho
import pytest
import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from conformance.process import GatewayProcess, find_command
from protocols.identity import Secret
from tests.thalweg.certificates import Certificates

ANY = "127.0.0.1:0"
DEADLINE_S = 20
USER, PASSWORD = "alice", "wonder land"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(start_gateway: Callable[..., Any], made: Certificates) -> GatewayProcess:
    """All listeners twice; one user, who may do everything; nobody else comes in."""
    users = made.folder / "users.toml"
    secret = Secret.of(PASSWORD.encode(), b"salt")
    users.write_text(f'[users.{USER}]\nsecret = "{secret}"\nall = true\n')
    users.chmod(0o600)
    env = {f"THALWEG_{name}__TLS_LISTEN": ANY for name in ("KAFKA", "NATS", "MQTT", "RESP", "HTTP")}
    env |= {"THALWEG_TLS__CERTIFICATE": made.path("server.pem"), "THALWEG_TLS__KEY": made.path("server.key")}
    started: GatewayProcess = start_gateway(data=":memory:", flags=["--users", str(users)], env=env)
    return started


def port(gateway: GatewayProcess, name: str) -> int:
    return int(gateway.listeners[f"{name}_tls"].rpartition(":")[2])


def test_the_ready_file_names_every_listener(secure: GatewayProcess) -> None:
    assert secure.listeners.keys() == {
        f"{name}{suffix}" for name in ("kafka", "nats", "mqtt", "resp", "http") for suffix in ("", "_tls")
    }


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_kafka_over_sasl_ssl(secure: GatewayProcess, made: Certificates, mechanism: str) -> None:
    common = {
        "bootstrap.servers": f"localhost:{port(secure, 'kafka')}",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": made.ca,
        "sasl.mechanism": mechanism,
        "sasl.username": USER,
        "sasl.password": PASSWORD,
    }
    topic = f"tls-{mechanism.lower()}"
    producer = Producer(common)
    for number in range(1000):
        producer.produce(topic, b"%d" % number)
    assert producer.flush(DEADLINE_S) == 0
    consumer = Consumer(common | {"group.id": "g", "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe([topic])
        messages = consumer.consume(1000, DEADLINE_S)
        assert [message.value() for message in messages] == [b"%d" % number for number in range(1000)]
    finally:
        consumer.close()
    assert port(secure, "kafka") in {broker.port for broker in AdminClient(common).list_topics().brokers.values()}


def test_kafka_over_ssl_alone(start_gateway: Callable[..., Any], made: Certificates) -> None:
    env = {
        "THALWEG_KAFKA__TLS_LISTEN": ANY,
        "THALWEG_TLS__CERTIFICATE": made.path("server.pem"),
        "THALWEG_TLS__KEY": made.path("server.key"),
        "THALWEG_TLS__CLIENT_CA": made.ca,
    }
    gateway = start_gateway(data=":memory:", flags=["--kafka", "off"], env=env)
    made.issue("device")
    common = {
        "bootstrap.servers": f"localhost:{port(gateway, 'kafka')}",
        "security.protocol": "SSL",
        "ssl.ca.location": made.ca,
        "socket.timeout.ms": "3000",
    }
    shown = {"ssl.certificate.location": made.path("device.pem"), "ssl.key.location": made.path("device.key")}
    producer = Producer(common | shown)
    producer.produce("t", b"x")
    assert producer.flush(DEADLINE_S) == 0
    with pytest.raises(KafkaException) as caught:
        AdminClient(common).list_topics(timeout=2)
    assert caught.value.args[0].code() == KafkaError._TRANSPORT


async def test_nats_over_tls(secure: GatewayProcess, made: Certificates) -> None:
    address = f"tls://localhost:{port(secure, 'nats')}"
    client = await nats.connect(address, tls=made.client(), user=USER, password=PASSWORD)
    subscription = await client.subscribe("x")
    await client.publish("x", b"y" * 900_000)
    assert len((await subscription.next_msg(DEADLINE_S)).data) == 900_000
    await client.close()


@pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5])
def test_mqtt_over_tls(secure: GatewayProcess, made: Certificates, version: Any) -> None:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=version)
    client.username_pw_set(USER, PASSWORD)
    client.tls_set(ca_certs=made.ca)
    client.connect("localhost", port(secure, "mqtt"))
    client.loop_start()
    told = client.publish("a/b", b"x", qos=2)
    told.wait_for_publish(DEADLINE_S)
    assert told.is_published()
    client.disconnect()
    client.loop_stop()


def tool(name: str) -> str:
    found = find_command(name)
    if found is None:
        pytest.skip(f"{name} is not installed (make peers)")
    return found


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.peer
def test_mosquittos_tools_over_tls(secure: GatewayProcess, made: Certificates) -> None:
    common = ["-h", "localhost", "-p", str(port(secure, "mqtt")), "--cafile", made.ca, "-u", USER, "-P", PASSWORD]
    run(tool("mosquitto_pub"), *common, "-q", "1", "-r", "-t", "kept", "-m", "hello")
    assert run(tool("mosquitto_sub"), *common, "-q", "1", "-t", "kept", "-C", "1") == "hello\n"


def test_redis_py_over_tls(secure: GatewayProcess, made: Certificates) -> None:
    client = redis.Redis(
        host="localhost", port=port(secure, "resp"), ssl=True, ssl_ca_certs=made.ca, username=USER, password=PASSWORD
    )
    with client.pipeline(transaction=False) as pipe:
        for number in range(2000):
            pipe.set(f"k{number}", "v" * 100)
        assert pipe.execute() == [True] * 2000
    client.set("large", "x" * 5_000_000)
    assert len(client.get("large")) == 5_000_000


@pytest.mark.peer
def test_redis_cli_over_tls(secure: GatewayProcess, made: Certificates) -> None:
    command = [tool("redis-cli"), "-h", "localhost", "-p", str(port(secure, "resp")), "--tls", "--cacert", made.ca]
    assert run(*command, "--user", USER, "-a", PASSWORD, "--no-auth-warning", "PING") == "PONG\n"


def test_operators_over_https(secure: GatewayProcess, made: Certificates) -> None:
    url = f"https://localhost:{port(secure, 'http')}/readyz"
    with urllib.request.urlopen(url, context=made.client(), timeout=DEADLINE_S) as answer:
        assert answer.status == 200


def serial(gateway: GatewayProcess) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port(gateway, "resp")))


def test_certificates_and_users_are_read_again_on_sighup(secure: GatewayProcess, made: Certificates) -> None:
    before = serial(secure)
    made.issue("server")
    users = pathlib.Path(made.path("users.toml"))
    users.write_text(users.read_text() + f'[users.bob]\nsecret = "{Secret.of(b"builder", b"salt")}"\nall = true\n')
    os.kill(secure.pid, signal.SIGHUP)
    secure.wait_until_said("users were read again; connections closed: 0")
    assert serial(secure) != before
    client = redis.Redis(
        host="localhost", port=port(secure, "resp"), ssl=True, ssl_ca_certs=made.ca, username="bob", password="builder"
    )
    assert client.ping()
    pathlib.Path(made.path("server.key")).write_text("")
    os.kill(secure.pid, signal.SIGHUP)
    secure.wait_until_said("the certificates that were stay")
    assert client.ping()
    made.issue("server")
