"""Who may do what: the password of the default user, users with rules on addresses, and Redis' texts for what is refused."""

from __future__ import annotations

import pytest

from conformance.harness import Harness, user, users
from protocols.resp.session import Settings
from protocols.resp.wire import request
from tests.resp.oracle import Peer, make_harness

NO_KEY = "-NOPERM this user has no permissions to access one of the keys used as arguments"
NO_CHANNEL = "-NOPERM this user has no permissions to access one of the channels used as arguments"


def no_command(name: str) -> str:
    return f"-NOPERM this user has no permissions to run the '{name}' command"


@pytest.fixture(params=[False, True], ids=["at once", "delayed"])
def harness(request: pytest.FixtureRequest) -> Harness:
    made = make_harness(3, delayed=request.param)
    made.users = users(
        user(
            "clerk",
            "pw",
            read=["orders/#", "shared"],
            write=["orders/#"],
            deny_write=["orders/closed"],
            deny_read=["orders/secret/#"],
        ),
        user("boss", "pw", read=["#", "_thalweg/#"], write=["#"], manage=["#", "_thalweg", "_thalweg/#"]),
        user("default", "secret"),
    )
    return made


def clerk(harness: Harness) -> Peer:
    peer = Peer(harness)
    assert peer.ask("AUTH clerk pw") == b"OK"
    return peer


def test_requirepass_asks_the_default_user_for_its_password() -> None:
    peer = Peer(make_harness(settings=Settings(requirepass="s3cret")))
    assert peer.ask("GET a") == "-NOAUTH Authentication required."
    assert peer.ask("AUTH wrong") == "-WRONGPASS invalid username-password pair or user is disabled."
    assert peer.ask("AUTH somebody s3cret") == "-WRONGPASS invalid username-password pair or user is disabled."
    assert peer.ask("AUTH s3cret", "SET a 1", "ACL WHOAMI") == [b"OK", b"OK", b"default"]
    assert peer.ask("RESET", "GET a") == [b"RESET", "-NOAUTH Authentication required."]
    assert peer.ask("HELLO 3 AUTH default s3cret")[b"proto"] == 3
    assert peer.ask("CONFIG GET requirepass") == {b"requirepass": b"s3cret"}


def test_without_users_and_password_everybody_is_the_default_user() -> None:
    peer = Peer(make_harness())
    assert peer.ask("ACL WHOAMI") == b"default"
    assert peer.ask("AUTH default anything") == b"OK"
    assert peer.ask("AUTH other x") == "-WRONGPASS invalid username-password pair or user is disabled."
    assert peer.ask("ACL LIST") == [b"user default on nopass sanitize-payload ~* &* +@all"]
    assert b"nopass" in peer.ask("ACL GETUSER default")[1]


def test_keys_are_addresses_and_their_rules_hold_in_every_database(harness: Harness) -> None:
    peer = clerk(harness)
    assert peer.ask("ACL WHOAMI") == b"clerk"
    assert peer.ask("SET orders:1 x", "GET orders:1", "GET shared") == [b"OK", b"x", None]
    assert peer.ask("SET shared x", "GET other", "SET orders:closed x", "GET orders:secret:1") == [NO_KEY] * 4
    assert peer.ask("SELECT 5", "SET other 1", "SET orders:2 y") == [b"OK", NO_KEY, b"OK"]
    assert peer.ask("MGET orders:1 other") == NO_KEY
    assert peer.ask("COPY shared orders:3", "COPY orders:3 shared", "RENAME orders:2 orders:closed") == [
        0,
        NO_KEY,
        NO_KEY,
    ]
    assert (
        peer.ask("ZUNIONSTORE orders:z 2 orders:a other", "XREAD STREAMS other 0", "LMPOP 1 other LEFT") == [NO_KEY] * 3
    )
    assert peer.ask("SORT orders:1 STORE other", "BLPOP other 1", "OBJECT ENCODING other") == [NO_KEY] * 3


def test_commands_that_see_or_change_everything_want_rights_on_everything(harness: Harness) -> None:
    peer = clerk(harness)
    for name in ("flushall", "flushdb", "dbsize", "randomkey", "save"):
        assert peer.ask(name) == no_command(name)
    assert peer.ask("KEYS *", "SCAN 0", "SWAPDB 0 1") == [no_command(name) for name in ("keys", "scan", "swapdb")]
    assert peer.ask("CONFIG SET appendfsync no", "CLIENT KILL ID 1") == [
        no_command("config|set"),
        no_command("client|kill"),
    ]
    assert peer.ask("EVAL return 1 0") == no_command("eval")
    assert peer.ask("SORT orders:l BY w_*") == "-ERR BY option of SORT denied due to insufficient ACL permissions"
    boss = Peer(harness)
    assert boss.ask("AUTH boss pw", "SET any 1", "KEYS *", "FLUSHALL", "CONFIG SET appendfsync no") == [
        b"OK", b"OK", [b"any"], b"OK", b"OK",
    ]  # fmt: skip


def test_channels_are_addresses_and_denied_messages_of_a_pattern_are_left_out(harness: Harness) -> None:
    peer, other = clerk(harness), Peer(harness)
    assert other.ask("AUTH secret") == b"OK"
    assert peer.ask("SUBSCRIBE other", "PSUBSCRIBE *", "PSUBSCRIBE ord*", "PUBLISH orders:closed x") == [NO_CHANNEL] * 4
    assert peer.ask("PUBLISH orders:1 x") == 0
    peer.ask("PSUBSCRIBE orders:*")
    other.ask("PUBLISH orders:1 hello", "PUBLISH orders:secret:1 psst", "PUBLISH orders:2 there")
    assert [message[2:] for message in peer.read()] == [[b"orders:1", b"hello"], [b"orders:2", b"there"]]


def test_a_denied_command_spoils_its_transaction(harness: Harness) -> None:
    peer = clerk(harness)
    assert peer.ask("MULTI", "SET orders:1 x", "SET other x", "EXEC") == [
        b"OK", b"QUEUED", NO_KEY, "-EXECABORT Transaction discarded because of previous errors.",
    ]  # fmt: skip
    assert peer.ask("GET orders:1") is None


def test_a_wrong_password_of_a_user_is_refused_and_changes_nothing(harness: Harness) -> None:
    peer = clerk(harness)
    assert peer.ask("AUTH clerk no") == "-WRONGPASS invalid username-password pair or user is disabled."
    assert peer.ask("ACL WHOAMI", "GET orders:1") == [b"clerk", None]
    stranger = Peer(harness)
    assert stranger.raw(request(b"PING")) == b"-NOAUTH Authentication required.\r\n"


@pytest.mark.parametrize("command", ["ACL SETUSER x on", "ACL DELUSER x", "ACL DRYRUN x get a"])
def test_users_cannot_be_changed_here(command: str) -> None:
    assert str(Peer(make_harness()).ask(command)).startswith(
        "-ERR users are configured in the server's user file: ACL "
    )
