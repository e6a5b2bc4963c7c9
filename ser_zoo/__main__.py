"""``python -m ser_zoo`` is ``ser-zoo``."""

from __future__ import annotations

import sys

from ser_zoo.cli import main

if __name__ == "__main__":
    sys.exit(main())
