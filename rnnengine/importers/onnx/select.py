"""Conversion of operators that read or write at indices, and of Pad."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.onnx.builder import Call
from rnnengine.importers.onnx.table import converter, emit_same
from rnnengine.ops.indexing import COMBINE
from rnnengine.ops.pad import MODES
from rnnengine.ops.registry import Array

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


@converter("ReverseSequence")
def _reverse_sequence(call: Call) -> None:
    """Whole rows turned round by a Slice; parts of rows, where all sizes are known, by a gather."""
    call.arity(2, 2)
    batch, time = (call.attributes.integer(f"{w}_axis", d) for w, d in (("batch", 1), ("time", 0)))
    assert batch is not None and time is not None
    kind = call.type(0)
    if (batch, time) not in ((0, 1), (1, 0)) or kind.rank < 2:
        raise ModelFormatError(
            f"{call.where}: batch_axis is {batch}, time_axis {time}, the input {kind}; expected 0 "
            "and 1 or 1 and 0, and two axes"
        )
    lengths = _lengths(call)
    if lengths is not None and all(n == kind.shape[time] for n in lengths):
        bounds = {"starts": -1, "ends": -(2**31), "axes": time, "steps": -1}
        operands = [call.constant(name, np.array([n])) for name, n in bounds.items()]
        call.emit("Slice", [call.inputs[0], *operands], call.outputs)
        return
    sizes = [s for s in kind.shape if isinstance(s, int)]
    if lengths is None or lengths.dtype == object or len(sizes) < kind.rank:
        raise UnsupportedModelError(
            f"{call.where}: sequence_lens {call.input(1)!r}, or a size of {kind}, is not fixed; "
            "accepted: the length of the whole sequence, or constants (constants={...})"
        )
    rows, steps = sizes[batch], np.arange(sizes[time])
    if lengths.shape != (rows,) or np.any((lengths < 0) | (lengths > len(steps))):
        raise ModelFormatError(
            f"{call.where}: sequence_lens are {lengths}; expected {rows} from 0 to {len(steps)}"
        )
    ends = lengths[:, None]
    turned = np.where(steps < ends, ends - 1 - steps, steps)
    turned = turned if time == 1 else turned.T
    full = np.broadcast_to(turned.reshape(*turned.shape, *[1] * (kind.rank - 2)), sizes)
    indices = call.constant("turned", np.ascontiguousarray(full))
    call.emit("GatherElements", [call.inputs[0], indices], call.outputs, {"axis": time})


def _lengths(call: Call) -> Array | None:
    """The lengths as far as they are known; of as many equal ones as there are rows, one."""
    values, name = call.builder.inference.values, call.inputs[1]
    for node in reversed(call.builder.nodes):
        if name in values:
            break
        if name in node.outputs and node.op in ("Expand", "Identity", "Cast", "Tile"):
            name = node.inputs[0]
    found = None if name is None else values.get(name)
    return None if found is None else np.atleast_1d(found)
