"""nats-server's monitoring paths on the HTTP listener: its fields, its types, its errors."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from typing import Any

import nats
import pytest

from conformance.process import GatewayProcess
from tests.nats import transcript

ABSENT = {
    "/varz": {
        "max_connections", "http_host", "http_port", "https_port", "tls_timeout", "write_deadline", "mem", "cores",
        "gomaxprocs", "cpu", "out_bytes", "out_client_msgs", "out_client_bytes", "stalled_clients", "http_req_stats",
        "config_load_time", "config_digest", "feature_flags", "system_account", "slow_consumer_stats",
        "stale_connection_stats", "disk_io_wait_stats", "jetstream.config", "jetstream.limits",
    },
    "/connz?subs=detail": {"connections.rtt", "connections.out_bytes"},
    "/subsz": {"num_cache", "num_inserts", "num_removes", "num_matches", "cache_hit_rate", "max_fanout", "avg_fanout"},
    "/jsz": {"config", "limits"},
    "/jsz?streams=1&consumers=1&config=1": {"config", "limits", "account_details.stream_detail.cluster"},
}  # fmt: skip
"""What nats-server tells and this process does not know; README.md lists it."""
MAY_DIFFER = {"account_details.stream_detail.config", "account_details.stream_detail.state"}


def get(gateway: GatewayProcess, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{gateway.http}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def shape(value: Any, at: str = "") -> set[tuple[str, str]]:
    """Every field's path with its type; a list is its first element."""
    if isinstance(value, dict):
        found: set[tuple[str, str]] = set()
        for name, inner in value.items():
            where = f"{at}.{name}".lstrip(".")
            found |= {(where, type(inner).__name__ if not isinstance(inner, float) else "int")}
            found |= shape(inner, where) if where not in MAY_DIFFER else set()
        return found
    return shape(value[0], at) if isinstance(value, list) and value else set()


def real(path: str) -> Any:
    blocks = transcript.blocks()
    title = next(title for title in blocks if title.removesuffix(transcript.answered(title)) == f"HTTP {path}")
    return json.loads(blocks[title])


@pytest.mark.parametrize("path", [path for path in transcript.MONITORING if path != "/nope" and "healthz" not in path])
async def test_fields_are_those_of_the_real_server(gateway: GatewayProcess, path: str) -> None:
    client = await nats.connect(f"nats://{gateway.nats}", name="watched")
    await client.subscribe("q", queue="g")
    await client.subscribe("q")
    js = client.jetstream()
    await js.add_stream(name="MON", subjects=["mon.>"])
    await js.publish("mon.a", b"x")
    status, body = get(gateway, path)
    assert status == 200
    ours, wanted = shape(json.loads(body)), shape(real(path))
    absent = ABSENT.get(path, set())
    left = {
        (name, kind) for name, kind in wanted if not any(name == one or name.startswith(one + ".") for one in absent)
    }
    ours_names = {name for name, _ in ours}
    assert {name for name, _ in left} <= ours_names
    assert {(name, kind) for name, kind in ours if name in {one for one, _ in wanted}} <= wanted
    assert not absent & ours_names, "told after all"
    await client.close()


async def test_connections_are_found_sorted_and_paged(gateway: GatewayProcess) -> None:
    clients = [await nats.connect(f"nats://{gateway.nats}", name=f"c{index}") for index in range(3)]
    for index, client in enumerate(clients):
        for number in range(index + 1):
            await client.subscribe(f"s.{number}")
        await client.publish("nobody", b"1234")
        await client.flush()
    status, body = get(gateway, "/connz?sort=subs&subs=1")
    told = [one for one in json.loads(body)["connections"] if one.get("name", "").startswith("c")]
    assert status == 200 and [one["name"] for one in told] == ["c2", "c1", "c0"]
    assert told[0]["subscriptions_list"] == ["s.0", "s.1", "s.2"] and told[0]["in_bytes"] == 4
    assert told[0]["lang"] == "python3" and told[0]["in_msgs"] == 1
    _, body = get(gateway, f"/connz?cid={told[1]['cid']}")
    assert [one["name"] for one in json.loads(body)["connections"]] == ["c1"]
    _, body = get(gateway, "/connz?limit=1&offset=1")
    assert json.loads(body)["num_connections"] == 1 and json.loads(body)["total"] >= 3
    for client in clients:
        await client.close()


def test_what_is_not_understood_is_refused(gateway: GatewayProcess) -> None:
    for path in ("/connz?sort=nonsense", "/connz?limit=many", "/connz?state=odd", "/jsz?streams=maybe"):
        assert get(gateway, path)[0] == 400
    assert get(gateway, "/nope")[0] == 404


def test_health_is_ok_in_the_real_servers_words(gateway: GatewayProcess) -> None:
    for path in ("/healthz", "/healthz?js-enabled-only=true"):
        status, body = get(gateway, path)
        assert status == 200 and json.loads(body) == real(path)


async def test_streams_and_consumers_are_told(gateway: GatewayProcess) -> None:
    client = await nats.connect(f"nats://{gateway.nats}")
    js = client.jetstream()
    await js.add_stream(name="JSZ", subjects=["jsz.>"])
    for _ in range(3):
        await js.publish("jsz.a", b"x")
    await js.add_consumer("JSZ", durable_name="d", ack_policy="explicit")
    _, body = get(gateway, "/jsz?consumers=1&config=1")
    streams = {one["name"]: one for one in json.loads(body)["account_details"][0]["stream_detail"]}
    assert streams["JSZ"]["state"]["messages"] == 3 and streams["JSZ"]["config"]["subjects"] == ["jsz.>"]
    assert [one["name"] for one in streams["JSZ"]["consumer_detail"]] == ["d"]
    _, body = get(gateway, "/varz")
    told = json.loads(body)
    assert told["jetstream"]["stats"]["api"]["level"] == 5 and re.fullmatch(r"(\d+[ydhm])*\d+s", told["uptime"])
    await client.close()
