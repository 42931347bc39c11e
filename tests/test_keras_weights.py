"""Arrays of Keras layers with an architecture, against Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from rnnengine.importers.architecture import build_graph
from rnnengine.importers.kernels import keras_checkpoint

keras = pytest.importorskip("keras")
Array = np.ndarray[Any, Any]


def arrays(model: Any) -> dict[str, list[tuple[str, Array]]]:
    return {
        layer.name: [(f"{layer.name}/{w.path}:0", w.value.detach().numpy()) for w in layer.weights]
        for layer in model.layers
    }


def randomised(model: Any) -> Any:
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(-1, 1, w.shape).astype("f4") for w in model.weights])
    return model


CASES: dict[str, tuple[Any, Any]] = {
    "lstm": (lambda k: k.LSTM(4, return_sequences=True), lambda: rn.LSTM(units=4)),
    "gru": (lambda k: k.GRU(4, return_sequences=True), lambda: rn.GRU(units=4)),
    "gru before": (
        lambda k: k.GRU(4, reset_after=False, recurrent_activation="hard_sigmoid"),
        lambda: rn.GRU(units=4, reset_after=False, return_sequences=False,
                       recurrent_activation="hard_sigmoid_keras3"),
    ),
    "rnn": (
        lambda k: k.SimpleRNN(4, activation="relu", use_bias=False),
        lambda: rn.RNN(units=4, activation="relu", bias=False, return_sequences=False),
    ),
    "both": (
        lambda k: k.Bidirectional(k.GRU(4, return_sequences=True), merge_mode="ave"),
        lambda: rn.GRU(units=4, bidirectional=True, merge_mode="ave"),
    ),
    "both last": (
        lambda k: k.Bidirectional(k.LSTM(4)),
        lambda: rn.LSTM(units=4, bidirectional=True, return_sequences=False),
    ),
    "backwards": (
        lambda k: k.LSTM(4, go_backwards=True, return_sequences=True),
        lambda: rn.LSTM(units=4, go_backwards=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_layers_compute_what_keras_computes(name: str) -> None:
    theirs, ours = CASES[name]
    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((5, 3)), theirs(layers), layers.Dense(2, activation="softmax")]
    )
    randomised(model)
    graph = build_graph(
        keras_checkpoint(arrays(model), "w.h5"), rn.Sequential(ours(), rn.Dense(2, "softmax"))
    )
    x = np.random.default_rng(1).standard_normal((2, 5, 3)).astype(np.float32)
    expected = model(x).detach().numpy()
    np.testing.assert_allclose(rn.Model(graph).run(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ({"kernel": (3, 12), "recurrent_kernel": (4, 13)}, "recurrent_kernel has shape [4, 13]"),
        ({"kernel": (3, 11), "recurrent_kernel": (4, 12)}, "kernel has shape [3, 11]"),
        ({"kernel": (3, 12), "recurrent_kernel": (4, 12), "bias": (24,)}, "CuDNNGRU"),
        ({"kernel": (3, 16), "recurrent_kernel": (4, 16), "bias": (2, 16)}, "bias has shape"),
        ({"recurrent_kernel": (4, 16)}, "its arrays are"),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(
    listed: dict[str, tuple[int, ...]], message: str
) -> None:
    given = {"rnn": [(f"rnn/{k}:0", np.zeros(s, np.float32)) for k, s in listed.items()]}
    with pytest.raises(rn.RNNEngineError) as caught:
        keras_checkpoint(given, "w.h5")
    assert message in str(caught.value)
    assert "w.h5: layer 'rnn'" in str(caught.value)
