"""The objects that cross between a gateway's process and the sequencer's: what sessions ask executors, and the answers."""

from __future__ import annotations

import array
from typing import Any

from protocols.identity import Identity
from protocols.mqtt.runs import Run as MqttRun
from protocols.mqtt.state import Message
from protocols.resp.wire import ARGUMENTS_MAX
from protocols.resp.wire import Run as RespRun
from substrate.group import Called, Group, Record
from substrate.interest import Tokens
from substrate.remote.objects import Objects, classes_of

RESP_CONTEXT = (
    "account", "peer", "user", "all", "db", "protocol", "transaction", "blocks", "internal", "one_by_one", "bulk_bytes_max",
)  # fmt: skip
"""What a run says besides its requests."""


def objects() -> Objects:
    """The same in every process of one build; ``digest`` tells."""
    from protocols.identity import Right
    from protocols.kafka import errors as kafka_errors
    from protocols.kafka import group_requests, membership
    from protocols.mqtt import packets, requests, state
    from protocols.nats import errors as nats_errors
    from protocols.nats import jetstream_store, jetstream_wire
    from substrate import api
    from thalweg import processes

    classes = classes_of(
        api, kafka_errors, group_requests, membership, packets, requests, state, jetstream_wire, jetstream_store,
        nats_errors, processes,
    )  # fmt: skip
    return Objects(
        [*classes, Right],
        {
            Group: (group_parts, group_of),
            Record: (lambda record: [record.position, record.timestamp_ms, record.address, record.key, record.value,
                                     record.headers], Record),
            Called: (lambda called: [called.answer, called.commit, called.shard], Called),
            Tokens: (lambda tokens: [tokens.text, tokens.hides_dollar], Tokens),
            Identity: (identity_parts, Identity),
            Message: (message_parts, Message),
            MqttRun: (lambda run: [run.topic, run.group, run.identifiers], lambda topic, group, identifiers: MqttRun(topic, group, identifiers, 0)),
            RespRun: (resp_parts, resp_run),
        },
    )  # fmt: skip


def identity_parts(identity: Identity) -> list[Any]:
    return [identity.name, identity.account, dict(identity._allow), dict(identity._deny), identity.all]


def message_parts(message: Message) -> list[Any]:
    return [
        message.topic, message.payload, message.qos, message.retain, message.properties, message.expires_ms, message.stream,
        message.position, message.size,
    ]  # fmt: skip


def group_parts(group: Group) -> list[Any]:
    values = b"".join([group.value(index) for index in range(group.count)])
    return [group.address, values, array.array("q", group.spans[1::2]), group.headers]


def group_of(address: bytes, values: bytes, lengths: Any, headers: list[Any] | None) -> Group:
    group = Group(address, values)
    at = 0
    for index, length in enumerate(lengths):
        if headers is None:
            group.add(at, length)
        else:
            group.add_with_headers(at, length, headers[index])
        at += length
    if at != len(values):
        raise ValueError("lengths that are not those of the values")
    return group


def resp_parts(run: RespRun) -> list[Any]:
    requests = []
    at = 0
    while at < run.fill:
        requests.append(run.slice(at))
        at += 4 + 2 * run.numbers[at + 1]
    return [b"".join(requests), *[getattr(run, name) for name in RESP_CONTEXT]]


def resp_run(requests: bytes, *context: Any) -> RespRun:
    run = RespRun()
    run.run_max = ARGUMENTS_MAX
    run.cut(requests, 0, len(requests))
    if run.taken != len(requests) or len(context) != len(RESP_CONTEXT):
        raise ValueError("requests that are not whole")
    for name, value in zip(RESP_CONTEXT, context, strict=True):
        setattr(run, name, value)
    return run
