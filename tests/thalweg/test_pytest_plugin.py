"""The fixtures in a test-suite of somebody else's: a project of its own, run by a pytest of its own."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import time

import pytest

READY_S_GOAL = 0.5
CLIENTS = """
import redis, socket, pytest
import paho.mqtt.client as paho

@pytest.fixture(params=[1, 2])
def client(thalweg_redis, request):
    yield redis.Redis.from_url(thalweg_redis)

def test_redis(client):
    client.incr("n")

def test_state_of_the_session_is_shared(thalweg_redis):
    assert redis.Redis.from_url(thalweg_redis).get("n") == b"2"

def test_fresh(thalweg_fresh, thalweg_redis):
    assert thalweg_fresh.redis != thalweg_redis
    assert redis.Redis.from_url(thalweg_fresh.redis).get("n") is None

def test_mqtt(thalweg_mqtt):
    host, port = thalweg_mqtt
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    assert client.connect(host, port) == 0

def test_kafka(thalweg_kafka):
    from confluent_kafka.admin import AdminClient
    assert AdminClient({"bootstrap.servers": thalweg_kafka}).list_topics(timeout=20).brokers

def test_nats(thalweg_nats):
    import asyncio, nats
    async def work():
        client = await nats.connect(thalweg_nats)
        await client.flush()
        await client.close()
    asyncio.run(work())
"""


@pytest.fixture
def project(tmp_path: pathlib.Path):
    """Runs a pytest in a project with these files; what it printed must say so many passed."""

    def run(files: dict[str, str], ini: str = "", *arguments: str) -> str:
        for name, text in {"pytest.ini": f"[pytest]\n{ini}", **files}.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments],
            cwd=tmp_path, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        return done.stdout + done.stderr

    return run


def test_every_fixture_gives_its_client_what_it_wants(project) -> None:
    assert "7 passed" in project({"test_clients.py": CLIENTS})


COUNTER = """
import redis

def test_one(thalweg_redis):
    assert redis.Redis.from_url(thalweg_redis).incr("n") == 1

def test_two(thalweg_redis):
    assert redis.Redis.from_url(thalweg_redis).incr("n") == 1
"""


@pytest.mark.parametrize("data", ["memory", "disk"])
def test_with_the_scope_of_a_function_each_test_begins_with_nothing(project, data) -> None:
    assert "2 passed" in project({"test_counter.py": COUNTER}, f"thalweg_scope = function\nthalweg_data = {data}\n")


def test_with_the_scope_of_the_session_it_does_not(project) -> None:
    assert "1 failed, 1 passed" in project({"test_counter.py": COUNTER})


@pytest.mark.parametrize(
    ("ini", "words"),
    [
        ("thalweg_scope = forever", "thalweg_scope is 'forever', not one of session, package, module, class, function"),
        ("thalweg_data = tape", "thalweg_data is 'tape', not memory or disk"),
    ],
)
def test_a_setting_that_does_not_exist_is_named(project, ini, words) -> None:
    assert words in project({"test_counter.py": COUNTER}, ini)


def test_a_project_with_packages_of_our_names_keeps_them(project) -> None:
    hers = {f"{name}/__init__.py": "HERS = True\n" for name in ("protocols", "substrate", "transports")}
    test = "import protocols, substrate, transports\n" + COUNTER.replace("== 1", ">= 1")
    test += "\ndef test_hers():\n    assert protocols.HERS and substrate.HERS and transports.HERS\n"
    assert "3 passed" in project({**hers, "test_hers.py": test}, "pythonpath = .\n")


def test_a_project_that_does_not_use_it_pays_for_no_import(project) -> None:
    test = """
import sys

def test_nothing():
    ours = [name for name in sys.modules if name.split(".")[0] in ("thalweg", "protocols", "substrate", "uvloop")]
    assert set(ours) <= {"thalweg", "thalweg.pytest_plugin"}, ours
"""
    assert "1 passed" in project({"test_nothing.py": test})


def test_the_first_is_ready_soon(project, capsys: pytest.CaptureFixture[str]) -> None:
    test = """
import time

def test_ready(request):
    began = time.perf_counter()
    request.getfixturevalue("thalweg_redis")
    print(f"READY {time.perf_counter() - began:.2f}")
"""
    ready_s = float(re.search(r"READY ([\d.]+)", project({"test_ready.py": test}, "", "-s"))[1])
    with capsys.disabled():
        print(f"\nfirst fixture ready in {ready_s:.2f} s (goal {READY_S_GOAL} s)", end="")
    assert ready_s < 10 * READY_S_GOAL


def test_no_process_is_left_when_the_session_is_killed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "test_killed.py").write_text(
        "import os, signal\n"
        "def test_killed(thalweg_process):\n"
        "    print('PID', thalweg_process._process.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-s"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    pid = int(re.search(r"PID (\d+)", done.stdout)[1])
    deadline = time.monotonic() + 20
    while pathlib.Path(f"/proc/{pid}/cmdline").exists() and pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "the gateway's process outlives its parent"
        time.sleep(0.02)
