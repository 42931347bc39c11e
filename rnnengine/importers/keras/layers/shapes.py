"""Flatten, Reshape, Permute, RepeatVector, Cropping1D and TimeDistributed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Size, product
from rnnengine.importers.keras import config
from rnnengine.importers.keras.builder import Context, Tensor, known, register, slots_of
from rnnengine.importers.keras.config import Layer, Version
from rnnengine.importers.keras.names import Slots

__all__: list[str] = []


@register("Flatten")
def _flatten(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    ctx.only("data_format", "channels_last", None)
    x = ctx.settled(inputs[0])
    shape = ctx.type(x).shape
    return [Tensor(ctx.emit("Reshape", [x.name], {"shape": (shape[0], product(shape[1:]))}))]


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


@register("Cropping1D")
def _cropping(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    x = ctx.settled(inputs[0])
    steps = ctx.rank(x, 3).shape[1]
    cut = ctx.get("cropping", [1, 1])
    cut = [cut, cut] if isinstance(cut, int) else cut
    if (
        not isinstance(cut, list)
        or len(cut) != 2
        or not all(isinstance(c, int) and c >= 0 for c in cut)
    ):
        raise ModelFormatError(f"{ctx.where}: cropping is {cut!r}; expected two sizes")
    size = steps - cut[0] - cut[1]
    attrs = {"axes": (1,), "starts": (cut[0],), "sizes": (size,), "steps": (1,)}
    return [Tensor(ctx.emit("Slice", [x.name], attrs))]


def _inner(layer: Layer, version: Version) -> Layer:
    return config.layer(layer.config.get("layer"), version, f"the layer in {layer.where}")


def _distributed_slots(layer: Layer, version: Version) -> Slots:
    inner = _inner(layer, version)
    return Slots((), (("layer", "layer", slots_of(inner, version, inner.name)),))


@register("TimeDistributed", slots=_distributed_slots)
def _time_distributed(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The layer inside on every step: as it is on the last axis, else with time in the batch."""
    x = ctx.settled(inputs[0])
    inner = _inner(ctx.layer, ctx.version)
    kind = known(inner, f"{ctx.path}.{inner.name}")
    found = ctx.type(x)
    if found.rank < 2:
        raise ModelFormatError(f"{ctx.where}: its input is {found}; expected a time axis")
    inside = ctx.inner("layer", inner)
    if kind.timewise and found.rank > 2 and inner.config.get("axis", -1) in (-1, [-1]):
        return [replace(t, mask=x.mask) for t in kind.convert(inside, [replace(x, mask=None)])]
    batch, steps, *rest = found.shape
    if not rest:
        raise UnsupportedModelError(
            f"{ctx.where}: a {inner.kind} on numbers, one a step; accepted: vectors"
        )
    joined = ctx.emit("Reshape", [x.name], {"shape": (batch * steps, *rest)}, "join")
    outputs = []
    for out in kind.convert(inside, [Tensor(joined)]):
        shape = (batch, steps, *ctx.type(out).shape[1:])
        split = ctx.emit("Reshape", [ctx.settled(out).name], {"shape": shape}, "part")
        outputs.append(Tensor(split, x.mask))
    return outputs
