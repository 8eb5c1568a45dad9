"""What scripts on NATS sessions share: a gateway in memory and clients that speak text."""

from __future__ import annotations

import json
from typing import Any

from conformance.harness import Client, Harness
from protocols.nats.jetstream import JetStream
from protocols.nats.session import NatsSession, Settings
from substrate.engine import Engine

QUIET_NS = 1 << 60
"""Nobody is asked whether it is still there."""
OPTIONS = {"verbose": False, "pedantic": False, "protocol": 1, "headers": True, "no_responders": True}


def world(settings: Settings | None = None, engine: Engine | None = None, **options: Any) -> Harness:
    """A gateway with NATS alone."""
    told = settings or Settings(first_ping_ns=QUIET_NS, ping_ns=QUIET_NS)
    return Harness(
        executors=[JetStream], factories={"nats": lambda port: NatsSession(port, told)}, engine=engine, **options
    )


def client(harness: Harness, **options: Any) -> Client:
    """A client that has connected; what the server said so far is read."""
    found = harness.connect("nats")
    found.send(b"CONNECT " + json.dumps({**OPTIONS, **options}).encode() + b"\r\nPING\r\n")
    found.read()
    return found


def say(peer: Client, text: bytes) -> bytes:
    """Send, and everything that came since."""
    peer.send(text)
    return peer.read()


def publish(
    peer: Client, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
) -> bytes:
    """The answer to one publication."""
    where = f"{subject} {reply}".rstrip().encode()
    if headers is None:
        return say(peer, b"PUB %b %d\r\n%b\r\n" % (where, len(payload), payload))
    block = b"NATS/1.0\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items()) + b"\r\n"
    return say(peer, b"HPUB %b %d %d\r\n%b%b\r\n" % (where, len(block), len(block) + len(payload), block, payload))


class Asker:
    """A client that asks JetStream and reads its answers."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.client = client(harness)
        self.client.send(b"SUB _INBOX.x.* 1\r\nSUB in 2\r\n")
        self.count = 0

    def api(self, subject: str, body: object = None) -> dict[str, Any]:
        """The JSON that answers ``$JS.API.<subject>``."""
        payload = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.count += 1
        answer = publish(self.client, f"$JS.API.{subject}", payload, f"_INBOX.x.{self.count}")
        assert answer.startswith(b"MSG _INBOX.x.%d " % self.count), answer
        found: dict[str, Any] = json.loads(answer.partition(b"\r\n")[2])
        return found

    def refused(self, subject: str, body: object = None) -> int:
        """The error's number."""
        return int(self.api(subject, body)["error"]["err_code"])

    def stored(self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None) -> dict[str, Any]:
        """The PubAck."""
        answer = publish(self.client, subject, payload, "in", headers)
        found: dict[str, Any] = json.loads(answer.partition(b"\r\n")[2])
        return found

    def next(self, consumer: str, **request: Any) -> list[tuple[bytes, bytes]]:
        """What a pull brings now: (reply subject, payload) of messages, (b"", first line) of statuses."""
        publish_answer = publish(
            self.client, f"$JS.API.CONSUMER.MSG.NEXT.{consumer}", json.dumps(request).encode(), "in"
        )
        return deliveries(publish_answer)

    def ack(self, delivery: tuple[bytes, bytes], word: bytes = b"+ACK") -> bytes:
        return publish(self.client, delivery[0].decode(), word)


def deliveries(data: bytes) -> list[tuple[bytes, bytes]]:
    """Messages as (reply subject, payload), statuses as (nothing, their first line)."""
    found = []
    while data:
        line, _, rest = data.partition(b"\r\n")
        words = line.split(b" ")
        assert words[0] in (b"MSG", b"HMSG"), line
        size, blank = int(words[-1]), 5 if words[0] == b"HMSG" else 4
        head = int(words[-2]) if words[0] == b"HMSG" else 0
        reply = words[3] if len(words) > blank else b""
        payload = rest[head:size] if reply or not head else rest[:head].partition(b"\r\n")[0]
        found.append((reply, payload))
        data = rest[size + 2 :]
    return found
