"""bfloat16 and float16 weights: the bits of the float32 engine on the rounded weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from cases import Case, case
from engine import run, same_bits
from lowering import lowered, rounded
from rnnengine._c import cpu
from rnnengine.passes.fold import fold
from rnnengine.program.opcodes import ELEMENT_IDS

Array = np.ndarray[Any, Any]

TYPES = ("bfloat16", "float16")
CHUNK = 50


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Blocks of seeds, as in the matrix."""
    if "block" in metafunc.fixturenames:
        total = int(metafunc.config.getoption("--matrix-cases"))
        first = 600_000_000 + int(metafunc.config.getoption("--seed")) * 1_000_000
        blocks = [range(first + i, first + min(i + CHUNK, total)) for i in range(0, total, CHUNK)]
        metafunc.parametrize("block", blocks, ids=[f"{b.start}-{b.stop - 1}" for b in blocks])


def halves(model: rn.Model) -> int:
    """Matrices of 16-bit weights in a model's program."""
    kinds = model._form.compiled.tables.tables["buffers"][:, 2]
    return int(np.isin(kinds, [ELEMENT_IDS["bf16"], ELEMENT_IDS["f16"]]).sum())


def expected_halves(drawn: Case) -> int:
    """W and R, and what is multiplied apart from them: a candidate, a projection."""
    return 2 + (drawn.spec.op == "GRU") + drawn.spec.proj


@pytest.mark.matrix
@pytest.mark.parametrize("compute_type", TYPES)
def test_the_bits_are_those_of_rounded_weights(block: range, compute_type: str) -> None:
    """On every table; halves are widened exactly, and sums have the same order."""
    for seed in block:
        drawn = case(seed)
        graph = lowered(fold(drawn.graph), compute_type)
        reference = run(rn.Model(rounded(graph)), drawn.feeds)
        for isa in cpu.available():
            with cpu.use(isa):
                model = rn.Model(graph)
            assert halves(model) == (0 if drawn.spec.dynamic_weights else expected_halves(drawn))
            assert same_bits(run(model, drawn.feeds), reference), f"{drawn}: {isa}"
