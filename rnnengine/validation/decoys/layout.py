"""Mistakes around a cell: time, state, stacks, widths, masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnengine.graph import Graph, Node, fresh
from rnnengine.ops import infer_types
from rnnengine.validation.decoys.checkpoint import Module
from rnnengine.validation.decoys.record import (
    OPERAND,
    Array,
    Change,
    Decoy,
    Variant,
    constant,
    made_of,
    rewired,
    with_attrs,
    with_operands,
)

__all__ = ["DECOYS"]

RECURRENT = ("LSTM", "GRU", "RNN")
_MOVES = (
    "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Concat", "Slice", "Cast", "Expand",
)  # fmt: skip


def _shape(graph: Graph, name: str) -> tuple[int, ...]:
    return tuple(int(str(size)) for size in infer_types(graph)[name].shape)


def _part(name: str, value: str, out: str, axis: int, start: int, size: int, step: int) -> Node:
    attrs = {"axes": (axis,), "starts": (start,), "sizes": (size,), "steps": (step,)}
    return Node("Slice", name, (value,), (out,), attrs)


def _backwards(directions: Sequence[int]) -> Change:
    """The outputs of some directions in the order of their computation."""

    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        both = node.attrs.get("direction") == "bidirectional"
        wanted = ("reverse", "bidirectional")
        if node.op not in RECURRENT or node.attrs.get("direction") not in wanted:
            return None
        if both != (len(directions) == 2) or node.outputs[0] is None:
            return None
        if both and _last_step_alone(graph, node):
            return None
        steps = _shape(graph, node.outputs[0])[0]

        def build(value: str, name: str, taken: set[str]) -> list[Node]:
            if steps < 2:
                return [Node("Identity", fresh(f"{name}.same", taken), (value,), (name,))]
            if not both:
                return [_part(fresh(f"{name}.flip", taken), value, name, 0, steps - 1, steps, -1)]
            first, second, turned = (fresh(f"{name}.{k}", taken) for k in ("fw", "bw", "flip"))
            return [
                _part(first, value, first, 1, 0, 1, 1),
                _part(second, value, second, 1, 1, 1, 1),
                _part(turned, second, turned, 0, steps - 1, steps, -1),
                Node("Concat", fresh(f"{name}.both", taken), (first, turned), (name,), {"axis": 1}),
            ]

        return rewired(graph, node, 0, build)

    return change


def _direction(old: str, new: str) -> Change:
    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        if node.op not in RECURRENT or node.attrs.get("direction", "forward") != old:
            return None
        return with_attrs(graph, node, direction=new)

    return change


def _swapped_directions(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
    if node.op not in RECURRENT or node.attrs.get("direction") != "bidirectional":
        return None
    names = ("W", "R", "b_w", "b_r", "peephole", "proj")
    found = {w: v[::-1] for w in names if (v := constant(graph, node, w)) is not None}
    return with_operands(graph, node, found) if {"W", "R"} <= found.keys() else None


def _last_step_alone(graph: Graph, node: Node) -> bool:
    """Whether nothing but the last step of a layer's sequence is read."""
    y = node.outputs[0]
    if y is None:
        return False
    steps, consumers = _shape(graph, y)[0], graph.consumers()
    waiting, found = [y], False
    while waiting:
        name = waiting.pop()
        if name in graph.outputs:
            return False
        for reader in consumers.get(name, ()):
            one = (
                reader.op == "Slice"
                and 1 in reader.attrs["sizes"]
                and steps - 1 in (reader.attrs["starts"])
            )
            if one:
                found = True
            elif reader.op in _MOVES:
                waiting += [o for o in reader.outputs if o]
            else:
                return False
    return found


def _final_for_last(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
    """The last step read off the sequence, where the backward direction ends at step 0."""
    if node.op not in RECURRENT or node.attrs.get("direction") != "bidirectional":
        return None
    if node.outputs[0] is None or not _last_step_alone(graph, node):
        return None
    steps = _shape(graph, node.outputs[0])[0]

    def build(value: str, name: str, taken: set[str]) -> list[Node]:
        first, second, turned = (fresh(f"{name}.{k}", taken) for k in ("fw", "bw", "flip"))
        return [
            _part(first, value, first, 1, 0, 1, 1),
            _part(second, value, second, 1, 1, 1, 1),
            _part(turned, second, turned, 0, steps - 1, steps, -1),
            Node("Concat", fresh(f"{name}.both", taken), (first, turned), (name,), {"axis": 1}),
        ]

    return rewired(graph, node, 0, build) if steps else None


def _last_for_final(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
    """The final state, where the reference takes the last step of the sequence."""
    if node.op not in RECURRENT or node.attrs.get("direction") != "bidirectional":
        return None
    if len(node.outputs) < 2 or node.outputs[1] is None:
        return None
    taken = {o for n in graph.nodes for o in n.outputs if o} | {n.name for n in graph.nodes}
    y = node.outputs[0] or fresh(f"{node.name}.y", taken)
    whole = Node(node.op, node.name, node.inputs, (y, *node.outputs[1:]), node.attrs)
    graph = made_of(graph, node, whole)
    steps = _shape(graph, y)[0]
    if not steps:
        return None

    def build(_: str, name: str, taken: set[str]) -> list[Node]:
        last = fresh(f"{name}.last", taken)
        flat = Node("Squeeze", fresh(f"{name}.flat", taken), (last,), (name,), {"axes": (0,)})
        return [_part(last, y, last, 0, steps - 1, 1, 1), flat]

    return rewired(graph, whole, 1, build)


def _joined(how: str) -> Change:
    """Directions joined in another way than side by side."""

    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        if node.op not in RECURRENT or node.attrs.get("direction") != "bidirectional":
            return None
        if node.outputs[0] is None:
            return None
        t, d, b, p = _shape(graph, node.outputs[0])

        def reshape(name: str, value: str, shape: tuple[int, ...]) -> Node:
            return Node("Reshape", name, (value,), (name,), {"shape": shape})

        def build(value: str, name: str, taken: set[str]) -> list[Node]:
            one, two = fresh(f"{name}.1", taken), fresh(f"{name}.2", taken)
            last = fresh(f"{name}.3", taken)
            if how == "memory":
                perm = {"perm": (0, 2, 1, 3)}
                turned = Node("Transpose", last, (one,), (name,), perm)
                return [reshape(one, value, (t, b, d, p)), turned]
            if how == "exchanged":
                halves = [_part(one, value, one, 1, 0, 1, 1), _part(two, value, two, 1, 1, 1, 1)]
                return [*halves, Node("Concat", last, (two, one), (name,), {"axis": 1})]
            return [
                Node("Transpose", one, (value,), (one,), {"perm": (0, 2, 3, 1)}),
                reshape(two, one, (t, b, d, p)),
                Node("Transpose", last, (two,), (name,), {"perm": (0, 2, 1, 3)}),
            ]

        return rewired(graph, node, 0, build)

    return change


def _state(inputs: bool, outputs: bool) -> Change:
    """Put h and c in each other's place."""

    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        if node.op != "LSTM":
            return None
        operands, results = [*node.inputs, *[None] * 11][:11], [*node.outputs, None, None][:3]
        h, c = OPERAND["h0"], OPERAND["c0"]
        there = [inputs and (operands[h] or operands[c]), outputs and (results[1] or results[2])]
        if not all(bool(t) == wanted for t, wanted in zip(there, (inputs, outputs), strict=True)):
            return None
        if constant(graph, node, "proj") is not None:
            return None
        if inputs:
            operands[h], operands[c] = operands[c], operands[h]
        if outputs:
            results[1], results[2] = results[2], results[1]
        return made_of(
            graph, node, Node(node.op, node.name, tuple(operands), tuple(results), node.attrs)
        )

    return change


def _before(graph: Graph, node: Node) -> Node | None:
    """The recurrent node whose sequence reaches a node through moves of elements alone."""
    producers = graph.producers()
    maker = producers.get(str(node.inputs[0]))
    while maker is not None and maker.op in _MOVES:
        maker = producers.get(str(maker.inputs[0]))
    return maker if maker is not None and maker.op in RECURRENT else None


def _bypassed(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
    """Only the first layer of a stack."""
    if node.op not in RECURRENT or node.outputs[0] is None:
        return None
    first = _before(graph, node)
    if first is None or first.outputs[0] is None or any(node.outputs[1:]):
        return None
    if _shape(graph, first.outputs[0]) != _shape(graph, node.outputs[0]):
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
    t, d, b, p = _shape(graph, node.outputs[0])
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


def _initial(how: str) -> Change:
    """Initial states that are constants."""

    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        if node.op not in RECURRENT:
            return None
        found = {w: v for w in ("h0", "c0") if (v := constant(graph, node, w)) is not None}
        if not found:
            return None
        if how == "zeros":
            return with_operands(graph, node, dict.fromkeys(found))
        first: dict[str, Array | None] = {
            w: np.broadcast_to(v[:, :1], v.shape).copy() for w, v in found.items()
        }
        return with_operands(graph, node, first)

    return change


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
        if reader.op not in _MOVES or reader.outputs[0] is None:
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


def _mask(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
    if node.op not in RECURRENT or len(node.inputs) <= OPERAND["mask"]:
        return None
    if node.inputs[OPERAND["mask"]] is None:
        return None
    carried = node.attrs.get("masked_output", "carry") == "carry"
    return with_attrs(graph, node, masked_output="zero" if carried else "carry")


def _without(what: str) -> Change:
    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        position = OPERAND[what]
        if node.op not in RECURRENT or len(node.inputs) <= position:
            return None
        return with_operands(graph, node, {what: None}) if node.inputs[position] else None

    return change


def _decoy(key: str, name: str, meaning: str, *variants: tuple[Any, ...]) -> Decoy:
    return Decoy(key, name, meaning, tuple(Variant(*v) for v in variants))


DECOYS = (
    _decoy(
        "go_backwards", "go_backwards",
        "Keras' go_backwards returns outputs in the order of computation, ONNX' reverse in that of "
        "the input",
        ("its reversed outputs stand in the other order of time", _backwards((0,))),
        ("its backward outputs stand in the other order of time", _backwards((0, 1))),
        ("it runs forwards", _direction("reverse", "forward")),
        ("it runs backwards", _direction("forward", "reverse")),
    ),
    _decoy(
        "state_order", "h and c", "TensorFlow keeps (c, h), all others (h, c)",
        ("its initial h and c are exchanged", _state(True, False)),
        ("its final h and c are exchanged", _state(False, True)),
        ("its h and c are exchanged, initial and final ones", _state(True, True)),
    ),
    _decoy(
        "layers", "layers of a stack", "num_layers=2 has weights for every layer",
        ("it has layers of the checkpoint's stack that the model has not", _deeper),
        ("it has the weights of this layer, not those of another", _own_layer),
        ("it leaves this layer out and has those before it alone", _bypassed),
        ("it has the weights of the layer before in this one too", _repeated),
    ),
    _decoy(
        "baked_batch", "batch baked into the initial state",
        "an export keeps the state, and the batch, of the example it was traced with",
        ("its initial state is zero for every row; the model has that of an example",
         _initial("zeros"), True),
        ("its initial state is that of row 0 for every row", _initial("first")),
    ),
    _decoy(
        "projection", "projection",
        "the projected output is what the next step sees (proj_size)",
        ("its projection feeds the recurrence; the model has it behind the layer",
         _folded_product),
        ("it has a projection, which the model has not", _projection("checkpoint")),
        ("its projection is transposed", _projection("transposed")),
        ("it has no projection", _projection("none")),
    ),
    _decoy(
        "width", "hidden and output width",
        "a layer's output is narrower than its units when projected, wider when bidirectional",
        ("it has more hidden units than the output is wide", _true_width),
        ("its backward half of the last output is the state after step 0", _final_for_last),
        ("its backward half of the final state is the last step of the output", _last_for_final),
        ("its two directions are joined as they stand in memory", _joined("memory")),
        ("its two directions are joined unit by unit", _joined("units")),
        ("its two directions are joined in the other order", _joined("exchanged")),
        ("the weights of its two directions are exchanged", _swapped_directions),
    ),
    _decoy(
        "mask", "masked steps",
        "a masked step repeats the last output (Keras) or gives zeros (Bidirectional, ONNX)",
        ("its masked steps give the other of zero and the carried output", _mask),
        ("it has no mask", _without("mask")),
        ("it has no sequence lengths", _without("lengths")),
    ),
)  # fmt: skip
