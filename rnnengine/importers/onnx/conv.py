"""Conversion of convolutions, pools and batch normalisation."""

from __future__ import annotations

from typing import Any

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.onnx.builder import Call
from rnnengine.importers.onnx.table import converter, emit_same
from rnnengine.ops.windows import AUTO_PADS

__all__ = ["windows"]


def windows(call: Call, *names: str) -> dict[str, Any]:
    """The attributes that place a window; those absent keep their defaults."""
    attrs: dict[str, Any] = {}
    for name in ("kernel_shape", "strides", "pads", *names):
        value = call.attributes.integers(name)
        if value is not None:
            attrs[name] = value
    auto = call.attributes.text("auto_pad", "NOTSET")
    if auto not in AUTO_PADS:
        raise UnsupportedModelError(
            f"{call.where}: attribute 'auto_pad' is {auto!r}; accepted: {', '.join(AUTO_PADS)}"
        )
    if auto != "NOTSET":
        attrs["auto_pad"] = auto
    if any(p < 0 for p in attrs.get("pads", ())):
        raise UnsupportedModelError(
            f"{call.where}: attribute 'pads' is {list(attrs['pads'])}; accepted: numbers from 0 up"
        )
    return attrs


@converter("Conv")
def _conv(call: Call) -> None:
    call.arity(2, 3)
    group = call.attributes.integer("group", 1)
    emit_same(call, {"group": group, **windows(call, "dilations")})


@converter("ConvTranspose")
def _conv_transpose(call: Call) -> None:
    call.arity(2, 3)
    group = call.attributes.integer("group", 1)
    names = ("dilations", "output_padding", "output_shape")
    emit_same(call, {"group": group, **windows(call, *names)})


def _kernel(call: Call, attrs: dict[str, Any]) -> None:
    if "kernel_shape" not in attrs:
        raise ModelFormatError(f"{call.where}: attribute 'kernel_shape' is missing; it is required")


@converter("MaxPool")
def _max_pool(call: Call) -> None:
    """``storage_order`` is a matter of the second output, the positions."""
    call.arity(1, 1, 2)
    if len(call.outputs) > 1:
        raise UnsupportedModelError(
            f"{call.where}: output 'Indices' is asked for; accepted: the values alone"
        )
    attrs = windows(call, *(("dilations",) if call.opset >= 10 else ()))
    _kernel(call, attrs)
    call.attributes.integer("storage_order", 0)
    if call.opset >= 10:
        attrs["ceil_mode"] = int(call.attributes.flag("ceil_mode"))
    emit_same(call, attrs)


@converter("AveragePool", "LpPool")
def _pool(call: Call) -> None:
    """AveragePool has ``ceil_mode`` since opset 10 and dilations since 19, LpPool both since 18."""
    call.arity(1, 1)
    average = call.op == "AveragePool"
    dilated = call.opset >= (19 if average else 18)
    attrs = windows(call, *(("dilations",) if dilated else ()))
    _kernel(call, attrs)
    if call.opset >= (10 if average else 18):
        attrs["ceil_mode"] = int(call.attributes.flag("ceil_mode"))
    if average:
        attrs["count_include_pad"] = int(call.attributes.flag("count_include_pad"))
    else:
        attrs["p"] = _norm(call)
    emit_same(call, attrs)


def _norm(call: Call) -> int:
    p = call.attributes.integer("p", 2)
    if p is None or p < 1:
        raise UnsupportedModelError(
            f"{call.where}: attribute 'p' is {p}; accepted: numbers from 1 up"
        )
    return p


@converter("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def _global_pool(call: Call) -> None:
    call.arity(1, 1)
    emit_same(call, {"p": _norm(call)} if call.op == "GlobalLpPool" else {})


@converter("BatchNormalization")
def _batch_normalization(call: Call) -> None:
    """``momentum`` only matters in training, which is refused."""
    call.arity(5, 5, 5)
    if len(call.outputs) > 1:
        raise UnsupportedModelError(
            f"{call.where}: outputs of the training mode are asked for; accepted: Y alone"
        )
    epsilon = call.attributes.real("epsilon", 1e-5)
    call.attributes.real("momentum", 0.9)
    if call.opset < 9:
        call.attributes.only("spatial", call.attributes.integer("spatial", 1), 1)
    if call.opset >= 14:
        training = call.attributes.integer("training_mode", 0)
        call.attributes.only("training_mode", training, 0)
    emit_same(call, {"epsilon": epsilon})
