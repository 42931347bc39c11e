"""Buffers and the strided views of them that instructions read and write."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rnnengine.graph import Dim, Size, UndecidedError, product
from rnnengine.records import record, replace

__all__ = ["Buffer", "View"]

CONSTANT, INPUT, OUTPUT, ARENA = range(4)


@record
class Buffer:
    """Memory of a program: kind (constant, input, output, arena), number of its kind, size.

    ``size`` counts elements; ``dtype`` is a number of ``ELEMENT_IDS``.
    """

    kind: int
    index: int
    dtype: int
    size: Size


@record
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

    def is_place(self, other: View) -> bool:
        """Whether both certainly show the same elements of the same memory."""
        return (
            self.buffer == other.buffer
            and self.offset == other.offset
            and self.shape == other.shape
            and all(
                size == 1 or mine == its
                for size, mine, its in zip(self.shape, self.strides, other.strides, strict=True)
            )
        )

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

    def windows(self, axis: int, start: Size, counts: Sequence[int], steps: Sequence[int]) -> View:
        """Replace an axis by several: places ``start + steps[0]*i + steps[1]*j + ...`` of it.

        Places may come up more than once, so such a view is for reading.
        """
        strides = tuple(self.strides[axis] * step for step in steps)
        return replace(
            self,
            offset=self.offset + start * self.strides[axis],
            shape=(*self.shape[:axis], *counts, *self.shape[axis + 1 :]),
            strides=(*self.strides[:axis], *strides, *self.strides[axis + 1 :]),
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
        found = _regrouped(old, [s for s in shape if s != 1])
        if found is None:
            return None
        steps = iter(found)
        strides = tuple(1 if s == 1 else next(steps) for s in shape)
        return replace(self, shape=tuple(shape), strides=strides)


def _row_major(shape: Sequence[Size]) -> tuple[Size, ...]:
    return tuple(product(shape[i + 1 :]) for i in range(len(shape)))


def _regrouped(old: list[tuple[Size, Size]], new: list[Size]) -> list[Size] | None:
    """Strides of new sizes over old (size, stride) pairs, none of size 1.

    Sizes are taken in groups of equal product; within a group the old axes must step evenly, as one
    axis would. None where they do not, or where symbols leave the groups open.
    """
    strides: list[Size] = []
    at_old = at_new = 0
    while at_old < len(old) and at_new < len(new):
        first_old, first_new = at_old, at_new
        have, want = old[at_old][0], new[at_new]
        at_old, at_new = at_old + 1, at_new + 1
        while have != want:
            if _divides(have, want) and at_old < len(old):
                have = have * old[at_old][0]
                at_old += 1
            elif _divides(want, have) and at_new < len(new):
                want = want * new[at_new]
                at_new += 1
            elif _smaller(have, want) and at_old < len(old):
                have = have * old[at_old][0]
                at_old += 1
            elif _smaller(want, have) and at_new < len(new):
                want = want * new[at_new]
                at_new += 1
            else:
                return None
        group = old[first_old:at_old]
        if any(a[1] != b[1] * b[0] for a, b in pairwise(group)):
            return None
        strides += [group[-1][1] * step for step in _row_major(new[first_new:at_new])]
    return strides if at_old == len(old) and at_new == len(new) else None


def _divides(a: Size, b: Size) -> bool:
    """Whether b is known to be a multiple of a that is not 0."""
    if not isinstance(a, Dim) and not isinstance(b, Dim):
        return a != 0 and b != 0 and b % a == 0
    try:
        return not is_zero(b // a)
    except UndecidedError:
        return False


def _smaller(a: Size, b: Size) -> bool:
    """Whether both are numbers other than 0, a the smaller."""
    plain = not isinstance(a, Dim) and not isinstance(b, Dim)
    return plain and 0 < int(a) < int(b)


def is_zero(size: Size) -> bool:
    """Whether a size is known to be 0."""
    return not isinstance(size, Dim) and size == 0


__all__ += ["ARENA", "CONSTANT", "INPUT", "OUTPUT", "UndecidedError", "is_zero"]
