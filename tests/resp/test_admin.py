"""CLIENT KILL, PAUSE and UNBLOCK, shard channels, DEBUG, and scripts."""

from __future__ import annotations

import pytest

from protocols.resp.wire import request
from tests.resp.oracle import Peer, keyspace_of, make_harness
from tests.resp.test_effects import records_of, replayed


def test_a_killed_client_that_waits_is_closed_at_once_and_an_idle_one_at_its_next_request() -> None:
    peer, waiting, idle = (Peer(harness := make_harness()), Peer(harness), Peer(harness))
    ids = [one.ask("CLIENT ID") for one in (waiting, idle)]
    waiting.raw(request(b"BLPOP", b"q", b"0"))
    assert peer.ask(f"CLIENT KILL ID {ids[0]}") == 1
    assert waiting.client.closed
    assert peer.ask(f"CLIENT KILL ID {ids[1]}", f"CLIENT KILL ID {ids[1]}")[0] == 1
    assert f"id={ids[1]} ".encode() not in peer.ask("CLIENT LIST")
    assert idle.raw(request(b"SET", b"a", b"1")) == b"" and idle.client.closed
    assert peer.ask("GET a", "DBSIZE") == [None, 0]
    assert peer.ask("CLIENT KILL ID 99999", "CLIENT KILL TYPE foo", "CLIENT KILL 1.2.3.4:5", "CLIENT KILL ID x") == [
        0, "-ERR Unknown client type 'foo'", "-ERR No such client", "-ERR client-id should be greater than 0",
    ]  # fmt: skip


def test_a_waiting_client_is_unblocked_as_if_its_time_were_over_or_with_an_error() -> None:
    peer, waiting = Peer(harness := make_harness()), Peer(harness)
    id = waiting.ask("CLIENT ID")
    assert peer.ask(f"CLIENT UNBLOCK {id}") == 0
    waiting.raw(request(b"BLPOP", b"q", b"0"))
    assert peer.ask(f"CLIENT UNBLOCK {id}") == 1
    assert waiting.read() == [None]
    waiting.raw(request(b"XREAD", b"BLOCK", b"0", b"STREAMS", b"s", b"$"))
    assert peer.ask(f"CLIENT UNBLOCK {id} ERROR") == 1
    assert waiting.read() == ["-UNBLOCKED client unblocked via CLIENT UNBLOCK"]
    assert waiting.ask("PING") == b"PONG"


def test_a_pause_holds_back_writes_or_everything_until_it_is_over() -> None:
    peer, writer = Peer(harness := make_harness()), Peer(harness)
    assert peer.ask("CLIENT PAUSE 100 WRITE") == b"OK"
    assert writer.raw(request(b"GET", b"a")) == b"$-1\r\n"
    assert writer.raw(request(b"SET", b"a", b"1") + request(b"GET", b"a")) == b""
    harness.advance(101)
    assert writer.read() == [b"OK", b"1"]
    assert writer.ask("GET a") == b"1"
    assert peer.ask("CLIENT PAUSE 100") == b"OK"
    assert writer.raw(request(b"GET", b"a")) == b""
    harness.advance(101)
    assert writer.read() == [b"1"]
    assert replayed(keyspace_of(harness)).dump() == keyspace_of(harness).dump()


def test_a_waiting_client_goes_on_waiting_when_its_key_becomes_another_kind() -> None:
    peer, waiting = Peer(harness := make_harness()), Peer(harness)
    waiting.raw(request(b"BLPOP", b"q", b"0"))
    peer.ask("SET q x", "DEL q")
    assert waiting.read() == []
    peer.ask("RPUSH q y")
    assert waiting.read() == [[b"q", b"y"]]


def test_a_reader_of_a_group_that_is_destroyed_is_told() -> None:
    peer, waiting = Peer(harness := make_harness()), Peer(harness)
    peer.ask("XGROUP CREATE s g $ MKSTREAM")
    waiting.raw(request(b"XREADGROUP", b"GROUP", b"g", b"c", b"BLOCK", b"0", b"STREAMS", b"s", b">"))
    peer.ask("XGROUP DESTROY s g")
    assert waiting.read() == ["-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option"]


def test_two_readers_of_a_group_share_what_comes() -> None:
    peer, first, second = Peer(harness := make_harness()), Peer(harness), Peer(harness)
    peer.ask("XGROUP CREATE s g $ MKSTREAM")
    for one, name in ((first, b"ann"), (second, b"bob")):
        one.raw(request(b"XREADGROUP", b"GROUP", b"g", name, b"COUNT", b"1", b"BLOCK", b"0", b"STREAMS", b"s", b">"))
    peer.ask("MULTI", "XADD s 1-0 f 1", "XADD s 2-0 f 2", "EXEC")
    assert first.read() == [[[b"s", [[b"1-0", [b"f", b"1"]]]]]]
    assert second.read() == [[[b"s", [[b"2-0", [b"f", b"2"]]]]]]
    assert peer.ask("XPENDING s g") == [2, b"1-0", b"2-0", [[b"ann", b"1"], [b"bob", b"1"]]]
    assert replayed(keyspace_of(harness)).dump() == keyspace_of(harness).dump()


def test_shard_channels_are_channels_of_their_own() -> None:
    peer, ear = Peer(harness := make_harness()), Peer(harness)
    assert ear.ask("SSUBSCRIBE c", "SUBSCRIBE c") == [[b"ssubscribe", b"c", 1], [b"subscribe", b"c", 1]]
    assert peer.ask("SPUBLISH c one", "PUBLISH c two") == [1, 1]
    assert ear.read() == [[b"smessage", b"c", b"one"], [b"message", b"c", b"two"]]
    assert peer.ask("PUBSUB SHARDCHANNELS", "PUBSUB SHARDNUMSUB c d") == [[b"c"], [b"c", 1, b"d", 0]]
    assert ear.ask("SUNSUBSCRIBE", "UNSUBSCRIBE") == [[b"sunsubscribe", b"c", 0], [b"unsubscribe", b"c", 0]]


def test_debug_reload_gives_the_same_state_and_sleep_holds_up_its_own_connection() -> None:
    peer, other = Peer(harness := make_harness()), Peer(harness)
    peer.ask(
        "XGROUP CREATE s g 0 MKSTREAM",
        "XADD s 1-1 f v",
        "XREADGROUP GROUP g c STREAMS s >",
        "SET a 1 EX 100",
        "PFADD h x",
    )
    before = keyspace_of(harness).dump()
    assert peer.ask("DEBUG RELOAD") == b"OK"
    assert keyspace_of(harness).dump() == before
    assert peer.raw(request(b"DEBUG", b"SLEEP", b"0.1")) == b""
    assert other.ask("PING") == b"PONG"
    harness.advance(101)
    assert peer.read() == [b"OK"]


REFUSED = [
    ("CLUSTER INFO", "ERR This instance has cluster support disabled"),
    ("READONLY", "ERR This instance has cluster support disabled"),
    ("CONFIG REWRITE", "ERR The server is running without a config file"),
    ("MONITOR", "ERR MONITOR is not supported by this server"),
    ("CLIENT TRACKING ON", "ERR CLIENT TRACKING is not supported by this server"),
    ("FCALL f 0", "ERR unknown command 'FCALL', with args beginning with: 'f' '0' "),
    ("RESTORE a 0 xyz", "ERR DUMP payload version or checksum are wrong"),
]


@pytest.mark.parametrize(("command", "text"), REFUSED)
def test_what_is_not_there_is_refused_with_an_error(command: str, text: str) -> None:
    assert Peer(make_harness()).ask(command) == f"-{text}"


# scripts


def test_a_script_runs_whole_and_its_effects_are_recorded_not_its_text() -> None:
    peer = Peer(harness := make_harness())
    script = (
        "redis.call('set', KEYS[1], ARGV[1]); redis.call('expire', KEYS[1], 100); return redis.call('incr', KEYS[1])"
    )
    assert peer.ask(("EVAL", script, "1", "n", "41")) == 42
    text = b"".join([record.value or b"" for record in records_of(keyspace_of(harness))])
    assert b"EVAL" not in text and b"PEXPIREAT" in text and b"$4\r\nincr" in text
    assert replayed(keyspace_of(harness)).dump() == keyspace_of(harness).dump()


def test_a_script_that_fails_keeps_what_it_did_and_says_where() -> None:
    peer = Peer(harness := make_harness())
    sha = "224c82c2a9ab2cd232d256e58dfc4ca5661b2afd"
    assert peer.ask(("EVAL", "redis.call('set','p',1) error('boom')", "0")) == (
        f"-ERR user_script:1: boom script: {sha}, on @user_script:1."
    )
    assert peer.ask("GET p") == b"1"
    assert replayed(keyspace_of(harness)).dump() == keyspace_of(harness).dump()


def test_a_script_is_known_by_its_hash_until_they_are_flushed() -> None:
    peer = Peer(make_harness())
    sha = peer.ask(("SCRIPT", "LOAD", "return {KEYS[1], ARGV[1], 3.9, true, false, {ok='fine'}}"))
    assert peer.ask(f"EVALSHA {sha.decode()} 1 k v") == [b"k", b"v", 3, 1, None, b"fine"]
    assert peer.ask(f"SCRIPT EXISTS {sha.decode()} {'0' * 40}") == [1, 0]
    assert peer.ask("SCRIPT FLUSH", f"EVALSHA {sha.decode()} 0") == [
        b"OK",
        "-NOSCRIPT No matching script. Please use EVAL.",
    ]


@pytest.mark.parametrize(
    "script",
    [
        "return python", "return require('os')", "return io", "return os.execute", "return loadstring(string.dump(function() end))",
        "return redis.call.__globals__", "return debug.sethook", "return getmetatable('').__index.python",
        "while true do end", "while true do pcall(function() while true do end end) end", "return ('x'):rep(1e10)",
        "x = 1", "return setmetatable({}, {__index = function() while true do end end})[1]", "local t = {} t[1] = t return t",
    ],
)  # fmt: skip
def test_a_script_reaches_nothing_of_the_process_and_cannot_hold_it_up(script: str) -> None:
    peer = Peer(make_harness())
    answer = peer.ask(("EVAL", script, "0"))
    assert answer is None or isinstance(answer, list) or answer.startswith("-ERR")
    assert peer.ask(("EVAL", "return 7", "0"), "PING") == [7, b"PONG"]


def test_a_script_blocks_nothing_selects_nothing_and_may_serve_who_waits() -> None:
    peer, waiting = Peer(harness := make_harness()), Peer(harness)
    waiting.raw(request(b"BLPOP", b"q", b"0"))
    assert peer.ask(("EVAL", "redis.call('rpush', 'q', 'a', 'b') return redis.call('llen', 'q')", "0")) == 2
    assert waiting.read() == [[b"q", b"a"]]
    for words in ("'blpop', 'none', 0", "'select', 1", "'multi'", "'subscribe', 'c'"):
        assert "not allowed from script" in peer.ask(("EVAL", f"return redis.call({words})", "0"))
