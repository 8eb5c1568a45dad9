"""The classic group's state machine, by scripts over the wire; what of it survives a restart."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.harness import Harness
from protocols.kafka.errors import Code
from protocols.kafka.groups import Groups
from protocols.kafka.membership import GroupSettings, subscription
from substrate.memory import MemoryEngine
from tests.kafka.scripts import Script, harness

SESSION_MS = 10_000
REBALANCE_MS = 20_000


@pytest.fixture(params=[False, True], ids=["at-once", "delayed"])
def gateway(request: pytest.FixtureRequest) -> Harness:
    made = harness(delayed=request.param)
    Script(made).create("orders", 4)
    return made


class Member:
    """A member on a connection of its own."""

    def __init__(self, gateway: Harness, group: str = "g", instance: str | None = None, version: int = 7) -> None:
        self.script = Script(gateway)
        self.group = group
        self.instance = instance
        self.version = version
        self.id = ""
        self.generation = -1
        self.leads = False
        self.members: list[str] = []

    def joining(self, protocols: tuple[str, ...] = ("range",), metadata: bytes = b"m", **fields: Any) -> None:
        """Send JoinGroup; ``joined`` takes the answer."""
        if self.version >= 5:
            fields.setdefault("group_instance_id", self.instance)
        if self.version >= 1:
            fields.setdefault("rebalance_timeout_ms", REBALANCE_MS)
        fields = {"protocol_type": "consumer", "session_timeout_ms": SESSION_MS, "member_id": self.id} | fields
        offered = [{"name": name, "metadata": metadata} for name in protocols]
        self.script.send("JoinGroup", self.version, group_id=self.group, protocols=offered, **fields)

    def joined(self) -> Any:
        """The answer, None while it waits; a member id that was asked for is used at once."""
        answer = self.script.take()
        if answer is not None and answer.error_code in (Code.NONE, Code.MEMBER_ID_REQUIRED):
            self.id = answer.member_id
            self.generation = answer.generation_id
            self.leads = answer.leader == self.id != ""
            self.members = [one.member_id for one in answer.members]
        return answer

    def enter(self, **fields: Any) -> Any:
        """Join, by way of MEMBER_ID_REQUIRED where that is asked for."""
        self.joining(**fields)
        answer = self.joined()
        if answer is not None and answer.error_code == Code.MEMBER_ID_REQUIRED:
            self.joining(**fields)
            answer = self.joined()
        return answer

    def syncing(self, assignments: dict[str, bytes] | None = None, **fields: Any) -> None:
        offered = [{"member_id": one, "assignment": data} for one, data in (assignments or {}).items()]
        fields = {"generation_id": self.generation, "member_id": self.id, "group_instance_id": self.instance} | fields
        self.script.send("SyncGroup", 3, group_id=self.group, assignments=offered, **fields)

    def synced(self) -> Any:
        return self.script.take()

    def beat(self, **fields: Any) -> int:
        fields = {"generation_id": self.generation, "member_id": self.id, "group_instance_id": self.instance} | fields
        return self.script.ask("Heartbeat", 3, group_id=self.group, **fields).error_code

    def leave(self) -> int:
        return self.script.ask("LeaveGroup", 2, group_id=self.group, member_id=self.id).error_code

    def commit(self, offset: int = 1, metadata: str | None = "", topic: str = "orders", **fields: Any) -> int:
        fields = {
            "group_id": self.group, "generation_id_or_member_epoch": self.generation, "member_id": self.id,
            "group_instance_id": self.instance,
        } | fields  # fmt: skip
        partition = {"partition_index": 0, "committed_offset": offset, "committed_metadata": metadata}
        answer = self.script.ask("OffsetCommit", 7, topics=[{"name": topic, "partitions": [partition]}], **fields)
        return answer.topics[0].partitions[0].error_code

    def committed(self, topic: str = "orders") -> tuple[int, str]:
        asked = [{"name": topic, "partition_indexes": [0]}]
        found = self.script.ask("OffsetFetch", 5, group_id=self.group, topics=asked).topics[0].partitions[0]
        return found.committed_offset, found.metadata


def stable(gateway: Harness, count: int = 1, **member: Any) -> list[Member]:
    """A stable group; the first member leads."""
    members = [Member(gateway, **member) for _ in range(count)]
    for number, one in enumerate(members):
        one.enter()
        for before in members[:number]:
            before.joining()
        for before in members[:number]:
            before.joined()
        if number:
            one.joined()
    for one in members[1:]:
        one.syncing()
    members[0].syncing({one.id: b"work %d" % number for number, one in enumerate(members)})
    assert [one.synced().assignment for one in members] == [b"work %d" % number for number in range(count)]
    return members


def test_a_new_member_first_gets_its_id_and_then_leads(gateway: Harness) -> None:
    member = Member(gateway)
    member.joining()
    answer = member.joined()
    assert answer.error_code == Code.MEMBER_ID_REQUIRED and answer.member_id.startswith("script-")
    member.joining()
    answer = member.joined()
    assert (answer.error_code, answer.generation_id, answer.protocol_name) == (0, 1, "range")
    assert member.leads and member.members == [member.id]


def test_an_old_client_joins_without_a_second_round(gateway: Harness) -> None:
    member = Member(gateway, version=1)
    assert member.enter().error_code == 0 and member.leads


def test_the_leader_alone_gets_the_members_and_gives_them_their_work(gateway: Harness) -> None:
    first, second = stable(gateway, 2)
    assert first.leads and not second.leads
    assert set(first.members) == {first.id, second.id} and second.members == []
    assert first.beat() == second.beat() == 0


def test_a_second_member_waits_until_the_first_joined_again(gateway: Harness) -> None:
    (first,) = stable(gateway)
    second = Member(gateway)
    assert second.enter() is None
    assert first.beat() == Code.REBALANCE_IN_PROGRESS
    assert first.commit() == 0, "the old generation still commits while others join"
    first.joining()
    assert first.joined().generation_id == 2 and second.joined().generation_id == 2
    assert first.beat() == 0, "the new generation beats while it waits for its work"
    assert first.commit() == Code.REBALANCE_IN_PROGRESS


def test_a_sync_waits_for_the_leaders(gateway: Harness) -> None:
    first, second = stable(gateway, 2)
    first.joining(metadata=b"changed")
    second.joining()
    first.joined(), second.joined()
    second.syncing()
    assert second.synced() is None
    first.syncing({second.id: b"all"})
    assert first.synced().assignment == b"" and second.synced().assignment == b"all"


def test_a_member_that_does_not_join_again_in_time_is_gone(gateway: Harness) -> None:
    first, _ = stable(gateway, 2)
    first.joining(metadata=b"changed")
    assert first.joined() is None
    gateway.advance(SESSION_MS + 1)
    assert first.joined().generation_id == 3 and first.members == [first.id]


def test_a_member_that_is_not_heard_of_is_gone(gateway: Harness) -> None:
    first, second = stable(gateway, 2)
    for _ in range(3):
        gateway.advance(SESSION_MS // 2 - 1)
        code = first.beat()
    assert code == Code.REBALANCE_IN_PROGRESS
    first.joining()
    assert first.joined().error_code == 0 and first.members == [first.id]
    assert second.beat() == Code.UNKNOWN_MEMBER_ID


def test_a_member_that_never_syncs_is_gone_after_the_rebalance_timeout(gateway: Harness) -> None:
    first, second = stable(gateway, 2)
    first.joining(metadata=b"changed")
    second.joining()
    first.joined(), second.joined()
    first.syncing({first.id: b"x"})
    first.synced()
    for _ in range(5):
        gateway.advance(SESSION_MS // 2 - 1)
        first.beat(), second.beat()
    assert first.beat() == Code.NONE, "a leader's sync makes the group stable whether or not others synced"
    first.joining(metadata=b"again")
    second.joining()
    first.joined(), second.joined()
    second.syncing()
    for _ in range(5):
        gateway.advance(SESSION_MS // 2 - 1)
        first.beat()
    assert second.synced().error_code == Code.REBALANCE_IN_PROGRESS, "the leader never synced"


def test_a_member_that_leaves_makes_the_others_share(gateway: Harness) -> None:
    first, second = stable(gateway, 2)
    assert first.leave() == 0
    assert second.beat() == Code.REBALANCE_IN_PROGRESS
    second.joining()
    assert second.joined().error_code == 0 and second.leads
    assert first.beat() == Code.UNKNOWN_MEMBER_ID and first.leave() == Code.UNKNOWN_MEMBER_ID


def test_an_unchanged_follower_that_joins_again_disturbs_nobody(gateway: Harness) -> None:
    first, second = stable(gateway, 2)
    second.joining()
    assert second.joined().generation_id == first.generation
    assert first.beat() == 0
    second.joining(metadata=b"changed")
    assert second.joined() is None and first.beat() == Code.REBALANCE_IN_PROGRESS


def test_the_protocol_most_members_prefer_wins_and_a_stranger_is_refused(gateway: Harness) -> None:
    first, second = Member(gateway), Member(gateway)
    first.enter(protocols=("a", "b"))
    assert second.enter(protocols=("b", "a")) is None
    third = Member(gateway)
    assert third.enter(protocols=("b", "a")) is None
    first.joining(protocols=("a", "b"))
    assert first.joined().protocol_name == "b" == second.joined().protocol_name
    assert Member(gateway).enter(protocols=("c",)).error_code == Code.INCONSISTENT_GROUP_PROTOCOL
    assert Member(gateway).enter(protocol_type="connect").error_code == Code.INCONSISTENT_GROUP_PROTOCOL
    assert Member(gateway, "h").enter(protocols=()).error_code == Code.INCONSISTENT_GROUP_PROTOCOL


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"session_timeout_ms": 5_999}, Code.INVALID_SESSION_TIMEOUT),
        ({"session_timeout_ms": 1_800_001}, Code.INVALID_SESSION_TIMEOUT),
        ({"member_id": "nobody"}, Code.UNKNOWN_MEMBER_ID),
    ],
)
def test_a_join_that_cannot_be_is_refused(gateway: Harness, fields: dict[str, Any], code: Code) -> None:
    assert Member(gateway).enter(**fields).error_code == code
    assert Member(gateway, "").enter().error_code == Code.INVALID_GROUP_ID


def test_another_generation_and_another_member_are_refused(gateway: Harness) -> None:
    (member,) = stable(gateway)
    assert member.beat(generation_id=7) == Code.ILLEGAL_GENERATION
    assert member.beat(member_id="x") == Code.UNKNOWN_MEMBER_ID
    assert member.commit(generation_id_or_member_epoch=7) == Code.ILLEGAL_GENERATION
    assert member.commit(member_id="x") == Code.UNKNOWN_MEMBER_ID
    assert member.commit(generation_id_or_member_epoch=-1, member_id="") == Code.UNKNOWN_MEMBER_ID
    member.syncing(generation_id=7)
    assert member.synced().error_code == Code.ILLEGAL_GENERATION


def test_a_static_member_comes_back_without_a_rebalance_and_fences_its_other_self(gateway: Harness) -> None:
    (member,) = stable(gateway, instance="i")
    again = Member(gateway, instance="i", version=9)
    answer = again.enter()
    assert (answer.error_code, answer.generation_id, answer.skip_assignment) == (0, member.generation, True)
    assert again.id != member.id and again.beat() == 0
    assert member.beat() == Code.FENCED_INSTANCE_ID
    again.syncing()
    assert again.synced().assignment == b"work 0"
    assert Member(gateway, instance="unknown").beat() == Code.UNKNOWN_MEMBER_ID


def test_a_static_member_keeps_its_place_while_others_rebalance(gateway: Harness) -> None:
    (static,) = stable(gateway, instance="i")
    second = Member(gateway)
    assert second.enter() is None
    for _ in range(4):
        gateway.advance(SESSION_MS // 2 - 1)
    assert second.joined() is None or set(second.members) in ({second.id}, {second.id, static.id})


def test_an_empty_group_waits_for_more_members_when_told_to() -> None:
    gateway = harness(group_initial_rebalance_ms=1000)
    first, second = Member(gateway, version=1), Member(gateway, version=1)
    assert first.enter() is None
    gateway.advance(500)
    assert second.enter() is None
    gateway.advance(600)
    assert first.joined() is None, "somebody came: the wait goes on"
    gateway.advance(1000)
    assert first.joined().generation_id == 1 == second.joined().generation_id


def test_a_connection_that_breaks_while_it_waits_costs_its_member_after_its_session_timeout(gateway: Harness) -> None:
    first, second = stable(gateway, 2)
    second.joining(metadata=b"changed")
    second.script.client.close()
    first.joining()
    assert first.joined() is None
    gateway.advance(SESSION_MS + 1)
    assert first.joined().error_code == 0 and first.members == [first.id]


def test_offsets_and_their_metadata_come_back(gateway: Harness) -> None:
    (member,) = stable(gateway)
    assert member.committed() == (-1, "")
    assert member.commit(5, "märk") == 0
    assert member.committed() == (5, "märk")
    assert member.commit(6, "x" * 4097) == Code.OFFSET_METADATA_TOO_LARGE
    assert member.commit(6, None, topic="nobody") == Code.UNKNOWN_TOPIC_OR_PARTITION
    assert member.commit(7, None) == 0 and member.committed() == (7, "")
    several = member.script.ask(
        "OffsetFetch", 8, groups=[{"group_id": "g", "topics": None}, {"group_id": "h", "topics": None}]
    )
    assert [len(group.topics) for group in several.groups] == [1, 0]


def test_a_standalone_consumer_commits_to_an_empty_group(gateway: Harness) -> None:
    alone = Member(gateway, "alone")
    assert alone.commit(3) == 0 and alone.committed() == (3, "")
    assert alone.commit(3, generation_id_or_member_epoch=1) == Code.UNKNOWN_MEMBER_ID


def test_groups_are_listed_described_and_deleted(gateway: Harness) -> None:
    (member,) = stable(gateway)
    member.commit(1)
    Member(gateway, "alone").commit(3)
    script = Script(gateway)
    listed = script.ask("ListGroups", 5)
    assert {(one.group_id, one.group_state, one.group_type) for one in listed.groups} == {
        ("g", "Stable", "classic"), ("alone", "Empty", "classic"),
    }  # fmt: skip
    assert [one.group_id for one in script.ask("ListGroups", 4, states_filter=["empty"]).groups] == ["alone"]
    described = script.ask("DescribeGroups", 4, groups=["g", "nobody"]).groups
    assert [(one.error_code, one.group_state) for one in described] == [(0, "Stable"), (0, "Dead")]
    assert described[0].members[0].member_assignment == b"work 0"
    assert script.ask("DescribeGroups", 6, groups=["nobody"]).groups[0].error_code == Code.GROUP_ID_NOT_FOUND
    deleted = script.ask("DeleteGroups", 1, groups_names=["g", "alone", "nobody"]).results
    assert [one.error_code for one in deleted] == [Code.NON_EMPTY_GROUP, 0, Code.GROUP_ID_NOT_FOUND]
    assert Member(gateway, "alone").committed() == (-1, "")


def test_offsets_are_deleted_but_those_of_subscribed_topics(gateway: Harness) -> None:
    orders = b"\x00\x01" + b"\x00\x00\x00\x01" + b"\x00\x06orders" + b"\xff\xff\xff\xff"
    assert subscription(orders) == ["orders"] and subscription(orders[:9]) is None
    member = Member(gateway)
    member.enter(metadata=orders)
    member.syncing({member.id: b"x"})
    member.synced()
    member.commit(1)

    def delete() -> Any:
        topics = [{"name": "orders", "partitions": [{"partition_index": 0}]}]
        return Script(gateway).ask("OffsetDelete", 0, group_id="g", topics=topics)

    assert delete().topics[0].partitions[0].error_code == Code.GROUP_SUBSCRIBED_TO_TOPIC
    member.leave()
    assert delete().topics[0].partitions[0].error_code == 0
    assert member.committed() == (-1, "")


def test_a_deleted_topics_offsets_go_with_it(gateway: Harness) -> None:
    Member(gateway).commit(3)
    script = Script(gateway)
    script.ask("DeleteTopics", 5, topic_names=["orders"])
    script.create("orders")
    assert Member(gateway).committed() == (-1, "")


def test_offsets_of_a_group_long_empty_are_forgotten() -> None:
    gateway = harness(groups=lambda: Groups(GroupSettings(offset_retention_ms=100_000, expiry_interval_ms=1000)))
    Script(gateway).create("orders")
    (member,) = stable(gateway)
    member.commit(5)
    for _ in range(40):
        gateway.advance(5_000)
        assert member.beat() == 0
    assert member.committed()[0] == 5, "the group is in use, however old its commit"
    member.leave()
    gateway.advance(99_000)
    assert member.committed()[0] == 5
    gateway.advance(3_000)
    assert member.committed()[0] == -1
    assert Script(gateway).ask("ListGroups", 4).groups == []


def test_offsets_of_topics_that_a_group_left_are_forgotten_though_it_lives() -> None:
    gateway = harness(groups=lambda: Groups(GroupSettings(offset_retention_ms=100_000, expiry_interval_ms=1000)))
    for topic in ("orders", "left"):
        Script(gateway).create(topic)
    member = Member(gateway)
    member.enter(metadata=b"\0\0" + b"\0\0\0\1" + b"\0\6orders" + b"\xff\xff\xff\xff")
    member.syncing({member.id: b"work"})
    assert member.synced().error_code == 0
    assert member.commit(5) == member.commit(6, topic="left") == 0
    for _ in range(19):
        gateway.advance(5_000)
        assert member.beat() == 0
    assert (member.committed()[0], member.committed("left")[0]) == (5, 6)
    assert member.commit(7, topic="left") == 0, "a new commit is young"
    for _ in range(10):
        gateway.advance(5_000)
        assert member.beat() == 0
    assert member.committed("left")[0] == 7
    for _ in range(12):
        gateway.advance(5_000)
        assert member.beat() == 0
    assert (member.committed()[0], member.committed("left")[0]) == (5, -1)


def test_an_offset_may_have_a_retention_of_its_own() -> None:
    gateway = harness(groups=lambda: Groups(GroupSettings(offset_retention_ms=100_000, expiry_interval_ms=1000)))
    script = Script(gateway)
    script.create("orders", 3)
    for index, retention_ms in ((0, -1), (1, 10_000), (2, 300_000)):
        partition = {"partition_index": index, "committed_offset": 1, "committed_metadata": ""}
        topics = [{"name": "orders", "partitions": [partition]}]
        answer = script.ask("OffsetCommit", 4, group_id="g", retention_time_ms=retention_ms, topics=topics)
        assert answer.topics[0].partitions[0].error_code == 0

    def kept() -> list[int]:
        topics = script.ask("OffsetFetch", 5, group_id="g", topics=None).topics
        return [one.partition_index for topic in topics for one in topic.partitions]

    gateway.advance(9_000)
    assert kept() == [0, 1, 2]
    gateway.advance(3_000)
    assert kept() == [0, 2]
    gateway.advance(95_000)
    assert kept() == [2]
    groups = gateway.sequencer._worlds["groups"].executor
    other = Groups()
    other.load(groups.dump())
    assert other.dump() == groups.dump()
    gateway.advance(200_000)
    assert kept() == []


def test_many_groups_are_forgotten_a_few_at_a_time() -> None:
    gateway = harness(groups=lambda: Groups(GroupSettings(offset_retention_ms=1000, expiry_interval_ms=1000)))
    script = Script(gateway)
    script.create("orders")
    partition = {"partition_index": 0, "committed_offset": 1, "committed_metadata": ""}
    for number in range(1200):
        script.ask("OffsetCommit", 2, group_id=f"g{number}", topics=[{"name": "orders", "partitions": [partition]}])
    assert len(script.ask("ListGroups", 4).groups) >= 1000
    gateway.advance(5_000)
    assert script.ask("ListGroups", 4).groups == []


def restarted(before: Harness, engine: MemoryEngine) -> Harness:
    before.stop()
    return Harness(2, executors=[Groups], factories=before.factories, engine=engine, now_ns=before.now_ns)


def kept() -> tuple[Harness, MemoryEngine]:
    """A gateway that can be restarted."""
    engine = MemoryEngine()
    made = Harness(1, executors=[Groups], factories=harness().factories, engine=engine)
    Script(made).create("orders")
    return made, engine


def come_back(after: Harness, member: Member) -> Member:
    """The same member on a new connection."""
    again = Member(after, member.group, member.instance, member.version)
    again.id, again.generation = member.id, member.generation
    return again


def test_a_stable_group_goes_on_after_a_restart_as_it_was() -> None:
    before, engine = kept()
    members = stable(before, 2)
    assert members[0].commit(5, "five") == 0
    described = Script(before).ask("DescribeGroups", 4, groups=["g"]).groups[0]
    after = restarted(before, engine)
    assert Script(after).ask("DescribeGroups", 4, groups=["g"]).groups[0] == described
    first, second = (come_back(after, one) for one in members)
    assert first.committed() == (5, "five")
    assert first.beat() == second.beat() == first.commit(6) == 0
    second.syncing()
    assert second.synced().assignment == b"work 1"
    after.advance(SESSION_MS - 1000)
    assert first.beat() == 0
    after.advance(2000)
    assert first.beat() == Code.REBALANCE_IN_PROGRESS, "the other was not heard of"
    assert first.enter().generation_id == members[0].generation + 1


def test_a_static_member_that_comes_again_after_a_restart_disturbs_nobody() -> None:
    before, engine = kept()
    members = stable(before, 2)
    static = Member(before, "s", "i1")
    static.enter()
    static.syncing({static.id: b"work"})
    assert static.synced().error_code == 0
    replaced = Member(before, "s", "i1")
    assert replaced.enter().error_code == 0
    after = restarted(before, engine)
    assert come_back(after, static).beat() == Code.FENCED_INSTANCE_ID
    again = come_back(after, replaced)
    assert again.beat() == 0
    anew = Member(after, "s", "i1")
    assert anew.enter().generation_id == replaced.generation, "no rebalance"
    assert come_back(after, members[0]).beat() == 0


def test_a_group_that_was_about_to_be_is_empty_after_a_restart() -> None:
    before, engine = kept()
    (member,) = stable(before)
    assert member.commit(5, "five") == 0
    member.joining(metadata=b"other")
    assert member.joined().error_code == 0, "the next generation, not synced"
    after = restarted(before, engine)
    again = come_back(after, member)
    assert again.committed() == (5, "five")
    assert again.beat() == Code.UNKNOWN_MEMBER_ID and again.commit(6) == Code.UNKNOWN_MEMBER_ID
    again.id = ""
    assert again.enter().generation_id > member.generation


def test_a_group_with_too_much_to_keep_is_empty_after_a_restart() -> None:
    before, engine = kept()
    member = Member(before)
    member.enter(metadata=bytes(1 << 20))
    member.syncing({member.id: b"work"})
    assert member.synced().error_code == 0
    assert come_back(restarted(before, engine), member).beat() == Code.UNKNOWN_MEMBER_ID


def test_who_left_before_a_restart_is_not_back_after_it() -> None:
    before, engine = kept()
    first, second = stable(before, 2)
    assert second.leave() == 0
    first.joining()
    assert first.joined().error_code == 0
    first.syncing({first.id: b"all"})
    assert first.synced().error_code == 0
    after = restarted(before, engine)
    assert come_back(after, second).beat() == Code.UNKNOWN_MEMBER_ID
    assert come_back(after, first).beat() == 0
    assert len(Script(after).ask("DescribeGroups", 4, groups=["g"]).groups[0].members) == 1


def test_a_checkpoint_of_the_groups_is_their_state() -> None:
    gateway = harness()
    Script(gateway).create("orders")
    (member,) = stable(gateway)
    member.commit(5, "five")
    Member(gateway, "alone").commit(3)
    groups = gateway.sequencer._worlds["groups"].executor
    other = Groups()
    other.load(groups.dump())
    assert other.dump() == groups.dump()


def test_a_group_that_is_full_takes_nobody() -> None:
    gateway = harness(groups=lambda: Groups(GroupSettings(members_max=1)))
    stable(gateway)
    assert Member(gateway).enter().error_code == Code.GROUP_MAX_SIZE_REACHED


def test_what_members_give_to_keep_is_bounded_and_given_back() -> None:
    gateway = harness(groups=lambda: Groups(GroupSettings(held_bytes_max=10_000)))
    first, second = Member(gateway, "a"), Member(gateway, "b")
    assert first.enter(metadata=bytes(6_000)).error_code == 0
    assert second.enter(metadata=bytes(6_000)).error_code == Code.COORDINATOR_NOT_AVAILABLE
    first.syncing({first.id: bytes(5_000)})
    assert first.synced().error_code == Code.COORDINATOR_NOT_AVAILABLE
    first.syncing({first.id: bytes(3_000)})
    assert first.synced().error_code == 0
    first.leave()
    groups = gateway.sequencer._worlds["groups"].executor
    assert isinstance(groups, Groups) and groups._held_bytes == 0
    assert second.enter(metadata=bytes(6_000)).error_code == 0


def test_a_connection_has_so_much_waiting_and_no_more(gateway: Harness) -> None:
    first = Member(gateway)
    for number in range(8):
        first.joining(metadata=bytes(1 << 20), group_instance_id=f"i{number}", member_id="")
    assert first.script.client.session.blocked and first.script.client.session.in_flight < 8
