"""Declared types of ONNX values, symbolic dimensions, and inputs fixed by the caller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnengine.errors import ModelFormatError, ShapeError, UnsupportedModelError
from rnnengine.graph import (
    Dim,
    Size,
    TensorType,
    UndecidedError,
    Value,
    substitute,
    symbol,
    symbols_of,
)
from rnnengine.importers.onnx.proto import BFLOAT16, ELEMENT_TYPES, element_type
from rnnengine.ops.registry import Array
from rnnengine.ops.sizes import Clash

if TYPE_CHECKING:
    from onnx import ValueInfoProto

__all__ = ["check_declared", "fixed_value", "input_value", "named_symbols", "solve"]


def named_symbols(infos: Iterable[ValueInfoProto]) -> set[str]:
    """Names that the model itself gives to dimensions of its inputs."""
    return {
        dim.dim_param for info in infos for dim in info.type.tensor_type.shape.dim if dim.dim_param
    }


def input_value(info: ValueInfoProto, named: set[str], sizes: Mapping[str, Size]) -> Value:
    """Return a graph input.

    Parameters
    ----------
    info : ValueInfoProto
    named : set of str
        Dimension names of the model; a dimension without a name becomes ``<input>_<axis>``.
    sizes : mapping of str to size
        What symbols have turned out to be.
    """
    what = f"input {info.name!r}"
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UnsupportedModelError(f"{what} is of type {kind}; accepted: tensor")
    tensor = info.type.tensor_type
    dtype = element_type(tensor.elem_type, what)
    if not tensor.HasField("shape"):
        raise UnsupportedModelError(f"{what} declares no shape; accepted: a shape of known rank")
    shape: list[Size] = []
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.WhichOneof("value") == "dim_value" and dim.dim_value != -1:
            if dim.dim_value < 0:
                raise ModelFormatError(f"{what}: size of axis {axis} is {dim.dim_value}")
            shape.append(int(dim.dim_value))
            continue
        name = dim.dim_param or f"{info.name}_{axis}"
        while not dim.dim_param and name in named:
            name += "_"
        shape.append(substitute(symbol(name), sizes))
    return Value(info.name, TensorType(dtype, tuple(shape)))


def check_declared(info: ValueInfoProto, found: TensorType) -> None:
    """Compare a declared type with the inferred one.

    Raises
    ------
    ModelFormatError
        They contradict each other. Symbolic sizes are not compared.
    """
    tensor = info.type.tensor_type
    if info.type.WhichOneof("value") != "tensor_type":
        return
    code = tensor.elem_type
    dtype = ELEMENT_TYPES.get(code)
    if code not in (0, BFLOAT16) and dtype != found.dtype:
        raise ModelFormatError(
            f"value {info.name!r} is declared as {dtype or f'type number {code}'}; it is {found}"
        )
    if not tensor.HasField("shape"):
        return
    declared = [d.dim_value if d.WhichOneof("value") == "dim_value" else None
                for d in tensor.shape.dim]  # fmt: skip
    agree = len(declared) == found.rank and all(
        size is None or size < 0 or not isinstance(got, int) or size == got
        for size, got in zip(declared, found.shape, strict=True)
    )
    if not agree:
        raise ModelFormatError(
            f"value {info.name!r} is declared with shape {declared}; it is {found}"
        )


def fixed_value(value: Value, given: Any) -> Array:
    """Check a value that the caller fixes an input to, and convert it to the declared type.

    Raises
    ------
    TypeError
        The kind of number differs from the declared one, or a number does not fit it.
    ShapeError
        The shape differs from the declared one.
    """
    what = f"constants[{value.name!r}]"
    array, dtype = np.asarray(given), value.type.dtype
    safe = {"b": "b", "i": "iu", "u": "iu", "f": "fiu"}[dtype.kind]
    if array.dtype.kind not in safe:
        raise TypeError(f"{what} is {array.dtype}; expected {value.type}")
    with np.errstate(over="ignore"):
        converted = array.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(converted, array):
        raise TypeError(f"{what} holds numbers outside {dtype}")
    agree = array.ndim == value.type.rank and all(
        isinstance(size, Dim) or size == got
        for size, got in zip(value.type.shape, array.shape, strict=True)
    )
    if not agree:
        raise ShapeError(f"{what} has shape {array.shape}; expected {value.type}")
    return converted


def solve(clash: Clash, named: set[str]) -> tuple[str, Size]:
    """Return the symbol, and its value, that makes the two sizes of a clash equal.

    Symbols that the model did not name are replaced first.

    Raises
    ------
    UnsupportedModelError
        No symbol can be solved for.
    """
    difference = clash.left - clash.right
    terms = dict(difference.terms) if isinstance(difference, Dim) else {}
    for name in sorted(symbols_of(difference), key=lambda n: (n in named, n)):
        factor = terms.get(((name, 1),), 0)
        rest = symbol(name) * factor - difference
        if factor == 0 or name in symbols_of(rest):
            continue
        try:
            value = rest // factor if isinstance(rest, Dim) else _exact(rest, factor)
        except UndecidedError:
            continue
        if _plain(value):
            return name, value
    raise UnsupportedModelError(f"{clash}; declare the sizes of the inputs")


def _exact(value: int, divisor: int) -> int:
    if value % divisor:
        raise UndecidedError(f"{value} / {divisor}")
    return value // divisor


def _plain(size: Size) -> bool:
    """Whether a size can be what a symbol stands for: a number, or another symbol."""
    if not isinstance(size, Dim):
        return size >= 0
    return len(size.terms) == 1 and size == symbol(next(iter(symbols_of(size))))
