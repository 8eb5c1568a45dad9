"""DUMP and RESTORE: what a real redis-server dumps is restored here, and what is dumped here is restored there."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Iterator

import pytest

from protocols.resp.dumps import crc64
from tests.resp.oracle import REDIS, Peer, RedisPeer, keyspace_of, make_harness, redis_server
from tests.resp.test_effects import replayed


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisPeer]:
    if REDIS is None:
        pytest.skip("redis-server is not installed")
    with redis_server(pathlib.Path(tmp_path_factory.mktemp("redis"))) as port:
        peer = RedisPeer(port)
        yield peer
        peer.close()


LONG = [b"x" * 100, b"%d" % 2**40, b"-5", b"70000", b"y" * 20000]
VALUES = {
    "string": [(b"SET", b"k", b"hello")],
    "integer": [(b"SET", b"k", b"-123456")],
    "compressible": [(b"SET", b"k", b"abcabcabc" * 1000)],
    "list": [(b"RPUSH", b"k", b"a", b"1", b"-1", b"300", b"", b"4097", b"-70000", b"x" * 100)],
    "long list": [(b"RPUSH", b"k", *[b"item %d" % n for n in range(3000)], *LONG)],
    "set": [(b"SADD", b"k", b"a", b"b")],
    "integers": [(b"SADD", b"k", b"1", b"70000", b"-9", b"99999999999")],
    "hash": [(b"HSET", b"k", b"f", b"1", b"g", b"v" * 50)],
    "long hash": [(b"HSET", b"k", *[word for n in range(600) for word in (b"f%d" % n, b"%d" % n)])],
    "sorted set": [(b"ZADD", b"k", b"1.5", b"a", b"-inf", b"b", b"3", b"c", b"0.1", b"7")],
    "long sorted set": [(b"ZADD", b"k", *[word for n in range(400) for word in (b"%d" % n, b"m%d" % n)])],
    "hyperloglog": [(b"PFADD", b"k", *[b"%d" % n for n in range(5000)])],
}  # fmt: skip
READ = {
    b"string": (b"GET", b"k"), b"list": (b"LRANGE", b"k", b"0", b"-1"), b"set": (b"SORT", b"k", b"ALPHA"),
    b"hash": (b"HGETALL", b"k"), b"zset": (b"ZRANGE", b"k", b"0", b"-1", b"WITHSCORES"),
}  # fmt: skip


@pytest.mark.peer
@pytest.mark.parametrize("kind", VALUES)
def test_dumps_are_read_either_way(redis: RedisPeer, kind: str) -> None:
    peer = Peer(harness := make_harness())
    commands = [list(words) for words in VALUES[kind]]
    redis.ask([[b"FLUSHALL"], *commands])
    payload, type_ = redis.ask([[b"DUMP", b"k"], [b"TYPE", b"k"]])
    assert peer.ask(("RESTORE", "k", "100000", payload)) == b"OK"
    assert peer.ask("TYPE k") == type_ and 0 < peer.ask("PTTL k") <= 100000

    def seen(value: object) -> object:
        return sorted(map(repr, value)) if type_ == b"hash" and isinstance(value, list) else value

    want = redis.ask([list(READ[type_])])[0]
    have = peer.ask(READ[type_])
    if type_ == b"zset":
        want, have = ([float(one) if at % 2 else one for at, one in enumerate(found)] for found in (want, have))
    assert seen(have) == seen(want)
    ours = peer.ask("DUMP k")
    redis.ask([[b"DEL", b"k"]])
    assert redis.ask([[b"RESTORE", b"k", b"0", ours]]) == [b"OK"]
    again = redis.ask([list(READ[type_])])[0]
    if type_ == b"zset":
        again = [float(one) if at % 2 else one for at, one in enumerate(again)]
    assert seen(again) == seen(want)
    assert replayed(keyspace_of(harness)).dump() == keyspace_of(harness).dump()


@pytest.mark.parametrize("seed", range(20))
def test_spoiled_payloads_are_refused_and_change_nothing(seed: int) -> None:
    chance = random.Random(seed)
    peer = Peer(make_harness(seed))
    peer.ask("RPUSH k a b c", "HSET h f v", "ZADD z 1 a", "SADD s 1 2")
    for key in ("k", "h", "z", "s"):
        payload = bytearray(peer.ask(f"DUMP {key}"))
        for _ in range(30):
            spoiled = bytearray(payload[:-8])
            spoiled[chance.randrange(len(spoiled) - 2)] = chance.randrange(256)
            spoiled += crc64(bytes(spoiled)).to_bytes(8, "little")
            answer = peer.ask(("RESTORE", "new", "0", bytes(spoiled), "REPLACE"))
            assert answer == b"OK" or answer.startswith("-ERR Bad data format"), answer
        payload[0] ^= 1
        assert peer.ask(("RESTORE", "other", "0", bytes(payload))) == "-ERR DUMP payload version or checksum are wrong"
    assert peer.ask("EXISTS other") == 0


def test_a_key_that_is_there_is_kept_unless_it_is_replaced() -> None:
    peer = Peer(make_harness())
    peer.ask("SET a 1", "SET b 2")
    payload = peer.ask("DUMP a")
    assert peer.ask(("RESTORE", "b", "0", payload)) == "-BUSYKEY Target key name already exists."
    assert peer.ask(("RESTORE", "b", "0", payload, "REPLACE"), "GET b") == [b"OK", b"1"]
    assert peer.ask(("RESTORE", "b", "1", payload, "REPLACE", "ABSTTL"), "EXISTS b") == [b"OK", 0]
    assert peer.ask("XADD s 1-1 f v", "DUMP s")[1] == "-ERR DUMP of a stream is not supported by this server"


def test_the_checksum_is_that_of_redis() -> None:
    assert crc64(b"123456789") == 0xE9C6D914C4B8D9CA
