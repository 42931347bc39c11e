"""Conversion of operators that read or write at indices, and of Pad."""

from __future__ import annotations

from typing import Any

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.onnx.builder import Call
from rnnengine.importers.onnx.table import converter, emit_same
from rnnengine.ops.indexing import COMBINE
from rnnengine.ops.pad import MODES

__all__: list[str] = []


@converter("GatherElements")
def _gather_elements(call: Call) -> None:
    call.arity(2, 2)
    emit_same(call, {"axis": call.attributes.integer("axis", 0)})


@converter("GatherND")
def _gather_nd(call: Call) -> None:
    call.arity(2, 2)
    batch = call.attributes.integer("batch_dims", 0) if call.opset >= 12 else 0
    emit_same(call, {"batch_dims": batch})


def _reduction(call: Call) -> str:
    """How updates are combined: replaced only before opset 16; max and min since 18."""
    if call.opset < 16:
        return "none"
    word = call.attributes.text("reduction", "none")
    accepted = [w for w in COMBINE if call.opset >= 18 or w not in ("max", "min")]
    if word not in accepted:
        raise UnsupportedModelError(
            f"{call.where}: attribute 'reduction' is {word!r}; accepted: {', '.join(accepted)}"
        )
    return word


@converter("ScatterND")
def _scatter_nd(call: Call) -> None:
    call.arity(3, 3)
    emit_same(call, {"reduction": _reduction(call)})


@converter("ScatterElements", "Scatter")
def _scatter_elements(call: Call) -> None:
    """Scatter is the name that ScatterElements had until opset 10."""
    call.arity(3, 3)
    axis = call.attributes.integer("axis", 0)
    word = "none" if call.op == "Scatter" else _reduction(call)
    call.emit("ScatterElements", call.inputs, call.outputs, {"axis": axis, "reduction": word})


@converter("Pad")
def _pad(call: Call) -> None:
    """Pads and value are operands since opset 11, axes since 18; wrap exists since 19."""
    mode = call.attributes.text("mode", "constant")
    accepted = [w for w in MODES if call.opset >= 19 or w != "wrap"]
    if mode not in accepted:
        raise UnsupportedModelError(
            f"{call.where}: attribute 'mode' is {mode!r}; accepted: {', '.join(accepted)}"
        )
    attrs: dict[str, Any] = {"mode": mode}
    if call.opset >= 11:
        call.arity(2, 4 if call.opset >= 18 else 3)
        emit_same(call, attrs)
        return
    call.arity(1, 1)
    pads = call.attributes.integers("pads")
    if pads is None:
        raise ModelFormatError(f"{call.where}: attribute 'pads' is missing; it is required")
    emit_same(call, {**attrs, "pads": pads, "value": call.attributes.real("value", 0.0)})
