"""Patterns, the trie, globs, captures and the partitioner, each against a reference that is obviously right."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as murmur2_of_kafka_python

from substrate.address import RESP
from substrate.api import DEFAULT_ACCOUNT, RESERVED, Account, StreamConfig, StreamId, Topic
from substrate.interest import ANY, ONE, SOME, Glob, Interest, Tokens, Trie, glob_matches, murmur2, partition_of

TOKEN = st.sampled_from([b"a", b"b", b"", b"$SYS", b"%25", RESERVED])
ADDRESS = st.lists(TOKEN, min_size=1, max_size=5).map(b"/".join)
PATTERN = st.builds(
    lambda parts, last: b"/".join(parts + last),
    st.lists(TOKEN | st.just(ONE), min_size=1, max_size=4),
    st.sampled_from([[], [], [SOME], [ANY]]),
) | st.sampled_from([SOME, ANY, ONE])


def naive(parts: list[bytes], tokens: list[bytes]) -> bool:
    """The definition, read aloud."""
    if not parts:
        return not tokens
    if parts[0] == ANY:
        return True
    if parts[0] == SOME:
        return bool(tokens)
    return bool(tokens) and parts[0] in (ONE, tokens[0]) and naive(parts[1:], tokens[1:])


def wanted(pattern: Tokens, address: bytes) -> bool:
    first = address.split(b"/")[0]
    hidden = first == RESERVED or (pattern.hides_dollar and first.startswith(b"$"))
    wild = pattern.text.split(b"/")[0] in (ONE, SOME, ANY)
    return naive(pattern.text.split(b"/"), address.split(b"/")) and not (wild and hidden)


@settings(max_examples=200)
@given(PATTERN, st.booleans(), ADDRESS)
def test_a_pattern_matches_by_its_definition(text, hides_dollar, address):
    pattern = Tokens(text, hides_dollar)
    assert pattern.matches(address) == wanted(pattern, address)
    literal = pattern.literal()
    assert literal is None or [literal] == [a for a in (address, literal) if pattern.matches(a)][-1:]


@settings(max_examples=200)
@given(st.lists(st.tuples(PATTERN, st.booleans()), max_size=12), st.data(), st.lists(ADDRESS, min_size=1, max_size=5))
def test_the_trie_finds_exactly_the_patterns_that_match_also_after_removals(texts, data, addresses):
    trie: Trie[int] = Trie()
    kept = [(Tokens(text, hides), index) for index, (text, hides) in enumerate(texts)]
    for pattern, index in kept:
        trie.add(pattern, index)
    for gone in data.draw(st.lists(st.sampled_from(kept), unique_by=lambda entry: entry[1]) if kept else st.just([])):
        trie.remove(*gone)
        trie.remove(*gone)
        kept.remove(gone)
    assert trie.count == len(kept)
    for address in addresses:
        found = sorted(index for _, index in trie.match(address))
        assert found == [index for pattern, index in kept if wanted(pattern, address)]
    for pattern, index in list(kept):
        trie.remove(pattern, index)
    assert trie.count == 0 and trie._root.empty()


@settings(max_examples=200)
@given(PATTERN, ADDRESS, ADDRESS)
def test_whoever_may_want_something_beneath_an_address_is_seen(text, address, below):
    trie: Trie[int] = Trie()
    trie.add(Tokens(text), 1)
    if naive(text.split(b"/"), (address + b"/" + below).split(b"/")):
        assert trie.beneath(address)


def test_a_wildcard_for_the_rest_stands_last():
    for text in (b"%>/a", b"a/%#/b"):
        with pytest.raises(ValueError):
            Tokens(text)


def test_a_pattern_of_thousands_of_tokens_costs_no_stack():
    text = b"/".join([ONE] * 20_000)
    trie: Trie[int] = Trie()
    pattern = Tokens(text)
    trie.add(pattern, 1)
    assert len(trie.match(b"/".join([b"x"] * 20_000))) == 1
    trie.remove(pattern, 1)
    assert trie._root.empty()


# globs


def naive_glob(pattern: bytes, name: bytes) -> bool:
    """Redis' stringmatchlen, written recursively (util.c, behaviour)."""
    if not pattern:
        return not name
    head = pattern[:1]
    if head == b"*":
        return any(naive_glob(pattern[1:], name[cut:]) for cut in range(len(name) + 1))
    if not name:
        return False
    if head == b"?":
        return naive_glob(pattern[1:], name[1:])
    if head == b"[":
        at = 1
        negated = pattern[at : at + 1] == b"^"
        at += negated
        found = False
        while at < len(pattern) and pattern[at : at + 1] != b"]":
            if pattern[at : at + 1] == b"\\" and at + 1 < len(pattern):
                found |= pattern[at + 1] == name[0]
                at += 2
            elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
                low, high = sorted((pattern[at], pattern[at + 2]))
                found |= low <= name[0] <= high
                at += 3
            else:
                found |= pattern[at] == name[0]
                at += 1
        return found != negated and naive_glob(pattern[at + 1 :], name[1:])
    if head == b"\\" and len(pattern) > 1:
        pattern = pattern[1:]
    return pattern[0] == name[0] and naive_glob(pattern[1:], name[1:])


GLOB = st.lists(
    st.sampled_from([b"a", b"b", b"c", b"*", b"?", b"[", b"]", b"^", b"-", b"\\", b"[a-c]", b"[^a]"]), max_size=7
)
NAME = st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"[", b"]", b"^", b"-", b"\\", b"*"]), max_size=6).map(
    b"".join
)


@settings(max_examples=200)
@given(GLOB.map(b"".join), NAME)
@example(b"[^]", b"a")
@example(b"[", b"a")
@example(b"[a", b"a")
@example(b"a\\", b"a\\")
@example(b"**", b"")
def test_a_glob_matches_as_redis_says(pattern, name):
    assert glob_matches(pattern, name) == naive_glob(pattern, name)


# redis-server's own cases and its manual's (facts)
@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        (b"h?llo", b"hello", True),
        (b"h*llo", b"heeeello", True),
        (b"h*llo", b"hllo", True),
        (b"h[ae]llo", b"hillo", False),
        (b"h[^e]llo", b"hallo", True),
        (b"h[^e]llo", b"hello", False),
        (b"h[a-b]llo", b"hbllo", True),
        (b"h[b-a]llo", b"hallo", True),
        (b"h\\*llo", b"h*llo", True),
        (b"h\\*llo", b"hello", False),
        (b"news.*", b"news.", True),
    ],
)
def test_known_globs_match_as_documented(pattern, name, expected):
    assert glob_matches(pattern, name) == expected


@pytest.mark.timeout(20)
def test_a_glob_of_many_stars_is_no_bomb():
    assert not glob_matches(b"a*" * 60 + b"b", b"a" * 3_000)


def test_a_glob_sees_the_reserved_streams_only_by_name():
    assert not Glob(b"*", RESP.text).matches(RESERVED + b"/metrics")
    assert Glob(b"_thalweg:*", RESP.text).matches(RESERVED + b"/metrics")
    assert Glob(b"_*", RESP.text).matches(b"_INBOX/1")


# captures and routes


def topic(name: bytes, stream: int, *subjects: bytes, partitions: int = 1, account: str = DEFAULT_ACCOUNT) -> Topic:
    streams = tuple(StreamId(stream + index) for index in range(partitions))
    return Topic(Account(account), name, bytes(16), streams, subjects, StreamConfig())


class Member:
    protocol = "nats"
    session = None


def captured(interest: Interest, address: bytes) -> bytes | None:
    found = interest.captured_by(DEFAULT_ACCOUNT, address)
    return found.name if found else None


def test_the_most_specific_capture_wins():
    interest = Interest()
    interest.capture(topic(b"rest", 1, b"orders/%>"))
    interest.capture(topic(b"orders", 2))
    interest.capture(topic(b"one", 3, b"orders/%*/new"))
    interest.capture(topic(b"eu", 4, b"orders/eu/%#"))
    interest.capture(topic(b"exact", 5, b"orders/eu"))
    assert captured(interest, b"orders") == b"orders"
    assert captured(interest, b"orders/us") == b"rest"
    assert captured(interest, b"orders/us/new") == b"one"
    assert captured(interest, b"orders/eu/new") == b"eu"
    assert captured(interest, b"orders/eu") == b"exact"
    assert captured(interest, b"other") is None
    interest.release(DEFAULT_ACCOUNT, b"exact")
    assert captured(interest, b"orders/eu") == b"eu"


@settings(max_examples=150)
@given(st.lists(st.lists(PATTERN, min_size=1, max_size=3), min_size=1, max_size=5), ADDRESS, st.randoms())
def test_captures_do_not_depend_on_the_order_in_which_topics_were_opened(subjects, address, chance):
    topics = [topic(b"t%d" % index, 10 + index, *texts) for index, texts in enumerate(subjects)]
    first = Interest()
    for one in topics:
        first.capture(one)
    chance.shuffle(topics)
    second = Interest()
    for one in topics:
        second.capture(one)
        second.capture(one)
    assert captured(first, address) == captured(second, address)
    best = captured(first, address)
    matching = [one for one in topics if any(wanted(Tokens(text), address) for text in one.subjects)]
    assert (best is None) == (not matching)


def test_an_account_sees_neither_captures_nor_sinks_of_another():
    interest = Interest()
    interest.capture(topic(b"orders", 1, account="other"))
    interest.subscribe(Account("other"), Tokens(SOME), Member())
    route = interest.resolve(DEFAULT_ACCOUNT, b"orders")
    assert (route.stream, route.topic, route.sinks) == (0, None, ())


def test_every_change_of_interest_raises_the_generation():
    interest = Interest()
    seen = [interest.generation]
    handle = interest.subscribe(DEFAULT_ACCOUNT, Tokens(b"a"), Member())
    seen.append(interest.generation)
    interest.capture(topic(b"a", 1))
    seen.append(interest.generation)
    interest.release(DEFAULT_ACCOUNT, b"a")
    seen.append(interest.generation)
    handle.close()
    seen.append(interest.generation)
    handle.close()
    assert seen == sorted(set(seen)) and interest.generation == seen[-1]


def test_queue_groups_are_by_name_over_all_patterns_of_one_protocol():
    interest = Interest()
    one, two, three = Member(), Member(), Member()
    interest.subscribe(DEFAULT_ACCOUNT, Tokens(b"a/%*"), one, b"g")
    interest.subscribe(DEFAULT_ACCOUNT, Tokens(b"a/%>"), two, b"g")
    interest.subscribe(DEFAULT_ACCOUNT, Tokens(b"a/b"), three, b"h")
    queues = interest.resolve(DEFAULT_ACCOUNT, b"a/b").queues
    assert sorted(map(set, queues), key=len) == [{three}, {one, two}]


def test_equal_group_names_of_two_protocols_are_two_groups():
    interest = Interest()
    nats, mqtt = Member(), Member()
    mqtt.protocol = "mqtt"
    interest.subscribe(DEFAULT_ACCOUNT, Tokens(b"a"), nats, b"g")
    interest.subscribe(DEFAULT_ACCOUNT, Tokens(b"a"), mqtt, b"g")
    assert set(interest.resolve(DEFAULT_ACCOUNT, b"a").queues) == {(nats,), (mqtt,)}


@settings(max_examples=200)
@given(st.binary(max_size=70))
def test_keys_are_hashed_as_kafkas_clients_hash_them(key):
    assert murmur2(key) == murmur2_of_kafka_python(key) & 0xFFFFFFFF
    assert partition_of(key, 12) == (murmur2_of_kafka_python(key) & 0x7FFFFFFF) % 12


# org.apache.kafka.common.utils.UtilsTest.testMurmur2 (facts)
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_hashes_of_kafkas_own_test(key, expected):
    assert murmur2(key) == expected & 0xFFFFFFFF
