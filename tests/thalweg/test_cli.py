from __future__ import annotations

import json
import pathlib

import pytest

import thalweg
from thalweg.cli import main


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"thalweg {thalweg.__version__}\n"


def test_no_command_prints_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    printed = capsys.readouterr().out
    assert all(command in printed for command in ("serve", "config", "verify"))


def test_config_schema_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"].keys() >= {"data", "kafka", "nats", "mqtt", "resp", "http"}


def test_config_check_prints_every_key_and_marks_what_is_not_the_default(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "thalweg.toml"
    file.write_text('[mqtt]\nlisten = "off"\n')
    assert main(["config", "check", "--config", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "mqtt.listen = 'off'  # default '127.0.0.1:1883'" in printed
    assert "nats.listen = '127.0.0.1:4222'\n" in printed


def test_config_check_names_the_mistake_and_ends_with_2(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "thalweg.toml"
    file.write_text('[mqtt]\nlistn = "off"\n')
    assert main(["config", "check", "--config", str(file)]) == 2
    assert capsys.readouterr().err == "thalweg: mqtt.listn: no such key; did you mean mqtt.listen?\n"


def test_serve_refuses_a_wrong_address_before_it_starts_anything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--kafka", "somewhere"]) == 2
    assert "kafka.listen: address 'somewhere' is neither host:port nor off" in capsys.readouterr().err


def test_an_unknown_flag_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--kafak", "off"])
    assert ended.value.code == 2
    assert "no such argument: --kafak; did you mean --kafka?" in capsys.readouterr().err
