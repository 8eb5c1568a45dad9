"""The executor ``groups``: every consumer group's membership and committed offsets, decided in one place.

Offsets, each generation's number and the members of a stable group are records of ``_thalweg/groups``: an OffsetCommit or a
SyncGroup is answered when its record is durable, and survives whatever happens. After a restart a stable group goes on as it was, its
members heard of anew; one that was about to be is empty, and its members get UNKNOWN_MEMBER_ID and join again. Offsets of a group that
has been empty for ``offset_retention_ms`` are forgotten.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from protocols.api import World
from protocols.kafka import ledger
from protocols.kafka.errors import Code
from protocols.kafka.group_requests import (
    Beat,
    CommitOffsets,
    DeleteGroups,
    DeleteOffsets,
    Describe,
    Described,
    FetchOffsets,
    ForgetTopic,
    Join,
    Joined,
    Leave,
    ListAll,
    Partition,
    Sync,
    Synced,
)
from protocols.kafka.ledger import Key, Ledger
from protocols.kafka.membership import MS, ClassicGroup, GroupSettings, State
from substrate.api import Answer, Called, ErrorCode, Record, StreamError

CLIENT_ID_MAX = 200
"""Of a client id that becomes part of a member id."""
KEPT_BYTES_MAX = 1024 * 1024
"""Of the metadata and assignments of a stable group's members, in base64: a larger group does not survive a restart."""
SWEEP_GROUPS = 500
"""Looked at in one go when old offsets are forgotten: the loop is not held up by many groups."""


class Groups:
    """See ``protocols.api.Executor``."""

    name = "groups"
    version = 3

    def __init__(self, settings: GroupSettings | None = None) -> None:
        self.settings = settings or GroupSettings()
        self.now_ns = 0
        self._ledger = Ledger()
        self._groups: dict[Key, ClassicGroup] = {}
        self._wakes: list[tuple[int, Key]] = []
        self._waking: dict[Key, int] = {}
        self._parked: dict[object, set[Key]] = {}  # connection -> groups in which it may wait
        self._expiry_ns = 0
        self._held: dict[Key, int] = {}
        self._held_bytes = 0
        self._sweep: list[Key] = []
        self._armed_ns = 0
        self._world: World

    # the executor's life

    def start(self, world: World) -> None:
        """Groups that were stable are so again; others that had members are empty from here on."""
        self._world = world
        self.now_ns = world.now_ns
        for (account, group_id), entry in sorted(self._ledger.entries.items()):
            if entry.occupied and entry.members:
                group = self._find(account, group_id)
                assert group is not None
                group.restore(entry.protocol_name, entry.leader, entry.members)
                self._settle((account, group_id), group)
            elif entry.occupied:
                self._decide(account, group_id, "generation", generation=entry.generation,
                             protocol_type=entry.protocol_type, occupied=False, at_ms=self.now_ns // MS)  # fmt: skip
        self._expiry_ns = self.now_ns + self.settings.expiry_interval_ms * MS
        self._arm(self._expiry_ns)

    def apply(self, record: Record) -> None:
        self._ledger.apply(ledger.decode(record.value or b""))

    def dump(self) -> bytes:
        return self._ledger.dump()

    def load(self, data: bytes) -> None:
        self._ledger.load(data)

    def _decide(self, account: str, group_id: str, kind: str, **fields: Any) -> int:
        """Record one change and make it; the commit to wait for."""
        event = {"kind": kind, "account": account, "group": group_id, **fields}
        commit = self._world.record(ledger.encode(event), f"{account}/{group_id}".encode())
        self._ledger.apply(event)
        return commit

    def execute(self, request: object, token: int, session: object) -> Called | None:
        self.now_ns = self._world.now_ns
        asked = _REQUESTS.get(type(request))
        if asked is None:
            return Called(StreamError(ErrorCode.UNSUPPORTED, type(request).__name__))
        return asked(self, request, token, session)

    def answered(self, token: int, answer: Answer) -> None:
        """Nothing is asked of anybody."""

    def gone(self, session: object) -> None:
        self.now_ns = self._world.now_ns
        for key in self._parked.pop(session, ()):
            group = self._groups.get(key)
            if group is not None:
                group.gone(session)
                self._settle(key, group)

    def tick(self, now_ns: int) -> None:
        self.now_ns = now_ns
        if now_ns >= self._armed_ns:
            self._armed_ns = 0
        while self._wakes and self._wakes[0][0] <= now_ns:
            at_ns, key = heapq.heappop(self._wakes)
            if self._waking.get(key) != at_ns:
                continue
            del self._waking[key]
            group = self._groups.get(key)
            if group is not None:
                group.tick()
                self._settle(key, group)
        if self._expiry_ns <= now_ns:
            self._expire()
        self._arm(min(self._expiry_ns, self._wakes[0][0]) if self._wakes else self._expiry_ns)

    def _arm(self, at_ns: int) -> None:
        """Ask for one tick at a time: a tick that was asked for twice comes twice."""
        if not self._armed_ns or at_ns < self._armed_ns:
            self._armed_ns = at_ns
            self._world.wake(at_ns)

    def _settle(self, key: Key, group: ClassicGroup) -> None:
        """After a group may have changed: what it holds, and when it wants to be looked at.

        A wake that is early enough stays; it looks again when it comes.
        """
        self._held_bytes += group.bytes - self._held.get(key, 0)
        if group.bytes:
            self._held[key] = group.bytes
        else:
            self._held.pop(key, None)
        due_ns = group.due_ns()
        if due_ns and (key not in self._waking or due_ns < self._waking[key]):
            self._waking[key] = due_ns
            heapq.heappush(self._wakes, (due_ns, key))
            self._arm(due_ns)

    def _expire(self) -> None:
        """Look at some of the groups; the next few a moment later, until all were looked at."""
        if not self._sweep:
            self._sweep = list(self._ledger.entries.keys() | self._groups.keys())
        now_ms = self.now_ns // MS
        for _ in range(min(SWEEP_GROUPS, len(self._sweep))):
            key = self._sweep.pop()
            group = self._groups.get(key)
            if group is not None and group.is_gone():
                group = None
                del self._groups[key]
            entry = self._ledger.entries.get(key)
            if entry is None:
                continue
            subscribed = group.subscribed() if group is not None and group.state is State.STABLE else None
            gone = self._ledger.expired(key, now_ms, self.settings.offset_retention_ms, subscribed)
            if group is None and len(gone) == len(entry.offsets):
                self._decide(*key, "delete")
            elif gone:
                self._decide(*key, "forget", partitions=gone)
        self._expiry_ns = self.now_ns + (MS if self._sweep else self.settings.expiry_interval_ms * MS)

    # what a group needs

    def answer(self, token: int, answer: object, commit: int = 0) -> None:
        self._world.answer(token, answer, commit)

    def new_member_id(self, prefix: str) -> str:
        return f"{prefix[:CLIENT_ID_MAX]}-{self._world.random():016x}{self._world.random():016x}"

    def generation_made(self, group: ClassicGroup) -> None:
        self._decide(group.account, group.group_id, "generation", generation=group.generation,
                     protocol_type=group.protocol_type, occupied=bool(group.members), at_ms=self.now_ns // MS)  # fmt: skip

    def stable_made(self, group: ClassicGroup) -> int:
        members = group.kept()
        if sum(len(one[-1]) + sum(len(data) for _, data in one[-2]) for one in members) > KEPT_BYTES_MAX:
            return 0
        return self._decide(group.account, group.group_id, "stable", protocol_name=group.protocol_name or "",
                            leader=group.leader, members=members)  # fmt: skip

    def _key_of(self, group: ClassicGroup) -> Key:
        return group.account, group.group_id

    # requests

    def _find(self, account: str, group_id: str, make: bool = False) -> ClassicGroup | None:
        """The group, if it is known (or ``make``)."""
        key = account, group_id
        group = self._groups.get(key)
        if group is None:
            entry = self._ledger.entries.get(key)
            if entry is None and (not make or len(self._groups) >= self.settings.groups_max):
                return None
            generation, protocol_type = (entry.generation, entry.protocol_type) if entry is not None else (0, "")
            group = ClassicGroup(account, group_id, generation, protocol_type, self.settings, self)
            self._groups[key] = group
        return group

    def _join(self, request: Join, token: int, session: object) -> Called | None:
        settings = self.settings
        if not request.group_id:
            return Called(Joined(Code.INVALID_GROUP_ID, request.member_id))
        if not settings.session_timeout_ms_min <= request.session_timeout_ms <= settings.session_timeout_ms_max:
            return Called(Joined(Code.INVALID_SESSION_TIMEOUT, request.member_id))
        size = sum(len(metadata) for _, metadata in request.protocols)
        if self._held_bytes + size > settings.held_bytes_max:
            return Called(Joined(Code.COORDINATOR_NOT_AVAILABLE, request.member_id))
        group = self._find(request.account, request.group_id, make=not request.member_id)
        if group is None:
            known = bool(request.member_id)
            return Called(
                Joined(Code.UNKNOWN_MEMBER_ID if known else Code.COORDINATOR_NOT_AVAILABLE, request.member_id)
            )
        return self._parked_or(group, session, group.join(request, token, session))

    def _sync(self, request: Sync, token: int, session: object) -> Called | None:
        group = self._find(request.account, request.group_id)
        if group is None:
            return Called(Synced(Code.UNKNOWN_MEMBER_ID if request.group_id else Code.INVALID_GROUP_ID))
        if self._held_bytes + sum(len(data) for _, data in request.assignments) > self.settings.held_bytes_max:
            return Called(Synced(Code.COORDINATOR_NOT_AVAILABLE))
        answer = group.sync(request, token, session)
        return self._parked_or(group, session, answer, group.commit)

    def _parked_or(self, group: ClassicGroup, session: object, answer: object | None, commit: int = 0) -> Called | None:
        key = self._key_of(group)
        self._settle(key, group)
        if answer is not None:
            return Called(answer, commit)
        self._parked.setdefault(session, set()).add(key)
        return None

    def _beat(self, request: Beat, token: int, session: object) -> Called:
        group = self._find(request.account, request.group_id)
        if group is None:
            return Called(Code.UNKNOWN_MEMBER_ID if request.group_id else Code.INVALID_GROUP_ID)
        return Called(group.beat(request))

    def _leave(self, request: Leave, token: int, session: object) -> Called:
        group = self._find(request.account, request.group_id)
        if group is None:
            return Called(tuple(Code.UNKNOWN_MEMBER_ID for _ in request.members))
        codes = tuple(group.leave(member_id, instance_id) for member_id, instance_id in request.members)
        self._settle(self._key_of(group), group)
        return Called(codes)

    def _commit(self, request: CommitOffsets, token: int, session: object) -> Called:
        group = self._find(request.account, request.group_id)
        if group is not None:
            code = group.may_commit(request)
        else:
            code = Code.NONE if request.generation < 0 else request.unknown
        if code is not Code.NONE or not request.offsets:
            return Called(code)
        if group is None and len(self._ledger.entries) >= self.settings.groups_max:
            return Called(Code.COORDINATOR_NOT_AVAILABLE)
        offsets = [[*partition, one.offset, one.leader_epoch, one.metadata] for partition, one in request.offsets]
        own = {} if request.retention_ms < 0 else {"retention_ms": request.retention_ms}
        at_ms = self.now_ns // MS
        commit = self._decide(request.account, request.group_id, "commit", offsets=offsets, at_ms=at_ms, **own)
        return Called(Code.NONE, commit)

    def _fetch(self, request: FetchOffsets, token: int, session: object) -> Called:
        entry = self._ledger.entries.get((request.account, request.group_id))
        if entry is None:
            return Called({})
        if request.partitions is None:
            return Called(dict(sorted(entry.offsets.items())))
        return Called({one: entry.offsets[one] for one in request.partitions if one in entry.offsets})

    def _describe(self, request: Describe, token: int, session: object) -> Called:
        found = []
        for group_id in request.group_ids:
            group = self._find(request.account, group_id)
            found.append(Described(group_id, State.DEAD.value) if group is None else group.described(True))
        return Called(tuple(found))

    def _list(self, request: ListAll, token: int, session: object) -> Called:
        keys = {key for key in (*self._ledger.entries, *self._groups) if key[0] == request.account}
        groups = (self._find(*key) for key in sorted(keys))
        return Called(tuple(group.described(False) for group in groups if group is not None))

    def _delete(self, request: DeleteGroups, token: int, session: object) -> Called:
        codes, commit = [], 0
        for group_id in request.group_ids:
            group = self._find(request.account, group_id)
            if group is None:
                codes.append(Code.GROUP_ID_NOT_FOUND if group_id else Code.INVALID_GROUP_ID)
            elif not group.is_gone():
                codes.append(Code.NON_EMPTY_GROUP)
            else:
                del self._groups[request.account, group_id]
                commit = self._decide(request.account, group_id, "delete")
                codes.append(Code.NONE)
        return Called(tuple(codes), commit)

    def _delete_offsets(self, request: DeleteOffsets, token: int, session: object) -> Called:
        group = self._find(request.account, request.group_id)
        if group is None:
            return Called(Code.GROUP_ID_NOT_FOUND if request.group_id else Code.INVALID_GROUP_ID)
        subscribed = frozenset() if group.is_gone() else group.subscribed()
        if subscribed is None:
            return Called(Code.NON_EMPTY_GROUP)
        entry = self._ledger.entries.get((request.account, request.group_id))
        codes: list[Code] = []
        gone: list[Partition] = []
        for partition in request.partitions:
            codes.append(Code.GROUP_SUBSCRIBED_TO_TOPIC if partition[0] in subscribed else Code.NONE)
            if codes[-1] is Code.NONE and entry is not None and partition in entry.offsets:
                gone.append(partition)
        commit = self._decide(request.account, request.group_id, "forget", partitions=gone) if gone else 0
        return Called(tuple(codes), commit)

    def _forget_topic(self, request: ForgetTopic, token: int, session: object) -> Called:
        commit = 0
        for key, entry in sorted(self._ledger.entries.items()):
            gone = [partition for partition in entry.offsets if partition[0] == request.topic]
            if gone and key[0] == request.account:
                commit = self._decide(*key, "forget", partitions=gone)
        return Called(Code.NONE, commit)


_REQUESTS: MappingProxyType[type, Callable[[Groups, Any, int, object], Called | None]] = MappingProxyType(
    {
        Beat: Groups._beat,
        CommitOffsets: Groups._commit,
        DeleteGroups: Groups._delete,
        DeleteOffsets: Groups._delete_offsets,
        Describe: Groups._describe,
        FetchOffsets: Groups._fetch,
        ForgetTopic: Groups._forget_topic,
        Join: Groups._join,
        Leave: Groups._leave,
        ListAll: Groups._list,
        Sync: Groups._sync,
    }
)
