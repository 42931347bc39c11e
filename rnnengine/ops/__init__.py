"""Operators: importing this package registers every one of them."""

from rnnengine.ops import (
    batchnorm,
    conv,
    elementwise,
    fused,
    indexing,
    layout,
    linear,
    logic,
    masks,
    normalize,
    pad,
    pool,
    recurrent,
    reduce,
    reshape,
    select,
)
from rnnengine.ops import emission as emission
from rnnengine.ops import loop as loop
from rnnengine.ops import shape as shape
from rnnengine.ops.oracle import evaluate
from rnnengine.ops.registry import NotAlongTime, Op, get, names
from rnnengine.ops.types import Inference, infer_types

__all__ = [
    "Inference",
    "NotAlongTime",
    "Op",
    "batchnorm",
    "conv",
    "elementwise",
    "emission",
    "evaluate",
    "fused",
    "get",
    "indexing",
    "infer_types",
    "layout",
    "linear",
    "logic",
    "masks",
    "names",
    "normalize",
    "pad",
    "pool",
    "recurrent",
    "reduce",
    "reshape",
    "select",
    "shape",
]
