"""Keyspace notifications: the same events on the same channels as a real redis-server tells of the same commands."""

from __future__ import annotations

import pathlib
import socket
from collections.abc import Iterator
from typing import Any

import hiredis
import pytest

from protocols.resp.notify import flags_of, text_of
from protocols.resp.session import Settings
from protocols.resp.wire import request
from tests.resp.oracle import REDIS, Peer, RedisPeer, keyspace_of, make_harness, redis_server
from tests.resp.requests import make_commands
from tests.resp.test_effects import replayed

UNTOLD = (
    b"MULTI",
    b"EXEC",
    b"DISCARD",
    b"WATCH",
    b"FLUSHDB",
    b"SWAPDB",
    b"PUBLISH",
    b"RANDOMKEY",
    b"SPOP",
    b"SELECT",
    b"BITFIELD",
)
"""Transactions (the marker would wait, too), chance, databases exchanged, and a string that BITFIELD made without a change (Redis adds the key and tells ``new`` alone)."""


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if REDIS is None:
        pytest.skip("redis-server is not installed")
    with redis_server(pathlib.Path(tmp_path_factory.mktemp("redis"))) as port:
        yield port


class Listener:
    """Hears a real server's notifications: all up to a marker that is published behind them."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.reader = hiredis.Reader()
        self.socket.sendall(request(b"PSUBSCRIBE", b"__key*", b"marker"))
        for _ in range(2):
            self.next()

    def next(self) -> Any:
        while (found := self.reader.gets()) is False:
            self.reader.feed(self.socket.recv(65536))
        return found

    def until_marker(self) -> list[tuple[bytes, bytes]]:
        found = []
        while (message := self.next())[2] != b"marker":
            found.append((message[2], message[3]))
        return found


@pytest.mark.peer
@pytest.mark.parametrize("seed", range(80))
def test_random_commands_tell_what_a_real_redis_tells(redis_port: int, seed: int) -> None:
    commands = [
        words
        for words in make_commands(seed, 60)
        if (words[0] not in UNTOLD and len(words[0]) > 3) or words[0] in (b"SET", b"DEL")
    ]
    redis = RedisPeer(redis_port)
    redis.ask([[b"FLUSHALL"], [b"CONFIG", b"SET", b"notify-keyspace-events", b"KEA"]])
    heard = Listener(redis_port)
    peer, ear = Peer(harness := make_harness(seed)), Peer(harness)
    peer.ask("CONFIG SET notify-keyspace-events KEA")
    ear.ask("PSUBSCRIBE __key*")
    for at, words in enumerate(commands):
        redis.ask([words, [b"PUBLISH", b"marker", b""]])
        want = heard.until_marker()
        peer.ask(tuple(words))
        have = [(message[2], message[3]) for message in ear.read()]
        assert have == want, f"seed {seed}, command {at}: {words}\nbefore it: {commands[max(0, at - 10) : at]}"
    redis.close()


def test_only_the_classes_asked_for_are_told() -> None:
    peer, ear = Peer(harness := make_harness()), Peer(harness)
    ear.ask("PSUBSCRIBE *")
    peer.ask("SET a 1")
    assert ear.read() == []
    peer.ask("CONFIG SET notify-keyspace-events K$", "SET a 1", "LPUSH l 1", "DEL a")
    assert [message[2:] for message in ear.read()] == [[b"__keyspace@0__:a", b"set"]]
    peer.ask("CONFIG SET notify-keyspace-events E", "SET a 1")
    assert ear.read() == []
    peer.ask("CONFIG SET notify-keyspace-events Em", "GET nokey", "GET a", "EXISTS other")
    assert [message[2:] for message in ear.read()] == [
        [b"__keyevent@0__:keymiss", b"nokey"],
        [b"__keyevent@0__:keymiss", b"other"],
    ]
    peer.ask("CONFIG SET notify-keyspace-events En", "SET a 2", "SET b 1", "LPUSH m 1")
    assert [message[2:] for message in ear.read()] == [[b"__keyevent@0__:new", b"b"], [b"__keyevent@0__:new", b"m"]]


def test_a_key_that_expires_is_told_at_its_time_though_nobody_looks() -> None:
    peer, ear = Peer(harness := make_harness()), Peer(harness)
    ear.ask("SUBSCRIBE __keyevent@3__:expired")
    peer.ask("CONFIG SET notify-keyspace-events Ex", "SELECT 3", "SET a 1 PX 50")
    harness.advance(49)
    assert ear.read() == []
    harness.advance(2)
    assert ear.read() == [[b"message", b"__keyevent@3__:expired", b"a"]]


def test_a_transaction_and_a_client_that_waits_tell_their_events_in_order() -> None:
    peer, ear, waiting = Peer(harness := make_harness()), Peer(harness), Peer(harness)
    peer.ask("CONFIG SET notify-keyspace-events El")
    ear.ask("PSUBSCRIBE __keyevent*")
    waiting.raw(request(b"BLPOP", b"q", b"0"))
    peer.ask("MULTI", "RPUSH q a b", "RPUSH other c", "EXEC")
    assert [message[2:] for message in ear.read()] == [
        [b"__keyevent@0__:rpush", b"q"], [b"__keyevent@0__:rpush", b"other"], [b"__keyevent@0__:lpop", b"q"],
    ]  # fmt: skip
    assert waiting.read() == [[b"q", b"a"]]


def test_what_was_set_holds_after_a_replay_and_a_reload_and_the_configuration_begins_it() -> None:
    peer = Peer(harness := make_harness(settings=Settings(notify_keyspace_events="Kx")))
    assert peer.ask("CONFIG GET notify-keyspace-events") == [b"notify-keyspace-events", b"xK"]
    peer.ask("CONFIG SET notify-keyspace-events KEA")
    copy = replayed(keyspace_of(harness))
    assert copy.remembered["notify-keyspace-events"] == ("KEA", "Kx")
    assert peer.ask("CONFIG SET notify-keyspace-events Kq") == (
        "-ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - "
        "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."
    )


@pytest.mark.parametrize(("given", "shown"), [("KEA", "AKE"), ("mnExtg", "gxtnEm"), ("KEAmn", "AKEm"), ("", "")])
def test_classes_are_shown_as_redis_shows_them(given: str, shown: str) -> None:
    flags = flags_of(given)
    assert flags is not None and text_of(flags) == shown
