"""Keras models as tf2onnx writes them: ``python tests/golden/make_tf2onnx.py``.

Wants tf2onnx, Keras 3 and TensorFlow (tf2onnx 1.17 runs with TensorFlow up to 2.19). The expected
values are those of Keras in float64 on the same weights, the witness is Keras in float32. Files
whose name ends in ``_one`` were exported for a batch of 1 and are expected to run at others. The
order of the nodes and the numbers in their names differ from run to run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from common import Array, Folder, drawn
from keras import layers

OPSET = 17
STEPS, WIDTH, ROWS = 7, 3, 32


@dataclass(frozen=True)
class Net:
    """A network, the shape of its sequence, and whether the file is for one row."""

    make: Callable[[], keras.Model]
    what: str
    one: bool = False
    tokens: int = 0


def _chain(*parts: keras.layers.Layer, tokens: bool = False) -> keras.Model:
    shape, kind = ((STEPS,), "int32") if tokens else ((STEPS, WIDTH), "float32")
    return keras.Sequential([keras.Input(shape, dtype=kind if tokens else None), *parts])


def _encoder_decoder() -> keras.Model:
    """The final state of one LSTM starts the next."""
    x = keras.Input((STEPS, WIDTH))
    _, h, c = layers.LSTM(5, return_state=True)(x)
    y = layers.LSTM(5, return_sequences=True)(x, initial_state=[h, c])
    return keras.Model(x, layers.Dense(2)(y))


def _residual() -> keras.Model:
    """A forecaster: a norm before each layer, its input added to its output."""
    x = keras.Input((STEPS, WIDTH))
    y = layers.Dense(6)(x)
    for _ in range(2):
        y = layers.Add()([y, layers.LSTM(6, return_sequences=True)(layers.LayerNormalization()(y))])
    return keras.Model(x, layers.Dense(1)(y))


NETS = {
    "lstm_classifier": Net(
        lambda: _chain(layers.LSTM(5), layers.Dense(4, activation="softmax")),
        "last step of an LSTM",
    ),
    "lstm_stack_one": Net(
        lambda: _chain(layers.LSTM(5, return_sequences=True), layers.LSTM(4), layers.Dense(2)),
        "two LSTMs",
        one=True,
    ),
    "gru": Net(
        lambda: _chain(layers.GRU(5, return_sequences=True), layers.GRU(4), layers.Dense(2)),
        "two GRUs, reset after the product: a Loop each",
    ),
    "gru_before_one": Net(
        lambda: _chain(layers.GRU(5, reset_after=False, return_sequences=True), layers.Dense(2)),
        "GRU, reset before the product",
        one=True,
    ),
    "simple_rnn": Net(
        lambda: _chain(layers.SimpleRNN(5, return_sequences=True), layers.SimpleRNN(4)),
        "two simple layers",
    ),
    "bidirectional_one": Net(
        lambda: _chain(layers.Bidirectional(layers.LSTM(4, return_sequences=True))),
        "both directions",
        one=True,
    ),
    "conv_bilstm": Net(
        lambda: _chain(
            layers.Conv1D(6, 3, padding="same", activation="relu"),
            layers.MaxPooling1D(2),
            layers.Bidirectional(layers.LSTM(4)),
            layers.Dense(3, activation="sigmoid"),
        ),
        "convolution, pool, both directions, classifier",
    ),
    "encoder_decoder": Net(_encoder_decoder, "the state of one LSTM starts another"),
    "residual": Net(_residual, "layer norms and sums around LSTMs"),
    "embedding": Net(
        lambda: _chain(layers.Embedding(11, 4), layers.GRU(5), layers.Dense(2), tokens=True),
        "tokens",
        tokens=11,
    ),
    "backwards_one": Net(
        lambda: _chain(layers.LSTM(4, go_backwards=True, return_sequences=True), layers.Dense(2)),
        "an LSTM from the last step to the first",
        one=True,
    ),
}


def built(net: Net, floatx: str) -> keras.Model:
    """The network with every weight drawn anew, in one precision."""
    keras.backend.clear_session()
    keras.config.set_floatx(floatx)
    made = net.make()
    made.set_weights(
        [drawn(7000 + i, *variable.shape, scale=0.5) for i, variable in enumerate(made.weights)]
    )
    return made


def exported(made: keras.Model, net: Net) -> bytes:
    """The ONNX file, without what differs from run to run."""
    shape = (1 if net.one else None, STEPS, *(() if net.tokens else (WIDTH,)))
    kind = tf.int32 if net.tokens else tf.float32
    function = tf.function(lambda x: made(x, training=False))
    signature = [tf.TensorSpec(shape, kind, name="x")]
    model, _ = tf2onnx.convert.from_function(function, signature, opset=OPSET)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def main() -> None:
    """Write the folder."""
    versions = {p.__name__: p.__version__ for p in (keras, tf2onnx, onnx, np)}
    folder = Folder("tf2onnx", {**versions, "tensorflow": tf.__version__})
    for name, net in NETS.items():
        x: Array = drawn(11, ROWS, STEPS, WIDTH)
        if net.tokens:
            x = np.random.default_rng(12).integers(0, net.tokens, (ROWS, STEPS)).astype(np.int32)
        double = np.asarray(built(net, "float64")(x.astype(np.int32 if net.tokens else np.float64)))
        made = built(net, "float32")
        load = {"batch": "dynamic"} if net.one else None
        folder.add(f"{name}.onnx", exported(made, net), net.what, [x], [double],
                   [np.asarray(made(x, training=False))], load=load)  # fmt: skip
    folder.close()


if __name__ == "__main__":
    main()
