"""Softmax and its logarithm: rows along the last axis."""

from __future__ import annotations

from rnnengine.graph import Node
from rnnengine.ops.registry import attach
from rnnengine.ops.sizes import axis_of
from rnnengine.program import Emitter, Opcode

__all__: list[str] = []


def _emit_softmax(out: Emitter, node: Node) -> None:
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None and result is not None
    x = out.read(source)
    axis = axis_of(node.attrs.get("axis", -1), x.rank)
    logarithm = [int(node.op == "LogSoftmax")]
    if axis == x.rank - 1:
        target = out.write(result)
        made = target if target.rows_packed else out.temporary(target.shape)
        out.emit(node, Opcode.SOFTMAX, [out.rows(x), made], logarithm)
        if made is not target:
            out.copy(made, target)
        return
    order = [a for a in range(x.rank) if a != axis] + [axis]
    back = [order.index(a) for a in range(x.rank)]
    rows = out.rows(x.permute(order))
    made = out.temporary(rows.shape)
    out.emit(node, Opcode.SOFTMAX, [rows, made], logarithm)
    out.alias(result, made.permute(back))


attach("Softmax", _emit_softmax)
attach("LogSoftmax", _emit_softmax)
