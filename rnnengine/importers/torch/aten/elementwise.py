"""Activations, arithmetic with broadcasting, comparisons, casts and numbers of ATen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Dim
from rnnengine.importers.torch.aten.call import Call, Handle, aten

__all__: list[str] = []

_UNARY = {
    "abs": "Abs", "erf": "Erf", "exp": "Exp", "hardswish": "HardSwish", "log": "Log",
    "mish": "Mish", "neg": "Neg", "reciprocal": "Reciprocal", "relu": "Relu", "selu": "Selu",
    "sigmoid": "Sigmoid", "silu": "Swish", "sqrt": "Sqrt", "tanh": "Tanh", "floor": "Floor",
    "ceil": "Ceil", "sin": "Sin", "cos": "Cos", "sign": "Sign", "round": "Round",
    "logical_not": "Not", "bitwise_not": "Not",
}  # fmt: skip


@aten(*(f"{name}.default" for name in _UNARY))
def _unary(call: Call) -> str:
    name = call.target.split(".")[1].rstrip("_")
    return call.one(_UNARY[name], [call.tensor()])


@aten("softsign.default")
def _softsign(call: Call) -> str:
    return call.one("Softsign", [call.tensor()])


@aten("rsqrt.default")
def _rsqrt(call: Call) -> str:
    return call.one("Reciprocal", [call.one("Sqrt", [call.tensor()])])


@aten("square.default")
def _square(call: Call) -> str:
    x = call.tensor()
    return call.one("Mul", [x, x])


@aten("log_sigmoid.default")
def _log_sigmoid(call: Call) -> str:
    """Log sigmoid(x) = -softplus(-x)."""
    inner = call.one("Softplus", [call.one("Neg", [call.tensor()])])
    return call.one("Neg", [inner])


@aten("gelu.default")
def _gelu(call: Call) -> str:
    x, approximate = call.tensor(), call.text("approximate", "none")
    call.only("approximate", approximate, "none", "tanh")
    return call.one("Gelu", [x], {"approximate": approximate})


@aten("elu.default")
def _elu(call: Call) -> str:
    x, alpha = call.tensor(), call.number("alpha", 1.0)
    for name in ("scale", "input_scale"):
        call.only(name, call.number(name, 1.0), 1.0)
    return call.one("Elu", [x], {"alpha": alpha})


@aten("celu.default")
def _celu(call: Call) -> str:
    return call.one("Celu", [call.tensor()], {"alpha": call.number("alpha", 1.0)})


@aten("leaky_relu.default")
def _leaky_relu(call: Call) -> str:
    return call.one("LeakyRelu", [call.tensor()], {"alpha": call.number("negative_slope", 0.01)})


@aten("prelu.default")
def _prelu(call: Call) -> str:
    """max(x, 0) + weight * min(x, 0), the weight along axis 1."""
    x, weight = call.tensor(), call.tensor("weight")
    rank, slopes = call.type(x).rank, call.type(weight)
    if slopes.rank == 1 and rank > 2:
        weight = call.reshaped(weight, (slopes.shape[0], *(1,) * (rank - 2)))
    zero = call.constant(0.0)
    above, below = call.one("Max", [x, zero]), call.one("Min", [x, zero])
    return call.one("Add", [above, call.one("Mul", [weight, below])])


@aten("hardsigmoid.default")
def _hardsigmoid(call: Call) -> str:
    """min(max(x / 6 + 1/2, 0), 1)."""
    return call.one("HardSigmoid", [call.tensor()], {"alpha": 1 / 6, "beta": 0.5})


@aten("softplus.default")
def _softplus(call: Call) -> str:
    """log(1 + exp(beta x)) / beta; from beta x > threshold on x, where float32 sees no difference.

    The difference is log(1 + exp(-threshold)) / beta, below 2e-8 from a threshold of 18 on.
    """
    x, beta, threshold = call.tensor(), call.number("beta", 1.0), call.number("threshold", 20.0)
    if threshold < 18.0 or beta <= 0:
        raise UnsupportedModelError(
            f"{call.where}: arguments 'beta' {beta} and 'threshold' {threshold}; accepted: a "
            "positive beta and a threshold from 18 on"
        )
    if beta == 1.0:
        return call.one("Softplus", [x])
    scale = call.constant(beta)
    inner = call.one("Softplus", [call.one("Mul", [x, scale])])
    return call.one("Div", [inner, scale])


@aten("hardtanh.default", "clamp.default", "clamp_min.default", "clamp_max.default",
      "relu6.default")  # fmt: skip
def _clip(call: Call) -> str:
    x, kind = call.tensor(), call.target.split(".")[1].rstrip("_")
    low, high = {"hardtanh": (-1.0, 1.0), "relu6": (0.0, 6.0)}.get(kind, (None, None))
    if kind in ("hardtanh",):
        low, high = call.number("min_val", low), call.number("max_val", high)
    elif kind != "relu6":
        bounds = [call.take(name) for name in ("min", "max")]
        for bound in bounds:
            if bound is not None and (
                isinstance(bound, bool) or not isinstance(bound, int | float)
            ):
                raise UnsupportedModelError(
                    f"{call.where}: a bound is computed; accepted: fixed numbers"
                )
        low, high = bounds
    dtype = call.type(x).dtype
    return call.one("Clip", [x, *(None if b is None else call.constant(b, dtype)
                                  for b in (low, high))])  # fmt: skip


def _operands(call: Call, first: str = "self", second: str = "other") -> tuple[str, str]:
    """Two operands of one element type; numbers become constants of the other's type."""
    values = [call.take(first), call.take(second)]
    kinds = [call.type(v.name).dtype for v in values if isinstance(v, Handle)]
    if not kinds:
        raise UnsupportedModelError(f"{call.where}: both operands are numbers; accepted: tensors")
    whole = all(k.kind in "iub" for k in kinds)
    common = next((k for k in kinds if k.kind == "f"), kinds[0])
    if whole and any(isinstance(v, float) for v in values):
        common = np.dtype(np.float32)
    if whole and common.kind == "b" and any(type(v) is int for v in values):
        common = np.dtype(np.int32)
    made = []
    for value in values:
        if isinstance(value, Dim):
            raise UnsupportedModelError(
                f"{call.where}: it computes with the size {value} of an axis; accepted: fixed sizes"
            )
        if isinstance(value, Handle):
            made.append(_cast(call, value.name, common))
        elif isinstance(value, int | float):
            made.append(call.constant(value, common))
        else:
            raise UnsupportedModelError(f"{call.where}: an operand is no tensor and no number")
    return made[0], made[1]


def _cast(call: Call, value: str, dtype: np.dtype[Any]) -> str:
    if call.type(value).dtype == dtype:
        return value
    return call.one("Cast", [value], {"to": dtype})


@aten("add.Tensor", "add.Scalar", "sub.Tensor", "sub.Scalar", "rsub.Scalar", "rsub.Tensor")
def _add(call: Call) -> str:
    """Self + alpha * other, self - alpha * other, and other - alpha * self."""
    word, alpha = call.target.split(".")[1].rstrip("_"), call.number("alpha", 1)
    left, right = _operands(call)
    if word == "rsub":
        left, right = right, left
    if alpha != 1:
        right = call.one("Mul", [right, call.constant(alpha, call.type(right).dtype)])
    return call.one("Add" if word == "add" else "Sub", [left, right])


@aten("mul.Tensor", "mul.Scalar")
def _mul(call: Call) -> str:
    return call.one("Mul", _operands(call))


@aten("div.Tensor", "div.Scalar", "div.Tensor_mode", "div.Scalar_mode", "true_divide.Tensor")
def _div(call: Call) -> str:
    call.only("rounding_mode", call.take("rounding_mode"), None)
    left, right = _operands(call)
    if call.type(left).dtype.kind != "f":
        left, right = (_cast(call, v, np.dtype(np.float32)) for v in (left, right))
    return call.one("Div", [left, right])


@aten("maximum.default", "minimum.default", "max.other", "min.other")
def _extreme(call: Call) -> str:
    word = call.target.split(".")[1]
    return call.one("Max" if word.startswith("max") else "Min", _operands(call))


@aten("pow.Tensor_Scalar", "pow.Tensor_Tensor")
def _pow(call: Call) -> str:
    return call.one("Pow", _operands(call, "self", "exponent"))


_COMPARED = {"eq": "Equal", "gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less",
             "le": "LessOrEqual"}  # fmt: skip


@aten("ne.Scalar", "ne.Tensor", *(f"{n}.{k}" for n in _COMPARED for k in ("Scalar", "Tensor")))
def _compare(call: Call) -> str:
    word = call.target.split(".")[1]
    if word == "ne":
        return call.one("Not", [call.one("Equal", _operands(call))])
    return call.one(_COMPARED[word], _operands(call))


@aten("logical_and.default", "logical_or.default", "bitwise_and.Tensor", "bitwise_or.Tensor")
def _logic(call: Call) -> str:
    left, right = call.tensor("self"), call.tensor("other")
    for value in (left, right):
        if call.type(value).dtype.kind != "b":
            raise UnsupportedModelError(f"{call.where}: an operand is {call.type(value)}; "
                                        "accepted: bool")  # fmt: skip
    return call.one("And" if "and" in call.target.split(".")[1] else "Or", [left, right])


@aten("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def _where(call: Call) -> str:
    condition = call.tensor("condition")
    return call.one("Where", [condition, *_operands(call)])


@aten("masked_fill.Scalar", "masked_fill.Tensor")
def _masked_fill(call: Call) -> str:
    x, mask = call.tensor(), call.tensor("mask")
    value = call.take("value")
    if isinstance(value, Handle):
        filled = _cast(call, value.name, call.type(x).dtype)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        filled = call.constant(value, call.type(x).dtype)
    else:
        filled = call.constant(_number(call, value), call.type(x).dtype)
    return call.one("Where", [mask, filled, x])


def _number(call: Call, value: Any) -> float:
    """A number as JSON has it, infinities written as words."""
    words = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
    if isinstance(value, str) and value in words:
        return words[value]
    if isinstance(value, bool | int | float):
        return float(value)
    raise UnsupportedModelError(f"{call.where}: argument 'value' is no fixed number")


@aten("_to_copy.default", "to.dtype", "to.device", "to.dtype_layout", "to.other",
      "type_as.default", "float.default", views=True)  # fmt: skip
def _to(call: Call) -> str:
    x, other = call.tensor(), call.optional("other")
    own = call.type(x).dtype
    return _cast(call, x, call.type(other).dtype if other else call.dtype(default=own))
