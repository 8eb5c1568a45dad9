"""The documentation says what the code does: every key, flag, variable, metric and link is held to it."""

from __future__ import annotations

import pathlib
import re
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
import write_docs

from conformance.process import GatewayProcess
from thalweg import config, metrics
from thalweg.config import keys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "protocols").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
TWO_SENTENCES = re.compile(r"[a-z)`]\. [A-Z][a-z]")


def name_of(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def headings(page: pathlib.Path) -> set[str]:
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("name", write_docs.FILES)
def test_generated_parts_are_what_the_code_says(name: str) -> None:
    text = (ROOT / name).read_text()
    assert write_docs.rendered(text) == text, f"{name} is outdated: run python tools/write_docs.py"


def test_every_key_and_variable_is_documented() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    missing = [word for key, variable, _ in keys() for word in (key, variable) if f"`{word}`" not in text]
    assert not missing
    assert all(f"`{name}`" in text for name in config.NOT_KEYS)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), f"{name_of(page)}: {target}"
        if anchor:
            assert anchor in headings(found), f"{name_of(page)}: {target}#{anchor}"


@pytest.mark.parametrize("page", [page for page in PAGES if "docs" in page.parts or page.parent == ROOT], ids=name_of)
def test_prose_has_one_sentence_a_line(page: pathlib.Path) -> None:
    code = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        code ^= line.startswith("```")
        if not code and not line.startswith("|"):
            assert not TWO_SENTENCES.search(line), f"{name_of(page)}:{number}: {line}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs/adr").glob("0*.md")), ids=name_of)
def test_decisions_fit_a_page_and_are_listed(page: pathlib.Path) -> None:
    assert len(page.read_text().splitlines()) <= 60
    assert page.name in (ROOT / "docs/adr/README.md").read_text()


def test_the_example_in_the_configuration_page_is_valid(tmp_path: pathlib.Path) -> None:
    example = re.search(r"```toml\n(.*?)```", (ROOT / "docs/configuration.md").read_text(), re.DOTALL)
    assert example is not None
    file = tmp_path / "thalweg.toml"
    file.write_text(example[1])
    assert config.load(file).kafka.advertise == "broker.example:9092"


def test_the_stated_addresses_of_the_readme_are_the_defaults() -> None:
    text = (ROOT / "README.md").read_text()
    for name in ("kafka", "nats", "mqtt", "resp"):
        address = config.parse_address(getattr(config.Config(), name).listen)
        assert address is not None
        assert str(address[1]) in text


def metrics_of(gateway: GatewayProcess) -> set[str]:
    with urllib.request.urlopen(f"http://{gateway.http}/metrics", timeout=10) as answer:
        return {line.split()[2] for line in answer.read().decode().splitlines() if line.startswith("# TYPE")}


def test_every_metric_of_a_new_process_is_documented(start_gateway: Callable[..., Any]) -> None:
    named = {name.removeprefix("thalweg_") for name in metrics_of(start_gateway(data=":memory:"))}
    assert not named - metrics.meanings().keys()


def test_every_counted_event_is_documented() -> None:
    """``note("event", ...)`` and ``count("event")`` anywhere become ``thalweg_event_total``."""
    noted = re.compile(r"\.(?:note|count)\(\s*f?\"([a-z_{}.]+)\"")
    named = set()
    for top in ("substrate", "protocols", "thalweg"):
        for path in (ROOT / top).rglob("*.py"):
            for event in noted.findall(path.read_text()):
                each = metrics.PROTOCOLS if "{" in event else ("",)
                named |= {f"{re.sub(r'{.*?}', name, event).removesuffix('_total')}_total" for name in each}
    assert not named - metrics.meanings().keys()
