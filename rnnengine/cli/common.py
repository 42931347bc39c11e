"""Exit codes, what a command hands back, and options that several commands have."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnengine.cli.architecture import read_architecture

__all__ = [
    "CUT_OFF", "DONE", "FAILED", "REFUSED", "WRONG_USE", "Outcome", "UsageError",
    "add_model_options", "add_reference_options", "model_options",
]  # fmt: skip

DONE, FAILED, WRONG_USE, REFUSED = 0, 1, 2, 3
CUT_OFF = 141
"""Whoever reads the output stopped: 128 and the number of SIGPIPE, as shells count."""


@dataclass(frozen=True)
class Outcome:
    """What a command did: for programs, for people, and the exit code."""

    report: dict[str, Any]
    text: str
    code: int


class UsageError(Exception):
    """An argument that means nothing."""


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Options that say what :func:`rnnengine.load` is to make of a file."""
    parser.add_argument(
        "--architecture",
        metavar="SPEC",
        help="network of a file of weights: a .json file that lists layers, or a .py file, which "
        "is run, that sets the name 'architecture'",
    )
    parser.add_argument("--layer", help="path of the one recurrent layer that is wanted")
    parser.add_argument("--prefix", default="", help="part of a file of weights")
    parser.add_argument("--key", help="object of a PyTorch file that holds the weights")
    parser.add_argument(
        "--constants",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="fix an input of the model; VALUE is JSON, a number or nested lists",
    )
    for word in ("batch", "time"):
        parser.add_argument(
            f"--{word}",
            choices=["dynamic"],
            help=f"free the size of the {word} that the file fixes",
        )
    parser.add_argument("--external-data", metavar="FOLDER", help="where ONNX tensors may stand")


def add_reference_options(parser: argparse.ArgumentParser) -> None:
    """Options that say what a model is compared with."""
    parser.add_argument(
        "--against",
        choices=["torch", "keras", "tf_keras", "onnxruntime"],
        help="framework to compare with; default the one that wrote the file, if it is installed",
    )
    parser.add_argument("--python", metavar="PATH", help="interpreter that has the framework")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="SECONDS", help="for the framework"
    )
    parser.add_argument(
        "--samples", action="append", default=[], metavar="FILE",
        help="inputs to run: an .npz file by name, or the .npy file of a model with one input; "
        "may be given again",
    )  # fmt: skip


def model_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the keywords of :func:`rnnengine.load`."""
    architecture = None
    if options.architecture is not None:
        architecture = read_architecture(options.architecture)
    return {
        "architecture": architecture,
        "layer": options.layer,
        "prefix": options.prefix,
        "key": options.key,
        "batch": options.batch,
        "time": options.time,
        "constants": _constants(options.constants) or None,
        "external_data": options.external_data,
    }


def _constants(given: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in given:
        name, equals, value = item.partition("=")
        try:
            found[name] = np.array(json.loads(value))
        except ValueError:
            equals = ""
        if not equals or found[name].dtype.kind not in "fiub":
            raise UsageError(f"--constants {item!r}: expected NAME=VALUE with a number or lists")
    return found
