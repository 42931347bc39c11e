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

from rnnengine.graph import Graph, Node, Size, TensorType, Value, symbol
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate
from rnnengine.ops.recurrent import Activation, RecurrentAttrs, discontinuities

Array = np.ndarray[Any, Any]

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
ONNX_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
"""Canonical gate at each ONNX position: LSTM i,o,f,c of i,f,g,o; GRU z,r,h of r,z,n."""
ONNX_NAMES = {
    "relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softsign": "Softsign",
    "softplus": "Softplus", "leaky_relu": "LeakyRelu", "elu": "Elu", "hard_sigmoid": "HardSigmoid",
    "thresholded_relu": "ThresholdedRelu", "affine": "Affine", "scaled_tanh": "ScaledTanh",
}  # fmt: skip
PARAMETERS = {
    "leaky_relu": 1, "elu": 1, "hard_sigmoid": 2, "thresholded_relu": 1, "affine": 2,
    "scaled_tanh": 2,
}  # fmt: skip
DEFAULTS = {"leaky_relu": (0.01, 0.0), "elu": (1.0, 0.0), "hard_sigmoid": (0.2, 0.5)}
"""Functions whose parameters may be left out, at the end of the lists."""
KERAS_HARD_SIGMOID = Activation("hard_sigmoid", 1 / 6, 0.5)
NOT_IN_KERAS = {"thresholded_relu", "affine", "scaled_tanh"}
MARGIN = 1e-5
"""Cases with a pre-activation this close to a jump of its activation are drawn again."""
LARGEST = 8.0
"""So are cases that see larger numbers: their gates amplify rounding from step to step."""


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

    def __str__(self) -> str:
        return f"case({self.spec.seed}): {self.spec}"


def case(seed: int) -> Case:
    """Draw the case of a seed, again and again until it is well conditioned."""
    for attempt in range(1000):
        rng = np.random.default_rng([seed, attempt])
        drawn = _build(_draw_spec(rng, seed), rng)
        finished = _judged(drawn)
        if finished is not None:
            return finished
    raise AssertionError(f"case {seed} finds no well-conditioned draw")


def _judged(drawn: Case) -> Case | None:
    """The case with the oracle's answer; None where float32 cannot be held to a bound."""
    bad = False

    def probe(activation: Activation, values: Array) -> None:
        nonlocal bad
        bad = bad or float(np.abs(values).max(initial=0)) > LARGEST
        for point in discontinuities(activation):
            bad = bad or bool(np.any(np.abs(values - point) < MARGIN))

    finished = replace(drawn, expected=evaluate(drawn.graph, drawn.feeds, probe=probe))
    return None if bad or finished.largest > LARGEST else finished


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


NAMES = ("x", "W", "R", "b_w", "b_r", "lengths", "h0", "c0", "peephole", "proj")
OUTPUTS = ("y", "h_n", "c_n")


def canonical_graph(
    spec: Spec, operands: tuple[Array | None, ...]
) -> tuple[Graph, dict[str, Array]]:
    """A graph of one canonical recurrent node; x, lengths and states are inputs."""
    fed = (0, 5, 6, 7)
    t, b = (symbol("T"), symbol("B")) if spec.symbolic else (spec.steps, spec.batch)
    shapes: dict[int, tuple[Size, ...]] = {
        0: (t, b, spec.inputs),
        5: (b,),
        6: (spec.directions, b, spec.width),
        7: (spec.directions, b, spec.attrs.hidden_size),
    }
    given = {i: v for i, v in enumerate(operands) if v is not None}
    last = max(given)
    names = tuple(NAMES[i] if i in given else None for i in range(last + 1))
    outputs = tuple(o if w else None for o, w in zip(OUTPUTS, spec.outputs, strict=False))
    node = Node(spec.op, spec.op.lower(), names, outputs, spec.attrs.mapping())
    graph = Graph(
        name="case",
        inputs=tuple(
            Value(NAMES[i], TensorType(given[i].dtype, shapes[i])) for i in fed if i in given
        ),
        outputs=tuple(o for o in outputs if o is not None),
        nodes=(node,),
        constants={NAMES[i]: v for i, v in given.items() if i not in fed},
    )
    return graph, {NAMES[i]: given[i] for i in fed if i in given}


def _reordered(value: Array, order: tuple[int, ...], axis: int) -> Array:
    return np.concatenate([np.split(value, len(order), axis)[g] for g in order], axis)


def onnx_model(spec: Spec, operands: tuple[Array | None, ...]) -> tuple[bytes, dict[str, Array]]:
    """The layer as an ONNX model of one node, and its feeds."""
    x, w, r, b_w, b_r, lengths, h0, c0, peephole, _ = operands
    assert x is not None and w is not None and r is not None
    order = ONNX_ORDER[spec.op]
    bias = None
    if b_w is not None and b_r is not None:
        bias = np.concatenate([_reordered(b, order, 1) for b in (b_w, b_r)], 1)
    arrays: dict[str, Array | None] = {
        "x": x,
        "W": _reordered(w, order, 1),
        "R": _reordered(r, order, 1),
        "B": bias,
        "lengths": lengths,
        "h0": h0,
    }
    if spec.op == "LSTM":
        arrays["c0"] = c0
        arrays["P"] = None if peephole is None else _reordered(peephole, (0, 2, 1), 1)
    if spec.layout:
        for name in ("x", "h0", "c0"):
            value = arrays.get(name)
            arrays[name] = None if value is None else np.ascontiguousarray(value.swapaxes(0, 1))
    present = {name: value for name, value in arrays.items() if value is not None}
    fed = {"x", "lengths", "h0", "c0"} | ({"W", "R", "B"} if spec.dynamic_weights else set())
    feeds = {name: value for name, value in present.items() if name in fed}
    constants = {name: value for name, value in present.items() if name not in fed}
    return _serialised(spec, list(arrays), feeds, constants), feeds


def _serialised(
    spec: Spec, names: list[str], feeds: dict[str, Array], constants: dict[str, Array]
) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    there = {**feeds, **constants}
    outputs = [o if w else "" for o, w in zip(OUTPUTS, spec.outputs, strict=False)]
    node = helper.make_node(
        spec.op, [n if n in there else "" for n in names], outputs, "layer", **onnx_attributes(spec)
    )
    axes = {"x": "TB-", "lengths": "B", "h0": "-B-", "c0": "-B-"}
    if spec.layout:
        axes = {"x": "BT-", "lengths": "B", "h0": "B--", "c0": "B--"}

    def declared(name: str, value: Array) -> Any:
        letters = axes.get(name, "-" * value.ndim) if spec.symbolic else "-" * value.ndim
        shape = [s if a == "-" else a for a, s in zip(letters, value.shape, strict=True)]
        code = TensorProto.INT32 if name == "lengths" else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, code, shape)

    graph = helper.make_graph(
        [node],
        "case",
        [declared(n, v) for n, v in feeds.items()],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs if o],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", spec.opset)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def onnx_attributes(spec: Spec) -> dict[str, Any]:
    """Attributes of the ONNX node, in the spelling that was drawn."""
    attrs = spec.attrs
    result: dict[str, Any] = {"hidden_size": attrs.hidden_size}
    if attrs.direction != "forward":
        result["direction"] = attrs.direction
    if not spec.default_activations:
        functions = [a for row in attrs.activations for a in row]
        spell = (str, str.lower, str.upper)[spec.spelling]
        result["activations"] = [spell(ONNX_NAMES[a.name]) for a in functions]
        alphas = _given([a for a in functions if PARAMETERS.get(a.name, 0) >= 1])
        betas = _given([a for a in functions if PARAMETERS.get(a.name, 0) >= 2])
        result["activation_alpha"] = [a.alpha for a in alphas]
        result["activation_beta"] = [a.beta for a in betas]
    if attrs.clip is not None:
        result["clip"] = attrs.clip
    if attrs.coupling:
        result["input_forget"] = 1
    if attrs.reset_after:
        result["linear_before_reset"] = 1
    if spec.layout:
        result["layout"] = 1
    return {k: v for k, v in result.items() if v != []}


def _given(functions: list[Activation]) -> list[Activation]:
    """Leave out, at the end, the functions whose parameters are the defaults."""
    left = list(functions)
    while left and left[-1].name in DEFAULTS:
        if left[-1] != Activation(left[-1].name, *DEFAULTS[left[-1].name]):
            break
        left.pop()
    return left


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
