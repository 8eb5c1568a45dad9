"""The HTTP edge as a server of HTTP: framing, limits, strangers, whoever may not."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.harness import user
from tests.thalweg.edge import Edge, parsed, raw
from thalweg.http import BODY_BYTES_MAX, HEAD_BYTES_MAX
from thalweg.http_routes import ROUTES
from thalweg.http_view import STREAMS_OPEN_MAX

PUBLIC = ("/livez", "/readyz", "/healthz")
SMUGGLED = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


def status_of(data: bytes) -> int:
    return parsed(data)[0] if data else 0


def sent(data: bytes, edge: Edge | None = None) -> tuple[bytes, bool]:
    """What is answered, and whether the connection was closed."""
    client = (edge or Edge()).connect()
    client.send(data)
    return client.read(), client.closed


def test_health_is_public_and_says_when_it_is_not_ready() -> None:
    edge = Edge()
    assert edge.ask("GET", "/livez")[::2] == (200, b"ok\n")
    assert edge.ask("GET", "/readyz?verbose")[::2] == (200, b"ok\n")
    edge.ready = False
    assert [edge.ask("GET", path)[0] for path in ("/livez", "/readyz")] == [200, 503]


def test_requests_of_one_connection_are_answered_in_order() -> None:
    client = Edge().connect()
    client.send(b"".join(raw("GET", path, {"Host": "h"}) for path in ("/livez", "/nowhere", "/readyz")))
    answers = client.read().split(b"HTTP/1.1 ")[1:]
    assert [int(answer[:3]) for answer in answers] == [200, 404]  # a refusal ends the connection
    assert client.closed


@pytest.mark.parametrize("delayed", [False, True])
def test_pipelined_requests_wait_for_the_one_before(delayed: bool) -> None:
    edge = Edge(delayed)
    edge.json("POST", "/api/streams", {"name": "orders"})
    client = edge.connect()
    client.send(raw("GET", "/api/records?stream=orders", {"Host": "h"}) + raw("GET", "/livez", {"Host": "h"}))
    edge.harness.advance(100)
    answers = client.read().split(b"HTTP/1.1 ")[1:]
    assert [answer.partition(b"\r\n\r\n")[2][:9] for answer in answers] == [b'{"records', b"ok\n"]


@given(st.integers(1, 200))
def test_a_request_cut_anywhere_is_one_request(step: int) -> None:
    edge = Edge()
    client = edge.connect()
    body = b'{"address":"a/b","value":"x"}'
    head = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body))}
    data = raw("POST", "/api/publish", head) + body
    for at in range(0, len(data), step):
        client.send(data[at : at + step])
    assert status_of(client.read()) == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET  /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /livez HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /li vez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 400),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 what\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"x" * HEAD_BYTES_MAX + b"\r\n", 431),
        (b"POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" + SMUGGLED, 400),
        (b"POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\n" + SMUGGLED, 400),
        (b"POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n" + SMUGGLED, 400),
        (b"POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n" + SMUGGLED, 400),
        (b"POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n" + SMUGGLED, 400),
        (b"POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
        (b"POST /api/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 501),
        (b"POST /api/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 501),
        (b"POST /api/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n" + SMUGGLED, 501),
        (b"POST /api/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
        (b"POST /api/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + SMUGGLED, 400),
        (b"POST /api/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n" + SMUGGLED, 400),
        (b"POST /api/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n" + SMUGGLED, 400),
        (b"BREW /livez HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"CONNECT /livez HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET /../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /api/streams?limit=1&limit=2 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /api/streams?limit=%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /api/streams?" + b"&".join(b"a%d=1" % n for n in range(40)) + b" HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_once_and_nothing_behind_it_is_served(data: bytes, status: int) -> None:
    answer, closed = sent(data)
    assert status_of(answer) == status
    assert answer.count(b"Content-Length: ") == 1
    assert closed


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_waited_for(data: bytes) -> None:
    answer, closed = sent(data + b"\r\n\r\n")
    assert status_of(answer) in (0, 400, 404, 405, 431, 501, 505) or closed


VALID = [
    raw("GET", "/api/records?stream=orders&format=ndjson&limit=3", {"Host": "localhost"}),
    raw("GET", "/api/streams?internal=1", {"Host": "localhost", "Authorization": "Basic ZXZlOnB3"}),
    raw("POST", "/api/publish?address=orders/x", {"Host": "localhost", "Content-Length": "3"}) + b"abc",
    raw("POST", "/api/publish", {"Host": "h", "Content-Type": "application/json", "Transfer-Encoding": "chunked"})
    + b'1d\r\n{"address":"a/b","value":"x"}\r\n0\r\n\r\n',
    raw("GET", "/api/groups", {"Host": "localhost"}),
    raw("GET", "/api/live?match=%23&limit=1", {"Host": "localhost"}),
]


@given(st.lists(st.sampled_from(VALID), min_size=1, max_size=4), st.data())
def test_requests_with_a_few_bytes_changed_break_nothing(requests: list[bytes], data: st.DataObject) -> None:
    """The harness raises whatever a session raises but WireError."""
    whole = bytearray(b"".join(requests))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    edge = CHANGED
    client = edge.connect()
    cut = data.draw(st.integers(0, len(whole)))
    for part in (whole[:cut], whole[cut:]):
        client.send(bytes(part))
        edge.harness.advance(50)
    answer = client.read()
    assert not answer or answer.startswith(b"HTTP/1.1 ")
    client.close()
    assert edge.view.open == 0


CHANGED = Edge(delayed=True)


def test_a_body_beyond_the_limit_is_refused_before_it_is_read() -> None:
    edge = Edge()
    head = {"Host": "h", "Content-Length": str(BODY_BYTES_MAX + 1)}
    assert status_of(sent(raw("POST", "/api/publish?address=a", head), edge)[0]) == 413
    client = edge.connect()
    client.send(raw("POST", "/api/publish?address=a", {"Host": "h", "Transfer-Encoding": "chunked"}))
    for _ in range(BODY_BYTES_MAX // 65536 + 1):
        if not client.closed:
            client.send(b"10000\r\n" + bytes(65536) + b"\r\n")
    assert status_of(client.read()) == 413
    assert client.closed


def test_who_waits_for_100_continue_is_told_to_go_on() -> None:
    client = Edge().connect()
    client.send(raw("POST", "/api/publish?address=a", {"Host": "h", "Content-Length": "1", "Expect": "100-continue"}))
    assert client.read().startswith(b"HTTP/1.1 100 ")
    client.send(b"x")
    assert client.read().startswith(b"HTTP/1.1 200 ")


def test_a_head_that_drips_is_given_up_however_it_drips() -> None:
    edge = Edge()
    client = edge.connect()
    client.send(b"GET /livez HTTP/1.1\r\n")
    for _ in range(6):
        if not client.closed:
            client.send(b"X: y\r\n")
        edge.harness.advance(1000)
    assert client.closed
    assert status_of(client.read()) == 408


def test_a_body_that_never_comes_is_given_up() -> None:
    edge = Edge()
    client = edge.connect()
    client.send(raw("POST", "/api/publish?address=a", {"Host": "h", "Content-Length": "10"}) + b"four")
    edge.harness.advance(31_000)
    assert client.closed
    assert status_of(client.read()) == 408


def test_a_connection_that_says_nothing_is_closed() -> None:
    edge = Edge()
    silent, idle = edge.connect(), edge.connect()
    idle.send(raw("GET", "/livez", {"Host": "h"}))
    edge.harness.advance(6_000)
    assert silent.closed
    assert not idle.closed
    edge.harness.advance(60_000)
    assert idle.closed


def test_who_asks_and_does_not_read_is_answered_as_it_reads() -> None:
    edge = Edge()
    edge.json("POST", "/api/streams", {"name": "orders"})
    for _ in range(4):
        edge.ask("POST", "/api/publish?address=orders", b"x" * 200_000, headers={"Content-Type": "text/plain"})
    client = edge.connect()
    client.reads = False
    client.send(raw("GET", "/api/records?stream=orders", {"Host": "h"}) * 40)
    edge.harness.advance(1000)
    assert client.outbox.size() < 2 * 1024 * 1024
    client.reads = True
    client.outbox.mark()
    edge.harness.advance(2000)
    assert client.read().count(b"HTTP/1.1 200 OK") == 40
    assert not client.closed


def test_who_reads_nothing_at_all_is_hung_up_on() -> None:
    edge = Edge()
    edge.json("POST", "/api/streams", {"name": "orders"})
    for _ in range(8):
        edge.ask("POST", "/api/publish?address=orders", b"x" * 200_000, headers={"Content-Type": "text/plain"})
    path = "/api/records?stream=orders"
    stuck = [edge.connect(), edge.connect()]
    for client, request in zip(stuck, (path, f"{path}&format=ndjson&follow=1"), strict=True):
        client.reads = False
        client.send(raw("GET", request, {"Host": "h"}) * 2)
    edge.harness.advance(50_000)
    assert [client.closed or client.session.closing for client in stuck] == [False, False]
    edge.harness.advance(20_000)
    assert [client.session.closing for client in stuck] == [True, True]
    assert edge.harness.counters["http_slow_consumers"] == 2
    for client in stuck:
        client.close()
    assert edge.view.open == 0


def test_an_offer_of_another_protocol_is_not_taken_up() -> None:
    client = Edge().connect()
    offer = {"Host": "h", "Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQ"}
    client.send(raw("GET", "/livez", offer) + raw("GET", "/livez", {"Host": "h"}))
    assert client.read().count(b"HTTP/1.1 200 OK") == 2


def test_head_is_get_without_a_body() -> None:
    edge = Edge()
    for path in ("/livez", "/", "/api/streams", "/api/events"):
        status, _, body = edge.ask("HEAD", path)
        assert (status, body) == (200, b""), path
    assert edge.view.open == 0


def test_a_name_that_nobody_configured_is_not_served() -> None:
    edge = Edge()
    for host in (
        "localhost",
        "localhost:9480",
        "127.0.0.1:9480",
        "[::1]:9480",
        "broker",
        "broker.example:1",
        "a.localhost",
    ):
        assert edge.ask("GET", "/api/streams", headers={"Host": host})[0] == 200, host
    for host in ("rebound.evil.example", "127.0.0.1.evil.example", "broker.example.evil", "", "[::1].evil.example"):
        assert edge.ask("GET", "/api/streams", headers={"Host": host})[0] == 421, host
        assert edge.ask("GET", "/livez", headers={"Host": host})[0] == 200, host
        assert edge.ask("GET", "/metrics", headers={"Host": host})[0] == 200, host


def test_a_page_of_another_site_changes_nothing() -> None:
    edge = Edge()
    for foreign in (
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    ):  # fmt: skip
        assert edge.ask("POST", "/api/publish?address=a", b"x", headers=foreign)[0] == 403, foreign
    ours = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert edge.ask("POST", "/api/publish", {"address": "a", "value": "x"}, headers=ours)[0] == 200


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def test_where_users_are_configured_only_health_is_for_everybody() -> None:
    edge = Edge(users=user("eve", "pw", read=["none"]))
    for path, methods in ROUTES.items():
        for method in methods:
            status, headers, _ = edge.ask(method, path)
            assert status == (200 if path in PUBLIC else 401), (method, path)
            assert ("www-authenticate" in headers) == (status == 401)


@pytest.mark.parametrize(
    "header",
    [
        "Basic ",
        "Basic !!!",
        "Basic \x80ZXZlOnB3",
        "Bearer abc",
        "Basic " + base64.b64encode(b"nocolon").decode(),
        "basic",
        "Basic ZXZlOndyb25n",
    ],
)
def test_credentials_that_are_none_are_refused(header: str) -> None:
    edge = Edge(users=user("eve", "pw"))
    assert edge.ask("GET", "/api/streams", headers={"Authorization": header})[0] in (400, 401)


def test_rights_are_asked_for_on_every_endpoint() -> None:
    edge = Edge(users=user("eve", "pw", read=["orders/#"], write=["orders/eu/#"], deny_read=["orders/secret"]))
    edge.harness.users, users = None, edge.harness.users
    for name in ("orders", "other"):
        edge.json("POST", "/api/streams", {"name": name})
    for address in ("orders/eu", "orders/secret", "other/a"):
        edge.json("POST", "/api/publish", {"address": address, "value": address})
    edge.harness.users = users
    eve = basic("eve", "pw")

    def status(method: str, path: str, body: object = b"") -> int:
        return edge.ask(method, path, body, headers=eve)[0]

    assert [one["name"] for one in edge.json("GET", "/api/streams?internal=1", headers=eve)[1]["streams"]] == ["orders"]
    records = edge.json("GET", "/api/records?stream=orders", headers=eve)[1]["records"]
    assert [one["address"] for one in records] == ["orders/eu"]
    assert [one["address"] for one in edge.records("/api/records?stream=orders&format=ndjson", headers=eve)] == [
        "orders/eu"
    ]
    assert status("GET", "/api/records?stream=other") == 403
    assert status("GET", "/api/records?stream=_thalweg/control") == 403
    assert status("GET", "/api/live?match=%23") == 403
    assert status("GET", "/metrics") == 403
    assert status("GET", "/api/connections") == 403
    assert status("POST", "/api/publish", {"address": "orders/us", "value": ""}) == 403
    assert status("POST", "/api/publish", {"address": "orders/eu/1", "value": ""}) == 200
    assert status("POST", "/api/streams", {"name": "orders/new"}) == 403
    assert status("DELETE", "/api/streams?name=orders") == 403
    assert edge.json("GET", "/api/groups", headers=eve) == (
        200,
        {"groups": [], "complete": True, "now_ms": pytest.approx(0, abs=2**62)},
    )


def test_a_live_tail_shows_what_its_user_may_read() -> None:
    edge = Edge(users=user("eve", "pw", read=["orders/#"], write=["#"], deny_read=["orders/secret"]))
    eve = basic("eve", "pw")
    tail = edge.follow("/api/live?match=orders/%23", eve)
    tail.read()
    for address in ("orders/secret", "orders/eu", "other"):
        assert edge.ask("POST", "/api/publish", {"address": address, "value": "x"}, headers=eve)[0] == 200
    assert tail.read().count(b"address") == 1


def test_a_stream_ends_when_its_users_rights_change() -> None:
    edge = Edge(users=user("eve", "pw", read=["#"]))
    tail = edge.follow("/api/live?match=orders/%23", basic("eve", "pw"))
    other = edge.follow("/livez")
    edge.harness.begin()
    users = user("eve", "pw", read=["elsewhere"])
    assert edge.harness.change_users(users, {b"eve"}, edge.harness.now_ns) == 1
    edge.harness.run()
    assert (tail.closed, other.closed, edge.view.open) == (True, False, 0)


def test_there_are_only_so_many_streams_open_and_they_are_given_back() -> None:
    edge = Edge()
    tails = [edge.follow("/api/live?match=%23") for _ in range(STREAMS_OPEN_MAX)]
    assert edge.ask("GET", "/api/events")[0] == 503
    for tail in tails:
        tail.close()
    assert edge.view.open == 0
    assert edge.follow("/api/events").read().startswith(b"HTTP/1.1 200 ")


def test_who_is_streamed_to_may_not_send_for_ever() -> None:
    edge = Edge()
    tail = edge.follow("/api/live?match=%23")
    for _ in range(20):
        if not tail.closed:
            tail.send(bytes(8192))
    assert tail.closed
    assert edge.view.open == 0


def test_a_stop_ends_what_goes_on_in_good_order() -> None:
    edge = Edge()
    tail = edge.follow("/api/live?match=%23")
    edge.harness.begin()
    tail.session.stop(edge.harness.now_ns)
    edge.harness.run()
    assert tail.read().endswith(b"0\r\n\r\n")
    assert tail.closed
    assert edge.view.open == 0
