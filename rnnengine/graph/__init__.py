"""Graph, its values and symbolic sizes."""

from rnnengine.graph.dims import Dim, Size, UndecidedError, product, substitute, symbol, symbols_of
from rnnengine.graph.graph import Graph, Node, State, TensorType, Value, fresh

__all__ = [
    "Dim",
    "Graph",
    "Node",
    "Size",
    "State",
    "TensorType",
    "UndecidedError",
    "Value",
    "fresh",
    "product",
    "substitute",
    "symbol",
    "symbols_of",
]
