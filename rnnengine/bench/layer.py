"""Recurrent layers against other engines: agreement first, then interleaved timing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from rnnengine.bench.cases import LayerCase
from rnnengine.bench.roof import Roof, RoofSamples
from rnnengine.bench.rounds import Timing, interleaved
from rnnengine.bench.worker import Worker

__all__ = ["TOLERANCE", "LayerResult", "run_layer_cases"]

TOLERANCE = 1e-5
"""Largest difference between the engines' outputs at which a comparison of times has a meaning."""


@dataclass(frozen=True)
class LayerResult:
    """Everything measured for one case; ``rounds`` is how often."""

    case: LayerCase
    timings: dict[str, Timing]
    max_abs_difference: float
    roof: Roof
    rounds: int

    @property
    def own(self) -> Timing:
        """What rnnengine took."""
        return self.timings["rnnengine"]

    @property
    def fastest_peer(self) -> str:
        """The engine, not rnnengine, with the smallest median."""
        peers = [name for name in self.timings if not name.startswith("rnnengine")]
        return min(peers, key=lambda name: self.timings[name].median_us)

    @property
    def ratio(self) -> float:
        """How many times as long the fastest peer takes as rnnengine."""
        return self.timings[self.fastest_peer].median_us / self.own.median_us

    @property
    def gigabytes_per_second(self) -> float:
        """Weights that rnnengine reads, over the time it takes."""
        return self.case.bytes_read / self.own.median_us / 1e3

    @property
    def share_of_roof(self) -> float:
        """The roof's time over rnnengine's."""
        return self.roof.seconds * 1e6 / self.own.median_us


def run_layer_cases(
    cases: Iterable[LayerCase],
    engines: Sequence[str],
    rounds: int,
    seconds: float,
    progress: Callable[[LayerResult], None],
) -> tuple[list[LayerResult], dict[str, object]]:
    """Measure all cases.

    Parameters
    ----------
    cases : iterable of LayerCase
    engines : sequence of str
        Names of ``peers.ENGINES``; ``rnnengine`` and at least one other among them.
        ``rnnengine, 1 thread`` is left out where a case has one thread, ``rnnengine, avx2`` where
        it has several rows or threads.
    rounds : int
        Blocks of calls timed for each engine and way, taken in turn.
    seconds : float
        Time after which a case has no further round, once it has had ``LEAST_ROUNDS``.
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
        workers = {name: stack.enter_context(Worker(name)) for name in engines}
        roof_worker = stack.enter_context(Worker("roof"))
        cpu = workers["rnnengine"].about()
        for case in cases:
            asked = {name: worker for name, worker in workers.items() if _wanted(name, case)}
            roof = RoofSamples(case, roof_worker)
            result = _run_case(case, rounds, seconds, asked, roof)
            progress(result)
            results.append(result)
    return results, cpu


def _wanted(engine: str, case: LayerCase) -> bool:
    if engine == "rnnengine, 1 thread":
        return case.threads > 1
    return engine != "rnnengine, avx2" or (case.batch == 1 and case.threads == 1)


def _run_case(
    case: LayerCase, rounds: int, seconds: float, engines: dict[str, Worker], roof: RoofSamples
) -> LayerResult:
    prepared = {name: worker.prepare(case) for name, worker in engines.items()}
    outputs = [output for output, _ in prepared.values()]
    difference = max(float(np.abs(output - outputs[0]).max()) for output in outputs)
    if not difference <= TOLERANCE:
        raise RuntimeError(f"{case.name}: outputs differ by {difference:.3g}, over {TOLERANCE:g}")
    timings, done = interleaved(
        engines,
        {name: ways for name, (_, ways) in prepared.items()},
        rounds,
        seconds,
        roof.sample,
    )
    return LayerResult(case, timings, difference, roof.roof(), done)
