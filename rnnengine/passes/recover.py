"""Put back together what exporters took apart: recurrent cells, loops and layer norms."""

from __future__ import annotations

from rnnengine.graph import Graph
from rnnengine.passes.fuse_cells import fuse_cells
from rnnengine.passes.fuse_layer_norm import fuse_layer_norm
from rnnengine.passes.join_slices import join_slices
from rnnengine.passes.loops import without_loops
from rnnengine.passes.unflip import unflip

__all__ = ["recover"]


def recover(graph: Graph) -> Graph:
    """Return an equivalent graph in settled form, with what was written out as single nodes.

    ``Graph.fused`` says what was put in the place of what.
    """
    fused = fuse_cells(fuse_layer_norm(without_loops(graph)))
    return fused if fused.fused == graph.fused else unflip(join_slices(fused))
