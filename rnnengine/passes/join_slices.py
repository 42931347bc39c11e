"""Concat of single slices of one value becomes a slice of it.

Unrolled loops take a sequence apart, step by step, and stack the steps again. Once the steps have
become one recurrent node, both are detours.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from rnnengine.graph import Graph, Node, fresh
from rnnengine.passes.match import Index
from rnnengine.passes.order import ordered
from rnnengine.passes.prune import prune
from rnnengine.records import record, replace

__all__ = ["join_slices"]

_RECURRENT = ("LSTM", "GRU", "RNN")


@record
class _Piece:
    """Element ``place`` of a value along ``axis``; ``at`` is where a size-1 axis shows it."""

    value: str
    axis: int
    place: int
    at: int | None


def join_slices(graph: Graph) -> Graph:
    """Return an equivalent graph whose sequences are not taken apart and stacked again."""
    index = Index(graph)
    taken = set(index.types)
    names = {node.name for node in graph.nodes}
    nodes: list[Node] = []
    for node in graph.nodes:
        run = _run(index, node) if node.op == "Concat" and len(node.inputs) > 1 else None
        if run is None:
            nodes.append(node)
            continue
        piece, count, step = run
        axis = node.attrs["axis"]
        attrs = {"axes": (piece.axis,), "starts": (piece.place,), "sizes": (count,),
                 "steps": (step,)}  # fmt: skip
        if piece.axis == axis:
            nodes.append(replace(node, op="Slice", inputs=(piece.value,), attrs=attrs))
            continue
        rank = index.types[piece.value].rank
        perm = [a for a in range(rank) if a != piece.axis]
        perm.insert(axis, piece.axis)
        slices: tuple[str, dict[str, Any]] = ("Slice", attrs)
        moves: tuple[str, dict[str, Any]] = ("Transpose", {"perm": tuple(perm)})
        order = [slices, moves]
        if _enters_layer(index, node):  # so that a sequence turned round shows that it is
            order = [moves, ("Slice", {**attrs, "axes": (axis,)})]
        (first, first_attrs), (second, second_attrs) = order
        middle = fresh(f"{node.outputs[0]}.{first.lower()}", taken)
        name = fresh(f"{node.name}.{first.lower()}", names)
        nodes.append(Node(first, name, (piece.value,), (middle,), first_attrs))
        nodes.append(replace(node, op=second, inputs=(middle,), attrs=second_attrs))
    return prune(graph.with_(nodes=ordered(nodes)))


def _enters_layer(index: Index, node: Node) -> bool:
    """Whether a value is the sequence of a recurrent layer, or a part of it."""
    for reader in index.readers.get(node.outputs[0] or "", ()):
        if reader.op in _RECURRENT and reader.inputs[0] == node.outputs[0]:
            return True
        if reader.op == "Concat" and _enters_layer(index, reader):
            return True
    return False


def _run(index: Index, node: Node) -> tuple[_Piece, int, int] | None:
    """First piece, number of pieces and step between them, where they are evenly spaced."""
    pieces = [_piece(index, name) if name is not None else None for name in node.inputs]
    found = [p for p in pieces if p is not None]
    if len(found) < len(pieces) or any(p.at != node.attrs["axis"] for p in found):
        return None
    if len({(p.value, p.axis) for p in found}) != 1:
        return None
    steps = {b.place - a.place for a, b in pairwise(found)}
    if len(steps) != 1 or 0 in steps:
        return None
    return found[0], len(found), steps.pop()


def _piece(index: Index, name: str) -> _Piece | None:
    """The value as one element, along an axis, of another."""
    node = index.makers.get(name)
    if node is None or node.inputs[0] is None:
        return None
    if node.op in _RECURRENT:
        return _final(index, node, name)
    source = node.inputs[0]
    if node.op == "Slice":
        return _sliced(index, node, source)
    if node.op not in ("Squeeze", "Unsqueeze", "Reshape"):
        return None
    inner = _piece(index, source)
    if inner is None:
        return None
    before, after = index.types[source].shape, index.types[name].shape
    rest = list(index.types[inner.value].shape)
    del rest[inner.axis]
    if list(after) == rest:
        return replace(inner, at=None)
    if len(after) != len(rest) + 1:
        return None
    if node.op == "Unsqueeze" and inner.at is None and len(node.attrs["axes"]) == 1:
        return replace(inner, at=node.attrs["axes"][0])
    if node.op == "Reshape" and inner.at is None and list(before) == rest:
        places = [
            i for i, s in enumerate(after) if s == 1 and [*after[:i], *after[i + 1 :]] == rest
        ]
        return replace(inner, at=places[0]) if len(places) == 1 else None
    return None


def _sliced(index: Index, node: Node, source: str) -> _Piece | None:
    attrs = node.attrs
    if attrs["sizes"] != (1,) or not isinstance(attrs["starts"][0], int):
        return None
    axis, place = attrs["axes"][0], attrs["starts"][0]
    while (maker := index.makers.get(source)) is not None and maker.op == "Slice":
        outer = maker.attrs
        if outer["axes"] != (axis,) or not isinstance(outer["starts"][0], int):
            break
        place = outer["starts"][0] + place * outer["steps"][0]
        source = maker.inputs[0] or source
    return _Piece(source, axis, place, axis)


def _final(index: Index, node: Node, name: str) -> _Piece | None:
    """The final state h of a forward layer as the last element of its sequence."""
    y = node.outputs[0]
    whole = node.attrs.get("direction", "forward") == "forward"
    whole = whole and not any(node.inputs[i] for i in (5, 10) if i < len(node.inputs))
    if len(node.outputs) < 2 or node.outputs[1] != name or y is None or not whole:
        return None
    steps = index.types[y].shape[0]
    for reader in index.readers.get(y, ()):
        target = reader.outputs[0]
        if reader.op == "Squeeze" and reader.attrs["axes"] == (1,) and target is not None:
            return _Piece(target, 0, steps - 1, 0) if isinstance(steps, int) else None
    return None
