"""MULTI EXEC DISCARD WATCH UNWATCH.

The session queues what comes between MULTI and EXEC and sends it as one run; the executor runs it without anything in
between, and its effects are in one commit. A key that is watched marks its watchers when it is changed; a transaction
whose client is marked, or whose watched key expired meanwhile, does not happen.
Deviations: SUBSCRIBE and its kin, HELLO, AUTH and CLIENT REPLY are refused between MULTI and EXEC.
"""

from __future__ import annotations

from protocols.resp.call import Call, Client
from protocols.resp.table import Handlers
from protocols.resp.wire import OK


def watch(call: Call, words: list[bytes]) -> bytes:
    client = call.client
    for key in words[1:]:
        if (call.db.label, key) in client.watches:
            continue
        client.watches[(call.db.label, key)] = (call.db, call.find(key) is not None)
        call.db.watched.setdefault(key, []).append(client)
    return OK


def forget(client: Client) -> None:
    """The client watches nothing any more."""
    for (_, key), (db, _) in client.watches.items():
        watchers = db.watched.get(key)
        if watchers is not None:
            watchers.remove(client)
            if not watchers:
                del db.watched[key]
    client.watches.clear()
    client.dirty = False


def unwatch(call: Call, words: list[bytes]) -> bytes:
    forget(call.client)
    return OK


def may_happen(call: Call, client: Client) -> bool:
    """Whether nothing that the client watches was changed, nor has expired since."""
    if client.dirty:
        return False
    for (_, key), (db, there) in client.watches.items():
        entry = db.entries.get(key)
        if there and entry is not None and entry.expire_ms and entry.expire_ms <= call.now_ms:
            return False
    return True


HANDLERS: Handlers = {
    "discard": unwatch, "watch": watch, "unwatch": unwatch,
}  # fmt: skip
