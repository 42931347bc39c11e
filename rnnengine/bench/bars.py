"""The full grid's results held against what is asked of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rnnengine.bench.layer import LayerResult

__all__ = ["judge"]

_STEP_BARS = {16: 5.0, 32: 5.0, 64: 3.5, 128: 2.0, 256: 1.4, 512: 1.1, 1024: 0.97}


def judge(results: Sequence[LayerResult]) -> list[str]:
    """One line for each part of the grid: means, and every point under its bar."""
    lines = []
    for name in dict.fromkeys(r.case.grid for r in results if r.case.grid):
        part = [r for r in results if r.case.grid == name]
        mean = math.exp(sum(math.log(r.ratio) for r in part) / len(part))
        under = [text for r in part for text in _misses(r)]
        lines.append(
            f"{name}: geometric mean {mean:.2f}x over the fastest peer, {len(part)} points"
        )
        lines += [f"  under its bar: {text}" for text in under]
    return lines


def _misses(result: LayerResult) -> Iterator[str]:
    """What a point falls short of."""
    case, own = result.case, result.own.median_us
    bar, limit = _bar(result), result.roof.seconds * 1e6
    if result.ratio < bar:
        yield f"{case.name}: {result.ratio:.2f}x {result.fastest_peer}, bar {bar:.2f}x"
    if case.grid == "step" and own > 1.15 * limit + 0.6:
        yield f"{case.name}: {own:.2f} us, bar 1.15 x {limit:.2f} us + 0.6 us"
    if case.grid == "sequence" and case.hidden >= 128 and own > 1.15 * limit:
        yield f"{case.name}: {own:.1f} us, bar 1.15 x {limit:.1f} us"
    if case.grid == "batch" and case.batch >= 16 and case.hidden >= 256:
        flops = case.projection_flops + case.recurrent_flops * case.steps
        share = flops / (own * 1e-6) / result.roof.fma_peak
        if share < 0.92:
            yield f"{case.name}: {share:.0%} of the FMA peak, bar 92%"
    alone = result.timings.get("rnnengine, 1 thread")
    wanted = {"threads": 1.5, "deep": 1.6}.get(case.grid, 1.0)
    if alone and alone.median_us / own < wanted:
        yield f"{case.name}: {alone.median_us / own:.2f}x of one thread, bar {wanted:.1f}x"
    avx2 = result.timings.get("rnnengine, avx2")
    if avx2:
        peer = result.timings[result.fastest_peer].median_us
        if avx2.median_us > peer:
            yield f"{case.name}: AVX2 {peer / avx2.median_us:.2f}x {result.fastest_peer}, bar 1.00x"
        if case.hidden >= 128 and avx2.median_us > 1.15 * own:
            yield f"{case.name}: AVX2 takes {avx2.median_us / own:.2f}x of AVX-512, bar 1.15x"


def _bar(result: LayerResult) -> float:
    case = result.case
    if case.grid == "step":
        return _STEP_BARS.get(case.hidden, 1.0)
    if case.grid == "sequence":
        return 1.6 if case.hidden <= 64 else 1.0
    return {"batch": 0.97, "threads": 1.05, "deep": 1.2}[case.grid]
