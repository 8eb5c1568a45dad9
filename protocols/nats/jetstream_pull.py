"""JetStream's pull side: CONSUMER.MSG.NEXT, deliveries, redeliveries, acknowledgements (``$JS.ACK.``).

As nats-server 2.15 does it (server/consumer.go, behaviour; ADR-13, ADR-37): requests wait in order, at most
``max_waiting``; ``no_wait`` ends with 404 when nothing is left; ``expires`` with 408 and what was not delivered; heartbeats
while nothing comes. A message that is due again goes before a new one. Deviation: a waiting request is served until it has
its batch before the next one gets anything (nats-server takes turns).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from protocols.nats import jetstream_count, jetstream_keep, jetstream_push
from protocols.nats.delivery import NatsSink
from protocols.nats.jetstream_consumer import Consumer, Pull, ranges_of
from protocols.nats.jetstream_read import READ_BYTES
from protocols.nats.jetstream_wire import (
    AckAnswer,
    AckRequest,
    ApiRequest,
    JsonError,
    Reply,
    check_fields,
    go_duration,
    parse_duration,
    read,
)
from protocols.nats.jetstream_wire import status as status_block
from protocols.nats.mapping import header_block
from substrate.api import Account, Answer, Batches, ErrorCode, Record, Route, StreamError

if TYPE_CHECKING:
    from protocols.nats.jetstream import JetStream

NO_MESSAGES = status_block(404, "No Messages")
DELETED = status_block(409, "Consumer Deleted")
PUSH_BASED = status_block(409, "Consumer is push based")
RETRY_NS = 1_000_000_000
"""What cannot be read is tried again after this."""
UNSENT_BYTES_MAX = 4 * 1024 * 1024
"""A client that has more than this to read yet gets no more deliveries: a large batch must not make a slow consumer."""
PRESSED_NS = 2_000_000
BATCH_A_TURN = 1000
ROUNDS_A_TURN = 64
"""Messages delivered, and requests looked at, before others have their say."""
PULL_FIELDS: dict[str, tuple[type, ...]] = {
    "batch": (int,), "expires": (int,), "no_wait": (bool,), "max_bytes": (int,), "idle_heartbeat": (int,),
    "group": (str,), "min_pending": (int,), "min_ack_pending": (int,), "id": (str,), "priority": (int,),
}  # fmt: skip


def next_message(owner: JetStream, request: ApiRequest, names: list[str], reply: Reply, session: object) -> None:
    """CONSUMER.MSG.NEXT.<stream>.<consumer>: empty, a number, or an object."""
    consumer = owner.find(request.account, names[0], names[1])
    if consumer is None:
        reply.nobody()
        return
    reply.silence()
    if request.reply:
        ask(owner, consumer, request.reply, request.payload, session)


def ask(owner: JetStream, consumer: Consumer, inbox: bytes, body: bytes, session: object) -> None:
    """A request for messages, from MSG.NEXT or behind a +NXT."""
    now_ns = owner.world.now_ns
    if consumer.push is not None:
        _tell(owner, consumer.account, inbox, PUSH_BASED)
        return
    try:
        wanted = _read_pull(body)
    except JsonError as error:
        _tell(owner, consumer.account, inbox, status_block(400, f"Bad Request - {error}"))
        return
    refused = _refuse(consumer, wanted)
    expires = wanted.get("expires", 0)
    pull = Pull(
        inbox, wanted.get("batch") or 1, wanted.get("max_bytes", 0), now_ns + expires if expires else 0,
        wanted.get("no_wait", False), wanted.get("idle_heartbeat", 0), now_ns + wanted.get("idle_heartbeat", 0), session,
    )  # fmt: skip
    if refused is None and len(consumer.waiting) >= consumer.config["max_waiting"]:
        _end_waits(owner, consumer)
        if len(consumer.waiting) >= consumer.config["max_waiting"]:
            refused = status_block(409, "Exceeded MaxWaiting")
    if refused is not None:
        _tell(owner, consumer.account, inbox, refused)
        return
    consumer.active_ns = now_ns
    consumer.waiting.append(pull)
    owner.watch(consumer.stream_id)
    serve(owner, consumer)


def _read_pull(body: bytes) -> dict[str, Any]:
    text = body.strip()
    if not text:
        return {}
    if text[:1] != b"{":
        if text.isdigit() and len(text) < 10:
            return {"batch": int(text)}
        raise JsonError(f"invalid batch size {text.decode('utf-8', 'replace')}")
    return check_fields(read(text, with_offset=False), PULL_FIELDS, "JSApiConsumerGetNextRequest")


def _refuse(consumer: Consumer, wanted: dict[str, Any]) -> bytes | None:
    config = consumer.config
    expires, batch = wanted.get("expires", 0), wanted.get("batch", 1)
    if (
        wanted.get("group")
        or wanted.get("id")
        or wanted.get("min_pending")
        or wanted.get("min_ack_pending")
        or wanted.get("priority")
    ):
        return status_block(400, "Bad Request - priority groups are not supported")
    if batch < 0 or expires < 0 or wanted.get("max_bytes", 0) < 0 or wanted.get("idle_heartbeat", 0) < 0:
        return status_block(400, "Bad Request - negative number")
    if wanted.get("idle_heartbeat", 0) * 2 > expires:
        return status_block(400, "Bad Request - heartbeat value too large")
    if 0 < config.get("max_batch", 0) < batch:
        return status_block(409, f"Exceeded MaxRequestBatch of {config['max_batch']}")
    if 0 < config.get("max_expires", 0) < expires:
        return status_block(409, f"Exceeded MaxRequestExpires of {go_duration(config['max_expires'])}")
    if 0 < config.get("max_bytes", 0) < wanted.get("max_bytes", 0):
        return status_block(409, f"Exceeded MaxRequestMaxBytes of {config['max_bytes']}")
    return None


# endings


def status(owner: JetStream, consumer: Consumer, pull: Pull, block: bytes) -> None:
    _tell(owner, consumer.account, pull.reply, block)


def _tell(owner: JetStream, account: Account, inbox: bytes, block: bytes) -> None:
    route, sinks = owner.sinks(account, inbox)
    if route is not None:
        owner.send(route, sinks, inbox, b"", block, b"")


def _ended(pull: Pull, code: int, text: str) -> bytes:
    return status_block(
        code, text, Nats_Pending_Messages=pull.batch - pull.delivered, Nats_Pending_Bytes=pull.max_bytes
    )


def _end_waits(owner: JetStream, consumer: Consumer, nothing_left: bool = False) -> None:
    """End the requests that are over: expired, nobody listens any more, or ``no_wait`` with nothing left."""
    if nothing_left and not any(pull.no_wait for pull in consumer.waiting):
        return
    now_ns = owner.world.now_ns
    kept = []
    for pull in consumer.waiting:
        if pull.expires_ns and now_ns >= pull.expires_ns:
            status(owner, consumer, pull, _ended(pull, 408, "Request Timeout"))
        elif nothing_left and pull.no_wait and (not pull.expires_ns or pull.delivered):
            status(owner, consumer, pull, NO_MESSAGES)
        elif nothing_left or owner.sinks(consumer.account, pull.reply)[1]:
            kept.append(pull)
    if len(kept) != len(consumer.waiting):
        consumer.active_ns = now_ns
        consumer.waiting.clear()
        consumer.waiting.extend(kept)


def pressed(sinks: list[Any]) -> bool:
    """Whether one of them owes too much already."""
    return any(isinstance(sink, NatsSink) and sink.outbox.size() > UNSENT_BYTES_MAX for sink in sinks)


def _first(owner: JetStream, consumer: Consumer) -> tuple[Pull, Route, list[Any]] | None:
    """The request that waits longest, still wants something and can take it now; and who gets its messages."""
    now_ns = owner.world.now_ns
    if consumer.push is not None:
        return jetstream_push.ready(owner, consumer, consumer.push)
    for _ in range(len(consumer.waiting)):
        pull = consumer.waiting[0]
        route, sinks = owner.sinks(consumer.account, pull.reply)
        expired = pull.expires_ns and now_ns >= pull.expires_ns
        if route is not None and sinks and not expired:
            if not pressed(sinks):
                return pull, route, sinks
            consumer.again_ns = now_ns + PRESSED_NS  # it reads more slowly than it asks: others first
            consumer.waiting.rotate(-1)
            continue
        if expired:
            status(owner, consumer, pull, _ended(pull, 408, "Request Timeout"))
        consumer.waiting.popleft()
        consumer.active_ns = now_ns
    return None


def timed(owner: JetStream, consumer: Consumer) -> None:
    """Something of this consumer is due: an expiry, a heartbeat, a redelivery, its own end."""
    now_ns = owner.world.now_ns
    threshold = consumer.config.get("inactive_threshold", 0)
    if threshold and not consumer.waiting and now_ns >= consumer.active_ns + threshold:
        if consumer.push is None or not jetstream_push.bind(owner, consumer, consumer.push):
            owner.drop(consumer)
            return
        consumer.active_ns = now_ns
    consumer.again_ns = 0
    _end_waits(owner, consumer)
    serve(owner, consumer)
    if consumer.push is not None:
        jetstream_push.timed(owner, consumer, consumer.push)
    for pull in consumer.waiting:
        if pull.heartbeat_ns and now_ns >= pull.heartbeat_due_ns:
            pull.heartbeat_due_ns = now_ns + pull.heartbeat_ns
            status(owner, consumer, pull, heartbeat(consumer))


def heartbeat(consumer: Consumer, **more: object) -> bytes:
    """That the consumer is there and what it delivered last."""
    return status_block(
        100, "Idle Heartbeat",
        Nats_Last_Consumer=consumer.delivered_consumer, Nats_Last_Stream=consumer.delivered_stream, **more,
    )  # fmt: skip


# deliveries


def serve(owner: JetStream, consumer: Consumer) -> None:
    """Give waiting requests what there is."""
    if consumer.serving or consumer.reading or consumer.deleted or owner.halted:
        return  # it goes on by itself, or when the storage works again
    consumer.serving = True
    enough = consumer.delivered_consumer + BATCH_A_TURN
    rounds = 0
    try:
        while (consumer.waiting or consumer.push) and not consumer.deleted and _count(owner, consumer):
            if consumer.paused_ns(owner.world.now_ns):
                break
            if not _serve_first(owner, consumer):
                break
            rounds += 1
            if rounds > ROUNDS_A_TURN or consumer.delivered_consumer >= enough:
                owner.defer(lambda: serve(owner, consumer))
                break
    finally:
        consumer.serving = False
    owner.arm(consumer)


def _count(owner: JetStream, consumer: Consumer) -> bool:
    """True: what is left is known now; else ``serve`` is called when it is."""
    done: list[bool] = []

    def then() -> None:
        done.append(True)
        if not consumer.serving:
            serve(owner, consumer)

    jetstream_count.count(owner, consumer, then)
    return bool(done)


def _serve_first(owner: JetStream, consumer: Consumer) -> bool:
    """Deliver to the request that waits longest. True: look again; False: nothing to do until something happens."""
    found = _first(owner, consumer)
    if found is None:
        return False
    pull, route, sinks = found
    push = consumer.push
    now_ns = owner.world.now_ns
    taken: list[tuple[int, Record]] = []
    confirms: dict[int, bytes] = {}  # of a push: behind which of them a confirmation is asked for
    bytes_left, full = pull.max_bytes, False
    cursor = consumer.look
    counted = consumer.counted
    while pull.delivered + len(taken) < pull.batch and len(taken) < BATCH_A_TURN:
        sequence = consumer.retry_due(now_ns)
        if sequence:
            if taken:
                break  # redeliveries come one at a time, each with its own read
            return _redeliver(owner, consumer, pull, sequence)
        if not (consumer.acks == "none" or _room(consumer, len(taken))):
            if pull.no_wait and not pull.expires_ns and not pull.delivered and not taken and counted <= 0:
                status(owner, consumer, pull, NO_MESSAGES)
                consumer.waiting.remove(pull)
                return True
            break
        if push is not None and not push.may_send(now_ns):
            if push.rate_due_ns > now_ns:
                consumer.again_ns = push.rate_due_ns
            break
        record = _ahead(consumer, cursor)
        if record is None:
            if cursor < consumer.window_end:
                cursor = consumer.window_end
            if taken:
                break
            consumer.look = max(consumer.look, cursor)
            return _read_ahead(owner, consumer)
        if consumer.upto and not _in_turn(consumer, record, now_ns):
            break
        if push is not None and (push.flow or push.rate_bytes):
            asked = push.sends(_size(owner, consumer, record, counted - 1), now_ns, consumer, owner.world.random)
            if asked:
                confirms[len(taken)] = asked
        if pull.max_bytes:
            size = _size(owner, consumer, record, counted - 1)
            full = size > bytes_left
            if full:
                break
            bytes_left -= size
        taken.append((record.position + 1, record))
        counted -= 1
        cursor = record.position + 2
        consumer.window_at += 1
    if taken:
        ranges = ranges_of([sequence for sequence, _ in taken])
        first = consumer.delivered_consumer + 1
        owner.decide(consumer, ["deliver", now_ns, ranges, cursor])
        left = counted + len(taken)
        for index, (sequence, record) in enumerate(taken):
            left -= 1
            consumer_seq = first + index
            _deliver(owner, consumer, route, sinks, record, 1, sequence, consumer_seq, left)
            if index in confirms:
                jetstream_push.ask_confirmation(owner, route, sinks, pull.reply, confirms[index])
            if push is not None and route.queues:
                sinks = owner.draw(route)
        consumer.counted = counted
        if consumer.acks == "none":
            jetstream_keep.acknowledged(owner, consumer, [sequence for sequence, _ in taken])
        if pull.max_bytes:
            pull.max_bytes = bytes_left or -1
        _delivered(owner, consumer, pull, len(taken))
    if full:
        _too_small(owner, consumer, pull)
    return bool(taken) or full


def _in_turn(consumer: Consumer, record: Record, now_ns: int) -> bool:
    """Whether the next message leaves now; one that does not leave at all (last_per_subject) is passed over elsewhere.

    With ``replay_policy: original`` what was stored before the consumer was made comes at the pace at which it was stored.
    """
    if consumer.config["replay_policy"] != "original" or record.position >= consumer.upto:
        return True
    left_ns, stored_ms = consumer.replayed
    due_ns = left_ns + (record.timestamp_ms - stored_ms) * 1_000_000 if stored_ms else now_ns
    if due_ns > now_ns:
        consumer.again_ns = due_ns
        return False
    consumer.replayed = (now_ns, record.timestamp_ms)
    return True


def _room(consumer: Consumer, more: int) -> bool:
    most = int(consumer.config.get("max_ack_pending", -1))
    return most < 0 or len(consumer.pending) + more < most


def _ahead(consumer: Consumer, cursor: int) -> Record | None:
    """The next record read ahead at or above the cursor."""
    while consumer.window_at < len(consumer.window):
        record = consumer.window[consumer.window_at]
        if record.position + 1 >= cursor and consumer.wants(record.position + 1):
            return record
        consumer.window_at += 1
    return None


def _read_ahead(owner: JetStream, consumer: Consumer) -> bool:
    """Read on from the cursor. True: there is more to look at now."""
    if consumer.counted <= 0:
        _end_waits(owner, consumer, nothing_left=True)
        return False
    found: list[bool] = []

    def got(answer: Answer) -> None:
        consumer.reading = False
        if isinstance(answer, Batches):
            consumer.window = list(answer.records)
            consumer.window_at = 0
            consumer.window_end = answer.next + 1
            if answer.next < consumer.look:
                consumer.counted = 0  # the end, whatever was counted (control records have positions too)
            found.append(True)
        else:
            owner.unreadable(consumer, answer)
        if not consumer.serving:
            serve(owner, consumer)

    consumer.reading = True
    owner.read(consumer.stream_id, consumer.look - 1, READ_BYTES, consumer.pattern(), got)
    return bool(found)


def _redeliver(owner: JetStream, consumer: Consumer, pull: Pull, sequence: int) -> bool:
    """Deliver what is due again, or drop it after its last attempt. True: look again."""
    owed = consumer.pending[sequence]
    now_ns = owner.world.now_ns
    most = consumer.config["max_deliver"]
    if 0 < most <= owed.count:
        owner.world.note("nats_max_deliveries", f"{consumer.stream} > {consumer.name}: {sequence} after {owed.count}")
        owner.decide(consumer, ["drop", sequence])
        _advise(owner, consumer, "MAX_DELIVERIES", "max_deliver", stream_seq=sequence, deliveries=owed.count)
        return True
    found: list[bool] = []

    def got(answer: Answer) -> None:
        consumer.reading = False
        records = answer.records if isinstance(answer, Batches) else ()
        trimmed = isinstance(answer, StreamError) and answer.code is ErrorCode.OUT_OF_RANGE
        if not isinstance(answer, Batches) and not trimmed:
            owner.unreadable(consumer, answer)
            owner.decide(consumer, ["retry", [[sequence, now_ns + RETRY_NS]]])
        elif not records or records[0].position + 1 != sequence:
            owner.decide(consumer, ["ack", consumer.acked_ns, [[sequence, 1]]])  # no longer stored
        elif sequence in consumer.pending and (pull is consumer.push or pull in consumer.waiting):
            route, sinks = owner.sinks(consumer.account, pull.reply)
            if pull.max_bytes and _size(owner, consumer, records[0], consumer.counted) > pull.max_bytes:
                _too_small(owner, consumer, pull)
            elif route is not None:
                owner.decide(consumer, ["deliver", now_ns, [[sequence, 1]], consumer.cursor])
                again = consumer.pending[sequence]
                _deliver(
                    owner,
                    consumer,
                    route,
                    sinks,
                    records[0],
                    again.count,
                    sequence,
                    again.consumer_seq,
                    consumer.counted,
                )
                if pull.max_bytes:
                    left = pull.max_bytes - _size(owner, consumer, records[0], consumer.counted)
                    pull.max_bytes = left if left > 0 else -1
                _delivered(owner, consumer, pull, 1)
        found.append(True)
        if not consumer.serving:
            serve(owner, consumer)

    consumer.reading = True
    owner.read(consumer.stream_id, sequence - 1, 1, consumer.pattern(), got)
    return bool(found)


def _advise(owner: JetStream, consumer: Consumer, event: str, kind: str, **fields: object) -> None:
    names = {"stream": consumer.stream, "consumer": consumer.name}
    owner.advise(consumer.account, f"CONSUMER.{event}.{consumer.stream}.{consumer.name}", kind, {**names, **fields})


def _too_small(owner: JetStream, consumer: Consumer, pull: Pull) -> None:
    """The next message does not fit what is left of the request's bytes."""
    pull.max_bytes = max(pull.max_bytes, 0)
    status(owner, consumer, pull, _ended(pull, 409, "Message Size Exceeds MaxBytes"))
    consumer.waiting.remove(pull)


def _delivered(owner: JetStream, consumer: Consumer, pull: Pull, count: int) -> None:
    pull.delivered += count
    pull.heartbeat_due_ns = owner.world.now_ns + pull.heartbeat_ns
    consumer.active_ns = owner.world.now_ns
    if pull.delivered >= pull.batch:
        if pull.max_bytes > 0:
            status(owner, consumer, pull, _ended(pull, 409, "Batch Completed"))
        consumer.waiting.remove(pull)


def _deliver(
    owner: JetStream, consumer: Consumer, route: Route, sinks: list[Any], record: Record, count: int,
    sequence: int, consumer_seq: int, left: int,
) -> None:  # fmt: skip
    block, payload = _shape(consumer, record)
    reply = ack_subject(consumer, count, sequence, consumer_seq, record.timestamp_ms, max(left, 0))
    owner.send(route, sinks, owner.subject(record.address), reply, block, payload)


def _shape(consumer: Consumer, record: Record) -> tuple[bytes, bytes]:
    """A record as this consumer sees it: header block and payload."""
    block = header_block(record.headers) if record.headers else b""
    payload = record.value or b""
    if consumer.config.get("headers_only"):
        return (block[:-2] if block else b"NATS/1.0\r\n") + b"Nats-Msg-Size: %d\r\n\r\n" % len(payload), b""
    return block, payload


def ack_subject(
    consumer: Consumer, count: int, sequence: int, consumer_seq: int, timestamp_ms: int, left: int
) -> bytes:
    """Where a delivery is acknowledged (the nine tokens of version 1)."""
    text = (
        f"$JS.ACK.{consumer.stream}.{consumer.name}.{count}.{sequence}.{consumer_seq}.{timestamp_ms * 1_000_000}.{left}"
    )
    return text.encode()


def _size(owner: JetStream, consumer: Consumer, record: Record, left: int) -> int:
    """What a delivery counts against ``max_bytes``: its subject, reply, headers and payload."""
    block, payload = _shape(consumer, record)
    sequence = record.position + 1
    reply = ack_subject(consumer, 1, sequence, consumer.delivered_consumer + 1, record.timestamp_ms, max(left, 0))
    return len(owner.subject(record.address)) + len(reply) + len(block) + len(payload)


# acknowledgements


def acknowledge(owner: JetStream, request: AckRequest, session: object) -> tuple[AckAnswer, int]:
    """Fold a run of acknowledgements. Returns what is said to those that ask, and the commit to wait for."""
    commit = 0
    confirm: list[bytes] = []
    nobody: list[tuple[bytes, bytes]] = []
    touched: dict[tuple[str, str], _Acks] = {}
    for subject, reply, payload in request.acks:
        if subject.startswith(jetstream_push.FLOW):
            _confirm(owner, request.account, subject)
            continue
        parsed = parse_ack(subject)
        if parsed is None:
            continue
        stream, name, sequence = parsed
        acks = touched.get((stream, name))
        if acks is None:
            consumer = owner.find(request.account, stream, name)
            if consumer is None or consumer.acks == "none":
                nobody += [(subject, reply)] if reply else []
                continue
            acks = touched[stream, name] = _Acks(consumer)
        _one_ack(owner, acks, sequence, reply, payload)
        # What was delivered in an epoch that was lost is owed again: its acknowledgement cannot be kept, so not confirmed.
        if reply and not payload.startswith(b"+NXT") and sequence <= acks.consumer.delivered_stream:
            confirm.append(reply)
            acks.confirms = True
    for acks in touched.values():
        commit = max(commit, acks.fold(owner))
        if acks.consumer.push is None:
            acks.consumer.active_ns = owner.world.now_ns
        for inbox, body in acks.pulls:
            ask(owner, acks.consumer, inbox, body, session)
        serve(owner, acks.consumer)
    return AckAnswer(tuple(confirm), tuple(nobody)), commit


def _confirm(owner: JetStream, account: Account, subject: bytes) -> None:
    tokens = subject.decode("utf-8", "replace").split(".")
    consumer = owner.find(account, tokens[2], tokens[3]) if len(tokens) == 5 else None
    if consumer is not None:
        jetstream_push.confirmed(owner, consumer, subject)


class _Acks:
    """What one call acknowledges of one consumer."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.done: set[int] = set()
        self.retries: list[list[int]] = []
        self.pulls: list[tuple[bytes, bytes]] = []
        self.confirms = False

    def fold(self, owner: JetStream) -> int:
        commit = 0
        if self.retries:
            commit = owner.decide(self.consumer, ["retry", self.retries])
        if self.done:
            commit = owner.decide(self.consumer, ["ack", owner.world.now_ns, ranges_of(sorted(self.done))])
            commit = max(commit, jetstream_keep.acknowledged(owner, self.consumer, self.done))
        elif self.confirms and not commit:
            # acknowledged before, perhaps not durably yet: what is recorded behind it is durable after it
            commit = owner.decide(self.consumer, ["ack", self.consumer.acked_ns, []])
        return commit


def parse_ack(subject: bytes) -> tuple[str, str, int] | None:
    """Stream, consumer and stream sequence of an ack subject, in either of its two forms."""
    tokens = subject.decode("utf-8", "replace").split(".")
    if len(tokens) in (11, 12):
        tokens = tokens[:2] + tokens[4:]
    if len(tokens) not in (9, 10) or not tokens[5].isdigit() or len(tokens[5]) > 19:
        return None
    return tokens[2], tokens[3], int(tokens[5])


def _one_ack(owner: JetStream, acks: _Acks, sequence: int, reply: bytes, payload: bytes) -> None:
    consumer = acks.consumer
    now_ns = owner.world.now_ns
    word, _, rest = payload.strip().partition(b" ")
    owed = consumer.pending.get(sequence)
    if word in (b"", b"+ACK", b"+OK", b"+NXT") or payload.startswith((b"+ACK", b"+NXT")):
        if consumer.acks == "all":
            acks.done.update(pending for pending in consumer.pending if pending <= sequence)
        elif owed is not None:
            acks.done.add(sequence)
        if word == b"+NXT" and reply:
            acks.pulls.append((reply, rest))
    elif owed is None:
        return
    elif word == b"-NAK":
        acks.retries.append([sequence, now_ns + _nak_delay(rest)])
        _advise(owner, consumer, "MSG_NAKED", "nak",
                consumer_seq=owed.consumer_seq, stream_seq=sequence, deliveries=owed.count)  # fmt: skip
    elif word == b"+WPI":
        acks.retries.append([sequence, now_ns + consumer.wait_ns(owed.count)])
    elif word == b"+TERM":
        acks.done.add(sequence)
        reason = {"reason": rest.decode("utf-8", "replace")} if rest else {}
        _advise(owner, consumer, "MSG_TERMINATED", "terminated",
                consumer_seq=owed.consumer_seq, stream_seq=sequence, deliveries=owed.count, **reason)  # fmt: skip


def _nak_delay(text: bytes) -> int:
    """Nanoseconds, from ``{"delay": ns}`` or a Go duration; 0 if it is neither."""
    text = text.strip()
    if not text:
        return 0
    try:
        if text[:1] == b"{":
            delay = json.loads(text).get("delay", 0)
            return max(int(delay), 0) if isinstance(delay, int) else 0
        return parse_duration(text.decode())
    except (ValueError, AttributeError, UnicodeDecodeError):
        return 0
