"""Recurrent layers: one instruction each, weights packed with their biases already summed."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from rnnengine.graph import Dim, Node, Packing, Size, as_lowered, as_packed
from rnnengine.ops.emission.linear import pack_matrix
from rnnengine.ops.recurrent.common import RecurrentAttrs
from rnnengine.ops.registry import Array, attach
from rnnengine.program import ACTIVATION_IDS, BINARY_IDS, Emitter, Matrix, Opcode, View
from rnnengine.program.opcodes import Cell
from rnnengine.records import record

__all__: list[str] = []

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_COUPLING = {None: 0, "f=1-i": 1, "i=1-f": 2}
_MASKED = {"carry": 0, "zero": 1}
_DIRECTIONS = {"forward": 1, "reverse": 2, "bidirectional": 3}


@record
class _Tensor:
    """A weight [D, rows, ...]: an array known at load, or a view of what arrives at run time."""

    known: Array | None
    view: View | None

    def width(self, axis: int) -> int:
        """Size of an axis."""
        if self.known is not None:
            return int(self.known.shape[axis])
        assert self.view is not None
        size = self.view.shape[axis]
        assert not isinstance(size, Dim)
        return size

    def rows(self, start: int, count: int) -> _Tensor:
        """Take rows of every direction."""
        if self.known is not None:
            kept = as_lowered(self.known) or as_packed(self.known)
            rows = self.known[:, start : start + count] if kept is None else kept.rows(start, count)
            return _Tensor(cast(Array, rows), None)
        assert self.view is not None
        return _Tensor(None, self.view.slice(1, start, count))


class _Weights:
    """Slices, sums and packs weights, whether they are constants or not."""

    def __init__(self, out: Emitter, node: Node) -> None:
        self.out = out
        self.node = node

    def input(self, position: int) -> _Tensor | None:
        """Weight at an input position, None where it is omitted."""
        name = self.node.inputs[position] if position < len(self.node.inputs) else None
        if name is None:
            return None
        known = self.out.known(name)
        return _Tensor(known, None if known is not None else self.out.read(name))

    def _view(self, tensor: _Tensor) -> View:
        if tensor.view is not None:
            return tensor.view
        assert tensor.known is not None
        return self.out.builder.constant(tensor.known)

    def sum(self, a: _Tensor | None, b: _Tensor | None, shape: tuple[int, ...]) -> _Tensor:
        """A + b in float32; zeros where both are omitted."""
        if a is None or b is None:
            return a or b or _Tensor(np.zeros(shape, np.float32), None)
        if a.known is not None and b.known is not None:
            return _Tensor(np.asarray(a.known, np.float32) + np.asarray(b.known, np.float32), None)
        total = self.out.temporary(shape)
        operands = [self._view(a), self._view(b), total]
        self.out.emit(self.node, Opcode.BINARY, operands, [BINARY_IDS["Add"]])
        return _Tensor(None, total)

    def join(self, parts: list[_Tensor]) -> _Tensor:
        """Concatenate along the rows."""
        arrays = [part.known for part in parts if part.known is not None]
        if len(arrays) == len(parts):
            return _Tensor(np.concatenate(arrays, axis=1), None)
        views = [self._view(part) for part in parts]
        rows: Size = 0
        for view in views:
            rows = rows + view.shape[1]
        joined = self.out.temporary((views[0].shape[0], rows, *views[0].shape[2:]))
        start: Size = 0
        for view in views:
            self.out.copy(view, joined.slice(1, start, view.shape[1]))
            start = start + view.shape[1]
        return _Tensor(None, joined)

    def apart(
        self, recurrent: _Tensor, size: int, always: bool = False
    ) -> tuple[_Tensor, _Tensor | None]:
        """Recurrent weights of a GRU: all, or those of r and z and those of the candidate.

        Weights that are no float32 are apart in any GRU: their products are not part of the step.
        """
        lowered = as_lowered(recurrent.known)
        if lowered is not None:
            recurrent = _Tensor(cast(Array, lowered.packed_as(Packing((2, 1)))), None)
        elif not always:
            return recurrent, None
        return recurrent.rows(0, 2 * size), recurrent.rows(2 * size, size)

    def matrix(self, tensor: _Tensor, gates: int) -> Matrix:
        """Pack a matrix [D, gates*units, k], whose weights may be of any type."""
        if tensor.known is not None:
            return self.out.builder.matrix(tensor.known, gates)
        return Matrix(self.pack(tensor, gates))

    def pack(self, tensor: _Tensor, gates: int) -> View:
        """Pack [D, gates*units, k] (or [D, gates*units]) of all directions, one after the other."""
        if tensor.known is not None:
            known = tensor.known
            return self.out.builder.packed(known[..., None] if known.ndim == 2 else known, gates)
        view = self._view(tensor)
        view = view.unsqueeze([2]) if view.rank == 2 else view
        count, rows, k = (int(s) for s in view.shape if not isinstance(s, Dim))
        units = rows // gates
        shaped = self.out.contiguous(view).reshape((count, gates, units, k))
        assert shaped is not None
        if count == 1:
            return pack_matrix(self.out, self.node, shaped.squeeze([0]))
        each = gates * (-(-units // 16) * 16) * k
        whole = self.out.temporary((count * each,))
        for d in range(count):
            source = shaped.slice(0, d, 1).squeeze([0])
            self.out.emit(self.node, Opcode.PACK, [source, whole.slice(0, d * each, each)])
        return whole


@record
class _Gates:
    """What the gates are computed from; ``inner`` is the bias of a GRU's candidate's product."""

    kernel: Matrix
    bias: View
    recurrent: Matrix
    candidate: Matrix | None = None
    inner: View | None = None


def _gate_weights(w: _Weights, attrs: RecurrentAttrs, op: str, count: int) -> _Gates:
    gates, size = _GATES[op], attrs.hidden_size
    kernel, recurrent = w.input(1), w.input(2)
    b_w, b_r = w.input(3), w.input(4)
    assert kernel is not None and recurrent is not None
    shape = (count, gates * size)
    if op == "GRU" and attrs.reset_after:
        zeros = _Tensor(np.zeros(shape, np.float32), None)
        b_w, b_r = b_w or zeros, b_r or zeros
        outer = w.sum(b_w.rows(0, 2 * size), b_r.rows(0, 2 * size), (count, 2 * size))
        bias = w.join([outer, b_w.rows(2 * size, size)])
        inner = w.pack(b_r.rows(2 * size, size), 1)
        gate_rows, candidate = w.apart(recurrent, size)
        return _Gates(
            w.matrix(kernel, 3),
            w.pack(bias, 3),
            w.matrix(gate_rows, 3 if candidate is None else 2),
            w.matrix(candidate, 1) if candidate else None,
            inner,
        )
    packed = w.matrix(kernel, gates), w.pack(w.sum(b_w, b_r, shape), gates)
    if op != "GRU":
        return _Gates(*packed, w.matrix(recurrent, gates))
    gate_rows, candidate = w.apart(recurrent, size, always=True)
    assert candidate is not None
    return _Gates(*packed, w.matrix(gate_rows, 2), w.matrix(candidate, 1))


def _projection(w: _Weights, count: int) -> tuple[Matrix, View] | None:
    """The packed projection and its zero bias."""
    proj = w.input(9)
    if proj is None:
        return None
    width = proj.width(1)
    zeros = _Tensor(np.zeros((count, width), np.float32), None)
    return w.matrix(proj, 1), w.pack(zeros, 1)


def _numbers(op: str, attrs: RecurrentAttrs, width: int) -> tuple[list[int], list[float]]:
    """Integers and floats of the instruction, as src_c/core/recurrent.h lists them."""
    inf = math.inf
    ints = [
        int(Cell[op]),
        _DIRECTIONS[attrs.direction],
        attrs.hidden_size,
        width,
        _COUPLING[attrs.coupling],
        int(attrs.reset_after),
    ]
    clip = inf if attrs.clip is None else attrs.clip
    floats = [
        clip,
        inf if attrs.cell_clip is None else attrs.cell_clip,
        clip if attrs.clip_before_h else inf,
        inf if attrs.proj_clip is None else attrs.proj_clip,
    ]
    for direction in range(2):
        acts = attrs.activations[direction] if direction < len(attrs.activations) else ()
        for i in range(3):
            act = acts[i] if i < len(acts) else None
            ints.append(ACTIVATION_IDS[act.name] if act else 0)
            floats += [act.alpha, act.beta, act.gamma] if act else [0.0, 0.0, 0.0]
    return ints, floats


def _initial(out: Emitter, node: Node, position: int) -> View | None:
    """Initial state; None (zeros) where it is omitted or shows only zeros."""
    name = node.inputs[position] if position < len(node.inputs) else None
    if name is None:
        return None
    view = out.read(name)
    return None if out.zero(view) else out.rows(view)


def _emit(out: Emitter, node: Node) -> None:
    attrs = RecurrentAttrs.read(node.op, node.attrs)
    x_name, r_name = node.inputs[0], node.inputs[2]
    assert x_name is not None and r_name is not None
    count = len(attrs.reversed_directions)
    w = _Weights(out, node)
    width = out.types[r_name].shape[2]
    assert not isinstance(width, Dim)
    peephole = w.input(8)
    lengths = node.inputs[5] if len(node.inputs) > 5 else None
    gates, proj = _gate_weights(w, attrs, node.op, count), _projection(w, count)
    matrices = [gates.kernel, gates.recurrent, gates.candidate, proj[0] if proj else None]
    operands: list[View | None] = [
        out.rows(out.read(x_name)),
        gates.kernel.weights,
        gates.bias,
        gates.recurrent.weights,
        gates.candidate.weights if gates.candidate else None,
        gates.inner,
        w.pack(peephole, 3) if peephole else None,
        proj[0].weights if proj else None,
        proj[1] if proj else None,
        out.read(lengths) if lengths else None,
        _initial(out, node, 6),
        _initial(out, node, 7),
    ]
    results = [*node.outputs, None, None, None][:3]
    places: list[tuple[View, View]] = []
    for name in results:
        view = out.write_optional(name)
        if view is not None and not view.rows_packed:
            made = out.temporary(view.shape)
            places.append((made, view))
            view = made
        operands.append(view)
    mask = node.inputs[10] if len(node.inputs) > 10 else None
    operands.append(out.read(mask) if mask else None)
    ints, floats = _numbers(node.op, attrs, width)
    for matrix in matrices:
        operands += matrix.beside if matrix else (None, None, None)
    ints += [_MASKED[attrs.masked_output], max(m.bits for m in matrices if m)]
    out.emit(node, Opcode.RECURRENT, operands, ints, floats)
    for made, place in places:
        out.copy(made, place)


for _name in ("LSTM", "GRU", "RNN"):
    attach(_name, _emit)
