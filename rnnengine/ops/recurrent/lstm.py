"""LSTM with peepholes, projection, coupled gates and clipping, in float64.

The equations are those of the ONNX LSTM operator, extended by what other frameworks add: the
projection of ``torch.nn.LSTM(proj_size=...)``, the cell and projection clipping of TensorFlow's
``LSTMCell``, and input gates coupled to forget gates as in TFLite.
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
    clamp,
    float64,
)
from rnnengine.ops.registry import Array, Attrs, Op, Values, register

__all__ = ["LSTM", "run"]


def _step(attrs: RecurrentAttrs, values: Values, direction: int, probe: Probe | None) -> Step:
    r, b_r, peephole, proj = (float64(values, i) for i in (2, 4, 8, 9))
    assert r is not None
    f, g, h = attrs.activations[direction]
    gate = Gate(attrs.clip, probe)
    recurrent = r[direction].T
    bias = 0.0 if b_r is None else b_r[direction]
    if peephole is None:
        p_i = p_f = p_o = np.zeros(attrs.hidden_size)
    else:
        p_i, p_f, p_o = np.split(peephole[direction], 3)

    def step(inputs: Array, state: State) -> State:
        h_before, c_before = state
        a_i, a_f, a_g, a_o = np.split(inputs + h_before @ recurrent + bias, 4, axis=1)
        if attrs.coupling == "i=1-f":
            forget = gate(f, a_f + p_f * c_before)
            let_in = 1.0 - forget
        else:
            let_in = gate(f, a_i + p_i * c_before)
            coupled = attrs.coupling == "f=1-i"
            forget = 1.0 - let_in if coupled else gate(f, a_f + p_f * c_before)
        candidate = gate(g, a_g)
        c = clamp(forget * c_before + let_in * candidate, attrs.cell_clip)
        out = gate(f, a_o + p_o * c)
        before_h = clamp(c, attrs.clip) if attrs.clip_before_h else c
        m = out * gate.unclipped(h, before_h)
        if proj is not None:
            m = clamp(m @ proj[direction].T, attrs.proj_clip)
        return m, c

    return step


def run(attrs: Attrs, values: Values, probe: Probe | None = None) -> list[Array]:
    """Evaluate the layer in float64; see the table in :mod:`rnnengine.ops.recurrent.common`."""
    return common.run("LSTM", attrs, values, probe, _step)


LSTM = register(
    Op(
        "LSTM",
        functools.partial(rules.infer, op="LSTM", gates=4),
        run,
        functools.partial(rules.stream, op="LSTM"),
    )
)
