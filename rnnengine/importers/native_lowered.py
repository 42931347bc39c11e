"""Constants of a ``.rnne`` file in fewer bytes than float32, and the proof that they are as said.

The description's ``packed`` maps the name of a tensor of codes to
``[layout, shape, gates, columns, kernel, compute_type, scales, zeros]``: beside what is said of a
packed float32 tensor, whether it is that of a convolution, how products with it are computed, and
the names of the tensors of its scales and zero points, or null. All of them are flat and hold the
blocks of :mod:`rnnengine.graph.lowered`, one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import LoweredMatrix, Packing, fresh
from rnnengine.graph.lowered import LARGEST_SCALE, LAYOUTS, Layout, LoweredBlock
from rnnengine.graph.packed import PANEL, SMALLEST, aligned

__all__ = ["FIELDS", "others", "proven", "stored"]

Array = np.ndarray[Any, Any]

FIELDS = 8
"""Of what is said of a tensor of codes."""


def stored(name: str, value: LoweredMatrix, taken: set[str]) -> tuple[dict[str, Array], list[Any]]:
    """Tensors of a lowered constant, and what the description says of the first of them."""
    tensors = {name: np.concatenate([block.codes for block in value.blocks])}
    names: list[str | None] = [None, None]
    if value.blocks[0].scales is not None:
        names[0] = fresh(f"{name}.scale", taken)
        tensors[str(names[0])] = np.concatenate([_present(b.scales) for b in value.blocks])
    if any(block.zeros is not None for block in value.blocks):
        names[1] = fresh(f"{name}.zero", taken)
        tensors[str(names[1])] = np.concatenate(
            [np.zeros(_present(b.scales).size, np.int32) if b.zeros is None else b.zeros
             for b in value.blocks]
        )  # fmt: skip
    packing = value.packing
    layout = LAYOUTS[value.compute_type].name
    said = [layout, list(value.shape), list(packing.gates), packing.columns, packing.kernel]
    return tensors, [*said, value.compute_type, *names]


def _present(array: Array | None) -> Array:
    assert array is not None
    return array


def others(packed: Mapping[str, Any]) -> set[str]:
    """Tensors of scales and zero points, which are no constants themselves."""
    found: set[str] = set()
    for name, said in packed.items():
        if len(said) != FIELDS:
            continue
        for other in said[6:]:
            if other is not None and (not isinstance(other, str) or other in found | {*packed}):
                raise ModelFormatError(
                    f"packed tensor {name!r}: {str(other)[:80]!r} cannot be its scales or zeros"
                )
            if other is not None:
                found.add(other)
    return found


def proven(name: str, tensors: Mapping[str, Array], said: Any) -> LoweredMatrix:
    """Constant behind a tensor of codes.

    Raises
    ------
    ModelFormatError
        A tensor is not what the description says.
    UnsupportedModelError
        Layout or compute type is unknown.
    """
    where = f"packed tensor {name!r}"
    layout_name, shape, gates, columns, kernel, compute_type, *beside = said
    layout = LAYOUTS.get(compute_type) if isinstance(compute_type, str) else None
    if layout is None or layout.name != layout_name:
        known = ", ".join(f"{kept.name!r} for {key}" for key, kept in LAYOUTS.items())
        raise UnsupportedModelError(
            f"{where}: its layout is {str(layout_name)[:80]!r} for {str(compute_type)[:80]!r}; "
            f"this version reads {known}"
        )
    sizes = [*shape, *gates]
    whole = all(type(n) is int and n > 0 for n in sizes) and bool(gates)
    if not whole or type(columns) is not bool or type(kernel) is not bool:
        raise ModelFormatError(f"{where}: it is said to be {str(said)[:80]}")
    packing = Packing(tuple(gates), columns, kernel)
    matrices = packing.matrices(tuple(shape))
    codes = tensors[name]
    if (
        matrices is None
        or codes.dtype != np.dtype(layout.dtype)
        or codes.shape != (sum(packing.sizes(tuple(shape), layout.depth)),)
    ):
        raise ModelFormatError(
            f"{where}: {codes.dtype}{list(codes.shape)} is not the packed form of {compute_type} "
            f"weights of shape {list(shape)} in gates of {list(gates)}"
        )
    scales, zeros = _beside(where, tensors, beside, layout, packing, matrices)
    blocks = []
    of_codes, of_rows = packing.sizes(tuple(shape), layout.depth), _row_sizes(packing, matrices)
    cut = [_cut(part, of) for part, of in ((codes, of_codes), (scales, of_rows), (zeros, of_rows))]
    units = matrices[1] // sum(gates)
    for number, count in enumerate(gates):
        parts = [None if part is None else part[number] for part in cut]
        assert parts[0] is not None
        zero = None if parts[2] is None or not parts[2].any() else parts[2]
        blocks.append(
            LoweredBlock(matrices[0], count, units, matrices[2], compute_type, parts[0], parts[1],
                         zero)
        )  # fmt: skip
    for block in blocks:
        _check(where, block, layout)
    return LoweredMatrix(tuple(shape), packing, tuple(blocks))


def _row_sizes(packing: Packing, matrices: tuple[int, int, int]) -> list[int]:
    """Scales of each block, padded."""
    directions, rows, _ = matrices
    panels = -(-(rows // sum(packing.gates)) // PANEL)
    return [directions * panels * gates * PANEL for gates in packing.gates]


def _cut(flat: Array | None, sizes: list[int]) -> list[Array] | None:
    if flat is None:
        return None
    return [aligned(part) for part in np.split(flat, np.cumsum(sizes)[:-1])]


def _beside(
    where: str,
    tensors: Mapping[str, Array],
    names: list[Any],
    layout: Layout,
    packing: Packing,
    matrices: tuple[int, int, int],
) -> tuple[Array | None, Array | None]:
    """Scales and zero points; int8 needs the first and may have the second, others have none."""
    size = sum(_row_sizes(packing, matrices))
    found: list[Array | None] = []
    for name, what, dtype in zip(names, ("scales", "zeros"), ("float32", "int32"), strict=True):
        array = None if name is None else tensors[name]
        expected = layout.dtype == "int8" and (what == "scales" or name is not None)
        if (array is not None) != expected or (
            array is not None and (array.dtype != np.dtype(dtype) or array.shape != (size,))
        ):
            got = "none" if array is None else f"{array.dtype}{list(array.shape)}"
            raise ModelFormatError(
                f"{where}: its {what} are {got}; expected "
                + (f"{dtype}[{size}]" if layout.dtype == "int8" else "none")
            )
        found.append(array)
    return found[0], found[1]


def _check(where: str, block: LoweredBlock, layout: Layout) -> None:
    """Padding must be 0, and what is no padding a weight."""
    units, k, depth = block.units, block.k, layout.depth
    cut = block.codes.reshape(block.directions, block.panels, -1, block.gates, PANEL, depth)
    last, places = (units - 1) % PANEL + 1, (k - 1) % depth + 1
    if np.any(cut[:, -1, :, :, last:]) or np.any(cut[:, :, -1, :, :, places:]):
        raise ModelFormatError(f"{where}: its pad units are not zero")
    for part, most in ((block.scales, LARGEST_SCALE), (block.zeros, 127)):
        if part is None:
            continue
        rows = part.reshape(block.directions, block.panels, block.gates, PANEL)
        if np.any(rows[:, -1, :, last:]):
            raise ModelFormatError(f"{where}: scales or zeros of its pad units are not zero")
        used = rows.transpose(0, 2, 1, 3).reshape(-1, block.panels * PANEL)[:, :units]
        least = SMALLEST if part is block.scales else -128
        if not np.all((used >= least) & (used <= most)):
            raise ModelFormatError(
                f"{where}: a scale or zero point is outside of {least:.3g} to {most:.3g}"
            )
    if layout.dtype == "uint16":
        _check_halves(where, block)


def _check_halves(where: str, block: LoweredBlock) -> None:
    """Halves must be finite, and +0 where float32 would be flushed to 0."""
    short = block.compute_type == "float16"
    exponent, magnitude = np.uint16(0x7C00 if short else 0x7F80), np.uint16(0x7FFF)
    exponents = block.codes & exponent
    if np.any(exponents == exponent):
        raise ModelFormatError(f"{where}: its weights are not all finite")
    zero = block.codes & magnitude == 0 if short else exponents == 0
    if np.any(zero & (block.codes != 0)):
        raise ModelFormatError(f"{where}: a weight that counts as 0 is not stored as 0")
