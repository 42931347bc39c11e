"""Whether a graph computes the same of a sequence in chunks, with its state carried along."""

from __future__ import annotations

from collections.abc import Iterable

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Graph, Node, Size, TensorType, product, symbol, symbols_of
from rnnengine.ops.types import describe
from rnnengine.passes.expose_state import carried, starts_constant
from rnnengine.passes.pair_state import LAYOUT
from rnnengine.passes.timeline import Timeline

__all__ = ["steps_of_chunks"]


def steps_of_chunks(graph: Graph, line: Timeline, lengths: str | None) -> str:
    """Return the symbol of the number of steps; with a chunk's for it, the graph computes a chunk.

    A time line without obstacle is not enough for that. What the end of a chunk shows (a final
    state, and whatever follows from it) must stay away from the steps, an input that is state must
    be the initial state of its nodes and nothing else, and no shape may count the steps of the
    whole sequence but along the time axis. Windows of ``line`` and initial states that are constant
    count as carried: :func:`expose_state` and :func:`convolution_state` see to them.

    Parameters
    ----------
    graph : Graph
        With its own pairs as ``states``: those that its structure shows.
    line : Timeline
        Of that graph, without an obstacle.
    lengths : str or None
        Input of sequence lengths, which may feed nothing but layers along time.

    Raises
    ------
    UnsupportedModelError
        Naming what needs the whole sequence at once.
    """
    steps = _steps(graph, line)
    for name, kind in line.types.items():
        axis = line.axes.get(name)
        if any(steps in symbols_of(s) for i, s in enumerate(kind.shape) if i != axis):
            raise UnsupportedModelError(f"{name!r} is {kind}: its shape counts the time steps")
    for name in (*(v.name for v in graph.inputs), *graph.outputs):
        axis = line.axes.get(name)
        if axis is not None and line.types[name].shape[axis] != symbol(steps):
            raise UnsupportedModelError(f"{name!r} has another number of steps than the inputs")
    _check_lengths(graph, line, lengths)
    _check_ends(graph, line)
    _check_states(graph, line)
    return steps


def _steps(graph: Graph, line: Timeline) -> str:
    sizes = {
        v.type.shape[axis] for v in graph.inputs if (axis := line.axes.get(v.name)) is not None
    }
    names = {n for size in sizes for n in symbols_of(size)}
    if len(sizes) != 1 or len(names) != 1:
        raise UnsupportedModelError("the number of time steps is not one free size")
    return names.pop()


def _check_lengths(graph: Graph, line: Timeline, lengths: str | None) -> None:
    """Layers along time have no other lengths, and nobody else reads them."""
    for node in graph.nodes:
        along = node in line.recurrent
        given = node.inputs[5] if along and len(node.inputs) > 5 else None
        others = [n for i, n in enumerate(node.inputs) if not (along and i == 5)]
        if given not in (None, lengths) or (lengths is not None and lengths in others):
            raise UnsupportedModelError(f"{describe(node)}: its lengths are not those of the rows")
    if lengths in graph.outputs:
        raise UnsupportedModelError("the lengths are an output")


def _check_ends(graph: Graph, line: Timeline) -> None:
    """What depends on the last step of a chunk reaches no step."""
    ends: set[str] = set()
    for node in graph.nodes:
        given = [n for n in node.inputs if n is not None]
        moving = any(line.axes.get(n) is not None for n in given)
        last = any(n in ends for n in given)
        if moving and last:
            raise UnsupportedModelError(
                f"{describe(node)}: every step meets the end of the sequence"
            )
        if moving or last:
            ends.update(n for n in _named(node.outputs) if line.axes.get(n) is None)


def _check_states(graph: Graph, line: Timeline) -> None:
    """Layers along time start from constants or from the graph's states, one layer from each."""
    sources = graph.producers()
    states = {state.input for state in graph.states}
    shown = set(states)
    started: list[TensorType] = []
    for node in graph.nodes:
        along = node in line.recurrent
        starts = [i for _, i, _ in carried(node)] if along else []
        for i, name in enumerate(node.inputs):
            if i in starts and not starts_constant(graph, node, i, sources):
                if name not in shown:
                    raise UnsupportedModelError(f"{describe(node)}: its initial state is computed")
                started.append(line.types[name])
            elif name in shown and (node.op not in LAYOUT or not _all_in(node, shown, graph)):
                raise UnsupportedModelError(f"{describe(node)}: it reads the state {name!r}")
        if not along and any(n in shown for n in _named(node.inputs)):
            shown.update(_named(node.outputs))
    if shown & set(graph.outputs):
        raise UnsupportedModelError("an output shows the state that the call started from")
    # Every element of a state starts a layer, as its pair was found; as many places, so each once.
    if _elements(started) != _elements(line.types[name] for name in states):
        raise UnsupportedModelError("a state starts several layers")


def _named(names: Iterable[str | None]) -> list[str]:
    return [name for name in names if name is not None]


def _all_in(node: Node, shown: set[str], graph: Graph) -> bool:
    """Whether a layout operator moves nothing but states; its other inputs are constants."""
    data = node.inputs if node.op == "Concat" else node.inputs[:1]
    rest = [n for n in node.inputs[len(data) :] if n is not None]
    return all(n in shown for n in data) and all(n in graph.constants for n in rest)


def _elements(kinds: Iterable[TensorType]) -> Size:
    total: Size = 0
    for kind in kinds:
        total = total + product(kind.shape)
    return total
