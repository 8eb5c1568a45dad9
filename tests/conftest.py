"""What every test may use, and what must hold before any test runs.

Every test may run twice: on the compiled kernels, and (``--pure``) on the same files as plain Python.
The switch reaches the processes that tests start through the environment.
"""

from __future__ import annotations

import collections
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import hypothesis
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import build_kernels  # noqa: E402
from conformance.process import GatewayProcess, NotReady, ServerProcess, free_port, peer_command  # noqa: E402
from substrate.pure import install_if_asked  # noqa: E402

hypothesis.settings.register_profile("thalweg", deadline=None, print_blob=True)
hypothesis.settings.load_profile("thalweg")

GATEWAY = [sys.executable, "-m", "thalweg", "serve"]
SLOW_FIXTURES = {"gateway", "start_gateway", "peer"}
SLOW_PATHS = (
    "tests/cross/", "tests/test_simulation", "tests/transports/test_namespaces", "tests/substrate/test_crash_points",
    "tests/substrate/test_disk_rot", "many_streams", "ten_thousand",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pure", action="store_true", help="run the kernels uncompiled, also in processes that tests start"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--pure"):
        os.environ["THALWEG_PURE"] = "1"
    if install_if_asked():
        return
    outdated = [name for name in build_kernels.names() if build_kernels.is_outdated(name)]
    if outdated and os.environ.get("THALWEG_OUTDATED") != "1":
        pytest.exit(f"compiled kernels older than their sources: {' '.join(outdated)}; run `make kernels`", 3)
    if os.environ.get("CI") and build_kernels.why_not_compiled() is None and not compiled_kernels():
        pytest.exit("there is a compiler, and not one kernel is compiled: the tests would say nothing of them", 3)


def compiled_kernels() -> list[str]:
    return [name for name in build_kernels.names() if build_kernels.built_of(name).exists()]


def pytest_report_header() -> str:
    if os.environ.get("THALWEG_PURE") == "1":
        return "kernels: all uncompiled (THALWEG_PURE=1)"
    reason = build_kernels.why_not_compiled()
    return f"kernels: {len(compiled_kernels())} of {len(build_kernels.names())} compiled" + (
        f" ({reason})" if reason else ""
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts processes is not for `make`, which answers in under a minute."""
    for item in items:
        starts = SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ()))
        if starts or any(part in item.nodeid for part in SLOW_PATHS):
            item.add_marker(pytest.mark.slow)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line: how many tests were skipped, and why."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.option.collectonly:
        return
    reasons = collections.Counter(
        report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        for report in reporter.stats.get("skipped", [])
    )
    told = "; ".join(f"{count}x {reason.removeprefix('Skipped: ')}" for reason, count in reasons.most_common())
    reporter.write_line(f"skipped: {sum(reasons.values())}" + (f" ({told})" if told else ""))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def start_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., GatewayProcess]]:
    """Starts real processes: ``start_gateway(data=":memory:", flags=["--mqtt", "off"], env={...})``."""
    started: list[GatewayProcess] = []

    def start(
        data: str | None = None, flags: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> GatewayProcess:
        folder = tmp_path_factory.mktemp("gateway")
        server = GatewayProcess(GATEWAY, folder, data, flags, {"PYTHONPATH": str(ROOT), **(env or {})})
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def gateway(start_gateway: Callable[..., GatewayProcess]) -> GatewayProcess:
    """One real ``thalweg serve`` for the module: ``.kafka .nats .mqtt .resp .http`` are ``"host:port"``."""
    return start_gateway()


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Starts a real server by name and answers its address: ``peer("redis-server")``; skips where it is not installed."""
    started: dict[str, tuple[ServerProcess, str]] = {}

    def start(name: str) -> str:
        if name not in started:
            folder, port = tmp_path_factory.mktemp(name), free_port()
            command = peer_command(name, port, folder)
            if command is None:
                pytest.skip(f"{name} is not installed (make peers)")
            server = ServerProcess(command, folder)
            started[name] = server, f"127.0.0.1:{port}"
            server.start()
            try:
                server.wait_until_accepting(port)
            except NotReady as reason:
                pytest.skip(f"{name} does not start here: {str(reason).splitlines()[-1]}")
        return started[name][1]

    yield start
    for server, _ in started.values():
        server.stop()
