"""Names, addresses and errors: total, and one to one."""

from __future__ import annotations

import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.kafka.errors import Code, code_of, refusal
from protocols.kafka.mapping import address_of, is_reserved, name_of
from protocols.kafka.schema import APIS
from protocols.kafka.session import HANDLERS, advertised
from protocols.kafka.topic_config import CONFIGS
from substrate.address import join, split
from substrate.api import Address, ErrorCode, Failed, Rejected, StreamError, Unknown

NAMES = st.text("abzAZ09._-", min_size=1, max_size=249)


@given(NAMES)
@settings(max_examples=200)
def test_every_topic_name_has_an_address_and_comes_back(name: str) -> None:
    address = address_of(name)
    if name in (".", ".."):
        assert address is None
    else:
        assert address is not None and name_of(address) == name
        assert join(split(address)) == address


@given(st.lists(st.one_of(st.binary(max_size=8), st.text("ab_-", max_size=4).map(str.encode)), min_size=1, max_size=5))
@settings(max_examples=200)
def test_an_address_with_a_name_comes_back_and_any_other_has_none(tokens: list[bytes]) -> None:
    address = join(tokens)
    name = name_of(address)
    if name is None:
        assert any(
            b not in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/" for b in address
        ) or address in (b"", b"/", b"//")
    else:
        assert address_of(name) == address


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "ä", "a" * 250, "a:b", "a%b", "a\n"])
def test_a_name_that_no_topic_can_have_has_no_address(name: str) -> None:
    assert address_of(name) is None


def test_what_is_reserved_is_the_first_token_alone() -> None:
    assert is_reserved(Address(b"_thalweg")) and is_reserved(Address(b"_thalweg/groups"))
    assert not is_reserved(Address(b"_thalwegs")) and not is_reserved(Address(b"a/_thalweg"))
    assert not is_reserved(Address(b"__consumer_offsets"))


@pytest.mark.parametrize("error", ErrorCode)
def test_every_error_of_the_substrate_has_a_code(error: ErrorCode) -> None:
    assert code_of(error) is not Code.NONE
    assert refusal(StreamError(error, "why"))[1].endswith("why")


def test_every_other_answer_has_a_code() -> None:
    assert refusal(Unknown())[0] is Code.REQUEST_TIMED_OUT
    assert refusal(Failed())[0] is Code.NOT_COORDINATOR
    assert refusal(Rejected("epoch", 1))[0] is Code.INVALID_PRODUCER_EPOCH
    assert refusal(Rejected("sequence", 1))[0] is Code.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert refusal(None)[0] is Code.UNKNOWN_SERVER_ERROR


def readme() -> str:
    return (pathlib.Path(__file__).parents[2] / "protocols" / "kafka" / "README.md").read_text()


def test_the_readme_lists_each_api_with_the_versions_that_are_told() -> None:
    text = readme()
    for key, first, last in advertised():
        assert f"| {key} | {APIS[key].name} | {first}-{last} |" in text
    assert text.count("\n| ") >= len(advertised())
    assert set(APIS) == {*HANDLERS, 18}


def test_the_readme_lists_each_configuration() -> None:
    text = readme()
    for config in CONFIGS.values():
        assert f"| `{config.name}` | {'any' if config.fixed is None else f'`{config.fixed}`'} |" in text


def test_the_readme_lists_each_error_of_the_substrate() -> None:
    text = readme()
    for error in ErrorCode:
        code = code_of(error)
        assert f"| {error.name} | {code.name} ({code.value}) |" in text
