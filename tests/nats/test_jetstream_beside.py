"""JetStream, the same scripts to ours and to the real nats-server: equal answers, messages and errors."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from conformance.process import GatewayProcess
from tests.nats.beside import told
from tests.nats.jetstream_scripts import SCRIPTS, flat

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
