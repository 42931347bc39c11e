"""Recurrent nodes in the place of cells that exporters wrote out.

A step becomes a node of one step with its state as operands. Steps that follow each other with the
same weights, the state of one being the state before the next, become one node over time; where a
step's input depends on the step before (a decoder that reads its own output), they stay single.
"""

from __future__ import annotations

from collections.abc import Mapping
from posixpath import commonprefix
from typing import Any

import numpy as np

from rnnengine.graph import Fusion, Graph, Node, Size, fresh, product
from rnnengine.ops.recurrent import RecurrentAttrs
from rnnengine.ops.registry import Array
from rnnengine.ops.types import Inference
from rnnengine.passes.affine import Source, as_rows
from rnnengine.passes.cell import Cell, weights_of
from rnnengine.passes.find_cells import find_cells, head_of
from rnnengine.passes.match import Index
from rnnengine.passes.order import ordered
from rnnengine.passes.prune import prune
from rnnengine.records import replace

__all__ = ["fuse_cells"]


def fuse_cells(graph: Graph, hints: Mapping[str, str] | None = None) -> Graph:
    """Replace written-out recurrent cells by recurrent nodes.

    Parameters
    ----------
    graph : Graph
        In settled form.
    hints : mapping of str to str, optional
        See :func:`rnnengine.passes.find_cells.find_cells`.
    """
    index = Index(graph)
    cells = find_cells(index, hints)
    if not cells:
        return graph
    fuser = _Fuser(index)
    for chain in _chains(index, cells):
        fuser.put(chain)
    return fuser.graph()


def _chains(index: Index, cells: list[Cell]) -> list[list[Cell]]:
    """Steps that follow each other, in the order in which they run."""
    by_state: dict[str, list[Cell]] = {}
    for cell in cells:
        by_state.setdefault(cell.h or "", []).append(cell)
    following: dict[str, Cell] = {}
    for cell in cells:
        after = [n for n in by_state.get(cell.h_out, []) if _follows(index, cell, n)]
        if len(after) == 1:
            following[cell.h_out] = after[0]
    led = {cell.h_out for cell in following.values()}
    chains = []
    for cell in cells:
        if cell.h_out in led:
            continue
        chain = [cell]
        head = head_of(index, cell)
        if head is not None and _follows_head(index, head, cell):
            chain.insert(0, replace(head, r=cell.r))
        while chain[-1].h_out in following:
            chain.append(following[chain[-1].h_out])
        chains += [chain] if _independent(index, chain) else [[step] for step in chain if step.h]
    return chains


def _follows(index: Index, cell: Cell, after: Cell) -> bool:
    same = after.weights == cell.weights and len(after.x) == len(cell.x)
    return same and (cell.op != "LSTM" or _hands_on(index, cell, after))


def _follows_head(index: Index, head: Cell, after: Cell) -> bool:
    return head.op != "LSTM" or _hands_on(index, head, after)


def _hands_on(index: Index, cell: Cell, after: Cell) -> bool:
    """Whether the cell state goes from one step to the next and nowhere else."""
    if after.c != cell.c_out or cell.c_out in index.graph.outputs:
        return False
    inside = {n.name for n in index.region([cell.h_out], {cell.c or "", cell.h or ""})}
    inside |= {n.name for n in index.region([after.h_out], {cell.c_out, cell.h_out})}
    return all(node.name in inside for node in index.readers.get(cell.c_out, ()))


def _independent(index: Index, chain: list[Cell]) -> bool:
    """Whether no step's input is computed from what an earlier step gave."""
    results = {name for cell in chain for name in (cell.h_out, cell.c_out) if name}
    seen: set[str] = set()
    stack = [source.value for cell in chain for source in cell.x]
    while stack:
        name = stack.pop()
        if name in results:
            return False
        if name not in seen:
            seen.add(name)
            node = index.makers.get(name)
            stack += [n for n in node.inputs if n is not None] if node is not None else []
    return True


class _Fuser:
    """Collects the new nodes and the values that they replace."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.inference = Inference(index.graph.inputs, index.graph.constants)
        self.inference.types.update(index.types)
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.replaced: set[str] = set()
        self.fusions: list[Fusion] = []
        self._taken = set(index.types)
        self._names = {node.name for node in index.graph.nodes}
        self._moved: dict[Source, str] = {}

    def graph(self) -> Graph:
        """The graph with the new nodes instead of the old ones."""
        graph = self.index.graph
        kept = [
            replace(node, outputs=tuple(None if n in self.replaced else n for n in node.outputs))
            for node in graph.nodes
        ]
        kept = [node for node in kept if any(node.outputs)]
        return prune(
            graph.with_(
                nodes=ordered([*kept, *self.nodes]),
                constants={**graph.constants, **self.constants},
                fused=(*graph.fused, *self.fusions),
            )
        )

    def put(self, chain: list[Cell]) -> None:
        """Add a node for some steps."""
        first, last = chain[0], chain[-1]
        parts = self._parts(chain)
        name = fresh(_common(parts) or first.op.lower(), self._names)
        lead = self.index.types[first.h_out].shape[:-1]
        x = self._sequence(name, chain)
        weights = [
            self._constant(f"{name}.{word}", value)
            for word, value in zip(("W", "R", "b_w", "b_r"), weights_of(self.index, last),
                                   strict=True)
        ]  # fmt: skip
        states = [self._state(name, first.h, lead, first.size), None]
        if first.op == "LSTM":
            states[1] = self._state(name, first.c, lead, first.size)
        inputs: list[str | None] = [x, *weights, None, *states]
        while inputs[-1] is None:
            inputs.pop()
        attrs = RecurrentAttrs(
            first.size,
            activations=(first.activations,),
            reset_after=first.reset_after,
            coupling=first.coupling,
        )
        y, h_n, c_n = (self._fresh(f"{name}.{word}") for word in ("y", "h_n", "c_n"))
        outputs = (y, h_n, c_n) if first.op == "LSTM" else (y, h_n)
        node = Node(first.op, name, tuple(inputs), outputs, attrs.mapping())
        self.inference.add(node)
        self.nodes.append(node)
        self._results(name, chain, y, h_n, c_n)
        self.fusions.append(Fusion(name, first.op, tuple(parts)))

    def _parts(self, chain: list[Cell]) -> list[str]:
        names: dict[str, None] = {}
        for cell in chain:
            starts = {*(s.value for s in cell.x), cell.h or "", cell.c or ""}
            ends = [n for n in (cell.h_out, cell.c_out) if n]
            names.update((node.name, None) for node in self.index.region(ends, starts))
        return list(names)

    def _sequence(self, name: str, chain: list[Cell]) -> str:
        """Input of all steps, [T, B, I]."""
        parts = []
        for i, first in enumerate(chain[0].x):
            width = self._width(first)
            steps = [self._with_axis(f"{name}.x", self._value(cell.x[i]), width) for cell in chain]
            whole = steps[0]
            if len(steps) > 1:
                whole = self._make("Concat", f"{name}.x", steps, {"axis": 0})
            parts.append(whole)
        return parts[0] if len(parts) == 1 else self._make("Concat", name, parts, {"axis": 2})

    def _width(self, source: Source) -> int:
        size = self.index.types[source.value].shape[-1]
        assert isinstance(size, int)
        return size

    def _value(self, source: Source) -> str:
        """Apply a source's layout operators; return the value."""
        value = source.value
        for count, (op, attrs) in enumerate(source.chain):
            prefix = Source(source.value, source.chain[: count + 1])
            if prefix not in self._moved:
                known: dict[str, Any] = dict(attrs)
                if op == "Reshape":
                    known["shape"] = (*known["shape"][:-1], self._width(source))
                self._moved[prefix] = self._make(op, f"{source.value}.{op.lower()}", [value], known)
            value = self._moved[prefix]
        return value

    def _with_axis(self, name: str, value: str, width: int) -> str:
        """[.., K] to [1, B, K]."""
        lead = self.inference.types[value].shape[:-1]
        ones = _ones(lead)
        if ones is None:
            return self._make("Reshape", name, [value], {"shape": (1, product(lead), width)})
        if ones == 0:
            return self._make("Unsqueeze", name, [value], {"axes": (0,)})
        if ones == 1:
            return value
        return self._make("Squeeze", name, [value], {"axes": tuple(range(ones - 1))})

    def _state(self, name: str, value: str | None, lead: tuple[Size, ...], size: int) -> str | None:
        if value is None:
            return None
        maker = self.index.makers.get(value)
        expanded = maker.inputs[0] if maker is not None and maker.op == "Expand" else value
        constant = self.index.constant(expanded)
        if constant is not None and not constant.any():
            return None
        row = None if constant is None else as_rows(constant, size)
        if row is not None and _ones(lead) is not None:
            whole = self._constant(f"{name}.state", np.ascontiguousarray(row.reshape(1, 1, size)))
            shape = (1, lead[-1], size)
            return self._make("Expand", f"{name}.state", [whole], {"shape": shape})
        kind = self.index.types[value]
        if kind.shape != (*lead, size):
            value = self._make("Expand", f"{name}.state", [value], {"shape": (*lead, size)})
        return self._with_axis(f"{name}.state", value, size)

    def _results(self, name: str, chain: list[Cell], y: str, h_n: str, c_n: str) -> None:
        """Give the values that the steps computed, under their names."""
        last = chain[-1]
        self._final(f"{name}.h", last.h_out, h_n)
        if last.c_out:
            self._final(f"{name}.c", last.c_out, c_n)
        if len(chain) == 1:
            return
        steps = self._make("Squeeze", f"{name}.y", [y], {"axes": (1,)})
        for t, cell in enumerate(chain[:-1]):
            attrs = {"axes": (0,), "starts": (t,), "sizes": (1,), "steps": (1,)}
            one = self._make("Slice", f"{name}.y{t}", [steps], attrs)
            self._final(f"{name}.h{t}", cell.h_out, one)

    def _final(self, name: str, target: str, source: str) -> None:
        """Give [1, B, K] as [.., K] under a name."""
        shape = self.index.types[target].shape
        ones = _ones(shape[:-1])
        if ones is None:
            self._replace("Reshape", name, target, source, {"shape": shape})
        elif ones == 0:
            self._replace("Squeeze", name, target, source, {"axes": (0,)})
        elif ones == 1:
            self._replace("Identity", name, target, source, {})
        else:
            self._replace("Unsqueeze", name, target, source, {"axes": tuple(range(ones - 1))})

    def _replace(
        self, op: str, name: str, target: str, source: str, attrs: Mapping[str, object]
    ) -> None:
        self.replaced.add(target)
        self.nodes.append(Node(op, fresh(name, self._names), (source,), (target,), attrs))

    def _make(self, op: str, name: str, inputs: list[str], attrs: Mapping[str, object]) -> str:
        result = self._fresh(name)
        node = Node(op, fresh(name, self._names), tuple(inputs), (result,), attrs)
        self.inference.add(node)
        self.nodes.append(node)
        return result

    def _constant(self, name: str, value: Array) -> str:
        made = self._fresh(name)
        self.constants[made] = value
        self.inference.add_constant(made, value)
        return made

    def _fresh(self, name: str) -> str:
        return fresh(name, self._taken)


def _ones(lead: tuple[Size, ...]) -> int | None:
    """How many axes of size 1 stand before the batch; None where the axes are no batch of rows."""
    ones = len(lead) - 1
    return ones if ones >= 0 and all(size == 1 for size in lead[:-1]) else None


def _common(names: list[str]) -> str:
    """What the paths of some nodes have in common, without a separator at the end."""
    prefix = commonprefix(names)
    cut = max(prefix.rfind("/"), prefix.rfind("."))
    return prefix[:cut] if cut > 0 else ""
