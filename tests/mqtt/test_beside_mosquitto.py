"""Bad input, one case for each class of fault known in brokers: what mosquitto 2.0 answers, and what we answer.

The classes are those of the CVEs of mosquitto, NanoMQ, EMQX and amqtt. Where the answers differ, ``DIFFERENT`` says why.
"""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
from collections.abc import Callable

import pytest

from conformance.process import GatewayProcess, find_command
from protocols.mqtt import mapping
from protocols.mqtt import packets as p
from protocols.mqtt.wire import encode, encode_properties, varint

PING = encode(p.Ping(p.PINGREQ))
PONG = encode(p.Ping(p.PINGRESP))


def connect(level: int = 4, rest: bytes = b"\0\1c", flags: int = 2, properties: bytes = b"") -> bytes:
    """A CONNECT of bytes as given."""
    name = b"\0\6MQIsdp" if level == 3 else b"\0\4MQTT"
    body = name + bytes((level, flags)) + b"\0\0" + (varint(len(properties)) + properties if level == 5 else b"") + rest
    return b"\x10" + varint(len(body)) + body


FOUR, FIVE = connect(4), connect(5)


def subscribe(text: bytes, options: int = 0, level: int = 4) -> bytes:
    return encode(p.Subscribe(1, ((text, options),)), level)


CASES = {
    # before CONNECT
    "a CONNACK first (CVE-2021-28166)": b"\x20\2\0\0",
    "a PUBLISH first": encode(p.Publish(b"t", b"x")),
    "a remaining length of five bytes (CVE-2026-21888)": b"\x10\x80\x80\x80\x80\x01",
    "a protocol level of tomorrow": connect(9),
    "a bridge's level": connect(0x84),
    "another protocol's name": b"\x10\x0d\0\4MQXX\4\2\0\0\0\1c",
    "the reserved CONNECT flag": connect(4, flags=3),
    "a will of QoS 3": connect(4, b"\0\1c\0\1t\0\1x", 0x1E),
    "will flags without a will": connect(4, flags=0x22),
    "a will without its payload": connect(4, b"\0\1c\0\1t", 6),
    "a will whose topic has a wildcard": connect(4, b"\0\1c\0\1#\0\1x", 6),
    "a will whose topic is empty": connect(4, b"\0\1c\0\0\0\1x", 6),
    "a will with a property of another packet (CVE-2023-3592)": connect(5, b"\0\1c\5\x11\0\0\0\1\0\1t\0\1x", 6),
    "a will whose properties reach beyond it": connect(5, b"\0\1c\x7f\0\1t\0\1x", 6),
    "a password without a user name": connect(4, b"\0\1c\0\1p", 0x42),
    "a user name that is not there": connect(4, b"\0\1c", 0x82),
    "a client identifier beyond its packet (EMQX, NanoMQ #1181)": connect(4, b"\0\xffc"),
    "a client identifier that is not UTF-8": connect(4, b"\0\2\xff\xfe"),
    "a client identifier with a NUL": connect(4, b"\0\3a\0b"),
    "no client identifier and no clean session": connect(4, b"\0\0", 0),
    "a property twice": connect(5, properties=b"\x21\0\5\x21\0\5"),
    "receive maximum 0": connect(5, properties=b"\x21\0\0"),
    "maximum packet size 0": connect(5, properties=b"\x27\0\0\0\0"),
    "properties longer than the packet (NanoMQ #1169)": b"\x10\x0e\0\4MQTT\5\2\0\0\x7f\0\1c",
    "an unknown property": connect(5, properties=b"\x7e\0"),
    "an authentication method": connect(5, properties=encode_properties([(p.AUTH_METHOD, b"SCRAM")])),
    # after it
    "CONNECT again": FOUR + FOUR,
    "a CONNACK from the client": FOUR + b"\x20\2\0\0",
    "AUTH below 5.0": FOUR + b"\xf0\0",
    "AUTH that nobody began": FIVE + b"\xf0\2\x18\0",
    "packet type 0": FOUR + b"\0\0",
    "an empty topic (CVE-2021-34432)": FOUR + b"\x30\3\0\0x",
    "an empty topic at 5.0": FIVE + b"\x30\4\0\0\0x",
    "a topic with a wildcard": FOUR + encode(p.Publish(b"t/#", b"x")),
    "a topic of the server ($SYS, CVE-2018-12543)": FOUR + encode(p.Publish(b"$SYS/x", b"x", 1, False, False, 5)),
    "a topic of the server at 5.0": FIVE + encode(p.Publish(b"$SYS/x", b"x", 1, False, False, 5), 5),
    "a topic beyond its packet": FOUR + b"\x30\3\x7f\xfft",
    "a topic with a NUL": FOUR + b"\x30\4\0\2a\0",
    "a topic that is not UTF-8": FOUR + b"\x30\4\0\2\xff\xfe",
    "a topic of 201 levels": FOUR + encode(p.Publish(b"/".join([b"x"] * 201), b"")),
    "QoS 3": FOUR + b"\x36\5\0\1t\0\1",
    "DUP with QoS 0": FOUR + b"\x38\3\0\1t",
    "packet identifier 0": FOUR + b"\x32\5\0\1t\0\0",
    "a PUBLISH cut off within its identifier (NanoMQ #2270)": FOUR + b"\x32\3\0\1t",
    "topic alias 0": FIVE + b"\x30\7\0\1t\3\x23\0\0",
    "a topic alias beyond the maximum": FIVE + b"\x30\7\0\1t\3\x23\xff\xff",
    "a topic alias that was never set": FIVE + b"\x30\6\0\0\3\x23\0\1",
    "a subscription identifier in a PUBLISH": FIVE + b"\x30\6\0\1t\2\x0b\1",
    "a property of another packet in a PUBLISH": FIVE + b"\x30\x0a\0\1t\5\x11\0\0\0\1x",
    "a response topic with a wildcard": FIVE + b"\x30\x08\0\1t\4\x08\0\1#",
    "SUBSCRIBE of nothing": FOUR + b"\x82\2\0\1",
    "SUBSCRIBE with wrong flags": FOUR + b"\x80\6\0\1\0\1t\0",
    "SUBSCRIBE with identifier 0": FOUR + b"\x82\6\0\0\0\1t\0",
    "SUBSCRIBE with QoS 3": FOUR + b"\x82\6\0\1\0\1t\3",
    "SUBSCRIBE with retain handling 3": FIVE + b"\x82\7\0\1\0\0\1t\x30",
    "SUBSCRIBE with reserved option bits": FIVE + b"\x82\7\0\1\0\0\1t\x80",
    "SUBSCRIBE with subscription identifier 0": FIVE + b"\x82\x09\0\1\2\x0b\0\0\1t\0",
    "a filter with # in the middle": FOUR + subscribe(b"a/#/b"),
    "a filter with + in a level": FOUR + subscribe(b"a+/b"),
    "an empty filter": FOUR + subscribe(b""),
    "$share without a second slash (CVE-2025-68699)": FOUR + subscribe(b"$share/ab"),
    "$share without a group": FOUR + subscribe(b"$share//t"),
    "$share with no-local": FIVE + subscribe(b"$share/g/t", 4, 5),
    "UNSUBSCRIBE of nothing": FOUR + b"\xa2\2\0\1",
    "UNSUBSCRIBE with wrong flags": FOUR + b"\xa0\5\0\1\0\1t",
    "PUBACK of nothing": FOUR + encode(p.Acknowledge(p.PUBACK, 9)),
    "PUBREC of nothing": FOUR + encode(p.Acknowledge(p.PUBREC, 9)),
    "PUBREC of nothing at 5.0": FIVE + encode(p.Acknowledge(p.PUBREC, 9), 5),
    "PUBREL of nothing": FOUR + encode(p.Acknowledge(p.PUBREL, 9)),
    "PUBREL of nothing at 5.0": FIVE + encode(p.Acknowledge(p.PUBREL, 9), 5),
    "PUBCOMP of nothing": FOUR + encode(p.Acknowledge(p.PUBCOMP, 9)),
    "PUBREL with wrong flags": FOUR + b"\x60\2\0\1",
    "an acknowledgement of three bytes": FOUR + b"\x40\3\0\1\0",
    "an acknowledgement with an unknown reason": FIVE + b"\x40\3\0\1\x55",
    "PINGREQ with a payload": FOUR + b"\xc0\1x",
    "DISCONNECT with wrong flags": FOUR + b"\xe1\0",
    "DISCONNECT that lets a session live that was to end": FIVE + b"\xe0\7\0\5\x11\0\0\0\5",
}  # fmt: skip


def outcome(port: int, data: bytes) -> str:
    """What came, in hexadecimal, CONNACK's properties left out; then whether the connection stands."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
        got = b""
        with contextlib.suppress(ConnectionError):
            peer.sendall(data + PING)
            while PONG not in got:
                more = peer.recv(4096)
                if not more:
                    break
                got += more
    stands = PONG in got
    got = got.replace(PONG, b"")
    if got[:1] == b"\x20" and len(got) >= got[1] + 2:
        got = got[:4] + got[2 + got[1] :]
        got = b"\x20\2" + got[2:]
    return f"{got.hex(' ')} {'stands' if stands else 'closed'}".strip()


DIFFERENT = {
    # ours, theirs, why
    "a bridge's level": ("20 02 00 01 closed", "20 02 00 00 stands", "bridges are not spoken with"),
    "another protocol's name": ("20 02 00 01 closed", "closed", "told by CONNACK, as the specification has it"),
    "AUTH that nobody began": ("20 02 00 00 e0 01 8c closed", "20 02 00 00 closed", "told why"),
    "a topic of 201 levels": ("20 02 00 00 closed", "20 02 00 00 stands", "128 levels are the most; mosquitto drops it in silence beyond 200"),
    "DUP with QoS 0": ("20 02 00 00 closed", "20 02 00 00 stands", "MQTT-3.3.1-2"),
    "topic alias 0": ("20 02 00 00 e0 01 94 closed", "20 02 00 00 e0 01 81 closed", "the code that section 3.3.2.3.4 names"),
    "a subscription identifier in a PUBLISH": ("20 02 00 00 e0 01 82 closed", "20 02 00 00 stands", "MQTT-3.3.4-6"),
    "a response topic with a wildcard": ("20 02 00 00 e0 01 82 closed", "20 02 00 00 stands", "MQTT-3.3.2-14"),
    "SUBSCRIBE with retain handling 3": ("20 02 00 00 e0 01 82 closed", "20 02 00 00 e0 01 81 closed", "the code that section 3.8.3.1 names"),
    "SUBSCRIBE with subscription identifier 0": ("20 02 00 00 e0 01 82 closed", "20 02 00 00 e0 01 81 closed", "the code that section 3.8.2.1.2 names"),
    "a filter with # in the middle": ("20 02 00 00 90 03 00 01 80 stands", "20 02 00 00 closed", "one filter is refused, not all that the connection has"),
    "a filter with + in a level": ("20 02 00 00 90 03 00 01 80 stands", "20 02 00 00 closed", "the same"),
    "an empty filter": ("20 02 00 00 90 03 00 01 80 stands", "20 02 00 00 closed", "the same"),
    "$share without a second slash (CVE-2025-68699)": ("20 02 00 00 90 03 00 01 80 stands", "20 02 00 00 90 03 00 01 00 stands", "shared subscriptions work below 5.0, too"),
    "$share without a group": ("20 02 00 00 90 03 00 01 80 stands", "20 02 00 00 90 03 00 01 00 stands", "the same"),
    "$share with no-local": ("20 02 00 00 e0 01 82 closed", "20 02 00 00 90 04 00 01 00 00 stands", "MQTT-3.8.3-4"),
    "PUBREC of nothing at 5.0": ("20 02 00 00 62 03 00 09 92 stands", "20 02 00 00 62 02 00 09 stands", "told that there is no such packet identifier"),
    "PUBREL of nothing at 5.0": ("20 02 00 00 70 03 00 09 92 stands", "20 02 00 00 70 02 00 09 stands", "the same"),
    "an acknowledgement of three bytes": ("20 02 00 00 closed", "20 02 00 00 stands", "malformed below 5.0"),
    "an acknowledgement with an unknown reason": ("20 02 00 00 e0 01 82 closed", "20 02 00 00 stands", "MQTT-3.4.2-1"),
    "PINGREQ with a payload": ("20 02 00 00 closed", "20 02 00 00 stands", "malformed"),
}  # fmt: skip


README = pathlib.Path(mapping.__file__).with_name("README.md")


def table() -> str:
    """``DIFFERENT`` as the README has it, the CONNACK left out."""

    def shown(told: str) -> str:
        said = told.removeprefix("20 02 00 00 ")
        return " ".join(part if part in ("closed", "stands") else f"`{part}`" for part in said.rsplit(" ", 1))

    rows = [f"| {name} | {shown(ours)} | {shown(others)} | {why} |" for name, (ours, others, why) in DIFFERENT.items()]
    return "\n".join(["| input | here | mosquitto | why |", "|---|---|---|---|", *rows]) + "\n"


def test_the_readme_lists_every_difference() -> None:
    assert table() in README.read_text(), f"{README}: should hold\n{table()}"


@pytest.fixture(scope="module")
def theirs(peer: Callable[[str], str]) -> int:
    said = subprocess.run([find_command("mosquitto") or "mosquitto", "-h"], capture_output=True, text=True).stdout
    if " version 2.0." not in said:
        pytest.skip(f"compared with mosquitto 2.0, here is {said.splitlines()[:1]}")
    return int(peer("mosquitto").rpartition(":")[2])


def test_bad_input_is_answered_as_mosquitto_does_or_differs_for_a_reason(gateway: GatewayProcess, theirs: int) -> None:
    found = {}
    for name, data in CASES.items():
        ours, other = outcome(gateway.port("mqtt"), data), outcome(theirs, data)
        if ours != other:
            found[name] = (ours, other)
    assert found == {name: told[:2] for name, told in DIFFERENT.items()}
