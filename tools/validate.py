"""Compare a model with float64 and the framework that wrote it: see validate --help."""

from __future__ import annotations

import sys

from rnnengine.cli import main

if __name__ == "__main__":
    sys.exit(main(["validate", *sys.argv[1:]]))
