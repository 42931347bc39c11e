"""How operators become instructions: one file per family, as beside it in :mod:`rnnengine.ops`.

An emission is ``emit(out: Emitter, node: Node)``. A place rule is ``place(node, types, view)``:
given where the node's output must be, where each input would have to be to need no copy.
"""

from rnnengine.ops.emission import (
    batchnorm,
    conv,
    elementwise,
    indexing,
    layout,
    linear,
    logic,
    normalize,
    pad,
    pool,
    recurrent,
    reduce,
    select,
)

__all__ = [
    "batchnorm",
    "conv",
    "elementwise",
    "indexing",
    "layout",
    "linear",
    "logic",
    "normalize",
    "pad",
    "pool",
    "recurrent",
    "reduce",
    "select",
]
