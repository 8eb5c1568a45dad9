"""The README lists exactly the commands that there are."""

from __future__ import annotations

import pathlib

from protocols.resp.catalogue import Catalogue
from protocols.resp.listing import listing

README = pathlib.Path(__file__).resolve().parents[2] / "protocols" / "resp" / "README.md"


def test_the_readme_ends_in_the_table_of_commands() -> None:
    assert README.read_text().endswith("## Commands\n\n" + listing())


def test_every_command_is_of_a_group_that_is_listed() -> None:
    text = listing()
    for command in Catalogue().commands.values():
        assert f"`{command.name.upper().replace('|', ' ')}`" in text


def test_every_command_says_how_many_words_it_takes_and_what_it_is_for() -> None:
    for command in Catalogue().commands.values():
        assert command.arity and command.summary and command.since, command.name
