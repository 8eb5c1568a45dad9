"""The real files under an engine: what ``Files`` promises, on this machine's file system."""

from __future__ import annotations

import asyncio
import os
import pathlib

import pytest

from substrate.files import VECTORS_MAX, Lane, RealFiles


def test_everything_is_written_however_many_parts_there_are(tmp_path: pathlib.Path) -> None:
    files = RealFiles(str(tmp_path))
    handle = files.open("a", create=True)
    parts = [bytes([number % 251]) * (number % 7) for number in range(3 * VECTORS_MAX + 5)]
    files.write(handle, 10, parts)
    data = b"".join(parts)
    assert files.read(handle, 10, len(data) + 100) == data
    assert files.size(handle) == 10 + len(data)
    assert files.read(handle, 0, 10) == bytes(10)
    assert files.read(handle, 1 << 30, 10) == b""
    files.shut()


def test_space_is_taken_without_changing_the_size_and_given_back(tmp_path: pathlib.Path) -> None:
    files = RealFiles(str(tmp_path))
    handle = files.open("a", create=True)
    files.write(handle, 0, [b"x" * 100])
    files.allocate(handle, 100, 1 << 20, extend=False)
    assert files.size(handle) == 100
    files.truncate(handle, 100)
    assert os.stat(tmp_path / "a").st_blocks * 512 <= 64 * 1024
    files.allocate(handle, 0, 1 << 20, extend=True)
    assert files.size(handle) == 1 << 20
    assert 100 <= files.data_end(handle) <= 1 << 20
    files.shut()


def test_syncs_of_a_lane_finish_in_order_and_on_the_owners_thread(tmp_path: pathlib.Path) -> None:
    async def run() -> list[int]:
        loop = asyncio.get_running_loop()
        files = RealFiles(str(tmp_path), loop.call_soon_threadsafe)
        handle = files.open("a", create=True)
        folder = files.open_folder("")
        finished: list[int] = []
        last = loop.create_future()

        def done(number: int, error: OSError | None) -> None:
            assert error is None
            assert asyncio.get_running_loop() is loop
            finished.append(number)
            if number == 20:
                last.set_result(None)

        for number in range(21):
            files.write(handle, number, [b"x"])
            files.sync([handle, folder], Lane.TURN, lambda error, number=number: done(number, error))
        await asyncio.wait_for(last, 60)
        files.shut()
        return finished

    assert asyncio.run(run()) == list(range(21))


def test_wait_delivers_without_a_loop_and_says_when_nothing_is_left(tmp_path: pathlib.Path) -> None:
    files = RealFiles(str(tmp_path))
    handle = files.open("a", create=True)
    told: list[object] = []
    files.sync([handle], Lane.TURN, told.append)
    files.sync_all(Lane.BACKGROUND, told.append)
    files.post(lambda: told.append("posted"))
    while files.wait():
        pass
    assert told == [None, None, "posted"]
    files.shut()
    files.shut()


def test_an_fsync_that_fails_says_so(tmp_path: pathlib.Path) -> None:
    files = RealFiles(str(tmp_path))
    reader, writer = os.pipe()
    told: list[OSError | None] = []
    files.sync([writer], Lane.TURN, told.append)  # a pipe cannot be synced
    assert files.wait()
    assert isinstance(told[0], OSError)
    os.close(reader)
    os.close(writer)
    files.shut()


def test_an_alarm_comes_once_and_not_after_the_end(tmp_path: pathlib.Path) -> None:
    async def run() -> list[str]:
        loop = asyncio.get_running_loop()
        files = RealFiles(str(tmp_path), loop.call_soon_threadsafe)
        told: list[str] = []
        both = loop.create_future()

        def later() -> None:
            told.append("later")
            both.set_result(None)

        files.later(60_000, lambda: told.append("never"))
        files.later(30, later)
        files.later(1, lambda: told.append("soon"))
        await asyncio.wait_for(both, 60)
        files.shut()
        return told

    assert asyncio.run(run()) == ["soon", "later"]


def test_a_lock_is_held_until_the_end(tmp_path: pathlib.Path) -> None:
    first, second = RealFiles(str(tmp_path)), RealFiles(str(tmp_path))
    first.lock("lock")
    with pytest.raises(BlockingIOError):
        second.lock("lock")
    first.shut()
    second.lock("lock")
    second.shut()


def test_names_are_made_moved_and_removed(tmp_path: pathlib.Path) -> None:
    files = RealFiles(str(tmp_path / "deep" / "data"))
    files.make_folder("")
    files.make_folder("a/b")
    files.close(files.open("a/b/one", create=True))
    files.rename("a/b/one", "a/b/two")
    assert files.names("a/b") == ["two"]
    assert files.names("missing") == []
    with pytest.raises(FileNotFoundError):
        files.open("a/b/one")
    files.unlink("a/b/two")
    files.remove_folder("a/b")
    assert files.names("a") == []
    assert files.free_bytes() > 0
    assert files.identity() != files.identity()
    files.shut()
