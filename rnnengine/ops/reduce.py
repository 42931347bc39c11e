"""Operators that sum or select over axes: the Reduce family, ArgMax, ArgMin and CumSum."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnengine.errors import ShapeError, UnsupportedModelError
from rnnengine.graph import Size, TensorType, UndecidedError
from rnnengine.ops.layout import known_sizes
from rnnengine.ops.registry import (
    Array,
    Attrs,
    Known,
    NotAlongTime,
    Op,
    Settled,
    TimeAxes,
    Types,
    Values,
    register,
)
from rnnengine.ops.sizes import (
    as_computed,
    axis_of,
    element,
    ints,
    objects,
    present,
    require_dtype,
    required,
    settled_axis,
)

__all__ = ["REDUCTIONS", "reduced_axes"]

Axes = tuple[int, ...]


def _largest(x: Array, axes: Axes) -> Any:
    start = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return np.max(x, axis=axes, keepdims=True, initial=start)


def _smallest(x: Array, axes: Axes) -> Any:
    start = np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).max
    return np.min(x, axis=axes, keepdims=True, initial=start)


def _log_sum_exp(x: Array, axes: Axes) -> Any:
    """M + log(sum(exp(x - m))), m the largest element, 0 where that is infinite."""
    top = _largest(x, axes)
    top = np.where(np.isinf(top), 0.0, top)
    return top + np.log(np.sum(np.exp(x - top), axis=axes, keepdims=True))


def _sum(x: Array, axes: Axes) -> Any:
    return np.sum(x, axis=axes, keepdims=True)


REDUCTIONS: dict[str, tuple[str, Callable[[Array, Axes], Any]]] = {
    "ReduceSum": ("fiu", _sum),
    "ReduceMean": ("f", lambda x, axes: np.mean(x, axis=axes, keepdims=True)),
    "ReduceMax": ("fiu", _largest),
    "ReduceMin": ("fiu", _smallest),
    "ReduceProd": ("fiu", lambda x, axes: np.prod(x, axis=axes, keepdims=True)),
    "ReduceL1": ("f", lambda x, axes: _sum(np.abs(x), axes)),
    "ReduceL2": ("f", lambda x, axes: np.sqrt(_sum(x * x, axes))),
    "ReduceSumSquare": ("f", lambda x, axes: _sum(x * x, axes)),
    "ReduceLogSum": ("f", lambda x, axes: np.log(_sum(x, axes))),
    "ReduceLogSumExp": ("f", _log_sum_exp),
}
"""Each reduction: the kinds of element types it takes, and its definition with kept axes."""


def reduced_axes(attrs: Attrs, known: Known, rank: int, op: str) -> Axes:
    """Axes that a reduction works on, ascending and not negative; none named means all.

    With ``noop_with_empty_axes`` none named means none.
    """
    raw: tuple[Size, ...] = ()
    if "axes" in attrs or element(known, 1) is not None:
        raw = known_sizes(attrs, known, 1, "axes", op)
    if not raw:
        return () if attrs.get("noop_with_empty_axes") else tuple(range(rank))
    axes = tuple(
        axis_of(a, rank, f"{op}: axis") for a in ints(np.array(raw, object), f"{op}: axes")
    )
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{op}: axes {raw} name one axis twice")
    return tuple(sorted(axes))


def _kept(shape: tuple[Size, ...], axes: Axes, keepdims: bool) -> tuple[Size, ...]:
    if keepdims:
        return tuple(1 if i in axes else s for i, s in enumerate(shape))
    return tuple(s for i, s in enumerate(shape) if i not in axes)


def _infer(attrs: Attrs, types: Types, known: Known, *, op: str) -> list[TensorType]:
    x = present(types, 0, "data")
    require_dtype(x.dtype, REDUCTIONS[op][0], f"{op}: data")
    if element(types, 1) is not None:
        known_sizes({}, known, 1, "axes", op)
    axes = reduced_axes(attrs, known, x.rank, op)
    return [TensorType(x.dtype, _kept(x.shape, axes, attrs.get("keepdims", True)))]


def _reference(attrs: Attrs, values: Values, *, op: str) -> list[Array]:
    """The definition in :data:`REDUCTIONS` over the axes; of nothing: 0, 1 or an infinity."""
    x = as_computed(required(values, 0))
    if objects(x) and op not in ("ReduceSum", "ReduceProd"):
        raise UndecidedError(op)
    axes = reduced_axes(attrs, values, x.ndim, op)
    shape = _kept(x.shape, axes, attrs.get("keepdims", True))
    with np.errstate(all="ignore"):
        result = np.asarray(REDUCTIONS[op][1](x, axes))
    return [result.reshape(ints(np.array(shape, object), op)).astype(x.dtype, copy=False)]


def _moved(axis: int | None, axes: Axes, keepdims: bool, op: str) -> int | None:
    """Time axis of the result of an operator that works on other axes."""
    if axis is None:
        return None
    if axis in axes:
        raise NotAlongTime(f"{op} works on the time axis as a whole")
    return axis if keepdims else axis - sum(a < axis for a in axes)


def _stream(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes, *, op: str
) -> list[int | None]:
    reduced = reduced_axes(attrs, known, present(types, 0, "data").rank, op)
    return [_moved(axes[0], reduced, attrs.get("keepdims", True), op)]


def _settle(attrs: Attrs, types: Types, known: Known, *, op: str) -> Settled | None:
    axes = reduced_axes(attrs, known, present(types, 0, "data").rank, op)
    keepdims = bool(attrs.get("keepdims", True))
    settled = {"axes": axes, "keepdims": keepdims, "noop_with_empty_axes": not axes}
    return None if dict(attrs) == settled and len(types) == 1 else Settled(op, 1, settled)


for _name in REDUCTIONS:
    register(
        Op(
            _name,
            functools.partial(_infer, op=_name),
            functools.partial(_reference, op=_name),
            functools.partial(_stream, op=_name),
            settle=functools.partial(_settle, op=_name),
            symbolic=_name in ("ReduceSum", "ReduceProd"),
        )
    )


def _infer_arg(attrs: Attrs, types: Types, known: Known, *, op: str) -> list[TensorType]:
    x = present(types, 0, "data")
    require_dtype(x.dtype, "fiu", f"{op}: data")
    axis = axis_of(attrs.get("axis", 0), x.rank, f"{op}: axis")
    if x.shape[axis] == 0:
        raise ShapeError(f"{op}: axis {axis} of {x} has no elements; expected at least 1")
    shape = _kept(x.shape, (axis,), attrs.get("keepdims", True))
    return [TensorType(np.dtype(np.int64), shape)]


def _reference_arg(attrs: Attrs, values: Values, *, op: str) -> list[Array]:
    """First (or last) place of the largest (or smallest) element; NaN counts as that element."""
    x = required(values, 0)
    axis = axis_of(attrs.get("axis", 0), x.ndim, f"{op}: axis")
    if x.shape[axis] == 0:
        raise ShapeError(f"{op}: axis {axis} of shape {x.shape} has no elements")
    find = np.argmax if op == "ArgMax" else np.argmin
    if attrs.get("select_last_index", 0):
        found = x.shape[axis] - 1 - find(np.flip(x, axis), axis=axis, keepdims=True)
    else:
        found = find(x, axis=axis, keepdims=True)
    if not attrs.get("keepdims", True):
        found = np.squeeze(found, axis)
    return [np.asarray(found, np.int64)]


def _stream_arg(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes, *, op: str
) -> list[int | None]:
    axis = axis_of(attrs.get("axis", 0), present(types, 0, "data").rank)
    return [_moved(axes[0], (axis,), attrs.get("keepdims", True), op)]


def _settle_arg(attrs: Attrs, types: Types, known: Known, *, op: str) -> Settled | None:
    return settled_axis(attrs, types, op, 0)


for _name in ("ArgMax", "ArgMin"):
    register(
        Op(
            _name,
            functools.partial(_infer_arg, op=_name),
            functools.partial(_reference_arg, op=_name),
            functools.partial(_stream_arg, op=_name),
            settle=functools.partial(_settle_arg, op=_name),
        )
    )


def _cumsum_axis(attrs: Attrs, known: Known, rank: int) -> int:
    if "axis" in attrs:
        return axis_of(attrs["axis"], rank, "CumSum: axis")
    value = element(known, 1)
    if value is None:
        raise UnsupportedModelError("CumSum: axis is computed from data; it must be constant")
    (axis,) = ints(value, "CumSum: axis")
    return axis_of(axis, rank, "CumSum: axis")


def _infer_cumsum(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x = present(types, 0, "x")
    require_dtype(x.dtype, "fiu", "CumSum: x")
    _cumsum_axis(attrs, known, x.rank)
    return [x]


def _reference_cumsum(attrs: Attrs, values: Values) -> list[Array]:
    """y[i] = sum of x[0..i] along the axis.

    x[i] itself is left out if exclusive; the sum starts at the other end if reverse.
    """
    x = as_computed(required(values, 0))
    axis = _cumsum_axis(attrs, values, x.ndim)
    x = np.flip(x, axis) if attrs.get("reverse") else x
    with np.errstate(all="ignore"):
        if attrs.get("exclusive"):
            kept = np.take(x, np.arange(max(x.shape[axis] - 1, 0)), axis)
            first = np.zeros_like(np.take(x, np.arange(min(x.shape[axis], 1)), axis))
            total = np.cumsum(np.concatenate([first, kept], axis), axis=axis)
        else:
            total = np.cumsum(x, axis=axis)
    total = np.flip(total, axis) if attrs.get("reverse") else total
    return [np.asarray(total, x.dtype)]


def _stream_cumsum(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    axis = _cumsum_axis(attrs, known, present(types, 0, "x").rank)
    return [_moved(axes[0], (axis,), True, "CumSum")]


def _settle_cumsum(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    axis = _cumsum_axis(attrs, known, present(types, 0, "x").rank)
    if attrs.get("axis") == axis and len(types) == 1:
        return None
    return Settled("CumSum", 1, {**attrs, "axis": axis})


register(Op("CumSum", _infer_cumsum, _reference_cumsum, _stream_cumsum, settle=_settle_cumsum))
