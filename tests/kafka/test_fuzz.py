"""Whatever a client sends, the session answers, waits, or closes that one connection."""

from __future__ import annotations

import random
import struct

import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.harness import user
from protocols.kafka.errors import Code
from protocols.kafka.schema import APIS, Api
from substrate.batch import decode
from tests.kafka.messages import message
from tests.kafka.scripts import CODECS, Script, batch, frame, harness

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
    gateway.advance(4_000_000)
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


@given(st.data(), st.sampled_from([0, 1, 2, 3, 4]))
@settings(max_examples=100, deadline=None)
def test_a_sealed_batch_of_anything_is_refused_or_readable_where_it_must_be_looked_at(
    data: st.DataObject, codec: int
) -> None:
    gateway = harness()
    script = Script(gateway)
    script.create(
        "a", cleanup_policy="compact", compression_type="gzip", message_timestamp_before_max_ms="1000000000000000"
    )
    good = bytearray(batch(b"one" * 50, b"two", producer=(3, 0, 0), compression=codec))
    for _ in range(data.draw(st.integers(0, 3))):
        good[data.draw(st.integers(61, len(good) - 1))] = data.draw(st.integers(0, 255))
    struct.pack_into(">I", good, 17, crc32c(bytes(good[21:])))
    answer = script.produce("a", bytes(good))
    assert answer.error_code in (Code.INVALID_RECORD, Code.NONE)
    if not answer.error_code:
        assert all(record.key is not None for record in decode(bytes(script.fetch("a").records), b"a"))


@given(
    st.lists(st.binary(max_size=60), min_size=1, max_size=4), st.sampled_from(["PLAIN", "SCRAM-SHA-256"]), st.booleans()
)
@settings(max_examples=100, deadline=None)
def test_tokens_of_anything_let_nobody_in(tokens: list[bytes], mechanism: str, bare: bool) -> None:
    gateway = harness()
    gateway.users = user("admin", "a password that chance does not find")
    script = Script(gateway)
    script.ask("SaslHandshake", 0 if bare else 1, mechanism=mechanism)
    for token in tokens:
        script.client.send(
            struct.pack(">i", len(token)) + token if bare else frame("SaslAuthenticate", 2, auth_bytes=token)
        )
    gateway.advance(1000)
    assert script.client.session.account is None  # type: ignore[attr-defined]
    assert script.client.closed or mechanism == "SCRAM-SHA-256"
    assert Script(gateway).ask("ApiVersions", 0).error_code == 0
