"""JetStream streams and pull consumers, scripted in memory: each with answers at once, and delayed and reordered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conformance.harness import Harness
from protocols.nats.jetstream import JetStream
from substrate.api import DEFAULT_ACCOUNT, Address, CreateTopic, DeleteTopic
from substrate.memory import MemoryEngine
from tests.nats.scripts import Asker, client, deliveries, publish, say, world

SECOND = 1_000_000_000


@pytest.fixture(params=[False, True], ids=["at once", "delayed"])
def asker(request: pytest.FixtureRequest) -> Asker:
    found = Asker(world(seed=5, delayed=request.param))
    found.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
    return found


def consumer(asker: Asker, name: str = "C", **config: Any) -> dict[str, Any]:
    wanted = {"durable_name": name, "ack_policy": "explicit", **config}
    return asker.api(f"CONSUMER.CREATE.S.{name}", {"stream_name": "S", "config": wanted, "action": ""})


def info(asker: Asker, name: str = "C") -> dict[str, Any]:
    return asker.api(f"CONSUMER.INFO.S.{name}")


def executor(harness: Harness) -> JetStream:
    found = harness.sequencer._worlds["jetstream"].executor
    assert isinstance(found, JetStream)
    return found


def test_runs_of_publications_are_acknowledged_each_with_its_sequence(asker: Asker) -> None:
    asker.client.send(b"".join(b"PUB s.a _INBOX.x.p%d 1\r\nx\r\n" % n for n in range(50)) + b"PUB s.b 1\r\ny\r\n")
    texts = [json.loads(payload)["seq"] for _, payload in deliveries(asker.client.read())]
    assert texts == list(range(1, 51))
    assert asker.api("STREAM.INFO.S")["state"]["messages"] == 51


def test_runs_where_only_some_ask_for_an_acknowledgement(asker: Asker) -> None:
    asker.client.send(b"PUB s.a 1\r\n1\r\nPUB s.a in 1\r\n2\r\nPUB s.a 1\r\n3\r\nPUB s.a in 1\r\n4\r\n")
    assert [json.loads(payload)["seq"] for _, payload in deliveries(asker.client.read())] == [2, 4]


def test_acknowledgements_wait_until_the_message_is_durable() -> None:
    harness = world(engine=MemoryEngine())
    asker = Asker(harness)
    asker.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
    asker.client.send(b"PUB s.a in 1\r\n1\r\n", run=False)
    assert asker.client.read() == b"", "nothing leaves before the turn is committed"
    harness.run()
    assert json.loads(deliveries(asker.client.read())[0][1]) == {"stream": "S", "seq": 1}


def test_core_subscribers_hear_what_a_stream_captures(asker: Asker) -> None:
    reader = client(asker.harness)
    reader.send(b"SUB s.> 1\r\n")
    publish(asker.client, "s.a", b"x", "in", {"Nats-Msg-Id": "1"})
    assert b"HMSG s.a 1 in" in reader.read()


def test_messages_of_other_readers_keep_their_headers(asker: Asker) -> None:
    consumer(asker)
    asker.stored("s.a", b"x", {"A": "1", "B": "2"})
    answer = publish(asker.client, "$JS.API.CONSUMER.MSG.NEXT.S.C", b"", "in")
    assert b"NATS/1.0\r\nA: 1\r\nB: 2\r\n\r\nx\r\n" in answer


def test_expectations_hold_or_change_nothing(asker: Asker) -> None:
    assert asker.stored("s.a", b"", {"Nats-Expected-Last-Sequence": "0"})["seq"] == 1
    assert asker.stored("s.b", b"", {"Nats-Expected-Last-Subject-Sequence": "0"})["seq"] == 2
    assert asker.stored("s.b", b"", {"Nats-Expected-Last-Subject-Sequence": "2"})["seq"] == 3
    assert asker.stored("s.a", b"", {"Nats-Expected-Stream": "S", "Nats-Msg-Id": "m"})["seq"] == 4
    assert asker.stored("s.a", b"", {"Nats-Expected-Last-Msg-Id": "m"})["seq"] == 5
    for headers, number in (
        ({"Nats-Expected-Last-Sequence": "4"}, 10071),
        ({"Nats-Expected-Last-Subject-Sequence": "4"}, 10071),
        ({"Nats-Expected-Last-Subject-Sequence": "9", "Nats-Expected-Last-Subject-Sequence-Subject": "s.b"}, 10071),
        ({"Nats-Expected-Stream": "T"}, 10060),
        ({"Nats-Expected-Last-Msg-Id": "x"}, 10070),
        ({"Nats-Expected-Last-Sequence": "many"}, 10071),
    ):
        assert asker.stored("s.a", b"", headers)["error"]["err_code"] == number
    assert asker.api("STREAM.INFO.S")["state"]["last_seq"] == 5


def test_duplicates_are_told_apart_from_what_is_outside_the_window(asker: Asker) -> None:
    assert asker.stored("s.a", b"", {"Nats-Msg-Id": "m"}) == {"stream": "S", "seq": 1}
    assert asker.stored("s.a", b"", {"Nats-Msg-Id": "m"}) == {"stream": "S", "seq": 1, "duplicate": True}
    asker.harness.advance(121_000)
    assert asker.stored("s.a", b"", {"Nats-Msg-Id": "m"}) == {"stream": "S", "seq": 2}


def test_no_ack_streams_answer_nothing(asker: Asker) -> None:
    asker.api("STREAM.CREATE.N", {"name": "N", "subjects": ["n"], "no_ack": True})
    assert publish(asker.client, "n", b"x", "in") == b""
    assert asker.api("STREAM.INFO.N")["state"]["messages"] == 1


@pytest.mark.parametrize(
    ("config", "number"),
    [
        ({"retention": "sometimes"}, 10025), ({"mirror": {"name": "X"}}, 10052), ({"sources": [{"name": "X"}]}, 10052),
        ({"republish": {"src": "a", "dest": "b"}}, 10052), ({"subject_transform": {"src": "a", "dest": "b"}}, 10052),
        ({"compression": "s2"}, 10052), ({"discard_new_per_subject": True}, 10052), ({"storage": "tape"}, 10025),
        ({"deny_purge": True, "allow_rollup_hdrs": True}, 10052), ({"subject_delete_marker_ttl": 5}, 10052),
        ({"allow_msg_counter": True, "discard": "new"}, 10052), ({"mirror_direct": True}, 10052), ({"sealed": True}, 10052),
        ({"first_seq": 9}, 10052), ({"consumer_limits": {"max_ack_pending": 5}}, 10052), ({"placement": {"tags": ["x"]}}, 10052),
        ({"allow_msg_schedules": True}, 10052), ({"allow_batched": True}, 10052), ({"persist_mode": "async"}, 10052),
        ({"subjects": ["a..b"]}, 10052), ({"subjects": [">"]}, 10052), ({"subjects": ["$JS.API.X"]}, 10052),
        ({"subjects": ["a.>", "a.b"]}, 10052), ({"subjects": ["s.x"]}, 10065), ({"num_replicas": 3}, 10074),
        ({"num_replicas": -1}, 10133), ({"name": "other"}, 10056), ({"max_msgs": "many"}, 10025), ({"nonsense": 1}, 10025),
        ({"max_age": 1}, 10052), ({"duplicate_window": 10 * SECOND, "max_age": SECOND}, 10052), ({"metadata": {"a": 1}}, 10052),
        ({"subjects": ["_thalweg.x"]}, 10052),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_stream_cannot_be_is_refused(config: dict[str, Any], number: int) -> None:
    asker = Asker(world())
    asker.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
    assert asker.refused("STREAM.CREATE.X", {"name": "X", **config}) == number
    assert asker.api("STREAM.NAMES")["streams"] == ["S"]


@pytest.mark.parametrize(
    ("config", "number"),
    [
        ({"deliver_subject": "x.*"}, 10079), ({"deliver_subject": "s.x"}, 10081), ({"deliver_subject": "x..y"}, 10112),
        ({"deliver_subject": "x", "max_waiting": 3}, 10080), ({"deliver_subject": "x", "idle_heartbeat": 3}, 10083),
        ({"deliver_subject": "x", "flow_control": True}, 10108), ({"deliver_subject": "x", "direct": True}, 10091),
        ({"direct": True}, 10090), ({"deliver_policy": "last_per_subject"}, 10094), ({"replay_policy": "odd"}, 10025),
        ({"sample_freq": "50"}, 10012), ({"sample_freq": "some"}, 10095), ({"priority_groups": ["a"]}, 10196),
        ({"priority_policy": "overflow"}, 10159), ({"priority_policy": "overflow", "priority_groups": ["a"]}, 10012),
        ({"ack_policy": "flow_control"}, 10012), ({"pause_until": "soon"}, 10025), ({"ack_policy": "sometimes"}, 10025), ({"ack_wait": -1}, 10183), ({"backoff": [1, 2], "max_deliver": 1}, 10116),
        ({"rate_limit_bps": 5}, 10086), ({"idle_heartbeat": SECOND}, 10088), ({"flow_control": True}, 10089),
        ({"filter_subject": "t..x"}, 10093), ({"filter_subjects": ["s.a", "s.*"]}, 10138), ({"filter_subjects": [""]}, 10139),
        ({"filter_subject": "s.a", "filter_subjects": ["s.b"]}, 10136), ({"deliver_policy": "by_start_sequence"}, 10094),
        ({"opt_start_seq": 5}, 10094), ({"num_replicas": 3}, 10074), ({"durable_name": "D"}, 10017), ({"bogus": 1}, 10025),
        ({"opt_start_time": "soon", "deliver_policy": "by_start_time"}, 10025),
        ({"name": "other"}, 10132),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_consumer_cannot_be_is_refused(config: dict[str, Any], number: int) -> None:
    asker = Asker(world())
    asker.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
    body = {"stream_name": "S", "config": {"durable_name": "C", "ack_policy": "explicit", **config}, "action": ""}
    assert asker.refused("CONSUMER.CREATE.S.C", body) == number
    assert asker.api("CONSUMER.NAMES.S")["consumers"] == []


def test_streams_are_updated_and_what_cannot_change_does_not(asker: Asker) -> None:
    changed = asker.api("STREAM.UPDATE.S", {"name": "S", "subjects": ["s.>", "t"], "max_msgs": 2, "description": "d"})
    assert changed["config"]["subjects"] == ["s.>", "t"]
    for _ in range(3):
        asker.stored("t")
    state = asker.api("STREAM.INFO.S")["state"]
    assert (state["messages"], state["first_seq"], state["last_seq"]) == (2, 2, 3)
    assert asker.refused("STREAM.UPDATE.S", {"name": "S", "storage": "memory"}) == 10052
    assert asker.refused("STREAM.UPDATE.T", {"name": "T"}) == 10059


def test_limits_by_age_hold_to_the_message(asker: Asker) -> None:
    asker.api("STREAM.UPDATE.S", {"name": "S", "subjects": ["s.>"], "max_age": 10 * SECOND})
    asker.stored("s.a")
    asker.harness.advance(6_000)
    asker.stored("s.a")
    asker.harness.advance(6_000)
    state = asker.api("STREAM.INFO.S")["state"]
    assert (state["messages"], state["first_seq"]) == (1, 2)
    asker.harness.advance(6_000)
    state = asker.api("STREAM.INFO.S")["state"]
    assert (state["messages"], state["first_seq"], state["last_seq"]) == (0, 3, 2)


def test_purge_keeps_or_cuts_what_it_is_told(asker: Asker) -> None:
    for _ in range(10):
        asker.stored("s.a")
    assert asker.api("STREAM.PURGE.S", {"keep": 7})["purged"] == 3
    assert asker.api("STREAM.PURGE.S", {"seq": 6})["purged"] == 2
    assert asker.api("STREAM.PURGE.S", {"filter": "s.b"})["purged"] == 0
    assert asker.api("STREAM.PURGE.S", {"filter": "s.a", "keep": 1})["purged"] == 4
    assert asker.api("STREAM.PURGE.S")["purged"] == 1
    assert asker.stored("s.a")["seq"] == 11


def test_stream_names_are_found_by_subject(asker: Asker) -> None:
    asker.api("STREAM.CREATE.T", {"name": "T", "subjects": ["t.*"]})
    assert asker.api("STREAM.NAMES", {"subject": "t.x"})["streams"] == ["T"]
    assert asker.api("STREAM.NAMES", {"subject": "s.>"})["streams"] == ["S"]
    assert asker.api("STREAM.NAMES", {"subject": "u"})["streams"] is None
    assert asker.api("STREAM.LIST", {"offset": 1})["streams"][0]["config"]["name"] == "T"


def test_subjects_are_counted(asker: Asker) -> None:
    for subject in ("s.a", "s.b", "s.a"):
        asker.stored(subject)
    state = asker.api("STREAM.INFO.S", {"subjects_filter": ">"})["state"]
    assert state["subjects"] == {"s.a": 2, "s.b": 1}
    assert state["num_subjects"] == 2


def test_single_messages_are_found(asker: Asker) -> None:
    for index in range(6):
        asker.stored(f"s.{index % 3}", b"%d" % index)
    get = "STREAM.MSG.GET.S"
    assert asker.api(get, {"seq": 2})["message"]["subject"] == "s.1"
    assert asker.api(get, {"last_by_subj": "s.1"})["message"]["seq"] == 5
    assert asker.api(get, {"last_by_subj": "s.*"})["message"]["seq"] == 6
    assert asker.api(get, {"next_by_subj": "s.0", "seq": 2})["message"]["seq"] == 4
    assert asker.refused(get, {"last_by_subj": "s.9"}) == 10037
    assert asker.refused(get, {}) == 10003


def test_a_kafka_topic_of_one_partition_is_a_stream(asker: Asker) -> None:
    topics = asker.harness.sequencer
    for name, partitions in ((b"orders", 1), (b"many", 2), (b"two/tokens", 1)):
        topics.call("topics", CreateTopic(DEFAULT_ACCOUNT, Address(name), partitions), None, 0)
    assert asker.api("STREAM.NAMES")["streams"] == ["S", "orders"]
    assert asker.api("STREAM.INFO.orders")["config"]["subjects"] == ["orders", "orders.>"]
    assert asker.stored("orders.eu", b"x") == {"stream": "orders", "seq": 1}
    assert publish(asker.client, "many.x", b"x", "in") == b"", "a topic of several partitions acknowledges nothing"
    assert asker.refused("STREAM.CREATE.T", {"name": "T", "subjects": ["orders.eu"]}) == 10065


def test_a_batch_is_delivered_acknowledged_and_the_floor_rises(asker: Asker) -> None:
    for index in range(6):
        asker.stored("s.a", b"%d" % index)
    assert consumer(asker)["num_pending"] == 6
    got = asker.next("S.C", batch=4)
    assert [payload for _, payload in got] == [b"0", b"1", b"2", b"3"]
    assert [reply.split(b".")[-1] for reply, _ in got] == [b"5", b"4", b"3", b"2"]
    asker.ack(got[1])
    asker.ack(got[3])
    assert info(asker)["ack_floor"]["stream_seq"] == 0
    asker.ack(got[0])
    told = info(asker)
    assert (told["ack_floor"]["stream_seq"], told["num_ack_pending"], told["num_pending"]) == (2, 1, 2)


def test_confirmed_acknowledgements_are_confirmed(asker: Asker) -> None:
    asker.stored("s.a")
    consumer(asker)
    got = asker.next("S.C")
    assert publish(asker.client, got[0][0].decode(), b"+ACK", "in") == b"MSG in 2 0\r\n\r\n"


def test_what_is_not_acknowledged_in_time_comes_again(asker: Asker) -> None:
    asker.stored("s.a", b"x")
    consumer(asker, ack_wait=2 * SECOND, max_deliver=3)
    first = asker.next("S.C")
    assert first[0][0].startswith(b"$JS.ACK.S.C.1.1.1.")
    asker.harness.advance(1_000)
    assert asker.next("S.C", no_wait=True) == [(b"", b"NATS/1.0 404 No Messages")]
    say(asker.client, b'PUB $JS.API.CONSUMER.MSG.NEXT.S.C in 23\r\n{"expires":60000000000}\r\n')
    asker.harness.advance(1_100)
    again = deliveries(asker.client.read())
    assert again[0][0].startswith(b"$JS.ACK.S.C.2.1.2.")
    asker.harness.advance(2_100)
    third = asker.next("S.C")
    assert third[0][0].startswith(b"$JS.ACK.S.C.3.1.3.")
    asker.harness.advance(2_100)
    assert asker.next("S.C", no_wait=True) == [(b"", b"NATS/1.0 404 No Messages")]
    assert info(asker)["num_ack_pending"] == 0


def test_backoff_says_how_long_each_attempt_may_take(asker: Asker) -> None:
    asker.stored("s.a", b"x")
    consumer(asker, backoff=[SECOND, 3 * SECOND])
    asker.next("S.C")
    asker.harness.advance(1_100)
    assert asker.next("S.C", no_wait=True)[0][0]
    asker.harness.advance(1_100)
    assert not asker.next("S.C", no_wait=True)[0][0]
    asker.harness.advance(2_000)
    assert asker.next("S.C", no_wait=True)[0][0]


def test_every_kind_of_acknowledgement(asker: Asker) -> None:
    for index in range(5):
        asker.stored("s.a", b"%d" % index)
    consumer(asker, ack_wait=10 * SECOND)
    got = asker.next("S.C", batch=4)
    asker.ack(got[0], b"-NAK")
    assert asker.next("S.C", no_wait=True)[0][1] == b"0"
    asker.ack(got[1], b'-NAK {"delay": 3000000000}')
    asker.ack(got[2], b"+TERM bad message")
    asker.harness.advance(8_000)
    asker.ack(got[3], b"+WPI")
    assert asker.next("S.C", no_wait=True)[0][1] == b"1"
    asker.ack(got[0])
    asker.harness.advance(4_000)
    assert [payload for _, payload in asker.next("S.C", batch=2, no_wait=True)] == [b"4", b"NATS/1.0 404 No Messages"]
    asker.harness.advance(7_000)
    assert b"3" in [payload for _, payload in asker.next("S.C", batch=5, no_wait=True)]
    answer = publish(asker.client, got[1][0].decode(), b"+NXT 1", "in")
    assert info(asker)["num_ack_pending"] == 2
    assert deliveries(answer) == []


def test_next_behind_an_acknowledgement_brings_one_more(asker: Asker) -> None:
    for index in range(3):
        asker.stored("s.a", b"%d" % index)
    consumer(asker)
    got = asker.next("S.C")
    more = deliveries(publish(asker.client, got[0][0].decode(), b'+NXT {"batch":2}', "in"))
    assert [payload for _, payload in more] == [b"1", b"2"]
    assert info(asker)["ack_floor"]["stream_seq"] == 1


def test_not_more_than_max_ack_pending_are_out(asker: Asker) -> None:
    for index in range(5):
        asker.stored("s.a", b"%d" % index)
    consumer(asker, max_ack_pending=2)
    got = asker.next("S.C", batch=5, expires=60 * SECOND)
    assert [payload for _, payload in got] == [b"0", b"1"]
    assert [payload for _, payload in deliveries(asker.ack(got[0]))] == [b"2"]


def test_ack_all_and_ack_none(asker: Asker) -> None:
    for index in range(4):
        asker.stored("s.a", b"%d" % index)
    consumer(asker, "ALL", ack_policy="all")
    got = asker.next("S.ALL", batch=3)
    asker.ack(got[1])
    assert info(asker, "ALL")["num_ack_pending"] == 1
    consumer(asker, "NONE", ack_policy="none")
    asker.next("S.NONE", batch=3)
    told = info(asker, "NONE")
    assert (told["num_ack_pending"], told["ack_floor"]["stream_seq"], told["num_pending"]) == (0, 3, 1)


def test_a_deliver_policy_says_where_a_consumer_begins(asker: Asker) -> None:
    for index in range(4):
        asker.stored(f"s.{index % 2}", b"%d" % index)
        asker.harness.advance(1_000)
    for name, config, first in (
        ("last", {"deliver_policy": "last"}, b"3"),
        ("lastf", {"deliver_policy": "last", "filter_subject": "s.0"}, b"2"),
        ("seq", {"deliver_policy": "by_start_sequence", "opt_start_seq": 2}, b"1"),
        ("time", {"deliver_policy": "by_start_time", "opt_start_time": "2026-09-21T14:13:21.5Z"}, b"2"),
    ):
        consumer(asker, name, **config)
        assert asker.next(f"S.{name}", no_wait=True)[0][1] == first, name
    consumer(asker, "new", deliver_policy="new")
    assert asker.next("S.new", no_wait=True) == [(b"", b"NATS/1.0 404 No Messages")]
    asker.stored("s.x", b"n")
    assert asker.next("S.new", no_wait=True)[0][1] == b"n"


def test_filters_count_and_deliver_only_what_matches(asker: Asker) -> None:
    for index in range(9):
        asker.stored(f"s.{index % 3}", b"%d" % index)
    made = consumer(asker, filter_subjects=["s.0", "s.2"])
    assert made["num_pending"] == 6
    got = asker.next("S.C", batch=20, no_wait=True)
    assert [payload for _, payload in got] == [b"0", b"2", b"3", b"5", b"6", b"8", b"NATS/1.0 404 No Messages"]
    assert [reply.split(b".")[-1] for reply, _ in got[:-1]] == [b"5", b"4", b"3", b"2", b"1", b"0"]
    asker.stored("s.1")
    asker.stored("s.2", b"n")
    assert info(asker)["num_pending"] == 1


def test_a_waiting_request_is_served_when_something_comes(asker: Asker) -> None:
    consumer(asker, ack_wait=90 * SECOND)
    assert asker.next("S.C", batch=2, expires=60 * SECOND) == []
    publish(client(asker.harness), "s.a", b"x")
    assert [payload for _, payload in deliveries(asker.client.read())] == [b"x"]
    asker.harness.advance(61_000)
    assert asker.client.read().startswith(
        b"HMSG in 2 81 81\r\nNATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 1\r\n"
    )


def test_max_bytes_ends_a_request(asker: Asker) -> None:
    for _ in range(3):
        asker.stored("s.a", b"x" * 100)
    consumer(asker)
    got = asker.next("S.C", batch=10, max_bytes=320, expires=SECOND)
    assert [payload[:6] for _, payload in got] == [b"xxxxxx", b"xxxxxx", b"NATS/1"]
    assert got[2][1] == b"NATS/1.0 409 Message Size Exceeds MaxBytes"


def test_requests_are_refused_by_their_limits(asker: Asker) -> None:
    consumer(asker, max_batch=5, max_expires=SECOND, max_bytes=100, max_waiting=1)
    assert asker.next("S.C", batch=6) == [(b"", b"NATS/1.0 409 Exceeded MaxRequestBatch of 5")]
    assert asker.next("S.C", expires=2 * SECOND) == [(b"", b"NATS/1.0 409 Exceeded MaxRequestExpires of 1s")]
    assert asker.next("S.C", max_bytes=101) == [(b"", b"NATS/1.0 409 Exceeded MaxRequestMaxBytes of 100")]
    assert asker.next("S.C", bogus=1)[0][1].startswith(b"NATS/1.0 400 Bad Request - ")
    assert asker.next("S.C", expires=SECOND // 2) == []
    assert asker.next("S.C", expires=SECOND // 2) == [(b"", b"NATS/1.0 409 Exceeded MaxWaiting")]


def test_requests_of_clients_that_are_gone_take_no_messages(asker: Asker) -> None:
    consumer(asker)
    other = client(asker.harness)
    say(other, b"SUB gone 1\r\nPUB $JS.API.CONSUMER.MSG.NEXT.S.C gone 0\r\n\r\n")
    other.close()
    unsubscribed = client(asker.harness)
    say(unsubscribed, b"SUB gone 1\r\nPUB $JS.API.CONSUMER.MSG.NEXT.S.C gone 0\r\n\r\nUNSUB 1\r\n")
    asker.stored("s.a", b"x")
    assert [payload for _, payload in asker.next("S.C")] == [b"x"]


def test_consumers_without_a_durable_name_end_when_nobody_asks(asker: Asker) -> None:
    made = asker.api("CONSUMER.CREATE.S", {"stream_name": "S", "config": {"ack_policy": "explicit"}})
    name = made["name"]
    assert made["config"]["inactive_threshold"] == 5 * SECOND
    asker.harness.advance(3_000)
    asker.next(f"S.{name}", no_wait=True)
    asker.harness.advance(3_000)
    assert asker.api("CONSUMER.NAMES.S")["consumers"] == [name]
    asker.harness.advance(3_000)
    assert asker.api("CONSUMER.NAMES.S")["consumers"] == []


def test_create_update_and_both(asker: Asker) -> None:
    body = {"stream_name": "S", "config": {"durable_name": "C", "ack_policy": "explicit"}, "action": "update"}
    assert asker.refused("CONSUMER.CREATE.S.C", body) == 10149
    assert "error" not in asker.api("CONSUMER.CREATE.S.C", {**body, "action": "create"})
    assert "error" not in asker.api("CONSUMER.DURABLE.CREATE.S.C", {**body, "action": "create"})
    changed = {**body, "config": {**body["config"], "max_deliver": 5}}  # type: ignore[dict-item]
    assert asker.refused("CONSUMER.CREATE.S.C", {**changed, "action": "create"}) == 10148
    assert asker.api("CONSUMER.CREATE.S.C", changed)["config"]["max_deliver"] == 5
    fixed = {**body, "config": {**body["config"], "ack_policy": "all"}}  # type: ignore[dict-item]
    assert asker.refused("CONSUMER.CREATE.S.C", fixed) == 10012


def test_deleting_a_stream_ends_its_consumers(asker: Asker) -> None:
    consumer(asker)
    asker.next("S.C", expires=60 * SECOND)
    answer = publish(asker.client, "$JS.API.STREAM.DELETE.S", b"", "_INBOX.x.d")
    assert b"409 Consumer Deleted" in answer and b'"success":true' in answer
    assert asker.refused("CONSUMER.INFO.S.C") == 10059
    assert asker.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})["state"]["last_seq"] == 0
    assert asker.api("CONSUMER.NAMES.S")["consumers"] == []


def test_headers_only_says_how_long_the_payload_is(asker: Asker) -> None:
    asker.stored("s.a", b"12345")
    consumer(asker, headers_only=True)
    assert b"Nats-Msg-Size: 5\r\n\r\n\r\n" in publish(asker.client, "$JS.API.CONSUMER.MSG.NEXT.S.C", b"", "in")


def test_direct_gets_need_permission(asker: Asker) -> None:
    asker.stored("s.a", b"x")
    assert b"503" in publish(asker.client, "$JS.API.DIRECT.GET.S.s.a", b"", "in")
    asker.api("STREAM.UPDATE.S", {"name": "S", "subjects": ["s.>"], "allow_direct": True})
    assert b"Nats-Sequence: 1\r\n" in publish(asker.client, "$JS.API.DIRECT.GET.S.s.a", b"", "in")
    assert b"408 Empty Request" in publish(asker.client, "$JS.API.DIRECT.GET.S", b'{"batch":2}', "in")


def test_what_is_not_built_is_refused_in_words(asker: Asker) -> None:
    consumer(asker)
    for subject, words in (
        ("STREAM.SNAPSHOT.S", "snapshot is not supported"),
        ("STREAM.RESTORE.S", "restore is not supported"),
    ):  # fmt: skip
        assert asker.api(subject)["error"]["description"] == words


def test_a_newer_api_level_is_refused(asker: Asker) -> None:
    answer = publish(asker.client, "$JS.API.STREAM.CREATE.Z", b'{"name":"Z"}', "in", {"Nats-Required-Api-Level": "6"})
    assert b'"err_code":10185' in answer


def test_state_is_the_fold_of_its_records(asker: Asker) -> None:
    for index in range(8):
        asker.stored("s.a", b"%d" % index)
    consumer(asker, ack_wait=2 * SECOND)
    got = asker.next("S.C", batch=5)
    for delivery in (got[0], got[2]):
        asker.ack(delivery)
    asker.ack(got[1], b"-NAK")
    asker.next("S.C", batch=1)
    asker.api("CONSUMER.CREATE.S", {"stream_name": "S", "config": {"ack_policy": "none"}})
    asker.harness.advance(10_000)
    live = executor(asker.harness)
    replayed = JetStream()
    world_ = asker.harness.sequencer._worlds["jetstream"]
    layer = asker.harness.sequencer.layer
    for record in layer.read(world_.stream, 0, 1 << 30, 2, Everything()).records:  # type: ignore[arg-type, union-attr]
        replayed.apply(record)
    assert replayed.dump() == live.dump()
    loaded = JetStream()
    loaded.load(live.dump())
    assert loaded.dump() == live.dump()


class Everything:
    def matches(self, address: Address) -> bool:
        return True


def test_consumers_go_on_after_a_restart() -> None:
    engine = MemoryEngine()
    first = Asker(world(engine=engine))
    first.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
    for index in range(6):
        first.stored("s.a", b"%d" % index)
    consumer(first, ack_wait=2 * SECOND)
    got = first.next("S.C", batch=4)
    first.ack(got[0])
    first.ack(got[2])
    first.harness.sequencer.close()
    second = Asker(world(engine=engine, now_ns=first.harness.now_ns))
    told = info(second)
    assert (told["ack_floor"]["stream_seq"], told["num_ack_pending"], told["num_pending"]) == (1, 2, 2)
    assert [payload for _, payload in second.next("S.C", batch=2)] == [b"4", b"5"]
    second.harness.advance(2_100)
    assert [(p, r.split(b".")[4]) for r, p in second.next("S.C", batch=2)] == [(b"1", b"2"), (b"3", b"2")]
    assert second.stored("s.a", b"", {"Nats-Expected-Last-Sequence": "6"})["seq"] == 7


def test_consumers_of_a_topic_that_kafka_deleted_go_with_it(asker: Asker) -> None:
    consumer(asker)
    asker.harness.begin()
    asker.harness.sequencer.call("topics", DeleteTopic(DEFAULT_ACCOUNT, Address(b"S")), None, 0)
    asker.harness.run()
    asker.harness.advance(2_000)
    assert not executor(asker.harness).consumers


def test_a_purge_leaves_nothing_to_count_and_raises_the_floor(asker: Asker) -> None:
    for _ in range(4):
        asker.stored("s.a")
    consumer(asker)
    consumer(asker, "F", filter_subject="s.b")
    asker.next("S.C", batch=1)
    asker.api("STREAM.PURGE.S")
    told = info(asker)
    assert (told["num_pending"], told["num_ack_pending"], told["ack_floor"]["stream_seq"]) == (0, 0, 4)
    asker.stored("s.a", b"new")
    asker.stored("s.b", b"new")
    assert [(p, r.split(b".")[-1]) for r, p in asker.next("S.C", batch=1)] == [(b"new", b"1")]
    assert [(p, r.split(b".")[-1]) for r, p in asker.next("S.F", batch=1)] == [(b"new", b"0")]


def test_an_ack_that_nobody_waits_for_is_told(asker: Asker) -> None:
    assert b"503" in publish(asker.client, "$JS.ACK.S.NONE.1.1.1.1.0", b"+ACK", "in")
    asker.stored("s.a")
    consumer(asker, "NONE", ack_policy="none")
    got = asker.next("S.NONE")
    assert b"503" in publish(asker.client, got[0][0].decode(), b"+ACK", "in")


def test_a_message_that_is_too_large_spoils_none_of_its_run(asker: Asker) -> None:
    asker.api("STREAM.CREATE.L", {"name": "L", "subjects": ["l"], "max_msg_size": 5})
    asker.client.send(b"PUB l in 5\r\n12345\r\nPUB l in 6\r\n123456\r\nPUB l in 1\r\nx\r\n")
    answers = [json.loads(payload) for _, payload in deliveries(asker.client.read())]
    assert sorted(answer["seq"] for answer in answers) == [0, 1, 2]
    assert [answer["error"]["err_code"] for answer in answers if "error" in answer] == [10054]


def test_a_large_batch_does_not_make_a_slow_consumer(asker: Asker) -> None:
    for _ in range(40):
        asker.client.send(b"PUB s.a 400000\r\n%b\r\n" % (b"x" * 400_000))
    consumer(asker)
    reader = client(asker.harness)
    reader.send(b"SUB r 1\r\n")
    reader.reads = False
    reader.send(b'PUB $JS.API.CONSUMER.MSG.NEXT.S.C r 14\r\n{"batch":1000}\r\n')
    asker.harness.advance(100)
    assert reader.outbox.size() < 6_000_000
    assert [payload[:1] for _, payload in asker.next("S.C", batch=1)] == [b"x"], "others are served meanwhile"
    reader.reads = True
    reader.outbox.mark()
    asker.harness.advance(1_000)
    assert reader.read().count(b"MSG s.a 1 ") == 39


def test_what_is_due_is_kept_only_as_long_as_it_is_owed(asker: Asker) -> None:
    consumer(asker, max_ack_pending=50_000)
    for _ in range(20):
        asker.client.send(b"PUB s.a 1\r\nx\r\n" * 500)
        got = asker.next("S.C", batch=500)
        asker.client.send(b"".join(b"PUB %b 4\r\n+ACK\r\n" % reply for reply, _ in got))
    found = next(iter(executor(asker.harness).consumers.values()))["C"]
    assert not found.pending and len(found.due) < 3_000


def test_as_many_streams_and_consumers_as_a_page_holds_are_listed(asker: Asker) -> None:
    for index in range(300):
        asker.api(f"STREAM.CREATE.T{index}", {"name": f"T{index}", "subjects": [f"t.{index}"]})
        consumer(asker, f"C{index}")
    listed = asker.api("STREAM.LIST")
    assert (listed["total"], len(listed["streams"])) == (301, 256)
    assert len(asker.api("STREAM.LIST", {"offset": 256})["streams"]) == 45
    listed = asker.api("CONSUMER.LIST.S")
    assert (listed["total"], len(listed["consumers"])) == (300, 256)
    assert asker.api("INFO")["streams"] == 301
    assert len(asker.api("STREAM.NAMES")["streams"]) == 301
