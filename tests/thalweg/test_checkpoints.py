"""A view begins from its newest checkpoint that is whole and belongs; without one, and without the beginning, it refuses."""

from __future__ import annotations

import pathlib
import re
import time
import urllib.request
from collections.abc import Callable

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from conformance.process import GatewayProcess, NotReady
from substrate import checkpoints
from substrate.checkpoints import Checkpoint
from substrate.files import RealFiles

DEADLINE_S = 60
WRITES = 12_000
SMALL = {"THALWEG_CHECKPOINT_BYTES": "100000"}


def make(position: int, state: bytes = b"state", name: str = "view") -> Checkpoint:
    return Checkpoint(name, 1, position, position - 1, 7, bytes(32), state)


@given(st.binary(max_size=200), st.integers(0, 2**62), st.text(max_size=20))
def test_a_checkpoint_round_trips(state: bytes, position: int, name: str) -> None:
    made = make(position, state, name)
    assert checkpoints.decode(checkpoints.encode(made)) == made


@given(st.binary(min_size=1, max_size=60), st.data())
def test_a_changed_checkpoint_is_not_there(state: bytes, data: st.DataObject) -> None:
    encoded = bytearray(checkpoints.encode(make(5, state)))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= 1 << data.draw(st.integers(0, 7))
    assert checkpoints.decode(bytes(encoded)) is None
    assert checkpoints.decode(bytes(checkpoints.encode(make(5, state)))[:at]) is None


def test_two_generations_are_kept_and_a_bad_one_falls_back_to_the_older(tmp_path: pathlib.Path) -> None:
    files = RealFiles(str(tmp_path))
    try:
        for position in (10, 20, 30):
            checkpoints.save(files, make(position))
        assert [made.position for made in checkpoints.load(files, "view")] == [30, 20]
        newest = next(
            path for path in (tmp_path / "checkpoints").iterdir() if path.read_bytes() != b"" and _position(path) == 30
        )
        spoil(newest)
        assert [made.position for made in checkpoints.load(files, "view")] == [20]
        checkpoints.save(files, make(40))
        assert [made.position for made in checkpoints.load(files, "view")] == [40, 20], "the bad one was overwritten"
    finally:
        files.shut()


def _position(path: pathlib.Path) -> int:
    made = checkpoints.decode(path.read_bytes())
    return made.position if made is not None else -1


def spoil(path: pathlib.Path) -> None:
    data = bytearray(path.read_bytes())
    if checkpoints.decode(bytes(data)) is not None:
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)


def connect(server: GatewayProcess) -> redis.Redis:
    return redis.Redis(port=server.port("resp"), socket_timeout=DEADLINE_S)


def write(server: GatewayProcess, start: int) -> None:
    with connect(server) as client:
        for at in range(start, start + WRITES, 1000):
            pipeline = client.pipeline(transaction=False)
            for index in range(at, at + 1000):
                pipeline.set(f"key:{index % 500}", f"value {index}")
            pipeline.execute()


def wait_for_checkpoints(server: GatewayProcess, count: int) -> list[Checkpoint]:
    """So many were written, and the stream trimmed below the older; those that there are."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=DEADLINE_S) as response:
            told = re.search(rb"^thalweg_checkpoints_total (\d+)", response.read(), re.MULTILINE)
        if told is not None and int(told.group(1)) >= count:
            files = RealFiles(str(server.data))
            try:
                return checkpoints.load(files, "resp")
            finally:
                files.shut()
        time.sleep(0.05)
    raise AssertionError(f"{count} checkpoints were not written")


def test_a_process_begins_from_its_checkpoints_and_never_empty(start_gateway: Callable[..., GatewayProcess]) -> None:
    server = start_gateway(env=SMALL)
    data = pathlib.Path(server.data)
    write(server, 0)
    wait_for_checkpoints(server, 1)
    write(server, WRITES)
    found = wait_for_checkpoints(server, 2)
    assert len(found) == 2
    expected = {f"key:{index % 500}".encode(): f"value {index}".encode() for index in range(2 * WRITES)}

    server.restart(kill=True)
    with connect(server) as client:
        assert {key: client.get(key) for key in client.scan_iter(count=1000)} == expected

    server.kill()
    newest = next(path for path in (data / "checkpoints").glob("resp.?") if _position(path) == found[0].position)
    spoil(newest)
    server.start()
    with connect(server) as client:
        assert {key: client.get(key) for key in client.scan_iter(count=1000)} == expected

    server.kill()
    for path in (data / "checkpoints").glob("resp.?"):
        spoil(path)
    with pytest.raises(NotReady, match="resp: begins at"):
        server.start()
