"""Keras models that tf2onnx wrote: recurrent nodes recovered and reported, onnxruntime's numbers.

That they compute what Keras does in float64, those of batch 1 at a batch of 32, is for
``test_golden.py`` to say.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import rnnengine as rn
from golden_files import FILES
from rnnengine.importers import load_graph
from rnnengine.passes.fold import fold
from rnnengine.passes.recover import recover

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

RECURRENT = ("LSTM", "GRU", "RNN")
TOLERANCE = 1e-5
# Recurrent nodes of the graph, and how many of them the file has as loops.
NODES = {
    "lstm_classifier": ({"LSTM": 1}, 0),
    "lstm_stack_one": ({"LSTM": 2}, 2),
    "gru": ({"GRU": 2}, 2),
    "gru_before_one": ({"GRU": 1}, 1),
    "simple_rnn": ({"RNN": 2}, 2),
    "bidirectional_one": ({"LSTM": 2}, 2),
    "conv_bilstm": ({"LSTM": 1}, 0),
    "encoder_decoder": ({"LSTM": 2}, 0),
    "residual": ({"LSTM": 2}, 0),
    "embedding": ({"GRU": 1}, 1),
    "backwards_one": ({"LSTM": 1}, 1),
}


def test_all_files_are_here() -> None:
    assert {f"tf2onnx/{name}.onnx" for name in NODES} == {n for n in FILES if "tf2onnx/" in n}


@pytest.mark.parametrize("name", NODES)
def test_file(name: str) -> None:
    nodes, loops = NODES[name]
    one = FILES[f"tf2onnx/{name}.onnx"]
    graph = recover(fold(load_graph(one.path)))
    assert Counter(node.op for node in graph.nodes if node.op in RECURRENT) == nodes
    assert not {"Sigmoid", "Tanh"} & {node.op for node in graph.nodes} or name == "conv_bilstm"

    model = rn.load(one.path)
    assert len([f for f in model.fused if f.op in RECURRENT]) == loops
    (x,) = one.arrays("x")
    x = x[:1] if name.endswith("_one") else x
    session = onnxruntime.InferenceSession(
        one.path.read_bytes(), providers=["CPUExecutionProvider"]
    )
    (wanted,) = session.run(None, {"x": x})
    np.testing.assert_allclose(model.run(x), wanted, rtol=0, atol=TOLERANCE)
