"""What the RDMA transport relies on in queue pairs: one check, run on the fake everywhere and on real ones where they are.

check_verbs(verbs, "127.0.0.1")
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from transports.verbs import NAME, Completion, NoRdma, QueuePair, Region, Verbs, VerbsError

SIZE = 64 * 1024
DEPTH = 16
LIMIT_S = 20.0
QUIET_S = 0.05


def check_verbs(verbs: Verbs, host: str) -> None:
    """
    Raises:
        AssertionError: with what did not hold.
    """
    region = verbs.region(host, SIZE)
    check_order_and_values(verbs, region)
    check_a_write_waits_for_a_receive(verbs, region)
    check_one_region_for_several_pairs(verbs, region)
    check_limits_of_the_queues(verbs, region)
    check_a_wrong_key_breaks_the_pair(verbs, region)
    check_a_gone_peer_breaks_the_pair(verbs, region)
    check_an_unknown_address(verbs)
    region.close()


def pairs(verbs: Verbs, region: Region) -> tuple[QueuePair, QueuePair]:
    near, far = (verbs.queue_pair(region, SIZE, DEPTH) for _ in range(2))
    near.connect(far.name)
    far.connect(near.name)
    return near, far


def completions(pair: QueuePair, enough: Callable[[list[Completion]], bool]) -> list[Completion]:
    """Polls whenever the pair's descriptor says so, until there are enough."""
    found = pair.poll()
    deadline = time.monotonic() + LIMIT_S
    while not enough(found):
        assert time.monotonic() < deadline, f"only {found} within {LIMIT_S} s"
        if select.select([pair.fileno()], [], [], 1.0)[0]:
            found += pair.poll()
    return found


def check_order_and_values(verbs: Verbs, region: Region) -> None:
    near, far = pairs(verbs, region)
    far.post_receive(DEPTH)
    for index in range(8):
        region.fill(index * 100, bytes((index,)) * 100)
        near.write(index * 100, 100, index * 200, 0xFFFF_FFF0 + index)
    near.write(0, 0, 0, 7)
    arrived = completions(far, lambda found: len(found) >= 9)
    assert [one.kind for one in arrived] == ["arrived"] * 9
    assert [one.value for one in arrived] == [0xFFFF_FFF0 + index for index in range(8)] + [7], "values, in order"
    for index in range(8):
        assert far.take(index * 200, 100) == bytes((index,)) * 100, "bytes are there when the value arrives"
        assert far.take(index * 200 + 100, 100) == bytes(100), "and nowhere else"
    written = completions(near, lambda found: len(found) >= 9)
    assert [one.kind for one in written] == ["written"] * 9
    near.close()
    far.close()


def check_a_write_waits_for_a_receive(verbs: Verbs, region: Region) -> None:
    near, far = pairs(verbs, region)
    near.write(0, 8, 0, 1)
    assert not select.select([far.fileno()], [], [], QUIET_S)[0] or far.poll() == []
    assert near.poll() == [], "without a receive it is not done"
    far.post_receive(1)
    assert [one.value for one in completions(far, lambda found: len(found) >= 1)] == [1]
    assert [one.kind for one in completions(near, lambda found: len(found) >= 1)] == ["written"]
    near.close()
    far.close()


def check_one_region_for_several_pairs(verbs: Verbs, region: Region) -> None:
    several = [pairs(verbs, region) for _ in range(3)]
    region.fill(0, b"to all of you")
    for near, far in several:
        far.post_receive(1)
        near.write(0, 13, 5, 1)
    for near, far in several:
        completions(far, lambda found: len(found) >= 1)
        assert far.take(5, 13) == b"to all of you"
        near.close()
        far.close()


def check_limits_of_the_queues(verbs: Verbs, region: Region) -> None:
    near, far = pairs(verbs, region)
    posted = 0
    try:
        while posted < 64 * DEPTH:
            near.write(0, 1, 0, 0)
            posted += 1
    except VerbsError:
        pass
    assert DEPTH <= posted < 64 * DEPTH, "a full send queue is refused, not lost"
    near.close()
    far.close()


def check_a_wrong_key_breaks_the_pair(verbs: Verbs, region: Region) -> None:
    near, far = (verbs.queue_pair(region, SIZE, DEPTH) for _ in range(2))
    number, sequence, key, address, gid = NAME.unpack(far.name)
    near.connect(NAME.pack(number, sequence, key ^ 0x5A5A00, address, gid))
    far.connect(near.name)
    far.post_receive(2)
    near.write(0, 8, 0, 1)
    assert completions(near, lambda found: len(found) >= 1)[0].kind == "failed"
    assert all(one.kind == "failed" for one in far.poll()), "nothing arrives by a wrong key"
    near.close()
    far.close()


def check_a_gone_peer_breaks_the_pair(verbs: Verbs, region: Region) -> None:
    near, far = pairs(verbs, region)
    far.post_receive(1)
    far.close()
    near.write(0, 8, 0, 1)
    failed = completions(near, lambda found: len(found) >= 1)[0]
    assert failed.kind == "failed" and failed.reason
    near.close()


def check_an_unknown_address(verbs: Verbs) -> None:
    try:
        verbs.region("192.0.2.1", SIZE)
    except NoRdma:
        return
    raise AssertionError("no device has an address of the documentation's network")
