"""Softmax and LogSoftmax along one axis (the form of opset 13 and newer)."""

from __future__ import annotations

import functools

import numpy as np

from rnnengine.graph import TensorType
from rnnengine.ops.elementwise import as_computed, required
from rnnengine.ops.registry import (
    Array,
    Attrs,
    Known,
    NotAlongTime,
    Op,
    Settled,
    TimeAxes,
    Types,
    Values,
    register,
)
from rnnengine.ops.sizes import axis_of, present, require_dtype

__all__: list[str] = []


def _infer(attrs: Attrs, types: Types, known: Known, *, op: str) -> list[TensorType]:
    x = present(types, 0, "input")
    require_dtype(x.dtype, "f", f"{op}: input")
    axis_of(attrs.get("axis", -1), x.rank, f"{op}: axis")
    return [x]


def _reference(attrs: Attrs, values: Values, *, op: str) -> list[Array]:
    """exp(x - m) / sum exp(x - m) with m the largest element, and its logarithm."""
    x = as_computed(required(values, 0))
    axis = attrs.get("axis", -1)
    with np.errstate(all="ignore"):
        shifted = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
        total = np.sum(np.exp(shifted), axis=axis, keepdims=True)
        return [shifted - np.log(total) if op == "LogSoftmax" else np.exp(shifted) / total]


def _stream(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes, *, op: str
) -> list[int | None]:
    axis = axis_of(attrs.get("axis", -1), present(types, 0, "input").rank)
    if axes[0] == axis:
        raise NotAlongTime(f"{op} normalises over the time axis")
    return [axes[0]]


def _settle(attrs: Attrs, types: Types, known: Known, *, op: str) -> Settled | None:
    axis = axis_of(attrs.get("axis", -1), present(types, 0, "input").rank)
    return None if attrs.get("axis") == axis else Settled(op, 1, {**attrs, "axis": axis})


for _name in ("Softmax", "LogSoftmax"):
    register(
        Op(
            _name,
            functools.partial(_infer, op=_name),
            functools.partial(_reference, op=_name),
            functools.partial(_stream, op=_name),
            settle=functools.partial(_settle, op=_name),
        )
    )
