"""Every operator of the importer against onnxruntime, and its rule along time."""

from __future__ import annotations

import numpy as np
import pytest

from rnnengine.errors import UnsupportedModelError
from rnnengine.importers import load_graph
from rnnengine.ops import NotAlongTime, evaluate, get, infer_types
from rnnengine.passes.fold import fold

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
from oracle.deviations import ort_outputs
from oracle.forms import FORMS, Form, model, opsets_of, versions


@pytest.mark.parametrize("axis", [None, 0], ids=["fixed", "symbolic"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_operator_agrees_with_onnxruntime(form: Form, axis: int | None) -> None:
    for opset in form.opsets if axis is not None else opsets_of(form):
        content, feeds = model(form, opset, axis)
        graph = load_graph(content)
        ours, theirs = evaluate(graph, feeds), ort_outputs(content, feeds)
        folded = evaluate(fold(graph), feeds)
        for name, value in ours.items():
            assert value.shape == theirs[name].shape
            assert (value.dtype.kind == "f") == (theirs[name].dtype.kind == "f")
            if value.dtype.kind != "f":
                assert value.dtype == theirs[name].dtype
                np.testing.assert_array_equal(value, theirs[name])
            np.testing.assert_allclose(value, theirs[name], rtol=2e-6, atol=2e-6)
            np.testing.assert_allclose(folded[name], value, rtol=1e-7, atol=0)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 0.0, -0.0])
@pytest.mark.parametrize("op", ["Relu", "Sigmoid", "Tanh", "Exp", "Softplus", "Abs", "Neg", "Erf"])
def test_special_values_agree_with_onnxruntime(op: str, special: float) -> None:
    content, feeds = model(Form(op, [np.full(3, special, np.float32)]), 13)
    ours, theirs = evaluate(load_graph(content), feeds)["out0"], ort_outputs(content, feeds)["out0"]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("form", [f for f in FORMS if f.feeds], ids=str)
def test_an_operator_that_follows_time_gives_the_same_in_parts(form: Form, axis: int) -> None:
    """Where ``stream`` names a time axis, two parts of the input give two parts of the output."""
    content, feeds = model(form, form.opsets[-1], axis)
    try:
        graph = fold(load_graph(content))
    except UnsupportedModelError as reason:
        assert "cannot be decided" in str(reason) or "is not fixed" in str(reason)
        return
    whole = feeds["in0"]
    if axis >= whole.ndim or isinstance(graph.inputs[0].type.shape[axis], int):
        return
    types = infer_types(graph)
    axes: dict[str, int | None] = {name: None for name in types}
    axes["in0"] = axis
    try:
        for node in graph.nodes:
            found = get(node.op).stream(
                node.attrs,
                [None if n is None else types[n] for n in node.inputs],
                [None if n is None else graph.constants.get(n) for n in node.inputs],
                [None if n is None else axes[n] for n in node.inputs],
            )
            axes.update({n: a for n, a in zip(node.outputs, found, strict=False) if n})
    except NotAlongTime as reason:
        assert str(reason)
        return
    complete = evaluate(graph, feeds)
    for cut in range(whole.shape[axis] + 1):
        parts = [evaluate(graph, {**feeds, "in0": part}) for part in np.split(whole, [cut], axis)]
        for name, value in complete.items():
            along = axes[name]
            if along is None:
                for part in parts:
                    np.testing.assert_array_equal(part[name], value)
            else:
                joined = np.concatenate([part[name] for part in parts], along)
                # NumPy's own sums depend on the size of the array they are part of.
                np.testing.assert_allclose(joined, value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("op", sorted({form.op for form in FORMS}))
def test_every_version_of_an_operator_is_compared(op: str) -> None:
    """Each opset from 7 on in which an operator changed is that of some form."""
    tried = {opset for form in FORMS if form.op == op for opset in opsets_of(form)}
    since = [onnx_schema(op, opset) for opset in tried]
    assert not [v for v in versions(op) if onnx_schema(op, v) not in since]


def onnx_schema(op: str, opset: int) -> int:
    from onnx import defs

    return int(defs.get_schema(op, opset, "").since_version)
