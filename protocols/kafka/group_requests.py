"""What sessions ask of the executor ``groups``, and what it answers: plain data."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.kafka.errors import Code
from substrate.api import Account

Partition = tuple[str, int]
"""Topic name and partition."""


@dataclass(frozen=True, slots=True)
class Join:
    """``member_id`` empty: a new member. ``protocols`` are (name, metadata), the best first."""

    account: Account
    group_id: str
    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocol_type: str
    protocols: tuple[tuple[str, bytes], ...]
    must_know_id: bool = False
    """A new member first gets its id and comes again with it (JoinGroup 4, KIP-394)."""
    initial_delay_ms: int = 0
    """How long an empty group waits for more members after this one."""
    may_skip: bool = False
    """It understands ``skip_assignment`` (JoinGroup 9, KIP-814)."""


@dataclass(frozen=True, slots=True)
class Joined:
    """``members`` (id, instance id, metadata) only for the leader."""

    code: Code
    member_id: str = ""
    generation: int = -1
    protocol_type: str | None = None
    protocol_name: str | None = None
    leader: str = ""
    members: tuple[tuple[str, str | None, bytes], ...] = ()
    skip_assignment: bool = False


@dataclass(frozen=True, slots=True)
class Sync:
    """``assignments`` (member id, assignment) from the leader, else none."""

    account: Account
    group_id: str
    member_id: str
    instance_id: str | None
    generation: int
    protocol_type: str | None
    protocol_name: str | None
    assignments: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Synced:
    code: Code
    protocol_type: str | None = None
    protocol_name: str | None = None
    assignment: bytes = b""


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat; answered with a Code."""

    account: Account
    group_id: str
    member_id: str
    instance_id: str | None
    generation: int


@dataclass(frozen=True, slots=True)
class Leave:
    """``members``: (member id, instance id); answered with a tuple of a Code for each."""

    account: Account
    group_id: str
    members: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """An offset as it was committed; ``at_ms`` by the coordinator's clock; ``retention_ms`` of its own, -1: everybody's."""

    offset: int
    leader_epoch: int = -1
    metadata: str = ""
    at_ms: int = 0
    retention_ms: int = -1


@dataclass(frozen=True, slots=True)
class CommitOffsets:
    """Answered with a Code for all of them; ``unknown`` where a member of a group that is not there commits."""

    account: Account
    group_id: str
    member_id: str
    instance_id: str | None
    generation: int
    offsets: tuple[tuple[Partition, Committed], ...]
    unknown: Code = Code.ILLEGAL_GENERATION
    retention_ms: int = -1


@dataclass(frozen=True, slots=True)
class FetchOffsets:
    """``partitions`` None: all there are. Answered with a dict of Partition -> Committed (those that exist)."""

    account: Account
    group_id: str
    partitions: tuple[Partition, ...] | None


@dataclass(frozen=True, slots=True)
class DeleteOffsets:
    """Answered with a Code for the group, or a tuple of a Code per partition."""

    account: Account
    group_id: str
    partitions: tuple[Partition, ...]


@dataclass(frozen=True, slots=True)
class Describe:
    """Answered with a tuple of Described, one a group."""

    account: Account
    group_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DescribedMember:
    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    metadata: bytes
    assignment: bytes


@dataclass(frozen=True, slots=True)
class Described:
    """``state`` is Kafka's word; ``Dead`` for a group that is not known."""

    group_id: str
    state: str
    protocol_type: str = ""
    protocol_name: str = ""
    members: tuple[DescribedMember, ...] = ()


@dataclass(frozen=True, slots=True)
class ListAll:
    """Answered with a tuple of Described without members."""

    account: Account


@dataclass(frozen=True, slots=True)
class DeleteGroups:
    """Answered with a tuple of a Code per group."""

    account: Account
    group_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForgetTopic:
    """A topic was deleted: what groups committed for it goes too. Answered with NONE."""

    account: Account
    topic: str
