"""A channel without a socket: however bytes are cut it gives what was sent, and whatever is wrong with them is TLS's error."""

from __future__ import annotations

import itertools
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.thalweg.certificates import Certificates
from thalweg.config import Config, Tls
from thalweg.tls import Channel, make_context

ROOM = 20_000


class Peer:
    """A client of OpenSSL's over memory."""

    def __init__(self, made: Certificates) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = made.client().wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.heard = b""

    def speak(self, words: bytes = b"") -> bytes:
        """What it sends: of its handshake, and these words once that is done."""
        try:
            self.object.do_handshake()
            if words:
                self.object.write(words)
            while more := self.object.read(ROOM):
                self.heard += more
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def context(made: Certificates) -> ssl.SSLContext:
    return make_context(Config(tls=Tls(**made.keys())))


def feed(channel: Channel, data: bytes) -> bytes:
    """What the session is given of it."""
    channel.feed(memoryview(data))
    if not channel.ready and not channel.handshake():
        return b""
    room, heard = memoryview(bytearray(ROOM)), b""
    while (count := channel.read(room)) > 0:
        heard += bytes(room[:count])
    return heard


def shake(channel: Channel, peer: Peer) -> None:
    while not channel.ready:
        feed(channel, peer.speak())
        peer.incoming.write(channel.take())
    peer.speak()


WORDS = st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=4)


@settings(max_examples=30)
@given(data=st.data(), words=WORDS)
def test_however_bytes_are_cut_both_hear_the_other(made, context, data, words) -> None:
    channel, peer = Channel(context), Peer(made)
    heard = b""
    shake(channel, peer)
    for word in words:
        sent = peer.speak(word)
        cuts = sorted(data.draw(st.sets(st.integers(0, len(sent)), max_size=4)) | {0, len(sent)})
        for start, end in itertools.pairwise(cuts):
            heard += feed(channel, sent[start:end])
        assert channel.write(memoryview(word)) == len(word)
        assert channel.pending() > len(word)
        peer.incoming.write(channel.take())
        peer.speak()
    assert heard == peer.heard == b"".join(words)
    channel.close()
    peer.incoming.write(channel.take())
    assert peer.object.read(ROOM) == b""


@settings(max_examples=60)
@given(first=st.binary(max_size=600), at=st.integers(0, 10_000), bit=st.integers(0, 7), later=st.booleans())
def test_what_is_not_in_order_is_an_error_of_tls_and_nothing_else(made, context, first, at, bit, later) -> None:
    channel, peer = Channel(context), Peer(made)
    if later:
        shake(channel, peer)
    sent = bytearray(peer.speak(b"hello" if later else b""))
    sent[at % len(sent)] ^= 1 << bit
    try:
        heard = feed(channel, bytes(sent))
        heard += feed(channel, first)
    except ssl.SSLError:
        heard = b""
    assert not later or heard == b""
    assert isinstance(channel.take(), bytes)


def test_an_end_without_close_notify_and_one_with_it_are_told_apart(made, context) -> None:
    channel, peer = Channel(context), Peer(made)
    shake(channel, peer)
    room = memoryview(bytearray(ROOM))
    assert channel.read(room) == 0
    with pytest.raises(ssl.SSLWantReadError):
        peer.object.unwrap()
    channel.feed(memoryview(peer.outgoing.read()))
    assert channel.read(room) == -1


def test_older_versions_are_refused(made) -> None:
    channel = Channel(make_context(Config(tls=Tls(**made.keys(), version_min="1.3"))))
    client = made.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        peer.do_handshake()
    with pytest.raises(ssl.SSLError, match=r"(?i)unsupported protocol"):
        feed(channel, outgoing.read())
    assert channel.take()[0] == 21  # an alert
