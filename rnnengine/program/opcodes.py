"""Numbers shared with the C core: opcodes, elementwise operations, activations.

The tests hold each of these tables against the C headers.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "ACTIVATION_IDS",
    "BINARY_IDS",
    "COMBINATION_IDS",
    "COMPARISON_IDS",
    "ELEMENT_IDS",
    "REDUCTION_IDS",
    "Cell",
    "Opcode",
]


class Opcode(IntEnum):
    """Operations of a program, in the order of the table in ``src_c/core/program.c``."""

    RECURRENT = 0
    LINEAR = 1
    PACK = 2
    UNARY = 3
    BINARY = 4
    COPY = 5
    SOFTMAX = 6
    GATHER = 7
    MASK = 8
    CONVERT = 9
    COMPARE = 10
    SELECT = 11
    REDUCE = 12
    ARG = 13
    CUMSUM = 14
    NORMALIZE = 15
    MATMUL = 16
    GATHER_ELEMENTS = 17
    SCATTER_ELEMENTS = 18
    FLAT_INDEX = 19
    SCATTER_ROWS = 20
    CONV = 21
    POOL = 22


class Cell(IntEnum):
    """Cells of the recurrent instruction."""

    LSTM = 0
    GRU = 1
    RNN = 2


BINARY_IDS = {
    "Add": 0,
    "Sub": 1,
    "Mul": 2,
    "Div": 3,
    "Min": 4,
    "Max": 5,
    "PRelu": 6,
    "Mod": 7,
    "Mod_Floor": 8,
    "Pow": 9,
}
"""ONNX name of each elementwise operation of two operands to its number.

Mod has the sign of the dividend, Mod_Floor that of the divisor; the latter knows integers only.
"""

COMPARISON_IDS = {"Equal": 0, "Less": 1, "LessOrEqual": 2, "NotEqual": 3}
"""Comparisons; Greater is Less of the operands exchanged."""

REDUCTION_IDS = {
    name: i
    for i, name in enumerate(
        (
            "ReduceSum",
            "ReduceMean",
            "ReduceMax",
            "ReduceMin",
            "ReduceProd",
            "ReduceL1",
            "ReduceL2",
            "ReduceSumSquare",
            "ReduceLogSum",
            "ReduceLogSumExp",
        )
    )
}
"""ONNX name of each reduction to its number in ``src_c/core/op_reduce.c``."""

COMBINATION_IDS = {"none": 0, "add": 1, "mul": 2, "max": 3, "min": 4}
"""What a scatter does with the element that was there, by number in ``src_c/core/op_index.c``."""

ELEMENT_IDS = {"f32": 0, "i32": 1, "bf16": 2, "f16": 3, "i8": 4}
"""Element types of buffers, by number in ``src_c/core/program.h``; after i32: of weights only."""

_ACTIVATIONS = (
    "identity",
    "tanh",
    "sigmoid",
    "relu",
    "relu_keras",
    "leaky_relu",
    "thresholded_relu",
    "affine",
    "scaled_tanh",
    "hard_sigmoid",
    "elu",
    "softsign",
    "softplus",
    "selu",
    "celu",
    "silu",
    "hard_silu",
    "gelu",
    "gelu_tanh",
    "mish",
    "exponential",
    "hard_tanh",
    "tanh_shrink",
    "soft_shrink",
    "hard_shrink",
    "squareplus",
    "sparse_plus",
    "sparse_sigmoid",
    "log_sigmoid",
    "threshold",
    "log",
    "sqrt",
    "neg",
    "abs",
    "reciprocal",
    "erf",
    "shrink",
    "sign",
    "floor",
    "ceil",
    "round",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "asinh",
    "acosh",
    "atanh",
)
ACTIVATION_IDS = {name: i for i, name in enumerate(_ACTIVATIONS)}
"""Name of each activation to its number in ``src_c/core/activation.h``."""
