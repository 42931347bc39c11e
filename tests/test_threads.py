"""Several threads in one call: the same bits, and a pool that survives its surroundings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from cases import case
from engine import bits, load
from rnnengine._c import core, cpu
from rnnengine.graph import TensorType, Value, substitute

Array = np.ndarray[Any, Any]


def _arguments(model: rn.Model, seed: int) -> tuple[list[int], list[Array], list[Array]]:
    """Symbols, inputs and empty outputs of one run of a model's program."""
    compiled = model._form.compiled
    rng = np.random.default_rng(seed)
    symbols = [int(n) for n in rng.integers(3, 9, len(compiled.symbols))]
    bound = dict(zip(compiled.symbols, symbols, strict=True))

    def shape(sizes: Any) -> list[int]:
        return [int(substitute(size, bound)) for size in sizes]

    inputs = [
        np.ascontiguousarray(
            np.abs(rng.standard_normal(shape(v.type.shape))) % 2
            if v.type.dtype.kind == "i"
            else rng.standard_normal(shape(v.type.shape)),
            v.type.dtype,
        )
        for v in model._form.graph.inputs
    ]
    outputs = [
        np.full(shape(compiled.types[name].shape), np.nan, np.float32)
        for name in dict.fromkeys(model._form.graph.outputs)
    ]
    return symbols, inputs, outputs


def _run(model: rn.Model, seed: int, threads: int) -> list[Array]:
    symbols, inputs, outputs = _arguments(model, seed)
    core.Context(model._form.compiled.plan.program).execute(symbols, inputs, outputs, threads)
    return outputs


@pytest.mark.parametrize("block", range(6))
def test_threads_do_not_change_a_bit(block: int) -> None:
    """Every kind of layer of the matrix, shared by 2, 3 and 5 threads."""
    isa = cpu.available()[0]
    for seed in range(870_000_000 + 50 * block, 870_000_000 + 50 * (block + 1)):
        model = load(case(seed), isa)
        alone = _run(model, seed, 1)
        for threads in (2, 3, 5):
            for one, many in zip(alone, _run(model, seed, -threads), strict=True):
                np.testing.assert_array_equal(one.view(np.int32), many.view(np.int32), str(seed))


@pytest.mark.parametrize("seed", range(880_000_000, 880_000_040))
def test_masked_layers_are_shared_too(seed: int) -> None:
    """Masks with holes keep and zero the rows of every thread's share alike."""
    drawn = next(c for c in map(case, range(seed, seed + 1000)) if c.kind == "graph")
    node = drawn.graph.nodes[0]
    names = (*node.inputs, *([None] * (10 - len(node.inputs))), "mask")
    steps, batch = drawn.operands[0].shape[:2] if drawn.operands[0] is not None else (0, 0)
    sizes = drawn.graph.inputs[0].type.shape[:2]
    masked = replace(
        node,
        inputs=tuple(None if name == "lengths" else name for name in names),
        attrs={**node.attrs, "masked_output": ("carry", "zero")[seed % 2]},
    )
    graph = drawn.graph.with_(
        inputs=(
            *(v for v in drawn.graph.inputs if v.name != "lengths"),
            Value("mask", TensorType(np.dtype(np.int32), sizes)),
        ),
        nodes=(masked,),
    )
    model = rn.Model(graph)
    holes = (np.random.default_rng(seed).random((steps, batch)) < 0.6).astype(np.int32)
    feeds = {k: v for k, v in drawn.feeds.items() if k != "lengths"} | {"mask": holes}
    want = model.run(feeds)
    if not isinstance(want, dict):
        want = {graph.outputs[0]: want}
    compiled = model._form.compiled
    sizes_of = {"T": steps, "B": batch}

    def zeros(name: str) -> Array:
        shape = [int(substitute(size, sizes_of)) for size in compiled.types[name].shape]
        return np.zeros(shape, np.float32)

    inputs = [
        np.ascontiguousarray(feeds[v.name]) if v.name in feeds else zeros(v.name)
        for v in model._form.graph.inputs
    ]
    names = list(dict.fromkeys(model._form.graph.outputs))
    for threads in (-2, -3, -5):
        outputs = [zeros(name) - 1 for name in names]
        context = core.Context(compiled.plan.program)
        context.execute([sizes_of[s] for s in compiled.symbols], inputs, outputs, threads)
        got = dict(zip(names, outputs, strict=True))
        assert all(np.array_equal(bits(got[name]), bits(want[name])) for name in want), threads
