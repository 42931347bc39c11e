"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rnnengine.bench import report
from rnnengine.bench.cases import CELLS, HIDDEN, STEPS, layer_cases
from rnnengine.bench.layer import run_layer_cases

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a benchmark; return the exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words of the command line; those of the process by default.
    """
    options = _parser().parse_args(arguments)
    code: int = options.action(options)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="measure rnnengine")
    actions = parser.add_subparsers(required=True, metavar="what")
    layer = actions.add_parser("layer", help="one recurrent layer against onnxruntime")
    layer.add_argument("--cells", nargs="+", choices=list(CELLS), default=list(CELLS))
    layer.add_argument("--hidden", nargs="+", type=_positive, default=HIDDEN, metavar="H")
    layer.add_argument("--steps", nargs="+", type=_positive, default=STEPS, metavar="T")
    layer.add_argument("--rounds", type=_positive, default=100, metavar="N")
    layer.add_argument("--json", type=Path, metavar="FILE", help="write the record to FILE")
    layer.set_defaults(action=_layer)
    table = actions.add_parser("table", help="print a record as a Markdown table")
    table.add_argument("record", type=Path, metavar="FILE")
    table.set_defaults(action=_table)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number


def _layer(options: argparse.Namespace) -> int:
    print(report.HEADER, flush=True)
    results, cpu = run_layer_cases(
        layer_cases(options.cells, options.hidden, options.steps),
        options.rounds,
        lambda result: print(report.line(result), flush=True),
    )
    print("\n".join(report.summary(results)))
    if options.json:
        record = report.as_json(results, cpu, options.rounds)
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def _table(options: argparse.Namespace) -> int:
    print(report.markdown(json.loads(options.record.read_text(encoding="utf-8"))))
    return 0
