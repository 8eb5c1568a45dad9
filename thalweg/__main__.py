"""``thalweg`` on the command line; ``python -m thalweg`` where no folder of the caller's own shadows our packages."""

from __future__ import annotations

import sys

from thalweg.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
