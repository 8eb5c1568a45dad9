"""Bad input that the transcript and the scripts leave out: what is sent, and nats-server 2.15.1's answer.

Each row is held in memory; beside the real server it is asked of both.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.nats.beside import WAIT_S, pub
from tests.nats.scripts import OPTIONS, world
from tests.nats.test_transcript import InMemory, Wire

SECOND = 1_000_000_000
PONG = b"PONG\r\n"
CLOSED = b"<EOF>"
INVALID_JSON = "400 10025"
"""Its words are Go's, and not compared (README.md)."""


def err(text: str) -> bytes:
    return b"-ERR '%b'\r\n" % text.encode()


UNKNOWN = err("Unknown Protocol Operation") + CLOSED


class Line(NamedTuple):
    """Sent behind CONNECT with these options; answered with this."""

    sent: bytes
    answer: bytes
    options: dict[str, Any] = {}


LINES = [
    Line(b"PUB\r\n", UNKNOWN),
    Line(b"PUB a b c 1\r\n", CLOSED),
    Line(b"PUB a 99999999999999999999\r\n", CLOSED),
    Line(b"PUB a 1.5\r\n", CLOSED),
    Line(b"PUB a 0x1\r\n", CLOSED),
    Line(b"PUB a +1\r\nx\r\n", CLOSED),
    Line(b"PUB a 1\nx\r\n", b""),
    Line(b"PUB a 1\r\nx\n\n", UNKNOWN),
    Line(b"HPUB\r\n", UNKNOWN),
    Line(b"HPUB a 12\r\n", CLOSED),
    Line(b"HPUB a -1 2\r\n", CLOSED),
    Line(b"HPUB a x 2\r\n", CLOSED),
    Line(b"HPUB a 12 x\r\n", CLOSED),
    Line(b"HPUB a 12 1048577\r\n", err("Maximum Payload Violation") + CLOSED),
    Line(b"HPUB a b c 12 12\r\n", CLOSED),
    Line(b"SUB\r\n", UNKNOWN),
    Line(b"SUB a..b q 1\r\n", err("Invalid Subject")),
    Line(b"SUB a q..r 1\r\n", b""),
    Line(b"SUB a. 1\r\n", err("Invalid Subject")),
    Line(b"SUB .a 1\r\n", err("Invalid Subject")),
    Line(b"SUB a.>.b 1\r\n", err("Invalid Subject")),
    Line(b"SUB >.a 1\r\n", err("Invalid Subject")),
    Line(b"SUB a.b* 1\r\n", b""),
    Line(b"UNSUB 1 -1\r\n", b""),
    Line(b"UNSUB 1 99999999999999999999\r\n", b""),
    Line(b"HMSG a 1 12 12\r\n", UNKNOWN),
    Line(b"CONNECT {}\r\n", b""),
    Line(b'CONNECT {"verbose":"yes"}\r\n', CLOSED),
    Line(b'CONNECT {"verbose":\r\n', CLOSED),
    Line(b'CONNECT "x"\r\n', CLOSED),
    Line(b'CONNECT {"bogus":1}\r\n', b""),
    Line(b'CONNECT {"protocol":2}\r\n', err("invalid client protocol") + CLOSED),
    Line(b'CONNECT {"protocol":-1}\r\n', err("invalid client protocol") + CLOSED),
    Line(b'CONNECT {"protocol":"1"}\r\n', CLOSED),
    Line(b'CONNECT {"user":"u","pass":"p"}\r\n', b""),
    Line(b'CONNECT {"auth_token":"t"}\r\n', b""),
    Line(b'CONNECT {"jwt":"x","sig":"y"}\r\n', b""),
    Line(b'CONNECT {"nkey":"x","sig":"y"}\r\n', b""),
    Line(b"CONNECT {" + b" " * 5000 + b"}\r\n", err("maximum control line exceeded") + CLOSED),
    Line(b"PUB " + b"a" * 5000 + b" 0\r\n\r\n", err("maximum control line exceeded") + CLOSED),
    Line(b"\x00\r\n", UNKNOWN),
    Line(b"\xff\xfe\r\n", UNKNOWN),
    Line(b"P\r\n", UNKNOWN),
    Line(b"PIN\r\n", UNKNOWN),
    Line(b"PUBX a 0\r\n", UNKNOWN),
    Line(b"UNSUBX 1\r\n", UNKNOWN),
    Line(b"HPUBX a 0 0\r\n", UNKNOWN),
    Line(b"CONNECTX {}\r\n", CLOSED),
    Line(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", UNKNOWN),
    Line(b"-OK\r\n", UNKNOWN),
    Line(b"+ERR\r\n", UNKNOWN),
    Line(b" PING\r\n", UNKNOWN),
    Line(b"\n", UNKNOWN),
    Line(b"PUB a.> 0\r\n\r\n", err("Invalid Publish Subject"), {"pedantic": True}),
    Line(b"PUB a 2 2\r\nhi\r\n", b"", {"pedantic": True}),
    Line(b"HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n", CLOSED, {"headers": False, "no_responders": False}),
    Line(b"HPUB a..b 12 12\r\nNATS/1.0\r\n\r\n\r\n", err("Invalid Publish Subject"), {"pedantic": True}),
    Line(b"SUB a..b 1\r\n", err("Invalid Subject"), {"verbose": True}),
    Line(b"PUB a..b 0\r\n\r\n", b"+OK\r\n", {"verbose": True}),
    Line(b"UNSUB 9\r\n", b"+OK\r\n", {"verbose": True}),
    Line(b"SUB a 1\r\nSUB b 1\r\n", b"+OK\r\n" + b"+OK\r\n", {"verbose": True}),
]  # fmt: skip


class Request(NamedTuple):
    """Sent to a subject; the error of its answer, or its status."""

    subject: str
    body: Any
    answer: str
    headers: dict[str, str] | None = None
    before: bytes = b""


def consumer(answer: str, action: str = "", subject: str = "CREATE.S.D", **config: Any) -> Request:
    """CONSUMER.CREATE of D."""
    named = {"name": "D", "durable_name": "D", "ack_policy": "explicit", **config}
    body = {"stream_name": "S", "config": {k: v for k, v in named.items() if v is not None}, "action": action}
    return Request(f"$JS.API.CONSUMER.{subject}", body, answer)


def following(answer: str, body: object) -> Request:
    """CONSUMER.MSG.NEXT."""
    return Request("$JS.API.CONSUMER.MSG.NEXT.S.C", body, answer)


def batch(name: str, sequence: int | str, **more: str) -> dict[str, str]:
    """Headers of one message of an atomic batch."""
    return {"Nats-Batch-Id": name, "Nats-Batch-Sequence": str(sequence), **more}


BATCH_MESSAGES_MAX, BATCHES_MAX = 1000, 50
LONG_BATCH = b"".join(pub("at.x", reply="", headers=batch("l", n)) for n in range(1, BATCH_MESSAGES_MAX + 1))
MANY_BATCHES = b"".join(pub("at.x", reply="", headers=batch(f"m{n}", 1)) for n in range(BATCHES_MAX))
REQUESTS = [
    consumer("400 10018 consumer expected to be durable but a durable name was not set", subject="DURABLE.CREATE.S.D", durable_name=None),
    consumer("400 10017 consumer name in subject does not match durable name in request", subject="DURABLE.CREATE.S.E"),
    consumer("400 10017 consumer name in subject does not match durable name in request", subject="CREATE.S.E"),
    consumer("400 10127 Consumer name can not contain path separators", subject="CREATE.S", durable_name=None, name="a/b"),
    consumer("400 10137 consumer with multiple subject filters cannot use subject based API", subject="CREATE.S.D.s.a", filter_subjects=["s.b"]),
    consumer("400 10131 Consumer create request did not match filtered subject from create subject", subject="CREATE.S.D.s.a", filter_subject="s.b"),
    consumer("400 10136 consumer cannot have both FilterSubject and FilterSubjects specified", filter_subject="s.a", filter_subjects=["s.b"]),
    consumer("400 10139 consumer filter in FilterSubjects cannot be empty", filter_subjects=[""]),
    consumer(INVALID_JSON, action="bogus"),
    consumer("400 10107 consumer description is too long, maximum allowed is 4096", description="x" * 4097),
    consumer("400 10094 consumer delivery policy is deliver by start sequence, but optional start sequence is not set", deliver_policy="by_start_sequence"),
    consumer("400 10094 consumer delivery policy is deliver by start time, but optional start time is not set", deliver_policy="by_start_time"),
    consumer("400 10094 consumer delivery policy is deliver all, but optional start sequence is also set", opt_start_seq=3),
    consumer("400 10094 consumer delivery policy is deliver all, but optional start time is also set", opt_start_time="2020-01-01T00:00:00Z"),
    consumer("400 10094 consumer delivery policy is deliver new, but optional start sequence is also set", deliver_policy="new", opt_start_seq=3),
    consumer("400 10094 consumer delivery policy is deliver last, but optional start time is also set", deliver_policy="last", opt_start_time="2020-01-01T00:00:00Z"),
    consumer(INVALID_JSON, opt_start_time="soon", deliver_policy="by_start_time"),
    consumer(INVALID_JSON, opt_start_seq=-1),
    consumer(INVALID_JSON, ack_wait="1s"),
    consumer(INVALID_JSON, max_deliver=1.5),
    consumer(INVALID_JSON, backoff="1s"),
    consumer("400 10135 consumer metadata exceeds maximum size of 128KB", metadata={"a": "x" * 131072}),
    consumer("500 10074 replicas > 1 not supported in non-clustered mode", num_replicas=2),
    Request("$JS.API.CONSUMER.CREATE.S.D", {"stream_name": "T", "config": {"name": "D"}}, "400 10056 stream name in subject does not match request"),
    Request("$JS.API.CONSUMER.CREATE.S.D", b"[]", INVALID_JSON),
    Request("$JS.API.CONSUMER.CREATE.T.D", {"stream_name": "T", "config": {"name": "D"}}, "404 10059 stream not found"),
    Request("$JS.API.STREAM.CREATE.X", b"[]", INVALID_JSON),
    Request("$JS.API.STREAM.CREATE.X", b"{}", "400 10056 stream name in subject does not match request"),
    Request("$JS.API.STREAM.CREATE.X", b'{"name":"X"} x', INVALID_JSON),
    Request("$JS.API.STREAM.CREATE.X", b'{"name":"X","max_msgs":1.5}', INVALID_JSON),
    Request("$JS.API.STREAM.CREATE.X", b'{"name":"X","max_msgs":99999999999999999999}', INVALID_JSON),
    Request("$JS.API.STREAM.CREATE.X", b'{"name":"X","subjects":"a"}', INVALID_JSON),
    Request("$JS.API.STREAM.CREATE.X", b'{"name":5}', INVALID_JSON),
    Request("$JS.API.STREAM.CREATE.X", {"name": "X", "num_replicas": -1}, "400 10133 replicas count cannot be negative"),
    Request("$JS.API.STREAM.CREATE.X", {"name": "X", "description": "x" * 4097}, "500 10052 stream description is too long, maximum allowed is 4096"),
    Request("$JS.API.STREAM.CREATE.X", {"name": "X", "metadata": {"a": "x" * 131072}}, "500 10052 stream metadata exceeds maximum size of 131072 bytes"),
    Request("$JS.API.STREAM.CREATE.X", {"name": "X", "subjects": ["x", "x"]}, "500 10052 subject \"x\" overlaps with \"x\""),
    Request("$JS.API.STREAM.CREATE.X", {"name": "X", "subjects": ["x.*", "x.y"]}, "500 10052 subject \"x.*\" overlaps with \"x.y\""),
    Request("$JS.API.STREAM.CREATE.X", {"name": "X", "subjects": [">"]}, "500 10052 capturing all subjects requires no-ack to be true"),
    Request("$JS.API.STREAM.CREATE.X", {"name": "X", "subjects": ["$SYS.x"]}, "500 10052 subjects that overlap with system api require no-ack to be true"),
    Request("$JS.API.STREAM.CREATE.X", {"name": "X", "subjects": ["a.>.b"]}, "500 10052 invalid subject"),
    Request("$JS.API.STREAM.CREATE.X/Y", {"name": "X/Y"}, "400 10128 Stream name can not contain path separators"),
    Request("$JS.API.STREAM.CREATE." + "x" * 256, {"name": "x" * 256}, "500 10052 stream name is too long, maximum allowed is 255"),
    Request("$JS.API.STREAM.UPDATE.X", {"name": "X"}, "404 10059 stream not found"),
    Request("$JS.API.STREAM.UPDATE.S", {"name": "X"}, "400 10056 stream name in subject does not match request"),
    Request("$JS.API.STREAM.UPDATE.S", {"name": "S", "subjects": ["at.x"]}, "400 10065 subjects overlap with an existing stream"),
    Request("$JS.API.STREAM.INFO.S", b"[]", INVALID_JSON),
    Request("$JS.API.STREAM.PURGE.X", b"", "404 10059 stream not found"),
    Request("$JS.API.STREAM.PURGE.S", b"{x", INVALID_JSON),
    Request("$JS.API.STREAM.PURGE.S", {"seq": 1, "keep": 1}, "400 10003 bad request"),
    Request("$JS.API.STREAM.PURGE.S", {"seq": -1}, INVALID_JSON),
    Request("$JS.API.STREAM.PURGE.S", {"bogus": 1}, INVALID_JSON),
    Request("$JS.API.STREAM.MSG.GET.S", b"{x", INVALID_JSON),
    Request("$JS.API.STREAM.MSG.GET.S", {"seq": "1"}, INVALID_JSON),
    Request("$JS.API.CONSUMER.INFO.S.X", b"", "404 10014 consumer not found"),
    Request("$JS.API.CONSUMER.NAMES.S", b"{x", INVALID_JSON),
    Request("$JS.API.CONSUMER.NAMES.S", {"offset": "x"}, INVALID_JSON),
    Request("$JS.API.CONSUMER.DELETE.S.X", b"x", "400 10038 expected an empty request payload"),
    Request("$JS.API.CONSUMER.RESET.S.C", b"{x", INVALID_JSON),
    Request("$JS.API.CONSUMER.UNPIN.S.C", b"{x", INVALID_JSON),
    Request("$JS.API.STREAM.NAMES", b"[]", INVALID_JSON),
    Request("$JS.API.STREAM.LIST", {"offset": 1.5}, INVALID_JSON),
    following("400 Bad Request - invalid character 'x' looking for beginning of object key string", b"{x"),
    following("409 Exceeded MaxRequestBatch of 5", {"batch": 6}),
    following("400 Bad Request - heartbeat value too large", {"idle_heartbeat": SECOND}),
    following("400 Bad Request - heartbeat value too large", {"expires": SECOND, "idle_heartbeat": SECOND}),
    Request("$JS.API.CONSUMER.MSG.NEXT.S.X", b"", "503"),
    Request("$JS.API.CONSUMER.MSG.NEXT.X.C", b"", "503"),
    Request("s.a", b"x" * 9, "400 10060 expected stream does not match", {"Nats-Expected-Stream": "T"}),
    Request("s.a", b"", "400 10071 wrong last sequence: 0", {"Nats-Expected-Last-Sequence": "9"}),
    Request("s.a", b"", "400 10071 wrong last sequence: 0", {"Nats-Expected-Last-Sequence": "-1"}),
    Request("s.a", b"", "400 10071 wrong last sequence: 0", {"Nats-Expected-Last-Subject-Sequence": "9"}),
    Request("s.a", b"", "400 10070 wrong last msg ID: ", {"Nats-Expected-Last-Msg-Id": "x"}),
    Request("s.a", b"", "500 10111 rollup not permitted", {"Nats-Rollup": "all"}),
    Request("s.a", b"", "400 10166 per-message TTL is disabled", {"Nats-TTL": "1s"}),
    Request("s.a", b"", "400 10165 invalid per-message TTL", {"Nats-TTL": "x"}),
    Request("s.a", b"", "400 10168 message counters is disabled", {"Nats-Incr": "1"}),
    Request("s.a", b"", "400 10174 atomic publish is disabled", {"Nats-Batch-Id": "x"}),
    Request("s.a", b"", "400 10188 message schedules is disabled", {"Nats-Schedule": "@at 2030-01-01T00:00:00Z"}),
    Request("s.a", b"", "400 10097 header size exceeds maximum allowed of 64k", {"A": "x" * 65536}),
    Request("ttl.a", b"", "400 10165 invalid per-message TTL", {"Nats-TTL": "x"}),
    Request("ttl.a", b"", "400 10165 invalid per-message TTL", {"Nats-TTL": "-1"}),
    Request("ttl.a", b"", "400 10165 invalid per-message TTL", {"Nats-TTL": "1ms"}),
    Request("ttl.a", b"", "500 10111 rollup value invalid: \"some\"", {"Nats-Rollup": "some"}),
    Request("cnt.a", b"", "400 10169 message counter increment is missing"),
    Request("cnt.a", b"x", "400 10170 message counter has payload", {"Nats-Incr": "1"}),
    Request("cnt.a", b"", "400 10171 message counter increment is invalid", {"Nats-Incr": "x"}),
    Request("cnt.a", b"", "400 10171 message counter increment is invalid", {"Nats-Incr": "1.5"}),
    Request("at.a", b"", "400 10175 atomic publish sequence is missing", {"Nats-Batch-Id": "a"}),
    Request("at.a", b"", "400 10176 atomic publish batch is incomplete", batch("a", 0)),
    Request("at.a", b"", "400 10176 atomic publish batch is incomplete", batch("a", 2)),
    Request("at.a", b"", "400 10179 atomic publish batch ID is invalid", batch("x" * 65, 1)),
    Request("at.a", b"", "400 10200 atomic publish batch commit is invalid", batch("a", 1, **{"Nats-Batch-Commit": "2"})),
    Request("at.a", b"", "400 10177 atomic publish unsupported header used: Nats-Expected-Last-Msg-Id", batch("a", 1, **{"Nats-Expected-Last-Msg-Id": "x", "Nats-Batch-Commit": "1"})),
    Request("at.a", b"", "400 10199 atomic publish batch is too large: 1000", batch("l", 1001), before=LONG_BATCH),
    Request("at.a", b"", "429 10210 atomic publish too many inflight", batch("n", 1), before=MANY_BATCHES),
    *(
        Request(f"$JS.API.{subject}", b"", "412 10185 JetStream minimum api level required", {"Nats-Required-Api-Level": level})
        for subject, level in (
            ("INFO", "6"), ("STREAM.INFO.S", "6"), ("STREAM.INFO.S", "x"), ("STREAM.NAMES", "6"),
            ("STREAM.LIST", "6"), ("STREAM.PURGE.S", "6"), ("STREAM.DELETE.S", "6"), ("STREAM.MSG.GET.S", "6"),
            ("STREAM.MSG.DELETE.S", "6"), ("CONSUMER.INFO.S.C", "6"), ("CONSUMER.NAMES.S", "6"), ("CONSUMER.LIST.S", "6"),
            ("CONSUMER.PAUSE.S.C", "6"), ("CONSUMER.RESET.S.C", "6"), ("CONSUMER.UNPIN.S.C", "6"), ("CONSUMER.DELETE.S.C", "6"),
        )
    ),
]  # fmt: skip

SET_UP = [
    ("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]}),
    ("STREAM.CREATE.AT", {"name": "AT", "subjects": ["at.>"], "allow_atomic": True}),
    ("STREAM.CREATE.CNT", {"name": "CNT", "subjects": ["cnt.>"], "allow_msg_counter": True}),
    ("STREAM.CREATE.TTL", {"name": "TTL", "subjects": ["ttl.>"], "allow_msg_ttl": True, "allow_rollup_hdrs": True}),
    ("CONSUMER.CREATE.S.C", {"stream_name": "S", "config": {"durable_name": "C", "ack_policy": "explicit", "max_batch": 5}}),
]  # fmt: skip


def connected(peer: Wire | InMemory, options: dict[str, Any]) -> None:
    peer.exchange(b"CONNECT " + json.dumps({**OPTIONS, **options}).encode() + b"\r\nPING\r\n")


def answer_to(peer: Wire | InMemory, sent: bytes) -> bytes:
    """Up to a PONG of its own or the end, without the second INFO."""
    data = peer.exchange(sent) if isinstance(peer, Wire) else peer.exchange(sent + b"PING\r\n").replace(PONG, b"", 1)
    return b"".join(line for line in data.splitlines(True) if not line.startswith(b"INFO "))


def in_memory() -> InMemory:
    return InMemory(world().connect("nats"))


def line_answer(peer: Wire | InMemory, line: Line) -> bytes:
    connected(peer, line.options)
    return answer_to(peer, line.sent)


class Asked:
    """A server with what the requests are about; one connection."""

    def __init__(self, peer: Wire | InMemory) -> None:
        self.peer = peer
        self.count = 0
        connected(peer, {})
        peer.exchange(b"SUB r.* 1\r\n")
        for subject, body in SET_UP:
            assert self.ask(f"$JS.API.{subject}", body) == "taken", subject

    def request(self, request: Request) -> str:
        self.peer.exchange(request.before)
        return self.ask(request.subject, request.body, request.headers)

    def ask(self, subject: str, body: Any, headers: dict[str, str] | None = None) -> str:
        """The one answer; nothing else is delivered here."""
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.count += 1
        data = self.peer.exchange(pub(subject, payload, f"r.{self.count}", headers))
        until = time.monotonic() + WAIT_S
        while b"MSG r.%d " % self.count not in data and isinstance(self.peer, Wire) and time.monotonic() < until:
            data += self.peer.exchange(b"")
        return shown(data)


def shown(data: bytes) -> str:
    """A message as its error, its status, or ``taken``."""
    line, _, rest = data.partition(b"\r\n")
    if line.startswith(b"HMSG"):
        return rest.partition(b"\r\n")[0].removeprefix(b"NATS/1.0 ").decode()
    if not rest.startswith(b"{"):
        return data.decode()
    error = json.loads(rest.partition(b"\r\n")[0]).get("error")
    if error and error["err_code"] == 10025:
        return INVALID_JSON
    return f"{error['code']} {error['err_code']} {error['description']}" if error else "taken"


@pytest.mark.parametrize("line", LINES, ids=lambda line: repr(line.sent[:30]))
def test_a_bad_line_is_answered(line: Line) -> None:
    assert line_answer(in_memory(), line) == line.answer


def test_a_bad_request_is_answered() -> None:
    asked = Asked(in_memory())
    assert [(r.subject, asked.request(r)) for r in REQUESTS] == [(r.subject, r.answer) for r in REQUESTS]


@pytest.mark.peer
def test_bad_input_is_answered_as_the_real_server_answers(peer: Callable[[str], str]) -> None:
    real = peer("nats-server")
    for line in LINES:
        wire = Wire(real)
        assert line_answer(wire, line) == line_answer(in_memory(), line), line
        wire.socket.close()
    wire = Wire(real)
    ours, theirs = Asked(in_memory()), Asked(wire)
    for request in REQUESTS:
        assert (request.subject, ours.request(request)) == (request.subject, theirs.request(request)), request
    wire.socket.close()
