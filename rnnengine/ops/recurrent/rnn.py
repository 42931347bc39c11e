"""Elman RNN, h = f(x W' + h R' + b_w + b_r), in float64 (the ONNX RNN operator)."""

from __future__ import annotations

import functools

from rnnengine.ops.recurrent import common, rules
from rnnengine.ops.recurrent.common import (
    Gate,
    Probe,
    RecurrentAttrs,
    State,
    Step,
    float64,
)
from rnnengine.ops.registry import Array, Attrs, Op, Values, register

__all__ = ["RNN", "run"]


def _step(attrs: RecurrentAttrs, values: Values, direction: int, probe: Probe | None) -> Step:
    r, b_r = float64(values, 2), float64(values, 4)
    assert r is not None
    (f,) = attrs.activations[direction]
    gate = Gate(attrs.clip, probe)
    recurrent = r[direction].T
    bias = 0.0 if b_r is None else b_r[direction]

    def step(inputs: Array, state: State) -> State:
        (h_before,) = state
        return (gate(f, inputs + h_before @ recurrent + bias),)

    return step


def run(attrs: Attrs, values: Values, probe: Probe | None = None) -> list[Array]:
    """Evaluate the layer in float64; see the table in :mod:`rnnengine.ops.recurrent.common`."""
    return common.run("RNN", attrs, values, probe, _step)


RNN = register(
    Op(
        "RNN",
        functools.partial(rules.infer, op="RNN", gates=1),
        run,
        functools.partial(rules.stream, op="RNN"),
    )
)
