"""Generator of the specification matrix: ``case(seed)`` draws one recurrent layer and its inputs.

A case is either an ONNX model (``kind == "onnx"``) or a canonical graph for what ONNX cannot say
(``kind == "graph"``). It carries the float64 oracle's answer and names the frameworks that can
witness it. The same seed gives the same case for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from case_models import DEFAULTS, FUNCTIONS, GATES, ONNX_NAMES, canonical_graph, onnx_model
from rnnengine.graph import Graph
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate
from rnnengine.ops.recurrent import Activation, RecurrentAttrs, apply, discontinuities

Array = np.ndarray[Any, Any]

KERAS_HARD_SIGMOID = Activation("hard_sigmoid", 1 / 6, 0.5)
NOT_IN_KERAS = {"thresholded_relu", "affine", "scaled_tanh"}
MARGIN = 1e-5
"""Cases with a pre-activation this close to a jump of its activation are drawn again."""
RANGE = 1e9
"""So are cases with larger numbers in or behind an activation: their products leave float32."""
WITNESS_RANGE = 80.0
"""Beyond this onnxruntime's Softplus is infinite (see deviations); such cases have no witness."""


@dataclass(frozen=True)
class Spec:
    """Everything that was drawn, apart from the numbers in the arrays."""

    seed: int
    kind: str
    op: str
    attrs: RecurrentAttrs
    inputs: int
    steps: int
    batch: int
    width: int
    bias: str = "both"
    lengths: tuple[int, ...] | None = None
    h0: bool = False
    c0: bool = False
    peephole: bool = False
    proj: bool = False
    outputs: tuple[bool, ...] = ()
    layout: int = 0
    opset: int = 22
    symbolic: bool = True
    dynamic_weights: bool = False
    default_activations: bool = False
    spelling: int = 0

    @property
    def directions(self) -> int:
        """1, or 2 for a bidirectional layer."""
        return len(self.attrs.reversed_directions)


@dataclass(frozen=True)
class Case:
    """One point of the matrix.

    ``operands`` are the canonical inputs by position (see ``rnnengine.ops.recurrent.common``) and
    ``expected`` the oracle's outputs by name: y, h_n, c_n.
    """

    spec: Spec
    operands: tuple[Array | None, ...]
    feeds: dict[str, Array]
    graph: Graph
    model: bytes | None = None
    witnesses: tuple[str, ...] = ()
    expected: dict[str, Array] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """'onnx' or 'graph'."""
        return self.spec.kind

    @cached_property
    def largest(self) -> float:
        """max(1, the largest magnitude among the outputs): what errors are measured against."""
        return max([1.0, *(float(np.abs(v).max(initial=0)) for v in self.expected.values())])

    def sensitivity(self, draws: int = 3) -> float:
        """Largest change of an output, in float64, when every operand moves by half a float32 ulp.

        Unbounded gates can amplify any rounding from step to step. No float32 computation of such
        a case can be closer to the exact answer than a small multiple of this.
        """
        rng = np.random.default_rng(self.spec.seed)

        def moved(value: Array) -> Array:
            if value.dtype.kind != "f":
                return value
            return value.astype(np.float64) * (1 + rng.choice([-1.0, 1.0], value.shape) * 2.0**-24)

        worst = 0.0
        for _ in range(draws):
            constants = {name: moved(value) for name, value in self.graph.constants.items()}
            feeds = {name: moved(value) for name, value in self.feeds.items()}
            changed = evaluate(self.graph.with_(constants=constants), feeds)
            for name, value in self.expected.items():
                worst = max(worst, float(np.abs(changed[name] - value).max(initial=0)))
        return worst

    def __str__(self) -> str:
        return f"case({self.spec.seed}): {self.spec}"


AMPLIFIED = 32.0
"""A computation rounds every product of every step, where a sensitivity rounds each operand once:
an error of up to this many sensitivities is its due."""


def case(seed: int) -> Case:
    """Draw the case of a seed, again and again until float32 can answer it."""
    for attempt in range(1000):
        rng = np.random.default_rng([seed, attempt])
        drawn = _build(_draw_spec(rng, seed), rng)
        finished = _judged(drawn)
        if finished is not None:
            return finished
    raise AssertionError(f"case {seed} finds no draw that float32 can answer")


def _judged(drawn: Case) -> Case | None:
    """The case with the oracle's answer; None where float32 cannot be held to a bound."""
    bad, peak = False, 0.0

    def probe(activation: Activation, values: Array) -> None:
        nonlocal bad, peak
        with np.errstate(over="ignore"):
            behind = apply(activation, values)
        peak = max(peak, *(float(np.abs(v).max(initial=0)) for v in (values, behind)))
        for point in discontinuities(activation):
            bad = bad or bool(np.any(np.abs(values - point) < MARGIN))

    finished = replace(drawn, expected=evaluate(drawn.graph, drawn.feeds, probe=probe))
    if bad or not max(peak, finished.largest) < RANGE:
        return None
    return finished if peak < WITNESS_RANGE else replace(finished, witnesses=())


def _size(rng: np.random.Generator, largest: int) -> int:
    """1..largest, small ones more often."""
    return int(np.exp(rng.uniform(0, np.log(largest + 1))))


def _flip(rng: np.random.Generator, chance: float) -> bool:
    return bool(rng.random() < chance)


def _draw_spec(rng: np.random.Generator, seed: int) -> Spec:
    op = str(rng.choice(["LSTM", "GRU", "RNN"], p=[0.45, 0.35, 0.2]))
    kind = "onnx" if _flip(rng, 0.65) else "graph"
    hidden, inputs = _size(rng, 97), _size(rng, 97)
    steps = 0 if _flip(rng, 0.03) else int(rng.integers(1, 21))
    batch = 0 if _flip(rng, 0.02) else int(rng.integers(1, 8))
    direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
    count = 2 if direction == "bidirectional" else 1
    default = _flip(rng, 0.35)
    activations = () if default else tuple(_activations(rng, op, kind) for _ in range(count))
    clip = float(np.float32(rng.uniform(0.3, 2.0))) if _flip(rng, 0.2) else None
    lstm = op == "LSTM"
    proj = kind == "graph" and lstm and _flip(rng, 0.35)
    options = RecurrentAttrs(
        hidden_size=hidden,
        direction=direction,
        activations=activations,
        clip=clip,
        clip_before_h=lstm and clip is not None and (kind == "onnx" or _flip(rng, 0.5)),
        reset_after=op == "GRU" and _flip(rng, 0.5),
    )
    if lstm:
        options = replace(options, **_lstm_options(rng, kind, proj))
    options = RecurrentAttrs.read(op, options.mapping())
    return Spec(
        seed=seed,
        kind=kind,
        op=op,
        attrs=options,
        inputs=inputs,
        steps=steps,
        batch=batch,
        width=int(rng.integers(1, hidden + 1)) if proj else hidden,
        bias=str(rng.choice(["both", "none"] if kind == "onnx" else ["both", "none", "w", "r"])),
        lengths=_lengths(rng, steps, batch),
        h0=_flip(rng, 0.5),
        c0=lstm and _flip(rng, 0.5),
        peephole=lstm and _flip(rng, 0.25),
        proj=proj,
        outputs=_outputs(rng, 3 if lstm else 2),
        default_activations=default,
        **_onnx_options(rng, op, kind),
    )


def _lstm_options(rng: np.random.Generator, kind: str, proj: bool) -> dict[str, Any]:
    bound = float(np.float32(rng.uniform(0.2, 1.5)))
    if kind == "onnx":
        return {"coupling": "f=1-i" if _flip(rng, 0.2) else None}
    coupling = str(rng.choice(["", "f=1-i", "i=1-f"], p=[0.6, 0.15, 0.25]))
    return {
        "coupling": coupling or None,
        "cell_clip": bound if _flip(rng, 0.2) else None,
        "proj_clip": bound / 2 if proj and _flip(rng, 0.4) else None,
    }


def _onnx_options(rng: np.random.Generator, op: str, kind: str) -> dict[str, Any]:
    if kind != "onnx":
        return {"symbolic": _flip(rng, 0.8)}
    opset = int(rng.choice([7, 14, 22]))
    return {
        "opset": opset,
        "layout": int(opset >= 14 and _flip(rng, 0.2)),
        "symbolic": _flip(rng, 0.7),
        "dynamic_weights": _flip(rng, 0.1),
        "spelling": int(rng.integers(0, 3)) if op != "RNN" or _flip(rng, 0.2) else 0,
    }


def _outputs(rng: np.random.Generator, count: int) -> tuple[bool, ...]:
    wanted = [_flip(rng, 0.75) for _ in range(count)]
    if not any(wanted):
        wanted[int(rng.integers(0, count))] = True
    return tuple(wanted)


def _lengths(rng: np.random.Generator, steps: int, batch: int) -> tuple[int, ...] | None:
    if _flip(rng, 0.5):
        return None
    low = 0 if _flip(rng, 0.4) else min(1, steps)
    return tuple(int(n) for n in rng.integers(low, steps + 1, batch))


def _activations(rng: np.random.Generator, op: str, kind: str) -> tuple[Activation, ...]:
    """Gates mostly get a function with values in 0..1, so that states stay bounded."""
    names = list(ONNX_NAMES) if kind == "onnx" else [*ONNX_NAMES, *KERAS_NAMES]
    gate = _draw_activation(rng, str(rng.choice(["sigmoid", "hard_sigmoid", *names])))
    if kind == "graph" and _flip(rng, 0.5):  # what one Keras layer can be asked for
        g = _draw_activation(rng, str(rng.choice([*KERAS_NAMES, "tanh", "relu", "elu"])))
        return {"LSTM": (gate, g, g), "GRU": (gate, g), "RNN": (g,)}[op]
    rest = [_draw_activation(rng, str(rng.choice(names))) for _ in range(FUNCTIONS[op] - 1)]
    return (gate, *rest)


KERAS_NAMES = (
    "identity", "relu_keras", "selu", "celu", "silu", "hard_silu", "gelu", "gelu_tanh", "mish",
    "exponential", "hard_tanh", "tanh_shrink", "soft_shrink", "hard_shrink", "squareplus",
    "sparse_plus", "sparse_sigmoid", "log_sigmoid", "threshold",
)  # fmt: skip
"""Activations that Keras has and ONNX has not."""


def _draw_activation(rng: np.random.Generator, name: str) -> Activation:
    low = rng.uniform(0.0, 1.0, 3)
    alpha, beta = {
        "affine": (0.2 + 0.8 * low[0], low[1] - 0.5),
        "leaky_relu": (0.3 * low[0], 0.0),
        "elu": (0.5 + low[0], 0.0),
        "celu": (0.5 + low[0], 0.0),
        "hard_sigmoid": (0.1 + 0.3 * low[0], 0.3 + 0.4 * low[1]),
        "scaled_tanh": (0.5 + low[0], 0.3 + 0.9 * low[1]),
        "thresholded_relu": (0.1 + 0.7 * low[0], 0.0),
        "threshold": (low[0] - 0.5, low[1] - 0.5),
        "soft_shrink": (0.5 * low[0], 0.0),
        "hard_shrink": (0.1 + 0.5 * low[0], 0.0),
        "squareplus": (4.0 * low[0], 0.0),
        "relu_keras": (0.3 * low[0], (np.inf, 1.0 + low[1])[int(low[1] > 0.5)]),
    }.get(name, (0.0, 0.0))
    if name in DEFAULTS and _flip(rng, 0.4):
        alpha, beta = DEFAULTS[name]
    elif name == "hard_sigmoid" and _flip(rng, 0.5):
        return KERAS_HARD_SIGMOID
    gamma = 0.0 if name != "relu_keras" or low[2] < 0.5 else 0.4 * low[2]
    return Activation(name, alpha, beta, gamma)


def _operands(spec: Spec, rng: np.random.Generator) -> tuple[Array | None, ...]:
    """Canonical operands by position, weights uniform within 1/sqrt(I + H)."""
    d, h, i, p = spec.directions, spec.attrs.hidden_size, spec.inputs, spec.width
    rows = GATES[spec.op] * h
    bound = 1.0 / np.sqrt(i + h)

    def weight(*shape: int) -> Array:
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    x = rng.standard_normal((spec.steps, spec.batch, i)).astype(np.float32)
    bias = spec.bias
    lengths = None if spec.lengths is None else np.array(spec.lengths, np.int32)
    return (
        x,
        weight(d, rows, i),
        weight(d, rows, p),
        weight(d, rows) if bias in ("both", "w") else None,
        weight(d, rows) if bias in ("both", "r") else None,
        lengths,
        rng.uniform(-1, 1, (d, spec.batch, p)).astype(np.float32) if spec.h0 else None,
        rng.uniform(-1, 1, (d, spec.batch, h)).astype(np.float32) if spec.c0 else None,
        weight(d, 3 * h) if spec.peephole else None,
        weight(d, p, h) if spec.proj else None,
    )


def _build(spec: Spec, rng: np.random.Generator) -> Case:
    operands = _operands(spec, rng)
    witnesses = tuple(sorted(_witnesses(spec)))
    if spec.kind == "onnx":
        model, feeds = onnx_model(spec, operands)
        return Case(spec, operands, feeds, load_graph(model), model, witnesses)
    graph, feeds = canonical_graph(spec, operands)
    return Case(spec, operands, feeds, graph, None, witnesses)


def _witnesses(spec: Spec) -> set[str]:
    """Frameworks that can compute the case, deviations of tests/oracle/deviations.py apart."""
    if spec.steps == 0 or spec.batch == 0:
        return set()
    found = set()
    plain_lstm = not (spec.peephole or spec.attrs.coupling or spec.attrs.cell_clip)
    free = plain_lstm and spec.attrs.clip is None and spec.attrs.proj_clip is None
    functions = {a.name for row in spec.attrs.activations for a in row}
    empty = spec.lengths is not None and 0 in spec.lengths
    if spec.kind == "onnx" and not spec.layout and not (spec.op == "RNN" and spec.spelling):
        found.add("onnxruntime")
    usual = spec.default_activations or (spec.op == "RNN" and functions in ({"relu"}, {"tanh"}))
    torch_gru = spec.op != "GRU" or spec.attrs.reset_after
    one = len({row for row in spec.attrs.activations}) == 1
    narrow = not spec.proj or spec.width < spec.attrs.hidden_size
    supported = usual and one and torch_gru and narrow and spec.attrs.direction != "reverse"
    if free and supported and not empty:
        found.add("torch")
    same = all(len(row) < 3 or row[1] == row[2] for row in spec.attrs.activations)
    sixth = all(
        a == KERAS_HARD_SIGMOID for row in spec.attrs.activations for a in row
        if a.name == "hard_sigmoid"
    )  # fmt: skip
    if free and same and sixth and not (spec.proj or functions & NOT_IN_KERAS):
        found.add("keras")
    return found
