"""Pools over windows and over whole axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.importers.keras.context import Context, Tensor
from rnnengine.importers.keras.kinds import register
from rnnengine.importers.keras.layers.axes import channels, channels_first, spatial, spatial_axes

__all__: list[str] = []

_POOLS = {"Max": "MaxPool", "Average": "AveragePool"}
_PADDING = {"valid": "VALID", "same": "SAME_UPPER"}


@register(*(f"{word}Pooling{count}D" for word in _POOLS for count in (1, 2)))
def _pool(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Largest element or mean of each window; padding counts for neither. The mask is dropped."""
    count = spatial(ctx)
    form = channels(ctx, ctx.settled(inputs[0]), count)
    size = ctx.sizes("pool_size", count, 2)
    strides = size if ctx.get("strides") is None else ctx.sizes("strides", count)
    padding = ctx.get("padding", "valid")
    if padding not in _PADDING:
        raise UnsupportedModelError(f"{ctx.where}: padding is {padding!r}; accepted: valid, same")
    attrs: dict[str, Any] = {"kernel_shape": size, "strides": strides}
    op = _POOLS[ctx.layer.kind.partition("Pooling")[0]]
    y = ctx.emit(op, [form.name], {**attrs, "auto_pad": _PADDING[padding]})
    return [Tensor(form.back(ctx, y))]


@register(*(f"Global{word}Pooling{count}D" for word in _POOLS for count in (1, 2)))
def _global_pool(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Largest element or mean over all steps; only the mean over time looks at the mask.

    (Versions of Keras that did not refused to build such a model.)
    """
    count = spatial(ctx)
    (mask,) = ctx.masks(inputs)
    x = ctx.settled(inputs[0])
    ctx.rank(x, count + 2)
    axes, keep = spatial_axes(ctx, count), ctx.flag("keepdims")
    kind = ctx.layer.kind
    attrs = {"axes": axes, "keepdims": keep}
    if kind.startswith("GlobalMax"):
        return [Tensor(ctx.emit("ReduceMax", [x.name], attrs))]
    if mask is None or count != 1:
        return [Tensor(ctx.emit("ReduceMean", [x.name], attrs))]
    float32 = {"to": np.dtype(np.float32)}
    weight = ctx.emit("Cast", [ctx.steps_mask(mask)], float32, "weight")
    other = 1 if channels_first(ctx) else 2
    weight = ctx.emit("Unsqueeze", [weight], {"axes": (other,)}, "weight")
    product = ctx.emit("Mul", [x.name, weight], None, "weight")
    total = ctx.emit("ReduceSum", [product], attrs, "total")
    return [Tensor(ctx.emit("Div", [total, ctx.emit("ReduceSum", [weight], attrs, "count")]))]
