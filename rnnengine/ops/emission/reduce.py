"""Reductions: the axes worked on are made the last ones of a view."""

from __future__ import annotations

from collections.abc import Sequence

from rnnengine.graph import Node
from rnnengine.ops.reduce import REDUCTIONS
from rnnengine.ops.registry import attach
from rnnengine.ops.sizes import axis_of
from rnnengine.program import REDUCTION_IDS, Emitter, Opcode, View

__all__ = ["axes_last"]


def axes_last(view: View, axes: Sequence[int]) -> View:
    """The view with the given axes moved behind the others."""
    kept = [axis for axis in range(view.rank) if axis not in axes]
    return view.permute([*kept, *axes])


def _names(node: Node) -> tuple[str, str]:
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None and result is not None
    return source, result


def _target(out: Emitter, result: str, axes: Sequence[int], keepdims: bool) -> View:
    view = out.write(result)
    return view.squeeze(list(axes)) if keepdims else view


def _emit_reduce(out: Emitter, node: Node) -> None:
    source, result = _names(node)
    axes = node.attrs["axes"]
    rows = axes_last(out.read(source), axes)
    target = _target(out, result, axes, node.attrs["keepdims"])
    out.emit(node, Opcode.REDUCE, [rows, target], [REDUCTION_IDS[node.op], len(axes)])


def _emit_arg(out: Emitter, node: Node) -> None:
    source, result = _names(node)
    x = out.read(source)
    axis = axis_of(node.attrs.get("axis", 0), x.rank)
    target = _target(out, result, [axis], node.attrs.get("keepdims", True))
    numbers = [int(node.op == "ArgMin"), int(node.attrs.get("select_last_index", 0))]
    out.emit(node, Opcode.ARG, [axes_last(x, [axis]), target], numbers)


def _emit_cumsum(out: Emitter, node: Node) -> None:
    source, result = _names(node)
    axis = [node.attrs["axis"]]
    operands = [axes_last(out.read(source), axis), axes_last(out.write(result), axis)]
    numbers = [int(bool(node.attrs.get(key))) for key in ("exclusive", "reverse")]
    out.emit(node, Opcode.CUMSUM, operands, numbers)


for _name in REDUCTIONS:
    attach(_name, _emit_reduce)
attach("ArgMax", _emit_arg)
attach("ArgMin", _emit_arg)
attach("CumSum", _emit_cumsum)
