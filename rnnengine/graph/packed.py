"""Weight matrices that are kept as the kernels read them, unpacked only where numbers are wanted.

A layout cuts the rows of a matrix [rows, k] into gates of ``units`` rows each, the units into
panels of 16, and k into groups of ``depth``: ``[panel][k / depth][gate][16][depth]``, padded with
units and places of k that are zero. Matrices of several directions follow each other. A recurrent
matrix whose gates are multiplied apart consists of several such blocks, each with gates of its own.
``panels16`` is the layout of float32, of depth 1; those of fewer bytes are in
:mod:`rnnengine.graph.lowered`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from rnnengine.records import record

if TYPE_CHECKING:
    from rnnengine.graph.integers import ScaledIntegers

__all__ = [
    "ALIGNMENT",
    "LAYOUT",
    "PANEL",
    "KeptIntegers",
    "KeptMatrix",
    "PackedMatrix",
    "Packing",
    "aligned",
    "as_integers",
    "as_kept",
    "as_packed",
    "block_size",
    "from_panels",
    "to_panels",
]

Array = np.ndarray[Any, Any]

LAYOUT = "panels16"
PANEL = 16
ALIGNMENT = 64
"""Bytes of a cache line, on which blocks start."""

SMALLEST = np.float32(2.0**-126)
"""What is below is +0 in every weight that is packed."""


@record
class Packing:
    """How a constant is cut for packing.

    Attributes
    ----------
    gates : tuple of int
        Gates of each block; their sum divides the rows.
    columns : bool
        The constant is [k, rows] instead of [rows, k] or [directions, rows, k].
    kernel : bool
        The constant is that of a convolution: [rows, channels, *kernel], or
        [channels, rows, *kernel] with ``columns``; k runs over the channels, then over the kernel.
    """

    gates: tuple[int, ...]
    columns: bool = False
    kernel: bool = False

    def matrices(self, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
        """(directions, rows, k) of a constant of this shape; None where it cannot be packed so."""
        if self.kernel and len(shape) > 2:
            channels, rows = shape[:2] if self.columns else shape[1::-1]
            directions, k = 1, channels * math.prod(shape[2:])
        elif len(shape) == 2:
            directions, rows, k = (1, *shape[:: -1 if self.columns else 1])
        elif len(shape) == 3 and not self.columns:
            directions, rows, k = shape
        else:
            return None
        return (directions, rows, k) if rows % sum(self.gates) == 0 else None

    def split(self, constant: Array) -> Array:
        """Matrices [directions, rows, k] of a constant that can be packed so."""
        whole = np.swapaxes(constant, 0, 1) if self.columns else constant
        return whole.reshape(self.matrices(constant.shape) or (0, 0, 0))

    def join(self, matrices: Array, shape: tuple[int, ...]) -> Array:
        """Constant of the given shape behind matrices [directions, rows, k]."""
        if not self.columns:
            return matrices.reshape(shape)
        swapped = matrices.reshape(shape[1], shape[0], *shape[2:])
        return np.ascontiguousarray(np.swapaxes(swapped, 0, 1))

    def parts(self, matrices: Array) -> list[Array]:
        """Rows of each block, of [directions, rows, ...]."""
        units = matrices.shape[1] // sum(self.gates)
        return np.split(matrices, np.cumsum(self.gates)[:-1] * units, axis=1)

    def sizes(self, shape: tuple[int, ...], depth: int = 1) -> list[int]:
        """Elements of each block of a constant of this shape, which can be packed so."""
        directions, rows, k = self.matrices(shape) or (0, 0, 0)
        units = rows // sum(self.gates)
        return [block_size(directions, gates, units, k, depth) for gates in self.gates]


def block_size(directions: int, gates: int, units: int, k: int, depth: int = 1) -> int:
    """Elements in the packed form of [directions, gates * units, k] matrices."""
    return directions * gates * (-(-units // PANEL) * PANEL) * (-(-k // depth) * depth)


def to_panels(matrices: Array, gates: int, depth: int = 1) -> Array:
    """Pack matrices [directions, gates * units, k], of any element type.

    What is below FLT_MIN in those of float32 becomes +0.
    """
    directions, rows, k = matrices.shape
    units = rows // gates
    panels, groups = -(-units // PANEL), -(-k // depth)
    whole = np.zeros((directions, gates, panels * PANEL, groups * depth), matrices.dtype)
    whole[:, :, :units, :k] = matrices.reshape(directions, gates, units, k)
    if whole.dtype == np.float32:
        whole[np.abs(whole) < SMALLEST] = 0.0
    cut = whole.reshape(directions, gates, panels, PANEL, groups, depth)
    return np.ascontiguousarray(cut.transpose(0, 2, 4, 1, 3, 5)).reshape(-1)


def from_panels(
    block: Array, directions: int, gates: int, units: int, k: int, depth: int = 1
) -> Array:
    """Return the matrices [directions, gates * units, k] behind a block."""
    panels, groups = -(-units // PANEL), -(-k // depth)
    cut = block.reshape(directions, panels, groups, gates, PANEL, depth).transpose(0, 3, 1, 4, 2, 5)
    whole = cut.reshape(directions, gates, panels * PANEL, groups * depth)
    return np.ascontiguousarray(whole[:, :, :units, :k]).reshape(directions, gates * units, k)


def aligned(flat: Array) -> Array:
    """Return a flat array that starts on a cache line: itself, or a copy."""
    if flat.ctypes.data % ALIGNMENT == 0:
        return flat
    room = np.empty(flat.nbytes + ALIGNMENT, np.uint8)
    skip = -room.ctypes.data % ALIGNMENT
    copy = room[skip : skip + flat.nbytes].view(flat.dtype)
    copy[:] = flat
    return copy


class KeptMatrix:
    """A constant of a graph that is kept as the kernels read it.

    Whatever is asked of it beyond its type and its methods, it answers as the array of float32 that
    it stands for, so only those who want what is kept need to know of it.

    Parameters
    ----------
    shape : tuple of int
        Of the constant.
    packing : Packing
    """

    def __init__(self, shape: tuple[int, ...], packing: Packing) -> None:
        self.dtype = np.dtype(np.float32)
        self.shape = shape
        self.ndim = len(shape)
        self.size = math.prod(shape)
        self.nbytes = 4 * self.size
        self.packing = packing

    def unpacked(self) -> Array:
        """Return the numbers in float32, a new array."""
        raise NotImplementedError

    def astype(self, dtype: Any, **options: Any) -> Any:
        """Return the object itself for its own element type."""
        if np.dtype(dtype) == self.dtype:
            return self
        return self.__array__(dtype).astype(dtype, **options)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a packed constant becomes an array only by a copy")
        return self.unpacked() if dtype is None else self.unpacked().astype(dtype, copy=False)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        return self.unpacked()[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.unpacked(), name)

    def _of_rows(self, start: int, count: int) -> tuple[int, tuple[int, ...]] | None:
        """Number and shape of the block that consists of these rows, None where there is none."""
        directions, rows, k = self.packing.matrices(self.shape) or (0, 0, 0)
        units = rows // sum(self.packing.gates)
        first = 0
        for number, gates in enumerate(self.packing.gates):
            if (start, count) == (first, gates * units):
                return number, (directions, count, k)[-self.ndim :]
            first += gates * units
        return None

    def _turned(self) -> Packing:
        """Packing of the transpose."""
        if self.ndim != 2:
            raise ValueError(f"a constant of shape {self.shape} has more axes than two")
        return Packing(self.packing.gates, not self.packing.columns)


def as_kept(value: object) -> KeptMatrix | None:
    """Return a constant that is kept as the kernels read it, None for any other."""
    return value if isinstance(value, KeptMatrix) else None


class PackedMatrix(KeptMatrix):
    """A float32 constant whose packed form is at hand.

    Parameters
    ----------
    shape : tuple of int
        Of the constant.
    packing : Packing
    blocks : tuple of arrays
        Flat float32 arrays, of ``packing.sizes(shape)`` elements.
    layout : str
        Of the blocks.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        packing: Packing,
        blocks: tuple[Array, ...],
        layout: str = LAYOUT,
    ) -> None:
        assert [b.size for b in blocks] == packing.sizes(shape)
        super().__init__(shape, packing)
        self.blocks = blocks
        self.layout = layout

    def block(self, gates: int) -> Array | None:
        """Packed form of the whole, if it is one block of so many gates; always the same array."""
        found = self.packing.gates == (gates,) and not self.packing.columns
        return self.blocks[0] if found and self.layout == LAYOUT else None

    def rows(self, start: int, count: int) -> PackedMatrix | Array:
        """Rows of every direction: packed where they are whole blocks."""
        found = self._of_rows(start, count)
        if found is None:
            whole: Array = np.asarray(self)
            return whole[..., start : start + count, :]
        number, shape = found
        packing = Packing((self.packing.gates[number],))
        return PackedMatrix(shape, packing, (self.blocks[number],), self.layout)

    @property
    def T(self) -> PackedMatrix:
        """Transpose of a matrix of two axes."""
        return PackedMatrix(self.shape[::-1], self._turned(), self.blocks, self.layout)

    def unpacked(self) -> Array:
        """Return the numbers, a new array."""
        directions, rows, k = self.packing.matrices(self.shape) or (0, 0, 0)
        units = rows // sum(self.packing.gates)
        parts = [
            from_panels(block, directions, gates, units, k)
            for gates, block in zip(self.packing.gates, self.blocks, strict=True)
        ]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return self.packing.join(whole, self.shape)


def as_packed(value: object) -> PackedMatrix | None:
    """Return a constant that is kept packed in float32, None for any other."""
    return value if isinstance(value, PackedMatrix) else None


class KeptIntegers:
    """What :class:`rnnengine.graph.integers.ScaledIntegers` are known by; few loads meet one."""


def as_integers(value: object) -> ScaledIntegers | None:
    """Return a constant that is kept as integers with scales, None for any other."""
    return cast("ScaledIntegers", value) if isinstance(value, KeptIntegers) else None
