"""Put back together what exporters took apart: recurrent cells, loops and layer norms.

The passes are imported where a graph has what they begin with, so that a graph of whole layers does
not wait for them.
"""

from __future__ import annotations

from rnnengine.graph import Graph, Node

__all__ = ["recover"]


def recover(graph: Graph) -> Graph:
    """Return an equivalent graph in settled form, with what was written out as single nodes.

    ``Graph.fused`` says what was put in the place of what.
    """
    fused = graph
    if any(node.op == "Scan" for node in fused.nodes):
        from rnnengine.passes.loops import without_loops

        fused = without_loops(fused)
    if any(node.op == "ReduceMean" for node in fused.nodes):
        from rnnengine.passes.fuse_layer_norm import fuse_layer_norm

        fused = fuse_layer_norm(fused)
    if any(_joins(fused, node) for node in fused.nodes):
        from rnnengine.passes.fuse_cells import fuse_cells

        fused = fuse_cells(fused)
    if fused.fused == graph.fused:
        return fused
    from rnnengine.passes.join_slices import join_slices
    from rnnengine.passes.unflip import unflip

    return unflip(join_slices(fused))


def _joins(graph: Graph, node: Node) -> bool:
    """Whether a node joins two computed values, as every cell joins its input with its state."""
    computed = [name for name in node.inputs if name and name not in graph.constants]
    return len(computed) > 1 and node.op in ("Add", "Sub", "Concat", "Gemm")
