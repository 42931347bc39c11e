"""Sequence lengths: a graph's own input, and given to run for graphs that have none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from onnx_models import layer, nodes

Array = np.ndarray[Any, Any]


def values(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("own", [True, False])
def test_rows_equal_their_own_short_runs(cell: str, direction: str, own: bool, isa: str) -> None:
    model = rn.load(layer(cell, 9, 5, direction=direction, lengths=own))
    single = rn.load(layer(cell, 9, 5, direction=direction))
    x = values(8, 6, 5)
    lengths = [8, 3, 0, 1, 8, 5]
    result = model.run(x, lengths=lengths)
    for b, n in enumerate(lengths):
        alone = single.run(x[:n, b : b + 1])
        assert np.array_equal(result["y"][:n, :, b : b + 1], alone["y"])
        assert not result["y"][n:, :, b].any()
        assert np.array_equal(result["h_n"][:, b : b + 1], alone["h_n"])


def test_what_lies_beyond_a_length_does_not_matter() -> None:
    model = rn.load(layer("LSTM", 9, 5))
    x = values(8, 2, 5)
    spoiled = x.copy()
    spoiled[3:, 1] = np.nan
    a, b = model.run(x, lengths=[8, 3]), model.run(spoiled, lengths=[8, 3])
    assert all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint32, ">i4", list])
def test_any_integer_type(kind: Any) -> None:
    model = rn.load(layer("GRU", 4, 3))
    x = values(5, 2, 3)
    lengths = [4, 2] if kind is list else np.array([4, 2], kind)
    assert np.array_equal(model.run(x, lengths=lengths)["y"], model.run(x, lengths=[4, 2])["y"])


@pytest.mark.parametrize("lengths", [[6, 1], [-1, 2], [2**31 - 1, 1]])
def test_lengths_out_of_range(lengths: list[int]) -> None:
    model = rn.load(layer("GRU", 4, 3))
    with pytest.raises(ValueError, match="length is negative or larger than the number of steps"):
        model.run(values(5, 2, 3), lengths=lengths)


def test_lengths_of_the_wrong_type_or_number() -> None:
    model = rn.load(layer("GRU", 4, 3))
    with pytest.raises(TypeError, match=r"'lengths': expected int32, got an array of float64"):
        model.run(values(5, 2, 3), lengths=[1.0, 2.0])
    with pytest.raises(rn.ShapeError, match=r"'lengths'"):
        model.run(values(5, 2, 3), lengths=[1, 2, 3])
    with pytest.raises(ValueError, match="does not fit int32"):
        model.run(values(5, 2, 3), lengths=np.array([2**40, 1]))


def _with_head(*operators: Any, output: str, **constants: Array) -> bytes:
    from onnx import helper

    rng = np.random.default_rng(0)
    weights = {n: rng.standard_normal((1, 12, 4)).astype(np.float32) for n in ("W", "R")}
    gru = helper.make_node("GRU", ["x", "W", "R"], ["y", "h_n"], "gru", hidden_size=4)
    return nodes([gru, *operators], {"x": ("t", "b", 4)}, [output, "h_n"], {**weights, **constants})


def test_pointwise_operators_after_the_layer_are_no_obstacle() -> None:
    from onnx import helper

    model = rn.load(
        _with_head(
            helper.make_node("Squeeze", ["y", "axes"], ["z"]),
            helper.make_node("MatMul", ["z", "M"], ["m"]),
            helper.make_node("Softmax", ["m"], ["p"], axis=-1),
            output="p",
            axes=np.array([1]),
            M=values(4, 3),
        )
    )
    x = values(6, 2, 4)
    result = model.run(x, lengths=[6, 2])
    alone = model.run(x[:2, 1:])
    assert np.array_equal(result["p"][:2, 1:], alone["p"])
    assert np.array_equal(result["h_n"][:, 1:], alone["h_n"])


def test_an_operator_that_mixes_steps_is_named() -> None:
    from onnx import helper

    model = rn.load(
        _with_head(
            helper.make_node("Slice", ["y", "a", "e", "ax"], ["last"], "take_last"),
            output="last",
            a=np.array([-1]),
            e=np.array([2**31]),
            ax=np.array([0]),
        )
    )
    with pytest.raises(rn.UnsupportedModelError, match="take_last"):
        model.run(values(6, 2, 4), lengths=[6, 2])


def test_lengths_and_state_together_are_refused() -> None:
    model = rn.load(layer("GRU", 4, 3))
    with pytest.raises(rn.UnsupportedModelError, match="cannot be combined"):
        model.run(values(5, 2, 3), lengths=[1, 2], return_state=True)
