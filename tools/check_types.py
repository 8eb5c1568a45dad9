"""Runs mypy --strict over the packages, leniently over the kernels: ``python tools/check_types.py [mypy's arguments]``.

mypy takes no list from a file, and the list of kernels exists once (``kernels.txt``).
So the configuration that mypy sees is written here: that of ``pyproject.toml`` and one more override.
Kernels are typed for Cython: C types as annotations and decorators from ``cython`` mean nothing to mypy.
"""

from __future__ import annotations

import json
import subprocess
import sys

import build_kernels

LENIENT = """
[[tool.mypy.overrides]]
module = {kernels}
disallow_any_decorated = false
disallow_any_generics = false
disallow_incomplete_defs = false
disallow_subclassing_any = false
disallow_untyped_calls = false
disallow_untyped_decorators = false
disallow_untyped_defs = false
warn_no_return = false
warn_return_any = false
warn_unreachable = false
warn_unused_ignores = false
disable_error_code = [
    "arg-type", "assignment", "attr-defined", "call-overload", "has-type", "index", "misc", "name-defined", "no-redef",
    "operator", "override", "return-value", "type-arg", "union-attr", "valid-type", "var-annotated",
]
"""


def main() -> int:
    settings = build_kernels.ROOT / "build" / "mypy.toml"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(
        (build_kernels.ROOT / "pyproject.toml").read_text() + LENIENT.format(kernels=json.dumps(build_kernels.names()))
    )
    command = [sys.executable, "-m", "mypy", "--config-file", str(settings), *sys.argv[1:]]
    return subprocess.run(command, cwd=build_kernels.ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
