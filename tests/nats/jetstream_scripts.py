"""Scripts for JetStream: what ours and the real nats-server are both asked (test_jetstream_beside.py)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from typing import Any

from tests.nats.beside import Ask, Peer, Step, api, pub, pull, put, settle, sub

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
PAST, FUTURE = "2000-01-01T00:00:00Z", "2096-01-01T00:00:00Z"


def create(name: str, **config: Any) -> Ask:
    """A stream that captures all beneath its name in lower case."""
    return api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{name.lower()}.>"], **config})


def update(name: str, **config: Any) -> Ask:
    return api(f"STREAM.UPDATE.{name}", {"name": name, "subjects": [f"{name.lower()}.>"], **config})


def info(name: str, body: object = b"") -> Ask:
    return api(f"STREAM.INFO.{name}", body)


def consumer(stream: str, name: str, durable: bool = True, **config: Any) -> Ask:
    wanted = {"ack_policy": "explicit", **config, "name": name}
    if durable:
        wanted["durable_name"] = name
    return api(f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": wanted})


def told(stream: str, name: str) -> Ask:
    return api(f"CONSUMER.INFO.{stream}.{name}")


def puts(stream: str, count: int, token: str = "a") -> list[Step]:
    return [put(f"{stream.lower()}.{token}", b"%d" % index) for index in range(count)]


def direct(stream: str, body: object = b"", subject: str = "") -> bytes:
    """A direct get, answered on ``r.d``."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return pub(f"$JS.API.DIRECT.GET.{stream}{subject}", payload, "r.d")


def acknowledge(word: bytes = b"", sid: bytes = b"d") -> Callable[[Peer], None]:
    """What was delivered so far, in this way, with a reply."""

    def act(peer: Peer) -> None:
        for words in peer.raw.get(sid, []):
            if len(words) > 3 and words[3].startswith(b"$JS.ACK"):
                peer.send(b"PUB %b r.x %d\r\n%b\r\n" % (words[3], len(word), word))
        peer.raw[sid] = []

    return act


def one_each(words: Iterable[bytes], sid: bytes) -> Callable[[Peer], None]:
    """The first delivery with the first word, and so on."""

    def act(peer: Peer) -> None:
        for delivery, word in zip(peer.raw[sid], words, strict=False):
            peer.send(b"PUB %b %d\r\n%b\r\n" % (delivery[3], len(word), word))

    return act


def flat(steps: Iterable[Any]) -> list[Step]:
    found: list[Step] = []
    for step in steps:
        found += flat(step) if isinstance(step, list) else [step]
    return found


INBOX, DIRECT, PULLED = sub("r.x", "x"), sub("r.d", "d"), sub("r.n", "d")
SCRIPTS: dict[str, list[Any]] = {
    "advisories": [
        create("AD"),
        sub("$JS.EVENT.ADVISORY.CONSUMER.*.AD.>", "d"),
        INBOX,
        puts("AD", 4),
        consumer("AD", "c", ack_wait=300000000, max_deliver=1),
        pull("AD.c", {"batch": 3}, "r.x"),
        ("x", 3),
        one_each([b"-NAK", b"+TERM because", b""], b"x"),
        settle(600),
        pull("AD.c", {"batch": 3}, "r.x"),
        api("CONSUMER.INFO.AD.c"),
        4,
        api("CONSUMER.DELETE.AD.c"),
        5,
    ],
    "push basic": [
        create("PA"),
        puts("PA", 3),
        sub("d.pa", "d"),
        consumer("PA", "c", deliver_subject="d.pa"),
        3,
        api("CONSUMER.INFO.PA.c"),
        put("pa.a", b"x"),
        4,
    ],
    "push none hb": [
        create("PB"),
        puts("PB", 3),
        sub("d.pb", "d"),
        consumer(
            "PB",
            "c",
            durable=False,
            ack_policy="none",
            deliver_subject="d.pb",
            idle_heartbeat=200000000,
            flow_control=True,
            mem_storage=True,
            num_replicas=1,
            max_deliver=1,
            ack_wait=22 * 3600 * SECOND,
        ),
        4,
        api("CONSUMER.INFO.PB.c"),
    ],
    "push group": [
        create("PC"),
        sub("d.pc", "d", "g"),
        puts("PC", 4),
        consumer("PC", "c", deliver_subject="d.pc", deliver_group="g"),
        4,
        api("CONSUMER.INFO.PC.c"),
    ],
    "push unbound": [
        create("PD"),
        puts("PD", 3),
        consumer("PD", "c", deliver_subject="d.pd"),
        api("CONSUMER.INFO.PD.c"),
        sub("d.pd", "d"),
        3,
        api("CONSUMER.INFO.PD.c"),
    ],
    "push errors": [
        create("PE"),
        consumer("PE", "c", deliver_subject="d.*"),
        consumer("PE", "c", deliver_subject="pe.x"),
        consumer("PE", "c", deliver_subject="d..x"),
        consumer("PE", "c", deliver_subject="d.x", max_waiting=3),
        consumer("PE", "c", deliver_subject="d.x", ack_policy="none", max_ack_pending=3),
        consumer("PE", "c", deliver_subject="d.x", idle_heartbeat=3),
        consumer("PE", "c", deliver_subject="d.x", flow_control=True),
        consumer("PE", "c", deliver_subject="d.x", direct=True),
        consumer("PE", "c", direct=True),
        consumer("PE", "c", rate_limit_bps=100),
        consumer("PE", "c", idle_heartbeat=100000000),
        consumer("PE", "c", flow_control=True),
        consumer("PE", "c", deliver_group="x"),
        consumer("PE", "c", deliver_subject="d.x", sample_freq="abc"),
        consumer("PE", "c", deliver_policy="last_per_subject"),
        consumer("PE", "c", deliver_policy="last_per_subject", filter_subject="pe.>", opt_start_seq=4),
        consumer("PE", "c", max_batch=-1),
        consumer("PE", "c", max_expires=1),
        consumer("PE", "c", max_waiting=-1),
        consumer("PE", "c", ack_wait=-1),
        consumer("PE", "c", backoff=[-1]),
        consumer("PE", "c", backoff=[1, 2], max_deliver=1),
        consumer("PE", "c", ack_policy="bogus"),
        consumer("PE", "c", replay_policy="bogus"),
        consumer("PE", "c", deliver_policy="bogus"),
        consumer("PE", "c", filter_subject="other"),
        consumer("PE", "c", filter_subjects=["pe.a", "pe.*"]),
        consumer("PE", "c", priority_policy="overflow"),
        consumer("PE", "c", priority_groups=["a"]),
        consumer("PE", "c", num_replicas=3),
        consumer("PE", "c", num_replicas=-1),
        consumer("PE", "c", metadata={"a": "b"}),
    ],
    "push update": [
        create("PF"),
        consumer("PF", "c", deliver_subject="d.pf", deliver_group="g", max_deliver=5),
        consumer("PF", "c", deliver_subject="d.pf2", deliver_group="g", max_deliver=6),
        sub("d.pf2", "d", "g"),
        consumer("PF", "c", deliver_subject="d.pf3"),
        consumer("PF", "c"),
        consumer("PF", "c", deliver_subject="d.pf2", deliver_group="g", ack_policy="all"),
        consumer("PF", "c", deliver_subject="d.pf2", deliver_group="g", idle_heartbeat=SECOND),
    ],
    "last per subject": [
        create("LA"),
        [puts("LA", 3, s) for s in "abc"],
        put("la.a", b"z"),
        consumer("LA", "c", deliver_policy="last_per_subject", filter_subject="la.>"),
        PULLED,
        pull("LA.c", {"batch": 10, "no_wait": True}),
        4,
        put("la.b", b"new"),
        settle(100),
        pull("LA.c", {"batch": 10, "no_wait": True}),
        6,
        api("CONSUMER.INFO.LA.c"),
    ],
    "kv watch": [
        create("KA", max_msgs_per_subject=-1),
        [puts("KA", 3, s) for s in "abc"],
        sub("d.ka", "d"),
        consumer(
            "KA",
            "c",
            durable=False,
            ack_policy="none",
            deliver_policy="last_per_subject",
            filter_subject="ka.>",
            deliver_subject="d.ka",
            idle_heartbeat=5 * SECOND,
            flow_control=True,
            headers_only=True,
        ),
        3,
        put("ka.b", b"new"),
        4,
    ],
    "pause": [
        create("PU"),
        puts("PU", 2),
        consumer("PU", "c"),
        api("CONSUMER.PAUSE.PU.c", {"pause_until": "2096-01-01T00:00:00Z"}),
        api("CONSUMER.INFO.PU.c"),
        PULLED,
        pull("PU.c", {"batch": 1, "expires": 300 * MILLISECOND}),
        1,
        api("CONSUMER.PAUSE.PU.c", {}),
        pull("PU.c", {"batch": 1}),
        2,
        api("CONSUMER.INFO.PU.c"),
        api("CONSUMER.PAUSE.PU.c", b""),
        api("CONSUMER.PAUSE.PU.c", {"pause_until": "2016-01-01T00:00:00Z"}),
        api("CONSUMER.PAUSE.PU.x", {}),
        api("CONSUMER.PAUSE.PX.x", {}),
        api("CONSUMER.PAUSE.PU.c", b"{x"),
        consumer("PU", "d", pause_until="2096-01-01T00:00:00Z"),
    ],
    "reset": [
        create("RS"),
        puts("RS", 5),
        consumer("RS", "c"),
        PULLED,
        pull("RS.c", {"batch": 3, "no_wait": True}),
        3,
        api("CONSUMER.RESET.RS.c"),
        pull("RS.c", {"batch": 1, "no_wait": True}),
        4,
        api("CONSUMER.RESET.RS.c", {"seq": 4}),
        pull("RS.c", {"batch": 9, "no_wait": True}),
        7,
        consumer("RS", "n", deliver_policy="new"),
        api("CONSUMER.RESET.RS.n", {"seq": 1}),
        consumer("RS", "o", deliver_policy="by_start_sequence", opt_start_seq=3),
        api("CONSUMER.RESET.RS.o", {"seq": 1}),
        api("CONSUMER.RESET.RS.o", {"seq": 3}),
        api("CONSUMER.UNPIN.RS.o", {"group": "x"}),
        api("CONSUMER.UNPIN.RS.o"),
    ],
    "next on push": [create("NP"), consumer("NP", "c", deliver_subject="d.np"), PULLED, pull("NP.c", b""), 1],
    "redeliver push": [
        create("RP"),
        sub("d.rp", "d"),
        puts("RP", 2),
        consumer("RP", "c", deliver_subject="d.rp", ack_wait=300000000, max_deliver=2),
        4,
        settle(400),
        api("CONSUMER.INFO.RP.c"),
    ],
    "flow": [
        create("FC"),
        sub("d.fc", "d"),
        *[put("fc.a", b"x" * 100000) for _ in range(30)],
        consumer("FC", "c", ack_policy="none", deliver_subject="d.fc", flow_control=True, idle_heartbeat=5 * SECOND),
        22,
    ],
    "original": [
        create("OR"),
        puts("OR", 2),
        consumer("OR", "c", replay_policy="original"),
        PULLED,
        pull("OR.c", {"batch": 2}),
        2,
    ],
    "cfg errors": [
        create("CE", retention="bogus"),
        create("CE", discard="bogus"),
        create("CE", storage="bogus"),
        create("CE", discard_new_per_subject=True),
        create("CE", discard="new", discard_new_per_subject=True),
        create("CE", max_age=1),
        create("CE", duplicate_window=1),
        create("CE", duplicate_window=-1),
        create("CE", max_age=SECOND, duplicate_window=2 * SECOND),
        create("CE", subject_delete_marker_ttl=1),
        create("CE", subject_delete_marker_ttl=-1),
        create("CE", deny_purge=True, allow_rollup_hdrs=True),
        create("CE", deny_purge=True, subject_delete_marker_ttl=SECOND),
        create("CE", allow_msg_counter=True, discard="new"),
        create("CE", allow_msg_counter=True, allow_msg_ttl=True),
        create("CE", allow_msg_counter=True, retention="interest"),
        create("CE", max_msgs=-5, max_bytes=-6, max_age=-1),
        create("CE", subjects=["a..b"]),
        create("CE", subjects=["a b"]),
        create("CE", subjects=["a\tb"]),
        create("CE", subjects=[""]),
        create("CE", subjects=["$JS.API.x"]),
        create("CE", subjects=["$JS.EVENT.ADVISORY.x"]),
    ],
    "cfg ok": [
        create("CO", retention="interest"),
        create("CP", retention="workqueue", discard="new", max_msgs=5),
        create("CQ", subject_delete_marker_ttl=SECOND),
        create("CR", allow_msg_ttl=True, discard="new", max_msgs_per_subject=3, discard_new_per_subject=True),
        create("CS", allow_atomic=True, allow_rollup_hdrs=True, allow_msg_ttl=True),
        create("CT", mirror_direct=True),
        create("CU", allow_msg_counter=True),
    ],
    "update": [
        create("UP", max_msgs=5, deny_delete=True, deny_purge=True, allow_msg_ttl=True),
        update("UP", max_consumers=3, deny_delete=True, deny_purge=True),
        update("UP", storage="memory", deny_delete=True, deny_purge=True, allow_msg_ttl=True),
        update("UP", retention="interest", deny_delete=True, deny_purge=True, allow_msg_ttl=True),
        update("UP", retention="workqueue", deny_delete=True, deny_purge=True, allow_msg_ttl=True),
        update("UP", deny_purge=True, allow_msg_ttl=True),
        update("UP", deny_delete=True, allow_msg_ttl=True),
        update("UP", deny_delete=True, deny_purge=True),
        update("UP", allow_msg_counter=True, deny_delete=True, deny_purge=True, allow_msg_ttl=True),
        api("STREAM.PURGE.UP"),
        api("STREAM.MSG.DELETE.UP", {"seq": 1}),
    ],
    "max msgs": [
        create("MM", max_msgs=3),
        puts("MM", 5),
        info("MM", {"deleted_details": True}),
        create("MN", max_msgs=3, discard="new"),
        puts("MN", 5),
        info("MN"),
    ],
    "max bytes": [
        create("MB", max_bytes=120),
        puts("MB", 6),
        info("MB"),
        create("MC", max_bytes=120, discard="new"),
        puts("MC", 6),
        info("MC"),
        put("mc.a", b"x" * 500),
    ],
    "per subject": [
        create("MS", max_msgs_per_subject=2),
        [puts("MS", 4, s) for s in "abc"],
        info("MS", {"deleted_details": True, "subjects_filter": ">"}),
        info("MS"),
        create("MT", max_msgs_per_subject=2, discard="new", discard_new_per_subject=True),
        [puts("MT", 4, s) for s in "ab"],
        info("MT", {"subjects_filter": "mt.a"}),
        create("MU", max_msgs_per_subject=1, discard="new", max_msgs=2),
        [puts("MU", 2, s) for s in "abc"],
        info("MU", {"deleted_details": True}),
        update("MS", max_msgs_per_subject=1),
        info("MS", {"deleted_details": True}),
    ],
    "max size": [
        create("MZ", max_msg_size=10),
        put("mz.a", b"x" * 11),
        put("mz.a", b"x" * 10),
        put("mz.a", b"x" * 5, {"a": "b"}),
        info("MZ"),
    ],
    "delete": [
        create("DE"),
        puts("DE", 6),
        api("STREAM.MSG.DELETE.DE", {"seq": 3}),
        api("STREAM.MSG.DELETE.DE", {"seq": 3}),
        api("STREAM.MSG.DELETE.DE", {"seq": 99}),
        api("STREAM.MSG.DELETE.DE", {"seq": 0}),
        api("STREAM.MSG.DELETE.DE", {}),
        api("STREAM.MSG.DELETE.DE"),
        api("STREAM.MSG.DELETE.DE", b"{x"),
        api("STREAM.MSG.DELETE.NO", {"seq": 3}),
        api("STREAM.MSG.DELETE.DE", {"seq": 5, "no_erase": True}),
        info("DE"),
        info("DE", {"deleted_details": True}),
        api("STREAM.MSG.GET.DE", {"seq": 3}),
        api("STREAM.MSG.GET.DE", {"seq": 4}),
        api("STREAM.MSG.GET.DE", {"seq": 3, "next_by_subj": "de.>"}),
        api("STREAM.MSG.GET.DE", {"last_by_subj": "de.a"}),
        api("STREAM.MSG.DELETE.DE", {"seq": 1}),
        api("STREAM.MSG.DELETE.DE", {"seq": 6}),
        info("DE", {"deleted_details": True}),
        put("de.a", b"z"),
        info("DE"),
        consumer("DE", "c"),
        PULLED,
        pull("DE.c", {"batch": 9, "no_wait": True}),
        4,
        api("CONSUMER.INFO.DE.c"),
    ],
    "delete all": [
        create("DF"),
        puts("DF", 2),
        api("STREAM.MSG.DELETE.DF", {"seq": 1}),
        api("STREAM.MSG.DELETE.DF", {"seq": 2}),
        info("DF", {"deleted_details": True}),
        put("df.a"),
        info("DF"),
    ],
    "purge": [
        create("PG"),
        [puts("PG", 4, s) for s in "abc"],
        api("STREAM.PURGE.PG", {"filter": "pg.a", "keep": 1}),
        info("PG", {"deleted_details": True, "subjects_filter": ">"}),
        api("STREAM.PURGE.PG", {"filter": "pg.b", "seq": 7}),
        api("STREAM.PURGE.PG", {"filter": "pg.*", "keep": 3}),
        info("PG", {"subjects_filter": ">"}),
        api("STREAM.PURGE.PG", {"seq": 11}),
        info("PG"),
        api("STREAM.PURGE.PG", {"keep": 1}),
        api("STREAM.PURGE.PG", {"keep": 1, "seq": 4}),
        api("STREAM.PURGE.PG", {"filter": "nope"}),
        api("STREAM.PURGE.PG", {"filter": "a..b"}),
        api("STREAM.PURGE.PG", {"bogus": 1}),
        api("STREAM.PURGE.NO"),
        api("STREAM.PURGE.PG"),
        info("PG"),
        put("pg.x"),
        info("PG"),
        api("STREAM.PURGE.PG", {"filter": ">"}),
    ],
    "rollup": [
        create("RU", allow_rollup_hdrs=True),
        [puts("RU", 3, s) for s in "ab"],
        put("ru.a", b"r", {"Nats-Rollup": "sub"}),
        info("RU", {"deleted_details": True}),
        put("ru.b", b"r", {"Nats-Rollup": "all"}),
        info("RU", {"deleted_details": True}),
        put("ru.b", b"r", {"Nats-Rollup": "bogus"}),
        put("ru.b", b"r", {"Nats-Rollup": "sub", "Nats-Expected-Last-Subject-Sequence": "3"}),
        put("ru.b", b"r", {"Nats-Rollup": "SUB", "Nats-Msg-Id": "i"}),
        put("ru.b", b"r", {"Nats-Rollup": "sub", "Nats-Msg-Id": "i"}),
        info("RU"),
    ],
    "ttl": [
        create("TT", allow_msg_ttl=True),
        put("tt.a", b"1", {"Nats-TTL": "1s"}),
        put("tt.b", b"1", {"Nats-TTL": "1"}),
        put("tt.c", b"1", {"Nats-TTL": "never"}),
        put("tt.d", b"1", {"Nats-TTL": "0"}),
        put("tt.e", b"1", {"Nats-TTL": "-1"}),
        put("tt.e", b"1", {"Nats-TTL": "500ms"}),
        put("tt.e", b"1", {"Nats-TTL": "x"}),
        put("tt.f", b"1", {"Nats-TTL": "1h30m"}),
        info("TT"),
        settle(2500),
        info("TT", {"subjects_filter": ">", "deleted_details": True}),
    ],
    "markers": [
        create("MK", subject_delete_marker_ttl=SECOND, max_age=SECOND),
        PULLED,
        put("mk.a", b"1"),
        put("mk.a", b"2"),
        settle(1700),
        info("MK", {"subjects_filter": ">"}),
        api("STREAM.MSG.GET.MK", {"last_by_subj": "mk.a"}),
        settle(1500),
        info("MK"),
    ],
    "max age": [
        create("AG", max_age=SECOND),
        put("ag.a", b"1"),
        info("AG"),
        settle(1600),
        info("AG"),
        put("ag.a", b"2"),
        info("AG"),
    ],
    "counter": [
        create("CN", allow_msg_counter=True, allow_direct=True),
        put("cn.a", b"", {"Nats-Incr": "+5"}),
        put("cn.a", b"", {"Nats-Incr": "-2"}),
        put("cn.a", b"x", {"Nats-Incr": "1"}),
        put("cn.a", b"", {"Nats-Incr": "x"}),
        put("cn.a", b""),
        put("cn.b", b"", {"Nats-Incr": "123456789012345678901234567890"}),
        api("DIRECT.GET.CN", {"last_by_subj": "cn.a"}),
        api("STREAM.MSG.GET.CN", {"seq": 2}),
    ],
    "workqueue": [
        create("WQ", retention="workqueue"),
        puts("WQ", 5),
        consumer("WQ", "c"),
        consumer("WQ", "d"),
        consumer("WQ", "e", filter_subject="wq.a"),
        consumer("WQ", "n", ack_policy="none"),
        consumer("WQ", "al", ack_policy="all"),
        consumer("WQ", "p", ack_policy="none", deliver_subject="x"),
        consumer("WQ", "q", deliver_policy="new"),
        PULLED,
        INBOX,
        pull("WQ.c", {"batch": 3}),
        3,
        acknowledge(),
        ("x", 3),
        settle(100),
        info("WQ"),
        told("WQ", "c"),
        api("CONSUMER.DELETE.WQ.c"),
        info("WQ"),
        consumer("WQ", "f", filter_subject="wq.a"),
        consumer("WQ", "g", filter_subject="wq.*"),
        consumer("WQ", "h", filter_subject="wq.b"),
        consumer("WQ", "i", filter_subject="wq.c", deliver_policy="last"),
        consumer("WQ", "i", filter_subject="wq.c", deliver_policy="by_start_sequence", opt_start_seq=2),
    ],
    "interest": [
        create("IN", retention="interest"),
        puts("IN", 2),
        info("IN"),
        consumer("IN", "c"),
        consumer("IN", "d", filter_subject="in.b"),
        puts("IN", 2, "a"),
        puts("IN", 2, "b"),
        info("IN"),
        PULLED,
        INBOX,
        pull("IN.c", {"batch": 4}),
        4,
        info("IN"),
        acknowledge(),
        ("x", 4),
        settle(200),
        info("IN", {"deleted_details": True}),
        pull("IN.d", {"batch": 4, "no_wait": True}),
        7,
        acknowledge(),
        ("x", 6),
        settle(200),
        info("IN"),
        told("IN", "c"),
        told("IN", "d"),
        puts("IN", 3, "b"),
        info("IN"),
        api("CONSUMER.DELETE.IN.c"),
        settle(300),
        info("IN"),
        api("CONSUMER.DELETE.IN.d"),
        settle(300),
        info("IN"),
    ],
    "interest term": [
        create("IT", retention="interest"),
        consumer("IT", "c"),
        puts("IT", 3),
        PULLED,
        INBOX,
        pull("IT.c", {"batch": 2}),
        2,
        acknowledge(b"+TERM"),
        ("x", 2),
        settle(200),
        info("IT"),
    ],
    "interest none": [
        create("IO", retention="interest"),
        consumer("IO", "c", ack_policy="none"),
        puts("IO", 3),
        PULLED,
        pull("IO.c", {"batch": 2}),
        2,
        settle(200),
        info("IO"),
    ],
    "direct": [
        create("DG", allow_direct=True),
        [puts("DG", 3, s) for s in "abc"],
        DIRECT,
        direct("DG", {"seq": 1}),
        1,
        direct("DG", {"last_by_subj": "dg.b"}),
        2,
        direct("DG", b"", ".dg.c"),
        3,
        direct("DG", {"seq": 99}),
        4,
        direct("DG", {"next_by_subj": "dg.b"}),
        5,
        direct("DG", {"seq": 5, "next_by_subj": "dg.b"}),
        6,
        direct("DG", {"seq": 7, "next_by_subj": "dg.b"}),
        7,
        direct("DG", b""),
        8,
        direct("DG", {}),
        9,
        direct("DG", b"{x"),
        10,
        direct("DG", {"seq": 1, "last_by_subj": "dg.a"}),
        11,
        direct("DG", {"bogus": 1}),
        12,
        direct("DG", {"start_time": PAST}),
        13,
        direct("DG", {"start_time": FUTURE}),
        14,
        direct("DG", {"seq": 2, "start_time": PAST}),
        15,
        direct("DG", {"last_by_subj": "dg.*"}),
        16,
        direct("DG", {"seq": 1, "no_hdr": True}),
        17,
        direct("DG", b"x", ".dg.c"),
        18,
        direct("DG", b"", ".dg.z"),
        19,
        direct("DG", {"last_by_subj": "dg.a", "start_time": PAST}),
        20,
    ],
    "direct batch": [
        create("DB", allow_direct=True),
        [puts("DB", 3, s) for s in "abc"],
        DIRECT,
        direct("DB", {"seq": 1, "batch": 2}),
        3,
        direct("DB", {"batch": 2}),
        4,
        direct("DB", {"seq": 2, "batch": 20, "next_by_subj": "db.b"}),
        8,
        direct("DB", {"batch": 20, "next_by_subj": "db.*", "max_bytes": 22}),
        14,
        direct("DB", {"batch": 20, "next_by_subj": "zz.*"}),
        15,
        direct("DB", {"seq": 99, "batch": 2}),
        16,
        direct("DB", {"seq": 2, "batch": 2, "start_time": PAST}),
        17,
        direct("DB", {"batch": 2, "start_time": PAST}),
        20,
        direct("DB", {"batch": 2, "start_time": PAST, "next_by_subj": "db.c"}),
        23,
        direct("DB", {"batch": 2, "start_time": FUTURE}),
        24,
        direct("DB", {"seq": 1, "max_bytes": 10}),
        25,
        direct("DB", {"last_by_subj": "db.a", "batch": 3}),
        26,
    ],
    "direct batch deleted": [
        create("DC", allow_direct=True),
        [puts("DC", 3, s) for s in "abc"],
        api("STREAM.MSG.DELETE.DC", {"seq": 2}),
        DIRECT,
        direct("DC", {"seq": 1, "batch": 20}),
        9,
    ],
    "multi last": [
        create("ML", allow_direct=True),
        [puts("ML", 3, s) for s in "abc"],
        DIRECT,
        direct("ML", {"multi_last": ["ml.a", "ml.b"]}),
        3,
        direct("ML", {"multi_last": ["ml.>"]}),
        7,
        direct("ML", {"multi_last": ["ml.>"], "up_to_seq": 5}),
        10,
        direct("ML", {"multi_last": ["zz.>"]}),
        11,
        direct("ML", {"multi_last": ["ml.>"], "batch": 2}),
        14,
        direct("ML", {"multi_last": ["ml.>"], "up_to_time": FUTURE}),
        18,
        direct("ML", {"multi_last": ["ml.>"], "up_to_time": PAST}),
        19,
        direct("ML", {"multi_last": ["ml.>"], "up_to_seq": 4, "up_to_time": PAST}),
        20,
        direct("ML", {"multi_last": ["ml.>"], "seq": 4}),
        23,
        direct("ML", {"multi_last": ["ml.*", "ml.a"]}),
        27,
        direct("ML", {"multi_last": ["ml.>"], "max_bytes": 10}),
        30,
        direct("ML", {"multi_last": []}),
        31,
        direct("ML", {"multi_last": ["ml..a"]}),
        32,
    ],
    "get": [
        create("GT"),
        [puts("GT", 3, s) for s in "ab"],
        *[
            api("STREAM.MSG.GET.GT", b)
            for b in (
                {"seq": 1},
                {"seq": 0},
                {},
                {"seq": -1},
                {"last_by_subj": "gt.*"},
                {"last_by_subj": "zz"},
                {"last_by_subj": "gt.a", "seq": 1},
                {"next_by_subj": "gt.b"},
                {"next_by_subj": "gt.a", "seq": 3},
                {"next_by_subj": "gt.a", "seq": 4},
                {"next_by_subj": "gt.a", "last_by_subj": "gt.b"},
                {"seq": 1, "batch": 2},
                {"start_time": PAST},
                {"seq": 1, "no_hdr": True},
                {"multi_last": ["gt.a"]},
                {"bogus": 1},
            )
        ],
        api("STREAM.MSG.GET.GT"),
        api("STREAM.MSG.GET.NO", {"seq": 1}),
    ],
    "names": [
        create("NA"),
        create("NB"),
        api("STREAM.NAMES", {"subject": "na.x"}),
        api("STREAM.NAMES", {"subject": "zz"}),
        api("STREAM.NAMES", {"offset": -1, "subject": "n*.>"}),
        api("STREAM.NAMES", {"offset": 5, "subject": "nb.>"}),
        api("STREAM.NAMES", {"bogus": 5}),
        api("STREAM.LIST", {"subject": "na.x"}),
        consumer("NA", "b"),
        consumer("NA", "a"),
        api("CONSUMER.NAMES.NA"),
        api("CONSUMER.NAMES.NA", {"offset": 1}),
        api("CONSUMER.NAMES.NA", {"offset": 9}),
        api("CONSUMER.LIST.NA", {"offset": 1}),
        api("CONSUMER.NAMES.ZZ"),
        api("CONSUMER.LIST.ZZ"),
        api("STREAM.INFO.NA", {"subjects_filter": "zz"}),
        api("STREAM.INFO.NA", {"subjects_filter": ">", "offset": 3}),
        api("STREAM.INFO.NA", {"offset": "x"}),
        api("STREAM.INFO.NA", b"{x"),
        api("STREAM.DELETE.ZZ"),
        api("STREAM.DELETE.NA", b"x"),
        api("CONSUMER.DELETE.NA.zz"),
        api("CONSUMER.DELETE.ZZ.zz"),
        api("CONSUMER.INFO.NA.b", b"x"),
        api("CONSUMER.INFO.ZZ.b"),
        api("CONSUMER.DELETE.NA.b"),
        api("STREAM.DELETE.NA"),
    ],
    "limits consumer": [
        create("LC", max_consumers=1),
        consumer("LC", "a"),
        consumer("LC", "b"),
        consumer("LC", "a", max_deliver=4),
    ],
    "atomic": [
        create("AT", allow_atomic=True),
        *[
            put("at.a", b"x", h)
            for h in (
                {"Nats-Batch-Id": "b"},
                {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "2"},
                {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1"},
                {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "2"},
                {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "3", "Nats-Batch-Commit": "1"},
                {"Nats-Batch-Id": "c", "Nats-Batch-Sequence": "1"},
                {"Nats-Batch-Id": "c", "Nats-Batch-Sequence": "3"},
                {"Nats-Batch-Id": "c", "Nats-Batch-Sequence": "2"},
                {"Nats-Batch-Id": "x" * 65, "Nats-Batch-Sequence": "1"},
                {"Nats-Batch-Id": "d", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "2"},
                {"Nats-Batch-Id": "d", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
                {"Nats-Batch-Id": "e", "Nats-Batch-Sequence": "1"},
                {"Nats-Batch-Id": "e", "Nats-Batch-Sequence": "2", "Nats-Batch-Commit": "eob"},
                {
                    "Nats-Batch-Id": "f",
                    "Nats-Batch-Sequence": "1",
                    "Nats-Expected-Last-Sequence": "99",
                    "Nats-Batch-Commit": "1",
                },
                {"Nats-Batch-Id": "g", "Nats-Batch-Sequence": "0"},
                {"Nats-Batch-Id": "g", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "eob"},
            )
        ],
        info("AT"),
    ],
    "expect": [
        create("EX"),
        *[
            put("ex.a", b"x", h)
            for h in (
                {"Nats-Expected-Last-Subject-Sequence": "0"},
                {"Nats-Expected-Last-Subject-Sequence": "0"},
                {"Nats-Expected-Last-Subject-Sequence": "1"},
                {"Nats-Expected-Last-Sequence": "1"},
                {"Nats-Expected-Last-Sequence": "2"},
                {"Nats-Expected-Last-Sequence": "x"},
                {"Nats-Expected-Last-Subject-Sequence": "x"},
                {"Nats-Expected-Last-Subject-Sequence": "0", "Nats-Expected-Last-Subject-Sequence-Subject": "ex.zz"},
                {"Nats-Expected-Last-Subject-Sequence-Subject": "ex.zz"},
                {"Nats-Msg-Id": "a"},
                {"Nats-Msg-Id": "a"},
                {"Nats-Expected-Last-Msg-Id": "a"},
                {"Nats-Expected-Last-Msg-Id": "zz"},
            )
        ],
        api("STREAM.MSG.DELETE.EX", {"seq": 6}),
        put("ex.a", b"x", {"Nats-Expected-Last-Subject-Sequence": "7"}),
        info("EX"),
    ],
    "backoff": [
        create("BO"),
        puts("BO", 1),
        consumer("BO", "c", backoff=[200 * MILLISECOND, 400 * MILLISECOND], max_deliver=4),
        PULLED,
        pull("BO.c", {"batch": 10, "expires": 3 * SECOND}),
        settle(1700),
        told("BO", "c"),
        4,
    ],
    "acks": [
        create("AK"),
        puts("AK", 6),
        consumer("AK", "c"),
        PULLED,
        INBOX,
        pull("AK.c", {"batch": 2}),
        2,
        acknowledge(b'-NAK {"delay": 20000000000}'),
        settle(100),
        told("AK", "c"),
        pull("AK.c", {"batch": 2, "expires": SECOND}),
        4,
        acknowledge(b"+WPI"),
        settle(50),
        acknowledge(),
        told("AK", "c"),
        pull("AK.c", {"batch": 1}),
        5,
        acknowledge(b'+NXT {"batch":1,"no_wait":true}'),
        told("AK", "c"),
        pull("AK.c", {"batch": 10, "max_bytes": 100, "expires": 200 * MILLISECOND}),
        settle(300),
        told("AK", "c"),
    ],
    "sysreq": [
        Ask(pub("$SYS.REQ.USER.INFO", b"", "r.a")),
    ],
}
"""Name -> steps; lists of steps among them are steps themselves (``flat``)."""


def drained(stream: str, name: str, **request: Any) -> Callable[[Peer], None]:
    """A pull that ends by itself, and all that it brings."""

    def act(peer: Peer) -> None:
        ended = sum(one[0] == b"HMSG" and one[-1].startswith(b"NATS/1.0 4") for one in peer.told.get(b"d", ()))
        peer.step(pull(f"{stream}.{name}", {"batch": 100, "no_wait": True, **request}))
        peer.until(b"d", lambda told: sum(o[0] == b"HMSG" and o[-1].startswith(b"NATS/1.0 4") for o in told) > ended)

    return act


def random_script(chance: random.Random, name: str) -> list[Any]:
    """A stream of a random configuration, and what users may do to it in random order."""
    subjects = [f"{name.lower()}.{token}" for token in ("a", "b", "c", "a.x")]
    wanted = [*subjects, f"{name.lower()}.*", f"{name.lower()}.>", f"{name.lower()}.a.>", "other"]
    config: dict[str, Any] = {"allow_direct": True, "allow_rollup_hdrs": True}
    for field, values in (
        ("max_msgs", [5, 20]), ("max_bytes", [200, 900]), ("max_msgs_per_subject", [1, 2]), ("discard", ["new"]),
        ("retention", ["workqueue", "interest"]), ("max_msg_size", [30]), ("deny_delete", [True]),
    ):  # fmt: skip
        if chance.random() < 0.2:
            config[field] = chance.choice(values)
    if config.get("discard") == "new" and "max_msgs_per_subject" in config:
        config.pop("max_bytes", None)  # README.md: what a replaced message frees is not what it had
    steps: list[Any] = [create(name, **config), PULLED, DIRECT]
    for _ in range(chance.randrange(10, 40)):
        kind, sequence = chance.random(), chance.randrange(1, 25)
        subject, pattern, who = chance.choice(subjects), chance.choice(wanted), chance.choice("pqr")
        if kind < 0.45:
            steps.append(put(subject, b"x" * chance.choice([0, 3, 31]), headers(chance, sequence)))
        elif kind < 0.52:
            steps.append(api(f"STREAM.MSG.DELETE.{name}", {"seq": sequence}))
        elif kind < 0.58:
            body = chance.choice([{}, {"keep": 2}, {"filter": pattern}, {"filter": pattern, "keep": 1}])
            steps.append(api(f"STREAM.PURGE.{name}", body))
        elif kind < 0.66:
            body = chance.choice(
                [{"seq": sequence}, {"last_by_subj": pattern}, {"seq": sequence, "next_by_subj": pattern}]
            )
            steps.append(api(f"STREAM.MSG.GET.{name}", body))
        elif kind < 0.72:
            steps.append(info(name, {"subjects_filter": ">", "deleted_details": True}))
        elif kind < 0.8:
            policy = chance.choice(["all", "last", "new", "last_per_subject"])
            filters = {"filter_subject": pattern} if policy == "last_per_subject" or chance.random() < 0.5 else {}
            extra = {"headers_only": True} if chance.random() < 0.2 else {}
            acks = chance.choice(["explicit", "explicit", "all", "none"])
            steps.append(consumer(name, who, deliver_policy=policy, ack_policy=acks, **filters, **extra))
        elif kind < 0.9:
            steps += [told(name, who), drained_if_there(name, who), told(name, who)]
        else:
            steps.append(api(f"CONSUMER.DELETE.{name}.{who}"))
    return [*steps, settle(100), info(name, {"subjects_filter": ">", "deleted_details": True})]


def drained_if_there(stream: str, name: str) -> Callable[[Peer], None]:
    """A pull, if the consumer is there: what CONSUMER.INFO said last tells."""
    pulled = drained(stream, name)

    def act(peer: Peer) -> None:
        if b'"error"' not in peer.told[b"api"][-1][-1]:
            pulled(peer)

    return act


def headers(chance: random.Random, sequence: int) -> dict[str, str] | None:
    kind = chance.random()
    if kind < 0.6:
        return None
    return chance.choice([
        {"Nats-Msg-Id": str(sequence % 4)}, {"Nats-Expected-Last-Sequence": str(sequence)}, {"Nats-Rollup": "sub"},
        {"Nats-Expected-Last-Subject-Sequence": str(sequence % 6)}, {"A": "b", "C": "d"}, {"Nats-Rollup": "all"},
    ])  # fmt: skip
