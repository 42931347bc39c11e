"""The specification of int8 products: exact integers, and float32 rounded where it is stated.

Independent of the engine's code. Section "int8" of docs/numerics.md is the text of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

MOST = {16: 32639, 8: 127}
BLOCK, ZERO_POINT_BLOCK = 512, 256
PANEL = 16


def exact_fma(a: Array, b: Array, c: Array) -> Array:
    """a*b + c rounded once: the product is exact in float64, the sum is rounded there to odd."""
    with np.errstate(all="ignore"):
        product = np.asarray(a, np.float64) * np.asarray(b, np.float64)
        addend = np.asarray(c, np.float64)
        total = np.asarray(product + addend)
        part = total - product
        error = (product - (total - part)) + (addend - part)
        inexact = np.isfinite(total) & (error != 0) & (total.view(np.int64) % 2 == 0)
        odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
        return np.asarray(np.where(inexact, odd, total), np.float32)


def quantize(x: Array, bits: int, bounded: bool) -> tuple[Array, Array]:
    """Rows [R, K] of float32 to integers [R, K] and one float32 scale a row."""
    rows, most = np.asarray(x, np.float32), np.float32(MOST[bits])
    with np.errstate(all="ignore"):
        largest = np.abs(rows).max(axis=1, initial=0.0)
        spread = np.maximum(largest, np.float32(1)) if bounded else largest
        inverse, scale = most / spread, spread / most
        # A float64 holds the product of two float32 exactly; rint takes ties to even.
        integers = np.rint(rows.astype(np.float64) * inverse[:, None].astype(np.float64))
    finite = np.isfinite(largest)
    used = finite & (spread >= np.float32(2.0**-100))
    integers = np.where(used[:, None], integers, 0.0).astype(np.int64)
    assert np.abs(integers).max(initial=0) <= MOST[bits]
    scale = np.where(used, scale, np.where(finite, np.float32(0), np.float32(np.nan)))
    return integers, scale.astype(np.float32)


@dataclass(frozen=True)
class Matrix:
    """Integers [G, U, K] in -128..127, scales [G, U] and zero points [G, U] or None."""

    q: Array
    scale: Array
    zero: Array | None = None

    @property
    def block(self) -> int:
        """k whose products are summed in integers."""
        return BLOCK if self.zero is None else ZERO_POINT_BLOCK

    def spans(self) -> list[slice]:
        """The blocks of k, ascending."""
        k = self.q.shape[2]
        return [slice(at, min(at + self.block, k)) for at in range(0, k, self.block)]


def product(matrix: Matrix, integers: Array, scale: Array, start: Array) -> Array:
    """Start [R, G, U] plus the matrix times quantised rows [R, K], as float32."""
    weights = matrix.q.astype(np.int64)
    if matrix.zero is not None:
        weights = weights - matrix.zero.astype(np.int64)[:, :, None]
    total = np.broadcast_to(start, (len(integers), *matrix.scale.shape)).astype(np.float32)
    with np.errstate(all="ignore"):
        factor = (scale[:, None, None] * matrix.scale[None]).astype(np.float32)
    for span in matrix.spans():
        sums = np.einsum("rk,guk->rgu", integers[:, span], weights[:, :, span])
        assert np.abs(sums).max(initial=0) < 2**31
        total = exact_fma(sums.astype(np.float32), factor, total)
    return total


# ---- the layout of the kernels ------------------------------------------------------------------


def _panels(values: Array) -> Array:
    """[G, U, ...] to [panel, G, 16, ...], padded with zeros."""
    gates, units = values.shape[:2]
    panels = -(-units // PANEL)
    padded = np.zeros((gates, panels * PANEL, *values.shape[2:]), values.dtype)
    padded[:, :units] = values
    return np.moveaxis(padded.reshape(gates, panels, PANEL, *values.shape[2:]), 1, 0)


def pack_weights(matrix: Matrix) -> Array:
    """Bytes [panel][k/4][gate][16][4]."""
    q = matrix.q.astype(np.int8)
    k = q.shape[2]
    padded = np.zeros((*q.shape[:2], -(-k // 4) * 4), np.int8)
    padded[:, :, :k] = q
    blocks = _panels(padded.reshape(*q.shape[:2], -1, 4))
    return np.ascontiguousarray(blocks.transpose(0, 3, 1, 2, 4))


def pack_units(values: Array) -> Array:
    """[panel][gate][16] of scales, biases or zero points [G, U]."""
    return np.ascontiguousarray(_panels(values))


def pack_offsets(matrix: Matrix) -> Array:
    """[panel][block][gate][16]: -128 times the sum of the integers of a block."""
    sums = [matrix.q[:, :, span].astype(np.int64).sum(axis=2) for span in matrix.spans()]
    offsets = -128 * np.stack(sums, axis=2)
    return np.ascontiguousarray(_panels(offsets.astype(np.int32)).transpose(0, 3, 1, 2))


def unpack_panels(values: Array, units: int) -> Array:
    """[panel][row][gate][16] back to [row, gate, unit]."""
    panels, rows, gates, _ = values.shape
    return values.transpose(1, 2, 0, 3).reshape(rows, gates, panels * PANEL)[:, :, :units]
