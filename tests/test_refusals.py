"""What is refused: every case a typed error that names file, layer or node, attribute, and a way.

One table over all formats. Each message begins with the path of the file and matches the expression
given, which holds the name of the layer, node or tensor, what is wrong with it, and what is
accepted or what to do.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnx_models
import rnnengine as rn
from rnnengine import ModelFormatError, UnsafeFileError, UnsupportedModelError

Make = Callable[[], bytes]
Case = tuple[Make, dict[str, Any], type[Exception], str]

CASES: dict[str, Case] = {}


def case(name: str, make: Make, error: type[Exception], message: str, /, **options: Any) -> None:
    """Add a row of the table: content, options of load, class and message of the error."""
    assert name not in CASES
    CASES[name] = (make, options, error, message)


# ONNX


def onnx_node(op: str, attrs: dict[str, Any], inputs: int = 1, **options: Any) -> Make:
    """One node on x [4, 3, 8, 2] and weights of that many further inputs."""

    def make() -> bytes:
        from onnx import helper

        domain = options.pop("domain", "") if "domain" in options else ""
        names = ["x", *(f"w{i}" for i in range(1, inputs))]
        node = helper.make_node(op, names, ["y"], name="the_node", domain=domain, **attrs)
        weights = {n: np.ones(options.get("shape", (3,)), np.float32) for n in names[1:]}
        return onnx_models.nodes([node], {"x": options.get("x", (4, 3, 8))}, ["y"], weights)

    return make


def onnx_quantised(*what: tuple[Any, ...], output: str = "y", **changes: Any) -> Make:
    """Nodes (op, inputs, outputs, attributes) on x [4, 3] and integers w [3, 5]; - is no input."""

    def make() -> bytes:
        from onnx import helper

        import quantised_models

        nodes = []
        for op, given, made, *attrs in what:
            domain, _, name = op.rpartition("/")
            operands = [operand.strip("-") for operand in given.split()]
            names = [operands, made.split(), name.lower()]
            nodes.append(
                helper.make_node(name, *names, domain=domain, **(attrs[0] if attrs else {}))
            )
        constants = {
            "w": np.ones((3, 5), np.int8), "ws": np.float32(0.1), "wz": np.int8(0),
            "z": np.uint8(0), "cs": np.ones(5, np.float32), "L": np.ones((1, 3, 16), np.int8),
            "R": np.ones((1, 4, 16), np.int8), "ls": np.ones(1, np.float32), **changes,
        }  # fmt: skip
        shapes = {"x": (4, 3), "v": (4, 3), "t": (6, 4, 3), "S": ()}
        inputs: dict[str, tuple[Any, Any]] = {n: (np.float32, s) for n, s in shapes.items()}
        inputs["d"] = (np.int8, (3, 5))
        return quantised_models.model(nodes, inputs, [output], constants)

    return make


DYNAMIC = ("DynamicQuantizeLinear", "x", "xq xs xz")
OTHER = ("DynamicQuantizeLinear", "v", "vq vs vz")
PRODUCT = ("MatMulInteger", "xq w xz wz", "p")
AS_FLOAT = ("Cast", "p", "f", {"to": 1})
MS = "com.microsoft/"


def onnx_layer(**attrs: Any) -> Make:
    return lambda: onnx_models.layer("LSTM", 4, 3, **attrs)


# Weights


def torch_file(value: Callable[[], Any]) -> Make:
    """What torch.save writes of a value."""

    def make() -> bytes:
        torch = pytest.importorskip("torch", reason="torch is not installed")
        file = io.BytesIO()
        torch.save(value(), file)
        return file.getvalue()

    return make


def lstm_state(inputs: int = 3, hidden: int = 4, prefix: str = "lstm.") -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = {
        "weight_ih_l0": (4 * hidden, inputs),
        "weight_hh_l0": (4 * hidden, hidden),
        "bias_ih_l0": (4 * hidden,),
        "bias_hh_l0": (4 * hidden,),
    }
    return {
        f"{prefix}{name}": rng.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def npz(changes: dict[str, Any] | None = None, drop: str = "") -> Make:
    def make() -> bytes:
        file = io.BytesIO()
        arrays = {**lstm_state(), **(changes or {})}
        np.savez(file, **{n: v for n, v in arrays.items() if n != drop})
        return file.getvalue()

    return make


def tensors(values: dict[str, Any]) -> Any:
    import torch

    return {name: torch.from_numpy(np.asarray(v)) for name, v in values.items()}


def safetensors(change: Callable[[dict[str, Any]], Any]) -> Make:
    """A file of one tensor 'w' of six numbers, its header changed."""

    def make() -> bytes:
        header = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
        change(header)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + bytes(24)

    return make


def rnne(change: Callable[[dict[str, Any]], Any], compute_type: str | None = None) -> Make:
    """A saved model, its description changed."""

    def make() -> bytes:
        from rnnengine.importers.native import pack

        model = rn.load(npz()(), layer="lstm", compute_type=compute_type)
        content = pack(model.portable_graph())
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 64)
        return len(text).to_bytes(8, "little") + text + content[8 + length :]

    return make


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return file.getvalue()


# Keras


def keras_file(*layers: dict[str, Any], kind: str = "Sequential", config: Any = None) -> Make:
    """A full model in HDF5: the layers' configuration, and no weights."""

    def make() -> bytes:
        h5py = pytest.importorskip("h5py", reason="h5py is not installed")
        file = io.BytesIO()
        entries = [
            {
                "class_name": "InputLayer",
                "config": {"batch_input_shape": [None, None, 3], "name": "x", "dtype": "float32"},
            },
            *layers,
        ]
        plain = [{k: v for k, v in e.items() if k != "weights"} for e in entries]
        body = {"name": "net", "layers": plain} if config is None else config
        with h5py.File(file, "w") as opened:
            opened.attrs["keras_version"] = "2.4.0"
            opened.attrs["backend"] = "tensorflow"
            opened.attrs["model_config"] = json.dumps({"class_name": kind, "config": body})
            weights = opened.create_group("model_weights")
            weights.attrs["layer_names"] = [np.bytes_(e["config"]["name"]) for e in layers]
            for entry in layers:
                group = weights.create_group(entry["config"]["name"])
                arrays = entry.get("weights", {})
                group.attrs["weight_names"] = [np.bytes_(n) for n in arrays]
                for name, value in arrays.items():
                    group.create_dataset(name, data=value)
        return file.getvalue()

    return make  # fmt: skip


def keras_layer(kind: str, weights: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": "the_layer", **config}, "weights": weights or {}}


def keras_lstm(**config: Any) -> dict[str, Any]:
    weights = {
        "the_layer/kernel:0": np.ones((3, 16), np.float32),
        "the_layer/recurrent_kernel:0": np.ones((4, 16), np.float32),
        "the_layer/bias:0": np.ones(16, np.float32),
    }
    words = {"units": 4, "activation": "tanh", "recurrent_activation": "sigmoid",
             "use_bias": True, "return_sequences": True}  # fmt: skip
    return keras_layer("LSTM", weights, **(words | config))


LSTM = rn.LSTM(3, 4)
ORIGINAL = "lstm.parametrizations.weight_hh_l0.original"
THREE = {
    **lstm_state(prefix="b."),
    **lstm_state(prefix="c."),
    "d.weight": np.ones((3, 4), np.float32),
    "d.bias": np.ones(3, np.float32),
}


def inner(kind: str) -> dict[str, Any]:
    """Configuration of a layer inside another."""
    return {"class_name": kind, "config": {"name": "inner", "units": 4}}


U, F, S = UnsupportedModelError, ModelFormatError, UnsafeFileError


def _torch() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed")


def _pickled_npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, w=np.array([{"a": 1}], object))
    return file.getvalue()


def _swap(header: dict[str, Any], old: str, new: str) -> None:
    """Another word in the description of the graph."""
    found = {k: v.replace(old, new) for k, v in header["__metadata__"].items()}
    assert found != header["__metadata__"]
    header["__metadata__"] = found


class _Evil:
    def __reduce__(self) -> Any:
        return (print, ("hello",))


class _Exec:
    def __reduce__(self) -> Any:
        return (eval, ("1 + 1",))


def _external() -> bytes:
    from onnx import ModelProto

    model = ModelProto.FromString(onnx_models.layer("LSTM", 4, 3))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../secret.bin"
    return bytes(model.SerializeToString())


class _Unknown:
    pass


def _exported(function: Callable[..., Any]) -> bytes:
    torch = _torch()

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x):  # type: ignore[no-untyped-def]
            return function(self, x)

    file = io.BytesIO()
    torch.export.save(torch.export.export(Net(), (torch.ones(3, 3),)), file)
    return file.getvalue()


def _weights_only() -> bytes:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        opened.attrs["layer_names"] = [np.bytes_("lstm")]
        opened.attrs["keras_version"] = "2.4.0"
        group = opened.create_group("lstm")
        group.attrs["weight_names"] = [np.bytes_("lstm/kernel:0")]
        group.create_dataset("lstm/kernel:0", data=np.zeros((3, 16), np.float32))
    return file.getvalue()


BOTH = {
    f"the_layer/{d}/{n}:0": np.ones(shape, np.float32)
    for d in ("forward_inner", "backward_inner")
    for n, shape in (("kernel", (3, 16)), ("recurrent_kernel", (4, 16)), ("bias", (16,)))
}

# fmt: off
case("onnx unknown operator", onnx_node("DeformConv", {}, 2), U,
     r"node 'the_node' \(DeformConv\): operator DeformConv is not supported: accepted: Abs, ")
case("onnx loop", onnx_node("Scan", {"num_scan_inputs": 1}), F,
     r"node 'the_node' \(Scan\): attribute 'body' is missing; it is required")
case("onnx domain", onnx_node("MyCell", {}, domain="com.example"), U,
     r"node 'the_node' \(MyCell\): .*domain 'com\.example'; accepted: operators of the default")
case("onnx attribute", onnx_node("Relu", {"alpha": 1.0}), U,
     r"node 'the_node' \(Relu\): attribute 'alpha' = 1\.0 .*remove it")
case("onnx softmax axis", onnx_node("Softmax", {"axis": 7}), F,
     r"node 'the_node' \(Softmax\): attribute 'axis' is 7, the input is float32\[4, 3, 8\]")
case("onnx gelu", onnx_node("Gelu", {"approximate": "fast"}), U,
     r"node 'the_node' \(Gelu\): attribute 'approximate' is 'fast'; accepted: none, tanh")
case("onnx transpose", onnx_node("Transpose", {"perm": [0, 0, 1]}), F,
     r"node 'the_node' \(Transpose\): .*perm is \(0, 0, 1\); expected a permutation of 3")
case("onnx shapes", onnx_node("Add", {}, 2, shape=(5)), F,
     r"node 'the_node' \(Add\): .*axis 2 .*8 and 5 must be equal")
case("onnx arity", onnx_node("Add", {}, 3), F, r"node 'the_node' \(Add\): has 3 inputs; expected 2")
case("onnx attribute type", onnx_node("LeakyRelu", {"alpha": 1}), F,
     r"node 'the_node' \(LeakyRelu\): attribute 'alpha' is of type int; expected float")
case("onnx cast", onnx_node("Cast", {"to": 8}), U,
     r"node 'the_node' \(Cast\): attribute 'to' has element type string; accepted: float32")
case("lstm activation", onnx_layer(activations=["Softmax", "Tanh", "Tanh"]), U,
     r"node 'layer' \(LSTM\): attribute 'activations' names 'Softmax'; accepted: Affine")
case("lstm activations", onnx_layer(activations=["Sigmoid", "Tanh"]), F,
     r"node 'layer' \(LSTM\): attribute 'activations' has 2 names; expected 3")
case("lstm clip", onnx_layer(clip=-1.0), U,
     r"node 'layer' \(LSTM\): attribute 'clip' is -1\.0; accepted: positive numbers")
case("lstm input_forget", onnx_layer(input_forget=2), U,
     r"node 'layer' \(LSTM\): attribute 'input_forget' is 2; accepted: 0, 1")
case("lstm direction", lambda: onnx_models.layer("LSTM", 4, 3).replace(b"forward", b"sidewar"), U,
     r"node 'layer' \(LSTM\): attribute 'direction' is 'sidewar'; accepted: forward")
case("lstm opset", lambda: onnx_models.layer("LSTM", 4, 3, opset=6), U,
     r"opset 6; accepted: 7 and newer .*convert it with onnx\.version_converter")
case("lstm truncated", lambda: onnx_models.layer("LSTM", 4, 3)[:300], F,
     r"damaged, or not an ONNX model: .*accepted: ONNX, Keras, PyTorch")
case("onnx options", lambda: onnx_models.layer("LSTM", 4, 3), U,
     r"an ONNX model takes no layer; leave it out", layer="lstm")
case("onnx constants", lambda: onnx_models.layer("LSTM", 4, 3), U,
     r"constants names 'speed', which is no input of the model; inputs: x", constants={"speed": 1})
case("no model", lambda: b"just some text, no model at all", F,
     r"not an ONNX model: .*accepted: ONNX, Keras, PyTorch")
case("empty", lambda: b"", F, r"the file is empty; expected a model")
case("lfs", lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", U,
     r"a Git LFS pointer, .*accepted: ONNX, Keras")
case("tflite", lambda: b"\x1c\x00\x00\x00TFL3" + bytes(64), U,
     r"a TensorFlow Lite model; accepted: ONNX, Keras")
case("npy", lambda: b"\x93NUMPY\x01\x00" + bytes(64), U, r"a NumPy array; accepted: ONNX, Keras")
case("zip", lambda: archive(readme=b"text"), U,
     r"neither a PyTorch nor a Keras file; accepted: ONNX")
case("weights alone", npz(), U,
     r"no graph; .*architecture=, or .*layer=.*lstm: weight_ih_l0 \[16, 3\]")
case("layer missing", npz(), F,
     r"layer 'gru' is no recurrent layer of the checkpoint; there are 'lstm'", layer="gru")
case("layer and architecture", npz(), F,
     r"layer 'lstm' \(GRU\) .*'lstm\.weight_ih_l0' has shape \[16, 3\], expected \[12, 3\]",
     layer="lstm", architecture=rn.GRU(3, 4))
case("prefix", npz(), F, r"no tensor stands under prefix 'model'; names start with lstm",
     layer="lstm", prefix="model")
case("missing tensor", npz(drop="lstm.bias_hh_l0"), F,
     r"layer 'lstm' \(LSTM\) .*'lstm\.bias_hh_l0' is missing, expected shape \[16\]", layer="lstm")
case("rows", npz({"lstm.weight_ih_l0": np.zeros((15, 3), np.float32)}), F,
     r"layer 'lstm' \(LSTM\) .*'lstm\.weight_ih_l0' has shape \[15, 3\], expected \[16, 3\]",
     layer="lstm")
case("integers", npz({"lstm.weight_ih_l0": np.zeros((16, 3), np.int32)}), F,
     r"layer 'lstm' \(LSTM\) .*'lstm\.weight_ih_l0' is int32, expected floating point",
     layer="lstm")
case("extra tensor", npz({"head.weight": np.zeros((2, 4), np.float32)}), U,
     r"no layer of the architecture takes head\.weight; describe the whole network.*prefix=",
     architecture=LSTM)
case("architecture too wide", npz(), F,
     r"nothing fits LSTM\(.*hidden_size=8.*there are: lstm: .*has shape \[16, 3\]",
     architecture=rn.LSTM(3, 8))
case("architecture names", npz(), F,
     r"layer 'encoder' \(LSTM\) .*no such module; modules with weights: 'lstm'",
     architecture=rn.LSTM(3, 4, name="encoder"))
case("ambiguous",
     npz(THREE),
     U, r"ambiguous.*'?b'?.*'?c'?",
     architecture=rn.Sequential(rn.LSTM(3, 4), rn.Linear(4, 3), rn.LSTM(3, 4)))
case("npz pickle", _pickled_npz, S,
     r"array 'w': it holds Python objects, which are a pickle; accepted: numbers", layer="lstm")
case("npz constants", npz(), U, r"a file of weights takes no constants; leave it out", layer="lstm",
     constants={"x": 1})
case("npz key", npz(), U,
     r"npz weights have no parts that key='ema' could choose from; leave it out", layer="lstm",
     key="ema")
case("st dtype", safetensors(lambda h: h["w"].update(dtype="F8_E9")), U,
     r"tensor 'w': dtype is 'F8_E9'; accepted: BF16")
case("st offsets", safetensors(lambda h: h["w"].update(data_offsets=[0, 20])), F,
     r"tensor 'w': F32 \[2, 3\] takes 24 bytes; data_offsets hold 20")
case("st shape", safetensors(lambda h: h["w"].update(shape=[2, -3])), F,
     r"tensor 'w': shape is \[2, -3\]; expected a list of sizes")
case("st header", lambda: (1 << 40).to_bytes(8, "little") + b"{" + bytes(30), F,
     r"damaged, or not an ONNX model: .*accepted: ONNX.*safetensors")
case("st hole",
     safetensors(lambda h: h.update(v={"dtype": "F32", "shape": [1], "data_offsets": [90, 94]})), F,
     r"tensor 'v': data_offsets are \[90, 94\]; expected two within 0\.\.24")
case("rnne version", rnne(lambda h: _swap(h, '"format":2', '"format":99')), U, r"format.* 99")
case("rnne operator", rnne(lambda h: _swap(h, '"LSTM"', '"LSTN"')), U,
     r"node 'lstm' \(LSTN\): operator 'LSTN' is not supported; supported: Abs")
case("rnne attribute", rnne(lambda h: _swap(h, '"forward"', '"onward"')), U,
     r"node 'lstm' \(LSTM\): .*direction is 'onward'; accepted: forward")
case("rnne value", rnne(lambda h: _swap(h, "output", "outputx")), F,
     r"description of the graph is damaged \(KeyError: 'outputs'\)")
case("rnne options", rnne(lambda h: None), U,
     r"a \.rnne file, which is complete, takes no layer; leave it out", layer="lstm")
case("rnne layout", rnne(lambda h: _swap(h, "bf16x2", "bf16x4"), "bfloat16"), U,
     r"its layout is 'bf16x4' for 'bfloat16'; this version reads 'bf16x2' for bfloat16, 'f16'")
case("rnne compute type", rnne(lambda h: None, "bfloat16"), U,
     r"\(LSTM\): its weights are stored in bfloat16; int8 cannot be computed of them\. Leave",
     compute_type="int8")
case("rnne kept", rnne(lambda h: None, "bfloat16"), U,
     r"its weights are stored in bfloat16; float32 cannot be", compute_type="auto", keep="lstm*")
for _type in ("bfloat16", "float16", "int8", "int8_fast"):
    case(f"npz {_type} of NaN", npz({"lstm.weight_hh_l0": np.full((16, 4), np.nan)}), U,
         rf"in {_type}: the weight at \[0, 0, 0\] is nan; {_type} takes finite weights, keep=",
         layer="lstm", compute_type=_type)
case("npz float16 overflow", npz({"lstm.weight_ih_l0": np.full((16, 3), -1e6)}), U,
     r"in float16: .* is -1e\+06; the largest float16 is 65504\. Another", layer="lstm",
     compute_type="float16")
case("npz int8 scale", npz({"lstm.weight_ih_l0": np.full((16, 3), 1e38)}), U,
     r"in int8: row 0 has a weight of magnitude 1e\+38; int8 takes up to 1\.61e\+32", layer="lstm",
     compute_type="int8")
case("npz keep", npz(), U, r"keep: no layer is called 'encoder'; the layers with weights are 'lstm",
     layer="lstm", compute_type="int8", keep=["encoder"])
case("npz all kept", npz(), U,
     r"compute_type='int8': nothing in the model can be computed so: lstm.* in float32 \(kept\)",
     layer="lstm", compute_type="int8", keep=["*"])
case("pt several",
     torch_file(lambda: {n: tensors(lstm_state()) for n in ("a", "state_dict", "model")}),
     U, r"ambiguous, .*'a', 'state_dict', 'model'; say which with key=", layer="lstm")
case("pt key", torch_file(lambda: {"ema": tensors(lstm_state())}), U,
     r"no weights under 'best'; there are 'ema'", layer="lstm", key="best")
case("pt no weights", torch_file(lambda: {"epoch": 3}), U,
     r"no weights in it; it holds a dictionary of 'epoch'", layer="lstm")
case("pt sparse", torch_file(lambda: {"w": _torch().eye(3).to_sparse()}), U,
     r"'w' is a tensor made by torch\._utils\._rebuild_sparse_tensor; .*\.to_dense\(\)",
     layer="lstm")
case("pt float8", torch_file(lambda: {"w": _torch().zeros(3).to(_torch().float8_e4m3fn)}), U,
     r"tensor 'w': .*float8_e4m3fn; accepted: .*\.float\(\)", layer="lstm")
case("pt parametrised",
     torch_file(lambda: tensors({ORIGINAL: np.zeros((16, 4), np.float32)})),
     U, r"'lstm\.weight_hh_l0' is parametrised by .*remove_parametrizations", layer="lstm")
case("pt reduce", lambda: pickle.dumps({"w": _Evil()}, 2), S,
     r"the pickle names builtins\.print, .*nothing was executed\. Save the state_dict", layer="w")
case("pt global", torch_file(lambda: {"w": _torch().ones(2), "v": _Unknown()}), S,
     r"'v' stands among the weights, but is made by \S+_Unknown, which is not known", layer="w")
case("pt truncated", lambda: torch_file(lambda: tensors(lstm_state()))()[:-200], F,
     r"the end of the zip archive is missing; the file is truncated", layer="lstm")
case("pt module proj", torch_file(lambda: tensors(lstm_state())), F,
     r"nothing fits LSTM\(.*proj_size=2.*there are: lstm: ",
     architecture=rn.LSTM(3, 4, proj_size=2))
case("pt bare", torch_file(lambda: tensors(lstm_state())), U,
     r"no graph; describe the network with architecture=.*lstm: weight_ih_l0")
case("pt2 operator", lambda: _exported(lambda m, x: _torch().linalg.inv(x)), U,
     r"node 'linalg_inv': operator aten\.linalg_inv\.default is not supported; accepted: .*, add, ")
case("pt2 train", lambda: _exported(lambda m, x: _torch().nn.functional.dropout(x, 0.5, True)), U,
     r"node 'dropout' \(aten\.dropout\.default\): argument 'train' is True; .*Call \.eval")
case("pt2 argument", lambda: _exported(lambda m, x: _torch().div(x, 2, rounding_mode="floor")), U,
     r"node 'div' \(aten\.div\.Tensor_mode\): argument 'rounding_mode' is 'floor'; accepted: None")
case("pt2 constants", lambda: _exported(lambda m, x: x * 2), U,
     r"an exported program takes no constants; leave it out", constants={"x": 1})
case("keras lambda", keras_file(keras_layer("Lambda", function=["abc", None, None])), U,
     r"layer 'the_layer' .*'Lambda', .*never run.*replacements=\{'the_layer': \.\.\.\}")
case("keras class", keras_file(keras_layer("MyCell")), U,
     r"layer 'the_layer' .*'MyCell', which is not supported: .*accepted: Activation")
case("keras convlstm", keras_file(keras_layer("ConvLSTM2D", filters=3)), U,
     r"layer 'the_layer' .*'ConvLSTM2D', which is not supported: .*replacements=")
case("keras activation", keras_file(keras_lstm(activation="wavy")), U,
     r"layer 'the_layer' \(LSTM\): activation is 'wavy'; accepted: celu")
case("keras units", keras_file(keras_lstm(units=5)), F,
     r"layer 'the_layer' \(LSTM\): kernel is float32\[3, 16\]; expected floats of shape \[3, 20\]")
case("keras bad units", keras_file(keras_lstm(units="four")), F,
     r"layer 'the_layer' \(LSTM\): units is 'four'; expected an integer from 1")
case("keras weights missing",
     keras_file(keras_layer("Dense", units=2, activation="linear", use_bias=True)), F,
     r"layer 'the_layer' \(Dense\): the file has 0 weights for it; .*asks for 2")
case("keras flag", keras_file(keras_lstm(return_sequences="yes")), F,
     r"layer 'the_layer' \(LSTM\): return_sequences is 'yes'; expected true or false")
case("keras merge",
     keras_file(keras_layer("Bidirectional", BOTH, merge_mode="max", layer=inner("LSTM"))),
     U,
     r"layer 'the_layer' \(Bidirectional\): merge_mode is 'max'; accepted: concat, sum, mul, ave")
case("keras wrapper",
     keras_file(keras_layer("Bidirectional", layer=inner("Flatten"))),
     U, r"layer 'the_layer\.forward' \(Flatten\): not a recurrent layer; accepted: SimpleRNN")
case("keras json", keras_file(config="nonsense"), F,
     r"the model \(Sequential\) is str; expected an object")
case("keras model", keras_file(kind="Subclassed"), U,
     r"the model is of class 'Subclassed'; accepted: Sequential, Functional, Model")
case("keras weights only", _weights_only, U,
     r"no model configuration; give the architecture, or save the whole model")
case("keras truncated", lambda: keras_file(keras_lstm())()[:3000], F, r"damaged HDF5 file")
case("keras options", keras_file(keras_lstm()), U, r"a Keras file takes no constants; leave it out",
     constants={"x": 1})
case("pt2 double", lambda: _exported(lambda m, x: x.double() * 2), U,
     r"node 'to' \(aten\.to\.dtype\): argument 'dtype' is of type float64; accepted: .*\.float\(\)")
case("keras time_major", keras_file(keras_lstm(time_major=True)), U,
     r"layer 'the_layer' \(LSTM\): time_major is True; accepted: False")
case("pt legacy", lambda: b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + bytes(20), F,
     r"pickle, byte 16: byte 0x00 is no opcode of protocols 2 to 5", layer="x")
case("pt exec", lambda: pickle.dumps({"w": _Exec()}, 2), S,
     r"the pickle names builtins\.eval, .*nothing was executed\. Save the state_dict", layer="w")
case("onnx external", _external, S,
     r"tensor 'W' keeps its data in another file, '\.\./\.\./secret\.bin'; .*external_data=")

case("onnx integers at run time",
     onnx_quantised(DYNAMIC, ("MatMulInteger", "xq d xz", "y")), U,
     r"node 'matmulinteger' .*weights 'd' are computed from data; accepted: constants")
case("onnx integers shown", onnx_quantised(DYNAMIC, PRODUCT, output="p"), U,
     r"output 'p' of the model: 'p' belongs to the integers of a quantised activation; accepted")
case("onnx integers in between",
     onnx_quantised(DYNAMIC, PRODUCT, AS_FLOAT, ("Relu", "f", "y")), U,
     r"node 'relu' \(Relu\): 'f' belongs to the integers .*Mul by the scales")
case("onnx scale of another",
     onnx_quantised(DYNAMIC, OTHER, PRODUCT, AS_FLOAT, ("Mul", "f vs", "y")), U,
     r"node 'mul' .*integers of 'x' meets the scale 'vs' of another activation; accepted: its own")
case("onnx zero point of another",
     onnx_quantised(DYNAMIC, OTHER, ("MatMulInteger", "xq w vz wz", "p")), U,
     r"node 'matmulinteger' .*zero point 'vz' is not what DynamicQuantizeLinear gives with .*'xq'")
case("onnx zero point missing",
     onnx_quantised(DYNAMIC, ("MatMulInteger", "xq w", "p")), U,
     r"node 'matmulinteger' .*zero point None is not what DynamicQuantizeLinear gives")
case("onnx weights of another scale",
     onnx_quantised(DYNAMIC, PRODUCT, AS_FLOAT, ("Mul", "xs cs", "s"), ("Mul", "f s", "y"),
                    cs=np.ones((4, 5), np.float32)), U,
     r"node 'mul_1' .*20 scales .* of shape \[4, 5\] for weights of shape \[3, 5\]; accepted: one")
case("onnx negative scale",
     onnx_quantised(("DequantizeLinear", "w ws", "y"), ws=np.float32(-0.5)), U,
     r"node 'dequantizelinear' .*scale 'ws' holds -0\.5 or .*; accepted: positive numbers")
case("onnx scale not finite",
     onnx_quantised(("DequantizeLinear", "w ws", "y"), ws=np.float32(np.inf)), U,
     r"node 'dequantizelinear' .*scale 'ws' holds .*not finite; accepted: positive numbers")
case("onnx scale at run time", onnx_quantised(("DequantizeLinear", "w S", "y")), U,
     r"node 'dequantizelinear' .*scale 'S' is computed from data; accepted: a constant")
case("onnx scale of rounding at run time", onnx_quantised(("QuantizeLinear", "x S", "y")), U,
     r"node 'quantizelinear' .*scale 'S' is computed from data, or 0; accepted: positive constants")
case("onnx blocks of scales",
     onnx_quantised(("DequantizeLinear", "w ws", "y", {"block_size": 3})), U,
     r"node 'dequantizelinear' .*attribute 'block_size' is 3; accepted: 0")
case("onnx scales of the wrong axis",
     onnx_quantised(("DequantizeLinear", "w cs", "y", {"axis": 0})), U,
     r"node 'dequantizelinear' .*scales of shape \[5\] along axis 0 of a tensor \[3, 5\]; acce")
case("onnx zero points of the wrong shape", onnx_quantised(("DequantizeLinear", "w cs wz", "y")), F,
     r"node 'dequantizelinear' .*zero point 'wz' has shape \[\], its scale \[5\]; expected the")
case("onnx zero points of the wrong type", onnx_quantised(("DequantizeLinear", "w ws z", "y")), F,
     r"node 'dequantizelinear' .*zero point 'z' is uint8; expected int8")
case("onnx rounded output", onnx_quantised(("QuantizeLinear", "x ws wz", "y")), U,
     r"output 'y' of the model: 'y' belongs to the integers of a quantised activation")
case("onnx integer LSTM at run time",
     onnx_quantised((MS + "DynamicQuantizeLSTM", "t L R - - - - - S - ls -", "y")), U,
     r"node 'dynamicquantizelstm' .*W 'L' or its scale is computed from data; accepted: constants")
case("onnx integer LSTM with scales of no shape",
     onnx_quantised((MS + "DynamicQuantizeLSTM", "t L R - - - - - ls - cs -", "y")), F,
     r"node 'dynamicquantizelstm' .*the scale of R has shape \[5\]; expected \[1\] or \[1, 16\]")
case("onnx integer LSTM without scales",
     onnx_quantised((MS + "DynamicQuantizeLSTM", "t L R", "y", {"hidden_size": 4})), U,
     r"node 'dynamicquantizelstm' .*W 'L' or its scale is computed from data; accepted: constants")
QLINEAR = ("QuantizeLinear", "x ws z", "q")
case("onnx static product of floats",
     onnx_quantised(("QLinearMatMul", "x ws wz w ws wz ws wz", "y")), F,
     r"node 'qlinearmatmul' .*input 'x' is float32; expected int8 or uint8")
case("onnx static product of float weights",
     onnx_quantised(QLINEAR, ("QLinearMatMul", "q ws z cw ws wz ws wz", "y"),
                    cw=np.ones((3, 5), np.float32)), F,
     r"node 'qlinearmatmul' .*weights 'cw' are float32; expected int8 or uint8")
case("onnx static product with a scale at run time",
     onnx_quantised(QLINEAR, ("QLinearMatMul", "q ws z w S wz ws wz", "y")), U,
     r"node 'qlinearmatmul' .*scale 'S' is computed from data; accepted: a constant")
case("onnx static product with a result's scale at run time",
     onnx_quantised(QLINEAR, ("QLinearMatMul", "q ws z w ws wz S wz", "y")), U,
     r"node 'qlinearmatmul' .*scale 'S' is computed from data; accepted: a constant")
case("onnx static product with scales of rows",
     onnx_quantised(QLINEAR, ("QLinearMatMul", "q cs wz w ws wz ws wz", "y")), U,
     r"node 'qlinearmatmul' .*5 scales 'cs'; accepted: one for the activation and for the result")
case("onnx static product with a wide result",
     onnx_quantised(QLINEAR, ("QLinearMatMul", "q ws z w ws wz ws i", "y"), i=np.int16(0)), U,
     r"node 'qlinearmatmul' .*a result of scale .* and type int16; accepted: a positive scale")
case("onnx static product of a dynamic activation",
     onnx_quantised(("DynamicQuantizeLinear", "x", "q s z0"),
                    ("QLinearMatMul", "q s z0 w ws wz ws wz", "y")), U,
     r"node 'qlinearmatmul' .*input 'q' is made by DynamicQuantizeLinear; accepted: integers of a")
case("onnx static product as an output",
     onnx_quantised(QLINEAR, ("QLinearMatMul", "q ws z w ws wz ws wz", "y")), U,
     r"output 'y' of the model: 'y' belongs to the integers of a quantised activation")
case("onnx static convolution with a bias at run time",
     onnx_quantised(("QuantizeLinear", "t ws z", "q"),
                    ("QLinearConv", "q ws z k ws wz ws wz d", "y"), k=np.ones((2, 4, 1), np.int8)),
     U, r"node 'qlinearconv' .*bias 'd' is computed from data, or not int32; accepted: a constant")
case("onnx operator of microsoft", onnx_quantised((MS + "QAttention", "x w ws", "y")), U,
     r"operator com.microsoft.QAttention is of domain .*com.microsoft.DynamicQuantizeLSTM")
# fmt: on


def test_the_table_is_long_enough() -> None:
    """Sixty cases over every format."""
    assert len(CASES) >= 60
    formats = {name.split()[0] for name in CASES}
    assert {"onnx", "lstm", "npz", "st", "rnne", "pt", "pt2", "keras", "architecture"} <= formats


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_refusals(name: str, tmp_path: Path) -> None:
    make, options, error, message = CASES[name]
    path = tmp_path / "model.bin"
    path.write_bytes(make())
    with pytest.raises(rn.RNNEngineError) as caught:
        rn.load(path, **options)
    assert type(caught.value) is error
    text = str(caught.value)
    assert text.startswith(f"{path}: "), text
    assert re.search(message, text.removeprefix(f"{path}: "), re.DOTALL), text
