"""What operators emit: views of buffers and instructions, with no C behind them."""

from rnnengine.program.builder import Matrix, ProgramBuilder, ProgramTables
from rnnengine.program.emitter import Emitter
from rnnengine.program.opcodes import (
    ACTIVATION_IDS,
    BINARY_IDS,
    COMBINATION_IDS,
    COMPARISON_IDS,
    REDUCTION_IDS,
    Opcode,
)
from rnnengine.program.view import Buffer, View

__all__ = [
    "ACTIVATION_IDS",
    "BINARY_IDS",
    "COMBINATION_IDS",
    "COMPARISON_IDS",
    "REDUCTION_IDS",
    "Buffer",
    "Emitter",
    "Matrix",
    "Opcode",
    "ProgramBuilder",
    "ProgramTables",
    "View",
]
