"""Finding shapes of arithmetic in a graph: an index of its values, and patterns over them.

A pattern says what computes a value. Addition and multiplication match with their operands either
way round, and every way that fits is tried, so a pattern is written once for all orders that
exporters use. What the pattern leaves open is a :class:`Var`, which binds to the name of a value; a
variable that occurs twice must be the same value both times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import permutations
from typing import TypeAlias

import numpy as np

from rnnengine.graph import Graph, Node, TensorType
from rnnengine.ops import infer_types
from rnnengine.ops.registry import Array
from rnnengine.records import record

__all__ = ["Index", "Is", "Number", "Pattern", "Var", "match"]

_COMMUTATIVE = frozenset(["Add", "Mul"])


def _same_bits(a: Array, b: Array) -> bool:
    """Whether two constants of one type and shape are the same; only asked where there are two."""
    return a is b or np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


class Index:
    """A graph in settled form with its values by name.

    Attributes
    ----------
    graph : Graph
    types : mapping of str to TensorType
    makers : mapping of str to Node
        The node that computes each value.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.types: Mapping[str, TensorType] = infer_types(graph)
        self.makers: Mapping[str, Node] = graph.producers()
        self._aliases: dict[str, str] = {}

    @cached_property
    def _order(self) -> Mapping[str, int]:
        return {node.name: i for i, node in enumerate(self.graph.nodes)}

    @cached_property
    def readers(self) -> Mapping[str, list[Node]]:
        """The nodes that read each value."""
        return self.graph.consumers()

    @cached_property
    def _by_type(self) -> dict[tuple[str, tuple[int, ...]], list[str]]:
        return {}

    def constant(self, name: str | None) -> Array | None:
        """Value of a constant, None for anything else."""
        return self.graph.constants.get(name) if name is not None else None

    def alias(self, name: str) -> str:
        """One name for all constants of the same content."""
        if name not in self._aliases:
            constants = self.graph.constants
            value = constants[name]
            alike = self._by_type.setdefault((str(value.dtype), value.shape), [])
            same = (other for other in alike if _same_bits(constants[other], value))
            self._aliases[name] = found = next(same, name)
            if found is name:
                alike.append(name)
        return self._aliases[name]

    def depends(self, start: str, on: set[str]) -> bool:
        """Whether a value is computed from any of the others."""
        seen: set[str] = set()
        stack = [start]
        while stack:
            name = stack.pop()
            if name in on:
                return True
            node = self.makers.get(name)
            if name in seen or node is None:
                continue
            seen.add(name)
            stack.extend(used for used in node.inputs if used is not None)
        return False

    def region(self, ends: Sequence[str], starts: set[str]) -> list[Node]:
        """Nodes between the given values, in the order of the graph."""
        found: dict[str, Node] = {}
        stack = list(ends)
        while stack:
            node = self.makers.get(stack.pop())
            if node is None or node.name in found:
                continue
            found[node.name] = node
            stack.extend(n for n in node.inputs if n is not None and n not in starts)
        return sorted(found.values(), key=lambda node: self._order[node.name])


@record
class Var:
    """Any value; its name is bound."""

    name: str


@record
class Number:
    """A constant all of whose elements are this number."""

    value: float


@record
class Is:
    """A value computed by one of some operators from values that match in turn.

    Attributes
    ----------
    ops : str
        Operators, separated by bars.
    args : tuple of Pattern
        One for each input.
    node : str
        Name that the node is bound to; empty for none.
    """

    ops: str
    args: tuple[Pattern, ...]
    node: str = ""


Pattern: TypeAlias = Var | Number | Is
Bindings: TypeAlias = Mapping[str, str]


def match(
    index: Index, pattern: Pattern, value: str, bound: Bindings | None = None
) -> Iterator[dict[str, str]]:
    """Yield every way in which a value matches: names of variables and nodes to what they are.

    Nodes are bound to the name of the value they compute.
    """
    known = dict(bound or {})
    if isinstance(pattern, Var):
        if known.setdefault(pattern.name, value) == value:
            yield known
        return
    if isinstance(pattern, Number):
        constant = index.constant(value)
        if constant is not None and constant.size and bool(np.all(constant == pattern.value)):
            yield known
        return
    node = index.makers.get(value)
    if node is None or node.op not in pattern.ops.split("|"):
        return
    inputs = [name for name in node.inputs if name is not None]
    if len(inputs) != len(pattern.args) or len(inputs) != len(node.inputs):
        return
    if pattern.node and known.setdefault(pattern.node, value) != value:
        return
    orders = permutations(inputs) if node.op in _COMMUTATIVE else [tuple(inputs)]
    for order in dict.fromkeys(orders):
        yield from _all(index, list(zip(pattern.args, order, strict=True)), known)


def _all(
    index: Index, pairs: list[tuple[Pattern, str]], bound: dict[str, str]
) -> Iterator[dict[str, str]]:
    if not pairs:
        yield bound
        return
    (pattern, value), *rest = pairs
    for found in match(index, pattern, value, bound):
        yield from _all(index, rest, found)
