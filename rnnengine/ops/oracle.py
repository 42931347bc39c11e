"""Float64 evaluation of a graph: the definition that every compiled program is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rnnengine.errors import RNNEngineError
from rnnengine.graph import Graph, Node, TensorType, as_lowered
from rnnengine.ops import registry
from rnnengine.ops.binding import bind_attrs, bind_sizes
from rnnengine.ops.recurrent import Activation, gru, lstm, rnn
from rnnengine.ops.registry import Array

__all__ = ["evaluate"]

Probe = Callable[[Activation, Array], None]

_PROBED = {"LSTM": lstm.run, "GRU": gru.run, "RNN": rnn.run}
"""The reference of each layer with its optional probe argument."""


def evaluate(
    graph: Graph, feeds: Mapping[str, Any], *, probe: Probe | None = None
) -> dict[str, Array]:
    """Evaluate every output of a graph in float64.

    Parameters
    ----------
    graph : Graph
        As imported or after any pass.
    feeds : mapping of str to array_like
        One value for every graph input, of the declared shape. Floats are computed in float64,
        integers and booleans in their declared type.
    probe : callable(activation, array), optional
        Sees the input of every gate activation of every recurrent node.

    Returns
    -------
    dict of str to array

    Raises
    ------
    ShapeError
        Where a feed or a computed size contradicts the graph.
    """
    sizes = bind_sizes(graph, feeds)
    values: dict[str, Array] = {
        k: np.asarray(v, np.float64 if as_lowered(v) else None) for k, v in graph.constants.items()
    }
    for value in graph.inputs:
        values[value.name] = _computed(np.asarray(feeds[value.name]), value.type)
    remaining = _last_uses(graph)
    for node in graph.nodes:
        operands = [values[n] if n is not None else None for n in node.inputs]
        attrs = bind_attrs(node.attrs, sizes)
        try:
            if probe is not None and node.op in _PROBED:
                results = _PROBED[node.op](attrs, operands, probe)
            else:
                results = registry.get(node.op).reference(attrs, operands)
        except RNNEngineError as error:
            error.args = (f"node {node.name!r} ({node.op}): {error}",)
            raise
        named = zip(node.outputs, results, strict=False)
        values.update({name: result for name, result in named if name is not None})
        for name in remaining.get(node.name, ()):
            values.pop(name, None)
    return {name: values[name] for name in graph.outputs}


def _last_uses(graph: Graph) -> dict[str, list[str]]:
    """Names that nothing needs after a node, so that long graphs do not hold every value."""
    last: dict[str, Node] = {}
    for node in graph.nodes:
        for name in node.inputs:
            if name is not None and name not in graph.outputs:
                last[name] = node
    uses: dict[str, list[str]] = {}
    for name, node in last.items():
        uses.setdefault(node.name, []).append(name)
    return uses


def _computed(value: Array, declared: TensorType) -> Array:
    if declared.dtype.kind == "f":
        return value.astype(np.float64)
    return value.astype(declared.dtype)
