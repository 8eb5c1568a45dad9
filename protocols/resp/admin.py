"""Looking after the server: CLIENT LIST KILL PAUSE UNBLOCK, ACL, MEMORY, SLOWLOG, LATENCY, MODULE, CLUSTER, REPLICAOF, DEBUG.

What is refused is refused in Redis' own words where it has some (CLUSTER, MODULE LOAD, DEBUG, CLIENT CACHING).
Deviations: CLIENT KILL closes a connection that waits at once, any other at its next request. Nothing is logged of slow
commands or of latency: SLOWLOG, LATENCY, ACL LOG are empty. CLIENT TRACKING ON and MONITOR are refused. DEBUG SLEEP holds up
its own connection only. SHUTDOWN is refused: stop the process.
"""

from __future__ import annotations

from protocols.resp.call import Block, Call, Client
from protocols.resp.connection import line
from protocols.resp.errors import NO_KEY, SYNTAX, CommandError
from protocols.resp.keys import encoding_of, size_of
from protocols.resp.numbers import find_float, find_integer, integer_of
from protocols.resp.snapshot import words_of_entry
from protocols.resp.table import Handlers
from protocols.resp.wire import EMPTY, OK, ONE, ZERO, bulk, bulks, integer, map_of, null, request, verbatim

NO_CLUSTER = "ERR This instance has cluster support disabled"
UNBLOCKED = "UNBLOCKED client unblocked via CLIENT UNBLOCK"
USER_FILE = "ERR users are configured in the server's user file"
KINDS = (b"normal", b"master", b"replica", b"slave", b"pubsub")


def text_of(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def no_cluster(call: Call, words: list[bytes]) -> bytes:
    raise CommandError(NO_CLUSTER)


# CLIENT


def kill(call: Call, words: list[bytes]) -> bytes:
    clients = list(call.keyspace.clients.values())
    if len(words) == 3:
        found = [client for client in clients if client.address == words[2]]
        if not found:
            raise CommandError("ERR No such client")
        call.keyspace.kill(found)
        return OK
    skip_me = True
    for at in range(2, len(words), 2):
        if at + 1 >= len(words):
            raise CommandError(SYNTAX)
        option, value = words[at].upper(), words[at + 1]
        if option == b"ID":
            id = find_integer(value)
            if id is None:
                raise CommandError("ERR client-id should be greater than 0")
            if id < 1:
                raise CommandError("ERR client-id should be greater than 0")
            clients = [client for client in clients if client.id == id]
        elif option == b"TYPE":
            if value.lower() not in KINDS:
                raise CommandError(f"ERR Unknown client type '{text_of(value)}'")
            clients = [client for client in clients if kind_of(client) == value.lower()]
        elif option == b"ADDR":
            clients = [client for client in clients if client.address == value]
        elif option == b"LADDR":
            clients = [client for client in clients if value == b"127.0.0.1:%d" % call.keyspace.settings.port]
        elif option == b"USER":
            known = {client.user for client in clients} | {b"default"}
            if value not in known:
                raise CommandError(f"ERR No such user '{text_of(value)}'")
            clients = [client for client in clients if client.user == value]
        elif option == b"SKIPME" and value.lower() in (b"yes", b"no"):
            skip_me = value.lower() == b"yes"
        else:
            raise CommandError(SYNTAX)
    chosen = [client for client in clients if not (skip_me and client is call.client)]
    call.keyspace.kill(chosen)
    return integer(len(chosen))


def kind_of(client: Client) -> bytes:
    return b"pubsub" if client.subscribed else b"normal"


def list_(call: Call, words: list[bytes]) -> bytes:
    wanted: set[int] | None = None
    kind = b""
    if len(words) > 2:
        option = words[2].upper()
        if option == b"TYPE" and len(words) == 4:
            kind = words[3].lower()
            if kind not in KINDS:
                raise CommandError(f"ERR Unknown client type '{text_of(words[3])}'")
        elif option == b"ID" and len(words) > 3:
            wanted = {integer_of(word, "ERR Invalid client ID") for word in words[3:]}
        else:
            raise CommandError(SYNTAX)
    chosen = [
        client
        for client in call.keyspace.clients.values()
        if (wanted is None or client.id in wanted) and (not kind or kind == kind_of(client)) and not client.killed
    ]
    return verbatim(b"".join([line(call, client) for client in chosen]), call.protocol)


def pause(call: Call, words: list[bytes]) -> bytes:
    if len(words) > 4:
        raise CommandError("ERR wrong number of arguments for 'client|pause' command")
    everything = True
    if len(words) == 4:
        if words[3].upper() not in (b"WRITE", b"ALL"):
            raise CommandError("ERR CLIENT PAUSE mode must be WRITE or ALL")
        everything = words[3].upper() == b"ALL"
    milliseconds = find_integer(words[2])
    if milliseconds is None:
        raise CommandError("ERR timeout is not an integer or out of range")
    if milliseconds < 0:
        raise CommandError("ERR timeout is negative")
    call.keyspace.pause(call.now_ms + milliseconds, everything)
    return OK


def unpause(call: Call, words: list[bytes]) -> bytes:
    call.keyspace.pause(0, False)
    return OK


def unblock(call: Call, words: list[bytes]) -> bytes:
    how = words[3].upper() if len(words) == 4 else b"TIMEOUT"
    if how not in (b"TIMEOUT", b"ERROR") or len(words) > 4:
        raise CommandError("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    id = integer_of(words[2])
    for client in call.keyspace.clients.values():
        if client.id == id and client.waiter is not None:
            call.keyspace.waiting.end(client, UNBLOCKED if how == b"ERROR" else "")
            return ONE
    return ZERO


def on_off(call: Call, words: list[bytes]) -> bytes:
    if words[2].upper() not in (b"ON", b"OFF"):
        raise CommandError(SYNTAX)
    return OK


def tracking(call: Call, words: list[bytes]) -> bytes:
    if words[2].upper() == b"OFF":
        return OK
    if words[2].upper() != b"ON":
        raise CommandError(SYNTAX)
    raise CommandError("ERR CLIENT TRACKING is not supported by this server")


def trackinginfo(call: Call, words: list[bytes]) -> bytes:
    flags = (b"~1\r\n" if call.protocol == 3 else b"*1\r\n") + bulk(b"off")
    pairs = ((bulk(b"flags"), flags), (bulk(b"redirect"), integer(-1)), (bulk(b"prefixes"), EMPTY))
    return map_of(pairs, call.protocol)


def getredir(call: Call, words: list[bytes]) -> bytes:
    return integer(-1)


def caching(call: Call, words: list[bytes]) -> bytes:
    raise CommandError(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"
    )


# ACL: identities are the server's, and read here only


def whoami(call: Call, words: list[bytes]) -> bytes:
    return bulk(call.client.user)


def users(call: Call, words: list[bytes]) -> bytes:
    return bulks([call.client.user])


def list_users(call: Call, words: list[bytes]) -> bytes:
    rules = b"on nopass sanitize-payload ~* &* +@all" if call.client.all else b"on sanitize-payload resetchannels -@all"
    return bulks([b"user %b %b" % (call.client.user, rules)])


def getuser(call: Call, words: list[bytes]) -> bytes:
    client = call.client
    if words[2] != client.user:
        return null(call.protocol)
    everything = client.all
    flags = bulks([b"on", b"nopass", b"sanitize-payload"] if everything else [b"on", b"sanitize-payload"])
    pairs = (
        (b"flags", b"~" + flags[1:] if call.protocol == 3 else flags),
        (b"passwords", EMPTY),
        (b"commands", bulk(b"+@all" if everything else b"-@all")),
        (b"keys", bulk(b"~*" if everything else b"")),
        (b"channels", bulk(b"&*" if everything else b"")),
        (b"selectors", EMPTY),
    )
    return map_of([(bulk(name), value) for name, value in pairs], call.protocol)


def categories(call: Call, words: list[bytes]) -> bytes:
    if len(words) > 3:
        raise CommandError("ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP.")
    commands = call.keyspace.catalogue.commands.values()
    if len(words) == 2:
        known = sorted({category for command in commands for category in command.categories})
        return bulks([category[1:].encode() for category in known])
    wanted = f"@{text_of(words[2]).lower()}"
    chosen = [command.name.encode() for command in commands if wanted in command.categories]
    if not chosen:
        raise CommandError(f"ERR Unknown category '{text_of(words[2])}'")
    return bulks(chosen)


def genpass(call: Call, words: list[bytes]) -> bytes:
    bits = 256
    if len(words) > 3:
        raise CommandError("ERR unknown subcommand or wrong number of arguments for 'GENPASS'. Try ACL HELP.")
    if len(words) == 3:
        bits = integer_of(words[2])
        if not 0 < bits <= 4096:
            raise CommandError(
                "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096"
            )
    digits = (bits + 3) // 4
    text = b"".join([b"%016x" % (call.random() & (1 << 64) - 1) for _ in range(digits // 8 + 1)])
    return bulk(text[:digits])


def acl_log(call: Call, words: list[bytes]) -> bytes:
    if len(words) == 3 and words[2].upper() == b"RESET":
        return OK
    if len(words) > 3:
        raise CommandError("ERR unknown subcommand or wrong number of arguments for 'LOG'. Try ACL HELP.")
    if len(words) == 3:
        integer_of(words[2])
    return EMPTY


def by_user_file(call: Call, words: list[bytes]) -> bytes:
    raise CommandError(f"{USER_FILE}: {call.name.upper().replace('|', ' ')} is not supported")


def no_acl_file(call: Call, words: list[bytes]) -> bytes:
    raise CommandError(
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER "
        "command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users "
        "in the Redis configuration."
    )


# MEMORY, SLOWLOG, LATENCY, MODULE, REPLICAOF


def memory_usage(call: Call, words: list[bytes]) -> bytes:
    if len(words) > 3:
        if words[3].upper() != b"SAMPLES" or len(words) < 5:
            raise CommandError(SYNTAX)
        if integer_of(words[4]) < 0 or len(words) > 5:
            raise CommandError(SYNTAX)
    entry = call.find(words[2])
    return null(call.protocol) if entry is None else integer(size_of(entry))


def memory_stats(call: Call, words: list[bytes]) -> bytes:
    keys = sum(len(db.order) for db in call.databases)
    return map_of([(bulk(b"keys.count"), integer(keys))], call.protocol)


def memory_doctor(call: Call, words: list[bytes]) -> bytes:
    return verbatim(b"Sam, I can't find any memory issue in your instance.\n", call.protocol)


def nothing_to_do(call: Call, words: list[bytes]) -> bytes:
    return OK


def empty(call: Call, words: list[bytes]) -> bytes:
    return EMPTY


def slowlog_get(call: Call, words: list[bytes]) -> bytes:
    if len(words) > 3:
        raise CommandError("ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.")
    wrong = "ERR count should be greater than or equal to -1"
    if len(words) == 3 and integer_of(words[2], wrong) < -1:
        raise CommandError(wrong)
    return EMPTY


def zero(call: Call, words: list[bytes]) -> bytes:
    return ZERO


def histogram(call: Call, words: list[bytes]) -> bytes:
    return map_of((), call.protocol)


def latency_graph(call: Call, words: list[bytes]) -> bytes:
    raise CommandError(f"ERR No samples available for event '{text_of(words[2])}'")


def latency_doctor(call: Call, words: list[bytes]) -> bytes:
    return verbatim(b"Latency is not measured by this server.\n", call.protocol)


def no_module(call: Call, words: list[bytes]) -> bytes:
    raise CommandError(
        'ERR MODULE command not allowed. If the enable-module-command option is set to "local", you can run it from a local '
        "connection, otherwise you need to set this option in the configuration file, and then restart the server."
    )


def replicaof(call: Call, words: list[bytes]) -> bytes:
    if words[1].upper() == b"NO" and words[2].upper() == b"ONE":
        return OK
    raise CommandError(f"ERR {call.name.upper()} is not supported by this server: it is no replica of another")


def failover(call: Call, words: list[bytes]) -> bytes:
    raise CommandError(SYNTAX if len(words) > 1 else "ERR FAILOVER requires connected replicas.")


def lolwut(call: Call, words: list[bytes]) -> bytes:
    return verbatim(b"Redis ver. 7.2.4\n", call.protocol)


# DEBUG


def debug(call: Call, words: list[bytes]) -> bytes | Block:
    what = words[1].upper()
    if what == b"SLEEP" and len(words) == 3:
        seconds = find_float(words[2]) or 0.0
        return Block([], call.now_ms + max(int(seconds * 1000), 1), OK, words)
    if what == b"OBJECT" and len(words) == 3:
        entry = call.find(words[2])
        if entry is None:
            raise CommandError(NO_KEY)
        size = len(request(*words_of_entry(entry)))
        text = f"Value at:0x0 refcount:1 encoding:{encoding_of(entry).decode()} serializedlength:{size} lru:0 lru_seconds_idle:0"
        return b"+" + text.encode() + b"\r\n"
    if what == b"SET-ACTIVE-EXPIRE" and len(words) == 3:
        call.keyspace.active_expire = words[2] != b"0"
        call.keyspace.plan_expiry()
        return OK
    if what in (b"RELOAD", b"LOADAOF"):
        call.keyspace.reload()
        return OK
    raise CommandError(f"ERR DEBUG {text_of(words[1])} is not supported by this server")


HANDLERS: Handlers = {
    "client|kill": kill, "client|list": list_, "client|pause": pause, "client|unpause": unpause, "client|unblock": unblock,
    "client|no-evict": on_off, "client|no-touch": on_off, "client|tracking": tracking, "client|trackinginfo": trackinginfo,
    "client|getredir": getredir, "client|caching": caching, "acl|whoami": whoami, "acl|users": users, "acl|list": list_users,
    "acl|getuser": getuser, "acl|cat": categories, "acl|genpass": genpass, "acl|log": acl_log, "acl|setuser": by_user_file,
    "acl|deluser": by_user_file, "acl|dryrun": by_user_file, "acl|load": no_acl_file, "acl|save": no_acl_file,
    "memory|usage": memory_usage, "memory|stats": memory_stats, "memory|doctor": memory_doctor, "memory|purge": nothing_to_do,
    "memory|malloc-stats": lambda call, words: verbatim(b"Stats not supported for the current allocator", call.protocol),
    "slowlog|get": slowlog_get, "slowlog|len": zero, "slowlog|reset": nothing_to_do, "latency|latest": empty,
    "latency|history": empty, "latency|reset": zero, "latency|histogram": histogram, "latency|graph": latency_graph,
    "latency|doctor": latency_doctor, "module|list": empty, "module|load": no_module, "module|loadex": no_module,
    "module|unload": no_module, "replicaof": replicaof, "slaveof": replicaof, "failover": failover, "lolwut": lolwut,
    "debug": debug, "readonly": no_cluster, "readwrite": no_cluster, "asking": no_cluster,
    **{
        f"cluster|{name}": no_cluster
        for name in ["addslots", "addslotsrange", "bumpepoch", "count-failure-reports", "countkeysinslot", "delslots", "delslotsrange", "failover", "flushslots", "forget", "getkeysinslot", "info", "keyslot", "links", "meet", "myid", "nodes", "replicas", "replicate", "reset", "saveconfig", "set-config-epoch", "setslot", "shards", "slaves", "slots"]
    },
}  # fmt: skip
