"""RNN, GRU and LSTM as the ONNX operator texts state them, in float64 NumPy.

Written from the texts alone (operators of opset 22, gates in ONNX order) and used for nothing but
the expected values of the golden files: neither the importer nor the project's oracle is behind it.
Where the texts leave something open, docs/deviations.md says what is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Function = Callable[[Array], Array]

_PARAMETERS: dict[str, tuple[float | None, float | None]] = {
    "Affine": (None, None), "Elu": (1.0, None), "HardSigmoid": (0.2, 0.5),
    "LeakyRelu": (0.01, None), "ScaledTanh": (None, None), "ThresholdedRelu": (None, None),
}  # fmt: skip
"""Default alpha and beta of the functions that have them."""
_PLAIN = ("Relu", "Sigmoid", "Softplus", "Softsign", "Tanh")
_TWO = ("Affine", "HardSigmoid", "ScaledTanh")

DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def _function(name: str, alpha: float | None, beta: float | None) -> Function:
    a, b = float(alpha or 0.0), float(beta or 0.0)
    table: dict[str, Function] = {
        "Affine": lambda x: a * x + b,
        "Elu": lambda x: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0))),
        "HardSigmoid": lambda x: np.clip(a * x + b, 0, 1),
        "LeakyRelu": lambda x: np.where(x >= 0, x, a * x),
        "Relu": lambda x: np.maximum(x, 0),
        "ScaledTanh": lambda x: a * np.tanh(b * x),
        "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "Softplus": lambda x: np.log1p(np.exp(x)),
        "Softsign": lambda x: x / (1 + np.abs(x)),
        "Tanh": np.tanh,
        "ThresholdedRelu": lambda x: np.where(x >= a, x, 0),
    }
    return table[name]


def functions(op: str, attrs: Mapping[str, Any], directions: int) -> list[list[Function]]:
    """Activations of each direction; alphas and betas go to those that take them, in order."""
    plain = {name.lower(): name for name in (*_PARAMETERS, *_PLAIN)}
    names = [plain[n.lower()] for n in attrs.get("activations", DEFAULTS[op] * directions)]
    alphas = [float(np.float32(a)) for a in attrs.get("activation_alpha", [])]
    betas = [float(np.float32(b)) for b in attrs.get("activation_beta", [])]
    made = []
    for name in names:
        alpha, beta = _PARAMETERS.get(name, (None, None))
        if name in _PARAMETERS:
            alpha = alphas.pop(0) if alphas else alpha
        if name in _TWO:
            beta = betas.pop(0) if betas else beta
        made.append(_function(name, alpha, beta))
    count = len(DEFAULTS[op])
    return [made[d * count : (d + 1) * count] for d in range(directions)]


def run(op: str, attrs: Mapping[str, Any], operands: Sequence[Array | None]) -> list[Array]:
    """Y, Y_h and, for the LSTM, Y_c.

    Parameters
    ----------
    op : str
    attrs : mapping
        Attributes of the node.
    operands : sequence of array or None
        X, W, R, B, sequence_lens, initial_h, initial_c, P; those at the end may be left out.
    """
    x, w, r, b, lens, h0, c0, p = (*operands, *[None] * (8 - len(operands)))
    assert x is not None and w is not None and r is not None
    layout = attrs.get("layout", 0)
    if layout:
        x = x.transpose(1, 0, 2)
        h0, c0 = (None if s is None else s.transpose(1, 0, 2) for s in (h0, c0))
    steps, batch, _ = x.shape
    directions, _, hidden = r.shape
    y = np.zeros((steps, directions, batch, hidden))
    finals = np.zeros((2, directions, batch, hidden))
    backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
    acts = functions(op, attrs, directions)
    for d, back in enumerate(backwards[attrs.get("direction", "forward")]):
        own = [None if v is None else np.asarray(v[d], np.float64) for v in (w, r, b, p)]
        step = _Step(op, attrs, acts[d], own)
        for row in range(batch):
            length = steps if lens is None else int(lens[row])
            state = [
                np.zeros(hidden) if s is None else np.asarray(s[d, row], np.float64)
                for s in (h0, c0)
            ]
            for t in reversed(range(length)) if back else range(length):
                state = step(np.asarray(x[t, row], np.float64), *state)
                y[t, d, row] = state[0]
            finals[:, d, row] = state
    if layout:
        y, finals = y.transpose(2, 0, 1, 3), finals.transpose(0, 2, 1, 3)
    return [y, *finals[: 2 if op == "LSTM" else 1]]


class _Step:
    """One step of one direction."""

    def __init__(
        self, op: str, attrs: Mapping[str, Any], acts: list[Function], own: list[Array | None]
    ) -> None:
        w, r, b, p = own
        assert w is not None and r is not None
        self.op, self.attrs, self.acts = op, attrs, acts
        gates = GATES[op]
        self.w, self.r = np.split(w, gates), np.split(r, gates)
        b = np.zeros(2 * len(w)) if b is None else b
        self.wb, self.rb = (np.split(half, gates) for half in np.split(b, 2))
        self.p = np.split(np.zeros(3 * r.shape[1]) if p is None else p, 3)
        self.clip = attrs.get("clip")

    def __call__(self, x: Array, h: Array, c: Array) -> list[Array]:
        return {"RNN": self.rnn, "GRU": self.gru, "LSTM": self.lstm}[self.op](x, h, c)

    def clipped(self, value: Array) -> Array:
        bound = self.clip
        return value if bound is None else np.clip(value, -np.float32(bound), np.float32(bound))

    def sum(self, g: int, x: Array, h: Array) -> Array:
        return self.w[g] @ x + self.r[g] @ h + self.wb[g] + self.rb[g]

    def rnn(self, x: Array, h: Array, c: Array) -> list[Array]:
        return [self.acts[0](self.clipped(self.sum(0, x, h))), c]

    def gru(self, x: Array, h: Array, c: Array) -> list[Array]:
        f, g = self.acts
        z, r = (f(self.clipped(self.sum(i, x, h))) for i in (0, 1))
        if self.attrs.get("linear_before_reset", 0):
            a = self.w[2] @ x + r * (self.r[2] @ h + self.rb[2]) + self.wb[2]
        else:
            a = self.w[2] @ x + self.r[2] @ (r * h) + self.rb[2] + self.wb[2]
        return [(1 - z) * g(self.clipped(a)) + z * h, c]

    def lstm(self, x: Array, h: Array, c: Array) -> list[Array]:
        f, g, last = self.acts
        pi, po, pf = self.p
        i = f(self.clipped(self.sum(0, x, h) + pi * c))
        forget = f(self.clipped(self.sum(2, x, h) + pf * c))
        if self.attrs.get("input_forget", 0):
            forget = 1 - i
        c = forget * c + i * g(self.clipped(self.sum(3, x, h)))
        o = f(self.clipped(self.sum(1, x, h) + po * c))
        return [o * last(self.clipped(c)), c]
