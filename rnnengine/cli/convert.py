"""convert and export-onnx: a model in another file."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnengine._version import VERSION
from rnnengine.cli.common import DONE, FAILED, Outcome, model_options
from rnnengine.cli.progress import Progress
from rnnengine.cli.validate import read_arrays
from rnnengine.exporting import export_onnx
from rnnengine.importers.native import pack
from rnnengine.inspecting import inspect
from rnnengine.loading import load
from rnnengine.model import Model
from rnnengine.saving import write_whole
from rnnengine.validation import Validation, same_bits, validate

__all__ = ["convert", "export"]


def convert(options: argparse.Namespace) -> Outcome:
    """Write a model as one ``.rnne`` file; nothing is written where validation fails."""
    target, source = Path(options.output), Path(options.source)
    if target.exists() and not options.force:
        raise FileExistsError(f"{target} exists; --force replaces it")
    said = model_options(options)
    with Progress(f"convert {source.name}") as progress:
        progress("load")
        model = load(source, **said)
        origin = {
            "file": source.name,
            "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "framework": "onnx",
        }
        if options.external_data is None:
            origin["framework"] = inspect(source, key=options.key).format
        checked = _checked(model, options, said, progress) if options.validate else None
        verdict = None if checked is None else checked.verdict()
        progress("write")
        content = pack(model.portable_graph(), origin=origin, version=VERSION, validation=verdict)
        again = load(content, verify=True)
        same = checked is None or same_bits(model, again)
        passed = same and (checked is None or checked.passed)
        if passed:
            write_whole(target, content, overwrite=options.force)
    report: dict[str, Any] = {
        "source": str(source),
        "output": str(target),
        "written": passed,
        "bytes": len(content),
        "origin": origin,
        "inputs": [repr(info) for info in again.inputs],
        "outputs": [repr(info) for info in again.outputs],
    }
    lines = [f"{target}: {len(content)} bytes from {source}", repr(again)]
    if checked is not None:
        report["validation"] = checked.as_dict()
        report["same_bits"] = same
        lines.append(str(checked))
    if not passed:
        lines[:2] = [f"{target}: not written: {_reason(same)}"]
    return Outcome(report, "\n".join(lines), DONE if passed else FAILED)


def _reason(same: bool) -> str:
    return "validation failed" if same else "the written model computes other bits"


def _checked(
    model: Model, options: argparse.Namespace, said: Mapping[str, Any], progress: Progress
) -> Validation:
    """Validate the model against the framework that wrote its file."""
    return validate(
        model,
        options.against,
        source=options.source,
        inputs=[read_arrays(path) for path in options.samples],
        python=options.python,
        timeout=options.timeout,
        progress=progress,
        **said,
    )


def export(options: argparse.Namespace) -> Outcome:
    """Write a model as standard ONNX."""
    export_onnx(load(options.source), options.output, overwrite=options.force)
    report = {"source": options.source, "output": options.output}
    return Outcome(report, f"{options.output}: ONNX from {options.source}", DONE)
