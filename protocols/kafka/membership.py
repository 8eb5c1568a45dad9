"""The classic group: who is in it, which generation it is in, who waits for what. A stable one is kept (``kept``,
``restore``): a restart finds it as it was, and its members have their session timeout to be heard of.

States (ClassicGroupState.java, behaviour)::

    Empty --join--> PreparingRebalance --all joined, or time is up--> CompletingRebalance --leader's sync--> Stable
      ^                    |  ^                                              |                                  |
      +---nobody came------+  +-----------join, leave, expiry---------------+----------------------------------+

* A member that waits for a join or a sync is alive as long as its connection is; any other must be heard of within its
  session timeout.
* The first join of an empty group waits its ``initial_delay_ms`` for others, again while others come, up to the largest
  rebalance timeout. Later rebalances wait for every known member, at most the largest rebalance timeout; dynamic members
  that did not come are removed, static ones (KIP-345) stay.
* A member that never syncs is removed after the rebalance timeout.
"""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from protocols.kafka.errors import Code
from protocols.kafka.group_requests import Beat, CommitOffsets, Described, DescribedMember, Join, Joined, Sync, Synced
from substrate.api import Account

MS = 1_000_000


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """Kafka's group.* and offsets.* settings."""

    session_timeout_ms_min: int = 6_000
    session_timeout_ms_max: int = 1_800_000
    members_max: int = 10_000
    groups_max: int = 100_000
    held_bytes_max: int = 256 * 1024 * 1024
    """Of what all members of all groups gave us to keep: metadata and assignments."""
    offset_retention_ms: int = 7 * 86_400_000
    expiry_interval_ms: int = 600_000


class State(Enum):
    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


class Host(Protocol):
    """What a group needs of the executor."""

    now_ns: int

    def answer(self, token: int, answer: object, commit: int = 0) -> None:
        """To a join or sync that was parked; it leaves when ``commit`` is durable."""
        ...

    def new_member_id(self, prefix: str) -> str: ...

    def generation_made(self, group: ClassicGroup) -> None:
        """It has a new generation (perhaps an empty one): keep its number."""
        ...

    def stable_made(self, group: ClassicGroup) -> int:
        """Its members have their work: keep them; the commit to wait for."""
        ...


class Member:
    __slots__ = (
        "assignment",
        "bytes", "client_host", "client_id", "deadline_ns", "id", "instance_id", "join_token", "may_skip", "protocols",
        "rebalance_ns", "session", "session_ns", "sync_token",
    )  # fmt: skip

    def __init__(self, member_id: str, request: Join) -> None:
        self.id = member_id
        self.instance_id = request.instance_id
        self.assignment = b""
        self.join_token = 0  # 0: does not wait, here and below
        self.sync_token = 0
        self.session: object = None  # whose connection waits
        self.deadline_ns = 0
        self.renew(request)

    def renew(self, request: Join) -> None:
        self.client_id = request.client_id
        self.client_host = request.client_host
        self.session_ns = request.session_timeout_ms * MS
        self.rebalance_ns = request.rebalance_timeout_ms * MS
        self.protocols = request.protocols
        self.may_skip = request.may_skip
        self.bytes = sum(len(name) + len(metadata) for name, metadata in request.protocols)

    def metadata(self, protocol: str | None) -> bytes:
        return next((metadata for name, metadata in self.protocols if name == protocol), b"")


class ClassicGroup:
    """One group. Methods answer at once, or None: parked, ``host.answer`` comes later."""

    def __init__(
        self, account: str, group_id: str, generation: int, protocol_type: str, settings: GroupSettings, host: Host
    ) -> None:
        self.account = account
        self.group_id = group_id
        self.generation = generation
        self.protocol_type = protocol_type  # "" before the first member
        self.protocol_name: str | None = None
        self.state = State.EMPTY
        self.bytes = 0
        """What its members gave us to keep."""
        self._assigned_bytes = 0
        self.commit = 0
        """What keeps it as it is, while it is stable."""
        self.leader = ""
        self.members: dict[str, Member] = {}
        self._statics: dict[str, str] = {}  # instance id -> member id
        self._pending: dict[str, int] = {}  # member ids given out, not come back yet -> until when
        self._unsynced: set[str] = set()
        self._rebalance_ns = 0  # end of the wait in PREPARING
        self._delay_ns = 0  # of the initial wait
        self._initial_left_ns = 0  # how much longer an initial wait may become
        self._initial = False
        self._newcomer = False
        self._sync_ns = 0  # end of the wait in COMPLETING
        self._settings = settings
        self._host = host

    # join

    def join(self, request: Join, token: int, session: object) -> Joined | None:
        if not self._suits(request):
            return Joined(Code.INCONSISTENT_GROUP_PROTOCOL, request.member_id)
        if (
            request.member_id not in self.members
            and len(self.members) + len(self._pending) >= self._settings.members_max
        ):
            if request.member_id not in self._pending:
                return Joined(Code.GROUP_MAX_SIZE_REACHED, request.member_id)
        if request.member_id == "":
            if request.instance_id is not None:
                return self._join_static(request, token, session)
            return self._join_new(request, token, session)
        if request.member_id in self._pending and request.instance_id is None:
            del self._pending[request.member_id]
            return self._add(request.member_id, request, token, session)
        code = self._known(request.member_id, request.instance_id)
        if code is not Code.NONE:
            return Joined(code, request.member_id)
        return self._rejoin(self.members[request.member_id], request, token, session)

    def _suits(self, request: Join) -> bool:
        """Whether it has a protocol that all others have too."""
        if not request.protocol_type or not request.protocols:
            return False
        others = [member for member in self.members.values() if member.id != request.member_id]
        if request.instance_id is not None:
            others = [member for member in others if member.instance_id != request.instance_id]
        if not others:
            return True
        common = set.intersection(*({name for name, _ in member.protocols} for member in others))
        return request.protocol_type == self.protocol_type and any(name in common for name, _ in request.protocols)

    def _join_new(self, request: Join, token: int, session: object) -> Joined | None:
        member_id = self._host.new_member_id(request.client_id)
        if request.must_know_id:
            self._pending[member_id] = self._host.now_ns + request.session_timeout_ms * MS
            return Joined(Code.MEMBER_ID_REQUIRED, member_id)
        return self._add(member_id, request, token, session)

    def _join_static(self, request: Join, token: int, session: object) -> Joined | None:
        assert request.instance_id is not None
        member_id = self._host.new_member_id(request.instance_id)
        old_id = self._statics.get(request.instance_id)
        if old_id is None:
            return self._add(member_id, request, token, session)
        member = self.members.pop(old_id)
        self.bytes -= member.bytes
        self._release(member, Code.FENCED_INSTANCE_ID)
        was_leader = self.leader == old_id
        old_protocols = member.protocols
        member.id = member_id
        member.renew(request)
        self.bytes += member.bytes
        self.members[member_id] = member
        self._statics[request.instance_id] = member_id
        self._unsynced.discard(old_id)
        if was_leader:
            self.leader = member_id
        member.deadline_ns = self._host.now_ns + member.session_ns
        if self.state is State.STABLE and member.protocols == old_protocols:
            # Nothing changes for the others: it goes on with the assignment it had. A leader that does not understand
            # skip_assignment is told of the old leader, so that it does not assign.
            self.commit = self._host.stable_made(self)
            skips = was_leader and member.may_skip
            told = member_id if skips else old_id if was_leader else self.leader
            return self._joined(member, told, whole=skips, skip=skips)
        return self._park_join(member, token, session)

    def _rejoin(self, member: Member, request: Join, token: int, session: object) -> Joined | None:
        unchanged = member.protocols == request.protocols
        if self.state is State.COMPLETING and unchanged:  # it did not get the answer
            member.deadline_ns = self._host.now_ns + member.session_ns
            return self._joined(member, self.leader, whole=member.id == self.leader)
        if self.state is State.STABLE and unchanged and member.id != self.leader:
            member.deadline_ns = self._host.now_ns + member.session_ns
            return self._joined(member, self.leader)
        self._release(member, Code.REBALANCE_IN_PROGRESS)
        self.bytes -= member.bytes
        member.renew(request)
        self.bytes += member.bytes
        return self._park_join(member, token, session)

    def _add(self, member_id: str, request: Join, token: int, session: object) -> Joined | None:
        member = Member(member_id, request)
        if not self.members:
            self.protocol_type = request.protocol_type
        self.members[member_id] = member
        self.bytes += member.bytes
        if request.instance_id is not None:
            self._statics[request.instance_id] = member_id
        if not self.leader:
            self.leader = member_id
        self._newcomer = True
        return self._park_join(member, token, session, request.initial_delay_ms)

    def _park_join(self, member: Member, token: int, session: object, delay_ms: int = 0) -> Joined | None:
        member.join_token = token
        member.session = session
        if self.state is not State.PREPARING:
            self._prepare(delay_ms)
        self._maybe_complete()
        return None

    def _joined(self, member: Member, leader: str, whole: bool = False, skip: bool = False) -> Joined:
        members = tuple((one.id, one.instance_id, one.metadata(self.protocol_name)) for one in self.members.values())
        return Joined(
            Code.NONE, member.id, self.generation, self.protocol_type, self.protocol_name, leader,
            members if whole else (), skip,
        )  # fmt: skip

    # rebalance

    def _prepare(self, delay_ms: int = 0) -> None:
        """Everybody has to join again. ``delay_ms``: how long an empty group waits for others."""
        now_ns, was_empty = self._host.now_ns, self.state is State.EMPTY
        if self.state is State.COMPLETING:
            for member in self.members.values():
                member.assignment = b""
                self._answer_sync(member, Synced(Code.REBALANCE_IN_PROGRESS))
        self.state = State.PREPARING
        self._unsynced.clear()
        longest_ns = self._longest_ns()
        self._initial = was_empty and delay_ms > 0
        if self._initial:
            self._delay_ns = min(delay_ms * MS, longest_ns)
            self._initial_left_ns = longest_ns - self._delay_ns
            self._newcomer = False
            self._rebalance_ns = now_ns + self._delay_ns
        else:
            self._rebalance_ns = now_ns + longest_ns

    def _longest_ns(self) -> int:
        return max((member.rebalance_ns for member in self.members.values()), default=0)

    def _maybe_complete(self) -> None:
        if self.state is State.PREPARING and not self._initial and not self._pending:
            if all(member.join_token for member in self.members.values()):
                self._complete()

    def _complete(self) -> None:
        """The wait is over: who joined is the next generation."""
        for member in list(self.members.values()):
            if not member.join_token and member.instance_id is None:
                self._drop(member)
        self._initial = False
        joined = [member for member in self.members.values() if member.join_token]
        if self.members and not joined:  # static members only, and none of them is back
            self._rebalance_ns = self._host.now_ns + self._longest_ns()
            return
        if joined and not self.members[self.leader].join_token:
            self.leader = joined[0].id
        self.generation = self.generation + 1 if self.generation < 0x7FFFFFFF else 1
        if not self.members:
            self.state, self.protocol_name, self.leader = State.EMPTY, None, ""
            self._assign(0)
            self._host.generation_made(self)
            return
        self.state = State.COMPLETING
        self.protocol_name = self._elect()
        self._unsynced = set(self.members)
        self._sync_ns = self._host.now_ns + self._longest_ns()
        self._host.generation_made(self)
        for member in joined:
            token, member.join_token, member.session = member.join_token, 0, None
            member.deadline_ns = self._host.now_ns + member.session_ns
            self._host.answer(token, self._joined(member, self.leader, whole=member.id == self.leader))

    def _elect(self) -> str:
        """The protocol that most members prefer, of those that all have."""
        common = set.intersection(*({name for name, _ in member.protocols} for member in self.members.values()))
        votes = Counter(
            next(name for name, _ in member.protocols if name in common) for member in self.members.values()
        )
        return votes.most_common(1)[0][0]

    # sync, heartbeat, leave, commit

    def _known(self, member_id: str, instance_id: str | None) -> Code:
        """Whether this member may speak for this instance."""
        if instance_id is not None:
            current = self._statics.get(instance_id)
            if current is None:
                return Code.UNKNOWN_MEMBER_ID
            if current != member_id:
                return Code.FENCED_INSTANCE_ID
        return Code.NONE if member_id in self.members else Code.UNKNOWN_MEMBER_ID

    def sync(self, request: Sync, token: int, session: object) -> Synced | None:
        code = self._known(request.member_id, request.instance_id)
        if code is Code.NONE and request.generation != self.generation:
            code = Code.ILLEGAL_GENERATION
        if code is Code.NONE and request.protocol_type not in (None, self.protocol_type):
            code = Code.INCONSISTENT_GROUP_PROTOCOL
        if code is Code.NONE and request.protocol_name not in (None, self.protocol_name):
            code = Code.INCONSISTENT_GROUP_PROTOCOL
        if code is Code.NONE and self.state is State.PREPARING:
            code = Code.REBALANCE_IN_PROGRESS
        if code is not Code.NONE:
            return Synced(code)
        member = self.members[request.member_id]
        self._unsynced.discard(member.id)
        member.deadline_ns = self._host.now_ns + member.session_ns
        if self.state is State.STABLE:
            return self._synced(member)
        self._answer_sync(member, Synced(Code.REBALANCE_IN_PROGRESS))  # the same member twice
        if member.id != self.leader:
            member.sync_token, member.session = token, session
            return None
        assignments = dict(request.assignments)
        self.state = State.STABLE
        self._assign(sum(map(len, assignments.values())))
        for one in self.members.values():
            one.assignment = assignments.get(one.id, b"")
        self.commit = self._host.stable_made(self)
        for one in self.members.values():
            self._answer_sync(one, self._synced(one), self.commit)
        return self._synced(member)

    def _assign(self, size: int) -> None:
        self.bytes += size - self._assigned_bytes
        self._assigned_bytes = size

    def _synced(self, member: Member) -> Synced:
        return Synced(Code.NONE, self.protocol_type, self.protocol_name, member.assignment)

    def _answer_sync(self, member: Member, answer: Synced, commit: int = 0) -> None:
        if member.sync_token:
            token, member.sync_token, member.session = member.sync_token, 0, None
            member.deadline_ns = self._host.now_ns + member.session_ns
            self._host.answer(token, answer, commit)

    def beat(self, request: Beat) -> Code:
        code = self._known(request.member_id, request.instance_id)
        if code is not Code.NONE:
            return code
        if request.generation != self.generation:
            return Code.ILLEGAL_GENERATION
        member = self.members[request.member_id]
        member.deadline_ns = self._host.now_ns + member.session_ns
        return Code.REBALANCE_IN_PROGRESS if self.state is State.PREPARING else Code.NONE

    def leave(self, member_id: str, instance_id: str | None) -> Code:
        if instance_id is not None:
            current = self._statics.get(instance_id)
            if current is None:
                return Code.UNKNOWN_MEMBER_ID
            if member_id not in ("", current):
                return Code.FENCED_INSTANCE_ID
            member_id = current
        if self._pending.pop(member_id, None) is not None:
            self._maybe_complete()
            return Code.NONE
        member = self.members.get(member_id)
        if member is None:
            return Code.UNKNOWN_MEMBER_ID
        self._remove(member)
        return Code.NONE

    def may_commit(self, request: CommitOffsets) -> Code:
        """ClassicGroup.validateOffsetCommit, behaviour."""
        if request.generation < 0 and self.state is State.EMPTY:
            return Code.NONE
        if request.generation < 0 and request.member_id == "" and request.instance_id is None:
            return Code.UNKNOWN_MEMBER_ID
        code = self._known(request.member_id, request.instance_id)
        if code is not Code.NONE:
            return code
        if request.generation != self.generation:
            return Code.ILLEGAL_GENERATION
        if self.state is State.COMPLETING:
            return Code.REBALANCE_IN_PROGRESS
        member = self.members[request.member_id]
        member.deadline_ns = self._host.now_ns + member.session_ns
        return Code.NONE

    # going

    def _remove(self, member: Member) -> None:
        """The member is gone: the others share its work."""
        self._drop(member)
        if self.state in (State.STABLE, State.COMPLETING):
            self._prepare()
        self._maybe_complete()

    def _drop(self, member: Member) -> None:
        self._release(member, Code.UNKNOWN_MEMBER_ID)
        del self.members[member.id]
        self.bytes -= member.bytes
        self._unsynced.discard(member.id)
        if member.instance_id is not None and self._statics.get(member.instance_id) == member.id:
            del self._statics[member.instance_id]
        if self.leader == member.id:
            self.leader = next(iter(self.members), "")

    def _release(self, member: Member, code: Code) -> None:
        """What it waits for will not come."""
        if member.join_token:
            token, member.join_token, member.session = member.join_token, 0, None
            self._host.answer(token, Joined(code, member.id))
        self._answer_sync(member, Synced(code))

    def gone(self, session: object) -> None:
        """A connection broke: who waited on it must be heard of again in time."""
        for member in self.members.values():
            if member.session is session and (member.join_token or member.sync_token):
                member.join_token = member.sync_token = 0
                member.session = None
                member.deadline_ns = self._host.now_ns + member.session_ns

    # time

    def due_ns(self) -> int:
        """When ``tick`` has something to do; 0: never."""
        times = [member.deadline_ns for member in self.members.values() if not (member.join_token or member.sync_token)]
        times += self._pending.values()
        if self.state is State.PREPARING:
            times.append(self._rebalance_ns)
        elif self.state is State.COMPLETING:
            times.append(self._sync_ns)
        return min(times, default=0)

    def tick(self) -> None:
        now_ns = self._host.now_ns
        for member_id in [one for one, until_ns in self._pending.items() if until_ns <= now_ns]:
            del self._pending[member_id]
        for member in list(self.members.values()):
            if (
                not (member.join_token or member.sync_token)
                and member.deadline_ns <= now_ns
                and member.id in self.members
            ):
                self._remove(member)
        if self.state is State.COMPLETING and self._sync_ns <= now_ns:
            for member_id in list(self._unsynced):
                if member_id in self.members and self.state is State.COMPLETING:
                    self._drop(self.members[member_id])
            self._prepare()
        if self.state is State.PREPARING and self._rebalance_ns <= now_ns:
            if self._initial and self._newcomer and self._initial_left_ns > 0:
                more_ns = min(self._delay_ns, self._initial_left_ns)
                self._initial_left_ns -= more_ns
                self._newcomer = False
                self._rebalance_ns = now_ns + more_ns
            else:
                self._complete()
        self._maybe_complete()

    # what survives

    def kept(self) -> list[list[Any]]:
        """The members as a ``stable`` record of the ledger has them."""
        return [
            [
                one.id, one.instance_id, one.client_id, one.client_host, one.session_ns // MS, one.rebalance_ns // MS,
                [[name, _text(metadata)] for name, metadata in one.protocols], _text(one.assignment),
            ]
            for one in self.members.values()
        ]  # fmt: skip

    def restore(self, protocol_name: str, leader: str, members: list[list[Any]]) -> None:
        """Be stable with these members, as they were."""
        self.protocol_name, self.leader, self.state = protocol_name, leader, State.STABLE
        for member_id, instance_id, client_id, client_host, session_ms, rebalance_ms, protocols, assignment in members:
            offered = tuple((name, base64.b64decode(metadata)) for name, metadata in protocols)
            request = Join(
                Account(self.account), self.group_id, member_id, instance_id, client_id, client_host, session_ms,
                rebalance_ms, self.protocol_type, offered,
            )  # fmt: skip
            member = self.members[member_id] = Member(member_id, request)
            member.assignment = base64.b64decode(assignment)
            member.deadline_ns = self._host.now_ns + member.session_ns
            self.bytes += member.bytes
            if instance_id is not None:
                self._statics[instance_id] = member_id
        self._assign(sum(len(one.assignment) for one in self.members.values()))

    # looking

    def is_gone(self) -> bool:
        """Nothing of it would be missed."""
        return self.state is State.EMPTY and not self.members and not self._pending

    def described(self, with_members: bool) -> Described:
        members = tuple(
            DescribedMember(
                one.id, one.instance_id, one.client_id, one.client_host,
                one.metadata(self.protocol_name) if self.state is State.STABLE else b"",
                one.assignment if self.state is State.STABLE else b"",
            )
            for one in self.members.values()
        )  # fmt: skip
        name = self.protocol_name if self.state is State.STABLE else None
        return Described(
            self.group_id, self.state.value, self.protocol_type, name or "", members if with_members else ()
        )

    def subscribed(self) -> frozenset[str] | None:
        """Topics that members of a consumer group subscribe to; None: it cannot be told."""
        if self.protocol_type != "consumer":
            return None
        found: set[str] = set()
        for member in self.members.values():
            for _, metadata in member.protocols:
                topics = subscription(metadata)
                if topics is None:
                    return None
                found.update(topics)
        return frozenset(found)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def subscription(metadata: bytes) -> list[str] | None:
    """The topics of a ConsumerProtocolSubscription: int16 version, then an array of strings; None: it is none."""
    at = 6
    found = []
    for _ in range(min(int.from_bytes(metadata[2:6], "big"), len(metadata))):
        length = int.from_bytes(metadata[at : at + 2], "big")
        name = metadata[at + 2 : at + 2 + length]
        if len(name) != length:
            return None
        found.append(name.decode("utf-8", "replace"))
        at += 2 + length
    return found if len(metadata) >= at else None
