"""What an operator's emission sees: values by name as views, places for its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Node, Size, TensorType
from rnnengine.program.builder import ProgramBuilder
from rnnengine.program.opcodes import Opcode
from rnnengine.program.view import ARENA, CONSTANT, View

__all__ = ["Emitter"]

Array = np.ndarray[Any, Any]


def _storage(name: str, dtype: np.dtype[Any]) -> int:
    """How values of a type are held at run time: 0 float32, 1 int32 (int64, and bool as 0 or 1)."""
    if dtype == np.float32:
        return 0
    if dtype in (np.int32, np.int64, np.bool_):
        return 1
    raise UnsupportedModelError(
        f"value {name!r} of {dtype} is needed at run time; accepted: float32, int32, int64, bool"
    )


class Emitter:
    """Names to views, and the instructions so far.

    Parameters
    ----------
    types : mapping of str to TensorType
        Of every value of the graph.
    constants : mapping of str to array
        Values known at load.
    places : mapping of str to View
        Where a value must end up because its reader wants it there: a graph output's buffer, or
        the slice of a concatenation. Whoever computes such a value writes it there at once.
    """

    def __init__(
        self,
        builder: ProgramBuilder,
        types: Mapping[str, TensorType],
        constants: Mapping[str, Array],
        places: Mapping[str, View],
    ) -> None:
        self.builder = builder
        self.types = types
        self.constants = constants
        self.places = places
        self.views: dict[str, View] = {}

    def known(self, name: str | None) -> Array | None:
        """Value of a constant, None for anything computed at run time."""
        return self.constants.get(name) if name else None

    def read(self, name: str) -> View:
        """View of a value that was computed, given or is constant."""
        if name not in self.views:
            array = self.constants[name]
            number = _storage(name, array.dtype)
            if number == 1:
                limits = np.iinfo(np.int32)
                if array.size and (array.max() > limits.max or array.min() < limits.min):
                    raise UnsupportedModelError(
                        f"value {name!r} is needed at run time and holds integers of more than 32 "
                        "bits"
                    )
                array = array.astype(np.int32)
            self.views[name] = self.builder.constant(array)
        return self.views[name]

    def write(self, name: str) -> View:
        """Where to write a result: its place, or a new temporary."""
        kind = self.types[name]
        number = _storage(name, kind.dtype)
        view = self.places.get(name) or self.builder.arena(kind.shape, number)
        self.views[name] = view
        return view

    def write_optional(self, name: str | None) -> View | None:
        """As :meth:`write`; None for an output that nobody asked for."""
        return self.write(name) if name else None

    def alias(self, name: str, view: View) -> None:
        """Let a value be a view of another; copy only where it has a place elsewhere."""
        place = self.places.get(name)
        if place is not None and place != view:
            self.copy(view, place)
            view = place
        self.views[name] = view

    def copy(self, source: View, target: View) -> None:
        """Copy elements one for one; nothing where they lie in place already."""
        if source.is_place(target):
            return
        self.builder.emit(Opcode.COPY, [source, target])

    def temporary(self, shape: Sequence[Size], dtype: int = 0) -> View:
        """Make a contiguous temporary; float32 unless ``dtype`` is 1 (int32)."""
        return self.builder.arena(shape, dtype)

    def rows(self, view: View) -> View:
        """Return the view itself, or a copy whose elements along the last axis are adjacent."""
        return view if view.rows_packed else self.contiguous(view)

    def contiguous(self, view: View) -> View:
        """Return the view itself, or a row-major copy."""
        if view.packed:
            return view
        made = self.builder.arena(view.shape, view.buffer.dtype)
        self.copy(view, made)
        return made

    def zero(self, view: View) -> bool:
        """Whether a view shows nothing but the constant 0."""
        if view.buffer.kind != CONSTANT:
            return False
        constant = self.builder.constants[view.buffer.index]
        return not constant.packed and not np.any(constant.array)

    def require(self, size: Size) -> None:
        """Let binding fail at sizes for which this one would be negative."""
        if isinstance(size, int) and size >= 0:
            return
        buffer = self.builder.buffer(ARENA, 0)
        empty = View(buffer, 0, (0, size), (0, 0))
        self.builder.emit(Opcode.COPY, [empty, empty])

    def emit(
        self,
        node: Node,
        opcode: Opcode,
        operands: Sequence[View | None],
        ints: Sequence[int] = (),
        floats: Sequence[float] = (),
    ) -> None:
        """Append an instruction on behalf of a node."""
        self.builder.emit(opcode, operands, ints, floats, node.name)
