"""Conversion of operators that normalise."""

from __future__ import annotations

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Dim
from rnnengine.importers.onnx.builder import Call
from rnnengine.importers.onnx.table import converter, emit_same

__all__: list[str] = []

_FLOAT32 = 1


def _precision(call: Call) -> None:
    """Statistics may be asked for in float32 only, which is what the engine computes in."""
    call.attributes.only("stash_type", call.attributes.integer("stash_type", _FLOAT32), _FLOAT32)


@converter("LayerNormalization")
def _layer(call: Call) -> None:
    call.arity(2, 3, 3)
    _precision(call)
    axis, epsilon = call.attributes.integer("axis", -1), call.attributes.real("epsilon", 1e-5)
    assert axis is not None and epsilon is not None
    attrs = {"axis": axis, "epsilon": epsilon}
    call.emit("LayerNormalization", call.inputs, call.outputs[:1], attrs)
    if len(call.outputs) > 1:
        _statistics(call, axis, epsilon)


def _statistics(call: Call, axis: int, epsilon: float) -> None:
    """The mean and 1 / sqrt(variance + epsilon), the further outputs of LayerNormalization."""
    rank, data = call.type(0).rank, call.inputs[0]
    over = {"axes": tuple(range(axis % rank, rank)), "keepdims": True}
    mean, inverse = call.output(1), call.output(2)
    if mean is None:
        mean = call.made("ReduceMean", [data], over, "mean")
    else:
        call.emit("ReduceMean", [data], [mean], over, "mean")
    if inverse is None:
        return
    centred = call.made("Sub", [data, mean], None, "centred")
    square = call.made("Mul", [centred, centred], None, "square")
    variance = call.made("ReduceMean", [square], over, "variance")
    least = call.constant("epsilon", np.asarray(epsilon, call.type(0).dtype))
    moved = call.made("Add", [variance, least], None, "moved")
    root = call.made("Sqrt", [moved], None, "root")
    call.emit("Reciprocal", [root], [inverse], suffix="inverse")


@converter("RMSNormalization")
def _rms(call: Call) -> None:
    call.arity(2, 2)
    _precision(call)
    axis, epsilon = call.attributes.integer("axis", -1), call.attributes.real("epsilon", 1e-5)
    emit_same(call, {"axis": axis, "epsilon": epsilon})


@converter("InstanceNormalization")
def _instance(call: Call) -> None:
    call.arity(3, 3)
    emit_same(call, {"epsilon": call.attributes.real("epsilon", 1e-5)})


@converter("GroupNormalization")
def _group(call: Call) -> None:
    """Scale and bias belong to groups before opset 21, to channels since."""
    call.arity(3, 3)
    if call.opset >= 21:
        _precision(call)
    epsilon, groups = call.attributes.real("epsilon", 1e-5), call.attributes.integer("num_groups")
    if groups is None or groups < 1:
        raise ModelFormatError(
            f"{call.where}: attribute 'num_groups' is {groups}; expected a positive number"
        )
    inputs = call.inputs
    if call.opset < 21:
        inputs = [inputs[0], *(_per_channel(call, i, groups) for i in (1, 2))]
    call.emit(
        "GroupNormalization", inputs, call.outputs, {"num_groups": groups, "epsilon": epsilon}
    )


def _per_channel(call: Call, position: int, groups: int) -> str | None:
    """One factor for each channel, from one for each group."""
    kind, name = call.type(position), ("input", "scale", "bias")[position]
    if kind.shape != (groups,):
        raise ModelFormatError(f"{call.where}: {name} is {kind}; expected {groups} numbers")
    data = call.type(0)
    channels = data.shape[1] if data.rank > 1 else 0
    if isinstance(channels, Dim):
        raise UnsupportedModelError(f"{call.where}: the number of channels {channels} is not fixed")
    if channels % groups:
        raise ModelFormatError(f"{call.where}: {channels} channels in {groups} groups")
    column = call.made("Reshape", [call.inputs[position]], {"shape": (groups, 1)}, f"{name}.column")
    shape = {"shape": (groups, channels // groups)}
    wide = call.made("Expand", [column], shape, f"{name}.wide")
    return call.made("Reshape", [wide], {"shape": (channels,)}, f"{name}.channels")


@converter("LpNormalization")
def _lp(call: Call) -> None:
    """X / its norm along one axis; 0 where the norm is 0."""
    call.arity(1, 1)
    axis, p = call.attributes.integer("axis", -1), call.attributes.integer("p", 2)
    if p not in (1, 2):
        raise ModelFormatError(f"{call.where}: attribute 'p' is {p}; accepted: 1, 2")
    norm = call.made(f"ReduceL{p}", call.inputs, {"axes": (axis,), "keepdims": True}, "norm")
    zero = call.constant("zero", np.zeros((), call.type(0).dtype))
    one = call.constant("one", np.ones((), call.type(0).dtype))
    empty = call.made("Equal", [norm, zero], None, "empty")
    divisor = call.made("Where", [empty, one, norm], None, "divisor")
    call.emit("Div", [call.inputs[0], divisor], call.outputs)


@converter("MeanVarianceNormalization")
def _mean_variance(call: Call) -> None:
    """(x - mean) / (standard deviation + 1e-9)."""
    call.arity(1, 1)
    axes = call.attributes.integers("axes") or (0, 2, 3)
    attrs = {"axes": axes, "keepdims": True}
    mean = call.made("ReduceMean", call.inputs, attrs, "mean")
    centred = call.made("Sub", [call.inputs[0], mean], None, "centred")
    square = call.made("Mul", [centred, centred], None, "square")
    variance = call.made("ReduceMean", [square], attrs, "variance")
    deviation = call.made("Sqrt", [variance], None, "deviation")
    tiny = call.constant("tiny", np.asarray(1e-9, call.type(0).dtype))
    divisor = call.made("Add", [deviation, tiny], None, "divisor")
    call.emit("Div", [centred, divisor], call.outputs)
