"""Weights in fewer bytes: rounding, scales, layouts, and what they stand for as arrays."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from rnnengine.graph import LoweredMatrix, Packing, as_lowered, as_packed
from rnnengine.graph.lowered import COMPUTE_TYPES, LAYOUTS, from_codes
from rnnengine.graph.rounding import lower_matrix, quantise_rows

Array = np.ndarray[Any, Any]

PACKINGS: dict[str, tuple[tuple[int, ...], Packing]] = {
    "recurrent": ((2, 4 * 19, 13), Packing((4,))),
    "gru": ((2, 3 * 21, 13), Packing((2, 1))),
    "linear": ((30, 7), Packing((1,), columns=True)),
    "gemm": ((7, 30), Packing((1,))),
    "conv": ((20, 6, 5), Packing((1,), kernel=True)),
    "conv2d": ((20, 6, 3, 5), Packing((1,), kernel=True)),
    "transposed": ((6, 20, 3), Packing((1,), columns=True, kernel=True)),
    "long": ((5, 521), Packing((1,))),
}


def weights(shape: tuple[int, ...], seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * 10.0 ** rng.uniform(-3, 1, shape)).astype(np.float32)


def rows_of(packing: Packing, array: Array) -> Array:
    """[directions, rows, k] by the definition of the packing, one element at a time."""
    directions, rows, k = packing.matrices(array.shape) or (0, 0, 0)
    made = np.empty((directions, rows, k), array.dtype)
    for d, row, at in np.ndindex(directions, rows, k):
        if packing.kernel:
            channel, *taps = np.unravel_index(
                at, (array.shape[0 if packing.columns else 1], *array.shape[2:])
            )
            place = (channel, row, *taps) if packing.columns else (row, channel, *taps)
        elif array.ndim == 3:
            place = (d, row, at)
        else:
            place = (at, row) if packing.columns else (row, at)
        made[d, row, at] = array[place]
    return made


@pytest.mark.parametrize("compute_type", COMPUTE_TYPES)
@pytest.mark.parametrize("name", PACKINGS)
def test_every_code_lies_where_the_layout_says(name: str, compute_type: str) -> None:
    shape, packing = PACKINGS[name]
    lowered = lower_matrix(weights(shape), packing, compute_type)
    depth = LAYOUTS[compute_type].depth
    codes = rows_of(packing, lowered.codes())
    first = 0
    for gates, block in zip(packing.gates, lowered.blocks, strict=True):
        directions, panels, groups = block.directions, block.panels, -(-block.k // depth)
        assert block.codes.ctypes.data % 64 == 0
        cut = block.codes.reshape(directions, panels, groups, gates, 16, depth).copy()
        for d, gate, unit, k in np.ndindex(directions, gates, block.units, block.k):
            at = (d, unit // 16, k // depth, gate, unit % 16, k % depth)
            assert cut[at] == codes[d, first + gate * block.units + unit, k]
            cut[at] = 0
        assert not cut.any(), "what is padded is 0"
        first += gates * block.units


@pytest.mark.parametrize("compute_type", ["bfloat16", "float16"])
def test_halves_are_rounded_to_nearest_even_once(compute_type: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2**32, 40_000, np.uint32)
    ties = (bits & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    values = np.concatenate([bits, ties]).view(np.float32)
    most = 65000 if compute_type == "float16" else 3.38e38
    values = values[np.isfinite(values) & (np.abs(values) < most)]
    values = np.concatenate([values, np.float32([2**-24, 2**-25, 3 * 2**-26, -0.0, 65519])])
    values = values[: values.size // 16 * 16].reshape(16, -1)
    found = np.asarray(lower_matrix(values, Packing((1,)), compute_type))
    expected = torch.from_numpy(values).to(getattr(torch, compute_type)).float().numpy()
    tiny = np.abs(expected) < np.finfo(np.float32).tiny
    expected = np.where(tiny, np.float32(0), expected)
    assert found.tobytes() == expected.tobytes()


def test_int8_is_scale_times_integer_exactly() -> None:
    shape, packing = PACKINGS["gru"]
    lowered = lower_matrix(weights(shape), packing, "int8")
    q, scales = lowered.codes(), lowered.row_scales()
    assert scales is not None and lowered.row_zeros() is None
    assert np.abs(q.astype(int)).max() == 127
    exact = q * scales[:, :, None].astype(np.float64)
    assert np.asarray(lowered, np.float64).tobytes() == exact.tobytes()
    assert np.asarray(lowered).tobytes() == exact.astype(np.float32).tobytes()


def test_zero_points_are_kept() -> None:
    rng = np.random.default_rng(1)
    q = rng.integers(-128, 128, (1, 2 * 19, 600), np.int8)
    scales = rng.uniform(0.01, 1, (1, 38)).astype(np.float32)
    zeros = rng.integers(-128, 128, (1, 38))
    lowered = from_codes(q, Packing((2,)), "int8", scales, zeros)
    exact = scales[:, :, None].astype(np.float64) * (q.astype(int) - zeros[:, :, None])
    assert np.asarray(lowered, np.float64).tobytes() == exact.tobytes()
    (block,) = lowered.blocks
    assert block.sum_block == 256
    for row, (gate, unit) in enumerate(itertools.product(range(2), range(19))):
        at = (0, unit // 16, gate, unit % 16)
        assert block.scales is not None and block.zeros is not None
        assert block.scales.reshape(1, 2, 2, 16)[at] == scales[0, row]
        assert block.zeros.reshape(1, 2, 2, 16)[at] == zeros[0, row]
        for number, start in enumerate(range(0, 600, 256)):
            total = int(q[0, row, start : start + 256].sum(dtype=int))
            offset = block.offsets.reshape(1, 2, 3, 2, 16)[0, unit // 16, number, gate, unit % 16]
            assert offset == -128 * total
    assert from_codes(q, Packing((2,)), "int8", 1.0, 0).blocks[0].zeros is None


def test_scales_have_less_error_than_the_maximum() -> None:
    rng = np.random.default_rng(5)
    for rows in (rng.standard_normal((200, 256)), rng.standard_t(2.1, (200, 300)),
                 rng.laplace(size=(200, 64)) * 1e-20):  # fmt: skip
        w = rows.astype(np.float32).astype(np.float64)
        q, scales = quantise_rows(rows.astype(np.float32))
        simple = (np.abs(w).max(axis=1) / 127).astype(np.float32).astype(np.float64)[:, None]
        of_simple = ((w - simple * np.rint(w / simple)) ** 2).sum(axis=1)
        nearest = np.clip(np.rint(w / scales[:, None].astype(np.float64)), -127, 127)
        np.testing.assert_array_equal(q, nearest)
        found = ((w - scales[:, None].astype(np.float64) * q) ** 2).sum(axis=1)
        assert np.all(found <= of_simple * (1 + 1e-6))
        assert np.mean(found / of_simple) < 0.995


def searched(row: list[float]) -> tuple[list[int], float]:
    """The search as its docstring says it, one number after the other, in IEEE doubles."""

    def rounded(scale: float) -> list[int]:
        return [min(127, max(-127, round(w / scale))) for w in row]

    def fit(scale: float) -> tuple[float, float]:
        along = square = 0.0
        for w, q in zip(row, rounded(scale), strict=True):
            along += w * q
            square += q * q
        fitted = along / square if square else scale
        return fitted, along * fitted

    whole = max(max(map(abs, row)) / 127, 2.0**-100)
    best, least = whole, -1.0
    for f in [1.0 - n / 400 for n in range(16)] + [1.0 - n / 16 for n in range(1, 11)]:
        fitted, gain = fit(max(whole * f, 2.0**-100))
        if gain > least:
            best, least = fitted, gain
    for _ in range(2):
        best, _gain = fit(best)
    scale = float(np.float32(best))
    return rounded(scale), scale


def test_scales_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(8)
    rows = np.concatenate(
        [rng.standard_normal((6, 131)), rng.standard_t(2, (6, 131)), rng.integers(-9, 9, (4, 131))]
    ).astype(np.float32)
    codes, scales = quantise_rows(rows)
    for row, q, scale in zip(rows.astype(np.float64).tolist(), codes, scales, strict=True):
        expected, exact = searched(row)
        assert q.tolist() == expected and float(scale) == exact


def test_scales_do_not_depend_on_other_rows() -> None:
    rows = weights((70, 900), 4)
    q, scales = quantise_rows(rows)
    for part in (slice(0, 1), slice(3, 5), slice(69, 70), slice(10, 60)):
        some_q, some = quantise_rows(rows[part])
        assert some.tobytes() == scales[part].tobytes()
        assert some_q.tobytes() == q[part].tobytes()


def test_rows_that_are_special() -> None:
    rows = np.zeros((5, 9), np.float32)
    rows[1, 3] = -2.5
    rows[2] = 1e-39
    rows[3] = 3e-36
    rows[4] = np.linspace(-1, 1, 9) * 1e32
    q, scales = quantise_rows(rows)
    assert not q[0].any() and scales[0] == 1 and not q[2].any() and scales[2] == 1
    assert q[1, 3] == -127 and np.count_nonzero(q[1]) == 1
    assert scales[1] * np.float64(-127) == pytest.approx(-2.5, rel=1e-7)
    assert scales[3] == np.float32(2.0**-100) and q[3, 0] == round(3e-36 * 2.0**100)
    assert np.abs(scales[4] * q[4].astype(float) - rows[4]).max() < 0.005e32
    assert quantise_rows(np.zeros((4, 0), np.float32))[0].shape == (4, 0)


def test_a_large_matrix_is_quantised_quickly() -> None:
    rows = weights((2048, 1024))
    start = time.process_time()
    quantise_rows(rows)
    assert time.process_time() - start < 3


def test_a_lowered_constant_answers_as_its_array() -> None:
    plain = weights((30, 7))
    kept = lower_matrix(plain, Packing((2, 1)), "int8")
    array = np.asarray(kept)
    assert (kept.shape, kept.ndim, kept.size, kept.dtype) == ((30, 7), 2, 210, np.float32)
    assert as_lowered(kept) is kept and as_lowered(plain) is None and as_packed(kept) is None
    np.testing.assert_array_equal(kept[3:9, ::2], array[3:9, ::2])
    np.testing.assert_array_equal(np.asarray(kept.T), array.T)
    np.testing.assert_array_equal(kept.sum(axis=0), array.sum(axis=0))
    assert kept.astype(np.float32) is kept and kept.astype(np.float64).dtype == np.float64
    for start, count, gates in ((0, 20, 2), (20, 10, 1)):
        part = kept.rows(start, count)
        assert part.block(gates) in kept.blocks
        np.testing.assert_array_equal(np.asarray(part), array[start : start + count])
    with pytest.raises(ValueError, match="are no block"):
        kept.rows(1, 20)


def test_codes_survive_another_packing_and_type() -> None:
    plain = weights((2, 3 * 20, 11))
    for compute_type in COMPUTE_TYPES:
        kept = lower_matrix(plain, Packing((2, 1)), compute_type)
        other = kept.packed_as(Packing((3,)))
        assert other.block(3) is not None and kept.packed_as(Packing((2, 1))) is kept
        np.testing.assert_array_equal(other.codes(), kept.codes())
        np.testing.assert_array_equal(np.asarray(other), np.asarray(kept))
        assert other.compute_type == compute_type
    kept = lower_matrix(plain, Packing((3,)), "int8")
    fast = kept.computed_as("int8_fast")
    assert fast is not None and fast.compute_type == "int8_fast"
    assert fast.blocks[0].codes is kept.blocks[0].codes
    assert kept.computed_as("bfloat16") is None and kept.computed_as("int8") is kept


def test_bytes() -> None:
    for rows, k in ((512, 128), (1024, 256)):
        plain = weights((1, rows, k))
        for compute_type, most in (("bfloat16", 0.5), ("float16", 0.5), ("int8", 0.27)):
            kept = lower_matrix(plain, Packing((4,)), compute_type)
            offsets = kept.blocks[0].offsets.nbytes if compute_type == "int8" else 0
            assert kept.stored_bytes + offsets <= most * plain.nbytes


REFUSED: dict[str, tuple[Array, str, str]] = {
    "nan": (np.float32([[1, np.nan]]), "bfloat16", r"the weight at \[0, 1\] is nan"),
    "infinity": (np.float32([[np.inf], [1]]), "int8", r"the weight at \[0, 0\] is inf"),
    "float16": (np.float32([[1, 65520]]), "float16", "is 65520; the largest float16 is 65504"),
    "bfloat16": (np.float32([[3.4e38]]), "bfloat16", "the largest bfloat16 is"),
    "int8": (np.float32([[1], [2e32]]), "int8_fast", "row 1 has a weight of magnitude 2e"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_weights_that_a_type_cannot_hold(what: str) -> None:
    values, compute_type, message = REFUSED[what]
    with pytest.raises(rn.UnsupportedModelError, match=message):
        lower_matrix(values, Packing((1,)), compute_type)


def test_codes_that_stand_for_no_weights() -> None:
    q = np.ones((4, 3), np.int8)
    packing = Packing((1,))
    for scale in (0.0, -1.0, np.nan, np.inf, 1e-40, 1e38):
        with pytest.raises(rn.UnsupportedModelError, match="scale of row 0 of direction 0"):
            from_codes(q, packing, "int8", scale)
    for zero in (128, -129, 0.5):
        with pytest.raises(rn.UnsupportedModelError, match="zero points are"):
            from_codes(q, packing, "int8", 1.0, zero)
    for bits, compute_type in ((0x7F80, "bfloat16"), (0xFC01, "float16")):
        with pytest.raises(rn.UnsupportedModelError, match="not all finite"):
            from_codes(np.full((4, 3), bits, np.uint16), packing, compute_type)
    with pytest.raises(ValueError, match="cannot be packed"):
        from_codes(q, packing, "bfloat16")


def test_the_same_matrix_gives_the_same_bytes() -> None:
    plain = weights((1, 64, 33))
    kept = [lower_matrix(plain, Packing((4,)), "int8") for _ in range(2)]
    assert isinstance(kept[0], LoweredMatrix)
    for one, other in zip(kept[0].blocks, kept[1].blocks, strict=True):
        assert one.codes.tobytes() == other.codes.tobytes()
        assert one.scales is not None and other.scales is not None
        assert one.scales.tobytes() == other.scales.tobytes()
