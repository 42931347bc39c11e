"""The ONNX importer: what it folds, what it fixes, what it refuses and with which words."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnengine.errors import (
    ModelFormatError,
    RNNEngineError,
    ShapeError,
    UnsafeFileError,
    UnsupportedModelError,
)
from rnnengine.graph import Dim, Graph, symbol
from rnnengine.graph.printer import to_text
from rnnengine.graph.verify import verify
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate, infer_types
from rnnengine.passes.fold import fold

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

Array = np.ndarray[Any, Any]
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def node(op: str, inputs: str, outputs: str, name: str = "", **attrs: Any) -> Any:
    """A node whose operands are given in one string; '-' stands for an omitted one."""
    split = [["" if n == "-" else n for n in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *split, name or op.lower(), **attrs)


def declared(name: str, shape: list[Any] | None, code: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, code, shape)


def graph_of(
    nodes: list[Any],
    inputs: list[Any],
    outputs: list[str],
    constants: dict[str, Any] | None = None,
) -> Any:
    made = [numpy_helper.from_array(np.asarray(v), n) for n, v in (constants or {}).items()]
    infos = [onnx.ValueInfoProto(name=o) for o in outputs]
    return helper.make_graph(nodes, "test", inputs, infos, made)


def model_of(graph: Any, opset: int = 17, **fields: Any) -> Any:
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **fields)
    made.ir_version = 8
    return made


def load(nodes: list[Any], inputs: list[Any], outputs: list[str], *args: Any, **kw: Any) -> Graph:
    opset = kw.pop("opset", 17)
    content = model_of(graph_of(nodes, inputs, outputs, *args), opset).SerializeToString()
    return load_graph(content, **kw)


def lstm_weights(hidden: int = 3, inputs: int = 2) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {
        "W": rng.standard_normal((1, 4 * hidden, inputs)).astype(np.float32),
        "R": rng.standard_normal((1, 4 * hidden, hidden)).astype(np.float32),
    }


def lstm(**attrs: Any) -> bytes:
    """A model of one LSTM node with symbolic time and batch."""
    made = node("LSTM", "x W R", "y", "layer", hidden_size=3, **attrs)
    graph = graph_of([made], [declared("x", ["T", "B", 2])], ["y"], lstm_weights())
    return bytes(model_of(graph, 22).SerializeToString())


# Folding


def zero_state(shape: str, *, fill: bool) -> list[Any]:
    """The prologue exporters write to make a zero state as large as the batch."""
    last = (
        node("ConstantOfShape", shape, "zeros")
        if fill
        else node("Expand", "zero " + shape, "zeros")
    )
    return [
        node("Shape", "x", "sx"),
        node("Gather", "sx one", "b0", axis=0),
        node("Unsqueeze", "b0 axes", "b1"),
        node("Concat", "first b1 size", shape, axis=0),
        last,
    ]


@pytest.mark.parametrize("fill", [False, True])
def test_zero_state_prologue_disappears(fill: bool) -> None:
    constants = {
        **lstm_weights(),
        "one": np.array(1),
        "axes": np.array([0]),
        "first": np.array([1]),
        "size": np.array([3]),
        "zero": np.zeros((), np.float32),
    }
    nodes = [*zero_state("shape", fill=fill), node("LSTM", "x W R - - zeros zeros", "y - c")]
    graph = load(nodes, [declared("x", ["T", "B", 2])], ["y", "c"], constants)
    folded = fold(graph)
    assert [n.op for n in folded.nodes] == ["LSTM"]
    assert folded.nodes[0].inputs == ("x", folded.nodes[0].inputs[1], folded.nodes[0].inputs[2])
    feeds = {"x": np.random.default_rng(1).standard_normal((4, 5, 2))}
    for name, value in evaluate(graph, feeds).items():
        np.testing.assert_array_equal(evaluate(folded, feeds)[name], value)


def test_symbolic_expand_keeps_its_shape_as_an_attribute() -> None:
    constants = {
        **lstm_weights(),
        "one": np.array(1),
        "axes": np.array([0]),
        "first": np.array([1]),
        "size": np.array([3]),
        "zero": np.array([1.0, 2.0, 3.0], np.float32),
    }
    nodes = [*zero_state("shape", fill=False), node("LSTM", "x W R - - zeros", "y h")]
    folded = fold(load(nodes, [declared("x", ["T", "B", 2])], ["h"], constants))
    expand, layer = folded.nodes
    assert expand.op == "Expand" and expand.attrs["shape"] == (1, symbol("B"), 3)
    assert expand.inputs == ("zero",) and layer.inputs[6] == expand.outputs[0]
    out = evaluate(folded, {"x": np.zeros((0, 4, 2))})["h"]
    np.testing.assert_array_equal(out, np.broadcast_to([1.0, 2.0, 3.0], (1, 4, 3)))


def test_last_step_by_negative_index_becomes_a_slice() -> None:
    nodes = [node("Gather", "x last", "y", axis=0)]
    folded = fold(load(nodes, [declared("x", ["T", 4])], ["y"], {"last": np.array(-1)}))
    assert [n.op for n in folded.nodes] == ["Slice", "Squeeze"]
    assert folded.nodes[0].attrs["starts"] == (symbol("T") - 1,)
    x = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(evaluate(folded, {"x": x})["y"], x[2])
    with pytest.raises(ShapeError, match="Slice"):
        evaluate(folded, {"x": x[:0]})


def test_reshape_by_computed_sizes_is_resolved() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Slice", "s zero two", "tb"),
        node("Concat", "tb rest", "target", axis=0),
        node("Reshape", "x target", "y"),
    ]
    constants = {"zero": np.array([0]), "two": np.array([2]), "rest": np.array([-1])}
    folded = fold(load(nodes, [declared("x", ["T", "B", 2, 4])], ["y"], constants))
    assert [n.op for n in folded.nodes] == ["Reshape"]
    assert folded.nodes[0].attrs["shape"] == (symbol("T"), symbol("B"), 8)


def test_equal_where_expand_of_exporters_is_decided() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Equal", "s minus", "e"),
        node("ConstantOfShape", "n", "ones", value=numpy_helper.from_array(np.array([1]))),
        node("Where", "e ones s", "target"),
        node("Expand", "row target", "y"),
    ]
    constants = {"minus": np.array(-1), "n": np.array([2]), "row": np.ones((1, 4), np.float32)}
    folded = fold(load(nodes, [declared("x", ["B", 4])], ["y"], constants))
    assert [(n.op, n.attrs["shape"]) for n in folded.nodes] == [("Expand", (symbol("B"), 4))]


def test_folding_rounds_once() -> None:
    a, b, c = (np.array([v], np.float32) for v in (1.0, 3.0, 3.0))
    nodes = [node("Div", "a b", "q"), node("Mul", "q c", "p"), node("Add", "x p", "y")]
    folded = fold(load(nodes, [declared("x", [1])], ["y"], {"a": a, "b": b, "c": c}))
    assert [n.op for n in folded.nodes] == ["Add"]
    (constant,) = folded.constants.values()
    assert constant.dtype == np.float32 and constant[0] == np.float32(1.0)


def test_constant_output_and_output_that_is_an_input() -> None:
    nodes = [node("Add", "a a", "k"), node("Identity", "x", "y")]
    folded = fold(load(nodes, [declared("x", ["T"])], ["k", "y"], {"a": np.float32([2.0])}))
    out = evaluate(folded, {"x": np.ones(3)})
    np.testing.assert_array_equal(out["k"], [4.0])
    np.testing.assert_array_equal(out["y"], np.ones(3))


def test_hostile_constant_growth_is_not_computed() -> None:
    nodes = [node("Concat", f"v{i} v{i}", f"v{i + 1}", f"n{i}", axis=0) for i in range(60)]
    nodes.append(node("Add", "x v60", "y"))
    with pytest.raises(ModelFormatError, match=r"64 bits|must be equal"):
        fold(load(nodes, [declared("x", [1])], ["y"], {"v0": np.ones(1000, np.float32)}))
    huge = [node("Expand", "one shape", "big"), node("Add", "x big", "y")]
    constants = {"one": np.float32([1.0]), "shape": np.array([1 << 40])}
    folded = fold(load(huge, [declared("x", [1])], ["y"], constants))
    assert "Expand" in [n.op for n in folded.nodes]


def test_hostile_shape_arithmetic_is_bounded() -> None:
    nodes = [node("Shape", "x", "s0")]
    nodes += [node("Mul", f"s{i} s{i}", f"s{i + 1}", f"n{i}") for i in range(200)]
    nodes.append(node("Expand", "x s200", "y"))
    with pytest.raises(ModelFormatError, match="shape arithmetic"):
        load(nodes, [declared("x", ["T"])], ["y"])


# Copies and dead code


def test_copies_and_dead_nodes_disappear() -> None:
    nodes = [
        node("Neg", "x", "a"),
        node("Identity", "a", "b"),
        node("Dropout", "b", "c mask"),
        node("Cast", "c", "d", to=FLOAT),
        node("Transpose", "d", "e", perm=[0, 1]),
        node("Reshape", "e same", "f"),
        node("Abs", "x", "unused"),
        node("Relu", "f", "y"),
    ]
    constants = {"same": np.array([2, 3])}
    folded = fold(load(nodes, [declared("x", [2, 3])], ["y"], constants))
    assert [(n.op, n.inputs, n.outputs) for n in folded.nodes] == [
        ("Neg", ("x",), ("a",)),
        ("Relu", ("a",), ("y",)),
    ]
    assert not folded.constants


def test_outputs_that_are_copies_keep_their_names() -> None:
    nodes = [
        node("Neg", "x", "a"),
        node("Identity", "a", "y", "i1"),
        node("Identity", "a", "z", "i2"),
        node("Abs", "a", "w"),
    ]
    folded = fold(load(nodes, [declared("x", [2])], ["y", "z", "w"]))
    assert [(n.op, n.inputs, n.outputs) for n in folded.nodes] == [
        ("Neg", ("x",), ("y",)),
        ("Identity", ("y",), ("z",)),
        ("Abs", ("y",), ("w",)),
    ]
    verify(folded)


def test_unused_outputs_of_a_layer_are_omitted() -> None:
    nodes = [node("LSTM", "x W R", "y h c")]
    folded = fold(load(nodes, [declared("x", [2, 1, 2])], ["h"], lstm_weights()))
    assert folded.nodes[0].outputs == (None, "h")


def test_split_and_even_gathers_become_slices() -> None:
    nodes = [
        node("Split", "x sizes", "a - c", axis=-1),
        node("Gather", "c even", "d", axis=-1),
        node("Add", "a d", "y"),
    ]
    constants = {"sizes": np.array([2, 1, 5]), "even": np.array([0, 2])}
    folded = fold(load(nodes, [declared("x", ["T", 8])], ["y"], constants))
    assert [n.op for n in folded.nodes] == ["Slice", "Slice", "Slice", "Add"]
    assert folded.nodes[2].attrs == {
        "axes": (1,),
        "starts": (0,),
        "sizes": (2,),
        "steps": (2,),
    }
    x = np.arange(16.0).reshape(2, 8)
    np.testing.assert_array_equal(evaluate(folded, {"x": x})["y"], x[:, :2] + x[:, [3, 5]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"outputs": ("z",)}, "nothing computes output 'z'"),
        ({"constants": {"x": np.ones(2)}}, "'x' is defined twice"),
        ({"inputs": ()}, "input 'x' is not computed before it"),
    ],
)
def test_verify_finds_what_a_pass_may_break(change: dict[str, Any], words: str) -> None:
    graph = load([node("Neg", "x", "y")], [declared("x", [2])], ["y"])
    assert verify(graph) is graph
    with pytest.raises(ModelFormatError, match=words):
        verify(graph.with_(**change))
    with pytest.raises(ModelFormatError, match="two nodes are named"):
        verify(graph.with_(nodes=graph.nodes * 2))


# Symbols


def test_unnamed_dimensions_are_identified_by_use() -> None:
    inputs = [declared("x", [None, None, 2]), declared("h", [1, None, 3])]
    inputs.append(declared("c", [1, "batch", 3]))
    graph = load([node("LSTM", "x W R - - h c", "y")], inputs, ["y"], lstm_weights())
    assert [v.type.shape for v in graph.inputs] == [
        (symbol("x_0"), symbol("batch"), 2),
        (1, symbol("batch"), 3),
        (1, symbol("batch"), 3),
    ]


def test_a_batch_baked_into_the_state_fixes_the_batch() -> None:
    constants = {**lstm_weights(), "h": np.ones((1, 1, 3), np.float32)}
    nodes = [node("LSTM", "x W R - - h", "y")]
    graph = load(nodes, [declared("x", ["T", "B", 2])], ["y"], constants)
    assert graph.inputs[0].type.shape == (symbol("T"), 1, 2)


def test_feeds_are_checked_against_symbols() -> None:
    inputs = [declared("a", ["N"]), declared("b", ["N"])]
    graph = load([node("Add", "a b", "y")], inputs, ["y"])
    with pytest.raises(ShapeError, match="'b' has shape"):
        evaluate(graph, {"a": np.ones(2), "b": np.ones(3)})
    with pytest.raises(ShapeError, match="'b' is missing"):
        evaluate(graph, {"a": np.ones(2)})


# Branches


def branch(name: str, nodes: list[Any], output: str, constants: dict[str, Any]) -> Any:
    made = graph_of(nodes, [], [output], constants)
    made.name = name
    return made


def conditional(condition: str, code: int = BOOL, shape: list[Any] | None = None) -> Any:
    two = branch("two", [node("Mul", "x k", "t", "mul")], "t", {"k": np.float32([2.0])})
    three = branch("three", [node("Mul", "x k", "t", "mul")], "t", {"k": np.float32([3.0])})
    made = helper.make_node("If", [condition], ["y"], "if", then_branch=two, else_branch=three)
    inputs = [declared("x", ["T"]), declared("flag", shape or [], code)]
    return model_of(graph_of([made], inputs, ["y"])).SerializeToString()


def test_if_needs_a_known_condition() -> None:
    with pytest.raises(UnsupportedModelError, match=r"'flag' depends on data.*constants"):
        load_graph(conditional("flag"))


@pytest.mark.parametrize(("flag", "factor"), [(True, 2.0), (False, 3.0)])
def test_if_takes_the_branch_of_a_fixed_input(flag: bool, factor: float) -> None:
    folded = fold(load_graph(conditional("flag"), constants={"flag": flag}))
    assert [v.name for v in folded.inputs] == ["x"] and [n.op for n in folded.nodes] == ["Mul"]
    np.testing.assert_array_equal(evaluate(folded, {"x": np.ones(2)})["y"], [factor, factor])


def test_if_on_a_shape_is_nested_and_inlined() -> None:
    inner_then = branch("a", [node("Identity", "x", "u")], "u", {})
    inner_else = branch("b", [node("Neg", "x", "u")], "u", {})
    inner = helper.make_node("If", ["no"], ["v"], "in", then_branch=inner_then,
                             else_branch=inner_else)  # fmt: skip
    outer_then = branch("c", [inner], "v", {"no": np.array(False)})
    outer_else = branch("d", [node("Nonsense", "x", "v")], "v", {})
    outer = helper.make_node("If", ["two_axes"], ["y"], "out", then_branch=outer_then,
                             else_branch=outer_else)  # fmt: skip
    nodes = [
        node("Shape", "x", "s"),
        node("Size", "s", "rank"),
        node("Equal", "rank two", "two_axes"),
        outer,
    ]
    graph = load(nodes, [declared("x", ["T", 2])], ["y"], {"two": np.array(2)})
    np.testing.assert_array_equal(evaluate(fold(graph), {"x": np.ones((1, 2))})["y"], [[-1, -1]])


# Constants given by the caller


def fixable() -> bytes:
    nodes = [node("Cast", "rate", "r", to=FLOAT), node("Mul", "x r", "y")]
    inputs = [declared("x", ["T"]), declared("rate", [], INT64)]
    return bytes(model_of(graph_of(nodes, inputs, ["y"])).SerializeToString())


def test_constants_fix_an_input() -> None:
    folded = fold(load_graph(fixable(), constants={"rate": 16000}))
    assert [n.op for n in folded.nodes] == ["Mul"]
    np.testing.assert_array_equal(evaluate(folded, {"x": np.ones(1)})["y"], [16000.0])


@pytest.mark.parametrize(
    ("constants", "error", "words"),
    [
        ({"speed": 1}, UnsupportedModelError, "'speed', which is no input.*x, rate"),
        ({"rate": 1.5}, TypeError, "float64; expected int64"),
        ({"rate": [1, 2]}, ShapeError, r"\(2,\); expected int64\[\]"),
        ({"rate": 2**63}, TypeError, "outside int64"),
        ({"x": "abc"}, TypeError, "expected float32"),
    ],
)
def test_constants_are_checked(
    constants: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        load_graph(fixable(), constants=constants)


def test_overridable_inputs_are_constants() -> None:
    inputs = [declared("x", [2]), declared("k", [2])]
    graph = load([node("Add", "x k", "y")], inputs, ["y"], {"k": np.float32([1, 2])})
    assert [v.name for v in graph.inputs] == ["x"]


# Refusals


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"activations": ["Softmax", "Tanh", "Tanh"]}, "names 'Softmax'; accepted: Affine"),
        ({"activations": ["Sigmoid", "Tanh"]}, "has 2 names; expected 3"),
        ({"activations": ["Sigmoid", "Affine", "Tanh"]}, "'Affine' is None; it has no default"),
        ({"activation_alpha": [1.0]}, "'activation_alpha' has 1 values more"),
        ({"direction": "backward"}, "'direction' is 'backward'; accepted: forward"),
        ({"clip": -1.0}, "'clip' is -1.0; accepted: positive"),
        ({"clip": 2}, "'clip' is of type int; expected float"),
        ({"input_forget": 2}, "'input_forget' is 2; accepted: 0, 1"),
        ({"output_sequence": 1}, "'output_sequence' = 1 is not known"),
        ({"linear_before_reset": 1}, "'linear_before_reset' = 1 is not known"),
    ],
)
def test_lstm_attributes_are_refused_by_name(attrs: dict[str, Any], words: str) -> None:
    with pytest.raises((UnsupportedModelError, ModelFormatError), match=f"'layer'.*{words}"):
        load_graph(lstm(**attrs))


def test_hidden_size_must_agree_with_the_weights() -> None:
    nodes = [node("LSTM", "x W R", "y", hidden_size=4)]
    with pytest.raises(ModelFormatError, match="'hidden_size' is 4 but R is"):
        load(nodes, [declared("x", [1, 1, 2])], ["y"], lstm_weights())
    without = [node("LSTM", "x W R", "y")]
    graph = load(without, [declared("x", [1, 1, 2])], ["y"], lstm_weights())
    assert infer_types(graph)["y"].shape == (1, 1, 1, 3)


@pytest.mark.parametrize(
    ("op", "opset", "words"),
    [
        ("SequenceConstruct", 17, "sequences of tensors"),
        ("DeformConv", 19, "not supported: accepted: Abs"),
        ("LSTM", 6, "uses opset 6; accepted: 7 and newer"),
        ("Relu", 99, "uses opset 99"),
    ],
)
def test_operators_and_opsets_are_refused_by_name(op: str, opset: int, words: str) -> None:
    with pytest.raises(UnsupportedModelError, match=words):
        load([node(op, "x", "y")], [declared("x", [1])], ["y"], opset=opset)


def test_foreign_domains_are_refused_unless_the_model_defines_them() -> None:
    made = node("Gru2", "x", "y")
    made.domain = "com.example"
    with pytest.raises(UnsupportedModelError, match=r"domain 'com.example'"):
        load([made], [declared("x", [1])], ["y"])
    function = helper.make_function(
        "com.example", "Gru2", ["a"], ["b"], [node("Relu", "a", "b")], []
    )
    model = model_of(graph_of([made], [declared("x", [1])], ["y"]), functions=[function])
    assert [n.op for n in load_graph(model.SerializeToString()).nodes] == ["Relu", "Identity"]


@pytest.mark.parametrize("code", [TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_other_float_types_of_layers_are_refused(code: int) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(code)
    constants = {name: value.astype(dtype) for name, value in lstm_weights().items()}
    with pytest.raises(UnsupportedModelError, match=f"is {dtype}; accepted: float32"):
        load([node("LSTM", "x W R", "y")], [declared("x", [1, 1, 2], code)], ["y"], constants)


@pytest.mark.parametrize("code", [TensorProto.STRING, TensorProto.BFLOAT16, TensorProto.INT4])
def test_other_element_types_of_inputs_are_refused(code: int) -> None:
    with pytest.raises(UnsupportedModelError, match="input 'x' has element type"):
        load([node("Identity", "x", "y")], [declared("x", [1], code)], ["y"])


def test_bfloat16_constants_may_only_be_cast() -> None:
    raw = np.array([0x3F80, 0xC040], np.uint16)
    tensor = helper.make_tensor("k", TensorProto.BFLOAT16, [2], raw.tobytes(), raw=True)
    for last, fine in ((node("Cast", "k", "c", to=FLOAT), True), (node("Neg", "k", "c"), False)):
        graph = graph_of([last, node("Identity", "c", "y")], [], ["y"])
        graph.initializer.append(tensor)
        content = model_of(graph).SerializeToString()
        if fine:
            np.testing.assert_array_equal(evaluate(load_graph(content), {})["y"], [1.0, -3.0])
        else:
            with pytest.raises(UnsupportedModelError, match="'k' is bfloat16"):
                load_graph(content)


# Graphs that contradict themselves


def lies() -> dict[str, tuple[Any, str]]:
    x = declared("x", [2, 3])
    add = node("Add", "x x", "y")
    return {
        "missing": (graph_of([node("Add", "x z", "y")], [x], ["y"]), "computes its input 'z'"),
        "cycle": (
            graph_of([node("Add", "x b", "a", "n1"), node("Neg", "a", "b", "n2")], [x], ["b"]),
            "depends on its own output",
        ),
        "twice": (graph_of([add, node("Neg", "x", "y")], [x], ["y"]), "computed by two nodes"),
        "input twice": (graph_of([add], [x, x], ["y"]), "two inputs"),
        "shadow": (
            graph_of([node("Neg", "k", "x")], [x], ["x"], {"k": np.ones(2)}),
            "'x' is defined twice",
        ),
        "output": (graph_of([add], [x], ["z"]), "nothing computes output 'z'"),
        "no output": (graph_of([add], [x], []), "no outputs"),
        "shape": (
            graph_of([node("MatMul", "x x", "y")], [x], ["y"]),
            "columns of A and rows of B: 3 and 2 must be equal",
        ),
        "rank": (graph_of([node("LSTM", "x x x", "y")], [x], ["y"]), "'hidden_size' is None"),
        "type": (
            graph_of([node("Add", "x k", "y")], [x], ["y"], {"k": np.array([1])}),
            "element types float32, int64 differ",
        ),
        "surplus": (graph_of([node("Neg", "x x", "y")], [x], ["y"]), "has 2 inputs; expected 1"),
    }


@pytest.mark.parametrize("lie", lies())
def test_contradictions_are_format_errors(lie: str) -> None:
    graph, words = lies()[lie]
    with pytest.raises(ModelFormatError, match=words):
        load_graph(model_of(graph).SerializeToString())


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (declared("y", [3, 2]), r"declared with shape \[3, 2\]; it is float32\[2, 3\]"),
        (declared("y", [2]), "declared with shape"),
        (declared("y", [2, 3], INT64), "declared as int64"),
    ],
)
def test_declared_types_must_be_true(info: Any, words: str) -> None:
    graph = helper.make_graph([node("Neg", "x", "y")], "g", [declared("x", [2, 3])], [info])
    with pytest.raises(ModelFormatError, match=words):
        load_graph(model_of(graph).SerializeToString())


def test_nodes_out_of_order_are_put_in_order() -> None:
    nodes = [node("Neg", "a", "y", "second"), node("Abs", "x", "a", "first")]
    assert [n.op for n in load(nodes, [declared("x", [2])], ["y"]).nodes] == ["Abs", "Neg"]


# Tensors and files


def test_tensor_data_must_fill_the_shape() -> None:
    content = lstm()
    model = onnx.ModelProto.FromString(content)
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-1]
    with pytest.raises(ModelFormatError, match="no whole number of float32"):
        load_graph(model.SerializeToString())
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-3]
    with pytest.raises(ModelFormatError, match=r"holds 23 elements.*needs 24"):
        load_graph(model.SerializeToString())
    model = onnx.ModelProto.FromString(content)
    model.graph.initializer[0].dims[:] = [1 << 62, 1 << 62]
    with pytest.raises(ModelFormatError, match="has shape"):
        load_graph(model.SerializeToString())


TYPED = [
    (TensorProto.FLOAT, [1.5, -2.0]), (TensorProto.DOUBLE, [1.5, -2.0]),
    (TensorProto.INT32, [1, -2]), (TensorProto.INT64, [1, -(2**62)]), (TensorProto.INT8, [1, -2]),
    (TensorProto.UINT8, [1, 255]), (TensorProto.INT16, [1, -2]), (TensorProto.UINT16, [1, 65535]),
    (TensorProto.UINT32, [1, 2**32 - 1]), (TensorProto.UINT64, [1, 2**64 - 1]),
    (TensorProto.BOOL, [True, False]), (TensorProto.FLOAT16, [1.5, -2.0]),
]  # fmt: skip


@pytest.mark.parametrize(("code", "values"), TYPED)
@pytest.mark.parametrize("raw", [True, False])
def test_tensors_of_every_type(code: int, values: list[Any], raw: bool) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(code)
    data = np.array(values, dtype)
    tensor = helper.make_tensor("k", code, [2], data.tobytes() if raw else data, raw=raw)
    graph = graph_of([node("Identity", "k", "y")], [], ["y"])
    graph.initializer.append(tensor)
    loaded = load_graph(model_of(graph).SerializeToString())
    assert loaded.constants["k"].dtype == dtype
    np.testing.assert_array_equal(loaded.constants["k"], data)


def external(location: str, offset: int = 0, length: int | None = None) -> bytes:
    tensor = TensorProto(name="k", data_type=FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    graph = graph_of([node("Identity", "k", "y")], [], ["y"])
    graph.initializer.append(tensor)
    return bytes(model_of(graph).SerializeToString())


def test_external_data_is_read_from_the_named_directory(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "weights.bin").write_bytes(values.tobytes())
    loaded = load_graph(external("sub/weights.bin", 4, 16), external_data=tmp_path)
    np.testing.assert_array_equal(loaded.constants["k"], values[1:5])
    for offset, length in ((12, 16), (0, 12), (0, None), (10**18, None)):
        with pytest.raises(ModelFormatError, match="are not the 16 bytes"):
            load_graph(external("sub/weights.bin", offset, length), external_data=tmp_path)
    with pytest.raises(ModelFormatError, match="missing or no file"):
        load_graph(external("sub"), external_data=tmp_path)


def test_external_data_outside_is_refused(tmp_path: Path) -> None:
    inside, secret = tmp_path / "inside", tmp_path / "secret.bin"
    inside.mkdir()
    secret.write_bytes(bytes(16))
    os.symlink(secret, inside / "link.bin")
    with pytest.raises(UnsafeFileError, match=r"another file, 'link.bin'.*external_data="):
        load_graph(external("link.bin"))
    for location in ("../secret.bin", str(secret), "link.bin", "a/../../secret.bin", "", "c:x",
                     "..\\secret.bin", "x\0y"):  # fmt: skip
        with pytest.raises(UnsafeFileError, match="not inside"):
            load_graph(external(location), external_data=inside)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"", ModelFormatError, "empty"),
        (b"PK\x03\x04rest", UnsupportedModelError, "neither a PyTorch nor a Keras file"),
        (b"\x80\x02}q\x00.", UnsupportedModelError, "no weights in it"),
        (b"\x89HDF\r\n\x1a\n....", ModelFormatError, "damaged HDF5 file"),
        (b"\x1c\0\0\0TFL3....", UnsupportedModelError, "TensorFlow Lite"),
        (b"not a model at all", ModelFormatError, "not an ONNX model"),
        (b"\x08\x07", ModelFormatError, "no graph or no opset"),
    ],
)
def test_other_content_is_named(content: bytes, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load_graph(content)


def test_a_missing_onnx_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    content = lstm()
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'rnnengine\[onnx\]'"):
        load_graph(content)


def test_names_must_be_text() -> None:
    content = lstm().replace(b"layer", b"l\xff\xfeer")
    with pytest.raises(ModelFormatError, match="name is not valid UTF-8"):
        load_graph(content)


def test_every_kind_of_source(tmp_path: Path) -> None:
    content = lstm()
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    for source in (content, bytearray(content), str(path), path, io.BytesIO(content)):
        assert load_graph(source).outputs == ("y",)
    with pytest.raises(TypeError, match="binary mode"), open(__file__, encoding="utf-8") as text:
        load_graph(text)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a path, bytes"):
        load_graph(3)  # type: ignore[arg-type]


@settings(max_examples=300)
@given(data=st.data())
def test_damaged_files_give_typed_errors(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from([lstm(), fixable(), conditional("flag")])))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    with contextlib.suppress(RNNEngineError):
        verify(fold(load_graph(bytes(content))))


def test_a_graph_can_be_printed() -> None:
    graph = fold(load_graph(lstm(clip=1.5, activations=["HardSigmoid", "Tanh", "Tanh"])))
    text = to_text(graph, infer_types(graph))
    assert "input    x: float32[T, B, 2]" in text
    assert "y: float32[T, 1, B, 3] = LSTM(x, " in text and "hard_sigmoid(0.2" in text
    assert any(isinstance(s, Dim) for s in graph.inputs[0].type.shape)
