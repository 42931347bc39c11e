"""``python -m rnnengine``."""

from __future__ import annotations

import sys

from rnnengine.cli import main

if __name__ == "__main__":
    sys.exit(main())
