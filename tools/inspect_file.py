"""Say what is in a model file: see inspect --help."""

from __future__ import annotations

import sys

from rnnengine.cli import main

if __name__ == "__main__":
    sys.exit(main(["inspect", *sys.argv[1:]]))
