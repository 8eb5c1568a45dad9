"""JetStream, the same scripts to ours and to the real nats-server: equal answers, messages and errors."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from conformance.process import GatewayProcess
from tests.nats.beside import told, unmoved
from tests.nats.jetstream_scripts import SCRIPTS, flat, random_script

SEEDS = 60
ATTEMPTS = 3
"""nats-server delivers beside what it answers: a pull that does not wait may find nothing yet. It is asked again, alone."""
AT_A_TIME = 24
"""Scripts wait most of the time."""
Told = dict[str, tuple[Future[Any], Future[Any]]]


@pytest.fixture(scope="module")
def both(gateway: GatewayProcess, peer: Callable[[str], str]) -> Told:
    """What ours and the real server told, of every script."""
    real = peer("nats-server")
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return {
            name: (
                pool.submit(told, gateway.nats, flat(script), number),
                pool.submit(told, real, flat(script), number),
            )
            for number, (name, script) in enumerate(SCRIPTS.items())
        }


@pytest.mark.peer
@pytest.mark.parametrize("name", SCRIPTS)
def test_jetstream_answers_as_the_real_server_answers(name: str, both: Told) -> None:
    ours, real = both[name]
    assert ours.result() == real.result()


@pytest.mark.peer
def test_random_scripts_are_answered_as_the_real_server_answers(
    gateway: GatewayProcess, peer: Callable[[str], str]
) -> None:
    real = peer("nats-server")

    def both_of(seed: int, attempt: int = 0) -> tuple[Any, Any]:
        script = flat(random_script(random.Random(seed), f"RND{seed}X{attempt}"))
        number = 1000 + seed + SEEDS * attempt
        both = told(gateway.nats, script, number), told(real, script, number)
        moved = any(isinstance(step, bytes) and (b"PURGE" in step or b"Rollup" in step) for step in script)
        return (unmoved(both[0]), unmoved(both[1])) if moved else both

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for seed, (ours, wanted) in enumerate(pool.map(both_of, range(SEEDS))):
            for attempt in range(1, ATTEMPTS):
                if ours == wanted:
                    break
                ours, wanted = both_of(seed, attempt)
            assert ours == wanted, f"seed {seed}"
