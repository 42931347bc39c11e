"""Entry to the benchmarks: ``python tools/bench.py layer --help``."""

import sys
from pathlib import Path

from rnnengine.bench.command import main

if __name__ == "__main__":
    sys.exit(main(root=Path(__file__).resolve().parent.parent))
