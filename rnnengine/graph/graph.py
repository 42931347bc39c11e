"""Graph: what a model file says, independent of the framework that wrote it.

Operators carry ONNX names and ONNX semantics of the newest version, with the differences between
versions already taken out by the importer; recurrent operators use the canonical form described in
:mod:`rnnengine.ops.recurrent`. Graphs are values: a pass makes a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from rnnengine.graph.dims import Size
from rnnengine.records import field, record, replace

__all__ = ["Choice", "Fusion", "Graph", "Node", "State", "TensorType", "Value", "fresh"]


@record
class TensorType:
    """Element type and shape of a tensor; sizes may be symbolic."""

    dtype: np.dtype[Any]
    shape: tuple[Size, ...]

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@record
class Value:
    """A graph input: its name and declared type."""

    name: str
    type: TensorType


@record
class Node:
    """One operator: names of its inputs and outputs (None where omitted) and its attributes."""

    op: str
    name: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str | None, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)


@record
class State:
    """A pair (input, output): what the graph returns and wants back at the next call.

    ``start`` and ``shape`` say which slice of the output feeds the input (None: all of it);
    ``initial`` broadcasts to the input's shape and is its value in a fresh stream (None: zeros).
    ``implicit`` marks state that a pass exposed: callers of ``run`` do not see it as an input.
    ``batch_axis`` is the axis of the input that is the batch; what the graph itself declares may
    have none there.
    """

    name: str
    input: str
    output: str
    start: tuple[int, ...] | None = None
    initial: np.ndarray[Any, Any] | None = None
    implicit: bool = True
    batch_axis: int = 1


@record
class Fusion:
    """A node that a pass put in the place of others: its name, its operator, the names of those."""

    node: str
    op: str
    parts: tuple[str, ...]


@record
class Choice:
    """How the products of a node with its weights are computed, and why.

    ``compute_type`` is ``'float32'`` or one of those of :mod:`rnnengine.graph.lowered`; ``reason``
    is empty where that is what was asked for.
    """

    node: str
    op: str
    compute_type: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.node}: {self.op} in {self.compute_type}" + f" ({self.reason})" * bool(
            self.reason
        )


@record
class Graph:
    """A network in static single assignment form, nodes in topological order."""

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray[Any, Any]]
    states: tuple[State, ...] = ()
    source: str = ""
    fused: tuple[Fusion, ...] = ()
    choices: tuple[Choice, ...] = ()

    def with_(self, **changes: Any) -> Graph:
        """Return a copy with the given fields replaced, or the graph itself where none changes."""
        if all(getattr(self, name) is value for name, value in changes.items()):
            return self
        return replace(self, **changes)

    @cached_property
    def derived(self) -> dict[object, Any]:
        """What has been worked out of this graph, which does not change: types, its time line."""
        return {}

    def producers(self) -> dict[str, Node]:
        """Map each computed value's name to the node that computes it."""
        return {out: node for node in self.nodes for out in node.outputs if out}

    def consumers(self) -> dict[str, list[Node]]:
        """Map each value's name to the nodes that read it, in order."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(n for n in node.inputs if n):
                readers.setdefault(name, []).append(node)
        return readers


def fresh(name: str, taken: set[str]) -> str:
    """Return the name, or the name with a number, that nothing has yet; it is taken then."""
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name}_{count}"
    taken.add(found)
    return found
