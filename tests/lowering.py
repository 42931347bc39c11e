"""Graphs with weights of fewer bytes, and the float32 graphs that stand for the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnengine.graph import Graph
from rnnengine.ops.weights import choices_of
from rnnengine.passes.fold import fold
from rnnengine.passes.lower import Lowering, lower

Array = np.ndarray[Any, Any]

LOW_TYPES = ("bfloat16", "float16", "int8", "int8_fast")
"""Compute types that tests draw besides float32."""

_MIXED = tuple(kind for low in LOW_TYPES for kind in ("float32", low))


def mixed(seed: int) -> str:
    """Compute type for the case of a seed: float32 for every second one, the others in turn."""
    return _MIXED[seed % len(_MIXED)]


def lowered(graph: Graph, compute_type: str) -> Graph:
    """The settled graph with the weights of all its layers in a compute type, as far as it has any.

    Layers whose weights arrive at run time, convolutions of several groups, and graphs that have no
    other layers stay as they are.
    """
    if compute_type == "float32":
        return graph
    settled = fold(graph)
    weights = {
        node.name: node.inputs[1]
        for node in settled.nodes
        if len(node.inputs) > 1 and node.attrs.get("group", 1) == 1
    }
    found = [weights.get(choice.node) in settled.constants for choice in choices_of(settled)]
    return lower(settled, Lowering(compute_type)) if any(found) else settled


def rounded(graph: Graph) -> Graph:
    """The graph with float32 constants for those that were lowered."""
    constants = {name: np.asarray(value) for name, value in graph.constants.items()}
    return graph.with_(constants=constants)
