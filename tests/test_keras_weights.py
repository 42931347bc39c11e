"""Arrays of Keras layers with an architecture, against Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from rnnengine.importers.architecture import build_graph
from rnnengine.importers.kernels import keras_checkpoint
from rnnengine.ops import evaluate

keras = pytest.importorskip("keras")
Array = np.ndarray[Any, Any]


def arrays(model: Any) -> dict[str, list[tuple[str, Array]]]:
    return {
        layer.name: [(f"{layer.name}/{w.path}:0", w.value.detach().numpy()) for w in layer.weights]
        for layer in model.layers
        if layer.weights
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


EMBEDDED: dict[str, tuple[Any, Any]] = {
    "sequence": (
        lambda k: [k.LSTM(4, return_sequences=True), k.Dense(2)],
        lambda: [rn.LSTM(units=4), rn.Linear(4, 2)],
    ),
    "last": (lambda k: [k.GRU(4), k.Dense(2)], lambda: [rn.GRU(units=4, return_sequences=False),
                                                        rn.Linear(4, 2)]),
    "both": (
        lambda k: [k.Bidirectional(k.LSTM(4, return_sequences=True))],
        lambda: [rn.LSTM(units=4, bidirectional=True)],
    ),
    "both last": (
        lambda k: [k.Bidirectional(k.GRU(4), merge_mode="sum")],
        lambda: [rn.GRU(units=4, bidirectional=True, merge_mode="sum", return_sequences=False)],
    ),
    "backwards": (
        lambda k: [k.SimpleRNN(4, go_backwards=True, return_sequences=True)],
        lambda: [rn.RNN(units=4, go_backwards=True)],
    ),
    "stack": (
        lambda k: [k.LSTM(4, return_sequences=True),
                   k.LayerNormalization(center=False, scale=False), k.ReLU(),
                   k.GRU(3, return_sequences=True), k.LSTM(2)],
        lambda: [rn.LSTM(units=4), rn.LayerNorm(4, 1e-3, False), rn.ReLU(), rn.GRU(units=3),
                 rn.LSTM(units=2, return_sequences=False)],
    ),
    "both twice": (
        lambda k: [k.Bidirectional(k.GRU(3, return_sequences=True)),
                   k.Bidirectional(k.GRU(3))],
        lambda: [rn.GRU(units=3, bidirectional=True),
                 rn.GRU(units=3, bidirectional=True, return_sequences=False)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EMBEDDED)
def test_masks_of_an_embedding(name: str) -> None:
    """Ids of 0 at the end, at the start, between others, and a row of nothing else."""
    theirs, ours = EMBEDDED[name]
    layers = [keras.layers.Embedding(9, 5, mask_zero=True), *theirs(keras.layers)]
    net = randomised(keras.Sequential([keras.Input((7,), dtype="int32"), *layers]))
    words = rn.Sequential(rn.Embedding(9, 5, mask_zero=True), *ours())
    graph = build_graph(keras_checkpoint(arrays(net), "net"), words)
    ids = np.array(
        [[3, 1, 4, 1, 5, 8, 2], [6, 5, 3, 5, 0, 0, 0], [0, 0, 8, 7, 0, 2, 3], [0] * 7], np.int32
    )
    expected = np.asarray(net(ids).detach())
    unmasked = rn.Sequential(rn.Embedding(9, 5), *ours())
    plain = rn.Model(build_graph(keras_checkpoint(arrays(net), "net"), unmasked)).run(ids)
    assert not np.allclose(np.asarray(plain), expected, atol=1e-3), "the mask does nothing"
    for found in (evaluate(graph, {"input": ids})["output"], rn.Model(graph).run(ids)):
        np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=1e-5)


HANDED: dict[str, tuple[Any, Any]] = {
    "Softmax": (lambda k: [], lambda: [rn.Softmax()]),
    "MaxPool1d": (lambda k: [], lambda: [rn.MaxPool1d(2, 1, channels_last=True)]),
    "LogSoftmax": (
        lambda k: [k.LSTM(4, return_sequences=True)], lambda: [rn.LSTM(units=4), rn.LogSoftmax()],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HANDED)
def test_masks_that_a_layer_does_not_hand_on(name: str) -> None:
    theirs, ours = HANDED[name]
    layers = [keras.layers.Embedding(9, 5), *theirs(keras.layers)]
    net = keras.Sequential([keras.Input((7,), dtype="int32"), *layers])
    checkpoint = keras_checkpoint(arrays(net), "net")
    words = rn.Sequential(rn.Embedding(9, 5, mask_zero=True), *ours())
    with pytest.raises(rn.UnsupportedModelError, match=rf"^{name}.*some steps of its input do not"):
        build_graph(checkpoint, words)
    build_graph(checkpoint, rn.Sequential(rn.Embedding(9, 5), *ours()))


def test_a_mask_and_initial_states_or_another_value() -> None:
    net = keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            keras.layers.Embedding(9, 5),
            keras.layers.GRU(5, return_sequences=True),
        ]
    )
    checkpoint = keras_checkpoint(arrays(net), "net")
    ids, h = rn.Input(("batch", 7), "int32", name="ids"), rn.Input((1, "batch", 5), name="h")
    rows = rn.Embedding(9, 5, mask_zero=True)(ids)
    for value in (
        rn.GRU(units=5)(rows, h),
        rn.Add()(rn.GRU(units=5)(rows), rows),
    ):
        with pytest.raises(rn.UnsupportedModelError, match="some steps of its input do not count"):
            build_graph(checkpoint, value)


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
