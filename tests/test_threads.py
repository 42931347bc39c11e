"""Several threads in one call: the same bits, and a pool that survives its surroundings."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from cases import case
from conv_cases import case as convolution
from engine import bits, load
from lowering import lowered, mixed
from random_graphs import random_graph
from rnnengine._c import core, cpu
from rnnengine.graph import TensorType, Value, substitute
from stacks import stack

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
        model = load(case(seed), isa, mixed(seed))
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
    model = rn.Model(lowered(graph, mixed(seed)))
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


@pytest.mark.parametrize("block", range(4))
def test_elementwise_operators_are_shared(block: int) -> None:
    """Slices handed out to 2, 3 and 4 threads, convolutions among them: the same bits."""
    for seed in range(15 * block, 15 * (block + 1)):
        graph = random_graph(seed).content
        for model in (rn.load(graph), rn.load(convolution(seed).model(constant=seed % 2 == 0))):
            alone = _run(model, seed, 1)
            for threads in (2, 3, 4):
                for one, many in zip(alone, _run(model, seed, -threads), strict=True):
                    assert np.array_equal(bits(one), bits(many)), (seed, threads)


@pytest.mark.parametrize("block", range(4))
def test_stacked_layers_are_pipelined(block: int) -> None:
    """The bits of one layer after the other, for any number of threads and every length."""
    for seed in range(12 * block, 12 * (block + 1)):
        model, count = stack(seed, mixed(seed))
        compiled = model._form.compiled
        rng = np.random.default_rng(seed)
        sizes = {"T": int(rng.choice([1, 2, 40, 90])), "B": int(rng.choice([1, 2, 7]))}
        symbols = [sizes[name] for name in compiled.symbols]
        inputs: list[Array] = []
        for value in model._form.graph.inputs:
            shape = [int(substitute(size, sizes)) for size in value.type.shape]
            inputs.append(rng.standard_normal(shape).astype(np.float32))
            if value.type.dtype.kind == "i":
                inputs[-1] = rng.integers(0, sizes["T"] + 1, shape).astype(np.int32)
        names = list(dict.fromkeys(model._form.graph.outputs))
        shapes = [
            [int(substitute(size, sizes)) for size in compiled.types[name].shape] for name in names
        ]
        results = []
        for threads in (1, -2, -3, -4):
            context = core.Context(compiled.plan.program)
            outputs = [np.full(shape, np.nan, np.float32) for shape in shapes]
            context.execute(symbols, inputs, outputs, threads)
            results.append(outputs)
            assert context.together(0) == (count if threads < 0 else 1), (seed, threads)
        for other in results[1:]:
            assert all(map(np.array_equal, map(bits, results[0]), map(bits, other))), seed


def test_a_layer_that_needs_more_than_the_steps_so_far_waits() -> None:
    """A state that starts from the one before, a reversed layer, two directions: no pipeline."""
    import torch

    for module in (
        torch.nn.GRU(5, 8, num_layers=2, bidirectional=True),
        torch.nn.LSTM(5, 8, bidirectional=True),
    ):
        model = rn.from_torch(module, torch.zeros(9, 2, 5))
        symbols, inputs, outputs = _arguments(model, 0)
        context = core.Context(model._form.compiled.plan.program)
        context.execute(symbols, inputs, outputs, -3)
        assert context.together(0) == 1


def _wide(threads: int | None = None) -> tuple[rn.Model, Array]:
    """A layer and a product large enough to be worth two threads, and an input."""
    rng = np.random.default_rng(1)
    shapes = {
        "0.weight_ih_l0": (1024, 64),
        "0.weight_hh_l0": (1024, 256),
        "0.bias_ih_l0": (1024,),
        "0.bias_hh_l0": (1024,),
        "1.weight": (500, 256),
        "1.bias": (500,),
    }
    file = io.BytesIO()
    np.savez(
        file,
        **{name: rng.uniform(-0.1, 0.1, s).astype(np.float32) for name, s in shapes.items()},
    )
    network = rn.Sequential(rn.LSTM(64, 256), rn.Linear(256, 500))
    model = rn.load(file.getvalue(), architecture=network, threads=threads)
    return model, rng.standard_normal((300, 1, 64)).astype(np.float32)


def _thread_count() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.fixture
def alone() -> Array:
    model, x = _wide()
    result: Array = model.run(x)
    return result


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc to count threads in")
def test_workers_are_made_once_and_shared(alone: Array) -> None:
    model, x = _wide(threads=3)
    assert np.array_equal(model.run(x), alone)
    count = _thread_count()
    for threads in (2, 3, 1):
        assert np.array_equal(model.run(x, threads=threads), alone)
        assert np.array_equal(model.stream(threads=threads).step(x), alone)
        assert np.array_equal(model.run(x, lengths=[300], threads=threads), alone)
    assert _thread_count() == count


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="threads cannot be placed")
def test_workers_keep_off_the_core_of_the_caller(alone: Array) -> None:
    """Woken there, they would share it with the caller; the caller's own cores stay as they are."""
    model, x = _wide(threads=2)
    cores = os.sched_getaffinity(0)
    others = []
    for _ in range(100):
        assert np.array_equal(model.run(x), alone)
        tasks = [int(path.name) for path in Path("/proc/self/task").iterdir()]
        others = [set(os.sched_getaffinity(task)) for task in tasks]
        if len(cores) == 1 or any(len(other) == len(cores) - 1 for other in others):
            break
    assert len(cores) == 1 or any(len(cores - other) == 1 for other in others)
    assert os.sched_getaffinity(0) == cores


def test_calls_at_the_same_time_agree(alone: Array) -> None:
    """One call has the pool, the others compute on their own threads."""
    model, x = _wide(threads=2)
    with ThreadPoolExecutor(4) as pool:
        for y in pool.map(lambda _: model.run(x), range(12)):
            assert np.array_equal(y, alone)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_makes_its_own_workers(alone: Array) -> None:
    model, x = _wide(threads=2)
    model.run(x)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(model.run(x), alone) else 3)
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(model.run(x), alone)


def test_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _wide()[0].threads == 1
    monkeypatch.setenv("RNNENGINE_THREADS", "2")
    model, x = _wide()
    assert model.threads == 2
    assert _wide(threads=5)[0].threads == 5
    monkeypatch.setenv("RNNENGINE_THREADS", "many")
    with pytest.raises(rn.CPUError, match="RNNENGINE_THREADS=many: expected a number of threads"):
        _wide()
    for wrong, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)):
        with pytest.raises(error, match=r"threads is .*expected"):
            model.run(x, threads=wrong)  # type: ignore[arg-type]
        with pytest.raises(error, match=r"threads is .*expected"):
            model.stream(threads=wrong)  # type: ignore[arg-type]
