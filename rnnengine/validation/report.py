"""What a validation found, as data, as text and as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rnnengine.validation.measures import Errors

__all__ = ["Cause", "OutputResult", "SampleResult", "Validation", "curve", "plain"]

_CURVE = 12
"""Points of the error over time that the text shows."""


@dataclass(frozen=True)
class OutputResult:
    """One output of one run.

    Attributes
    ----------
    name : str
    engine : Errors
        Of the engine, from float64.
    reference : Errors or None
        Of the reference framework in float32, or of the caller's outputs, from float64.
    reference_float64 : Errors or None
        Of the framework in float64, where it computes in that.
    """

    name: str
    engine: Errors
    reference: Errors | None = None
    reference_float64: Errors | None = None

    @property
    def sharpest(self) -> Errors | None:
        """The reference in float64 where there is that, else in float32."""
        return self.reference_float64 or self.reference

    @property
    def agrees(self) -> bool:
        """Whether the reference means the same; True where there is none."""
        return self.sharpest is None or self.sharpest.passed

    @property
    def passed(self) -> bool:
        """Whether the engine is as near to float64 as it must be, and the reference agrees."""
        return self.engine.passed and self.agrees


@dataclass(frozen=True)
class SampleResult:
    """One run.

    Attributes
    ----------
    name : str
    shapes : mapping of str to tuple of int
        Of the inputs.
    outputs : tuple of OutputResult
    refused : str
        What the engine said if it did not take inputs that the reference or float64 takes.
    skipped : str
        Why the reference has no answer; empty where it has one or none was asked for.
    """

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    outputs: tuple[OutputResult, ...] = ()
    refused: str = ""
    skipped: str = ""

    @property
    def passed(self) -> bool:
        """Whether every output passed."""
        return not self.refused and all(output.passed for output in self.outputs)


@dataclass(frozen=True)
class Cause:
    """A known mistake that explains a mismatch.

    Attributes
    ----------
    name : str
        Of the mistake, for example ``'gate order'``.
    detail : str
        What the reference does where the model differs.
    nodes : tuple of str
        The recurrent nodes concerned.
    error : float
        What is left of the largest difference, over what it is held to, when it is taken out.
    """

    name: str
    detail: str
    nodes: tuple[str, ...]
    error: float

    def __str__(self) -> str:
        where = ", ".join(map(repr, self.nodes))
        return f"{self.name}: {self.detail}" + (f" (at {where})" if where else "")


@dataclass(frozen=True)
class Validation:
    """Result of :func:`rnnengine.validate`; printable.

    Attributes
    ----------
    model : str
    reference : str
        What the outputs were compared with beside float64: a framework and its version,
        ``'expected outputs'``, or empty.
    samples : tuple of SampleResult
    causes : tuple of Cause
        Known mistakes that explain a mismatch with the reference, the simplest first.
    tried : int
        How many were tried.
    notes : tuple of str
        What the reader should know, for example that no framework was found.
    """

    model: str
    reference: str
    samples: tuple[SampleResult, ...]
    causes: tuple[Cause, ...] = ()
    tried: int = 0
    notes: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether every sample passed."""
        return all(sample.passed for sample in self.samples)

    @property
    def cause(self) -> str | None:
        """The simplest known mistake that explains a mismatch; None where there is none."""
        return str(self.causes[0]) if self.causes else None

    @property
    def worst(self) -> float:
        """Largest difference of the engine from float64."""
        return max((o.engine.max_abs for o in self._outputs()), default=0.0)

    @property
    def worst_reference(self) -> float | None:
        """Largest difference of the reference from float64; None where there is no reference."""
        return max((o.reference.max_abs for o in self._outputs() if o.reference), default=None)

    def _outputs(self) -> Iterator[OutputResult]:
        for sample in self.samples:
            yield from sample.outputs

    def verdict(self) -> dict[str, str]:
        """Say it in a few words, for the metadata of a file."""
        said = {
            "passed": "yes" if self.passed else "no",
            "against": self.reference or "float64 alone",
            "samples": str(len(self.samples)),
            "max_abs": f"{self.worst:.3g}",
        }
        if self.worst_reference is not None:
            said["reference_max_abs"] = f"{self.worst_reference:.3g}"
        if self.cause is not None:
            said["cause"] = self.cause
        return said

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data that JSON can hold; infinity is the text ``'inf'``."""
        said = {
            "passed": self.passed,
            "cause": self.cause,
            "model": self.model,
            "reference": self.reference,
            "max_abs": self.worst,
            "reference_max_abs": self.worst_reference,
            "causes": [dataclasses.asdict(cause) for cause in self.causes],
            "tried": self.tried,
            "notes": list(self.notes),
            "samples": [_sample(sample) for sample in self.samples],
        }
        found: dict[str, Any] = plain(said)
        return found

    def __str__(self) -> str:
        against = f" and {self.reference}" if self.reference else ""
        lines = [f"{self.model}: against float64{against}: {_word(self.passed)}"]
        lines.append(
            f"  {'inputs':<12} {'output':<16} {'max abs':>9} {'max rel':>9} {'rms':>9} "
            f"{'allowed':>9}  {'reference':>9}"
        )
        for sample in self.samples:
            lines += _sample_lines(sample)
        lines += [f"  cause   {cause}" for cause in self.causes]
        if not self.passed and not self.causes and self.tried:
            lines.append(f"  cause   none of the {self.tried} known mistakes explains it")
        lines += [f"  note    {note}" for note in self.notes]
        return "\n".join(lines)


def _word(passed: bool) -> str:
    return "passed" if passed else "FAILED"


def _sample_lines(sample: SampleResult) -> Iterator[str]:
    if sample.refused:
        yield f"  {sample.name:<12} FAILED: refused: {sample.refused}"
    for output in sample.outputs:
        e, r = output.engine, output.reference
        line = (
            f"  {sample.name:<12} {output.name[:16]:<16} {e.max_abs:9.2e} {e.max_rel:9.2e} "
            f"{e.rms:9.2e} {e.allowed:9.2e}  {'' if r is None else f'{r.max_abs:9.2e}'}"
        )
        yield line.rstrip() + ("" if output.passed else "  FAILED")
        if not e.passed:
            yield from _where("engine", e)
        elif not output.agrees:
            yield from _where("reference", output.sharpest)
    if sample.skipped:
        yield f"  {sample.name:<12} no answer of the reference: {sample.skipped}"


def _where(who: str, errors: Errors | None) -> Iterator[str]:
    if errors is None:
        return
    yield f"    {who} and float64 differ most at {list(errors.worst)}; allowed {errors.allowed:.1e}"
    if errors.over_time:
        yield f"    over time {curve(errors.over_time)}"


def curve(points: Sequence[float]) -> str:
    """Errors at some steps from the first to the last."""
    count = min(_CURVE, len(points))
    chosen = sorted({round(i * (len(points) - 1) / max(1, count - 1)) for i in range(count)})
    return " ".join(f"{t}:{points[t]:.1e}" for t in chosen)


def _sample(sample: SampleResult) -> dict[str, Any]:
    return {**dataclasses.asdict(sample), "passed": sample.passed}


def plain(value: Any) -> Any:
    """Return data that JSON can hold; numbers that are not finite become text."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
