"""Promises that small random sequences do not reach: scans of large collections, ranges far from both ends, many members."""

from __future__ import annotations

import random

import pytest

from protocols.resp.numbers import add_long_doubles, float_text
from tests.resp.oracle import Peer, make_harness

SCANS = {
    "SCAN": ("SCAN {cursor} COUNT {count}", "SET {name} 1", "DEL {name}"),
    "HSCAN": ("HSCAN c {cursor} COUNT {count}", "HSET c {name} 1", "HDEL c {name}"),
    "SSCAN": ("SSCAN c {cursor} COUNT {count}", "SADD c {name}", "SREM c {name}"),
    "ZSCAN": ("ZSCAN c {cursor} COUNT {count}", "ZADD c 1 {name}", "ZREM c {name}"),
}


@pytest.mark.parametrize("kind", SCANS)
@pytest.mark.parametrize("seed", range(3))
def test_a_scan_gives_all_that_is_there_from_its_first_call_to_its_last(kind: str, seed: int) -> None:
    scan, add, remove = SCANS[kind]
    chance = random.Random(seed)
    peer = Peer(make_harness(seed))
    names = [f"k{number}" for number in range(1500)]
    peer.ask(*[add.format(name=name) for name in names])
    stays = set(chance.sample(names, 700))
    goes = [name for name in names if name not in stays]
    seen: set[bytes] = set()
    cursor, calls = b"0", 0
    while True:
        cursor, found = peer.ask(scan.format(cursor=cursor.decode(), count=chance.choice([1, 7, 40])))
        seen |= set(found[::2] if kind in ("HSCAN", "ZSCAN") else found)
        calls += 1
        if cursor == b"0":
            break
        for _ in range(chance.choice([0, 1, 5])):
            name = chance.choice(goes)
            peer.ask(chance.choice([add, remove]).format(name=name), add.format(name=f"new{calls}"))
    assert calls > 3
    assert {name.encode() for name in stays} <= seen


def test_ranges_of_a_long_list_are_slices_of_it() -> None:
    chance = random.Random(1)
    peer = Peer(make_harness())
    items = [b"%d" % number for number in range(1000)]
    peer.ask(("RPUSH", "l", *items))
    for _ in range(200):
        start, end = chance.randrange(1000), chance.randrange(1000)
        assert peer.ask(f"LRANGE l {start} {end}") == items[start : end + 1]
        assert peer.ask(f"LRANGE l {start - 1000} {end - 1000}") == items[start : end + 1]
    assert peer.ask("LINDEX l 998") == b"998"
    assert peer.ask("LTRIM l 100 -101", "LLEN l") == [b"OK", 800]
    assert peer.ask("LRANGE l 0 1") == [b"100", b"101"]


def test_ranks_and_ranges_of_a_large_sorted_set_are_those_of_a_sorted_list() -> None:
    chance = random.Random(2)
    peer = Peer(make_harness())
    scores = {b"m%d" % number: chance.randrange(50) / 2 for number in range(1500)}
    peer.ask(*[("ZADD", "z", str(score), member) for member, score in scores.items()])
    order = sorted(scores, key=lambda member: (scores[member], member))
    for _ in range(100):
        member = chance.choice(order)
        assert peer.ask(("ZRANK", "z", member)) == order.index(member)
        low, high = sorted((chance.randrange(50) / 2, chance.randrange(50) / 2))
        wanted = [name for name in order if low <= scores[name] <= high]
        assert peer.ask(f"ZRANGEBYSCORE z {low} {high}") == wanted
        assert peer.ask(f"ZRANGE z {high} {low} BYSCORE REV LIMIT 3 5") == wanted[::-1][3:8]
        assert peer.ask(f"ZCOUNT z ({low} {high}") == sum(low < scores[name] <= high for name in scores)
    assert peer.ask("ZREMRANGEBYRANK z 0 999") == 1000
    assert peer.ask("ZRANGE z 0 -1") == order[1000:]


def test_random_members_are_members_and_popped_ones_are_gone() -> None:
    peer = Peer(make_harness(5))
    peer.ask(("SADD", "s", *[b"%d" % number for number in range(100)]))
    got = peer.ask("SRANDMEMBER s 40")
    assert len(set(got)) == 40 and peer.ask(("SMISMEMBER", "s", *got)) == [1] * 40
    assert len(peer.ask("SRANDMEMBER s -300")) == 300
    popped = peer.ask("SPOP s 30")
    assert len(set(popped)) == 30 and peer.ask(("SMISMEMBER", "s", *popped)) == [0] * 30
    assert peer.ask("SCARD s") == 70
    assert peer.ask("SRANDMEMBER s -100001") == "-ERR value is out of range"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.1, b"0.1"), (3.0, b"3"), (-0.0, b"-0"), (1e20, b"1e+20"), (1e-7, b"1e-7"), (123456.789, b"123456.789"),
        (5e-324, b"5e-324"), (1.7976931348623157e308, b"1.7976931348623157e+308"), (1e17, b"100000000000000000"),
        (0.00001234, b"1.234e-5"), (0.001, b"0.001"), (float("inf"), b"inf"), (float("-inf"), b"-inf"),
    ],
)  # fmt: skip
def test_scores_are_written_as_redis_7_2_writes_them(number: float, text: bytes) -> None:
    assert float_text(number) == text
    assert float(text) == number


@pytest.mark.parametrize(
    ("old", "change", "text"),
    [
        (b"10.5", b"0.1", b"10.6"), (b"5.0e3", b"200", b"5200"), (b"3", b"-1.1", b"1.9"), (None, b"0.1", b"0.1"),
        (b"1e17", b"0.1", b"100000000000000000.1015625"), (b"0.1", b"0.2", b"0.3"), (b"1", b"-1", b"0"),
    ],
)  # fmt: skip
def test_incrbyfloat_counts_in_long_doubles_as_redis_does(old: bytes | None, change: bytes, text: bytes) -> None:
    """Each result was seen from redis-server 7.0.15 on x86-64."""
    assert add_long_doubles(old, change, "", "") == text
