"""What concerns one connection: PING ECHO SELECT HELLO AUTH CLIENT.

HELLO, AUTH, SELECT, QUIT, RESET and CLIENT REPLY are the session's (``session.py``); CLIENT's registry is the executor's, the
rest of CLIENT in ``admin.py``.
Deviations: CLIENT LIST gives the fields that clients read; idle times and buffer sizes are 0.
"""

from __future__ import annotations

from protocols.resp.call import CHANNEL, PATTERN, SHARD, Call, Client
from protocols.resp.errors import CommandError
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
    kinds = [kind for kind, _ in client.subscribed]
    flags = b"P" if kinds else b"b" if client.waiter is not None else b"N"
    age = max(call.now_ms - client.created_ms, 0) // 1000
    return (
        b"id=%d addr=%b laddr=127.0.0.1:%d fd=-1 name=%b age=%d idle=0 flags=%b db=%d sub=%d psub=%d ssub=%d multi=%d "
        b"watch=%d qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=%b "
        b"user=%b redir=-1 resp=%d lib-name=%b lib-ver=%b\n"
        % (
            client.id,
            client.address,
            call.keyspace.settings.port,
            client.name,
            age,
            flags,
            client.db,
            kinds.count(CHANNEL),
            kinds.count(PATTERN),
            kinds.count(SHARD),
            -1,
            len(client.watches),
            client.last.encode(),
            client.user,
            client.protocol,
            client.library,
            client.library_version,
        )
    )


def info(call: Call, words: list[bytes]) -> bytes:
    return verbatim(line(call, call.client), call.protocol)


HANDLERS: Handlers = {
    "ping": ping, "echo": echo, "select": select, "hello": hello, "client|setname": setname,
    "client|getname": getname, "client|id": id_, "client|setinfo": setinfo, "client|info": info,

}  # fmt: skip
