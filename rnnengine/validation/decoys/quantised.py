"""Mistakes of 8-bit weights: which numbers share a scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rnnengine.graph import Graph, Node
from rnnengine.validation.decoys.checkpoint import Module
from rnnengine.validation.decoys.record import (
    Array,
    Change,
    Decoy,
    Variant,
    constant,
    with_operands,
)

__all__ = ["DECOYS", "grid_step"]

_LEVELS = 127
_NEAR = 1e-3


def grid_step(value: Array) -> float | None:
    """The step of which every weight is a whole multiple of at most 8 bits; None without one."""
    magnitudes = np.unique(np.abs(value[value != 0]).astype(np.float64))
    if magnitudes.size < 2:
        return None
    for part in range(1, 9):
        step = magnitudes[0] / part
        levels = magnitudes / step
        if levels[-1] > 2 * _LEVELS + 2:
            return None
        if np.abs(levels - np.rint(levels)).max() < _NEAR * part:
            return float(step)
    return None


def _rounded(axes: Callable[[Array], Array]) -> Change:
    """Weights on a grid of 8 bits, symmetric, with one scale for each part."""

    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        if node.op not in ("LSTM", "GRU", "RNN"):
            return None
        moved: dict[str, Array | None] = {}
        for what in "WR":
            value = constant(graph, node, what)
            if value is None:
                return None
            scale = np.maximum(axes(np.abs(value).astype(np.float64)) / _LEVELS, 1e-30)
            moved[what] = np.rint(value / scale) * scale
        return with_operands(graph, node, moved)

    return change


def _rows_of_file(graph: Graph, node: Node, modules: Sequence[Module]) -> Graph | None:
    """The weights of the checkpoint, where every row of the model's is a multiple of its."""
    w, r = constant(graph, node, "W"), constant(graph, node, "R")
    if node.op not in ("LSTM", "GRU", "RNN") or w is None or r is None:
        return None
    for module in modules:
        theirs = module.operands
        if module.op == node.op and _scaled(w, theirs["W"]) and _scaled(r, theirs["R"]):
            return with_operands(graph, node, {"W": theirs["W"], "R": theirs["R"]})
    return None


def _scaled(ours: Array, theirs: Array) -> bool:
    """Whether rows point the same way, up to the rounding of a grid, with other lengths."""
    if ours.shape != theirs.shape or np.array_equal(ours, theirs):
        return False
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    lengths = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return bool(np.all((a * b).sum(-1) >= 0.999 * lengths))


DECOYS = (
    Decoy(
        "int8_scale", "int8 scale",
        "8-bit weights have one scale for each row (per channel) or one for all (per tensor)",
        (
            Variant("it has a scale for every row of the weights, as the checkpoint says",
                    _rows_of_file),
            Variant("its weights are rounded to 8 bits with one scale for all",
                    _rounded(lambda v: v.max(axis=(1, 2), keepdims=True))),
            Variant("its weights are rounded to 8 bits with one scale for each row",
                    _rounded(lambda v: v.max(axis=2, keepdims=True))),
        ),
    ),
)  # fmt: skip
