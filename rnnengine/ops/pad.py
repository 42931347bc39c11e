"""Pad: elements added to, or taken from, both ends of axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnengine.errors import ShapeError, UnsupportedModelError
from rnnengine.graph import Dim, Size, TensorType, UndecidedError
from rnnengine.ops.layout import known_sizes
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
from rnnengine.ops.sizes import as_computed, axis_of, element, ints, objects, present, required
from rnnengine.records import record

__all__ = ["MODES", "Ends", "ends_of"]

MODES = ("constant", "reflect", "edge", "wrap")
"""Where the added elements come from, in ONNX's words."""


@record
class Ends:
    """Elements added before and after an axis; negative numbers take away."""

    axis: int
    before: Size
    after: Size


def ends_of(attrs: Attrs, known: Known, rank: int) -> list[Ends]:
    """What a Pad does to each axis, from its settled attribute or its operands; all axes listed."""
    pads = known_sizes(attrs, known, 1, "pads", "Pad")
    axes = tuple(range(rank))
    if "axes" in attrs or element(known, 3) is not None:
        raw = ints(np.array(known_sizes(attrs, known, 3, "axes", "Pad"), object), "Pad: axes")
        axes = tuple(axis_of(a, rank, "Pad: axis") for a in raw)
    if len(pads) != 2 * len(axes):
        raise ShapeError(f"Pad: got {len(pads)} pads for {len(axes)} axes; expected two an axis")
    if len(set(axes)) != len(axes):
        raise ShapeError(f"Pad: axes {axes} name one axis twice")
    given = dict(zip(axes, zip(pads, pads[len(axes) :], strict=False), strict=True))
    return [Ends(axis, *given.get(axis, (0, 0))) for axis in range(rank)]


def _check_source(mode: str, size: Size, ends: Ends) -> None:
    """Elements can only be mirrored, repeated or wrapped where there are enough of them."""
    if mode == "constant" or (ends.before == 0 and ends.after == 0):
        return
    if any(isinstance(v, Dim) for v in (ends.before, ends.after)):
        raise UnsupportedModelError(f"Pad: mode {mode!r} with pads that vary between runs")
    if isinstance(size, Dim):
        return
    before, after = int(ends.before), int(ends.after)
    rest = size + min(before, 0) + min(after, 0)
    most = max(before, after)
    limit = {"reflect": rest - 1, "edge": 2**62 if rest > 0 else 0, "wrap": rest}[mode]
    if most > limit and most > 0:
        raise ShapeError(
            f"Pad: mode {mode!r} of axis {ends.axis} with {rest} elements cannot add {most}"
        )


def _infer(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    x = present(types, 0, "data")
    mode = attrs.get("mode", "constant")
    if mode not in MODES:
        raise UnsupportedModelError(f"Pad: mode is {mode!r}; accepted: {', '.join(MODES)}")
    for position, name in ((1, "pads"), (3, "axes")):
        if element(types, position) is not None:
            known_sizes({}, known, position, name, "Pad")
    value = element(types, 2)
    if value is not None and value.dtype != x.dtype:
        raise ShapeError(f"Pad: value is {value}, data is {x}; element types must be the same")
    if value is not None and any(size != 1 for size in value.shape):
        raise ShapeError(f"Pad: value is {value}; expected one element")
    shape = []
    for size, ends in zip(x.shape, ends_of(attrs, known, x.rank), strict=True):
        _check_source(mode, size, ends)
        shape.append(size + ends.before + ends.after)
    return [TensorType(x.dtype, tuple(shape))]


_NUMPY = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def _reference(attrs: Attrs, values: Values) -> list[Array]:
    """Negative pads take away first; then numpy.pad's modes of the same name."""
    x = as_computed(required(values, 0))
    if objects(x):
        raise UndecidedError("Pad of symbolic sizes")
    mode = attrs.get("mode", "constant")
    added: list[tuple[int, int]] = []
    for ends in ends_of(attrs, values, x.ndim):
        before, after = ints(np.array([ends.before, ends.after], object), "Pad: pads")
        _check_source(mode, x.shape[ends.axis], ends)
        stop = x.shape[ends.axis] + min(after, 0)
        if stop < max(-before, 0) or stop < 0:
            raise ShapeError(f"Pad: pads of axis {ends.axis} take away more than there is")
        x = np.take(x, np.arange(max(-before, 0), stop), axis=ends.axis)
        added.append((max(before, 0), max(after, 0)))
    if mode != "constant":
        return [np.pad(x, added, mode=_NUMPY[mode])]  # type: ignore[call-overload]
    given = attrs["value"] if "value" in attrs else element(values, 2)
    value = 0 if given is None else np.asarray(given).reshape(())
    return [np.pad(x, added, constant_values=value)]


def _stream(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    if any(axis is not None for axis in axes[1:]):
        raise NotAlongTime("Pad by a value that varies over time")
    for ends in ends_of(attrs, known, present(types, 0, "data").rank):
        if ends.axis == axes[0] and (ends.before != 0 or ends.after != 0):
            raise NotAlongTime("Pad adds steps to the time axis or takes them away")
    return [axes[0]]


def _flat(ends: Sequence[Ends]) -> tuple[Size, ...]:
    return tuple(e.before for e in ends) + tuple(e.after for e in ends)


def _settle(attrs: Attrs, types: Types, known: Known) -> Settled | None:
    """Pads of all axes and the value as attributes; a computed value stays input 2."""
    x = present(types, 0, "data")
    pads = _flat(ends_of(attrs, known, x.rank))
    settled = {"mode": attrs.get("mode", "constant"), "pads": pads}
    value = element(known, 2)
    if element(types, 2) is not None and value is None:
        return None if attrs.get("pads") == pads else Settled("Pad", 3, settled)
    if value is None:
        settled["value"] = attrs.get("value", 0.0)
    elif objects(value):
        raise UnsupportedModelError("Pad: value depends on a symbolic size")
    else:
        settled["value"] = value.reshape(()).item()
    return None if dict(attrs) == settled and len(types) == 1 else Settled("Pad", 1, settled)


register(Op("Pad", _infer, _reference, _stream, settle=_settle))
