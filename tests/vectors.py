"""Programs with inputs and expected bits in one file, for a harness that runs without Python.

Layout, little-endian: the magic word, the number of cases; per case 16 int64 header fields, then
the program's tables, symbols, constants, inputs and expected outputs, each after its size in bytes.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from rnnengine._c import core
from rnnengine.compiler import Compiled

Array = np.ndarray[Any, Any]

MAGIC = b"RNNEVEC1"
TABLES = ("terms", "exprs", "buffers", "operands", "instrs", "refs", "ints", "floats")


class VectorFile:
    """Collects cases and writes them."""

    def __init__(self) -> None:
        self.cases: list[bytes] = []

    def add(self, compiled: Compiled, symbols: list[int], inputs: list[Array]) -> list[Array]:
        """Run a program on this machine and record what came out; returns the outputs."""
        tables = compiled.tables
        context = core.Context(compiled.plan.program)
        outputs = run_raw(compiled, context, symbols, inputs)
        header = [tables.n_inputs, tables.n_outputs, tables.n_slots, len(tables.symbols)]
        header += [len(tables.tables[name]) for name in TABLES]
        header += [len(compiled.constants), 0, 0, 0]
        parts = [struct.pack("<16q", *header)]
        arrays = [tables.tables[name] for name in TABLES]
        arrays += [np.asarray(symbols, np.int64), *compiled.constants, *inputs, *outputs]
        for array in arrays:
            data = np.ascontiguousarray(array).tobytes()
            parts += [struct.pack("<q", len(data)), data]
        self.cases.append(b"".join(parts))
        return outputs

    def write(self, path: Path) -> None:
        """Write all cases."""
        path.write_bytes(MAGIC + struct.pack("<q", len(self.cases)) + b"".join(self.cases))


def run_raw(
    compiled: Compiled, context: core.Context, symbols: list[int], inputs: list[Array]
) -> list[Array]:
    """Run a program on raw arrays; the sizes of its outputs come from its own tables."""
    program = compiled.tables
    buffers = program.tables["buffers"]
    sizes = {int(row[1]): int(row[3]) for row in buffers if row[0] == 2}
    probe = [evaluate(program.tables, sizes[i], symbols) for i in range(program.n_outputs)]
    outputs = [np.zeros(n, np.float32) for n in probe]
    context.execute(symbols, inputs, outputs)
    return outputs


def evaluate(tables: dict[str, Array], expr: int, symbols: list[int]) -> int:
    """Value of one of a program's size expressions."""
    first, count = (int(v) for v in tables["exprs"][expr])
    total = 0
    for row in tables["terms"][first : first + count]:
        value = int(row[0])
        for power, size in zip(row[1:], symbols, strict=False):
            value *= size ** int(power)
        total += value
    return total
