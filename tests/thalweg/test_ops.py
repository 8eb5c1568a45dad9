from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypothesis import given
from hypothesis import strategies as st

from thalweg.metrics import ONCE
from thalweg.ops import CONNECTIONS_MAX, HEAD_BYTES_MAX, Ops, exposition


@asynccontextmanager
async def serving(ready: bool = True) -> AsyncIterator[tuple[Ops, int]]:
    ops = Ops(lambda: ready, lambda: {'lag{stream="a"}': 2, "commits_total": 7})
    _, port = await ops.start("127.0.0.1", 0)
    yield ops, port
    await ops.stop()


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


async def status(port: int, request: bytes) -> int:
    return int((await ask(port, request)).split(b" ", 2)[1])


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def test_a_ready_process_answers_ok_on_each_path() -> None:
    async with serving() as (_, port):
        assert [await status(port, get(path)) for path in ("/livez", "/readyz", "/readyz?verbose", "/metrics")] == [
            200
        ] * 4


async def test_a_process_that_is_not_ready_lives_and_says_503() -> None:
    async with serving(ready=False) as (_, port):
        assert [await status(port, get(path)) for path in ("/livez", "/readyz")] == [200, 503]


async def test_metrics_are_prometheus_text() -> None:
    async with serving() as (_, port):
        head, _, body = (await ask(port, get("/metrics"))).partition(b"\r\n\r\n")
        assert b"Content-Type: text/plain; version=0.0.4" in head
        assert body.decode() == (
            f"# HELP thalweg_commits_total {ONCE['commits_total']}\n"
            "# TYPE thalweg_commits_total counter\nthalweg_commits_total 7\n"
            '# TYPE thalweg_lag gauge\nthalweg_lag{stream="a"} 2\n'
        )


async def test_bad_requests_are_told_so() -> None:
    async with serving() as (_, port):
        assert await status(port, b"POST /metrics HTTP/1.1\r\n\r\n") == 405
        assert await status(port, get("/elsewhere")) == 404
        assert await status(port, b"\x16\x03\x01 what is this\r\n\r\n") == 400
        assert await status(port, b"GET /metrics HTTP/1.1\r\n" + b"x" * HEAD_BYTES_MAX) == 431


async def test_a_request_cut_anywhere_is_one_request() -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for byte in get("/livez"):
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 200 OK")
        writer.close()


async def test_connections_beyond_the_limit_are_refused_and_forgotten() -> None:
    async with serving() as (ops, port):
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
        assert await status(port, get("/livez")) == 503
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()
        while ops.connections:
            await asyncio.sleep(0)
        assert await status(port, get("/livez")) == 200


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda name: "{" not in name), st.integers()
    )
)
def test_any_metric_name_gives_lines_that_prometheus_reads(metrics: dict[str, int]) -> None:
    for line in exposition(metrics).splitlines():
        name = line.split(" ")[2 if line.startswith("#") else 0] if line else ""
        assert name.replace("_", "").isascii()
