"""MQTT over WebSocket and TLS: mqtt.js and paho-mqtt against the real process, and what must be refused."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
from collections.abc import Callable
from typing import Literal

import paho.mqtt.client as paho
import pytest

from conformance.node_clients import NoNode, run
from conformance.process import GatewayProcess
from protocols.mqtt import packets as p
from protocols.mqtt.wire import decode, encode
from protocols.websocket import GUID, frame
from tests.mqtt.clients import Paho
from tests.thalweg.certificates import Certificates

KEY = base64.b64encode(b"0123456789abcdef").decode()


def port_of(server: GatewayProcess, name: str) -> int:
    return int(json.loads(server.ready_file.read_text())["listeners"][name].rpartition(":")[2])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server(start_gateway: Callable[..., GatewayProcess], certificates: Certificates) -> GatewayProcess:
    flags = ["--kafka", "off", "--nats", "off", "--resp", "off"]
    keys = {
        "MQTT__WEBSOCKET_LISTEN": "127.0.0.1:0",
        "MQTT__WEBSOCKET_TLS_LISTEN": "127.0.0.1:0",
        "MQTT__TLS_LISTEN": "127.0.0.1:0",
        "MQTT__WEBSOCKET_ORIGINS": "https://good.example, http://localhost:3000",
        **{f"TLS__{name.upper()}": value for name, value in certificates.keys().items()},
    }
    return start_gateway(":memory:", flags, {f"THALWEG_{key}": value for key, value in keys.items()})


@pytest.fixture
def port(server: GatewayProcess) -> int:
    return port_of(server, "mqtt_websocket")


@pytest.mark.parametrize("version", ["3", "4", "5"])
@pytest.mark.parametrize("scheme", ["mqtt", "ws"])
def test_mqtt_js_does_all_that_its_users_do(server: GatewayProcess, scheme: str, version: str) -> None:
    listener = "mqtt" if scheme == "mqtt" else "mqtt_websocket"
    path = "/mqtt" if scheme == "ws" else ""
    try:
        said = run(
            "mqtt_client", f"{scheme}://127.0.0.1:{port_of(server, listener)}{path}", version, f"js{scheme}{version}"
        )
    except NoNode as why:
        pytest.skip(str(why))
    assert said["qos"] == 300 and (version != "5" or said["properties"])


def from_a_page(client: paho.Client) -> None:
    client.ws_set_options("/mqtt", {"Origin": "http://localhost:3000"})


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_paho_over_websocket_speaks_with_paho_over_tcp(server: GatewayProcess, port: int, version: str) -> None:
    web = Paho(port, f"web{version}", version, before=from_a_page, transport="websockets")
    plain = Paho(server.port("mqtt"), f"plain{version}", version)
    for one, other in ((web, plain), (plain, web)):
        topic = f"web/{version}/{one is web}"
        other.subscribe(topic, qos=2)
        for qos in (0, 1, 2):
            one.publish(topic, b"x" * (200 * 1024 if qos == 1 else 10), qos)
        assert sorted(qos for _, _, qos in other.take(3)) == [0, 1, 2]
    web.close()
    plain.close()


class Raw:
    """A WebSocket client of bytes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)

    def ask(self, path: str = "/mqtt", **fields: str) -> bytes:
        told = {
            "Host": "x", "Upgrade": "websocket", "Connection": "keep-alive, Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Protocol": "mqtt",
        }  # fmt: skip
        told |= {name.replace("_", "-"): value for name, value in fields.items()}
        lines = [f"{name}: {value}" for name, value in told.items() if value]
        self.socket.sendall("\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode())
        return self.head()

    def head(self) -> bytes:
        got = b""
        while b"\r\n\r\n" not in got:
            more = self.socket.recv(4096)
            if not more:
                return got
            got += more
        return got

    def send(self, payload: bytes, opcode: int = 2, final: bool = True, masked: bool = True, rsv: int = 0) -> None:
        data = bytearray(frame(payload, opcode))
        data[0] = (0x80 if final else 0) | rsv << 4 | opcode
        header = len(data) - len(payload)
        if masked:
            key = b"\x11\x22\x33\x44"
            data[1] |= 0x80
            data[header:] = key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
        self.socket.sendall(data)

    def frames(self) -> list[tuple[int, bytes]]:
        """All until the end of the connection."""
        got = bytearray()
        while more := self.socket.recv(65536):
            got += more
        found = []
        while got:
            opcode, size, at = got[0] & 15, got[1], 2
            assert got[0] & 0x80 and size < 128, "the server's frames are whole and not masked"
            if size > 125:
                at += 2 if size == 126 else 8
                size = int.from_bytes(got[2:at], "big")
            found.append((opcode, bytes(got[at : at + size])))
            del got[: at + size]
        return found


def test_the_handshake_is_answered_as_rfc_6455_says(port: int) -> None:
    accept = base64.b64encode(hashlib.sha1(KEY.encode() + GUID).digest()).decode()
    for path, offered, chosen in [("/mqtt", "mqtt", "mqtt"), ("/", "other, mqttv3.1", "mqttv3.1"), ("/x?y", "", "")]:
        answer = Raw(port).ask(path, Sec_WebSocket_Protocol=offered).decode()
        assert answer.startswith("HTTP/1.1 101 ") and f"Sec-WebSocket-Accept: {accept}\r\n" in answer
        assert (f"Sec-WebSocket-Protocol: {chosen}\r\n" in answer) if chosen else "Protocol:" not in answer


REFUSED = {
    "another version": ({"Sec_WebSocket_Version": "8"}, 426, "Sec-WebSocket-Version: 13"),
    "no upgrade": ({"Upgrade": ""}, 426, "Upgrade: websocket"),
    "no key": ({"Sec_WebSocket_Key": ""}, 400, "Sec-WebSocket-Key"),
    "a short key": ({"Sec_WebSocket_Key": "YQ=="}, 400, "Sec-WebSocket-Key"),
    "an unknown subprotocol": ({"Sec_WebSocket_Protocol": "stomp"}, 400, "mqtt"),
    "a foreign origin": ({"Origin": "https://evil.example"}, 403, "origin"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_handshake_that_is_no_good_is_told_why(port: int, name: str) -> None:
    fields, status, words = REFUSED[name]
    raw = Raw(port)
    answer = raw.ask(**fields)
    assert answer.startswith(b"HTTP/1.1 %d " % status) and words.encode() in answer
    assert raw.socket.recv(10) == b""


def test_what_is_not_http_and_what_is_endless_is_closed(port: int) -> None:
    for data in (
        b"\x10\x0c\0\4MQTT\4\2\0\0\0\0\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
    ):
        raw = Raw(port)
        raw.socket.sendall(data)
        assert raw.head().startswith(b"HTTP/1.1 4")
        assert raw.socket.recv(10) == b""


def test_a_listed_origin_may_connect(port: int) -> None:
    assert Raw(port).ask(Origin="HTTPS://good.example").startswith(b"HTTP/1.1 101 ")


def opened(port: int, client_id: bytes = b"raw") -> Raw:
    raw = Raw(port)
    raw.ask()
    raw.send(encode(p.Connect(4, True, 0, client_id)))
    return raw


CONNACK = (2, b"\x20\x02\x00\x00")
BAD_FRAMES: dict[str, tuple[Callable[[Raw], None], int]] = {
    "not masked": (lambda raw: raw.send(b"\xc0\0", masked=False), 1002),
    "a reserved bit": (lambda raw: raw.send(b"\xc0\0", rsv=4), 1002),
    "text": (lambda raw: raw.send(b"hello", opcode=1), 1003),
    "a reserved opcode": (lambda raw: raw.send(b"", opcode=3), 1002),
    "a long ping": (lambda raw: raw.send(b"x" * 126, opcode=9), 1002),
    "a ping in parts": (lambda raw: raw.send(b"x", opcode=9, final=False), 1002),
    "a continuation of nothing": (lambda raw: raw.send(b"x", opcode=0), 1002),
    "a close of one byte": (lambda raw: raw.send(b"x", opcode=8), 1002),
    "a close with a code that nobody may send": (lambda raw: raw.send(b"\x03\xed", opcode=8), 1002),
    "a length of 2 to the 63": (lambda raw: raw.socket.sendall(b"\x82\xff\x80" + b"\0" * 11), 1002),
    "a length longer than need be": (lambda raw: raw.socket.sendall(b"\x82\xfe\0\5" + b"\0" * 4), 1002),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_a_frame_that_is_not_allowed_ends_the_connection_with_its_code(port: int, name: str) -> None:
    break_off, code = BAD_FRAMES[name]
    raw = opened(port)
    break_off(raw)
    assert raw.frames() == [CONNACK, (8, code.to_bytes(2, "big"))]


def test_close_is_answered_with_its_code_and_the_will_is_published(server: GatewayProcess, port: int) -> None:
    watcher = Paho(server.port("mqtt"), "close-watch")
    watcher.subscribe("web/will", qos=1)
    raw = Raw(port)
    raw.ask()
    raw.send(encode(p.Connect(4, True, 0, b"closing", p.Will(b"web/will", b"gone", 1, False))))
    raw.send((3000).to_bytes(2, "big") + b"bye", opcode=8)
    assert raw.frames() == [CONNACK, (8, (3000).to_bytes(2, "big"))]
    assert watcher.take(1) == [("web/will", b"gone", 1)]
    watcher.close()


def test_packets_need_not_be_frames_and_pings_come_between(port: int) -> None:
    """MQTT 5.0 section 6.0: packets in parts of frames, several in one, a message in parts with a ping between them."""
    raw = Raw(port)
    raw.ask()
    data = encode(p.Connect(4, True, 0, b"parts")) + encode(p.Subscribe(1, ((b"parts", 1),)))
    data += encode(p.Publish(b"parts", b"x" * 70_000, 1, False, False, 7)) + encode(p.Ping(p.PINGREQ)) * 2
    raw.send(data[:5], final=False)
    raw.send(b"are you there", opcode=9)
    raw.send(data[5:20], opcode=0, final=False)
    raw.send(b"", opcode=0)
    for at in range(20, 200):
        raw.send(data[at : at + 1])
    raw.send(data[200:] + encode(p.Disconnect()))
    found = raw.frames()
    assert (10, b"are you there") in found and found[-1] == (8, b"\x03\xe8")
    plain, kinds, at = b"".join(payload for opcode, payload in found if opcode == 2), [], 0
    while at < len(plain):
        one = decode(plain, at, len(plain), 4, from_client=False)
        assert one is not None
        kinds.append(type(one[0]).__name__)
        at = one[1]
    assert sorted(kinds) == sorted(["Connack", "Suback", "Publish", "Acknowledge", "Ping", "Ping"])


def test_messages_reach_a_hundred_websocket_subscribers(server: GatewayProcess, port: int) -> None:
    watchers = []
    for number in range(100):
        raw = opened(port, b"fan%d" % number)
        raw.send(encode(p.Subscribe(1, ((b"fan/#", 0),))))
        watchers.append(raw)
    for raw in watchers:
        got = b""
        while len(got) < 6 + 7:
            got += raw.socket.recv(100)
    pub = Paho(server.port("mqtt"), "fan-pub")
    pub.publish("fan/x", os.urandom(100_000), 1)
    pub.publish("fan/end", b"end", 1)
    pub.close()
    for raw in watchers:
        got = b""
        while not got.endswith(b"fan/endend"):
            got += raw.socket.recv(1 << 17)
        assert len(got) > 100_000
        raw.socket.close()


@pytest.mark.parametrize("transport, listener", [("tcp", "mqtt_tls"), ("websockets", "mqtt_websocket_tls")])
def test_paho_over_tls(
    server: GatewayProcess, certificates: Certificates, transport: Literal["tcp", "websockets"], listener: str
) -> None:
    def secure(client: paho.Client) -> None:
        client.tls_set_context(certificates.client())
        from_a_page(client)

    client = Paho(port_of(server, listener), f"tls-{transport}", "5.0", before=secure, transport=transport)
    client.subscribe("tls/#", qos=2)
    for qos in (0, 1, 2):
        client.publish("tls/x", b"x" * 100_000, qos)
    assert [qos for _, _, qos in client.take(3)] == [0, 1, 2]
    client.close()
