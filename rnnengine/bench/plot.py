"""A record drawn: time against the size with the roof, and the ratio to every peer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["draw"]

_CELLS = ("LSTM", "GRU", "RNN")
_MARKS = {"rnnengine": "o-", "onnxruntime": "s--", "openvino": "^--", "torch": "v--"}


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Draw the one-row cases of a record: a column a cell, rows for time and ratio at each T.

    Parameters
    ----------
    record : mapping
        What ``report.as_json`` made.
    path : Path
        Of the image; its suffix says the format (``.svg``, ``.png``).
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = [r for r in record["results"] if r["batch"] == r["threads"] == r["layers"] == 1]
    rows = [r for r in rows if r["directions"] == 1]
    steps = sorted({r["steps"] for r in rows})
    figure, axes = plt.subplots(
        2 * len(steps), 3, figsize=(13, 6.5 * len(steps)), squeeze=False, layout="constrained"
    )
    for i, count in enumerate(steps):
        for j, cell in enumerate(_CELLS):
            chosen = [r for r in rows if r["steps"] == count and r["cell"] == cell]
            _times(axes[2 * i][j], chosen, f"{cell}, T={count}")
            _ratios(axes[2 * i + 1][j], chosen)
    machine = record["machine"]["processor"]
    figure.suptitle(f"One row, I = H, one thread: {machine}, {record['cpu']['isa']}")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _times(axis: Any, rows: list[dict[str, Any]], title: str) -> None:
    sizes = [r["hidden"] for r in rows]
    for engine, mark in _MARKS.items():
        if rows and engine in rows[0]["timings"]:
            times = [r["timings"][engine]["median_us"] for r in rows]
            axis.plot(sizes, times, mark, label=engine, markersize=4)
    axis.plot(sizes, [r["roof"]["us"] for r in rows], "k:", label="roof")
    _scale(axis, sizes)
    axis.set(title=title, ylabel="us a call", yscale="log")
    axis.legend(fontsize=8)


def _ratios(axis: Any, rows: list[dict[str, Any]]) -> None:
    sizes = [r["hidden"] for r in rows]
    for engine, mark in _MARKS.items():
        if engine != "rnnengine" and rows and engine in rows[0]["timings"]:
            axis.plot(
                sizes,
                [
                    r["timings"][engine]["median_us"] / r["timings"]["rnnengine"]["median_us"]
                    for r in rows
                ],
                mark,
                label=f"{engine} / rnnengine",
                markersize=4,
            )
    shares = axis.twinx()
    shares.bar(sizes, [r["roof"]["share"] for r in rows], [s / 4 for s in sizes], alpha=0.15)
    shares.set(ylabel="share of the roof", ylim=(0, 1.1))
    _scale(axis, sizes)
    axis.axhline(1.0, color="k", linewidth=0.6)
    axis.set(ylabel="times as long", xlabel="H", yscale="log")
    axis.legend(fontsize=8)


def _scale(axis: Any, sizes: list[int]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [str(s) for s in sizes])
    axis.grid(alpha=0.3)
