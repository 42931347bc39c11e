"""A benchmark case as an ONNX model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from rnnengine.bench.cases import LayerCase

__all__ = ["Form", "onnx_bytes"]

Form: TypeAlias = Literal["open", "fixed", "step"]


def onnx_bytes(case: LayerCase, form: Form, *, int8: bool = False) -> bytes:
    """Build a case as an ONNX model.

    Parameters
    ----------
    case : LayerCase
    form : {"open", "fixed", "step"}
        ``open``: ``x [time, B, I]`` -> ``y [time, D, B, H]`` of any length. ``fixed``: the same
        with T as a number. ``step``: ``x [1, 1, I]`` and the state ``h`` (and ``c``)
        -> ``h_next`` (and ``c_next``), [1, 1, H] each.
    int8 : bool
        As onnxruntime's ``DynamicQuantizeLSTM``, with a scale for each row of W and R, as its
        ``quantize_dynamic(per_channel=True)`` writes it.

    Returns
    -------
    bytes
        A serialized ModelProto, opset 14. The GRU is of the form PyTorch and cuDNN use
        (``linear_before_reset=1``). An initial state of the case is a constant.
    """
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str, *shape: int | str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    time = "time" if form == "open" else case.steps
    inputs = [value("x", time, case.batch, case.widths()[0])]
    outputs = [value("y", time, case.directions, case.batch, case.hidden)]
    nodes: list[Any] = []
    arrays: dict[str, Any] = dict(case.initial())
    attributes: dict[str, Any] = {"hidden_size": case.hidden}
    if case.directions == 2:
        attributes["direction"] = "bidirectional"
    if case.cell == "GRU":
        attributes["linear_before_reset"] = 1
    if int8:
        attributes["domain"] = "com.microsoft"
    source = "x"
    for layer in range(case.layers):
        weights = case.weights(layer)
        constants = _quantised(weights) if int8 else dict(weights)
        arrays |= {f"{name}{layer}": array for name, array in constants.items()}
        last = layer == case.layers - 1
        states, results = ["", ""], ["y" if last else f"y{layer}"]
        if form == "step":
            inputs += [value(name, 1, 1, case.hidden) for name in case.states]
            outputs = [value(f"{name}_next", 1, 1, case.hidden) for name in case.states]
            results = ["", *(f"{name}_next" for name in case.states)]
        if form == "step" or case.initial():
            states = [name if name in case.states else "" for name in ("h", "c")]
        operands = [source, *(f"{name}{layer}" for name in ("W", "R", "B")), "", *states]
        if int8:
            operands += ["", *(f"{name}{layer}" for name in _QUANTISATION)]
        while not operands[-1]:
            operands.pop()
        op = "DynamicQuantizeLSTM" if int8 else case.cell
        nodes.append(helper.make_node(op, operands, results, f"layer{layer}", **attributes))
        if not last:
            source = f"x{layer + 1}"
            arrays[f"shape{layer}"] = np.array([0, 0, case.directions * case.hidden], np.int64)
            turned = f"turned{layer}"
            nodes.append(helper.make_node("Transpose", results, [turned], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [turned, f"shape{layer}"], [source]))
    initializers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "layer", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 14), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets[: 1 + int8])
    model.ir_version = 8
    content: bytes = model.SerializeToString()
    return content


_QUANTISATION = ("W_scale", "W_zero", "R_scale", "R_zero")


def _quantised(weights: Mapping[str, Any]) -> dict[str, Any]:
    """W and R as int8 [D, K, G*H] with scales and zero points [D, G*H]."""
    found: dict[str, Any] = {"B": weights["B"]}
    for name in ("W", "R"):
        turned = np.swapaxes(weights[name], 1, 2)
        scale = np.abs(turned).max(axis=1) / np.float32(127)
        scale[scale == 0] = 1
        found[name] = np.rint(turned / scale[:, None]).clip(-127, 127).astype(np.int8)
        found[f"{name}_scale"] = scale.astype(np.float32)
        found[f"{name}_zero"] = np.zeros(scale.shape, np.int8)
    return found
