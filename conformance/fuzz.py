"""Random clients against the sessions of a whole gateway in one thread: ``python -m conformance.fuzz --seconds 20``.

An *episode* is a gateway over memory, two or three connections of one protocol (or, ``mixed``, one of each on a topic that
all of them reach), and some dozens of steps: messages of the protocol's grammar (``conformance.fuzz_grammars``), broken ones, raw bytes, all cut anywhere; time passing; connections that
vanish. In every second episode each answer of the port comes later and in another order; in half of them nobody may do
everything. A seed and an episode's number
give the same steps again: ``--episode`` runs one alone, and a failing one is shortened before it is printed.

What must hold: nothing but WireError leaves a session; no call takes longer than ``CALL_S_MAX`` of CPU; what comes out is
bounded by what went in; what a message costs grows with its size, not with the square of it (``swells``). Of the codecs
alone (``conformance.fuzz_codecs``): however a stream is cut, the same frames come out.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import gc
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from conformance.bad_clients import mqtt_text, number32
from conformance.fuzz_codecs import CODECS, check_codec
from conformance.fuzz_grammars import GRAMMARS, Swell, kafka_frame
from conformance.harness import Client, Factories, Harness, user
from substrate.api import DEFAULT_ACCOUNT

MIXED = "mixed"
SESSIONS = (*sorted(GRAMMARS), MIXED)
EPISODES = (*SESSIONS, *CODECS)
CALL_S_MAX = 0.08
CALL_BYTES_MAX = 64 * 1024
"""A step is at most so long: the driver never gives a session much more at once."""
OUTPUT_BYTES_MAX = 32 * 1024 * 1024
"""Of one step."""
STEPS = 40
RIGHTS = {
    "read": ["orders/#", "a/#", "k1", "_thalweg/#"], "write": ["orders/#", "b/#", "k1", "k2"], "manage": ["orders", "a"],
    "deny_read": ["orders/42"], "deny_write": ["orders/eu"],
}  # fmt: skip
"""Of everybody, in every second pair of episodes: enough that some is allowed, and not enough for the rest."""
SWELL_SIZES = (1000, 4000)
SWELL_RATIO_MAX = 9.0
"""Four times the size may cost at most so much more: linear is 4, quadratic 16."""
SWELL_S_MIN = 0.02
"""Cheaper than this is not judged: noise."""
SHORTEN_S_MAX = 10.0
SHOWN_BYTES = 400
"""Of one step; the seed and the episode's number give all of it."""
ENDLESS_S = 1
"""CPU seconds of one call after which it is broken off."""


@dataclass(frozen=True)
class Step:
    """``kind``: ``connect`` (protocol), ``send`` (data), ``close``, ``stall`` (the peer stops reading), ``advance``
    (milliseconds)."""

    kind: str
    client: int = 0
    data: bytes = b""
    milliseconds: int = 0
    protocol: str = ""

    def __str__(self) -> str:
        if self.kind == "advance":
            return f"advance {self.milliseconds} ms"
        if self.kind == "connect":
            return f"connect {self.client} by {self.protocol}"
        whole = len(self.data) <= SHOWN_BYTES
        shown = repr(self.data) if whole else f"{self.data[:SHOWN_BYTES]!r}... ({len(self.data)} bytes)"
        return f"{self.kind} {self.client} {shown}"


class Endless(Exception):
    """A call was broken off."""


@contextlib.contextmanager
def broken_off_after(seconds: float) -> Iterator[None]:
    """Raise Endless in whatever still runs after so many seconds of CPU (main thread only: it is a signal)."""

    def break_off(number: int, frame: object) -> None:
        raise Endless(f"still running after {seconds} s of CPU")

    before = signal.signal(signal.SIGVTALRM, break_off)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@dataclass(frozen=True)
class Failure:
    protocol: str
    what: str
    steps: Sequence[Step]
    trace: str = ""

    def __str__(self) -> str:
        steps = "\n".join(f"    {step}" for step in self.steps)
        return f"{self.protocol}: {self.what}\n{steps}\n{self.trace}"


# episodes


def make_steps(protocol: str, chance: random.Random) -> list[Step]:
    """What the clients of one episode do; ``mixed``: clients of all four protocols, on the same names."""
    steps: list[Step] = []
    names = list(GRAMMARS) if protocol == MIXED else [protocol] * chance.choice((2, 2, 3))
    grammars = [GRAMMARS[name](chance) for name in names]
    if protocol == MIXED:
        chance.shuffle(grammars)
        topic = number32(1) + mqtt_text(
            b"orders"
        )  # Metadata v1 of one topic makes it: it captures orders and all beneath
        steps += [Step("connect", 9, protocol="kafka"), Step("send", 9, kafka_frame(3, 1, topic))]

    def connect(client: int) -> list[Step]:
        opening = grammars[client].opening() if chance.random() < 0.95 else garbage(chance)
        return [Step("connect", client, protocol=grammars[client].protocol), *cut(client, opening, chance)]

    for client in range(len(grammars)):
        steps += connect(client)
    for _ in range(chance.randrange(5, STEPS)):
        client, kind = chance.randrange(len(grammars)), chance.random()
        grammar = grammars[client]
        if kind < 0.03:
            steps += connect(client) if chance.random() < 0.8 else [Step("close", client)]
        elif kind < 0.06:
            steps.append(Step("advance", milliseconds=chance.choice((1, 100, 2_000, 70_000, 3_600_000))))
        elif kind < 0.08:
            steps.append(Step("stall", client))
        elif kind < 0.85:
            steps += cut(client, b"".join(grammar.message() for _ in range(chance.choice((1, 1, 1, 3, 20)))), chance)
        elif kind < 0.97:
            steps += cut(client, spoil(grammar.message(), grammar.message(), chance), chance)
            steps += connect(client) if chance.random() < 0.6 else []
        else:
            steps += [*cut(client, garbage(chance), chance), *connect(client)]
    return steps


def garbage(chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice((1, 7, 64, 1000)))


def spoil(message: bytes, other: bytes, chance: random.Random) -> bytes:
    """The message with one to three things wrong."""
    data = bytearray(message)
    for _ in range(chance.randrange(1, 4)):
        if not data:
            break
        at, kind = chance.randrange(len(data)), chance.randrange(8)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at] = chance.choice((0, 0x0A, 0x0D, 0x20, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            del data[at : at + chance.randrange(1, 9)]
        elif kind == 3:
            data[at:at] = chance.randbytes(chance.randrange(1, 9))
        elif kind == 4:
            del data[at:]
        elif kind == 5:
            data[at:at] = data[at : at + 32] * chance.choice((1, 50))
        elif kind == 6:
            data[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"9999"))
        else:
            data[at:] = other[chance.randrange(len(other) + 1) :]
    return bytes(data)


def cut(client: int, data: bytes, chance: random.Random) -> list[Step]:
    """The bytes in one piece, in a few, or in many."""
    if not data:
        return []
    pieces = chance.choice((1, 1, 1, 2, 5, 30))
    ends = sorted({chance.randrange(1, len(data) + 1) for _ in range(pieces - 1)} | {len(data)})
    ends = sorted({*ends, *range(CALL_BYTES_MAX, len(data), CALL_BYTES_MAX)})
    return [Step("send", client, data[start:end]) for start, end in zip([0, *ends], ends, strict=False) if end > start]


@functools.cache
def factories() -> Factories:
    """One set of settings a protocol for every episode: what a listener's sessions share (Kafka's codecs) is made once."""
    from protocols.kafka import session as kafka
    from protocols.mqtt import session as mqtt
    from protocols.nats import session as nats
    from protocols.resp import session as resp

    settings = kafka.Settings(), mqtt.Settings(), nats.Settings(), resp.Settings()
    return {
        "kafka": lambda port: kafka.KafkaSession(port, settings[0]),
        "mqtt": lambda port: mqtt.MqttSession(port, settings[1]),
        "nats": lambda port: nats.NatsSession(port, settings[2]),
        "resp": lambda port: resp.RespSession(port, settings[3]),
    }


def run_steps(protocol: str, steps: Sequence[Step], seed: int, delayed: bool, guarded: bool = False) -> Failure | None:
    """The steps on a new gateway, with ``guarded`` one where nobody may do everything; what went wrong first."""
    harness = Harness(seed=seed, factories=factories(), delayed=delayed)
    if guarded:
        harness.users = user("anonymous", None, DEFAULT_ACCOUNT, **RIGHTS)
    clients: dict[int, Client] = {}
    for done, step in enumerate(steps, 1):
        began = time.thread_time()
        try:
            with broken_off_after(ENDLESS_S):
                run_step(harness, clients, step)
        except Exception:
            trace = traceback.format_exc(limit=-8)
            return Failure(protocol, f"{trace.splitlines()[-1][:100]} left the session", steps[:done], trace)
        took = time.thread_time() - began
        if took > CALL_S_MAX and step.kind == "send":
            return Failure(protocol, f"a call took {took * 1000:.0f} ms, limit {CALL_S_MAX * 1000:.0f}", steps[:done])
        for client in clients.values():
            size = len(client.read())
            if size > OUTPUT_BYTES_MAX:
                return Failure(protocol, f"{size} bytes came out of one step, limit {OUTPUT_BYTES_MAX}", steps[:done])
    try:
        with broken_off_after(ENDLESS_S):
            harness.advance(10_000)
            for client in clients.values():
                client.close()
            harness.stop()
    except Exception:
        trace = traceback.format_exc(limit=-8)
        return Failure(protocol, f"{trace.splitlines()[-1][:100]} at the end", steps, trace)
    return None


def run_step(harness: Harness, clients: dict[int, Client], step: Step) -> None:
    if step.kind == "advance":
        harness.advance(step.milliseconds)
    elif step.kind == "connect":
        if step.client in clients:
            clients[step.client].close()
        clients[step.client] = harness.connect(step.protocol, ("127.0.0.1", 40_000 + step.client))
    elif step.client in clients:
        client = clients[step.client]
        if step.kind == "send":
            client.send(step.data)
        elif step.kind == "close":
            client.close()
        else:
            client.reads = False


def run_codec_episode(name: str, chance: random.Random) -> Failure | None:
    """A hundred streams, half of them spoiled, by a codec alone."""
    make = CODECS[name][0]
    for _ in range(100):
        data = make(chance)
        if chance.random() < 0.5:
            data = spoil(data, make(chance), chance)
        try:
            with broken_off_after(ENDLESS_S):
                what = check_codec(name, data, chance)
        except Exception:
            trace = traceback.format_exc(limit=-8)
            return Failure(name, f"{trace.splitlines()[-1][:100]} left the codec", [Step("send", data=data)], trace)
        if what:
            return Failure(name, what, [Step("send", data=data)])
    return None


def run_episode(protocol: str, seed: int, episode: int) -> Failure | None:
    """One episode; a failure comes shortened."""
    chance = random.Random(f"{seed}/{protocol}/{episode}")
    if protocol in CODECS:
        return run_codec_episode(protocol, chance)
    steps = make_steps(protocol, chance)
    delayed, guarded = episode % 2 == 1, episode % 4 >= 2
    collecting = gc.isenabled()
    gc.disable()  # a full collection between two calls is not the session's time
    try:
        failure = run_steps(protocol, steps, seed, delayed, guarded)
        if failure is not None and "took" in failure.what:
            failure = run_steps(
                protocol, steps, seed, delayed, guarded
            )  # once more: another program may have held the caches
        return shorten(failure, lambda fewer: run_steps(protocol, fewer, seed, delayed, guarded)) if failure else None
    finally:
        if collecting:
            gc.enable()
            gc.collect(1)


def shorten(failure: Failure, run: Callable[[Sequence[Step]], Failure | None]) -> Failure:
    """The same failure with fewer steps, as far as there is time."""
    deadline = time.monotonic() + SHORTEN_S_MAX
    if (again := run(joined(failure.steps))) is not None and again.what == failure.what:
        failure = again
    size = max(1, len(failure.steps) // 2)
    while size:
        at = 0
        while at < len(failure.steps) and time.monotonic() < deadline:
            fewer = [*failure.steps[:at], *failure.steps[at + size :]]
            again = run(fewer)
            if (
                again is not None
                and again.what.split(",")[0].split(" took ")[0] == failure.what.split(",")[0].split(" took ")[0]
            ):
                failure = again
            else:
                at += size
        size //= 2
    return failure


def joined(steps: Sequence[Step]) -> list[Step]:
    """The same bytes in fewer pieces: what one client sends in a row, at once."""
    fewer: list[Step] = []
    for step in steps:
        last = fewer[-1] if fewer else step
        if fewer and step.kind == last.kind == "send" and step.client == last.client:
            fewer[-1] = Step("send", step.client, last.data + step.data)
        else:
            fewer.append(step)
    return fewer


# cost


def cost_of(protocol: str, swell: Swell, size: int, seed: int) -> float:
    """CPU seconds of one message of this size on a new gateway: the least of three."""
    costs = []
    for _ in range(3):
        harness = Harness(seed=seed, factories=factories())
        client = harness.connect(protocol)
        if opening := GRAMMAR_OPENINGS.get(protocol):
            client.send(opening)
        data = swell(size)
        gc.collect()
        gc.disable()  # a collection of whatever else this process holds is not the message's cost
        try:
            began = time.thread_time()
            for start in range(0, len(data), CALL_BYTES_MAX):
                client.send(data[start : start + CALL_BYTES_MAX])
                client.read()
            costs.append(time.thread_time() - began)
        finally:
            gc.enable()
    return min(costs)


GRAMMAR_OPENINGS = {
    "nats": b'CONNECT {"verbose":false,"headers":true}\r\n',
    "mqtt": b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02sw",
}


def check_swell(protocol: str, name: str, seed: int = 0) -> Failure | None:
    """Whether the cost of the message named grows faster than its size."""
    swell = GRAMMARS[protocol].swells[name]
    small, large = (cost_of(protocol, swell, size, seed) for size in SWELL_SIZES)
    if large < SWELL_S_MIN or large < small * SWELL_RATIO_MAX:
        return None
    return Failure(
        protocol,
        f"{name}: {SWELL_SIZES[0]} cost {small * 1000:.1f} ms, {SWELL_SIZES[1]} cost {large * 1000:.1f} ms "
        f"({large / small:.1f} times, limit {SWELL_RATIO_MAX})",
        (),
    )


def fuzz(protocol: str, seed: int, seconds: float) -> tuple[int, Failure | None]:
    """Episodes until the time is over or one fails; how many, and the failure."""
    deadline = time.monotonic() + seconds
    episode = 0
    while time.monotonic() < deadline:
        if failure := run_episode(protocol, seed, episode):
            return episode, failure
        episode += 1
    return episode, None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m conformance.fuzz", description="Random clients against the sessions."
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20, help="for each protocol (20)")
    parser.add_argument("--protocol", choices=EPISODES, action="append", help="only this one; may be repeated")
    parser.add_argument("--episode", type=int, help="only this episode")
    parser.add_argument("--jobs", type=int, default=1, help="so many at once, each in a process of its own (1)")
    options = parser.parse_args(arguments)
    chosen = options.protocol or EPISODES
    if options.jobs > 1 and options.episode is None:
        return fuzz_in_processes(chosen, options.seed, options.seconds, options.jobs)
    failed = [protocol for protocol in chosen if not report(protocol, options.seed, options.seconds, options.episode)]
    return 1 if failed else 0


def report(protocol: str, seed: int, seconds: float, episode: int | None) -> bool:
    """Fuzz one of them, or run that episode alone, and say what was found; whether nothing was."""
    alone = episode is not None
    if episode is not None:
        failure = run_episode(protocol, seed, episode)
    else:
        episode, failure = fuzz(protocol, seed, seconds)
    found = [failure] if failure else []
    swells = GRAMMARS[protocol].swells if protocol in GRAMMARS and not alone else {}
    found += [one for name in swells if (one := check_swell(protocol, name, seed))]
    print(f"{protocol}: seed {seed}, {episode} episodes, {len(swells)} costs, {len(found)} failures")
    for one in found:
        print(f"FAILED (--protocol {protocol!r} --seed {seed} --episode {episode}) {one}")
    return not found


def fuzz_in_processes(protocols: Sequence[str], seed: int, seconds: float, jobs: int) -> int:
    def run(protocol: str) -> int:
        words = ["--protocol", protocol, "--seed", str(seed), "--seconds", str(seconds)]
        done = subprocess.run([sys.executable, "-m", "conformance.fuzz", *words], capture_output=True, text=True)
        print(done.stdout + done.stderr, end="", flush=True)
        return done.returncode

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        return max(pool.map(run, protocols))


if __name__ == "__main__":
    sys.exit(main())
