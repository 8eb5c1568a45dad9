"""A bad client costs its connection and bounded memory; the honest connections of all four protocols do not notice."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator

import pytest

from conformance.bad_clients import (
    ATTACKS,
    CLOSE_S_MAX,
    EDGE_ATTACKS,
    GREETINGS,
    SLOW_READERS,
    Attack,
    Honest,
    connect,
    dribble,
    is_closed,
    mqtt_connect,
    mqtt_packet,
    mqtt_text,
    number32,
)
from conformance.meters import open_files, resident_bytes
from conformance.process import GatewayProcess
from tests.thalweg.certificates import Certificates

PENDING_BYTES_MAX = 4 * 1024 * 1024
GROWN_BYTES_MAX = 64 * 1024 * 1024
"""What one bad client may cost while 128 MB are thrown at it: its bound, and what the allocator keeps of it."""
PEERS = {"nats": "nats-server", "mqtt": "mosquitto", "resp": "redis-server"}
PEER_TAKES = {
    ("mqtt", "256 MB announced before CONNECT"): "mosquitto 2.0 waits for them",
}


@pytest.fixture(scope="module")
def bounded_gateway(start_gateway: Callable[..., GatewayProcess]) -> GatewayProcess:
    """Small bounds for readers that do not read."""
    return start_gateway(
        env={f"THALWEG_{name}__PENDING_BYTES_MAX": str(PENDING_BYTES_MAX) for name in ("NATS", "MQTT", "RESP")}
    )


@pytest.fixture(scope="module")
def ports(bounded_gateway: GatewayProcess) -> dict[str, int]:
    return {protocol: bounded_gateway.port(protocol) for protocol in GREETINGS}


@pytest.fixture
def honest(ports: dict[str, int]) -> Iterator[Honest]:
    clients = Honest(ports)
    yield clients
    clients.check()
    clients.close()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.protocol}: {attack.name}")
def test_a_bad_client_costs_its_own_connection_only(
    bounded_gateway: GatewayProcess, ports: dict[str, int], honest: Honest, attack: Attack
) -> None:
    before = resident_bytes(bounded_gateway.pid)
    closed = attack.run(ports)
    assert attack.closed is None or closed == attack.closed
    honest.check()
    assert resident_bytes(bounded_gateway.pid) - before < 16 * 1024 * 1024
    assert bounded_gateway.is_running()


@pytest.fixture(scope="module")
def edges(start_gateway: Callable[..., GatewayProcess], tmp_path_factory: pytest.TempPathFactory) -> GatewayProcess:
    """With a WebSocket and a TLS listener for MQTT beside the others."""
    keys = Certificates.make(tmp_path_factory.mktemp("certificates")).keys()
    words = {f"THALWEG_TLS__{name.upper()}": str(value) for name, value in keys.items()}
    listen = {"THALWEG_MQTT__WEBSOCKET_LISTEN": "127.0.0.1:0", "THALWEG_MQTT__TLS_LISTEN": "127.0.0.1:0"}
    return start_gateway(env={**words, **listen})


@pytest.mark.parametrize("attack", EDGE_ATTACKS, ids=lambda attack: f"{attack.protocol}: {attack.name}")
def test_a_bad_client_of_an_edge_costs_its_own_connection_only(edges: GatewayProcess, attack: Attack) -> None:
    listeners = json.loads(edges.ready_file.read_text())["listeners"]
    clients = Honest({protocol: edges.port(protocol) for protocol in GREETINGS})
    before = resident_bytes(edges.pid)
    closed = attack.run({name: int(address.rpartition(":")[2]) for name, address in listeners.items()})
    assert attack.closed is None or closed == attack.closed
    clients.check()
    clients.close()
    assert resident_bytes(edges.pid) - before < 16 * 1024 * 1024
    assert edges.is_running()


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.protocol in PEERS], ids=lambda a: f"{a.protocol}: {a.name}")
def test_the_real_server_does_what_the_table_expects(peer: Callable[[str], str], attack: Attack) -> None:
    if reason := PEER_TAKES.get((attack.protocol, attack.name)):
        pytest.skip(reason)
    port = int(peer(PEERS[attack.protocol]).rpartition(":")[2])
    closed = attack.run({attack.protocol: port})
    assert attack.closed is None or closed == attack.closed


@pytest.mark.parametrize("name", SLOW_READERS)
def test_a_reader_that_does_not_read_is_bounded_and_alone(
    bounded_gateway: GatewayProcess, ports: dict[str, int], honest: Honest, name: str
) -> None:
    before = resident_bytes(bounded_gateway.pid)
    stalled, sent = SLOW_READERS[name](ports)
    try:
        assert sent > 0
        honest.check()
        assert resident_bytes(bounded_gateway.pid) - before < GROWN_BYTES_MAX
        if name in ("nats subscriber", "redis subscriber"):
            assert is_closed(stalled, CLOSE_S_MAX), "a slow consumer is disconnected"
    finally:
        stalled.close()


@pytest.mark.parametrize("protocol", GREETINGS)
def test_two_hundred_half_frames_cost_what_was_sent(
    bounded_gateway: GatewayProcess, ports: dict[str, int], honest: Honest, protocol: str
) -> None:
    halves = {
        "kafka": number32(50_000_000),
        "nats": b"PUB a 1000000\r\n",
        "mqtt": b"\x30\xc0\x84\x3d\x00\x01a",
        "resp": b"*2\r\n$4\r\nECHO\r\n$500000000\r\n",
    }
    files, before = open_files(bounded_gateway.pid), resident_bytes(bounded_gateway.pid)
    connections: list[socket.socket] = []
    try:
        for _ in range(200):
            connections.append(connect(ports, protocol))
            connections[-1].sendall(halves[protocol] + b"y" * 1000)
        honest.check()
        assert resident_bytes(bounded_gateway.pid) - before < 200 * 128 * 1024
    finally:
        for connection in connections:
            connection.close()
    honest.check()
    connect(ports, protocol).close()
    assert open_files(bounded_gateway.pid) <= files + 16


@pytest.mark.parametrize("protocol", GREETINGS)
def test_a_frame_that_comes_byte_by_byte_is_waited_for(ports: dict[str, int], honest: Honest, protocol: str) -> None:
    assert dribble(ports, protocol, 3000)


def test_a_will_that_nobody_can_take_hurts_nobody(ports: dict[str, int], honest: Honest) -> None:
    """Connections that vanish with a will set: each is published, none stops the gateway (Zilla 2428)."""
    watcher = connect(ports, "mqtt")
    watcher.sendall(mqtt_packet(0x82, b"\x00\x01" + mqtt_text(b"will/#") + b"\x00"))
    watcher.settimeout(CLOSE_S_MAX)
    assert watcher.recv(5)[0] == 0x90
    for number in range(20):
        with socket.create_connection(("127.0.0.1", ports["mqtt"])) as dying:
            topic = b"will/" + b"x" * (number * 50)
            dying.sendall(mqtt_connect(b"dying%d" % number, (topic, b"\x00\xff" * number * 100)))
            assert dying.recv(4) == b"\x20\x02\x00\x00"
            dying.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    honest.check()
    seen = b""
    while seen.count(b"will/") < 20:
        got = watcher.recv(65536)
        assert got
        seen += got
    watcher.close()
