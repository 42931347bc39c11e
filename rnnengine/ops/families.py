"""Which module holds an operator, so that only the modules of a graph's own operators are imported.

Importing a module of :mod:`rnnengine.ops` registers its operators, importing one of
:mod:`rnnengine.ops.emission` attaches emissions. The registry imports both when an operator is
first asked for; this table is all it knows before.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FAMILIES", "FAMILY_OF", "Family"]


class Family(NamedTuple):
    """Operators of one module.

    Attributes
    ----------
    emission : str or None
        Module of their emissions; None where they exist only folded into constants.
    operators : str
        Names, separated by spaces.
    """

    emission: str | None
    operators: str


FAMILIES: dict[str, Family] = {
    "batchnorm": Family("batchnorm", "BatchNormalization"),
    "conv": Family("conv", "Conv ConvTranspose"),
    "elementwise": Family(
        "elementwise",
        "Abs Acos Acosh Add Asin Asinh Atan Atanh Cast Ceil Celu Clip Cos Cosh Div Elu Erf Exp "
        "Floor Gelu HardSigmoid HardSwish LeakyRelu Log Max Min Mish Mod Mul Neg PRelu Pow "
        "Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Swish "
        "Tan Tanh ThresholdedRelu",
    ),
    "fused": Family("linear", "Linear"),
    "indexing": Family("indexing", "GatherElements GatherND ScatterElements ScatterND"),
    "layout": Family("layout", "Concat Dropout Expand Identity Tile Transpose"),
    "linear": Family("linear", "Gemm MatMul"),
    "logic": Family(
        "logic",
        "And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Where Xor",
    ),
    "loop": Family(None, "Scan"),
    "masks": Family("select", "MaskIds MaskValues"),
    "normalize": Family(
        "normalize",
        "GroupNormalization InstanceNormalization LayerNormalization LogSoftmax RMSNormalization "
        "Softmax",
    ),
    "pad": Family("pad", "Pad"),
    "pool": Family(
        "pool",
        "AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool",
    ),
    "recurrent": Family("recurrent", "GRU LSTM RNN"),
    "reduce": Family(
        "reduce",
        "ArgMax ArgMin CumSum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean "
        "ReduceMin ReduceProd ReduceSum ReduceSumSquare",
    ),
    "reshape": Family("layout", "Flatten Reshape Squeeze Unsqueeze"),
    "select": Family("layout", "Gather Slice Split"),
    "shape": Family(None, "ConstantOfShape Range Shape Size"),
}
"""Modules of :mod:`rnnengine.ops` by name."""

FAMILY_OF = {name: family for family, has in FAMILIES.items() for name in has.operators.split()}
"""Module of each operator."""
