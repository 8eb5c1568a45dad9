"""The matrix of real clients: one cell of each on ours, and what is said of the others."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest

from conformance import targets
from conformance.matrix import column, table
from conformance.matrix.cells import FAILED, PASSED, SKIPPED, Cells, Place, Skip
from conformance.matrix.columns import COLUMNS, PROTOCOLS
from conformance.matrix.runs import ColumnRun

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEPT = json.loads((ROOT / "docs" / "conformance.json").read_text())
RUN_S_MAX = 110


def conformance(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "thalweg", "conformance", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_S_MAX)


@pytest.mark.slow
def test_one_cell_of_every_client_passes_on_ours() -> None:
    done = conformance("--target", "thalweg", "--smoke", "-o", "json")
    report = json.loads(done.stdout)
    missing = [f"{each['client']}: {each['why_not']}" for each in report["columns"] if each.get("why_not")]
    cells = [(each["client"], each["variant"], cell) for each in report["columns"] for cell in each["cells"]]
    assert [cell for cell in cells if cell[2]["ours"] != PASSED] == []
    assert len(cells) + len(missing) == len(COLUMNS) and done.returncode == 0
    if missing:
        pytest.skip(f"not every client is here: {'; '.join(missing)}")


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.parametrize("target", ["redis://", "nats://", "mqtt://"])
def test_the_same_table_is_printed_for_a_real_server(target: str) -> None:
    done = conformance("--target", target, "--smoke", "--only", "resp" if target == "redis://" else target[:4])
    if done.returncode and done.stderr.startswith("conformance: "):
        pytest.skip(done.stderr.strip().removeprefix("conformance: "))
    assert done.returncode == 0, done.stdout + done.stderr
    assert " x" not in done.stdout.partition(table.LEGEND)[0] and "+" in done.stdout


# what was kept of the last whole run


def test_every_cell_that_differs_is_explained_in_its_protocols_readme() -> None:
    left = table.unexplained(table.kept(KEPT), table.explanations())
    assert not left, table.differences(left)


def test_explanations_name_cells_and_clients_that_there_are() -> None:
    features = {(each["protocol"], cell["feature"]) for each in KEPT["columns"] for cell in each["cells"]}
    clients = {(each["protocol"], each["client"]) for each in KEPT["columns"]}
    rows = table.explanations()
    assert rows, "no README explains a cell: the heading or the table is not found"
    unknown = [row for row in rows if not row.feature.endswith("*") and (row.protocol, row.feature) not in features]
    unknown += [row for row in rows if any((row.protocol, client) not in clients for client in row.clients)]
    assert not unknown


def test_the_kept_run_has_every_client_and_enough_cells() -> None:
    kept = {(each["protocol"], each["client"], each["variant"]) for each in KEPT["columns"] if each["cells"]}
    assert kept == {(each.protocol, each.client, each.variant) for each in COLUMNS}
    assert len(table.kept(KEPT)) >= 600
    compared = [cell for cell in table.kept(KEPT) if cell.verdict not in (table.ALONE, SKIPPED)]
    assert len(compared) >= 550, "most of the last run was not beside real servers"


@pytest.mark.parametrize("each", COLUMNS, ids=lambda each: each.name)
def test_every_column_has_a_program_and_its_smoke_cell(each: column.Cells) -> None:
    home = ROOT / "conformance" / "node" if each.is_javascript else ROOT
    file = home / (f"{each.program}.cjs" if each.is_javascript else f"{each.program.replace('.', '/')}.py")
    assert file.exists()
    if not each.is_javascript:
        assert f'"{each.smoke}"' in file.read_text()


# how cells are run and compared


def run_of(*programs: tuple[str, object]) -> dict[str, tuple[str, object]]:
    cells = Cells("resp", "client", "pytest")
    for feature, program in programs:
        cells.add(feature)(program)
    return {
        feature: (found.status, found.observed)
        for feature in cells.features("")
        for found in [column.run_cell(feature, cells.programs[feature], Place("127.0.0.1:7"))]
    }


def test_an_observation_is_free_of_names_and_addresses() -> None:
    def named(place: Place) -> object:
        return {place.name("key"): [b"bytes", {2, 1}, (place.address, None)]}

    async def refused(place: Place) -> object:
        raise ValueError(f"no {place.name('topic')} at {place.address} (0x7f001122)\nmore")

    def impossible(place: Place) -> object:
        return place.option("users", "the target was started without users")

    assert run_of(("named", named), ("refused", refused), ("impossible", impossible)) == {
        "named": (PASSED, {"key": ["bytes", [1, 2], ["server", None]]}),
        "refused": (FAILED, "ValueError: no topic at server ((id))"),
        "impossible": (SKIPPED, "the target was started without users"),
    }


def test_a_cell_that_does_not_end_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(column, "CELL_S_MAX", 0.0)
    cells = Cells("resp", "client", "pytest", together=1)
    release = threading.Event()
    cells.add("endless")(lambda place: release.wait(30))
    column.run_all(cells, ["endless"], Place("127.0.0.1:7"))
    assert json.loads(capsys.readouterr().out)["observed"] == "did not end within 0 s"
    release.set()


@pytest.mark.parametrize(
    ("ours", "real", "verdict"),
    [
        ((PASSED, 1), (PASSED, 1), table.SAME),
        ((PASSED, 1), (PASSED, 2), table.DIFFERS),
        ((FAILED, "no"), (PASSED, 1), table.FAILS),
        ((PASSED, 1), (FAILED, "no"), table.AHEAD),
        ((FAILED, "no"), (FAILED, "never"), table.SAME),
        ((PASSED, 1), None, table.ALONE),
        ((PASSED, 1), (SKIPPED, "why"), table.ALONE),
        ((SKIPPED, "why"), (PASSED, 1), SKIPPED),
    ],
)
def test_verdicts_say_how_both_sides_compare(
    ours: Sequence[object], real: Sequence[object] | None, verdict: str
) -> None:
    def cells(found: Sequence[object]) -> list[ColumnRun]:
        return [ColumnRun(COLUMNS[0], "1", {"feature": {"status": found[0], "observed": found[1], "seconds": 0.0}})]

    [cell] = table.compare(cells(ours), cells(real) if real else [])
    assert cell.verdict == verdict
    left = table.unexplained([cell], [])
    assert bool(left) == (verdict in table.TO_EXPLAIN)
    explained = table.Explanation(COLUMNS[0].protocol, "feat*", frozenset({COLUMNS[0].client}), "because")
    assert table.unexplained([cell], [explained]) == []


@pytest.mark.parametrize(
    "spec", ["thalweg", "kafka://127.0.0.1:9092", "nats://host:4222", "mqtt://", "redis://h:1/", "redis://"]
)
def test_targets_are_words_or_urls(spec: str) -> None:
    assert targets.check(spec) == spec


@pytest.mark.parametrize("spec", ["", "redis", "http://h:1", "redis://h", "redis://h:x", "kafka://a/b:1"])
def test_what_is_no_target_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(spec))):
        targets.check(spec)


def test_the_command_line_says_what_a_target_is() -> None:
    done = conformance("--target", "amqp://h:1")
    assert done.returncode == 2 and "neither thalweg nor kafka://" in done.stderr


def test_skip_is_no_failure_of_the_client() -> None:
    assert not issubclass(Skip, AssertionError) and set(PROTOCOLS) == {each.protocol for each in COLUMNS}
