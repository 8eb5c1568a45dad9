"""One Kafka connection: frames in, answers out in the order of the requests.

Every request is handled as soon as its frame is whole, also while an earlier one (a long poll, a JoinGroup) still waits:
only its answer waits for its turn. Kafka itself reads no further than one unanswered request; handling goes in the same
order here, so a client cannot tell, except that a Produce behind a parked Fetch is stored without delay.

Reading stops (``blocked``) while ``requests_in_flight_max`` answers are outstanding or ``unsent_bytes_max`` lie unread at
the peer. A frame that breaks off in the middle, an unknown API, an unsupported version of any API but ApiVersions and a
body that is no message close the connection, as in Kafka.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from protocols.api import Identity, Port, WireError
from protocols.kafka import (
    access_lists,
    commits,
    configs,
    coordination,
    fetch,
    logs,
    metadata,
    offsets,
    produce,
    producers,
    sasl,
    topics,
)
from protocols.kafka.exchange import Exchange, Settings, Then
from protocols.kafka.schema import APIS
from protocols.kafka.wire import API_VERSIONS, LENGTH, frame_bytes, read_header
from protocols.outbox import Outbox
from substrate.api import Account, Answer

__all__ = ["HANDLERS", "KafkaSession", "Settings", "advertised"]

SASL_HANDSHAKE, SASL_AUTHENTICATE = 17, 36
NOBODYS = Account("")
Handler = Callable[[Exchange, Any], None]

HANDLERS: MappingProxyType[int, Handler] = MappingProxyType(
    {
        0: produce.produce,
        1: fetch.fetch,
        2: offsets.list_offsets,
        3: metadata.metadata,
        8: commits.offset_commit,
        9: commits.offset_fetch,
        10: coordination.find_coordinator,
        11: coordination.join_group,
        12: coordination.heartbeat,
        13: coordination.leave_group,
        14: coordination.sync_group,
        15: coordination.describe_groups,
        16: coordination.list_groups,
        17: sasl.sasl_handshake,
        19: topics.create_topics,
        20: topics.delete_topics,
        21: topics.delete_records,
        22: producers.init_producer_id,
        23: offsets.offset_for_leader_epoch,
        29: access_lists.describe_acls,
        30: access_lists.create_acls,
        31: access_lists.delete_acls,
        32: configs.describe_configs,
        33: configs.alter_configs,
        35: logs.describe_log_dirs,
        36: sasl.sasl_authenticate,
        37: topics.create_partitions,
        42: coordination.delete_groups,
        44: configs.incremental_alter_configs,
        46: logs.list_partition_reassignments,
        47: commits.offset_delete,
        60: metadata.describe_cluster,
        61: logs.describe_producers,
    }
)
"""By API key; ApiVersions itself is answered by the session, from this table."""


def advertised() -> list[tuple[int, int, int]]:
    """(key, first, last) of every API, as ApiVersions tells it.

    Produce is told from 0 on although 0-2 are refused: librdkafka before 2.11.1 turns compression off otherwise
    (KAFKA-18659, librdkafka issue 4956).
    """
    found = []
    for key in sorted((*HANDLERS, API_VERSIONS)):
        api = APIS[key]
        found.append((key, 0 if key == 0 else api.first, api.last))
    return found


class KafkaSession:
    """See ``protocols.api.Session``."""

    __slots__ = (
        "_alarms", "_expected", "_heard_ns", "_next_token", "_stopped", "_within_frame", "account", "authenticating",
        "bare_tokens", "closing", "deadline_ns", "deaf", "identity", "in_flight", "keeps_data", "may_authenticate", "now_ns",
        "outbox", "owed_bytes", "peer", "port", "settings", "stored_answers", "wants_bytes",
    )  # fmt: skip

    def __init__(self, port: Port, settings: Settings | None = None) -> None:
        self.port = port
        self.settings = settings or Settings()
        self.outbox = Outbox()
        self.deadline_ns = 0
        self.closing = False
        self.wants_bytes = 0
        self.keeps_data = False
        self.now_ns = 0
        self.identity: Identity | None = None
        self.account: Account | None = None
        """None: nobody is known here yet, and nothing is answered but who one may be."""
        self.may_authenticate = False
        self.stored_answers: dict[tuple[int, str], tuple[int, bytes, bytes]] = {}
        """By version and topic: see ``produce.answer_template``."""
        self.authenticating: sasl.Exchanged | None = None
        self.bare_tokens = False
        """Tokens come as frames of their own, not in SaslAuthenticate (SaslHandshake 0)."""
        self.deaf = False
        """Authentication failed: nothing more is read, the connection is closed in a moment."""
        self.peer = ("", 0)
        self.in_flight = 0
        self.owed_bytes = 0
        """Frames whose answers are to come, and what fetches that wait may yet put into the outbox."""
        self._stopped = False
        self._next_token = 1
        self._expected: dict[int, Then] = {}
        self._alarms: dict[int, tuple[int, Callable[[], None]]] = {}
        self._heard_ns = 0
        self._within_frame = False

    # the driver's side

    def opened(self, peer: tuple[str, int], now_ns: int) -> None:
        self.peer = peer
        self.now_ns = self._heard_ns = now_ns
        self.identity = self.port.identify(None, None)
        self.account = self.identity.account if self.identity is not None else None
        self.may_authenticate = self.port.users
        self._set_deadline()

    def receive(self, data: bytearray | memoryview, start: int, end: int, now_ns: int) -> int:
        self.now_ns = self._heard_ns = now_ns
        self._stopped = False
        self.wants_bytes = 0
        self._within_frame = False
        self.keeps_data = type(data) is bytearray
        view = memoryview(data)
        while not (self.closing or self.deaf):
            if self._must_wait():
                self._stopped = True
                break
            size = self._frame_bytes(data, start, end)
            if size == 0 or start + size > end:
                self._within_frame = start < end
                self.wants_bytes = size
                break
            self._handle(view[start + 4 : start + size])
            start += size
        self._set_deadline()
        return end if self.closing or self.deaf else start

    def _frame_bytes(self, data: bytearray | memoryview, start: int, end: int) -> int:
        """How many bytes the next frame takes; 0: not known yet. Raises: WireError."""
        settings = self.settings
        if self.account is not None:
            return frame_bytes(data, start, end, settings.request_bytes_max, settings.other_bytes_max)
        limit = min(sasl.TOKEN_BYTES_MAX, settings.request_bytes_max)
        if self.authenticating is None or not self.bare_tokens:
            return frame_bytes(data, start, end, limit, limit)
        if end - start < 4:
            return 0
        (length,) = LENGTH.unpack_from(data, start)
        if not 0 <= length <= limit:
            raise WireError(f"token of {length} bytes, limit {limit}")
        return 4 + int(length)

    @property
    def blocked(self) -> bool:
        """Reading stopped, and what stopped it still holds."""
        return self._stopped and self._must_wait()

    def _must_wait(self) -> bool:
        settings = self.settings
        if self.in_flight >= settings.requests_in_flight_max:
            return True
        return bool(self.outbox.size() + self.owed_bytes > settings.unsent_bytes_max)

    def _handle(self, frame: memoryview) -> None:
        if self.bare_tokens and self.authenticating is not None:
            sasl.bare_token(self, self.authenticating, bytes(frame))
            return
        header = read_header(frame)
        if self.account is None and not self._may_ask(header.api_key):
            raise WireError(f"{APIS[header.api_key].name} before authentication")
        exchange = Exchange(self, header, self.account or NOBODYS, len(frame))
        if header.api_key == API_VERSIONS:
            metadata.api_versions(exchange, frame, header, advertised())
            return
        handler = HANDLERS.get(header.api_key)
        if handler is None or header.body < 0:
            raise WireError(f"{APIS[header.api_key].name} version {header.api_version} is not spoken")
        message, _ = self.settings.codecs.decode("request", header.api_key, header.api_version, frame, header.body)
        handler(exchange, message)
        if not exchange.done and not self.closing:
            exchange.park()

    def _may_ask(self, api_key: int) -> bool:
        """Of somebody who is not known yet."""
        if self.authenticating is not None:
            return api_key == SASL_AUTHENTICATE
        return api_key in (API_VERSIONS, SASL_HANDSHAKE)

    def answered(self, token: int, answer: Answer) -> None:
        then = self._expected.pop(token, None)
        if then is not None:
            then(answer)
            self._set_deadline()

    def tick(self, now_ns: int) -> None:
        self.now_ns = now_ns
        for token, (at_ns, then) in list(self._alarms.items()):
            if at_ns <= now_ns and token in self._alarms:
                del self._alarms[token]
                then()
        if not self.closing and now_ns >= self._idle_ns():
            if self.in_flight and not self._within_frame:
                self._heard_ns = now_ns  # it waits for us: that is not idleness
            else:
                self.port.note("kafka_idle_closed")
                self.closing = True
        self._set_deadline()

    def eof(self, now_ns: int) -> None:
        self.now_ns = now_ns
        self.closing = True
        self._release()

    def stop(self, now_ns: int) -> None:
        """Kafka has no goodbye: what is answered is sent, clients reconnect."""
        self.now_ns = now_ns
        self.closing = True
        self._release()

    def _release(self) -> None:
        expected, self._expected = self._expected, {}
        for token in expected:
            self.port.cancel(token)
        alarms, self._alarms = self._alarms, {}
        for _, then in alarms.values():
            then()  # a parked fetch gives its watches back; what it answers goes nowhere

    def _idle_ns(self) -> int:
        hurried = self._within_frame or self.account is None
        wait_ms = self.settings.frame_wait_ms if hurried else self.settings.idle_ms
        return self._heard_ns + wait_ms * 1_000_000

    def _set_deadline(self) -> None:
        deadline = self._idle_ns()
        for at_ns, _ in self._alarms.values():
            deadline = min(deadline, at_ns)
        self.deadline_ns = 0 if self.closing else deadline  # closing: nothing is due, and a past deadline spins the hub

    # the exchanges' side

    def expect(self, then: Then) -> int:
        """A token whose answer goes to ``then``."""
        token = self._next_token
        self._next_token += 1
        self._expected[token] = then
        return token

    def alarm(self, at_ns: int, then: Callable[[], None]) -> int:
        """Call ``then`` at this time, or when the connection ends; a number for ``disarm``."""
        token = self._next_token
        self._next_token += 1
        self._alarms[token] = at_ns, then
        self.outbox.mark()  # the driver looks at the deadline of what is marked, whoever called us
        return token

    def disarm(self, alarm: int) -> None:
        self._alarms.pop(alarm, None)

    def authenticated(self, identity: Identity | None) -> None:
        """A step of the authentication succeeded; the last one, if this says who it is."""
        if identity is not None:
            self.identity, self.account = identity, identity.account
            self.authenticating = None
            self.may_authenticate = False

    def refuse(self, then: Callable[[], None]) -> None:
        """Authentication failed: ``then`` may say so, in a moment; the connection is closed."""
        self.authenticating = None
        self.deaf = True

        def end() -> None:
            then()
            self.abandon("authentication failed")

        self.alarm(self.now_ns + sasl.FAILED_WAIT_MS * 1_000_000, end)

    def abandon(self, reason: str) -> None:
        """Close the connection once what was answered before has left."""
        self.port.note("kafka_closed", reason)
        self.closing = True
