"""One user file, the same rules, stock clients of all four protocols: what is allowed works, what is not is refused in each
protocol's own words, and who is nobody does not come in."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import pathlib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import nats
import nats.errors
import paho.mqtt.client as paho
import pytest
import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)
from nats.js.api import RePublish, StreamSource
from nats.js.errors import APIError, NotFoundError
from redis.backoff import NoBackoff
from redis.retry import Retry

from conformance.process import GatewayProcess
from thalweg.users import User, make_secret, put

DEADLINE_S = 20
PASSWORD = "correct horse"
RULES: dict[str, dict[str, Any]] = {
    "root": {"all": True},
    "writer": {"write": ("orders/#",), "deny_write": ("orders/closed/#",), "read": ("_INBOX/#",)},
    "reader": {"read": ("orders/#", "_INBOX/#"), "deny_read": ("orders/secret/#",)},
    "owner": {
        "read": ("orders/#", "depot/#", "_INBOX/#"),
        "write": ("orders/#", "depot/#"),
        "manage": ("orders/#", "depot/#"),
    },
    "auditor": {"read": ("_thalweg/#",)},
    "nothing": {},
}
"""``orders`` is the topic, the subject, the key's and the channel's first token; ``others`` is nobody's but root's."""


@pytest.fixture(scope="module")
def gateway(start_gateway: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> GatewayProcess:
    file = pathlib.Path(tmp_path_factory.mktemp("users"), "users.toml")
    secret = str(make_secret(PASSWORD.encode()))
    for name, rules in RULES.items():
        put(file, name, User(secret=secret, **rules))
    started: GatewayProcess = start_gateway(flags=["--users", str(file)])
    return started


# Kafka


def kafka(gateway: GatewayProcess, user: str, mechanism: str = "PLAIN", password: str = PASSWORD) -> dict[str, Any]:
    return {
        "bootstrap.servers": gateway.kafka,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "sasl.username": user,
        "sasl.password": password,
        "socket.timeout.ms": 5000,
        "message.timeout.ms": 2000,
    }


def create(gateway: GatewayProcess, user: str, topic: str) -> int | None:
    """The error's code."""
    client = AdminClient(kafka(gateway, user))
    (done,) = client.create_topics([NewTopic(topic, 1, 1)]).values()
    try:
        done.result(DEADLINE_S)
    except KafkaException as error:
        return int(error.args[0].code())
    return None


def produce(gateway: GatewayProcess, user: str, topic: str, mechanism: str = "PLAIN") -> int | None:
    told: list[KafkaError | None] = []
    producer = Producer(kafka(gateway, user, mechanism))
    producer.produce(topic, b"x", on_delivery=lambda error, _: told.append(error))
    producer.flush(DEADLINE_S)
    return None if told[0] is None else int(told[0].code())


def consume(gateway: GatewayProcess, user: str, topic: str) -> bytes | int:
    """The first record's value, or the error's code."""
    consumer = Consumer(kafka(gateway, user) | {"group.id": f"{user}-{topic}", "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe([topic])
        message = consumer.poll(DEADLINE_S)
        assert message is not None
        error = message.error()
        return int(error.code()) if error is not None else (message.value() or b"")
    finally:
        consumer.close()


DENIED = KafkaError.TOPIC_AUTHORIZATION_FAILED


@pytest.fixture(scope="module")
def topics(gateway: GatewayProcess) -> GatewayProcess:
    """``orders``, ``orders.closed``, ``orders.secret`` and ``others`` are there, a record in each."""
    for topic in ("orders", "orders.closed", "orders.secret", "others"):
        assert create(gateway, "root", topic) is None
        assert produce(gateway, "root", topic) is None
    return gateway


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_kafka_writes_where_it_may(topics: GatewayProcess, mechanism: str) -> None:
    found = [produce(topics, "writer", topic, mechanism) for topic in ("orders", "orders.closed", "others")]
    assert found == [None, DENIED, DENIED]


def test_kafka_reads_where_it_may(topics: GatewayProcess) -> None:
    assert consume(topics, "owner", "orders") == b"x"
    assert consume(topics, "owner", "others") == DENIED
    held = ("orders", "orders.secret")  # the first captures all beneath it, the second with it
    assert [consume(topics, "reader", topic) for topic in held] == [DENIED, DENIED]
    assert consume(topics, "writer", "orders") == DENIED


def test_kafka_manages_where_it_may(topics: GatewayProcess) -> None:
    assert create(topics, "owner", "orders.eu") is None
    assert [create(topics, user, topic) for user, topic in (("owner", "mine"), ("reader", "orders.us"))] == [DENIED] * 2


def test_kafka_lists_what_it_may(topics: GatewayProcess) -> None:
    def listed(user: str) -> set[str]:
        client = AdminClient(kafka(topics, user))
        return set(client.list_topics(timeout=DEADLINE_S).topics)

    assert "others" in listed("root")
    assert "others" not in listed("reader")
    assert "orders" in listed("reader")
    assert listed("nothing") == set()


def test_kafka_reads_the_servers_own_streams_where_a_rule_names_them(topics: GatewayProcess) -> None:
    assert isinstance(consume(topics, "auditor", "_thalweg.control"), bytes)
    assert [isinstance(consume(topics, user, "_thalweg.control"), int) for user in ("owner", "root")] == [True] * 2
    assert produce(topics, "auditor", "_thalweg.control") is not None


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
@pytest.mark.parametrize(("user", "password"), [("root", "wrong"), ("nobody", PASSWORD)])
def test_kafka_lets_nobody_else_in(gateway: GatewayProcess, mechanism: str, user: str, password: str) -> None:
    errors: list[KafkaError] = []
    client = AdminClient(kafka(gateway, user, mechanism, password) | {"error_cb": errors.append})
    with pytest.raises(KafkaException):
        client.list_topics(timeout=1)
    client.poll(1)
    assert KafkaError._AUTHENTICATION in {error.code() for error in errors}


def test_kafka_lets_nobody_in_without_credentials(gateway: GatewayProcess) -> None:
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": gateway.kafka}).list_topics(timeout=1)


# NATS


@contextlib.asynccontextmanager
async def nats_client(gateway: GatewayProcess, user: str | None, password: str = PASSWORD) -> Any:
    errors: asyncio.Queue[object] = asyncio.Queue()

    async def heard(error: Exception) -> None:
        errors.put_nowait(error)

    credentials = {} if user is None else {"user": user, "password": password}
    client = await nats.connect(
        f"nats://{gateway.nats}", error_cb=heard, allow_reconnect=False, max_reconnect_attempts=0, **credentials
    )
    client.errors = errors
    try:
        yield client
    finally:
        await client.close()


async def nats_publishes(gateway: GatewayProcess, user: str, subject: str) -> None:
    """Return when it reached a subscriber."""
    async with nats_client(gateway, "root") as root, nats_client(gateway, user) as client:
        heard = await root.subscribe(subject)
        await root.flush()
        await client.publish(subject, b"x")
        await heard.next_msg(DEADLINE_S)


async def nats_hears(gateway: GatewayProcess, user: str, pattern: str, subject: str) -> str:
    """What the server says to a subscription; the subject if a message came, ``silence`` if none did before the next."""
    async with nats_client(gateway, "root") as root, nats_client(gateway, user) as client:

        async def heard(message: Any) -> None:
            client.errors.put_nowait(message.subject)

        await client.subscribe(pattern, cb=heard)
        await client.flush()
        await root.publish(subject, b"x")
        await root.publish("orders.last", b"x")
        first = str(await asyncio.wait_for(client.errors.get(), DEADLINE_S))
        return "silence" if first == "orders.last" and subject != first else first


async def test_nats_publishes_where_it_may(gateway: GatewayProcess) -> None:
    await nats_publishes(gateway, "writer", "orders.eu")
    for subject in ("orders.closed.eu", "others", "_thalweg.control"):
        assert 'permissions violation for publish to "' + subject in (await refused(gateway, "writer", subject)).lower()


async def refused(gateway: GatewayProcess, user: str, subject: str) -> str:
    async with nats_client(gateway, user) as client:
        await client.publish(subject, b"x")
        await client.flush()
        return str(await asyncio.wait_for(client.errors.get(), DEADLINE_S))


async def test_nats_subscribes_where_it_may(gateway: GatewayProcess) -> None:
    assert await nats_hears(gateway, "reader", "orders.>", "orders.eu") == "orders.eu"
    assert await nats_hears(gateway, "reader", "orders.>", "orders.secret.eu") == "silence"
    for user, pattern in (
        ("reader", "others"),
        ("reader", ">"),
        ("reader", "orders.secret.>"),
        ("writer", "orders.eu"),
    ):
        said = (await nats_hears(gateway, user, pattern, "x")).lower()
        assert f'permissions violation for subscription to "{pattern}"' in said


async def test_jetstream_manages_where_it_may(gateway: GatewayProcess) -> None:
    async with nats_client(gateway, "owner") as client:
        stream = client.jetstream(timeout=1)
        await stream.add_stream(name="depot", subjects=["depot.>"])
        await stream.publish("depot.1", b"x")
        with pytest.raises((APIError, nats.errors.TimeoutError, nats.errors.NoRespondersError)):
            await stream.add_stream(name="elsewhere", subjects=["elsewhere.>"])
    async with nats_client(gateway, "reader") as client:
        stream = client.jetstream(timeout=1)
        with pytest.raises((APIError, nats.errors.TimeoutError, nats.errors.NoRespondersError)):
            await stream.delete_stream("depot")
    async with nats_client(gateway, "root") as client:
        assert (await client.jetstream().stream_info("depot")).state.messages == 1
        with pytest.raises(NotFoundError):
            await client.jetstream().stream_info("elsewhere")


@pytest.mark.parametrize(("user", "password"), [("root", "wrong"), ("nobody", PASSWORD), (None, "")])
async def test_nats_lets_nobody_else_in(gateway: GatewayProcess, user: str | None, password: str) -> None:
    with pytest.raises((nats.errors.Error, OSError), match=r"(?i)authorization violation"):
        async with nats_client(gateway, user, password):
            pass


# MQTT


class Mqtt:
    """A 5.0 client on a thread of paho's, whose calls wait for their answers."""

    def __init__(self, gateway: GatewayProcess, user: str | None, password: str = PASSWORD) -> None:
        self.messages: list[str] = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, reconnect_on_failure=False)
        if user is not None:
            self.client.username_pw_set(user, password)
        self.told: Any = None
        self.client.on_connect = lambda client, data, flags, reason, properties: self._tell(reason)
        self.client.on_publish = lambda client, data, mid, reason, properties: self._tell(reason)
        self.client.on_subscribe = lambda client, data, mid, reasons, properties: self._tell(reasons[0])
        self.client.on_message = lambda client, data, message: self.messages.append(message.topic)
        host, _, port = gateway.mqtt.rpartition(":")
        self.connected = self._ask(lambda: self.client.connect(host, int(port)))

    def _tell(self, reason: Any) -> None:
        self.told = reason

    def _ask(self, act: Callable[[], object]) -> int:
        """The reason code of its answer."""
        self.told = None
        act()
        for _ in range(200):
            if self.told is not None:
                return int(self.told.value)
            if self.client.loop(DEADLINE_S / 200) != paho.MQTT_ERR_SUCCESS and self.told is None:
                break
        assert self.told is not None, "no answer"
        return int(self.told.value)

    def publish(self, topic: str) -> int:
        return self._ask(lambda: self.client.publish(topic, b"x", qos=1))

    def subscribe(self, topic: str) -> int:
        return self._ask(lambda: self.client.subscribe(topic, qos=0))

    def hear(self, until: str) -> list[str]:
        """Topics of what came, up to this one."""
        for _ in range(200):
            if until in self.messages:
                break
            self.client.loop(DEADLINE_S / 200)
        return self.messages


@contextlib.contextmanager
def mqtt(gateway: GatewayProcess, user: str | None, password: str = PASSWORD) -> Iterator[Mqtt]:
    made = Mqtt(gateway, user, password)
    try:
        yield made
    finally:
        made.client.disconnect()
        made.client.loop(0.1)


NOT_AUTHORIZED = 0x87


def test_mqtt_publishes_where_it_may(gateway: GatewayProcess) -> None:
    with mqtt(gateway, "writer") as client:
        assert client.publish("orders/eu") in (0, 0x10)  # 0x10: nobody listens
        assert [client.publish(topic) for topic in ("orders/closed/eu", "others")] == [NOT_AUTHORIZED] * 2


def test_mqtt_subscribes_where_it_may(gateway: GatewayProcess) -> None:
    with mqtt(gateway, "reader") as client, mqtt(gateway, "root") as root:
        assert client.subscribe("orders/#") == 0
        assert all(client.subscribe(topic) in (0x80, NOT_AUTHORIZED) for topic in ("others", "#", "orders/secret/#"))
        for topic in ("orders/secret/eu", "others", "orders/eu"):
            root.publish(topic)
        assert client.hear("orders/eu") == ["orders/eu"]
    with mqtt(gateway, "writer") as client:
        assert client.subscribe("orders/eu") in (0x80, NOT_AUTHORIZED)


@pytest.mark.parametrize(
    ("user", "password", "code"),
    [("root", "wrong", 0x86), ("nobody", PASSWORD, 0x86), (None, "", NOT_AUTHORIZED)],
)
def test_mqtt_lets_nobody_else_in(gateway: GatewayProcess, user: str | None, password: str, code: int) -> None:
    made = Mqtt(gateway, user, password)
    assert made.connected in (code, NOT_AUTHORIZED)


# Redis

ONCE = Retry(NoBackoff(), 0)


@contextlib.contextmanager
def resp(gateway: GatewayProcess, user: str | None, password: str = PASSWORD) -> Iterator[redis.Redis]:
    host, _, port = gateway.resp.rpartition(":")
    credentials = {} if user is None else {"username": user, "password": password}
    client = redis.Redis(
        host=host, port=int(port), decode_responses=True, socket_timeout=DEADLINE_S, retry=ONCE, **credentials
    )
    try:
        yield client
    finally:
        client.close()


def test_redis_writes_where_it_may(gateway: GatewayProcess) -> None:
    with resp(gateway, "writer") as client:
        assert client.set("orders:eu", "x")
        assert client.publish("orders:eu", "x") >= 0
        for act in (
            lambda: client.set("orders:closed:eu", "x"),
            lambda: client.set("others", "x"),
            lambda: client.mset({"orders:eu": "x", "others": "x"}),
            lambda: client.get("orders:eu"),
            lambda: client.publish("others", "x"),
            lambda: client.flushall(),
            lambda: client.config_set("appendfsync", "no"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                act()


def test_redis_reads_where_it_may(gateway: GatewayProcess) -> None:
    with resp(gateway, "root") as root, resp(gateway, "reader") as client:
        root.mset({"orders:uk": "x", "orders:secret:uk": "y", "others:uk": "z"})
        assert client.get("orders:uk") == "x"
        for act in (
            lambda: client.get("orders:secret:uk"),
            lambda: client.get("others:uk"),
            lambda: client.set("orders:uk", "y"),
            lambda: client.eval("return redis.call('get', 'others:uk')", 0),
        ):
            with pytest.raises((redis.exceptions.NoPermissionError, redis.exceptions.ResponseError)):
                act()


def test_redis_does_not_slip_past_by_a_transaction(gateway: GatewayProcess) -> None:
    with resp(gateway, "writer") as client, client.pipeline(transaction=True) as pipe:
        pipe.set("orders:tx", "x")
        pipe.set("others", "x")
        with pytest.raises(redis.exceptions.RedisError):
            pipe.execute()
    with resp(gateway, "root") as root:
        assert root.exists("orders:tx", "others") == 0


def test_redis_subscribes_where_it_may(gateway: GatewayProcess) -> None:
    with resp(gateway, "root") as root, resp(gateway, "reader") as client:
        listener = client.pubsub(ignore_subscribe_messages=True)
        listener.subscribe("orders:eu")
        assert listener.get_message(timeout=DEADLINE_S) is None or True
        root.publish("orders:eu", "x")
        message = next(heard for heard in iter(lambda: listener.get_message(timeout=DEADLINE_S), 1) if heard)
        assert message["data"] == "x"
        for act in (lambda: listener.subscribe("others"), lambda: listener.psubscribe("*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                act()
                while listener.get_message(timeout=DEADLINE_S) is not None:
                    pass


@pytest.mark.parametrize(("user", "password"), [("root", "wrong"), ("nobody", PASSWORD)])
def test_redis_lets_nobody_else_in(gateway: GatewayProcess, user: str, password: str) -> None:
    with resp(gateway, user, password) as client, pytest.raises(redis.exceptions.AuthenticationError):
        client.ping()


def test_redis_lets_nobody_in_without_credentials(gateway: GatewayProcess) -> None:
    with (
        resp(gateway, None) as client,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        client.get("orders:eu")


# HTTP


def http(
    gateway: GatewayProcess, user: str | None, path: str, body: bytes | None = None, password: str = PASSWORD
) -> int:
    """The status."""
    request = urllib.request.Request(f"http://{gateway.http}{path}", body)
    if user is not None:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())
    if body is not None:
        request.add_header("Content-Type", "application/octet-stream")
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_http_does_what_it_may(topics: GatewayProcess) -> None:
    places = ("orders/eu", "orders/closed/eu", "others", "_thalweg/control")
    published = [http(topics, "writer", f"/api/publish?address={place}", b"x") for place in places]
    assert published == [200, 403, 403, 403]
    asked = [http(topics, user, "/api/records?stream=orders") for user in ("reader", "writer", "nothing")]
    assert asked == [200, 403, 403]
    assert http(topics, "reader", "/api/records?stream=others") in (403, 404)
    assert http(topics, "reader", "/api/streams", b'{"name": "orders/mine"}') == 403


@pytest.mark.parametrize(("user", "password"), [("root", "wrong"), ("nobody", PASSWORD), (None, "")])
def test_http_lets_nobody_else_in(gateway: GatewayProcess, user: str | None, password: str) -> None:
    assert http(gateway, user, "/api/streams", password=password) == 401
    assert http(gateway, user, "/readyz", password=password) == 200


# all of them


def test_a_user_of_no_rules_comes_in_and_may_do_nothing(topics: GatewayProcess) -> None:
    assert produce(topics, "nothing", "orders") == DENIED
    with mqtt(topics, "nothing") as client:
        assert client.connected == 0
        assert client.publish("orders/eu") == NOT_AUTHORIZED
    with resp(topics, "nothing") as client:
        assert client.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.get("orders:eu")


async def test_what_one_protocol_refused_no_other_heard(topics: GatewayProcess) -> None:
    """Refused publications leave no trace for who may hear everything."""
    async with nats_client(topics, "root") as root:
        heard: list[str] = []

        async def note(message: Any) -> None:
            heard.append(message.subject)

        await root.subscribe("others.>", cb=note)
        await root.flush()
        with mqtt(topics, "writer") as client:
            assert client.publish("others/mqtt") == NOT_AUTHORIZED
        with resp(topics, "writer") as client, pytest.raises(redis.exceptions.NoPermissionError):
            client.publish("others:resp", "x")
        assert produce(topics, "writer", "others.kafka") == DENIED
        await refused(topics, "writer", "others.nats")
        await root.publish("others.last", b"")
        await root.flush()
        for _ in range(200):
            if "others.last" in heard:
                break
            await asyncio.sleep(0.01)
        assert heard == ["others.last"]


# ways around


def test_redis_has_no_way_around(gateway: GatewayProcess) -> None:
    with resp(gateway, "root") as root:
        root.mset({"others:a": "secret", "orders:a": "x", "orders:secret:a": "y"})
        root.rpush("orders:list", "a")
        root.xadd("others:stream", {"f": "secret"})
    with resp(gateway, "owner") as client:
        for command in (
            ("RENAME", "orders:a", "others:b"),
            ("RENAME", "others:a", "orders:b"),
            ("COPY", "others:a", "orders:b"),
            ("COPY", "orders:a", "others:b"),
            ("SORT", "orders:list", "BY", "others:*"),
            ("SORT", "orders:list", "GET", "others:*"),
            ("SORT", "orders:list", "STORE", "others:b"),
            ("XREAD", "STREAMS", "others:stream", "0"),
            ("MGET", "orders:a", "others:a"),
            ("BITOP", "NOT", "others:b", "orders:a"),
            ("OBJECT", "ENCODING", "others:a"),
            ("DUMP", "others:a"),
            ("EVAL", "return redis.call('get', 'others:a')", "0"),
            ("EVAL", "return redis.call('set', 'others:b', 'x')", "0"),
            ("EVAL", "return redis.call('get', KEYS[1])", "1", "others:a"),
            ("SUBSCRIBE", "__keyspace@0__:others:a"),
            ("PSUBSCRIBE", "__key*__:*"),
            ("PUBLISH", "__keyspace@0__:others:a", "set"),
            ("KEYS", "*"),
            ("SCAN", "0"),
            ("RANDOMKEY",),
            ("MONITOR",),
            ("FLUSHDB",),
            ("FLUSHALL",),
            ("SWAPDB", "0", "1"),
            ("CONFIG", "SET", "appendfsync", "no"),
            ("SHUTDOWN", "NOSAVE"),
            ("DEBUG", "SLEEP", "0"),
            ("CLIENT", "KILL", "TYPE", "normal"),
        ):
            with pytest.raises(redis.exceptions.ResponseError):
                print(command, client.execute_command(*command))
    with resp(gateway, "root") as root:
        assert root.exists("others:b", "orders:b") == 0
        assert root.get("others:a") == "secret"


def test_mqtt_has_no_way_around(gateway: GatewayProcess) -> None:
    with mqtt(gateway, "reader") as client:
        for topic in ("$share/g/others", "$share/g/#", "+/x", "+", "others/#", "_thalweg/#", "$SYS/#"):
            assert client.subscribe(topic) >= 0x80, topic
    made = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, reconnect_on_failure=False)
    made.username_pw_set("writer", PASSWORD)
    made.will_set("others/will", b"x", retain=True)
    told: list[Any] = []
    made.on_connect = lambda client, data, flags, reason, properties: told.append(reason)
    host, _, port = gateway.mqtt.rpartition(":")
    made.connect(host, int(port))
    for _ in range(200):
        if told:
            break
        made.loop(0.1)
    assert told[0].value == NOT_AUTHORIZED


async def test_nats_has_no_way_around(gateway: GatewayProcess) -> None:
    async with nats_client(gateway, "root") as root:
        await root.jetstream().add_stream(name="vault", subjects=["vault.>"])
        await root.jetstream().publish("vault.1", b"secret")
    async with nats_client(gateway, "owner") as client:
        stream = client.jetstream(timeout=1)
        with contextlib.suppress(APIError):
            await stream.add_stream(name="depot", subjects=["depot.>"])
        attempts: dict[str, Callable[[], Any]] = {
            "capture": lambda: stream.update_stream(name="depot", subjects=["depot.>", "others.>"]),
            "capture as INFO": lambda: stream.add_stream(name="INFO", subjects=["others.>"]),
            "a stream that is called as a word of the API": lambda: stream.add_stream(
                name="LIST", subjects=["depot-2"]
            ),
            "capture all": lambda: stream.update_stream(name="depot", subjects=[">"]),
            "get": lambda: stream.get_msg("vault", 1),
            "direct get": lambda: stream.get_msg("vault", 1, direct=True),
            "info": lambda: stream.stream_info("vault"),
            "purge": lambda: stream.purge_stream("vault"),
            "delete message": lambda: stream.delete_msg("vault", 1),
            "consume": lambda: stream.pull_subscribe("vault.>", stream="vault"),
            "push to others": lambda: stream.add_consumer(
                "depot", durable_name="push", deliver_subject="others.push", ack_policy="none"
            ),
            "mirror": lambda: stream.add_stream(name="orders", mirror=StreamSource(name="vault")),
            "source": lambda: stream.add_stream(name="orders", sources=[StreamSource(name="vault")]),
            "republish": lambda: stream.update_stream(
                name="depot", subjects=["depot.>"], republish=RePublish(src=">", dest="others.>")
            ),
        }
        for subject in ("$JS.API.STREAM.DELETE.vault", "$JS.API.STREAM.PURGE.vault"):
            attempts[subject] = functools.partial(client.request, subject, b"", timeout=1)
        refusals = (APIError, nats.errors.Error, TimeoutError)
        found = await asyncio.gather(*(attempt() for attempt in attempts.values()), return_exceptions=True)
        done = {name: said for name, said in zip(attempts, found, strict=True) if not isinstance(said, refusals)}
        assert not done
    async with nats_client(gateway, "root") as root:
        assert (await root.jetstream().stream_info("vault")).state.messages == 1


def test_kafka_has_no_way_around(topics: GatewayProcess) -> None:
    admin = AdminClient(kafka(topics, "reader"))
    partition = TopicPartition("others", 0, 0)
    attempts: dict[str, Callable[[], Any]] = {
        "delete topic": lambda: admin.delete_topics(["orders"])["orders"].result(DEADLINE_S),
        "grow": lambda: admin.create_partitions([NewPartitions("orders", 3)])["orders"].result(DEADLINE_S),
        "delete records": lambda: next(iter(admin.delete_records([TopicPartition("orders", 0, 1)]).values())).result(
            DEADLINE_S
        ),
        "offsets": lambda: next(iter(admin.list_offsets({partition: OffsetSpec.latest()}).values())).result(DEADLINE_S),
        "describe": lambda: next(
            iter(admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, "others")]).values())
        ).result(DEADLINE_S),
        "alter": lambda: next(
            iter(
                admin.incremental_alter_configs(
                    [
                        ConfigResource(
                            ConfigResource.Type.TOPIC,
                            "orders",
                            incremental_configs=[
                                ConfigEntry("retention.ms", "1", incremental_operation=AlterConfigOpType.SET)
                            ],
                        )
                    ]
                ).values()
            )
        ).result(DEADLINE_S),
    }
    for name, attempt in attempts.items():
        with pytest.raises(KafkaException):
            print(name, attempt())
    consumer = Consumer(kafka(topics, "reader") | {"group.id": "around"})
    try:
        with pytest.raises(KafkaException):
            committed = consumer.commit(offsets=[partition], asynchronous=False)
            raise KafkaException(next(one.error for one in committed if one.error is not None))
    finally:
        consumer.close()
    assert consume(topics, "owner", "orders") == b"x"
