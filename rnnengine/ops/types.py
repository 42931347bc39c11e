"""Types and known values of everything in a graph, worked out node by node."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from rnnengine.errors import ModelFormatError, RNNEngineError, ShapeError, UnsupportedModelError
from rnnengine.graph import Graph, Node, TensorType, UndecidedError, Value, as_integers
from rnnengine.ops import registry
from rnnengine.ops.registry import Array
from rnnengine.ops.sizes import as_sizes, check_size, fixed, size_array

__all__ = ["Inference", "describe", "infer_types"]

_LARGEST_FOLD = 1 << 22
"""Elements a computed constant may have, unless the graph's own constants are larger."""


def describe(node: Node) -> str:
    """Name a node the way error messages do."""
    return f"node {node.name!r} ({node.op})"


class Inference:
    """Types of all values seen so far, and the values themselves where they are known.

    A known value is an array, of objects where it holds symbolic sizes. Floats are kept as
    computed, in float64, so that a chain of constant operators rounds only once, when stored.

    Parameters
    ----------
    inputs : iterable of Value
    constants : mapping of str to array
    largest : int, optional
        Elements of the largest value worth working out; by default as much as folding may take.
    """

    def __init__(
        self,
        inputs: Iterable[Value],
        constants: Mapping[str, Array],
        *,
        largest: int | None = None,
    ) -> None:
        self.types: dict[str, TensorType] = {v.name: v.type for v in inputs}
        self.values: dict[str, Array] = {}
        biggest = max((a.size for a in constants.values()), default=0)
        self._largest = max(_LARGEST_FOLD, 4 * biggest) if largest is None else largest
        total = sum(a.size for a in constants.values())
        self._budget = 16 * max(_LARGEST_FOLD, self._largest, total)
        for name, value in constants.items():
            self.add_constant(name, value)

    def add_constant(self, name: str, value: Array) -> None:
        """Make a constant known."""
        self.types[name] = TensorType(value.dtype, tuple(value.shape))
        self.values[name] = value

    def add(self, node: Node) -> None:
        """Work out one node, whose inputs must have been seen.

        Raises
        ------
        ShapeError, UnsupportedModelError, ModelFormatError
            With the node's name in front.
        """
        op = registry.get(node.op, describe(node))
        missing = [n for n in node.inputs if n is not None and n not in self.types]
        if missing:
            raise ModelFormatError(f"{describe(node)}: nothing computes its input {missing[0]!r}")
        types = [self.types[n] if n is not None else None for n in node.inputs]
        known = [self.values.get(n) if n is not None else None for n in node.inputs]
        try:
            outputs = op.infer(node.attrs, types, known)
            for output in outputs:
                for size in output.shape:
                    if isinstance(check_size(size), int) and size < 0:
                        raise ShapeError(f"the result would be {output}, which has a negative size")
            values = self._evaluate(op, node, types, known, outputs)
        except RNNEngineError as error:
            raise _named(error, node) from None
        except UndecidedError as error:
            raise UnsupportedModelError(
                f"{describe(node)}: {error} cannot be decided while the sizes are symbolic; "
                "declare fixed sizes for the inputs"
            ) from None
        if len(node.outputs) > len(outputs):
            raise ModelFormatError(
                f"{describe(node)}: has {len(node.outputs)} outputs; {node.op} gives {len(outputs)}"
            )
        for i, name in enumerate(node.outputs):
            if name is None:
                continue
            self.types[name] = outputs[i]
            if values is not None:
                self.values[name] = values[i]

    def _evaluate(
        self,
        op: registry.Op,
        node: Node,
        types: registry.Types,
        known: registry.Known,
        outputs: list[TensorType],
    ) -> list[Array] | None:
        """Values of the outputs where they follow from known values or from the types."""
        if op.value is not None:
            return op.value(node.attrs, types, known)
        if any(v is None and n is not None for v, n in zip(known, node.inputs, strict=True)):
            return None
        symbolic = any(v is not None and v.dtype == object for v in known)
        if (symbolic and not op.symbolic) or not self._affordable(outputs):
            return None
        try:
            values = op.reference(node.attrs, [_operand(op, v) for v in known])
        except UndecidedError:
            return None
        return [_tidy(v, t) for v, t in zip(values, outputs, strict=False)]

    def _affordable(self, outputs: list[TensorType]) -> bool:
        """Whether the outputs are small enough to compute while loading."""
        if not all(fixed(t.shape) for t in outputs):
            return False
        total = sum(math.prod(int(s) for s in t.shape) for t in outputs)
        if total > self._largest or total > self._budget:
            return False
        self._budget -= total
        return True


def _operand(op: registry.Op, value: Array | None) -> Array | None:
    """A known value for the reference; integers with scales stay such where they only move."""
    if value is None or (op.moves and as_integers(value) is not None):
        return value
    return np.asarray(value)


def _tidy(value: Array, declared: TensorType) -> Array:
    """Objects that are all integers become an integer array; integers keep the declared type."""
    if as_integers(value) is not None:
        return value
    if value.dtype == object:
        sizes = [check_size(s) for s in as_sizes(value)]
        value = size_array(sizes).reshape(value.shape)
    if value.dtype.kind in "iu" and value.dtype != declared.dtype and declared.dtype.kind in "iu":
        value = value.astype(declared.dtype)
    return np.asarray(value)


def _named(error: RNNEngineError, node: Node) -> RNNEngineError:
    """Put the node's name in front of the message, keeping type and fields."""
    error.args = (f"{describe(node)}: {error}",)
    return error


def infer_types(graph: Graph) -> dict[str, TensorType]:
    """Return the type of every value of a graph.

    Raises
    ------
    ShapeError, UnsupportedModelError, ModelFormatError
        Naming the node that is contradictory or not supported.
    """
    if "types" not in graph.derived:
        inference = Inference(graph.inputs, graph.constants)
        for node in graph.nodes:
            inference.add(node)
        graph.derived["types"] = inference.types
    return dict(graph.derived["types"])
