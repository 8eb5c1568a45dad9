"""The server itself: INFO CONFIG COMMAND TIME ROLE MEMORY and what stands for Redis' persistence.

Deviations: there is no RDB or AOF file of our own: every write is in the state stream already, so SAVE, BGSAVE and
BGREWRITEAOF have nothing to do and say so in Redis' words; LASTSAVE is the last turn. WAIT answers 0 replicas at once.
CONFIG GET gives the parameters of ``PARAMETERS``; CONFIG SET changes ``appendfsync`` only, accepts what is so already and
refuses the rest. CONFIG REWRITE, DEBUG, SHUTDOWN, SLOWLOG, LATENCY, MODULE, ACL, REPLICAOF, MONITOR are refused or unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocols.resp.call import CHANNEL, PATTERN, SHARD, Call
from protocols.resp.connection import VERSION
from protocols.resp.errors import SYNTAX, CommandError
from protocols.resp.notify import INVALID_CLASS, flags_of, text_of
from protocols.resp.numbers import integer_of
from protocols.resp.table import Handlers
from protocols.resp.wire import EMPTY, OK, array_of, bulk, bulks, integer, map_of, simple, verbatim
from substrate.api import Durability
from substrate.interest import glob_matches

DURABILITIES = {"always": Durability.SYNC, "everysec": Durability.INTERVAL, "no": Durability.OS}
"""What ``appendfsync`` means for the state stream."""

PARAMETERS: tuple[tuple[str, str], ...] = (
    ("activerehashing", "yes"), ("bind", "127.0.0.1"), ("cluster-enabled", "no"),
    ("client-output-buffer-limit", "normal 0 0 0 slave 0 0 0 pubsub {pending_bytes_max} 0 0"),
    ("databases", "{databases}"), ("dir", ""), ("hz", "10"), ("lazyfree-lazy-expire", "no"), ("list-max-listpack-size", "-2"),
    ("hash-max-listpack-entries", "128"), ("hash-max-listpack-value", "64"), ("loglevel", "notice"), ("maxclients", "10000"),
    ("maxmemory", "0"), ("maxmemory-policy", "noeviction"), ("maxmemory-samples", "5"), ("min-replicas-to-write", "0"),
    ("port", "{port}"), ("proto-max-bulk-len", "{bulk_bytes_max}"), ("replica-read-only", "yes"),
    ("requirepass", "{requirepass}"), ("save", ""), ("set-max-intset-entries", "512"), ("slave-read-only", "yes"),
    ("slowlog-log-slower-than", "-1"), ("slowlog-max-len", "0"), ("stream-node-max-entries", "100"), ("tcp-keepalive", "0"),
    ("timeout", "0"), ("zset-max-listpack-entries", "128"), ("zset-max-listpack-value", "64"),
)  # fmt: skip


def parameters(call: Call) -> dict[str, str]:
    settings = call.keyspace.settings
    values = {
        name: getattr(settings, name)
        for name in ("databases", "port", "bulk_bytes_max", "pending_bytes_max", "requirepass")
    }
    found = {name: text.format(**values) if "{" in text else text for name, text in PARAMETERS}
    found["appendfsync"] = call.keyspace.appendfsync
    found["notify-keyspace-events"] = text_of(call.keyspace.notifier.flags)
    found["appendonly"] = "yes" if settings.appendonly else "no"
    return found


def config_get(call: Call, words: list[bytes]) -> bytes:
    known = parameters(call)
    chosen = [
        (bulk(name.encode()), bulk(value.encode()))
        for name, value in known.items()
        if any(glob_matches(pattern.lower(), name.encode()) for pattern in words[2:])
    ]
    return map_of(chosen, call.protocol)


def config_set(call: Call, words: list[bytes]) -> bytes:
    if len(words) % 2:
        raise CommandError(SYNTAX)
    known = parameters(call)
    wanted: dict[str, str] = {}
    for name_bytes, value_bytes in zip(words[2::2], words[3::2], strict=True):
        name = name_bytes.decode("utf-8", "surrogateescape").lower()
        value = value_bytes.decode("utf-8", "surrogateescape")
        if name not in known:
            raise CommandError(f"ERR Unknown option or number of arguments for CONFIG SET - '{name}'")
        if name in wanted:
            raise CommandError(f"ERR CONFIG SET failed (possibly related to argument '{name}') - duplicate parameter")
        if name == "notify-keyspace-events":
            flags = flags_of(value)
            if flags is None:
                raise CommandError(f"ERR CONFIG SET failed (possibly related to argument '{name}') - {INVALID_CLASS}")
            wanted[name] = value
        elif name == "appendfsync":
            if value.lower() not in DURABILITIES:
                allowed = ", ".join(("everysec", "always", "no"))
                raise CommandError(
                    f"ERR CONFIG SET failed (possibly related to argument '{name}') - "
                    f"argument(s) must be one of the following: {allowed}"
                )
            wanted[name] = value.lower()
        elif value != known[name]:
            raise CommandError(
                f"ERR CONFIG SET failed (possibly related to argument '{name}') - can't set immutable config"
            )
    for name, value in wanted.items():
        call.keyspace.set_parameter(name, value)
        call.dirty += 1
        call.effect(b"_CONFIG", name.encode(), value.encode(), call.keyspace.configured(name).encode())
    return OK


def configured(call: Call, words: list[bytes]) -> bytes:
    """The effect of CONFIG SET: ``_CONFIG name value configured``. It holds while the configuration file says the same."""
    call.keyspace.remember(words[1].decode(), words[2].decode(), words[3].decode())
    return OK


def config_resetstat(call: Call, words: list[bytes]) -> bytes:
    call.keyspace.reset_statistics()
    return OK


def section_server(call: Call) -> dict[str, Any]:
    keyspace = call.keyspace
    up_s = max(call.now_ms - keyspace.started_ms, 0) // 1000
    return {
        "redis_version": VERSION.decode(), "redis_git_sha1": "00000000", "redis_git_dirty": 0, "redis_build_id": 0,
        "redis_mode": "standalone", "os": "thalweg", "arch_bits": 64, "process_id": 0, "process_supervised": "no",
        "run_id": keyspace.run_id, "tcp_port": keyspace.settings.port, "server_time_usec": call.now_ms * 1000,
        "uptime_in_seconds": up_s, "uptime_in_days": up_s // 86400, "hz": 10, "configured_hz": 10,
        "executable": "thalweg", "config_file": "",
    }  # fmt: skip


def section_clients(call: Call) -> dict[str, Any]:
    clients = call.keyspace.clients
    return {
        "connected_clients": len(clients), "cluster_connections": 0, "maxclients": 10000,
        "blocked_clients": len(call.keyspace.waiting), "tracking_clients": 0, "clients_in_timeout_table": 0,
        "pubsub_clients": sum(bool(client.subscribed) for client in clients.values()),
        "watching_clients": sum(bool(client.watches) for client in clients.values()),
    }  # fmt: skip


def config_rewrite(call: Call, words: list[bytes]) -> bytes:
    raise CommandError("ERR The server is running without a config file")


def section_memory(call: Call) -> dict[str, Any]:
    return {"maxmemory": 0, "maxmemory_human": "0B", "maxmemory_policy": "noeviction", "mem_allocator": "python"}


def section_persistence(call: Call) -> dict[str, Any]:
    return {
        "loading": 0, "async_loading": 0, "rdb_changes_since_last_save": 0, "rdb_bgsave_in_progress": 0,
        "rdb_last_save_time": call.now_ms // 1000, "rdb_last_bgsave_status": "ok", "aof_enabled": int(call.keyspace.settings.appendonly),
        "aof_rewrite_in_progress": 0, "aof_rewrite_scheduled": 0, "aof_last_bgrewrite_status": "ok",
        "aof_last_write_status": "ok",
    }  # fmt: skip


def section_stats(call: Call) -> dict[str, Any]:
    keyspace = call.keyspace
    dispatcher = keyspace.dispatcher
    return {
        "total_connections_received": keyspace.clients_total, "total_commands_processed": dispatcher.commands,
        "expired_keys": keyspace.expired_keys, "evicted_keys": 0,
        "keyspace_hits": dispatcher.hits, "keyspace_misses": dispatcher.misses,
        "pubsub_channels": sum(kind == CHANNEL for kind, _ in keyspace.subscribers),
        "pubsub_patterns": sum(kind == PATTERN for kind, _ in keyspace.subscribers),
        "pubsubshard_channels": sum(kind == SHARD for kind, _ in keyspace.subscribers),
        "total_error_replies": keyspace.error_replies,
    }  # fmt: skip


def section_replication(call: Call) -> dict[str, Any]:
    return {
        "role": "master", "connected_slaves": 0, "master_failover_state": "no-failover", "master_replid": call.keyspace.run_id,
        "master_replid2": "0" * 40, "master_repl_offset": 0, "second_repl_offset": -1, "repl_backlog_active": 0,
    }  # fmt: skip


def section_keyspace(call: Call) -> dict[str, Any]:
    return {
        f"db{db.number}": f"keys={len(db.order)},expires={db.expiring},avg_ttl=0" for db in call.databases if db.order
    }


SECTIONS: tuple[tuple[str, Callable[[Call], dict[str, Any]]], ...] = (
    ("Server", section_server), ("Clients", section_clients), ("Memory", section_memory), ("Persistence", section_persistence),
    ("Stats", section_stats), ("Replication", section_replication), ("Modules", lambda call: {}),
    ("Cluster", lambda call: {"cluster_enabled": 0}), ("Keyspace", section_keyspace),
)  # fmt: skip


def info(call: Call, words: list[bytes]) -> bytes:
    wanted = {word.decode("utf-8", "surrogateescape").lower() for word in words[1:]}
    everything = not wanted or wanted & {"all", "default", "everything"}
    parts = []
    for name, section in SECTIONS:
        if everything or name.lower() in wanted:
            lines = "".join(f"{key}:{value}\r\n" for key, value in section(call).items())
            parts.append(f"# {name}\r\n{lines}")
    return verbatim("\r\n".join(parts).encode(), call.protocol)


def time(call: Call, words: list[bytes]) -> bytes:
    now_us = call.keyspace.world.now_ns // 1000
    return bulks((b"%d" % (now_us // 1_000_000), b"%d" % (now_us % 1_000_000)))


def role(call: Call, words: list[bytes]) -> bytes:
    return array_of((bulk(b"master"), integer(0), EMPTY))


def wait(call: Call, words: list[bytes]) -> bytes:
    integer_of(words[1])
    if integer_of(words[2], "ERR timeout is not an integer or out of range") < 0:
        raise CommandError("ERR timeout is negative")
    return integer(0)


def lastsave(call: Call, words: list[bytes]) -> bytes:
    return integer(call.now_ms // 1000)


def save(call: Call, words: list[bytes]) -> bytes:
    return OK


def bgsave(call: Call, words: list[bytes]) -> bytes:
    if len(words) > 2 or (len(words) == 2 and words[1].upper() != b"SCHEDULE"):
        raise CommandError(SYNTAX)
    return simple(b"Background saving started")


def bgrewriteaof(call: Call, words: list[bytes]) -> bytes:
    return simple(b"Background append only file rewriting started")


def refuse(call: Call, words: list[bytes]) -> bytes:
    raise CommandError(f"ERR {call.name.upper().replace('|', ' ')} is not supported by this server")


HANDLERS: Handlers = {
    "info": info, "time": time, "role": role, "wait": wait, "lastsave": lastsave, "save": save, "bgsave": bgsave,
    "bgrewriteaof": bgrewriteaof, "config|get": config_get, "config|set": config_set,
    "config|resetstat": config_resetstat, "config|rewrite": config_rewrite,

    "shutdown": refuse, "monitor": refuse,
}  # fmt: skip
