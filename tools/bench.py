"""Entry to the benchmarks: ``python tools/bench.py layer --help``."""

import sys

from rnnengine.bench.command import main

if __name__ == "__main__":
    sys.exit(main())
