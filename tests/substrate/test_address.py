"""Canonical addresses and the escapes: bijections between all tokens and what each protocol can write."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate.address import MQTT, NATS, RESP, join, split

AWKWARD = b"./%*>#+: \t\r\n\0\x80\xc3sStTrRnN0|2FBC5A3"
TOKEN = st.binary(max_size=8) | st.lists(st.sampled_from([bytes((byte,)) for byte in AWKWARD]), max_size=8).map(
    b"".join
)
TOKENS = st.lists(TOKEN, min_size=1, max_size=5)
ESCAPES = {"nats": NATS, "mqtt": MQTT, "resp": RESP}
FORBIDDEN = {"nats": b". \t\r\n\f\0", "mqtt": b"/+#\0", "resp": b":"}
each_escape = pytest.mark.parametrize("name", ESCAPES)


@settings(max_examples=200)
@given(TOKENS)
def test_tokens_survive_the_canonical_text(tokens):
    assert split(join(tokens)) == tokens


@settings(max_examples=200)
@given(TOKENS, TOKENS)
def test_different_addresses_have_different_canonical_texts(one, other):
    assert (join(one) == join(other)) == (one == other)


def test_an_address_has_at_least_one_token_which_may_be_empty():
    with pytest.raises(ValueError):
        join([])
    assert split(join([b""])) == [b""]


@each_escape
@settings(max_examples=200)
@given(tokens=TOKENS)
def test_every_address_survives_every_protocol(name, tokens):
    escape = ESCAPES[name]
    address = join(tokens)
    text = escape.text(address)
    assert escape.address(text) == address
    assert len(text.split(escape.separator)) == len(tokens)


@each_escape
@settings(max_examples=200)
@given(token=TOKEN)
def test_a_written_token_holds_nothing_that_the_protocol_cannot_carry(name, token):
    text = ESCAPES[name].encode(token)
    assert not set(text) & set(FORBIDDEN[name])
    if name == "nats":
        assert text not in (b"", b"*", b">")
    if name == "mqtt":
        text.decode()


@each_escape
@settings(max_examples=200)
@given(data=st.data())
def test_every_legal_text_is_the_text_of_its_address(name, data):
    escape = ESCAPES[name]
    text = data.draw(TOKEN.filter(lambda token: _legal(name, token)))
    assert escape.encode(escape.decode(text)) == text


def _legal(name: str, token: bytes) -> bool:
    if set(token) & set(FORBIDDEN[name]) or (name == "nats" and token in (b"", b"*", b">")):
        return False
    try:
        token.decode()
    except UnicodeDecodeError:
        return name != "mqtt"
    return True


@each_escape
@settings(max_examples=150)
@given(one=TOKEN, other=TOKEN)
def test_different_tokens_are_written_differently(name, one, other):
    escape = ESCAPES[name]
    assert (escape.encode(one) == escape.encode(other)) == (one == other)


@each_escape
def test_plain_names_are_written_as_they_are(name):
    escape = ESCAPES[name]
    assert escape.text(b"orders/eu/42") == escape.separator.join([b"orders", b"eu", b"42"])


# nats-server's own table (TestMQTTTopicAndSubjectConversion, facts): MQTT topic, NATS subject
NATS_SERVER_TABLE = [
    (b"/", b"/./"),
    (b"//", b"/././"),
    (b"/foo", b"/.foo"),
    (b"foo/", b"foo./"),
    (b"foo//bar", b"foo./.bar"),
    (b"//foo", b"/./.foo"),
    (b".", b"//"),
    (b".foo.", b"//foo//"),
    (b"foo.bar/baz", b"foo//bar.baz"),
    (b"././/.", b"//.//././/"),
]


@pytest.mark.parametrize(("topic", "subject"), NATS_SERVER_TABLE)
def test_mqtt_topics_become_the_subjects_that_nats_server_gives_them(topic, subject):
    assert NATS.text(MQTT.address(topic)) == subject
    assert MQTT.text(NATS.address(subject)) == topic


# Where ours differs on purpose: nats-server drops, refuses or widens these; ours carries them and stays reversible.
@pytest.mark.parametrize(
    ("topic", "subject"),
    [
        (b"foo/*/bar", b"foo./*.bar"),  # nats-server: foo.*.bar, a wildcard to whoever subscribes by it
        (b"x/>", b"x./>"),  # nats-server: x.>
        (b"foo*", b"foo*"),  # within a level it is a literal on both sides
        (b"two words", b"two/swords"),  # nats-server: closes the connection
    ],
)
def test_what_nats_server_widens_or_refuses_is_carried_as_a_literal(topic, subject):
    assert NATS.text(MQTT.address(topic)) == subject
    assert MQTT.text(NATS.address(subject)) == topic


def test_a_slash_in_a_subject_reaches_mqtt_and_comes_back():
    # nats-server drops it silently: ``a/b`` becomes the topic ``ab``
    topic = MQTT.text(NATS.address(b"a/b"))
    assert topic == b"a%2Fb"
    assert NATS.text(MQTT.address(topic)) == b"a/b"


@each_escape
@settings(max_examples=200)
@given(parts=st.lists(st.tuples(TOKEN, st.integers(0, 6)), max_size=4))
def test_tokens_escaped_many_times_over_survive(name, parts):
    escape = ESCAPES[name]
    token = b""
    for part, times in parts:
        for _ in range(times):
            part = escape._escape(part)
        token += part
    text = escape.encode(token)
    assert escape.decode(text) == token
    if _legal(name, token):
        assert escape.encode(escape.decode(token)) == token


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("name", "text"), [("mqtt", b"%" + b"25" * 32_000), ("resp", b"%25" * 20_000), ("nats", b"/" + b"|" * 60_000)]
)
def test_a_long_token_costs_no_quadratic_time(name, text):
    escape = ESCAPES[name]
    for _ in range(20):
        assert escape.text(escape.address(text)) == text
