"""Conversion of arithmetic: elementwise operators, matrix products, Softmax."""

from __future__ import annotations

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.onnx.builder import Call
from rnnengine.importers.onnx.proto import BFLOAT16, element_type
from rnnengine.importers.onnx.table import converter, emit_same

__all__: list[str] = []

_REALS: dict[str, dict[str, float]] = {
    "LeakyRelu": {"alpha": 0.01},
    "ThresholdedRelu": {"alpha": 1.0},
    "Elu": {"alpha": 1.0},
    "Celu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "Shrink": {"lambd": 0.5, "bias": 0.0},
}
"""Unary operators with float attributes, and their defaults."""

_FLOORED_FLOATS = 28
"""Since this opset Mod takes floats without fmod."""


@converter(
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Erf", "Exp",
    "Floor", "HardSwish", "Identity", "IsNaN", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu",
    "Round", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Softplus", "Softsign", "Sqrt", "Tan",
    "Tanh", *_REALS,
)  # fmt: skip
def _unary(call: Call) -> None:
    call.arity(1, 1)
    reals = _REALS.get(call.op, {})
    emit_same(call, {name: call.attributes.real(name, default) for name, default in reals.items()})


@converter("Selu")
def _selu(call: Call) -> None:
    """With parameters of its own it is gamma * Elu."""
    call.arity(1, 1)
    usual = {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}
    given = {name: call.attributes.real(name, default) for name, default in usual.items()}
    wanted, told = (np.array([*d.values()], np.float32) for d in (usual, given))
    if np.allclose(told, wanted, rtol=2e-7, atol=0):
        emit_same(call)
        return
    inner = call.made("Elu", call.inputs, {"alpha": given["alpha"]}, "elu")
    factor = call.constant("gamma", np.asarray(given["gamma"], call.type(0).dtype))
    call.emit("Mul", [inner, factor], call.outputs)


@converter("Gelu")
def _gelu(call: Call) -> None:
    call.arity(1, 1)
    approximate = call.attributes.text("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise UnsupportedModelError(
            f"{call.where}: attribute 'approximate' is {approximate!r}; accepted: none, tanh"
        )
    emit_same(call, {"approximate": approximate})


@converter("Swish")
def _swish(call: Call) -> None:
    call.arity(1, 1)
    alpha = call.attributes.real("alpha", 1.0)
    if alpha == 1.0:
        emit_same(call)
        return
    factor = call.constant("alpha", np.asarray(alpha, call.type(0).dtype))
    inner = call.made("Mul", [call.inputs[0], factor], None, "inner")
    gate = call.made("Sigmoid", [inner], None, "gate")
    call.emit("Mul", [call.inputs[0], gate], call.outputs)


@converter("IsInf")
def _is_inf(call: Call) -> None:
    call.arity(1, 1)
    names = ("detect_positive", "detect_negative")
    emit_same(call, {name: call.attributes.flag(name, True) for name in names})


@converter("Mod")
def _mod(call: Call) -> None:
    call.arity(2, 2)
    fmod = call.attributes.flag("fmod")
    if call.opset >= _FLOORED_FLOATS and not fmod and call.type(0).dtype.kind == "f":
        raise UnsupportedModelError(
            f"{call.where}: attribute 'fmod' is 0 and the operands are {call.type(0).dtype}; "
            "accepted: fmod=1, or integers"
        )
    emit_same(call, {"fmod": fmod})


@converter(
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "MatMul",
    "Mul", "Or", "PRelu", "Pow", "Sub", "Xor",
)  # fmt: skip
def _binary(call: Call) -> None:
    call.arity(2, 2)
    emit_same(call)


@converter("Max", "Mean", "Min", "Sum")
def _variadic(call: Call) -> None:
    """A chain of binary operators, first input first; Mean divides the sum."""
    call.arity(len(call.inputs) or 1, max(len(call.inputs), 1))
    op = {"Sum": "Add", "Mean": "Add"}.get(call.op, call.op)
    if len(call.inputs) == 1:
        call.emit("Identity", call.inputs, call.outputs)
        return
    merged = call.inputs[0]
    for i, name in enumerate(call.inputs[1:-1]):
        merged = call.made(op, [merged, name], None, f"part{i}")
    if call.op == "Mean":
        total = call.made(op, [merged, call.inputs[-1]], None, "total")
        count = call.constant("count", np.asarray(len(call.inputs), call.type(0).dtype))
        call.emit("Div", [total, count], call.outputs)
        return
    call.emit(op, [merged, call.inputs[-1]], call.outputs)


@converter("Where")
def _where(call: Call) -> None:
    call.arity(3, 3)
    emit_same(call)


@converter("Clip")
def _clip(call: Call) -> None:
    if call.opset >= 11:
        call.arity(1, 3)
        emit_same(call)
        return
    call.arity(1, 1)
    emit_same(call, {name: call.attributes.real(name) for name in ("min", "max")})


@converter("Cast")
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
    emit_same(call, {"to": element_type(code, f"{call.where}: attribute 'to'")})


@converter("CastLike")
def _cast_like(call: Call) -> None:
    call.arity(2, 2)
    call.attributes.only("saturate", call.attributes.integer("saturate", 1), 1)
    call.attributes.only("round_mode", call.attributes.text("round_mode", "up"), "up")
    call.emit("Cast", call.inputs[:1], call.outputs, {"to": call.type(1).dtype})


@converter("Gemm")
def _gemm(call: Call) -> None:
    call.arity(2, 3)
    attrs = {
        "alpha": call.attributes.real("alpha", 1.0),
        "beta": call.attributes.real("beta", 1.0),
        "transA": call.attributes.flag("transA"),
        "transB": call.attributes.flag("transB"),
    }
    emit_same(call, attrs)


@converter("LogSoftmax", "Softmax")
def _softmax(call: Call) -> None:
    """Before opset 13 all axes from ``axis`` on are normalised together."""
    call.arity(1, 1)
    axis = call.attributes.integer("axis", -1 if call.opset >= 13 else 1)
    assert axis is not None
    kind = call.type(0)
    if not -kind.rank <= axis < kind.rank:
        raise ModelFormatError(f"{call.where}: attribute 'axis' is {axis}, the input is {kind}")
    if call.opset >= 13 or axis % kind.rank == kind.rank - 1:
        emit_same(call, {"axis": axis})
        return
    flat = call.made("Flatten", call.inputs, {"axis": axis % kind.rank}, "flat")
    normal = call.made(call.op, [flat], {"axis": 1}, "normal")
    call.emit("Reshape", [normal], call.outputs, {"shape": kind.shape})
