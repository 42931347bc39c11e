"""Structural check of a graph: every name defined once, before it is used."""

from __future__ import annotations

from rnnengine.errors import ModelFormatError
from rnnengine.graph.graph import Graph

__all__ = ["verify"]


def verify(graph: Graph) -> Graph:
    """Return the graph unchanged if it is in static single assignment form.

    Raises
    ------
    ModelFormatError
        Naming the value or node: a name defined twice, a value used before it is computed or never
        computed, an output or state that nothing provides, two nodes of one name.
    """
    where = f"graph {graph.name!r}"
    defined: set[str] = set()
    for name in [*(value.name for value in graph.inputs), *graph.constants]:
        if name in defined:
            raise ModelFormatError(f"{where}: input or constant {name!r} is defined twice")
        defined.add(name)
    node_names: set[str] = set()
    for node in graph.nodes:
        if node.name in node_names:
            raise ModelFormatError(f"{where}: two nodes are named {node.name!r}")
        node_names.add(node.name)
        for used in node.inputs:
            if used is not None and used not in defined:
                raise ModelFormatError(
                    f"node {node.name!r} ({node.op}): input {used!r} is not computed before it"
                )
        for made in node.outputs:
            if made is None:
                continue
            if made in defined:
                raise ModelFormatError(
                    f"node {node.name!r} ({node.op}): output {made!r} is defined twice"
                )
            defined.add(made)
    for name in graph.outputs:
        if name not in defined:
            raise ModelFormatError(f"{where}: nothing computes output {name!r}")
    inputs = {value.name for value in graph.inputs}
    for state in graph.states:
        if state.input not in inputs or state.output not in defined:
            raise ModelFormatError(
                f"{where}: state {state.name!r} joins output {state.output!r} to input "
                f"{state.input!r}, which are not both there"
            )
    return graph
