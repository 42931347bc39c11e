"""Operators from integers to integers: QLinearMatMul, QLinearConv, QGemm and those beside them.

Each is defined as the operator on the numbers that its operands stand for, divided by the scale of
the result, rounded to the nearest integer (of two the even one), plus a zero point, within the
range of the type. So each is written as what the QDQ form of the same model says: DequantizeLinear,
the operator on floats, QuantizeLinear; the result is withheld like that of a QuantizeLinear. In
float64 that is the definition. On the engine the sum is rounded to float32, so a result in the
middle between two steps may be either of them (docs/deviations.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.onnx.builder import Call
from rnnengine.importers.onnx.conv import windows
from rnnengine.importers.onnx.scales import BITS, along, scale_of, scaled, withhold_rounded, zero_of
from rnnengine.importers.onnx.table import CONTRIB, converter
from rnnengine.importers.onnx.withheld import Integers, constant_of, held, kept_integers
from rnnengine.ops.registry import Array

__all__: list[str] = []

_BYTES = BITS[:2]


def _scale(call: Call, position: int) -> Array:
    scale = scale_of(call, position)
    if scale is None:
        raise UnsupportedModelError(
            f"{call.where}: scale {call.inputs[position]!r} is computed from data; accepted: a "
            "constant"
        )
    return scale


def _one(call: Call, position: int) -> tuple[Array, Array]:
    """Scale and zero point of a whole tensor."""
    scale = _scale(call, position)
    if scale.size != 1:
        raise UnsupportedModelError(
            f"{call.where}: {scale.size} scales {call.inputs[position]!r}; accepted: one for the "
            "activation and for the result"
        )
    return scale.reshape(()), zero_of(call, position + 1, None, scale).reshape(())


def _numbers(call: Call, position: int, axis: int) -> str:
    """Operand at a position as float32 numbers: scale and zero point follow it.

    Constants keep their integers, with one scale or one for each place of an axis.
    """
    name = call.inputs[position]
    weight = constant_of(call.builder, name)
    source = held(call.builder, name, Integers)
    if weight is not None:
        if weight.dtype not in _BYTES:
            raise ModelFormatError(
                f"{call.where}: weights {name!r} are {weight.dtype}; expected int8 or uint8"
            )
        scale = _scale(call, position + 1)
        zero = zero_of(call, position + 2, weight.dtype, scale)
        wide, zeros = (along(call, part, weight.shape, axis) for part in (scale, zero))
        return call.constant("weight", kept_integers(weight, wide, zeros))
    if source is None:
        if call.type(position).dtype not in _BYTES:
            raise ModelFormatError(
                f"{call.where}: input {name!r} is {call.type(position).dtype}; expected int8 or "
                "uint8"
            )
        cast = call.made("Cast", [name], {"to": np.dtype(np.float32)}, "integers")
        source = Integers(cast, np.zeros((), np.int32), None)
    if source.scale is not None:
        raise UnsupportedModelError(
            f"{call.where}: input {name!r} is made by DynamicQuantizeLinear; accepted: integers "
            "of a constant scale"
        )
    scale, zero = _one(call, position + 1)
    return call.made("Mul", scaled(call, source, scale, zero), None, "numbers")


def _bias(call: Call, position: int, factor: float = 1.0) -> str | None:
    """Constant int32 in steps of the product of both scales; None where there is none."""
    name = call.input(position)
    if name is None:
        return None
    value = constant_of(call.builder, name)
    if value is None or value.dtype != np.int32:
        raise UnsupportedModelError(
            f"{call.where}: bias {name!r} is computed from data, or not int32; accepted: a constant"
        )
    steps = _scale(call, 1).astype(np.float64) * _scale(call, 4).reshape(-1) * factor
    return call.constant("bias", (value * steps).astype(np.float32))


def _rounded(call: Call, product: str, position: int) -> None:
    """The result in steps of a scale, which a zero point follows."""
    scale, zero = _one(call, position)
    point = constant_of(call.builder, call.input(position + 1))
    dtype: Any = None if point is None else point.dtype
    if not scale or dtype not in _BYTES:
        raise UnsupportedModelError(
            f"{call.where}: a result of scale {float(scale)} and type {dtype}; accepted: a "
            "positive scale, and a zero point that is int8 or uint8"
        )
    withhold_rounded(call, product, scale, zero, dtype)


@converter("QLinearMatMul")
def _matmul(call: Call) -> None:
    """A scale for each row of the left matrix or each column of the right one, where constant."""
    call.arity(8, 8)
    left, right = _numbers(call, 0, -2), _numbers(call, 3, -1)
    _rounded(call, call.made("MatMul", [left, right], None, "product"), 6)


@converter("QLinearConv")
def _conv(call: Call) -> None:
    """Padding is the zero point of x, which is the number 0."""
    call.arity(8, 9)
    attrs = {"group": call.attributes.integer("group", 1), **windows(call, "dilations")}
    operands = [_numbers(call, 0, 1), _numbers(call, 3, 0), _bias(call, 8)]
    _rounded(call, call.made("Conv", operands, attrs, "product"), 6)


@converter("QGemm", domain=CONTRIB)
def _gemm(call: Call) -> None:
    """Without a scale of the result, it is the float32 product."""
    call.arity(6, 9)
    turned = [int(call.attributes.flag(f"trans{letter}")) for letter in "AB"]
    alpha = call.attributes.real("alpha", 1.0)
    assert alpha is not None
    operands = [
        _numbers(call, 0, -2),
        _numbers(call, 3, 0 if turned[1] else 1),
        _bias(call, 6, alpha),
    ]
    attrs = {"alpha": alpha, "beta": 1.0, "transA": turned[0], "transB": turned[1]}
    if call.input(7) is None:
        call.emit("Gemm", operands, call.outputs, attrs)
    else:
        _rounded(call, call.made("Gemm", operands, attrs, "product"), 7)


@converter("QLinearAdd", "QLinearMul", domain=CONTRIB)
def _elementwise(call: Call) -> None:
    """Both operands of one scale."""
    call.arity(7, 8)
    operands = [_numbers(call, 0, 0), _numbers(call, 3, 0)]
    _rounded(call, call.made(call.op.removeprefix("QLinear"), operands, None, "result"), 6)


@converter("QLinearSigmoid", "QLinearLeakyRelu", domain=CONTRIB)
def _activation(call: Call) -> None:
    call.arity(4, 5)
    attrs = {"alpha": call.attributes.real("alpha", 0.01)} if "Relu" in call.op else {}
    name = call.made(call.op.removeprefix("QLinear"), [_numbers(call, 0, 0)], attrs, "result")
    _rounded(call, name, 3)
