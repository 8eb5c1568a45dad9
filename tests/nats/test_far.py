"""NATS clients of a gateway in another process than JetStream's executor: its requests travel, and their answers."""

from __future__ import annotations

import json

from conformance.far_harness import FarHarness
from tests.nats.scripts import Asker
from thalweg.travellers import objects


def asker(gateway: FarHarness) -> Asker:
    found = Asker.__new__(Asker)
    found.client = gateway.connect("nats")
    found.count = 0
    options = {"verbose": False, "headers": True, "no_responders": True}
    found.client.send(b"CONNECT " + json.dumps(options).encode() + b"\r\nSUB _INBOX.x.* 1\r\nSUB in 2\r\nPING\r\n")
    assert b"PONG" in found.client.read()
    return found


def test_what_the_executor_decides_is_asked_over_the_link() -> None:
    peer = asker(FarHarness(objects()))
    features = {"allow_rollup_hdrs": True, "allow_atomic": True, "allow_direct": True}
    peer.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"], **features})
    for _ in range(3):
        peer.stored("s.a", b"x")
    assert peer.stored("s.a", b"y", {"Nats-Rollup": "sub"}) == {"stream": "S", "seq": 4}
    assert peer.stored("s.a", b"y", {"Nats-Rollup": "odd"})["error"]["err_code"] == 10111
    first = {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "2"}
    assert peer.stored("s.a", b"1", first)["error"]["err_code"] == 10176
    whole = {"Nats-Batch-Id": "c", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"}
    assert peer.stored("s.a", b"1", whole) == {"stream": "S", "seq": 5, "batch": "c", "count": 1}
    peer.api("STREAM.CREATE.N", {"name": "N", "subjects": ["n"], "allow_msg_counter": True})
    assert [peer.stored("n", b"", {"Nats-Incr": "2"})["val"] for _ in range(3)] == ["2", "4", "6"]
    assert peer.api("STREAM.INFO.S")["state"]["messages"] == 2


def test_a_push_consumer_delivers_to_a_client_of_another_process() -> None:
    one = FarHarness(objects())
    here, there = asker(one), asker(FarHarness(objects(), beside=one))
    here.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
    there.client.send(b"SUB d 9\r\nPING\r\n")
    config = {"durable_name": "C", "ack_policy": "explicit", "deliver_subject": "d"}
    here.api("CONSUMER.CREATE.S.C", {"stream_name": "S", "config": config})
    here.stored("s.a", b"one")
    one.network.advance(200_000_000)
    told = there.client.read()
    assert b"MSG s.a 9 $JS.ACK.S.C.1.1.1." in told and told.count(b"one") == 1
