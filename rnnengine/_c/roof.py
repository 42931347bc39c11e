"""Roofs of one core, measured with the kernel table in use: read bandwidth and FMA peak."""

from __future__ import annotations

from time import perf_counter

from rnnengine._c import core, cpu

__all__ = ["fma_peak", "read_bandwidth"]

_SECONDS = 0.004


def _best_rate(work_per_round: float, rounds: int, run: object, tries: int) -> float:
    best = 0.0
    for _ in range(tries):
        start = perf_counter()
        run(rounds)  # type: ignore[operator]
        best = max(best, work_per_round * rounds / (perf_counter() - start))
    return best


def read_bandwidth(nbytes: int, tries: int = 25) -> float:
    """Read a buffer of ``nbytes`` over and over; the best rate seen, in GB/s.

    The buffer stays in the smallest cache level that holds it, so the figure is that level's.
    """
    isa = cpu.chosen()
    data = core.aligned(max(nbytes // 4, 1024))
    data[:] = 0.0
    rounds = max(1, int(_SECONDS * 100e9 / data.nbytes))
    return _best_rate(data.nbytes / 1e9, rounds, lambda n: core.read_floats(isa, data, n), tries)


def fma_peak(tries: int = 25) -> float:
    """Fused multiply-adds on independent registers; the best rate seen, in GFLOP/s of one core."""
    isa = cpu.chosen()
    per_round = core.fma_chain(isa, 1) / 1e9
    return _best_rate(per_round, 1_000_000, lambda n: core.fma_chain(isa, n), tries)
