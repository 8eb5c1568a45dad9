"""The console in a real browser: Debian's Chromium, headless, driven through what people click."""

from __future__ import annotations

import base64
import json
import pathlib
import shutil
import socket
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conformance.node_clients import NoNode, run
from conformance.process import GatewayProcess
from protocols.identity import Secret

SCRIPT = "<script>document.title = 'owned'</script>"
STREAMS = 1000


def browser() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium here (make peers)")
    return found


def post(gateway: GatewayProcess, path: str, body: bytes, kind: str = "application/json") -> Any:
    request = urllib.request.Request(f"http://{gateway.http}{path}", body, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def opened(gateway: GatewayProcess, folder: pathlib.Path, *login: str) -> Any:
    try:
        return run("console", f"http://{gateway.http}", str(folder), browser(), *login, timeout_s=110)
    except NoNode as reason:
        pytest.skip(str(reason))


@pytest.fixture
def filled(start_gateway: Callable[..., GatewayProcess]) -> Iterator[GatewayProcess]:
    """Very many streams, one with pages of messages, one whose name and values look like markup."""
    browser()
    gateway = start_gateway(data=":memory:")
    names = [f"s{number:04}" for number in range(STREAMS)] + ["orders", f"{SCRIPT}"]
    with ThreadPoolExecutor(8) as several:
        list(several.map(lambda name: post(gateway, "/api/streams", json.dumps({"name": name}).encode()), names))
    messages = [{"address": f"orders/eu/{number}", "value": json.dumps({"number": number})} for number in range(250)]
    messages.append({"address": f"{SCRIPT}/x", "value": SCRIPT, "headers": [[SCRIPT, SCRIPT]]})  # type: ignore[dict-item]
    post(gateway, "/api/publish", b"\n".join(json.dumps(one).encode() for one in messages), "application/x-ndjson")
    yield gateway


def test_people_see_and_do_everything_in_a_browser(filled: GatewayProcess, tmp_path: pathlib.Path) -> None:
    config = b'{"stream_name":"orders","config":{"durable_name":"worker","ack_policy":"explicit"}}'
    asked = b"PUB $JS.API.CONSUMER.DURABLE.CREATE.orders.worker _INBOX.1 %d\r\n%b\r\n" % (len(config), config)
    with socket.create_connection(("127.0.0.1", filled.port("nats")), timeout=20) as nats:
        nats.sendall(b"CONNECT {}\r\nSUB _INBOX.1 1\r\n" + asked)
        while b"worker" not in nats.recv(65536):
            pass
        seen = opened(filled, tmp_path)
    assert [error for error in seen["errors"] if "409" not in error] == []  # a refusal that the page tells in words
    assert seen["foreign"] == []
    assert (seen["dialogs"], seen["scripts"], seen["title"].startswith("owned")) == (0, 0, False)
    assert seen["markup"] == SCRIPT
    assert "1\u202f002 streams" in seen["summary"]
    assert 5 < seen["rows"] < 60
    assert "orders/eu/249" in seen["first"]
    assert seen["told"].startswith("durable in orders at position 250")
    assert "unit" in seen["detail"]
    assert '"by": "hand"' in seen["detail"]
    assert seen["hex"].startswith("00000000  7b 22 62 79")
    assert seen["older"] > 101
    assert "orders/eu/199" in seen["oldest"]
    assert any("worker" in row and "252" in row for row in seen["groups"]), seen["groups"]
    assert any(row.startswith("nats") for row in seen["connections"])
    assert seen["mistake"]
    assert seen["themed"]


def test_a_user_sees_what_is_theirs(start_gateway: Callable[..., GatewayProcess], tmp_path: pathlib.Path) -> None:
    browser()
    users = tmp_path / "users.toml"
    users.write_text(
        f'[users.eve]\nsecret = "{Secret.of(b"pw", b"salt")}"\nread = ["orders/#"]\nwrite = ["orders/#"]\nmanage = ["orders/#"]\n'
    )
    users.chmod(0o600)
    gateway = start_gateway(data=":memory:", env={"THALWEG_USERS": str(users)})
    eve = {"Authorization": "Basic " + base64.b64encode(b"eve:pw").decode(), "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{gateway.http}/api/streams", b'{"name":"orders"}', eve)
    urllib.request.urlopen(request, timeout=10).close()
    seen = opened(gateway, tmp_path, "eve:pw")
    assert (seen["who"], seen["streams"]) == ("eve", ["orders"])
    assert "may not read _thalweg/connections" in seen["refused"]
    assert [error for error in seen["errors"] if "403" not in error] == []
