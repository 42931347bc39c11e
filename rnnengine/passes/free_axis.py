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
from dataclasses import dataclass
from itertools import product as choices

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import (
    Dim,
    Graph,
    fresh,
    symbols_of,
)
from rnnengine.ops import infer_types
from rnnengine.passes.follow_rows import TiedError, Walk

__all__ = ["free_axis", "free_batch"]

_RECURRENT = ("LSTM", "GRU", "RNN")
_MOST_NODES = 20_000
"""Nodes that are followed, in all ways that are tried, before a graph is refused."""


@dataclass
class _Budget:
    """How many nodes may still be followed."""

    left: int


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
    furthest: TiedError | None = None
    budget = _Budget(_MOST_NODES)
    for start in _starts(graph):
        if budget.left <= 0 and furthest is not None:
            break
        try:
            return _freed(graph, start, name, budget, sequence=False)
        except TiedError as error:
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
    except TiedError as error:
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
    furthest: TiedError | None = None
    while furthest is None or budget.left > 0:
        walk = Walk(graph, types, start, name, script, sequence)
        try:
            return walk.run()
        except TiedError as error:
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
