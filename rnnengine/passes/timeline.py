"""Which axis is time, and whether a graph can be followed step by step along it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rnnengine.graph import Dim, Graph, Node, TensorType, UndecidedError
from rnnengine.ops import NotAlongTime, infer_types, registry
from rnnengine.ops.registry import Array, Window
from rnnengine.ops.types import describe
from rnnengine.records import field, record

__all__ = ["Timeline", "find_timeline"]

_RECURRENT = ("LSTM", "GRU", "RNN")


@record
class Timeline:
    """Where time runs in a graph.

    Attributes
    ----------
    axes : mapping of str to int or None
        Time axis of every value.
    recurrent : tuple of Node
        Recurrent nodes whose sequence axis is time.
    obstacle : str or None
        Why the graph cannot be followed step by step: the first node that mixes steps.
    node : Node or None
        The node that the obstacle names.
    pointwise : bool
        Whether everything but the recurrent nodes keeps time steps apart.
    windows : tuple of (Node, Window)
        Nodes whose windows slide along time and look back only, where these were to be followed.
    """

    axes: Mapping[str, int | None]
    recurrent: tuple[Node, ...]
    obstacle: str | None = None
    node: Node | None = None
    pointwise: bool = True
    windows: tuple[tuple[Node, Window], ...] = ()
    types: Mapping[str, TensorType] = field(default_factory=dict)


def find_timeline(graph: Graph, *, windows: bool = False) -> Timeline | None:
    """Find the input axis that becomes the sequence axis of a recurrent node.

    With ``windows``, nodes that look back on a fixed number of steps are followed too: they need
    state of their own, see :mod:`rnnengine.passes.convolution_state`.

    Every axis of every input is tried as time: a symbolic size on all inputs that have it,
    a fixed size on its own input. The first that arrives at a recurrent node's sequence axis is
    it, one without an obstacle before one with.

    Returns
    -------
    Timeline or None
        None where no input axis is a recurrent node's sequence axis.
    """
    key = "timeline", windows
    if key not in graph.derived:
        graph.derived[key] = _search(graph, windows)
    found: Timeline | None = graph.derived[key]
    return found


def _search(graph: Graph, windows: bool) -> Timeline | None:
    types = infer_types(graph)
    found = [
        line
        for start in _candidates(graph)
        if (line := _follow(graph, types, start, windows)).recurrent
    ]
    clear = [line for line in found if line.obstacle is None]
    best = clear or found
    return best[0] if best else None


def _candidates(graph: Graph) -> Iterator[dict[str, int]]:
    seen: set[Dim] = set()
    explicit = {state.input for state in graph.states}
    for value in graph.inputs:
        if value.type.dtype.kind not in "fi" or value.name in explicit:
            continue
        for axis, size in enumerate(value.type.shape):
            if not isinstance(size, Dim):
                yield {value.name: axis}
            elif size not in seen:
                seen.add(size)
                yield {
                    v.name: v.type.shape.index(size)
                    for v in graph.inputs
                    if v.type.shape.count(size) == 1
                }


def _known(graph: Graph, node: Node) -> list[Array | None]:
    return [graph.constants.get(name) if name else None for name in node.inputs]


def _follow(
    graph: Graph, types: Mapping[str, TensorType], start: Mapping[str, int], windows: bool
) -> Timeline:
    axes: dict[str, int | None] = dict(start)
    recurrent = []
    obstacle: tuple[str, Node] | None = None
    pointwise = True
    followed: list[tuple[Node, Window]] = []
    for node in graph.nodes:
        given = [axes.get(name) if name else None for name in node.inputs]
        sequence = node.op in _RECURRENT and given[0] == 0
        try:
            kinds = [types[name] if name else None for name in node.inputs]
            result = registry.get(node.op).stream(node.attrs, kinds, _known(graph, node), given)
        except (NotAlongTime, UndecidedError) as error:
            window = _window(node, types, given) if isinstance(error, NotAlongTime) else None
            if windows and window is not None and window.causal and window.pad is not None:
                followed.append((node, window))
            else:
                obstacle = obstacle or (f"{describe(node)}: {error}", node)
            along = given[0] if window is not None else 0 if sequence else None
            result = [along if i == 0 else None for i in range(len(node.outputs))]
            pointwise = pointwise and sequence
        if sequence:
            recurrent.append(node)
        named = zip(node.outputs, result, strict=False)
        axes.update({name: axis for name, axis in named if name is not None})
    text, node_at = obstacle if obstacle else (None, None)
    return Timeline(axes, tuple(recurrent), text, node_at, pointwise, tuple(followed), types)


def _window(
    node: Node, types: Mapping[str, TensorType], axes: Sequence[int | None]
) -> Window | None:
    """Window of a node that slides along time; None for any other node."""
    rule = registry.get(node.op).window
    if rule is None:
        return None
    return rule(node.attrs, [types[name] if name else None for name in node.inputs], axes)
