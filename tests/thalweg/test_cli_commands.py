"""The commands for people against a real process: pipes, forms, exit statuses, what they cost to start."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conformance.process import GatewayProcess
from protocols.identity import Secret
from thalweg.cli import main
from thalweg.commands.cat import time_ms
from thalweg.commands.output import shield, size, span, table
from thalweg.commands.pub import Malformed, cut_lengths
from thalweg.commands.remote import Server

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "thalweg"]
FOR_PEOPLE = ("pub", "sub", "cat", "streams", "groups", "top", "bench")
HEAVY = ("asyncio", "pydantic", "uvloop", "protocols", "substrate.api", "thalweg.config", "thalweg.gateway", "h11")


@pytest.fixture(scope="module")
def cli(start_gateway: Callable[..., GatewayProcess]) -> Iterator[Cli]:
    yield Cli(start_gateway(data=":memory:"))


class Cli:
    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        self.env = {**os.environ, "THALWEG_SERVER": f"http://{gateway.http}", "PYTHONPATH": str(ROOT)}

    def run(self, *arguments: str, input: bytes | None = None, status: int = 0) -> bytes:
        """Standard output of one command; a process of its own where it is given some input."""
        if input is None:
            ended, printed, self.said = self.here(arguments)
        else:
            done = subprocess.run([*COMMAND, *arguments], input=input, capture_output=True, timeout=60, env=self.env)
            ended, printed, self.said = done.returncode, done.stdout, done.stderr.decode()
        assert ended == status, (arguments, ended, self.said)
        assert "Traceback" not in self.said
        return printed

    def here(self, arguments: Sequence[str]) -> tuple[int, bytes, str]:
        out, said = io.TextIOWrapper(io.BytesIO(), write_through=True), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said), pytest.MonkeyPatch.context() as patched:
            patched.setenv("THALWEG_SERVER", self.env["THALWEG_SERVER"])
            try:
                status = main(arguments)
            except SystemExit as ended:
                status = int(ended.code or 0)
        out.seek(0)
        return status, out.buffer.read(), said.getvalue()

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([*COMMAND, *arguments], env=self.env, **(pipes | more))

    def stream(self, name: str) -> str:
        self.run("streams", "--create", name)
        return name


@pytest.mark.parametrize("command", FOR_PEOPLE)
def test_a_command_for_people_imports_no_server_code(command: str) -> None:
    code = (
        "import sys; from thalweg.cli import COMMANDS, main\n"
        "try: main([sys.argv[1], '--help'])\n"
        "except SystemExit: pass\n"
        f"print(sorted(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_lines_go_in_and_come_out(cli: Cli) -> None:
    cli.stream("lines")
    cli.run("pub", "lines/a", input=b"one\ntwo\n\nthree")
    assert cli.run("cat", "lines") == b"one\ntwo\n\nthree\n"
    assert cli.run("cat", "lines", "--from", "-1") == b"three\n"
    assert cli.run("cat", "lines", "-n", "2", "-k") == b"lines/a\tone\nlines/a\ttwo\n"
    assert cli.run("cat", "lines", "--from", "latest") == b""
    assert cli.run("cat", "lines", "--since", "1h").count(b"\n") == 4
    assert cli.run("cat", "lines", "--since", "2099-01-01") == b""


@pytest.mark.parametrize("form", ["raw", "length", "json"])
def test_any_bytes_survive_the_pipe(cli: Cli, form: str) -> None:
    name, copy = cli.stream(f"bytes-{form}"), cli.stream(f"copy-{form}")
    values = [bytes(range(256)), b"", b"\n\n", "\N{SNOWMAN}".encode(), b"\xff"]
    cli.run("pub", name, "--length-prefixed", input=b"".join(len(one).to_bytes(4, "big") + one for one in values))
    printed = cli.run("cat", name, "-o", form)
    if form == "raw":
        assert printed == b"".join(values)
        return
    cli.run("pub", copy, "-i", form, input=printed)
    assert cli.run("cat", copy, "-o", "length") == cli.run("cat", name, "-o", "length")


def test_records_keep_their_addresses_and_headers_through_json(cli: Cli) -> None:
    cli.stream("told")
    cli.run("pub", "told/a", "x", "-H", "unit: t")
    record = json.loads(cli.run("cat", "told", "-o", "json"))
    assert (record["address"], record["value"], record["headers"]) == ("told/a", "x", [["unit", "t"]])
    cli.run("pub", "-", "-i", "json", input=json.dumps(record).encode())
    first, second = (json.loads(line) for line in cli.run("cat", "told", "-o", "json").splitlines())
    assert {name: first[name] for name in ("address", "value", "headers")} == {
        name: second[name] for name in ("address", "value", "headers")
    }


def test_what_is_kept_by_nobody_is_said_and_a_stream_is_made_where_asked(cli: Cli) -> None:
    answer = json.loads(cli.run("pub", "fresh/a", "x", "-o", "json"))
    assert (answer["published"], answer["stored"]) == (1, 0)
    assert "kept by no stream" in cli.said
    assert json.loads(cli.run("pub", "fresh/a", "x", "--create", "-o", "json"))["stream"] == "fresh"
    assert json.loads(cli.run("pub", "fresh/b", "x", "--create", "-o", "json"))["position"] == 1


def test_a_live_pipe_is_published_line_by_line_and_followed(cli: Cli) -> None:
    cli.stream("live")
    tail = cli.start("sub", "live/+", "-n", "2", "-k")
    follower = cli.start("cat", "live", "-f", "-n", "2")
    wait_for_streams(cli, 2)
    source = cli.start("pub", "live/a")
    assert source.stdin is not None and tail.stdout is not None
    source.stdin.write(b"first\n")
    source.stdin.flush()
    assert readable(tail.stdout).readline() == b"live/a\tfirst\n"
    source.stdin.write(b"second\nignored\n")
    source.stdin.close()
    assert tail.stdout.readline() == b"live/a\tsecond\n"
    assert follower.communicate(timeout=30)[0] == b"first\nsecond\n"
    assert [one.wait(30) for one in (tail, follower, source)] == [0, 0, 0]
    for pipe in (tail.stdin, tail.stdout, tail.stderr, source.stdout, source.stderr):
        assert pipe is not None
        pipe.close()


def wait_for_streams(cli: Cli, count: int) -> None:
    """Until so many HTTP connections have been answered, beside the one that asks."""
    while True:
        with urllib.request.urlopen(f"http://{cli.gateway.http}/api/connections?protocol=http", timeout=10) as answer:
            found = json.load(answer)["connections"]
        if sum(one["out_bytes"] > 200 for one in found) >= count:
            return


def readable(pipe: Any) -> Any:
    assert select.select([pipe], [], [], 30)[0], "nothing came"
    return pipe


def test_ctrl_c_and_a_closed_pipe_end_quietly(cli: Cli) -> None:
    cli.stream("quiet")
    cli.run("pub", "quiet", input=b"line\n" * 20_000)
    tail = cli.start("cat", "quiet", "-f")
    readable(tail.stdout).readline()
    tail.send_signal(signal.SIGINT)
    assert (tail.communicate(timeout=30)[1], tail.returncode) == (b"", 130)
    full = cli.start("cat", "quiet")
    assert full.stdout is not None and full.stderr is not None
    assert readable(full.stdout).read(5) == b"line\n"
    full.stdout.close()
    assert full.wait(30) in (141, 0)  # 0: all of it was in the pipe already
    assert full.stderr.read() == b""
    full.stderr.close()


def test_streams_are_listed_made_and_deleted(cli: Cli) -> None:
    cli.run("streams", "--create", "wide/one", "--partitions", "3", "--keep", "12h")
    table_ = cli.run("streams", "wide/#").decode().splitlines()
    assert table_[0].split()[:2] == ["NAME", "RECORDS"]
    assert table_[1].split() == ["wide/one", "0", "0", "3", "0", "0", "12h", "sync"]
    (told,) = (json.loads(line) for line in cli.run("streams", "wide/one", "-o", "json").splitlines())
    assert (len(told["partitions"]), told["retention_ms"]) == (3, 43_200_000)
    for number in range(9):
        cli.run("pub", f"wide/one/{number}", str(number))
    assert sorted(cli.run("cat", "wide/one").split()) == [str(number).encode() for number in range(9)]
    cli.run("streams", "--create", "wide/one", status=1)
    assert "exists" in cli.said
    cli.run("streams", "--delete", "wide/one")
    assert "wide/one" not in cli.run("streams").decode()
    assert "_thalweg/control" in cli.run("streams", "--internal").decode()


def test_top_shows_once_in_plain_text_and_in_json(cli: Cli) -> None:
    cli.stream("topped")
    text = cli.run("top", "-n", "1", "-d", "0.25").decode()
    assert "\x1b" not in text
    assert "connections: kafka 0" in text
    assert any(line.startswith("topped") for line in text.splitlines())
    view = json.loads(cli.run("top", "-n", "1", "-d", "0.25", "-o", "json"))
    assert "topped" in [one["name"] for one in view["streams"]]


def test_top_leaves_a_terminal_as_it_was(cli: Cli) -> None:
    leader, follower = pty.openpty()
    try:
        before = termios.tcgetattr(follower)
        top = cli.start("top", "-d", "0.25", stdin=follower, stdout=follower)
        seen = b""
        while b"\x1b[?1049l" not in seen:
            assert select.select([leader], [], [], 30)[0]
            seen += os.read(leader, 65536)
            if b"STREAM" in seen:
                os.write(leader, b"q")
        assert seen.startswith(b"\x1b[?1049h")
        assert top.communicate(timeout=30)[1] == b""
        assert (top.returncode, termios.tcgetattr(follower)) == (0, before)
    finally:
        os.close(leader)
        os.close(follower)


def test_groups_are_listed(cli: Cli) -> None:
    assert cli.run("groups").decode().split()[:2] == ["KIND", "NAME"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["cat", "nothing-here"], 1, "there is no stream nothing-here"),
        (["cat", "nothing-here", "--since", "yesterday"], 2, "neither a time"),
        (["cat"], 2, "required: STREAM"),
        (["cat", "x", "--form", "1"], 2, "did you mean --from?"),
        (["sub", "a/#/b"], 1, "not a pattern"),
        (["pub", "a/#", "x"], 1, "not an address"),
        (["pub", "_thalweg/x", "x"], 1, "denied"),
        (["pub", "-", "x"], 2, "ADDRESS - is for -i json"),
        (["pub", "a", "x", "-H", "nocolon"], 2, "NAME:VALUE"),
        (["streams", "--server", "ftp://x"], 1, "not a URL"),
        (["streams", "--server", "http://127.0.0.1:1"], 1, "nobody listens there"),
        (["streams", "--create", "x", "--keep", "long"], 2, "how long?"),
        (["bench", "nats", "127.0.0.1:1"], 1, "refused"),
        (["bench", "nats", "nowhere"], 2, "HOST:PORT"),
        (["bench", "smtp"], 2, "invalid choice"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line_with_its_status(
    cli: Cli, arguments: list[str], status: int, words: str
) -> None:
    assert cli.run(*arguments, status=status) == b""
    assert words in cli.said
    assert status == 2 or len(cli.said.splitlines()) == 1


def test_a_connection_that_was_closed_while_idle_is_made_anew() -> None:
    """Of what was sent, nothing is sent twice: a pipe may be silent for longer than the server keeps a connection."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with ThreadPoolExecutor(1) as aside:
            for _ in range(3):
                asked = aside.submit(server.json, "POST", "/api/publish", {"value": "x"})
                accepted, _ = listener.accept()
                with accepted:
                    while b"}" not in accepted.recv(65536):
                        pass
                    accepted.sendall(answer)
                    assert asked.result(30) == {}
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_input_that_is_not_what_it_should_be_is_refused(cli: Cli) -> None:
    cli.run("pub", "a", "-i", "json", input=b"{nonsense\n", status=1)
    assert "not a record in JSON" in cli.said
    cli.run("pub", "a", "-i", "length", input=b"\0\0\0\5abc", status=1)
    assert "ends within a message" in cli.said
    with pytest.raises(Malformed):
        cut_lengths(b"plain text, not length-prefixed")


def test_a_user_is_named_in_the_url(start_gateway: Callable[..., GatewayProcess], tmp_path: pathlib.Path) -> None:
    users = tmp_path / "users.toml"
    users.write_text(
        f'[users.eve]\nsecret = "{Secret.of(b"p@:w", b"salt")}"\nread = ["orders/#"]\nmanage = ["orders/#"]\n'
    )
    users.chmod(0o600)
    gateway = start_gateway(data=":memory:", env={"THALWEG_USERS": str(users)})
    cli = Cli(gateway)
    cli.run("streams", status=1)
    assert "who are you?" in cli.said
    eve = f"http://eve:p%40%3Aw@{gateway.http}"
    cli.run("streams", "--create", "orders", "--server", eve)
    assert "orders" in cli.run("streams", "--server", eve).decode()
    cli.run("pub", "orders/x", "1", "--server", eve, status=1)
    assert cli.said == f"thalweg: http://{gateway.http}: user eve may not write orders/x\n"


@pytest.mark.parametrize("protocol", ["kafka", "nats", "mqtt", "redis"])
def test_bench_measures_this_server_by_each_protocol(cli: Cli, protocol: str) -> None:
    address = cli.gateway.address("resp" if protocol == "redis" else protocol)
    told = json.loads(cli.run("bench", protocol, address, "-n", "2000", "-l", "20", "-o", "json"))
    assert (told["messages"], told["bytes"]) == (2000, 128)
    assert told["rate"] > 0
    assert list(told["latency_us"]) == ["p50", "p90", "p99", "p99.9"]


@pytest.mark.peer
@pytest.mark.parametrize(
    ("name", "protocol"), [("nats-server", "nats"), ("mosquitto", "mqtt"), ("redis-server", "redis")]
)
def test_bench_measures_the_real_servers_too(cli: Cli, peer: Callable[[str], str], name: str, protocol: str) -> None:
    told = json.loads(cli.run("bench", protocol, peer(name), "-n", "2000", "-l", "20", "-o", "json"))
    assert told["messages"] == 2000


def test_times_are_read_as_people_write_them() -> None:
    assert time_ms("1700000000") == 1_700_000_000_000
    assert time_ms("2023-11-14T22:13:20+00:00") == 1_700_000_000_000
    before = time_ms("10m")
    assert before is not None and (time_ms("1s") or 0) - before > 500_000
    assert [time_ms(text) for text in ("soon", "", "10x")] == [None] * 3


def test_a_terminal_is_shielded_from_what_values_hold() -> None:
    assert shield(b"plain \xc3\xa9\tx") == b"plain \xc3\xa9\tx"
    assert shield(b"\x1b]0;owned\x07\xc2\x9b31m") == rb"\x1b]0;owned\x07\xc2\x9b31m"


def test_numbers_and_tables_are_for_people() -> None:
    assert [size(number) for number in (0, 1023, 1536, 150 * 1024, 5 * 1024**3)] == [
        "0",
        "1023",
        "1.5K",
        "150K",
        "5.0G",
    ]
    assert [span(number) for number in (-1, 86_400_000, 43_200_000, 90_000, 1500)] == [
        "-",
        "1d",
        "12h",
        "90s",
        "1500ms",
    ]
    lines = table([{"a": "x" * 40, "b": 5}, {"a": "y\n", "b": 50}], [("a", "A"), ("b", "BB")], 20)
    assert lines == ["A                 BB", "x" * 15 + "…" + "   5", "y\\n               50"]
