"""A weight matrix that is kept as the kernels read it, and unpacked only where numbers are wanted.

The layout ``panels16`` cuts the rows of a matrix [rows, k] into gates of ``units`` rows each, and
the units into panels of 16: ``[panel][k][gate][16]``, padded with units that are zero. Matrices of
several directions follow each other. A recurrent matrix whose gates are multiplied apart consists
of several such blocks, each with gates of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "LAYOUT",
    "PackedMatrix",
    "Packing",
    "as_packed",
    "block_size",
    "from_panels",
    "to_panels",
]

Array = np.ndarray[Any, Any]

LAYOUT = "panels16"
PANEL = 16
_SMALLEST = np.float32(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Packing:
    """How a constant is cut for packing.

    Attributes
    ----------
    gates : tuple of int
        Gates of each block; their sum divides the rows.
    columns : bool
        The constant is [k, rows] instead of [rows, k] or [directions, rows, k].
    """

    gates: tuple[int, ...]
    columns: bool = False

    def matrices(self, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
        """(directions, rows, k) of a constant of this shape; None where it cannot be packed so."""
        if len(shape) != 2 and (len(shape) != 3 or self.columns):
            return None
        directions, rows, k = (
            shape if len(shape) == 3 else (1, *shape[:: -1 if self.columns else 1])
        )
        return (directions, rows, k) if rows % sum(self.gates) == 0 else None

    def sizes(self, shape: tuple[int, ...]) -> list[int]:
        """Floats of each block of a constant of this shape, which can be packed so."""
        directions, rows, k = self.matrices(shape) or (0, 0, 0)
        units = rows // sum(self.gates)
        return [block_size(directions, gates, units, k) for gates in self.gates]


def block_size(directions: int, gates: int, units: int, k: int) -> int:
    """Floats in the packed form of [directions, gates * units, k] matrices."""
    return directions * gates * (-(-units // PANEL) * PANEL) * k


def to_panels(matrices: Array, gates: int) -> Array:
    """Pack float32 matrices [directions, gates * units, k]; what is below FLT_MIN becomes +0."""
    directions, rows, k = matrices.shape
    units = rows // gates
    panels = -(-units // PANEL)
    whole = np.zeros((directions, gates, panels * PANEL, k), np.float32)
    whole[:, :, :units] = matrices.reshape(directions, gates, units, k)
    whole[np.abs(whole) < _SMALLEST] = 0.0
    cut = whole.reshape(directions, gates, panels, PANEL, k)
    return np.ascontiguousarray(cut.transpose(0, 2, 4, 1, 3)).reshape(-1)


def from_panels(block: Array, directions: int, gates: int, units: int, k: int) -> Array:
    """Return the matrices [directions, gates * units, k] behind a block."""
    panels = -(-units // PANEL)
    cut = block.reshape(directions, panels, k, gates, PANEL).transpose(0, 3, 1, 4, 2)
    whole = cut.reshape(directions, gates, panels * PANEL, k)
    return np.ascontiguousarray(whole[:, :, :units]).reshape(directions, gates * units, k)


class PackedMatrix:
    """A constant of a graph whose packed form is at hand: an array that is unpacked when read.

    Whatever is asked of it beyond its type and the methods below, it answers as the unpacked array
    would, so only those who want the packed form need to know of it.

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
        self.dtype = np.dtype(np.float32)
        self.shape = shape
        self.ndim = len(shape)
        self.size = math.prod(shape)
        self.nbytes = 4 * self.size
        self.packing = packing
        self.blocks = blocks
        self.layout = layout

    def block(self, gates: int) -> Array | None:
        """Packed form of the whole, if it is one block of so many gates; always the same array."""
        found = self.packing.gates == (gates,) and not self.packing.columns
        return self.blocks[0] if found and self.layout == LAYOUT else None

    def rows(self, start: int, count: int) -> PackedMatrix | Array:
        """Rows of every direction: packed where they are whole blocks."""
        directions, rows, k = self.packing.matrices(self.shape) or (0, 0, 0)
        units = rows // sum(self.packing.gates)
        first = 0
        for gates, block in zip(self.packing.gates, self.blocks, strict=True):
            if (start, count) == (first, gates * units):
                shape = (directions, count, k)[-self.ndim :]
                return PackedMatrix(shape, Packing((gates,)), (block,), self.layout)
            first += gates * units
        whole: Array = np.asarray(self)
        return whole[..., start : start + count, :]

    @property
    def T(self) -> PackedMatrix:
        """Transpose of a matrix of two axes."""
        if self.ndim != 2:
            raise ValueError(f"a constant of shape {self.shape} has more axes than two")
        packing = Packing(self.packing.gates, not self.packing.columns)
        return PackedMatrix(self.shape[::-1], packing, self.blocks, self.layout)

    def unpacked(self) -> Array:
        """Return the numbers, a new array."""
        directions, rows, k = self.packing.matrices(self.shape) or (0, 0, 0)
        units = rows // sum(self.packing.gates)
        parts = [
            from_panels(block, directions, gates, units, k)
            for gates, block in zip(self.packing.gates, self.blocks, strict=True)
        ]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        if self.packing.columns:
            return np.ascontiguousarray(whole[0].T)
        return whole.reshape(self.shape)

    def astype(self, dtype: Any, **options: Any) -> Any:
        """Return the object itself for its own element type."""
        return self if np.dtype(dtype) == self.dtype else self.unpacked().astype(dtype, **options)

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


def as_packed(value: object) -> PackedMatrix | None:
    """Return a constant that is kept packed, None for any other."""
    return value if isinstance(value, PackedMatrix) else None
