"""Masked steps: any pattern of holes, against the float64 oracle, on every kernel table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from engine import bits
from rnnengine.graph import Graph, Node, TensorType, Value, symbol
from rnnengine.ops import evaluate

Array = np.ndarray[Any, Any]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def layer(cell: str, direction: str, masked_output: str, lengths: bool, proj: bool) -> Graph:
    """A recurrent layer with an input for its mask, weights of a seed of their own."""
    rng = np.random.default_rng(7)
    hidden, inputs = 19, 5
    width = 7 if proj else hidden
    count = 2 if direction == "bidirectional" else 1
    constants: dict[str, Array] = {
        "W": rng.uniform(-0.3, 0.3, (count, GATES[cell] * hidden, inputs)).astype(np.float32),
        "R": rng.uniform(-0.3, 0.3, (count, GATES[cell] * hidden, width)).astype(np.float32),
        "b": rng.uniform(-0.3, 0.3, (count, GATES[cell] * hidden)).astype(np.float32),
    }
    if proj:
        constants["P"] = rng.uniform(-0.3, 0.3, (count, width, hidden)).astype(np.float32)
    t, b = symbol("T"), symbol("B")
    f32, i32 = np.dtype(np.float32), np.dtype(np.int32)
    feeds = [Value("x", TensorType(f32, (t, b, inputs))), Value("mask", TensorType(i32, (t, b)))]
    feeds.append(Value("h0", TensorType(f32, (count, b, width))))
    if lengths:
        feeds.append(Value("lengths", TensorType(i32, (b,))))
    names = ("x", "W", "R", "b", None, "lengths" if lengths else None, "h0", None, None)
    outputs = ("y", "h_n", "c_n") if cell == "LSTM" else ("y", "h_n")
    attrs = {"hidden_size": hidden, "direction": direction, "masked_output": masked_output}
    node = Node(cell, "layer", (*names, "P" if proj else None, "mask"), outputs, attrs)
    return Graph("masked", tuple(feeds), outputs, (node,), constants)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("masked_output", ["carry", "zero"])
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("proj", [False, True])
def test_masked_steps(
    cell: str, direction: str, masked_output: str, lengths: bool, proj: bool
) -> None:
    from rnnengine._c import cpu

    if proj and cell != "LSTM":
        return
    graph = layer(cell, direction, masked_output, lengths, proj)
    rng = np.random.default_rng(0)
    count = 2 if direction == "bidirectional" else 1
    mask = (rng.random((9, 6)) < 0.6).astype(np.int32)
    mask[:, 0], mask[:, 1], mask[:4, 2], mask[5:, 3] = 0, 1, 0, 0
    feeds: dict[str, Array] = {
        "x": rng.standard_normal((9, 6, 5)).astype(np.float32),
        "mask": mask,
        "h0": rng.uniform(-1, 1, (count, 6, 7 if proj else 19)).astype(np.float32),
    }
    if lengths:
        feeds["lengths"] = np.array([9, 4, 0, 9, 7, 1], np.int32)
    feeds["x"][mask == 0] = 1e3  # what a masked step would compute must not show
    expected = evaluate(graph, feeds)
    results = {}
    for isa in cpu.available():
        with cpu.use(isa):
            results[isa] = rn.Model(graph).run(feeds)
    for name, value in expected.items():
        first = results[cpu.available()[0]][name]
        np.testing.assert_allclose(first, value, rtol=0, atol=2e-6)
        for other in results.values():
            assert np.array_equal(bits(other[name]), bits(first))


def _ids_graph() -> Graph:
    rng = np.random.default_rng(1)
    table = rng.standard_normal((11, 5)).astype(np.float32)
    i32 = np.dtype(np.int32)
    return Graph(
        "embedding",
        (Value("ids", TensorType(i32, (symbol("B"), symbol("T")))),),
        ("rows",),
        (Node("Gather", "embedding", ("table", "ids"), ("rows",), {"axis": 0}),),
        {"table": table},
    )


@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (0, 2), (2, 0)])
def test_rows_are_selected_by_run_time_indices(shape: tuple[int, int], isa: str) -> None:
    graph = _ids_graph()
    model = rn.Model(graph)
    ids = np.random.default_rng(0).integers(-11, 11, shape)
    assert np.array_equal(model.run(ids), graph.constants["table"][ids])


@pytest.mark.parametrize("index", [11, -12, 2**31 - 1, -(2**31)])
def test_an_index_outside_the_table_is_refused(index: int, isa: str) -> None:
    model = rn.Model(_ids_graph())
    with pytest.raises(ValueError, match="index lies outside the table"):
        model.run(np.array([[0, 1], [index, 2]]))
