"""WebSocket listeners beside MQTT's (tests/mqtt/test_websocket.py): nats.js, plain and within TLS."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from conformance.node_clients import NoNode, run
from conformance.process import GatewayProcess
from tests.thalweg.certificates import Certificates


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_nats_js_over_websocket(
    start_gateway: Callable[..., GatewayProcess],
    tmp_path_factory: pytest.TempPathFactory,
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = ["--kafka", "off", "--mqtt", "off", "--resp", "off", "--http", "off"]
    if scheme == "ws":
        keys, name = {"NATS__WEBSOCKET_LISTEN": "127.0.0.1:0"}, "nats_websocket"
    else:
        certificates = Certificates.make(tmp_path_factory.mktemp("certificates"))
        monkeypatch.setenv("NODE_EXTRA_CA_CERTS", certificates.ca)
        tls = {f"TLS__{key.upper()}": value for key, value in certificates.keys().items()}
        keys, name = {"NATS__WEBSOCKET_TLS_LISTEN": "127.0.0.1:0", **tls}, "nats_websocket_tls"
    server = start_gateway(":memory:", flags, {f"THALWEG_{key}": value for key, value in keys.items()})
    address = json.loads(server.ready_file.read_text())["listeners"][name]
    try:
        said = run("nats_websocket", f"{scheme}://{address}")
    except NoNode as why:
        pytest.skip(str(why))
    assert said == {"whole": True, "answer": "re: what"}
