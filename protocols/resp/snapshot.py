"""The keyspace as bytes, for a checkpoint, and back.

Layout: ``THALWEG-RESP 1`` LF, then requests. ``_CONFIG`` is what CONFIG SET changed. ``_DB label`` says which database the following belong to; every key is the
request that makes it (SET, RPUSH, HSET, SADD, ZADD, ``_LOG``, ``_BIND``), in the database's order, and PEXPIREAT.
Equal states give equal bytes; what the bytes make gives them again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from protocols.resp.groups import Consumer, Group
from protocols.resp.ids import id_of, id_text
from protocols.resp.numbers import float_text
from protocols.resp.state import (
    HASH,
    LIST,
    NUMBER,
    SET,
    SHARED,
    STREAM,
    STRING,
    ZSET,
    Database,
    Entry,
    Log,
    Members,
    Ranking,
)
from protocols.resp.topics import Shared
from protocols.resp.wire import bulks, request, words_of
from substrate.api import Address

HEAD = b"THALWEG-RESP 1\n"


def words_of_entry(entry: Entry) -> list[bytes]:
    value: Any = entry.value
    key = entry.key
    if entry.kind in (STRING, NUMBER):
        return [b"SET", key, entry.text()]
    if entry.kind == LIST:
        return [b"RPUSH", key, *value]
    if entry.kind == HASH:
        return [b"HSET", key, *(word for pair in value.items() for word in pair)]
    if entry.kind == SET:
        return [b"SADD", key, *value.items]
    if entry.kind == ZSET:
        return [b"ZADD", key, *(word for member, score in value.scores.items() for word in (float_text(score), member))]
    if entry.kind == SHARED:
        return [b"_BIND", key, value.name, value.topic_id]
    words = [b"_LOG", key, id_text(value.last), b"%d" % value.added, id_text(value.max_deleted)]
    for at in range(value.head, len(value.ids)):
        fields = words_of(value.fields[at])
        words += (id_text(value.ids[at]), b"%d" % len(fields), *fields)
    return words


def words_of_group(key: bytes, name: bytes, group: Group) -> list[bytes]:
    """``_GROUP key name last read consumers consumer... [id owner ms count]...``"""
    names = sorted(group.consumers)
    words = [b"_GROUP", key, name, id_text(group.last), b"%d" % group.read, b"%d" % len(names), *names]
    for id, held in group.pending.items():
        words += (id_text(id), held.consumer.name, b"%d" % held.time_ms, b"%d" % held.count)
    return words


def make_group(log: Log, words: list[bytes]) -> None:
    group = log.groups[words[0]] = Group(id_of(words[1]), int(words[2]))
    end = 4 + int(words[3])
    group.consumers = {name: Consumer(name) for name in words[4:end]}
    for at in range(end, len(words), 4):
        group.give(id_of(words[at]), group.consumers[words[at + 1]], int(words[at + 2]), int(words[at + 3]))


def make(db: Database, words: list[bytes]) -> None:
    name, key = words[0], words[1]
    rest = words[2:]
    if name == b"SET":
        db.put(key, STRING, b"$%d\r\n%b\r\n" % (len(rest[0]), rest[0]))
    elif name == b"RPUSH":
        db.put(key, LIST, deque(rest))
    elif name == b"HSET":
        db.put(key, HASH, dict(zip(rest[::2], rest[1::2], strict=True)))
    elif name == b"SADD":
        db.put(key, SET, Members(rest))
    elif name == b"ZADD":
        db.put(key, ZSET, Ranking([(float(rest[at]), rest[at + 1]) for at in range(0, len(rest), 2)]))
    elif name == b"_BIND":
        db.put(key, SHARED, Shared(Address(rest[0]), rest[1]))
    elif name == b"_GROUP":
        make_group(db.entries[key].value, rest)
    elif name == b"PEXPIREAT":
        db.set_expire(db.entries[key], int(rest[0]))
    else:
        log = Log()
        at = 3
        while at < len(rest):
            count = int(rest[at + 1])
            log.ids.append(id_of(rest[at]))
            log.fields.append(bulks(rest[at + 2 : at + 2 + count]))
            at += 2 + count
        log.last, log.added, log.max_deleted = id_of(rest[0]), int(rest[1]), id_of(rest[2])
        db.put(key, STREAM, log)


def dump(databases: list[Database], remembered: Mapping[str, tuple[str, str]]) -> bytes:
    """``databases`` in the order in which they are to stand; ``remembered``: parameters as CONFIG SET left them, and as
    they were configured then."""
    parts = [HEAD]
    for name, (value, configured) in sorted(remembered.items()):
        parts.append(request(b"_CONFIG", name.encode(), value.encode(), configured.encode()))
    for db in databases:
        if not db.order:
            continue
        parts.append(request(b"_DB", db.label))
        for entry in db.order:
            parts.append(request(*words_of_entry(entry)))
            if entry.kind == STREAM:
                parts += [
                    request(*words_of_group(entry.key, name, entry.value.groups[name]))
                    for name in sorted(entry.value.groups)
                ]
            if entry.expire_ms:
                parts.append(request(b"PEXPIREAT", entry.key, b"%d" % entry.expire_ms))
    return b"".join(parts)


def requests_of(data: bytes) -> Iterator[list[bytes]]:
    """The requests that stand one after another.

    Raises:
        ValueError: not a dump of ours.
    """
    if not data.startswith(HEAD):
        raise ValueError("not a keyspace dump of this version")
    at = len(HEAD)
    while at < len(data):
        end = data.index(b"\n", at) + 1
        count = int(data[at + 1 : end - 2])
        at = end
        words = []
        for _ in range(count):
            end = data.index(b"\n", at) + 1
            length = int(data[at + 1 : end - 2])
            words.append(data[end : end + length])
            at = end + length + 2
        yield words
