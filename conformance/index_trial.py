"""What an address index of many addresses costs: memory, appends, ``last`` warm and cold, opening with and without its files.

python -m conformance.index_trial DIR --addresses 1000000
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Sequence

from conformance.stream_layer import ORDERS, Bench
from substrate.api import Address, Found, Position
from substrate.disk.engine import DiskEngine
from substrate.disk.options import Options
from substrate.engine import Engine
from substrate.files import RealFiles
from substrate.runs import SUFFIX


class Folder:
    """A disk engine as a gateway has it."""

    can: frozenset[str] = frozenset()

    def __init__(self, root: str) -> None:
        self._root = root
        self.files = RealFiles(root)

    def engine(self) -> Engine:
        self.files = RealFiles(self._root)
        return DiskEngine(self.files, options=Options())

    def settle(self) -> None:
        while self.files.wait():
            pass

    def fail(self) -> None:
        raise NotImplementedError

    def lose(self) -> None:
        raise NotImplementedError


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def mean_us(call: Callable[[int], object], numbers: Sequence[int]) -> float:
    began = time.process_time()
    for number in numbers:
        call(number)
    return (time.process_time() - began) / len(numbers) * 1e6


def measure(root: str, addresses: int, turn: int = 200) -> dict[str, float]:
    """Figures by name; each address gets one record of 16 bytes, in a random order, then a tenth of them a second one."""
    bench = Bench(Folder(root))
    bench.create()
    chance = random.Random(1)
    order = list(range(addresses))
    chance.shuffle(order)
    order += chance.sample(order, addresses // 10)
    before = resident_bytes()
    bench.layer.query("last", ORDERS, Address(b"none"))
    longest = 0.0
    began = time.process_time()
    for at in range(0, len(order), turn):
        for number in order[at : at + turn]:
            bench.put(b"0123456789abcdef", address=b"kv/bucket/%07d" % number)
        turn_began = time.process_time()
        bench.layer.commit()
        longest = max(longest, time.process_time() - turn_began)
        bench.storage.settle()
    figures = {"append_us": (time.process_time() - began) / len(order) * 1e6, "longest_commit_ms": longest * 1e3}
    figures["resident_mb"] = (resident_bytes() - before) / 1e6
    some = chance.sample(order[:addresses], 2000)
    last = {number: position for position, number in enumerate(order)}

    def ask(number: int) -> None:
        found = bench.layer.query("last", ORDERS, Address(b"kv/bucket/%07d" % number))
        assert found == Found(Position(last[number])), (number, found)

    figures["last_cold_us"] = mean_us(ask, some)
    figures["last_warm_us"] = mean_us(ask, some[:100] * 20)
    figures["last_absent_us"] = mean_us(
        lambda number: bench.layer.query("last", ORDERS, Address(b"kv/no/%d" % number)), some
    )
    made = bench.layer.streams[ORDERS].index
    assert made is not None
    figures["runs"] = len(made.runs)
    bench.layer.close()
    bench._open()
    bench.create()
    began = time.process_time()
    ask(some[0])
    figures["reopened_first_ms"] = (time.process_time() - began) * 1e3
    bench.layer.close()
    for folder, _, names in os.walk(root):
        for name in names:
            if name.endswith(SUFFIX):
                os.unlink(os.path.join(folder, name))
    bench._open()
    bench.create()
    began = time.process_time()
    ask(some[0])
    figures["rebuilt_first_ms"] = (time.process_time() - began) * 1e3
    bench.layer.close()
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="index_trial", description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("folder")
    parser.add_argument("--addresses", type=int, default=1_000_000)
    options = parser.parse_args(argv)
    for name, figure in measure(options.folder, options.addresses).items():
        print(f"{name:20} {figure:12.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
