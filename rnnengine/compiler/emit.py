"""Emission of a whole graph: places for results first, then the nodes in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rnnengine.errors import RNNEngineError, UnsupportedModelError
from rnnengine.graph import Graph, TensorType, UndecidedError
from rnnengine.ops import registry
from rnnengine.ops.types import describe
from rnnengine.program import Emitter, ProgramBuilder, View
from rnnengine.program.view import INPUT, OUTPUT

__all__ = ["emit_graph"]


Port = Callable[[int, str, TensorType, int], View]
"""Makes an input or output: kind of buffer, name, type, how its elements are held."""


def emit_graph(
    graph: Graph,
    types: Mapping[str, TensorType],
    builder: ProgramBuilder,
    port: Port | None = None,
) -> dict[str, View]:
    """Emit every node; returns the views of the graph's inputs and outputs by name.

    Inputs and outputs are contiguous arrays, or what ``port`` makes them.

    Raises
    ------
    UnsupportedModelError
        Naming the node that cannot be computed at run time.
    """
    make = port or (lambda kind, _, t, held: builder.port(kind, t.shape, held))
    outputs = {
        name: make(OUTPUT, name, types[name], int(types[name].dtype.kind != "f"))
        for name in dict.fromkeys(graph.outputs)
    }
    places = _places(graph, types, outputs)
    out = Emitter(builder, types, graph.constants, places)
    ports: dict[str, View] = dict(outputs)
    for value in graph.inputs:
        kind = 0 if value.type.dtype.kind == "f" else 1
        view = make(INPUT, value.name, value.type, kind)
        ports[value.name] = out.views[value.name] = view
    for node in graph.nodes:
        emission = registry.emission(node.op)
        if emission is None:
            raise UnsupportedModelError(
                f"{describe(node)}: its inputs are only known at run time; this operator is "
                "supported where they follow from constants and shapes"
            )
        try:
            emission.emit(out, node)
        except RNNEngineError as error:
            if describe(node) in str(error):
                raise
            raise type(error)(f"{describe(node)}: {error}") from None
        except UndecidedError as error:
            raise UnsupportedModelError(
                f"{describe(node)}: {error} cannot be decided while the sizes are symbolic"
            ) from None
    for name, place in outputs.items():
        view = out.read(name)
        if view != place:
            out.copy(view, place)
    return ports


def _places(
    graph: Graph, types: Mapping[str, TensorType], outputs: Mapping[str, View]
) -> dict[str, View]:
    """Where values must end up, found from the outputs backwards through layout operators."""
    computed = set(graph.producers())
    places = {name: view for name, view in outputs.items() if name in computed}
    for node in reversed(graph.nodes):
        emission = registry.emission(node.op)
        rule = emission.place if emission is not None else None
        result = node.outputs[0]
        if rule is None or result is None or result not in places:
            continue
        for name, view in zip(node.inputs, rule(node, types, places[result]), strict=False):
            if name in computed and name not in places and view is not None:
                places[name] = view
    return places
