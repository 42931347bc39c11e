"""One recurrent layer against onnxruntime: agreement first, then interleaved timing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from rnnengine.bench.cases import LayerCase
from rnnengine.bench.peers import ENGINES
from rnnengine.bench.roof import Roof, RoofSamples
from rnnengine.bench.worker import Worker

__all__ = ["TOLERANCE", "LayerResult", "Timing", "run_layer_cases"]

TOLERANCE = 1e-5
"""Largest difference between the engines' outputs at which a comparison of times has a meaning."""
ROOF_SAMPLES = 5


@dataclass(frozen=True)
class Timing:
    """Microseconds a call of one engine's fastest way, over the rounds of one case."""

    way: str
    median_us: float
    p99_us: float


@dataclass(frozen=True)
class LayerResult:
    """Everything measured for one case."""

    case: LayerCase
    timings: dict[str, Timing]
    max_abs_difference: float
    roof: Roof

    @property
    def ratio(self) -> float:
        """How many times as long onnxruntime takes as rnnengine."""
        return self.timings["onnxruntime"].median_us / self.timings["rnnengine"].median_us

    @property
    def gigabytes_per_second(self) -> float:
        """Weights that rnnengine reads, over the time it takes."""
        return self.case.bytes_read / self.timings["rnnengine"].median_us / 1e3

    @property
    def share_of_roof(self) -> float:
        """The roof's time over rnnengine's."""
        return self.roof.seconds * 1e6 / self.timings["rnnengine"].median_us


def run_layer_cases(
    cases: Iterable[LayerCase], rounds: int, progress: Callable[[LayerResult], None]
) -> tuple[list[LayerResult], dict[str, object]]:
    """Measure all cases.

    Parameters
    ----------
    cases : iterable of LayerCase
    rounds : int
        Blocks of calls timed for each engine and way, taken in turn.
    progress : callable
        Told every result as it is there.

    Returns
    -------
    results : list of LayerResult
    cpu : dict
        What rnnengine says about the processor and the instruction set it used.

    Raises
    ------
    RuntimeError
        An engine failed, or two engines disagree by more than ``TOLERANCE``.
    """
    results = []
    with ExitStack() as stack:
        engines = {name: stack.enter_context(Worker(name)) for name in ENGINES}
        roof_worker = stack.enter_context(Worker("roof"))
        cpu = engines["rnnengine"].about()
        for case in cases:
            result = _run_case(case, rounds, engines, RoofSamples(case, roof_worker))
            progress(result)
            results.append(result)
    return results, cpu


def _run_case(
    case: LayerCase, rounds: int, engines: dict[str, Worker], roof: RoofSamples
) -> LayerResult:
    prepared = {name: worker.prepare(case) for name, worker in engines.items()}
    outputs = [output for output, _ in prepared.values()]
    difference = max(float(np.abs(output - outputs[0]).max()) for output in outputs)
    if not difference <= TOLERANCE:
        raise RuntimeError(f"{case.name}: outputs differ by {difference:.3g}, over {TOLERANCE:g}")
    times: dict[tuple[str, str], list[float]] = {
        (name, way): [] for name, (_, ways) in prepared.items() for way in ways
    }
    for number in range(rounds):
        for (name, way), samples in times.items():
            samples.append(engines[name].seconds_per_call(way) * 1e6)
        if number % max(1, rounds // ROOF_SAMPLES) == 0:
            roof.sample()
    timings: dict[str, Timing] = {}
    for (name, way), samples in times.items():
        timing = Timing(way, float(np.median(samples)), float(np.percentile(samples, 99)))
        if name not in timings or timing.median_us < timings[name].median_us:
            timings[name] = timing
    return LayerResult(case, timings, difference, roof.roof())
