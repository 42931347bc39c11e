"""One step of a recurrent cell, as it is found among products, gates and arithmetic."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from rnnengine.ops.recurrent import Activation
from rnnengine.ops.registry import Array
from rnnengine.passes.affine import Affine, Expr, Source, evaluate_weight
from rnnengine.passes.match import Index
from rnnengine.records import record

__all__ = ["Cell", "Gate", "Split", "biases", "divided", "starts", "weights_of"]


@record
class Gate:
    """An activation of an affine value; ``complement`` for one minus it."""

    activation: Activation
    value: Affine
    complement: bool = False


@record
class Cell:
    """One step of a recurrent cell.

    Attributes
    ----------
    op : str
        LSTM, GRU or RNN.
    activations : tuple of Activation
    reset_after : bool
        Of the GRU.
    coupling : str or None
        Of the LSTM.
    x : tuple of Source
        What enters beside the state; side by side they are the input.
    h, c : str or None
        The state before; None for a zero one whose products are not in the graph.
    h_out, c_out : str
        The state after; the latter empty for all but the LSTM.
    w, r : tuple of tuple of Expr
        For each gate and each x, and for each gate: the matrices to be added up.
    b_w, b_r : tuple of tuple of Expr
        For each gate the bias rows to be added up.
    size : int
    """

    op: str
    activations: tuple[Activation, ...]
    x: tuple[Source, ...]
    h: str | None
    c: str | None
    h_out: str
    c_out: str
    w: tuple[tuple[tuple[Expr, ...], ...], ...]
    r: tuple[tuple[Expr, ...], ...]
    b_w: tuple[tuple[Expr, ...], ...]
    b_r: tuple[tuple[Expr, ...], ...]
    size: int
    reset_after: bool = False
    coupling: str | None = None

    @property
    def form(self) -> tuple[object, ...]:
        """What two steps of one layer have in common, weights apart from those of the state."""
        return (self.op, self.activations, self.size, self.reset_after, self.coupling, self.w)

    @property
    def weights(self) -> tuple[object, ...]:
        """What two steps of one layer have in common."""
        return (*self.form, self.r, self.b_w, self.b_r)


def weights_of(index: Index, cell: Cell) -> list[Array]:
    """W [1, G*H, I], R [1, G*H, H], b_w and b_r [1, G*H] of a cell, in float32."""
    kinds = index.types
    widths = []
    for i, source in enumerate(cell.x):
        found = [evaluate_weight(index, e).shape[0] for gate in cell.w for e in gate[i]]
        size = kinds[source.value].shape[-1]
        widths.append(found[0] if found else int(size) if isinstance(size, int) else 0)

    def block(exprs: tuple[Expr, ...], rows: int) -> Array:
        total = np.zeros((rows, cell.size))
        for expr in exprs:
            total = total + evaluate_weight(index, expr)
        return total.T

    def bias(exprs: tuple[Expr, ...]) -> Array:
        total = np.zeros(cell.size)
        for expr in exprs:
            total = total + evaluate_weight(index, expr)
        return total

    w = [np.hstack([block(e, k) for e, k in zip(g, widths, strict=True)]) for g in cell.w]
    r = [block(g, cell.size) for g in cell.r]
    parts = [np.vstack(w), np.vstack(r)]
    parts += [np.concatenate([bias(g) for g in b]) for b in (cell.b_w, cell.b_r)]
    return [np.ascontiguousarray(p[None].astype(np.float32)) for p in parts]


Split: TypeAlias = tuple[
    tuple[Source, ...],
    str | None,
    tuple[tuple[tuple[Expr, ...], ...], ...],
    tuple[tuple[Expr, ...], ...],
    tuple[tuple[Expr, ...], ...],
]
"""Sources of x, state, the matrices of x and of the state, and the biases, for each gate."""


def divided(gates: list[Affine | None], sources: list[Source], h: str | None) -> Split:
    """Divide the terms of the gates into those of x and those of the state h."""
    state = Source(h) if h is not None else None
    x = tuple(s for s in sources if s != state)

    def of(gate: Affine | None, source: Source | None) -> tuple[Expr, ...]:
        terms = gate.terms if gate is not None else ()
        return tuple(t.matrix for t in terms if t.source == source and t.matrix is not None)

    w = tuple(tuple(of(gate, source) for source in x) for gate in gates)
    r = tuple(of(gate, state) if state is not None else () for gate in gates)
    bias = tuple(gate.bias if gate is not None else () for gate in gates)
    return x, h, w, r, bias


_Biases: TypeAlias = tuple[tuple[Expr, ...], ...]


def biases(rows: _Biases) -> tuple[_Biases, _Biases]:
    """Input and recurrent biases: of two that are added it does not matter which is which."""
    return tuple(row[:1] for row in rows), tuple(row[1:] for row in rows)


def starts(cell: Cell) -> set[str]:
    """Values that a step starts from."""
    return {*(s.value for s in cell.x), cell.h or "", cell.c or ""}
