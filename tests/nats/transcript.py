"""The transcript of nats-server 2.15.1 in ``tests/golden/nats-2.15.1.txt``, and the exchanges that it answers.

Comparing: both sides are split into frames, what differs by nature (ids, times, lengths that follow from them) is masked,
and the frames of one exchange are compared as a multiset: the real server swaps PONG and MSG, and draws queue members.
"""

from __future__ import annotations

import collections
import json
import pathlib
import re
from dataclasses import dataclass, field
from typing import Any

FILE = pathlib.Path(__file__).resolve().parents[1] / "golden" / "nats-2.15.1.txt"
OPTIONS = {
    "verbose": False, "pedantic": False, "lang": "x", "version": "1", "protocol": 1, "headers": True,
    "no_responders": True, "echo": True,
}  # fmt: skip
EOF = b"<EOF>"
INFO_MASKED = {"server_id", "server_name", "version", "git_commit", "go", "host", "port", "client_id", "client_ip"}
INFO_ABSENT = {"xkey"}  # README.md: no auth callout, so no key for it
JSON_MASKED = {"created", "ts", "time", "first_ts", "last_ts", "last_active", "pause_remaining"}


def blocks() -> dict[str, bytes]:
    """Each exchange's title -> what the real server sent, ``<EOF>`` at the end where it closed."""
    found = {}
    for part in re.split(r"^## ", FILE.read_text(errors="replace"), flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        found[title.partition("  >> ")[0]] = (
            body.removesuffix("\n").removesuffix("\n").replace("\\r\\n\n", "\r\n").encode()
        )
    return found


def answered(title: str) -> str:
    """What of an HTTP block's title says how it was answered."""
    found = re.search(r" (\d{3})( [a-z/]+(; charset=utf-8)?)?$", title)
    return found[0] if found and title.startswith("HTTP /") else ""


def frames(data: bytes) -> list[tuple[Any, ...]]:
    """What a client was sent, frame by frame, masked."""
    found: list[tuple[Any, ...]] = []
    while data:
        if data == EOF:
            found.append((EOF,))
            break
        line, _, rest = data.partition(b"\r\n")
        words = line.split(b" ")
        if words[0] in (b"MSG", b"HMSG"):
            size = int(words[-1])
            payload, data = rest[:size], rest[size + 2 :]
            names = words[1 : -2 if words[0] == b"HMSG" else -1]
            found.append((words[0], *[_masked_word(name) for name in names if name], _masked_payload(payload)))
        else:
            data = rest
            found.append(_masked_line(line))
    return found


def _masked_line(line: bytes) -> tuple[Any, ...]:
    if line.startswith(b"INFO "):
        fields = json.loads(line[5:])
        assert line.endswith(b"} "), "a blank stands before the end of INFO"
        return (
            "INFO",
            json.dumps({k: "#" if k in INFO_MASKED else v for k, v in fields.items() if k not in INFO_ABSENT}),
        )
    return (line,)


def _masked_word(word: bytes) -> bytes:
    return re.sub(rb"(\$JS\.ACK\.(?:[^.]+\.){5})\d+(\.\d+)$", rb"\1#\2", word)


def _masked_payload(payload: bytes) -> bytes:
    if payload.startswith(b"{"):
        try:
            return json.dumps(_masked_json(json.loads(payload))).encode()
        except ValueError:
            return payload
    return re.sub(rb"Nats-Time-Stamp: \S+", b"Nats-Time-Stamp: #", payload)


def _masked_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: "#" if name in JSON_MASKED else _masked_json(inner) for name, inner in value.items()}
    return [_masked_json(inner) for inner in value] if isinstance(value, list) else value


def same(real: bytes, ours: bytes) -> bool:
    return collections.Counter(frames(real)) == collections.Counter(frames(ours))


@dataclass(frozen=True)
class Exchange:
    """One title of the transcript: who connects how, what is sent, and in what order.

    ``steps`` are (connection, bytes); after each the answers are read to their end, those of ``shown`` are compared, from
    step ``since`` on. A connection's options are None where it sends no CONNECT.
    """

    title: str
    steps: tuple[tuple[str, bytes], ...]
    options: dict[str, dict[str, Any] | None] = field(default_factory=lambda: {"a": OPTIONS})
    shown: str = "a"
    since: int = 1


def one(title: str, sent: bytes, **options: Any) -> Exchange:
    """A client that has connected and pinged sends this."""
    return Exchange(title, (("a", b"PING\r\n"), ("a", sent)), {"a": {**OPTIONS, **options}})


def first(title: str, sent: bytes, options: dict[str, Any] | None = None, **more: Any) -> Exchange:
    """What a client sends at once, with its CONNECT if it sends any."""
    return Exchange(title, (("a", sent),), {"a": options if not more else {**OPTIONS, **more}}, since=0)


CORE = (
    Exchange("INFO default -js", (), {"a": None}, since=0),
    first("verbose connect + ping", b"", verbose=True),
    Exchange("verbose ops", (("a", b""), ("a", b"PING\r\nSUB foo 1\r\nPUB foo 2\r\nhi\r\nUNSUB 1\r\n")),
             {"a": {**OPTIONS, "verbose": True}}),
    first("CONNECT+PING (first pong)", b"PING\r\n", OPTIONS),
    one("unknown op", b"FOO bar\r\n"),
    one("bad pub no size", b"PUB foo\r\n"),
    one("bad size", b"PUB foo xx\r\n"),
    one("negative size", b"PUB foo -1\r\n"),
    one("bad payload terminator", b"PUB foo 2\r\nhiXX\r\nPING\r\n"),
    one("pub wildcard non pedantic", b"PUB foo.* 2\r\nhi\r\nPING\r\n"),
    one("pub empty token", b"PUB foo..bar 2\r\nhi\r\nPING\r\n"),
    one("sub bad subject", b"SUB foo..bar 1\r\nPING\r\n"),
    one("sub bad subject2", b"SUB .foo 1\r\nPING\r\n"),
    one("sub > in middle", b"SUB foo.>.bar 1\r\nPING\r\n"),
    one("sub missing sid", b"SUB foo\r\nPING\r\n"),
    one("sub 4 args", b"SUB a b c d\r\nPING\r\n"),
    one("unsub unknown sid", b"UNSUB 99\r\nPING\r\n"),
    one("unsub bad max", b"UNSUB 1 x\r\nPING\r\n"),
    one("max payload", b"PUB foo 1048577\r\n"),
    one("hpub hdr>total", b"HPUB foo 20 10\r\n"),
    one("hpub ok bad header content", b"SUB foo 1\r\nHPUB foo 10 12\r\nXXXX/1.0\r\nhi\r\nPING\r\n"),
    one("lowercase ops", b"sub foo 1\r\npub foo 2\r\nhi\r\nping\r\n"),
    one("tabs and extra spaces", b"SUB \t foo   1\r\nPUB\tfoo\t2\r\nhi\r\nPING\r\n"),
    one("LF only", b"SUB foo 1\nPUB foo 2\r\nhi\r\nPING\n"),
    one("control line too long", b"SUB " + b"a" * 5000 + b" 1\r\n"),
    one("no_responders", b"SUB inb 1\r\nPUB nobody inb 2\r\nhi\r\n"),
    one("no_responders w/ wildcard inbox", b"SUB _INBOX.a.* 7\r\nPUB nobody _INBOX.a.b 0\r\n\r\n"),
    one("reply wildcard", b"PUB foo bar.* 2\r\nhi\r\nPING\r\n"),
    one("PUB to $SYS", b"PUB $SYS.REQ.SERVER.PING inb 0\r\n\r\nPING\r\n"),
    one("unsub max auto", b"SUB foo 1\r\nUNSUB 1 2\r\nPUB foo 1\r\na\r\nPUB foo 1\r\nb\r\nPUB foo 1\r\nc\r\nPING\r\n"),
    one("unsub max already passed", b"SUB foo 1\r\nPUB foo 1\r\na\r\nPUB foo 1\r\nb\r\nUNSUB 1 1\r\nPUB foo 1\r\nc\r\nPING\r\n"),
    one("dup sid", b"SUB foo 1\r\nSUB bar 1\r\nPUB foo 1\r\na\r\nPUB bar 1\r\nb\r\nPING\r\n"),
    one("empty headers HPUB", b"SUB foo 1\r\nHPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\nPING\r\n"),
    one("HPUB reply", b"SUB foo 1\r\nHPUB foo rep 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\nPING\r\n"),
    one("second CONNECT", b'CONNECT {"verbose":true}\r\nPING\r\n'),
    one("INFO from client", b"INFO {}\r\nPING\r\n"),
    one("+OK/-ERR from client", b"+OK\r\n-ERR 'x'\r\nPING\r\n"),
    one("MSG from client", b"MSG foo 1 2\r\nhi\r\nPING\r\n"),
    one("pedantic pub wildcard", b"PUB foo.* 2\r\nhi\r\nPING\r\n", pedantic=True),
    one("pedantic sub bad", b"SUB foo..bar 1\r\nPING\r\n", pedantic=True),
    one("pedantic pub bad token", b"PUB foo..bar 2\r\nhi\r\nPING\r\n", pedantic=True),
    first("echo false", b"SUB foo 1\r\nPUB foo 2\r\nhi\r\nPING\r\n", echo=False),
    first("no_responders without headers", b"", headers=False),
    first("HPUB w/o headers in CONNECT", b"HPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\nPING\r\n", headers=False, no_responders=False),
    Exchange("headers stripped for non-header client",
             (("a", b"SUB foo 1\r\nPING\r\n"), ("b", b"HPUB foo 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\nPING\r\n"), ("a", b"")),
             {"a": {**OPTIONS, "headers": False, "no_responders": False}, "b": OPTIONS}),
    first("bad connect json", b"CONNECT {bad json\r\n"),
    first("bad protocol", b'CONNECT {"protocol":7}\r\n'),
    first("no CONNECT sent", b"PUB foo 2\r\nhi\r\nPING\r\n"),
    first("HTTP to nats port", b"GET / HTTP/1.1\r\n\r\n"),
    Exchange("queue group + plain", (("a", b"SUB q g 1\r\nSUB q g 2\r\nSUB q 3\r\nPING\r\n"), ("a", b"PUB q 1\r\nx\r\n" * 4))),
)  # fmt: skip
DRAWN = {"queue group + plain"}
"""Which member of a queue group gets a message is chance: the sids 1 and 2 are one."""


def undrawn(data: bytes) -> bytes:
    return data.replace(b"MSG q 2 ", b"MSG q 1 ")


def ask(title: str, subject: str, body: object = b"", after_ms: int = 0) -> tuple[str, bytes, int]:
    """A JetStream request from a connection of its own."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return title, b"SUB inb 1\r\nPUB %b inb %d\r\n%b\r\nPING\r\n" % (subject.encode(), len(payload), payload), after_ms


def with_headers(title: str, subject: str, headers: list[tuple[str, str]], payload: bytes) -> tuple[str, bytes, int]:
    block = b"NATS/1.0\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in headers) + b"\r\n"
    sizes = (len(block), len(block) + len(payload))
    sent = b"SUB inb 1\r\nHPUB %b inb %d %d\r\n%b%b\r\nPING\r\n" % (subject.encode(), *sizes, block, payload)
    return title, sent, 0


CONSUMER = {"stream_name": "S1", "config": {"durable_name": "C1", "name": "C1", "ack_policy": "explicit"}, "action": ""}
NEXT = "$JS.API.CONSUMER.MSG.NEXT.S1.C1"
JETSTREAM = (
    ask("JS INFO", "$JS.API.INFO"),
    ask("STREAM.CREATE minimal", "$JS.API.STREAM.CREATE.S1", {"name": "S1", "subjects": ["s1.>"]}),
    ask("STREAM.CREATE same again", "$JS.API.STREAM.CREATE.S1", {"name": "S1", "subjects": ["s1.>"]}),
    ask("STREAM.CREATE other cfg", "$JS.API.STREAM.CREATE.S1", {"name": "S1", "subjects": ["s2.>"]}),
    ask("STREAM.CREATE overlap", "$JS.API.STREAM.CREATE.S2", {"name": "S2", "subjects": ["s1.a"]}),
    ask("STREAM.CREATE bad name", "$JS.API.STREAM.CREATE.S2", {"name": "S3"}),
    ask("STREAM.CREATE bad json", "$JS.API.STREAM.CREATE.S2", b"{bad"),
    ask("STREAM.CREATE unknown field", "$JS.API.STREAM.CREATE.S2", {"name": "S2", "subjects": ["s2"], "bogus": 1}),
    ask("STREAM.CREATE replicas 3", "$JS.API.STREAM.CREATE.S9", {"name": "S9", "subjects": ["s9"], "num_replicas": 3}),
    ask("STREAM.INFO missing", "$JS.API.STREAM.INFO.NOPE"),
    ask("unknown API", "$JS.API.FOO.BAR"),
    ask("JS publish", "s1.a", b"hello"),
    with_headers("dedupe 1", "s1.a", [("Nats-Msg-Id", "m1")], b"x"),
    with_headers("dedupe 2", "s1.a", [("Nats-Msg-Id", "m1")], b"x"),
    with_headers("expected last seq wrong", "s1.a", [("Nats-Expected-Last-Sequence", "77")], b"x"),
    with_headers("expected last subj seq wrong", "s1.a", [("Nats-Expected-Last-Subject-Sequence", "0")], b"x"),
    with_headers("expected stream wrong", "s1.a", [("Nats-Expected-Stream", "ZZ")], b"x"),
    with_headers("expected msg id wrong", "s1.a", [("Nats-Expected-Last-Msg-Id", "zz")], b"x"),
    with_headers("ttl disabled", "s1.a", [("Nats-TTL", "1s")], b"x"),
    with_headers("rollup disabled", "s1.a", [("Nats-Rollup", "sub")], b"x"),
    with_headers("incr disabled", "s1.a", [("Nats-Incr", "1")], b""),
    with_headers("atomic disabled", "s1.a", [("Nats-Batch-Id", "b1"), ("Nats-Batch-Sequence", "1")], b"x"),
    ask("CONSUMER.CREATE ephemeral named", "$JS.API.CONSUMER.CREATE.S1.C1", CONSUMER),
    ask("CONSUMER.INFO missing", "$JS.API.CONSUMER.INFO.S1.NOPE"),
    ask("MSG.NEXT no_wait batch 1", NEXT, {"batch": 1, "no_wait": True}),
    ask("MSG.NEXT drain", NEXT, {"batch": 100, "no_wait": True}),
    ask("MSG.NEXT no_wait empty", NEXT, {"batch": 10, "no_wait": True}),
    ask("MSG.NEXT expires", NEXT, {"batch": 10, "expires": 300000000}, 600),
    ask("MSG.NEXT expires+hb", NEXT, {"batch": 10, "expires": 1000000000, "idle_heartbeat": 200000000}, 1300),
    ask("MSG.NEXT bad hb", NEXT, {"batch": 10, "expires": 100000000, "idle_heartbeat": 200000000}),
    ask("MSG.NEXT bad json", NEXT, b"{x"),
    ask("MSG.NEXT int payload", NEXT, b"5"),
    ask("MSG.NEXT missing consumer", "$JS.API.CONSUMER.MSG.NEXT.S1.NOPE", {"batch": 1}),
    ask("MSG.GET", "$JS.API.STREAM.MSG.GET.S1", {"seq": 1}),
    ask("MSG.GET last", "$JS.API.STREAM.MSG.GET.S1", {"last_by_subj": "s1.a"}),
    ask("MSG.GET missing", "$JS.API.STREAM.MSG.GET.S1", {"seq": 99}),
    ask("DIRECT.GET not allowed", "$JS.API.DIRECT.GET.S1", {"seq": 1}),
    ask(
        "UPDATE allow_direct etc",
        "$JS.API.STREAM.UPDATE.S1",
        {
            "name": "S1",
            "subjects": ["s1.>"],
            "allow_direct": True,
            "allow_rollup_hdrs": True,
            "allow_msg_ttl": True,
            "allow_atomic": True,
        },
    ),
    ask("DIRECT.GET", "$JS.API.DIRECT.GET.S1", {"seq": 1}),
    ask("DIRECT.GET by subj", "$JS.API.DIRECT.GET.S1.s1.a"),
    ask("DIRECT.GET missing", "$JS.API.DIRECT.GET.S1", {"seq": 99}),
    ask("DIRECT.GET batch", "$JS.API.DIRECT.GET.S1", {"seq": 1, "batch": 10}),
    ask("DIRECT.GET multi_last", "$JS.API.DIRECT.GET.S1", {"multi_last": ["s1.>"]}),
    ask("PURGE", "$JS.API.STREAM.PURGE.S1", {"filter": "s1.none"}),
    ask("MSG.DELETE", "$JS.API.STREAM.MSG.DELETE.S1", {"seq": 1}),
    ask("STREAM.NAMES", "$JS.API.STREAM.NAMES"),
    ask("STREAM.LIST", "$JS.API.STREAM.LIST"),
    ask("CONSUMER.NAMES", "$JS.API.CONSUMER.NAMES.S1"),
    ask("CONSUMER.LIST", "$JS.API.CONSUMER.LIST.S1"),
    ask("CONSUMER.PAUSE", "$JS.API.CONSUMER.PAUSE.S1.C1", {"pause_until": "2036-01-01T00:00:00Z"}),
    ask("CONSUMER.RESET", "$JS.API.CONSUMER.RESET.S1.C1"),
    ask("CONSUMER.UNPIN", "$JS.API.CONSUMER.UNPIN.S1.C1", {"group": "g"}),
    ask("CONSUMER.DELETE", "$JS.API.CONSUMER.DELETE.S1.C1"),
    with_headers("batch 1", "s1.b", [("Nats-Batch-Id", "b1"), ("Nats-Batch-Sequence", "1")], b"x"),
    with_headers(
        "batch 2 commit",
        "s1.b",
        [("Nats-Batch-Id", "b1"), ("Nats-Batch-Sequence", "2"), ("Nats-Batch-Commit", "1")],
        b"y",
    ),
    with_headers("batch bad seq", "s1.b", [("Nats-Batch-Id", "b2"), ("Nats-Batch-Sequence", "5")], b"x"),
    with_headers("ttl bad", "s1.a", [("Nats-TTL", "soon")], b"x"),
    with_headers("rollup sub", "s1.b", [("Nats-Rollup", "sub")], b"x"),
    ask(
        "counter create",
        "$JS.API.STREAM.CREATE.CNT",
        {"name": "CNT", "subjects": ["cnt.>"], "allow_msg_counter": True, "allow_direct": True},
    ),
    with_headers("counter incr", "cnt.a", [("Nats-Incr", "5")], b""),
    with_headers("counter incr2", "cnt.a", [("Nats-Incr", "-2")], b""),
    ask("counter get", "$JS.API.DIRECT.GET.CNT", {"last_by_subj": "cnt.a"}),
    ask("counter pub without incr", "cnt.a", b"x"),
    ask("STREAM.DELETE", "$JS.API.STREAM.DELETE.S1"),
)
"""In this order: each stands on the state that those before left."""
MONITORING = (
    "/varz",
    "/connz?subs=detail",
    "/jsz",
    "/jsz?streams=1&consumers=1&config=1",
    "/healthz",
    "/healthz?js-enabled-only=true",
    "/subsz",
    "/routez",
    "/nope",
)
LEFT_OUT = {
    "STREAM.SNAPSHOT": "backups are not built: refused",
    "HTTP /": "a page of links",
    "HTTP /subsz?subs=1": "lists the system account's own subscriptions, which are not there",
    "HTTP /gatewayz": "there are no gateways", "HTTP /leafz": "there are no leaf nodes",
    "HTTP /accountz": "accounts are not shown", "HTTP /accstatz": "accounts are not shown",
    "SIGUSR2 lame duck": "a stop says lame duck: tests/nats/test_session.py",
    "STDERR LOG": "the process's own log has its own form",
}  # fmt: skip
"""Blocks of the transcript that are not compared, and why; README.md says the same."""
