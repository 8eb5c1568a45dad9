"""The simulated world: a whole gateway in one thread under a seeded clock, disk and network, and peers that keep count.

    python -m conformance.simulation --seed 7 --runs 100

One run: a gateway of all four protocols over the disk engine on a disk in memory (or over the memory engine), a handful of
peers (``conformance.simulated_peers``), and a few hundred steps, each chosen by chance: a peer asks for something, a part
of some connection's bytes arrives, a peer reads a part of what came, an fsync finishes, time passes, a connection breaks,
a disk call fails, the disk is full, the process dies, the power goes. Then everything heals, what is outstanding must be
answered, the process starts once more, and the books are checked:

* nothing acknowledged durable is lost; a position holds one value for ever; positions are contiguous;
* what was sent once is there at most once; one peer's values stand in its order; QoS 2 arrives exactly once;
* the keyspace is what was answered (or, where no answer came, what may have happened); transactions are whole;
* no exception leaves a session; every request is answered, or its connection closed, in time;
* a state folded from its checkpoint is the state folded from its beginning (the books know no difference);
* rot is never served: after a flipped bit a read gives the right bytes or an error.

A run is a function of its seed: the same seed gives the same bytes, and the digest of all that peers heard shows it.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from conformance.disk_faults import Operation, PowerCut, SimulatedFiles
from conformance.harness import START_NS, Client, Factories, Harness, default_executors, default_factories
from conformance.simulated_peers import (
    Book,
    KafkaConsumer,
    KafkaProducer,
    MqttPublisher,
    MqttSubscriber,
    NatsConsumer,
    NatsOwner,
    NatsPublisher,
    Peer,
    Redis,
    Violation,
    demand,
    read_records,
)
from protocols.api import Executor
from substrate import batch as batches
from substrate import checkpoints
from substrate.api import DEFAULT_ACCOUNT, Address, Batches, CreateTopic, Durability, Level, Position, StreamError
from substrate.control import Topics
from substrate.disk import DiskEngine
from substrate.disk.options import Options
from substrate.engine import Engine, EngineError
from substrate.marks import Marks
from substrate.memory import MemoryEngine

STEPS = 400
PROTOCOLS = ("nats", "resp", "mqtt", "kafka")
SMALL = Options(
    journal_slots=3,
    journal_slot_bytes=1 << 16,
    reference_bytes=1 << 12,
    checkpoint_bytes=1 << 17,
    free_bytes_min=1 << 20,
)
"""Journal slots, references and checkpoints are all met within one short run."""
PATIENCE_MS = 60_000
"""In the end, all is answered within this simulated time."""


class Gateway(Harness):
    """A harness whose turns do nothing by themselves: what arrives when is the world's choice."""

    def run(self) -> None:
        if self._in_run:
            return
        self._in_run = True
        try:
            for _ in range(1000):
                self._again = False
                self.flush()
                if not self.dirty and not self._again:
                    return
            raise Violation("the gateway does not come to rest")
        finally:
            self._in_run = False

    def step(self) -> bool:
        """Let one delayed call through. False: there is none."""
        if not self._later:
            return False
        queue = self.chance.choice(self._later)
        self.begin()
        queue.pop(0)()
        self._later = [queue for queue in self._later if queue]
        self.run()
        return True


class Wire:
    """One connection: bytes on their way in both directions."""

    def __init__(self, peer: Peer, client: Client) -> None:
        self.peer = peer
        self.client = client
        self.to_gateway = bytearray()
        self.to_peer = bytearray()


class Simulation:
    """One run. ``digest`` is of all that peers heard and all that happened."""

    def __init__(self, seed: int, protocols: Sequence[str] = PROTOCOLS, steps: int = STEPS) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.trace = hashlib.blake2b(digest_size=12)
        spoken = [name for name in PROTOCOLS if name in protocols]
        few = set(self.chance.sample(spoken, min(len(spoken), self.chance.choice((1, 2, 2, 3, 4)))))
        self.protocols = [name for name in spoken if name in few]
        self.steps = steps
        self.log: list[str] = []
        self.now_ns = START_NS
        self.delayed = self.chance.random() < 0.5
        self.on_disk = self.chance.random() < 0.8
        self.faults = self.on_disk and self.chance.random() < 0.5
        self.crashes = self.chance.choice((0, 1, 2, 4))
        self.files = SimulatedFiles(seed)
        self.memory = MemoryEngine(delayed=True)
        self.book = Book()
        self.peers = self._make_peers()
        self.wires: dict[str, Wire] = {}
        self.gateway: Gateway
        self.happen(
            f"{'+'.join(self.protocols)} on {'disk' if self.on_disk else 'memory'}"
            f"{', delayed' if self.delayed else ''}{', faults' if self.faults else ''}"
        )
        self.start()
        self.gateway.sequencer.call("topics", CreateTopic(DEFAULT_ACCOUNT, Address(b"ev")), None, 0)
        self.settle()

    def _make_peers(self) -> list[Peer]:
        book, chance = self.book, self.chance
        totals: list[int] = []
        claimed: set[int] = set()
        peers: list[Peer] = []
        if "nats" in self.protocols:
            peers += [NatsPublisher(name, book, chance) for name in ("n1", "n2")]
            peers += [NatsConsumer("j1", book, chance), NatsOwner("o1", book, chance)]
        if "resp" in self.protocols:
            peers += [Redis(name, book, chance) for name in ("r1", "r2")]
        if "mqtt" in self.protocols:
            subscribers = [MqttSubscriber("s1", book, chance)]
            publishers = [MqttPublisher(name, book, chance) for name in ("p1", "p2")]
            for publisher in publishers:
                publisher.ready = lambda: all(one.subscribed for one in subscribers)
            peers += [*subscribers, *publishers]
        if "kafka" in self.protocols:
            producers = [KafkaProducer("k1", book, chance, True), KafkaProducer("k2", book, chance, False)]
            for producer in producers:
                producer.claimed = claimed
            peers += [*producers, KafkaConsumer("c1", book, chance)]
        for peer in peers:
            if isinstance(peer, Redis):
                peer.totals = totals
        return peers

    def happen(self, what: str) -> None:
        """Into the trace: what happened, in the order it did."""
        self.log.append(what)
        self.trace.update(what.encode() + b"\n")

    # the process

    def executors(self) -> list[Callable[[], Executor]]:
        """All protocols', also of those that nobody speaks; what Redis answers is durable (``appendfsync always``)."""
        from protocols.resp.keyspace import Keyspace

        return [*default_executors()[:-1], lambda: Keyspace(_resp_settings())]

    def factories(self) -> Factories:
        from protocols.resp.session import RespSession

        made = default_factories() | {"resp": lambda port: RespSession(port, _resp_settings())}
        return {name: made[name] for name in self.protocols}

    def load(self, name: str) -> list[checkpoints.Checkpoint]:
        return checkpoints.load(self.files, name) if self.on_disk else []

    def engine(self) -> Engine:
        return DiskEngine(self.files, options=SMALL) if self.on_disk else self.memory

    def start(self) -> None:
        """The process begins; a start that a disk fault stops is tried again once the disk works."""
        for attempt in range(2):
            try:
                self.gateway = Gateway(
                    self.chance.getrandbits(32),
                    self.executors(),
                    self.factories(),
                    self.engine(),
                    self.delayed,
                    {"resp": Durability.SYNC},
                    self.now_ns,
                    self.load,
                )
                return
            except EngineError as error:
                demand(self.faults and attempt == 0, f"the engine does not open: {error}")
                self.heal()
                self.files = self.files.killed()

    def crash(self, power: bool) -> None:
        """The process dies, here and now; with ``power`` the machine does."""
        self.happen("power cut" if power else "kill")
        for name in list(self.wires):
            wire = self.wires[name]
            if self.chance.random() < 0.5:  # what had left before may still arrive
                wire.to_peer += wire.client.read()
                self.hear(wire, self.chance.randint(0, len(wire.to_peer)))
            self.lose(name)
        if self.on_disk:
            self.files = self.files.crashed(self.chance.getrandbits(32)) if power else self.files.killed()
        else:
            self.memory.lose()
        self.now_ns = self.gateway.now_ns + 1_000_000
        self.start()
        self.check_log()

    def checkpoint(self) -> None:
        """Some executor's state is folded anew from its stream, as the checkpointer does, saved, and the stream trimmed."""
        sequencer = self.gateway.sequencer
        if not self.on_disk or sequencer.layer.broken:
            return
        world = self.chance.choice(sequencer.worlds())
        name = world.executor.name
        stream = sequencer.layer.streams[world.stream]
        start = next((made for made in self.load(name) if sequencer.belongs(world.stream, made)), None)
        views = {"topics": lambda: cast(Executor, Topics(lambda topic: None, lambda topic: None))}
        views["marks"] = lambda: cast(Executor, Marks())
        views |= {factory().name: factory for factory in self.executors()}
        view = views[name]()
        if start is not None:
            view.load(start.state)
        fold = checkpoints.Fold(start)
        try:
            while fold.position < stream.durable:
                for batch in sequencer.layer.engine.read(world.stream, Position(fold.position), 1 << 16):
                    if batches.header(batch).base_offset < stream.durable:
                        for record in fold.take(batch, stream.key.name):
                            view.apply(record)
            checkpoints.save(self.files, fold.checkpoint(name, view.version, view.dump()))
            found = self.load(name)
            if len(found) == 2 and found[1].last_base > 0:
                sequencer.layer.trim(world.stream, Position(found[1].last_base))
        except (OSError, EngineError) as error:
            demand(self.faults, f"a checkpoint of {name} failed: {error}")
        self.happen(f"checkpoint of {name} at {fold.position}")
        self.gateway.run()

    def guarded(self, act: Callable[[], object]) -> None:
        """The disk may cut the power in the middle of anything."""
        try:
            act()
        except PowerCut:
            self.crash(power=True)

    # the network

    def connect(self, peer: Peer) -> None:
        wire = Wire(peer, self.gateway.connect(peer.protocol, ("10.0.0.1", 1000 + len(self.wires))))
        self.wires[peer.name] = wire
        peer.clock = lambda: self.gateway.now_ns
        peer.say = wire.to_gateway.__iadd__  # type: ignore[assignment]
        peer.opened()
        self.happen(f"{peer.name} connects")

    def lose(self, name: str) -> None:
        """The peer learns that its connection is gone."""
        wire = self.wires.pop(name)
        wire.peer.lost()
        self.happen(f"{name} is disconnected")

    def cut(self, name: str) -> None:
        """The network breaks a connection; what was on its way may have arrived, in part."""
        wire = self.wires[name]
        self.deliver(wire, self.chance.randint(0, len(wire.to_gateway)))
        if name in self.wires:
            self.hear(wire, self.chance.randint(0, len(wire.to_peer)))
            self.lose(name)
            wire.client.close()

    def deliver(self, wire: Wire, count: int, run: bool = True) -> None:
        data = bytes(wire.to_gateway[:count])
        del wire.to_gateway[:count]
        if data:
            wire.client.send(data, run)

    def hear(self, wire: Wire, count: int) -> None:
        data = bytes(wire.to_peer[:count])
        del wire.to_peer[:count]
        if data:
            self.trace.update(wire.peer.name.encode() + b"<" + data)
            wire.peer.hear(data)

    def receive(self, wire: Wire, whole: bool = False) -> None:
        """A part of what the gateway sent arrives; behind the last of it, its end."""
        wire.to_peer += wire.client.read()
        size = len(wire.to_peer)
        self.hear(wire, size if whole or self.chance.random() < 0.5 else self.chance.randint(0, size))
        if wire.client.closed and not wire.to_peer:
            self.lose(wire.peer.name)
        elif wire.peer.drop:
            self.lose(wire.peer.name)
            wire.client.close()

    # the disk

    def finish_io(self) -> bool:
        """One outstanding fsync (or frame, in memory) is finished. False: there is none."""
        if self.on_disk:
            done = self.files.step()
        else:
            done = self.memory._written > self.memory._durable and not self.memory._broken
            if done:
                self.memory.flush(self.memory._durable + self.chance.randint(1, 3))
        self.gateway.run()
        return done

    def harm(self) -> None:
        """A disk that fails for a while, is full, or will lose its power in the middle of something."""
        if not self.on_disk:
            if self.chance.random() < 0.3 and not self.memory._broken:
                self.happen("the engine fails")
                self.gateway.begin()
                self.memory.fail("told to")
                self.gateway.run()
            return
        kind = self.chance.choice(("error", "error", "full", "cut"))
        self.happen(f"disk: {kind}")
        if kind == "full":
            self.files.capacity = max(0, self.files.capacity - self.files.free_bytes()) + self.chance.choice(
                (0, 1 << 16, 1 << 25)
            )
            self.files._free = None
        elif kind == "error":
            code = self.chance.choice((errno.EIO, errno.ENOSPC))
            often = self.chance.choice((0.02, 0.2, 1.0))
            chance = random.Random(self.chance.getrandbits(32))
            kinds = self.chance.choice(
                (("sync",), ("write", "allocate"), ("sync", "write", "rename", "allocate", "truncate", "unlink"))
            )
            self.files.fault = lambda operation: code if operation.kind in kinds and chance.random() < often else 0
        elif self.crashes > 0:
            self.crashes -= 1
            at = self.files.operations + self.chance.randint(1, 30)

            def watch(operation: Operation) -> None:
                if operation.number >= at:
                    raise PowerCut

            self.files.watch = watch

    def heal(self) -> None:
        self.files.fault = None
        self.files.watch = None
        self.files.capacity = 1 << 40
        self.files._free = None

    # one step

    def step(self) -> None:
        missing = [peer for peer in self.peers if peer.name not in self.wires]
        if missing and self.chance.random() < 0.3:
            self.connect(self.chance.choice(missing))
            return
        roll = self.chance.random()
        wire = self._some(self.wires.values())
        if roll < 0.26 and wire is not None:
            wire.peer.wake()
            for _ in range(self.chance.randint(1, 3)):
                wire.peer.act()
        elif roll < 0.52 and wire is not None:
            wire = self._some(one for one in self.wires.values() if one.to_gateway) or wire
            size = len(wire.to_gateway)
            count = size if self.chance.random() < 0.7 else self.chance.randint(0, size)
            self.deliver(wire, count, run=self.chance.random() < 0.7)
        elif roll < 0.72 and wire is not None:
            wire = self._some(one for one in self.wires.values() if one.to_peer or one.client.received()) or wire
            self.receive(wire)
        elif roll < 0.84:
            self.finish_io()
        elif roll < 0.92:
            for _ in range(self.chance.randint(1, 6)):
                self.gateway.step()
        elif roll < 0.93:
            self.checkpoint()
        elif roll < 0.955:
            self.gateway.advance(self.chance.choice((0.1, 1, 10, 100, 600, 1500)))
        elif roll < 0.965 and wire is not None:
            wire.client.reads = not wire.client.reads
            wire.client.outbox.mark()
        elif roll < 0.975 and wire is not None:
            self.cut(wire.peer.name)
        elif roll < 0.99:
            if self.faults and self.files.fault is None and self.files.watch is None:
                self.harm()
            elif self.chance.random() < 0.5:
                self.heal()
        elif self.crashes > 0:
            self.crashes -= 1
            self.crash(self.chance.random() < 0.6)

    def _some(self, wires: Iterable[Wire]) -> Wire | None:
        among = list(wires)
        return self.chance.choice(among) if among else None

    def settle(self) -> None:
        """Everything outstanding on the disk and in the port is finished."""
        self.gateway.run()
        while self.finish_io() or self.gateway.step():
            pass

    # the end

    def run(self) -> str:
        """The whole run; answers its digest.

        Raises:
            Violation: a promise was broken.
        """
        for peer in self.peers:
            self.guarded(lambda peer=peer: self.connect(peer))  # type: ignore[misc]
        for _ in range(self.steps):
            self.guarded(self.step)
        self.happen("heals")
        self.heal()
        self.finish()
        self.happen("ends")
        self.crash(power=self.chance.random() < 0.5)
        self.check_state()
        if self.on_disk:
            self.check_rot()
        return self.trace.hexdigest()

    def finish(self) -> None:
        """Nothing is in the way any more: all that was begun comes to its end."""
        until = self.gateway.now_ns + PATIENCE_MS * 1_000_000
        while True:
            for peer in self.peers:
                peer.finishing = True
                if peer.name not in self.wires:
                    self.connect(peer)
            for wire in list(self.wires.values()):
                wire.peer.wake()
                wire.client.reads = True
                wire.client.outbox.mark()
                self.deliver(wire, len(wire.to_gateway))
            self.settle()
            for wire in list(self.wires.values()):
                self.receive(wire, whole=True)
            owed = {peer.name: peer.owed() for peer in self.peers if peer.owed() or peer.name not in self.wires}
            on_the_way = any(wire.to_gateway or wire.to_peer for wire in self.wires.values())
            if not owed and not on_the_way and not self.behind():
                return
            demand(self.gateway.now_ns < until, f"not answered within {PATIENCE_MS} ms: {owed} {self.behind()}")
            self.gateway.advance(100)

    def behind(self) -> str:
        """A reader that has not yet seen all there is."""
        tail = self.gateway.sequencer.layer.tail(self._log_stream())
        assert not isinstance(tail, StreamError)
        for peer in self.peers:
            if isinstance(peer, KafkaConsumer) and peer.offset < tail.durable:
                return f"{peer.name} at {peer.offset} of {tail.durable}"
            if isinstance(peer, NatsConsumer) and peer.missing(tail.durable):
                return f"{peer.name} never got {peer.missing(tail.durable)}"
        return ""

    def _log_stream(self) -> Any:
        return self.gateway.sequencer.topics.topics[DEFAULT_ACCOUNT, Address(b"ev")].streams[0]

    def read_log(self) -> list[tuple[int, bytes]]:
        """The whole log, as any reader at DURABLE sees it."""
        layer = self.gateway.sequencer.layer
        stream = self._log_stream()
        found: list[tuple[int, bytes]] = []
        at = Position(0)
        while True:
            answer = layer.read(stream, at, 1 << 16, Level.DURABLE)
            if not isinstance(answer, Batches):
                raise Violation(f"the log cannot be read at {at}: {answer}")
            if not answer.data:
                return found
            for data in answer.data:
                found += read_records(data, at)
            at = answer.next

    def check_log(self) -> None:
        self.book.check(self.read_log())

    def check_state(self) -> None:
        """What is there after the last restart, asked on new connections."""
        for peer in self.peers:
            if isinstance(peer, MqttSubscriber):
                peer.check([one for one in self.peers if isinstance(one, MqttPublisher)])
            elif isinstance(peer, NatsOwner):
                topics = self.gateway.sequencer.topics.topics
                streams = self.gateway.sequencer.layer.streams
                peer.check({name: streams[topic.streams[0]].next for (_, name), topic in topics.items()})
            elif isinstance(peer, Redis):
                peer.check(self.ask_redis)
            elif isinstance(peer, KafkaConsumer):
                for group, may_be in peer.groups.items():
                    found = self.ask_kafka(group)
                    demand(found in may_be, f"group {group} is at {found}, not one of {may_be}")
        redis = [peer for peer in self.peers if isinstance(peer, Redis)]
        if redis:
            totals = redis[0].totals
            demand(len(set(totals)) == len(totals), f"INCR gave a number twice: {sorted(totals)}")
            now = int(self.ask_redis(b"GET", b"total") or 0)
            demand(now >= max(totals, default=0), f"the total is {now}, INCR gave {max(totals, default=0)}")

    def ask_redis(self, *words: bytes) -> Any:
        asker = Redis("asker", self.book, self.chance)
        found: list[Any] = []
        asker.answered = lambda kind, about, reply: found.append(reply)  # type: ignore[method-assign]
        self.connect(asker)
        wire = self.wires["asker"]
        asker.ask("ask", None, *words)
        self.deliver(wire, len(wire.to_gateway))
        for _ in range(100):
            self.settle()
            self.receive(wire, whole=True)
            if found:
                break
            self.gateway.advance(10)
        demand(found, f"{words} is not answered")
        self.lose("asker")
        wire.client.close()
        if isinstance(found[0], Exception):
            raise Violation(f"{words} was answered {found[0]}")
        return found[0]

    def ask_kafka(self, group: str) -> int:
        """The committed offset of a group, asked on a new connection."""
        asker = KafkaConsumer("asker", self.book, self.chance)
        found: list[int] = []
        asker._committed = lambda key, message, about: found.append(message.topics[0].partitions[0].committed_offset)  # type: ignore[method-assign]
        self.connect(asker)
        wire = self.wires["asker"]
        asker.ask_committed(group, None)
        self.deliver(wire, len(wire.to_gateway))
        for _ in range(100):
            self.settle()
            self.receive(wire, whole=True)
            if found:
                break
            self.gateway.advance(10)
        demand(found, f"the offset of group {group} is not answered")
        self.lose("asker")
        wire.client.close()
        return found[0]

    def check_rot(self) -> None:
        """One bit of one file flips: what is then read is right, or an error; never something else."""
        before = self.read_log()
        self.gateway.sequencer.close()
        paths = [path for path in self.files.paths() if self.files.content(path)]
        path = self.chance.choice([path for path in paths if path.endswith(".log")] or paths)
        bit = self.chance.randrange(8 * len(self.files.content(path)))
        self.files = self.files.killed()
        self.files.flip(path, bit)
        self.happen(f"bit {bit} of {path} flips")
        try:
            self.now_ns = self.gateway.now_ns + 1_000_000
            self.gateway = Gateway(
                0,
                self.executors(),
                self.factories(),
                self.engine(),
                False,
                {"resp": Durability.SYNC},
                self.now_ns,
                self.load,
            )
            after = self.read_log()
        except (EngineError, KeyError):
            return
        except Violation as error:
            if "cannot be read" in str(error):
                return
            raise
        demand(after == before, f"after bit {bit} of {path} flipped, the log is another: {after} was {before}")


def _resp_settings() -> Any:
    from protocols.resp.session import Settings

    return Settings(appendfsync="always")


def run(seed: int, protocols: Sequence[str] = PROTOCOLS, steps: int = STEPS) -> str:
    """One run; answers its digest.

    Raises:
        Violation: with the command that replays it.
    """
    simulation = None
    try:
        simulation = Simulation(seed, protocols, steps)
        return simulation.run()
    except Exception as error:
        happened = "\n  ".join(simulation.log[-30:]) if simulation is not None else ""
        named = "" if tuple(protocols) == PROTOCOLS else f" --protocols {','.join(protocols)}"
        named += "" if steps == STEPS else f" --steps {steps}"
        command = f"python -m conformance.simulation --seed {seed} --runs 1{named}"
        raise Violation(f"seed {seed}: {type(error).__name__}: {error}\n  {happened}\nreplay: {command}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.simulation", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each further one has the next")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--steps", type=int, default=STEPS, help="of each run")
    parser.add_argument("--protocols", default=",".join(PROTOCOLS), help="comma-separated")
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    digest = hashlib.blake2b(digest_size=12)
    failures = []
    for seed in range(chosen.seed, chosen.seed + chosen.runs):
        try:
            digest.update(run(seed, chosen.protocols.split(","), chosen.steps).encode())
        except Violation as violation:
            failures.append(seed)
            print(violation)
            if chosen.runs == 1:
                traceback.print_exception(violation.__cause__)
    seconds = time.monotonic() - began
    print(
        f"simulation: {chosen.runs} runs from seed {chosen.seed}, {len(failures)} violations, digest {digest.hexdigest()}"
    )
    print(f"simulation: {seconds:.1f} s, {chosen.runs / max(seconds, 1e-9):.1f} seeds/s")
    if failures:
        print(f"simulation: failing seeds {failures}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
