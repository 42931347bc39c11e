"""What operators share: operands by position, and the rules for symbolic sizes.

A symbol stands for any size from 0 up. A question whose answer depends on the symbols raises
:class:`UndecidedError`; two sizes that must be equal but are not known to be raise :class:`Clash`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, ShapeError, UnsupportedModelError
from rnnengine.graph import Dim, Size, TensorType, UndecidedError
from rnnengine.ops.registry import Array, Attrs, Settled, Types, Values

__all__ = [
    "Clash",
    "as_computed",
    "as_sizes",
    "at_least",
    "axis_of",
    "broadcast",
    "check_size",
    "element",
    "equal",
    "fixed",
    "ints",
    "objects",
    "present",
    "require_dtype",
    "required",
    "settled_axis",
    "size_array",
    "truncated_quotient",
    "unify",
]

_INT64 = 2**63 - 1
_MAX_TERMS = 64


class Clash(ShapeError):
    """Two sizes must be equal and at least one of them is symbolic.

    Whoever owns the symbols may identify the two and infer again.
    """

    def __init__(self, message: str, left: Size, right: Size) -> None:
        super().__init__(message)
        self.left = left
        self.right = right


def equal(a: Size, b: Size) -> bool:
    """Whether two sizes are the same for all values of their symbols, or differ for all of them."""
    difference = a - b
    if not isinstance(difference, Dim):
        return difference == 0
    if _positive(difference) or _positive(-difference):
        return False
    raise UndecidedError(f"whether {a} equals {b}")


def at_least(a: Size, b: Size) -> bool:
    """Whether ``a >= b`` for every value of the symbols, or for none."""
    difference = a - b
    if not isinstance(difference, Dim):
        return difference >= 0
    if all(coefficient >= 0 for _, coefficient in difference.terms):
        return True
    if _positive(-difference):
        return False
    raise UndecidedError(f"whether {a} is at least {b}")


def _positive(size: Size) -> bool:
    if not isinstance(size, Dim):
        return size > 0
    constant = dict(size.terms).get((), 0)
    return constant > 0 and all(coefficient >= 0 for _, coefficient in size.terms)


def truncated_quotient(a: Size, b: Size) -> Size:
    """Divide as ONNX divides integers: towards zero. Symbolic division must be exact."""
    if isinstance(a, Dim) or isinstance(b, Dim):
        return a // b
    if b == 0:
        raise UndecidedError(f"{a} / 0")
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def unify(a: Size, b: Size, what: str) -> Size:
    """Return the size both stand for; Clash where that is not known, ShapeError where false."""
    if not isinstance(a - b, Dim):
        if a != b:
            raise ShapeError(f"{what}: {a} and {b} must be equal")
        return a
    raise Clash(f"{what}: {a} and {b} must be equal, which the model does not say", a, b)


def broadcast(shapes: Sequence[tuple[Size, ...]], what: str) -> tuple[Size, ...]:
    """Shape of an elementwise result; a symbolic size never stretches, it equals its partner."""
    rank = max((len(s) for s in shapes), default=0)
    result: list[Size] = []
    for axis in range(rank):
        merged: Size = 1
        for shape in shapes:
            position = axis - (rank - len(shape))
            size = shape[position] if position >= 0 else 1
            if merged == 1:
                merged = size
            elif size != 1:
                merged = unify(merged, size, f"{what}: axis {axis} of the broadcast shape")
        result.append(merged)
    return tuple(result)


def required(values: Values, position: int) -> Array:
    """Input at a position, which inference has checked to be there."""
    found = values[position]
    assert found is not None
    return found


def as_computed(value: Array) -> Array:
    """Floats in float64; integers, booleans and objects as they are."""
    return value.astype(np.float64) if value.dtype.kind == "f" else value


def objects(*values: Array) -> bool:
    """Whether any operand holds symbolic sizes."""
    return any(v.dtype == object for v in values)


def check_size(size: Size) -> Size:
    """Bound the growth of shape arithmetic, which a hostile file can square again and again."""
    if isinstance(size, Dim):
        if len(size.terms) > _MAX_TERMS or max([len(m) for m, _ in size.terms]) > _MAX_TERMS:
            raise ModelFormatError(f"shape arithmetic has more than {_MAX_TERMS} terms")
        for monomial, factor in size.terms:
            if abs(factor) > _INT64 or any([p > _MAX_TERMS for _, p in monomial]):
                raise ModelFormatError("shape arithmetic exceeds 64 bits")
    elif abs(size) > _INT64:
        raise ModelFormatError("shape arithmetic exceeds 64 bits")
    return size


def size_array(sizes: Iterable[Size]) -> Array:
    """Sizes as a vector: int64 where all are integers, else objects."""
    listed = list(sizes)
    if not any(isinstance(s, Dim) for s in listed):
        return np.asarray(listed, np.int64).reshape(len(listed))
    result = np.empty(len(listed), object)
    result[:] = listed
    return result


def as_sizes(value: Array) -> tuple[Size, ...]:
    """Elements of an integer vector (or scalar) as sizes."""
    return tuple(v if isinstance(v, Dim) else int(v) for v in value.reshape(-1))


def ints(value: Array, what: str) -> tuple[int, ...]:
    """Elements of an integer vector, all of which must be plain integers."""
    sizes = as_sizes(value)
    plain = tuple(s for s in sizes if isinstance(s, int))
    if len(plain) != len(sizes):
        raise UnsupportedModelError(f"{what} depends on a symbolic size: {sizes}; must be constant")
    return plain


def axis_of(axis: int, rank: int, what: str = "axis") -> int:
    """Normalise an axis to 0..rank-1."""
    if not -rank <= axis < rank:
        raise ShapeError(f"{what} {axis} is out of range for rank {rank}")
    return axis % rank


def settled_axis(
    attrs: Attrs, types: Types, op: str, default: int, inputs: int = 1
) -> Settled | None:
    """Settled form of an operator with an axis of its first input; None where it is settled."""
    axis = axis_of(attrs.get("axis", default), present(types, 0, "data").rank)
    return None if attrs.get("axis") == axis else Settled(op, inputs, {**attrs, "axis": axis})


def present(types: Types, position: int, what: str) -> TensorType:
    """Type of a required input."""
    found = types[position] if position < len(types) else None
    if found is None:
        raise ShapeError(f"input {position} ({what}) is missing; it is required")
    return found


def element(values: Sequence[Any], position: int) -> Any:
    """Input at a position, None where it is omitted."""
    return values[position] if position < len(values) else None


def fixed(shape: Iterable[Size]) -> bool:
    """Whether no size of a shape is symbolic."""
    return not any(isinstance(size, Dim) for size in shape)


def require_dtype(dtype: np.dtype[Any], kinds: str, what: str) -> None:
    """Refuse an element type whose kind (numpy's letter) is not among ``kinds``."""
    if dtype.kind not in kinds:
        words = {"f": "floating", "i": "signed integer", "u": "unsigned integer", "b": "bool"}
        accepted = ", ".join(words[k] for k in kinds)
        raise ShapeError(f"{what} has element type {dtype}; accepted: {accepted}")
