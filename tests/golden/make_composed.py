"""Make golden files that no Keras of today can write: ``python tests/golden/make_composed.py``.

Those of CuDNNLSTM and CuDNNGRU, which need a GPU, and of Keras 1 and early Keras 2. They are put
together with h5py from the weights of a tf.keras network that computes the same. That they are
right is tf.keras' own judgement: loaded by its converters of old weights, every file must give that
network's weights back. Weights are multiples of 1/1024, so that the sum of two biases is exact.

Wants tf.keras 2 and TensorFlow. The same seeds give the same bytes.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import numpy as np
import tensorflow as tf
import tf_keras as k
from common import Array, Folder, drawn

la = k.layers
X = drawn(51, 2, 6, 3)
Arrays = list[Array]
CHUNK = 3
"""Names in each piece of a list of names that is written in pieces."""


# ------------------------------------------------------------------ layouts of weights


def blocks(value: Array, count: int) -> list[Array]:
    return np.split(value, count, axis=-1)


def cudnn(weights: Sequence[Array]) -> Arrays:
    """Weights of LSTM, or of GRU that resets after the product, as cuDNN's layers keep them."""
    kernel, recurrent, bias = weights
    count = 4 if bias.ndim == 1 else 3
    # cuDNN wants [units, features] of each gate row after row; the array keeps its old shape.
    kernel = np.hstack([b.T.reshape(b.shape) for b in blocks(kernel, count)])
    recurrent = np.hstack([b.T for b in blocks(recurrent, count)])
    if bias.ndim == 2:
        return [kernel, recurrent, bias.reshape(-1)]
    first = grid(drawn(77, *bias.shape, scale=0.5))
    return [kernel, recurrent, np.concatenate([first, bias - first])]


def keras_1(weights: Sequence[Array]) -> Arrays:
    """Weights of LSTM or GRU as Keras 1 keeps them: kernel, recurrent kernel, bias of each gate."""
    count = weights[0].shape[1] // weights[1].shape[0]
    order = {4: (0, 2, 1, 3), 3: (0, 1, 2), 1: (0,)}[count]  # i, c, f, o of i, f, c, o
    parts = [blocks(w, count) for w in weights]
    return [np.ascontiguousarray(part[g]) for g in order for part in parts]


def halves(one: Callable[[Sequence[Array]], Arrays]) -> Callable[[Sequence[Array]], Arrays]:
    """The same for both directions."""
    return lambda w: [*one(w[: len(w) // 2]), *one(w[len(w) // 2 :])]


def same(weights: Sequence[Array]) -> Arrays:
    return list(weights)


def grid(value: Array) -> Array:
    return np.round(value * 1024).astype(np.float32) / np.float32(1024)


# ------------------------------------------------------------------ the files


@dataclass(frozen=True)
class Old:
    """A file: what it says of its layers, and the layers of tf.keras that compute the same.

    ``layouts`` has a function for every layer with weights. With an ``architecture``, what the file
    says is left out: it has the weights alone.
    """

    what: str
    version: str
    entries: tuple[dict[str, Any], ...]
    target: Callable[[], list[Any]]
    layouts: tuple[Callable[[Sequence[Array]], Arrays], ...]
    pieces: bool = False
    shape: tuple[int | None, ...] = (None, 3)
    architecture: str = ""


def entry(kind: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": config}


def both(inner: dict[str, Any], mode: str = "concat") -> dict[str, Any]:
    inner["config"]["name"] = inner["class_name"].lower()
    return entry("Bidirectional", layer=inner, merge_mode=mode)


SEQ = {"return_sequences": True}
HARD = {"recurrent_activation": "hard_sigmoid"}
OLD_LSTM = {"inner_activation": "hard_sigmoid", "activation": "tanh", "consume_less": "cpu"}
BEFORE = {"reset_after": False}

FILES: dict[str, Old] = {
    "cudnn_lstm": Old(
        "CuDNNLSTM, Keras 2.1.5", "2.1.5",
        (entry("CuDNNLSTM", units=4, **SEQ), entry("CuDNNLSTM", units=3), entry("Dense", units=2)),
        lambda: [la.LSTM(4, **SEQ), la.LSTM(3), la.Dense(2)], (cudnn, cudnn, same),
    ),
    "cudnn_gru": Old(
        "CuDNNGRU, Keras 2.2.4", "2.2.4",
        (entry("CuDNNGRU", units=4, **SEQ), entry("CuDNNGRU", units=3)),
        lambda: [la.GRU(4, **SEQ), la.GRU(3)], (cudnn, cudnn),
    ),
    "cudnn_tf": Old(
        "both, tf.keras 2.1 in TensorFlow 1.10", "2.1.6-tf",
        (entry("CuDNNGRU", units=4, **SEQ), entry("CuDNNLSTM", units=3, go_backwards=True, **SEQ)),
        lambda: [la.GRU(4, **SEQ), la.LSTM(3, go_backwards=True, **SEQ)], (cudnn, cudnn),
    ),
    "cudnn_bidirectional_lstm": Old(
        "Bidirectional around CuDNNLSTM", "2.2.4",
        (both(entry("CuDNNLSTM", units=4, **SEQ)), both(entry("CuDNNLSTM", units=3), "sum")),
        lambda: [la.Bidirectional(la.LSTM(4, **SEQ)),
                 la.Bidirectional(la.LSTM(3), merge_mode="sum")],
        (halves(cudnn), halves(cudnn)),
    ),
    "cudnn_bidirectional_gru": Old(
        "Bidirectional around CuDNNGRU", "2.2.4",
        (both(entry("CuDNNGRU", units=4, **SEQ), "ave"), both(entry("CuDNNGRU", units=3), "mul")),
        lambda: [la.Bidirectional(la.GRU(4, **SEQ), merge_mode="ave"),
                 la.Bidirectional(la.GRU(3), merge_mode="mul")],
        (halves(cudnn), halves(cudnn)), pieces=True,
    ),
    "cudnn_in_lstm": Old(
        "layers that can run anywhere, with weights trained by cuDNN's", "2.2.0",
        (entry("LSTM", units=4, recurrent_activation="sigmoid", **SEQ),
         entry("GRU", units=3, recurrent_activation="sigmoid", reset_after=True)),
        lambda: [la.LSTM(4, **SEQ), la.GRU(3)], (cudnn, cudnn),
    ),
    "cudnn_time_distributed": Old(
        "TimeDistributed around CuDNNLSTM", "2.2.4",
        (entry("TimeDistributed", layer=entry("CuDNNLSTM", name="inner", units=4)),
         entry("CuDNNGRU", units=3)),
        lambda: [la.TimeDistributed(la.LSTM(4)), la.GRU(3)], (cudnn, cudnn), shape=(4, 6, 3),
    ),
    "keras_1_lstm": Old(
        "LSTM of Keras 1", "1.2.2",
        (entry("LSTM", output_dim=4, **OLD_LSTM, **SEQ), entry("Dropout", p=0.5),
         entry("LSTM", output_dim=3, **OLD_LSTM), entry("Dense", output_dim=2,
                                                       activation="softmax", bias=True)),
        lambda: [la.LSTM(4, **HARD, **SEQ), la.Dropout(0.5), la.LSTM(3, **HARD),
                 la.Dense(2, activation="softmax")],
        (keras_1, keras_1, same),
    ),
    "keras_1_gru": Old(
        "GRU of Keras 1, go_backwards", "1.1.1",
        (entry("GRU", output_dim=4, inner_activation="hard_sigmoid", **SEQ),
         entry("GRU", output_dim=3, inner_activation="sigmoid", go_backwards=True, **SEQ)),
        lambda: [la.GRU(4, **HARD, **BEFORE, **SEQ),
                 la.GRU(3, go_backwards=True, **BEFORE, **SEQ)],
        (keras_1, keras_1),
    ),
    "keras_1_rnn": Old(
        "SimpleRNN of Keras 1, RepeatVector, TimeDistributed", "1.0.8",
        (entry("SimpleRNN", output_dim=4, activation="tanh"), entry("RepeatVector", n=3),
         entry("SimpleRNN", output_dim=3, activation="relu", **SEQ),
         entry("TimeDistributed", layer=entry("Dense", name="inner", output_dim=2, bias=True,
                                              activation="linear"))),
        lambda: [la.SimpleRNN(4), la.RepeatVector(3), la.SimpleRNN(3, activation="relu", **SEQ),
                 la.TimeDistributed(la.Dense(2))],
        (same, same, same),
    ),
    "keras_1_bidirectional": Old(
        "Bidirectional of Keras 1", "1.2.0",
        (both(entry("LSTM", output_dim=4, **OLD_LSTM, **SEQ)),
         both(entry("GRU", output_dim=3, inner_activation="hard_sigmoid"), "sum")),
        lambda: [la.Bidirectional(la.LSTM(4, **HARD, **SEQ)),
                 la.Bidirectional(la.GRU(3, **HARD, **BEFORE), merge_mode="sum")],
        (halves(keras_1), halves(keras_1)), pieces=True,
    ),
    "cudnn_weights": Old(
        "weights alone of CuDNNLSTM and CuDNNGRU", "2.2.4",
        (entry("CuDNNLSTM"), entry("CuDNNGRU"), entry("Dense")),
        lambda: [la.LSTM(4, **SEQ), la.GRU(3, **SEQ), la.Dense(2)], (cudnn, cudnn, same),
        architecture="rn.Sequential(rn.LSTM(units=4), rn.GRU(units=3), rn.Dense(2))",
    ),
    "cudnn_weights_bidirectional": Old(
        "weights alone of Bidirectional around CuDNNGRU and CuDNNLSTM", "2.2.4",
        (entry("Bidirectional"), entry("Bidirectional")),
        lambda: [la.Bidirectional(la.GRU(4, **SEQ)),
                 la.Bidirectional(la.LSTM(3, **SEQ), merge_mode="sum")],
        (halves(cudnn), halves(cudnn)),
        architecture="rn.Sequential(rn.GRU(units=4, bidirectional=True), "
        "rn.LSTM(units=3, bidirectional=True, merge_mode='sum'))",
    ),
    "keras_2_0": Old(
        "defaults of Keras 2.0: hard_sigmoid, reset before the product", "2.0.4",
        (entry("LSTM", units=4, **SEQ), entry("GRU", units=3, **SEQ), entry("SimpleRNN", units=2)),
        lambda: [la.LSTM(4, **HARD, **SEQ), la.GRU(3, **HARD, **BEFORE, **SEQ), la.SimpleRNN(2)],
        (same, same, same),
    ),
    "keras_2_1": Old(
        "GRU with reset_after of Keras 2.1.5, names in pieces", "2.1.5",
        (entry("GRU", units=4, reset_after=True, **SEQ), entry("GRU", units=3, reset_after=False)),
        lambda: [la.GRU(4, **HARD, **SEQ), la.GRU(3, **HARD, **BEFORE)], (same, same), pieces=True,
    ),
}  # fmt: skip


def network(old: Old, floatx: str) -> Any:
    k.backend.clear_session()
    k.backend.set_floatx(floatx)
    return k.Sequential([k.Input(old.shape, name="x"), *old.target()])


def listed(group: Any, key: str, names: list[bytes], pieces: bool) -> None:
    """A list of names as an attribute, or in pieces where it would be too long."""
    if not pieces:
        group.attrs[key] = np.array(names, dtype="S")
        return
    for i in range(0, max(len(names), 1), CHUNK):
        group.attrs[f"{key}{i // CHUNK}"] = np.array(names[i : i + CHUNK], dtype="S")


def named(old: Old, layer: str, count: int) -> list[str]:
    """Names of a layer's arrays; with a configuration only their order counts."""
    if not old.architecture:
        return [f"{layer}_{i}:0" for i in range(count)]
    roles = ("kernel:0", "recurrent_kernel:0", "bias:0") if count > 2 else ("kernel:0", "bias:0")
    sides = ("forward_rnn", "backward_rnn") if count > 3 else (layer,)
    return [f"{layer}/{side}/{role}" for side in sides for role in roles]


def composed(old: Old, made: Any, path: Path) -> bytes:
    """Write the file; layers without weights are listed too."""
    raw = [
        {**e, "config": {"name": layer.name, **e["config"]}}
        for e, layer in zip(old.entries, made.layers, strict=True)
    ]
    raw[0]["config"]["batch_input_shape"] = [None, *old.shape]
    layouts = list(old.layouts)
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = np.bytes_(old.version)
        file.attrs["backend"] = np.bytes_("tensorflow")
        top = file
        if not old.architecture:
            file.attrs["model_config"] = np.bytes_(
                json.dumps({"class_name": "Sequential", "config": raw})
            )
            top = file.create_group("model_weights")
            for key in ("keras_version", "backend"):
                top.attrs[key] = file.attrs[key]
        listed(top, "layer_names", [layer.name.encode() for layer in made.layers], old.pieces)
        for layer in made.layers:
            group = top.create_group(layer.name)
            arrays = layouts.pop(0)(layer.get_weights()) if layer.weights else []
            names = [name.encode() for name in named(old, layer.name, len(arrays))]
            listed(group, "weight_names", names, old.pieces)
            for name, array in zip(names, arrays, strict=True):
                group[name.decode()] = array
    assert not layouts
    return path.read_bytes()


def main() -> None:
    folder = Folder(
        "composed",
        {
            "tf_keras": k.__version__, "tensorflow": tf.__version__, "h5py": h5py.__version__,
            "numpy": np.__version__,
        },
    )  # fmt: skip
    for number, (name, old) in enumerate(FILES.items()):
        made = network(old, "float32")
        weights = [
            grid(drawn(6000 + 100 * number + i, *w.shape, scale=0.5))
            for i, w in enumerate(made.weights)
        ]
        made.set_weights(weights)
        x = X if len(old.shape) == 2 else drawn(52, 2, *old.shape)
        witness = [np.asarray(made(x, training=False))]
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "model.h5"
            content = composed(old, made, path)
            made.set_weights([0 * w for w in weights])
            if old.version.startswith("1."):  # all that tf.keras knows of its versions
                with h5py.File(path, "r+") as file:
                    file["model_weights"].attrs["keras_version"] = np.bytes_("1")
            made.load_weights(path)
        for read, written in zip(made.get_weights(), weights, strict=True):
            assert np.array_equal(read, written), name
        double = network(old, "float64")
        double.set_weights(weights)
        exact = [np.asarray(double(x.astype(np.float64), training=False))]
        load = {"architecture": old.architecture} if old.architecture else {}
        folder.add(f"{name}.h5", content, old.what, [x], exact, witness, load=load)
    folder.close()


if __name__ == "__main__":
    main()
