"""Each known mistake, made while importing; validate is told the true outputs and must name it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from rnnengine.importers.native import pack

Array = np.ndarray[Any, Any]
I, H, T, B = 3, 5, 6, 3  # noqa: E741

torch = pytest.importorskip("torch")


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{name: np.asarray(value, np.float32) for name, value in arrays.items()})
    return file.getvalue()


def made(kind: str, seed: int = 0, **options: Any) -> tuple[Any, dict[str, Array]]:
    """A layer of torch with larger weights than torch draws, and its state_dict."""
    torch.manual_seed(seed)
    layer = getattr(torch.nn, kind)(I, H, batch_first=True, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.8)
    return layer, {name: value.numpy() for name, value in layer.state_dict().items()}


def data(seed: int = 1, batch: int = B, steps: int = T) -> Array:
    return np.random.default_rng(seed).standard_normal((batch, steps, I)).astype(np.float32)


def true(layer: Any, x: Array, *state: Any) -> Array:
    """The output sequence of a layer of torch in float64."""
    with torch.no_grad():
        given = [torch.from_numpy(s).double() for s in state]
        both = tuple(given) if len(given) > 1 else given[0] if given else None
        result: Array = layer.double()(torch.from_numpy(x).double(), both)[0].numpy()
    return result


def named(found: rn.Validation, name: str, *words: str) -> None:
    """The one cause is the one that was made."""
    assert not found.passed
    assert found.cause is not None, str(found)
    assert [cause.name for cause in found.causes] == [name], str(found)
    assert all(word in found.cause for word in words), found.cause
    assert all(o.engine.passed for s in found.samples for o in s.outputs)


def check(model: rn.Model, x: Any, y: Any, name: str, *words: str, **options: Any) -> None:
    inputs = x if isinstance(x, dict) else {model.inputs[0].name: x}
    expected = y if isinstance(y, dict) else {model.outputs[0].name: y}
    named(rn.validate(model, inputs=inputs, expected=expected, **options), name, *words)


def edited(model: rn.Model, change: Callable[[Any], Any]) -> rn.Model:
    """A model with one node's attributes or inputs changed, by way of a file."""
    graph = model.portable_graph()
    nodes = tuple(change(node) for node in graph.nodes)
    return rn.load(pack(graph.with_(nodes=nodes)))


def onnx_file(
    node: Any, inputs: dict[str, Any], outputs: dict[str, Any], **constants: Any
) -> bytes:
    onnx = pytest.importorskip("onnx")
    info = onnx.helper.make_tensor_value_info
    nodes = node if isinstance(node, list) else [node]
    graph = onnx.helper.make_graph(
        nodes, "g",
        [info(k, 1, v) for k, v in inputs.items()], [info(k, 1, v) for k, v in outputs.items()],
        [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 9
    return bytes(model.SerializeToString())


def onnx_lstm(weights: dict[str, Array], **attrs: Any) -> Any:
    """An LSTM node with torch's weights, and its constants."""
    onnx = pytest.importorskip("onnx")

    def moved(v: Array) -> Array:
        i, f, g, o = np.split(v, 4)
        return np.concatenate([i, o, f, g])[None]

    bias = np.concatenate([moved(weights[f"bias_{k}_l0"]) for k in ("ih", "hh")], axis=1)
    constants = {
        "W": moved(weights["weight_ih_l0"]), "R": moved(weights["weight_hh_l0"]), "B": bias,
    }  # fmt: skip
    inputs = attrs.pop("inputs", ["x", "W", "R", "B"])
    outputs = attrs.pop("outputs", ["y"])
    node = onnx.helper.make_node("LSTM", inputs, outputs, name="lstm", hidden_size=H, **attrs)
    return node, constants


def test_go_backwards() -> None:
    """(a) Keras' go_backwards written as ONNX' reverse, as converters did."""
    layer, weights = made("LSTM")
    node, constants = onnx_lstm(weights, direction="reverse")
    model = rn.load(onnx_file(node, {"x": ["t", "b", I]}, {"y": ["t", 1, "b", H]}, **constants))
    x = data()
    computed = true(layer, x[:, ::-1].copy()).transpose(1, 0, 2)[:, None]
    check(model, x.transpose(1, 0, 2), computed, "go_backwards", "other order of time")


def test_reset_after() -> None:
    """(b) A GRU of torch read as Keras' reset_after=False."""
    layer, weights = made("GRU")
    model = rn.load(
        npz(**weights), architecture=rn.GRU(I, H, batch_first=True, reset_after=False, name="")
    )
    check(model, data(), true(layer, data()), "reset_after")


@pytest.mark.parametrize(("file", "read"), [(2, 3), (3, 2)])
def test_hard_sigmoid(file: int, read: int) -> None:
    """(c) hard_sigmoid of Keras 2 read as Keras 3's, and the other way round."""
    slope = {2: 0.2, 3: 1 / 6}[file]
    _, weights = made("LSTM")
    x = data().astype(np.float64)
    h = c = np.zeros((B, H))
    steps = []
    for t in range(T):
        a = x[:, t] @ weights["weight_ih_l0"].T + h @ weights["weight_hh_l0"].T
        a = a + weights["bias_ih_l0"] + weights["bias_hh_l0"]
        i, f, g, o = np.split(a, 4, axis=1)
        i, f, o = (np.clip(slope * v + 0.5, 0, 1) for v in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        steps.append(h)
    words = {"recurrent_activation": f"hard_sigmoid_keras{read}", "name": ""}
    model = rn.load(npz(**weights), architecture=rn.LSTM(I, H, batch_first=True, **words))
    check(model, data(), np.stack(steps, axis=1), "hard_sigmoid", f"{slope:.3g}"[:4])


def test_forget_bias() -> None:
    """(d) BasicLSTMCell of TensorFlow 1 without the 1.0 that it adds at run time."""
    rng = np.random.default_rng(5)
    kernel, bias = rng.normal(size=(I + H, 4 * H)), rng.normal(size=4 * H)
    x = data().astype(np.float64)
    h = c = np.zeros((B, H))
    steps = []

    def sigmoid(v: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-v)))

    kernel, bias = kernel.astype(np.float32), bias.astype(np.float32)
    for t in range(T):
        i, j, f, o = np.split(np.concatenate([x[:, t], h], 1) @ kernel + bias, 4, axis=1)
        c = c * sigmoid(f + 1.0) + sigmoid(i) * np.tanh(j)
        h = np.tanh(c) * sigmoid(o)
        steps.append(h)
    weights = {
        "weight_ih_l0": kernel[:I].T, "weight_hh_l0": kernel[I:].T, "bias_ih_l0": bias,
        "bias_hh_l0": 0 * bias,
    }  # fmt: skip
    net = rn.LSTM(I, H, batch_first=True, gate_order="igfo", name="")
    check(rn.load(npz(**weights), architecture=net), data(), np.stack(steps, 1), "forget_bias",
          "adds 1.0")  # fmt: skip


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_cudnn(kind: str) -> None:
    """(e) Kernels of CuDNNLSTM and CuDNNGRU read as if they were Keras'."""
    layer, weights = made(kind)
    count = {"LSTM": 4, "GRU": 3}[kind]

    def kept(block: Array) -> Array:
        """CuDNN's array, as Keras 2 stores it, of a gate's kernel [I, H]."""
        return block.reshape(block.shape[::-1], order="F").T

    stored = dict(weights)
    stored["weight_ih_l0"] = np.concatenate(
        [kept(b.T).T for b in np.split(weights["weight_ih_l0"], count)]
    )
    stored["weight_hh_l0"] = np.concatenate([b.T for b in np.split(weights["weight_hh_l0"], count)])
    net = getattr(rn, kind)(I, H, batch_first=True, name="")
    model = rn.load(npz(**stored), architecture=net)
    check(model, data(), true(layer, data()), "CuDNN transposes", "transposed for each gate")


@pytest.mark.parametrize("final", [False, True])
def test_state_order(final: bool) -> None:
    """(f) TensorFlow's (c, h) fed to, or taken from, an LSTM that has (h, c)."""
    layer, weights = made("LSTM")
    outputs = ["", "h1", "c1"] if final else ["y"]
    inputs = ["x", "W", "R", "B"] + ([] if final else ["", "c0", "h0"])
    node, constants = onnx_lstm(weights, inputs=inputs, outputs=outputs)
    state = {k: [1, "b", H] for k in ("h0", "c0")}
    x = data()
    given = {k: np.random.default_rng(i).normal(size=(1, B, H)).astype("f4")
             for i, k in enumerate(state)}  # fmt: skip
    if final:
        results = {"c1": [1, "b", H], "h1": [1, "b", H]}
        file = onnx_file(node, {"x": ["t", "b", I]}, results, **constants)
        with torch.no_grad():
            _, (h, c) = layer.double()(torch.from_numpy(x).double())
        wanted = {"h1": c.numpy(), "c1": h.numpy()}
        feeds = {"x": x.transpose(1, 0, 2)}
    else:
        file = onnx_file(node, {"x": ["t", "b", I], **state}, {"y": ["t", 1, "b", H]}, **constants)
        y = true(layer, x, given["h0"], given["c0"])
        wanted = {"y": y.transpose(1, 0, 2)[:, None]}
        feeds = {"x": x.transpose(1, 0, 2), **given}
    which = "final" if final else "initial"
    check(rn.load(file), feeds, wanted, "h and c", f"its {which} h and c")


def merged() -> tuple[Any, dict[str, Array], rn.Model]:
    layer, weights = made("GRU")
    stored = dict(weights)
    stored["bias_ih_l0"] = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    stored["bias_hh_l0"] = 0 * weights["bias_hh_l0"]
    net = rn.GRU(I, H, batch_first=True, name="")
    return layer, weights, rn.load(npz(**stored), architecture=net)


def test_merged_bias_with_the_checkpoint() -> None:
    """(g) bias_ih + bias_hh in one, which the candidate of a GRU does not allow."""
    layer, weights, model = merged()
    check(model, data(), true(layer, data()), "merged biases", "apart, as the checkpoint does",
          source=npz(**weights))  # fmt: skip


def test_merged_bias_without_the_checkpoint() -> None:
    """(g) again, with nothing but the outputs to go by."""
    layer, _, model = merged()
    check(model, data(), true(layer, data()), "merged biases", "fitted")


def test_layers() -> None:
    """(h) The first layer alone of num_layers=2."""
    layer, weights = made("GRU", num_layers=2)
    first = {k: v for k, v in weights.items() if k.endswith("_l0")}
    model = rn.load(npz(**first), architecture=rn.GRU(I, H, batch_first=True, name=""))
    inputs, y = {"input": data()}, {"output": true(layer, data())}
    source = npz(**{f"rnn.{k}": v for k, v in weights.items()})
    found = rn.validate(model, inputs=inputs, expected=y, source=source)
    named(found, "layers of a stack", "that the model has not")


def test_layers_of_the_reference() -> None:
    """(h) The other way round: the outputs are those of a program that took the first layer."""
    layer, weights = made("LSTM", num_layers=2)
    alone, _ = made("LSTM")
    alone.load_state_dict({k: v for k, v in layer.state_dict().items() if k.endswith("_l0")})
    net = rn.Sequential(rn.LSTM(I, H, 2, batch_first=True, name="rnn"), rn.Identity())
    model = rn.load(npz(**{f"rnn.{k}": v for k, v in weights.items()}), architecture=net)
    check(model, data(), true(alone, data()), "layers of a stack", "leaves this layer out")


def test_baked_batch() -> None:
    """(i) An initial state, with the batch of the example, left in an export."""
    layer, weights = made("LSTM")
    inputs = ["x", "W", "R", "B", "", "h0", "c0"]
    node, constants = onnx_lstm(weights, inputs=inputs)
    example = {k: np.random.default_rng(i).normal(size=(1, 1, H)).astype("f4")
               for i, k in enumerate(("h0", "c0"))}  # fmt: skip
    file = onnx_file(node, {"x": ["t", "b", I]}, {"y": ["t", 1, "b", H]}, **constants, **example)
    for batch in (1, B):
        x = data(batch=batch)
        y = true(layer, x).transpose(1, 0, 2)[:, None]
        found = rn.validate(rn.load(file), inputs={"x": x.transpose(1, 0, 2)}, expected={"y": y})
        assert [c.name for c in found.causes] == ["batch baked into the initial state"], str(found)
        assert bool(found.samples[0].refused) == (batch != 1)


def test_projection_behind_the_layer() -> None:
    """(j) proj_size written as a product behind an ONNX LSTM, which has no projection."""
    onnx = pytest.importorskip("onnx")
    # A projection to as many features as there are units: every shape fits without it.
    weights = made("LSTM", seed=3)[1]
    matrix = np.random.default_rng(9).normal(size=(H, H)).astype("f4")
    x = data().astype(np.float64)
    h, c, steps = np.zeros((B, H)), np.zeros((B, H)), []
    for t in range(T):
        a = x[:, t] @ weights["weight_ih_l0"].T + h @ weights["weight_hh_l0"].T
        i, f, g, o = np.split(a + weights["bias_ih_l0"] + weights["bias_hh_l0"], 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-v)) for v in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c) @ matrix.T
        steps.append(h)
    node, constants = onnx_lstm(weights)
    nodes = [
        node,
        onnx.helper.make_node("Squeeze", ["y", "one"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "P"], ["z"]),
    ]
    constants.update(one=np.array([1]), P=matrix.T.copy())
    model = rn.load(onnx_file(nodes, {"x": ["t", "b", I]}, {"z": ["t", "b", H]}, **constants))
    check(model, data().transpose(1, 0, 2), np.stack(steps), "projection", "feeds the recurrence")


def test_hidden_size_is_not_the_width_of_the_output() -> None:
    """(k) A projected LSTM read with as many units as its output has features."""
    width = 2
    torch.manual_seed(2)
    layer = torch.nn.LSTM(I, H, proj_size=width, batch_first=True)
    weights = {k: 3 * v.numpy() for k, v in layer.state_dict().items()}
    layer.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    cut = {k: v[: 4 * width] for k, v in weights.items() if "hr" not in k}
    model = rn.load(npz(**cut), architecture=rn.LSTM(I, width, batch_first=True, name=""))
    check(model, data(), true(layer, data()), "hidden and output width", "more hidden units",
          source=npz(**weights))  # fmt: skip


def test_last_step_of_both_directions() -> None:
    """(k) The last step of a bidirectional output, where Keras passes the final states on."""
    layer, weights = made("GRU", bidirectional=True)
    y = true(layer, data())
    final = np.concatenate([y[:, -1, :H], y[:, 0, H:]], axis=1)
    net = rn.GRU(I, H, batch_first=True, bidirectional=True, return_sequences=False, name="")
    right = rn.load(npz(**weights), architecture=net)
    assert rn.validate(right, inputs={"input": data()}, expected={"output": final}).passed
    check(right, data(), y[:, -1], "hidden and output width", "backward half")


def quantised() -> tuple[Any, dict[str, Array], rn.Model]:
    """Weights on 8 bits with a scale for each row, read with the first scale for all rows."""
    layer, weights = made("LSTM")
    whole, wrong = dict(weights), dict(weights)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        scales = np.abs(weights[name]).max(axis=1, keepdims=True) / 127
        numbers = np.rint(weights[name] / scales)
        whole[name], wrong[name] = numbers * scales, numbers * scales[0]
    layer.load_state_dict({k: torch.from_numpy(v.astype("f4")) for k, v in whole.items()})
    net = rn.LSTM(I, H, batch_first=True, name="")
    return layer, whole, rn.load(npz(**wrong), architecture=net)


def test_int8_scale_with_the_checkpoint() -> None:
    """(l) One scale for all rows of 8-bit weights that have one each."""
    layer, weights, model = quantised()
    check(model, data(), true(layer, data()), "int8 scale", "as the checkpoint says",
          source=npz(**weights))  # fmt: skip


def test_int8_scale_without_the_checkpoint() -> None:
    """(l) again, with nothing but the outputs of more rows to go by."""
    layer, _, model = quantised()
    x = data(batch=8, steps=5)
    check(model, x, true(layer, x), "int8 scale", "fitted")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
@pytest.mark.filterwarnings("ignore::UserWarning:keras")
@pytest.mark.parametrize("mistake", ["zero", "none"])
def test_mask(mistake: str, tmp_path: Path) -> None:
    """(m) Masked steps as zeros, or taken like any other, where Keras repeats the last output."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(1)
    net = keras.Sequential(
        [
            keras.Input((None, I)),
            keras.layers.Masking(0.0),
            keras.layers.LSTM(H, return_sequences=1),
        ]
    )
    net.save(tmp_path / "m.keras")
    x = data()
    x[0, 1:3], x[1, :2], x[2, -2:] = 0, 0, 0
    y = net(x).detach().numpy()

    def change(node: Any) -> Any:
        if node.op != "LSTM":
            return node
        attrs, inputs = dict(node.attrs), node.inputs
        if mistake == "zero":
            attrs["masked_output"] = "zero"
        return type(node)(node.op, node.name, inputs, node.outputs, attrs)

    right = rn.load(tmp_path / "m.keras")
    assert rn.validate(right, inputs={right.inputs[0].name: x},
                       expected={right.outputs[0].name: y}).passed  # fmt: skip
    if mistake == "zero":
        check(edited(right, change), x, y, "masked steps", "zero and the carried output")
    else:
        bare = keras.Sequential([keras.Input((None, I)), *net.layers[1:]])
        check(right, x, bare(x).detach().numpy(), "masked steps", "no mask")


def test_clip_of_onnx() -> None:
    """onnxruntime does not clip the input of h(), as the text of the operator says."""
    onnxruntime = pytest.importorskip("onnxruntime")
    _, weights = made("LSTM")
    node, constants = onnx_lstm(weights, clip=0.5)
    content = onnx_file(node, {"x": ["t", "b", I]}, {"y": ["t", 1, "b", H]}, **constants)
    x = data().transpose(1, 0, 2).copy()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    check(rn.load(content), x, session.run(None, {"x": x})[0], "clip", "h()")


@pytest.mark.parametrize("order", ["iofg", "igfo", "figo", "ifog"])
def test_lstm_gate_orders(order: str) -> None:
    """Weights in ONNX' order and others read as torch's."""
    layer, weights = made("LSTM")
    wrong = {
        k: np.concatenate([np.split(v, 4)["ifgo".index(gate)] for gate in order])
        for k, v in weights.items()
    }
    model = rn.load(npz(**wrong), architecture=rn.LSTM(I, H, batch_first=True, name=""))
    check(
        model,
        data(),
        true(layer, data()),
        "gate order",
        f"{order} (",
        "read as ifgo (PyTorch",
    )


@pytest.mark.parametrize("order", ["zrn", "nrz"])
def test_gru_gate_orders(order: str) -> None:
    """Weights in ONNX' and Keras' order, and in one that nobody has, read as torch's."""
    layer, weights = made("GRU")
    wrong = {
        k: np.concatenate([np.split(v, 3)["rzn".index(gate)] for gate in order])
        for k, v in weights.items()
    }
    net = rn.Sequential(rn.GRU(I, H, batch_first=True, name="a"), rn.Identity())
    model = rn.load(npz(**{f"a.{k}": v for k, v in wrong.items()}), architecture=net)
    check(model, data(), true(layer, data()), "gate order")


def test_a_mistake_in_one_of_two_layers() -> None:
    """The node is named."""
    first, one = made("GRU", seed=1)
    torch.manual_seed(4)
    second = torch.nn.GRU(H, H, batch_first=True)
    two = {k: v.numpy() * 3 for k, v in second.state_dict().items()}
    second.load_state_dict({k: torch.from_numpy(v) for k, v in two.items()})
    net = rn.Sequential(
        rn.GRU(I, H, batch_first=True, name="a"),
        rn.GRU(H, H, batch_first=True, reset_after=False, name="b"),
    )
    arrays = {**{f"a.{k}": v for k, v in one.items()}, **{f"b.{k}": v for k, v in two.items()}}
    model = rn.load(npz(**arrays), architecture=net)
    y = true(second, true(first, data()).astype(np.float64))
    found = rn.validate(model, inputs={"input": data()}, expected={"output": y})
    named(found, "reset_after")
    assert found.causes[0].nodes == ("b",)


def test_what_nothing_explains_is_said_to_be_unexplained() -> None:
    _, weights = made("LSTM")
    model = rn.load(npz(**weights), architecture=rn.LSTM(I, H, batch_first=True, name=""))
    other = true(made("LSTM", seed=8)[0], data())
    found = rn.validate(model, inputs={"input": data()}, expected={"output": other})
    assert not found.passed
    assert found.cause is None
    assert found.tried > 20
    assert f"none of the {found.tried} known mistakes" in str(found)
