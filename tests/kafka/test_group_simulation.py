"""Members that come, go, crash, change and are late, by seed: the group always comes to rest with all who are left."""

from __future__ import annotations

import random
from typing import Any

import pytest

from conformance.harness import Harness
from protocols.kafka.errors import Code
from tests.kafka.scripts import Script, harness

SESSION_MS = 6_000
REBALANCE_MS = 8_000
STEP_MS = 700


class Robot:
    """A member that does what a stock client does: join, sync, beat, and join again when told to."""

    def __init__(self, gateway: Harness, chance: random.Random, number: int) -> None:
        self.gateway = gateway
        self.chance = chance
        self.instance = f"i{number}" if number % 3 == 0 else None
        self.metadata = b"m"
        self.id = ""
        self.generation = -1
        self.connect()

    def connect(self) -> None:
        self.script = Script(self.gateway)
        self.waits = ""
        self.stable = False
        self.work: bytes | None = None

    def step(self) -> None:
        if self.waits:
            answer = self.script.take()
            if answer is not None:
                waits, self.waits = self.waits, ""
                (self._joined if waits == "join" else self._synced)(answer)
        elif self.stable:
            code = self.script.ask(
                "Heartbeat", 3, group_id="g", generation_id=self.generation, member_id=self.id, group_instance_id=self.instance
            ).error_code  # fmt: skip
            self._check(code)
        else:
            self._join()

    def _check(self, code: int) -> None:
        assert code in (
            Code.NONE, Code.REBALANCE_IN_PROGRESS, Code.UNKNOWN_MEMBER_ID, Code.ILLEGAL_GENERATION, Code.FENCED_INSTANCE_ID,
        )  # fmt: skip
        if code in (Code.UNKNOWN_MEMBER_ID, Code.FENCED_INSTANCE_ID):
            self.id = ""
        if code != Code.NONE:
            self.stable = False

    def _join(self) -> None:
        self.waits = "join"
        self.script.send(
            "JoinGroup", 7, group_id="g", protocol_type="consumer", session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=REBALANCE_MS, member_id=self.id, group_instance_id=self.instance,
            protocols=[{"name": "range", "metadata": self.metadata}],
        )  # fmt: skip

    def _joined(self, answer: Any) -> None:
        if answer.error_code == Code.MEMBER_ID_REQUIRED:
            self.id = answer.member_id
        if answer.error_code != Code.NONE:
            if answer.error_code != Code.MEMBER_ID_REQUIRED:
                self._check(answer.error_code)
            return
        self.id, self.generation = answer.member_id, answer.generation_id
        assignments = [
            {"member_id": one.member_id, "assignment": b"%d %s" % (self.generation, one.member_id.encode())}
            for one in answer.members
        ]
        assert bool(assignments) == (answer.leader == self.id)
        if self.chance.random() < 0.1:
            return  # forgets to sync
        self.waits = "sync"
        self.script.send(
            "SyncGroup", 3, group_id="g", generation_id=self.generation, member_id=self.id, group_instance_id=self.instance,
            assignments=assignments,
        )  # fmt: skip

    def _synced(self, answer: Any) -> None:
        self.stable = answer.error_code == Code.NONE
        self.work = answer.assignment
        if not self.stable:
            self._check(answer.error_code)

    def leave(self) -> None:
        if not self.waits:
            self.script.ask("LeaveGroup", 3, group_id="g", members=[{"member_id": self.id, "group_instance_id": None}])


@pytest.mark.parametrize("delayed", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_a_group_comes_to_rest_with_all_who_are_left(seed: int, delayed: bool) -> None:
    chance = random.Random(seed)
    gateway = harness(delayed=delayed, seed=seed, group_initial_rebalance_ms=chance.choice((0, 1000)))
    robots: list[Robot] = []
    for turn in range(150):
        move = chance.random()
        if len(robots) < 2 or (move < 0.08 and len(robots) < 6):
            robots.append(Robot(gateway, chance, turn))
        elif move < 0.11:
            robots.pop(chance.randrange(len(robots))).script.client.close()  # crashes
        elif move < 0.14:
            robots.pop(chance.randrange(len(robots))).leave()
        elif move < 0.17:
            one = chance.choice(robots)  # loses its connection
            one.script.client.close()
            one.connect()
        elif move < 0.20:
            one = chance.choice(robots)
            if one.stable:
                one.metadata, one.stable = b"m%d" % turn, False  # subscribes to something else
        for one in chance.sample(robots, len(robots)):
            if chance.random() < 0.9:
                one.step()
        gateway.advance(STEP_MS)
    chance.random = lambda: 0.5  # type: ignore[method-assign]  # everybody behaves from here on
    for _ in range(60):
        for one in robots:
            one.step()
        gateway.advance(STEP_MS)
    assert all(one.stable for one in robots)
    assert len({one.generation for one in robots}) == 1
    described = Script(gateway).ask("DescribeGroups", 4, groups=["g"]).groups[0]
    members = {one.member_id: one.member_assignment for one in described.members}
    assert described.group_state == "Stable"
    assert {one.id: one.work for one in robots}.items() <= members.items()
    assert len(members) == len(robots)
