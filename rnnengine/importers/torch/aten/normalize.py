"""Softmax, normalisation layers, reductions and reparametrised weights of ATen."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Size
from rnnengine.importers.torch.aten.call import Call, aten
from rnnengine.importers.torch.weights import weight_norm

__all__: list[str] = []


@aten("softmax.int", "_softmax.default", "log_softmax.int", "_log_softmax.default")
def _softmax(call: Call) -> str:
    x = call.tensor()
    axis = call.axis("dim", call.type(x).rank)
    call.only("dtype", call.dtype(), np.dtype(np.float32))
    call.only("half_to_float", call.flag("half_to_float"), False)
    op = "LogSoftmax" if "log" in call.target else "Softmax"
    return call.one(op, [x], {"axis": axis})


def _parameter(call: Call, given: str | None, shape: tuple[Size, ...], fill: float) -> str:
    """A weight or bias of a normalisation, or what its absence means."""
    if given is not None:
        return given
    sizes = [s for s in shape if isinstance(s, int)]
    if len(sizes) != len(shape):
        raise UnsupportedModelError(f"{call.where}: it normalises over the open size {shape}")
    return call.constant(np.full(sizes, fill))


@aten("layer_norm.default", "native_layer_norm.default", "rms_norm.default")
def _layer_norm(call: Call) -> str:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes; rms_norm without mean."""
    x = call.tensor("input")
    shape = tuple(call.sizes("normalized_shape"))
    found = call.type(x).shape
    if not shape or found[len(found) - len(shape) :] != shape:
        raise ModelFormatError(
            f"{call.where}: argument 'normalized_shape' is {list(shape)}; the input ends in "
            f"{list(found[-len(shape) :])}"
        )
    scale = _parameter(call, call.optional("weight"), shape, 1.0)
    axis = len(found) - len(shape)
    if call.target.startswith("aten.rms_norm"):
        eps = call.take("eps")
        eps = float(np.finfo(np.float32).eps) if eps is None else float(eps)
        return call.one("RMSNormalization", [x, scale], {"axis": axis, "epsilon": eps})
    operands = [x, scale]
    bias = call.optional("bias")
    if bias is not None:
        operands.append(bias)
    call.flag("cudnn_enable", True)
    attrs = {"axis": axis, "epsilon": call.number("eps", 1e-5)}
    return call.one("LayerNormalization", operands, attrs)


@aten("batch_norm.default", "_native_batch_norm_legit_no_training.default",
      "instance_norm.default")  # fmt: skip
def _batch_norm(call: Call) -> str:
    x = call.tensor("input")
    weight, bias = call.optional("weight"), call.optional("bias")
    mean, variance = call.optional("running_mean"), call.optional("running_var")
    training = call.flag("training") or call.flag("use_input_stats")
    if training or mean is None or variance is None:
        raise UnsupportedModelError(
            f"{call.where}: it normalises by the statistics of its input; accepted: the running "
            "ones. Call .eval() on the module before exporting"
        )
    call.number("momentum", 0.1)
    call.flag("cudnn_enabled", True)
    shape = call.type(mean).shape
    scale = _parameter(call, weight, shape, 1.0)
    shift = _parameter(call, bias, shape, 0.0)
    attrs = {"epsilon": call.number("eps", 1e-5)}
    return call.one("BatchNormalization", [x, scale, shift, mean, variance], attrs)


@aten("group_norm.default")
def _group_norm(call: Call) -> str:
    x = call.tensor("input")
    groups = call.integer("num_groups")
    shape = (call.type(x).shape[1],) if call.type(x).rank > 1 else ()
    scale = _parameter(call, call.optional("weight"), shape, 1.0)
    bias = _parameter(call, call.optional("bias"), shape, 0.0)
    call.flag("cudnn_enabled", True)
    attrs = {"num_groups": groups, "epsilon": call.number("eps", 1e-5)}
    return call.one("GroupNormalization", [x, scale, bias], attrs)


_REDUCED = {"sum": "ReduceSum", "mean": "ReduceMean", "amax": "ReduceMax", "amin": "ReduceMin",
            "max": "ReduceMax", "min": "ReduceMin"}  # fmt: skip


@aten("sum.default", "sum.dim_IntList", "mean.default", "mean.dim", "amax.default",
      "amin.default", "max.default", "min.default", "max.dim", "min.dim")  # fmt: skip
def _reduce(call: Call) -> list[Any]:
    """Reductions; where the largest stands (``max.dim``) is not computed."""
    word = call.target.split(".")[1]
    x = call.tensor()
    rank = call.type(x).rank
    given = call.take("dim")
    listed = [given] if type(given) is int else given
    if not listed:
        listed = list(range(rank))
    if not all(type(a) is int for a in listed):
        raise ModelFormatError(f"{call.where}: argument 'dim' is no list of axes")
    axes = sorted({call.counted(a, rank) for a in listed})
    keep = call.flag("keepdim")
    call.only("dtype", call.dtype(default=call.type(x).dtype), call.type(x).dtype)
    operand = call.constant(axes, np.int64)
    y = call.one(_REDUCED[word], [x, operand], {"keepdims": int(keep)})
    return [y, None] if call.target.endswith(".dim") and word in ("max", "min") else [y]


@aten("glu.default")
def _glu(call: Call) -> str:
    """First half times the sigmoid of the second."""
    x = call.tensor()
    shape = call.type(x).shape
    axis = call.axis("dim", len(shape), -1)
    size = shape[axis]
    if not isinstance(size, int) or size % 2:
        raise ModelFormatError(
            f"{call.where}: axis {axis} has the size {size}; expected an even one"
        )
    halves = [call.part(x, axis, at, size // 2) for at in (0, size // 2)]
    return call.one("Mul", [halves[0], call.one("Sigmoid", [halves[1]])])


@aten("_weight_norm.default", "_weight_norm_interface.default")
def _weight_norm(call: Call) -> list[Any]:
    """G * v / ||v||, worked out here as for weights without a graph."""
    v, g = call.tensor("v"), call.tensor("g")
    call.integer("dim", 0)
    arrays = [call.array(name, "a weight") for name in (g, v)]
    folded = weight_norm(arrays[0], arrays[1], call.where)
    name = call.builder.paths.get(v, call.node.name)
    return [call.builder.exact(name, folded), None]
