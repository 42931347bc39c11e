"""The verifier in C: a program whose references or sizes are out of range is refused."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from lowering import lowered
from onnx_models import layer
from rnnengine._c import core, cpu
from rnnengine.program.opcodes import ACTIVATION_IDS, BINARY_IDS, ELEMENT_IDS, Opcode
from vectors import run_raw

Array = np.ndarray[Any, Any]


def compiled() -> Any:
    return rn.load(layer("LSTM", 9, 5, direction="bidirectional"))._form.compiled


def program(tables: dict[str, Array], constants: list[Array], like: Any) -> core.Program:
    t = like.tables
    return core.Program(
        cpu.chosen(), tables, constants, len(t.symbols), t.n_inputs, t.n_outputs, t.n_slots
    )


def outputs_of(like: Any) -> list[Array]:
    """Room for the outputs of a program, and more."""
    return [np.zeros(4096, np.float32) for _ in range(like.tables.n_outputs)]


def test_a_program_runs_as_it_stands() -> None:
    made = compiled()
    context = core.Context(program(made.tables.tables, made.constants, made))
    x = np.ones((4, 2, 5), np.float32)
    outputs = run_raw(made, context, [4, 2], [x])
    assert [o.size for o in outputs] == [4 * 2 * 2 * 9, 2 * 2 * 9, 2 * 2 * 9]
    assert all(np.abs(o).sum() > 0 for o in outputs)


@pytest.mark.slow
def test_no_changed_table_gets_past_the_verifier_to_run_out_of_bounds() -> None:
    """Every field of every table set to odd values: refused, or it runs inside its buffers.

    Under the sanitizer build (RNNENGINE_SANITIZE=1) an access outside would end the process.
    """
    made = compiled()
    x = np.ones((4, 2, 5), np.float32)
    refused = ran = 0
    for name, table in made.tables.tables.items():
        if name == "floats":
            continue
        for position in range(table.size):
            for value in (-1, 0, 1, 7, 255, 2**31, 2**62, -(2**63)):
                changed = dict(made.tables.tables)
                changed[name] = table.copy()
                changed[name].reshape(-1)[position] = value
                try:
                    context = core.Context(program(changed, made.constants, made))
                    outputs = [np.zeros(n, np.float32) for n in (144, 36, 36)]
                    if name in ("exprs", "terms", "buffers"):
                        continue  # the sizes of inputs and outputs themselves may have changed
                    context.execute([4, 2], [x], outputs)
                    ran += 1
                except (RuntimeError, MemoryError, OverflowError, ValueError):
                    refused += 1
    assert refused > 1000
    assert ran > 100


def test_a_constant_smaller_than_its_buffer_is_refused() -> None:
    made = compiled()
    short = [made.constants[0][:-1].copy(), *made.constants[1:]]
    context = core.Context(program(made.tables.tables, short, made))
    with pytest.raises(RuntimeError, match="leaves its buffer"):
        context.execute([4, 2], [np.ones((4, 2, 5), np.float32)], [])


def test_weights_of_two_bytes_stand_only_where_weights_do() -> None:
    """A buffer of halves is a constant, of its own size, and an operand that is a matrix."""
    graph = lowered(rn.load(layer("LSTM", 9, 5))._form.graph, "bfloat16")
    made = rn.Model(graph)._form.compiled
    tables = made.tables.tables
    buffers = tables["buffers"]
    assert (buffers[:, 2] == ELEMENT_IDS["bf16"]).sum() == 2
    for row, dtype in itertools.product(range(len(buffers)), ELEMENT_IDS.values()):
        changed = {**tables, "buffers": buffers.copy()}
        if buffers[row, 2] == dtype:
            continue
        changed["buffers"][row, 2] = dtype
        with pytest.raises((RuntimeError, MemoryError)):
            context = core.Context(program(changed, made.constants, made))
            context.execute([4, 2], [np.ones((4, 2, 5), np.float32)], outputs_of(made))


def test_sizes_that_overflow_are_refused() -> None:
    made = compiled()
    context = core.Context(made.plan.program)
    with pytest.raises((OverflowError, MemoryError)):
        context.execute([2**62, 2**62], [], [])
    with pytest.raises((OverflowError, MemoryError)):
        context.execute([2**40, 2**20], [], [])


def test_numbers_shared_with_c_are_the_same(root: Path) -> None:
    header = (root / "src_c/core/activation.h").read_text()
    found = {n.lower(): int(i) for n, i in re.findall(r"RNNE_ACT_(\w+) = (\d+)", header)}
    assert found.pop("count") == len(ACTIVATION_IDS)
    assert found == ACTIVATION_IDS
    header = (root / "src_c/core/kernels.h").read_text()
    found = {
        n.lower(): int(i) for n, i in re.findall(r"RNNE_([A-Z_]+) = (\d+),? *(?:/\*|\n)", header)
    }
    assert {k: found[k.lower()] for k in BINARY_IDS} == BINARY_IDS
    header = (root / "src_c/core/program.h").read_text()
    listed = re.search(r"typedef enum rnne_dtype \{(.*?)\}", header, re.S)
    assert listed is not None
    found = {n.lower(): int(i) for n, i in re.findall(r"RNNE_(\w+) = (\d+)", listed[1])}
    assert found.pop("dtype_count") == len(ELEMENT_IDS)
    assert found == ELEMENT_IDS
    source = (root / "src_c/core/program.c").read_text()
    listed = re.search(r"ops\[\] = \{(.*?)\};", source, re.S)
    assert listed is not None
    names = re.findall(r"rnne_op_(\w+)", listed[1])
    assert names == [op.name.lower() for op in Opcode]
