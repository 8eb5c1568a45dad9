"""Rights are decided as the rules say, and nothing else; secrets are kept as RFC 7677 has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from protocols.identity import EVERYBODY, Identity, Right, Secret, Users, pattern
from substrate.api import DEFAULT_ACCOUNT, Address
from substrate.interest import Tokens, covers, overlaps

TOKENS = some.sampled_from([b"a", b"b", b"_thalweg"])
ADDRESSES = some.lists(TOKENS, min_size=1, max_size=4).map(lambda tokens: Address(b"/".join(tokens)))
PATTERNS = some.tuples(
    some.lists(some.one_of(TOKENS, some.just(b"%*")), max_size=3), some.sampled_from([b"", b"%>", b"%#", b"a"])
).map(lambda parts: Tokens(b"/".join([*parts[0], parts[1]] if parts[1] or not parts[0] else parts[0])))


def everything(depth: int = 4) -> list[Address]:
    level = [b"a", b"b", b"_thalweg", b"c", b""]
    found = list(level)
    for _ in range(depth):
        level = [one + b"/" + token for one in level for token in (b"a", b"b", b"_thalweg", b"c")]
        found += level
    return [Address(one) for one in found]


UNIVERSE = everything()


@given(PATTERNS, PATTERNS)
def test_covers_and_overlaps_say_what_matching_every_address_says(one: Tokens, other: Tokens) -> None:
    theirs = [address for address in UNIVERSE if other.matches(address)]
    assert covers(one, other) == all(one.matches(address) for address in theirs)
    assert overlaps(one, other) == any(one.matches(address) for address in theirs)


def user(allow: list[str], deny: list[str] = []) -> Identity:  # noqa: B006
    return Identity(b"u", DEFAULT_ACCOUNT, {Right.READ: [*map(pattern, allow)]}, {Right.READ: [*map(pattern, deny)]})


def test_what_no_rule_allows_is_denied_and_deny_outweighs() -> None:
    one = user(["orders/#", "a/*/c"], ["orders/secret/#"])
    may = lambda text: one.may(Right.READ, Address(text))  # noqa: E731
    assert may(b"orders") and may(b"orders/eu/42") and may(b"a/b/c")
    assert not may(b"orders/secret") and not may(b"orders/secret/1") and not may(b"a/b") and not may(b"other")
    assert not one.may(Right.WRITE, Address(b"orders"))
    assert one.may_all(Right.READ, Tokens(b"orders/%>")) and one.filtered(Right.READ, Tokens(b"orders/%>"))
    assert not one.filtered(Right.READ, Tokens(b"orders/eu/%>"))
    assert not one.may_all(Right.READ, Tokens(b"orders/secret/%*")) and not one.may_all(Right.READ, Tokens(b"%#"))


def test_wildcards_do_not_reach_what_is_ours_and_can_be_written_as_literals() -> None:
    assert not user(["#"]).may(Right.READ, Address(b"_thalweg/control"))
    assert user(["_thalweg/#"]).may(Right.READ, Address(b"_thalweg/control"))
    assert pattern("a/%2A").text == b"a/*" and pattern("a/%25").text == b"a/%25" and pattern("%2F/x").text == b"%2F/x"
    with pytest.raises(ValueError):
        pattern("a/#/b")


def test_everybody_may_everything_where_no_users_are_configured() -> None:
    assert EVERYBODY.may(Right.MANAGE, Address(b"x")) and EVERYBODY.may_all(Right.READ, Tokens(b"%>"))


def test_the_secret_is_that_of_rfc_7677() -> None:
    """Section 3's example: user ``user``, password ``pencil``."""
    import base64

    secret = Secret.of(b"pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    import hmac

    signature = base64.b64encode(hmac.digest(secret.server_key, message, "sha256"))
    assert signature == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert Secret.parse(str(secret)) == secret and secret.matches(b"pencil") and not secret.matches(b"pencils")


@pytest.mark.parametrize("text", ["", "pencil", "SCRAM-SHA-1$1:AA==$AA==:AA==", "SCRAM-SHA-256$0:AA==$AA==:AA=="])
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Secret.parse(text)


def test_users_are_let_in_by_name_and_password() -> None:
    alice = user(["#"])
    users = Users({b"alice": (alice, Secret.of(b"pw", b"salt")), b"bare": (user([]), None)}, b"k" * 32)
    for _ in range(2):  # the second time from memory
        assert users.identify(b"alice", b"pw") is alice
        assert users.identify(b"alice", b"wrong") is None
        assert users.identify(b"bob", b"pw") is None and users.identify(b"bare", b"") is None
        assert users.identify(None, None) is None and users.identify(b"", b"") is None
    nobody = user([])
    assert Users({b"anonymous": (nobody, None)}, b"k" * 32).identify(None, None) is nobody
