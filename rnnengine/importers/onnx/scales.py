"""Scales and zero points of quantised tensors, and what they make of activations.

An integer q stands for (q - zero) * scale. Activations are rounded in operators on floats, which
hold integers of 16 bits and fewer exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.onnx.builder import Call
from rnnengine.importers.onnx.withheld import Integers, constant_of
from rnnengine.ops.registry import Array

__all__ = ["BITS", "along", "bounds", "scale_of", "scaled", "withhold_rounded", "zero_of"]

BITS = (np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.int16), np.dtype(np.uint16))
"""Types of integers that activations are rounded to."""


def scale_of(call: Call, position: int) -> Array | None:
    """A constant scale, None where it is computed from data.

    Raises
    ------
    UnsupportedModelError
        It is not positive and finite float32.
    """
    name = call.inputs[position]
    scale = constant_of(call.builder, name)
    if scale is None:
        return None
    if scale.dtype != np.float32:
        raise UnsupportedModelError(
            f"{call.where}: scale {name!r} is {scale.dtype}; accepted: float32"
        )
    if not np.all(np.isfinite(scale) & (scale >= 0)):
        raise UnsupportedModelError(
            f"{call.where}: scale {name!r} holds {float(np.min(scale))!r} or a number that is not "
            "finite; accepted: positive numbers"
        )
    return scale


def zero_of(call: Call, position: int, dtype: np.dtype[Any] | None, scale: Array) -> Array:
    """A constant zero point of the shape of its scale; 0 where it is omitted."""
    name = call.input(position)
    if name is None:
        return np.zeros(scale.shape, np.int32)
    zero = constant_of(call.builder, name)
    if zero is None:
        raise UnsupportedModelError(
            f"{call.where}: zero point {name!r} is computed from data; accepted: a constant"
        )
    if (dtype is not None and zero.dtype != dtype) or zero.dtype.kind not in "iu":
        raise ModelFormatError(
            f"{call.where}: zero point {name!r} is {zero.dtype}; expected {dtype or 'integers'}"
        )
    if zero.shape != scale.shape and not zero.size == scale.size == 1:
        raise ModelFormatError(
            f"{call.where}: zero point {name!r} has shape {list(zero.shape)}, its scale "
            f"{list(scale.shape)}; expected the same"
        )
    return zero.astype(np.int32).reshape(scale.shape)


def along(call: Call, part: Array, shape: tuple[Any, ...], axis: int) -> Array:
    """One number, or one for each place of an axis, in a shape that broadcasts to a tensor's."""
    rank = len(shape)
    if part.size == 1:
        return part.reshape((1,) * rank)
    if part.ndim != 1 or not -rank <= axis < rank or shape[axis] != part.size:
        raise UnsupportedModelError(
            f"{call.where}: scales of shape {list(part.shape)} along axis {axis} of a tensor "
            f"{list(shape)}; accepted: one scale, or one for each place of the axis"
        )
    wide = [1] * rank
    wide[axis] = part.size
    return part.reshape(wide)


def bounds(dtype: np.dtype[Any], zeros: Array) -> tuple[Array, Array]:
    """The least and the largest number of a type, less the zero point."""
    low, high = (
        (np.asarray(b, np.int32) - zeros).astype(np.float32)
        for b in (np.iinfo(dtype).min, np.iinfo(dtype).max)
    )
    return low, high


def withhold_rounded(
    call: Call, name: str | None, wide: Array, zeros: Array, dtype: np.dtype[Any]
) -> None:
    """Quantise a float32 value: q = saturate(round_half_even(x / scale) + zero).

    The division is in float32. The integers are withheld as the numbers q - zero, as the call's
    only output.
    """
    (output,) = call.outputs
    assert output is not None
    ratio = call.made("Div", [name, call.constant("scale", wide)], None, "ratio")
    whole = call.made("Round", [ratio], None, "whole")
    for op, bound in zip(("Max", "Min"), bounds(dtype, zeros), strict=True):
        whole = call.made(op, [whole, call.constant(f"{op}.bound", bound)], None, op)
    call.builder.withheld[output] = Integers(whole, zeros, None)


def scaled(call: Call, source: Integers, wide: Array, zeros: Array) -> list[str | None]:
    """Integers as float32 numbers: the two factors whose product is (q - zero) * scale."""
    name, left = source.name, zeros - source.zero  # what is withheld lies that much lower already
    if np.any(left):
        offset = call.constant("zero", left.astype(np.float32))
        name = call.made("Sub", [name, offset], None, "centred")
    return [name, call.constant("scale", wide)]
