"""Which constants of a graph the engine reads in packed form, and how they are cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from rnnengine.graph import Choice, Graph, Node, Packing, as_lowered

__all__ = ["choices_of", "compute_type_of", "is_layer", "lowered_weights", "packings"]

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_LARGEST_PADDING = 1.25
"""A matrix that packing would make larger than this many times stays as it is."""


def packings(graph: Graph) -> dict[str, Packing]:
    """Constants that are weights wherever they are used, always cut alike, and how.

    Matrices that are mostly padding when packed, because they have few rows, are left out. Those of
    fewer bytes than float32 are cut as their kernels want them.
    """
    uses: dict[str, set[Packing | None]] = {}
    for node in graph.nodes:
        for name, packing in _uses(node, graph):
            uses.setdefault(name, set()).add(packing)
    for name in [*graph.outputs, *(state.output for state in graph.states)]:
        uses.setdefault(name, set()).add(None)
    found = {}
    for name, value in graph.constants.items():
        packing, *others = uses.get(name, {None})
        if packing is None or others or value.dtype != np.float32:
            continue
        fits = packing.matrices(value.shape) is not None and value.size > 0
        small = as_lowered(value) is not None
        if fits and (small or sum(packing.sizes(value.shape)) <= _LARGEST_PADDING * value.size):
            found[name] = packing
    return found


def lowered_weights(node: Node) -> Mapping[int, Packing]:
    """Inputs of a node that are weights, and how their matrices of fewer bytes are cut.

    Empty for operators without weights, and for products whose weights are scaled.
    """
    if node.op in _GATES:
        gates = (_GATES[node.op],)
        apart = (2, 1) if node.op == "GRU" else gates  # the candidate's part is multiplied later
        cuts = {1: Packing(gates), 2: Packing(apart), 9: Packing((1,))}
        return {i: cut for i, cut in cuts.items() if i < len(node.inputs) and node.inputs[i]}
    if node.op in ("Conv", "ConvTranspose"):
        return {1: Packing((1,), columns=node.op == "ConvTranspose", kernel=True)}
    packing = _product(node)
    return {} if packing is None else {1: packing}


def is_layer(node: Node, graph: Graph) -> bool:
    """Whether a node is a layer with weights, not a product of two computed values."""
    if node.op in _GATES or node.op in ("Conv", "ConvTranspose"):
        return True
    positions = lowered_weights(node)
    return any(
        node.inputs[i] in graph.constants and graph.constants[node.inputs[i] or ""].ndim == 2
        for i in positions
    )


def choices_of(graph: Graph) -> tuple[Choice, ...]:
    """How the layers of a graph are computed; with the reasons, where these were recorded."""
    reasons = {(c.node, c.compute_type): c.reason for c in graph.choices}
    found = []
    for node in graph.nodes:
        if not is_layer(node, graph):
            continue
        small = [
            as_lowered(graph.constants.get(node.inputs[i] or "")) for i in lowered_weights(node)
        ]
        compute_type = next((m.compute_type for m in small if m is not None), "float32")
        reason = reasons.get((node.name, compute_type), "")
        found.append(Choice(node.name, node.op, compute_type, reason))
    return tuple(found)


def compute_type_of(graph: Graph) -> str:
    """How the layers are computed: float32, the one type that some have, or ``'mixed'``."""
    found = {choice.compute_type for choice in choices_of(graph)} - {"float32"}
    return "mixed" if len(found) > 1 else next(iter(found), "float32")


def _uses(node: Node, graph: Graph) -> Iterator[tuple[str, Packing | None]]:
    """Every input of a node that has a name, and how its matrix is cut if it is a weight."""
    lowered = lowered_weights(node)
    for position, name in enumerate(node.inputs):
        if name is not None:
            small = as_lowered(graph.constants.get(name)) is not None
            yield name, lowered.get(position) if small else _packing(node, position)


def _packing(node: Node, position: int) -> Packing | None:
    if node.op in _GATES:
        if position == 9:
            return Packing((1,))
        apart = node.op == "GRU" and not node.attrs.get("reset_after")
        if position == 2 and apart:
            return Packing((2, 1))
        return Packing((_GATES[node.op],)) if position in (1, 2) else None
    return _product(node) if position == 1 else None


def _product(node: Node) -> Packing | None:
    if node.op not in ("MatMul", "Gemm", "Linear"):
        return None
    if node.op != "Gemm":
        return Packing((1,), columns=True)
    scaled = node.attrs.get("alpha", 1.0) != 1.0
    return None if scaled else Packing((1,), columns=not node.attrs.get("transB", 0))
