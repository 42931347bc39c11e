"""Numbers shared with the C core: opcodes, elementwise operations, activations.

The tests hold each of these tables against the C headers.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ACTIVATION_IDS", "BINARY_IDS", "Cell", "Opcode"]


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


class Cell(IntEnum):
    """Cells of the recurrent instruction."""

    LSTM = 0
    GRU = 1
    RNN = 2


BINARY_IDS = {"Add": 0, "Sub": 1, "Mul": 2, "Div": 3, "Min": 4, "Max": 5}
"""ONNX name of each elementwise operation of two operands to its number."""

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
)
ACTIVATION_IDS = {name: i for i, name in enumerate(_ACTIVATIONS)}
"""Name of each activation to its number in ``src_c/core/activation.h``."""
