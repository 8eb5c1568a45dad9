"""Consumer groups of stock clients: rebalances, and commits that survive kill -9."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import Consumer, TopicPartition

from conformance.process import GatewayProcess
from tests.kafka.clients import WAIT_S, consumer, create, fresh, produce, producer, read


def settle(members: list[Consumer], partitions: int) -> list[set[int]]:
    """Poll all until together they have every partition, each of them some."""
    deadline = time.monotonic() + WAIT_S
    while True:
        for member in members:
            assert member.poll(0.1) is None
        owned = [{one.partition for one in member.assignment()} for member in members]
        if sum(map(len, owned)) == partitions and all(owned):
            return owned
        assert time.monotonic() < deadline, owned


def test_two_members_share_the_partitions_and_the_last_one_gets_them_all(gateway: GatewayProcess) -> None:
    topic, group = create(gateway.kafka, fresh(), 4), fresh("g")
    members = [consumer(gateway.kafka, group) for _ in range(2)]
    for member in members:
        member.subscribe([topic])
    owned = settle(members, 4)
    assert owned[0] | owned[1] == {0, 1, 2, 3} and len(owned[0]) == len(owned[1]) == 2
    members[0].close()
    assert settle(members[1:], 4) == [{0, 1, 2, 3}]
    members[1].close()


def test_cooperative_members_share_the_partitions(gateway: GatewayProcess) -> None:
    topic, group = create(gateway.kafka, fresh(), 4), fresh("g")
    members = [consumer(gateway.kafka, group, partition_assignment_strategy="cooperative-sticky") for _ in range(2)]
    for member in members:
        member.subscribe([topic])
    owned = settle(members, 4)
    assert owned[0] | owned[1] == {0, 1, 2, 3}
    for member in members:
        member.close()


def test_a_static_member_comes_back_to_its_partitions(gateway: GatewayProcess) -> None:
    topic, group = create(gateway.kafka, fresh(), 2), fresh("g")
    members = [consumer(gateway.kafka, group, group_instance_id=f"i{number}") for number in range(2)]
    for member in members:
        member.subscribe([topic])
    before = settle(members, 2)
    members[0].close()
    members[0] = consumer(gateway.kafka, group, group_instance_id="i0")
    members[0].subscribe([topic])
    assert settle(members, 2) == before
    for member in members:
        member.close()


def test_commits_survive_kill_9_and_the_group_goes_on_where_it_was(
    start_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = start_gateway()
    topic, group = create(gateway.kafka, fresh()), fresh("g")
    produce(gateway.kafka, topic, [b"%d" % number for number in range(10)])
    reader = consumer(gateway.kafka, group)
    reader.subscribe([topic])
    read(reader, 4)
    reader.commit(offsets=[TopicPartition(topic, 0, 4, metadata="so far")], asynchronous=False)
    gateway.restart(kill=True)
    produce(gateway.kafka, topic, [b"10"])

    after = consumer(gateway.kafka, group)
    (committed,) = after.committed([TopicPartition(topic, 0)], timeout=WAIT_S)
    assert (committed.offset, committed.metadata) == (4, "so far")
    after.close()
    # The member of before is told that it is not known, joins again and goes on from the commit: nothing is lost.
    # What it had fetched before, it may give once more.
    found: list[bytes] = []
    while b"10" not in found:
        found += [message.value() for message in read(reader, 1)]
    assert found[0] == b"4" and set(found) == {b"%d" % number for number in range(4, 11)}
    reader.close()


def test_members_go_on_over_kill_9_without_a_rebalance(start_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = start_gateway()
    topic, group = create(gateway.kafka, fresh(), 2), fresh("g")
    moved: list[str] = []

    def tell(what: str) -> Callable[..., None]:
        return lambda reader, partitions: moved.append(what)

    readers = []
    for number in range(2):
        reader = consumer(gateway.kafka, group, group_instance_id=f"i{number}", session_timeout_ms=30_000)
        reader.subscribe([topic], on_assign=tell("assigned"), on_revoke=tell("revoked"), on_lost=tell("lost"))
        readers.append(reader)
    while not all(reader.assignment() for reader in readers):
        for reader in readers:
            reader.poll(0.05)
    moved.clear()
    got: list[bytes] = []
    for turn in range(3):
        made = producer(gateway.kafka)
        for partition in range(2):
            made.produce(topic, b"%d-%d" % (turn, partition), partition=partition)
        assert made.flush(WAIT_S) == 0
        while len(got) < 2 * turn + 2:
            for reader in readers:
                message = reader.poll(0.05)
                if message is not None and not message.error():
                    got.append(message.value())
        for reader in readers:
            reader.commit(asynchronous=False)
        if turn < 2:
            gateway.restart(kill=True)
    assert sorted(got) == [b"%d-%d" % (turn, partition) for turn in range(3) for partition in range(2)]
    assert not moved
    for reader in readers:
        reader.close()
