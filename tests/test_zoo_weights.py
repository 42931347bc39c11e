"""Published weights without graphs: the same bits from every format, and torch's numbers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from rnnengine.importers import load_graph, read_checkpoint
from rnnengine.importers.architecture import build_graph
from rnnengine.importers.kernels import keras_checkpoint
from rnnengine.passes.fold import fold

Array = np.ndarray[Any, Any]

pytestmark = pytest.mark.zoo

BOUND = 2e-6
FRAMES = 40


def stored(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def frames(seed: int = 0) -> Array:
    """Magnitudes as a spectrum has them: not negative, over several orders of size."""
    rng = np.random.default_rng(seed)
    values = np.exp(rng.normal(-3, 2, (1, FRAMES, 257)))
    return np.asarray(values, np.float32)


STAGE = rn.Sequential(
    rn.LSTM(257, 128, batch_first=True, name="first"),
    rn.LSTM(128, 128, batch_first=True, name="second"),
    rn.Linear(128, 257, activation="sigmoid", name="mask"),
)
DTLN = {
    "dtln/model.h5": {"lstm": "first", "lstm_1": "second", "dense": "mask"},
    "dtln-pytorch/model.pth": {"sep1.rnn1": "first", "sep1.rnn2": "second", "sep1.dense": "mask"},
}


@pytest.mark.parametrize("path", DTLN)
def test_dtln_layers_are_those_of_the_onnx_file(zoo: Path, path: str) -> None:
    """Each LSTM as one layer of its own file, and as the node of model_1.onnx: equal bits."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    graph = fold(load_graph(zoo / "dtln" / "model_1.onnx"))
    nodes = [node for node in graph.nodes if node.op == "LSTM"]
    layers = [name for name in DTLN[path] if DTLN[path][name] != "mask"]
    leaves = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    for node, layer in zip(nodes, layers, strict=True):
        constants = [graph.constants[str(name)][0] for name in node.inputs[1:5]]
        same = stored(
            {f"x.{leaf}": np.asarray(c) for leaf, c in zip(leaves, constants, strict=True)}
        )
        x = np.random.default_rng(1).standard_normal((20, 3, constants[0].shape[1]))
        x = x.astype(np.float32)
        expected = rn.load(same, layer="x").run(x)
        lone = rn.LSTM(x.shape[2], 128)
        found = rn.load(zoo / path, layer=layer, architecture=lone).run(x)
        for name, array in expected.items():
            assert np.asarray(array).tobytes() == np.asarray(found[name]).tobytes()


def stage(zoo: Path, path: str) -> rn.Model:
    """The first stage from the weights of a file."""
    tensors = read_checkpoint((zoo / path).read_bytes(), path)
    assert tensors is not None
    named = {}
    for name, array in tensors.tensors.items():
        module, _, leaf = name.rpartition(".")
        if module in DTLN[path]:
            named[f"{DTLN[path][module]}.{leaf}"] = array
    return rn.load(stored(named), architecture=STAGE)


def test_dtln_stages_give_equal_bits(zoo: Path) -> None:
    """Weights of Keras and of PyTorch as whole series, and both ONNX files frame by frame."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    x = frames()
    mask = np.asarray(stage(zoo, "dtln/model.h5").run(x))
    assert 0.01 < mask.mean() < 0.99
    assert mask.tobytes() == np.asarray(stage(zoo, "dtln-pytorch/model.pth").run(x)).tobytes()

    direct = rn.Sequential(
        rn.LSTM(257, 128, batch_first=True, name="rnn1"),
        rn.LSTM(128, 128, batch_first=True, name="rnn2"),
        rn.Linear(128, 257, activation="sigmoid", name="dense"),
    )
    model = rn.load(zoo / "dtln-pytorch/model.pth", architecture=direct, prefix="sep1")
    assert mask.tobytes() == np.asarray(model.run(x)).tobytes()

    for path, scale in (("dtln/model_1.onnx", np.ones_like(x)), ("dtln-pytorch/model_p1.onnx", x)):
        stream = rn.load(zoo / path).stream()
        steps = [stream.step(x[:, t : t + 1]) for t in range(FRAMES)]
        parts = [np.asarray(next(iter(s.values())) if isinstance(s, dict) else s) for s in steps]
        assert np.concatenate(parts, 1).tobytes() == (mask * scale).tobytes()


def witness(layer: Any, x: Array, states: tuple[Array, ...] = ()) -> list[Array]:
    """Outputs of a torch layer in float64."""
    import torch

    given = [torch.from_numpy(s.astype(np.float64)) for s in states]
    state = tuple(given) if len(given) > 1 else given[0] if given else None
    with torch.no_grad():
        y, final = layer.double()(torch.from_numpy(x.astype(np.float64)), state)
    finals = final if isinstance(final, tuple) else (final,)
    return [y.numpy(), *(f.numpy() for f in finals)]


def torch_layer(cell: str, tensors: dict[str, Array], **words: Any) -> Any:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    inputs = tensors["weight_ih_l0"].shape[1]
    hidden = tensors["weight_hh_l0"].shape[1]
    layer = getattr(torch.nn, cell)(inputs, hidden, **words)
    layer.load_state_dict({n: torch.from_numpy(np.array(v)) for n, v in tensors.items()})
    return layer


def agree(found: Any, expected: list[Array]) -> None:
    values = list(found.values()) if isinstance(found, dict) else [found]
    for ours, theirs in zip(values, expected, strict=True):
        scale = max(1.0, float(np.abs(theirs).max(initial=0.0)))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=BOUND * scale)


def test_gtcrn_recurrent_layers(zoo: Path) -> None:
    """Every GRU of the checkpoint, of either number of directions, against PyTorch."""
    path = zoo / "gtcrn/model_trained_on_dns3.tar"
    layers = rn.inspect(path).layers
    checkpoint = read_checkpoint(path.read_bytes(), "gtcrn")
    assert checkpoint is not None
    assert len(layers) >= 12
    assert any(layer.words["bidirectional"] for layer in layers)
    rng = np.random.default_rng(0)
    for layer in layers:
        own = {
            name.removeprefix(f"{layer.path}."): array
            for name, array in checkpoint.tensors.items()
            if name.startswith(f"{layer.path}.")
        }
        peer = torch_layer(layer.cell, own, bidirectional=layer.words["bidirectional"])
        x = rng.standard_normal((30, 2, peer.input_size)).astype(np.float32)
        agree(rn.load(path, layer=layer.path).run(x), witness(peer, x))


RTEN = ("lstm_forwards", "lstm_bidirectional", "lstm_initial", "gru_forwards",
        "gru_bidirectional", "gru_initial")  # fmt: skip


@pytest.mark.parametrize("name", RTEN)
def test_rten_cases(zoo: Path, name: str) -> None:
    """Reference outputs of PyTorch, without a batch axis, stored to six digits or so."""
    raw = json.loads((zoo / "conformance/rten-ref/rnn.json").read_text())[name]

    def array(entry: Any) -> Array:
        shape, data = entry
        return np.array(data, np.float32).reshape(shape)

    weights = {f"rnn.{n}": array(v) for n, v in raw["params"].items()}
    x = array(raw["input"])[:, None]
    kind = rn.LSTM if name.startswith("lstm") else rn.GRU
    layer = kind(10, 5, bidirectional="bidirectional" in name, name="rnn")
    feeds = {"x": x}
    inputs = [rn.Input(("time", "batch", 10), name="x")]
    for word in ("initial_hidden", "initial_cell"):
        if word in raw:
            feeds[word] = array(raw[word]).reshape(1, 1, 5)
            inputs.append(rn.Input((1, "batch", 5), name=word))
    made = layer(*inputs)
    output = made[0] if isinstance(made, tuple) else made
    model = rn.load(stored(weights), architecture={"y": output})
    found = np.asarray(model.run(feeds))
    np.testing.assert_allclose(found[:, 0], array(raw["output"]), rtol=0, atol=BOUND)


def _series(path: Path) -> Array:
    return np.loadtxt(path, dtype=np.float64).reshape(-1)


KERAS_NAMES = {
    "dense": ("kernel", "bias"),
    "time-distributed-dense": ("kernel", "bias"),
    "gru": ("kernel", "recurrent_kernel", "bias"),
    "lstm": ("kernel", "recurrent_kernel", "bias"),
}


def rtneural_keras(raw: dict[str, Any]) -> rn.Model:
    """A network of layers in Keras' layout."""
    layers: list[Any] = []
    arrays: dict[str, list[tuple[str, Array]]] = {}
    for number, entry in enumerate(raw["layers"]):
        name, kind, units = f"layer{number}", entry["type"], entry["shape"][-1]
        listed = [np.array(w, np.float32) for w in entry["weights"]]
        arrays[name] = list(zip(KERAS_NAMES[kind], listed, strict=True))
        if kind in ("gru", "lstm"):
            cell = rn.GRU if kind == "gru" else rn.LSTM
            layers.append(cell(units=units, activation=entry["activation"], name=name))
        else:
            activation = entry["activation"] or "linear"
            layers.append(rn.Dense(units, activation=activation, name=name))
    checkpoint = keras_checkpoint(arrays, "rtneural")
    return rn.Model(build_graph(checkpoint, rn.Sequential(*layers)))


def rtneural_torch(raw: dict[str, Any]) -> rn.Model:
    """One layer, three stacked layers, and a Linear, in torch's names."""
    tensors = {name: np.array(value, np.float32) for name, value in raw.items()}
    first, second, _ = dict.fromkeys(name.partition(".")[0] for name in tensors)
    kind = getattr(rn, first.upper())
    network = rn.Sequential(
        kind(1, 8, batch_first=True, name=first),
        kind(8, 8, num_layers=3, batch_first=True, name=second),
        rn.Linear(8, 1, name="dense"),
    )
    return rn.load(stored(tensors), architecture=network)


@pytest.mark.parametrize("name", ["gru", "gru_1d", "gru_torch", "lstm", "lstm_1d", "lstm_torch"])
def test_rtneural_models(zoo: Path, name: str) -> None:
    """Published outputs, as a whole series and sample by sample."""
    folder = zoo / "conformance/rtneural"
    raw = json.loads((folder / f"{name}.json").read_text())
    model = rtneural_keras(raw) if "layers" in raw else rtneural_torch(raw)
    x = _series(folder / f"{name}_x_python.csv").astype(np.float32).reshape(1, -1, 1)
    expected = _series(folder / f"{name}_y_python.csv")
    y = np.asarray(model.run(x))
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(y.reshape(-1), expected, rtol=0, atol=1e-5 * scale)
    stream = model.stream(batch=1)
    steps = [np.asarray(stream.step(x[:, t])) for t in range(x.shape[1])]
    assert np.stack(steps, 1).tobytes() == y.tobytes()


def test_nam_lstm(zoo: Path) -> None:
    """One flat list: [W | U] row by row, bias, h0, c0 of each layer, then the head."""
    raw = json.loads((zoo / "conformance/nam-lstm/lstm.nam").read_text())
    config, flat = raw["config"], np.array(raw["weights"], np.float32)
    layers, hidden, inputs = (config[k] for k in ("num_layers", "hidden_size", "input_size"))
    at, tensors, states = 0, {}, []

    def take(*shape: int) -> Array:
        nonlocal at
        at += int(np.prod(shape))
        return flat[at - int(np.prod(shape)) : at].reshape(shape)

    for k in range(layers):
        columns = inputs if k == 0 else hidden
        both = take(4 * hidden, columns + hidden)
        tensors[f"lstm.weight_ih_l{k}"] = both[:, :columns]
        tensors[f"lstm.weight_hh_l{k}"] = both[:, columns:]
        tensors[f"lstm.bias_ih_l{k}"] = take(4 * hidden)
        tensors[f"lstm.bias_hh_l{k}"] = np.zeros(4 * hidden, np.float32)
        states.append((take(hidden), take(hidden)))
    tensors["head.weight"], tensors["head.bias"] = take(1, hidden), take(1)
    assert at == flat.size
    network = rn.Sequential(
        rn.LSTM(inputs, hidden, num_layers=layers, batch_first=True, name="lstm"),
        rn.Linear(hidden, 1, name="head"),
    )
    model = rn.load(stored(tensors), architecture=network)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 200, inputs)).astype(np.float32)
    stream = model.stream(batch=1)
    names = list(stream.state)
    stream.state = {
        name: states[int(i // 2)][i % 2].reshape(1, 1, hidden) for i, name in enumerate(names)
    }
    steps = np.stack([np.asarray(stream.step(x[:, t])) for t in range(200)], 1)
    own = {n.removeprefix("lstm."): v for n, v in tensors.items() if n.startswith("lstm.")}
    peer = torch_layer("LSTM", own, num_layers=layers, batch_first=True)
    given = tuple(np.stack([s[i] for s in states])[:, None] for i in range(2))
    hidden_states = witness(peer, x, given)[0]
    head = tensors["head.weight"].astype(np.float64)
    expected = hidden_states @ head.T + tensors["head.bias"].astype(np.float64)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(steps, expected, rtol=0, atol=1e-5 * scale)
