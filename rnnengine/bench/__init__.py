"""Benchmarks against other engines, in one run on one machine; ``tools/bench.py`` is the entry."""
