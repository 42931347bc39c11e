"""Give recurrent nodes on the time axis explicit state inputs and outputs."""

from __future__ import annotations

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Graph, Node, State, TensorType, Value, fresh, symbols_of
from rnnengine.ops.registry import Array
from rnnengine.ops.types import describe
from rnnengine.passes.timeline import Timeline
from rnnengine.records import replace

__all__ = ["carried", "expose_state", "starts_constant"]


def expose_state(graph: Graph, timeline: Timeline, *, every: bool = False) -> Graph:
    """Return the graph with an input and an output for each state of its time line.

    A state's initial value is the node's own: zeros, or a constant. Names are
    ``<node name>.h`` and ``.c``. In a graph that declares state of its own, only the nodes that
    this state enters are followed, and of those what it leaves out (an LSTM's h beside its c).
    With ``every``, all nodes are followed, and sequence lengths are taken to be those of the steps
    that are given.

    Raises
    ------
    UnsupportedModelError
        Where an initial state is computed from an input, or a node has its own sequence lengths.
    """
    inputs, outputs = list(graph.inputs), list(graph.outputs)
    states = list(graph.states)
    nodes = list(graph.nodes)
    sources = graph.producers()
    taken = set(timeline.types)
    taken_nodes = {node.name for node in nodes}
    names = {state.name for state in states}
    for position, node in enumerate(nodes):
        if node not in timeline.recurrent:
            continue
        open_ = [c for c in carried(node) if starts_constant(graph, node, c[1], sources)]
        if graph.states and not every and len(open_) == len(carried(node)):
            continue
        if not every and open_ and len(node.inputs) > 5 and node.inputs[5] is not None:
            raise UnsupportedModelError(
                f"{describe(node)}: it has sequence lengths of its own; a stream takes the steps "
                "that it is given"
            )
        operands = [*node.inputs, *[None] * 8][: max(8, len(node.inputs))]
        results = [*node.outputs, None, None, None][:3]
        for letter, operand, result in open_ if graph.states or every else carried(node):
            shape = _state_type(node, timeline, letter)
            initial = _initial(graph, node, operands[operand], sources)
            name = fresh(f"{node.name}.{letter}", names)
            entry = fresh(name, taken)
            back = results[result] or fresh(f"{name}.next", taken)
            if back in outputs:
                back = fresh(f"{name}.next", taken)
                copy = fresh(back, taken_nodes)
                nodes.append(Node("Identity", copy, (results[result],), (back,)))
            results[result] = results[result] or back
            operands[operand] = entry
            inputs.append(Value(entry, shape))
            outputs.append(back)
            states.append(State(name, entry, back, None, initial, implicit=True))
        kept = results if node.op == "LSTM" else results[:2]
        nodes[position] = replace(node, inputs=tuple(operands), outputs=tuple(kept))
    return graph.with_(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        nodes=tuple(nodes),
        states=tuple(states),
    )


def carried(node: Node) -> list[tuple[str, int, int]]:
    """(letter, operand position, result position) of each state of a node."""
    found = [("h", 6, 1)]
    return [*found, ("c", 7, 2)] if node.op == "LSTM" else found


def _state_type(node: Node, timeline: Timeline, letter: str) -> TensorType:
    x_name, r_name = node.inputs[0], node.inputs[2]
    assert x_name is not None and r_name is not None
    x, r = timeline.types[x_name], timeline.types[r_name]
    width = r.shape[2] if letter == "h" else node.attrs["hidden_size"]
    rows = x.shape[1]
    if not isinstance(rows, int) and str(rows) not in symbols_of(rows):
        raise UnsupportedModelError(
            f"{describe(node)}: it runs over {rows} rows, several for each row of the model's "
            "inputs; a stream has one state for each; run whole sequences"
        )
    return TensorType(np.dtype(np.float32), (r.shape[0], rows, width))


def starts_constant(graph: Graph, node: Node, operand: int, sources: dict[str, Node]) -> bool:
    """Whether an initial state is omitted or constant, possibly expanded over the batch."""
    name = node.inputs[operand] if operand < len(node.inputs) else None
    if name is None or name in graph.constants:
        return True
    return _expanded(graph, sources.get(name)) is not None


def _expanded(graph: Graph, source: Node | None) -> Array | None:
    """Constant that a node repeats over the batch, None for any other node."""
    if source is None or source.op != "Expand":
        return None
    return graph.constants.get(source.inputs[0] or "")


def _initial(graph: Graph, node: Node, name: str | None, sources: dict[str, Node]) -> Array | None:
    """Initial value of a state; it must be constant, possibly expanded over the batch."""
    if name is None:
        return None
    if name in graph.constants:
        return np.asarray(graph.constants[name], np.float32)
    expanded = _expanded(graph, sources.get(name))
    if expanded is not None:
        return np.asarray(expanded, np.float32)
    raise UnsupportedModelError(
        f"{describe(node)}: its initial state {name!r} is computed from the model's inputs, so a "
        "stream has nothing to start from; make it an input of the model, or run whole sequences"
    )
