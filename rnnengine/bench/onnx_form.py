"""A benchmark case as an ONNX model."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from rnnengine.bench.cases import LayerCase

__all__ = ["Form", "onnx_bytes"]

Form: TypeAlias = Literal["open", "fixed", "step"]


def onnx_bytes(case: LayerCase, form: Form) -> bytes:
    """Build a case as an ONNX model.

    Parameters
    ----------
    case : LayerCase
    form : {"open", "fixed", "step"}
        ``open``: ``x [time, B, I]`` -> ``y [time, D, B, H]`` of any length. ``fixed``: the same
        with T as a number. ``step``: ``x [1, 1, I]`` and the state ``h`` (and ``c``)
        -> ``h_next`` (and ``c_next``), [1, 1, H] each.

    Returns
    -------
    bytes
        A serialized ModelProto, opset 14. The GRU is of the form PyTorch and cuDNN use
        (``linear_before_reset=1``).
    """
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str, *shape: int | str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    time = "time" if form == "open" else case.steps
    inputs = [value("x", time, case.batch, case.hidden)]
    outputs = [value("y", time, case.directions, case.batch, case.hidden)]
    nodes: list[Any] = []
    constants: list[Any] = []
    attributes: dict[str, Any] = {"hidden_size": case.hidden}
    if case.directions == 2:
        attributes["direction"] = "bidirectional"
    if case.cell == "GRU":
        attributes["linear_before_reset"] = 1
    source = "x"
    for layer in range(case.layers):
        names = {name: f"{name}{layer}" for name in ("W", "R", "B")}
        constants += [
            numpy_helper.from_array(array, names[name])
            for name, array in case.weights(layer).items()
        ]
        last = layer == case.layers - 1
        operands, results = [source, *names.values()], ["y" if last else f"y{layer}"]
        if form == "step":
            inputs += [value(name, 1, 1, case.hidden) for name in case.states]
            outputs = [value(f"{name}_next", 1, 1, case.hidden) for name in case.states]
            operands += ["", *case.states]
            results = ["", *(f"{name}_next" for name in case.states)]
        nodes.append(helper.make_node(case.cell, operands, results, f"layer{layer}", **attributes))
        if not last:
            source = f"x{layer + 1}"
            shape = numpy_helper.from_array(_joined(case), f"shape{layer}")
            constants.append(shape)
            turned = f"turned{layer}"
            nodes.append(helper.make_node("Transpose", results, [turned], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [turned, f"shape{layer}"], [source]))
    graph = helper.make_graph(nodes, "layer", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
    model.ir_version = 8
    content: bytes = model.SerializeToString()
    return content


def _joined(case: LayerCase) -> Any:
    """Target of the Reshape that joins the directions: [0, 0, D * H]."""
    import numpy as np

    return np.array([0, 0, case.directions * case.hidden], dtype=np.int64)
