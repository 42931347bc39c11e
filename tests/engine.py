"""Running cases of the specification matrix on the engine."""

from __future__ import annotations

from typing import Any

import numpy as np

import rnnengine as rn
from cases import Case
from lowering import lowered
from rnnengine._c import cpu

Array = np.ndarray[Any, Any]


def float_tables() -> list[str]:
    """Tables with float kernels of their own, best first: longer names share them (dispatch.c)."""
    names = cpu.available()
    return [name for name in names if not any(name != n and name.startswith(n) for n in names)]


BATCH_AXIS = {"x": 1, "lengths": 0, "h0": 1, "c0": 1, "y": 2, "h_n": 1, "c_n": 1}
"""Batch axis of each input and output of a case in time-major layout."""
BATCH_FIRST = {"x": 0, "lengths": 0, "h0": 0, "c0": 0, "y": 0, "h_n": 0, "c_n": 0}
"""And with layout=1."""


def load(case: Case, isa: str, compute_type: str = "float32") -> rn.Model:
    """Load a case's model for a kernel table; with another compute type, from its settled graph."""
    with cpu.use(isa):
        if compute_type != "float32":
            return rn.Model(lowered(case.graph, compute_type))
        return rn.load(case.model) if case.model is not None else rn.Model(case.graph)


def run(model: rn.Model, feeds: dict[str, Array]) -> dict[str, Array]:
    """Outputs by name, also where there is only one."""
    result = model.run(feeds)
    return result if isinstance(result, dict) else {model.outputs[0].name: result}


def bits(array: Array) -> Array:
    """The bit patterns of a float32 array, all NaNs alike; other arrays as they are."""
    if array.dtype.kind != "f":
        return array
    pattern = np.ascontiguousarray(array).view(np.int32).copy()
    pattern[np.isnan(array)] = 0x7FC00000
    return pattern


def same_bits(a: dict[str, Array], b: dict[str, Array]) -> bool:
    """Whether two results are identical in names, shapes and bits."""
    return a.keys() == b.keys() and all(
        (a[k].shape, a[k].dtype) == (b[k].shape, b[k].dtype)
        and np.array_equal(bits(a[k]), bits(b[k]))
        for k in a
    )


def rows(arrays: dict[str, Array], which: Array, layout: int) -> dict[str, Array]:
    """Some rows of the batch, in the given order; weights fed at run time stay whole."""
    axes = BATCH_FIRST if layout else BATCH_AXIS
    return {
        name: np.take(value, which, axis=axes[name]) if name in axes else value
        for name, value in arrays.items()
    }
