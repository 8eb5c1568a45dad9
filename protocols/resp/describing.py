"""COMMAND and its subcommands, and every parent's HELP: all made of the one table (``commands.py``).

Speaks Redis 7.0's COMMAND, COUNT, INFO, DOCS, LIST FILTERBY, GETKEYS, GETKEYSANDFLAGS.
Deviations: DOCS gives summary, since and group, no arguments; HELP is written from the table.
"""

from __future__ import annotations

from collections.abc import Callable

from protocols.resp.call import Call
from protocols.resp.errors import SYNTAX, CommandError
from protocols.resp.table import Command, Handlers, Keys
from protocols.resp.wire import EMPTY, NULL_ARRAY, array_of, bulk, bulks, integer, map_of, null, simple
from substrate.interest import glob_matches


def statuses(texts: object, protocol: int) -> bytes:
    """A set of status replies; in RESP2 an array."""
    parts = [simple(text.encode()) for text in texts]  # type: ignore[attr-defined]
    return b"%b%d\r\n%b" % (b"~" if protocol == 3 else b"*", len(parts), b"".join(parts))


def key_specification(keys: Keys, protocol: int) -> bytes:
    def described(kind: bytes, *pairs: tuple[bytes, bytes]) -> bytes:
        spec = map_of([(bulk(name), value) for name, value in pairs], protocol)
        return map_of([(bulk(b"type"), bulk(kind)), (bulk(b"spec"), spec)], protocol)

    if not keys.known:
        begin = find = described(b"unknown")
    else:
        if keys.keyword:
            begin = described(
                b"keyword", (b"keyword", bulk(keys.keyword.encode())), (b"startfrom", integer(keys.begin))
            )
        else:
            begin = described(b"index", (b"index", integer(keys.begin)))
        if keys.counted:
            find = described(b"keynum", (b"keynumidx", integer(0)), (b"firstkey", integer(1)), (b"keystep", integer(1)))
        else:
            find = described(
                b"range",
                (b"lastkey", integer(keys.last)),
                (b"keystep", integer(keys.step)),
                (b"limit", integer(keys.limit)),
            )
    return map_of(
        [
            (bulk(b"flags"), statuses(keys.flags, protocol)),
            (bulk(b"begin_search"), begin),
            (bulk(b"find_keys"), find),
        ],
        protocol,
    )


def describe(call: Call, command: Command, subcommands: list[Command]) -> bytes:
    """One command as COMMAND gives it (Redis 7: ten elements)."""
    protocol = call.protocol
    first, last, step = command.span
    return array_of(
        (
            bulk(command.name.encode()), integer(command.arity), statuses(command.flags, protocol),
            integer(first), integer(last), integer(step), statuses(command.categories, protocol),
            bulks_set([tip.encode() for tip in command.tips], protocol),
            array_of([key_specification(keys, protocol) for keys in command.keys]),
            array_of([describe(call, sub, []) for sub in subcommands]),
        )
    )  # fmt: skip


def bulks_set(values: list[bytes], protocol: int) -> bytes:
    return bulks(values) if protocol != 3 else b"~" + bulks(values)[1:]


def listed(call: Call) -> list[tuple[Command, list[Command]]]:
    """Every command with its subcommands; a parent of subcommands is made here."""
    catalogue = call.keyspace.catalogue
    found = []
    for name in catalogue.names():
        subs = catalogue.subcommands(name)
        found.append((catalogue.parent(name) if subs else catalogue.commands[name.upper().encode()], subs))
    return found


def everything(call: Call, words: list[bytes]) -> bytes:
    return once(call, b"command", lambda: array_of([describe(call, found, subs) for found, subs in listed(call)]))


def once(call: Call, what: bytes, make: Callable[[], bytes]) -> bytes:
    """A large reply that never changes: made when it is first asked for."""
    described = call.keyspace.described
    found = described.get((what, call.protocol))
    if found is None:
        found = described[(what, call.protocol)] = make()
    return found


def count(call: Call, words: list[bytes]) -> bytes:
    return integer(len(listed(call)))


def known_by_name(call: Call) -> dict[bytes, tuple[Command, list[Command]]]:
    known: dict[bytes, tuple[Command, list[Command]]] = call.keyspace.known_commands
    if not known:
        for found, subs in listed(call):
            known[found.name.encode()] = (found, subs)
            known |= {sub.name.encode(): (sub, []) for sub in subs}
    return known


def info(call: Call, words: list[bytes]) -> bytes:
    if len(words) == 2:
        return everything(call, words)
    known = known_by_name(call)
    nothing = null(call.protocol) if call.protocol == 3 else NULL_ARRAY
    return array_of([describe(call, *known[w.lower()]) if w.lower() in known else nothing for w in words[2:]])


def list_(call: Call, words: list[bytes]) -> bytes:
    if len(words) == 2:
        return bulks([found.name.encode() for found, _ in listed(call)])
    if len(words) != 5 or words[2].upper() != b"FILTERBY":
        raise CommandError(SYNTAX)
    known = known_by_name(call)
    how, wanted = words[3].upper(), words[4]
    if how == b"PATTERN":
        return bulks([name for name in known if glob_matches(wanted.lower(), name)])
    if how == b"ACLCAT":
        category = f"@{wanted.decode('utf-8', 'surrogateescape').lower()}"
        return bulks([name for name, (found, _) in known.items() if category in found.categories])
    if how == b"MODULE":
        return EMPTY
    raise CommandError(SYNTAX)


def document(call: Call, found: Command, subs: list[Command]) -> tuple[bytes, bytes]:
    pairs = [
        (bulk(b"summary"), bulk(found.summary.encode())),
        (bulk(b"since"), bulk(found.since.encode())),
        (bulk(b"group"), bulk(found.group.encode())),
    ]
    if subs:
        pairs.append((bulk(b"subcommands"), map_of([document(call, sub, []) for sub in subs], call.protocol)))
    return bulk(found.name.encode()), map_of(pairs, call.protocol)


def docs(call: Call, words: list[bytes]) -> bytes:
    if len(words) == 2:
        return once(call, b"docs", lambda: map_of([document(call, *one) for one in listed(call)], call.protocol))
    known = known_by_name(call)
    return map_of([document(call, *known[w.lower()]) for w in words[2:] if w.lower() in known], call.protocol)


def keys_of(call: Call, words: list[bytes]) -> list[tuple[bytes, tuple[str, ...]]]:
    found = call.keyspace.catalogue.find(words[2:])
    if isinstance(found, str):
        raise CommandError("ERR Invalid command specified")
    if not found.keys or found.keys[0].flags == ("not_key",):
        raise CommandError("ERR The command has no key arguments")
    if not found.fits(len(words) - 2):
        raise CommandError("ERR Invalid number of arguments specified for command")
    keys = found.keys_of(words[2:])
    if not keys:
        raise CommandError("ERR Invalid arguments specified for command")
    return keys


def getkeys(call: Call, words: list[bytes]) -> bytes:
    return bulks([key for key, _ in keys_of(call, words)])


def getkeysandflags(call: Call, words: list[bytes]) -> bytes:
    return array_of([array_of((bulk(key), statuses(flags, call.protocol))) for key, flags in keys_of(call, words)])


def help_(call: Call, words: list[bytes]) -> bytes:
    """Of any command that has subcommands."""
    parent = call.name.partition("|")[0]
    lines = [f"{parent.upper()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
    for sub in call.keyspace.catalogue.subcommands(parent):
        name = sub.name.partition("|")[2].upper()
        lines += [name, "    Print this help." if name == "HELP" else f"    {sub.summary}."]
    return array_of([simple(line.encode()) for line in lines])


PARENTS = [
    "acl",
    "client",
    "cluster",
    "command",
    "config",
    "latency",
    "memory",
    "module",
    "object",
    "pubsub",
    "script",
    "slowlog",
    "xgroup",
    "xinfo",
]
HANDLERS: Handlers = {
    "command": everything, "command|count": count, "command|docs": docs, "command|getkeys": getkeys,
    "command|getkeysandflags": getkeysandflags, "command|info": info, "command|list": list_,
    **{f"{parent}|help": help_ for parent in PARENTS},
}  # fmt: skip
