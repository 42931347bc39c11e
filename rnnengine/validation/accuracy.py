"""What a compute type costs: a model and the same one without it against float64."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnengine.errors import RNNEngineError
from rnnengine.model import Model
from rnnengine.validation.measures import Errors, measure
from rnnengine.validation.report import curve, plain
from rnnengine.validation.samples import Sample, generated, given
from rnnengine.validation.subject import Subject

__all__ = ["Accuracy", "Deviation", "accuracy"]

Progress = Callable[[str, int, int], None]

_GENERATED = ("usual", "long")
"""Inputs that stand for real ones; the edges among the generated inputs do not."""


@dataclass(frozen=True)
class Deviation:
    """One output of one run: how far it is from float64, and how far the baseline is.

    Attributes
    ----------
    sample, output : str
        Names of the inputs and of the output.
    errors, baseline : Errors
        Of the model, and of the same model as its file has it.
    """

    sample: str
    output: str
    errors: Errors
    baseline: Errors


@dataclass(frozen=True)
class Accuracy:
    """Result of :func:`accuracy`; printable.

    Attributes
    ----------
    compute_type, baseline : str
        What the model computes with, and what the model of the file does: float32, unless the file
        holds weights in fewer bytes.
    deviations : tuple of Deviation
    allowed : float
        What the largest difference is held to; infinite where it is only reported.
    """

    compute_type: str
    baseline: str
    deviations: tuple[Deviation, ...]
    allowed: float

    @property
    def worst(self) -> float:
        """Largest difference of any output from float64."""
        return max((d.errors.max_abs for d in self.deviations), default=0.0)

    @property
    def passed(self) -> bool:
        """Whether every difference is allowed."""
        return all(d.errors.passed for d in self.deviations)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data that JSON can hold; infinity is the text ``'inf'``."""
        said = {
            "compute_type": self.compute_type,
            "baseline": self.baseline,
            "passed": self.passed,
            "max_error": None if math.isinf(self.allowed) else self.allowed,
            "max_abs": self.worst,
            "outputs": [dataclasses.asdict(deviation) for deviation in self.deviations],
        }
        found: dict[str, Any] = plain(said)
        return found

    def __str__(self) -> str:
        asked = "" if math.isinf(self.allowed) else f", {self.allowed:g} allowed"
        titles = ("max abs", "rms", self.baseline, "rms")
        lines = [
            f"{self.compute_type} and {self.baseline} against float64{asked}:",
            f"  {'inputs':<12} {'output':<16}" + "".join(f" {title:>9}" for title in titles),
        ]
        if self.baseline != "float32":
            lines.insert(1, f"  the file holds weights in {self.baseline}: float64 is of these")
        for deviation in self.deviations:
            lines += _lines(deviation, self.baseline)
        return "\n".join(lines)


def _lines(deviation: Deviation, baseline: str) -> Iterator[str]:
    e, base = deviation.errors, deviation.baseline
    over = "" if e.passed else "  TOO FAR"
    yield (
        f"  {deviation.sample[:12]:<12} {deviation.output[:16]:<16} {e.max_abs:9.2e} {e.rms:9.2e} "
        f"{base.max_abs:9.2e} {base.rms:9.2e}{over}"
    )
    if e.over_time:
        yield f"    over time {curve(e.over_time)}"
        yield f"    {baseline:<9} {curve(base.over_time)}"


def accuracy(
    model: Model,
    plain: Model,
    inputs: Sequence[Mapping[str, Any]] = (),
    *,
    allowed: float = math.inf,
    seed: int = 0,
    progress: Progress | None = None,
) -> Accuracy:
    """Run a model, and the same one as its file has it, and compare both with float64.

    Parameters
    ----------
    model : Model
    plain : Model
        Of the same file. Its graph as imported, evaluated in float64, is the truth.
    inputs : sequence of mapping of str to array
        Inputs of the caller's; where there are none, usual ones are generated.
    allowed : float
        What the largest difference of any output is held to.
    seed : int
        Of the generated inputs.
    progress : callable(what, done, total), optional
        Told of every run.

    Raises
    ------
    ShapeError
        ``inputs`` are not what the model takes.
    RNNEngineError
        The model takes none of the inputs.
    """
    low, base = Subject(model, None, {}), Subject(plain, None, {})
    samples = _samples(base, inputs, seed)
    found: list[Deviation] = []
    refused: RNNEngineError | None = None
    for i, sample in enumerate(samples):
        if progress is not None:
            progress(f"run {sample.name}", i, len(samples))
        try:
            found += _deviations(low, base, sample, allowed)
        except RNNEngineError as error:  # generated sizes are a guess, the caller's are not
            if inputs:
                raise
            refused = error
    if refused is not None and not found:
        raise refused
    return Accuracy(model.compute_type, plain.compute_type, tuple(found), allowed)


def _samples(base: Subject, inputs: Sequence[Mapping[str, Any]], seed: int) -> list[Sample]:
    graph = base.model.graph.with_(inputs=base.inputs)
    if inputs:
        return [given(graph, item, f"sample {i + 1}") for i, item in enumerate(inputs)]
    drawn = generated(graph, seed=seed)
    return [sample for sample in drawn if sample.name in _GENERATED]


def _deviations(low: Subject, base: Subject, sample: Sample, allowed: float) -> Iterator[Deviation]:
    exact = base.exact(sample.feeds)
    got, plain_got = low.run(sample.feeds), base.run(sample.feeds)
    axes = base.time_axes(sample.feeds, sample.steps)
    for name, value in exact.items():
        axis = axes.get(name)
        yield Deviation(
            sample.name,
            name,
            measure(got[name], value, allowed, axis),
            measure(plain_got[name], value, math.inf, axis),
        )
