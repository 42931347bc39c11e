"""Operators that change the shape and keep the elements: Reshape, Flatten, Squeeze, Unsqueeze."""

from __future__ import annotations

import functools

import numpy as np

from rnnengine.errors import ShapeError
from rnnengine.graph import Dim, Size, TensorType, UndecidedError, product
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
from rnnengine.ops.sizes import axis_of, element, ints, present, required, unify

__all__: list[str] = []


def _target(attrs: Attrs, shape: tuple[Size, ...], known: Known) -> tuple[Size, ...]:
    """Resolve 0 (copy the input's size, unless allowzero) and -1 (what remains)."""
    wanted = list(known_sizes(attrs, known, 1, "shape", "Reshape"))
    for i, size in enumerate(wanted):
        if size == 0 and not attrs.get("allowzero", 0) and "shape" not in attrs:
            if i >= len(shape):
                raise ShapeError(f"Reshape: shape has 0 at {i}, the input has rank {len(shape)}")
            wanted[i] = shape[i]
    total = product(shape)
    free = [i for i, size in enumerate(wanted) if size == -1]
    if any(isinstance(size, int) and size < -1 for size in wanted) or len(free) > 1:
        raise ShapeError(f"Reshape: shape is {tuple(wanted)}; expected sizes and at most one -1")
    if free:
        others = product(size for size in wanted if size != -1)
        if others == 0:
            raise ShapeError(f"Reshape: shape {tuple(wanted)} leaves -1 undetermined")
        wanted[free[0]] = _exact_quotient(total, others, f"Reshape {shape} to {tuple(wanted)}")
    else:
        unify(total, product(wanted), f"Reshape {shape} to {tuple(wanted)}: number of elements")
    return tuple(wanted)


def _exact_quotient(total: Size, others: Size, what: str) -> Size:
    if isinstance(total, Dim) or isinstance(others, Dim):
        return total // others
    if total % others:
        raise ShapeError(f"{what}: {total} elements are not divisible by {others}")
    return total // others


def _infer_reshape(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x = present(types, 0, "data")
    return [TensorType(x.dtype, _target(attrs, x.shape, known))]


def _reference_reshape(attrs: Attrs, values: Values) -> list[Array]:
    x = required(values, 0)
    target = ints(np.array(_target(attrs, x.shape, values), object), "Reshape: shape")
    return [x.reshape(target)]


def _kept_axis(before: tuple[Size, ...], after: tuple[Size, ...], axis: int) -> int:
    """Axis of the result that holds exactly the given axis of the input."""
    leading = product(before[:axis])
    places = [
        i for i, size in enumerate(after) if size == before[axis] and product(after[:i]) == leading
    ]
    if len(places) != 1:
        raise NotAlongTime(f"Reshape from {before} to {after} does not keep the time axis apart")
    return places[0]


def _stream_reshape(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    if axes[0] is None:
        return [None]
    x = present(types, 0, "data")
    return [_kept_axis(x.shape, _infer_reshape(attrs, types, known)[0].shape, axes[0])]


def _settle_reshape(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    if "shape" in attrs:
        return None
    return Settled("Reshape", 1, {"shape": _infer_reshape(attrs, types, known)[0].shape})


register(
    Op(
        "Reshape",
        _infer_reshape,
        _reference_reshape,
        _stream_reshape,
        settle=_settle_reshape,
        symbolic=True,
        moves=True,
    )
)


def _flattened(attrs: Attrs, shape: tuple[Size, ...]) -> tuple[Size, ...]:
    axis = attrs.get("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise ShapeError(f"Flatten: axis {axis} is out of range for rank {len(shape)}")
    axis = axis + len(shape) if axis < 0 else axis
    return (product(shape[:axis]), product(shape[axis:]))


def _infer_flatten(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x = present(types, 0, "input")
    return [TensorType(x.dtype, _flattened(attrs, x.shape))]


def _reference_flatten(attrs: Attrs, values: Values) -> list[Array]:
    x = required(values, 0)
    return [x.reshape(ints(np.array(_flattened(attrs, x.shape), object), "Flatten"))]


def _stream_flatten(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    if axes[0] is None:
        return [None]
    x = present(types, 0, "input")
    return [_kept_axis(x.shape, _flattened(attrs, x.shape), axes[0])]


def _settle_flatten(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    return Settled("Reshape", 1, {"shape": _infer_flatten(attrs, types, known)[0].shape})


register(
    Op(
        "Flatten",
        _infer_flatten,
        _reference_flatten,
        _stream_flatten,
        settle=_settle_flatten,
        symbolic=True,
        moves=True,
    )
)


def _axes(attrs: Attrs, known: Known, rank: int, op: str) -> tuple[int, ...]:
    """Axes of Squeeze (of its input) or Unsqueeze (of its output), ascending and distinct."""
    raw = known_sizes(attrs, known, 1, "axes", op)
    axes = tuple(
        axis_of(a, rank, f"{op}: axis") for a in ints(np.array(raw, object), f"{op}: axes")
    )
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{op}: axes {raw} name one axis twice")
    return tuple(sorted(axes))


def _squeezed(attrs: Attrs, known: Known, shape: tuple[Size, ...]) -> tuple[int, ...]:
    """Axes to remove; without an axes operand, all whose size is 1."""
    if "axes" in attrs or element(known, 1) is not None:
        return _axes(attrs, known, len(shape), "Squeeze")
    if any(isinstance(size, Dim) for size in shape):
        raise UndecidedError("Squeeze without axes of a symbolic shape")
    return tuple(i for i, size in enumerate(shape) if size == 1)


def _infer_squeeze(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x = present(types, 0, "data")
    if element(types, 1) is not None:
        known_sizes(attrs, known, 1, "axes", "Squeeze")
    axes = _squeezed(attrs, known, x.shape)
    for axis in axes:
        unify(x.shape[axis], 1, f"Squeeze: size of axis {axis} and 1")
    return [TensorType(x.dtype, tuple(s for i, s in enumerate(x.shape) if i not in axes))]


def _reference_squeeze(attrs: Attrs, values: Values) -> list[Array]:
    x = required(values, 0)
    axes = _squeezed(attrs, values, x.shape)
    if any(x.shape[axis] != 1 for axis in axes):
        raise ShapeError(f"Squeeze: axes {axes} of shape {x.shape} are not all of size 1")
    return [np.squeeze(x, axes)]


def _infer_unsqueeze(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x = present(types, 0, "data")
    count = len(known_sizes(attrs, known, 1, "axes", "Unsqueeze"))
    shape = list(x.shape)
    for axis in _axes(attrs, known, x.rank + count, "Unsqueeze"):
        shape.insert(axis, 1)
    return [TensorType(x.dtype, tuple(shape))]


def _reference_unsqueeze(attrs: Attrs, values: Values) -> list[Array]:
    x = required(values, 0)
    count = len(known_sizes(attrs, values, 1, "axes", "Unsqueeze"))
    return [np.expand_dims(x, _axes(attrs, values, x.ndim + count, "Unsqueeze"))]


def _stream_axes(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes, *, op: str
) -> list[int | None]:
    if axes[0] is None:
        return [None]
    x = present(types, 0, "data")
    if op == "Squeeze":
        removed = _squeezed(attrs, known, x.shape)
        if axes[0] in removed:
            raise NotAlongTime("Squeeze removes the time axis")
        return [axes[0] - sum(r < axes[0] for r in removed)]
    count = len(known_sizes(attrs, known, 1, "axes", "Unsqueeze"))
    added = _axes(attrs, known, x.rank + count, "Unsqueeze")
    kept = [i for i in range(x.rank + count) if i not in added]
    return [kept[axes[0]]]


def _settle_axes(attrs: Attrs, types: Types, known: Known, *, op: str) -> Settled | None:
    x = present(types, 0, "data")
    if op == "Squeeze":
        axes = _squeezed(attrs, known, x.shape)
    else:
        count = len(known_sizes(attrs, known, 1, "axes", "Unsqueeze"))
        axes = _axes(attrs, known, x.rank + count, "Unsqueeze")
    return None if attrs.get("axes") == axes else Settled(op, 1, {"axes": axes})


for _name, _infer, _reference in (
    ("Squeeze", _infer_squeeze, _reference_squeeze),
    ("Unsqueeze", _infer_unsqueeze, _reference_unsqueeze),
):
    register(
        Op(
            _name,
            _infer,
            _reference,
            functools.partial(_stream_axes, op=_name),
            settle=functools.partial(_settle_axes, op=_name),
            symbolic=True,
            moves=True,
        )
    )
