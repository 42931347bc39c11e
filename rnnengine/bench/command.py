"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from rnnengine._c import cpu
from rnnengine.bench import accuracy, bars, low, machine, report, scaling, start, steady, tables
from rnnengine.bench.cases import (
    CELLS,
    GRIDS,
    HIDDEN,
    LOW_GRIDS,
    STEPS,
    grid,
    layer_cases,
    low_grid,
)
from rnnengine.bench.layer import run_layer_cases
from rnnengine.bench.models import model_case, run_model_cases, usual_models
from rnnengine.bench.peers import COMPUTE_TYPES, LOW_PEERS, OWN, PEERS, own_name
from rnnengine.bench.plot import draw
from rnnengine.bench.record import add_zoo, positive, write

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None, *, root: Path | None = None) -> int:
    """Run a benchmark; return the exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words of the command line; those of the process by default.
    root : Path, optional
        The source tree, for the models in it.
    """
    options = _parser().parse_args(arguments)
    options.root = root
    code: int = options.action(options)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="measure rnnengine")
    actions = parser.add_subparsers(required=True, metavar="what")
    layer = actions.add_parser("layer", help="recurrent layers against other engines")
    layer.add_argument("--cells", nargs="+", choices=list(CELLS), default=list(CELLS))
    layer.add_argument("--hidden", nargs="+", type=positive, default=HIDDEN, metavar="H")
    layer.add_argument("--steps", nargs="+", type=positive, default=STEPS, metavar="T")
    layer.add_argument(
        "--grid",
        nargs="+",
        choices=["full", *dict.fromkeys((*GRIDS, *LOW_GRIDS))],
        help="parts of the full grid, instead of --hidden and --steps",
    )
    layer.add_argument(
        "--compute-type",
        nargs="+",
        choices=COMPUTE_TYPES,
        default=[],
        help="against float32 and the low precision of others, on a grid of their own",
    )
    layer.add_argument(
        "--peers", nargs="+", choices=[*PEERS, *LOW_PEERS], help="default: those installed"
    )
    layer.add_argument("--rounds", type=positive, default=100, metavar="N")
    layer.add_argument(
        "--seconds", type=positive, default=20, metavar="S", help="for a case, once it has rounds"
    )
    layer.add_argument("--plot", type=Path, metavar="FILE", help="draw the record (matplotlib)")
    layer.add_argument("--json", type=Path, metavar="FILE", help="write the record to FILE")
    layer.set_defaults(action=_layer)
    models = actions.add_parser("models", help="one call of whole models against onnxruntime")
    models.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="ONNX files instead of the usual models"
    )
    add_zoo(models)
    models.add_argument("--rounds", type=positive, default=100, metavar="N")
    models.add_argument(
        "--seconds", type=positive, default=20, metavar="S", help="for a model, once it has rounds"
    )
    models.add_argument("--json", type=Path, metavar="FILE", help="write the record to FILE")
    models.set_defaults(action=_models)
    plot = actions.add_parser("plot", help="draw a record")
    plot.add_argument("record", type=Path, metavar="FILE")
    plot.add_argument("image", type=Path, metavar="IMAGE")
    plot.set_defaults(action=_plot)
    table = actions.add_parser("table", help="print a record as a Markdown table")
    table.add_argument("record", type=Path, metavar="FILE")
    table.set_defaults(action=_table)
    fill = actions.add_parser("fill", help="make the tables of pages again from their records")
    fill.add_argument("pages", type=Path, nargs="+", metavar="PAGE")
    fill.set_defaults(action=_fill)
    for part in (accuracy, machine, scaling, start, steady):
        part.add(actions)
    return parser


def _peers(given: Sequence[str] | None, known: Mapping[str, object]) -> list[str]:
    """Those asked for, else those installed: of ``"torch, int8"`` the package is torch."""
    return list(given or [name for name in known if find_spec(name.partition(",")[0])])


def _layer(options: argparse.Namespace) -> int:
    if options.compute_type:
        return _low(options)
    peers = _peers(options.peers, PEERS)
    own = ["rnnengine"]
    if options.grid:
        parts = GRIDS if "full" in options.grid else options.grid
        cases = [case for part in parts for case in grid(part, options.cells)]
        own = [name for name in OWN if name != "rnnengine, avx2" or "avx512" in cpu.available()]
    else:
        cases = list(layer_cases(options.cells, options.hidden, options.steps))
    print(report.HEADER, flush=True)
    results, about = run_layer_cases(
        cases,
        [*own, *peers],
        options.rounds,
        options.seconds,
        lambda result: print(report.line(result), flush=True),
    )
    print("\n".join(report.summary(results)))
    if options.grid:
        print("\n".join(bars.judge(results)))
    record = report.as_json(results, about)
    write(record, options.json)
    if options.plot:
        draw(record, options.plot)
    return 0


def _low(options: argparse.Namespace) -> int:
    """Compute types: against float32 and the low precision of other engines."""
    if options.plot:
        raise SystemExit("bench: --plot draws records of float32 alone")
    if options.grid:
        parts = LOW_GRIDS if "full" in options.grid else options.grid
        cases = [case for part in parts for case in low_grid(part, options.cells)]
    else:
        cases = list(layer_cases(options.cells, options.hidden, options.steps))
    kinds = list(dict.fromkeys(options.compute_type))
    print(low.head(kinds), flush=True)
    results, about = run_layer_cases(
        cases,
        ["rnnengine", *map(own_name, kinds), *_peers(options.peers, LOW_PEERS)],
        options.rounds,
        options.seconds,
        lambda result: print(low.line(result, kinds), flush=True),
    )
    record = low.as_json(results, about)
    print("\n".join(low.judge(record["results"])))
    write(record, options.json)
    return 0


def _models(options: argparse.Namespace) -> int:
    given = (model_case(path.stem, path.read_bytes()) for path in options.files)
    print(report.MODELS_HEADER, flush=True)
    results, about = run_model_cases(
        given if options.files else usual_models(options.zoo, options.root),
        options.rounds,
        options.seconds,
        lambda result: print(report.models_line(result), flush=True),
    )
    write(report.models_as_json(results, about), options.json)
    return 0


def _table(options: argparse.Namespace) -> int:
    print(tables.markdown(json.loads(options.record.read_text(encoding="utf-8"))))
    return 0


def _plot(options: argparse.Namespace) -> int:
    draw(json.loads(options.record.read_text(encoding="utf-8")), options.image)
    return 0


def _fill(options: argparse.Namespace) -> int:
    for page in options.pages:
        page.write_text(
            tables.fill(page.read_text("utf-8"), options.root or Path()), encoding="utf-8"
        )
    return 0
