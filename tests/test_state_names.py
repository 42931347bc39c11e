"""State that only names or shapes show: which pairs are found, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import rnnengine as rn
from rnnengine.errors import UnsupportedModelError
from rnnengine.importers import load_graph
from rnnengine.passes.fold import fold
from rnnengine.passes.pair_state import find_pairs


def model_of(inputs: dict[str, list[int]], outputs: dict[str, list[int]]) -> bytes:
    """Each output is the sum of all inputs of its shape, so that nothing but names tells."""
    nodes = []
    for name, shape in outputs.items():
        given = [i for i, s in inputs.items() if s == shape]
        nodes.append(helper.make_node("Sum", given, [name]))

    def info(shapes: dict[str, list[int]]) -> list:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]

    graph = helper.make_graph(nodes, "g", info(inputs), info(outputs))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def pairs(inputs: dict[str, list[int]], outputs: dict[str, list[int]]) -> dict[str, str]:
    states = find_pairs(fold(load_graph(model_of(inputs, outputs))))
    return {state.input: state.output for state in states}


@pytest.mark.parametrize(
    ("entry", "back"),
    [
        ("cache", "cache_out"), ("cache", "new_cache"), ("h", "h_next"), ("h", "next_h"),
        ("state", "stateN"), ("h", "hn"), ("h0", "hn"), ("h_0", "h_n"), ("c0", "c_n"),
        ("cache_in", "cache_out"), ("in_cache", "out_cache"), ("in_cache_3", "out_cache_3"),
        ("cache_in0", "cache_out0"), ("prev_h", "next_h"), ("h_prev", "h"), ("old_s", "new_s"),
        ("past_key", "present_key"), ("State_In", "state_out"), ("buffer2", "buffer2_updated"),
        ("cached_len_1", "new_cached_len_1"), ("h_input", "h_output"), ("cache", "cache.1"),
    ],
)  # fmt: skip
def test_affixes(entry: str, back: str) -> None:
    """Each form of the documented list."""
    found = pairs({"x": [1, 4], entry: [2, 3]}, {"y": [1, 4], back: [2, 3]})
    assert found == {entry: back}


def test_names_that_say_nothing_make_no_pair() -> None:
    assert pairs({"x": [1, 4], "s": [2, 3]}, {"y": [1, 4], "t": [2, 3]}) == {}
    assert pairs({"x": [1, 4], "s": [2, 3]}, {"y": [2, 3], "s_out": [1, 4]}) == {}


def test_the_first_input_is_data() -> None:
    """A frame whose name is that of its output is no state."""
    assert pairs({"x": [1, 4]}, {"x_out": [1, 4]}) == {}
    found = pairs({"x": [1, 4], "s": [2, 3]}, {"x_out": [1, 4], "s_out": [2, 3]})
    assert found == {"s": "s_out"}


def test_shapes_complete_the_pairs_of_names() -> None:
    found = pairs(
        {"x": [1, 4], "a": [2, 3], "onnx::7": [5]}, {"y": [1, 4], "91": [5], "a_out": [2, 3]}
    )
    assert found == {"a": "a_out", "onnx::7": "91"}
    # Two inputs of one shape: neither is unique.
    found = pairs(
        {"x": [1, 4], "a": [2, 3], "7": [5], "8": [5]}, {"y": [1, 4], "91": [5], "a_out": [2, 3]}
    )
    assert found == {"a": "a_out"}


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ({"x": [4], "h": [3]}, {"y": [4], "h_out": [3], "new_h": [3]},
         "input 'h' could be the state that outputs h_out, new_h return"),
        ({"x": [4], "h": [3], "h_in": [3]}, {"y": [4], "h_out": [3]},
         "output 'h_out' could be the state of inputs h, h_in"),
    ],
)  # fmt: skip
def test_what_is_ambiguous_is_refused_with_the_candidates(inputs, outputs, words: str) -> None:
    model = rn.load(model_of(inputs, outputs))
    with pytest.raises(UnsupportedModelError, match=words):
        model.stream()
    said = dict(zip(list(outputs)[1:2], list(inputs)[1:2], strict=True))
    assert set(model.stream(state=said).state) == {list(inputs)[1]}


def test_a_stream_of_a_convolution_with_a_cache() -> None:
    """A causal convolution whose past frames are an input and an output of the graph."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(2, 3, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Concat", ["cache", "x"], ["joined"], axis=2),
        helper.make_node("Conv", ["joined", "w"], ["y"]),
        helper.make_node("Slice", ["joined", "from", "to", "axis"], ["cache_out"]),
    ]
    tensors = {"w": w, "from": np.array([-3]), "to": np.array([2**62]), "axis": np.array([2])}
    shapes = {"x": [1, 3, 1], "cache": [1, 3, 3]}, {"y": [1, 2, 1], "cache_out": [1, 3, 3]}
    inputs, outputs = (
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in part.items()]
        for part in shapes
    )
    constants = [numpy_helper.from_array(v, k) for k, v in tensors.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    stream = rn.load(made.SerializeToString()).stream()
    x = rng.normal(size=(1, 3, 9)).astype(np.float32)
    got = np.concatenate([stream.step(x[:, :, t : t + 1]) for t in range(9)], 2)
    padded = np.pad(x.astype(float), ((0, 0), (0, 0), (3, 0)))
    wanted = np.stack(
        [np.einsum("ock,bck->bo", w.astype(float), padded[:, :, t : t + 4]) for t in range(9)], 2
    )
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)
