"""Numbers for the symbols of a graph: found from its inputs, put into its types and attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnengine.errors import ShapeError
from rnnengine.graph import Dim, Graph, Size, TensorType, Value, substitute, symbols_of
from rnnengine.records import replace

__all__ = ["bind_attrs", "bind_graph", "bind_sizes"]


def bind_sizes(graph: Graph, feeds: Mapping[str, Any]) -> dict[str, int]:
    """Return the value of every symbol that the shapes of the feeds determine.

    Raises
    ------
    ShapeError
        Naming the input, its shape and the declared one.
    """
    sizes: dict[str, int] = {}
    for value in graph.inputs:
        if value.name not in feeds:
            raise ShapeError(f"input {value.name!r} is missing; expected {value.type}")
        _bind_input(value, np.shape(feeds[value.name]), sizes)
    for value in graph.inputs:
        expected = tuple(substitute(s, sizes) for s in value.type.shape)
        if expected != np.shape(feeds[value.name]):
            raise ShapeError(
                f"input {value.name!r} has shape {np.shape(feeds[value.name])}; expected "
                f"{value.type} with {sizes}"
            )
    return sizes


def _bind_input(value: Value, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    if len(shape) != value.type.rank:
        raise ShapeError(f"input {value.name!r} has shape {shape}; expected {value.type}")
    for declared, got in zip(value.type.shape, shape, strict=True):
        names = symbols_of(declared)
        if len(names) == 1 and isinstance(declared, Dim):
            (name,) = names
            if declared.terms == ((((name, 1),), 1),):
                sizes.setdefault(name, got)


def bind_attrs(attrs: Mapping[str, Any], sizes: Mapping[str, Size]) -> dict[str, Any]:
    """Replace symbolic sizes in the attributes of a settled node by their values."""
    return {key: _bound(value, sizes) for key, value in attrs.items()}


def bind_graph(graph: Graph, sizes: Mapping[str, Size]) -> Graph:
    """Return the graph with its symbols replaced, in its inputs and in its attributes."""
    inputs = tuple(
        Value(v.name, TensorType(v.type.dtype, tuple(substitute(s, sizes) for s in v.type.shape)))
        for v in graph.inputs
    )
    nodes = tuple(replace(node, attrs=bind_attrs(node.attrs, sizes)) for node in graph.nodes)
    return graph.with_(inputs=inputs, nodes=nodes)


def _bound(value: Any, sizes: Mapping[str, Size]) -> Any:
    if isinstance(value, Dim):
        return substitute(value, sizes)
    if isinstance(value, tuple):
        return tuple(_bound(v, sizes) for v in value)
    if isinstance(value, Graph):
        return bind_graph(value, sizes)
    return value
