"""``make demo``, whole and small: the real process, stock clients, a bounded number of records."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from examples.demo import Package, Tally, read_input, split_index, summary

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "demo"
RUN_S_MAX = 110


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.demo", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=RUN_S_MAX, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_summary_of_a_known_input_is_the_one_kept_in_the_repository() -> None:
    done = run_demo("--input", str(GOLDEN / "input.txt"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.partition("\nInput: ")[2] == (GOLDEN / "summary.txt").read_text().partition("Input: ")[2]


@pytest.mark.slow
def test_two_thousand_records_of_this_machine_are_equal_on_all_sides() -> None:
    done = run_demo("--records", "2000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All sides hold the same records." in done.stdout


def test_the_summary_says_which_side_differs() -> None:
    given, less = Tally(), Tally()
    for section, text in (("games", b"one"), ("libs", b"two")):
        given.add(section, text)
    less.add("games", b"one")
    text, equal = summary("two records", given, given, Tally(), {"read by the Kafka consumer": less})
    assert not equal
    assert next(line for line in text.splitlines() if line.endswith("<- DIFFERS")).startswith(
        "read by the Kafka consumer"
    )


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
