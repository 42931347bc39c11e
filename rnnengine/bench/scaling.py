"""rnnengine with 1 to n threads over the full grid: speed-up, and peers with the same threads."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rnnengine.bench import record, report
from rnnengine.bench.cases import CELLS, GRIDS, HIDDEN, STEPS, LayerCase, grid, layer_cases
from rnnengine.bench.layer import run_layer_cases
from rnnengine.bench.peers import PEERS

__all__ = ["SLACK", "add", "markdown", "slower", "spread"]

SLACK = 1.05
"""Medians of the same work differ by as much; beyond it, threads made a case slower."""


def spread(cases: Sequence[LayerCase], threads: Sequence[int]) -> Iterator[LayerCase]:
    """Every case once with every number of threads, whatever number it had."""
    for case in dict.fromkeys(replace(case, threads=1, grid="") for case in cases):
        for count in threads:
            yield replace(case, threads=count)


def slower(found: Mapping[str, Any]) -> list[str]:
    """Cases of a record whose threads made them slower than one thread, and by how much."""
    return [
        f"{row['name']}: {1 / row['speedup']:.2f}x of one thread's time"
        for row in found["results"]
        if row["speedup"] * SLACK < 1
    ]


def markdown(found: Mapping[str, Any]) -> str:
    """A record as a Markdown table; cases of one thread are the base of the others."""
    names = {name for row in found["results"] for name in row["timings"]} & set(PEERS)
    versions = ", ".join(f"{name} {found['versions'][name]}" for name in sorted(names))
    lines = [
        f"{record.heading(found)}; peers with the same threads: {versions}.",
        "",
        "| layers, I = H | us | one thread, us | speed-up | fastest peer, us | ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in found["results"]:
        if row["threads"] > 1:
            own, alone = (row["timings"][n] for n in ("rnnengine", "rnnengine, 1 thread"))
            peer = row["timings"][row["fastest_peer"]]["median_us"]
            lines.append(
                f"| {row['name']} | {own['median_us']:.2f} | {alone['median_us']:.2f}"
                f" | {row['speedup']:.2f} | {peer:.2f} ({row['fastest_peer']})"
                f" | {row['ratio']:.2f} |"
            )
    return "\n".join(lines)


def add(actions: Any) -> None:
    """The words of the command line."""
    parser = actions.add_parser("threads", help="speed-up of threads, and peers with as many")
    most = os.cpu_count() or 1
    parser.add_argument(
        "--threads", nargs="+", type=record.positive, default=range(1, most + 1), metavar="N"
    )
    parser.add_argument("--cells", nargs="+", choices=list(CELLS), default=list(CELLS))
    parser.add_argument("--hidden", nargs="+", type=record.positive, default=HIDDEN, metavar="H")
    parser.add_argument("--steps", nargs="+", type=record.positive, default=STEPS, metavar="T")
    parser.add_argument(
        "--grid",
        nargs="+",
        choices=["full", *GRIDS],
        help="parts of the full grid, instead of --hidden and --steps",
    )
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), help="default: those installed")
    parser.add_argument("--rounds", type=record.positive, default=50, metavar="N")
    parser.add_argument("--seconds", type=record.positive, default=10, metavar="S")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record to FILE")
    parser.set_defaults(action=_run)


def _run(options: argparse.Namespace) -> int:
    peers = options.peers or [name for name in PEERS if find_spec(name)]
    if options.grid:
        parts = GRIDS if "full" in options.grid else options.grid
        cases = [case for part in parts for case in grid(part, options.cells)]
    else:
        cases = list(layer_cases(options.cells, options.hidden, options.steps))
    print(report.HEADER, flush=True)
    results, about = run_layer_cases(
        spread(cases, options.threads),
        ["rnnengine", "rnnengine, 1 thread", *peers],
        options.rounds,
        options.seconds,
        lambda result: print(report.line(result), flush=True),
    )
    found = report.as_json(results, about) | {"benchmark": "threads"}
    for row, result in zip(found["results"], results, strict=True):
        alone = result.timings.get("rnnengine, 1 thread", result.own)
        row["speedup"] = alone.median_us / result.own.median_us
    print("\n".join(slower(found)) or "threads made no case slower")
    record.write(found, options.json)
    return 0
