"""What leaves before it is durable, and what does not; what is left after the storage failed."""

from __future__ import annotations

import json

from substrate.memory import MemoryEngine
from tests.nats.scripts import Asker, client, deliveries, publish, say, world


def begin() -> tuple[MemoryEngine, Asker]:
    """A stream S and its consumer C, durable; the engine makes nothing durable by itself."""
    engine = MemoryEngine(delayed=True)
    harness = world(engine=engine)
    engine.flush()
    harness.run()
    asker = Asker(harness)
    body = {"stream_name": "S", "config": {"durable_name": "C", "ack_policy": "explicit"}}
    for subject, payload in (("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]}), ("CONSUMER.CREATE.S.C", body)):
        assert publish(asker.client, f"$JS.API.{subject}", json.dumps(payload).encode(), "in") == b""
        durable(engine, asker)
        assert b'"error"' not in asker.client.read()
    return engine, asker


def durable(engine: MemoryEngine, asker: Asker) -> None:
    engine.flush()
    asker.harness.run()


def test_an_acknowledgement_waits_until_its_message_is_durable_and_nothing_else_does() -> None:
    engine, asker = begin()
    reader = client(asker.harness)
    reader.send(b"SUB s.> 1\r\n")
    assert say(asker.client, b"PUB s.a in 1\r\nx\r\nPING\r\n") == b"PONG\r\n"
    assert reader.read() == b"MSG s.a 1 in 1\r\nx\r\n"
    durable(engine, asker)
    assert deliveries(asker.client.read()) == [(b"", b'{"stream":"S","seq":1}')]


def test_a_consumer_gets_a_message_when_it_is_durable() -> None:
    engine, asker = begin()
    assert asker.next("S.C", batch=1) == []
    publish(asker.client, "s.a", b"x")
    assert asker.client.read() == b""
    durable(engine, asker)
    assert [payload for _, payload in deliveries(asker.client.read())] == [b"x"]


def test_a_confirmed_acknowledgement_is_confirmed_when_it_is_durable() -> None:
    engine, asker = begin()
    publish(asker.client, "s.a", b"x")
    durable(engine, asker)
    got = asker.next("S.C", batch=1)
    durable(engine, asker)
    assert publish(asker.client, got[0][0].decode(), b"+ACK", "in") == b""
    durable(engine, asker)
    assert asker.client.read() == b"MSG in 2 0\r\n\r\n"


def test_a_duplicate_of_what_is_not_durable_yet_waits_as_well() -> None:
    engine, asker = begin()
    assert publish(asker.client, "s.a", b"x", "in", {"Nats-Msg-Id": "m"}) == b""
    assert publish(asker.client, "s.a", b"x", "in", {"Nats-Msg-Id": "m"}) == b""
    durable(engine, asker)
    answers = [json.loads(payload) for _, payload in deliveries(asker.client.read())]
    assert answers == [{"stream": "S", "seq": 1}, {"stream": "S", "seq": 1, "duplicate": True}]


def test_what_a_failed_storage_took_back_was_never_acknowledged() -> None:
    engine, asker = begin()
    publish(asker.client, "s.a", b"kept", "in")
    durable(engine, asker)
    assert b'"seq":1' in asker.client.read()
    got = asker.next("S.C", batch=1, no_wait=True)
    publish(asker.client, got[0][0].decode(), b"+ACK", "in")
    publish(asker.client, "s.a", b"lost", "in")
    engine.fail("pulled out")
    asker.harness.run()
    assert asker.client.closed and b"seq" not in asker.client.read()
    asker.harness.advance(5_000)
    durable(engine, asker)
    after = Asker(asker.harness)
    got = after.next("S.C", batch=5, no_wait=True)
    durable(engine, after)
    assert [payload for _, payload in got if payload != b"NATS/1.0 404 No Messages"] == [b"kept"], (
        "its ack was not durable"
    )
    publish(after.client, "s.a", b"more", "in")
    durable(engine, after)
    assert b'"seq":2' in after.client.read()


def test_what_was_acknowledged_just_before_is_confirmed_only_when_that_is_durable() -> None:
    engine, asker = begin()
    publish(asker.client, "s.a", b"x")
    durable(engine, asker)
    got = asker.next("S.C", batch=1)
    durable(engine, asker)
    assert publish(asker.client, got[0][0].decode(), b"+ACK") == b""
    assert publish(asker.client, got[0][0].decode(), b"+ACK", "in") == b""
    durable(engine, asker)
    assert asker.client.read() == b"MSG in 2 0\r\n\r\n"
