"""Every command with any words: a reply each time, never an exception; and a state that its effects make again."""

from __future__ import annotations

import random

import pytest

from protocols.resp.catalogue import Catalogue
from protocols.resp.wire import request
from tests.resp.oracle import Peer, keyspace_of, make_harness
from tests.resp.test_effects import replayed

WORDS = [
    b"", b"0", b"1", b"-1", b"2", b"10", b"1.5", b"inf", b"-inf", b"nan", b"9223372036854775807", b"-9223372036854775808",
    b"99999999999999999999", b"1e400", b"x", b"\xff\x00", b"*", b"?", b"[a-", b"\\", b"-", b"+", b"(1", b"[a", b"(a", b"$", b"~", b"=",
    b"1-1", b"5-*", b"s", b"l", b"h", b"t", b"z", b"n", b"st", b"new", b"EX", b"PX", b"PXAT", b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR",
    b"GET", b"KEEPTTL", b"COUNT", b"MATCH", b"TYPE", b"LIMIT", b"WITHSCORES", b"WITHVALUES", b"BYSCORE", b"BYLEX", b"REV", b"WEIGHTS",
    b"AGGREGATE", b"SUM", b"MAX", b"MIN", b"LEFT", b"RIGHT", b"BEFORE", b"AFTER", b"MAXLEN", b"MINID", b"STREAMS", b"BLOCK", b"REPLACE",
    b"DB", b"ASYNC", b"RANK", b"STORE", b"PERSIST", b"ON", b"OFF", b"AUTH", b"SETNAME", b"3", b"appendfsync", b"always", b"LIB-NAME",
]  # fmt: skip
SETUP = (
    "SET t text", "SET n 5", "RPUSH l a b c", "SADD s 1 2 x", "HSET h f v g 1", "ZADD z 1 a 2 b inf c", "XADD st 1-1 f v", "SET e 1 PX 5",
)  # fmt: skip
NAMES = sorted(name for name in Catalogue().commands if name not in (b"QUIT", b"CLIENT|PAUSE"))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("delayed", [False, True], ids=["at once", "delayed"])
def test_every_command_answers_whatever_its_words_are(seed: int, delayed: bool) -> None:
    chance = random.Random(seed)
    harness = make_harness(seed, delayed=delayed)
    peer = Peer(harness)
    for name in NAMES if not delayed else chance.sample(NAMES, 60):
        for _ in range(4):
            if peer.client.closed or peer.client.session.waiting or chance.random() < 0.1:
                peer.client.close()
                peer = Peer(harness)
                peer.ask(f"HELLO {chance.choice('23')}", *chance.sample(SETUP, 5))
            words = [
                *name.split(b"|"),
                *[chance.choice(WORDS) for _ in range(chance.choice([0, 1, 1, 2, 2, 3, 4, 5, 6, 9]))],
            ]
            before = peer.client.session.silent
            got = peer.raw(request(*words))
            session = peer.client.session
            assert got or session.waiting or before or session.silent or name == b"CLIENT|REPLY", words
    harness.advance(2000)
    peer.client.close()
    live = keyspace_of(harness)
    assert replayed(live).dump() == live.dump()
    assert not live.waiting
