"""Layers that merge several tensors elementwise or side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.keras.builder import Context, Tensor, register

__all__: list[str] = []

_OPS = {
    "Add": "Add",
    "Average": "Add",
    "Multiply": "Mul",
    "Subtract": "Sub",
    "Maximum": "Max",
    "Minimum": "Min",
}


@register(*_OPS, inputs=None)
def _elementwise(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """All inputs, from the left; a step counts where it does in any of them."""
    tensors = [ctx.settled(t) for t in inputs]
    kind = ctx.layer.kind
    if len(tensors) < 2 or (kind == "Subtract" and len(tensors) != 2):
        raise ModelFormatError(f"{ctx.where}: has {len(tensors)} inputs; expected 2 or more")
    ranks = {ctx.type(t).rank for t in tensors}
    if len(ranks) != 1:
        raise UnsupportedModelError(
            f"{ctx.where}: its inputs have ranks {sorted(ranks)}; accepted: all the same"
        )
    total = tensors[0].name
    for other in tensors[1:]:
        total = ctx.emit(_OPS[kind], [total, other.name])
    if kind == "Average":
        count = ctx.constant("count", np.array(len(tensors), np.float32))
        total = ctx.emit("Div", [total, count], None, "average")
    masks = [t.mask for t in tensors if t.mask is not None]
    return [Tensor(total, ctx.any_mask(masks) if len(masks) == len(tensors) else None)]


@register("Concatenate", inputs=None)
def _concatenate(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Side by side along one axis; a step without a mask counts."""
    tensors = [ctx.settled(t) for t in inputs]
    rank = ctx.type(tensors[0]).rank
    axis = ctx.get("axis", -1)
    if not isinstance(axis, int) or not -rank <= axis < rank or axis % rank == 0:
        raise UnsupportedModelError(
            f"{ctx.where}: axis is {axis!r}; accepted: an axis behind the batch"
        )
    y = ctx.emit("Concat", [t.name for t in tensors], {"axis": axis % rank})
    masks = [t.mask for t in tensors if t.mask is not None]
    if not masks:
        return [Tensor(y)]
    if axis % rank != rank - 1:
        raise UnsupportedModelError(
            f"{ctx.where}: axis is {axis} on inputs with masks; accepted: the last axis"
        )
    return [Tensor(y, ctx.any_mask(masks) if len(masks) == len(tensors) else None)]
