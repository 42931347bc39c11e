"""bfloat16 and float16 weights: the bits of the float32 engine on the rounded weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from cases import Case, case
from conv_cases import WIDE, wide_case
from conv_cases import case as convolution
from engine import float_tables, run, same_bits
from lowering import lowered, rounded
from random_graphs import random_graph
from rnnengine._c import cpu
from rnnengine.graph import Graph, Node, TensorType, Value, symbol
from rnnengine.importers import load_graph
from rnnengine.program.opcodes import ELEMENT_IDS
from test_masks import layer as masked_layer

Array = np.ndarray[Any, Any]

TYPES = ("bfloat16", "float16")
"""Those whose numbers float32 has too."""
CHUNK = 50


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Blocks of seeds, as in the matrix."""
    if "block" in metafunc.fixturenames:
        total = int(metafunc.config.getoption("--matrix-cases"))
        first = 600_000_000 + int(metafunc.config.getoption("--seed")) * 1_000_000
        blocks = [range(first + i, first + min(i + CHUNK, total)) for i in range(0, total, CHUNK)]
        metafunc.parametrize("block", blocks, ids=[f"{b.start}-{b.stop - 1}" for b in blocks])


def check(graph: Graph, compute_type: str, feeds: dict[str, Array], what: object) -> int:
    """Compare every table with the float32 engine; the number of 16-bit matrices."""
    low = lowered(graph, compute_type)
    reference = run(rn.Model(rounded(low)), feeds)
    for isa in float_tables():
        with cpu.use(isa):
            model = rn.Model(low)
        assert same_bits(run(model, feeds), reference), f"{what}: {isa}"
    return halves(model)


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
        found = check(drawn.graph, compute_type, drawn.feeds, drawn)
        assert found == (0 if drawn.spec.dynamic_weights else expected_halves(drawn))


@pytest.mark.parametrize("compute_type", TYPES)
def test_convolutions_have_the_bits_of_rounded_weights(compute_type: str) -> None:
    """Of one group; padded taps are skipped, whatever the type of the weights."""
    found = 0
    for drawn in (*map(convolution, range(160)), *map(wide_case, range(len(WIDE)))):
        if drawn.attrs.get("group") == 1:
            found += check(load_graph(drawn.model()), compute_type, drawn.feeds, drawn)
    assert found > 20 + len(WIDE)


@pytest.mark.parametrize("compute_type", TYPES)
@pytest.mark.parametrize("seed", range(12))
def test_products_have_the_bits_of_rounded_weights(seed: int, compute_type: str) -> None:
    """Panels that are not full, odd k, one row and many, both orders of the weights."""
    rng = np.random.default_rng(seed)
    k, n, rows = (
        int(rng.choice(some)) for some in ((1, 2, 7, 33, 64), (1, 16, 40, 150), (1, 5, 70))
    )
    w, turned = rng.standard_normal((k, n)).astype(np.float32), bool(seed % 2)
    constants = {"w": w.T.copy() if turned else w, "b": rng.standard_normal(n).astype(np.float32)}
    nodes = (
        Node("MatMul", "plain", ("x", "w"), ("p",))
        if not turned
        else Node("Gemm", "turned", ("x", "w", "b"), ("p",), {"transB": 1}),
        Node("Sigmoid", "act", ("p",), ("y",)),
    )
    f32 = np.dtype(np.float32)
    x = Value("x", TensorType(f32, (symbol("B"), k)))
    graph = Graph("product", (x,), ("y",), nodes, constants)
    feeds = {"x": rng.standard_normal((rows, k)).astype(np.float32)}
    assert check(graph, compute_type, feeds, (k, n, rows)) == 1


@pytest.mark.parametrize("compute_type", TYPES)
def test_whole_graphs_have_the_bits_of_rounded_weights(compute_type: str) -> None:
    """Products and recurrent layers among other operators."""
    found = 0
    for seed in range(40):
        drawn = random_graph(seed)
        feeds = drawn.feeds({"T": 5, "B": 3}, seed)
        found += check(load_graph(drawn.content), compute_type, feeds, drawn)
    assert found > 5


@pytest.mark.parametrize("compute_type", TYPES)
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_masked_steps_have_the_bits_of_rounded_weights(cell: str, compute_type: str) -> None:
    """Masks with holes, lengths beside them, both ways through time."""
    rng = np.random.default_rng(3)
    graph = masked_layer(cell, "bidirectional", "carry", lengths=True, proj=cell == "LSTM")
    feeds: dict[str, Array] = {
        "x": rng.standard_normal((9, 6, 5)).astype(np.float32),
        "mask": (rng.random((9, 6)) < 0.6).astype(np.int32),
        "h0": rng.uniform(-1, 1, (2, 6, 7 if cell == "LSTM" else 19)).astype(np.float32),
        "lengths": np.array([9, 4, 0, 9, 7, 1], np.int32),
    }
    assert check(graph, compute_type, feeds, cell) == 2 + (cell != "RNN")
