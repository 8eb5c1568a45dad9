"""Random clients against the sessions of all four protocols; seeds are printed, a failure replays by seed and episode."""

from __future__ import annotations

import os
import random

import pytest

from conformance.fuzz import EPISODES, GRAMMARS, SESSIONS, check_swell, fuzz, make_steps, run_episode
from conformance.fuzz_codecs import CODECS

SECONDS = float(os.environ.get("FUZZ_SECONDS", "10"))
"""Of each session, and a fifth of it of each codec; ``make fuzz SECONDS_EACH=60`` is what CI adds."""
SEED = int(os.environ.get("FUZZ_SEED", "1"))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 100)
@pytest.mark.parametrize("protocol", EPISODES)
def test_nothing_but_wire_errors_leaves_a_session_and_no_call_takes_long(protocol: str) -> None:
    episodes, failure = fuzz(protocol, SEED, SECONDS / 5 if protocol in CODECS else SECONDS)
    print(f"{protocol}: seed {SEED}, {episodes} episodes")
    assert failure is None, f"--protocol {protocol} --seed {SEED} --episode {episodes}: {failure}"
    assert episodes > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "name"), [(protocol, name) for protocol, grammar in GRAMMARS.items() for name in grammar.swells]
)
def test_what_a_message_costs_grows_with_its_size(protocol: str, name: str) -> None:
    assert (failure := check_swell(protocol, name)) is None, str(failure)


@pytest.mark.parametrize("protocol", SESSIONS)
def test_a_seed_and_an_episode_give_the_same_steps_again(protocol: str) -> None:
    first, second = (make_steps(protocol, random.Random(7)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("protocol", SESSIONS)
def test_a_few_episodes_pass(protocol: str) -> None:
    for episode in range(6):
        assert (failure := run_episode(protocol, SEED, episode)) is None, str(failure)
