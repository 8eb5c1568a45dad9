"""What concerns one connection: PING ECHO SELECT HELLO AUTH CLIENT.

HELLO, AUTH, SELECT, QUIT, RESET and CLIENT REPLY are the session's (``session.py``); CLIENT's registry is the executor's.
Deviations: CLIENT KILL, PAUSE, UNBLOCK, TRACKING, CACHING are unknown subcommands. CLIENT NO-EVICT and NO-TOUCH answer OK: there
is no eviction and no idle time, so both are always in force. CLIENT LIST gives the fields that clients read.
"""

from __future__ import annotations

from protocols.resp.call import Call, Client
from protocols.resp.errors import SYNTAX, CommandError
from protocols.resp.numbers import integer_of
from protocols.resp.table import Handlers
from protocols.resp.wire import EMPTY, OK, PONG, bulk, integer, map_of, null, verbatim

VERSION = b"7.2.4"
"""What INFO and HELLO say (as Valkey does): Sidekiq wants 7.0, BullMQ 6.2."""


def ping(call: Call, words: list[bytes]) -> bytes:
    if len(words) > 2:
        raise CommandError("ERR wrong number of arguments for 'ping' command")
    return bulk(words[1]) if len(words) == 2 else PONG


def echo(call: Call, words: list[bytes]) -> bytes:
    return bulk(words[1])


def select(call: Call, words: list[bytes]) -> bytes:
    """Inside a transaction; elsewhere the session selects."""
    number = integer_of(words[1])
    if number >= call.keyspace.settings.databases:
        number = -1
    call.db = call.database(number)
    return OK


def hello(call: Call, words: list[bytes]) -> bytes:
    """The answer, after the session has done what was asked: ``HELLO version [SETNAME name]``."""
    if len(words) == 4:
        call.client.name = words[3]
    return map_of(
        (
            (bulk(b"server"), bulk(b"redis")),
            (bulk(b"version"), bulk(VERSION)),
            (bulk(b"proto"), integer(call.protocol)),
            (bulk(b"id"), integer(call.client.id)),
            (bulk(b"mode"), bulk(b"standalone")),
            (bulk(b"role"), bulk(b"master")),
            (bulk(b"modules"), EMPTY),
        ),
        call.protocol,
    )


def valid_name(name: bytes) -> bool:
    return all(33 <= byte <= 126 for byte in name)


def setname(call: Call, words: list[bytes]) -> bytes:
    if not valid_name(words[2]):
        raise CommandError("ERR Client names cannot contain spaces, newlines or special characters.")
    call.client.name = words[2]
    return OK


def getname(call: Call, words: list[bytes]) -> bytes:
    return bulk(call.client.name) if call.client.name else null(call.protocol)


def id_(call: Call, words: list[bytes]) -> bytes:
    return integer(call.client.id)


def setinfo(call: Call, words: list[bytes]) -> bytes:
    option = words[2].lower()
    if option not in (b"lib-name", b"lib-ver"):
        raise CommandError(f"ERR Unrecognized option '{words[2].decode('utf-8', 'surrogateescape')}'")
    if not valid_name(words[3]):
        raise CommandError(f"ERR {option.decode()} cannot contain spaces, newlines or special characters.")
    if option == b"lib-name":
        call.client.library = words[3]
    else:
        call.client.library_version = words[3]
    return OK


def line(call: Call, client: Client) -> bytes:
    channels = sum(not pattern for pattern, _ in client.subscribed)
    patterns = len(client.subscribed) - channels
    flags = b"P" if client.subscribed else b"N"
    age = max(call.now_ms - client.created_ms, 0) // 1000
    return (
        b"id=%d addr=%b laddr=127.0.0.1:%d fd=-1 name=%b age=%d idle=0 flags=%b db=%d sub=%d psub=%d ssub=0 multi=%d "
        b"watch=%d qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=%b "
        b"user=default redir=-1 resp=%d lib-name=%b lib-ver=%b\n"
        % (
            client.id,
            client.address,
            call.keyspace.settings.port,
            client.name,
            age,
            flags,
            client.db,
            channels,
            patterns,
            -1,
            len(client.watches),
            client.last.lower(),
            client.protocol,
            client.library,
            client.library_version,
        )
    )


def info(call: Call, words: list[bytes]) -> bytes:
    return verbatim(line(call, call.client), call.protocol)


def list_(call: Call, words: list[bytes]) -> bytes:
    wanted: set[int] | None = None
    kind = b""
    if len(words) > 2:
        option = words[2].upper()
        if option == b"TYPE" and len(words) == 4:
            kind = words[3].lower()
            if kind not in (b"normal", b"master", b"replica", b"slave", b"pubsub"):
                raise CommandError(f"ERR Unknown client type '{words[3].decode('utf-8', 'surrogateescape')}'")
        elif option == b"ID" and len(words) > 3:
            wanted = {integer_of(word, "ERR Invalid client ID") for word in words[3:]}
        else:
            raise CommandError(SYNTAX)
    chosen = [
        client
        for client in call.keyspace.clients.values()
        if (wanted is None or client.id in wanted)
        and (not kind or kind == (b"pubsub" if client.subscribed else b"normal"))
    ]
    return verbatim(b"".join([line(call, client) for client in chosen]), call.protocol)


def on_off(call: Call, words: list[bytes]) -> bytes:
    if words[2].upper() not in (b"ON", b"OFF"):
        raise CommandError(SYNTAX)
    return OK


HANDLERS: Handlers = {
    "ping": ping, "echo": echo, "select": select, "hello": hello, "client|setname": setname,
    "client|getname": getname, "client|id": id_, "client|setinfo": setinfo, "client|info": info,
    "client|list": list_, "client|no-evict": on_off, "client|no-touch": on_off,
}  # fmt: skip
