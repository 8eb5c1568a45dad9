from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.config import (
    Config,
    ConfigError,
    format_address,
    keys,
    load,
    parse_address,
    schema,
    validate,
    variable_of,
)

TOML_EXAMPLE = """
data = "elsewhere"
[kafka]
listen = "127.0.0.1:19092"
[resp]
appendfsync = "always"
"""


def mistakes(tree: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(tree)
    return str(caught.value)


def test_flags_win_over_variables_win_over_the_file(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "thalweg.toml"
    file.write_text(TOML_EXAMPLE)
    variables = {"THALWEG_KAFKA__LISTEN": "127.0.0.1:29092", "THALWEG_DATA": "from-variable"}
    config = load(file, variables, {"data": "from-flag"})
    assert (config.data, config.kafka.listen, config.resp.appendfsync) == ("from-flag", "127.0.0.1:29092", "always")
    assert config.nats == Config().nats


def test_every_key_has_a_variable_that_sets_it() -> None:
    for key, variable, default in keys():
        section, _, name = key.rpartition(".")
        config = load(None, {variable: str(default).lower() if isinstance(default, bool) else str(default)})
        assert getattr(getattr(config, section) if section else config, name) == default
        assert variable_of(key) == variable


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"kafka": {"lisen": "off"}}, "kafka.lisen: no such key; did you mean kafka.listen?"),
        ({"kafak": {}}, "kafak: no such key; did you mean kafka?"),
        ({"quite_another": 1}, "quite_another: no such key"),
        ({"kafka": {"listen": "9092"}}, "kafka.listen: address '9092' is neither host:port nor off"),
        ({"kafka": {"listen": 9092}}, "kafka.listen: Input should be a valid string (given 9092)"),
        ({"kafka": {"advertise": "off"}}, "kafka.advertise: 'off' is nothing that a client can connect to"),
        ({"nats": {"payload_bytes_max": 0}}, "nats.payload_bytes_max: Input should be greater than or equal to 1 (given 0)"),
        ({"durability": {"default": "sink"}}, "durability.default: Input should be 'sync', 'os' or 'interval' (given 'sink')"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_key_and_what_may_be(tree: dict[str, object], words: str) -> None:
    assert mistakes(tree) == words


def test_all_mistakes_are_told_at_once() -> None:
    assert len(mistakes({"kafka": {"lisen": "off"}, "http": {"listem": "off"}}).splitlines()) == 2


def test_a_variable_that_is_no_key_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="THALWEG_KAFKA__LISTE: no such key; did you mean THALWEG_KAFKA__LISTEN"):
        load(None, {"THALWEG_KAFKA__LISTE": "off", "PATH": "/bin"})


def test_variables_that_are_switches_are_no_keys() -> None:
    assert load(None, {"THALWEG_PURE": "1", "THALWEG_CONFIG": "x"}) == Config()


def test_a_file_that_is_not_there_or_not_toml_is_said_so(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "missing.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("kafka = [")
    with pytest.raises(ConfigError, match="not TOML"):
        load(broken)


@given(
    st.dictionaries(
        st.text(max_size=8), st.one_of(st.integers(), st.text(max_size=8), st.dictionaries(st.text(), st.none()))
    )
)
def test_any_tree_is_a_configuration_or_a_list_of_mistakes(tree: dict[str, object]) -> None:
    try:
        assert isinstance(validate(tree), Config)
    except ConfigError as error:
        assert error.mistakes


@given(st.sampled_from(["127.0.0.1", "localhost", "::1", "0.0.0.0"]), st.integers(0, 65535))
def test_addresses_round_trip(host: str, port: int) -> None:
    assert parse_address(format_address(host, port)) == (host, port)


@given(st.text(max_size=20))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        found = parse_address(text)
    except ValueError:
        return
    assert text == "off" if found is None else 0 <= found[1] <= 65535


def test_the_schema_describes_every_key() -> None:
    described = schema()
    for key, _, _ in keys():
        section, _, name = key.rpartition(".")
        where = described["$defs"][section.capitalize()]["properties"] if section else described["properties"]
        assert where[name].get("description") or not section, f"{key} has no description"
    json.dumps(described)


def test_flags_alone_do_not_pay_for_pydantic() -> None:
    code = "import sys; from thalweg.config import load; load(None, {}, {'kafka.listen': '127.0.0.1:0'}); print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_flags_are_checked_like_everything_else() -> None:
    with pytest.raises(ConfigError, match=r"kafka\.listen: address 'nowhere' is neither"):
        load(None, {}, {"kafka.listen": "nowhere"})
