"""If, Loop, Scan and functions of ONNX: pruned, recognised, written out, or refused by name."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import rnnengine as rn
from onnx_models import random_feeds
from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate
from rnnengine.passes.fold import fold
from rnnengine.passes.recover import recover
from written_cells import Writer, step, weights

ort = pytest.importorskip("onnxruntime")

CELLS = [("LSTM", True), ("GRU", True), ("GRU", False), ("RNN", True)]
RECURRENT = ("LSTM", "GRU", "RNN")


def info(name: str, shape: list[int | str] | None, kind: int = TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name: str, value: object) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def built(nodes, inputs, outputs, tensors=(), opset: int = 17, functions=()) -> bytes:
    graph = helper.make_graph(list(nodes), "control", inputs, outputs, list(tensors))
    opsets = [helper.make_opsetid("", opset)] + [
        helper.make_opsetid(f.domain, 1) for f in functions
    ]
    model = helper.make_model(graph, opset_imports=opsets, functions=list(functions))
    model.ir_version = 10
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def checked(content: bytes, seed: int = 0, tolerance: float = 1e-5, **sizes: int) -> rn.Model:
    """Imported = rewritten in float64, and the engine equals onnxruntime."""
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    feeds = random_feeds(session, seed, **sizes)
    wanted = dict(zip((o.name for o in session.get_outputs()), session.run(None, feeds),
                      strict=True))  # fmt: skip
    imported = load_graph(content)
    exact = evaluate(imported, feeds)
    loaded = rn.load(content)
    got = loaded.run(feeds)
    got = got if isinstance(got, dict) else {next(iter(wanted)): got}
    for name, value in wanted.items():
        np.testing.assert_allclose(exact[name], value, rtol=0, atol=tolerance, err_msg=name)
        np.testing.assert_allclose(got[name], exact[name], rtol=0, atol=tolerance, err_msg=name)
    if sizes and not loaded.graph.nodes:
        return loaded
    return loaded


def recurrent(model: rn.Model) -> Counter[str]:
    return Counter(node.op for node in model.graph.nodes if node.op in RECURRENT)


def cell_body(op: str, after: bool, seed: int) -> tuple[onnx.GraphProto, Writer]:
    """Body of a Scan: states, then x; states, then h once more and a value made of it."""
    writer = Writer(np.random.default_rng(seed))
    v = weights(op, 3, 5, writer.rng)
    h, c = step(writer, op, v, "x_t", "h_in", "c_in", after)
    writer.nodes.append(helper.make_node("Identity", [h], ["h_after"]))
    states = ["h"] + (["c"] if op == "LSTM" else [])
    if c:
        writer.nodes.append(helper.make_node("Identity", [c], ["c_after"]))
    writer.nodes.append(helper.make_node("Relu", [h], ["y_t"]))
    graph = helper.make_graph(
        writer.nodes,
        "body",
        [info(f"{s}_in", ["B", 5]) for s in states] + [info("x_t", ["B", 3])],
        [info(f"{s}_after", ["B", 5]) for s in states] + [info("y_t", ["B", 5])],
        writer.tensors,
    )
    return graph, writer


@pytest.mark.parametrize("steps", ["T", 6])
@pytest.mark.parametrize("backwards", [0, 1])
@pytest.mark.parametrize(("op", "after"), CELLS)
def test_scan_of_a_cell(op: str, after: bool, backwards: int, steps: int | str) -> None:
    body, _ = cell_body(op, after, 1)
    states = ["h"] + (["c"] if op == "LSTM" else [])
    node = helper.make_node(
        "Scan",
        [f"{s}0" for s in states] + ["x"],
        [f"{s}_n" for s in states] + ["y"],
        name="scan",
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_output_axes=[1],
        scan_input_directions=[backwards],
        scan_output_directions=[backwards],
    )
    content = built(
        [node],
        [info(f"{s}0", ["B", 5]) for s in states] + [info("x", ["B", steps, 3])],
        [info(f"{s}_n", ["B", 5]) for s in states] + [info("y", ["B", steps, 5])],
    )
    model = checked(content, B=2, T=6)
    assert recurrent(model) == {op: 1}
    (layer,) = (n for n in model.graph.nodes if n.op == op)
    assert layer.attrs["direction"] == ("reverse" if backwards else "forward")
    assert [f.op for f in model.fused] == [op]
    imported = load_graph(content)
    rewritten = recover(fold(imported))
    rng = np.random.default_rng(2)
    feeds = {
        v.name: rng.normal(size=[s if isinstance(s, int) else {"B": 2, "T": 6}[str(s)]
                                 for s in v.type.shape])
        for v in imported.inputs
    }  # fmt: skip
    wanted, got = evaluate(imported, feeds), evaluate(rewritten, feeds)
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-13)


@pytest.mark.parametrize("steps", ["T", 5])
@pytest.mark.parametrize(("op", "after"), CELLS)
def test_loop_over_a_gathered_step(op: str, after: bool, steps: int | str) -> None:
    """As frameworks write it: step t of x by its number, results stacked, a head outside."""
    writer = Writer(np.random.default_rng(3))
    v = weights(op, 3, 5, writer.rng)
    writer.nodes.append(helper.make_node("Gather", ["x", "i"], ["x_t"], axis=1))
    h, c = step(writer, op, v, "x_t", "h_in", "c_in", after)
    states = ["h"] + (["c"] if op == "LSTM" else [])
    for s, value in zip("hc", (h, c), strict=True):
        if value:
            writer.nodes.append(helper.make_node("Identity", [value], [f"{s}_after"]))
    y = writer.op("Gemm", h, "head")  # the head is a value of the graph around the loop
    writer.nodes.append(helper.make_node("Tanh", [y], ["y_t"]))
    writer.nodes.append(helper.make_node("Identity", ["go"], ["go_on"]))
    body = helper.make_graph(
        writer.nodes,
        "body",
        [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL)]
        + [info(f"{s}_in", ["B", 5]) for s in states],
        [info("go_on", [], TensorProto.BOOL)]
        + [info(f"{s}_after", ["B", 5]) for s in states]
        + [info("y_t", ["B", 2])],
        writer.tensors,
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["trip"]),
        helper.make_node(
            "Loop", ["trip", ""] + ["zeros"] * len(states),
            [f"{s}_n" for s in states] + ["stacked"], name="loop", body=body,
        ),
        helper.make_node("Transpose", ["stacked"], ["y"], perm=[1, 0, 2]),
    ]  # fmt: skip
    head = np.random.default_rng(4).normal(size=(5, 2)).astype(np.float32)
    tensors = [constant("one", np.int64(1)), constant("zeros", np.zeros((2, 5), np.float32)),
               constant("head", head)]  # fmt: skip
    content = built(
        nodes, [info("x", [2, steps, 3])], [info("y", [2, steps, 2]), info("h_n", [2, 5])], tensors
    )
    model = checked(content, T=5)
    assert recurrent(model) == {op: 1}
    assert not {"Scan", "Loop", "Gather"} & {n.op for n in model.graph.nodes}
    if steps == "T":
        stream = model.stream(batch=2)
        x = np.random.default_rng(5).normal(size=(2, 7, 3)).astype(np.float32)
        whole = model.run(x)["y"]
        parts = [stream.step(x[:, t : t + 1])["y"] for t in range(7)]
        np.testing.assert_array_equal(np.concatenate(parts, 1), whole)


def decay_body() -> onnx.GraphProto:
    """S = |s| * 0.5 + x: a recurrence that is no cell."""
    nodes = [
        helper.make_node("Abs", ["s"], ["a"]),
        helper.make_node("Mul", ["a", "half"], ["b"]),
        helper.make_node("Add", ["b", "x_t"], ["s_after"]),
        helper.make_node("Neg", ["s_after"], ["y_t"]),
    ]
    return helper.make_graph(
        nodes, "body", [info("s", ["B", 3]), info("x_t", ["B", 3])],
        [info("s_after", ["B", 3]), info("y_t", ["B", 3])], [constant("half", np.float32(0.5))],
    )  # fmt: skip


@pytest.mark.parametrize("steps", [4, "T"])
def test_a_scan_that_is_no_cell_is_written_out(steps: int | str) -> None:
    """At a fixed number of steps; a free one is settled by the sizes of each run."""
    node = helper.make_node("Scan", ["s0", "x"], ["s_n", "y"], body=decay_body(), num_scan_inputs=1)
    content = built(
        [node], [info("s0", [2, 3]), info("x", [steps, 2, 3])],
        [info("s_n", [2, 3]), info("y", [steps, 2, 3])],
    )  # fmt: skip
    model = checked(content, T=4)
    assert not recurrent(model)
    if steps == "T":
        with pytest.raises(UnsupportedModelError, match="the loop is no recurrent layer"):
            model.stream()


def test_a_loop_whose_condition_counts() -> None:
    """The condition follows from a counter, so the body is written out three times."""
    nodes = [
        helper.make_node("Add", ["n", "one"], ["n_after"]),
        helper.make_node("Less", ["n_after", "three"], ["go_on"]),
        helper.make_node("Mul", ["s", "x"], ["s_after"]),
    ]
    body = helper.make_graph(
        nodes, "body",
        [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL),
         info("n", [], TensorProto.INT64), info("s", [2])],
        [info("go_on", [], TensorProto.BOOL), info("n_after", [], TensorProto.INT64),
         info("s_after", [2])],
    )  # fmt: skip
    tensors = [constant("one", np.int64(1)), constant("three", np.int64(3)),
               constant("zero", np.int64(0)), constant("most", np.int64(100)),
               constant("yes", np.bool_(True))]  # fmt: skip
    loop = helper.make_node("Loop", ["most", "yes", "zero", "x"], ["n", "y"], body=body)
    content = built([loop], [info("x", [2])], [info("y", [2])], tensors)
    model = checked(content)
    assert [n.op for n in model.graph.nodes] == ["Mul"] * 3


@pytest.mark.parametrize("what", ["trip", "condition", "after"])
def test_loops_that_data_decides_are_refused_by_name(what: str) -> None:
    nodes = [
        helper.make_node("ReduceSum", ["s"], ["total"], keepdims=0),
        helper.make_node("Less", ["total", "limit"], ["go_on"]),
        helper.make_node("Add", ["s", "s"], ["s_after"]),
    ]
    if what != "after":
        nodes[:2] = [helper.make_node("Identity", ["go"], ["go_on"])]
    body = helper.make_graph(
        nodes, "body",
        [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("s", [2])],
        [info("go_on", [], TensorProto.BOOL), info("s_after", [2])],
    )  # fmt: skip
    outer = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["count"], to=TensorProto.INT64),
        helper.make_node("Cast", ["sum"], ["yes_no"], to=TensorProto.BOOL),
        helper.make_node(
            "Loop",
            ["count" if what == "trip" else "", "yes_no" if what == "condition" else "", "x"],
            ["y"], name="while", body=body,
        ),
    ]  # fmt: skip
    content = built(outer, [info("x", [2])], [info("y", [2])], [constant("limit", np.float32(9))])
    words = {"trip": "number of steps", "condition": "before the first step", "after": "after step"}
    with pytest.raises(UnsupportedModelError, match=rf"node 'while' \(Loop\).*{words[what]}"):
        rn.load(content)


@pytest.mark.parametrize("backwards", [0, 1])
@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_scan_of_opset_8(op: str, backwards: int) -> None:
    """Axis 0 is a batch, and each row of it a loop of its own: as in that of opset 9, twice.

    Split and Slice of opset 8 have another form, so a body without them is drawn.
    """
    bodies = (cell_body(op, True, seed)[0] for seed in range(99))
    body = next(b for b in bodies if not {"Split", "Slice"} & {n.op_type for n in b.node})
    for value in (*body.input, *body.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    states = ["h"] + (["c"] if op == "LSTM" else [])
    given, results = [f"{s}0" for s in states], [f"{s}_n" for s in states]
    old = helper.make_node("Scan", ["", *given, "x"], [*results, "y"], body=body,
                           num_scan_inputs=1, directions=[backwards])  # fmt: skip
    new = helper.make_node("Scan", [*given, "x"], [*results, "y"], body=body, num_scan_inputs=1,
                           scan_input_directions=[backwards])  # fmt: skip

    def model(node: onnx.NodeProto, lead: list[int], opset: int) -> bytes:
        inputs = [info(name, [*lead, 4, 5]) for name in given] + [info("x", [*lead, 3, 4, 3])]
        outputs = [info(name, [*lead, 4, 5]) for name in results] + [info("y", [*lead, 3, 4, 5])]
        graph = helper.make_graph([node], "g", inputs, outputs)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        return bytes(made.SerializeToString())

    rows = rn.load(model(old, [2], 8))
    assert recurrent(rows) == {op: 2}
    one = rn.load(model(new, [], 17))
    rng = np.random.default_rng(7)
    feeds = {i.name: rng.normal(size=i.shape).astype(np.float32) for i in rows.inputs}
    got = rows.run(feeds)
    for row in range(2):
        wanted = one.run({name: value[row] for name, value in feeds.items()})
        for name, value in wanted.items():
            np.testing.assert_array_equal(got[name][row], value)


def test_scan_of_opset_8_over_a_free_batch_is_refused_by_name() -> None:
    node = helper.make_node(
        "Scan", ["", "s0", "x"], ["s_n", "y"], name="old", body=decay_body(), num_scan_inputs=1
    )
    graph = helper.make_graph(
        [node], "g", [info("s0", [65, 2, 3]), info("x", [65, 4, 2, 3])], [info("y", [65, 4, 2, 3])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)])
    with pytest.raises(UnsupportedModelError, match=r"node 'old' \(Scan\): runs a body for each"):
        rn.load(model.SerializeToString())


def nested_ifs() -> bytes:
    """Two sample rates, weights as Constants inside the branches, x and a scale from outside."""

    def branch(name: str, factor: float) -> onnx.GraphProto:
        weight = np.full((3, 2), factor, np.float32)
        return helper.make_graph(
            [
                helper.make_node("Constant", [], ["w"], value=constant("", weight)),
                helper.make_node("MatMul", ["scaled", "w"], [f"{name}_y"]),
            ],
            name, [], [info(f"{name}_y", ["B", 2])],
        )  # fmt: skip

    inner = helper.make_node(
        "If", ["is_8k"], ["inner_y"], then_branch=branch("low", 1.0), else_branch=branch("none", 0)
    )
    other = helper.make_graph(
        [helper.make_node("Equal", ["sr", "8000"], ["is_8k"]), inner],
        "other", [], [info("inner_y", ["B", 2])], [constant("8000", np.int64(8000))],
    )  # fmt: skip
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["scaled"]),
        helper.make_node("Equal", ["sr", "16000"], ["is_16k"]),
        helper.make_node(
            "If", ["is_16k"], ["y"], then_branch=branch("high", 3.0), else_branch=other, name="rate"
        ),
    ]
    tensors = [constant("two", np.float32(2)), constant("16000", np.int64(16000))]
    inputs = [info("x", ["B", 3]), info("sr", [], TensorProto.INT64)]
    return built(nodes, inputs, [info("y", ["B", 2])], tensors)


@pytest.mark.parametrize(("rate", "factor"), [(16000, 6.0), (8000, 2.0), (44100, 0.0)])
def test_nested_ifs_on_a_fixed_input(rate: int, factor: float) -> None:
    model = rn.load(nested_ifs(), constants={"sr": rate})
    assert [i.name for i in model.inputs] == ["x"]
    assert {n.op for n in model.graph.nodes} <= {"Mul", "MatMul"}
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_allclose(model.run(x), factor * x.sum(1, keepdims=True) * np.ones(2))


def test_an_if_on_data_is_refused_with_what_would_help() -> None:
    with pytest.raises(UnsupportedModelError, match=r"node 'rate' \(If\).*constants="):
        rn.load(nested_ifs())


def test_an_if_inside_a_loop() -> None:
    """On a condition that is known; the branches read the state and the graph around the loop."""
    then = helper.make_graph(
        [helper.make_node("Add", ["s", "x"], ["t"])], "then", [], [info("t", [2])]
    )
    other = helper.make_graph(
        [helper.make_node("Sub", ["s", "x"], ["u"])], "else", [], [info("u", [2])]
    )
    nodes = [
        helper.make_node("Equal", ["i", "second"], ["now"]),
        helper.make_node("If", ["now"], ["s_after"], then_branch=then, else_branch=other),
        helper.make_node("Less", ["i", "second"], ["go_on"]),
    ]
    body = helper.make_graph(
        nodes, "body",
        [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("s", [2])],
        [info("go_on", [], TensorProto.BOOL), info("s_after", [2])],
    )  # fmt: skip
    loop = helper.make_node("Loop", ["most", "", "x"], ["y"], body=body)
    tensors = [constant("second", np.int64(1)), constant("most", np.int64(9))]
    content = built([loop], [info("x", [2])], [info("y", [2])], tensors)
    with pytest.raises(UnsupportedModelError, match="condition 'now' depends on data"):
        rn.load(content)


def test_functions_of_the_model() -> None:
    """A function that calls another, with an attribute handed on and one left at its default."""
    slope = helper.make_node("LeakyRelu", ["a"], ["b"])
    slope.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    inner = helper.make_function(
        "own", "Leaky", ["a"], ["b"], [slope], [helper.make_opsetid("", 17)], ["slope"]
    )
    use = helper.make_node("Leaky", ["p"], ["q"], domain="own")
    use.attribute.add(name="slope", ref_attr_name="k", type=onnx.AttributeProto.FLOAT)
    outer = helper.make_function(
        "own", "Twice", ["p"], ["r"],
        [use, helper.make_node("Add", ["q", "q"], ["r"])],
        [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)],
        ["k"],
    )  # fmt: skip
    nodes = [
        helper.make_node("Twice", ["x"], ["t"], domain="own", k=0.25, name="first"),
        helper.make_node("Twice", ["t"], ["y"], domain="own", k=0.5, name="second"),
    ]
    graph = helper.make_graph(nodes, "g", [info("x", [4])], [info("y", [4])])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[inner, outer])
    model.ir_version = 10
    content = model.SerializeToString()
    loaded = checked(content)
    assert [n.op for n in loaded.graph.nodes] == ["LeakyRelu", "Add"] * 2
    x = np.array([-4, -1, 1, 4], np.float32)
    np.testing.assert_array_equal(loaded.run(x), [-2, -0.5, 4, 16])


def test_functions_that_call_themselves_are_refused() -> None:
    loop = helper.make_function(
        "own", "F", ["a"], ["b"], [helper.make_node("F", ["a"], ["b"], domain="own")],
        [helper.make_opsetid("own", 1)],
    )  # fmt: skip
    nodes = [helper.make_node("F", ["x"], ["y"], domain="own")]
    graph = helper.make_graph(nodes, "g", [info("x", [4])], [info("y", [4])])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[loop])
    with pytest.raises(ModelFormatError, match="calls itself"):
        rn.load(model.SerializeToString())


@pytest.mark.parametrize("steps", ["T", 5])
def test_a_while_loop_as_tensorflow_exports_it(steps: int | str) -> None:
    """Counters among the states, a condition on both, a step gathered by its number.

    The condition has to be worked out step by step, so the loop is written out and its steps are
    put together again: at load where the length is written down, else for the length of each run.
    """
    writer = Writer(np.random.default_rng(8))
    v = weights("LSTM", 3, 5, writer.rng)
    writer.nodes += [
        helper.make_node("Add", ["counter", "one"], ["counter_after"]),
        helper.make_node("Add", ["time", "one"], ["time_after"]),
        helper.make_node("Less", ["counter_after", "length"], ["a"]),
        helper.make_node("Less", ["time_after", "length"], ["b"]),
        helper.make_node("And", ["a", "b"], ["go_on"]),
        helper.make_node("Gather", ["major", "time"], ["x_t"], axis=0),
    ]
    h, c = step(writer, "LSTM", v, "x_t", "h", "c")
    for name, value in (("h_after", h), ("c_after", c), ("y_t", h)):
        writer.nodes.append(helper.make_node("Identity", [value], [name]))
    number = TensorProto.INT64
    body = helper.make_graph(
        writer.nodes, "while",
        [info("i", [], number), info("go", [], TensorProto.BOOL), info("counter", [], number),
         info("time", [], number), info("h", [2, 5]), info("c", [2, 5])],
        [info("go_on", [], TensorProto.BOOL), info("counter_after", [], number),
         info("time_after", [], number), info("h_after", [2, 5]), info("c_after", [2, 5]),
         info("y_t", [2, 5])],
        writer.tensors,
    )  # fmt: skip
    nodes = [
        helper.make_node("Transpose", ["x"], ["major"], perm=[1, 0, 2]),
        helper.make_node("Shape", ["major"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["length"]),
        helper.make_node("Less", ["zero", "length"], ["any"]),
        helper.make_node(
            "Loop", ["most", "any", "zero", "zero", "zeros", "zeros"],
            ["n", "t", "h_n", "c_n", "stacked"], name="while", body=body,
        ),
        helper.make_node("Transpose", ["stacked"], ["y"], perm=[1, 0, 2]),
    ]  # fmt: skip
    tensors = [constant("one", np.int64(1)), constant("zero", np.int64(0)),
               constant("most", np.int64(2**31 - 1)),
               constant("zeros", np.zeros((2, 5), np.float32))]  # fmt: skip
    content = built(
        nodes, [info("x", [2, steps, 3])], [info("y", [2, steps, 5]), info("h_n", [2, 5])], tensors
    )
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    loaded = rn.load(content)
    for length in (5, 7) if steps == "T" else (5,):
        x = np.random.default_rng(length).normal(size=(2, length, 3)).astype(np.float32)
        got = loaded.run(x)
        for output, wanted in zip(("y", "h_n"), session.run(None, {"x": x}), strict=True):
            np.testing.assert_allclose(got[output], wanted, rtol=0, atol=1e-5)
    assert recurrent(loaded) == {"LSTM": 1}
    if steps != "T":
        stream = loaded.stream()
        parts = [stream.step(x[:, t : t + 1])["y"] for t in range(5)]
        np.testing.assert_array_equal(np.concatenate(parts, 1), got["y"])
