"""Which module holds an operator, so that only the modules of a graph's own operators are imported.

Importing a module of :mod:`rnnengine.ops` registers its operators, importing one of
:mod:`rnnengine.ops.emission` attaches emissions. The registry imports both when an operator is
first asked for; this table is all it knows before.
"""

from __future__ import annotations

__all__ = ["FAMILIES", "FAMILY_OF"]


FAMILIES: dict[str, tuple[str | None, str]] = {
    "batchnorm": ("batchnorm", "BatchNormalization"),
    "conv": ("conv", "Conv ConvTranspose"),
    "elementwise": (
        "elementwise",
        "Abs Acos Acosh Add Asin Asinh Atan Atanh Cast Ceil Celu Clip Cos Cosh Div Elu Erf Exp "
        "Floor Gelu HardSigmoid HardSwish LeakyRelu Log Max Min Mish Mod Mul Neg PRelu Pow "
        "Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Swish "
        "Tan Tanh ThresholdedRelu",
    ),
    "fused": ("linear", "Linear"),
    "indexing": ("indexing", "GatherElements GatherND ScatterElements ScatterND"),
    "layout": ("layout", "Concat Dropout Expand Identity Tile Transpose"),
    "linear": ("linear", "Gemm MatMul"),
    "logic": (
        "logic",
        "And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Where Xor",
    ),
    "loop": (None, "Scan"),
    "masks": ("select", "MaskIds MaskValues"),
    "normalize": (
        "normalize",
        "GroupNormalization InstanceNormalization LayerNormalization LogSoftmax RMSNormalization "
        "Softmax",
    ),
    "pad": ("pad", "Pad"),
    "pool": (
        "pool",
        "AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool",
    ),
    "recurrent.gru": ("recurrent", "GRU"),
    "recurrent.lstm": ("recurrent", "LSTM"),
    "recurrent.rnn": ("recurrent", "RNN"),
    "reduce": (
        "reduce",
        "ArgMax ArgMin CumSum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean "
        "ReduceMin ReduceProd ReduceSum ReduceSumSquare",
    ),
    "reshape": ("layout", "Flatten Reshape Squeeze Unsqueeze"),
    "select": ("layout", "Gather Slice Split"),
    "shape": (None, "ConstantOfShape Range Shape Size"),
}
"""For each module of :mod:`rnnengine.ops`, the module of its emissions and its operators.

There is no such module where operators exist only folded into constants.
"""

FAMILY_OF = {name: family for family, (_, has) in FAMILIES.items() for name in has.split()}
"""Module of each operator."""
