"""``thalweg bench``: a quick load on one server, ours or the real one, by its own protocol; rate and latencies.

One connection (NATS: two) of this process, which is Python: it says how a server compares with itself or with another
under the same small load, not how much either can take.

    kafka   Produce v3, acks=all, batches of 100 records, 5 requests in flight; latency: batches of one, one at a time
    nats    PUB to one subscriber, counted where it arrives; latency: one message at a time
    mqtt    PUBLISH of QoS 1, 100 in flight; latency: one at a time
    redis   SET of one key, pipelines of 16; latency: one at a time
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import struct
import time
from collections.abc import Callable

from thalweg.cli import complain
from thalweg.commands.output import size

PORTS = {"kafka": 9092, "nats": 4222, "mqtt": 1883, "redis": 6379}
NAME = "thalweg-bench"
WAIT_S = 10.0
READ_BYTES = 1 << 18
RECORDS = 100
PERCENTILES = (50, 90, 99, 99.9)


class Failed(Exception):
    """The server is not there, or does not answer as its protocol says."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("protocol", metavar="PROTOCOL", choices=sorted(PORTS), help="kafka, nats, mqtt or redis")
    parser.add_argument("address", metavar="HOST:PORT", nargs="?", help="of the server; 127.0.0.1 and the usual port")
    parser.add_argument("-n", dest="count", type=int, metavar="N", default=100_000, help="messages (100000)")
    parser.add_argument("-b", dest="bytes", type=int, metavar="B", default=128, help="bytes of each (128)")
    parser.add_argument("-l", dest="samples", type=int, metavar="N", default=1000, help="latencies measured (1000)")
    parser.add_argument("-o", dest="output", choices=("text", "json"), default="text", help="json: one object")


def run(options: argparse.Namespace) -> int:
    host, _, port = (options.address or f"127.0.0.1:{PORTS[options.protocol]}").rpartition(":")
    if not host or not port.isdigit() or options.count < 1 or options.bytes < 1 or options.samples < 1:
        complain("HOST:PORT and numbers from 1, please")
        return 2
    try:
        load = LOADS[options.protocol]((host.strip("[]"), int(port)), options.bytes)
        count = -(-options.count // load.unit) * load.unit
        load.flow(min(count, 10 * load.unit), load.window)  # topics are made, caches are warm
        seconds = load.flow(count, load.window)
        latencies = sorted(load.one() for _ in range(options.samples))
    except (OSError, Failed, struct.error) as error:
        complain(f"{options.protocol} at {host}:{port}: {error}")
        return 1
    tell(options, count, seconds, latencies)
    return 0


def tell(options: argparse.Namespace, count: int, seconds: float, latencies: list[float]) -> None:
    rate = count / seconds
    found = {
        f"p{share:g}": round(latencies[min(int(len(latencies) * share / 100), len(latencies) - 1)] * 1e6)
        for share in PERCENTILES
    }
    if options.output == "json":
        told = {"protocol": options.protocol, "messages": count, "bytes": options.bytes, "seconds": round(seconds, 6)}
        print(json.dumps({**told, "rate": round(rate), "latency_us": found}))
        return
    print(f"{options.protocol}: {count} messages of {options.bytes} bytes in {seconds:.3f} s")
    print(f"  rate     {rate:,.0f}/s, {size(rate * options.bytes)}B/s")
    print("  latency  " + ", ".join(f"{name} {value:,} us" for name, value in found.items()))


class Load:
    """One protocol's. ``make(n)``: the bytes of n messages; ``count(data)``: how many were acknowledged by what was read."""

    unit = 1
    window = 1000

    def __init__(self, address: tuple[str, int], value_bytes: int) -> None:
        self.address = address
        self.value = os.urandom(value_bytes // 2 + 1).hex()[:value_bytes].encode()
        self.sock = self.connect()
        self.reader = self.sock
        self.rest = b""
        self.begin()

    def connect(self) -> socket.socket:
        made = socket.create_connection(self.address, WAIT_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def begin(self) -> None:
        """Greetings, and what a first message needs."""

    def make(self, messages: int) -> bytes:
        raise NotImplementedError

    def single(self) -> bytes:
        return self.make(1)

    def count(self, data: bytes) -> int:
        raise NotImplementedError

    def flow(self, messages: int, window: int) -> float:
        """Seconds until all were acknowledged, no more than ``window`` of them on the way at a time."""
        sent = done = 0
        unsent = memoryview(b"")
        self.sock.setblocking(False)
        began = time.perf_counter()
        while done < messages:
            if not unsent and sent < messages and window - (sent - done) >= self.unit:
                more = min(window - (sent - done), messages - sent)
                more -= more % self.unit
                unsent = memoryview(self.make(more))
                sent += more
            readable, writable, _ = select.select([self.reader], [self.sock] if unsent else [], [], WAIT_S)
            if not readable and not writable:
                raise Failed(f"silent for {WAIT_S:.0f} s after {done} of {messages} messages")
            if writable:
                unsent = unsent[self.sock.send(unsent) :]
            if readable:
                done += self.count(received(self.reader))
        self.sock.settimeout(WAIT_S)
        return time.perf_counter() - began

    def one(self) -> float:
        """Seconds from sending one message to its acknowledgement."""
        data = self.single()
        began = time.perf_counter()
        self.sock.sendall(data)
        done = 0
        while done < 1:
            done += self.count(received(self.reader))
        return time.perf_counter() - began

    def fixed(self, data: bytes, length: int, good: bytes) -> int:
        """Acknowledgements of a fixed length, of which the first must begin as it should."""
        self.rest += data
        whole = len(self.rest) // length
        if whole and not self.rest.startswith(good):
            raise Failed(f"unexpected answer {self.rest[:80]!r}")
        self.rest = self.rest[whole * length :]
        return whole


def received(sock: socket.socket) -> bytes:
    data = sock.recv(READ_BYTES)
    if not data:
        raise Failed("the server closed the connection")
    return data


class Nats(Load):
    window = 20_000

    def begin(self) -> None:
        self.reader = self.connect()
        for sock, words in ((self.reader, b"SUB " + NAME.encode() + b" 1\r\n"), (self.sock, b"")):
            sock.sendall(b'CONNECT {"verbose":false}\r\n' + words + b"PING\r\n")
            answer = b""
            while b"PONG\r\n" not in answer:
                answer += received(sock)
        self.message = b"PUB %b %d\r\n%b\r\n" % (NAME.encode(), len(self.value), self.value)
        self.arrived = b"MSG %b 1 %d\r\n%b\r\n" % (NAME.encode(), len(self.value), self.value)

    def make(self, messages: int) -> bytes:
        return self.message * messages

    def count(self, data: bytes) -> int:
        if b"PING\r\n" in self.rest + data:  # the payload is hexadecimal: it is the server's
            self.rest, data = (self.rest + data).replace(b"PING\r\n", b""), b""
            self.reader.sendall(b"PONG\r\n")
        return self.fixed(data, len(self.arrived), self.arrived)


class Redis(Load):
    window = 16

    def begin(self) -> None:
        words = (b"SET", NAME.encode(), self.value)
        self.message = b"*3\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)

    def make(self, messages: int) -> bytes:
        return self.message * messages

    def count(self, data: bytes) -> int:
        return self.fixed(data, 5, b"+OK\r\n")


class Mqtt(Load):
    window = 100

    def begin(self) -> None:
        name = f"{NAME}-{os.getpid()}".encode()
        body = b"\0\4MQTT\4\2\0\0" + struct.pack(">H", len(name)) + name
        self.sock.sendall(b"\x10" + bytes([len(body)]) + body)
        answer = received(self.sock)
        if answer[:1] != b"\x20" or answer[3:4] != b"\0":
            raise Failed(f"not let in: {answer[:8].hex()}")
        self.next = 0
        self.head = struct.pack(">H", len(NAME)) + NAME.encode()
        length = len(self.head) + 2 + len(self.value)
        self.begins = b"\x32"
        while length > 127:
            self.begins += bytes([length & 127 | 128])
            length >>= 7
        self.begins += bytes([length])

    def make(self, messages: int) -> bytes:
        made = []
        for _ in range(messages):
            self.next = self.next % 65535 + 1
            made.append(self.begins + self.head + struct.pack(">H", self.next) + self.value)
        return b"".join(made)

    def count(self, data: bytes) -> int:
        return self.fixed(data, 4, b"\x40\x02")


class Kafka(Load):
    unit = RECORDS
    window = 5 * RECORDS

    def begin(self) -> None:
        self.topic = struct.pack(">h", len(NAME)) + NAME.encode()
        deadline = time.monotonic() + WAIT_S
        while not self.led():
            if time.monotonic() > deadline:
                raise Failed(f"topic {NAME} has no leader")
            time.sleep(0.1)
        self.batches = {count: produce(self.topic, batch([self.value] * count)) for count in (1, RECORDS)}

    def led(self) -> bool:
        """Whether the topic is there (asking makes it) and its first partition has a leader."""
        self.sock.sendall(request(3, 1, struct.pack(">i", 1) + self.topic))
        answer = self.answer()
        return self.topic + b"\0" + struct.pack(">ih", 1, 0) in answer

    def answer(self) -> bytes:
        while len(self.rest) < 4 or len(self.rest) < 4 + int.from_bytes(self.rest[:4], "big"):
            self.rest += received(self.sock)
        end = 4 + int.from_bytes(self.rest[:4], "big")
        found, self.rest = self.rest[4:end], self.rest[end:]
        return found

    def make(self, messages: int) -> bytes:
        return self.batches[RECORDS] * (messages // RECORDS)

    def single(self) -> bytes:
        return self.batches[1]

    def count(self, data: bytes) -> int:
        """Each answer: correlation, one topic, one partition with its error."""
        self.rest += data
        done = 0
        while len(self.rest) >= 4 and len(self.rest) >= 4 + int.from_bytes(self.rest[:4], "big"):
            found = self.answer()
            (error,) = struct.unpack_from(">h", found, 4 + 4 + len(self.topic) + 4 + 4)
            if error:
                raise Failed(f"Produce is answered with error {error}")
            done += RECORDS
        return done


def request(key: int, version: int, body: bytes) -> bytes:
    """A frame with a version 1 header."""
    head = struct.pack(">hhih", key, version, 1, len(NAME)) + NAME.encode()
    return struct.pack(">i", len(head) + len(body)) + head + body


def produce(topic: bytes, records: bytes) -> bytes:
    body = struct.pack(">hhi", -1, -1, 30_000) + struct.pack(">i", 1) + topic
    return request(0, 3, body + struct.pack(">iii", 1, 0, len(records)) + records)


def batch(values: list[bytes]) -> bytes:
    """One v2 record batch without keys (Kafka's protocol guide, Record Batch)."""
    from crc32c import crc32c

    records = []
    for delta, value in enumerate(values):
        body = b"\0\0" + varint(delta) + varint(-1) + varint(len(value)) + value + varint(0)
        records.append(varint(len(body)) + body)
    now_ms = int(time.time() * 1000)
    count = len(values)
    rest = struct.pack(">hiqqqhii", 0, count - 1, now_ms, now_ms, -1, -1, -1, count) + b"".join(records)
    return struct.pack(">qiibI", 0, len(rest) + 9, -1, 2, crc32c(rest)) + rest


def varint(number: int) -> bytes:
    """Zigzag."""
    number = (number << 1) ^ (number >> 63)
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)


LOADS: dict[str, Callable[[tuple[str, int], int], Load]] = {"kafka": Kafka, "nats": Nats, "mqtt": Mqtt, "redis": Redis}
