"""The shape of the tree: the same files in every protocol, names that say something, nothing that nobody uses."""

from __future__ import annotations

import ast
import pathlib
import re
import tomllib
from collections.abc import Iterator

import pytest

from tests.tidy.source import KERNELS, PACKAGES, PROTOCOLS, ROOT, imports_of, module_of, parsed, python_files, shown

BANNED_NAMES = re.compile(r"(^|_)(utils?|helpers?|common|managers?|base|misc)($|_)")
FILES = ("wire.py", "session.py", "mapping.py", "errors.py", "README.md")
LINES_MAX = 900
"""About 600 is meant; this is where it is too much. A kernel may exceed it."""
LONGER = {"conformance/stream_layer.py", "conformance/simulated_peers.py"}
"""Lists of checks and of peers, one after the other, each read by itself."""
MEMOISED = {"protocols/kafka/codec.py", "protocols/kafka/schema.py"}
"""Codecs made on first use, one for each message and version that is spoken: a finite table."""
DRIVER = {"thalweg/connection.py", "thalweg/gateway.py", "conformance/fuzz.py", "conformance/simulation.py",
          "conformance/matrix/cells.py", "conformance/matrix/column.py"}  # fmt: skip
"""Where an exception that nobody expected ends a session, not the process; the fuzzer looks for just those,
the simulated driver does as the driver does, and to a cell of the matrix they are what its client observed."""
CHANGES = {
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft", "remove",
    "setdefault", "update",
}  # fmt: skip
CONTAINERS = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
MAKERS = {"dict", "list", "set", "deque", "defaultdict", "Counter", "OrderedDict", "bytearray", "SortedDict"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("file", FILES)
def test_every_protocol_has_the_same_files(protocol: str, file: str) -> None:
    assert (ROOT / "protocols" / protocol / file).exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_file_of_a_protocol_is_in_its_readme(protocol: str) -> None:
    readme = (ROOT / "protocols" / protocol / "README.md").read_text()
    missing = [
        path.name
        for path in python_files(f"protocols/{protocol}")
        if path.stem != "__init__" and path.name not in readme
    ]
    assert not missing, f"protocols/{protocol}/README.md does not say what these hold: {missing}"


def test_names_say_what_a_file_holds() -> None:
    everywhere = python_files(*PACKAGES, "tests", "bench", "examples", "tools")
    found = [
        shown(path)
        for path in everywhere
        if any(BANNED_NAMES.search(part) for part in path.relative_to(ROOT).with_suffix("").parts)
    ]
    assert not found, f"these names say nothing: {found}"


def test_files_fit_a_head() -> None:
    found = []
    for path in python_files():
        lines = len(path.read_text().splitlines())
        if lines > LINES_MAX and module_of(path) not in KERNELS and shown(path) not in LONGER:
            found.append(f"{shown(path)}: {lines} lines, limit {LINES_MAX}: split by API family")
    assert not found, "\n".join(found)


def test_every_module_begins_with_what_it_is() -> None:
    found = [shown(path) for path in python_files() if path.read_text().strip() and not ast.get_docstring(parsed(path))]
    assert not found, f"no docstring: {found}"


def test_packages_export_and_do_nothing_else() -> None:
    found = []
    for path in python_files():
        if path.name != "__init__.py" or path == ROOT / "thalweg" / "__init__.py":
            continue  # thalweg's is the lazy front door for embedders, and the pure switch
        for node in parsed(path).body:
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_all = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            is_switch = isinstance(node, ast.Expr) and ast.unparse(node) == "install_if_asked()"
            if not (is_text or is_all or is_switch or isinstance(node, ast.Import | ast.ImportFrom)):
                found.append(f"{shown(path)}:{node.lineno}")
    assert not found, f"__init__ exports, nothing else: {found}"


def catches_everything(handler: ast.ExceptHandler) -> bool:
    named = [handler.type] if handler.type else []
    if isinstance(handler.type, ast.Tuple):
        named = list(handler.type.elts)
    broad = not named or any(isinstance(name, ast.Name) and name.id in {"Exception", "BaseException"} for name in named)
    last = handler.body[-1]
    return broad and not (isinstance(last, ast.Raise) and last.exc is None)


def test_only_the_driver_catches_what_nobody_expected() -> None:
    found = [
        f"{shown(path)}:{node.lineno}"
        for path in python_files()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ExceptHandler) and catches_everything(node) and shown(path) not in DRIVER
    ]
    assert not found, f"catches everything, which is the driver's: {found}"


def module_containers(tree: ast.Module) -> dict[str, int]:
    """Names bound at module level to something that can change, with their lines."""
    found = {}
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = getattr(node, "value", None)
        made = isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] in MAKERS
        if isinstance(value, CONTAINERS) or made:
            found.update({target.id: node.lineno for target in targets if isinstance(target, ast.Name)})
    return found


def state_of(path: pathlib.Path) -> Iterator[str]:
    tree = parsed(path)
    tables = module_containers(tree)
    for name, line in tables.items():
        if not (name.isupper() or name.strip("_").isupper() or name == "__all__"):
            yield f"{shown(path)}:{line}: {name} is mutable state of a module"
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in function.decorator_list:
            word = ast.unparse(decorator).split("(")[0].split(".")[-1]
            if word in {"cache", "lru_cache"} and shown(path) not in MEMOISED:
                yield f"{shown(path)}:{function.lineno}: {word} is state of a module"
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                yield f"{shown(path)}:{node.lineno}: global"
            changed = ""
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
                changed = ast.unparse(node.value)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
                changed = ast.unparse(node.func.value)
            if changed in tables:
                yield f"{shown(path)}:{function.lineno}: changes {changed}, a table of the module"


def test_no_module_holds_state() -> None:
    """Tables are constants: upper case, and no function changes them. Nothing is ``global``, nothing memoises."""
    found = [fault for path in python_files("protocols", "substrate") for fault in state_of(path)]
    assert not found, "\n".join(found)


def test_no_module_is_dead() -> None:
    """Every module is imported by another file of the tree, or started by the Makefile, or an entry point."""
    everywhere = python_files(*PACKAGES, "tests", "bench", "examples", "tools")
    imported = {name for path in everywhere for name, _ in imports_of(path) if name != module_of(path)}
    imported |= {name.removeprefix("cython.cimports.") for name in imported}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    entries = [project["scripts"], *project["entry-points"].values()]
    started = set(re.findall(r"-m ([\w.]+)", (ROOT / "Makefile").read_text()))
    started |= {target.partition(":")[0] for several in entries for target in several.values()}
    named = {  # started by its name in another process
        node.value
        for path in everywhere
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    for path in python_files():
        name = module_of(path)
        if path.name == "__init__.py" or name.removesuffix(".__main__") in started:
            continue
        assert name in imported | started | named, f"{shown(path)}: nobody imports it"


TEXT = {".py", ".pxd", ".md", ".toml", ".txt", ".in", ".c", ".h", ".json", ".yaml", ""}
NOT_OURS = {".git", "build", "data", "golden", "dist", "__pycache__"}
MACHINE = re.compile(
    r"(?<![\w.{}])/(work|root|home|opt|mnt)/[\w.]|(?:files\.pythonhosted|pypi)\.org|artifactory|/simple/"
)


def test_nothing_knows_the_machine_it_was_written_on() -> None:
    """No path of one machine, no host of a package registry."""
    found = []
    for path in sorted(ROOT.rglob("*")):
        parts = set(path.relative_to(ROOT).parts)
        if parts & NOT_OURS or any(
            part.startswith((".venv", ".mypy", ".ruff", ".pytest", ".hyp", ".import")) for part in parts
        ):
            continue
        if path.suffix not in TEXT or not path.is_file() or path == pathlib.Path(__file__):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if MACHINE.search(line):
                found.append(f"{shown(path)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_names_of_tests_are_sentences() -> None:
    found = [
        f"{shown(path)}:{node.lineno}: {node.name}"
        for path in python_files("tests")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and len(node.name.split("_")) < 4
    ]
    assert not found, "does not say what holds:\n" + "\n".join(found)
