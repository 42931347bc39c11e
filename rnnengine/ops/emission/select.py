"""Selection at run time: rows of a table by index, and masks of the steps that count."""

from __future__ import annotations

from rnnengine.graph import Node, product
from rnnengine.ops.registry import attach
from rnnengine.program import Emitter, Opcode, View

__all__ = ["emit_rows"]


def _named(name: str | None) -> str:
    assert name is not None
    return name


def emit_rows(out: Emitter, node: Node, table: View, axis: int) -> None:
    """Append a Gather by indices that arrive at run time: rows of a table, as in an embedding.

    Along another axis the table is turned so that its rows are what an index chooses.
    """
    indices = out.contiguous(out.read(_named(node.inputs[1])))
    order = [axis, *(a for a in range(table.rank) if a != axis)]
    rows = out.contiguous(table.permute(order))
    flat = rows.reshape((rows.shape[0], product(rows.shape[1:])))
    result = out.write(_named(node.outputs[0]))
    found = list(range(axis, axis + indices.rank))
    target = result.permute([*found, *(a for a in range(result.rank) if a not in found)])
    count, width = product(indices.shape), product(rows.shape[1:])
    made = target.reshape((count, width))
    place = (
        made
        if made is not None and made.rows_packed
        else out.temporary((count, width), table.buffer.dtype)
    )
    out.emit(node, Opcode.GATHER, [flat, indices.reshape((count,)), place])
    if place is not made:
        shaped = place.reshape(target.shape)
        assert shaped is not None
        out.copy(shaped, target)


def _emit_mask(out: Emitter, node: Node) -> None:
    """MaskIds: ids that are not 0. MaskValues: rows of which any value differs from a number."""
    source = out.read(_named(node.inputs[0]))
    if node.op == "MaskIds":
        source = source.unsqueeze([source.rank])
    value = float(node.attrs.get("mask_value", 0.0))
    out.emit(node, Opcode.MASK, [source, out.write(_named(node.outputs[0]))], (), [value])


for _name in ("MaskIds", "MaskValues"):
    attach(_name, _emit_mask)
