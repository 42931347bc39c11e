"""Pairs of inputs and outputs that carry a graph's state from call to call."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Dim, Graph, Node, Size, State, TensorType, symbols_of
from rnnengine.ops import infer_types, registry
from rnnengine.ops.registry import Array
from rnnengine.passes.fix_sizes import fix_sizes
from rnnengine.passes.fold import fold
from rnnengine.passes.name_state import by_name, by_shape

__all__ = ["LAYOUT", "find_pairs", "given_pairs", "structural_pairs"]

LAYOUT = frozenset(
    ["Transpose", "Squeeze", "Unsqueeze", "Reshape", "Slice", "Concat", "Identity", "Gather"]
)
"""Operators that only move elements; the others are computations."""
_RECURRENT = ("LSTM", "GRU", "RNN")
_PLACE = r"(?P<name>.+?)\[(?P<index>\d{1,9})(?::(?P<stop>\d{1,9}))?\]$"
_TRIALS = ((7, 11, 13, 17, 19, 23, 29, 31), (11, 7, 17, 13, 23, 19, 31, 29))
"""Two sets of sizes for the symbols: a pair must be the same for both."""

_LARGEST = 1 << 22
"""Elements of the largest value whose elements are followed one by one."""

Homes = dict[int, tuple[str, str, int]]
"""For each element of an input, the state element it initialises: node, letter, place."""

Finals = Mapping[tuple[str, str, int], tuple[str, int]]
"""For each element of a final state, the graph output and the position that show it."""


def given_pairs(graph: Graph, mapping: Mapping[str, str]) -> tuple[State, ...]:
    """States as the caller says them: ``{"output" or "output[2]" or "output[1:3]": "input"}``.

    Raises
    ------
    TypeError
        The mapping is not one of strings to strings.
    UnsupportedModelError
        Naming a name that does not exist, an input said twice, a slice outside its output, or
        shapes or element types that do not fit.
    """
    _check_mapping(mapping)
    types = infer_types(graph)
    inputs = {v.name: v.type for v in graph.inputs}
    states: list[State] = []
    for place, target in mapping.items():
        match = None if place in graph.outputs else re.match(_PLACE, place, re.DOTALL)
        output = match["name"] if match else place
        if output not in graph.outputs or target not in inputs:
            raise UnsupportedModelError(
                f"state {place!r} -> {target!r}: outputs are {', '.join(graph.outputs)}; "
                f"inputs are {', '.join(inputs)}"
            )
        if any(state.input == target for state in states):
            raise UnsupportedModelError(f"state {place!r} -> {target!r}: the input is said twice")
        found, wanted = types[output], inputs[target]
        start: tuple[int, ...] | None = None
        if match:
            start, found = _said_slice(place, match, found, wanted)
        if found.dtype != np.float32 or found != wanted:
            raise UnsupportedModelError(
                f"state {place!r} -> {target!r}: shapes {found.shape} and {wanted.shape} differ"
                if found.shape != wanted.shape
                else f"state {place!r} -> {target!r}: {found} and {wanted}; accepted: float32"
            )
        states.append(State(target, target, output, start, None, implicit=False))
    return tuple(states)


def _check_mapping(mapping: object) -> None:
    pairs = mapping.items() if isinstance(mapping, Mapping) else ((None, None),)
    if not all(isinstance(name, str) for pair in pairs for name in pair):
        raise TypeError("state: expected a dict of names, {'<output>': '<input>'}")


def _said_slice(
    place: str, match: re.Match[str], output: TensorType, wanted: TensorType
) -> tuple[tuple[int, ...], TensorType]:
    """Start and type of a slice of an output along its first axis."""
    first = int(match["index"])
    stop = int(match["stop"]) if match["stop"] else first + 1
    size = output.shape[0] if output.shape else 0
    if isinstance(size, Dim) or not first < stop <= size:
        raise UnsupportedModelError(
            f"state {place!r}: output is {output}; expected places within a first axis of fixed "
            "size"
        )
    rest = output.shape[1:]
    single = not match["stop"] and wanted.shape == rest
    shape = rest if single else (stop - first, *rest)
    return (first, *[0] * len(rest)), TensorType(output.dtype, shape)


def find_pairs(graph: Graph) -> tuple[State, ...]:
    """States that the graph's structure shows, then those that names and shapes show.

    An input whose elements reach a recurrent node's initial state through layout operators only is
    paired with the output, or slice of one, that shows the same elements of the node's final state.
    Elements are followed one by one, by sending their numbers through the layout operators, at two
    sets of sizes. What names and shapes say is in :mod:`rnnengine.passes.name_state`.

    Raises
    ------
    UnsupportedModelError
        Where such an input exists, but its final state comes out scattered or not at all, or in a
        place that depends on the sizes; or where names leave several outputs open.
    """
    states, failures = _by_structure(graph)
    types = infer_types(graph)
    named = by_name(graph, types, states)
    shown = {state.input for state in named}
    for name, error in failures.items():
        if name not in shown:
            raise error
    states = (*states, *named)
    states = (*states, *by_shape(graph, types, states))
    order = {value.name: i for i, value in enumerate(graph.inputs)}
    return tuple(sorted(states, key=lambda state: order[state.input]))


def structural_pairs(graph: Graph) -> tuple[State, ...]:
    """States that the graph's structure alone shows; errors as in :func:`find_pairs`."""
    states, failures = _by_structure(graph)
    for error in failures.values():
        raise error
    return states


Found = tuple[tuple[State, ...], dict[str, UnsupportedModelError]]


def _by_structure(graph: Graph) -> Found:
    """Pairs that the structure shows, and why it shows none for other initial states."""
    candidates = _candidates(graph)
    if not candidates:
        return (), {}
    first, second = (_pairs_at(graph, sizes, candidates) for sizes in _trial_sizes(graph))
    if first[0] != second[0]:
        raise UnsupportedModelError(
            f"where the final states of inputs {', '.join(candidates)} come out depends on the "
            "sizes of the inputs; say the pairs with stream(state={'<output>': '<input>'})"
        )
    return first


def _candidates(graph: Graph) -> list[str]:
    """Inputs from which layout operators lead to an initial state."""
    targets = {node.inputs[i] for node, _, i, _ in _carried(graph) if i < len(node.inputs)}
    for node in reversed(graph.nodes):
        if node.op in LAYOUT and any(name in targets for name in node.outputs if name):
            targets.update(node.inputs if node.op == "Concat" else node.inputs[:1])
    return [value.name for value in graph.inputs if value.name in targets]


def _trial_sizes(graph: Graph) -> list[dict[str, Size]]:
    names = sorted({n for v in graph.inputs for s in v.type.shape for n in symbols_of(s)})
    if len(names) > len(_TRIALS[0]):
        raise UnsupportedModelError(
            f"the inputs have {len(names)} varying sizes; at most {len(_TRIALS[0])}"
        )
    return [dict(zip(names, sizes, strict=False)) for sizes in _TRIALS]


def _pairs_at(graph: Graph, sizes: Mapping[str, Size], candidates: list[str]) -> Found:
    concrete = fold(fix_sizes(graph, sizes))
    types = infer_types(concrete)
    finals = _final_places(concrete, types)
    states: list[State] = []
    failures: dict[str, UnsupportedModelError] = {}
    for name in candidates:
        homes = _initial_homes(concrete, types, name)
        if homes is not None:
            try:
                states.append(_pair(types, name, homes, finals))
            except UnsupportedModelError as error:
                failures[name] = error
    return tuple(states), failures


def _send(
    graph: Graph, types: Mapping[str, TensorType], numbers: dict[str, Array]
) -> dict[str, Array]:
    """Send element numbers through layout operators; -1 stands for anything else."""
    values = dict(numbers)
    for node in graph.nodes:
        if node.op not in LAYOUT or not any(n in values for n in node.inputs if n):
            continue
        given: list[Array | None] = []
        for position, name in enumerate(node.inputs):
            if name is None:
                given.append(None)
            elif name in values:
                given.append(values[name])
            elif node.op == "Concat" or position == 0:
                given.append(np.full(_shape(types, name), -1, np.int64))
            else:
                given.append(graph.constants.get(name))
        if node.op == "Gather" and given[1] is None:
            continue
        for name in node.outputs:
            if name is not None:
                _shape(types, name)
        results = registry.get(node.op).reference(node.attrs, given)
        for name, result in zip(node.outputs, results, strict=False):
            if name is not None and name not in values:
                values[name] = result
    return values


def _shape(types: Mapping[str, TensorType], name: str) -> list[int]:
    """Shape of a value that is small enough to be followed."""
    shape = [int(s) for s in types[name].shape]
    if math.prod(shape) > _LARGEST:
        raise UnsupportedModelError(
            f"value {name!r} is {types[name]}, too large to be followed as state"
        )
    return shape


def _carried(graph: Graph) -> Iterable[tuple[Node, str, int, int]]:
    for node in graph.nodes:
        if node.op in _RECURRENT:
            yield node, "h", 6, 1
            if node.op == "LSTM":
                yield node, "c", 7, 2


def _initial_homes(graph: Graph, types: Mapping[str, TensorType], name: str) -> Homes | None:
    """Where each element of an input goes; None where some go to no initial state."""
    shape = _shape(types, name)
    count = math.prod(shape)
    sent = _send(graph, types, {name: np.arange(count).reshape(shape)})
    homes: Homes = {}
    for node, letter, operand, _ in _carried(graph):
        source = node.inputs[operand] if operand < len(node.inputs) else None
        if source is not None and source in sent:
            for place, element in enumerate(sent[source].reshape(-1).tolist()):
                homes.setdefault(element, (node.name, letter, place))
    homes.pop(-1, None)
    return homes if len(homes) == count and count else None


def _final_places(graph: Graph, types: Mapping[str, TensorType]) -> Finals:
    numbers: dict[str, Array] = {}
    labels: list[tuple[str, str, int]] = []
    for node, letter, _, result in _carried(graph):
        name = node.outputs[result] if result < len(node.outputs) else None
        if name is not None:
            shape = _shape(types, name)
            count = math.prod(shape)
            numbers[name] = np.arange(len(labels), len(labels) + count).reshape(shape)
            labels += [(node.name, letter, i) for i in range(count)]
    sent = _send(graph, types, numbers)
    places: dict[tuple[str, str, int], tuple[str, int]] = {}
    for output in graph.outputs:
        if output in sent:
            for position, element in enumerate(sent[output].reshape(-1).tolist()):
                if element >= 0:
                    places.setdefault(labels[element], (output, position))
    return places


def _pair(types: Mapping[str, TensorType], name: str, homes: Homes, finals: Finals) -> State:
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
    if len(positions) == math.prod(shape):
        return State(name, name, output, None, None, implicit=False)
    row = math.prod(shape[1:])
    if start % row:
        raise UnsupportedModelError(
            f"input {name!r} comes back from the middle of a row of output {output!r}; only slices "
            "along its first axis are followed"
        )
    return State(name, name, output, (start // row, *[0] * (len(shape) - 1)), None, implicit=False)
