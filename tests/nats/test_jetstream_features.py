"""What streams and consumers do beyond pulls, in memory, also where every answer comes late."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conformance.harness import Harness
from protocols.nats.jetstream import JetStream
from protocols.nats.jetstream_consumer import FLOW_BYTES_MAX
from substrate.api import Level, Position
from substrate.interest import Tokens
from tests.nats.scripts import Asker, client, publish, say, world

SECOND = 1_000_000_000


@pytest.fixture(params=[False, True], ids=["at once", "delayed"])
def asker(request: pytest.FixtureRequest) -> Asker:
    found = Asker(world(delayed=request.param))
    found.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"], "allow_direct": True, "allow_rollup_hdrs": True})
    return found


def create(asker: Asker, name: str = "C", **config: Any) -> dict[str, Any]:
    body = {"stream_name": "S", "config": {"durable_name": name, "ack_policy": "explicit", **config}}
    return asker.api(f"CONSUMER.CREATE.S.{name}", body)


def executor(harness: Harness) -> JetStream:
    found = next(one.executor for one in harness.sequencer.worlds() if isinstance(one.executor, JetStream))
    return found


def test_a_push_consumer_delivers_while_somebody_listens(asker: Asker) -> None:
    listener = client(asker.harness)
    asker.stored("s.a", b"1")
    assert "push_bound" not in create(asker, deliver_subject="d")
    asker.harness.advance(1_000)
    say(listener, b"SUB d 1\r\n")
    asker.harness.advance(100)
    assert b"$JS.ACK.S.C.1.1.1." in listener.read()
    asker.stored("s.a", b"2")
    assert b"$JS.ACK.S.C.1.2.2." in listener.read()
    say(listener, b"UNSUB 1\r\n")
    asker.stored("s.a", b"3")
    assert "push_bound" not in asker.api("CONSUMER.INFO.S.C")
    say(listener, b"SUB d 2\r\n")
    asker.harness.advance(100)
    assert b"$JS.ACK.S.C.1.3.3." in listener.read()


def test_a_push_consumer_without_a_durable_name_ends_when_nobody_listens(asker: Asker) -> None:
    listener = client(asker.harness)
    say(listener, b"SUB d 1\r\n")
    body = {"stream_name": "S", "config": {"name": "E", "ack_policy": "none", "deliver_subject": "d"}}
    asker.api("CONSUMER.CREATE.S.E", body)
    asker.harness.advance(60_000)
    assert asker.api("CONSUMER.NAMES.S")["consumers"] == ["E"]
    listener.close()
    asker.harness.advance(11_000)
    assert asker.api("CONSUMER.NAMES.S")["consumers"] == []


def test_flow_control_stops_at_the_window_and_opens_with_each_confirmation(asker: Asker) -> None:
    listener = client(asker.harness)
    say(listener, b"SUB d 1\r\n")
    create(asker, deliver_subject="d", flow_control=True, idle_heartbeat=5 * SECOND, ack_policy="none")
    payload, total = b"x" * 500_000, 12
    for _ in range(total):
        publish(asker.client, "s.a", payload)
    first = listener.read()
    assert first.count(b"MSG s.a ") < total and first.count(b"FlowControl Request") == 1
    stalled = first.partition(b"HMSG d 1 ")[2].split(b" ")[0]
    assert stalled.startswith(b"$JS.FC.S.C.")
    asker.harness.advance(5_100)
    assert b"Nats-Consumer-Stalled: " + stalled in listener.read()
    rest = say(listener, b"PUB %b 0\r\n\r\n" % stalled)
    assert first.count(b"MSG s.a ") + rest.count(b"MSG s.a ") == total
    push = executor(asker.harness).find(next(iter(executor(asker.harness).accounts)), "S", "C").push  # type: ignore[union-attr]
    assert push is not None and push.window_bytes == FLOW_BYTES_MAX // 8


def test_a_rate_limit_spreads_deliveries(asker: Asker) -> None:
    listener = client(asker.harness)
    say(listener, b"SUB d 1\r\n")
    for _ in range(4):
        publish(asker.client, "s.a", b"x" * 1000)
    create(asker, deliver_subject="d", rate_limit_bps=8_000, ack_policy="none")
    counts = []
    for _ in range(6):
        counts.append(listener.read().count(b"MSG s.a "))
        asker.harness.advance(1_100)
    assert sum(counts) + listener.read().count(b"MSG s.a ") == 4 and max(counts) == 1


def test_a_rollup_leaves_the_last_message(asker: Asker) -> None:
    for number in range(4):
        asker.stored("s.a", b"%d" % number)
        asker.stored("s.b", b"%d" % number)
    assert asker.stored("s.a", b"sum", {"Nats-Rollup": "sub"}) == {"stream": "S", "seq": 9}
    state = asker.api("STREAM.INFO.S", {"subjects_filter": ">"})["state"]
    assert (state["subjects"], state["num_deleted"]) == ({"s.a": 1, "s.b": 4}, 3)
    assert asker.stored("s.b", b"all", {"Nats-Rollup": "all"})["seq"] == 10
    assert asker.api("STREAM.INFO.S")["state"]["messages"] == 1


def test_counters_add_up(asker: Asker) -> None:
    asker.api("STREAM.CREATE.N", {"name": "N", "subjects": ["n.>"], "allow_msg_counter": True})
    told = [
        asker.stored("n.a", b"", {"Nats-Incr": text})["val"] for text in ("1", "+41", "-50", "100000000000000000000")
    ]
    assert told == ["1", "42", "-8", "99999999999999999992"]
    assert asker.stored("n.a", b"")["error"]["err_code"] == 10169


def test_an_atomic_batch_is_stored_whole_or_not(asker: Asker) -> None:
    asker.api("STREAM.UPDATE.S", {"name": "S", "subjects": ["s.>"], "allow_atomic": True})
    for sequence in (1, 2):
        headers = {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": str(sequence)}
        assert publish(asker.client, "s.a", b"x", "in", headers) == b"MSG in 2 0\r\n\r\n"
        assert asker.api("STREAM.INFO.S")["state"]["messages"] == 0
    last = {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "3", "Nats-Batch-Commit": "1"}
    assert asker.stored("s.b", b"y", last) == {"stream": "S", "seq": 3, "batch": "b", "count": 3}
    asker.stored("s.a", b"x", {"Nats-Msg-Id": "known"})
    first = {"Nats-Batch-Id": "c", "Nats-Batch-Sequence": "1"}
    publish(asker.client, "s.a", b"x", "in", first)
    wrong = {"Nats-Batch-Id": "c", "Nats-Batch-Sequence": "2", "Nats-Batch-Commit": "1",
             "Nats-Expected-Last-Subject-Sequence": "77"}  # fmt: skip
    assert asker.stored("s.b", b"y", wrong)["error"]["err_code"] == 10071
    assert asker.api("STREAM.INFO.S")["state"]["messages"] == 4
    publish(asker.client, "s.a", b"x", "in", {"Nats-Batch-Id": "d", "Nats-Batch-Sequence": "1"})
    asker.harness.advance(11_000)
    late = {"Nats-Batch-Id": "d", "Nats-Batch-Sequence": "2", "Nats-Batch-Commit": "1"}
    assert asker.stored("s.a", b"y", late)["error"]["err_code"] == 10176


def test_messages_expire_one_by_one(asker: Asker) -> None:
    asker.api("STREAM.CREATE.T", {"name": "T", "subjects": ["t.>"], "subject_delete_marker_ttl": SECOND})
    for subject, ttl in (("t.a", "2s"), ("t.b", "10"), ("t.c", "never")):
        asker.stored(subject, b"x", {"Nats-TTL": ttl})
    asker.harness.advance(2_100)
    counts = asker.api("STREAM.INFO.T", {"subjects_filter": ">"})["state"]["subjects"]
    assert counts == {"t.a": 1, "t.b": 1, "t.c": 1}, "a marker stands for what expired"
    marker = asker.api("STREAM.MSG.GET.T", {"last_by_subj": "t.a"})["message"]
    assert marker["seq"] == 4 and "data" not in marker
    asker.harness.advance(60_000)
    assert asker.api("STREAM.INFO.T", {"subjects_filter": ">"})["state"]["subjects"] == {"t.c": 1}


def test_interest_keeps_what_somebody_wants(asker: Asker) -> None:
    asker.api("STREAM.CREATE.I", {"name": "I", "subjects": ["i.>"], "retention": "interest"})
    asker.stored("i.a")
    assert asker.api("STREAM.INFO.I")["state"]["messages"] == 0
    for name in "pq":
        config = {"durable_name": name, "ack_policy": "explicit", "filter_subject": f"i.{name}"}
        asker.api(f"CONSUMER.CREATE.I.{name}", {"stream_name": "I", "config": config})
    for subject in ("i.p", "i.q", "i.r", "i.p"):
        asker.stored(subject)
    assert asker.api("STREAM.INFO.I", {"subjects_filter": ">"})["state"]["subjects"] == {"i.p": 2, "i.q": 1}
    for delivery in asker.next("I.p", batch=2):
        asker.ack(delivery)
    assert asker.api("STREAM.INFO.I", {"subjects_filter": ">"})["state"]["subjects"] == {"i.q": 1}
    asker.api("CONSUMER.DELETE.I.q")
    asker.harness.advance(10)
    assert asker.api("STREAM.INFO.I")["state"]["messages"] == 0


def test_a_deleted_message_is_owed_by_nobody(asker: Asker) -> None:
    create(asker)
    for _ in range(3):
        asker.stored("s.a")
    asker.next("S.C", batch=3)
    asker.api("STREAM.MSG.DELETE.S", {"seq": 1})
    told = asker.api("CONSUMER.INFO.S.C")
    assert (told["num_ack_pending"], told["ack_floor"]["stream_seq"]) == (2, 1)
    asker.harness.advance(31_000)
    assert [payload for _, payload in asker.next("S.C", batch=5, no_wait=True)][:2] == [b"", b""]


def test_direct_gets_of_many_end_with_the_last(asker: Asker) -> None:
    for number in range(6):
        asker.stored(f"s.{number % 2}", b"%d" % number)
    asked = json.dumps({"batch": 10, "seq": 2, "next_by_subj": "s.1"}).encode()
    told = publish(asker.client, "$JS.API.DIRECT.GET.S", asked, "in")
    assert told.count(b"Nats-Subject: s.1\r\n") == 3 and told.count(b"204 EOB") == 1
    asked = json.dumps({"multi_last": ["s.*"], "up_to_seq": 4}).encode()
    told = publish(asker.client, "$JS.API.DIRECT.GET.S", asked, "in")
    assert b"Nats-Sequence: 3\r\n" in told and b"Nats-UpTo-Sequence: 4\r\n" in told


def test_state_with_pushes_pauses_and_drops_is_the_fold_of_its_records(asker: Asker) -> None:
    listener = client(asker.harness)
    say(listener, b"SUB d 1\r\n")
    for _ in range(5):
        asker.stored("s.a")
    create(asker, "P", deliver_subject="d", ack_wait=SECOND, max_deliver=2)
    create(asker, "L", deliver_policy="last_per_subject", filter_subject="s.>")
    create(asker, "Z")
    asker.api("CONSUMER.PAUSE.S.Z", {"pause_until": "2096-01-01T00:00:00Z"})
    asker.harness.advance(5_000)
    asker.api("CONSUMER.RESET.S.L")
    live, replayed = executor(asker.harness).dump(), JetStream()
    own = next(one.stream for one in asker.harness.sequencer.worlds() if isinstance(one.executor, JetStream))
    everything = Tokens(b"%#")
    for record in asker.harness.sequencer.layer.read(own, Position(0), 1 << 30, Level.DURABLE, everything).records:  # type: ignore[union-attr]
        replayed.apply(record)
    assert replayed.dump() == live
    loaded = JetStream()
    loaded.load(live)
    assert loaded.dump() == live
