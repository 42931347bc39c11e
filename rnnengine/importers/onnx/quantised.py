"""Models that were quantised before: their integers become weights, their activations stay floats.

Constant integers with scales (DequantizeLinear, DynamicQuantizeLSTM, MatMulInteger, ...) become
:class:`~rnnengine.graph.integers.ScaledIntegers`. QuantizeLinear and DequantizeLinear of
activations are computed as they are defined. Activations that a model quantises by their own range
as they come (DynamicQuantizeLinear, and operators that do it inside) are not rounded to 8 bits: the
product that reads them takes the float32 numbers (docs/deviations.md). To see such a product, the
importer withholds what only carries the integers: see :mod:`rnnengine.importers.onnx.withheld`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph.integers import ScaledIntegers
from rnnengine.importers.onnx.builder import Call
from rnnengine.importers.onnx.proto import element_type
from rnnengine.importers.onnx.recurrent import convert_recurrent
from rnnengine.importers.onnx.scales import (
    BITS,
    along,
    bounds,
    scale_of,
    scaled,
    withhold_rounded,
    zero_of,
)
from rnnengine.importers.onnx.table import CONTRIB, converter
from rnnengine.importers.onnx.withheld import (
    Integers,
    check_partners,
    constant_of,
    held,
    kept_integers,
)
from rnnengine.ops.registry import Array

__all__: list[str] = []


def _axis(call: Call) -> int:
    """Attribute axis; blocks along it are refused."""
    call.attributes.only("block_size", call.attributes.integer("block_size", 0), 0)
    axis = call.attributes.integer("axis", 1)
    assert axis is not None
    return axis


@converter("QuantizeLinear")
@converter("QuantizeLinear", domain=CONTRIB)
def _quantize(call: Call) -> None:
    """Quantise: q = saturate(round_half_even(x / scale) + zero), division in float32.

    The integers are withheld as the numbers q - zero in float32, which holds them exactly.
    """
    call.arity(2, 3)
    axis = _axis(call)
    call.attributes.integer("saturate", 1)  # of floats with 8 bits alone
    call.attributes.only("precision", call.attributes.integer("precision", 0), 0)
    code = call.attributes.integer("output_dtype", 0)
    scale = scale_of(call, 1)
    if scale is None or not np.all(scale):
        raise UnsupportedModelError(
            f"{call.where}: scale {call.inputs[1]!r} is computed from data, or 0; accepted: "
            "positive constants"
        )
    zero = zero_of(call, 2, None, scale)
    dtype = np.dtype(np.uint8)
    if call.input(2) is not None:
        given = constant_of(call.builder, call.inputs[2])
        assert given is not None
        dtype = given.dtype
    elif code:
        dtype = element_type(code, f"{call.where}: attribute 'output_dtype'")
    if dtype not in BITS or call.type(0).dtype != np.float32:
        raise UnsupportedModelError(
            f"{call.where}: from {call.type(0).dtype} to {dtype}; accepted: float32 to int8, uint8,"
            " int16 or uint16"
        )
    shape = call.type(0).shape
    wide, zeros = along(call, scale, shape, axis), along(call, zero, shape, axis)
    (output,) = call.outputs
    assert output is not None
    x = constant_of(call.builder, call.inputs[0])
    if x is not None:
        low, high = bounds(dtype, zeros)
        places = np.minimum(np.maximum(np.rint(np.asarray(x) / wide), low), high)
        call.builder.constant(output, (places + zeros).astype(dtype))
        return
    withhold_rounded(call, call.inputs[0], wide, zeros, dtype)


@converter("DequantizeLinear")
@converter("DequantizeLinear", domain=CONTRIB)
def _dequantize(call: Call) -> None:
    """Dequantise: y = (q - zero) * scale. Constants of 8 bits keep their integers."""
    call.arity(2, 3)
    axis = _axis(call)
    if call.attributes.integer("output_dtype", 1) not in (0, 1):
        raise UnsupportedModelError(f"{call.where}: attribute 'output_dtype'; accepted: float32")
    source = held(call.builder, call.inputs[0], Integers)
    if source is not None and source.scale is not None:
        check_partners(call, source, 1, 2)
        call.emit("Identity", [source.name], call.outputs)
        return
    constant = constant_of(call.builder, call.inputs[0])
    dtype = None if source is not None else call.type(0).dtype
    if dtype is not None and dtype.kind not in "iu":
        raise UnsupportedModelError(f"{call.where}: input is {dtype}; accepted: integers")
    scale = scale_of(call, 1)
    if scale is None:
        raise UnsupportedModelError(
            f"{call.where}: scale {call.inputs[1]!r} is computed from data; accepted: a constant, "
            "or the scale that DynamicQuantizeLinear gives with the integers"
        )
    zero = zero_of(call, 2, dtype, scale)
    name = source.name if source is not None else call.inputs[0]
    assert name is not None
    shape = call.builder.inference.types[name].shape
    wide, zeros = along(call, scale, shape, axis), along(call, zero, shape, axis)
    (output,) = call.outputs
    assert output is not None
    if constant is not None:
        call.builder.constant(output, kept_integers(constant, wide, zeros))
        return
    if source is None and scale.size == zero.size == 1:
        chosen = _of_table(call, name, scale, zero)
        if chosen is not None:
            call.emit("Identity", [chosen], call.outputs)
            return
    if source is None:
        name = call.made("Cast", [name], {"to": np.dtype(np.float32)}, "numbers")
        source = Integers(name, np.zeros((), np.int32), None)
    call.emit("Mul", scaled(call, source, wide, zeros), call.outputs)


def _of_table(call: Call, name: str, scale: Array, zero: Array) -> str | None:
    """Rows chosen from a table of integers: the same of the table of numbers; None of any other.

    One scale belongs to all of the table, so it does not matter which comes first.
    """
    nodes = call.builder.nodes
    node = next((n for n in reversed(nodes) if name in n.outputs), None)
    if node is None or node.op != "Gather":
        return None
    table = constant_of(call.builder, node.inputs[0])
    if table is None:
        return None
    one = (1,) * table.ndim
    numbers = kept_integers(table, scale.reshape(one), zero.reshape(one))
    made = call.constant("table", numbers)
    return call.made("Gather", [made, node.inputs[1]], node.attrs, "rows")


@converter("DynamicQuantizeLSTM", domain=CONTRIB)
def _dynamic_lstm(call: Call) -> None:
    """The LSTM of ONNX with constant integers W [D, I, 4H] and R [D, H, 4H].

    Inputs 8 to 11 are scale and zero point of W and of R, of shape [D] or [D, 4H].
    """
    call.arity(3, 12, 3)
    for position, part, letter in ((1, 8, "W"), (2, 10, "R")):
        call.inputs[position] = _lstm_weight(call, position, part, letter)
    del call.inputs[8:]
    call.op = "LSTM"
    convert_recurrent(call)


def _lstm_weight(call: Call, position: int, part: int, letter: str) -> str:
    """Weights [D, 4H, K] of an integer matrix [D, K, 4H], which scales of its columns go with."""
    name = call.inputs[position]
    weight = constant_of(call.builder, name)
    scale = scale_of(call, part) if call.input(part) is not None else None
    if weight is None or scale is None:
        raise UnsupportedModelError(
            f"{call.where}: {letter} {name!r} or its scale is computed from data; accepted: "
            "constants"
        )
    if weight.dtype not in BITS[:2] or weight.ndim != 3:
        raise ModelFormatError(
            f"{call.where}: {letter} {name!r} is {weight.dtype} of shape {list(weight.shape)}; "
            "expected int8 or uint8 [directions, columns, 4 * hidden_size]"
        )
    if scale.shape not in (weight.shape[:1], (weight.shape[0], weight.shape[2])):
        raise ModelFormatError(
            f"{call.where}: the scale of {letter} has shape {list(scale.shape)}; expected "
            f"[{weight.shape[0]}] or [{weight.shape[0]}, {weight.shape[2]}]"
        )
    zero = zero_of(call, part + 1, weight.dtype, scale)
    wide = (weight.shape[0], 1, scale.size // max(1, weight.shape[0]))
    value = kept_integers(weight, scale.reshape(wide), zero.reshape(wide))
    moved: Any = value.transpose(0, 2, 1)
    if not isinstance(moved, ScaledIntegers):
        moved = np.ascontiguousarray(moved)
    return call.constant(letter, moved)
