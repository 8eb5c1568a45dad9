"""The cutter: any cut gives the same requests, garbage is refused in Redis' words, limits hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.resp import wire
from protocols.resp.wire import Run, pack, request, split_inline, words_of

WORDS = st.lists(st.binary(max_size=30), min_size=1, max_size=6)


def cut_all(run: Run, chunks: list[bytes]) -> list[list[bytes]]:
    """What a session does: what was not taken is given again with more behind it."""
    found: list[list[bytes]] = []
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        position = 0
        while True:
            state = run.cut(buffer, position, len(buffer))
            at = 0
            for _ in range(run.count):
                found.append(run.arguments(at))
                at += 4 + 2 * run.numbers[at + 1]
            position = run.taken
            if state == wire.SPECIAL:
                found.append(run.arguments(run.fill))
            elif state == wire.INLINE:
                line = bytes(buffer[run.line_start : run.line_end])
                found.append(split_inline(line.removesuffix(b"\r")) or [])
            elif state == wire.BROKEN:
                found.append([b"broken", run.error.encode()])
                run.release()
                return found
            elif state == wire.COMPLETE:
                break
        run.release()
        del buffer[:position]
    return found


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *marks], [*marks, len(data)], strict=True)]


@given(st.lists(WORDS, max_size=5), st.lists(st.integers(0, 10_000), max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_cut_gives_the_same_requests(requests: list[list[bytes]], cuts: list[int]) -> None:
    data = b"".join([request(*words) for words in requests])
    assert cut_all(Run(frozenset({pack(b"a")}), frozenset({b"SUBSCRIBE"})), pieces(data, cuts)) == requests


@given(WORDS)
@settings(max_examples=100, deadline=None)
def test_an_effect_reads_back_as_its_words(words: list[bytes]) -> None:
    assert words_of(request(*words)) == words


def test_one_byte_at_a_time_costs_no_second_look_at_the_arguments() -> None:
    words = [b"SET"] + [b"x" * 3] * 500
    data = request(*words)
    assert cut_all(Run(), [data[i : i + 1] for i in range(len(data))]) == [words]


@given(
    st.lists(
        st.sampled_from(
            [b"*1\r\n", b"$3\r\n", b"foo", b"\r\n", b"*-1\r\n", b"$0\r\n", b"*x\r\n", b"\x00", b"PING\r\n", b"\n"]
        ),
        max_size=12,
    )
)
@settings(max_examples=200, deadline=None)
def test_near_grammar_gives_requests_or_an_error_however_it_is_cut(parts: list[bytes]) -> None:
    data = b"".join(parts)
    whole = cut_all(Run(), [data])
    assert cut_all(Run(), [data[i : i + 1] for i in range(len(data))]) == whole


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_garbage_is_cut_or_refused_never_worse(data: bytes) -> None:
    cut_all(Run(), [data])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1048577\r\n", "invalid multibulk length"),
        (b"*3000000000\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*1\r\n!3\r\nfoo\r\n", "expected '$', got '!'"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$03\r\nfoo\r\n", "invalid bulk length"),
        (b"*" + b"1" * 70_000, "too big mbulk count string"),
        (b"*1\r\n$" + b"1" * 70_000, "too big bulk count string"),
        (b"x" * 70_000, "too big inline request"),
        (b"*1\r\n$3\r\nfoooo", "bulk is not followed by CR LF"),
    ],
)
def test_broken_frames_are_refused_in_the_words_of_redis(data: bytes, error: str) -> None:
    run = Run()
    assert run.cut(bytearray(data), 0, len(data)) == wire.BROKEN
    assert run.error == error


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"*11\r\n", "unauthenticated multibulk length"),
        (b"*1\r\n$16385\r\n", "unauthenticated bulk length"),
        (b"*1\r\n$536870912\r\n", "unauthenticated bulk length"),
    ],
)
def test_a_stranger_may_send_little(data: bytes, error: str) -> None:
    run = Run()
    run.trusted = False
    assert run.cut(bytearray(data), 0, len(data)) == wire.BROKEN
    assert run.error == error


def test_a_large_bulk_says_how_much_it_wants() -> None:
    data = bytearray(b"*2\r\n$3\r\nGET\r\n$100000\r\nabc")
    run = Run()
    assert run.cut(data, 0, len(data)) == wire.COMPLETE
    assert (run.taken, run.wants) == (0, len(b"*2\r\n$3\r\nGET\r\n$100000\r\n") + 100_002)


def test_a_million_promised_arguments_hold_no_memory_until_they_come() -> None:
    run = Run()
    data = bytearray(b"*1048576\r\n")
    run.cut(data, 0, len(data))
    assert len(run.numbers) <= 64


def test_a_request_of_many_arguments_leaves_no_memory_behind() -> None:
    data = bytearray(request(*[b"x"] * 20_000))
    run = Run()
    assert run.cut(data, 0, len(data)) == wire.COMPLETE and run.count == 1
    assert len(run.numbers) > 40_000
    run.release()
    assert len(run.numbers) == 64
    assert run.cut(data, 0, len(data)) == wire.COMPLETE and len(run.arguments(0)) == 20_000


def test_a_copied_run_stands_without_its_buffer() -> None:
    data = bytearray(b"xx" + request(b"GET", b"a") + request(b"SET", b"b", b"c"))
    run = Run()
    run.cut(data, 2, len(data))
    copy = run.own()
    run.release()
    data[:] = bytes(len(data))
    assert copy.arguments(0) == [b"GET", b"a"]
    assert copy.arguments(8) == [b"SET", b"b", b"c"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'set a "b c"', [b"set", b"a", b"b c"]),
        (b"set a 'b\\'c'", [b"set", b"a", b"b'c"]),
        (b'echo "\\x41\\n\\q"', [b"echo", b"A\nq"]),
        (b"  ", []),
        (b'get "a', None),
        (b'get "a"b', None),
        (b"get ''", [b"get", b""]),
    ],
)
def test_inline_words_are_split_as_redis_splits_them(line: bytes, words: list[bytes] | None) -> None:
    assert split_inline(line) == words
