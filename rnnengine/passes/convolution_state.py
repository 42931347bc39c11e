"""Give windows that slide along time their history as state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnengine.graph import Graph, Node, Size, State, TensorType, Value, fresh
from rnnengine.ops.registry import Window
from rnnengine.passes.timeline import Timeline
from rnnengine.records import replace

__all__ = ["convolution_state"]


def convolution_state(graph: Graph, timeline: Timeline) -> Graph:
    """Return the graph with the steps that causal windows look back on as an input and an output.

    Such a window reads ``window.history`` steps before each step. They were padding in front of
    the first one; now they are read from a state, which starts as what the padding stood for, and
    its next value is the last steps of state and input together. The node itself pads nothing any
    more. Names are ``<node name>.past``. Outputs of a whole sequence stay what they were.
    """
    if not timeline.windows:
        return graph
    inputs, outputs = list(graph.inputs), list(graph.outputs)
    states, nodes = list(graph.states), []
    windows = {id(node): window for node, window in timeline.windows}
    taken = set(timeline.types)
    taken_nodes = {node.name for node in graph.nodes}
    for node in graph.nodes:
        window = windows.get(id(node))
        source = node.inputs[0]
        axis = None if source is None else timeline.axes.get(source)
        if window is None or source is None or axis is None or window.history == 0:
            nodes.append(node)
            continue
        kind = timeline.types[source]
        entry = fresh(f"{node.name}.past", taken)
        joined, back = fresh(f"{entry}.joined", taken), fresh(f"{entry}.next", taken)
        shape = _with(kind.shape, axis, window.history)
        parts = Node(
            "Concat", fresh(joined, taken_nodes), (entry, source), (joined,), {"axis": axis}
        )
        last = _last(axis, kind.shape[axis], window)
        nodes += [parts, Node("Slice", fresh(back, taken_nodes), (joined,), (back,), last)]
        nodes.append(_without_padding(node, joined, axis))
        inputs.append(Value(entry, TensorType(kind.dtype, shape)))
        outputs.append(back)
        initial = np.full((), window.pad, np.float32) if window.pad else None
        states.append(State(entry, entry, back, None, initial, implicit=True, batch_axis=0))
    return graph.with_(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        nodes=tuple(nodes),
        states=tuple(states),
    )


def _with(shape: Sequence[Size], axis: int, size: Size) -> tuple[Size, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _last(axis: int, steps: Size, window: Window) -> dict[str, tuple[Size, ...]]:
    """Slice that takes the last steps of state and input: as many as the state holds."""
    return {"axes": (axis,), "starts": (steps,), "sizes": (window.history,), "steps": (1,)}


def _without_padding(node: Node, source: str, axis: int) -> Node:
    pads = list(node.attrs["pads"])
    pads[axis - 2] = 0
    attrs = {**node.attrs, "pads": tuple(pads)}
    return replace(node, inputs=(source, *node.inputs[1:]), attrs=attrs)
