"""Layers that move, add, take away or repeat elements, and TimeDistributed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Size, product
from rnnengine.importers.keras import config
from rnnengine.importers.keras.context import Context, Tensor
from rnnengine.importers.keras.kinds import known, register, slots_of
from rnnengine.importers.keras.layers.axes import channels_first, spatial, spatial_axes
from rnnengine.importers.keras.names import Slots
from rnnengine.importers.keras.records import Layer
from rnnengine.importers.keras.version import Version

__all__: list[str] = []


@register("Flatten")
def _flatten(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """All axes behind the batch as one, the channels last."""
    x = ctx.settled(inputs[0])
    shape, name = ctx.type(x).shape, x.name
    if channels_first(ctx) and len(shape) > 2:
        name = ctx.emit("Transpose", [name], {"perm": (0, *range(2, len(shape)), 1)}, "channels")
    return [Tensor(ctx.emit("Reshape", [name], {"shape": (shape[0], product(shape[1:]))}))]


@register("Reshape")
def _reshape(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Everything behind the batch axis in another shape; one size may be -1."""
    x = ctx.settled(inputs[0])
    target = ctx.get("target_shape")
    if not isinstance(target, list) or not all(
        t is None or (isinstance(t, int) and not isinstance(t, bool) and t >= -1) for t in target
    ):
        raise ModelFormatError(f"{ctx.where}: target_shape is {target!r}; expected sizes")
    sizes = [-1 if t is None else t for t in target]
    wanted = ctx.constant("shape", np.array([0, *sizes], np.int64))
    return [Tensor(ctx.emit("Reshape", [x.name, wanted]))]


@register("Permute")
def _permute(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Axes behind the batch in another order, counted from 1."""
    x = ctx.settled(inputs[0])
    dims = ctx.get("dims")
    if not isinstance(dims, list) or sorted(map(str, dims)) != sorted(
        map(str, range(1, ctx.type(x).rank))
    ):
        raise ModelFormatError(
            f"{ctx.where}: dims is {dims!r}; expected an order of the axes of {ctx.type(x)}"
        )
    return [Tensor(ctx.emit("Transpose", [x.name], {"perm": (0, *map(int, dims))}))]


@register("RepeatVector")
def _repeat_vector(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    x = ctx.settled(inputs[0])
    batch, size = ctx.rank(x, 2).shape
    wide = ctx.emit("Unsqueeze", [x.name], {"axes": (1,)}, "step")
    shape: tuple[Size, ...] = (batch, ctx.integer("n"), size)
    return [Tensor(ctx.emit("Expand", [wide], {"shape": shape}))]


def _ends(ctx: Context, key: str, default: Any) -> list[tuple[int, int]]:
    """What is added or taken at both ends of each axis: one number, one for each axis, or pairs."""
    count = spatial(ctx)
    found = ctx.get(key, default)
    listed = [found] * count if isinstance(found, int) or count == 1 else found
    pairs = [[v, v] if isinstance(v, int) else v for v in listed] if listed else []
    if len(pairs) != count or not all(
        isinstance(p, list) and len(p) == 2 and all(type(v) is int and v >= 0 for v in p)
        for p in pairs
    ):
        raise ModelFormatError(
            f"{ctx.where}: {key} is {str(found)[:80]}; expected two sizes for each of {count} axes"
        )
    return [(int(a), int(b)) for a, b in pairs]


@register("Cropping1D", "Cropping2D")
def _cropping(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Less at both ends of the axes; the mask is dropped."""
    x = ctx.settled(inputs[0])
    count = spatial(ctx)
    shape = ctx.rank(x, count + 2).shape
    axes, ends = spatial_axes(ctx, count), _ends(ctx, "cropping", 1)
    sizes = tuple(shape[axis] - a - b for axis, (a, b) in zip(axes, ends, strict=True))
    starts = tuple(a for a, _ in ends)
    attrs = {"axes": axes, "starts": starts, "sizes": sizes, "steps": (1,) * count}
    return [Tensor(ctx.emit("Slice", [x.name], attrs))]


@register("ZeroPadding1D", "ZeroPadding2D")
def _zero_padding(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Zeros at both ends of the axes; the mask is dropped."""
    x = ctx.settled(inputs[0])
    count = spatial(ctx)
    rank = ctx.rank(x, count + 2).rank
    before, after = [0] * rank, [0] * rank
    for axis, (a, b) in zip(spatial_axes(ctx, count), _ends(ctx, "padding", 1), strict=True):
        before[axis], after[axis] = a, b
    attrs = {"mode": "constant", "pads": (*before, *after), "value": 0.0}
    return [Tensor(ctx.emit("Pad", [x.name], attrs))]


@register("UpSampling1D", "UpSampling2D")
def _up_sampling(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Every element of the axes several times in a row; the mask is dropped."""
    ctx.only("interpolation", "nearest")
    x = ctx.settled(inputs[0])
    count = spatial(ctx)
    shape, name = list(ctx.rank(x, count + 2).shape), x.name
    for axis, times in zip(spatial_axes(ctx, count), ctx.sizes("size", count, 2), strict=True):
        wide = ctx.emit("Unsqueeze", [name], {"axes": (axis + 1,)}, "element")
        target = (*shape[: axis + 1], times, *shape[axis + 1 :])
        repeated = ctx.emit("Expand", [wide], {"shape": target}, "repeat")
        shape[axis] = shape[axis] * times
        name = ctx.emit("Reshape", [repeated], {"shape": tuple(shape)}, "row")
    return [Tensor(name)]


def _inner(layer: Layer, version: Version) -> Layer:
    return config.layer(layer.config.get("layer"), version, f"the layer in {layer.where}")


def _distributed_slots(layer: Layer, version: Version) -> Slots:
    inner = _inner(layer, version)
    return Slots((), (("layer", "layer", slots_of(inner, version, inner.name)),))


@register("TimeDistributed", slots=_distributed_slots)
def _time_distributed(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The layer inside on every step: as it is on the last axis, else with time in the batch.

    A mask with an axis behind time is the mask of what the layer inside gets.
    """
    (mask,) = ctx.masks(inputs)
    x = ctx.settled(inputs[0])
    inner = _inner(ctx.layer, ctx.version)
    kind = known(inner, f"{ctx.path}.{inner.name}")
    found = ctx.type(x)
    if found.rank < 2:
        raise ModelFormatError(f"{ctx.where}: its input is {found}; expected a time axis")
    inside = ctx.inner("layer", inner)
    if kind.timewise and found.rank > 2 and inner.config.get("axis", -1) in (-1, [-1]):
        return [replace(t, mask=mask) for t in kind.convert(inside, [Tensor(x.name)])]
    batch, steps, *rest = found.shape
    if not rest:
        raise UnsupportedModelError(
            f"{ctx.where}: a {inner.kind} on numbers, one a step; accepted: vectors"
        )
    joined = Tensor(ctx.emit("Reshape", [x.name], {"shape": (batch * steps, *rest)}, "join"))
    if mask is not None and ctx.type(mask).rank > 2:
        shape = (batch * steps, *ctx.type(mask).shape[2:])
        joined = replace(joined, mask=ctx.emit("Reshape", [mask], {"shape": shape}, "mask"))
    outputs = []
    for out in kind.convert(inside, [joined]):
        shape = (batch, steps, *ctx.type(out).shape[1:])
        split = ctx.emit("Reshape", [ctx.settled(out).name], {"shape": shape}, "part")
        outputs.append(Tensor(split, _mask_over_time(ctx, mask, out.mask, (batch, steps))))
    return outputs


def _mask_over_time(
    ctx: Context, given: str | None, inner: str | None, steps: tuple[Size, Size]
) -> str | None:
    """Mask of what TimeDistributed returns.

    Keras 3 passes the one it was given on. tf.keras takes that of the layer inside; where there is
    none, a step counts if anything in it did.
    """
    if not ctx.version.tf or ctx.version.major >= 3:
        return given
    if inner is not None:
        shape = (*steps, *ctx.type(inner).shape[1:])
        return ctx.emit("Reshape", [inner], {"shape": shape}, "mask")
    if given is None or ctx.type(given).rank == 2:
        return given
    axes = tuple(range(2, ctx.type(given).rank))
    return ctx.emit("ReduceMax", [given], {"axes": axes, "keepdims": False}, "mask")
