"""Layout operators cost nothing where a view, or the producer's own place, can serve."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Dim, Node, Size, TensorType
from rnnengine.ops.emission.select import emit_rows
from rnnengine.ops.registry import attach
from rnnengine.ops.sizes import axis_of
from rnnengine.program import Emitter, View

__all__: list[str] = []

Types = Mapping[str, TensorType]

_MAX_RUNS = 4096
"""Copies that one Gather may become."""


def _first(node: Node) -> str:
    name = node.inputs[0]
    assert name is not None
    return name


def _result(node: Node) -> str:
    name = node.outputs[0]
    assert name is not None
    return name


def _view_emission(transform: Callable[[Node, View], View]) -> Callable[[Emitter, Node], None]:
    def emit(out: Emitter, node: Node) -> None:
        out.alias(_result(node), transform(node, out.read(_first(node))))

    return emit


def _identity(node: Node, view: View) -> View:
    return view


def _transpose(node: Node, view: View) -> View:
    return view.permute(node.attrs["perm"])


def _squeeze(node: Node, view: View) -> View:
    return view.squeeze(node.attrs["axes"])


def _unsqueeze(node: Node, view: View) -> View:
    return view.unsqueeze(node.attrs["axes"])


def _place_identity(node: Node, types: Types, view: View) -> list[View | None]:
    return [view]


def _place_transpose(node: Node, types: Types, view: View) -> list[View | None]:
    perm = node.attrs["perm"]
    return [view.permute([perm.index(axis) for axis in range(len(perm))])]


def _place_squeeze(node: Node, types: Types, view: View) -> list[View | None]:
    return [view.unsqueeze(node.attrs["axes"])]


def _place_unsqueeze(node: Node, types: Types, view: View) -> list[View | None]:
    return [view.squeeze(node.attrs["axes"])]


def _emit_reshape(out: Emitter, node: Node) -> None:
    shape = out.types[_result(node)].shape
    source = out.read(_first(node))
    view = source.reshape(shape)
    if view is None:
        view = out.contiguous(source).reshape(shape)
        assert view is not None
    out.alias(_result(node), view)


def _place_reshape(node: Node, types: Types, view: View) -> list[View | None]:
    return [view.reshape(types[_first(node)].shape)]


def _emit_expand(out: Emitter, node: Node) -> None:
    shape = out.types[_result(node)].shape
    out.alias(_result(node), out.read(_first(node)).broadcast(shape))


def _emit_tile(out: Emitter, node: Node) -> None:
    """One copy, in which each repeated axis of the result is two: repetition and element."""
    source = out.read(_first(node))
    target = out.write(_result(node))
    repeats = node.attrs["repeats"]
    for axis in reversed(range(source.rank)):
        if repeats[axis] != 1:
            size = source.shape[axis]
            target = target.split(axis, repeats[axis], size)
            source = source.unsqueeze([axis])
    out.copy(source.broadcast(target.shape), target)


def _parts(node: Node, types: Types, view: View) -> list[View]:
    axis = axis_of(node.attrs["axis"], view.rank)
    start: Size = 0
    parts = []
    for name in node.inputs:
        assert name is not None
        count = types[name].shape[axis]
        parts.append(view.slice(axis, start, count))
        start = start + count
    return parts


def _emit_concat(out: Emitter, node: Node) -> None:
    target = out.write(_result(node))
    for name, part in zip(node.inputs, _parts(node, out.types, target), strict=True):
        assert name is not None
        source = out.read(name)
        if source != part:
            out.copy(source, part)


def _place_concat(node: Node, types: Types, view: View) -> list[View | None]:
    return list(_parts(node, types, view))


def _emit_slice(out: Emitter, node: Node) -> None:
    view = out.read(_first(node))
    names = ("axes", "starts", "sizes", "steps")
    for axis, start, size, step in zip(*(node.attrs[n] for n in names), strict=True):
        view = view.slice(axis, start, size, step)
    out.alias(_result(node), view)


def _runs(places: list[Size]) -> Iterator[tuple[Size, int, int]]:
    """(start, count, step) of the longest evenly spaced pieces, in order."""
    at = 0
    while at < len(places):
        step = places[at + 1] - places[at] if at + 1 < len(places) else 0
        count = 1
        while (
            isinstance(step, int)
            and places[at + count :]
            and (places[at + count] - places[at + count - 1] == step)
        ):
            count += 1
        yield places[at], count, step if isinstance(step, int) else 0
        at += count


def _even_steps(places: list[Size], shape: tuple[int, ...]) -> list[int] | None:
    """Step along each axis of an index whose places are even in all of them, else None."""
    if not places or any(isinstance(place, Dim) for place in places):
        return None
    grid = np.asarray(places, np.int64).reshape(shape)
    corner = grid[(0,) * grid.ndim]
    steps = [
        int(np.take(grid, 1, axis=a)[(0,) * (grid.ndim - 1)] - corner) if n > 1 else 1
        for a, n in enumerate(shape)
    ]
    wanted = corner + sum(
        (step * np.arange(n).reshape((-1, *[1] * (grid.ndim - 1 - a))))
        for a, (n, step) in enumerate(zip(shape, steps, strict=True))
    )
    return steps if np.array_equal(grid, wanted) else None


def _emit_gather(out: Emitter, node: Node) -> None:
    """Gather at constant indices: a view where they are even along each of their axes, else copies.

    Indices that arrive at run time select rows of a table: an embedding.
    """
    source = out.read(_first(node))
    axis = axis_of(node.attrs.get("axis", 0), source.rank)
    indices = out.known(node.inputs[1])
    size = source.shape[axis]
    if indices is None:
        emit_rows(out, node, source, axis)
        return
    places = [int(i) + size if int(i) < 0 else int(i) for i in indices.reshape(-1)]
    steps = _even_steps(places, indices.shape)
    if steps is not None:
        out.alias(_result(node), source.windows(axis, places[0], indices.shape, steps))
        return
    runs = list(_runs(places))
    if len(runs) > _MAX_RUNS:
        raise UnsupportedModelError(
            f"{node.name}: Gather at {len(runs)} unevenly spaced places; accepted: up to "
            f"{_MAX_RUNS}"
        )
    target = out.write(_result(node))
    flat = (*target.shape[:axis], len(places), *target.shape[axis + indices.ndim :])
    rows = target.reshape(flat)
    made = rows if rows is not None else out.temporary(flat, source.buffer.dtype)
    done = 0
    for start, count, step in runs:
        out.copy(source.slice(axis, start, count, step), made.slice(axis, done, count))
        done += count
    if rows is None:
        shaped = made.reshape(target.shape)
        assert shaped is not None
        out.copy(shaped, target)


attach("Identity", _view_emission(_identity), _place_identity)
attach("Dropout", _view_emission(_identity), _place_identity)
attach("Transpose", _view_emission(_transpose), _place_transpose)
attach("Squeeze", _view_emission(_squeeze), _place_squeeze)
attach("Unsqueeze", _view_emission(_unsqueeze), _place_unsqueeze)
attach("Reshape", _emit_reshape, _place_reshape)
attach("Expand", _emit_expand)
attach("Tile", _emit_tile)
attach("Concat", _emit_concat, _place_concat)
attach("Slice", _emit_slice)
attach("Gather", _emit_gather)
