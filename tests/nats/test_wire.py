"""The codec: any cut gives the same frames, what is written comes back, garbage is refused and costs little."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.nats import wire
from protocols.nats.wire import Frame, valid_subject

FEW = settings(max_examples=150, deadline=None)
tokens = st.text("abcXYZ019-_$/é", min_size=1, max_size=6).map(str.encode)
subjects = st.lists(tokens, min_size=1, max_size=4).map(b".".join)
payloads = st.binary(max_size=60)
blanks = st.sampled_from([b" ", b"  ", b"\t", b" \t "])


def parts(data: bytes, places: list[int]) -> list[bytes]:
    cuts = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def read(frame: Frame, chunks: list[bytes]) -> list[tuple[object, ...]]:
    """Every frame of the chunks, as a connection reads them: what is not complete is parsed again with more behind it."""
    found: list[tuple[object, ...]] = []
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        at = 0
        while at < len(buffer):
            kind = frame.parse(buffer, at, len(buffer))
            if kind <= 0:
                if kind < 0:
                    return [*found, (kind,)]
                break
            if kind in (wire.PUB, wire.HPUB):
                found.append((
                    kind, buffer[frame.subject_start : frame.subject_end], buffer[frame.reply_start : frame.reply_end],
                    frame.header_bytes, buffer[frame.payload_start : frame.payload_start + frame.total_bytes],
                ))  # fmt: skip
            else:
                found.append((kind, buffer[frame.argument_start : frame.argument_end]))
            at = frame.next
        buffer = buffer[at:]
    return found


@st.composite
def publications(draw: st.DrawFn) -> tuple[bytes, tuple[object, ...]]:
    subject, reply, payload = draw(subjects), draw(st.none() | subjects), draw(payloads)
    block = draw(st.none() | st.just(b"NATS/1.0\r\nA: b\r\n\r\n"))
    gap, end = draw(blanks), draw(st.sampled_from([b"\r\n", b"\n"]))
    body = (block or b"") + payload
    operation = draw(st.sampled_from([b"PUB", b"pub", b"Pub"])) if block is None else b"HPUB"
    sizes = [b"%d" % len(body)] if block is None else [b"%d" % len(block), b"%d" % len(body)]
    words = [operation, subject, *([reply] if reply is not None else []), *sizes]
    expected = (wire.PUB if block is None else wire.HPUB, subject, reply or b"", len(block or b""), body)
    return gap.join(words) + end + body + b"\r\n", expected


@FEW
@given(st.lists(publications(), min_size=1, max_size=6), st.lists(st.integers(0, 10_000), max_size=8))
def test_publications_come_back_however_they_are_written_and_cut(
    written: list[tuple[bytes, tuple[object, ...]]], places: list[int]
) -> None:
    data = b"".join(line for line, _ in written)
    assert read(Frame(), parts(data, places)) == [expected for _, expected in written]


@FEW
@given(st.binary(max_size=80), st.lists(st.integers(0, 100), max_size=5))
def test_garbage_is_read_the_same_however_it_is_cut(data: bytes, places: list[int]) -> None:
    whole = read(Frame(64, 100), [data])
    assert read(Frame(64, 100), parts(data, places)) == whole


@FEW
@given(
    st.lists(
        st.sampled_from(
            [b"PUB a 1\r\nx\r\n", b"PING\r\n", b"SUB a 1\r\n", b"PU", b"\r\n", b"1", b" ", b"HPUB a 0 1\r\nx\r\n"]
        )
    ),
    st.lists(st.integers(0, 100), max_size=5),
)
def test_almost_right_input_is_read_the_same_however_it_is_cut(pieces: list[bytes], places: list[int]) -> None:
    data = b"".join(pieces)
    assert read(Frame(64, 100), parts(data, places)) == read(Frame(64, 100), [data])


def test_a_payload_that_is_too_large_is_refused_on_its_control_line() -> None:
    assert Frame(4096, 100).parse(b"PUB a 101\r\n", 0, 11) == wire.PAYLOAD_TOO_LARGE


def test_a_control_line_without_an_end_is_refused_when_it_is_too_long() -> None:
    frame = Frame(4096, 100)
    assert frame.parse(b"SUB " + b"a" * 4000, 0, 4004) == wire.MORE
    assert frame.parse(b"SUB " + b"a" * 5000, 0, 5004) == wire.LINE_TOO_LONG
    assert frame.parse(b"PUB " + b"a" * 5000, 0, 5004) == wire.LINE_TOO_LONG


def test_an_unfinished_payload_says_how_long_the_whole_frame_is() -> None:
    frame = Frame()
    assert frame.parse(b"PUB a 10\r\nabc", 0, 13) == wire.MORE
    assert frame.need == len(b"PUB a 10\r\n") + 10 + 2


def test_an_operation_is_refused_at_its_first_wrong_byte() -> None:
    for text in (b"G", b"PUX", b"SUBX", b"\r\n", b"CONNEKT"):
        assert Frame().parse(text, 0, len(text)) == wire.UNKNOWN
    for text in (b"P", b"PU", b"PUB", b"conn", b"+O", b"-ER", b"PUB a", b"PUB a 1", b"PUB a 1\r"):
        assert Frame().parse(text, 0, len(text)) == wire.MORE


def test_which_subjects_are_valid() -> None:
    for subject in (b"a", b"a.b", b"$X.y", b"a*", b"a>b.c", b"\xff"):
        assert valid_subject(subject)
    for subject in (b"", b".", b"a.", b".a", b"a..b", b"a.*", b">", b"a.>", b"a\fb", b"a\0"):
        assert not valid_subject(subject)
    for pattern in (b"*", b">", b"a.*.b", b"a.>", b"a*"):
        assert valid_subject(pattern, wildcards=True)
    for pattern in (b">.a", b"a.>.b", b"a..>", b""):
        assert not valid_subject(pattern, wildcards=True)
