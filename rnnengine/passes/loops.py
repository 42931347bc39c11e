"""Loops become recurrent nodes, or are written out.

A loop whose states are those of recurrent cells runs over time as recurrent nodes do: every other
operator of its body is applied to all steps at once (:mod:`rnnengine.passes.all_steps`). Any other
loop of a fixed number of steps is written out, step by step. What remains is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Dim, Graph, Node, Size, Value, fresh
from rnnengine.ops.loop import typed_body
from rnnengine.ops.registry import Array
from rnnengine.ops.types import Inference, describe
from rnnengine.passes.all_steps import NotAllStepsError, over_time
from rnnengine.passes.fold import fold
from rnnengine.passes.fuse_cells import fuse_cells
from rnnengine.passes.order import ordered
from rnnengine.records import replace

__all__ = ["without_loops"]

_MOST_NODES = 100_000
"""Nodes that a loop may be written out to."""


def without_loops(graph: Graph) -> Graph:
    """Return an equivalent graph in settled form without Scan nodes.

    Raises
    ------
    UnsupportedModelError
        Naming a loop that is no recurrent layer and whose number of steps is not fixed.
    """
    while any(node.op == "Scan" for node in graph.nodes):
        graph = fold(_replaced(graph))
    return graph


def _replaced(graph: Graph) -> Graph:
    """Replace the first loop."""
    position, loop = next((i, n) for i, n in enumerate(graph.nodes) if n.op == "Scan")
    inference = Inference(graph.inputs, {k: np.asarray(v) for k, v in graph.constants.items()})
    for node in graph.nodes[:position]:
        inference.add(node)
    taken = set(inference.types) | {n for node in graph.nodes for n in node.outputs if n}
    names = {node.name for node in graph.nodes}
    body, inputs = _settled(graph, loop, inference)
    states = loop.attrs["states"]
    hints = {
        after: value.name for value, after in zip(body.inputs[:states], body.outputs, strict=False)
    }
    trip: Size = loop.attrs["trip"]
    reason = ""
    try:
        fused = fuse_cells(body, hints)
        changed = over_time(
            fused, loop, inputs, inference.types, taken, names, _counters(graph, loop, inputs)
        )
        fusions = changed.fused
    except NotAllStepsError as error:
        reason, changed, fusions = str(error), None, ()
    if changed is not None:
        nodes, constants = changed.nodes, dict(changed.constants)
    else:
        if isinstance(trip, Dim) or trip * max(len(body.nodes), 1) > _MOST_NODES:
            raise UnsupportedModelError(
                f"{describe(loop)}: the loop is no recurrent layer ({reason}), and takes {trip} "
                f"steps of {len(body.nodes)} nodes; accepted: recurrent cells, or a fixed number "
                f"of steps and up to {_MOST_NODES} nodes in all"
            )
        nodes, constants = _written_out(loop, body, inputs, int(trip), taken, names)
    rest = [*graph.nodes[:position], *nodes, *graph.nodes[position + 1 :]]
    return graph.with_(
        nodes=ordered(rest),
        constants={**graph.constants, **constants},
        fused=(*graph.fused, *fusions),
    )


def _counters(graph: Graph, loop: Node, inputs: list[str]) -> frozenset[str]:
    """Sequences of a loop that are 0, 1, 2, ..."""
    makers = graph.producers()
    found = set()
    first = loop.attrs["states"]
    for name in inputs[first : first + loop.attrs["sequences"]]:
        node, constant = makers.get(name), graph.constants.get(name)
        if constant is not None:
            value = np.asarray(constant)
            if value.ndim == 1 and np.array_equal(value, np.arange(len(value))):
                found.add(name)
        elif node is not None and node.op == "Range":
            start = (node.attrs.get("start"), node.attrs.get("delta"))
            found |= {name} if start == (0, 1) else set()
    return frozenset(found)


def _settled(graph: Graph, loop: Node, inference: Inference) -> tuple[Graph, list[str]]:
    """The body with what is constant in it, folded; and the inputs of the loop that remain."""
    types = [inference.types[name] for name in loop.inputs if name is not None]
    body = typed_body(loop.attrs, types)
    first = loop.attrs["states"] + loop.attrs["sequences"]
    kept: list[Value] = []
    inputs: list[str] = []
    constants: dict[str, Array] = dict(body.constants)
    for i, (value, name) in enumerate(zip(body.inputs, loop.inputs, strict=True)):
        assert name is not None
        if i >= first and name in graph.constants:
            constants[value.name] = np.asarray(graph.constants[name])
        else:
            kept.append(value)
            inputs.append(name)
    body = body.with_(inputs=tuple(kept), constants=constants)
    # A body may hand an input on; an output of its own keeps the two apart.
    names = {v.name for v in kept} | set(constants)
    copies, outputs = [], []
    taken = names | {n for node in body.nodes for n in (node.name, *node.outputs) if n}
    for i, output in enumerate(body.outputs):
        shown = output
        if output in names or output in body.outputs[:i]:
            shown = fresh(f"{output}.copy", taken)
            copies.append(Node("Identity", shown, (output,), (shown,)))
        outputs.append(shown)
    return fold(body.with_(nodes=(*body.nodes, *copies), outputs=tuple(outputs))), inputs


def _written_out(
    loop: Node, body: Graph, inputs: list[str], trip: int, taken: set[str], names: set[str]
) -> tuple[list[Node], dict[str, Array]]:
    """The body once for each step."""
    states, sequences = loop.attrs["states"], loop.attrs["sequences"]
    constants = {fresh(f"{loop.name}.{k}", taken): v for k, v in body.constants.items()}
    shared = dict(zip(body.constants, constants, strict=True))
    given = [v.name for v in body.inputs]
    shared.update(zip(given[states + sequences :], inputs[states + sequences :], strict=True))
    state = list(inputs[:states])
    nodes: list[Node] = []
    collected: list[list[str]] = [[] for _ in body.outputs[states:]]

    def make(op: str, source: tuple[str, ...], attrs: Mapping[str, object]) -> str:
        result = fresh(f"{loop.name}.{op.lower()}", taken)
        nodes.append(Node(op, fresh(f"{loop.name}.{op.lower()}", names), source, (result,), attrs))
        return result

    for t in range(trip):
        now = {**shared, **dict(zip(given[:states], state, strict=True))}
        for name, sequence in zip(
            given[states : states + sequences], inputs[states:], strict=False
        ):
            cut = {"axes": (0,), "starts": (t,), "sizes": (1,), "steps": (1,)}
            now[name] = make("Squeeze", (make("Slice", (sequence,), cut),), {"axes": (0,)})
        for node in body.nodes:
            for output in node.outputs:
                if output is not None:
                    now[output] = fresh(f"{loop.name}.{output}", taken)
            nodes.append(
                replace(
                    node,
                    name=fresh(f"{loop.name}.{node.name}", names),
                    inputs=tuple(None if n is None else now[n] for n in node.inputs),
                    outputs=tuple(None if n is None else now[n] for n in node.outputs),
                )
            )
        state = [now[name] for name in body.outputs[:states]]
        for whole, name in zip(collected, body.outputs[states:], strict=True):
            whole.append(make("Unsqueeze", (now[name],), {"axes": (0,)}))
    results: list[tuple[str, tuple[str, ...], dict[str, object]]] = [
        ("Identity", (name,), {}) for name in state
    ]
    results += [("Concat", tuple(parts), {"axis": 0}) for parts in collected]
    for output, (op, source, attrs) in zip(loop.outputs, results, strict=False):
        if output is not None and not source:
            raise UnsupportedModelError(f"{describe(loop)}: it takes no step; accepted: 1 or more")
        if output is not None:
            name = fresh(f"{loop.name}.{output}", names)
            nodes.append(Node(op, name, source, (output,), attrs))
    return nodes, constants
