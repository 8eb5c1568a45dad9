"""The server itself: INFO CONFIG COMMAND TIME ROLE MEMORY and what stands for Redis' persistence.

Deviations: there is no RDB or AOF file of our own: every write is in the state stream already, so SAVE, BGSAVE and
BGREWRITEAOF have nothing to do and say so in Redis' words; LASTSAVE is the last turn. WAIT answers 0 replicas at once.
CONFIG GET gives the parameters of ``PARAMETERS``; CONFIG SET changes ``appendfsync`` only, accepts what is so already and
refuses the rest. CONFIG REWRITE, DEBUG, SHUTDOWN, SLOWLOG, LATENCY, MODULE, ACL, REPLICAOF, MONITOR are refused or unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocols.resp.call import Call
from protocols.resp.connection import VERSION
from protocols.resp.errors import SYNTAX, CommandError, wrong_arity
from protocols.resp.numbers import integer_of
from protocols.resp.state import HASH, LIST, SET, ZSET, Entry
from protocols.resp.table import NO_KEYS, Command, Family
from protocols.resp.wire import EMPTY, NULL_ARRAY, OK, array_of, bulk, bulks, integer, map_of, null, simple, verbatim
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
    ("notify-keyspace-events", ""), ("port", "{port}"), ("proto-max-bulk-len", "{bulk_bytes_max}"), ("replica-read-only", "yes"),
    ("requirepass", ""), ("save", ""), ("set-max-intset-entries", "512"), ("slave-read-only", "yes"),
    ("slowlog-log-slower-than", "-1"), ("slowlog-max-len", "0"), ("stream-node-max-entries", "100"), ("tcp-keepalive", "0"),
    ("timeout", "0"), ("zset-max-listpack-entries", "128"), ("zset-max-listpack-value", "64"),
)  # fmt: skip


def parameters(call: Call) -> dict[str, str]:
    settings = call.keyspace.settings
    values = {name: getattr(settings, name) for name in ("databases", "port", "bulk_bytes_max", "pending_bytes_max")}
    found = {name: text.format(**values) if "{" in text else text for name, text in PARAMETERS}
    found["appendfsync"] = call.keyspace.appendfsync
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
        raise CommandError(wrong_arity("config|set"))
    known = parameters(call)
    wanted: dict[str, str] = {}
    for name_bytes, value_bytes in zip(words[2::2], words[3::2], strict=True):
        name = name_bytes.decode("utf-8", "surrogateescape").lower()
        value = value_bytes.decode("utf-8", "surrogateescape")
        if name not in known:
            raise CommandError(f"ERR Unknown option or number of arguments for CONFIG SET - '{name}'")
        if name in wanted:
            raise CommandError(f"ERR CONFIG SET failed (possibly related to argument '{name}') - duplicate parameter")
        if name == "appendfsync":
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
    if "appendfsync" in wanted:
        mode = wanted["appendfsync"]
        call.keyspace.set_appendfsync(mode)
        call.dirty += 1
        call.effect(b"_CONFIG", b"appendfsync", mode.encode(), call.keyspace.settings.appendfsync.encode())
    return OK


def configured(call: Call, words: list[bytes]) -> bytes:
    """The effect of CONFIG SET: ``_CONFIG name value configured``. It holds while the configuration file says the same."""
    call.keyspace.remember_appendfsync(words[2].decode(), words[3].decode())
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
        "pubsub_channels": sum(not pattern for pattern, _ in keyspace.subscribers),
        "pubsub_patterns": sum(pattern for pattern, _ in keyspace.subscribers),
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
    return simple(b"Background saving started")


def bgrewriteaof(call: Call, words: list[bytes]) -> bytes:
    return simple(b"Background append only file rewriting started")


def refuse(call: Call, words: list[bytes]) -> bytes:
    raise CommandError(f"ERR {call.name.upper().replace('|', ' ')} is not supported by this server")


def size_of(entry: Entry) -> int:
    """An estimate: objects and their bytes."""
    value = entry.value
    size = 160 + len(entry.key)
    if entry.kind in (LIST, SET):
        return size + 64 + sum([len(item) + 64 for item in value])
    if entry.kind == HASH:
        return size + 64 + sum([len(field) + len(item) + 150 for field, item in value.items()])
    if entry.kind == ZSET:
        return size + 64 + sum([len(member) + 260 for member in value.scores])
    if isinstance(value, bytes):
        return size + 33 + len(value)
    if hasattr(value, "fields"):
        return size + sum([150 + sum([len(word) + 40 for word in fields]) for fields in value.fields])
    return size


def memory_usage(call: Call, words: list[bytes]) -> bytes:
    if len(words) > 3 and (len(words) != 5 or words[3].upper() != b"SAMPLES" or integer_of(words[4]) < 0):
        raise CommandError(SYNTAX)
    entry = call.find(words[2])
    return null(call.protocol) if entry is None else integer(size_of(entry))


# COMMAND

CATEGORIES = {
    "generic": "keyspace", "string": "string", "hash": "hash", "list": "list", "set": "set", "sorted-set": "sortedset",
    "stream": "stream", "pubsub": "pubsub", "transactions": "transaction", "connection": "connection", "server": "",
}  # fmt: skip


def categories(command: Command) -> list[bytes]:
    found = []
    if command.writes:
        found.append(b"@write")
    if "readonly" in command.flags:
        found.append(b"@read")
    if "admin" in command.flags:
        found += [b"@admin", b"@dangerous"]
    found.append(b"@fast" if "fast" in command.flags else b"@slow")
    if "blocking" in command.flags:
        found.append(b"@blocking")
    category = CATEGORIES.get(command.group, "")
    return [*found, b"@" + category.encode()] if category else found


def describe(call: Call, command: Command, subcommands: list[Command]) -> bytes:
    """One command as COMMAND gives it (Redis 7: ten elements)."""
    protocol = call.protocol
    flags = b"%b%d\r\n" % (b"~" if protocol == 3 else b"*", len(command.flags))
    words = b"".join([simple(flag.encode()) for flag in command.flags])
    kinds = categories(command)
    acl = b"%b%d\r\n" % (b"~" if protocol == 3 else b"*", len(kinds)) + b"".join([simple(kind) for kind in kinds])
    return array_of(
        (
            bulk(command.name.encode()), integer(command.arity), flags + words,
            integer(command.first), integer(command.last), integer(command.step), acl, EMPTY, EMPTY,
            array_of([describe(call, sub, []) for sub in subcommands]),
        )
    )  # fmt: skip


def listed(call: Call) -> list[tuple[Command, list[Command]]]:
    """Every command with its subcommands; a parent of subcommands is made here."""
    catalogue = call.keyspace.catalogue
    found = []
    for name in catalogue.names():
        subs = catalogue.subcommands(name)
        found.append((catalogue.parent(name) if subs else catalogue.commands[name.upper().encode()], subs))
    return found


def command(call: Call, words: list[bytes]) -> bytes:
    return array_of([describe(call, found, subs) for found, subs in listed(call)])


def command_count(call: Call, words: list[bytes]) -> bytes:
    return integer(len(listed(call)))


def command_info(call: Call, words: list[bytes]) -> bytes:
    if len(words) == 2:
        return command(call, words)
    known: dict[bytes, tuple[Command, list[Command]]] = {}
    for found, subs in listed(call):
        known[found.name.encode()] = (found, subs)
        known |= {sub.name.encode(): (sub, []) for sub in subs}
    nothing = null(call.protocol) if call.protocol == 3 else NULL_ARRAY
    return array_of([describe(call, *known[w.lower()]) if w.lower() in known else nothing for w in words[2:]])


def command_list(call: Call, words: list[bytes]) -> bytes:
    names = [found.name.encode() for found, _ in listed(call)]
    if len(words) == 2:
        return bulks(names)
    if len(words) == 5 and words[2].upper() == b"FILTERBY" and words[3].upper() == b"PATTERN":
        return bulks([name for name in names if glob_matches(words[4].lower(), name)])
    raise CommandError(SYNTAX)


def document(call: Call, found: Command, subs: list[Command]) -> tuple[bytes, bytes]:
    pairs = [
        (bulk(b"summary"), bulk(found.summary.encode())),
        (bulk(b"since"), bulk(b"1.0.0")),
        (bulk(b"group"), bulk(found.group.encode())),
    ]
    if subs:
        pairs.append((bulk(b"subcommands"), map_of([document(call, sub, []) for sub in subs], call.protocol)))
    return bulk(found.name.encode()), map_of(pairs, call.protocol)


def command_docs(call: Call, words: list[bytes]) -> bytes:
    wanted = {word.lower() for word in words[2:]}
    return map_of(
        [document(call, found, subs) for found, subs in listed(call) if not wanted or found.name.encode() in wanted],
        call.protocol,
    )


def command_getkeys(call: Call, words: list[bytes]) -> bytes:
    catalogue = call.keyspace.catalogue
    found = catalogue.find(words[2:])
    if isinstance(found, str):
        raise CommandError("ERR Invalid command specified")
    if not found.fits(len(words) - 2):
        raise CommandError("ERR Invalid number of arguments specified for command")
    if not found.first:
        raise CommandError("ERR The command has no key arguments")
    last = found.last if found.last > 0 else len(words) - 2 + found.last
    return bulks(words[2:][found.first : last + 1 : found.step])


def commands() -> Family:
    family = Family("server")
    add = family.add
    add("info", -1, "loading stale", NO_KEYS, info, "What the server says of itself")
    add("time", 1, "loading stale fast", NO_KEYS, time, "The server's clock")
    add("role", 1, "noscript loading stale fast", NO_KEYS, role, "master, without replicas")
    add("wait", 3, "noscript", NO_KEYS, wait, "How many replicas have it: none")
    add("lastsave", 1, "loading stale fast", NO_KEYS, lastsave, "When all was last stored: now")
    add("save", 1, "admin noscript", NO_KEYS, save, "Nothing to do: writes are stored already")
    add("bgsave", -1, "admin noscript", NO_KEYS, bgsave, "Nothing to do: writes are stored already")
    add(
        "bgrewriteaof", 1, "admin noscript", NO_KEYS, bgrewriteaof, "Nothing to do: checkpoints are taken by themselves"
    )
    add("config|get", -3, "admin noscript loading stale", NO_KEYS, config_get, "Parameters that match globs")
    add("config|set", -4, "admin noscript loading stale", NO_KEYS, config_set, "Set appendfsync")
    add("config|resetstat", 2, "admin noscript loading stale", NO_KEYS, config_resetstat, "Begin the counters anew")
    add("memory|usage", -3, "readonly", (2, 2, 1), memory_usage, "An estimate of a key's bytes")
    add("command", -1, "loading stale", NO_KEYS, command, "All commands")
    add("command|count", 2, "loading stale", NO_KEYS, command_count, "How many commands")
    add("command|info", -2, "loading stale", NO_KEYS, command_info, "Some commands")
    add("command|list", -2, "loading stale", NO_KEYS, command_list, "Names of commands; FILTERBY PATTERN")
    add("command|docs", -2, "loading stale", NO_KEYS, command_docs, "What commands are for")
    add("command|getkeys", -3, "loading stale", NO_KEYS, command_getkeys, "The keys in a command's words")
    add("debug", -2, "admin noscript loading stale", NO_KEYS, refuse, "Refused")
    add("shutdown", -1, "admin noscript loading stale no_multi", NO_KEYS, refuse, "Refused: stop the process instead")
    return family
