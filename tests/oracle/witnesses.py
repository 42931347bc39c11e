"""Other frameworks computing a generated case, with their answers in canonical form.

Every function returns outputs by name: y [T, D, B, P], h_n [D, B, P], c_n [D, B, H].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from case_models import OUTPUTS
from cases import Case
from rnnengine.ops import evaluate
from rnnengine.ops.recurrent import Activation

Array = np.ndarray[Any, Any]
Answer = dict[str, Array]

TOLERANCE = {"onnxruntime": 5e-6, "torch": 1e-12, "keras": 5e-6}
"""Of max(1, max|y|). PyTorch computes in float64; Keras' matrix product on the torch backend takes
float64 operands but computes in float32."""


def tolerance(witness: str, expected: Answer) -> float:
    """How far a witness may be from the oracle."""
    largest = max([1.0, *(float(np.abs(v).max(initial=0)) for v in expected.values())])
    return TOLERANCE[witness] * largest


def wanted(case: Case, witness: str) -> Answer:
    """What the oracle says, after the rulings that the witness is known to deviate by."""
    if witness != "onnxruntime":
        return canonical(case)
    expected = dict(case.expected)
    if case.spec.attrs.clip_before_h:
        nodes = tuple(
            type(n)(n.op, n.name, n.inputs, n.outputs, {**n.attrs, "clip_before_h": False})
            if n.op == "LSTM"
            else n
            for n in case.graph.nodes
        )
        expected = evaluate(case.graph.with_(nodes=nodes), case.feeds, probe=_refuse_overflow)
    empty = np.array(case.spec.lengths or ()) == 0
    for name in ("h_n", "c_n"):
        if name in expected and empty.any():
            expected[name] = np.where(empty[None, :, None], 0.0, expected[name])
    return expected


class OutOfRange(Exception):
    """A case that onnxruntime's Softplus overflows on once the clip before h() is gone."""


def _refuse_overflow(activation: Activation, values: Array) -> None:
    if activation.name == "softplus" and np.abs(values).max(initial=0) > 80:
        raise OutOfRange


def canonical(case: Case) -> Answer:
    """The oracle's answer with time first, whatever the layout of the model."""
    if not case.spec.layout:
        return case.expected
    axes = {"y": (1, 2, 0, 3), "h_n": (1, 0, 2), "c_n": (1, 0, 2)}
    return {name: value.transpose(axes[name]) for name, value in case.expected.items()}


def answer(case: Case, witness: str) -> Answer:
    """Ask a witness."""
    return {"onnxruntime": onnxruntime, "torch": torch, "keras": keras}[witness](case)


def onnxruntime(case: Case) -> Answer:
    """The model in onnxruntime, one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(case.model, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(None, case.feeds), strict=True))


def torch(case: Case) -> Answer:
    """nn.RNN, nn.LSTM or nn.GRU in float64, with packed sequences where rows have lengths."""
    import torch as framework
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    framework.set_num_threads(1)
    spec = case.spec
    x, w, r, b_w, b_r, _, h0, c0, _, proj = case.operands
    options: dict[str, Any] = {}
    if spec.op == "RNN":
        options["nonlinearity"] = spec.attrs.activations[0][0].name
    if proj is not None:
        options["proj_size"] = spec.width
    kind = getattr(framework.nn, spec.op)
    layer = kind(
        spec.inputs,
        spec.attrs.hidden_size,
        bias=b_w is not None or b_r is not None,
        bidirectional=spec.directions == 2,
        dtype=framework.float64,
        **options,
    )
    parts = {"weight_ih": w, "weight_hh": r, "bias_ih": b_w, "bias_hh": b_r, "weight_hr": proj}
    with framework.no_grad():
        for name, parameter in layer.named_parameters():
            value = parts[name.split("_l0")[0]]
            direction = int(name.endswith("_reverse"))
            parameter.copy_(framework.zeros(()) if value is None else _tensor(value[direction]))
        data: Any = _tensor(x)
        if spec.lengths is not None:
            data = pack_padded_sequence(data, list(spec.lengths), enforce_sorted=False)
        out, state = layer(data, _torch_state(case, h0, c0))
        if spec.lengths is not None:
            out, _ = pad_packed_sequence(out, total_length=spec.steps)
    y = out.numpy().reshape(spec.steps, spec.batch, spec.directions, spec.width)
    states = state if spec.op == "LSTM" else (state,)
    return {"y": y.transpose(0, 2, 1, 3), **_named([s.numpy() for s in states])}


def _tensor(value: Array | None) -> Any:
    import torch as framework

    return framework.from_numpy(np.asarray(value, np.float64))


def _torch_state(case: Case, h0: Array | None, c0: Array | None) -> Any:
    spec = case.spec
    if h0 is None and c0 is None:
        return None
    shape = (spec.directions, spec.batch)
    h = np.zeros((*shape, spec.width)) if h0 is None else h0
    c = np.zeros((*shape, spec.attrs.hidden_size)) if c0 is None else c0
    return (_tensor(h), _tensor(c)) if spec.op == "LSTM" else _tensor(h)


def _named(states: list[Array]) -> Answer:
    return dict(zip(OUTPUTS[1:], states, strict=False))


def keras(case: Case) -> Answer:
    """One Keras layer per direction in float64, rows masked where they have lengths."""
    import torch as backend

    backend.set_num_threads(1)
    with backend.no_grad():
        results = [_keras_direction(case, d) for d in range(case.spec.directions)]
    y = np.stack([r[0] for r in results], 1)
    states = [np.stack(s) for s in zip(*(r[1] for r in results), strict=True)]
    return {"y": y, **_named(states)}


def _keras_direction(case: Case, d: int) -> tuple[Array, list[Array]]:
    import keras as framework

    spec = case.spec
    x, w, r, b_w, b_r, _, h0, c0, _, _ = case.operands
    backwards = spec.attrs.reversed_directions[d]
    functions = [keras_activation(a) for a in spec.attrs.activations[d]]
    options: dict[str, Any] = {"activation": functions[-1]}
    if spec.op != "RNN":
        options["recurrent_activation"] = functions[0]
    if spec.op == "GRU":
        options["reset_after"] = spec.attrs.reset_after
    kind = getattr(framework.layers, "SimpleRNN" if spec.op == "RNN" else spec.op)
    layer = kind(
        spec.attrs.hidden_size,
        use_bias=b_w is not None or b_r is not None,
        return_sequences=True,
        return_state=True,
        go_backwards=backwards,
        dtype="float64",
        **options,
    )
    data = np.asarray(x, np.float64).swapaxes(0, 1)
    layer.build(data.shape)
    gates = {"LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2), "RNN": (0,)}[spec.op]

    def order(value: Any) -> Array:
        parts = np.split(np.asarray(value, np.float64), len(gates), 0)
        return np.concatenate([parts[g] for g in gates], 0)

    weights = [order(w[d]).T, order(r[d]).T]
    if b_w is not None or b_r is not None:
        zero = np.zeros(len(w[d]))
        both = [order(zero if b is None else b[d]) for b in (b_w, b_r)]
        after = spec.op == "GRU" and spec.attrs.reset_after
        weights.append(np.stack(both) if after else both[0] + both[1])
    layer.set_weights(weights)
    shape = (spec.batch, spec.attrs.hidden_size)
    given = [h0, c0] if spec.op == "LSTM" else [h0]
    initial = [np.zeros(shape) if s is None else np.asarray(s[d], np.float64) for s in given]
    mask = None
    if spec.lengths is not None:
        mask = np.arange(spec.steps)[None] < np.array(spec.lengths)[:, None]
    y, *states = layer(data, initial_state=initial, mask=mask)
    out = np.asarray(y.detach().numpy())
    out = out[:, ::-1] if backwards else out
    if mask is not None:  # Keras repeats the last output on masked steps
        out = np.where(mask[:, :, None], out, 0.0)
    return out.swapaxes(0, 1), [s.detach().numpy() for s in states]


def keras_activation(activation: Activation) -> Any:
    """Keras' own function for an activation.

    Raises
    ------
    KeyError
        Keras has none.
    """
    import keras as framework

    functions = framework.activations
    alpha, beta, gamma = activation.alpha, activation.beta, activation.gamma
    ceiling = None if np.isinf(beta) else beta
    table: dict[str, Callable[..., Any]] = {
        "identity": functions.linear,
        "exponential": functions.exponential,
        "gelu": partial(functions.gelu, approximate=False),
        "gelu_tanh": partial(functions.gelu, approximate=True),
        "leaky_relu": partial(functions.leaky_relu, negative_slope=alpha),
        "elu": partial(functions.elu, alpha=alpha),
        "celu": partial(functions.celu, alpha=alpha),
        "soft_shrink": partial(functions.soft_shrink, threshold=alpha),
        "hard_shrink": partial(functions.hard_shrink, threshold=alpha),
        "squareplus": partial(functions.squareplus, b=alpha),
        "threshold": partial(functions.threshold, threshold=alpha, default_value=beta),
        "relu_keras": partial(
            functions.relu, negative_slope=alpha, max_value=ceiling, threshold=gamma
        ),
    }
    return table.get(activation.name) or getattr(functions, activation.name)
