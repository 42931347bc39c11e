"""A fresh process up to its first result, against onnxruntime on the same model."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import rnnengine as rn
from rnnengine.bench import record
from rnnengine.bench.cases import LayerCase
from rnnengine.bench.layer import TOLERANCE
from rnnengine.bench.onnx_form import onnx_bytes

__all__ = ["add", "markdown", "measure"]

CASE = LayerCase("LSTM", 180, 1)
"""W and R are 1.04 MB together."""
PARTS = ("import", "load", "run")

# The clock starts when numpy is there; the input is made before it starts.
_FRAME = """
import json, sys, time
import numpy as np
path = sys.argv[1]
x = np.load(sys.argv[2])
clock = time.perf_counter
times = [clock()]
{importing}
times.append(clock())
{loading}
times.append(clock())
{running}
times.append(clock())
print(json.dumps([[b - a for a, b in zip(times, times[1:])], y.ravel().tolist()]))
"""
_ORT_LOADING = """
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
"""
_PROGRAMS = {
    "rnnengine": ("import rnnengine", "model = rnnengine.load(path)", "y = model.run(x)"),
    "onnxruntime": ("import onnxruntime", _ORT_LOADING, 'y = session.run(["y"], {"x": x})[0]'),
}
# What is started, and the file it loads: onnxruntime both ways it stores a model.
_WAYS = {
    "rnnengine": ("rnnengine", "model.rnne"),
    "onnxruntime": ("onnxruntime", "model.onnx"),
    "onnxruntime, .ort": ("onnxruntime", "model.ort"),
}


def measure(rounds: int) -> dict[str, Any]:
    """The record of first results; processes are started in turn, and medians taken.

    Parameters
    ----------
    rounds : int
        Processes of each way, besides one that fills the system's caches and compiles modules.

    Returns
    -------
    dict
        ``results``: for each way, the milliseconds of its parts and their total, after numpy.

    Raises
    ------
    RuntimeError
        A process failed, or the results differ by more than ``layer.TOLERANCE``.
    """
    with tempfile.TemporaryDirectory() as folder:
        ways = _write(Path(folder))
        environment = _with_bytecode(Path(folder))
        times: dict[str, list[list[float]]] = {name: [] for name in ways}
        outputs = {}
        for done in range(rounds + 1):
            for name, command in ways.items():
                taken, outputs[name] = _start(command, environment)
                if done:
                    times[name].append(taken)
    first = np.array(outputs["rnnengine"])
    difference = max(float(np.abs(np.array(y) - first).max()) for y in outputs.values())
    if not difference <= TOLERANCE:
        raise RuntimeError(f"first results differ by {difference:.3g}, over {TOLERANCE:g}")
    results = {}
    for name, taken_by_round in times.items():
        table = np.array(taken_by_round) * 1e3
        parts = dict(zip(PARTS, np.median(table, axis=0).tolist(), strict=True))
        results[name] = parts | {"total": float(np.median(table.sum(axis=1)))}
    return record.header("start", rn.cpu_info()) | {
        "case": CASE.name,
        "weight_bytes": CASE.bytes_read,
        "rounds": rounds,
        "max_abs_difference": difference,
        "results": results,
    }


def _write(folder: Path) -> dict[str, list[str]]:
    """Write the model in every form; the command of each way."""
    content = onnx_bytes(CASE, "open")
    rn.save(rn.load(content), folder / "model.rnne")
    (folder / "model.onnx").write_bytes(content)
    np.save(folder / "x.npy", CASE.input())
    names = ["rnnengine"]
    if find_spec("onnxruntime"):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(folder / "model.ort")
        options.add_session_config_entry("session.save_model_format", "ORT")
        ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        names = list(_WAYS)
    commands = {}
    for name in names:
        engine, file = _WAYS[name]
        importing, loading, running = _PROGRAMS[engine]
        program = _FRAME.format(importing=importing, loading=loading, running=running)
        paths = [str(folder / file), str(folder / "x.npy")]
        commands[name] = [sys.executable, "-c", program, *paths]
    return commands


def _with_bytecode(folder: Path) -> dict[str, str]:
    """The environment, in which modules of all engines are kept compiled, as once installed."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def _start(command: list[str], environment: dict[str, str]) -> tuple[list[float], list[float]]:
    """One process: seconds of each part, and its result."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"a process that was started ended with:\n{done.stderr}")
    seconds, y = json.loads(done.stdout)
    return seconds, y


def markdown(found: Mapping[str, Any]) -> str:
    """A record of ``measure`` as a Markdown table."""
    versions = ", ".join(f"{name} {found['versions'][name]}" for name in ("numpy", "onnxruntime"))
    lines = [
        f"{record.heading(found)}; {found['case']}, {found['weight_bytes'] / 1e6:.2f} MB of"
        f" weights; {versions}; medians of {found['rounds']} processes each.",
        "",
        "| ms after numpy is imported | " + " | ".join(PARTS) + " | first result |",
        "|---|" + "---:|" * (len(PARTS) + 1),
    ]
    lines += [
        f"| {name} | " + " | ".join(f"{row[part]:.2f}" for part in (*PARTS, "total")) + " |"
        for name, row in found["results"].items()
    ]
    return "\n".join(lines)


def add(actions: Any) -> None:
    """The words of the command line."""
    parser = actions.add_parser("start", help="a fresh process up to its first result")
    parser.add_argument("--rounds", type=record.positive, default=25, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record to FILE")
    parser.set_defaults(action=_run)


def _run(options: argparse.Namespace) -> int:
    found = measure(options.rounds)
    print(markdown(found))
    record.write(found, options.json)
    return 0
