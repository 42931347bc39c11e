"""Convolutions of ONNX over any number of spatial axes: Conv and ConvTranspose.

Both may carry what passes join to them: ``activation``, applied to the sum, and a fourth input
``slope`` [M], which makes the activation a PRelu with one slope for each output channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rnnengine.errors import ShapeError
from rnnengine.graph import Dim, Size, TensorType, UndecidedError
from rnnengine.ops.recurrent.activations import apply
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
from rnnengine.ops.sizes import (
    as_computed,
    check_size,
    element,
    present,
    require_dtype,
    required,
    unify,
)
from rnnengine.ops.windows import (
    Slide,
    along_time,
    auto_pad,
    read_slides,
    settled_attrs,
    slides_of,
    taps,
    window_along,
)
from rnnengine.records import record, replace

__all__ = ["Convolution", "read_conv", "read_conv_transpose"]


@record
class Convolution:
    """A node's attributes, checked against the shapes of its operands.

    Attributes
    ----------
    slides : tuple of Slide
        One for each spatial axis; of the transposed convolution those of the convolution it
        transposes, with ``after`` less by what ``output_padding`` adds.
    group : int
    units : int
        Output channels.
    outputs : tuple of sizes
        Of the result's spatial axes.
    """

    slides: tuple[Slide, ...]
    group: int
    units: int
    outputs: tuple[Size, ...]


def _operands(op: str, types: Types) -> tuple[TensorType, TensorType]:
    x, w = present(types, 0, "X"), present(types, 1, "W")
    require_dtype(x.dtype, "f", f"{op}: input X")
    if x.rank < 3 or w.rank != x.rank:
        raise ShapeError(f"{op}: X is {x}, W is {w}; expected equal ranks from 3 up")
    for name, kind in (("W", w), ("B", element(types, 2)), ("slope", element(types, 3))):
        if kind is not None and kind.dtype != x.dtype:
            raise ShapeError(f"{op}: {name} is {kind.dtype}, X is {x.dtype}; must be the same")
    return x, w


def _whole(size: Size, what: str) -> int:
    if isinstance(size, Dim):
        raise UndecidedError(f"{what} {size}")
    return size


def _group(op: str, attrs: Attrs, *channels: int) -> int:
    group = int(attrs.get("group", 1))
    if group < 1 or any(c % group for c in channels):
        listed = " and ".join(map(str, channels))
        raise ShapeError(f"{op}: group is {group}; expected a divisor of {listed} channels")
    return group


def _vectors(op: str, types: Types, units: int) -> None:
    for position, name in ((2, "B"), (3, "slope")):
        kind = element(types, position)
        if kind is not None and kind.shape != (units,):
            raise ShapeError(f"{op}: {name} is {kind}; expected [{units}]")


def read_conv(attrs: Attrs, types: Types) -> Convolution:
    """Check a Conv: X [N, C, *spatial], W [M, C/group, *kernel], B [M]."""
    x, w = _operands("Conv", types)
    units = _whole(w.shape[0], "the number of output channels")
    group = _group("Conv", attrs, units)
    unify(x.shape[1], w.shape[1] * group, "Conv: channels of X, and of W times group")
    slides = read_slides("Conv", attrs, w.shape[2:], x.shape[2:])
    outputs = tuple(s.outputs(n, "Conv") for s, n in zip(slides, x.shape[2:], strict=True))
    _vectors("Conv", types, units)
    return Convolution(tuple(slides), group, units, outputs)


def read_conv_transpose(attrs: Attrs, types: Types) -> Convolution:
    """Check a ConvTranspose: X [N, C, *spatial], W [C, M/group, *kernel], B [M]."""
    x, w = _operands("ConvTranspose", types)
    unify(x.shape[1], w.shape[0], "ConvTranspose: channels of X and of W")
    channels = _whole(w.shape[0], "the number of input channels")
    group = _group("ConvTranspose", attrs, channels)
    units = _whole(w.shape[1], "the number of output channels") * group
    slides, outputs = _transposed(attrs, w.shape[2:], x.shape[2:])
    _vectors("ConvTranspose", types, units)
    return Convolution(tuple(slides), group, units, tuple(outputs))


def _transposed(
    attrs: Attrs, kernel: Sequence[Size], spatial: Sequence[Size]
) -> tuple[list[Slide], list[Size]]:
    """Windows and sizes: stride * (n - 1) + output_padding + extent - pads, or ``output_shape``.

    Where the result's size is given (``output_shape``, or n * stride with SAME), the padding
    follows from it; an odd element goes to the end with SAME_UPPER and to the start otherwise. What
    the windows do not reach is added at the end, as by ``output_padding``.
    """
    op, rank = "ConvTranspose", len(spatial)
    slides = slides_of(op, attrs, kernel, rank)
    auto = auto_pad(op, attrs)
    extra = [int(v) for v in attrs.get("output_padding") or (0,) * rank]
    if len(extra) != rank or any(
        not 0 <= e < max(s.stride, s.dilation) for e, s in zip(extra, slides, strict=False)
    ):
        raise ShapeError(
            f"{op}: output_padding is {tuple(extra)}; expected {rank} numbers from 0 up, below the "
            "stride or the dilation"
        )
    wanted = attrs.get("output_shape")
    if wanted is None and auto.startswith("SAME"):
        wanted = [n * s.stride for n, s in zip(spatial, slides, strict=True)]
    full = [
        (n - 1) * s.stride + s.extent + e for n, s, e in zip(spatial, slides, extra, strict=True)
    ]
    if wanted is None:
        sizes = [n - s.before - s.after for n, s in zip(full, slides, strict=True)]
    else:
        sizes = list(wanted)
        if len(sizes) != rank:
            raise ShapeError(f"{op}: output_shape is {tuple(sizes)}; expected {rank} sizes")
        slides = [
            _fitted(s, n, size, auto == "SAME_UPPER")
            for s, n, size in zip(slides, full, sizes, strict=True)
        ]
        if any(
            e - min(s.after, 0) >= max(s.stride, s.dilation, e + 1)
            for s, e in zip(slides, extra, strict=True)
        ):
            raise ShapeError(
                f"{op}: {tuple(sizes)} outputs are wanted, the windows reach {tuple(full)}"
            )
    if any(isinstance(n, int) and n < 0 for n in sizes):
        raise ShapeError(f"{op}: the result would have sizes {tuple(sizes)}; pads are too large")
    kept = [replace(s, after=s.after - e) for s, e in zip(slides, extra, strict=True)]
    return kept, [check_size(n) for n in sizes]


def _fitted(slide: Slide, full: Size, wanted: Size, upper: bool) -> Slide:
    total = full - wanted
    if isinstance(total, Dim):
        raise UndecidedError(f"padding of {total}")
    if total < 0:
        return replace(slide, before=0, after=total)
    less, more = total // 2, total - total // 2
    return replace(slide, before=less if upper else more, after=more if upper else less)


def _infer(read: Convolution, types: Types) -> list[TensorType]:
    x = present(types, 0, "X")
    return [TensorType(x.dtype, (x.shape[0], read.units, *read.outputs))]


def _types_of(values: Values) -> list[TensorType | None]:
    return [None if v is None else TensorType(np.dtype(np.float64), v.shape) for v in values]


def _finish(attrs: Attrs, values: Values, y: Array) -> Array:
    """Apply the activation: a function, or PRelu with the slopes of the channels."""
    slope = element(values, 3)
    if slope is not None:
        factors = as_computed(slope).reshape(-1, *(1,) * (y.ndim - 2))
        return np.asarray(np.where(y < 0, y * factors, y))
    activation = attrs.get("activation")
    return y if activation is None else np.asarray(apply(activation, y))


def _start(values: Values, read: Convolution, batch: int) -> Array:
    """The sums before the first tap: the bias, [N, group, M/group, *outputs]."""
    shape = (batch, read.units, *(int(n) for n in read.outputs))
    y, bias = np.zeros(shape), element(values, 2)
    if bias is not None:
        y += as_computed(bias).reshape(-1, *(1,) * len(read.outputs))
    return y.reshape(batch, read.group, read.units // read.group, *shape[2:])


def _reference_conv(attrs: Attrs, values: Values) -> list[Array]:
    """y[n,m,o] = b[m] + sum_c sum_j w[m,c,j] x[n, c, o*stride - before + j*dilation].

    c runs over the channels of m's group. Source: Conv-22 of ONNX.
    """
    read = read_conv(attrs, _types_of(values))
    x, w = as_computed(required(values, 0)), as_computed(required(values, 1))
    n, sizes, group = x.shape[0], x.shape[2:], read.group
    y = _start(values, read, n)
    x = x.reshape(n, group, w.shape[1], *sizes)
    w = w.reshape(group, read.units // group, *w.shape[1:])
    with np.errstate(all="ignore"):
        for tap, to, source in taps(read.slides, sizes, y.shape[3:]):
            part = x[source]
            columns = part.reshape(*part.shape[:3], math.prod(part.shape[3:]))
            product = np.matmul(w[tap], columns)
            y[to] += product.reshape(*product.shape[:3], *part.shape[3:])
        return [_finish(attrs, values, y.reshape(n, read.units, *y.shape[3:]))]


def _reference_conv_transpose(attrs: Attrs, values: Values) -> list[Array]:
    """y[n, m, i*stride - before + j*dilation] += w[c,m,j] x[n,c,i], from b[m].

    Source: ConvTranspose-22 of ONNX; the gradient of a convolution with respect to its input.
    """
    read = read_conv_transpose(attrs, _types_of(values))
    x, w = as_computed(required(values, 0)), as_computed(required(values, 1))
    n, sizes, group = x.shape[0], x.shape[2:], read.group
    y = _start(values, read, n)
    channels = w.shape[0] // group
    x = x.reshape(n, group, channels, *sizes)
    w = w.reshape(group, channels, *w.shape[1:])
    with np.errstate(all="ignore"):
        # A tap of the transposed window reads where the window of y, sliding over x, would write.
        for tap, source, to in taps(read.slides, y.shape[3:], sizes):
            part = x[source]
            columns = part.reshape(*part.shape[:3], math.prod(part.shape[3:]))
            product = np.matmul(w[tap].swapaxes(1, 2), columns)
            y[to] += product.reshape(*product.shape[:3], *part.shape[3:])
        return [_finish(attrs, values, y.reshape(n, read.units, *y.shape[3:]))]


def _static_weights(op: str, types: Types, axes: TimeAxes) -> None:
    if any(axis is not None for axis in axes[1:]):
        raise NotAlongTime(f"{op}: a weight has the time axis")
    if axes[0] == 1:
        raise NotAlongTime(f"{op} sums over the time axis")


def _stream_conv(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    _static_weights("Conv", types, axes)
    axis = axes[0]
    if axis is None or axis == 0:
        return [axis]
    return [along_time("Conv", read_conv(attrs, types).slides, axis)]


def _window_conv(attrs: Attrs, types: Types, axes: TimeAxes) -> Window | None:
    if axes[0] in (None, 0, 1) or any(axis is not None for axis in axes[1:]):
        return None
    return window_along(read_conv(attrs, types).slides, axes[0])


def _stream_conv_transpose(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes
) -> list[int | None]:
    _static_weights("ConvTranspose", types, axes)
    axis = axes[0]
    if axis is None or axis == 0 or read_conv_transpose(attrs, types).slides[axis - 2].pointwise:
        return [axis]
    raise NotAlongTime("ConvTranspose spreads each time step over several")


def _settle_conv(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    slides = read_conv(attrs, types).slides
    settled = {"group": 1, **settled_attrs(attrs, slides)}
    return None if settled == dict(attrs) else Settled("Conv", len(types), settled)


def _settle_conv_transpose(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    """``output_shape`` and ``output_padding`` settle into ``pads`` and ``output_padding``."""
    read = read_conv_transpose(attrs, types)
    given = attrs.get("output_padding") or (0,) * len(read.slides)
    extra = tuple(max(e, -s.after) for e, s in zip(given, read.slides, strict=True))
    slides = [replace(s, after=s.after + e) for s, e in zip(read.slides, extra, strict=True)]
    settled = {"group": 1, **settled_attrs(attrs, slides), "output_padding": extra}
    settled.pop("output_shape", None)
    return None if settled == dict(attrs) else Settled("ConvTranspose", len(types), settled)


register(
    Op(
        "Conv",
        lambda attrs, types, known: _infer(read_conv(attrs, types), types),
        _reference_conv,
        _stream_conv,
        settle=_settle_conv,
        window=_window_conv,
    )
)
register(
    Op(
        "ConvTranspose",
        lambda attrs, types, known: _infer(read_conv_transpose(attrs, types), types),
        _reference_conv_transpose,
        _stream_conv_transpose,
        settle=_settle_conv_transpose,
    )
)
