"""Convolutions, pools and padding of ATen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.torch.aten.call import Call, aten

__all__: list[str] = []


def _spread(call: Call, name: str, axes: int, default: Sequence[int]) -> list[int]:
    """One number for each spatial axis, of which one stands for all."""
    found = call.integers(name, default)
    if len(found) not in (1, axes):
        raise ModelFormatError(f"{call.where}: argument {name!r} is {found}; expected {axes}")
    return found * axes if len(found) == 1 else found


def _kernel(call: Call, weight: str, axes: int) -> tuple[int, ...]:
    shape = call.type(weight).shape
    sizes = tuple(s for s in shape[2:] if isinstance(s, int))
    if len(shape) != axes + 2 or len(sizes) != axes:
        raise ModelFormatError(
            f"{call.where}: its weight is {call.type(weight)}; expected {axes + 2} axes"
        )
    return sizes


def _batched(call: Call, x: str, rank: int) -> tuple[str, bool]:
    """The input with a batch axis, and whether it had none."""
    found = call.type(x).rank
    if found == rank - 1:
        return call.one("Unsqueeze", [x], {"axes": (0,)}), True
    if found != rank:
        raise ModelFormatError(f"{call.where}: its input is {call.type(x)}; expected {rank} axes")
    return x, False


def _unbatched(call: Call, y: str, alone: bool) -> str:
    return call.one("Squeeze", [y], {"axes": (0,)}) if alone else y


def _same(kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """Padding 'same': as much as the kernel reaches, the odd one at the end."""
    total = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
    return [*(t // 2 for t in total), *(t - t // 2 for t in total)]


@aten("conv1d.default", "conv2d.default", "conv3d.default", "conv1d.padding", "conv2d.padding",
      "conv_transpose1d.default", "conv_transpose2d.input", "convolution.default")  # fmt: skip
def _convolution(call: Call) -> str:
    word = call.target.split(".")[1]
    x, weight, bias = call.tensor("input"), call.tensor("weight"), call.optional("bias")
    axes = call.type(weight).rank - 2
    kernel = _kernel(call, weight, axes)
    transposed = "transpose" in word or (word == "convolution" and call.flag("transposed"))
    dilations = _spread(call, "dilation", axes, [1])
    attrs: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": tuple(_spread(call, "stride", axes, [1])),
        "dilations": tuple(dilations),
        "group": call.integer("groups", 1),
    }
    if call.target.endswith(".padding"):
        said = call.text("padding", "valid")
        call.only("padding", said, "valid", "same")
        pads = _same(kernel, dilations) if said == "same" else [0] * 2 * axes
    else:
        pads = _spread(call, "padding", axes, [0]) * 2
    attrs["pads"] = tuple(pads)
    extra = call.integers("output_padding", [0])
    if transposed:
        attrs["output_padding"] = tuple(extra * axes if len(extra) == 1 else extra)
    x, alone = _batched(call, x, axes + 2)
    operands = [x, weight] if bias is None else [x, weight, bias]
    return _unbatched(call, call.one("ConvTranspose" if transposed else "Conv", operands, attrs),
                      alone)  # fmt: skip


@aten("max_pool1d.default", "max_pool2d.default", "avg_pool1d.default", "avg_pool2d.default",
      "max_pool2d_with_indices.default")  # fmt: skip
def _pool(call: Call) -> str:
    """The last window may hang over the end (``ceil_mode``), as ONNX took over from PyTorch."""
    word = call.target.split(".")[1]
    axes = 1 if "1d" in word else 2
    x, alone = _batched(call, call.tensor(), axes + 2)
    kernel = _spread(call, "kernel_size", axes, [])
    stride = call.integers("stride", []) or kernel
    stride = stride * axes if len(stride) == 1 else stride
    pads = _spread(call, "padding", axes, [0])
    attrs: dict[str, Any] = {
        "kernel_shape": tuple(kernel),
        "strides": tuple(stride),
        "pads": tuple(pads * 2),
        "ceil_mode": int(call.flag("ceil_mode")),
    }
    if word.startswith("max"):
        attrs["dilations"] = tuple(_spread(call, "dilation", axes, [1]))
    else:
        attrs["count_include_pad"] = int(call.flag("count_include_pad", True))
        call.only("divisor_override", call.take("divisor_override"), None)
    if attrs["ceil_mode"] and any(pads):
        raise UnsupportedModelError(
            f"{call.where}: argument 'ceil_mode' is True with padding {pads}; accepted: one of them"
        )
    y = call.one("MaxPool" if word.startswith("max") else "AveragePool", [x], attrs)
    return _unbatched(call, y, alone)


@aten("adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default",
      "adaptive_max_pool1d.default")  # fmt: skip
def _adaptive(call: Call) -> list[str | None]:
    """The mean or largest over all; where the largest stands is not computed."""
    word = call.target.split(".")[1]
    axes = 1 if "1d" in word else 2
    x, alone = _batched(call, call.tensor(), axes + 2)
    size = call.integers("output_size")
    call.only("output_size", size, [1] * axes)
    op = "GlobalMaxPool" if "max" in word else "GlobalAveragePool"
    return [_unbatched(call, call.one(op, [x], {}), alone), None]


_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""Ways to pad, in PyTorch's words and in ONNX's."""
_PADS = {
    "pad": None, "constant_pad_nd": "constant", "reflection_pad1d": "reflect",
    "reflection_pad2d": "reflect", "replication_pad1d": "replicate",
    "replication_pad2d": "replicate",
}  # fmt: skip
"""Operators that pad, and the mode of those that have but one."""


@aten(*(f"{name}.default" for name in _PADS))
def _pad(call: Call) -> str:
    """Elements added around a tensor, or taken away; the list begins with the last axis."""
    x, said = call.tensor(), _PADS[call.target.split(".")[1]]
    pads = call.integers("padding" if said in ("reflect", "replicate") else "pad")
    mode = said or call.text("mode", "constant")
    call.only("mode", mode, *_MODES)
    value = call.take("value")
    rank = call.type(x).rank
    if len(pads) % 2 or len(pads) > 2 * rank:
        raise ModelFormatError(f"{call.where}: argument 'pad' is {pads} for {rank} axes")
    before, after = [0] * rank, [0] * rank
    for i in range(len(pads) // 2):
        before[rank - 1 - i], after[rank - 1 - i] = pads[2 * i], pads[2 * i + 1]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise UnsupportedModelError(f"{call.where}: argument 'value' is no fixed number")
    if mode != "constant" and min(pads, default=0) < 0:
        raise UnsupportedModelError(
            f"{call.where}: argument 'pad' is {pads} in mode {mode!r}; accepted: numbers from 0 up"
        )
    attrs = {"mode": _MODES[mode], "pads": (*before, *after), "value": value or 0.0}
    return call.one("Pad", [x], attrs)
