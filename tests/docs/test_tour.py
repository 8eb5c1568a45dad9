"""The README's tour, run as it stands, but for the ports: this gateway's are ephemeral."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from conformance.process import GatewayProcess, find_command

ROOT = pathlib.Path(__file__).resolve().parents[2]
LISTENING_S_MAX = 20.0
READ_S_MAX = 20.0


def tour() -> list[str]:
    """Its lines, comments cut off."""
    part = re.search(r"<!-- tour -->\n```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert part is not None, "README.md has no tour"
    return [line.split("  #")[0].rstrip() for line in part[1].splitlines() if line.strip()]


def aimed(line: str, gateway: GatewayProcess) -> str:
    """The same command for this gateway's ports."""
    line = line.replace("localhost:9092", gateway.kafka)
    line = line.replace("redis-cli", f"redis-cli -p {gateway.port('resp')}")
    line = line.replace("mosquitto_pub", f"mosquitto_pub -p {gateway.port('mqtt')}")
    if "examples.nats_read" in line:
        line = line.replace(".venv/bin/python", sys.executable).replace(
            "'orders.>'", f"'orders.>' nats://{gateway.nats}"
        )
    return line


@contextlib.contextmanager
def listening(line: str, output: pathlib.Path, sign: str) -> Iterator[pathlib.Path]:
    """A reader in the background, from when it printed ``sign``; its output is in the file."""
    with output.open("wb") as file:
        reader = subprocess.Popen(line, shell=True, stdout=file, stderr=file, cwd=ROOT, start_new_session=True)
    try:
        wait_for(output, sign, LISTENING_S_MAX)
        yield output
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(reader.pid, signal.SIGTERM)
        reader.wait(10)


def wait_for(output: pathlib.Path, sign: str, s_max: float) -> None:
    deadline = time.monotonic() + s_max
    while sign not in output.read_text():
        assert time.monotonic() < deadline, f"{output.name} has no {sign!r}: {output.read_text()!r}"
        time.sleep(0.02)


def run(line: str) -> str:
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


def test_the_tour_shows_one_message_in_all_four_protocols(gateway: GatewayProcess, tmp_path: pathlib.Path) -> None:
    missing = [name for name in ("kcat", "redis-cli", "mosquitto_pub") if find_command(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (make peers)")
    create, redis_read, nats_read, publish, kafka_read = (aimed(line, gateway) for line in tour())
    assert 'topic "orders"' in run(create)
    with (
        listening(redis_read.rstrip("& "), tmp_path / "redis", "psubscribe") as redis_output,
        listening(nats_read.rstrip("& "), tmp_path / "nats", "listening") as nats_output,
    ):
        run(publish)
        wait_for(redis_output, "10 tonnes of sand", READ_S_MAX)
        wait_for(nats_output, "10 tonnes of sand", READ_S_MAX)
        assert "orders:eu:42" in redis_output.read_text()
        assert "orders.eu.42" in nats_output.read_text()
    assert run(kafka_read) == "0 orders/eu/42 10 tonnes of sand\n"
