"""Which constants of a graph the engine reads in packed form, and how they are cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rnnengine.graph import Graph, Node, Packing

__all__ = ["packings"]

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_LARGEST_PADDING = 1.25
"""A matrix that packing would make larger than this many times stays as it is."""


def packings(graph: Graph) -> dict[str, Packing]:
    """Constants that are weights wherever they are used, always cut alike, and how.

    Matrices that are mostly padding when packed, because they have few rows, are left out.
    """
    uses: dict[str, set[Packing | None]] = {}
    for node in graph.nodes:
        for name, packing in _uses(node):
            uses.setdefault(name, set()).add(packing)
    for name in [*graph.outputs, *(state.output for state in graph.states)]:
        uses.setdefault(name, set()).add(None)
    found = {}
    for name, value in graph.constants.items():
        packing, *others = uses.get(name, {None})
        if packing is None or others or value.dtype != np.float32:
            continue
        fits = packing.matrices(value.shape) is not None and value.size > 0
        if fits and sum(packing.sizes(value.shape)) <= _LARGEST_PADDING * value.size:
            found[name] = packing
    return found


def _uses(node: Node) -> Iterator[tuple[str, Packing | None]]:
    """Every input of a node that has a name, and how its matrix is cut if it is a weight."""
    for position, name in enumerate(node.inputs):
        if name is not None:
            yield name, _packing(node, position)


def _packing(node: Node, position: int) -> Packing | None:
    if node.op in _GATES:
        if position == 9:
            return Packing((1,))
        apart = node.op == "GRU" and not node.attrs.get("reset_after")
        if position == 2 and apart:  # the candidate's part is multiplied later
            return Packing((2, 1))
        return Packing((_GATES[node.op],)) if position in (1, 2) else None
    if position != 1 or node.op not in ("MatMul", "Gemm", "Linear"):
        return None
    if node.op != "Gemm":
        return Packing((1,), columns=True)
    scaled = node.attrs.get("alpha", 1.0) != 1.0
    return None if scaled else Packing((1,), columns=not node.attrs.get("transB", 0))
