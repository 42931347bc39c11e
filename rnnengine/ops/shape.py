"""Operators on shapes: Shape, Size, ConstantOfShape and Range. They mostly fold away."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnengine.errors import ShapeError, UnsupportedModelError
from rnnengine.graph import Dim, Size, TensorType, UndecidedError, product
from rnnengine.ops import timeaxis
from rnnengine.ops.layout import known_sizes
from rnnengine.ops.registry import (
    Array,
    Attrs,
    Known,
    Op,
    Settled,
    TimeAxes,
    Types,
    Values,
    register,
)
from rnnengine.ops.sizes import (
    as_computed,
    as_sizes,
    element,
    ints,
    present,
    required,
    size_array,
    truncated_quotient,
)

__all__: list[str] = []

_INT64 = np.dtype(np.int64)


def _selected(attrs: Attrs, shape: tuple[Size, ...]) -> tuple[Size, ...]:
    """The part of a shape between start and end; both count from the end where negative."""
    return shape[attrs.get("start", 0) : attrs.get("end")]


def _infer_shape(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    return [TensorType(_INT64, (len(_selected(attrs, present(types, 0, "data").shape)),))]


def _value_shape(attrs: Attrs, types: Types, known: Known) -> list[Array]:
    return [size_array(_selected(attrs, present(types, 0, "data").shape))]


def _reference_shape(attrs: Attrs, values: Values) -> list[Array]:
    return [size_array(_selected(attrs, required(values, 0).shape))]


def _stream_shape(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    timeaxis.static(axes, "the number of time steps enters the computation")
    return [None]


register(Op("Shape", _infer_shape, _reference_shape, _stream_shape, value=_value_shape))


def _infer_size(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    present(types, 0, "data")
    return [TensorType(_INT64, ())]


def _value_size(attrs: Attrs, types: Types, known: Known) -> list[Array]:
    return [size_array([product(present(types, 0, "data").shape)]).reshape(())]


def _reference_size(attrs: Attrs, values: Values) -> list[Array]:
    return [np.asarray(required(values, 0).size, np.int64)]


register(Op("Size", _infer_size, _reference_size, _stream_shape, value=_value_size))


def _fill(attrs: Attrs) -> Array:
    """The one-element tensor that fills a ConstantOfShape; float32 zero by default."""
    value = attrs.get("value")
    return np.zeros(1, np.float32) if value is None else np.asarray(value)


def _infer_fill(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    shape = known_sizes(attrs, known, 0, "shape", "ConstantOfShape")
    if any(isinstance(size, int) and size < 0 for size in shape):
        raise ShapeError(f"ConstantOfShape: shape {shape} has a negative size")
    return [TensorType(_fill(attrs).dtype, shape)]


def _reference_fill(attrs: Attrs, values: Values) -> list[Array]:
    shape = known_sizes(attrs, values, 0, "shape", "ConstantOfShape")
    plain = ints(np.array(shape, object), "ConstantOfShape: shape")
    return [np.broadcast_to(_fill(attrs).reshape(()), plain)]


def _stream_fill(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    timeaxis.static(axes, "the shape of a constant depends on the time step")
    return [None]


register(Op("ConstantOfShape", _infer_fill, _reference_fill, _stream_fill, symbolic=True))


def _bounds(attrs: Attrs, known: Known) -> tuple[Any, Any, Any]:
    """start, limit, delta from the settled attributes or the operands."""
    if "limit" in attrs:
        return attrs["start"], attrs["limit"], attrs["delta"]
    values = [element(known, i) for i in range(3)]
    if any(v is None for v in values):
        raise UnsupportedModelError(
            "Range: a bound is computed from data; it must follow from constants and input shapes"
        )
    if any(v is not None and v.size != 1 for v in values):
        raise ShapeError("Range: a bound has more or less than one element")
    start, limit, delta = (v.reshape(-1)[0] for v in values if v is not None)
    return start, limit, delta


def _count(start: Any, limit: Any, delta: Any) -> Size:
    """max(ceil((limit - start) / delta), 0)."""
    if isinstance(delta, Dim):
        raise UndecidedError("Range with a symbolic step")
    if delta == 0:
        raise ShapeError("Range: delta is 0")
    length = limit - start
    if isinstance(length, Dim):
        return length if delta == 1 else truncated_quotient(length, int(delta))
    if not math.isfinite(float(length)) or not math.isfinite(float(delta)):
        raise ShapeError(f"Range: bounds {start}, {limit}, {delta} are not finite")
    if isinstance(length, (int, np.integer)):
        return max(0, -(-int(length) // int(delta)))
    return max(0, math.ceil(float(length) / float(delta)))


def _infer_range(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    count = _count(*_bounds(attrs, known))
    dtype = _INT64 if not types else present(types, 0, "start").dtype
    return [TensorType(attrs.get("dtype", dtype), (count,))]


def _reference_range(attrs: Attrs, values: Values) -> list[Array]:
    """Value k is start + k * delta."""
    start, limit, delta = _bounds(attrs, values)
    count = _count(start, limit, delta)
    if isinstance(count, Dim) or isinstance(start, Dim) or isinstance(limit, Dim):
        raise UndecidedError("Range of symbolic bounds")
    first = np.asarray(start) if "limit" in attrs else as_computed(required(values, 0)).reshape(())
    result = np.asarray(first + np.arange(count) * delta)
    return [result.astype(attrs.get("dtype", first.dtype)) if result.dtype.kind != "f" else result]


def _settle_range(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    if "limit" in attrs:
        return None
    dtype = present(types, 0, "start").dtype
    if dtype.kind != "i":
        return None
    bounds = [as_sizes(np.asarray(b, object))[0] for b in _bounds(attrs, known)]
    names = ("start", "limit", "delta")
    return Settled("Range", 0, {**dict(zip(names, bounds, strict=True)), "dtype": dtype})


register(
    Op(
        "Range",
        _infer_range,
        _reference_range,
        _stream_fill,
        settle=_settle_range,
        symbolic=True,
    )
)
