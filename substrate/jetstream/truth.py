"""The JetStream stream that holds a shard's log: made, read, taken over. Everything here waits for answers.

One writer at a time. It publishes with ``Nats-Expected-Last-Sequence``, each message naming the one before it, so that
whoever reads the end and appends an EPOCH there has ended the chain of whoever wrote before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from substrate.jetstream.address import Cluster
from substrate.jetstream.link import Link, LinkError
from substrate.jetstream.log import Entry, Joiner, Kind, LogError, Piece, unpack

BATCH = 512
BATCH_BYTES = 8 << 20
NO_STREAM = 10059
WRONG_LAST_SEQUENCE = (10071, 10164)
EXPECTED = "Nats-Expected-Last-Sequence"


class Truth:
    """The stream of one shard on ``cluster``, as seen over ``link``."""

    def __init__(self, cluster: Cluster, shard: int, link: Link) -> None:
        self.cluster = cluster
        self.link = link
        self.stream = stream_name(cluster, shard)
        self.subject = subject_of(cluster, shard)

    def api(self, what: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
        """
        Raises:
            KeyError: there is no such stream.
            LinkError: no answer, or a refusal.
        """
        answer = self.link.ask(f"$JS.API.{what}", json.dumps(request).encode() if request else b"")
        found = as_object(answer.payload)
        error = found.get("error")
        if error:
            if error.get("err_code") == NO_STREAM:
                raise KeyError(self.stream)
            raise LinkError(f"{what}: {error.get('description')} ({error.get('err_code')})")
        return found

    def find_or_make(self) -> str:
        """When the stream was made, as the cluster tells: that and its name are its identity.

        Raises:
            LinkError: there is no quorum, no answer, or the cluster refuses.
            LogError: the stream is not as it must be.
        """
        try:
            found = self.api(f"STREAM.INFO.{self.stream}")
        except KeyError:
            found = self.api(f"STREAM.CREATE.{self.stream}", self._configuration())
        config = found["config"]
        for key in ("max_msgs", "max_bytes", "max_age"):
            if config.get(key, 0) > 0:
                raise LogError(f"stream {self.stream} has a limit: {key} {config[key]}")
        if config.get("storage") != "file" or config.get("subjects") != [self.subject]:
            raise LogError(f"stream {self.stream}: {config.get('storage')} storage of {config.get('subjects')}")
        return str(found["created"])

    def _configuration(self) -> dict[str, Any]:
        return {
            "name": self.stream,
            "subjects": [self.subject],
            "num_replicas": self.cluster.replicas,
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "duplicate_window": 1_000_000_000,
            "allow_direct": True,
            "deny_delete": True,
            "deny_purge": True,
            "description": "the log of a Thalweg substrate: written by it alone",
        }

    def end(self) -> int:
        """The last sequence, by the stream's leader.

        Raises:
            LinkError: there is none, or no answer.
            LogError: the stream is gone, or its beginning is.
        """
        try:
            state = self.api(f"STREAM.INFO.{self.stream}")["state"]
        except KeyError:
            raise LogError(f"stream {self.stream} is gone") from None
        if state["first_seq"] > 1:
            raise LogError(f"stream {self.stream} begins at {state['first_seq']}: what was before is gone")
        return int(state["last_seq"])

    def read(self, first: int, last: int) -> Iterator[Piece]:
        """Every message from ``first`` to ``last``, by whichever replica has it.

        Raises:
            LinkError: no answer; not all is there on the replicas that answered.
            LogError: as ``unpack``.
        """
        misses = 0
        while first <= last:
            request = {"seq": first, "batch": min(BATCH, last - first + 1), "max_bytes": BATCH_BYTES}
            got = 0
            for answer in self.link.ask_many(f"$JS.API.DIRECT.GET.{self.stream}", json.dumps(request).encode()):
                if answer.status:
                    if answer.status not in ("204", "404", "408"):
                        raise LogError(f"reading {first}: {answer.header[:80]!r}")
                    break
                sequence = int(answer.field("Nats-Sequence") or 0)
                if sequence != first:
                    raise LogError(f"message {first} is gone: the next one is {sequence}")
                yield unpack(answer.payload, sequence)
                first += 1
                got += 1
            misses = 0 if got else misses + 1
            if misses > 20:
                raise LinkError(f"no replica has message {first}")

    def take_over(self, joiner: Joiner, writer: bytes, apply: Callable[[Entry], None]) -> tuple[int, int]:
        """Read what ``joiner`` has not yet, append an EPOCH in the name of ``writer``; its epoch and sequence.

        Raises:
            LinkError: it may be tried again, with the same joiner.
            LogError.
        """
        while True:
            last = self.end()
            if last < joiner.sequence:
                raise LogError(
                    f"stream {self.stream} ends at {last}, it was read to {joiner.sequence}: it lost messages"
                )
            for piece in self.read(joiner.sequence + 1, last):
                for entry in joiner.take(piece):
                    apply(entry)
            made = Piece(Kind.EPOCH, last + 1, joiner.epoch + 1, joiner.commit, 0, 1, writer)
            answer = as_object(self.link.ask(self.subject, made.pack(), {EXPECTED: str(last)}).payload)
            error = answer.get("error") or {}
            if not error and answer.get("seq") == last + 1:
                for _ in joiner.take(made):
                    pass
                return made.epoch, last + 1
            if error.get("err_code") not in WRONG_LAST_SEQUENCE:
                raise LinkError(f"epoch {made.epoch} at {last + 1}: {error.get('description') or answer}")


def stream_name(cluster: Cluster, shard: int) -> str:
    return f"THALWEG_{cluster.name}_{shard}"


def subject_of(cluster: Cluster, shard: int) -> str:
    return f"_thalweg.{cluster.name}.{shard}"


def as_object(payload: bytes) -> dict[str, Any]:
    """
    Raises:
        LinkError: the answer is none of JetStream's.
    """
    try:
        found = json.loads(payload)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise LinkError(f"answer {payload[:80]!r}")
    return found
