"""Mistakes of stacks and widths: layers left out, projections, units and outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnengine.graph import Graph, Node, fresh
from rnnengine.validation.decoys.checkpoint import Module
from rnnengine.validation.decoys.directions import WIDTHS
from rnnengine.validation.decoys.record import (
    MOVES,
    OPERAND,
    RECURRENT,
    Array,
    Change,
    constant,
    decoy,
    made_of,
    shape_of,
    with_operands,
)

__all__ = ["DECOYS"]


def _before(graph: Graph, node: Node) -> Node | None:
    """The recurrent node whose sequence reaches a node through moves of elements alone."""
    producers = graph.producers()
    maker = producers.get(str(node.inputs[0]))
    while maker is not None and maker.op in MOVES:
        maker = producers.get(str(maker.inputs[0]))
    return maker if maker is not None and maker.op in RECURRENT else None


def _bypassed(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
    """Only the first layer of a stack."""
    if node.op not in RECURRENT or node.outputs[0] is None:
        return None
    first = _before(graph, node)
    if first is None or first.outputs[0] is None or any(node.outputs[1:]):
        return None
    if shape_of(graph, first.outputs[0]) != shape_of(graph, node.outputs[0]):
        return None
    return made_of(
        graph, node, Node("Identity", node.name, (first.outputs[0],), (node.outputs[0],))
    )


def _repeated(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
    """The weights of the layer before."""
    first = _before(graph, node) if node.op in RECURRENT else None
    if first is None or first.op != node.op:
        return None
    names = ("W", "R", "b_w", "b_r")
    ours = {w: constant(graph, node, w) for w in names}
    theirs = {w: constant(graph, first, w) for w in names}
    for w in names:
        a, b = ours[w], theirs[w]
        if (a is None) != (b is None) or (a is not None and b is not None and a.shape != b.shape):
            return None
    return with_operands(graph, node, theirs)


def _same(graph: Graph, node: Node, module: Module) -> bool:
    w, r = constant(graph, node, "W"), constant(graph, node, "R")
    return (
        node.op == module.op and w is not None and r is not None
        and np.array_equal(w, module.operands["W"]) and np.array_equal(r, module.operands["R"])
    )  # fmt: skip


def _deeper(graph: Graph, node: Node, modules: Sequence[Module]) -> Graph | None:
    """The layers of the checkpoint's stack that the graph has not."""
    mine = next((m for m in modules if _same(graph, node, m)), None)
    if mine is None or node.outputs[0] is None:
        return None
    rest = [m for m in modules if m.path == mine.path and m.layer > mine.layer]
    if not rest or any(_same(graph, n, m) for n in graph.nodes for m in rest):
        return None
    t, d, b, p = shape_of(graph, node.outputs[0])
    constants = dict(graph.constants)
    taken = {o for n in graph.nodes for o in n.outputs if o} | {n.name for n in graph.nodes}
    taken |= set(constants)
    nodes: list[Node] = []
    moved = fresh(f"{node.outputs[0]}'", taken)
    value, y = moved, node.outputs[0]
    results = [None, *node.outputs[1:]]
    for module in rest:
        name = fresh(f"{node.name}.l{module.layer}", taken)
        turned, flat = fresh(f"{name}.turn", taken), fresh(f"{name}.x", taken)
        operands: list[str | None] = [flat, *[None] * 10]
        for what, array in module.operands.items():
            operands[OPERAND[what]] = key = fresh(f"{name}.{what}", taken)
            constants[key] = array
        last = module is rest[-1]
        out = y if last else fresh(f"{name}.y", taken)
        nodes += [
            Node("Transpose", turned, (value,), (turned,), {"perm": (0, 2, 1, 3)}),
            Node("Reshape", flat, (turned,), (flat,), {"shape": (t, b, d * p)}),
            Node(node.op, name, tuple(operands), (out, *(results[1:] if last else ())), node.attrs),
        ]
        value = out
    kept = Node(node.op, node.name, node.inputs, (moved,), node.attrs)
    return made_of(graph.with_(constants=constants), node, kept, *nodes)


def _own_layer(graph: Graph, node: Node, modules: Sequence[Module]) -> Graph | None:
    """The weights of the layer that has the node's place in the checkpoint's stack."""
    w = constant(graph, node, "W") if node.op in RECURRENT else None
    if w is None or any(_same(graph, node, m) and m.layer for m in modules):
        return None
    depth, first = 0, node
    while (before := _before(graph, first)) is not None:
        depth, first = depth + 1, before
    for module in modules:
        if depth and module.layer == depth and module.op == node.op:
            fits = module.operands["W"].shape == w.shape
            if fits and any(_same(graph, first, m) and m.path == module.path for m in modules):
                return with_operands(graph, node, dict(module.operands))
    return None


def _folded_product(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
    """A square product behind the layer as its projection, which the state feeds on too."""
    if node.op != "LSTM" or constant(graph, node, "proj") is not None or node.outputs[0] is None:
        return None
    if node.attrs.get("direction") == "bidirectional":
        return None
    consumers = graph.consumers()
    name = node.outputs[0]
    while True:
        readers = consumers.get(name, [])
        if len(readers) != 1 or name in graph.outputs:
            return None
        reader = readers[0]
        if reader.op == "MatMul":
            break
        if reader.op not in MOVES or reader.outputs[0] is None:
            return None
        name = reader.outputs[0]
    matrix = graph.constants.get(str(reader.inputs[1]))
    size = node.attrs["hidden_size"]
    if matrix is None or matrix.shape != (size, size) or reader.inputs[0] != name:
        return None
    kept = Node("Identity", reader.name, (name,), reader.outputs)
    return with_operands(made_of(graph, reader, kept), node, {"proj": matrix.T[None]})


def _projection(how: str) -> Change:
    def change(graph: Graph, node: Node, modules: Sequence[Module]) -> Graph | None:
        if node.op != "LSTM":
            return None
        proj = constant(graph, node, "proj")
        if how == "checkpoint":
            mine = next((m for m in modules if _same(graph, node, m)), None)
            given = None if mine is None else mine.operands.get("proj")
            return (
                with_operands(graph, node, {"proj": given})
                if proj is None and (given is not None)
                else None
            )
        if proj is None or proj.shape[1] != proj.shape[2]:
            return None
        moved = None if how == "none" else proj.transpose(0, 2, 1)
        return with_operands(graph, node, {"proj": moved})

    return change


def _true_width(graph: Graph, node: Node, modules: Sequence[Module]) -> Graph | None:
    """The checkpoint's layer of the same output width, which has another number of units."""
    w, r = constant(graph, node, "W"), constant(graph, node, "R")
    if node.op not in RECURRENT or w is None or r is None:
        return None
    for module in modules:
        theirs = module.operands
        width = theirs["R"].shape[2]
        if module.op != node.op or "proj" not in theirs or width != r.shape[2]:
            continue
        other = module.hidden_size != node.attrs["hidden_size"]
        if other and theirs["W"].shape[2] == w.shape[2] and len(theirs["W"]) == len(w):
            operands: dict[str, Array | None] = dict.fromkeys(("b_w", "b_r", "c0"))
            operands.update(theirs)
            return with_operands(graph, node, operands, hidden_size=module.hidden_size)
    return None


DECOYS = (
    decoy(
        "layers", "layers of a stack", "num_layers=2 has weights for every layer",
        ("it has layers of the checkpoint's stack that the model has not", _deeper),
        ("it has the weights of this layer, not those of another", _own_layer),
        ("it leaves this layer out and has those before it alone", _bypassed),
        ("it has the weights of the layer before in this one too", _repeated),
    ),
    decoy(
        "projection", "projection",
        "the projected output is what the next step sees (proj_size)",
        ("its projection feeds the recurrence; the model has it behind the layer",
         _folded_product),
        ("it has a projection, which the model has not", _projection("checkpoint")),
        ("its projection is transposed", _projection("transposed")),
        ("it has no projection", _projection("none")),
    ),
    decoy(
        "width", "hidden and output width",
        "a layer's output is narrower than its units when projected, wider when bidirectional",
        ("it has more hidden units than the output is wide", _true_width),
        *WIDTHS,
    ),
)  # fmt: skip
