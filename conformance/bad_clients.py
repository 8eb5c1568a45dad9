"""Clients that break the rules, over real sockets: each costs its own connection and bounded memory, and nobody else anything.

``ATTACKS`` is the table: what is said after a proper greeting (or instead of one), and whether the server must hang up. The
same table runs against real nats-server, mosquitto and redis-server, so that what it expects is what their users know.
``SLOW_READERS`` are the clients that ask for much and read nothing. ``Honest`` is everybody else: one well-behaved
connection a protocol that must go on working.

Nothing here imports a protocol: every byte is written out, as an attacker would.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ANSWER_S_MAX = 10.0
"""An honest client waits so long at most; not a goal."""
CLOSE_S_MAX = 10.0
OPEN_S = 0.2
"""A connection that may stay is looked at for so long."""
FLOOD_BYTES = 128 * 1024 * 1024

Ports = dict[str, int]


def number16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def number32(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "big")


def kafka_request(api: int, version: int, body: bytes, correlation: int = 7) -> bytes:
    """A frame with a header of version 1."""
    frame = number16(api) + number16(version) + number32(correlation) + number16(3) + b"bad" + body
    return number32(len(frame)) + frame


def mqtt_packet(first: int, body: bytes) -> bytes:
    length, size = b"", len(body)
    while True:
        size, digit = size >> 7, size & 127
        length += bytes([digit | (128 if size else 0)])
        if not size:
            return bytes([first]) + length + body


def mqtt_text(text: bytes) -> bytes:
    return number16(len(text)) + text


def mqtt_connect(client_id: bytes, will: tuple[bytes, bytes] | None = None, flags: int = 2) -> bytes:
    """MQTT 3.1.1, clean session."""
    body = mqtt_text(b"MQTT") + bytes([4, flags | (4 if will else 0)]) + number16(0) + mqtt_text(client_id)
    if will:
        body += mqtt_text(will[0]) + mqtt_text(will[1])
    return mqtt_packet(0x10, body)


HTTP = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HTTP_POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\nSET stolen yes\r\nQUIT\r\n"
TLS = bytes.fromhex("16030100c8010000c40303") + bytes(range(189))
API_VERSIONS = kafka_request(18, 0, b"")
NATS_CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"protocol":1,"headers":true,"lang":"x","version":"1"}\r\n'
MQTT_CONNECT = mqtt_connect(b"")
RESP_PING = b"*1\r\n$4\r\nPING\r\n"
GREETINGS = {"kafka": API_VERSIONS, "nats": NATS_CONNECT + b"PING\r\n", "mqtt": MQTT_CONNECT, "resp": RESP_PING}


WEBSOCKET = (
    b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)
GREETINGS_OF_EDGES = {"mqtt_websocket": WEBSOCKET, "http": HTTP}


def greeted(protocol: str, received: bytes) -> bool:
    """Whether what came is the whole answer to the greeting."""
    if protocol in GREETINGS_OF_EDGES:
        return b"\r\n\r\n" in received
    if protocol == "kafka":
        return len(received) >= 4 and len(received) >= 4 + int.from_bytes(received[:4], "big")
    return {"nats": b"PONG\r\n", "mqtt": b"\x20\x02\x00\x00", "resp": b"+PONG\r\n"}[protocol] in received


def connect(ports: Ports, protocol: str, *, greet: bool = True) -> socket.socket:
    """A connection; with ``greet`` one that the server has accepted as its protocol's.

    Raises:
        ConnectionError: the server hung up, or said something else.
    """
    connection = socket.create_connection(("127.0.0.1", ports[protocol]), ANSWER_S_MAX)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if greet:
        exchange(
            connection, {**GREETINGS, **GREETINGS_OF_EDGES}[protocol], lambda received: greeted(protocol, received)
        )
    return connection


def exchange(connection: socket.socket, request: bytes, enough: Callable[[bytes], bool]) -> bytes:
    """Send, and read until the answer is ``enough``."""
    connection.sendall(request)
    received = b""
    while not enough(received):
        got = connection.recv(65536)
        if not got:
            raise ConnectionError(f"closed after {received[-100:]!r}")
        received += got
    return received


def is_closed(connection: socket.socket, wait_s: float) -> bool:
    """Whether the server hangs up within ``wait_s``; what it says before is read and dropped."""
    deadline = time.monotonic() + wait_s
    while (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            if not connection.recv(1 << 20):
                return True
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


@dataclass(frozen=True)
class Attack:
    """``closed``: True the server must hang up, False it must not (yet), None either is right."""

    protocol: str
    name: str
    data: bytes
    closed: bool | None
    greet: bool = True

    def run(self, ports: Ports) -> bool:
        """Whether the server hung up."""
        with connect(ports, self.protocol, greet=self.greet) as connection:
            with contextlib.suppress(OSError):  # it may hang up before everything is sent
                connection.sendall(self.data)
            return is_closed(connection, CLOSE_S_MAX if self.closed else OPEN_S)


def huge_arrays() -> bytes:
    """Metadata v1 that announces 2**31 - 1 topics and holds none."""
    return kafka_request(3, 1, number32(0x7FFFFFFF))


def garbage(seed: int, size: int = 65536) -> bytes:
    """Random bytes whose first do not open any of the four protocols."""
    return b"\xf7" + random.Random(seed).randbytes(size - 1)


ATTACKS: Sequence[Attack] = (
    Attack("kafka", "a frame of 2 GiB", number32(0x7FFFFFFF) + b"\x00\x12", True),
    Attack("kafka", "a frame of negative length", number32(-1) + bytes(64), True),
    Attack("kafka", "a frame too short for its header", number32(1) + b"\x00", True),
    Attack("kafka", "an API nobody knows", kafka_request(9999, 0, b""), True),
    Attack("kafka", "an array of 2^31 topics", huge_arrays(), True),
    Attack("kafka", "a produce request cut short", kafka_request(0, 7, b"\xff\xff\xff\xff\x00"), True),
    Attack("kafka", "HTTP", HTTP, True, greet=False),
    Attack("kafka", "TLS", TLS, True, greet=False),
    Attack("kafka", "garbage", garbage(1), True, greet=False),
    Attack("kafka", "half a frame and silence", number32(100) + bytes(50), False),
    Attack("kafka", "100 MB announced and silence", number32(100_000_000) + bytes(50), False),
    Attack("nats", "a control line without end", b"PUB " + b"a" * 100_000, True),
    Attack("nats", "a payload above the limit", b"PUB a 200000000\r\n", True),
    Attack("nats", "a negative size", b"PUB a -1\r\nx\r\n", True),
    Attack("nats", "a size that is no number", b"PUB a 1x\r\nx\r\n", True),
    Attack("nats", "a payload longer than announced", b"PUB a 2\r\nabcdef\r\n", True),
    Attack("nats", "headers longer than the message", b"HPUB a 100 10\r\nNATS/1.0\r\n\r\n\r\n", True),
    Attack("nats", "an operation nobody knows", b"FROB a\r\n", True),
    Attack("nats", "HTTP", HTTP, True, greet=False),
    Attack("nats", "TLS", TLS, True, greet=False),
    Attack("nats", "garbage", garbage(2), True, greet=False),
    Attack("nats", "half a message and silence", b"PUB a 10\r\nhal", False),
    Attack("mqtt", "a packet before CONNECT", b"\xc0\x00", True, greet=False),
    Attack("mqtt", "a length of five bytes", b"\x30\xff\xff\xff\xff\x7f", True),
    Attack("mqtt", "256 MB announced before CONNECT", b"\x10\xff\xff\xff\x7f", True, greet=False),
    Attack("mqtt", "CONNECT twice", MQTT_CONNECT, True),
    Attack("mqtt", "a wildcard in a published topic", mqtt_packet(0x30, mqtt_text(b"a/#") + b"x"), True),
    Attack("mqtt", "an empty topic", mqtt_packet(0x30, mqtt_text(b"") + b"x"), True),
    Attack("mqtt", "a topic that is not UTF-8", mqtt_packet(0x30, mqtt_text(b"a\xff\xfe") + b"x"), True),
    Attack("mqtt", "a topic with NUL", mqtt_packet(0x30, mqtt_text(b"a\x00b") + b"x"), True),
    Attack("mqtt", "QoS 3", mqtt_packet(0x36, mqtt_text(b"a") + b"\x00\x01x"), True),
    Attack("mqtt", "SUBSCRIBE without its flags", mqtt_packet(0x80, b"\x00\x01" + mqtt_text(b"a") + b"\x00"), True),
    Attack("mqtt", "SUBSCRIBE without filters", mqtt_packet(0x82, b"\x00\x01"), True),
    Attack("mqtt", "a topic longer than its packet", mqtt_packet(0x30, number16(500) + b"a"), True),
    Attack("mqtt", "a packet type of 0", b"\x00\x00", True),
    Attack("mqtt", "CONNACK from a client", b"\x20\x02\x00\x00", True),
    Attack("mqtt", "a will on a wildcard", mqtt_connect(b"w", (b"a/#", b"x")), True, greet=False),
    Attack("mqtt", "CONNECT with the reserved flag", mqtt_connect(b"w", flags=3), True, greet=False),
    Attack("mqtt", "HTTP", HTTP, True, greet=False),
    Attack("mqtt", "TLS", TLS, True, greet=False),
    Attack("mqtt", "garbage", garbage(3), True, greet=False),
    Attack("mqtt", "half a packet and silence", b"\x30\x20\x00\x01a", False),
    Attack("resp", "2^31 arguments", b"*2147483648\r\n", True),
    Attack("resp", "a bulk of negative length", b"*1\r\n$-5\r\n", True),
    Attack("resp", "a bulk above the limit", b"*2\r\n$4\r\nECHO\r\n$99999999999\r\n", True),
    Attack("resp", "a length that is no number", b"*1\r\n$4x\r\nPING\r\n", True),
    Attack("resp", "an argument that is no bulk", b"*1\r\n+PING\r\n", True),
    Attack("resp", "an inline command without end", b"a" * 100_000, True),
    Attack("resp", "a length line without end", b"*" + b"1" * 100_000, True),
    Attack("resp", "quotes that do not close", b'SET "a b\r\n', True),
    Attack("resp", "HTTP", HTTP_POST, True, greet=False),
    Attack("resp", "garbage", garbage(4), None, greet=False),
    Attack("resp", "half a command and silence", b"*2\r\n$4\r\nEC", False),
    Attack("resp", "512 MB announced and silence", b"*2\r\n$4\r\nECHO\r\n$536870912\r\nx", False),
    *(
        Attack(to, f"the greeting of {of}", greeting, None, greet=False)
        for to in GREETINGS
        for of, greeting in GREETINGS.items()
        if of != to
    ),
)


def web_frame(first: int, payload: bytes, masked: bool = True, announced: int | None = None) -> bytes:
    """A client's WebSocket frame; ``announced``: the length it tells, whatever it holds."""
    size = len(payload) if announced is None else announced
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 65536:
        head = bytes([first, bit | 126]) + number16(size)
    else:
        head = bytes([first, bit | 127]) + size.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload


def http_request(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([*lines, b"", b""]) + body


WEB, TLS_PORT = "mqtt_websocket", "mqtt_tls"
EDGE_ATTACKS: Sequence[Attack] = (
    Attack(WEB, "a frame that is not masked", web_frame(0x82, MQTT_CONNECT, masked=False), True),
    Attack(WEB, "a text frame", web_frame(0x81, MQTT_CONNECT), True),
    Attack(WEB, "an opcode nobody knows", web_frame(0x83, b"x"), True),
    Attack(WEB, "a reserved bit", web_frame(0xC2, MQTT_CONNECT), True),
    Attack(WEB, "a ping of 126 bytes", web_frame(0x89, bytes(126)), True),
    Attack(WEB, "a ping in fragments", web_frame(0x09, b"x"), True),
    Attack(WEB, "a continuation of nothing", web_frame(0x80, b"x"), True),
    Attack(WEB, "a frame of 2^63 bytes", web_frame(0x82, b"", announced=1 << 63), True),
    Attack(WEB, "a length written longer than it is", b"\x82\xfe\x00\x05" + bytes(9), True),
    Attack(WEB, "a Close frame of one byte", web_frame(0x88, b"x"), True),
    Attack(WEB, "no MQTT within", web_frame(0x82, garbage(5, 1000)), True),
    Attack(WEB, "half a frame and silence", web_frame(0x82, b"\x10", announced=1000), False),
    Attack(WEB, "a page", HTTP, True, greet=False),
    Attack(WEB, "an upgrade to another version", WEBSOCKET.replace(b": 13", b": 8"), True, greet=False),
    Attack(WEB, "an upgrade without a key", WEBSOCKET.replace(b"Key", b"Kee"), True, greet=False),
    Attack(WEB, "a header without end", b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000, True, greet=False),
    Attack(WEB, "MQTT without WebSocket, and silence", MQTT_CONNECT + bytes(100), False, greet=False),
    Attack(WEB, "garbage", garbage(6), True, greet=False),
    Attack("http", "a header without end", b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000, True, greet=False),
    Attack("http", "a request line without end", b"GET /" + b"a" * 200_000, True, greet=False),
    Attack("http", "five thousand headers", http_request(b"GET / HTTP/1.1", b"Host: x", *[b"X%d: y" % n for n in range(5000)]), None, greet=False),
    Attack("http", "a negative length", http_request(b"POST / HTTP/1.1", b"Host: x", b"Content-Length: -5"), True, greet=False),
    Attack("http", "two lengths", http_request(b"POST / HTTP/1.1", b"Host: x", b"Content-Length: 5", b"Content-Length: 6", body=b"abcdef"), True, greet=False),
    Attack("http", "a length and chunks", http_request(b"POST / HTTP/1.1", b"Host: x", b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), True, greet=False),
    Attack("http", "a body of 100 GB", http_request(b"POST / HTTP/1.1", b"Host: x", b"Content-Length: 100000000000"), True, greet=False),
    Attack("http", "a path out of the folder", http_request(b"GET /../../etc/passwd HTTP/1.1", b"Host: x"), None, greet=False),
    Attack("http", "a NUL in the path", http_request(b"GET /a\x00b HTTP/1.1", b"Host: x"), None, greet=False),
    Attack("http", "HTTP/9.9", http_request(b"GET / HTTP/9.9", b"Host: x"), True, greet=False),
    Attack("http", "TLS", TLS, True, greet=False),
    Attack("http", "garbage", garbage(7), True, greet=False),
    Attack("http", "half a request and silence", b"GET / HTTP/1.1\r\nHost: x\r\n", False, greet=False),
    Attack(TLS_PORT, "MQTT without TLS", MQTT_CONNECT + bytes(100), True, greet=False),
    Attack(TLS_PORT, "HTTP", HTTP, True, greet=False),
    Attack(TLS_PORT, "garbage", garbage(8), True, greet=False),
    Attack(TLS_PORT, "a hello that breaks off, and silence", TLS, None, greet=False),
    Attack(TLS_PORT, "a record of 64 KiB", b"\x16\x03\x01\xff\xff" + bytes(65535), True, greet=False),
    Attack(TLS_PORT, "half a hello and silence", TLS[:50], False, greet=False),
)  # fmt: skip
"""Against the listeners that are no protocol of their own: WebSocket, HTTP, TLS."""


class Honest:
    """One well-behaved connection of each protocol that the ports name; ``check`` uses them all."""

    PINGS = {"kafka": API_VERSIONS, "nats": b"PING\r\n", "mqtt": b"\xc0\x00", "resp": RESP_PING}
    PONGS = {"nats": b"PONG\r\n", "mqtt": b"\xd0\x00", "resp": b"+PONG\r\n"}

    def __init__(self, ports: Ports) -> None:
        self.connections = {protocol: connect(ports, protocol) for protocol in ports if protocol in GREETINGS}

    def check(self) -> float:
        """Seconds until all have answered.

        Raises:
            ConnectionError, TimeoutError: one of them was hurt.
        """
        began = time.monotonic()
        for protocol, connection in self.connections.items():
            pong = self.PONGS.get(protocol)
            exchange(
                connection,
                self.PINGS[protocol],
                lambda received, pong=pong, protocol=protocol: (  # type: ignore[misc]
                    greeted(protocol, received) if pong is None else pong in received
                ),
            )
        return time.monotonic() - began

    def close(self) -> None:
        for connection in self.connections.values():
            connection.close()


# clients that ask and do not read


def flood(connection: socket.socket, chunk: bytes, total_bytes: int, stop: Callable[[], bool] = lambda: False) -> int:
    """Send ``chunk`` again and again; the bytes sent when everything was, the server hung up, or took nothing for 2 s."""
    sent = 0
    connection.settimeout(2.0)
    while sent < total_bytes and not stop():
        try:
            connection.sendall(chunk)
        except OSError:
            break
        sent += len(chunk)
    return sent


def stall_nats_subscriber(ports: Ports) -> tuple[socket.socket, int]:
    """The subscriber that reads nothing, after ``FLOOD_BYTES`` were published to it."""
    subscriber = connect(ports, "nats")
    exchange(subscriber, b"SUB stalled 1\r\nPING\r\n", lambda received: b"PONG\r\n" in received)
    with connect(ports, "nats") as publisher:
        sent = flood(publisher, b"PUB stalled 8192\r\n" + b"x" * 8192 + b"\r\n", FLOOD_BYTES)
    return subscriber, sent


def stall_mqtt_subscriber(ports: Ports) -> tuple[socket.socket, int]:
    """QoS 0: what does not fit is dropped; the connection may stay."""
    subscriber = connect(ports, "mqtt")
    request = mqtt_packet(0x82, b"\x00\x01" + mqtt_text(b"stalled") + b"\x00")
    exchange(subscriber, request, lambda received: received.endswith(b"\x90\x03\x00\x01\x00"))
    with connect(ports, "mqtt") as publisher:
        sent = flood(publisher, mqtt_packet(0x30, mqtt_text(b"stalled") + b"x" * 8192), FLOOD_BYTES)
    return subscriber, sent


def stall_resp_subscriber(ports: Ports) -> tuple[socket.socket, int]:
    subscriber = connect(ports, "resp")
    exchange(subscriber, b"*2\r\n$9\r\nSUBSCRIBE\r\n$7\r\nstalled\r\n", lambda received: received.endswith(b":1\r\n"))
    with connect(ports, "resp") as publisher:
        chunk = b"*3\r\n$7\r\nPUBLISH\r\n$7\r\nstalled\r\n$8192\r\n" + b"x" * 8192 + b"\r\n"
        publisher.setblocking(True)
        sent = 0
        while sent < FLOOD_BYTES:
            exchange(publisher, chunk * 64, lambda received: received.count(b"\r\n") >= 64)
            sent += 64 * len(chunk)
    return subscriber, sent


def stall_resp_reader(ports: Ports) -> tuple[socket.socket, int]:
    """Asks again and again for a value of 1 MB and never reads an answer."""
    reader = connect(ports, "resp")
    exchange(
        reader, b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$1000000\r\n" + bytes(1_000_000) + b"\r\n", lambda r: r == b"+OK\r\n"
    )
    sent = flood(reader, b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n", 100_000)
    return reader, sent


def stall_kafka_reader(ports: Ports) -> tuple[socket.socket, int]:
    """Asks for everything's metadata again and again and never reads an answer."""
    reader = connect(ports, "kafka")
    topics = b"".join(mqtt_text(b"stalled-topic-with-a-long-name-%05d" % number) for number in range(1000))
    sent = flood(reader, kafka_request(3, 4, number32(1000) + topics + b"\x00"), FLOOD_BYTES)
    return reader, sent


SLOW_READERS: dict[str, Callable[[Ports], tuple[socket.socket, int]]] = {
    "nats subscriber": stall_nats_subscriber,
    "mqtt subscriber": stall_mqtt_subscriber,
    "redis subscriber": stall_resp_subscriber,
    "redis reader": stall_resp_reader,
    "kafka reader": stall_kafka_reader,
}


def dribble(ports: Ports, protocol: str, count: int) -> bool:
    """A frame that comes one byte at a time, ``count`` bytes of it; whether the server still holds the connection."""
    opening = {
        "kafka": number32(1_000_000),
        "nats": b"PUB a 1000000\r\n",
        "mqtt": b"\x30\xc0\x84\x3d\x00\x01a",
        "resp": b"*2\r\n$4\r\nECHO\r\n$1000000\r\n",
    }[protocol]
    with connect(ports, protocol) as connection:
        for byte in (opening + bytes(count))[:count]:
            connection.send(bytes([byte]))
        return not is_closed(connection, OPEN_S)
