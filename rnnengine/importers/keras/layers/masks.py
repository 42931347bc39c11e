"""Embedding and Masking, and the functions by which Keras 3 writes masks into its graphs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.importers.keras.config import OPERATION
from rnnengine.importers.keras.context import Context, Steps, Tensor
from rnnengine.importers.keras.kinds import register
from rnnengine.importers.keras.names import Slots
from rnnengine.importers.keras.records import Layer
from rnnengine.importers.keras.version import Version

__all__: list[str] = []


def _slots(layer: Layer, version: Version) -> Slots:
    return Slots((("embeddings", True),))


@register("Embedding", slots=_slots)
def _embedding(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Rows of the table by number; with mask_zero, steps of number 0 do not count."""
    ctx.only("lora_rank", None)
    (ids,) = inputs
    found = ctx.type(ids)
    if found.dtype != np.int32:
        raise UnsupportedModelError(
            f"{ctx.where}: its input is computed ({found}); accepted: an input of the model"
        )
    table = ctx.weight("embeddings", ctx.integer("input_dim"), ctx.integer("output_dim"))
    rows = ctx.emit("Gather", [ctx.constant("embeddings", table), ids.name], {"axis": 0})
    mask = None
    if ctx.flag("mask_zero"):
        if found.rank < 2:
            raise UnsupportedModelError(
                f"{ctx.where}: mask_zero with an input {found}; accepted: [batch, time]"
            )
        mask = ctx.builder.mask("MaskIds", ctx.path, [ids.name], {})
    return [Tensor(rows, mask)]


@register("Masking")
def _masking(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Steps whose features all equal the value do not count, and become zero."""
    x = ctx.settled(inputs[0])
    if ctx.type(x).rank < 3:
        raise UnsupportedModelError(
            f"{ctx.where}: its input is {ctx.type(x)}; accepted: [batch, time, features]"
        )
    value = ctx.number("mask_value", 0.0)
    mask = ctx.builder.mask("MaskValues", ctx.path, [x.name], {"mask_value": value})
    return [Tensor(x.name, mask, zero=value != 0.0)]


def _boolean(ctx: Context, tensor: Tensor) -> Steps:
    """Steps that an operand stands for."""
    if tensor.steps is None:
        raise UnsupportedModelError(f"{ctx.where}: works on numbers; accepted: masks")
    return tensor.steps


def _answer(steps: Steps) -> list[Tensor]:
    return [Tensor("", steps=steps)]


@register(f"{OPERATION}NotEqual")
def _not_equal(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The number 0 of a table, or features that are to be compared with a number."""
    (x,) = inputs
    if x.steps is not None or len(ctx.numbers) != 1:
        raise UnsupportedModelError(f"{ctx.where}: accepted: the comparison with a number")
    if ctx.type(x).dtype.kind == "f":
        return _answer(Steps(differs=(ctx.settled(x).name, ctx.numbers[0])))
    if ctx.numbers[0] != 0:
        raise UnsupportedModelError(
            f"{ctx.where}: compares with {ctx.numbers[0]}; accepted for integers: 0"
        )
    return _answer(Steps(frozenset([ctx.builder.mask("MaskIds", ctx.path, [x.name], {})])))


@register(f"{OPERATION}Any")
def _any(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Any feature of a step."""
    ctx.only("axis", -1, [-1])
    steps = _boolean(ctx, inputs[0])
    if steps.differs is None:
        return _answer(steps)
    name, value = steps.differs
    if ctx.type(name).rank != 3:
        raise UnsupportedModelError(f"{ctx.where}: of {ctx.type(name)}; accepted: rank 3")
    mask = ctx.builder.mask("MaskValues", ctx.path, [name], {"mask_value": value})
    return _answer(Steps(frozenset([mask])))


@register(f"{OPERATION}ConvertToTensor")
def _itself(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What it is given, which is a tensor already."""
    return [inputs[0]]


@register(f"{OPERATION}ExpandDims", f"{OPERATION}Squeeze")
def _same(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """An axis of features for each step, or none."""
    ctx.only("axis", -1, [-1])
    return _answer(_boolean(ctx, inputs[0]))


@register(f"{OPERATION}ZerosLike", f"{OPERATION}OnesLike")
def _constant(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    ctx.only("dtype", "bool")
    return _answer(Steps(None if ctx.layer.kind.endswith("OnesLike") else frozenset()))


@register(f"{OPERATION}LogicalOr", f"{OPERATION}Concatenate", inputs=None)
def _either(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Steps that count for either; side by side, `any` follows."""
    ctx.only("axis", -1)
    joined: set[str] = set()
    everything = False
    for steps in (_boolean(ctx, t) for t in inputs):
        if steps.differs is not None:
            raise UnsupportedModelError(f"{ctx.where}: joins features; accepted: steps")
        everything |= steps.any_of is None
        joined |= steps.any_of or set()
    return _answer(Steps(None if everything else frozenset(joined)))
