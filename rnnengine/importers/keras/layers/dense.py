"""Dense, activations as layers, and layers that do nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.importers.keras import activations
from rnnengine.importers.keras.context import Context, Tensor
from rnnengine.importers.keras.kinds import register
from rnnengine.importers.keras.names import Slots, in_order
from rnnengine.importers.keras.records import Layer
from rnnengine.importers.keras.version import Version
from rnnengine.ops.recurrent import Activation

__all__: list[str] = []

_INERT = (
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "GaussianNoise",
    "GaussianDropout",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
)


@register(*_INERT, timewise=True)
def _inert(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Layers that act in training only; before Keras 3 Identity drops the mask."""
    if ctx.layer.kind == "Identity" and ctx.version.major < 3:
        return [Tensor(ctx.settled(inputs[0]).name)]
    return [inputs[0]]


def _dense_slots(layer: Layer, version: Version) -> Slots:
    return Slots(in_order(["kernel", "bias"] if layer.config.get("use_bias", True) else ["kernel"]))


@register("Dense", "TimeDistributedDense", slots=_dense_slots, timewise=True)
def _dense(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Y = act(x W + b) over the last axis, W [in, out]."""
    ctx.only("lora_rank", None)
    ctx.only("quantization_config", None)
    x = ctx.settled(inputs[0])
    size, units = ctx.features(x), ctx.integer("units")
    y = ctx.emit("MatMul", [x.name, ctx.constant("kernel", ctx.weight("kernel", size, units))])
    if ctx.flag("use_bias", True):
        y = ctx.emit("Add", [y, ctx.constant("bias", ctx.weight("bias", units))], None, "bias")
    y = activations.emit_activation(ctx, y, ctx.get("activation"))
    return [Tensor(y, x.mask)]


@register("Activation", timewise=True)
def _activation(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    x = ctx.settled(inputs[0])
    return [Tensor(activations.emit_activation(ctx, x.name, ctx.get("activation")), x.mask)]


@register("ReLU", "LeakyReLU", "ELU", "ThresholdedReLU", timewise=True)
def _activation_layer(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Activations with parameters of their own."""
    x = ctx.settled(inputs[0])
    kind = ctx.layer.kind
    if kind == "ThresholdedReLU":
        y = ctx.emit("ThresholdedRelu", [x.name], {"alpha": ctx.number("theta", 1.0)})
        return [Tensor(y, x.mask)]
    if kind == "ReLU":
        act = activations.relu(ctx.layer.config, ctx.where)
    elif kind == "LeakyReLU":
        key = "negative_slope" if "negative_slope" in ctx.layer.config else "alpha"
        act = Activation("leaky_relu", ctx.number(key, 0.3))
    else:
        act = Activation("elu", ctx.number("alpha", 1.0))
    return [Tensor(activations.apply(ctx, x.name, act), x.mask)]


def _prelu_slots(layer: Layer, version: Version) -> Slots:
    return Slots((("alpha", True),))


@register("PReLU", slots=_prelu_slots)
def _prelu(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """max(x, 0) - alpha * max(-x, 0)."""
    x = ctx.settled(inputs[0])
    alpha = ctx.weight("alpha", *[None] * (ctx.type(x).rank - 1))
    above = ctx.emit("Relu", [x.name], None, "above")
    below = ctx.emit("Relu", [ctx.emit("Neg", [x.name], None, "below")], None, "below")
    scaled = ctx.emit("Mul", [below, ctx.constant("alpha", alpha)], None, "below")
    return [Tensor(ctx.emit("Sub", [above, scaled]), x.mask)]


@register("Softmax", timewise=True)
def _softmax(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Softmax along an axis.

    tf.keras 2.4 and Keras 3 hold the mask against single numbers, which one of steps does not fit.
    """
    (mask,) = ctx.masks(inputs)
    strict = ctx.version.since(3, 0) or (ctx.version.tf and ctx.version.since(2, 4))
    if mask is not None and strict:
        raise UnsupportedModelError(
            f"{ctx.where}: its input has a mask of steps, which Keras cannot apply to "
            f"{ctx.type(inputs[0])}; accepted: no mask, or Activation('softmax')"
        )
    x = ctx.settled(inputs[0])
    axis = ctx.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    rank = ctx.type(x).rank
    if not isinstance(axis, int) or isinstance(axis, bool) or not -rank <= axis < rank:
        raise UnsupportedModelError(f"{ctx.where}: axis is {axis!r}; accepted: one axis")
    return [Tensor(ctx.emit("Softmax", [x.name], {"axis": axis}), x.mask)]


@register("Rescaling", timewise=True)
def _rescaling(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """X * scale + offset; before Keras 3 the mask is dropped."""
    x = ctx.settled(inputs[0])
    factor = np.array(ctx.number("scale", 1.0), np.float32)
    shift = np.array(ctx.number("offset", 0.0), np.float32)
    y = ctx.emit("Mul", [x.name, ctx.constant("scale", factor)], None, "scale")
    mask = x.mask if ctx.version.major >= 3 else None
    return [Tensor(ctx.emit("Add", [y, ctx.constant("offset", shift)]), mask)]
