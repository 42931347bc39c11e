"""SimpleRNN, LSTM, GRU, RNN around cells, and Bidirectional around any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.keras import config
from rnnengine.importers.keras.context import Context, Tensor
from rnnengine.importers.keras.kinds import register, slots_of
from rnnengine.importers.keras.layers.cells import Cell, cell_slots, inner_cell, read_cells
from rnnengine.importers.keras.names import Slots
from rnnengine.importers.keras.records import Layer
from rnnengine.importers.keras.version import Version
from rnnengine.ops.recurrent import RecurrentAttrs

__all__: list[str] = []

_LAYERS = ("SimpleRNN", "LSTM", "GRU", "CuDNNLSTM", "CuDNNGRU", "RNN")


@dataclass(frozen=True)
class _Direction:
    """One recurrent layer: its context, cells and flags."""

    ctx: Context
    cells: tuple[Cell, ...]
    backwards: bool
    zero: bool

    @property
    def states(self) -> int:
        return sum(cell.states for cell in self.cells)


@dataclass(frozen=True)
class _Inputs:
    """What a recurrent layer runs on, time first."""

    x: str
    mask: str | None
    states: tuple[str, ...]


@dataclass(frozen=True)
class _Run:
    """y [T, 1, B, H] aligned with the input, and the final states [1, B, H]."""

    y: str
    states: tuple[str, ...]


def _slots(layer: Layer, version: Version) -> Slots:
    return Slots((), (("cell", "cell", cell_slots(inner_cell(layer, version), version)),))


def _direction(ctx: Context, inputs: int) -> _Direction:
    """Read a recurrent layer and refuse what it asks for and cannot get."""
    if ctx.layer.kind not in _LAYERS:
        raise UnsupportedModelError(
            f"{ctx.where}: not a recurrent layer; accepted: {', '.join(_LAYERS)}"
        )
    ctx.only("time_major", False, None)
    ctx.only("num_constants", None, 0)
    cells = tuple(read_cells(ctx, inputs))
    return _Direction(ctx, cells, ctx.flag("go_backwards"), ctx.flag("zero_output_for_mask"))


def _inputs(ctx: Context, inputs: Sequence[Tensor], count: int) -> _Inputs:
    """Input, mask and initial states, which come as further inputs or as `initial_state`.

    Keras 3 hands the mask of the input on only to layers that are called with nothing else.
    """
    first = inputs[0]
    ctx.rank(first, 3)
    given = [ctx.settled(t).name for t in (*inputs[1:], *ctx.states)]
    if given and len(given) != count:
        raise ModelFormatError(
            f"{ctx.where}: is called with {len(given)} initial states; expected {count}"
        )
    states = [ctx.emit("Unsqueeze", [s], {"axes": (0,)}, "initial") for s in given]
    (mask,) = ctx.masks([first])
    if not ctx.given_masks and given and ctx.version.major >= 3:
        mask = None
    x = first.name if mask == first.mask else ctx.settled(first).name
    x = ctx.emit("Transpose", [x], {"perm": (1, 0, 2)}, "steps")
    if mask is not None:
        mask = ctx.emit("Transpose", [ctx.steps_mask(mask)], {"perm": (1, 0)}, "mask")
    return _Inputs(x, mask, tuple(states))


def _emit_cell(
    ctx: Context, cells: Sequence[Cell], attrs: RecurrentAttrs, given: _Inputs
) -> list[str]:
    """Append one canonical layer; one cell for each direction."""
    first = cells[0]
    arrays: list[str | None] = []
    for what in ("w", "r", "b_w", "b_r"):
        parts = [getattr(cell, what) for cell in cells]
        arrays.append(None if parts[0] is None else ctx.constant(what, np.stack(parts)))
    operands: list[str | None] = [given.x, *arrays, None, *given.states]
    if given.mask is not None:
        operands += [None] * (10 - len(operands)) + [given.mask]
    while operands[-1] is None:
        operands.pop()
    return ctx.emit_many(first.op, operands, 1 + first.states, attrs.mapping())


def _attrs(cells: Sequence[Cell], direction: str, zero: bool) -> RecurrentAttrs:
    return RecurrentAttrs(
        hidden_size=cells[0].units,
        direction=direction,
        activations=tuple(cell.activations for cell in cells),
        reset_after=cells[0].reset_after,
        masked_output="zero" if zero else "carry",
    )


def _run(one: _Direction, given: _Inputs) -> _Run:
    """Append the cells of a layer, one canonical layer each."""
    x, queue, finals = given.x, list(given.states), list[str]()
    direction = "reverse" if one.backwards else "forward"
    y = x
    for i, cell in enumerate(one.cells):
        states = tuple(queue[: cell.states])
        del queue[: cell.states]
        attrs = _attrs([cell], direction, one.zero)
        ctx = one.ctx if len(one.cells) == 1 else replace(one.ctx, path=f"{one.ctx.path}.{i}")
        y, *final = _emit_cell(ctx, [cell], attrs, _Inputs(x, given.mask, states))
        finals += final
        if i + 1 < len(one.cells):
            x = ctx.emit("Squeeze", [y], {"axes": (1,)}, "between")
    return _Run(y, tuple(finals))


def _sequence(ctx: Context, y: str, flipped: bool) -> str:
    """Y [T, 1, B, H] as [B, T, H], the last step first where asked."""
    flat = ctx.emit("Squeeze", [y], {"axes": (1,)}, "sequence")
    return _flip(ctx, ctx.emit("Transpose", [flat], {"perm": (1, 0, 2)}, "sequence"), flipped)


def _flip(ctx: Context, y: str, flipped: bool) -> str:
    if not flipped:
        return y
    steps = ctx.type(y).shape[1]
    attrs = {"axes": (1,), "starts": (steps - 1,), "sizes": (steps,), "steps": (-1,)}
    return ctx.emit("Slice", [y], attrs, "flip")


def _last(ctx: Context, one: _Direction, given: _Inputs, run: _Run) -> str:
    """Output [B, H] of the step that was computed last.

    It is the final state unless that step is masked and shows something else: zero, or zero
    because no step counted while the state was given.
    """
    if given.mask is None or not (one.zero or given.states):
        final = run.states[sum(c.states for c in one.cells[:-1])]
        return ctx.emit("Squeeze", [final], {"axes": (0,)}, "last")
    steps = ctx.type(run.y).shape[0]
    start = 0 if one.backwards else steps - 1
    attrs = {"axes": (0,), "starts": (start,), "sizes": (1,), "steps": (1,)}
    step = ctx.emit("Slice", [run.y], attrs, "last")
    return ctx.emit("Squeeze", [step], {"axes": (0, 1)}, "last")


def _finals(ctx: Context, run: _Run) -> list[Tensor]:
    return [Tensor(ctx.emit("Squeeze", [s], {"axes": (0,)}, "state")) for s in run.states]


@register(*_LAYERS, slots=_slots, inputs=None)
def _recurrent(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """A layer in one direction; go_backwards returns its steps in the order it took them."""
    one = _direction(ctx, ctx.features(inputs[0]))
    given = _inputs(ctx, inputs, one.states)
    run = _run(one, given)
    if ctx.flag("return_sequences"):
        out = Tensor(_sequence(ctx, run.y, one.backwards), inputs[0].mask)
    else:
        out = Tensor(_last(ctx, one, given, run))
    return [out, *(_finals(ctx, run) if ctx.flag("return_state") else [])]


def _pair(layer: Layer, version: Version) -> tuple[Layer, Layer]:
    """The layers of a Bidirectional; without a configuration the second is the first, reversed."""
    forward = config.layer(layer.config.get("layer"), version, f"the layer in {layer.where}")
    raw = layer.config.get("backward_layer")
    if raw is not None:
        return forward, config.layer(raw, version, f"the backward layer in {layer.where}")
    flipped = {**forward.config, "go_backwards": not forward.config.get("go_backwards")}
    return forward, replace(forward, name=f"backward_{forward.name}", config=flipped)


def _bidirectional_slots(layer: Layer, version: Version) -> Slots:
    forward, backward = _pair(layer, version)
    return Slots(
        (),
        (
            ("forward", "forward_layer", slots_of(forward, version, forward.name)),
            ("backward", "backward_layer", slots_of(backward, version, backward.name)),
        ),
    )


def _joinable(pair: Sequence[_Direction], given: _Inputs) -> bool:
    """Whether one canonical layer of two directions computes both."""
    if any(len(d.cells) != 1 for d in pair) or (given.mask is not None and given.states):
        return False
    a, b = (d.cells[0] for d in pair)
    same = (a.op, a.units, a.reset_after, a.b_w is None) == (
        b.op,
        b.units,
        b.reset_after,
        b.b_w is None,
    )
    return same and [d.backwards for d in pair] == [False, True]


@register("Bidirectional", slots=_bidirectional_slots, inputs=None)
def _bidirectional(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Both directions over the input, merged; outputs of the second stand in input order."""
    layers = _pair(ctx.layer, ctx.version)
    contexts = [
        ctx.inner(key, layer, f".{key}")
        for key, layer in zip(("forward", "backward"), layers, strict=True)
    ]
    flags = [(c.flag("return_sequences"), c.flag("return_state")) for c in contexts]
    if flags[0] != flags[1]:
        raise ModelFormatError(
            f"{ctx.where}: the layers inside differ in return_sequences or return_state"
        )
    sequences, with_states = flags[0]
    size = ctx.features(inputs[0])
    forced = ctx.version.major >= 3 or ctx.version.tf
    pair = [replace(_direction(c, size), zero=forced and sequences) for c in contexts]
    given = _inputs(ctx, inputs, sum(d.states for d in pair))
    if _joinable(pair, given):
        parts, finals = _joint(ctx, pair, given, sequences)
    else:
        parts, finals = _apart(pair, given, sequences)
    mask = inputs[0].mask if sequences else None
    merged = [Tensor(name, mask) for name in _merged(ctx, parts)]
    return [*merged, *(finals if with_states else [])]


def _joint(
    ctx: Context, pair: Sequence[_Direction], given: _Inputs, sequences: bool
) -> tuple[list[str], list[Tensor]]:
    """One node of two directions; its outputs taken apart."""
    cells = [d.cells[0] for d in pair]
    states = given.states
    if states:
        half = len(states) // 2
        states = tuple(
            ctx.emit("Concat", [states[i], states[half + i]], {"axis": 0}, "initial")
            for i in range(half)
        )
    attrs = _attrs(cells, "bidirectional", pair[0].zero)
    y, *finals = _emit_cell(ctx, cells, attrs, replace(given, states=states))
    parts = [_side(ctx, y, 1, d) for d in (0, 1)] if sequences else []
    sides = [[_side(ctx, f, 0, d) for f in finals] for d in (0, 1)]
    if sequences:
        parts = [_sequence(ctx, p, False) for p in parts]
    else:
        parts = [ctx.emit("Squeeze", [s[0]], {"axes": (0,)}, "last") for s in sides]
    return parts, [t for d in (0, 1) for t in _finals(ctx, _Run(y, tuple(sides[d])))]


def _side(ctx: Context, name: str, axis: int, direction: int) -> str:
    attrs = {"axes": (axis,), "starts": (direction,), "sizes": (1,), "steps": (1,)}
    return ctx.emit("Slice", [name], attrs, ("forward", "backward")[direction])


def _apart(
    pair: Sequence[_Direction], given: _Inputs, sequences: bool
) -> tuple[list[str], list[Tensor]]:
    """A node for each direction."""
    parts: list[str] = []
    finals: list[Tensor] = []
    states = list(given.states)
    for i, one in enumerate(pair):
        own = replace(given, states=tuple(states[: one.states]))
        del states[: one.states]
        run = _run(one, own)
        if sequences:
            parts.append(_sequence(one.ctx, run.y, one.backwards != (i == 1)))
        else:
            parts.append(_last(one.ctx, one, own, run))
        finals += _finals(one.ctx, run)
    return parts, finals


def _merged(ctx: Context, parts: Sequence[str]) -> list[str]:
    """The two outputs as `merge_mode` says."""
    mode: Any = ctx.get("merge_mode", "concat")
    if mode is None:
        return list(parts)
    if mode == "concat":
        return [ctx.emit("Concat", parts, {"axis": ctx.type(parts[0]).rank - 1}, "merge")]
    if mode in ("sum", "ave"):
        total = ctx.emit("Add", parts, None, "merge")
        if mode == "sum":
            return [total]
        return [
            ctx.emit("Mul", [total, ctx.constant("half", np.array(0.5, np.float32))], None, "merge")
        ]
    if mode == "mul":
        return [ctx.emit("Mul", parts, None, "merge")]
    raise UnsupportedModelError(
        f"{ctx.where}: merge_mode is {mode!r}; accepted: concat, sum, mul, ave, null"
    )
