"""Remove what does not change any output: dead nodes, copies, zero initial states."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rnnengine.graph import Graph, Node, TensorType
from rnnengine.ops.types import infer_types

__all__ = ["prune", "remove_dead"]

_RECURRENT = ("LSTM", "GRU", "RNN")


def prune(graph: Graph) -> Graph:
    """Return an equivalent graph without copies, zero initial states and dead nodes.

    The graph must be settled (see :mod:`rnnengine.passes.fold`). Outputs keep their names; unused
    outputs of nodes become None.
    """
    return remove_dead(_without_copies(remove_dead(_without_zero_states(graph))))


def remove_dead(graph: Graph) -> Graph:
    """Drop nodes and constants that no output or state needs."""
    live = _wanted(graph)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        outputs = tuple(name if name in live else None for name in node.outputs)
        if not any(outputs):
            continue
        kept.append(Node(node.op, node.name, node.inputs, _trimmed(outputs), node.attrs))
        live.update(name for name in node.inputs if name is not None)
    constants = {name: value for name, value in graph.constants.items() if name in live}
    return graph.with_(nodes=tuple(reversed(kept)), constants=constants)


def _wanted(graph: Graph) -> set[str | None]:
    return {*graph.outputs, *(state.output for state in graph.states)}


def _trimmed(names: tuple[str | None, ...]) -> tuple[str | None, ...]:
    count = len(names)
    while count and names[count - 1] is None:
        count -= 1
    return names[:count]


_MOVING = frozenset(
    ["Expand", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze"]
)
"""Operators that make zeros of zeros, however they move or repeat them."""


def _without_zero_states(graph: Graph) -> Graph:
    """Omit initial states that are zero: that is what an omitted state means."""
    starts = {n for node in graph.nodes if node.op in _RECURRENT for n in node.inputs[6:8]}
    starts |= {node.inputs[0] for node in graph.nodes if node.op in _MOVING}
    zeros = {n for n, v in graph.constants.items() if n in starts and not np.any(v)}
    for node in graph.nodes:
        if node.op in _MOVING and node.inputs[0] in zeros:
            zeros.update(name for name in node.outputs if name is not None)
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = node.inputs
        if node.op in _RECURRENT:
            inputs = _trimmed(
                tuple(None if i in (6, 7) and n in zeros else n for i, n in enumerate(inputs))
            )
        nodes.append(Node(node.op, node.name, inputs, node.outputs, node.attrs))
    return graph.with_(nodes=tuple(nodes))


def _same_shape(node: Node, types: dict[str, TensorType]) -> bool:
    source, target = node.inputs[0], node.outputs[0]
    assert source is not None and target is not None
    return types[source] == types[target]


_COPIES: dict[str, Callable[[Node, dict[str, TensorType]], bool]] = {
    "Identity": lambda node, types: True,
    "Dropout": lambda node, types: len(node.outputs) < 2 or node.outputs[1] is None,
    "Cast": _same_shape,
    "Reshape": _same_shape,
    "Expand": _same_shape,
    "Tile": _same_shape,
    "Squeeze": _same_shape,
    "Unsqueeze": _same_shape,
    "Concat": lambda node, types: len(node.inputs) == 1,
    "Slice": lambda node, types: _same_shape(node, types) and set(node.attrs["steps"]) <= {1},
    "Transpose": lambda node, types: node.attrs["perm"] == tuple(range(len(node.attrs["perm"]))),
}
"""When each operator hands on its first input unchanged."""


def _without_copies(graph: Graph) -> Graph:
    types = infer_types(graph)
    wanted = _wanted(graph)
    computed = graph.producers()
    forwarded: dict[str, str] = {}
    renamed: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(None if n is None else forwarded.get(n, n) for n in node.inputs)
        is_copy = _COPIES.get(node.op)
        target = node.outputs[0] if node.outputs else None
        if is_copy is None or target is None or not is_copy(node, types):
            nodes.append(Node(node.op, node.name, inputs, node.outputs, node.attrs))
            continue
        source = inputs[0]
        assert source is not None
        if target not in wanted:
            forwarded[target] = source
        elif source in computed and source not in wanted and source not in renamed:
            renamed[source] = target
        else:
            nodes.append(Node("Identity", node.name, (source,), (target,)))
    return graph.with_(nodes=tuple(_rename(node, renamed) for node in nodes))


def _rename(node: Node, names: dict[str, str]) -> Node:
    return Node(
        node.op,
        node.name,
        tuple(None if n is None else names.get(n, n) for n in node.inputs),
        tuple(None if n is None else names.get(n, n) for n in node.outputs),
        node.attrs,
    )
