"""OpenVINO: inference requests whose tensors are bound beforehand."""

from __future__ import annotations

from itertools import repeat

import numpy as np

from rnnengine.bench.cases import LayerCase
from rnnengine.bench.onnx_form import onnx_bytes
from rnnengine.bench.peers.base import STEPS_COMPARED, Prepared, features_last

__all__ = ["prepare", "prepare_bfloat16"]


def prepare(case: LayerCase) -> Prepared:
    """float32, one stream of requests, as many threads as the case allows.

    A step alternates between two requests, each of which writes the state that the other reads, so
    nothing is copied.
    """
    return _prepare(case, "f32")


def prepare_bfloat16(case: LayerCase) -> Prepared:
    """The same with bfloat16 as the hint for the precision of inference."""
    return _prepare(case, "bf16")


def _prepare(case: LayerCase, precision: str) -> Prepared:
    import openvino as ov

    core = ov.Core()
    model = core.read_model(onnx_bytes(case, "step" if case.carries_state else "fixed"))
    settings = {
        "INFERENCE_NUM_THREADS": str(case.threads),
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "ENABLE_CPU_PINNING": "NO",
    }
    compiled = core.compile_model(model, "CPU", settings)
    x = case.input()

    if not case.carries_state:
        y = np.zeros((case.steps, case.directions, case.batch, case.hidden), np.float32)
        request = compiled.create_infer_request()
        request.set_tensor("x", ov.Tensor(x, shared_memory=True))
        request.set_tensor("y", ov.Tensor(y, shared_memory=True))
        request.infer()

        def run(count: int, _held: object = (x, y)) -> None:  # the request borrows the arrays
            for _ in repeat(None, count):
                request.infer()

        return Prepared(features_last(case, y.copy()), {"request": run})

    ends = [[np.zeros((1, 1, case.hidden), np.float32) for _ in case.states] for _ in range(2)]
    requests = []
    for before, after in zip(ends, ends[::-1], strict=True):
        made = compiled.create_infer_request()
        made.set_tensor("x", ov.Tensor(x, shared_memory=True))
        for name, old, new in zip(case.states, before, after, strict=True):
            made.set_tensor(name, ov.Tensor(old, shared_memory=True))
            made.set_tensor(f"{name}_next", ov.Tensor(new, shared_memory=True))
        requests.append(made)
    output = np.empty((STEPS_COMPARED, case.hidden), np.float32)
    for step in range(STEPS_COMPARED):
        requests[step % 2].infer()
        output[step] = ends[1 - step % 2][0][0, 0]

    def step_bound(count: int, _held: object = (x, ends)) -> None:
        even, odd = requests
        for _ in repeat(None, count // 2):
            even.infer()
            odd.infer()

    return Prepared(output, {"request": step_bound})
