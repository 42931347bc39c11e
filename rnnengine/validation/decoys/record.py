"""What a known mistake is: changes of a graph, each of them small."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from rnnengine.graph import Graph, Node, fresh
from rnnengine.ops import infer_types
from rnnengine.validation.decoys.checkpoint import Module
from rnnengine.validation.samples import RECURRENT

__all__ = [
    "MOVES", "OPERAND", "RECURRENT", "Array", "Change", "Decoy", "Variant", "constant",
    "decoy", "made_of", "part", "rewired", "shape_of", "with_attrs", "with_operands",
]  # fmt: skip

Array = np.ndarray[Any, Any]

OPERAND = {
    "x": 0, "W": 1, "R": 2, "b_w": 3, "b_r": 4, "lengths": 5, "h0": 6, "c0": 7, "peephole": 8,
    "proj": 9, "mask": 10,
}  # fmt: skip
"""Positions in the table of :mod:`rnnengine.ops.recurrent.common`."""

MOVES = (
    "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Concat", "Slice", "Cast", "Expand",
)  # fmt: skip
"""Operators that move elements and change none."""

Change: TypeAlias = Callable[[Graph, Node, Sequence[Module]], Graph | None]
"""(settled graph with numbers for its sizes, node, modules of the checkpoint) -> the graph as the
reference has it if the mistake was made at the node; None where it could not have been made."""


@dataclass(frozen=True)
class Variant:
    """One form of a mistake: what the reference does where the model differs, and the change."""

    detail: str
    change: Change
    frees: bool = False
    """Whether it also stands for inputs whose sizes the model refuses."""


@dataclass(frozen=True)
class Decoy:
    """A known mistake.

    Attributes
    ----------
    key : str
        Short name, stable for programs.
    name : str
    meaning : str
        Where it comes from.
    variants : tuple of Variant
    """

    key: str
    name: str
    meaning: str
    variants: tuple[Variant, ...] = field(default=())


def decoy(key: str, name: str, meaning: str, *variants: tuple[Any, ...]) -> Decoy:
    """Return a mistake with its forms, each (detail, change) or (detail, change, frees)."""
    return Decoy(key, name, meaning, tuple(Variant(*v) for v in variants))


def shape_of(graph: Graph, name: str) -> tuple[int, ...]:
    """Shape of a value of a graph that has numbers for its sizes."""
    return tuple(int(str(size)) for size in infer_types(graph)[name].shape)


def part(name: str, value: str, out: str, axis: int, start: int, size: int, step: int) -> Node:
    """Return a node that takes some elements of one axis."""
    attrs = {"axes": (axis,), "starts": (start,), "sizes": (size,), "steps": (step,)}
    return Node("Slice", name, (value,), (out,), attrs)


def constant(graph: Graph, node: Node, what: str) -> Array | None:
    """A constant operand of a recurrent node; None where it is omitted or computed."""
    position = OPERAND[what]
    name = node.inputs[position] if position < len(node.inputs) else None
    value = None if name is None else graph.constants.get(name)
    return None if value is None else np.asarray(value)


def made_of(graph: Graph, old: Node, *new: Node) -> Graph:
    """Put other nodes in the place of one."""
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += new if node is old else (node,)
    return graph.with_(nodes=tuple(nodes))


def with_attrs(graph: Graph, node: Node, **changed: Any) -> Graph:
    """Change attributes of a node."""
    attrs = {**node.attrs, **changed}
    return made_of(graph, node, Node(node.op, node.name, node.inputs, node.outputs, attrs))


def with_operands(
    graph: Graph, node: Node, operands: Mapping[str, Array | None], **attrs: Any
) -> Graph:
    """Give a recurrent node other constants; None omits an operand."""
    inputs = [*node.inputs, *[None] * 11][:11]
    constants = dict(graph.constants)
    for what, value in operands.items():
        if value is None:
            inputs[OPERAND[what]] = None
            continue
        name = fresh(f"{node.name}.{what}'", {*constants, *_values(graph)})
        constants[name] = value
        inputs[OPERAND[what]] = name
    changed = Node(node.op, node.name, tuple(inputs), node.outputs, {**node.attrs, **attrs})
    return made_of(graph.with_(constants=constants), node, changed)


def rewired(
    graph: Graph, node: Node, output: int, build: Callable[[str, str, set[str]], list[Node]]
) -> Graph | None:
    """Put nodes behind an output of a node: ``build(value, result, taken names)``."""
    name = node.outputs[output] if output < len(node.outputs) else None
    if name is None:
        return None
    taken = _values(graph) | {n.name for n in graph.nodes}
    moved = fresh(f"{name}'", taken)
    outputs = tuple(moved if i == output else o for i, o in enumerate(node.outputs))
    kept = Node(node.op, node.name, node.inputs, outputs, node.attrs)
    return made_of(graph, node, kept, *build(moved, name, taken))


def _values(graph: Graph) -> set[str]:
    computed = {o for node in graph.nodes for o in node.outputs if o is not None}
    return computed | set(graph.constants) | {v.name for v in graph.inputs}
