"""Compiles the kernels that are stale, in place: ``python tools/build_kernels.py [--force] [--list] [module ...]``.

A kernel is a Python file named in ``kernels.txt`` that Cython compiles in pure-Python mode.
It is stale when its ``.py``, its ``.pxd`` or any ``.pxd`` that it cimports (through any number of steps) is newer than its shared object.
Without a compiler, without ``Python.h`` or with ``THALWEG_PURE=1`` nothing is built and one line says why: the same files run as Python.

``setup.py`` (wheels), ``tests/conftest.py`` (the guard against stale kernels) and ``make kernels`` use the functions below,
so that the list of kernels, the compiler's options and the meaning of *stale* exist once.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIST = ROOT / "kernels.txt"
SCRATCH = ROOT / "build" / "cython"
DIRECTIVES: dict[str, bool | int] = {
    "language_level": 3,
    "boundscheck": True,  # kernels touch untrusted bytes
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
}
C_OPTIONS = ["-O2", "-Wno-unused-function", "-Wno-unreachable-code", "-Wno-sign-compare"]
JOBS = 2
CIMPORT = re.compile(
    r"(?:from|import)\s+cython\.cimports\.(?P<pure>[\w.]+)|^\s*(?:from\s+(?P<source>[\w.]+)\s+)?cimport\s+(?P<module>[\w.]+)",
    re.MULTILINE,
)


def names() -> list[str]:
    """Every kernel's module name, in the order of ``kernels.txt``."""
    return list(dict.fromkeys(LIST.read_text().split()))


def source_of(name: str) -> pathlib.Path:
    return ROOT / (name.replace(".", "/") + ".py")


def built_of(name: str) -> pathlib.Path:
    """Where this interpreter looks for the compiled kernel, whether or not it is there."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return source_of(name).with_suffix(str(suffix))


def sources_of(name: str) -> list[pathlib.Path]:
    """The kernel's ``.py``, and every ``.pxd`` of ours that it sees."""
    found = {source_of(name): None}
    todo = [source_of(name), source_of(name).with_suffix(".pxd")]
    while todo:
        path = todo.pop()
        if not path.exists():
            continue
        found[path] = None
        for match in CIMPORT.finditer(path.read_text()):
            module = match["pure"] or match["source"] or match["module"]
            interface = source_of(module).with_suffix(".pxd")
            if interface.exists() and interface not in found:
                todo.append(interface)
    return list(found)


def is_stale(name: str) -> bool:
    """True when there is no compiled kernel, or it is older than what it is made of."""
    built = built_of(name)
    if not built.exists():
        return True
    newest = max(path.stat().st_mtime for path in sources_of(name))
    return built.stat().st_mtime < newest


def is_outdated(name: str) -> bool:
    """True when there is a compiled kernel that does not do what its ``.py`` says: Python would import it nevertheless."""
    return built_of(name).exists() and is_stale(name)


def why_not_compiled() -> str | None:
    """The reason for which kernels stay Python on this machine, or None."""
    if os.environ.get("THALWEG_PURE") == "1":
        return "THALWEG_PURE=1"
    if shutil.which(compiler()[0]) is None:
        return f"no C compiler ({compiler()[0]})"
    if not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists():
        return "no Python.h (Debian: python3.11-dev)"
    return None


def compiler() -> list[str]:
    return (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()


def build(name: str) -> str | None:
    """Compile one kernel; the compiler's words if that fails.

    The shared object is renamed into place: a process that runs the older one keeps it.
    Its time is that at which the sources were read, so that an edit during the compilation counts as newer.
    """
    began = time.time()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    text = SCRATCH / f"{name}.c"
    directives = [word for key, value in DIRECTIVES.items() for word in ("-X", f"{key}={value}")]
    cython = [sys.executable, "-m", "cython", *directives, "--module-name", name, "-I", str(ROOT), "-o", str(text)]
    done = subprocess.run([*cython, str(source_of(name).relative_to(ROOT))], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        return done.stdout + done.stderr
    scratch = SCRATCH / f"{name}.{os.getpid()}.so"
    link = str(sysconfig.get_config_var("LDSHARED") or "cc -shared").split()
    options = str(sysconfig.get_config_var("CCSHARED") or "-fPIC").split()
    include = [f"-I{sysconfig.get_path('include')}"]
    done = subprocess.run(
        [*compiler(), *link[1:], *options, *C_OPTIONS, *include, str(text), "-o", str(scratch)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return done.stdout + done.stderr
    os.utime(scratch, (began, began))
    os.replace(scratch, built_of(name))
    return None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compile the stale kernels in place.")
    parser.add_argument("module", nargs="*", help="only these (default: all of kernels.txt)")
    parser.add_argument("--force", action="store_true", help="also those that are not stale")
    parser.add_argument("--list", action="store_true", help="say which are stale and build nothing")
    options = parser.parse_args(arguments)
    wanted = options.module or names()
    missing = [name for name in wanted if not source_of(name).exists()]
    if missing:
        print(f"kernels: no source for {', '.join(missing)} (see kernels.txt)", file=sys.stderr)
        wanted = [name for name in wanted if name not in missing]
    stale = [name for name in wanted if options.force or is_stale(name)]
    if options.list:
        print("\n".join(f"{'stale' if name in stale else 'fresh'}  {name}" for name in wanted))
        return 0
    reason = why_not_compiled()
    if reason:
        print(f"kernels: not compiled: {reason}; everything works, slower")
        return 0
    failed = 1 if missing and options.module else 0
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for name, words in zip(stale, pool.map(build, stale), strict=True):
            print(f"kernels: {'FAILED' if words else 'built'} {name}", flush=True)
            if words:
                print(words, file=sys.stderr)
                failed = 1
    print(f"kernels: {len(stale)} built or tried, {len(wanted) - len(stale)} fresh")
    return failed


if __name__ == "__main__":
    sys.exit(main())
