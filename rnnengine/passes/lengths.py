"""Give the recurrent nodes of a time line one input of sequence lengths."""

from __future__ import annotations

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Graph, Size, TensorType, Value
from rnnengine.ops.types import describe
from rnnengine.passes.timeline import Timeline
from rnnengine.records import replace

__all__ = ["LENGTHS", "own_lengths", "with_lengths"]

LENGTHS = "lengths"
_RECURRENT = ("LSTM", "GRU", "RNN")


def own_lengths(graph: Graph) -> str | None:
    """Return the one graph input that feeds sequence lengths of recurrent nodes, if any."""
    inputs = {v.name for v in graph.inputs}
    found = {
        node.inputs[5]
        for node in graph.nodes
        if node.op in _RECURRENT and len(node.inputs) > 5 and node.inputs[5] in inputs
    }
    return found.pop() if len(found) == 1 else None


def with_lengths(graph: Graph, timeline: Timeline | None) -> Graph:
    """Return the graph with an input ``lengths`` [batch] feeding every recurrent node along time.

    Raises
    ------
    UnsupportedModelError
        Where another operator mixes time steps, so that padding would reach its result.
    """
    if timeline is None or not timeline.pointwise:
        node = timeline.node if timeline else None
        where = f"{describe(node)}: {timeline.obstacle}" if node and timeline else "no time axis"
        raise UnsupportedModelError(
            f"lengths: padding could not be kept out of the result ({where}); call run once for "
            "each length instead"
        )
    sizes: set[Size] = set()
    nodes = list(graph.nodes)
    for i, node in enumerate(nodes):
        if node in timeline.recurrent:
            x = node.inputs[0]
            assert x is not None
            sizes.add(timeline.types[x].shape[1])
            operands = [*node.inputs, *[None] * 6][: max(6, len(node.inputs))]
            if operands[5] is not None:
                raise UnsupportedModelError(
                    f"lengths: {describe(node)} already has sequence lengths of its own"
                )
            operands[5] = LENGTHS
            nodes[i] = replace(node, inputs=tuple(operands))
    if len(sizes) != 1 or any(v.name == LENGTHS for v in graph.inputs):
        raise UnsupportedModelError(
            f"lengths: the recurrent layers disagree on the batch size: {sorted(map(str, sizes))}"
        )
    lengths = Value(LENGTHS, TensorType(np.dtype(np.int32), (sizes.pop(),)))
    return graph.with_(inputs=(*graph.inputs, lengths), nodes=tuple(nodes))
