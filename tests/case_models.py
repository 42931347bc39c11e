"""A drawn layer as an ONNX model, or as a canonical graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnengine.graph import Graph, Node, Size, TensorType, Value, symbol
from rnnengine.ops.recurrent import Activation

if TYPE_CHECKING:
    from cases import Spec

Array = np.ndarray[Any, Any]

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
ONNX_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
"""Canonical gate at each ONNX position: LSTM i,o,f,c of i,f,g,o; GRU z,r,h of r,z,n."""
ONNX_NAMES = {
    "relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softsign": "Softsign",
    "softplus": "Softplus", "leaky_relu": "LeakyRelu", "elu": "Elu", "hard_sigmoid": "HardSigmoid",
    "thresholded_relu": "ThresholdedRelu", "affine": "Affine", "scaled_tanh": "ScaledTanh",
}  # fmt: skip
PARAMETERS = {
    "leaky_relu": 1, "elu": 1, "hard_sigmoid": 2, "thresholded_relu": 1, "affine": 2,
    "scaled_tanh": 2,
}  # fmt: skip
DEFAULTS = {"leaky_relu": (0.01, 0.0), "elu": (1.0, 0.0), "hard_sigmoid": (0.2, 0.5)}
"""Functions whose parameters may be left out, at the end of the lists."""
NAMES = ("x", "W", "R", "b_w", "b_r", "lengths", "h0", "c0", "peephole", "proj")
OUTPUTS = ("y", "h_n", "c_n")


def canonical_graph(
    spec: Spec, operands: tuple[Array | None, ...]
) -> tuple[Graph, dict[str, Array]]:
    """A graph of one canonical recurrent node; x, lengths and states are inputs."""
    fed = (0, 5, 6, 7)
    t, b = (symbol("T"), symbol("B")) if spec.symbolic else (spec.steps, spec.batch)
    shapes: dict[int, tuple[Size, ...]] = {
        0: (t, b, spec.inputs),
        5: (b,),
        6: (spec.directions, b, spec.width),
        7: (spec.directions, b, spec.attrs.hidden_size),
    }
    given = {i: v for i, v in enumerate(operands) if v is not None}
    last = max(given)
    names = tuple(NAMES[i] if i in given else None for i in range(last + 1))
    outputs = tuple(o if w else None for o, w in zip(OUTPUTS, spec.outputs, strict=False))
    node = Node(spec.op, spec.op.lower(), names, outputs, spec.attrs.mapping())
    graph = Graph(
        name="case",
        inputs=tuple(
            Value(NAMES[i], TensorType(given[i].dtype, shapes[i])) for i in fed if i in given
        ),
        outputs=tuple(o for o in outputs if o is not None),
        nodes=(node,),
        constants={NAMES[i]: v for i, v in given.items() if i not in fed},
    )
    return graph, {NAMES[i]: given[i] for i in fed if i in given}


def _reordered(value: Array, order: tuple[int, ...], axis: int) -> Array:
    return np.concatenate([np.split(value, len(order), axis)[g] for g in order], axis)


def onnx_model(spec: Spec, operands: tuple[Array | None, ...]) -> tuple[bytes, dict[str, Array]]:
    """The layer as an ONNX model of one node, and its feeds."""
    x, w, r, b_w, b_r, lengths, h0, c0, peephole, _ = operands
    assert x is not None and w is not None and r is not None
    order = ONNX_ORDER[spec.op]
    bias = None
    if b_w is not None and b_r is not None:
        bias = np.concatenate([_reordered(b, order, 1) for b in (b_w, b_r)], 1)
    arrays: dict[str, Array | None] = {
        "x": x,
        "W": _reordered(w, order, 1),
        "R": _reordered(r, order, 1),
        "B": bias,
        "lengths": lengths,
        "h0": h0,
    }
    if spec.op == "LSTM":
        arrays["c0"] = c0
        arrays["P"] = None if peephole is None else _reordered(peephole, (0, 2, 1), 1)
    if spec.layout:
        for name in ("x", "h0", "c0"):
            value = arrays.get(name)
            arrays[name] = None if value is None else np.ascontiguousarray(value.swapaxes(0, 1))
    present = {name: value for name, value in arrays.items() if value is not None}
    fed = {"x", "lengths", "h0", "c0"} | ({"W", "R", "B"} if spec.dynamic_weights else set())
    feeds = {name: value for name, value in present.items() if name in fed}
    constants = {name: value for name, value in present.items() if name not in fed}
    return _serialised(spec, list(arrays), feeds, constants), feeds


def _serialised(
    spec: Spec, names: list[str], feeds: dict[str, Array], constants: dict[str, Array]
) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    there = {**feeds, **constants}
    outputs = [o if w else "" for o, w in zip(OUTPUTS, spec.outputs, strict=False)]
    node = helper.make_node(
        spec.op, [n if n in there else "" for n in names], outputs, "layer", **onnx_attributes(spec)
    )
    axes = {"x": "TB-", "lengths": "B", "h0": "-B-", "c0": "-B-"}
    if spec.layout:
        axes = {"x": "BT-", "lengths": "B", "h0": "B--", "c0": "B--"}

    def declared(name: str, value: Array) -> Any:
        letters = axes.get(name, "-" * value.ndim) if spec.symbolic else "-" * value.ndim
        shape = [s if a == "-" else a for a, s in zip(letters, value.shape, strict=True)]
        code = TensorProto.INT32 if name == "lengths" else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, code, shape)

    graph = helper.make_graph(
        [node],
        "case",
        [declared(n, v) for n, v in feeds.items()],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs if o],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", spec.opset)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def onnx_attributes(spec: Spec) -> dict[str, Any]:
    """Attributes of the ONNX node, in the spelling that was drawn."""
    attrs = spec.attrs
    result: dict[str, Any] = {"hidden_size": attrs.hidden_size}
    if attrs.direction != "forward":
        result["direction"] = attrs.direction
    if not spec.default_activations:
        functions = [a for row in attrs.activations for a in row]
        spell = (str, str.lower, str.upper)[spec.spelling]
        result["activations"] = [spell(ONNX_NAMES[a.name]) for a in functions]
        alphas = _given([a for a in functions if PARAMETERS.get(a.name, 0) >= 1])
        betas = _given([a for a in functions if PARAMETERS.get(a.name, 0) >= 2])
        result["activation_alpha"] = [a.alpha for a in alphas]
        result["activation_beta"] = [a.beta for a in betas]
    if attrs.clip is not None:
        result["clip"] = attrs.clip
    if attrs.coupling:
        result["input_forget"] = 1
    if attrs.reset_after:
        result["linear_before_reset"] = 1
    if spec.layout:
        result["layout"] = 1
    return {k: v for k, v in result.items() if v != []}


def _given(functions: list[Activation]) -> list[Activation]:
    """Leave out, at the end, the functions whose parameters are the defaults."""
    left = list(functions)
    while left and left[-1].name in DEFAULTS:
        if left[-1] != Activation(left[-1].name, *DEFAULTS[left[-1].name]):
            break
        left.pop()
    return left
