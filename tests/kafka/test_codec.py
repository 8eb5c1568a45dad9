"""Our codecs against two others, byte for byte, and against broken bytes."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.api import WireError
from protocols.kafka.codec import ELEMENTS_MAX, Codecs
from protocols.kafka.schema import APIS, Api
from tests.kafka.messages import message, spoken

EVERY = [pytest.param(api, version, id=f"{api.name}-{version}") for api, version in spoken()]
KINDS = ("request", "response")
CODECS = Codecs()


def body(kind: str, api: Api, version: int, made: Any) -> bytes:
    return b"".join(CODECS.encode(kind, api.key, version, made))


def kio_again(kind: str, api: Api, version: int, data: bytes) -> bytes:
    from kio import index
    from kio.serial import entity_reader, entity_writer

    load = index.load_request_schema if kind == "request" else index.load_response_schema
    entity = load(api.key, version)
    found, used = entity_reader(entity)(data, 0)
    assert used == len(data)
    out = io.BytesIO()
    entity_writer(entity)(out, found)
    return out.getvalue()


def kafka_python_class(kind: str, api: Api) -> Any:
    import kafka.protocol.admin
    import kafka.protocol.consumer
    import kafka.protocol.metadata
    import kafka.protocol.producer
    import kafka.protocol.sasl

    name = f"{api.name}{kind.title()}"
    for module in ("admin", "consumer", "metadata", "producer", "sasl"):
        found = getattr(getattr(kafka.protocol, module), name, None)
        if found is not None:
            return found
    raise LookupError(name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("api", "version"), EVERY)
def test_what_we_encode_we_decode_to_the_same(api: Api, version: int, kind: str) -> None:
    for seed in range(10):
        made = message(CODECS, kind, api, version, random.Random(seed))
        data = body(kind, api, version, made)
        again, end = CODECS.decode(kind, api.key, version, memoryview(data), 0)
        assert end == len(data)
        assert body(kind, api, version, again) == data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("api", "version"), EVERY)
def test_kio_reads_what_we_write_and_writes_the_same(api: Api, version: int, kind: str) -> None:
    for seed in range(5):
        # kio keeps times as datetime: large numbers of milliseconds are not its to keep
        data = body(kind, api, version, message(CODECS, kind, api, version, random.Random(seed), narrow=True))
        assert kio_again(kind, api, version, data) == data


@pytest.mark.parametrize(
    ("api", "version", "kind"),
    # kafka-python guesses the version of an ApiVersions response from its first bytes
    [
        (api, version, kind)
        for api, version in spoken()
        for kind in KINDS
        if (api.name, kind) != ("ApiVersions", "response")
    ],
)
def test_kafka_python_reads_what_we_write_and_writes_the_same(api: Api, version: int, kind: str) -> None:
    entity = kafka_python_class(kind, api)
    for seed in range(5):
        data = body(kind, api, version, message(CODECS, kind, api, version, random.Random(seed)))
        found = entity.decode(data, version=version)
        found._header = None
        assert found.encode(version=version) == data


@pytest.mark.parametrize(("api", "version"), EVERY)
def test_a_request_cut_anywhere_is_refused_as_a_wire_error(api: Api, version: int) -> None:
    data = body("request", api, version, message(CODECS, "request", api, version, random.Random(api.key)))
    for cut in range(0, len(data), max(1, len(data) // 40)):
        try:
            _, end = CODECS.decode("request", api.key, version, memoryview(data)[:cut], 0)
        except WireError:
            continue
        assert end <= cut


@given(st.binary(max_size=80), st.sampled_from(spoken()))
@settings(max_examples=200)
def test_garbage_is_a_message_or_a_wire_error_and_nothing_else(data: bytes, of: tuple[Api, int]) -> None:
    api, version = of
    try:
        CODECS.decode("request", api.key, version, memoryview(data), 0)
    except WireError:
        pass


def test_unknown_tagged_fields_are_skipped() -> None:
    data = body("request", APIS[12], 4, CODECS.structure("request", 12)(group_id="g"))
    assert data[-1:] == b"\0"
    with_tags = data[:-1] + b"\x02\x07\x03abc\x09\x00"
    found, end = CODECS.decode("request", 12, 4, memoryview(with_tags), 0)
    assert (found.group_id, end) == ("g", len(with_tags))


def test_a_count_larger_than_the_frame_is_refused_before_anything_is_made() -> None:
    with pytest.raises(WireError):
        CODECS.decode("request", 3, 1, memoryview(b"\x7f\xff\xff\xff"), 0)
    many = (ELEMENTS_MAX + 1).to_bytes(4, "big") + b"\0\0" * (ELEMENTS_MAX + 1)
    with pytest.raises(WireError, match="too many"):
        CODECS.decode("request", 3, 1, memoryview(many), 0)


def test_null_is_refused_where_the_definition_does_not_allow_it() -> None:
    with pytest.raises(WireError):
        CODECS.decode("request", 3, 0, memoryview(b"\xff\xff\xff\xff"), 0)
    found, _ = CODECS.decode("request", 3, 1, memoryview(b"\xff\xff\xff\xff"), 0)
    assert found.topics is None


def test_each_definition_has_names_and_versions_of_its_own() -> None:
    assert len({api.name for api in APIS.values()}) == len(APIS)
    assert all(0 <= api.first <= api.last for api in APIS.values())
