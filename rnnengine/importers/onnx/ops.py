"""Conversion of ONNX operators other than the recurrent ones: attributes, operands, opset forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.onnx.builder import Call, scalar
from rnnengine.importers.onnx.proto import BFLOAT16, element_type
from rnnengine.importers.onnx.recurrent import convert_recurrent

__all__ = ["CONVERTERS", "REFUSED"]

REFUSED: dict[str, str] = {
    "Loop": "loops over a subgraph are not supported; export the layer as RNN, GRU or LSTM",
    "Scan": "loops over a subgraph are not supported; export the layer as RNN, GRU or LSTM",
    "SequenceConstruct": "sequences of tensors are not supported",
    "Optional": "optional values are not supported",
}
"""Operators that are refused for a reason worth saying."""

CONVERTERS: dict[str, Callable[[Call], None]] = {op: convert_recurrent for op in ("RNN", "GRU")}
CONVERTERS["LSTM"] = convert_recurrent


def _converter(*ops: str) -> Callable[[Callable[[Call], None]], Callable[[Call], None]]:
    def register(function: Callable[[Call], None]) -> Callable[[Call], None]:
        CONVERTERS.update(dict.fromkeys(ops, function))
        return function

    return register


def _same(call: Call, attrs: Mapping[str, Any] | None = None, *, inputs: int | None = None) -> None:
    """Emit the operator of the same name."""
    call.emit(call.op, call.inputs[:inputs], call.outputs, attrs)


_REALS: dict[str, dict[str, float]] = {
    "LeakyRelu": {"alpha": 0.01},
    "ThresholdedRelu": {"alpha": 1.0},
    "Elu": {"alpha": 1.0},
    "Celu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
}
"""Unary operators with float attributes, and their defaults."""


@_converter(
    "Abs", "Erf", "Exp", "HardSwish", "Identity", "Log", "Mish", "Neg", "Not", "Reciprocal",
    "Relu", "Sigmoid", "Size", "Softplus", "Softsign", "Sqrt", "Tanh", *_REALS,
)  # fmt: skip
def _unary(call: Call) -> None:
    call.arity(1, 1)
    reals = _REALS.get(call.op, {})
    _same(call, {name: call.attributes.real(name, default) for name, default in reals.items()})


@_converter("Selu")
def _selu(call: Call) -> None:
    call.arity(1, 1)
    for name, default in (("alpha", 1.6732632423543772), ("gamma", 1.0507009873554805)):
        value = np.float32(call.attributes.real(name, default))
        if not np.isclose(value, np.float32(default), rtol=2e-7, atol=0):
            call.attributes.only(name, float(value), default)
    _same(call)


@_converter("Gelu")
def _gelu(call: Call) -> None:
    call.arity(1, 1)
    approximate = call.attributes.text("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise UnsupportedModelError(
            f"{call.where}: attribute 'approximate' is {approximate!r}; accepted: none, tanh"
        )
    _same(call, {"approximate": approximate})


@_converter("Swish")
def _swish(call: Call) -> None:
    call.arity(1, 1)
    call.attributes.only("alpha", call.attributes.real("alpha", 1.0), 1.0)
    _same(call)


@_converter(
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "MatMul",
    "Mul", "Or", "Pow", "Sub", "Xor",
)  # fmt: skip
def _binary(call: Call) -> None:
    call.arity(2, 2)
    _same(call)


@_converter("Max", "Min", "Sum")
def _variadic(call: Call) -> None:
    """A chain of binary operators, first input first."""
    call.arity(len(call.inputs) or 1, max(len(call.inputs), 1))
    op = {"Sum": "Add"}.get(call.op, call.op)
    if len(call.inputs) == 1:
        call.emit("Identity", call.inputs, call.outputs)
        return
    merged = call.inputs[0]
    for i, name in enumerate(call.inputs[1:-1]):
        merged = call.made(op, [merged, name], None, f"part{i}")
    call.emit(op, [merged, call.inputs[-1]], call.outputs)


@_converter("Where")
def _where(call: Call) -> None:
    call.arity(3, 3)
    _same(call)


@_converter("Clip")
def _clip(call: Call) -> None:
    if call.opset >= 11:
        call.arity(1, 3)
        _same(call)
        return
    call.arity(1, 1)
    _same(call, {name: call.attributes.real(name) for name in ("min", "max")})


@_converter("Cast")
def _cast(call: Call) -> None:
    call.arity(1, 1)
    call.attributes.only("saturate", call.attributes.integer("saturate", 1), 1)
    call.attributes.only("round_mode", call.attributes.text("round_mode", "up"), "up")
    code = call.attributes.integer("to")
    if code is None:
        raise ModelFormatError(f"{call.where}: attribute 'to' is missing; it is required")
    if code == BFLOAT16 and call.inputs[0] in call.builder.bfloat16:
        call.emit("Identity", call.inputs, call.outputs)
        call.builder.bfloat16.update(name for name in call.outputs if name is not None)
        return
    _same(call, {"to": element_type(code, f"{call.where}: attribute 'to'")})


@_converter("Gemm")
def _gemm(call: Call) -> None:
    call.arity(2, 3)
    attrs = {
        "alpha": call.attributes.real("alpha", 1.0),
        "beta": call.attributes.real("beta", 1.0),
        "transA": call.attributes.flag("transA"),
        "transB": call.attributes.flag("transB"),
    }
    _same(call, attrs)


@_converter("LogSoftmax", "Softmax")
def _softmax(call: Call) -> None:
    """Before opset 13 all axes from ``axis`` on are normalised together."""
    call.arity(1, 1)
    axis = call.attributes.integer("axis", -1 if call.opset >= 13 else 1)
    assert axis is not None
    kind = call.type(0)
    if not -kind.rank <= axis < kind.rank:
        raise ModelFormatError(f"{call.where}: attribute 'axis' is {axis}, the input is {kind}")
    if call.opset >= 13 or axis % kind.rank == kind.rank - 1:
        _same(call, {"axis": axis})
        return
    flat = call.made("Flatten", call.inputs, {"axis": axis % kind.rank}, "flat")
    normal = call.made(call.op, [flat], {"axis": 1}, "normal")
    call.emit("Reshape", [normal], call.outputs, {"shape": kind.shape})


@_converter("Transpose")
def _transpose(call: Call) -> None:
    call.arity(1, 1)
    perm = call.attributes.integers("perm")
    _same(call, {} if perm is None else {"perm": perm})


@_converter("Reshape")
def _reshape(call: Call) -> None:
    call.arity(2, 2)
    allowzero = call.opset >= 14 and call.attributes.flag("allowzero")
    _same(call, {"allowzero": allowzero})


@_converter("Flatten")
def _flatten(call: Call) -> None:
    call.arity(1, 1)
    _same(call, {"axis": call.attributes.integer("axis", 1)})


@_converter("Squeeze", "Unsqueeze")
def _axes(call: Call) -> None:
    """Axes are an operand since opset 13."""
    least = 2 if call.op == "Unsqueeze" else 1
    if call.opset >= 13:
        call.arity(least, 2)
        _same(call)
        return
    call.arity(1, 1)
    axes = call.attributes.integers("axes")
    if axes is None and call.op == "Unsqueeze":
        raise ModelFormatError(f"{call.where}: attribute 'axes' is missing; it is required")
    _same(call, {} if axes is None else {"axes": axes})


@_converter("Concat")
def _concat(call: Call) -> None:
    call.arity(len(call.inputs) or 1, max(len(call.inputs), 1))
    axis = call.attributes.integer("axis")
    if axis is None:
        raise ModelFormatError(f"{call.where}: attribute 'axis' is missing; it is required")
    _same(call, {"axis": axis})


@_converter("Split")
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
    _same(call, attrs)


@_converter("Slice")
def _slice(call: Call) -> None:
    """Everything but the data is an attribute before opset 10."""
    if call.opset >= 10:
        call.arity(3, 5)
        _same(call)
        return
    call.arity(1, 1)
    names = ("starts", "ends", "axes")
    attrs = {name: call.attributes.integers(name) for name in names}
    if attrs["starts"] is None or attrs["ends"] is None:
        raise ModelFormatError(f"{call.where}: attributes 'starts' and 'ends' are required")
    _same(call, {name: value for name, value in attrs.items() if value is not None})


@_converter("Gather")
def _gather(call: Call) -> None:
    call.arity(2, 2)
    _same(call, {"axis": call.attributes.integer("axis", 0)})


@_converter("Expand", "Tile")
def _repeat(call: Call) -> None:
    call.arity(2, 2)
    _same(call)


@_converter("Dropout")
def _dropout(call: Call) -> None:
    """Inference only: the data passes through."""
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
    _same(call, inputs=1)


@_converter("Shape")
def _shape(call: Call) -> None:
    call.arity(1, 1)
    attrs: dict[str, Any] = {}
    if call.opset >= 15:
        attrs = {"start": call.attributes.integer("start", 0)}
        attrs["end"] = call.attributes.integer("end")
    _same(call, attrs)


@_converter("ConstantOfShape")
def _constant_of_shape(call: Call) -> None:
    call.arity(1, 1)
    tensor = call.attributes.tensor("value")
    if tensor is None:
        _same(call)
        return
    if tensor.data_type == BFLOAT16:
        raise UnsupportedModelError(f"{call.where}: attribute 'value' is bfloat16")
    value = call.builder.tensors.decode(tensor, call.where)
    scalar(value, call.where, "attribute 'value'")
    _same(call, {"value": value})


@_converter("Range")
def _range(call: Call) -> None:
    call.arity(3, 3)
    call.attributes.only("stash_type", call.attributes.integer("stash_type", 1), 1)
    _same(call)


@_converter("Constant")
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
