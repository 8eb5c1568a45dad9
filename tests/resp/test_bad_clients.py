"""A bad client costs one connection and bounded memory; the others go on."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
import redis

from conformance.process import GatewayProcess
from protocols.resp.wire import request

WAIT_S = 30.0
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(start_gateway: Callable[..., GatewayProcess]) -> GatewayProcess:
    return start_gateway(data=":memory:", flags=["--kafka", "off", "--mqtt", "off", "--nats", "off"])


@pytest.fixture
def good(server: GatewayProcess) -> Iterator[redis.Redis]:
    client = redis.Redis(port=server.port("resp"), socket_timeout=WAIT_S)
    client.flushall()
    yield client
    assert client.ping()
    client.close()


@contextlib.contextmanager
def connect(server: GatewayProcess) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port("resp")), timeout=WAIT_S) as bad:
        yield bad


def memory(server: GatewayProcess) -> int:
    return int(psutil.Process(server.pid).memory_info().rss)


def read_to_end(bad: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := bad.recv(65536):
            data += piece
    return data


@pytest.mark.parametrize(
    ("sent", "last"),
    [
        (b"*2\r\n$3\r\nGET\r\n$536870913\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*2000000\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n@5\r\n", b"-ERR Protocol error: expected '$', got '@'\r\n"),
        (b"\x16\x03\x01" + b"\x00" * 70_000, b"-ERR Protocol error: too big inline request\r\n"),
        (b'SET "x\r\n', b"-ERR Protocol error: unbalanced quotes in request\r\n"),
    ],
    ids=["oversized bulk", "too many arguments", "wrong sigil", "garbage", "quotes"],
)
def test_what_cannot_be_read_is_answered_once_and_closed(
    server: GatewayProcess, good: redis.Redis, sent: bytes, last: bytes
) -> None:
    with connect(server) as bad:
        bad.sendall(sent)
        assert read_to_end(bad) == last


def test_half_a_frame_and_silence_holds_what_was_sent_and_no_more(server: GatewayProcess, good: redis.Redis) -> None:
    before = memory(server)
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            bad = stack.enter_context(connect(server))
            bad.sendall(b"*1000000\r\n$3\r\nSET\r\n$1\r\nk\r\n$60000\r\nxxx")
        assert good.set("a", 1)
        assert memory(server) - before < 32 * MIB


def test_a_large_bulk_that_stops_half_way_is_given_back(server: GatewayProcess, good: redis.Redis) -> None:
    before = memory(server)
    with connect(server) as bad:
        bad.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$67108864\r\n" + b"x" * 8 * MIB)
        assert good.set("a", 1)
    deadline = time.monotonic() + WAIT_S
    while memory(server) - before > 48 * MIB and time.monotonic() < deadline:
        good.ping()
    assert memory(server) - before <= 48 * MIB
    assert not good.exists("k")


def test_a_subscriber_that_does_not_read_is_closed_and_the_others_get_everything(
    server: GatewayProcess, good: redis.Redis
) -> None:
    before = memory(server)
    with connect(server) as slow:
        slow.sendall(request(b"SUBSCRIBE", b"flood"))
        assert b"subscribe" in slow.recv(100)
        other = good.pubsub(ignore_subscribe_messages=True)
        other.subscribe("flood")
        message = b"x" * 100_000
        count = 0
        for _ in range(2000):
            good.publish("flood", message)
            found = None
            while found is None:
                found = other.get_message(timeout=WAIT_S)
            count += found["data"] == message
            if good.pubsub_numsub("flood") == [(b"flood", 1)]:
                break
        assert good.pubsub_numsub("flood") == [(b"flood", 1)]
        assert count > 100
        assert memory(server) - before < 160 * MIB
        other.close()


def test_a_peer_that_asks_and_does_not_read_is_not_served_further(server: GatewayProcess, good: redis.Redis) -> None:
    good.set("big", b"x" * 100_000)
    before = memory(server)
    ask = request(b"GET", b"big") * 5000
    with connect(server) as bad:
        bad.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < len(ask):
                sent += bad.send(ask[sent:])
        for _ in range(200):
            assert good.get("big")
        assert memory(server) - before < 256 * MIB
        bad.settimeout(WAIT_S)
        got = 0
        while got < sent // len(request(b"GET", b"big")) * 100_000:
            got += len(bad.recv(1 << 20))


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(server: GatewayProcess, good: redis.Redis) -> None:
    before = good.info("stats")["total_connections_received"]
    for _ in range(20):
        with connect(server) as bad:
            bad.sendall(request(b"WATCH", b"w") + request(b"MULTI") + request(b"SET", b"w", b"1"))
        with connect(server) as bad:
            bad.sendall(request(b"BLPOP", b"q", b"0"))
        with connect(server) as bad:
            bad.sendall(request(b"SUBSCRIBE", b"c"))
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and (
        good.info("stats")["total_connections_received"] < before + 60 or good.info("clients")["connected_clients"] > 1
    ):
        pass
    clients = good.info("clients")
    assert (clients["connected_clients"], clients["blocked_clients"], clients["pubsub_clients"]) == (1, 0, 0)
    assert good.rpush("q", 1) == 1 and good.llen("q") == 1
    assert good.pubsub_channels() == []
    assert not good.exists("w")
