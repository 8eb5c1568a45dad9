"""One look-up for all neighbours of an address says what a look-up of each would say."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from substrate.api import DEFAULT_ACCOUNT, Address, Group, StreamConfig, StreamId, Topic
from substrate.interest import Interest, Tokens
from tests.nats.scripts import client, say, world

token = st.sampled_from([b"a", b"b", b"$x", b"%*"])
patterns = st.tuples(st.lists(token, min_size=1, max_size=3), st.sampled_from([(), (b"%>",), (b"%#",)])).map(
    lambda parts: b"/".join([*parts[0], *parts[1]])
)
literals = st.lists(st.sampled_from([b"a", b"b", b"c", b"$x"]), min_size=1, max_size=3)


class Listener:
    protocol = "nats"
    session = None

    def deliver(self, group: Group) -> None:
        raise AssertionError


@settings(max_examples=200, deadline=None)
@given(st.lists(patterns, max_size=5), st.lists(patterns, max_size=2), literals, literals, st.booleans())
def test_an_answer_for_all_neighbours_is_right_for_each(
    wanted: list[bytes], captured: list[bytes], prefix: list[bytes], more: list[bytes], deep: bool
) -> None:
    interest = Interest()
    for index, pattern in enumerate(wanted):
        interest.subscribe(DEFAULT_ACCOUNT, Tokens(pattern), Listener(), b"g" if index % 3 == 2 else None)
    for index, pattern in enumerate(captured):
        interest.capture(
            Topic(DEFAULT_ACCOUNT, Address(b"t%d" % index), b"", (StreamId(10 + index),), (pattern,), StreamConfig())
        )
    found = interest.resolve_beneath(DEFAULT_ACCOUNT, Address(b"/".join(prefix)), deep)
    if found is not None:
        each = interest.resolve(DEFAULT_ACCOUNT, Address(b"/".join(prefix + (more if deep else more[:1]))))
        assert set(found.sinks) == set(each.sinks)
        assert [set(queue) for queue in found.queues] == [set(queue) for queue in each.queues]
        assert (found.stream, found.topic) == (each.stream, each.topic)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([
    b"SUB _INBOX.a.* 1\r\n", b"SUB _INBOX.a.x 2\r\n", b"SUB _INBOX.> 3\r\n", b"SUB _INBOX.a.* q 4\r\n", b"UNSUB 2\r\n",
    b"UNSUB 1\r\n", b"PUB _INBOX.a.x 1\r\n1\r\n", b"PUB _INBOX.a.y r 1\r\n2\r\n", b"PUB _INBOX.a.x.y 1\r\n3\r\n",
    b"UNSUB 3 2\r\n", b"PUB x.a 1\r\n4\r\n", b"SUB x.* 5\r\n", b"SUB x.a 6\r\n", b"UNSUB 6\r\n",
]), max_size=14))  # fmt: skip
def test_what_is_kept_of_a_look_up_never_outlives_it(lines: list[bytes]) -> None:
    """One session that keeps look-ups, and one new session for each line that publishes: subscribers get the same."""
    kept, fresh = world(), world()
    one, reader = client(kept), client(fresh)
    for line in lines:
        one.send(line)
        (client(fresh) if line.startswith(b"PUB") else reader).send(line)
    assert say(one, b"PING\r\n") == say(reader, b"PING\r\n")
