"""What all records have in common: machine, versions and date, and how they are written."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rnnengine._version import VERSION

__all__ = ["PACKAGES", "add_zoo", "header", "heading", "positive", "versions", "write"]

PACKAGES = ("rnnengine", "numpy", "onnx", "onnxruntime", "openvino", "torch")


def header(benchmark: str, cpu: Mapping[str, object]) -> dict[str, Any]:
    """The head of a record.

    Parameters
    ----------
    benchmark : str
        Its name on the command line.
    cpu : mapping
        What rnnengine says about the processor and the instruction set it used.
    """
    return {
        "benchmark": benchmark,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": {
            "processor": _processor(),
            "architecture": platform.machine(),
            "system": f"{platform.system()} {platform.release()}",
            "cores": os.cpu_count(),
        },
        "cpu": dict(cpu),
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in PACKAGES},
    }


def heading(record: Mapping[str, Any]) -> str:
    """Machine, instruction set and date, as tables begin."""
    return f"{record['machine']['processor']}, {record['cpu']['isa']}, {record['date']}"


def versions(record: Mapping[str, Any], engines: Iterable[str]) -> str:
    """Engines such as ``"torch, int8"`` with the versions of their packages."""
    return ", ".join(
        f"{name} {record['versions'][name]}" for name in (e.partition(",")[0] for e in engines)
    )


def add_zoo(parser: argparse.ArgumentParser) -> None:
    """The option that names the folder of the published models."""
    zoo = os.environ.get("RNNENGINE_ZOO")
    parser.add_argument(
        "--zoo",
        type=Path,
        metavar="DIR",
        default=Path(zoo) if zoo else None,
        help="folder of the published models; default: RNNENGINE_ZOO",
    )


def write(record: Mapping[str, Any], path: Path | None) -> None:
    """Write a record, where the command line named a file for it."""
    if path:
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def positive(text: str) -> int:
    """A positive number of the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number


def _version(name: str) -> str:
    """Version of an installed distribution; that of the package itself is known without."""
    if name == "rnnengine":
        return VERSION
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for entry in info.read_text(encoding="utf-8").splitlines():
            key, _, value = entry.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
