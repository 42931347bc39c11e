"""Operators that read or write elements at indices: GatherElements, GatherND and the scatters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from rnnengine.errors import ShapeError, UnsupportedModelError
from rnnengine.graph import Size, TensorType, UndecidedError
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
    as_computed,
    at_least,
    axis_of,
    objects,
    present,
    require_dtype,
    required,
    settled_axis,
    unify,
)

__all__ = ["COMBINE"]

COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "none": lambda old, new: new,
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}
"""What a scatter makes of the element that was there and the one that comes, in index order."""


def _wrapped(indices: Array, dim: int, op: str) -> Array:
    if indices.dtype == object:
        raise UndecidedError(f"{op} at a symbolic index")
    if np.any(indices < -dim) or np.any(indices >= dim):
        raise ShapeError(f"{op}: an index is outside {-dim}..{dim - 1}")
    return np.where(indices < 0, indices + dim, indices)


def _axis(attrs: Attrs, rank: int, op: str) -> int:
    return axis_of(attrs.get("axis", 0), rank, f"{op}: axis")


def _check_elements(x: TensorType, indices: TensorType, axis: int, op: str) -> None:
    require_dtype(indices.dtype, "i", f"{op}: indices")
    if indices.rank != x.rank:
        raise ShapeError(f"{op}: data is {x}, indices is {indices}; expected one rank")
    for i, (have, used) in enumerate(zip(x.shape, indices.shape, strict=True)):
        if i != axis and not _may_hold(have, used):
            raise ShapeError(f"{op}: indices {indices} are larger than data {x} along axis {i}")


def _may_hold(have: Size, used: Size) -> bool:
    """Whether an axis is large enough; where symbols leave it open, binding them decides."""
    try:
        return at_least(have, used)
    except UndecidedError:
        return True


def _infer_gather_elements(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x, indices = present(types, 0, "data"), present(types, 1, "indices")
    _check_elements(x, indices, _axis(attrs, x.rank, "GatherElements"), "GatherElements")
    return [TensorType(x.dtype, indices.shape)]


def _trimmed(x: Array, shape: tuple[int, ...], axis: int) -> Array:
    cut = tuple(slice(None) if i == axis else slice(size) for i, size in enumerate(shape))
    return x[cut]


def _reference_gather_elements(attrs: Attrs, values: Values) -> list[Array]:
    """y[i, j, k] = x[indices[i, j, k], j, k] for axis 0."""
    x, indices = as_computed(required(values, 0)), required(values, 1)
    axis = _axis(attrs, x.ndim, "GatherElements")
    places = _wrapped(indices, x.shape[axis], "GatherElements")
    return [np.take_along_axis(_trimmed(x, indices.shape, axis), places, axis)]


def _stream_aligned(axes: TimeAxes, axis: int, op: str) -> list[int | None]:
    """All inputs have the same time axis, which is not the one indexed."""
    if all(a is None for a in axes):
        return [None]
    if axis in axes:
        raise NotAlongTime(f"{op} selects steps of the time axis")
    if len(set(axes)) > 1:
        raise NotAlongTime(f"{op} combines inputs whose time axes are not aligned")
    return [axes[0]]


def _stream_gather_elements(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes
) -> list[int | None]:
    x, indices = present(types, 0, "data"), present(types, 1, "indices")
    found = _stream_aligned(axes, _axis(attrs, x.rank, "GatherElements"), "GatherElements")
    if found[0] is not None and x.shape[found[0]] != indices.shape[found[0]]:
        raise NotAlongTime("GatherElements reads only some of the time steps")
    return found


def _settle_axis(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    op = "ScatterElements" if len(types) == 3 else "GatherElements"
    return settled_axis(attrs, types, op, 0, len(types))


register(
    Op(
        "GatherElements",
        _infer_gather_elements,
        _reference_gather_elements,
        _stream_gather_elements,
        settle=_settle_axis,
    )
)


def _index_depth(x: TensorType, indices: TensorType, batch: int, op: str) -> int:
    require_dtype(indices.dtype, "i", f"{op}: indices")
    depth = indices.shape[-1] if indices.rank else 0
    if indices.rank < 1 or not isinstance(depth, int):
        raise UnsupportedModelError(f"{op}: indices is {indices}; expected a fixed last axis")
    if not 0 <= batch < min(x.rank, indices.rank) or not 1 <= depth <= x.rank - batch:
        raise ShapeError(f"{op}: data is {x}, indices is {indices}, batch_dims is {batch}")
    return depth


def _infer_gather_nd(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x, indices = present(types, 0, "data"), present(types, 1, "indices")
    batch = attrs.get("batch_dims", 0)
    depth = _index_depth(x, indices, batch, "GatherND")
    for axis in range(batch):
        unify(x.shape[axis], indices.shape[axis], f"GatherND: batch axis {axis}")
    return [TensorType(x.dtype, (*indices.shape[:-1], *x.shape[batch + depth :]))]


def _places(indices: Array, shape: tuple[int, ...], op: str) -> tuple[Array, ...]:
    return tuple(_wrapped(indices[..., i], size, op) for i, size in enumerate(shape))


def _reference_gather_nd(attrs: Attrs, values: Values) -> list[Array]:
    """y[b, i] = x[b, indices[b, i, 0], indices[b, i, 1], ...]."""
    x, indices = as_computed(required(values, 0)), required(values, 1)
    batch, depth = attrs.get("batch_dims", 0), indices.shape[-1]
    own = np.indices(indices.shape[:-1], sparse=True)[:batch]
    places = _places(indices, x.shape[batch : batch + depth], "GatherND")
    return [np.asarray(x[(*own, *places)])]


def _stream_gather_nd(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    x, indices = present(types, 0, "data"), present(types, 1, "indices")
    batch = attrs.get("batch_dims", 0)
    after = batch + _index_depth(x, indices, batch, "GatherND")
    if axes[0] is not None and axes[0] >= batch:
        if axes[1] is not None or axes[0] < after:
            raise NotAlongTime("GatherND selects steps of the time axis")
        return [axes[0] - after + indices.rank - 1]
    if axes[0] != axes[1] and (axes[0] is not None or (axes[1] or 0) < batch):
        raise NotAlongTime("GatherND combines inputs whose time axes are not aligned")
    if axes[1] is not None and axes[1] == indices.rank - 1:
        raise NotAlongTime("GatherND reads an index over the time axis")
    return [axes[1]]


register(Op("GatherND", _infer_gather_nd, _reference_gather_nd, _stream_gather_nd))


def _check_combine(attrs: Attrs, op: str) -> Callable[[Any, Any], Any]:
    word = attrs.get("reduction", "none")
    if word not in COMBINE:
        raise UnsupportedModelError(
            f"{op}: reduction is {word!r}; accepted: {', '.join(sorted(COMBINE))}"
        )
    return COMBINE[word]


def _check_updates(types: Types, wanted: tuple[Size, ...], op: str) -> TensorType:
    """Type of the data; what is put into it must have its element type and that shape."""
    x, updates = present(types, 0, "data"), present(types, 2, "updates")
    if updates.dtype != x.dtype or updates.rank != len(wanted):
        raise ShapeError(f"{op}: updates is {updates}; expected {x.dtype} of shape {wanted}")
    for axis, (a, b) in enumerate(zip(updates.shape, wanted, strict=True)):
        unify(a, b, f"{op}: axis {axis} of updates")
    return x


def _combined(
    attrs: Attrs, values: Values, op: str, places: Callable[[Array, Array], Iterable[Any]]
) -> list[Array]:
    """A copy of the data in which each place is combined with its update, in order.

    ``places`` gives, for data and indices, the place of each update and its place in the updates.
    """
    x, indices, updates = (required(values, i) for i in range(3))
    if objects(x, updates):
        raise UndecidedError(f"{op} of symbolic sizes")
    result, new = as_computed(x).copy(), as_computed(updates)
    combine = _check_combine(attrs, op)
    for place, at in places(x, indices):
        result[place] = combine(result[place], new[at])
    return [result]


def _infer_scatter_nd(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x, indices = present(types, 0, "data"), present(types, 1, "indices")
    _check_combine(attrs, "ScatterND")
    depth = _index_depth(x, indices, 0, "ScatterND")
    return [_check_updates(types, (*indices.shape[:-1], *x.shape[depth:]), "ScatterND")]


def _reference_scatter_nd(attrs: Attrs, values: Values) -> list[Array]:
    """A copy of the data in which the part at each index is combined with its update, in order."""

    def places(x: Array, indices: Array) -> Iterator[Any]:
        found = _places(indices, x.shape[: indices.shape[-1]], "ScatterND")
        return ((tuple(int(p[at]) for p in found), at) for at in np.ndindex(indices.shape[:-1]))

    return _combined(attrs, values, "ScatterND", places)


def _stream_scatter_nd(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes
) -> list[int | None]:
    x, indices = present(types, 0, "data"), present(types, 1, "indices")
    if all(axis is None for axis in axes):
        return [None]
    depth = _index_depth(x, indices, 0, "ScatterND")
    time = axes[0]
    if axes[1] is not None or time is None or time < depth:
        raise NotAlongTime("ScatterND writes to places that depend on time")
    if axes[2] != time - depth + indices.rank - 1:
        raise NotAlongTime("ScatterND combines inputs whose time axes are not aligned")
    return [time]


register(Op("ScatterND", _infer_scatter_nd, _reference_scatter_nd, _stream_scatter_nd))


def _infer_scatter_elements(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x, indices = present(types, 0, "data"), present(types, 1, "indices")
    _check_combine(attrs, "ScatterElements")
    _check_elements(x, indices, _axis(attrs, x.rank, "ScatterElements"), "ScatterElements")
    return [_check_updates(types, indices.shape, "ScatterElements")]


def _reference_scatter_elements(attrs: Attrs, values: Values) -> list[Array]:
    """A copy of x with x[indices[i, j], j] combined with updates[i, j] for axis 0, in order."""

    def places(x: Array, indices: Array) -> Iterator[Any]:
        axis = _axis(attrs, x.ndim, "ScatterElements")
        found = _wrapped(indices, x.shape[axis], "ScatterElements")
        return (
            ((*at[:axis], int(found[at]), *at[axis + 1 :]), at) for at in np.ndindex(indices.shape)
        )

    return _combined(attrs, values, "ScatterElements", places)


def _stream_scatter_elements(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes
) -> list[int | None]:
    x, indices = present(types, 0, "data"), present(types, 1, "indices")
    found = _stream_aligned(axes, _axis(attrs, x.rank, "ScatterElements"), "ScatterElements")
    if found[0] is not None and x.shape[found[0]] != indices.shape[found[0]]:
        raise NotAlongTime("ScatterElements writes only some of the time steps")
    return found


register(
    Op(
        "ScatterElements",
        _infer_scatter_elements,
        _reference_scatter_elements,
        _stream_scatter_elements,
        settle=_settle_axis,
    )
)
