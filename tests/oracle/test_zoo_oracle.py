"""The oracle on published models and test vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnengine.importers import load_graph
from rnnengine.ops import evaluate
from rnnengine.passes.fold import fold
from zoo_cases import BURN, NODE_TESTS

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

Array = np.ndarray[Any, Any]


def vector(path: Path) -> Array:
    return onnx.numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


@pytest.mark.zoo
@pytest.mark.parametrize("name", NODE_TESTS)
def test_official_node_tests(name: str, zoo: Path) -> None:
    folder = zoo / "conformance" / "onnx-node-tests" / "opset22" / f"test_{name}"
    graph = load_graph(folder / "model.onnx")
    data = folder / "test_data_set_0"
    feeds = {v.name: vector(data / f"input_{i}.pb") for i, v in enumerate(graph.inputs)}
    for made in (evaluate(graph, feeds), evaluate(fold(graph), feeds)):
        for i, output in enumerate(graph.outputs):
            np.testing.assert_allclose(made[output], vector(data / f"output_{i}.pb"), atol=1e-6)


def random_feeds(model: Path, rng: np.random.Generator) -> dict[str, Array]:
    inputs = load_graph(model).inputs
    return {v.name: rng.standard_normal(v.type.shape).astype(np.float32) for v in inputs}


@pytest.mark.zoo
@pytest.mark.parametrize("name", BURN)
def test_models_of_burn(name: str, zoo: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from oracle.deviations import ort_outputs

    path = zoo / "conformance" / "burn-onnx" / f"{name}.onnx"
    feeds = random_feeds(path, rng)
    folded = fold(load_graph(path))
    assert {n.op for n in folded.nodes} <= {"LSTM", "GRU", "RNN", "Squeeze", "Transpose", "Reshape"}
    expected = ort_outputs(path.read_bytes(), feeds)
    for output, value in evaluate(folded, feeds).items():
        np.testing.assert_allclose(value, expected[output], atol=2e-6)


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("path", "states"),
    [
        ("dtln/model_1.onnx", {"input_3": "tf_op_layer_stack_2"}),
        ("dtln-pytorch/model_p1.onnx", {"h1_in": 0, "c1_in": 1, "h2_in": 2, "c2_in": 3}),
    ],
)
def test_speech_enhancers_with_state_carried(
    path: str, states: dict[str, Any], zoo: Path, rng: np.random.Generator
) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from oracle.deviations import ort_session

    session = ort_session((zoo / path).read_bytes())
    graph = fold(load_graph(zoo / path))
    ours = {v.name: np.zeros(v.type.shape, np.float32) for v in graph.inputs}
    theirs = dict(ours)
    data = next(v for v in graph.inputs if v.name not in states)
    for _ in range(20):
        frame = np.abs(0.1 * rng.standard_normal(data.type.shape)).astype(np.float32)
        ours[data.name] = theirs[data.name] = frame
        mine = evaluate(graph, ours)
        outputs = session.run(None, theirs)
        named = dict(zip([o.name for o in session.get_outputs()], outputs, strict=True))
        for name, value in mine.items():
            bound = 1e-5 * max(1.0, float(np.abs(value).max()))
            np.testing.assert_allclose(value, named[name], rtol=0, atol=bound)
        for state, source in states.items():
            if isinstance(source, str):
                ours[state], theirs[state] = mine[source], named[source]
            else:
                ours[state] = mine["out_state1"][source : source + 1]
                theirs[state] = named["out_state1"][source : source + 1]
