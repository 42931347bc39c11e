"""What fewer bytes a weight cost: layers of trained models on their inputs, and tasks."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import rnnengine as rn
from rnnengine.bench import real, record, tasks
from rnnengine.bench.cases import LayerCase
from rnnengine.bench.onnx_form import onnx_bytes
from rnnengine.bench.peers import COMPUTE_TYPES, LOW_PEERS, own_name, takes
from rnnengine.bench.peers.base import features_last
from rnnengine.bench.trained import TrainedLayer
from rnnengine.bench.worker import Worker
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate

__all__ = ["BARS", "KINDS", "Bar", "add", "exact", "judge", "markdown", "study"]

Row: TypeAlias = Mapping[str, Any]
"""Errors of one layer, as the record holds them."""

KINDS = tuple(kind for kind in COMPUTE_TYPES if kind != "auto")
"""What is compared: ``auto`` is one of the others for each layer."""


@dataclass(frozen=True)
class Bar:
    """What the rms error of a compute type is held to, over that of the best of some peers.

    ``mean`` is for the geometric mean over the layers, ``worst`` for every one, where it is said.
    """

    kind: str
    peers: tuple[str, ...]
    mean: float
    worst: float = math.inf

    def __str__(self) -> str:
        return f"{self.kind} over {' or '.join(self.peers)}"

    def ratios(self, rows: Sequence[Row]) -> list[tuple[float, str]]:
        """The ratio of each layer that the type and one of the peers have, and its name."""
        found = []
        for row in rows:
            rms = row["rms"]
            theirs = [rms[name] for name in self.peers if name in rms]
            if theirs and own_name(self.kind) in rms:
                found.append((rms[own_name(self.kind)] / min(theirs), row["name"]))
        return found


BARS = (
    Bar("int8", ("onnxruntime, int8", "torch, int8"), 0.65, 1.0),
    Bar("int8_fast", ("onnxruntime, int8",), 1.0),
    Bar("int8_fast", ("torch, int8",), 1.0),
    Bar("bfloat16", ("openvino, bfloat16",), 0.5),
)


def exact(layer: LayerCase) -> Any:
    """The layer in float64, [T, B, D * H]."""
    graph = load_graph(onnx_bytes(layer, "fixed"))
    return features_last(layer, evaluate(graph, {"x": layer.input()})["y"])


def study(
    layers: Iterable[TrainedLayer],
    engines: Sequence[str],
    output: Callable[[str, LayerCase], Any],
) -> Iterator[dict[str, Any]]:
    """Rms error of every engine that has the layer, over all steps, rows and units.

    Every row of a batch is a call of its own: engines that share a scale between rows are at their
    best alone.

    Parameters
    ----------
    layers : iterable of TrainedLayer
    engines : sequence of str
        Names of ``peers.ENGINES``.
    output : callable(engine, layer)
        What an engine computes, [T, B, D * H].
    """
    for layer in layers:
        wanted = exact(layer)
        asked = [name for name in engines if takes(name, layer)]
        squares = dict.fromkeys(asked, 0.0)
        for row, alone in enumerate(layer.rows()):
            for name in asked:
                difference = output(name, alone)[:, 0] - wanted[:, row]
                squares[name] += float(np.sum(np.square(difference)))
        yield {
            "name": layer.name,
            "cell": layer.cell,
            "hidden": layer.hidden,
            "input": layer.widths()[0],
            "steps": layer.steps,
            "rows": layer.batch,
            "directions": layer.directions,
            "rms_output": float(np.sqrt(np.mean(np.square(wanted)))),
            "rms": {name: math.sqrt(sum_ / wanted.size) for name, sum_ in squares.items()},
        }


def judge(rows: Sequence[Row]) -> list[str]:
    """One line for each bar that the layers say something about, and every layer over it."""
    lines = []
    for bar, found in _judged(rows):
        mean, worst = _mean_and_worst(found)
        over = [f"  over it: {name}: {ratio:.2f}" for ratio, name in found if ratio > bar.worst]
        missed = over or mean > bar.mean
        asked = f"asked <= {bar.mean:.2f}"
        if bar.worst < math.inf:
            asked += f", each <= {bar.worst:.2f}"
        word = "MISSED" if missed else "met"
        lines.append(f"{bar}: mean {mean:.2f}, worst {worst:.2f}, {asked}: {word}")
        lines += over
    return lines


def _judged(rows: Sequence[Row]) -> Iterator[tuple[Bar, list[tuple[float, str]]]]:
    for bar in BARS:
        found = bar.ratios(rows)
        if found:
            yield bar, found


def _mean_and_worst(found: Sequence[tuple[float, str]]) -> tuple[float, float]:
    ratios = [ratio for ratio, _ in found]
    return math.exp(sum(map(math.log, ratios)) / len(ratios)), max(ratios)


def markdown(found: Mapping[str, Any]) -> str:
    """A record of this study as Markdown tables."""
    rows = found["results"]
    names = {name for row in rows for name in row["rms"]}
    kinds = [kind for kind in ("float32", *KINDS) if own_name(kind) in names]
    peers = [name for name in LOW_PEERS if name in names]
    lines = [
        f"{record.heading(found)}; {record.versions(found, peers) or 'no peers'};"
        f" {len(rows)} layers.",
        "",
        "| rms error over that of | geometric mean | worst layer | asked of the mean | of each |",
        "|---|---:|---:|---:|---:|",
    ]
    for bar, ratios in _judged(rows):
        mean, worst = _mean_and_worst(ratios)
        each = f"{bar.worst:.2f}" if bar.worst < math.inf else ""
        lines.append(f"| {bar} | {mean:.2f} | {worst:.2f} | {bar.mean:.2f} | {each} |")
    titles = ["layer", "cell", "I, H", *kinds, *peers]
    lines += ["", f"| {' | '.join(titles)} |", "|---|---|---:" + "|---:" * (len(titles) - 3) + "|"]
    for row in rows:
        rms = row["rms"]
        shown = [
            f"{rms[name]:.1e}" if name in rms else "" for name in (*map(own_name, kinds), *peers)
        ]
        size = f"{row['input']}, {row['hidden']}"
        cell = row["cell"] + " both ways" * (row["directions"] == 2)
        lines.append(f"| {row['name']} | {cell} | {size} | {' | '.join(shown)} |")
    if found["tasks"]:
        done = found["tasks"]
        lines += ["", f"| task | {' | '.join(done)} | asked |", "|---" * (len(done) + 2) + "|"]
        measured = set.intersection(*map(set, done.values()))
        for task in [task for task in tasks.TASKS if task.name in measured]:
            said = [f"{done[kind][task.name]:.{task.digits}f}" for kind in done]
            lines.append(f"| {task.what} | {' | '.join(said)} | {task.least:g} |")
    return "\n".join(lines)


def add(actions: Any) -> None:
    """The words of the command line."""
    parser = actions.add_parser("accuracy", help="compute types against float64, and others'")
    parser.add_argument("--compute-type", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--peers", nargs="*", choices=list(LOW_PEERS), help="default: installed")
    record.add_zoo(parser)
    parser.add_argument("--no-tasks", action="store_true", help="layers alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record to FILE")
    parser.set_defaults(action=_run)


def _run(options: argparse.Namespace) -> int:
    peers = options.peers
    if peers is None:
        peers = [name for name in LOW_PEERS if find_spec(name.partition(",")[0])]
    engines = ["rnnengine", *map(own_name, options.compute_type), *peers]
    print(f"{'layer':28s}" + "".join(f" {name:>20s}" for name in engines), flush=True)
    rows = []
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name)) for name in engines}
        layers = real.layers(options.zoo, options.root)
        for row in study(layers, engines, lambda name, layer: workers[name].output(layer)):
            errors = [f"{row['rms'][n]:.2e}" if n in row["rms"] else "" for n in engines]
            print(f"{row['name']:28s}" + "".join(f" {e:>20s}" for e in errors), flush=True)
            rows.append(row)
    print("\n".join(judge(rows)))
    done: dict[str, dict[str, float]] = {}
    for kind in () if options.no_tasks or options.zoo is None else options.compute_type:
        done[kind] = {}
        for task in tasks.there(options.zoo):
            value = done[kind][task.name] = task.measure(options.zoo, kind)
            word = "met" if value >= task.least else "MISSED"
            shown = f"{value:.{task.digits}f}, asked >= {task.least:g}: {word}"
            print(f"{kind}: {task.what}: {shown}", flush=True)
    found = record.header("accuracy", rn.cpu_info()) | {"results": rows, "tasks": done}
    record.write(found, options.json)
    return 0
