"""Layers that merge several tensors elementwise or side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.keras.context import Context, Tensor
from rnnengine.importers.keras.kinds import register

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
    """All inputs, from the left; a step counts where it does in any of them.

    Since Keras 3.4 masked steps of one input leave Multiply, Maximum and Minimum to the others.
    """
    tensors = [ctx.settled(t) for t in inputs]
    kind = ctx.layer.kind
    if len(tensors) < 2 or (kind == "Subtract" and len(tensors) != 2):
        raise ModelFormatError(f"{ctx.where}: has {len(tensors)} inputs; expected 2 or more")
    masks = [t.mask for t in tensors if t.mask is not None]
    tensors = _same_rank(ctx, tensors)
    if masks and ctx.version.since(3, 4) and kind in ("Multiply", "Maximum", "Minimum"):
        return [_product(ctx, tensors) if kind == "Multiply" else _extreme(ctx, tensors)]
    total = tensors[0].name
    for other in tensors[1:]:
        total = ctx.emit(_OPS[kind], [total, other.name])
    if kind == "Average":
        count = ctx.constant("count", np.array(len(tensors), np.float32))
        total = ctx.emit("Div", [total, count], None, "average")
    return [Tensor(total, ctx.any_mask(masks) if len(masks) == len(tensors) else None)]


def _same_rank(ctx: Context, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Inputs of lower rank get axes of one element behind the batch."""
    ranks = [ctx.type(t).rank for t in tensors]
    most = max(ranks)
    if min(ranks) != most and any(t.mask is not None for t in tensors):
        raise UnsupportedModelError(
            f"{ctx.where}: its inputs have masks and ranks {sorted(set(ranks))}; accepted: all the "
            "same"
        )
    wide: list[Tensor] = []
    for tensor, rank in zip(tensors, ranks, strict=True):
        axes = {"axes": tuple(range(1, 1 + most - rank))}
        same = rank == most
        wide.append(tensor if same else Tensor(ctx.emit("Unsqueeze", [tensor.name], axes, "wide")))
    return wide


def _where(ctx: Context, mask: str | None, value: str, other: str) -> str:
    """The value on steps that count, elsewhere the other one."""
    if mask is None:
        return value
    flags = ctx.emit("Cast", [mask], {"to": np.dtype(np.bool_)}, "counts")
    axes = tuple(range(ctx.type(mask).rank, ctx.type(value).rank))
    wide = ctx.emit("Unsqueeze", [flags], {"axes": axes}, "counts")
    return ctx.emit("Where", [wide, value, other], None, "kept")


def _product(ctx: Context, tensors: Sequence[Tensor]) -> Tensor:
    """Product of what counts, where anything does; else 0 if every input has a mask."""
    one = ctx.constant("one", np.array(1.0, np.float32))
    total = _where(ctx, tensors[0].mask, tensors[0].name, one)
    for other in tensors[1:]:
        total = ctx.emit("Mul", [total, _where(ctx, other.mask, other.name, one)])
    masks = [t.mask for t in tensors if t.mask is not None]
    if len(masks) < len(tensors):
        return Tensor(total)
    mask = ctx.any_mask(masks)
    return Tensor(_where(ctx, mask, total, ctx.constant("zero", np.array(0.0, np.float32))), mask)


def _extreme(ctx: Context, tensors: Sequence[Tensor]) -> Tensor:
    """Largest or smallest of what counts, input by input."""
    total, mask = tensors[0].name, tensors[0].mask
    for other in tensors[1:]:
        value = _where(ctx, other.mask, other.name, total)
        total = _where(ctx, mask, total, value)
        joined = mask is not None and other.mask is not None
        mask = ctx.any_mask([m for m in (mask, other.mask) if m]) if joined else None
        total = ctx.emit(_OPS[ctx.layer.kind], [total, value])
    return Tensor(total, mask)


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
    if axis % rank == rank - 1:
        return [Tensor(y, ctx.any_mask(masks) if len(masks) == len(tensors) else None)]
    if rank != 3:
        raise UnsupportedModelError(
            f"{ctx.where}: axis is {axis} on inputs of rank {rank} with masks; accepted: the last "
            "axis, or rank 3"
        )
    parts = [_all_steps(ctx, t) if t.mask is None else t.mask for t in tensors]
    return [Tensor(y, ctx.emit("Concat", parts, {"axis": 1}, "mask"))]


def _all_steps(ctx: Context, tensor: Tensor) -> str:
    """A mask of steps that all count."""
    one = ctx.constant("counts", np.array([[1]], np.int32))
    return ctx.emit("Expand", [one], {"shape": ctx.type(tensor).shape[:2]}, "counts")
