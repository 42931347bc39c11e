"""Softmax, and normalisation of layers, of root mean squares, of instances and of groups."""

from __future__ import annotations

import functools

import numpy as np

from rnnengine.errors import ShapeError
from rnnengine.graph import Size, TensorType
from rnnengine.ops import timeaxis
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
    broadcast,
    element,
    present,
    require_dtype,
    required,
    settled_axis,
    unify,
)

__all__: list[str] = []


def _infer(attrs: Attrs, types: Types, known: Known, *, op: str) -> list[TensorType]:
    x = present(types, 0, "input")
    require_dtype(x.dtype, "f", f"{op}: input")
    axis_of(attrs.get("axis", -1), x.rank, f"{op}: axis")
    return [x]


def _reference(attrs: Attrs, values: Values, *, op: str) -> list[Array]:
    """exp(x - m) / sum exp(x - m) with m the largest element, and its logarithm."""
    x = as_computed(required(values, 0))
    axis = attrs.get("axis", -1)
    with np.errstate(all="ignore"):
        shifted = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
        total = np.sum(np.exp(shifted), axis=axis, keepdims=True)
        return [shifted - np.log(total) if op == "LogSoftmax" else np.exp(shifted) / total]


def _stream(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes, *, op: str
) -> list[int | None]:
    axis = axis_of(attrs.get("axis", -1), present(types, 0, "input").rank)
    if axes[0] == axis:
        raise NotAlongTime(f"{op} normalises over the time axis")
    return [axes[0]]


def _settle(attrs: Attrs, types: Types, known: Known, *, op: str) -> Settled | None:
    return settled_axis(attrs, types, op, -1)


for _name in ("Softmax", "LogSoftmax"):
    register(
        Op(
            _name,
            functools.partial(_infer, op=_name),
            functools.partial(_reference, op=_name),
            functools.partial(_stream, op=_name),
            settle=functools.partial(_settle, op=_name),
        )
    )


def _normalised(x: Array, axes: tuple[int, ...], epsilon: float, centre: bool) -> Array:
    """(x - mean) / sqrt(variance + epsilon) over the axes; without centre, the mean taken as 0."""
    with np.errstate(all="ignore"):
        d = x - np.mean(x, axis=axes, keepdims=True) if centre else x
        square = np.mean(d * d, axis=axes, keepdims=True)
        return np.asarray(d / np.sqrt(square + float(np.float32(epsilon))))


def _check_factor(
    factor: TensorType | None, x: TensorType, shape: tuple[Size, ...], what: str
) -> None:
    if factor is None:
        return
    if factor.dtype != x.dtype:
        raise ShapeError(f"{what} is {factor}, the input is {x}; element types must be the same")
    merged = broadcast([shape, factor.shape], what)
    if len(merged) != len(shape):
        raise ShapeError(f"{what} is {factor}; expected a shape that broadcasts to {shape}")
    for axis, (a, b) in enumerate(zip(merged, shape, strict=True)):
        unify(a, b, f"{what}: axis {axis}")


def _infer_layer(attrs: Attrs, types: Types, known: Known, *, op: str) -> list[TensorType]:
    x = present(types, 0, "X")
    require_dtype(x.dtype, "f", f"{op}: X")
    axis = axis_of(attrs.get("axis", -1), x.rank, f"{op}: axis")
    present(types, 1, "Scale")
    _check_factor(types[1], x, x.shape, f"{op}: Scale")
    _check_factor(element(types, 2), x, x.shape, f"{op}: B")
    statistics = tuple(1 if i >= axis else s for i, s in enumerate(x.shape))
    return [x] if op == "RMSNormalization" else [x, *[TensorType(x.dtype, statistics)] * 2]


def _reference_layer(attrs: Attrs, values: Values, *, op: str) -> list[Array]:
    """Y = (x - mean) / sqrt(variance + epsilon) * scale + bias over the axes from ``axis`` on.

    RMSNormalization divides x by sqrt(mean(x * x) + epsilon). Layer normalisation also gives the
    mean and 1 / sqrt(variance + epsilon).
    """
    x, scale = as_computed(required(values, 0)), as_computed(required(values, 1))
    bias, epsilon = element(values, 2), attrs.get("epsilon", 1e-5)
    axes = tuple(range(axis_of(attrs.get("axis", -1), x.ndim), x.ndim))
    with np.errstate(all="ignore"):
        y = _normalised(x, axes, epsilon, op == "LayerNormalization") * scale
        y = y if bias is None else y + as_computed(bias)
        if op == "RMSNormalization":
            return [y]
        mean = np.mean(x, axis=axes, keepdims=True)
        variance = np.mean((x - mean) ** 2, axis=axes, keepdims=True)
        return [y, mean, 1.0 / np.sqrt(variance + float(np.float32(epsilon)))]


def _stream_layer(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes, *, op: str
) -> list[int | None]:
    x = present(types, 0, "X")
    if axes[0] is not None and axes[0] >= axis_of(attrs.get("axis", -1), x.rank):
        raise NotAlongTime(f"{op} normalises over the time axis")
    time = timeaxis.elementwise(types, axes, op)
    return [time] if op == "RMSNormalization" else [time] * 3


def _settle_layer(attrs: Attrs, types: Types, known: Known, *, op: str) -> Settled | None:
    axis = axis_of(attrs.get("axis", -1), present(types, 0, "X").rank)
    settled = {"axis": axis, "epsilon": attrs.get("epsilon", 1e-5)}
    return None if dict(attrs) == settled else Settled(op, len(types), settled)


for _name in ("LayerNormalization", "RMSNormalization"):
    register(
        Op(
            _name,
            functools.partial(_infer_layer, op=_name),
            functools.partial(_reference_layer, op=_name),
            functools.partial(_stream_layer, op=_name),
            settle=functools.partial(_settle_layer, op=_name),
        )
    )


def _inside(attrs: Attrs, x: TensorType, op: str) -> Size:
    """Channels in each group; the channels are axis 1."""
    if x.rank < 2:
        raise ShapeError(f"{op}: input is {x}; expected [batch, channels, ..]")
    if op == "InstanceNormalization":
        return 1
    groups = int(attrs["num_groups"])
    if groups < 1 or x.shape[1] % groups != 0:
        raise ShapeError(f"{op}: {x.shape[1]} channels are not divisible into {groups} groups")
    return x.shape[1] // groups


def _infer_group(attrs: Attrs, types: Types, known: Known, *, op: str) -> list[TensorType]:
    x = present(types, 0, "input")
    require_dtype(x.dtype, "f", f"{op}: input")
    _inside(attrs, x, op)
    for i, what in ((1, "scale"), (2, "bias")):
        factor = present(types, i, what)
        if factor.rank != 1 or factor.dtype != x.dtype:
            raise ShapeError(f"{op}: {what} is {factor}; expected {x.dtype}[{x.shape[1]}]")
        unify(factor.shape[0], x.shape[1], f"{op}: {what} and channels")
    return [x]


def _reference_group(attrs: Attrs, values: Values, *, op: str) -> list[Array]:
    """Normalise each group of adjacent channels over its channels and all later axes.

    Instance normalisation has one channel in a group. Scale and bias belong to channels.
    """
    x = as_computed(required(values, 0))
    inside = int(_inside(attrs, TensorType(x.dtype, x.shape), op))
    split = x.reshape((x.shape[0], x.shape[1] // inside if inside else 0, inside, *x.shape[2:]))
    normal = _normalised(split, tuple(range(2, split.ndim)), attrs.get("epsilon", 1e-5), True)
    scale, bias = (
        as_computed(required(values, i)).reshape((-1, *[1] * (x.ndim - 2))) for i in (1, 2)
    )
    with np.errstate(all="ignore"):
        return [normal.reshape(x.shape) * scale + bias]


def _stream_group(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes, *, op: str
) -> list[int | None]:
    if any(axis is not None for axis in axes[1:]):
        raise NotAlongTime(f"{op}: a weight has the time axis")
    if axes[0] is not None and axes[0] != 0:
        raise NotAlongTime(f"{op} normalises over the time axis")
    return [axes[0]]


for _name in ("InstanceNormalization", "GroupNormalization"):
    register(
        Op(
            _name,
            functools.partial(_infer_group, op=_name),
            functools.partial(_reference_group, op=_name),
            functools.partial(_stream_group, op=_name),
        )
    )
