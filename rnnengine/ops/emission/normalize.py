"""Softmax and normalisations: statistics of the last axes of a view."""

from __future__ import annotations

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Node
from rnnengine.ops.registry import attach
from rnnengine.ops.sizes import axis_of
from rnnengine.program import Emitter, Opcode, View

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


def _emit_layer(out: Emitter, node: Node) -> None:
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None
    if any(node.outputs[1:]):
        raise UnsupportedModelError(
            f"{node.name}: {node.op} with its statistics as outputs; accepted: the first output"
        )
    assert result is not None
    x, target = out.read(source), out.write(result)
    factors = [out.read(name).broadcast(x.shape) if name else None for name in node.inputs[1:]]
    count = x.rank - axis_of(node.attrs.get("axis", -1), x.rank)
    _emit_normalize(out, node, x, [*factors, None][:2], target, count)


def _emit_normalize(
    out: Emitter, node: Node, x: View, factors: list[View | None], target: View, count: int
) -> None:
    """Append (x - mean) / deviation * scale + bias over the last ``count`` axes."""
    numbers = [count, int(node.op == "RMSNormalization")]
    epsilon = node.attrs.get("epsilon", 1e-5)
    out.emit(node, Opcode.NORMALIZE, [x, *factors, target], numbers, [epsilon])


def _emit_group(out: Emitter, node: Node) -> None:
    """Channels split into groups and the places in them; the factors repeat over the rest."""
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None and result is not None
    x, target = out.read(source), out.write(result)
    channels = x.shape[1]
    groups = channels if node.op == "InstanceNormalization" else node.attrs["num_groups"]
    inside = 1 if node.op == "InstanceNormalization" else channels // groups
    rows, places = x.split(1, groups, inside), target.split(1, groups, inside)
    factors: list[View | None] = []
    for name in node.inputs[1:3]:
        assert name is not None
        factor = out.read(name).split(0, groups, inside)
        factor = factor.unsqueeze(list(range(2, rows.rank - 1)))
        factors.append(factor.broadcast(rows.shape))
    _emit_normalize(out, node, rows, factors, places, rows.rank - 2)


attach("LayerNormalization", _emit_layer)
attach("RMSNormalization", _emit_layer)
attach("InstanceNormalization", _emit_group)
attach("GroupNormalization", _emit_group)
attach("Softmax", _emit_softmax)
attach("LogSoftmax", _emit_softmax)
