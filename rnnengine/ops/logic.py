"""Comparison, boolean and selection operators of ONNX."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnengine.errors import ShapeError
from rnnengine.graph import TensorType, UndecidedError
from rnnengine.ops import timeaxis
from rnnengine.ops.registry import Array, Attrs, Known, Op, TimeAxes, Types, Values, register
from rnnengine.ops.sizes import (
    as_computed,
    at_least,
    broadcast,
    equal,
    objects,
    present,
    require_dtype,
    required,
)

__all__: list[str] = []

_BOOL = np.dtype(np.bool_)

COMPARISON: dict[str, tuple[Callable[[Array, Array], Any], Callable[[Any, Any], bool]]] = {
    "Equal": (np.equal, equal),
    "Less": (np.less, lambda a, b: not at_least(a, b)),
    "LessOrEqual": (np.less_equal, lambda a, b: at_least(b, a)),
    "Greater": (np.greater, lambda a, b: not at_least(b, a)),
    "GreaterOrEqual": (np.greater_equal, at_least),
}
"""Each comparison on arrays and on symbolic sizes."""

BOOLEAN: dict[str, Callable[[Array, Array], Any]] = {
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
}


def _stream(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes, *, op: str
) -> list[int | None]:
    return [timeaxis.elementwise(types, axes, op)]


def _infer_comparison(attrs: Attrs, types: Types, known: Known, *, op: str) -> list[TensorType]:
    a, b = present(types, 0, "A"), present(types, 1, "B")
    require_dtype(a.dtype, "fiub" if op == "Equal" else "fiu", f"{op}: input A")
    if a.dtype != b.dtype:
        raise ShapeError(f"{op}: element types {a.dtype} and {b.dtype} differ; must be the same")
    return [TensorType(_BOOL, broadcast([a.shape, b.shape], op))]


def _reference_comparison(attrs: Attrs, values: Values, *, op: str) -> list[Array]:
    a, b = required(values, 0), required(values, 1)
    on_arrays, on_sizes = COMPARISON[op]
    if objects(a, b):
        return [np.asarray(np.frompyfunc(on_sizes, 2, 1)(a, b)).astype(_BOOL)]
    return [np.asarray(on_arrays(a, b))]


for _name in COMPARISON:
    register(
        Op(
            _name,
            functools.partial(_infer_comparison, op=_name),
            functools.partial(_reference_comparison, op=_name),
            functools.partial(_stream, op=_name),
            symbolic=True,
        )
    )


def _infer_boolean(attrs: Attrs, types: Types, known: Known, *, op: str) -> list[TensorType]:
    a, b = present(types, 0, "A"), present(types, 1, "B")
    require_dtype(a.dtype, "b", f"{op}: input A")
    require_dtype(b.dtype, "b", f"{op}: input B")
    return [TensorType(_BOOL, broadcast([a.shape, b.shape], op))]


def _reference_boolean(attrs: Attrs, values: Values, *, op: str) -> list[Array]:
    return [np.asarray(BOOLEAN[op](required(values, 0), required(values, 1)))]


for _name in BOOLEAN:
    register(
        Op(
            _name,
            functools.partial(_infer_boolean, op=_name),
            functools.partial(_reference_boolean, op=_name),
            functools.partial(_stream, op=_name),
        )
    )


def _infer_not(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x = present(types, 0, "X")
    require_dtype(x.dtype, "b", "Not: input X")
    return [x]


def _reference_not(attrs: Attrs, values: Values) -> list[Array]:
    return [np.logical_not(required(values, 0))]


register(Op("Not", _infer_not, _reference_not, functools.partial(_stream, op="Not")))


def _infer_test(attrs: Attrs, types: Types, known: Known, *, op: str) -> list[TensorType]:
    x = present(types, 0, "X")
    require_dtype(x.dtype, "f", f"{op}: X")
    return [TensorType(_BOOL, x.shape)]


def _reference_test(attrs: Attrs, values: Values, *, op: str) -> list[Array]:
    """IsNaN; IsInf with ``detect_positive`` and ``detect_negative``."""
    x = required(values, 0)
    if op == "IsNaN":
        return [np.isnan(x)]
    positive = np.isposinf(x) & bool(attrs.get("detect_positive", True))
    return [positive | (np.isneginf(x) & bool(attrs.get("detect_negative", True)))]


for _name in ("IsNaN", "IsInf"):
    register(
        Op(
            _name,
            functools.partial(_infer_test, op=_name),
            functools.partial(_reference_test, op=_name),
            functools.partial(_stream, op=_name),
        )
    )


def _infer_where(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    condition, a, b = (present(types, i, n) for i, n in enumerate(("condition", "X", "Y")))
    require_dtype(condition.dtype, "b", "Where: condition")
    if a.dtype != b.dtype:
        raise ShapeError(f"Where: element types {a.dtype} and {b.dtype} differ; must be the same")
    return [TensorType(a.dtype, broadcast([condition.shape, a.shape, b.shape], "Where"))]


def _reference_where(attrs: Attrs, values: Values) -> list[Array]:
    condition, a, b = (required(values, i) for i in range(3))
    if objects(condition):
        raise UndecidedError("Where with a symbolic condition")
    return [np.asarray(np.where(condition, as_computed(a), as_computed(b)))]


register(
    Op(
        "Where",
        _infer_where,
        _reference_where,
        functools.partial(_stream, op="Where"),
        symbolic=True,
    )
)
