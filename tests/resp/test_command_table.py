"""The one table says what a real redis-server says of the same commands, and COMMAND tells it."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from protocols.resp.catalogue import CATALOGUE
from tests.resp.oracle import REDIS, Peer, RedisPeer, make_harness, redis_server

NEWER = {"zrank", "zrevrank", "client|setinfo", "client|no-touch"}
"""As Redis 7.2 has them; the server compared with is 7.0."""
FLAGS_NOT_SAID = {"movablekeys"}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisPeer]:
    if REDIS is None:
        pytest.skip("redis-server is not installed")
    with redis_server(pathlib.Path(tmp_path_factory.mktemp("redis"))) as port:
        peer = RedisPeer(port)
        yield peer
        peer.close()


def flat(commands: list[Any]) -> Iterator[list[Any]]:
    for command in commands:
        yield command
        yield from flat(command[9])


def plain(value: Any) -> Any:
    """Sets and lists of statuses in one order; the rest as it is."""
    if isinstance(value, list) and all(isinstance(item, bytes) for item in value):
        return sorted(value)
    return [plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.peer
def test_every_command_is_described_as_a_real_redis_describes_it(redis: RedisPeer) -> None:
    real = {command[0]: command for command in flat(redis.ask([[b"COMMAND"]])[0])}
    ours = {command[0]: command for command in flat(Peer(make_harness()).ask("COMMAND"))}
    compared = 0
    for name, command in ours.items():
        if name.decode() in NEWER:
            continue
        assert name in real, name
        want, have = real[name], command
        for at, part in enumerate(["name", "arity", "flags", "first", "last", "step", "categories", "tips", "keys"]):
            if part == "keys":
                said = [keys[2:] if keys[0] == b"notes" else keys for keys in want[at]]  # for people only
                assert [plain(keys) for keys in have[at]] == [plain(keys) for keys in said], (name, part)
            else:
                assert plain(have[at]) == plain(want[at]), (name, part)
        compared += 1
    assert compared > 190


REQUESTS = """
GET a|MGET a b c|MSET a 1 b 2|SET a 1|SET a 1 GET|BITOP AND d a b|BLPOP a b 0|LMPOP 2 a b LEFT|BLMPOP 0 2 a b LEFT|ZUNIONSTORE d 2 a b
ZINTER 2 a b|ZDIFF 1 a WITHSCORES|SINTERCARD 2 a b|XREAD COUNT 1 STREAMS a b 0 0|XREADGROUP GROUP g c STREAMS a b > >|SORT l BY w* STORE d
SORT l|GEORADIUS g 1 2 3 km STORE d|GEORADIUSBYMEMBER g m 3 km STOREDIST d|EVAL x|PING|FOO|GET|COPY a b|LCS a b|OBJECT ENCODING a|MEMORY USAGE a
XGROUP CREATE s g 0|RENAME a b|ZMPOP 1 a MIN|ZUNION 0|LMPOP x a LEFT|XINFO STREAM s|PFMERGE d a b|BITFIELD a GET u8 0|BITFIELD a SET u8 0 1
SUBSCRIBE a|SSUBSCRIBE a|DEL a b|WATCH a b|ZRANGESTORE d a 0 1|SMOVE a b m|SUNIONSTORE d a b|MSETNX a 1 b 2|CONFIG GET a|XADD s * f v
""".replace("\n", "|").strip("|").split("|")  # fmt: skip


@pytest.mark.peer
def test_keys_are_found_among_words_as_a_real_redis_finds_them(redis: RedisPeer) -> None:
    peer = Peer(make_harness())
    for text in REQUESTS:
        words = text.split()
        found = CATALOGUE.find([word.encode() for word in words])
        if isinstance(found, str) and words[0] not in ("FOO",):
            continue
        for sub in ("GETKEYS", "GETKEYSANDFLAGS"):
            want = redis.ask([[b"COMMAND", sub.encode(), *[word.encode() for word in words]]])[0]
            have = peer.ask(("COMMAND", sub, *words))
            assert plain(have) == plain(want), (sub, text)


@pytest.mark.peer
@pytest.mark.parametrize(
    "request_",
    [
        "COMMAND LIST FILTERBY ACLCAT scripting2", "COMMAND LIST FILTERBY FOO x", "COMMAND LIST FOO",
        "COMMAND LIST FILTERBY MODULE x", "COMMAND INFO nocommand", "COMMAND DOCS nocommand", "COMMAND LIST FILTERBY PATTERN zr*k",
        "COMMAND LIST FILTERBY ACLCAT hyperloglog", "COMMAND LIST FILTERBY ACLCAT string", "COMMAND LIST FILTERBY ACLCAT transaction",
    ],
)  # fmt: skip
def test_lists_of_commands_are_those_of_a_real_redis(redis: RedisPeer, request_: str) -> None:
    want = redis.ask([[word.encode() for word in request_.split()]])[0]
    have = Peer(make_harness()).ask(request_)
    if isinstance(want, list):
        skipped = {b"pfdebug", b"pfselftest"}
        want = sorted(name for name in want if name not in skipped) if want and want[0] is not None else want
        have = sorted(have) if have and have[0] is not None else have
    assert have == want


def test_docs_say_what_a_command_is_for() -> None:
    found = Peer(make_harness()).ask("COMMAND DOCS get")
    assert found[0] == b"get" and b"summary" in found[1] and b"since" in found[1] and b"group" in found[1]


def test_a_parent_lists_its_subcommands() -> None:
    lines = Peer(make_harness()).ask("CONFIG HELP")
    assert lines[0] == b"CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    assert {b"GET", b"SET", b"HELP"} <= set(lines)
