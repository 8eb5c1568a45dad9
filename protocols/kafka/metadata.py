"""ApiVersions 0-4, Metadata 0-12, DescribeCluster 0-2: what a client asks before it works.

* ApiVersions tells what ``session.HANDLERS`` answers, nothing else. A version above ours gets a version 0 body with
  UNSUPPORTED_VERSION and the list (KIP-511); a client software name or version that is none gets INVALID_REQUEST. No
  features are told: clients keep the protocols they have without them.
* Metadata creates a topic that is not there if the request (from version 4 on) and the setting ``auto_create_topics`` allow it.
  One broker leads everything. Topic ids from version 10 on; by id from version 12 on.
* Isr and replicas are this one broker.
* What a user may not describe (``access``) is not listed; asked for by name it is TOPIC_AUTHORIZATION_FAILED, also where it
  would have to be created by somebody who may not.
"""

from __future__ import annotations

import re
from typing import Any

from protocols.api import WireError
from protocols.kafka.access import MANAGE, is_hidden, listed, may, may_manage_cluster, operations, topic_of
from protocols.kafka.errors import Code, refusal
from protocols.kafka.exchange import Exchange
from protocols.kafka.mapping import address_of
from protocols.kafka.topics import creation
from protocols.kafka.wire import API_VERSIONS, Header
from substrate.api import Address, Answer, Called, ErrorCode, StreamError, StreamId, Tail, Topic

NAMED_FROM = 3
IDS_FROM = 12
EPOCHS_FROM = 7
"""Metadata tells leader epochs. librdkafka sends 0 for an epoch that it was not told, and is fenced then."""
_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")
NO_OPERATIONS = -(1 << 31)
CLUSTER_OPERATIONS = sum(1 << operation for operation in (5, 7, 8, 9, 10, 11, 12))
NO_ID = bytes(16)
NOWHERE = Address(b"")
"""In place of the address of a name that no topic can have."""
CREATED_MAX = 100
"""Topics that one Metadata request may create; clients ask again for the others."""
BROKERS = 1


def api_versions(exchange: Exchange, frame: memoryview, header: Header, advertised: list[tuple[int, int, int]]) -> None:
    """Answered before anything is known of the client, whatever version it asks in."""

    def listed(api_keys: list[tuple[int, int, int]], code: Code) -> Any:
        ranges = [
            exchange.make("api_keys", api_key=key, min_version=first, max_version=last) for key, first, last in api_keys
        ]
        return exchange.make(error_code=code, api_keys=ranges)

    if header.body < 0:
        if header.api_version < 0:
            raise WireError(f"ApiVersions version {header.api_version}")
        exchange.reply_as(0, listed(advertised, Code.UNSUPPORTED_VERSION))
        return
    message, _ = exchange.settings.codecs.decode("request", API_VERSIONS, header.api_version, frame, header.body)
    if header.api_version >= NAMED_FROM:
        for text in (message.client_software_name, message.client_software_version):
            if _SOFTWARE.fullmatch(text) is None:
                exchange.reply(listed([], Code.INVALID_REQUEST))
                return
    exchange.reply(listed(advertised, Code.NONE))


class _Metadata:
    """One request; topics are created one by one where they must be."""

    __slots__ = ("commits", "created", "exchange", "found", "left", "message")

    def __init__(self, exchange: Exchange, message: Any) -> None:
        self.exchange = exchange
        self.message = message
        self.found: list[Any] = []
        self.left = 1
        self.created = 0
        self.commits: dict[int, int] = {}

    def run(self) -> None:
        exchange, asked = self.exchange, self.message.topics
        if asked is None or (exchange.version == 0 and not asked):
            for topic, name in listed(exchange):
                self.found.append(self._topic(topic, name))
        else:
            by_id = {topic.topic_id: (topic, name) for topic, name in listed(exchange)} if _by_id(asked) else {}
            seen: set[tuple[str | None, bytes]] = set()
            for wanted in asked:
                if (wanted.name, wanted.topic_id) not in seen:
                    seen.add((wanted.name, wanted.topic_id))
                    self._look_up(wanted, by_id)
        self._one_done()

    def _look_up(self, wanted: Any, by_id: dict[bytes, tuple[Topic, str]]) -> None:
        if self.exchange.version < IDS_FROM and (wanted.name is None or wanted.topic_id != NO_ID):
            self.found.append(self._refused(wanted.name or "", Code.INVALID_REQUEST))
            return
        if wanted.name is None:
            known = by_id.get(wanted.topic_id)
            if known is None:
                self.found.append(self._refused(None, Code.UNKNOWN_TOPIC_ID, wanted.topic_id))
            else:
                self.found.append(self._topic(*known))
            return
        address = address_of(wanted.name)
        if address is None:
            self.found.append(self._refused(wanted.name, Code.INVALID_TOPIC_EXCEPTION))
            return
        if is_hidden(self.exchange, address):
            self.found.append(self._refused(wanted.name, Code.UNKNOWN_TOPIC_OR_PARTITION))
            return
        if not may(self.exchange, None, address):
            self.found.append(self._refused(wanted.name, Code.TOPIC_AUTHORIZATION_FAILED))
            return
        topic = topic_of(self.exchange, address)
        if topic is not None:
            self.found.append(self._topic(topic, wanted.name))
        elif self._may_create():
            if not may(self.exchange, MANAGE, address):
                self.found.append(self._refused(wanted.name, Code.TOPIC_AUTHORIZATION_FAILED))
            elif self.created < CREATED_MAX:
                self._create(wanted.name, address)
            else:
                self.found.append(self._refused(wanted.name, Code.LEADER_NOT_AVAILABLE))
        else:
            self.found.append(self._refused(wanted.name, Code.UNKNOWN_TOPIC_OR_PARTITION))

    def _may_create(self) -> bool:
        return bool(
            self.exchange.settings.auto_create_topics
            and (self.exchange.version < 4 or self.message.allow_auto_topic_creation)
        )

    def _create(self, name: str, address: Address) -> None:
        at = len(self.found)
        self.found.append(None)
        self.left += 1
        self.created += 1

        def answered(answer: Answer) -> None:
            made = answer.answer if isinstance(answer, Called) else answer
            if isinstance(made, StreamError) and made.code is ErrorCode.EXISTS:  # somebody was faster
                made = self.exchange.port.topic(self.exchange.account, address)
            if isinstance(made, Topic):
                if isinstance(answer, Called) and answer.commit:
                    self.commits[answer.shard] = max(self.commits.get(answer.shard, 0), answer.commit)
                self.found[at] = self._topic(made, name)
            elif isinstance(made, StreamError) and made.code is ErrorCode.INVALID:
                self.found[at] = self._refused(name, Code.INVALID_TOPIC_EXCEPTION)
            else:
                self.found[at] = self._refused(
                    name,
                    Code.UNKNOWN_TOPIC_OR_PARTITION if made is None else refusal(made, Code.LEADER_NOT_AVAILABLE)[0],
                )
            self._one_done()

        self.exchange.call("topics", creation(self.exchange, address), answered)

    def _one_done(self) -> None:
        self.left -= 1
        if self.left:
            return
        exchange = self.exchange
        wants_cluster = self.message.include_cluster_authorized_operations
        cluster = CLUSTER_OPERATIONS if may_manage_cluster(exchange) else 0
        exchange.reply(
            exchange.make(
                brokers=[_broker(exchange, "node_id", ("brokers",))],
                cluster_id=exchange.settings.cluster_id,
                controller_id=exchange.settings.node_id,
                topics=self.found,
                cluster_authorized_operations=cluster if wants_cluster else NO_OPERATIONS,
            ),
            self.commits,
        )

    def _refused(self, name: str | None, code: Code, topic_id: bytes = NO_ID) -> Any:
        made = self.exchange.make("topics", error_code=code, name=name, topic_id=topic_id)
        if self.message.include_topic_authorized_operations and name and code is not Code.TOPIC_AUTHORIZATION_FAILED:
            made.topic_authorized_operations = operations(self.exchange, address_of(name) or NOWHERE)
        return made

    def _topic(self, topic: Topic, name: str) -> Any:
        wants = self.message.include_topic_authorized_operations
        return self.exchange.make(
            "topics",
            name=name,
            topic_id=topic.topic_id,
            partitions=[self._partition(index, stream) for index, stream in enumerate(topic.streams)],
            topic_authorized_operations=operations(self.exchange, topic.name) if wants else NO_OPERATIONS,
        )

    def _partition(self, index: int, stream: StreamId) -> Any:
        node = [self.exchange.settings.node_id]
        made = self.exchange.make(
            "topics", "partitions", partition_index=index, leader_id=node[0], replica_nodes=node, isr_nodes=node
        )

        def answered(answer: Answer) -> None:
            if isinstance(answer, Tail):
                made.leader_epoch = answer.epoch
            self._one_done()

        if self.exchange.version >= EPOCHS_FROM:
            self.left += 1
            self.exchange.port.query("tail", stream, self.exchange.ask(answered))
        return made


def metadata(exchange: Exchange, message: Any) -> None:
    _Metadata(exchange, message).run()


def _by_id(asked: list[Any]) -> bool:
    return any(wanted.name is None for wanted in asked)


def _broker(exchange: Exchange, id_field: str, path: tuple[str, ...]) -> Any:
    settings = exchange.settings
    return exchange.make(
        *path,
        **{id_field: settings.node_id},
        host=settings.host,
        port=settings.port,
        rack=settings.rack,
    )


def describe_cluster(exchange: Exchange, message: Any) -> None:
    wants = message.include_cluster_authorized_operations
    if message.endpoint_type != BROKERS:
        text = f"this is a broker's endpoint, not of type {message.endpoint_type}"
        exchange.reply(exchange.make(error_code=Code.MISMATCHED_ENDPOINT_TYPE, error_message=text))
        return
    may_do = CLUSTER_OPERATIONS if may_manage_cluster(exchange) else 0
    exchange.reply(
        exchange.make(
            cluster_id=exchange.settings.cluster_id,
            controller_id=exchange.settings.node_id,
            brokers=[_broker(exchange, "broker_id", ("brokers",))],
            cluster_authorized_operations=may_do if wants else NO_OPERATIONS,
        )
    )
