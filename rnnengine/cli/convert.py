"""convert and export-onnx: a model in another file."""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnengine._version import VERSION
from rnnengine.cli.common import DONE, FAILED, Outcome, UsageError, model_options
from rnnengine.cli.progress import Progress
from rnnengine.cli.validate import read_samples
from rnnengine.exporting import export_onnx
from rnnengine.importers.native import pack
from rnnengine.inspecting import inspect
from rnnengine.loading import load
from rnnengine.model import Model
from rnnengine.saving import write_whole
from rnnengine.validation import Accuracy, Validation, accuracy, same_bits, validate

__all__ = ["convert", "export"]


def convert(options: argparse.Namespace) -> Outcome:
    """Write a model as one ``.rnne`` file; nothing is written where a check fails."""
    target, source = Path(options.output), Path(options.source)
    if target.exists() and not options.force:
        raise FileExistsError(f"{target} exists; --force replaces it")
    if options.keep and options.compute_type == "float32":
        raise UsageError("--keep names layers that stay in float32: it wants a --compute-type")
    said = model_options(options)
    with Progress(f"convert {source.name}") as progress:
        progress("load")
        plain = model = load(source, **said)
        if options.compute_type != "float32":
            progress(f"weights in {options.compute_type}")
            model = load(source, **said, compute_type=options.compute_type, keep=options.keep)
        checks = _Checks(plain, model, options, said, progress)
        progress("write")
        origin = _origin(options, source)
        verdict = None if checks.validation is None else checks.validation.verdict()
        content = pack(model.portable_graph(), origin=origin, version=VERSION, validation=verdict)
        again = load(content, verify=True)
        failed = checks.failure(again)
        if not failed:
            write_whole(target, content, overwrite=options.force)
    report: dict[str, Any] = {
        "source": str(source),
        "output": str(target),
        "written": not failed,
        "bytes": len(content),
        "compute_type": again.compute_type,
        "origin": origin,
        "inputs": [repr(info) for info in again.inputs],
        "outputs": [repr(info) for info in again.outputs],
        **checks.report,
    }
    lines = [f"{target}: {len(content)} bytes from {source}", repr(again)]
    if failed:
        lines = [f"{target}: not written: {failed}"]
    return Outcome(report, "\n".join([*lines, *checks.lines]), FAILED if failed else DONE)


def _origin(options: argparse.Namespace, source: Path) -> dict[str, str]:
    """What the file says of where it came from."""
    found = {
        "file": source.name,
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "framework": "onnx",
    }
    if options.external_data is None:
        found["framework"] = inspect(source, key=options.key).format
    return found


class _Checks:
    """What the command line asks to be known of a model before it is written.

    Parameters
    ----------
    plain, model : Model
        In float32, and as it is to be written; the same one where that is float32.
    """

    def __init__(
        self,
        plain: Model,
        model: Model,
        options: argparse.Namespace,
        said: Mapping[str, Any],
        progress: Progress,
    ) -> None:
        self._model = model
        only = [info.name for info in model.inputs]
        samples = [read_samples(path, only) for path in options.samples]
        self.validation: Validation | None = None
        if options.validate:
            self.validation = validate(
                plain,
                options.against,
                source=options.source,
                inputs=samples,
                python=options.python,
                timeout=options.timeout,
                progress=progress,
                **said,
            )
        self.accuracy: Accuracy | None = None
        if options.compute_type != "float32" or options.max_error is not None:
            allowed = math.inf if options.max_error is None else options.max_error
            self.accuracy = accuracy(model, plain, samples, allowed=allowed, progress=progress)
        self._same: bool | None = None

    def failure(self, again: Model) -> str:
        """Why the model is not to be written, given what was read back; empty where it is."""
        if self.validation is not None or self.accuracy is not None:
            self._same = same_bits(self._model, again)
        if self._same is False:
            return "the written model computes other bits"
        if self.validation is not None and not self.validation.passed:
            return "validation failed"
        if self.accuracy is not None and not self.accuracy.passed:
            worst = f"{self.accuracy.worst:.3g}"
            return f"an output is {worst} from float64, over --max-error {self.accuracy.allowed:g}"
        return ""

    @property
    def report(self) -> dict[str, Any]:
        """What was found, for programs."""
        found: dict[str, Any] = {}
        if self.validation is not None:
            found["validation"] = self.validation.as_dict()
        if self.accuracy is not None:
            found["accuracy"] = self.accuracy.as_dict()
        if self._same is not None:
            found["same_bits"] = self._same
        return found

    @property
    def lines(self) -> list[str]:
        """What was found, for people."""
        return [str(found) for found in (self.validation, self.accuracy) if found is not None]


def export(options: argparse.Namespace) -> Outcome:
    """Write a model as standard ONNX."""
    export_onnx(load(options.source), options.output, overwrite=options.force)
    report = {"source": options.source, "output": options.output}
    return Outcome(report, f"{options.output}: ONNX from {options.source}", DONE)
