"""Where a framework answers differently from the oracle on purpose, and why the oracle is right.

Every row is tested to still deviate, so that a corrected framework shows up; docs/deviations.md
tells the same to people.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Deviation:
    """One ruling against a witness.

    ``check`` returns True while the witness still deviates in the way described.
    """

    case: str
    witness: str
    version: str
    ruling: str
    why: str
    check: Callable[[], bool]


def model(op: str, feeds: dict[str, Array], outputs: tuple[str, ...], **attrs: Any) -> bytes:
    """An ONNX model of one recurrent node (opset 22) whose inputs are all fed."""
    from onnx import TensorProto, helper

    attrs = {"hidden_size": feeds["R"].shape[2], **attrs}
    attrs = {name: value for name, value in attrs.items() if value is not None}
    order = {"LSTM": "X W R B L H C P", "GRU": "X W R B L H", "RNN": "X W R B L H"}[op].split()
    names = [n if n in feeds else "" for n in order]
    while names[-1] == "":
        names.pop()
    node = helper.make_node(op, names, list(outputs), "layer", **attrs)
    codes = {"int32": TensorProto.INT32, "float64": TensorProto.DOUBLE}
    graph = helper.make_graph(
        [node],
        "deviation",
        [
            helper.make_tensor_value_info(n, codes.get(str(v.dtype), TensorProto.FLOAT), v.shape)
            for n, v in feeds.items()
        ],
        [
            helper.make_tensor_value_info(
                o, codes.get(str(feeds["X"].dtype), TensorProto.FLOAT), None
            )
            for o in outputs
            if o
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)])
    made.ir_version = 8
    return bytes(made.SerializeToString())


def operands(op: str, steps: int = 4, batch: int = 2, hidden: int = 3) -> dict[str, Array]:
    """Random X, W, R, B with two input features."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    rng = np.random.default_rng(7)
    shapes = {
        "X": (steps, batch, 2),
        "W": (1, gates * hidden, 2),
        "R": (1, gates * hidden, hidden),
        "B": (1, 2 * gates * hidden),
    }
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


def ort_session(content: bytes) -> Any:
    """An onnxruntime session with its log silenced."""
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def ort_outputs(content: bytes, feeds: dict[str, Array]) -> dict[str, Array]:
    """All outputs of a model in onnxruntime."""
    session = ort_session(content)
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def ort_refuses(content: bytes, feeds: dict[str, Array]) -> bool:
    """Whether onnxruntime fails to load or run a model."""
    try:
        ort_outputs(content, feeds)
    except Exception:  # its errors have no common class of their own
        return True
    return False


def both(content: bytes, feeds: dict[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """The oracle's and onnxruntime's outputs."""
    return evaluate(load_graph(content), feeds), ort_outputs(content, feeds)


def _length_zero() -> bool:
    feeds = operands("GRU")
    feeds["L"] = np.array([0, 4], np.int32)
    feeds["H"] = np.full((1, 2, 3), 0.5, np.float32)
    ours, theirs = both(model("GRU", feeds, ("", "Y_h")), feeds)
    carried = np.array_equal(ours["Y_h"][0, 0], feeds["H"][0, 0])
    return carried and not theirs["Y_h"][0, 0].any()


def _clip_before_h() -> bool:
    feeds = operands("LSTM", steps=20)
    content = model("LSTM", feeds, ("Y", "", ""), clip=0.2)
    ours, theirs = both(content, feeds)
    graph = load_graph(content)
    nodes = tuple(
        type(n)(n.op, n.name, n.inputs, n.outputs, {**n.attrs, "clip_before_h": False})
        if n.op == "LSTM"
        else n
        for n in graph.nodes
    )
    without = evaluate(graph.with_(nodes=nodes), feeds)
    agrees = np.abs(without["Y"] - theirs["Y"]).max() < 1e-6
    return bool(agrees and np.abs(ours["Y"] - theirs["Y"]).max() > 1e-3)


def _layout() -> bool:
    feeds = operands("LSTM")
    feeds["X"] = np.ascontiguousarray(feeds["X"].swapaxes(0, 1))
    content = model("LSTM", feeds, ("Y", "", ""), layout=1)
    assert evaluate(load_graph(content), feeds)["Y"].shape == (2, 4, 1, 3)
    return ort_refuses(content, feeds)


def _nan() -> bool:
    found = []
    for op in ("LSTM", "GRU"):
        feeds = operands(op)
        feeds["X"][1, 0, 0] = np.nan
        ours, theirs = both(model(op, feeds, ("Y",)), feeds)
        found.append(bool(np.isnan(ours["Y"][1:, :, 0]).all() and np.isfinite(theirs["Y"]).all()))
        assert np.isfinite(ours["Y"][:, :, 1]).all()
    return all(found)


def _case_sensitive() -> bool:
    feeds = operands("RNN")
    content = model("RNN", feeds, ("Y",), activations=["relu"])
    assert (evaluate(load_graph(content), feeds)["Y"] >= 0).all()
    return ort_refuses(content, feeds)


def _missing_alpha() -> bool:
    feeds = operands("LSTM")
    content = model("LSTM", feeds, ("Y",), activations=["Sigmoid", "Tanh", "Affine"])
    try:
        load_graph(content)
    except UnsupportedModelError:
        return not ort_outputs(content, feeds)["Y"].any()
    return False


def _surplus_alpha() -> bool:
    feeds = operands("LSTM")
    content = model("LSTM", feeds, ("Y",), activation_alpha=[0.25])
    try:
        load_graph(content)
    except UnsupportedModelError:
        plain = ort_outputs(model("LSTM", feeds, ("Y",)), feeds)["Y"]
        return bool(np.array_equal(ort_outputs(content, feeds)["Y"], plain))
    return False


def _hidden_size() -> bool:
    feeds = operands("LSTM")
    content = model("LSTM", feeds, ("Y",), hidden_size=None)
    assert evaluate(load_graph(content), feeds)["Y"].shape == (4, 1, 2, 3)
    return ort_refuses(content, feeds)


def _threshold() -> bool:
    one = np.ones((1, 1, 1), np.float32)
    feeds = {"X": one, "W": one, "R": 0 * one}
    content = model("RNN", feeds, ("Y",), activations=["ThresholdedRelu"], activation_alpha=[1.0])
    ours, theirs = both(content, feeds)
    return bool(ours["Y"].item() == 1.0 and theirs["Y"].item() == 0.0)


def _dynamic_quantisation() -> bool:
    """The same integers, and other rows fifty times larger."""
    from onnx import helper

    import quantised_models

    rng = np.random.default_rng(3)
    constants = {
        "W": rng.integers(-127, 127, (1, 5, 32)).astype(np.int8),
        "R": rng.integers(-127, 127, (1, 8, 32)).astype(np.int8),
        "s": np.full(1, 0.004, np.float32),
        "z": np.zeros(1, np.int8),
    }
    names = ["X", "W", "R", "", "", "", "", "", "s", "z", "s", "z"]
    attrs = {"hidden_size": 8, "domain": quantised_models.MICROSOFT}
    node = helper.make_node("DynamicQuantizeLSTM", names, ["Y"], "layer", **attrs)
    content = quantised_models.model([node], {"X": (np.float32, (6, 3, 5))}, ["Y"], constants)
    x = rng.standard_normal((6, 3, 5)).astype(np.float32)
    loud = x.copy()
    loud[:, 1:] *= 50
    weights = {n: constants[n].transpose(0, 2, 1) * np.float32(0.004) for n in "WR"}
    right = ort_outputs(model("LSTM", {"X": x, **weights}, ("Y",)), {"X": x, **weights})["Y"]
    errors = []
    for feeds in (x, loud):
        ours, theirs = both(content, {"X": feeds})
        assert np.abs(ours["Y"][:, :, 0] - right[:, :, 0]).max() < 1e-6
        errors.append(np.abs(theirs["Y"][:, :, 0] - right[:, :, 0]).max())
    return bool(errors[0] > 1e-4 and errors[1] > 10 * errors[0])


def _rounded_nan() -> bool:
    from onnx import helper

    import quantised_models

    nodes = [
        helper.make_node("QuantizeLinear", ["X", "s", "z"], ["Q"]),
        helper.make_node("DequantizeLinear", ["Q", "s", "z"], ["Y"]),
    ]
    constants = {"s": np.asarray(0.5, np.float32), "z": np.asarray(3, np.int8)}
    content = quantised_models.model(nodes, {"X": (np.float32, (2,))}, ["Y"], constants)
    ours, theirs = both(content, {"X": np.array([np.nan, 1], np.float32)})
    return bool(np.isnan(ours["Y"][0]) and np.isfinite(theirs["Y"]).all())


def _torch_dynamic_quantisation() -> bool:
    import torch
    from torch import nn

    torch.manual_seed(0)
    layer = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(16, 4)), {nn.Linear})
    x = torch.randn(3, 16)
    loud = x.clone()
    loud[1:] *= 50
    exact = x[0].double() @ layer[0].weight().dequantize().double().T + layer[0].bias().double()
    errors = [float((layer(value)[0] - exact).abs().max()) for value in (x, loud)]
    return bool(errors[0] > 1e-4 and errors[1] > 10 * errors[0])


def _large_softplus() -> bool:
    one = np.ones((1, 1, 1), np.float32)
    feeds = {"X": 100 * one, "W": one, "R": 0 * one}
    ours, theirs = both(model("RNN", feeds, ("Y",), activations=["Softplus"]), feeds)
    return bool(ours["Y"].item() == 100.0 and np.isinf(theirs["Y"].item()))


def _empty_batch() -> bool:
    feeds = operands("LSTM", batch=0)
    content = model("LSTM", feeds, ("Y",))
    assert evaluate(load_graph(content), feeds)["Y"].shape == (4, 1, 0, 3)
    program = (
        "import sys, numpy as np, onnxruntime as ort\n"
        "s = ort.InferenceSession(sys.stdin.buffer.read(), providers=['CPUExecutionProvider'])\n"
        "s.run(None, {i.name: np.zeros(i.shape, np.float32) for i in s.get_inputs()})\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], input=content, capture_output=True, check=False
    )
    return ended.returncode != 0


def _float64() -> bool:
    feeds = {name: value.astype(np.float64) for name, value in operands("LSTM").items()}
    content = model("LSTM", feeds, ("Y",))
    try:
        load_graph(content)
    except UnsupportedModelError:
        return ort_refuses(content, feeds)
    return False


def _torch_refuses(steps: int, lengths: list[int] | None) -> bool:
    import torch

    layer = torch.nn.LSTM(2, 3)
    data: Any = torch.zeros(steps, 2, 2)
    try:
        if lengths is not None:
            data = torch.nn.utils.rnn.pack_padded_sequence(data, lengths, enforce_sorted=False)
        layer(data)
    except RuntimeError:
        return True
    return False


def _keras_layer(**options: Any) -> Any:
    import keras

    return keras.layers.SimpleRNN(3, return_sequences=True, **options)


def _keras_padding() -> bool:
    data = np.random.default_rng(0).standard_normal((1, 4, 2)).astype(np.float32)
    out = _keras_layer()(data, mask=np.array([[True, True, False, False]])).detach().numpy()
    return bool(np.array_equal(out[0, 1], out[0, 3]) and out[0, 3].any())


def _keras_backwards() -> bool:
    data = np.random.default_rng(0).standard_normal((1, 4, 2)).astype(np.float32)
    layer = _keras_layer(go_backwards=True)
    first = layer(data).detach().numpy()
    data[0, 3] += 1.0
    return not np.array_equal(first[0, 0], layer(data).detach().numpy()[0, 0])


def _keras_precision() -> bool:
    import keras

    a = np.random.default_rng(0).standard_normal((8, 8))
    product = keras.ops.convert_to_numpy(keras.ops.matmul(a, a))
    return bool(np.abs(product - a @ a).max() > 1e-9)


def _reference_lengths() -> bool:
    from onnx import load_model_from_string
    from onnx.reference import ReferenceEvaluator

    feeds = operands("GRU")
    feeds["L"] = np.array([2, 4], np.int32)
    content = model("GRU", feeds, ("", "Y_h"))
    (theirs,) = ReferenceEvaluator(load_model_from_string(content)).run(None, feeds)
    ours, ort = both(content, feeds)
    agrees = np.abs(ours["Y_h"] - ort["Y_h"]).max() < 1e-6
    return bool(agrees and np.abs(ours["Y_h"] - theirs).max() > 1e-3)


DEVIATIONS = (
    Deviation(
        "length 0",
        "onnxruntime",
        "1.31.1",
        "a row of length 0 hands its initial state on",
        "no step was taken, so the state is what it was; onnxruntime returns zeros",
        _length_zero,
    ),
    Deviation(
        "clip before h",
        "onnxruntime",
        "1.31.1",
        "clip also bounds the input of the LSTM's h()",
        "the operator text applies clip to the input of activations and h is one of them",
        _clip_before_h,
    ),
    Deviation(
        "layout=1",
        "onnxruntime",
        "1.31.1",
        "batch-first layout is computed",
        "it is part of the operator since opset 14; onnxruntime refuses the model",
        _layout,
    ),
    Deviation(
        "NaN",
        "onnxruntime",
        "1.31.1",
        "a NaN in a row makes that row's further outputs NaN, in that row only",
        "onnxruntime's LSTM and GRU return finite numbers that look plausible",
        _nan,
    ),
    Deviation(
        "activation spelling",
        "onnxruntime",
        "1.31.1",
        "activation names are accepted in any letter case for all three layers",
        "onnxruntime does so for LSTM and GRU and refuses 'relu' for RNN",
        _case_sensitive,
    ),
    Deviation(
        "missing alpha",
        "onnxruntime",
        "1.31.1",
        "Affine, ScaledTanh and ThresholdedRelu without their parameters are refused",
        "the text gives no default; onnxruntime takes 0 and an Affine layer becomes all zero",
        _missing_alpha,
    ),
    Deviation(
        "surplus alpha",
        "onnxruntime",
        "1.31.1",
        "more alpha or beta values than the activations take are refused",
        "the author meant something by them; onnxruntime ignores them",
        _surplus_alpha,
    ),
    Deviation(
        "ThresholdedRelu at alpha",
        "onnxruntime",
        "1.31.1",
        "inside recurrent layers x = alpha gives x",
        "the text of the layers says x >= alpha; onnxruntime computes x > alpha",
        _threshold,
    ),
    Deviation(
        "large Softplus",
        "onnxruntime",
        "1.31.1",
        "inside recurrent layers Softplus of 89 and more is that number",
        "log(1 + e^x) is finite; onnxruntime's e^x overflows and it returns infinity",
        _large_softplus,
    ),
    Deviation(
        "no hidden_size",
        "onnxruntime",
        "1.31.1",
        "without the attribute the size is that of R",
        "the attribute is optional; onnxruntime refuses the model",
        _hidden_size,
    ),
    Deviation(
        "empty batch",
        "onnxruntime",
        "1.31.1",
        "an empty batch gives empty outputs",
        "onnxruntime ends the whole process",
        _empty_batch,
    ),
    Deviation(
        "float64 layers",
        "onnxruntime",
        "1.31.1",
        "refused when the model is loaded",
        "onnxruntime loads the model and fails when it is run",
        _float64,
    ),
    Deviation(
        "dynamic quantisation",
        "onnxruntime",
        "1.31.1",
        "the integers of the weights are kept, activations are not rounded to 8 bits",
        "onnxruntime rounds them with one scale for the whole batch, so loud rows spoil others",
        _dynamic_quantisation,
    ),
    Deviation(
        "NaN in QuantizeLinear",
        "onnxruntime",
        "1.31.1",
        "a NaN stays one",
        "no integer holds it; onnxruntime makes it the smallest number of the range",
        _rounded_nan,
    ),
    Deviation(
        "dynamic quantisation",
        "torch",
        "2.13.0",
        "the integers of the weights are kept, activations are not rounded to 8 bits",
        "PyTorch rounds them with one scale for the whole batch, so loud rows spoil others",
        _torch_dynamic_quantisation,
    ),
    Deviation(
        "packed length 0",
        "torch",
        "2.13.0",
        "a row of length 0 is allowed",
        "pack_padded_sequence raises RuntimeError",
        lambda: _torch_refuses(4, [0, 4]),
    ),
    Deviation(
        "no steps",
        "torch",
        "2.13.0",
        "a sequence of no steps gives empty outputs and the initial state",
        "nn.LSTM raises RuntimeError",
        lambda: _torch_refuses(0, None),
    ),
    Deviation(
        "masked steps",
        "keras",
        "3.15.1",
        "outputs beyond a row's length are zero",
        "Keras repeats the last output instead; the ONNX and PyTorch rule is the canonical one",
        _keras_padding,
    ),
    Deviation(
        "go_backwards",
        "keras",
        "3.15.1",
        "outputs of a reverse layer are in the order of the input",
        "Keras returns them in the order they were computed",
        _keras_backwards,
    ),
    Deviation(
        "float64 matmul",
        "keras",
        "3.15.1",
        "Keras on the torch backend is held to a float32 tolerance",
        "its matrix product computes float64 operands in float32",
        _keras_precision,
    ),
    Deviation(
        "reference evaluator",
        "onnx",
        "1.23.2",
        "onnx.reference is no witness",
        "it ignores sequence_lens, clip and, for LSTM and GRU, activations",
        _reference_lengths,
    ),
)
