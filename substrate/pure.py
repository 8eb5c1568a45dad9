"""``THALWEG_PURE=1`` at run time: kernels are imported as Python though their compiled form lies beside them.

Installed by ``thalweg``, ``conformance`` and the tests before anything of ours is imported.
The variable is inherited, so that processes started by a pure process are pure.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import pathlib
import sys
from collections.abc import Sequence
from types import ModuleType

PACKAGES = frozenset({"substrate", "protocols", "transports", "conformance", "thalweg"})


class PureFinder(importlib.abc.MetaPathFinder):
    """Finds a module's ``.py`` before its shared object."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        top, _, rest = fullname.partition(".")
        if top not in PACKAGES or not rest or path is None:
            return None
        for folder in path:
            source = pathlib.Path(folder, fullname.rpartition(".")[2] + ".py")
            if source.exists():
                return importlib.util.spec_from_file_location(fullname, source)
        return None


def install_if_asked() -> bool:
    """True when kernels run uncompiled because ``THALWEG_PURE=1`` says so. Calling twice is allowed."""
    if os.environ.get("THALWEG_PURE") != "1":
        return False
    if not any(isinstance(finder, PureFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, PureFinder())
    return True
