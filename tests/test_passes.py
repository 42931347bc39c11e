"""Passes: the rewritten graph computes what the imported one does, whatever its names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

import rnnengine as rn
from engine import run
from onnx_models import nodes
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate
from rnnengine.passes.fold import fold
from rnnengine.passes.fuse_linear import fuse_linear

Array = np.ndarray[Any, Any]


def values(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def check(model: bytes, feeds: dict[str, Array], linear: int) -> None:
    """Oracle of the imported graph = oracle of the fused graph = engine; count the Linear nodes."""
    imported = load_graph(model)
    fused = fuse_linear(fold(imported))
    assert sum(node.op == "Linear" for node in fused.nodes) == linear
    expected = evaluate(imported, feeds)
    again = evaluate(fused, feeds)
    got = run(rn.load(model), feeds)
    for name, value in expected.items():
        assert got[name].shape == value.shape == again[name].shape
        np.testing.assert_allclose(again[name], value, rtol=0, atol=1e-12)
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-5)


def test_product_bias_and_activation_become_one() -> None:
    operators = [
        helper.make_node("MatMul", ["x", "W"], ["m"]),
        helper.make_node("Add", ["b", "m"], ["a"]),
        helper.make_node("HardSigmoid", ["a"], ["y"], alpha=0.3),
    ]
    model = nodes(operators, {"x": ("n", 5, 4)}, ["y"], {"W": values(4, 3), "b": values(3)})
    check(model, {"x": values(2, 5, 4)}, 1)


def test_values_that_others_read_are_kept() -> None:
    operators = [
        helper.make_node("MatMul", ["x", "W"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["a"]),
        helper.make_node("Tanh", ["m"], ["t"]),
        helper.make_node("Sigmoid", ["a"], ["s"]),
    ]
    model = nodes(operators, {"x": ("n", 4)}, ["a", "s", "t"], {"W": values(4, 3), "b": values(3)})
    check(model, {"x": values(6, 4)}, 1)


def test_names_that_the_pass_would_choose_are_not_overwritten() -> None:
    constants = {"g.W": values(3, 4), "g.b": values(3, seed=1), "b": values(3, seed=2)}
    operators = [
        helper.make_node("Gemm", ["x", "g.W", "b"], ["y"], "g", transB=1),
        helper.make_node("MatMul", ["z", "g.W"], ["v"], "other"),
        helper.make_node("Add", ["v", "c"], ["w"]),
        helper.make_node("Add", ["y", "g.b"], ["u"]),
    ]
    constants["c"] = values(4, seed=3)
    model = nodes(operators, {"x": ("n", 4), "z": ("n", 3)}, ["u", "w"], constants)
    check(model, {"x": values(5, 4), "z": values(5, 3)}, 2)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3), (3,), (1,), ()])
def test_a_bias_that_adds_axes_is_not_a_row(shape: tuple[int, ...]) -> None:
    operators = [
        helper.make_node("MatMul", ["x", "W"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
    ]
    model = nodes(operators, {"x": ("n", 4)}, ["y"], {"W": values(4, 3), "b": values(*shape)})
    check(model, {"x": values(6, 4)}, 1)


@pytest.mark.parametrize("name", ["layer.h", "layer.h.next", "lengths"])
def test_inputs_may_have_the_names_of_exposed_state(name: str) -> None:
    constants = {"W": values(1, 4, 3), "R": values(1, 4, 4)}
    operators = [
        helper.make_node("RNN", ["x", "W", "R"], ["y"], "layer", hidden_size=4),
        helper.make_node("Squeeze", ["y", "axes"], ["z"]),
        helper.make_node("Add", ["z", name], ["out"]),
    ]
    constants["axes"] = np.array([1])
    model = nodes(operators, {"x": ("t", "b", 3), name: (4,)}, ["out"], constants)
    loaded = rn.load(model)
    feeds = {"x": values(6, 2, 3), name: values(4)}
    whole = loaded.run(feeds)
    stream = loaded.stream(batch=2)
    parts = [stream.step({"x": feeds["x"][t : t + 1], name: feeds[name]}) for t in range(6)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_with_more_free_sizes_than_a_program_has_streams_are_refused() -> None:
    operators = [helper.make_node("Add", [f"x{i}", "one"], [f"y{i}"]) for i in range(9)]
    inputs = {f"x{i}": (f"n{i}",) for i in range(9)}
    model = nodes(operators, inputs, [f"y{i}" for i in range(9)], {"one": np.ones(1, np.float32)})
    loaded = rn.load(model)
    with pytest.raises(rn.UnsupportedModelError, match="9 varying sizes"):
        loaded.stream()
