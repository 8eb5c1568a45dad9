"""One Redis connection: what belongs to it alone, and the runs of commands that it sends to the keyspace.

The session knows who the peer is (HELLO, AUTH), its protocol and database, its queue between MULTI and EXEC, its
subscriptions. Everything else is executed by the keyspace: a run of ordinary commands of one chunk in one call.

States, each with what it does to a request:

    stranger     not authenticated: AUTH, HELLO, QUIT, RESET; the rest is refused, and sizes are small
    normal       ordinary commands go in runs; the commands of ``SPECIAL`` are cut out and handled here
    queueing     between MULTI and EXEC: checked and kept
    subscribed   RESP2 with subscriptions: only SUBSCRIBE and its kin, PING, QUIT, RESET
    waiting      a blocking command is under way: nothing is taken until it is answered

Replies leave in the order of the requests. A call that is answered at once needs no slot; one that is not opens a slot
when ``port.call`` returns, before anything else is put among the answers.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from protocols.api import Handle, Identity, Port, WireError
from protocols.identity import EVERYBODY, REDIS_DEFAULT, Right
from protocols.outbox import Outbox
from protocols.resp import wire
from protocols.resp.call import CHANNEL, PATTERN, SHARD
from protocols.resp.catalogue import CATALOGUE
from protocols.resp.connection import valid_name
from protocols.resp.errors import (
    DB_RANGE,
    EXEC_ABORT,
    NO_AUTH,
    NO_PROTO,
    NOT_READY,
    SYNTAX,
    WRONG_PASS,
)
from protocols.resp.lane import Lane
from protocols.resp.mapping import address_of
from protocols.resp.notify import INVALID_CLASS, flags_of
from protocols.resp.numbers import find_integer
from protocols.resp.pubsub import Subscriber, shard_channel
from protocols.resp.rights import covering, denied
from protocols.resp.wire import Run, bulk, error, integer, null, push_of, request, split_inline
from substrate.address import RESP
from substrate.api import DEFAULT_ACCOUNT, Account
from substrate.interest import Glob, Tokens

LISTENING = frozenset({b"SUBSCRIBE", b"UNSUBSCRIBE", b"PSUBSCRIBE", b"PUNSUBSCRIBE", b"SSUBSCRIBE", b"SUNSUBSCRIBE"})
WAITS = frozenset(name for name, command in CATALOGUE.commands.items() if "blocking" in command.flags) | {b"DEBUG"}
OWN = frozenset({b"HELLO", b"AUTH", b"SELECT", b"QUIT", b"RESET", b"MULTI", b"EXEC", b"DISCARD", b"CLIENT"})
SPECIAL = frozenset(LISTENING | WAITS | OWN)
PACKED = frozenset(wire.pack(name) for name in SPECIAL if len(name) <= 8)
LONG = frozenset(name for name in SPECIAL if len(name) > 8)
BEFORE_AUTH = frozenset({b"HELLO", b"AUTH", b"QUIT", b"RESET"})
WHILE_SUBSCRIBED = LISTENING | {b"PING", b"QUIT", b"RESET"}
SUBSCRIPTIONS_MAX = 100_000
REPLIES_BYTES_MAX = 1024 * 1024 * 1024
"""What may ever wait for one connection that subscribes to nothing."""


@dataclass(frozen=True, slots=True)
class Settings:
    appendfsync: str = "everysec"
    notify_keyspace_events: str = ""
    """Classes of keyspace notifications, in Redis' letters."""
    requirepass: str = ""
    """The password of ``default`` where no users are configured; empty: everybody is let in."""
    databases: int = 16
    bulk_bytes_max: int = wire.BULK_BYTES_MAX
    pending_bytes_max: int = 32 * 1024 * 1024
    queue_bytes_max: int = 64 * 1024 * 1024
    """Requests between MULTI and EXEC, all together."""
    port: int = 6379
    appendonly: bool = True
    """Whether anything outlives the process: what CONFIG GET appendonly and INFO say."""

    def __post_init__(self) -> None:
        if flags_of(self.notify_keyspace_events) is None:
            raise ValueError(f"resp.notify_keyspace_events: {self.notify_keyspace_events!r}: {INVALID_CLASS}")


class RespSession(Lane):
    """See ``protocols.api.Session``."""

    def __init__(self, port: Port, settings: Settings) -> None:
        run = Run(PACKED, LONG, DEFAULT_ACCOUNT)
        run.bulk_bytes_max = settings.bulk_bytes_max
        run.may_stop = True
        super().__init__(port, Outbox(REPLIES_BYTES_MAX), run)
        self.settings = settings
        self.identity: Identity = EVERYBODY
        self.account: Account = DEFAULT_ACCOUNT
        self._open = False
        """Everybody is let in without AUTH."""
        self._known = False
        self.waiting = False
        self._queue: list[bytes] | None = None
        self._queue_bytes = 0
        self._spoiled = False
        self._skip = 0
        self._once = False
        self._own: Run | None = None
        self._handles: dict[tuple[bytes, bytes], Handle] = {}
        self._shards = 0  # how many of them are shard channels

    # the driver's side

    def opened(self, peer: tuple[str, int], now_ns: int) -> None:
        self.run.peer = f"{peer[0]}:{peer[1]}".encode()
        identity = self.port.identify(None, None)
        self._open = identity is not None and (self.port.users or not self.settings.requirepass)
        if identity is not None:
            self._become(identity)
        self._admit(self._open)

    def eof(self, now_ns: int) -> None:
        self._unsubscribe_all(False)
        self._queue = None
        self.deadline_ns = 0
        self.closing = True

    def stop(self, now_ns: int) -> None:
        self._unsubscribe_all(False)
        self.closing = True

    # sending

    def refusal(self, count: int) -> bytes:
        """The replies of requests whose call failed."""
        return error(NOT_READY) * count

    def _send_bytes(self, data: bytes, transaction: bool = False, waits: bool = False, internal: bool = False) -> None:
        """A run over a buffer of its own."""
        run = self._own
        if run is None:
            run = self._own = Run()
            run.run_max = wire.ARGUMENTS_MAX
            run.bulk_bytes_max = self.settings.bulk_bytes_max
            run.peer = self.run.peer
        run.account = self.account
        run.user = self.run.user
        run.all = self.run.all
        run.transaction = transaction
        run.blocks = waits
        run.internal = internal
        state = run.cut(data, 0, len(data))
        assert state == wire.COMPLETE and run.taken == len(data), f"what was cut before is whole: {state}"
        self.send(run, waits)
        if transaction:
            self._own = None  # it may have grown
        else:
            run.release()

    def _send_words(self, *words: bytes, waits: bool = False) -> None:
        self._send_bytes(request(*words), waits=waits)

    def _tell(self, *words: bytes) -> None:
        """Something the keyspace must know and answers nothing to."""
        silent, self.silent = self.silent, True
        self._send_bytes(request(*words), internal=True)
        self.silent = silent

    def _become(self, identity: Identity) -> None:
        self.identity = identity
        self.account = identity.account
        self.run.user = b"default" if identity is EVERYBODY else identity.name
        self.run.all = identity.all

    def _reply(self, data: bytes) -> None:
        if not self.silent:
            self.outbox.answer(data)

    def _admit(self, known: bool) -> None:
        self._known = known
        self.run.trusted = known
        self.run.account = self.account
        self._settle()

    def _settle(self) -> None:
        """Whether ordinary commands may go in runs, or each has to be looked at."""
        restricted = self.protocol == 2 and bool(self._handles)
        looked_at = not self._known or not self.identity.all or self._queue is not None
        self.run.one_by_one = looked_at or restricted or self._skip > 0
        self.outbox.bytes_max = self.settings.pending_bytes_max if self._handles else REPLIES_BYTES_MAX

    # requests that are looked at one by one

    def protocol_error(self, text: str) -> None:
        self.outbox.answer(error(f"ERR Protocol error: {text}"))
        self.closing = True
        raise WireError(text)

    def inline(self, line: bytes) -> None:
        words = split_inline(line[:-1] if line.endswith(b"\r") else line)
        if words is None:
            self.protocol_error("unbalanced quotes in request")
        elif words:
            self.handle(words)

    def handle(self, words: list[bytes]) -> None:
        if self._skip:
            self._skip -= 1
            self.silent = self._skip == 0
        name = words[0].upper()
        if name == b"QUIT":
            self.outbox.answer(wire.OK)
            self.closing = True
            return
        found = CATALOGUE.check(words)
        if isinstance(found, str):
            self._refused(name, found)
        elif not self._known and name not in BEFORE_AUTH:
            self._reply(error(NO_AUTH))
        elif self.protocol == 2 and self._handles and name not in WHILE_SUBSCRIBED:
            self._reply(
                error(
                    f"ERR Can't execute '{found.name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "
                    "are allowed in this context"
                )
            )
        elif not self.identity.all and self._known and (why := denied(self.identity, found, words)) is not None:
            self._spoiled = self._spoiled or self._queue is not None
            self._reply(error(why))
        elif self._queue is not None:
            self._queueing(name, words)
        elif name == b"PING" and self.protocol == 2 and self._handles:
            self._ping(words)
        else:
            self._act(name, words)
        if not self._skip and self.silent and self._once:
            self.silent = self._once = False
            self._settle()

    def _refused(self, name: bytes, text: str) -> None:
        """A request that cannot be what it says: it spoils a transaction, and a wrong EXEC ends it."""
        if name == b"EXEC" and self._known:
            if self._queue is not None:
                self._queue = None
                self._settle()
                self._tell(b"UNWATCH")
            text = f"EXECABORT Transaction discarded because of: {text.removeprefix('ERR ')}"
        self._spoiled = self._spoiled or self._queue is not None
        self._reply(error(text))

    def _act(self, name: bytes, words: list[bytes]) -> None:
        if name in LISTENING:
            self._listen(name, words)
        elif name in WAITS:
            self._send_words(*words, waits=True)
        elif name == b"SELECT":
            self._select(words)
        elif name == b"MULTI":
            self._queue, self._queue_bytes, self._spoiled = [], 0, False
            self._settle()
            self._reply(wire.OK)
        elif name in (b"EXEC", b"DISCARD"):
            self._reply(error(f"ERR {name.decode()} without MULTI"))
        elif name == b"HELLO":
            self._hello(words)
        elif name == b"AUTH":
            self._auth(words)
        elif name == b"RESET":
            self._reset()
        elif name == b"CLIENT" and words[1].upper() == b"REPLY":
            self._reply_mode(words)
        else:
            self._send_words(*words)

    def _select(self, words: list[bytes]) -> None:
        number = find_integer(words[1])
        if number is None:
            self._reply(error("ERR value is not an integer or out of range"))
        elif not 0 <= number < self.settings.databases:
            self._reply(error(DB_RANGE))
        else:
            self.db = number
            self._reply(wire.OK)

    def _reply_mode(self, words: list[bytes]) -> None:
        mode = words[2].upper()
        if mode == b"ON":
            self.silent = False
            self._reply(wire.OK)
        elif mode == b"OFF":
            self.silent = True
        elif mode == b"SKIP":
            if not self.silent:
                self._skip, self._once = 1, True
        else:
            self._reply(error(SYNTAX))
        self._settle()

    def _ping(self, words: list[bytes]) -> None:
        self._reply(wire.array_of((bulk(b"pong"), bulk(words[1] if len(words) > 1 else b""))))

    # MULTI

    def _queueing(self, name: bytes, words: list[bytes]) -> None:
        assert self._queue is not None
        if name == b"MULTI":
            self._reply(error("ERR MULTI calls can not be nested"))
        elif name == b"WATCH":
            self._reply(error("ERR WATCH inside MULTI is not allowed"))
        elif name == b"DISCARD":
            self._queue = None
            self._settle()
            self._send_words(b"DISCARD")
        elif name == b"EXEC":
            self._exec()
        elif name == b"RESET":
            self._reset()
        elif name in LISTENING or name in (b"HELLO", b"AUTH") or (name == b"CLIENT" and words[1].upper() == b"REPLY"):
            self._spoiled = True
            self._reply(error("ERR Command not allowed inside a transaction"))
        else:
            encoded = request(*words)
            self._queue_bytes += len(encoded)
            if self._queue_bytes > self.settings.queue_bytes_max:
                self._queue.clear()
                self._spoiled = True
                self._reply(error(f"ERR the transaction is larger than {self.settings.queue_bytes_max} bytes"))
                return
            self._queue.append(encoded)
            self._reply(wire.QUEUED)

    def _exec(self) -> None:
        queue, self._queue = self._queue, None
        self._settle()
        assert queue is not None
        if self._spoiled:
            self._tell(b"UNWATCH")
            self._reply(error(EXEC_ABORT))
        elif not queue:
            self._exec_empty()
        else:
            # A SELECT inside moves the session only once it has happened: until then nothing more is sent.
            self._send_bytes(b"".join(queue), transaction=True, waits=True)

    def _exec_empty(self) -> None:
        run = Run(account=self.account)
        run.peer = self.run.peer
        run.user = self.run.user
        run.transaction = True
        run.cut(b"", 0, 0)
        self.send(run, False)

    # HELLO, AUTH, RESET

    def _let_in(self, user: bytes | None, secret: bytes) -> bool:
        name = REDIS_DEFAULT if user is None else user
        if self.port.users:
            identity = self.port.identify(name, secret)
        else:  # one user, with the password that is configured or with any
            wanted = self.settings.requirepass.encode()
            fits = name == REDIS_DEFAULT and (not wanted or hmac.compare_digest(wanted, secret))
            identity = self.port.identify(None, None) if fits else None
        if identity is None:
            return False
        self._become(identity)
        self._admit(True)
        return True

    def _auth(self, words: list[bytes]) -> None:
        if len(words) > 3:
            self._reply(error(SYNTAX))
        elif len(words) == 2 and self._open and not self.port.users:
            self._reply(
                error(
                    "ERR AUTH <password> called without any password configured for the default user. "
                    "Are you sure your configuration is correct?"
                )
            )
        elif self._let_in(words[1] if len(words) == 3 else None, words[-1]):
            self._reply(wire.OK)
        else:
            self._reply(error(WRONG_PASS))

    def _hello(self, words: list[bytes]) -> None:
        protocol = self.protocol
        name: bytes | None = None
        at = 1
        if len(words) > 1:
            version = find_integer(words[1])
            if version is None:
                self._reply(error("ERR Protocol version is not an integer or out of range"))
                return
            if version not in (2, 3):
                self._reply(error(NO_PROTO))
                return
            protocol = version
            at = 2
        credentials: tuple[bytes, bytes] | None = None
        while at < len(words):
            option = words[at].upper()
            if option == b"AUTH" and at + 2 < len(words):
                credentials = (words[at + 1], words[at + 2])
                at += 3
            elif option == b"SETNAME" and at + 1 < len(words):
                name = words[at + 1]
                if not valid_name(name):
                    self._reply(error("ERR Client names cannot contain spaces, newlines or special characters."))
                    return
                at += 2
            else:
                self._reply(error(f"ERR Syntax error in HELLO option '{words[at].decode('utf-8', 'surrogateescape')}'"))
                return
        if credentials is not None and not self._let_in(*credentials):
            self._reply(error(WRONG_PASS))
            return
        if not self._known:
            self._reply(
                error(
                    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH "
                    "<user> <pass> option can be used to authenticate the client and select the RESP protocol version at "
                    "the same time"
                )
            )
            return
        self.protocol = protocol
        self._settle()
        more = (b"SETNAME", name) if name is not None else ()
        self._send_words(b"HELLO", b"%d" % protocol, *more)

    def _reset(self) -> None:
        self._queue = None
        self._unsubscribe_all(True)
        self._tell(b"UNWATCH")
        self._tell(b"CLIENT", b"SETNAME", b"")
        self.protocol = 2
        self.db = 0
        self.silent = False
        identity = self.port.identify(None, None)
        if identity is not None:
            self._become(identity)
        self._admit(self._open)
        self._reply(b"+RESET\r\n")

    # subscriptions

    def _listen(self, name: bytes, words: list[bytes]) -> None:
        kind = (
            PATTERN
            if name.startswith(b"P")
            else SHARD
            if name[:2] in (b"SS", b"SU") and name != b"SUBSCRIBE"
            else CHANNEL
        )
        if not name.endswith(b"UNSUBSCRIBE"):
            for channel in words[1:]:
                self._subscribe(kind, channel, name.lower())
        else:
            mine = [key[1] for key in self._handles if key[0] == kind]
            for channel in words[1:] or mine:
                self._unsubscribe(kind, channel, name.lower())
            if not words[1:] and not mine:
                self._confirm(kind, name.lower(), None)
        self._settle()

    def _confirm(self, kind: bytes, verb: bytes, channel: bytes | None) -> None:
        """The count is of shard channels, or of all others."""
        shown = null(self.protocol) if channel is None else bulk(channel)
        count = self._shards if kind == SHARD else len(self._handles) - self._shards
        self._reply(push_of([bulk(verb), shown, integer(count)], self.protocol))

    def _subscribe(self, kind: bytes, channel: bytes, verb: bytes) -> None:
        key = (kind, channel)
        if key not in self._handles:
            if len(self._handles) >= SUBSCRIPTIONS_MAX:
                self._reply(error(f"ERR more than {SUBSCRIPTIONS_MAX} subscriptions of one connection"))
                return
            filtered = kind == PATTERN and self.identity.filtered(Right.READ, covering(channel))
            sink = Subscriber(self, channel, kind, filtered)
            name = shard_channel(channel) if kind == SHARD else channel
            wanted = Glob(channel, RESP.text) if kind == PATTERN else Tokens(address_of(name))
            self._handles[key] = self.port.subscribe(self.account, wanted, sink)
            self._shards += kind == SHARD
            self._tell(b"_SUBSCRIBED", kind, b"+", channel)
        self._confirm(kind, verb, channel)

    def _unsubscribe(self, kind: bytes, channel: bytes, verb: bytes) -> None:
        handle = self._handles.pop((kind, channel), None)
        if handle is not None:
            self._shards -= kind == SHARD
            handle.close()
            self._tell(b"_SUBSCRIBED", kind, b"-", channel)
        self._confirm(kind, verb, channel)

    def _unsubscribe_all(self, tell: bool) -> None:
        for (kind, channel), handle in self._handles.items():
            handle.close()
            if tell:
                self._tell(b"_SUBSCRIBED", kind, b"-", channel)
        self._handles.clear()
        self._shards = 0
