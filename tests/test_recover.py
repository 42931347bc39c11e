"""What exporters took apart is put together again: the same numbers, fewer nodes, a report."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from onnx import helper

import rnnengine as rn
from onnx_models import random_feeds
from rnnengine.graph import Graph
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate
from rnnengine.passes.fold import fold
from rnnengine.passes.recover import recover
from written_cells import Writer, model, step, weights, written

ort = pytest.importorskip("onnxruntime")

CELLS = [("LSTM", True), ("GRU", True), ("GRU", False), ("RNN", True)]
RECURRENT = ("LSTM", "GRU", "RNN")
# Float64 on both sides; the sums are in another order.
EXACT = 1e-13


def recovered(content: bytes) -> tuple[Graph, Graph]:
    imported = load_graph(content)
    return imported, recover(fold(imported))


def same(imported: Graph, rewritten: Graph, seed: int = 0, **sizes: int) -> None:
    """Both graphs give the same in float64."""
    rng = np.random.default_rng(seed)
    feeds = {
        v.name: rng.normal(size=[s if isinstance(s, int) else sizes[str(s)] for s in v.type.shape])
        for v in imported.inputs
    }
    wanted, got = evaluate(imported, feeds), evaluate(rewritten, feeds)
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=EXACT, err_msg=name)


def counts(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.nodes if node.op in RECURRENT)


def against_onnxruntime(content: bytes, model: rn.Model, seed: int = 0, **sizes: int) -> None:
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    feeds = random_feeds(session, seed, **sizes)
    wanted = session.run(None, feeds)
    got = model.run(feeds)
    got = got if isinstance(got, dict) else {session.get_outputs()[0].name: got}
    for output, value in zip(session.get_outputs(), wanted, strict=True):
        np.testing.assert_allclose(got[output.name], value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("op", "after"), CELLS)
def test_one_step(op: str, after: bool, seed: int) -> None:
    content, v = written(op, seed, after)
    imported, rewritten = recovered(content)
    assert counts(rewritten) == {op: 1}
    allowed = {op, "Squeeze", "Unsqueeze", "Concat"}
    assert {node.op for node in rewritten.nodes} <= allowed
    same(imported, rewritten, seed, B=2)
    node = next(node for node in rewritten.nodes if node.op == op)
    np.testing.assert_array_equal(rewritten.constants[str(node.inputs[1])][0], v.w.T)
    np.testing.assert_array_equal(rewritten.constants[str(node.inputs[2])][0], v.r.T)
    (fusion,) = rewritten.fused
    assert (fusion.node, fusion.op) == (node.name, op)
    assert set(fusion.parts) <= {part.name for part in fold(imported).nodes}


@pytest.mark.parametrize(("op", "after"), CELLS)
def test_one_step_streams(op: str, after: bool) -> None:
    """The state of a step is found by structure, and its kernel is that of a layer."""
    content, _ = written(op, 3, after)
    loaded = rn.load(content)
    against_onnxruntime(content, loaded, B=3)
    assert [f.op for f in loaded.fused] == [op]
    stream = loaded.stream(batch=2)
    rng = np.random.default_rng(1)
    state = {v.name: np.zeros((2, 5), np.float32) for v in loaded.inputs if v.name != "x"}
    for _ in range(5):
        x = rng.normal(size=(2, 3)).astype(np.float32)
        stream.step(x)
        got = loaded.run({"x": x, **state})
        got = got if isinstance(got, dict) else {"h_out": got}
        state = {name: got[f"{name}_out"] for name in state}
        for name, value in state.items():
            np.testing.assert_array_equal(stream.state[name], value)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("op", "after"), CELLS)
def test_a_step_has_the_bits_of_the_layer(op: str, after: bool, seed: int) -> None:
    """Written out or as a node of ONNX, the kernel and its operands are the same."""
    content, v = written(op, seed, after)
    order = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}[op]

    def stacked(value: np.ndarray) -> np.ndarray:
        return np.concatenate([value[..., g * 5 : g * 5 + 5] for g in order], -1)

    writer = Writer(np.random.default_rng(0))
    bias = np.concatenate([stacked(b) for b in v.b])[None]
    weights_of = [stacked(v.w).T[None], stacked(v.r).T[None], bias]
    names = [writer.constant(value) for value in weights_of]
    states = ["h", "c"] if op == "LSTM" else ["h"]
    axis = writer.constant(np.array([0]))
    x, *entries = (writer.op("Unsqueeze", name, axis) for name in ("x", *states))
    attrs = {"linear_before_reset": int(after)} if op == "GRU" else {}
    results = [f"{s}_n" for s in states]
    writer.nodes.append(
        helper.make_node(op, [x, *names, "", *entries], ["", *results], hidden_size=5, **attrs)
    )
    for state, result in zip(states, results, strict=True):
        writer.nodes.append(helper.make_node("Squeeze", [result, axis], [f"{state}_out"]))
    inputs = {"x": ["B", 3], **{s: ["B", 5] for s in states}}
    layer = rn.load(model(writer, inputs, {f"{s}_out": ["B", 5] for s in states}))
    cell = rn.load(content)
    rng = np.random.default_rng(seed)
    feeds = {name: rng.normal(size=(3, s[1])).astype(np.float32) for name, s in inputs.items()}
    wanted, got = layer.run(feeds), cell.run(feeds)
    if len(states) == 1:
        wanted, got = {"h_out": wanted}, {"h_out": got}
    for name, value in wanted.items():
        np.testing.assert_array_equal(got[name], value)


def unrolled(
    op: str, after: bool, steps: int, *, seed: int, backwards: bool = False, layers: int = 1
) -> bytes:
    """Steps over x[:, t], their outputs stacked along axis 1; the state starts at zero."""
    writer = Writer(np.random.default_rng(seed))
    arrangement = writer.rng.bit_generator.state
    names = []
    for t in range(steps):
        index = writer.constant(np.array(t))
        names.append(str(writer.op("Gather", "x", index, axis=1)))
    for layer in range(layers):
        v = weights(op, 3 if layer == 0 else 5, 5, np.random.default_rng(seed + layer))
        zero = writer.constant(np.zeros((2, 5), np.float32))
        h, c = zero, zero
        results = [""] * steps
        for t in reversed(range(steps)) if backwards else range(steps):
            writer.rng.bit_generator.state = arrangement
            h, c = step(writer, op, v, names[t], h, c, after)
            results[t] = h
        names = results
    axis = writer.constant(np.array([1]))
    stacked = [str(writer.op("Unsqueeze", name, axis)) for name in names]
    writer.nodes.append(helper.make_node("Concat", stacked, ["y"], axis=1))
    return model(writer, {"x": [2, steps, 3]}, {"y": [2, steps, 5]})


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("op", "after"), CELLS)
def test_unrolled(op: str, after: bool, seed: int, backwards: bool) -> None:
    content = unrolled(op, after, 6, seed=seed, backwards=backwards)
    imported, rewritten = recovered(content)
    assert counts(rewritten) == {op: 1}
    assert {node.op for node in rewritten.nodes} <= {op, "Transpose", "Squeeze"}
    (node,) = (node for node in rewritten.nodes if node.op == op)
    assert node.attrs["direction"] == ("reverse" if backwards else "forward")
    same(imported, rewritten, seed)


def test_stacked_layers_unrolled() -> None:
    content = unrolled("LSTM", True, 5, seed=4, layers=3)
    imported, rewritten = recovered(content)
    assert counts(rewritten) == {"LSTM": 3}
    assert not {"Concat", "Slice"} & {node.op for node in rewritten.nodes}
    same(imported, rewritten)
    against_onnxruntime(content, rn.load(content))


def test_a_decoder_that_reads_its_own_output_stays_single_steps() -> None:
    """Each step's input depends on the step before, so no node can run over time."""
    writer = Writer(np.random.default_rng(5))
    arrangement = writer.rng.bit_generator.state
    v = weights("GRU", 3, 5, np.random.default_rng(6))
    head = writer.constant(np.random.default_rng(7).normal(size=(5, 3)).astype(np.float32))
    x, h = "x", "h"
    for _ in range(4):
        writer.rng.bit_generator.state = arrangement
        h, _c = step(writer, "GRU", v, x, h, "")
        x = str(writer.op("MatMul", h, head))
    writer.nodes.append(helper.make_node("Identity", [x], ["y"]))
    content = model(writer, {"x": ["B", 3], "h": ["B", 5]}, {"y": ["B", 3]})
    imported, rewritten = recovered(content)
    assert counts(rewritten) == {"GRU": 4}
    same(imported, rewritten, B=3)
    against_onnxruntime(content, rn.load(content), B=3)


def test_a_state_that_is_read_between_steps_ends_the_chain() -> None:
    """A cell state in the middle of a sequence is no output of a recurrent node."""
    writer = Writer(np.random.default_rng(8))
    arrangement = writer.rng.bit_generator.state
    v = weights("LSTM", 3, 5, np.random.default_rng(9))
    h, c, seen = "h", "c", []
    for _ in range(4):
        writer.rng.bit_generator.state = arrangement
        h, c = step(writer, "LSTM", v, "x", h, c)
        seen.append(c)
    writer.nodes.append(helper.make_node("Add", [h, seen[1]], ["y"]))
    content = model(writer, {"x": ["B", 3], "h": ["B", 5], "c": ["B", 5]}, {"y": ["B", 5]})
    imported, rewritten = recovered(content)
    assert counts(rewritten) == {"LSTM": 2}
    same(imported, rewritten, B=2)


def test_steps_of_other_weights_are_other_layers() -> None:
    writer = Writer(np.random.default_rng(10))
    arrangement = writer.rng.bit_generator.state
    h = "h"
    for seed in (1, 2):
        writer.rng.bit_generator.state = arrangement
        h, _ = step(writer, "GRU", weights("GRU", 3, 5, np.random.default_rng(seed)), "x", h, "")
    writer.nodes.append(helper.make_node("Identity", [h], ["y"]))
    content = model(writer, {"x": ["B", 3], "h": ["B", 5]}, {"y": ["B", 5]})
    imported, rewritten = recovered(content)
    assert counts(rewritten) == {"GRU": 2}
    same(imported, rewritten, B=2)


def test_an_initial_state_that_is_constant_is_kept() -> None:
    writer = Writer(np.random.default_rng(11))
    arrangement = writer.rng.bit_generator.state
    v = weights("LSTM", 3, 5, np.random.default_rng(12))
    rng = np.random.default_rng(13)
    h, c = (writer.constant(rng.normal(size=(1, 5)).astype(np.float32)) for _ in "hc")
    for t in range(3):
        writer.rng.bit_generator.state = arrangement
        x = str(writer.op("Gather", "x", writer.constant(np.array(t)), axis=1))
        h, c = step(writer, "LSTM", v, x, h, c)
    writer.nodes.append(helper.make_node("Identity", [h], ["y"]))
    content = model(writer, {"x": [1, 3, 3]}, {"y": [1, 5]})
    imported, rewritten = recovered(content)
    same(imported, rewritten)
    against_onnxruntime(content, rn.load(content))


def test_what_only_looks_like_a_cell_is_left_alone() -> None:
    """Gates with different functions, a reset of something else, a layer with two inputs."""
    writer = Writer(np.random.default_rng(14))
    v = weights("LSTM", 3, 5, writer.rng)
    i, f, g, o = (writer.product("x", v.w[:, k * 5 : k * 5 + 5], None) for k in range(4))
    i, f = writer.op("Sigmoid", i), writer.op("Tanh", f)
    g, o = writer.op("Tanh", g), writer.op("Sigmoid", o)
    c = writer.either("Add", writer.either("Mul", f, "c"), writer.either("Mul", i, g))
    writer.nodes.append(helper.make_node("Mul", [o, writer.op("Tanh", c)], ["y"]))
    sums = writer.either("Add", writer.product("x", v.w[:, :4], None),
                         writer.product("c", v.r[:, :4], None))  # fmt: skip
    writer.nodes.append(helper.make_node("Tanh", [sums], ["mixed"]))
    content = model(writer, {"x": ["B", 3], "c": ["B", 5]}, {"y": ["B", 5], "mixed": ["B", 4]})
    imported, rewritten = recovered(content)
    assert not counts(rewritten) and not rewritten.fused
    same(imported, rewritten, B=2)


@pytest.mark.parametrize("power", [True, False])
@pytest.mark.parametrize("form", ["div", "reciprocal"])
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm(power: bool, form: str, affine: bool) -> None:
    writer = Writer(np.random.default_rng(15))
    mean = writer.op("ReduceMean", "x", axes=[-1])
    d = writer.op("Sub", "x", mean)
    square = writer.op("Pow", d, writer.constant(np.array(2, np.float32))) if power else (
        writer.op("Mul", d, d)
    )  # fmt: skip
    variance = writer.op("ReduceMean", square, axes=[2])
    root = writer.op("Sqrt", writer.either("Add", variance, writer.constant(
        np.array(1e-3, np.float32))))  # fmt: skip
    y = writer.op("Div", d, root) if form == "div" else (
        writer.either("Mul", d, writer.op("Reciprocal", root))
    )  # fmt: skip
    if affine:
        for op in ("Mul", "Add"):
            row = writer.constant(writer.rng.normal(size=6).astype(np.float32))
            y = writer.either(op, y, row)
    writer.nodes.append(helper.make_node("Relu", [y], ["y"]))
    content = model(writer, {"x": ["B", 4, 6]}, {"y": ["B", 4, 6]})
    imported, rewritten = recovered(content)
    assert [node.op for node in rewritten.nodes] == ["LayerNormalization", "Relu"]
    assert [fusion.op for fusion in rewritten.fused] == ["LayerNormalization"]
    same(imported, rewritten, B=3)


def test_normalisation_over_the_first_axis_is_left_alone() -> None:
    writer = Writer(np.random.default_rng(16))
    d = writer.op("Sub", "x", writer.op("ReduceMean", "x", axes=[1]))
    variance = writer.op("ReduceMean", writer.op("Mul", d, d), axes=[1])
    root = writer.op("Sqrt", writer.op("Add", variance, writer.constant(
        np.array(1e-3, np.float32))))  # fmt: skip
    writer.nodes.append(helper.make_node("Div", [d, root], ["y"]))
    _, rewritten = recovered(model(writer, {"x": ["B", 4, 6]}, {"y": ["B", 4, 6]}))
    assert "LayerNormalization" not in {node.op for node in rewritten.nodes}


def test_inspect_says_what_was_fused() -> None:
    content, _ = written("LSTM", 0)
    found = rn.inspect(content)
    assert [f.op for f in found.fused] == ["LSTM"]
    assert [layer.cell for layer in found.layers] == ["LSTM"]
    assert f"LSTM of {len(found.fused[0].parts)} nodes (cell/" in str(found)


EXPORTS = sorted((Path(__file__).parent / "golden" / "exports").glob("*.onnx"))


@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: path.stem)
def test_exports_of_torch(path: Path) -> None:
    """Cells in a loop over time, and layers that the exporter unrolls, by both exporters."""
    content = path.read_bytes()
    imported, rewritten = recovered(content)
    cell = path.stem.partition("_")[0]
    layers = 2 if "layers" in path.stem else 1
    if path.stem == "rnn_layers_dynamo":
        layers = 4  # a node for each direction
    assert counts(rewritten) == {cell.upper(): layers}
    assert {node.op for node in rewritten.nodes} <= {
        *RECURRENT, "Concat", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
    }  # fmt: skip
    same(imported, rewritten)
    against_onnxruntime(content, rn.load(content))


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [False, True])
def test_exports_of_the_installed_torch(dynamo: bool) -> None:
    """The exporters of today still write what the golden files hold."""
    pytest.importorskip("torch")
    if dynamo:
        pytest.importorskip("onnxscript")
    exports = load_script("golden/make_exports.py")
    for name, module, inputs in exports.networks():
        if name in ("lstm_loop", "rnn_step"):
            content = exports.export(module, inputs, dynamo=dynamo)
            imported, rewritten = recovered(content)
            assert counts(rewritten) == {name.partition("_")[0].upper(): 1}
            same(imported, rewritten)


def load_script(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("script", Path(__file__).parent / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
