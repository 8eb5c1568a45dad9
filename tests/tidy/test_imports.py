"""Who may import what, by kind of file: an allow list, because a deny list leaks."""

from __future__ import annotations

import pathlib
import re
import sys
import tomllib
from collections.abc import Iterator

from tests.tidy.source import KERNELS, PACKAGES, PROTOCOLS, ROOT, imports_of, module_of, python_files, shown

PURE = {
    "__future__", "abc", "array", "base64", "binascii", "bisect", "collections", "collections.abc", "contextlib",
    "copy", "dataclasses", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "hmac", "io", "itertools", "json", "math",
    "operator", "re", "string", "struct", "sys", "types", "typing", "unicodedata", "zlib",
    "annotated_types", "crc32c", "cramjam", "cython", "lupa", "pydantic", "sortedcontainers",
}  # fmt: skip
"""No loop, socket, thread, clock, chance, environment, file or log is reachable by these."""

SEAM = {
    "protocols.api", "protocols.identity", "protocols.outbox", "substrate.address", "substrate.api", "substrate.batch", "substrate.group",
    "substrate.interest",
}  # fmt: skip
"""What any file of a protocol may know besides its own folder."""

KINDS = {
    "wire.py": {"protocols.api", "protocols.outbox", "substrate.group"},
    "errors.py": {"protocols.api", "substrate.api"},
    "mapping.py": {"substrate.address", "substrate.api", "substrate.batch", "substrate.group", "substrate.interest"},
}
"""A codec knows bytes and numbers; the tables know both sides' words; neither knows a session."""

ENGINES = ("substrate.disk", "substrate.memory", "substrate.files", "substrate.journal", "substrate.segment")
"""What no protocol may know, not even the port's own files beside the four folders."""

NOT_FOR_TABLES = {"session", "sessions"}

OUTSIDE_WORLD = {
    "substrate/disk": {"asyncio", "concurrent.futures", "errno", "fcntl", "mmap", "os", "pathlib", "queue", "threading", "time"},
    "substrate/files.py": {"ctypes", "errno", "fcntl", "os", "pathlib", "queue", "resource", "threading", "time"},
    "substrate/jetstream": {"contextlib", "os", "queue", "select", "shutil", "socket", "threading", "time"},
    "substrate/pure.py": {"importlib.abc", "importlib.machinery", "importlib.util", "os", "pathlib"},
}  # fmt: skip
"""Path prefixes in substrate/ that touch files or threads, and by what; all the rest of it is sans-IO."""


def without_cython(name: str) -> str:
    """``cython.cimports.protocols.outbox`` is ``protocols.outbox`` to a reader; C's own library is C's."""
    inner = name.removeprefix("cython.cimports.")
    return "cython" if inner.split(".")[0] in {"cython", "libc", "cpython"} else inner


def foreign_to_protocols(path: pathlib.Path) -> Iterator[str]:
    own = module_of(path).split(".")[1] if path.parent.name in PROTOCOLS else None
    for raw, line in imports_of(path):
        name = without_cython(raw)
        if name.startswith("protocols.") and own is None:  # the seam itself: siblings, never one protocol's folder
            allowed = name.split(".")[1] not in PROTOCOLS
        elif name.startswith("substrate.") and own is None:  # the port joins sessions with the stream layer
            allowed = not name.startswith(ENGINES)
        elif own is not None and name.startswith(f"protocols.{own}"):
            inner = name.split(".")[2] if name.count(".") > 1 else ""
            allowed = path.name not in KINDS or inner not in NOT_FOR_TABLES
        else:
            allowed = name in PURE | KINDS.get(path.name, SEAM)
        if not allowed:
            yield f"{shown(path)}:{line}: imports {name}"


def test_protocols_import_only_what_is_pure_and_the_seam() -> None:
    found = [fault for path in python_files("protocols") for fault in foreign_to_protocols(path)]
    assert not found, "\n".join(found)


def foreign_to_the_substrate(path: pathlib.Path) -> Iterator[str]:
    world = set().union(*(names for start, names in OUTSIDE_WORLD.items() if shown(path).startswith(start)))
    for raw, line in imports_of(path):
        name = without_cython(raw)
        top = name.split(".")[0]
        if not (top == "substrate" or name == "transports.api" or name in PURE | world):
            yield f"{shown(path)}:{line}: imports {name}"


def test_the_substrate_is_sans_io_but_for_its_files() -> None:
    found = [fault for path in python_files("substrate") for fault in foreign_to_the_substrate(path)]
    assert not found, "\n".join(found)


def test_what_uses_cython_is_a_listed_kernel() -> None:
    using = {
        module_of(path)
        for path in python_files("protocols", "substrate", "thalweg")
        if any(raw.split(".")[0] == "cython" for raw, _ in imports_of(path))
    }
    assert using == set(KERNELS), "kernels.txt and the files that import cython differ"


def test_every_listed_kernel_exists_once() -> None:
    missing = [name for name in KERNELS if not (ROOT / (name.replace(".", "/") + ".py")).exists()]
    assert not missing, f"kernels.txt lists what is not there: {missing}"
    assert len(set(KERNELS)) == len(KERNELS), "kernels.txt lists a kernel twice"


def test_every_interface_file_belongs_to_a_kernel() -> None:
    for path in [*(ROOT / "substrate").rglob("*.pxd"), *(ROOT / "protocols").rglob("*.pxd")]:
        assert module_of(path) in KERNELS, f"{shown(path)}: not a kernel"


DISTRIBUTIONS = {"confluent_kafka": "confluent-kafka", "kafka": "kafka-python", "nats": "nats-py", "paho": "paho-mqtt"}
"""Where the import's name is not the distribution's."""


ONLY_WHERE_IT_IS = {"pytest", "pyverbs"}
"""Imported by nobody who does not have it: the pytest plugin is loaded by pytest, RDMA's verbs where they are installed."""


def declared(key: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = project["dependencies"] if key == "run" else project["optional-dependencies"]["test"]
    return {re.split(r"[<>=\[ ]", line)[0].lower() for line in listed}


def foreign_imports(*tops: str) -> dict[str, str]:
    """Distributions of others that these folders import, with a file that does."""
    ours = {*PACKAGES, "tests", "bench", "examples", "build_kernels", "write_docs"}
    found = {}
    for path in python_files(*tops):
        for raw, _ in imports_of(path):
            top = raw.split(".")[0]
            if top not in sys.stdlib_module_names and top not in ours:
                found[DISTRIBUTIONS.get(top, top.replace("_", "-"))] = shown(path)
    return found


def test_what_the_process_imports_is_declared() -> None:
    found = foreign_imports("substrate", "protocols", "transports", "thalweg")
    found = {name: place for name, place in found.items() if name not in ONLY_WHERE_IT_IS}
    assert found.keys() - declared("run") == set(), found
    assert declared("run") - found.keys() == set(), "declared and not imported"


def test_what_tests_import_is_declared() -> None:
    found = foreign_imports("conformance", "tests", "bench", "examples", "tools")
    assert found.keys() - declared("run") - declared("test") == set(), found
