"""The state stream of effects makes the state again: live, replayed, and by dump and load."""

from __future__ import annotations

import random

import pytest

from protocols.resp.keyspace import Keyspace
from protocols.resp.session import Settings
from substrate import batch as batches
from substrate.api import Address, Batches, Level, Position, Record
from tests.resp.oracle import Peer, keyspace_of, make_harness
from tests.resp.requests import make_commands

RANDOM = [
    "SPOP a", "SPOP b 2", "SPOP c 100", "SRANDMEMBER a 2", "HRANDFIELD b", "ZRANDMEMBER c 3", "RANDOMKEY", "XADD a * f v",
    "XADD b MAXLEN ~ 2 * f v", "SET a 1 PX 30", "SET b 2 EX 1", "PEXPIRE c 20", "PEXPIRE a 15 GT", "GETEX a PX 20", "EXPIRE b 1",
    "SADD a 1 2 3 4 5", "SADD b x y z", "HSET c f 1 g 2", "ZADD c 1 a 2 b", "INCRBYFLOAT a 0.1", "HINCRBYFLOAT c f 0.5",
    "GETSET a 3", "SETEX b 1 v", "PSETEX c 5 v", "EXPIREAT a 1", "SET a 9 GET", "SET a 8 NX", "COPY a b REPLACE", "RENAME a c",
    "BLPOP a b 0.001", "LMPOP 2 a b LEFT COUNT 3", "ZMPOP 2 a c MIN", "RPOPLPUSH a b", "MSETNX a 1 b 2", "SWAPDB 0 1", "MOVE a 1",
    "SUNIONSTORE c a b", "DEL a", "LPUSH a 1 2 3", "RPUSH b 4", "SET n 1", "INCR n", "INCR n", "APPEND n 5", "DECR n",
]  # fmt: skip


def records_of(keyspace: Keyspace) -> list[Record]:
    """Everything in the state stream."""
    found: list[Record] = []
    at = 0
    while True:
        answers: list[object] = []
        keyspace.world.read(
            keyspace.world.stream, Position(at), 1 << 24, Level.DURABLE, keyspace.expect(answers.append)
        )  # type: ignore[attr-defined]
        answer = answers[0]
        assert isinstance(answer, Batches)
        if not answer.data:
            return found
        for data in answer.data:
            found += batches.decode(data, Address(b"_thalweg/resp"), at)
        at = answer.next


def replayed(keyspace: Keyspace) -> Keyspace:
    copy = Keyspace(Settings())
    for record in records_of(keyspace):
        copy.apply(record)
    return copy


@pytest.mark.parametrize("seed", range(60))
def test_a_replay_of_the_effects_lands_in_the_state_that_made_them(seed: int) -> None:
    chance = random.Random(seed)
    harness = make_harness(seed)
    peers = [Peer(harness), Peer(harness)]
    for words in make_commands(seed, 150):
        peer = chance.choice(peers)
        if peer.client.session.waiting:
            harness.advance(5)
        peer.ask(tuple(words))
        if chance.random() < 0.5:
            chance.choice(peers).ask(chance.choice(RANDOM))
        if chance.random() < 0.2:
            harness.advance(chance.choice([1, 10, 500]))
    live = keyspace_of(harness)

    assert replayed(live).dump() == live.dump()

    loaded = Keyspace(Settings())
    loaded.load(live.dump())
    assert loaded.dump() == live.dump()


@pytest.mark.parametrize("seed", range(20))
def test_hot_commands_do_what_their_handlers_do(seed: int) -> None:
    """The same commands once in the kernel, once by handlers (a watched key makes the kernel step aside)."""
    chance = random.Random(seed)
    names = ["a", "b", "c"]
    commands = []
    for _ in range(300):
        key = chance.choice(names)
        commands.append(
            chance.choice(
                [
                    f"SET {key} {chance.choice(['1', 'x', '-5', '9223372036854775807'])}",
                    f"GET {key}",
                    f"INCR {key}",
                    f"DECR {key}",
                    f"LPUSH {key} 1 2",
                    f"RPUSH {key} 3",
                    f"LPOP {key}",
                    f"RPOP {key}",
                    f"SADD {key} a b",
                    f"HSET {key} f 1 g 2",
                    f"HGET {key} f",
                    f"DEL {key}",
                    f"EXISTS {key}",
                    f"MGET {key} b c",
                    f"LRANGE {key} 0 2",
                    f"MSET {key} 1 b x",
                    f"ZADD {key} {chance.choice(['1', '-2.50', '1e3', '0.1', 'inf', '007', '1.', '.5', '12345678901234567'])} m{chance.randrange(3)}",
                    f"ZRANGE {key} 0 -1 WITHSCORES",
                    f"XADD {key} * f 1 g 2",
                    f"XADD {key} MAXLEN 2 * f 1",
                    f"XLEN {key}",
                    f"PEXPIRE {key} 100000",
                    "PING",
                ]
            )
        )
    hot, slow = make_harness(seed), make_harness(seed)
    for_slow = Peer(slow)
    for_slow.ask("WATCH somewhere")
    got = Peer(hot).ask(*commands)
    expected = [for_slow.ask(command) for command in commands]
    assert got == expected
    assert keyspace_of(hot).dump() == keyspace_of(slow).dump()
    assert replayed(keyspace_of(hot)).dump() == keyspace_of(hot).dump()


def test_a_command_that_changes_nothing_records_nothing() -> None:
    harness = make_harness()
    peer = Peer(harness)
    peer.ask("SET a 1", "SADD s 1")
    before = len(records_of(keyspace_of(harness)))
    peer.ask(
        "GET a",
        "DEL nokey",
        "SADD s 1",
        "SET a 2 NX",
        "EXPIRE nokey 10",
        "LPUSH a 1",
        "SREM s 9",
        "PERSIST a",
        "XTRIM x MAXLEN 1",
    )
    assert len(records_of(keyspace_of(harness))) == before


def test_effects_hold_absolute_times_chosen_members_and_explicit_ids() -> None:
    harness = make_harness()
    peer = Peer(harness)
    at_ms = harness.now_ns // 1_000_000
    peer.ask("SET a 1 EX 10", "SADD s 1 2 3")
    member = peer.ask("SPOP s")
    peer.ask("XADD x * f v")
    peer.ask("PEXPIRE a 77", "INCRBYFLOAT f 0.1")
    text = b"".join([record.value or b"" for record in records_of(keyspace_of(harness))])
    assert b"PXAT\r\n$13\r\n%d" % (at_ms + 10_000) in text
    assert b"SREM\r\n$1\r\ns\r\n$1\r\n%b\r\n" % member in text
    assert b"XADD\r\n$1\r\nx\r\n$15\r\n%d-0\r\n" % at_ms in text
    assert b"PEXPIREAT\r\n$1\r\na\r\n$13\r\n%d\r\n" % (at_ms + 77) in text
    assert b"SET\r\n$1\r\nf\r\n$3\r\n0.1\r\n$7\r\nKEEPTTL" in text


def test_each_effect_names_its_database() -> None:
    harness = make_harness()
    Peer(harness).ask("SET a 1", "SELECT 3", "SET a 2", "SELECT 0", "SET b 3")
    assert [record.key for record in records_of(keyspace_of(harness))] == [b"0", b"3", b"0"]


def test_what_expires_is_hidden_at_once_and_removed_by_a_recorded_del() -> None:
    harness = make_harness()
    peer = Peer(harness)
    peer.ask("SET a 1 PX 50", "SET b 2")
    harness.advance(49)
    assert peer.ask("GET a") == b"1"
    harness.advance(1)
    assert peer.ask("GET a") is None
    harness.advance(1000)
    assert peer.ask("DBSIZE") == 1
    assert [record.value for record in records_of(keyspace_of(harness))][-1] == b"*2\r\n$3\r\nDEL\r\n$1\r\na\r\n"


def test_replay_waits_for_the_recorded_del_however_late_it_is() -> None:
    harness = make_harness()
    peer = Peer(harness)
    peer.ask("SET a 1 PX 50")
    live = keyspace_of(harness)
    copy = replayed(live)
    assert b"a" in copy.databases(copy.account_of(b"0"))[0].entries
