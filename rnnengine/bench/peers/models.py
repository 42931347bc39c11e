"""Whole models: a step of a stream with its state carried, or a run."""

from __future__ import annotations

from itertools import repeat
from typing import Any

import numpy as np

import rnnengine as rn
from rnnengine.bench.cases import Array, ModelCase
from rnnengine.bench.peers.base import STEPS_COMPARED, Prepared
from rnnengine.bench.peers.onnxruntime_ import session_of

__all__ = ["prepare_onnxruntime", "prepare_own"]


def prepare_own(case: ModelCase) -> Prepared:
    """``Stream.step`` or ``Model.run``, into arrays that are used again."""
    model = rn.load(case.content, constants=case.constants)
    call = model.stream().step if case.states else model.run
    x: Any = dict(case.inputs)
    out: Any = {name: np.empty(case.shapes[name], np.float32) for name in case.compared}
    single = next(iter(out.values())) if len(out) == 1 else None
    if len(x) == 1:
        (x,) = x.values()
    target = out if single is None else single

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            call(x, out=target)

    seen = []
    for _ in range(STEPS_COMPARED):
        call(x, out=target)
        seen.append(_row(case, out))
    return Prepared(np.stack(seen), {"step" if case.states else "run": loop})


def prepare_onnxruntime(case: ModelCase) -> Prepared:
    """``run`` with a dictionary, and io-binding on memory that is given once.

    With state, two bindings take turns: each writes where the other reads, so nothing is copied
    between calls, slices of an output included.
    """
    session = session_of(case.content, 1)
    names = [output.name for output in session.get_outputs()]
    asked = {i.name for i in session.get_inputs()}
    fixed = {n: np.asarray(v) for n, v in {**case.inputs, **case.constants}.items() if n in asked}
    sides = [{name: np.zeros(case.shapes[name], np.float32) for name in names} for _ in range(2)]
    bindings = []
    for before, after in (sides, sides[::-1]):
        binding = session.io_binding()
        for name, array in fixed.items():
            _bind(binding.bind_input, name, array)
        for name, array in _states(case, before).items():
            _bind(binding.bind_input, name, array)
        for name in names:
            _bind(binding.bind_output, name, after[name])
        bindings.append(binding)

    def run(count: int) -> Any:
        feeds = fixed | {n: np.zeros(case.shapes[n], np.float32) for n, _, _ in case.states}
        results: Any = ()
        for _ in repeat(None, count):
            results = session.run(names, feeds)
            feeds.update(_states(case, dict(zip(names, results, strict=True))))
        return dict(zip(names, results, strict=True))

    def run_bound(count: int, _memory: Any = sides) -> None:  # bindings know addresses only
        even, odd = bindings
        for _ in repeat(None, count // 2):
            session.run_with_iobinding(even)
            session.run_with_iobinding(odd)

    output = np.stack([_row(case, run(count)) for count in range(1, STEPS_COMPARED + 1)])
    for step in range(STEPS_COMPARED):
        session.run_with_iobinding(bindings[step % 2])
        if not np.array_equal(output[step], _row(case, sides[1 - step % 2])):
            raise RuntimeError(f"{case.name}: onnxruntime's io-binding and run disagree")
    return Prepared(output, {"run": run, "io-binding": run_bound})


def _bind(bind: Any, name: str, array: Array) -> None:
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _states(case: ModelCase, results: dict[str, Array]) -> dict[str, Array]:
    """The inputs that are state, as parts of the outputs they come from."""
    found = {}
    for name, output, start in case.states:
        shape, whole = case.shapes[name], results[output]
        at = sum(
            first * int(np.prod(whole.shape[axis + 1 :])) for axis, first in enumerate(start or ())
        )
        found[name] = whole.reshape(-1)[at : at + int(np.prod(shape))].reshape(shape)
    return found


def _row(case: ModelCase, results: dict[str, Array]) -> Array:
    """All outputs but the state, one after the other."""
    return np.concatenate([results[name].ravel() for name in case.compared])
