"""What the recurrent layers share: attributes, shape rule, lengths, directions, the time loop.

Inputs by position, for every layer (D directions, G gates, P = hidden_size unless projected):

====  =========  =============================================================
0     x          [T, B, I]
1     W          [D, G*H, I]
2     R          [D, G*H, P]
3     b_w        [D, G*H], optional
4     b_r        [D, G*H], optional
5     lengths    int32 [B], optional: steps of each row that count
6     h0         [D, B, P], optional: zeros
7     c0         [D, B, H], optional: zeros (LSTM)
8     peephole   [D, 3*H] in the order i, f, o, optional (LSTM)
9     proj       [D, P, H], optional: P = H without it (LSTM)
10    mask       int32 [T, B], optional: 1 where the step of a row counts, else 0
====  =========  =============================================================

Outputs: 0 y [T, D, B, P]; 1 h_n [D, B, P]; 2 c_n [D, B, H] (LSTM). Gate order: LSTM i, f, g, o;
GRU r, z, n. Rows of y beyond a row's length are zero, the final state is the state after the last
step that counts, and a row of length 0 hands its initial state on. A reverse direction runs from a
row's last counting step to step 0; y[t] always belongs to x[t].

A step that the mask leaves out keeps the state, wherever it stands (Keras' masks have holes); its
row of y is the output of the step taken before it, zeros if there was none
(``masked_output='carry'``), or zeros (``'zero'``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from rnnengine.errors import ShapeError, UnsupportedModelError
from rnnengine.ops.recurrent.activations import Activation, apply
from rnnengine.ops.registry import Array, Attrs, Values
from rnnengine.ops.sizes import element
from rnnengine.records import record, replace

__all__ = [
    "DIRECTIONS",
    "Gate",
    "Probe",
    "RecurrentAttrs",
    "State",
    "Step",
    "clamp",
    "float64",
    "run",
]

DIRECTIONS: dict[str, tuple[bool, ...]] = {
    "forward": (False,),
    "reverse": (True,),
    "bidirectional": (False, True),
}
"""For each direction word, whether each of its directions runs backwards."""

Probe: TypeAlias = Callable[[Activation, Array], None]
"""Called with every activation and the values it is about to see."""

State: TypeAlias = tuple[Array, ...]
"""h, and c for the LSTM; rows of the batch first."""

Step: TypeAlias = Callable[[Array, State], State]
"""(input part of the gates [rows, G*H], state before) -> state after."""

_DEFAULTS: dict[str, tuple[Activation, ...]] = {
    "LSTM": (Activation("sigmoid"), Activation("tanh"), Activation("tanh")),
    "GRU": (Activation("sigmoid"), Activation("tanh")),
    "RNN": (Activation("tanh"),),
}


@record
class RecurrentAttrs:
    """Attributes of a recurrent node.

    Attributes
    ----------
    hidden_size : int
    direction : str
        A key of :data:`DIRECTIONS`.
    activations : tuple of tuple of Activation
        One tuple per direction: f, g, h of the LSTM; f, g of the GRU; f of the RNN.
    clip : float or None
        Bound on the input of every gate activation.
    clip_before_h : bool
        LSTM: the bound holds for the input of h() too.
    cell_clip, proj_clip : float or None
        LSTM: bound on the stored cell state, and on the projected output.
    coupling : str or None
        LSTM: ``'f=1-i'`` or ``'i=1-f'``.
    reset_after : bool
        GRU: the reset gate multiplies the recurrent product instead of the state.
    masked_output : str
        Output of a step that the mask leaves out: ``'carry'`` or ``'zero'``.
    """

    hidden_size: int
    direction: str = "forward"
    activations: tuple[tuple[Activation, ...], ...] = ()
    clip: float | None = None
    clip_before_h: bool = False
    cell_clip: float | None = None
    proj_clip: float | None = None
    coupling: str | None = None
    reset_after: bool = False
    masked_output: str = "carry"

    @classmethod
    def read(cls, op: str, attrs: Attrs) -> RecurrentAttrs:
        """Build from a node's attributes, with the default activations of the layer."""
        extra = set(attrs) - set(cls.__match_args__)
        if extra:
            raise UnsupportedModelError(f"{op}: unknown attributes {sorted(extra)}")
        read = cls(**attrs)
        if read.direction not in DIRECTIONS:
            raise UnsupportedModelError(
                f"{op}: direction is {read.direction!r}; accepted: {', '.join(DIRECTIONS)}"
            )
        if read.coupling not in (None, "f=1-i", "i=1-f"):
            raise UnsupportedModelError(
                f"{op}: coupling is {read.coupling!r}; accepted: 'f=1-i', 'i=1-f', None"
            )
        if read.masked_output not in ("carry", "zero"):
            raise UnsupportedModelError(
                f"{op}: masked_output is {read.masked_output!r}; accepted: 'carry', 'zero'"
            )
        count = len(DIRECTIONS[read.direction])
        activations = read.activations or (_DEFAULTS[op],) * count
        if len(activations) != count or any(len(a) != len(_DEFAULTS[op]) for a in activations):
            raise UnsupportedModelError(
                f"{op}: activations are {activations}; expected {len(_DEFAULTS[op])} for each of "
                f"{count} directions"
            )
        return read if read.activations else replace(read, activations=activations)

    def mapping(self) -> dict[str, Any]:
        """Return the attributes as a node carries them."""
        return {name: getattr(self, name) for name in self.__match_args__}

    @property
    def reversed_directions(self) -> tuple[bool, ...]:
        """Whether each direction runs backwards."""
        return DIRECTIONS[self.direction]


@record
class Gate:
    """Applies gate activations in float64 and shows their inputs to a probe."""

    clip: float | None
    probe: Probe | None

    def __call__(self, activation: Activation, value: Array) -> Array:
        """Return act(clamp(value))."""
        return self.unclipped(activation, clamp(value, self.clip))

    def unclipped(self, activation: Activation, value: Array) -> Array:
        """Return act(value)."""
        if self.probe is not None:
            self.probe(activation, value)
        return apply(activation, value)


def clamp(value: Array, bound: float | None) -> Array:
    """Clamp to +-bound; NaN stays NaN."""
    return value if bound is None else np.clip(value, -bound, bound)


def float64(values: Values, position: int) -> Array | None:
    """Input at a position in float64, None where it is omitted."""
    value = element(values, position)
    return None if value is None else np.asarray(value, np.float64)


def row_lengths(lengths: Array | None, steps: int, batch: int) -> Array:
    """Length of every row, checked to lie in 0..T."""
    if lengths is None:
        return np.full(batch, steps)
    if np.any(lengths < 0) or np.any(lengths > steps):
        raise ShapeError(f"lengths are {lengths}; expected 0..{steps}")
    return np.asarray(lengths, np.int64)


def _scan(
    x: Array,
    initial: State,
    *,
    lengths: Array | None,
    mask: Array | None,
    attrs: RecurrentAttrs,
    step: Callable[[int], Step],
    project: Callable[[int, Array], Array],
) -> list[Array]:
    """Run every direction over time.

    Parameters
    ----------
    x : array [T, B, I]
    initial : tuple of arrays [D, B, *]
        State before the first step: h first.
    lengths : int array [B] or None
    mask : int array [T, B] or None
    attrs : RecurrentAttrs
    step : callable(direction) -> Step
    project : callable(direction, x) -> array [T, B, G*H]
        The part of the gates that does not depend on the state.

    Returns
    -------
    list of arrays
        y [T, D, B, P], then the final states.
    """
    steps, batch = x.shape[:2]
    counts = row_lengths(lengths, steps, batch)
    final = tuple(s.copy() for s in initial)
    y = np.zeros((steps, len(initial[0]), batch, initial[0].shape[2]))
    for d, backwards in enumerate(attrs.reversed_directions):
        advance, inputs = step(d), project(d, x)
        for k in range(int(counts.max(initial=0))):
            rows = np.nonzero(k < counts)[0]
            t = counts[rows] - 1 - k if backwards else np.full(len(rows), k)
            if mask is not None:
                kept = mask[t, rows] == 0
                if k and attrs.masked_output == "carry":
                    y[t[kept], d, rows[kept]] = y[t[kept] + (1 if backwards else -1), d, rows[kept]]
                rows, t = rows[~kept], t[~kept]
            state = advance(inputs[t, rows], tuple(s[d, rows] for s in final))
            for whole, part in zip(final, state, strict=True):
                whole[d, rows] = part
            y[t, d, rows] = state[0]
    return [y, *final]


def _initial(given: Array | None, directions: int, batch: int, width: int) -> Array:
    return np.zeros((directions, batch, width)) if given is None else given


def run(
    op: str,
    attrs: Attrs,
    values: Values,
    probe: Probe | None,
    make_step: Callable[[RecurrentAttrs, Values, int, Probe | None], Step],
) -> list[Array]:
    """Evaluate a layer in float64.

    Parameters
    ----------
    op : str
    attrs : mapping
        As in :class:`RecurrentAttrs`.
    values : sequence of arrays or None
        As in the table of the module.
    probe : callable(activation, array) or None
        Sees the input of every gate activation.
    make_step : callable(attrs, values, direction, probe) -> Step
        Binds the weights of one direction.

    Returns
    -------
    list of float64 arrays
        The outputs of the table.
    """
    read = RecurrentAttrs.read(op, attrs)
    x, w, r, b_w, h0, c0 = (float64(values, i) for i in (0, 1, 2, 3, 6, 7))
    assert x is not None and w is not None and r is not None
    weights, bias = w, b_w
    directions, batch = len(read.reversed_directions), x.shape[1]
    initial = [_initial(h0, directions, batch, r.shape[2])]
    if op == "LSTM":
        initial.append(_initial(c0, directions, batch, read.hidden_size))

    def project(d: int, inputs: Array) -> Array:
        return np.asarray(inputs @ weights[d].T + (0.0 if bias is None else bias[d]))

    def bound(d: int) -> Step:
        return make_step(read, values, d, probe)

    with np.errstate(all="ignore"):
        return _scan(
            x,
            tuple(initial),
            lengths=element(values, 5),
            mask=element(values, 10),
            attrs=read,
            step=bound,
            project=project,
        )
