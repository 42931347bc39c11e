"""Integers with scales: what they stand for, what keeps them, and how kernels get them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnnengine import UnsupportedModelError
from rnnengine.graph import Graph, Node, Packing, TensorType, Value, as_integers
from rnnengine.graph.integers import ScaledIntegers, keepable
from rnnengine.ops import evaluate
from rnnengine.passes.fold import fold
from rnnengine.passes.fold_batch_norm import fold_batch_norm

Array = np.ndarray[Any, Any]

PARTS = {"tensor": (1, 1, 1), "rows": (2, 12, 1), "columns": (1, 1, 5), "all": (2, 12, 5)}


def made(
    scales: tuple[int, ...], zeros: tuple[int, ...], dtype: type = np.int8, seed: int = 0
) -> tuple[ScaledIntegers, Array]:
    """Integers [2, 12, 5], and the numbers they stand for by the definition, in float64."""
    rng = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    q = rng.integers(limits.min, limits.max, (2, 12, 5), dtype, endpoint=True)
    scale = rng.uniform(0.001, 0.1, scales).astype(np.float32)
    zero = rng.integers(limits.min, limits.max, zeros, endpoint=True).astype(dtype)
    exact = (q.astype(np.int64) - zero.astype(np.int64)) * scale.astype(np.float64)
    return ScaledIntegers(q, scale, zero), exact


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("zeros", PARTS)
@pytest.mark.parametrize("scales", PARTS)
def test_numbers_are_rounded_once(scales: str, zeros: str, dtype: type) -> None:
    kept, exact = made(PARTS[scales], PARTS[zeros], dtype)
    assert kept.dtype == np.float32 and kept.shape == (2, 12, 5) and kept.integers.dtype == np.int8
    found = np.asarray(kept)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, exact.astype(np.float32))
    np.testing.assert_array_equal(2 * kept - kept, found)
    np.testing.assert_array_equal(np.abs(kept).max(axis=2), np.abs(found).max(axis=2))
    assert np.any(kept) and kept.sum() == found.sum()


MOVES: dict[str, Callable[[Any], Any]] = {
    "slice": lambda a: a[:, 3:9],
    "steps": lambda a: a[..., ::-2],
    "transpose": lambda a: np.transpose(a, (2, 0, 1)),
    "T": lambda a: a.T,
    "squeeze": lambda a: np.squeeze(a[:1], 0),
    "unsqueeze": lambda a: np.expand_dims(a, (0, 3)),
    "reshape": lambda a: a.reshape(2, 1, 12, 5),
    "take": lambda a: np.take(a, [4, 0, 0, 2], axis=-1),
    "concatenate": lambda a: np.concatenate([a[:, 6:], a[:, :6]], axis=1),
    "both scales": lambda a: np.concatenate([a, a.scaled(np.float32(2))], axis=0),
    "stack": lambda a: np.stack([a[0:1, :, :], a[1:2, :, :]], axis=1),
    "split": lambda a: np.split(a, [1, 4], axis=2)[1],
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("zeros", PARTS)
@pytest.mark.parametrize("scales", PARTS)
def test_moves_keep_integers(scales: str, zeros: str, move: str) -> None:
    kept, _ = made(PARTS[scales], PARTS[zeros])
    moved = MOVES[move](kept)
    wanted = MOVES[move](np.asarray(kept)) if move != "both scales" else np.concatenate(
        [np.asarray(kept), 2 * np.asarray(kept)]
    )  # fmt: skip
    assert as_integers(moved) is not None
    assert moved.shape == wanted.shape and moved.scale.ndim == moved.zero.ndim == moved.ndim
    np.testing.assert_array_equal(np.asarray(moved), wanted)
    assert moved.integers.base is None, "what was cut away is not kept"


def test_what_mixes_rows_gives_numbers() -> None:
    kept, _ = made((2, 12, 1), (1, 1, 1))
    numbers = np.asarray(kept)
    flat = kept.reshape(24, 5)
    assert as_integers(flat) is None
    np.testing.assert_array_equal(flat, numbers.reshape(24, 5))
    one, _ = made((1, 1, 1), (1, 1, 1))
    assert as_integers(one.reshape(24, 5)) is not None
    joined = np.concatenate([kept, numbers])
    assert as_integers(joined) is None
    np.testing.assert_array_equal(joined, np.concatenate([numbers, numbers]))
    np.testing.assert_array_equal(kept[0], numbers[0])
    np.testing.assert_array_equal(kept[:, [1, 2]], numbers[:, [1, 2]])
    assert np.matmul(kept, numbers.swapaxes(1, 2)).shape == (2, 12, 12)


def test_what_cannot_be_held() -> None:
    q = np.zeros((2, 3), np.int8)
    with pytest.raises(ValueError, match="int16; expected int8 or uint8"):
        ScaledIntegers(q.astype(np.int16), np.float32(1))
    with pytest.raises(ValueError, match=r"scale has shape \(4,\)"):
        ScaledIntegers(q, np.ones(4, np.float32))
    one, none = np.ones(1, np.float32), np.zeros(1, np.int32)
    assert keepable(q, one, none)
    for bad in (np.inf, np.nan, -1, 0, 1e-40):
        assert not keepable(q, np.float32(bad) * one, none)
    assert not keepable(q, one, none + 200) and keepable(q.view(np.uint8), one, none + 200)
    assert not keepable(q, one, none + 0.5) and not keepable(q.astype(np.int32), one, none)


@pytest.mark.parametrize("zeros", ["tensor", "rows"])
@pytest.mark.parametrize("scales", ["tensor", "rows"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_lowered_as_recurrent_weights(scales: str, zeros: str, dtype: type) -> None:
    kept, exact = made(PARTS[scales], PARTS[zeros], dtype)
    for gates in ((4,), (2, 1)):
        lowered = kept.lowered(Packing(gates), "int8")
        assert lowered is not None
        np.testing.assert_array_equal(lowered.codes(), kept.integers)
        np.testing.assert_array_equal(np.asarray(lowered, np.float64), exact)


def test_lowered_as_a_matrix_and_a_kernel() -> None:
    whole, _ = made((1, 12, 1), (1, 12, 1))
    rows = whole[:1].reshape(12, 5)
    for value, packing in ((rows, Packing((1,))), (rows.T, Packing((1,), columns=True))):
        lowered = value.lowered(packing, "int8_fast")
        assert lowered is not None and lowered.compute_type == "int8_fast"
        np.testing.assert_array_equal(np.asarray(lowered), np.asarray(value))
        assert value.lowered(Packing((1,), columns=not packing.columns), "int8") is None
    kernel = np.transpose(whole, (1, 0, 2))
    lowered = kernel.lowered(Packing((1,), kernel=True), "int8")
    assert lowered is not None
    np.testing.assert_array_equal(np.asarray(lowered), np.asarray(kernel))
    turned = np.transpose(kernel, (1, 0, 2))
    lowered = turned.lowered(Packing((1,), kernel=True, columns=True), "int8")
    assert lowered is not None
    np.testing.assert_array_equal(np.asarray(lowered), np.asarray(turned))
    assert made((1, 1, 5), (1, 1, 1))[0].lowered(Packing((1,)), "int8") is None
    with pytest.raises(UnsupportedModelError, match=r"scale of row 0 .* is .*e\+31"):
        whole.scaled(np.float32(1e33)).scaled(np.float32(1)).lowered(Packing((4,)), "int8")


def test_folding_keeps_integers() -> None:
    """Gates in another order, a transpose: still integers in the settled graph."""
    kept, _ = made((2, 12, 1), (2, 12, 1))
    cut = {"axes": (1,), "starts": (9,), "sizes": (3,), "steps": (1,)}
    nodes = (
        Node("Slice", "a", ("w",), ("a",), cut),
        Node("Slice", "b", ("w",), ("b",), {**cut, "starts": (0,), "sizes": (9,)}),
        Node("Concat", "c", ("a", "b"), ("c",), {"axis": 1}),
        Node("Transpose", "t", ("c",), ("t",), {"perm": (0, 2, 1)}),
        Node("MatMul", "y", ("x", "t"), ("y",)),
    )
    kind = TensorType(np.dtype(np.float32), (2, 4, 5))
    graph = Graph("g", (Value("x", kind),), ("y",), nodes, {"w": kept})
    folded = fold(graph)
    assert [node.op for node in folded.nodes] == ["MatMul"]
    (constant,) = folded.constants.values()
    assert as_integers(constant) is not None
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 4, 5)).astype(np.float32)}
    np.testing.assert_array_equal(evaluate(folded, feeds)["y"], evaluate(graph, feeds)["y"])


@pytest.mark.parametrize("sign", [1, -1])
def test_batch_normalisation_scales_the_scales(sign: int) -> None:
    """Positive factors go into the scales; the integers stay."""
    kept, _ = made((1, 12, 1), (1, 12, 1))
    weights = np.transpose(kept, (1, 0, 2))
    rng = np.random.default_rng(3)
    beside = {n: rng.uniform(0.5, 2, 12).astype(np.float32) for n in ("g", "b", "m", "v")}
    beside["g"][4] *= sign
    attrs = {"kernel_shape": (5,), "strides": (1,), "dilations": (1,), "pads": (0, 0), "group": 1}
    nodes = (
        Node("Conv", "conv", ("x", "w"), ("c",), attrs),
        Node("BatchNormalization", "bn", ("c", "g", "b", "m", "v"), ("y",), {"epsilon": 1e-5}),
    )
    kind = TensorType(np.dtype(np.float32), (3, 2, 9))
    graph = Graph("g", (Value("x", kind),), ("y",), nodes, {"w": weights, **beside})
    folded = fold_batch_norm(graph)
    assert len(folded.nodes) == (1 if sign > 0 else 2)
    feeds = {"x": rng.standard_normal((3, 2, 9)).astype(np.float32)}
    wanted = evaluate(graph, feeds)["y"]
    np.testing.assert_allclose(evaluate(folded, feeds)["y"], wanted, rtol=1e-5, atol=1e-5)
    if sign > 0:
        moved = as_integers(folded.constants[folded.nodes[0].inputs[1] or ""])
        assert moved is not None
        np.testing.assert_array_equal(moved.integers, weights.integers)
