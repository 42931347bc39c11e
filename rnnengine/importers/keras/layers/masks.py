"""Embedding and Masking: where masks come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.importers.keras.builder import Context, Tensor, register
from rnnengine.importers.keras.config import Layer, Version
from rnnengine.importers.keras.names import Slots

__all__: list[str] = []


def _slots(layer: Layer, version: Version) -> Slots:
    return Slots((("embeddings", True),))


@register("Embedding", slots=_slots)
def _embedding(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Rows of the table by number; with mask_zero, steps of number 0 do not count."""
    ctx.only("lora_rank", None)
    (ids,) = inputs
    found = ctx.rank(ids, 1, 2)
    if found.dtype != np.int32:
        raise UnsupportedModelError(
            f"{ctx.where}: its input is computed ({found}); accepted: an input of the model"
        )
    table = ctx.weight("embeddings", ctx.integer("input_dim"), ctx.integer("output_dim"))
    rows = ctx.emit("Gather", [ctx.constant("embeddings", table), ids.name], {"axis": 0})
    mask = None
    if ctx.flag("mask_zero"):
        if found.rank != 2:
            raise UnsupportedModelError(
                f"{ctx.where}: mask_zero with an input {found}; accepted: [batch, time]"
            )
        mask = ctx.emit("MaskIds", [ids.name], None, "mask")
    return [Tensor(rows, mask)]


@register("Masking")
def _masking(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Steps whose features all equal the value do not count, and become zero."""
    x = ctx.settled(inputs[0])
    ctx.rank(x, 3)
    value = ctx.number("mask_value", 0.0)
    mask = ctx.emit("MaskValues", [x.name], {"mask_value": value}, "mask")
    return [Tensor(x.name, mask, zero=value != 0.0)]
