"""Shape rule and behaviour along time of the recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnengine.errors import ShapeError
from rnnengine.graph import Size, TensorType
from rnnengine.ops.recurrent.common import RecurrentAttrs
from rnnengine.ops.registry import Attrs, Known, NotAlongTime, TimeAxes, Types
from rnnengine.ops.sizes import element, present, require_dtype, unify

__all__ = ["infer", "stream"]


def infer(attrs: Attrs, types: Types, known: Known, *, op: str, gates: int) -> list[TensorType]:
    """Check every operand against the table of the module and return the outputs' types."""
    read = RecurrentAttrs.read(op, attrs)
    size, directions = read.hidden_size, len(read.reversed_directions)
    x, r = present(types, 0, "x"), present(types, 2, "R")
    require_dtype(x.dtype, "f", f"{op}: x")
    if x.rank != 3 or r.rank != 3:
        raise ShapeError(f"{op}: x is {x}, R is {r}; expected rank 3")
    steps, batch, inputs = x.shape
    width: Size = size if element(types, 9) is None else r.shape[2]
    expected: dict[int, tuple[str, tuple[Size, ...]]] = {
        1: ("W", (directions, gates * size, inputs)),
        2: ("R", (directions, gates * size, width)),
        3: ("b_w", (directions, gates * size)),
        4: ("b_r", (directions, gates * size)),
        5: ("lengths", (batch,)),
        6: ("h0", (directions, batch, width)),
        7: ("c0", (directions, batch, size)),
        8: ("peephole", (directions, 3 * size)),
        9: ("proj", (directions, width, size)),
    }
    for position, (name, shape) in expected.items():
        _check(element(types, position), f"{op}: {name}", shape, x.dtype, position == 5)
    present(types, 1, "W")
    if op != "LSTM" and any(element(types, i) is not None for i in (7, 8, 9)):
        raise ShapeError(f"{op}: c0, peephole and proj belong to the LSTM")
    out = [
        TensorType(x.dtype, (steps, directions, batch, width)),
        TensorType(x.dtype, (directions, batch, width)),
        TensorType(x.dtype, (directions, batch, size)),
    ]
    return out if op == "LSTM" else out[:2]


def _check(
    found: TensorType | None,
    what: str,
    shape: tuple[Size, ...],
    dtype: np.dtype[Any],
    lengths: bool,
) -> None:
    if found is None:
        return
    wanted = np.dtype(np.int32) if lengths else dtype
    if found.dtype != wanted or found.rank != len(shape):
        raise ShapeError(f"{what} is {found}; expected {TensorType(wanted, shape)}")
    for axis, (got, expected) in enumerate(zip(found.shape, shape, strict=True)):
        if got != expected:
            text = f"{what} is {found}, expected {TensorType(wanted, shape)}: axis {axis}"
            unify(got, expected, text)


def stream(
    attrs: Attrs, types: Types, known: Known, axes: TimeAxes, *, op: str
) -> list[int | None]:
    """Time along axis 0 of x runs on into y; along the batch axis it leaves rows independent."""
    outputs = 3 if op == "LSTM" else 2
    others = {i: a for i, a in enumerate(axes) if i and a is not None}
    if not others and axes[0] is None:
        return [None] * outputs
    if axes[0] == 0 and not others:
        direction = RecurrentAttrs.read(op, attrs).direction
        if direction != "forward":
            raise NotAlongTime(f"{op} is {direction}: it starts at the last step of the sequence")
        return [0, *[None] * (outputs - 1)]
    if axes[0] == 1:
        for position, name, axis in ((5, "lengths", 0), (6, "h0", 1), (7, "c0", 1)):
            if element(types, position) is not None and others.pop(position, None) != axis:
                raise NotAlongTime(f"{op}: {name} has a row for each time step")
        if not others:
            return [2, *[1] * (outputs - 1)]
    raise NotAlongTime(f"{op}: the time axis of x or of a weight is not the sequence or batch axis")
