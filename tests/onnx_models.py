"""Small ONNX models made on the spot."""

from __future__ import annotations

from typing import Any

import numpy as np

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def layer(
    cell: str,
    hidden: int,
    inputs: int,
    *,
    direction: str = "forward",
    seed: int = 0,
    opset: int = 17,
    time: int | str = "time",
    batch: int | str = "batch",
    lengths: bool = False,
    initial: bool = False,
    **attributes: Any,
) -> bytes:
    """One recurrent layer with random weights: x -> y, h_n (and c_n)."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    gates, count = GATES[cell], 2 if direction == "bidirectional" else 1
    bound = 1 / np.sqrt(hidden + inputs)
    weights = {
        "W": rng.uniform(-bound, bound, (count, gates * hidden, inputs)),
        "R": rng.uniform(-bound, bound, (count, gates * hidden, hidden)),
        "B": rng.uniform(-bound, bound, (count, 2 * gates * hidden)),
    }
    states = ["h0", "c0"] if cell == "LSTM" else ["h0"]
    finals = ["h_n", "c_n"] if cell == "LSTM" else ["h_n"]
    operands = ["x", "W", "R", "B", "lengths" if lengths else "", *(states if initial else [])]
    feeds = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [time, batch, inputs])]
    if lengths:
        feeds.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [batch]))
    if initial:
        feeds += [
            helper.make_tensor_value_info(s, TensorProto.FLOAT, [count, batch, hidden])
            for s in states
        ]
    results = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [time, count, batch, hidden])]
    results += [
        helper.make_tensor_value_info(f, TensorProto.FLOAT, [count, batch, hidden]) for f in finals
    ]
    node = helper.make_node(
        cell,
        operands,
        ["y", *finals],
        "layer",
        hidden_size=hidden,
        direction=direction,
        **attributes,
    )
    tensors = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items()]
    graph = helper.make_graph([node], "layer", feeds, results, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString())


def nodes(
    operators: list[Any],
    inputs: dict[str, tuple[Any, ...]],
    outputs: list[str],
    constants: dict[str, np.ndarray[Any, Any]] | None = None,
    opset: int = 17,
) -> bytes:
    """A model of given nodes; float32 inputs by name and shape."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        operators,
        "nodes",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(v, n) for n, v in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString())


def random_feeds(session: Any, seed: int = 0, **sizes: int) -> dict[str, np.ndarray[Any, Any]]:
    """Normal numbers for the inputs of a session of onnxruntime, its open sizes as given."""
    rng = np.random.default_rng(seed)
    shapes = {
        info.name: [s if isinstance(s, int) else sizes[s] for s in info.shape]
        for info in session.get_inputs()
    }
    return {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}
