"""Write a graph anew for another size of one axis, following the axis node by node."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnengine.errors import RNNEngineError
from rnnengine.graph import (
    Graph,
    Node,
    Size,
    TensorType,
    UndecidedError,
    Value,
    fresh,
    product,
    symbol,
)
from rnnengine.ops import NotAlongTime, registry
from rnnengine.ops.registry import Array
from rnnengine.ops.types import Inference, describe
from rnnengine.records import record, replace

__all__ = ["TiedError", "Walk"]

_RECURRENT = ("LSTM", "GRU", "RNN")
_CHANNELS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "BatchNormalization")


@record
class _Place:
    """The freed size within a shape: it is the middle factor of an axis' size."""

    axis: int
    outer: Size = 1
    inner: Size = 1


class TiedError(Exception):
    """A graph is tied to the written size; ``position`` says at which node."""

    def __init__(self, position: int, text: str) -> None:
        super().__init__(text)
        self.position = position


class Walk:
    """One reading of a graph, node by node.

    Parameters
    ----------
    graph : Graph
        In settled form.
    types : mapping of str to TensorType
        Of its values.
    start : mapping of str to int
        The axis in the inputs that have it.
    name : str
        Symbol of the new size.
    script : list of int
        Which reading of each ambiguous Reshape to take, in turn; the first beyond its end.
    sequence : bool
        The axis is the time of recurrent nodes, not their batch.
    """

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
        """Return the graph for the new size; :class:`TiedError` where it is tied to the old one."""
        if len(self.written) != 1:
            raise TiedError(-1, f"the inputs' sizes {sorted(self.written)} differ")
        (self.old,) = self.written
        for position, node in enumerate(self.graph.nodes):
            try:
                self._node(node)
            except (NotAlongTime, RNNEngineError, UndecidedError) as error:
                text = str(error)
                where = "" if text.startswith("node ") else f"{describe(node)}: "
                raise TiedError(position, f"{where}{text}") from None
        if not self.sequence:
            for output in self.graph.outputs:
                if output not in self.places:
                    raise TiedError(
                        len(self.graph.nodes), f"output {output!r} is the same for all rows"
                    )
                if self.places[output] != _Place(self.places[output].axis):
                    raise TiedError(
                        len(self.graph.nodes),
                        f"output {output!r} has no axis for the rows alone",
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
        if isinstance(chosen, int):
            self._move(node, before, after, place, chosen)
            return
        shape = list(after)
        shape[chosen.axis] = chosen.outer * self.size * chosen.inner
        self._put(replace(node, attrs={"shape": tuple(shape)}), {result: chosen})

    def _readings(
        self, before: tuple[Size, ...], after: tuple[Size, ...], place: _Place
    ) -> list[_Place | int]:
        """Where in the new shape the rows can be, the likeliest first.

        A place says where they come to lie if the order of the elements stays. A number is an axis
        of size 1 that they are moved to: where one row is all there is, exporters write that as a
        Reshape too.
        """
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
        found.sort(key=lambda p: (p.axis != place.axis, p.axis))
        whole = [p for p in found if (p.outer, p.inner) == (1, 1)]
        there = {p.axis for p in whole}
        moved = [a for a, size in enumerate(after) if self.old == size == 1 and a not in there]
        return [*whole, *moved, *(p for p in found if p.axis not in there)]

    def _move(
        self,
        node: Node,
        before: tuple[Size, ...],
        after: tuple[Size, ...],
        place: _Place,
        axis: int,
    ) -> None:
        """Reshape every row by itself, and put the rows on an axis of the result."""
        outer, inner = ((f,) if f != 1 else () for f in (place.outer, place.inner))
        front, back = (*before[: place.axis], *outer), (*inner, *before[place.axis + 1 :])
        rest = (*after[:axis], *after[axis + 1 :])
        steps: list[tuple[str, dict[str, tuple[Size, ...]]]] = []
        if outer or inner:
            steps.append(("Reshape", {"shape": (*front, self.size, *back)}))
        if (*front, *back) == rest:
            perm = [i for i in range(len(after)) if i != len(front)]
            perm.insert(axis, len(front))
            steps.append(("Transpose", {"perm": tuple(perm)}))
        else:
            others = [i for i in range(len(front) + 1 + len(back)) if i != len(front)]
            steps.append(("Transpose", {"perm": (len(front), *others)}))
            steps.append(("Reshape", {"shape": (self.size, *rest)}))
            perm = [*range(1, axis + 1), 0, *range(axis + 1, len(after))]
            steps.append(("Transpose", {"perm": tuple(perm)}))
        source, result = node.inputs[0], node.outputs[0]
        assert result is not None
        for op, attrs in steps[:-1]:
            name = fresh(f"{node.name}.row", self._names)
            value = fresh(f"{result}.row", self._taken)
            self._put(Node(op, name, (source,), (value,), attrs))
            source = value
        op, attrs = steps[-1]
        self._put(Node(op, node.name, (source,), (result,), attrs), {result: _Place(axis)})

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
