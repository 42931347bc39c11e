"""Elementwise operators of ONNX: unary functions, arithmetic with broadcasting, Clip and Cast."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnnengine.errors import ShapeError
from rnnengine.graph import Dim, TensorType, UndecidedError
from rnnengine.ops import timeaxis
from rnnengine.ops.recurrent.activations import Activation, apply
from rnnengine.ops.registry import (
    Array,
    Attrs,
    Known,
    Op,
    Settled,
    TimeAxes,
    Types,
    Values,
    register,
)
from rnnengine.ops.sizes import (
    as_computed,
    at_least,
    broadcast,
    element,
    objects,
    present,
    require_dtype,
    required,
    truncated_quotient,
)

__all__ = ["UNARY", "unary_activation"]

UNARY: dict[str, Callable[[Attrs], Activation]] = {
    "Relu": lambda a: Activation("relu"),
    "LeakyRelu": lambda a: Activation("leaky_relu", a.get("alpha", 0.01)),
    "ThresholdedRelu": lambda a: Activation("threshold", a.get("alpha", 1.0), 0.0),
    "Elu": lambda a: Activation("elu", a.get("alpha", 1.0)),
    "Selu": lambda a: Activation("selu"),
    "Celu": lambda a: Activation("celu", a.get("alpha", 1.0)),
    "HardSigmoid": lambda a: Activation("hard_sigmoid", a.get("alpha", 0.2), a.get("beta", 0.5)),
    "HardSwish": lambda a: Activation("hard_silu"),
    "Swish": lambda a: Activation("silu"),
    "Shrink": lambda a: Activation("shrink", a.get("lambd", 0.5), a.get("bias", 0.0)),
    "Softplus": lambda a: Activation("softplus"),
    "Softsign": lambda a: Activation("softsign"),
    "Sigmoid": lambda a: Activation("sigmoid"),
    "Tanh": lambda a: Activation("tanh"),
    "Erf": lambda a: Activation("erf"),
    "Gelu": lambda a: Activation("gelu_tanh" if a.get("approximate") == "tanh" else "gelu"),
    "Mish": lambda a: Activation("mish"),
    "Exp": lambda a: Activation("exponential"),
    "Log": lambda a: Activation("log"),
    "Sqrt": lambda a: Activation("sqrt"),
    "Reciprocal": lambda a: Activation("reciprocal"),
    "Neg": lambda a: Activation("neg"),
    "Abs": lambda a: Activation("abs"),
    "Sign": lambda a: Activation("sign"),
    "Floor": lambda a: Activation("floor"),
    "Ceil": lambda a: Activation("ceil"),
    "Round": lambda a: Activation("round"),
    "Sin": lambda a: Activation("sin"),
    "Cos": lambda a: Activation("cos"),
    "Tan": lambda a: Activation("tan"),
    "Asin": lambda a: Activation("asin"),
    "Acos": lambda a: Activation("acos"),
    "Atan": lambda a: Activation("atan"),
    "Sinh": lambda a: Activation("sinh"),
    "Cosh": lambda a: Activation("cosh"),
    "Asinh": lambda a: Activation("asinh"),
    "Acosh": lambda a: Activation("acosh"),
    "Atanh": lambda a: Activation("atanh"),
}
"""Unary operators as activations. ThresholdedRelu: the operator says x > alpha, the RNN text >=."""


def unary_activation(op: str, attrs: Attrs) -> Activation:
    """Return the activation that a unary operator computes."""
    return UNARY[op](attrs)


_INTEGER: dict[str, Callable[[Array], Any]] = {
    "Neg": np.negative,
    "Abs": np.abs,
    "Relu": lambda v: np.maximum(v, 0),
    "Sign": np.sign,
}
"""Unary operators that are defined for integers too."""


def _infer_unary(attrs: Attrs, types: Types, known: Known, *, op: str) -> list[TensorType]:
    x = present(types, 0, "X")
    require_dtype(x.dtype, "fi" if op in _INTEGER else "f", f"{op}: input X")
    return [x]


def _reference_unary(attrs: Attrs, values: Values, *, op: str) -> list[Array]:
    x = required(values, 0)
    if x.dtype.kind == "f":
        return [apply(UNARY[op](attrs), x)]
    if objects(x) and op != "Neg":
        raise UndecidedError(op)
    return [np.asarray(_INTEGER[op](x), x.dtype)]


def _stream_unary(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    return [timeaxis.first(axes)]


for _name in UNARY:
    register(
        Op(
            _name,
            functools.partial(_infer_unary, op=_name),
            functools.partial(_reference_unary, op=_name),
            _stream_unary,
            symbolic=_name in ("Neg", "Abs"),
        )
    )


def _extreme(a: Any, b: Any, *, largest: bool) -> Any:
    return a if at_least(a, b) == largest else b


def _divide(a: Array, b: Array) -> Array:
    if objects(a, b):
        return np.asarray(np.frompyfunc(truncated_quotient, 2, 1)(a, b), object)
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    if np.any(b == 0):
        raise UndecidedError("integer division by zero")
    quotient = np.abs(a) // np.abs(b)
    return np.asarray(np.where((a < 0) == (b < 0), quotient, -quotient), a.dtype)


def _power(a: Array, b: Array) -> Array:
    if objects(a, b):
        raise UndecidedError("Pow of a symbolic size")
    if a.dtype.kind in "iu" and b.dtype.kind in "iu" and np.any(b < 0):
        raise UndecidedError("integer to a negative power")
    return np.asarray(np.power(a, b), a.dtype if a.dtype.kind != "f" else np.float64)


def _select(a: Array, b: Array, *, largest: bool) -> Array:
    if objects(a, b):
        pick = functools.partial(_extreme, largest=largest)
        return np.asarray(np.frompyfunc(pick, 2, 1)(a, b), object)
    return np.asarray(np.maximum(a, b) if largest else np.minimum(a, b))


BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "Add": lambda a, b: np.asarray(a + b),
    "Sub": lambda a, b: np.asarray(a - b),
    "Mul": lambda a, b: np.asarray(a * b),
    "Div": _divide,
    "Pow": _power,
    "Min": lambda a, b: _select(a, b, largest=False),
    "Max": lambda a, b: _select(a, b, largest=True),
    "PRelu": lambda a, b: np.asarray(np.where(a < 0, a * b, a)),
}
"""Arithmetic with broadcasting; Min and Max take any number of inputs and give NaN for NaN."""


def _infer_arithmetic(attrs: Attrs, types: Types, known: Known, *, op: str) -> list[TensorType]:
    operands = [present(types, i, f"operand {i}") for i in range(len(types))]
    if not operands or (len(operands) != 2 and op not in ("Min", "Max")):
        raise ShapeError(f"{op}: got {len(operands)} inputs; expected 2")
    dtype = operands[0].dtype
    require_dtype(dtype, "fiu", f"{op}: input 0")
    if op != "Pow" and any(t.dtype != dtype for t in operands):
        listed = ", ".join(str(t.dtype) for t in operands)
        raise ShapeError(f"{op}: element types {listed} differ; must be the same")
    shape = broadcast([t.shape for t in operands], op)
    if op == "PRelu" and shape != operands[0].shape:
        raise ShapeError(
            f"PRelu: slope is {operands[1]}; expected a shape that broadcasts to {operands[0]}"
        )
    return [TensorType(dtype, shape)]


def _reference_arithmetic(attrs: Attrs, values: Values, *, op: str) -> list[Array]:
    operands = [as_computed(required(values, i)) for i in range(len(values))]
    with np.errstate(all="ignore"):
        return [functools.reduce(BINARY[op], operands)]


def _stream_broadcast(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes, *, op: str
) -> list[int | None]:
    return [timeaxis.elementwise(types, axes, op)]


for _name in BINARY:
    register(
        Op(
            _name,
            functools.partial(_infer_arithmetic, op=_name),
            functools.partial(_reference_arithmetic, op=_name),
            functools.partial(_stream_broadcast, op=_name),
            symbolic=_name != "PRelu",
        )
    )


def _infer_mod(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    (result,) = _infer_arithmetic(attrs, types, known, op="Mod")
    if result.dtype.kind == "f" and not attrs.get("fmod", 0):
        raise ShapeError(f"Mod: operands are {result.dtype}; floats need fmod=1")
    return [result]


def _reference_mod(attrs: Attrs, values: Values) -> list[Array]:
    """The remainder with the sign of the divisor, or of the dividend with fmod."""
    a, b = as_computed(required(values, 0)), as_computed(required(values, 1))
    if objects(a, b):
        raise UndecidedError("Mod of a symbolic size")
    if a.dtype.kind != "f" and np.any(b == 0):
        raise UndecidedError("integer division by zero")
    with np.errstate(all="ignore"):
        return [np.asarray(np.fmod(a, b) if attrs.get("fmod", 0) else np.mod(a, b))]


register(Op("Mod", _infer_mod, _reference_mod, functools.partial(_stream_broadcast, op="Mod")))


def _clip_bounds(attrs: Attrs, values: Sequence[Array | None]) -> tuple[Any, Any]:
    """Bounds from the settled attributes or from the operands; None where there is none."""
    if "min" in attrs or "max" in attrs:
        return attrs.get("min"), attrs.get("max")
    return element(values, 1), element(values, 2)


def _infer_clip(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x = present(types, 0, "input")
    require_dtype(x.dtype, "fiu", "Clip: input")
    for bound in types[1:]:
        if bound is not None and (bound.shape != () or bound.dtype != x.dtype):
            raise ShapeError(f"Clip: bound is {bound}; expected a scalar {x.dtype}")
    return [x]


def _reference_clip(attrs: Attrs, values: Values) -> list[Array]:
    """min(max(x, low), high): the upper bound wins where they cross, NaN stays NaN."""
    x = as_computed(required(values, 0))
    low, high = _clip_bounds(attrs, values)
    if low is not None:
        x = np.maximum(x, np.asarray(low).astype(x.dtype))
    if high is not None:
        x = np.minimum(x, np.asarray(high).astype(x.dtype))
    return [np.asarray(x)]


def _settle_clip(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    if "min" in attrs or "max" in attrs:
        return None
    bounds: list[Any] = [None, None]
    for i in (1, 2):
        if element(types, i) is None:
            continue
        value = element(known, i)
        if value is None or objects(value):
            return None
        bounds[i - 1] = value.item()
    return Settled("Clip", 1, {"min": bounds[0], "max": bounds[1]})


register(Op("Clip", _infer_clip, _reference_clip, _stream_unary, settle=_settle_clip))


def _infer_cast(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    return [TensorType(attrs["to"], present(types, 0, "input").shape)]


def _reference_cast(attrs: Attrs, values: Values) -> list[Array]:
    x, target = required(values, 0), attrs["to"]
    if objects(x):
        if target != np.dtype(np.int64):
            return [_cast_sizes(x, target)]
        return [x]
    if target.kind == "f":
        return [x.astype(np.float64)]
    if x.dtype.kind == "f" and target.kind in "iu":
        if not np.all(np.isfinite(x)) or np.any(np.abs(x) >= 2.0**63):
            raise UndecidedError("cast of a value that no integer holds")
        return [np.trunc(x).astype(np.int64).astype(target)]
    return [x.astype(target)]


def _cast_sizes(x: Array, target: np.dtype[Any]) -> Array:
    """Symbolic sizes stay sizes in any integer type; other types need their values."""
    if target.kind in "iu" and target.itemsize >= 4:
        return x
    if any(isinstance(v, Dim) for v in x.reshape(-1)):
        raise UndecidedError("Cast of a symbolic size")
    return x.astype(np.int64).astype(target)


def _stream_cast(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    return [timeaxis.first(axes)]


register(Op("Cast", _infer_cast, _reference_cast, _stream_cast, symbolic=True))
