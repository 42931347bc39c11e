"""Stacks of recurrent layers as ONNX models, for what runs layers side by side."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import rnnengine as rn

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def stack(seed: int, compute_type: str = "float32") -> tuple[rn.Model, int]:
    """Two to four forward layers of any cells and sizes, some with lengths or initial states; how
    many they are."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    count, lengths = int(rng.integers(2, 5)), seed % 3 == 0
    sizes = [int(n) for n in rng.integers(1, 40, count + 1)]
    nodes, constants = [], [numpy_helper.from_array(np.array([1]), "axes")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "B", sizes[0]])]
    if lengths:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]))
    source, outputs = "x", []
    for i, (size, hidden) in enumerate(itertools.pairwise(sizes)):
        cell = str(rng.choice(list(GATES)))
        rows = GATES[cell] * hidden
        shapes = {"W": (1, rows, size), "R": (1, rows, hidden), "B": (1, 2 * rows)}
        for name, shape in shapes.items():
            array = rng.uniform(-0.5, 0.5, shape).astype(np.float32)
            constants.append(numpy_helper.from_array(array, f"{name}{i}"))
        given = [source, *(f"{name}{i}" for name in shapes), "lengths" if lengths else "", ""]
        if rng.random() < 0.5:
            given[5] = f"h{i}"
            shape = [1, "B", hidden]
            inputs.append(helper.make_tensor_value_info(given[5], TensorProto.FLOAT, shape))
        options: dict[str, Any] = {"hidden_size": hidden}
        if cell == "GRU":
            options["linear_before_reset"] = int(rng.integers(2))
        results, source = [f"y{i}", f"last{i}"], f"s{i}"
        nodes.append(helper.make_node(cell, given, results, f"layer{i}", **options))
        nodes.append(helper.make_node("Squeeze", [f"y{i}", "axes"], [source]))
        outputs.append(results[1])
    outputs.append(source)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "stack", inputs, ends, constants)
    opset = [helper.make_opsetid("", 17)]
    content = helper.make_model(graph, opset_imports=opset).SerializeToString()
    return rn.load(content, compute_type=compute_type), count
