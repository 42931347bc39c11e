"""Compute types of this engine against its float32 and against other engines' low precision."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from rnnengine.bench.layer import LayerResult
from rnnengine.bench.peers import COMPUTE_TYPES, LOW_PEERS, own_name
from rnnengine.bench.record import header, heading, versions

__all__ = ["BARS", "Bar", "as_json", "head", "judge", "line", "markdown"]

Row: TypeAlias = Mapping[str, Any]
"""What the record holds of one case."""

SLACK = 1.05
"""Medians of the same work differ by as much; beyond it, ``auto`` made a case slower."""


@dataclass(frozen=True)
class Bar:
    """What a compute type is held to, as a ratio of times in one run.

    Attributes
    ----------
    kind : str
        Compute type.
    against : str
        The engine that takes this many times as long.
    grid : str
        Part of the grid.
    sizes : (int, int)
        Smallest and largest H.
    least : float
    """

    kind: str
    against: str
    grid: str
    sizes: tuple[int, int]
    least: float

    def __str__(self) -> str:
        low, high = self.sizes
        return (
            f"{self.kind} against {self.against}, {_GRIDS[self.grid]},"
            f" H {low if low == high else f'{low} to {high}'}"
        )

    def ratios(self, rows: Sequence[Row]) -> Iterator[tuple[float, str]]:
        """The ratio of each case that the bar is about, and the case's name."""
        for row in rows:
            times, own = row["timings"], own_name(self.kind)
            in_range = self.sizes[0] <= row["hidden"] <= self.sizes[1]
            if in_range and row["grid"] == self.grid and {own, self.against} <= set(times):
                yield times[self.against]["median_us"] / times[own]["median_us"], row["name"]


_GRIDS = {"step": "one step", "sequence": "T = 100", "rows": "T = 100 B = 16", "batch": "B = 64"}
_FLOAT, _ORT = "rnnengine", "onnxruntime, int8"
_ALL, _LARGE = (16, 2048), (256, 1024)

BARS = (
    Bar("int8", _FLOAT, "step", _LARGE, 3.0),
    Bar("int8", _FLOAT, "step", (128, 128), 2.0),
    Bar("bfloat16", _FLOAT, "step", _LARGE, 1.6),
    Bar("auto", _FLOAT, "step", _ALL, 1 / SLACK),
    Bar("int8", _FLOAT, "sequence", _LARGE, 2.3),
    Bar("int8", _FLOAT, "batch", _LARGE, 1.6),
    Bar("int8_fast", _FLOAT, "batch", _LARGE, 3.0),
    Bar("int8", _ORT, "step", (64, 1024), 1.5),
    Bar("int8_fast", _ORT, "sequence", (64, 1024), 1.15),
    Bar("int8_fast", _ORT, "rows", (64, 1024), 1.15),
    Bar("int8", _ORT, "sequence", (64, 256), 0.9),
    Bar("int8", _ORT, "sequence", (512, 1024), 0.75),
)


def head(kinds: Sequence[str]) -> str:
    """Titles over the lines."""
    return f"{'layer':24s} {'float32 us':>11s}" + "".join(
        f" {name:>20s}" for name in (*kinds, *LOW_PEERS)
    )


def line(result: LayerResult, kinds: Sequence[str]) -> str:
    """One case: microseconds, and for each compute type float32's time over its own."""
    times = {name: timing.median_us for name, timing in result.timings.items()}
    base = times["rnnengine"]
    shown = [f"{result.case.name:24s} {base:11.2f}"]
    for name in (*map(own_name, kinds), *LOW_PEERS):
        text = f"{times[name]:.2f} ({base / times[name]:.2f}x)" if name in times else ""
        shown.append(f"{text:>20s}")
    return " ".join(shown)


def as_json(results: Sequence[LayerResult], cpu: Mapping[str, object]) -> dict[str, Any]:
    """Everything measured, with machine, versions and date."""
    rows = [
        asdict(result.case)
        | {
            "name": result.case.name,
            "rounds": result.rounds,
            "timings": {name: asdict(timing) for name, timing in result.timings.items()},
            "max_abs_difference": result.apart,
        }
        for result in results
    ]
    return header("low", cpu) | {"results": rows}


def judge(rows: Sequence[Row]) -> list[str]:
    """One line for each bar that the cases say something about, and every case below it."""
    lines = []
    for bar, found in _judged(rows):
        under = [f"  under it: {name}: {ratio:.2f}x" for ratio, name in found if ratio < bar.least]
        least, mean = _least_and_mean(found)
        word = "MISSED" if under else "met"
        lines.append(f"{bar}: {least:.2f}x (mean {mean:.2f}x), bar {bar.least:.2f}x: {word}")
        lines += under
    return lines


def _judged(rows: Sequence[Row]) -> Iterator[tuple[Bar, list[tuple[float, str]]]]:
    for bar in BARS:
        found = [*bar.ratios(rows)]
        if found:
            yield bar, found


def _least_and_mean(found: Sequence[tuple[float, str]]) -> tuple[float, float]:
    ratios = [ratio for ratio, _ in found]
    return min(ratios), math.exp(sum(map(math.log, ratios)) / len(ratios))


def markdown(record: Mapping[str, Any]) -> str:
    """A record as Markdown tables: the ratios that are asked for, and the times."""
    rows = record["results"]
    names = {name for row in rows for name in row["timings"]}
    kinds = [kind for kind in COMPUTE_TYPES if own_name(kind) in names]
    peers = [name for name in LOW_PEERS if name in names]
    lines = [
        f"{heading(record)}; {versions(record, peers) or 'no peers'};"
        " one thread, medians of interleaved rounds.",
        "",
        "| ratio of times | cases | least | geometric mean | asked |",
        "|---|---:|---:|---:|---:|",
    ]
    for bar, found in _judged(rows):
        least, mean = _least_and_mean(found)
        lines.append(f"| {bar} | {len(found)} | {least:.2f} | {mean:.2f} | {bar.least:.2f} |")
    titles = ["layer, I = H", "float32", *kinds, *peers]
    lines += ["", f"| {' | '.join(titles)} |", "|---" + "|---:" * (len(titles) - 1) + "|"]
    for row in rows:
        cells = [_time(row, name) for name in ("rnnengine", *map(own_name, kinds), *peers)]
        lines.append(f"| {row['name']}, us | {' | '.join(cells)} |")
    return "\n".join(lines)


def _time(row: Row, name: str) -> str:
    """Microseconds of an engine; nothing where it has no such layer."""
    there = name in row["timings"]
    return f"{row['timings'][name]['median_us']:.2f}" if there else ""
