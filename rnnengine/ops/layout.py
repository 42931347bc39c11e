"""Operators that move or repeat elements: Transpose, Concat, Expand, Tile, Identity, Dropout."""

from __future__ import annotations

import functools

import numpy as np

from rnnengine.errors import ShapeError, UnsupportedModelError
from rnnengine.graph import Size, TensorType
from rnnengine.ops import timeaxis
from rnnengine.ops.registry import (
    Array,
    Attrs,
    Known,
    NotAlongTime,
    Op,
    Settled,
    TimeAxes,
    Types,
    Values,
    register,
)
from rnnengine.ops.sizes import (
    as_sizes,
    axis_of,
    broadcast,
    element,
    ints,
    present,
    required,
    unify,
)

__all__ = ["known_sizes"]


def known_sizes(
    attrs: Attrs, known: Known, position: int, name: str, what: str
) -> tuple[Size, ...]:
    """Sizes from the settled attribute or from the operand, which must be known at load."""
    if name in attrs:
        return tuple(attrs[name])
    value = element(known, position)
    if value is None:
        raise UnsupportedModelError(
            f"{what}: {name} is computed from data; it must follow from constants and input shapes"
        )
    return as_sizes(value)


def _permutation(attrs: Attrs, rank: int) -> tuple[int, ...]:
    perm = tuple(attrs.get("perm") or range(rank - 1, -1, -1))
    if sorted(perm) != list(range(rank)):
        raise ShapeError(f"Transpose: perm is {perm}; expected a permutation of {rank} axes")
    return perm


def _infer_transpose(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x = present(types, 0, "data")
    return [TensorType(x.dtype, tuple(x.shape[p] for p in _permutation(attrs, x.rank)))]


def _reference_transpose(attrs: Attrs, values: Values) -> list[Array]:
    x = required(values, 0)
    return [np.transpose(x, _permutation(attrs, x.ndim))]


def _stream_transpose(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    perm = _permutation(attrs, present(types, 0, "data").rank)
    return [None if axes[0] is None else perm.index(axes[0])]


def _settle_transpose(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    perm = _permutation(attrs, present(types, 0, "data").rank)
    return None if attrs.get("perm") == perm else Settled("Transpose", 1, {"perm": perm})


register(
    Op(
        "Transpose",
        _infer_transpose,
        _reference_transpose,
        _stream_transpose,
        settle=_settle_transpose,
        symbolic=True,
        moves=True,
    )
)


def _infer_concat(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    parts = [present(types, i, f"part {i}") for i in range(len(types))]
    if not parts:
        raise ShapeError("Concat: got no inputs; expected 1 or more")
    first = parts[0]
    axis = axis_of(attrs["axis"], first.rank, "Concat: axis")
    total: Size = 0
    shape = list(first.shape)
    for part in parts:
        if part.rank != first.rank or part.dtype != first.dtype:
            raise ShapeError(f"Concat: {part} and {first} differ in rank or element type")
        for i, size in enumerate(part.shape):
            if i != axis:
                shape[i] = unify(shape[i], size, f"Concat: axis {i}")
        total = total + part.shape[axis]
    shape[axis] = total
    return [TensorType(first.dtype, tuple(shape))]


def _reference_concat(attrs: Attrs, values: Values) -> list[Array]:
    parts = [required(values, i) for i in range(len(values))]
    return [np.concatenate(parts, axis=attrs["axis"])]


def _stream_concat(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    first = present(types, 0, "part 0")
    axis = axis_of(attrs["axis"], first.rank)
    found = {a for a in axes if a is not None}
    if not found:
        return [None]
    if axis in found:
        raise NotAlongTime("Concat joins along the time axis")
    if len(found) > 1 or None in axes:
        raise NotAlongTime("Concat combines inputs whose time axes are not aligned")
    return [found.pop()]


def _settle_concat(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    axis = axis_of(attrs["axis"], present(types, 0, "part 0").rank)
    return None if attrs["axis"] == axis else Settled("Concat", len(types), {"axis": axis})


register(
    Op(
        "Concat",
        _infer_concat,
        _reference_concat,
        _stream_concat,
        settle=_settle_concat,
        symbolic=True,
        moves=True,
    )
)


def _infer_expand(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x = present(types, 0, "input")
    target = known_sizes(attrs, known, 1, "shape", "Expand")
    return [TensorType(x.dtype, broadcast([x.shape, target], "Expand"))]


def _reference_expand(attrs: Attrs, values: Values) -> list[Array]:
    x = required(values, 0)
    target = known_sizes(attrs, values, 1, "shape", "Expand")
    shape = ints(np.array(broadcast([x.shape, target], "Expand"), object), "Expand: shape")
    return [np.broadcast_to(x, shape)]


def _stream_expand(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    if axes[0] is None:
        return [None]
    x = present(types, 0, "input")
    rank = _infer_expand(attrs, types, known)[0].rank
    return [axes[0] + rank - x.rank]


def _settle_expand(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    shape = _infer_expand(attrs, types, known)[0].shape
    if attrs.get("shape") == shape and len(types) == 1:
        return None
    return Settled("Expand", 1, {"shape": shape})


register(
    Op(
        "Expand",
        _infer_expand,
        _reference_expand,
        _stream_expand,
        settle=_settle_expand,
        symbolic=True,
    )
)


def _repeats(attrs: Attrs, known: Known, rank: int) -> tuple[Size, ...]:
    repeats = known_sizes(attrs, known, 1, "repeats", "Tile")
    if len(repeats) != rank:
        raise ShapeError(f"Tile: got {len(repeats)} repeats for rank {rank}")
    return repeats


def _infer_tile(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x = present(types, 0, "input")
    repeats = _repeats(attrs, known, x.rank)
    return [TensorType(x.dtype, tuple(s * r for s, r in zip(x.shape, repeats, strict=True)))]


def _reference_tile(attrs: Attrs, values: Values) -> list[Array]:
    x = required(values, 0)
    repeats = np.array(_repeats(attrs, values, x.ndim), object)
    return [np.tile(x, ints(repeats, "Tile: repeats"))]


def _stream_tile(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    repeats = _repeats(attrs, known, present(types, 0, "input").rank)
    if axes[0] is not None and repeats[axes[0]] != 1:
        raise NotAlongTime("Tile repeats along the time axis")
    return [axes[0]]


def _settle_tile(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    if "repeats" in attrs:
        return None
    return Settled("Tile", 1, {"repeats": _repeats(attrs, known, present(types, 0, "input").rank)})


register(Op("Tile", _infer_tile, _reference_tile, _stream_tile, settle=_settle_tile, symbolic=True))


def _infer_copy(attrs: Attrs, types: Types, known: Known, *, mask: bool) -> list[TensorType]:
    x = present(types, 0, "input")
    return [x, TensorType(np.dtype(np.bool_), x.shape)] if mask else [x]


def _reference_copy(attrs: Attrs, values: Values, *, mask: bool) -> list[Array]:
    x = required(values, 0)
    return [x, np.ones(x.shape, np.bool_)] if mask else [x]


def _stream_copy(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes, *, mask: bool
) -> list[int | None]:
    return [timeaxis.first(axes)] * (2 if mask else 1)


for _name in ("Identity", "Dropout"):
    _mask = _name == "Dropout"
    register(
        Op(
            _name,
            functools.partial(_infer_copy, mask=_mask),
            functools.partial(_reference_copy, mask=_mask),
            functools.partial(_stream_copy, mask=_mask),
            symbolic=True,
            moves=True,
        )
    )
