"""What an operator's emission sees: values by name as views, places for its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Node, Size, TensorType
from rnnengine.program.builder import ProgramBuilder
from rnnengine.program.opcodes import Opcode
from rnnengine.program.view import CONSTANT, View

__all__ = ["Emitter"]

Array = np.ndarray[Any, Any]


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
            if array.dtype not in (np.float32, np.int32):
                raise UnsupportedModelError(
                    f"value {name!r} of {array.dtype} is needed at run time; accepted: float32 "
                    "and int32"
                )
            self.views[name] = self.builder.constant(array)
        return self.views[name]

    def write(self, name: str) -> View:
        """Where to write a result: its place, or a new temporary."""
        kind = self.types[name]
        if kind.dtype not in (np.float32, np.int32):
            raise UnsupportedModelError(
                f"value {name!r} of {kind.dtype} would be computed at run time; only float32 and "
                "int32 are"
            )
        number = 0 if kind.dtype == np.float32 else 1
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
        """Copy elements one for one."""
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
