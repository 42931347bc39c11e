"""Gathers and scatters at indices that are computed at run time, or are no plain slices."""

from __future__ import annotations

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Node, product
from rnnengine.ops.registry import attach
from rnnengine.ops.sizes import axis_of
from rnnengine.program import COMBINATION_IDS, Emitter, Opcode, View

__all__: list[str] = []


def _names(node: Node) -> list[str]:
    assert None not in node.inputs and node.outputs[0] is not None
    return [name for name in (*node.inputs, node.outputs[0]) if name is not None]


def _emit_gather_elements(out: Emitter, node: Node) -> None:
    source, index, result = _names(node)
    operands = [out.read(source), out.read(index), out.write(result)]
    axis = axis_of(node.attrs.get("axis", 0), operands[0].rank)
    out.emit(node, Opcode.GATHER_ELEMENTS, operands, [axis])


def _emit_scatter_elements(out: Emitter, node: Node) -> None:
    source, index, updates, result = _names(node)
    target = _copied(out, source, result)
    axis = axis_of(node.attrs.get("axis", 0), target.rank)
    how = COMBINATION_IDS[node.attrs.get("reduction", "none")]
    operands = [out.read(index), out.read(updates), target]
    out.emit(node, Opcode.SCATTER_ELEMENTS, operands, [axis, how])


def _copied(out: Emitter, source: str, result: str) -> View:
    """The result's place, filled with the data that the scatter then changes."""
    data = out.read(source)
    target = out.write(result)
    out.copy(data, target)
    return target


def _rows(out: Emitter, node: Node, index: str, data: View) -> View:
    """Row numbers of an index [.., depth], flat; the first axes of the data choose a row."""
    numbers = out.contiguous(out.read(index))
    count, depth = product(numbers.shape[:-1]), numbers.shape[-1]
    flat = numbers.reshape((count, depth))
    rows = out.temporary((count,), 1)
    out.emit(node, Opcode.FLAT_INDEX, [flat, data, rows])
    return rows


def _depth(out: Emitter, node: Node, index: str) -> int:
    depth = out.types[index].shape[-1]
    if not isinstance(depth, int):
        raise UnsupportedModelError(f"{node.name}: the number of indexed axes {depth} varies")
    return depth


def _emit_gather_nd(out: Emitter, node: Node) -> None:
    source, index, result = _names(node)
    if node.attrs.get("batch_dims", 0):
        raise UnsupportedModelError(
            f"{node.name}: GatherND with batch_dims {node.attrs['batch_dims']} at run time; "
            "accepted: 0"
        )
    data = out.contiguous(out.read(source))
    depth = _depth(out, node, index)
    rows = _rows(out, node, index, data)
    width = product(data.shape[depth:])
    table = data.reshape((product(data.shape[:depth]), width))
    target = out.write(result)
    made = target.reshape((rows.shape[0], width))
    place = (
        made
        if made is not None and made.rows_packed
        else out.temporary((rows.shape[0], width), data.buffer.dtype)
    )
    out.emit(node, Opcode.GATHER, [table, rows, place])
    if place is not made:
        shaped = place.reshape(target.shape)
        assert shaped is not None
        out.copy(shaped, target)


def _emit_scatter_nd(out: Emitter, node: Node) -> None:
    source, index, updates, result = _names(node)
    depth = _depth(out, node, index)
    data = out.read(source)
    place = out.write(result)
    target = place if place.packed else out.temporary(place.shape, place.buffer.dtype)
    out.copy(data, target)
    rows = _rows(out, node, index, target)
    shape = (product(target.shape[:depth]), product(target.shape[depth:]))
    new = out.contiguous(out.read(updates)).reshape((rows.shape[0], shape[1]))
    how = COMBINATION_IDS[node.attrs.get("reduction", "none")]
    out.emit(node, Opcode.SCATTER_ROWS, [rows, new, target.reshape(shape)], [how])
    if target is not place:
        out.copy(target, place)


attach("GatherElements", _emit_gather_elements)
attach("GatherND", _emit_gather_nd)
attach("ScatterElements", _emit_scatter_elements)
attach("ScatterND", _emit_scatter_nd)
