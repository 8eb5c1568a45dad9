"""Who holds a shard's sequencer role: a key of a JetStream KV bucket whose entries age away after LEASE_S.

The holder writes it again every PERIOD_S, each time naming the revision it wrote before; whoever finds it gone creates it.
The servers' clocks alone decide when it is gone. A lease only says who tries: what keeps two writers apart is the log's
epoch, which a holder that slept finds raised.
"""

from __future__ import annotations

import base64
import itertools
import json
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from substrate.jetstream.address import Cluster
from substrate.jetstream.link import Link, LinkError
from substrate.jetstream.truth import as_object

LEASE_S = 4.0
PERIOD_S = 1.0
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
NO_STREAM = 10059
NO_MESSAGE = 10037


@dataclass(frozen=True, slots=True)
class Holder:
    """``name`` empty: nobody. ``address``: where it accepts gateways; empty while it is getting ready."""

    name: str = ""
    address: str = ""
    revision: int = 0


class Bucket:
    """The key of shard ``shard``, over a link. Everything waits for its answer.

    Raises:
        LinkError: no answer, or a refusal.
    """

    def __init__(self, cluster: Cluster, shard: int) -> None:
        bucket = f"THALWEG_{cluster.name}"
        self._stream = f"KV_{bucket}"
        self._subjects = f"$KV.{bucket}.>"
        self._key = f"$KV.{bucket}.sequencer-{shard}"
        self._replicas = cluster.replicas

    def find_or_make(self, link: Link) -> None:
        found = _api(link, f"STREAM.INFO.{self._stream}", None, NO_STREAM)
        if found is None:
            lease_ns = int(LEASE_S * 1e9)
            settings = {
                "name": self._stream,
                "subjects": [self._subjects],
                "num_replicas": self._replicas,
                "storage": "file",
                "max_msgs_per_subject": 1,
                "max_age": lease_ns,
                "duplicate_window": lease_ns // 2,
                "discard": "new",
                "deny_delete": True,
                "allow_rollup_hdrs": True,
                "allow_direct": True,
            }
            _api(link, f"STREAM.CREATE.{self._stream}", settings)

    def look(self, link: Link) -> Holder:
        found = _api(link, f"STREAM.MSG.GET.{self._stream}", {"last_by_subj": self._key}, NO_MESSAGE)
        if found is None:
            return Holder()
        message = found["message"]
        said = as_object(base64.b64decode(message.get("data", "")))
        return Holder(str(said.get("holder", "")), str(said.get("address", "")), int(message["seq"]))

    def write(self, link: Link, revision: int, name: str, address: str) -> int:
        """The new revision; 0: it is not at ``revision`` any more."""
        payload = json.dumps({"holder": name, "address": address}).encode()
        answer = as_object(link.ask(self._key, payload, {EXPECTED: str(revision)}).payload)
        return 0 if answer.get("error") else int(answer.get("seq", 0))


def _api(link: Link, what: str, request: dict[str, Any] | None, missing: int = 0) -> dict[str, Any] | None:
    """None where the answer is the error ``missing``."""
    found = as_object(link.ask(f"$JS.API.{what}", json.dumps(request).encode() if request else b"").payload)
    error = found.get("error")
    if error and missing and error.get("err_code") == missing:
        return None
    if error:
        raise LinkError(f"{what}: {error.get('description')} ({error.get('err_code')})")
    return found


class Keeper:
    """Takes the lease when it is free and keeps it, in a thread that owns its connection and nothing else.

    ``tell(holder)`` is called through ``post`` whenever it is known who holds it: with our own name, it is us.
    """

    def __init__(
        self, cluster: Cluster, shard: int, name: str, tell: Callable[[Holder], None],
        post: Callable[[Callable[[], None]], object],
    ) -> None:  # fmt: skip
        self._cluster = cluster
        self._bucket = Bucket(cluster, shard)
        self._name = name
        self._tell = tell
        self._post = post
        self.address = ""
        """Where we accept gateways: told with the lease."""
        self.pause_periods = 0
        """For so many periods from now on the lease is let go, and not taken."""
        self._revision = 0
        self._words: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Tell ``address`` at once."""
        self._words.put(True)

    def stop(self, wait_s: float = 1.0) -> None:
        """Let the lease go, if it is ours."""
        self._words.put(False)
        self._thread.join(wait_s)

    def _run(self) -> None:
        link: Link | None = None
        turns = itertools.count()
        going = True
        while going:
            try:
                if link is None:
                    link = Link.open(self._cluster, next(turns))
                    self._bucket.find_or_make(link)
                self._step(link)
            except LinkError:
                if link is not None:
                    link.close()
                link = None
            try:
                going = self._words.get(timeout=PERIOD_S)
            except queue.Empty:
                continue
        if link is not None:
            try:
                self._let_go(link)
            except LinkError:
                pass  # then it ages away
            link.close()

    def _let_go(self, link: Link) -> None:
        if self._revision:
            revision, self._revision = self._revision, 0
            self._bucket.write(link, revision, "", "")

    def _step(self, link: Link) -> None:
        if self.pause_periods:
            self.pause_periods -= 1
            self._let_go(link)
        if self._revision:
            self._revision = self._bucket.write(link, self._revision, self._name, self.address)
            if self._revision:
                return
        holder = self._bucket.look(link)
        if holder.name in ("", self._name) and not self.pause_periods:
            self._revision = self._bucket.write(link, holder.revision, self._name, self.address)
            if not self._revision:
                return
            holder = Holder(self._name, self.address, self._revision)
        self._post(lambda: self._tell(holder))
