"""Mistakes that lost numbers: those numbers are fitted to what the reference says.

A fit explains a mismatch only where it has far fewer unknowns than the reference gave numbers, and
where it then also agrees on inputs that it was not made from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnengine.graph import Graph, Node
from rnnengine.validation.decoys.quantised import grid_step
from rnnengine.validation.decoys.record import constant, with_operands

__all__ = ["FITS", "MOST", "Fit", "solve"]

Array = np.ndarray[Any, Any]

MOST = 256
"""Unknowns of the largest fit."""

_ROUNDS = 60
_SMALL = 1e-6
_ENOUGH = 1e-9
"""Largest difference at which a fit ends."""


@dataclass(frozen=True)
class Fit:
    """A mistake with unknown numbers.

    Attributes
    ----------
    key : str
        Of the decoy.
    detail : str
    unknowns : callable(graph, node) -> int
        How many there are; 0 where the mistake could not have been made.
    change : callable(graph, node, values) -> Graph
        All values 0 leave the graph as it is.
    """

    key: str
    detail: str
    unknowns: Callable[[Graph, Node], int]
    change: Callable[[Graph, Node, Array], Graph]


def solve(residual: Callable[[Array], Array | None], count: int) -> Array | None:
    """Minimise a sum of squares; None where there are too few numbers.

    Parameters
    ----------
    residual : callable(values [count]) -> array or None
    count : int

    Notes
    -----
    Steps are Levenberg's and Marquardt's. The values are drawn towards 0, by half as much in every
    round: without that, factors of rows that hardly matter run away before the others have settled.
    """
    values, damping, pull = np.zeros(count), 1e-2, 1.0

    def pulled(trial: Array) -> Array | None:
        found = residual(trial)
        return None if found is None else np.concatenate([found, pull * trial])

    for _ in range(_ROUNDS):
        pull /= 2
        current = pulled(values)
        if current is None or current.size < 3 * count:
            return None
        moved = _moved(pulled, values, current, damping)
        if moved is None:
            break
        values, damping = moved
        left = residual(values)
        if left is not None and np.abs(left).max() < _ENOUGH:
            break
    return values


def _moved(
    residual: Callable[[Array], Array | None], values: Array, current: Array, damping: float
) -> tuple[Array, float] | None:
    """One step downhill, and the damping for the next; None where none is found."""
    columns = []
    for k in range(len(values)):
        shifted = residual(values + _SMALL * (np.arange(len(values)) == k))
        if shifted is None:
            return None
        columns.append((shifted - current) / _SMALL)
    jacobian = np.stack(columns, axis=1)
    square, slope = jacobian.T @ jacobian, jacobian.T @ current
    diagonal = np.diag(np.maximum(np.diag(square), 1e-12))
    for _ in range(10):
        trial = values + np.linalg.solve(square + damping * diagonal, -slope)
        found = residual(trial)
        if found is not None and float(found @ found) < float(current @ current):
            return trial, damping / 5
        damping *= 5
    return None


def _merged(graph: Graph, node: Node) -> int:
    """Units of a GRU whose recurrent candidate bias is missing or zero."""
    w = constant(graph, node, "W") if node.op == "GRU" else None
    if w is None or not node.attrs.get("reset_after", False):
        return 0
    second, size = constant(graph, node, "b_r"), int(node.attrs["hidden_size"])
    if second is not None and np.any(second[:, 2 * size :]):
        return 0
    return len(w) * size


def _split(graph: Graph, node: Node, values: Array) -> Graph:
    """Move a part of the candidate's bias inside the reset gate's product."""
    size = node.attrs["hidden_size"]
    rows = values.reshape(-1, size)
    zeros = np.zeros((len(rows), 3 * size))
    b_w, b_r = constant(graph, node, "b_w"), constant(graph, node, "b_r")
    first = zeros.copy() if b_w is None else b_w.astype(np.float64)
    second = zeros.copy() if b_r is None else b_r.astype(np.float64)
    first[:, 2 * size :] -= rows
    second[:, 2 * size :] += rows
    return with_operands(graph, node, {"b_w": first, "b_r": second})


def _on_a_grid(graph: Graph, node: Node) -> int:
    """Rows of weights that are whole multiples of one step."""
    if node.op not in ("LSTM", "GRU", "RNN"):
        return 0
    w, r = constant(graph, node, "W"), constant(graph, node, "R")
    if w is None or r is None or grid_step(w) is None or grid_step(r) is None:
        return 0
    return 2 * len(w) * int(w.shape[1])


def _scaled(graph: Graph, node: Node, values: Array) -> Graph:
    """Give every row of the weights a factor."""
    w, r = constant(graph, node, "W"), constant(graph, node, "R")
    assert w is not None and r is not None
    factors = np.exp(np.clip(values, -8, 8)).reshape(2, *w.shape[:2], 1)
    return with_operands(graph, node, {"W": w * factors[0], "R": r * factors[1]})


FITS = (
    Fit(
        "merged_bias",
        "it keeps bias_ih and bias_hh of the candidate apart; the model has their sum (their "
        "difference was fitted)",
        _merged,
        _split,
    ),
    Fit(
        "int8_scale",
        "it has a scale for every row of the 8-bit weights; the model has one for all (the scales "
        "were fitted)",
        _on_a_grid,
        _scaled,
    ),
)
