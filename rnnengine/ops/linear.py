"""Matrix products: MatMul and Gemm of ONNX."""

from __future__ import annotations

import numpy as np

from rnnengine.errors import ShapeError
from rnnengine.graph import Size, TensorType
from rnnengine.ops import timeaxis
from rnnengine.ops.registry import (
    Array,
    Attrs,
    Known,
    NotAlongTime,
    Op,
    TimeAxes,
    Types,
    Values,
    register,
)
from rnnengine.ops.sizes import (
    as_computed,
    broadcast,
    element,
    present,
    require_dtype,
    required,
    unify,
)

__all__: list[str] = []


def _infer_matmul(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    """numpy.matmul's rule: a vector gains an axis for the product and loses it afterwards."""
    a, b = present(types, 0, "A"), present(types, 1, "B")
    require_dtype(a.dtype, "f", "MatMul: input A")
    if a.dtype != b.dtype:
        raise ShapeError(f"MatMul: element types {a.dtype} and {b.dtype} differ; must be the same")
    if a.rank == 0 or b.rank == 0:
        raise ShapeError(f"MatMul: got {a} and {b}; expected rank 1 or more")
    left = a.shape if a.rank > 1 else (1, *a.shape)
    right = b.shape if b.rank > 1 else (*b.shape, 1)
    unify(left[-1], right[-2], "MatMul: columns of A and rows of B")
    shape: list[Size] = list(broadcast([left[:-2], right[:-2]], "MatMul"))
    if a.rank > 1:
        shape.append(left[-2])
    if b.rank > 1:
        shape.append(right[-1])
    return [TensorType(a.dtype, tuple(shape))]


def _reference_matmul(attrs: Attrs, values: Values) -> list[Array]:
    a, b = as_computed(required(values, 0)), as_computed(required(values, 1))
    with np.errstate(all="ignore"):
        return [np.asarray(np.matmul(a, b))]


def _stream_matmul(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    a, b = present(types, 0, "A"), present(types, 1, "B")
    rank = _infer_matmul(attrs, types, known)[0].rank
    if axes[0] is not None and axes[0] == a.rank - 1:
        raise NotAlongTime("MatMul sums over the time axis of its first input")
    if axes[1] is not None and axes[1] == max(b.rank - 2, 0):
        raise NotAlongTime("MatMul sums over the time axis of its second input")
    if axes[0] is not None and axes[1] is None and axes[0] == a.rank - 2:
        return [rank - 1 if b.rank == 1 else rank - 2]
    if axes[1] is not None and axes[0] is None and axes[1] == b.rank - 1:
        return [rank - 1]
    batch = [TensorType(t.dtype, t.shape[:-2]) for t in (a, b)]
    inside = [
        axis if axis is not None and axis < t.rank - 2 else None
        for t, axis in zip((a, b), axes, strict=True)
    ]
    if inside != list(axes):
        raise NotAlongTime("MatMul combines every time step with every other")
    time = timeaxis.elementwise(batch, inside, "MatMul")
    return [time]


register(Op("MatMul", _infer_matmul, _reference_matmul, _stream_matmul))


def _infer_gemm(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    a, b = present(types, 0, "A"), present(types, 1, "B")
    require_dtype(a.dtype, "f", "Gemm: input A")
    c = element(types, 2)
    if a.rank != 2 or b.rank != 2:
        raise ShapeError(f"Gemm: A is {a}, B is {b}; expected matrices")
    if any(t is not None and t.dtype != a.dtype for t in (b, c)):
        raise ShapeError(f"Gemm: element types of {a}, {b}, {c} differ; must be the same")
    left = a.shape[::-1] if attrs.get("transA", 0) else a.shape
    right = b.shape[::-1] if attrs.get("transB", 0) else b.shape
    unify(left[1], right[0], "Gemm: columns of A and rows of B")
    shape = (left[0], right[1])
    if c is not None:
        merged = broadcast([shape, c.shape], "Gemm: C")
        if len(merged) != 2:
            raise ShapeError(f"Gemm: C is {c}; expected a shape that broadcasts to {shape}")
        for axis in range(2):
            unify(merged[axis], shape[axis], f"Gemm: axis {axis} of C and of the product")
    return [TensorType(a.dtype, shape)]


def _reference_gemm(attrs: Attrs, values: Values) -> list[Array]:
    """Y = alpha * A' * B' + beta * C."""
    a, b = as_computed(required(values, 0)), as_computed(required(values, 1))
    a = a.T if attrs.get("transA", 0) else a
    b = b.T if attrs.get("transB", 0) else b
    with np.errstate(all="ignore"):
        y = attrs.get("alpha", 1.0) * (a @ b)
        c = element(values, 2)
        if c is not None:
            y = y + attrs.get("beta", 1.0) * as_computed(c)
    return [np.asarray(y)]


def _stream_gemm(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    rows, columns = (1, 0) if attrs.get("transA", 0) else (0, 1)
    if axes[0] == columns or axes[1] is not None:
        raise NotAlongTime("Gemm sums over the time axis")
    time = None if axes[0] != rows else 0
    result = _infer_gemm(attrs, types, known)[0]
    return [timeaxis.elementwise([result, element(types, 2)], [time, element(axes, 2)], "Gemm")]


register(Op("Gemm", _infer_gemm, _reference_gemm, _stream_gemm))
