"""Pools of ONNX over any number of spatial axes: the largest, the mean, the norm of a window."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from rnnengine.errors import ShapeError
from rnnengine.graph import Size, TensorType
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
    Window,
    register,
)
from rnnengine.ops.sizes import as_computed, present, require_dtype, required
from rnnengine.ops.windows import (
    Slide,
    along_time,
    auto_pad,
    read_slides,
    settled_attrs,
    taps,
    window_along,
)
from rnnengine.records import replace

__all__ = ["GLOBAL_POOLS", "POOLS", "pool_counts", "read_pool"]

POOLS = ("MaxPool", "AveragePool", "LpPool")
GLOBAL_POOLS = ("GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")


def read_pool(op: str, attrs: Attrs, types: Types) -> tuple[list[Slide], tuple[Size, ...]]:
    """Check a pool: its windows, and the sizes of the result's spatial axes.

    With ``ceil_mode`` the last window may reach beyond the padding at the end.
    """
    x = present(types, 0, "X")
    require_dtype(x.dtype, "f", f"{op}: input X")
    kernel = attrs.get("kernel_shape")
    if x.rank < 3 or kernel is None:
        raise ShapeError(f"{op}: X is {x}, kernel_shape is {kernel}; expected rank 3 up and a size")
    spatial = x.shape[2:]
    slides = read_slides(op, attrs, kernel, spatial)
    ceil = bool(attrs.get("ceil_mode", 0)) and not auto_pad(op, attrs).startswith("SAME")
    outputs = tuple(s.outputs(n, op, ceil=ceil) for s, n in zip(slides, spatial, strict=True))
    wide = [s for s in slides if max(s.before, s.after) >= s.extent]
    if wide:
        raise ShapeError(
            f"{op}: padding {wide[0].before}, {wide[0].after} is not smaller than the window of "
            f"{wide[0].extent}; a window over padding alone has no result"
        )
    return slides, outputs


def pool_counts(slide: Slide, size: int, outputs: int) -> Array:
    """Elements that each window along an axis holds when padding counts.

    The padding ends where the attributes say: what ``ceil_mode`` reaches beyond is not counted.
    """
    starts = np.arange(outputs) * slide.stride - slide.before
    left = size + slide.after - starts
    return np.minimum(slide.kernel, -(-left // slide.dilation))


def _infer(attrs: Attrs, types: Types, known: Known, *, op: str) -> list[TensorType]:
    x = present(types, 0, "X")
    _, outputs = read_pool(op, attrs, types)
    return [TensorType(x.dtype, (*x.shape[:2], *outputs))]


def _read(
    op: str, attrs: Attrs, values: Values
) -> tuple[Array, list[Slide], tuple[int, ...], tuple[int, ...]]:
    x = as_computed(required(values, 0))
    kind = TensorType(np.dtype(np.float64), x.shape)
    slides, outputs = read_pool(op, attrs, [kind])
    return x, slides, x.shape[2:], tuple(int(n) for n in outputs)


def _reference_max(attrs: Attrs, values: Values) -> list[Array]:
    """y[o] = max_j x[o*stride - before + j*dilation]; NaN where any of them is NaN."""
    x, slides, sizes, outputs = _read("MaxPool", attrs, values)
    y = np.full((*x.shape[:2], *outputs), -np.inf)
    for _, to, source in taps(slides, sizes, outputs):
        y[to] = np.maximum(y[to], x[source])
    return [y]


def _reference_average(attrs: Attrs, values: Values) -> list[Array]:
    """The mean of a window; padding counts as zeros with ``count_include_pad``."""
    x, slides, sizes, outputs = _read("AveragePool", attrs, values)
    y, count = np.zeros((*x.shape[:2], *outputs)), np.zeros(outputs)
    with np.errstate(all="ignore"):
        for _, to, source in taps(slides, sizes, outputs):
            y[to] += x[source]
            count[to] += 1
        if attrs.get("count_include_pad", 0):
            each = [pool_counts(*args) for args in zip(slides, sizes, outputs, strict=True)]
            count = functools.reduce(np.multiply.outer, each)
        return [y / count]


def _norm(attrs: Attrs) -> int:
    p = int(attrs.get("p", 2))
    if p < 1:
        raise ShapeError(f"LpPool: p is {p}; expected a number from 1 up")
    return p


def _reference_lp(attrs: Attrs, values: Values) -> list[Array]:
    """Norm of a window: y = (sum |x|^p)^(1/p)."""
    x, slides, sizes, outputs = _read("LpPool", attrs, values)
    p = _norm(attrs)
    y = np.zeros((*x.shape[:2], *outputs))
    with np.errstate(all="ignore"):
        for _, to, source in taps(slides, sizes, outputs):
            y[to] += np.abs(x[source]) ** p
        return [y ** (1 / p)]


_REFERENCES: dict[str, Callable[[Attrs, Values], list[Array]]] = {
    "MaxPool": _reference_max,
    "AveragePool": _reference_average,
    "LpPool": _reference_lp,
}


def _stream(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes, *, op: str
) -> list[int | None]:
    return [along_time(op, read_pool(op, attrs, types)[0], axes[0])]


def _window(attrs: Attrs, types: Types, axes: TimeAxes, *, op: str) -> Window | None:
    window = window_along(read_pool(op, attrs, types)[0], axes[0])
    if window is None:
        return None
    counts_real = op == "AveragePool" and not attrs.get("count_include_pad", 0)
    return replace(window, pad={"MaxPool": -math.inf}.get(op, None if counts_real else 0.0))


def _settle(attrs: Attrs, types: Types, known: Known, *, op: str) -> Settled | None:
    """Explicit windows; ``ceil_mode`` goes where it changes nothing."""
    slides, _ = read_pool(op, attrs, types)
    settled = settled_attrs(attrs, slides)
    if auto_pad(op, attrs).startswith("SAME") or all(s.stride == 1 for s in slides):
        settled.pop("ceil_mode", None)
    return None if settled == dict(attrs) else Settled(op, 1, settled)


for _name in POOLS:
    register(
        Op(
            _name,
            functools.partial(_infer, op=_name),
            _REFERENCES[_name],
            functools.partial(_stream, op=_name),
            settle=functools.partial(_settle, op=_name),
            window=functools.partial(_window, op=_name),
        )
    )


def _infer_global(attrs: Attrs, types: Types, known: Known, *, op: str) -> list[TensorType]:
    x = present(types, 0, "X")
    require_dtype(x.dtype, "f", f"{op}: input X")
    if x.rank < 2:
        raise ShapeError(f"{op}: X is {x}; expected rank 2 or more")
    return [TensorType(x.dtype, (*x.shape[:2], *(1,) * (x.rank - 2)))]


def _reference_global(attrs: Attrs, values: Values, *, op: str) -> list[Array]:
    """The largest element, the mean or the p-norm of all spatial elements of a channel."""
    x = as_computed(required(values, 0))
    axes = tuple(range(2, x.ndim))
    with np.errstate(all="ignore"):
        if op == "GlobalMaxPool":
            return [np.max(x, axis=axes, keepdims=True, initial=-np.inf)]
        if op == "GlobalAveragePool":
            total = np.sum(x, axis=axes, keepdims=True)
            return [total / np.float64(math.prod(x.shape[2:]))]
        p = _norm(attrs)
        return [np.sum(np.abs(x) ** p, axis=axes, keepdims=True) ** (1 / p)]


def _stream_global(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes, *, op: str
) -> list[int | None]:
    if axes[0] is not None and axes[0] >= 2:
        raise NotAlongTime(f"{op} looks at all time steps at once")
    return [axes[0]]


def _settle_global(attrs: Attrs, types: Types, known: Known, *, op: str) -> Settled | None:
    """A reduction over the spatial axes, where there is one of that kind."""
    reductions = {"GlobalMaxPool": "ReduceMax", "GlobalAveragePool": "ReduceMean"}
    reduction = reductions.get(op) or {1: "ReduceL1", 2: "ReduceL2"}.get(_norm(attrs))
    axes = tuple(range(2, present(types, 0, "X").rank))
    if reduction is None or not axes:
        return None
    return Settled(reduction, 1, {"axes": axes, "keepdims": True, "noop_with_empty_axes": False})


for _name in GLOBAL_POOLS:
    register(
        Op(
            _name,
            functools.partial(_infer_global, op=_name),
            functools.partial(_reference_global, op=_name),
            functools.partial(_stream_global, op=_name),
            settle=functools.partial(_settle_global, op=_name),
        )
    )
