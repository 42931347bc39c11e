"""onnxruntime: `run`, and io-binding with values bound beforehand."""

from __future__ import annotations

from itertools import repeat
from typing import Any

import numpy as np

from rnnengine.bench.cases import Array, LayerCase
from rnnengine.bench.onnx_form import onnx_bytes
from rnnengine.bench.peers.base import STEPS_COMPARED, Prepared, features_last

__all__ = ["prepare", "prepare_int8", "session_of"]


def session_of(content: bytes, threads: int) -> Any:
    """Open a model with all optimisations; one thread never spins."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    if threads == 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def prepare(case: LayerCase) -> Prepared:
    """As many threads as the case allows.

    One step carries its state, as the step of rnnengine does: without an initial state,
    onnxruntime's RNN leaves the recurrent product out. The model asks for the new state only,
    which is the output; io-binding alternates between two bindings, so nothing is copied.
    """
    return _prepare(case, int8=False)


def prepare_int8(case: LayerCase) -> Prepared:
    """The same of ``DynamicQuantizeLSTM``, its only recurrent layer in int8."""
    return _prepare(case, int8=True)


def _prepare(case: LayerCase, *, int8: bool) -> Prepared:
    content = onnx_bytes(case, "step" if case.carries_state else "fixed", int8=int8)
    session = session_of(content, case.threads)
    prepared, bound = (_step if case.carries_state else _run)(session, case)
    if not np.array_equal(prepared.output, bound):
        raise RuntimeError(f"{case.name}: onnxruntime's io-binding and run disagree")
    return prepared


def _run(session: Any, case: LayerCase) -> tuple[Prepared, Array]:
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

    prepared = Prepared(features_last(case, output), {"run": run, "io-binding": run_bound})
    return prepared, features_last(case, target.numpy())


def _step(session: Any, case: LayerCase) -> tuple[Prepared, Array]:
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
