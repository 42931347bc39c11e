"""Passes around convolutions: what they join, what they leave alone, and that results stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from engine import float_tables, run, same_bits
from onnx_models import nodes
from rnnengine._c import cpu
from rnnengine.graph import Graph
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate
from rnnengine.passes.fold import fold
from rnnengine.passes.fold_batch_norm import fold_batch_norm
from rnnengine.passes.fuse_conv import fuse_conv
from rnnengine.passes.fuse_pad import fuse_pad
from test_emission import node

Array = np.ndarray[Any, Any]

RNG = np.random.default_rng(5)


def real(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def close(got: Array, wanted: Array) -> None:
    """Weights that were scaled are rounded once more, which moves a sum by half an ulp a term."""
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-6 * max(1.0, np.abs(wanted).max()))


def norm(channels: int, product: str, result: str) -> tuple[Any, dict[str, Array]]:
    names = [f"{result}.{part}" for part in ("scale", "shift", "mean", "var")]
    values = [real(channels), real(channels), real(channels), 0.5 + real(channels) ** 2]
    made = node("BatchNormalization", [product, *names], result)
    return made, dict(zip(names, values, strict=True))


X = ("n", 6, 9, 11)
STEPS: dict[str, tuple[list[Any], dict[str, Array], list[str]]] = {}
_NORM, _PARAMETERS = norm(8, "a", "b")
_WEIGHTS = {"w": real(8, 3, 3, 3), "s": real(8, 1, 1), "one": real(1, 1, 1), "t": real(6, 4, 2, 3)}
_WEIGHTS |= {"c": real(8), "row": real(1, 8, 1, 1), "pads": np.array([0, 0, 1, 0, 0, 0, 1, 2])}
_ALL = {**_WEIGHTS, **_PARAMETERS}
_CONV = {"group": 2, "pads": [1, 0, 1, 1]}

STEPS["normalised"] = ([node("Conv", ["x", "w"], "a", **_CONV), _NORM], _ALL, ["Conv"])
STEPS["all at once"] = (
    [
        node("Pad", ["x", "pads"], "p"),
        node("Conv", ["p", "w", "c"], "a", **_CONV),
        _NORM,
        node("PRelu", ["b", "s"], "y"),
    ],
    _ALL,
    ["Conv"],
)
STEPS["transposed"] = (
    [
        node("ConvTranspose", ["x", "t"], "a", group=2, strides=[2, 1]),
        _NORM,
        node("PRelu", ["b", "one"], "y"),
    ],
    _ALL,
    ["ConvTranspose"],
)
STEPS["bias added"] = (
    [
        node("Conv", ["x", "w"], "a", group=2),
        node("Add", ["row", "a"], "b"),
        node("Sigmoid", ["b"], "y"),
    ],
    _ALL,
    ["Conv"],
)
STEPS["read twice"] = (
    [
        node("Conv", ["x", "w"], "a", group=2),
        node("Relu", ["a"], "b"),
        node("Add", ["a", "b"], "y"),
    ],
    _ALL,
    ["Conv", "Relu", "Add"],
)
for _op in ("Tanh", "LeakyRelu", "Elu", "HardSigmoid", "Softplus"):
    _steps = [node("Conv", ["x", "w", "c"], "a", group=2), node(_op, ["a"], "y")]
    STEPS[_op] = (_steps, _ALL, ["Conv"])


def joined(graph: Graph) -> Graph:
    return fuse_conv(fold_batch_norm(fuse_pad(fold(graph))))


@pytest.mark.parametrize("name", STEPS)
def test_joined_nodes_compute_the_same(name: str) -> None:
    steps, constants, expected = STEPS[name]
    used = {i for step in steps for i in step.input}
    last = steps[-1].output[0]
    content = nodes(steps, {"x": X}, [last], {k: v for k, v in constants.items() if k in used})
    graph = load_graph(content)
    after = joined(graph)
    assert [n.op for n in after.nodes] == expected
    feeds = {"x": real(2, 6, 9, 11)}
    wanted = evaluate(graph, feeds)[last]
    close(evaluate(after, feeds)[last], wanted)
    results = []
    for isa in float_tables():
        with cpu.use(isa):
            results.append(run(rn.load(content), feeds))
        assert same_bits(results[0], results[-1]), isa
    close(results[0][last], wanted)


@pytest.mark.parametrize("transposed", [False, True])
def test_batch_norm_moves_into_a_linear_layer(transposed: bool) -> None:
    weights = real(8, 5) if transposed else real(5, 8)
    first = (
        node("Gemm", ["x", "w", "c"], "a", transB=1, beta=0.5)
        if transposed
        else node("MatMul", ["x", "w"], "a")
    )
    constants = {**_PARAMETERS, "w": weights} | ({"c": real(8)} if transposed else {})
    content = nodes([first, _NORM], {"x": ("n", 5)}, ["b"], constants)
    graph = load_graph(content)
    after = fold_batch_norm(fold(graph))
    assert [n.op for n in after.nodes] == ["Gemm"]
    feeds = {"x": real(7, 5)}
    wanted = evaluate(graph, feeds)["b"]
    close(evaluate(after, feeds)["b"], wanted)
    close(run(rn.load(content), feeds)["b"], wanted)


def test_what_others_read_or_padding_multiplies_is_left_alone() -> None:
    constants = {**_PARAMETERS, "w": real(8, 6, 1, 3), "pads": _WEIGHTS["pads"]}
    conv = node("Conv", ["x", "w"], "a")
    shown = fold(load_graph(nodes([conv, _NORM], {"x": X}, ["a", "b"], constants)))
    assert joined(shown).nodes == shown.nodes
    constants["w"] = np.full((8, 6, 1, 3), np.inf, np.float32)
    steps = [node("Pad", ["x", "pads"], "p"), node("Conv", ["p", "w"], "a")]
    used = {"w": constants["w"], "pads": constants["pads"]}
    padded = fold(load_graph(nodes(steps, {"x": X}, ["a"], used)))
    assert [n.op for n in joined(padded).nodes] == ["Pad", "Conv"]
