"""What the machine allows: the time a case needs at the rates of its cores and caches."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from rnnengine.bench.cases import LayerCase
from rnnengine.bench.worker import Worker

__all__ = ["Roof", "RoofSamples", "working_set"]


@dataclass(frozen=True)
class Roof:
    """The least time of a case on this machine, with the figures behind it.

    Attributes
    ----------
    seconds : float
        One step of one row: W and R at the read bandwidth of a working set of their size. Else
        each step: R at its bandwidth or its products at the peak of fused multiply-adds, whichever
        takes longer; and the input projections, matrix products over all steps, at that peak.
        Threads share everything equally and read from caches of their own.
    bandwidth : float
        Bytes a second of one core, for the working set that every step reads of it.
    fma_peak : float
        Floating-point operations a second of one core.
    """

    seconds: float
    bandwidth: float
    fma_peak: float


def working_set(case: LayerCase) -> int:
    """Bytes of weights that every step reads, of one layer, by each thread."""
    bytes_read = case.recurrent_bytes
    if case.carries_state:
        bytes_read += case.input_bytes
    return bytes_read // case.threads


class RoofSamples:
    """Collects the roofs of one case between the rounds of the engines."""

    def __init__(self, case: LayerCase, worker: Worker) -> None:
        self._case = case
        self._worker = worker
        self._bandwidths: list[float] = []
        self._peaks: list[float] = []

    def sample(self) -> None:
        """Measure once."""
        self._bandwidths.append(self._worker.bandwidth(working_set(self._case)))
        self._peaks.append(self._worker.fma_peak())

    def roof(self) -> Roof:
        """The roof from the medians of what was measured."""
        case = self._case
        bandwidth, peak = median(self._bandwidths), median(self._peaks)
        reading = working_set(case) * case.layers / bandwidth
        if case.carries_state:
            return Roof(reading, bandwidth, peak)
        step = max(reading, case.recurrent_flops / (peak * case.threads))
        seconds = case.steps * step + case.projection_flops / (peak * case.threads)
        return Roof(seconds, bandwidth, peak)
