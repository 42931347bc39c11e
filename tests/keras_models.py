"""Networks of Keras 3 with random weights, for the tests of the importer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rnnengine.graph import Graph
from rnnengine.importers import load_graph
from rnnengine.importers.keras import import_weights

Array = np.ndarray[Any, Any]

MODELS: dict[str, Callable[[], Any]] = {}
MASKED: dict[str, Callable[[], Any]] = {}
"""Networks with masks or tables, whose inputs :func:`feed` makes with holes."""


def model(function: Callable[[], Any]) -> Callable[[], Any]:
    MODELS[function.__name__] = function
    return function


def masked(function: Callable[[], Any]) -> Callable[[], Any]:
    MASKED[function.__name__] = function
    return function


def built(function: Callable[[], Any], seed: int = 1) -> Any:
    """The network with every weight drawn anew: no bias is zero, no variance one."""
    import keras

    keras.backend.clear_session()
    net = function()
    rng = np.random.default_rng(seed)
    for variable in net.weights:
        value = rng.normal(0, 0.5, variable.shape)
        positive = "variance" in variable.path
        with contextlib.suppress(TypeError):
            variable.assign((np.abs(value) + 0.5 if positive else value).astype("float32"))
    return net


def saved(net: Any, container: str, folder: Path, replacements: Any = None) -> Graph:
    """The graph of a network that Keras has written, with its configuration or as weights alone."""
    path = folder / f"model.{container}"
    if container == "weights.h5":
        net.save_weights(path)
        content, text = path.read_bytes(), net.to_json()
        return import_weights(content, text, path.name, replacements=replacements)
    net.save(path)
    return load_graph(path, replacements=replacements)


def feed(net: Any, seed: int = 2, batch: int = 3, steps: int = 7) -> dict[str, Array]:
    """Inputs of a network: numbers of a table where it has one, with masked steps in them."""
    rng = np.random.default_rng(seed)
    values: dict[str, Array] = {}
    for tensor in net.inputs:
        shape = [s or (batch if i == 0 else steps) for i, s in enumerate(tensor.shape)]
        if "id" in tensor.name:
            ids = rng.integers(0, 5, shape)
            ids[0, :2], ids[1, -2:], ids[2] = 0, 0, 0
            values[tensor.name] = ids.astype("int32")
            continue
        x = rng.normal(size=shape).astype("float32")
        if "mask" in tensor.name:
            x[0, :2], x[1, shape[1] // 2], x[1, -1], x[2] = 0.5, 0.5, 0.5, 0.5
        values[tensor.name] = x
    return values


def chain(*layers: Any, shape: tuple[int | None, ...] = (None, 3)) -> Any:
    import keras

    return keras.Sequential([keras.Input(shape, name="x"), *layers])


@model
def simple_rnn() -> Any:
    from keras import layers as k

    return chain(k.SimpleRNN(4, return_sequences=True), k.SimpleRNN(3, activation="relu"))


@model
def lstm_options() -> Any:
    from keras import layers as k

    return chain(
        k.LSTM(4, return_sequences=True, go_backwards=True, recurrent_activation="hard_sigmoid"),
        k.LSTM(5, return_sequences=True, use_bias=False, activation="softsign"),
        k.LSTM(3, go_backwards=True, unroll=False, activation="elu"),
    )


@model
def gru_both_resets() -> Any:
    from keras import layers as k

    return chain(
        k.GRU(4, return_sequences=True, reset_after=True),
        k.GRU(4, return_sequences=True, reset_after=False, recurrent_activation="hard_sigmoid"),
        k.GRU(2, reset_after=True, use_bias=False, activation="silu"),
    )


def bidirectional(mode: str | None, sequences: bool) -> Callable[[], Any]:
    def make() -> Any:
        import keras
        from keras import layers as k

        x = keras.Input((None, 3), name="x")
        y = k.Bidirectional(k.LSTM(4, return_sequences=sequences), merge_mode=mode)(x)
        z = k.Bidirectional(k.GRU(4, return_sequences=sequences), merge_mode=mode)(x)
        outputs = [*y, *z] if mode is None else [y, z]
        return keras.Model(x, outputs)

    make.__name__ = f"bidirectional_{mode}_{'sequence' if sequences else 'last'}"
    return make


for _mode in ("concat", "sum", "mul", "ave", None):
    for _sequences in (True, False):
        model(bidirectional(_mode, _sequences))


@model
def backward_layer_apart() -> Any:
    import keras
    from keras import layers as k

    x = keras.Input((None, 3), name="x")
    other = k.GRU(5, return_sequences=True, go_backwards=True)
    both = k.Bidirectional(k.LSTM(4, return_sequences=True), backward_layer=other)
    same = k.Bidirectional(
        k.GRU(4, return_state=True, reset_after=False),
        backward_layer=k.GRU(4, return_state=True, go_backwards=True),
    )
    return keras.Model(x, [both(x), *same(x)])


@model
def forward_layer_backwards() -> Any:
    from keras import layers as k

    a = k.LSTM(3, return_sequences=True, go_backwards=True)
    b = k.LSTM(3, return_sequences=True)
    c, d = k.SimpleRNN(3, go_backwards=True), k.SimpleRNN(3)
    return chain(k.Bidirectional(a, backward_layer=b), k.Bidirectional(c, backward_layer=d))


@model
def states() -> Any:
    import keras
    from keras import layers as k

    x = keras.Input((None, 3), name="x")
    h, c = keras.Input((4,), name="h"), keras.Input((4,), name="c")
    y, h1, c1 = k.LSTM(4, return_sequences=True, return_state=True)(x, initial_state=[h, c])
    z, h2 = k.GRU(4, return_state=True)(y, initial_state=h1)
    both = k.Bidirectional(k.LSTM(4, return_state=True))(y, initial_state=[h, c, h1, c1])
    return keras.Model([x, h, c], [z, h2, *both])


@model
def cells() -> Any:
    import keras
    from keras import layers as k

    x = keras.Input((None, 3), name="x")
    stack = [k.LSTMCell(4), k.GRUCell(3), k.SimpleRNNCell(5)]
    y = k.RNN(stack, return_sequences=True, return_state=True)(x)
    z = k.RNN(k.GRUCell(4, reset_after=False), go_backwards=True)(x)
    both = k.Bidirectional(k.RNN([k.LSTMCell(2), k.LSTMCell(3)], return_sequences=True))(x)
    return keras.Model(x, [*k_flat(y), z, both])


def k_flat(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in k_flat(part)]
    return [value]


@model
def dense_and_norms() -> Any:
    from keras import layers as k

    return chain(
        k.LSTM(4, return_sequences=True),
        k.BatchNormalization(),
        k.TimeDistributed(k.Dense(6, activation="tanh")),
        k.Dropout(0.5),
        k.LayerNormalization(),
        k.SpatialDropout1D(0.2),
        k.BatchNormalization(scale=False, epsilon=0.01),
        k.Dense(5, use_bias=False, activation="softmax"),
    )


@model
def activations() -> Any:
    from keras import layers as k

    names = (
        "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "softplus", "softsign", "silu",
        "hard_silu", "gelu", "mish", "exponential", "hard_tanh", "tanh_shrink", "sparse_sigmoid",
        "log_sigmoid", "hard_sigmoid", "log_softmax", "linear",
    )  # fmt: skip
    return chain(
        k.GRU(4, return_sequences=True),
        *[k.Dense(4, activation=name) for name in names],
        k.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.2),
        k.LeakyReLU(0.2), k.ELU(0.7), k.PReLU(shared_axes=[1]), k.Softmax(), k.Activation("tanh"),
        k.GaussianNoise(0.1), k.Rescaling(2.0, 0.5),
    )  # fmt: skip


@model
def shapes() -> Any:
    from keras import layers as k

    return chain(
        k.Permute((2, 1)),
        k.Permute((2, 1)),
        k.SimpleRNN(4, return_sequences=True),
        k.Cropping1D((1, 2)),
        k.Flatten(),
        k.Reshape((2, -1)),
        k.LSTM(3),
        k.RepeatVector(4),
        k.GRU(2, return_sequences=True),
        k.TimeDistributed(k.Reshape((1, 2))),
        k.TimeDistributed(k.Flatten()),
        shape=(7, 3),
    )


@model
def stateful() -> Any:
    import keras
    from keras import layers as k

    x = keras.Input(batch_shape=(3, None, 2), name="x")
    y = k.LSTM(4, stateful=True, return_sequences=True)(x)
    return keras.Model(x, k.Bidirectional(k.GRU(3, stateful=True))(y))


@model
def frozen() -> Any:
    import keras
    from keras import layers as k

    inner = [k.Dense(3, trainable=False), k.BatchNormalization(), k.GRU(3, return_sequences=True)]
    tail = keras.Sequential([k.Dense(2), k.BatchNormalization()], name="tail")
    tail.trainable = False
    return chain(keras.Sequential(inner, name="inner"), tail)


@model
def merges() -> Any:
    import keras
    from keras import layers as k

    a, b = keras.Input((None, 3), name="a"), keras.Input((None, 3), name="b")
    x, y = k.LSTM(3, return_sequences=True)(a), k.GRU(3, return_sequences=True)(b)
    parts = [
        k.Add()([x, y, a]), k.Average()([x, y]), k.Multiply()([x, y]), k.Subtract()([x, y]),
        k.Maximum()([x, y]), k.Minimum()([x, y]),
    ]  # fmt: skip
    return keras.Model([a, b], k.Concatenate()(parts))


@model
def shared_and_nested() -> Any:
    import keras
    from keras import layers as k

    inner_x = keras.Input((None, 3), name="inner")
    inner_y = k.Dense(3)(k.LSTM(4, return_sequences=True)(inner_x))
    inner = keras.Model(inner_x, k.BatchNormalization()(inner_y), name="encoder")
    tail = keras.Sequential([k.GRU(3, return_sequences=True), k.Dense(2)], name="tail")
    a, b = keras.Input((None, 3), name="a"), keras.Input((None, 3), name="b")
    shared = k.LSTM(3, return_sequences=True, name="shared")
    return keras.Model([a, b], [tail(k.Add()([shared(inner(a)), shared(b)])), inner(b)])


@model
def time_distributed_recurrent() -> Any:
    from keras import layers as k

    return chain(
        k.TimeDistributed(k.LSTM(4)),
        k.TimeDistributed(k.Dense(3)),
        k.GRU(2),
        shape=(None, 5, 3),
    )


@masked
def masking() -> Any:
    import keras
    from keras import layers as k

    x = keras.Input((None, 3), name="mask_x")
    y = k.Masking(0.5)(x)
    carried = k.LSTM(4, return_sequences=True)(y)
    zeroed = k.GRU(4, return_sequences=True, zero_output_for_mask=True)(y)
    last_zero = k.SimpleRNN(4, zero_output_for_mask=True)(y)
    back = k.LSTM(3, go_backwards=True, return_sequences=True)(y)
    outputs = [carried, zeroed, last_zero, back, k.LSTM(3)(carried), k.GRU(3)(k.Dense(2)(zeroed))]
    return keras.Model(x, [*outputs, k.Dense(2)(y)])


@masked
def masked_bidirectional() -> Any:
    import keras
    from keras import layers as k

    x = keras.Input((None, 3), name="mask_x")
    y = k.Masking(0.5)(x)
    a = k.Bidirectional(k.LSTM(4, return_sequences=True))(y)
    b = k.Bidirectional(k.GRU(4))(a)
    c = k.RNN([k.LSTMCell(3), k.GRUCell(2)], return_sequences=True)(k.Concatenate()([a, y]))
    return keras.Model(x, [a, b, c, k.LSTM(2)(k.Add()([y, c_pad(y)]))])


def c_pad(y: Any) -> Any:
    from keras import layers as k

    return k.TimeDistributed(k.Dense(3))(y)


@masked
def masked_states() -> Any:
    import keras
    from keras import layers as k

    x, h = keras.Input((None, 3), name="mask_x"), keras.Input((4,), name="h")
    y = k.Masking(0.5)(x)
    out = k.GRU(4, return_state=True)(y, initial_state=h)
    seq = k.GRU(4, return_sequences=True)(y, initial_state=h)
    said = k.GRU(4, return_sequences=True)(y, initial_state=h, mask=y._keras_mask)
    last = k.SimpleRNN(4)(y, initial_state=h, mask=y._keras_mask)
    return keras.Model([x, h], [*out, seq, said, last])


@masked
def embedding() -> Any:
    import keras
    from keras import layers as k

    ids = keras.Input((None,), name="ids", dtype="int32")
    other = keras.Input((None,), name="more_ids")
    table = k.Embedding(6, 4, mask_zero=True)
    y = k.Bidirectional(k.LSTM(3, return_sequences=True))(table(ids))
    z = k.GRU(3)(k.Embedding(5, 2)(other))
    return keras.Model([ids, other], [k.LSTM(2)(y), z, k.Dense(2)(y)])
