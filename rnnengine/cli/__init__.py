"""Command line: convert, export-onnx, inspect, validate, env.

Exit codes: 0 done, 1 a validation that failed, 2 wrong use (also a file that is not there, or that
is and must not be replaced, and a framework that cannot be asked), 3 a file that is refused, 141
(128 and SIGPIPE, as shells count) where whoever reads the output stops reading.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence

from rnnengine._version import VERSION
from rnnengine.cli.architecture import read_architecture
from rnnengine.cli.common import (
    CUT_OFF,
    DONE,
    FAILED,
    REFUSED,
    WRONG_USE,
    Outcome,
    UsageError,
    add_model_options,
    add_reference_options,
)
from rnnengine.cli.convert import convert, export
from rnnengine.cli.report import describe_machine, inspect_file
from rnnengine.cli.validate import check
from rnnengine.errors import FrameworkError, RNNEngineError
from rnnengine.passes.lower import ACCEPTED

__all__ = ["CUT_OFF", "DONE", "FAILED", "REFUSED", "WRONG_USE", "main", "read_architecture"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        Without the program's name; default ``sys.argv[1:]``.

    Returns
    -------
    int
        The exit code.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return CUT_OFF


def _drop_output() -> None:
    """Let what nobody reads go nowhere, so that the interpreter's last flush does not fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _run(argv: Sequence[str] | None) -> int:
    options = _parser().parse_args(argv)
    try:
        outcome: Outcome = options.command(options)
    except (RNNEngineError, OSError, UsageError) as error:
        refused = isinstance(error, RNNEngineError) and not isinstance(error, FrameworkError)
        if options.json:
            print(json.dumps({"error": {"type": type(error).__name__, "message": str(error)}}))
        else:
            print(f"rnnengine: {error}", file=sys.stderr)
        return REFUSED if refused else WRONG_USE
    print(json.dumps(outcome.report) if options.json else outcome.text)
    return outcome.code


def _error(text: str) -> float:
    """A bound on an error, of the command line."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no error; expected a number from 0 on")
    return number


def _add_compute_type(parser: argparse.ArgumentParser, default: str | None, what: str) -> None:
    parser.add_argument("--compute-type", choices=ACCEPTED, default=default, help=what)
    parser.add_argument(
        "--keep",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="layers that stay in float32, by name; * and ? stand for others",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rnnengine", description="Inference for recurrent networks on the CPU."
    )
    parser.add_argument("--version", action="version", version=f"rnnengine {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object")

    making = commands.add_parser(
        "convert", parents=[common], help="write a model as one .rnne file"
    )
    making.add_argument("source", help="model file, or file of weights")
    making.add_argument("-o", "--output", required=True, help="the .rnne file to write")
    add_model_options(making)
    _add_compute_type(
        making,
        "float32",
        "what weights are stored as; the error against float64 is reported beside float32's",
    )
    making.add_argument(
        "--max-error",
        type=_error,
        metavar="E",
        help="largest difference from float64 that an output may have; else nothing is written",
    )
    making.add_argument("--force", action="store_true", help="replace the output if it is there")
    making.add_argument(
        "--validate", action="store_true", help="as validate does; write nothing if it fails"
    )
    add_reference_options(making)
    making.set_defaults(command=convert)

    exporting = commands.add_parser(
        "export-onnx", parents=[common], help="write a model as standard ONNX"
    )
    exporting.add_argument("source", help="any file that opens without a description")
    exporting.add_argument("-o", "--output", required=True, help="the .onnx file to write")
    exporting.add_argument("--force", action="store_true", help="replace the output if it is there")
    exporting.set_defaults(command=export)

    look = commands.add_parser("inspect", parents=[common], help="say what is in a file")
    look.add_argument("source")
    look.add_argument("--key", help="object of a PyTorch file that holds the weights")
    _add_compute_type(look, None, "say what each layer would be computed in here, and why")
    look.set_defaults(command=inspect_file)

    checking = commands.add_parser(
        "validate", parents=[common], help="compare a model with float64 and its framework"
    )
    checking.add_argument("source", help="model file, or file of weights")
    add_model_options(checking)
    add_reference_options(checking)
    checking.add_argument(
        "--expected", metavar="FILE.npz", help="outputs for --samples that are known to be right"
    )
    checking.add_argument("--seed", type=int, default=0, help="of the generated inputs")
    checking.set_defaults(command=check)

    env = commands.add_parser("env", parents=[common], help="say what this machine offers")
    env.set_defaults(command=describe_machine)
    return parser
