"""validate: a model against float64 and the framework that wrote it."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnengine.cli.common import DONE, FAILED, Outcome, UsageError, model_options
from rnnengine.cli.progress import Progress
from rnnengine.loading import load
from rnnengine.validation import validate

__all__ = ["check", "read_arrays", "read_samples"]


def check(options: argparse.Namespace) -> Outcome:
    """Validate a file."""
    said = model_options(options)
    inputs: list[str] = []
    if any(_is_npy(path) for path in options.samples):
        inputs = [info.name for info in load(options.source, **said).inputs]
    samples = [read_samples(path, inputs) for path in options.samples]
    expected = None if options.expected is None else read_arrays(options.expected)
    if expected is not None and (len(samples) != 1 or options.against is not None):
        raise UsageError("--expected goes with one --samples file, and without --against")
    with Progress(f"validate {options.source}") as progress:
        found = validate(
            options.source,
            options.against,
            inputs=samples,
            expected=expected,
            python=options.python,
            timeout=options.timeout,
            seed=options.seed,
            progress=progress,
            **said,
        )
    return Outcome(found.as_dict(), str(found), DONE if found.passed else FAILED)


def read_samples(path: str, inputs: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
    """Read inputs from an ``.npz`` file by name, or from an ``.npy`` file where there is one."""
    if not _is_npy(path):
        return read_arrays(path)
    if len(inputs) != 1:
        raise UsageError(
            f"{path}: an .npy file is one array; the model has the inputs {', '.join(inputs)}: "
            "give an .npz file with one array for each"
        )
    try:
        with open(path, "rb") as file:
            return {inputs[0]: np.lib.format.read_array(file, allow_pickle=False)}
    except ValueError as error:
        raise UsageError(f"{path}: no .npy file of an array: {error}") from None


def _is_npy(path: str) -> bool:
    return Path(path).suffix == ".npy"


def read_arrays(path: str) -> dict[str, np.ndarray[Any, Any]]:
    """Read arrays by name from an ``.npz`` file of the caller's; nothing is unpickled."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: no .npz file of arrays: {error}") from None
