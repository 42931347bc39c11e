"""Float32 weights to those of fewer bytes: the nearest codes, and the scales of least error."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph.lowered import LARGEST_SCALE, LoweredMatrix, from_codes
from rnnengine.graph.packed import Packing

__all__ = ["lower_matrix", "quantise_rows"]

Array = np.ndarray[Any, Any]

_MOST = 127
_SMALLEST_SCALE = 2.0**-100
_FRACTIONS = (*(1.0 - n / 400 for n in range(16)), *(1.0 - n / 16 for n in range(1, 11)))
"""Parts of the largest weight of a row that the code 127 is tried to stand for: near 1, where the
best scale of most rows lies, and down to 3/8 for rows of few large weights."""

_REFITS = 2
_CHUNK = 1 << 15
"""Weights that are looked at together, so that float64 copies stay in a cache."""


def lower_matrix(constant: Array, packing: Packing, compute_type: str) -> LoweredMatrix:
    """Make a lowered constant of float32 numbers.

    Parameters
    ----------
    constant : array of float32
    packing : Packing
        Which must fit its shape.
    compute_type : str
        One of ``COMPUTE_TYPES``.

    Raises
    ------
    UnsupportedModelError
        A number is not finite, or larger than the type holds; the message has no name of the
        constant.
    """
    values = np.asarray(constant, np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise UnsupportedModelError(
            f"the weight at {list(place)} is {values[place]}; {compute_type} takes finite weights, "
            "keep=[...] leaves a layer in float32"
        )
    if compute_type == "bfloat16":
        return from_codes(_bfloat16(values), packing, compute_type)
    if compute_type == "float16":
        return from_codes(_float16(values), packing, compute_type)
    matrices = packing.split(values)
    directions, rows, k = matrices.shape
    codes, scales = quantise_rows(matrices.reshape(directions * rows, k))
    whole = packing.join(codes.reshape(matrices.shape), values.shape)
    return from_codes(whole, packing, compute_type, scales.reshape(directions, rows))


def _bfloat16(values: Array) -> Array:
    """Bits of the nearest bfloat16 numbers, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(
        16
    )
    _check_overflow(values, rounded & np.uint32(0x7F80) == 0x7F80, "bfloat16", 3.3895314e38)
    return rounded.astype(np.uint16)


def _float16(values: Array) -> Array:
    """Bits of the nearest float16 numbers, ties to even."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = values.astype(np.float16)
    _check_overflow(values, np.isinf(rounded), "float16", 65504)
    return rounded.view(np.uint16)


def _check_overflow(values: Array, over: Array, name: str, most: float) -> None:
    if over.any():
        place = tuple(int(i) for i in np.argwhere(over)[0])
        raise UnsupportedModelError(
            f"the weight at {list(place)} is {values[place]:g}; the largest {name} is {most:g}. "
            "Another compute type holds it, or keep=[...] leaves the layer in float32"
        )


def quantise_rows(rows: Array) -> tuple[Array, Array]:
    """Integers and scales of float32 rows, so that ``scale * q`` is near the row.

    For each row, the scales ``largest / 127 * f`` are tried, f from 1 down to 385/400 in steps of
    1/400 and to 6/16 in steps of 1/16. Of each, q = round(w / scale) within -127..127 (ties to
    even) and then the scale that fits these q best, sum(w q) / sum(q q), are judged by the sum of
    squared errors; the first best is taken. Rounding and fitting are repeated twice, and a last
    rounding belongs to the scale in float32. Every sum is taken in float64 in the order of k, so
    the result is the same on every machine. Source: Lloyd's method for the least squared error of a
    uniform quantiser.

    Parameters
    ----------
    rows : array [n, k] of float32
        Finite.

    Returns
    -------
    codes : array [n, k] of int8
        -127 to 127.
    scales : array [n] of float32
        1 for rows of zeros.

    Raises
    ------
    UnsupportedModelError
        A scale would be larger than 2**100.
    """
    n, k = rows.shape
    codes = np.zeros((n, k), np.int8)
    scales = np.ones(n, np.float32)
    step = max(2, _CHUNK // max(k, 1))
    for start in range(0, n if k else 0, step):
        chunk = rows[start : start + step]
        # Two columns at least: NumPy sums a single one in another order.
        columns = np.zeros((k, max(len(chunk), 2)))
        columns[:, : len(chunk)] = chunk.T
        q, scale = _quantise(columns, start)
        codes[start : start + step] = q[:, : len(chunk)].T
        scales[start : start + step] = scale[: len(chunk)]
    return codes, scales


def _quantise(w: Array, first: int) -> tuple[Array, Array]:
    """The same of columns: w is [k, n] in float64; every sum runs down the first axis."""
    most = np.abs(w).max(axis=0)
    if most.max() > _MOST * LARGEST_SCALE:
        row = int(most.argmax())
        raise UnsupportedModelError(
            f"row {first + row} has a weight of magnitude {most[row]:.3g}; int8 takes up to "
            f"{_MOST * LARGEST_SCALE:.3g}, keep=[...] leaves a layer in float32"
        )
    zero = most < np.finfo(np.float32).tiny
    whole = np.where(zero, 1.0, np.maximum(most / _MOST, _SMALLEST_SCALE))
    best, least = whole, np.full(whole.shape, -1.0)
    q, product = np.empty_like(w), np.empty_like(w)
    for fraction in _FRACTIONS:
        fitted, gain = _fit(w, np.maximum(whole * fraction, _SMALLEST_SCALE), q, product)
        better = gain > least
        best, least = np.where(better, fitted, best), np.where(better, gain, least)
    for _ in range(_REFITS):
        best, _gain = _fit(w, best, q, product)
    scale = np.where(zero, 1.0, np.maximum(best, _SMALLEST_SCALE)).astype(np.float32)
    _round(w, scale.astype(np.float64), q)
    q[:, zero] = 0.0
    return q.astype(np.int8), scale


def _round(w: Array, scale: Array, q: Array) -> None:
    """Nearest integers of w / scale within -127..127, into q."""
    np.divide(w, scale, out=q)
    np.rint(q, out=q)
    np.clip(q, -_MOST, _MOST, out=q)


def _fit(w: Array, scale: Array, q: Array, product: Array) -> tuple[Array, Array]:
    """Scales that fit the integers of the given ones best, and how much they explain of sum(w w).

    The squared error of the best scale is ``sum(w w) - sum(w q)**2 / sum(q q)``.
    """
    _round(w, scale, q)
    np.multiply(w, q, out=product)
    along = np.add.reduce(product, axis=0)
    np.multiply(q, q, out=q)
    square = np.add.reduce(q, axis=0)
    fitted = np.where(square > 0, along / np.where(square > 0, square, 1.0), scale)
    return fitted, along * fitted
