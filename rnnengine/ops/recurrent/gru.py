"""GRU, with the reset gate before or after the recurrent product, in float64.

The equations are those of the ONNX GRU operator; ``reset_after`` is its ``linear_before_reset``,
the form of cuDNN, PyTorch and Keras' default.
"""

from __future__ import annotations

import functools

import numpy as np

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

__all__ = ["GRU", "run"]


def _step(attrs: RecurrentAttrs, values: Values, direction: int, probe: Probe | None) -> Step:
    r, b_r = float64(values, 2), float64(values, 4)
    assert r is not None
    f, g = attrs.activations[direction]
    gate = Gate(attrs.clip, probe)
    size = attrs.hidden_size
    recurrent = r[direction].T
    bias = np.zeros(3 * size) if b_r is None else b_r[direction]
    r_n, b_n = recurrent[:, 2 * size :], bias[2 * size :]

    def step(inputs: Array, state: State) -> State:
        (h_before,) = state
        x_r, x_z, x_n = np.split(inputs, 3, axis=1)
        h_r, h_z, h_n = np.split(h_before @ recurrent + bias, 3, axis=1)
        reset = gate(f, x_r + h_r)
        update = gate(f, x_z + h_z)
        if attrs.reset_after:
            candidate = gate(g, x_n + reset * h_n)
        else:
            candidate = gate(g, x_n + (reset * h_before) @ r_n + b_n)
        return ((1.0 - update) * candidate + update * h_before,)

    return step


def run(attrs: Attrs, values: Values, probe: Probe | None = None) -> list[Array]:
    """Evaluate the layer in float64; see the table in :mod:`rnnengine.ops.recurrent.common`."""
    return common.run("GRU", attrs, values, probe, _step)


GRU = register(
    Op(
        "GRU",
        functools.partial(rules.infer, op="GRU", gates=3),
        run,
        functools.partial(rules.stream, op="GRU"),
    )
)
