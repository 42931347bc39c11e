"""Make the golden files of quantised models: ``python tests/golden/make_quantised.py``.

Needs onnx, onnxruntime and PyTorch 2. Expected values are computed in float64 with the weights that
the integers stand for: those of ONNX layers by ``onnx_reference.py``, those of PyTorch by PyTorch.
Activations are rounded only where a model has a QuantizeLinear. The frameworks themselves round
them to 8 or 7 bits, so their own values are further off. The same seeds give the same bytes.
"""

from __future__ import annotations

import copy
import io
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from common import Array, Folder, drawn
from onnx import helper, numpy_helper
from onnx_reference import GATES, run
from onnxruntime import quantization
from torch import nn

warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch.backends.quantized.engine = "fbgemm"

FOLDER = Folder(
    "quantised",
    {
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
    },
)
STEPS, BATCH, INPUTS, HIDDEN, OUTPUTS = 6, 3, 5, 8, 4
MICROSOFT = "com.microsoft"
NUMBERS = {"compute_type": "float32"}
"""Loaded with float32 numbers, which shows the import to the last bits."""
CLEAR = 2e-5
"""How far from a tie every rounded activation is, in steps."""

Parts = tuple[Array, Array, Array]


# ONNX


def model(
    nodes: Sequence[Any], shape: Sequence[int | str], constants: Mapping[str, Array], outputs: str
) -> bytes:
    graph = helper.make_graph(
        list(nodes),
        "quantised",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info(n, 1, None) for n in outputs.split()],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return bytes(made.SerializeToString(deterministic=True))


def asked(content: bytes, x: Array) -> list[Array]:
    """What onnxruntime computes, node by node."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    return [np.asarray(y) for y in session.run(None, {"x": x})]


def numbers(integers: Array, scale: Array, zero: Array, axis: int | None = None) -> Array:
    """(q - zero) * scale in float32, rounded once, as a float64 array."""
    if axis is not None and scale.size > 1:
        wide = [1] * integers.ndim
        wide[axis] = -1
        scale, zero = scale.reshape(wide), zero.reshape(wide)
    exact = (integers.astype(int) - zero.astype(int)) * scale.astype(float)
    return np.asarray(exact.astype(np.float32).astype(float))


def part(seed: int, shape: Sequence[int], many: Sequence[int], dtype: Any) -> Parts:
    """Integers, scales and zero points."""
    rng = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    integers = rng.integers(limits.min, limits.max, tuple(shape), dtype, endpoint=True)
    middle = 0 if dtype == np.int8 else 128
    scale = rng.uniform(0.003, 0.008, tuple(many)).astype(np.float32)
    zero = middle + rng.integers(-9, 10, tuple(many))
    return integers, scale, np.asarray(zero).astype(dtype)


def layers() -> None:
    """DynamicQuantizeLSTM with all that it takes."""
    for i, (name, direction, rows, dtype, extras) in enumerate(
        [
            ("tensor", "forward", False, np.int8, "B"),
            ("unsigned", "reverse", False, np.uint8, "B"),
            ("rows", "forward", True, np.int8, "B"),
            ("both", "bidirectional", True, np.int8, "B P"),
            ("bare", "bidirectional", False, np.uint8, ""),
        ]
    ):
        count = 2 if direction == "bidirectional" else 1
        many = (count, 4 * HIDDEN) if rows else (count,)
        wide = (count, 1, 4 * HIDDEN if rows else 1)
        constants: dict[str, Array] = {}
        floats = []
        for j, (letter, k) in enumerate((("W", INPUTS), ("R", HIDDEN))):
            q, scale, zero = part(10 * i + j, (count, k, 4 * HIDDEN), many, dtype)
            if rows:  # onnxruntime takes zero points of rows only where all are the same
                zero = np.zeros_like(zero)
            constants |= {letter: q, f"{letter}s": scale, f"{letter}z": zero}
            exact = numbers(q, scale.reshape(wide), zero.reshape(wide))
            floats.append(np.ascontiguousarray(exact.transpose(0, 2, 1)))
        beside = {"B": drawn(20 + i, count, 8 * HIDDEN), "P": drawn(40 + i, count, 3 * HIDDEN)}
        given = {key: beside[key] for key in extras.split()}
        names = [
            "x",
            "W",
            "R",
            "B" if "B" in given else "",
            "",
            "",
            "",
            "P" if "P" in given else "",
        ]
        node = helper.make_node(
            "DynamicQuantizeLSTM", [*names, "Ws", "Wz", "Rs", "Rz"], ["Y", "Y_h", "Y_c"], "layer",
            domain=MICROSOFT, hidden_size=HIDDEN, direction=direction,
        )  # fmt: skip
        content = model([node], ["time", "batch", INPUTS], {**constants, **given}, "Y Y_h Y_c")
        x = drawn(60 + i, STEPS, BATCH, INPUTS)
        operands = [x, *floats, given.get("B"), None, None, None, given.get("P")]
        exact = run("LSTM", {"direction": direction}, operands)
        what = f"DynamicQuantizeLSTM, {name}"
        FOLDER.add(f"lstm_{name}.onnx", content, what, [x], exact, asked(content, x), load=NUMBERS)


def products() -> None:
    """MatMulInteger, ConvInteger and the joined products, with zero points."""
    for i, (op, dtype, rows) in enumerate(
        [
            ("MatMulInteger", np.int8, True), ("MatMulInteger", np.uint8, False),
            ("ConvInteger", np.uint8, False), ("DynamicQuantizeMatMul", np.int8, True),
            ("MatMulIntegerToFloat", np.uint8, True),
        ]
    ):  # fmt: skip
        conv = op == "ConvInteger"
        shape = (OUTPUTS, INPUTS, 3) if conv else (INPUTS, OUTPUTS)
        q, scale, zero = part(100 + i, shape, (OUTPUTS,) if rows else (), dtype)
        bias = drawn(120 + i, OUTPUTS)
        constants = {"w": q, "ws": scale, "wz": zero, "b": bias}
        x = drawn(140 + i, BATCH, INPUTS, 9) if conv else drawn(140 + i, STEPS, BATCH, INPUTS)
        nodes = [helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"], "q")]
        if op == "DynamicQuantizeMatMul":
            names = ["x", "w", "ws", "wz", "b"]
            nodes = [helper.make_node(op, names, ["y"], "product", domain=MICROSOFT)]
        elif op == "MatMulIntegerToFloat":
            names = ["xq", "w", "xs", "ws", "xz", "wz", "b"]
            nodes.append(helper.make_node(op, names, ["y"], "product", domain=MICROSOFT))
        else:
            nodes += [
                helper.make_node(op, ["xq", "w", "xz", "wz"], ["p"], "product"),
                helper.make_node("Cast", ["p"], ["f"], "cast", to=1),
                helper.make_node("Mul", ["xs", "ws"], ["s"], "scales"),
                helper.make_node("Mul", ["f", "s"], ["y"], "scaled"),
            ]
            del constants["b"]
        w = numbers(q, scale, zero, None if conv else 1)
        if conv:
            windows = np.lib.stride_tricks.sliding_window_view(x.astype(float), 3, axis=2)
            exact = np.einsum("bctk,ock->bot", windows, w)
        else:
            exact = x.astype(float) @ w + (bias.astype(float) if "b" in constants else 0)
        lead = ["batch", INPUTS, "time"] if conv else ["time", "batch", INPUTS]
        content = model(nodes, lead, constants, "y")
        file = f"{op.lower()}_{np.dtype(dtype).name}{'_rows' if rows else ''}.onnx"
        FOLDER.add(file, content, op, [x], [exact], asked(content, x), load=NUMBERS)


class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    """One batch to calibrate with."""

    def __init__(self, x: Array) -> None:
        self.left = [{"x": x}]

    def get_next(self) -> dict[str, Array] | None:
        return self.left.pop() if self.left else None


def tools() -> None:
    """A layer and a product as quantize_dynamic and quantize_static write them."""
    for i, cell in enumerate(("LSTM", "GRU", "RNN")):
        rows = GATES[cell] * HIDDEN
        weights = {
            "W": drawn(200 + i, 1, rows, INPUTS, scale=0.4),
            "R": drawn(210 + i, 1, rows, HIDDEN, scale=0.3),
            "B": drawn(220 + i, 1, 2 * rows, scale=0.3),
            "M": drawn(230 + i, HIDDEN, OUTPUTS, scale=0.4),
            "b": drawn(240 + i, OUTPUTS),
        }
        nodes = [
            helper.make_node(cell, ["x", "W", "R", "B"], ["s"], "cells", hidden_size=HIDDEN),
            helper.make_node("Squeeze", ["s", "axes"], ["q"], "squeeze"),
            helper.make_node("MatMul", ["q", "M"], ["m"], "product"),
            helper.make_node("Add", ["m", "b"], ["y"], "bias"),
        ]
        constants = {**weights, "axes": np.array([1])}
        content = model(nodes, ["time", "batch", INPUTS], constants, "y")
        x = drawn(250 + i, STEPS, BATCH, INPUTS)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "float.onnx"
            source.write_bytes(content)
            for how in ("dynamic", "dynamic_rows", "static", "static_rows"):
                tool(cell, how, source, x)


def tool(cell: str, how: str, source: Path, x: Array) -> None:
    target = source.with_name("quantised.onnx")
    options = {"per_channel": how.endswith("rows")}
    if how.startswith("dynamic"):
        quantization.quantize_dynamic(source, target, **options)
    else:
        kind = quantization.QuantType.QInt8
        quantization.quantize_static(
            source, target, Reader(x), quant_format=quantization.QuantFormat.QDQ,
            activation_type=kind, weight_type=kind, **options,
        )  # fmt: skip
    loaded = onnx.load(target)
    for entry in list(loaded.metadata_props):
        loaded.metadata_props.remove(entry)
    content = bytes(loaded.SerializeToString(deterministic=True))
    exact = walked(loaded.graph, x)
    what = f"{cell} and a product, by quantize_{how.partition('_')[0]}"
    file = f"{cell.lower()}_{how}.onnx"
    FOLDER.add(file, content, what, [x], [exact], asked(content, x), load=NUMBERS)


def walked(graph: Any, x: Array) -> Array:
    """The graph node by node in float64; a product of integers is that of what they stand for."""
    values: dict[str, Any] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    values["x"] = x.astype(float)
    for node in graph.node:
        given = [values[name] if name else None for name in node.input]
        attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        made: Any
        if node.op_type == "DynamicQuantizeLSTM":
            w, r = (
                numbers(q.transpose(0, 2, 1), *(p.reshape(1, -1, 1) for p in (s, z)))
                for q, s, z in ((given[1], *given[8:10]), (given[2], *given[10:12]))
            )
            made = run("LSTM", {}, [given[0], w, r, given[3]])[0]
        elif node.op_type in GATES:
            made = run(node.op_type, {}, given)[0]
        elif node.op_type == "Squeeze":
            made = np.squeeze(given[0], 1)
        elif node.op_type == "DynamicQuantizeLinear":
            made = given[0]
            values |= {node.output[1]: np.float64(1), node.output[2]: None}
        elif node.op_type == "MatMulInteger":
            made = ("product", given[0], given[1], given[3])
        elif node.op_type == "Cast":
            made = given[0]
        elif node.op_type == "Mul":
            made = given[0] * given[1] if not isinstance(given[0], tuple) else scaled(*given)
        elif node.op_type == "QuantizeLinear":
            places = given[0] / given[1].astype(float)
            assert np.abs(np.abs(places - np.floor(places)) - 0.5).min() > CLEAR, node.name
            limits = np.iinfo(given[2].dtype)
            made = np.clip(np.rint(places) + given[2], limits.min, limits.max)
        elif node.op_type == "DequantizeLinear":
            made = numbers(*given, attrs.get("axis", 1)) if len(given) == 3 else None
        else:
            made = {"MatMul": np.matmul, "Add": np.add}[node.op_type](given[0], given[1])
        values[node.output[0]] = made
    return np.asarray(values["y"], float)


def scaled(product: Any, scale: Array) -> Array:
    _, x, q, zero = product
    return np.asarray(x @ numbers(q, np.asarray(scale, np.float32), zero, 1))


# PyTorch

NET = (
    "rn.Sequential(rn.LSTM(5, 8, num_layers=2, bidirectional=True, batch_first=True, name='lstm'), "
    "rn.GRU(16, 8, batch_first=True, name='gru'), rn.Linear(8, 4, name='fc'))"
)


class Net(nn.Module):  # type: ignore[misc]
    """Layers that dynamic quantisation takes."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(INPUTS, HIDDEN, 2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(2 * HIDDEN, HIDDEN, batch_first=True)
        self.fc = nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.gru(self.lstm(x)[0])[0])


def exact_of(net: Any, made: Any) -> Any:
    """The network in float64 with the weights that the integers stand for."""
    exact = copy.deepcopy(net).double()
    state = exact.state_dict()
    for path, module in made.named_modules():
        if hasattr(module, "_all_weight_values"):
            count = 2 if module.bidirectional else 1
            for i, values in enumerate(module._all_weight_values):
                _, _, _, _, weights = values.param.__getstate__()[0]
                end = f"_l{i // count}" + ("_reverse" if i % count else "")
                for side, weight in zip(("ih", "hh"), weights, strict=True):
                    name = f"{path}.weight_{side}{end}"
                    state[name].copy_(weight.__getstate__()[0][0].dequantize().double())
        elif hasattr(module, "_packed_weight_ih"):
            for side in ("ih", "hh"):
                weight = getattr(module, f"_packed_weight_{side}").__getstate__()[0][0]
                state[f"{path}.weight_{side}"].copy_(weight.dequantize().double())
        elif hasattr(module, "_packed_params") and callable(getattr(module, "weight", None)):
            state[f"{path}.weight"].copy_(module.weight().dequantize().double())
    return exact


def quantised(net: Any, rows: bool) -> Any:
    kinds = {nn.LSTM, nn.GRU, nn.Linear, nn.LSTMCell, nn.GRUCell, nn.RNNCell}
    how = torch.ao.quantization.default_dynamic_qconfig
    if rows:
        how = torch.ao.quantization.per_channel_dynamic_qconfig
    return torch.ao.quantization.quantize_dynamic(net, dict.fromkeys(kinds, how))


def filled(net: Any, seed: int) -> Any:
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            parameter.copy_(torch.from_numpy(drawn(seed + i, *parameter.shape, scale=0.4)))
    return net.eval()


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def networks() -> None:
    for i, rows in enumerate((False, True)):
        net = filled(Net(), 300 + 50 * i)
        made = quantised(net, rows)
        x = torch.from_numpy(drawn(390 + i, BATCH, STEPS, INPUTS))
        with torch.no_grad():
            exact, own = exact_of(net, made)(x.double()).numpy(), made(x).numpy()
        end = "_rows" if rows else ""
        for form, value in (("state_dict", made.state_dict()), ("module", made)):
            what = f"quantize_dynamic of a network, {form}"
            load = {**NUMBERS, "architecture": NET}
            file = f"{form}{end}.pt"
            FOLDER.add(file, saved(value), what, [x.numpy()], [exact], [own], load=load)


def cells() -> None:
    for i, (kind, layer) in enumerate(
        (("LSTMCell", "LSTM(5, 8"), ("GRUCell", "GRU(5, 8"), ("RNNCell", "RNN(5, 8"))
    ):
        net = filled(nn.ModuleDict({"cell": getattr(nn, kind)(INPUTS, HIDDEN)}), 400 + 10 * i)
        made = quantised(net, False)
        x = torch.from_numpy(drawn(450 + i, STEPS, BATCH, INPUTS))
        results = []
        for one, fed in ((exact_of(net, made)["cell"], x.double()), (made["cell"], x)):
            state, ys = None, []
            with torch.no_grad():
                for step in fed:
                    state = one(step, state)
                    ys.append(state[0] if isinstance(state, tuple) else state)
            finals = state if isinstance(state, tuple) else (state,)
            results.append([torch.stack(ys).numpy(), *(s[None].numpy() for s in finals)])
        load = {**NUMBERS, "layer": "cell", "architecture": f"rn.{layer})"}
        file = f"{kind.lower()}.pt"
        FOLDER.add(file, saved(made.state_dict()), kind, [x.numpy()], *results, load=load)


layers()
products()
tools()
networks()
cells()
FOLDER.close()
