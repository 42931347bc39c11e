"""Operators that passes make: a matrix product with bias and activation in one."""

from __future__ import annotations

import numpy as np

from rnnengine.errors import ShapeError
from rnnengine.graph import TensorType
from rnnengine.ops.recurrent.activations import apply
from rnnengine.ops.registry import (
    Array,
    Attrs,
    Known,
    NotAlongTime,
    Op,
    TimeAxes,
    Types,
    Values,
    register,
)
from rnnengine.ops.sizes import element, present, unify

__all__: list[str] = []


def _infer(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x, w = present(types, 0, "x"), present(types, 1, "W")
    bias = element(types, 2)
    if x.rank < 1 or w.rank != 2:
        raise ShapeError(f"Linear: x is {x}, W is {w}; expected [.., K] and [K, N]")
    unify(x.shape[-1], w.shape[0], "Linear: columns of x and rows of W")
    if bias is not None and bias.shape != (w.shape[1],):
        raise ShapeError(f"Linear: bias is {bias}; expected [{w.shape[1]}]")
    return [TensorType(x.dtype, (*x.shape[:-1], w.shape[1]))]


def _reference(attrs: Attrs, values: Values) -> list[Array]:
    """Y = activation(x W + b)."""
    x, w, b = (None if v is None else np.asarray(v, np.float64) for v in (*values, None)[:3])
    assert x is not None and w is not None
    with np.errstate(all="ignore"):
        y = x @ w + (0.0 if b is None else b)
    activation = attrs.get("activation")
    return [y if activation is None else apply(activation, y)]


def _stream(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    if any(axis is not None for axis in axes[1:]):
        raise NotAlongTime("Linear: a weight has the time axis")
    if axes[0] is not None and axes[0] == present(types, 0, "x").rank - 1:
        raise NotAlongTime("Linear sums over the time axis")
    return [axes[0]]


register(Op("Linear", _infer, _reference, _stream))
