"""The user file: every mistake named, written without loss, read again while serving; and what guessing costs."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import pathlib
import re
import sys
import tempfile

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.identity import Secret
from substrate.api import Address
from thalweg import users
from thalweg.cli import main
from thalweg.config import Config, Kafka, Mqtt, Nats, Resp
from thalweg.gateway import CannotStart, Gateway
from thalweg.users import Right, User, UsersError, load, make_secret, parse, put

ANY = "127.0.0.1:0"
SECRET = str(Secret.of(b"pw", b"salt", 1))
DEADLINE_S = 20
REFUSALS_MAX = 16
"""Stated in docs/security.md."""


def mistakes(text: str) -> list[str]:
    with pytest.raises(UsersError) as caught:
        parse(text.replace("SECRET", f'secret = "{SECRET}"'), "u.toml")
    return list(caught.value.mistakes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[users.a", "u.toml: not TOML: Expected ']' at the end of a table declaration (at end of document)"),
        ("[user.a]", "u.toml: user: no such key; did you mean users?"),
        ("[users.a]\nSECRET\nraed = []", "u.toml: users.a.raed: no such key; did you mean read?"),
        ("[users.a]\nSECRET\nread = 'x'", "u.toml: users.a.read: Input should be a valid tuple (given 'x')"),
        ("[users.a]\nSECRET\nread = ['x', 1]", "u.toml: users.a.read[1]: Input should be a valid string (given 1)"),
        ("[users.a]\nSECRET\nread = ['x', '#/y']", "u.toml: users.a.read[1]: '#/y': '>' and '#' match the rest, so nothing stands after them"),
        ("[users.a]\nSECRET\nread = ['']", "u.toml: users.a.read[0]: is empty"),
        ("[users.a]\nSECRET\nwrite = ['_thalweg/#']", "u.toml: users.a.write[0]: '_thalweg/#': what lies beneath _thalweg is written by the server alone"),
        ("[users.a]", "u.toml: users.a: has no secret (thalweg user add FILE a)"),
        ("[users.anonymous]\nSECRET", "u.toml: users.anonymous.secret: who gives no credentials has no secret"),
        ("[users.a]\nsecret = 'pw'", "u.toml: users.a.secret: not a secret of the form SCRAM-SHA-256$iterations:salt$key:key"),
        ("[users.a]\nSECRET\nall = true\nread = ['x']", "u.toml: users.a: has all = true and rules; it is one or the other"),
        ("[users.a]\nSECRET\naccount = 'a b'", "u.toml: users.a.account: 'a b' is not of letters, digits, '_', '.' and '-', at most 64"),
        ('[users."a\\u0001"]\nSECRET', 'u.toml: users."a\\u0001": a name has 1 to 255 bytes, all printable'),
        ("[users.a]\nsecret = '" + SECRET.replace("$1:", "$20000:") + "'", "u.toml: users.a.secret: 20000 iterations, limit 16384"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(text: str, words: str) -> None:
    assert mistakes(text) == [words]


def test_all_mistakes_of_all_users_are_told_at_once() -> None:
    assert len(mistakes("[users.a]\nread = ['#/x', '>/y']\n[users.b]\nSECRET\ndeny_write = ['']")) == 4


def test_rules_reach_the_identity(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "u.toml"
    file.write_text(f'[users.a]\nsecret = "{SECRET}"\naccount = "shop"\nread = ["o/#"]\ndeny_read = ["o/x"]\n')
    found = load(file).users.identify(b"a", b"pw")
    assert found is not None
    assert (found.name, found.account, found.all) == (b"a", "shop", False)
    asked = [(Right.READ, b"o/y"), (Right.READ, b"o/x"), (Right.READ, b"p"), (Right.WRITE, b"o/y")]
    assert [found.may(right, Address(address)) for right, address in asked] == [True, False, False, False]


def test_a_user_without_rules_may_do_nothing(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "u.toml"
    file.write_text(f'[users.a]\nsecret = "{SECRET}"\n')
    found = load(file).users.identify(b"a", b"pw")
    assert found is not None
    assert not any(found.may(right, Address(b"o")) for right in Right)


def test_a_file_that_others_may_write_is_refused_and_one_they_may_read_is_told(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "u.toml"
    file.write_text(f'[users.a]\nsecret = "{SECRET}"\n')
    file.chmod(0o600)
    assert load(file).warnings == []
    file.chmod(0o644)
    assert load(file).warnings == [f"{file}: others may read it (mode 644); chmod go-r {file}"]
    file.chmod(0o620)
    with pytest.raises(UsersError, match="others may write to it"):
        load(file)


def test_a_new_file_is_its_owners_alone_and_an_old_one_keeps_its_mode_and_words(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "u.toml"
    assert put(file, "a", User(secret=SECRET)) == "added"
    assert file.stat().st_mode & 0o777 == 0o600
    text = f'# ours\n[users.a] # the first\nread = ["x"]\nsecret = "{SECRET}"   \n\n[users.b]\n# none yet\nsecret = "{SECRET}"\n'
    file.write_text(text)
    file.chmod(0o640)
    other = str(make_secret(b"other"))
    assert put(file, "a", User(secret=other, read=("ignored",))) == "changed"
    assert file.read_text() == text.replace(f'secret = "{SECRET}"   ', f'secret = "{other}"')
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["u.toml"]


def test_what_only_people_can_change_is_left_and_said(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "u.toml"
    text = f'users.a = {{ secret = "{SECRET}" }}\n'
    file.write_text(text)
    with pytest.raises(UsersError, match="not a table of its own"):
        put(file, "a", User(secret=str(make_secret(b"other"))))
    assert file.read_text() == text


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.isprintable)
RULE = st.lists(st.sampled_from(["o/#", "a/*/b", ">", "ü/%2A", 'x\\"y']), max_size=2).map(tuple)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NAMES, RULE, RULE), max_size=4, unique_by=lambda entry: entry[0]))
def test_what_is_written_is_what_is_read(entries: list[tuple[str, tuple[str, ...], tuple[str, ...]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "u.toml")
        made = {
            name: User(secret="" if name == "anonymous" else SECRET, read=read, deny_manage=deny)
            for name, read, deny in entries
        }
        for name, user in made.items():
            assert put(file, name, user) == "added"
        assert not made or load(file).entries == made


@given(st.text(max_size=60))
def test_any_text_is_a_user_file_or_a_list_of_mistakes(text: str) -> None:
    try:
        assert isinstance(parse(text, "u"), dict)
    except UsersError as error:
        assert error.mistakes


def typed(monkeypatch: pytest.MonkeyPatch, words: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(words)))


def test_the_command_line_writes_and_checks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    file = str(tmp_path / "u.toml")
    typed(monkeypatch, b"first\n")
    assert main(["user", "add", file, "a", "--read", "o/#", "--write", "o/x"]) == 0
    typed(monkeypatch, b"second\r\n")
    assert main(["user", "add", file, "a"]) == 0
    assert main(["user", "add", file, "anonymous", "--read", "public"]) == 0
    typed(monkeypatch, b"\n")
    assert main(["user", "add", file, "b"]) == 1
    assert main(["user", "check", file]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "a: added", "a: changed", "anonymous: added",
        "a: read o/#; write o/x (account default)", "anonymous: read public (account default)",
    ]  # fmt: skip
    assert told.err == "thalweg: there is no password\n"
    known = load(file).users
    assert known.identify(b"a", b"first") is None
    assert known.identify(b"a", b"second") is not None
    typed(monkeypatch, b"hashed\n")
    assert main(["user", "hash"]) == 0
    assert Secret.parse(capsys.readouterr().out.strip()).matches(b"hashed")
    pathlib.Path(file).write_text("[users.a]\nread = [1]")
    assert main(["user", "check", file]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


# while serving


def config(file: pathlib.Path) -> Config:
    off = {"listen": "off"}
    return Config(data=":memory:", users=str(file), kafka=Kafka(**off), nats=Nats(listen=ANY), mqtt=Mqtt(**off), resp=Resp(listen=ANY))  # fmt: skip


def write(file: pathlib.Path, **rules: str) -> None:
    """Users whose password is ``pw``."""
    file.write_text("".join(f'[users.{name}]\nsecret = "{SECRET}"\n{rule}\n' for name, rule in rules.items()))
    file.chmod(0o600)


async def log_in(gateway: Gateway, name: str, password: str = "pw") -> tuple[bytes, asyncio.StreamReader]:
    """What NATS answers; the connection stays open as long as the reader is held."""
    reader, writer = await asyncio.open_connection(*gateway.listeners["nats"])
    await reader.readline()
    told = json.dumps({"user": name, "pass": password, "verbose": False}).encode()
    writer.write(b"CONNECT " + told + b"\r\nPING\r\n")
    reader.writer = writer  # type: ignore[attr-defined]
    return await reader.readline(), reader


def run(work) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(work, DEADLINE_S))


def test_only_users_come_in_and_a_changed_file_closes_those_it_concerns(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "u.toml"
    write(file, kept="all = true", changed='read = ["a"]', gone="all = true")

    async def work() -> None:
        async with Gateway(config(file)) as gateway:
            assert (await log_in(gateway, "kept", "wrong"))[0].startswith(b"-ERR 'Authorization Violation'")
            assert (await log_in(gateway, "nobody"))[0].startswith(b"-ERR 'Authorization Violation'")
            kept, changed, gone = [await log_in(gateway, name) for name in ("kept", "changed", "gone")]
            assert [kept[0], changed[0], gone[0]] == [b"PONG\r\n"] * 3
            assert gateway.reload() == ["users were read again; connections closed: 0"]
            write(file, kept="all = true", changed='read = ["b"]')
            assert gateway.reload() == ["users were read again; connections closed: 2"]
            for _, reader in (changed, gone):
                assert await reader.readline() == b"-ERR 'Authorization Violation'\r\n"
                assert await reader.read() == b""
            kept[1].writer.write(b"PING\r\n")  # type: ignore[attr-defined]
            assert await kept[1].readline() == b"PONG\r\n"
            assert (await log_in(gateway, "gone"))[0].startswith(b"-ERR")
            file.write_text("[users.kept]\n")
            (said,) = gateway.reload()
            assert "has no secret" in said
            assert said.endswith("; the users that were stay")
            assert (await log_in(gateway, "changed"))[0] == b"PONG\r\n"

    run(work())


def test_an_mqtt_client_whose_user_is_gone_is_told_so(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "u.toml"
    write(file, gone="all = true", other="all = true")
    connect = b"\x00\x04MQTT\x05\xc2\x00\x00\x00\x00\x01a\x00\x04gone\x00\x02pw"

    async def work() -> None:
        told = dataclasses.replace(config(file), mqtt=Mqtt(listen=ANY))
        async with Gateway(told) as gateway:
            reader, writer = await asyncio.open_connection(*gateway.listeners["mqtt"])
            writer.write(b"\x10%c%b" % (len(connect), connect))
            assert (await reader.readexactly(4))[0] == 0x20
            write(file, other="all = true")
            assert gateway.reload() == ["users were read again; connections closed: 1"]
            assert b"\xe0\x01\x87" in await reader.read() + b""

    run(work())


def test_a_bad_file_stops_the_start_and_names_its_mistakes(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "u.toml"

    async def work(words: str) -> None:
        with pytest.raises(CannotStart, match=words):
            await Gateway(config(file)).start()

    run(work("No such file"))
    file.write_text("[users.a]\n")
    file.chmod(0o600)
    run(work(r"users\.a: has no secret"))


def test_guessing_is_bounded_for_a_connection_and_for_all(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "u.toml"
    write(file, a="all = true", b="all = true")
    hashed: list[bytes] = []
    real = Secret.matches
    monkeypatch.setattr(Secret, "matches", lambda self, word: hashed.append(word) or real(self, word))

    async def work() -> None:
        async with Gateway(config(file)) as gateway:
            driver = gateway._driver
            assert driver is not None
            reader, writer = await asyncio.open_connection(*gateway.listeners["resp"])
            writer.write(b"".join(b"AUTH a wrong%d\r\n" % number for number in range(100)) + b"AUTH a pw\r\nQUIT\r\n")
            said = await reader.read()
            assert said.count(b"-WRONGPASS") == 101
            assert len(hashed) == REFUSALS_MAX
            assert (await log_in(gateway, "a"))[0] == b"PONG\r\n"
            for _ in range(400):
                driver.refused(None)
            del hashed[:]
            assert (await log_in(gateway, "a"))[0] == b"PONG\r\n"  # it was right before
            assert (await log_in(gateway, "b"))[0].startswith(b"-ERR")  # it would be right, but is not looked at
            assert gateway.metrics()["logins_refused_total"] == REFUSALS_MAX + 401

    run(work())


def test_passwords_already_checked_are_not_hashed_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "u.toml"
    write(file, a="all = true")
    loaded = load(file).users
    assert loaded.identify(b"a", b"pw") is not None
    monkeypatch.setattr(Secret, "matches", lambda self, password: False)
    assert loaded.identify(b"a", b"pw") is not None
    assert loaded.identify(b"a", b"other") is None


def test_keys_of_names_are_tomls() -> None:
    assert [users.key_of(name) for name in ("a-b_1", "a b", 'a"b', "ü")] == ["a-b_1", '"a b"', '"a\\"b"', '"ü"']


def test_the_example_of_the_documentation_is_a_user_file() -> None:
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs/security.md").read_text()
    example = re.search(r"<!-- users -->\n```toml\n(.*?)```", page, re.DOTALL)
    assert example is not None
    assert list(parse(example[1], "example")) == ["sensor", "billing", "root", "anonymous"]
