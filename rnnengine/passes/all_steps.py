"""The body of a loop applied to all steps at once.

Every value of the body gets a leading axis of time, or none where it is the same in all steps. The
states may only enter recurrent nodes that hand them on: those run over time themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rnnengine.graph import Fusion, Graph, Node, Size, TensorType, fresh
from rnnengine.ops import infer_types
from rnnengine.ops.elementwise import BINARY, UNARY
from rnnengine.ops.registry import Array

__all__ = ["NotAllStepsError", "Rewritten", "over_time"]

_RECURRENT = ("LSTM", "GRU", "RNN")
_SAME = frozenset([*UNARY, "Clip", "Cast", "Identity", "Not"])
_BROADCAST = frozenset([*BINARY, "Where", "And", "Or", "Xor", "Equal", "Greater", "Less"])
_AXES = frozenset(["Squeeze", "Unsqueeze", "Slice", "ReduceSum", "ReduceMean", "ReduceMax"])
_AXIS = frozenset(["Concat", "Softmax", "LogSoftmax", "LayerNormalization"])


class NotAllStepsError(Exception):
    """A body cannot be applied to all steps at once; the text says why."""


@dataclass
class Rewritten:
    """Nodes and constants in the place of a loop."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    fused: tuple[Fusion, ...] = ()


def over_time(
    body: Graph,
    loop: Node,
    inputs: list[str],
    types: Mapping[str, TensorType],
    taken: set[str],
    names: set[str],
    counters: frozenset[str] = frozenset(),
) -> Rewritten:
    """Return nodes that compute the loop's outputs from its inputs without a loop.

    Parameters
    ----------
    body : Graph
        In settled form, its cells fused.
    loop : Node
    inputs : list of str
        The loop's inputs, one for each of the body's.
    types : mapping of str to TensorType
        Around the loop.
    taken, names : set of str
        Names of values and of nodes around the loop.
    counters : set of str
        Inputs that count the steps from zero.

    Raises
    ------
    NotAllStepsError
        The states are not those of recurrent cells, or an operator cannot be moved out.
    """
    return _Mover(body, loop, inputs, types, taken, names, counters).run()


class _Mover:
    def __init__(
        self,
        body: Graph,
        loop: Node,
        inputs: list[str],
        types: Mapping[str, TensorType],
        taken: set[str],
        names: set[str],
        counters: frozenset[str],
    ) -> None:
        self.body, self.loop, self.inputs, self.outer = body, loop, inputs, types
        self.taken, self.names, self.counters = taken, names, counters
        self.types = infer_types(body)
        self.makers = body.producers()
        self.trip: Size = loop.attrs["trip"]
        self.states = loop.attrs["states"]
        self.result = Rewritten()
        self.moved: dict[str, str] = {}
        """Values of the body: their names outside."""
        self.timed: set[str] = set()
        """Values of the body that differ from step to step."""
        self.finals: dict[str, str] = {}
        """States after a step: the state after the last, outside."""

    def run(self) -> Rewritten:
        body, states = self.body, self.states
        self.hidden = {v.name for v in body.inputs[:states]}
        for i, value in enumerate(body.inputs[states:], states):
            self.moved[value.name] = self.inputs[i]
            if i < states + self.loop.attrs["sequences"]:
                self.timed.add(value.name)
        for name, constant in body.constants.items():
            self.moved[name] = fresh(f"{self.loop.name}.{name}", self.taken)
            self.result.constants[self.moved[name]] = np.asarray(constant)
        known = dict(zip(body.outputs[:states], (v.name for v in body.inputs), strict=False))
        for node in body.nodes:
            if node.op in _RECURRENT and self._state(node, 6) is not None:
                self._recurrent(node, known)
            elif any(self._hides(name) for name in node.inputs if name is not None):
                self._later(node)
            else:
                self._node(node)
        self._results()
        parts = {f.node: f for f in body.fused}
        renamed = {n.name: n for n in self.result.nodes}
        self.result.fused = tuple(
            replace(f, node=f"{self.loop.name}.{f.node}") for f in parts.values()
            if f"{self.loop.name}.{f.node}" in renamed
        )  # fmt: skip
        return self.result

    def _hides(self, name: str) -> bool:
        return name in self.hidden

    def _later(self, node: Node) -> None:
        """Layout of a state before it enters its cell, or after; nothing else may read one."""
        if node.op not in ("Squeeze", "Unsqueeze", "Reshape", "Identity"):
            raise NotAllStepsError(f"its state enters node {node.name!r} ({node.op})")
        self.hidden.update(name for name in node.outputs if name is not None)

    def _state(self, node: Node, position: int) -> str | None:
        """The state of the loop that an operand of a recurrent node is."""
        name = node.inputs[position] if position < len(node.inputs) else None
        return self._root(name) if name is not None and name in self.hidden else None

    def _root(self, name: str) -> str:
        while (node := self.makers.get(name)) is not None:
            name = node.inputs[0] or ""
        return name

    def _recurrent(self, node: Node, known: Mapping[str, str]) -> None:
        """A node of one step becomes one of all steps."""
        lstm = node.op == "LSTM"
        x = node.inputs[0]
        assert x is not None
        if self.types[x].shape[0] != 1:
            raise NotAllStepsError(f"node {node.name!r} ({node.op}) runs over several steps")
        if any(n is not None and n in self.timed for n in node.inputs[1:6]):
            raise NotAllStepsError(f"weights of node {node.name!r} ({node.op}) change")
        maker = self.makers.get(x)
        if maker is not None and maker.op == "Unsqueeze" and maker.attrs["axes"] == (0,):
            operands: list[str | None] = [self._timed(maker.inputs[0] or "")]
        else:
            operands = [self._make("Squeeze", [self._timed(x)], {"axes": (1,)})]
        operands += [None if n is None else self.moved[n] for n in node.inputs[1:6]]
        finals = [f"{self.loop.name}.{node.name}.{w}" for w in ("h_n", "c_n")]
        carried = ((6, 1), (7, 2)) if lstm else ((6, 1),)
        for (position, output), final in zip(carried, finals, strict=False):
            state = self._state(node, position)
            after = self._shown(node.outputs[output])
            if state is None or after is None or known.get(after) != state:
                raise NotAllStepsError(
                    f"node {node.name!r} ({node.op}) does not hand on the loop's state"
                )
            start = self.moved_state(state)
            shape = self.types[node.inputs[position] or ""].shape
            if self.outer[start].shape != shape:
                start = self._make("Reshape", [start], {"shape": shape})
            operands.append(start)
            self.finals[after] = fresh(final, self.taken)
            shown = self.types[after].shape
            whole = fresh(final, self.taken)
            self._put("Reshape", (whole,), (self.finals[after],), {"shape": shown})
            self.finals[f"{after}!"] = whole
        y = fresh(f"{self.loop.name}.{node.name}.y", self.taken)
        shown_names = [self._shown(node.outputs[o]) for _, o in carried]
        outputs = (y, *(self.finals[f"{name}!"] for name in shown_names))
        name = f"{self.loop.name}.{node.name}"
        if name in self.names:
            raise NotAllStepsError(f"two nodes would be named {name!r}")
        self.names.add(name)
        self.result.nodes.append(Node(node.op, name, tuple(operands), outputs, node.attrs))
        h = node.outputs[1]
        if h is not None:  # [T, 1, B, H]: the state h after each step
            self.moved[h] = y
            self.timed.add(h)
        if node.outputs[0] is not None:
            self.moved[node.outputs[0]] = self._make("Unsqueeze", [y], {"axes": (1,)})
            self.timed.add(node.outputs[0])
        if lstm and node.outputs[2] is not None:
            self.hidden.add(node.outputs[2])

    def moved_state(self, state: str) -> str:
        """The loop's input that is the state before the first step."""
        position = [v.name for v in self.body.inputs].index(state)
        return self.inputs[position]

    def _shown(self, name: str | None) -> str | None:
        """The output of the body that is a state after a step, through layout operators."""
        for output in self.body.outputs[: self.states]:
            if name is not None and self._origin(output) == name:
                return output
        return None

    def _origin(self, name: str) -> str:
        layout = ("Squeeze", "Unsqueeze", "Reshape", "Identity")
        while (node := self.makers.get(name)) is not None and node.op in layout:
            name = node.inputs[0] or ""
        return name

    def _results(self) -> None:
        """Give the loop's outputs."""
        for i, output in enumerate(self.body.outputs):
            target = self.loop.outputs[i] if i < len(self.loop.outputs) else None
            if i < self.states and output not in self.finals:
                raise NotAllStepsError(f"its state {self.body.inputs[i].name!r} is no cell's")
            if target is None:
                continue
            if i < self.states:
                self._put("Identity", (self.finals[output],), (target,), {})
            elif self._hides(output):
                raise NotAllStepsError(f"its result {output!r} is a state that only ends")
            else:
                self._put("Identity", (self._timed(output),), (target,), {})

    def _node(self, node: Node) -> None:
        """Move one node out."""
        given = [n for n in node.inputs if n is not None]
        if not any(name in self.timed for name in given):
            inputs = tuple(None if n is None else self.moved[n] for n in node.inputs)
            self._keep(node, inputs, dict(node.attrs))
            return
        if node.op == "Gemm":
            self._gemm(node)
        elif node.op == "Gather" and self.moved.get(node.inputs[1] or "") in self.counters:
            self._counted(node)
        else:
            inputs, attrs = self._rule(node)
            self._keep(node, inputs, attrs)
        self.timed.update(name for name in node.outputs if name is not None)

    def _gemm(self, node: Node) -> None:
        """A product of matrices becomes one of stacks of them."""
        attrs, (x, w, *rest) = node.attrs, node.inputs
        plain = attrs.get("alpha", 1.0) == attrs.get("beta", 1.0) == 1.0
        if not plain or attrs.get("transA", 0) or x not in self.timed or w is None:
            raise NotAllStepsError(f"node {node.name!r} (Gemm) works on each step by itself")
        weight = self.moved[w]
        if w in self.timed:
            raise NotAllStepsError(f"the weight of node {node.name!r} (Gemm) changes")
        if attrs.get("transB", 0):
            weight = self._make("Transpose", [weight], {"perm": (1, 0)})
        bias = rest[0] if rest else None
        if bias is None:
            self._keep(replace(node, op="MatMul"), (self.moved[x or ""], weight), {})
            return
        product = self._make("MatMul", [self.moved[x or ""], weight], {})
        raised = self._raised(bias, 2) if bias in self.timed else self.moved[bias]
        self._keep(replace(node, op="Add"), (product, raised), {})

    def _counted(self, node: Node) -> None:
        """Element t of a value at step t: the value itself, with that axis in front."""
        source = node.inputs[0] or ""
        if source in self.timed or self.types[node.inputs[1] or ""].rank:
            raise NotAllStepsError(f"node {node.name!r} (Gather) works on each step by itself")
        shape, axis = self.types[source].shape, node.attrs["axis"]
        name = self.moved[source]
        if shape[axis] != self.trip:
            attrs = {"axes": (axis,), "starts": (0,), "sizes": (self.trip,), "steps": (1,)}
            name = self._make("Slice", [name], attrs)
        perm = (axis, *(a for a in range(len(shape)) if a != axis))
        self._keep(replace(node, op="Transpose"), (name,), {"perm": perm})

    def _keep(self, node: Node, inputs: tuple[str | None, ...], attrs: dict[str, Any]) -> None:
        outputs = []
        for name in node.outputs:
            outputs.append(None if name is None else fresh(f"{self.loop.name}.{name}", self.taken))
            if name is not None:
                self.moved[name] = outputs[-1] or ""
        unique = fresh(f"{self.loop.name}.{node.name}", self.names)
        self.result.nodes.append(Node(node.op, unique, inputs, tuple(outputs), attrs))

    def _rule(self, node: Node) -> tuple[tuple[str | None, ...], dict[str, Any]]:
        """Inputs and attributes of a node with a leading axis of time."""
        attrs, first = dict(node.attrs), node.inputs[0]
        assert first is not None
        if node.op in _SAME and first in self.timed and len(node.inputs) == 1:
            return (self.moved[first],), attrs
        if node.op in _BROADCAST:
            return self._aligned(node), attrs
        if node.op in _AXIS and (node.op == "Concat" or first in self.timed):
            attrs["axis"] += 1
            if node.op == "Concat":
                return tuple(self._timed(n) for n in node.inputs if n is not None), attrs
            rest = [None if n is None else self.moved[n] for n in node.inputs[1:]]
            if not any(n in self.timed for n in node.inputs[1:]):
                return (self.moved[first], *rest), attrs
        if node.op in _AXES and len(node.inputs) == 1:
            attrs["axes"] = tuple(a + 1 for a in attrs["axes"])
            return (self.moved[first],), attrs
        if node.op == "Transpose":
            attrs["perm"] = (0, *(a + 1 for a in attrs["perm"]))
            return (self.moved[first],), attrs
        if node.op in ("Reshape", "Expand"):
            rank = len(attrs["shape"])
            attrs["shape"] = (self.trip, *attrs["shape"])
            source = self.moved[first]
            return (self._raised(first, rank) if node.op == "Expand" else source,), attrs
        if node.op == "MatMul":
            second = node.inputs[1]
            shared = second is not None and second not in self.timed
            if first in self.timed and shared and self.types[second or ""].rank == 2:
                return (self.moved[first], self.moved[second or ""]), attrs
        if node.op == "Gather" and first not in self.timed and attrs["axis"] == 0:
            return tuple(self.moved[n] for n in node.inputs if n is not None), attrs
        raise NotAllStepsError(f"node {node.name!r} ({node.op}) works on each step by itself")

    def _aligned(self, node: Node) -> tuple[str | None, ...]:
        rank = self.types[node.outputs[0] or ""].rank
        return tuple(
            None if n is None else self._raised(n, rank) if n in self.timed else self.moved[n]
            for n in node.inputs
        )

    def _raised(self, name: str, rank: int) -> str:
        """A timed value with axes after time, so that it has a rank besides it."""
        extra = rank - self.types[name].rank
        if not extra:
            return self.moved[name]
        return self._make("Unsqueeze", [self.moved[name]], {"axes": tuple(range(1, 1 + extra))})

    def _timed(self, name: str) -> str:
        """The value with an axis of time, repeated where it is the same in all steps."""
        if name in self.timed:
            return self.moved[name]
        if name not in self.moved:
            raise NotAllStepsError(f"value {name!r} is a state")
        shape = (self.trip, *self.types[name].shape)
        return self._make("Expand", [self.moved[name]], {"shape": shape})

    def _make(self, op: str, inputs: list[str], attrs: dict[str, Any]) -> str:
        result = fresh(f"{self.loop.name}.{op.lower()}", self.taken)
        self._put(op, tuple(inputs), (result,), attrs)
        return result

    def _put(
        self, op: str, inputs: tuple[str, ...], outputs: tuple[str, ...], attrs: dict[str, Any]
    ) -> None:
        name = fresh(f"{self.loop.name}.{op.lower()}", self.names)
        self.result.nodes.append(Node(op, name, inputs, outputs, attrs))
