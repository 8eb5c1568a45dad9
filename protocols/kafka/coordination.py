"""FindCoordinator 0-6, JoinGroup 0-9, SyncGroup 0-5, Heartbeat 0-4, LeaveGroup 0-5, DescribeGroups 0-6, ListGroups 0-5,
DeleteGroups 0-2: the wire side of classic groups. What is decided is decided in ``groups`` and ``membership``.

* This broker coordinates every group. A transaction's coordinator does not exist: TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
  other kinds of keys: INVALID_REQUEST.
* JoinGroup 0-1 have no rebalance timeout: the session timeout counts. From version 4 on a new dynamic member first gets
  its id (MEMBER_ID_REQUIRED).
* When the executor cannot be asked, answers carry NOT_COORDINATOR: the client looks for it again.
* Groups of the newer protocols (KIP-848 consumer, KIP-932 share) are not spoken; ListGroups filters by ``classic``.
"""

from __future__ import annotations

from typing import Any

from protocols.kafka.commits import may_read
from protocols.kafka.errors import Code, refusal
from protocols.kafka.exchange import Exchange
from protocols.kafka.group_requests import (
    Beat,
    DeleteGroups,
    Describe,
    Described,
    FetchOffsets,
    Join,
    Joined,
    Leave,
    ListAll,
    Sync,
    Synced,
)
from substrate.api import Answer, Called

GROUP_KEY, TRANSACTION_KEY = 0, 1
GROUP_OPERATIONS = sum(1 << operation for operation in (3, 6, 8))
"""READ, DELETE, DESCRIBE."""
NO_OPERATIONS = -(1 << 31)
KNOWN_STATES = ("Stable", "Empty", "PreparingRebalance", "CompletingRebalance", "Dead")


def _commits(answer: Answer) -> dict[int, int]:
    return {answer.shard: answer.commit} if isinstance(answer, Called) else {}


def _failure(answer: Answer) -> Code:
    return refusal(answer.answer if isinstance(answer, Called) else answer)[0]


def find_coordinator(exchange: Exchange, message: Any) -> None:
    settings = exchange.settings
    code, text = Code.NONE, None
    if message.key_type == TRANSACTION_KEY:
        code, text = Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactions are not supported"
    elif message.key_type != GROUP_KEY:
        code, text = Code.INVALID_REQUEST, f"key type {message.key_type} is not supported"
    where: dict[str, Any] = {"node_id": -1, "host": "", "port": -1}
    if code is Code.NONE:
        where = {"node_id": settings.node_id, "host": settings.host, "port": settings.port}
    if exchange.version < 4:
        exchange.reply(exchange.make(error_code=code, error_message=text, **where))
        return
    found = [
        exchange.make("coordinators", key=key, error_code=code, error_message=text, **where)
        for key in message.coordinator_keys
    ]
    exchange.reply(exchange.make(coordinators=found))


def join_group(exchange: Exchange, message: Any) -> None:
    def answered(answer: Answer) -> None:
        joined = answer.answer if isinstance(answer, Called) else None
        if not isinstance(joined, Joined):
            joined = Joined(_failure(answer), message.member_id)
        name = joined.protocol_name if exchange.version >= 7 else joined.protocol_name or ""
        exchange.reply(
            exchange.make(
                error_code=joined.code,
                generation_id=joined.generation,
                protocol_type=joined.protocol_type,
                protocol_name=name,
                leader=joined.leader,
                skip_assignment=joined.skip_assignment,
                member_id=joined.member_id,
                members=[
                    exchange.make("members", member_id=member_id, group_instance_id=instance_id, metadata=metadata)
                    for member_id, instance_id, metadata in joined.members
                ],
            ),
            _commits(answer),
        )

    timeout_ms = message.rebalance_timeout_ms
    request = Join(
        exchange.account,
        message.group_id,
        message.member_id,
        message.group_instance_id,
        exchange.client_id,
        f"/{exchange.session.peer[0]}",
        message.session_timeout_ms,
        timeout_ms if timeout_ms >= 0 else message.session_timeout_ms,
        message.protocol_type,
        tuple((protocol.name, protocol.metadata) for protocol in message.protocols),
        must_know_id=exchange.version >= 4,
        initial_delay_ms=exchange.settings.group_initial_rebalance_ms,
        may_skip=exchange.version >= 9,
    )
    exchange.call("groups", request, answered)


def sync_group(exchange: Exchange, message: Any) -> None:
    def answered(answer: Answer) -> None:
        synced = answer.answer if isinstance(answer, Called) else None
        if not isinstance(synced, Synced):
            synced = Synced(_failure(answer))
        exchange.reply(
            exchange.make(
                error_code=synced.code,
                protocol_type=synced.protocol_type,
                protocol_name=synced.protocol_name,
                assignment=synced.assignment,
            ),
            _commits(answer),
        )

    if exchange.version >= 5 and (message.protocol_type is None or message.protocol_name is None):
        exchange.reply(exchange.make(error_code=Code.INCONSISTENT_GROUP_PROTOCOL))
        return
    request = Sync(
        exchange.account,
        message.group_id,
        message.member_id,
        message.group_instance_id,
        message.generation_id,
        message.protocol_type,
        message.protocol_name,
        tuple((one.member_id, one.assignment) for one in message.assignments),
    )
    exchange.call("groups", request, answered)


def heartbeat(exchange: Exchange, message: Any) -> None:
    def answered(answer: Answer) -> None:
        code = answer.answer if isinstance(answer, Called) else None
        exchange.reply(exchange.make(error_code=code if isinstance(code, Code) else _failure(answer)))

    request = Beat(
        exchange.account, message.group_id, message.member_id, message.group_instance_id, message.generation_id
    )
    exchange.call("groups", request, answered)


def leave_group(exchange: Exchange, message: Any) -> None:
    single = exchange.version < 3
    if single:
        members: tuple[tuple[str, str | None], ...] = ((message.member_id, None),)
    else:
        members = tuple((one.member_id, one.group_instance_id) for one in message.members)

    def answered(answer: Answer) -> None:
        codes = answer.answer if isinstance(answer, Called) else None
        if not isinstance(codes, tuple):
            exchange.reply(exchange.make(error_code=_failure(answer)))
        elif single:
            exchange.reply(exchange.make(error_code=codes[0]), _commits(answer))
        else:
            left = [
                exchange.make("members", member_id=member_id, group_instance_id=instance_id, error_code=code)
                for (member_id, instance_id), code in zip(members, codes, strict=True)
            ]
            exchange.reply(exchange.make(members=left), _commits(answer))

    exchange.call("groups", Leave(exchange.account, message.group_id, members), answered)


def describe_groups(exchange: Exchange, message: Any) -> None:
    def answered(answer: Answer) -> None:
        found = answer.answer if isinstance(answer, Called) else None
        if not isinstance(found, tuple):
            code = _failure(answer)
            groups = [
                exchange.make("groups", error_code=code, group_id=group_id, protocol_data="")
                for group_id in message.groups
            ]
        else:
            groups = [_described(exchange, one, message.include_authorized_operations) for one in found]
        exchange.reply(exchange.make(groups=groups))

    exchange.call("groups", Describe(exchange.account, tuple(message.groups)), answered)


def _described(exchange: Exchange, found: Described, operations: bool) -> Any:
    missing = found.state == "Dead" and exchange.version >= 6
    return exchange.make(
        "groups",
        error_code=Code.GROUP_ID_NOT_FOUND if missing else Code.NONE,
        error_message=f"Group {found.group_id} not found." if missing else None,
        group_id=found.group_id,
        group_state=found.state,
        protocol_type=found.protocol_type,
        protocol_data=found.protocol_name,
        members=[
            exchange.make(
                "groups",
                "members",
                member_id=one.member_id,
                group_instance_id=one.instance_id,
                client_id=one.client_id,
                client_host=one.client_host,
                member_metadata=one.metadata,
                member_assignment=one.assignment,
            )
            for one in found.members
        ],
        authorized_operations=GROUP_OPERATIONS if operations else NO_OPERATIONS,
    )


def list_groups(exchange: Exchange, message: Any) -> None:
    states = {state.lower() for state in message.states_filter}
    types = {kind.lower() for kind in message.types_filter}

    def answered(answer: Answer) -> None:
        found = answer.answer if isinstance(answer, Called) else None
        if not isinstance(found, tuple):
            exchange.reply(exchange.make(error_code=_failure(answer)))
            return
        groups = [
            exchange.make(
                "groups",
                group_id=one.group_id,
                protocol_type=one.protocol_type,
                group_state=one.state,
                group_type="classic",
            )
            for one in found
            if (not states or one.state.lower() in states) and (not types or "classic" in types)
        ]
        exchange.reply(exchange.make(groups=groups))

    exchange.call("groups", ListAll(exchange.account), answered)


class _DeleteGroups:
    """One request. Whoever may not read every topic that a group has offsets of may not delete the group."""

    def __init__(self, exchange: Exchange, message: Any) -> None:
        self.exchange = exchange
        self.names: list[str] = list(message.groups_names)
        self.refused: set[str] = set()
        self.left = 1

    def run(self) -> None:
        identity = self.exchange.session.identity
        if identity is not None and not identity.all:
            for group_id in self.names:
                self.left += 1
                self.exchange.call("groups", FetchOffsets(self.exchange.account, group_id, None), self._judge(group_id))
        self._judged()

    def _judge(self, group_id: str) -> Any:
        def answered(answer: Answer) -> None:
            found = answer.answer if isinstance(answer, Called) else None
            if not isinstance(found, dict) or not all(may_read(self.exchange, topic) for topic, _ in found):
                self.refused.add(group_id)
            self._judged()

        return answered

    def _judged(self) -> None:
        self.left -= 1
        if self.left == 0:
            names = tuple(name for name in self.names if name not in self.refused)
            self.exchange.call("groups", DeleteGroups(self.exchange.account, names), self._answered)

    def _answered(self, answer: Answer) -> None:
        found = answer.answer if isinstance(answer, Called) else None
        codes = iter(found if isinstance(found, tuple) else [_failure(answer)] * len(self.names))
        results = [
            self.exchange.make(
                "results",
                group_id=name,
                error_code=Code.GROUP_AUTHORIZATION_FAILED if name in self.refused else next(codes),
            )
            for name in self.names
        ]
        self.exchange.reply(self.exchange.make(results=results), _commits(answer))


def delete_groups(exchange: Exchange, message: Any) -> None:
    _DeleteGroups(exchange, message).run()
