"""Put numbers in the place of symbolic sizes."""

from __future__ import annotations

from collections.abc import Mapping

from rnnengine.graph import Graph, Size
from rnnengine.ops.binding import bind_graph

__all__ = ["fix_sizes"]


def fix_sizes(graph: Graph, sizes: Mapping[str, Size]) -> Graph:
    """Return the graph with its symbols replaced, in its inputs and in its attributes."""
    return bind_graph(graph, sizes)
