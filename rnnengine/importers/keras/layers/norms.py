"""Normalisations: by statistics of the file, of the features, or of the length of a vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Size
from rnnengine.importers.keras.context import Context, Tensor
from rnnengine.importers.keras.hdf5 import Array
from rnnengine.importers.keras.kinds import register
from rnnengine.importers.keras.names import Slots, in_order
from rnnengine.importers.keras.records import Layer
from rnnengine.importers.keras.version import Version

__all__ = ["unit_length"]


def _batch_slots(layer: Layer, version: Version) -> Slots:
    own = [(role, True) for role, key in _AFFINE if layer.config.get(key, True)]
    return Slots((*own, ("moving_mean", False), ("moving_variance", False)))


_AFFINE = (("gamma", "scale"), ("beta", "center"))


def _axis(ctx: Context, rank: int) -> int:
    """The one axis that is normalised over or along, not negative."""
    axis = ctx.get("axis", -1)
    axes = axis if isinstance(axis, list) else [axis]
    if len(axes) != 1 or not isinstance(axes[0], int) or not -rank <= axes[0] < rank:
        raise UnsupportedModelError(f"{ctx.where}: axis is {axis!r}; accepted: one axis")
    return int(axes[0]) % rank


@register("BatchNormalization", slots=_batch_slots, timewise=True)
def _batch_normalization(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Gamma * (x - mean) / sqrt(variance + epsilon) + beta with the moving statistics."""
    ctx.only("mode", 0)
    ctx.only("renorm", False, None)
    x = ctx.settled(inputs[0])
    found = ctx.type(x)
    axis = _axis(ctx, found.rank)
    size = found.shape[axis]
    if not isinstance(size, int) or axis == 0:
        raise UnsupportedModelError(f"{ctx.where}: axis {axis} of {found} has no fixed size")
    own = {r: ctx.weight(r, size).astype(np.float64) for r in ctx.params.own}
    scale = own.get("gamma", np.ones(size)) / np.sqrt(
        own["moving_variance"] + ctx.number("epsilon", 1e-3)
    )
    shift = own.get("beta", np.zeros(size)) - own["moving_mean"] * scale
    y = ctx.emit("Mul", [x.name, _along(ctx, "scale", scale, axis, found.rank)], None, "scale")
    return [Tensor(ctx.emit("Add", [y, _along(ctx, "shift", shift, axis, found.rank)]), x.mask)]


def _along(ctx: Context, name: str, value: Array, axis: int, rank: int) -> str:
    shape = [1] * (rank - axis)
    shape[0] = -1
    return ctx.constant(name, value.astype(np.float32).reshape(shape))


def _layer_slots(layer: Layer, version: Version) -> Slots:
    if layer.config.get("rms_scaling"):
        return Slots(in_order(["gamma"]))
    return Slots(in_order([role for role, key in _AFFINE if layer.config.get(key, True)]))


def _axes(ctx: Context, rank: int, key: str = "axis") -> tuple[int, ...]:
    """One axis or several, not negative, ascending, the batch not among them."""
    found = ctx.get(key, -1)
    listed = found if isinstance(found, list) else [found]
    if not listed or not all(type(a) is int and -rank <= a < rank for a in listed):
        raise ModelFormatError(f"{ctx.where}: {key} is {found!r}; expected axes of rank {rank}")
    axes = tuple(sorted({a % rank for a in listed}))
    if axes[0] == 0 or len(axes) != len(listed):
        raise UnsupportedModelError(
            f"{ctx.where}: {key} is {found!r}; accepted: different axes behind the batch"
        )
    return axes


def _known(ctx: Context, shape: Sequence[Size], axes: Sequence[int]) -> tuple[int, ...]:
    """Sizes of axes that weights belong to."""
    sizes = tuple(shape[a] for a in axes)
    if not all(isinstance(s, int) for s in sizes):
        raise UnsupportedModelError(
            f"{ctx.where}: axes {tuple(axes)} have the sizes {sizes}; accepted: known sizes"
        )
    return tuple(int(s) for s in sizes if isinstance(s, int))


@register("LayerNormalization", slots=_layer_slots, timewise=True)
def _layer_normalization(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Gamma * (x - mean) / sqrt(variance + epsilon) + beta over one or several axes."""
    ctx.only("rms_scaling", False)
    return [_normalised(ctx, inputs[0], "LayerNormalization", ("gamma", "beta"), 1e-3)]


def _rms_slots(layer: Layer, version: Version) -> Slots:
    return Slots(in_order(["scale"]))


@register("RMSNormalization", slots=_rms_slots, timewise=True)
def _rms_normalization(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Scale * x / sqrt(mean(x * x) + epsilon); the mask is dropped."""
    return [Tensor(_normalised(ctx, inputs[0], "RMSNormalization", ("scale",), 1e-6).name)]


def _normalised(
    ctx: Context, tensor: Tensor, op: str, roles: Sequence[str], epsilon: float
) -> Tensor:
    """Normalise over axes, which the operator wants to be the last ones."""
    x = ctx.settled(tensor)
    found = ctx.type(x)
    axes = _axes(ctx, found.rank)
    sizes = _known(ctx, found.shape, axes)
    order = (*(a for a in range(found.rank) if a not in axes), *axes)
    moved = order != tuple(range(found.rank))
    y = ctx.emit("Transpose", [x.name], {"perm": order}, "last") if moved else x.name
    factors: list[str] = []
    for role in roles:
        own = role in ctx.params.own
        if own or role == roles[0]:
            value = ctx.weight(role, *sizes) if own else np.ones(sizes, np.float32)
            factors.append(ctx.constant(role, value))
    attrs = {"axis": found.rank - len(axes), "epsilon": ctx.number("epsilon", epsilon)}
    y = ctx.emit(op, [y, *factors], attrs)
    if moved:
        back = tuple(order.index(a) for a in range(found.rank))
        y = ctx.emit("Transpose", [y], {"perm": back}, "back")
    return Tensor(y, x.mask)


@register("GroupNormalization", slots=_layer_slots)
def _group_normalization(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Groups of adjacent channels, normalised over their channels and all other axes."""
    x = ctx.settled(inputs[0])
    found = ctx.type(x)
    axes = _axes(ctx, found.rank)
    (size,) = _known(ctx, found.shape, axes)
    groups = ctx.integer("groups", -1, 32)
    groups = size if groups == -1 else groups
    if len(axes) != 1 or groups < 1 or size % groups:
        raise ModelFormatError(
            f"{ctx.where}: groups is {groups} on axis {axes} of {found}; expected a divisor of its "
            "size"
        )
    order = (0, axes[0], *(a for a in range(1, found.rank) if a != axes[0]))
    y = ctx.emit("Transpose", [x.name], {"perm": order}, "channels")
    factors = []
    for role, plain in (("gamma", np.ones), ("beta", np.zeros)):
        own = role in ctx.params.own
        value = ctx.weight(role, size) if own else plain(size, np.float32)
        factors.append(ctx.constant(role, value))
    attrs = {"num_groups": groups, "epsilon": ctx.number("epsilon", 1e-3)}
    y = ctx.emit("GroupNormalization", [y, *factors], attrs)
    back = tuple(order.index(a) for a in range(found.rank))
    return [Tensor(ctx.emit("Transpose", [y], {"perm": back}, "back"), x.mask)]


def unit_length(ctx: Context, x: str, axes: tuple[int, ...], least: float) -> str:
    """X over its length along the axes, which counts as `least` at least."""
    norm = ctx.emit("ReduceL2", [x], {"axes": axes, "keepdims": True}, "length")
    floor = ctx.constant("least", np.array(least, np.float32))
    return ctx.emit("Div", [x, ctx.emit("Max", [norm, floor], None, "length")], None, "unit")


@register("UnitNormalization", timewise=True)
def _unit_normalization(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """X over its length; shorter vectors than 1e-12, in tf.keras 1e-6, are only scaled."""
    x = ctx.settled(inputs[0])
    axes = _axes(ctx, ctx.type(x).rank)
    least = 1e-12 if ctx.version.major >= 3 else 1e-6
    return [Tensor(unit_length(ctx, x.name, axes, least), x.mask)]


def _constant_slots(layer: Layer, version: Version) -> Slots:
    if layer.config.get("mean") is not None:
        return Slots()
    return Slots(tuple((role, False) for role in ("mean", "variance", "count")))


@register("Normalization", slots=_constant_slots)
def _normalization(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """(x - mean) / max(sqrt(variance), 1e-7), or back; before Keras 3 the mask is dropped."""
    x = ctx.settled(inputs[0])
    found = ctx.type(x)
    axis = ctx.get("axis", -1)
    kept = () if axis in (None, []) else _axes(ctx, found.rank)
    sizes = _known(ctx, found.shape, kept)
    shape = [found.shape[a] if a in kept else 1 for a in range(found.rank)]
    mean, variance = (
        _statistic(ctx, role, sizes).reshape([int(s) for s in shape if isinstance(s, int)])
        for role in ("mean", "variance")
    )
    width = np.maximum(np.sqrt(variance), 1e-7)
    centre, spread = ctx.constant("mean", _f32(mean)), ctx.constant("width", _f32(width))
    if ctx.flag("invert"):
        y = ctx.emit("Add", [ctx.emit("Mul", [x.name, spread], None, "wide"), centre])
    else:
        y = ctx.emit("Div", [ctx.emit("Sub", [x.name, centre], None, "centred"), spread])
    return [Tensor(y, x.mask if ctx.version.major >= 3 else None)]


def _f32(value: Array) -> Array:
    return value.astype(np.float32)


def _statistic(ctx: Context, role: str, sizes: tuple[int, ...]) -> Array:
    """Mean or variance in float64: a weight, or numbers of the configuration."""
    said: Any = ctx.get(role)
    if said is None:
        return ctx.weight(role, *sizes).astype(np.float64)
    try:
        value = np.asarray(said, np.float64)
        value = value.reshape([s for s in value.shape if s != 1] or [])
        full = np.broadcast_to(value, sizes)
    except (TypeError, ValueError):
        full = np.full((), np.nan)
    if not np.isfinite(full).all():
        raise ModelFormatError(
            f"{ctx.where}: {role} is {str(said)[:80]}; expected numbers of shape {list(sizes)}"
        )
    return full
