"""What of the groups survives: committed offsets, each group's last generation and, while it is stable, its members. A fold of
``_thalweg/groups``.

A record's key is ``account/group``, its value one JSON object with a ``kind``:

* ``commit``: ``offsets`` = [topic, partition, offset, leader epoch, metadata], ..., ``at_ms``, ``retention_ms`` where they have one
* ``forget``: ``partitions`` = [topic, partition], ... are gone (deleted, expired)
* ``generation``: ``generation``, ``protocol_type``, ``occupied``, ``at_ms``: a new one, whose members have no work yet
* ``stable``: ``protocol_name``, ``leader``, ``members`` = [id, instance id, client id, client host, session ms, rebalance ms,
  [[protocol, metadata], ...], assignment], ...: the generation's members and what they do; bytes are in base64
* ``delete``: the group is gone
"""

from __future__ import annotations

import json
from typing import Any

from protocols.kafka.group_requests import Committed, Partition

Key = tuple[str, str]
"""Account and group id."""


class Entry:
    """One group. ``empty_since_ms``: when its last member left; meaningless while ``occupied``.

    ``members`` as in a ``stable`` record; none while the generation is being made.
    """

    __slots__ = (
        "empty_since_ms", "generation", "leader", "members", "occupied", "offsets", "protocol_name", "protocol_type",
    )  # fmt: skip

    def __init__(self) -> None:
        self.generation = 0
        self.protocol_type = ""
        self.occupied = False
        self.empty_since_ms = 0
        self.protocol_name = ""
        self.leader = ""
        self.members: list[list[Any]] = []
        self.offsets: dict[Partition, Committed] = {}


class Ledger:
    """State changes only by ``apply``."""

    def __init__(self) -> None:
        self.entries: dict[Key, Entry] = {}

    def apply(self, event: dict[str, Any]) -> None:
        key = event["account"], event["group"]
        kind = event["kind"]
        if kind == "delete":
            self.entries.pop(key, None)
            return
        entry = self.entries.get(key)
        if entry is None:
            entry = self.entries[key] = Entry()
        if kind == "commit":
            for topic, partition, offset, epoch, metadata in event["offsets"]:
                retention_ms = event.get("retention_ms", -1)
                entry.offsets[topic, partition] = Committed(offset, epoch, metadata, event["at_ms"], retention_ms)
        elif kind == "forget":
            for topic, partition in event["partitions"]:
                entry.offsets.pop((topic, partition), None)
        elif kind == "generation":
            entry.generation = event["generation"]
            entry.protocol_type = event["protocol_type"]
            entry.occupied = event["occupied"]
            entry.empty_since_ms = event["at_ms"]
            entry.protocol_name, entry.leader, entry.members = "", "", []
        elif kind == "stable":
            entry.protocol_name, entry.leader, entry.members = event["protocol_name"], event["leader"], event["members"]
        else:
            raise ValueError(f"unknown kind of group record: {kind!r}")

    def expired(
        self, key: Key, now_ms: int, retention_ms: int, subscribed: frozenset[str] | None = None
    ) -> list[Partition]:
        """Offsets that nobody wants any more: of a group empty for that long; of one that is not, those of topics that its
        members, who are at one, do not subscribe to (``subscribed``; None: it cannot be told), from their commit on
        (ClassicGroup.offsetExpirationCondition)."""
        entry = self.entries[key]
        if entry.occupied:
            if subscribed is None:
                return []
            return [
                partition
                for partition, committed in entry.offsets.items()
                if partition[0] not in subscribed and _end_ms(committed, 0, retention_ms) <= now_ms
            ]
        since_ms = entry.empty_since_ms if entry.protocol_type else 0
        return [
            partition
            for partition, committed in entry.offsets.items()
            if _end_ms(committed, since_ms, retention_ms) <= now_ms
        ]

    def dump(self) -> bytes:
        """Equal states give equal bytes."""
        groups = [
            {
                "account": account,
                "group": group,
                "generation": entry.generation,
                "protocol_type": entry.protocol_type,
                "occupied": entry.occupied,
                "empty_since_ms": entry.empty_since_ms,
                "protocol_name": entry.protocol_name,
                "leader": entry.leader,
                "members": entry.members,
                "offsets": [
                    [topic, partition, one.offset, one.leader_epoch, one.metadata, one.at_ms, one.retention_ms]
                    for (topic, partition), one in sorted(entry.offsets.items())
                ],
            }
            for (account, group), entry in sorted(self.entries.items())
        ]
        return json.dumps(groups, separators=(",", ":"), sort_keys=True).encode()

    def load(self, data: bytes) -> None:
        self.entries = {}
        for group in json.loads(data):
            entry = self.entries[group["account"], group["group"]] = Entry()
            entry.generation = group["generation"]
            entry.protocol_type = group["protocol_type"]
            entry.occupied = group["occupied"]
            entry.empty_since_ms = group["empty_since_ms"]
            entry.protocol_name, entry.leader, entry.members = group["protocol_name"], group["leader"], group["members"]
            for topic, partition, offset, epoch, metadata, at_ms, retention_ms in group["offsets"]:
                entry.offsets[topic, partition] = Committed(offset, epoch, metadata, at_ms, retention_ms)


def _end_ms(committed: Committed, since_ms: int, retention_ms: int) -> int:
    """When it is forgotten: its own retention runs from the commit, everybody's also from ``since_ms``."""
    if committed.retention_ms >= 0:
        return committed.at_ms + committed.retention_ms
    return max(since_ms, committed.at_ms) + retention_ms


def encode(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


def decode(value: bytes) -> dict[str, Any]:
    """Raises: ValueError: it is no event of ours."""
    event = json.loads(value)
    if not isinstance(event, dict):
        raise ValueError("a group record is a JSON object")
    return event
