"""README.md says what is true: what is refused, what is there, what of the transcript is not compared."""

from __future__ import annotations

import pathlib
import re

import protocols.nats as package
from protocols.nats import jetstream_consumers, jetstream_streams
from protocols.nats.jetstream_config import CONSUMER_FIELDS, CONSUMER_ONLY, STREAM_FIELDS, STREAM_ONLY
from protocols.nats.jetstream_pull import PULL_FIELDS
from tests.nats.transcript import LEFT_OUT

FOLDER = pathlib.Path(next(iter(package.__path__)))
README = (FOLDER / "README.md").read_text()
THERE = README.partition("## JetStream: what is there\n")[2].partition("\n## ")[0]
REFUSED = README.partition("## JetStream: refused\n")[2].partition("\n## ")[0]
NAMES = {"name", "num_replicas", "storage", "mirror_direct", "direct", "mem_storage", "durable_name", "opt_start_seq",
         "opt_start_time"}  # fmt: skip
"""Fields that every configuration has, or that go with another one."""


def words(text: str) -> set[str]:
    return set(re.findall(r"`([a-z_]+)", text))


def test_every_field_is_there_or_refused() -> None:
    there, refused = words(THERE), words(REFUSED)
    for fields, only in ((STREAM_FIELDS, STREAM_ONLY), (CONSUMER_FIELDS, CONSUMER_ONLY)):
        partly = {"ack_policy", "deliver_policy"}  # some of their values
        assert set(only) - partly <= refused
        assert set(fields) - set(only) - NAMES <= there
    assert {"group", "id", "min_pending", "min_ack_pending", "priority"} <= refused & set(PULL_FIELDS)
    assert set(PULL_FIELDS) - refused <= there


def test_every_request_stands_in_the_table_of_files() -> None:
    for route in (*jetstream_streams.ROUTES, *jetstream_consumers.ROUTES):
        assert route[-1] in README, route


def test_every_file_stands_in_the_table_of_files() -> None:
    found = set(re.findall(r"^\| `(\w+\.py)` \|", README, re.MULTILINE))
    assert found == {path.name for path in FOLDER.glob("*.py")} - {"__init__.py"}


def test_what_is_not_compared_of_the_transcript_is_listed() -> None:
    table = README.partition("## Blocks of the transcript that are not compared\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", table, re.MULTILINE))
    assert {name: why for name, why in rows.items() if name not in ("block", "---")} == LEFT_OUT
