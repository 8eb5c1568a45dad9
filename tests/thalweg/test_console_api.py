"""The HTTP edge as an API: what each endpoint answers, whether the port answers at once or later."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.api import TrimTopic
from tests.thalweg.edge import Edge, lines_of
from thalweg.http_text import address_of, address_text, bytes_of, bytes_text


@pytest.fixture(params=[False, True], ids=["at-once", "delayed"])
def edge(request: pytest.FixtureRequest) -> Edge:
    made = Edge(delayed=request.param)
    assert made.json("POST", "/api/streams", {"name": "orders"})[0] == 201
    return made


def publish(edge: Edge, address: str, *values: Any) -> dict[str, Any]:
    body = b"\n".join(json.dumps({"address": address, "value": value}).encode() for value in values)
    status, answer = edge.json("POST", "/api/publish", body, headers={"Content-Type": "application/x-ndjson"})
    assert status == 200, answer
    return dict(answer)


def values(records: list[dict[str, Any]]) -> list[Any]:
    return [record["value"] for record in records if "value" in record]


@given(st.binary(max_size=40))
def test_any_bytes_survive_json(data: bytes) -> None:
    assert bytes_of(json.loads(json.dumps(bytes_text(data))), "value") == data


@given(st.lists(st.binary(max_size=6), min_size=1, max_size=4))
def test_any_address_survives_its_text(tokens: list[bytes]) -> None:
    from substrate.address import join

    text = address_text(join(tokens))
    if text:
        assert address_of(text) == join(tokens)


def test_what_is_published_is_read_with_its_headers(edge: Edge) -> None:
    message = {
        "address": "orders/eu",
        "value": "10 tonnes",
        "headers": [["unit", "t"], ["x", {"base64": "/w=="}], ["n", None]],
    }
    status, placed = edge.json("POST", "/api/publish", message)
    assert (status, placed["stream"], placed["position"]) == (200, "orders", 0)
    page = edge.json("GET", "/api/records?stream=orders")[1]
    assert page["records"] == [{"position": 0, "time_ms": placed["time_ms"], **message}]
    assert (page["next"], page["start"], page["end"]) == (1, 0, 1)


def test_a_body_of_another_type_is_the_value_itself(edge: Edge) -> None:
    octets = {"Content-Type": "application/octet-stream"}
    assert edge.json("POST", "/api/publish?address=orders/raw", b"\xff\x00", headers=octets)[0] == 200
    record = edge.json("GET", "/api/records?stream=orders")[1]["records"][0]
    assert record["value"] == {"base64": base64.b64encode(b"\xff\x00").decode()}


def test_what_no_stream_keeps_is_said_to_be_so(edge: Edge) -> None:
    assert edge.json("POST", "/api/publish", {"address": "nobody/here", "value": ""}) == (
        200, {"address": "nobody/here", "stream": None},
    )  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'"x"', b"{}", b'{"address":"a"}', b'{"address":"","value":""}', b'{"address":"a/#","value":""}',
        b'{"address":"a","value":1}', b'{"address":"a","value":{"base64":"!"}}', b'{"address":"a","value":"","headers":{}}',
        b'{"address":"a","value":"","headers":[["x"]]}', b'{"address":"a","value":"","key":"k"}', b"\xff", b"[" * 100_000, b'{"address":[],"value":""}',
        b'{"address":"\\ud800","value":""}', b'{"address":null,"value":""}',
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(body: bytes) -> None:
    status, answer = Edge().json("POST", "/api/publish", body, headers={"Content-Type": "application/json"})
    assert (status, answer["status"]) == (400, 400)
    assert answer["error"]


def test_the_servers_own_addresses_cannot_be_published_to(edge: Edge) -> None:
    assert edge.json("POST", "/api/publish", {"address": "_thalweg/control", "value": "x"})[0] == 403


def test_pages_follow_one_another_to_the_end(edge: Edge) -> None:
    publish(edge, "orders/eu", *(str(number) for number in range(25)))
    found: list[str] = []
    at = 0
    while True:
        page = edge.json("GET", f"/api/records?stream=orders&from={at}&limit=10")[1]
        found += values(page["records"])
        at = page["next"]
        if at == page["end"]:
            break
    assert found == [str(number) for number in range(25)]


@pytest.mark.parametrize(
    ("start", "first"),
    [("earliest", 0), ("latest", None), ("3", 3), ("-2", 8), ("-99", 0), ("time:0", 0), ("time:99999999999999", None)],
)
def test_reading_begins_where_it_is_asked_to(edge: Edge, start: str, first: int | None) -> None:
    publish(edge, "orders/eu", *"abcdefghij")
    for query in ("", "&format=ndjson"):
        path = f"/api/records?stream=orders&from={start}{query}"
        records = edge.records(path) if query else edge.json("GET", path)[1]["records"]
        assert (records[0]["position"] if records else None) == first


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400), ("stream=none", 404), ("stream=orders&partition=1", 404), ("stream=orders&from=x", 400),
        ("stream=orders&from=11", 416), ("stream=orders&limit=0", 400), ("stream=orders&limit=x", 400),
        ("stream=orders&format=xml", 400), ("stream=orders&match=a/%23/b", 400), ("stream=a/%23", 400),
        ("stream=orders&format=ndjson&from=11", 416), ("stream=orders&format=ndjson&seconds=0", 400),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(edge: Edge, query: str, status: int) -> None:
    assert edge.json("GET", f"/api/records?{query}")[0] == status


def test_only_matching_addresses_are_read(edge: Edge) -> None:
    for address in ("orders/eu/1", "orders/us/1", "orders/eu/2"):
        publish(edge, address, address)
    for form in ("json", "ndjson"):
        path = f"/api/records?stream=orders&match=orders/eu/%2B&format={form}"
        found = edge.records(path) if form == "ndjson" else edge.json("GET", path)[1]["records"]
        assert values(found) == ["orders/eu/1", "orders/eu/2"]


def test_a_long_value_is_cut_where_that_is_asked_for(edge: Edge) -> None:
    publish(edge, "orders/eu", "\N{GREEK SMALL LETTER ALPHA}" * 50)
    record = edge.json("GET", "/api/records?stream=orders&value_max=9")[1]["records"][0]
    assert (record["value"], record["bytes"]) == ("\N{GREEK SMALL LETTER ALPHA}" * 4, 100)


def test_all_partitions_are_read_and_named(edge: Edge) -> None:
    edge.json("POST", "/api/streams", {"name": "wide", "partitions": 3})
    for number in range(12):
        publish(edge, f"wide/{number}", str(number))
    found = edge.records("/api/records?stream=wide&format=ndjson")
    assert sorted(values(found), key=int) == [str(number) for number in range(12)]
    assert {record["partition"] for record in found} == {0, 1, 2}


def test_a_follower_sees_what_was_and_what_comes_until_its_limit(edge: Edge) -> None:
    publish(edge, "orders/eu", "a", "b")
    client = edge.follow("/api/records?stream=orders&format=ndjson&follow=1&limit=4")
    assert values(lines_of(client)) == ["a", "b"]
    publish(edge, "orders/eu", "c")
    assert values(lines_of(client)) == ["c"]
    publish(edge, "orders/eu", "d", "e")
    assert values(lines_of(client)) == ["d"]
    assert edge.view.open == 0
    assert not client.closed


def test_who_only_looks_is_shown_the_newest_and_told_what_was_passed_over(edge: Edge) -> None:
    client = edge.follow("/api/records?stream=orders&format=ndjson&follow=1&behind=300")
    client.read()
    for turn in range(4):
        publish(edge, "orders/eu", *(str(turn * 1000 + number) for number in range(1000)))
    edge.harness.advance(1000)
    found = lines_of(client)
    passed = sum(one.get("passed_over", 0) for one in found)
    shown = values(found)
    assert passed + len(shown) == 4000
    assert 0 < len(shown) < 1500
    assert shown[-1] == "3999"
    assert [int(value) for value in shown] == sorted(int(value) for value in shown)


def test_a_follower_ends_in_time_and_beats_until_then(edge: Edge) -> None:
    client = edge.follow("/api/records?stream=orders&format=ndjson&follow=1&seconds=40")
    client.read()
    edge.harness.advance(16_000)
    assert client.read() == b"1\r\n\n\r\n"
    edge.harness.advance(30_000)
    assert client.read().endswith(b"0\r\n\r\n")
    assert edge.view.open == 0


def test_a_follower_of_a_deleted_stream_is_told(edge: Edge) -> None:
    client = edge.follow("/api/records?stream=orders&format=ndjson&follow=1")
    client.read()
    assert edge.json("DELETE", "/api/streams?name=orders")[0] == 200
    edge.harness.advance(100)
    assert lines_of(client)[-1]["error"].startswith("no such stream")
    assert edge.view.open == 0


def test_a_follower_that_does_not_read_holds_a_bounded_part(edge: Edge) -> None:
    client = edge.connect()
    client.reads = False
    client.send(b"GET /api/records?stream=orders&format=ndjson&follow=1 HTTP/1.1\r\nHost: h\r\n\r\n")
    for _ in range(30):
        publish(edge, "orders/eu", "x" * 200_000)
    assert client.outbox.size() < 4 * 1024 * 1024
    assert not client.closed
    client.reads = True
    client.outbox.mark()
    edge.harness.advance(5_000)
    assert client.read().count(b"address") == 30


def test_who_follows_below_what_was_trimmed_is_told_how_much_is_gone(edge: Edge) -> None:
    publish(edge, "orders/eu", *(str(number) for number in range(10)))
    client = edge.connect()
    client.reads = False
    client.send(b"GET /api/records?stream=orders&format=ndjson&from=0&follow=1 HTTP/1.1\r\nHost: h\r\n\r\n", run=False)
    topic = edge.harness.sequencer.topics.topics["default", b"orders"]  # type: ignore[index]
    edge.harness.sequencer.calls.call("topics", TrimTopic(topic.account, topic.name, 0, 4), object(), 1)  # type: ignore[arg-type]
    edge.harness.run()
    edge.harness.advance(200)
    client.reads = True
    client.outbox.mark()
    edge.harness.advance(200)
    found = lines_of(client)
    assert values(found)[-6:] == ["4", "5", "6", "7", "8", "9"]


def test_a_live_tail_shows_what_any_protocol_publishes_kept_or_not(edge: Edge) -> None:
    client = edge.follow("/api/live?match=%23")
    client.read()
    nats = edge.connect("nats")
    nats.send(b"CONNECT {}\r\nPUB orders.eu 2\r\nhi\r\nPUB loose.end 2\r\nho\r\n")
    edge.harness.advance(100)
    found = lines_of(client)
    assert [(record["address"], record["value"], record["position"]) for record in found] == [
        ("orders/eu", "hi", 0), ("loose/end", "ho", -1),
    ]  # fmt: skip


def test_a_live_tail_that_does_not_read_is_told_what_it_missed(edge: Edge) -> None:
    client = edge.follow("/api/live?match=%23")
    client.read()
    client.reads = False
    for _ in range(60):
        publish(edge, "loose/end", "x" * 100_000)
    client.reads = True
    client.outbox.mark()
    edge.harness.advance(100)
    seen = len(values(lines_of(client)))
    publish(edge, "loose/end", "last")
    found = lines_of(client)
    assert found[0] == {"dropped": 60 - seen}
    assert found[1]["value"] == "last"
    assert edge.harness.counters["http_live_drops"] == 60 - seen


def test_a_live_tail_for_who_only_looks_shows_so_many_a_second(edge: Edge) -> None:
    client = edge.follow("/api/live?match=%23&most=50")
    client.read()
    for _ in range(10):
        publish(edge, "loose/end", *("x" for _ in range(30)))
    edge.harness.advance(1000)
    publish(edge, "loose/end", "last")
    edge.harness.advance(100)
    found = lines_of(client)
    shown = values(found)
    assert 10 <= len(shown) <= 100
    assert len(shown) + sum(one.get("dropped", 0) for one in found) == 301
    assert shown[-1] == "last"


def test_events_say_what_changed_and_how_fast(edge: Edge) -> None:
    client = edge.follow("/api/events?every_ms=1000")
    assert lines_of(client)[0]["connections"]["http"] >= 1
    edge.json("POST", "/api/streams", {"name": "fresh"})
    publish(edge, "orders/eu", "a", "b", "c")
    edge.harness.advance(1000)
    (event,) = lines_of(client)
    assert {one["name"]: (one["records"], one["new"]) for one in event["streams"]} == {
        "orders": (3, False), "fresh": (0, True),
    }  # fmt: skip
    assert 1 <= next(one["rate"] for one in event["streams"] if one["name"] == "orders") <= 3
    edge.json("DELETE", "/api/streams?name=fresh")
    edge.harness.advance(1000)
    (event,) = lines_of(client)
    assert (event["streams"], event["gone"]) == ([], ["fresh"])


def test_nothing_is_computed_while_nobody_looks(edge: Edge) -> None:
    """After the last watcher is gone, time passes without a look at a single stream."""
    client = edge.follow("/api/events")
    client.close()
    edge.view.entries = None  # type: ignore[method-assign, assignment]
    edge.harness.advance(10_000)
    assert edge.view.open == 0


def test_streams_are_listed_in_pages_with_what_they_hold(edge: Edge) -> None:
    for number in range(7):
        edge.json("POST", "/api/streams", {"name": f"s{number}", "retention_ms": 1000 * (number + 1)})
    publish(edge, "s3/a", "12345")
    page = edge.json("GET", "/api/streams?limit=5")[1]
    assert [one["name"] for one in page["streams"]] == ["orders", "s0", "s1", "s2", "s3"]
    assert (page["streams"][-1]["records"], page["streams"][-1]["retention_ms"]) == (1, 4000)
    assert page["streams"][-1]["bytes"] > 5
    rest = edge.json("GET", f"/api/streams?limit=5&after={page['next']}")[1]
    assert ([one["name"] for one in rest["streams"]], rest["next"]) == (["s4", "s5", "s6"], None)
    assert [one["name"] for one in edge.json("GET", "/api/streams?match=s3")[1]["streams"]] == ["s3"]
    assert "_thalweg/control" in [one["name"] for one in edge.json("GET", "/api/streams?internal=1")[1]["streams"]]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "orders"}, 409), ({"name": "a/#"}, 400), ({}, 400), ({"name": "x", "partitions": 0}, 400),
        ({"name": "x", "partitions": True}, 400), ({"name": "x", "retention_ms": "1"}, 400), ({"name": "x", "nonsense": 1}, 400),
    ],
)  # fmt: skip
def test_a_stream_that_cannot_be_made_is_refused(edge: Edge, body: dict[str, Any], status: int) -> None:
    assert edge.json("POST", "/api/streams", body)[0] == status


def test_jetstream_consumers_and_mqtt_sessions_are_shown_with_their_lag(edge: Edge) -> None:
    publish(edge, "orders/eu", "a", "b")
    nats = edge.connect("nats")
    request = json.dumps(
        {"stream_name": "orders", "config": {"durable_name": "worker", "ack_policy": "explicit"}}
    ).encode()
    nats.send(
        b"CONNECT {}\r\nSUB _INBOX.1 1\r\nPUB $JS.API.CONSUMER.DURABLE.CREATE.orders.worker _INBOX.1 %d\r\n%b\r\n"
        % (len(request), request)
    )
    edge.harness.advance(500)
    mqtt = edge.connect("mqtt")
    mqtt.send(b"\x10\x11\x00\x04MQTT\x04\x00\x00\x3c\x00\x05probe" + b"\x82\x0d\x00\x01\x00\x08orders/#\x01")
    edge.harness.advance(200)
    found = edge.json("GET", "/api/groups")[1]["groups"]
    shown = {one["kind"]: (one["name"], one["state"], one["lag"]) for one in found}
    assert shown["jetstream"] == ("worker", "pull", 2)
    assert shown["mqtt"] == ("probe", "connected", 0)


def test_groups_of_redis_streams_are_shown_with_what_they_have_not_read(edge: Edge) -> None:
    redis = edge.connect("resp")
    redis.send(b"XADD tasks * a 1\r\nXADD tasks * a 2\r\nXADD tasks * a 3\r\nXGROUP CREATE tasks crew 0\r\n")
    redis.send(
        b"XREADGROUP GROUP crew anna COUNT 1 STREAMS tasks >\r\nSELECT 3\r\nXGROUP CREATE t2 idle $ MKSTREAM\r\n"
    )
    edge.harness.advance(200)
    answer = edge.json("GET", "/api/groups")[1]
    crew, idle = (one for one in answer["groups"] if one["kind"] == "redis")
    assert (crew["name"], crew["state"], crew["lag"], crew["unacknowledged"]) == ("crew", "active", 3, 1)
    assert ([member["name"] for member in crew["members"]], crew["rows"][0]["stream"]) == (["anna"], "tasks")
    assert (idle["name"], idle["lag"], idle["rows"][0]["stream"]) == ("idle", 0, "t2 (db 3)")
    assert answer["complete"]


def test_connections_are_counted_by_protocol(edge: Edge) -> None:
    kept = [edge.connect("nats"), edge.connect("nats"), edge.connect("resp")]
    found = edge.json("GET", "/api/connections?protocol=nats")[1]
    assert (found["count"]["nats"], found["count"]["resp"], found["count"]["kafka"]) == (2, 1, 0)
    assert [one["protocol"] for one in found["connections"]] == ["nats", "nats"]
    assert len(kept) == 3


def test_the_page_comes_with_a_policy_that_lets_nothing_foreign_in() -> None:
    edge = Edge()
    for path, kind in (("/", "text/html"), ("/console.js", "text/javascript"), ("/console.css", "text/css")):
        status, headers, body = edge.ask("GET", path)
        assert status == 200
        assert headers["content-type"].startswith(kind)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert b"http://" not in body.replace(b"http://www.w3.org/", b"")
        assert b"https://" not in body
