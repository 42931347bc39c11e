"""rnnengine itself, as its users call it."""

from __future__ import annotations

from itertools import repeat
from typing import Any

import numpy as np

import rnnengine as rn
from rnnengine._c import cpu
from rnnengine.bench.cases import LayerCase
from rnnengine.bench.onnx_form import onnx_bytes
from rnnengine.bench.peers.base import STEPS_COMPARED, Prepared, features_last

__all__ = ["prepare", "prepare_alone", "prepare_as", "prepare_avx2"]


def prepare(case: LayerCase) -> Prepared:
    """One step of a stream, or a whole run, into a buffer that is used again."""
    return _prepare(case, case.threads)


def prepare_alone(case: LayerCase) -> Prepared:
    """The same on one thread, whatever the case allows."""
    return _prepare(case, 1)


def prepare_avx2(case: LayerCase) -> Prepared:
    """The same with the AVX2 kernels."""
    with cpu.use("avx2"):
        return _prepare(case, case.threads)


def prepare_as(compute_type: str, case: LayerCase) -> Prepared:
    """The same as ``prepare`` with weights of a compute type."""
    return _prepare(case, case.threads, compute_type=compute_type)


def _prepare(case: LayerCase, threads: int, **words: Any) -> Prepared:
    model = rn.load(onnx_bytes(case, "open"), threads=threads, **words)
    x = case.input()
    y = np.empty((case.steps, case.directions, case.batch, case.hidden), dtype=np.float32)

    def run(count: int) -> None:
        for _ in repeat(None, count):
            model.run(x, out=y)

    if not case.carries_state:
        return Prepared(features_last(case, model.run(x)), {"run": run})
    stream = model.stream(batch=1)

    def step(count: int) -> None:
        for _ in repeat(None, count):
            stream.step(x, out=y)

    output = np.stack([stream.step(x)[0, 0, 0] for _ in range(STEPS_COMPARED)])
    return Prepared(output, {"step": step})
