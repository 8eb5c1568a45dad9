"""The tree as the tidy tests see it: files of ours, parsed once."""

from __future__ import annotations

import ast
import functools
import pathlib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ("substrate", "protocols", "transports", "conformance", "thalweg")
PROTOCOLS = ("kafka", "nats", "mqtt", "resp")
KERNELS = (ROOT / "kernels.txt").read_text().split()


def python_files(*tops: str) -> list[pathlib.Path]:
    """Every ``.py`` of these top-level folders, sorted."""
    return sorted(path for top in tops or PACKAGES for path in (ROOT / top).rglob("*.py") if "build" not in path.parts)


def shown(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def module_of(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def parsed(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@functools.cache
def imports_of(path: pathlib.Path) -> list[tuple[str, int]]:
    """Every module imported anywhere in the file, with its line."""
    return list(_imports_of(path))


def _imports_of(path: pathlib.Path) -> Iterator[tuple[str, int]]:
    """``from a.b import c`` counts as ``a.b``, or as ``a.b.c`` where that is a module of ours. What only the type checker sees counts too."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module_of(path).split(".")
                drop = node.level - (path.name == "__init__.py")
                base = ".".join([*package[: len(package) - drop], *filter(None, [base])])
            for name in node.names:
                inner = f"{base}.{name.name}"
                yield (inner if is_module(inner) else base), node.lineno


@functools.cache
def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return name.split(".")[0] in PACKAGES and (path.with_suffix(".py").exists() or (path / "__init__.py").exists())
