"""Whether time and memory stay what they are: over many steps, odd numbers, long sequences."""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

import rnnengine as rn
from rnnengine.bench import record
from rnnengine.bench.cases import CELLS, Array, LayerCase
from rnnengine.bench.onnx_form import onnx_bytes
from rnnengine.bench.worker import Worker

__all__ = ["KINDS", "OddCase", "add", "growth", "markdown", "measure", "memory", "odd", "tail"]

KINDS = ("normal", "denormal inputs", "decayed states", "denormal weights")
LENGTHS = (1, 10, 100, 1_000, 10_000)
HIDDEN = 128
_DENORMAL = 1e-40
_BLOCK = 10_000


@dataclass(frozen=True)
class OddCase(LayerCase):
    """A layer with numbers that slow a processor down where an engine lets them.

    ``denormal inputs`` are all of 1e-40; ``decayed states`` are those of a layer without biases
    that is fed zeros; of ``denormal weights`` every other one is 1e-40.
    """

    kind: str = "normal"

    def input(self) -> Array:
        """Input [T, B, I]."""
        factor = {"denormal inputs": _DENORMAL, "decayed states": 0.0}.get(self.kind, 1.0)
        x: Array = (super().input() * factor).astype(np.float32)
        return x

    def weights(self, layer: int = 0) -> Mapping[str, Array]:
        """W, R and B as in ``LayerCase.weights``."""
        weights = dict(super().weights(layer))
        if self.kind == "decayed states":
            weights["B"] = np.zeros_like(weights["B"])
        if self.kind == "denormal weights":
            for name in ("W", "R"):
                weights[name][..., ::2] = _DENORMAL
        return weights


def tail(steps: int) -> dict[str, float]:
    """Percentiles of single steps of an LSTM, H = 128, in microseconds.

    Each step is timed from its predecessor's end to its own; the one reading of the clock between
    them is part of it.
    """
    case = LayerCase("LSTM", HIDDEN, 1)
    stream = rn.load(onnx_bytes(case, "open")).stream(batch=1)
    x, y = case.input(), np.empty((1, 1, 1, HIDDEN), np.float32)
    step, clock = stream.step, perf_counter_ns
    for _ in repeat(None, 2000):
        step(x, out=y)
    taken = []
    gc.disable()
    try:
        for done in range(0, steps, _BLOCK):
            stamps = [clock()]
            note = stamps.append
            for _ in repeat(None, min(_BLOCK, steps - done)):
                step(x, out=y)
                note(clock())
            taken.append(np.diff(np.array(stamps, np.int64)))
    finally:
        gc.enable()
    us = np.concatenate(taken) / 1e3
    p50, p99, p999 = np.percentile(us, (50, 99, 99.9)).tolist()
    return {"steps": us.size, "p50": p50, "p99": p99, "p99.9": p999, "max": float(us.max())}


def odd(cells: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """Time of odd numbers over that of normal ones, of single steps and of 100 steps.

    Every kind has a process of its own; they are timed in turn.
    """
    rows = []
    with ExitStack() as stack:
        workers = {kind: stack.enter_context(Worker("rnnengine")) for kind in KINDS}
        for cell in cells:
            for steps in (1, 100):
                cases = {kind: OddCase(cell, HIDDEN, steps, kind=kind) for kind in KINDS}
                medians = _medians({k: (workers[k], cases[k]) for k in KINDS}, rounds)
                ratios = {kind: medians[kind] / medians["normal"] for kind in KINDS}
                rows.append({"name": cases["normal"].name, "ratios": ratios})
    return rows


def growth(lengths: Sequence[int], rounds: int) -> list[dict[str, float]]:
    """Microseconds a step of an LSTM, H = 128, by the steps of a call, timed in turn.

    A call of one step is a step of a stream, the others are runs.
    """
    with ExitStack() as stack:
        asked = {
            count: (stack.enter_context(Worker("rnnengine")), LayerCase("LSTM", HIDDEN, count))
            for count in lengths
        }
        medians = _medians(asked, rounds)
    return [{"steps": count, "us_per_step": medians[count] / count} for count in lengths]


def _medians(asked: Mapping[Any, tuple[Worker, LayerCase]], rounds: int) -> dict[Any, float]:
    """Median microseconds a call of every case, each in its worker."""
    ways = {key: worker.prepare(case)[1][0] for key, (worker, case) in asked.items()}
    times: dict[Any, list[float]] = {key: [] for key in asked}
    for _ in range(rounds):
        for key, (worker, _case) in asked.items():
            times[key].append(worker.seconds_per_call(ways[key]) * 1e6)
    return {key: float(np.median(samples)) for key, samples in times.items()}


_PEAK = """
import sys
import numpy as np
import rnnengine as rn
from rnnengine.bench.cases import LayerCase
from rnnengine.bench.onnx_form import onnx_bytes

def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(field))

steps, hidden, layers, way = *map(int, sys.argv[1:4]), sys.argv[4]
model = rn.load(onnx_bytes(LayerCase("LSTM", hidden, 1, layers=layers), "open"))
call = model.run if way == "run" else model.stream(1).step
x = np.ones((steps, 1, hidden), np.float32)
y = np.ones((steps, *call(x[:1]).shape[1:]), np.float32)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts again from here
before = status("VmRSS:")
call(x, out=y)
print(status("VmHWM:") - before)
"""


_WAYS = {"bytes": (1, "run"), "stack_bytes": (3, "run"), "stream_bytes": (3, "step")}
"""Layers, and what is called: a run, or one step of a stream over all time steps."""


def memory(lengths: Sequence[int], hidden: int = HIDDEN) -> list[dict[str, int]]:
    """Bytes by which the peak of a process grows in a call of each length, a process for each.

    The weights are packed, the input is there, and the output's memory is the caller's and there
    before the call. What a model compiles for its first long sequence counts. Linux alone tells.
    """
    return [
        {"steps": steps}
        | {name: _peak(steps, hidden, layers, way) for name, (layers, way) in _WAYS.items()}
        for steps in lengths
    ]


def _peak(steps: int, hidden: int, layers: int, way: str) -> int:
    command = [sys.executable, "-c", _PEAK, str(steps), str(hidden), str(layers), way]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"a process that was started ended with:\n{done.stderr}")
    return int(done.stdout)


def measure(
    steps: int, rounds: int, cells: Sequence[str], lengths: Sequence[int]
) -> dict[str, Any]:
    """The record: ``tail`` of single steps, ``odd`` numbers, ``growth`` and ``memory`` over T."""
    return record.header("steady", rn.cpu_info()) | {
        "rounds": rounds,
        "hidden": HIDDEN,
        "tail_us": tail(steps),
        "odd": odd(cells, rounds),
        "growth": growth(lengths, rounds),
        "memory": memory(lengths),
    }


def markdown(found: Mapping[str, Any]) -> str:
    """A record of ``measure`` as Markdown tables."""
    single = found["tail_us"]
    names = [name for name in single if name != "steps"]
    lines = [
        f"{record.heading(found)}; LSTM, I = H = {found['hidden']}, B = 1 unless said;"
        f" medians of {found['rounds']} interleaved rounds.",
        "",
        f"| {single['steps']} single steps | " + " | ".join(names) + " | p99.9 / p50 |",
        "|---|" + "---:|" * (len(names) + 1),
        "| us | "
        + " | ".join(f"{single[name]:.2f}" for name in names)
        + f" | {single['p99.9'] / single['p50']:.2f} |",
        "",
        "| time over that of normal numbers | " + " | ".join(KINDS[1:]) + " |",
        "|---|" + "---:|" * (len(KINDS) - 1),
    ]
    lines += [
        f"| {row['name']} | "
        + " | ".join(f"{row['ratios'][kind]:.2f}" for kind in KINDS[1:])
        + " |"
        for row in found["odd"]
    ]
    lines += [
        "",
        "| steps of one call | us a step | peak memory a run adds, KB | 3 layers | by a stream |",
        "|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['steps']} | {row['us_per_step']:.3f} | "
        + " | ".join(str(used[name] >> 10) for name in _WAYS)
        + " |"
        for row, used in zip(found["growth"], found["memory"], strict=True)
    ]
    return "\n".join(lines)


def add(actions: Any) -> None:
    """The words of the command line."""
    parser = actions.add_parser("steady", help="tails, odd numbers, growth of time and memory")
    parser.add_argument("--singles", type=record.positive, default=1_000_000, metavar="N")
    parser.add_argument("--rounds", type=record.positive, default=50, metavar="N")
    parser.add_argument("--cells", nargs="+", choices=list(CELLS), default=list(CELLS))
    parser.add_argument("--steps", nargs="+", type=record.positive, default=LENGTHS, metavar="T")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record to FILE")
    parser.set_defaults(action=_run)


def _run(options: argparse.Namespace) -> int:
    found = measure(options.singles, options.rounds, options.cells, options.steps)
    print(markdown(found))
    record.write(found, options.json)
    return 0
