"""Random scripts, sent to ours and to the real nats-server: both answer the same frames."""

from __future__ import annotations

import collections
import json
import random
import re
from collections.abc import Callable

import pytest

from conformance.process import GatewayProcess
from tests.nats import transcript
from tests.nats.test_transcript import Wire

SEEDS = 250
HEARD = [
    "a",
    "a.b",
    "a.*",
    "a.>",
    "*",
    ">",
    "b.c",
    "*.b",
    "a.b.c",
    "x..y",
    ".",
    "a.",
    "$X.a",
    "é",
    "_INBOX.z.*",
    "_INBOX.z.1",
]
SAID = ["a", "a.b", "a.b.c", "b.c", "$X.a", "é", "x..y", "_INBOX.z.1", "_INBOX.z.2", "a.b/c"]
ODD = [
    b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"INFO {}\r\n", b"ping  \r\n", b"PINGX\r\n", b"+OKx\r\n",
    b"PUB a\r\n", b"SUB a\r\n", b"PUB a -1\r\n", b"-ERR\r\n", b"FOO\r\n", b"SUB a b c d\r\n", b"PUB a b c 1\r\n",
    b"HPUB a 5 2\r\n", b"PUB a 1x\r\n", b"UNSUB\r\n", b"\r\n", b"-ERR 'x'\r\n", b"CONNECT\r\n", b"CONNECT []\r\n", b"INFO\r\n",
    b"PUB a 2\r\nhix\r\n", b"UNSUB 1 2 3\r\n", b'CONNECT {"headers":false,"no_responders":true}\r\n',
    b'CONNECT {"protocol":3}\r\n', b"SUBX a 1\r\n", b"PUB  \r\n", b"SUB  \r\n", b"HPUB a 0 0\r\n\r\n", b"PUB\ta\t0\t\r\n\r\n",
]  # fmt: skip


def script(chance: random.Random) -> bytes:
    headers = chance.random() < 0.8
    options = {
        "verbose": chance.random() < 0.3, "pedantic": chance.random() < 0.3, "headers": headers,
        "protocol": chance.choice([0, 1]), "echo": chance.random() < 0.8, "no_responders": headers and chance.random() < 0.7,
    }  # fmt: skip
    lines = [b"CONNECT " + json.dumps(options).encode() + b"\r\n", b"PING\r\n"]
    group = chance.choice(["", "g "])  # one subscription of a group at most: who of several gets a message is chance
    for _ in range(chance.randrange(1, 14)):
        kind = chance.random()
        reply = chance.choice(["", "", f"_INBOX.z.{chance.randrange(3)}", "a.b", "r.*"])
        if kind < 0.3:
            lines.append(f"SUB {chance.choice(HEARD)} {group}{chance.randrange(5)}\r\n".encode())
            group = ""
        elif kind < 0.4:
            lines.append(
                f"UNSUB {chance.randrange(5)}{chance.choice(['', ' 1', ' 3', ' 0', ' x', ' 2 '])}\r\n".encode()
            )
        elif kind < 0.75:
            payload = chance.choice([b"", b"hi", b"x" * 30])
            size = chance.choice(["%d", "%03d"]) % len(payload)
            words = [chance.choice(["PUB", "pub"]), chance.choice(SAID), reply, size]
            head = chance.choice([" ", " ", "\t", "  "]).join(word for word in words if word).encode()
            lines.append(head + chance.choice([b"\r\n", b"\n", b" \r\n"]) + payload + b"\r\n")
        elif kind < 0.92:
            block = chance.choice([b"NATS/1.0\r\nA: b\r\n\r\n", b"NATS/1.0\r\n\r\n", b"junk", b""])
            payload = chance.choice([b"", b"yo"])
            words = ["HPUB", chance.choice(SAID), reply, str(len(block)), str(len(block) + len(payload))]
            lines.append(" ".join(word for word in words if word).encode() + b"\r\n" + block + payload + b"\r\n")
        else:
            lines.append(chance.choice(ODD))
    return b"".join(lines)


def told(address: str, sent: bytes) -> collections.Counter[str]:
    wire = Wire(address)
    frames = transcript.frames(wire.exchange(sent))
    wire.socket.close()
    # which of the requester's own subscriptions hears that nobody answers is anybody's guess
    return collections.Counter(
        re.sub(r"b'\d', b'NATS/1.0 503", "b'#', b'NATS/1.0 503", repr(frame)) for frame in frames
    )


@pytest.mark.peer
def test_random_scripts_are_answered_as_the_real_server_answers(
    gateway: GatewayProcess, peer: Callable[[str], str]
) -> None:
    real = peer("nats-server")
    for seed in range(SEEDS):
        sent = script(random.Random(seed))
        assert told(gateway.nats, sent) == told(real, sent), f"seed {seed}: {sent!r}"
