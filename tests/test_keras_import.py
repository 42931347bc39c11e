"""Keras files open without Keras and compute what Keras computes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_models import MASKED, MODELS, built, feed, saved
from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Graph
from rnnengine.importers import load_graph
from rnnengine.importers.keras import import_weights
from rnnengine.importers.keras.checkpoint import read_checkpoint
from rnnengine.importers.keras.hdf5 import read_hdf5
from rnnengine.model import Model
from rnnengine.ops import evaluate
from rnnengine.passes.fold import fold

pytest.importorskip("pyfive", reason="pyfive is not installed")
h5py = pytest.importorskip("h5py", reason="h5py is not installed")
keras = pytest.importorskip("keras", reason="keras is not installed")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras"),
    pytest.mark.filterwarnings("ignore::UserWarning:keras"),
]

Array = np.ndarray[Any, Any]
CONTAINERS = ("keras", "h5", "weights.h5")


def expected(net: Any, feeds: dict[str, Array]) -> list[Array]:
    found = net.predict_on_batch(
        list(feeds.values()) if len(feeds) > 1 else next(iter(feeds.values()))
    )
    leaves: list[Array] = []

    def collect(value: Any) -> None:
        if isinstance(value, list | tuple):
            for part in value:
                collect(part)
        else:
            leaves.append(np.asarray(value))

    collect(found)
    return leaves


def agree(got: dict[str, Array], want: list[Array]) -> None:
    assert len(got) == len(want)
    for (name, value), one in zip(got.items(), want, strict=True):
        assert value.shape == one.shape, name
        np.testing.assert_allclose(value, one, rtol=1e-5, atol=1e-5, err_msg=name)


def run(graph: Graph, feeds: dict[str, Array]) -> dict[str, Array]:
    model = Model(graph)
    result = model.run(feeds)
    return result if isinstance(result, dict) else {graph.outputs[0]: result}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", MODELS)
def test_networks(name: str, container: str, tmp_path: Path) -> None:
    net = built(MODELS[name])
    feeds = feed(net)
    graph = saved(net, container, tmp_path)
    want = expected(net, feeds)
    agree(evaluate(graph, feeds), want)
    agree(run(graph, feeds), want)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", MASKED)
def test_masks_and_tables(name: str, container: str, tmp_path: Path) -> None:
    net = built(MASKED[name])
    feeds = feed(net)
    graph = saved(net, container, tmp_path)
    agree(evaluate(graph, feeds), expected(net, feeds))


def test_names_of_inputs_and_outputs(tmp_path: Path) -> None:
    graph = saved(built(MODELS["states"]), "keras", tmp_path)
    assert [v.name for v in graph.inputs] == ["x", "h", "c"]
    assert graph.outputs == (
        "gru", "gru:1", "bidirectional", "bidirectional:1", "bidirectional:2", "bidirectional:3",
        "bidirectional:4",
    )  # fmt: skip
    assert str(graph.inputs[0].type) == "float32[batch, time, 3]"


def test_layers_used_twice_have_their_weights_once(tmp_path: Path) -> None:
    graph = saved(built(MODELS["shared_and_nested"]), "keras", tmp_path)
    weights: dict[str, list[set[str]]] = {}
    for node in graph.nodes:
        layer, used = node.name.split(".")[0].split("_")[0], set(node.inputs) & set(graph.constants)
        if node.op == "LSTM":
            weights.setdefault(layer, []).append({str(name) for name in used})
    calls = [w for w in weights.values() if len(w) > 1]
    assert len(calls) == 2
    for first, second in calls:
        assert len(first) >= 3 and first == second


def test_streams_carry_state(tmp_path: Path) -> None:
    net = built(MODELS["simple_rnn"])
    model = Model(saved(net, "keras", tmp_path))
    x = feed(net)["x"]
    stream = model.stream(batch=3)
    parts = [stream.step(x[:, a:b]) for a, b in ((0, 2), (2, 3), (3, 7))]
    assert np.array_equal(parts[-1], model.run(x))


# ------------------------------------------------------------------ files of older versions


def legacy(
    path: Path,
    raw: dict[str, Any],
    weights: dict[str, list[tuple[str, Array]]],
    version: str | None,
    *,
    chunked: bool = False,
) -> Path:
    """Compose a whole-model file of Keras 1 or 2."""
    with h5py.File(path, "w") as file:
        if version is not None:
            file.attrs["keras_version"] = version
        file.attrs["model_config"] = json.dumps(raw)
        group = file.create_group("model_weights")
        names = [n.encode() for n in weights]
        if chunked:
            half = len(names) // 2
            group.attrs["layer_names0"], group.attrs["layer_names1"] = names[:half], names[half:]
        else:
            group.attrs["layer_names"] = names
        for layer, arrays in weights.items():
            one = group.create_group(layer)
            one.attrs["weight_names"] = np.array([n.encode() for n, _ in arrays])
            for name, array in arrays:
                one[name] = array
    return path


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": list(layers)}


def entry(kind: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": kind.lower(), **config}}


def drawn(seed: int, *shapes: tuple[int, ...]) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.5, shape).astype("float32") for shape in shapes]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def hard(x: Array) -> Array:
    return np.clip(0.2 * x + 0.5, 0, 1)


def plain_lstm(x: Array, kernel: Array, recurrent: Array, bias: Array, inner: Any) -> Array:
    """LSTM of Keras, i, f, c, o, written down again."""
    h = c = np.zeros((x.shape[0], recurrent.shape[0]))
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = inner(f) * c + inner(i) * np.tanh(g)
        h = inner(o) * np.tanh(c)
    return h


def plain_gru(x: Array, kernel: Array, recurrent: Array, bias: Array, inner: Any) -> Array:
    """GRU of Keras, z, r, h; the shape of the bias says where the reset is."""
    h = np.zeros((x.shape[0], recurrent.shape[0]))
    for t in range(x.shape[1]):
        if bias.ndim == 2:
            a, b = x[:, t] @ kernel + bias[0], h @ recurrent + bias[1]
            xz, xr, xh = np.split(a, 3, axis=1)
            hz, hr, hh = np.split(b, 3, axis=1)
            z, r = inner(xz + hz), inner(xr + hr)
            n = np.tanh(xh + r * hh)
        else:
            xz, xr, xh = np.split(x[:, t] @ kernel + bias, 3, axis=1)
            uz, ur, uh = np.split(recurrent, 3, axis=1)
            z, r = inner(xz + h @ uz), inner(xr + h @ ur)
            n = np.tanh(xh + (r * h) @ uh)
        h = z * h + (1 - z) * n
    return h


X = np.random.default_rng(9).normal(size=(2, 6, 3)).astype("float32")
SHAPE = {"batch_input_shape": [None, None, 3]}


def outcome(path: Path) -> Array:
    graph = load_graph(path)
    (value,) = evaluate(graph, {graph.inputs[0].name: X}).values()
    return value


def to_cudnn(kernel: Array, gates: int) -> Array:
    """Each block [I, H] becomes the memory of its transpose, as Keras' own converter does."""
    blocks = np.split(kernel, gates, axis=1)
    return np.hstack([b.T.reshape(b.shape) for b in (np.ascontiguousarray(p) for p in blocks)])


def transposed(kernel: Array, gates: int) -> Array:
    return np.hstack([b.T for b in np.split(kernel, gates, axis=1)])


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_cudnn_lstm(nested: bool, chunked: bool, tmp_path: Path) -> None:
    kernel, recurrent, bias = drawn(1, (3, 16), (4, 16), (32,))
    stored = [to_cudnn(kernel, 4), transposed(recurrent, 4), bias]
    names = ["kernel:0", "recurrent_kernel:0", "bias:0"]
    raw = entry("CuDNNLSTM", units=4, return_sequences=False, **({} if nested else SHAPE))
    weights = {"cudnnlstm": list(zip(names, stored, strict=True)), "activation": []}
    want = plain_lstm(X, kernel, recurrent, bias[:16] + bias[16:], sigmoid)
    if nested:
        raw = entry("Bidirectional", layer=raw, merge_mode="sum", **SHAPE)
        both = [(f"{side}_{n}", a) for side in ("f", "b") for n, a in weights["cudnnlstm"]]
        weights = {"bidirectional": both, "activation": []}
        want = want + plain_lstm(X[:, ::-1], kernel, recurrent, bias[:16] + bias[16:], sigmoid)
    net = sequential(raw, entry("Activation", activation="linear"))
    path = legacy(tmp_path / "a.h5", net, weights, "2.1.5", chunked=chunked)
    np.testing.assert_allclose(outcome(path), want, atol=1e-6)


@pytest.mark.parametrize("kind", ["CuDNNGRU", "GRU"])
def test_cudnn_gru(kind: str, tmp_path: Path) -> None:
    kernel, recurrent, bias = drawn(2, (3, 12), (4, 12), (24,))
    stored = [to_cudnn(kernel, 3), transposed(recurrent, 3), bias]
    inner = {"recurrent_activation": "sigmoid"} if kind == "GRU" else {}
    raw = sequential(entry(kind, units=4, **SHAPE, **inner))
    weights = {kind.lower(): list(zip("kub", stored, strict=True))}
    path = legacy(tmp_path / "a.h5", raw, weights, "2.2.0")
    want = plain_gru(X, kernel, recurrent, bias.reshape(2, -1), sigmoid)
    np.testing.assert_allclose(outcome(path), want, atol=1e-6)


@pytest.mark.parametrize(("version", "inner"), [("2.1.3", hard), ("2.5.0", hard), ("3.1.0", None)])
def test_hard_sigmoid_is_that_of_the_version(version: str, inner: Any, tmp_path: Path) -> None:
    arrays = drawn(3, (3, 16), (4, 16), (16,))
    raw = sequential(entry("LSTM", units=4, recurrent_activation="hard_sigmoid", **SHAPE))
    weights = {"lstm": list(zip("kub", arrays, strict=True))}
    path = legacy(tmp_path / "a.h5", raw, weights, version)
    inner = inner or (lambda x: np.clip(x / 6 + 0.5, 0, 1))
    np.testing.assert_allclose(outcome(path), plain_lstm(X, *arrays, inner), atol=1e-6)


@pytest.mark.parametrize("bias", [(12,), (2, 12)])
@pytest.mark.parametrize("declared", [True, False])
def test_reset_after_by_config_or_bias(
    bias: tuple[int, ...], declared: bool, tmp_path: Path
) -> None:
    arrays = drawn(4, (3, 12), (4, 12), bias)
    said = {"reset_after": len(bias) == 2} if declared else {}
    config = {"units": 4, "recurrent_activation": "hard_sigmoid", **said, **SHAPE}
    weights = {"gru": list(zip("kub", arrays, strict=True))}
    path = legacy(tmp_path / "a.h5", sequential(entry("GRU", **config)), weights, "2.1.2")
    np.testing.assert_allclose(outcome(path), plain_gru(X, *arrays, hard), atol=1e-6)


def test_reset_after_that_the_bias_denies(tmp_path: Path) -> None:
    arrays = drawn(4, (3, 12), (4, 12), (12,))
    raw = sequential(entry("GRU", units=4, reset_after=True, **SHAPE))
    weights = {"gru": list(zip("kub", arrays, strict=True))}
    path = legacy(tmp_path / "a.h5", raw, weights, "2.2.0")
    with pytest.raises(ModelFormatError, match=r"layer 'gru' \(GRU\): reset_after is True, but"):
        load_graph(path)


def test_keras_1(tmp_path: Path) -> None:
    """Twelve and nine arrays, in the order i, c, f, o and z, r, h, and the words of Keras 1."""
    kernel, recurrent, bias = drawn(5, (3, 16), (4, 16), (16,))
    i, f, c, o = (
        list(p)
        for p in zip(*(np.split(a, 4, axis=-1) for a in (kernel, recurrent, bias)), strict=True)
    )
    lstm = [(f"lstm_{n}", a) for n, a in enumerate([*i, *c, *f, *o])]
    gk, gr, gb = drawn(6, (4, 6), (2, 6), (6,))
    gru = [
        (f"gru_{n}", a)
        for n, a in enumerate(
            [
                p
                for parts in zip(*(np.split(a, 3, axis=-1) for a in (gk, gr, gb)), strict=True)
                for p in parts
            ]
        )
    ]
    w, b = drawn(7, (2, 5), (5,))
    raw = sequential(
        entry("LSTM", output_dim=4, inner_activation="hard_sigmoid", activation="tanh",
              return_sequences=False, consume_less="cpu", **SHAPE),
        entry("RepeatVector", n=3),
        entry("GRU", output_dim=2, inner_activation="hard_sigmoid"),
        entry("Dropout", p=0.5),
        entry("Dense", output_dim=5, activation="softmax", bias=True),
    )  # fmt: skip
    weights = {
        "lstm": lstm, "repeatvector": [], "gru": gru, "dropout": [],
        "dense": [("dense_W", w), ("dense_b", b)],
    }  # fmt: skip
    path = legacy(tmp_path / "a.h5", raw, weights, "1.2.2")
    first = plain_lstm(X, kernel, recurrent, bias, hard)
    second = plain_gru(np.repeat(first[:, None], 3, axis=1), gk, gr, gb, hard)
    logits = np.exp(second @ w + b)
    np.testing.assert_allclose(outcome(path), logits / logits.sum(1, keepdims=True), atol=1e-6)


def test_functional_of_keras_2(tmp_path: Path) -> None:
    """Nested lists with keyword arguments, a network inside that counts its calls from 1."""
    kernel, recurrent, bias = drawn(8, (3, 16), (4, 16), (16,))
    w, b = drawn(9, (4, 2), (2,))

    def node(kind: str, name: str, inbound: list[Any], **config: Any) -> dict[str, Any]:
        full = {"name": name, **config}
        return {"class_name": kind, "name": name, "config": full, "inbound_nodes": inbound}

    inner = [entry("Dense", units=2, activation="linear", batch_input_shape=[None, 4])]
    layers = [
        node("InputLayer", "x", [], batch_input_shape=[None, 6, 3], dtype="float32"),
        node("InputLayer", "h", [], batch_input_shape=[None, 4]),
        node("LSTM", "lstm", [[["x", 0, 0, {"initial_state": [["h", 0, 0], ["h", 0, 0]]}]]],
             units=4, recurrent_activation="sigmoid"),
        {"class_name": "Sequential", "name": "tail", "config": {"name": "tail", "layers": inner},
         "inbound_nodes": [[["lstm", 0, 0, {}]]]},
    ]  # fmt: skip
    config = {"name": "m", "layers": layers, "input_layers": [["x", 0, 0], ["h", 0, 0]]}
    raw = {"class_name": "Model", "config": {**config, "output_layers": [["tail", 1, 0]]}}
    weights = {
        "x": [], "h": [],
        "lstm": [("lstm/kernel:0", kernel), ("lstm/recurrent:0", recurrent), ("lstm/b:0", bias)],
        "tail": [("dense/kernel:0", w), ("dense/bias:0", b)],
    }  # fmt: skip
    graph = load_graph(legacy(tmp_path / "a.h5", raw, weights, "2.2.4-tf"))
    h0 = drawn(10, (2, 4))[0]
    (got,) = evaluate(graph, {"x": X, "h": h0}).values()
    h = c = h0.astype(np.float64)
    for t in range(6):
        i, f, g, o = np.split(X[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    np.testing.assert_allclose(got, h @ w + b, atol=1e-6)
    assert graph.outputs == ("tail",)


@pytest.mark.parametrize(("version", "forced"), [("2.1.6", False), ("2.5.0", True)])
def test_padding_of_a_bidirectional_by_version(version: str, forced: bool, tmp_path: Path) -> None:
    """Keras before tf.keras repeated the output before a masked step; then it became zero."""
    arrays = drawn(11, (3, 4), (4, 4), (4,)) * 2
    raw = sequential(
        entry("Masking", mask_value=0.0, **SHAPE),
        entry("Bidirectional", layer=entry("SimpleRNN", units=4, return_sequences=True)),
    )
    weights = {"masking": [], "bidirectional": list(zip("abcdef", arrays, strict=True))}
    graph = load_graph(legacy(tmp_path / "a.h5", raw, weights, version))
    x = X.copy()
    x[:, 4:] = 0
    (y,) = evaluate(graph, {graph.inputs[0].name: x}).values()
    assert np.array_equal(y[:, 5, :4], 0 * y[:, 3, :4] if forced else y[:, 3, :4])


# ------------------------------------------------------------------ published files


def test_tree_of_late_tf_keras(tmp_path: Path) -> None:
    """`_layer_checkpoint_dependencies` lists a layer twice, so its numbers have gaps."""
    arrays = drawn(12, (3, 16), (4, 16), (16,), (4, 8), (2, 8), (8,))
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for group, part in (("lstm", arrays[:3]), ("lstm_2", arrays[3:])):
            where = f"_layer_checkpoint_dependencies/{group}/cell/vars"
            for n, array in enumerate(part):
                file[f"{where}/{n}"] = array
    raw = sequential(
        entry("LSTM", units=4, recurrent_activation="sigmoid", return_sequences=True, **SHAPE),
        {
            "class_name": "LSTM",
            "config": {"name": "b", "units": 2, "recurrent_activation": "sigmoid"},
        },
    )
    content = (tmp_path / "w.h5").read_bytes()
    graph = import_weights(content, json.dumps(raw), "w.h5", keras_version="2.12.0")
    (got,) = evaluate(graph, {"lstm_input": X}).values()
    first = np.stack([plain_lstm(X[:, : t + 1], *arrays[:3], sigmoid) for t in range(6)], axis=1)
    np.testing.assert_allclose(got, plain_lstm(first, *arrays[3:], sigmoid), atol=1e-6)


@pytest.mark.zoo
def test_ethnicolr(zoo: Path) -> None:
    folder = zoo / "ethnicolr"
    graph = load_graph(folder / "census2010_ln_lstm.h5")
    with open(folder / "census2010_ln_vocab.csv", encoding="utf-8") as file:
        vocabulary = [row[0] for row in csv.reader(file)][1:]
    races = (folder / "census2010_race.csv").read_text(encoding="utf-8").split()[1:]
    names = {"Zhang": "api", "Hernandez": "hispanic", "Washington": "black", "Schmidt": "white"}
    numbers = np.zeros((len(names), 20), np.int32)
    for row, name in enumerate(names):
        pairs = [name[i : i + 2] for i in range(len(name) - 1)]
        ids = [vocabulary.index(p) if p in vocabulary else 0 for p in pairs]
        numbers[row, 20 - len(ids) :] = ids
    (found,) = evaluate(graph, {graph.inputs[0].name: numbers}).values()
    assert [races[i] for i in found.argmax(axis=1)] == list(names.values())


@pytest.mark.zoo
def test_dtln_weights_are_those_of_the_onnx_file(zoo: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    content = (zoo / "dtln" / "model.h5").read_bytes()
    with pytest.raises(UnsupportedModelError, match="holds weights and no model configuration"):
        load_graph(content)
    tensors = read_checkpoint(content, "model.h5").tensors
    graph = fold(load_graph(zoo / "dtln" / "model_1.onnx"))
    nodes = [n for n in graph.nodes if n.op == "LSTM"]
    for node, layer in zip(nodes, ("lstm", "lstm_1"), strict=True):
        for position, role in ((1, "weight_ih_l0"), (2, "weight_hh_l0"), (3, "bias_ih_l0")):
            name = node.inputs[position]
            assert name is not None
            assert np.array_equal(graph.constants[name][0], tensors[f"{layer}.{role}"])


@pytest.mark.parametrize("container", ["h5", "weights.h5"])
def test_weights_alone(container: str, tmp_path: Path) -> None:
    """Recurrent layers, Dense and Embedding in the names and the gate order of torch."""
    from keras import layers as k

    net = built(
        lambda: keras.Sequential([
            keras.Input((None,), name="ids"), k.Embedding(6, 3),
            k.Bidirectional(k.LSTM(4, return_sequences=True), name="both"),
            k.GRU(5, return_sequences=True, name="after"),
            k.GRU(2, reset_after=False, return_sequences=True, name="before"),
            k.SimpleRNN(3, use_bias=False, name="plain"), k.Dense(2, name="out"),
        ])
    )  # fmt: skip
    path = tmp_path / f"a.{container}"
    (net.save if container == "h5" else net.save_weights)(path)
    found = read_checkpoint(path.read_bytes(), "a.h5")
    kernel, recurrent, bias = net.get_layer("after").get_weights()
    z, r, n = np.split(kernel, 3, axis=1)
    assert np.array_equal(found.tensors["after.weight_ih_l0"], np.hstack([r, z, n]).T)
    z, r, n = np.split(bias[1], 3)
    assert np.array_equal(found.tensors["after.bias_hh_l0"], np.concatenate([r, z, n]))
    backward = net.get_layer("both").backward_layer.get_weights()
    assert np.array_equal(found.tensors["both.weight_hh_l0_reverse"], backward[1].T)
    assert np.array_equal(found.tensors["out.weight"], net.get_layer("out").get_weights()[0].T)
    assert "plain.bias_ih_l0" not in found.tensors and recurrent.shape == (5, 15)
    kinds = {path: (m.kind, m.attrs.get("reset_after")) for path, m in found.modules.items()}
    assert kinds == {
        "embedding": ("Embedding", None), "both": ("LSTM", None), "after": ("GRU", True),
        "before": ("GRU", False), "plain": ("RNN", None), "out": ("Linear", None),
    }  # fmt: skip


def keras_js_cases() -> list[tuple[str, str]]:
    kinds = {"LSTM": 9, "GRU": 9, "SimpleRNN": 9, "Bidirectional": 8}
    prefix = {"Bidirectional": "wrappers"}
    return [
        (k, f"{prefix.get(k, 'recurrent')}.{k}.{i}") for k, n in kinds.items() for i in range(n)
    ]


@pytest.mark.zoo
@pytest.mark.parametrize(("kind", "case"), keras_js_cases())
def test_keras_js(kind: str, case: str, zoo: Path, tmp_path: Path) -> None:
    folder = zoo / "conformance" / "keras-js"
    config = dict(json.loads((folder / "configs.json").read_text(encoding="utf-8"))[case])
    data = json.loads((folder / f"{kind}.json").read_text(encoding="utf-8"))[case]

    def array(value: dict[str, Any]) -> Array:
        return np.asarray(value["data"], np.float32).reshape(value["shape"])

    calls = config.pop("calls_before_compare")
    x, want = array(data["input"]), array(data["expected"])
    inner, merge = config.pop("layer", kind), config.pop("merge_mode", None)
    config = {k: v for k, v in config.items() if k != "hard_sigmoid" and v is not None}
    if inner != "GRU":
        config.pop("reset_after", None)
    raw = entry(inner, **config)
    if kind == "Bidirectional":
        raw = entry("Bidirectional", layer=raw, merge_mode=merge)
    raw["config"]["batch_input_shape"] = [None, *x.shape]
    weights = [(f"w{i}", array(w)) for i, w in enumerate(data["weights"])]
    path = legacy(tmp_path / "a.h5", sequential(raw), {raw["config"]["name"]: weights}, "2.0.4")
    graph = load_graph(path)
    name = graph.inputs[0].name
    if calls == 1:
        (got,) = evaluate(graph, {name: x[None]}).values()
        np.testing.assert_allclose(got[0], want, atol=5e-6)
        np.testing.assert_allclose(Model(graph).run(x[None])[0], want, atol=5e-6)
        return
    assert config["stateful"]
    np.testing.assert_allclose(again(raw, weights, x, calls, tmp_path), want, atol=5e-6)


def again(
    raw: dict[str, Any], weights: list[tuple[str, Array]], x: Array, calls: int, folder: Path
) -> Array:
    """Output of the last of several calls, each with the state that the one before returned."""
    units = raw["config"]["units"]
    count = 2 if raw["class_name"] == "LSTM" else 1
    states = [f"s{i}" for i in range(count)]

    def node(kind: str, name: str, inbound: list[Any], config: dict[str, Any]) -> dict[str, Any]:
        return {"class_name": kind, "name": name, "config": config, "inbound_nodes": inbound}

    layers = [node("InputLayer", "x", [], {"name": "x", "batch_input_shape": [None, *x.shape]})]
    for s in states:
        config = {"name": s, "batch_input_shape": [None, units]}
        layers.append(node("InputLayer", s, [], config))
    inbound = [[[name, 0, 0, {}] for name in ("x", *states)]]
    config = {**raw["config"], "return_state": True, "name": "layer"}
    layers.append(node(raw["class_name"], "layer", inbound, config))
    model = {
        "name": "m", "layers": layers, "input_layers": [[n, 0, 0] for n in ("x", *states)],
        "output_layers": [["layer", 0, i] for i in range(1 + count)],
    }  # fmt: skip
    whole = {"class_name": "Model", "config": model}
    names: dict[str, list[tuple[str, Array]]] = {n: [] for n in ("x", *states)}
    graph = load_graph(legacy(folder / "again.h5", whole, {**names, "layer": weights}, "2.0.4"))
    carried = [np.zeros((1, units), np.float32)] * count
    out = np.zeros(0)
    for _ in range(calls):
        out, *carried = (
            Model(graph).run({"x": x[None], **dict(zip(states, carried, strict=True))}).values()
        )
    return np.asarray(out)[0]


def test_gzip_shuffle_and_checksums_are_undone(tmp_path: Path) -> None:
    """Repacked files hold the same numbers, big-endian and half-precision ones too."""
    value = drawn(13, (37, 19))[0]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", data=value, compression="gzip", shuffle=True, chunks=(8, 8))
        file.create_dataset("b", data=value, fletcher32=True, chunks=(10, 19))
        file["c"], file["d"] = value.astype(">f4"), value.astype("f2")
        file["e"] = np.arange(4, dtype=">i8")
    root = read_hdf5((tmp_path / "a.h5").read_bytes(), "a.h5")
    for name in "abc":
        assert np.array_equal(root.arrays[name], value) and root.arrays[name].dtype.isnative
    assert root.arrays["d"].dtype == np.float32
    assert root.arrays["e"].tolist() == [0, 1, 2, 3]


def test_file_objects_and_bytes(tmp_path: Path) -> None:
    net = built(MODELS["gru_both_resets"])
    net.save(tmp_path / "a.keras")
    content = (tmp_path / "a.keras").read_bytes()
    assert load_graph(io.BytesIO(content)).outputs == load_graph(content).outputs
