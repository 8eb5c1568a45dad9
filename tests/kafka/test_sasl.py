"""Who a connection is (SASL), and what it may then do: every API's refusals, by scripts over the wire."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from conformance.harness import Harness, user, users
from protocols.kafka.errors import Code
from tests.kafka.scripts import Script, batch, frame, harness

MECHANISMS = ["PLAIN", "SCRAM-SHA-256"]
NONCE = b"fyko+d2lbbFgONRv9qkxdawL"


@pytest.fixture(params=[False, True], ids=["at-once", "delayed"])
def gateway(request: pytest.FixtureRequest) -> Harness:
    made = harness(delayed=request.param)
    made.users = users(
        user("admin", "secret"),
        user("reader", "r", read=["orders/#"]),
        user("writer", "w", write=["orders/#"], deny_write=["orders/closed"]),
        user("keeper", "k", manage=["orders/#"]),
        user("a,b=c", "odd"),
        user("elsewhere", "e", account="other"),
        user("watcher", "x", read=["_thalweg/#"]),
    )
    return made


def handshaken(gateway: Harness, mechanism: str = "PLAIN", version: int = 1) -> Script:
    script = Script(gateway)
    answer = script.ask("SaslHandshake", version, mechanism=mechanism)
    assert (answer.error_code, list(answer.mechanisms)) == (0, MECHANISMS)
    return script


def authenticate(script: Script, token: bytes, version: int = 2) -> Any:
    script.send("SaslAuthenticate", version, auth_bytes=token)
    return script.take()


def logged_in(gateway: Harness, name: str, password: str) -> Script:
    script = handshaken(gateway)
    assert authenticate(script, f"\0{name}\0{password}".encode()).error_code == 0
    return script


@pytest.fixture
def admin(gateway: Harness) -> Script:
    made = logged_in(gateway, "admin", "secret")
    for name in ("orders.eu", "orders.closed", "private"):
        made.create(name)
        assert made.produce(name, batch(b"x")).error_code == 0
    return made


class Scram:
    """The client's side (RFC 5802 section 3)."""

    def __init__(self, name: bytes, password: bytes) -> None:
        self.password = password
        self.bare = b"n=" + name.replace(b"=", b"=3D").replace(b",", b"=2C") + b",r=" + NONCE

    def final(self, first: bytes, before: bytes = b"") -> bytes:
        said = dict(part.split(b"=", 1) for part in first.split(b","))
        assert said[b"r"].startswith(NONCE) and len(said[b"r"]) > len(NONCE) + 16
        salt, rounds = base64.b64decode(said[b"s"]), int(said[b"i"])
        salted = hashlib.pbkdf2_hmac("sha256", self.password, salt, rounds)
        key = hmac.digest(salted, b"Client Key", "sha256")
        without = b"c=biws,r=" + before + said[b"r"]
        signed = self.bare + b"," + first + b"," + without
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        self.expected = b"v=" + base64.b64encode(
            hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        )
        return without + b",p=" + base64.b64encode(bytes(x ^ y for x, y in zip(key, signature, strict=True)))


# who


def test_without_users_there_is_nothing_to_authenticate() -> None:
    script = Script(harness())
    assert script.ask("SaslHandshake", 1, mechanism="PLAIN").error_code == Code.ILLEGAL_SASL_STATE
    assert authenticate(script, b"\0a\0b").error_code == Code.ILLEGAL_SASL_STATE
    script.create("t")


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_user_is_let_in_by_plain(gateway: Harness, version: int) -> None:
    script = handshaken(gateway)
    answer = authenticate(script, b"\0admin\0secret", version)
    assert (answer.error_code, answer.auth_bytes) == (0, b"")
    script.create("t")


@pytest.mark.parametrize(("name", "password"), [("admin", "secret"), ("a,b=c", "odd")])
def test_a_user_is_let_in_by_scram(gateway: Harness, name: str, password: str) -> None:
    script, client = handshaken(gateway, "SCRAM-SHA-256"), Scram(name.encode(), password.encode())
    first = bytes(authenticate(script, b"n,," + client.bare).auth_bytes)
    answer = authenticate(script, client.final(first))
    assert (answer.error_code, answer.auth_bytes) == (0, client.expected)
    script.create("t")


def test_an_old_client_that_says_its_nonce_twice_is_let_in(gateway: Harness) -> None:
    script, client = handshaken(gateway, "SCRAM-SHA-256"), Scram(b"admin", b"secret")
    first = bytes(authenticate(script, b"n,," + client.bare).auth_bytes)
    assert authenticate(script, client.final(first, before=NONCE)).error_code == 0


def test_tokens_come_bare_after_the_first_handshake(gateway: Harness) -> None:
    script = handshaken(gateway, version=0)
    token = b"\0admin\0secret"
    for part in (struct.pack(">i", len(token))[:3], struct.pack(">i", len(token))[3:] + token[:5], token[5:]):
        assert script.client.read() == b""
        script.client.send(part)
    assert script.client.read() == bytes(4)
    script.create("t")


def test_scram_works_with_bare_tokens_too(gateway: Harness) -> None:
    script, client = handshaken(gateway, "SCRAM-SHA-256", version=0), Scram(b"admin", b"secret")
    script.client.send(struct.pack(">i", len(client.bare) + 3) + b"n,," + client.bare)
    first = script.client.read()[4:]
    final = client.final(first)
    script.client.send(struct.pack(">i", len(final)) + final)
    assert script.client.read()[4:] == client.expected
    script.create("t")


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (b"\0admin\0wrong", "Invalid username or password"),
        (b"\0nobody\0secret", "Invalid username or password"),
        (b"\0admin", "expected 3 tokens, got 2"),
        (b"a\0b\0c\0d", "expected 3 tokens, got 4"),
        (b"", "expected 3 tokens, got 1"),
        (b"\0\0secret", "username not specified"),
        (b"\0admin\0", "password not specified"),
        (b"root\0admin\0secret", "different from username"),
    ],
)
def test_who_is_not_let_in_is_told_why_after_a_moment_and_cut_off(gateway: Harness, token: bytes, why: str) -> None:
    script = handshaken(gateway)
    assert authenticate(script, token) is None
    script.silent("ApiVersions", 0)
    gateway.advance(150)
    answer = script.take()
    assert answer.error_code == Code.SASL_AUTHENTICATION_FAILED and why in answer.error_message
    assert script.client.closed and script.client.read() == b""


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (b"", "Invalid SCRAM client first message"),
        (b"n,,n=admin", "Invalid SCRAM client first message"),
        (b"n,,r=x,n=admin", "Invalid SCRAM client first message"),
        (b"n,,n=admin,r=", "Invalid SCRAM client first message"),
        (b"y,,n=admin,r=x", "Invalid SCRAM client first message"),
        (b"p=tls-unique,,n=admin,r=x", "Invalid SCRAM client first message"),
        (b"n,,n=nobody,r=x", "invalid credentials"),
        (b"n,a=root,n=admin,r=x", "different from username"),
        (b"n,,n=admin,r=x,tokenauth=true", "Delegation tokens"),
        (b"\xff\xfe", "Invalid SCRAM client first message"),
    ],
)
def test_a_scram_exchange_that_begins_wrong_ends(gateway: Harness, first: bytes, why: str) -> None:
    script = handshaken(gateway, "SCRAM-SHA-256")
    assert authenticate(script, first) is None
    gateway.advance(150)
    answer = script.take()
    assert answer.error_code == Code.SASL_AUTHENTICATION_FAILED and why in answer.error_message
    assert script.client.closed


def test_a_scram_proof_that_is_wrong_in_any_way_is_refused(gateway: Harness) -> None:
    for spoil in (
        lambda final: final[:-8] + b"AAAAAAA=",
        lambda final: final.replace(b"c=biws", b"c=eSws"),
        lambda final: final.replace(NONCE, NONCE[::-1]),
        lambda final: final.rpartition(b",p=")[0],
        lambda final: final + b"!",
        lambda final: b"",
    ):
        script, client = handshaken(gateway, "SCRAM-SHA-256"), Scram(b"admin", b"secret")
        first = bytes(authenticate(script, b"n,," + client.bare).auth_bytes)
        assert authenticate(script, spoil(client.final(first))) is None
        gateway.advance(150)
        assert script.take().error_code == Code.SASL_AUTHENTICATION_FAILED
        assert script.client.closed


def test_nonces_are_never_the_same(gateway: Harness) -> None:
    seen = set()
    for _ in range(20):
        script = handshaken(gateway, "SCRAM-SHA-256")
        seen.add(bytes(authenticate(script, b"n,,n=admin,r=x").auth_bytes))
    assert len(seen) == 20


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI", "plain", ""])
def test_a_mechanism_that_is_not_spoken_is_told_those_that_are(gateway: Harness, mechanism: str) -> None:
    script = Script(gateway)
    answer = script.ask("SaslHandshake", 1, mechanism=mechanism)
    assert (answer.error_code, list(answer.mechanisms)) == (Code.UNSUPPORTED_SASL_MECHANISM, MECHANISMS)
    assert script.client.closed


def test_who_is_not_known_may_ask_versions_and_a_handshake_and_nothing_else(gateway: Harness) -> None:
    script = Script(gateway)
    assert script.ask("ApiVersions", 3, client_software_name="s", client_software_version="1").error_code == 0
    for api, version, fields in (
        ("Metadata", 9, {"topics": None}),
        ("SaslAuthenticate", 2, {"auth_bytes": b"\0admin\0secret"}),
        ("Produce", 9, {"acks": -1, "topic_data": []}),
    ):
        other = Script(gateway)
        other.silent(api, version, **fields)
        assert other.client.closed and other.client.read() == b""
    begun = handshaken(gateway)
    begun.silent("ApiVersions", 0)
    assert begun.client.closed


def test_a_large_frame_before_authentication_is_not_waited_for(gateway: Harness) -> None:
    script = Script(gateway)
    script.client.send(struct.pack(">ih", 600_000, 0))
    assert script.client.closed
    bare = handshaken(gateway, version=0)
    bare.client.send(struct.pack(">i", 600_000))
    assert bare.client.closed
    negative = handshaken(gateway, version=0)
    negative.client.send(struct.pack(">i", -1))
    assert negative.client.closed


def test_who_does_not_authenticate_in_time_is_cut_off(gateway: Harness) -> None:
    script = Script(gateway)
    gateway.advance(61_000)
    assert script.client.closed


def test_a_second_authentication_is_refused(gateway: Harness) -> None:
    script = logged_in(gateway, "reader", "r")
    assert script.ask("SaslHandshake", 1, mechanism="PLAIN").error_code == Code.ILLEGAL_SASL_STATE
    assert authenticate(script, b"\0admin\0secret").error_code == Code.ILLEGAL_SASL_STATE


def test_an_anonymous_user_needs_no_authentication_and_may_still_ask_for_one(gateway: Harness) -> None:
    gateway.users = users(user("anonymous", None, read=["orders/#"]), user("admin", "secret"))
    script = Script(gateway)
    assert script.produce("orders", batch(b"x")).error_code == Code.TOPIC_AUTHORIZATION_FAILED
    script.ask("SaslHandshake", 1, mechanism="PLAIN")
    assert authenticate(script, b"\0admin\0secret").error_code == 0
    script.create("orders")
    assert script.produce("orders", batch(b"x")).error_code == 0


def test_each_account_has_topics_of_its_own(gateway: Harness, admin: Script) -> None:
    script = logged_in(gateway, "elsewhere", "e")
    assert list(script.ask("Metadata", 9, topics=None).topics) == []
    script.create("private", 3)
    assert len(admin.ask("Metadata", 9, topics=[{"name": "private"}]).topics[0].partitions) == 1


# what they may do

DENIED = Code.TOPIC_AUTHORIZATION_FAILED


def test_a_reader_reads_what_it_may_and_sees_nothing_else(gateway: Harness, admin: Script) -> None:
    script = logged_in(gateway, "reader", "r")
    assert script.fetch("orders.eu").error_code == 0
    assert script.fetch("private").error_code == script.fetch("nothing").error_code == DENIED
    assert script.produce("orders.eu", batch(b"x")).error_code == DENIED
    listed = {topic.name for topic in script.ask("Metadata", 9, topics=None).topics}
    assert listed == {"orders.eu", "orders.closed"}
    asked = script.ask("Metadata", 9, topics=[{"name": name} for name in ("orders.eu", "private", "orders.new", "new")])
    codes = {topic.name: topic.error_code for topic in asked.topics}
    assert codes == {"orders.eu": 0, "private": DENIED, "orders.new": DENIED, "new": DENIED}
    told = script.ask("Metadata", 10, topics=[{"name": "orders.eu"}], include_topic_authorized_operations=True,
                      include_cluster_authorized_operations=True)  # fmt: skip
    assert told.topics[0].topic_authorized_operations == 1 << 3 | 1 << 8 | 1 << 10
    assert told.cluster_authorized_operations == 0


def test_a_topic_that_may_not_be_seen_is_not_found_by_its_id(gateway: Harness, admin: Script) -> None:
    topic_id = admin.ask("Metadata", 12, topics=[{"name": "private"}]).topics[0].topic_id
    script = logged_in(gateway, "reader", "r")
    found = script.ask("Metadata", 12, topics=[{"topic_id": topic_id, "name": None}]).topics[0]
    assert (found.error_code, found.name) == (Code.UNKNOWN_TOPIC_ID, None)
    gone = script.ask("DeleteTopics", 6, topics=[{"topic_id": topic_id, "name": None}]).responses[0]
    assert (gone.error_code, gone.name) == (Code.UNKNOWN_TOPIC_ID, None)


def test_a_writer_writes_what_it_may(gateway: Harness, admin: Script) -> None:
    script = logged_in(gateway, "writer", "w")
    assert script.produce("orders.eu", batch(b"x")).error_code == 0
    assert script.produce("orders.closed", batch(b"x")).error_code == DENIED
    assert script.produce("private", batch(b"x")).error_code == DENIED
    assert script.fetch("orders.eu").error_code == DENIED
    partitions = [{"partition_index": 0, "timestamp": -1}]
    topics = [{"name": name, "partitions": partitions} for name in ("orders.eu", "private")]
    answer = script.ask("ListOffsets", 7, topics=topics)
    assert [topic.partitions[0].error_code for topic in answer.topics] == [0, DENIED]
    asked = [{"partition": 0, "leader_epoch": 1}]
    topics = [{"topic": name, "partitions": asked} for name in ("orders.eu", "private")]
    answer = script.ask("OffsetForLeaderEpoch", 3, topics=topics)
    assert [topic.partitions[0].error_code for topic in answer.topics] == [0, DENIED]


def test_a_topic_that_holds_what_a_user_may_not_read_is_not_given(gateway: Harness, admin: Script) -> None:
    admin.create("wide")
    gateway.users = users(
        user("top", "t", read=["wide"]),
        user("whole", "w", read=["wide/#"]),
        user("part", "p", read=["wide/#"], deny_read=["wide/secret/#"]),
    )
    codes = {name: logged_in(gateway, name, name[0]).fetch("wide").error_code for name in ("top", "whole", "part")}
    assert codes == {"top": DENIED, "whole": 0, "part": DENIED}


@pytest.mark.parametrize("codec", [0, 1])
def test_a_record_is_not_published_under_an_address_that_is_denied(gateway: Harness, admin: Script, codec: int) -> None:
    admin.create("orders")
    script = logged_in(gateway, "writer", "w")

    def addressed(*addresses: bytes) -> bytes:
        builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 1 << 20)
        for number, address in enumerate(addresses):
            builder.append(number, 1000, None, b"x", [("thalweg-address", address)])
        return bytes(builder.build())

    assert script.produce("orders", addressed(b"orders/eu", b"orders/us")).error_code == 0
    answer = script.produce("orders", addressed(b"orders/eu", b"orders/closed"))
    assert answer.error_code == DENIED and [one.batch_index for one in answer.record_errors] == [1]
    assert script.produce("orders", batch(b"plain")).error_code == 0
    assert admin.produce("orders", addressed(b"orders/closed")).error_code == 0
    spoilt = bytearray(addressed(b"orders/eu"))
    spoilt[-1] ^= 1
    assert script.produce("orders", bytes(spoilt)).error_code == Code.CORRUPT_MESSAGE


def test_an_unacknowledged_write_that_is_not_allowed_closes(gateway: Harness, admin: Script) -> None:
    script = logged_in(gateway, "reader", "r")
    data = [{"name": "orders.eu", "partition_data": [{"index": 0, "records": batch(b"x")}]}]
    script.silent("Produce", 9, acks=0, topic_data=data)
    assert script.client.closed


@pytest.mark.parametrize(
    ("name", "password", "code"), [("keeper", "k", 0), ("reader", "r", DENIED), ("writer", "w", DENIED)]
)
def test_topics_are_managed_by_who_may(gateway: Harness, admin: Script, name: str, password: str, code: int) -> None:
    script = logged_in(gateway, name, password)
    new = {"name": "orders.new", "num_partitions": 1, "replication_factor": 1}
    assert script.ask("CreateTopics", 4, topics=[new]).topics[0].error_code == code
    assert script.ask("CreateTopics", 4, topics=[new | {"name": "new"}]).topics[0].error_code == DENIED
    grown = script.ask("CreatePartitions", 1, topics=[{"name": "orders.eu", "count": 2, "assignments": None}])
    assert grown.results[0].error_code == code
    trimmed = [{"partition_index": 0, "offset": 1}]
    answer = script.ask("DeleteRecords", 1, topics=[{"name": "orders.eu", "partitions": trimmed}])
    assert answer.topics[0].partitions[0].error_code == code
    for api, entry in (
        ("AlterConfigs", {"name": "retention.ms", "value": "5"}),
        ("IncrementalAlterConfigs", {"name": "retention.ms", "config_operation": 0, "value": "6"}),
    ):
        resource = {"resource_type": 2, "resource_name": "orders.eu", "configs": [entry]}
        assert script.ask(api, 1, resources=[resource]).responses[0].error_code == code
    assert script.ask("DeleteTopics", 5, topic_names=["orders.eu"]).responses[0].error_code == code
    assert script.ask("DeleteTopics", 5, topic_names=["private"]).responses[0].error_code == DENIED
    assert script.fetch("orders.closed").error_code == (0 if name == "reader" else DENIED)


def test_the_clusters_own_operations_are_its_managers(gateway: Harness, admin: Script) -> None:
    script = logged_in(gateway, "keeper", "k")
    broker = {"resource_type": 4, "resource_name": "", "configuration_keys": None}
    topic = {"resource_type": 2, "resource_name": "orders.eu", "configuration_keys": None}
    hidden = {"resource_type": 2, "resource_name": "private", "configuration_keys": None}
    answer = script.ask("DescribeConfigs", 3, resources=[broker, topic, hidden])
    codes = [one.error_code for one in answer.results]
    assert codes == [Code.CLUSTER_AUTHORIZATION_FAILED, 0, DENIED]
    assert script.ask("DescribeLogDirs", 3, topics=None).error_code == Code.CLUSTER_AUTHORIZATION_FAILED
    changed = {"resource_type": 4, "resource_name": "", "configs": []}
    refused = script.ask("IncrementalAlterConfigs", 1, resources=[changed]).responses[0]
    assert refused.error_code == Code.CLUSTER_AUTHORIZATION_FAILED
    assert admin.ask("DescribeConfigs", 3, resources=[broker]).results[0].error_code == 0
    assert (
        script.ask("DescribeCluster", 1, include_cluster_authorized_operations=True).cluster_authorized_operations == 0
    )


def test_offsets_are_kept_and_seen_by_who_may_read_the_topic(gateway: Harness, admin: Script) -> None:
    partition = [{"partition_index": 0, "committed_offset": 1, "committed_metadata": ""}]
    topics = [{"name": name, "partitions": partition} for name in ("orders.eu", "private")]

    def committed(script: Script) -> list[int]:
        answer = script.ask("OffsetCommit", 7, group_id="g", topics=topics)
        return [topic.partitions[0].error_code for topic in answer.topics]

    def fetched(script: Script, wanted: Any) -> list[tuple[str, int, int]]:
        answer = script.ask("OffsetFetch", 5, group_id="g", topics=wanted)
        return [
            (topic.name, one.committed_offset, one.error_code) for topic in answer.topics for one in topic.partitions
        ]

    script = logged_in(gateway, "reader", "r")
    assert committed(admin) == [0, 0]
    assert committed(script) == [0, DENIED]
    wanted = [{"name": name, "partition_indexes": [0]} for name in ("orders.eu", "private")]
    assert fetched(script, wanted) == [("orders.eu", 1, 0), ("private", -1, DENIED)]
    assert fetched(script, None) == [("orders.eu", 1, 0)]
    gone = [{"name": name, "partitions": [{"partition_index": 0}]} for name in ("orders.eu", "private")]
    answer = script.ask("OffsetDelete", 0, group_id="g", topics=gone)
    assert [topic.partitions[0].error_code for topic in answer.topics] == [0, DENIED]
    assert fetched(admin, None) == [("private", 1, 0)]
    refused = script.ask("DeleteGroups", 1, groups_names=["g", "nobody"]).results
    assert [one.error_code for one in refused] == [Code.GROUP_AUTHORIZATION_FAILED, Code.GROUP_ID_NOT_FOUND]
    assert admin.ask("DeleteGroups", 1, groups_names=["g"]).results[0].error_code == 0


def test_producers_are_described_to_who_may_read(gateway: Harness, admin: Script) -> None:
    script = logged_in(gateway, "writer", "w")
    topics = [{"name": "orders.eu", "partition_indexes": [0]}]
    assert script.ask("DescribeProducers", 0, topics=topics).topics[0].partitions[0].error_code == DENIED


def test_access_lists_are_not_kept_here(gateway: Harness, admin: Script) -> None:
    found = admin.ask("DescribeAcls", 2, resource_type_filter=1, operation=1, permission_type=1,
                      resource_name_filter=None, principal_filter=None, host_filter=None)  # fmt: skip
    assert found.error_code == Code.SECURITY_DISABLED and "user file" in found.error_message
    one = {
        "resource_type": 2,
        "resource_name": "t",
        "principal": "User:a",
        "host": "*",
        "operation": 3,
        "permission_type": 3,
    }
    assert admin.ask("CreateAcls", 2, creations=[one]).results[0].error_code == Code.SECURITY_DISABLED
    gone = {"resource_type_filter": 2, "resource_name_filter": "t", "principal_filter": None, "host_filter": None,
            "operation": 3, "permission_type": 3}  # fmt: skip
    assert admin.ask("DeleteAcls", 2, filters=[gone]).filter_results[0].error_code == Code.SECURITY_DISABLED


def test_every_cut_of_an_authentication_ends_the_same(gateway: Harness) -> None:
    data = frame("SaslHandshake", 1, mechanism="PLAIN") + frame("SaslAuthenticate", 1, 2, auth_bytes=b"\0admin\0secret")
    whole = gateway.connect("kafka")
    whole.send(data)
    expected = whole.read()
    for cut in range(1, len(data)):
        client = gateway.connect("kafka")
        client.send(data[:cut])
        client.send(data[cut:])
        assert client.read() == expected


def test_the_servers_own_streams_are_read_by_whose_rule_names_them(gateway: Harness, admin: Script) -> None:
    script = logged_in(gateway, "watcher", "x")
    assert list(script.ask("Metadata", 9, topics=None).topics) == []
    for name in ("_thalweg.control", "_thalweg.groups"):
        asked = script.ask("Metadata", 9, topics=[{"name": name}], allow_auto_topic_creation=True).topics[0]
        assert (asked.error_code, len(asked.partitions)) == (0, 1)
    found = script.fetch("_thalweg.control")
    assert found.error_code == 0 and b"orders/eu" in bytes(found.records)
    partitions = [{"partition_index": 0, "timestamp": -1}]
    answer = script.ask("ListOffsets", 7, topics=[{"name": "_thalweg.control", "partitions": partitions}])
    assert answer.topics[0].partitions[0].offset == found.high_watermark > 0
    assert script.produce("_thalweg.control", batch(b"x")).error_code == DENIED
    assert script.ask("DeleteTopics", 5, topic_names=["_thalweg.control"]).responses[0].error_code == DENIED
    missing = script.ask("Metadata", 9, topics=[{"name": "_thalweg.none"}], allow_auto_topic_creation=True).topics[0]
    assert missing.error_code in (Code.UNKNOWN_TOPIC_OR_PARTITION, DENIED)
    for other in (admin, logged_in(gateway, "reader", "r")):
        assert other.fetch("_thalweg.control").error_code in (Code.UNKNOWN_TOPIC_OR_PARTITION, DENIED)
