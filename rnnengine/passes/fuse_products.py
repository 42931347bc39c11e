"""Everything that joins nodes into what one instruction computes.

The passes are imported where a graph has an operator that they are about.
"""

from __future__ import annotations

from rnnengine.graph import Graph

__all__ = ["fuse_products", "fuse_windows"]


def fuse_windows(graph: Graph) -> Graph:
    """Let windows do the padding and cropping around them."""
    if _has(graph, "Conv", "MaxPool", "AveragePool"):
        from rnnengine.passes.fuse_pad import fuse_pad

        return fuse_pad(graph)
    return graph


def fuse_products(graph: Graph) -> Graph:
    """Join windows and matrix products with what stands around them."""
    graph = fuse_windows(graph)
    if _has(graph, "BatchNormalization"):
        from rnnengine.passes.fold_batch_norm import fold_batch_norm

        graph = fold_batch_norm(graph)
    if _has(graph, "Conv", "ConvTranspose"):
        from rnnengine.passes.fuse_conv import fuse_conv

        graph = fuse_conv(graph)
    if _has(graph, "MatMul", "Gemm"):
        from rnnengine.passes.fuse_linear import fuse_linear

        graph = fuse_linear(graph)
    return graph


def _has(graph: Graph, *operators: str) -> bool:
    return any(node.op in operators for node in graph.nodes)
