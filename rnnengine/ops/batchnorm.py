"""BatchNormalization of ONNX, as it is used at inference: a scale and a shift of each channel."""

from __future__ import annotations

import numpy as np

from rnnengine.errors import ShapeError
from rnnengine.graph import TensorType
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
from rnnengine.ops.sizes import as_computed, present, require_dtype, required, unify

__all__ = ["scale_and_shift"]

_PARAMETERS = ("scale", "B", "input_mean", "input_var")


def _infer(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x = present(types, 0, "X")
    require_dtype(x.dtype, "f", "BatchNormalization: input X")
    if x.rank < 2:
        raise ShapeError(f"BatchNormalization: X is {x}; expected rank 2 or more")
    for position, name in enumerate(_PARAMETERS, 1):
        kind = present(types, position, name)
        if kind.rank != 1 or kind.dtype.kind != "f":
            raise ShapeError(f"BatchNormalization: {name} is {kind}; expected a vector of floats")
        unify(kind.shape[0], x.shape[1], f"BatchNormalization: {name} and the channels of X")
    return [x]


def scale_and_shift(attrs: Attrs, values: Values) -> tuple[Array, Array]:
    """Return the factor and the summand of each channel, in float64."""
    scale, shift, mean, var = (as_computed(required(values, i)) for i in range(1, 5))
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(var + float(np.float32(attrs.get("epsilon", 1e-5))))
        return factor, shift - mean * factor


def _reference(attrs: Attrs, values: Values) -> list[Array]:
    """Y = (x - mean) / sqrt(var + epsilon) * scale + B, for each channel."""
    x = as_computed(required(values, 0))
    factor, shift = scale_and_shift(attrs, values)
    shape = (-1, *(1,) * (x.ndim - 2))
    with np.errstate(all="ignore"):
        return [x * factor.reshape(shape) + shift.reshape(shape)]


def _stream(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    if axes[0] == 1 or any(axis is not None for axis in axes[1:]):
        raise NotAlongTime("BatchNormalization scales each time step differently")
    return [axes[0]]


register(Op("BatchNormalization", _infer, _reference, _stream))
