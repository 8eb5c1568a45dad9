"""RDMA verbs as the transport needs them, and their implementation by pyverbs.

A ``QueuePair`` is reliable and connected (RC). It sends from a ``Region`` of registered memory, which several pairs may
share, and has a ``ring`` of its own, into which the peer writes. The one operation is WRITE WITH IMMEDIATE: bytes go to a
place of the peer's ring and a 32-bit value arrives with them, which takes one of the receives that the peer posted. Without
one it waits (receiver not ready, tried again without end). Everything arrives in order or the pair is broken for good.

pyverbs is Debian's package ``python3-pyverbs`` (44; beside Python 3.11): it is found at run time, also from a virtual
environment. PyPI's builds see no soft-RoCE device.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import os
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Any, Protocol

DEBIAN = "/usr/lib/python3/dist-packages"
NAME = struct.Struct(">IIIQ16s")
"""How a peer reaches a queue pair: its number, first packet sequence, key and address of its ring, GID."""
PORT = 1
INFINITE = 7
"""``rnr_retry``: without end (InfiniBand specification 9.7.5.2.8)."""


class NoRdma(Exception):
    """Why there is no RDMA here; the message is for people. Other transports go on."""


class VerbsError(Exception):
    """A post was refused: the pair is broken or its queue is full."""


@dataclass(frozen=True, slots=True)
class Completion:
    """``written``: a write of ours is in the peer's ring and its place in the region is free. ``arrived``: ``value`` came.
    ``failed``: the pair is broken, ``reason`` says how; everything posted fails after it."""

    kind: str
    value: int = 0
    reason: str = ""


class Region(Protocol):
    """Registered memory to send from, on one device."""

    def fill(self, at: int, data: bytes | memoryview) -> None: ...

    def close(self) -> None:
        """After every pair that sends from it."""
        ...


class QueuePair(Protocol):
    name: bytes
    """NAME packed, for the peer's ``connect``."""

    def connect(self, peer: bytes) -> None:
        """Raises: VerbsError."""
        ...

    def post_receive(self, count: int) -> None: ...

    def take(self, at: int, size: int) -> bytes:
        """Bytes of ``ring``."""
        ...

    def write(self, at: int, size: int, to: int, value: int) -> None:
        """``size`` bytes at ``at`` of the region to the peer's ``ring[to:]``; ``value`` (32 bits) arrives with them.

        Raises:
            VerbsError: broken, or too much is posted.
        """
        ...

    def poll(self) -> list[Completion]:
        """What completed since the last call; asks to be woken (``fileno`` readable) for what comes after."""
        ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...


class Verbs(Protocol):
    def region(self, host: str, size: int) -> Region:
        """On the device that has this address.

        Raises:
            NoRdma: no device has it.
        """
        ...

    def queue_pair(self, region: Region, ring: int, depth: int) -> QueuePair:
        """Sends from the region; a ring of so many bytes, ``depth`` posts of each kind at once."""
        ...


def find() -> PyVerbs:
    """
    Raises:
        NoRdma: pyverbs or a device is missing, with what to install.
    """
    try:
        _import()
        from pyverbs.device import get_device_list
        from pyverbs.pyverbs_error import PyverbsError
    except ImportError as error:
        raise NoRdma(f"no pyverbs ({error}): Debian's python3-pyverbs, beside its Python 3.11") from None
    try:
        names = [device.name.decode() for device in get_device_list()]
    except PyverbsError as error:
        raise NoRdma(f"pyverbs finds no devices: {error}") from None
    if not names:
        raise NoRdma("no RDMA device (soft-RoCE: rdma link add rxe0 type rxe netdev <interface>)")
    return PyVerbs(names)


def _import() -> None:
    """pyverbs, from where Debian puts it if this environment does not see it."""
    if importlib.util.find_spec("pyverbs") is not None:
        return
    found = importlib.machinery.PathFinder.find_spec("pyverbs", [DEBIAN])
    if found is None or found.loader is None:
        raise ImportError("not installed")
    module = importlib.util.module_from_spec(found)
    sys.modules["pyverbs"] = module
    found.loader.exec_module(module)


class PyVerbs:
    """The verbs of this machine's devices."""

    def __init__(self, names: list[str]) -> None:
        from pyverbs.device import Context

        self.contexts = [Context(name=name) for name in names]

    def region(self, host: str, size: int) -> PyRegion:
        wanted = b"\0" * 10 + b"\xff\xff" + socket.inet_aton(host)
        for context in self.contexts:
            for index in range(context.query_port(PORT).gid_tbl_len):
                gid = _gid_bytes(context.query_gid(PORT, index))
                if gid == wanted and _is_roce_v2(context, index):
                    return PyRegion(context, gid, index, size)
        raise NoRdma(f"no RDMA device has the address {host}")

    def queue_pair(self, region: Region, ring: int, depth: int) -> PyQueuePair:
        assert isinstance(region, PyRegion)
        return PyQueuePair(region, ring, depth)


def _gid_bytes(gid: Any) -> bytes:
    return socket.inet_pton(socket.AF_INET6, str(gid.gid))


def _is_roce_v2(context: Any, index: int) -> bool:
    """Which goes over UDP; the same address also stands in the table for version 1, which does not."""
    import pyverbs.enums as e

    return bool(context.query_gid_type(PORT, index) == e.IBV_GID_TYPE_SYSFS_ROCE_V2)


class PyRegion:
    """Memory, its protection domain and the device's address."""

    def __init__(self, context: Any, gid: bytes, gid_index: int, size: int) -> None:
        import pyverbs.enums as e
        from pyverbs.mr import MR
        from pyverbs.pd import PD

        self.context = context
        self.gid = gid
        self.gid_index = gid_index
        self.domain = PD(context)
        self.memory = MR(self.domain, size, e.IBV_ACCESS_LOCAL_WRITE)

    def fill(self, at: int, data: bytes | memoryview) -> None:
        self.memory.write(bytes(data), len(data), at)

    def close(self) -> None:
        self.memory.close()
        self.domain.close()


class PyQueuePair:
    """A queue pair, its completion queue and its ring."""

    def __init__(self, region: PyRegion, ring: int, depth: int) -> None:
        import pyverbs.enums as e
        from pyverbs.cq import CQ, CompChannel
        from pyverbs.mr import MR
        from pyverbs.qp import QP, QPAttr, QPCap, QPInitAttr

        self._e: Any = e
        self._region = region
        self._mtu = region.context.query_port(PORT).active_mtu
        before = _descriptors()
        self._channel = CompChannel(region.context)
        (self._descriptor,) = _descriptors() - before  # pyverbs keeps it to itself
        os.set_blocking(self._descriptor, False)
        self._queue = CQ(region.context, 2 * depth, None, self._channel)
        self._queue.req_notify()
        self._access = e.IBV_ACCESS_LOCAL_WRITE | e.IBV_ACCESS_REMOTE_WRITE
        self._ring = MR(region.domain, ring, self._access)
        capacity = QPCap(max_send_wr=depth, max_recv_wr=depth, max_send_sge=1, max_recv_sge=1)
        wanted = QPInitAttr(qp_type=e.IBV_QPT_RC, scq=self._queue, rcq=self._queue, cap=capacity, sq_sig_all=1)
        self._pair = QP(region.domain, wanted, QPAttr())
        self._sequence = int.from_bytes(os.urandom(3), "big")
        self._far_key = self._far_ring = 0
        self._closed = False
        self._pair.to_init(self._attributes())
        self.name = NAME.pack(self._pair.qp_num, self._sequence, self._ring.rkey, self._ring.buf, region.gid)

    def _attributes(self) -> Any:
        from pyverbs.qp import QPAttr

        attributes = QPAttr(port_num=PORT)
        attributes.qp_access_flags = self._access
        return attributes

    def connect(self, peer: bytes) -> None:
        """See ``QueuePair``: ready to receive, then ready to send."""
        from pyverbs.addr import GID, AHAttr, GlobalRoute
        from pyverbs.pyverbs_error import PyverbsError

        number, sequence, self._far_key, self._far_ring, gid = NAME.unpack(peer)
        attributes = self._attributes()
        attributes.path_mtu = self._mtu
        attributes.dest_qp_num = number
        attributes.rq_psn = sequence
        attributes.max_dest_rd_atomic = attributes.max_rd_atomic = 1
        attributes.min_rnr_timer = 12  # 0.64 ms
        words = ":".join(gid[at : at + 2].hex() for at in range(0, 16, 2))
        route = GlobalRoute(dgid=GID(words), sgid_index=self._region.gid_index, hop_limit=64)
        attributes.ah_attr = AHAttr(gr=route, is_global=1, port_num=PORT)
        try:
            self._pair.to_rtr(attributes)
            attributes.sq_psn = self._sequence
            attributes.timeout = 14  # 67 ms, each time
            attributes.retry_cnt = 6  # soft-RoCE takes 7 for without end
            attributes.rnr_retry = INFINITE
            self._pair.to_rts(attributes)
        except PyverbsError as error:
            raise VerbsError(str(error)) from None

    def post_receive(self, count: int) -> None:
        from pyverbs.wr import SGE, RecvWR

        for _ in range(count):
            self._post(self._pair.post_recv, RecvWR(sg=[SGE(self._ring.buf, 0, self._ring.lkey)], num_sge=1))

    def _post(self, act: Any, request: Any) -> None:
        from pyverbs.pyverbs_error import PyverbsError

        try:
            act(request)
        except PyverbsError as error:
            raise VerbsError(str(error)) from None

    def take(self, at: int, size: int) -> bytes:
        found: bytes = self._ring.read(size, at)
        return found

    def write(self, at: int, size: int, to: int, value: int) -> None:
        """See ``QueuePair``."""
        from pyverbs.wr import SGE, SendWR

        e = self._e
        request = SendWR(
            sg=[SGE(self._region.memory.buf + at, size, self._region.memory.lkey)],
            num_sge=1,
            opcode=e.IBV_WR_RDMA_WRITE_WITH_IMM,
            send_flags=e.IBV_SEND_SIGNALED,
            imm_data=socket.htonl(value),
        )
        request.set_wr_rdma(self._far_key, self._far_ring + to)
        self._post(self._pair.post_send, request)

    def poll(self) -> list[Completion]:
        """See ``QueuePair``. Asked to wake before it looks: what comes in between is seen or wakes."""
        from pyverbs.pyverbs_error import PyverbsError

        with contextlib.suppress(PyverbsError):  # there was none
            self._channel.get_cq_event(self._queue)
            self._queue.ack_events(1)
        self._queue.req_notify()
        found: list[Completion] = []
        while True:
            count, completions = self._queue.poll(64)
            found += map(self._read, completions or [])
            if not count:
                return found

    def _read(self, completion: Any) -> Completion:
        e = self._e
        if completion.status != e.IBV_WC_SUCCESS:
            return Completion("failed", reason=f"work completion status {completion.status}")
        if completion.opcode == e.IBV_WC_RECV_RDMA_WITH_IMM:
            return Completion("arrived", socket.ntohl(completion.imm_data))
        return Completion("written")

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            for part in (self._pair, self._queue, self._channel, self._ring):
                part.close()


def _descriptors() -> set[int]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            os.fstat(int(name))
            found.add(int(name))
    return found
