"""Mistakes of directions: order of time, and how two directions are joined."""

from __future__ import annotations

from collections.abc import Sequence

from rnnengine.graph import Graph, Node, fresh
from rnnengine.validation.decoys.checkpoint import Module
from rnnengine.validation.decoys.record import (
    MOVES,
    RECURRENT,
    Change,
    constant,
    decoy,
    made_of,
    part,
    rewired,
    shape_of,
    with_attrs,
    with_operands,
)

__all__ = ["DECOYS", "WIDTHS"]


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
        steps = shape_of(graph, node.outputs[0])[0]

        def build(value: str, name: str, taken: set[str]) -> list[Node]:
            if steps < 2:
                return [Node("Identity", fresh(f"{name}.same", taken), (value,), (name,))]
            if not both:
                return [part(fresh(f"{name}.flip", taken), value, name, 0, steps - 1, steps, -1)]
            return _second_turned(value, name, taken, steps)

        return rewired(graph, node, 0, build)

    return change


def _second_turned(value: str, name: str, taken: set[str], steps: int) -> list[Node]:
    """Both directions of a sequence, the second in the order of its computation."""
    first, second, turned = (fresh(f"{name}.{k}", taken) for k in ("fw", "bw", "flip"))
    return [
        part(first, value, first, 1, 0, 1, 1),
        part(second, value, second, 1, 1, 1, 1),
        part(turned, second, turned, 0, steps - 1, steps, -1),
        Node("Concat", fresh(f"{name}.both", taken), (first, turned), (name,), {"axis": 1}),
    ]


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
    steps, consumers = shape_of(graph, y)[0], graph.consumers()
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
            elif reader.op in MOVES:
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
    steps = shape_of(graph, node.outputs[0])[0]

    def build(value: str, name: str, taken: set[str]) -> list[Node]:
        return _second_turned(value, name, taken, steps)

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
    steps = shape_of(graph, y)[0]
    if not steps:
        return None

    def build(_: str, name: str, taken: set[str]) -> list[Node]:
        last = fresh(f"{name}.last", taken)
        flat = Node("Squeeze", fresh(f"{name}.flat", taken), (last,), (name,), {"axes": (0,)})
        return [part(last, y, last, 0, steps - 1, 1, 1), flat]

    return rewired(graph, whole, 1, build)


def _joined(how: str) -> Change:
    """Directions joined in another way than side by side."""

    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        if node.op not in RECURRENT or node.attrs.get("direction") != "bidirectional":
            return None
        if node.outputs[0] is None:
            return None
        t, d, b, p = shape_of(graph, node.outputs[0])

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
                halves = [part(one, value, one, 1, 0, 1, 1), part(two, value, two, 1, 1, 1, 1)]
                return [*halves, Node("Concat", last, (two, one), (name,), {"axis": 1})]
            return [
                Node("Transpose", one, (value,), (one,), {"perm": (0, 2, 3, 1)}),
                reshape(two, one, (t, b, d, p)),
                Node("Transpose", last, (two,), (name,), {"perm": (0, 2, 1, 3)}),
            ]

        return rewired(graph, node, 0, build)

    return change


DECOYS = (
    decoy(
        "go_backwards", "go_backwards",
        "Keras' go_backwards returns outputs in the order of computation, ONNX' reverse in that of "
        "the input",
        ("its reversed outputs stand in the other order of time", _backwards((0,))),
        ("its backward outputs stand in the other order of time", _backwards((0, 1))),
        ("it runs forwards", _direction("reverse", "forward")),
        ("it runs backwards", _direction("forward", "reverse")),
    ),
)  # fmt: skip

WIDTHS = (
    ("its backward half of the last output is the state after step 0", _final_for_last),
    ("its backward half of the final state is the last step of the output", _last_for_final),
    ("its two directions are joined as they stand in memory", _joined("memory")),
    ("its two directions are joined unit by unit", _joined("units")),
    ("its two directions are joined in the other order", _joined("exchanged")),
    ("the weights of its two directions are exchanged", _swapped_directions),
)
"""Forms of the mistake that takes the two halves of an output for what they are not."""
