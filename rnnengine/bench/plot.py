"""A record drawn against the size: time with the roof, ratio to every peer, share of the roof."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["draw"]

_CELLS = ("LSTM", "GRU", "RNN")
# Mark, line and colour of each engine, the same in every panel.
_STYLES = {
    "rnnengine": ("o-", "tab:blue"),
    "onnxruntime": ("s--", "tab:orange"),
    "openvino": ("^--", "tab:green"),
    "torch": ("v--", "tab:red"),
}
_HEIGHTS = (3.2, 2.4, 1.8)
_LABELS = ("us a call", "peer's time / rnnengine's", "share of the roof")


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Draw the one-row cases of a record: a column for each cell, rows for each T.

    Parameters
    ----------
    record : mapping
        What ``report.as_json`` made of layers.
    path : Path
        Of the image; its suffix says the format (``.svg``, ``.png``).
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = [r for r in record["results"] if r["batch"] == r["threads"] == r["layers"] == 1]
    rows = [r for r in rows if r["directions"] == 1]
    steps = sorted({r["steps"] for r in rows})
    cells = [cell for cell in _CELLS if any(r["cell"] == cell for r in rows)]
    figure, axes = plt.subplots(
        3 * len(steps),
        len(cells),
        figsize=(4.4 * len(cells) + 0.6, sum(_HEIGHTS) * len(steps) + 1),
        height_ratios=_HEIGHTS * len(steps),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for i, count in enumerate(steps):
        for j, cell in enumerate(cells):
            chosen = [r for r in rows if r["steps"] == count and r["cell"] == cell]
            chosen.sort(key=lambda r: r["hidden"])
            time, ratio, share = axes[3 * i : 3 * i + 3, j]
            time.set_title(f"{cell}, T = {count}")
            _times(time, chosen)
            _ratios(ratio, chosen)
            _shares(share, chosen)
            for axis in (time, ratio, share):
                _size_axis(axis, [r["hidden"] for r in chosen])
                axis.label_outer()
        for axis, label in zip(axes[3 * i : 3 * i + 3, 0], _LABELS, strict=True):
            axis.set_ylabel(label)
        shares = [r["roof"]["share"] for r in rows if r["steps"] == count]
        axes[3 * i + 2, 0].set_ylim(0, 1.1 * max(1.0, *shares))
    for axis in axes[-1]:
        axis.set_xlabel("H")
    machine = record["machine"]["processor"]
    figure.suptitle(f"One row, I = H, one thread: {machine}, {record['cpu']['isa']}")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _times(axis: Any, rows: list[dict[str, Any]]) -> None:
    sizes = [r["hidden"] for r in rows]
    for engine, (mark, colour) in _STYLES.items():
        if rows and engine in rows[0]["timings"]:
            times = [r["timings"][engine]["median_us"] for r in rows]
            axis.plot(sizes, times, mark, color=colour, label=engine, markersize=4)
    axis.plot(sizes, [r["roof"]["us"] for r in rows], "k:", label="roof")
    _log_axis(axis)


def _ratios(axis: Any, rows: list[dict[str, Any]]) -> None:
    sizes = [r["hidden"] for r in rows]
    for engine, (mark, colour) in _STYLES.items():
        if engine != "rnnengine" and rows and engine in rows[0]["timings"]:
            own = [r["timings"]["rnnengine"]["median_us"] for r in rows]
            theirs = [r["timings"][engine]["median_us"] for r in rows]
            ratios = [b / a for a, b in zip(own, theirs, strict=True)]
            axis.plot(sizes, ratios, mark, color=colour, markersize=4)
    axis.axhline(1.0, color="k", linewidth=0.8)
    _log_axis(axis)


def _shares(axis: Any, rows: list[dict[str, Any]]) -> None:
    from matplotlib.ticker import PercentFormatter

    shares = [r["roof"]["share"] for r in rows]
    axis.plot([r["hidden"] for r in rows], shares, "o-", color="tab:blue", markersize=4)
    axis.axhline(1.0, color="k", linestyle=":")
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))


def _log_axis(axis: Any) -> None:
    """Logarithmic, with plain numbers at 1, 2 and 5 of every decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_yscale("log")
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def _size_axis(axis: Any, sizes: list[int]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
