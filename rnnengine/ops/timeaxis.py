"""How operators carry a time axis from their inputs to their outputs."""

from __future__ import annotations

from collections.abc import Sequence

from rnnengine.graph import TensorType
from rnnengine.ops.registry import NotAlongTime, TimeAxes, Types

__all__ = ["elementwise", "first", "mapped", "static"]


def first(axes: TimeAxes) -> int | None:
    """Time axis of the first input."""
    return axes[0] if axes else None


def static(axes: TimeAxes, reason: str) -> None:
    """Refuse any input that has a time axis."""
    if any(axis is not None for axis in axes):
        raise NotAlongTime(reason)


def mapped(axis: int | None, new_axes: Sequence[int | None], reason: str) -> int | None:
    """Look up where an axis went; None in the table means that it is mixed or removed."""
    if axis is None:
        return None
    found = new_axes[axis]
    if found is None:
        raise NotAlongTime(reason)
    return found


def elementwise(types: Types, axes: TimeAxes, what: str) -> int | None:
    """Time axis of an elementwise result: all inputs that have one must agree on it.

    An input without a time axis may not vary along it, because a stream sees one part at a time.
    """
    given: list[tuple[TensorType, int | None]] = [
        (t, axes[i] if i < len(axes) else None) for i, t in enumerate(types) if t is not None
    ]
    rank = max((t.rank for t, _ in given), default=0)
    found = {axis + rank - t.rank for t, axis in given if axis is not None}
    if not found:
        return None
    if len(found) > 1:
        raise NotAlongTime(f"{what} combines inputs whose time axes are not aligned")
    time = found.pop()
    for kind, axis in given:
        position = time - (rank - kind.rank)
        if axis is None and position >= 0 and kind.shape[position] != 1:
            raise NotAlongTime(f"{what} combines each time step with a value of its own")
    return time
