"""Graphs with weights of fewer bytes, and the float32 graphs that stand for the same numbers."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from rnnengine.graph import Graph, Packing, as_lowered
from rnnengine.graph.rounding import lower_matrix

Array = np.ndarray[Any, Any]

_GATES = {"LSTM": (4,), "GRU": (3,), "RNN": (1,)}


def lowered(graph: Graph, compute_type: str) -> Graph:
    """The graph with every constant matrix of its recurrent, linear and Conv nodes lowered."""
    constants = dict(graph.constants)
    for node in graph.nodes:
        for position, packing in _weights(node.op).items():
            name = node.inputs[position] if position < len(node.inputs) else None
            if name is not None and name in constants and not as_lowered(constants[name]):
                made = lower_matrix(np.asarray(constants[name]), packing, compute_type)
                constants[name] = cast(Array, made)
    return graph.with_(constants=constants)


def _weights(op: str) -> dict[int, Packing]:
    if op in _GATES:
        recurrent = Packing((2, 1)) if op == "GRU" else Packing(_GATES[op])
        return {1: Packing(_GATES[op]), 2: recurrent, 9: Packing((1,))}
    if op in ("MatMul", "Linear"):
        return {1: Packing((1,), columns=True)}
    return {1: Packing((1,), kernel=True)} if op == "Conv" else {}


def rounded(graph: Graph) -> Graph:
    """The graph with float32 constants for those that were lowered."""
    constants = {name: np.asarray(value) for name, value in graph.constants.items()}
    return graph.with_(constants=constants)
