"""Conversion of operators that move elements, and of those on shapes and constants."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.onnx.builder import Call, scalar
from rnnengine.importers.onnx.proto import BFLOAT16
from rnnengine.importers.onnx.table import converter, emit_same

__all__: list[str] = []


@converter("Transpose")
def _transpose(call: Call) -> None:
    call.arity(1, 1)
    perm = call.attributes.integers("perm")
    emit_same(call, {} if perm is None else {"perm": perm})


@converter("Reshape")
def _reshape(call: Call) -> None:
    call.arity(2, 2)
    allowzero = call.opset >= 14 and call.attributes.flag("allowzero")
    emit_same(call, {"allowzero": allowzero})


@converter("Flatten")
def _flatten(call: Call) -> None:
    call.arity(1, 1)
    emit_same(call, {"axis": call.attributes.integer("axis", 1)})


@converter("Squeeze", "Unsqueeze")
def _axes(call: Call) -> None:
    """Axes are an operand since opset 13."""
    least = 2 if call.op == "Unsqueeze" else 1
    if call.opset >= 13:
        call.arity(least, 2)
        emit_same(call)
        return
    call.arity(1, 1)
    axes = call.attributes.integers("axes")
    if axes is None and call.op == "Unsqueeze":
        raise ModelFormatError(f"{call.where}: attribute 'axes' is missing; it is required")
    emit_same(call, {} if axes is None else {"axes": axes})


@converter("Concat")
def _concat(call: Call) -> None:
    call.arity(len(call.inputs) or 1, max(len(call.inputs), 1))
    axis = call.attributes.integer("axis")
    if axis is None:
        raise ModelFormatError(f"{call.where}: attribute 'axis' is missing; it is required")
    emit_same(call, {"axis": axis})


@converter("Split")
def _split(call: Call) -> None:
    """Sizes are an operand since opset 13; num_outputs since 18 allows a smaller last part."""
    count = len(call.outputs)
    call.arity(1, 2 if call.opset >= 13 else 1, count)
    attrs: dict[str, Any] = {"axis": call.attributes.integer("axis", 0), "num_outputs": count}
    if call.opset < 13:
        sizes = call.attributes.integers("split")
        if sizes is not None:
            attrs["split"] = sizes
    if call.opset >= 18:
        declared = call.attributes.integer("num_outputs")
        if declared is not None and declared != count:
            raise ModelFormatError(
                f"{call.where}: attribute 'num_outputs' is {declared}; the node has {count}"
            )
    else:
        attrs["equal"] = True
    emit_same(call, attrs)


@converter("Slice")
def _slice(call: Call) -> None:
    """Everything but the data is an attribute before opset 10."""
    if call.opset >= 10:
        call.arity(3, 5)
        emit_same(call)
        return
    call.arity(1, 1)
    names = ("starts", "ends", "axes")
    attrs = {name: call.attributes.integers(name) for name in names}
    if attrs["starts"] is None or attrs["ends"] is None:
        raise ModelFormatError(f"{call.where}: attributes 'starts' and 'ends' are required")
    emit_same(call, {name: value for name, value in attrs.items() if value is not None})


@converter("Gather")
def _gather(call: Call) -> None:
    call.arity(2, 2)
    emit_same(call, {"axis": call.attributes.integer("axis", 0)})


@converter("Expand", "Tile")
def _repeat(call: Call) -> None:
    call.arity(2, 2)
    emit_same(call)


@converter("Dropout")
def _dropout(call: Call) -> None:
    """Inference only: the data passes through, and the mask is true for each of its elements."""
    call.arity(1, 3 if call.opset >= 12 else 1, 2)
    call.attributes.integer("seed")
    if call.opset < 12:
        call.attributes.real("ratio")
    if call.input(2) is not None:
        training = call.known(2)
        if training is None or scalar(training, call.where, "training_mode"):
            raise UnsupportedModelError(
                f"{call.where}: input 'training_mode' is not the constant false; accepted: false"
            )
    if call.output(1) is not None and call.opset < 10:
        raise UnsupportedModelError(
            f"{call.where}: the mask output is used; accepted: the first output alone"
        )
    call.emit("Identity", call.inputs[:1], call.outputs[:1])
    mask = call.output(1)
    if mask is not None:
        any_bool = call.made("IsNaN", call.inputs[:1], None, "element")
        true = call.constant("true", np.asarray(True))
        call.emit("Or", [any_bool, true], [mask], suffix="mask")


@converter("Shape")
def _shape(call: Call) -> None:
    call.arity(1, 1)
    attrs: dict[str, Any] = {}
    if call.opset >= 15:
        attrs = {"start": call.attributes.integer("start", 0)}
        attrs["end"] = call.attributes.integer("end")
    emit_same(call, attrs)


@converter("ConstantOfShape")
def _constant_of_shape(call: Call) -> None:
    call.arity(1, 1)
    tensor = call.attributes.tensor("value")
    if tensor is None:
        emit_same(call)
        return
    if tensor.data_type == BFLOAT16:
        raise UnsupportedModelError(f"{call.where}: attribute 'value' is bfloat16")
    value = call.builder.tensors.decode(tensor, call.where)
    scalar(value, call.where, "attribute 'value'")
    emit_same(call, {"value": value})


@converter("Range")
def _range(call: Call) -> None:
    call.arity(3, 3)
    call.attributes.only("stash_type", call.attributes.integer("stash_type", 1), 1)
    emit_same(call)


@converter("Constant")
def _constant(call: Call) -> None:
    """Exactly one of the value attributes."""
    call.arity(0, 0)
    (output,) = call.outputs
    assert output is not None
    tensor = call.attributes.tensor("value") if call.attributes.has("value") else None
    if tensor is not None:
        call.builder.decoded(output, tensor, call.where)
        return
    value: Any = None
    for name in ("value_float", "value_floats", "value_int", "value_ints"):
        if not call.attributes.has(name):
            continue
        attributes = call.attributes
        if name.endswith("s"):
            value = attributes.reals(name) if "float" in name else attributes.integers(name)
        else:
            value = attributes.real(name) if "float" in name else attributes.integer(name)
        dtype = np.float32 if "float" in name else np.int64
        call.builder.constant(output, np.asarray(value, dtype))
        return
    raise UnsupportedModelError(
        f"{call.where}: holds no supported value; accepted: attributes value, value_float, "
        "value_floats, value_int, value_ints"
    )
