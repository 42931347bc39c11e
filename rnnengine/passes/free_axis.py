"""Free a size that an export has written down: the batch, or the number of time steps.

The axis is followed from the inputs through every operator, by the same rules that follow time
(``Op.stream``): an operator passes if each row of its result depends on the same row of its inputs
alone. So a graph that passes computes, for N rows, what it computes for each of them. Sizes in
attributes are written anew; a constant that has one row for each of a fixed batch, all of them
equal (an initial state of zeros), is repeated instead. Everything else that ties the graph to the
written size is refused with the node's name.

Where a Reshape leaves open which of several axes of size 1 is the batch, one is tried after the
other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product as choices

import numpy as np

from rnnengine.errors import RNNEngineError, UnsupportedModelError
from rnnengine.graph import (
    Dim,
    Graph,
    Node,
    Size,
    TensorType,
    UndecidedError,
    Value,
    fresh,
    product,
    symbol,
    symbols_of,
)
from rnnengine.ops import NotAlongTime, infer_types, registry
from rnnengine.ops.registry import Array
from rnnengine.ops.types import Inference, describe

__all__ = ["free_axis", "free_batch"]

_RECURRENT = ("LSTM", "GRU", "RNN")
_CHANNELS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "BatchNormalization")
_MOST_NODES = 20_000
"""Nodes that are followed, in all ways that are tried, before a graph is refused."""


@dataclass(frozen=True)
class _Place:
    """The freed size within a shape: it is the middle factor of an axis' size."""

    axis: int
    outer: Size = 1
    inner: Size = 1


@dataclass
class _Budget:
    """How many nodes may still be followed."""

    left: int


class _TiedError(Exception):
    """A graph is tied to the written size; ``position`` says at which node."""

    def __init__(self, position: int, text: str) -> None:
        super().__init__(text)
        self.position = position


def free_batch(graph: Graph) -> Graph:
    """Return the graph with a symbol for its batch.

    Parameters
    ----------
    graph : Graph
        In settled form.

    Raises
    ------
    UnsupportedModelError
        Naming the node that ties the graph to the batch it was exported with.
    """
    taken = {n for v in graph.inputs for s in v.type.shape for n in symbols_of(s)}
    name = fresh("batch", taken)
    furthest: _TiedError | None = None
    budget = _Budget(_MOST_NODES)
    for start in _starts(graph):
        if budget.left <= 0 and furthest is not None:
            break
        try:
            return _freed(graph, start, name, budget, sequence=False)
        except _TiedError as error:
            if furthest is None or error.position > furthest.position:
                furthest = error
    if furthest is None:
        if _is_free(graph):
            return graph
        raise UnsupportedModelError(
            "batch='dynamic': no input has an axis of fixed size that could be the batch"
        )
    raise UnsupportedModelError(f"batch='dynamic': {furthest}")


def _is_free(graph: Graph) -> bool:
    """Whether the first axis, or the second, of an input has no fixed size already."""
    return any(isinstance(s, Dim) for v in graph.inputs for s in v.type.shape[:2])


def free_axis(graph: Graph, start: Mapping[str, int], name: str) -> Graph:
    """Return the graph with a symbol for the number of time steps.

    Parameters
    ----------
    graph : Graph
        In settled form.
    start : mapping of str to int
        Time axis of the inputs that have one; their sizes must be equal.
    name : str
        Of the symbol.

    Raises
    ------
    UnsupportedModelError
        Naming the node that ties the graph to the number of steps.
    """
    try:
        return _freed(graph, start, name, _Budget(_MOST_NODES), sequence=True)
    except _TiedError as error:
        raise UnsupportedModelError(str(error)) from None


def _starts(graph: Graph) -> Iterator[dict[str, int]]:
    """Axes of the inputs that may be the batch, the likeliest first.

    It is the first axis of the first input, or, in a graph with recurrent layers, the second; where
    one of the two has size 1 it is an axis of size 1.
    """
    floats = [v for v in graph.inputs if v.type.dtype.kind in "fi"]
    if not floats:
        return
    layers = any(node.op in _RECURRENT for node in graph.nodes)
    leading = [s for s in floats[0].type.shape[: 2 if layers else 1] if isinstance(s, int)]
    for size in [1] if 1 in leading else dict.fromkeys(leading):
        options: list[list[int | None]] = []
        for value in floats:
            axes: list[int | None] = [a for a, s in enumerate(value.type.shape) if s == size]
            options.append([*axes, None])
        for chosen in choices(*options):
            found = {
                v.name: axis for v, axis in zip(floats, chosen, strict=True) if axis is not None
            }
            if found and chosen[0] is not None:
                yield found


def _freed(
    graph: Graph, start: Mapping[str, int], name: str, budget: _Budget, *, sequence: bool
) -> Graph:
    """Try the ways in which Reshapes may be read, until one passes."""
    script: list[int] = []
    types = infer_types(graph)
    furthest: _TiedError | None = None
    while furthest is None or budget.left > 0:
        walk = _Walk(graph, types, start, name, script, sequence)
        try:
            return walk.run()
        except _TiedError as error:
            if furthest is None or error.position > furthest.position:
                furthest = error
        budget.left -= len(walk.nodes)
        script = walk.script
        while script and script[-1] + 1 >= walk.options[len(script) - 1]:
            script.pop()
        if not script:
            break
        script[-1] += 1
    assert furthest is not None
    raise furthest


class _Walk:
    """One reading of a graph, node by node."""

    def __init__(
        self,
        graph: Graph,
        types: Mapping[str, TensorType],
        start: Mapping[str, int],
        name: str,
        script: list[int],
        sequence: bool,
    ) -> None:
        self.graph, self.types, self.sequence = graph, types, sequence
        self.size = symbol(name)
        self.script, self.options, self._asked = list(script), [0] * len(script), 0
        self.places: dict[str, _Place] = {n: _Place(axis) for n, axis in start.items()}
        self.written = {int(types[n].shape[a]) for n, a in start.items()}
        inputs = [self._input(value) for value in graph.inputs]
        constants = {k: np.asarray(v) for k, v in graph.constants.items()}
        self.inference = Inference(inputs, constants)
        self.constants: dict[str, Array] = {}
        self.inputs = tuple(inputs)
        self.nodes: list[Node] = []
        self._taken = set(types)
        self._names = {node.name for node in graph.nodes}
        self._repeated: dict[tuple[str, int], str] = {}

    def run(self) -> Graph:
        if len(self.written) != 1:
            raise _TiedError(-1, f"the inputs' sizes {sorted(self.written)} differ")
        (self.old,) = self.written
        for position, node in enumerate(self.graph.nodes):
            try:
                self._node(node)
            except (NotAlongTime, RNNEngineError, UndecidedError) as error:
                text = str(error)
                where = "" if text.startswith("node ") else f"{describe(node)}: "
                raise _TiedError(position, f"{where}{text}") from None
        if not self.sequence:
            for output in self.graph.outputs:
                if output not in self.places:
                    raise _TiedError(
                        len(self.graph.nodes), f"output {output!r} is the same for all rows"
                    )
        return self.graph.with_(
            inputs=self.inputs,
            nodes=tuple(self.nodes),
            constants={**self.graph.constants, **self.constants},
        )

    def _input(self, value: Value) -> Value:
        place = self.places.get(value.name)
        if place is None:
            return value
        shape: list[Size] = list(value.type.shape)
        shape[place.axis] = self.size
        return Value(value.name, TensorType(value.type.dtype, tuple(shape)))

    def _choose(self, count: int) -> int:
        """Which of some readings to take; the first unless the script says another."""
        if self._asked == len(self.script):
            self.script.append(0)
            self.options.append(count)
        self.options[self._asked] = count
        self._asked += 1
        return self.script[self._asked - 1]

    def _node(self, node: Node) -> None:
        tracked = [self.places.get(n) if n is not None else None for n in node.inputs]
        if not any(tracked):
            self._put(node)
            return
        if node.op in _RECURRENT and not self.sequence:
            node = self._with_rows(node, {6: 1, 7: 1})
        elif node.op == "Concat":
            node = self._with_rows(node, self._concat_rows(tracked))
        tracked = [self.places.get(n) if n is not None else None for n in node.inputs]
        if node.op == "Reshape":
            self._reshape(node, tracked[0])
            return
        axes = [place.axis if place is not None else None for place in tracked]
        factors = {(p.outer, p.inner) for p in tracked if p is not None}
        if len(factors) > 1:
            raise NotAlongTime(f"the rows of the batch lie differently in the inputs of {node.op}")
        ((outer, inner),) = factors
        results = self._followed(node, axes)
        found: dict[str, _Place] = {}
        for name, axis in zip(node.outputs, results, strict=False):
            if name is None or axis is None:
                continue
            if self.types[name].shape[axis] != outer * self.old * inner:
                raise NotAlongTime(f"{node.op} changes the size of the axis")
            found[name] = _Place(axis, outer, inner)
        self._put(self._rewritten(node, found), found)

    def _followed(self, node: Node, axes: list[int | None]) -> list[int | None]:
        """Where the axis goes."""
        if node.op in _RECURRENT:
            if self.sequence and axes[0] == 0 and not any(a is not None for a in axes[1:]):
                return [0, *[None] * (len(node.outputs) - 1)]
            if not self.sequence and axes[0] != 1:
                raise NotAlongTime(f"{node.op} takes the batch on axis 1 of its input")
        if node.op in _CHANNELS and axes[0] == 1:
            raise NotAlongTime(f"{node.op} takes its channels on axis 1")
        kinds = [self._kind(name) for name in node.inputs]
        known = [self._known(name) for name in node.inputs]
        return registry.get(node.op).stream(node.attrs, kinds, known, axes)

    def _kind(self, name: str | None) -> TensorType | None:
        """Type before the size is freed."""
        return None if name is None else self.types.get(name) or self.inference.types[name]

    def _known(self, name: str | None) -> Array | None:
        constant = self.graph.constants.get(name) if name is not None else None
        return None if constant is None else np.asarray(constant)

    def _concat_rows(self, tracked: list[_Place | None]) -> dict[int, int]:
        """Parts of a Concat that are the same for all rows."""
        found = {place for place in tracked if place is not None}
        if len(found) != 1 or next(iter(found)) != _Place(next(iter(found)).axis):
            return {}
        axis = next(iter(found)).axis
        return {i: axis for i, place in enumerate(tracked) if place is None}

    def _with_rows(self, node: Node, operands: Mapping[int, int]) -> Node:
        """Repeat operands that are the same for all rows, along the given axes."""
        inputs = list(node.inputs)
        for position, axis in operands.items():
            name = inputs[position] if position < len(inputs) else None
            if name is not None and name not in self.places:
                inputs[position] = self._rows(name, axis)
        return replace(node, inputs=tuple(inputs))

    def _rows(self, name: str, axis: int) -> str:
        if (name, axis) in self._repeated:
            return self._repeated[name, axis]
        kind = self.inference.types[name]
        source = name
        if kind.shape[axis] != 1:
            value = self._known(name)
            rows = None if value is None else np.take(value, [0], axis)
            if value is None or rows is None or not np.array_equal(rows + 0 * value, value):
                raise NotAlongTime(
                    f"{name!r} is {kind}, with a row of its own for each of {kind.shape[axis]}"
                )
            source = fresh(f"{name}.row", self._taken)
            self.constants[source] = np.ascontiguousarray(rows)
            self.inference.add_constant(source, self.constants[source])
        shape = (*kind.shape[:axis], self.size, *kind.shape[axis + 1 :])
        result = fresh(f"{name}.rows", self._taken)
        made = Node("Expand", fresh(f"{name}.rows", self._names), (source,), (result,),
                    {"shape": shape})  # fmt: skip
        self.inference.add(made)
        self.nodes.append(made)
        self._repeated[name, axis] = result
        self.places[result] = _Place(axis)
        old = (*kind.shape[:axis], self.old, *kind.shape[axis + 1 :])
        self.types = {**self.types, result: TensorType(kind.dtype, old)}
        return result

    def _reshape(self, node: Node, place: _Place | None) -> None:
        source, result = node.inputs[0], node.outputs[0]
        assert source is not None and result is not None and place is not None
        before, after = self.types[source].shape, tuple(node.attrs["shape"])
        found = self._readings(before, after, place)
        if not found:
            raise NotAlongTime(f"Reshape from {before} to {after} mixes the rows with other axes")
        chosen = found[self._choose(len(found)) if len(found) > 1 else 0]
        shape = list(after)
        shape[chosen.axis] = chosen.outer * self.size * chosen.inner
        self._put(replace(node, attrs={"shape": tuple(shape)}), {result: chosen})

    def _readings(
        self, before: tuple[Size, ...], after: tuple[Size, ...], place: _Place
    ) -> list[_Place]:
        """Where in the new shape the rows can be, the likeliest first."""
        leading = product(before[: place.axis]) * place.outer
        trailing = product(before[place.axis + 1 :]) * place.inner
        found = []
        for axis, size in enumerate(after):
            try:
                outer = _divided(leading, product(after[:axis]))
                inner = _divided(trailing, product(after[axis + 1 :]))
            except UndecidedError:
                continue
            if outer is not None and inner is not None and outer * self.old * inner == size:
                found.append(_Place(axis, outer, inner))
        return sorted(
            found, key=lambda p: ((p.outer, p.inner) != (1, 1), p.axis != place.axis, p.axis)
        )

    def _rewritten(self, node: Node, found: Mapping[str, _Place]) -> Node:
        """The node with the freed size in its attributes."""
        result = node.outputs[0]
        place = found.get(result) if result is not None else None
        attrs = dict(node.attrs)
        if place is None:
            return node
        size = place.outer * self.size * place.inner
        if node.op == "Expand":
            shape = list(attrs["shape"])
            shape[place.axis - (len(self.types[result or ""].shape) - len(shape))] = size
            return replace(node, attrs={**attrs, "shape": tuple(shape)})
        if node.op == "Slice" and place.axis in attrs["axes"]:
            at = attrs["axes"].index(place.axis)
            if attrs["sizes"][at] != place.outer * self.old * place.inner:
                raise NotAlongTime("Slice takes some of the rows")
            sizes, starts = list(attrs["sizes"]), list(attrs["starts"])
            sizes[at] = size
            starts[at] = size - 1 if attrs["steps"][at] < 0 else starts[at]
            return replace(node, attrs={**attrs, "sizes": tuple(sizes), "starts": tuple(starts)})
        return node

    def _put(self, node: Node, found: Mapping[str, _Place] | None = None) -> None:
        self.inference.add(node)
        self.nodes.append(node)
        for name, place in (found or {}).items():
            shape = self.inference.types[name].shape
            if shape[place.axis] != place.outer * self.size * place.inner:
                raise NotAlongTime(f"{node.op} does not follow the size")
            self.places[name] = place


def _divided(a: Size, b: Size) -> Size | None:
    """A / b where it is a whole number."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b if b and a % b == 0 else None
    return a // b
