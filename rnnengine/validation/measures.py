"""How far two answers are apart, and how far they may be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnengine.errors import RNNEngineError
from rnnengine.graph import Graph
from rnnengine.ops import evaluate

__all__ = [
    "AMPLIFIED",
    "COARSER",
    "LONG",
    "WITNESS",
    "Errors",
    "contract",
    "measure",
    "sensitivity",
    "witness_contract",
]

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

LONG = 50
"""Sequences of more steps are held to the wider contract."""

AMPLIFIED = 32.0
"""A computation rounds every product of every step where a sensitivity rounds each operand once: an
error of up to this many sensitivities is its due."""

WITNESS = 10.0
"""A reference framework that computes in float32 may be this many contracts away: onnxruntime
approximates tanh and sigmoid, and no framework fixes the order of its sums. The mistakes that
validation looks for move outputs by a thousand times that."""

_ROUNDED_ROWS = {"int8": 2e-4, "int8_fast": 0.05}
"""Contract of compute types that round the rows that products read, to 2^-16 of a row's range or to
2^-8, in every step. Halves are as exact as float32 once the weights are rounded."""

_ROUNDED_WEIGHTS = {"bfloat16": 0.05, "float16": 0.01, "int8": 0.1, "int8_fast": 0.1}
"""What a framework may be off that has the weights of before they were rounded, or, in a file that
was quantised before, rounds activations to 8 bits with one scale for all rows."""

COARSER = {"int8": 2.0**8, "int8_fast": 2.0**16}
"""How much coarser than float32 a compute type rounds the rows that products read."""


@dataclass(frozen=True)
class Errors:
    """Differences of one output from what it should be.

    Attributes
    ----------
    max_abs, rms : float
        Largest difference, and root of the mean square; NaN counts as infinite unless both have it.
    max_rel : float
        Largest difference over the magnitude of the expected element, or over a millionth of the
        output's largest magnitude where that is more.
    worst : tuple of int
        Index of the largest difference; empty for an output without elements.
    over_time : tuple of float
        Largest difference at every time step; empty where the output has no time axis.
    allowed : float
        What the largest difference is held to.
    """

    max_abs: float
    max_rel: float
    rms: float
    worst: tuple[int, ...]
    over_time: tuple[float, ...]
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the largest difference is allowed."""
        return self.max_abs <= self.allowed


def contract(expected: Array, steps: int, compute_types: Collection[str] = ()) -> float:
    """2e-6 of max(1, largest magnitude), 1e-5 of it for more than 50 steps; more for int8."""
    least = [_ROUNDED_ROWS.get(t, 0.0) for t in compute_types]
    return max(1e-5 if steps > LONG else 2e-6, *least, 0.0) * _largest(expected)


def witness_contract(expected: Array, steps: int, compute_types: Collection[str] = ()) -> float:
    """What a reference framework is held to."""
    least = max((_ROUNDED_WEIGHTS.get(t, 0.0) for t in compute_types), default=0.0)
    return max(WITNESS * contract(expected, steps), least * _largest(expected))


def _largest(expected: Array) -> float:
    """Largest magnitude, at least 1; 0 of what is no float, which has no rounding."""
    if expected.dtype.kind != "f":
        return 0.0
    finite = np.abs(expected[np.isfinite(expected)])
    return max(1.0, float(finite.max(initial=0.0)))


def measure(got: Array, expected: Array, allowed: float, time_axis: int | None) -> Errors:
    """Compare an output with what it should be.

    Parameters
    ----------
    got, expected : array
        Of one shape; arrays of different shapes are infinitely far apart.
    allowed : float
    time_axis : int or None
    """
    if got.shape != expected.shape:
        return Errors(np.inf, np.inf, np.inf, (), (), allowed)
    difference = _difference(got, expected)
    if not difference.size:
        return Errors(0.0, 0.0, 0.0, (), (), allowed)
    with np.errstate(all="ignore"):
        magnitude = np.abs(expected.astype(np.float64))
        largest = float(magnitude[np.isfinite(magnitude)].max(initial=0.0))
        floor = max(1e-6 * largest, float(np.finfo(np.float32).tiny))
        relative = difference / np.maximum(np.nan_to_num(magnitude, posinf=largest), floor)
        rms = float(np.sqrt(np.mean(difference**2)))
    worst = tuple(int(i) for i in np.unravel_index(int(difference.argmax()), difference.shape))
    over_time: tuple[float, ...] = ()
    if time_axis is not None:
        others = tuple(i for i in range(difference.ndim) if i != time_axis)
        over_time = tuple(float(v) for v in difference.max(axis=others, initial=0.0))
    return Errors(float(difference.max()), float(relative.max()), rms, worst, over_time, allowed)


def _difference(got: Array, expected: Array) -> Array:
    """Magnitudes of the differences; equal infinities and NaN on both sides are none."""
    a, b = got.astype(np.float64), expected.astype(np.float64)
    with np.errstate(all="ignore"):
        difference = np.abs(a - b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.asarray(np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference)))


def sensitivity(graph: Graph, feeds: Arrays, expected: Arrays, draws: int = 2) -> dict[str, float]:
    """Largest change of each output, in float64, when every operand moves by half a float32 ulp.

    Large inputs and unbounded gates amplify any rounding. No float32 computation can be closer to
    the exact answer there than a small multiple of this. Constants of one element stay as they
    are: exponents and the like are not rounded by anything. A change that is not finite excuses
    nothing: it counts as 0.
    """
    rng = np.random.default_rng(0)

    def moved(value: Array) -> Array:
        if value.dtype.kind != "f":
            return value
        factors: Array = 1 + rng.choice([-1.0, 1.0], value.shape) * 2.0**-24
        return np.asarray(value * factors)

    worst = dict.fromkeys(expected, 0.0)
    for _ in range(draws):
        constants = {k: moved(v) if v.size > 1 else v for k, v in graph.constants.items()}
        try:
            changed = evaluate(
                graph.with_(constants=constants), {k: moved(v) for k, v in feeds.items()}
            )
        except RNNEngineError:
            return worst
        for name, value in expected.items():
            errors = measure(changed[name], value, 0.0, None)
            worst[name] = max(worst[name], errors.max_abs if np.isfinite(errors.max_abs) else 0.0)
    return worst
