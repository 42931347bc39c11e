"""Pairs of inputs and outputs that carry a graph's state from call to call."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Graph, Node, Size, State, TensorType, substitute, symbols_of
from rnnengine.ops import infer_types, registry
from rnnengine.ops.registry import Array
from rnnengine.passes.fold import fold

__all__ = ["find_pairs", "given_pairs"]

_LAYOUT = frozenset(
    ["Transpose", "Squeeze", "Unsqueeze", "Reshape", "Slice", "Concat", "Identity", "Gather"]
)
_RECURRENT = ("LSTM", "GRU", "RNN")
_LARGEST_STATE = 1 << 22
"""Elements of the largest input that is taken for a state."""
_PLACE = re.compile(r"(?P<name>.+?)\[(?P<index>\d+)(?::(?P<stop>\d+))?\]$")


def given_pairs(graph: Graph, mapping: Mapping[str, str]) -> tuple[State, ...]:
    """States as the caller says them: ``{"output" or "output[2]" or "output[1:3]": "input"}``.

    Raises
    ------
    UnsupportedModelError
        Naming a name that does not exist, or shapes that do not fit.
    """
    types = infer_types(graph)
    inputs = {v.name: v.type for v in graph.inputs}
    states = []
    for place, target in mapping.items():
        match = None if place in graph.outputs else _PLACE.match(place)
        output = match["name"] if match else place
        if output not in graph.outputs or target not in inputs:
            raise UnsupportedModelError(
                f"state {place!r} -> {target!r}: outputs are {', '.join(graph.outputs)}; "
                f"inputs are {', '.join(inputs)}"
            )
        shape = types[output].shape
        start: tuple[int, ...] | None = None
        if match:
            first = int(match["index"])
            count = int(match["stop"]) - first if match["stop"] else 1
            start = (first, *[0] * (len(shape) - 1))
            sliced = (count, *shape[1:])
            shape = shape[1:] if not match["stop"] and inputs[target].shape == shape[1:] else sliced
        if shape != inputs[target].shape:
            raise UnsupportedModelError(
                f"state {place!r} -> {target!r}: shapes {shape} and {inputs[target].shape} differ"
            )
        states.append(State(target, target, output, start, None, implicit=False))
    return tuple(states)


def find_pairs(graph: Graph) -> tuple[State, ...]:
    """States that the graph's structure shows.

    An input whose elements reach a recurrent node's initial state through layout operators only is
    paired with the output, or slice of one, that shows the same elements of the node's final state.
    Elements are followed one by one, by sending their numbers through the layout operators.

    Raises
    ------
    UnsupportedModelError
        Where such an input exists, but its final state comes out scattered or not at all.
    """
    sizes = _trial_sizes(graph)
    concrete = _with_sizes(graph, sizes)
    types = infer_types(concrete)
    found = {v.name: _initial_homes(concrete, types, v.name) for v in concrete.inputs}
    homes = {name: places for name, places in found.items() if places is not None}
    finals = _final_places(concrete, types) if homes else {}
    return tuple(_pair(types, name, places, finals) for name, places in homes.items())


def _trial_sizes(graph: Graph) -> dict[str, Size]:
    """Distinct small primes for the symbols, so that different axes cannot be mistaken."""
    primes = (n for n in itertools.count(2) if all(n % d for d in range(2, n)))
    names = sorted({n for v in graph.inputs for s in v.type.shape for n in symbols_of(s)})
    return dict(zip(names, primes, strict=False))


def _with_sizes(graph: Graph, sizes: Mapping[str, Size]) -> Graph:
    inputs = tuple(
        type(v)(v.name, TensorType(v.type.dtype, tuple(substitute(s, sizes) for s in v.type.shape)))
        for v in graph.inputs
    )
    nodes = tuple(
        Node(n.op, n.name, n.inputs, n.outputs, {k: _fixed(v, sizes) for k, v in n.attrs.items()})
        for n in graph.nodes
    )
    return fold(graph.with_(inputs=inputs, nodes=nodes))


def _fixed(value: object, sizes: Mapping[str, Size]) -> object:
    if isinstance(value, tuple):
        return tuple(substitute(v, sizes) if not isinstance(v, tuple | str) else v for v in value)
    return value


def _send(graph: Graph, numbers: dict[str, Array]) -> dict[str, Array]:
    """Send element numbers through layout operators; -1 stands for anything else."""
    types = infer_types(graph)
    values = dict(numbers)
    for node in graph.nodes:
        if node.op not in _LAYOUT or not any(n in values for n in node.inputs if n):
            continue
        given: list[Array | None] = []
        for position, name in enumerate(node.inputs):
            if name is None:
                given.append(None)
            elif name in values:
                given.append(values[name])
            elif node.op == "Concat" or position == 0:
                shape = _shape(types, name)
                given.append(np.full(shape, -1, np.int64))
            else:
                given.append(graph.constants.get(name))
        results = registry.get(node.op).reference(node.attrs, given)
        for name, result in zip(node.outputs, results, strict=False):
            if name is not None and name not in values:
                values[name] = result
    return values


def _shape(types: Mapping[str, TensorType], name: str) -> list[int]:
    return [int(s) for s in types[name].shape]


def _carried(graph: Graph) -> Iterable[tuple[Node, str, int, int]]:
    for node in graph.nodes:
        if node.op in _RECURRENT:
            yield node, "h", 6, 1
            if node.op == "LSTM":
                yield node, "c", 7, 2


def _initial_homes(
    graph: Graph, types: Mapping[str, TensorType], name: str
) -> dict[int, tuple[str, str, int]] | None:
    """For each element of an input, the state element it initialises; None where it does not."""
    count = math.prod(_shape(types, name))
    if count > _LARGEST_STATE:
        return None
    sent = _send(graph, {name: np.arange(count).reshape(_shape(types, name))})
    homes: dict[int, tuple[str, str, int]] = {}
    for node, letter, operand, _ in _carried(graph):
        source = node.inputs[operand] if operand < len(node.inputs) else None
        if source is not None and source in sent:
            for place, element in enumerate(sent[source].reshape(-1).tolist()):
                homes.setdefault(element, (node.name, letter, place))
    homes.pop(-1, None)
    return homes if len(homes) == count and count else None


def _final_places(
    graph: Graph, types: Mapping[str, TensorType]
) -> dict[tuple[str, str, int], tuple[str, int]]:
    """For each element of a final state, the graph output and the position that show it."""
    numbers: dict[str, Array] = {}
    labels: list[tuple[str, str, int]] = []
    for node, letter, _, result in _carried(graph):
        name = node.outputs[result] if result < len(node.outputs) else None
        if name is not None:
            shape = _shape(types, name)
            count = int(np.prod(shape))
            numbers[name] = np.arange(len(labels), len(labels) + count).reshape(shape)
            labels += [(node.name, letter, i) for i in range(count)]
    sent = _send(graph, numbers)
    places: dict[tuple[str, str, int], tuple[str, int]] = {}
    for output in graph.outputs:
        if output in sent:
            for position, element in enumerate(sent[output].reshape(-1).tolist()):
                if element >= 0:
                    places.setdefault(labels[element], (output, position))
    return places


def _pair(
    types: Mapping[str, TensorType],
    name: str,
    homes: Mapping[int, tuple[str, str, int]],
    finals: Mapping[tuple[str, str, int], tuple[str, int]],
) -> State:
    found = [finals.get(homes[i]) for i in range(len(homes))]
    first = found[0]
    outputs = {place[0] for place in found if place}
    if first is None or None in found or len(outputs) != 1:
        node = homes[0][0]
        raise UnsupportedModelError(
            f"input {name!r} is the initial state of {node!r}, but no output shows that node's "
            f"whole final state; say the pair with stream(state={{'<output>': {name!r}}})"
        )
    output, start = first
    positions = [place[1] for place in found if place]
    if positions != list(range(start, start + len(positions))):
        raise UnsupportedModelError(
            f"input {name!r} comes back scattered over output {output!r}; say the pair with "
            f"stream(state={{...}}), or change the model to return the state in its own layout"
        )
    shape = _shape(types, output)
    if len(positions) == int(np.prod(shape)):
        return State(name, name, output, None, None, implicit=False)
    row = int(np.prod(shape[1:]))
    if start % row:
        raise UnsupportedModelError(
            f"input {name!r} comes back from the middle of a row of output {output!r}; only slices "
            "along its first axis are followed"
        )
    return State(name, name, output, (start // row, *[0] * (len(shape) - 1)), None, implicit=False)
