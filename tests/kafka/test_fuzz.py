"""Whatever a client sends, the session answers, waits, or closes that one connection."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.kafka.schema import APIS, Api
from tests.kafka.messages import message
from tests.kafka.scripts import CODECS, Script, batch, harness

SPOKEN = sorted(APIS)


def request(api: Api, version: int, chance: random.Random, narrow: bool) -> bytes:
    """A whole frame of a random message: well formed, and meaning anything."""
    made = message(CODECS, "request", api, version, chance, narrow)
    body = b"".join(CODECS.encode("request", api.key, version, made))
    head = b"".join(number.to_bytes(2, "big") for number in (api.key, version)) + b"\0\0\0\7\xff\xff"
    head += b"\0" if api.flexible(version) else b""
    return (len(head) + len(body)).to_bytes(4, "big") + head + body


@pytest.mark.parametrize("delayed", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_requests_that_mean_anything_crash_nothing(seed: int, delayed: bool) -> None:
    gateway = harness(delayed=delayed, seed=seed)
    chance = random.Random(seed)
    steady = Script(gateway)
    steady.create("a", 2)
    steady.create("orders.eu")
    client = gateway.connect("kafka")
    for _ in range(250):
        api = APIS[chance.choice(SPOKEN)]
        version = chance.randint(api.first, api.last)
        client.send(request(api, version, chance, narrow=chance.random() < 0.5))
        if client.closed or chance.random() < 0.05:
            client.close()
            client = gateway.connect("kafka")
        if chance.random() < 0.1:
            gateway.advance(chance.choice((1, 1000, 100_000)))
    gateway.advance(100_000_000)
    assert Script(gateway).ask("ApiVersions", 0).error_code == 0


@given(st.binary(max_size=200), st.sampled_from(SPOKEN), st.integers(-1, 13))
@settings(max_examples=200, deadline=None)
def test_garbage_behind_a_header_costs_at_most_its_connection(data: bytes, key: int, version: int) -> None:
    gateway = harness()
    client = gateway.connect("kafka")
    head = key.to_bytes(2, "big") + version.to_bytes(2, "big", signed=True) + b"\0\0\0\7\xff\xff"
    client.send((len(head) + len(data)).to_bytes(4, "big") + head + data)
    assert Script(gateway).ask("ApiVersions", 0).error_code == 0


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_garbage_costs_at_most_its_connection(data: bytes) -> None:
    client = harness().connect("kafka")
    client.send(data)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_batch_with_any_byte_changed_is_refused_or_stored_whole(data: st.DataObject) -> None:
    gateway = harness()
    script = Script(gateway)
    script.create("a")
    good = bytearray(batch(b"one", b"two", producer=(3, 0, 0)))
    good[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    answer = script.produce("a", bytes(good))
    found = script.fetch("a")
    if answer.error_code:
        assert found.high_watermark == 0
    else:  # the leader epoch is the broker's to write, and lies outside the CRC
        assert found.high_watermark == 2 and found.records[16:] == bytes(good)[16:]
