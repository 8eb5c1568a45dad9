"""Every transport's links pass the one check; and what a peer that breaks the rules costs."""

from __future__ import annotations

import asyncio
import pathlib
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.links import LinkCase, Recorder, check_link
from transports import framing
from transports.api import FRAME_BYTES_MAX, WINDOW_BYTES
from transports.simulated import SimulatedNetwork
from transports.stream import TcpTransport, UnixTransport

DEADLINE_S = 20


async def settle(until: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not until():
            await asyncio.sleep(0.001)


def test_tcp_links_keep_every_promise() -> None:
    transport = TcpTransport()
    asyncio.run(check_link(LinkCase(transport, transport, "tcp://127.0.0.1:0", settle)))


def test_unix_links_keep_every_promise(tmp_path: pathlib.Path) -> None:
    transport = UnixTransport()
    asyncio.run(check_link(LinkCase(transport, transport, f"unix://{tmp_path}/link", settle)))


def test_tls_links_keep_every_promise(tmp_path: pathlib.Path) -> None:
    import ssl

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
        + ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("openssl cannot make a certificate here")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    transport = TcpTransport(server, ssl.create_default_context(cafile=str(certificate)))
    asyncio.run(check_link(LinkCase(transport, transport, "tls://127.0.0.1:0", settle)))


@pytest.mark.parametrize("seed", range(5))
def test_simulated_links_keep_every_promise(seed: int) -> None:
    network = SimulatedNetwork(seed)
    network.weather.jitter_ns = 5_000_000

    async def by_hand(until: Callable[[], bool]) -> None:
        network.settle()
        assert until()

    case = LinkCase(network.at("here"), network.at("there"), "sim://there/service", by_hand)
    asyncio.run(check_link(case))


def test_a_cut_delays_frames_in_order_and_closes_the_link_when_it_lasts() -> None:
    network = SimulatedNetwork(1)
    far = Recorder()

    async def run() -> Recorder:
        await network.at("there").listen("sim://there/x", lambda: far)
        near = Recorder()
        await network.at("here").connect("sim://there/x", near)
        return near

    near = asyncio.run(run())
    network.settle()
    assert near.link is not None
    near.link.send(b"one")
    network.partition("here", "there")
    near.link.send(b"two")
    network.advance(1_000_000_000)
    assert far.frames == []
    network.heal()
    near.link.send(b"three")
    network.settle()
    assert far.frames == [b"one", b"two", b"three"]
    network.partition("here", "there")
    near.link.send(b"lost")
    network.advance(30_000_000_000)
    assert near.reasons == far.reasons == ["the peer does not answer"]


@given(st.lists(st.binary(max_size=300), max_size=20), st.data())
def test_any_cut_gives_the_same_frames(frames: list[bytes], data: st.DataObject) -> None:
    wire = (
        b"".join(framing.frame_head(len(frame)) + frame for frame in frames) + framing.credit(5) + framing.close("bye")
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=10)))
    receiver = framing.Receiver()
    got: list[object] = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        for message in receiver.feed(wire[start:end]):
            got.append(bytes(message) if isinstance(message, memoryview) else message)
    assert got[: len(frames)] == frames
    granted, closing = got[len(frames) :]
    assert isinstance(granted, framing.Granted) and granted.size == 5
    assert isinstance(closing, framing.Closing) and closing.reason == "bye"


@given(st.binary(max_size=100))
def test_garbage_is_framing_or_refused_never_worse(data: bytes) -> None:
    try:
        for _ in framing.Receiver().feed(data):
            pass
    except framing.FramingError:
        pass


def test_a_frame_beyond_the_credit_or_the_limit_breaks_the_link() -> None:
    with pytest.raises(framing.FramingError, match="credit"):
        list(framing.Receiver(window_bytes=10).feed(framing.frame_head(11)))
    with pytest.raises(framing.FramingError, match="limit"):
        list(framing.Receiver(window_bytes=1 << 40).feed(framing.frame_head(FRAME_BYTES_MAX + 1)))


def test_a_peer_that_breaks_the_framing_loses_its_connection_only() -> None:
    async def run() -> None:
        handlers: list[Recorder] = []

        def accept() -> Recorder:
            handlers.append(Recorder())
            return handlers[-1]

        listener = await TcpTransport().listen("tcp://127.0.0.1:0", accept)
        host, port = listener.address.removeprefix("tcp://").split(":")
        good = Recorder()
        await TcpTransport().connect(listener.address, good)
        for bad in (b"\xff" * 64, framing.frame_head(FRAME_BYTES_MAX + 1), framing.credit(WINDOW_BYTES)):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(bad)
            async with asyncio.timeout(DEADLINE_S):
                try:
                    assert await reader.read() == b""
                except ConnectionResetError:
                    pass
            writer.close()
        assert good.link is not None
        good.link.send(b"fine")
        await settle(lambda: any(handler.frames == [b"fine"] for handler in handlers))
        good.link.close()
        await listener.close()

    asyncio.run(run())
