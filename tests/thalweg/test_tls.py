"""TLS on both loops: whole exchanges, whatever is not TLS, whoever is not let in, certificates that change."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import pathlib
import socket
import ssl
import struct
from contextlib import asynccontextmanager

import pytest
import uvloop
from cryptography.hazmat.primitives import serialization

from protocols.identity import Secret
from tests.thalweg.certificates import Certificates
from tests.thalweg.test_tls_channel import Peer
from thalweg.config import Config, ConfigError, Kafka, Mqtt, Nats, Resp, Tls, validate
from thalweg.gateway import Driver, Gateway
from thalweg.tls import Channel, TlsError, make_context

DEADLINE_S = 20
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
ANY = "127.0.0.1:0"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=list(LOOPS))
def run(request):
    def within(work):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(asyncio.wait_for(work, DEADLINE_S))

    return within


def config(made: Certificates, tls_first: str = "never", **more: str) -> Config:
    return Config(
        data=":memory:",
        tls=Tls(**{**made.keys(), **more}),
        kafka=Kafka(listen=ANY, tls_listen=ANY),
        nats=Nats(listen=ANY, tls_listen=ANY, tls_first=tls_first),
        mqtt=Mqtt(listen=ANY, tls_listen=ANY),
        resp=Resp(listen=ANY, tls_listen=ANY),
    )


@asynccontextmanager
async def connected(gateway: Gateway, name: str, context: ssl.SSLContext | None):
    reader, writer = await asyncio.open_connection(
        *gateway.listeners[name], ssl=context, server_hostname="localhost" if context else None
    )
    try:
        yield reader, writer
    finally:
        writer.close()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What the peer still says; that it ends by a reset or an alert says nothing here."""
    said = b""
    try:
        while more := await reader.read(65536):
            said += more
    except (OSError, ssl.SSLError):
        pass
    return said


def exchange(address: tuple[str, int], made: Certificates, words: bytes) -> bytes:
    """All that is answered, by a client that reads slowly, until the end; a cut without close_notify raises."""
    with (
        socket.create_connection(address) as plain,
        made.client().wrap_socket(plain, server_hostname="localhost") as peer,
    ):
        peer.sendall(words)
        peer.settimeout(DEADLINE_S)
        said = b""
        while more := peer.recv(20_000):
            said += more
        return said


def test_megabytes_pass_both_ways_and_the_end_is_in_order(run, made) -> None:
    value = bytes(range(256)) * 12_000
    words = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%b\r\n" % (len(value), value) + b"GET k\r\nQUIT\r\n"

    async def work():
        async with Gateway(config(made)) as gateway:
            said = await asyncio.to_thread(exchange, gateway.listeners["resp_tls"], made, words)
            assert said == b"+OK\r\n$%d\r\n%b\r\n+OK\r\n" % (len(value), value)

    run(work())


def test_what_is_pipelined_while_reading_is_paused_is_not_lost(run, made) -> None:
    async def work():
        async with Gateway(config(made)) as gateway, connected(gateway, "resp_tls", made.client()) as (reader, writer):
            writer.write(b"BLPOP q 0\r\n" + b"PING\r\n" * 50_000)
            await writer.drain()
            async with connected(gateway, "resp", None) as (other, push):
                push.write(b"RPUSH q x\r\n")
                assert await other.readexactly(4) == b":1\r\n"
            answer = b"*2\r\n$1\r\nq\r\n$1\r\nx\r\n" + b"+PONG\r\n" * 50_000
            assert await reader.readexactly(len(answer)) == answer

    run(work())


def test_nats_speaks_in_the_clear_and_then_tls(run, made) -> None:
    async def work():
        async with Gateway(config(made)) as gateway, connected(gateway, "nats_tls", None) as (reader, writer):
            told = await reader.readline()
            assert b'"tls_required":true' in told
            assert b"tls_verify" not in told
            await writer.start_tls(made.client(), server_hostname="localhost")
            writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
            assert await reader.readline() == b"PONG\r\n"

    run(work())


@pytest.mark.parametrize("tls_first", ["always", "auto"])
def test_nats_over_tls_from_the_first_byte(run, made, tls_first) -> None:
    async def work():
        async with (
            Gateway(config(made, tls_first)) as gateway,
            connected(gateway, "nats_tls", made.client()) as (reader, _),
        ):
            assert b'"tls_required":true' in await reader.readline()

    run(work())


def test_nats_left_to_the_client_speaks_in_the_clear_to_who_waits(run, made) -> None:
    async def work():
        async with Gateway(config(made, "auto")) as gateway, connected(gateway, "nats_tls", None) as (reader, writer):
            assert b'"tls_required":true' in await reader.readline()
            await writer.start_tls(made.client(), server_hostname="localhost")
            writer.write(b"PING\r\n")
            assert await reader.readline() == b"PONG\r\n"

    run(work())


@pytest.mark.parametrize("name", ["kafka_tls", "nats_tls", "mqtt_tls", "resp_tls"])
@pytest.mark.parametrize(
    "words",
    [
        b"PING\r\n",
        b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(300),
        b"\x16\x03\x01\xff\xff" + b"x" * 500,
    ],
)
def test_plain_bytes_on_a_tls_listener_cost_their_connection(run, made, name, words) -> None:
    async def work():
        async with Gateway(config(made)) as gateway:
            async with connected(gateway, name, None) as (reader, writer):
                writer.write(words)
                said = await ended(reader)
                assert b"PONG" not in said
            assert gateway.metrics()[f"{name.removesuffix('_tls')}_tls_errors_total"] == 1
            assert gateway.metrics().get("session_crashes_total", 0) == 0

    run(work())


@pytest.mark.parametrize("name", ["kafka", "nats", "mqtt", "resp"])
def test_tls_on_a_plain_listener_is_an_error_to_the_client_and_to_nobody_else(run, made, name) -> None:
    async def work():
        async with Gateway(config(made)) as gateway:
            with pytest.raises((ssl.SSLError, OSError, TimeoutError)):
                async with asyncio.timeout(1), connected(gateway, name, made.client()):
                    pass
            async with connected(gateway, "resp", None) as (reader, writer):
                writer.write(b"PING\r\n")
                assert await reader.readline() == b"+PONG\r\n"
            assert gateway.metrics().get("session_crashes_total", 0) == 0

    run(work())


@pytest.mark.parametrize("name", ["resp_tls", "nats_tls"])
def test_half_a_handshake_and_silence_is_closed_in_time(run, made, name, monkeypatch) -> None:
    async def work():
        async with Gateway(config(made)) as gateway, connected(gateway, name, None) as (reader, writer):
            writer.write(b"\x16\x03\x01\x02\x00\x01")
            await ended(reader)
            assert gateway.metrics()[f"{name.removesuffix('_tls')}_tls_errors_total"] == 1

    monkeypatch.setattr(Driver, "handshake_s", 0.05)
    run(work())


def test_a_listener_that_asks_for_certificates_lets_in_who_has_a_good_one(run, made) -> None:
    made.issue("device")
    made.issue("late", days=-1)
    strangers = Certificates.make(made.folder / "strangers")
    strangers.issue("device")
    foreign = made.client()
    foreign.load_cert_chain(strangers.path("device.pem"), strangers.path("device.key"))

    async def asked(gateway, name, context):
        try:
            async with connected(gateway, name, context) as (reader, writer):
                writer.write(b"PING\r\n")
                return await ended_or_line(reader)
        except (OSError, ssl.SSLError):
            return b""

    async def work():
        async with Gateway(config(made, client_ca=made.ca)) as gateway:
            assert await asked(gateway, "resp_tls", made.client("device")) == b"+PONG\r\n"
            for context in (made.client(), made.client("late"), foreign):
                assert await asked(gateway, "resp_tls", context) == b""
            assert gateway.metrics()["resp_tls_errors_total"] == 3
            async with connected(gateway, "nats_tls", None) as (reader, _):
                assert b'"tls_verify":true' in await reader.readline()
        optional = config(made, client_ca=made.ca, client_certificates="optional")
        async with Gateway(optional) as gateway:
            assert await asked(gateway, "resp_tls", made.client()) == b"+PONG\r\n"
            assert await asked(gateway, "resp_tls", foreign) == b""

    run(work())


async def ended_or_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except (OSError, ssl.SSLError):
        return b""


def serial(writer: asyncio.StreamWriter) -> str:
    return writer.get_extra_info("peercert")["serialNumber"]


def test_certificates_read_again_are_for_new_connections_and_bad_ones_for_none(run, tmp_path) -> None:
    made = Certificates.make(tmp_path)

    async def shown(gateway):
        async with connected(gateway, "resp_tls", made.client()) as (_, writer):
            return serial(writer)

    async def work():
        async with Gateway(config(made)) as gateway, connected(gateway, "resp_tls", made.client()) as (reader, writer):
            first = serial(writer)
            made.issue("server")
            assert await shown(gateway) == first
            assert gateway.reload() == ["certificates were read again"]
            second = await shown(gateway)
            assert second != first
            pathlib.Path(made.path("server.pem")).write_text("nonsense")
            (said,) = gateway.reload()
            assert "server.pem" in said
            assert "stay" in said
            assert await shown(gateway) == second
            writer.write(b"PING\r\n")
            assert await reader.readline() == b"+PONG\r\n"

    run(work())


def test_an_idle_peer_that_resets_its_connection_leaves_nothing_behind(run, made) -> None:
    async def work():
        async with Gateway(config(made)) as gateway:
            for name in ("resp_tls", "nats_tls"):
                with socket.create_connection(gateway.listeners[name]) as peer:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            driver = gateway._driver
            while any(driver.strangers.values()) or any(driver.connections.values()):
                await asyncio.sleep(0.001)

    run(work())


def test_handshakes_under_way_count_as_connections(run, made) -> None:
    async def work():
        told = dataclasses.replace(config(made), resp=Resp(listen="off", tls_listen=ANY, connections_max=3))
        async with Gateway(told) as gateway:
            address = gateway.listeners["resp_tls"]
            silent = [await asyncio.open_connection(*address) for _ in range(3)]
            reader, _ = await asyncio.open_connection(*address)
            assert await ended(reader) == b""
            assert gateway.metrics()["resp_connections_refused_total"] == 1
            silent[0][1].close()
            while sum(map(len, gateway._driver.strangers.values())) == 3:
                await asyncio.sleep(0.001)
            async with connected(gateway, "resp_tls", made.client()) as (reader, writer):
                writer.write(b"PING\r\n")
                assert await reader.readline() == b"+PONG\r\n"

    run(work())


def test_who_does_not_read_is_cut_off_over_tls_too(run, made) -> None:
    async def work():
        told = dataclasses.replace(config(made), nats=Nats(listen=ANY, tls_listen=ANY, pending_bytes_max=1_000_000))
        async with Gateway(told) as gateway, connected(gateway, "nats", None) as (_, publisher):
            reader, writer = await asyncio.open_connection(*gateway.listeners["nats_tls"], limit=1024)
            await reader.readline()
            await writer.start_tls(made.client(), server_hostname="localhost")
            writer.write(b"CONNECT {}\r\nSUB x 1\r\nPING\r\n")
            while gateway.metrics()["nats_connections"] != 2 or not gateway._driver.sequencer.interest._tries:
                await asyncio.sleep(0.001)
            writer.transport.pause_reading()
            publisher.write(b'CONNECT {"verbose":false}\r\n')
            while not gateway.metrics().get("nats_slow_consumers_total"):
                publisher.write((b"PUB x 100000\r\n" + b"x" * 100_000 + b"\r\n") * 10)
                await publisher.drain()
                await asyncio.sleep(0)
            assert gateway.metrics().get("session_crashes_total", 0) == 0
            writer.transport.abort()

    run(work())


def test_what_was_read_before_the_peer_closed_is_not_lost(run, made, tmp_path) -> None:
    """A wrong password has the connection wait; the right one and a command lie behind it in OpenSSL's buffer, then the end."""
    file = tmp_path / "users.toml"
    file.write_text(f'[users.a]\nsecret = "{Secret.of(b"pw", b"salt", 1)}"\nall = true\n')
    file.chmod(0o600)

    async def work():
        async with Gateway(dataclasses.replace(config(made), users=str(file))) as gateway:
            peer = Peer(made)
            reader, writer = await asyncio.open_connection(*gateway.listeners["resp_tls"])
            while not peer.object.version() or peer.outgoing.pending:
                writer.write(peer.speak())
                peer.incoming.write(await reader.read(65536) if not peer.object.version() else b"")
            for words in (b"AUTH a wrong\r\n", b"AUTH a pw\r\n", b"SET k v\r\n"):
                peer.object.write(words)
            writer.write(peer.outgoing.read())
            writer.write_eof()
            await reader.read()
            async with connected(gateway, "resp", None) as (answers, asker):
                asker.write(b"AUTH a pw\r\nGET k\r\n")
                assert await answers.readline() == b"+OK\r\n"
                assert await answers.readline() == b"$1\r\n"

    run(work())


def test_connections_over_tls_leave_nothing_behind(run, made) -> None:
    async def work():
        async with Gateway(config(made)) as gateway:
            for _ in range(20):
                async with connected(gateway, "resp_tls", made.client()) as (reader, writer):
                    writer.write(b"QUIT\r\n")
                    assert await reader.readline() == b"+OK\r\n"
            driver = gateway._driver
            while driver.connections["resp"]:
                await asyncio.sleep(0.001)
            gc.collect()
            assert not driver.handshakes
            assert sum(isinstance(one, Channel) for one in gc.get_objects()) == 0

    run(work())


def test_what_cannot_be_used_is_named(made, tmp_path) -> None:
    def complaint(**keys: str) -> str:
        with pytest.raises(TlsError) as caught:
            make_context(Config(tls=Tls(**{**made.keys(), **keys})))
        return str(caught.value)

    other = tmp_path / "other"
    other.mkdir()
    strange = Certificates.make(other)
    assert (
        complaint(certificate=str(tmp_path / "no.pem"))
        == f"tls.certificate: {tmp_path}/no.pem: No such file or directory"
    )
    assert "key values mismatch" in complaint(key=strange.path("server.key"))
    (tmp_path / "empty.pem").write_text("")
    assert "empty.pem" in complaint(certificate=str(tmp_path / "empty.pem"))
    assert "tls.client_ca" in complaint(client_ca=str(tmp_path / "empty.pem"))
    key = serialization.load_pem_private_key(pathlib.Path(made.path("server.key")).read_bytes(), None)
    (tmp_path / "locked.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert "encrypted" in complaint(key=str(tmp_path / "locked.key"))


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"kafka": {"tls_listen": ANY}}, "kafka.tls_listen: needs tls.certificate and tls.key"),
        ({"tls": {"certificate": "a"}}, "tls.key: is needed with a certificate, and a certificate with it"),
        ({"tls": {"client_ca": "a"}}, "tls.client_ca: says nothing without a certificate"),
        ({"nats": {"tls_first": "soon"}}, "nats.tls_first: Input should be 'never', 'always' or 'auto' (given 'soon')"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(tree, words) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(tree)
    assert str(caught.value) == words
