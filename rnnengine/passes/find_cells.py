"""Steps of LSTM, GRU and RNN cells that exporters wrote out as products, gates and arithmetic.

What makes a cell is how its state enters: ``c' = f*c + i*g, h' = o*act(c')`` for the LSTM and
``h' = (1-z)*n + z*h`` for the GRU, in any order of operands and in the equivalent forms that
exporters write. The gates are activations of affine values (:mod:`rnnengine.passes.affine`), so it
does not matter how their products and biases are arranged.

A plain RNN step is an activation of ``x W + h R + b``, which a layer with two inputs may be as
well. It is taken for a step only where its state shows: it follows a step of the same weights, or
its state is one the caller hints at, or it is an input of the graph and the step an output of the
same shape, and no other input of the step could be meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from rnnengine.ops.elementwise import UNARY, unary_activation
from rnnengine.ops.recurrent import Activation
from rnnengine.passes.affine import Affine, Memo, Source, affine
from rnnengine.passes.cell import Cell, Gate, Split, biases, divided, starts, weights_of
from rnnengine.passes.match import Index, Is, Number, Pattern, Var, match

__all__ = ["find_cells", "head_of"]

_ACTS = "|".join(sorted(set(UNARY) - {"Neg", "Abs", "Sqrt", "Reciprocal", "Exp", "Log", "Erf"}))


def find_cells(index: Index, hints: Mapping[str, str] | None = None) -> list[Cell]:
    """Find the cells of a graph, in its order.

    Parameters
    ----------
    index : Index
    hints : mapping of str to str, optional
        States after a step with the states before it, where these are known: the states of a loop.
    """
    return _Finder(index, hints or {}).run()


def head_of(index: Index, cell: Cell) -> Cell | None:
    """Step before a cell that starts from a zero state, so that only its input is in the graph."""
    if cell.h is None:
        return None
    finder = _Finder(index, {})
    found = {"LSTM": finder.lstm, "GRU": finder.gru, "RNN": finder.dense}[cell.op](cell.h)
    if found is None or found.h is not None or found.form != cell.form:
        return None
    if cell.op == "LSTM" and found.c_out != cell.c:
        return None
    mine, its = weights_of(index, cell), weights_of(index, found)
    if cell.op == "GRU" and cell.reset_after:
        agree = [np.array_equal(mine[2] + mine[3], its[2] + its[3])]
        agree += [np.array_equal(a[0, -cell.size :], b[0, -cell.size :])
                  for a, b in zip(mine[2:], its[2:], strict=True)]  # fmt: skip
        return found if all(agree) else None
    return found if np.array_equal(mine[2] + mine[3], its[2] + its[3]) else None


_LSTM: Pattern = Is(
    "Mul",
    (
        Var("o"),
        Is(
            _ACTS,
            (
                Is(
                    "Add",
                    (Is("Mul", (Var("f"), Var("c"))), Is("Mul", (Var("i"), Var("g")))),
                    "c_out",
                ),
            ),
            "act",
        ),
    ),
)

_ONE_MINUS_Z = Is("Sub", (Number(1.0), Var("z")))
_GRU: tuple[Pattern, ...] = (
    Is("Add", (Is("Mul", (_ONE_MINUS_Z, Var("n"))), Is("Mul", (Var("z"), Var("h"))))),
    Is("Add", (Var("n"), Is("Mul", (Var("z"), Is("Sub", (Var("h"), Var("n"))))))),
    Is("Sub", (Var("n"), Is("Mul", (Var("z"), Is("Sub", (Var("n"), Var("h"))))))),
)
"""Each with n and h exchanged is the GRU whose update gate lets the candidate in instead."""


class _Finder:
    def __init__(self, index: Index, hints: Mapping[str, str]) -> None:
        self.index = index
        self.hints = hints
        self.memo = Memo()
        self.partner: dict[str, str] = {}

    def run(self) -> list[Cell]:
        found: dict[str, Cell] = {}
        for node in self.index.graph.nodes:
            value = node.outputs[0] if node.outputs else None
            if value is None or node.op not in ("Mul", "Add", "Sub"):
                continue
            cell = self.lstm(value) if node.op == "Mul" else self.gru(value)
            if cell is not None and cell.h is not None:
                found[value] = cell
                if cell.c_out:
                    self.partner[cell.c_out] = cell.h_out
        inside = {n.name for c in found.values() for n in self.index.region([c.h_out], starts(c))}
        for node in self.index.graph.nodes:
            value = node.outputs[0] if node.outputs else None
            if value is not None and node.op in UNARY and node.name not in inside:
                cell = self.rnn(value)
                if cell is not None:
                    found[value] = cell
                    self._earlier(cell, found)
        order = {n: i for i, node in enumerate(self.index.graph.nodes) for n in node.outputs if n}
        return sorted(found.values(), key=lambda cell: order[cell.h_out])

    def _earlier(self, cell: Cell, found: dict[str, Cell]) -> None:
        """Find the step before an RNN's step, where that one has a state before it too."""
        gate = self.gate(cell.h or "")
        if cell.h is None or cell.h in found or gate is None:
            return
        state = next((t.source for t in gate.value.terms if (t.matrix,) == cell.r[0]), None)
        if state is not None and not state.chain:
            before = self._rnn_cell(cell.h, state.value)
            if before is not None and before.weights == cell.weights:
                found[cell.h] = before

    def gate(self, value: str) -> Gate | None:
        """The value as an activation of a sum of products, possibly some columns of it."""
        cuts: list[tuple[int, int, int]] = []
        while (node := self.index.makers.get(value)) is not None and node.op == "Slice":
            attrs = node.attrs
            source = node.inputs[0]
            assert source is not None
            if attrs["axes"] != (self.index.types[source].rank - 1,):
                return None
            cut = (attrs["starts"][0], attrs["sizes"][0], attrs["steps"][0])
            if not all(isinstance(n, int) for n in cut):
                return None
            cuts.append(cut)
            value = source
        if node is None or node.inputs[0] is None:
            return None
        if node.op == "Clip" and (node.attrs.get("min"), node.attrs.get("max")) == (0.0, 1.0):
            activation = Activation("hard_sigmoid", 1.0, 0.0)
        elif node.op in UNARY and len(node.inputs) == 1:
            activation = unary_activation(node.op, node.attrs)
        else:
            return None
        inner = affine(self.index, node.inputs[0], self.memo)
        for cut in reversed(cuts):
            inner = None if inner is None else inner.columns(*cut)
        return None if inner is None else Gate(activation, inner)

    def complemented(self, value: str) -> Gate | None:
        """As :meth:`gate`, or one minus it."""
        for found in match(self.index, Is("Sub", (Number(1.0), Var("z"))), value):
            inner = self.gate(found["z"])
            return None if inner is None else Gate(inner.activation, inner.value, True)
        return self.gate(value)

    def lstm(self, value: str) -> Cell | None:
        for b in match(self.index, _LSTM, value):
            i, f = self.complemented(b["i"]), self.complemented(b["f"])
            g, o = self.gate(b["g"]), self.gate(b["o"])
            if i is None or f is None or g is None or o is None or (i.complement and f.complement):
                continue
            coupling = None
            if i.complement or f.complement:
                if i.value != f.value:
                    continue
                coupling = "i=1-f" if i.complement else "f=1-i"
            shape = self.index.types[value].shape
            if any(self.index.types[b[k]].shape != shape for k in "fcigo"):
                c = self.index.constant(b["c"])
                if c is None or any(self.index.types[b[k]].shape != shape for k in "figo"):
                    continue
            if not i.activation == f.activation == o.activation:
                continue
            node = self.index.makers[b["act"]]
            acts = (i.activation, g.activation, unary_activation(node.op, node.attrs))
            cell = self._lstm_cell(b, (i, f, g, o), acts, coupling, value)
            if cell is not None:
                return cell
        return None

    def _lstm_cell(
        self,
        b: Mapping[str, str],
        gates: tuple[Gate, ...],
        acts: tuple[Activation, ...],
        coupling: str | None,
        value: str,
    ) -> Cell | None:
        size = gates[0].value.width
        values: list[Affine | None] = [gate.value for gate in gates]
        if coupling is not None:
            values[0 if coupling == "i=1-f" else 1] = None
        split = self._split(values, value, size, b["c"])
        if split is None:
            return None
        x, h, w, r, bias = split
        return Cell("LSTM", acts, x, h, b["c"], value, b["c_out"], w, r, *biases(bias), size,
                    coupling=coupling)  # fmt: skip

    def _split(
        self, gates: list[Affine | None], value: str, size: int, c: str | None
    ) -> Split | None:
        """Divide the terms of the gates into those of x and those of h."""
        terms = [t for gate in gates if gate is not None for t in gate.terms]
        if any(gate is not None and gate.width != size for gate in gates):
            return None
        if not terms or any(t.matrix is None for t in terms):
            return None
        sources = list(dict.fromkeys(t.source for t in terms))
        h = self._state(sources, value, size, c)
        return divided(gates, sources, h)

    def _state(self, sources: list[Source], value: str, size: int, c: str | None) -> str | None:
        """Which source of an LSTM is its state before."""
        plain = [s.value for s in sources if not s.chain]
        hinted = self.hints.get(value)
        if hinted in plain:
            return hinted
        if c is not None and self.partner.get(c) in plain:
            return self.partner[c]
        if len(sources) < 2:
            return None
        square = [v for v in plain if self.index.types[v].shape[-1] == size]
        ranked = sorted(square, key=lambda v: self._likeness(v, c), reverse=True)
        return ranked[0] if ranked else None

    def _likeness(self, value: str, c: str | None) -> int:
        """How much a value looks like the state that belongs to c; ties go to the later one."""
        root = self._root(value)
        if c is not None and root == self._root(c):
            return 3
        if root in self.index.graph.constants:
            return 2
        inputs = {v.name for v in self.index.graph.inputs}
        return int(root in inputs and c is not None and self._root(c) in inputs)

    def _root(self, value: str) -> str:
        """Follow layout operators back."""
        layout = ("Slice", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Expand", "Identity")
        while (node := self.index.makers.get(value)) is not None and node.op in layout:
            value = node.inputs[0] or ""
        return value

    def gru(self, value: str) -> Cell | None:
        for pattern in _GRU:
            for b in match(self.index, pattern, value):
                for n, h, swapped in ((b["n"], b["h"], False), (b["h"], b["n"], True)):
                    cell = self._gru_cell(b["z"], n, h, value, swapped)
                    if cell is not None:
                        return cell
        return None

    def _gru_cell(self, z: str, n: str, h: str, value: str, swapped: bool) -> Cell | None:
        update, candidate = self.gate(z), self.gate(n)
        if update is None or candidate is None:
            return None
        if swapped and update.activation != Activation("sigmoid"):
            return None
        shape = self.index.types[value].shape
        same = [self.index.types[name].shape == shape for name in (z, n)]
        if not all(same) or (self.index.types[h].shape != shape and self.index.constant(h) is None):
            return None
        size = candidate.value.width
        zero = self.index.constant(h)
        state = None if zero is not None and not zero.any() else h
        if zero is not None and zero.any():
            return None
        reset = self._reset(candidate.value, h)
        if reset is None:
            return None
        r, from_x, from_h, after = reset
        if r.activation != update.activation or r.value.width != size:
            return None
        gates = [r.value, _negated(update.value) if swapped else update.value, from_x]
        split = self._gru_split(gates, state)
        if split is None:
            return None
        x, _, w, rec, bias = split
        if any(t.source != Source(h) for t in from_h.terms):
            return None
        if state is not None:
            rec = (*rec[:2], tuple(t.matrix for t in from_h.terms if t.matrix is not None))
            if not all(rec):
                return None
        b_w, b_r = biases(bias)
        if after or from_h.bias:
            b_w, b_r = (*b_w[:2], bias[2]), (*b_r[:2], from_h.bias)
        acts = (update.activation, candidate.activation)
        return Cell("GRU", acts, x, state, None, value, "", w, rec, b_w, b_r, size,
                    reset_after=after)  # fmt: skip

    def _gru_split(self, gates: list[Affine], h: str | None) -> Split | None:
        terms = [t for gate in gates for t in gate.terms]
        if any(t.matrix is None for t in terms):
            return None
        sources = list(dict.fromkeys(t.source for t in terms))
        if h is not None and Source(h) not in sources:
            return None
        if any(t.source == Source(h or "") for t in gates[2].terms):
            return None
        return divided(list(gates), sources, h)

    def _reset(self, n: Affine, h: str) -> tuple[Gate, Affine, Affine, bool] | None:
        """Reset gate, the parts of the candidate's sum from x and h, and whether it comes after."""
        for place, term in enumerate(n.terms):
            node = self.index.makers.get(term.source.value)
            if node is None or node.op != "Mul" or term.source.chain or None in node.inputs:
                continue
            rest = Affine(n.terms[:place] + n.terms[place + 1 :], n.bias, n.width)
            first, second = (str(name) for name in node.inputs)
            for gate_name, other in ((first, second), (second, first)):
                gate = self.gate(gate_name)
                if gate is None:
                    continue
                if term.matrix is not None and other == h:
                    product = Affine((type(term)(Source(h), term.matrix),), (), n.width)
                    return gate, rest, product, False
                if term.matrix is None:
                    inner = affine(self.index, other, self.memo)
                    if inner is not None and all(
                        t.matrix is not None and t.source == Source(h) for t in inner.terms
                    ):
                        return gate, rest, inner, True
        return None

    def dense(self, value: str) -> Cell | None:
        """The value as a step of an RNN from a zero state: an activation of x W + b."""
        return self._rnn_cell(value, None)

    def rnn(self, value: str) -> Cell | None:
        gate = self.gate(value)
        node = self.index.makers[value]
        if gate is None or node.op == "Slice" or len(gate.value.terms) < 2:
            return None
        square = [
            source.value
            for source in dict.fromkeys(t.source for t in gate.value.terms)
            if not source.chain and self.index.types[source.value] == self.index.types[value]
        ]
        for before in square:
            if self.hints.get(value) == before or self._follows(before, gate):
                return self._rnn_cell(value, before)
        inputs = {v.name for v in self.index.graph.inputs}
        if len(square) == 1 and self._root(square[0]) in inputs and value in self._shown:
            return self._rnn_cell(value, square[0])
        return None

    @cached_property
    def _shown(self) -> set[str]:
        """Values that outputs of the graph show, through layout operators."""
        return {self._root(name) for name in self.index.graph.outputs}

    def _follows(self, before: str, gate: Gate) -> bool:
        """Whether the gate and the one before are of the same weights, that one maybe from zero."""
        last = self.gate(before)
        if last is None or last.activation != gate.activation:
            return False
        mine = {t.matrix for t in gate.value.terms}
        its = {t.matrix for t in last.value.terms}
        recurrent = {t.matrix for t in gate.value.terms if t.source == Source(before)}
        return None not in mine and its in (mine, mine - recurrent)

    def _rnn_cell(self, value: str, h: str | None) -> Cell | None:
        gate = self.gate(value)
        if gate is None or any(t.matrix is None for t in gate.value.terms):
            return None
        if self.index.types[value].shape[-1] != gate.value.width or not gate.value.terms:
            return None
        sources = list(dict.fromkeys(t.source for t in gate.value.terms))
        x, _, w, r, bias = divided([gate.value], sources, h)
        if not x:
            return None
        return Cell("RNN", (gate.activation,), x, h, None, value, "", w, r, *biases(bias),
                    gate.value.width)  # fmt: skip


def _negated(value: Affine) -> Affine:
    return Affine(
        tuple(
            type(t)(t.source, None if t.matrix is None else ("scale", (-1.0,), t.matrix))
            for t in value.terms
        ),
        tuple(("scale", (-1.0,), b) for b in value.bias),
        value.width,
    )
