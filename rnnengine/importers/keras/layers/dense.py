"""Dense, normalisation with constants, activations as layers, and layers that do nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.importers.keras import activations
from rnnengine.importers.keras.builder import Context, Tensor, register
from rnnengine.importers.keras.config import Layer, Version
from rnnengine.importers.keras.hdf5 import Array
from rnnengine.importers.keras.names import Slots, in_order
from rnnengine.ops.recurrent import Activation

__all__: list[str] = []

_INERT = (
    "Dropout",
    "SpatialDropout1D",
    "GaussianNoise",
    "GaussianDropout",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
)


@register(*_INERT, timewise=True)
def _inert(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Layers that act in training only."""
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
    x = ctx.settled(inputs[0])
    axis = ctx.integer("axis", -8, -1)
    if x.mask is not None and axis not in (-1, ctx.type(x).rank - 1):
        raise UnsupportedModelError(
            f"{ctx.where}: axis is {axis} on an input with a mask; accepted: -1"
        )
    return [Tensor(ctx.emit("Softmax", [x.name], {"axis": axis}), x.mask)]


@register("Rescaling", timewise=True)
def _rescaling(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    x = ctx.settled(inputs[0])
    factor = np.array(ctx.number("scale", 1.0), np.float32)
    shift = np.array(ctx.number("offset", 0.0), np.float32)
    y = ctx.emit("Mul", [x.name, ctx.constant("scale", factor)], None, "scale")
    return [Tensor(ctx.emit("Add", [y, ctx.constant("offset", shift)]), x.mask)]


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
    return Slots(in_order([role for role, key in _AFFINE if layer.config.get(key, True)]))


@register("LayerNormalization", slots=_layer_slots, timewise=True)
def _layer_normalization(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Gamma * (x - mean) / sqrt(variance + epsilon) + beta over the last axis.

    Means are products with a column of 1/n: what the engine sums is matrix products.
    """
    ctx.only("rms_scaling", False)
    x = ctx.settled(inputs[0])
    rank, size = ctx.type(x).rank, ctx.features(x)
    if _axis(ctx, rank) != rank - 1:
        raise UnsupportedModelError(
            f"{ctx.where}: axis is {ctx.get('axis')!r}; accepted: the last axis"
        )
    column = ctx.constant("mean", np.full((size, 1), 1.0 / size, np.float32))
    mean = ctx.emit("MatMul", [x.name, column], None, "mean")
    centred = ctx.emit("Sub", [x.name, mean], None, "centred")
    square = ctx.emit("Mul", [centred, centred], None, "square")
    variance = ctx.emit("MatMul", [square, column], None, "variance")
    epsilon = ctx.constant("epsilon", np.array(ctx.number("epsilon", 1e-3), np.float32))
    width = ctx.emit(
        "Sqrt", [ctx.emit("Add", [variance, epsilon], None, "variance")], None, "width"
    )
    y = ctx.emit("Div", [centred, width], None, "normal")
    for role, op in (("gamma", "Mul"), ("beta", "Add")):
        if role in ctx.params.own:
            y = ctx.emit(op, [y, ctx.constant(role, ctx.weight(role, size))], None, role)
    return [Tensor(y, x.mask)]
