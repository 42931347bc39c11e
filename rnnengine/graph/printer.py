"""A graph as readable text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnengine.graph.graph import Graph, Node, TensorType

__all__ = ["to_text"]


def to_text(graph: Graph, types: Mapping[str, TensorType] | None = None) -> str:
    """Return one line for each input, constant, node, output and state.

    Parameters
    ----------
    graph : Graph
    types : mapping of str to TensorType, optional
        Shown beside the values they belong to, for instance from ``infer_types``.
    """
    lines = [f"graph {graph.name!r}"]
    lines += [f"  input    {value.name}: {value.type}" for value in graph.inputs]
    for name, array in graph.constants.items():
        lines.append(f"  constant {name}: {TensorType(array.dtype, array.shape)}{_small(array)}")
    lines += [f"  {_node(node, types or {})}" for node in graph.nodes]
    lines += [f"  output   {name}{_typed(name, types or {})}" for name in graph.outputs]
    for state in graph.states:
        lines.append(f"  state    {state.name}: {state.output} -> {state.input}")
    return "\n".join(lines)


def _typed(name: str, types: Mapping[str, TensorType]) -> str:
    return f": {types[name]}" if name in types else ""


def _small(array: np.ndarray[Any, Any]) -> str:
    return f" = {array.tolist()}" if array.size <= 4 else ""


def _node(node: Node, types: Mapping[str, TensorType]) -> str:
    outputs = ", ".join("-" if o is None else o + _typed(o, types) for o in node.outputs)
    inputs = ", ".join("-" if i is None else i for i in node.inputs)
    attrs = ", ".join(f"{k}={_attribute(v)}" for k, v in node.attrs.items() if v is not None)
    return f"{outputs} = {node.op}({inputs})" + (f" {{{attrs}}}" if attrs else "")


def _attribute(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(_attribute(v) for v in value) + ")"
    if isinstance(value, Graph):
        return f"<graph {value.name!r} of {len(value.nodes)} nodes>"
    return str(value)
