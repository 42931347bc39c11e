"""What every engine under measurement is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from rnnengine.bench.cases import Array, LayerCase

__all__ = ["STEPS_COMPARED", "Loop", "Prepared", "features_last"]

Loop: TypeAlias = Callable[[int], object]
"""Makes that many calls, an even number."""

STEPS_COMPARED = 8
"""One-step cases are compared after each of this many steps of one stream."""


@dataclass(frozen=True)
class Prepared:
    """A case made ready in one engine.

    Attributes
    ----------
    output : float32 array [T, B, D * H], [STEPS_COMPARED, H] or [STEPS_COMPARED, elements]
        What the engine computes, starting from a zero state: all T steps of a run, or the first
        ``STEPS_COMPARED`` steps of a stream that is fed the same x again and again; of a whole
        model, all outputs of such calls.
    ways : mapping of str to callable
        Ways of making the call that is timed. Each is a loop that makes ``count`` calls as a
        program would write them; a function around the call would cost the faster engine more.
    """

    output: Array
    ways: Mapping[str, Loop]


def features_last(case: LayerCase, y: Array) -> Array:
    """ONNX's output [T, D, B, H] as [T, B, D * H]."""
    turned = np.swapaxes(y.reshape(case.steps, case.directions, case.batch, case.hidden), 1, 2)
    return np.ascontiguousarray(turned).reshape(case.steps, case.batch, -1)
