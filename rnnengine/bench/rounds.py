"""Timing several engines in turn, so that what disturbs the machine disturbs all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rnnengine.bench.worker import Worker

__all__ = ["LEAST_ROUNDS", "Timing", "interleaved"]

LEAST_ROUNDS = 11
ROOF_SAMPLES = 5


@dataclass(frozen=True)
class Timing:
    """Microseconds a call of one engine's fastest way, over the rounds of one case."""

    way: str
    median_us: float
    p99_us: float


def interleaved(
    engines: Mapping[str, Worker],
    ways: Mapping[str, Sequence[str]],
    rounds: int,
    seconds: float,
    sample: Callable[[], None],
) -> tuple[dict[str, Timing], int]:
    """Time the case that all engines have prepared.

    Parameters
    ----------
    engines : mapping of str to Worker
    ways : mapping of str to sequence of str
        Ways to call each engine; the fastest counts.
    rounds : int
        Blocks of calls timed for each engine and way, taken in turn.
    seconds : float
        Time after which there is no further round, once there were ``LEAST_ROUNDS``.
    sample : callable
        Called between the rounds, a few times in all: measures the machine.

    Returns
    -------
    timings : dict of str to Timing
    done : int
        How many rounds there were.
    """
    times: dict[tuple[str, str], list[float]] = {
        (name, way): [] for name, names in ways.items() for way in names
    }
    start, done = time.monotonic(), 0
    while done < rounds and (done < LEAST_ROUNDS or time.monotonic() < start + seconds):
        for (name, way), samples in times.items():
            samples.append(engines[name].seconds_per_call(way) * 1e6)
        every = math.ceil(max(rounds, LEAST_ROUNDS) / ROOF_SAMPLES)
        if done % every == 0 or done == LEAST_ROUNDS // 2:
            sample()
        done += 1
    timings: dict[str, Timing] = {}
    for (name, way), samples in times.items():
        timing = Timing(way, float(np.median(samples)), float(np.percentile(samples, 99)))
        if name not in timings or timing.median_us < timings[name].median_us:
            timings[name] = timing
    return timings, done
