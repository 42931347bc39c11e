"""inspect and env: what is in a file, what this machine offers."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnengine._version import VERSION
from rnnengine.cli.common import DONE, Outcome, UsageError
from rnnengine.inspecting import inspect
from rnnengine.loading import cpu_info, load

__all__ = ["describe_machine", "inspect_file"]

_OPTIONAL = ("onnx", "pyfive", "rich", "onnxruntime", "torch", "keras", "tf_keras")


def inspect_file(options: argparse.Namespace) -> Outcome:
    """Say what is in a file and, where asked, what its layers would be computed in."""
    if options.keep and not options.compute_type:
        raise UsageError("--keep names layers that stay in float32: it wants a --compute-type")
    found = inspect(options.source, key=options.key)
    if options.compute_type:
        model = load(
            options.source, key=options.key, compute_type=options.compute_type, keep=options.keep
        )
        found = dataclasses.replace(found, choices=model.choices)
    return Outcome(found.as_dict(), str(found), DONE)


def describe_machine(_: argparse.Namespace) -> Outcome:
    """Say what this machine offers."""
    report: dict[str, Any] = {
        "rnnengine": VERSION,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_info(),
        "variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith("RNNENGINE_")},
        "packages": [n for n in _OPTIONAL if importlib.util.find_spec(n) is not None],
    }
    text = "\n".join(f"{key:<10} {_shown(value)}" for key, value in report.items())
    return Outcome(report, text, DONE)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {_shown(v)}" for k, v in value.items()) or "none"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else str(value)
