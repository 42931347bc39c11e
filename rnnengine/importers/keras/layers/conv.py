"""Convolutions of one and two axes: plain, depthwise, separable and transposed.

Keras slides over the axes between batch and channels, and keeps its kernels as [taps.., in, out];
ONNX wants the channels before the axes, and the kernels as [out, in, taps..].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.keras import activations
from rnnengine.importers.keras.context import Context, Tensor
from rnnengine.importers.keras.hdf5 import Array
from rnnengine.importers.keras.kinds import register
from rnnengine.importers.keras.layers.axes import Channels, channels, spatial
from rnnengine.importers.keras.names import Slots, in_order
from rnnengine.importers.keras.records import Layer
from rnnengine.importers.keras.version import Version

__all__: list[str] = []

_PADDING = {"valid": "VALID", "same": "SAME_UPPER"}


def _with_bias(layer: Layer, *roles: str) -> Slots:
    return Slots(in_order([*roles, "bias"] if layer.config.get("use_bias", True) else [*roles]))


def _slots(layer: Layer, version: Version) -> Slots:
    return _with_bias(layer, "kernel")


def _separable_slots(layer: Layer, version: Version) -> Slots:
    return _with_bias(layer, "depthwise_kernel", "pointwise_kernel")


def _windows(ctx: Context, kernel: Sequence[int]) -> dict[str, Any]:
    """Attributes of a window: strides, dilations and padding."""
    count = len(kernel)
    strides = ctx.sizes("strides", count, 1)
    dilations = ctx.sizes("dilation_rate", count, 1)
    attrs: dict[str, Any] = {"kernel_shape": tuple(kernel), "strides": strides}
    attrs["dilations"] = dilations
    padding = ctx.get("padding", "valid")
    if padding == "causal" and count == 1 and ctx.layer.kind != "DepthwiseConv1D":
        return {**attrs, "pads": (dilations[0] * (kernel[0] - 1), 0)}
    if padding not in _PADDING:
        accepted = "valid, same" + (", causal" if count == 1 else "")
        raise UnsupportedModelError(f"{ctx.where}: padding is {padding!r}; accepted: {accepted}")
    return {**attrs, "auto_pad": _PADDING[padding]}


def _kernel(ctx: Context, role: str, *shape: int | None) -> Array:
    """A kernel as Keras has it now, [taps.., in, out]."""
    found = ctx.params.own.get(role)
    if ctx.version.major < 2 and found is not None and found.ndim == 4 and len(shape) == 3:
        array = ctx.weight(role, shape[0], 1, *shape[1:])[:, 0]
    else:
        array = ctx.weight(role, *shape)
    if not ctx.version.theano:
        return array
    if role != "kernel" or not ctx.layer.kind.startswith("Conv"):
        raise UnsupportedModelError(
            f"{ctx.where}: written by Keras on Theano, whose convolutions run backwards; accepted: "
            "plain convolutions"
        )
    return np.flip(array, tuple(range(array.ndim - 2)))


def _finish(ctx: Context, y: str, form: Channels) -> list[Tensor]:
    """The activation, and the channels back where they were; the mask is dropped."""
    y = form.back(ctx, y)
    return [Tensor(activations.emit_activation(ctx, y, ctx.get("activation")))]


def _bias(ctx: Context, filters: int) -> list[str]:
    if not ctx.flag("use_bias", True):
        return []
    return [ctx.constant("bias", ctx.weight("bias", filters))]


def _outward(kernel: Array) -> Array:
    """[taps.., in, out] as [out, in, taps..]."""
    return np.ascontiguousarray(np.moveaxis(kernel, (-1, -2), (0, 1)))


@register("Conv1D", "Convolution1D", "AtrousConvolution1D", "Conv2D", "Convolution2D", slots=_slots)
def _conv(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Cross-correlation with a bias; groups of channels stay apart."""
    ctx.only("lora_rank", None)
    ctx.only("quantization_config", None)
    count = spatial(ctx)
    form = channels(ctx, ctx.settled(inputs[0]), count)
    kernel, filters = ctx.sizes("kernel_size", count), ctx.integer("filters")
    groups = ctx.integer("groups", default=1)
    if form.size % groups or filters % groups:
        raise ModelFormatError(
            f"{ctx.where}: groups is {groups}; expected a divisor of {form.size} channels and "
            f"{filters} filters"
        )
    weight = _outward(_kernel(ctx, "kernel", *kernel, form.size // groups, filters))
    attrs = {**_windows(ctx, kernel), "group": groups}
    operands = [form.name, ctx.constant("kernel", weight), *_bias(ctx, filters)]
    return _finish(ctx, ctx.emit("Conv", operands, attrs), form)


def _depthwise(ctx: Context, form: Channels, role: str, bias: bool) -> str:
    """Every channel with kernels of its own; output channel c * multiplier + m is of channel c."""
    kernel = ctx.sizes("kernel_size", spatial(ctx))
    multiplier = ctx.integer("depth_multiplier", default=1)
    array = _kernel(ctx, role, *kernel, form.size, multiplier)
    inner = np.moveaxis(array, (-2, -1), (0, 1)).reshape(form.size * multiplier, 1, *kernel)
    operands = [form.name, ctx.constant(role, np.ascontiguousarray(inner))]
    operands += _bias(ctx, form.size * multiplier) if bias else []
    attrs = {**_windows(ctx, kernel), "group": form.size}
    return ctx.emit("Conv", operands, attrs, "depthwise")


@register("DepthwiseConv1D", "DepthwiseConv2D", slots=_slots)
def _depthwise_conv(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    form = channels(ctx, ctx.settled(inputs[0]), spatial(ctx))
    return _finish(ctx, _depthwise(ctx, form, "kernel", bias=True), form)


@register("SeparableConv1D", "SeparableConv2D", slots=_separable_slots)
def _separable_conv(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Depthwise, then a product over the channels of each step."""
    count = spatial(ctx)
    form = channels(ctx, ctx.settled(inputs[0]), count)
    middle = _depthwise(ctx, form, "depthwise_kernel", bias=False)
    size = form.size * ctx.integer("depth_multiplier", default=1)
    filters = ctx.integer("filters")
    point = _kernel(ctx, "pointwise_kernel", *[1] * count, size, filters)
    operands = [middle, ctx.constant("pointwise_kernel", _outward(point)), *_bias(ctx, filters)]
    return _finish(ctx, ctx.emit("Conv", operands, {"kernel_shape": (1,) * count}), form)


@register("Conv1DTranspose", "Conv2DTranspose", slots=_slots)
def _conv_transpose(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What a convolution of the same words would spread back: n steps give stride * n at least.

    With ``same`` the padding of that convolution over stride * n steps is cut off; a window shorter
    than the stride leaves steps at the end that get the bias alone.
    """
    ctx.only("output_padding", None)
    ctx.only("groups", 1)
    count = spatial(ctx)
    form = channels(ctx, ctx.settled(inputs[0]), count)
    kernel, filters = ctx.sizes("kernel_size", count), ctx.integer("filters")
    array = _kernel(ctx, "kernel", *kernel, filters, form.size)
    windows = _windows(ctx, kernel)
    auto = windows.pop("auto_pad", None)
    if auto is None:
        raise UnsupportedModelError(f"{ctx.where}: padding is 'causal'; accepted: valid, same")
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, windows["dilations"], strict=True)]
    steps = list(zip(extents, windows["strides"], strict=True))
    extra = tuple(max(s - e, 0) for e, s in steps)
    cut = [max(e - s, 0) if auto != "VALID" else 0 for e, s in steps]
    pads = (*(c // 2 for c in cut), *(c - c // 2 for c in cut))
    operands = [form.name, ctx.constant("kernel", _outward(array)), *_bias(ctx, filters)]
    attrs = {**windows, "pads": pads, "output_padding": extra}
    return _finish(ctx, ctx.emit("ConvTranspose", operands, attrs), form)
