"""Put numbers in the place of symbolic sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnnengine.graph import Dim, Graph, Node, Size, TensorType, Value, substitute

__all__ = ["fix_sizes"]


def fix_sizes(graph: Graph, sizes: Mapping[str, Size]) -> Graph:
    """Return the graph with its symbols replaced, in its inputs and in its attributes."""
    inputs = tuple(
        Value(v.name, TensorType(v.type.dtype, tuple(substitute(s, sizes) for s in v.type.shape)))
        for v in graph.inputs
    )
    nodes = tuple(
        Node(n.op, n.name, n.inputs, n.outputs, {k: _fixed(v, sizes) for k, v in n.attrs.items()})
        for n in graph.nodes
    )
    return graph.with_(inputs=inputs, nodes=nodes)


def _fixed(value: Any, sizes: Mapping[str, Size]) -> Any:
    if isinstance(value, Dim):
        return substitute(value, sizes)
    if isinstance(value, tuple):
        return tuple(_fixed(v, sizes) for v in value)
    return value
