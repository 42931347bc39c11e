"""Products of integers: values that are withheld until they are seen to be a product of floats.

A model with dynamic quantisation computes, of an activation x and an integer matrix q,

    xq, s, z = DynamicQuantizeLinear(x)
    y = Cast(MatMulInteger(xq, q, z, zero)) * (s * scale)

which is x, rounded to 8 bits, times (q - zero) * scale. The importer withholds xq, s, z and what is
made of them: they are in no graph. Where the product meets its scale, the product of x itself and
of the constant (q - zero) * scale is emitted. Whatever else reads a withheld value is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph.integers import ScaledIntegers, keepable
from rnnengine.importers.onnx.builder import Builder, Call
from rnnengine.importers.onnx.conv import windows
from rnnengine.importers.onnx.table import CONTRIB, CONVERTERS, converter
from rnnengine.ops import registry
from rnnengine.ops.registry import Array

__all__ = ["Integers", "check_partners", "constant_of", "follow", "held", "kept_integers"]


@dataclass(frozen=True)
class Integers:
    """Integers of an activation.

    Attributes
    ----------
    name : str
        Value of the graph: the float32 activation where the scale is dynamic, else the integers
        less their zero point, as float32 numbers.
    zero : array
        What was taken off; nothing of a dynamic activation.
    scale : str or None
        What tells the dynamic scale of this activation from others; None where it is a constant,
        which the model applies itself.
    """

    name: str
    zero: Array
    scale: str | None


@dataclass(frozen=True)
class Zero:
    """The zero point of a dynamic activation."""

    scale: str


@dataclass(frozen=True)
class Scale:
    """The scale of a dynamic activation, times a constant."""

    scale: str
    factor: Array


@dataclass(frozen=True)
class Product:
    """A product of integers whose scale is still to come."""

    op: str
    source: Integers
    weight: Array
    zero: Array
    attrs: Mapping[str, Any]
    factor: Array
    cast: bool = False


_Held = TypeVar("_Held")
_ONE = np.ones((), np.float32)


def held(builder: Builder, name: str | None, kind: type[_Held]) -> _Held | None:
    """What is withheld under a name, if it is of a kind."""
    value = builder.withheld.get(name or "")
    return value if isinstance(value, kind) else None


def constant_of(builder: Builder, name: str | None) -> Array | None:
    """Value of a constant, also one that was moved on its way; None for what data decides."""
    if name is None:
        return None
    value = builder.constants.get(name)
    if value is None:
        value = builder.inference.values.get(name)
    if value is not None:
        return None if value.dtype == object else value
    node = next((n for n in reversed(builder.nodes) if name in n.outputs), None)
    if node is None or not registry.get(node.op).moves:
        return None
    values = [constant_of(builder, operand) for operand in node.inputs]
    if any(v is None and n is not None for v, n in zip(values, node.inputs, strict=True)):
        return None
    return registry.get(node.op).reference(node.attrs, values)[node.outputs.index(name)]


def kept_integers(integers: Array, scale: Array, zero: Array) -> Any:
    """(q - zero) * scale: as integers where they can be kept, else as float32 numbers."""
    if not integers.ndim or not keepable(integers, scale, zero):
        exact = (integers.astype(np.float64) - zero) * scale.astype(np.float64)
        return exact.astype(np.float32)
    return ScaledIntegers(integers, scale, zero)


def follow(call: Call) -> bool:
    """Convert a node that reads a withheld value; False for any other.

    Raises
    ------
    UnsupportedModelError
        The node is not part of a product of integers.
    """
    names = [name for name in call.inputs if name in call.builder.withheld]
    if not names or call.op in _READERS:
        return False
    if call.op in _MOVERS and names == call.inputs[:1] and _moved(call):
        return True
    if call.op == "Cast":
        _cast(call)
    elif call.op == "Mul":
        _mul(call)
    else:
        call.refuse_withheld()
    return True


_READERS = (
    "ConvInteger",
    "DequantizeLinear",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "QGemm",
    *(f"QLinear{op}" for op in ("Add", "Conv", "LeakyRelu", "MatMul", "Mul", "Sigmoid")),
)
_MOVERS = ("Flatten", "Identity", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that do to integers less one zero point what they do to the integers."""


def _moved(call: Call) -> bool:
    """Convert a mover of integers of a constant scale; False for any other."""
    source = held(call.builder, call.inputs[0], Integers)
    fits = source is not None and source.scale is None and source.zero.size == 1
    if source is None or not fits or len(call.outputs) > 1:
        return False
    call.inputs[0] = source.name
    output, call.outputs = call.outputs[0], [call.fresh("numbers")]
    CONVERTERS[call.op](call)
    assert output is not None and call.outputs[0] is not None
    zero = source.zero.reshape(())
    call.builder.withheld[output] = replace(source, name=call.outputs[0], zero=zero)
    return True


def _give(call: Call, position: int, value: Any) -> None:
    name = call.output(position)
    if name is not None:
        call.builder.withheld[name] = value


@converter("DynamicQuantizeLinear")
def _dynamic_quantize(call: Call) -> None:
    """Integers, scale and zero point of x by its own range; all three are withheld."""
    call.arity(1, 1, 3)
    name = call.inputs[0]
    assert name is not None
    if call.type(0).dtype != np.float32:
        raise UnsupportedModelError(f"{call.where}: input is {call.type(0)}; accepted: float32")
    _give(call, 0, Integers(name, np.zeros((), np.int32), call.name))
    _give(call, 1, Scale(call.name, _ONE))
    _give(call, 2, Zero(call.name))


def check_partners(call: Call, source: Integers, scale: int | None, zero: int) -> None:
    """Hold scale and zero point against the activation whose integers they are to go with.

    Raises
    ------
    UnsupportedModelError
        They come from elsewhere.
    """
    given = held(call.builder, call.input(zero), Zero)
    fits = given is not None and given.scale == source.scale
    if scale is not None:
        factor = held(call.builder, call.input(scale), Scale)
        fits = fits and factor is not None and factor.scale == source.scale
        fits = fits and factor is not None and np.array_equal(factor.factor, _ONE)
    if not fits:
        raise UnsupportedModelError(
            f"{call.where}: scale {call.input(scale) if scale is not None else None!r} or zero "
            f"point {call.input(zero)!r} is not what DynamicQuantizeLinear gives with the integers "
            f"{call.inputs[0]!r}; accepted: both of the same node"
        )


def _source(call: Call, zero: int) -> Integers:
    """The activation of a product, its zero point checked."""
    source = held(call.builder, call.inputs[0], Integers)
    if source is None:
        raise UnsupportedModelError(
            f"{call.where}: input {call.inputs[0]!r} is not made by QuantizeLinear or "
            "DynamicQuantizeLinear; accepted: activations that are"
        )
    if source.scale is not None:
        check_partners(call, source, None, zero)
        return source
    point = constant_of(call.builder, call.input(zero))
    wanted = source.zero.reshape(-1)
    found = np.zeros(1, np.int32) if call.input(zero) is None else point
    if found is None or source.zero.size != 1 or found.size != 1 or int(found.item()) != wanted[0]:
        raise UnsupportedModelError(
            f"{call.where}: zero point {call.input(zero)!r} of the integers {call.inputs[0]!r} is "
            f"not the one they were made with, {wanted[:4].tolist()}; accepted: the same number"
        )
    return source


def _weight(call: Call, position: int, zero: int | None) -> tuple[Array, Array]:
    """Constant integers of 8 bits, and their zero points."""
    name = call.inputs[position]
    weight = constant_of(call.builder, name)
    if weight is None:
        raise UnsupportedModelError(
            f"{call.where}: weights {name!r} are computed from data; accepted: constants"
        )
    if weight.dtype not in (np.int8, np.uint8):
        raise ModelFormatError(
            f"{call.where}: weights {name!r} are {weight.dtype}; expected int8 or uint8"
        )
    given = None if zero is None else call.input(zero)
    if given is None:
        return weight, np.zeros((), np.int32)
    point = constant_of(call.builder, given)
    if point is None or point.dtype != weight.dtype:
        raise UnsupportedModelError(
            f"{call.where}: zero point {given!r} of the weights is computed from data, or not "
            f"{weight.dtype}; accepted: a constant of their type"
        )
    return weight, point.astype(np.int32)


@converter("MatMulInteger")
def _matmul_integer(call: Call) -> None:
    call.arity(2, 4)
    source = _source(call, 2)
    weight, zero = _weight(call, 1, 3)
    _give(call, 0, Product("MatMul", source, weight, _columns(call, zero, weight), {}, _ONE))


@converter("ConvInteger")
def _conv_integer(call: Call) -> None:
    """Padding is the zero point of x, which is the number 0."""
    call.arity(2, 4)
    source = _source(call, 2)
    weight, zero = _weight(call, 1, 3)
    if zero.ndim == 1:
        zero = zero.reshape((-1, *[1] * (weight.ndim - 1))) if zero.size > 1 else zero.reshape(())
    attrs = {"group": call.attributes.integer("group", 1), **windows(call, "dilations")}
    _give(call, 0, Product("Conv", source, weight, zero, attrs, _ONE))


def _columns(call: Call, part: Array, weight: Array) -> Array:
    """One number, or one for each column of a matrix [..., K, N]; shaped to broadcast to it."""
    if part.size == 1:
        return part.reshape(())
    if part.size == weight.shape[-1] == part.shape[-1]:
        return part.reshape(-1)
    wide = (*weight.shape[:-2], 1, weight.shape[-1])
    if weight.ndim > 2 and part.shape == wide:
        return part
    raise UnsupportedModelError(
        f"{call.where}: {part.size} scales or zero points of shape {list(part.shape)} for weights "
        f"of shape {list(weight.shape)}; accepted: one, or one for each column"
    )


def _cast(call: Call) -> None:
    """Of a product to float32: nothing to do yet."""
    call.arity(1, 1)
    product = held(call.builder, call.inputs[0], Product)
    if product is None or call.attributes.integer("to") != 1:
        call.refuse_withheld()
    assert product is not None
    if product.source.scale is None:
        _emit(call, product)
    else:
        _give(call, 0, replace(product, cast=True))


def _mul(call: Call) -> None:
    """Scales by constants, products by scales, products by constants."""
    call.arity(2, 2)
    builder = call.builder
    for first, second in (call.inputs, call.inputs[::-1]):
        scale, product = held(builder, first, Scale), held(builder, first, Product)
        constant = constant_of(builder, second)
        other = held(builder, second, Scale)
        if constant is not None and constant.dtype == np.float32:
            if scale is not None:
                _give(call, 0, replace(scale, factor=scale.factor * constant))
                return
            if product is not None and product.cast:
                _give(call, 0, replace(product, factor=product.factor * constant))
                return
        if product is not None and product.cast and other is not None:
            if other.scale != product.source.scale:
                raise UnsupportedModelError(
                    f"{call.where}: the product of the integers of {product.source.name!r} meets "
                    f"the scale {second!r} of another activation; accepted: its own"
                )
            _emit(call, replace(product, factor=product.factor * other.factor))
            return
    call.refuse_withheld()


def _emit(call: Call, product: Product) -> None:
    """The product of floats in the place of the one of integers."""
    weight = _scaled(call, product)
    name = call.constant("weight", weight)
    call.emit(product.op, [product.source.name, name], call.outputs, product.attrs)


def _scaled(call: Call, product: Product) -> Any:
    """(q - zero) * factor, the factor broadcasting to the result of the product."""
    factor, weight = product.factor, product.weight
    if not np.all(np.isfinite(factor) & (factor >= 0)):
        raise UnsupportedModelError(
            f"{call.where}: the scale of the weights holds {float(np.min(factor))!r} or a number "
            "that is not finite; accepted: positive numbers"
        )
    if product.op == "Conv":
        # The result is [batch, channels, ...]; the channels are the first axis of the weights.
        rank = weight.ndim
        wide = factor.reshape((1,) * (rank - factor.ndim) + factor.shape)
        if factor.size > 1 and (
            wide.ndim != rank or any(n != 1 for a, n in enumerate(wide.shape) if a != 1)
        ):
            raise UnsupportedModelError(
                f"{call.where}: scales of shape {list(factor.shape)} on a convolution; accepted: "
                "one, or one for each channel"
            )
        factor = factor.reshape((-1, *[1] * (rank - 1)))
    else:
        factor = _columns(call, factor, weight)
    return kept_integers(weight, np.asarray(factor, np.float32), product.zero)


@converter("MatMulIntegerToFloat", domain=CONTRIB)
def _matmul_to_float(call: Call) -> None:
    """A [.., M, K] and B [K, N] of integers; inputs: their scales, zero points, and a bias."""
    call.arity(4, 7)
    source = held(call.builder, call.inputs[0], Integers)
    if source is None or source.scale is None:
        raise UnsupportedModelError(
            f"{call.where}: input {call.inputs[0]!r} is not made by DynamicQuantizeLinear; "
            "accepted: activations that are"
        )
    check_partners(call, source, 2, 4)
    _float_product(call, source, 3, 5, 6)


@converter("DynamicQuantizeMatMul", domain=CONTRIB)
def _dynamic_matmul(call: Call) -> None:
    """A in float32, B of integers; inputs: the scale and zero point of B, and a bias."""
    call.arity(3, 5)
    name = call.inputs[0]
    assert name is not None
    source = Integers(name, np.zeros((), np.int32), call.name)
    _float_product(call, source, 2, 3, 4)


def _float_product(call: Call, source: Integers, scale: int, zero: int, bias: int) -> None:
    weight, point = _weight(call, 1, zero)
    factor = constant_of(call.builder, call.inputs[scale])
    if factor is None or factor.dtype != np.float32:
        raise UnsupportedModelError(
            f"{call.where}: scale {call.inputs[scale]!r} is computed from data, or not float32; "
            "accepted: a float32 constant"
        )
    product = Product("MatMul", source, weight, _columns(call, point, weight), {}, factor)
    if call.input(bias) is None:
        _emit(call, product)
        return
    made = call.constant("weight", _scaled(call, product))
    result = call.made("MatMul", [source.name, made], None, "product")
    call.emit("Add", [result, call.input(bias)], call.outputs)
