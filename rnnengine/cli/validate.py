"""validate: a model against float64 and the framework that wrote it."""

from __future__ import annotations

import argparse
import zipfile
from typing import Any

import numpy as np

from rnnengine.cli.common import DONE, FAILED, Outcome, UsageError, model_options
from rnnengine.cli.progress import Progress
from rnnengine.validation import validate

__all__ = ["check", "read_arrays"]


def check(options: argparse.Namespace) -> Outcome:
    """Validate a file."""
    samples = [read_arrays(path) for path in options.samples]
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
            **model_options(options),
        )
    return Outcome(found.as_dict(), str(found), DONE if found.passed else FAILED)


def read_arrays(path: str) -> dict[str, np.ndarray[Any, Any]]:
    """Read arrays by name from an ``.npz`` file of the caller's; nothing is unpickled."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: no .npz file of arrays: {error}") from None
