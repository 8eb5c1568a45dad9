"""Random scripts of requests, sent to ours and to Apache Kafka: both give the same answers.

What differs by nature is left out of the comparison: names of hosts and nodes, ids, epochs, texts, clocks. Where Apache Kafka
answers before all of it knows (a topic just made), what only reads is asked again until it agrees.
"""

from __future__ import annotations

import os
import random
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from crc32c import crc32c

from conformance import apache_kafka
from conformance.process import GatewayProcess
from tests.kafka.scripts import batch
from tests.kafka.sockets import CLOSED, Wire, plain

SEEDS = int(os.environ.get("BESIDE_SEEDS", "8"))
"""More by hand: ``BESIDE_SEEDS=500 pytest tests/kafka/test_beside.py``."""
STEPS = 40
SETTINGS = {"auto.create.topics.enable": "false", "offsets.topic.num.partitions": "1"}
AGREES_S = 10.0
IGNORED = {
    "error_message", "throttle_time_ms", "topic_id", "leader_epoch", "leader_id", "log_start_offset", "node_id", "host", "port",
    "rack", "cluster_id", "controller_id", "brokers", "replica_nodes", "isr_nodes", "batch_index_error_message", "replicas",
    "current_leader", "diverging_epoch", "snapshot_id", "node_endpoints", "configs", "client_host", "member_id", "leader",
    "log_append_time_ms", "committed_leader_epoch",
}  # fmt: skip
CONFIGS = [
    ("cleanup.policy", ["delete", "compact", "compact,delete", "none", ""]), ("retention.ms", ["-1", "1000000", "-2", "x", ""]),
    ("retention.bytes", ["-1", "5000000"]), ("segment.bytes", ["2000000", "10", "1048576"]),
    ("max.message.bytes", ["1000", "100000", "-1"]), ("message.timestamp.type", ["CreateTime", "LogAppendTime", "createtime"]),
    ("min.insync.replicas", ["1", "2", "0"]), ("compression.type", ["producer", "gzip", "uncompressed", "none"]),
    ("delete.retention.ms", ["0", "1000", "-1"]), ("min.compaction.lag.ms", ["0", "5"]), ("segment.ms", ["100000", "0"]),
    ("min.cleanable.dirty.ratio", ["0.1", "2", "0.5"]), ("no.such", ["1"]), ("message.timestamp.before.max.ms", ["5000", "x"]),
    ("message.timestamp.after.max.ms", ["100000", "-5"]),
]  # fmt: skip
NAMES = ["a", "b", "c.d", "bad name", "..", "x" * 250]


def patched(data: bytes, at: int, form: str, value: int, seal: bool = True) -> bytes:
    made = bytearray(data)
    struct.pack_into(form, made, at, value)
    if seal:
        struct.pack_into(">I", made, 17, crc32c(bytes(made[21:])))
    return bytes(made)


def spoilt(good: bytes, chance: random.Random) -> bytes:
    return chance.choice([
        b"", good + good, good[:-1], good[:40], patched(good, 0, ">q", 5), patched(good, 16, ">b", 1),
        patched(good, 17, ">I", 1, seal=False), patched(good, 23, ">i", 7), patched(good, 57, ">i", 0),
        patched(good, 43, ">q", 9), patched(good, 12, ">i", 99), patched(good, 21, ">h", 0x20),
    ])  # fmt: skip


def whole_batches(records: bytes) -> list[bytes]:
    """Without epochs, producer ids, checksums, append times and the half batch that Kafka may send at the end."""
    found, at = [], 0
    while at + 12 <= len(records):
        end = at + 12 + int.from_bytes(records[at + 8 : at + 12], "big")
        if end > len(records):
            break
        times = bytes(8) if records[at + 22] & 8 else records[at + 35 : at + 43]
        found.append(records[at : at + 12] + records[at + 21 : at + 35] + times + records[at + 51 : end])
        at = end
    return found


def comparable(message: Any, name: str = "") -> Any:
    if isinstance(message, dict):
        kept = {key: comparable(value, key) for key, value in message.items() if key not in IGNORED}
        if "batch_index" in kept or "error_code" not in kept or "partition_index" not in kept:
            return kept
        if kept["error_code"] and "high_watermark" in kept:  # Kafka tells the marks of some errors, not of others
            return {key: kept[key] for key in ("error_code", "partition_index")}
        return kept
    if isinstance(message, list):
        made = [comparable(one) for one in message]
        return sorted(made, key=repr) if name in ("topics", "partitions", "groups", "results", "responses") else made
    if name == "records":
        return whole_batches(message or b"")
    if name == "timestamp":
        return message >= 0  # two clocks' where the time is the append's
    return message


class Pair:
    """Ours and theirs, asked the same."""

    def __init__(self, ours: str, theirs: str, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.ours, self.theirs = Wire(ours), Wire(theirs)
        self.said: list[str] = []

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()

    def ask(self, api: str, version: int, reads: bool = False, **fields: Any) -> Any:
        """Our answer; the two agree. ``reads``: one may need a moment to know what the other does."""
        return self.ask_each(api, version, lambda ours: fields, reads)

    def ask_each(self, api: str, version: int, fields: Callable[[bool], dict[str, Any]], reads: bool = False) -> Any:
        """Fields that depend on whose they are: ``fields(ours)``."""
        deadline = time.monotonic() + AGREES_S
        while True:
            answer = self.ours.ask(api, version, **fields(True))
            found = comparable(plain(answer))
            theirs = self.theirs.ask(api, version, **fields(False))
            compared = comparable(plain(theirs))
            if compared == found or not reads or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        self.said.append(f"{api} {version} {fields(True)}"[:600])
        told = "\n".join([f"seed {self.seed}, after", *self.said[-8:], f"ours   {found}", f"theirs {compared}"])
        assert found == compared, told
        return answer, theirs


class Script:
    """One random script; topics and groups are its own."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.chance = pair.chance
        self.prefix = f"s{pair.seed}-{os.getpid()}-"
        self.topics: dict[str, int] = {}
        self.trimmed: set[str] = set()
        self.producers: list[tuple[int, int]] = []
        self.sequences: dict[tuple[int, str], int] = {}

    def run(self) -> None:
        self.create(1.0)
        steps = [
            (self.create, 2), (self.produce, 10), (self.fetch, 8), (self.list_offsets, 5), (self.metadata, 2),
            (self.delete_records, 2), (self.grow, 1), (self.delete, 1), (self.offsets, 4), (self.configure, 3),
            (self.describe_configs, 2), (self.producer, 1), (self.produce_in_sequence, 6), (self.end_of_epoch, 2),
            (self.groups, 3), (self.member, 2), (self.members, 1),
        ]  # fmt: skip
        for _ in range(STEPS):
            self.chance.choices([step for step, _ in steps], [weight for _, weight in steps])[0]()

    # pieces

    def name(self) -> str:
        known = list(self.topics)
        if known and self.chance.random() < 0.9:
            return self.chance.choice(known)
        return self.prefix + self.chance.choice(NAMES)

    def place(self) -> tuple[str, int]:
        name = self.name()
        return name, self.chance.randrange(self.topics.get(name, 1)) if self.chance.random() < 0.95 else 9

    def group(self) -> str:
        return self.prefix + self.chance.choice("gh")

    def settle(self) -> None:
        names = [{"name": self.prefix + name} for name in NAMES[:3]]
        self.pair.ask("Metadata", 9, True, topics=names, allow_auto_topic_creation=False)
        for name, count in self.topics.items():
            partitions = [{"partition_index": index, "timestamp": -1} for index in range(count)]
            self.pair.ask("ListOffsets", 5, True, topics=[{"name": name, "partitions": partitions}])

    def entries(self, most: int = 2) -> list[dict[str, Any]]:
        chosen = self.chance.sample(CONFIGS, self.chance.randrange(most + 1))
        return [{"name": name, "value": self.chance.choice(values)} for name, values in chosen]

    def batch(self) -> bytes:
        now_ms = int(time.time() * 1000)
        count = self.chance.choice([1, 1, 2, 5])
        values = [self.chance.choice([b"", b"v" * 10, b"w" * 300, None]) for _ in range(count)]
        shift = self.chance.choice([0, 0, 0, 0, -10_000, 200_000, 4_000_000])
        return batch(*values, timestamp=now_ms + shift)

    # steps

    def create(self, sure: float = 0.5) -> None:
        chance = self.chance
        name = self.prefix + (NAMES[0] if sure == 1.0 else chance.choice(NAMES))
        topic: dict[str, Any] = {"name": name, "num_partitions": 2, "replication_factor": 1, "configs": []}
        assigned: list[int] = []
        if chance.random() > sure:
            topic["num_partitions"] = chance.choice([-1, 0, 1, 3, -2])
            topic["replication_factor"] = chance.choice([-1, 1, 2, 0])
            topic["configs"] = self.entries()
            if chance.random() < 0.2:
                assigned = chance.choice([[0], [0, 1], [1], [0, 0]])
                topic |= {"num_partitions": -1, "replication_factor": -1}
        validate = sure < 1 and chance.random() < 0.3
        version = chance.choice([2, 4, 5, 7])
        times = 1 if chance.random() < 0.9 else 2

        def fields(ours: bool) -> dict[str, Any]:
            node = 0 if ours else 1
            own = (
                {"assignments": [{"partition_index": one, "broker_ids": [node]} for one in assigned]}
                if assigned
                else {}
            )
            return {"topics": [topic | own] * times, "validate_only": validate, "timeout_ms": 5000}

        answer, _ = self.pair.ask_each("CreateTopics", version, fields)
        made = answer.topics[0]
        if made.error_code == 0 and not validate:
            asked = len(assigned) or topic["num_partitions"]
            self.topics[name] = asked if asked > 0 else 1
        self.settle()

    def produce(self) -> None:
        name, index = self.place()
        version, acks = self.chance.choice([3, 5, 7, 8, 9, 11]), self.chance.choice([-1, -1, 1, 2])
        good = self.batch()
        data = good if self.chance.random() < 0.8 else spoilt(good, self.chance)
        self._produce(version, acks, name, index, lambda ours: data)

    def _produce(self, version: int, acks: int, name: str, index: int, data: Callable[[bool], bytes]) -> None:
        def fields(ours: bool) -> dict[str, Any]:
            partitions = [{"index": index, "records": data(ours)}]
            return {"acks": acks, "timeout_ms": 5000, "topic_data": [{"name": name, "partition_data": partitions}]}

        self.pair.ask_each("Produce", version, fields)
        self.pair.ask("ListOffsets", 5, True, topics=[{"name": name, "partitions": [{"partition_index": index, "timestamp": -1}]}])  # fmt: skip

    def fetch(self) -> None:
        chance = self.chance
        parts = []
        for _ in range(chance.choice([1, 1, 2])):
            name, index = self.place()
            offset, most = chance.choice([0, 0, 1, 2, 5, 50]), chance.choice([1 << 20, 1 << 20, 400, 0])
            parts.append({"topic": name, "partitions": [{"partition": index, "fetch_offset": offset, "partition_max_bytes": most}]})  # fmt: skip
        parts = list({part["topic"]: part for part in parts}.values())
        self.pair.ask(
            "Fetch", chance.choice([4, 7, 11, 12]), True, max_wait_ms=0, min_bytes=chance.choice([0, 1]),
            max_bytes=1 << 20, isolation_level=chance.choice([0, 1]), topics=parts,
        )  # fmt: skip

    def list_offsets(self) -> None:
        name, index = self.place()
        time_ms = self.chance.choice([-1, -2, -3, -4, -5, -6, -7, 0, 1000, int(time.time() * 1000) + 10**9])
        version = self.chance.choice([1, 2, 4, 6, 7, 8, 9, 10, 11])
        partitions = [{"partition_index": index, "timestamp": time_ms}]
        if time_ms == -3 and name in self.trimmed:
            return  # Kafka finds records that are deleted
        self.pair.ask("ListOffsets", version, True, topics=[{"name": name, "partitions": partitions}])

    def metadata(self) -> None:
        names = [{"name": self.name()} for _ in range(self.chance.choice([1, 2]))]
        version = self.chance.choice([4, 5, 8, 9, 12])
        wants = {"include_topic_authorized_operations": True} if version >= 8 else {}
        self.pair.ask("Metadata", version, True, topics=names, allow_auto_topic_creation=False, **wants)

    def delete_records(self) -> None:
        name, index = self.place()
        self.trimmed.add(name)
        offset = self.chance.choice([-1, 0, 1, 3, 100, -2])
        partitions = [{"partition_index": index, "offset": offset}]
        self.pair.ask("DeleteRecords", self.chance.choice([0, 1, 2]), topics=[{"name": name, "partitions": partitions}], timeout_ms=5000)  # fmt: skip

    def grow(self) -> None:
        name = self.name()
        count = self.topics.get(name, 1) + self.chance.choice([-1, 0, 1, 2])
        validate = self.chance.random() < 0.3
        topics = [{"name": name, "count": count, "assignments": None}]
        answer, _ = self.pair.ask(
            "CreatePartitions", self.chance.choice([0, 1, 3]), topics=topics, validate_only=validate, timeout_ms=5000
        )
        if answer.results[0].error_code == 0 and not validate:
            self.topics[name] = count
        self.settle()

    def delete(self) -> None:
        name = self.name()
        answer, _ = self.pair.ask("DeleteTopics", self.chance.choice([1, 4, 5]), topic_names=[name], timeout_ms=5000)
        if answer.responses[0].error_code == 0:
            del self.topics[name]
        self.settle()

    def offsets(self) -> None:
        chance, group = self.chance, self.group()
        name, index = self.place()
        if chance.random() < 0.5:
            metadata = chance.choice(["", "m", None, "x" * 4096, "x" * 4097, "é" * 2049])
            partitions = [
                {"partition_index": index, "committed_offset": chance.randrange(100), "committed_metadata": one}
                for index, one in ((index, metadata), (1 - index, ""))  # of too long ones alone Kafka makes a group
            ]
            self.pair.ask(
                "OffsetCommit", chance.choice([2, 3, 5, 7, 9]), group_id=group, member_id=chance.choice(["", "", "nobody"]),
                generation_id_or_member_epoch=chance.choice([-1, -1, 3]), topics=[{"name": name, "partitions": partitions}],
            )  # fmt: skip
            return
        version = chance.choice([1, 2, 5, 7])
        wanted = [{"name": name, "partition_indexes": [index]}] if version == 1 or chance.random() < 0.5 else None
        self.pair.ask("OffsetFetch", version, True, group_id=group, topics=wanted)
        groups = [{"group_id": one, "topics": wanted} for one in (group, self.prefix + "nobody")]
        self.pair.ask("OffsetFetch", chance.choice([8, 9]), True, groups=groups)

    def configure(self) -> None:
        name, validate = self.name(), self.chance.random() < 0.3
        entries = self.entries(3)
        resource = {"resource_type": 2, "resource_name": name}
        if self.chance.random() < 0.3:
            resources = [resource | {"configs": entries}]
            self.pair.ask("AlterConfigs", self.chance.choice([0, 1, 2]), resources=resources, validate_only=validate)
        else:
            operated = [entry | {"config_operation": self.chance.choice([0, 0, 0, 1, 2, 3])} for entry in entries]
            resources = [resource | {"configs": operated}]
            self.pair.ask(
                "IncrementalAlterConfigs", self.chance.choice([0, 1]), resources=resources, validate_only=validate
            )
        self.described(name)

    def describe_configs(self) -> None:
        self.described(self.name())

    def described(self, name: str) -> None:
        """Values and sources of what both know; ours may say more."""
        keys = [key for key, _ in CONFIGS if key not in ("no.such", "segment.bytes", "min.insync.replicas")]
        fields = {"resources": [{"resource_type": 2, "resource_name": name, "configuration_keys": keys}]}

        def told(wire: Wire) -> Any:
            answer = wire.ask("DescribeConfigs", 3, **fields).results[0]
            return answer.error_code, sorted(
                (one.name, one.value, one.config_source, one.config_type) for one in answer.configs
            )

        ours, deadline = told(self.pair.ours), time.monotonic() + AGREES_S
        while (theirs := told(self.pair.theirs)) != ours and time.monotonic() < deadline:
            time.sleep(0.02)
        assert ours == theirs, "\n".join(
            [f"seed {self.pair.seed}", *self.pair.said[-4:], f"ours {ours}", f"theirs {theirs}"]
        )

    def producer(self) -> None:
        version = self.chance.choice([0, 2, 4])
        ours, theirs = (self._new_producer(wire, version) for wire in (self.pair.ours, self.pair.theirs))
        self.producers.append((ours, theirs))

    def _new_producer(self, wire: Wire, version: int) -> int:
        """Ids are each broker's own; Kafka fetches its first ones a moment after it was asked."""
        deadline = time.monotonic() + AGREES_S
        while True:
            answer = wire.ask("InitProducerId", version, transactional_id=None, transaction_timeout_ms=1000)
            if answer.error_code != 14 or time.monotonic() > deadline:
                assert (answer.error_code, answer.producer_epoch) == (0, 0)
                return int(answer.producer_id)

    def produce_in_sequence(self) -> None:
        if not self.producers or not self.topics:
            return
        chance = self.chance
        name = chance.choice(list(self.topics))
        which = chance.randrange(len(self.producers))
        ours, theirs = self.producers[which]
        key = which, name
        held = self.sequences.get(key, 0)
        sequence = max(0, held + chance.choice([0, 0, 0, 0, -1, -2, 1])) if held else 0
        epoch = chance.choice([0, 0, 0, 0, 0, 1])
        now_ms = int(time.time() * 1000)
        data = [batch(b"a", timestamp=now_ms, producer=(one, epoch, sequence)) for one in (ours, theirs)]
        if epoch:
            self.producers.pop(which)
            self.sequences = {}
            self.producers.clear()
        elif sequence == held:
            self.sequences[key] = held + 1
        self._produce(9, -1, name, 0, lambda mine: data[0 if mine else 1])

    def end_of_epoch(self) -> None:
        name, index = self.place()

        def fields(ours: bool) -> dict[str, Any]:
            wire = self.pair.ours if ours else self.pair.theirs
            found = (
                wire.ask("Metadata", 9, topics=[{"name": name}], allow_auto_topic_creation=False).topics[0].partitions
            )
            epoch = found[0].leader_epoch if found else 0
            shift = self.shift
            return {"topics": [{"topic": name, "partitions": [{"partition": index, "leader_epoch": epoch + shift}]}]}

        self.shift = self.chance.choice([0, 0, 5])
        self.pair.ask_each("OffsetForLeaderEpoch", self.chance.choice([2, 3, 4]), fields, True)

    def groups(self) -> None:
        chance, group = self.chance, self.group()
        kind = chance.randrange(4)
        if kind == 0:
            self.pair.ask("DescribeGroups", chance.choice([0, 3, 5, 6]), True, groups=[group, self.prefix + "nobody"])
        elif kind == 1:
            self.pair.ask("DeleteGroups", chance.choice([0, 1, 2]), groups_names=[group, self.prefix + "nobody"])
        elif kind == 2:
            name, index = self.place()
            gone = [{"name": name, "partitions": [{"partition_index": index}]}]
            self.pair.ask("OffsetDelete", 0, group_id=group, topics=gone)
        else:
            version = chance.choice([0, 4, 5])
            filters = {"states_filter": [chance.choice(["Empty", "stable", "Dead"])]} if version else {}
            listed = [
                sorted((one.group_id, one.protocol_type, getattr(one, "group_state", "")) for one in wire.ask("ListGroups", version, **filters).groups if one.group_id.startswith(self.prefix))
                for wire in (self.pair.ours, self.pair.theirs)
            ]  # fmt: skip
            assert listed[0] == listed[1], f"seed {self.pair.seed}"

    def member(self) -> None:
        """One member's life, with what it may do wrong."""
        chance, group = self.chance, self.group()
        version = chance.choice([1, 4, 5, 7, 9])
        instance = f"i{chance.randrange(2)}" if version >= 5 and chance.random() < 0.3 else None
        ids = {True: "", False: ""}

        def joining(ours: bool) -> dict[str, Any]:
            fields: dict[str, Any] = {
                "group_id": group, "session_timeout_ms": timeout, "rebalance_timeout_ms": 10_000, "member_id": ids[ours],
                "protocol_type": kind, "protocols": [{"name": name, "metadata": b"\0\0\0\0\0\0"} for name in protocols],
            }  # fmt: skip
            return fields | ({"group_instance_id": instance} if version >= 5 else {})

        timeout = chance.choice([10_000, 10_000, 10_000, 5, 2_000_000])
        kind, protocols = (
            chance.choice(["consumer", "consumer", ""]),
            chance.choice([["range"], ["range", "other"], []]),
        )
        for _ in range(2):
            ours, theirs = self.pair.ask_each("JoinGroup", version, joining)
            ids = {True: ours.member_id, False: theirs.member_id}
            if ours.error_code != 79:
                break
        if ours.error_code:
            return
        generation = ours.generation_id

        def of_member(ours: bool, **more: Any) -> dict[str, Any]:
            fields = {
                "group_id": group,
                "generation_id": generation + shift,
                "member_id": ids[ours] if known else "nobody",
            }
            return fields | more

        shift, known = 0, True
        self.pair.ask_each("Heartbeat", 3, lambda ours: of_member(ours))
        assigned = lambda ours: [{"member_id": ids[ours], "assignment": b"work"}]  # noqa: E731
        shift, known = chance.choice([0, 0, 1]), chance.random() < 0.8
        self.pair.ask_each("SyncGroup", 3, lambda ours: of_member(ours, assignments=assigned(ours)))
        shift, known = 0, True
        self.pair.ask_each("SyncGroup", 3, lambda ours: of_member(ours, assignments=assigned(ours)))
        self.pair.ask("DescribeGroups", 5, True, groups=[group])
        name, index = self.place()
        shift, known = chance.choice([0, 0, 1]), chance.random() < 0.8
        partitions = [{"partition_index": index, "committed_offset": 5, "committed_metadata": ""}]

        def committing(ours: bool) -> dict[str, Any]:
            fields = of_member(ours, topics=[{"name": name, "partitions": partitions}])
            return fields | {"generation_id_or_member_epoch": fields.pop("generation_id")}

        self.pair.ask_each("OffsetCommit", 7, committing)
        shift, known = chance.choice([0, 0, 1]), chance.random() < 0.8
        self.pair.ask_each("Heartbeat", 3, lambda ours: of_member(ours))
        self.pair.ask("DeleteGroups", 1, groups_names=[group])
        for known in (chance.random() < 0.5, True):  # it goes in the end: the next one finds nobody waiting

            def leaving(ours: bool, known: bool = known) -> dict[str, Any]:
                return {"group_id": group, "member_id": ids[ours] if known else "nobody"}

            self.pair.ask_each("LeaveGroup", 1, leaving)

    def members(self) -> None:
        """A group of two on each side, through a rebalance, in which each does something at random."""
        lives = [
            _Two(wire, self.prefix + "two", random.Random(self.pair.seed * 1000 + len(self.pair.said)))
            for wire in (self.pair.ours, self.pair.theirs)
        ]
        told = [life.run() for life in lives]
        self.pair.said.append(f"two members {told[0]}")
        assert told[0] == told[1], f"seed {self.pair.seed}\nours   {told[0]}\ntheirs {told[1]}"


class _Two:
    """Two members of one group on one broker; what they are told, without ids."""

    def __init__(self, wire: Wire, group: str, chance: random.Random) -> None:
        self.wires = [Wire(wire.address), Wire(wire.address)]
        self.group = f"{group}-{chance.randrange(10**9)}"
        self.chance = chance
        self.ids = ["", ""]
        self.generations = [-1, -1]
        self.instances = [name if chance.random() < 0.5 else None for name in ("one", "two")]
        self.told: list[Any] = []

    def run(self) -> list[Any]:
        chance = self.chance
        try:
            self.join(0)
            self.sync(0, [0])
            self.join(1, waits=True)
            while self.beat(0) == 0:
                pass
            self.told.append(("commit while preparing", self.commit(0)))
            if chance.random() < 0.3:
                self.told.append(("early sync", self.sync_code(1)))
            way = chance.choice(["rejoin", "rejoin", "leave", "other protocols"])
            self.told.append(way)
            if way == "leave":
                self.leave(0)
                self.joined(1)
                self.sync(1, [1])
                return self.finish([1])
            self.send_join(0, protocols=["range", "new"] if way == "rejoin" else ["new"])
            if way == "other protocols":
                self.joined(0)
                self.leave(0)
                self.joined(1)
                self.sync(1, [1])
                return self.finish([1])
            self.joined(0)
            self.joined(1)
            self.told.append(("beats while completing", self.beat(0), self.beat(1), self.commit(1)))
            self.send_sync(1, [])
            self.sync(0, [0, 1])
            self.synced(1)
            self.told.append(("stable", self.beat(0), self.beat(1), self.commit(0)))
            if self.instances[1] is not None:
                self.replace(1)
            return self.finish([0, 1])
        finally:
            for wire in self.wires:
                wire.close()

    def finish(self, left: list[int]) -> list[Any]:
        answer = self.wires[left[0]].ask("DescribeGroups", 5, groups=[self.group]).groups[0]
        members = sorted((one.group_instance_id or "", bytes(one.member_assignment)) for one in answer.members)
        self.told.append((answer.group_state, answer.protocol_data, members))
        for index in left:
            self.leave(index)
        state = self.wires[left[0]].ask("DescribeGroups", 5, groups=[self.group]).groups[0].group_state
        gone = self.wires[left[0]].ask("DeleteGroups", 1, groups_names=[self.group]).results[0].error_code
        self.told.append((state, gone))
        return self.told

    def send_join(self, index: int, protocols: list[str] | None = None) -> None:
        self.wires[index].send(
            "JoinGroup", 7, group_id=self.group, session_timeout_ms=30_000, rebalance_timeout_ms=30_000,
            member_id=self.ids[index], group_instance_id=self.instances[index], protocol_type="consumer",
            protocols=[{"name": name, "metadata": name.encode()} for name in protocols or ["range"]],
        )  # fmt: skip

    def joined(self, index: int) -> int:
        answer = self.wires[index].take("JoinGroup", 7)
        code = int(answer.error_code)
        if code in (0, 79):
            self.ids[index], self.generations[index] = answer.member_id, answer.generation_id
        leads = answer.leader == answer.member_id
        members = sorted((one.group_instance_id or "", bytes(one.metadata)) for one in answer.members)
        self.told.append(("joined", index, code, answer.generation_id, answer.protocol_name, leads, members))
        return code

    def join(self, index: int, waits: bool = False) -> None:
        self.send_join(index)
        if self.instances[index] is None:
            self.joined(index)
            self.send_join(index)
        if not waits:
            self.joined(index)

    def send_sync(self, index: int, assigned: list[int]) -> None:
        self.wires[index].send(
            "SyncGroup", 3, group_id=self.group, generation_id=self.generations[index], member_id=self.ids[index],
            group_instance_id=self.instances[index],
            assignments=[{"member_id": self.ids[one], "assignment": b"work %d" % one} for one in assigned],
        )  # fmt: skip

    def synced(self, index: int) -> None:
        answer = self.wires[index].take("SyncGroup", 3)
        self.told.append(("synced", index, answer.error_code, bytes(answer.assignment)))

    def sync(self, index: int, assigned: list[int]) -> None:
        self.send_sync(index, assigned)
        self.synced(index)

    def sync_code(self, index: int) -> int:
        """Of a stranger's, on the other's connection: its own waits."""
        answer = self.wires[1 - index].ask("SyncGroup", 3, group_id=self.group, generation_id=1, member_id="nobody", assignments=[])  # fmt: skip
        return int(answer.error_code)

    def beat(self, index: int) -> int:
        answer = self.wires[index].ask(
            "Heartbeat", 3, group_id=self.group, generation_id=self.generations[index], member_id=self.ids[index],
            group_instance_id=self.instances[index],
        )  # fmt: skip
        return int(answer.error_code)

    def commit(self, index: int) -> int:
        partitions = [{"partition_index": 0, "committed_offset": 3, "committed_metadata": ""}]
        answer = self.wires[index].ask(
            "OffsetCommit", 7, group_id=self.group, generation_id_or_member_epoch=self.generations[index],
            member_id=self.ids[index], group_instance_id=self.instances[index],
            topics=[{"name": "nowhere", "partitions": partitions}],
        )  # fmt: skip
        return int(answer.topics[0].partitions[0].error_code)

    def leave(self, index: int) -> None:
        member = {"member_id": self.ids[index], "group_instance_id": self.instances[index]}
        answer = self.wires[index].ask("LeaveGroup", 3, group_id=self.group, members=[member])
        self.told.append(("left", index, answer.error_code, [one.error_code for one in answer.members]))

    def replace(self, index: int) -> None:
        """The same instance comes again, as after a restart: the old one is fenced."""
        old = self.ids[index]
        self.ids[index] = ""
        self.send_join(index)
        self.joined(index)
        new, self.ids[index] = self.ids[index], old
        self.told.append(("fenced", self.beat(index), self.commit(index)))
        self.ids[index] = new
        self.told.append(("replaced", self.beat(index)))


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        apache_kafka.jars()
        server = apache_kafka.ApacheKafka(tmp_path_factory.mktemp("kafka"), SETTINGS)
    except apache_kafka.NoKafka as reason:
        pytest.skip(str(reason))
    with server:
        wire = Wire(server.address)
        deadline = time.monotonic() + 60
        while wire.ask("OffsetFetch", 7, group_id="warm", topics=None).error_code and time.monotonic() < deadline:
            wire.ask("FindCoordinator", 3, key="warm")  # makes the topic of the groups
            time.sleep(0.05)
        wire.close()
        yield server.address


@pytest.mark.peer
def test_random_scripts_are_answered_as_apache_kafka_answers(
    kafka: str, start_gateway: Callable[..., GatewayProcess]
) -> None:
    gateway = start_gateway(env={"THALWEG_KAFKA__AUTO_CREATE_TOPICS": "false", "THALWEG_DURABILITY__DEFAULT": "os"})
    for seed in range(SEEDS):
        pair = Pair(gateway.kafka, kafka, seed)
        Script(pair).run()
        pair.close()


@pytest.mark.peer
def test_what_is_no_request_closes_the_connection_as_in_apache_kafka(kafka: str, gateway: GatewayProcess) -> None:
    frames = [
        struct.pack(">i", -1), struct.pack(">i", 5) + b"12345", struct.pack(">ihhih", 10, 999, 0, 1, -1),
        struct.pack(">ihhih", 10, 3, 99, 1, -1), struct.pack(">ihhih", 10, 3, 1, 1, 5000), struct.pack(">i", 1 << 30) + b"x" * 20,
        struct.pack(">ihhihi", 14, 3, 4, 1, -1, 1 << 30), struct.pack(">ihhih", 10, 0, 9, 1, -1),
    ]  # fmt: skip
    for data in frames:
        for address in (gateway.kafka, kafka):
            wire = Wire(address)
            wire.send_bytes(data)
            assert wire.take("Metadata", 1) is CLOSED, (address, data)
    for address in (gateway.kafka, kafka):
        wire = Wire(address)
        wire.send_bytes(struct.pack(">ihhihb", 11, 18, 99, 1, -1, 0))
        answer = wire.take("ApiVersions", 0)
        assert answer.error_code == 35
        wire.close()
