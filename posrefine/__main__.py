"""`python -m posrefine` is the command `posrefine`."""

from __future__ import annotations

import sys

from posrefine.command.main import main

if __name__ == "__main__":
    sys.exit(main())
