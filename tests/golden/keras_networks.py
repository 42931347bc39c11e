"""Networks of Keras for the golden files, written so that Keras 3 and tf.keras 2 both take them.

Each function gets the package as its argument and returns a model. :class:`Net` adds what goes in
and which containers the network is saved in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import Array, drawn

__all__ = ["NETS", "Net"]

BOTH = ("keras", "tf_keras")
MASK = 0.5


@dataclass(frozen=True)
class Net:
    """A network of the table.

    Attributes
    ----------
    make : callable
        From the package to a model.
    what : str
    inputs : tuple of array
    keras, tf_keras : tuple of str
        Containers: ``'keras'`` and ``'h5'`` hold the whole model, ``'weights.h5'`` and, for
        tf.keras, ``'weights_only.h5'`` the weights alone.
    architecture : str
        What the weights alone are loaded with.
    calls : tuple of int
        Steps of each call of a model that carries state.
    scale : float
        Standard deviation of the weights; small where an activation grows without bound.
    """

    make: Callable[[Any], Any]
    what: str
    inputs: tuple[Array, ...]
    keras: tuple[str, ...]
    tf_keras: tuple[str, ...]
    architecture: str = ""
    calls: tuple[int, ...] = ()
    scale: float = 0.5


NETS: dict[str, Net] = {}
X = drawn(31, 2, 6, 3)


def holes() -> Array:
    """Masked steps at the start, inside, at the end, and everywhere in the last row."""
    x = drawn(32, 4, 6, 3)
    x[0, :2], x[1, 2], x[1, 4:], x[3] = MASK, MASK, MASK, MASK
    return x


IDS = np.array([[0, 0, 3, 5], [2, 0, 1, 0], [4, 1, 5, 2], [0, 0, 0, 0]], np.int32)


def net(
    what: str,
    *inputs: Array,
    keras: Sequence[str] = ("keras",),
    tf_keras: Sequence[str] = ("h5",),
    architecture: str = "",
    calls: tuple[int, ...] = (),
    name: str = "",
    scale: float = 0.5,
) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Enter a function into the table."""

    def enter(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
        given = inputs or (X,)
        NETS[name or make.__name__] = Net(
            make, what, given, tuple(keras), tuple(tf_keras), architecture, calls, scale
        )
        return make

    return enter


def chain(k: Any, *layers: Any, shape: tuple[int | None, ...] = (None, 3)) -> Any:
    """Layers one after the other."""
    return k.Sequential([k.Input(shape, name="x"), *layers])


def sequence(k: Any, name: str = "x") -> Any:
    """An input of sequences with three features."""
    return k.Input((None, 3), name=name)


# ------------------------------------------------------------------ layers

EVERY = ("keras", "h5", "weights.h5")
EVERY_TF = ("keras", "h5", "weights.h5", "weights_only.h5")


@net(
    "SimpleRNN, sequences and last step", keras=EVERY, tf_keras=EVERY_TF,
    architecture="rn.Sequential(rn.RNN(units=4), "
    "rn.RNN(units=3, activation='relu', return_sequences=False))",
)  # fmt: skip
def simple_rnn(k: Any) -> Any:
    la = k.layers
    return chain(k, la.SimpleRNN(4, return_sequences=True), la.SimpleRNN(3, activation="relu"))


@net(
    "LSTM, sequences and last step", keras=EVERY, tf_keras=EVERY_TF,
    architecture="rn.Sequential(rn.LSTM(units=4), rn.LSTM(units=3, return_sequences=False))",
)  # fmt: skip
def lstm(k: Any) -> Any:
    la = k.layers
    return chain(k, la.LSTM(4, return_sequences=True), la.LSTM(3))


@net(
    "GRU, reset after the product", keras=EVERY, tf_keras=EVERY_TF,
    architecture="rn.Sequential(rn.GRU(units=4), rn.GRU(units=3, return_sequences=False))",
)  # fmt: skip
def gru_reset_after(k: Any) -> Any:
    la = k.layers
    return chain(k, la.GRU(4, return_sequences=True), la.GRU(3))


@net(
    "GRU, reset before the product", keras=EVERY, tf_keras=EVERY_TF,
    architecture="rn.Sequential(rn.GRU(units=4, reset_after=False), "
    "rn.GRU(units=3, reset_after=False, return_sequences=False))",
)  # fmt: skip
def gru_reset_before(k: Any) -> Any:
    gru = k.layers.GRU
    return chain(k, gru(4, return_sequences=True, reset_after=False), gru(3, reset_after=False))


@net("no bias anywhere", keras=("keras", "h5"), tf_keras=("h5",))
def no_bias(k: Any) -> Any:
    la, both = k.layers, {"return_sequences": True, "use_bias": False}
    return chain(
        k, la.SimpleRNN(4, **both), la.LSTM(4, **both), la.GRU(4, **both),
        la.GRU(4, reset_after=False, **both), la.Dense(2, use_bias=False),
    )  # fmt: skip


@net("hard_sigmoid wherever it can stand", keras=("keras", "h5"), tf_keras=("keras", "h5"))
def hard_sigmoid(k: Any) -> Any:
    la, hard = k.layers, "hard_sigmoid"
    return chain(
        k, la.LSTM(4, return_sequences=True, recurrent_activation=hard),
        la.GRU(4, return_sequences=True, recurrent_activation=hard),
        la.GRU(4, return_sequences=True, recurrent_activation=hard, reset_after=False),
        la.SimpleRNN(4, return_sequences=True, activation=hard),
        la.LSTM(4, activation=hard, return_sequences=True), la.Dense(3, activation=hard),
    )  # fmt: skip


@net("go_backwards: outputs in the order they were computed", keras=("keras", "h5"),
     tf_keras=("keras", "h5"))  # fmt: skip
def go_backwards(k: Any) -> Any:
    la, x = k.layers, sequence(k)
    back = {"go_backwards": True}
    y = la.LSTM(4, return_sequences=True, **back)(x)
    z = la.GRU(3, return_sequences=True, **back)(y)
    return k.Model(x, [y, z, la.SimpleRNN(3, **back)(z), la.LSTM(2, **back)(x), la.GRU(2)(y)])


@net("go_backwards, weights alone", keras=("weights.h5",), tf_keras=("weights_only.h5",),
     architecture="rn.Sequential(rn.LSTM(units=4, go_backwards=True), rn.Dense(2))")  # fmt: skip
def go_backwards_alone(k: Any) -> Any:
    la = k.layers
    return chain(k, la.LSTM(4, return_sequences=True, go_backwards=True), la.Dense(2))


@net("return_state of each layer", tf_keras=("keras", "h5"))
def return_state(k: Any) -> Any:
    la, x = k.layers, sequence(k)
    y, h, c = la.LSTM(4, return_sequences=True, return_state=True)(x)
    z, g = la.GRU(3, return_state=True)(y)
    _, r = la.SimpleRNN(2, return_state=True, return_sequences=True)(y)
    both = la.Bidirectional(la.LSTM(2, return_state=True))(y)
    return k.Model(x, [h, c, z, g, r, *both])


@net("initial states as inputs", X, drawn(33, 2, 4), drawn(34, 2, 4), keras=("keras", "h5"),
     tf_keras=("keras", "h5"))  # fmt: skip
def initial_state(k: Any) -> Any:
    la, x = k.layers, sequence(k)
    h, c = k.Input((4,), name="h"), k.Input((4,), name="c")
    y = la.LSTM(4, return_sequences=True)(x, initial_state=[h, c])
    z, g = la.GRU(4, return_state=True)(y, initial_state=h)
    return k.Model([x, h, c], [y, z, g, la.SimpleRNN(4)(y, initial_state=g)])


@net("stateful, over three calls", drawn(35, 2, 9, 3), calls=(2, 3, 4), keras=("keras", "h5"))
def stateful(k: Any) -> Any:
    la, x = k.layers, k.Input(batch_shape=(2, None, 3), name="x")
    y = la.LSTM(4, stateful=True, return_sequences=True)(x)
    y = la.GRU(4, stateful=True, return_sequences=True)(y)
    return k.Model(x, la.SimpleRNN(3, stateful=True, return_sequences=True)(y))


@net("unroll", tf_keras=("keras", "h5"))
def unroll(k: Any) -> Any:
    la = k.layers
    return chain(
        k, la.LSTM(4, unroll=True, return_sequences=True),
        la.GRU(3, unroll=True, return_sequences=True), la.SimpleRNN(2, unroll=True), shape=(6, 3),
    )  # fmt: skip


@net("120 steps", drawn(36, 1, 120, 3))
def long(k: Any) -> Any:
    la = k.layers
    return chain(k, la.LSTM(4, return_sequences=True), la.GRU(4))


# ------------------------------------------------------------------ Bidirectional


def _bidirectional(mode: str | None) -> Callable[[Any], Any]:
    def make(k: Any) -> Any:
        la, x = k.layers, sequence(k)
        y = la.Bidirectional(la.LSTM(4, return_sequences=True), merge_mode=mode)(x)
        z = la.Bidirectional(la.GRU(3), merge_mode=mode)(x)
        flat = [*y, *z] if mode is None else [y, z]
        return k.Model(x, flat)

    return make


for _mode in ("concat", "sum", "mul", "ave", None):
    net(f"Bidirectional, merge_mode {_mode}, sequences and last steps", keras=("keras", "h5"),
        tf_keras=("keras", "h5") if _mode == "ave" else ("h5",),
        name=f"bidirectional_{_mode}".lower())(_bidirectional(_mode))  # fmt: skip


@net("Bidirectional, weights alone", keras=("weights.h5",),
     tf_keras=("weights.h5", "weights_only.h5"),
     architecture="rn.Sequential(rn.GRU(units=3, bidirectional=True, merge_mode='mul'), "
     "rn.LSTM(units=2, bidirectional=True, return_sequences=False))")  # fmt: skip
def bidirectional_alone(k: Any) -> Any:
    la = k.layers
    first = la.Bidirectional(la.GRU(3, return_sequences=True), merge_mode="mul")
    return chain(k, first, la.Bidirectional(la.LSTM(2)))


@net("Bidirectional with a backward layer of its own", tf_keras=("keras", "h5"))
def backward_layer(k: Any) -> Any:
    la, x = k.layers, sequence(k)
    back = {"go_backwards": True, "return_sequences": True}
    first = la.Bidirectional(la.LSTM(3, return_sequences=True), backward_layer=la.GRU(4, **back))
    second = la.Bidirectional(
        la.GRU(3, return_sequences=True), merge_mode="sum",
        backward_layer=la.GRU(3, activation="relu", **back),
    )  # fmt: skip
    return k.Model(x, [first(x), second(x)])


@net("Bidirectional around a layer that runs backwards", tf_keras=("h5",))
def bidirectional_backwards(k: Any) -> Any:
    la = k.layers
    first = la.LSTM(3, return_sequences=True, go_backwards=True)
    return chain(
        k, la.Bidirectional(first, backward_layer=la.LSTM(3, return_sequences=True)),
        la.Bidirectional(la.SimpleRNN(2, go_backwards=True), backward_layer=la.SimpleRNN(2)),
    )  # fmt: skip


# ------------------------------------------------------------------ cells


@net("RNN around each cell", keras=("keras", "h5"), tf_keras=("keras", "h5"))
def cells(k: Any) -> Any:
    la = k.layers
    return chain(
        k, la.RNN(la.LSTMCell(4), return_sequences=True),
        la.RNN(la.GRUCell(4, reset_after=False), return_sequences=True),
        la.RNN(la.GRUCell(3), return_sequences=True), la.RNN(la.SimpleRNNCell(3)),
    )  # fmt: skip


@net("StackedRNNCells", keras=("keras", "h5"), tf_keras=("keras", "h5"))
def stacked_cells(k: Any) -> Any:
    la, x = k.layers, sequence(k)
    three = [la.LSTMCell(4), la.GRUCell(3), la.SimpleRNNCell(2)]
    y = la.RNN(three, return_sequences=True, return_state=True)(x)
    z = la.RNN(la.StackedRNNCells([la.LSTMCell(2), la.LSTMCell(3)]), go_backwards=True)(x)
    flat = [leaf for part in y for leaf in (part if isinstance(part, list | tuple) else [part])]
    return k.Model(x, [*flat, z])


@net("Bidirectional around stacked cells", tf_keras=("h5",))
def bidirectional_cells(k: Any) -> Any:
    la = k.layers
    stack = la.RNN([la.LSTMCell(2), la.GRUCell(3)], return_sequences=True)
    return chain(k, la.Bidirectional(stack), la.Bidirectional(la.RNN(la.GRUCell(2))))


# ------------------------------------------------------------------ masks


@net("Masking with holes: carried and zeroed outputs", holes(), keras=("keras", "h5"),
     tf_keras=("keras", "h5"))  # fmt: skip
def masking(k: Any) -> Any:
    la, x = k.layers, sequence(k)
    y = la.Masking(MASK)(x)
    carried = la.LSTM(3, return_sequences=True)(y)
    zeroed = la.GRU(3, return_sequences=True, zero_output_for_mask=True)(y)
    last = la.SimpleRNN(3, zero_output_for_mask=True)(y)
    return k.Model(x, [carried, zeroed, last, la.GRU(3)(carried), la.LSTM(2)(la.Dense(2)(y))])


@net("Masking, go_backwards and return_state", holes(), tf_keras=("keras", "h5"))
def masking_backwards(k: Any) -> Any:
    la, x = k.layers, sequence(k)
    y = la.Masking(MASK)(x)
    back = la.LSTM(3, go_backwards=True, return_sequences=True)(y)
    state = la.GRU(3, return_state=True)(y)
    return k.Model(x, [back, *state, la.SimpleRNN(2, go_backwards=True)(y)])


@net("Masking and Bidirectional", holes(), keras=("keras", "h5"), tf_keras=("keras", "h5"))
def masking_bidirectional(k: Any) -> Any:
    la, x = k.layers, sequence(k)
    y = la.Masking(MASK)(x)
    a = la.Bidirectional(la.LSTM(3, return_sequences=True))(y)
    b = la.Bidirectional(la.GRU(3), merge_mode="ave")(a)
    return k.Model(x, [a, b, la.Bidirectional(la.SimpleRNN(2, return_sequences=True))(y)])


@net("Masking and stacked cells", holes(), tf_keras=("h5",))
def masking_cells(k: Any) -> Any:
    la, x = k.layers, sequence(k)
    y = la.Masking(MASK)(x)
    return k.Model(x, la.RNN([la.LSTMCell(3), la.GRUCell(2)], return_sequences=True)(y))


@net("Embedding with mask_zero, holes in it", IDS, keras=("keras", "h5"),
     tf_keras=("keras", "h5"))  # fmt: skip
def mask_zero(k: Any) -> Any:
    la, ids = k.layers, k.Input((None,), name="ids", dtype="int32")
    y = la.Embedding(6, 3, mask_zero=True)(ids)
    z = la.Bidirectional(la.LSTM(3, return_sequences=True))(y)
    return k.Model(ids, [la.GRU(3)(z), la.Dense(2)(y), la.LSTM(2, return_sequences=True)(y)])


@net("Embedding without a mask, weights alone", IDS, keras=("keras", "weights.h5"),
     tf_keras=("weights_only.h5",),
     architecture="rn.Sequential(rn.Embedding(6, 3), rn.GRU(units=4, return_sequences=False), "
     "rn.Dense(3, 'softmax'))")  # fmt: skip
def embedding(k: Any) -> Any:
    la = k.layers
    table = [la.Embedding(6, 3), la.GRU(4), la.Dense(3, activation="softmax")]
    return k.Sequential([k.Input((None,), name="ids", dtype="int32"), *table])


# ------------------------------------------------------------------ around recurrent layers


@net("TimeDistributed around Dense and Reshape", tf_keras=("keras", "h5"))
def time_distributed(k: Any) -> Any:
    la = k.layers
    return chain(
        k, la.LSTM(4, return_sequences=True), la.TimeDistributed(la.Dense(6, activation="tanh")),
        la.TimeDistributed(la.Reshape((3, 2))), la.TimeDistributed(la.Flatten()), la.GRU(2),
    )  # fmt: skip


@net("TimeDistributed around recurrent layers", drawn(37, 2, 4, 5, 3), tf_keras=("h5",))
def time_distributed_lstm(k: Any) -> Any:
    la = k.layers
    inner = la.TimeDistributed(la.Bidirectional(la.GRU(3)))
    return chain(
        k, la.TimeDistributed(la.LSTM(4, return_sequences=True)), inner, la.GRU(2),
        shape=(4, 5, 3),
    )  # fmt: skip


@net("normalisation, dropout and noise", keras=("keras", "h5"), tf_keras=("keras", "h5"))
def norms(k: Any) -> Any:
    la = k.layers
    return chain(
        k, la.LSTM(4, return_sequences=True, dropout=0.2, recurrent_dropout=0.1),
        la.BatchNormalization(), la.Dropout(0.5), la.LayerNormalization(),
        la.SpatialDropout1D(0.2), la.GaussianNoise(0.1), la.GaussianDropout(0.1),
        la.BatchNormalization(scale=False, epsilon=0.01), la.LayerNormalization(center=False),
        la.Dense(5, use_bias=False, activation="softmax"),
    )  # fmt: skip


@net("shapes", tf_keras=("keras", "h5"))
def shapes(k: Any) -> Any:
    la = k.layers
    return chain(
        k, la.Permute((2, 1)), la.Permute((2, 1)), la.SimpleRNN(4, return_sequences=True),
        la.Cropping1D((1, 2)), la.Flatten(), la.Reshape((2, -1)), la.LSTM(3), la.RepeatVector(4),
        la.GRU(2, return_sequences=True), shape=(6, 3),
    )  # fmt: skip


@net("merges of two inputs", X, drawn(38, 2, 6, 3), tf_keras=("keras", "h5"))
def merges(k: Any) -> Any:
    la, a, b = k.layers, sequence(k, "a"), sequence(k, "b")
    x, y = la.LSTM(3, return_sequences=True)(a), la.GRU(3, return_sequences=True)(b)
    parts = [
        la.Add()([x, y, a]), la.Average()([x, y]), la.Multiply()([x, y]), la.Subtract()([x, y]),
        la.Maximum()([x, y]), la.Minimum()([x, y]),
    ]  # fmt: skip
    return k.Model([a, b], la.Concatenate()(parts))


@net("networks inside a network, layers used twice", X, drawn(39, 2, 6, 3), keras=("keras", "h5"),
     tf_keras=("keras", "h5"))  # fmt: skip
def nested(k: Any) -> Any:
    la, inner_x = k.layers, sequence(k, "inner")
    inner = k.Model(inner_x, la.Dense(3)(la.LSTM(4, return_sequences=True)(inner_x)))
    tail = k.Sequential([la.GRU(3, return_sequences=True), la.Dense(2)], name="tail")
    a, b = sequence(k, "a"), sequence(k, "b")
    shared = la.LSTM(3, return_sequences=True, name="shared")
    return k.Model([a, b], [tail(la.Add()([shared(inner(a)), shared(b)])), inner(b)])


@net("activation layers", tf_keras=("keras", "h5"))
def activation_layers(k: Any) -> Any:
    la = k.layers
    return chain(
        k, la.GRU(4, return_sequences=True), la.ReLU(1.5, 0.1, 0.2), la.LeakyReLU(0.2),
        la.ELU(0.7), la.PReLU(shared_axes=[1]), la.Activation("tanh"), la.Softmax(),
    )  # fmt: skip


# ------------------------------------------------------------------ activations

SHARED = (
    "linear", "tanh", "sigmoid", "relu", "elu", "selu", "softplus", "softsign", "swish", "gelu",
    "exponential", "mish",
)  # fmt: skip
"""Activations that both have, besides hard_sigmoid."""
NEWER = (
    "relu6", "leaky_relu", "celu", "silu", "hard_silu", "hard_tanh", "tanh_shrink", "soft_shrink",
    "hard_shrink", "squareplus", "sparse_plus", "sparse_sigmoid", "log_sigmoid", "hard_swish",
)  # fmt: skip
"""Activations of Keras 3 alone."""
AROUND_CELLS = ("soft_shrink", "hard_shrink", "squareplus", "sparse_plus")
"""Activations that are supported inside recurrent cells only."""


def _activations(names: Sequence[str]) -> Callable[[Any], Any]:
    def make(k: Any) -> Any:
        la, x = k.layers, sequence(k)
        parts = []
        for name in names:
            y = la.SimpleRNN(2, activation=name, return_sequences=True)(x)
            parts.append(y if name in AROUND_CELLS else la.Dense(2, activation=name)(y))
        return k.Model(x, la.Concatenate()(parts))

    return make


def _gates(names: Sequence[str]) -> Callable[[Any], Any]:
    def make(k: Any) -> Any:
        la, x = k.layers, sequence(k)
        parts = [la.LSTM(2, recurrent_activation=name, activation="softsign")(x) for name in names]
        parts += [la.GRU(2, activation=name, return_sequences=True)(x) for name in names]
        return k.Model(x, parts)

    return make


for _i in range(0, len(SHARED), 4):
    _names = SHARED[_i : _i + 4]
    net(f"activations {', '.join(_names)}", name=f"activations_{_i // 4}", scale=0.2)(
        _activations(_names)
    )
for _i in range(0, len(NEWER), 5):
    _names = NEWER[_i : _i + 5]
    net(
        f"activations {', '.join(_names)}",
        tf_keras=(),
        name=f"activations_new_{_i // 5}",
        scale=0.2,
    )(_activations(_names))
net(
    "gates and candidates with other activations",
    tf_keras=("keras",),
    scale=0.2,
    name="activations_of_gates",
)(_gates(("tanh", "softsign", "relu", "elu")))
