"""The real process from outside: what it listens on, how it ends, what it says when it cannot."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conformance.process import GatewayProcess

ROOT = Path(__file__).resolve().parents[2]
STOP_S_MAX = 5.0
"""Stated in docs/configuration.md: after it the process has ended, cleanly or not."""


def http_status(gateway: GatewayProcess, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{gateway.http}{path}", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_ready_file_names_the_process_and_every_listener(gateway: GatewayProcess) -> None:
    told = json.loads(gateway.ready_file.read_text())
    assert told["pid"] == gateway.pid
    assert told["listeners"].keys() == {"kafka", "nats", "mqtt", "resp", "http"}
    assert all(not address.endswith(":0") for address in told["listeners"].values())


def test_health_is_answered_over_http(gateway: GatewayProcess) -> None:
    assert [http_status(gateway, path) for path in ("/livez", "/readyz", "/metrics", "/none")] == [200, 200, 200, 404]


def test_a_listener_that_is_off_is_not_there(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway(data=":memory:", flags=["--mqtt", "off", "--http", "off"])
    assert json.loads(gateway.ready_file.read_text())["listeners"].keys() == {"kafka", "nats", "resp"}


def test_variables_and_file_reach_the_process(start_gateway: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "thalweg.toml"
    file.write_text('[nats]\nserver_name = "from-the-file"\npayload_bytes_max = 4096\n')
    gateway = start_gateway(
        data=":memory:", flags=["--config", str(file)], env={"THALWEG_NATS__SERVER_NAME": "from-the-variable"}
    )
    with socket.create_connection(("127.0.0.1", gateway.port("nats")), timeout=10) as client:
        told = client.makefile("rb").readline()
    assert b'"server_name":"from-the-variable"' in told.replace(b": ", b":")
    assert b'"max_payload":4096' in told.replace(b": ", b":")


def test_a_terminated_process_says_goodbye_and_ends_in_time(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway()
    with socket.create_connection(("127.0.0.1", gateway.port("nats")), timeout=10) as client:
        lines = client.makefile("rb")
        lines.readline()
        client.sendall(b"CONNECT {}\r\nPING\r\n")
        assert lines.readline() in (b"PONG\r\n", b"+OK\r\n")
        began = time.monotonic()
        assert gateway.stop() == 0, gateway.last_words()
        assert time.monotonic() - began < STOP_S_MAX
        client.settimeout(10)
        while lines.readline():
            pass  # the goodbye, then the end: never a reset
    assert not gateway.ready_file.exists()


def test_an_interrupt_is_a_clean_stop_too(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway(data=":memory:")
    os.kill(gateway.pid, signal.SIGINT)
    assert gateway.stop() == 0  # SIGTERM on top of it changes nothing


def test_a_clean_stop_is_in_time_though_a_peer_reads_nothing(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway(data=":memory:")
    with (
        socket.create_connection(("127.0.0.1", gateway.port("nats")), timeout=10) as reader,
        socket.create_connection(("127.0.0.1", gateway.port("nats")), timeout=10) as writer,
    ):
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.sendall(b"CONNECT {}\r\nSUB x 1\r\nPING\r\n")
        lines = reader.makefile("rb")
        while lines.readline() != b"PONG\r\n":
            pass
        writer.sendall(b'CONNECT {"verbose":false}\r\n' + b"PUB x 100000\r\n" + b"x" * 100000 + b"\r\n")
        writer.sendall((b"PUB x 100000\r\n" + b"x" * 100000 + b"\r\n") * 100 + b"PING\r\n")
        answers = writer.makefile("rb")
        while answers.readline() != b"PONG\r\n":
            pass
        began = time.monotonic()
        assert gateway.stop() in (0, 1)
        assert time.monotonic() - began < STOP_S_MAX


def complaint(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "thalweg", "serve", *arguments],
        capture_output=True, text=True, timeout=60, cwd=ROOT,
    )  # fmt: skip
    return done.returncode, done.stderr


OFF = ["--nats", "off", "--mqtt", "off", "--resp", "off", "--http", "off"]


def test_an_address_that_is_taken_is_named(gateway: GatewayProcess) -> None:
    status, said = complaint("--data", ":memory:", "--kafka", gateway.kafka, *OFF)
    assert status == 1
    assert len(said.splitlines()) == 1
    assert gateway.kafka.rpartition(":")[2] in said


def test_a_data_directory_in_use_is_refused(gateway: GatewayProcess) -> None:
    status, said = complaint("--data", gateway.data, "--kafka", "127.0.0.1:0", *OFF)
    assert status == 1
    assert len(said.splitlines()) == 1, said
    assert gateway.data in said


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    status, said = complaint("--data", str(tmp_path / "data"), "--kafka", "127.0.0.1:0", *OFF)
    assert status == 1
    assert len(said.splitlines()) == 1, said


def verify(data: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "thalweg", "verify", data], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    return done.returncode, done.stdout


def test_verify_finds_a_stopped_directory_sound_and_a_running_one_busy(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway()
    assert verify(gateway.data)[0] == 1
    assert gateway.stop() == 0
    status, said = verify(gateway.data)
    assert (status, said.splitlines()[-1]) == (0, "sound")
