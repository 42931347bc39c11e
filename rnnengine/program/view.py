"""Buffers and the strided views of them that instructions read and write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rnnengine.graph import Dim, Size, UndecidedError, product

__all__ = ["Buffer", "View"]

CONSTANT, INPUT, OUTPUT, ARENA = range(4)


@dataclass(frozen=True)
class Buffer:
    """Memory of a program: kind (constant, input, output, arena), number of its kind, size.

    ``size`` counts elements; ``dtype`` is 0 for float32, 1 for int32.
    """

    kind: int
    index: int
    dtype: int
    size: Size


@dataclass(frozen=True)
class View:
    """A strided window of a buffer; offset and strides count elements."""

    buffer: Buffer
    offset: Size
    shape: tuple[Size, ...]
    strides: tuple[Size, ...]

    @classmethod
    def whole(cls, buffer: Buffer, shape: Sequence[Size]) -> View:
        """Row-major view of a buffer from its start."""
        return cls(buffer, 0, tuple(shape), _row_major(shape))

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def packed(self) -> bool:
        """Whether elements lie one after the other in row-major order."""
        wanted = _row_major(self.shape)
        return all(
            size == 1 or stride == step
            for size, stride, step in zip(self.shape, self.strides, wanted, strict=True)
        )

    @property
    def rows_packed(self) -> bool:
        """Whether elements along the last axis are adjacent."""
        return self.rank == 0 or self.strides[-1] == 1 or self.shape[-1] in (0, 1)

    def permute(self, axes: Sequence[int]) -> View:
        """Reorder axes: axis i of the result is axis ``axes[i]`` of this view."""
        return replace(
            self,
            shape=tuple(self.shape[a] for a in axes),
            strides=tuple(self.strides[a] for a in axes),
        )

    def squeeze(self, axes: Sequence[int]) -> View:
        """Drop axes of size 1."""
        kept = [i for i in range(self.rank) if i not in axes]
        return replace(
            self,
            shape=tuple(self.shape[i] for i in kept),
            strides=tuple(self.strides[i] for i in kept),
        )

    def unsqueeze(self, axes: Sequence[int]) -> View:
        """Insert axes of size 1 at the given positions of the result."""
        shape, strides = list(self.shape), list(self.strides)
        for axis in sorted(axes):
            shape.insert(axis, 1)
            strides.insert(axis, 1)
        return replace(self, shape=tuple(shape), strides=tuple(strides))

    def slice(self, axis: int, start: Size, count: Size, step: int = 1) -> View:
        """Take ``count`` elements along an axis, from ``start`` on, every ``step``-th."""
        shape, strides = list(self.shape), list(self.strides)
        shape[axis] = count
        strides[axis] = self.strides[axis] * step
        return replace(
            self,
            offset=self.offset + start * self.strides[axis],
            shape=tuple(shape),
            strides=tuple(strides),
        )

    def split(self, axis: int, outer: Size, inner: Size) -> View:
        """Replace an axis of ``outer * inner`` elements by two."""
        step = self.strides[axis]
        return replace(
            self,
            shape=(*self.shape[:axis], outer, inner, *self.shape[axis + 1 :]),
            strides=(*self.strides[:axis], step * inner, step, *self.strides[axis + 1 :]),
        )

    def broadcast(self, shape: Sequence[Size]) -> View:
        """Repeat axes of size 1, and new leading axes, without copying."""
        extra = len(shape) - self.rank
        own_shape = (1,) * extra + self.shape
        own_strides = (0,) * extra + self.strides
        strides = tuple(
            stride if size == wanted else 0
            for size, stride, wanted in zip(own_shape, own_strides, shape, strict=True)
        )
        return replace(self, shape=tuple(shape), strides=strides)

    def reshape(self, shape: Sequence[Size]) -> View | None:
        """Give the same elements in the same order another shape; None where that needs a copy."""
        if self.packed:
            return replace(self, shape=tuple(shape), strides=_row_major(shape))
        old = [(s, t) for s, t in zip(self.shape, self.strides, strict=True) if s != 1]
        new = [s for s in shape if s != 1]
        if [s for s, _ in old] != new:
            return None
        steps = iter(t for _, t in old)
        strides = tuple(1 if s == 1 else next(steps) for s in shape)
        return replace(self, shape=tuple(shape), strides=strides)


def _row_major(shape: Sequence[Size]) -> tuple[Size, ...]:
    return tuple(product(shape[i + 1 :]) for i in range(len(shape)))


def is_zero(size: Size) -> bool:
    """Whether a size is known to be 0."""
    return not isinstance(size, Dim) and size == 0


__all__ += ["ARENA", "CONSTANT", "INPUT", "OUTPUT", "UndecidedError", "is_zero"]
