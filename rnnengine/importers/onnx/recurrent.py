"""RNN, GRU and LSTM of ONNX (opset versions 7, 14, 22) to the canonical layers."""

from __future__ import annotations

import math

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Size
from rnnengine.importers import gates
from rnnengine.importers.onnx.builder import Call
from rnnengine.importers.onnx.table import converter
from rnnengine.ops.recurrent import DIRECTIONS, Activation, RecurrentAttrs

__all__ = ["convert_recurrent"]

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_FUNCTIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}

_ACTIVATIONS: dict[str, tuple[str, tuple[float | None, ...]]] = {
    "relu": ("relu", ()),
    "tanh": ("tanh", ()),
    "sigmoid": ("sigmoid", ()),
    "softsign": ("softsign", ()),
    "softplus": ("softplus", ()),
    "leakyrelu": ("leaky_relu", (0.01,)),
    "elu": ("elu", (1.0,)),
    "hardsigmoid": ("hard_sigmoid", (0.2, 0.5)),
    "thresholdedrelu": ("thresholded_relu", (None,)),
    "affine": ("affine", (None, None)),
    "scaledtanh": ("scaled_tanh", (None, None)),
}
"""Lower-case ONNX name: our name, and for each parameter its default (None: must be given)."""

_WORDS = (
    "Affine, Elu, HardSigmoid, LeakyRelu, Relu, ScaledTanh, Sigmoid, Softplus, Softsign, Tanh, "
    "ThresholdedRelu"
)


def _activations(call: Call, directions: int) -> tuple[tuple[Activation, ...], ...]:
    """Parse the activation lists; alpha and beta go, in order, to the functions that take them."""
    defaults = _FUNCTIONS[call.op]
    names = call.attributes.texts("activations") or defaults * directions
    if len(names) != len(defaults) * directions:
        raise ModelFormatError(
            f"{call.where}: attribute 'activations' has {len(names)} names; expected "
            f"{len(defaults) * directions} ({len(defaults)} for each of {directions} directions)"
        )
    lists = {
        "activation_alpha": list(call.attributes.reals("activation_alpha") or ()),
        "activation_beta": list(call.attributes.reals("activation_beta") or ()),
    }
    parsed: list[Activation] = []
    for name in names:
        if name.lower() not in _ACTIVATIONS:
            raise UnsupportedModelError(
                f"{call.where}: attribute 'activations' names {name!r}; accepted: {_WORDS}"
            )
        ours, parameters = _ACTIVATIONS[name.lower()]
        values: list[float] = []
        for (attribute, remaining), default in zip(lists.items(), parameters, strict=False):
            value = remaining.pop(0) if remaining else default
            if value is None or not math.isfinite(value):
                raise UnsupportedModelError(
                    f"{call.where}: {attribute!r} for activation {name!r} is {value}; it has no "
                    "default and must be a finite number"
                )
            values.append(value)
        parsed.append(Activation(ours, *values))
    for attribute, remaining in lists.items():
        if remaining:
            raise UnsupportedModelError(
                f"{call.where}: attribute {attribute!r} has {len(remaining)} values more than "
                f"the activations {list(names)} take: {remaining}"
            )
    size = len(defaults)
    return tuple(tuple(parsed[d * size : (d + 1) * size]) for d in range(directions))


def _direction(call: Call) -> str:
    direction = call.attributes.text("direction", "forward")
    if direction not in DIRECTIONS:
        raise UnsupportedModelError(
            f"{call.where}: attribute 'direction' is {direction!r}; accepted: "
            f"{', '.join(DIRECTIONS)}"
        )
    return direction


def _hidden_size(call: Call) -> int:
    """Attribute hidden_size, or the columns of R; the two must agree."""
    recurrent = call.type(2)
    declared = call.attributes.integer("hidden_size")
    columns: Size | None = recurrent.shape[2] if recurrent.rank == 3 else None
    size = declared if declared is not None else columns
    if not isinstance(size, int) or size < 1:
        raise ModelFormatError(
            f"{call.where}: attribute 'hidden_size' is {declared} and R is {recurrent}; expected "
            "a positive size"
        )
    if isinstance(columns, int) and columns != size:
        raise ModelFormatError(
            f"{call.where}: attribute 'hidden_size' is {size} but R is {recurrent}"
        )
    return size


def _clip(call: Call) -> float | None:
    clip = call.attributes.real("clip")
    if clip is not None and not clip > 0:
        raise UnsupportedModelError(
            f"{call.where}: attribute 'clip' is {clip}; accepted: positive numbers"
        )
    return None if clip is None or clip == math.inf else clip


def _attrs(call: Call) -> RecurrentAttrs:
    direction = _direction(call)
    clip = _clip(call)
    coupled = call.op == "LSTM" and call.attributes.flag("input_forget")
    return RecurrentAttrs(
        hidden_size=_hidden_size(call),
        direction=direction,
        activations=_activations(call, len(DIRECTIONS[direction])),
        clip=clip,
        clip_before_h=call.op == "LSTM" and clip is not None,
        coupling="f=1-i" if coupled else None,
        reset_after=call.op == "GRU" and call.attributes.flag("linear_before_reset"),
    )


def _check_types(call: Call) -> None:
    for position in range(len(call.inputs)):
        if position == 4 or call.inputs[position] is None:
            continue
        found = call.type(position).dtype
        if found != np.float32:
            raise UnsupportedModelError(
                f"{call.where}: input {call.inputs[position]!r} is {found}; accepted: float32"
            )


def _taken(call: Call, name: str, pieces: list[int], size: int, suffix: str) -> str:
    """Join blocks of ``size`` along axis 1, in the given order."""
    parts = [
        call.made(
            "Slice",
            [name],
            {"axes": (1,), "starts": (piece * size,), "sizes": (size,), "steps": (1,)},
            f"{suffix}{i}",
        )
        for i, piece in enumerate(pieces)
    ]
    return parts[0] if len(parts) == 1 else call.made("Concat", parts, {"axis": 1}, suffix)


def _weights(call: Call, size: int) -> list[str | None]:
    """W, R, b_w, b_r in canonical gate order."""
    order = list(gates.permutation(gates.ONNX, call.op))
    w, r, bias = call.input(1), call.input(2), call.input(3)
    assert w is not None and r is not None
    _check_rows(call, 1, _GATES[call.op] * size)
    _check_rows(call, 2, _GATES[call.op] * size)
    result: list[str | None] = [w, r, None, None]
    if len(order) > 1:
        result[:2] = [_taken(call, w, order, size, "W"), _taken(call, r, order, size, "R")]
    if bias is not None:
        _check_rows(call, 3, 2 * len(order) * size)
        result[2] = _taken(call, bias, order, size, "Wb")
        result[3] = _taken(call, bias, [len(order) + g for g in order], size, "Rb")
    return result


def _check_rows(call: Call, position: int, rows: int) -> None:
    found = call.type(position)
    if found.rank < 2 or (isinstance(found.shape[1], int) and found.shape[1] != rows):
        raise ModelFormatError(
            f"{call.where}: input {call.inputs[position]!r} is {found}; expected {rows} on axis 1"
        )


def _swapped(call: Call, name: str | None, suffix: str) -> str | None:
    """Exchange the first two axes."""
    return None if name is None else call.made("Transpose", [name], {"perm": (1, 0, 2)}, suffix)


@converter("RNN", "GRU", "LSTM")
def convert_recurrent(call: Call) -> None:
    """Convert one RNN, GRU or LSTM node."""
    lstm = call.op == "LSTM"
    call.arity(3, 8 if lstm else 6, 3 if lstm else 2)
    batch_first = call.opset >= 14 and call.attributes.flag("layout")
    _check_types(call)
    attrs = _attrs(call)
    size = attrs.hidden_size
    x: str | None = call.input(0)
    states = [call.input(5), call.input(6) if lstm else None]
    if batch_first:
        x = _swapped(call, x, "X")
        states = [_swapped(call, s, f"state{i}") for i, s in enumerate(states)]
    inputs = [x, *_weights(call, size), call.input(4), *states]
    peephole = call.input(7) if lstm else None
    if peephole is not None:
        order = list(gates.permutation(gates.ONNX, "LSTM.peephole"))
        _check_rows(call, 7, 3 * size)
        inputs.append(_taken(call, peephole, order, size, "P"))
    while inputs[-1] is None:
        inputs.pop()
    outputs = [call.output(i) for i in range(3 if lstm else 2)]
    if not batch_first:
        call.emit(call.op, inputs, outputs, attrs.mapping())
        return
    inner = [None if name is None else call.fresh(f"out{i}") for i, name in enumerate(outputs)]
    call.emit(call.op, inputs, inner, attrs.mapping())
    perms = ((2, 0, 1, 3), (1, 0, 2), (1, 0, 2))
    for i, name in enumerate(outputs):
        if name is not None:
            call.emit("Transpose", [inner[i]], [name], {"perm": perms[i]}, f"out{i}")
