"""Operators that select elements: Slice, Split and Gather."""

from __future__ import annotations

import numpy as np

from rnnengine.errors import ShapeError
from rnnengine.graph import Dim, Size, TensorType, UndecidedError
from rnnengine.ops.layout import known_sizes
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
    axis_of,
    element,
    ints,
    present,
    require_dtype,
    required,
    settled_axis,
    unify,
)
from rnnengine.records import record

__all__ = ["Cut", "cuts"]

_FAR = 2**31 - 1
"""Exporters write this, or more, for 'to the end'."""


@record
class Cut:
    """Elements ``start + k*step``, k < size, of one axis; symbolic bounds are taken as valid."""

    axis: int
    start: Size
    size: Size
    step: int

    def whole(self, shape: tuple[Size, ...]) -> bool:
        """Whether nothing of the axis is left out or moved."""
        return self.start == 0 and self.step == 1 and self.size == shape[self.axis]


def _cut(axis: int, dim: Size, start: Size, end: Size, step: int) -> Cut:
    """Resolve ONNX's clamping and counting from the end."""
    if step == 0:
        raise ShapeError("Slice: step is 0")
    if isinstance(dim, int) and isinstance(start, int) and isinstance(end, int):
        picked = range(*slice(start, end if step > 0 or end >= -dim else None, step).indices(dim))
        return Cut(axis, picked.start if picked else 0, len(picked), step)
    low, high = (0, dim) if step > 0 else (-1, dim - 1)
    first = _bound(start, dim, low if step > 0 else 0, high)
    last = _bound(end, dim, low, high)
    length = last - first if step > 0 else first - last
    size = length if abs(step) == 1 else (length + abs(step) - 1) // abs(step)
    if isinstance(size, int) and size <= 0:
        return Cut(axis, 0, 0, step)
    return Cut(axis, first, size, step)


def _bound(value: Size, dim: Size, low: Size, high: Size) -> Size:
    """One end of a slice whose clamping cannot be computed: only far values are clamped."""
    if isinstance(value, Dim):
        return value
    if value >= _FAR:
        return high
    if value <= -_FAR:
        return low
    return dim + value if value < 0 else value


def cuts(attrs: Attrs, known: Known, shape: tuple[Size, ...]) -> list[Cut]:
    """What a Slice takes of each named axis, from its settled attributes or its operands."""
    if "sizes" in attrs:
        fields = zip(attrs["axes"], attrs["starts"], attrs["sizes"], attrs["steps"], strict=True)
        return [Cut(*f) for f in fields]
    starts = known_sizes(attrs, known, 1, "starts", "Slice")
    ends = known_sizes(attrs, known, 2, "ends", "Slice")
    axes: tuple[Size, ...] = tuple(range(len(starts)))
    steps: tuple[Size, ...] = (1,) * len(starts)
    if "axes" in attrs or element(known, 3) is not None:
        axes = known_sizes(attrs, known, 3, "axes", "Slice")
    if "steps" in attrs or element(known, 4) is not None:
        steps = known_sizes(attrs, known, 4, "steps", "Slice")
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ShapeError("Slice: starts, ends, axes and steps differ in length")
    result: list[Cut] = []
    plain_axes = ints(np.array(axes, object), "Slice: axes")
    plain_steps = ints(np.array(steps, object), "Slice: steps")
    for start, end, raw, step in zip(starts, ends, plain_axes, plain_steps, strict=True):
        axis = axis_of(raw, len(shape), "Slice: axis")
        result.append(_cut(axis, shape[axis], start, end, step))
    if len({cut.axis for cut in result}) != len(result):
        raise ShapeError(f"Slice: axes {axes} name one axis twice")
    return sorted(result, key=lambda cut: cut.axis)


def _check_operands(types: Types, known: Known) -> None:
    """An optional operand that is given but not known must not be taken for an omitted one."""
    for position in range(1, len(types)):
        if types[position] is not None and element(known, position) is None:
            name = ("data", "starts", "ends", "axes", "steps")[position]
            known_sizes({}, known, position, name, "Slice")


def _infer_slice(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x = present(types, 0, "data")
    _check_operands(types, known)
    shape = list(x.shape)
    for cut in cuts(attrs, known, x.shape):
        shape[cut.axis] = cut.size
    return [TensorType(x.dtype, tuple(shape))]


def _reference_slice(attrs: Attrs, values: Values) -> list[Array]:
    x = required(values, 0)
    for cut in cuts(attrs, values, x.shape):
        if isinstance(cut.start, Dim) or isinstance(cut.size, Dim):
            raise UndecidedError("Slice at a symbolic position")
        last = cut.start + (cut.size - 1) * cut.step
        if cut.size < 0 or (cut.size and not (0 <= cut.start < x.shape[cut.axis] > last >= 0)):
            raise ShapeError(
                f"Slice: {cut.size} elements from {cut.start} in steps of {cut.step} do not fit "
                f"axis {cut.axis} of {x.shape}"
            )
        picked = cut.start + cut.step * np.arange(cut.size)
        x = np.take(x, picked, axis=cut.axis)
    return [x]


def _stream_slice(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    x = present(types, 0, "data")
    for cut in cuts(attrs, known, x.shape):
        if cut.axis == axes[0] and not cut.whole(x.shape):
            raise NotAlongTime("Slice selects steps of the time axis")
    return [axes[0]]


def _settle_slice(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    """Only axes of which something is left out are named."""
    if "sizes" in attrs:
        return None
    shape = present(types, 0, "data").shape
    found = [cut for cut in cuts(attrs, known, shape) if not cut.whole(shape)]
    settled = {
        "axes": tuple(c.axis for c in found),
        "starts": tuple(c.start for c in found),
        "sizes": tuple(c.size for c in found),
        "steps": tuple(c.step for c in found),
    }
    return Settled("Slice", 1, settled)


register(
    Op(
        "Slice",
        _infer_slice,
        _reference_slice,
        _stream_slice,
        settle=_settle_slice,
        symbolic=True,
        moves=True,
    )
)


def _parts(attrs: Attrs, known: Known, shape: tuple[Size, ...]) -> tuple[int, tuple[Size, ...]]:
    """Axis and sizes of a Split; without sizes, equal parts with the last one smaller."""
    axis = axis_of(attrs.get("axis", 0), len(shape), "Split: axis")
    dim = shape[axis]
    if "split" in attrs or element(known, 1) is not None:
        sizes = known_sizes(attrs, known, 1, "split", "Split")
        if len(sizes) != attrs["num_outputs"]:
            raise ShapeError(f"Split: {len(sizes)} sizes for {attrs['num_outputs']} outputs")
        total: Size = sum(sizes)
        if any(isinstance(s, int) and s < 0 for s in sizes):
            raise ShapeError(f"Split: sizes are {sizes}; expected none below 0")
        unify(total, dim, f"Split: the sum of sizes {sizes} and axis {axis} of {shape}")
        return axis, sizes
    count = attrs["num_outputs"]
    if isinstance(dim, Dim):
        return axis, (dim // count,) * count
    chunk = -(-dim // count)
    listed = [max(0, min(chunk, dim - i * chunk)) for i in range(count)]
    if attrs.get("equal") and dim % count:
        raise ShapeError(f"Split: {count} equal parts of {dim}, axis {axis} of {shape}")
    return axis, tuple(listed)


def _infer_split(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x = present(types, 0, "input")
    if element(types, 1) is not None:
        known_sizes(attrs, known, 1, "split", "Split")
    axis, sizes = _parts(attrs, known, x.shape)
    return [TensorType(x.dtype, (*x.shape[:axis], s, *x.shape[axis + 1 :])) for s in sizes]


def _reference_split(attrs: Attrs, values: Values) -> list[Array]:
    x = required(values, 0)
    axis, sizes = _parts(attrs, values, x.shape)
    bounds = np.cumsum(ints(np.array(sizes, object), "Split: split"))[:-1]
    return list(np.split(x, bounds, axis=axis))


def _stream_split(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    axis, sizes = _parts(attrs, known, present(types, 0, "input").shape)
    if axes[0] == axis:
        raise NotAlongTime("Split divides the time axis")
    return [axes[0]] * len(sizes)


def _settle_split(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    axis, sizes = _parts(attrs, known, present(types, 0, "input").shape)
    settled = {"axis": axis, "split": sizes, "num_outputs": len(sizes)}
    return None if dict(attrs) == settled else Settled("Split", 1, settled)


register(
    Op(
        "Split",
        _infer_split,
        _reference_split,
        _stream_split,
        settle=_settle_split,
        symbolic=True,
        moves=True,
    )
)


def _infer_gather(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x, indices = present(types, 0, "data"), present(types, 1, "indices")
    require_dtype(indices.dtype, "i", "Gather: indices")
    axis = axis_of(attrs.get("axis", 0), x.rank, "Gather: axis")
    value, dim = element(known, 1), x.shape[axis]
    if value is not None and value.dtype != object and isinstance(dim, int):
        _check_range(value, dim)
    return [TensorType(x.dtype, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))]


def _check_range(indices: Array, dim: int) -> None:
    if np.any(indices < -dim) or np.any(indices >= dim):
        raise ShapeError(f"Gather: an index is outside {-dim}..{dim - 1}")


def _reference_gather(attrs: Attrs, values: Values) -> list[Array]:
    x, indices = required(values, 0), required(values, 1)
    if indices.dtype == object:
        raise UndecidedError("Gather at a symbolic index")
    axis = axis_of(attrs.get("axis", 0), x.ndim, "Gather: axis")
    _check_range(indices, x.shape[axis])
    return [np.asarray(np.take(x, indices, axis=axis))]


def _stream_gather(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    x, indices = present(types, 0, "data"), present(types, 1, "indices")
    axis = axis_of(attrs.get("axis", 0), x.rank)
    if axes[0] is not None and axes[1] is not None:
        raise NotAlongTime("Gather looks up one time-dependent input by another")
    if axes[1] is not None:
        return [axis + axes[1]]
    if axes[0] == axis:
        raise NotAlongTime("Gather selects steps of the time axis")
    if axes[0] is None or axes[0] < axis:
        return [axes[0]]
    return [axes[0] + indices.rank - 1]


def _settle_gather(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    return settled_axis(attrs, types, "Gather", 0, 2)


register(
    Op(
        "Gather",
        _infer_gather,
        _reference_gather,
        _stream_gather,
        settle=_settle_gather,
        symbolic=True,
    )
)
