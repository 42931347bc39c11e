"""Quantised ONNX models made on the spot, and what onnxruntime's 8-bit activations make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

MICROSOFT = "com.microsoft"


def model(
    operators: Sequence[Any],
    inputs: Mapping[str, tuple[Any, Any]],
    outputs: Mapping[str, Any] | Sequence[str],
    constants: Mapping[str, Array],
    opset: int = 17,
) -> bytes:
    """A model of given nodes; inputs by name with element type and shape."""
    from onnx import helper, numpy_helper

    def kind(dtype: Any) -> int:
        return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    kinds = dict(outputs) if isinstance(outputs, Mapping) else dict.fromkeys(outputs, np.float32)
    graph = helper.make_graph(
        list(operators),
        "quantised",
        [helper.make_tensor_value_info(n, kind(d), s) for n, (d, s) in inputs.items()],
        [helper.make_tensor_value_info(n, kind(d), None) for n, d in kinds.items()],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    ir_version = 8 if opset < 19 else 10
    made = helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
    return bytes(made.SerializeToString())


def witness(content: bytes, feeds: Mapping[str, Array], *, plain: bool = False) -> list[Array]:
    """Outputs of onnxruntime on one thread; ``plain`` runs the nodes as they stand."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if plain:
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    return [np.asarray(y) for y in session.run(None, dict(feeds))]


def eight_bits(x: Array, levels: int = 255) -> Array:
    """DynamicQuantizeLinear and back: x rounded to steps of its own range, 0 among them."""
    low, high = np.minimum(x.min(), 0), np.maximum(x.max(), 0)
    scale = (high - low).astype(np.float32) / np.float32(levels)
    scale = scale if scale else np.float32(1)
    zero = np.rint(np.clip(-low / scale, 0, levels))
    whole = np.clip(np.rint(x.astype(np.float32) / scale) + zero, 0, levels)
    return np.asarray((whole - zero) * scale.astype(np.float64))


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def lstm(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    p: Array | None = None,
    h: Array | None = None,
    c: Array | None = None,
    *,
    reverse: bool = False,
    rounded: bool = True,
) -> tuple[Array, Array, Array]:
    """One direction of ONNX's LSTM in float64: x [T, B, I], W [4H, I], R [4H, H], gates iofc.

    ``rounded`` has x, and h of every step, in 8 bits, as onnxruntime's DynamicQuantizeLSTM does.
    """
    hidden = r.shape[1]
    bias = np.zeros(4 * hidden) if b is None else b[: 4 * hidden] + b[4 * hidden :].astype(float)
    h = np.zeros((x.shape[1], hidden)) if h is None else h.astype(np.float64)
    c = np.zeros((x.shape[1], hidden)) if c is None else c.astype(np.float64)
    pi, po, pf = np.zeros((3, hidden)) if p is None else p.reshape(3, hidden).astype(float)
    given = eight_bits(x) if rounded else x.astype(np.float64)
    ys = np.zeros((x.shape[0], x.shape[1], hidden))
    for t in range(x.shape[0])[:: -1 if reverse else 1]:
        last = eight_bits(h) if rounded else h
        gates = given[t] @ w.T.astype(float) + last @ r.T.astype(float) + bias
        i, o, f, g = np.split(gates, 4, axis=1)
        i, f = sigmoid(i + pi * c), sigmoid(f + pf * c)
        c = f * c + i * np.tanh(g)
        h = sigmoid(o + po * c) * np.tanh(c)
        ys[t] = h
    return ys, h, c
