"""Conversion of reductions, ArgMax, ArgMin and CumSum."""

from __future__ import annotations

import numpy as np

from rnnengine.errors import ModelFormatError
from rnnengine.importers.onnx.builder import Call
from rnnengine.importers.onnx.table import converter, emit_same
from rnnengine.ops.reduce import REDUCTIONS

__all__: list[str] = []


@converter(*REDUCTIONS)
def _reduce(call: Call) -> None:
    """Axes are an operand since opset 18, of ReduceSum since 13."""
    attrs: dict[str, object] = {"keepdims": call.attributes.flag("keepdims", True)}
    if call.opset >= (13 if call.op == "ReduceSum" else 18):
        call.arity(1, 2)
        attrs["noop_with_empty_axes"] = call.attributes.flag("noop_with_empty_axes")
        if call.op in ("ReduceMax", "ReduceMin") and call.type(0).dtype.kind == "b":
            _reduce_bool(call, attrs)
            return
        emit_same(call, attrs)
        return
    call.arity(1, 1)
    axes = call.attributes.integers("axes")
    emit_same(call, attrs if axes is None else {**attrs, "axes": axes})


def _reduce_bool(call: Call, attrs: dict[str, object]) -> None:
    """As 0.0 and 1.0: an infinity, which comes of no elements, falls on the right side of 1/2."""
    numbers = call.made("Cast", call.inputs[:1], {"to": np.dtype(np.float32)}, "numbers")
    found = call.made(call.op, [numbers, *call.inputs[1:]], attrs, "found")
    half = call.constant("half", np.asarray(0.5, np.float32))
    call.emit("Greater", [found, half], call.outputs)


@converter("ArgMax", "ArgMin")
def _arg(call: Call) -> None:
    call.arity(1, 1)
    attrs = {
        "axis": call.attributes.integer("axis", 0),
        "keepdims": call.attributes.flag("keepdims", True),
    }
    if call.opset >= 12:
        attrs["select_last_index"] = call.attributes.flag("select_last_index")
    emit_same(call, attrs)


@converter("CumSum")
def _cumsum(call: Call) -> None:
    call.arity(2, 2)
    axis = call.type(1)
    if axis.shape not in ((), (1,)) or axis.dtype.kind != "i":
        raise ModelFormatError(f"{call.where}: axis is {axis}; expected one integer")
    names = ("exclusive", "reverse")
    emit_same(call, {name: call.attributes.flag(name) for name in names})
