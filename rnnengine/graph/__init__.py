"""Graph, its values and symbolic sizes."""

from rnnengine.graph.dims import Dim, Size, UndecidedError, product, substitute, symbol, symbols_of
from rnnengine.graph.graph import Choice, Fusion, Graph, Node, State, TensorType, Value, fresh
from rnnengine.graph.lowered import LoweredBlock, LoweredMatrix, as_lowered
from rnnengine.graph.packed import (
    KeptMatrix,
    PackedMatrix,
    Packing,
    as_integers,
    as_kept,
    as_packed,
)

__all__ = [
    "Choice",
    "Dim",
    "Fusion",
    "Graph",
    "KeptMatrix",
    "LoweredBlock",
    "LoweredMatrix",
    "Node",
    "PackedMatrix",
    "Packing",
    "Size",
    "State",
    "TensorType",
    "UndecidedError",
    "Value",
    "as_integers",
    "as_kept",
    "as_lowered",
    "as_packed",
    "fresh",
    "product",
    "substitute",
    "symbol",
    "symbols_of",
]
