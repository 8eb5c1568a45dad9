"""Stock clients as the API shows them: their groups with lag, their connections with users and bytes."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from paho.mqtt.enums import CallbackAPIVersion

from conformance.process import GatewayProcess


def asked(gateway: GatewayProcess, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{gateway.http}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def group(gateway: GatewayProcess, kind: str, name: str) -> Any:
    (found,) = (one for one in asked(gateway, "/api/groups")["groups"] if (one["kind"], one["name"]) == (kind, name))
    return found


def test_lag_of_stock_clients_is_what_they_have_not_acknowledged(start_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = start_gateway(data=":memory:")
    asked(gateway, "/api/streams", {"name": "orders", "partitions": 2})
    producer = Producer({"bootstrap.servers": gateway.kafka})
    for number in range(10):
        producer.produce("orders", str(number), partition=number % 2)
    assert producer.flush(20) == 0

    consumer = Consumer({"bootstrap.servers": gateway.kafka, "group.id": "billing", "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "client.id": "till"})  # fmt: skip
    consumer.subscribe(["orders"])
    while len(consumer.assignment()) < 2:
        consumer.poll(0.1)
    consumer.commit(offsets=[TopicPartition("orders", 0, 3), TopicPartition("orders", 1, 5)], asynchronous=False)
    billing = group(gateway, "kafka", "billing")
    assert (billing["state"], billing["lag"]) == ("Stable", 2)
    assert [(row["partition"], row["position"], row["lag"]) for row in billing["rows"]] == [(0, 3, 2), (1, 5, 0)]
    assert [member["name"] for member in billing["members"]] == ["till"]

    away = paho.Client(CallbackAPIVersion.VERSION2, "away", clean_session=False)
    subscribed: list[Any] = []
    away.on_subscribe = lambda *told: subscribed.append(told)
    away.connect("127.0.0.1", gateway.port("mqtt"))
    away.subscribe("orders/#", 1)
    while not subscribed:
        away.loop(0.1)
    away.disconnect()
    while away.loop(0.1) == 0:
        pass
    for _ in range(3):
        asked(gateway, "/api/publish", {"address": "orders/eu", "value": "x"})
    session = group(gateway, "mqtt", "away")
    assert (session["state"], session["lag"], session["subscriptions"]) == ("away", 3, ["orders/#"])
    assert group(gateway, "kafka", "billing")["lag"] == 5

    with redis.Redis(port=gateway.port("resp")) as client:
        client.set("k", "x" * 10_000)
        (shown,) = asked(gateway, "/api/connections?protocol=resp")["connections"]
        assert shown["peer"].startswith("127.0.0.1:")
        assert shown["in_bytes"] > 10_000
        assert shown["out_bytes"] > 0
    assert asked(gateway, "/api/connections")["count"]["kafka"] >= 1
    consumer.close()
