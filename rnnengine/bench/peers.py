"""The engines under measurement, each called in the fastest ways its public interface offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import rnnengine as rn
from rnnengine.bench.cases import Array, LayerCase

__all__ = ["ENGINES", "Prepared"]


STEPS_COMPARED = 8
"""One-step cases are compared after each of this many steps of one stream."""


@dataclass(frozen=True)
class Prepared:
    """A case made ready in one engine.

    Attributes
    ----------
    output : float32 array [N, H]
        What the engine computes, starting from a zero state: all T steps of a run, or the first
        ``STEPS_COMPARED`` steps of a stream that is fed the same x again and again.
    ways : mapping of str to tuple of callables
        Ways of making the call that is timed, each as callables to be called in turn; no Python
        function stands between the measuring loop and the engine's interface where it can be
        avoided, because that would cost the faster engine more.
    """

    output: Array
    ways: Mapping[str, tuple[Callable[[], object], ...]]


def prepare_rnnengine(case: LayerCase) -> Prepared:
    """One step of a stream, or a whole run, into a buffer that is used again."""
    model = rn.load(case.onnx_bytes("open"))
    x = case.input()
    y = np.empty((case.steps, 1, 1, case.hidden), dtype=np.float32)
    if case.steps > 1:
        model.run(x, out=y)
        return Prepared(y[:, 0, 0].copy(), {"run": (partial(model.run, x, out=y),)})
    stream = model.stream(batch=1)
    output = np.stack([stream.step(x, out=y)[0, 0, 0].copy() for _ in range(STEPS_COMPARED)])
    return Prepared(output, {"step": (partial(stream.step, x, out=y),)})


def prepare_onnxruntime(case: LayerCase) -> Prepared:
    """One thread, no spinning; ``run`` and io-binding with values bound beforehand.

    One step carries its state, as the step of rnnengine does: without an initial state,
    onnxruntime's RNN leaves the recurrent product out. The model asks for the new state only,
    which is the output; io-binding alternates between two bindings, so nothing is copied.
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
    content = case.onnx_bytes("step" if case.steps == 1 else "fixed")
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    prepare = _onnxruntime_step if case.steps == 1 else _onnxruntime_run
    prepared, bound = prepare(session, case)
    if not np.array_equal(prepared.output, bound):
        raise RuntimeError(f"{case.name}: onnxruntime's io-binding and run disagree")
    return prepared


def _onnxruntime_run(session: Any, case: LayerCase) -> tuple[Prepared, Array]:
    """A whole run both ways, and what io-binding computes."""
    import onnxruntime as ort

    x = case.input()
    names, feeds = ["y"], {"x": x}
    output: Any = session.run(names, feeds)[0]
    binding = session.io_binding()
    target = ort.OrtValue.ortvalue_from_numpy(np.zeros_like(output))
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
    binding.bind_ortvalue_output("y", target)
    session.run_with_iobinding(binding)
    ways = {
        "run": (partial(session.run, names, feeds),),
        "io-binding": (partial(session.run_with_iobinding, binding),),
    }
    return Prepared(output[:, 0, 0], ways), target.numpy()[:, 0, 0]


def _onnxruntime_step(session: Any, case: LayerCase) -> tuple[Prepared, Array]:
    """One step of a stream both ways, and what io-binding computes."""
    import onnxruntime as ort

    x, zero = case.input(), np.zeros((1, 1, case.hidden), dtype=np.float32)
    names = [f"{name}_next" for name in case.states]
    feeds = {"x": x} | dict.fromkeys(case.states, zero)

    def run() -> Array:
        results: list[Array] = session.run(names, feeds)
        feeds.update(zip(case.states, results, strict=True))
        return results[0]

    x_value = ort.OrtValue.ortvalue_from_numpy(x)
    # An OrtValue may use the memory of its array, so every one gets an array of its own.
    ends = [[ort.OrtValue.ortvalue_from_numpy(zero.copy()) for _ in case.states] for _ in range(2)]
    bound, results_of = [], []
    for before, after in (ends, ends[::-1]):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", x_value)
        for name, old, new in zip(case.states, before, after, strict=True):
            binding.bind_ortvalue_input(name, old)
            binding.bind_ortvalue_output(f"{name}_next", new)
        bound.append(partial(session.run_with_iobinding, binding))
        results_of.append(after[0])
    output = np.stack([run()[0, 0] for _ in range(STEPS_COMPARED)])
    output_bound = np.empty_like(output)
    for step in range(STEPS_COMPARED):
        bound[step % 2]()
        output_bound[step] = results_of[step % 2].numpy()[0, 0]
    return Prepared(output, {"run": (run,), "io-binding": tuple(bound)}), output_bound


ENGINES: dict[str, Callable[[LayerCase], Prepared]] = {
    "rnnengine": prepare_rnnengine,
    "onnxruntime": prepare_onnxruntime,
}
