"""The engines under measurement, each called in the fastest ways its public interface offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any, TypeAlias

import numpy as np

import rnnengine as rn
from rnnengine.bench.cases import Array, LayerCase

__all__ = ["ENGINES", "Loop", "Prepared"]

Loop: TypeAlias = Callable[[int], object]
"""Makes that many calls, an even number."""


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
    ways : mapping of str to callable
        Ways of making the call that is timed. Each is a loop that makes ``count`` calls as a
        program would write them; a function around the call would cost the faster engine more.
    """

    output: Array
    ways: Mapping[str, Loop]


def prepare_rnnengine(case: LayerCase) -> Prepared:
    """One step of a stream, or a whole run, into a buffer that is used again."""
    model = rn.load(case.onnx_bytes("open"))
    x = case.input()
    y = np.empty((case.steps, 1, 1, case.hidden), dtype=np.float32)
    stream = model.stream(batch=1)

    def run(count: int) -> None:
        for _ in repeat(None, count):
            model.run(x, out=y)

    def step(count: int) -> None:
        for _ in repeat(None, count):
            stream.step(x, out=y)

    if case.steps > 1:
        return Prepared(model.run(x)[:, 0, 0], {"run": run})
    output = np.stack([stream.step(x)[0, 0, 0] for _ in range(STEPS_COMPARED)])
    return Prepared(output, {"step": step})


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

    def run(count: int) -> None:
        for _ in repeat(None, count):
            session.run(names, feeds)

    def run_bound(count: int) -> None:
        for _ in repeat(None, count):
            session.run_with_iobinding(binding)

    prepared = Prepared(output[:, 0, 0], {"run": run, "io-binding": run_bound})
    return prepared, target.numpy()[:, 0, 0]


def _onnxruntime_step(session: Any, case: LayerCase) -> tuple[Prepared, Array]:
    """One step of a stream both ways, and what io-binding computes."""
    import onnxruntime as ort

    x, zero = case.input(), np.zeros((1, 1, case.hidden), dtype=np.float32)
    names = [f"{name}_next" for name in case.states]
    # An OrtValue may use the memory of its array, so every one gets an array of its own.
    ends = [[ort.OrtValue.ortvalue_from_numpy(zero.copy()) for _ in case.states] for _ in range(2)]
    bindings = [session.io_binding(), session.io_binding()]
    for binding, before, after in zip(bindings, ends, ends[::-1], strict=True):
        binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
        for name, old, new in zip(case.states, before, after, strict=True):
            binding.bind_ortvalue_input(name, old)
            binding.bind_ortvalue_output(f"{name}_next", new)

    def run(count: int) -> Array:
        feeds = {"x": x} | dict.fromkeys(case.states, zero)
        for _ in repeat(None, count):
            results = session.run(names, feeds)
            feeds.update(zip(case.states, results, strict=True))
        h: Array = results[0][0, 0]
        return h

    def run_bound(count: int) -> None:
        even, odd = bindings
        for _ in repeat(None, count // 2):
            session.run_with_iobinding(even)
            session.run_with_iobinding(odd)

    output = np.stack([run(count) for count in range(1, STEPS_COMPARED + 1)])
    output_bound = np.empty_like(output)
    for step in range(STEPS_COMPARED):
        session.run_with_iobinding(bindings[step % 2])
        output_bound[step] = ends[1 - step % 2][0].numpy()[0, 0]
    return Prepared(output, {"run": run, "io-binding": run_bound}), output_bound


ENGINES: dict[str, Callable[[LayerCase], Prepared]] = {
    "rnnengine": prepare_rnnengine,
    "onnxruntime": prepare_onnxruntime,
}
