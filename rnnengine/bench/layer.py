"""Recurrent layers against other engines: agreement first, then interleaved timing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from rnnengine.bench.cases import LayerCase
from rnnengine.bench.peers import COMPUTE_TYPES, LOW_PEERS, own_name, takes
from rnnengine.bench.roof import Roof, RoofSamples
from rnnengine.bench.rounds import Timing, interleaved
from rnnengine.bench.worker import Worker

__all__ = ["LOW_TOLERANCE", "TOLERANCE", "LayerResult", "run_layer_cases"]

TOLERANCE = 1e-5
"""Largest difference between the engines' outputs at which a comparison of times has a meaning."""
LOW_TOLERANCE = 0.1
"""The same of an engine with fewer bytes a weight: it is the same layer, less exactly."""
_LOW = {*LOW_PEERS, *(own_name(kind) for kind in COMPUTE_TYPES)}


@dataclass(frozen=True)
class LayerResult:
    """Everything measured for one case.

    ``apart`` is the largest difference of each engine's output from rnnengine's in float32;
    ``rounds`` is how often was measured.
    """

    case: LayerCase
    timings: dict[str, Timing]
    apart: dict[str, float]
    roof: Roof
    rounds: int

    @property
    def max_abs_difference(self) -> float:
        """Largest difference between the outputs of two engines."""
        return max(self.apart.values())

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
        Those that :func:`peers.takes` denies a case are left out.
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
        An engine failed, or disagrees by more than ``TOLERANCE``, with fewer bytes a weight
        ``LOW_TOLERANCE``.
    """
    results = []
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name)) for name in engines}
        roof_worker = stack.enter_context(Worker("roof"))
        cpu = workers["rnnengine"].about()
        for case in cases:
            asked = {name: worker for name, worker in workers.items() if takes(name, case)}
            roof = RoofSamples(case, roof_worker)
            result = _run_case(case, rounds, seconds, asked, roof)
            progress(result)
            results.append(result)
    return results, cpu


def _run_case(
    case: LayerCase, rounds: int, seconds: float, engines: dict[str, Worker], roof: RoofSamples
) -> LayerResult:
    prepared = {name: worker.prepare(case) for name, worker in engines.items()}
    wanted = prepared["rnnengine"][0]
    apart = {name: float(np.abs(output - wanted).max()) for name, (output, _) in prepared.items()}
    for name, difference in apart.items():
        limit = LOW_TOLERANCE if name in _LOW else TOLERANCE
        if not difference <= limit:
            raise RuntimeError(
                f"{case.name}: the output of {name} differs by {difference:.3g}, over {limit:g}"
            )
    timings, done = interleaved(
        engines,
        {name: ways for name, (_, ways) in prepared.items()},
        rounds,
        seconds,
        roof.sample,
    )
    return LayerResult(case, timings, apart, roof.roof(), done)
