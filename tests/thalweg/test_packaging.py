"""The distribution builds from its own sdist, compiled or not, and holds what it needs."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import build_kernels

ROOT = pathlib.Path(__file__).resolve().parents[2]
IGNORED = shutil.ignore_patterns(
    ".git", ".venv*", "build", "data", "*.so", "__pycache__", ".*_cache", ".hypothesis", "tests", "golden"
)


def build(folder: pathlib.Path, target: str, out: pathlib.Path) -> pathlib.Path:
    """What setuptools makes of the tree in ``folder``, without a compiler."""
    code = f"import setuptools.build_meta as m; print(m.build_{target}({str(out)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "THALWEG_PURE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out / done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_the_sdist_builds_a_wheel_that_holds_every_module_and_interface_file(tmp_path: pathlib.Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=IGNORED)
    sdist = build(tree, "sdist", tmp_path)
    with tarfile.open(sdist) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    unpacked = next((tmp_path / "unpacked").iterdir())
    assert (unpacked / "kernels.txt").exists()
    assert not list(unpacked.rglob("*.so"))
    with zipfile.ZipFile(build(unpacked, "wheel", tmp_path)) as wheel:
        held = set(wheel.namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for top in ("substrate", "protocols", "transports", "conformance", "thalweg")
        for pattern in ("*.py", "*.pxd", "py.typed", "*.html", "*.css", "*.js", "*.svg")
        for path in (ROOT / top).rglob(pattern)
    }
    assert not wanted - held


def test_the_kernels_of_the_environment_are_those_of_the_list() -> None:
    assert build_kernels.names() == (ROOT / "kernels.txt").read_text().split()


def test_a_missing_compiler_is_said_in_one_line_and_is_no_error() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/build_kernels.py"), "--force"],
        env={**os.environ, "CC": "no-such-compiler", "THALWEG_PURE": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == (
        "kernels: not compiled: no C compiler (no-such-compiler); everything works, slower"
    )


def test_a_kernel_is_stale_when_an_interface_that_it_uses_is_newer(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_kernels, "ROOT", tmp_path)
    (tmp_path / "one.pxd").write_text("")
    (tmp_path / "two.pxd").write_text("from one cimport One\n")
    (tmp_path / "kernel.py").write_text("from cython.cimports.two import Two\n")
    built = build_kernels.built_of("kernel")
    assert build_kernels.is_stale("kernel")
    assert not build_kernels.is_outdated("kernel")
    built.write_text("")
    assert not build_kernels.is_stale("kernel")
    newest = built.stat().st_mtime + 10
    os.utime(tmp_path / "one.pxd", (newest, newest))
    assert build_kernels.is_outdated("kernel")


def test_the_pure_switch_prefers_python_over_compiled_in_a_process_of_its_own() -> None:
    code = "import thalweg, protocols.outbox as o; print(o.__file__.endswith('.py'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "THALWEG_PURE": "1"}, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "True", done.stderr
