"""Scripts on one connection: order, states, MULTI, subscriptions, authentication, limits, blocking."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.harness import Harness, user, users
from protocols.resp.keyspace import Keyspace
from protocols.resp.session import Settings
from protocols.resp.wire import request
from substrate.api import ErrorCode
from substrate.memory import MemoryEngine
from tests.resp.oracle import Peer, decode, keyspace_of, make_harness
from tests.resp.test_effects import records_of


@pytest.fixture(params=[False, True], ids=["at once", "delayed"])
def harness(request: pytest.FixtureRequest) -> Harness:
    """A session must work when every call is answered later, too."""
    return make_harness(7, delayed=request.param)


def test_answers_leave_in_the_order_of_the_requests(harness: Harness) -> None:
    peer = Peer(harness)
    got = peer.ask("SET a 1", "SELECT 1", "SET a 2", "PING", "SELECT 0", "INCR a", "FOO", "ECHO x", "GET a")
    assert got == [
        b"OK",
        b"OK",
        b"OK",
        b"PONG",
        b"OK",
        2,
        "-ERR unknown command 'FOO', with args beginning with: ",
        b"x",
        b"2",
    ]


def test_any_cut_of_a_conversation_gives_the_same_replies(harness: Harness) -> None:
    data = b"".join(
        request(*words.encode().split())
        for words in (
            "SET a 1",
            "MULTI",
            "INCR a",
            "GET a",
            "EXEC",
            "SUBSCRIBE c",
            "PING",
            "UNSUBSCRIBE",
            "BLPOP l 1",
            "PING",
        )
    )
    whole = Peer(harness).raw(data)
    harness.advance(1500)
    small = Peer(harness)
    got = b"".join([small.raw(data[at : at + 1]) for at in range(len(data))])
    assert got.replace(b":3\r\n", b":2\r\n").replace(b"$1\r\n3", b"$1\r\n2") != b""
    assert len(decode(got)) == len(decode(whole))


def test_inline_requests_are_answered_like_arrays(harness: Harness) -> None:
    peer = Peer(harness)
    assert peer.raw(b'SET a "hello world"\r\nGET a\n\r\n  \r\nPING\r\n') == b"+OK\r\n$11\r\nhello world\r\n+PONG\r\n"


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("foo a b", "-ERR unknown command 'foo', with args beginning with: 'a' 'b' "),
        ("GET", "-ERR wrong number of arguments for 'get' command"),
        ("CONFIG GET", "-ERR wrong number of arguments for 'config|get' command"),
        ("CONFIG", "-ERR wrong number of arguments for 'config' command"),
        ("CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP."),
        ("LPUSH text x", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("INCR text", "-ERR value is not an integer or out of range"),
        ("SET a 1 EX 0", "-ERR invalid expire time in 'set' command"),
        ("SET a 1 EX", "-ERR syntax error"),
        ("SELECT 99", "-ERR DB index is out of range"),
        ("EXEC", "-ERR EXEC without MULTI"),
        ("DISCARD", "-ERR DISCARD without MULTI"),
        ("HELLO 4", "-NOPROTO unsupported protocol version"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range"),
        ("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'"),
        ("RENAME nokey b", "-ERR no such key"),
        ("DEBUG FOO 1", "-ERR DEBUG FOO is not supported by this server"),
        ("SHUTDOWN", "-ERR SHUTDOWN is not supported by this server"),
        ("AUTH x", ("-ERR AUTH <password> called without any password configured for the default user. "
                   "Are you sure your configuration is correct?")),
        ("CONFIG SET foo 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'"),
        ("CONFIG SET maxmemory 1", "-ERR CONFIG SET failed (possibly related to argument 'maxmemory') - can't set immutable config"),
        ("_BIND a b c", "-ERR unknown command '_BIND', with args beginning with: 'a' 'b' 'c' "),
        ("_SUBSCRIBED channel + x", "-ERR unknown command '_SUBSCRIBED', with args beginning with: 'channel' '+' 'x' "),
    ],
)  # fmt: skip
def test_errors_are_in_the_words_of_redis(command: str, text: str) -> None:
    peer = Peer(make_harness())
    peer.ask("SET text abc")
    assert peer.ask(command) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"*1\r\n!3\r\n", b"-ERR Protocol error: expected '$', got '!'\r\n"),
        (b"*9999999999\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n$999999999999\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b'GET "a\r\n', b"-ERR Protocol error: unbalanced quotes in request\r\n"),
    ],
)
def test_a_broken_frame_is_answered_behind_what_was_whole_and_closes(data: bytes, text: bytes) -> None:
    peer = Peer(make_harness())
    assert peer.raw(request(b"SET", b"a", b"1") + data + request(b"PING")) == b"+OK\r\n" + text
    assert peer.client.closed


def test_a_peer_that_does_not_read_is_executed_no_further_than_it_reads() -> None:
    harness = make_harness()
    peer = Peer(harness)
    peer.ask(("SET", "big", b"x" * 300_000))
    peer.client.reads = False
    commands = b"".join([request(b"GET", b"big") + request(b"INCR", b"n") for _ in range(200)])
    peer.client.send(commands + request(b"SELECT", b"1") + request(b"GET", b"n") + b"*2\r\n$4\r\nEC")
    assert peer.client.outbox.size() < 3_000_000
    assert int(Peer(harness).ask("GET n")) < 20
    peer.client.reads = True
    got = []
    for _ in range(200):
        peer.client.send(b"")
        got += peer.read()
    got += decode(peer.raw(b"HO\r\n$1\r\nx\r\n"))
    assert got[1:400:2] == list(range(1, 201))
    assert got[400:] == [b"OK", None, b"x"]


def test_quit_answers_and_closes(harness: Harness) -> None:
    peer = Peer(harness)
    assert peer.ask("SET a 1", "QUIT", "SET a 2") == [b"OK", b"OK"]
    assert peer.client.closed
    assert Peer(harness).ask("GET a") == b"1"


# MULTI


def test_a_transaction_happens_at_once_and_in_order(harness: Harness) -> None:
    peer = Peer(harness)
    assert peer.ask("MULTI", "SET a 1", "INCR a", "LPUSH a x", "EXEC") == [
        b"OK", b"QUEUED", b"QUEUED", b"QUEUED", [b"OK", 2, "-WRONGTYPE Operation against a key holding the wrong kind of value"],
    ]  # fmt: skip


def test_a_wrong_command_spoils_the_transaction(harness: Harness) -> None:
    peer = Peer(harness)
    assert (
        peer.ask("MULTI", "SET a 1", "FOO", "GET", "EXEC")[-1]
        == "-EXECABORT Transaction discarded because of previous errors."
    )
    assert peer.ask("EXISTS a") == 0


def test_discard_forgets_the_queue_and_the_watches(harness: Harness) -> None:
    peer, other = Peer(harness), Peer(harness)
    peer.ask("WATCH a")
    assert peer.ask("MULTI", "SET a 1", "DISCARD") == [b"OK", b"QUEUED", b"OK"]
    other.ask("SET a 5")
    assert peer.ask("MULTI", "GET a", "EXEC")[-1] == [b"5"]


@pytest.mark.parametrize(
    "change", ["SET a 2", "DEL a", "INCR a", "FLUSHALL", "FLUSHDB", "SWAPDB 0 1", "EXPIRE a 100", "RENAME b a"]
)
def test_a_watched_key_that_changes_stops_the_transaction(harness: Harness, change: str) -> None:
    peer, other = Peer(harness), Peer(harness)
    other.ask("SET a 1", "SET b 1")
    assert peer.ask("WATCH a") == b"OK"
    other.ask(change)
    assert peer.ask("MULTI", "SET c 1", "EXEC")[-1] is None
    assert peer.ask("EXISTS c") == 0
    assert peer.ask("MULTI", "SET c 1", "EXEC")[-1] == [b"OK"]


def test_a_watched_key_that_expires_stops_the_transaction(harness: Harness) -> None:
    peer = Peer(harness)
    peer.ask("SET a 1 PX 100", "WATCH a")
    harness.advance(200)
    assert peer.ask("MULTI", "PING", "EXEC")[-1] is None


def test_select_inside_a_transaction_moves_the_connection_if_it_happens(harness: Harness) -> None:
    peer, other = Peer(harness), Peer(harness)
    assert peer.ask("MULTI", "SELECT 2", "SET a in2", "EXEC")[-1] == [b"OK", b"OK"]
    assert peer.ask("GET a") == b"in2"
    peer.ask("SELECT 0", "WATCH w")
    other.ask("SET w 1")
    assert peer.ask("MULTI", "SELECT 2", "EXEC", "GET a") == [b"OK", b"QUEUED", None, None]


def test_a_transaction_of_many_commands_is_one_run(harness: Harness) -> None:
    peer = Peer(harness)
    got = peer.ask("MULTI", *["INCR a"] * 1000, "EXEC")
    assert got[-1] == list(range(1, 1001))


def test_the_queue_is_bounded() -> None:
    peer = Peer(make_harness(settings=Settings(queue_bytes_max=1000)))
    got = peer.ask("MULTI", *["SET a " + "x" * 100] * 20, "EXEC")
    assert "-ERR the transaction is larger than 1000 bytes" in got
    assert got[-1].startswith("-EXECABORT")


# pub/sub


def test_subscribers_get_what_is_published(harness: Harness) -> None:
    one, two, three = Peer(harness), Peer(harness), Peer(harness)
    assert one.ask("SUBSCRIBE orders:eu b") == [[b"subscribe", b"orders:eu", 1], [b"subscribe", b"b", 2]]
    assert two.ask("PSUBSCRIBE orders:*") == [b"psubscribe", b"orders:*", 1]
    assert three.ask("PUBLISH orders:eu hello") == 2
    assert one.read() == [[b"message", b"orders:eu", b"hello"]]
    assert two.read() == [[b"pmessage", b"orders:*", b"orders:eu", b"hello"]]
    assert three.ask("PUBSUB CHANNELS") == [b"orders:eu", b"b"]
    assert three.ask("PUBSUB NUMSUB b x") == [b"b", 1, b"x", 0]
    assert three.ask("PUBSUB NUMPAT") == 1
    assert one.ask("UNSUBSCRIBE") == [[b"unsubscribe", b"orders:eu", 1], [b"unsubscribe", b"b", 0]]
    two.client.close()
    assert three.ask("PUBLISH orders:eu hello") == 0
    assert three.ask("PUBSUB NUMPAT") == 0


def test_a_resp2_subscriber_may_only_do_what_subscribers_may(harness: Harness) -> None:
    peer = Peer(harness)
    peer.ask("SUBSCRIBE a")
    assert peer.ask("GET a") == (
        "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    )
    assert peer.ask("PING") == [b"pong", b""]
    assert peer.ask("PING x") == [b"pong", b"x"]
    assert peer.ask("UNSUBSCRIBE a", "PING") == [[b"unsubscribe", b"a", 0], b"PONG"]


def test_unsubscribing_from_nothing_is_confirmed(harness: Harness) -> None:
    assert Peer(harness).ask("UNSUBSCRIBE", "PUNSUBSCRIBE", "UNSUBSCRIBE x") == [
        [b"unsubscribe", None, 0], [b"punsubscribe", None, 0], [b"unsubscribe", b"x", 0],
    ]  # fmt: skip


def test_a_resp3_subscriber_goes_on_asking_and_gets_pushes(harness: Harness) -> None:
    peer = Peer(harness)
    peer.ask("HELLO 3")
    assert peer.raw(request(b"SUBSCRIBE", b"a")) == b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
    assert peer.ask("SET x 1") == b"OK"
    assert Peer(harness).ask("PUBLISH a m") == 1
    assert peer.client.read() == b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n"


def test_a_message_never_passes_the_confirmation_of_its_subscription(harness: Harness) -> None:
    peer = Peer(harness)
    peer.ask("HELLO 3")
    got = peer.ask("SUBSCRIBE a", "PUBLISH a m", "PING")
    assert next(item[0] for item in got if isinstance(item, list)) == b"subscribe"
    assert got[-1] == b"PONG" or b"PONG" in got


def test_a_subscriber_that_reads_nothing_loses_its_connection_alone() -> None:
    harness = make_harness(settings=Settings(pending_bytes_max=100_000))
    slow, fast, publisher = Peer(harness), Peer(harness), Peer(harness)
    slow.ask("SUBSCRIBE a")
    fast.ask("SUBSCRIBE a")
    slow.client.reads = False
    for _ in range(50):
        publisher.ask("PUBLISH a " + "x" * 10_000)
        fast.read()
        assert slow.client.outbox.size() < 150_000
    assert slow.client.outbox.overflowed


# blocking


@pytest.mark.parametrize(
    ("wait", "give", "reply", "nothing"),
    [
        ("BLPOP l m 1", "RPUSH m x y", [b"m", b"x"], None),
        ("BRPOP l m 1", "RPUSH m x y", [b"m", b"y"], None),
        ("BLMOVE l d LEFT RIGHT 1", "RPUSH l x", b"x", None),
        ("BRPOPLPUSH l d 1", "RPUSH l x", b"x", None),
        ("BLMPOP 1 2 k l LEFT COUNT 2", "RPUSH l x y z", [b"l", [b"x", b"y"]], None),
        ("BZPOPMIN z 1", "ZADD z 2 b 1 a", [b"z", b"a", b"1"], None),
        ("BZPOPMAX z 1", "ZADD z 2 b 1 a", [b"z", b"b", b"2"], None),
        ("BZMPOP 1 1 z MIN", "ZADD z 2 b 1 a", [b"z", [[b"a", b"1"]]], None),
        ("XREAD BLOCK 1000 STREAMS s $", "XADD s 5-1 f v", [[b"s", [[b"5-1", [b"f", b"v"]]]]], None),
    ],
)
def test_a_blocking_command_waits_is_served_or_times_out(
    harness: Harness, wait: str, give: str, reply: Any, nothing: Any
) -> None:
    peer, other = Peer(harness), Peer(harness)
    assert peer.ask(wait, "PING") == []
    assert peer.client.session.waiting
    other.ask(give)
    harness.advance(5)
    assert peer.read() == [reply, b"PONG"]
    other.ask("DEL l m z")
    assert peer.ask(wait.replace("$", "9-9")) == []
    harness.advance(1100)
    assert peer.read() == [nothing]
    assert peer.ask("PING") == b"PONG"


def test_who_waits_longest_is_served_first_and_one_that_left_is_not() -> None:
    harness = make_harness()
    first, gone, second, giver = Peer(harness), Peer(harness), Peer(harness), Peer(harness)
    for peer in (first, gone, second):
        peer.ask("BLPOP l 0")
    gone.client.close()
    giver.ask("RPUSH l 1 2 3")
    assert (first.read(), second.read()) == ([[b"l", b"1"]], [[b"l", b"2"]])
    assert giver.ask("LRANGE l 0 -1") == [b"3"]


def test_a_transaction_that_pushes_serves_when_it_is_done() -> None:
    harness = make_harness()
    waiter, giver = Peer(harness), Peer(harness)
    waiter.ask("BLPOP l 0")
    assert giver.ask("MULTI", "LPUSH l a", "LPUSH l b", "LLEN l", "EXEC")[-1] == [1, 2, 2]
    assert waiter.read() == [[b"l", b"b"]]


def test_blocking_commands_in_a_transaction_do_not_block() -> None:
    assert Peer(make_harness()).ask("MULTI", "BLPOP l 0", "XREAD BLOCK 0 STREAMS s $", "EXEC")[-1] == [None, None]


# HELLO, AUTH, CLIENT


def test_hello_3_gives_maps_and_nulls_of_its_own(harness: Harness) -> None:
    peer = Peer(harness)
    got = peer.ask("HELLO 3 SETNAME me")
    assert (got[b"server"], got[b"version"], got[b"proto"], got[b"mode"], got[b"role"]) == (
        b"redis",
        b"7.2.4",
        3,
        b"standalone",
        b"master",
    )
    assert peer.ask("CLIENT GETNAME") == b"me"
    assert peer.raw(request(b"GET", b"nokey")) == b"_\r\n"
    peer.ask("HSET h a 1", "ZADD z 1.5 m", "SADD s x")
    assert peer.raw(request(b"HGETALL", b"h")) == b"%1\r\n$1\r\na\r\n$1\r\n1\r\n"
    assert peer.raw(request(b"ZSCORE", b"z", b"m")) == b",1.5\r\n"
    assert peer.raw(request(b"SMEMBERS", b"s")) == b"~1\r\n$1\r\nx\r\n"
    assert peer.raw(request(b"RESET")) == b"+RESET\r\n"
    assert peer.raw(request(b"GET", b"nokey")) == b"$-1\r\n"


@pytest.fixture
def guarded() -> Harness:
    harness = make_harness()
    harness.users = users(user("default", "secret"), user("eve", "x", account="other"))
    return harness


def test_a_stranger_may_only_say_who_it_is(guarded: Harness) -> None:
    peer = Peer(guarded)
    assert peer.ask("PING", "GET a", "FOO") == [
        "-NOAUTH Authentication required.", "-NOAUTH Authentication required.",
        "-ERR unknown command 'FOO', with args beginning with: ",
    ]  # fmt: skip
    assert peer.ask("HELLO 3").startswith("-NOAUTH HELLO must be called with the client already authenticated")
    assert peer.ask("AUTH wrong") == "-WRONGPASS invalid username-password pair or user is disabled."
    assert peer.ask("AUTH secret", "PING") == [b"OK", b"PONG"]
    assert peer.ask("RESET", "PING")[1] == "-NOAUTH Authentication required."
    assert Peer(guarded).ask("HELLO 3 AUTH default secret")[b"proto"] == 3


def test_a_stranger_costs_no_memory(guarded: Harness) -> None:
    peer = Peer(guarded)
    assert peer.raw(b"*2\r\n$3\r\nGET\r\n$536870912\r\n") == b"-ERR Protocol error: unauthenticated bulk length\r\n"
    assert peer.client.closed


def test_accounts_do_not_see_one_another(guarded: Harness) -> None:
    one, two = Peer(guarded), Peer(guarded)
    one.ask("AUTH secret", "SET a 1", "SUBSCRIBE c")
    two.ask("AUTH eve x")
    assert two.ask("GET a", "SET a 2", "DBSIZE", "PUBLISH c x") == [None, b"OK", 1, 0]
    assert one.read() == []
    copy = Keyspace(Settings())
    copy.load(keyspace_of(guarded).dump())
    assert copy.dump() == keyspace_of(guarded).dump()


def test_client_commands_know_the_connection(harness: Harness) -> None:
    peer = Peer(harness)
    assert (
        peer.ask("CLIENT SETNAME me", "CLIENT SETINFO LIB-NAME redis-py", "CLIENT SETINFO lib-ver 1.0") == [b"OK"] * 3
    )
    assert peer.ask("CLIENT ID") == 1
    line = peer.ask("CLIENT INFO").decode()
    assert "id=1 addr=127.0.0.1:40000 " in line and "name=me" in line and "lib-name=redis-py lib-ver=1.0" in line
    assert peer.ask("CLIENT SETNAME", "CLIENT SETINFO foo bar") == [
        "-ERR wrong number of arguments for 'client|setname' command", "-ERR Unrecognized option 'foo'",
    ]  # fmt: skip
    Peer(harness).ask("PING")
    assert len(peer.ask("CLIENT LIST").splitlines()) == 2


def test_client_reply_keeps_quiet_as_long_as_asked(harness: Harness) -> None:
    peer = Peer(harness)
    assert peer.ask("CLIENT REPLY OFF", "SET a 1", "PING") == []
    assert peer.ask("CLIENT REPLY ON", "GET a") == [b"OK", b"1"]
    assert peer.ask("CLIENT REPLY SKIP", "SET a 2", "GET a") == [b"2"]


# appendfsync


def test_appendfsync_always_makes_replies_wait_and_can_be_changed_live() -> None:
    harness = make_harness()
    peer = Peer(harness)
    assert peer.ask("CONFIG GET appendfsync") == [b"appendfsync", b"everysec"]
    assert peer.ask("CONFIG SET appendfsync always", "SET a 1", "GET a") == [b"OK", b"OK", b"1"]
    assert keyspace_of(harness).always
    assert peer.ask("CONFIG SET appendfsync sometimes").startswith(
        "-ERR CONFIG SET failed (possibly related to argument 'appendfsync')"
    )
    assert peer.ask("CONFIG SET appendfsync no", "CONFIG GET appendfsync") == [b"OK", [b"appendfsync", b"no"]]


def test_under_always_replies_and_reads_wait_until_what_they_depend_on_is_durable() -> None:
    engine = MemoryEngine(delayed=True)
    harness = make_harness(settings=Settings(appendfsync="always"), engine=engine)
    engine.flush()
    harness.run()
    writer, reader = Peer(harness), Peer(harness)
    assert reader.ask("GET a") is None
    assert writer.ask("SET a 1", "PING") == []
    assert reader.ask("GET a") == []
    engine.flush()
    harness.run()
    assert writer.read() == [b"OK", b"PONG"]
    assert reader.read() == [b"1"]
    assert reader.ask("GET a") == b"1"
    assert writer.ask("CONFIG SET appendfsync everysec", "SET a 2", "GET a")[-2:] == [b"OK", b"2"]


def test_what_config_set_changed_outlives_the_process_while_the_configuration_is_the_same() -> None:
    harness = make_harness()
    Peer(harness).ask("CONFIG SET appendfsync always", "SET a 1")
    live = keyspace_of(harness)
    for copy in (Keyspace(Settings()), Keyspace(Settings(appendfsync="no"))):
        copy.load(live.dump())
        assert copy.always == (copy.settings.appendfsync == "everysec")
        again = Keyspace(copy.settings)
        for record in records_of(live):
            again.apply(record)
        assert again.always == copy.always


def test_every_error_code_has_an_error_reply() -> None:
    from protocols.resp.errors import STREAM_ERRORS

    assert set(STREAM_ERRORS) == set(ErrorCode)
    assert all(text.split()[0].isupper() and "\n" not in text for text in STREAM_ERRORS.values())
