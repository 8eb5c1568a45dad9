"""Configurations of JetStream streams and consumers: read strictly, defaults filled in, what is not built refused.

Versions: nats-server 2.15, API level 5 (ADR-44). A configuration is a dict with the wire's names; what is kept and shown
is complete, in the order of the server's structs. ``StreamSettings`` and ``ConsumerSettings`` say which fields there are,
their types, and what a field may be here: a value that asks for something we do not do is refused with JetStream's error
for a bad configuration, and the README lists it.
"""

from __future__ import annotations

import json
from typing import Any

from protocols.nats import errors
from protocols.nats.errors import ApiError
from protocols.nats.jetstream_wire import Fields, Uint64, parse_time, valid_stream_name
from protocols.nats.mapping import pattern_of
from protocols.nats.wire import valid_subject as valid_on_the_wire
from substrate.api import Durability, StreamConfig
from substrate.interest import ANY, ONE, SOME

Config = dict[str, Any]
SECOND_NS = 1_000_000_000
VERSION = "2.15.1"
LEVEL = "5"
RECORD_BYTES_MAX = 8 * 1024 * 1024
SEGMENT_BYTES_MIN = 1024 * 1024
STREAM_NAME_MAX = 255
DESCRIPTION_MAX = 4096
METADATA_MAX = 128 * 1024
SUBJECTS_MAX = 200
"""Of a stream, and filters of a consumer: each is compared with each."""

STREAM_FIELDS: Fields = {
    "name": (str,), "description": (str,), "subjects": (list,), "retention": (str,), "max_consumers": (int,),
    "max_msgs": (int,), "max_bytes": (int,), "max_age": (int,), "max_msgs_per_subject": (int,), "max_msg_size": (int,),
    "discard": (str,), "discard_new_per_subject": (bool,), "storage": (str,), "num_replicas": (int,), "no_ack": (bool,),
    "duplicate_window": (int,), "placement": (dict,), "mirror": (dict,), "sources": (list,), "compression": (str,),
    "first_seq": (Uint64,), "subject_transform": (dict,), "republish": (dict,), "allow_direct": (bool,),
    "mirror_direct": (bool,), "sealed": (bool,), "deny_delete": (bool,), "deny_purge": (bool,),
    "allow_rollup_hdrs": (bool,), "consumer_limits": (dict,), "allow_msg_ttl": (bool,),
    "subject_delete_marker_ttl": (int,), "allow_msg_counter": (bool,), "allow_atomic": (bool,),
    "allow_msg_schedules": (bool,), "persist_mode": (str,), "allow_batched": (bool,), "metadata": (dict,),
}  # fmt: skip
STREAM_ONLY: dict[str, tuple[object, ...]] = {
    "placement": ({},), "mirror": (), "sources": ([],), "compression": ("none", ""), "first_seq": (0, 1),
    "subject_transform": (), "republish": (), "sealed": (False,), "consumer_limits": ({},), "allow_msg_schedules": (False,),
    "persist_mode": ("", "default"), "allow_batched": (False,),
}  # fmt: skip
"""The only values that these may have here."""

STREAM_WORDS = {
    "retention": ("limits", "interest", "workqueue"), "discard": ("old", "new"), "storage": ("file", "memory"),
}  # fmt: skip
"""What nats-server knows; anything else is no JSON of its own."""

CONSUMER_FIELDS: Fields = {
    "durable_name": (str,), "name": (str,), "description": (str,), "deliver_policy": (str,), "opt_start_seq": (Uint64,),
    "opt_start_time": (str,), "ack_policy": (str,), "ack_wait": (int,), "max_deliver": (int,), "backoff": (list,),
    "filter_subject": (str,), "filter_subjects": (list,), "replay_policy": (str,), "rate_limit_bps": (Uint64,),
    "sample_freq": (str,), "max_waiting": (int,), "max_ack_pending": (int,), "flow_control": (bool,),
    "headers_only": (bool,), "max_batch": (int,), "max_expires": (int,), "max_bytes": (int,), "deliver_subject": (str,),
    "deliver_group": (str,), "idle_heartbeat": (int,), "inactive_threshold": (int,), "num_replicas": (int,),
    "mem_storage": (bool,), "direct": (bool,), "sourcing": (bool,), "metadata": (dict,), "pause_until": (str,),
    "priority_groups": (list,), "priority_policy": (str,), "priority_timeout": (int,),
}  # fmt: skip
CONSUMER_ONLY: dict[str, tuple[object, ...]] = {
    "deliver_policy": ("all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject"),
    "ack_policy": ("none", "all", "explicit"), "sample_freq": ("", "0", "0%"), "sourcing": (False,), "priority_groups": ([],), "priority_policy": ("", "none"),
    "priority_timeout": (0,),
}  # fmt: skip
CONSUMER_WORDS = {
    "ack_policy": ("none", "all", "explicit", "flow_control"), "replay_policy": ("instant", "original"),
    "deliver_policy": ("all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject"),
    "priority_policy": ("none", "", "overflow", "pinned_client", "prioritized"),
}  # fmt: skip
"""What nats-server knows; anything else is no JSON of its own."""
CONSUMER_FIXED = {
    "deliver_policy": "deliver policy", "opt_start_seq": "start sequence", "opt_start_time": "start time",
    "ack_policy": "ack policy", "replay_policy": "replay policy", "idle_heartbeat": "heart beats",
    "flow_control": "flow control", "mem_storage": "memory storage",
}  # fmt: skip
"""Cannot be changed once the consumer is there."""


def valid_subject(subject: bytes, wildcards: bool = False) -> bool:
    """Also of what a control line could not carry: a subject with a blank in it is none."""
    return valid_on_the_wire(subject, wildcards) and len(subject.split()) == 1 and subject.strip() == subject


def _unsupported(config: Config, only: dict[str, tuple[object, ...]]) -> str | None:
    for name, allowed in only.items():
        if name in config and config[name] not in allowed:
            return (
                f"{name} {config[name]!r} is not supported"
                if isinstance(config[name], str)
                else f"{name} is not supported"
            )
    return None


# streams


def stream_config(given: Config) -> Config | ApiError:
    """The whole configuration that a request's one asks for."""
    name = given.get("name", "")
    if "/" in name or "\\" in name:
        return errors.STREAM_NAME_PATH
    if len(name) > STREAM_NAME_MAX:
        return errors.STREAM_CONFIG.of(err=f"stream name is too long, maximum allowed is {STREAM_NAME_MAX}")
    if not valid_stream_name(name) or "%" in name:
        return errors.STREAM_CONFIG.of(err="stream name is required and can not contain '.', '*', '>', '%' or blanks")
    subjects = given.get("subjects") or [name]
    refused = _refuse_subjects(subjects)
    for field, known in STREAM_WORDS.items():
        if given.get(field, known[0]) not in known:
            return errors.INVALID_JSON.of(err=f"can not unmarshal {json.dumps(json.dumps(given[field]))}")
    if refused is None:
        refused = _unsupported(given, STREAM_ONLY)
    if refused is None:
        refused = _refuse_limits(given)
    if refused is not None:
        return errors.STREAM_CONFIG.of(err=refused)
    if given.get("num_replicas", 1) < 0:
        return errors.REPLICAS_NEGATIVE
    if given.get("num_replicas", 1) > 1:
        return errors.REPLICAS

    def limit(field: str) -> int:
        value = int(given.get(field, -1))
        return value if value > 0 else -1

    window = given.get("duplicate_window", 0)
    age = max(given.get("max_age", 0), 0)
    config: Config = {"name": name}
    if given.get("description"):
        config["description"] = given["description"]
    config |= {
        "subjects": list(subjects),
        "retention": given.get("retention", "limits"),
        "max_consumers": limit("max_consumers"),
        "max_msgs": limit("max_msgs"),
        "max_bytes": limit("max_bytes"),
        "max_age": age,
        "max_msgs_per_subject": limit("max_msgs_per_subject"),
        "max_msg_size": limit("max_msg_size"),
        "discard": given.get("discard", "old"),
        "storage": given.get("storage", "file"),
        "num_replicas": 1,
    }
    if given.get("no_ack"):
        config["no_ack"] = True
    markers = given.get("subject_delete_marker_ttl", 0)
    config |= {
        "duplicate_window": window or (min(age, 120 * SECOND_NS) if age else 120 * SECOND_NS),
        "compression": "none",
        "allow_direct": bool(given.get("allow_direct")),
        "mirror_direct": False,
        **({"discard_new_per_subject": True} if given.get("discard_new_per_subject") else {}),
        "sealed": False,
        "deny_delete": bool(given.get("deny_delete")),
        "deny_purge": bool(given.get("deny_purge")) and not markers,
        "allow_rollup_hdrs": bool(given.get("allow_rollup_hdrs")) or markers > 0,
        "consumer_limits": {},
    }
    config["allow_msg_ttl"] = bool(given.get("allow_msg_ttl")) or markers > 0
    if markers > 0:
        config["subject_delete_marker_ttl"] = markers
    for field in ("allow_msg_counter", "allow_atomic"):
        if given.get(field):
            config[field] = True
    level = (
        "2" if given.get("allow_msg_counter") or given.get("allow_atomic") else "1" if config["allow_msg_ttl"] else "0"
    )
    config["metadata"] = {**_customers(given.get("metadata", {})), "_nats.req.level": level}
    return config


def _refuse_limits(given: Config) -> str | None:
    age, window = given.get("max_age", 0), given.get("duplicate_window", 0)
    if given.get("mirror_direct"):
        return "stream has no mirror but does have mirror direct"
    if given.get("discard_new_per_subject"):
        if given.get("discard", "old") != "new":
            return "discard new per subject requires discard new policy to be set"
        if given.get("max_msgs_per_subject", -1) <= 0:
            return "discard new per subject requires max msgs per subject > 0"
    if age < 0:
        return "max age can not be negative"
    if 0 < age < 100_000_000:
        return "max age needs to be >= 100ms"
    if window < 0:
        return "duplicates window can not be negative"
    if window and age and window > age:
        return "duplicates window can not be larger then max age"
    if 0 < window < 100_000_000:
        return "duplicates window needs to be >= 100ms"
    if given.get("max_msg_size", -1) > RECORD_BYTES_MAX:
        return f"max_msg_size is above the limit of {RECORD_BYTES_MAX} bytes"
    if len(given.get("description", "")) > DESCRIPTION_MAX:
        return f"stream description is too long, maximum allowed is {DESCRIPTION_MAX}"
    markers = given.get("subject_delete_marker_ttl", 0)
    if markers < 0:
        return "subject delete marker TTL must not be negative"
    if 0 < markers < SECOND_NS:
        return "subject delete marker TTL must be at least 1 second"
    if given.get("deny_purge") and given.get("allow_rollup_hdrs") and not markers:
        return "roll-ups require the purge permission"
    if given.get("allow_msg_counter"):
        if given.get("discard") == "new":
            return "counter stream cannot use discard new"
        if given.get("allow_msg_ttl") or markers:
            return "counter stream cannot use message TTLs"
        if given.get("retention", "limits") != "limits":
            return "counter stream can only use limits retention"
    refused = _refuse_metadata(given.get("metadata", {}))
    if refused is None and _too_large(given.get("metadata", {})):
        return f"stream metadata exceeds maximum size of {METADATA_MAX} bytes"
    return refused


def _refuse_metadata(metadata: dict[str, Any]) -> str | None:
    if any(not isinstance(value, str) for value in metadata.values()):
        return "metadata values are strings"
    return None


def _too_large(metadata: dict[str, str]) -> bool:
    return sum(len(name) + len(value) for name, value in metadata.items()) > METADATA_MAX


def _refuse_subjects(subjects: list[Any]) -> str | None:
    if len(subjects) > SUBJECTS_MAX:
        return f"more than {SUBJECTS_MAX} subjects are not supported"
    if any(not isinstance(subject, str) or not valid_subject(subject.encode(), True) for subject in subjects):
        return "invalid subject"
    for index, subject in enumerate(subjects):
        if subject == ">":
            return "capturing all subjects requires no-ack to be true"
        if collide(subject, "$JS.>") and not subset(subject, "$JS.EVENT.>"):
            return "subjects that overlap with jetstream api require no-ack to be true"
        if collide(subject, "$SYS.>"):
            return "subjects that overlap with system api require no-ack to be true"
        if subject.split(".", 1)[0] == "_thalweg":
            return "subjects beneath _thalweg are reserved"
        for other in subjects[:index]:
            if collide(subject, other):
                return f'subject "{other}" overlaps with "{subject}"'
    return None


def _customers(metadata: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in metadata.items() if not name.startswith("_nats.")}


def with_versions(config: Config) -> Config:
    """As answers to CREATE, UPDATE and INFO show it."""
    shown = dict(config)
    shown["metadata"] = dict(sorted({**config.get("metadata", {}), "_nats.level": LEVEL, "_nats.ver": VERSION}.items()))
    return shown


def same_stream(one: Config, other: Config) -> bool:
    return one == other


def storage_of(config: Config, durability: str, interval_ms: int) -> StreamConfig:
    """How the substrate keeps such a stream."""
    size = config["max_bytes"]
    age = config["max_age"] // 1_000_000 if not config["allow_msg_ttl"] else 0  # else messages expire one by one
    return StreamConfig(
        durability=Durability.OS if config["storage"] == "memory" else Durability(durability),
        interval_ms=interval_ms,
        retention_bytes=size,
        retention_records=config["max_msgs"],
        retention_ms=age or -1,
        exact_limits=True,
        address_records_max=config["max_msgs_per_subject"],
        discard_new=config["discard"] == "new",
        address_discard_new=bool(config.get("discard_new_per_subject")),
        segment_bytes=StreamConfig().segment_bytes
        if size < 0
        else max(SEGMENT_BYTES_MIN, min(size // 8, 64 * 1024 * 1024)),
        record_bytes_max=config["max_msg_size"] if config["max_msg_size"] > 0 else RECORD_BYTES_MAX,
    )


def patterns_of(config: Config) -> tuple[bytes, ...]:
    """What the stream captures, as canonical patterns."""
    return tuple(pattern_of(subject.encode()).text for subject in config["subjects"])


def refuse_update(old: Config, new: Config) -> ApiError | None:
    """What of a stream cannot change (nats-server stream.go configUpdateCheck, behaviour)."""

    def cannot(words: str) -> ApiError:
        return errors.STREAM_CONFIG.of(err=f"stream configuration update can not {words}")

    if old.get("allow_msg_ttl") and not new.get("allow_msg_ttl"):
        return errors.STREAM_CONFIG.of(err="message TTL status can not be disabled")
    if old.get("max_consumers") != new.get("max_consumers"):
        return cannot("change MaxConsumers")
    if old.get("storage") != new.get("storage"):
        return cannot("change storage type")
    if old["retention"] != new["retention"] and "workqueue" in (old["retention"], new["retention"]):
        return cannot("change retention policy to/from workqueue")
    for name, words in (("deny_delete", "cancel deny message deletes"), ("deny_purge", "cancel deny purge")):
        if old.get(name) and not new.get(name):
            return cannot(words)
    if old.get("allow_msg_counter") and not new.get("allow_msg_counter"):
        return cannot("change message counter setting")
    if new.get("allow_msg_counter") and not old.get("allow_msg_counter"):
        return cannot("change message counter setting")
    return None


def collide(one: str, other: str) -> bool:
    """Whether some subject matches both (nats-server sublist.go SubjectsCollide, behaviour)."""
    left, right = one.split("."), other.split(".")
    for index in range(max(len(left), len(right))):
        if index >= len(left) or index >= len(right):
            return False
        if left[index] == ">" or right[index] == ">":
            return True
        if left[index] != right[index] and "*" not in (left[index], right[index]):
            return False
    return True


def collide_canonical(one: bytes, other: bytes) -> bool:
    """The same of canonical patterns."""
    left, right = one.split(b"/"), other.split(b"/")
    index = 0
    while True:
        a = left[index] if index < len(left) else None
        b = right[index] if index < len(right) else None
        if a == ANY or b == ANY or (a is None and b is None):
            return True
        if a is None or b is None:
            return False
        if a == SOME or b == SOME:
            return True
        if a != b and a != ONE and b != ONE:
            return False
        index += 1


def subset(narrow: str, wide: str) -> bool:
    """Whether every subject that matches ``narrow`` matches ``wide``."""
    left, right = narrow.split("."), wide.split(".")
    for index, token in enumerate(right):
        if index >= len(left):
            return False
        if token == ">":
            return True
        if left[index] == ">" or (left[index] == "*" and token != "*"):
            return False
        if token not in ("*", left[index]):
            return False
    return len(left) == len(right)


# consumers


def consumer_config(given: Config) -> Config | ApiError:
    """The whole configuration of a consumer, without its generated name."""
    refused = _refuse_consumer(given)
    if refused is not None:
        return refused
    push = bool(given.get("deliver_subject"))
    explicit = given.get("ack_policy", "none") != "none"
    config: Config = {}
    for name in ("durable_name", "name", "description"):
        if given.get(name):
            config[name] = given[name]
    config["deliver_policy"] = given.get("deliver_policy", "all")
    for name in ("opt_start_seq", "opt_start_time"):
        if given.get(name):
            config[name] = given[name]
    config["ack_policy"] = given.get("ack_policy", "none")
    backoff = given.get("backoff") or []
    wait = backoff[0] if backoff else given.get("ack_wait") or (30 * SECOND_NS if explicit else 0)
    if wait:
        config["ack_wait"] = wait
    config["max_deliver"] = given.get("max_deliver") or -1
    if backoff:
        config["backoff"] = backoff
    for name in ("filter_subject", "filter_subjects"):
        if given.get(name):
            config[name] = given[name]
    config["replay_policy"] = given.get("replay_policy", "instant")
    if given.get("rate_limit_bps"):
        config["rate_limit_bps"] = given["rate_limit_bps"]
    if not push:
        config["max_waiting"] = max(given.get("max_waiting", 0), 0) or 512
    most = given.get("max_ack_pending") or (1000 if explicit else 0)
    if most:
        config["max_ack_pending"] = most
    for name in ("flow_control", "headers_only", "max_batch", "max_expires", "max_bytes", "deliver_subject",
                 "deliver_group", "idle_heartbeat"):  # fmt: skip
        if given.get(name) and given[name] != -1:
            config[name] = given[name]
    threshold = given.get("inactive_threshold") or (0 if given.get("durable_name") else 5 * SECOND_NS)
    if threshold:
        config["inactive_threshold"] = threshold
    config["num_replicas"] = given.get("num_replicas", 0)
    for name in ("mem_storage", "direct"):
        if given.get(name):
            config[name] = True
    paused = bool(given.get("pause_until")) and parse_time(given["pause_until"]) > 0
    config["metadata"] = {**_customers(given.get("metadata", {})), "_nats.req.level": "1" if paused else "0"}
    if paused:
        config["pause_until"] = given["pause_until"]
    return config


def _refuse_consumer(given: Config) -> ApiError | None:
    refused_number = _refuse_numbers(given)
    if refused_number is not None:
        return refused_number
    for name, known in CONSUMER_WORDS.items():
        if given.get(name, known[0]) not in known:
            return errors.INVALID_JSON.of(err=f"can not unmarshal {json.dumps(json.dumps(given[name]))}")
    refused = _refuse_push(given) if given.get("deliver_subject") else _refuse_pull(given)
    if refused is not None:
        return refused
    refused = _refuse_sampling(given.get("sample_freq", "")) or _refuse_priority(given)
    if refused is not None:
        return refused
    words = _unsupported(given, CONSUMER_ONLY) or _refuse_metadata(given.get("metadata", {}))
    if words is not None:
        return errors.CONSUMER_CREATE.of(err=words)
    if _too_large(given.get("metadata", {})):
        return errors.CONSUMER_METADATA
    if given.get("num_replicas", 0) > 1:
        return errors.REPLICAS
    if given.get("num_replicas", 0) < 0:
        return errors.REPLICAS_NEGATIVE
    if len(given.get("description", "")) > DESCRIPTION_MAX:
        return errors.CONSUMER_DESCRIPTION_LONG.of(max=DESCRIPTION_MAX)
    return _refuse_start(given) or _refuse_filters(given)


def _refuse_sampling(text: str) -> ApiError | None:
    number = text.removesuffix("%")
    if not text or number.removeprefix("-").isdigit():
        return None
    words = f"strconv.Atoi: parsing {json.dumps(number)}: invalid syntax"
    return errors.CONSUMER_SAMPLING.of(err=words)


def _refuse_priority(given: Config) -> ApiError | None:
    policy, groups = given.get("priority_policy", "none") or "none", given.get("priority_groups")
    if policy != "none" and not groups:
        return errors.PRIORITY_WITHOUT_GROUP
    if policy == "none" and groups:
        return errors.GROUP_WITHOUT_PRIORITY
    return None


def _refuse_pull(given: Config) -> ApiError | None:
    if given.get("rate_limit_bps"):
        return errors.RATE_ON_PULL
    if given.get("idle_heartbeat"):
        return errors.HEARTBEAT_NEEDS_PUSH
    if given.get("flow_control"):
        return errors.FLOW_NEEDS_PUSH
    if 0 < given.get("max_expires", 0) < 1_000_000:
        return errors.EXPIRES_SMALL
    if given.get("direct"):
        return errors.DIRECT_NEEDS_PUSH
    return None


def _refuse_push(given: Config) -> ApiError | None:
    subject = given["deliver_subject"].encode()
    if any(token in (b"*", b">") for token in subject.split(b".")):
        return errors.DELIVER_WILDCARDS
    if not valid_subject(subject):
        return errors.DELIVER_INVALID
    if given.get("max_waiting"):
        return errors.PUSH_WAITING
    if given.get("max_ack_pending", 0) > 0 and given.get("ack_policy", "none") == "none":
        return errors.PENDING_NEEDS_ACKS
    if 0 < given.get("idle_heartbeat", 0) < 100_000_000:
        return errors.HEARTBEAT_SMALL
    if given.get("flow_control") and not given.get("idle_heartbeat"):
        return errors.FLOW_NEEDS_HEARTBEATS
    if given.get("direct") and given.get("durable_name"):
        return errors.DIRECT_NEEDS_EPHEMERAL
    return None


def _refuse_numbers(given: Config) -> ApiError | None:
    backoff = given.get("backoff") or []
    if given.get("ack_wait", 0) < 0:
        return errors.ACK_WAIT_NEGATIVE
    if any(not isinstance(wait, int) or isinstance(wait, bool) or wait < 0 for wait in backoff):
        return errors.BACKOFF_NEGATIVE
    if 0 < given.get("max_deliver", -1) < len(backoff):
        return errors.BACKOFF_DELIVER
    return None


def _refuse_start(given: Config) -> ApiError | None:
    policy = given.get("deliver_policy", "all")
    by_sequence, by_time = given.get("opt_start_seq", 0), given.get("opt_start_time")
    start = {"by_start_sequence": "start sequence", "by_start_time": "start time"}
    if policy == "by_start_sequence" and by_sequence < 1:
        return errors.CONSUMER_POLICY.of(
            err="consumer delivery policy is deliver by start sequence, but optional start sequence is not set"
        )
    if policy == "last_per_subject" and not (given.get("filter_subject") or given.get("filter_subjects")):
        return errors.CONSUMER_POLICY.of(
            err="consumer delivery policy is deliver last per subject, but optional filter subject is not set"
        )
    if policy == "by_start_time" and not by_time:
        return errors.CONSUMER_POLICY.of(
            err="consumer delivery policy is deliver by start time, but optional start time is not set"
        )
    for field, owner in (("opt_start_seq", "by_start_sequence"), ("opt_start_time", "by_start_time")):
        if given.get(field) and policy != owner:
            return errors.CONSUMER_POLICY.of(
                err=f"consumer delivery policy is deliver {policy.replace('_', ' ')}, but optional {start[owner]} is also set"
            )
    for time in (by_time, given.get("pause_until")):
        if time:
            try:
                parse_time(time)
            except ValueError:
                return errors.INVALID_JSON.of(err=f"parsing time {time!r}")
    return None


def _refuse_filters(given: Config) -> ApiError | None:
    one, many = given.get("filter_subject"), given.get("filter_subjects") or []
    if one and many:
        return errors.FILTERS_DUPLICATE
    if any(not subject for subject in many):
        return errors.FILTER_EMPTY
    if len(many) > SUBJECTS_MAX:
        return errors.CONSUMER_CREATE.of(err=f"more than {SUBJECTS_MAX} filters are not supported")
    filters = [one] if one else many
    for index, subject in enumerate(filters):
        if not isinstance(subject, str) or not valid_subject(subject.encode(), True):
            return errors.FILTER_NOT_SUBSET
        if any(collide(subject, other) for other in filters[:index]):
            return errors.FILTERS_OVERLAP
    return None


def filters_of(config: Config) -> list[str]:
    """The subjects that a consumer wants; none: all."""
    one = config.get("filter_subject")
    return [one] if one else list(config.get("filter_subjects", ()))


def refuse_consumer_update(old: Config, new: Config, bound: bool) -> ApiError | None:
    """What of a consumer (``bound``: somebody gets its deliveries) cannot change (nats-server consumer.go checkNewConsumerConfig, behaviour)."""
    for name, words in CONSUMER_FIXED.items():
        if old.get(name) != new.get(name):
            return errors.CONSUMER_CREATE.of(err=f"{words} can not be updated")
    if "deliver_subject" in new and "deliver_subject" not in old:
        return errors.CONSUMER_CREATE.of(err="can not update pull consumer to push based")
    if "deliver_subject" in old and "deliver_subject" not in new:
        return errors.CONSUMER_CREATE.of(err="can not update push consumer to pull based")
    if bound and old.get("deliver_subject") != new.get("deliver_subject"):
        return errors.CONSUMER_NAME_EXISTS
    if old.get("max_waiting") != new.get("max_waiting"):
        return errors.CONSUMER_CREATE.of(err="max waiting can not be updated")
    return None
