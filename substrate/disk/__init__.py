"""The default engine: journal, segments and group commit in one directory of one machine."""

from substrate.disk.engine import DiskEngine

__all__ = ["DiskEngine"]
