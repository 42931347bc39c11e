"""Weights of a model that was quantised before it came here: integers, scales and zero points.

An importer makes them; whatever only moves elements keeps them (Transpose, Slice, Concat and the
like, while the graph is folded), and the pass that lowers weights takes the integers as they are.
To everybody else they are the float32 numbers they stand for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from rnnengine.graph.lowered import LoweredMatrix, from_codes
from rnnengine.graph.packed import KeptIntegers, Packing

__all__ = ["ScaledIntegers", "keepable"]

Array = np.ndarray[Any, Any]

_HALF = 128
_TINY = float(np.finfo(np.float32).tiny)


class ScaledIntegers(KeptIntegers, NDArrayOperatorsMixin):
    """An array of numbers (q - zero) * scale, kept as integers q of 8 bits.

    It answers as the float32 array would: each number is worked out exactly and rounded once, which
    is what ONNX's DequantizeLinear gives. Slices, transposes, reshapes that only add or drop axes
    of size 1, and concatenations keep the integers; any other function of NumPy gets the numbers.

    Parameters
    ----------
    integers : array of int8 or uint8
        uint8 is held as int8, integers and zero points 128 lower.
    scale : array of float32
        Positive and finite; broadcasts to the integers.
    zero : array of integers
        Zero points, in the range of the integers; broadcasts to them.

    Raises
    ------
    ValueError
        The types or shapes are others.
    """

    def __init__(self, integers: Array, scale: Array, zero: Array | int = 0) -> None:
        shift = _HALF if integers.dtype == np.uint8 else 0
        if not shift and integers.dtype != np.int8:
            raise ValueError(f"integers are {integers.dtype}; expected int8 or uint8")
        self.dtype = np.dtype(np.float32)
        self.shape = integers.shape
        self.ndim = integers.ndim
        self.size = integers.size
        self.nbytes = 4 * self.size
        self.integers: Array = (integers ^ _HALF).view(np.int8) if shift else integers
        self.scale = _aligned(np.asarray(scale, np.float32), self.shape, "scale")
        self.zero = _aligned(np.asarray(zero).astype(np.int32) - shift, self.shape, "zero")

    def numbers(self) -> Array:
        """Return the float32 numbers, a new array."""
        wide = self.integers.astype(np.int16) - self.zero.astype(np.int16)
        return np.multiply(wide, self.scale, dtype=np.float32, casting="same_kind")

    def scaled(self, factor: Array) -> ScaledIntegers:
        """Return the same integers with scales times a positive factor that broadcasts to them."""
        return _made(self.integers, self.scale * np.asarray(factor, np.float32), self.zero)

    def lowered(self, packing: Packing, compute_type: str) -> LoweredMatrix | None:
        """The same integers as kernels read them; None where a row has several scales.

        Parameters
        ----------
        packing : Packing
            Which must fit the shape.
        compute_type : str
            ``'int8'`` or ``'int8_fast'``.

        Raises
        ------
        UnsupportedModelError
            A scale is absurd; the message has no name of the constant.
        """
        rows = [_by_row(part, packing) for part in (self.scale, self.zero)]
        if any(part is None for part in rows):
            return None
        return from_codes(self.integers, packing, compute_type, *rows)

    def transpose(self, *axes: Any) -> ScaledIntegers:
        """Permute the axes."""
        return self._each(lambda a: a.transpose(*axes))

    @property
    def T(self) -> ScaledIntegers:
        """All axes in reverse."""
        return self.transpose()

    def reshape(self, *shape: Any) -> Any:
        """Reshape; the integers stay where axes of size 1 are all that comes or goes."""
        moved = self.integers.reshape(*shape)
        if self.scale.size == self.zero.size == 1:
            one = (1,) * moved.ndim
            return _made(moved, self.scale.reshape(one), self.zero.reshape(one))
        wide = [size for size in self.shape if size != 1]
        if [size for size in moved.shape if size != 1] != wide:
            return self.numbers().reshape(*shape)
        places = [axis for axis, size in enumerate(moved.shape) if size != 1]

        def put(part: Array) -> Array:
            kept = [n for n, size in zip(part.shape, self.shape, strict=True) if size != 1]
            full = [1] * moved.ndim
            for axis, size in zip(places, kept, strict=True):
                full[axis] = size
            return part.reshape(full)

        return _made(moved, put(self.scale), put(self.zero))

    def astype(self, dtype: Any, **options: Any) -> Any:
        """Return the object itself for its own element type."""
        return self if np.dtype(dtype) == self.dtype else self.numbers().astype(dtype, **options)

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        plain = all(isinstance(k, slice) or k is Ellipsis for k in keys)
        if not plain or sum(k is Ellipsis for k in keys) > 1 or len(keys) > self.ndim + 1:
            return self.numbers()[key]
        gap = [slice(None)] * (self.ndim - sum(isinstance(k, slice) for k in keys))
        whole: list[slice] = []
        for k in keys:
            whole += gap if k is Ellipsis else [k]
        whole += [slice(None)] * (self.ndim - len(whole))

        def cut(part: Array) -> Array:
            pairs = zip(part.shape, self.shape, whole, strict=True)
            return part[tuple(k if n == full else slice(None) for n, full, k in pairs)]

        return self._each(cut)

    def _each(self, change: Callable[[Array], Array]) -> ScaledIntegers:
        """Change the integers, and scales and zero points, in the same way."""
        return _made(change(self.integers), change(self.scale), change(self.zero))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("scaled integers become an array only by a copy")
        return self.numbers() if dtype is None else self.numbers().astype(dtype, copy=False)

    def __array_function__(
        self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        keeping = _KEEPING.get(function)
        if keeping is not None:
            return keeping(*args, **kwargs)
        return function(*_plain(args), **{k: _plain(v) for k, v in kwargs.items()})

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return getattr(ufunc, method)(*_plain(inputs), **kwargs)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.numbers(), name)


def keepable(integers: Array, scale: Array, zero: Array) -> bool:
    """Whether integers, scales and zero points can be held: 8 bits, no scale that is absurd.

    Scales below FLT_MIN make numbers that count as 0 in every weight.
    """
    if integers.dtype not in (np.int8, np.uint8):
        return False
    limits = np.iinfo(integers.dtype)
    good = np.isfinite(scale).all() and (scale >= _TINY).all()
    whole = zero.dtype.kind in "iu" or np.array_equal(zero, np.rint(zero))
    return bool(good and whole and (zero >= limits.min).all() and (zero <= limits.max).all())


def _aligned(part: Array, shape: tuple[int, ...], what: str) -> Array:
    """A part with as many axes as the integers, each of size 1 or of theirs."""
    full = part.reshape((1,) * (len(shape) - part.ndim) + part.shape)
    fits = full.ndim == len(shape)
    if not fits or any(n not in (1, size) for n, size in zip(full.shape, shape, strict=True)):
        raise ValueError(f"{what} has shape {part.shape}; expected one that broadcasts to {shape}")
    return full


def _by_row(part: Array, packing: Packing) -> Array | None:
    """Scales or zero points as [directions, rows], 1 where all share one; None if k has several."""
    rows = np.swapaxes(part, 0, 1) if packing.columns else part
    kept = rows.shape[:2] if rows.ndim == 3 and not packing.kernel else (1, rows.shape[0])
    return rows.reshape(kept) if rows.size == math.prod(kept) else None


def _made(integers: Array, scale: Array, zero: Array) -> ScaledIntegers:
    """The same after the parts were moved; copies, so that what was cut away is not kept."""
    return ScaledIntegers(integers.copy(order="C"), scale.copy(), zero.copy())


def _plain(value: Any) -> Any:
    """Numbers in the place of scaled integers, inside lists and tuples too."""
    if isinstance(value, ScaledIntegers):
        return value.numbers()
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(v) for v in value)
    return value


def _concatenate(parts: Sequence[Any], axis: int = 0, **options: Any) -> Any:
    """Side by side; scales that differ are written out along the axis."""
    kept = [part for part in parts if isinstance(part, ScaledIntegers)]
    if len(kept) != len(parts) or options or len({part.ndim for part in kept}) != 1:
        return np.concatenate([np.asarray(part) for part in parts], axis=axis, **options)
    axis = axis % kept[0].ndim
    integers = np.concatenate([part.integers for part in kept], axis=axis)

    def joined(name: str) -> Array:
        values = [getattr(part, name) for part in kept]
        same = all(v.shape[axis] == 1 and np.array_equal(v, values[0]) for v in values)
        if same:
            return np.asarray(values[0])
        sizes = [max(v.shape[a] for v in values) for a in range(kept[0].ndim)]
        full = []
        for value, part in zip(values, kept, strict=True):
            sizes[axis] = part.shape[axis]
            full.append(np.broadcast_to(value, sizes))
        return np.concatenate(full, axis=axis)

    return _made(integers, joined("scale"), joined("zero"))


def _stack(parts: Sequence[Any], axis: int = 0, **options: Any) -> Any:
    if options or not all(isinstance(part, ScaledIntegers) for part in parts):
        return np.stack([np.asarray(part) for part in parts], axis=axis, **options)
    return _concatenate([_expand_dims(part, axis) for part in parts], axis)


def _expand_dims(a: ScaledIntegers, axis: Any) -> Any:
    return a.reshape(np.expand_dims(a.integers, axis).shape)


def _squeeze(a: ScaledIntegers, axis: Any = None) -> Any:
    return a.reshape(np.squeeze(a.integers, axis).shape)


def _reshape(a: ScaledIntegers, shape: Any) -> Any:
    return a.reshape(shape)


def _take(a: ScaledIntegers, indices: Any, axis: Any = None, **options: Any) -> Any:
    places = np.asarray(indices)
    if axis is None or options or places.ndim != 1:
        return np.take(a.numbers(), indices, axis, **options)
    axis = axis % a.ndim

    def taken(part: Array) -> Array:
        return part if part.shape[axis] != a.shape[axis] else np.take(part, places, axis)

    return _made(np.take(a.integers, places, axis), taken(a.scale), taken(a.zero))


def _split(a: ScaledIntegers, bounds: Any, axis: int = 0) -> list[Any]:
    axis = axis % a.ndim
    ends = [0, *np.asarray(bounds).tolist(), a.shape[axis]]
    gap = (slice(None),) * axis
    return [a[(*gap, slice(i, j))] for i, j in itertools.pairwise(ends)]


def _transpose(a: ScaledIntegers, axes: Any = None) -> ScaledIntegers:
    return a.transpose() if axes is None else a.transpose(axes)


_KEEPING: dict[Any, Callable[..., Any]] = {
    np.concatenate: _concatenate,
    np.stack: _stack,
    np.expand_dims: _expand_dims,
    np.squeeze: _squeeze,
    np.reshape: _reshape,
    np.transpose: _transpose,
    np.take: _take,
    np.split: _split,
    np.shape: lambda a: a.shape,
    np.ndim: lambda a: a.ndim,
    np.size: lambda a, axis=None: math.prod(a.shape) if axis is None else a.shape[axis],
}
"""Functions of NumPy that move elements, and what they do to integers."""
