"""One record per operator: shape rule, float64 reference, behaviour along time; its emission."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Node, TensorType
from rnnengine.ops.families import FAMILIES, FAMILY_OF
from rnnengine.program import Emitter, View
from rnnengine.records import record

__all__ = [
    "Array",
    "Attrs",
    "Emission",
    "Known",
    "NotAlongTime",
    "Op",
    "Settled",
    "TimeAxes",
    "Types",
    "Values",
    "Window",
    "attach",
    "emission",
    "get",
    "names",
    "register",
]

Array: TypeAlias = np.ndarray[Any, Any]
Attrs: TypeAlias = Mapping[str, Any]
Types: TypeAlias = Sequence[TensorType | None]
Known: TypeAlias = Sequence[Array | None]
Values: TypeAlias = Sequence[Array | None]
TimeAxes: TypeAlias = Sequence[int | None]


class NotAlongTime(Exception):
    """An operator mixes time steps in a way that a stream cannot follow; the text says how."""


@record
class Window:
    """How an output step depends on input steps, where a window slides along time.

    Output step t reads the input steps ``t*stride - before + j*dilation`` for j in 0..taps-1; what
    lies before the first step or behind the last is padding.

    Attributes
    ----------
    taps : int
        Input steps that one output step reads.
    before, after : int
        Steps of padding in front of the first input step and behind the last.
    stride, dilation : int
        Input steps from one output step to the next, and from one tap to the next.
    pad : float or None
        What padding stands for: a number that may be fed in its place, None where padded steps
        change more than their values (a mean over fewer elements).
    """

    taps: int
    before: int
    after: int
    stride: int
    dilation: int
    pad: float | None = 0.0

    @property
    def ahead(self) -> int:
        """Steps that output t waits for after input step t*stride; not positive when causal."""
        return (self.taps - 1) * self.dilation - self.before

    @property
    def history(self) -> int:
        """Steps before input step t*stride that output t reads."""
        return self.before

    @property
    def causal(self) -> bool:
        """Whether, at stride 1, output t is there as soon as input t is, from the first step on."""
        return self.ahead == 0 and self.after == 0 and self.stride == 1

    def __str__(self) -> str:
        text = f"reads {self.taps} time step{'s' * (self.taps > 1)} at once"
        text += f", {self.dilation} apart" if self.dilation > 1 else ""
        text += f", and moves on by {self.stride}" if self.stride > 1 else ""
        if self.ahead > 0:
            text += f"; it looks {self.ahead} step{'s' * (self.ahead > 1)} ahead, so a stream would"
            return text + " have to wait for them"
        return text


@record
class Settled:
    """An operator whose data-dependent integer operands have become attributes.

    Attributes
    ----------
    op : str
        Operator to use; most keep their own name.
    inputs : int
        How many leading inputs remain.
    attrs : mapping
        All attributes of the settled node.
    """

    op: str
    inputs: int
    attrs: Attrs


@record
class Op:
    """Everything the engine knows about one operator.

    Attributes
    ----------
    name : str
        ONNX name, or the canonical name of a recurrent layer.
    infer : callable(attrs, types, known) -> list of TensorType
        Shape rule. ``types[i]`` is None for an omitted input; ``known[i]`` is the value of input i
        where it is a constant (an object array of sizes where it is symbolic), else None.
        Raises ShapeError or UnsupportedModelError.
    reference : callable(attrs, values) -> list of arrays
        The definition, in float64 for floating inputs; integers and booleans keep their dtype.
        Layout and integer operators also accept object arrays of symbolic sizes.
    stream : callable(attrs, types, known, axes) -> list of int | None
        Given the time axis of each input (None: no time axis), the time axis of each output.
        Raises NotAlongTime where outputs of one step would depend on other steps.
    value : callable(attrs, types, known) -> list of arrays or None
        Outputs that follow from the types alone (Shape, Size); None where no output does.
    settle : callable(attrs, types, known) -> Settled or None
        The node with its data-dependent integer operands turned into attributes, None where they
        are not known or nothing is to be done. ``infer``, ``reference`` and ``stream`` accept both
        forms. See :mod:`rnnengine.passes.fold` for the settled form of each operator.
    symbolic : bool
        True where ``reference`` accepts object arrays of sizes.
    moves : bool
        True where ``reference`` only moves elements of its operands, by functions that
        :class:`~rnnengine.graph.integers.ScaledIntegers` follows.
    window : callable(attrs, types, axes) -> Window or None
        Given the time axis of each input, how an output step depends on steps of the first input,
        where that is all that keeps ``stream`` from following; None in every other case. The time
        axis of the output is that of the input.
    """

    name: str
    infer: Callable[[Attrs, Types, Known], list[TensorType]]
    reference: Callable[[Attrs, Values], list[Array]]
    stream: Callable[[Attrs, Types, Known, TimeAxes], list[int | None]]
    value: Callable[[Attrs, Types, Known], list[Array] | None] | None = None
    settle: Callable[[Attrs, Types, Known], Settled | None] | None = None
    symbolic: bool = False
    moves: bool = False
    window: Callable[[Attrs, Types, TimeAxes], Window | None] | None = None


Emit: TypeAlias = Callable[[Emitter, Node], None]
Placing: TypeAlias = Callable[[Node, Mapping[str, TensorType], View], list[View | None]]


@record
class Emission:
    """How an operator becomes instructions; kept in :mod:`rnnengine.ops.emission`.

    Attributes
    ----------
    emit : callable(builder context, node)
        Writes instructions.
    place : callable(node, types, view) -> list of View or None
        Given where the output must be, where each input would have to be so that no copy is needed.
    """

    emit: Emit
    place: Placing | None = None


_OPS: dict[str, Op] = {}
_EMISSIONS: dict[str, Emission] = {}


def register(op: Op) -> Op:
    """Add an operator record; names are unique, and stand in :mod:`rnnengine.ops.families`."""
    if op.name in _OPS or op.name not in FAMILY_OF:
        raise ValueError(f"operator {op.name} is registered twice, or in no family")
    _OPS[op.name] = op
    return op


def attach(name: str, emit: Emit, place: Placing | None = None) -> None:
    """Make known how an operator becomes instructions."""
    _EMISSIONS[name] = Emission(emit, place)


def get(name: str, where: str = "") -> Op:
    """Return the record of an operator, or refuse it by name."""
    if name not in _OPS:
        if name not in FAMILY_OF:
            raise UnsupportedModelError(
                f"{where or 'graph'}: operator {name!r} is not supported; "
                f"supported: {', '.join(names())}"
            )
        import_module(f"rnnengine.ops.{FAMILY_OF[name]}")
    return _OPS[name]


def emission(name: str) -> Emission | None:
    """Return the emission of an operator; None where it exists only folded into constants."""
    if name not in _EMISSIONS:
        module, _ = FAMILIES[FAMILY_OF[name]]
        if module is not None:
            import_module(f"rnnengine.ops.emission.{module}")
    return _EMISSIONS.get(name)


def names() -> list[str]:
    """Names of all operators, sorted."""
    return sorted(FAMILY_OF)
