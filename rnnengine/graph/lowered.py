"""A weight matrix in fewer bytes than float32, kept as the kernels read it.

====================  =============================  ==========================================
compute type          layout of the codes            codes
====================  =============================  ==========================================
``bfloat16``          ``bf16x2``, uint16, depth 2    upper halves of the bits of float32
``float16``           ``f16``, uint16, depth 1       IEEE binary16
``int8``,             ``i8x4``, int8, depth 4        q; the weight is ``scale * (q - zero)``
``int8_fast``
====================  =============================  ==========================================

Blocks are cut as in :mod:`rnnengine.graph.packed`, with 0 wherever they are padded. Beside the
codes of an int8 block stand, for every row, a float32 scale and, where the matrix has zero points
at all, an int32 zero point, both ``[direction][panel][gate][16]``. ``int8`` and ``int8_fast``
differ in what they do with activations; their weights are the same.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph.packed import (
    PANEL,
    SMALLEST,
    KeptMatrix,
    Packing,
    aligned,
    block_size,
    from_panels,
    to_panels,
)
from rnnengine.records import record, replace

__all__ = [
    "COMPUTE_TYPES",
    "LARGEST_SCALE",
    "LAYOUTS",
    "SUM_BLOCK",
    "SUM_BLOCK_ZEROS",
    "Layout",
    "LoweredBlock",
    "LoweredMatrix",
    "as_lowered",
    "from_codes",
]

Array = np.ndarray[Any, Any]

SUM_BLOCK, SUM_BLOCK_ZEROS = 512, 256
"""Places of k whose integer products are summed exactly, without and with zero points."""

LARGEST_SCALE = 2.0**100
"""Scales lie between FLT_MIN and this."""


@record
class Layout:
    """How the codes of a compute type lie: name, element type, depth."""

    name: str
    dtype: str
    depth: int


LAYOUTS: dict[str, Layout] = {
    "bfloat16": Layout("bf16x2", "uint16", 2),
    "float16": Layout("f16", "uint16", 1),
    "int8": Layout("i8x4", "int8", 4),
    "int8_fast": Layout("i8x4", "int8", 4),
}
COMPUTE_TYPES = tuple(LAYOUTS)
"""Compute types whose weights have fewer bytes than float32."""


@record
class LoweredBlock:
    """Codes of some gates of all directions, and what belongs to their rows.

    Attributes
    ----------
    directions, gates, units, k : int
    compute_type : str
    codes : array
        Flat, in the layout of the type, on a cache line.
    scales : array or None
        int8: float32, ``[direction][panel][gate][16]``, flat; 0 where units are padded.
    zeros : array or None
        int8: int32, the same; None where all zero points are 0.
    """

    directions: int
    gates: int
    units: int
    k: int
    compute_type: str
    codes: Array
    scales: Array | None = None
    zeros: Array | None = None

    # Blocks are told apart by identity: arrays have no equality that is true or false.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def panels(self) -> int:
        """Panels of 16 units of a direction."""
        return -(-self.units // PANEL)

    @property
    def sum_block(self) -> int:
        """Places of k whose products are summed as integers."""
        return SUM_BLOCK if self.zeros is None else SUM_BLOCK_ZEROS

    @cached_property
    def offsets(self) -> Array:
        """-128 times the sum of q over every sum block of int8 codes.

        Flat int32, ``[direction][panel][sum block][gate][16]``: what is added to the products of
        activations that were made unsigned by adding 128.
        """
        depth = LAYOUTS[self.compute_type].depth
        groups, size = -(-self.k // depth), self.sum_block // depth
        shape = (self.directions * self.panels, groups, self.gates * PANEL, depth)
        cut = self.codes.reshape(shape)
        made = np.empty((shape[0], -(-groups // size), shape[2]), np.int32)
        for number, start in enumerate(range(0, groups, size)):
            made[:, number] = cut[:, start : start + size].sum(axis=(1, 3), dtype=np.int32)
        return aligned((made * np.int32(-128)).reshape(-1))

    @property
    def stored_bytes(self) -> int:
        """Bytes of codes, scales and zero points."""
        return sum(a.nbytes for a in (self.codes, self.scales, self.zeros) if a is not None)

    def code_matrices(self) -> Array:
        """Return the codes as [directions, gates * units, k], a new array."""
        depth = LAYOUTS[self.compute_type].depth
        return from_panels(self.codes, self.directions, self.gates, self.units, self.k, depth)

    def _of_rows(self, values: Array) -> Array:
        return from_panels(values, self.directions, self.gates, self.units, 1)[:, :, 0]

    def row_scales(self) -> Array:
        """Return the scales of an int8 block as [directions, gates * units]."""
        assert self.scales is not None
        return self._of_rows(self.scales)

    def row_zeros(self) -> Array:
        """Return the zero points of an int8 block as [directions, gates * units]."""
        if self.zeros is None:
            return np.zeros((self.directions, self.gates * self.units), np.int32)
        return self._of_rows(self.zeros)

    def numbers(self) -> Array:
        """Return the weights as float64 [directions, gates * units, k], exactly."""
        codes = self.code_matrices()
        if self.compute_type == "bfloat16":
            return (codes.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
        if self.compute_type == "float16":
            return codes.view(np.float16).astype(np.float64)
        made = codes.astype(np.float64)
        if self.zeros is not None:
            made -= self.row_zeros()[:, :, None]
        made *= self.row_scales()[:, :, None].astype(np.float64)
        return made


class LoweredMatrix(KeptMatrix):
    """A constant whose weights are kept in fewer bytes than float32.

    As an array it is what these weights stand for: exactly in float64, rounded once in float32.

    Parameters
    ----------
    shape : tuple of int
        Of the constant.
    packing : Packing
    blocks : tuple of LoweredBlock
        As ``packing`` cuts the constant.
    """

    def __init__(
        self, shape: tuple[int, ...], packing: Packing, blocks: tuple[LoweredBlock, ...]
    ) -> None:
        directions, rows, k = packing.matrices(shape) or (0, 0, 0)
        units = rows // sum(packing.gates)
        for gates, block in zip(packing.gates, blocks, strict=True):
            expected = (directions, gates, units, k)
            assert (block.directions, block.gates, block.units, block.k) == expected
            depth = LAYOUTS[block.compute_type].depth
            assert block.codes.shape == (block_size(*expected, depth),)
            assert block.compute_type == blocks[0].compute_type
        super().__init__(shape, packing)
        self.blocks = blocks

    @property
    def compute_type(self) -> str:
        """How products with it are computed."""
        return self.blocks[0].compute_type

    @property
    def stored_bytes(self) -> int:
        """Bytes that are kept of it."""
        return sum(block.stored_bytes for block in self.blocks)

    def block(self, gates: int) -> LoweredBlock | None:
        """The whole as rows of k, if it is one block of so many gates; always the same object."""
        return self.blocks[0] if self.packing.gates == (gates,) else None

    def rows(self, start: int, count: int) -> LoweredMatrix:
        """Rows of every direction, which must be whole blocks.

        Raises
        ------
        ValueError
            They are not.
        """
        found = self._of_rows(start, count)
        if found is None:
            raise ValueError(
                f"rows {start} to {start + count} are no block of a constant of shape {self.shape} "
                f"in gates of {self.packing.gates}"
            )
        number, shape = found
        block = self.blocks[number]
        return LoweredMatrix(shape, Packing((block.gates,)), (block,))

    @property
    def T(self) -> LoweredMatrix:
        """Transpose of a matrix of two axes."""
        return LoweredMatrix(self.shape[::-1], self._turned(), self.blocks)

    def unpacked(self) -> Array:
        """Return the weights in float32, a new array."""
        return self._joined([block.numbers() for block in self.blocks]).astype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if dtype is not None and np.dtype(dtype) == np.float64 and copy is not False:
            return self._joined([block.numbers() for block in self.blocks])
        return super().__array__(dtype, copy)

    def codes(self) -> Array:
        """Return the codes, an array of the constant's shape; int8 or uint16."""
        return self._joined([block.code_matrices() for block in self.blocks])

    def row_scales(self) -> Array | None:
        """Return the scales [directions, rows], None where there are none."""
        if self.blocks[0].scales is None:
            return None
        return np.concatenate([block.row_scales() for block in self.blocks], axis=1)

    def row_zeros(self) -> Array | None:
        """Return the zero points [directions, rows], None where there are none."""
        if all(block.zeros is None for block in self.blocks):
            return None
        return np.concatenate([block.row_zeros() for block in self.blocks], axis=1)

    def packed_as(self, packing: Packing) -> LoweredMatrix:
        """Return the same codes and scales, cut otherwise; itself where it is cut so."""
        if packing == self.packing:
            return self
        return from_codes(
            self.codes(), packing, self.compute_type, self.row_scales(), self.row_zeros()
        )

    def computed_as(self, compute_type: str) -> LoweredMatrix | None:
        """Return the same weights for another compute type, None where it stores others."""
        if LAYOUTS[compute_type] != LAYOUTS[self.compute_type]:
            return None
        if compute_type == self.compute_type:
            return self
        blocks = tuple(replace(block, compute_type=compute_type) for block in self.blocks)
        return LoweredMatrix(self.shape, self.packing, blocks)

    def _joined(self, parts: list[Array]) -> Array:
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return self.packing.join(whole, self.shape)


def as_lowered(value: object) -> LoweredMatrix | None:
    """Return a constant whose weights have fewer bytes, None for any other."""
    return value if isinstance(value, LoweredMatrix) else None


def from_codes(
    codes: Array,
    packing: Packing,
    compute_type: str,
    scales: Array | None = None,
    zeros: Array | None = None,
) -> LoweredMatrix:
    """Make a lowered constant of its codes.

    Parameters
    ----------
    codes : array
        Of the constant's shape: int8 for the int8 types, uint16 (bits) for the others.
    packing : Packing
        Which must fit the shape.
    compute_type : str
        One of ``COMPUTE_TYPES``.
    scales : array_like, optional
        int8 types, which need them: what broadcasts to [directions, rows], positive.
    zeros : array_like, optional
        int8 types: zero points, integers that broadcast to [directions, rows], -128 to 127.

    Raises
    ------
    UnsupportedModelError
        A code is no finite number, a scale is absurd, a zero point is out of range; the message
        has no name of the constant.
    """
    dtype = np.dtype(LAYOUTS[compute_type].dtype)
    sizes = packing.matrices(codes.shape)
    if sizes is None or codes.dtype != dtype:
        raise ValueError(f"{codes.dtype}{list(codes.shape)} cannot be packed as {packing}")
    matrices = packing.split(codes)
    beside: dict[str, list[Array]] = {}
    if dtype == np.int8:
        beside["scales"] = packing.parts(_scales(scales, sizes))
        zero_points = _zeros(zeros, sizes)
        if zero_points.any():
            beside["zeros"] = packing.parts(zero_points)
    else:
        matrices = _finite(matrices, compute_type)
    blocks = []
    for number, (gates, part) in enumerate(
        zip(packing.gates, packing.parts(matrices), strict=True)
    ):
        rows = {key: _row_panels(values[number], gates) for key, values in beside.items()}
        units = part.shape[1] // gates
        packed = aligned(to_panels(part, gates, LAYOUTS[compute_type].depth))
        blocks.append(LoweredBlock(sizes[0], gates, units, sizes[2], compute_type, packed, **rows))
    return LoweredMatrix(codes.shape, packing, tuple(blocks))


def _row_panels(values: Array, gates: int) -> Array:
    return aligned(to_panels(values[:, :, None], gates))


def _finite(codes: Array, compute_type: str) -> Array:
    """Refuse codes of infinity and NaN; those of numbers that float32 flushes become +0."""
    exponent = np.uint16(0x7F80 if compute_type == "bfloat16" else 0x7C00)
    if np.any(codes & exponent == exponent):
        raise UnsupportedModelError(f"its {compute_type} weights are not all finite")
    flushed = codes & np.uint16(0x7FFF) == 0
    if compute_type == "bfloat16":
        flushed |= codes & exponent == 0
    return np.where(flushed, np.uint16(0), codes) if np.any(flushed) else codes


def _scales(given: Any, sizes: tuple[int, int, int]) -> Array:
    scales = np.broadcast_to(np.asarray(given, np.float32), sizes[:2])
    good = (scales >= SMALLEST) & (scales <= LARGEST_SCALE)
    if not good.all():
        direction, row = np.argwhere(~good)[0]
        raise UnsupportedModelError(
            f"the scale of row {row} of direction {direction} is {scales[direction, row]:g}; "
            f"expected {SMALLEST:.3g} to {LARGEST_SCALE:.3g}"
        )
    return scales


def _zeros(given: Any, sizes: tuple[int, int, int]) -> Array:
    zeros = np.broadcast_to(np.asarray(0 if given is None else given), sizes[:2])
    if zeros.dtype.kind not in "iu" or np.any((zeros < -128) | (zeros > 127)):
        raise UnsupportedModelError(
            f"its zero points are {zeros.dtype}, {zeros.min()} to {zeros.max()}; expected integers "
            "from -128 to 127"
        )
    return zeros.astype(np.int32)
