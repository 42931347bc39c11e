"""Pad: the middle is written where it belongs, the ends are copied around it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnengine.graph import Dim, Node, Size, TensorType
from rnnengine.ops.pad import Ends, ends_of
from rnnengine.ops.registry import attach
from rnnengine.program import Emitter, View

__all__: list[str] = []


def _source(node: Node) -> str:
    name = node.inputs[0]
    assert name is not None
    return name


def _taken(size: Size) -> Size:
    """What a negative pad takes away."""
    return -size if isinstance(size, int) and size < 0 else 0


def _added(size: Size) -> Size:
    return 0 if isinstance(size, int) and size < 0 else size


def _middle(view: View, ends: list[Ends]) -> View:
    """Part of the result that shows the input."""
    for end in ends:
        before, after = _added(end.before), _added(end.after)
        if before != 0 or after != 0:
            view = view.slice(end.axis, before, view.shape[end.axis] - before - after)
    return view


def _emit_pad(out: Emitter, node: Node) -> None:
    """Axis by axis; what is added along one axis covers the earlier axes whole."""
    x, result = out.read(_source(node)), node.outputs[0]
    assert result is not None
    ends = ends_of(node.attrs, [], x.rank)
    for end in ends:
        before, after = _taken(end.before), _taken(end.after)
        if before != 0 or after != 0:
            x = x.slice(end.axis, before, x.shape[end.axis] - before - after)
    target = out.write(result)
    middle = _middle(target, ends)
    if x != middle:
        out.copy(x, middle)
    mode = node.attrs.get("mode", "constant")
    for position, end in enumerate(ends):
        around = _middle(target, ends[position + 1 :])
        _fill(out, node, around, end, mode)


def _fill(out: Emitter, node: Node, view: View, end: Ends, mode: str) -> None:
    """Both ends of one axis of a view whose other axes are already as they should be."""
    axis, before, after = end.axis, _added(end.before), _added(end.after)
    inside = view.shape[axis] - before - after
    if mode == "reflect" and (before != 0 or after != 0):
        for size in (before, after):
            _need(out, inside - 1 - size)
    elif mode in ("edge", "wrap") and (before != 0 or after != 0):
        for size in (before, after):
            _need(out, inside - (size if mode == "wrap" else 1))
    for start, count, at_end in ((0, before, False), (before + inside, after, True)):
        if count == 0:
            continue
        hole = view.slice(axis, start, count)
        if mode == "constant":
            out.copy(_value(out, node, view.buffer.dtype).broadcast(hole.shape), hole)
        elif mode == "edge":
            edge = view.slice(axis, before + inside - 1 if at_end else before, 1)
            out.copy(edge.broadcast(hole.shape), hole)
        elif mode == "reflect":
            first = before + inside - 2 if at_end else before + count
            out.copy(view.slice(axis, first, count, -1), hole)
        else:
            out.copy(view.slice(axis, before if at_end else inside, count), hole)


def _need(out: Emitter, size: Size) -> None:
    if isinstance(size, Dim):
        out.require(size)


def _value(out: Emitter, node: Node, dtype: int) -> View:
    """The added element: a number, or a value computed at run time."""
    name = node.inputs[2] if len(node.inputs) > 2 else None
    if name is not None and "value" not in node.attrs:
        view = out.read(name)
        return view.squeeze(list(range(view.rank)))
    number = node.attrs.get("value", 0.0)
    return out.builder.constant(np.full((), number, np.float32 if dtype == 0 else np.int32))


def _place_pad(node: Node, types: Mapping[str, TensorType], view: View) -> list[View | None]:
    ends = ends_of(node.attrs, [], view.rank)
    if any(_taken(size) != 0 for end in ends for size in (end.before, end.after)):
        return [None]
    return [_middle(view, ends)]


attach("Pad", _emit_pad, _place_pad)
