"""Fixtures for test-suites of programs that use Kafka, NATS, MQTT or Redis: the broker in half a second, without Docker.

    def test_orders(thalweg_redis):
        client = redis.Redis.from_url(thalweg_redis)

It runs in a process of its own, so that no module of the project and none of ours meet. In ``pytest.ini``:
``thalweg_scope`` says for how long one is shared (``session``, ``module``, ``class``, ``function``: then each test begins with
nothing stored), ``thalweg_data`` whether it keeps its data in ``memory`` or on ``disk``.

Nothing here costs a project that does not use it: what starts a gateway is imported by the first fixture that needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from thalweg.embedding import Addresses, ChildProcess, HostPort

SCOPES = ("session", "package", "module", "class", "function")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("thalweg_scope", f"how long one gateway is shared: {', '.join(SCOPES)}", default="session")
    parser.addini("thalweg_data", "where it keeps its data: memory or disk", default="memory")


def _scope(fixture_name: str, config: pytest.Config) -> str:
    scope = str(config.getini("thalweg_scope"))
    if scope not in SCOPES:
        raise pytest.UsageError(f"thalweg_scope is {scope!r}, not one of {', '.join(SCOPES)}")
    return scope


@pytest.fixture(scope="session")
def thalweg_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChildProcess]:
    """The process that holds the gateways of this session."""
    from thalweg.embedding import ChildProcess

    with ChildProcess(tmp_path_factory.mktemp("thalweg")) as process:
        yield process


def _started(
    process: ChildProcess, config: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Addresses]:
    where = str(config.getini("thalweg_data"))
    if where not in ("memory", "disk"):
        raise pytest.UsageError(f"thalweg_data is {where!r}, not memory or disk")
    gateway = process.start(":memory:" if where == "memory" else tmp_path_factory.mktemp("thalweg"))
    yield gateway
    gateway.stop()


@pytest.fixture(scope=_scope)  # type: ignore[arg-type]
def thalweg(
    thalweg_process: ChildProcess, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Addresses]:
    """A gateway: ``.kafka``, ``.nats``, ``.mqtt`` and ``.redis`` are its addresses, shared as ``thalweg_scope`` says."""
    yield from _started(thalweg_process, pytestconfig, tmp_path_factory)


@pytest.fixture
def thalweg_fresh(
    thalweg_process: ChildProcess, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Addresses]:
    """A gateway of this test's own, with nothing stored, whatever ``thalweg_scope`` says."""
    yield from _started(thalweg_process, pytestconfig, tmp_path_factory)


@pytest.fixture(scope=_scope)  # type: ignore[arg-type]
def thalweg_kafka(thalweg: Addresses) -> str:
    """``bootstrap.servers``: ``host:port``."""
    return thalweg.kafka


@pytest.fixture(scope=_scope)  # type: ignore[arg-type]
def thalweg_nats(thalweg: Addresses) -> str:
    """``nats://host:port``."""
    return thalweg.nats


@pytest.fixture(scope=_scope)  # type: ignore[arg-type]
def thalweg_mqtt(thalweg: Addresses) -> HostPort:
    """``(host, port)``."""
    return thalweg.mqtt


@pytest.fixture(scope=_scope)  # type: ignore[arg-type]
def thalweg_redis(thalweg: Addresses) -> str:
    """``redis://host:port/0``."""
    return thalweg.redis
