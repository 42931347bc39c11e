"""The engines under measurement, each called in the fastest ways its public interface offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import rnnengine as rn
from rnnengine.bench.cases import Array, LayerCase

__all__ = ["ENGINES", "Prepared"]


@dataclass(frozen=True)
class Prepared:
    """A case made ready in one engine.

    Attributes
    ----------
    output : float32 array [T, 1, 1, H]
        What the engine computes, starting from a zero state.
    ways : mapping of str to callable
        Ways of making the call that is timed; none of them allocates the input.
    """

    output: Array
    ways: Mapping[str, Callable[[], object]]


def prepare_rnnengine(case: LayerCase) -> Prepared:
    """One step of a stream, or a whole run, into a buffer that is used again."""
    model = rn.load(case.onnx_bytes(fixed_length=False))
    x = case.input()
    y = np.empty((case.steps, 1, 1, case.hidden), dtype=np.float32)
    if case.steps > 1:
        model.run(x, out=y)
        return Prepared(y.copy(), {"run": lambda: model.run(x, out=y)})
    stream = model.stream(batch=1)
    stream.step(x, out=y)
    return Prepared(y.copy(), {"step": lambda: stream.step(x, out=y)})


def prepare_onnxruntime(case: LayerCase) -> Prepared:
    """One thread, no spinning; ``run`` and io-binding with values bound beforehand.

    The model declares its length as a number, and no state goes in or out, which only makes it
    faster; the step of rnnengine carries its state.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = ort.InferenceSession(
        case.onnx_bytes(fixed_length=True), options, providers=["CPUExecutionProvider"]
    )
    x = case.input()
    names, feeds = ["y"], {"x": x}
    output: Any = session.run(names, feeds)[0]
    bound = session.io_binding()
    bound.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
    target = ort.OrtValue.ortvalue_from_numpy(np.zeros_like(output))
    bound.bind_ortvalue_output("y", target)
    session.run_with_iobinding(bound)
    if not np.array_equal(target.numpy(), output):
        raise RuntimeError(f"{case.name}: onnxruntime's io-binding and run disagree")
    return Prepared(
        output,
        {
            "run": lambda: session.run(names, feeds),
            "io-binding": lambda: session.run_with_iobinding(bound),
        },
    )


ENGINES: dict[str, Callable[[LayerCase], Prepared]] = {
    "rnnengine": prepare_rnnengine,
    "onnxruntime": prepare_onnxruntime,
}
