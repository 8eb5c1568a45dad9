"""Users and their rights: who comes in, what may be published, heard and asked of JetStream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conformance.harness import Client, Harness, user, users
from tests.nats.scripts import OPTIONS, Asker, publish, say, world

DENIED = b"-ERR 'Permissions Violation for %b to \"%b\"'\r\n"


def enter(harness: Harness, name: str | None = None, **options: object) -> Client:
    """Connected as this user; the password is the name."""
    peer = harness.connect("nats")
    peer.read()
    told = {**OPTIONS, **({"user": name, "pass": name} if name else {}), **options}
    peer.send(b"CONNECT " + json.dumps(told).encode() + b"\r\nPING\r\n")
    return peer


@pytest.fixture
def gateway() -> Harness:
    found = world()
    found.users = users(
        user("all", "all"),
        user("some", "some", read=["orders/#", "_INBOX/#"], write=["orders/#", "_INBOX/#"], deny_write=["orders/secret"],
             deny_read=["orders/private/#"]),
        user("jet", "jet", read=["S", "s/#", "_INBOX/#"], manage=["S"], write=["s/#"]),
        user("reader", "reader", read=["S", "_INBOX/#"], write=["s/#"]),
        user("token", "secret", read=["a"]),
    )  # fmt: skip
    return found


@pytest.mark.parametrize(
    "options",
    [{}, {"user": "some", "pass": "wrong"}, {"user": "nobody", "pass": "x"}, {"auth_token": "wrong"},
     {"user": "some", "pass": "some", "nkey": "UX", "sig": "x"}, {"user": "some", "pass": "some", "jwt": "x"}],
    ids=str,
)  # fmt: skip
def test_who_is_not_known_is_not_let_in(gateway: Harness, options: dict[str, object]) -> None:
    peer = enter(gateway, **options)
    assert peer.read() == b"-ERR 'Authorization Violation'\r\n" and peer.closed


def test_a_token_is_a_user(gateway: Harness) -> None:
    peer = enter(gateway, auth_token="secret")
    assert b"PONG\r\n" in peer.read()
    assert say(peer, b"SUB a 1\r\nPING\r\n") == b"PONG\r\n"
    assert say(peer, b"SUB b 2\r\nPING\r\n") == DENIED % (b"Subscription", b"b") + b"PONG\r\n"


def test_what_is_not_allowed_is_neither_published_nor_subscribed(gateway: Harness) -> None:
    everybody, some = enter(gateway, "all"), enter(gateway, "some")
    say(everybody, b"SUB > 1\r\n")
    some.read()
    assert say(some, b"PUB orders.a 1\r\nx\r\nPING\r\n") == b"PONG\r\n"
    assert say(some, b"PUB orders.secret 1\r\nx\r\n") == DENIED % (b"Publish", b"orders.secret")
    assert say(some, b"PUB other 1\r\nx\r\n") == DENIED % (b"Publish", b"other")
    assert everybody.read().count(b"MSG ") == 1
    assert say(some, b"SUB other 1\r\n") == DENIED % (b"Subscription", b"other")
    assert say(some, b"SUB > 1\r\n") == DENIED % (b"Subscription", b">")
    queued = b'-ERR \'Permissions Violation for Subscription to "other" using queue "q"\'\r\n'
    assert say(some, b"SUB other q 1\r\n") == queued
    assert say(some, b"SUB orders.private.a 2\r\n") == DENIED % (b"Subscription", b"orders.private.a")


def test_what_is_denied_is_left_out_of_a_wider_subscription(gateway: Harness) -> None:
    everybody, some = enter(gateway, "all"), enter(gateway, "some")
    everybody.read()
    some.read()
    say(some, b"SUB orders.> 1\r\nSUB orders.> q 2\r\n")
    for subject in (b"orders.private.a", b"orders.private.b", b"orders.b", b"orders.private.a"):
        say(everybody, b"PUB %b 1\r\nx\r\n" % subject)
    heard = some.read()
    assert heard.count(b"MSG orders.b ") == 2 and b"private" not in heard


def test_denied_records_of_others_are_left_out_too(gateway: Harness) -> None:
    """A stream captures them: they come by the port, not by this protocol's kernel."""
    everybody, some = Asker.__new__(Asker), enter(gateway, "some")
    everybody.harness, everybody.client, everybody.count = gateway, enter(gateway, "all"), 0
    everybody.client.read()
    say(everybody.client, b"SUB _INBOX.x.* 1\r\nSUB in 2\r\n")
    some.read()
    everybody.api("STREAM.CREATE.O", {"name": "O", "subjects": ["orders.>"]})
    say(some, b"SUB orders.> 1\r\n")
    everybody.stored("orders.private.a")
    everybody.stored("orders.a")
    heard = some.read()
    assert b"MSG orders.a " in heard and b"private" not in heard


def asker(gateway: Harness, name: str) -> Asker:
    found = Asker.__new__(Asker)
    found.harness, found.client, found.count = gateway, enter(gateway, name), 0
    found.client.read()
    say(found.client, b"SUB _INBOX.x.* 1\r\n")
    return found


def tell(peer: Asker, subject: str, payload: bytes = b"", reply: str = "_INBOX.x.1") -> bytes:
    """What this peer alone is told: all have the same inbox."""
    peer.client.read()
    return publish(peer.client, subject, payload, reply)


def asked(peer: Asker, subject: str, body: object = None) -> dict[str, Any]:
    peer.client.read()
    return peer.api(subject, body)


def test_a_stream_is_managed_and_read_by_right(gateway: Harness) -> None:
    jet, reader, some = (asker(gateway, name) for name in ("jet", "reader", "some"))
    create = json.dumps({"name": "S", "subjects": ["s.>"], "allow_direct": True}).encode()
    for peer in (reader, some):
        told = tell(peer, "$JS.API.STREAM.CREATE.S", create, "_INBOX.x.1")
        assert told == DENIED % (b"Publish", b"$JS.API.STREAM.CREATE.S")
    assert asked(jet, "STREAM.CREATE.S", json.loads(create))["did_create"]
    foreign = json.dumps({"name": "S", "subjects": ["s.>", "orders.>"]}).encode()
    assert b"Permissions Violation" in tell(jet, "$JS.API.STREAM.UPDATE.S", foreign, "_INBOX.x.1")
    for subject in ("STREAM.DELETE.S", "STREAM.PURGE.S", "STREAM.MSG.DELETE.S"):
        told = tell(reader, f"$JS.API.{subject}", b"", "_INBOX.x.1")
        assert told == DENIED % (b"Publish", f"$JS.API.{subject}".encode())
    assert tell(reader, "s.a", b"x", "_INBOX.x.9").startswith(b"MSG _INBOX.x.9 ")
    assert asked(reader, "STREAM.INFO.S")["state"]["messages"] == 1
    consumer = {"stream_name": "S", "config": {"durable_name": "C", "ack_policy": "explicit"}}
    assert asked(reader, "CONSUMER.CREATE.S.C", consumer)["name"] == "C"
    delivered = tell(reader, "$JS.API.CONSUMER.MSG.NEXT.S.C", b"", "_INBOX.x.2")
    assert b"$JS.ACK.S.C." in delivered
    ack = delivered.split(b" ")[3].decode()
    assert tell(some, ack, b"+ACK") == DENIED % (b"Publish", ack.encode())
    assert asked(reader, "CONSUMER.INFO.S.C")["num_ack_pending"] == 1
    assert tell(reader, ack, b"+ACK", "") == b""
    assert asked(reader, "CONSUMER.INFO.S.C")["num_ack_pending"] == 0
    for subject in ("STREAM.INFO.S", "CONSUMER.INFO.S.C", "DIRECT.GET.S.s.a", "STREAM.MSG.GET.S", "CONSUMER.NAMES.S"):
        assert b"Permissions Violation" in tell(some, f"$JS.API.{subject}", b"", "_INBOX.x.1")
    assert asked(some, "STREAM.NAMES")["streams"] is None and asked(some, "STREAM.LIST")["total"] == 0
    assert asked(reader, "STREAM.NAMES")["streams"] == ["S"]
    assert "memory" in asked(some, "INFO")
