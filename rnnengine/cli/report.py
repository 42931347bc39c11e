"""inspect and env: what is in a file, what this machine offers."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnengine._version import VERSION
from rnnengine.cli.common import DONE, Outcome
from rnnengine.inspecting import inspect
from rnnengine.loading import cpu_info

__all__ = ["describe_machine", "inspect_file"]

_OPTIONAL = ("onnx", "pyfive", "rich", "onnxruntime", "torch", "keras", "tf_keras")


def inspect_file(options: argparse.Namespace) -> Outcome:
    """Say what is in a file."""
    found = inspect(options.source, key=options.key)
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
