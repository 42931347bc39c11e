"""Selection at run time: rows of a table by index, and masks of the steps that count."""

from __future__ import annotations

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Node, product
from rnnengine.ops.registry import attach
from rnnengine.program import Emitter, Opcode, View

__all__ = ["emit_rows"]


def _named(name: str | None) -> str:
    assert name is not None
    return name


def emit_rows(out: Emitter, node: Node, table: View, axis: int) -> None:
    """Append a Gather by indices that arrive at run time: rows of a table, as in an embedding."""
    name = _named(node.inputs[1])
    if axis != 0 or out.types[name].dtype != np.int32:
        raise UnsupportedModelError(
            f"{node.name}: Gather along axis {axis} by {out.types[name].dtype} indices computed at "
            "run time; accepted: int32 indices along axis 0"
        )
    rows = out.contiguous(table)
    flat = rows.reshape((rows.shape[0], product(rows.shape[1:])))
    indices = out.contiguous(out.read(name))
    target = out.write(_named(node.outputs[0]))
    count, width = product(indices.shape), product(rows.shape[1:])
    made = target.reshape((count, width))
    place = made if made is not None else out.temporary((count, width))
    out.emit(node, Opcode.GATHER, [flat, indices.reshape((count,)), place])
    if made is None:
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
