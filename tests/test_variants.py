"""Models whose arithmetic on sizes has no general answer: compiled for the sizes at hand."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from onnx_models import nodes
from rnnengine.compiler import variants
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate

Array = np.ndarray[Any, Any]


def node(op: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(op, inputs, [output], f"the_{output}", **attributes)


def values(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def folded_in_half() -> bytes:
    """[T, B, 4] -> [2, T/2, B, 4] -> the halves one after the other in features, then a GRU."""
    rng = np.random.default_rng(0)
    operators = [
        node("Shape", ["x"], "s"),
        node("Slice", ["s", "zero", "one"], "t"),
        node("Slice", ["s", "one", "three"], "rest"),
        node("Div", ["t", "two"], "half"),
        node("Concat", ["two", "half", "rest"], "wanted", axis=0),
        node("Reshape", ["x", "wanted"], "r"),
        node("Gather", ["r", "first"], "a", axis=0),
        node("Gather", ["r", "second"], "b", axis=0),
        node("Concat", ["a", "b"], "c", axis=2),
        node("GRU", ["c", "W", "R"], "y", hidden_size=5),
    ]
    constants = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
        "three": np.array([3]),
        "first": np.array(0),
        "second": np.array(1),
        "W": rng.standard_normal((1, 15, 8)).astype(np.float32),
        "R": rng.standard_normal((1, 15, 5)).astype(np.float32),
    }
    return nodes(operators, {"x": ("T", "B", 4)}, ["y"], constants)


def reference(content: bytes, x: Array) -> Array:
    """The oracle on the same model with the sizes declared."""
    import onnx

    model = onnx.load_from_string(content)
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim, x.shape, strict=True):
        dim.dim_value = size
    return evaluate(load_graph(model.SerializeToString()), {"x": x})["y"]


def test_a_size_that_is_divided_is_compiled_when_it_is_known(isa: str) -> None:
    content = folded_in_half()
    model = rn.load(content)
    assert [(i.name, i.shape) for i in model.inputs] == [("x", ("T", "B", 4))]
    assert [(o.name, o.shape) for o in model.outputs] == [("y", ("y_0", 1, "y_2", 5))]
    assert "only be compiled for given sizes" in repr(model)
    for shape in ((6, 2, 4), (2, 1, 4), (40, 3, 4), (6, 2, 4)):
        x = values(*shape)
        np.testing.assert_allclose(model.run(x), reference(content, x), rtol=2e-6, atol=2e-6)


def test_sizes_that_do_not_fit_are_refused_with_the_sizes_and_the_node() -> None:
    model = rn.load(folded_in_half())
    with pytest.raises(rn.ShapeError, match=r"B = 2, T = 5|T = 5, B = 2"):
        model.run(values(5, 2, 4))
    with pytest.raises(rn.ShapeError, match=r"'the_r' \(Reshape\)"):
        model.run(values(5, 2, 4))
    with pytest.raises(rn.ShapeError, match=r"input 'x'.*\[T, B, 4\]"):
        model.run(values(6, 2, 3))
    with pytest.raises(TypeError, match="input 'x': expected float32"):
        model.run(np.zeros((6, 2, 4), np.int16))
    with pytest.raises(rn.ShapeError, match="missing x"):
        model.run({"z": values(6, 2, 4)})
    with pytest.raises(rn.ShapeError, match="unknown z"):
        model.run({"x": values(6, 2, 4), "z": values(1)})


def test_streams_of_such_a_model_are_refused_with_the_reason() -> None:
    model = rn.load(folded_in_half())
    reason = r"for given sizes.*'the_r' \(Reshape\)"
    with pytest.raises(rn.UnsupportedModelError, match=rf"stream: .*{reason}"):
        model.stream()
    with pytest.raises(rn.UnsupportedModelError, match=rf"state needs a stream.*{reason}"):
        model.run(values(6, 2, 4), return_state=True)


def test_run_takes_out_and_any_layout() -> None:
    model = rn.load(folded_in_half())
    x = values(6, 2, 4)
    expected = model.run(x)
    out = np.empty((3, 1, 2, 5), np.float32)
    assert model.run({"x": x}, out=out) is out
    assert np.array_equal(out, expected)
    assert np.array_equal(model.run(x.astype(">f8")), expected)
    assert np.array_equal(model.run(np.asfortranarray(x).tolist()), expected)


def test_the_last_eight_sets_of_sizes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model = rn.load(folded_in_half())
    made: list[int] = []
    plain = variants.Source.plain
    monkeypatch.setattr(variants.Source, "plain", lambda self: made.append(1) or plain(self))
    lengths = [2, 4, 6, 8, 10, 12, 14, 16]
    for t in lengths * 3:
        model.run(values(t, 1, 4))
    assert len(made) == 8
    model.run(values(18, 1, 4))
    assert len(made) == 9
    for t in [*lengths[1:], 18]:
        model.run(values(t, 1, 4))
    assert len(made) == 9
    model.run(values(2, 1, 4))
    assert len(made) == 10


def test_weights_are_packed_once_for_all_sizes() -> None:
    model = rn.load(folded_in_half())
    for t in (2, 4, 6):
        model.run(values(t, 1, 4))
    kept = list(model._sized._kept.values())  # type: ignore[attr-defined]
    assert len(kept) == 3
    weights = [{id(c) for c in compiled.constants if c.size > 100} for compiled in kept]
    assert weights[0]
    assert all(w == weights[0] for w in weights)


def test_threads_share_such_a_model() -> None:
    model = rn.load(folded_in_half())
    inputs = {t: values(t, 2, 4, seed=t) for t in range(2, 40, 2)}
    expected = {t: model.run(x) for t, x in inputs.items()}
    wrong: list[int] = []

    def work(seed: int) -> None:
        drawn = np.random.default_rng(seed).choice(list(inputs), 60).tolist()
        wrong.extend(t for t in drawn if not np.array_equal(model.run(inputs[t]), expected[t]))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_branch_that_depends_on_a_size() -> None:
    from onnx import TensorProto, helper

    def branch(op: str) -> Any:
        result = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["x"], ["r"])], op, [], [result])

    operators = [
        node("Shape", ["x"], "s"),
        node("Gather", ["s", "zero"], "t", axis=0),
        node("Greater", ["t", "limit"], "long"),
        node("If", ["long"], "y", then_branch=branch("Neg"), else_branch=branch("Abs")),
    ]
    constants = {"zero": np.array(0), "limit": np.array(3)}
    model = rn.load(nodes(operators, {"x": ("T", 2)}, ["y"], constants))
    for t in (2, 3, 4, 9):
        x = values(t, 2)
        assert np.array_equal(model.run(x), -x if t > 3 else np.abs(x))


def test_a_matrix_of_as_many_columns_as_steps() -> None:
    """The number of columns of a product must be known when it is compiled."""
    content = nodes(
        [node("Transpose", ["x"], "k", perm=[1, 0]), node("MatMul", ["x", "k"], "y")],
        {"x": ("T", 4)},
        ["y"],
    )
    model = rn.load(content)
    for t in (1, 5, 17, 0):
        x = values(t, 4)
        np.testing.assert_allclose(model.run(x), x @ x.T, rtol=1e-5, atol=1e-5)


def test_what_no_sizes_help_is_refused_at_load() -> None:
    content = nodes([node("Gather", ["x", "i"], "y")], {"x": ("T",), "i": ("N",)}, ["y"])
    with pytest.raises(rn.RNNEngineError, match="the_y"):
        rn.load(content)
    content = nodes([node("SequenceConstruct", ["x"], "y")], {"x": ("T", "B")}, ["y"])
    with pytest.raises(rn.UnsupportedModelError, match=r"'the_y' \(SequenceConstruct\)"):
        rn.load(content)


CUTS = {
    "the first ten": (0, 10),
    "the last three": (-3, 2**62),
    "all but the first two": (2, 2**62),
    "all but the last": (0, -1),
    "from the fifth last to the second last": (-5, -2),
}


@pytest.mark.parametrize("name", CUTS)
def test_slices_end_where_a_short_axis_does(name: str) -> None:
    """A program for all sizes takes slices as they stand; shorter inputs get one of their own."""
    start, end = CUTS[name]
    operators = [node("Slice", ["x", "a", "b", "axis"], "z"), node("Relu", ["z"], "y")]
    constants = {"a": np.array([start]), "b": np.array([end]), "axis": np.array([0])}
    model = rn.load(nodes(operators, {"x": ("T", 3)}, ["y"], constants))
    for t in (40, 11, 10, 9, 5, 4, 3, 2, 1, 0):
        x = values(t, 3)
        assert np.array_equal(model.run(x), np.maximum(x[start:end], 0)), t


def test_a_stream_of_a_model_that_is_cut_is_not_opened() -> None:
    rng = np.random.default_rng(0)
    weights = {n: rng.standard_normal((1, 12, 4)).astype(np.float32) for n in ("W", "R")}
    operators = [
        node("GRU", ["x", "W", "R"], "h", hidden_size=4),
        node("Slice", ["h", "a", "b", "axis"], "y"),
    ]
    constants = {**weights, "a": np.array([-3]), "b": np.array([99999]), "axis": np.array([0])}
    model = rn.load(nodes(operators, {"x": ("T", "B", 4)}, ["y"], constants))
    with pytest.raises(rn.UnsupportedModelError, match="the_y"):
        model.stream()
    assert model.run(values(2, 1, 4)).shape == (2, 1, 1, 4)
    assert model.run(values(5, 1, 4)).shape == (3, 1, 1, 4)


def test_more_sizes_than_a_program_holds() -> None:
    inputs = {f"x{i}": (f"n{i}",) for i in range(9)}
    operators = [node("Relu", [name], f"y{name}") for name in inputs]
    model = rn.load(nodes(operators, inputs, [f"y{name}" for name in inputs]))
    feeds = {name: values(i) for i, name in enumerate(inputs)}
    result = model.run(feeds)
    assert all(np.array_equal(result[f"y{n}"], np.maximum(x, 0)) for n, x in feeds.items())
