"""``make demo``, whole and small: the real process, stock clients, a bounded number of records."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from examples.demo import (
    Package,
    Publishing,
    Tally,
    missed_while_subscribed,
    parse_csv,
    read_input,
    split_index,
    summary,
    tally_at_least_once,
    tally_of,
)

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "demo"
RUN_S_MAX = 110


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.demo", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=RUN_S_MAX, check=False,
    )  # fmt: skip


TOOLS = ("mosquitto_sub", "redis-cli")


def skip_without_tools() -> None:
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"{' and '.join(missing)} is not installed (make peers)")


@pytest.mark.slow
@pytest.mark.peer
def test_the_summary_of_a_known_input_is_the_one_kept_in_the_repository() -> None:
    skip_without_tools()
    done = run_demo("--input", str(GOLDEN / "input.txt"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.partition("\nInput: ")[2] == (GOLDEN / "summary.txt").read_text().partition("Input: ")[2]


@pytest.mark.slow
def test_two_thousand_records_of_this_machine_survive_a_kill_in_the_middle() -> None:
    done = run_demo("--records", "2000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SIGKILL after " in done.stdout
    assert "All sides hold the same records." in done.stdout


def test_the_summary_says_which_side_differs() -> None:
    given, less = Tally(), Tally()
    for section, text in (("games", b"one"), ("libs", b"two")):
        given.add(section, text)
    less.add("games", b"one")
    text, equal = summary("two records", given, given, Tally(), {"read by the Kafka group": less})
    assert not equal
    assert next(line for line in text.splitlines() if line.endswith("<- DIFFERS")).startswith("read by the Kafka group")


def test_what_redis_cli_missed_while_it_was_subscribed_is_told() -> None:
    given = Tally()
    text, equal = summary("nothing", given, given, Tally(), {}, unseen=3)
    assert not equal and "3 records   <- DIFFERS" in text


def test_a_subscriber_may_only_miss_what_was_published_while_it_was_away() -> None:
    publishing = Publishing([Package("libs", b"%d" % number) for number in range(5)])
    publishing.began = [0.0, 4.5, 5.5, 7.5, 9.0]
    publishing.ended = [0.5, 5.2, 7.1, 7.6, 9.1]
    seen = Counter({("libs", b"%d" % number): 1 for number in (0, 4)})
    assert missed_while_subscribed(seen, [publishing], killed=5.0, subscribed_again=7.0) == (2, 1)


def test_what_comes_at_least_once_counts_once() -> None:
    packages = [Package("libs", b"one"), Package("libs", b"one"), Package("games", b"two")]
    assert tally_at_least_once(Counter({("libs", b"one"): 5, ("games", b"two"): 1}), packages) == tally_of(packages)
    assert tally_at_least_once(Counter({("libs", b"one"): 1, ("games", b"two"): 1}), packages) != tally_of(packages)
    assert tally_at_least_once(
        Counter({("libs", b"one"): 2, ("games", b"two"): 1, ("x", b"y"): 1}), packages
    ) != tally_of(packages)


def test_lines_of_redis_cli_are_read_back_byte_for_byte() -> None:
    line = b'"pmessage","packages-*","packages-a-m:libs","a \\"quoted\\", line\\nand \\xc3\\xa9\\\\"\n'
    assert parse_csv(line) == [b"pmessage", b"packages-*", b"packages-a-m:libs", b'a "quoted", line\nand \xc3\xa9\\']


def test_an_index_is_cut_into_records_with_their_sections() -> None:
    index = b"Package: a\nSection: games\n\nPackage: b\n\n\nPackage: c\nSection: contrib/libs\nX: y\n"
    assert split_index(index) == [
        Package("games", b"Package: a\nSection: games"),
        Package("none", b"Package: b"),
        Package("contrib/libs", b"Package: c\nSection: contrib/libs\nX: y"),
    ]


def test_without_a_package_index_the_installed_packages_are_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    what, packages = read_input(None, 5)
    assert what == "the metadata of the installed Python packages"
    assert len(packages) == 5 and all(b"Name: " in package.text for package in packages)
