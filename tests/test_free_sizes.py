"""Models exported for one batch or length run at any: rows equal single runs, or a refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import rnnengine as rn
from rnnengine.errors import UnsupportedModelError
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate
from rnnengine.passes.fold import fold
from rnnengine.passes.free_axis import free_batch
from rnnengine.passes.recover import recover

EXPORTS = sorted((Path(__file__).parent / "golden" / "exports").glob("*.onnx"))


def model_of(nodes, inputs, outputs, tensors=None) -> bytes:
    def info(shapes: dict) -> list:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]

    initializers = [numpy_helper.from_array(v, k) for k, v in (tensors or {}).items()]
    graph = helper.make_graph(nodes, "g", info(inputs), info(outputs), initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def rows_equal_single_runs(content: bytes, rows: int = 5, at: dict | None = None) -> rn.Model:
    """The freed graph equals the graph as it was, run once for each row, in float64 and in bits.

    ``at`` says the batch axis of inputs and outputs where it is not the first.
    """
    at = at or {}
    single = rn.load(content)
    freed = rn.load(content, batch="dynamic")
    imported = load_graph(content)
    graph = free_batch(recover(fold(imported)))
    rng = np.random.default_rng(0)
    feeds = {}
    for value in imported.inputs:
        shape = [int(s) for s in value.type.shape]
        shape[at.get(value.name, 0)] = rows
        feeds[value.name] = rng.normal(size=shape).astype(np.float32)
    exact = evaluate(graph, feeds)
    names = [o.name for o in freed.outputs]

    def run(model: rn.Model, given: dict) -> dict:
        got = model.run(given)
        return got if isinstance(got, dict) else {names[0]: got}

    got = run(freed, feeds)
    old = int(imported.inputs[0].type.shape[at.get(imported.inputs[0].name, 0)])
    for first in range(0, rows - old + 1, old):
        part = {
            name: np.take(value, range(first, first + old), at.get(name, 0))
            for name, value in feeds.items()
        }
        wanted, alone = evaluate(imported, part), run(single, part)
        for name in names:
            axis = at.get(name, 0)
            rows_of = range(first, first + old)
            np.testing.assert_allclose(
                np.take(exact[name], rows_of, axis), wanted[name], rtol=0, atol=1e-13
            )
            np.testing.assert_array_equal(np.take(got[name], rows_of, axis), alone[name])
    return freed


@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: path.stem)
def test_exports_at_batch_two(path: Path) -> None:
    """Files of both exporters with a written batch of 2 and zero states of that batch."""
    at = {}
    graph = onnx.load(path).graph
    if path.stem.startswith(("rnn_relu", "gru_layers")):
        at = {value.name: 1 for value in (*graph.input, *graph.output)}
    elif "layers" in path.stem:
        at = {value.name: 1 for value in graph.output[1:]}
    rows_equal_single_runs(path.read_bytes(), rows=6, at=at)


def test_reshapes_with_a_written_batch() -> None:
    """[1, T, I] to rows and back, with a written 1, a -1, and all steps in one row."""
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Reshape", ["x", "rows"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["made"]),
        helper.make_node("Reshape", ["made", "back"], ["steps"]),
        helper.make_node("Transpose", ["steps"], ["first"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["first", "W", "R", "", "", "h"], ["y", "h_n"], hidden_size=3),
        helper.make_node("Transpose", ["y"], ["batch"], perm=[2, 1, 0, 3]),
        helper.make_node("Reshape", ["batch", "joined"], ["z"]),
        helper.make_node("Softmax", ["z"], ["p"], axis=-1),
    ]
    tensors = {
        "rows": np.array([-1, 2]),
        "back": np.array([1, 4, 5]),
        "joined": np.array([1, -1]),
        "w": rng.normal(size=(2, 5)).astype(np.float32),
        "b": rng.normal(size=5).astype(np.float32),
        "W": rng.normal(size=(1, 9, 5)).astype(np.float32),
        "R": rng.normal(size=(1, 9, 3)).astype(np.float32),
        "h": rng.normal(size=(1, 1, 3)).astype(np.float32),
    }
    content = model_of(nodes, {"x": [1, 4, 2]}, {"p": [1, 12], "h_n": [1, 1, 3]}, tensors)
    rows_equal_single_runs(content, at={"h_n": 1})


def test_reshapes_that_mean_transposes() -> None:
    """[1, T, I] to [T, 1, I], to rows of steps, and back to [1, T, O], around a layer over time."""
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Reshape", ["x", "first"], ["steps"]),
        helper.make_node("GRU", ["steps", "W", "R"], ["y"], hidden_size=3),
        helper.make_node("Reshape", ["y", "rows"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["made"]),
        helper.make_node("Reshape", ["made", "back"], ["z"]),
    ]
    tensors = {
        "first": np.array([4, 1, 2]),
        "rows": np.array([4, 3]),
        "back": np.array([1, 4, 5]),
        "w": rng.normal(size=(3, 5)).astype(np.float32),
        "W": rng.normal(size=(1, 9, 2)).astype(np.float32),
        "R": rng.normal(size=(1, 9, 3)).astype(np.float32),
    }
    rows_equal_single_runs(model_of(nodes, {"x": [1, 4, 2]}, {"z": [1, 4, 5]}, tensors))


def test_rows_must_end_on_an_axis_of_their_own() -> None:
    nodes = [helper.make_node("Reshape", ["x", "flat"], ["y"], name="flat")]
    content = model_of(nodes, {"x": [2, 3]}, {"y": [6]}, {"flat": np.array([6])})
    with pytest.raises(UnsupportedModelError, match="output 'y' has no axis for the rows alone"):
        rn.load(content, batch="dynamic")


@pytest.mark.parametrize("batch", [1, 3])
def test_a_constant_with_a_row_for_each_of_the_batch(batch: int) -> None:
    """Equal rows are repeated; rows that differ are refused by name."""
    rng = np.random.default_rng(2)
    tensors = {
        "W": rng.normal(size=(1, 9, 2)).astype(np.float32),
        "R": rng.normal(size=(1, 9, 3)).astype(np.float32),
        "h": np.tile(rng.normal(size=(1, 1, 3)), (1, batch, 1)).astype(np.float32),
    }
    node = helper.make_node("GRU", ["x", "W", "R", "", "", "h"], ["y"], name="layer", hidden_size=3)
    inputs, outputs = {"x": [4, batch, 2]}, {"y": [4, 1, batch, 3]}
    content = model_of([node], inputs, outputs, tensors)
    model = rows_equal_single_runs(content, rows=6, at={"x": 1, "y": 2})
    assert model.inputs[0].shape == (4, "batch", 2)
    if batch > 1:
        tensors["h"][0, 1] += 1
        content = model_of([node], inputs, outputs, tensors)
        with pytest.raises(UnsupportedModelError, match=r"node 'layer' \(GRU\).*row of its own"):
            rn.load(content, batch="dynamic")


@pytest.mark.parametrize(
    ("nodes", "shape", "words"),
    [
        ([helper.make_node("ReduceMean", ["x"], ["y"], name="mean", axes=[0], keepdims=1)],
         [1, 3], r"node 'mean' \(ReduceMean\)"),
        ([helper.make_node("Add", ["x", "c"], ["y"], name="sum")],
         [2, 3], r"node 'sum' \(Add\).*a value of its own"),
    ],
)  # fmt: skip
def test_rows_that_depend_on_each_other_are_refused(nodes, shape, words: str) -> None:
    tensors = {"c": np.arange(6, dtype=np.float32).reshape(2, 3)}
    if nodes[0].op_type != "Add":
        tensors = {}
    content = model_of(nodes, {"x": shape}, {"y": shape}, tensors)
    with pytest.raises(UnsupportedModelError, match="batch='dynamic'.*" + words):
        rn.load(content, batch="dynamic")


def test_time_of_an_unrolled_loop() -> None:
    """Four steps in the file; any number in the model, as a stream and as a whole."""
    path = next(p for p in EXPORTS if p.stem == "lstm_loop_script")
    model = rn.load(path, time="dynamic", batch="dynamic")
    assert model.inputs[0].shape == ("batch", "time", 3)
    written = rn.load(path)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(5, 11, 3)).astype(np.float32)
    y = model.run(x)
    for row in (0, 2):
        got = written.run(np.ascontiguousarray(x[row : row + 2, :4]))
        np.testing.assert_array_equal(got, y[row : row + 2, :4])
    stream = model.stream(batch=5)
    np.testing.assert_array_equal(
        np.concatenate([stream.step(x[:, :4]), stream.step(x[:, 4:])], 1), y
    )


def test_a_stream_of_an_unrolled_loop_takes_any_number_of_steps() -> None:
    path = next(p for p in EXPORTS if p.stem == "gru_loop_dynamo")
    model = rn.load(path)
    x = np.random.default_rng(4).normal(size=(2, 4, 3)).astype(np.float32)
    whole = model.run(x)
    stream = model.stream()
    parts = [stream.step(x[:, t : t + 1]) for t in range(4)]
    np.testing.assert_array_equal(np.concatenate(parts, 1), whole)


def test_words() -> None:
    path = EXPORTS[0]
    with pytest.raises(ValueError, match="batch is 'any'; accepted: None, 'dynamic'"):
        rn.load(path, batch="any")
    relu = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, 3]}, {"y": [1, 3]})
    with pytest.raises(UnsupportedModelError, match="time='dynamic': no recurrent layer"):
        rn.load(relu, time="dynamic")
