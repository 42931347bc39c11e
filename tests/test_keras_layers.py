"""The layers around recurrent ones, option by option, as Keras writes and computes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from keras_models import built, feed, saved
from rnnengine.errors import UnsupportedModelError
from rnnengine.importers import load_graph, parse_graph
from rnnengine.ops import evaluate

pytest.importorskip("pyfive", reason="pyfive is not installed")
pytest.importorskip("h5py", reason="h5py is not installed")
keras = pytest.importorskip("keras", reason="keras is not installed")
from keras import layers as k  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

Array = np.ndarray[Any, Any]
Make = Callable[[], Any]
CASES: dict[str, Make] = {}


def case(function: Make) -> Make:
    CASES[function.__name__] = function
    return function


def outputs(x: Any, *made: Any) -> Any:
    return keras.Model(x, list(made))


@case
def conv1d() -> Any:
    """On an open time axis: every option whose padding does not depend on its length."""
    x = keras.Input((None, 4), name="x")
    return outputs(
        x,
        k.Conv1D(3, 2)(x),
        k.Conv1D(6, 3, padding="same", groups=2, activation="relu")(x),
        k.Conv1D(3, 3, padding="causal", dilation_rate=2, use_bias=False)(x),
        k.Conv1D(5, 1, activation="softmax")(x),
        k.Conv1D(2, 4, padding="same", dilation_rate=2)(x),
        k.SeparableConv1D(3, 3, depth_multiplier=2, padding="same", activation="tanh")(x),
        k.SeparableConv1D(3, 2, use_bias=False)(x),
        k.DepthwiseConv1D(3, depth_multiplier=2, padding="same")(x),
        k.DepthwiseConv1D(2, use_bias=False, activation="relu")(x),
    )


@case
def conv1d_of_known_length() -> Any:
    """Strides, where the number of windows or the padding depends on the length."""
    x = keras.Input((8, 4), name="x")
    return outputs(
        x,
        k.Conv1D(3, 3, strides=2)(x),
        k.Conv1D(3, 3, strides=2, padding="same")(x),
        k.Conv1D(3, 4, strides=3, padding="same")(x),
        k.Conv1D(3, 3, strides=2, padding="causal")(x),
        k.SeparableConv1D(3, 3, strides=2, padding="same")(x),
        k.DepthwiseConv1D(3, strides=2)(x),
        k.Conv1D(2, 3)(k.LSTM(5, return_sequences=True)(x)),
        k.Conv1DTranspose(3, 3)(x),
        k.Conv1DTranspose(3, 3, strides=2, padding="same", activation="relu")(x),
        k.Conv1DTranspose(2, 4, strides=3, use_bias=False)(x),
    )


@case
def conv2d() -> Any:
    x = keras.Input((6, 5, 4), name="x")
    return outputs(
        x,
        k.Conv2D(3, 2)(x),
        k.Conv2D(4, (3, 2), strides=(2, 1), padding="same", groups=2, activation="elu")(x),
        k.Conv2D(2, (1, 3), dilation_rate=(1, 2), use_bias=False)(x),
        k.SeparableConv2D(3, (2, 3), depth_multiplier=2)(x),
        k.DepthwiseConv2D((3, 2), depth_multiplier=3, padding="same")(x),
        k.Conv2DTranspose(2, (3, 2), strides=2)(x),
        k.Flatten()(k.Conv2D(2, 2, padding="same")(x)),
        k.MaxPooling2D((2, 3), padding="same")(x),
        k.AveragePooling2D(2, strides=1)(x),
        k.GlobalMaxPooling2D()(x),
        k.GlobalAveragePooling2D(keepdims=True)(x),
        k.UpSampling2D((2, 3))(x),
        k.ZeroPadding2D(((1, 0), (0, 2)))(x),
        k.Cropping2D(((1, 2), (0, 1)))(x),
    )


@case
def pools() -> Any:
    x = keras.Input((9, 3), name="x")
    return outputs(
        x,
        k.MaxPooling1D()(x),
        k.MaxPooling1D(3, strides=2, padding="same")(x),
        k.MaxPooling1D(2, strides=3)(x),
        k.AveragePooling1D(2)(x),
        k.AveragePooling1D(3, strides=2, padding="same")(x),
        k.GlobalMaxPooling1D()(x),
        k.GlobalMaxPooling1D(keepdims=True)(x),
        k.GlobalAveragePooling1D()(x),
        k.GlobalAveragePooling1D(keepdims=True)(k.GRU(2, return_sequences=True)(x)),
    )


@case
def channels_first() -> Any:
    """Layers that torch computes with the channels in front."""
    x = keras.Input((4, 8), name="x")
    first = "channels_first"
    return outputs(
        x,
        k.Conv1D(3, 3, data_format=first, padding="same", groups=1)(x),
        k.DepthwiseConv1D(3, data_format=first)(x),
        k.MaxPooling1D(2, data_format=first)(x),
        k.AveragePooling1D(2, data_format=first)(x),
        k.GlobalMaxPooling1D(data_format=first)(x),
        k.GlobalAveragePooling1D(data_format=first)(x),
        k.Flatten(data_format=first)(x),
        k.ZeroPadding1D((1, 2), data_format=first)(x),
        k.BatchNormalization(axis=1)(x),
    )


@case
def shapes_of_open_length() -> Any:
    x = keras.Input((None, 3), name="x")
    return outputs(
        x,
        k.UpSampling1D(3)(x),
        k.ZeroPadding1D(2)(x),
        k.ZeroPadding1D((0, 3))(x),
        k.Cropping1D((1, 0))(x),
        k.LSTM(2)(k.Cropping1D(1)(k.ZeroPadding1D(2)(k.UpSampling1D()(x)))),
    )


@case
def norms() -> Any:
    x = keras.Input((5, 4), name="x")
    return outputs(
        x,
        k.LayerNormalization()(x),
        k.LayerNormalization(axis=[1, 2], epsilon=0.1)(x),
        k.LayerNormalization(axis=-1, scale=False)(x),
        k.LayerNormalization(axis=2, center=False)(x),
        k.BatchNormalization(axis=1)(x),
        k.UnitNormalization()(x),
        k.UnitNormalization(axis=1)(x),
        k.UnitNormalization(axis=[1, 2])(x),
        k.RMSNormalization()(x),
        k.RMSNormalization(axis=[1, 2], epsilon=0.1)(x),
        k.GroupNormalization(groups=2)(x),
        k.GroupNormalization(groups=-1, center=False, scale=False)(x),
        k.Normalization()(x),
        k.Normalization(invert=True)(x),
        k.Normalization(axis=1)(x),
        k.Normalization(mean=[0.5, 1.0, -1.0, 0.0], variance=[1.0, 4.0, 0.25, 0.0])(x),
        k.Normalization(mean=0.5, variance=2.0, axis=None)(x),
        k.Rescaling(0.5, offset=-1.0)(x),
    )


@case
def activation_layers() -> Any:
    x = keras.Input((5, 4), name="x")
    return outputs(
        x,
        k.PReLU()(x),
        k.PReLU(shared_axes=[1])(x),
        k.PReLU(shared_axes=[1, 2])(x),
        k.LeakyReLU()(x),
        k.ELU(0.5)(x),
        k.ReLU(max_value=1.0, negative_slope=0.25, threshold=0.5)(x),
        k.Softmax(axis=1)(x),
        k.Softmax(axis=[-1])(x),
    )


@case
def dots() -> Any:
    x, y = keras.Input((5, 4), name="x"), keras.Input((5, 4), name="y")
    u = k.GlobalMaxPooling1D()(x)
    v = k.GlobalMaxPooling1D()(y)
    return keras.Model(
        [x, y],
        [
            k.Dot(axes=2)([x, y]),
            k.Dot(axes=1)([x, y]),
            k.Dot(axes=-1, normalize=True)([x, y]),
            k.Dot(axes=1)([u, v]),
            k.Dot(axes=(1, 1), normalize=True)([u, v]),
            k.Dot(axes=(2, 1))([x, u]),
            k.Dot(axes=(1, 2))([v, x]),
            k.Add()([x, u]),
            k.Multiply()([v, y, x]),
        ],
    )


@case
def attention() -> Any:
    x, y = keras.Input((None, 4), name="x"), keras.Input((3, 4), name="y")
    z = k.LSTM(4, return_sequences=True)(x)
    both = k.Attention()([z, y], return_attention_scores=True)
    return keras.Model(
        [x, y],
        [
            k.Attention()([x, y]),
            k.Attention(use_scale=True)([x, x, z]),
            k.Attention(score_mode="concat")([x, y]),
            k.Attention(score_mode="concat", use_scale=True, dropout=0.1)([x, y]),
            k.Attention()([y, y], use_causal_mask=True),
            k.AdditiveAttention()([x, y]),
            k.AdditiveAttention(use_scale=False)([x, z]),
            *both,
        ],
    )


@case
def over_time() -> Any:
    """Images over time: a network, layers, and networks in networks, each on every step."""
    x = keras.Input((None, 6, 5, 1), name="x")

    def cnn() -> Any:
        layers = [k.Conv2D(2, 3, activation="relu"), k.BatchNormalization(), k.MaxPooling2D()]
        return keras.Sequential([keras.Input((6, 5, 1)), *layers, k.Flatten()])

    inner = keras.Input((6, 5, 1))
    deep = keras.Model(inner, k.Dense(3)(cnn()(inner)), name="deep")
    a = k.TimeDistributed(k.Flatten())(k.TimeDistributed(k.Conv2D(2, 3))(x))
    b = k.TimeDistributed(cnn())(x)
    c = k.TimeDistributed(deep)(x)
    d = k.TimeDistributed(k.TimeDistributed(k.GlobalAveragePooling1D()))(x)
    return outputs(x, k.LSTM(3)(a), k.GRU(3)(b), k.Bidirectional(k.LSTM(2))(c), d)


@case
def masks_of_many_layers() -> Any:
    """What keeps a mask, what drops it, and what reads it, seen by a recurrent layer behind."""
    x, w = keras.Input((7, 3), name="mask_x"), keras.Input((7, 3), name="mask_w")
    m, n = k.Masking(0.5)(x), k.Masking(0.5)(w)
    plain = k.Dense(3)(w)
    kept = [
        k.LayerNormalization(), k.BatchNormalization(), k.UnitNormalization(), k.Dense(3),
        k.Dropout(0.1), k.SpatialDropout1D(0.1), k.GaussianNoise(0.1), k.ReLU(), k.LeakyReLU(),
        k.ELU(), k.PReLU(), k.Activation("softmax"), k.Rescaling(2.0), k.Identity(),
        k.TimeDistributed(k.Dense(3)), k.GroupNormalization(3), k.ActivityRegularization(),
        k.Normalization(), k.AlphaDropout(0.1), k.GaussianDropout(0.1),
    ]  # fmt: skip
    dropped = [
        k.Conv1D(3, 2, padding="same"), k.MaxPooling1D(1), k.AveragePooling1D(1),
        k.UpSampling1D(1), k.ZeroPadding1D(0), k.Cropping1D(0), k.Reshape((7, 3)),
        k.Permute((1, 2)), k.RMSNormalization(), k.SeparableConv1D(3, 1), k.DepthwiseConv1D(1),
    ]  # fmt: skip
    joined = [
        k.Add()([m, n]), k.Average()([m, n]), k.Subtract()([m, n]), k.Multiply()([m, n]),
        k.Maximum()([m, n]), k.Minimum()([m, n]), k.Concatenate()([m, n]),
        k.Concatenate()([m, plain]), k.Add()([m, plain]), k.Multiply()([m, plain]),
        k.Maximum()([plain, m]), k.Minimum()([m, plain, n]), k.Attention()([m, n]),
        k.AdditiveAttention()([plain, n]), k.Attention()([m, plain]), k.Dot(axes=2)([m, n]),
    ]  # fmt: skip
    ends = [k.SimpleRNN(2)(layer(m)) for layer in (*kept, *dropped)]
    ends += [k.SimpleRNN(2)(y) for y in joined]
    read = [
        k.GlobalAveragePooling1D()(m),
        k.GlobalMaxPooling1D()(m),
        k.GlobalAveragePooling1D(keepdims=True)(k.Add()([m, n])),
        k.Multiply()([m, n]),
        k.Multiply()([m, plain]),
        k.Maximum()([m, n]),
        k.Maximum()([plain, m]),
        k.Minimum()([m, plain, n]),
        k.Attention(use_scale=True)([m, n], use_causal_mask=True),
        k.Flatten()(m),
        k.Bidirectional(k.GRU(2, return_sequences=True))(k.Dropout(0.1)(m)),
    ]
    return keras.Model([x, w], [*ends, *read])


def fed(net: Any) -> dict[str, Array]:
    feeds = feed(net)
    for name, value in feeds.items():
        if name.startswith("mask"):
            value[2, 3] = 1.5  # a row of masked steps alone has no mean
    if "mask_w" in feeds:
        feeds["mask_w"] = np.roll(feeds["mask_w"], 1, axis=1)
        feeds["mask_w"][:, 0] = 0.3  # a query before all that counts has no weights to share out
    return feeds


def expected(net: Any, feeds: dict[str, Array]) -> list[Array]:
    values = list(feeds.values())
    found = net.predict_on_batch(values if len(values) > 1 else values[0])
    return [np.asarray(value) for value in found]


@pytest.mark.parametrize("container", ["keras", "h5"])
@pytest.mark.parametrize("name", CASES)
def test_layers(name: str, container: str, tmp_path: Path) -> None:
    net = built(CASES[name])
    feeds = fed(net)
    graph = saved(net, container, tmp_path)
    want = expected(net, feeds)
    got = evaluate(graph, feeds)
    assert len(got) == len(want)
    for (output, value), one in zip(got.items(), want, strict=True):
        assert value.shape == one.shape, output
        np.testing.assert_allclose(value, one, rtol=2e-5, atol=2e-6, err_msg=output)
    found = rn.load(tmp_path / f"model.{container}").run(feeds)
    for output, value in found.items():
        np.testing.assert_allclose(value, got[output], rtol=1e-5, atol=1e-5, err_msg=output)


def pooled(x: Array, size: int, stride: int) -> Array:
    """Means of windows over time, padded to ceil(T / stride) of them; padding does not count."""
    steps = x.shape[1]
    count = -(-steps // stride)
    before = max((count - 1) * stride + size - steps, 0) // 2
    windows = [x[:, max(o * stride - before, 0) : o * stride - before + size] for o in range(count)]
    return np.stack([w.mean(axis=1) for w in windows], axis=1)


def test_average_pool_leaves_padding_out(tmp_path: Path) -> None:
    """TensorFlow and JAX leave padding out; Keras on torch repeats the last step, and is wrong."""
    layers = [k.AveragePooling1D(4, strides=2, padding="same"), k.AveragePooling1D(2, 1, "same")]
    net = built(lambda: keras.Sequential([keras.Input((7, 3), name="x"), *layers]))
    x = feed(net)["x"]
    (got,) = evaluate(saved(net, "keras", tmp_path), {"x": x}).values()
    np.testing.assert_allclose(got, pooled(pooled(x, 4, 2), 2, 1), rtol=1e-6, atol=1e-7)


def test_layer_normalisation_over_time(tmp_path: Path) -> None:
    """Axis 1 of 3, for which Keras on torch takes the last axis."""
    net = built(
        lambda: keras.Sequential([
            keras.Input((4, 4), name="x"), k.LayerNormalization(axis=1, epsilon=0.2, name="norm"),
        ])
    )  # fmt: skip
    x = feed(net)["x"]
    gamma, beta = (w[None, :, None].astype(float) for w in net.get_layer("norm").get_weights())
    normal = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 0.2)
    (got,) = evaluate(saved(net, "keras", tmp_path), {"x": x}).values()
    np.testing.assert_allclose(got, normal * gamma + beta, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("steps", [7, 8])
def test_windows_that_depend_on_an_open_length(steps: int, tmp_path: Path) -> None:
    """Strides over an open time axis, and a causal mask: the model is built for the length."""
    x = keras.Input((None, 3), name="x")
    y = k.Conv1D(4, 3, strides=2, padding="same")(x)
    z = k.MaxPooling1D(2)(k.LSTM(3, return_sequences=True)(y))
    net = built(lambda: outputs(x, z, k.Attention()([y, y], use_causal_mask=True)))
    path = tmp_path / "a.keras"
    net.save(path)
    content = path.read_bytes()
    with pytest.raises(UnsupportedModelError, match=r"node 'conv1d' .Conv.: .*cannot be decided"):
        load_graph(path)
    feeds = feed(net, steps=steps)
    graph = parse_graph(content, "a.keras", sizes={"batch": 3, "time": steps})
    want = expected(net, feeds)
    for found in (evaluate(graph, feeds), rn.load(path).run(feeds)):
        for got, one in zip(found.values(), want, strict=True):
            np.testing.assert_allclose(got, one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("version", ["2.1.2", "2.5.0"])
def test_hierarchical_masks_of_tf_keras(version: str, tmp_path: Path) -> None:
    """A mask of words in sentences masks the words, then the sentences without a word.

    Keras 3 would hold the mask of words against the sentences, and stop.
    """
    from test_keras_import import entry, legacy, sequential

    rng = np.random.default_rng(1)
    table, *arrays = (
        rng.normal(size=size).astype(np.float32)
        for size in ((5, 2), (2, 3), (3, 3), (3,), (3, 2), (2, 2), (2,))
    )
    table_layer = {"input_dim": 5, "output_dim": 2, "mask_zero": True}
    plain = entry("SimpleRNN", units=3)
    layers = [
        entry("Embedding", **table_layer, batch_input_shape=[None, 4, 3]),
        entry("TimeDistributed", layer=plain, name="words"),
        entry("SimpleRNN", units=2, name="sentences"),
    ]
    weights = {
        "embedding": [("t", table)],
        "words": list(zip("abc", arrays[:3], strict=True)),
        "sentences": list(zip("abc", arrays[3:], strict=True)),
    }
    path = legacy(tmp_path / "a.h5", sequential(*layers), weights, version)
    ids = np.array([[[1, 2, 0], [0, 0, 0], [3, 0, 4], [0, 0, 0]]], np.int32)
    if version == "2.1.2":
        with pytest.raises(
            UnsupportedModelError, match=r"its mask is int32.*accepted: one of step"
        ):
            load_graph(path)
        return
    graph = load_graph(path)
    (got,) = evaluate(graph, {graph.inputs[0].name: ids}).values()

    def last(x: Any, w: Array, r: Array, b: Array) -> Array:
        h = np.zeros(r.shape[0])
        for step in x:
            h = np.tanh(step @ w + h @ r + b)
        return h

    sentences = [last(table[i[i != 0]], *arrays[:3]) for i in ids[0] if i.any()]
    np.testing.assert_allclose(got[0], last(sentences, *arrays[3:]), atol=1e-6)


def test_convolutions_of_keras_1_and_of_theano(tmp_path: Path) -> None:
    """The words and the kernel of Keras 1; Theano's convolutions run backwards."""
    import h5py

    from test_keras_import import entry, legacy, sequential

    rng = np.random.default_rng(3)
    kernel, bias = rng.normal(size=(3, 2, 4)).astype("f4"), rng.normal(size=4).astype("f4")
    x = rng.normal(size=(2, 9, 2)).astype("f4")
    raw = sequential(
        entry("Convolution1D", nb_filter=4, filter_length=3, border_mode="valid",
              subsample_length=2, activation="linear", bias=True, batch_input_shape=[None, 9, 2]),
        entry("MaxPooling1D", pool_length=2, stride=2, border_mode="valid"),
        entry("UpSampling1D", length=2),
    )  # fmt: skip
    weights = {"convolution1d": [("W", kernel[:, None]), ("b", bias)]}
    weights.update({"maxpooling1d": [], "upsampling1d": []})
    windows = np.stack([x[:, o : o + 3] for o in range(0, 7, 2)], axis=1)
    for backend, turned in (("tensorflow", kernel), ("theano", kernel[::-1])):
        path = legacy(tmp_path / f"{backend}.h5", raw, weights, "1.2.2")
        with h5py.File(path, "a") as file:
            file.attrs["backend"] = backend
        flat = np.einsum("bokc,kcf->bof", windows, turned.astype(float)) + bias
        graph = load_graph(path)
        (got,) = evaluate(graph, {graph.inputs[0].name: x}).values()
        want = np.repeat(flat.reshape(2, 2, 2, 4).max(axis=2), 2, axis=1)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


REFUSED: dict[str, tuple[Make, str]] = {
    "softmax_of_a_mask": (
        lambda: k.Softmax()(k.Masking()(keras.Input((4, 4), name="x"))),
        r"layer 'softmax' .Softmax.: its input has a mask of steps",
    ),
    "conv_lstm": (
        lambda: k.ConvLSTM1D(2, 3)(keras.Input((4, 6, 3), name="x")),
        r"layer 'conv_lstm1d' is of class 'ConvLSTM1D', which is not supported: recurrent conv",
    ),
    "sized_transpose": (
        lambda: k.Conv1DTranspose(2, 3, strides=2, output_padding=1)(keras.Input((4, 3), name="x")),
        r"layer 'conv1d_transpose' .Conv1DTranspose.: output_padding is",
    ),
    "bilinear": (
        lambda: k.UpSampling2D(2, interpolation="bilinear")(keras.Input((4, 3, 2), name="x")),
        r"layer 'up_sampling2d' .UpSampling2D.: interpolation is 'bilinear'; accepted: 'nearest'",
    ),
    "rms_scaling": (
        lambda: k.LayerNormalization(rms_scaling=True)(keras.Input((4, 3), name="x")),
        r"layer 'layer_normalization' .LayerNormalization.: rms_scaling is True",
    ),
    "dot_of_images": (
        lambda: k.Dot(1)([keras.Input((4, 3, 2), name="x"), keras.Input((4, 3), name="y")]),
        r"layer 'dot' .Dot.: axes is 1 on inputs of ranks 4 and 3; accepted",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_layer_and_option(name: str, tmp_path: Path) -> None:
    keras.backend.clear_session()
    make, message = REFUSED[name]
    end = make()
    keras.Model(inputs_of(end), end).save(tmp_path / "a.keras")
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        rn.load(tmp_path / "a.keras")
    assert str(caught.value).startswith(str(tmp_path / "a.keras"))


def inputs_of(tensor: Any) -> list[Any]:
    """Inputs that a value of a Functional graph was made from."""
    operation, index, _ = tensor._keras_history
    node = operation._inbound_nodes[index]
    if not node.input_tensors:
        return [tensor]
    found = {leaf.name: leaf for inner in node.input_tensors for leaf in inputs_of(inner)}
    return list(found.values())
