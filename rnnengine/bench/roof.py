"""What the machine allows: the time the weights of a case need to pass through one core."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from rnnengine.bench.cases import LayerCase
from rnnengine.bench.worker import Worker

__all__ = ["Roof", "RoofSamples"]


@dataclass(frozen=True)
class Roof:
    """The least time of a case on this machine, with the figures behind it.

    Attributes
    ----------
    seconds : float
        One step: W and R at the read bandwidth of a working set of their size. More steps: R at
        its bandwidth once a step, and the input projection, one matrix product over all steps, at
        the peak of fused multiply-adds.
    bandwidth : float
        Bytes a second for the working set that every step reads.
    fma_peak : float
        Floating-point operations a second.
    """

    seconds: float
    bandwidth: float
    fma_peak: float


class RoofSamples:
    """Collects the roofs of one case between the rounds of the engines."""

    def __init__(self, case: LayerCase, worker: Worker) -> None:
        self._case = case
        self._worker = worker
        self._bandwidths: list[float] = []
        self._peaks: list[float] = []

    def sample(self) -> None:
        """Measure once."""
        self._bandwidths.append(self._worker.bandwidth(self.working_set))
        self._peaks.append(self._worker.fma_peak())

    @property
    def working_set(self) -> int:
        """Bytes of weights that every step reads."""
        matrices = 2 if self._case.steps == 1 else 1
        return matrices * self._case.matrix_bytes

    def roof(self) -> Roof:
        """The roof from the medians of what was measured."""
        bandwidth, peak = median(self._bandwidths), median(self._peaks)
        seconds = self._case.steps * self.working_set / bandwidth
        if self._case.steps > 1:
            seconds += self._case.projection_flops / peak
        return Roof(seconds, bandwidth, peak)
