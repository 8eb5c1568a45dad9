"""Names and properties there and back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.mqtt import errors, mapping
from protocols.mqtt import packets as p
from protocols.mqtt.wire import encode_properties, properties_of
from substrate.address import join
from substrate.api import REPLY, ErrorCode

FEW = settings(max_examples=200, deadline=None)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=8).map(str.encode)
levels = (
    st.text(st.sampled_from("ab%/2BF35+#é$*> ."), max_size=5).map(lambda text: text.replace("/", "")).map(str.encode)
)
topics = st.lists(levels.map(lambda level: level.replace(b"+", b"").replace(b"#", b"")), min_size=1, max_size=4).map(
    b"/".join
)


@given(topics.filter(bool))
@FEW
def test_a_topic_is_an_address_and_the_address_that_topic(topic: bytes) -> None:
    assert mapping.topic_of(mapping.address_of(topic)) == topic


@given(st.lists(st.binary(max_size=5), min_size=1, max_size=4))
@FEW
def test_an_address_is_a_topic_that_may_be_published_and_the_topic_that_address(tokens: list[bytes]) -> None:
    address = join(tokens)
    topic = mapping.topic_of(address)
    if topic is None:
        assert address == b""
        return
    assert b"+" not in topic and b"#" not in topic and b"\0" not in topic
    topic.decode()
    assert mapping.address_of(topic) == address


@given(st.lists(levels | st.just(b"+"), min_size=1, max_size=4), st.booleans())
@FEW
def test_a_filter_is_a_pattern_and_the_pattern_that_filter(parts: list[bytes], rest: bool) -> None:
    text = b"/".join([*parts, b"#"] if rest else parts)
    if mapping.valid_filter(text):
        assert mapping.filter_of(mapping.pattern_of(text)) == text


def matches(pattern: bytes, topic: bytes) -> bool:
    return mapping.pattern_of(pattern).matches(mapping.address_of(topic))


def test_filters_match_as_section_4_7_says() -> None:
    assert matches(b"sport/tennis/player1/#", b"sport/tennis/player1")
    assert matches(b"sport/tennis/player1/#", b"sport/tennis/player1/score/wimbledon")
    assert (
        matches(b"sport/#", b"sport")
        and matches(b"#", b"a/b")
        and matches(b"+/+", b"/finance")
        and matches(b"/+", b"/finance")
    )
    assert matches(b"sport/+", b"sport/") and matches(b"+", b"a")
    assert (
        not matches(b"sport/+", b"sport") and not matches(b"+", b"/finance") and not matches(b"sport/+", b"sport/a/b")
    )
    assert not matches(b"#", b"$SYS/x") and not matches(b"+/monitor/Clients", b"$SYS/monitor/Clients")
    assert matches(b"$SYS/#", b"$SYS/x") and matches(b"$SYS/monitor/+", b"$SYS/monitor/Clients")
    assert not matches(b"#", b"_thalweg/mqtt") and not matches(b"+/mqtt", b"_thalweg/mqtt")


def test_a_literal_star_or_greater_sign_in_a_filter_is_no_wildcard() -> None:
    assert matches(b"a/*/b", b"a/*/b") and not matches(b"a/*/b", b"a/x/b")
    assert matches(b"a/>", b"a/>") and not matches(b"a/>", b"a/x")
    assert not matches(b"a/%*", b"a/x") and not matches(b"a/%#", b"a/x/y") and matches(b"a/%#", b"a/%#")


def test_filters_that_are_none_are_refused() -> None:
    for text in (b"", b"a/#/b", b"a#", b"a/b#", b"a+", b"a/+b/c", b"#/a", b"##", b"a/" * 200):
        assert not mapping.valid_filter(text), text
    for text in (b"#", b"+", b"/", b"a/", b"+/a/#", b"a//b", b"%2B"):
        assert mapping.valid_filter(text), text


def test_shared_filters_need_a_group_and_a_filter() -> None:
    assert mapping.share_of(b"$share/g/a/#") == (b"g", b"a/#")
    assert mapping.share_of(b"$share/g//a") == (b"g", b"/a")
    assert mapping.share_of(b"a/b") is None and mapping.share_of(b"$shared/g/a") is None
    for text in (b"$share", b"$share/", b"$share/ab", b"$share/ab/", b"$share//a", b"$share/a+/b", b"$share/#/b"):
        found = mapping.share_of(text)
        assert found is not None and found[0] == b"", text


@given(
    st.lists(st.tuples(texts | st.just(b"thalweg-reply"), texts).map(lambda pair: (p.USER_PROPERTY, pair)), max_size=4),
    st.lists(texts.map(lambda text: (p.CONTENT_TYPE, text)), max_size=1),
    st.lists(topics.filter(bool).map(lambda text: (p.RESPONSE_TOPIC, text)), max_size=1),
    st.lists(st.binary(max_size=5).map(lambda text: (p.CORRELATION_DATA, text)), max_size=1),
    st.integers(0, 2**40),
    st.booleans(),
    st.none() | st.integers(0, 2),
)
@FEW
def test_properties_survive_as_record_headers(users: list, kind: list, reply: list, tag: list, expires: int, retain: bool,
                                              qos: int | None) -> None:  # fmt: skip
    raw = encode_properties(users + kind + reply + tag)
    headers = mapping.headers_of(raw, expires, retain, qos)
    back, expires_back, retain_back, qos_back = mapping.properties_of_headers(headers)
    assert properties_of(back) == properties_of(raw)
    assert (expires_back, retain_back, qos_back) == (expires, retain, qos)
    assert [name for name, _ in headers].count(REPLY) == len(reply)


def test_headers_that_mqtt_cannot_write_are_left_out() -> None:
    headers = ((b"\xff", b"x"), (b"a", b"\xff"), (b"b", None), (b"thalweg-address", b"z"), (b"c", b"1"))
    back, _, _, _ = mapping.properties_of_headers(headers)
    assert properties_of(back) == [(p.USER_PROPERTY, (b"b", b"")), (p.USER_PROPERTY, (b"c", b"1"))]


def test_a_message_s_life_shrinks_while_it_waits() -> None:
    raw = encode_properties([(p.MESSAGE_EXPIRY, 10), (p.TOPIC_ALIAS, 3), (p.CONTENT_TYPE, b"t")])
    passed, expires_ms = mapping.without_expiry(raw, 1_000)
    assert properties_of(passed) == [(p.CONTENT_TYPE, b"t")] and expires_ms == 11_000
    assert properties_of(mapping.with_expiry(passed, expires_ms, 7_500))[0] == (p.MESSAGE_EXPIRY, 4)


def test_every_error_of_the_substrate_has_a_reason_code() -> None:
    assert set(errors.REASONS) == set(ErrorCode)
    assert all(0x80 <= code <= 0xA2 for code in errors.REASONS.values())
    assert all(errors.return_code(code) <= 5 for code in range(256))
